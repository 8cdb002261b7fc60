// routes_generate: /v2/models/M/generate and generate_stream, Triton's way to ask for text.
#include "infer/server/routes.h"
#include "infer/server/text_request.h"
#include <stdlib.h>
#include <string.h>

static void add_text(hs_text *t, const hs_text_request *r, const char *text, size_t n)
{
    const char *id = json_string_value(json_object_get(r->body, "id"));
    hs_text_add(t, "{");
    if (id) {
        hs_text_add(t, "\"id\":");
        hs_text_string(t, id);
        hs_text_add(t, ",");
    }
    hs_text_add(t, "\"model_name\":");
    hs_text_string(t, r->model->name);
    hs_text_add(t, ",\"model_version\":\"%d\",\"text_output\":", r->model->version);
    hs_text_quote(t, text, n);
    hs_text_add(t, "}");
}

static void event(hs_text *t, hs_choice *c, const char *text, size_t n, hs_finish finish)
{
    (void)finish;
    add_text(t, c->r, text, n);
}

static void answer(hs_text *t, hs_text_request *r)
{
    const hs_text *text = &r->choice[0].text;
    t->failed |= text->failed;
    add_text(t, r, text->p ? text->p : "", text->n);
}

static void end(hs_text *t, hs_text_request *r)
{
    (void)r;
    hs_text_bytes(t, "", 0);
}

static void wrong(hs_text *t, const char *why)
{
    hs_text_add(t, "data: {\"error\":");
    hs_text_string(t, why);
    hs_text_add(t, "}\n\n");
}

static const hs_protocol form = { .of = HS_TEXT_GENERATE, .id = "", .event = event, .answer = answer, .end = end, .wrong = wrong };

static void ask(hs_call *c, int version, bool stream)
{
    static const char *const skip[] = { "id", "text_input", "parameters", NULL }, *const none[] = { NULL };
    json_t *body = hs_call_body(c);
    hs_served *m = NULL;
    if (body && !json_is_object(body))
        hs_call_fail(c, 400, "the body must be an object with text_input");
    else if (body)
        m = hs_call_model(c, c->arg[0], version, HS_DOES_TEXT);
    hs_text_request *r = NULL;
    if (m)
        r = hs_text_request_new(c, m, body, &form, 1);
    else
        json_decref(body);
    if (!r)
        return;
    const json_t *text = json_object_get(body, "text_input"), *more = json_object_get(body, "parameters");
    hs_status st = hs_text_params_read(&r->p, body, HS_TEXT_GENERATE, skip);
    if (st == HS_OK && more)
        st = hs_text_params_read(&r->p, more, HS_TEXT_GENERATE, none);
    if (st != HS_OK)
        hs_text_request_fail(r, st == HS_USAGE ? 400 : 503, NULL, "%s", hs_error());
    else if (!json_is_string(text))
        hs_text_request_fail(r, 400, NULL, "text_input must be a text");
    else if (!stream && r->p.stream)
        hs_text_request_fail(r, 400, NULL, "generate gives one answer: generate_stream streams");
    else {
        r->p.stream = stream;
        if (hs_text_request_text(r, json_string_value(text), json_string_length(text)))
            hs_text_request_go(r);
    }
}

static void generate(hs_call *c) { ask(c, 0, false); }
static void generate_stream(hs_call *c) { ask(c, 0, true); }

static int version_of(const hs_call *c)
{
    const long v = strtol(c->arg[1], NULL, 10);
    return v > 0 && v < INT32_MAX ? (int)v : INT32_MAX; // no model has that
}
static void generate_version(hs_call *c) { ask(c, version_of(c), false); }
static void generate_stream_version(hs_call *c) { ask(c, version_of(c), true); }

const hs_route hs_routes_generate[] = {
    { .method = "POST", .pattern = "/v2/models/{}/generate", .run = generate },
    { .method = "POST", .pattern = "/v2/models/{}/generate_stream", .run = generate_stream },
    { .method = "POST", .pattern = "/v2/models/{}/versions/{}/generate", .run = generate_version },
    { .method = "POST", .pattern = "/v2/models/{}/versions/{}/generate_stream", .run = generate_stream_version },
    { 0 },
};

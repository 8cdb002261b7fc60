// routes_trace: settings of traces, the server's and each model's, as Triton's trace extension has them. Where traces are written clients
// do not say: a file that they chose would be one that they may overwrite.
#include "core/settings/schema.h"
#include "infer/server/routes.h"
#include "infer/server/routes_oip.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void answer(hs_call *c, const char *model)
{
    hs_trace_settings s;
    hs_tracer_look(c->server->tracer, model, &s);
    json_t *v = json_object(), *levels = json_array();
    for (int i = 1; i < HS_COUNT(hs_trace_levels); i++)
        if (s.of[HS_TRACE_LEVEL] & i)
            json_array_append_new(levels, json_string(hs_trace_levels[i]));
    if (!s.of[HS_TRACE_LEVEL])
        json_array_append_new(levels, json_string(hs_trace_levels[0]));
    json_object_set_new(v, hs_trace_abouts[HS_TRACE_LEVEL].name, levels);
    for (int k = HS_TRACE_LEVEL + 1; k < HS_TRACE_KEYS; k++)
        json_object_set_new(v, hs_trace_abouts[k].name, json_sprintf("%lld", (long long)s.of[k]));
    json_object_update_new(
        v, json_pack("{s:o, s:s}", "trace_file", hs_call_quoted(hs_tracer_file(c->server->tracer)), "trace_mode", "triton"));
    hs_call_json(c, 200, v);
}

// ---- a change

static hs_status wrong_level(const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    const hs_status st =
        HS_FAIL(USAGE, "trace_level is %.100s, must be [\"OFF\"], or a list of \"TIMESTAMPS\" and \"TENSORS\"", text ? text : "wrong");
    free(text);
    return st;
}

static hs_status read_level(const json_t *v, int64_t *level)
{
    const size_t n = json_is_array(v) ? json_array_size(v) : json_is_string(v);
    *level = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one) || !hs_trace_level_add(level, i > 0, json_string_value(one)))
            return wrong_level(v);
    }
    return n ? HS_OK : wrong_level(v);
}

static hs_status read_number(const hs_trace_about *a, const json_t *v, int64_t *number)
{
    char *end, *text = json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for a setting");
    errno = 0;
    *number = strtoll(text, &end, 10);
    const bool digits = text[text[0] == '-'] >= '0' && text[text[0] == '-'] <= '9' && !*end && !errno;
    const hs_status st = (json_is_string(v) || json_is_integer(v)) && digits && *number >= a->least && *number <= a->most
                             ? HS_OK
                             : HS_FAIL(USAGE, "%s is %.100s, must be a whole number from %lld to %lld", a->name, text, (long long)a->least,
                                       (long long)a->most);
    free(text);
    return st;
}

static hs_status unknown(const char *name)
{
    const char *names[HS_TRACE_KEYS];
    for (int k = 0; k < HS_TRACE_KEYS; k++)
        names[k] = hs_trace_abouts[k].name;
    const char *near = hs_nearest_word(name, names, HS_TRACE_KEYS);
    return HS_FAIL(USAGE, "there is no setting '%.64s' of traces%s%s%s", name, near ? ": did you mean '" : "", near ? near : "",
                   near ? "'?" : "");
}

static hs_status read_setting(hs_trace_change *c, const char *name, const json_t *v)
{
    int k = 0;
    if (strcmp(name, "trace_file") == 0)
        return HS_FAIL(USAGE, "trace_file is not set by clients: the server is started with it (halfstep serve --trace-file)");
    while (k < HS_TRACE_KEYS && strcmp(name, hs_trace_abouts[k].name) != 0)
        k++;
    if (k == HS_TRACE_KEYS)
        return unknown(name);
    *(json_is_null(v) ? &c->clear : &c->set) |= 1U << k;
    if (json_is_null(v))
        return HS_OK;
    return k == HS_TRACE_LEVEL ? read_level(v, &c->to.of[k]) : read_number(&hs_trace_abouts[k], v, &c->to.of[k]);
}

static hs_status read_change(hs_trace_change *c, json_t *body)
{
    const char *name;
    json_t *v;
    json_object_foreach(body, name, v) HS_TRY(read_setting(c, name, v));
    return HS_OK;
}

static void change(hs_call *c, const char *model)
{
    hs_trace_change to = { .set = 0 };
    if (!hs_call_of_own_page(c)) {
        hs_call_fail(c, 403, "the page of another server asks for this");
        return;
    }
    json_t *body = hs_call_body(c);
    if (!body)
        return;
    hs_status st = json_is_object(body) ? read_change(&to, body) : HS_FAIL(USAGE, "the body must be an object of settings");
    json_decref(body);
    if (st == HS_OK && (to.set || to.clear))
        st = hs_tracer_change(c->server->tracer, model, &to);
    if (st == HS_OK)
        answer(c, model);
    else
        hs_call_fail_status(c, st);
}

// ---- routes

static void of_model(hs_call *c, void (*what)(hs_call *c, const char *model))
{
    hs_served *m = hs_call_oip_model(c);
    if (m)
        what(c, m->name);
    hs_served_let_go(m);
}

static void look_all(hs_call *c) { answer(c, NULL); }
static void change_all(hs_call *c) { change(c, NULL); }
static void look_model(hs_call *c) { of_model(c, answer); }
static void change_model(hs_call *c) { of_model(c, change); }

const hs_route hs_routes_trace[] = {
    { .method = "GET", .pattern = "/v2/trace/setting", .run = look_all },
    { .method = "POST", .pattern = "/v2/trace/setting", .run = change_all },
    { .method = "GET", .pattern = "/v2/models/{}/trace/setting", .run = look_model },
    { .method = "POST", .pattern = "/v2/models/{}/trace/setting", .run = change_model },
    { .method = "GET", .pattern = "/v2/models/{}/versions/{}/trace/setting", .run = look_model },
    { .method = "POST", .pattern = "/v2/models/{}/versions/{}/trace/setting", .run = change_model },
    { 0 },
};

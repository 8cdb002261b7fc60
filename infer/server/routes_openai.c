// routes_openai: /v1/completions, /v1/chat/completions and /v1/models, as OpenAI's clients ask for them.
#include "infer/server/chat_template.h"
#include "infer/server/routes.h"
#include "infer/server/text_request.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- what both say

static void head(hs_text *t, const hs_text_request *r, const char *object)
{
    hs_text_add(t, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", r->id, object, (long long)r->created);
    hs_text_string(t, r->model->name);
}

static void add_usage(hs_text *t, const hs_text_request *r)
{
    const hs_text_usage u = hs_text_request_usage(r);
    hs_text_add(t,
                "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
                "\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
                (long long)u.prompt, (long long)u.fresh, (long long)(u.prompt + u.fresh), (long long)u.cached);
}

static void add_finish(hs_text *t, hs_finish finish)
{
    if (finish == HS_FINISH_NONE)
        hs_text_add(t, ",\"finish_reason\":null}");
    else
        hs_text_add(t, ",\"finish_reason\":\"%s\"}", hs_finish_text(finish));
}

static void end_stream(hs_text *t, hs_text_request *r, const char *object)
{
    if (r->p.include_usage) {
        hs_text_add(t, "data: ");
        head(t, r, object);
        hs_text_add(t, ",\"choices\":[],");
        add_usage(t, r);
        hs_text_add(t, "}\n\n");
    }
    hs_text_add(t, "data: [DONE]\n\n");
}

static void end_event(hs_text *t, const hs_text_request *r) { hs_text_add(t, r->p.include_usage ? "],\"usage\":null}" : "]}"); }

static void wrong(hs_text *t, const char *why)
{
    hs_text_add(t, "data: {\"error\":{\"message\":");
    hs_text_string(t, why);
    hs_text_add(t, ",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\ndata: [DONE]\n\n");
}

// ---- probabilities

typedef struct token { // its bytes in a text
    char s[256];
    size_t n;
    bool sound; // UTF-8
} token;

static token token_of(const hs_choice *c, int32_t id)
{
    token k;
    bool space;
    size_t n;
    const char *s = hs_choice_token(c, id, &n, &space);
    k.n = n < sizeof k.s - 1 ? n : sizeof k.s - 1;
    memcpy(k.s + space, s, k.n);
    if (space)
        k.s[0] = ' ', k.n++;
    json_t *test = json_stringn(k.s, k.n);
    k.sound = test != NULL;
    json_decref(test);
    return k;
}

static void add_name(hs_text *t, const token *k)
{
    if (k->sound) {
        hs_text_quote(t, k->s, k->n);
        return;
    }
    hs_text_add(t, "\"bytes:");
    for (size_t i = 0; i < k->n; i++)
        hs_text_add(t, "\\\\x%02x", (unsigned char)k->s[i]);
    hs_text_add(t, "\"");
}

static void add_logprob(hs_text *t, float logprob) { hs_text_f32(t, isfinite(logprob) ? logprob : -9999.0F); }

static const char *comma(const hs_text *t) { return t->n ? "," : ""; }

// Four lists: tokens, their logarithms, the likeliest of their places, where their texts begin.
static void completion_place(hs_choice *c, const hs_piece *piece)
{
    const token k = token_of(c, piece->id);
    hs_text *t = c->places;
    hs_text_add(&t[0], "%s", comma(&t[0]));
    add_name(&t[0], &k);
    hs_text_add(&t[1], "%s", comma(&t[1]));
    add_logprob(&t[1], piece->logprob);
    hs_text_add(&t[2], "%s{", comma(&t[2]));
    for (int i = 0; i < piece->n_top; i++) {
        const token other = token_of(c, piece->top[i].id);
        hs_text_add(&t[2], i ? "," : "");
        add_name(&t[2], &other);
        hs_text_add(&t[2], ":");
        add_logprob(&t[2], piece->top[i].logprob);
    }
    hs_text_add(&t[2], "}");
    hs_text_add(&t[3], "%s%lld", comma(&t[3]), (long long)c->offset);
    for (size_t i = 0; i < k.n; i++)
        c->offset += ((unsigned char)k.s[i] & 0xC0) != 0x80;
}

static void add_places_of_completion(hs_text *t, hs_choice *c)
{
    static const char *const names[] = { "{\"tokens\":[", "],\"token_logprobs\":[", "],\"top_logprobs\":[", "],\"text_offset\":[" };
    hs_text_add(t, ",\"logprobs\":");
    for (int i = 0; c->r->p.logprobs && i < HS_COUNT(names); i++) {
        hs_text_add(t, "%s", names[i]);
        hs_text_bytes(t, c->places[i].p ? c->places[i].p : "", c->places[i].n);
        t->failed |= c->places[i].failed;
        hs_text_free(&c->places[i]);
    }
    hs_text_add(t, c->r->p.logprobs ? "]}" : "null");
}

static void add_chat_token(hs_text *t, const hs_choice *c, int32_t id, float logprob)
{
    const token k = token_of(c, id);
    hs_text_add(t, "{\"token\":");
    add_name(t, &k);
    hs_text_add(t, ",\"logprob\":");
    add_logprob(t, logprob);
    hs_text_add(t, ",\"bytes\":[");
    for (size_t i = 0; i < k.n; i++)
        hs_text_add(t, "%s%d", i ? "," : "", (unsigned char)k.s[i]);
    hs_text_add(t, "]");
}

static void chat_place(hs_choice *c, const hs_piece *piece)
{
    hs_text *t = c->places;
    hs_text_add(t, "%s", comma(t));
    add_chat_token(t, c, piece->id, piece->logprob);
    hs_text_add(t, ",\"top_logprobs\":[");
    for (int i = 0; i < piece->n_top; i++) {
        hs_text_add(t, i ? "," : "");
        add_chat_token(t, c, piece->top[i].id, piece->top[i].logprob);
        hs_text_add(t, "}");
    }
    hs_text_add(t, "]}");
}

static void add_places_of_chat(hs_text *t, hs_choice *c)
{
    if (!c->r->p.logprobs) {
        hs_text_add(t, ",\"logprobs\":null");
        return;
    }
    hs_text_add(t, ",\"logprobs\":{\"content\":[");
    hs_text_bytes(t, c->places->p ? c->places->p : "", c->places->n);
    hs_text_add(t, "]}");
    t->failed |= c->places->failed;
    hs_text_free(c->places);
}

// An answer that is no stream, its choices by `add`.
static void write_answer(hs_text *t, hs_text_request *r, const char *object,
                         void (*add)(hs_text *t, hs_choice *c, const char *text, size_t n, hs_finish finish))
{
    head(t, r, object);
    for (int i = 0; i < r->n_choices; i++) {
        hs_choice *c = &r->choice[i];
        hs_text_add(t, i ? "," : ",\"choices\":[");
        add(t, c, c->text.p ? c->text.p : "", c->text.n, c->g.finish);
        t->failed |= c->text.failed;
    }
    hs_text_add(t, "],");
    add_usage(t, r);
    hs_text_add(t, "}");
}

// ---- completions

static void add_completion(hs_text *t, hs_choice *c, const char *text, size_t n, hs_finish finish)
{
    hs_text_add(t, "{\"index\":%d,\"text\":", c->index);
    hs_text_quote(t, text, n);
    add_places_of_completion(t, c);
    add_finish(t, finish);
}

static void completion_event(hs_text *t, hs_choice *c, const char *text, size_t n, hs_finish finish)
{
    head(t, c->r, "text_completion");
    hs_text_add(t, ",\"choices\":[");
    add_completion(t, c, text, n, finish);
    end_event(t, c->r);
}

static void completion_answer(hs_text *t, hs_text_request *r) { write_answer(t, r, "text_completion", add_completion); }

static void completion_end(hs_text *t, hs_text_request *r) { end_stream(t, r, "text_completion"); }

static const hs_protocol completion_form = { .of = HS_TEXT_COMPLETION,
                                             .id = "cmpl-",
                                             .place = completion_place,
                                             .event = completion_event,
                                             .answer = completion_answer,
                                             .end = completion_end,
                                             .wrong = wrong };

// A text or ids, or a list of either.
static int prompts_of(const json_t *prompt)
{
    const json_t *first = json_array_get(prompt, 0);
    return json_is_array(prompt) && (json_is_string(first) || json_is_array(first)) ? (int)json_array_size(prompt) : 1;
}

static bool add_prompt(hs_text_request *r, const json_t *prompt)
{
    if (json_is_string(prompt))
        return hs_text_request_text(r, json_string_value(prompt), json_string_length(prompt));
    if (json_is_array(prompt))
        return hs_text_request_ids(r, prompt);
    hs_text_request_fail(r, 400, "prompt", "prompt must be a text, a list of token ids, or a list of either");
    return false;
}

// The request, with its parameters; NULL: it is answered.
static hs_text_request *begin(hs_call *c, const hs_protocol *form, int (*prompts)(const json_t *body), const char *const *skip)
{
    json_t *body = hs_call_body(c);
    const json_t *name = json_object_get(body, "model");
    hs_served *m = NULL;
    int n = 0;
    if (body && !json_is_object(body))
        hs_call_fail(c, 400, "the body must be an object");
    else if (name && !json_is_string(name) && !json_is_null(name))
        hs_call_fail(c, 400, "model must be a name");
    else if (body)
        m = hs_call_model(c, json_string_value(name), 0, HS_DOES_TEXT);
    if (m && (n = prompts(body)) > m->o->most_texts) {
        hs_call_fail(c, 413, "prompt has %d texts, at most %lld are taken at once", n, (long long)m->o->most_texts);
        hs_served_let_go(m);
        m = NULL;
    }
    if (!m) {
        json_decref(body);
        return NULL;
    }
    hs_text_request *r = hs_text_request_new(c, m, body, form, n);
    if (!r)
        return NULL;
    const hs_status st = hs_text_params_read(&r->p, body, form->of, skip);
    if (st == HS_OK)
        return r;
    hs_text_request_fail(r, st == HS_USAGE ? 400 : 503, r->p.wrong, "%s", hs_error());
    return NULL;
}

static int prompts_of_completion(const json_t *body) { return prompts_of(json_object_get(body, "prompt")); }

static void completions(hs_call *c)
{
    static const char *const skip[] = { "model", "prompt", NULL };
    hs_text_request *r = begin(c, &completion_form, prompts_of_completion, skip);
    const json_t *prompt = r ? json_object_get(r->body, "prompt") : NULL;
    const bool list = r && json_is_array(prompt) && (json_is_string(json_array_get(prompt, 0)) || json_is_array(json_array_get(prompt, 0)));
    if (!r)
        return;
    for (size_t i = 0; i < (list ? json_array_size(prompt) : 1); i++)
        if (!add_prompt(r, list ? json_array_get(prompt, i) : prompt))
            return;
    hs_text_request_go(r);
}

// ---- chat

static void add_message(hs_text *t, hs_choice *c, const char *text, size_t n, hs_finish finish)
{
    hs_text_add(t, "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":", c->index);
    hs_text_quote(t, text, n);
    hs_text_add(t, "}");
    add_places_of_chat(t, c);
    add_finish(t, finish);
}

static void chat_event(hs_text *t, hs_choice *c, const char *text, size_t n, hs_finish finish)
{
    head(t, c->r, "chat.completion.chunk");
    hs_text_add(t, ",\"choices\":[{\"index\":%d,\"delta\":{", c->index);
    if (!c->begun)
        hs_text_add(t, "\"role\":\"assistant\",");
    if (!c->begun || n) {
        hs_text_add(t, "\"content\":");
        hs_text_quote(t, text, n);
    }
    hs_text_add(t, "}");
    add_places_of_chat(t, c);
    add_finish(t, finish);
    end_event(t, c->r);
}

static void chat_answer(hs_text *t, hs_text_request *r) { write_answer(t, r, "chat.completion", add_message); }

static void chat_end(hs_text *t, hs_text_request *r) { end_stream(t, r, "chat.completion.chunk"); }

static const hs_protocol chat_form = {
    .of = HS_TEXT_CHAT, .id = "chatcmpl-", .place = chat_place, .event = chat_event, .answer = chat_answer, .end = chat_end, .wrong = wrong
};

// Texts of a message one behind the other; NULL: something else is among them.
static char *content_of(const json_t *content)
{
    hs_text t = { 0 };
    size_t i;
    json_t *part;
    if (json_is_null(content))
        return strdup("");
    if (json_is_string(content))
        return strdup(json_string_value(content));
    hs_text_bytes(&t, "", 0);
    json_array_foreach((json_t *)(uintptr_t)content, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type")), *text = json_string_value(json_object_get(part, "text"));
        t.failed |= !type || !text || strcmp(type, "text") != 0;
        hs_text_bytes(&t, text ? text : "", text ? strlen(text) : 0);
    }
    if (t.failed || !json_is_array(content)) {
        hs_text_free(&t);
        return NULL;
    }
    return t.p ? t.p : strdup("");
}

// What a template would be given, and this one's messages have no place for; NULL: nothing.
static const char *beyond(const json_t *message)
{
    static const char *const keys[] = { "tool_calls", "tool_call_id", "function_call", "audio", "refusal" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(message, keys[i]);
        if (v && !json_is_null(v) && !(json_is_array(v) && json_array_size(v) == 0))
            return keys[i];
    }
    return NULL;
}

// The conversation as the text that the model continues. False: it is answered, and r is gone.
static bool add_conversation(hs_text_request *r, const json_t *messages, hs_chat_message *m, int n)
{
    for (int i = 0; i < n; i++) {
        const json_t *one = json_array_get(messages, (size_t)i), *content = json_object_get(one, "content");
        if (beyond(one)) {
            hs_text_request_fail(r, 400, "messages", "message %d has %s, which is not supported", i + 1, beyond(one));
            return false;
        }
        m[i].role = json_string_value(json_object_get(one, "role"));
        m[i].content = m[i].role && content ? content_of(content) : NULL;
        if (!m[i].content) {
            hs_text_request_fail(r, 400, "messages", "message %d must have a role and content: a text, or a list of parts of type text",
                                 i + 1);
            return false;
        }
    }
    char *text;
    size_t bytes;
    if (hs_chat_template_render(r->model->chat, m, n, r->p.generation_prompt, &text, &bytes) != HS_OK) {
        hs_text_request_fail(r, 400, "messages", "%s", hs_error());
        return false;
    }
    const bool added = hs_text_request_text(r, text, bytes);
    free(text);
    return added;
}

static int one_prompt(const json_t *body)
{
    (void)body;
    return 1;
}

static void chat(hs_call *c)
{
    static const char *const skip[] = { "model", "messages", NULL };
    hs_text_request *r = begin(c, &chat_form, one_prompt, skip);
    if (!r)
        return;
    const json_t *messages = json_object_get(r->body, "messages");
    const int n = (int)json_array_size(messages);
    if (!r->model->chat) {
        hs_text_request_fail(r, 400, "model", "%s cannot chat: %s", r->model->name, r->model->no_chat);
        return;
    }
    if (n == 0) {
        hs_text_request_fail(r, 400, "messages", "messages must be a list of messages, at least one");
        return;
    }
    hs_chat_message *m = calloc((size_t)n, sizeof *m);
    if (!m) {
        hs_text_request_fail(r, 503, NULL, "no memory for %d messages", n);
        return;
    }
    const bool added = add_conversation(r, messages, m, n);
    for (int i = 0; i < n; i++)
        free((char *)(uintptr_t)m[i].content);
    free(m);
    if (added)
        hs_text_request_go(r);
}

// ---- models

typedef struct list {
    json_t *models;
    const char *name; // NULL: all
    int64_t began;
} list;

static void add_model(const hs_hub_entry *e, void *user)
{
    list *l = user;
    if (e->served && (!l->name || strcmp(l->name, e->name) == 0))
        json_array_append_new(l->models, json_pack("{s:s, s:s, s:I, s:s}", "id", e->name, "object", "model", "created",
                                                   (json_int_t)(l->began / 1000), "owned_by", "halfstep"));
}

static void models(hs_call *c)
{
    list l = { json_array(), NULL, c->server->began };
    hs_hub_each(c->server->hub, add_model, &l);
    hs_call_json(c, 200, json_pack("{s:s, s:o}", "object", "list", "data", l.models));
}

static void model(hs_call *c)
{
    list l = { json_array(), c->arg[0], c->server->began };
    hs_hub_each(c->server->hub, add_model, &l);
    json_t *one = json_incref(json_array_get(l.models, 0));
    json_decref(l.models);
    if (one)
        hs_call_json(c, 200, one);
    else
        hs_call_fail(c, 404, "there is no model '%s' here", c->arg[0]);
}

const hs_route hs_routes_openai[] = {
    { .method = "POST", .pattern = "/v1/completions", .run = completions },
    { .method = "POST", .pattern = "/v1/chat/completions", .run = chat },
    { .method = "GET", .pattern = "/v1/models", .run = models },
    { .method = "GET", .pattern = "/v1/models/{}", .run = model },
    { 0 },
};

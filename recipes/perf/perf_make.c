// perf_make: requests as bytes.
#include "recipes/perf/perf_make.h"
#include "core/base/dtype.h"
#include "core/base/rng.h"
#include "data/base/json_util.h"
#include "recipes/program/lines.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Words that are one token each of BERT's and GPT-2's vocabularies.
static const char *const words[] = {
    "the",     "of",     "and",    "to",    "in",     "was",   "for",     "on",    "with",    "as",    "by",    "at",     "from",  "his",
    "that",    "which",  "were",   "are",   "this",   "also",  "be",      "had",   "or",      "has",   "first", "their",  "one",   "its",
    "after",   "new",    "who",    "they",  "two",    "her",   "she",     "been",  "other",   "when",  "time",  "all",    "there", "school",
    "year",    "during", "more",   "city",  "into",   "some",  "up",      "most",  "over",    "world", "used",  "war",    "can",   "made",
    "out",     "only",   "part",   "where", "such",   "state", "then",    "about", "between", "later", "team",  "many",   "would", "may",
    "known",   "people", "years",  "three", "under",  "name",  "while",   "high",  "season",  "these", "being", "county", "group", "both",
    "several", "before", "number", "since", "second", "part",  "through", "work",  "life",    "end",   "film",  "family", "music", "house",
    "great",   "river",  "south",  "north", "small",  "long",  "early",   "book",  "game",    "home",  "water", "town",   "light", "old",
};

const char *const hs_perf_route_paths[HS_ROUTE_PATH] = {
    [HS_ROUTE_EMBED] = "/embed",
    [HS_ROUTE_PREDICT] = "/predict",
    [HS_ROUTE_NER] = "/ner",
    [HS_ROUTE_EMBEDDINGS] = "/v1/embeddings",
    [HS_ROUTE_COMPLETIONS] = "/v1/completions",
    [HS_ROUTE_INFER] = "/v2/models/NAME/infer",
};

typedef struct maker {
    const hs_perf_server *server;
    const hs_perf_want *want;
    char **text; // of a file
    int64_t n_texts, room;
    uint64_t drawn;
    char model[256];
    json_t *metadata; // of infer
    int64_t ids;      // of infer: token ids are below
} maker;

static uint32_t draw(maker *m)
{
    const uint64_t k = m->drawn++;
    return hs_random(m->want->seed, (uint32_t)k, (uint32_t)(k >> 32), 0x74657874, 0).v[0];
}

static hs_status read_texts(maker *m)
{
    hs_lines *l;
    const char *text;
    size_t n;
    HS_TRY(hs_lines_open(&l, m->want->texts));
    hs_status st;
    while ((st = hs_lines_next(l, &text, &n)) == HS_OK && text) {
        if (n == 0)
            continue;
        if (m->n_texts == m->room) {
            const int64_t room = 2 * m->room + 256;
            char **p = realloc(m->text, (size_t)room * sizeof *p);
            if (!p)
                break;
            m->text = p, m->room = room;
        }
        if (!(m->text[m->n_texts] = strndup(text, n)))
            break;
        m->n_texts++;
    }
    if (st == HS_OK && text)
        st = HS_FAIL(MEMORY, "no memory for the texts of %s", m->want->texts);
    hs_lines_close(l);
    if (st == HS_OK && m->n_texts == 0)
        st = HS_FAIL(USAGE, "%s has no text", m->want->texts);
    return st;
}

static int64_t draw_length(maker *m) { return m->want->least + (int64_t)(draw(m) % (uint64_t)(m->want->most - m->want->least + 1)); }

static void add_text(maker *m, hs_text *to)
{
    if (m->n_texts) {
        hs_text_string(to, m->text[draw(m) % (uint64_t)m->n_texts]);
        return;
    }
    for (int64_t i = 0, n = draw_length(m); i < n; i++)
        hs_text_add(to, "%s%s", i ? " " : "\"", words[draw(m) % (uint32_t)HS_COUNT(words)]);
    hs_text_add(to, "\"");
}

static void add_texts(maker *m, hs_text *to)
{
    const bool lists = m->want->items > 1 && m->want->route == HS_ROUTE_PREDICT; // two texts in one list are a pair there
    if (m->want->items > 1)
        hs_text_add(to, "[");
    for (int64_t i = 0; i < m->want->items; i++) {
        hs_text_add(to, "%s%s", i ? "," : "", lists ? "[" : "");
        add_text(m, to);
        hs_text_add(to, lists ? "]" : "");
    }
    if (m->want->items > 1)
        hs_text_add(to, "]");
}

static void whole(maker *m, const char *path, const char *type, const char *more, const char *body, size_t n, hs_perf_requests *out)
{
    hs_text head = { 0 };
    hs_text_add(&head, "%s %s%s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: %s\r\n%s%s%sContent-Length: %zu\r\n\r\n", body ? "POST" : "GET",
                m->server->prefix, path, m->server->host, m->server->port, type, more, m->want->header, *m->want->header ? "\r\n" : "", n);
    char *bytes = head.failed ? NULL : malloc(head.n + n + 1);
    if (bytes) {
        memcpy(bytes, head.p, head.n);
        if (n)
            memcpy(bytes + head.n, body, n);
        out->bytes[out->count] = bytes, out->n[out->count++] = head.n + n;
    }
    hs_text_free(&head);
}

static void make_text_request(maker *m, hs_perf_requests *out)
{
    const hs_perf_want *w = m->want;
    hs_text t = { 0 };
    if (w->route <= HS_ROUTE_NER) {
        hs_text_add(&t, "{\"inputs\":");
        add_texts(m, &t);
    } else {
        hs_text_add(&t, "{\"model\":");
        hs_text_string(&t, m->model);
        hs_text_add(&t, w->route == HS_ROUTE_EMBEDDINGS ? ",\"input\":" : ",\"prompt\":");
        add_texts(m, &t);
    }
    if (w->route == HS_ROUTE_EMBEDDINGS && w->base64)
        hs_text_add(&t, ",\"encoding_format\":\"base64\"");
    if (w->route == HS_ROUTE_COMPLETIONS)
        hs_text_add(
            &t, ",\"max_tokens\":%lld,\"temperature\":0,\"ignore_eos\":true,\"stream\":true,\"stream_options\":{\"include_usage\":true}",
            (long long)w->tokens);
    hs_text_add(&t, "}");
    if (!t.failed)
        whole(m, hs_perf_route_paths[w->route], "application/json", "", t.p, t.n, out);
    hs_text_free(&t);
}

// ---- tensors. What a name means is guessed as clients do: masks are 1, types 0, all else ids (a model's special ones come
// first, so not of the first tenth) or values in (-1, 1)

typedef struct wire {
    char *p;
    size_t n, room;
    bool failed;
} wire;

static void wire_add(wire *w, const void *bytes, size_t n)
{
    if (w->n + n > w->room) {
        const size_t room = 2 * (w->n + n) + 1024;
        char *p = w->failed ? NULL : realloc(w->p, room);
        if (!p) {
            w->failed = true;
            return;
        }
        w->p = p, w->room = room;
    }
    memcpy(w->p + w->n, bytes, n);
    w->n += n;
}

static const struct {
    const char *name;
    size_t bytes;
    char kind; // integer, float, text
} types[] = { { "INT64", 8, 'i' },  { "INT32", 4, 'i' },  { "INT16", 2, 'i' }, { "INT8", 1, 'i' }, { "UINT64", 8, 'i' },
              { "UINT32", 4, 'i' }, { "UINT16", 2, 'i' }, { "UINT8", 1, 'i' }, { "BOOL", 1, 'i' }, { "FP32", 4, 'f' },
              { "FP64", 8, 'd' },   { "FP16", 2, 'h' },   { "BF16", 2, 'b' },  { "BYTES", 0, 't' } };

static void add_value(maker *m, const char *name, int type, wire *to)
{
    const float x = (float)(2 * hs_u32_unit(draw(m)) - 1);
    int64_t id = strstr(name, "mask")                              ? 1
                 : strstr(name, "type") || strstr(name, "segment") ? 0
                                                                   : m->ids / 10 + (int64_t)(draw(m) % (uint64_t)(m->ids - m->ids / 10));
    if (types[type].bytes == 1)
        id &= 1;
    switch (types[type].kind) {
    case 'i':
        wire_add(to, &id, types[type].bytes); // little-endian, as the protocol's
        break;
    case 'f':
        wire_add(to, &x, sizeof x);
        break;
    case 'd':
        wire_add(to, &(double){ x }, sizeof(double));
        break;
    case 'h':
        wire_add(to, &(uint16_t){ hs_f32_f16(x) }, sizeof(uint16_t));
        break;
    case 'b':
        wire_add(to, &(uint16_t){ hs_f32_bf16(x) }, sizeof(uint16_t));
        break;
    default: {
        const char *text = m->n_texts ? m->text[draw(m) % (uint64_t)m->n_texts] : words[draw(m) % (uint32_t)HS_COUNT(words)];
        const uint32_t n = (uint32_t)strlen(text);
        wire_add(to, &n, sizeof n);
        wire_add(to, text, n);
    }
    }
}

static hs_status add_tensor(maker *m, const json_t *input, int64_t length, json_t *described, wire *to)
{
    const char *name = json_string_value(json_object_get(input, "name")), *type = json_string_value(json_object_get(input, "datatype"));
    const json_t *shape = json_object_get(input, "shape");
    int k = 0;
    while (k < HS_COUNT(types) && (!type || strcmp(types[k].name, type) != 0))
        k++;
    if (!name || k == HS_COUNT(types) || !json_is_array(shape))
        return HS_FAIL(UNSUPPORTED, "input %s of model %s has the type %s, which is not made here", name ? name : "?", m->model,
                       type ? type : "?");
    json_t *dims = json_array();
    int64_t n = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        int64_t d = json_integer_value(json_array_get(shape, i));
        d = d > 0 ? d : i == 0 ? m->want->items : types[k].kind == 't' ? 1 : length;
        json_array_append_new(dims, json_integer(d));
        n *= d;
    }
    const size_t before = to->n;
    for (int64_t i = 0; i < n && !to->failed; i++)
        add_value(m, name, k, to);
    json_array_append_new(described, json_pack("{s:s,s:o,s:s,s:{s:I}}", "name", name, "shape", dims, "datatype", type, "parameters",
                                               "binary_data_size", (json_int_t)(to->n - before)));
    return HS_OK;
}

static bool is_text(const json_t *input)
{
    const char *type = json_string_value(json_object_get(input, "datatype"));
    return type && strcmp(type, "BYTES") == 0;
}

static hs_status make_infer_request(maker *m, hs_perf_requests *out)
{
    const json_t *inputs = json_object_get(m->metadata, "inputs");
    json_t *described = json_array();
    wire tensors = { 0 };
    const int64_t length = draw_length(m); // one for all inputs of a request
    hs_status st = json_array_size(inputs) ? HS_OK : HS_FAIL(SYSTEM, "the server names no inputs of model %s", m->model);
    bool numbers = false; // a model that takes token ids may take texts instead: one of both
    for (size_t i = 0; i < json_array_size(inputs); i++)
        numbers |= !is_text(json_array_get(inputs, i));
    for (size_t i = 0; i < json_array_size(inputs) && st == HS_OK; i++)
        if (!numbers || !is_text(json_array_get(inputs, i)))
            st = add_tensor(m, json_array_get(inputs, i), length, described, &tensors);
    json_t *head = json_pack("{s:o,s:{s:b}}", "inputs", described, "parameters", "binary_data_output", 1);
    char *text = st == HS_OK ? json_dumps(head, JSON_COMPACT) : NULL, path[320], more[80];
    json_decref(head);
    if (text && !tensors.failed) {
        wire body = { 0 };
        wire_add(&body, text, strlen(text));
        if (tensors.n)
            wire_add(&body, tensors.p, tensors.n);
        snprintf(path, sizeof path, "/v2/models/%s/infer", m->model);
        snprintf(more, sizeof more, "Inference-Header-Content-Length: %zu\r\n", strlen(text));
        if (!body.failed)
            whole(m, path, "application/octet-stream", more, body.p, body.n, out);
        free(body.p);
    }
    free(text);
    free(tensors.p);
    return st;
}

// ---- what the server says of itself

static json_t *ask(maker *m, const char *path, int *status)
{
    char *answer;
    if (hs_perf_ask(m->server, "GET", path, NULL, 10, status, &answer) != HS_OK)
        return NULL;
    json_t *j = *status == 200 ? json_loads(answer, 0, NULL) : NULL;
    free(answer);
    return j;
}

// The first model of OpenAI's list, where none is named.
static void find_model(maker *m)
{
    int status;
    if (*m->want->model) {
        snprintf(m->model, sizeof m->model, "%s", m->want->model);
        return;
    }
    json_t *list = ask(m, "/v1/models", &status);
    const char *id = json_string_value(json_object_get(json_array_get(json_object_get(list, "data"), 0), "id"));
    snprintf(m->model, sizeof m->model, "%s", id ? id : "default");
    json_decref(list);
}

static hs_status find_inputs(maker *m)
{
    char path[320];
    int status;
    snprintf(path, sizeof path, "/v2/models/%s/config", m->model);
    json_t *config = ask(m, path, &status); // a server of ours says how many tokens there are
    const char *vocabulary =
        json_string_value(json_object_get(json_object_get(json_object_get(config, "parameters"), "vocabulary"), "string_value"));
    const int64_t told = vocabulary ? strtoll(vocabulary, NULL, 10) : 0;
    m->ids = told > 1 && told < 1000 ? told : 1000;
    json_decref(config);
    snprintf(path, sizeof path, "/v2/models/%s", m->model);
    m->metadata = ask(m, path, &status);
    if (m->metadata)
        return HS_OK;
    return status ? HS_FAIL(USAGE, "%s:%s has no model %s: GET %s gives %d; --model names another", m->server->host, m->server->port,
                            m->model, path, status)
                  : HS_FAIL(SYSTEM, "%s:%s does not say what model %s takes: %s", m->server->host, m->server->port, m->model, hs_error());
}

static hs_status make_from_file(maker *m, hs_perf_requests *out)
{
    const hs_perf_want *w = m->want;
    char *body = NULL;
    size_t n = 0;
    if (*w->body) {
        FILE *f = fopen(w->body, "rb"), *to = f ? open_memstream(&body, &n) : NULL;
        for (int c; to && (c = getc(f)) != EOF;)
            putc(c, to);
        const bool good = to && !ferror(f) && fclose(to) == 0;
        if (f)
            fclose(f);
        if (!good)
            return HS_FAIL(USAGE, "%s cannot be read", w->body);
    }
    whole(m, w->path, w->content_type, "", body, n, out);
    free(body);
    return HS_OK;
}

static hs_status make(maker *m, hs_perf_requests *out)
{
    const hs_perf_want *w = m->want;
    int n = w->route == HS_ROUTE_PATH ? 1 : HS_PERF_DISTINCT;
    while (w->items * n > 16 * HS_PERF_DISTINCT && n > 16)
        n /= 2;
    out->bytes = calloc((size_t)n, sizeof *out->bytes), out->n = calloc((size_t)n, sizeof *out->n);
    if (!out->bytes || !out->n)
        return HS_FAIL(MEMORY, "no memory for requests");
    out->items = (int)w->items, out->stream = w->route == HS_ROUTE_COMPLETIONS;
    if (*w->texts)
        HS_TRY(read_texts(m));
    if (w->route > HS_ROUTE_NER && w->route != HS_ROUTE_PATH)
        find_model(m);
    if (w->route == HS_ROUTE_INFER)
        HS_TRY(find_inputs(m));
    for (int i = 0; i < n; i++) {
        if (w->route == HS_ROUTE_PATH)
            HS_TRY(make_from_file(m, out));
        else if (w->route == HS_ROUTE_INFER)
            HS_TRY(make_infer_request(m, out));
        else
            make_text_request(m, out);
        if (out->count != i + 1)
            return HS_FAIL(MEMORY, "no memory for requests");
    }
    return HS_OK;
}

hs_status hs_perf_requests_make(const hs_perf_server *s, const hs_perf_want *w, hs_perf_requests *out)
{
    maker m = { .server = s, .want = w };
    *out = (hs_perf_requests){ 0 };
    const hs_status st = make(&m, out);
    for (int64_t i = 0; i < m.n_texts; i++)
        free(m.text[i]);
    free(m.text);
    json_decref(m.metadata);
    if (st != HS_OK)
        hs_perf_requests_free(out);
    return st;
}

void hs_perf_requests_free(hs_perf_requests *r)
{
    for (int i = 0; i < r->count; i++)
        free(r->bytes[i]);
    free(r->bytes);
    free(r->n);
    *r = (hs_perf_requests){ 0 };
}

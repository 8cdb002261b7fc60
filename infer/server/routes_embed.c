// routes_embed: vectors of texts, as TEI (/embed) and OpenAI (/v1/embeddings) are asked for them.
#include "infer/server/request_body.h"
#include "infer/server/routes.h"
#include "infer/server/text_work.h"
#include <stdlib.h>
#include <string.h>

typedef struct embed { // hs_text_work.own
    int64_t width; // of an answer: the model's
    bool base64;
    int64_t first[]; // of all tokens: of each text, in the order that they stand in the vectors; else empty
} embed;

static hs_status take(hs_text_work *w, const hs_wanted_row *r, int row)
{
    int64_t one;
    return hs_wanted_floats(r, 0, w->vector + row * ((const embed *)w->own)->width, &one);
}

// Of each token instead of one of them all.
static hs_status take_all(hs_text_work *w, const hs_wanted_row *r, int row)
{
    const embed *e = w->own;
    int64_t tokens;
    if (!w->vector && !(w->vector = malloc((size_t)(w->tokens * e->width) * sizeof *w->vector))) // what only waits takes none
        return HS_FAIL(MEMORY, "no memory for %lld vectors", (long long)w->tokens);
    return hs_wanted_floats(r, 0, w->vector + e->first[row] * e->width, &tokens);
}

static void add_vector(hs_text *t, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        hs_text_bytes(t, i ? "," : "[", 1);
        hs_text_f32(t, v[i]);
    }
    hs_text_bytes(t, "]", 1);
}

// ---- TEI

static void answer_tei(hs_text_work *w)
{
    const embed *e = w->own;
    hs_text t = { 0 };
    for (int i = 0; i < w->n; i++) {
        hs_text_add(&t, i ? "," : "[");
        add_vector(&t, w->vector + i * e->width, e->width);
    }
    hs_text_add(&t, "]");
    hs_call_send(&w->call, "application/json", &t);
}

static void answer_all(hs_text_work *w)
{
    const embed *e = w->own;
    hs_text t = { 0 };
    for (int i = 0; i < w->n; i++)
        for (int64_t k = 0; k < w->row[i].n; k++) {
            hs_text_add(&t, k ? "," : i ? "],[" : "[[");
            add_vector(&t, w->vector + (e->first[i] + k) * e->width, e->width);
        }
    hs_text_add(&t, "]]");
    hs_call_send(&w->call, "application/json", &t);
}

// ---- OpenAI

static void add_base64(hs_text *t, const float *v, int64_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)v; // little-endian, as all that this builds for
    const size_t bytes = (size_t)n * sizeof *v;
    hs_text_add(t, "\"");
    for (size_t i = 0; i < bytes; i += 3) {
        const unsigned a = p[i], b = i + 1 < bytes ? p[i + 1] : 0, c = i + 2 < bytes ? p[i + 2] : 0, all = a << 16 | b << 8 | c;
        hs_text_add(t, "%c%c%c%c", letters[all >> 18], letters[all >> 12 & 63], i + 1 < bytes ? letters[all >> 6 & 63] : '=',
                    i + 2 < bytes ? letters[all & 63] : '=');
    }
    hs_text_add(t, "\"");
}

static void answer_openai(hs_text_work *w)
{
    const embed *e = w->own;
    hs_text t = { 0 };
    hs_text_add(&t, "{\"object\":\"list\",\"data\":");
    for (int i = 0; i < w->n; i++) {
        hs_text_add(&t, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "[", i);
        (e->base64 ? add_base64 : add_vector)(&t, w->vector + i * e->width, e->width);
        hs_text_add(&t, "}");
    }
    hs_text_add(&t, "],\"model\":");
    hs_text_string(&t, w->model->name);
    hs_text_add(&t, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}", (long long)w->tokens, (long long)w->tokens);
    hs_call_send(&w->call, "application/json", &t);
}

// ---- both

typedef struct asked {
    const json_t *texts;
    const char *name; // of the member that has them
    bool refuse;      // texts that are too long
    int left;         // else they are cut at their beginning
    int normalize;    // -1: as the model says
    const json_t *prompt_name; // NULL: the one that the model has by default
    bool base64;
    bool all; // a vector of each token
} asked;

// The prompt that is put before texts; NULL: there is none of that name, and it is answered.
static const char *prompt_of(const hs_call *c, const hs_sentence *s, const json_t *name)
{
    const char *word = json_string_value(name);
    if (!name || json_is_null(name))
        return s->prompt;
    for (int i = 0; word && i < s->n_named && s->prompt_pooled; i++)
        if (strcmp(s->named[i].name, word) == 0)
            return s->named[i].text;
    if (!word)
        hs_call_fail(c, 422, "prompt_name must be a name");
    else if (!s->prompt_pooled)
        hs_call_fail(c, 422, "prompt_name: this model's pooling leaves prompts out (include_prompt), which is not supported");
    else if (s->n_named == 0)
        hs_call_fail(c, 422, "prompt_name: this model has no prompts");
    else
        hs_call_fail(c, 422, "prompt_name: this model has no prompt '%.64s'; one that it has is '%s'", word, s->named[0].name);
    return NULL;
}

static bool add_text(hs_text_work *w, const asked *a, int i, const hs_text_cut *cut)
{
    size_t bytes;
    const char *text = hs_texts_at(a->texts, i, &bytes);
    return hs_text_work_add(w, text, bytes, NULL, 0, cut);
}

// ---- ids in place of texts, as OpenAI takes them: [id, ...] or a list of such

typedef struct ids {
    int n; // rows; 0: they are texts
    const json_t *list;
} ids;

static ids ids_of(const json_t *v)
{
    const json_t *first = json_array_get(v, 0);
    if (json_is_integer(first))
        return (ids){ 1, v };
    return (ids){ json_is_array(first) ? (int)json_array_size(v) : 0, v };
}

// Row i into w->rows, which has room for it and frees it (all of a row is one block, that `bytes` stands at the head of).
static bool add_ids(hs_text_work *w, const ids *from, int i, int64_t most)
{
    const json_t *list = json_is_array(json_array_get(from->list, 0)) ? json_array_get(from->list, (size_t)i) : from->list;
    const int64_t n = (int64_t)json_array_size(list);
    hs_rows *rows = &w->rows[i];
    if (n == 0 || n > most) {
        hs_text_work_fail(w, n ? 413 : 400, "input %d has %lld tokens; from 1 to %lld are taken", i + 1, (long long)n, (long long)most);
        return false;
    }
    if ((rows->row = calloc(1, sizeof *rows->row)) != NULL)
        rows->row->bytes = malloc((size_t)n * sizeof *rows->row->id);
    if (!rows->row || !rows->row->bytes) {
        free(rows->row), rows->row = NULL;
        hs_text_work_fail(w, 503, "no memory for %lld tokens", (long long)n);
        return false;
    }
    rows->n = 1, rows->row->n = n, rows->row->id = (int32_t *)rows->row->bytes;
    for (int64_t k = 0; k < n; k++) {
        const json_t *id = json_array_get(list, (size_t)k);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= w->model->session.vocab) {
            w->n = i + 1; // so many have rows
            hs_text_work_fail(w, 400, "input %d: token %lld is no id from 0 to %lld", i + 1, (long long)k + 1,
                              (long long)w->model->session.vocab - 1);
            return false;
        }
        rows->row->id[k] = (int32_t)json_integer_value(id);
    }
    hs_text_work_add_row(w, &(hs_encode_row){ .id = rows->row->id, .n = n });
    return true;
}

static int count_of(const hs_call *c, const hs_served *m, const asked *a, const ids *from)
{
    if (!from->n)
        return hs_texts_count_of(c, a->texts, a->name, m->o->most_texts);
    if (from->n <= m->o->most_texts)
        return from->n;
    hs_call_fail(c, 413, "%s has %d texts, at most %lld are taken at once", a->name, from->n, (long long)m->o->most_texts);
    return -1;
}

static void embed_texts(hs_call *c, json_t *body, const asked *a, const ids *from, void (*answer)(hs_text_work *w))
{
    hs_served *m = hs_body_model(c, body, HS_DOES_EMBED);
    const hs_sentence *how = m ? &m->sentence : NULL;
    const char *prompt = m ? prompt_of(c, how, a->prompt_name) : NULL;
    const int n = prompt ? count_of(c, m, a, from) : -1;
    hs_text_work *w = NULL;
    if (n > 0)
        w = hs_text_work_new(c, m, body, n);
    else {
        json_decref(body);
        hs_served_let_go(m);
    }
    if (!w)
        return;
    embed *e = w->own = calloc(1, sizeof *e + (a->all ? (size_t)n : 0) * sizeof *e->first);
    const int64_t width = hs_arch_int(m->session.arch, "model.width"), context = m->session.context;
    if (!e) {
        hs_text_work_fail(w, 503, "no memory for %d vectors", n);
        return;
    }
    *e = (embed){ .width = width, .base64 = a->base64 };
    w->want[w->n_wants++] =
        a->all ? (hs_want){ .what = HS_WANT_HIDDEN }
               : (hs_want){ .what = HS_WANT_VECTOR, .pooling = how->pooling, .normalize = a->normalize < 0 ? how->normalize : a->normalize };
    const hs_text_cut cut = { .max_length = how->max_length, .refuse = a->refuse, .left = a->left, .prompt = prompt };
    const int64_t most = how->max_length > 0 && how->max_length < context ? how->max_length : context;
    for (int i = 0; i < n; i++) {
        if (a->all)
            e->first[i] = w->tokens;
        if (!(from->n ? add_ids(w, from, i, most) : add_text(w, a, i, &cut)))
            return;
    }
    hs_text_work_trace(w, from->n ? NULL : a->texts);
    const size_t numbers = hs_server_most_answer(c->server) / sizeof *w->vector;
    if (a->all && (size_t)(w->tokens * width) > numbers)
        hs_text_work_fail(w, 413, "%lld vectors of %lld numbers are asked for, at most %zu numbers are given at once", (long long)w->tokens,
                          (long long)width, numbers);
    else if (!a->all && !(w->vector = malloc((size_t)(n * width) * sizeof *w->vector)))
        hs_text_work_fail(w, 503, "no memory for %d vectors", n);
    else
        hs_text_work_go(w, m->embed, a->all ? take_all : take, answer);
}

// Vectors that were not trained to be cut are not: dimensions may say what they have.
static bool right_width(const hs_call *c, const json_t *body, const json_t *dimensions)
{
    if (!dimensions || json_is_null(dimensions))
        return true;
    hs_served *m = hs_body_model(c, body, HS_DOES_EMBED);
    if (!m)
        return false;
    const int64_t width = hs_arch_int(m->session.arch, "model.width");
    const bool right = json_is_integer(dimensions) && json_integer_value(dimensions) == width;
    if (!right)
        hs_call_fail(c, 400, "dimensions must be %lld, the model's width: its vectors are not cut", (long long)width);
    hs_served_let_go(m);
    return right;
}

static const ids texts_alone = { 0 };

static void ask_tei(hs_call *c, bool all)
{
    static const char *const keys[] = { "inputs", "truncate", "truncation_direction", "prompt_name", "normalize", "dimensions", "model", NULL };
    json_t *body = hs_body_object(c);
    int truncate = 0, left = 0, normalize = all ? -1 : 1; // TEI's default, whatever the model says
    if (!body)
        return;
    if (hs_body_known(c, body, keys) && hs_body_flag(c, body, "truncate", &truncate) &&
        hs_body_side(c, body, "truncation_direction", &left) && hs_body_flag(c, body, "normalize", &normalize) &&
        right_width(c, body, json_object_get(body, "dimensions")))
        embed_texts(c, body,
                    &(asked){ .texts = json_object_get(body, "inputs"),
                              .name = "inputs",
                              .refuse = !truncate,
                              .left = left,
                              .normalize = normalize,
                              .prompt_name = json_object_get(body, "prompt_name"),
                              .all = all },
                    &texts_alone, all ? answer_all : answer_tei);
    else
        json_decref(body);
}

void hs_route_embed(hs_call *c) { ask_tei(c, false); }
static void tei_all(hs_call *c) { ask_tei(c, true); }

void hs_route_openai_embeddings(hs_call *c)
{
    json_t *body = hs_call_body(c);
    if (!body)
        return;
    const json_t *format = json_object_get(body, "encoding_format"), *dimensions = json_object_get(body, "dimensions");
    const char *form = json_string_value(format);
    if (!json_is_object(body))
        hs_call_fail(c, 400, "the body must be an object with model and input");
    else if (format && !json_is_null(format) && (!form || (strcmp(form, "float") != 0 && strcmp(form, "base64") != 0)))
        hs_call_fail(c, 400, "encoding_format must be float or base64");
    else if (right_width(c, body, dimensions)) {
        const json_t *input = json_object_get(body, "input");
        const ids from = ids_of(input);
        embed_texts(c, body,
                    &(asked){ .texts = input, .name = "input", .refuse = true, .normalize = -1, .base64 = form && strcmp(form, "base64") == 0 },
                    &from, answer_openai);
        return;
    }
    json_decref(body);
}

const hs_route hs_routes_embed[] = {
    HS_HERE_AND_BY_NAME("/embed", hs_route_embed),
    HS_HERE_AND_BY_NAME("/embed_all", tei_all),
    { .method = "POST", .pattern = "/v1/embeddings", .run = hs_route_openai_embeddings },
    { 0 },
};

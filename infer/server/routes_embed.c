// routes_embed: vectors of texts, as TEI (/embed) and OpenAI (/v1/embeddings) are asked for them.
#include "infer/server/request_body.h"
#include "infer/server/routes.h"
#include "infer/server/text_work.h"
#include <stdlib.h>
#include <string.h>

typedef struct embed { // hs_text_work.own
    hs_sentence how;
    int64_t width; // of an answer: of the model, or fewer
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
    int normalize;    // -1: as the model says
    bool base64;
    bool all; // a vector of each token
} asked;

static void embed_texts(hs_call *c, json_t *body, const asked *a, void (*answer)(hs_text_work *w))
{
    hs_served *m = hs_body_model(c, body, HS_DOES_EMBED);
    const int n = m ? hs_texts_count_of(c, a->texts, a->name, m->o->most_texts) : -1;
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
    const int64_t width = hs_arch_int(m->session.arch, "model.width");
    if (!e) {
        hs_text_work_fail(w, 503, "no memory for %d vectors", n);
        return;
    }
    *e = (embed){ .how = m->sentence, .width = width, .base64 = a->base64 };
    if (a->normalize >= 0)
        e->how.normalize = a->normalize;
    w->want[w->n_wants++] = a->all ? (hs_want){ .what = HS_WANT_HIDDEN }
                                   : (hs_want){ .what = HS_WANT_VECTOR, .pooling = e->how.pooling, .normalize = e->how.normalize };
    const hs_text_cut cut = { .max_length = e->how.max_length, .refuse = a->refuse, .prompt = e->how.prompt };
    for (int i = 0; i < n; i++) {
        size_t bytes;
        const char *text = hs_texts_at(a->texts, i, &bytes);
        if (a->all)
            e->first[i] = w->tokens;
        if (!hs_text_work_add(w, text, bytes, NULL, 0, &cut))
            return;
    }
    const size_t most = hs_server_most_answer(c->server) / sizeof *w->vector;
    if (a->all && (size_t)(w->tokens * width) > most)
        hs_text_work_fail(w, 413, "%lld vectors of %lld numbers are asked for, at most %zu numbers are given at once", (long long)w->tokens,
                          (long long)width, most);
    else if (!a->all && !(w->vector = malloc((size_t)(n * width) * sizeof *w->vector)))
        hs_text_work_fail(w, 503, "no memory for %d vectors", n);
    else
        hs_text_work_go(w, m->embed, a->all ? take_all : take, answer);
}

static void ask_tei(hs_call *c, bool all)
{
    json_t *body = hs_body_object(c);
    int truncate = 0, normalize = -1;
    if (!body)
        return;
    if (hs_body_flag(c, body, "truncate", &truncate) && hs_body_flag(c, body, "normalize", &normalize))
        embed_texts(
            c, body,
            &(asked){ .texts = json_object_get(body, "inputs"), .name = "inputs", .refuse = !truncate, .normalize = normalize, .all = all },
            all ? answer_all : answer_tei);
    else
        json_decref(body);
}

static void tei(hs_call *c) { ask_tei(c, false); }
static void tei_all(hs_call *c) { ask_tei(c, true); }

static void openai(hs_call *c)
{
    json_t *body = hs_call_body(c);
    if (!body)
        return;
    const json_t *format = json_object_get(body, "encoding_format");
    const char *form = json_string_value(format);
    if (!json_is_object(body))
        hs_call_fail(c, 400, "the body must be an object with model and input");
    else if (format && !json_is_null(format) && (!form || (strcmp(form, "float") != 0 && strcmp(form, "base64") != 0)))
        hs_call_fail(c, 400, "encoding_format must be float or base64");
    else if (json_object_get(body, "dimensions") && !json_is_null(json_object_get(body, "dimensions")))
        hs_call_fail(c, 400, "dimensions is not supported: vectors have the model's width");
    else {
        embed_texts(c, body,
                    &(asked){ .texts = json_object_get(body, "input"),
                              .name = "input",
                              .refuse = true,
                              .normalize = -1,
                              .base64 = form && strcmp(form, "base64") == 0 },
                    answer_openai);
        return;
    }
    json_decref(body);
}

const hs_route hs_routes_embed[] = {
    HS_HERE_AND_BY_NAME("/embed", tei),
    HS_HERE_AND_BY_NAME("/embed_all", tei_all),
    { .method = "POST", .pattern = "/v1/embeddings", .run = openai },
    { 0 },
};

// routes_embed: vectors of texts, as TEI (/embed) and OpenAI (/v1/embeddings) are asked for them.
#include "data/base/json_util.h"
#include "infer/server/routes.h"
#include "infer/server/text_work.h"
#include <stdlib.h>
#include <string.h>

typedef struct embed { // hs_text_work.own
    hs_sentence how;
    int64_t width; // of an answer: of the model, or fewer
    bool base64;
} embed;

static hs_status take(hs_work *work, int row, const hs_row_reader *reader, int index)
{
    hs_text_work *w = (hs_text_work *)work;
    const embed *e = w->own;
    const int64_t width = hs_row_reader_width(reader);
    return hs_row_reader_vector(reader, index, e->how.pooling, e->how.normalize, w->vector + row * width);
}

static void answer_text(const hs_text_work *w, hs_text *t)
{
    if (t->failed) {
        hs_text_free(t);
        hs_call_fail(&w->call, 503, "no memory for the answer");
    } else
        hs_http_answer(w->call.http, 200, "application/json", t->p, t->n);
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
    answer_text(w, &t);
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
    answer_text(w, &t);
}

// ---- both

typedef struct asked {
    const json_t *texts;
    const char *name; // of the member that has them
    bool refuse;      // texts that are too long
    int normalize;    // -1: as the model says
    bool base64;
} asked;

static void embed_texts(hs_call *c, json_t *body, const asked *a, void (*answer)(hs_text_work *w))
{
    const json_t *name = json_object_get(body, "model");
    hs_served *m = NULL;
    if (name && !json_is_string(name) && !json_is_null(name))
        hs_call_fail(c, 422, "model must be a name");
    else
        m = hs_call_model(c, json_string_value(name), 0, HS_DOES_EMBED);
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
    embed *e = w->own = calloc(1, sizeof *e);
    const int64_t width = hs_arch_int(m->session.arch, "model.width");
    w->vector = malloc((size_t)(n * width) * sizeof *w->vector);
    if (!e || !w->vector) {
        hs_text_work_fail(w, 503, "no memory for %d vectors", n);
        return;
    }
    *e = (embed){ .how = m->sentence, .width = width, .base64 = a->base64 };
    if (a->normalize >= 0)
        e->how.normalize = a->normalize;
    const hs_text_cut cut = { .max_length = e->how.max_length, .refuse = a->refuse, .prompt = e->how.prompt };
    for (int i = 0; i < n; i++) {
        size_t bytes;
        const char *text = hs_texts_at(a->texts, i, &bytes);
        if (!hs_text_work_add(w, text, bytes, NULL, 0, &cut))
            return;
    }
    hs_text_work_go(w, m->embed, take, answer);
}

static bool truth(const hs_call *c, const json_t *body, const char *key, int *value)
{
    const json_t *v = json_object_get(body, key);
    if (v && !json_is_boolean(v) && !json_is_null(v)) {
        hs_call_fail(c, 422, "%s must be true or false", key);
        return false;
    }
    if (json_is_boolean(v))
        *value = json_is_true(v);
    return true;
}

static void tei(hs_call *c)
{
    json_t *body = hs_call_body(c);
    int truncate = 0, normalize = -1;
    if (!body)
        return;
    if (!json_is_object(body))
        hs_call_fail(c, 422, "the body must be an object with inputs");
    else if (truth(c, body, "truncate", &truncate) && truth(c, body, "normalize", &normalize)) {
        embed_texts(c, body, &(asked){ json_object_get(body, "inputs"), "inputs", !truncate, normalize, false }, answer_tei);
        return;
    }
    json_decref(body);
}

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
        embed_texts(c, body, &(asked){ json_object_get(body, "input"), "input", true, -1, form && strcmp(form, "base64") == 0 },
                    answer_openai);
        return;
    }
    json_decref(body);
}

const hs_route hs_routes_embed[] = {
    { .method = "POST", .pattern = "/embed", .run = tei },
    { .method = "POST", .pattern = "/v1/embeddings", .run = openai },
    { 0 },
};

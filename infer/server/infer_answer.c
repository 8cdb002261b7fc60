// infer_answer: the JSON first, then what it promises.
#include "infer/server/infer_answer.h"
#include "data/base/json_util.h"
#include "infer/decode/sample.h"
#include <stdlib.h>
#include <string.h>

static hs_status no_memory(void) { return HS_FAIL(MEMORY, "no memory for the answer"); }

static int64_t elements(const hs_infer_value *v)
{
    int64_t n = 1;
    for (int i = 0; i < v->n_dims; i++)
        n *= v->dim[i];
    return n;
}

// ---- classes

typedef struct class_texts {
    hs_text *at; // [n]
    int64_t n, each;
} class_texts;

static void free_texts(class_texts *c)
{
    for (int64_t i = 0; c->at && i < c->n; i++)
        hs_text_free(&c->at[i]);
    free(c->at);
}

static hs_status make_texts(class_texts *c, const hs_infer_value *v)
{
    const int64_t rows = v->dim[0], columns = v->dim[1];
    int32_t *order = malloc((size_t)columns * sizeof *order);
    c->each = v->classes < columns ? v->classes : columns;
    c->n = rows * c->each;
    c->at = calloc((size_t)c->n, sizeof *c->at);
    bool ok = order && c->at;
    for (int64_t r = 0; ok && r < rows; r++) {
        const float *x = v->value + r * columns;
        for (int64_t i = 0; i < columns; i++)
            order[i] = (int32_t)i;
        hs_best_of(x, order, columns, c->each);
        for (int64_t k = 0; k < c->each; k++) {
            hs_text *t = &c->at[r * c->each + k];
            hs_text_add(t, "%f:%d", (double)x[order[k]], order[k]);
            if (v->labels && order[k] < v->labels->n)
                hs_text_add(t, ":%s", v->labels->name[order[k]]);
            ok &= !t->failed;
        }
    }
    free(order);
    return ok ? HS_OK : no_memory();
}

// ---- JSON

static void add_floats(hs_text *t, const float *x, int64_t n)
{
    hs_text_add(t, ",\"data\":[");
    for (int64_t i = 0; i < n; i++) {
        if (i)
            hs_text_add(t, ",");
        hs_text_f32(t, x[i]);
    }
    hs_text_add(t, "]");
}

static void add_classes(hs_text *t, const class_texts *c)
{
    hs_text_add(t, ",\"data\":[");
    for (int64_t i = 0; i < c->n; i++) {
        hs_text_add(t, i ? "," : "");
        hs_text_string(t, c->at[i].p);
    }
    hs_text_add(t, "]");
}

static size_t raw_bytes(const hs_infer_value *v, const class_texts *c)
{
    size_t n = 0;
    if (v->text)
        return sizeof(uint32_t) + v->n_text;
    if (!v->classes)
        return (size_t)elements(v) * sizeof(float);
    for (int64_t i = 0; i < c->n; i++)
        n += sizeof(uint32_t) + c->at[i].n;
    return n;
}

static void add_output(hs_text *t, const hs_infer_value *v, const class_texts *c)
{
    hs_text_add(t, "{\"name\":");
    hs_text_string(t, v->name);
    hs_text_add(t, ",\"datatype\":\"%s\",\"shape\":[", v->classes || v->text ? "BYTES" : "FP32");
    for (int i = 0; i < v->n_dims; i++)
        hs_text_add(t, "%s%lld", i ? "," : "", (long long)(v->classes && i == 1 ? c->each : v->dim[i]));
    hs_text_add(t, "]");
    if (v->binary)
        hs_text_add(t, ",\"parameters\":{\"binary_data_size\":%zu}", raw_bytes(v, c));
    else if (v->text) {
        hs_text_add(t, ",\"data\":[");
        hs_text_quote(t, v->text, v->n_text);
        hs_text_add(t, "]");
    } else if (v->classes)
        add_classes(t, c);
    else
        add_floats(t, v->value, elements(v));
    hs_text_add(t, "}");
}

static void add_all(hs_text *t, const hs_infer_answer *a, const class_texts *c)
{
    hs_text_add(t, "{\"model_name\":");
    hs_text_string(t, a->model);
    hs_text_add(t, ",\"model_version\":\"%d\"", a->version);
    if (a->id) {
        hs_text_add(t, ",\"id\":");
        hs_text_string(t, a->id);
    }
    hs_text_add(t, ",\"outputs\":[");
    for (int i = 0; i < a->n_out; i++) {
        hs_text_add(t, i ? "," : "");
        add_output(t, &a->out[i], &c[i]);
    }
    hs_text_add(t, "]}");
}

// ---- raw tensors

static char *put(char *to, const void *from, size_t n)
{
    memcpy(to, from, n);
    return to + n;
}

static char *put_raw(char *to, const hs_infer_value *v, const class_texts *c)
{
    if (v->text) {
        const uint32_t n = (uint32_t)v->n_text;
        return put(put(to, &n, sizeof n), v->text, n);
    }
    if (!v->classes)
        return put(to, v->value, raw_bytes(v, c)); // little-endian, as all that this builds for
    for (int64_t i = 0; i < c->n; i++) {
        const uint32_t n = (uint32_t)c->at[i].n;
        to = put(put(to, &n, sizeof n), c->at[i].p, n);
    }
    return to;
}

static hs_status write(const hs_infer_answer *a, const class_texts *c, char **body, size_t *bytes, int64_t *head)
{
    hs_text t = { 0 };
    size_t raw = 0;
    *head = -1;
    add_all(&t, a, c);
    for (int i = 0; i < a->n_out; i++)
        if (a->out[i].binary)
            *head = (int64_t)t.n, raw += raw_bytes(&a->out[i], &c[i]);
    char *all = t.failed ? NULL : realloc(t.p, t.n + raw + 1);
    if (!all) {
        hs_text_free(&t);
        return no_memory();
    }
    char *to = all + t.n;
    for (int i = 0; i < a->n_out; i++)
        if (a->out[i].binary)
            to = put_raw(to, &a->out[i], &c[i]);
    *body = all, *bytes = t.n + raw;
    return HS_OK;
}

hs_status hs_infer_write(const hs_infer_answer *a, char **body, size_t *bytes, int64_t *head)
{
    hs_status st = HS_OK;
    class_texts *c = calloc((size_t)a->n_out + 1, sizeof *c);
    if (!c)
        return no_memory();
    for (int i = 0; i < a->n_out && st == HS_OK; i++)
        if (a->out[i].classes)
            st = make_texts(&c[i], &a->out[i]);
    if (st == HS_OK)
        st = write(a, c, body, bytes, head);
    for (int i = 0; i < a->n_out; i++)
        free_texts(&c[i]);
    free(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

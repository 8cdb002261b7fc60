// gguf: what reading and writing share, and files that are built.
#include "data/formats/gguf.h"
#include "core/base/grow.h"
#include <stdlib.h>
#include <string.h>

// ---- memory
void *hs_gguf_keep(hs_gguf *g, size_t bytes)
{
    void *p = hs_grow(&g->block, g->n_blocks, &g->cap_blocks, sizeof *g->block) ? calloc(1, bytes > 0 ? bytes : 1) : NULL;
    if (p)
        g->block[g->n_blocks++] = p;
    else
        g->failed = true;
    return p;
}

static void *copy(hs_gguf *g, const void *from, size_t bytes)
{
    char *p = hs_gguf_keep(g, bytes + 1);
    if (p && bytes)
        memcpy(p, from, bytes);
    return p;
}

hs_status hs_gguf_new(hs_gguf **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? HS_OK : HS_FAIL(MEMORY, "no memory for a GGUF file");
}

void hs_gguf_close(hs_gguf *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n_blocks; i++)
        free(g->block[i]);
    hs_file_unmap(&g->file);
    free(g->block);
    free(g->pair);
    free(g->tensor);
    free(g->path);
    free(g);
}

// ---- what is in it
const hs_gguf_pair *hs_gguf_find(const hs_gguf *g, const char *key)
{
    const size_t n = strlen(key);
    for (int i = 0; i < g->n_pairs; i++)
        if (g->pair[i].key.n == n && memcmp(g->pair[i].key.p, key, n) == 0)
            return &g->pair[i];
    return NULL;
}

const hs_gguf_tensor *hs_gguf_tensor_of(const hs_gguf *g, const char *name)
{
    for (int i = 0; i < g->n_tensors; i++)
        if (strcmp(g->tensor[i].name, name) == 0)
            return &g->tensor[i];
    return NULL;
}

int hs_gguf_width(hs_gguf_type t)
{
    static const uint8_t widths[HS_GGUF_TYPES] = {
        [HS_GGUF_U8] = 1,  [HS_GGUF_I8] = 1,   [HS_GGUF_U16] = 2, [HS_GGUF_I16] = 2, [HS_GGUF_U32] = 4, [HS_GGUF_I32] = 4,
        [HS_GGUF_F32] = 4, [HS_GGUF_BOOL] = 1, [HS_GGUF_U64] = 8, [HS_GGUF_I64] = 8, [HS_GGUF_F64] = 8
    };
    return t < HS_GGUF_TYPES ? widths[t] : 0;
}

static int64_t integer(hs_gguf_type type, const void *data, uint64_t i)
{
    const int width = hs_gguf_width(type);
    uint64_t v = 0;
    if (type == HS_GGUF_F32 || type == HS_GGUF_F64)
        return 0;
    for (int k = 0; k < width; k++)
        v |= (uint64_t)((const uint8_t *)data)[i * (uint64_t)width + (uint64_t)k] << (8 * k);
    switch (type) {
    case HS_GGUF_I8:
        return (int8_t)v;
    case HS_GGUF_I16:
        return (int16_t)v;
    case HS_GGUF_I32:
        return (int32_t)v;
    default:
        return (int64_t)v;
    }
}

static bool is_integer(hs_gguf_type t) { return hs_gguf_width(t) > 0 && t != HS_GGUF_F32 && t != HS_GGUF_F64; }

int64_t hs_gguf_int_at(const hs_gguf_pair *p, uint64_t i) { return i < p->n && is_integer(p->of) ? integer(p->of, p->data, i) : 0; }

bool hs_gguf_int(const hs_gguf *g, const char *key, int64_t *v)
{
    const hs_gguf_pair *p = hs_gguf_find(g, key);
    if (!p || !is_integer(p->type))
        return false;
    *v = integer(p->type, p->data, 0);
    return true;
}

bool hs_gguf_real(const hs_gguf *g, const char *key, double *v)
{
    const hs_gguf_pair *p = hs_gguf_find(g, key);
    float f;
    if (p && p->type == HS_GGUF_F32) {
        memcpy(&f, p->data, sizeof f);
        *v = (double)f;
    } else if (p && p->type == HS_GGUF_F64)
        memcpy(v, p->data, sizeof *v);
    else
        return false;
    return true;
}

bool hs_gguf_string(const hs_gguf *g, const char *key, hs_gguf_text *v)
{
    const hs_gguf_pair *p = hs_gguf_find(g, key);
    if (!p || p->type != HS_GGUF_TEXT)
        return false;
    *v = p->text;
    return true;
}

// ---- building
static hs_gguf_pair *add_pair(hs_gguf *g, const char *key, hs_gguf_type type)
{
    const hs_gguf_text name = { copy(g, key, strlen(key)), strlen(key) };
    if (g->failed || !hs_grow(&g->pair, g->n_pairs, &g->cap_pairs, sizeof *g->pair)) {
        g->failed = true;
        return NULL;
    }
    g->pair[g->n_pairs] = (hs_gguf_pair){ .key = name, .type = type, .n = 1 };
    return &g->pair[g->n_pairs++];
}

void hs_gguf_put_int(hs_gguf *g, const char *key, hs_gguf_type type, int64_t v)
{
    hs_gguf_pair *p = add_pair(g, key, type);
    if (p)
        p->data = copy(g, &v, sizeof v); // its first bytes, little end first
}

void hs_gguf_put_f32(hs_gguf *g, const char *key, float v)
{
    hs_gguf_pair *p = add_pair(g, key, HS_GGUF_F32);
    if (p)
        p->data = copy(g, &v, sizeof v);
}

void hs_gguf_put_text(hs_gguf *g, const char *key, const char *v)
{
    hs_gguf_pair *p = add_pair(g, key, HS_GGUF_TEXT);
    if (p)
        p->text = (hs_gguf_text){ copy(g, v, strlen(v)), strlen(v) };
}

void hs_gguf_put_i32s(hs_gguf *g, const char *key, const int32_t *v, int64_t n)
{
    hs_gguf_pair *p = add_pair(g, key, HS_GGUF_ARRAY);
    if (p)
        p->of = HS_GGUF_I32, p->n = (uint64_t)n, p->data = copy(g, v, (size_t)n * sizeof *v);
}

void hs_gguf_put_texts(hs_gguf *g, const char *key, const hs_gguf_text *v, int64_t n)
{
    hs_gguf_pair *p = add_pair(g, key, HS_GGUF_ARRAY);
    size_t bytes = 0;
    for (int64_t i = 0; i < n; i++)
        bytes += v[i].n;
    char *all = p ? hs_gguf_keep(g, bytes + 1) : NULL;
    hs_gguf_text *list = all ? hs_gguf_keep(g, (size_t)n * sizeof *list) : NULL;
    if (!list)
        return;
    p->of = HS_GGUF_TEXT, p->n = (uint64_t)n, p->texts = list;
    for (int64_t i = 0; i < n; i++) {
        memcpy(all, v[i].p, v[i].n);
        list[i] = (hs_gguf_text){ all, v[i].n };
        all += v[i].n;
    }
}

hs_status hs_gguf_add_tensor(hs_gguf *g, const char *name, hs_ggml_type type, const hs_st_source *source)
{
    hs_gguf_tensor t = { .type = type, .n_dims = source->t.n_dims, .source = source };
    int64_t values = 1, count = 1;
    size_t bytes = 0;
    if (strlen(name) >= 64)
        return HS_FAIL(USAGE, "tensor \"%s\": GGUF has names of less than 64 bytes", name);
    if (!hs_ggml_known((int)type, &values, &bytes) || t.n_dims > HS_GGUF_DIMS || t.n_dims < 1)
        return HS_FAIL(INTERNAL, "tensor \"%s\" of type %d and %d dimensions", name, (int)type, t.n_dims);
    for (int i = 0; i < t.n_dims; i++)
        count *= t.dim[i] = source->t.dim[i];
    if (t.dim[t.n_dims - 1] % values)
        return HS_FAIL(USAGE, "tensor \"%s\" has rows of %lld, no multiple of the %lld values in a block of %s", name,
                       (long long)t.dim[t.n_dims - 1], (long long)values, hs_ggml_name((int)type));
    t.name = copy(g, name, strlen(name));
    t.bytes = (size_t)(count / values) * bytes;
    g->failed = g->failed || !hs_grow(&g->tensor, g->n_tensors, &g->cap_tensors, sizeof *g->tensor);
    if (!g->failed)
        g->tensor[g->n_tensors++] = t;
    return HS_OK;
}

// ---- types of tensors
static const struct type {
    const char *name;
    int number;
    int64_t values;
    size_t bytes;
    bool here;
} types[] = {
#define TYPE(name, number, values, bytes, here) { #name, number, values, bytes, here },
    HS_GGML_TYPE_LIST(TYPE)
};

static const struct type *type_of(int number)
{
    for (int i = 0; i < HS_COUNT(types); i++)
        if (types[i].number == number)
            return &types[i];
    return NULL;
}

const char *hs_ggml_name(int number) { return type_of(number) ? type_of(number)->name : NULL; }

bool hs_ggml_known(int number, int64_t *values, size_t *bytes)
{
    const struct type *t = type_of(number);
    if (t)
        *values = t->values, *bytes = t->bytes;
    return t && t->here;
}

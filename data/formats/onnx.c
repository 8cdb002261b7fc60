// onnx: what reading and writing share, and models that are built.
#include "data/formats/onnx.h"
#include "core/base/grow.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct hs_onnx_block {
    struct hs_onnx_block *next;
    size_t used, bytes;
    max_align_t at[];
} hs_onnx_block;

// ---- types
static const struct type {
    int number, bits, dtype;
    const char *name;
} types[] = {
#define TYPE(name, number, bits, dtype) { number, bits, dtype, #name },
    HS_ONNX_TYPE_LIST(TYPE)
};

static const struct type *type_of(int number)
{
    for (int i = 0; i < HS_COUNT(types); i++)
        if (types[i].number == number)
            return &types[i];
    return NULL;
}

int hs_onnx_bits(hs_onnx_type t) { return type_of((int)t) ? type_of((int)t)->bits : 0; }
const char *hs_onnx_type_name(int number) { return type_of(number) ? type_of(number)->name : "?"; }
hs_dtype hs_onnx_dtype(hs_onnx_type t)
{
    const struct type *of = type_of((int)t);
    return of && of->dtype >= 0 ? (hs_dtype)of->dtype : HS_N_DTYPES;
}

int64_t hs_onnx_count(const hs_onnx_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->dim[i];
    return n;
}

// ---- memory
void *hs_onnx_alloc(hs_onnx *m, size_t bytes)
{
    enum { USUAL = 64 << 10 };
    const size_t unit = sizeof(max_align_t), rounded = (bytes + unit - 1) / unit * unit;
    hs_onnx_block *b = m->memory;
    if (rounded < bytes)
        m->failed = true;
    else if (!b || b->bytes - b->used < rounded) {
        const size_t room = rounded > USUAL ? rounded : USUAL;
        b = calloc(1, sizeof *b + room);
        if (b) {
            b->bytes = room;
            b->next = m->memory, m->memory = b;
        } else
            m->failed = true;
    }
    if (m->failed)
        return NULL;
    b->used += rounded;
    return (char *)b->at + b->used - rounded;
}

const char *hs_onnx_text(hs_onnx *m, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n >= 0 ? hs_onnx_alloc(m, (size_t)n + 1) : NULL;
    if (!p)
        return "";
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

hs_status hs_onnx_new(hs_onnx **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for an ONNX model");
    (*out)->producer = (*out)->producer_version = (*out)->graph_name = "";
    return HS_OK;
}

void hs_onnx_close(hs_onnx *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n_beside; i++)
        hs_file_unmap(&m->beside[i]);
    hs_file_unmap(&m->file);
    for (hs_onnx_block *b = m->memory, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(m->opset);
    free(m->node);
    free(m->init);
    free(m->in);
    free(m->out);
    free(m->beside);
    free(m->beside_name);
    free(m->path);
    free(m);
}

// ---- what nodes say
const hs_onnx_attr *hs_onnx_attr_of(const hs_onnx_node *n, const char *name)
{
    for (int i = 0; i < n->n_attrs; i++)
        if (strcmp(n->attr[i].name, name) == 0)
            return &n->attr[i];
    return NULL;
}

int64_t hs_onnx_int(const hs_onnx_node *n, const char *name, int64_t otherwise)
{
    const hs_onnx_attr *a = hs_onnx_attr_of(n, name);
    return a && a->kind == HS_ONNX_INT ? a->i : otherwise;
}

// ---- building
static const char **texts(hs_onnx *m, const char *const *from, int n)
{
    const char **p = hs_onnx_alloc(m, (size_t)(n > 0 ? n : 1) * sizeof *p);
    for (int i = 0; p && i < n; i++)
        p[i] = hs_onnx_text(m, "%s", from[i] ? from[i] : "");
    return p;
}

hs_onnx_node *hs_onnx_add_node(hs_onnx *m, const char *op, const char *name, const char *const *in, int n_in, const char *const *out,
                               int n_out)
{
    hs_onnx_node n = { .op = hs_onnx_text(m, "%s", op), .domain = "", .name = hs_onnx_text(m, "%s", name), .n_in = n_in, .n_out = n_out };
    n.in = texts(m, in, n_in);
    n.out = texts(m, out, n_out);
    if (m->failed || !hs_grow(&m->node, m->n_nodes, &m->cap_nodes, sizeof *m->node)) {
        m->failed = true;
        return NULL;
    }
    m->node[m->n_nodes] = n;
    return &m->node[m->n_nodes++];
}

static hs_onnx_attr *add_attr(hs_onnx *m, hs_onnx_node *n, const char *name, hs_onnx_attr_kind kind)
{
    hs_onnx_attr *all = n ? hs_onnx_alloc(m, (size_t)(n->n_attrs + 1) * sizeof *all) : NULL;
    if (!all)
        return NULL;
    if (n->n_attrs)
        memcpy(all, n->attr, (size_t)n->n_attrs * sizeof *all);
    n->attr = all;
    all[n->n_attrs] = (hs_onnx_attr){ .name = hs_onnx_text(m, "%s", name), .kind = kind };
    return &all[n->n_attrs++];
}

void hs_onnx_set_int(hs_onnx *m, hs_onnx_node *n, const char *name, int64_t v)
{
    hs_onnx_attr *a = add_attr(m, n, name, HS_ONNX_INT);
    if (a)
        a->i = v;
}

void hs_onnx_set_f32(hs_onnx *m, hs_onnx_node *n, const char *name, float v)
{
    hs_onnx_attr *a = add_attr(m, n, name, HS_ONNX_FLOAT);
    if (a)
        a->f = v;
}

void hs_onnx_set_ints(hs_onnx *m, hs_onnx_node *n, const char *name, const int64_t *v, int count)
{
    hs_onnx_attr *a = add_attr(m, n, name, HS_ONNX_INTS);
    int64_t *copy = a ? hs_onnx_alloc(m, (size_t)count * sizeof *copy) : NULL;
    if (!copy)
        return;
    memcpy(copy, v, (size_t)count * sizeof *copy);
    a->ints = copy, a->n = count;
}

void hs_onnx_add_init(hs_onnx *m, const hs_onnx_tensor *t)
{
    hs_onnx_tensor copy = *t;
    copy.name = hs_onnx_text(m, "%s", t->name);
    copy.bytes = (size_t)hs_onnx_count(t) * (size_t)hs_onnx_bits(t->type) / 8;
    m->failed = m->failed || !hs_grow(&m->init, m->n_inits, &m->cap_inits, sizeof *m->init);
    if (!m->failed)
        m->init[m->n_inits++] = copy;
}

static hs_onnx_value copy_value(hs_onnx *m, const hs_onnx_value *v)
{
    hs_onnx_value copy = *v;
    copy.name = hs_onnx_text(m, "%s", v->name);
    for (int i = 0; i < v->n_dims; i++)
        copy.dim[i].symbol = v->dim[i].symbol ? hs_onnx_text(m, "%s", v->dim[i].symbol) : NULL;
    return copy;
}

void hs_onnx_add_input(hs_onnx *m, const hs_onnx_value *v)
{
    const hs_onnx_value copy = copy_value(m, v);
    m->failed = m->failed || !hs_grow(&m->in, m->n_ins, &m->cap_ins, sizeof *m->in);
    if (!m->failed)
        m->in[m->n_ins++] = copy;
}

void hs_onnx_add_output(hs_onnx *m, const hs_onnx_value *v)
{
    const hs_onnx_value copy = copy_value(m, v);
    m->failed = m->failed || !hs_grow(&m->out, m->n_outs, &m->cap_outs, sizeof *m->out);
    if (!m->failed)
        m->out[m->n_outs++] = copy;
}

void hs_onnx_add_opset(hs_onnx *m, const char *domain, int64_t version)
{
    const char *name = hs_onnx_text(m, "%s", domain);
    m->failed = m->failed || !hs_grow(&m->opset, m->n_opsets, &m->cap_opsets, sizeof *m->opset);
    if (!m->failed)
        m->opset[m->n_opsets++] = (hs_onnx_opset){ name, version };
}

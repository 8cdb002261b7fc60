// onnx_graph: nodes, constants and weights of an ONNX graph that is built from a trace, and how emitters read a node of it.
#include "core/base/grow.h"
#include "core/base/rng.h"
#include "infer/export/onnx_emit.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- names
// How often this name was asked for so far.
static int uses(hs_ox *x, const char *name)
{
    int *n = hs_map_at(&x->names, hs_hash_string(name));
    if (!n) {
        x->m->failed = true;
        return 0;
    }
    return (*n)++;
}

bool hs_ox_first_use(hs_ox *x, const char *name) { return uses(x, name) == 0; }

static const char *unique(hs_ox *x, const char *name)
{
    const int n = uses(x, name);
    return n ? hs_onnx_text(x->m, "%s_%d", name, n) : name;
}

// ---- nodes
hs_onnx_node *hs_ox_last(hs_ox *x) { return x->m->failed ? NULL : &x->m->node[x->m->n_nodes - 1]; }

const char *hs_ox_node(hs_ox *x, const char *op, const char *const *in, int n_in)
{
    const char *name = unique(x, hs_onnx_text(x->m, "%s/%s", x->path, op));
    const char *out = hs_onnx_text(x->m, "%s_output_0", name);
    hs_onnx_add_node(x->m, op, name, in, n_in, &out, 1);
    return out;
}

// ---- constants
static const char *constant(hs_ox *x, const char *name, hs_onnx_type type, int n_dims, int64_t n, const void *v, size_t bytes)
{
    void *copy = uses(x, name) ? NULL : hs_onnx_alloc(x->m, bytes);
    if (!copy)
        return name;
    memcpy(copy, v, bytes);
    const hs_onnx_tensor t = { .name = name, .type = type, .n_dims = n_dims, .dim = { n_dims == 2 ? 1 : n, n }, .data = copy };
    hs_onnx_add_init(x->m, &t);
    return name;
}

const char *hs_ox_list(hs_ox *x, const int64_t *v, int n)
{
    char name[256] = "";
    size_t used = 0;
    for (int i = 0; i < n && used < sizeof name; i++)
        used += (size_t)snprintf(name + used, sizeof name - used, "_%lld", (long long)v[i]);
    return constant(x, hs_onnx_text(x->m, "list%s", name), HS_ONNX_I64, 1, n, v, (size_t)n * sizeof *v);
}

const char *hs_ox_int(hs_ox *x, int64_t v)
{
    return constant(x, hs_onnx_text(x->m, "int_%lld", (long long)v), HS_ONNX_I64, 0, 1, &v, sizeof v);
}

const char *hs_ox_real(hs_ox *x, double v)
{
    const float f = (float)v;
    const uint16_t h = hs_f32_f16(f);
    const bool low = x->real == HS_ONNX_F16;
    return constant(x, hs_onnx_text(x->m, "real_%.9g", (double)f), x->real, 0, 1, low ? (const void *)&h : &f, low ? sizeof h : sizeof f);
}

const char *hs_ox_range(hs_ox *x, int64_t n)
{
    const char *name = hs_onnx_text(x->m, "range_%lld", (long long)n);
    int64_t *v = hs_onnx_alloc(x->m, (size_t)n * sizeof *v);
    for (int64_t i = 0; v && i < n; i++)
        v[i] = i;
    return v ? constant(x, name, HS_ONNX_I64, 2, n, v, (size_t)n * sizeof *v) : name;
}

// ---- weights
const char *hs_ox_weight_name(hs_ox *x, const hs_name_piece *piece)
{
    const char *prefix = x->model->info.files->prefix;
    const size_t n = x->bare && prefix ? strlen(prefix) : 0;
    return hs_onnx_text(x->m, "%s", n && strncmp(piece->name, prefix, n) == 0 ? piece->name + n : piece->name);
}

hs_status hs_ox_param(hs_ox *x, const hs_param *p, int piece, bool turned, const char **name)
{
    hs_name_piece all[HS_NAME_PIECES];
    int n;
    HS_TRY(hs_export_pieces(x->model, p, all, &n));
    if (piece >= n)
        return HS_FAIL(INTERNAL, "parameter %s has %d tensors in its family's files, number %d is asked for", p->name, n, piece);
    x->used[p->id] = true;
    *name = hs_ox_weight_name(x, &all[piece]);
    if (uses(x, *name)) // layers that share their parameters
        return HS_OK;
    hs_st_source *s = hs_onnx_alloc(x->m, sizeof *s);
    if (!s)
        return HS_OK;
    hs_onnx_tensor t = { .name = *name, .type = x->real, .n_dims = p->n_dims, .source = s };
    for (int i = 0; i < p->n_dims; i++)
        t.dim[i] = i == 0 && all[piece].part > 0 ? p->logical[0] / p->parts : p->logical[i];
    if (turned) {
        const int64_t out = t.dim[0];
        t.dim[0] = t.dim[1], t.dim[1] = out;
    }
    s->t = (hs_st_tensor){ .name = *name, .dtype = hs_onnx_dtype(x->real), .n_dims = p->n_dims };
    memcpy(s->t.dim, t.dim, sizeof s->t.dim);
    s->param = p, s->values = x->model->params, s->transposed = turned, s->part = all[piece].part;
    hs_onnx_add_init(x->m, &t);
    return HS_OK;
}

// ---- what many emitters need
const char *hs_ox_reshape(hs_ox *x, const char *in, const int64_t *shape, int n)
{
    return HS_OX(x, "Reshape", in, hs_ox_list(x, shape, n));
}

const char *hs_ox_transpose(hs_ox *x, const char *in, int d0, int d1, int d2, int d3)
{
    const char *out = HS_OX(x, "Transpose", in);
    hs_onnx_set_ints(x->m, hs_ox_last(x), "perm", (const int64_t[]){ d0, d1, d2, d3 }, 4);
    return out;
}

// ---- a node of the trace
const hs_tensor *hs_ox_operand(const hs_node *n, const char *name)
{
    for (int i = 0; i < HS_MAX_IN && n->op->in[i].name; i++)
        if (strcmp(n->op->in[i].name, name) == 0)
            return n->in[i];
    return NULL;
}

int64_t hs_ox_attr(const hs_node *n, const char *name)
{
    const hs_attr *a = hs_attr_find(n->op, name);
    return a ? hs_attr_int(a, n->attr) : 0;
}

double hs_ox_attr_real(const hs_node *n, const char *name)
{
    const hs_attr *a = hs_attr_find(n->op, name);
    float v = 0;
    if (a && a->type == HS_ATTR_F32)
        memcpy(&v, (const char *)n->attr + a->offset, sizeof v);
    return (double)v;
}

hs_status hs_ox_in(hs_ox *x, const hs_node *n, const char *operand, const char **name)
{
    const hs_tensor *t = hs_ox_operand(n, operand);
    const hs_ox_value *e = t ? &x->of[t->id] : NULL;
    if (!e || e->n != 1)
        return HS_FAIL(UNSUPPORTED, "%s: %s reads \"%s\" (%s), which has no form in ONNX", n->scope, n->op->name, operand,
                       !t        ? "absent"
                       : t->name ? t->name
                       : e->n    ? "stacked"
                                 : "a value of ours alone");
    *name = e->name[0];
    return HS_OK;
}

void hs_ox_out(hs_ox *x, const hs_node *n, const char *name, int64_t width)
{
    x->of[n->out[0]->id] = (hs_ox_value){ .name = { name }, .n = 1, .width = width };
}

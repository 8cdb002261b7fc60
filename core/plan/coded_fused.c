// coded_fused: in evaluation a product of codes takes over what is made of its result - a gelu, and the rounding for the product behind it
// - so that neither passes over memory. The arithmetic stays operation by operation what it was: no bit changes.
//
//   linear_i8 -> gelu or bias_gelu          one linear_i8 with act
//   linear_i8 -> linear_i8 with x_scale     the first with y_scale: its result is i8
//
// Only where nothing else reads what lies between, and the device has kernels for what comes of it.
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <string.h>

typedef struct fuser {
    const hs_device *dev;
    hs_graph *g;
    hs_rewrite *r;
    const hs_op *product;
    const hs_attr *act;
    int x, bias, x_scale, y_scale; // its operands
} fuser;

static int operand(const hs_op *op, const char *name)
{
    for (int i = 0; i < HS_MAX_IN && op->in[i].name; i++)
        if (!strcmp(op->in[i].name, name))
            return i;
    return -1;
}

// The product that alone makes what n reads in its operand i, where nothing else reads it.
static hs_node *product_before(const fuser *f, const hs_node *n, int i)
{
    const hs_tensor *x = n->in[i];
    return x && x->from && x->from->op == f->product && hs_rewrite_n_readers(f->r, x) == 1 ? x->from : NULL;
}

// Has the device a kernel for n with these attributes and operands; with y in int8 where there is a y_scale.
static bool has_kernel(const fuser *f, const hs_node *n, const void *attr, hs_tensor *const *in)
{
    hs_node probe = *n;
    hs_tensor y = *n->out[0];
    memcpy(probe.in, in, sizeof probe.in);
    probe.attr = attr, probe.out[0] = &y;
    if (in[f->y_scale])
        y.dtype = HS_I8;
    return hs_device_kernels(f->dev, &probe) != NULL;
}

// p anew in the place of `at`, with other operands and another act; p is gone. NULL: all is as it was.
static hs_node *put(const fuser *f, hs_node *at, hs_node *p, hs_tensor *const *in, int64_t act)
{
    void *attr = hs_graph_alloc(f->g, f->product->attr_bytes);
    if (!attr)
        return NULL;
    memcpy(attr, p->attr, f->product->attr_bytes);
    hs_attr_set_int(f->act, attr, act);
    if (!has_kernel(f, p, attr, in))
        return NULL;
    hs_node *n = hs_rewrite_replace(f->r, at, f->product, attr, in, f->y_scale + 1);
    if (n && at != p)
        hs_rewrite_remove(f->r, p);
    return n;
}

// "none|gelu_erf|gelu_tanh" of act by the words of kind; -1: another.
static int64_t act_of(const fuser *f, const hs_node *n)
{
    const hs_attr *kind = hs_attr_find(n->op, "kind");
    return kind && f->act ? hs_attr_int(kind, n->attr) + 1 : -1;
}

static void take_gelu(const fuser *f, hs_node *n)
{
    const bool with_bias = !strcmp(n->op->name, "bias_gelu");
    hs_node *p = with_bias || !strcmp(n->op->name, "gelu") ? product_before(f, n, 0) : NULL;
    hs_tensor *in[HS_MAX_IN];
    if (!p || hs_attr_int(f->act, p->attr) || (with_bias && p->in[f->bias]) || act_of(f, n) < 0)
        return;
    memcpy(in, p->in, sizeof in);
    if (with_bias)
        in[f->bias] = n->in[1];
    put(f, n, p, in, act_of(f, n));
}

static void take_rounding(const fuser *f, hs_node *n)
{
    hs_node *p = n->op == f->product && n->in[f->x_scale] ? product_before(f, n, f->x) : NULL;
    hs_tensor *in[HS_MAX_IN];
    if (!p || p->in[f->y_scale])
        return;
    hs_tensor bytes = *p->out[0];
    bytes.dtype = HS_I8;
    memcpy(in, n->in, sizeof in);
    in[f->x] = &bytes;
    if (!has_kernel(f, n, n->attr, in))
        return;
    memcpy(in, p->in, sizeof in);
    in[f->y_scale] = n->in[f->x_scale];
    put(f, p, p, in, hs_attr_int(f->act, p->attr));
}

static void each(const fuser *f, void (*take)(const fuser *, hs_node *))
{
    for (hs_node *n = hs_rewrite_first(f->r), *next; n; n = next) {
        next = hs_rewrite_next(f->r, n);
        take(f, n);
    }
}

void hs_plan_fuse_codes(hs_plan *p, hs_rewrite *r)
{
    fuser f = { .dev = p->dev, .g = p->graph, .r = r, .product = hs_device_op(p->dev, "linear_i8") };
    if (!f.product || hs_plan_trains(p))
        return;
    f.act = hs_attr_find(f.product, "act");
    f.x = operand(f.product, "x"), f.bias = operand(f.product, "bias");
    f.x_scale = operand(f.product, "x_scale"), f.y_scale = operand(f.product, "y_scale");
    if (!f.act || f.x < 0 || f.bias < 0 || f.x_scale < 0 || f.y_scale < 0)
        return;
    each(&f, take_gelu);
    each(&f, take_rounding);
}

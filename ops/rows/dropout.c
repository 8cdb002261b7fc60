// dropout: y = x * keep / (1 - p), keep drawn by address (core/cpu/dropout.h): backward draws the same mask again, none is stored.
//
// Srivastava et al. 2014. where[n] = { global sample slot, position in the sample } makes the mask the same at every layout; `first`, which
// channel of the whole row column 0 is, makes that of a tensor-parallel rank's columns a slice of it.

#include "core/cpu/dropout.h"
#include "ops/attrs.h"

enum { X, WHERE };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *where = n->in[WHERE];
    const hs_dropout_attr *at = n->attr;
    if (!(at->p >= 0 && at->p < 1))
        return "the probability must be in [0, 1)";
    if (at->first < 0 || at->first % 8)
        return "the first channel must be a multiple of 8";
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (where->dtype != HS_I32 || where->n_dims != 2 || where->dim[0] != x->dim[0] || where->dim[1] != 2 || where->ext != x->ext)
        return "where must be i32 [rows of x, 2]";
    hs_shape_like(n->out[Y], x);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = 2.0 * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static hs_drop drop_of(const hs_args *a) { return hs_drop_of(a, ((const hs_dropout_attr *)a->attr)->p); }
static int64_t first_of(const hs_args *a) { return ((const hs_dropout_attr *)a->attr)->first; }

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, first = first_of(a);
    const hs_drop drop = drop_of(a);
    float factor[128]; // as many as one call draws
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++) {
            if (c % 128 == 0)
                hs_drop_factors(&drop, hs_i32(a, WHERE)[2 * n], hs_i32(a, WHERE)[2 * n + 1], 0, first + c, 128, factor);
            hs_f64_out(a, Y)[n * C + c] = hs_f64(a, X)[n * C + c] * (double)factor[c % 128];
        }
}

static void drop_rows(const hs_args *a, hs_lane *lane, const hs_ref *dst, const hs_ref *src)
{
    const int64_t C = src->cols;
    const hs_drop drop = drop_of(a);
    float *wide = hs_row_buffer(a, lane, 0, C), *buf = hs_row_buffer(a, lane, 1, C);
    hs_for_rows(n, a, src, lane) {
        const int32_t *where = hs_i32(a, WHERE) + 2 * n;
        float *y = hs_row_dest(dst, n, buf);
        hs_drop_row(&drop, where[0], where[1], first_of(a), hs_row_load(src, n, wide), y, C);
        hs_row_store(dst, n, y);
    }
}
static void forward(const hs_args *a, hs_lane *lane) { drop_rows(a, lane, &a->out[Y], &a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (hs_wanted(a, X))
        drop_rows(a, lane, &a->din[X], &a->dout[Y]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team, (void)is_backward;
    return (hs_scratch){ .per_thread = 2 * hs_row_bytes(hs_tensor_width(n->in[X])) };
}

static const hs_dropout_attr tenth = { 0.1f, 0 }, half = { 0.5f, 0 }, none = { 0, 0 }, slice = { 0.5f, 136 };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1, 2 } }, .attr = &half, .limit = 16 },
    { .in = { { 33, 65 }, { 33, 2 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = &tenth, .limit = 64, .note = "odd width" },
    { .in = { { 48, 768 }, { 48, 2 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = &half, .limit = 64 },
    { .in = { { 20, 136 }, { 20, 2 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = &slice, .limit = 64, .note = "a slice" },
    { .in = { { 5, 16 }, { 5, 2 } }, .attr = &none, .limit = 8, .note = "p = 0" },
};
static const hs_attr attrs[] = { HS_ATTR(hs_dropout_attr, p), HS_ATTR(hs_dropout_attr, first) };

HS_OP(dropout) = {
    .name = "dropout",
    .formula = "y = x * keep / (1 - p)",
    .paper = "JMLR 15 (2014) 1929",
    .attr_bytes = sizeof(hs_dropout_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, 0 }, [WHERE] = { "where", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_dropout(hs_graph *g, hs_tensor *x, hs_tensor *where, float p) { return hs_dropout_slice(g, x, where, p, 0); }
hs_tensor *hs_dropout_slice(hs_graph *g, hs_tensor *x, hs_tensor *where, float p, int64_t first)
{
    if (p == 0 || g->mode != HS_TRAIN)
        return x;
    return hs_emit(g, HS_OP_ENTRY(dropout), &(hs_dropout_attr){ p, (int32_t)first }, (hs_tensor *[]){ x, where }, 2);
}
#endif

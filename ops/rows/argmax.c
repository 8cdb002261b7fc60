// argmax: y[n] = the column of the largest of the first `classes` values of a row; of equal ones the first.
//
// The first pass over a block knows its largest; only the block that has the row's is searched. A NaN is passed over, and a row that has
// nothing else gives 0.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { X };
enum { Y };

static int64_t classes_of(const hs_node *n) { return ((const hs_argmax_attr *)n->attr)->classes; }

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X];
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (classes_of(n) < 1 || classes_of(n) > x->dim[1])
        return "classes must be between 1 and the width of x";
    hs_shape_set(n->out[Y], HS_I32, x->ext, 1, x->dim);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double cells = (double)n->in[X]->dim[0] * (double)classes_of(n);
    return (hs_cost){ .flops = cells, .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, K = ((const hs_argmax_attr *)a->attr)->classes;
    for (int64_t n = 0; n < N; n++) {
        int64_t best = 0;
        for (int64_t c = 1; c < K; c++)
            best = hs_f64(a, X)[n * C + c] > hs_f64(a, X)[n * C + best] ? c : best;
        hs_f64_out(a, Y)[n] = (double)best;
    }
}

static int32_t of_row(const hs_ref *x, int64_t n, int64_t K)
{
    float wide[HS_BLOCK], best = -INFINITY;
    int64_t at = 0;
    for (int64_t c0 = 0; c0 < K; c0 += HS_BLOCK) {
        const int64_t k = K - c0 < HS_BLOCK ? K - c0 : HS_BLOCK;
        const float max = hs_max(hs_load(x, n * x->cols + c0, k, wide), k, -INFINITY);
        if (max > best)
            best = max, at = c0;
    }
    const int64_t k = K - at < HS_BLOCK ? K - at : HS_BLOCK;
    const float *v = hs_load(x, n * x->cols + at, k, wide);
    for (int64_t c = 0; c < k; c++)
        if (v[c] == best)
            return (int32_t)(at + c);
    return 0; // -Inf is not above -Inf, and what is NaN equals nothing
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t K = ((const hs_argmax_attr *)a->attr)->classes;
    int32_t *y = (int32_t *)a->out[Y].p;
    hs_for_rows(n, a, &a->in[X], lane)
        y[n] = of_row(&a->in[X], n, K);
}

static const hs_argmax_attr two = { 2 }, some = { 61 }, several = { 770 }, odd = { 2050 }, many = { 2500 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .attr = &two, .note = "one row; the first two columns" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_PICKS }, .attr = &some, .note = "odd width, padded" },
    { .in = { { 40, 2504 } }, .ext = { HS_EXT_PICKS }, .attr = &many, .note = "several blocks" },
    { .in = { { 5, 776 } }, .attr = &several, .note = "several packs of a warp" },
    { .in = { { 3, 2051 } }, .attr = &odd, .note = "wide and odd" },
    { .in = { { 33, 64 } }, .ext = { HS_EXT_SEQS }, .attr = &some, .fill = HS_FILL_CONSTANT, .note = "all alike: the first" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { { dim[0], dim[1] } }, .ext = { HS_EXT_PICKS } };
    *(hs_argmax_attr *)attr = (hs_argmax_attr){ (int32_t)dim[1] };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxCLASSES", .usual = "32x8,640x30528", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_argmax_attr, classes) };

HS_OP(argmax) = {
    .name = "argmax",
    .formula = "y[n] = argmax_c x[n,c]",
    .attr_bytes = sizeof(hs_argmax_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_NO_GRAD } },
    .out = { [Y] = { "y", HS_AMP_NONE, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { .fwd = forward, .fwd_part = HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_argmax(hs_graph *g, hs_tensor *x, int32_t classes)
{
    return hs_emit(g, HS_OP_ENTRY(argmax), &(hs_argmax_attr){ classes }, (hs_tensor *[]){ x }, 1);
}
#endif

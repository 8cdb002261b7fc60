// scale: y = s * x for a constant s.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    if (!isfinite(((const hs_scale_attr *)n->attr)->s))
        return "the factor must be finite";
    hs_shape_like(n->out[Y], n->in[X]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[X]) * a->in[X].cols;
    for (int64_t i = 0; i < n; i++)
        hs_f64_out(a, Y)[i] = (double)((const hs_scale_attr *)a->attr)->s * hs_f64(a, X)[i];
}

static void multiply(const hs_args *a, hs_lane *lane, const hs_ref *dst, const hs_ref *src)
{
    const float s = ((const hs_scale_attr *)a->attr)->s;
    float wide[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, src, lane) {
        const float *x = hs_load(src, i, k, wide);
        float *y = hs_dest(dst, i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            y[c] = s * x[c];
        hs_store(dst, i, k, y);
    }
}
static void forward(const hs_args *a, hs_lane *lane) { multiply(a, lane, &a->out[Y], &a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (hs_wanted(a, X))
        multiply(a, lane, &a->din[X], &a->dout[Y]);
}

static const hs_scale_attr third = { 1.0f / 3 }, zero = { 0 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .attr = &third },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &third, .note = "odd width" },
    { .in = { { 40, 768 } }, .ext = { HS_EXT_TOKENS }, .attr = &third, .fill = HS_FILL_LARGE, .note = "large values" },
    { .in = { { 7 } }, .attr = &zero, .note = "by 0" },
};
static const hs_attr attrs[] = { HS_ATTR(hs_scale_attr, s) };

HS_OP(scale) = {
    .name = "scale",
    .formula = "y = s * x",
    .attr_bytes = sizeof(hs_scale_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_scale(hs_graph *g, hs_tensor *x, float s)
{
    return hs_emit(g, HS_OP_ENTRY(scale), &(hs_scale_attr){ s }, (hs_tensor *[]){ x }, 1);
}
#endif

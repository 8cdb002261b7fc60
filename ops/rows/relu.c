// relu: y = max(0, x). A NaN stays one. Backward needs only where y is above 0.

#include "core/cpu/rows.h"
#include "ops/ops.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
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
        hs_f64_out(a, Y)[i] = hs_f64(a, X)[i] < 0 ? 0 : hs_f64(a, X)[i];
}

static void forward(const hs_args *a, hs_lane *lane)
{
    float wide[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, &a->in[X], lane) {
        const float *x = hs_load(&a->in[X], i, k, wide);
        float *y = hs_dest(&a->out[Y], i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            y[c] = x[c] < 0 ? 0 : x[c];
        hs_store(&a->out[Y], i, k, y);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    if (!hs_wanted(a, X))
        return;
    float wide_y[HS_BLOCK], wide_dy[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, &a->out[Y], lane) {
        const float *y = hs_load(&a->out[Y], i, k, wide_y), *dy = hs_load(&a->dout[Y], i, k, wide_dy);
        float *dx = hs_dest(&a->din[X], i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            dx[c] = y[c] > 0 ? dy[c] : 0;
        hs_store(&a->din[X], i, k, dx);
    }
}

static const hs_case cases[] = {
    // few values: where one is within a step of 0, differences say nothing
    { .in = { { 1, 8 } }, .note = "one row" },
    { .in = { { 33, 13 } }, .ext = { HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 64, 1536 } }, .ext = { HS_EXT_TOKENS }, .fill = HS_FILL_CONSTANT, .note = "more than one block a member" },
    { .in = { { 9, 24 } }, .fill = HS_FILL_LARGE, .note = "large values" },
};

HS_OP(relu) = {
    .name = "relu",
    .formula = "y = max(0, x)",
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE | HS_BWD_READS | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_relu(hs_graph *g, hs_tensor *x) { return hs_emit(g, HS_OP_ENTRY(relu), NULL, (hs_tensor *[]){ x }, 1); }
#endif

// tanh: y = tanh x, BERT's pooler. Backward needs only y: dx = dy * (1 - y^2).

#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"
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
    return (hs_cost){ .flops = (backward ? 3.0 : 30.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[X]) * a->in[X].cols;
    for (int64_t i = 0; i < n; i++)
        hs_f64_out(a, Y)[i] = tanh(hs_f64(a, X)[i]);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    float wide[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, &a->in[X], lane) {
        const float *x = hs_load(&a->in[X], i, k, wide);
        float *y = hs_dest(&a->out[Y], i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            y[c] = hs_tanhf(x[c]);
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
            dx[c] = dy[c] * (1 - y[c] * y[c]);
        hs_store(&a->din[X], i, k, dx);
    }
}

static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_SEQS }, .note = "odd width" },
    { .in = { { 40, 768 } }, .ext = { HS_EXT_SEQS } },
    { .in = { { 9, 64 } }, .fill = HS_FILL_LARGE, .note = "large values" },
};

HS_OP(tanh) = {
    .name = "tanh",
    .formula = "y = tanh x",
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
hs_tensor *hs_tanh(hs_graph *g, hs_tensor *x) { return hs_emit(g, HS_OP_ENTRY(tanh), NULL, (hs_tensor *[]){ x }, 1); }
#endif

// example_op: what a new op must supply, in one file. The generic op tests run on it through a registry of this one row (hs_tested), and
// nothing else of the tree knows it.
//
//   y = max(0, x)^2, the activation of Primer (So et al. 2021, arXiv:2109.08668).  dx = dy 2 max(0, x)
#include "core/cpu/rows.h"
#include "tests/support/support_ops.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    hs_shape_like(n->out[Y], n->in[X]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (backward ? 3.0 : 2.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[X]) * a->in[X].cols;
    for (int64_t i = 0; i < n; i++) {
        const double x = fmax(hs_f64(a, X)[i], 0);
        hs_f64_out(a, Y)[i] = x * x;
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    float wide[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, &a->in[X], lane) {
        const float *x = hs_load(&a->in[X], i, k, wide);
        float *y = hs_dest(&a->out[Y], i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            y[c] = x[c] > 0 ? x[c] * x[c] : 0;
        hs_store(&a->out[Y], i, k, y);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    if (!hs_wanted(a, X))
        return;
    float wide_x[HS_BLOCK], wide_dy[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, &a->in[X], lane) {
        const float *x = hs_load(&a->in[X], i, k, wide_x), *dy = hs_load(&a->dout[Y], i, k, wide_dy);
        float *dx = hs_dest(&a->din[X], i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            dx[c] = x[c] > 0 ? dy[c] * 2 * x[c] : 0;
        hs_store(&a->din[X], i, k, dx);
    }
}

static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 9, 64 } }, .ext = { HS_EXT_SEQS }, .fill = HS_FILL_LARGE, .note = "large values" },
};

HS_OP(squared_relu) = {
    .name = "squared_relu",
    .formula = "y = max(0, x)^2",
    .paper = "arXiv:2109.08668",
    .in = { [X] = { "x", HS_AMP_KEEP, HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS },
};

// The registry: in the tree it is a line in ops/ops.list.
static const hs_op *const ops[] = { HS_OP_ENTRY(squared_relu) };
static const hs_kernels *const kernels[] = { &hs_op_squared_relu_portable.cpu };
op_registry hs_tested = { .ops = ops, .n = HS_COUNT(ops), .table = kernels, .table_name = "example" };

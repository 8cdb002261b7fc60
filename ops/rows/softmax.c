// softmax: y = e^(x - max) / sum e^(x - max) over the last dim. The one inside attention lives there.

#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"
#include "ops/ops.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    if (n->in[X]->n_dims < 2)
        return "x must have rows and a width";
    hs_shape_like(n->out[Y], n->in[X]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (backward ? 4.0 : 14.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t W = hs_tensor_width(a->in[X].t), n = hs_ref_rows(a, &a->in[X]) * a->in[X].cols;
    for (int64_t i = 0; i < n; i += W) {
        const double *x = hs_f64(a, X) + i;
        double *y = hs_f64_out(a, Y) + i, max = -INFINITY, sum = 0;
        for (int64_t c = 0; c < W; c++)
            max = fmax(max, x[c]);
        for (int64_t c = 0; c < W; c++)
            sum += exp(x[c] - max);
        for (int64_t c = 0; c < W; c++)
            y[c] = exp(x[c] - max) / sum;
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t W = hs_tensor_width(a->in[X].t);
    float *wide = hs_row_buffer(a, lane, 0, W), *buf = hs_row_buffer(a, lane, 1, W);
    hs_for_lines(i, W, a, &a->in[X], lane) {
        const float *x = hs_load(&a->in[X], i, W, wide), max = hs_max(x, W, -INFINITY);
        float *y = hs_dest(&a->out[Y], i, buf), sum = 0;
        HS_SIMD_SUM(sum)
        for (int64_t c = 0; c < W; c++)
            sum += y[c] = hs_expf_below(x[c] - max);
        const float inverse = 1 / sum;
        HS_SIMD
        for (int64_t c = 0; c < W; c++)
            y[c] *= inverse;
        hs_store(&a->out[Y], i, W, y);
    }
}

//   dx = y * (dy - sum(dy * y))
static void backward(const hs_args *a, hs_lane *lane)
{
    if (!hs_wanted(a, X))
        return;
    const int64_t W = hs_tensor_width(a->out[Y].t);
    float *wide_y = hs_row_buffer(a, lane, 0, W), *wide_dy = hs_row_buffer(a, lane, 1, W), *buf = hs_row_buffer(a, lane, 2, W);
    hs_for_lines(i, W, a, &a->out[Y], lane) {
        const float *y = hs_load(&a->out[Y], i, W, wide_y), *dy = hs_load(&a->dout[Y], i, W, wide_dy);
        float *dx = hs_dest(&a->din[X], i, buf), sum = 0;
        HS_SIMD_SUM(sum)
        for (int64_t c = 0; c < W; c++)
            sum += dy[c] * y[c];
        HS_SIMD
        for (int64_t c = 0; c < W; c++)
            dx[c] = y[c] * (dy[c] - sum);
        hs_store(&a->din[X], i, W, dx);
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team, (void)is_backward;
    return (hs_scratch){ .per_thread = 3 * hs_row_bytes(hs_tensor_width(n->in[X])) };
}

static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 40, 3, 24 } }, .ext = { HS_EXT_TOKENS }, .note = "several lines in a row" },
    { .in = { { 5, 776 } }, .note = "several packs of a warp" },
    { .in = { { 3, 5000 } }, .note = "wide" },
    { .in = { { 2, 2051 } }, .note = "wide and odd" },
    { .in = { { 9, 64 } }, .fill = HS_FILL_LARGE, .note = "large values" },
    { .in = { { 9, 64 } }, .fill = HS_FILL_CONSTANT, .note = "constant rows" },
};

HS_OP(softmax) = {
    .name = "softmax",
    .formula = "y = exp(x - max) / sum exp(x - max)",
    .in = { [X] = { "x", HS_AMP_F32, 0 } },
    .out = { [Y] = { "y", HS_AMP_F32, HS_BWD_READS | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_softmax(hs_graph *g, hs_tensor *x) { return hs_emit(g, HS_OP_ENTRY(softmax), NULL, (hs_tensor *[]){ x }, 1); }
#endif

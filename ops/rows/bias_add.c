// bias_add: y[n,c] = x[n,c] + bias[c].
//
// For a bias that cannot ride in a product's epilogue (after a reduction over ranks). The gradient of x is dy itself; that of
// the bias is its column sums, one partial per grain.

#include "core/cpu/rows.h"
#include "ops/ops.h"

enum { X, BIAS };
enum { Y };

static const char *shape(hs_node *n)
{
    if (n->in[X]->n_dims != 2)
        return "x must have rows and one width";
    if (hs_tensor_count(n->in[BIAS]) != hs_tensor_width(n->in[X]))
        return "bias must be as wide as x";
    hs_shape_like(n->out[Y], n->in[X]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols;
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            hs_f64_out(a, Y)[n * C + c] = hs_f64(a, X)[n * C + c] + hs_f64(a, BIAS)[c];
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols;
    const float *bias = hs_f32(a, BIAS);
    float *wide = hs_row_buffer(a, lane, 0, C), *buf = hs_row_buffer(a, lane, 1, C);
    hs_for_rows(n, a, &a->in[X], lane) {
        const float *x = hs_row_load(&a->in[X], n, wide);
        float *y = hs_row_dest(&a->out[Y], n, buf);
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            y[c] = x[c] + bias[c];
        hs_row_store(&a->out[Y], n, y);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->dout[Y].cols, capacity = a->dout[Y].rows;
    float *wide = hs_row_buffer(a, lane, 0, C);
    hs_for_rows(n, a, &a->dout[Y], lane) {
        const float *dy = hs_row_load(&a->dout[Y], n, wide);
        float *dbias = hs_grain(a, capacity, n, 0, C);
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            dbias[c] += dy[c];
    }
    hs_sync(lane);
    hs_sum_grains(a, lane, capacity, hs_ref_rows(a, &a->dout[Y]), 0, C, &a->din[BIAS]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t C = hs_tensor_width(n->in[X]), N = n->in[X]->dim[0];
    return (hs_scratch){ .shared = is_backward ? hs_grain_bytes(N, C) : 0, .per_thread = 2 * hs_row_bytes(C) };
}

static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 8 } }, .note = "one row" },
    { .in = { { 33, 65 }, { 65 } }, .ext = { HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 96, 768 }, { 768 } }, .ext = { HS_EXT_TOKENS } },
    { .in = { { 1100, 8 }, { 8 } }, .ext = { HS_EXT_TOKENS }, .note = "many rows" },
};

HS_OP(bias_add) = {
    .name = "bias_add",
    .formula = "y = x + bias",
    .in = { [X] = { "x", HS_AMP_KEEP, HS_GRAD_IS_DY }, [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_bias_add(hs_graph *g, hs_tensor *x, hs_tensor *bias)
{
    return hs_emit(g, HS_OP_ENTRY(bias_add), NULL, (hs_tensor *[]){ x, bias }, 2);
}
#endif

// bias_gelu: y = gelu(x + bias), one pass over memory instead of two. For a bias that cannot ride in the product before it.

#include "ops/attrs.h"
#include "ops/rows/gelu_math.h"

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
    return (hs_cost){ .flops = (backward ? 32.0 : 21.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static int32_t kind_of(const hs_args *a) { return ((const hs_gelu_attr *)a->attr)->kind; }

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols;
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            hs_f64_out(a, Y)[n * C + c] = gelu_f64(hs_f64(a, X)[n * C + c] + hs_f64(a, BIAS)[c], kind_of(a));
}

// sum = x + bias
static void add_bias(float *sum, const float *x, const float *bias, int64_t C)
{
    HS_SIMD
    for (int64_t c = 0; c < C; c++)
        sum[c] = x[c] + bias[c];
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols;
    float wide[HS_BLOCK], buf[HS_BLOCK];
    hs_for_rows(n, a, &a->in[X], lane)
        for (int64_t c = 0, k; c < C; c += k) {
            k = C - c < HS_BLOCK ? C - c : HS_BLOCK;
            float *y = hs_dest(&a->out[Y], n * C + c, buf);
            add_bias(y, hs_load(&a->in[X], n * C + c, k, wide), hs_f32(a, BIAS) + c, k);
            gelu_cells(y, y, k, kind_of(a));
            hs_store(&a->out[Y], n * C + c, k, y);
        }
}

// dx = dy * gelu'(x + bias), added to dbias too.
static void slope_cells(float *restrict dx, float *restrict dbias, const float *x, const float *dy, const float *bias, int64_t k,
                        int32_t kind)
{
    if (kind == HS_GELU_TANH) {
        HS_SIMD
        for (int64_t i = 0; i < k; i++) {
            dx[i] = dy[i] * gelu_tanh_slope(x[i] + bias[i]);
            dbias[i] += dx[i];
        }
    } else {
        HS_SIMD
        for (int64_t i = 0; i < k; i++) {
            dx[i] = dy[i] * gelu_erf_slope(x[i] + bias[i]);
            dbias[i] += dx[i];
        }
    }
}

// Columns [c, c + k) of rows [n0, n1) of a grain: their sums and the bias stay in the first-level cache.
static void backward_block(const hs_args *a, int64_t n0, int64_t n1, int64_t c, int64_t k, float *dbias)
{
    const int64_t C = a->in[X].cols;
    float wide[HS_BLOCK], wide_dy[HS_BLOCK], dx[HS_BLOCK];
    for (int64_t n = n0; n < n1; n++) {
        const float *x = hs_load(&a->in[X], n * C + c, k, wide), *dy = hs_load(&a->dout[Y], n * C + c, k, wide_dy);
        slope_cells(dx, dbias + c, x, dy, hs_f32(a, BIAS) + c, k, kind_of(a));
        if (hs_wanted(a, X))
            hs_store(&a->din[X], n * C + c, k, dx);
    }
}

//   dx = dy * gelu'(x + bias)         dbias = sum over rows of dx
static void backward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols, capacity = a->in[X].rows, N = hs_ref_rows(a, &a->in[X]);
    int64_t r0, r1;
    hs_part(lane, N, &r0, &r1);
    for (int64_t g = r0; g < r1; g += HS_GRAIN) {
        float *dbias = hs_grain(a, capacity, g, 0, C);
        for (int64_t c = 0; c < C; c += HS_BLOCK)
            backward_block(a, g, r1 - g < HS_GRAIN ? r1 : g + HS_GRAIN, c, C - c < HS_BLOCK ? C - c : HS_BLOCK, dbias);
    }
    hs_sync(lane);
    hs_sum_grains(a, lane, capacity, N, 0, C, &a->din[BIAS]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    return (hs_scratch){ .shared = is_backward ? hs_grain_bytes(n->in[X]->dim[0], hs_tensor_width(n->in[X])) : 0 };
}

static const hs_gelu_attr erf_form = { HS_GELU_ERF }, tanh_form = { HS_GELU_TANH };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 8 } }, .attr = &erf_form, .note = "one row" },
    { .in = { { 33, 65 }, { 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &tanh_form, .note = "tanh form, odd width" },
    { .in = { { 96, 768 }, { 768 } }, .ext = { HS_EXT_TOKENS }, .attr = &erf_form, .tolerance = 1.5f, .note = "tails: 1 - Phi cancels" },
    { .in = { { 9, 64 }, { 64 } }, .attr = &tanh_form, .fill = HS_FILL_LARGE, .note = "large values" },
};

extern HS_OP(gelu);
extern HS_OP(bias_add);

HS_OP(bias_gelu) = {
    .name = "bias_gelu",
    .formula = "y = gelu(x + bias)",
    .paper = "arXiv:1606.08415",
    .attr_bytes = sizeof(hs_gelu_attr),
    .attrs = gelu_attrs,
    .n_attrs = HS_COUNT(gelu_attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_BWD_READS }, [BIAS] = { "bias", HS_AMP_F32, HS_BWD_READS | HS_WHOLE } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .flags = HS_OP_CHEAP,
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .unfused = (const hs_op *const[]){ &HS_TIERED(hs_op_bias_add), &HS_TIERED(hs_op_gelu), NULL },
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_bias_gelu(hs_graph *g, hs_tensor *x, hs_tensor *bias, hs_gelu_kind kind)
{
    return hs_emit(g, HS_OP_ENTRY(bias_gelu), &(hs_gelu_attr){ kind }, (hs_tensor *[]){ x, bias }, 2);
}
#endif

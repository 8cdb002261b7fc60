// layernorm: every row gets mean 0 and variance 1, then a learned scale and shift.
//
//   y[n,c] = (x[n,c] - mean[n]) * rstd[n] * gamma[c] + beta[c]        rstd = 1 / sqrt(var + eps)
//
// Ba, Kiros, Hinton 2016 (arXiv:1607.06450). Reads f32 or low precision, computes in f32, stores either: it is bound by
// memory, so a cast in front or behind would cost as much as the op itself.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { X, GAMMA, BETA }; // inputs
enum { Y, STATS };       // outputs; STATS[n] = { mean, rstd }, saved for backward

static const char *shape(hs_node *n)
{
    const int64_t C = hs_tensor_width(n->in[X]);
    if (n->in[X]->n_dims != 2)
        return "x must have rows and one width";
    if (hs_tensor_count(n->in[GAMMA]) != C || hs_tensor_count(n->in[BETA]) != C)
        return "gamma and beta must be as wide as x";
    hs_shape_like(n->out[Y], n->in[X]);
    hs_shape_rows(n->out[STATS], n->in[X], 2);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (backward ? 14.0 : 8.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

// The definition, in f64 and nothing else. Finite differences of it are what backward is held against.
static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols;
    const double *gamma = hs_f64(a, GAMMA), *beta = hs_f64(a, BETA), eps = ((const hs_layernorm_attr *)a->attr)->eps;
    for (int64_t n = 0; n < N; n++) {
        const double *x = hs_f64(a, X) + n * C;
        double *y = hs_f64_out(a, Y) + n * C, mean = 0, var = 0;
        for (int64_t c = 0; c < C; c++)
            mean += x[c] / (double)C;
        for (int64_t c = 0; c < C; c++)
            var += (x[c] - mean) * (x[c] - mean) / (double)C;
        for (int64_t c = 0; c < C; c++)
            y[c] = (x[c] - mean) / sqrt(var + eps) * gamma[c] + beta[c];
        hs_f64_out(a, STATS)[2 * n] = mean, hs_f64_out(a, STATS)[2 * n + 1] = 1 / sqrt(var + eps);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols;
    const float *gamma = hs_f32(a, GAMMA), *beta = hs_f32(a, BETA), eps = ((const hs_layernorm_attr *)a->attr)->eps;
    float *wide = hs_row_buffer(a, lane, 0, C), *buf = hs_row_buffer(a, lane, 1, C);

    hs_for_rows(n, a, &a->in[X], lane) {
        const float *x = hs_row_load(&a->in[X], n, wide);
        float *y = hs_row_dest(&a->out[Y], n, buf);
        const float mean = hs_sum(x, C) / (float)C;
        const float rstd = 1 / sqrtf(hs_sum_sq_diff(x, mean, C) / (float)C + eps);
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            y[c] = (x[c] - mean) * rstd * gamma[c] + beta[c];
        hs_row_store(&a->out[Y], n, y);
        hs_row_store(&a->out[STATS], n, (float[]){ mean, rstd });
    }
}

//   dx     = rstd * (g - mean(g) - xhat * mean(g * xhat))           g = dy * gamma,  xhat = (x - mean) * rstd
//   dgamma = sum over rows of dy * xhat                             dbeta = sum over rows of dy
static void backward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols, capacity = a->in[X].rows;
    const float *gamma = hs_f32(a, GAMMA);
    float *wide_x = hs_row_buffer(a, lane, 0, C), *wide_dy = hs_row_buffer(a, lane, 1, C), *buf = hs_row_buffer(a, lane, 2, C);

    hs_for_rows(n, a, &a->in[X], lane) {
        const float *x = hs_row_load(&a->in[X], n, wide_x), *dy = hs_row_load(&a->dout[Y], n, wide_dy);
        const float *stats = (const float *)a->out[STATS].p + 2 * n, mean = stats[0], rstd = stats[1];
        float *dgamma = hs_grain(a, capacity, n, 0, C), *dbeta = hs_grain(a, capacity, n, 1, C);
        float sum_g = 0, sum_gx = 0;
        HS_SIMD_SUM(sum_g, sum_gx)
        for (int64_t c = 0; c < C; c++) {
            const float xhat = (x[c] - mean) * rstd, g = dy[c] * gamma[c];
            sum_g += g, sum_gx += g * xhat;
            dgamma[c] += dy[c] * xhat, dbeta[c] += dy[c];
        }
        if (!hs_wanted(a, X))
            continue;
        float *dx = hs_row_dest(&a->din[X], n, buf);
        const float mean_g = sum_g / (float)C, mean_gx = sum_gx / (float)C;
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            dx[c] = rstd * (dy[c] * gamma[c] - mean_g - (x[c] - mean) * rstd * mean_gx);
        hs_row_store(&a->din[X], n, dx);
    }
    hs_sync(lane);
    hs_sum_grains(a, lane, capacity, hs_ref_rows(a, &a->in[X]), 0, C, &a->din[GAMMA]);
    hs_sum_grains(a, lane, capacity, hs_ref_rows(a, &a->in[X]), 1, C, &a->din[BETA]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t C = hs_tensor_width(n->in[X]), N = n->in[X]->dim[0];
    return (hs_scratch){ .shared = is_backward ? 2 * hs_grain_bytes(N, C) : 0, .per_thread = 3 * hs_row_bytes(C) };
}

static const hs_layernorm_attr usual = { 1e-5f };
static const hs_case cases[] = {
    // rows, width; the generic test adds dtypes, ISA tiers, teams, write and add, dead rows
    { .in = { { 1, 8 }, { 8 }, { 8 } }, .attr = &usual, .note = "one row" },
    { .in = { { 33, 64 }, { 64 }, { 64 } }, .ext = { HS_EXT_TOKENS }, .attr = &usual, .note = "a grain and one row" },
    { .in = { { 96, 768 }, { 768 }, { 768 } }, .ext = { HS_EXT_TOKENS }, .attr = &usual },
    { .in = { { 5, 1000 }, { 1000 }, { 1000 } }, .attr = &usual, .note = "width that no vector divides" },
    { .in = { { 6, 37 }, { 37 }, { 37 } }, .attr = &usual, .note = "odd width" },
    { .in = { { 3, 1003 }, { 1003 }, { 1003 } }, .attr = &usual, .note = "wide and odd" },
    { .in = { { 3, 4104 }, { 4104 }, { 4104 } }, .attr = &usual, .note = "wider than a row's registers" },
    { .in = { { 5, 64 }, { 64 }, { 64 } }, .attr = &usual, .fill = HS_FILL_LARGE, .note = "large values" },
    { .in = { { 4, 64 }, { 64 }, { 64 } }, .attr = &(const hs_layernorm_attr){ 1e-2f }, .fill = HS_FILL_CONSTANT, .note = "variance 0" },
    { .in = { { 147, 40 }, { 40 }, { 40 } }, .ext = { HS_EXT(HS_COUNT_SEQS, 49, 0) }, .attr = &usual, .note = "images of 49 rows" },
};
static const hs_attr attrs[] = { HS_ATTR(hs_layernorm_attr, eps) };

HS_OP(layernorm) = {
    .name = "layernorm",
    .formula = "y = (x - mean) / sqrt(var + eps) * gamma + beta",
    .paper = "arXiv:1607.06450",
    .attr_bytes = sizeof(hs_layernorm_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_BWD_READS },
            [GAMMA] = { "gamma", HS_AMP_F32, HS_BWD_READS | HS_WHOLE },
            [BETA] = { "beta", HS_AMP_F32, HS_WHOLE } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE }, [STATS] = { "stats", HS_AMP_F32, HS_SAVED } },
    .flags = HS_OP_CHEAP,
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .f32_in = 1u << X },
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_layernorm(hs_graph *g, hs_tensor *x, hs_tensor *gamma, hs_tensor *beta, float eps)
{
    return hs_emit(g, HS_OP_ENTRY(layernorm), &(hs_layernorm_attr){ eps }, (hs_tensor *[]){ x, gamma, beta }, 3);
}
#endif

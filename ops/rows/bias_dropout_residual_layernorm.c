// bias_dropout_residual_layernorm: what stands between two sublayers of a transformer, in one pass over memory.
//
//   sum = residual + dropout(x + bias)        y = layernorm(sum) * gamma + beta
//
// Post-norm models (BERT) go on from y, pre-norm models (GPT-2) from both. Backward takes the gradients of both; either may be absent.

#include "core/cpu/dropout.h"
#include "ops/attrs.h"

enum { X, BIAS, RESIDUAL, GAMMA, BETA, WHERE };
enum { Y, SUM, STATS }; // STATS[n] = { mean, rstd }

typedef hs_bias_dropout_residual_layernorm_attr own_attr;

static const char *shape(hs_node *n)
{
    const own_attr *at = n->attr;
    const hs_tensor *x = n->in[X], *where = n->in[WHERE];
    const int64_t C = hs_tensor_width(x);
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (!hs_same_shape(x, n->in[RESIDUAL]))
        return "x and residual differ in shape";
    if ((n->in[BIAS] && hs_tensor_count(n->in[BIAS]) != C) || hs_tensor_count(n->in[GAMMA]) != C || hs_tensor_count(n->in[BETA]) != C)
        return "bias, gamma and beta must be as wide as x";
    if (!(at->p >= 0 && at->p < 1))
        return "the dropout probability must be in [0, 1)";
    if (at->p > 0 && !where)
        return "dropout needs where";
    if (where && (where->dtype != HS_I32 || where->n_dims != 2 || where->dim[0] != x->dim[0] || where->dim[1] != 2 || where->ext != x->ext))
        return "where must be i32 [rows of x, 2]";
    hs_shape_like(n->out[Y], x);
    hs_shape_like(n->out[SUM], x);
    hs_shape_rows(n->out[STATS], x, 2);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (backward ? 17.0 : 11.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const own_attr *at = a->attr;
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols;
    const hs_drop drop = hs_drop_of(a, at->p);
    float factor[128]; // as many as one call draws
    for (int64_t n = 0; n < N; n++) {
        const double *x = hs_f64(a, X) + n * C, *residual = hs_f64(a, RESIDUAL) + n * C;
        double *sum = hs_f64_out(a, SUM) + n * C, *y = hs_f64_out(a, Y) + n * C, *stats = hs_f64_out(a, STATS) + 2 * n, mean = 0, var = 0;
        for (int64_t c = 0; c < C; c++) {
            if (at->p > 0 && c % 128 == 0)
                hs_drop_factors(&drop, hs_i32(a, WHERE)[2 * n], hs_i32(a, WHERE)[2 * n + 1], 0, c, 128, factor);
            sum[c] = residual[c] + (at->p > 0 ? (double)factor[c % 128] : 1) * (x[c] + (a->in[BIAS].p ? hs_f64(a, BIAS)[c] : 0));
            mean += sum[c] / (double)C;
        }
        for (int64_t c = 0; c < C; c++)
            var += (sum[c] - mean) * (sum[c] - mean) / (double)C;
        stats[0] = mean, stats[1] = 1 / sqrt(var + (double)at->eps);
        for (int64_t c = 0; c < C; c++)
            y[c] = (sum[c] - mean) * stats[1] * hs_f64(a, GAMMA)[c] + hs_f64(a, BETA)[c];
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const own_attr *at = a->attr;
    const int64_t C = a->in[X].cols;
    const hs_drop drop = hs_drop_of(a, at->p);
    const float *gamma = hs_f32(a, GAMMA), *beta = hs_f32(a, BETA), *bias = hs_f32(a, BIAS);
    float *wide_x = hs_row_buffer(a, lane, 0, C), *wide_r = hs_row_buffer(a, lane, 1, C), *sum = hs_row_buffer(a, lane, 2, C);

    hs_for_rows(n, a, &a->in[X], lane) {
        const float *x = hs_row_load(&a->in[X], n, wide_x), *residual = hs_row_load(&a->in[RESIDUAL], n, wide_r);
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            sum[c] = x[c] + (bias ? bias[c] : 0);
        if (at->p > 0)
            hs_drop_row(&drop, hs_i32(a, WHERE)[2 * n], hs_i32(a, WHERE)[2 * n + 1], 0, sum, sum, C);
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            sum[c] += residual[c];
        hs_row_store(&a->out[SUM], n, sum);
        // Backward reads the sum as it was stored: in low precision the statistics are those of the rounded one.
        const float *stored = hs_row_load(&a->out[SUM], n, wide_r);
        const float mean = hs_sum(stored, C) / (float)C, rstd = 1 / sqrtf(hs_sum_sq_diff(stored, mean, C) / (float)C + at->eps);
        float *y = hs_row_dest(&a->out[Y], n, wide_x);
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            y[c] = (stored[c] - mean) * rstd * gamma[c] + beta[c];
        hs_row_store(&a->out[Y], n, y);
        hs_row_store(&a->out[STATS], n, (float[]){ mean, rstd });
    }
}

// One row of layernorm's backward: d = gradient of the sum through y; dgamma and dbeta grow.
static void norm_row(float *restrict d, const float *sum, const float *dy, const float *gamma, const float *stats, float *dgamma,
                     float *dbeta, int64_t C)
{
    const float mean = stats[0], rstd = stats[1];
    float sum_g = 0, sum_gx = 0;
    HS_SIMD_SUM(sum_g, sum_gx)
    for (int64_t c = 0; c < C; c++) {
        const float xhat = (sum[c] - mean) * rstd, g = dy[c] * gamma[c];
        sum_g += g, sum_gx += g * xhat;
        dgamma[c] += dy[c] * xhat, dbeta[c] += dy[c];
    }
    const float mean_g = sum_g / (float)C, mean_gx = sum_gx / (float)C;
    HS_SIMD
    for (int64_t c = 0; c < C; c++)
        d[c] = rstd * (dy[c] * gamma[c] - mean_g - (sum[c] - mean) * rstd * mean_gx);
}

//   dsum = dsum from outside + layernorm's dx         dresidual = dsum         dx = dropout's mask of dsum         dbias = sum over rows of
//   dx
static void backward(const hs_args *a, hs_lane *lane)
{
    const own_attr *at = a->attr;
    const int64_t C = a->out[SUM].cols, capacity = a->out[SUM].rows, N = hs_ref_rows(a, &a->out[SUM]);
    const hs_drop drop = hs_drop_of(a, at->p);
    float *wide = hs_row_buffer(a, lane, 0, C), *wide_dy = hs_row_buffer(a, lane, 1, C), *d = hs_row_buffer(a, lane, 2, C);

    hs_for_rows(n, a, &a->out[SUM], lane) {
        float *dgamma = hs_grain(a, capacity, n, 0, C), *dbeta = hs_grain(a, capacity, n, 1, C), *dbias = hs_grain(a, capacity, n, 2, C);
        if (a->dout[Y].p)
            norm_row(d, hs_row_load(&a->out[SUM], n, wide), hs_row_load(&a->dout[Y], n, wide_dy), hs_f32(a, GAMMA),
                     (const float *)a->out[STATS].p + 2 * n, dgamma, dbeta, C);
        else
            memset(d, 0, (size_t)C * sizeof(float));
        if (a->dout[SUM].p) {
            const float *dsum = hs_row_load(&a->dout[SUM], n, wide_dy);
            HS_SIMD
            for (int64_t c = 0; c < C; c++)
                d[c] += dsum[c];
        }
        float *dx = d; // the mask must not reach the residual, and din is filled in index order
        if (at->p > 0)
            hs_drop_row(&drop, hs_i32(a, WHERE)[2 * n], hs_i32(a, WHERE)[2 * n + 1], 0, d, dx = wide, C);
        HS_SIMD
        for (int64_t c = 0; c < C; c++)
            dbias[c] += dx[c];
        if (hs_wanted(a, X))
            hs_row_store(&a->din[X], n, dx);
        if (hs_wanted(a, RESIDUAL))
            hs_row_store(&a->din[RESIDUAL], n, d);
    }
    hs_sync(lane);
    hs_sum_grains(a, lane, capacity, N, 2, C, &a->din[BIAS]);
    hs_sum_grains(a, lane, capacity, N, 0, C, &a->din[GAMMA]);
    hs_sum_grains(a, lane, capacity, N, 1, C, &a->din[BETA]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t C = hs_tensor_width(n->in[X]), N = n->in[X]->dim[0];
    return (hs_scratch){ .shared = is_backward ? 3 * hs_grain_bytes(N, C) : 0, .per_thread = 3 * hs_row_bytes(C) };
}

static const own_attr no_drop = { 0, 0, 1e-5f }, tenth = { 0.1f, 0, 1e-5f };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 8 }, { 1, 8 }, { 8 }, { 8 } }, .attr = &no_drop, .note = "one row" },
    { .in = { { 33, 65 }, { 0 }, { 33, 65 }, { 65 }, { 65 } },
      .ext = { [X] = HS_EXT_TOKENS, [RESIDUAL] = HS_EXT_TOKENS },
      .attr = &no_drop,
      .note = "no bias, odd width" },
    { .in = { { 40, 64 }, { 64 }, { 40, 64 }, { 64 }, { 64 }, { 40, 2 } },
      .ext = { [X] = HS_EXT_TOKENS, [RESIDUAL] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
      .attr = &tenth,
      .limit = 64 },
    { .in = { { 66, 768 }, { 768 }, { 66, 768 }, { 768 }, { 768 }, { 66, 2 } },
      .ext = { [X] = HS_EXT_TOKENS, [RESIDUAL] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
      .attr = &tenth,
      .limit = 64 },
    { .in = { { 3, 401 }, { 401 }, { 3, 401 }, { 401 }, { 401 }, { 3, 2 } }, .attr = &tenth, .limit = 64, .note = "wide and odd" },
    { .in = { { 3, 3208 }, { 3208 }, { 3, 3208 }, { 3208 }, { 3208 }, { 3, 2 } },
      .attr = &tenth,
      .limit = 64,
      .note = "wider than a row's registers" },
    { .in = { { 5, 40 }, { 40 }, { 5, 40 }, { 40 }, { 40 } }, .attr = &no_drop, .fill = HS_FILL_LARGE, .note = "large values" },
};

static const hs_attr attrs[] = { HS_ATTR(own_attr, p), HS_ATTR(own_attr, first), HS_ATTR(own_attr, eps) };

extern HS_OP(bias_add);
extern HS_OP(dropout);
extern HS_OP(add);
extern HS_OP(layernorm);

HS_OP(bias_dropout_residual_layernorm) = {
    .name = "bias_dropout_residual_layernorm",
    .formula = "sum = residual + dropout(x + bias); y = layernorm(sum)",
    .paper = "arXiv:1607.06450",
    .attr_bytes = sizeof(own_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, 0 },
            [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL },
            [RESIDUAL] = { "residual", HS_AMP_WIDEST, 0 },
            [GAMMA] = { "gamma", HS_AMP_F32, HS_BWD_READS | HS_WHOLE },
            [BETA] = { "beta", HS_AMP_F32, HS_WHOLE },
            [WHERE] = { "where", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE },
             [SUM] = { "sum", HS_AMP_WIDEST, HS_ANY_DTYPE | HS_BWD_READS },
             [STATS] = { "stats", HS_AMP_F32, HS_SAVED } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .unfused = (const hs_op *const[]){ &HS_TIERED(hs_op_bias_add), &HS_TIERED(hs_op_dropout), &HS_TIERED(hs_op_add),
                                       &HS_TIERED(hs_op_layernorm), NULL },
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .f32_in = 1u << RESIDUAL },
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_bias_dropout_residual_layernorm(hs_graph *g, hs_tensor *x, hs_tensor *bias, hs_tensor *residual, hs_tensor *gamma,
                                              hs_tensor *beta, hs_tensor *where, float p, float eps)
{
    const own_attr at = { g->mode == HS_TRAIN ? p : 0, 0, eps };
    return hs_emit(g, HS_OP_ENTRY(bias_dropout_residual_layernorm), &at,
                   (hs_tensor *[]){ x, bias, residual, gamma, beta, at.p > 0 ? hs_tp_rows_like(g, where, x) : NULL }, 6);
}
#endif

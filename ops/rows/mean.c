// mean: over the last dim, [N, C] -> [N, 1].

#include "core/cpu/rows.h"
#include "ops/ops.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X];
    if (x->n_dims < 2)
        return "x must have rows and a width";
    int64_t dim[HS_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[x->n_dims - 1] = 1;
    hs_shape_set(n->out[Y], HS_F32, x->ext, x->n_dims, dim);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double cells = (double)hs_tensor_count(n->in[X]);
    return (hs_cost){ .flops = backward ? (double)hs_tensor_count(n->out[Y]) : cells, .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t W = hs_tensor_width(a->in[X].t), n = hs_ref_rows(a, &a->in[X]) * a->in[X].cols;
    for (int64_t i = 0; i < n; i += W) {
        double sum = 0;
        for (int64_t c = 0; c < W; c++)
            sum += hs_f64(a, X)[i + c];
        hs_f64_out(a, Y)[i / W] = sum / (double)W;
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t W = hs_tensor_width(a->in[X].t);
    float *wide = hs_row_buffer(a, lane, 0, W);
    hs_for_lines(i, W, a, &a->in[X], lane) {
        const float mean = hs_sum(hs_load(&a->in[X], i, W, wide), W) / (float)W;
        hs_store(&a->out[Y], i / W, 1, &mean);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    if (!hs_wanted(a, X))
        return;
    const int64_t W = hs_tensor_width(a->din[X].t);
    float *buf = hs_row_buffer(a, lane, 0, W), one;
    hs_for_lines(i, W, a, &a->din[X], lane) {
        const float share = *hs_load(&a->dout[Y], i / W, 1, &one) / (float)W;
        for (int64_t c = 0; c < W; c++)
            buf[c] = share;
        hs_store(&a->din[X], i, W, buf);
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team, (void)is_backward;
    return (hs_scratch){ .per_thread = hs_row_bytes(hs_tensor_width(n->in[X])) };
}

static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 40, 3, 24 } }, .ext = { HS_EXT_TOKENS }, .note = "several lines in a row" },
    { .in = { { 5, 776 } }, .note = "several packs of a warp" },
    { .in = { { 3, 5000 } }, .note = "wide" },
    { .in = { { 2, 2051 } }, .note = "wide and odd" },
};

HS_OP(mean) = {
    .name = "mean",
    .formula = "y[n] = sum_c x[n,c] / C",
    .in = { [X] = { "x", HS_AMP_F32, 0 } },
    .out = { [Y] = { "y", HS_AMP_F32, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_mean(hs_graph *g, hs_tensor *x) { return hs_emit(g, HS_OP_ENTRY(mean), NULL, (hs_tensor *[]){ x }, 1); }
#endif

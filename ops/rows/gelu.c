// gelu: y = x * Phi(x), the smooth rectifier of GPT (tanh form) and BERT (erf form). Formulas in gelu_form.h.

#include "ops/attrs.h"
#include "ops/rows/gelu_math.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    hs_shape_like(n->out[Y], n->in[X]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (backward ? 30.0 : 20.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static int32_t kind_of(const hs_args *a) { return ((const hs_gelu_attr *)a->attr)->kind; }

static void reference(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[X]) * a->in[X].cols;
    for (int64_t i = 0; i < n; i++)
        hs_f64_out(a, Y)[i] = gelu_f64(hs_f64(a, X)[i], kind_of(a));
}

static void forward(const hs_args *a, hs_lane *lane)
{
    float wide[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, &a->in[X], lane) {
        float *y = hs_dest(&a->out[Y], i, buf);
        gelu_cells(y, hs_load(&a->in[X], i, k, wide), k, kind_of(a));
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
        gelu_slope_cells(dx, x, dy, k, kind_of(a));
        hs_store(&a->din[X], i, k, dx);
    }
}

static const hs_gelu_attr erf_form = { HS_GELU_ERF }, tanh_form = { HS_GELU_TANH };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .attr = &erf_form },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &tanh_form, .note = "tanh form, odd width" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &erf_form, .note = "odd width" },
    { .in = { { 64, 1536 } }, .ext = { HS_EXT_TOKENS }, .attr = &tanh_form, .note = "more than one block a member" },
    { .in = { { 9, 64 } }, .attr = &erf_form, .fill = HS_FILL_LARGE, .note = "large values" },
    { .in = { { 9, 64 } }, .attr = &tanh_form, .fill = HS_FILL_LARGE, .note = "tanh form, large values" },
};

HS_OP(gelu) = {
    .name = "gelu",
    .formula = "y = x * Phi(x)",
    .paper = "arXiv:1606.08415",
    .attr_bytes = sizeof(hs_gelu_attr),
    .attrs = gelu_attrs,
    .n_attrs = HS_COUNT(gelu_attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .flags = HS_OP_CHEAP,
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_gelu(hs_graph *g, hs_tensor *x, hs_gelu_kind kind)
{
    return hs_emit(g, HS_OP_ENTRY(gelu), &(hs_gelu_attr){ kind }, (hs_tensor *[]){ x }, 1);
}
#endif

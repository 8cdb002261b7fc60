// add: y = a + b, of any float types; the residual connection.
//
// Both gradients are dy itself (HS_GRAD_IS_DY): the plan aliases them, and casts where the types differ.

#include "core/cpu/rows.h"
#include "ops/ops.h"

enum { A, B };
enum { Y };

static const char *shape(hs_node *n)
{
    if (!hs_same_shape(n->in[A], n->in[B]))
        return "shapes differ";
    hs_shape_like(n->out[Y], n->in[A]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = backward ? 0 : (double)hs_tensor_count(n->in[A]), .bytes = backward ? 0 : hs_traffic(n, false) };
}

static void reference(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[A]) * a->in[A].cols;
    for (int64_t i = 0; i < n; i++)
        hs_f64_out(a, Y)[i] = hs_f64(a, A)[i] + hs_f64(a, B)[i];
}

static void forward(const hs_args *a, hs_lane *lane)
{
    float wide_a[HS_BLOCK], wide_b[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, &a->in[A], lane) {
        const float *p = hs_load(&a->in[A], i, k, wide_a), *q = hs_load(&a->in[B], i, k, wide_b);
        float *y = hs_dest(&a->out[Y], i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            y[c] = p[c] + q[c];
        hs_store(&a->out[Y], i, k, y);
    }
}

static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1, 8 } } },
    { .in = { { 33, 65 }, { 33, 65 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 96, 768 }, { 96, 768 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS } },
    { .in = { { 7 }, { 7 } }, .note = "one dimension" },
    { .in = { { 3, 4, 5, 8 }, { 3, 4, 5, 8 } }, .note = "four dimensions" },
};

HS_OP(add) = {
    .name = "add",
    .formula = "y = a + b",
    .in = { [A] = { "a", HS_AMP_WIDEST, HS_GRAD_IS_DY }, [B] = { "b", HS_AMP_WIDEST, HS_GRAD_IS_DY } },
    .out = { [Y] = { "y", HS_AMP_WIDEST, HS_ANY_DTYPE | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .f32_in = 1u << A, .f32_out = true },
    .cpu = { forward, NULL, HS_PART_ROWS, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_add(hs_graph *g, hs_tensor *a, hs_tensor *b) { return hs_emit(g, HS_OP_ENTRY(add), NULL, (hs_tensor *[]){ a, b }, 2); }
#endif

// mul: y = a * b, element by element, of any float types.

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
    return (hs_cost){ .flops = (backward ? 2.0 : 1.0) * (double)hs_tensor_count(n->in[A]), .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[A]) * a->in[A].cols;
    for (int64_t i = 0; i < n; i++)
        hs_f64_out(a, Y)[i] = hs_f64(a, A)[i] * hs_f64(a, B)[i];
}

// z = x * y, or += where z->add. A NULL z is not wanted.
static void multiply(const hs_args *a, hs_lane *lane, const hs_ref *z, const hs_ref *x, const hs_ref *y)
{
    if (!z->p)
        return;
    float wide_x[HS_BLOCK], wide_y[HS_BLOCK], buf[HS_BLOCK];
    hs_for_blocks(i, k, a, x, lane) {
        const float *p = hs_load(x, i, k, wide_x), *q = hs_load(y, i, k, wide_y);
        float *to = hs_dest(z, i, buf);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            to[c] = p[c] * q[c];
        hs_store(z, i, k, to);
    }
}
static void forward(const hs_args *a, hs_lane *lane) { multiply(a, lane, &a->out[Y], &a->in[A], &a->in[B]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    multiply(a, lane, &a->din[A], &a->dout[Y], &a->in[B]);
    multiply(a, lane, &a->din[B], &a->dout[Y], &a->in[A]);
}

static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1, 8 } } },
    { .in = { { 33, 65 }, { 33, 65 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 40, 768 }, { 40, 768 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS } },
    { .in = { { 9, 64 }, { 9, 64 } }, .fill = HS_FILL_LARGE, .note = "large values" },
};

HS_OP(mul) = {
    .name = "mul",
    .formula = "y = a * b",
    .in = { [A] = { "a", HS_AMP_WIDEST, HS_BWD_READS }, [B] = { "b", HS_AMP_WIDEST, HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_WIDEST, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_mul(hs_graph *g, hs_tensor *a, hs_tensor *b) { return hs_emit(g, HS_OP_ENTRY(mul), NULL, (hs_tensor *[]){ a, b }, 2); }
#endif

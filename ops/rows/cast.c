// cast: y = x in another float type; the AMP pass inserts it where it cannot sink it into a producer.
//
// Forward honours out[0].add (y += x): the plan also uses the kernel to merge two gradients of different types.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_dtype d = (hs_dtype)((const hs_cast_attr *)n->attr)->dtype;
    if (d != HS_F32 && !hs_dtype_is_low(d))
        return "casts are to f32, f16 or bf16";
    hs_shape_set(n->out[Y], d, n->in[X]->ext, n->in[X]->n_dims, n->in[X]->dim);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward) { return (hs_cost){ .bytes = hs_traffic(n, backward) }; }

static void reference(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[X]) * a->in[X].cols;
    for (int64_t i = 0; i < n; i++)
        hs_f64_out(a, Y)[i] = hs_f64(a, X)[i] + (a->out[Y].add ? hs_f64_out(a, Y)[i] : 0);
}

static void convert(const hs_args *a, hs_lane *lane, const hs_ref *dst, const hs_ref *src)
{
    float wide[HS_BLOCK];
    hs_for_blocks(i, k, a, src, lane) {
        float *to = hs_dest(dst, i, wide); // a low row widens straight into an f32 destination
        hs_store(dst, i, k, hs_load(src, i, k, to));
    }
}
static void forward(const hs_args *a, hs_lane *lane) { convert(a, lane, &a->out[Y], &a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (hs_wanted(a, X))
        convert(a, lane, &a->din[X], &a->dout[Y]);
}

static const hs_cast_attr to_f32 = { HS_F32 }, to_bf16 = { HS_BF16 }, to_f16 = { HS_F16 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .attr = &to_bf16, .note = "to bf16" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &to_f32, .note = "to f32, odd width" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &to_f16, .note = "to f16, odd width" },
    { .in = { { 64, 768 } }, .ext = { HS_EXT_TOKENS }, .attr = &to_bf16, .fill = HS_FILL_LARGE, .note = "large values" },
};
static const hs_attr attrs[] = { HS_ATTR_WORDS(hs_cast_attr, dtype, HS_DTYPE_WORDS) };

HS_OP(cast) = {
    .name = "cast",
    .formula = "y = x",
    .attr_bytes = sizeof(hs_cast_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_NONE, 0 } }, // its type is the attribute's: no policy changes it
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_cast(hs_graph *g, hs_tensor *x, hs_dtype d)
{
    return hs_emit(g, HS_OP_ENTRY(cast), &(hs_cast_attr){ d }, (hs_tensor *[]){ x }, 1);
}
#endif

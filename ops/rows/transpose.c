// transpose: swaps two dims. Moves bytes only: seen as [A, P, B, Q, C] -> [A, Q, B, P, C] with P and Q the swapped dims.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_transpose_attr *at = n->attr;
    const hs_tensor *x = n->in[X];
    if (at->d0 < 0 || at->d1 < 0 || at->d0 >= x->n_dims || at->d1 >= x->n_dims)
        return "x does not have those dims";
    const bool moves_rows = at->d0 != at->d1 && (at->d0 == 0 || at->d1 == 0);
    if (moves_rows && x->ext != HS_EXT_FIXED)
        return "dim 0 has a live count of its own and must stay first";
    int64_t dim[HS_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[at->d0] = x->dim[at->d1], dim[at->d1] = x->dim[at->d0];
    hs_shape_set(n->out[Y], HS_F32, x->ext, x->n_dims, dim);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward) { return (hs_cost){ .bytes = hs_traffic(n, backward) }; }

typedef struct view {
    int64_t A, P, B, Q, C;
} view; // of the source

static view view_of(const hs_args *a, const hs_ref *r)
{
    const hs_transpose_attr *at = a->attr;
    const int lo = at->d0 < at->d1 ? at->d0 : at->d1, hi = at->d0 < at->d1 ? at->d1 : at->d0;
    view v = { 1, 1, 1, 1, 1 };
    for (int i = 0; i < r->t->n_dims; i++) {
        const int64_t d = i == 0 ? hs_ref_rows(a, r) : r->t->dim[i];
        *(i < lo ? &v.A : i == lo ? &v.P : i < hi ? &v.B : i == hi && hi != lo ? &v.Q : &v.C) *= d;
    }
    return v;
}

static void reference(const hs_args *a)
{
    const view v = view_of(a, &a->in[X]);
    const double *x = hs_f64(a, X);
    for (int64_t i = 0; i < v.A; i++)
        for (int64_t p = 0; p < v.P; p++)
            for (int64_t b = 0; b < v.B; b++)
                for (int64_t q = 0; q < v.Q; q++)
                    for (int64_t c = 0; c < v.C; c++)
                        hs_f64_out(a, Y)[(((i * v.Q + q) * v.B + b) * v.P + p) * v.C + c] = *x++;
}

// Tiles of 32 x 32 turned in the first-level cache, where single cells change places.
enum { TILE = 32 };
static void turn_cells(const hs_ref *dst, const hs_ref *src, view v, int64_t i, int64_t b, int64_t q0, int64_t q1)
{
    float wide[TILE], turned[TILE][TILE];
    for (int64_t p0 = 0; p0 < v.P; p0 += TILE) {
        const int64_t np = v.P - p0 < TILE ? v.P - p0 : TILE, nq = q1 - q0;
        for (int64_t p = 0; p < np; p++) {
            const float *x = hs_load(src, ((i * v.P + p0 + p) * v.B + b) * v.Q + q0, nq, wide);
            for (int64_t q = 0; q < nq; q++)
                turned[q][p] = x[q];
        }
        for (int64_t q = 0; q < nq; q++)
            hs_store(dst, ((i * v.Q + q0 + q) * v.B + b) * v.P + p0, np, turned[q]);
    }
}
static void move_lines(const hs_ref *dst, const hs_ref *src, view v, int64_t i, int64_t b, int64_t q0, int64_t q1)
{
    float wide[HS_BLOCK];
    for (int64_t q = q0; q < q1; q++)
        for (int64_t p = 0; p < v.P; p++)
            for (int64_t c = 0; c < v.C; c += HS_BLOCK) {
                const int64_t k = v.C - c < HS_BLOCK ? v.C - c : HS_BLOCK;
                const float *x = hs_load(src, (((i * v.P + p) * v.B + b) * v.Q + q) * v.C + c, k, wide);
                hs_store(dst, (((i * v.Q + q) * v.B + b) * v.P + p) * v.C + c, k, x);
            }
}

static void swap_dims(const hs_args *a, const hs_lane *lane, const hs_ref *dst, const hs_ref *src)
{
    const view v = view_of(a, src);
    const int64_t strips = (v.Q + TILE - 1) / TILE; // of Q, for each A and B: what the team divides
    int64_t s0, s1;
    hs_part_unit(lane, v.A * v.B * strips, 1, &s0, &s1);
    for (int64_t s = s0; s < s1; s++) {
        const int64_t q0 = s % strips * TILE, q1 = q0 + TILE < v.Q ? q0 + TILE : v.Q, ib = s / strips;
        (v.C == 1 ? turn_cells : move_lines)(dst, src, v, ib / v.B, ib % v.B, q0, q1);
    }
}
static void forward(const hs_args *a, hs_lane *lane) { swap_dims(a, lane, &a->out[Y], &a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane) // swapped again, they are where they were
{
    if (hs_wanted(a, X))
        swap_dims(a, lane, &a->din[X], &a->dout[Y]);
}

static const hs_transpose_attr first = { 0, 1 }, middle = { 1, 2 }, last = { 3, 2 }, ends = { 1, 3 }, same = { 1, 1 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .attr = &first, .note = "one row" },
    { .in = { { 40, 65 } }, .attr = &first, .note = "a matrix" },
    { .in = { { 6, 5, 3, 8 } }, .ext = { HS_EXT_SEQS }, .attr = &middle, .note = "positions and heads" },
    { .in = { { 4, 3, 33, 40 } }, .ext = { HS_EXT_SEQS }, .attr = &last, .note = "the last two" },
    { .in = { { 3, 5, 2, 34 } }, .attr = &ends, .note = "over a dim between" },
    { .in = { { 3, 5, 264 } }, .attr = &first, .note = "long lines" },
    { .in = { { 3, 4, 35 } }, .attr = &first, .note = "odd lines" },
    { .in = { { 33, 9 } }, .ext = { HS_EXT_TOKENS }, .attr = &same, .note = "a dim with itself" },
};
static const hs_attr attrs[] = { HS_ATTR(hs_transpose_attr, d0), HS_ATTR(hs_transpose_attr, d1) };

HS_OP(transpose) = {
    .name = "transpose",
    .formula = "y = x with dims d0 and d1 swapped",
    .attr_bytes = sizeof(hs_transpose_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_transpose(hs_graph *g, hs_tensor *x, int d0, int d1)
{
    return hs_emit(g, HS_OP_ENTRY(transpose), &(hs_transpose_attr){ d0, d1 }, (hs_tensor *[]){ x }, 1);
}
#endif

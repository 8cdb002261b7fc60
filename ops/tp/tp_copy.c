// tp_copy: what every tensor-parallel rank has alike goes into a part of the model that each rank has a slice of.
//
//   y = x        dx = sum over ranks of dy
//
// Megatron's f (Shoeybi et al. 2019), conjugate to tp_reduce. x is cast before it, so that the gradient travels in the type the products
// behind it read. One call moves all of it.

#include "ops/ops.h"
#include "ops/tp/tp_alone.h"
#include "ops/tp/tp_rows.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    if (n->in[X]->n_dims != 2)
        return "x must have rows and one width";
    hs_shape_like(n->out[Y], n->in[X]);
    return NULL;
}

static hs_op_moves moves(const hs_node *n, bool backward)
{
    return backward ? (hs_op_moves){ HS_ALL_REDUCE, (double)hs_tensor_bytes(n->in[X]), 1 } : (hs_op_moves){ 0 };
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *x = &a->in[X], *y = &a->out[Y];
    if (x->p == y->p)
        return;
    const size_t each = hs_dtype_bytes(y->dtype);
    hs_for_blocks(i, k, a, y, lane)
        memcpy(y->p + (size_t)i * each, x->p + (size_t)i * each, (size_t)k * each);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *dy = &a->dout[Y], *dx = &a->din[X];
    const int64_t n = hs_ref_rows(a, dy) * dy->cols;
    const bool straight = !dx->add && dx->dtype == dy->dtype;
    const hs_ref sum = { .p = straight ? dx->p : a->scratch, .dtype = dy->dtype }; // x has other readers too: their sum stays until then
    if (!hs_wanted(a, X))
        return;
    tp_copy_cells(lane, sum.p, dy->p, n, sum.dtype);
    hs_sync(lane);
    if (lane->id == 0)
        a->comm->all_reduce(a->comm, lane, sum.p, n, sum.dtype, HS_REDUCE_SUM);
    hs_sync(lane);
    if (!straight)
        tp_store_cells(lane, dx, &sum, 0, n);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    return is_backward ? tp_rows_scratch(n->out[Y]) : (hs_scratch){ 0 };
}

static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 96, 768 } }, .ext = { HS_EXT_TOKENS } },
};

HS_OP(tp_copy) = {
    .name = "tp_copy",
    .formula = "y = x; dx = sum over ranks of dy",
    .paper = "arXiv:1909.08053",
    .flags = HS_OP_COLLECTIVE,
    .in = { [X] = { "x", HS_AMP_LOW, 0 } },
    .out = { [Y] = { "y", HS_AMP_LOW, HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = tp_pass_cost,
    .moves = moves,
    .ref = tp_alone,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_tp_copy(hs_graph *g, hs_tensor *x)
{
    return g->grid.tp->size == 1 ? x : hs_emit(g, HS_OP_ENTRY(tp_copy), NULL, (hs_tensor *[]){ x }, 1);
}
#endif

// tp_reduce: the partial results of all tensor-parallel ranks become one that every rank has.
//
//   y = sum over ranks of x        dx = dy
//
// Megatron's g (Shoeybi et al. 2019), conjugate to tp_copy. The sum is made in the type x is stored in: in low precision what products
// write is rounded before it travels; `tp_reduce=fp32` in amp.overrides keeps it wide. A bias is added behind it, once.

#include "core/cpu/rows.h"
#include "core/graph/comm.h"
#include "ops/ops.h"
#include "ops/tp/tp_alone.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    if (n->in[X]->n_dims != 2)
        return "x must have rows and one width";
    hs_shape_like(n->out[Y], n->in[X]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward) { return backward ? (hs_cost){ 0 } : (hs_cost){ .bytes = hs_traffic(n, false) }; }

static hs_op_moves moves(const hs_node *n, bool backward)
{
    return backward ? (hs_op_moves){ 0 } : (hs_op_moves){ HS_ALL_REDUCE, (double)hs_tensor_bytes(n->in[X]), 1 };
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *x = &a->in[X], *y = &a->out[Y];
    const int64_t n = hs_ref_rows(a, x) * x->cols;
    if (x->p != y->p)
        memcpy(y->p, x->p, (size_t)n * hs_dtype_bytes(x->dtype));
    a->comm->all_reduce(a->comm, lane, y->p, n, y->dtype, HS_REDUCE_SUM);
}

static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .note = "odd width" },
    { .in = { { 96, 768 } }, .ext = { HS_EXT_TOKENS } },
};

HS_OP(tp_reduce) = {
    .name = "tp_reduce",
    .formula = "y = sum over ranks of x",
    .paper = "arXiv:1909.08053",
    .flags = HS_OP_COLLECTIVE,
    .in = { [X] = { "x", HS_AMP_KEEP, HS_GRAD_IS_DY } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .moves = moves,
    .ref = tp_alone,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { .fwd = forward, .fwd_part = HS_PART_SOLO },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_tp_reduce(hs_graph *g, hs_tensor *x)
{
    return g->grid.tp->size == 1 ? x : hs_emit(g, HS_OP_ENTRY(tp_reduce), NULL, (hs_tensor *[]){ x }, 1);
}
#endif

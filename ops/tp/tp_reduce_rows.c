// tp_reduce_rows: the partial results of all tensor-parallel ranks become one, of which every rank has its share of the rows.
//
//   y = this rank's rows of the sum over ranks of x        dx = dy of all ranks, in the order of rows
//
// What tp_reduce is where rows are divided between the products: half of what it moves goes this way, the other half behind the next norm
// (tp_gather_rows). The sum is made in the type x is stored in, as there.

#include "ops/ops.h"
#include "ops/tp/tp_alone.h"
#include "ops/tp/tp_rows.h"

enum { X };
enum { Y };

static hs_op_moves moves(const hs_node *n, bool backward)
{
    return (hs_op_moves){ backward ? HS_GATHER_PARTS : HS_REDUCE_PARTS, (double)hs_tensor_bytes(n->in[X]), 1 };
}

static void forward(const hs_args *a, hs_lane *lane) { tp_reduce_parts(a, lane, &a->in[X], &a->out[Y]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (hs_wanted(a, X))
        tp_gather_parts(a, lane, &a->dout[Y], &a->din[X]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team, (void)is_backward;
    return tp_rows_scratch(n->in[X]);
}

static const hs_tp_rows_attr alone = { .ranks = 1 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .ext = { HS_EXT_TOKENS }, .attr = &alone, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &alone, .note = "odd width" },
    { .in = { { 96, 768 } }, .ext = { HS_EXT_TOKENS }, .attr = &alone },
};

HS_OP(tp_reduce_rows) = {
    .name = "tp_reduce_rows",
    .formula = "y = own rows of the sum over ranks of x",
    .paper = "arXiv:2205.05198",
    .attr_bytes = sizeof(hs_tp_rows_attr),
    .attrs = tp_rows_attrs,
    .n_attrs = HS_COUNT(tp_rows_attrs),
    .flags = HS_OP_COLLECTIVE,
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_KEEP, 0 } },
    .shape = tp_own_shape,
    .cost = tp_pass_cost,
    .moves = moves,
    .ref = tp_alone,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_tp_reduce_rows(hs_graph *g, hs_tensor *x)
{
    const hs_tp_rows_attr at = { hs_tp_tokens(g), g->grid.tp->size };
    return at.ranks == 1 ? x : hs_emit(g, HS_OP_ENTRY(tp_reduce_rows), &at, (hs_tensor *[]){ x }, 1);
}
#endif

// tp_gather_rows: rows that tensor-parallel ranks have a share of each go into a part of the model that each rank has a slice of.
//
//   y = x of all ranks, in the order of rows        dx = this rank's rows of the sum over ranks of dy
//
// What tp_copy is where rows are divided between the products, conjugate to tp_reduce_rows. x is cast before it, so that rows and gradients
// travel in the type the products behind it read. Backward of the product reads y: it is gathered once more for that instead of kept
// (HS_OP_CHEAP), so that what is kept is a share.

#include "ops/ops.h"
#include "ops/tp/tp_alone.h"
#include "ops/tp/tp_rows.h"

enum { X };
enum { Y };

static hs_op_moves moves(const hs_node *n, bool backward)
{
    return (hs_op_moves){ backward ? HS_REDUCE_PARTS : HS_GATHER_PARTS, (double)hs_tensor_bytes(n->out[Y]), 1 };
}

static void forward(const hs_args *a, hs_lane *lane) { tp_gather_parts(a, lane, &a->in[X], &a->out[Y]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (hs_wanted(a, X))
        tp_reduce_parts(a, lane, &a->dout[Y], &a->din[X]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    return is_backward ? tp_rows_scratch(n->out[Y]) : (hs_scratch){ 0 };
}

static const hs_tp_rows_attr alone = { .ranks = 1 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .ext = { HS_EXT_SHARE }, .attr = &alone, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_SHARE }, .attr = &alone, .note = "odd width" },
    { .in = { { 96, 768 } }, .ext = { HS_EXT_SHARE }, .attr = &alone },
};

HS_OP(tp_gather_rows) = {
    .name = "tp_gather_rows",
    .formula = "y = rows of all ranks; dx = own rows of the sum over ranks of dy",
    .paper = "arXiv:2205.05198",
    .attr_bytes = sizeof(hs_tp_rows_attr),
    .attrs = tp_rows_attrs,
    .n_attrs = HS_COUNT(tp_rows_attrs),
    .flags = HS_OP_COLLECTIVE | HS_OP_CHEAP,
    .in = { [X] = { "x", HS_AMP_LOW, HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_LOW, 0 } },
    .shape = tp_whole_shape,
    .cost = tp_pass_cost,
    .moves = moves,
    .ref = tp_alone,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_tp_gather_rows(hs_graph *g, hs_tensor *x)
{
    const hs_tp_rows_attr at = { hs_tp_tokens(g), g->grid.tp->size };
    return at.ranks == 1 ? x : hs_emit(g, HS_OP_ENTRY(tp_gather_rows), &at, (hs_tensor *[]){ x }, 1);
}
#endif

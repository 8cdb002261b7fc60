// tp_whole_rows: rows that tensor-parallel ranks have a share of each become whole on every rank, for what all of them do alike.
//
//   y = x of all ranks, in the order of rows        dx = this rank's rows of dy
//
// Behind the last layer: heads and losses are every rank's, so that dy is the same everywhere, and nothing is added up.

#include "ops/ops.h"
#include "ops/tp/tp_alone.h"
#include "ops/tp/tp_rows.h"

enum { X };
enum { Y };

static hs_op_moves moves(const hs_node *n, bool backward)
{
    return backward ? (hs_op_moves){ 0 } : (hs_op_moves){ HS_GATHER_PARTS, (double)hs_tensor_bytes(n->out[Y]), 1 };
}

static void forward(const hs_args *a, hs_lane *lane) { tp_gather_parts(a, lane, &a->in[X], &a->out[Y]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    tp_parts p;
    if (!hs_wanted(a, X))
        return;
    tp_parts_of(&p, a, &a->dout[Y]);
    tp_store_cells(lane, &a->din[X], &a->dout[Y], p.first, p.mine);
}

static const hs_tp_rows_attr alone = { .ranks = 1 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .ext = { HS_EXT_SHARE }, .attr = &alone, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_SHARE }, .attr = &alone, .note = "odd width" },
    { .in = { { 96, 768 } }, .ext = { HS_EXT_SHARE }, .attr = &alone },
};

HS_OP(tp_whole_rows) = {
    .name = "tp_whole_rows",
    .formula = "y = rows of all ranks; dx = own rows of dy",
    .paper = "arXiv:2205.05198",
    .attr_bytes = sizeof(hs_tp_rows_attr),
    .attrs = tp_rows_attrs,
    .n_attrs = HS_COUNT(tp_rows_attrs),
    .flags = HS_OP_COLLECTIVE,
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_KEEP, 0 } },
    .shape = tp_whole_shape,
    .cost = tp_pass_cost,
    .moves = moves,
    .ref = tp_alone,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_tp_whole_rows(hs_graph *g, hs_tensor *x)
{
    const hs_tp_rows_attr at = { hs_tp_tokens(g), g->grid.tp->size };
    return at.ranks == 1 ? x : hs_emit(g, HS_OP_ENTRY(tp_whole_rows), &at, (hs_tensor *[]){ x }, 1);
}
#endif

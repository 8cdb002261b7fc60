// tp_own_rows: of integers that a batch has for every token, those of this tensor-parallel rank's share.
//
//   y = this rank's rows of x
//
// Places, ids: what masks and tables are asked by. Nothing moves, every rank has all of them.

#include "ops/ops.h"
#include "ops/tp/tp_alone.h"
#include "ops/tp/tp_rows.h"

enum { X };
enum { Y };

static hs_op_moves moves(const hs_node *n, bool backward)
{
    (void)n, (void)backward;
    return (hs_op_moves){ 0 };
}

static void reference(const hs_args *a) // of one rank
{
    for (int64_t i = 0; i < hs_ref_rows(a, &a->in[X]) * a->in[X].cols; i++)
        hs_f64_out(a, Y)[i] = hs_i32(a, X)[i];
}

static void forward(const hs_args *a, hs_lane *lane)
{
    tp_parts p;
    tp_parts_of(&p, a, &a->in[X]);
    tp_copy_cells(lane, a->out[Y].p, a->in[X].p + (size_t)p.first * sizeof(int32_t), p.mine, HS_I32);
}

static const hs_tp_rows_attr alone = { .ranks = 1 };
static const hs_case cases[] = {
    { .in = { { 1 } }, .ext = { HS_EXT_TOKENS }, .attr = &alone, .limit = 9, .note = "one row" },
    { .in = { { 33, 2 } }, .ext = { HS_EXT_TOKENS }, .attr = &alone, .limit = 1000, .note = "pairs" },
};

HS_OP(tp_own_rows) = {
    .name = "tp_own_rows",
    .formula = "y = own rows of x",
    .paper = "arXiv:2205.05198",
    .attr_bytes = sizeof(hs_tp_rows_attr),
    .attrs = tp_rows_attrs,
    .n_attrs = HS_COUNT(tp_rows_attrs),
    .flags = HS_OP_COLLECTIVE,
    .in = { [X] = { "x", HS_AMP_NONE, HS_NO_GRAD } },
    .out = { [Y] = { "y", HS_AMP_NONE, 0 } },
    .shape = tp_own_shape,
    .cost = tp_pass_cost,
    .moves = moves,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { .fwd = forward, .fwd_part = HS_PART_FREE },
};

#ifdef HS_TIER_PORTABLE
static hs_tensor *made_before(const hs_graph *g, const hs_tensor *x) // soon found: it is among the first nodes
{
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i]->op == HS_OP_ENTRY(tp_own_rows) && g->node[i]->in[X] == x)
            return g->node[i]->out[Y];
    return NULL;
}

hs_tensor *hs_tp_own_rows(hs_graph *g, hs_tensor *x)
{
    const hs_tp_rows_attr at = { hs_tp_tokens(g), g->grid.tp->size };
    hs_tensor *y = at.ranks == 1 ? x : made_before(g, x);
    return y ? y : hs_emit(g, HS_OP_ENTRY(tp_own_rows), &at, (hs_tensor *[]){ x }, 1);
}

hs_tensor *hs_tp_rows_like(hs_graph *g, hs_tensor *rows, const hs_tensor *x)
{
    return rows && rows->ext == HS_EXT_TOKENS && x->ext == HS_EXT_SHARE ? hs_tp_own_rows(g, rows) : rows;
}

int64_t hs_tp_tokens(const hs_graph *g)
{
    for (int i = 0; i < g->n_inputs; i++)
        if (g->input[i]->ext == HS_EXT_TOKENS)
            return g->input[i]->dim[0];
    return 0;
}
#endif

// tp_gather: columns that tensor-parallel ranks have a slice each of become whole on every rank.
//
//   y[n] = x[n] of rank 0, of rank 1, ...        dx = this rank's columns of dy
//
// For logits that are read: sampling, evaluation. The ranks' slices arrive one behind the other and are dealt out to rows by this kernel.

#include "core/cpu/rows.h"
#include "core/graph/comm.h"
#include "ops/attrs.h"
#include "ops/tp/tp_alone.h"

enum { X };
enum { Y, PARTS }; // PARTS: [ranks * rows, width of x], as they arrive

static const char *shape(hs_node *n)
{
    const hs_tp_gather_attr *at = n->attr;
    const hs_tensor *x = n->in[X];
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (at->ranks < 1 || at->rank < 0 || at->rank >= at->ranks)
        return "there is no such rank";
    hs_shape_rows(n->out[Y], x, at->ranks * x->dim[1]);
    hs_shape_set(n->out[PARTS], HS_F32, HS_EXT_FIXED, 2, (const int64_t[]){ at->ranks * x->dim[0], x->dim[1] });
    return NULL;
}

static hs_op_moves moves(const hs_node *n, bool backward)
{
    return backward ? (hs_op_moves){ 0 } : (hs_op_moves){ HS_GATHER_PARTS, (double)hs_tensor_bytes(n->out[Y]), 1 };
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_tp_gather_attr *at = a->attr;
    const hs_ref *x = &a->in[X], *y = &a->out[Y];
    const int64_t N = hs_ref_rows(a, x), C = x->cols;
    const size_t slice = (size_t)C * hs_dtype_bytes(x->dtype);
    a->comm->all_gather(a->comm, lane, x->p, a->out[PARTS].p, N * C, x->dtype);
    for (int64_t r = 0; r < at->ranks; r++)
        for (int64_t n = 0; n < N; n++)
            memcpy(y->p + (size_t)(n * at->ranks + r) * slice, a->out[PARTS].p + (size_t)(r * N + n) * slice, slice);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_tp_gather_attr *at = a->attr;
    const hs_ref *dy = &a->dout[Y], *dx = &a->din[X];
    float wide[HS_BLOCK];
    hs_for_rows(n, a, dy, lane) {
        for (int64_t c = 0; c < dx->cols && hs_wanted(a, X); c += HS_BLOCK) {
            const int64_t k = dx->cols - c < HS_BLOCK ? dx->cols - c : HS_BLOCK;
            hs_store(dx, n * dx->cols + c, k, hs_load(dy, n * dy->cols + at->rank * dx->cols + c, k, wide));
        }
    }
}

static const hs_tp_gather_attr alone = { .rank = 0, .ranks = 1 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .attr = &alone, .note = "one row" },
    { .in = { { 33, 65 } }, .ext = { HS_EXT_TOKENS }, .attr = &alone, .note = "odd width" },
    { .in = { { 40, 1100 } }, .ext = { HS_EXT_PICKS }, .attr = &alone },
};
static const hs_attr attrs[] = { HS_ATTR(hs_tp_gather_attr, rank), HS_ATTR(hs_tp_gather_attr, ranks) };

HS_OP(tp_gather) = {
    .name = "tp_gather",
    .formula = "y = x of rank 0 | x of rank 1 | ...",
    .paper = "arXiv:1909.08053",
    .attr_bytes = sizeof(hs_tp_gather_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .flags = HS_OP_COLLECTIVE,
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_KEEP, 0 }, [PARTS] = { "parts", HS_AMP_KEEP, HS_SAVED | HS_SCRATCH } },
    .shape = shape,
    .cost = tp_pass_cost,
    .moves = moves,
    .ref = tp_alone,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_SOLO, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_tp_gather(hs_graph *g, hs_tensor *x)
{
    const hs_comm *tp = g->grid.tp;
    const hs_tp_gather_attr at = { tp->rank, tp->size };
    return tp->size == 1 ? x : hs_emit(g, HS_OP_ENTRY(tp_gather), &at, (hs_tensor *[]){ x }, 1);
}
#endif

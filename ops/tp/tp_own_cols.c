// tp_own_cols: of a small matrix that every tensor-parallel rank has whole, the columns that this rank's slice of a model needs.
//
//   y = of each of x's `parts` blocks of columns, this rank's share       dx = dy there, 0 elsewhere
//
// For a low-rank pair of stacked parts (one pair for query, key and value together), which is kept whole because its columns are not
// divided as those of a matrix of one part are. Ranks' gradients are parts of a sum (HS_OP_TP_PART).

#include "core/cpu/rows.h"
#include "ops/attrs.h"
#include "ops/ops.h"

enum { X };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_tp_own_cols_attr *at = n->attr;
    const hs_tensor *x = n->in[X];
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (at->ranks < 1 || at->rank < 0 || at->rank >= at->ranks)
        return "there is no such rank";
    if (at->parts < 1 || x->dim[1] % (at->parts * at->ranks))
        return "parts and ranks must divide the columns";
    hs_shape_rows(n->out[Y], x, x->dim[1] / at->ranks);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double own = (double)hs_tensor_bytes(n->out[Y]);
    return (hs_cost){ .bytes = backward ? own + (double)hs_tensor_bytes(n->in[X]) : 2 * own };
}

// Columns of x that a part of y is.
typedef struct block {
    int64_t from, to, n; // first in x, first in y
} block;
static block block_of(const hs_args *a, int64_t x_cols, int64_t part)
{
    const hs_tp_own_cols_attr *at = a->attr;
    const int64_t n = x_cols / (at->parts * at->ranks);
    return (block){ part * (x_cols / at->parts) + at->rank * n, part * n, n };
}

static void reference(const hs_args *a)
{
    const hs_tp_own_cols_attr *at = a->attr;
    const int64_t R = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols;
    for (int64_t r = 0; r < R; r++)
        for (int64_t p = 0; p < at->parts; p++) {
            const block b = block_of(a, C, p);
            memcpy(hs_f64_out(a, Y) + r * a->out[Y].cols + b.to, hs_f64(a, X) + r * C + b.from, (size_t)b.n * sizeof(double));
        }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_tp_own_cols_attr *at = a->attr;
    const hs_ref *x = &a->in[X], *y = &a->out[Y];
    const size_t each = hs_dtype_bytes(x->dtype);
    hs_for_rows(r, a, x, lane) {
        for (int64_t p = 0; p < at->parts; p++) {
            const block b = block_of(a, x->cols, p);
            memcpy(y->p + (size_t)(r * y->cols + b.to) * each, x->p + (size_t)(r * x->cols + b.from) * each, (size_t)b.n * each);
        }
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_tp_own_cols_attr *at = a->attr;
    const hs_ref *dy = &a->dout[Y], *dx = &a->din[X];
    const size_t row = (size_t)dx->cols * hs_dtype_bytes(dx->dtype);
    float wide[HS_BLOCK];
    if (!hs_wanted(a, X))
        return;
    hs_for_rows(r, a, dy, lane) {
        if (!dx->add)
            memset(dx->p + (size_t)r * row, 0, row);
        for (int64_t p = 0; p < at->parts; p++) {
            const block b = block_of(a, dx->cols, p);
            for (int64_t c = 0; c < b.n; c += HS_BLOCK) {
                const int64_t k = b.n - c < HS_BLOCK ? b.n - c : HS_BLOCK;
                hs_store(dx, r * dx->cols + b.from + c, k, hs_load(dy, r * dy->cols + b.to + c, k, wide));
            }
        }
    }
}

static const hs_tp_own_cols_attr alone = { .parts = 1, .ranks = 1 }, last = { .parts = 3, .rank = 1, .ranks = 2 };
static const hs_tp_own_cols_attr middle = { .parts = 2, .rank = 1, .ranks = 4 };
static const hs_case cases[] = {
    { .in = { { 1, 7 } }, .attr = &alone, .note = "one row, one rank" },
    { .in = { { 8, 30 } }, .attr = &last, .note = "the last of two, of three parts" },
    { .in = { { 33, 64 } }, .ext = { HS_EXT_TOKENS }, .attr = &middle, .note = "the second of four" },
    { .in = { { 8, 9216 } }, .attr = &middle },
};
static const hs_attr attrs[] = { HS_ATTR(hs_tp_own_cols_attr, parts), HS_ATTR(hs_tp_own_cols_attr, rank),
                                 HS_ATTR(hs_tp_own_cols_attr, ranks) };

HS_OP(tp_own_cols) = {
    .name = "tp_own_cols",
    .formula = "y = own columns of each part of x",
    .attr_bytes = sizeof(hs_tp_own_cols_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .flags = HS_OP_TP_PART,
    .in = { [X] = { "x", HS_AMP_KEEP, 0 } },
    .out = { [Y] = { "y", HS_AMP_KEEP, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_tp_own_cols(hs_graph *g, hs_tensor *x, int parts)
{
    const hs_tp_own_cols_attr at = { parts, g->grid.tp->rank, g->grid.tp->size };
    return at.ranks == 1 ? x : hs_emit(g, HS_OP_ENTRY(tp_own_cols), &at, (hs_tensor *[]){ x }, 1);
}
#endif

// dropout: y = x * keep / (1 - p), keep drawn by address (core/cpu/dropout.h): backward draws the same mask again, none is stored.
//
// Srivastava et al. 2014. where[n] = { global sample slot, position in the sample } makes the mask the same at every layout; `first`, which
// channel of the whole row column 0 is, makes that of a tensor-parallel rank's columns a slice of it. Where x's rows are sequences, each
// has the address of its first token.

#include "core/cpu/dropout.h"
#include "ops/attrs.h"

enum { X, WHERE, STARTS };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *where = n->in[WHERE], *starts = n->in[STARTS];
    const hs_dropout_attr *at = n->attr;
    if (!(at->p >= 0 && at->p < 1))
        return "the probability must be in [0, 1)";
    if (at->first < 0 || at->first % 8)
        return "the first channel must be a multiple of 8";
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (where->dtype != HS_I32 || where->n_dims != 2 || where->dim[1] != 2)
        return "where must be i32 [rows, 2]";
    if (!starts && (where->dim[0] != x->dim[0] || where->ext != x->ext))
        return "where must have a row for each of x";
    if (starts && (starts->dtype != HS_I32 || starts->n_dims != 1 || starts->dim[0] != x->dim[0] + 1))
        return "starts must be i32 [rows of x + 1]";
    hs_shape_like(n->out[Y], x);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = 2.0 * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

static hs_drop drop_of(const hs_args *a) { return hs_drop_of(a, ((const hs_dropout_attr *)a->attr)->p); }
static int64_t first_of(const hs_args *a) { return ((const hs_dropout_attr *)a->attr)->first; }

// {slot, position} of row n; of a sequence that begins outside of the tokens none's.
static const int32_t *where_of(const hs_args *a, int64_t n)
{
    static const int32_t nowhere[2] = { -1, -1 };
    const int64_t row = a->in[STARTS].p ? hs_i32(a, STARTS)[n] : n;
    return row >= 0 && row < hs_ref_rows(a, &a->in[WHERE]) ? hs_i32(a, WHERE) + 2 * row : nowhere;
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, first = first_of(a);
    const hs_drop drop = drop_of(a);
    float factor[128]; // as many as one call draws
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++) {
            if (c % 128 == 0)
                hs_drop_factors(&drop, where_of(a, n)[0], where_of(a, n)[1], 0, first + c, 128, factor);
            hs_f64_out(a, Y)[n * C + c] = hs_f64(a, X)[n * C + c] * (double)factor[c % 128];
        }
}

static void drop_rows(const hs_args *a, hs_lane *lane, const hs_ref *dst, const hs_ref *src)
{
    const int64_t C = src->cols;
    const hs_drop drop = drop_of(a);
    float *wide = hs_row_buffer(a, lane, 0, C), *buf = hs_row_buffer(a, lane, 1, C);
    hs_for_rows(n, a, src, lane) {
        const int32_t *where = where_of(a, n);
        float *y = hs_row_dest(dst, n, buf);
        hs_drop_row(&drop, where[0], where[1], first_of(a), hs_row_load(src, n, wide), y, C);
        hs_row_store(dst, n, y);
    }
}
static void forward(const hs_args *a, hs_lane *lane) { drop_rows(a, lane, &a->out[Y], &a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (hs_wanted(a, X))
        drop_rows(a, lane, &a->din[X], &a->dout[Y]);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team, (void)is_backward;
    return (hs_scratch){ .per_thread = 2 * hs_row_bytes(hs_tensor_width(n->in[X])) };
}

static void seqs(int input, int32_t *data, int64_t n, const hs_case *c) // of one row, of more and more
{
    for (int64_t i = 0; i < n && input == WHERE; i++)
        data[i] = (int32_t)((i * 7 + 3) % c->limit);
    for (int64_t b = 0; b < n && input == STARTS; b++)
        data[b] = (int32_t)(b * (b + 1) / 2);
}

static const hs_dropout_attr tenth = { 0.1f, 0 }, half = { 0.5f, 0 }, none = { 0, 0 }, slice = { 0.5f, 136 };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1, 2 } }, .attr = &half, .limit = 16 },
    { .in = { { 33, 65 }, { 33, 2 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = &tenth, .limit = 64, .note = "odd width" },
    { .in = { { 48, 768 }, { 48, 2 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = &half, .limit = 64 },
    { .in = { { 20, 136 }, { 20, 2 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = &slice, .limit = 64, .note = "a slice" },
    { .in = { { 6, 40 }, { 21, 2 }, { 7 } },
      .ext = { HS_EXT_SEQS, HS_EXT_TOKENS, HS_EXT_STARTS },
      .attr = &half,
      .limit = 64,
      .setup = seqs,
      .note = "rows are sequences" },
    { .in = { { 5, 16 }, { 5, 2 } }, .attr = &none, .limit = 8, .note = "p = 0" },
};
static const hs_attr attrs[] = { HS_ATTR(hs_dropout_attr, p), HS_ATTR(hs_dropout_attr, first) };

HS_OP(dropout) = {
    .name = "dropout",
    .formula = "y = x * keep / (1 - p)",
    .paper = "JMLR 15 (2014) 1929",
    .attr_bytes = sizeof(hs_dropout_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, 0 },
            [WHERE] = { "where", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_WHOLE },
            [STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_WHOLE | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_dropout(hs_graph *g, hs_tensor *x, hs_tensor *where, float p) { return hs_dropout_slice(g, x, where, p, 0); }
static hs_tensor *emit(hs_graph *g, hs_tensor *x, hs_tensor *where, hs_tensor *starts, float p, int64_t first)
{
    if (p == 0 || g->mode != HS_TRAIN)
        return x;
    where = starts ? where : hs_tp_rows_like(g, where, x);
    return hs_emit(g, HS_OP_ENTRY(dropout), &(hs_dropout_attr){ p, (int32_t)first }, (hs_tensor *[]){ x, where, starts }, 3);
}
hs_tensor *hs_dropout_slice(hs_graph *g, hs_tensor *x, hs_tensor *where, float p, int64_t first)
{
    return emit(g, x, where, NULL, p, first);
}
hs_tensor *hs_dropout_seqs(hs_graph *g, hs_tensor *x, hs_tensor *where, hs_tensor *starts, float p)
{
    return emit(g, x, where, starts, p, 0);
}
#endif

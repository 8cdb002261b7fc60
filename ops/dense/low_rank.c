// low_rank: what a pair of thin matrices adds to a product, part by part of its output (LoRA, Hu et al. 2021).
//
//   y[:, part p] = x[:, part p] + scale u_p b_p        of the parts that mask has; the others stay as they are
//   dx = dy       du_p = scale dy_p b_p^T       db_p = scale u_p^T dy_p
//
// x [N, parts O] is the product; u [N, used R] the inner products of the parts that are used, side by side, and b [used R, O] their second
// matrices, one below the other: [in, out], so that what pads a rank to whole vectors are rows of zeros, which stay zeros.

#include "ops/dense/gemm.h"
#include "ops/ops.h"

enum { X, U, B };
enum { Y };

static int used_of(const hs_low_rank_attr *at) { return __builtin_popcount((unsigned)at->mask); }

static const char *shape(hs_node *n)
{
    const hs_low_rank_attr *at = n->attr;
    const hs_tensor *x = n->in[X], *u = n->in[U], *b = n->in[B];
    const int used = used_of(at);
    if (x->n_dims != 2 || u->n_dims != 2 || b->n_dims != 2)
        return "x must be [rows, out], u [rows, rank] and b [rank, out]";
    if (x->dim[0] != u->dim[0] || x->ext != u->ext)
        return "x and u must have the same rows";
    if (at->parts < 1 || at->parts > 30 || used == 0 || at->mask >> at->parts)
        return "mask must name some of the parts";
    if (x->dim[1] % at->parts || b->dim[0] % used)
        return "widths do not divide into parts";
    if (u->dim[1] != b->dim[0] || x->dim[1] / at->parts != b->dim[1])
        return "u must be as wide as b has rows, a part of x as wide as b";
    if (b->dim[0] / used % 8 || b->dim[1] % 8)
        return "widths must be multiples of 8: pad them";
    hs_shape_like(n->out[Y], x);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double products = 2.0 * (double)hs_tensor_count(n->in[U]) * (double)n->in[B]->dim[1];
    return (hs_cost){ .flops = backward ? 2 * products : products, .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const hs_low_rank_attr *at = a->attr;
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[B].cols, W = a->in[U].cols, R = W / used_of(at);
    for (int64_t n = 0; n < N; n++)
        for (int64_t p = 0, used = 0; p < at->parts; p++) {
            const bool has = at->mask >> p & 1;
            for (int64_t o = 0; o < O; o++) {
                double sum = 0;
                for (int64_t r = 0; r < R && has; r++)
                    sum += hs_f64(a, U)[n * W + used * R + r] * hs_f64(a, B)[(used * R + r) * O + o];
                hs_f64_out(a, Y)[n * C + p * O + o] = hs_f64(a, X)[n * C + p * O + o] + (double)at->scale * sum;
            }
            used += has;
        }
}

// From column `first` of an operand on, or from row `row`.
static char *at(const hs_ref *r, int64_t row, int64_t first) { return r->p + (size_t)(row * r->cols + first) * hs_dtype_bytes(r->dtype); }

static void copy_rows(const hs_args *a, hs_lane *lane)
{
    float *wide = hs_row_buffer(a, lane, 0, a->in[X].cols);
    if (a->in[X].p == a->out[Y].p)
        return;
    hs_for_rows(n, a, &a->in[X], lane)
        hs_row_store(&a->out[Y], n, hs_row_load(&a->in[X], n, wide));
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_low_rank_attr *attr = a->attr;
    const hs_ref *u = &a->in[U], *b = &a->in[B], *y = &a->out[Y];
    const int64_t R = b->rows / used_of(attr), O = b->cols;
    gemm g = { .m = hs_ref_rows(a, y), .n = O, .k = R, .dot = gemm_dot(u->dtype), .rows = true };
    g.shared = a->scratch, g.own = hs_thread_scratch(a, lane);
    hs_sync(lane); // gemm_run divides few rows by columns: members read one another's rows of u, and y is anybody's between its syncs
    copy_rows(a, lane);
    for (int64_t p = 0, used = 0; p < attr->parts; p++) {
        if (!(attr->mask >> p & 1))
            continue;
        if (used)
            hs_sync(lane); // the scratch is free again
        g.a = (gemm_in){ at(u, 0, used * R), u->cols, u->dtype, false };
        g.b = (gemm_in){ at(b, used * R, 0), O, b->dtype, true };
        g.c = (gemm_out){ .p = at(y, 0, p * O), .ld = y->cols, .dtype = y->dtype, .add = true, .scale = attr->scale };
        gemm_run(&g, lane);
        used++;
    }
}

static void backward_part(const hs_args *a, hs_lane *lane, int64_t p, int64_t used, gemm *g)
{
    const hs_low_rank_attr *attr = a->attr;
    const hs_ref *u = &a->in[U], *b = &a->in[B], *dy = &a->dout[Y], *du = &a->din[U], *db = &a->din[B];
    const int64_t R = b->rows / used_of(attr), O = b->cols, N = hs_ref_rows(a, dy);
    if (hs_wanted(a, U)) {
        g->m = N, g->n = R, g->k = O;
        g->a = (gemm_in){ at(dy, 0, p * O), dy->cols, dy->dtype, false };
        g->b = (gemm_in){ at(b, used * R, 0), O, b->dtype, false };
        g->c = (gemm_out){ .p = at(du, 0, used * R), .ld = du->cols, .dtype = du->dtype, .add = du->add, .scale = attr->scale };
        gemm_run(g, lane);
        hs_sync(lane);
    }
    if (hs_wanted(a, B)) {
        g->m = R, g->n = O, g->k = N;
        g->a = (gemm_in){ at(u, 0, used * R), u->cols, u->dtype, true };
        g->b = (gemm_in){ at(dy, 0, p * O), dy->cols, dy->dtype, true };
        g->c = (gemm_out){ .p = at(db, used * R, 0), .ld = O, .dtype = db->dtype, .add = db->add, .scale = attr->scale };
        gemm_run(g, lane);
        hs_sync(lane);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_low_rank_attr *attr = a->attr;
    gemm g = { .shared = a->scratch, .own = hs_thread_scratch(a, lane), .dot = gemm_dot(a->in[U].dtype) };
    for (int64_t p = 0, used = 0; p < attr->parts; p++)
        if (attr->mask >> p & 1)
            backward_part(a, lane, p, used++, &g);
}

static void need(hs_scratch *s, int64_t m, int64_t n, int64_t k, bool dot, bool low)
{
    const size_t shared = gemm_shared_bytes(n, k, dot), own = gemm_own_bytes(m, n, k, dot, low);
    s->shared = shared > s->shared ? shared : s->shared;
    s->per_thread = own > s->per_thread ? own : s->per_thread;
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t N = n->in[X]->dim[0], O = n->in[B]->dim[1], R = n->in[B]->dim[0] / used_of(n->attr);
    const bool dot = gemm_dot(n->low);
    hs_scratch s = { .per_thread = hs_row_bytes(n->in[X]->dim[1]) };
    if (!is_backward)
        need(&s, N, O, R, dot, true);
    else {
        need(&s, N, R, O, dot, n->low != HS_F32);
        need(&s, R, O, N, dot, false);
    }
    return s;
}

#define ATTR(...)                                                                                                                          \
    &(const hs_low_rank_attr) { __VA_ARGS__ }
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1, 8 }, { 8, 8 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = ATTR(1, 1, 2), .note = "one row" },
    { .in = { { 37, 72 }, { 37, 16 }, { 16, 72 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = ATTR(1, 1, 0.5f) },
    { .in = { { 37, 120 }, { 37, 32 }, { 32, 40 } },
      .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS },
      .attr = ATTR(3, 5, 2),
      .note = "the first and the last of three parts" },
    { .in = { { 70, 216 }, { 70, 24 }, { 24, 72 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = ATTR(3, 7, -0.25f) },
    { .in = { { 5, 1040 }, { 5, 16 }, { 16, 520 } }, .ext = { HS_EXT_SEQS, HS_EXT_SEQS }, .attr = ATTR(2, 2, 1), .note = "few rows" },
};

// query and value of MiniLM and BERT-base with rank 8, an output with rank 16
static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *(hs_low_rank_attr *)attr = (hs_low_rank_attr){ 1, 1, 2 };
    *c = (hs_case){ .in = { [X] = { dim[0], dim[1] }, [U] = { dim[0], dim[2] }, [B] = { dim[2], dim[1] } },
                    .ext = { [X] = HS_EXT_TOKENS, [U] = HS_EXT_TOKENS },
                    .attr = attr };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxOUTxRANK", .usual = "1Kx384x8,1Kx768x8,1Kx3072x16", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_low_rank_attr, parts), HS_ATTR(hs_low_rank_attr, mask), HS_ATTR(hs_low_rank_attr, scale) };

HS_OP(low_rank) = {
    .name = "low_rank",
    .formula = "y = x + scale u b, by parts",
    .paper = "arXiv:2106.09685",
    .attr_bytes = sizeof(hs_low_rank_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_GRAD_IS_DY },
            [U] = { "u", HS_AMP_LOW, HS_BWD_READS },
            [B] = { "b", HS_AMP_LOW, HS_WHOLE | HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE | HS_MAY_OVERWRITE_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_FREE, .syncs_first = true, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_low_rank(hs_graph *g, hs_tensor *x, hs_tensor *u, hs_tensor *b, hs_low_rank_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(low_rank), &attr, (hs_tensor *[]){ x, u, b }, 3);
}
#endif

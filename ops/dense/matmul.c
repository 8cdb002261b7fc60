// matmul: batched matrix product in all orientations.
//
//   c[z] = scale op(a[z]) op(b[z])       op: the matrix itself, or its transpose (ta, tb), over equal leading dims z
//   da = scale dc op(b)^T,  db = scale op(a)^T dc,  transposed where a or b is
//
// Many batches are dealt out to the members whole; a few are done one after the other by all together. Both give the same bits.

#include "ops/dense/gemm.h"
#include "ops/ops.h"

enum { A, B };
enum { C };

static const char *shape(hs_node *n)
{
    const hs_matmul_attr *at = n->attr;
    const hs_tensor *a = n->in[A], *b = n->in[B];
    const int d = a->n_dims;
    if (d < 2 || b->n_dims != d)
        return "a and b must have the same number of dims, at least 2";
    for (int i = 0; i < d - 2; i++)
        if (a->dim[i] != b->dim[i])
            return "leading dims differ";
    if (a->dim[at->ta ? d - 2 : d - 1] != b->dim[at->tb ? d - 1 : d - 2])
        return "inner widths differ";
    if (a->dim[d - 1] % 8 || b->dim[d - 1] % 8)
        return "widths must be multiples of 8: pad them";
    if (d > 2 ? a->ext != b->ext : at->ta && !at->tb ? a->ext != b->ext : b->ext != HS_EXT_FIXED || (at->ta && a->ext != HS_EXT_FIXED))
        return "run-time counts of a and b do not meet"; // of the inner width both have it, of a column none may
    int64_t dim[HS_MAX_DIMS];
    memcpy(dim, a->dim, sizeof dim);
    dim[d - 2] = a->dim[at->ta ? d - 1 : d - 2], dim[d - 1] = b->dim[at->tb ? d - 2 : d - 1];
    hs_shape_set(n->out[C], HS_F32, d == 2 && at->ta ? HS_EXT_FIXED : a->ext, d, dim);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const hs_tensor *a = n->in[A];
    const double inner = (double)a->dim[((const hs_matmul_attr *)n->attr)->ta ? a->n_dims - 2 : a->n_dims - 1];
    const double products = 2.0 * (double)hs_tensor_count(n->out[C]) * inner;
    return (hs_cost){ .flops = backward ? 2 * products : products, .bytes = hs_traffic(n, backward) };
}

// Live sizes of one run: C[m, n] = op(A)[m, k] op(B)[k, n], `batches` times; strides in elements.
typedef struct sizes {
    int64_t batches, m, n, k, a_stride, b_stride, c_stride;
    int64_t lda, ldb, ldc;
    float scale;
    bool ta, tb;
} sizes;

static sizes sizes_of(const hs_args *a, const hs_ref *ra, const hs_ref *rb)
{
    const hs_matmul_attr *at = a->attr;
    const int d = ra->t->n_dims;
    const int64_t *da = ra->t->dim, *db = rb->t->dim;
    sizes s = { .ta = at->ta, .tb = at->tb, .scale = at->scale != 0 ? at->scale : 1, .lda = da[d - 1], .ldb = db[d - 1] };
    const int64_t live = hs_ref_rows(a, ra), rows = d == 2 ? live : da[d - 2];
    s.m = at->ta ? da[d - 1] : rows, s.k = at->ta ? rows : da[d - 1], s.n = db[at->tb ? d - 2 : d - 1];
    s.batches = d == 2 ? 1 : live;
    for (int i = 1; i < d - 2; i++)
        s.batches *= da[i];
    s.ldc = s.n;
    s.a_stride = da[d - 2] * da[d - 1], s.b_stride = db[d - 2] * db[d - 1];
    s.c_stride = (at->ta ? da[d - 1] : da[d - 2]) * s.n;
    return s;
}

static void reference(const hs_args *a)
{
    const sizes s = sizes_of(a, &a->in[A], &a->in[B]);
    for (int64_t z = 0; z < s.batches; z++)
        for (int64_t i = 0; i < s.m; i++)
            for (int64_t j = 0; j < s.n; j++) {
                const double *x = hs_f64(a, A) + z * s.a_stride, *y = hs_f64(a, B) + z * s.b_stride;
                double sum = 0;
                for (int64_t k = 0; k < s.k; k++)
                    sum += (s.ta ? x[k * s.lda + i] : x[i * s.lda + k]) * (s.tb ? y[j * s.ldb + k] : y[k * s.ldb + j]);
                hs_f64_out(a, C)[z * s.c_stride + i * s.ldc + j] = (double)s.scale * sum;
            }
}

static const void *at_batch(const hs_ref *r, int64_t z, int64_t stride) { return r->p + (size_t)(z * stride) * hs_dtype_bytes(r->dtype); }

// dst[z] = scale left[z] right[z] for all batches.
typedef struct operand {
    const hs_ref *r;
    int64_t ld, stride;
    bool k_major;
} operand;
static void products(const hs_args *a, hs_lane *lane, operand dst, operand left, operand right, int64_t m, int64_t n, int64_t k,
                     float scale, bool dot, int64_t batches)
{
    const bool apart = batches >= lane->n;
    hs_lane alone = { .id = 0, .n = 1 }, *team = apart ? &alone : lane;
    int64_t z0 = 0, z1 = batches;
    if (apart)
        hs_part_unit(lane, batches, 1, &z0, &z1);
    char *own = hs_thread_scratch(a, lane);
    for (int64_t z = z0; z < z1; z++) {
        gemm g = { .m = m, .n = n, .k = k, .dot = dot, .shared = a->scratch, .own = own };
        g.a = (gemm_in){ at_batch(left.r, z, left.stride), left.ld, left.r->dtype, left.k_major };
        g.b = (gemm_in){ at_batch(right.r, z, right.stride), right.ld, right.r->dtype, right.k_major };
        g.c = (gemm_out){ (void *)at_batch(dst.r, z, dst.stride), dst.ld, dst.r->dtype, dst.r->add, NULL, scale };
        if (apart)
            g.shared = own, g.own = own + (gemm_shared_bytes(n, k, dot) + 63) / 64 * 64;
        gemm_run(&g, team);
        if (!apart)
            hs_sync(lane);
    }
    if (apart)
        hs_sync(lane);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const sizes s = sizes_of(a, &a->in[A], &a->in[B]);
    products(a, lane, (operand){ &a->out[C], s.ldc, s.c_stride, false }, (operand){ &a->in[A], s.lda, s.a_stride, s.ta },
             (operand){ &a->in[B], s.ldb, s.b_stride, !s.tb }, s.m, s.n, s.k, s.scale, gemm_dot(a->in[A].dtype), s.batches);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const sizes s = sizes_of(a, &a->in[A], &a->in[B]);
    const bool dot = gemm_dot(a->in[A].dtype);
    const hs_ref *dc = &a->dout[C], *da = &a->din[A], *db = &a->din[B];
    if (da->p && !s.ta)
        products(a, lane, (operand){ da, s.lda, s.a_stride, false }, (operand){ dc, s.ldc, s.c_stride, false },
                 (operand){ &a->in[B], s.ldb, s.b_stride, s.tb }, s.m, s.k, s.n, s.scale, dot, s.batches);
    if (da->p && s.ta)
        products(a, lane, (operand){ da, s.lda, s.a_stride, false }, (operand){ &a->in[B], s.ldb, s.b_stride, s.tb },
                 (operand){ dc, s.ldc, s.c_stride, false }, s.k, s.m, s.n, s.scale, dot, s.batches);
    if (db->p && !s.tb)
        products(a, lane, (operand){ db, s.ldb, s.b_stride, false }, (operand){ &a->in[A], s.lda, s.a_stride, !s.ta },
                 (operand){ dc, s.ldc, s.c_stride, true }, s.k, s.n, s.m, s.scale, dot, s.batches);
    if (db->p && s.tb)
        products(a, lane, (operand){ db, s.ldb, s.b_stride, false }, (operand){ dc, s.ldc, s.c_stride, true },
                 (operand){ &a->in[A], s.lda, s.a_stride, !s.ta }, s.n, s.k, s.m, s.scale, dot, s.batches);
}

static void need(hs_scratch *s, int64_t m, int64_t n, int64_t k, bool dot, bool low, bool apart)
{
    const size_t shared = (gemm_shared_bytes(n, k, dot) + 63) / 64 * 64, own = gemm_own_bytes(m, n, k, dot, low) + (apart ? shared : 0);
    s->shared = shared > s->shared ? shared : s->shared;
    s->per_thread = own > s->per_thread ? own : s->per_thread;
}

static hs_scratch scratch(const hs_node *node, int team, bool is_backward)
{
    const hs_matmul_attr *at = node->attr;
    const int64_t *da = node->in[A]->dim, *db = node->in[B]->dim;
    const int d = node->in[A]->n_dims;
    const int64_t m = da[at->ta ? d - 1 : d - 2], k = da[at->ta ? d - 2 : d - 1], n = db[at->tb ? d - 2 : d - 1];
    int64_t batches = 1;
    for (int i = 0; i < d - 2; i++)
        batches *= da[i];
    const bool dot = gemm_dot(node->low), low = node->low != HS_F32, apart = batches >= team;
    hs_scratch s = { 0 };
    if (!is_backward)
        need(&s, m, n, k, dot, low, apart);
    else {
        at->ta ? need(&s, k, m, n, dot, low, apart) : need(&s, m, k, n, dot, low, apart);
        at->tb ? need(&s, n, k, m, dot, low, apart) : need(&s, k, n, m, dot, low, apart);
    }
    return s;
}

#define ATTR(...)                                                                                                                          \
    &(const hs_matmul_attr) { __VA_ARGS__ }
static const hs_case cases[] = {
    { .in = { { 33, 40 }, { 40, 72 } }, .ext = { HS_EXT_TOKENS }, .attr = ATTR(0) },
    { .in = { { 33, 40 }, { 72, 40 } }, .ext = { HS_EXT_TOKENS }, .attr = ATTR(.tb = true, .scale = 0.25f) },
    { .in = { { 45, 40 }, { 45, 72 } },
      .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS },
      .attr = ATTR(.ta = true),
      .note = "inner width is the live one" },
    { .in = { { 5, 3, 24, 16 }, { 5, 3, 16, 32 } }, .ext = { HS_EXT_SEQS, HS_EXT_SEQS }, .attr = ATTR(0), .note = "batches" },
    { .in = { { 5, 24, 16 }, { 5, 32, 16 } }, .ext = { HS_EXT_SEQS, HS_EXT_SEQS }, .attr = ATTR(.tb = true) },
    { .in = { { 5, 7, 16 }, { 5, 7, 32 } }, .ext = { HS_EXT_SEQS, HS_EXT_SEQS }, .attr = ATTR(.ta = true, .scale = 2) },
    { .in = { { 5, 24, 16 }, { 5, 32, 24 } }, .ext = { HS_EXT_SEQS, HS_EXT_SEQS }, .attr = ATTR(.ta = true, .tb = true) },
    { .in = { { 1, 1, 8 }, { 1, 8, 8 } }, .attr = ATTR(0), .note = "one row, one batch" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr; // a b, as they lie
    *c = (hs_case){ .in = { [A] = { dim[0], dim[1] }, [B] = { dim[1], dim[2] } }, .ext = { [A] = HS_EXT_TOKENS } };
}
static const hs_op_sizes usual[] = { { .form = "ROWSxINxOUT", .usual = "768x128x512,1Kx768x768,1Kx768x3072", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_matmul_attr, ta), HS_ATTR(hs_matmul_attr, tb), HS_ATTR(hs_matmul_attr, scale) };

HS_OP(matmul) = {
    .name = "matmul",
    .formula = "c = scale op(a) op(b)",
    .paper = "doi:10.1145/1356052.1356053",
    .attr_bytes = sizeof(hs_matmul_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [A] = { "a", HS_AMP_LOW, HS_BWD_READS }, [B] = { "b", HS_AMP_LOW, HS_BWD_READS } },
    .out = { [C] = { "c", HS_AMP_LOW, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = usual, .n_sizes = HS_COUNT(usual) },
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_matmul(hs_graph *g, hs_tensor *a, hs_tensor *b, hs_matmul_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(matmul), &attr, (hs_tensor *[]){ a, b }, 2);
}
#endif

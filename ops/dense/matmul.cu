// matmul on CUDA: a batch is a product of its own (core/cuda/gemm.cuh); the definition is in matmul.c.
#include "core/cuda/gemm.cuh"
#include "ops/ops.h"

enum { A, B };
enum { C };

// C[m, n] = op(A)[m, k] op(B)[k, n] at capacity, and which of it is a count.
typedef struct sizes {
    int64_t batches, m, n, k, a_stride, b_stride, lda, ldb;
    int live;
    int64_t each; // batches that a row of an operand stands for
    float scale;
    bool ta, tb;
} sizes;

static sizes sizes_of(const hs_matmul_attr *at, const hs_tensor *a, const hs_tensor *b)
{
    const int d = a->n_dims;
    const int64_t *da = a->dim, *db = b->dim;
    sizes s = {};
    s.ta = at->ta, s.tb = at->tb, s.scale = at->scale != 0 ? at->scale : 1, s.lda = da[d - 1], s.ldb = db[d - 1];
    s.m = da[at->ta ? d - 1 : d - 2], s.k = da[at->ta ? d - 2 : d - 1], s.n = db[at->tb ? d - 2 : d - 1];
    s.each = s.batches = 1;
    for (int i = 0; i < d - 2; i++)
        s.batches *= da[i];
    if (d > 2)
        s.each = s.batches / da[0];
    s.live = d > 2 ? GEMM_LIVE_BATCHES : at->ta ? GEMM_LIVE_K : GEMM_LIVE_M;
    s.a_stride = da[d - 2] * da[d - 1], s.b_stride = db[d - 2] * db[d - 1];
    return s;
}

typedef struct operand {
    const hs_ref *r;
    int64_t ld, stride;
    bool k_major;
} operand;
static gemm_side side(const operand &o)
{
    gemm_side s = gemm_of(*o.r, o.k_major);
    s.ld = o.ld, s.stride = o.stride;
    return s;
}

// to[z] = scale left[z] right[z]
static void product(const hs_args *a, hs_lane *lane, const sizes &s, operand to, operand left, operand right, int64_t m, int64_t n,
                    int64_t k, int live)
{
    gemm g = gemm_make(m, n, k);
    g.batches = s.batches;
    g.a = side(left), g.b = side(right), g.c = gemm_to(*to.r);
    g.c.ld = to.ld, g.c.stride = to.stride, g.c.scale = s.scale;
    gemm_count(&g, live, a->in[A], a->step);
    g.each = s.each;
    g.partial = reinterpret_cast<float *>(a->scratch);
    gemm_run(&g, lane);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const sizes s = sizes_of(static_cast<const hs_matmul_attr *>(a->attr), a->in[A].t, a->in[B].t);
    product(a, lane, s, { &a->out[C], s.n, s.m * s.n, false }, { &a->in[A], s.lda, s.a_stride, s.ta },
            { &a->in[B], s.ldb, s.b_stride, !s.tb }, s.m, s.n, s.k, s.live);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const sizes s = sizes_of(static_cast<const hs_matmul_attr *>(a->attr), a->in[A].t, a->in[B].t);
    // what is a count in C is one in da and db too, in another place
    const int m = s.live == GEMM_LIVE_BATCHES ? s.live : s.live == GEMM_LIVE_M ? GEMM_LIVE_M : GEMM_ALL;
    const int k = s.live == GEMM_LIVE_BATCHES ? s.live : s.live == GEMM_LIVE_K ? GEMM_LIVE_M : GEMM_ALL;
    const int inner = s.live == GEMM_LIVE_BATCHES ? s.live : s.live == GEMM_LIVE_M ? GEMM_LIVE_K : GEMM_ALL;
    const hs_ref *dc = &a->dout[C], *da = &a->din[A], *db = &a->din[B];
    const int64_t c_stride = s.m * s.n;
    if (da->p && !s.ta) // [m, k] = dc[m, n] op(B)[k, n]
        product(a, lane, s, { da, s.lda, s.a_stride, false }, { dc, s.n, c_stride, false }, { &a->in[B], s.ldb, s.b_stride, s.tb }, s.m,
                s.k, s.n, m);
    if (da->p && s.ta) // [k, m] = op(B)[k, n] dc[m, n]
        product(a, lane, s, { da, s.lda, s.a_stride, false }, { &a->in[B], s.ldb, s.b_stride, s.tb }, { dc, s.n, c_stride, false }, s.k,
                s.m, s.n, k);
    if (db->p && !s.tb) // [k, n] = op(A)[m, k] dc[m, n]
        product(a, lane, s, { db, s.ldb, s.b_stride, false }, { &a->in[A], s.lda, s.a_stride, !s.ta }, { dc, s.n, c_stride, true }, s.k,
                s.n, s.m, s.live == GEMM_LIVE_K ? k : inner);
    if (db->p && s.tb) // [n, k] = dc[m, n] op(A)[m, k]
        product(a, lane, s, { db, s.ldb, s.b_stride, false }, { dc, s.n, c_stride, true }, { &a->in[A], s.lda, s.a_stride, !s.ta }, s.n,
                s.k, s.m, s.live == GEMM_LIVE_K ? GEMM_ALL : inner);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const sizes s = sizes_of(static_cast<const hs_matmul_attr *>(n->attr), n->in[A], n->in[B]);
    if (s.live == GEMM_LIVE_K && !is_backward)
        return { gemm_bytes(s.m, s.n, s.k, 1), 0 };
    if (s.live == GEMM_LIVE_M && is_backward) // of db
        return { s.tb ? gemm_bytes(s.n, s.k, s.m, 1) : gemm_bytes(s.k, s.n, s.m, 1), 0 };
    return { 0, 0 };
}

extern "C" const hs_kernels hs_cuda_matmul = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

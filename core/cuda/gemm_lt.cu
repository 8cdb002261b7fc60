// Products by cuBLASLt: what it can do of gemm.cuh's, and what has to be true of the bytes before it may.
//
// It knows nothing of live counts. Rows of C that are dead are written too, from dead rows of A: they are nobody's. Where k is a live count
// dead rows of A and B would enter every sum, so they are cleared first. Its bias is of C's type: an f32 one beside a low C is narrowed.
// Which algorithm it takes follows from capacities: a row's bits are its own among rows of one plan, not from one plan to another.
#include "core/cuda/cublaslt.h"
#include "core/cuda/gemm_impl.cuh"

enum { CLEAR_BLOCKS = 256 };

static __global__ void clear_dead(gemm g, char *p, int64_t row_bytes, int64_t stride_bytes)
{
    const int64_t from = gemm_alive(g, GEMM_LIVE_K, g.k);
    for (int64_t row = from + blockIdx.x; row < g.k; row += gridDim.x)
        for (int64_t i = threadIdx.x * 2; i < row_bytes; i += 2 * blockDim.x)
            *reinterpret_cast<uint16_t *>(p + row * stride_bytes + i) = 0;
}

static void clear(const gemm &g, const gemm_side &s, int64_t width, cudaStream_t stream)
{
    const int64_t each = (int64_t)hs_dtype_bytes(s.dtype);
    HS_LAUNCH(clear_dead, CLEAR_BLOCKS, 128, 0, stream, g, static_cast<char *>(const_cast<void *>(s.p)), width * each, s.ld * each);
}

template <class T> static __global__ void narrow_bias(const float *bias, T *to, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        from_f(to[i], bias[i]);
}

const void *gemm_bias_for(hs_lane *lane, const float *bias, int64_t n, hs_dtype d)
{
    if (!bias || d == HS_F32)
        return bias;
    void *low = hs_lt_room(lane, (size_t)n * 2);
    if (!low)
        return nullptr;
    if (d == HS_BF16)
        HS_LAUNCH((narrow_bias<bf16>), grid_of(n, 128), 128, 0, gpu_stream(lane), bias, static_cast<bf16 *>(low), n);
    else
        HS_LAUNCH((narrow_bias<f16>), grid_of(n, 128), 128, 0, gpu_stream(lane), bias, static_cast<f16 *>(low), n);
    return low;
}

// Where the library is the wrong one, or cannot.
static bool fits(const gemm &g)
{
    if (g.a.dtype != g.b.dtype || g.live == GEMM_LIVE_BATCHES || (g.c.bias && g.c.add))
        return false;
    if (g.live == GEMM_LIVE_M)
        return !g.a.k_major;
    return g.live != GEMM_LIVE_K || (g.a.k_major && g.b.k_major && g.batches == 1 && g.each <= 1);
}

static hs_lt_product product_of(const gemm &g)
{
    hs_lt_product p = {};
    p.m = g.n, p.n = g.m, p.k = g.k;
    p.lda = g.b.ld, p.ldb = g.a.ld, p.ldd = g.c.ld;
    if (g.batches > 1)
        p.batch = g.batches, p.step_a = g.b.stride, p.step_b = g.a.stride, p.step_d = g.c.stride;
    p.a = g.b.dtype, p.b = g.a.dtype, p.d = g.c.dtype, p.bias = g.c.bias ? g.c.dtype : HS_F64;
    p.ta = !g.b.k_major, p.tb = g.a.k_major, p.add = g.c.add, p.scale = g.c.scale;
    return p;
}

// o: but for a bias that is narrowed. False: there is no room for that, and nothing was done.
static bool multiply(const gemm &g, const hs_lt_product &p, hs_lt_operands o, hs_lane *lane)
{
    o.bias = gemm_bias_for(lane, g.c.bias, g.n, g.c.dtype);
    if (g.c.bias && !o.bias) {
        hs_lt_say(lane, &p, "there is no room to narrow a bias in");
        return false;
    }
    if (g.live == GEMM_LIVE_K) {
        clear(g, g.a, g.m, gpu_stream(lane));
        clear(g, g.b, g.n, gpu_stream(lane));
    }
    hs_lt_multiply(lane, &p, &o);
    return true;
}

static hs_lt_operands operands_of(const gemm &g)
{
    hs_lt_operands o = {};
    o.a = g.b.p, o.b = g.a.p, o.d = g.c.p, o.bias = g.c.dtype == HS_F32 ? g.c.bias : nullptr;
    return o;
}

bool gemm_by_library(const gemm *g, hs_lane *lane)
{
    if (!gpu_lt(lane) || !fits(*g))
        return false;
    const hs_lt_product p = product_of(*g);
    const hs_lt_operands o = operands_of(*g);
    return hs_lt_has(lane, &p, &o) && multiply(*g, p, o, lane);
}

// ---- with what stands behind it

struct trial {
    const gemm *g;
    const gemm_behind *b;
    hs_lt_product p;
    hs_lt_operands o;
};
static void together(const void *given, hs_lane *lane)
{
    const trial *t = static_cast<const trial *>(given);
    multiply(*t->g, t->p, t->o, lane);
}
static void apart(const void *given, hs_lane *lane)
{
    const trial *t = static_cast<const trial *>(given);
    t->b->apart(t->b->given, lane);
}

bool gemm_with(const gemm *g, const gemm_behind *b, hs_lane *lane)
{
    if (!gpu_lt(lane) || g->m <= GEMM_FEW_ROWS || !fits(*g))
        return false;
    trial t = { g, b, product_of(*g), operands_of(*g) };
    t.p.behind = b->what, t.p.ld_aux = b->aux ? b->ld_aux : 0;
    t.o.aux = b->aux, t.o.sums = b->sums;
    const hs_lt_ways ways = { together, apart, &t };
    return hs_lt_is_faster(lane, &t.p, &t.o, &ways) && multiply(*g, t.p, t.o, lane);
}

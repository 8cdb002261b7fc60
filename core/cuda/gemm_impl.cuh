// gemm_impl: what the kernels of products share. Included by gemm*.cu alone.
#ifndef HS_CORE_CUDA_GEMM_IMPL_H
#define HS_CORE_CUDA_GEMM_IMPL_H
#include "core/cuda/gemm.cuh"
#include "core/cuda/mma.cuh"

// How a side is read: value by value, whatever it is; f32 in pieces of 16 bytes; 16 bytes behind the threads' backs, as they lie.
enum gemm_way { GEMM_BY_ONE, GEMM_BY_FOUR, GEMM_BY_COPY };

// Large and small blocks of C; a few rows against a B that is read once.
enum gemm_kind { GEMM_LARGE, GEMM_SMALL, GEMM_FEW };
enum { GEMM_FEW_ROWS = 32, GEMM_FEW_WARPS = 8 };

// k is cut into `ranges` where there are more than one: their sums go to g->partial, [batch][range][m, n].
void gemm_bf16(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream);
void gemm_f16(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream);
void gemm_f32(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream);

// What gemm_run is made of: the ways of its sides found out; whether there is such a kernel; the product by it, and what ranges add up to.
gemm gemm_ready(const gemm *given);
bool gemm_has(const gemm *g, gemm_kind kind);
void gemm_by(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream);

// Values of k in a range: whole chunks.
static __device__ __host__ __forceinline__ int64_t gemm_range(int64_t k, int ranges)
{
    const int64_t chunks = (k + GEMM_CHUNK - 1) / GEMM_CHUNK;
    return (chunks + ranges - 1) / ranges * GEMM_CHUNK;
}

bool gemm_by_library(const gemm *g, hs_lane *lane); // gemm_lt.cu; false: it is not for the library, and nothing was done

static __device__ __forceinline__ int64_t gemm_alive(const gemm &g, int which, int64_t n)
{
    if (g.live != which)
        return n;
    const int64_t alive = (hs_ext_rows(g.ext, g.step->n, g.rows) - g.first) * g.each;
    return alive < 0 ? 0 : alive < n ? alive : n;
}

template <class T> static __device__ __forceinline__ const void *gemm_batch(const gemm_side &s, int64_t z)
{
    return static_cast<const char *>(s.p) + z * s.stride * (s.dtype == HS_F32 ? 4 : (int)sizeof(T));
}

// One block's part of the product: cells [m0, m) x [n0, n) of batch z, sums over k in [k0, k1). blockIdx.x counts blocks of BM x BN in
// strips of GROUP rows of blocks, so that those that run together share what they read; blockIdx.y is the range of k.
struct gemm_part {
    int64_t m, m0, n0, k0, k1, z;
    bool any;
};
template <int BM, int BN> static __device__ __forceinline__ gemm_part gemm_part_of(const gemm &g, int ranges)
{
    enum { GROUP = 8 };
    const int down = (int)((g.m + BM - 1) / BM), across = (int)((g.n + BN - 1) / BN);
    const int strip = (int)blockIdx.x / (GROUP * across), at = (int)blockIdx.x - strip * GROUP * across;
    const int high = down - strip * GROUP < GROUP ? down - strip * GROUP : (int)GROUP;
    gemm_part p;
    p.z = blockIdx.z;
    p.m = gemm_alive(g, GEMM_LIVE_M, g.m);
    p.m0 = (int64_t)(strip * GROUP + at % high) * BM, p.n0 = (int64_t)(at / high) * BN;
    p.k0 = 0, p.k1 = gemm_alive(g, GEMM_LIVE_K, g.k);
    p.any = p.m0 < p.m && p.z < gemm_alive(g, GEMM_LIVE_BATCHES, g.batches);
    if (ranges > 1) {
        const int64_t range = gemm_range(g.k, ranges);
        p.k0 = range * blockIdx.y;
        p.any = p.any && p.k0 < p.k1; // what is not written is not added (gemm.cu)
        p.k1 = p.k0 + range < p.k1 ? p.k0 + range : p.k1;
    }
    return p;
}
template <int BM, int BN> static inline dim3 gemm_grid(const gemm *g, int ranges)
{
    return dim3((unsigned)(blocks_of(g->m, BM) * blocks_of(g->n, BN)), (unsigned)ranges, (unsigned)g->batches);
}

// ---- what becomes of N neighbouring cells' sums; the bias is in them
template <int N> static __device__ __forceinline__ void gemm_store(const gemm &g, int64_t z, int64_t row, int64_t col, const float (&x)[N])
{
    const int64_t at = z * g.c.stride + row * g.c.ld + col;
    if (g.c.dtype == HS_F32)
        put_f<N>(static_cast<float *>(g.c.p) + at, x, g.c.add);
    else if (g.c.dtype == HS_BF16)
        put_f<N>(static_cast<bf16 *>(g.c.p) + at, x, g.c.add);
    else
        put_f<N>(static_cast<f16 *>(g.c.p) + at, x, g.c.add);
}
// The same, of which those below `n` columns are there; parts of sums to where they wait.
template <int N>
static __device__ __forceinline__ void gemm_finish(const gemm &g, const gemm_part &p, int ranges, int64_t row, int64_t col,
                                                   const float (&x)[N])
{
    if (row >= p.m || col >= g.n)
        return;
    if (ranges > 1) {
        float *to = g.partial + ((p.z * ranges + blockIdx.y) * g.m + row) * g.n + col;
        if (g.n % N == 0)
            store_f<N>(to, x);
        else
            for (int i = 0; i < N && col + i < g.n; i++)
                to[i] = x[i];
        return;
    }
    if (g.c.wide) {
        gemm_store<N>(g, p.z, row, col, x);
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        if (col + i < g.n) {
            const float one[1] = { x[i] };
            gemm_store<1>(g, p.z, row, col + i, one);
        }
}
static __device__ __forceinline__ float gemm_bias(const gemm &g, int ranges, int64_t col)
{
    return g.c.bias && ranges == 1 && col < g.n ? g.c.bias[col] : 0.0f;
}

// to[0..8) = values of a side from element `at` on, of which the first `n` are there and the others 0: of sides that are no T, or do not
// lie at multiples of 16 bytes.
template <class T> static __device__ __forceinline__ void gemm_gather(T *to, const gemm_side &s, const void *p, int64_t at, int64_t n)
{
    if (s.way == GEMM_BY_FOUR && n >= 8) {
        float x[8];
        load_f<8>(static_cast<const float *>(p) + at, x);
        store_f<8>(to, x);
        return;
    }
#pragma unroll 1
    for (int i = 0; i < 8; i++)
        from_f(to[i], i >= n ? 0.0f : s.dtype == HS_F32 ? static_cast<const float *>(p)[at + i] : to_f(static_cast<const T *>(p)[at + i]));
}

#endif

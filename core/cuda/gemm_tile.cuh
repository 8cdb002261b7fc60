// gemm_tile: products of bf16 or f16 by the tensor cores, in blocks of C. Included by gemm_bf16.cu and gemm_f16.cu.
//
// A block of warps walks k in steps of BK; STAGES steps of A and B lie in shared memory, one being multiplied while the next are copied. A
// step lies as its side does: [rows][BK], or [BK][rows] where that is k-major, and then ldmatrix transposes. Pieces of 8 values change
// places within a row by an XOR, so that the 8 rows that ldmatrix reads lie in different banks.
#ifndef HS_CORE_CUDA_GEMM_TILE_H
#define HS_CORE_CUDA_GEMM_TILE_H
#include "core/cuda/gemm_few.cuh"

enum { BK = 64, STAGES = 3, PIECE = 8, PAD = 8 };

// The piece that holds (row, k) of a step of `ROWS` rows; row or, k-major, k counted from a multiple of 8 plus a lane's own below 8.
template <class T, bool K_MAJOR, int ROWS> static __device__ __forceinline__ T *step_piece(T *step, int row, int k)
{
    return K_MAJOR ? step + k * ROWS + (row / PIECE ^ (k & 7)) * PIECE : step + row * BK + (k / PIECE ^ (row & 7)) * PIECE;
}

// Values k in [k0, k0 + BK) of rows [r0, r0 + ROWS) into a step, zeros where k is beyond k1 or a row beyond `rows`.
template <class T, bool K_MAJOR, int ROWS, int THREADS>
static __device__ __forceinline__ void load_step(T *step, const gemm_side &s, const void *p, int64_t r0, int64_t rows, int64_t k0,
                                                 int64_t k1)
{
    constexpr int ACROSS = (K_MAJOR ? ROWS : BK) / PIECE, DOWN = THREADS / ACROSS;
    const int c = (int)threadIdx.x % ACROSS * PIECE, d = (int)threadIdx.x / ACROSS;
    const auto each = [&](int i, auto &&body) { // body(to, element, values that are there)
        const int row = K_MAJOR ? c : d + i, k = K_MAJOR ? d + i : c;
        const bool live = r0 + row < rows && k0 + k < k1;
        const int64_t at = K_MAJOR ? (k0 + k) * s.ld + r0 + row : (r0 + row) * s.ld + k0 + k;
        body(step_piece<T, K_MAJOR, ROWS>(step, row, k), live ? at : 0, !live ? 0 : K_MAJOR ? rows - r0 - row : k1 - k0 - k);
    };
    if (s.way == GEMM_BY_COPY) {
#pragma unroll
        for (int i = 0; i < (K_MAJOR ? BK : ROWS); i += DOWN)
            each(i, [&](T *to, int64_t at, int64_t n) { cp_async<16>(to, static_cast<const T *>(p) + at, n > 0); });
        return;
    }
#pragma unroll 1
    for (int i = 0; i < (K_MAJOR ? BK : ROWS); i += DOWN)
        each(i, [&](T *to, int64_t at, int64_t n) { gemm_gather<T>(to, s, p, at, n); });
}

// A's fragment of rows [row, row + 16) and k in [k, k + 16); B's of as many columns: two of 8.
template <class T, bool K_MAJOR, int ROWS> static __device__ __forceinline__ void a_fragment(uint32_t (&a)[4], T *step, int row, int k)
{
    const int l = (int)threadIdx.x % WARP;
    if (K_MAJOR)
        ldmatrix_trans(a, step_piece<T, true, ROWS>(step, row + (l >> 3 & 1) * 8, k + (l & 7) + (l >> 4) * 8));
    else
        ldmatrix(a, step_piece<T, false, ROWS>(step, row + (l & 15), k + (l >> 4) * 8));
}
template <class T, bool K_MAJOR, int ROWS> static __device__ __forceinline__ void b_fragments(uint32_t (&b)[2][2], T *step, int col, int k)
{
    const int l = (int)threadIdx.x % WARP;
    uint32_t r[4];
    if (K_MAJOR)
        ldmatrix_trans(r, step_piece<T, true, ROWS>(step, col + (l >> 4) * 8, k + (l & 15)));
    else
        ldmatrix(r, step_piece<T, false, ROWS>(step, col + (l & 7) + (l >> 4) * 8, k + (l >> 3 & 1) * 8));
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

// BM x BN cells by warps of WM x WN.
template <class T, bool A_MAJOR, bool B_MAJOR, int BM, int BN, int WM, int WN>
static __global__ void __launch_bounds__(BM / WM * (BN / WN) * WARP) gemm_tile(gemm g, int ranges)
{
    enum { ACROSS = BN / WN, THREADS = BM / WM * ACROSS * WARP, I = WM / 16, J = WN / 8, STEP = (BM + BN) * BK };
    static_assert(BM * (BN + PAD) * sizeof(float) <= STAGES * STEP * sizeof(T), "sums take the place of the steps");
    HS_DYN_SHARED(T, shared);
    const gemm_part p = gemm_part_of<BM, BN>(g, ranges);
    if (!p.any)
        return;
    const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, wm = warp / ACROSS * WM, wn = warp % ACROSS * WN;
    const void *a = gemm_batch<T>(g.a, p.z), *b = gemm_batch<T>(g.b, p.z);
    const int steps = (int)((p.k1 - p.k0 + BK - 1) / BK);
    auto load = [&](int s) {
        T *to = shared + s % STAGES * STEP;
        load_step<T, A_MAJOR, BM, THREADS>(to, g.a, a, p.m0, p.m, p.k0 + (int64_t)s * BK, p.k1);
        load_step<T, B_MAJOR, BN, THREADS>(to + BM * BK, g.b, b, p.n0, g.n, p.k0 + (int64_t)s * BK, p.k1);
    };
    float sum[I][J][4], chain[I][J][4];
#pragma unroll
    for (int j = 0; j < J; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float bias = gemm_bias(g, ranges, p.n0 + wn + j * 8 + lane % 4 * 2 + e);
#pragma unroll
            for (int i = 0; i < I; i++)
                sum[i][j][e] = sum[i][j][e + 2] = bias, chain[i][j][e] = chain[i][j][e + 2] = 0;
        }
    for (int s = 1 - STAGES; s < steps; s++) {
        if (s >= 0) {
            cp_async_wait<STAGES - 2>();
            __syncthreads(); // step s is there, and all are done with s - 1, whose place the next takes
        }
        if (s + STAGES - 1 < steps)
            load(s + STAGES - 1);
        cp_async_commit();
        if (s < 0)
            continue;
        T *at = shared + s % STAGES * STEP;
#pragma unroll
        for (int k = 0; k < BK; k += 16) {
            uint32_t fa[I][4], fb[J / 2][2][2];
#pragma unroll
            for (int i = 0; i < I; i++)
                a_fragment<T, A_MAJOR, BM>(fa[i], at, wm + i * 16, k);
#pragma unroll
            for (int j = 0; j < J / 2; j++)
                b_fragments<T, B_MAJOR, BN>(fb[j], at + BM * BK, wn + j * 16, k);
#pragma unroll
            for (int i = 0; i < I; i++)
#pragma unroll
                for (int j = 0; j < J; j++)
                    mma<T>(chain[i][j], fa[i], fb[j / 2][j % 2]);
        }
        if (s % (GEMM_CHUNK / BK) != GEMM_CHUNK / BK - 1 && s != steps - 1)
            continue;
#pragma unroll
        for (int i = 0; i < I; i++)
#pragma unroll
            for (int j = 0; j < J; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sum[i][j][e] += g.c.scale * chain[i][j][e], chain[i][j][e] = 0;
    }
    float *const cells = reinterpret_cast<float *>(shared); // where the steps were: from there rows go to C in whole pieces
    __syncthreads();
#pragma unroll
    for (int i = 0; i < I; i++)
#pragma unroll
        for (int j = 0; j < J; j++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const float x[2] = { sum[i][j][2 * h], sum[i][j][2 * h + 1] };
                store_f<2>(cells + (wm + i * 16 + h * 8 + lane / 4) * (BN + PAD) + wn + j * 8 + lane % 4 * 2, x);
            }
    __syncthreads();
    for (int e = (int)threadIdx.x; e < BM * BN / 4; e += THREADS) {
        const int row = e / (BN / 4), col = e % (BN / 4) * 4;
        float x[4];
        load_f<4>(cells + row * (BN + PAD) + col, x);
        gemm_finish<4>(g, p, ranges, p.m0 + row, p.n0 + col, x);
    }
}

template <class T, bool A_MAJOR, bool B_MAJOR, int BM, int BN, int WM, int WN>
static void launch_tile(const gemm *g, int ranges, cudaStream_t stream)
{
    const size_t bytes = STAGES * (BM + BN) * BK * sizeof(T);
    HS_LAUNCH((gemm_tile<T, A_MAJOR, B_MAJOR, BM, BN, WM, WN>), (gemm_grid<BM, BN>(g, ranges)), BM / WM * (BN / WN) * WARP, bytes, stream,
              *g, ranges);
}

template <class T, bool A_MAJOR, bool B_MAJOR> static void launch_sides(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream)
{
    if (kind == GEMM_LARGE && !(A_MAJOR && !B_MAJOR)) // both transposed: nobody's large product
        launch_tile<T, A_MAJOR, B_MAJOR, 128, 128, 64, 32>(g, ranges, stream);
    else
        launch_tile<T, A_MAJOR, B_MAJOR, 64, 64, 32, 32>(g, ranges, stream);
}

template <class T> static void launch_low(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream)
{
    if (kind == GEMM_FEW)
        launch_few<T>(g, stream);
    else if (g->a.k_major)
        g->b.k_major ? launch_sides<T, true, true>(g, kind, ranges, stream) : launch_sides<T, true, false>(g, kind, ranges, stream);
    else
        g->b.k_major ? launch_sides<T, false, true>(g, kind, ranges, stream) : launch_sides<T, false, false>(g, kind, ranges, stream);
}

#endif

// gemm_few: products of few rows, k contiguous on both sides (a token's): every column of B is read once, as many bytes under way as fit.
//
// A block has a tile of cells, and its warps the chunks of k in turn, each with a ring of steps of its own; their sums meet in shared
// memory and are added in the order of k. So the bits are those of gemm_tile and gemm_f32: one chain a chunk.
#ifndef HS_CORE_CUDA_GEMM_FEW_H
#define HS_CORE_CUDA_GEMM_FEW_H
#include "core/cuda/gemm_impl.cuh"

// A step is 128 bytes of each row and column: 8 pieces of 16 bytes, which change places by an XOR with the row's number.
enum { FEW_CELLS = 256, FEW_LINE = 128 };

// Tensor cores: 16 rows x 16 columns, fragments as in gemm_tile.
template <class T> struct few {
    enum { ROWS = 16, COLS = 16, BK = FEW_LINE / 2, STAGES = 4 };
    float chain[2][4];
    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int e = 0; e < 8; e++)
            chain[e / 4][e % 4] = 0;
    }
    __device__ __forceinline__ void multiply(const char *a, const char *b, int l)
    {
#pragma unroll
        for (int k = 0; k < BK / 8; k += 2) {
            uint32_t fa[4], fb[4];
            ldmatrix(fa, a + (l & 15) * FEW_LINE + ((k + (l >> 4)) ^ (l & 7)) * 16);
            ldmatrix(fb, b + ((l & 7) + (l >> 4) * 8) * FEW_LINE + ((k + (l >> 3 & 1)) ^ (l & 7)) * 16);
            const uint32_t b0[2] = { fb[0], fb[1] }, b1[2] = { fb[2], fb[3] };
            mma<T>(chain[0], fa, b0);
            mma<T>(chain[1], fa, b1);
        }
    }
    __device__ __forceinline__ void spill(float *cells, int l) const
    {
#pragma unroll
        for (int e = 0; e < 8; e++)
            cells[(l / 4 + e / 2 % 2 * 8) * COLS + e / 4 * 8 + l % 4 * 2 + e % 2] = chain[e / 4][e % 4];
    }
};

// f32: 8 rows x 32 columns, a lane per column.
template <> struct few<float> {
    enum { ROWS = 8, COLS = 32, BK = FEW_LINE / 4, STAGES = 3 };
    float chain[ROWS];
    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            chain[r] = 0;
    }
    __device__ __forceinline__ void multiply(const char *a, const char *b, int l)
    {
#pragma unroll
        for (int k = 0; k < BK / 4; k++) {
            float w[4];
            load_f<4>(reinterpret_cast<const float *>(b + l * FEW_LINE + (k ^ (l & 7)) * 16), w);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float x[4];
                load_f<4>(reinterpret_cast<const float *>(a + r * FEW_LINE + (k ^ r) * 16), x);
#pragma unroll
                for (int i = 0; i < 4; i++)
                    chain[r] += x[i] * w[i];
            }
        }
    }
    __device__ __forceinline__ void spill(float *cells, int l) const
    {
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            cells[r * COLS + l] = chain[r];
    }
};

// 128 bytes from byte `at` on of lines [0, LINES) of a side, `end` bytes long; those from `live` on and what is beyond the end are zeros.
template <int LINES>
static __device__ __forceinline__ void few_load(char *to, const char *p, int64_t line_bytes, int64_t live, int64_t at, int64_t end, int l)
{
#pragma unroll
    for (int i = 0; i < LINES; i += WARP / 8) {
        const int line = i + l / 8, piece = l % 8;
        const bool there = line < live && at + piece * 16 < end;
        cp_async<16>(to + line * FEW_LINE + (piece ^ (line & 7)) * 16, p + (there ? line * line_bytes + at + piece * 16 : 0), there);
    }
}

template <class T> static __global__ void __launch_bounds__(GEMM_FEW_WARPS *WARP) gemm_few(gemm g)
{
    typedef few<T> F;
    enum { STEP = (F::ROWS + F::COLS) * FEW_LINE, STEPS = GEMM_CHUNK / F::BK };
    HS_DYN_SHARED(char, shared);
    const int warps = (int)blockDim.x / WARP, warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    const int64_t z = blockIdx.z, m0 = (int64_t)blockIdx.y * F::ROWS, n0 = (int64_t)blockIdx.x * F::COLS;
    const int64_t m = gemm_alive(g, GEMM_LIVE_M, g.m);
    if (m0 >= m || z >= gemm_alive(g, GEMM_LIVE_BATCHES, g.batches))
        return;
    float *const cells = reinterpret_cast<float *>(shared + warps * F::STAGES * STEP); // of each warp; then what is added up
    float *const total = cells + warps * FEW_CELLS;
    char *const ring = shared + warp * F::STAGES * STEP;
    const char *a = static_cast<const char *>(gemm_batch<T>(g.a, z)) + m0 * g.a.ld * (int)sizeof(T);
    const char *b = static_cast<const char *>(gemm_batch<T>(g.b, z)) + n0 * g.b.ld * (int)sizeof(T);
    const int64_t end = g.k * (int)sizeof(T);
    // Step t of this warp: of chunks warp, warp + warps, ...
    auto at = [&](int t) { return ((int64_t)(t / STEPS) * warps + warp) * GEMM_CHUNK * (int)sizeof(T) + t % STEPS * FEW_LINE; };
    auto load = [&](int t) {
        if (at(t) < end) {
            char *to = ring + t % F::STAGES * STEP;
            few_load<F::ROWS>(to, a, g.a.ld * (int)sizeof(T), m - m0, at(t), end, lane);
            few_load<F::COLS>(to + F::ROWS * FEW_LINE, b, g.b.ld * (int)sizeof(T), g.n - n0, at(t), end, lane);
        }
        cp_async_commit();
    };
    for (int e = (int)threadIdx.x; e < FEW_CELLS; e += (int)blockDim.x)
        total[e] = gemm_bias(g, 1, n0 + e % F::COLS);
#pragma unroll
    for (int t = 0; t < F::STAGES - 1; t++)
        load(t);
    const int rounds = (int)((g.k + GEMM_CHUNK * warps - 1) / (GEMM_CHUNK * warps));
    for (int round = 0; round < rounds; round++) {
        F f;
        f.clear();
        for (int t = round * STEPS; t < (round + 1) * STEPS && at(t) < end; t++) {
            cp_async_wait<F::STAGES - 2>();
            __syncwarp(); // step t is there, and all lanes are done with t - 1
            load(t + F::STAGES - 1);
            const char *step = ring + t % F::STAGES * STEP;
            f.multiply(step, step + F::ROWS * FEW_LINE, lane);
        }
        f.spill(cells + warp * FEW_CELLS, lane);
        __syncthreads();
        for (int e = (int)threadIdx.x; e < FEW_CELLS; e += (int)blockDim.x) {
            float sum = total[e];
            for (int w = 0; w < warps && (round * warps + w) * (int64_t)GEMM_CHUNK < g.k; w++)
                sum += g.c.scale * cells[w * FEW_CELLS + e];
            total[e] = sum;
        }
        __syncthreads();
    }
    gemm_part p;
    p.m = m, p.z = z;
    for (int e = (int)threadIdx.x; e < FEW_CELLS; e += (int)blockDim.x)
        if (n0 + e % F::COLS < g.n) {
            const float one[1] = { total[e] };
            gemm_finish<1>(g, p, 1, m0 + e / F::COLS, n0 + e % F::COLS, one);
        }
}

template <class T> static void launch_few(const gemm *g, cudaStream_t stream)
{
    typedef few<T> F;
    const int64_t chunks = blocks_of(g->k, GEMM_CHUNK);
    const int warps = (int)(chunks < 1 ? 1 : chunks < GEMM_FEW_WARPS ? chunks : GEMM_FEW_WARPS);
    const size_t bytes =
        (size_t)warps * (F::STAGES * (F::ROWS + F::COLS) * FEW_LINE + FEW_CELLS * sizeof(float)) + FEW_CELLS * sizeof(float);
    const dim3 grid((unsigned)blocks_of(g->n, F::COLS), (unsigned)blocks_of(g->m, F::ROWS), (unsigned)g->batches);
    HS_LAUNCH((gemm_few<T>), grid, (unsigned)warps * WARP, bytes, stream, *g);
}

#endif

// Products of f32 in f32: a thread has TM x TN cells, in groups of 4 x 4 that lie half a block apart.
//
// A step of BK values of k lies in shared memory as [BK][rows] of each side, whichever way the side is stored; the next one waits in
// registers meanwhile.
#include "core/cuda/gemm_few.cuh"

enum { BK = 16, PAD = 4 };

// A thread's share of a step, in pieces of 4: along k, or along rows where the side is k-major.
template <int ROWS, int THREADS> struct share {
    enum { N = ROWS * BK / 4 / THREADS };
    float v[N][4];

    static __device__ __forceinline__ int row(bool k_major, int i)
    {
        const int t = (int)threadIdx.x + i * THREADS;
        return k_major ? t % (ROWS / 4) * 4 : t % ROWS;
    }
    static __device__ __forceinline__ int k(bool k_major, int i)
    {
        const int t = (int)threadIdx.x + i * THREADS;
        return k_major ? t / (ROWS / 4) : t / ROWS * 4;
    }
    // of rows [r0, rows) and k in [k0, k1)
    __device__ __forceinline__ void load(const gemm_side &s, const void *p, int64_t r0, int64_t rows, int64_t k0, int64_t k1)
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int64_t r = r0 + row(s.k_major, i), q = k0 + k(s.k_major, i),
                          live = s.k_major  ? (q < k1 ? rows - r : 0)
                                 : r < rows ? k1 - q
                                            : 0;
            const float *from = static_cast<const float *>(p) + (s.k_major ? q * s.ld + r : r * s.ld + q);
            if (s.way == GEMM_BY_FOUR && live >= 4) {
                load_f<4>(from, v[i]);
                continue;
            }
#pragma unroll
            for (int e = 0; e < 4; e++)
                v[i][e] = e < live ? from[e] : 0.0f;
        }
    }
    __device__ __forceinline__ void store(float (*step)[ROWS + PAD], bool k_major) const
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int r = row(k_major, i), q = k(k_major, i);
            if (k_major)
                store_f<4>(&step[q][r], v[i]);
            else {
#pragma unroll
                for (int e = 0; e < 4; e++)
                    step[q + e][r] = v[i][e];
            }
        }
    }
};

template <int BM, int BN, int TM, int TN> static __global__ void __launch_bounds__(BM / TM * (BN / TN)) gemm_plain(gemm g, int ranges)
{
    enum { ACROSS = BN / TN, THREADS = BM / TM * ACROSS };
    HS_SHARED(float, a_step, [2][BK][BM + PAD]);
    HS_SHARED(float, b_step, [2][BK][BN + PAD]);
    const gemm_part p = gemm_part_of<BM, BN>(g, ranges);
    if (!p.any)
        return;
    const int ty = (int)threadIdx.x / ACROSS * 4, tx = (int)threadIdx.x % ACROSS * 4;
    const void *a = gemm_batch<float>(g.a, p.z), *b = gemm_batch<float>(g.b, p.z);
    const int steps = (int)((p.k1 - p.k0 + BK - 1) / BK);
    share<BM, THREADS> next_a;
    share<BN, THREADS> next_b;
    auto load = [&](int s) {
        next_a.load(g.a, a, p.m0, p.m, p.k0 + (int64_t)s * BK, p.k1);
        next_b.load(g.b, b, p.n0, g.n, p.k0 + (int64_t)s * BK, p.k1);
    };
    auto store = [&](int s) { next_a.store(a_step[s & 1], g.a.k_major), next_b.store(b_step[s & 1], g.b.k_major); };
    float sum[TM][TN], chain[TM][TN];
#pragma unroll
    for (int j = 0; j < TN; j++) {
        const float bias = gemm_bias(g, ranges, p.n0 + j / 4 * (BN / 2) + tx + j % 4);
#pragma unroll
        for (int i = 0; i < TM; i++)
            sum[i][j] = bias, chain[i][j] = 0;
    }
    if (steps > 0) {
        load(0);
        store(0);
    }
    for (int s = 0; s < steps; s++) {
        __syncthreads(); // step s is there, and all are done with s - 1, whose place s + 1 takes
        if (s + 1 < steps)
            load(s + 1);
#pragma unroll
        for (int k = 0; k < BK; k++) {
            float x[TM], y[TN];
#pragma unroll
            for (int i = 0; i < TM; i += 4)
                load_f<4>(&a_step[s & 1][k][i / 4 * (BM / 2) + ty], *reinterpret_cast<float(*)[4]>(&x[i]));
#pragma unroll
            for (int j = 0; j < TN; j += 4)
                load_f<4>(&b_step[s & 1][k][j / 4 * (BN / 2) + tx], *reinterpret_cast<float(*)[4]>(&y[j]));
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++)
                    chain[i][j] += x[i] * y[j];
        }
        if (s + 1 < steps)
            store(s + 1);
        if (s % (GEMM_CHUNK / BK) != GEMM_CHUNK / BK - 1 && s != steps - 1)
            continue;
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++)
                sum[i][j] += g.c.scale * chain[i][j], chain[i][j] = 0;
    }
    enum { LINES = BM / TM };
    static_assert(LINES * BN * sizeof(float) <= sizeof a_step, "a row of each thread");
    float(*const cells)[BN] = reinterpret_cast<float(*)[BN]>(&a_step); // a row of each thread at a time
#pragma unroll 1
    for (int i = 0; i < TM; i++) {
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TM; k++)
#pragma unroll
            for (int j = 0; j < TN; j += 4)
                if (k == i)
                    store_f<4>(&cells[ty / 4][j / 4 * (BN / 2) + tx], *reinterpret_cast<float(*)[4]>(&sum[k][j]));
        __syncthreads();
        for (int e = (int)threadIdx.x; e < LINES * BN / 4; e += THREADS) {
            const int line = e / (BN / 4), col = e % (BN / 4) * 4;
            float x[4];
            load_f<4>(&cells[line][col], x);
            gemm_finish<4>(g, p, ranges, p.m0 + i / 4 * (BM / 2) + line * 4 + i % 4, p.n0 + col, x);
        }
    }
}

void gemm_f32(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream)
{
    if (kind == GEMM_FEW)
        launch_few<float>(g, stream);
    else if (kind == GEMM_LARGE)
        HS_LAUNCH((gemm_plain<128, 128, 8, 8>), (gemm_grid<128, 128>(g, ranges)), 256, 0, stream, *g, ranges);
    else
        HS_LAUNCH((gemm_plain<64, 64, 4, 4>), (gemm_grid<64, 64>(g, ranges)), 256, 0, stream, *g, ranges);
}

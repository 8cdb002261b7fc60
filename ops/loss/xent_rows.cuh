// xent_rows: two passes over a row of logits on a GPU, which losses with a softmax over the classes share. A block has a row, a thread the
// same columns of it in both passes, so that the gradient takes the row's bytes without anybody waiting for anybody.
//
// Reading keeps a maximum and a sum of e^(x - max) per thread, rescaled where the maximum rises. Writing goes through the row from its end,
// whose bytes are the ones that the second-level cache has for sure: 4,096 rows of 50,304 are ten times as large.
#ifndef HS_OPS_XENT_ROWS_CUDA_H
#define HS_OPS_XENT_ROWS_CUDA_H
#include "core/cuda/gpu.cuh"
#include "ops/ops.h"

typedef struct xent_sums { // of all of a row: the largest, the sum of e^(x - max), the plain sum
    float max, exp, plain;
} xent_sums;

// The first K columns of a row. plain: that sum is wanted. at: WARPS floats of shared memory.
template <int WARPS, int N, class T> static __device__ __forceinline__ xent_sums xent_read(const T *x, int64_t K, bool plain, float *at)
{
    xent_sums s = { -INFINITY, 0, 0 };
    for (int64_t c = (int64_t)threadIdx.x * N; c < K; c += WARPS * WARP * N) {
        float v[N], most = s.max, sum = 0;
        load_f<N>(x + c, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = c + i < K ? v[i] : -INFINITY; // padding: e^ of it is 0
            most = fmaxf(most, v[i]);
        }
        const float shift = most > -INFINITY ? most : 0;
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += expf(v[i] - shift);
        s.exp = s.exp * expf(s.max - shift) + sum;
        s.max = most;
        if (plain) {
#pragma unroll
            for (int i = 0; i < N; i++)
                s.plain += c + i < K ? v[i] : 0;
        }
    }
    const float max = block_max<WARPS>(s.max, at), shift = max > -INFINITY ? max : 0;
    s.exp = block_sum<WARPS>(s.exp * expf(s.max - shift), at);
    s.max = max;
    if (plain)
        s.plain = block_sum<WARPS>(s.plain, at);
    return s;
}

// Over the row: k * e^(x - max) - base in the first K columns, 0 in the rest; k 0: 0 everywhere.
template <int WARPS, int N, class T>
static __device__ __forceinline__ void xent_write(T *x, int64_t V, int64_t K, float max, float k, float base)
{
    const int64_t step = WARPS * WARP * N, mine = (int64_t)threadIdx.x * N;
    for (int64_t c = mine + (V - 1 - mine) / step * step; c >= 0 && mine < V; c -= step) {
        float v[N];
        if (k != 0 && c < K)
            load_f<N>(x + c, v);
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = k != 0 && c + i < K ? k * expf(v[i] - max) - base : 0;
        store_f<N>(x + c, v);
    }
}

// Whether this thread has column c in both passes.
template <int WARPS, int N> static __device__ __forceinline__ bool xent_has(int64_t c) { return c / N % (WARPS * WARP) == threadIdx.x; }

// inv_count * S: what the gradient of every loss is multiplied by
static __device__ __forceinline__ float xent_factor(const hs_step_in *step, const hs_step_state *state, int32_t loss)
{
    return step->inv_count[loss] * state->scale;
}

// Runs the statement with constants WARPS and N for rows of that width: a warp for few classes, 16 for a vocabulary.
#define BY_XENT_WIDTH(logits, ...)                                                                                                         \
    do {                                                                                                                                   \
        if (!rows_by(8, logits)) {                                                                                                         \
            constexpr int WARPS = 4, N = 1;                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        } else if ((logits).cols <= 256) {                                                                                                 \
            constexpr int WARPS = 1, N = 8;                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        } else if ((logits).cols <= 4096) {                                                                                                \
            constexpr int WARPS = 4, N = 8;                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        } else {                                                                                                                           \
            constexpr int WARPS = 16, N = 8;                                                                                               \
            __VA_ARGS__;                                                                                                                   \
        }                                                                                                                                  \
    } while (0)

#endif

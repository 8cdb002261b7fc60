// walk: the chunks of a pass on a GPU - a block has one, each thread 4 elements side by side at a time - and what every pass does with one.
// What walk.h is to the CPU.
#ifndef HS_OPTIM_WALK_CUDA_H
#define HS_OPTIM_WALK_CUDA_H
#include "core/cuda/gpu.cuh"
#include "optim/element.h"

enum { SIDE = 4, WARPS = 8, THREADS = WARPS * WARP };

typedef struct walk { // of a pass whose first operands are chunks, made and now
    const hs_update_chunk *chunk;
    const uint8_t *made; // by parameter
    const hs_update_step *now;
} walk;
static inline walk walk_of(const hs_args *a)
{
    return { cells<hs_update_chunk>(a->in[0]), cells<uint8_t>(a->in[1]), cells<hs_update_step>(a->in[2]) };
}

// Whether there is nothing to do for this block: the step is skipped, or no plan of it has made this gradient.
static __device__ __forceinline__ bool walk_passes(const walk &w, const hs_update_chunk &c) { return w.now->skip || !w.made[c.param]; }

// body(i, N) for this thread's elements [i, i + N) of a chunk, N a constant: SIDE wherever the chunk begins at a multiple of it in all
// slabs that the pass walks, and 1 for the rest.
template <int N> struct side_by_side {
    static constexpr int n = N;
};
template <class Body> static __device__ __forceinline__ void walk_elements(const hs_update_chunk &c, bool aligned, Body &&body)
{
    const int32_t together = aligned ? c.n / SIDE * SIDE : 0;
    for (int32_t i = (int32_t)threadIdx.x * SIDE; i < together; i += THREADS * SIDE)
        body(i, side_by_side<SIDE>());
    for (int32_t i = together + (int32_t)threadIdx.x; i < c.n; i += THREADS)
        body(i, side_by_side<1>());
}
static __device__ __forceinline__ bool walk_aligned(int64_t a, int64_t b = 0, int64_t c = 0, int64_t d = 0, int64_t e = 0)
{
    return (a | b | c | d | e) % SIDE == 0;
}

// The low copy of elements that were just written; none: nothing.
template <int N> static __device__ __forceinline__ void refresh_low(const hs_ref &low, int64_t at, const float (&w)[N])
{
    if (low.p && low.dtype == HS_BF16)
        store_f<N>(reinterpret_cast<bf16 *>(low.p) + at, w);
    else if (low.p)
        store_f<N>(reinterpret_cast<f16 *>(low.p) + at, w);
}

// 16 random bits for each of two moments of the elements [i, i + N) of a chunk: a function of seed, step, parameter and element alone.
// Every 64 elements of a chunk begin with an address of their own, and 4 have the words of one call.
template <int N>
static __device__ __forceinline__ void moment_noise(const hs_update_step &now, const hs_update_chunk &c, int32_t i, uint32_t (&noise)[N])
{
    const uint64_t at = (uint64_t)(c.first + i / 64 * 64);
    const hs_u32x4 w =
        hs_random(now.key, (uint32_t)c.param, (uint32_t)now.count, (uint32_t)at + (uint32_t)(i % 64 / 4), (uint32_t)(at >> 32));
#pragma unroll
    for (int k = 0; k < N; k++)
        noise[k] = N == 4 ? w.v[k] : i % 4 == 0 ? w.v[0] : i % 4 == 1 ? w.v[1] : i % 4 == 2 ? w.v[2] : w.v[3];
}

// Moment `which`, stored: f32 as it is, bf16 stochastically rounded; x becomes what is stored.
template <int N> static __device__ __forceinline__ void moment_store(float *to, float (&x)[N], const uint32_t (&)[N], int)
{
    store_f<N>(to, x);
}
template <int N> static __device__ __forceinline__ void moment_store(bf16 *to, float (&x)[N], const uint32_t (&noise)[N], int which)
{
    pack<bf16, N> y;
#pragma unroll
    for (int k = 0; k < N; k++) {
        y.v[k].bits = rounded_moment(__float_as_uint(x[k]), noise[k] >> 16 * which);
        x[k] = to_f(y.v[k]);
    }
    *reinterpret_cast<pack<bf16, N> *>(to) = y;
}

// Runs the statement with M as the type moments have in an operand.
#define BY_MOMENTS(dtype, M, ...)                                                                                                          \
    do {                                                                                                                                   \
        if ((dtype) == HS_BF16) {                                                                                                          \
            typedef bf16 M;                                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        } else {                                                                                                                           \
            typedef float M;                                                                                                               \
            __VA_ARGS__;                                                                                                                   \
        }                                                                                                                                  \
    } while (0)

// A block per chunk; none: no launch.
#define WALK_LAUNCH(kernel, a, lane, ...)                                                                                                  \
    do {                                                                                                                                   \
        if ((a)->in[0].rows > 0)                                                                                                           \
            HS_LAUNCH(kernel, dim3((unsigned)(a)->in[0].rows), THREADS, 0, gpu_stream(lane), walk_of(a), __VA_ARGS__);                     \
    } while (0)

#endif

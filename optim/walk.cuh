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
// slabs that the pass walks and in the whole weight, and 1 for the rest.
template <int N> struct side_by_side {
    static constexpr int n = N;
};
template <class Body> static __device__ __forceinline__ void walk_elements(const hs_update_chunk &c, bool aligned, Body &&body)
{
    const int32_t together = aligned && (c.first | c.run | c.column) % SIDE == 0 ? c.n / SIDE * SIDE : 0;
    for (int32_t i = (int32_t)threadIdx.x * SIDE; i < together; i += THREADS * SIDE)
        body(i, side_by_side<SIDE>());
    for (int32_t i = together + (int32_t)threadIdx.x; i < c.n; i += THREADS)
        body(i, side_by_side<1>());
}
static __device__ __forceinline__ bool walk_aligned(int64_t a, int64_t b = 0, int64_t c = 0, int64_t d = 0, int64_t e = 0)
{
    return (a | b | c | d | e) % SIDE == 0;
}

// 16 random bits for each of two moments of the elements [i, i + N) of a chunk: a function of seed, step and the logical parameter's element
// alone. Every 64 of these begin with an address of their own, and 4 have the words of one call (optim/walk.h).
template <int N>
static __device__ __forceinline__ void chunk_noise(uint64_t key, const hs_update_step &now, const hs_update_chunk &c, int32_t i,
                                                   uint32_t (&noise)[N])
{
    const uint64_t at = (uint64_t)hs_update_logical(&c, i), block = at / 64 * 64;
    const hs_u32x4 w = hs_random(key, (uint32_t)c.param, (uint32_t)now.count, (uint32_t)block + (uint32_t)(at % 64 / 4), (uint32_t)(block >> 32));
#pragma unroll
    for (int k = 0; k < N; k++)
        noise[k] = N == 4 ? w.v[k] : at % 4 == 0 ? w.v[0] : at % 4 == 1 ? w.v[1] : at % 4 == 2 ? w.v[2] : w.v[3];
}

template <int N>
static __device__ __forceinline__ void moment_noise(const hs_update_step &now, const hs_update_chunk &c, int32_t i, uint32_t (&noise)[N])
{
    chunk_noise<N>(now.key, now, c, i, noise);
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
        y.v[k].bits = rounded_bf16(__float_as_uint(x[k]), noise[k] >> 16 * which);
        x[k] = to_f(y.v[k]);
    }
    *reinterpret_cast<pack<bf16, N> *>(to) = y;
}

// ---- values: f32 with a low copy, in two halves, or bf16 alone (hs_masters)

struct values { // slabs
    char *p;
    hs_ref low; // .p NULL: there is none
};
static inline values values_of(const hs_ref &value, const hs_ref &low) { return { value.p, low }; }

// The elements [i, i + N) of a chunk, as f32.
template <int N> static __device__ __forceinline__ void value_load(const values &from, const hs_update_chunk &c, int32_t i, float (&w)[N])
{
    if (c.masters == HS_MASTERS_F32) {
        load_f<N>(reinterpret_cast<const float *>(from.p) + c.value + i, w);
        return;
    }
    typedef pack<uint16_t, N> halves;
    const halves high = *reinterpret_cast<const halves *>(reinterpret_cast<const uint16_t *>(from.low.p) + c.low + i);
    const bool split = c.masters == HS_MASTERS_SPLIT;
    halves half = {};
    if (split)
        half = *reinterpret_cast<const halves *>(reinterpret_cast<const uint16_t *>(from.p) + c.value + i);
#pragma unroll
    for (int k = 0; k < N; k++)
        w[k] = __uint_as_float(split ? hs_halves_join(high.v[k], half.v[k]) : (uint32_t)high.v[k] << 16);
}

// And stored, with what there is of a low copy.
template <int N>
static __device__ __forceinline__ void value_store(const values &to, const hs_update_step &now, const hs_update_chunk &c, int32_t i,
                                                   const float (&w)[N])
{
    if (c.masters == HS_MASTERS_F32)
        store_f<N>(reinterpret_cast<float *>(to.p) + c.value + i, w);
    if (!to.low.p)
        return;
    if (to.low.dtype == HS_F16) {
        store_f<N>(reinterpret_cast<f16 *>(to.low.p) + c.low + i, w);
        return;
    }
    typedef pack<uint16_t, N> halves;
    halves high, half;
    uint32_t noise[N];
    if (c.masters == HS_MASTERS_NONE)
        chunk_noise<N>(now.value_key, now, c, i, noise);
#pragma unroll
    for (int k = 0; k < N; k++) {
        const uint32_t bits = __float_as_uint(w[k]);
        high.v[k] = c.masters == HS_MASTERS_NONE ? rounded_bf16(bits, noise[k]) : hs_value_bf16(bits);
        half.v[k] = (uint16_t)bits;
    }
    *reinterpret_cast<halves *>(reinterpret_cast<uint16_t *>(to.low.p) + c.low + i) = high;
    if (c.masters == HS_MASTERS_SPLIT)
        *reinterpret_cast<halves *>(reinterpret_cast<uint16_t *>(to.p) + c.value + i) = half;
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

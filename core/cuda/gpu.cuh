// gpu: what a .cu file is written with. The same source is compiled by nvcc and, for tests without a GPU, by the host's compiler with
// HS_EMULATED and tests/emu/emu.h (-include), which runs a grid block by block on the CPU. So a kernel uses what stands here and in emu.h,
// and no more:
//
//   - no <cooperative_groups.h>, cuda::, CUB, bare asm, <<<>>>, __shared__, file-scope device state, objects with destructors in kernels;
//   - HS_SHARED and HS_DYN_SHARED at function level, before anything diverges; one __syncthreads or __syncwarp on a line;
//   - a PTX instruction is one __forceinline__ wrapper here with its emulated body in emu.h; no spinning on other threads or blocks;
//   - arithmetic in f32 (loads and stores convert); bytes in units of 16 (ld16, st16) where a row allows it;
//   - no atomics on floats: partial sums lie in scratch and are added in a fixed order by a second launch, so that bits repeat;
//   - a grid is as large as the capacity; the live rows are the device's to read (live_rows), since a launch may be captured.
#ifndef HS_CORE_GPU_H
#define HS_CORE_GPU_H
#include "core/graph/drop.h"
#include "core/graph/op.h"
#include <math.h>

#ifndef HS_EMULATED // else tests/emu/emu.h, which that build includes before this
#include <cuda_runtime.h>
// kernel in parentheses where it is a template: HS_LAUNCH((scale<T, 4>), grid, block, 0, stream, x, y)
#define HS_UNPACK(...) __VA_ARGS__
#define HS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                                          \
    (allow_shared(kernel, shared_bytes), kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__))
template <class K> static inline void allow_shared(K *kernel, size_t bytes) // over 48 KiB in one launch must be asked for
{
    if (bytes > 48 * 1024)
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}
#define HS_SHARED(type, name, dims) __shared__ __align__(16) type name dims // HS_SHARED(float, tile, [32][33]);
#define HS_DYN_SHARED(type, name)                                                                                                          \
    extern __shared__ __align__(128) unsigned char hs_dyn_shared[];                                                                        \
    type *const name = reinterpret_cast<type *>(hs_dyn_shared)
#endif

// The stream that a kernel's launches go to (core/cuda/device_cuda.h).
extern "C" cudaStream_t gpu_stream(const hs_lane *lane);

// ---- element types
struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};
#ifdef HS_EMULATED
static inline float to_f(bf16 x) { return hs_bf16_f32(x.bits); }
static inline float to_f(f16 x) { return hs_f16_f32(x.bits); }
static inline void from_f(bf16 &y, float x) { y.bits = hs_f32_bf16(x); }
static inline void from_f(f16 &y, float x) { y.bits = hs_f32_f16(x); }
#else
// The toolkit's headers of these types are a third of the time that nvcc takes for a small file.
static __device__ __forceinline__ float to_f(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
static __device__ __forceinline__ float to_f(f16 x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
static __device__ __forceinline__ void from_f(bf16 &y, float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
static __device__ __forceinline__ void from_f(f16 &y, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
#endif
static __device__ __forceinline__ float to_f(float x) { return x; }
static __device__ __forceinline__ void from_f(float &y, float x) { y = x; }

// 2^x, to 2 units in the last place; what would be a denormal is 0.
#ifdef HS_EMULATED
static inline float fast_exp2(float x) { return exp2f(x); }
#else
static __device__ __forceinline__ float fast_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

// Runs the statement with T as the operand's element type: BY_FLOAT(x->dtype, T, launch<T>(x, y)). Floats of ops are f32, bf16 or f16.
#define BY_FLOAT(dtype, T, ...)                                                                                                            \
    do {                                                                                                                                   \
        if ((dtype) == HS_F32) {                                                                                                           \
            typedef float T;                                                                                                               \
            __VA_ARGS__;                                                                                                                   \
        } else if ((dtype) == HS_BF16) {                                                                                                   \
            typedef bf16 T;                                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        } else {                                                                                                                           \
            typedef f16 T;                                                                                                                 \
            __VA_ARGS__;                                                                                                                   \
        }                                                                                                                                  \
    } while (0)

// The same of two: where both are low they are alike.
#define BY_FLOAT2(dtype_t, T, dtype_u, U, ...)                                                                                             \
    BY_FLOAT(                                                                                                                              \
        dtype_t, T,                                                                                                                        \
        if ((dtype_u) == HS_F32) {                                                                                                         \
            typedef float U;                                                                                                               \
            __VA_ARGS__;                                                                                                                   \
        } else if (sizeof(T) == 2) {                                                                                                       \
            typedef T U;                                                                                                                   \
            __VA_ARGS__;                                                                                                                   \
        } else BY_LOW(dtype_u, U, __VA_ARGS__))
#define BY_LOW(dtype, T, ...)                                                                                                              \
    if ((dtype) == HS_BF16) {                                                                                                              \
        typedef bf16 T;                                                                                                                    \
        __VA_ARGS__;                                                                                                                       \
    } else {                                                                                                                               \
        typedef f16 T;                                                                                                                     \
        __VA_ARGS__;                                                                                                                       \
    }

// ---- 16 bytes at a time: N elements of T, aligned to their size. N is 1 where a row's width is no multiple.
template <class T, int N> struct alignas(N * sizeof(T)) pack {
    T v[N];
};
template <class T> constexpr int WIDE = 16 / (int)sizeof(T); // elements of 16 bytes

// N of f32, to be kept as they are: rows of biases
template <int N> static __device__ __forceinline__ pack<float, N> load_pack(const float *p)
{
    pack<float, N> v;
    constexpr int U = N < 4 ? N : 4;
#pragma unroll
    for (int i = 0; i < N; i += U) {
        const pack<float, U> u = *reinterpret_cast<const pack<float, U> *>(p + i);
#pragma unroll
        for (int k = 0; k < U; k++)
            v.v[i + k] = u.v[k];
    }
    return v;
}
template <int N, class T> static __device__ __forceinline__ void load_f(const T *p, float (&x)[N])
{
    constexpr int W = N < WIDE<T> ? N : WIDE<T>;
#pragma unroll
    for (int i = 0; i < N; i += W) {
        const pack<T, W> v = *reinterpret_cast<const pack<T, W> *>(p + i);
#pragma unroll
        for (int k = 0; k < W; k++)
            x[i + k] = to_f(v.v[k]);
    }
}
template <int N, class T> static __device__ __forceinline__ void store_f(T *p, const float (&x)[N])
{
    constexpr int W = N < WIDE<T> ? N : WIDE<T>;
#pragma unroll
    for (int i = 0; i < N; i += W) {
        pack<T, W> v;
#pragma unroll
        for (int k = 0; k < W; k++)
            from_f(v.v[k], x[i + k]);
        *reinterpret_cast<pack<T, W> *>(p + i) = v;
    }
}
// p[0..N) = x, or += x where add (then in one reading of it)
template <int N, class T> static __device__ __forceinline__ void put_f(T *p, const float (&x)[N], bool add)
{
    float y[N];
    if (add)
        load_f<N>(p, y);
#pragma unroll
    for (int i = 0; i < N; i++)
        y[i] = add ? y[i] + x[i] : x[i];
    store_f<N>(p, y);
}

// ---- operands
// Cells [i, i + N) of one of any type, in two steps: fetch gives the bits as they lie, widen what they stand for. So a kernel has many
// loads under way before it waits for the first, without a copy of itself for each type. The branches are taken by all threads alike.
template <int N> struct raw {
    uint32_t word[N]; // N of f32, or N low ones, two in a word
};
template <int W> static __device__ __forceinline__ void fetch_words(const uint32_t *p, uint32_t *to)
{
    constexpr int U = W < 4 ? W : 4;
#pragma unroll
    for (int i = 0; i < W; i += U) {
        const pack<uint32_t, U> v = *reinterpret_cast<const pack<uint32_t, U> *>(p + i);
#pragma unroll
        for (int k = 0; k < U; k++)
            to[i + k] = v.v[k];
    }
}
template <int N> static __device__ __forceinline__ raw<N> fetch(const hs_ref &r, int64_t i)
{
    raw<N> x;
    if (r.dtype == HS_F32)
        fetch_words<N>(reinterpret_cast<const uint32_t *>(r.p) + i, x.word);
    else if (N > 1)
        fetch_words<(N + 1) / 2>(reinterpret_cast<const uint32_t *>(r.p + 2 * i), x.word);
    else
        x.word[0] = reinterpret_cast<const uint16_t *>(r.p)[i];
    return x;
}
template <class T, int N> static __device__ __forceinline__ void widen_low(const raw<N> &x, float (&y)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        y[i] = to_f(T{ (uint16_t)(x.word[i / 2] >> 16 * (i & 1)) });
}
template <int N> static __device__ __forceinline__ void widen(const hs_ref &r, const raw<N> &x, float (&y)[N])
{
    if (r.dtype == HS_F32) {
#pragma unroll
        for (int i = 0; i < N; i++)
            y[i] = __uint_as_float(x.word[i]);
    } else if (r.dtype == HS_BF16)
        widen_low<bf16>(x, y);
    else
        widen_low<f16>(x, y);
}
template <int N> static __device__ __forceinline__ void get_f(const hs_ref &r, int64_t i, float (&x)[N]) { widen<N>(r, fetch<N>(r, i), x); }
static __device__ __forceinline__ float get_one(const hs_ref &r, int64_t i)
{
    float x[1];
    get_f<1>(r, i, x);
    return x[0];
}
// = x, or += x where r.add
template <int N> static __device__ __forceinline__ void set_f(const hs_ref &r, int64_t i, const float (&x)[N])
{
    if (r.dtype == HS_F32)
        put_f<N>(reinterpret_cast<float *>(r.p) + i, x, r.add);
    else if (r.dtype == HS_BF16)
        put_f<N>(reinterpret_cast<bf16 *>(r.p) + i, x, r.add);
    else
        put_f<N>(reinterpret_cast<f16 *>(r.p) + i, x, r.add);
}
static __device__ __forceinline__ void set_one(const hs_ref &r, int64_t i, float x)
{
    const float v[1] = { x };
    set_f<1>(r, i, v);
}
static __device__ __forceinline__ int64_t live_rows(const hs_ref &r, const hs_step_in *step) { return hs_ext_rows(r.ext, step->n, r.rows); }
template <class T> static inline T *cells(const hs_ref &r) { return reinterpret_cast<T *>(r.p); }
// Whether rows of all these operands can be walked n elements at a time; an absent one can.
static inline bool rows_by(int n, const hs_ref &r) { return !r.p || (r.cols % n == 0 && (uintptr_t)r.p % 16 == 0); }
template <class... R> static inline bool rows_by(int n, const hs_ref &r, const R &...more) { return rows_by(n, r) && rows_by(n, more...); }
static inline int64_t blocks_of(int64_t n, int64_t each) { return (n + each - 1) / each; }
static inline dim3 grid_of(int64_t n, int64_t each) { return dim3((unsigned)blocks_of(n, each)); } // at most 2^31 - 1 blocks

// Dropout as the host knows it, and as a thread of this step does: only the key comes from the step block.
static inline hs_drop drop_of(float p) { return hs_drop_make(0, 0, 0, p); }
static __device__ __forceinline__ hs_drop drop_in(hs_drop d, uint64_t site, const hs_step_in *step)
{
    d.key = hs_drop_key(step->seed, site, step->step);
    return d;
}
// Which of the values at addresses [index, index + N) of a row are kept, bit by bit: N = 8 and index a multiple of it, or N = 1.
template <int N>
static __device__ __forceinline__ uint32_t drop_kept(const hs_drop &d, int32_t slot, int32_t position, int64_t index, uint32_t plane = 0)
{
    const hs_u32x4 w = hs_random(d.key, (uint32_t)slot, (uint32_t)position, (uint32_t)index / 8, plane);
    uint32_t kept = 0;
#pragma unroll
    for (int i = 0; i < 8; i++)
        kept |= (uint32_t)((w.v[i / 2] >> 16 * (i & 1) & 0xFFFF) >= d.threshold) << i;
    return N == 1 ? kept >> index % 8 & 1 : kept;
}
// The factor of one value, and of the 8 values of one block of addresses (index 8 b).
static __device__ __forceinline__ void drop_block(const hs_drop &d, int32_t slot, int32_t position, uint32_t b, uint32_t plane,
                                                  float (&factor)[8])
{
    const uint32_t kept = drop_kept<8>(d, slot, position, (int64_t)b * 8, plane);
#pragma unroll
    for (int i = 0; i < 8; i++)
        factor[i] = kept >> i & 1 ? d.scale : 0.0f;
}
static __device__ __forceinline__ float drop_one(const hs_drop &d, int32_t slot, int32_t position, uint32_t index, uint32_t plane)
{
    return drop_kept<1>(d, slot, position, index, plane) ? d.scale : 0.0f;
}

// ---- sums of a warp and of a block: in the same order whatever runs beside them
enum { WARP = 32 };
template <class T> static __device__ __forceinline__ T warp_sum(T v)
{
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2)
        v += __shfl_xor_sync(0xFFFFFFFFu, v, k);
    return v;
}
static __device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, k));
    return v;
}
// The sum over the warp of v[lane % M], M a power of two: M values in M + log2(32 / M) - 1 exchanges. v is spoilt.
template <int M> static __device__ __forceinline__ float warp_sums(float (&v)[M])
{
#pragma unroll
    for (int m = M / 2; m > 0; m /= 2) {
        const bool high = threadIdx.x & (unsigned)m;
#pragma unroll
        for (int i = 0; i < m; i++) {
            const float give = high ? v[i] : v[i + m];
            v[i] = (high ? v[i + m] : v[i]) + __shfl_xor_sync(0xFFFFFFFFu, give, m);
        }
    }
#pragma unroll
    for (int k = M; k < WARP; k *= 2)
        v[0] += __shfl_xor_sync(0xFFFFFFFFu, v[0], k);
    return v[0];
}
// Of all threads of a block of WARPS warps, to all of them; `at` is WARPS values of shared memory that nobody else uses until the next
// barrier behind it. Every thread calls.
template <int WARPS, class T> static __device__ __forceinline__ T block_sum(T v, T *at)
{
    v = warp_sum(v);
    if (WARPS == 1)
        return v;
    if (threadIdx.x % WARP == 0)
        at[threadIdx.x / WARP] = v;
    __syncthreads();
    T sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++)
        sum += at[w];
    __syncthreads();
    return sum;
}
template <int WARPS> static __device__ __forceinline__ float block_max(float v, float *at)
{
    v = warp_max(v);
    if (WARPS == 1)
        return v;
    if (threadIdx.x % WARP == 0)
        at[threadIdx.x / WARP] = v;
    __syncthreads();
    float most = at[0];
#pragma unroll
    for (int w = 1; w < WARPS; w++)
        most = fmaxf(most, at[w]);
    __syncthreads();
    return most;
}

#endif

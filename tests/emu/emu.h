// emu: CUDA C++ for the host's compiler. A .cu file is compiled with -include tests/emu/emu.h -DHS_EMULATED; what a kernel may use is what
// stands here and in core/cuda (tests/emu/README.md). No header of CUDA's is needed.
#ifndef HS_TESTS_EMU_H
#define HS_TESTS_EMU_H
#include "tests/emu/cudart.h"
#include "tests/emu/emu_runtime.h"
#include <math.h>
#include <string.h>

// ---- the language
#define __device__
#define __host__
#define __global__      __attribute__((noinline)) // inlined into its launch it would not be checked
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__    __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n)        __attribute__((aligned(n)))
#define __builtin_assume(x) ((void)0)
#define HS_UNPACK(...)      __VA_ARGS__

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#define threadIdx emu_now.thread
#define blockIdx  emu_now.block
#define blockDim  emu_now.block_size
#define gridDim   emu_now.grid_size
#define warpSize  32

#define EMU_VECTORS(T, name)                                                                                                               \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                                                                     \
    struct name##3 { T x, y, z; };                                                                                                         \
    struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; };                                                          \
    static inline name##2 make_##name##2(T x, T y) { return { x, y }; }                                                                    \
    static inline name##3 make_##name##3(T x, T y, T z) { return { x, y, z }; }                                                            \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return { x, y, z, w }; }
EMU_VECTORS(signed char, char)
EMU_VECTORS(unsigned char, uchar)
EMU_VECTORS(short, short)
EMU_VECTORS(unsigned short, ushort)
EMU_VECTORS(int, int)
EMU_VECTORS(unsigned, uint)
EMU_VECTORS(float, float)
EMU_VECTORS(long long, longlong)
EMU_VECTORS(unsigned long long, ulonglong)
EMU_VECTORS(double, double)
#undef EMU_VECTORS

// ---- launches
#define EMU_RAW __attribute__((no_sanitize("thread"), no_sanitize("undefined"))) // of the launch itself
template <class T> struct emu_same {
    typedef T type;
};

// Arguments become the kernel's parameters once; each thread gets a copy. A launch may run later and more than once: it is bytes alone.
template <class... P>
EMU_RAW static inline void emu_start(const char *name, const char *file, int line, void (*kernel)(P...), dim3 grid, dim3 block,
                                     size_t shared_bytes, cudaStream_t stream, typename emu_same<P>::type... args)
{
    auto thread = [=]() EMU_RAW { kernel(args...); };
    typedef decltype(thread) closure;
    struct launch {
        emu_pending head;
        closure thread;
        EMU_RAW static void run(void *l) { static_cast<launch *>(l)->thread(); }
    };
    launch *const l = static_cast<launch *>(emu_take(sizeof(launch)));
    l->head = { { name, file, line, { grid.x, grid.y, grid.z }, { block.x, block.y, block.z }, shared_bytes }, launch::run, stream };
    memcpy(static_cast<void *>(&l->thread), &thread, sizeof thread);
    emu_submit(&l->head);
}
#define HS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                                          \
    emu_start(#kernel, __FILE__, __LINE__, kernel, grid, block, shared_bytes, stream, ##__VA_ARGS__)

// ---- shared memory
template <class T> static inline T *emu_array(const void *site, const char *name)
{
    return static_cast<T *>(emu_shared(site, name, sizeof(T), alignof(T)));
}
#define HS_SHARED(type, name, dims)                                                                                                        \
    typedef type name##_array dims;                                                                                                        \
    static const char name##_site = 0;                                                                                                     \
    name##_array &name = *emu_array<name##_array>(&name##_site, #name)
#define HS_DYN_SHARED(type, name) type *const name = static_cast<type *>(emu_dyn_shared())

// ---- meeting points. Every call knows where it stands: lanes that meet in different lines have diverged.
#define EMU_AT(name) emu_at at = { name, __builtin_FILE(), __builtin_LINE() }
static inline void __syncthreads(EMU_AT("__syncthreads")) { emu_barrier(at, EMU_COUNT, 0); }
static inline int __syncthreads_or(int x, EMU_AT("__syncthreads_or")) { return emu_barrier(at, EMU_OR, x); }
static inline int __syncthreads_and(int x, EMU_AT("__syncthreads_and")) { return emu_barrier(at, EMU_AND, x); }
static inline int __syncthreads_count(int x, EMU_AT("__syncthreads_count")) { return emu_barrier(at, EMU_COUNT, x); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline unsigned __activemask() { return emu_active_lanes(); }

static inline uint64_t emu_meet(emu_at at, emu_kind kind, unsigned mask, uint64_t value = 0, int lane = 0, int width = 32)
{
    const emu_part part = { kind, mask, value, lane, width, nullptr, nullptr, nullptr };
    return emu_together(at, &part);
}
static inline void __syncwarp(unsigned mask = ~0u, EMU_AT("__syncwarp")) { emu_meet(at, EMU_SYNC, mask); }

template <class T> static inline T emu_shuffle(emu_at at, emu_kind kind, unsigned mask, T value, int lane, int width)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = emu_meet(at, kind, mask, bits, lane, width);
    memcpy(&value, &bits, sizeof value);
    return value;
}
#define EMU_SHUFFLE(name, kind)                                                                                                            \
    template <class T> static inline T name(unsigned mask, T value, int lane, int width = 32, EMU_AT(#name))                               \
    {                                                                                                                                      \
        return emu_shuffle(at, kind, mask, value, lane, width);                                                                            \
    }
EMU_SHUFFLE(__shfl_sync, EMU_SHFL_IDX)
EMU_SHUFFLE(__shfl_up_sync, EMU_SHFL_UP)
EMU_SHUFFLE(__shfl_down_sync, EMU_SHFL_DOWN)
EMU_SHUFFLE(__shfl_xor_sync, EMU_SHFL_XOR)
#undef EMU_SHUFFLE
static inline unsigned __ballot_sync(unsigned mask, int x, EMU_AT("__ballot_sync"))
{
    return (unsigned)emu_meet(at, EMU_BALLOT, mask, x != 0);
}
static inline int __any_sync(unsigned mask, int x, EMU_AT("__any_sync")) { return emu_meet(at, EMU_BALLOT, mask, x != 0) != 0; }
static inline int __all_sync(unsigned mask, int x, EMU_AT("__all_sync")) { return emu_meet(at, EMU_BALLOT, mask, x == 0) == 0; }
template <class T> static inline unsigned __match_any_sync(unsigned mask, T x, EMU_AT("__match_any_sync"))
{
    return (unsigned)emu_meet(at, EMU_MATCH, mask, (uint64_t)x);
}
#define EMU_REDUCTION(name, of_unsigned, of_signed)                                                                                        \
    static inline unsigned name(unsigned mask, unsigned v, EMU_AT(#name)) { return (unsigned)emu_meet(at, of_unsigned, mask, v); }         \
    static inline int name(unsigned mask, int v, EMU_AT(#name)) { return (int)emu_meet(at, of_signed, mask, (unsigned)v); }
EMU_REDUCTION(__reduce_add_sync, EMU_ADD, EMU_ADD)
EMU_REDUCTION(__reduce_min_sync, EMU_MIN_U, EMU_MIN_S)
EMU_REDUCTION(__reduce_max_sync, EMU_MAX_U, EMU_MAX_S)
EMU_REDUCTION(__reduce_and_sync, EMU_BIT_AND, EMU_BIT_AND)
EMU_REDUCTION(__reduce_or_sync, EMU_BIT_OR, EMU_BIT_OR)
EMU_REDUCTION(__reduce_xor_sync, EMU_BIT_XOR, EMU_BIT_XOR)
#undef EMU_REDUCTION

// ---- atomics, of integers. A sum of floats depends on who comes first: refused.
template <class T> static inline T emu_atomic_of(emu_at at, emu_atomic kind, T *p, T value)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics are of 4 or 8 bytes");
    if (T(1) / T(2) != T(0))
        emu_refuse_float(at);
    return (T)emu_atomic_do(at, kind, p, sizeof(T), T(-1) < T(0), (uint64_t)value);
}
#define EMU_ATOMICS(name, kind, of)                                                                                                        \
    template <class T> static inline T name(T *p, typename emu_same<T>::type v, EMU_AT(#name)) { return emu_atomic_of<T>(at, kind, p, of); }
EMU_ATOMICS(atomicAdd, EMU_ATOMIC_ADD, v)
EMU_ATOMICS(atomicSub, EMU_ATOMIC_ADD, T(0) - v)
EMU_ATOMICS(atomicMin, EMU_ATOMIC_MIN, v)
EMU_ATOMICS(atomicMax, EMU_ATOMIC_MAX, v)
EMU_ATOMICS(atomicAnd, EMU_ATOMIC_AND, v)
EMU_ATOMICS(atomicOr, EMU_ATOMIC_OR, v)
EMU_ATOMICS(atomicXor, EMU_ATOMIC_XOR, v)
EMU_ATOMICS(atomicExch, EMU_ATOMIC_EXCH, v)
#undef EMU_ATOMICS
template <class T> static inline T atomicCAS(T *p, typename emu_same<T>::type expect, typename emu_same<T>::type v, EMU_AT("atomicCAS"))
{
    return (T)emu_atomic_cas(at, p, sizeof(T), (uint64_t)expect, (uint64_t)v);
}

// ---- memory
#define EMU_LOAD(name)                                                                                                                     \
    template <class T> static inline T name(const T *p, EMU_AT(#name))                                                                     \
    {                                                                                                                                      \
        emu_aligned(at, p, sizeof(T));                                                                                                     \
        return *p;                                                                                                                         \
    }
EMU_LOAD(__ldg)
EMU_LOAD(__ldcs)
EMU_LOAD(__ldcg)
EMU_LOAD(__ldca)
#undef EMU_LOAD
#define EMU_STORE(name)                                                                                                                    \
    template <class T> static inline void name(T *p, typename emu_same<T>::type value, EMU_AT(#name))                                      \
    {                                                                                                                                      \
        emu_aligned(at, p, sizeof(T));                                                                                                     \
        *p = value;                                                                                                                        \
    }
EMU_STORE(__stcs)
EMU_STORE(__stcg)
#undef EMU_STORE

// ---- numbers. glibc declares some of these names, so they are macros; a GPU's last bits differ.
#define __expf(x)          expf(x)
#define __exp10f(x)        exp10f(x)
#define __logf(x)          logf(x)
#define __log2f(x)         log2f(x)
#define __log10f(x)        log10f(x)
#define __sinf(x)          sinf(x)
#define __cosf(x)          cosf(x)
#define __tanf(x)          tanf(x)
#define __powf(x, y)       powf(x, y)
#define __fdividef(x, y)   ((float)(x) / (float)(y))
#define __frcp_rn(x)       (1.0f / (float)(x))
#define __frsqrt_rn(x)     (1.0f / sqrtf(x))
#define __fsqrt_rn(x)      sqrtf(x)
#define __fadd_rn(x, y)    ((float)(x) + (float)(y))
#define __fsub_rn(x, y)    ((float)(x) - (float)(y))
#define __fmul_rn(x, y)    ((float)(x) * (float)(y))
#define __fdiv_rn(x, y)    ((float)(x) / (float)(y))
#define __fmaf_rn(x, y, z) fmaf(x, y, z)
#define rsqrtf(x)          (1.0f / sqrtf(x))
#define __saturatef(x)     fminf(fmaxf(x, 0.0f), 1.0f)
#define normcdff(x)        (0.5f * erfcf(-(x)*0.70710678118654752f))

template <class To, class From> static inline To emu_bits(From x)
{
    static_assert(sizeof(To) == sizeof(From), "bits of another size");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
static inline unsigned __float_as_uint(float x) { return emu_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return emu_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return emu_bits<float>(x); }
static inline float __int_as_float(int x) { return emu_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return emu_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emu_bits<double>(x); }
static inline int __float2int_rn(float x) { return (int)lrintf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline int __float2int_rd(float x) { return (int)floorf(x); }
static inline unsigned __float2uint_rn(float x) { return (unsigned)llrintf(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n)
{
    return (unsigned)(((uint64_t)high << 32 | low) << (n & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n)
{
    return (unsigned)(((uint64_t)high << 32 | low) >> (n & 31));
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s)
{
    const uint64_t all = (uint64_t)b << 32 | a;
    unsigned y = 0;
    for (int i = 0; i < 4; i++)
        y |= (unsigned)(all >> 8 * (s >> 4 * i & 7) & 0xFF) << 8 * i;
    return y;
}

template <class T> static inline T min(T a, T b) { return a < b ? a : b; }
template <class T> static inline T max(T a, T b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }

// ---- core/cuda/mma.cuh
struct bf16;
struct f16;
template <class T> struct emu_product;
template <> struct emu_product<bf16> {
    static constexpr emu_kind kind = EMU_MMA_BF16;
};
template <> struct emu_product<f16> {
    static constexpr emu_kind kind = EMU_MMA_F16;
};
template <class T> static inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_AT("mma"))
{
    const emu_part part = { emu_product<T>::kind, ~0u, 0, 0, 0, a, b, d };
    emu_together(at, &part);
}
static inline void mma_i8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_AT("mma_i8"))
{
    const emu_part part = { EMU_MMA_I8, ~0u, 0, 0, 0, a, b, d };
    emu_together(at, &part);
}
template <int N> static inline void emu_ldmatrix(emu_at at, emu_kind kind, uint32_t (&r)[N], const void *row)
{
    static_assert(N == 1 || N == 2 || N == 4, "ldmatrix loads 1, 2 or 4 matrices");
    const emu_part part = { kind, ~0u, 0, 0, N, row, nullptr, r };
    emu_together(at, &part);
}
template <int N> static inline void ldmatrix(uint32_t (&r)[N], const void *row, EMU_AT("ldmatrix"))
{
    emu_ldmatrix(at, EMU_LDMATRIX, r, row);
}
template <int N> static inline void ldmatrix_trans(uint32_t (&r)[N], const void *row, EMU_AT("ldmatrix_trans"))
{
    emu_ldmatrix(at, EMU_LDMATRIX_TRANS, r, row);
}
template <int BYTES> static inline void cp_async(void *to, const void *from, bool live = true, EMU_AT("cp_async"))
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    emu_cp_async(at, to, from, BYTES, live);
}
static inline void cp_async_commit() { emu_cp_async_commit(); }
template <int N> static inline void cp_async_wait() { emu_cp_async_wait(N); }
#undef EMU_AT

#endif

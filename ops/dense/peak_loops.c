// The tier's widest registers, as many sums as the register tile of a product keeps: enough to hide the latency of an FMA.
#include "ops/dense/peak_loops.h"
#include "ops/dense/gemm.h"
#include "ops/quant/i8_dot.h"
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

enum { SUMS = GEMM_MR * GEMM_NV, STREAMS = 8 };
typedef float vec __attribute__((vector_size(GEMM_VL * 4)));
typedef float vec_at __attribute__((vector_size(GEMM_VL * 4), aligned(4), may_alias));

static inline __attribute__((always_inline)) void start(vec sum[SUMS], float first)
{
#pragma GCC unroll 32
    for (int i = 0; i < SUMS; i++)
        sum[i] = (vec){ 0 } + (first + (float)i); // all different: equal sums would be computed once
}

static inline __attribute__((always_inline)) float finish(const vec sum[SUMS])
{
    vec total = { 0 };
#pragma GCC unroll 32
    for (int i = 0; i < SUMS; i++)
        total += sum[i];
    float s = 0;
    for (int i = 0; i < GEMM_VL; i++)
        s += total[i];
    return s;
}

#if defined(__SSE2__)
#define VECTOR_REGISTER "v"
#elif defined(__aarch64__)
#define VECTOR_REGISTER "w"
#else
#define VECTOR_REGISTER "m"
#endif

static double fma_loop(int64_t rounds, float *sink)
{
    const vec half = (vec){ 0 } + *sink, one = half + half; // *sink is 0.5: the sums go to 2, no denormals, no infinities
    vec sum[SUMS];
    start(sum, *sink);
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++)
            sum[i] = sum[i] * half + one;
    *sink = finish(sum);
    return 2.0 * SUMS * GEMM_VL * (double)rounds;
}

#if defined(__AMX_BF16__)
static double dot_loop(int64_t rounds, float *sink)
{
    enum { TILE = 16, TILES = 4 };
    gemm_word a[TILE * TILE];
    float sums[TILE * TILE];
    for (int i = 0; i < TILE * TILE; i++)
        a[i] = 0x3F003F00, sums[i] = *sink; // pairs of 0.5
    gemm_begin(true);
    __asm__ volatile("" ::: "memory"); // intrinsics do not say what they read
    _tile_loadd(4, a, 64);
    _tile_loadd(5, a, 64);
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums, 64);
    _tile_loadd(2, sums, 64);
    _tile_loadd(3, sums, 64);
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(3, sums, 64);
    __asm__ volatile("" ::: "memory");
    gemm_end(true);
    *sink = sums[0];
    return 4.0 * TILES * TILE * TILE * TILE * (double)rounds;
}
#elif defined(__AVX512BF16__)
static double dot_loop(int64_t rounds, float *sink)
{
    const __m512bh a = (__m512bh)_mm512_set1_epi16((short)hs_f32_bf16(*sink)), b = a;
    vec sum[SUMS];
    start(sum, *sink);
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++)
            sum[i] = (vec)_mm512_dpbf16_ps((__m512)sum[i], a, b);
    *sink = finish(sum);
    return 4.0 * SUMS * GEMM_VL * (double)rounds;
}
#else
#define dot_loop NULL
#endif

// ---- int8 onto int32

#if defined(__AMX_INT8__)
static double byte_loop(int64_t rounds, float *sink)
{
    enum { TILE = 16, TILES = 4 };
    int32_t a[TILE * TILE], sums[TILE * TILE];
    for (int i = 0; i < TILE * TILE; i++)
        a[i] = 0x01010101, sums[i] = 0;
    gemm_begin(true);
    __asm__ volatile("" ::: "memory"); // intrinsics do not say what they read
    _tile_loadd(4, a, 64);
    _tile_loadd(5, a, 64);
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums, 64);
    _tile_loadd(2, sums, 64);
    _tile_loadd(3, sums, 64);
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbssd(0, 4, 5);
        _tile_dpbssd(1, 4, 5);
        _tile_dpbssd(2, 4, 5);
        _tile_dpbssd(3, 4, 5);
    }
    _tile_stored(3, sums, 64);
    __asm__ volatile("" ::: "memory");
    gemm_end(true);
    *sink = (float)sums[0];
    return 8.0 * TILES * TILE * TILE * TILE * (double)rounds;
}
#else
static double pairs_loop(int64_t rounds, float *sink)
{
    pairs a = (pairs){ 0 } + (int16_t)(2 * *sink);
    const pairs b = a;
    sums_of sum[SUMS];
#pragma GCC unroll 32
    for (int i = 0; i < SUMS; i++)
        sum[i] = (sums_of){ 0 } + i;
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++) {
            __asm__("" : "+" VECTOR_REGISTER(a)); // or it would be multiplied once
            sum[i] = add_products(sum[i], a, b);
        }
#pragma GCC unroll 32
    for (int i = 1; i < SUMS; i++)
        sum[0] += sum[i];
    *sink = (float)sum[0][0];
    return 4.0 * SUMS * GEMM_VL * (double)rounds;
}

#if defined(DOT_TARGET)
static DOT_TARGET double four_loop(int64_t rounds, float *sink)
{
    const dot_vec a = DOT_SET1((int32_t)(2 * *sink) * 0x01010101), b = a;
    dot_vec sum[SUMS];
    int32_t out[GEMM_VL];
#pragma GCC unroll 32
    for (int i = 0; i < SUMS; i++)
        sum[i] = DOT_SET1(i);
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++) {
            sum[i] = DOT(sum[i], a, b);
            __asm__("" : "+v"(sum[i])); // stays where it is
        }
    *sink = 0;
#pragma GCC unroll 32
    for (int i = 0; i < SUMS; i++) {
        DOT_STORE(out, sum[i]);
        *sink += (float)out[0];
    }
    return 8.0 * SUMS * GEMM_VL * (double)rounds;
}
#endif

#if defined(DOT_TARGET)
static double byte_loop(int64_t rounds, float *sink) { return dot_runs() ? four_loop(rounds, sink) : pairs_loop(rounds, sink); }
#else
#define byte_loop pairs_loop
#endif
#endif

static float read_loop(float *to, const float *a, const float *b, int64_t n)
{
    (void)to, (void)b;
    vec sum[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        sum[i] = (vec){ 0 };
    int64_t at = 0;
    for (; at + STREAMS * GEMM_VL <= n; at += STREAMS * GEMM_VL)
#pragma GCC unroll 8
        for (int i = 0; i < STREAMS; i++)
            sum[i] += *(const vec_at *)(a + at + i * GEMM_VL);
    float s = 0;
    for (int i = 0; i < STREAMS; i++)
        for (int j = 0; j < GEMM_VL; j++)
            s += sum[i][j];
    for (; at < n; at++)
        s += a[at];
    return s;
}

static float copy_loop(float *to, const float *a, const float *b, int64_t n)
{
    (void)b;
    memcpy(to, a, (size_t)n * sizeof *to); // the C library's: past the caches without reading what it overwrites
    return to[0];
}

static float triad_loop(float *restrict to, const float *restrict a, const float *restrict b, int64_t n)
{
    HS_SIMD
    for (int64_t i = 0; i < n; i++)
        to[i] = a[i] + 3 * b[i];
    return to[0];
}

// Eight sums in registers that the compiler may not look into: it would multiply instead.
#define ADD(x)                                                                                                                             \
    x++;                                                                                                                                   \
    __asm__("" : "+r"(x));
static double add_loop(int64_t rounds, float *sink)
{
    uint64_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            ADD(a) ADD(b) ADD(c) ADD(d) ADD(e) ADD(f) ADD(g) ADD(h)
        }
    *sink = (float)(a + b + c + d + e + f + g + h);
    return 8 * 4 * (double)rounds;
}
#undef ADD

extern const hs_peak_loops HS_TIERED(hs_peak_loops);
const hs_peak_loops HS_TIERED(hs_peak_loops) = { fma_loop, dot_loop, byte_loop, read_loop, copy_loop, triad_loop, add_loop };

// gemm_i8_loops: the inner loops of int8 products, by what an instruction set multiplies with. Included by gemm_i8.c.
//
//   16 bits   bytes are widened and multiplied in pairs (vpmaddwd): two additions for four products, and never saturating
//   dot       vpdpbusd: four products of an unsigned and a signed byte onto 32 bits, so that panels hold code + 128
//   tiles     tdpbssd: 16 x 16 sums of 64 products
//
// The wrapping additions of all three are exact, since the final sum fits (I8_WIDEST).
#ifndef HS_OPS_GEMM_I8_LOOPS_H
#define HS_OPS_GEMM_I8_LOOPS_H
#include "ops/quant/gemm_i8.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

enum { I8_COLS = GEMM_NR }; // of a panel: as many vectors of sums as a tile of a float product has

// Rows that there are not repeat the last.
static inline void rows_of(const char *row[GEMM_MR], const char *q, int64_t ld, int64_t m)
{
    for (int64_t i = 0; i < GEMM_MR; i++)
        row[i] = q + (i < m ? i : m - 1) * ld;
}

// ---- 16 bits. A vector has 2 sums of each of HALF_VL columns.

typedef int32_t sums_of __attribute__((vector_size(GEMM_VL * 4)));
typedef int16_t pairs __attribute__((vector_size(GEMM_VL * 4)));
enum { HALF_VL = GEMM_VL / 2, HALF_COLS = HALF_VL * GEMM_NV };

static inline __attribute__((always_inline)) sums_of add_products(sums_of sum, pairs a, pairs b)
{
#if defined(__AVX512F__)
    return sum + (sums_of)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sum + (sums_of)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return sum + (sums_of)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    const sums_of product = (sums_of)(a * b); // each fits
    return sum + (product >> 16) + (sums_of)((pairs)(product << 16)) / 65536;
#endif
}
static inline __attribute__((always_inline)) pairs widened(const char *codes) // HALF_VL * 4 of them
{
#if defined(__AVX512F__)
    return (pairs)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)codes));
#elif defined(__AVX2__)
    return (pairs)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)codes));
#elif defined(__SSE2__)
    const __m128i v = _mm_loadl_epi64((const __m128i *)codes);
    return (pairs)_mm_srai_epi16(_mm_unpacklo_epi8(v, v), 8);
#else
    pairs v;
    for (int i = 0; i < GEMM_VL * 2; i++)
        v[i] = (int8_t)codes[i];
    return v;
#endif
}
static inline __attribute__((always_inline)) pairs broadcast(const char *four)
{
    int64_t v;
    memcpy(&v, four, sizeof v);
#if defined(__AVX512F__)
    return (pairs)_mm512_set1_epi64(v);
#elif defined(__AVX2__)
    return (pairs)_mm256_set1_epi64x(v);
#else
    typedef int64_t longs __attribute__((vector_size(GEMM_VL * 4)));
    return (pairs)((longs){ 0 } + v);
#endif
}

// The first or second half of a panel's columns.
static inline __attribute__((always_inline)) void madd_body(const int mr, int32_t *sums, const char *const rows[GEMM_MR], const char *panel,
                                                            int64_t words)
{
    sums_of sum[GEMM_MR][GEMM_NV];
    const char *row[GEMM_MR];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
        row[i] = rows[i];
#pragma GCC unroll 4
        for (int v = 0; v < GEMM_NV; v++)
            sum[i][v] = (sums_of){ 0 };
    }
    for (int64_t w = 0; w < words; w++, panel += I8_COLS * 4) {
        pairs b[GEMM_NV];
#pragma GCC unroll 4
        for (int v = 0; v < GEMM_NV; v++)
            b[v] = widened(panel + v * HALF_VL * 4);
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) {
            const pairs a = broadcast(row[i] + w * 8);
#pragma GCC unroll 4
            for (int v = 0; v < GEMM_NV; v++)
                sum[i][v] = add_products(sum[i][v], a, b[v]);
        }
    }
    for (int i = 0; i < mr; i++) {
        int32_t twice[HALF_COLS * 2];
        memcpy(twice, sum[i], sizeof twice);
        HS_SIMD
        for (int j = 0; j < HALF_COLS; j++)
            sums[i * I8_COLS + j] = twice[2 * j] + twice[2 * j + 1];
    }
}

enum { WHOLE_ROWS = I8_ROWS / GEMM_MR * GEMM_MR };
typedef void i8_tile(int32_t *sums, const char *const row[GEMM_MR], const char *panel, int64_t words, const int32_t *row_sum);
#define MADD_TILE(mr)                                                                                                                      \
    static void madd_##mr(int32_t *sums, const char *const row[GEMM_MR], const char *panel, int64_t words, const int32_t *row_sum)         \
    {                                                                                                                                      \
        (void)row_sum;                                                                                                                     \
        for (int half = 0; half < 2; half++)                                                                                               \
            madd_body(mr, sums + half * HALF_COLS, row, panel + half * HALF_COLS * 4, words);                                              \
    }
MADD_TILE(1)
MADD_TILE(2)
MADD_TILE(4)
#if defined(__AVX2__)
MADD_TILE(6)
#define I8_TILES(name) { name##_1, name##_2, name##_4, name##_4, name##_6, name##_6 }
#else
#define I8_TILES(name) { name##_1, name##_2, name##_4, name##_4 }
#endif
static i8_tile *const madd_tiles[GEMM_MR] = I8_TILES(madd);

// m rows, at most WHOLE_ROWS, by tiles of that kind.
static inline __attribute__((always_inline)) void by_tiles(i8_tile *const tiles[GEMM_MR], int32_t *sums, const char *q, int64_t ld,
                                                           const int32_t *row_sum, const char *panel, int64_t words, int64_t m)
{
    for (int64_t i = 0; i < m; i += GEMM_MR) {
        const char *row[GEMM_MR];
        const int64_t n = m - i < GEMM_MR ? m - i : GEMM_MR;
        int32_t first[GEMM_MR];
        for (int64_t r = 0; r < GEMM_MR; r++)
            first[r] = row_sum[i + (r < n ? r : n - 1)];
        rows_of(row, q + i * ld, ld, n);
        tiles[n - 1](sums + i * I8_COLS, row, panel, words, first);
    }
}
static void madd_sums(int32_t *sums, const char *q, int64_t ld, const int32_t *row_sum, const char *panel, int64_t words, int64_t m)
{
    by_tiles(madd_tiles, sums, q, ld, row_sum, panel, words, m);
}

// ---- dot

#if defined(__AVX512F__)
#define DOT_TARGET        __attribute__((target("avx512vnni")))
#define DOT(sum, b, a)    _mm512_dpbusd_epi32(sum, b, a)
#define DOT_SET1(v)       _mm512_set1_epi32(v)
#define DOT_LOAD(p)       _mm512_loadu_si512(p)
#define DOT_STORE(p, v)   _mm512_storeu_si512(p, v)
#define DOT_NAME          "vpdpbusd"
typedef __m512i dot_vec;
#elif defined(__AVX2__) && ((defined(__GNUC__) && __GNUC__ >= 11) && !defined(__clang__))
#define DOT_TARGET        __attribute__((target("avxvnni")))
#define DOT(sum, b, a)    _mm256_dpbusd_avx_epi32(sum, b, a)
#define DOT_SET1(v)       _mm256_set1_epi32(v)
#define DOT_LOAD(p)       _mm256_loadu_si256((const __m256i *)(p))
#define DOT_STORE(p, v)   _mm256_storeu_si256((__m256i *)(p), v)
#define DOT_NAME          "vpdpbusd (AVX-VNNI)"
typedef __m256i dot_vec;
#endif

#if defined(DOT_TARGET)
static inline __attribute__((always_inline)) DOT_TARGET void dot_body(const int mr, int32_t *sums, const char *const rows[GEMM_MR],
                                                                      const char *panel, int64_t words, const int32_t *row_sum)
{
    dot_vec sum[GEMM_MR][GEMM_NV];
    const char *row[GEMM_MR];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
        row[i] = rows[i];
#pragma GCC unroll 4
        for (int v = 0; v < GEMM_NV; v++)
            sum[i][v] = DOT_SET1((int32_t)((uint32_t)row_sum[i] * (uint32_t)-128));
    }
    for (int64_t w = 0; w < words; w++, panel += I8_COLS * 4) {
        dot_vec b[GEMM_NV];
#pragma GCC unroll 4
        for (int v = 0; v < GEMM_NV; v++)
            b[v] = DOT_LOAD(panel + v * GEMM_VL * 4);
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) {
            int32_t four;
            memcpy(&four, row[i] + w * 4, sizeof four);
            const dot_vec a = DOT_SET1(four);
#pragma GCC unroll 4
            for (int v = 0; v < GEMM_NV; v++)
                sum[i][v] = DOT(sum[i][v], b[v], a);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < GEMM_NV; v++)
            DOT_STORE(sums + i * I8_COLS + v * GEMM_VL, sum[i][v]);
}
#define DOT_TILE(mr)                                                                                                                       \
    static DOT_TARGET void dot_##mr(int32_t *sums, const char *const row[GEMM_MR], const char *panel, int64_t words,                       \
                                    const int32_t *row_sum)                                                                                \
    {                                                                                                                                      \
        dot_body(mr, sums, row, panel, words, row_sum);                                                                                    \
    }
DOT_TILE(1)
DOT_TILE(2)
DOT_TILE(4)
DOT_TILE(6)
static i8_tile *const dot_tiles[GEMM_MR] = I8_TILES(dot);
static void dot_sums(int32_t *sums, const char *q, int64_t ld, const int32_t *row_sum, const char *panel, int64_t words, int64_t m)
{
    by_tiles(dot_tiles, sums, q, ld, row_sum, panel, words, m);
}
#if defined(__AVX512VNNI__)
#define DOT_RUNS NULL
#elif defined(__AVX512F__)
static bool dot_runs(void) { return __builtin_cpu_supports("avx512vnni"); }
#define DOT_RUNS dot_runs
#else
static bool dot_runs(void) { return __builtin_cpu_supports("avxvnni"); }
#define DOT_RUNS dot_runs
#endif
#endif

// ---- tiles, as gemm_amx.h has them: 0 1 | 2 3 are the sums of 2 x 2, 4 and 5 of rows, 6 and 7 of columns. Rows up to a whole tile are
// there, whatever they hold.

#if defined(__AMX_INT8__)
enum { TILE = 16, TILE_COLS = 2 * TILE };
// Intrinsics do not say what they read and write.
static inline void memory_is_written(void) { __asm__ volatile("" ::: "memory"); }
static inline __attribute__((always_inline)) void tiles_zero(void)
{
    memory_is_written();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}
static inline __attribute__((always_inline)) void tiles_multiply(const int rows, const char *q, int64_t ld, const char *codes)
{
    _tile_loadd(6, codes, TILE_COLS * 4);
    _tile_loadd(4, q, ld);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, codes + TILE * 4, TILE_COLS * 4);
    _tile_dpbssd(1, 4, 7);
    if (rows == 2) {
        _tile_loadd(5, q + TILE * ld, ld);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
}
static inline __attribute__((always_inline)) void tiles_store(int32_t *sums, int rows)
{
    _tile_stored(0, sums, TILE_COLS * 4);
    _tile_stored(1, sums + TILE, TILE_COLS * 4);
    if (rows == 2) {
        _tile_stored(2, sums + TILE * TILE_COLS, TILE_COLS * 4);
        _tile_stored(3, sums + TILE * TILE_COLS + TILE, TILE_COLS * 4);
    }
    memory_is_written();
}
static void tile_sums(int32_t *sums, const char *q, int64_t ld, const int32_t *row_sum, const char *panel, int64_t words, int64_t m)
{
    (void)row_sum;
    tiles_zero();
    for (int64_t w = 0; w < words; w += TILE)
        m > TILE ? tiles_multiply(2, q + w * 4, ld, panel + w * TILE_COLS * 4) : tiles_multiply(1, q + w * 4, ld, panel + w * TILE_COLS * 4);
    tiles_store(sums, m > TILE ? 2 : 1);
}
#endif

const i8_loops i8_loops_list[] = {
    { "16 bits", I8_COLS, WHOLE_ROWS, .wide = true, .sums = madd_sums },
#if defined(DOT_TARGET)
    { DOT_NAME, I8_COLS, WHOLE_ROWS, .offset = true, .runs = DOT_RUNS, .sums = dot_sums },
#endif
#if defined(__AMX_INT8__)
    { "tdpbssd", TILE_COLS, I8_ROWS, .tiles = true, .sums = tile_sums },
#endif
    { NULL },
};

#endif

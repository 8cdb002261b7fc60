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
#include "ops/quant/i8_dot.h"

enum { I8_COLS = GEMM_NR }; // of a panel: as many vectors of sums as a tile of a float product has

// A tile is up to GEMM_MR rows and a panel's columns. What is read behind it is asked for meanwhile, so many bytes with each word of k: of
// few rows all that lies AHEAD of it, for memory is what they wait for; of many its share of the next panel.
typedef struct i8_tile_in {
    const char *row[GEMM_MR]; // those that there are not repeat the last
    int32_t row_sum[GEMM_MR];
    const char *panel, *next;
    int64_t words, ask;
} i8_tile_in;
typedef void i8_tile(int32_t *sums, const i8_tile_in *in);
enum { WORD_BYTES = I8_COLS * 4, AHEAD = 4096, FEW_TILES = 4 };

static inline __attribute__((always_inline)) void ask_for(const char *next, int64_t ask)
{
    __builtin_prefetch(next);
    if (ask >= WORD_BYTES) // a branch that goes one way
#pragma GCC unroll 4
        for (int line = 64; line < WORD_BYTES; line += 64)
            __builtin_prefetch(next + line);
}

// ---- 16 bits. A vector has 2 sums of each of HALF_VL columns.

enum { HALF_VL = GEMM_VL / 2, HALF_COLS = HALF_VL * GEMM_NV };

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

// In registers: read back from where both halves of it were stored, a vector waits for these stores (a twentieth of BERT-base, avx2).
static inline __attribute__((always_inline)) sums_of neighbours_added(sums_of a, sums_of b)
{
#if defined(__AVX512F__)
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1)), x = (__m512i)a, y = (__m512i)b;
    return (sums_of)_mm512_permutex2var_epi32(x, even, y) + (sums_of)_mm512_permutex2var_epi32(x, odd, y);
#elif defined(__AVX2__)
    return (sums_of)_mm256_permute4x64_epi64(_mm256_hadd_epi32((__m256i)a, (__m256i)b), 0xD8); // hadd goes by halves of a vector
#else
    sums_of s;
    for (int j = 0; j < HALF_VL; j++)
        s[j] = a[2 * j] + a[2 * j + 1], s[HALF_VL + j] = b[2 * j] + b[2 * j + 1];
    return s;
#endif
}

// nv vectors, an even number, of a panel's columns from column `first` on.
static inline __attribute__((always_inline)) void madd_body(const int mr, const int nv, int32_t *sums, const i8_tile_in *in, int64_t first,
                                                            const bool asks)
{
    sums_of sum[GEMM_MR][2 * GEMM_NV];
    const char *row[GEMM_MR], *panel = in->panel + first * 4, *next = in->next;
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
        row[i] = in->row[i];
#pragma GCC unroll 8
        for (int v = 0; v < nv; v++)
            sum[i][v] = (sums_of){ 0 };
    }
    for (int64_t w = 0; w < in->words; w++, panel += WORD_BYTES) {
        pairs b[2 * GEMM_NV];
#pragma GCC unroll 8
        for (int v = 0; v < nv; v++)
            b[v] = widened(panel + v * HALF_VL * 4);
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) {
            const pairs a = broadcast(row[i] + w * 8);
#pragma GCC unroll 8
            for (int v = 0; v < nv; v++)
                sum[i][v] = add_products(sum[i][v], a, b[v]);
        }
        if (asks) {
            ask_for(next, in->ask);
            next += in->ask;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v += 2) {
            const sums_of s = neighbours_added(sum[i][v], sum[i][v + 1]);
            memcpy(sums + i * I8_COLS + first + v * HALF_VL, &s, sizeof s);
        }
}
#define MADD_HALVES(mr)                                                                                                                    \
    static void madd_##mr(int32_t *sums, const i8_tile_in *in)                                                                             \
    {                                                                                                                                      \
        madd_body(mr, GEMM_NV, sums, in, 0, true);                                                                                         \
        madd_body(mr, GEMM_NV, sums, in, HALF_COLS, false);                                                                                \
    }
static void madd_1(int32_t *sums, const i8_tile_in *in) { madd_body(1, 2 * GEMM_NV, sums, in, 0, true); }
static void madd_2(int32_t *sums, const i8_tile_in *in) { madd_body(2, 2 * GEMM_NV, sums, in, 0, true); }
MADD_HALVES(4)
#if defined(__AVX2__)
MADD_HALVES(6)
#define I8_TILES(name)                                                                                                                     \
    {                                                                                                                                      \
        name##_1, name##_2, name##_4, name##_4, name##_6, name##_6                                                                         \
    }
#else
#define I8_TILES(name)                                                                                                                     \
    {                                                                                                                                      \
        name##_1, name##_2, name##_4, name##_4                                                                                             \
    }
#endif
static i8_tile *const madd_tiles[GEMM_MR] = I8_TILES(madd);

// m rows, at most a tile of that kind: what is made of its sums is stored while the next one multiplies, not in bursts that wait for
// memory.
static inline __attribute__((always_inline)) void by_tile(i8_tile *const kind[GEMM_MR], int32_t *sums, const i8_sums_in *in)
{
    i8_tile_in t = { .panel = in->panel, .words = in->words, .next = in->panel };
    const int64_t bytes = in->words * WORD_BYTES, at = in->before / GEMM_MR; // of all tiles that walk this panel
    const int64_t tiles = (in->before + in->m + in->after + GEMM_MR - 1) / GEMM_MR;
    for (int64_t r = 0; r < GEMM_MR; r++) {
        const int64_t k = r < in->m ? r : in->m - 1;
        t.row[r] = in->q + k * in->ld, t.row_sum[r] = in->row_sum[k];
    }
    if (tiles < FEW_TILES && at == 0)
        t.next += AHEAD, t.ask = WORD_BYTES;
    else if (tiles >= FEW_TILES)
        t.ask = (WORD_BYTES + tiles - 1) / tiles, t.next += bytes + at * in->words * t.ask;
    kind[in->m - 1](sums, &t);
}
static void madd_sums(int32_t *sums, const i8_sums_in *in) { by_tile(madd_tiles, sums, in); }

// ---- dot

#if defined(DOT_TARGET)
// Of k every ku-th word by itself, so that few rows have sums enough to hide the latency. Beside a busy neighbour a core issues what two
// threads share: DOT_WORDS at a time, so that counting and asking take 1 micro-op in 37, not 1 in 7.
enum { DOT_WORDS = 4 };
static inline __attribute__((always_inline)) DOT_TARGET void dot_body(const int mr, const int ku, int32_t *sums, const i8_tile_in *in)
{
    dot_vec sum[4][GEMM_MR][GEMM_NV];
    const char *row[GEMM_MR], *panel = in->panel, *next = in->next;
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
        row[i] = in->row[i];
#pragma GCC unroll 4
        for (int u = 0; u < ku; u++)
#pragma GCC unroll 4
            for (int v = 0; v < GEMM_NV; v++)
                sum[u][i][v] = DOT_SET1(u ? 0 : (int32_t)((uint32_t)in->row_sum[i] * (uint32_t)-128));
    }
    for (int64_t w = 0; w < in->words; w += DOT_WORDS)
#pragma GCC unroll 4
        for (int u = 0; u < DOT_WORDS; u++, panel += WORD_BYTES, next += in->ask) {
            dot_vec b[GEMM_NV];
#pragma GCC unroll 4
            for (int v = 0; v < GEMM_NV; v++)
                b[v] = DOT_LOAD(panel + v * GEMM_VL * 4);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) {
                int32_t four;
                memcpy(&four, row[i] + (w + u) * 4, sizeof four);
                const dot_vec a = DOT_SET1(four);
#pragma GCC unroll 4
                for (int v = 0; v < GEMM_NV; v++)
                    sum[u % ku][i][v] = DOT(sum[u % ku][i][v], b[v], a);
            }
            if (u == 0 || in->ask * DOT_WORDS > 64) // else the first asked for it
                ask_for(next, in->ask);
        }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < GEMM_NV; v++) {
#pragma GCC unroll 4
            for (int u = 1; u < ku; u++)
                sum[0][i][v] = DOT_ADD(sum[0][i][v], sum[u][i][v]);
            DOT_STORE(sums + i * I8_COLS + v * GEMM_VL, sum[0][i][v]);
        }
}
#define DOT_TILE(mr, ku)                                                                                                                   \
    static DOT_TARGET void dot_##mr(int32_t *sums, const i8_tile_in *in) { dot_body(mr, ku, sums, in); }
DOT_TILE(1, 4)
DOT_TILE(2, 2)
DOT_TILE(4, 1)
DOT_TILE(6, 1)
static i8_tile *const dot_tiles[GEMM_MR] = I8_TILES(dot);
static void dot_sums(int32_t *sums, const i8_sums_in *in) { by_tile(dot_tiles, sums, in); }
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
static void tile_sums(int32_t *sums, const i8_sums_in *in)
{
    const int rows = in->m > TILE ? 2 : 1;
    tiles_zero();
    for (int64_t w = 0; w < in->words; w += TILE)
        rows == 2 ? tiles_multiply(2, in->q + w * 4, in->ld, in->panel + w * TILE_COLS * 4)
                  : tiles_multiply(1, in->q + w * 4, in->ld, in->panel + w * TILE_COLS * 4);
    tiles_store(sums, rows);
}
#endif

const i8_loops i8_loops_list[] = {
    { "16 bits", I8_COLS, GEMM_MR, .wide = true, .sums = madd_sums },
#if defined(DOT_TARGET)
    { DOT_NAME, I8_COLS, GEMM_MR, .offset = true, .runs = dot_runs, .sums = dot_sums },
#endif
#if defined(__AMX_INT8__)
    { "tdpbssd", TILE_COLS, I8_ROWS, .tiles = true, .sums = tile_sums },
#endif
    { NULL },
};

#endif

// The register tile, and blocks of a product made of it. gemm_whole.c has the loops around.
#include "ops/dense/gemm.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

typedef float vec __attribute__((vector_size(GEMM_VL * 4)));
typedef float vec_at __attribute__((vector_size(GEMM_VL * 4), aligned(4), may_alias)); // as it lies in memory

#if defined(__AVX2__) && !defined(__AVX512F__)
#include "ops/dense/gemm_avx2.h"
enum { ASK_STEP = AVX2_STEP }; // words of k to an `ask`
#else
enum { ASK_STEP = 1 };
#endif

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline vec madd(vec sum, gemm_word a, vec b, const bool dot)
{
#if defined(__AVX512BF16__)
    if (dot)
        return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
#else
    (void)dot;
#endif
    return sum + b * hs_bits_f32(a);
}

// Where a tile goes. scale is 1 if there is a base or bias: then it does not matter to the bits whether a compiler fuses the
// multiplication with the addition, and edges may take another way to C.
typedef struct tile_out {
    float *f32;
    uint16_t *bf16; // or this
    int64_t ld, ld_base;
    const float *base, *bias;
    float scale;
    int64_t m;        // rows to store
    const char *next; // what is read soon: asked for meanwhile, `ask` bytes with each word of k; of few rows, behind this panel
    int64_t ask;
} tile_out;

// Whole vectors straight from registers: 8 to 10 % of a product with k = 128 goes the way over a buffer otherwise.
static inline __attribute__((always_inline)) void tile_store(const int mr, const int nv, vec sum[GEMM_MR][GEMM_NV], const tile_out *o)
{
    if (o->scale != 1)
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++)
                sum[i][j] *= o->scale;
    if (o->bias)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) {
            const vec bias = *(const vec_at *)(o->bias + j * GEMM_VL);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++)
                sum[i][j] += bias;
        }
    if (o->base)
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++)
                if (i < o->m)
                    sum[i][j] += *(const vec_at *)(o->base + i * o->ld_base + j * GEMM_VL);
#if defined(__AVX512BF16__)
    if (o->bf16) {
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++)
                if (i < o->m)
                    _mm256_storeu_si256((__m256i *)(o->bf16 + i * o->ld + j * GEMM_VL), (__m256i)_mm512_cvtneps_pbh((__m512)sum[i][j]));
        return;
    }
#endif
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++)
            if (i < o->m)
                *(vec_at *)(o->f32 + i * o->ld + j * GEMM_VL) = sum[i][j];
}

// o[i][j] = sum over k of a[i][k] b[k][j] for mr rows and nv vectors of columns. Rows of A are pointers of their own, so
// that the last rows of a matrix can repeat the last live one. mr, nv, k_major and dot are constants where it is inlined.
//
// A cell is one chain of additions whatever mr is. Fewer rows than GEMM_MR are as fast as B can be read, once: it is asked for AHEAD of
// this panel, then of what is read behind it.
enum { AHEAD = 4096 / (GEMM_NR * 4) }; // words of k
static inline __attribute__((always_inline)) void tile_body(const int mr, const int nv, const bool k_major, const bool dot, int64_t kw,
                                                            int64_t lda, const gemm_word *const a[GEMM_MR], const gemm_word *b,
                                                            const tile_out *o)
{
    vec sum[GEMM_MR][GEMM_NV];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++)
            sum[i][j] = (vec){ 0 };
    const gemm_word *row[GEMM_MR];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
        row[i] = a[i];
    const char *next = o->next;
    const int64_t ask = o->ask, turn = kw - AHEAD; // few rows: from this word on what is behind the panel is asked for
    const ptrdiff_t jump = next - (const char *)(b + kw * GEMM_NR);
    int64_t k = 0;
    if (mr < GEMM_MR)
        next = (const char *)(b + AHEAD * GEMM_NR) + (turn < 0 ? jump : 0);
#if defined(AVX2_SUMS)
    if (mr == GEMM_MR && nv == GEMM_NV && (k_major || row[GEMM_MR - 1] - row[0] == (GEMM_MR - 1) * lda)) { // no row stands for another
        k = avx2_bodies(k_major, kw, lda, row[0], b, sum, next, ask);
        b += k * GEMM_NR, next += k * ask, row[0] += k_major ? k * lda : 0;
    }
#endif
    for (; k < kw; k++, b += GEMM_NR) {
        vec bv[GEMM_NV];
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++)
            bv[j] = *(const vec_at *)(b + j * GEMM_VL);
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) {
            const gemm_word w = k_major ? row[0][i] : row[i][k];
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++)
                sum[i][j] = madd(sum[i][j], w, bv[j], dot);
        }
        if (k_major)
            row[0] += lda;
        if (mr == GEMM_MR) {
            __builtin_prefetch(next);
            next += ask;
            continue;
        }
        if (k == turn)
            next += jump;
#pragma GCC unroll 4
        for (int line = 0; line < GEMM_NR * 4; line += 64)
            __builtin_prefetch(next + line);
        next += GEMM_NR * 4;
    }
    tile_store(mr, nv, sum, o);
}

typedef void tile_fn(int64_t kw, int64_t lda, const gemm_word *const a[GEMM_MR], const gemm_word *b, const tile_out *o);
#define TILE(mr, nv, k_major, dot)                                                                                                         \
    static void tile_##mr##_##nv##_##k_major##_##dot(int64_t kw, int64_t lda, const gemm_word *const a[GEMM_MR], const gemm_word *b,       \
                                                     const tile_out *o)                                                                    \
    {                                                                                                                                      \
        tile_body(mr, nv, k_major, dot, kw, lda, a, b, o);                                                                                 \
    }
#define TILES_OF(mr, nv) TILE(mr, nv, 0, 0) TILE(mr, nv, 1, 0) TILE(mr, nv, 0, 1) TILE(mr, nv, 1, 1)
#define TILE_ROW(mr, nv)                                                                                                                   \
    {                                                                                                                                      \
        { tile_##mr##_##nv##_0_0, tile_##mr##_##nv##_0_1 }, { tile_##mr##_##nv##_1_0, tile_##mr##_##nv##_1_1 }                             \
    }
#if defined(__AVX512F__)
#define TILES(mr) TILES_OF(mr, 1) TILES_OF(mr, 2) TILES_OF(mr, 3) TILES_OF(mr, 4)
#define TILE_SET(mr)                                                                                                                       \
    {                                                                                                                                      \
        TILE_ROW(mr, 1), TILE_ROW(mr, 2), TILE_ROW(mr, 3), TILE_ROW(mr, 4)                                                                 \
    }
#else
#define TILES(mr) TILES_OF(mr, 1) TILES_OF(mr, 2)
#define TILE_SET(mr)                                                                                                                       \
    {                                                                                                                                      \
        TILE_ROW(mr, 1), TILE_ROW(mr, 2)                                                                                                   \
    }
#endif
TILES(1)
TILES(2)
TILES(4)
#if defined(__AVX2__)
TILES(6)
static tile_fn *const tiles[GEMM_MR][GEMM_NV][2][2] = { TILE_SET(1), TILE_SET(2), TILE_SET(4), TILE_SET(4), TILE_SET(6), TILE_SET(6) };
#else
static tile_fn *const tiles[GEMM_MR][GEMM_NV][2][2] = { TILE_SET(1), TILE_SET(2), TILE_SET(4), TILE_SET(4) };
#endif

static inline void store_low(uint16_t *dst, const float *v, int64_t n, const gemm_out *to)
{
    float old[GEMM_NR], sum[GEMM_NR];
    if (to->add) {
        to->dtype == HS_BF16 ? hs_load_bf16(old, dst, n) : hs_load_f16(old, dst, n);
        HS_SIMD
        for (int64_t j = 0; j < n; j++)
            sum[j] = old[j] + v[j];
        v = sum;
    }
    to->dtype == HS_BF16 ? hs_store_bf16(dst, v, n) : hs_store_f16(dst, v, n);
}

// One row of a finished tile goes to C.
static inline __attribute__((always_inline)) void finish_row(const gemm_block *g, const float *t, int64_t i, int64_t j0, const int64_t n)
{
    float v[GEMM_NR];
    const float *base = g->base ? g->base + i * g->ld_base + j0 : NULL, *bias = g->bias ? g->bias + j0 : NULL, scale = g->scale;
    char *c = (char *)g->to.p + (size_t)(i * g->to.ld + j0) * hs_dtype_bytes(g->to.dtype);
    float *out = g->to.dtype == HS_F32 ? (float *)c : v;
    if (base && bias) {
        HS_SIMD
        for (int64_t j = 0; j < n; j++)
            out[j] = t[j] * scale + bias[j] + base[j];
    } else if (base || bias) {
        const float *plus = base ? base : bias;
        HS_SIMD
        for (int64_t j = 0; j < n; j++)
            out[j] = t[j] * scale + plus[j];
    } else {
        HS_SIMD
        for (int64_t j = 0; j < n; j++)
            out[j] = t[j] * scale;
    }
    if (out == v)
        store_low((uint16_t *)c, v, n, &g->to);
}

// What a tile is added to is asked for before its product, which takes longer than memory does: rows of C are too far apart
// for a hardware prefetcher.
static inline void prefetch_tile(const float *base, int64_t ld, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j += 64 / (int64_t)sizeof *base)
            __builtin_prefetch(base + i * ld + j);
}

// Tile t of a panel asks for the t-th share of the lines that lie behind the panel's columns in what is packed next, downwards.
static inline void ask_for_source(const gemm_block *g, int64_t j, int64_t t, tile_out *o)
{
    const int64_t asks = g->kw / ASK_STEP, shares = asks ? (g->fetch_rows + asks - 1) / asks : 1, line = t / shares * 64;
    if (line < GEMM_NR * 4)
        o->next = g->fetch + j * 4 + line + t % shares * asks * g->fetch_ld, o->ask = g->fetch_ld / ASK_STEP;
}

#if defined(__AMX_BF16__)
#include "ops/dense/gemm_amx.h"
#else
void gemm_begin(bool dot) { (void)dot; }
void gemm_end(bool dot) { (void)dot; }
static void tile_block_run(const gemm_block *g) { (void)g; }
#endif

// Few rows of a pressed panel: its sums, then what a tile's become.
static void pressed_block_run(const gemm_block *g)
{
    _Alignas(64) float sum[GEMM_2OF4_ROWS][GEMM_NR] = { { 0 } };
    const gemm_word *a[GEMM_2OF4_ROWS];
    gemm_block later = *g;
    const bool goes_on = gemm_tiles(g->dot) && g->base && g->scale == 1; // as tiles do
    for (int64_t r = 0; r < g->m; r++) {
        a[r] = g->a + r * g->lda;
        if (goes_on)
            memcpy(sum[r], g->base + r * g->ld_base, (size_t)g->n * sizeof(float));
    }
    if (goes_on)
        later.base = NULL;
    gemm_2of4_sums(sum, (int)g->m, g->n, a, g->b, g->kw, g->dot, g->b + g->ldb);
    for (int64_t r = 0; r < g->m; r++)
        finish_row(&later, sum[r], r, 0, g->n);
}

void gemm_block_run(const gemm_block *g)
{
    if (g->pressed) {
        pressed_block_run(g);
        return;
    }
    if (gemm_tiles(g->dot)) {
        tile_block_run(g);
        return;
    }
    float tile[GEMM_MR * GEMM_NR] __attribute__((aligned(64)));
    // The tiles of a panel ask for the next one, each for its share: the first tile that walks a panel would wait for memory.
    const int64_t n_tiles = (g->m + GEMM_MR - 1) / GEMM_MR, ask = least(GEMM_NR * 4 / (n_tiles ? n_tiles : 1), 64);
    tile_out buffer = { .f32 = tile, .ld = GEMM_NR, .scale = 1, .m = GEMM_MR };
    const bool f32 = g->to.dtype == HS_F32, bf16 = GEMM_HAS_DOT && g->to.dtype == HS_BF16 && !g->to.add;
    const bool straight = (f32 || bf16) && (g->scale == 1 || (!g->base && !g->bias));
    for (int64_t j = 0; j < g->n; j += GEMM_NR) {
        const gemm_word *b = g->b + j / GEMM_NR * g->ldb;
        const int64_t n = least(GEMM_NR, g->n - j);
        for (int64_t i = 0; i < g->m; i += GEMM_MR) {
            const int64_t m = least(GEMM_MR, g->m - i), at = i * g->to.ld + j;
            tile_fn *run = tiles[m - 1][(n - 1) / GEMM_VL][g->tile_words != 0][g->dot];
            const gemm_word *a[GEMM_MR];
            for (int r = 0; r < GEMM_MR; r++)
                a[r] = g->tile_words ? g->a + i / GEMM_MR * g->tile_words : g->a + (i + least(r, m - 1)) * g->lda;
            if (g->base)
                prefetch_tile(g->base + i * g->ld_base + j, g->ld_base, m, n);
            buffer.next = (const char *)(b + g->ldb) + (m < GEMM_MR ? 0 : i / GEMM_MR * ask * g->kw), buffer.ask = ask;
            if (g->fetch && m == GEMM_MR)
                ask_for_source(g, j, i / GEMM_MR, &buffer);
            if (straight && n % GEMM_VL == 0) {
                run(g->kw, g->lda, a, b,
                    &(tile_out){ .f32 = f32 ? (float *)g->to.p + at : NULL,
                                 .bf16 = bf16 ? (uint16_t *)g->to.p + at : NULL,
                                 .ld = g->to.ld,
                                 .ld_base = g->ld_base,
                                 .base = g->base ? g->base + i * g->ld_base + j : NULL,
                                 .bias = g->bias ? g->bias + j : NULL,
                                 .scale = g->scale,
                                 .m = m,
                                 .next = buffer.next,
                                 .ask = buffer.ask });
                continue;
            }
            run(g->kw, g->lda, a, b, &buffer);
            for (int64_t r = 0; r < m; r++)
                finish_row(g, tile + r * GEMM_NR, i + r, j, n);
        }
    }
}

// ---- a row times B as it lies

enum { CHAIN_NV = GEMM_VL == 16 ? 4 : 8, CHAIN = CHAIN_NV * GEMM_VL, ROWS_AHEAD = 12 };

static inline __attribute__((always_inline)) void chain_codes(void *to, const int8_t *codes, int64_t n, const bool dot)
{
    float *wide = to;
    uint16_t *low = to;
    HS_SIMD
    for (int64_t j = 0; j < (dot ? n : 0); j++)
        low[j] = (uint16_t)(hs_f32_bits((float)codes[j]) >> 16); // exact
    HS_SIMD
    for (int64_t j = 0; j < (dot ? 0 : n); j++)
        wide[j] = (float)codes[j];
}

// n elements of a row, n <= CHAIN, as f32 (or bf16: dot).
static inline __attribute__((always_inline)) const void *chain_row(const gemm_in *b, const char *row, int64_t n, const bool dot, void *tmp)
{
    if (b->dtype == (dot ? HS_BF16 : HS_F32))
        return row;
    if (b->dtype == HS_I8)
        chain_codes(tmp, (const int8_t *)row, n, dot);
    else if (dot)
        hs_store_bf16(tmp, (const float *)row, n);
    else if (b->dtype == HS_BF16)
        hs_load_bf16(tmp, (const uint16_t *)row, n);
    else
        hs_load_f16(tmp, (const uint16_t *)row, n);
    return tmp;
}

// Columns [0, n) of B, n <= CHAIN; straight: vectors are as they lie.
static inline __attribute__((always_inline)) void chain_body(const bool straight, const bool dot, float *sum, const gemm_word *a,
                                                             const gemm_in *b, const char *row, int64_t k, const int64_t n)
{
    static const uint16_t zero[CHAIN];
    float wide[2][CHAIN], words[CHAIN] = { 0 };
    vec s[CHAIN_NV];
    const int64_t element = (int64_t)hs_dtype_bytes(b->dtype), step = b->ld * element;
    memcpy(words, sum, (size_t)n * sizeof *sum);
    memcpy(s, words, sizeof s);
    for (int64_t r = 0; r < k; r += dot ? 2 : 1, row += dot ? 2 * step : step) {
        const float *v = words;
        for (int64_t line = 0; line < n * element; line += 64) {
            __builtin_prefetch(row + ROWS_AHEAD * step + line);
            if (dot)
                __builtin_prefetch(row + (ROWS_AHEAD + 1) * step + line);
        }
        if (straight) {
            v = (const float *)row;
        } else if (dot) {
            const uint16_t *even = chain_row(b, row, n, dot, wide[0]), *odd = r + 1 < k ? chain_row(b, row + step, n, dot, wide[1]) : zero;
            uint32_t pair[CHAIN];
            HS_SIMD
            for (int64_t j = 0; j < n; j++)
                pair[j] = even[j] | (uint32_t)odd[j] << 16;
            memcpy(words, pair, (size_t)n * sizeof *pair);
        } else {
            const void *v32 = chain_row(b, row, n, dot, words);
            if (v32 != words)
                memcpy(words, v32, (size_t)n * sizeof *words);
        }
#pragma GCC unroll 8
        for (int j = 0; j < CHAIN_NV; j++)
            s[j] = madd(s[j], a[dot ? r / 2 : r], *(const vec_at *)(v + j * GEMM_VL), dot);
    }
    memcpy(words, s, sizeof s);
    memcpy(sum, words, (size_t)n * sizeof *sum);
}

void gemm_chain(float *sum, const gemm_word *a, const gemm_in *b, int64_t k, int64_t n, bool dot)
{
    for (int64_t c = 0; c < n; c += CHAIN) {
        const char *row = (const char *)b->p + c * (int64_t)hs_dtype_bytes(b->dtype);
        const int64_t cols = least(CHAIN, n - c);
        if (cols == CHAIN && dot)
            chain_body(false, true, sum + c, a, b, row, k, CHAIN);
        else if (cols == CHAIN && b->dtype == HS_F32)
            chain_body(true, false, sum + c, a, b, row, k, CHAIN);
        else if (cols == CHAIN)
            chain_body(false, false, sum + c, a, b, row, k, CHAIN);
        else
            chain_body(false, dot, sum + c, a, b, row, k, cols);
    }
}

// A block of a product of bf16 by matrix tiles. Included by gemm.c of the tier that has them.
//
// A tile is 16 rows of 16 words. TDPBF16PS adds to 16 x 16 sums the products of 16 rows of A and 16 columns of B over 16 words of k: two
// chains from 0, of the even and of the odd elements, whose sum is added; subnormals are taken as 0 (Intel SDM 2A). All products of this
// tier, of one row too, go through it from the same k on in whole steps of 16 words, what is missing being zeros, so that a row's bits do
// not depend on how many rows there are. Panels of B have the layout already; A is laid in rows, which gemm_lay_a does.
#include "ops/dense/gemm_transpose.h"

enum { TILE = 16, PAIR = 2 * TILE }; // words, rows or columns of a tile; of the 2 x 2 tiles that are kept in registers: sums 0 1 | 2 3
_Static_assert((int)PAIR == (int)GEMM_TILE_ROWS, "a piece of work is whole pairs");

void gemm_begin(bool dot)
{
    static const struct {
        uint8_t palette, start_row, rest[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = { .palette = 1, .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 }, .rows = { 16, 16, 16, 16, 16, 16, 16, 16 } };
    _Static_assert(sizeof config == 64, "as the processor reads it");
    if (dot)
        _tile_loadconfig(&config);
}

void gemm_end(bool dot)
{
    if (dot)
        _tile_release(); // or every switch of threads would save 8 KiB
}

// gcc 12's intrinsics do not say that tiles read memory.
static inline void memory_is_written(void) { __asm__ volatile("" ::: "memory"); }

static inline __mmask16 first(int64_t n) { return n >= TILE ? 0xFFFF : (__mmask16)((1u << n) - 1); }

// n sums of row i become cells of C from column j on. g->base: what is still to be added.
static inline void finish_sums(const gemm_block *g, const float *t, int64_t i, int64_t j, int64_t n)
{
    if (g->to.dtype == HS_F16 || (g->to.add && g->to.dtype != HS_F32)) {
        finish_row(g, t, i, j, n);
        return;
    }
    for (int64_t c = 0; c < n; c += TILE) {
        const __mmask16 mask = first(n - c);
        __m512 v = _mm512_loadu_ps(t + c);
        if (g->scale != 1)
            v = _mm512_mul_ps(v, _mm512_set1_ps(g->scale));
        if (g->bias)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, g->bias + j + c));
        if (g->base)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, g->base + i * g->ld_base + j + c));
        if (g->to.dtype == HS_F32)
            _mm512_mask_storeu_ps((float *)g->to.p + i * g->to.ld + j + c, mask, v);
        else
            _mm256_mask_storeu_epi16((uint16_t *)g->to.p + i * g->to.ld + j + c, mask, (__m256i)_mm512_cvtneps_pbh(v));
    }
}

// Sums that wait to become cells of C, and how many of their rows have.
typedef struct tile_sums {
    const gemm_block *g;
    const float *sums; // [m][PAIR]
    int64_t i, j, m, n, done;
} tile_sums;

static void finish_some(tile_sums *t, int64_t rows)
{
    for (; rows > 0 && t->done < t->m; rows--, t->done++)
        finish_sums(t->g, t->sums + t->done * PAIR, t->i + t->done, t->j, t->n);
}

// What is done while tiles multiply, some rows with each step: cells are made of the sums before, and the lines that the next ones
// go to are asked for. A store that waits for its line would keep back all behind it.
typedef struct tile_meanwhile {
    tile_sums before;
    const char *cells; // of rows `ld` bytes apart
    int64_t ld, rows, bytes;
} tile_meanwhile;

static inline __attribute__((always_inline)) void meanwhile(tile_meanwhile *w, int64_t each)
{
    if (w->before.done < w->before.m)
        finish_some(&w->before, each);
    for (int64_t r = 0; r < each && w->rows > 0; r++, w->rows--, w->cells += w->ld) {
        __builtin_prefetch(w->cells, 1);
        if (w->bytes > 64)
            __builtin_prefetch(w->cells + 64, 1);
    }
}

static inline __attribute__((always_inline)) void multiply(const int rows, const int cols, int64_t steps, const gemm_word *a, int64_t lda,
                                                           const gemm_word *b, int64_t ldb, const gemm_word *next, int64_t asks,
                                                           tile_meanwhile *w, int64_t each)
{
    for (; steps > 0; steps--, a += TILE, b += TILE * ldb) {
        for (int64_t i = 0; i < asks; i++, next += GEMM_NR) {
            __builtin_prefetch(next, 0, 2);
            __builtin_prefetch(next + TILE, 0, 2);
        }
        _tile_loadd(6, b, ldb * 4);
        _tile_loadd(4, a, lda * 4);
        _tile_dpbf16ps(0, 4, 6);
        if (cols == 2) {
            _tile_loadd(7, b + TILE, ldb * 4);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (rows == 2) {
            _tile_loadd(5, a + TILE * lda, lda * 4);
            _tile_dpbf16ps(2, 5, 6);
            if (cols == 2)
                _tile_dpbf16ps(3, 5, 7);
        }
        meanwhile(w, each);
    }
}

typedef struct tile_cells {
    float *p;
    int64_t ld;
} tile_cells;

typedef struct tile_factors {
    int64_t steps; // whole ones
    const gemm_word *a, *b, *b_rest;
    int64_t lda;
    const gemm_word *next; // of B, read soon: so many of its words of k are asked for with each step
    int64_t asks;
    int64_t each; // rows of what is done meanwhile, with each step
} tile_factors;

// to = from (or 0) + A B, for whole tiles.
static inline __attribute__((always_inline)) void tile_pair(const int rows, const int cols, const tile_factors *f, tile_cells from,
                                                            tile_cells to, tile_meanwhile *w)
{
    memory_is_written();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (from.p) {
        _tile_loadd(0, from.p, from.ld * 4);
        if (cols == 2)
            _tile_loadd(1, from.p + TILE, from.ld * 4);
        if (rows == 2)
            _tile_loadd(2, from.p + TILE * from.ld, from.ld * 4);
        if (rows == 2 && cols == 2)
            _tile_loadd(3, from.p + TILE * from.ld + TILE, from.ld * 4);
    }
    multiply(rows, cols, f->steps, f->a, f->lda, f->b, GEMM_NR, f->next, f->asks, w, f->each);
    if (f->b_rest)
        multiply(rows, cols, 1, f->a + f->steps * TILE, f->lda, f->b_rest, PAIR, NULL, 0, w, PAIR);
    _tile_stored(0, to.p, to.ld * 4);
    if (cols == 2)
        _tile_stored(1, to.p + TILE, to.ld * 4);
    if (rows == 2)
        _tile_stored(2, to.p + TILE * to.ld, to.ld * 4);
    if (rows == 2 && cols == 2)
        _tile_stored(3, to.p + TILE * to.ld + TILE, to.ld * 4);
    memory_is_written();
}
#define TILE_PAIR(rows, cols)                                                                                                              \
    static void pair_##rows##_##cols(const tile_factors *f, tile_cells from, tile_cells to, tile_meanwhile *w)                             \
    {                                                                                                                                      \
        tile_pair(rows, cols, f, from, to, w);                                                                                             \
    }
TILE_PAIR(1, 1)
TILE_PAIR(1, 2)
TILE_PAIR(2, 1)
TILE_PAIR(2, 2)
#undef TILE_PAIR
typedef void tile_pair_fn(const tile_factors *f, tile_cells from, tile_cells to, tile_meanwhile *w);
static tile_pair_fn *const tile_pairs[2][2] = { { pair_1_1, pair_1_2 }, { pair_2_1, pair_2_2 } };

static inline void copy_cells(float *to, int64_t ld_to, const float *from, int64_t ld_from, int64_t m, int64_t n)
{
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < n; c += TILE)
            _mm512_storeu_ps(to + r * ld_to + c, _mm512_maskz_loadu_ps(first(n - c), from + r * ld_from + c));
}

// Rows [i0, i0 + m) of C. Words of A lie in rows `lda` apart, in whole steps of k; rows behind the last, up to a whole tile, may be
// anything.
static void tile_rows(const gemm_block *g, const gemm_word *a, int64_t lda, int64_t i0, int64_t m)
{
    float both[2][PAIR * PAIR] __attribute__((aligned(64))), *sums = both[0];
    gemm_word rest[TILE * PAIR] __attribute__((aligned(64)));
    const int64_t steps = g->kw / TILE, left = g->kw % TILE;
    gemm_block later = *g; // what is done behind the tiles
    const float *base = g->scale == 1 ? g->base : NULL;
    later.base = base ? NULL : g->base;
    const bool plain = g->to.dtype == HS_F32 && g->scale == 1 && !g->bias;
    const int64_t element = (int64_t)hs_dtype_bytes(g->to.dtype), each = steps ? (PAIR + steps - 1) / steps : PAIR;
    tile_meanwhile w = { 0 };
    for (int64_t j = 0; j < g->n; j += PAIR) {
        const int64_t n = least(PAIR, g->n - j), cols = (n + TILE - 1) / TILE;
        const gemm_word *b = g->b + j / GEMM_NR * g->ldb + j % GEMM_NR;
        if (left) {
            memset(rest, 0, sizeof rest);
            for (int64_t k = 0; k < left; k++)
                memcpy(rest + k * PAIR, b + (steps * TILE + k) * GEMM_NR, (size_t)(cols * TILE) * 4);
        }
        // Pairs of rows share in asking for the next columns: a stripe of lines, which no hardware prefetcher would follow from beyond L2.
        const int64_t pairs = (m + PAIR - 1) / PAIR, asks = j + PAIR < g->n && steps ? (g->kw + pairs * steps - 1) / (pairs * steps) : 0;
        const gemm_word *const next = g->b + (j + PAIR) / GEMM_NR * g->ldb + (j + PAIR) % GEMM_NR;
        for (int64_t i = 0; i < m; i += PAIR) {
            const int64_t rows = least(PAIR, m - i), at = i0 + i;
            const bool whole = rows % TILE == 0 && n % TILE == 0, straight = whole && plain;
            const tile_factors f = { steps, a + i * lda, b, left ? rest : NULL, lda, next + i / PAIR * steps * asks * GEMM_NR, asks, each };
            const tile_cells buffer = { sums, PAIR };
            tile_cells from = { NULL, 0 }, to = buffer;
            if (base && whole)
                from = (tile_cells){ (float *)base + at * g->ld_base + j, g->ld_base };
            else if (base)
                copy_cells(sums, PAIR, base + at * g->ld_base + j, g->ld_base, rows, n), from = buffer;
            if (straight)
                to = (tile_cells){ (float *)g->to.p + at * g->to.ld + j, g->to.ld };
            if (base && i + PAIR < m)
                prefetch_tile(base + (at + PAIR) * g->ld_base + j, g->ld_base, least(PAIR, m - i - PAIR), n);
            w.cells = (const char *)g->to.p + (at * g->to.ld + j) * element, w.ld = g->to.ld * element;
            w.rows = (const void *)g->base == g->to.p ? 0 : rows, w.bytes = n * element; // what is added to was asked for
            tile_pairs[rows > TILE][cols - 1](&f, from, to, &w);
            finish_some(&w.before, PAIR);
            if (!straight) {
                w.before = (tile_sums){ &later, sums, at, j, rows, n, 0 };
                sums = sums == both[0] ? both[1] : both[0];
            }
        }
    }
    finish_some(&w.before, PAIR);
}

// m <= PAIR rows of A as rows of `ld` words, zeros behind kw.
static void lay_rows(gemm_word *to, int64_t ld, const gemm_word *a, int64_t lda, int64_t kw, int64_t m)
{
    for (int64_t r = 0; r < m; r++) {
        memcpy(to + r * ld, a + r * lda, (size_t)kw * 4);
        memset(to + r * ld + kw, 0, (size_t)(ld - kw) * 4);
    }
}
static void lay_columns(gemm_word *to, int64_t ld, const gemm_word *a, int64_t lda, int64_t kw, int64_t m) // word (k, i) at a[k * lda + i]
{
    for (int64_t i = 0; i < m; i += TILE)
        for (int64_t k = 0; k < ld; k += TILE) {
            __m512i t[TILE];
#pragma GCC unroll 16
            for (int r = 0; r < TILE; r++)
                t[r] = k + r < kw ? _mm512_maskz_loadu_epi32(first(m - i), a + (k + r) * lda + i) : _mm512_setzero_si512();
            transpose16(t);
#pragma GCC unroll 16
            for (int r = 0; r < TILE; r++)
                _mm512_storeu_si512(to + (i + r) * ld + k, t[r]);
        }
}

static void tile_block_run(const gemm_block *g)
{
    const bool in_rows = !g->tile_words;
    const int64_t straight = in_rows && g->kw % TILE == 0 ? g->m / TILE * TILE : 0, ld = (g->kw + TILE - 1) / TILE * TILE;
    if (straight)
        tile_rows(g, g->a, g->lda, 0, straight);
    if (g->m == 1 && in_rows && g->kw % TILE == 0) {
        tile_rows(g, g->a, 0, 0, 1); // sixteen times the same row
        return;
    }
    if (straight == g->m)
        return;
    gemm_word laid[PAIR * ld] __attribute__((aligned(64))); // a k block's in products, a head's width in attention
    for (int64_t i = straight; i < g->m; i += PAIR) {
        const int64_t m = least(PAIR, g->m - i);
        if (in_rows)
            lay_rows(laid, ld, g->a + i * g->lda, g->lda, g->kw, m);
        else
            lay_columns(laid, ld, g->a + i, g->lda, g->kw, m);
        tile_rows(g, laid, ld, i, m);
    }
}

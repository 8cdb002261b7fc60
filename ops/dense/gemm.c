// The register tile, and the loops of a whole product around it.
#include "ops/dense/gemm.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

typedef float vec __attribute__((vector_size(GEMM_VL * 4)));
typedef float vec_at __attribute__((vector_size(GEMM_VL * 4), aligned(4), may_alias)); // as it lies in memory

#if defined(__AVX2__) && !defined(__AVX512F__)
#include "ops/dense/gemm_avx2.h"
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

void gemm_block_run(const gemm_block *g)
{
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
                                 .ask = ask });
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

// n elements of a row, n <= CHAIN, as f32 (or bf16: dot).
static inline __attribute__((always_inline)) const void *chain_row(const gemm_in *b, const char *row, int64_t n, const bool dot, void *tmp)
{
    if (b->dtype == (dot ? HS_BF16 : HS_F32))
        return row;
    if (dot)
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
    const int64_t element = b->dtype == HS_F32 ? 4 : 2, step = b->ld * element;
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
        const char *row = (const char *)b->p + c * (b->dtype == HS_F32 ? 4 : 2);
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

// ---- a whole product
//
// B is packed by the team into one slab if it fits SLAB_WORDS, else slab by slab into alternate halves, with one barrier each:
// whoever packs slab s + 2 has passed the barrier of s + 1, so all are done with s. A slab is all of k and some panels, or (C
// f32, or k long) some k blocks; then a low-precision C keeps its f32 sums in `own`, for chunks of rows.

// A long k keeps the rows of such sums few; K_LONG is above every hidden width, below every vocabulary.
enum { SLAB_WORDS = 2 << 20, HALF_WORDS = SLAB_WORDS / 2, K_LONG = 8192, CHUNK_ROWS = 1024, FEW_ROWS = 512, NARROW = 256 };

typedef struct slabs {
    int64_t panels, blocks; // per slab
    int64_t all_panels, all_blocks;
    bool split_k;
} slabs;

static slabs slabs_of(int64_t n, int64_t k, bool dot, bool c_low)
{
    const int64_t kw = gemm_words(k, dot), all = gemm_panels(n), blocks = kw <= GEMM_KW ? 1 : (kw + GEMM_KW - 1) / GEMM_KW;
    slabs s = { all, blocks, all, blocks, false };
    if (all * GEMM_NR * kw <= SLAB_WORDS)
        return s;
    if (c_low ? k > K_LONG : k > n) {
        s.split_k = true;
        s.panels = least(all, HALF_WORDS / (GEMM_KW * GEMM_NR));
        s.blocks = HALF_WORDS / (s.panels * GEMM_KW * GEMM_NR);
    } else {
        s.panels = HALF_WORDS / (blocks * GEMM_KW * GEMM_NR);
        if (!s.panels) // not c_low: k is at most K_LONG there
            s = (slabs){ 1, HALF_WORDS / (GEMM_KW * GEMM_NR), all, blocks, true };
    }
    return s;
}

size_t gemm_shared_bytes(int64_t n, int64_t k, bool dot)
{
    const int64_t words = gemm_panels(n) * GEMM_NR * gemm_words(k, dot);
    return (size_t)least(words, SLAB_WORDS) * 4;
}

static int64_t block_words(int64_t kw) { return GEMM_MC / GEMM_MR * gemm_tile_words(least(GEMM_KW, kw)); } // a block of A

static bool lays_all(int64_t kw) { return kw <= K_LONG; } // of few rows that must be converted: as far as it is little scratch

size_t gemm_own_bytes(int64_t m, int64_t n, int64_t k, bool dot, bool c_low)
{
    const int64_t kw = gemm_words(k, dot), columns = gemm_panels(n) * GEMM_NR;
    int64_t partial = 0;
    if (c_low && kw > GEMM_KW) // the widest slab that any live k up to this one can have
        partial = k > K_LONG ? least(m, CHUNK_ROWS) * least(columns, HALF_WORDS / GEMM_KW) : GEMM_MC * least(columns, SLAB_WORDS / GEMM_KW);
    const int64_t by_rows = block_words(kw) + partial;
    const int64_t laid = lays_all(kw) ? (kw + GEMM_KW - 1) / GEMM_KW * gemm_tile_words(GEMM_KW) : 0;
    const int64_t by_columns = (GEMM_KW + least(m, FEW_ROWS)) * GEMM_NR + laid;
    return (size_t)(by_rows > by_columns ? by_rows : by_columns) * 4;
}

// The k block kb of C[i0.., j0..], m x n. partial: where the f32 sums of a low-precision C wait for the last block.
static void one_block(const gemm *g, int64_t kb, int64_t blocks, int64_t i0, int64_t j0, int64_t m, int64_t n, const gemm_word *a,
                      int64_t lda, const gemm_word *b, float *partial, int64_t ld_partial)
{
    const int64_t kw = least(GEMM_KW, gemm_words(g->k, g->dot) - kb * GEMM_KW);
    gemm_block t = { .m = m, .n = n, .kw = kw, .b = b, .ldb = kw * GEMM_NR, .dot = g->dot, .scale = g->c.scale, .to = g->c };
    gemm_block_rows(&t, a, lda, 0);
    const bool wait = partial && kb < blocks - 1;
    t.to.p = (char *)g->c.p + (size_t)(i0 * g->c.ld + j0) * hs_dtype_bytes(g->c.dtype);
    if (partial && kb)
        t.base = partial, t.ld_base = ld_partial;
    if (wait)
        t.to = (gemm_out){ .p = partial, .ld = ld_partial, .dtype = HS_F32 };
    else if (g->c.dtype == HS_F32 && (kb || g->c.add))
        t.base = (const float *)t.to.p, t.ld_base = g->c.ld;
    if (g->c.bias && kb == (partial ? blocks - 1 : 0))
        t.bias = g->c.bias + j0;
    gemm_block_run(&t);
}

static int64_t block_k(const gemm *g, int64_t kb) // elements of k block kb
{
    const int64_t per = GEMM_KW * (g->dot ? 2 : 1);
    return least(per, g->k - kb * per);
}

// Panel p of k block kb, of `panels` in each block.
static gemm_word *panel_at(const gemm_word *slab, int64_t panels, int64_t kb, int64_t p, int64_t kw)
{
    return (gemm_word *)slab + kb * panels * GEMM_KW * GEMM_NR + p * kw * GEMM_NR;
}

// The team's share of packing slab (p0.., b0..).
static void pack_slab(const gemm *g, const hs_lane *lane, gemm_word *slab, int64_t p0, int64_t panels, int64_t b0, int64_t blocks)
{
    int64_t i0, i1;
    hs_part_unit(lane, panels * blocks, 1, &i0, &i1);
    for (int64_t i = i0; i < i1; i++) {
        const int64_t kb = i / panels, p = i % panels, k = block_k(g, b0 + kb), kw = gemm_words(k, g->dot);
        const int64_t j = (p0 + p) * GEMM_NR;
        gemm_pack_b(panel_at(slab, panels, kb, p, kw), &g->b, (b0 + kb) * GEMM_KW * (g->dot ? 2 : 1), k, j, least(GEMM_NR, g->n - j),
                    g->dot);
    }
}

void gemm_pack_share(gemm_word *packed, const gemm_in *b, int64_t n, int64_t k, bool dot, const hs_lane *lane)
{
    const gemm g = { .n = n, .k = k, .b = *b, .dot = dot };
    pack_slab(&g, lane, packed, 0, gemm_panels(n), 0, (gemm_words(k, dot) + GEMM_KW - 1) / GEMM_KW);
}

typedef struct slab {
    int64_t p0, panels, b0, blocks;
    const gemm_word *words; // [blocks][panels], or all of b
} slab;

// Rows [i, i + m) of C: what a slab has for them. m is at most GEMM_MC.
static void rows_by_slab(const gemm *g, const slabs *s, const slab *at, gemm_word *lay, int64_t i, int64_t m, float *partial)
{
    const int64_t j0 = at->p0 * GEMM_NR, n = least(at->panels * GEMM_NR, g->n - j0);
    for (int64_t kb = at->b0; kb < at->b0 + at->blocks; kb++) {
        const int64_t k = block_k(g, kb);
        int64_t lda;
        const gemm_word *a = gemm_lay_a(lay, &g->a, kb * GEMM_KW * (g->dot ? 2 : 1), k, i, m, g->dot, &lda);
        const gemm_word *b = g->packed ? panel_at(at->words, s->all_panels, kb, at->p0, gemm_words(k, g->dot))
                                       : panel_at(at->words, at->panels, kb - at->b0, 0, 0);
        one_block(g, kb, s->all_blocks, i, j0, m, n, a, lda, b, partial, s->panels * GEMM_NR);
    }
}

// Where rows need not be a certain member's, one that is ready takes over what a late one has not begun, four tiles at least: a core that
// other work takes for a moment would be waited for by all.
enum { TAKE = GEMM_MC / GEMM_MR, TAKE_OVER = 4 };

static void run_rows(const gemm *g, hs_lane *lane)
{
    const bool low = g->c.dtype != HS_F32;
    const slabs s = slabs_of(g->n, g->k, g->dot, low);
    const int64_t unit = g->rows ? HS_GRAIN : GEMM_MR;
    int64_t r0, r1;
    hs_part_unit(lane, g->m, unit, &r0, &r1);
    gemm_word *own = (gemm_word *)g->own, *lay = g->n < NARROW && gemm_in_place(&g->a, 0, g->k, g->dot) ? NULL : own;
    const int64_t most = ((g->m + unit - 1) / unit + lane->n - 1) / lane->n * unit;
    const bool chunked = low && s.split_k, deals = !g->rows && !chunked && !g->packed && lane->n > 1;
    const int64_t step = chunked ? CHUNK_ROWS : most + 1;
    float *partial = low && s.all_blocks > 1 ? (float *)(own + block_words(gemm_words(g->k, g->dot))) : NULL;
    int count = 0;
    if (g->packed)
        hs_sync(lane);
    for (int64_t c = 0; c < most || c == 0; c += step)
        for (int64_t p0 = 0; p0 < s.all_panels; p0 += s.panels)
            for (int64_t b0 = 0; b0 < s.all_blocks; b0 += s.blocks) {
                slab at = { p0, least(s.panels, s.all_panels - p0), b0, least(s.blocks, s.all_blocks - b0), g->packed };
                if (!g->packed) {
                    gemm_word *words = (gemm_word *)g->shared + (count++ & 1) * (int64_t)HALF_WORDS;
                    at.words = words;
                    if (deals)
                        hs_deal(lane, r0 / GEMM_MR, (r1 + GEMM_MR - 1) / GEMM_MR);
                    pack_slab(g, lane, words, p0, at.panels, b0, at.blocks);
                    hs_sync(lane);
                }
                for (int64_t t0, t1; deals && hs_take(lane, TAKE, TAKE_OVER, &t0, &t1);)
                    rows_by_slab(g, &s, &at, lay, t0 * GEMM_MR, least(t1 * GEMM_MR, g->m) - t0 * GEMM_MR, partial);
                for (int64_t i = r0 + c, end = deals ? i : least(r1, i + step); i < end; i += GEMM_MC)
                    rows_by_slab(g, &s, &at, lay, i, least(GEMM_MC, end - i),
                                 chunked ? partial + (i - r0 - c) * s.panels * GEMM_NR : partial);
            }
}

// Few rows: members divide the columns instead, each packing its own, or starting anywhere within a packed panel where there are few of
// them. A that must be converted is: by each member, all k of no more than a tile of rows.
typedef struct columns {
    int64_t c0, c1, blocks;
    gemm_word *panel;     // packed here
    const gemm_word *lay; // A, where it must be converted
    int64_t lda;          // of that: 0, or the words of a block
    bool in_place;
    float *partial; // sums of a low-precision C
    int64_t ld_partial;
} columns;

// Columns [j, j + n) and k block kb.
static void column_block(const gemm *g, const columns *at, int64_t kb, int64_t j, int64_t n, float *partial)
{
    const int64_t per = GEMM_KW * (g->dot ? 2 : 1), k = block_k(g, kb), words = gemm_words(k, g->dot);
    int64_t lda = at->lda ? words : 0;
    const gemm_word *b = at->panel, *a = at->lay + kb * gemm_tile_words(GEMM_KW);
    if (g->packed)
        b = panel_at(g->packed, gemm_panels(g->n), kb, j / GEMM_NR, words) + j % GEMM_NR;
    else
        gemm_pack_b(at->panel, &g->b, kb * per, k, j, n, g->dot);
    if (at->in_place)
        a = gemm_lay_a(NULL, &g->a, kb * per, k, 0, g->m, g->dot, &lda);
    one_block(g, kb, at->blocks, 0, j, g->m, n, a, lda, b, partial, at->ld_partial);
}

static int64_t whole_columns(const gemm *g, const columns *at, int64_t j)
{
    return least(GEMM_NR - (g->packed ? j % GEMM_NR : 0), at->c1 - j);
}

static void run_columns(const gemm *g, hs_lane *lane)
{
    const int64_t kw = gemm_words(g->k, g->dot), blocks = kw <= GEMM_KW ? 1 : (kw + GEMM_KW - 1) / GEMM_KW;
    const int64_t unit = g->packed && gemm_panels(g->n) >= 4 * lane->n ? GEMM_NR : GEMM_VL, per = GEMM_KW * (g->dot ? 2 : 1);
    gemm_word *panel = (gemm_word *)g->own, *lay = panel + (GEMM_KW + least(g->m, FEW_ROWS)) * GEMM_NR;
    columns at = { .blocks = blocks, .panel = panel, .lay = lay, .ld_partial = GEMM_NR };
    at.in_place = gemm_in_place(&g->a, 0, g->k, g->dot);
    float *partial = g->c.dtype != HS_F32 && blocks > 1 ? (float *)(panel + GEMM_KW * GEMM_NR) : NULL;
    hs_part_unit(lane, g->n, unit, &at.c0, &at.c1);
    for (int64_t kb = 0; kb < blocks && !at.in_place && at.c0 < at.c1; kb++)
        gemm_lay_a(lay + kb * gemm_tile_words(GEMM_KW), &g->a, kb * per, block_k(g, kb), 0, g->m, g->dot, &at.lda);
    if (g->packed && g->m <= GEMM_MR && !partial) { // panels of a block lie behind each other: one stream (5 % of a token in AVX2)
        for (int64_t kb = 0; kb < blocks; kb++)
            for (int64_t j = at.c0, n; j < at.c1; j += n)
                column_block(g, &at, kb, j, n = whole_columns(g, &at, j), NULL);
        return;
    }
    for (int64_t j = at.c0, n; j < at.c1; j += n) {
        n = whole_columns(g, &at, j);
        for (int64_t kb = 0; kb < blocks; kb++)
            column_block(g, &at, kb, j, n, partial);
    }
}

void gemm_run(const gemm *g, hs_lane *lane)
{
    if (g->m <= 0) {   // no live rows: a chunk of a prompt wants no logits
        hs_sync(lane); // the plan counts on it (syncs_first)
        return;
    }
    const bool in_place = gemm_in_place(&g->a, 0, g->k, g->dot), few = g->m <= FEW_ROWS && hs_n_grains(g->m) < 4 * lane->n;
    const bool tile = g->m <= GEMM_MR && (in_place || lays_all(gemm_words(g->k, g->dot)));
    if (!(few && in_place && lane->n > 1) && !(tile && (lane->n > 1 || !g->packed))) {
        run_rows(g, lane);
        return;
    }
    hs_sync(lane); // members read one another's rows of A ...
    run_columns(g, lane);
    if (g->rows)
        hs_sync(lane); // ... and wrote one another's rows of C
}

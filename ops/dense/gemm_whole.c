// A whole product: how the team divides it, what is packed when, and what waits for whom.
//
// B is packed by the team into one slab if it fits SLAB_WORDS, else slab by slab into alternate halves, with one barrier each:
// whoever packs slab s + 2 has passed the barrier of s + 1, so all are done with s. A slab is all of k and some panels, or (C
// f32, or k long) some k blocks; then a low-precision C keeps its f32 sums in `own`, for chunks of rows.
#include "ops/dense/gemm.h"

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// A long k keeps the rows of such sums few; K_LONG is above every hidden width, below every vocabulary.
enum { SLAB_WORDS = 2 << 20, HALF_WORDS = SLAB_WORDS / 2, K_LONG = 8192, CHUNK_ROWS = 1024, FEW_ROWS = 512, NARROW = 256 };

static int64_t block_elements(bool dot) { return gemm_kw(dot) * (dot ? 2 : 1); } // of k, in all blocks but the last

typedef struct slabs {
    int64_t panels, blocks; // per slab
    int64_t all_panels, all_blocks;
    bool split_k;
} slabs;

static slabs slabs_of(int64_t n, int64_t k, bool dot, bool c_low)
{
    const int64_t kw = gemm_words(k, dot), all = gemm_panels(n), blocks = gemm_k_blocks(kw, dot);
    slabs s = { all, blocks, all, blocks, false };
    if (all * GEMM_NR * kw <= SLAB_WORDS)
        return s;
    if (c_low ? k > K_LONG : k > n) {
        s.split_k = true;
        s.panels = least(all, HALF_WORDS / (gemm_kw(dot) * GEMM_NR));
        s.blocks = HALF_WORDS / (s.panels * gemm_kw(dot) * GEMM_NR);
    } else {
        s.panels = HALF_WORDS / (blocks * gemm_kw(dot) * GEMM_NR);
        if (!s.panels) // not c_low: k is at most K_LONG there
            s = (slabs){ 1, HALF_WORDS / (gemm_kw(dot) * GEMM_NR), all, blocks, true };
    }
    return s;
}

size_t gemm_shared_bytes(int64_t n, int64_t k, bool dot)
{
    const int64_t words = gemm_panels(n) * GEMM_NR * gemm_words(k, dot);
    return (size_t)least(words, SLAB_WORDS) * 4;
}

// A k-major A whose panels few panels of B would read: to lay it out as it lies takes a quarter of the time (dw of 768 x 128 x 128 by one
// thread of a Zen 5: 80 -> 85 % of the peak in bf16, 77 -> 82 % in f32), and tiles read it as fast where a vector is a cache line.
static bool lays_wide(const gemm *g) { return GEMM_VL == 16 && !gemm_tiles(g->dot) && g->a.k_major && g->n <= NARROW; }

static int64_t block_words(int64_t kw, bool dot) // a block of A, laid either way
{
    const int64_t k = least(gemm_kw(dot), kw), panels = gemm_mc(dot) / GEMM_MR * gemm_tile_words(k), wide = GEMM_WIDE * k + GEMM_MR;
    return GEMM_VL == 16 && wide > panels ? wide : panels;
}

static bool lays_all(int64_t kw) { return kw <= K_LONG; } // of few rows that must be converted: as far as it is little scratch

// Few rows times a B that is used once: STRIP columns of a k block at a time, by each member of its own columns. A B that lies k-major is
// then read in pieces of several lines of each row, k block by k block, and the tiles of a strip ask for the next one; panel by panel it is
// a line of each row, pages apart, waited for.
enum { STRIP = 4 * GEMM_NR, STRIP_ROWS = 256, STRIP_PANELS = 4 }; // panels a member at least

static int64_t strip_words(int64_t m, int64_t n, int64_t k, bool dot)
{
    if (dot)
        return 0;
    const int64_t kw = least(GEMM_KW, k);
    return least(STRIP, gemm_panels(n) * GEMM_NR) * kw + (least(m, STRIP_ROWS) + GEMM_MR - 1) / GEMM_MR * gemm_tile_words(kw);
}

size_t gemm_own_bytes(int64_t m, int64_t n, int64_t k, bool dot, bool c_low)
{
    const int64_t kw = gemm_words(k, dot), columns = gemm_panels(n) * GEMM_NR;
    int64_t partial = 0;
    if (c_low && kw > gemm_kw(dot)) // the widest slab that any live k up to this one can have
        partial = k > K_LONG ? least(m, CHUNK_ROWS) * least(columns, HALF_WORDS / gemm_kw(dot))
                             : gemm_mc(dot) * least(columns, SLAB_WORDS / gemm_kw(dot));
    const int64_t by_rows = block_words(kw, dot) + partial;
    const int64_t deep = least(gemm_kw(dot), kw), laid = lays_all(kw) ? gemm_k_blocks(kw, dot) * gemm_tile_words(deep) : 0;
    const int64_t by_columns = (deep + least(m, FEW_ROWS)) * GEMM_NR + laid;
    const int64_t most = by_rows > by_columns ? by_rows : by_columns, strips = strip_words(m, n, k, dot);
    return (size_t)(most > strips ? most : strips) * 4;
}

// The k block kb of C[i0.., j0..], m x n. partial: where the f32 sums of a low-precision C wait for the last block.
static gemm_block block_of(const gemm *g, int64_t kb, int64_t blocks, int64_t i0, int64_t j0, int64_t m, int64_t n, const gemm_word *a,
                           int64_t lda, const gemm_word *b, float *partial, int64_t ld_partial)
{
    const int64_t kw = least(gemm_kw(g->dot), gemm_words(g->k, g->dot) - kb * gemm_kw(g->dot));
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
    return t;
}

static void one_block(const gemm *g, int64_t kb, int64_t blocks, int64_t i0, int64_t j0, int64_t m, int64_t n, const gemm_word *a,
                      int64_t lda, const gemm_word *b, float *partial, int64_t ld_partial)
{
    const gemm_block t = block_of(g, kb, blocks, i0, j0, m, n, a, lda, b, partial, ld_partial);
    gemm_block_run(&t);
}

static int64_t block_k(const gemm *g, int64_t kb) // elements of k block kb
{
    const int64_t per = block_elements(g->dot);
    return least(per, g->k - kb * per);
}

// Panel p of the k block that begins at word `before`, of `panels` in each block.
static gemm_word *panel_at(const gemm_word *slab, int64_t panels, int64_t before, int64_t p, int64_t kw)
{
    return (gemm_word *)slab + before * panels * GEMM_NR + p * kw * GEMM_NR;
}

// The team's share of packing slab (p0.., b0..). pressed: NULL, or of each of its panels.
static void pack_slab(const gemm *g, const hs_lane *lane, gemm_word *slab, int64_t p0, int64_t panels, int64_t b0, int64_t blocks,
                      uint8_t *pressed)
{
    int64_t i0, i1;
    hs_part_unit(lane, panels * blocks, 1, &i0, &i1);
    for (int64_t i = i0; i < i1; i++) {
        const int64_t kb = i / panels, p = i % panels, k = block_k(g, b0 + kb), kw = gemm_words(k, g->dot);
        const int64_t j = (p0 + p) * GEMM_NR;
        gemm_word *panel = panel_at(slab, panels, kb * gemm_kw(g->dot), p, kw);
        gemm_pack_b(panel, &g->b, (b0 + kb) * block_elements(g->dot), k, j, least(GEMM_NR, g->n - j), g->dot);
        if (pressed)
            pressed[i] = gemm_2of4_press(panel, kw, g->dot);
    }
}

void gemm_pack_share(gemm_word *packed, const gemm_in *b, int64_t n, int64_t k, bool dot, const hs_lane *lane)
{
    gemm_press_share(packed, NULL, b, n, k, dot, lane);
}

void gemm_press_share(gemm_word *packed, uint8_t *pressed, const gemm_in *b, int64_t n, int64_t k, bool dot, const hs_lane *lane)
{
    const gemm g = { .n = n, .k = k, .b = *b, .dot = dot };
    pack_slab(&g, lane, packed, 0, gemm_panels(n), 0, gemm_k_blocks(gemm_words(k, dot), dot), pressed);
}

typedef struct slab {
    int64_t p0, panels, b0, blocks;
    const gemm_word *words; // [blocks][panels], or all of b
} slab;

static bool is_pressed(const gemm *g, int64_t kb, int64_t p) { return g->pressed && g->pressed[kb * gemm_panels(g->n) + p]; }

// As one block, but that pressed panels are expanded first, each for these rows.
static void blocks_by_panel(const gemm *g, const slabs *s, const slab *at, int64_t kb, int64_t i, int64_t m, const gemm_word *a,
                            int64_t lda, float *partial)
{
    const int64_t kw = gemm_words(block_k(g, kb), g->dot), end = at->p0 + at->panels;
    for (int64_t p = at->p0, run; p < end; p += run) {
        const gemm_word *b = panel_at(at->words, s->all_panels, kb * gemm_kw(g->dot), p, kw);
        const bool pressed = is_pressed(g, kb, p);
        for (run = 1; !pressed && p + run < end && !is_pressed(g, kb, p + run); run++)
            ;
        if (pressed) {
            gemm_2of4_expand(g->room, b, kw, g->dot);
            b = g->room;
        }
        const int64_t j = p * GEMM_NR;
        one_block(g, kb, s->all_blocks, i, j, m, least(run * GEMM_NR, g->n - j), a, lda, b, partial ? partial + j - at->p0 * GEMM_NR : NULL,
                  s->panels * GEMM_NR);
    }
}

// Rows [i, i + m) of C: what a slab has for them. m is at most gemm_mc().
static void rows_by_slab(const gemm *g, const slabs *s, const slab *at, gemm_word *lay, int64_t i, int64_t m, float *partial)
{
    const int64_t j0 = at->p0 * GEMM_NR, n = least(at->panels * GEMM_NR, g->n - j0);
    const bool wide = lays_wide(g);
    for (int64_t kb = at->b0; kb < at->b0 + at->blocks; kb++) {
        const int64_t k = block_k(g, kb);
        int64_t lda;
        const gemm_word *a = (wide ? gemm_lay_wide : gemm_lay_a)(lay, &g->a, kb * block_elements(g->dot), k, i, m, g->dot, &lda);
        if (g->pressed) {
            blocks_by_panel(g, s, at, kb, i, m, a, lda, partial);
            continue;
        }
        const gemm_word *b = g->packed ? panel_at(at->words, s->all_panels, kb * gemm_kw(g->dot), at->p0, gemm_words(k, g->dot))
                                       : panel_at(at->words, at->panels, (kb - at->b0) * gemm_kw(g->dot), 0, 0);
        one_block(g, kb, s->all_blocks, i, j0, m, n, a, lda, b, partial, s->panels * GEMM_NR);
    }
}

// Where rows need not be a certain member's, one that is ready takes over what a late one has not begun, four tiles at least: a core that
// other work takes for a moment would be waited for by all. Where they should be, all meet behind it: of packed products, which have no
// other barrier.
enum { TAKE_OVER = 4 };

// Of packed products: slabs of the rows that a member takes.
static void run_taken(const gemm *g, hs_lane *lane, const slabs *s, gemm_word *lay, float *partial)
{
    const int64_t piece = gemm_unit(g->dot);
    for (int64_t t0, t1; hs_take(lane, gemm_mc(g->dot) / piece, TAKE_OVER, &t0, &t1);)
        for (int64_t p0 = 0; p0 < s->all_panels; p0 += s->panels)
            for (int64_t b0 = 0; b0 < s->all_blocks; b0 += s->blocks) {
                const slab at = { p0, least(s->panels, s->all_panels - p0), b0, least(s->blocks, s->all_blocks - b0), g->packed };
                rows_by_slab(g, s, &at, lay, t0 * piece, least(t1 * piece, g->m) - t0 * piece, partial);
            }
    if (g->rows)
        hs_sync(lane);
}

static void run_rows(const gemm *g, hs_lane *lane)
{
    const bool low = g->c.dtype != HS_F32;
    const slabs s = slabs_of(g->n, g->k, g->dot, low);
    const bool chunked = low && s.split_k, deals = !chunked && lane->n > 1 && (g->packed || !g->rows);
    const int64_t piece = gemm_unit(g->dot), unit = g->rows && !deals ? HS_GRAIN : piece;
    int64_t r0, r1;
    hs_part_unit(lane, g->m, unit, &r0, &r1);
    gemm_word *own = (gemm_word *)g->own, *lay = g->n < NARROW && gemm_in_place(&g->a, 0, g->k, g->dot) ? NULL : own;
    const int64_t most = ((g->m + unit - 1) / unit + lane->n - 1) / lane->n * unit;
    const int64_t step = chunked ? CHUNK_ROWS : most + 1;
    float *partial = low && s.all_blocks > 1 ? (float *)(own + block_words(gemm_words(g->k, g->dot), g->dot)) : NULL;
    int count = 0;
    if (g->packed && deals)
        hs_deal(lane, r0 / piece, (r1 + piece - 1) / piece);
    if (g->packed)
        hs_sync(lane);
    if (g->packed && deals) {
        run_taken(g, lane, &s, lay, partial);
        return;
    }
    for (int64_t c = 0; c < most || c == 0; c += step)
        for (int64_t p0 = 0; p0 < s.all_panels; p0 += s.panels)
            for (int64_t b0 = 0; b0 < s.all_blocks; b0 += s.blocks) {
                slab at = { p0, least(s.panels, s.all_panels - p0), b0, least(s.blocks, s.all_blocks - b0), g->packed };
                if (!g->packed) {
                    gemm_word *words = (gemm_word *)g->shared + (count++ & 1) * (int64_t)HALF_WORDS;
                    at.words = words;
                    if (deals)
                        hs_deal(lane, r0 / piece, (r1 + piece - 1) / piece);
                    pack_slab(g, lane, words, p0, at.panels, b0, at.blocks, NULL);
                    hs_sync(lane);
                }
                for (int64_t t0, t1; deals && hs_take(lane, gemm_mc(g->dot) / piece, TAKE_OVER, &t0, &t1);)
                    rows_by_slab(g, &s, &at, lay, t0 * piece, least(t1 * piece, g->m) - t0 * piece, partial);
                for (int64_t i = r0 + c, end = deals ? i : least(r1, i + step); i < end; i += gemm_mc(g->dot))
                    rows_by_slab(g, &s, &at, lay, i, least(gemm_mc(g->dot), end - i),
                                 chunked ? partial + (i - r0 - c) * s.panels * GEMM_NR : partial);
            }
}

// Few rows: members divide the columns instead, each packing its own, or starting anywhere within a packed panel where there are few of
// them. A that must be converted is: by each member, all k of no more than a tile of rows. Of pressed panels the fewest read what is there,
// others expand it.
typedef struct columns {
    int64_t c0, c1, blocks, deep; // words of k of the longest block
    gemm_word *panel;             // packed here
    const gemm_word *lay;         // A, where it must be converted
    int64_t lda;                  // of that: 0, or the words of a block
    bool in_place, reads_pressed;
    float *partial; // sums of a low-precision C
    int64_t ld_partial;
} columns;

// Columns [j, j + n) and k block kb.
static void column_block(const gemm *g, const columns *at, int64_t kb, int64_t j, int64_t n, float *partial)
{
    const int64_t per = block_elements(g->dot), k = block_k(g, kb), words = gemm_words(k, g->dot);
    int64_t lda = at->lda ? words : 0;
    const gemm_word *b = at->panel, *a = at->lay + kb * gemm_tile_words(at->deep);
    const bool pressed = g->packed && is_pressed(g, kb, j / GEMM_NR);
    if (g->packed)
        b = panel_at(g->packed, gemm_panels(g->n), kb * gemm_kw(g->dot), j / GEMM_NR, words);
    else
        gemm_pack_b(at->panel, &g->b, kb * per, k, j, n, g->dot);
    if (pressed && !at->reads_pressed) {
        gemm_2of4_expand(at->panel, b, words, g->dot);
        b = at->panel;
    }
    if (g->packed)
        b += j % GEMM_NR;
    if (at->in_place)
        a = gemm_lay_a(NULL, &g->a, kb * per, k, 0, g->m, g->dot, &lda);
    gemm_block t = block_of(g, kb, at->blocks, 0, j, g->m, n, a, lda, b, partial, at->ld_partial);
    t.pressed = pressed && at->reads_pressed;
    gemm_block_run(&t);
}

static bool is_finite(const gemm_word *a, int64_t lda, int64_t rows, int64_t kw, bool dot)
{
    const gemm_word low = dot ? 0x7F80 : 0, high = 0x7F800000;
    uint32_t bad = 0;
    for (int64_t r = 0; r < rows; r++, a += lda) {
        HS_SIMD_SUM(bad)
        for (int64_t i = 0; i < kw; i++)
            bad += (a[i] & high) == high || (low && (a[i] & low) == low);
    }
    return !bad;
}

// A is converted where it must be, and looked at: are its rows such that pressed panels give what whole ones do?
static void lay_columns_a(const gemm *g, columns *at)
{
    const bool few = g->pressed && g->m <= GEMM_2OF4_ROWS;
    at->reads_pressed = few;
    for (int64_t kb = 0; kb < at->blocks && (few || !at->in_place); kb++) {
        const int64_t k = block_k(g, kb), k0 = kb * block_elements(g->dot), words = gemm_words(k, g->dot);
        gemm_word *lay = (gemm_word *)at->lay + kb * gemm_tile_words(at->deep);
        int64_t lda;
        const gemm_word *a = at->in_place ? gemm_lay_a(NULL, &g->a, k0, k, 0, g->m, g->dot, &lda)
                                          : (few ? gemm_lay_rows : gemm_lay_a)(lay, &g->a, k0, k, 0, g->m, g->dot, &lda);
        at->lda = lda;
        at->reads_pressed = at->reads_pressed && is_finite(a, lda, g->m, words, g->dot);
    }
}

// Packed columns of several tiles of rows: pieces of a panel and some of its rows, given out to whoever is free.
enum { PIECE_ROWS = 6 * GEMM_MR };
static int64_t piece_rows(const gemm *g) { return g->pressed ? g->m : PIECE_ROWS; } // a panel is expanded once

static int64_t column_pieces(const gemm *g, const hs_lane *lane)
{
    const bool low_in_blocks = g->c.dtype != HS_F32 && g->k > block_elements(g->dot);
    return lane->n > 1 && g->packed && g->m > GEMM_MR && !low_in_blocks ? (g->m + piece_rows(g) - 1) / piece_rows(g) : 0;
}

static void run_piece(const gemm *g, const columns *at, int64_t of_panel, int64_t i)
{
    const int64_t r = i % of_panel * piece_rows(g), j = i / of_panel * GEMM_NR;
    gemm part = *g;
    part.m = least(piece_rows(g), g->m - r);
    part.a.p = (const char *)g->a.p + (size_t)(r * g->a.ld) * hs_dtype_bytes(g->a.dtype);
    part.c.p = (char *)g->c.p + (size_t)(r * g->c.ld) * hs_dtype_bytes(g->c.dtype);
    for (int64_t kb = 0; kb < at->blocks; kb++)
        column_block(&part, at, kb, j, least(GEMM_NR, g->n - j), NULL);
}

static int64_t whole_columns(const gemm *g, const columns *at, int64_t j)
{
    return least(GEMM_NR - (g->packed ? j % GEMM_NR : 0), at->c1 - j);
}

static void run_columns(const gemm *g, hs_lane *lane)
{
    const int64_t kw = gemm_words(g->k, g->dot), blocks = gemm_k_blocks(kw, g->dot);
    const int64_t unit = g->packed && gemm_panels(g->n) >= 4 * lane->n ? GEMM_NR : GEMM_VL;
    const int64_t deep = least(gemm_kw(g->dot), kw);
    gemm_word *panel = (gemm_word *)g->own, *lay = panel + (deep + least(g->m, FEW_ROWS)) * GEMM_NR;
    columns at = { .blocks = blocks, .deep = deep, .panel = panel, .lay = lay, .ld_partial = GEMM_NR };
    at.in_place = gemm_in_place(&g->a, 0, g->k, g->dot);
    float *partial = g->c.dtype != HS_F32 && blocks > 1 ? (float *)(panel + deep * GEMM_NR) : NULL;
    const int64_t of_panel = column_pieces(g, lane);
    for (int64_t i0, i1; of_panel && hs_take(lane, 1, 1, &i0, &i1);)
        run_piece(g, &at, of_panel, i0);
    if (of_panel)
        return;
    hs_part_unit(lane, g->n, unit, &at.c0, &at.c1);
    if (at.c0 < at.c1)
        lay_columns_a(g, &at);
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

// A B whose k is contiguous is read in pieces anyway: it gains from 128 rows on, by what it need not wait for others.
static bool by_strips(const gemm *g, const hs_lane *lane)
{
    const bool worth =
        g->m > (g->b.k_major ? GEMM_MR : STRIP_ROWS / 2) && g->m <= STRIP_ROWS && gemm_panels(g->n) >= STRIP_PANELS * lane->n;
    return worth && !g->dot && !g->packed && g->c.dtype == HS_F32 && gemm_in_place(&g->a, 0, g->k, false);
}

static void run_strips(const gemm *g, hs_lane *lane)
{
    const int64_t blocks = g->k <= GEMM_KW ? 1 : (g->k + GEMM_KW - 1) / GEMM_KW;
    gemm_word *panels = (gemm_word *)g->own, *lay = panels + STRIP * least(GEMM_KW, g->k);
    int64_t c0, c1, lda;
    hs_part_unit(lane, g->n, GEMM_NR, &c0, &c1);
    for (int64_t kb = 0; kb < blocks && c0 < c1; kb++) {
        const int64_t k = block_k(g, kb);
        const gemm_word *a = gemm_lay_a(lay, &g->a, kb * GEMM_KW, k, 0, g->m, g->dot, &lda);
        for (int64_t j = c0; j < c1; j += STRIP) {
            const bool turns = j + STRIP >= c1; // to the next k block
            gemm_pack_b(panels, &g->b, kb * GEMM_KW, k, j, least(STRIP, c1 - j), g->dot);
            gemm_block t = block_of(g, kb, blocks, 0, j, g->m, least(STRIP, c1 - j), a, lda, panels, NULL, 0);
            if (g->b.k_major && g->b.dtype == HS_F32 && !(turns && kb + 1 == blocks)) {
                t.fetch = (const char *)g->b.p + ((kb + turns) * GEMM_KW * g->b.ld + (turns ? c0 : j + STRIP)) * 4;
                t.fetch_rows = turns ? block_k(g, kb + 1) : k, t.fetch_ld = g->b.ld * 4;
            }
            gemm_block_run(&t);
        }
    }
}

static void run_live(const gemm *g, hs_lane *lane)
{
    const bool in_place = gemm_in_place(&g->a, 0, g->k, g->dot), few = g->m <= FEW_ROWS && hs_n_grains(g->m) < 4 * lane->n;
    const bool tile = g->m <= GEMM_MR && (in_place || lays_all(gemm_words(g->k, g->dot)));
    const bool strips = by_strips(g, lane);
    if (!strips && !(few && in_place && lane->n > 1) && !(tile && (lane->n > 1 || !g->packed || g->pressed))) {
        run_rows(g, lane);
        return;
    }
    const int64_t of_panel = strips ? 0 : column_pieces(g, lane);
    int64_t i0, i1;
    hs_part_unit(lane, gemm_panels(g->n) * of_panel, 1, &i0, &i1);
    if (of_panel)
        hs_deal(lane, i0, i1);
    hs_sync(lane); // members read one another's rows of A ...
    if (strips)
        run_strips(g, lane);
    else
        run_columns(g, lane);
    if (g->rows)
        hs_sync(lane); // ... and wrote one another's rows of C
}

void gemm_run(const gemm *g, hs_lane *lane)
{
    if (g->m <= 0) {   // no live rows: a chunk of a prompt wants no logits
        hs_sync(lane); // the plan counts on it (syncs_first)
        return;
    }
    gemm_begin(g->dot);
    run_live(g, lane);
    gemm_end(g->dot);
}

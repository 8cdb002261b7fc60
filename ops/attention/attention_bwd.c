// Backward of attention: weights are computed again from lse, block by block.
//
//   p = exp(scale q k^T - lse)     dv = p^T dy     ds = scale p (dy v^T - delta)     delta[i] = dy[i] . y[i]     dq = ds k     dk = ds^T q
//
// With dropout, factor f: y = (f p) v, so dv takes f p and ds = scale p (f dy v^T - delta). One member does a whole (sequence,
// head) - blocks of keys outside, blocks of queries inside - so that dk, dv and dq are sums in one order. Where key ranges of
// sequences overlap (several queries' sequences over one encoding), it does all sequences of a head, in order.

#include "core/cpu/vmath.h"
#include "ops/attention/attention.h"

enum { QB = 16 * GEMM_MR, KB = 3 * 64 }; // whole tiles both ways in the AVX-512 tiers
_Static_assert(QB % ATT_CUT == 0, "whole cuts");

typedef struct laid_rows { // all queries, or dy, as left-hand sides: blocks of QB rows, `step` words apart
    const gemm_word *p;
    int64_t lda, step;
} laid_rows;

typedef struct work {
    const hs_args *a;
    const att_shape *s;
    const att_seq *q;
    int64_t h, d_cols, dw, block; // d in whole panels, d in words, words of a block of packed queries
    hs_drop drop;
    bool drops, want_q, want_kv;
    const hs_ref *dkv;
    gemm_word *kt, *vt, *k; // a block of keys: k^T, v^T, k
    gemm_word *x, *dy;      // all queries and dy, packed for dk, dv
    gemm_word *x_rows, *dy_rows, *p_cols, *ds_cols, *ds_rows;
    float *p, *ds, *dq, *dk, *dv, *delta, *factor;
    void *stage; // a block of keys or values from pages apart
    laid_rows x_laid, dy_laid;
} work;

static size_t carve(work *w, char *own, int64_t n_queries, int64_t d, bool paged)
{
    const int64_t cols = gemm_panels(d) * GEMM_NR, blocks = (n_queries + QB - 1) / QB, pad = GEMM_MR;
    const int64_t words[] = { KB * d,
                              KB * d,
                              KB * cols,
                              blocks * QB * cols,
                              blocks * QB * cols,
                              blocks * att_row_words(QB, d),
                              blocks * att_row_words(QB, d),
                              QB * KB / 2 + pad,
                              QB * KB / 2 + pad,
                              QB * KB / 2,
                              QB * KB + pad,
                              QB * KB + pad,
                              blocks * QB * cols,
                              KB * cols,
                              KB * cols,
                              blocks * QB,
                              2 * KB,
                              paged ? KB * d : 0 };
    char *at[HS_COUNT(words)];
    size_t bytes = 0;
    for (int i = 0; i < HS_COUNT(words); i++) {
        at[i] = own ? own + bytes : NULL;
        bytes += ((size_t)words[i] * 4 + 63) / 64 * 64;
    }
    if (!own)
        return bytes;
    gemm_word **packed[] = { &w->kt, &w->vt, &w->k, &w->x, &w->dy, &w->x_rows, &w->dy_rows, &w->p_cols, &w->ds_cols, &w->ds_rows };
    float **wide[] = { &w->p, &w->ds, &w->dq, &w->dk, &w->dv, &w->delta, &w->factor };
    for (int i = 0; i < HS_COUNT(packed); i++)
        *packed[i] = (gemm_word *)at[i];
    for (int i = 0; i < HS_COUNT(wide); i++)
        *wide[i] = (float *)at[HS_COUNT(packed) + i];
    w->stage = at[HS_COUNT(packed) + HS_COUNT(wide)];
    w->d_cols = cols;
    return bytes;
}

size_t hs_attention_backward_scratch(int64_t n_queries, int64_t d, bool paged) { return carve(NULL, NULL, n_queries, d, paged); }

static gemm_in slice(const hs_ref *r, int64_t row, int64_t col, bool k_major)
{
    return (gemm_in){ att_cell(r, row, col), r->cols, r->dtype, k_major };
}

static laid_rows lay_rows(const work *w, gemm_word *buf, const hs_ref *r)
{
    const att_shape *s = w->s;
    const gemm_in in = slice(r, w->q->q0, w->h * s->d, false);
    laid_rows l = { .step = att_row_words(QB, s->d) };
    for (int64_t i = 0; i < w->q->nq; i += QB) {
        const gemm_word *p = gemm_lay_a(buf + i / QB * l.step, &in, 0, s->d, i, att_least(QB, w->q->nq - i), s->dot, &l.lda);
        l.p = i ? l.p : p;
    }
    l.step = l.p == buf ? l.step : QB * l.lda; // where they lie
    return l;
}

// delta; queries and dy laid for scores and their gradients, and packed as the right-hand sides of dk and dv.
static void prepare_queries(work *w)
{
    const att_shape *s = w->s;
    const hs_ref *y = &w->a->out[ATT_Y], *dy = &w->a->dout[ATT_Y];
    const int64_t col = w->h * s->d;
    const gemm_in x = slice(&w->a->in[ATT_QKV], w->q->q0, col, true), g = slice(dy, w->q->q0, col, true);
    for (int64_t i = 0; i < w->q->nq; i += QB) {
        const int64_t m = att_least(QB, w->q->nq - i);
        gemm_pack_b(w->x + i / QB * w->block, &x, i, m, 0, s->d, s->dot);
        gemm_pack_b(w->dy + i / QB * w->block, &g, i, m, 0, s->d, s->dot);
    }
    w->x_laid = lay_rows(w, w->x_rows, &w->a->in[ATT_QKV]), w->dy_laid = lay_rows(w, w->dy_rows, dy);
    float *a = w->p, *b = w->ds;
    for (int64_t i = 0; i < w->q->nq; i++) {
        const int64_t cell = (w->q->q0 + i) * s->width + col;
        const float *yi = hs_load(y, cell, s->d, a), *gi = hs_load(dy, cell, s->d, b);
        float sum = 0;
        HS_SIMD_SUM(sum)
        for (int64_t c = 0; c < s->d; c++)
            sum += yi[c] * gi[c];
        w->delta[i] = sum;
    }
}

// C[m, n] (+)= scale A B on this unit's blocks, but for A.
static gemm_block product(const work *w, float *c, int64_t ldc, bool add, int64_t m, int64_t n, int64_t kw, const gemm_word *b, int64_t ldb,
                          float scale)
{
    gemm_block t = { .m = m, .n = n, .kw = kw, .b = b, .ldb = ldb, .dot = w->s->dot, .scale = scale };
    t.base = add ? c : NULL, t.ld_base = ldc;
    t.to = (gemm_out){ .p = c, .ld = ldc, .dtype = HS_F32 };
    return t;
}
static void by_rows(gemm_block t, const gemm_word *a, int64_t lda, int64_t r)
{
    gemm_block_rows(&t, a, lda, r);
    gemm_block_run(&t);
}
static void by_columns(gemm_block t, const gemm_word *a) // a k-major block of KB columns
{
    t.a = a, t.lda = KB, t.tile_words = GEMM_MR;
    gemm_block_run(&t);
}

// Row r of a block: scores and dy v^T become weights (times factor) and ds, zero beyond `seen` up to `width`.
static void weigh(work *w, int64_t r, int64_t i, int64_t j0, int64_t seen, int64_t width)
{
    float *p = w->p + r * KB, *ds = w->ds + r * KB;
    const float lse = ((const float *)w->a->out[ATT_LSE].p)[(w->q->q0 + i) * w->s->heads + w->h];
    const float delta = w->delta[i], scale = w->s->scale;
    for (int64_t j = seen > 0 ? seen : 0; j < width; j++)
        p[j] = -INFINITY, ds[j] = 0;
    if (!w->drops) {
        HS_SIMD
        for (int64_t j = 0; j < width; j++) {
            p[j] = hs_expf_below(p[j] - lse);
            ds[j] = p[j] * (ds[j] - delta) * scale;
        }
        return;
    }
    const int32_t *where = hs_i32(w->a, ATT_WHERE) + 2 * (w->q->q0 + i);
    const float *f = w->factor;
    hs_drop_factors(&w->drop, where[0], where[1], w->s->plane + (int32_t)w->h, j0, width, w->factor);
    HS_SIMD
    for (int64_t j = 0; j < width; j++) {
        const float e = hs_expf_below(p[j] - lse);
        p[j] = e * f[j];
        ds[j] = e * (f[j] * ds[j] - delta) * scale;
    }
}

// Rows r and r + 1 (r + 1 == m: a row of zeros) as bf16: ds by rows, and both as words of two neighbours in the queries.
static void narrow_pair(work *w, int64_t r, int64_t m, int64_t width)
{
    static const float zero[KB];
    const float *p0 = w->p + r * KB, *d0 = w->ds + r * KB, *p1 = r + 1 < m ? p0 + KB : zero, *d1 = r + 1 < m ? d0 + KB : zero;
    gemm_word *p = w->p_cols + r / 2 * KB, *d = w->ds_cols + r / 2 * KB;
    uint16_t *row0 = (uint16_t *)w->ds_rows + r * KB, *row1 = row0 + (r + 1 < m ? KB : 0);
    HS_SIMD
    for (int64_t j = 0; j < width; j++)
        p[j] = hs_f32_bf16(p0[j]) | (uint32_t)hs_f32_bf16(p1[j]) << 16;
    if (r + 1 < m)
        hs_store_bf16(row1, d1, width);
    hs_store_bf16(row0, d0, width);
    HS_SIMD
    for (int64_t j = 0; j < width; j++)
        d[j] = hs_f32_bf16(d0[j]) | (uint32_t)hs_f32_bf16(d1[j]) << 16;
}

// Rows [r, r + n) of the block of queries from i0 on: weights and ds of the first `seen` of keys [j0, j0 + nb), and their part of dq.
static void rows_of_block(work *w, int64_t i0, int64_t r, int64_t n, int64_t j0, int64_t nb, int64_t seen)
{
    const att_shape *s = w->s;
    const int64_t width = (seen + 15) / 16 * 16, ldb = w->dw * GEMM_NR, b = i0 / QB;
    by_rows(product(w, w->p + r * KB, KB, false, n, seen, w->dw, w->kt, ldb, s->scale), w->x_laid.p + b * w->x_laid.step, w->x_laid.lda, r);
    by_rows(product(w, w->ds + r * KB, KB, false, n, seen, w->dw, w->vt, ldb, 1), w->dy_laid.p + b * w->dy_laid.step, w->dy_laid.lda, r);
    for (int64_t i = r; i < r + n; i++) {
        weigh(w, i, i0 + i, j0, att_least(nb, att_seen(s, w->q, i0 + i) - j0), width);
        if (s->dot && (i & 1 || i + 1 == r + n))
            narrow_pair(w, i & ~(int64_t)1, r + n, width);
    }
    if (w->want_q)
        by_rows(product(w, w->dq + (i0 + r) * w->d_cols, w->d_cols, j0 > 0, n, s->d, gemm_words(seen, s->dot), w->k,
                        gemm_words(nb, s->dot) * GEMM_NR, 1),
                s->dot ? w->ds_rows : (const gemm_word *)w->ds, s->dot ? KB / 2 : KB, r);
}

// Queries [i0, i0 + m) against keys [j0, j0 + nb), of which they see some. Keys that only rows from r on see get no more than those rows.
static void block(work *w, int64_t i0, int64_t m, int64_t j0, int64_t nb)
{
    const att_shape *s = w->s;
    const int64_t first = att_seen(s, w->q, i0) - j0, last = att_seen(s, w->q, i0 + m - 1) - j0;
    const int64_t step = att_together(m, first, last, nb), ldb = gemm_words(m, s->dot) * GEMM_NR;
    int64_t before = 0;
    for (int64_t r = 0; r < m; r += step) {
        const int64_t n = att_least(step, m - r), seen = att_least(nb, att_seen(s, w->q, i0 + r + n - 1) - j0);
        if (seen > 0)
            rows_of_block(w, i0, r, n, j0, nb, seen);
    }
    for (int64_t r = 0; r < m && w->want_kv; r += step) {
        const int64_t n = att_least(step, m - r), seen = att_least(nb, att_seen(s, w->q, i0 + r + n - 1) - j0);
        if (seen <= before)
            continue;
        const int64_t skip = gemm_words(r, s->dot), qw = gemm_words(m, s->dot) - skip, b = i0 / QB * w->block + skip * GEMM_NR;
        const int64_t a = skip * KB + before, to = before * w->d_cols;
        by_columns(product(w, w->dv + to, w->d_cols, true, seen - before, s->d, qw, w->dy + b, ldb, 1),
                   (s->dot ? w->p_cols : (const gemm_word *)w->p) + a);
        by_columns(product(w, w->dk + to, w->d_cols, true, seen - before, s->d, qw, w->x + b, ldb, 1),
                   (s->dot ? w->ds_cols : (const gemm_word *)w->ds) + a);
        before = seen;
    }
}

static void sequence(work *w, bool add_kv)
{
    const att_shape *s = w->s;
    const att_seq *q = w->q;
    const int64_t d = s->d, k_col = s->k_col + w->h * d, most = q->nq ? att_seen(s, q, q->nq - 1) : 0;
    prepare_queries(w);
    for (int64_t j0 = 0; j0 < q->nk; j0 += KB) {
        const int64_t nb = att_least(KB, q->nk - j0);
        memset(w->dk, 0, (size_t)(nb * w->d_cols) * sizeof(float));
        memset(w->dv, 0, (size_t)(nb * w->d_cols) * sizeof(float));
        if (j0 < most) {
            gemm_in k = att_keys(w->a, s, q, j0, nb, k_col, false, w->stage);
            gemm_pack_b(w->kt, &k, 0, d, 0, nb, s->dot);
            k.k_major = true;
            gemm_pack_b(w->k, &k, 0, nb, 0, d, s->dot);
            const gemm_in v = att_keys(w->a, s, q, j0, nb, k_col + s->width, false, w->stage);
            gemm_pack_b(w->vt, &v, 0, d, 0, nb, s->dot);
        }
        for (int64_t i0 = 0; i0 < q->nq; i0 += QB) {
            const int64_t m = att_least(QB, q->nq - i0);
            if (att_seen(s, q, i0 + m - 1) > j0)
                block(w, i0, m, j0, nb);
        }
        hs_ref to = w->want_kv ? *w->dkv : (hs_ref){ 0 };
        to.add |= add_kv;
        for (int64_t j = 0; j < nb && w->want_kv; j++) {
            int64_t one = 1;
            const int64_t cell = att_key_row(s, q, j0 + j, &one) * to.cols + k_col;
            hs_store(&to, cell, d, w->dk + j * w->d_cols);
            hs_store(&to, cell + s->width, d, w->dv + j * w->d_cols);
        }
    }
    const hs_ref *dqkv = &w->a->din[ATT_QKV];
    for (int64_t i = 0; i < q->nq && w->want_q; i++) {
        float *row = w->dq + i * w->d_cols;
        if (att_seen(s, q, i) <= 0)
            memset(row, 0, (size_t)d * sizeof(float));
        hs_store(dqkv, (q->q0 + i) * dqkv->cols + w->h * d, d, row);
    }
}

// Do the sequences' key ranges rise without overlap?
static bool ranges_rise(const hs_args *a, const att_shape *s)
{
    int64_t end = 0;
    for (int64_t b = 0; b < s->n_seqs; b++) {
        const att_seq q = att_seq_of(a, s, b);
        if (q.nk && (q.pages || q.k0 < end))
            return false;
        end = q.nk ? q.k0 + q.nk : end;
    }
    return true;
}

// Gradients of rows that no sequence touches are zero, and so are those of k and v beside queries that look elsewhere.
static void zero_rest(const hs_args *a, const att_shape *s, const hs_ref *dkv, bool apart, hs_lane *lane)
{
    const hs_ref *dqkv = &a->din[ATT_QKV];
    if (dqkv->p && !dqkv->add) {
        att_zero_others(a, s, dqkv, false, 0, s->width, lane);
        if (s->kv == ATT_KV && dqkv->cols > s->width)
            att_zero(dqkv, 0, s->n_rows, s->width, 2 * s->width, lane);
    }
    if (dkv->p && !dkv->add) {
        if (apart)
            att_zero_others(a, s, dkv, true, s->k_col, 2 * s->width, lane);
        else
            att_zero(dkv, 0, s->n_key_rows, s->k_col, 2 * s->width, lane);
    }
}

void hs_attention_backward(const hs_args *a, hs_lane *lane)
{
    const hs_attention_attr *at = a->attr;
    const att_shape s = att_shape_of(a);
    work w = {
        .a = a, .s = &s, .drops = at->dropout > 0, .dkv = &a->din[s.kv], .want_q = hs_wanted(a, ATT_QKV), .want_kv = hs_wanted(a, s.kv)
    };
    if (!w.want_q && !w.want_kv)
        return;
    if (w.drops)
        w.drop = hs_drop_of(a, at->dropout);
    carve(&w, hs_thread_scratch(a, lane), a->in[ATT_QKV].rows, s.d, s.page > 0);
    w.dw = gemm_words(s.d, s.dot), w.block = gemm_words(QB, s.dot) * w.d_cols;
    const bool apart = ranges_rise(a, &s);
    zero_rest(a, &s, w.dkv, apart, lane);
    if (!apart)
        hs_sync(lane);
    gemm_begin(s.dot);
    att_deal deal = { 0 };
    for (int pass = 0; pass < 2; pass++) // what it costs, then who does it
        for (int64_t u = 0; u < s.heads * (apart ? s.n_seqs : 1); u++) {
            const int64_t b0 = apart ? u / s.heads : 0, b1 = apart ? b0 + 1 : s.n_seqs;
            double cells = 64;
            for (int64_t b = b0; b < b1; b++) {
                const att_seq q = att_seq_of(a, &s, b);
                cells += (double)q.nq * (double)q.nk;
            }
            if (!pass)
                deal.total += cells;
            else if (att_take(&deal, cells, lane))
                for (int64_t b = b0; b < b1; b++) {
                    const att_seq q = att_seq_of(a, &s, b);
                    w.q = &q, w.h = u % s.heads;
                    sequence(&w, !apart);
                }
        }
    gemm_end(s.dot);
}

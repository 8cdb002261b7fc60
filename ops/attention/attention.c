// attention: softmax of scaled dot products with the keys, times the values, per sequence and head.
//
//   y[i] = sum over j of p[i,j] v[j]      p[i,j] = exp(scale q[i].k[j] - lse[i])      lse[i] = log sum over j of exp(scale q[i].k[j])
//
// Blocks of keys pass by blocks of queries with a running maximum and sum (Dao 2023, arXiv:2307.08691), so nothing of size
// queries x keys exists; blocks that causality hides are skipped. Only lse is saved. A member computes a (sequence, head, up
// to CHUNK queries) on its own and every sum has one order: the bits do not depend on the team, nor a query's on how many there are: blocks
// begin at the same keys, and what a query does not see adds zeros. Who is done takes what another has not begun. A few queries over a long
// cache (decoding) read values where they lie.

#include "ops/attention/attention.h"
#include "core/cpu/vmath.h"
#include "ops/attention/attention_cases.h"
#include "ops/attention/attention_units.h"
#include "ops/attention/few_scores.h"

enum { QB = GEMM_HAS_TILES ? 3 * GEMM_TILE_ROWS : 8 * GEMM_MR, KB = 3 * 64, CHUNK = 512, BLOCKS = (CHUNK + QB - 1) / QB, FEW = 4 };
_Static_assert(KB % GEMM_NR == 0, "panels");

static const char *shape(hs_node *n)
{
    const hs_attention_attr *at = n->attr;
    const hs_tensor *qkv = n->in[ATT_QKV], *starts = n->in[ATT_STARTS], *keys = n->in[ATT_KEYS], *kv = n->in[ATT_KV],
                    *where = n->in[ATT_WHERE], *pages = n->in[ATT_PAGES];
    if (qkv->n_dims != 2 || (kv && kv->n_dims != 2))
        return "qkv and kv must be rows of one width";
    const int64_t width = kv ? kv->dim[1] / 2 : qkv->dim[1] / 3;
    if (kv ? kv->dim[1] != 2 * width || (qkv->dim[1] != width && qkv->dim[1] != 3 * width) : qkv->dim[1] != 3 * width)
        return "qkv must be [N, 3C], or [N, C] with kv [R, 2C]";
    if (at->first_head < 0)
        return "the first head must be 0 or above";
    if (at->heads < 1 || width % at->heads)
        return "the heads must divide the width C";
    if (width / at->heads % 8)
        return "the width of a head must be a multiple of 8: pad it";
    if (starts->dtype != HS_I32 || starts->n_dims != 1 || starts->dim[0] < 2)
        return "starts must be i32 [sequences + 1]";
    if (keys && (keys->dtype != HS_I32 || keys->n_dims != 2 || keys->dim[0] != starts->dim[0] - 1 || keys->dim[1] != 3))
        return "keys must be i32 [sequences, 3]";
    if (kv && !keys)
        return "kv needs keys";
    if (pages && (!kv || pages->dtype != HS_I32 || pages->n_dims != 2 || pages->dim[0] != starts->dim[0] - 1))
        return "pages must be i32 [sequences, pages of one], and come with kv";
    if (!pages != !at->page_rows || at->page_rows < 0 || at->page_rows % 8 || (kv && kv->dim[0] < at->page_rows))
        return "the rows of a page must be a multiple of 8, within kv, and come with pages";
    if (at->longest < 0 || (at->longest && kv) || (at->full && at->longest * (starts->dim[0] - 1) != qkv->dim[0]))
        return "the longest sequence must be 0 with kv, and full sequences take all rows";
    if (!(at->dropout >= 0 && at->dropout < 1))
        return "dropout must be in [0, 1)";
    if (at->dropout > 0 && !where)
        return "dropout needs where";
    if (where &&
        (where->dtype != HS_I32 || where->n_dims != 2 || where->dim[0] != qkv->dim[0] || where->dim[1] != 2 || where->ext != qkv->ext))
        return "where must be i32 [N, 2]";
    hs_shape_rows(n->out[ATT_Y], qkv, width);
    hs_shape_rows(n->out[ATT_LSE], qkv, at->heads);
    return NULL;
}

// Lengths are not known when planned: as if all sequences were equally long.
static hs_cost cost(const hs_node *n, bool backward)
{
    const hs_attention_attr *at = n->attr;
    const hs_tensor *from = n->in[ATT_KV] ? n->in[ATT_KV] : n->in[ATT_QKV];
    const double seqs = (double)n->in[ATT_STARTS]->dim[0] - 1, keys = (double)from->dim[0] / seqs;
    const double cells = (double)hs_tensor_count(n->out[ATT_Y]) * keys * (at->causal && !n->in[ATT_KV] ? 0.5 : 1.0);
    return (hs_cost){ .flops = (backward ? 10 : 4) * cells, .bytes = hs_traffic(n, backward) };
}

void hs_attention_reference(const hs_args *a)
{
    const hs_attention_attr *at = a->attr;
    const att_shape s = att_shape_of(a);
    const int64_t C = s.width, W = a->in[ATT_QKV].cols, KW = a->in[s.kv].cols;
    const hs_drop drop = at->dropout > 0 ? hs_drop_of(a, at->dropout) : (hs_drop){ 0 };
    memset(a->out[ATT_Y].p, 0, (size_t)(s.n_rows * C) * sizeof(double));
    for (int64_t b = 0; b < s.n_seqs; b++)
        for (int64_t h = 0; h < s.heads; h++) {
            const att_seq q = att_seq_of(a, &s, b);
            for (int64_t i = 0; i < q.nq; i++) {
                const int64_t seen = att_seen(&s, &q, i);
                const double *x = hs_f64(a, ATT_QKV) + (q.q0 + i) * W + h * s.d;
                double *y = hs_f64_out(a, ATT_Y) + (q.q0 + i) * C + h * s.d, max = -INFINITY, sum = 0;
                for (int pass = 0; pass < 3; pass++) // largest score, sum of exponentials, weighted values
                    for (int64_t j = 0; j < seen; j++) {
                        int64_t one = 1;
                        const double *k = hs_f64(a, s.kv) + att_key_row(&s, &q, j, &one) * KW + s.k_col + h * s.d, *v = k + C;
                        double score = 0;
                        for (int64_t c = 0; c < s.d; c++)
                            score += x[c] * k[c];
                        score *= at->scale != 0 ? (double)at->scale : 1 / sqrt((double)s.d);
                        max = pass == 0 ? fmax(max, score) : max;
                        sum += pass == 1 ? exp(score - max) : 0;
                        double p = pass == 2 ? exp(score - max) / sum : 0;
                        if (pass == 2 && at->dropout > 0) {
                            const int32_t *where = hs_i32(a, ATT_WHERE) + 2 * (q.q0 + i);
                            float f[8];
                            hs_drop_factors(&drop, where[0], where[1], s.plane + (int32_t)h, j / 8 * 8, 8, f);
                            p *= (double)f[j % 8];
                        }
                        for (int64_t c = 0; c < s.d && pass == 2; c++)
                            y[c] += p * v[c];
                    }
                if (a->out[ATT_LSE].p)
                    hs_f64_out(a, ATT_LSE)[(q.q0 + i) * s.heads + h] = max + log(sum);
            }
        }
}

// ---- one (sequence, head): scratch of a member, all f32 words but p
typedef struct work {
    const hs_args *a;
    const att_shape *s;
    const att_seq *q;
    int64_t h, c0, n; // head; queries [c0, c0 + n) of the sequence
    int64_t d_cols;   // columns of o: d rounded up to whole panels
    hs_drop drop;
    bool drops, narrow;            // weights are multiplied as bf16
    gemm_word *k, *v, *rows;       // a block of keys, of values, queries that had to be converted
    const gemm_word *laid[BLOCKS]; // blocks of queries, rows lda apart
    int64_t lda;
    float *score, *o, *max, *sum, *factor, *sums;
    float *k_scale, *v_scale; // of a block of codes; NULL: keys and values are themselves
    uint16_t *p;
    void *stage; // a block of keys or values from pages apart
} work;

static size_t carve(work *w, char *own, int64_t d, bool paged, bool codes)
{
    const int64_t cols = gemm_panels(d) * GEMM_NR;
    const size_t words[] = { (size_t)(KB * d),
                             (size_t)(KB * cols),
                             (size_t)(BLOCKS * att_row_words(QB, d)),
                             QB * KB,
                             (size_t)(CHUNK * cols),
                             CHUNK,
                             CHUNK,
                             KB,
                             QB * KB / 2,
                             (size_t)d,
                             paged || codes ? (size_t)(KB * d) : 0,
                             codes ? KB : 0,
                             codes ? KB : 0 };
    char *at[HS_COUNT(words)];
    size_t bytes = 0;
    for (int i = 0; i < HS_COUNT(words); i++) {
        at[i] = own ? own + bytes : NULL;
        bytes += (words[i] * 4 + 63) / 64 * 64;
    }
    if (own) {
        w->k = (gemm_word *)at[0], w->v = (gemm_word *)at[1], w->rows = (gemm_word *)at[2], w->score = (float *)at[3];
        w->o = (float *)at[4], w->max = (float *)at[5], w->sum = (float *)at[6], w->factor = (float *)at[7], w->p = (uint16_t *)at[8];
        w->sums = (float *)at[9], w->stage = at[10];
        w->k_scale = codes ? (float *)at[11] : NULL, w->v_scale = codes ? (float *)at[12] : NULL;
        w->d_cols = cols;
    }
    return bytes;
}

static gemm_in slice(const hs_ref *r, int64_t row, int64_t col, bool k_major)
{
    return (gemm_in){ att_cell(r, row, col), r->cols, r->dtype, k_major };
}

// sums[c] = sum over j of x[16 j + c], kept in registers: an array would be stored with every 16 (3 % of forward in AVX2).
static inline void sum_by_16(float sums[16], const float *x, int64_t n)
{
    typedef float vec __attribute__((vector_size(GEMM_VL * 4)));
    typedef float vec_at __attribute__((vector_size(GEMM_VL * 4), aligned(4), may_alias));
    enum { PARTS = 16 / GEMM_VL };
    vec s[PARTS];
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++)
        s[i] = (vec){ 0 };
    for (int64_t j = 0; j < n; j += 16)
#pragma GCC unroll 4
        for (int i = 0; i < PARTS; i++)
            s[i] += *(const vec_at *)(x + j + i * GEMM_VL);
    memcpy(sums, s, sizeof s);
}

static inline void scale_by(float *x, const float *scales, int64_t n)
{
    HS_SIMD
    for (int64_t j = 0; j < (scales ? n : 0); j++)
        x[j] *= scales[j];
}
static void block_scales(work *w, int64_t j0, int64_t nb)
{
    if (w->s->codes)
        att_scales(w->a, w->s, w->q, w->h, j0, nb, w->k_scale, w->v_scale);
}

// Row r of a block, query i of the chunk: scores of `seen` keys become weights relative to the running maximum, zero up to `all`; o is
// rescaled.
static void weigh(work *w, int64_t r, int64_t i, int64_t j0, int64_t seen, int64_t all)
{
    const int64_t width = (all + 15) / 16 * 16; // no vector of it is partial
    float *x = w->score + r * KB, old = w->max[i], *o = w->o + i * w->d_cols;
    scale_by(x, w->k_scale, seen);
    for (int64_t j = seen > 0 ? seen : 0; j < width; j++)
        x[j] = -INFINITY;
    const float max = hs_max(x, width, old), base = max == -INFINITY ? 0 : max;
    if (w->drops) {
        const int32_t *where = hs_i32(w->a, ATT_WHERE) + 2 * (w->q->q0 + w->c0 + i);
        hs_drop_factors(&w->drop, where[0], where[1], w->s->plane + (int32_t)w->h, j0, width, w->factor);
    }
    HS_SIMD
    for (int64_t j = 0; j < width; j++)
        x[j] = hs_expf_below(x[j] - base);
    float sums[16], sum = 0;
    sum_by_16(sums, x, width);
    if (w->drops) {
        HS_SIMD
        for (int64_t j = 0; j < width; j++)
            x[j] *= w->factor[j];
    }
    scale_by(x, w->v_scale, seen);
    for (int64_t j = 0; j < width && w->narrow; j += 16)
        att_narrow(w->p + r * KB + j, x + j);
    HS_SIMD_SUM(sum)
    for (int c = 0; c < 16; c++)
        sum += sums[c];
    w->max[i] = max;
    if (max == old) {
        w->sum[i] += sum;
        return;
    }
    const float shrink = old == -INFINITY ? 0 : hs_expf(old - max);
    w->sum[i] = w->sum[i] * shrink + sum;
    if (j0)
        for (int64_t c = 0; c < w->s->d; c++)
            o[c] *= shrink;
}

// Rows [r, r + m) of the block from i0 on, which see no more than the first `seen` of the packed keys.
static void rows_of_block(work *w, int64_t i0, int64_t r, int64_t m, int64_t j0, int64_t nb, int64_t seen)
{
    const att_shape *s = w->s;
    const int64_t dw = gemm_words(s->d, s->dot);
    float *o = w->o + (i0 + r) * w->d_cols;
    gemm_block t = { .m = m, .n = seen, .kw = dw, .b = w->k, .ldb = dw * GEMM_NR, .dot = s->dot, .scale = s->scale };
    gemm_block_rows(&t, w->laid[i0 / QB], w->lda, r);
    t.to = (gemm_out){ .p = w->score + r * KB, .ld = KB, .dtype = HS_F32 };
    gemm_block_run(&t);
    for (int64_t i = r; i < r + m; i++)
        weigh(w, i, i0 + i, j0, att_least(nb, att_seen(s, w->q, w->c0 + i0 + i) - j0), seen);
    gemm_block u = { .m = m, .n = s->d, .kw = gemm_words(seen, s->dot), .dot = s->dot, .scale = 1 };
    gemm_block_rows(&u, s->dot ? (const gemm_word *)w->p : (const gemm_word *)w->score, s->dot ? KB / 2 : KB, r);
    u.b = w->v, u.ldb = gemm_words(nb, s->dot) * GEMM_NR;
    u.to = (gemm_out){ .p = o, .ld = w->d_cols, .dtype = HS_F32 };
    if (j0)
        u.base = o, u.ld_base = w->d_cols;
    gemm_block_run(&u);
}

// Keys [j0, j0 + nb) against the chunk.
static void key_block(work *w, int64_t j0, int64_t nb)
{
    const att_shape *s = w->s;
    const att_seq *q = w->q;
    const int64_t col = s->k_col + w->h * s->d;
    block_scales(w, j0, nb);
    const gemm_in k = att_keys(w->a, s, q, j0, nb, col, false, w->stage);
    gemm_pack_b(w->k, &k, 0, s->d, 0, nb, s->dot);
    const gemm_in v = att_keys(w->a, s, q, j0, nb, col + s->width, true, w->stage);
    gemm_pack_b(w->v, &v, 0, nb, 0, s->d, s->dot);
    for (int64_t i0 = 0; i0 < w->n; i0 += QB) {
        const int64_t m = att_least(QB, w->n - i0), first = w->c0 + i0;
        const int64_t step = att_together(m, att_seen(s, q, first) - j0, att_seen(s, q, first + m - 1) - j0, nb);
        for (int64_t r = 0; r < m; r += step) {
            const int64_t rows = att_least(step, m - r), seen = att_least(nb, att_seen(s, q, first + r + rows - 1) - j0);
            if (seen > 0)
                rows_of_block(w, i0, r, rows, j0, nb, seen);
        }
    }
}

static void finish(work *w)
{
    const att_shape *s = w->s;
    for (int64_t i = 0; i < w->n; i++) {
        const int64_t row = w->q->q0 + w->c0 + i;
        float *o = w->o + i * w->d_cols;
        const bool any = att_seen(s, w->q, w->c0 + i) > 0;
        const float over = 1.0f / w->sum[i];
        for (int64_t c = 0; c < s->d; c++)
            o[c] = any ? o[c] * over : 0;
        hs_store(&w->a->out[ATT_Y], row * s->width + w->h * s->d, s->d, o);
        if (w->a->out[ATT_LSE].p)
            hs_f32_out(w->a, ATT_LSE)[row * s->heads + w->h] = w->max[i] + logf(w->sum[i]);
    }
}

static void lay_queries(work *w)
{
    const gemm_in x = slice(&w->a->in[ATT_QKV], w->q->q0 + w->c0, w->h * w->s->d, false);
    w->narrow = w->s->dot;
    for (int64_t i0 = 0; i0 < w->n; i0 += QB)
        w->laid[i0 / QB] =
            gemm_lay_a(w->rows + i0 / QB * att_row_words(QB, w->s->d), &x, 0, w->s->d, i0, att_least(QB, w->n - i0), w->s->dot, &w->lda);
}

static void many_queries(work *w)
{
    const int64_t keys = att_seen(w->s, w->q, w->c0 + w->n - 1);
    lay_queries(w);
    for (int64_t j0 = 0; j0 < keys; j0 += KB)
        key_block(w, j0, att_least(KB, keys - j0));
}

// ---- a few queries: the sums of many, in the same order, but nothing is packed that is read so few times. Rows of the cache are far
// apart, no hardware prefetcher follows them.

static const float *few_query(work *w, int64_t i)
{
    const hs_ref *qkv = &w->a->in[ATT_QKV];
    return hs_load(qkv, (w->q->q0 + w->c0 + i) * qkv->cols + w->h * w->s->d, w->s->d, (float *)w->k);
}

static void few_scores_of_codes(work *w, int64_t j0, int64_t nb)
{
    const att_shape *s = w->s;
    for (int64_t i = 0; i < w->n; i++) {
        const float *x = few_query(w, i);
        for (int64_t j = 0, n; j < nb; j += n) {
            n = nb - j;
            const int64_t row = att_key_row(s, w->q, j0 + j, &n);
            const gemm_in k = slice(&w->a->in[s->kv], row, s->k_col + w->h * s->d, false);
            few_scores(w->score + i * KB + j, x, &k, n, s->d, s->scale);
        }
    }
}

// Scores of keys [j0, j0 + nb); packed where products take bf16: 16 x 16 words are transposed in registers.
static void few_scores_of_block(work *w, int64_t j0, int64_t nb)
{
    const att_shape *s = w->s;
    const int64_t dw = gemm_words(s->d, s->dot);
    if (s->codes && !s->dot) { // each key's score is its own: no matter how they are cut
        few_scores_of_codes(w, j0, nb);
        return;
    }
    const gemm_in k = att_keys(w->a, s, w->q, j0, nb, s->k_col + w->h * s->d, false, w->stage);
    if (s->dot) {
        gemm_pack_b(w->k, &k, 0, s->d, 0, nb, s->dot);
        gemm_block t = { .m = w->n, .n = nb, .kw = dw, .b = w->k, .ldb = dw * GEMM_NR, .dot = s->dot, .scale = s->scale };
        gemm_block_rows(&t, w->laid[0], w->lda, 0);
        t.to = (gemm_out){ .p = w->score, .ld = KB, .dtype = HS_F32 };
        gemm_block_run(&t);
        return;
    }
    for (int64_t i = 0; i < w->n; i++)
        few_scores(w->score + i * KB, few_query(w, i), &k, nb, s->d, s->scale);
}

// Query i takes the values of the first `seen` keys of the block.
static void few_values(work *w, int64_t i, int64_t j0, int64_t seen)
{
    const att_shape *s = w->s;
    const hs_ref *from = &w->a->in[s->kv];
    float *o = w->o + i * w->d_cols, *sum = w->sums;
    memset(sum, 0, (size_t)s->d * sizeof *sum);
    for (int64_t j = 0, n; j < seen; j += n) { // pages behind each other are one stretch; stretches end at multiples of 8
        n = seen - j;
        const int64_t row = att_key_row(s, w->q, j0 + j, &n);
        const gemm_in v = slice(from, row, s->k_col + s->width + w->h * s->d, true);
        const gemm_word *p = s->dot ? (const gemm_word *)(w->p + i * KB + j) : (const gemm_word *)(w->score + i * KB + j);
        gemm_chain(sum, p, &v, n, s->d, s->dot);
    }
    HS_SIMD
    for (int64_t c = 0; c < s->d; c++)
        o[c] = j0 ? sum[c] + o[c] : sum[c];
}

static void few_queries(work *w)
{
    const att_shape *s = w->s;
    const int64_t keys = att_seen(s, w->q, w->c0 + w->n - 1);
    lay_queries(w);
    for (int64_t j0 = 0; j0 < keys; j0 += KB) {
        const int64_t nb = att_least(KB, keys - j0);
        block_scales(w, j0, nb);
        few_scores_of_block(w, j0, nb);
        for (int64_t i = 0; i < w->n; i++) {
            const int64_t seen = att_least(nb, att_seen(s, w->q, w->c0 + i) - j0);
            if (seen <= 0)
                continue;
            weigh(w, i, i, j0, seen, nb);
            few_values(w, i, j0, seen);
        }
    }
}

static void run_units(work *w, att_units *u, int64_t i0, int64_t i1)
{
    const int64_t few = gemm_tiles(w->s->dot) ? 0 : FEW; // one row times values as they lie is another order of sums than tiles have
    for (int64_t i = i0; i < i1; i++) {
        att_unit_at(u, i);
        w->q = &u->q, w->h = u->h, w->c0 = u->c0, w->n = u->n;
        for (int64_t r = 0; r < w->n; r++)
            w->max[r] = -INFINITY, w->sum[r] = 0;
        u->q.nq < few ? few_queries(w) : many_queries(w);
        finish(w);
    }
}

void hs_attention_forward(const hs_args *a, hs_lane *lane)
{
    const float dropout = ((const hs_attention_attr *)a->attr)->dropout;
    const att_shape s = att_shape_of(a);
    work w = { .a = a, .s = &s, .drops = dropout > 0 };
    if (w.drops)
        w.drop = hs_drop_of(a, dropout);
    carve(&w, hs_thread_scratch(a, lane), s.d, s.page > 0, s.codes);
    att_units u = { .a = a, .s = &s, .step = s.n_seqs * s.heads < 4 * lane->n ? 2 * QB : CHUNK };
    int64_t i0, i1;
    att_units_share(&u, lane, &i0, &i1);
    if (lane->n > 1)
        hs_deal(lane, i0, i1);
    hs_sync(lane);
    att_zero_others(a, &s, &a->out[ATT_Y], false, 0, s.width, lane);
    if (a->out[ATT_LSE].p)
        att_zero_others(a, &s, &a->out[ATT_LSE], false, 0, s.heads, lane);
    gemm_begin(s.dot);
    if (lane->n == 1)
        run_units(&w, &u, i0, i1);
    while (lane->n > 1 && hs_take(lane, 1, 1, &i0, &i1))
        run_units(&w, &u, i0, i1);
    gemm_end(s.dot);
}

size_t hs_attention_forward_scratch(int64_t d, bool paged, bool codes) { return carve(NULL, NULL, d, paged, codes); }

static hs_scratch scratch(const hs_node *n, int team, bool backward)
{
    (void)team;
    const int64_t d = n->out[ATT_Y]->dim[1] / ((const hs_attention_attr *)n->attr)->heads;
    const bool paged = n->in[ATT_PAGES] != NULL;
    return (hs_scratch){ .per_thread = backward ? hs_attention_backward_scratch(n->in[ATT_QKV]->dim[0], d, paged)
                                                : carve(NULL, NULL, d, paged, false) };
}

static const hs_attr attrs[] = { HS_ATTR(hs_attention_attr, heads),      HS_ATTR(hs_attention_attr, causal),
                                 HS_ATTR(hs_attention_attr, dropout),    HS_ATTR(hs_attention_attr, scale),
                                 HS_ATTR(hs_attention_attr, first_head), HS_ATTR(hs_attention_attr, page_rows),
                                 HS_ATTR(hs_attention_attr, longest),    HS_ATTR(hs_attention_attr, full),
                                 HS_ATTR(hs_attention_attr, library_masks), HS_ATTR(hs_attention_attr, any_order) };

HS_OP(attention) = {
    .name = "attention",
    .formula = "y = softmax(scale q k^T + mask) v",
    .paper = "arXiv:2307.08691",
    .attr_bytes = sizeof(hs_attention_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [ATT_QKV] = { "qkv", HS_AMP_LOW, HS_BWD_READS },
            [ATT_STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_WHOLE },
            [ATT_KEYS] = { "keys", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_WHOLE | HS_OPTIONAL },
            [ATT_KV] = { "kv", HS_AMP_LOW, HS_BWD_READS | HS_WHOLE | HS_OPTIONAL },
            [ATT_WHERE] = { "where", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_OPTIONAL },
            [ATT_PAGES] = { "pages", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_WHOLE | HS_OPTIONAL } },
    .out = { [ATT_Y] = { "y", HS_AMP_LOW, HS_BWD_READS }, [ATT_LSE] = { "lse", HS_AMP_F32, HS_SAVED } },
    .shape = shape,
    .cost = cost,
    .ref = hs_attention_reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { hs_attention_forward, hs_attention_backward, HS_PART_FREE, HS_PART_FREE, .syncs_first = true, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_attention(hs_graph *g, hs_attention_in in, hs_attention_attr attr)
{
    if (g->mode != HS_TRAIN)
        attr.dropout = 0;
    return hs_emit(g, HS_OP_ENTRY(attention), &attr, (hs_tensor *[]){ in.qkv, in.starts, in.keys, in.kv, in.where, in.pages }, 6);
}
#endif

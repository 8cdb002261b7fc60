// attention, internally: what forward, backward and the definition in f64 agree on; of attention_i8 too, whose keys and values are codes.
//
// A row of a cache in codes, for H heads of D values each, C = H D, all of it i8 cells:
//
//   [C codes of k | C codes of v | H scales of k, f32 | H scales of v, f32]        2 C + 8 H bytes; f32 cells take 8 C, bf16 4 C
//
// value = code * scale of its head, scale = (largest magnitude of that row's head) / 127, code = value / scale rounded, ties to even
// (ops/quant/i8_round.h). A row knows of no other, so what a token is kept as depends on it alone. D is a multiple of 8: scales lie at
// multiples of 4. Products are of codes, which are exact in bf16: scores are multiplied by scales of keys behind them, weights by scales of
// values before theirs, so that the rounding of a cache is that of its codes and no other.
#ifndef HS_OPS_ATTENTION_H
#define HS_OPS_ATTENTION_H
#include "core/cpu/dropout.h"
#include "ops/dense/gemm.h"
#include "ops/ops.h"

enum { ATT_QKV, ATT_STARTS, ATT_KEYS, ATT_KV, ATT_WHERE, ATT_PAGES }; // inputs
enum { ATT_Y, ATT_LSE };                                              // outputs

// The operands of one node: how wide, and where q, k and v of head 0 begin.
typedef struct att_shape {
    int64_t n_seqs, n_rows, n_key_rows; // live
    int64_t width, heads, d;            // C, H, D
    float scale;
    bool causal, dot;
    int kv;                // which input holds k and v: ATT_QKV or ATT_KV
    int64_t k_col;         // column of head 0's keys there; values follow `width` later
    int plane;             // of dropout: head 0's
    bool codes;            // kv holds codes and scales
    int64_t page, n_table; // rows of a page (0: none), pages that a sequence may have
} att_shape;

// One sequence: query rows [q0, q0 + nq), keys [0, nk) at the rows from k0 on or in pages, position of the first query. Cut to live rows.
typedef struct att_seq {
    int64_t q0, nq, k0, nk, pos;
    const int32_t *pages; // NULL: none
} att_seq;

static inline int64_t att_clamp(int64_t x, int64_t lo, int64_t hi) { return x < lo ? lo : x > hi ? hi : x; }
static inline int64_t att_least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline att_shape att_shape_of(const hs_args *a)
{
    const hs_attention_attr *at = (const hs_attention_attr *)a->attr;
    const bool apart = a->in[ATT_KV].p != NULL;
    att_shape s = { .heads = at->heads, .causal = at->causal, .kv = apart ? ATT_KV : ATT_QKV, .plane = 1 + at->first_head };
    s.n_seqs = hs_ref_rows(a, &a->in[ATT_STARTS]) - 1;
    s.n_rows = hs_ref_rows(a, &a->in[ATT_QKV]);
    s.n_key_rows = hs_ref_rows(a, &a->in[s.kv]);
    s.codes = a->in[s.kv].dtype == HS_I8;
    s.width = s.codes ? hs_cache_i8_width(a->in[ATT_KV].cols, at->heads) : apart ? a->in[ATT_KV].cols / 2 : a->in[ATT_QKV].cols / 3;
    s.d = s.width / s.heads;
    s.k_col = apart ? 0 : s.width;
    s.scale = at->scale != 0 ? at->scale : 1.0f / sqrtf((float)s.d);
    s.dot = gemm_dot(a->in[ATT_QKV].dtype);
    if (a->in[ATT_PAGES].p)
        s.page = at->page_rows, s.n_table = a->in[ATT_PAGES].cols;
    return s;
}

static inline att_seq att_seq_of(const hs_args *a, const att_shape *s, int64_t b)
{
    const int32_t *starts = hs_i32(a, ATT_STARTS), *keys = hs_i32(a, ATT_KEYS);
    att_seq q = { .q0 = att_clamp(starts[b], 0, s->n_rows) };
    q.nq = att_clamp(starts[b + 1], q.q0, s->n_rows) - q.q0;
    q.k0 = q.q0, q.nk = q.nq;
    if (s->page) {
        q.pages = hs_i32(a, ATT_PAGES) + b * s->n_table;
        q.k0 = 0;
        q.nk = s->n_key_rows < s->page ? 0 : att_clamp(keys[3 * b + 1], 0, s->n_table * s->page);
        q.pos = keys[3 * b + 2];
    } else if (keys) {
        q.k0 = att_clamp(keys[3 * b], 0, s->n_key_rows);
        q.nk = att_clamp(keys[3 * b + 1], 0, s->n_key_rows - q.k0);
        q.pos = keys[3 * b + 2];
    }
    return q;
}

// Keys that query i of the sequence sees: [0, this).
static inline int64_t att_seen(const att_shape *s, const att_seq *q, int64_t i)
{
    return s->causal ? att_clamp(q->pos + i + 1, 0, q->nk) : q->nk;
}

static inline int64_t att_page(const att_shape *s, const att_seq *q, int64_t i)
{
    return att_clamp(q->pages[i], 0, s->n_key_rows / s->page - 1);
}

// The row of key j. *n keys are wanted from there on; it is cut to how many lie behind each other: all of them, but for pages apart.
static inline int64_t att_key_row(const att_shape *s, const att_seq *q, int64_t j, int64_t *n)
{
    if (!q->pages)
        return q->k0 + j;
    int64_t i = j / s->page, page = att_page(s, q, i), have = (i + 1) * s->page - j;
    const int64_t row = page * s->page + j % s->page;
    while (have < *n && att_page(s, q, ++i) == ++page)
        have += s->page;
    *n = att_least(*n, have);
    return row;
}

// Rows of a block that are cut together where causality hides some of it: a product computes to its last row.
enum { ATT_CUT = GEMM_HAS_TILES ? GEMM_TILE_ROWS : 4 * GEMM_MR };
// Of m rows whose first sees `first` keys and whose last sees `last` of n: as many as go together.
static inline int64_t att_together(int64_t m, int64_t first, int64_t last, int64_t n)
{
    return att_clamp(first, 0, n) < att_clamp(last, 0, n) ? att_least(m, ATT_CUT) : m;
}

// Blocks of queries (or gradients of theirs) as left-hand sides, laid once.
static inline int64_t att_row_words(int64_t rows, int64_t d) { return rows * d + rows / GEMM_MR * 16; } // whole tiles

// x[16] to bf16. Where bf16 is multiplied by hardware it is rounded by it too.
static inline void att_narrow(uint16_t *dst, const float *x)
{
#if defined(__AVX512BF16__)
    _mm256_storeu_si256((__m256i *)dst, (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x)));
#else
    hs_store_bf16(dst, x, 16);
#endif
}

static inline char *att_cell(const hs_ref *r, int64_t row, int64_t col)
{
    return r->p + (size_t)(row * r->cols + col) * hs_dtype_bytes(r->dtype);
}

// Of keys [j, j + n) the scales of head h, times which codes are keys (k) and values (v).
static inline void att_scales(const hs_args *a, const att_shape *s, const att_seq *q, int64_t h, int64_t j, int64_t n, float *k, float *v)
{
    for (int64_t i = 0, have; i < n; i += have) {
        have = n - i;
        const int64_t row = att_key_row(s, q, j + i, &have);
        for (int64_t r = 0; r < have; r++) {
            const char *at = att_cell(&a->in[s->kv], row + r, 2 * s->width) + 4 * h;
            memcpy(&k[i + r], at, sizeof *k);
            memcpy(&v[i + r], at + 4 * s->heads, sizeof *v);
        }
    }
}

// Codes as what products multiply them as, exactly.
static inline void att_widen(void *to, const int8_t *codes, int64_t n, bool dot)
{
    float *wide = to;
    uint16_t *low = to;
    if (dot) {
        HS_SIMD
        for (int64_t c = 0; c < n; c++)
            low[c] = (uint16_t)(hs_f32_bits((float)codes[c]) >> 16);
        return;
    }
    HS_SIMD
    for (int64_t c = 0; c < n; c++)
        wide[c] = (float)codes[c];
}

// Columns [col, col + d) of keys [j, j + n), for a product: where they lie, or copied into stage (n * d values) from pages apart, or codes
// widened into it.
static inline gemm_in att_keys(const hs_args *a, const att_shape *s, const att_seq *q, int64_t j, int64_t n, int64_t col, bool k_major,
                               void *stage)
{
    const hs_ref *from = &a->in[s->kv];
    int64_t have = n, row = att_key_row(s, q, j, &have);
    if (have == n && !s->codes)
        return (gemm_in){ att_cell(from, row, col), from->cols, from->dtype, k_major };
    const hs_dtype dtype = !s->codes ? from->dtype : s->dot ? HS_BF16 : HS_F32;
    const size_t bytes = (size_t)s->d * hs_dtype_bytes(dtype);
    char *to = stage;
    for (int64_t i = 0; i < n; i += have) {
        have = n - i;
        row = att_key_row(s, q, j + i, &have);
        for (int64_t r = 0; r < have; r++, to += bytes)
            if (s->codes)
                att_widen(to, (const int8_t *)att_cell(from, row + r, col), s->d, s->dot);
            else
                memcpy(to, att_cell(from, row + r, col), bytes);
    }
    return (gemm_in){ stage, s->d, dtype, k_major };
}

// Units of work of known cost, dealt out in order: each member a contiguous run of about the same cost.
typedef struct att_deal {
    double total, done;
} att_deal;
static inline bool att_take(att_deal *d, double cost, const hs_lane *lane)
{
    const int who = (int)((d->done + cost / 2) / d->total * lane->n);
    d->done += cost;
    return (who < lane->n ? who : lane->n - 1) == lane->id;
}

// This member's share of setting columns [c0, c0 + n) of rows [r0, r1) to zero.
static inline void att_zero(const hs_ref *r, int64_t r0, int64_t r1, int64_t c0, int64_t n, const hs_lane *lane)
{
    int64_t a, b;
    if (r1 <= r0)
        return;
    hs_part(lane, r1 - r0, &a, &b);
    for (int64_t i = r0 + a; i < r0 + b; i++)
        memset(att_cell(r, i, c0), 0, (size_t)n * hs_dtype_bytes(r->dtype));
}
// The same for rows that no sequence's queries (keys false) or keys are.
static inline void att_zero_others(const hs_args *a, const att_shape *s, const hs_ref *r, bool keys, int64_t c0, int64_t n,
                                   const hs_lane *lane)
{
    int64_t at = 0;
    for (int64_t b = 0; b < s->n_seqs; b++) {
        const att_seq q = att_seq_of(a, s, b);
        const int64_t first = keys ? q.k0 : q.q0, count = keys ? q.nk : q.nq;
        if (!count)
            continue;
        att_zero(r, at, first, c0, n, lane);
        at = first + count > at ? first + count : at;
    }
    att_zero(r, at, keys ? s->n_key_rows : s->n_rows, c0, n, lane);
}

// What attention_i8 is too: args as attention's, with codes at ATT_KV.
#define hs_attention_forward HS_TIERED(hs_attention_forward)
void hs_attention_forward(const hs_args *a, hs_lane *lane);
#define hs_attention_reference HS_TIERED(hs_attention_reference)
void hs_attention_reference(const hs_args *a);
#define hs_attention_forward_scratch HS_TIERED(hs_attention_forward_scratch)
size_t hs_attention_forward_scratch(int64_t d, bool paged, bool codes); // bytes per thread

#define hs_attention_backward HS_TIERED(hs_attention_backward)
void hs_attention_backward(const hs_args *a, hs_lane *lane);
#define hs_attention_backward_scratch HS_TIERED(hs_attention_backward_scratch)
size_t hs_attention_backward_scratch(int64_t n_queries, int64_t d, bool paged); // bytes per thread

#endif

// attention on CUDA, internally: operands, sequences and the addresses of dropout as all its kernels see them; attention.h has the same for
// the CPU, attention.c the definition.
#ifndef HS_OPS_ATTENTION_CUDA_H
#define HS_OPS_ATTENTION_CUDA_H
#include "core/cuda/gpu.cuh"
#include "ops/ops.h"

enum { ATT_QKV, ATT_STARTS, ATT_KEYS, ATT_KV, ATT_WHERE, ATT_PAGES }; // inputs
enum { ATT_Y, ATT_LSE };                                              // outputs

// A row sees its keys in blocks, which begin at multiples of their size, and blocks in chunks: a chunk has a maximum, a sum and a weighted
// sum of values of its own, and chunks are put together in order. So few queries may have their chunks done apart, and the bits of a row
// are the same whoever does it, and beside whom.
enum { ATT_CHUNK = 128, ATT_FEW = 16 };

typedef struct attention {
    hs_ref q, kv, y, dy, dq, dkv; // q: the queries' operand; kv: the one that holds keys and values, which may be the same
    float *lse, *delta;           // [rows, heads]
    const int32_t *starts, *keys, *pages, *where;
    hs_ext seqs_ext;
    int max_seqs, heads, d, k_col; // columns of head 0's keys in kv; values follow `width` later
    int64_t width;
    int page, n_table; // rows of a page (0: none), pages that a sequence may have
    bool causal, apart, codes; // codes: kv holds such, with their scales (attention.h)
    float scale, p;
    int plane; // of dropout: head 0's
    uint64_t site;
    const hs_step_in *step;
    // forward of few queries: of their chunks, where these are done apart: o [rows, heads, chunks, d], then maximum and sum
    float *part;
    int splits, chunks;
} attention;

static inline attention attention_of(const hs_args *args)
{
    const hs_attention_attr *at = static_cast<const hs_attention_attr *>(args->attr);
    attention a = {};
    a.apart = args->in[ATT_KV].p != nullptr;
    const int kv = a.apart ? ATT_KV : ATT_QKV;
    a.q = args->in[ATT_QKV], a.kv = args->in[kv], a.y = args->out[ATT_Y], a.dy = args->dout[ATT_Y];
    a.dq = args->din[ATT_QKV], a.dkv = args->din[kv];
    a.lse = cells<float>(args->out[ATT_LSE]);
    a.starts = cells<int32_t>(args->in[ATT_STARTS]), a.keys = cells<int32_t>(args->in[ATT_KEYS]);
    a.pages = cells<int32_t>(args->in[ATT_PAGES]), a.where = cells<int32_t>(args->in[ATT_WHERE]);
    a.seqs_ext = args->in[ATT_STARTS].ext, a.max_seqs = (int)args->in[ATT_STARTS].rows - 1;
    a.codes = a.kv.dtype == HS_I8;
    a.heads = at->heads, a.width = a.codes ? hs_cache_i8_width(a.kv.cols, a.heads) : a.apart ? a.kv.cols / 2 : a.kv.cols / 3;
    a.d = (int)(a.width / at->heads), a.k_col = a.apart ? 0 : (int)a.width;
    a.scale = at->scale != 0 ? at->scale : 1.0f / sqrtf((float)a.d);
    a.causal = at->causal, a.p = at->dropout, a.plane = 1 + at->first_head, a.site = args->site, a.step = args->step;
    if (a.pages)
        a.page = at->page_rows, a.n_table = (int)args->in[ATT_PAGES].cols;
    a.splits = 1;
    return a;
}

// What is live in this step.
struct att_live {
    int seqs, rows, key_rows;
};
static __device__ __forceinline__ att_live att_live_of(const attention &a)
{
    att_live n;
    n.seqs = (int)hs_ext_rows(a.seqs_ext, a.step->n, a.max_seqs + 1) - 1;
    n.rows = (int)live_rows(a.q, a.step), n.key_rows = (int)live_rows(a.kv, a.step);
    return n;
}
static __device__ __forceinline__ int att_clamp(int x, int lo, int hi) { return x < lo ? lo : x > hi ? hi : x; }

// One sequence: query rows [q0, q0 + nq), keys [0, nk) at the rows from k0 on or in pages, position of the first query. Cut to live rows.
struct att_seq {
    int q0, nq, k0, nk, pos;
    const int32_t *pages; // NULL: none
};
static __device__ __forceinline__ att_seq att_seq_of(const attention &a, const att_live &n, int b)
{
    att_seq s;
    s.q0 = att_clamp(a.starts[b], 0, n.rows);
    s.nq = att_clamp(a.starts[b + 1], s.q0, n.rows) - s.q0;
    s.k0 = s.q0, s.nk = s.nq, s.pos = 0, s.pages = nullptr;
    if (a.keys) {
        const int32_t *k = a.keys + 3 * (int64_t)b;
        s.pos = k[2];
        s.k0 = att_clamp(k[0], 0, n.key_rows);
        s.nk = att_clamp(k[1], 0, n.key_rows - s.k0);
        if (a.page) {
            s.pages = a.pages + (int64_t)b * a.n_table;
            s.k0 = 0;
            s.nk = n.key_rows < a.page ? 0 : att_clamp(k[1], 0, a.n_table * a.page);
        }
    }
    return s;
}
// Keys that query i of the sequence sees: [0, this).
static __device__ __forceinline__ int att_seen(const attention &a, const att_seq &s, int i)
{
    return a.causal ? att_clamp(s.pos + i + 1, 0, s.nk) : s.nk;
}
static __device__ __forceinline__ int att_page(const attention &a, const att_live &n, const att_seq &s, int i)
{
    return att_clamp(s.pages[i], 0, n.key_rows / a.page - 1);
}
static __device__ __forceinline__ int64_t att_key_row(const attention &a, const att_live &n, const att_seq &s, int j)
{
    if (!s.pages)
        return s.k0 + j;
    const unsigned i = (unsigned)j / (unsigned)a.page;
    return (int64_t)att_page(a, n, s, (int)i) * a.page + (j - (int)i * a.page);
}

// Tiles of T query rows: those of a sequence begin at its first row, and rows of no sequence are tiles without keys. Sequence b (-1: the
// rows before the first, `seqs`: behind the last) begins at tile row / T + b + 1, so that a search among sequences finds a tile's; some
// tiles are nobody's.
struct att_tile {
    int b, row, end; // rows [row, end) of b, at most T; b is no sequence: they are nobody's. row >= end: nothing to do
    bool dead;
};
static inline unsigned att_tiles(const attention &a, int T) { return (unsigned)(a.q.rows / T + a.max_seqs + 2); }
static __device__ __forceinline__ int att_first_row(const attention &a, const att_live &n, int s) // of sequence s - 1
{
    return s == 0 ? 0 : s > n.seqs + 1 ? n.rows : n.seqs < 1 ? 0 : att_clamp(a.starts[s - 1], 0, n.rows);
}
template <int T> static __device__ __forceinline__ att_tile att_tile_of(const attention &a, const att_live &n, int t)
{
    const int lane = (int)threadIdx.x % WARP;
    int lo = 0, count = (n.seqs < 0 ? 0 : n.seqs) + 2;
    while (count > 1) {
        const int step = (count + WARP - 1) / WARP, s = lo + lane * step;
        const bool before = lane * step < count && att_first_row(a, n, s) / T + s <= t;
        const int i = __popc(__ballot_sync(0xFFFFFFFFu, before)) - 1;
        lo += i * step;
        count = count - i * step < step ? count - i * step : step;
    }
    att_tile x;
    const int first = att_first_row(a, n, lo);
    x.b = lo - 1;
    x.row = first + (t - (first / T + lo)) * T;
    x.end = att_first_row(a, n, lo + 1);
    x.end = x.row + T < x.end ? x.row + T : x.end;
    x.dead = x.b < 0 || x.b >= n.seqs;
    return x;
}

// Tiles of at most T rows of kv: gradients of keys and values are those of rows, whosever they are. Of pages each row of a tile is in one.
struct att_kv_tile {
    int row, end, page; // page: of these rows
};
static inline unsigned att_kv_tiles(const attention &a, int T)
{
    return (unsigned)(a.page ? blocks_of(a.kv.rows, a.page) * blocks_of(a.page, T) : blocks_of(a.kv.rows, T));
}
template <int T> static __device__ __forceinline__ att_kv_tile att_kv_tile_of(const attention &a, const att_live &n, int t)
{
    att_kv_tile x = { t * T, t * T + T, 0 };
    if (a.page) {
        const int each = (a.page + T - 1) / T;
        x.page = t / each;
        x.row = x.page * a.page + t % each * T;
        x.end = x.row + T < (x.page + 1) * a.page ? x.row + T : (x.page + 1) * a.page;
    }
    x.end = x.end < n.key_rows ? x.end : n.key_rows;
    return x;
}
// The sequences whose keys are rows of a tile, in order, and of one in the order of its pages: while (each.next(a, n, x, s, j)) - the first
// row of the tile is, or would be, key j of s. All lanes of a warp together.
struct att_each {
    int b, first;  // of pages: sequence and page; else the first of WARP sequences
    uint32_t left; // found, and not given out
    __device__ __forceinline__ void begin() { b = -1, first = -WARP, left = 0; }
    __device__ __forceinline__ bool next(const attention &a, const att_live &n, const att_kv_tile &x, att_seq &s, int &j)
    {
        const int lane = (int)threadIdx.x % WARP;
        while (!left) {
            first += WARP;
            bool here = false;
            if (a.page) {
                while (b < 0 || first * a.page >= s.nk) {
                    if (++b >= n.seqs)
                        return false;
                    s = att_seq_of(a, n, b);
                    first = 0;
                }
                here = (first + lane) * a.page < s.nk && att_page(a, n, s, first + lane) == x.page;
            } else {
                if (first >= n.seqs)
                    return false;
                if (first + lane < n.seqs) {
                    const att_seq o = att_seq_of(a, n, first + lane);
                    here = o.nq && o.k0 < x.end && o.k0 + o.nk > x.row;
                }
            }
            left = __ballot_sync(0xFFFFFFFFu, here);
        }
        const int i = first + __ffs((int)left) - 1;
        left &= left - 1;
        if (!a.page)
            s = att_seq_of(a, n, i);
        j = a.page ? i * a.page + x.row - x.page * a.page : x.row - s.k0;
        return true;
    }
};
// Queries of s that see keys of the tile: from here on, a multiple of `step`.
static __device__ __forceinline__ int att_first_query(const attention &a, const att_seq &s, int j, int step)
{
    const int first = a.causal ? (j > 0 ? j : 0) - s.pos : 0;
    return first > 0 ? first / step * step : 0;
}

// Whether dropout keeps keys [8 j, 8 j + 8) of a row: a bit of each.
struct att_drop {
    hs_drop d;
    uint32_t plane;
};
static __device__ __forceinline__ att_drop att_drop_of(const attention &a, int head)
{
    att_drop d = { {}, (uint32_t)(a.plane + head) };
    d.d.scale = 1;
    if (a.p > 0)
        d.d = hs_drop_make(a.step->seed, a.site, a.step->step, a.p);
    return d;
}
static __device__ __forceinline__ uint32_t att_kept(const attention &a, const att_drop &d, int64_t row, int j)
{
    const hs_u32x4 w = hs_random(d.d.key, (uint32_t)a.where[2 * row], (uint32_t)a.where[2 * row + 1], (uint32_t)j, d.plane);
    uint32_t kept = 0;
#pragma unroll
    for (int i = 0; i < 8; i++)
        kept |= (uint32_t)(((w.v[i / 2] >> 16 * (i & 1)) & 0xFFFF) >= d.d.threshold) << i;
    return kept;
}

// Kernels of a type: forward; delta is there (attention.cu), then dq and dkv. What there is no tensor-core kernel for goes to the plain
// ones.
static inline bool attention_by_tiles(const attention &a) { return a.q.dtype != HS_F32 && a.d <= 128 && a.scale > 0; }
void attention_bf16(const attention &a, cudaStream_t stream);
void attention_f16(const attention &a, cudaStream_t stream);
void attention_plain(const attention &a, cudaStream_t stream);
void attention_bf16_backward(const attention &a, cudaStream_t stream);
void attention_f16_backward(const attention &a, cudaStream_t stream);
void attention_plain_backward(const attention &a, cudaStream_t stream);

#endif

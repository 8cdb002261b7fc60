// relations on CUDA: scores are made in tiles of 32 x 32 tokens of a head and never kept; the definition is in relations.c.
//
//   relation_rows    of each pair, head and token: its divergence, and the maxima and sums that its two softmaxes are made of
//   relation_slopes  of each part, head and token: with those, the rows and columns of R_student - R_teacher that it has a part in are made
//                    again and multiplied with the other side's channels, 32 channels at a time
//   relation_losses  of each sequence: the divergences of its rows, in order
//
// A tile of rows may hold the end of one sequence and the begin of others: a block does one after the other. A thread has one column of
// four rows, so that what belongs to a row is a warp's.
#include "core/graph/comm.h"
#include "ops/loss/soft_sums.cuh"
#include "ops/ops.h"
#include "ops/rows/seq_rows.cuh"

enum { QKV, TEACHER, STARTS };
enum { LOSS };
enum { PARTS = 3, PAIRS = 4, QUERY_KEY = 3 }; // pairs by their bits: query-query, key-key, value-value, query-key
enum { TILE = 32, LINE = TILE + 4, WARPS = 8, THREADS = WARPS * WARP, EACH = TILE / WARPS };

typedef float tile[TILE][LINE]; // lines of whole 16 bytes whose neighbours begin 4 banks apart

typedef struct relations {
    hs_ref x, t, dx, loss;
    seq_rows seqs;
    hs_relation_attr at;
    int n_pairs;
    float *rows;   // [PAIRS][heads][N]: divergence
    float4 *stats; // [PAIRS][heads][N]: maximum and 1 / sum of the student's softmax, of the teacher's; NULL: not wanted
} relations;

static __device__ __forceinline__ int pair_a(int pair) { return pair == QUERY_KEY ? 0 : pair; }
static __device__ __forceinline__ int pair_b(int pair) { return pair == QUERY_KEY ? 1 : pair; }
static __device__ __forceinline__ bool has_pair(const relations &r, int pair) { return r.at.pairs >> pair & 1; }
static __device__ __forceinline__ int64_t width_of(const relations &r, const hs_ref &x) { return x.cols / (PARTS * r.at.heads); }
static __device__ __forceinline__ int64_t stat_at(const relations &r, int pair, int64_t head, int64_t row)
{
    return ((int64_t)pair * r.at.heads + head) * r.x.rows + row;
}

// Rows [row, row + n) of a part's channels [channel, channel + 32) of a head; zeros beyond.
static __device__ __forceinline__ void load_tile(tile &to, const relations &r, const hs_ref &x, int part, int64_t head, int64_t row, int n,
                                                 int64_t channel)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t d = width_of(r, x), at = row * x.cols + part * (x.cols / PARTS) + head * d + channel + lane;
#pragma unroll 2
    for (int k = 0; k < EACH; k++) {
        const int y = warp + WARPS * k;
        to[y][lane] = y < n && channel + lane < d ? get_one(x, at + y * x.cols) : 0;
    }
}

static __device__ __forceinline__ int chunk_width(int64_t d, int64_t channel) // of up to 32 channels
{
    const int64_t left = d - channel;
    return left < TILE ? (int)((left + 3) / 4 * 4) : TILE;
}

// s[k]: the score of the row warp + 8 k of rows [a, a + na) of part pa, and the row `lane` of [b, b + nb) of part pb.
static __device__ __forceinline__ void scores_of(float (&s)[EACH], tile &ta, tile &tb, const relations &r, const hs_ref &x, int64_t head,
                                                 int pa, int64_t a, int na, int pb, int64_t b, int nb)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t d = width_of(r, x);
    const float scale = 1 / sqrtf((float)d);
#pragma unroll
    for (int k = 0; k < EACH; k++)
        s[k] = 0;
    for (int64_t c0 = 0; c0 < d; c0 += TILE) {
        const int width = chunk_width(d, c0);
        __syncthreads(); // what was in the tiles is used
        load_tile(ta, r, x, pa, head, a, na, c0);
        load_tile(tb, r, x, pb, head, b, nb, c0);
        __syncthreads(); // they are loaded
#pragma unroll 2
        for (int c = 0; c < width; c += 4) {
            const float4 v = *reinterpret_cast<const float4 *>(&tb[lane][c]);
#pragma unroll
            for (int k = 0; k < EACH; k++) {
                const float4 u = *reinterpret_cast<const float4 *>(&ta[warp + WARPS * k][c]);
                s[k] += u.x * v.x + u.y * v.y + u.z * v.z + u.w * v.w;
            }
        }
    }
#pragma unroll
    for (int k = 0; k < EACH; k++)
        s[k] *= scale;
}

// body(sequence's first row, its rows, first row here, how many) for the sequences that have rows among [r0, r0 + TILE). The same for all
// threads of a block.
template <class Body>
static __device__ __forceinline__ void each_sequence(const relations &r, const hs_step_in *step, int64_t r0, Body &&body)
{
    const int64_t B = live_rows(r.loss, step), live = live_rows(r.x, step), before = r.seqs.with(r0, B);
    for (int64_t b = before < 0 ? 0 : before; b < B && r.seqs.starts[b] < r0 + TILE; b++) {
        int64_t first, n;
        if (!r.seqs.of(b, live, first, n))
            continue;
        const int64_t begin = first > r0 ? first : r0, end = first + n < r0 + TILE ? first + n : r0 + TILE;
        if (begin < end)
            body(first, n, begin, (int)(end - begin));
    }
}

static __device__ __forceinline__ int rows_left(int64_t n, int64_t at) { return n - at < TILE ? (int)(n - at) : TILE; }

// ---- the two softmaxes of each row

static __global__ void __launch_bounds__(THREADS, 2) relation_rows(relations r, const hs_step_in *step)
{
    HS_SHARED(float, ta, [TILE][LINE]);
    HS_SHARED(float, tb, [TILE][LINE]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, pair = (int)blockIdx.z, pa = pair_a(pair), pb = pair_b(pair);
    const int64_t head = blockIdx.y;
    if (!has_pair(r, pair))
        return;
    each_sequence(r, step, (int64_t)blockIdx.x * TILE, [&](int64_t first, int64_t n, int64_t own, int n_own) {
        soft_sums sum[EACH];
#pragma unroll
        for (int k = 0; k < EACH; k++)
            sum[k] = soft_none();
        for (int64_t j = 0; j < n; j += TILE) {
            float s[EACH], t[EACH];
            scores_of(s, ta, tb, r, r.x, head, pa, own, n_own, pb, first + j, rows_left(n, j));
            scores_of(t, ta, tb, r, r.t, head, pa, own, n_own, pb, first + j, rows_left(n, j));
#pragma unroll
            for (int k = 0; k < EACH; k++)
                if (j + lane < n) {
                    if (s[k] > sum[k].max_p || t[k] > sum[k].max_q)
                        soft_shift(&sum[k], fmaxf(s[k], sum[k].max_p), fmaxf(t[k], sum[k].max_q), 1);
                    soft_add(&sum[k], s[k], t[k], 1);
                }
        }
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const float max_p = warp_max(sum[k].max_p), max_q = warp_max(sum[k].max_q);
            if (sum[k].q > 0)
                soft_shift(&sum[k], max_p, max_q, 1);
            const float p = warp_sum(sum[k].p), q = warp_sum(sum[k].q), cross = warp_sum(sum[k].cross);
            const int y = warp + WARPS * k;
            if (lane > 0 || y >= n_own)
                continue;
            const int64_t at = stat_at(r, pair, head, own + y);
            r.rows[at] = cross / q + logf(p) - logf(q);
            if (r.stats)
                r.stats[at] = make_float4(max_p, 1 / p, max_q, 1 / q);
        }
    });
}

static __global__ void relation_losses(relations r, const hs_step_in *step)
{
    HS_SHARED(double, at, [WARPS]);
    const int64_t b = blockIdx.x, live = live_rows(r.x, step);
    int64_t first, n;
    if (b >= live_rows(r.loss, step))
        return;
    const bool inside = r.seqs.of(b, live, first, n);
    double sum = 0;
    for (int pair = 0; pair < PAIRS && inside; pair++)
        for (int64_t head = 0; head < r.at.heads && has_pair(r, pair); head++)
            for (int64_t i = threadIdx.x; i < n; i += THREADS)
                sum += (double)r.rows[stat_at(r, pair, head, first + i)];
    sum = block_sum<WARPS>(sum, at);
    const double all = (double)((int64_t)r.n_pairs * r.at.heads * r.at.ranks * n);
    if (threadIdx.x == 0)
        reinterpret_cast<float *>(r.loss.p)[b] = !inside ? NAN : n > 0 ? (float)(sum / all) : 0;
}

// ---- gradients

// R_student - R_teacher of a row with these softmaxes, at scores s and t
static __device__ __forceinline__ float apart(const float4 &of, float s, float t) { return expf(s - of.x) * of.y - expf(t - of.z) * of.w; }

// Onto sum[k], of the own row warp + 8 k and the channel c0 + lane: what pair `pair` gives rows [own, own + n_own) of `part`, whose other
// side is part `other`. as_a, as_b: on which sides of the pair the part is.
static __device__ __forceinline__ void add_pair(float (&sum)[EACH], tile &ta, tile &tb, tile &g, const relations &r, int pair, int part,
                                                int other, bool as_a, bool as_b, int64_t head, int64_t first, int64_t n, int64_t own,
                                                int n_own, int64_t c0)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, width = chunk_width(width_of(r, r.x), c0);
    for (int64_t j = 0; j < n; j += TILE) {
        const int n_other = rows_left(n, j);
        float s[EACH], t[EACH];
        scores_of(s, ta, tb, r, r.x, head, part, own, n_own, other, first + j, n_other);
        scores_of(t, ta, tb, r, r.t, head, part, own, n_own, other, first + j, n_other);
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const int y = warp + WARPS * k;
            float v = 0;
            if (y < n_own && lane < n_other) {
                if (as_a)
                    v += apart(r.stats[stat_at(r, pair, head, own + y)], s[k], t[k]);
                if (as_b)
                    v += apart(r.stats[stat_at(r, pair, head, first + j + lane)], s[k], t[k]);
            }
            g[y][lane] = v;
        }
        __syncthreads(); // of scores
        load_tile(tb, r, r.x, other, head, first + j, n_other, c0);
        __syncthreads(); // the other side's channels
        if (lane < width)
            for (int i = 0; i < TILE; i += 4) {
                const float v0 = tb[i][lane], v1 = tb[i + 1][lane], v2 = tb[i + 2][lane], v3 = tb[i + 3][lane];
#pragma unroll
                for (int k = 0; k < EACH; k++) {
                    const float4 u = *reinterpret_cast<const float4 *>(&g[warp + WARPS * k][i]);
                    sum[k] += u.x * v0 + u.y * v1 + u.z * v2 + u.w * v3;
                }
            }
    }
}

// 0 in this head's channels of this part, where rows are of no sequence: before the first and behind the last.
static __device__ void clear_nobodys(const relations &r, const hs_step_in *step, int64_t r0, int part, int64_t head)
{
    const int64_t d = width_of(r, r.x), live = live_rows(r.x, step), B = live_rows(r.loss, step);
    for (int64_t i = threadIdx.x; i < TILE * d; i += THREADS) {
        const int64_t row = r0 + i / d;
        if (row < live && (row < r.seqs.starts[0] || row >= r.seqs.starts[B]))
            set_one(r.dx, row * r.dx.cols + part * (r.dx.cols / PARTS) + head * d + i % d, 0);
    }
}

static __global__ void __launch_bounds__(THREADS, 2) relation_slopes(relations r, const hs_step_in *step, const hs_step_state *state)
{
    HS_SHARED(float, ta, [TILE][LINE]);
    HS_SHARED(float, tb, [TILE][LINE]);
    HS_SHARED(float, g, [TILE][LINE]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, part = (int)blockIdx.z;
    const int64_t head = blockIdx.y, r0 = (int64_t)blockIdx.x * TILE, d = width_of(r, r.x);
    if (!r.dx.add)
        clear_nobodys(r, step, r0, part, head);
    each_sequence(r, step, r0, [&](int64_t first, int64_t n, int64_t own, int n_own) {
        const float factor = step->inv_count[r.at.loss] * state->scale,
                    scale = factor / (float)((int64_t)r.n_pairs * r.at.heads * r.at.ranks * n) / sqrtf((float)d);
        for (int64_t c0 = 0; c0 < d; c0 += TILE) {
            float sum[EACH] = {};
#pragma unroll 1
            for (int query_key = 0; query_key < (part < 2 ? 2 : 1); query_key++) {
                const int pair = query_key ? QUERY_KEY : part, other = query_key ? 1 - part : part;
                if (has_pair(r, pair))
                    add_pair(sum, ta, tb, g, r, pair, part, other, !query_key || part == 0, !query_key || part == 1, head, first, n, own,
                             n_own, c0);
            }
#pragma unroll
            for (int k = 0; k < EACH; k++)
                if (warp + WARPS * k < n_own && c0 + lane < d)
                    set_one(r.dx, (own + warp + WARPS * k) * r.dx.cols + part * (r.dx.cols / PARTS) + head * d + c0 + lane, sum[k] * scale);
        }
    });
}

// ---- launches

static size_t cells_of(int64_t rows, int64_t heads) { return (size_t)(PAIRS * heads * rows); }

static void run(const hs_args *a, hs_lane *lane, bool train)
{
    const hs_relation_attr *at = static_cast<const hs_relation_attr *>(a->attr);
    const cudaStream_t stream = gpu_stream(lane);
    const size_t cells_all = cells_of(a->in[QKV].rows, at->heads);
    float4 *stats = reinterpret_cast<float4 *>(a->scratch);
    relations r = { a->in[QKV],
                    a->in[TEACHER],
                    a->din[QKV],
                    a->out[LOSS],
                    { cells<int32_t>(a->in[STARTS]), nullptr },
                    *at,
                    0,
                    train ? reinterpret_cast<float *>(stats + cells_all) : reinterpret_cast<float *>(stats),
                    train ? stats : nullptr };
    for (int pair = 0; pair < PAIRS; pair++)
        r.n_pairs += at->pairs >> pair & 1;
    const unsigned tiles = (unsigned)blocks_of(r.x.rows, TILE);
    HS_LAUNCH(relation_rows, dim3(tiles, (unsigned)at->heads, PAIRS), THREADS, 0, stream, r, a->step);
    HS_LAUNCH(relation_losses, dim3((unsigned)r.loss.rows), THREADS, 0, stream, r, a->step);
    if (r.dx.p)
        HS_LAUNCH(relation_slopes, dim3(tiles, (unsigned)at->heads, PARTS), THREADS, 0, stream, r, a->step, a->state);
    if (at->ranks > 1)
        a->comm->all_reduce(a->comm, lane, r.loss.p, r.loss.rows, HS_F32, HS_REDUCE_SUM);
}

static void forward(const hs_args *a, hs_lane *lane) { run(a, lane, false); }
static void backward(const hs_args *a, hs_lane *lane) { run(a, lane, true); }

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const size_t all = cells_of(n->in[QKV]->dim[0], static_cast<const hs_relation_attr *>(n->attr)->heads);
    return { all * (sizeof(float) + (is_backward ? sizeof(float4) : 0)), 0 };
}

extern "C" const hs_kernels hs_cuda_relations = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

// attention_cudnn: what of attention is cuDNN's, and what cuDNN has to be told of lengths and of this step's masks, which lie on the
// device. Three launches: `lay` says where sequences are, how long, and what masks are drawn from, cuDNN's kernel, and `clear` makes zeros
// of what it has no rows for; where all sequences are full the last is not needed, nor the first without dropout.
//
// Gradients are asked for with bits that repeat, as everything here has them, unless any_order: that takes B H S S elements of scratch, and
// no more of them than MOST_SCRATCH.
//
// Dropout is cuDNN's under library_masks alone, and of a node that trains either both passes or none: a gradient by another mask than its
// value's would be wrong without a word.
#include "core/cuda/cudnn_sdpa.h"
#include "core/cuda/gpu.cuh"
#include "ops/attention/attention_cudnn.h"
#include "ops/ops.h"
#include <stdio.h>

enum { QKV, STARTS, KEYS, KV, WHERE, PAGES };
enum { Y, LSE };
enum { WARPS = 8 };
static const size_t MOST_SCRATCH = (size_t)4 << 30;

// ---- the problem, from a node or from its arguments

struct job {
    hs_sdpa_problem p;
    const char *why; // it is not cuDNN's, or NULL
};

static job job_of(const hs_attention_attr *at, int64_t rows, int64_t width, int64_t seqs, hs_dtype dtype, bool keys, bool apart,
                  hs_sdpa_pass pass)
{
    job j = {};
    hs_sdpa_problem &p = j.p;
    const int64_t C = apart ? 0 : width / 3;
    p.b = seqs, p.h = at->heads, p.s = at->longest, p.d = C / at->heads;
    p.row_in = width, p.row_out = C;
    p.dtype = dtype, p.pass = pass, p.causal = at->causal, p.dropout = at->dropout;
    p.repeats = pass == HS_SDPA_BACKWARD && !at->any_order;
    p.rows = !at->full ? HS_SDPA_RAGGED : keys || p.s % 128 ? HS_SDPA_PADDED : HS_SDPA_FULL;
    const char *const too_much =
        p.repeats ? "gradients whose bits repeat take over 4 GiB of scratch (exec.deterministic)" : "it takes over 4 GiB of scratch";
    j.why = p.dropout > 0 && !at->library_masks    ? "its masks have other bits (exec.attention_masks)"
            : apart                                ? "the keys are elsewhere"
            : at->causal && keys                   ? "the position of the first query is not known"
            : !at->longest                         ? "how long a sequence may be is not known"
            : p.b * p.s > 2 * rows                 ? "there is room for many more sequences than tokens"
            : rows * width > INT32_MAX             ? "its offsets are of 32 bits"
            : !hs_dtype_is_low(dtype)              ? "it attends in bf16 and f16"
            : hs_sdpa_workspace(&p) > MOST_SCRATCH ? too_much
                                                   : nullptr;
    return j;
}

static job job_of(const hs_args *a, hs_sdpa_pass pass)
{
    const hs_ref &x = a->in[QKV];
    job j = job_of(static_cast<const hs_attention_attr *>(a->attr), x.rows, x.cols, a->in[STARTS].rows - 1, x.dtype,
                   a->in[KEYS].p != nullptr, a->in[KV].p != nullptr, pass);
    if (!j.why && a->out[Y].dtype != x.dtype)
        j.why = "types differ";
    return j;
}

// Of a forward pass, with every plan that follows from it.
static bool is_taken(const hs_args *a, hs_lane *lane, const job &j)
{
    const char *why = j.why;
    if (!why && j.p.dropout > 0 && j.p.pass == HS_SDPA_FORWARD) {
        const job back = job_of(a, HS_SDPA_BACKWARD);
        why = hs_sdpa_ready(lane, &back.p, back.why) ? nullptr : "its gradients are not, whose masks are the same";
    }
    return hs_sdpa_ready(lane, &j.p, why);
}

// ---- scratch: lengths, offsets and what masks are drawn from, then cuDNN's

struct room {
    int32_t *len_q, *len_kv, *at_in, *at_out, *at_lse;
    int64_t *seed, *offset;
    char *workspace;
    size_t bytes; // of all
};

static room room_of(char *scratch, const hs_sdpa_problem &p)
{
    room r = {};
    const uintptr_t base = (uintptr_t)scratch, align = HS_SDPA_ALIGN;
    uintptr_t at = (base + align - 1) / align * align;
    int32_t **const lists[] = { &r.len_q, &r.len_kv, &r.at_in, &r.at_out, &r.at_lse };
    for (int32_t **list : lists) {
        *list = reinterpret_cast<int32_t *>(at);
        at += ((size_t)(p.b + 1) * sizeof(int32_t) + align - 1) / align * align;
    }
    r.seed = reinterpret_cast<int64_t *>(at), r.offset = reinterpret_cast<int64_t *>(at + align);
    at += 2 * align;
    r.workspace = reinterpret_cast<char *>(at);
    r.bytes = (size_t)(at - base) + hs_sdpa_workspace(&p) + (base ? 0 : align);
    return r;
}

size_t hs_sdpa_scratch(const hs_node *n, bool backward)
{
    const hs_tensor *x = n->in[QKV];
    const job j = job_of(static_cast<const hs_attention_attr *>(n->attr), x->dim[0], x->dim[1], n->in[STARTS]->dim[0] - 1, x->dtype,
                         n->in[KEYS] != nullptr, n->in[KV] != nullptr, backward ? HS_SDPA_BACKWARD : HS_SDPA_FORWARD);
    return j.why ? 0 : room_of(nullptr, j.p).bytes;
}

// ---- lengths

// Rows of sequence b that are queries and keys: from `first` on, `n` of them, of which the first `keys`. None where it is not live, or has
// no keys: y is 0 there. No more than were promised.
struct seq {
    int64_t first, n, keys;
};
static __device__ __forceinline__ int64_t between(int64_t x, int64_t lo, int64_t hi) { return x < lo ? lo : x > hi ? hi : x; }
static __device__ __forceinline__ seq seq_of(const int32_t *starts, const int32_t *keys, int64_t b, int64_t seqs, int64_t rows,
                                             int64_t longest)
{
    seq s;
    s.first = b < seqs ? between(starts[b], 0, rows) : rows;
    s.n = b < seqs ? between(starts[b + 1], s.first, rows) - s.first : 0;
    s.n = s.n < longest ? s.n : longest;
    s.keys = keys && b < seqs ? between(keys[3 * b + 1], 0, s.n) : s.n;
    s.n = s.keys ? s.n : 0;
    return s;
}

struct layout { // what both kernels go by
    const int32_t *starts, *keys;
    hs_ref starts_ref, rows_ref;
    const hs_step_in *step;
    int64_t longest;
};

// What this step's masks of a node are drawn from: cuDNN goes on from there by sequence, head, row and column of the call, so that calls
// for other samples (micro-batches, ranks) and for other heads of the model have seeds of their own.
struct masks {
    const int32_t *where; // NULL: none
    uint64_t site;
    int first_head;
};
static __device__ __forceinline__ void seed_masks(const masks &m, const hs_step_in *step, int64_t rows, const room &r)
{
    const uint64_t first_slot = rows > 0 ? (uint64_t)m.where[0] : 0;
    *r.seed = (int64_t)hs_mix2(hs_mix2(hs_drop_key(step->seed, m.site, step->step), first_slot), (uint64_t)m.first_head);
    *r.offset = 0;
}

static __global__ void lay(layout l, hs_sdpa_problem p, masks m, room r)
{
    const int64_t b = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (b > p.b)
        return;
    const int64_t seqs = live_rows(l.starts_ref, l.step) - 1, rows = live_rows(l.rows_ref, l.step);
    const seq s = seq_of(l.starts, l.keys, b, seqs, rows, l.longest);
    if (b == 0 && m.where)
        seed_masks(m, l.step, rows, r);
    if (b < p.b)
        r.len_q[b] = (int32_t)s.n, r.len_kv[b] = (int32_t)s.keys;
    r.at_in[b] = (int32_t)(s.first * p.row_in), r.at_out[b] = (int32_t)(s.first * p.row_out), r.at_lse[b] = (int32_t)(s.first * p.h);
}

// ---- rows that cuDNN leaves alone

template <int N, class T> static __device__ __forceinline__ void zeros(T *p, int64_t n, int lane)
{
    const float none[N] = {};
    for (int64_t c = lane * N; c < n; c += WARP * N)
        store_f<N>(p + c, none);
}

// A warp looks at a row: of x, the first `queries` columns where it is no query's, those behind up to `all` where it is no key's; of lse,
// h.
template <class T> static __global__ void clear(layout l, T *x, int64_t queries, int64_t all, float *lse, int64_t h)
{
    const int lane = (int)threadIdx.x % WARP;
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, rows = live_rows(l.rows_ref, l.step);
    const int64_t seqs = live_rows(l.starts_ref, l.step) - 1;
    if (row >= rows)
        return;
    int64_t low = 0, high = seqs; // the last sequence that begins at or before it
    while (low + 1 < high) {
        const int64_t mid = (low + high) / 2;
        if (l.starts[mid] <= row)
            low = mid;
        else
            high = mid;
    }
    const seq s = seq_of(l.starts, l.keys, low, seqs, rows, l.longest);
    const bool is_query = row >= s.first && row < s.first + s.n, is_key = row >= s.first && row < s.first + s.keys;
    x += row * all;
    if (!is_query)
        zeros<8>(x, queries, lane);
    if (!is_key)
        zeros<8>(x + queries, all - queries, lane);
    if (!is_query && lse)
        zeros<1>(lse + row * h, h, lane);
}

// ---- running

static void run(const hs_args *a, hs_lane *lane, const hs_sdpa_problem &p, hs_sdpa_operands o)
{
    const hs_attention_attr *at = static_cast<const hs_attention_attr *>(a->attr);
    const room r = room_of(a->scratch, p);
    const layout l = {
        cells<const int32_t>(a->in[STARTS]), cells<const int32_t>(a->in[KEYS]), a->in[STARTS], a->in[QKV], a->step, at->longest
    };
    const cudaStream_t stream = gpu_stream(lane);
    const int64_t C = p.row_out, bytes = C * (int64_t)hs_dtype_bytes(p.dtype);
    o.q = a->in[QKV].p, o.k = a->in[QKV].p + bytes, o.v = a->in[QKV].p + 2 * bytes;
    o.y = a->out[Y].p, o.lse = cells<float>(a->out[LSE]);
    o.len_q = r.len_q, o.len_kv = r.len_kv, o.at_in = r.at_in, o.at_out = r.at_out, o.at_lse = r.at_lse;
    o.seed = r.seed, o.offset = r.offset;
    o.workspace = r.workspace;
    o.scale = at->scale != 0 ? at->scale : 1 / sqrtf((float)p.d);
    const masks m = { p.dropout > 0 ? cells<const int32_t>(a->in[WHERE]) : nullptr, a->site, at->first_head };
    if (p.rows != HS_SDPA_FULL || p.dropout > 0)
        HS_LAUNCH(lay, grid_of(p.b + 1, 128), 128, 0, stream, l, p, m, r);
    hs_sdpa_run(lane, &p, &o);
    if (p.rows == HS_SDPA_FULL)
        return;
    const bool backward = p.pass == HS_SDPA_BACKWARD;
    const hs_ref &x = backward ? a->din[QKV] : a->out[Y];
    BY_LOW(
        p.dtype, T,
        HS_LAUNCH((clear<T>), grid_of(x.rows, WARPS), WARPS * WARP, 0, stream, l, cells<T>(x), C, x.cols, backward ? nullptr : o.lse, p.h));
}

bool hs_sdpa_forward(const hs_args *a, hs_lane *lane)
{
    const job j = job_of(a, a->out[LSE].p ? HS_SDPA_FORWARD : HS_SDPA_INFERENCE);
    if (!is_taken(a, lane, j))
        return false;
    run(a, lane, j.p, {});
    return true;
}

bool hs_sdpa_backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[QKV], &dx = a->din[QKV], &dy = a->dout[Y];
    if (!dx.p)
        return false;
    job j = job_of(a, HS_SDPA_BACKWARD);
    if (!j.why && (dx.dtype != x.dtype || dy.dtype != x.dtype || dx.add))
        j.why = dx.add ? "it writes gradients, and does not add to them" : "types differ";
    if (!hs_sdpa_ready(lane, &j.p, j.why)) {
        const bool is_late = j.p.dropout > 0 && is_taken(a, lane, job_of(a, HS_SDPA_FORWARD));
        if (is_late && !lane->failed[0])
            snprintf(lane->failed, sizeof lane->failed, "cuDNN dropped by masks of its own, and has no gradient by them: %s", j.why);
        return is_late;
    }
    hs_sdpa_operands o = {};
    const int64_t bytes = j.p.row_out * (int64_t)hs_dtype_bytes(j.p.dtype);
    o.dy = dy.p;
    o.dq = dx.p, o.dk = dx.p + bytes, o.dv = dx.p + 2 * bytes;
    run(a, lane, j.p, o);
    return true;
}

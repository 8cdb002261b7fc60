// crf on CUDA: a block per sequence, a thread per tag; the definition is in crf.c. Logs of sums over paths are f64, as there. Walking on
// and back goes token by token; what follows from both - probabilities of tags and of pairs - is made for all tokens side by side. A
// sequence leaves its sums of dnext, dfirst and dlast in scratch; a second launch adds sequences in order.
#include "ops/ops.h"
#include "ops/rows/seq_rows.cuh"

enum { X, TARGET, STARTS, NEXT, BEGIN, END };
enum { LOSS };
enum { WARPS = 4, THREADS = WARPS * WARP, MOST_LABELS = 1024 };

typedef struct crf {
    hs_ref x, loss, dx; // dx.p NULL: not wanted
    seq_rows seqs;
    const int32_t *target;
    const float *next, *begin, *end;
    int32_t labels, which;
    // of training; by row of x
    double *before; // [N, L] log of the sum over paths up to here with that tag
    double *behind; // [N, L] x of this token and the sum over paths from it on
    double *all;    // [N]    log of the sum over tags of before + behind - x: what this token's probabilities, and pairs', are divided by
    float *sums;    // [sequences][L L + 2 L] of dnext, dfirst, dlast
} crf;

typedef struct chain {  // of a sequence
    int64_t first, end; // its rows
    bool inside;        // they, and all targets, are where they should be
} chain;

static __device__ __forceinline__ int64_t chain_next(const crf &k, int64_t row, int64_t end) // end: there is none
{
    for (row++; row < end && k.target[row] < 0;)
        row++;
    return row;
}
static __device__ __forceinline__ int64_t chain_before(const crf &k, int64_t row, int64_t first) // first - 1: there is none
{
    for (row--; row >= first && k.target[row] < 0;)
        row--;
    return row;
}

static __device__ chain chain_of(const crf &k, int64_t b, int64_t live)
{
    chain c;
    int64_t n;
    c.inside = k.seqs.of(b, live, c.first, n);
    c.end = c.inside ? c.first + n : c.first;
    bool mine = true;
    for (int64_t i = c.first + threadIdx.x; i < c.end; i += THREADS)
        mine = mine && k.target[i] < k.labels;
    c.inside = __syncthreads_and(mine) && c.inside;
    return c;
}

// log of the sum of e^term(i), i < n: differences near 0 are what becomes an e^x, in f32
template <class Term> static __device__ __forceinline__ double log_sum(int64_t n, Term &&term)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, term(i));
    const double shift = max > -INFINITY ? max : 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)expf((float)(term(i) - shift));
    return shift + log(sum);
}

// Paths from the first token on; now, then: L doubles of shared memory each. The loss, in thread 0.
static __device__ float walk_on(const crf &k, const chain &c, bool keep, double *now, double *then)
{
    const int64_t L = k.labels, V = k.x.cols;
    const float *rows = reinterpret_cast<const float *>(k.x.p);
    double score = 0;
    int64_t last = -1;
    for (int64_t t = chain_next(k, c.first - 1, c.end); t < c.end; last = t, t = chain_next(k, t, c.end)) {
        const float *x = rows + t * V;
        const int32_t y = k.target[t];
        score += (double)x[y] + (double)(last < 0 ? k.begin[y] : k.next[k.target[last] * L + y]);
        for (int64_t j = threadIdx.x; j < L; j += THREADS) {
            const double paths = last < 0 ? (double)k.begin[j] : log_sum(L, [&](int64_t i) { return then[i] + (double)k.next[i * L + j]; });
            now[j] = paths + (double)x[j];
            if (keep)
                k.before[t * L + j] = now[j];
        }
        __syncthreads(); // each is read by all in the next step
        double *swap = now;
        now = then, then = swap;
    }
    if (last < 0 || threadIdx.x > 0)
        return 0;
    return (float)(log_sum(L, [&](int64_t j) { return then[j] + (double)k.end[j]; }) - score - (double)k.end[k.target[last]]);
}

// The same from the last token back; from: L doubles of shared memory.
static __device__ void walk_back(const crf &k, const chain &c, double *from)
{
    const int64_t L = k.labels, V = k.x.cols;
    const float *rows = reinterpret_cast<const float *>(k.x.p);
    __syncthreads(); // walk_on is done with it
    for (int64_t j = threadIdx.x; j < L; j += THREADS)
        from[j] = (double)k.end[j];
    for (int64_t t = chain_before(k, c.end, c.first), front; t >= c.first; t = front) {
        double *behind = k.behind + t * L;
        front = chain_before(k, t, c.first);
        for (int64_t j = threadIdx.x; j < L; j += THREADS)
            behind[j] = from[j] + (double)rows[t * V + j];
        __syncthreads(); // of all tags; the last token's ends what whoever has a token from here on waits for
        for (int64_t i = threadIdx.x; i < L && front >= c.first; i += THREADS)
            from[i] = log_sum(L, [&](int64_t j) { return (double)k.next[i * L + j] + behind[j]; });
    }
}

// Log of what is the probability of tag j at row t times e^all.
static __device__ __forceinline__ double tag_at(const crf &k, int64_t t, int64_t j)
{
    const int64_t at = t * k.labels + j;
    return k.before[at] + (k.behind[at] - (double)reinterpret_cast<const float *>(k.x.p)[t * k.x.cols + j]);
}

static __device__ void write_rows(const crf &k, const chain &c, float factor)
{
    const int64_t L = k.labels, V = k.x.cols;
    for (int64_t t = c.first + threadIdx.x; t < c.end; t += THREADS) {
        const int32_t y = k.target[t];
        if (y >= 0 && c.inside)
            k.all[t] = log_sum(L, [&](int64_t j) { return tag_at(k, t, j); });
        float *d = reinterpret_cast<float *>(k.dx.p) + t * V;
        for (int64_t j = 0; j < V && k.dx.p; j++) {
            const float slope = y < 0 || j >= L ? 0
                                : c.inside      ? factor * (expf((float)(tag_at(k, t, j) - k.all[t])) - (j == y ? 1 : 0))
                                                : NAN;
            d[j] = k.dx.add ? d[j] + slope : slope;
        }
    }
    __syncthreads(); // pairs divide by another row's sum
}

// Of one sequence: how often each pair is expected less how often the targets have it, the same of first and last tags.
static __device__ void sum_pairs(const crf &k, const chain &c, float *sums)
{
    const int64_t L = k.labels, begin = c.inside ? chain_next(k, c.first - 1, c.end) : c.end;
    for (int64_t at = threadIdx.x; at < L * L; at += THREADS) {
        const int64_t i = at / L, j = at % L;
        float sum = 0;
        int64_t last = begin;
        for (int64_t t = last < c.end ? chain_next(k, last, c.end) : c.end; t < c.end; last = t, t = chain_next(k, t, c.end)) {
            sum += expf((float)(k.before[last * L + i] - k.all[t] + (double)k.next[at] + k.behind[t * L + j]));
            if (k.target[last] == i && k.target[t] == j)
                sum -= 1;
        }
        sums[at] = sum;
    }
    const int64_t ends[2] = { begin, c.inside ? chain_before(k, c.end, c.first) : c.first - 1 };
    const bool any = begin < c.end;
    for (int64_t at = threadIdx.x; at < 2 * L; at += THREADS) {
        const int64_t t = at < L ? ends[0] : ends[1], j = at % L;
        sums[L * L + at] = any ? expf((float)(tag_at(k, t, j) - k.all[t])) - (k.target[t] == j ? 1 : 0) : 0;
    }
}

static __device__ void clear_nobodys(const crf &k, int64_t B, int64_t live) // rows before the first sequence and behind the last
{
    float *d = reinterpret_cast<float *>(k.dx.p);
    const int64_t V = k.x.cols, front = k.seqs.starts[0] < live ? k.seqs.starts[0] : live,
                  back = k.seqs.starts[B] > 0 ? k.seqs.starts[B] : 0;
    for (int64_t i = threadIdx.x; i < front * V; i += THREADS)
        d[i] = 0;
    for (int64_t i = back * V + threadIdx.x; i < live * V; i += THREADS)
        d[i] = 0;
}

static __global__ void __launch_bounds__(THREADS) crf_losses(crf k, bool train, const hs_step_in *step, const hs_step_state *state)
{
    HS_DYN_SHARED(double, room); // 2 L
    const int64_t b = blockIdx.x, B = live_rows(k.loss, step), live = live_rows(k.x, step), L = k.labels;
    if (b == B && k.dx.p && !k.dx.add)
        clear_nobodys(k, B, live);
    if (b >= B)
        return;
    const chain c = chain_of(k, b, live);
    float loss = NAN;
    if (c.inside)
        loss = walk_on(k, c, train, room, room + L);
    if (threadIdx.x == 0)
        reinterpret_cast<float *>(k.loss.p)[b] = loss;
    if (!train)
        return;
    if (c.inside)
        walk_back(k, c, room);
    write_rows(k, c, step->inv_count[k.which] * state->scale);
    sum_pairs(k, c, k.sums + b * (L * L + 2 * L));
}

// Cells [first, first + n) of the sums, over sequences in order.
static __global__ void crf_sums(crf k, int64_t first, int64_t n, float *y, bool add, const hs_step_in *step, const hs_step_state *state)
{
    const int64_t L = k.labels, at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, B = live_rows(k.loss, step);
    if (at >= n)
        return;
    float sum = 0;
    for (int64_t b = 0; b < B; b++)
        sum += k.sums[b * (L * L + 2 * L) + first + at];
    sum *= step->inv_count[k.which] * state->scale;
    y[at] = add ? y[at] + sum : sum;
}

static crf crf_of(const hs_args *a)
{
    const hs_label_attr *at = static_cast<const hs_label_attr *>(a->attr);
    const int64_t N = a->in[X].rows, L = at->labels;
    double *const scratch = reinterpret_cast<double *>(a->scratch);
    return { a->in[X],
             a->out[LOSS],
             a->din[X],
             { cells<int32_t>(a->in[STARTS]), nullptr },
             cells<int32_t>(a->in[TARGET]),
             cells<float>(a->in[NEXT]),
             cells<float>(a->in[BEGIN]),
             cells<float>(a->in[END]),
             at->labels,
             at->loss,
             scratch,
             scratch + N * L,
             scratch + 2 * N * L,
             reinterpret_cast<float *>(scratch + 2 * N * L + N) };
}

static void run(const hs_args *a, hs_lane *lane, bool train)
{
    const crf k = crf_of(a);
    HS_LAUNCH(crf_losses, dim3((unsigned)a->out[LOSS].rows + 1), THREADS, 2 * (size_t)k.labels * sizeof(double), gpu_stream(lane), k, train,
              a->step, a->state); // a block more, for rows of no sequence
}

// One input after the other: two of them may be one tensor.
static void add_sums(const hs_args *a, int input, int64_t first, int64_t n, cudaStream_t stream)
{
    const hs_ref &to = a->din[input];
    if (to.p)
        HS_LAUNCH(crf_sums, grid_of(n, 64), 64, 0, stream, crf_of(a), first, n, cells<float>(to), to.add, a->step, a->state);
}

static void forward(const hs_args *a, hs_lane *lane) { run(a, lane, false); }
static void backward(const hs_args *a, hs_lane *lane)
{
    const int64_t L = static_cast<const hs_label_attr *>(a->attr)->labels;
    run(a, lane, true);
    add_sums(a, NEXT, 0, L * L, gpu_stream(lane));
    add_sums(a, BEGIN, L * L, L, gpu_stream(lane));
    add_sums(a, END, L * L + L, L, gpu_stream(lane));
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], L = static_cast<const hs_label_attr *>(n->attr)->labels, B = n->in[STARTS]->dim[0] - 1;
    return { is_backward ? (size_t)(2 * N * L + N) * sizeof(double) + (size_t)(B * (L * L + 2 * L)) * sizeof(float) : 0, 0 };
}

static const char *decline(const hs_node *n)
{
    return static_cast<const hs_label_attr *>(n->attr)->labels > MOST_LABELS ? "over 1,024 tags" : nullptr;
}

extern "C" const hs_kernels hs_cuda_crf = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch, decline };

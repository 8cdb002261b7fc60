// tp_linear_xent on CUDA: as linear_xent, with the two exchanges between what a row's columns say here and what is made of all ranks'; the
// definition is in tp_linear_xent.c. Calls are of whole chunks: rows that do not live travel as nothing.
#include "core/graph/comm.h"
#include "ops/attrs.h"
#include "ops/loss/xent_chunks.cuh"

enum { ROWS = 2 };                                                 // output: [N_STATS, rows of a chunk]
enum { MAX_HERE, MAX, SUM_EXP, TARGET_LOGIT, SUM_PLAIN, N_STATS }; // behind each other, as they travel

typedef struct chunk { // rows [r, r + m) of x
    hs_ref x;
    int64_t r, m, V, K; // K: of the classes, how many have a row of w here; rows behind them are padding
    const int32_t *target;
    float *stat, *loss; // stat: [N_STATS][m]
    hs_tp_linear_xent_attr at;
    bool train;
} chunk;

static __device__ __forceinline__ bool is_here(const chunk &k, int32_t t) { return t >= k.at.first && t - k.at.first < k.K; }

// What this rank's columns say of each row.
template <int WARPS, int N, class T>
static __global__ void __launch_bounds__(WARPS *WARP) tp_xent_read(const T *logits, chunk k, const hs_step_in *step)
{
    HS_SHARED(float, at, [WARPS]);
    const int64_t i = blockIdx.x, m = k.m;
    const bool lives = k.r + i < live_rows(k.x, step);
    const int32_t t = lives ? k.target[k.r + i] : k.at.ignore;
    const bool counts = lives && t != k.at.ignore;
    const T *x = logits + i * k.V;
    xent_sums s = { -INFINITY, 0, 0 };
    if (counts) // the same for all of the block
        s = xent_read<WARPS, N>(x, k.K, k.at.smoothing > 0, at);
    if (threadIdx.x > 0)
        return;
    k.stat[MAX_HERE * m + i] = k.stat[MAX * m + i] = s.max;
    k.stat[SUM_EXP * m + i] = s.exp;
    k.stat[TARGET_LOGIT * m + i] = counts && is_here(k, t) ? to_f(x[t - k.at.first]) : 0;
    k.stat[SUM_PLAIN * m + i] = s.plain;
}

// Between the exchanges: sums by the largest of all ranks. A rank of padding alone has -Inf and 0.
static __global__ void tp_xent_shift(float *stat, int64_t m)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= m)
        return;
    const float max = stat[MAX * m + i];
    stat[SUM_EXP * m + i] *= expf(stat[MAX_HERE * m + i] - (max > -INFINITY ? max : 0));
}

template <int WARPS, int N, class T>
static __global__ void __launch_bounds__(WARPS *WARP) tp_xent_write(T *logits, chunk k, const hs_step_in *step, const hs_step_state *state)
{
    const int64_t i = blockIdx.x, m = k.m;
    const bool lives = k.r + i < live_rows(k.x, step);
    const int32_t t = lives ? k.target[k.r + i] : k.at.ignore;
    const float *stat = k.stat + i, e = k.at.smoothing, classes = (float)k.at.classes, max = stat[MAX * m], sum = stat[SUM_EXP * m];
    const bool inside = t >= 0 && t < k.at.classes;
    const float x_t = inside ? stat[TARGET_LOGIT * m] : NAN;
    T *x = logits + i * k.V;
    if (threadIdx.x == 0 && lives) // the difference first: it is small where the loss is
        k.loss[k.r + i] = t == k.at.ignore ? 0 : logf(sum) + (max - (1 - e) * x_t) - e * (e > 0 ? stat[SUM_PLAIN * m] / classes : 0);
    if (!k.train)
        return;
    if (t == k.at.ignore) {
        xent_write<WARPS, N>(x, k.V, k.K, 0, 0, 0);
        return;
    }
    const float factor = xent_factor(step, state, k.at.loss);
    xent_write<WARPS, N>(x, k.V, k.K, inside ? max : NAN, factor / sum, factor * e / classes);
    if (inside && is_here(k, t) && xent_has<WARPS, N>(t - k.at.first)) // the target's own cell anew, in f32: see xent_losses.cuh
        from_f(x[t - k.at.first], factor * (expf(x_t - max) / sum - (1 - e) - e / classes));
}

static void walk(const hs_args *a, hs_lane *lane, bool train)
{
    const hs_tp_linear_xent_attr *at = static_cast<const hs_tp_linear_xent_attr *>(a->attr);
    const int64_t left = at->classes - at->first, here = left < 0 ? 0 : left < a->in[W].rows ? left : a->in[W].rows;
    const cudaStream_t stream = gpu_stream(lane);
    for_chunks(r, m, a)
    {
        const hs_ref logits = chunk_logits(a, m);
        float *stat = cells<float>(a->out[ROWS]);
        const chunk k = { a->in[X], r, m, logits.cols, here, cells<int32_t>(a->in[TARGET]), stat, cells<float>(a->out[LOSS]), *at, train };
        chunk_product(a, lane, r, m);
        BY_XENT_WIDTH(logits, BY_FLOAT(logits.dtype, T,
                                       HS_LAUNCH((tp_xent_read<WARPS, N, T>), dim3((unsigned)m), WARPS * WARP, 0, stream, cells<T>(logits),
                                                 k, a->step)));
        a->comm->all_reduce(a->comm, lane, stat + MAX * m, m, HS_F32, HS_REDUCE_MAX);
        HS_LAUNCH(tp_xent_shift, grid_of(m, 128), 128, 0, stream, stat, m);
        a->comm->all_reduce(a->comm, lane, stat + SUM_EXP * m, (at->smoothing > 0 ? 3 : 2) * m, HS_F32, HS_REDUCE_SUM);
        BY_XENT_WIDTH(logits, BY_FLOAT(logits.dtype, T,
                                       HS_LAUNCH((tp_xent_write<WARPS, N, T>), dim3((unsigned)m), WARPS * WARP, 0, stream, cells<T>(logits),
                                                 k, a->step, a->state)));
        if (train)
            chunk_gradients(a, lane, r, m);
    }
}

static void forward(const hs_args *a, hs_lane *lane) { walk(a, lane, false); }
static void backward(const hs_args *a, hs_lane *lane) { walk(a, lane, true); }

static void room(hs_node *n)
{
    chunk_room(n);
    n->out[ROWS]->dim[1] = n->out[LOGITS]->dim[0];
}

extern "C" const hs_kernels hs_cuda_tp_linear_xent = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, chunk_scratch, nullptr, {}, room };

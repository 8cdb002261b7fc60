// decide on CUDA: what a step comes to is settled by one block, without the host (decide.h has what is settled, decide.c the CPU's). Sums
// are in double: each thread its partials in order, then the threads.
#include "core/cuda/gpu.cuh"
#include "optim/decide.h"

enum { WARPS = 16, THREADS = WARPS * WARP };

typedef struct table { // of a decision: the partials of all chunks, and what names the gradients
    const hs_update_chunk *chunk;
    const hs_partial *partial;
    int64_t n;
    const int32_t *order, *found; // found NULL: this rank sees all partials
    int64_t *bad;
    int32_t n_params;
} table;

static __device__ __forceinline__ bool any_bad(const hs_partial *partial, int64_t n)
{
    bool mine = false;
    for (int64_t k = threadIdx.x; k < n; k += THREADS)
        mine |= partial[k].b > 0;
    return __syncthreads_or(mine);
}

// Whoever reads the counts meets the block first (block_sum).
static __device__ void count_bad(const table &t)
{
    for (int32_t i = (int32_t)threadIdx.x; i < t.n_params; i += THREADS)
        t.bad[i] = 0;
    __syncthreads();
    for (int64_t k = threadIdx.x; k < t.n; k += THREADS) // integers: the order does not count
        if (t.partial[k].b > 0)
            atomicAdd(reinterpret_cast<unsigned long long *>(&t.bad[t.chunk[k].param]), (unsigned long long)t.partial[k].b);
}

static __global__ void settle_step(table t, hs_optim_config settings, hs_update_step *now, const hs_step_in *step, hs_step_state *state,
                                   uint64_t moments)
{
    HS_SHARED(double, at, [WARPS]);
    const bool overflow = t.found ? *t.found != 0 : any_bad(t.partial, t.n);
    double squares = 0;
    if (overflow)
        count_bad(t);
    else
        for (int64_t k = threadIdx.x; k < t.n; k += THREADS)
            squares += t.partial[k].a;
    squares = block_sum<WARPS>(squares, at);
    if (threadIdx.x > 0)
        return;
    if (overflow)
        hs_decide_bad(state, t.bad, t.order, t.n_params);
    hs_decide_step(&settings, now, state, overflow, squares, step->seed, moments);
}

extern "C" void hs_cuda_optim_decide(const hs_args *a, hs_lane *lane)
{
    const table t = { cells<hs_update_chunk>(a->in[0]), cells<hs_partial>(a->in[1]), a->in[1].rows,          cells<int32_t>(a->in[2]),
                      cells<int32_t>(a->in[3]),         cells<int64_t>(a->out[1]),   (int32_t)a->out[1].rows };
    HS_LAUNCH(settle_step, 1, THREADS, 0, gpu_stream(lane), t, *static_cast<const hs_optim_config *>(a->attr),
              cells<hs_update_step>(a->out[0]), a->step, a->state, hs_hash_string("optim.moments"));
}

// ---- several ranks

static __global__ void clear_uncounted(const hs_update_chunk *chunk, hs_partial *partial, int64_t n)
{
    const int64_t k = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (k < n && !chunk[k].counted)
        partial[k].a = partial[k].b = 0;
}

extern "C" void hs_cuda_optim_total(const hs_args *a, hs_lane *lane)
{
    const int64_t n = a->in[0].rows;
    if (n < 1)
        return;
    HS_LAUNCH(clear_uncounted, grid_of(n, THREADS), THREADS, 0, gpu_stream(lane), cells<hs_update_chunk>(a->in[0]),
              cells<hs_partial>(a->out[0]), n);
    a->comm->all_reduce(a->comm, lane, a->out[0].p, 2 * a->out[0].rows, HS_F64, HS_REDUCE_SUM);
}

static __global__ void note_bad(const hs_partial *partial, int64_t n, int32_t *found)
{
    const bool bad = any_bad(partial, n);
    if (threadIdx.x == 0)
        *found = bad;
}

extern "C" void hs_cuda_optim_vote(const hs_args *a, hs_lane *lane)
{
    HS_LAUNCH(note_bad, 1, THREADS, 0, gpu_stream(lane), cells<hs_partial>(a->in[0]), a->in[0].rows, cells<int32_t>(a->out[0]));
    a->comm->all_reduce(a->comm, lane, a->out[0].p, 1, HS_I32, HS_REDUCE_MAX);
}

static __global__ void deal_back(const int32_t *spot, const hs_partial *dealt, hs_partial *partial, int64_t n)
{
    const int64_t k = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (k < n)
        partial[k] = dealt[spot[k]];
}

extern "C" void hs_cuda_optim_gather(const hs_args *a, hs_lane *lane)
{
    const hs_move *m = static_cast<const hs_move *>(a->attr);
    const int64_t n = a->out[1].rows;
    a->comm->gather_parts(a->comm, lane, a->out[0].p, m->parts, HS_F64);
    if (n > 0)
        HS_LAUNCH(deal_back, grid_of(n, THREADS), THREADS, 0, gpu_stream(lane), cells<int32_t>(a->in[0]), cells<hs_partial>(a->out[0]),
                  cells<hs_partial>(a->out[1]), n);
}

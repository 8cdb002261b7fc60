// core_kernels: what core asks of a GPU by itself (core/run/device.h says what each does; core_table.c is the table).
#include "core/cuda/gpu.cuh"
#include "core/run/device.h"

enum { WARPS = 16, THREADS = WARPS * WARP, KEEP = 4, LOSSES = HS_N_LOSS_SETS * HS_N_LOSS };

// ---- losses. In double: each thread its rows in order, then the threads.

static __global__ void sum_losses(hs_ref loss, const hs_step_in *step, hs_step_state *state, hs_loss_sum to)
{
    HS_SHARED(double, at, [WARPS]);
    const float *x = reinterpret_cast<const float *>(loss.p);
    const int64_t n = live_rows(loss, step);
    double sum = 0;
    for (int64_t k = threadIdx.x; k < n; k += THREADS)
        sum += (double)x[k];
    sum = block_sum<WARPS>(sum, at);
    double *y = &state->loss[to.set][to.loss];
    if (threadIdx.x == 0)
        *y = (step->micro || to.goes_on ? *y : 0) + sum * (double)step->inv_count[to.loss];
}

extern "C" void hs_cuda_loss_sum(const hs_args *a, hs_lane *lane)
{
    HS_LAUNCH(sum_losses, 1, THREADS, 0, gpu_stream(lane), a->in[0], a->step, a->state, *static_cast<const hs_loss_sum *>(a->attr));
}

// Sets that did not run travel as zeros, so that one call is the same in every step.
static __global__ void pack_losses(const hs_step_in *step, const hs_step_state *state, double *room)
{
    const int i = (int)threadIdx.x;
    room[i] = step->ran >> (i / HS_N_LOSS) & 1 ? state->loss[i / HS_N_LOSS][i % HS_N_LOSS] : 0;
}
static __global__ void unpack_losses(const hs_step_in *step, hs_step_state *state, const double *room)
{
    const int i = (int)threadIdx.x;
    if (step->ran >> (i / HS_N_LOSS) & 1)
        state->loss[i / HS_N_LOSS][i % HS_N_LOSS] = room[i];
}

extern "C" void hs_cuda_loss_total(const hs_args *a, hs_lane *lane)
{
    double *room = cells<double>(a->out[0]);
    HS_LAUNCH(pack_losses, 1, LOSSES, 0, gpu_stream(lane), a->step, a->state, room);
    a->comm->all_reduce(a->comm, lane, room, LOSSES, HS_F64, HS_REDUCE_SUM);
    HS_LAUNCH(unpack_losses, 1, LOSSES, 0, gpu_stream(lane), a->step, a->state, room);
}

// ---- gradients that are kept where others lie

template <int N> static __global__ void keep_cells(const float *x, float *y, int64_t n, bool add)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i + N <= n) {
        float v[N];
        load_f<N>(x + i, v);
        put_f<N>(y + i, v, add);
    } else
        for (int64_t k = i; k < n; k++)
            y[k] = add ? y[k] + x[k] : x[k];
}

extern "C" void hs_cuda_keep(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[0], &y = a->out[0];
    if (y.rows < 1)
        return;
    if (((uintptr_t)x.p | (uintptr_t)y.p) % 16 == 0)
        HS_LAUNCH((keep_cells<KEEP>), grid_of(y.rows, THREADS * KEEP), THREADS, 0, gpu_stream(lane), cells<float>(x), cells<float>(y),
                  y.rows, y.add);
    else
        HS_LAUNCH((keep_cells<1>), grid_of(y.rows, THREADS), THREADS, 0, gpu_stream(lane), cells<float>(x), cells<float>(y), y.rows, y.add);
}

// ---- the record of a step

static __global__ void write_record(hs_step_log *log, const hs_step_in *step, const hs_step_state *state)
{
    const int i = (int)threadIdx.x;
    const int64_t n = log->n;
    hs_step_record *to = &log->at[n % HS_STEP_RECORDS];
    to->loss[i / HS_N_LOSS][i % HS_N_LOSS] = state->loss[i / HS_N_LOSS][i % HS_N_LOSS];
    __syncthreads(); // all have read n
    if (i == 0)
        hs_step_record_head(to, step, state), log->n = n + 1;
}

extern "C" void hs_cuda_record(const hs_args *a, hs_lane *lane)
{
    HS_LAUNCH(write_record, 1, LOSSES, 0, gpu_stream(lane), cells<hs_step_log>(a->out[0]), a->step, a->state);
}

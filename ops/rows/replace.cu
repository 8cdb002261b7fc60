// replace on CUDA: y takes the last pick of each place, then what that pick says.
#include "core/cuda/gpu.cuh"

enum { IDS, PICKS, DRAWN, TARGET };
enum { Y, LABEL };
enum { THREADS = 256 };

static __global__ void clear_picks(hs_ref y, const hs_step_in *step)
{
    const int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n < live_rows(y, step))
        reinterpret_cast<int32_t *>(y.p)[n] = -1;
}

static __global__ void last_picks(hs_ref picks, const int32_t *target, hs_ref y, const hs_step_in *step)
{
    const int64_t p = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (p >= live_rows(picks, step))
        return;
    const int32_t row = reinterpret_cast<const int32_t *>(picks.p)[p];
    if (row >= 0 && row < live_rows(y, step) && target[p] >= 0)
        atomicMax(reinterpret_cast<int32_t *>(y.p) + row, (int32_t)p);
}

static __global__ void put_picks(const int32_t *ids, const int32_t *drawn, const int32_t *target, hs_ref y, float *label,
                                 const hs_step_in *step)
{
    const int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n >= live_rows(y, step))
        return;
    int32_t *const to = reinterpret_cast<int32_t *>(y.p) + n;
    const int32_t p = *to;
    *to = p < 0 ? ids[n] : drawn[p];
    label[n] = p >= 0 && drawn[p] != target[p] ? 1.0f : 0.0f;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &picks = a->in[PICKS], &y = a->out[Y];
    const int32_t *const drawn = cells<int32_t>(a->in[DRAWN]), *const target = cells<int32_t>(a->in[TARGET]);
    cudaStream_t stream = gpu_stream(lane);
    HS_LAUNCH(clear_picks, grid_of(y.rows, THREADS), THREADS, 0, stream, y, a->step);
    HS_LAUNCH(last_picks, grid_of(picks.rows, THREADS), THREADS, 0, stream, picks, target, y, a->step);
    HS_LAUNCH(put_picks, grid_of(y.rows, THREADS), THREADS, 0, stream, cells<int32_t>(a->in[IDS]), drawn, target, y,
              cells<float>(a->out[LABEL]), a->step);
}

extern "C" const hs_kernels hs_cuda_replace = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

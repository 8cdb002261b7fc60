// tp_own_rows on CUDA: the definition is in tp_own_rows.c.
#include "ops/tp/tp_rows.cuh"

enum { X };
enum { Y };

static __global__ void own_rows(tp_shares s, int32_t *y, const hs_step_in *step)
{
    const int64_t live = live_rows(s.whole, step), first = hs_share_first(live, s.rank, s.ranks), C = s.whole.cols,
                  i = (int64_t)blockIdx.x * TP_THREADS + threadIdx.x;
    if (i < (hs_share_first(live, s.rank + 1, s.ranks) - first) * C)
        y[i] = reinterpret_cast<const int32_t *>(s.whole.p)[first * C + i];
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const tp_shares s = tp_shares_of(a, a->in[X]);
    HS_LAUNCH(own_rows, grid_of(s.share * s.whole.cols, TP_THREADS), TP_THREADS, 0, gpu_stream(lane), s, cells<int32_t>(a->out[Y]),
              a->step);
}

extern "C" const hs_kernels hs_cuda_tp_own_rows = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

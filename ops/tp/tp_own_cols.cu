// tp_own_cols on CUDA: the definition is in tp_own_cols.c. A thread has one column of the whole matrix in backward, of the slice in
// forward.
#include "core/cuda/gpu.cuh"
#include "ops/attrs.h"

enum { X };
enum { Y };
enum { THREADS = 256 };

typedef struct slices { // of the whole matrix's `parts` blocks of columns this rank's share, one behind the other
    hs_tp_own_cols_attr at;
    int64_t part, own; // columns of a part, of a rank's share of it
} slices;
static slices slices_of(const hs_args *a, int64_t whole_cols)
{
    const hs_tp_own_cols_attr at = *static_cast<const hs_tp_own_cols_attr *>(a->attr);
    return { at, whole_cols / at.parts, whole_cols / (at.parts * at.ranks) };
}

static __global__ void own_cols(slices s, hs_ref y, hs_ref x, const hs_step_in *step)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, row = i / y.cols, c = i % y.cols;
    if (row < live_rows(x, step))
        set_one(y, i, get_one(x, row * x.cols + c / s.own * s.part + s.at.rank * s.own + c % s.own));
}

static __global__ void own_cols_bwd(slices s, hs_ref dx, hs_ref dy, const hs_step_in *step)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, row = i / dx.cols, c = i % dx.cols, in_part = c % s.part;
    if (row >= live_rows(dy, step))
        return;
    const bool mine = in_part / s.own == s.at.rank;
    if (mine)
        set_one(dx, i, get_one(dy, row * dy.cols + c / s.part * s.own + in_part % s.own));
    else if (!dx.add)
        set_one(dx, i, 0);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &y = a->out[Y];
    HS_LAUNCH(own_cols, grid_of(y.rows * y.cols, THREADS), THREADS, 0, gpu_stream(lane), slices_of(a, x.cols), y, x, a->step);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &dx = a->din[X], &dy = a->dout[Y];
    if (dx.p)
        HS_LAUNCH(own_cols_bwd, grid_of(dx.rows * dx.cols, THREADS), THREADS, 0, gpu_stream(lane), slices_of(a, dx.cols), dx, dy, a->step);
}

extern "C" const hs_kernels hs_cuda_tp_own_cols = { forward, backward, HS_PART_FREE, HS_PART_FREE };

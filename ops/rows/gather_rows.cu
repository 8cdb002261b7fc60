// gather_rows on CUDA: the kernels are in lookup.cuh.
#include "ops/rows/lookup.cuh"

enum { X, ROWS };
enum { Y };

static void forward(const hs_args *a, hs_lane *lane)
{
    look_up({ a->in[X], hs_ref{}, a->out[Y], cells<int32_t>(a->in[ROWS]), nullptr, 0, 0, 0 }, a->step, gpu_stream(lane));
}
static void backward(const hs_args *a, hs_lane *lane)
{
    scatter_rows(a, lane, { cells<int32_t>(a->in[ROWS]), 1, 0 }, a->din[X], a->dout[Y]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    return { is_backward ? scatter_bytes(n->in[ROWS]->dim[0], n->in[X]->dim[1]) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_gather_rows = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

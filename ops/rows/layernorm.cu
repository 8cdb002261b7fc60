// layernorm on CUDA: the kernels are in norm.cuh.
#include "ops/attrs.h"
#include "ops/rows/norm.cuh"

enum { X, GAMMA, BETA };
enum { Y, STATS };

static void forward(const hs_args *a, hs_lane *lane)
{
    norm_forward n = {};
    n.x = a->in[X], n.y = a->out[Y];
    n.gamma = cells<float>(a->in[GAMMA]), n.beta = cells<float>(a->in[BETA]), n.stats = cells<float>(a->out[STATS]);
    n.eps = static_cast<const hs_layernorm_attr *>(a->attr)->eps;
    run_norm<false>(n, a->step, gpu_stream(lane));
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X];
    const bool sums = a->din[GAMMA].p || a->din[BETA].p;
    norm_backward n = {};
    n.source = x, n.dy = a->dout[Y], n.dx = a->din[X];
    n.gamma = cells<float>(a->in[GAMMA]), n.stats = cells<float>(a->out[STATS]);
    n.part = sums ? reinterpret_cast<float *>(a->scratch) : nullptr;
    run_norm_bwd<false>(n, a->step, gpu_stream(lane));
    add_columns(n.part, x, a->step, x.cols, gpu_stream(lane), a->din[GAMMA], a->din[BETA]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    return { is_backward ? column_bytes(n->in[X]->dim[0], 2, hs_tensor_width(n->in[X])) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_layernorm = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

// bias_dropout_residual_layernorm on CUDA: the kernels are in norm.cuh.
#include "ops/attrs.h"
#include "ops/rows/norm.cuh"

enum { X, BIAS, RESIDUAL, GAMMA, BETA, WHERE };
enum { Y, SUM, STATS };

typedef hs_bias_dropout_residual_layernorm_attr own_attr;

static const int32_t *where_of(const hs_args *a) // NULL: nothing is dropped
{
    return static_cast<const own_attr *>(a->attr)->p > 0 ? cells<int32_t>(a->in[WHERE]) : nullptr;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const own_attr *at = static_cast<const own_attr *>(a->attr);
    norm_forward n = {};
    n.x = a->in[X], n.residual = a->in[RESIDUAL], n.sum = a->out[SUM], n.y = a->out[Y];
    n.bias = cells<float>(a->in[BIAS]), n.gamma = cells<float>(a->in[GAMMA]), n.beta = cells<float>(a->in[BETA]);
    n.stats = cells<float>(a->out[STATS]);
    n.where = where_of(a), n.drop = drop_of(at->p), n.site = a->site, n.eps = at->eps;
    run_norm<true>(n, a->step, gpu_stream(lane));
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &sum = a->out[SUM];
    const bool sums = a->din[BIAS].p || a->din[GAMMA].p || a->din[BETA].p;
    norm_backward n = {};
    n.source = sum, n.dy = a->dout[Y], n.dsum = a->dout[SUM], n.dx = a->din[X], n.dresidual = a->din[RESIDUAL];
    n.gamma = cells<float>(a->in[GAMMA]), n.stats = cells<float>(a->out[STATS]);
    n.part = sums ? reinterpret_cast<float *>(a->scratch) : nullptr;
    n.where = where_of(a), n.drop = drop_of(static_cast<const own_attr *>(a->attr)->p), n.site = a->site;
    run_norm_bwd<true>(n, a->step, gpu_stream(lane));
    add_columns(n.part, sum, a->step, sum.cols, gpu_stream(lane), a->din[BIAS], a->din[GAMMA], a->din[BETA]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    return { is_backward ? column_bytes(n->in[X]->dim[0], 3, hs_tensor_width(n->in[X])) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_bias_dropout_residual_layernorm = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

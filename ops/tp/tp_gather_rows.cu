// tp_gather_rows on CUDA: the definition is in tp_gather_rows.c.
#include "ops/tp/tp_rows.cuh"

static void forward(const hs_args *a, hs_lane *lane) { tp_gather_parts(a, lane, a->in[0], a->out[0]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (a->din[0].p)
        tp_reduce_parts(a, lane, a->dout[0], a->din[0]);
}
static hs_scratch scratch(const hs_node *n, int, bool) { return tp_shares_scratch(n, n->out[0]); }

extern "C" const hs_kernels hs_cuda_tp_gather_rows = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

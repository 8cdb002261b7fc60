// embedding on CUDA: the kernels are in lookup.cuh.
#include "ops/attrs.h"
#include "ops/rows/lookup.cuh"

enum { TABLE, IDS, POS_TABLE, WHERE };
enum { Y };

static const hs_embedding_attr *attr_of(const hs_args *a) { return static_cast<const hs_embedding_attr *>(a->attr); }

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_embedding_attr *at = attr_of(a);
    look_up({ a->in[TABLE], a->in[POS_TABLE], a->out[Y], cells<int32_t>(a->in[IDS]), cells<int32_t>(a->in[WHERE]), at->first, at->rows,
              at->first_position },
            a->step, gpu_stream(lane));
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_embedding_attr *at = attr_of(a);
    scatter_rows(a, lane, { cells<int32_t>(a->in[IDS]), 1, at->first }, a->din[TABLE], a->dout[Y]);
    scatter_rows(a, lane, { cells<int32_t>(a->in[WHERE]) + 1, 2, -at->first_position }, a->din[POS_TABLE], a->dout[Y]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    return { is_backward ? scatter_bytes(n->in[IDS]->dim[0], n->in[TABLE]->dim[1]) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_embedding = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

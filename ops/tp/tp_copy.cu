// tp_copy on CUDA: the definition is in tp_copy.c. The gradient's sum is of all rows there may be.
#include "ops/tp/tp_rows.cuh"

enum { X };
enum { Y };

static void forward(const hs_args *a, hs_lane *lane)
{
    if (a->in[X].p != a->out[Y].p)
        map_cells(a, lane, as_it_is_cell{}, a->out[Y], a->in[X]);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &dy = a->dout[Y], &dx = a->din[X];
    const bool straight = !dx.add && dx.dtype == dy.dtype;
    hs_ref sum = dy; // x has other readers too: their sum stays until then
    sum.p = straight ? dx.p : a->scratch;
    if (!dx.p)
        return;
    map_cells(a, lane, as_it_is_cell{}, sum, dy);
    a->comm->all_reduce(a->comm, lane, sum.p, dy.rows * dy.cols, sum.dtype, HS_REDUCE_SUM);
    if (!straight)
        map_cells(a, lane, as_it_is_cell{}, dx, sum);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    return { is_backward ? (size_t)hs_tensor_count(n->out[Y]) * sizeof(float) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_tp_copy = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

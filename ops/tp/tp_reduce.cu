// tp_reduce on CUDA: the definition is in tp_reduce.c. The sum is of all rows there may be.
#include "ops/tp/tp_rows.cuh"

enum { X };
enum { Y };

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &y = a->out[Y];
    if (x.p != y.p)
        map_cells(a, lane, as_it_is_cell{}, y, x);
    a->comm->all_reduce(a->comm, lane, y.p, y.rows * y.cols, y.dtype, HS_REDUCE_SUM);
}

extern "C" const hs_kernels hs_cuda_tp_reduce = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

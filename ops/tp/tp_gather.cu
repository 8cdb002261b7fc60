// tp_gather on CUDA: the definition is in tp_gather.c. All rows there may be arrive, rank behind rank, and a kernel deals them out.
#include "core/cuda/gpu.cuh"
#include "core/graph/comm.h"
#include "ops/attrs.h"

enum { X };
enum { Y, PARTS };
enum { THREADS = 256 };

// Columns [from, from + n) of rows `of`, wherever those lie, are columns [to, ...) of y, or what is added to them.
typedef struct slice {
    hs_ref y, x;
    int64_t from, to, n;
} slice;

template <int N> static __global__ void take_columns(slice s, hs_ref rows, const hs_step_in *step)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, packs = s.n / N, row = i / packs, c = i % packs * N;
    if (row >= live_rows(rows, step))
        return;
    float x[N];
    get_f<N>(s.x, row * s.x.cols + s.from + c, x);
    set_f<N>(s.y, row * s.y.cols + s.to + c, x);
}

static void take(const slice &s, const hs_args *a, hs_lane *lane, const hs_ref &rows)
{
    if (rows_by(8, s.x, s.y) && (s.from | s.to | s.n) % 8 == 0)
        HS_LAUNCH((take_columns<8>), grid_of(rows.rows * s.n / 8, THREADS), THREADS, 0, gpu_stream(lane), s, rows, a->step);
    else
        HS_LAUNCH((take_columns<1>), grid_of(rows.rows * s.n, THREADS), THREADS, 0, gpu_stream(lane), s, rows, a->step);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t ranks = static_cast<const hs_tp_gather_attr *>(a->attr)->ranks;
    const hs_ref &x = a->in[X];
    if (ranks > 1)
        a->comm->all_gather(a->comm, lane, x.p, a->out[PARTS].p, x.rows * x.cols, x.dtype);
    for (int64_t r = 0; r < ranks; r++) {
        hs_ref of = x;
        if (ranks > 1)
            of.p = a->out[PARTS].p + (size_t)(r * x.rows * x.cols) * hs_dtype_bytes(x.dtype);
        take({ a->out[Y], of, 0, r * x.cols, x.cols }, a, lane, x);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &dx = a->din[X], &dy = a->dout[Y];
    if (dx.p)
        take({ dx, dy, static_cast<const hs_tp_gather_attr *>(a->attr)->rank * dx.cols, 0, dx.cols }, a, lane, dy);
}

extern "C" const hs_kernels hs_cuda_tp_gather = { forward, backward, HS_PART_FREE, HS_PART_FREE };

// linear on CUDA: products (core/cuda/gemm.cuh) and sums of columns; the definition is in linear.c.
#include "core/cuda/gemm.cuh"
#include "ops/dense/column_sums.cuh"
#include "ops/ops.h"

enum { X, W, BIAS };
enum { Y };

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W];
    gemm g = gemm_make(x.rows, w.rows, x.cols);
    g.a = gemm_of(x, false), g.b = gemm_of(w, false), g.c = gemm_to(a->out[Y]);
    g.c.bias = cells<float>(a->in[BIAS]);
    gemm_count(&g, GEMM_LIVE_M, x, a->step);
    gemm_run(&g, lane);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W], &dy = a->dout[Y];
    if (a->din[X].p) {
        gemm g = gemm_make(dy.rows, w.cols, w.rows);
        g.a = gemm_of(dy, false), g.b = gemm_of(w, true), g.c = gemm_to(a->din[X]);
        gemm_count(&g, GEMM_LIVE_M, dy, a->step);
        gemm_run(&g, lane);
    }
    if (a->din[W].p) {
        gemm g = gemm_make(w.rows, w.cols, dy.rows);
        g.a = gemm_of(dy, true), g.b = gemm_of(x, true), g.c = gemm_to(a->din[W]);
        gemm_count(&g, GEMM_LIVE_K, dy, a->step);
        g.partial = reinterpret_cast<float *>(a->scratch);
        gemm_run(&g, lane);
    }
    sum_columns(a, lane, dy, reinterpret_cast<float *>(a->scratch), a->din[BIAS]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    const size_t dw = gemm_bytes(O, C, N, 1), dbias = n->in[BIAS] ? column_bytes(N, 1, O) : 0;
    return { !is_backward ? 0 : dw > dbias ? dw : dbias, 0 };
}

extern "C" const hs_kernels hs_cuda_linear = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

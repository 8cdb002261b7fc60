// linear_gelu on CUDA: a product and the GELU behind it, or the gradient of what a product read behind GELU, as two calls (hs_kernels.join)
// that cuBLASLt does in one kernel where that is faster. Its GELU is the tanh form, of unrounded sums: within rounding of the two kernels'.
#include "core/cuda/gemm.cuh"
#include "ops/attrs.h"
#include "ops/ops.h"

enum { X, W, BIAS }; // of linear; of what stands behind it X and ADDED
enum { ADDED = 1 };
enum { Y };

extern "C" const hs_kernels hs_cuda_linear, hs_cuda_gelu, hs_cuda_bias_gelu;

template <const hs_kernels *BEHIND> static void forward_apart(const void *given, hs_lane *lane)
{
    const hs_args *a = static_cast<const hs_args *>(given);
    hs_cuda_linear.fwd(a, lane);
    BEHIND->fwd(a->then, lane);
}
static void backward_apart(const void *given, hs_lane *lane)
{
    const hs_args *a = static_cast<const hs_args *>(given);
    hs_cuda_linear.bwd(a, lane);
    hs_cuda_gelu.bwd(a->then, lane);
}

// Of a 2:4 weight the product is another library's.
template <const hs_kernels *BEHIND> static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W], &pre = a->out[Y], &y = a->then->out[Y], &added = a->then->in[ADDED];
    gemm g = gemm_make(x.rows, w.rows, x.cols);
    g.a = gemm_of(x, false), g.b = gemm_of(w, false), g.c = gemm_to(y);
    g.c.bias = cells<float>(added.p ? added : a->in[BIAS]);
    gemm_count(&g, GEMM_LIVE_M, x, a->step);
    gemm_behind b = {};
    b.what = HS_LT_GELU, b.apart = forward_apart<BEHIND>, b.given = a;
    b.aux = a->alone ? nullptr : pre.p, b.ld_aux = pre.cols;
    const bool may = !a->derived && (a->alone || pre.dtype == y.dtype) && !(added.p && (!a->alone || a->in[BIAS].p));
    if (!may || !gemm_with(&g, &b, lane))
        forward_apart<BEHIND>(a, lane);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &dy = a->dout[Y], &w = a->in[W], &pre = a->then->in[X], &dpre = a->then->din[X];
    gemm g = gemm_make(dy.rows, w.cols, w.rows);
    g.a = gemm_of(dy, false), g.b = gemm_of(w, true), g.c = gemm_to(dpre);
    gemm_count(&g, GEMM_LIVE_M, dy, a->step);
    gemm_behind b = {};
    b.what = HS_LT_DGELU, b.apart = backward_apart, b.given = a;
    b.aux = pre.p, b.ld_aux = pre.cols;
    if (pre.dtype != dpre.dtype || !gemm_with(&g, &b, lane))
        backward_apart(a, lane);
}

static const char *declines(const hs_node *n)
{
    return static_cast<const hs_gelu_attr *>(n->attr)->kind == HS_GELU_TANH ? nullptr : "it is the erf form, cuBLASLt has the one by tanh";
}
static const char *declines_bias(const hs_node *n)
{
    return n->mode == HS_TRAIN ? "backward reads what GELU is made of without its bias, which cuBLASLt does not keep" : declines(n);
}

extern "C" const hs_join hs_cuda_linear_gelu = { "linear", "linear, gelu", forward<&hs_cuda_gelu>, backward, declines };
extern "C" const hs_join hs_cuda_linear_bias_gelu = { "linear", "linear, bias_gelu", forward<&hs_cuda_bias_gelu>, nullptr, declines_bias };

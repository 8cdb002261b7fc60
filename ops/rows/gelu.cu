// gelu on CUDA. Formulas in gelu_form.h.
#include "core/cuda/elementwise.cuh"
#include "ops/attrs.h"
#include "ops/rows/gelu_form.h"

enum { X };
enum { Y };

template <int KIND> struct value {
    __device__ float operator()(float x) const { return KIND == HS_GELU_TANH ? gelu_tanh(x) : gelu_erf(x); }
};
template <int KIND> struct slope {
    __device__ float operator()(float x, float dy) const { return dy * (KIND == HS_GELU_TANH ? gelu_tanh_slope(x) : gelu_erf_slope(x)); }
};
static bool is_tanh(const hs_args *a) { return static_cast<const hs_gelu_attr *>(a->attr)->kind == HS_GELU_TANH; }

static void forward(const hs_args *a, hs_lane *lane)
{
    if (is_tanh(a))
        map_cells(a, lane, value<HS_GELU_TANH>{}, a->out[Y], a->in[X]);
    else
        map_cells(a, lane, value<HS_GELU_ERF>{}, a->out[Y], a->in[X]);
}
static void backward(const hs_args *a, hs_lane *lane)
{
    if (is_tanh(a))
        map_cells(a, lane, slope<HS_GELU_TANH>{}, a->din[X], a->in[X], a->dout[Y]);
    else
        map_cells(a, lane, slope<HS_GELU_ERF>{}, a->din[X], a->in[X], a->dout[Y]);
}

extern "C" const hs_join hs_cuda_linear_gelu;
extern "C" const hs_kernels hs_cuda_gelu = { forward, backward, HS_PART_FREE, HS_PART_FREE, false,
                                             nullptr, nullptr,  {},           nullptr,      &hs_cuda_linear_gelu };

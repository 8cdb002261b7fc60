// bias_gelu on CUDA. Formulas in gelu_form.h.
#include "core/cuda/elementwise.cuh"
#include "ops/attrs.h"
#include "ops/rows/gelu_form.h"

enum { X, BIAS };
enum { Y };

struct form {
    const float *bias;
    int32_t kind;
    template <int N> __device__ pack<float, N> begin(int64_t, int64_t, int64_t c, const hs_step_in *) const
    {
        return load_pack<N>(bias + c);
    }
};
// The branch outside of the loops: all threads take one of the two.
#define BY_KIND(tanh_form, erf_form)                                                                                                       \
    if (kind == HS_GELU_TANH) {                                                                                                            \
        _Pragma("unroll") for (int i = 0; i < N; i++) x[i] = tanh_form;                                                                    \
    } else                                                                                                                                 \
        _Pragma("unroll") for (int i = 0; i < N; i++) x[i] = erf_form
struct value : form {
    template <int N> __device__ void row(const pack<float, N> &b, int, float (&x)[N], const float (&)[N]) const
    {
        BY_KIND(gelu_tanh(x[i] + b.v[i]), gelu_erf(x[i] + b.v[i]));
    }
};
struct slope : form {
    template <int N> __device__ void row(const pack<float, N> &b, int, float (&x)[N], const float (&dy)[N]) const
    {
        BY_KIND(dy[i] * gelu_tanh_slope(x[i] + b.v[i]), dy[i] * gelu_erf_slope(x[i] + b.v[i]));
    }
};
static form form_of(const hs_args *a) { return { cells<float>(a->in[BIAS]), static_cast<const hs_gelu_attr *>(a->attr)->kind }; }

static void forward(const hs_args *a, hs_lane *lane) { map_rows(a, lane, value{ form_of(a) }, a->out[Y], a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X];
    float *const part = reinterpret_cast<float *>(a->scratch);
    map_rows<true>(a, lane, slope{ form_of(a) }, a->din[X], x, a->dout[Y], part);
    add_columns(part, x, a->step, x.cols, gpu_stream(lane), a->din[BIAS]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    return { is_backward ? column_bytes(n->in[X]->dim[0], 1, hs_tensor_width(n->in[X])) : 0, 0 };
}

extern "C" const hs_join hs_cuda_linear_bias_gelu;
extern "C" const hs_kernels hs_cuda_bias_gelu = { forward, backward, HS_PART_FREE, HS_PART_FREE, false,
                                                  scratch, nullptr,  {},           nullptr,      &hs_cuda_linear_bias_gelu };

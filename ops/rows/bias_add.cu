// bias_add on CUDA.
#include "ops/dense/column_sums.cuh"

enum { X, BIAS };
enum { Y };

struct add_bias {
    const float *bias;
    template <int N> __device__ pack<float, N> begin(int64_t, int64_t, int64_t c, const hs_step_in *) const
    {
        return load_pack<N>(bias + c);
    }
    template <int N> __device__ void row(const pack<float, N> &b, int, float (&x)[N], const float (&)[N]) const
    {
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] += b.v[i];
    }
};
static void forward(const hs_args *a, hs_lane *lane) { map_rows(a, lane, add_bias{ cells<float>(a->in[BIAS]) }, a->out[Y], a->in[X]); }

// The gradient of x is dy itself.
static void backward(const hs_args *a, hs_lane *lane)
{
    sum_columns(a, lane, a->dout[Y], reinterpret_cast<float *>(a->scratch), a->din[BIAS]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    return { is_backward ? column_bytes(n->in[X]->dim[0], 1, hs_tensor_width(n->in[X])) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_bias_add = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

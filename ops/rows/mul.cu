// mul on CUDA.
#include "core/cuda/elementwise.cuh"

enum { A, B };
enum { Y };

struct product {
    __device__ float operator()(float x, float z) const { return x * z; }
};

static void forward(const hs_args *a, hs_lane *lane) { map_cells(a, lane, product{}, a->out[Y], a->in[A], a->in[B]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    map_cells(a, lane, product{}, a->din[A], a->dout[Y], a->in[B]);
    map_cells(a, lane, product{}, a->din[B], a->dout[Y], a->in[A]);
}

extern "C" const hs_kernels hs_cuda_mul = { forward, backward, HS_PART_FREE, HS_PART_FREE };

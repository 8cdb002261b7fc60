// relu on CUDA.
#include "core/cuda/elementwise.cuh"

enum { X };
enum { Y };

struct rectified {
    __device__ float operator()(float x) const { return x < 0 ? 0 : x; } // a NaN stays one
};
struct slope {
    __device__ float operator()(float y, float dy) const { return y > 0 ? dy : 0; }
};

static void forward(const hs_args *a, hs_lane *lane) { map_cells(a, lane, rectified{}, a->out[Y], a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane) { map_cells(a, lane, slope{}, a->din[X], a->out[Y], a->dout[Y]); }

extern "C" const hs_kernels hs_cuda_relu = { forward, backward, HS_PART_FREE, HS_PART_FREE };

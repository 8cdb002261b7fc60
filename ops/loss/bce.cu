// bce on CUDA: the definition is in bce.c.
#include "ops/loss/label_rows.cuh"

struct bce_cell {
    __device__ label_cell_of operator()(float x, float t) const
    {
        const float e = expf(-fabsf(x)), above = x < 0 ? 0 : x; // a NaN stays
        return { above - x * t + log1p_unit(e), (x < 0 ? e : 1) / (1 + e) - t };
    }
};

static void forward(const hs_args *a, hs_lane *lane) { label_forward(a, lane, bce_cell()); }

extern "C" const hs_kernels hs_cuda_bce = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

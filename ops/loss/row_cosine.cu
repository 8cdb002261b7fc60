// row_cosine on CUDA: the definition is in row_cosine.c.
#include "ops/loss/match_rows.cuh"

struct cosine_made {
    __device__ match_line operator()(const match_sums &s, int64_t) const
    {
        const double least = 1e-12, xx = s.xx + least, inv = 1 / sqrt(xx * (s.tt + least));
        return { (float)(1 - s.xt * inv), (float)(s.xt / xx * inv), (float)-inv };
    }
};

static void forward(const hs_args *a, hs_lane *lane) { match_launch(a, hs_ref(), cosine_made(), lane); }
static void backward(const hs_args *a, hs_lane *lane) { match_launch(a, a->din[MATCH_X], cosine_made(), lane); }

extern "C" const hs_kernels hs_cuda_row_cosine = { forward, backward, HS_PART_FREE, HS_PART_FREE };

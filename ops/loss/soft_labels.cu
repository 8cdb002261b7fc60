// soft_labels on CUDA: the definition is in soft_labels.c.
#include "ops/loss/label_rows.cuh"

enum { LOGITS, TEACHER, TARGET };
enum { LOSS, DLOGITS };

struct soft_cell {
    float inv; // 1 / T
    __device__ label_cell_of operator()(float x, float t) const
    {
        const float X = x * inv, Y = t * inv;
        const float ex = expf(-fabsf(X)), ey = expf(-fabsf(Y)), ix = 1 / (1 + ex), iy = 1 / (1 + ey);
        const float p = (X < 0 ? ex : 1) * ix, q = (Y < 0 ? ey : 1) * iy, not_q = (Y < 0 ? 1 : ey) * iy;
        return { (Y < 0 ? q : -not_q) * Y + (X < 0 ? -q : not_q) * X + (log1p_unit(ex) - log1p_unit(ey)), p - q };
    }
};

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_soft_attr *at = static_cast<const hs_soft_attr *>(a->attr);
    const float T = at->temperature;
    const label_rows r = { a->in[LOGITS],
                           cells<float>(a->in[TEACHER]),
                           a->in[TEACHER].cols,
                           nullptr,
                           cells<int32_t>(a->in[TARGET]),
                           cells<float>(a->out[LOSS]),
                           T * T,
                           T,
                           at->classes,
                           at->loss,
                           a->out[DLOGITS].p != nullptr };
    label_launch(a, r, soft_cell{ 1 / T }, gpu_stream(lane));
}

extern "C" const hs_kernels hs_cuda_soft_labels = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

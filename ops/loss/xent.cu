// xent on CUDA: a block per row, two passes over it; the definition is in xent.c.
#include "ops/loss/xent_losses.cuh"

enum { LOGITS, TARGET, WEIGHT };
enum { LOSS, DLOGITS };

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &logits = a->in[LOGITS];
    const xent_rows rows = { logits,
                             0,
                             logits.cols,
                             cells<int32_t>(a->in[TARGET]),
                             cells<float>(a->in[WEIGHT]),
                             cells<float>(a->out[LOSS]),
                             *static_cast<const hs_xent_attr *>(a->attr),
                             a->out[DLOGITS].p != nullptr,
                             false };
    xent_launch(logits, rows, a, gpu_stream(lane));
}

extern "C" const hs_kernels hs_cuda_xent = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

// linear_xent on CUDA: chunk by chunk the product, losses with their gradient over the logits, and the gradients' products; the definition
// is in linear_xent.c.
#include "ops/loss/xent_chunks.cuh"
#include "ops/loss/xent_losses.cuh"

static void walk(const hs_args *a, hs_lane *lane, bool train)
{
    for_chunks(r, m, a)
    {
        const hs_ref logits = chunk_logits(a, m);
        const xent_rows rows = { a->in[X],
                                 r,
                                 logits.cols,
                                 cells<int32_t>(a->in[TARGET]),
                                 nullptr,
                                 cells<float>(a->out[LOSS]),
                                 *static_cast<const hs_xent_attr *>(a->attr),
                                 train,
                                 train };
        chunk_product(a, lane, r, m);
        xent_launch(logits, rows, a, gpu_stream(lane));
        if (train)
            chunk_gradients(a, lane, r, m);
    }
}

static void forward(const hs_args *a, hs_lane *lane) { walk(a, lane, false); }
static void backward(const hs_args *a, hs_lane *lane) { walk(a, lane, true); }

extern "C" const hs_kernels hs_cuda_linear_xent = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, chunk_scratch, nullptr, {}, chunk_room };

// ratios on CUDA: a block per logical tensor adds up the partials of its chunks, and its first thread settles what there is to settle: the
// formulas are in ratios.h. Each thread adds its partials in order, then the threads are added: the same bits whatever else runs.
#include "core/cuda/gpu.cuh"
#include "optim/ratios.h"

enum { WARPS = 4, THREADS = WARPS * WARP };

typedef struct tensors {
    const hs_update_chunk *chunk;
    int64_t n;
    const uint8_t *made;
    const hs_update_step *now;
    const hs_partial *partial;
    double *norms; // [n_logical][2]
    float *ratio;
    float *v; // NovoGrad's
} tensors;

// The first chunk of that logical tensor or of one behind it; their numbers rise along the table.
static __device__ int64_t first_chunk(const tensors &t, int32_t logical)
{
    int64_t a = 0, b = t.n;
    while (a < b) {
        const int64_t middle = (a + b) / 2;
        if (t.chunk[middle].logical < logical)
            a = middle + 1;
        else
            b = middle;
    }
    return a;
}

static __global__ void settle_tensors(tensors t, hs_optim_config settings)
{
    HS_SHARED(double, at, [WARPS]);
    const int32_t logical = (int32_t)blockIdx.x;
    if (t.now->skip)
        return;
    const int64_t first = first_chunk(t, logical), end = first_chunk(t, logical + 1);
    double squares[2] = { 0, 0 };
    for (int64_t k = first + threadIdx.x; k < end; k += THREADS)
        squares[0] += t.partial[k].a, squares[1] += t.partial[k].b;
    squares[0] = block_sum<WARPS>(squares[0], at);
    squares[1] = block_sum<WARPS>(squares[1], at);
    if (threadIdx.x > 0)
        return;
    t.norms[2 * logical] = squares[0], t.norms[2 * logical + 1] = squares[1];
    if (first == end || !t.made[t.chunk[first].param])
        return;
    const hs_update_chunk &c = t.chunk[first];
    t.ratio[logical] = settings.kind == HS_LAMB ? (float)(hs_lamb_ratio(&settings, c.role, squares) * (double)(t.now->lr[c.role] * c.rate))
                       : settings.kind == HS_LARS ? (float)hs_lars_ratio(&settings, c.role, squares)
                                                  : hs_novograd_scale(&settings, t.now, squares[0], &t.v[c.kept[1]]);
}

// LAMB's and LARS's: all, made, now, partials -> norms, ratio; NovoGrad's: and v.
extern "C" void hs_cuda_optim_ratios(const hs_args *a, hs_lane *lane)
{
    const tensors t = { cells<hs_update_chunk>(a->in[0]), a->in[0].rows,
                        cells<uint8_t>(a->in[1]),         cells<hs_update_step>(a->in[2]),
                        cells<hs_partial>(a->in[3]),      cells<double>(a->out[0]),
                        cells<float>(a->out[1]),          cells<float>(a->out[2]) };
    if (a->out[0].rows > 0)
        HS_LAUNCH(settle_tensors, dim3((unsigned)a->out[0].rows), THREADS, 0, gpu_stream(lane), t,
                  *static_cast<const hs_optim_config *>(a->attr));
}

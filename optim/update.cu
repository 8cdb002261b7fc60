// update on CUDA: the passes that all optimizers begin with - gradients of values that stay zero; of the gradients of a chunk the sum of
// squares, and how many are not finite.
#include "optim/walk.cuh"

static __global__ void __launch_bounds__(THREADS)
    sum_gradients(const hs_update_chunk *chunk, const uint8_t *made, const float *grads, hs_partial *partial)
{
    HS_SHARED(double, at, [WARPS]);
    const hs_update_chunk c = chunk[blockIdx.x];
    double squares = 0, bad = 0;
    if (made[c.param]) // the same for all of the block
        walk_elements(c, walk_aligned(c.grad), [&](int32_t i, auto side) {
            constexpr int N = decltype(side)::n;
            float g[N];
            load_f<N>(grads + c.grad + i, g);
#pragma unroll
            for (int k = 0; k < N; k++) {
                squares += (double)g[k] * (double)g[k];
                bad += (__float_as_uint(g[k]) & 0x7F800000u) == 0x7F800000u ? 1 : 0;
            }
        });
    squares = block_sum<WARPS>(squares, at);
    bad = block_sum<WARPS>(bad, at);
    if (threadIdx.x == 0)
        partial[blockIdx.x].a = squares, partial[blockIdx.x].b = bad;
}

// Gradients of values that are zero and stay so.
static __global__ void __launch_bounds__(THREADS) keep_zeros(const hs_update_chunk *chunk, const uint8_t *made, values of, float *grads)
{
    const hs_update_chunk c = chunk[blockIdx.x];
    if (!c.keeps || !made[c.param])
        return;
    walk_elements(c, walk_aligned(c.value, c.grad, c.low), [&](int32_t i, auto side) {
        constexpr int N = decltype(side)::n;
        float w[N], g[N];
        value_load<N>(of, c, i, w);
        load_f<N>(grads + c.grad + i, g);
#pragma unroll
        for (int k = 0; k < N; k++)
            g[k] = w[k] == 0 ? 0 : g[k];
        store_f<N>(grads + c.grad + i, g);
    });
}

extern "C" void hs_cuda_optim_keep(const hs_args *a, hs_lane *lane)
{
    if (a->in[0].rows > 0)
        HS_LAUNCH(keep_zeros, dim3((unsigned)a->in[0].rows), THREADS, 0, gpu_stream(lane), cells<hs_update_chunk>(a->in[0]),
                  cells<uint8_t>(a->in[1]), values_of(a->in[2], a->in[3]), cells<float>(a->out[0]));
}

extern "C" void hs_cuda_optim_sums(const hs_args *a, hs_lane *lane)
{
    if (a->in[0].rows > 0)
        HS_LAUNCH(sum_gradients, dim3((unsigned)a->in[0].rows), THREADS, 0, gpu_stream(lane), cells<hs_update_chunk>(a->in[0]),
                  cells<uint8_t>(a->in[1]), cells<float>(a->in[2]), cells<hs_partial>(a->out[0]));
}

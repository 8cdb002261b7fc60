// novograd on CUDA: the definition is in novograd.c.
#include "optim/walk.cuh"

template <class M>
static __global__ void __launch_bounds__(THREADS) novograd_pass(walk all, const float *grads, const float *scales, values of, M *moments)
{
    const hs_update_chunk c = all.chunk[blockIdx.x];
    if (walk_passes(all, c))
        return;
    const hs_update_step &now = *all.now;
    const float step = rate_of(&now, &c), decay = now.decay[c.role], l2 = now.l2[c.role], factor = now.factor * scales[c.logical];
    walk_elements(c, walk_aligned(c.value, c.grad, c.low, c.kept[0]), [&](int32_t i, auto side) {
        constexpr int N = decltype(side)::n;
        float g[N], w[N], m[N];
        uint32_t noise[N];
        load_f<N>(grads + c.grad + i, g);
        value_load<N>(of, c, i, w);
        load_f<N>(moments + c.kept[0] + i, m);
#pragma unroll
        for (int k = 0; k < N; k++) {
            m[k] = now.beta1 * m[k] + now.beta3 * (g[k] * factor + l2 * w[k]);
            w[k] -= step * (m[k] + decay * w[k]);
        }
        value_store<N>(of, now, c, i, w);
        if (sizeof(M) == 2)
            moment_noise<N>(now, c, i, noise);
        moment_store<N>(moments + c.kept[0] + i, m, noise, 0);
    });
}

static void novograd(const hs_args *a, hs_lane *lane)
{
    BY_MOMENTS(a->out[2].dtype, M,
               WALK_LAUNCH((novograd_pass<M>), a, lane, cells<float>(a->in[3]), cells<float>(a->in[4]), values_of(a->out[0], a->out[1]),
                           cells<M>(a->out[2])));
}

extern "C" hs_kernel hs_cuda_optim_ratios;
extern "C" const hs_optim_kernels hs_cuda_novograd = { { hs_cuda_optim_ratios, novograd }, true, true };

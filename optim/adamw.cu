// adamw on CUDA: each slab read once and written once; the definition is in adamw.c.
#include "optim/walk.cuh"

template <class M>
static __global__ void __launch_bounds__(THREADS) adamw_pass(walk all, const float *grads, values of, M *first_moments, M *second_moments)
{
    const hs_update_chunk c = all.chunk[blockIdx.x];
    if (walk_passes(all, c))
        return;
    const hs_update_step &now = *all.now;
    const float lr = rate_of(&now, &c), step = lr * now.inv_bc1, shrink = lr * now.decay[c.role], l2 = now.l2[c.role],
                eps_in = now.eps_in / now.inv_bc2; // eps inside the root of v / bc2, by the v that is there
    walk_elements(c, walk_aligned(c.value, c.grad, c.low, c.kept[0], c.kept[1]), [&](int32_t i, auto side) {
        constexpr int N = decltype(side)::n;
        float g[N], w[N], m[N], v[N];
        uint32_t noise[N];
        load_f<N>(grads + c.grad + i, g);
        value_load<N>(of, c, i, w);
        load_f<N>(first_moments + c.kept[0] + i, m);
        load_f<N>(second_moments + c.kept[1] + i, v);
#pragma unroll
        for (int k = 0; k < N; k++) {
            g[k] = gradient_of(&now, l2, g[k], w[k]);
            m[k] = now.beta1 * m[k] + now.beta3 * g[k];
            v[k] = now.beta2 * v[k] + now.one_minus_beta2 * (g[k] * g[k]);
            w[k] -= shrink * w[k] + step * m[k] / (sqrtf(v[k] + eps_in) * now.inv_sqrt_bc2 + now.eps_out);
        }
        value_store<N>(of, now, c, i, w);
        if (sizeof(M) == 2)
            moment_noise<N>(now, c, i, noise);
        moment_store<N>(first_moments + c.kept[0] + i, m, noise, 0);
        moment_store<N>(second_moments + c.kept[1] + i, v, noise, 1);
    });
}

static void adamw(const hs_args *a, hs_lane *lane)
{
    BY_MOMENTS(a->out[2].dtype, M,
               WALK_LAUNCH((adamw_pass<M>), a, lane, cells<float>(a->in[3]), values_of(a->out[0], a->out[1]), cells<M>(a->out[2]),
                           cells<M>(a->out[3])));
}

extern "C" const hs_optim_kernels hs_cuda_adamw = { { adamw }, true, true };

// lamb on CUDA: the definition is in lamb.c. The direction is made again in the second pass, as there; norms are sums of a block, in
// double.
#include "optim/walk.cuh"

template <class M>
static __global__ void __launch_bounds__(THREADS)
    lamb_moments_pass(walk all, const float *grads, values of, M *first_moments, M *second_moments, hs_partial *partial)
{
    HS_SHARED(double, at, [WARPS]);
    const hs_update_chunk c = all.chunk[blockIdx.x];
    if (walk_passes(all, c))
        return;
    const hs_update_step &now = *all.now;
    const float decay = now.decay[c.role], l2 = now.l2[c.role];
    double ww = 0, uu = 0;
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
        }
        if (sizeof(M) == 2)
            moment_noise<N>(now, c, i, noise);
        moment_store<N>(first_moments + c.kept[0] + i, m, noise, 0); // norms are of the direction that is taken: of moments as stored
        moment_store<N>(second_moments + c.kept[1] + i, v, noise, 1);
#pragma unroll
        for (int k = 0; k < N; k++) {
            const double u = (double)direction_of(&now, decay, w[k], m[k], v[k]);
            ww += (double)w[k] * (double)w[k], uu += u * u;
        }
    });
    ww = block_sum<WARPS>(ww, at);
    uu = block_sum<WARPS>(uu, at);
    if (threadIdx.x == 0)
        partial[blockIdx.x].a = ww, partial[blockIdx.x].b = uu;
}

template <class M>
static __global__ void __launch_bounds__(THREADS)
    lamb_apply_pass(walk all, const float *ratios, const M *first_moments, const M *second_moments, values of)
{
    const hs_update_chunk c = all.chunk[blockIdx.x];
    if (walk_passes(all, c))
        return;
    const hs_update_step &now = *all.now;
    const float decay = now.decay[c.role], ratio = ratios[c.logical];
    walk_elements(c, walk_aligned(c.value, c.low, c.kept[0], c.kept[1]), [&](int32_t i, auto side) {
        constexpr int N = decltype(side)::n;
        float w[N], m[N], v[N];
        value_load<N>(of, c, i, w);
        load_f<N>(first_moments + c.kept[0] + i, m);
        load_f<N>(second_moments + c.kept[1] + i, v);
#pragma unroll
        for (int k = 0; k < N; k++)
            w[k] -= ratio * direction_of(&now, decay, w[k], m[k], v[k]);
        value_store<N>(of, now, c, i, w);
    });
}

static void lamb_moments(const hs_args *a, hs_lane *lane)
{
    BY_MOMENTS(a->out[0].dtype, M,
               WALK_LAUNCH((lamb_moments_pass<M>), a, lane, cells<float>(a->in[3]), values_of(a->in[4], a->in[5]), cells<M>(a->out[0]),
                           cells<M>(a->out[1]), cells<hs_partial>(a->out[2])));
}

static void lamb_apply(const hs_args *a, hs_lane *lane)
{
    BY_MOMENTS(a->in[4].dtype, M,
               WALK_LAUNCH((lamb_apply_pass<M>), a, lane, cells<float>(a->in[3]), cells<M>(a->in[4]), cells<M>(a->in[5]),
                           values_of(a->out[0], a->out[1])));
}

extern "C" hs_kernel hs_cuda_optim_ratios;
extern "C" const hs_optim_kernels hs_cuda_lamb = { { lamb_moments, hs_cuda_optim_ratios, lamb_apply }, true, true };

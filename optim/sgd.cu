// sgd and lars on CUDA: the definitions are in sgd.c.
#include "optim/walk.cuh"

// ratios: by logical tensor; NULL: 1
template <class M>
static __global__ void __launch_bounds__(THREADS) descend_pass(walk all, const float *grads, const float *ratios, values of, M *moments)
{
    const hs_update_chunk c = all.chunk[blockIdx.x];
    if (walk_passes(all, c))
        return;
    const hs_update_step &now = *all.now;
    const float step = rate_of(&now, &c), decay = now.decay[c.role], l2 = now.l2[c.role], ratio = ratios ? ratios[c.logical] : 1;
    walk_elements(c, walk_aligned(c.value, c.grad, c.low, c.kept[0]), [&](int32_t i, auto side) {
        constexpr int N = decltype(side)::n;
        float g[N], w[N], m[N];
        uint32_t noise[N];
        load_f<N>(grads + c.grad + i, g);
        value_load<N>(of, c, i, w);
        load_f<N>(moments + c.kept[0] + i, m);
#pragma unroll
        for (int k = 0; k < N; k++) {
            m[k] = now.momentum * m[k] + ratio * gradient_of(&now, l2, g[k], w[k]);
            w[k] -= step * (m[k] + decay * w[k]);
        }
        value_store<N>(of, now, c, i, w);
        if (sizeof(M) == 2)
            moment_noise<N>(now, c, i, noise);
        moment_store<N>(moments + c.kept[0] + i, m, noise, 0);
    });
}

static __global__ void __launch_bounds__(THREADS) lars_norms_pass(walk all, const float *grads, values of, hs_partial *partial)
{
    HS_SHARED(double, at, [WARPS]);
    const hs_update_chunk c = all.chunk[blockIdx.x];
    if (walk_passes(all, c))
        return;
    const hs_update_step &now = *all.now;
    double ww = 0, gg = 0;
    walk_elements(c, walk_aligned(c.value, c.grad, c.low), [&](int32_t i, auto side) {
        constexpr int N = decltype(side)::n;
        float g[N], w[N];
        load_f<N>(grads + c.grad + i, g);
        value_load<N>(of, c, i, w);
#pragma unroll
        for (int k = 0; k < N; k++) {
            const double x = (double)gradient_of(&now, 0, g[k], 0);
            ww += (double)w[k] * (double)w[k], gg += x * x;
        }
    });
    ww = block_sum<WARPS>(ww, at);
    gg = block_sum<WARPS>(gg, at);
    if (threadIdx.x == 0)
        partial[blockIdx.x].a = ww, partial[blockIdx.x].b = gg;
}

static void descend(const hs_args *a, hs_lane *lane, const float *ratios)
{
    BY_MOMENTS(
        a->out[2].dtype, M,
        WALK_LAUNCH((descend_pass<M>), a, lane, cells<float>(a->in[3]), ratios, values_of(a->out[0], a->out[1]), cells<M>(a->out[2])));
}

static void sgd(const hs_args *a, hs_lane *lane) { descend(a, lane, nullptr); }
static void lars(const hs_args *a, hs_lane *lane) { descend(a, lane, cells<float>(a->in[4])); }
static void lars_norms(const hs_args *a, hs_lane *lane)
{
    WALK_LAUNCH(lars_norms_pass, a, lane, cells<float>(a->in[3]), values_of(a->in[4], a->in[5]), cells<hs_partial>(a->out[0]));
}

extern "C" hs_kernel hs_cuda_optim_ratios;
extern "C" const hs_optim_kernels hs_cuda_sgd = { { sgd }, true, true };
extern "C" const hs_optim_kernels hs_cuda_lars = { { lars_norms, hs_cuda_optim_ratios, lars }, true, true };

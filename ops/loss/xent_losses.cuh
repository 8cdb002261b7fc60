// xent_losses: loss and gradient of rows whose logits are whole, on a GPU: what xent and linear_xent share.
#ifndef HS_OPS_XENT_LOSSES_CUDA_H
#define HS_OPS_XENT_LOSSES_CUDA_H
#include "ops/loss/xent_rows.cuh"

typedef struct xent_rows { // of which `logits` has those from row `first` on
    hs_ref all;            // whose live rows count
    int64_t first, V;
    const int32_t *target;
    const float *weight; // NULL: 1
    float *loss;
    hs_xent_attr at;
    bool gradient; // over the logits
    bool clears;   // rows that do not live get a gradient of 0: the logits are this op's alone
} xent_rows;

template <int WARPS, int N, class T>
static __global__ void __launch_bounds__(WARPS *WARP)
    xent_losses(T *logits, xent_rows r, const hs_step_in *step, const hs_step_state *state)
{
    HS_SHARED(float, at, [WARPS]);
    const int64_t n = r.first + blockIdx.x, K = r.at.classes;
    T *x = logits + blockIdx.x * r.V;
    if (n >= live_rows(r.all, step)) {
        if (r.clears)
            xent_write<WARPS, N>(x, r.V, K, 0, 0, 0);
        return;
    }
    const int32_t t = r.target[n];
    if (t == r.at.ignore) {
        if (threadIdx.x == 0)
            r.loss[n] = 0;
        if (r.gradient)
            xent_write<WARPS, N>(x, r.V, K, 0, 0, 0);
        return;
    }
    const bool inside = t >= 0 && t < K, mine = inside ? xent_has<WARPS, N>(t) : threadIdx.x == 0;
    const float x_t = mine && inside ? to_f(x[t]) : NAN, e = r.at.smoothing, w = r.weight ? r.weight[n] : 1;
    const xent_sums s = xent_read<WARPS, N>(x, K, e > 0, at);
    if (mine)
        r.loss[n] =
            w * (logf(s.exp) + (s.max - (1 - e) * x_t) - e * (s.plain / (float)K)); // the difference first: it is small where the loss is
    if (!r.gradient)
        return;
    // Divided by the sum, not by e^lse: near 10 the rounding of lse alone is 5e-7 of every p.
    const float factor = w * xent_factor(step, state, r.at.loss);
    xent_write<WARPS, N>(x, r.V, K, inside ? s.max : NAN, factor / s.exp, factor * e / (float)K);
    if (mine && inside) // the target's own cell anew, in f32: a low type would have rounded p before 1 is taken away
        from_f(x[t], factor * (expf(x_t - s.max) / s.exp - (1 - e) - e / (float)K));
}

static inline void xent_launch(const hs_ref &logits, const xent_rows &r, const hs_args *a, cudaStream_t stream)
{
    BY_XENT_WIDTH(logits, BY_FLOAT(logits.dtype, T,
                                   HS_LAUNCH((xent_losses<WARPS, N, T>), dim3((unsigned)logits.rows), WARPS * WARP, 0, stream,
                                             cells<T>(logits), r, a->step, a->state)));
}

#endif

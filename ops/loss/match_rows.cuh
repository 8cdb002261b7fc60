// match_rows: losses of rows that should be another network's, on a GPU - what row_cosine and row_square share. The including file says
// what a row's sums come to: the loss, and the gradient a * x + b * t. A warp has a row, and makes the sums again in backward.
#ifndef HS_OPS_MATCH_ROWS_CUDA_H
#define HS_OPS_MATCH_ROWS_CUDA_H
#include "core/cuda/gpu.cuh"
#include "ops/ops.h"

enum { MATCH_X, MATCH_TEACHER };
enum { MATCH_WARPS = 4 };

typedef struct match_sums {
    double xt, xx, tt, apart; // of x t, x^2, t^2, (x - t)^2
} match_sums;
typedef struct match_line { // the loss of a row; its gradient is a * x + b * t
    float loss, a, b;
} match_line;

// dx.p NULL: the losses alone
template <int N, class T, class Made>
static __global__ void match_losses(hs_ref x, const float *teacher, float *loss, hs_ref dx, int32_t which, const hs_step_in *step,
                                    const hs_step_state *state, Made made)
{
    const int lane = (int)threadIdx.x % WARP;
    const int64_t n = (int64_t)blockIdx.x * MATCH_WARPS + threadIdx.x / WARP, C = x.cols;
    if (n >= live_rows(x, step))
        return;
    const T *v = reinterpret_cast<const T *>(x.p) + n * C;
    const float *t = teacher + n * C;
    float xt = 0, xx = 0, tt = 0, apart = 0;
    for (int64_t c = lane * N; c < C; c += WARP * N) {
        float a[N], b[N];
        load_f<N>(v + c, a);
        load_f<N>(t + c, b);
#pragma unroll
        for (int i = 0; i < N; i++)
            xt += a[i] * b[i], xx += a[i] * a[i], tt += b[i] * b[i], apart += (a[i] - b[i]) * (a[i] - b[i]);
    }
    const match_sums s = { warp_sum((double)xt), warp_sum((double)xx), warp_sum((double)tt), warp_sum((double)apart) };
    const match_line line = made(s, C);
    if (lane == 0)
        loss[n] = line.loss;
    if (!dx.p)
        return;
    const float k = step->inv_count[which] * state->scale, ka = k * line.a, kb = k * line.b;
    for (int64_t c = lane * N; c < C; c += WARP * N) {
        float a[N], b[N];
        load_f<N>(v + c, a);
        load_f<N>(t + c, b);
#pragma unroll
        for (int i = 0; i < N; i++)
            a[i] = ka * a[i] + kb * b[i];
        set_f<N>(dx, n * C + c, a);
    }
}

template <class Made> static inline void match_launch(const hs_args *a, const hs_ref &dx, Made made, hs_lane *lane)
{
    const hs_ref &x = a->in[MATCH_X], &t = a->in[MATCH_TEACHER];
    const int32_t which = static_cast<const hs_match_attr *>(a->attr)->loss;
    const dim3 grid = grid_of(x.rows, MATCH_WARPS);
    BY_FLOAT(
        x.dtype, T,
        if (rows_by(8, x, t, dx)) {
            HS_LAUNCH((match_losses<8, T, Made>), grid, MATCH_WARPS * WARP, 0, gpu_stream(lane), x, cells<float>(t),
                      cells<float>(a->out[0]), dx, which, a->step, a->state, made);
        } else {
            HS_LAUNCH((match_losses<1, T, Made>), grid, MATCH_WARPS * WARP, 0, gpu_stream(lane), x, cells<float>(t),
                      cells<float>(a->out[0]), dx, which, a->step, a->state, made);
        });
}

#endif

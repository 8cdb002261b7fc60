// label_rows: losses of rows of numbers, each judged by itself, on a GPU - what bce, mse and soft_labels share. The including file says
// what one number costs and its slope. A block has a row, a thread the same numbers where it reads and where it writes.
#ifndef HS_OPS_LABEL_ROWS_CUDA_H
#define HS_OPS_LABEL_ROWS_CUDA_H
#include "core/cuda/gpu.cuh"
#include "ops/ops.h"

typedef struct label_cell_of {
    float cost, slope;
} label_cell_of;

typedef struct label_rows {
    hs_ref x;           // and its gradient, where that is wanted
    const float *other; // what each number is held against, in rows of other_cols
    int64_t other_cols;
    const float *weight;   // of each row; NULL: 1
    const int32_t *only;   // rows where this is below 0 do not count; NULL: all do
    float *loss;           // of a row: its weight * size * the mean of costs
    float size, gain;      // slopes: times weight * gain * inv_count * S / labels
    int32_t labels, which; // which loss's count
    bool gradient;
} label_rows;

// log(1 + e) of e in [0, 1]
static __device__ __forceinline__ float log1p_unit(float e) { return log1pf(e); }

template <int WARPS, class T, class Cell>
static __global__ void label_losses(T *cells_of_x, label_rows r, const hs_step_in *step, const hs_step_state *state, Cell cell)
{
    HS_SHARED(float, at, [WARPS]);
    const int64_t n = blockIdx.x, V = r.x.cols, L = r.labels;
    if (n >= live_rows(r.x, step))
        return;
    T *x = cells_of_x + n * V;
    const float *y = r.other + n * r.other_cols, w = r.weight ? r.weight[n] : 1;
    const bool counts = !r.only || r.only[n] >= 0;
    const float k = w * (r.gain * (step->inv_count[r.which] * state->scale) / (float)L);
    float sum = 0;
    for (int64_t c = threadIdx.x; c < (r.gradient ? V : L); c += WARPS * WARP) {
        label_cell_of here = { 0, 0 };
        if (counts && c < L)
            here = cell(to_f(x[c]), y[c]);
        sum += here.cost;
        if (r.gradient)
            from_f(x[c], counts && c < L ? k * here.slope : 0);
    }
    sum = block_sum<WARPS>(sum, at);
    if (threadIdx.x == 0)
        r.loss[n] = counts ? w * (r.size * (sum / (float)L)) : 0;
}

template <class Cell> static inline void label_launch(const hs_args *a, const label_rows &r, Cell cell, cudaStream_t stream)
{
    BY_FLOAT(
        r.x.dtype, T,
        if (r.x.cols <= 128) {
            HS_LAUNCH((label_losses<1, T, Cell>), dim3((unsigned)r.x.rows), WARP, 0, stream, cells<T>(r.x), r, a->step, a->state, cell);
        } else {
            HS_LAUNCH((label_losses<8, T, Cell>), dim3((unsigned)r.x.rows), 8 * WARP, 0, stream, cells<T>(r.x), r, a->step, a->state, cell);
        });
}

// Of bce and mse: x, target, weight -> loss, dx.
template <class Cell> static inline void label_forward(const hs_args *a, hs_lane *lane, Cell cell)
{
    const hs_label_attr *at = static_cast<const hs_label_attr *>(a->attr);
    const label_rows r = {
        a->in[0], cells<float>(a->in[1]), a->in[1].cols, cells<float>(a->in[2]), nullptr, cells<float>(a->out[0]), 1, 1, at->labels,
        at->loss, a->out[1].p != nullptr
    };
    label_launch(a, r, cell, gpu_stream(lane));
}

#endif

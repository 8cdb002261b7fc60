// softmax on CUDA.
#include "core/cuda/lines.cuh"

enum { X };
enum { Y };

// The largest value and the sum of e^(x - largest) in one pass, per thread and then of the line.
template <int WARPS, int N> static __global__ void softmax_fwd(hs_ref x, hs_ref y, int64_t W, const hs_step_in *step)
{
    HS_SHARED(float, at, [WARPS]);
    const int64_t line = line_here<WARPS>(), first = line * W;
    if (first >= live_rows(x, step) * x.cols)
        return;
    float max = -INFINITY, sum = 0;
    walk_line<WARPS, N>(x, first, W, [&](float(&v)[N], int64_t) {
        float most = max;
#pragma unroll
        for (int i = 0; i < N; i++)
            most = fmaxf(most, v[i]);
        const float base = most == -INFINITY ? 0 : most; // e^-Inf is 0, a NaN stays one
        sum *= expf(max - base);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += expf(v[i] - base);
        max = most;
    });
    const float most = block_max<WARPS>(max, at);
    const float inverse = 1 / block_sum<WARPS>(sum * expf(max - (most == -INFINITY ? 0 : most)), at);
    walk_line<WARPS, N>(x, first, W, [&](float(&v)[N], int64_t c) {
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = expf(v[i] - most) * inverse;
        set_f<N>(y, first + c, v);
    });
}

//   dx = y * (dy - sum(dy * y))
template <int WARPS, int N> static __global__ void softmax_bwd(hs_ref y, hs_ref dy, hs_ref dx, int64_t W, const hs_step_in *step)
{
    HS_SHARED(float, at, [WARPS]);
    const int64_t line = line_here<WARPS>(), first = line * W;
    if (first >= live_rows(y, step) * y.cols)
        return;
    float sum = 0;
    walk_line<WARPS, N>(y, dy, first, W, [&](float(&v)[N], float(&d)[N], int64_t) {
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += d[i] * v[i];
    });
    sum = block_sum<WARPS>(sum, at);
    walk_line<WARPS, N>(y, dy, first, W, [&](float(&v)[N], float(&d)[N], int64_t c) {
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] *= d[i] - sum;
        set_f<N>(dx, first + c, v);
    });
}

static int64_t lines_of(const hs_ref &r, int64_t W) { return r.rows * (r.cols / W); }

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &y = a->out[Y];
    const int64_t W = hs_tensor_width(x.t);
    BY_LINE(
        W, lines_by_8(W, x, y), WARPS, N,
        HS_LAUNCH((softmax_fwd<WARPS, N>), line_grid<WARPS>(lines_of(x, W)), line_block<WARPS>(), 0, gpu_stream(lane), x, y, W, a->step));
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &y = a->out[Y], &dy = a->dout[Y], &dx = a->din[X];
    const int64_t W = hs_tensor_width(y.t);
    if (dx.p)
        BY_LINE(W, lines_by_8(W, y, dy, dx), WARPS, N,
                HS_LAUNCH((softmax_bwd<WARPS, N>), line_grid<WARPS>(lines_of(y, W)), line_block<WARPS>(), 0, gpu_stream(lane), y, dy, dx, W,
                          a->step));
}

extern "C" const hs_kernels hs_cuda_softmax = { forward, backward, HS_PART_FREE, HS_PART_FREE };

// mean on CUDA.
#include "core/cuda/lines.cuh"

enum { X };
enum { Y };

template <int WARPS, int N> static __global__ void mean_fwd(hs_ref x, hs_ref y, int64_t W, const hs_step_in *step)
{
    HS_SHARED(float, at, [WARPS]);
    const int64_t line = line_here<WARPS>(), first = line * W;
    if (first >= live_rows(x, step) * x.cols)
        return;
    float sum = 0;
    walk_line<WARPS, N>(x, first, W, [&](float(&v)[N], int64_t) {
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += v[i];
    });
    sum = block_sum<WARPS>(sum, at);
    if (threadIdx.x == 0)
        set_one(y, line, sum / (float)W);
}

template <int WARPS, int N> static __global__ void mean_bwd(hs_ref dy, hs_ref dx, int64_t W, const hs_step_in *step)
{
    const int64_t line = line_here<WARPS>(), first = line * W;
    if (first >= live_rows(dx, step) * dx.cols)
        return;
    const float one = get_one(dy, line) / (float)W;
    float share[N];
#pragma unroll
    for (int i = 0; i < N; i++)
        share[i] = one;
    for (int64_t c = threadIdx.x * N; c < W; c += WARPS * WARP * N)
        set_f<N>(dx, first + c, share);
}

static int64_t lines_of(const hs_ref &r, int64_t W) { return r.rows * (r.cols / W); }

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X];
    const int64_t W = hs_tensor_width(x.t);
    BY_LINE(W, lines_by_8(W, x), WARPS, N,
            HS_LAUNCH((mean_fwd<WARPS, N>), line_grid<WARPS>(lines_of(x, W)), line_block<WARPS>(), 0, gpu_stream(lane), x, a->out[Y], W,
                      a->step));
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &dx = a->din[X];
    if (!dx.p)
        return;
    const int64_t W = hs_tensor_width(dx.t);
    BY_LINE(W, lines_by_8(W, dx), WARPS, N,
            HS_LAUNCH((mean_bwd<WARPS, N>), line_grid<WARPS>(lines_of(dx, W)), line_block<WARPS>(), 0, gpu_stream(lane), a->dout[Y], dx, W,
                      a->step));
}

extern "C" const hs_kernels hs_cuda_mean = { forward, backward, HS_PART_FREE, HS_PART_FREE };

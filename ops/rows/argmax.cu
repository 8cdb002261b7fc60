// argmax on CUDA.
#include "core/cuda/lines.cuh"
#include "ops/attrs.h"

enum { X };
enum { Y };

struct largest {
    float value;
    int column;                          // of equal ones the first
    __device__ void take(float v, int c) // a NaN is above nothing
    {
        if (v > value || (v == value && c < column))
            value = v, column = c;
    }
};

template <int WARPS, int N> static __global__ void argmax_fwd(hs_ref x, int32_t *y, int K, const hs_step_in *step)
{
    HS_SHARED(float, values, [WARPS]);
    HS_SHARED(int, columns, [WARPS]);
    const int64_t line = line_here<WARPS>();
    if (line >= live_rows(x, step))
        return;
    largest best = { -INFINITY, K };
    walk_line<WARPS, N>(x, line * x.cols, K, [&](float(&v)[N], int64_t c) {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (c + i < K)
                best.take(v[i], (int)c + i);
    });
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2) {
        const float v = __shfl_xor_sync(0xFFFFFFFFu, best.value, k);
        const int c = __shfl_xor_sync(0xFFFFFFFFu, best.column, k);
        best.take(v, c);
    }
    if (WARPS > 1) {
        if (threadIdx.x % WARP == 0)
            values[threadIdx.x / WARP] = best.value, columns[threadIdx.x / WARP] = best.column;
        __syncthreads();
        for (int w = 0; w < WARPS; w++)
            best.take(values[w], columns[w]);
    }
    if (threadIdx.x == 0)
        y[line] = best.column < K ? best.column : 0; // nothing but NaN
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X];
    const int K = static_cast<const hs_argmax_attr *>(a->attr)->classes; // a row is walked to the end of a pack: it is as wide as that
    BY_LINE(K, lines_by_8(x.cols, x), WARPS, N,
            HS_LAUNCH((argmax_fwd<WARPS, N>), line_grid<WARPS>(x.rows), line_block<WARPS>(), 0, gpu_stream(lane), x,
                      cells<int32_t>(a->out[Y]), K, a->step));
}

extern "C" const hs_kernels hs_cuda_argmax = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

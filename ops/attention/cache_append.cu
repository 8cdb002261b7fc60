// cache_append on CUDA: threads copy pieces of rows; the definition is in cache_append.c.
#include "core/cuda/gpu.cuh"
#include "ops/attrs.h"

enum { CACHE, X, ROWS };
enum { Y };
enum { THREADS = 128 };

template <int N, class TX, class TY>
static __global__ void append(const TX *x, const int32_t *rows, TY *y, hs_ref from, int64_t first, int64_t cols, int64_t capacity,
                              const hs_step_in *step)
{
    const int64_t c = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * N, n = blockIdx.x;
    if (n >= live_rows(from, step) || c >= cols)
        return;
    const int64_t to = rows[n];
    if (to < 0 || to >= capacity)
        return;
    float v[N];
    load_f<N>(x + n * from.cols + first + c, v);
    store_f<N>(y + to * cols + c, v);
}

template <int N> static void run(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &y = a->out[Y];
    const int64_t first = static_cast<const hs_cache_append_attr *>(a->attr)->first;
    const dim3 grid((unsigned)x.rows, (unsigned)blocks_of(y.cols, THREADS * N));
    BY_FLOAT2(x.dtype, TX, y.dtype, TY,
              HS_LAUNCH((append<N, TX, TY>), grid, THREADS, 0, gpu_stream(lane), cells<TX>(x), cells<int32_t>(a->in[ROWS]), cells<TY>(y), x,
                        first, y.cols, y.rows, a->step));
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t first = static_cast<const hs_cache_append_attr *>(a->attr)->first;
    first % 8 == 0 && rows_by(8, a->in[X], a->out[Y]) ? run<8>(a, lane) : run<1>(a, lane);
}

extern "C" const hs_kernels hs_cuda_cache_append = { forward, nullptr, HS_PART_FREE, HS_PART_FREE, false };

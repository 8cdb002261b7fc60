// cache_append_i8 on CUDA: a warp rounds a head of a row; the definition is in cache_append_i8.c, and the bytes are the CPU's.
#include "core/cuda/gpu.cuh"
#include "ops/attrs.h"
#include "ops/quant/i8_round.h"

enum { CACHE, X, ROWS };
enum { Y };
enum { WARPS = 4 };

static __global__ void __launch_bounds__(WARPS *WARP)
    append_codes(hs_ref x, const int32_t *rows, hs_ref y, int64_t first, int64_t heads, const hs_step_in *step)
{
    const int64_t n = blockIdx.x, group = (int64_t)blockIdx.y * WARPS + threadIdx.x / WARP;
    const int64_t width = hs_cache_i8_width(y.cols, heads), d = width / heads;
    if (n >= live_rows(x, step) || group >= 2 * heads)
        return;
    const int64_t to = rows[n], from = n * x.cols + first + group * d;
    if (to < 0 || to >= y.rows)
        return;
    uint32_t most = 0;
    for (int64_t c = threadIdx.x % WARP; c < d; c += WARP) {
        const uint32_t u = hs_f32_bits(get_one(x, from + c)) & 0x7FFFFFFFu;
        most = u > most ? u : most;
    }
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2) {
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, most, k);
        most = other > most ? other : most;
    }
    const float scale = i8_row_scale(most), inverse = i8_inverse(scale);
    char *const row = y.p + to * y.cols;
    for (int64_t c = threadIdx.x % WARP; c < d; c += WARP)
        row[group * d + c] = (char)(int8_t)i8_round(get_one(x, from + c), inverse);
    if (threadIdx.x % WARP == 0)
        reinterpret_cast<float *>(row + 2 * width)[group] = scale;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_cache_append_i8_attr *at = static_cast<const hs_cache_append_i8_attr *>(a->attr);
    const hs_ref &x = a->in[X], &y = a->out[Y];
    HS_LAUNCH(append_codes, dim3((unsigned)x.rows, (unsigned)blocks_of(2 * at->heads, WARPS)), WARPS * WARP, 0, gpu_stream(lane), x,
              cells<int32_t>(a->in[ROWS]), y, at->first, at->heads, a->step);
}

extern "C" const hs_kernels hs_cuda_cache_append_i8 = { forward, nullptr, HS_PART_FREE, HS_PART_FREE, false };

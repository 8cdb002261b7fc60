// embedding_coded on CUDA: a warp per row of y; the definition is in embedding_coded.c.
#include "core/cuda/gpu.cuh"
#include "ops/attrs.h"
#include "ops/quant/i8_round.h"

enum { CODES, SCALES, IDS, POS_TABLE, WHERE };
enum { Y };
enum { WARPS = 8, SHARED = 32 };

struct look_up {
    hs_ref codes, scales, places, y;
    const int32_t *ids, *where; // places and where: both or none
    hs_embedding_attr at;
};

static __device__ __forceinline__ float value(const look_up &a, int64_t row, int64_t c)
{
    const int64_t i = row * a.y.cols + c;
    const int32_t code = a.codes.dtype == HS_U8 ? (reinterpret_cast<const uint8_t *>(a.codes.p)[i / 2] >> (i % 2 * 4) & 15) - 8
                                                : reinterpret_cast<const int8_t *>(a.codes.p)[i];
    const float scale = a.scales.dtype == HS_F32 ? reinterpret_cast<const float *>(a.scales.p)[row]
                                                 : to_f(reinterpret_cast<const f16 *>(a.scales.p)[i / SHARED]);
    return i8_scaled(code, scale, 1);
}

static __global__ void look_up_rows(look_up a, const hs_step_in *step)
{
    const int64_t n = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, C = a.y.cols;
    if (n >= live_rows(a.y, step))
        return;
    const int64_t all = a.ids[n], row = all - a.at.first, place = a.where ? a.at.first_position + a.where[2 * n + 1] : 0;
    const bool outside =
        all < 0 || all >= (a.at.rows ? a.at.rows : a.codes.rows) || (a.where && (place < 0 || place >= a.places.rows));
    const bool elsewhere = row < 0 || row >= a.codes.rows; // in the slice of another rank: 0 here, its place too
    for (int64_t c = threadIdx.x % WARP; c < C; c += WARP) {
        float y = outside ? NAN : 0;
        if (!outside && !elsewhere) {
            y = value(a, row, c);
            if (a.where)
                y = i8_plus(y, get_one(a.places, place * C + c));
        }
        set_one(a.y, n * C + c, y);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const look_up l = { a->in[CODES], a->in[SCALES],                a->in[POS_TABLE],
                        a->out[Y],    cells<int32_t>(a->in[IDS]),   cells<int32_t>(a->in[WHERE]),
                        *static_cast<const hs_embedding_attr *>(a->attr) };
    HS_LAUNCH(look_up_rows, grid_of(l.y.rows, WARPS), WARPS * WARP, 0, gpu_stream(lane), l, a->step);
}

extern "C" const hs_kernels hs_cuda_embedding_coded = { forward, nullptr, HS_PART_FREE, HS_PART_FREE, false, nullptr };

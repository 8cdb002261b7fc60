// draw on CUDA: a block per row. Each warp has a stretch of the columns; their sums say in which of them the running sum passes
// u * the sum of all, and that warp walks its own again.
#include "core/cuda/lines.cuh"
#include "ops/attrs.h"

enum { X, PICKS, WHERE };
enum { Y };
enum { WARPS = 16 };

struct places {
    hs_ref where;
    const int32_t *picks;
    uint64_t site;
    bool frozen;
    // In (0, 1); a pick that is no token draws as the first.
    __device__ double uniform(int64_t p, const hs_step_in *step) const
    {
        enum { PLANE = 0x44524157 }; // dropout's have small ones
        const int32_t row = picks[p];
        const int32_t *const at = reinterpret_cast<const int32_t *>(where.p) + 2 * (row >= 0 && row < live_rows(where, step) ? row : 0);
        const uint64_t key = frozen ? hs_mix(site) : hs_drop_key(step->seed, site, step->step);
        return hs_u32_unit(hs_random(key, (uint32_t)at[0], (uint32_t)at[1], 0, PLANE).v[0]);
    }
};

static __global__ void draw_fwd(hs_ref x, int32_t *y, int K, places from, const hs_step_in *step)
{
    HS_SHARED(float, at, [WARPS]);
    HS_SHARED(double, sums, [WARPS]);
    HS_SHARED(int, last_of, [WARPS]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t p = blockIdx.x, first = p * x.cols;
    if (p >= live_rows(x, step))
        return;
    const int span = (K + WARPS * WARP - 1) / (WARPS * WARP) * WARP, c0 = warp * span, c1 = c0 + span < K ? c0 + span : K;
    float most = -INFINITY;
    for (int c = c0 + lane; c < c1; c += WARP)
        most = fmaxf(most, get_one(x, first + c));
    most = block_max<WARPS>(most, at);
    double sum = 0;
    int last = -1; // that has a share
    for (int c = c0 + lane; c < c1; c += WARP) {
        const float e = expf(get_one(x, first + c) - most);
        sum += (double)e;
        last = e > 0 ? c : last;
    }
    sum = warp_sum(sum);
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2)
        last = max(last, __shfl_xor_sync(0xFFFFFFFFu, last, k));
    if (lane == 0)
        sums[warp] = sum, last_of[warp] = last;
    __syncthreads();
    double all = 0, before = 0, at_end = 0;
    for (int w = 0; w < WARPS; w++)
        all += sums[w];
    const double want = from.uniform(p, step) * all;
    int mine = -1; // the warp whose stretch passes it, else the last that has a share
    for (int w = 0; w < WARPS; w++) {
        if (last_of[w] >= 0)
            mine = w, before = at_end;
        at_end += sums[w];
        if (at_end > want)
            break;
    }
    if (mine < 0 && threadIdx.x == 0)
        y[p] = 0; // all NaN
    if (warp != mine)
        return;
    for (int c = c0; c < c1; c += WARP) {
        const float e = c + lane < c1 ? expf(get_one(x, first + c + lane) - most) : 0;
        double upto = (double)e; // the sum of this lane's column and those before it
#pragma unroll
        for (int k = 1; k < WARP; k *= 2) {
            const double left = __shfl_up_sync(0xFFFFFFFFu, upto, k);
            upto += lane >= k ? left : 0;
        }
        const unsigned passed = __ballot_sync(0xFFFFFFFFu, e > 0 && before + upto > want);
        if (passed) {
            last = c + __ffs((int)passed) - 1;
            break;
        }
        before += __shfl_sync(0xFFFFFFFFu, upto, WARP - 1);
    }
    if (lane == 0)
        y[p] = last;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_draw_attr *at = static_cast<const hs_draw_attr *>(a->attr);
    const hs_ref &x = a->in[X];
    const places from = { a->in[WHERE], cells<int32_t>(a->in[PICKS]), a->site, at->frozen != 0 };
    HS_LAUNCH(draw_fwd, grid_of(x.rows, 1), WARPS * WARP, 0, gpu_stream(lane), x, cells<int32_t>(a->out[Y]), at->classes, from, a->step);
}

extern "C" const hs_kernels hs_cuda_draw = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };

// fake_quant on CUDA: a warp has the group of one scale, a row or 32 of it. The bits are the CPU's.
#include "core/cuda/gpu.cuh"
#include "ops/attrs.h"
#include "ops/quant/fake_round.h"

enum { X, SCALE };
enum { Y };
enum { GROUPS = 4, NOISE_BLOCK = 8, ALL = 65536 }; // groups of a thread block

struct rounding {
    hs_ref x, dy, to; // dy.p: backward
    const float *given;
    int form, share, width; // of a group
    uint64_t site;
};

static __device__ __forceinline__ fake_scale scale_of(const rounding &r, int64_t at)
{
    const int lane = threadIdx.x % WARP;
    uint32_t most = 0;
    for (int c = lane; c < r.width; c += WARP) {
        const uint32_t u = hs_f32_bits(get_one(r.x, at + c)) & 0x7FFFFFFFu;
        most = u > most ? u : most;
    }
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2) {
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, most, k);
        most = other > most ? other : most;
    }
    float largest = hs_bits_f32(most);
    if (r.form == HS_FAKE_WEIGHTS_4) { // a lane has one value: the first of the largest
        const float own = get_one(r.x, at + lane);
        uint32_t first = (hs_f32_bits(own) & 0x7FFFFFFFu) == most ? (uint32_t)lane : WARP;
#pragma unroll
        for (int k = WARP / 2; k > 0; k /= 2) {
            const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, first, k);
            first = other < first ? other : first;
        }
        largest = __shfl_sync(0xFFFFFFFFu, own, (int)first);
    }
    return fake_scale_of(r.form, most, largest, r.given ? *r.given : 0);
}

static __global__ void round_groups(rounding r, const hs_step_in *step)
{
    const int64_t group = (int64_t)blockIdx.x * GROUPS + threadIdx.x / WARP, at = group * r.width;
    if (at >= live_rows(r.x, step) * r.x.cols)
        return;
    const fake_scale f = scale_of(r, at);
    const uint64_t key = hs_drop_key(step->seed, r.site, step->step);
    for (int c = threadIdx.x % WARP; c < r.width; c += WARP) {
        const float x = get_one(r.x, at + c), as = r.dy.p ? get_one(r.dy, at + c) : x;
        float y = !r.dy.p ? fake_value(&f, x) : fake_clips(r.form, &f, x) ? 0 : as;
        if (r.share < ALL) {
            const int64_t n = (at + c) / r.x.cols, b = (at + c) % r.x.cols / NOISE_BLOCK;
            const hs_u32x4 w = hs_random(key, (uint32_t)n, 0, (uint32_t)(b / 8), 0);
            if ((int)(w.v[b % 8 / 2] >> (b % 2 * 16) & 0xFFFF) >= r.share)
                y = as;
        }
        set_one(r.to, at + c, y);
    }
}

static void launch(const hs_args *a, hs_lane *lane, const hs_ref &dy, const hs_ref &to)
{
    const hs_fake_quant_attr *at = static_cast<const hs_fake_quant_attr *>(a->attr);
    const hs_ref &x = a->in[X];
    const int64_t width = fake_by_blocks(at->form) ? HS_CODE_BLOCK : x.cols;
    const rounding r = { x, dy, to, cells<float>(a->in[SCALE]), at->form, at->share, (int)width, a->site };
    HS_LAUNCH(round_groups, grid_of(x.rows * x.cols / width, GROUPS), GROUPS * WARP, 0, gpu_stream(lane), r, a->step);
}

static void forward(const hs_args *a, hs_lane *lane) { launch(a, lane, hs_ref{}, a->out[Y]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (a->din[X].p)
        launch(a, lane, a->dout[Y], a->din[X]);
}

extern "C" const hs_kernels hs_cuda_fake_quant = { forward, backward, HS_PART_FREE, HS_PART_FREE };

// linear_fp8 on CUDA: the definition is in linear_fp8.c. A launch finds the largest values, a part a block; the launch that rounds an
// operand makes its scale of those parts, in each block anew, so that nothing of it is the host's. Products are of the rounded values as
// bf16, which has them exactly, scaled back by powers of two: the numbers of an fp8 product, at bf16's speed. This is the reference on any
// GPU.
#include "core/cuda/gemm.cuh"
#include "ops/attrs.h"
#include "ops/dense/column_sums.cuh"
#include "ops/dense/fp8_scale.h"

enum { X, W, BIAS, AMAX };
enum { Y, X8, SCALE };
enum { THREADS = 256, PARTS = 256, EACH = 8 }; // widths are multiples of 16

struct scaling {          // of one operand
    const uint32_t *part; // [PARTS] largest values, as bits
    float most;
    int margin, row; // row: of the state; below 0: of the tensor at hand alone
    hs_ref state;
    const hs_step_in *step;
    float *scale; // where it is left
};

// Bits order like magnitudes, and NaN lies above them all.
static __device__ __forceinline__ uint32_t bits_max(uint32_t v, uint32_t *at)
{
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2) {
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, v, k);
        v = other > v ? other : v;
    }
    if (threadIdx.x % WARP == 0)
        at[threadIdx.x / WARP] = v;
    __syncthreads();
    uint32_t most = 0;
#pragma unroll
    for (int w = 0; w < THREADS / WARP; w++)
        most = at[w] > most ? at[w] : most;
    __syncthreads();
    return most;
}

static __global__ void largest(hs_ref x, const hs_step_in *step, uint32_t *part)
{
    HS_SHARED(uint32_t, at, [THREADS / WARP]);
    const int64_t n = live_rows(x, step) * x.cols, stride = (int64_t)PARTS * THREADS * EACH;
    uint32_t most = 0;
    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH; i < n; i += stride) {
        float v[EACH];
        get_f<EACH>(x, i, v);
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const uint32_t u = __float_as_uint(v[k]) & 0x7FFFFFFFu;
            most = u > most ? u : most;
        }
    }
    most = bits_max(most, at);
    if (threadIdx.x == 0)
        part[blockIdx.x] = most;
}

template <bool E5M2> static __device__ __forceinline__ float there_and_back(float v, uint8_t &code)
{
    code = E5M2 ? hs_f32_e5m2(v) : hs_f32_e4m3(v);
    return E5M2 ? hs_e5m2_f32(code) : hs_e4m3_f32(code);
}

// A scale of 2^e has the inverse 2^-e; that of NaN is NaN.
template <bool E5M2> static __device__ __forceinline__ void round_cells(const hs_ref &x, int64_t n, float scale, uint8_t *code, bf16 *value)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH;
    if (i >= n)
        return;
    float v[EACH];
    pack<uint8_t, EACH> c;
    const float back = 1 / scale;
    get_f<EACH>(x, i, v);
#pragma unroll
    for (int k = 0; k < EACH; k++)
        v[k] = there_and_back<E5M2>(v[k] * scale, c.v[k]) * back;
    store_f<EACH>(value + i, v);
    if (code)
        *reinterpret_cast<pack<uint8_t, EACH> *>(code + i) = c;
}

// By the scale of the parts, which the first block leaves for others, and notes.
template <bool E5M2> static __global__ void round_found(hs_ref x, scaling s, uint8_t *code, bf16 *value)
{
    HS_SHARED(uint32_t, at, [THREADS / WARP]);
    const float here = __uint_as_float(bits_max(s.part[threadIdx.x], at));
    const float scale = hs_fp8_scale(s.row < 0 ? here : hs_fp8_amax(&s.state, s.step, s.row, here), s.most, s.margin);
    round_cells<E5M2>(x, live_rows(x, s.step) * x.cols, scale, code, value);
    if (blockIdx.x || threadIdx.x)
        return;
    if (s.scale)
        *s.scale = scale;
    if (s.row >= 0)
        hs_fp8_note(&s.state, s.step, s.row, here);
}

static __global__ void round_known(hs_ref x, const hs_step_in *step, const float *scale, bf16 *value)
{
    round_cells<false>(x, live_rows(x, step) * x.cols, *scale, static_cast<uint8_t *>(nullptr), value);
}

static __global__ void widen_codes(hs_ref x, const hs_step_in *step, const float *scale, bf16 *value)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH;
    if (i >= live_rows(x, step) * x.cols)
        return;
    const pack<uint8_t, EACH> c = *reinterpret_cast<const pack<uint8_t, EACH> *>(x.p + i);
    const float back = 1 / *scale;
    float v[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++)
        v[k] = hs_e4m3_f32(c.v[k]) * back;
    store_f<EACH>(value + i, v);
}

struct room { // of shared scratch
    uint32_t *part[2];
    bf16 *dy, *x, *w;
    char *rest;
};
static int64_t up(int64_t n) { return (n + 63) / 64 * 64; }
static room room_of(const hs_args *a, bool backward)
{
    const int64_t C = a->in[W].cols, O = a->in[W].rows, N = a->out[X8].rows;
    room r;
    r.part[0] = reinterpret_cast<uint32_t *>(a->scratch), r.part[1] = r.part[0] + PARTS;
    r.dy = reinterpret_cast<bf16 *>(r.part[1] + PARTS);
    r.x = r.dy + (backward ? up(N * O) : 0), r.w = r.x + up(N * C);
    r.rest = reinterpret_cast<char *>(r.w + up(O * C));
    return r;
}

static dim3 grid_for(const hs_ref &x) { return grid_of(x.rows * x.cols, THREADS * EACH); }

template <bool E5M2>
static void round_operand(const hs_args *a, hs_lane *lane, const hs_ref &x, uint32_t *part, int row, float *scale, uint8_t *code,
                          bf16 *value)
{
    const int margin = static_cast<const hs_linear_fp8_attr *>(a->attr)->margin;
    const bool delayed = a->in[AMAX].p && row >= 0;
    const scaling s = { part, E5M2 ? HS_E5M2_MAX : HS_E4M3_MAX, margin, delayed ? row : -1, a->in[AMAX], a->step, scale };
    HS_LAUNCH(largest, PARTS, THREADS, 0, gpu_stream(lane), x, a->step, part);
    HS_LAUNCH((round_found<E5M2>), grid_for(x), THREADS, 0, gpu_stream(lane), x, s, code, value);
}

static gemm_side side(const bf16 *p, int64_t ld, bool k_major)
{
    gemm_side s = {};
    s.p = p, s.ld = ld, s.dtype = HS_BF16, s.k_major = k_major;
    return s;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W];
    const room r = room_of(a, false);
    float *scale = cells<float>(a->out[SCALE]);
    round_operand<false>(a, lane, x, r.part[0], 0, scale, cells<uint8_t>(a->out[X8]), r.x);
    round_operand<false>(a, lane, w, r.part[1], -1, scale + 1, nullptr, r.w);
    gemm g = gemm_make(x.rows, w.rows, x.cols);
    g.a = side(r.x, x.cols, false), g.b = side(r.w, w.cols, false), g.c = gemm_to(a->out[Y]);
    g.c.bias = cells<float>(a->in[BIAS]);
    gemm_count(&g, GEMM_LIVE_M, x, a->step);
    gemm_run(&g, lane);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &w = a->in[W], &dy = a->dout[Y];
    const room r = room_of(a, true);
    const float *scale = cells<float>(a->out[SCALE]);
    round_operand<true>(a, lane, dy, r.part[0], 1, nullptr, nullptr, r.dy);
    if (a->din[X].p) {
        HS_LAUNCH(round_known, grid_for(w), THREADS, 0, gpu_stream(lane), w, a->step, scale + 1, r.w);
        gemm g = gemm_make(dy.rows, w.cols, w.rows);
        g.a = side(r.dy, dy.cols, false), g.b = side(r.w, w.cols, true), g.c = gemm_to(a->din[X]);
        gemm_count(&g, GEMM_LIVE_M, dy, a->step);
        gemm_run(&g, lane);
    }
    if (a->din[W].p) {
        HS_LAUNCH(widen_codes, grid_for(a->out[X8]), THREADS, 0, gpu_stream(lane), a->out[X8], a->step, scale, r.x);
        gemm g = gemm_make(w.rows, w.cols, dy.rows);
        g.a = side(r.dy, dy.cols, true), g.b = side(r.x, w.cols, true), g.c = gemm_to(a->din[W]);
        gemm_count(&g, GEMM_LIVE_K, dy, a->step);
        g.partial = reinterpret_cast<float *>(r.rest);
        gemm_run(&g, lane);
    }
    sum_columns(a, lane, dy, reinterpret_cast<float *>(r.rest), a->din[BIAS]);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    const size_t dw = gemm_bytes(O, C, N, 1), dbias = n->in[BIAS] ? column_bytes(N, 1, O) : 0;
    const size_t front = 2 * PARTS * sizeof(uint32_t) + (size_t)((is_backward ? up(N * O) : 0) + up(N * C) + up(O * C)) * sizeof(bf16);
    return { front + (!is_backward ? 0 : dw > dbias ? dw : dbias), 0 };
}

extern "C" const hs_kernels hs_cuda_linear_fp8 = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };

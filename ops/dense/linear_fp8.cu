// linear_fp8 on CUDA: the definition is in linear_fp8.c. A launch finds the largest values, a part a block; the launch that rounds an
// operand makes its scale of those parts, in each block anew, so that nothing of it is the host's. Where the GPU has products of 8 bits
// (core/cuda/cublaslt.h), what is rounded are codes, and factors go to the library by their addresses: the forward product may lose last bits of
// its sums on the way (`fast`), gradients may not. Elsewhere products are of the rounded values as bf16, which has them exactly, scaled back by
// powers of two: the numbers of an fp8 product, at bf16's speed. That is the reference on any GPU. Where micro-steps share weights, either
// way takes the codes of w from a copy that is made once.
#include "core/cuda/cublaslt.h"
#include "core/cuda/gemm.cuh"
#include "ops/attrs.h"
#include "ops/dense/column_sums.cuh"
#include "ops/dense/fp8_codes.cuh"

enum { X, W, BIAS, AMAX };
enum { Y, X8, SCALE };
enum { THREADS = FP8_THREADS, PARTS = FP8_PARTS, EACH = 8 }; // widths are multiples of 16

// w as codes, once per change of its values: what scaled them, and its inverse, stand between the parts of the largest and the codes.
struct kept_w {
    float scale, inverse;
};
enum { FRONT = HS_FP8_FRONT };
static_assert(FRONT == 4 * PARTS + 256, "codes begin behind the parts, with a cache line");
static const kept_w *kept_of(const hs_args *a)
{
    return a->derived ? reinterpret_cast<const kept_w *>(static_cast<const char *>(a->derived) + 4 * PARTS) : nullptr;
}
static const uint8_t *codes_kept(const hs_args *a) { return static_cast<const uint8_t *>(a->derived) + FRONT; }
static __global__ void tell(float *to, const float *from) { *to = *from; }

// skip: not where steps before have noted one.
static __global__ void largest(hs_ref x, scaling s, uint32_t *part, bool skip)
{
    HS_SHARED(uint32_t, at, [THREADS / WARP]);
    const int64_t n = rows_here(x, s.step) * x.cols, stride = (int64_t)PARTS * THREADS * EACH;
    uint32_t most = 0;
    if (skip && noted_before(s, at))
        return;
    if ((int64_t)blockIdx.x * THREADS * EACH >= n) { // nothing for this block
        if (threadIdx.x == 0)
            part[blockIdx.x] = 0;
        return;
    }
    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH; i < n; i += stride) {
        float v[EACH];
        get_f<EACH>(x, i, v);
#pragma unroll
        for (int k = 0; k < EACH; k++)
            most = magnitude(v[k]) > most ? magnitude(v[k]) : most;
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

static int64_t up(int64_t n) { return (n + 63) / 64 * 64; }

static scaling scaling_of(const hs_args *a, bool e5m2, const uint32_t *part, int row, float *scale)
{
    const int margin = static_cast<const hs_linear_fp8_attr *>(a->attr)->margin;
    return { part, e5m2 ? HS_E5M2_MAX : HS_E4M3_MAX, margin, a->in[AMAX].p ? row : -1, a->in[AMAX], a->step, scale };
}

// ---- the reference: rounded values as bf16

struct room { // of shared scratch
    uint32_t *part[2];
    bf16 *dy, *x, *w;
    char *rest;
};
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
static size_t room_bytes(int64_t N, int64_t C, int64_t O, bool backward)
{
    return 2 * PARTS * sizeof(uint32_t) + (size_t)((backward ? up(N * O) : 0) + up(N * C) + up(O * C)) * sizeof(bf16);
}

static dim3 grid_for(const hs_ref &x) { return grid_of(x.rows * x.cols, THREADS * EACH); }

template <bool E5M2>
static void round_operand(const hs_args *a, hs_lane *lane, const hs_ref &x, uint32_t *part, int row, float *scale, uint8_t *code,
                          bf16 *value)
{
    const scaling s = scaling_of(a, E5M2, part, row, scale);
    HS_LAUNCH(largest, PARTS, THREADS, 0, gpu_stream(lane), x, s, part, false);
    HS_LAUNCH((round_found<E5M2>), grid_for(x), THREADS, 0, gpu_stream(lane), x, s, code, value);
}

static gemm_side side(const bf16 *p, int64_t ld, bool k_major)
{
    gemm_side s = {};
    s.p = p, s.ld = ld, s.dtype = HS_BF16, s.k_major = k_major;
    return s;
}

static hs_ref codes_ref(const hs_args *a, int64_t rows, int64_t cols)
{
    hs_ref r = {};
    r.p = const_cast<char *>(reinterpret_cast<const char *>(codes_kept(a)));
    r.rows = rows, r.cols = cols, r.dtype = HS_E4M3;
    return r;
}

static void reference_forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W];
    const room r = room_of(a, false);
    const kept_w *kept = kept_of(a);
    float *scale = cells<float>(a->out[SCALE]);
    round_operand<false>(a, lane, x, r.part[0], 0, scale, cells<uint8_t>(a->out[X8]), r.x);
    if (kept) {
        HS_LAUNCH(widen_codes, grid_for(w), THREADS, 0, gpu_stream(lane), codes_ref(a, w.rows, w.cols), a->step, &kept->scale, r.w);
        HS_LAUNCH(tell, 1, 1, 0, gpu_stream(lane), scale + 1, &kept->scale);
    } else
        round_operand<false>(a, lane, w, r.part[1], -1, scale + 1, nullptr, r.w);
    gemm g = gemm_make(x.rows, w.rows, x.cols);
    g.a = side(r.x, x.cols, false), g.b = side(r.w, w.cols, false), g.c = gemm_to(a->out[Y]);
    g.c.bias = cells<float>(a->in[BIAS]);
    gemm_count(&g, GEMM_LIVE_M, x, a->step);
    gemm_run(&g, lane);
}

static void reference_backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &w = a->in[W], &dy = a->dout[Y];
    const room r = room_of(a, true);
    const float *scale = cells<float>(a->out[SCALE]);
    round_operand<true>(a, lane, dy, r.part[0], 1, nullptr, nullptr, r.dy);
    if (a->din[X].p) {
        const kept_w *kept = kept_of(a);
        if (kept) // turned
            HS_LAUNCH(widen_codes, grid_for(w), THREADS, 0, gpu_stream(lane), codes_ref(a, w.cols, w.rows), a->step, &kept->scale, r.w);
        else
            HS_LAUNCH(round_known, grid_for(w), THREADS, 0, gpu_stream(lane), w, a->step, scale + 1, r.w);
        gemm g = gemm_make(dy.rows, w.cols, w.rows);
        g.a = side(r.dy, dy.cols, false), g.b = kept ? side(r.w, w.rows, false) : side(r.w, w.cols, true), g.c = gemm_to(a->din[X]);
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

// ---- by cuBLASLt: codes, and factors that take sums of theirs back

struct codes { // of shared scratch
    uint32_t *part;
    float *factor;  // of x or dy, of w, of x
    uint32_t *tile; // of x or dy
    uint8_t *dy, *dy_turned, *w, *x_turned; // w: turned in backward
    char *rest;
    int64_t ld; // of what is turned
};
static codes codes_of(const hs_args *a, bool backward)
{
    const int64_t C = a->in[W].cols, O = a->in[W].rows, N = a->out[X8].rows;
    const dim3 tiles = fp8_tiles(N, backward ? O : C);
    codes c;
    c.ld = fp8_ld(N);
    c.part = reinterpret_cast<uint32_t *>(a->scratch);
    c.factor = reinterpret_cast<float *>(c.part + PARTS);
    c.tile = reinterpret_cast<uint32_t *>(c.factor + 64);
    c.w = reinterpret_cast<uint8_t *>(c.tile + up((int64_t)tiles.x * tiles.y));
    c.dy = c.w + up(O * C), c.dy_turned = c.dy + up(N * O), c.x_turned = c.dy_turned + up(O * c.ld);
    c.rest = reinterpret_cast<char *>(backward ? c.x_turned + up(C * c.ld) : c.dy);
    return c;
}
static size_t codes_bytes(int64_t N, int64_t C, int64_t O, bool backward)
{
    const dim3 tiles = fp8_tiles(N, backward ? O : C);
    const int64_t ld = fp8_ld(N), words = PARTS + 64 + up((int64_t)tiles.x * tiles.y);
    return (size_t)(4 * words + up(O * C) + (backward ? up(N * O) + up(O * ld) + up(C * ld) : 0));
}

// Column-major: what a row of our product is of goes to the right.
static hs_lt_product product_of(const hs_ref &d, int64_t k, hs_dtype of_rows, bool fast)
{
    hs_lt_product p = {};
    p.m = d.cols, p.n = d.rows, p.k = k;
    p.lda = p.ldb = k, p.ldd = d.cols;
    p.a = HS_E4M3, p.b = of_rows, p.d = d.dtype, p.bias = HS_F64;
    p.ta = true, p.add = d.add, p.fast = fast, p.scale = 1;
    return p;
}
// A bias is of a low product's type; an f32 one gets it behind the product.
static hs_lt_product of_y(const hs_args *a)
{
    hs_lt_product p = product_of(a->out[Y], a->in[X].cols, HS_E4M3, true);
    if (a->in[BIAS].p && p.d != HS_F32)
        p.bias = p.d;
    return p;
}
static hs_lt_product of_dx(const hs_args *a) { return product_of(a->din[X], a->in[W].rows, HS_E5M2, false); }
static hs_lt_product of_dw(const hs_args *a) { return product_of(a->din[W], fp8_ld(a->out[X8].rows), HS_E5M2, false); }

// Scaled by its own largest value, or by those that steps before have noted, and then read once.
template <bool E5M2> static void code_operand(const hs_args *a, hs_lane *lane, const codes &c, recoding r, int row, float *scale)
{
    const dim3 tiles = fp8_tiles(r.x.rows, r.x.cols);
    r.s = scaling_of(a, E5M2, c.part, row, scale);
    const bool delayed = r.s.row >= 0;
    r.tile = delayed ? c.tile : nullptr;
    HS_LAUNCH(largest, PARTS, THREADS, 0, gpu_stream(lane), r.x, r.s, c.part, delayed);
    HS_LAUNCH((recode<FP8_FOUND, E5M2>), tiles, THREADS, 0, gpu_stream(lane), r);
    if (delayed)
        HS_LAUNCH(note_tiles, 1, THREADS, 0, gpu_stream(lane), r.s, c.tile, (int64_t)tiles.x * tiles.y);
}

static __global__ void add_bias(hs_ref y, const hs_step_in *step, const float *bias)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 4;
    if (i >= live_rows(y, step) * y.cols)
        return;
    float v[4];
    load_f<4>(bias + i % y.cols, v);
    put_f<4>(reinterpret_cast<float *>(y.p) + i, v, true);
}

static bool forward_by_codes(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W], &y = a->out[Y];
    const hs_lt_product p = of_y(a);
    if (!hs_lt_has_8bit(lane, &p))
        return false;
    hs_lt_operands o = {};
    if (p.bias != HS_F64 && !(o.bias = gemm_bias_for(lane, cells<float>(a->in[BIAS]), w.rows, y.dtype)))
        return false;
    const codes c = codes_of(a, false);
    float *scale = cells<float>(a->out[SCALE]);
    const kept_w *kept = kept_of(a);
    recoding rx = {}, rw = {};
    rx.x = x, rx.codes = cells<uint8_t>(a->out[X8]), rx.inverse = c.factor;
    code_operand<false>(a, lane, c, rx, 0, scale);
    if (kept)
        HS_LAUNCH(tell, 1, 1, 0, gpu_stream(lane), scale + 1, &kept->scale);
    else {
        rw.x = w, rw.codes = c.w, rw.inverse = c.factor + 1;
        code_operand<false>(a, lane, c, rw, -1, scale + 1);
    }
    o.a = kept ? codes_kept(a) : c.w, o.b = rx.codes, o.d = y.p;
    o.factor_a = kept ? &kept->inverse : c.factor + 1, o.factor_b = c.factor;
    hs_lt_multiply(lane, &p, &o);
    if (a->in[BIAS].p && p.bias == HS_F64)
        HS_LAUNCH(add_bias, grid_of(y.rows * y.cols, THREADS * 4), THREADS, 0, gpu_stream(lane), y, a->step, cells<float>(a->in[BIAS]));
    return true;
}

static bool backward_by_codes(const hs_args *a, hs_lane *lane)
{
    const hs_ref &w = a->in[W], &dy = a->dout[Y], &dx = a->din[X], &dw = a->din[W];
    const hs_lt_product px = of_dx(a), pw = of_dw(a);
    if ((dx.p && !hs_lt_has_8bit(lane, &px)) || (dw.p && !hs_lt_has_8bit(lane, &pw)))
        return false;
    const codes c = codes_of(a, true);
    float *scale = cells<float>(a->out[SCALE]);
    recoding r = {};
    r.x = dy, r.inverse = c.factor, r.ld = c.ld;
    r.codes = dx.p ? c.dy : nullptr, r.turned = dw.p ? c.dy_turned : nullptr;
    code_operand<true>(a, lane, c, r, 1, nullptr);
    hs_lt_operands o = {};
    o.factor_b = c.factor;
    if (dx.p) {
        const kept_w *kept = kept_of(a);
        recoding rw = {};
        rw.x = w, rw.s.step = a->step, rw.s.scale = scale + 1, rw.inverse = c.factor + 1, rw.turned = c.w, rw.ld = w.rows;
        if (!kept)
            HS_LAUNCH((recode<FP8_KNOWN, false>), fp8_tiles(w.rows, w.cols), THREADS, 0, gpu_stream(lane), rw);
        o.a = kept ? codes_kept(a) : c.w, o.b = c.dy, o.d = dx.p, o.factor_a = kept ? &kept->inverse : c.factor + 1;
        hs_lt_multiply(lane, &px, &o);
    }
    if (dw.p) {
        recoding rx = {};
        rx.x = a->out[X8], rx.s.step = a->step, rx.s.scale = scale, rx.inverse = c.factor + 2, rx.turned = c.x_turned, rx.ld = c.ld;
        HS_LAUNCH((recode<FP8_CODES, false>), fp8_tiles(rx.x.rows, rx.x.cols), THREADS, 0, gpu_stream(lane), rx);
        o.a = c.x_turned, o.b = c.dy_turned, o.d = dw.p, o.factor_a = c.factor + 2;
        hs_lt_multiply(lane, &pw, &o);
    }
    sum_columns(a, lane, dy, reinterpret_cast<float *>(c.rest), a->din[BIAS]);
    return true;
}

// ---- which of the two

static void forward(const hs_args *a, hs_lane *lane)
{
    if (!gpu_lt(lane) || !forward_by_codes(a, lane))
        reference_forward(a, lane);
}
static void backward(const hs_args *a, hs_lane *lane)
{
    if (!gpu_lt(lane) || !backward_by_codes(a, lane))
        reference_backward(a, lane);
}

static size_t most_of(size_t a, size_t b) { return a > b ? a : b; }
static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    const size_t dw = is_backward ? gemm_bytes(O, C, N, 1) : 0, dbias = is_backward && n->in[BIAS] ? column_bytes(N, 1, O) : 0;
    return { most_of(room_bytes(N, C, O, is_backward) + most_of(dw, dbias), codes_bytes(N, C, O, is_backward) + dbias), 0 };
}

// ---- codes of w that are kept

static size_t kept_bytes(const hs_node *n, bool, int) { return hs_fp8_kept_bytes(n->in[W]->dim[0] * n->in[W]->dim[1]); }

template <bool TURNED> static void keep(const hs_args *a, hs_lane *lane)
{
    const hs_ref &w = a->in[0];
    uint32_t *part = reinterpret_cast<uint32_t *>(a->out[0].p);
    kept_w *kept = reinterpret_cast<kept_w *>(part + PARTS);
    uint8_t *codes = reinterpret_cast<uint8_t *>(a->out[0].p) + FRONT;
    recoding r = {};
    r.x = w, r.inverse = &kept->inverse, r.ld = w.rows;
    (TURNED ? r.turned : r.codes) = codes;
    r.s = { part, HS_E4M3_MAX, static_cast<const hs_linear_fp8_attr *>(a->attr)->margin, -1, {}, nullptr, &kept->scale };
    HS_LAUNCH(largest, PARTS, THREADS, 0, gpu_stream(lane), w, r.s, part, false);
    HS_LAUNCH((recode<FP8_FOUND, false>), fp8_tiles(w.rows, w.cols), THREADS, 0, gpu_stream(lane), r);
}

extern "C" const hs_kernels hs_cuda_linear_fp8 = {
    forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch, nullptr, { W, kept_bytes, keep<false>, keep<true>, false, false, false, true }
};

// linear_fp8: linear with both sides of each product in 8 bits, as FP8 training has it (Micikevicius et al. 2022, arXiv:2209.05433).
//
//   x8 = E4M3(sx x)   w8 = E4M3(sw w)   y = x8 w8^T / (sx sw) + bias
//   d8 = E5M2(sd dy)  dx = d8 w8 / (sd sw)   dw = d8^T x8 / (sd sx)   dbias[o] = sum over n of dy[n,o]
//
// One scale for a whole tensor: the largest power of two that takes its largest value into range, times 2^-margin (hs_fp8_scale). Without
// `amax` scales are of the tensor at hand. With it, those of x and dy are of the steps before ("delayed"): amax is a state [2, history] in
// which step t notes the largest value of x and of dy at t % history; while it has seen none, the tensor at hand counts. Weights change
// once per step and are always scaled by what they are. Gradients are those of linear as if rounding were the identity (straight through).
//
// Values of both types are exact in bf16, products of two in f32: on a CPU this is bf16's product of the rounded values, and exact but for
// the order of sums. It is a reference, not faster than linear: it reads more and multiplies at the same rate.

#include "ops/attrs.h"
#include "ops/dense/column_sums.h"
#include "ops/dense/fp8_scale.h"
#include "ops/dense/gemm.h"
#include "ops/ops.h"

enum { X, W, BIAS, AMAX };
enum { Y, X8, SCALE };

static int margin_of(const void *attr) { return ((const hs_linear_fp8_attr *)attr)->margin; }

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *w = n->in[W], *bias = n->in[BIAS], *amax = n->in[AMAX];
    const int margin = margin_of(n->attr);
    if (x->n_dims != 2 || w->n_dims != 2)
        return "x must be [rows, in] and w [out, in]";
    if (x->dim[1] != w->dim[1])
        return "inner widths differ";
    if (x->dim[1] % 16 || w->dim[0] % 16)
        return "widths must be multiples of 16 for fp8 products";
    if (bias && (bias->n_dims != 1 || bias->dim[0] != w->dim[0]))
        return "bias must be as long as w has rows";
    if (amax && (amax->n_dims != 2 || amax->dim[0] != 2 || amax->dim[1] < 2))
        return "amax must be [2, history], of two steps or more";
    if (margin < 0 || margin > 8)
        return "margin must be 0 to 8";
    hs_shape_rows(n->out[Y], x, w->dim[0]);
    hs_shape_set(n->out[X8], HS_E4M3, x->ext, 2, x->dim);
    hs_shape_set(n->out[SCALE], HS_F32, HS_EXT_FIXED, 1, (int64_t[]){ 2 });
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double products = 2.0 * (double)hs_tensor_count(n->in[X]) * (double)n->in[W]->dim[0];
    return (hs_cost){ .flops = backward ? 2 * products : products, .bytes = hs_traffic(n, backward) };
}

// ---- the definition

static float largest_f64(const double *v, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fabs(v[i]) > most ? fabs(v[i]) : most;
    return (float)most;
}

// Rounded to the type at that scale, and back.
static double rounded(double v, double scale, hs_dtype d)
{
    uint8_t code;
    const double scaled = v * scale;
    double back;
    hs_convert(&code, d, &scaled, HS_F64, 1);
    hs_convert(&back, HS_F64, &code, d, 1);
    return back / scale;
}

static double x_scale(const hs_args *a)
{
    return hs_fp8_scale(largest_f64(hs_f64(a, X), hs_ref_rows(a, &a->in[X]) * a->in[X].cols), HS_E4M3_MAX, margin_of(a->attr));
}
static double w_scale(const hs_args *a)
{
    return hs_fp8_scale(largest_f64(hs_f64(a, W), a->in[W].rows * a->in[W].cols), HS_E4M3_MAX, margin_of(a->attr));
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[W].rows;
    const double sx = x_scale(a), sw = w_scale(a);
    for (int64_t n = 0; n < N; n++)
        for (int64_t o = 0; o < O; o++) {
            double sum = a->in[BIAS].p ? hs_f64(a, BIAS)[o] : 0;
            for (int64_t c = 0; c < C; c++)
                sum += rounded(hs_f64(a, X)[n * C + c], sx, HS_E4M3) * rounded(hs_f64(a, W)[o * C + c], sw, HS_E4M3);
            hs_f64_out(a, Y)[n * O + o] = sum;
        }
    hs_f64_out(a, SCALE)[0] = sx, hs_f64_out(a, SCALE)[1] = sw;
}

static void reference_gradients(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[W].rows;
    const double *dy = (const double *)a->dout[Y].p;
    const double sx = x_scale(a), sw = w_scale(a), sd = hs_fp8_scale(largest_f64(dy, N * O), HS_E5M2_MAX, margin_of(a->attr));
    for (int64_t n = 0; n < N; n++)
        for (int64_t o = 0; o < O; o++) {
            const double d = rounded(dy[n * O + o], sd, HS_E5M2);
            for (int64_t c = 0; c < C && a->din[X].p; c++)
                ((double *)a->din[X].p)[n * C + c] += d * rounded(hs_f64(a, W)[o * C + c], sw, HS_E4M3);
            for (int64_t c = 0; c < C && a->din[W].p; c++)
                ((double *)a->din[W].p)[o * C + c] += d * rounded(hs_f64(a, X)[n * C + c], sx, HS_E4M3);
            if (a->din[BIAS].p)
                ((double *)a->din[BIAS].p)[o] += dy[n * O + o];
        }
}

// ---- kernels

static int64_t wide_up(int64_t n) { return (n + 31) / 32 * 32; } // of bf16: a cache line

// w rounded and packed for products, once per change of its values, in front of which stands what scaled it.
typedef struct kept_w {
    uint32_t most; // bits of the largest value
    float scale;
} kept_w;
enum { FRONT = 64 };
static const gemm_word *panels_of(const void *derived) { return derived ? (const gemm_word *)((const char *)derived + FRONT) : NULL; }

typedef struct room { // of shared scratch
    float *most;      // [2] of each member
    uint16_t *dy, *x, *w;
    char *products;
} room;

static room room_of(const hs_args *a, const hs_lane *lane, bool backward)
{
    const int64_t C = a->in[W].cols, O = a->in[W].rows, N = a->out[X8].rows;
    room r = { .most = (float *)a->scratch };
    uint16_t *at = (uint16_t *)(a->scratch + hs_row_bytes(2 * (int64_t)lane->n));
    r.dy = at, at += backward ? wide_up(N * O) : 0;
    r.x = at, at += wide_up(N * C);
    r.w = at, at += wide_up(O * C);
    r.products = (char *)at;
    return r;
}

// Of cells [i0, i1), NaN where there is one: by their bits, which order like what they stand for.
static float largest(const hs_ref *r, int64_t i0, int64_t i1)
{
    float buf[HS_BLOCK];
    uint32_t most = 0;
    for (int64_t i = i0; i < i1; i += HS_BLOCK) {
        const int64_t k = i1 - i < HS_BLOCK ? i1 - i : HS_BLOCK;
        const float *v = hs_load(r, i, k, buf);
        HS_SIMD_MAX(most)
        for (int64_t c = 0; c < k; c++) {
            const uint32_t u = hs_f32_bits(v[c]) & 0x7FFFFFFFu;
            most = u > most ? u : most;
        }
    }
    return hs_bits_f32(most);
}

static float largest_of_all(const room *r, int which, const hs_lane *lane)
{
    uint32_t most = 0;
    for (int t = 0; t < lane->n; t++)
        most = hs_f32_bits(r->most[2 * t + which]) > most ? hs_f32_bits(r->most[2 * t + which]) : most;
    return hs_bits_f32(most);
}

// Cells [i0, i1) rounded at that scale: codes (NULL: not wanted), and their values, unscaled, as bf16.
static void round_e4m3(const hs_ref *r, int64_t i0, int64_t i1, float scale, uint8_t *code, uint16_t *value)
{
    float buf[HS_BLOCK];
    for (int64_t i = i0; i < i1; i += HS_BLOCK) {
        const int64_t k = i1 - i < HS_BLOCK ? i1 - i : HS_BLOCK;
        const float *v = hs_load(r, i, k, buf);
        for (int64_t c = 0; c < k; c++) {
            const uint8_t x = hs_f32_e4m3(v[c] * scale);
            value[i + c] = (uint16_t)(hs_f32_bits(hs_e4m3_f32(x)) >> 16);
            if (code)
                code[i + c] = x;
        }
    }
}
static void round_e5m2(const hs_ref *r, int64_t i0, int64_t i1, float scale, uint16_t *value)
{
    float buf[HS_BLOCK];
    for (int64_t i = i0; i < i1; i += HS_BLOCK) {
        const int64_t k = i1 - i < HS_BLOCK ? i1 - i : HS_BLOCK;
        const float *v = hs_load(r, i, k, buf);
        for (int64_t c = 0; c < k; c++)
            value[i + c] = (uint16_t)(hs_f32_bits(hs_e5m2_f32(hs_f32_e5m2(v[c] * scale))) >> 16);
    }
}

static void share(const hs_lane *lane, int64_t rows, int64_t cols, int64_t *i0, int64_t *i1)
{
    hs_part(lane, rows, i0, i1);
    *i0 *= cols, *i1 *= cols;
}

static gemm_in side(const uint16_t *p, int64_t ld, bool k_major) { return (gemm_in){ p, ld, HS_BF16, k_major }; }
static gemm_out onto(const hs_ref *r, float scale)
{
    return (gemm_out){ .p = r->p, .ld = r->cols, .dtype = r->dtype, .add = r->add, .scale = scale };
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *x = &a->in[X], *w = &a->in[W];
    const int64_t N = hs_ref_rows(a, x), C = x->cols, O = w->rows;
    const int margin = margin_of(a->attr);
    const kept_w *kept = a->derived;
    const room r = room_of(a, lane, false);
    int64_t x0, x1, w0, w1;
    share(lane, N, C, &x0, &x1);
    share(lane, O, C, &w0, &w1);
    r.most[2 * lane->id] = largest(x, x0, x1), r.most[2 * lane->id + 1] = kept ? 0 : largest(w, w0, w1);
    hs_sync(lane);
    const float most = largest_of_all(&r, 0, lane);
    const float sx = hs_fp8_scale(hs_fp8_amax(&a->in[AMAX], a->step, 0, most), HS_E4M3_MAX, margin);
    const float sw = kept ? kept->scale : hs_fp8_scale(largest_of_all(&r, 1, lane), HS_E4M3_MAX, margin);
    round_e4m3(x, x0, x1, sx, (uint8_t *)a->out[X8].p, r.x);
    if (!kept)
        round_e4m3(w, w0, w1, sw, NULL, r.w);
    if (lane->id == 0) {
        hs_f32_out(a, SCALE)[0] = sx, hs_f32_out(a, SCALE)[1] = sw;
        hs_fp8_note(&a->in[AMAX], a->step, 0, most);
    }
    hs_sync(lane);
    gemm g = { .m = N, .n = O, .k = C, .dot = gemm_dot(HS_BF16), .shared = r.products, .own = hs_thread_scratch(a, lane) };
    g.a = side(r.x, C, false), g.b = side(r.w, C, false), g.c = onto(&a->out[Y], 1 / (sx * sw));
    g.c.bias = hs_f32(a, BIAS);
    g.packed = panels_of(kept);
    gemm_run(&g, lane);
}

static void kept_x(const hs_args *a, int64_t i0, int64_t i1, uint16_t *value)
{
    const uint8_t *code = (const uint8_t *)a->out[X8].p;
    for (int64_t i = i0; i < i1; i++)
        value[i] = (uint16_t)(hs_f32_bits(hs_e4m3_f32(code[i])) >> 16);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *w = &a->in[W], *dy = &a->dout[Y];
    const int64_t N = hs_ref_rows(a, dy), C = w->cols, O = w->rows;
    const float sx = hs_f32_out(a, SCALE)[0], sw = hs_f32_out(a, SCALE)[1];
    const room r = room_of(a, lane, true);
    int64_t d0, d1, w0, w1, x0, x1;
    share(lane, N, O, &d0, &d1);
    share(lane, O, C, &w0, &w1);
    share(lane, N, C, &x0, &x1);
    r.most[2 * lane->id] = largest(dy, d0, d1);
    hs_sync(lane);
    const float most = largest_of_all(&r, 0, lane);
    const float sd = hs_fp8_scale(hs_fp8_amax(&a->in[AMAX], a->step, 1, most), HS_E5M2_MAX, margin_of(a->attr));
    round_e5m2(dy, d0, d1, sd, r.dy);
    if (hs_wanted(a, X) && !a->derived)
        round_e4m3(w, w0, w1, sw, NULL, r.w);
    if (hs_wanted(a, W))
        kept_x(a, x0, x1, r.x);
    if (lane->id == 0)
        hs_fp8_note(&a->in[AMAX], a->step, 1, most);
    hs_sync(lane);
    gemm g = { .dot = gemm_dot(HS_BF16), .shared = r.products, .own = hs_thread_scratch(a, lane) };
    if (hs_wanted(a, X)) {
        g.m = N, g.n = C, g.k = O;
        g.a = side(r.dy, O, false), g.b = side(r.w, C, true), g.c = onto(&a->din[X], 1 / (sd * sw));
        g.packed = panels_of(a->derived);
        gemm_run(&g, lane);
        g.packed = NULL;
        if (hs_wanted(a, W))
            hs_sync(lane); // the scratch is free again
    }
    if (hs_wanted(a, W)) {
        g.m = O, g.n = C, g.k = N;
        g.a = side(r.dy, O, true), g.b = side(r.x, C, true), g.c = onto(&a->din[W], 1 / (sd * sx));
        gemm_run(&g, lane);
    }
    if (hs_wanted(a, BIAS))
        column_sums(dy, N, (float *)a->din[BIAS].p, a->din[BIAS].add, lane);
}

// ---- w kept: the rounding of any value is another's in no way, so that it goes as well behind packing, in place, as before it

// Whatever the rows: what is kept is rounding and packing in every micro-step.
static size_t kept_bytes(const hs_node *n, bool is_backward, int runs)
{
    const int64_t C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    (void)runs;
    return n->low != HS_BF16 ? 0 : FRONT + gemm_packed_bytes(is_backward ? C : O, is_backward ? O : C, gemm_dot(HS_BF16));
}

static void raise(uint32_t *most, uint32_t here)
{
    uint32_t now = __atomic_load_n(most, __ATOMIC_RELAXED);
    while (here > now && !__atomic_compare_exchange_n(most, &now, here, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static void round_words(float *v, int64_t i0, int64_t i1, float scale)
{
    for (int64_t i = i0; i < i1; i++)
        v[i] = hs_e4m3_f32(hs_f32_e4m3(v[i] * scale));
}

static void keep_w(const hs_args *a, bool is_backward, hs_lane *lane)
{
    const hs_ref *w = &a->in[0];
    const int64_t O = w->rows, C = w->cols, n = is_backward ? C : O, k = is_backward ? O : C;
    const bool dot = gemm_dot(HS_BF16);
    kept_w *to = (kept_w *)a->out[0].p;
    gemm_word *panels = (gemm_word *)(a->out[0].p + FRONT);
    const gemm_in from = side((const uint16_t *)w->p, C, is_backward);
    int64_t i0, i1;
    if (lane->id == 0)
        to->most = 0;
    hs_sync(lane);
    share(lane, O, C, &i0, &i1);
    raise(&to->most, hs_f32_bits(largest(w, i0, i1)));
    gemm_pack_share(panels, &from, n, k, dot, lane);
    hs_sync(lane);
    const float scale = hs_fp8_scale(hs_bits_f32(to->most), HS_E4M3_MAX, margin_of(a->attr));
    hs_part_unit(lane, (int64_t)(gemm_packed_bytes(n, k, dot) / sizeof *panels), HS_BLOCK, &i0, &i1);
    if (dot)
        round_e4m3(&(hs_ref){ .p = (char *)panels, .dtype = HS_BF16 }, 2 * i0, 2 * i1, scale, NULL, (uint16_t *)panels);
    else
        round_words((float *)panels, i0, i1, scale);
    if (lane->id == 0)
        to->scale = scale;
}
static void keep_forward(const hs_args *a, hs_lane *lane) { keep_w(a, false, lane); }
static void keep_backward(const hs_args *a, hs_lane *lane) { keep_w(a, true, lane); }

static size_t most_of(size_t a, size_t b) { return a > b ? a : b; }

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    const bool dot = gemm_dot(HS_BF16);
    const size_t words = (size_t)((is_backward ? wide_up(N * O) : 0) + wide_up(N * C) + wide_up(O * C));
    const size_t front = hs_row_bytes(2 * (int64_t)team) + words * sizeof(uint16_t);
    if (!is_backward)
        return (hs_scratch){ front + gemm_shared_bytes(O, C, dot), gemm_own_bytes(N, O, C, dot, true) };
    return (hs_scratch){ front + most_of(gemm_shared_bytes(C, O, dot), gemm_shared_bytes(C, N, dot)),
                         most_of(gemm_own_bytes(N, C, O, dot, true), gemm_own_bytes(O, C, N, dot, true)) };
}

static const hs_linear_fp8_attr plain = { 0 }, margin_2 = { 2 };
static const hs_case cases[] = {
    { .in = { { 1, 16 }, { 16, 16 }, { 16 } }, .ext = { HS_EXT_TOKENS }, .attr = &plain, .note = "one row" },
    { .in = { { 5, 48 }, { 32, 48 } }, .ext = { HS_EXT_TOKENS }, .attr = &margin_2, .note = "no bias, a margin" },
    { .in = { { 70, 144 }, { 80, 144 }, { 80 } }, .ext = { HS_EXT_TOKENS }, .attr = &plain, .note = "widths that no tile divides" },
    { .in = { { 40, 1072 }, { 32, 1072 }, { 32 } },
      .ext = { HS_EXT_TOKENS },
      .attr = &plain,
      .fill = HS_FILL_LARGE,
      .note = "blocks of k" },
};
static const hs_attr attrs[] = { HS_ATTR(hs_linear_fp8_attr, margin) };

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){ .in = { [X] = { dim[0], dim[1] }, [W] = { dim[2], dim[1] } }, .ext = { [X] = HS_EXT_TOKENS } };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxINxOUT", .usual = "1Kx768x2304,1Kx768x768,1Kx768x3072,1Kx3072x768", .make = make } };

HS_OP(linear_fp8) = {
    .name = "linear_fp8",
    .formula = "y = e4m3(x) e4m3(w)^T + bias",
    .paper = "arXiv:2209.05433",
    .flags = HS_OP_ROWS_MEET,
    .attr_bytes = sizeof(hs_linear_fp8_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_LOW, 0 },
            [W] = { "w", HS_AMP_LOW, HS_WHOLE | HS_BWD_READS },
            [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL },
            [AMAX] = { "amax", HS_AMP_KEEP, HS_WHOLE | HS_OPTIONAL | HS_NO_GRAD | HS_BWD_READS | HS_UPDATED } },
    .out = { [Y] = { "y", HS_AMP_LOW, HS_ANY_DTYPE }, [X8] = { "x8", HS_AMP_NONE, HS_SAVED }, [SCALE] = { "scale", HS_AMP_F32, HS_SAVED } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .ref_bwd = reference_gradients,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes), .instead_of = HS_OP_ENTRY(linear) },
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = scratch,
             .derive = { W, kept_bytes, keep_forward, keep_backward, .by_attr = true } },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_linear_fp8(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias, hs_tensor *amax, int margin)
{
    return hs_emit(g, HS_OP_ENTRY(linear_fp8), &(hs_linear_fp8_attr){ margin }, (hs_tensor *[]){ x, w, bias, amax }, 4);
}
#endif

// fake_quant: values rounded to what their codes would stand for, so that training sees what a quantized model computes.
//
//   y = clamp(rint(x / s)) * s      s by `form`: of the row, of 32 of it, or given (fake_round.h has them all, and which values are
//   clipped)
//
// Jacob et al. 2018, arXiv:1712.05877. Backward is straight through (Bengio et al. 2013, arXiv:1308.3432): dx = dy, 0 where x was clipped.
//
// Quant-Noise (Fan et al. 2020, arXiv:2004.07320): of weights a share of the blocks of 8, drawn anew each step, is rounded, the others stay
// as they are, and their gradient is exact. share is of 65,536; which blocks is a function of their address (core/graph/drop.h): seed,
// site, step, row, block.

#include "core/cpu/dropout.h"
#include "ops/attrs.h"
#include "ops/quant/fake_round.h"

enum { X, SCALE };
enum { Y };
enum { NOISE_BLOCK = 8, ALL = 65536 };

static int form_of(const void *attr) { return ((const hs_fake_quant_attr *)attr)->form; }
static int32_t share_of(const void *attr) { return ((const hs_fake_quant_attr *)attr)->share; }

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *scale = n->in[SCALE];
    const int form = form_of(n->attr);
    const int32_t share = share_of(n->attr);
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (form < 0 || form >= HS_N_FAKE_FORMS)
        return "there is no such form";
    if (fake_by_blocks(form) && x->dim[1] % HS_CODE_BLOCK)
        return "the width must be a multiple of 32";
    if (!scale != (form != HS_FAKE_TENSOR))
        return "a scale is given where it is of the tensor, and there alone";
    if (scale && (scale->n_dims != 1 || scale->dim[0] != 1))
        return "the scale must be one number";
    if (share < 1 || share > ALL)
        return "the share must be 1 to 65,536";
    if (share < ALL && (!fake_of_weights(form) || x->dim[1] % NOISE_BLOCK))
        return "a share of the blocks is of weights, whose width is a multiple of 8";
    hs_shape_like(n->out[Y], x);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = (backward ? 2.0 : 5.0) * (double)hs_tensor_count(n->in[X]), .bytes = hs_traffic(n, backward) };
}

// ---- a row

static int64_t group_of(int form, int64_t C) { return fake_by_blocks(form) ? HS_CODE_BLOCK : C; }

static uint32_t most_of(const float *x, int64_t n)
{
    uint32_t most = 0;
    HS_SIMD_MAX(most)
    for (int64_t i = 0; i < n; i++) {
        const uint32_t u = hs_f32_bits(x[i]) & 0x7FFFFFFFu;
        most = u > most ? u : most;
    }
    return most;
}

static fake_scale scale_of(int form, const float *x, int64_t n, const float *given)
{
    const uint32_t most = most_of(x, n);
    float largest = hs_bits_f32(most);
    for (int64_t i = 0; form == HS_FAKE_WEIGHTS_4 && i < n; i++)
        if ((hs_f32_bits(x[i]) & 0x7FFFFFFFu) == most) {
            largest = x[i];
            break;
        }
    return fake_scale_of(form, most, largest, given ? *given : 0);
}

// y may be x.
static void round_row(int form, const float *x, float *y, int64_t C, const float *given)
{
    const int64_t group = group_of(form, C);
    for (int64_t g = 0; g < C; g += group) {
        const fake_scale f = scale_of(form, x + g, group, given);
        HS_SIMD
        for (int64_t i = g; i < g + group; i++)
            y[i] = fake_value(&f, x[i]);
    }
}

static void mask_row(int form, const float *x, const float *dy, float *dx, int64_t C, const float *given)
{
    const int64_t group = group_of(form, C);
    for (int64_t g = 0; g < C; g += group) {
        const fake_scale f = scale_of(form, x + g, group, given);
        HS_SIMD
        for (int64_t i = g; i < g + group; i++)
            dx[i] = fake_clips(form, &f, x[i]) ? 0 : dy[i];
    }
}

// Blocks of row n that stay as they are get what `as` has of them.
static void keep_blocks(const hs_args *a, int64_t n, const float *as, float *y, int64_t C)
{
    enum { STEP = 128 }; // decisions that one call draws
    const hs_drop drop = hs_drop_make(a->step->seed, a->site, a->step->step, (float)share_of(a->attr) / ALL);
    float factor[STEP];
    for (int64_t b = 0; b < C / NOISE_BLOCK; b++) {
        if (b % STEP == 0)
            hs_drop_factors(&drop, (int32_t)n, 0, 0, b, STEP, factor);
        if (factor[b % STEP] != 0)
            memcpy(y + b * NOISE_BLOCK, as + b * NOISE_BLOCK, NOISE_BLOCK * sizeof *y);
    }
}
static bool draws(const hs_args *a) { return share_of(a->attr) < ALL; }

// ---- the definition: what is rounded is f32

// Does block c / 8 of row n stay as it is?
static bool stays(const hs_args *a, int64_t n, int64_t c)
{
    const int64_t b = c / NOISE_BLOCK;
    const uint64_t key = hs_drop_key(a->step->seed, a->site, a->step->step);
    const hs_u32x4 w = hs_random(key, (uint32_t)n, 0, (uint32_t)(b / 8), 0);
    return (int32_t)(w.v[b % 8 / 2] >> b % 2 * 16 & 0xFFFF) >= share_of(a->attr);
}

static float x_of(const hs_args *a, int64_t i) { return (float)hs_f64(a, X)[i]; }

static fake_scale scale_at(const hs_args *a, int64_t first, int64_t n)
{
    float most = 0, largest = 0;
    bool bad = false;
    for (int64_t i = first; i < first + n; i++) {
        bad |= !isfinite(x_of(a, i));
        if (fabsf(x_of(a, i)) > most)
            most = fabsf(x_of(a, i)), largest = x_of(a, i);
    }
    return fake_scale_of(form_of(a->attr), bad ? I8_NOT_A_NUM : hs_f32_bits(most), largest,
                         a->in[SCALE].p ? (float)hs_f64(a, SCALE)[0] : 0);
}

// each(a, cell, its row and column, scale)
static void walk(const hs_args *a, void (*each)(const hs_args *, int64_t, int64_t, int64_t, const fake_scale *))
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, group = group_of(form_of(a->attr), C);
    for (int64_t n = 0; n < N; n++)
        for (int64_t g = 0; g < C; g += group) {
            const fake_scale f = scale_at(a, n * C + g, group);
            for (int64_t c = g; c < g + group; c++)
                each(a, n * C + c, n, c, &f);
        }
}

static void define_value(const hs_args *a, int64_t i, int64_t n, int64_t c, const fake_scale *f)
{
    const float v = fake_steps(f, x_of(a, i)), code = isnan(v) ? v : fminf(fmaxf(rintf(v), f->low), f->high);
    hs_f64_out(a, Y)[i] = stays(a, n, c) ? hs_f64(a, X)[i] : (double)code * (double)f->s;
}
static void reference(const hs_args *a) { walk(a, define_value); }

static void define_gradient(const hs_args *a, int64_t i, int64_t n, int64_t c, const fake_scale *f)
{
    const float v = fake_steps(f, x_of(a, i)), w = form_of(a->attr) == HS_FAKE_TENSOR ? v : rintf(v);
    if (stays(a, n, c) || !(w < f->low || w > f->high))
        ((double *)a->din[X].p)[i] += ((const double *)a->dout[Y].p)[i];
}
static void reference_gradients(const hs_args *a) { walk(a, define_gradient); }

// ---- kernels

static void forward(const hs_args *a, hs_lane *lane)
{
    const int form = form_of(a->attr);
    const int64_t C = a->in[X].cols;
    float *wide = hs_row_buffer(a, lane, 0, C), *buf = hs_row_buffer(a, lane, 1, C);
    hs_for_rows(n, a, &a->in[X], lane) {
        const float *x = hs_row_load(&a->in[X], n, wide);
        round_row(form, x, buf, C, hs_f32(a, SCALE));
        if (draws(a))
            keep_blocks(a, n, x, buf, C);
        hs_row_store(&a->out[Y], n, buf);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const int form = form_of(a->attr);
    const int64_t C = a->in[X].cols;
    float *wide_x = hs_row_buffer(a, lane, 0, C), *wide_dy = hs_row_buffer(a, lane, 1, C), *buf = hs_row_buffer(a, lane, 2, C);
    if (!hs_wanted(a, X))
        return;
    hs_for_rows(n, a, &a->in[X], lane) {
        const float *x = hs_row_load(&a->in[X], n, wide_x), *dy = hs_row_load(&a->dout[Y], n, wide_dy);
        mask_row(form, x, dy, buf, C, hs_f32(a, SCALE));
        if (draws(a))
            keep_blocks(a, n, dy, buf, C);
        hs_row_store(&a->din[X], n, buf);
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    return (hs_scratch){ .per_thread = (is_backward ? 3 : 2) * hs_row_bytes(n->in[X]->dim[1]) };
}

// ---- cases

static const hs_fake_quant_attr rows = { HS_FAKE_ROWS, ALL }, tensor = { HS_FAKE_TENSOR, ALL }, blocks = { HS_FAKE_BLOCKS, ALL };
static const hs_fake_quant_attr w_rows = { HS_FAKE_WEIGHTS_ROWS, ALL }, w_8 = { HS_FAKE_WEIGHTS_8, ALL }, w_4 = { HS_FAKE_WEIGHTS_4, ALL };
static const hs_fake_quant_attr half_rows = { HS_FAKE_WEIGHTS_ROWS, ALL / 2 }, tenth_4 = { HS_FAKE_WEIGHTS_4, ALL / 10 };
static const hs_case cases[] = {
    { .in = { { 1, 8 } }, .ext = { HS_EXT_TOKENS }, .attr = &rows, .note = "one row" },
    { .in = { { 33, 13 } }, .ext = { HS_EXT_TOKENS }, .attr = &rows, .note = "odd width" },
    { .in = { { 40, 1072 } }, .ext = { HS_EXT_TOKENS }, .attr = &rows, .fill = HS_FILL_LARGE, .note = "large values" },
    { .in = { { 37, 24 }, { 1 } }, .ext = { HS_EXT_TOKENS }, .attr = &tensor, .note = "scale of the tensor" },
    { .in = { { 37, 96 } }, .ext = { HS_EXT_TOKENS }, .attr = &blocks, .note = "blocks" },
    { .in = { { 24, 72 } }, .attr = &w_rows, .note = "weights, a scale a row" },
    { .in = { { 24, 64 } }, .attr = &w_8, .note = "weights in 8 bits" },
    { .in = { { 40, 96 } }, .attr = &w_4, .note = "weights in 4 bits" },
    { .in = { { 9, 64 } }, .attr = &w_4, .fill = HS_FILL_CONSTANT, .note = "weights in 4 bits, all alike" },
    { .in = { { 40, 1096 } }, .attr = &half_rows, .note = "half of the blocks" },
    { .in = { { 16, 1120 } }, .attr = &tenth_4, .note = "a tenth of the blocks, in 4 bits" },
};
static const hs_attr attrs[] = { HS_ATTR_WORDS(hs_fake_quant_attr, form, HS_FAKE_WORDS), HS_ATTR(hs_fake_quant_attr, share) };

HS_OP(fake_quant) = {
    .name = "fake_quant",
    .formula = "y = clamp(rint(x / s)) * s",
    .paper = "arXiv:1712.05877",
    .flags = HS_OP_CHEAP,
    .attr_bytes = sizeof(hs_fake_quant_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_BWD_READS },
            [SCALE] = { "scale", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_NO_GRAD | HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .ref_bwd = reference_gradients,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_fake_quant(hs_graph *g, hs_tensor *x, hs_tensor *scale, hs_fake_form form, double share)
{
    return hs_emit(g, HS_OP_ENTRY(fake_quant), &(hs_fake_quant_attr){ form, hs_fake_share(share) }, (hs_tensor *[]){ x, scale }, 2);
}
#endif

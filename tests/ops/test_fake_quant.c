// fake_quant: every form in every tier against plain floats, bit for bit, what is not finite and zeros among it; gradients straight through
// the rounding against finite differences of what is left without it; and which blocks a share draws.
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/cpu/lane.h"
#include "ops/attrs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALL = 65536, SEED = 7, SITE = 1234 };

static const hs_kernels *kernels_of(hs_isa isa)
{
    hs_device *dev;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, hs_isa_name(isa), 0, HS_ONEDNN_NO), HS_OK);
    const hs_kernels *k = NULL;
    for (int t = 0; dev->tables[t] && !k; t++)
        k = dev->tables[t][HS_ID_fake_quant];
    hs_device_close(dev);
    return k;
}

typedef struct call { // of one member
    const hs_kernels *k;
    int form, share;
    int64_t rows, cols, step;
    const float *x, *dy; // dy: backward
    float given;
} call;

static void run(const call *c, float *to)
{
    const hs_fake_quant_attr attr = { c->form, c->share };
    hs_tensor t = { .dtype = HS_F32, .n_dims = 2, .dim = { c->rows, c->cols } }, one = { .dtype = HS_F32, .n_dims = 1, .dim = { 1 } };
    hs_node n = { .op = &hs_op_fake_quant_portable, .attr = &attr, .in = { &t }, .out = { &t } };
    const hs_step_in step = { .seed = SEED, .step = (uint64_t)c->step };
    hs_lane lane = { .id = 0, .n = 1 };
    float given = c->given;
    const hs_ref as = { .rows = c->rows, .cols = c->cols, .dtype = HS_F32, .t = &t };
    hs_args a = { .attr = &attr, .step = &step, .site = SITE, .in[0] = as, .out[0] = as };
    a.in[0].p = (char *)(uintptr_t)c->x;
    if (c->form == HS_FAKE_TENSOR)
        a.in[1] = (hs_ref){ (char *)&given, 1, 1, HS_F32, HS_EXT_FIXED, false, &one };
    const hs_scratch s = c->k->scratch(&n, 1, c->dy != NULL);
    a.thread_scratch = aligned_alloc(64, (s.per_thread + 63) / 64 * 64), a.thread_bytes = s.per_thread;
    if (c->dy) {
        a.dout[0] = a.din[0] = as;
        a.dout[0].p = (char *)(uintptr_t)c->dy, a.din[0].p = (char *)to;
        c->k->bwd(&a, &lane);
    } else {
        a.out[0].p = (char *)to;
        c->k->fwd(&a, &lane);
    }
    free(a.thread_scratch);
}

// ---- the definition in plain floats, nothing fused

typedef struct range {
    float s, low, high;
    bool divides;
} range;

static range range_of(int form, const float *x, int64_t n, float given)
{
    volatile float most = 0, largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        finite &= isfinite(x[i]) != 0;
        if (fabsf(x[i]) > most)
            most = fabsf(x[i]), largest = x[i];
    }
    range r = { most / 127, -127, 127, form >= HS_FAKE_WEIGHTS_ROWS };
    if (form == HS_FAKE_TENSOR)
        r.s = given;
    if (form == HS_FAKE_WEIGHTS_4)
        r.s = largest / -8, r.low = -8, r.high = 7;
    if (form == HS_FAKE_WEIGHTS_8 || form == HS_FAKE_WEIGHTS_4)
        r.s = hs_f16_f32(hs_f32_f16(r.s));
    if (!r.divides && fabsf(r.s) < 0x1p-126f)
        r.s = 0;
    if (!finite)
        r.s = NAN;
    return r;
}
static float steps(const range *r, float x)
{
    volatile float inverse = r->s == 0 ? 0 : 1 / r->s, v = r->divides ? x / r->s : x * inverse;
    return r->s == 0 ? 0 : v;
}
static float rounded(const range *r, float x)
{
    volatile float v = steps(r, x), code = isnan(v) ? v : fminf(fmaxf(rintf(v), r->low), r->high) + 0.0f, y = code * r->s;
    return y;
}
static int64_t group_of(int form, int64_t cols)
{
    return form == HS_FAKE_BLOCKS || form == HS_FAKE_WEIGHTS_8 || form == HS_FAKE_WEIGHTS_4 ? 32 : cols;
}

// Rows of all kinds: normal ones, halves between two codes, one value throughout, zeros, subnormal and huge ones, NaN, Inf.
static void fill_row(float *x, int64_t r, int64_t c)
{
    hs_random_normal(x, c, 91, r * c, 0, 1);
    for (int64_t i = 0; i < c; i++)
        switch (r % 11) {
        case 3:
            x[i] = i % 32 ? (float)(i % 253) - 126.5f : 127;
            break;
        case 4:
            x[i] = i % 3 ? 5.0f : -5.0f;
            break;
        case 5:
            x[i] = 0;
            break;
        case 6:
            x[i] *= 1e-41f;
            break;
        case 7:
            x[i] *= 1e37f;
            break;
        case 8:
            x[i] = i == c / 2 ? NAN : x[i];
            break;
        case 9:
            x[i] = i == c - 1 ? -INFINITY : x[i];
            break;
        case 10:
            x[i] = i % 32 ? (float)(i % 16) - 7.5f : 8.0f;
            break; // of 4 bits: scale -1
        default:
            break;
        }
}

static bool same(float a, float b) { return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0; }

static void every_tier(void **state)
{
    enum { ROWS = 44, COLS = 160 };
    static float x[ROWS * COLS], y[ROWS * COLS];
    (void)state;
    for (int64_t r = 0; r < ROWS; r++)
        fill_row(x + r * COLS, r, COLS);
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int form = 0; form < HS_N_FAKE_FORMS && hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa); form++) {
            const call c = {
                .k = kernels_of((hs_isa)isa), .form = form, .share = ALL, .rows = ROWS, .cols = COLS, .x = x, .given = 0.0173f
            };
            const int64_t group = group_of(form, COLS);
            run(&c, y);
            for (int64_t g = 0; g < ROWS * COLS; g += group) {
                const range f = range_of(form, x + g, group, c.given);
                for (int64_t i = g; i < g + group; i++)
                    if (!same(y[i], rounded(&f, x[i])))
                        fail_msg("%s, form %d: row %lld, column %lld: %.9g becomes %.9g, by the definition %.9g", hs_isa_name((hs_isa)isa),
                                 form, (long long)(i / COLS), (long long)(i % COLS), (double)x[i], (double)y[i], (double)rounded(&f, x[i]));
            }
        }
}

// ---- gradients

// Without the rounding: clamp(x / s) s, the scale held. Its differences are those that backward has to give.
static double smoothed(const range *r, double x)
{
    const double v = r->s == 0 ? 0 : x / (double)r->s;
    return fmin(fmax(v, (double)r->low), (double)r->high) * (double)r->s;
}

static void straight_through(void **state)
{
    enum { ROWS = 24, COLS = 96 };
    static float x[ROWS * COLS], dy[ROWS * COLS], dx[ROWS * COLS];
    int clipped = 0;
    (void)state;
    hs_random_normal(x, ROWS * COLS, 3, 0, 0, 1);
    hs_random_normal(dy, ROWS * COLS, 4, 0, 0, 1);
    for (int form = 0; form < HS_N_FAKE_FORMS; form++) {
        const call c = {
            .k = kernels_of(HS_ISA_PORTABLE), .form = form, .share = ALL, .rows = ROWS, .cols = COLS, .x = x, .dy = dy, .given = 0.01f
        };
        const int64_t group = group_of(form, COLS);
        run(&c, dx);
        for (int64_t g = 0; g < ROWS * COLS; g += group) {
            const range f = range_of(form, x + g, group, c.given);
            for (int64_t i = g; i < g + group; i++) {
                const double h = 1e-4, v = (double)steps(&f, x[i]);
                const double slope = (smoothed(&f, (double)x[i] + h) - smoothed(&f, (double)x[i] - h)) / (2 * h);
                const double edge = fmin(fabs(v - (double)f.low), fabs(v - (double)f.high));
                if (edge < (form == HS_FAKE_TENSOR ? 0.05 : 0.55)) // at an edge there is no slope, and rounding decides
                    continue;
                if (fabs((double)dx[i] - (double)dy[i] * slope) > 1e-6)
                    fail_msg("form %d, cell %lld (%.6g, %.4g steps): %.6g, by differences %.6g", form, (long long)i, (double)x[i], v,
                             (double)dx[i], (double)dy[i] * slope);
                clipped += slope == 0;
            }
        }
    }
    assert_true(clipped > 100); // of the tensor's scale
}

// What half a step beyond an edge is: 7.5 of 4 bits rounds to 8, which there is no code for; 7.4 to 7.
static void edge_of_four_bits(void **state)
{
    float x[32] = { 8.0f, -7.5f, -7.4f, 7.4f, -7.6f }, dy[32], dx[32];
    (void)state;
    for (int i = 0; i < 32; i++)
        dy[i] = 1;
    run(&(call){ .k = kernels_of(HS_ISA_PORTABLE), .form = HS_FAKE_WEIGHTS_4, .share = ALL, .rows = 1, .cols = 32, .x = x, .dy = dy }, dx);
    assert_true(dx[0] == 1 && dx[1] == 0 && dx[2] == 1 && dx[3] == 1 && dx[4] == 0 && dx[5] == 1);
}

// ---- Quant-Noise

// By blocks of 8: as many as the share says, within 5 standard deviations; others each step; the same once more, and in every tier.
static void drawn_blocks(void **state)
{
    enum { ROWS = 64, COLS = 1056, BLOCKS = ROWS * COLS / 8, STEPS = 4 };
    static float x[ROWS * COLS], whole[ROWS * COLS], y[STEPS][ROWS * COLS], again[ROWS * COLS], dx[ROWS * COLS], dy[ROWS * COLS];
    static const int shares[] = { 655, ALL / 10, ALL / 2, ALL * 9 / 10 };
    (void)state;
    hs_random_normal(x, ROWS * COLS, 5, 0, 0, 1);
    hs_random_normal(dy, ROWS * COLS, 6, 0, 0, 1);
    call c = { .k = kernels_of(HS_ISA_PORTABLE), .form = HS_FAKE_WEIGHTS_4, .share = ALL, .rows = ROWS, .cols = COLS, .x = x };
    run(&c, whole);
    for (int k = 0; k < HS_COUNT(shares); k++) {
        const double p = shares[k] / (double)ALL, deviation = sqrt(BLOCKS * p * (1 - p));
        c.share = shares[k];
        int both = 0;
        for (int s = 0; s < STEPS; s++) {
            int drawn = 0;
            c.step = s;
            run(&c, y[s]);
            for (int b = 0; b < BLOCKS; b++) {
                const bool is = memcmp(y[s] + b * 8, whole + b * 8, 32) == 0;
                assert_true(is || memcmp(y[s] + b * 8, x + b * 8, 32) == 0);
                drawn += is;
                both += s == 1 && is && memcmp(y[0] + b * 8, whole + b * 8, 32) == 0;
            }
            if (fabs(drawn - BLOCKS * p) > 5 * deviation)
                fail_msg("share %g: %d of %d blocks", p, drawn, BLOCKS);
        }
        if (fabs(both - BLOCKS * p * p) > 5 * sqrt(BLOCKS * p * p * (1 - p * p))) // two steps are independent
            fail_msg("share %g: %d of %d blocks in two steps", p, both, BLOCKS);
        for (int isa = 0; isa < HS_N_ISA; isa++)
            if (hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa)) {
                call other = c;
                other.k = kernels_of((hs_isa)isa);
                run(&other, again);
                assert_memory_equal(again, y[STEPS - 1], sizeof again);
            }
        call back = c;
        back.dy = dy;
        run(&back, dx);
        for (int b = 0; b < BLOCKS; b++)
            if (memcmp(y[STEPS - 1] + b * 8, x + b * 8, 32) == 0)
                assert_memory_equal(dx + b * 8, dy + b * 8, 32); // exact
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_tier), cmocka_unit_test(straight_through),
                                        cmocka_unit_test(edge_of_four_bits), cmocka_unit_test(drawn_blocks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

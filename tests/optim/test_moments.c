// moments: in bf16 with stochastic rounding they are right on the mean, a function of seed and step alone, and take half the bytes.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

static int rounds(int all) { return rig_on.accesses_only ? 2 : all; }

static hs_optim_config small(const char *name)
{
    hs_optim_config c = preset(name);
    c.moments = HS_BF16;
    return c;
}

static void test_bytes(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "lamb", "sgd", "lars" };
    for (int i = 0; i < HS_COUNT(names); i++) {
        const hs_optim_config c = small(names[i]), whole = preset(names[i]);
        rig r, f;
        rig_open(&r, &c, HS_BF16, 1, NULL);
        rig_open(&f, &whole, HS_BF16, 1, NULL);
        const size_t half = hs_params_bytes_of(r.ps).saved, all = hs_params_bytes_of(f.ps).saved;
        assert_true(half <= all / 2 + 4 * 64 * 2 * RIG_PARAMS); // each parameter is rounded up to 64 elements
        rig_close(&r), rig_close(&f);
    }
}

// A constant gradient: v changes by a thousandth of itself and less, which a bf16 rounded to nearest cannot follow. Errors of elements are
// independent: their mean falls with the root of their number.
static void test_unbiased(void **state)
{
    (void)state;
    if (rig_on.accesses_only)
        skip();
    hs_optim_config c = small("adamw");
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 0 };
    rig r;
    rig_open(&r, &c, HS_F32, 2, NULL);
    const hs_param *wte = r.ps->param[0];
    const float g = 0.37f;
    float *all = calloc(flat_count(r.ps), sizeof *all);
    for (size_t k = 0; k < wte->n; k++)
        all[k] = g;
    double m = 0, v = 0;
    for (int t = 0; t < 400; t++) {
        flat_write(r.ps, "grad", all);
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
        m = c.beta1 * m + (1 - c.beta1) * (double)g, v = c.beta2 * v + (1 - c.beta2) * (double)g * (double)g;
    }
    static const char *const slabs[] = { "adam.m", "adam.v" };
    const double expected[] = { m, v };
    for (int i = 0; i < 2; i++) {
        float *x = flat_copy(r.ps, slabs[i]);
        double mean = 0, most = 0;
        for (size_t k = 0; k < wte->n; k++) {
            const double off = (double)x[k] / expected[i] - 1;
            mean += off / (double)wte->n, most = fmax(most, fabs(off));
        }
        assert_true(fabs(mean) < 1e-3); // 4320 elements
        assert_true(most < 0.15 && most > 1e-4);
        free(x);
    }
    free(all);
    rig_close(&r);
}

static float *values_after(const hs_optim_config *c, int threads, uint64_t seed, int steps, const char *isa)
{
    rig r;
    rig_open(&r, c, HS_BF16, threads, isa);
    r.in.seed = seed;
    for (int t = 0; t < steps; t++)
        rig_step(&r, t, 1e-2);
    float *all = rig_slabs(r.ps);
    rig_close(&r);
    return all;
}

static void test_bits(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "nvlamb", "sgd", "lars", "novograd" };
    const int steps = rounds(6);
    for (int i = 0; i < HS_COUNT(names); i++) {
        const hs_optim_config c = small(names[i]);
        rig r;
        rig_open(&r, &c, HS_BF16, 1, NULL);
        const size_t bytes = rig_slab_bytes(r.ps);
        rig_close(&r);
        float *one = values_after(&c, 1, 5, steps, NULL), *again = values_after(&c, 3, 5, steps, NULL), *other = values_after(&c, 1, 6, steps, NULL);
        assert_memory_equal(one, again, bytes);
        assert_true(memcmp(one, other, bytes) != 0); // another seed rounds otherwise
        free(one), free(again), free(other);
    }
}

// As near to f32's values as bf16 lets them be.
static void test_values(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "electra", "lamb", "deepspeed", "sgd", "lars", "novograd" };
    for (int i = 0; i < HS_COUNT(names); i++) {
        const hs_optim_config c = small(names[i]), whole = preset(names[i]);
        rig r, f;
        rig_open(&r, &c, HS_F32, 2, NULL);
        rig_open(&f, &whole, HS_F32, 2, NULL);
        float *start = flat_copy(r.ps, "master");
        for (int t = 0; t < rounds(20); t++)
            rig_step(&r, t, 1e-2), rig_step(&f, t, 1e-2);
        float *a = flat_copy(r.ps, "master"), *b = flat_copy(f.ps, "master");
        double dd = 0, bb = 0;
        for (size_t k = 0; k < flat_count(r.ps); k++)
            dd += pow((double)a[k] - (double)b[k], 2), bb += pow((double)b[k] - (double)start[k], 2);
        if (!(sqrt(dd / bb) < 0.01) && !rig_on.accesses_only)
            fail_msg("%s: ways differ by %g", names[i], sqrt(dd / bb));
        free(a), free(b), free(start);
        rig_close(&r), rig_close(&f);
    }
}

// Nothing becomes infinite by rounding.
static void test_large(void **state)
{
    (void)state;
    hs_optim_config c = small("sgd");
    c.weight_decay = 0, c.momentum = 0;
    rig r;
    rig_open(&r, &c, HS_F32, 1, NULL);
    float *g = flat_copy(r.ps, "grad");
    for (size_t k = 0; k < flat_count(r.ps); k++)
        g[k] = k % 2 ? 0x1.ffp127f : -0x1.fffffep127f; // above the largest bf16
    flat_write(r.ps, "grad", g);
    assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
    assert_int_equal(r.state.found_inf, 0);
    float *m = flat_copy(r.ps, "sgd.m");
    for (size_t k = 0; k < flat_count(r.ps); k++)
        assert_true(isfinite(m[k]) && fabsf(m[k]) >= 0x1.fcp127f);
    free(g), free(m);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),  cmocka_unit_test(test_unbiased), cmocka_unit_test(test_bits),
        cmocka_unit_test(test_values), cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

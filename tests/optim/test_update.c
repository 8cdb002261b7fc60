// update: what a step comes to - schedules, loss scale, overflow, the vote of ranks - and what an optimizer refuses.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

static void near(double a, double b) { assert_true(fabs(a - b) <= 1e-14 + 1e-12 * fabs(b)); }

static void test_schedules(void **state)
{
    (void)state;
    const hs_schedule cosine = { HS_SCHEDULE_COSINE, 1e-3, 1e-4, 1, 100, 2000 };
    near(hs_schedule_lr(&cosine, 0), 1e-3 / 101);
    near(hs_schedule_lr(&cosine, 99), 1e-3 * 100 / 101);
    near(hs_schedule_lr(&cosine, 100), 1e-3);
    near(hs_schedule_lr(&cosine, 1050), 1e-4 + 9e-4 * 0.5 * (1 + cos(M_PI * 950 / 1899)));
    assert_true(hs_schedule_lr(&cosine, 1999) == 1e-4); // the last step, exactly
    near(hs_schedule_lr(&cosine, 2000), 1e-4);
    near(hs_schedule_lr(&cosine, 999999), 1e-4);
    const hs_schedule linear = { HS_SCHEDULE_LINEAR, 2, 1, 1, 0, 10 };
    near(hs_schedule_lr(&linear, 0), 2);
    near(hs_schedule_lr(&linear, 3), 2 - 3.0 / 9);
    assert_true(hs_schedule_lr(&linear, 9) == 1);
    near(hs_schedule_lr(&linear, 10), 1);
    const hs_schedule one = { HS_SCHEDULE_LINEAR, 2, 1, 1, 0, 1 }, one_behind = { HS_SCHEDULE_COSINE, 2, 0, 1, 4, 5 };
    assert_true(hs_schedule_lr(&one, 0) == 2 && hs_schedule_lr(&one_behind, 4) == 2); // a step alone is not wasted
    const hs_schedule constant = { HS_SCHEDULE_CONSTANT, 0.5, 0, 1, 3, 5 };
    near(hs_schedule_lr(&constant, 1), 0.25);
    near(hs_schedule_lr(&constant, 4), 0.5);
    near(hs_schedule_lr(&constant, 50), 0.5);
    // NVIDIA's BERT log (base 4e-3, 7820 steps) behind its warm-up: power 0.5 without a correction at the crossing
    const hs_schedule poly = { HS_SCHEDULE_POLY, 4e-3, 0, 0.5, 0, 7820 };
    near(hs_schedule_lr(&poly, 2185), 0.003395498750508662);
    assert_true(fabs(hs_schedule_lr(&poly, 2085) - 0.003425494905) < 1e-12);
    const hs_schedule all_warmup = { HS_SCHEDULE_POLY, 1, 0, 1, 10, 10 };
    near(hs_schedule_lr(&all_warmup, 9), 10.0 / 11);
    near(hs_schedule_lr(&all_warmup, 10), 0);
}

// ---- loss scale and overflow

static void unchanged(const rig *r, float *before)
{
    float *now = rig_slabs(r->ps);
    assert_memory_equal(before, now, rig_slab_bytes(r->ps));
    free(before), free(now);
}

static void test_overflow(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "lamb" };
    for (int i = 0; i < 2; i++) {
        hs_optim_config c = preset(names[i]);
        c.scaler = hs_scaler_preset(HS_SCALER_AUTO, HS_F16);
        rig r;
        rig_open(&r, &c, HS_F16, 2, NULL);
        assert_true(r.state.scale == 0x1p16f);
        rig_step(&r, 0, 1e-2);
        const float lr = r.state.lr;
        float *before = rig_slabs(r.ps);
        fill_gradients(r.ps, 1, 1e-2, r.state.scale);
        const hs_param *first = hs_params_find(r.ps, "qkv.weight"), *later = hs_params_find(r.ps, "wte.weight"); // smaller order: first
        flat_set(r.ps, "grad", later, 3, NAN);
        flat_set(r.ps, "grad", first, first->n - 1, INFINITY);
        flat_set(r.ps, "grad", first, 5000, -INFINITY);
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
        unchanged(&r, before);
        assert_int_equal(r.state.found_inf, 1);
        assert_int_equal(r.state.applied, 1);
        assert_int_equal(r.state.skipped, 1);
        assert_int_equal(r.state.skipped_in_row, 1);
        assert_true(r.state.scale == 0x1p15f && r.state.lr == lr);
        assert_int_equal(r.state.bad_param, first->id);
        assert_int_equal(r.state.bad_count, 2);
        rig_step(&r, 1, 1e-2);
        assert_int_equal(r.state.found_inf, 0);
        assert_int_equal(r.state.applied, 2);
        assert_int_equal(r.state.skipped, 1);
        assert_int_equal(r.state.skipped_in_row, 0);
        rig_close(&r);
    }
}

// Finite gradients whose squares overflow f32 are no overflow: the clip brings them down.
static void test_large_gradients(void **state)
{
    (void)state;
    hs_optim_config c = preset("adamw");
    c.clip = 1;
    rig r;
    rig_open(&r, &c, HS_BF16, 2, NULL);
    rig_step(&r, 0, 1e30);
    assert_int_equal(r.state.found_inf, 0);
    assert_true(isfinite(r.state.grad_norm) && r.state.grad_norm > 1e30f);
    float *w = flat_copy(r.ps, "master"), *m = flat_copy(r.ps, "adam.m");
    for (size_t k = 0; k < flat_count(r.ps); k++)
        assert_true(isfinite(w[k]) && fabsf(m[k]) <= 0.1f);
    free(w), free(m);
    rig_close(&r);
}

// bad: a string, one character a step, 'x' an overflow. Returns the scale behind it.
static float scale_after(const hs_scaler_config *s, const char *steps)
{
    hs_optim_config c = preset("adamw");
    c.scaler = *s;
    rig r;
    rig_open(&r, &c, HS_F16, 1, NULL);
    for (int t = 0; steps[t]; t++) {
        memset(r.ps->grad->p, 0, r.ps->grad->bytes);
        flat_set(r.ps, "grad", r.ps->param[0], 17, steps[t] == 'x' ? INFINITY : 0);
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_STEP), HS_OK);
    }
    const float scale = r.state.scale;
    rig_close(&r);
    return scale;
}

static void test_scaler(void **state)
{
    (void)state;
    hs_scaler_config s = {
        .dynamic = true, .init = 64, .growth = 2, .backoff = 0.5f, .min = 1, .max = 256, .interval = 3, .hysteresis = 1
    };
    assert_true(scale_after(&s, "...") == 128);
    assert_true(scale_after(&s, "..x..") == 32);
    assert_true(scale_after(&s, "..x...") == 64);
    assert_true(scale_after(&s, "...............") == 256);
    assert_true(scale_after(&s, "xxxxxxxxxxxx") == 1);
    s.hysteresis = 2;
    assert_true(scale_after(&s, "x") == 64);
    assert_true(scale_after(&s, "xx") == 32);
    assert_true(scale_after(&s, "x..x") == 32); // refilled only when the scale grows
    assert_true(scale_after(&s, "x...x") == 128);
    s.dynamic = false;
    assert_true(scale_after(&s, "xx....") == 64);

    s = hs_scaler_preset(HS_SCALER_AUTO, HS_BF16);
    assert_true(!s.dynamic && s.init == 1);
    s = hs_scaler_preset(HS_SCALER_DYNAMIC, HS_BF16);
    assert_true(s.dynamic && s.init == 0x1p16f && s.max == 0x1p24f && s.interval == 2000);
    s = hs_scaler_preset(HS_SCALER_MEGATRON, HS_F16);
    assert_true(s.init == 0x1p32f && s.interval == 1000 && s.hysteresis == 2);
}

static void test_refused(void **state)
{
    (void)state;
    hs_optim_config good = preset("adamw"), c;
    rig r;
    rig_open(&r, &good, HS_F32, 1, NULL);
    const hs_grid grid = hs_grid_self();
    hs_optim *o;
    c = good, c.beta1 = 1;
    assert_int_equal(hs_optim_new(&o, &c, r.ps, &grid, r.dev), HS_USAGE);
    assert_non_null(strstr(hs_error(), "beta1 is 1"));
    c = good, c.schedule.lr = NAN;
    assert_int_equal(hs_optim_new(&o, &c, r.ps, &grid, r.dev), HS_USAGE);
    c = good, c.scaler.init = 3;
    assert_int_equal(hs_optim_new(&o, &c, r.ps, &grid, r.dev), HS_USAGE);
    assert_non_null(strstr(hs_error(), "power of two"));
    assert_null(o);
    assert_true(hs_optim_bytes(r.o) > (size_t)r.ps->n_chunks * 16);
    rig_close(&r);
}

static void nobody(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)c, (void)l, (void)buf, (void)n, (void)d, (void)op;
}

static void another_found_one(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)c, (void)l;
    assert_int_equal(n, 1);
    assert_int_equal(d, HS_I32);
    assert_int_equal(op, HS_REDUCE_MAX);
    *(int32_t *)buf = 1;
}

// A step is skipped by all ranks where one of them has to, and goes on where none has: the vote is a thunk of its own.
static void test_vote(void **state)
{
    (void)state;
    const hs_optim_config c = preset("adamw");
    hs_comm dp = { .size = 2, .axis = "dp", .all_reduce = nobody };
    const hs_grid two = { .dp = &dp, .tp = hs_grid_self().tp };
    rig r, alone;
    rig_open_on(&r, &c, HS_BF16, &two);
    rig_open(&alone, &c, HS_BF16, 2, NULL);
    assert_int_equal(r.update.n, alone.update.n + 1);
    rig_step(&r, 0, 1e-2), rig_step(&alone, 0, 1e-2);
    float *same = rig_slabs(alone.ps), *mine = rig_slabs(r.ps);
    assert_memory_equal(same, mine, rig_slab_bytes(r.ps));
    dp.all_reduce = another_found_one;
    rig_step(&r, 1, 1e-2);
    unchanged(&r, mine);
    assert_int_equal(r.state.found_inf, 1);
    assert_int_equal(r.state.applied, 1);
    assert_int_equal(r.state.bad_param, -1); // none of this rank's
    dp.all_reduce = nobody;
    flat_set(r.ps, "grad", r.ps->param[1], 7, NAN);
    assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
    assert_int_equal(r.state.found_inf, 1);
    assert_int_equal(r.state.bad_param, 1);
    free(same);
    rig_close(&r), rig_close(&alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules), cmocka_unit_test(test_overflow), cmocka_unit_test(test_large_gradients),
        cmocka_unit_test(test_scaler),    cmocka_unit_test(test_refused),  cmocka_unit_test(test_vote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

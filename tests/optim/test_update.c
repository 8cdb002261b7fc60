// update: what a step comes to - overflow, the vote of ranks - and what an optimizer refuses.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

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
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_large_gradients),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_vote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

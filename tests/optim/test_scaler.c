// scaler: the loss scale through scripted overflows, as the scalers of the field take it.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optim/update.h"
#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <string.h>

// steps: a string, one character a step, 'x' an overflow. Returns the scale behind it, through a whole update each.
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

static void test_rules(void **state)
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
    s = hs_scaler_preset(HS_SCALER_AUTO, HS_F16);
    assert_true(s.dynamic && s.init == 0x1p16f);
}

// A run: so many steps, good or each an overflow, and the exponent of the scale behind them.
typedef struct stretch {
    int steps;
    bool overflows;
    int exponent;
} stretch;

// torch.amp.GradScaler: 2^16, x2 after 2000 good steps in a row, x0.5 at once, no bounds.
static const stretch torch[] = {
    { 1999, false, 16 },      { 1, false, 17 }, // the 2000th good step
    { 1999, false, 17 },      { 1, true, 16 },  // one short of it
    { 1999, false, 16 },      { 1, false, 17 }, // counted from anew
    { 3, true, 14 },                            // three in a row
    { 2000 * 12, false, 26 },                   // on beyond 2^24
    { 40, true, -14 },                          // and below 1
    { 2000, false, -13 },
};
// apex.amp LossScaler: the same up to 2^24; growth there is counted and lost.
static const stretch apex[] = {
    { 1999, false, 16 }, { 1, false, 17 },         { 1999, false, 17 }, { 1, true, 16 },     { 1999, false, 16 }, { 1, false, 17 },
    { 3, true, 14 },     { 2000 * 12, false, 24 }, { 1, true, 23 },     { 1999, false, 23 }, { 1, false, 24 },    { 30, true, -6 },
};
// Megatron's DynamicGradScaler: 2^32, x2 after 1000, hysteresis 2 that is refilled by growth alone, not below 1.
static const stretch megatron[] = {
    { 1, true, 32 },                      // forgiven
    { 500, false, 32 },                   // does not refill it
    { 1, true, 31 },                      // the second one counts
    { 1, true, 30 },                      // and each one behind it
    { 999, false, 30 }, { 1, false, 31 }, // growth refills it
    { 1, true, 31 },    { 1000, false, 32 }, { 2, true, 31 }, { 1000, false, 32 },
    { 1, true, 32 },    { 999, false, 32 },  { 1, true, 31 }, { 60, true, 0 }, // ends at 1
    { 1000, false, 1 },
};
// Ours: apex's, not below 1.
static const stretch dynamic[] = { { 2000, false, 17 }, { 4, true, 13 }, { 2000 * 20, false, 24 }, { 60, true, 0 }, { 2000, false, 1 } };

static void test_traces(void **state)
{
    (void)state;
    static const struct {
        hs_scaler_kind kind;
        const stretch *trace;
        int n;
    } rows[] = { { HS_SCALER_TORCH, torch, HS_COUNT(torch) },
                 { HS_SCALER_APEX, apex, HS_COUNT(apex) },
                 { HS_SCALER_MEGATRON, megatron, HS_COUNT(megatron) },
                 { HS_SCALER_DYNAMIC, dynamic, HS_COUNT(dynamic) } };
    for (int i = 0; i < HS_COUNT(rows); i++) {
        hs_optim_config c = preset("adamw");
        c.scaler = hs_scaler_preset(rows[i].kind, HS_F16);
        assert_int_equal(hs_scaler_check(&c.scaler), HS_OK);
        hs_step_state s;
        hs_optim_init_state(&c, &s);
        for (int k = 0; k < rows[i].n; k++) {
            const stretch *r = &rows[i].trace[k];
            for (int t = 0; t < r->steps; t++)
                hs_scaler_update(&c.scaler, &s, r->overflows);
            if (s.scale != ldexpf(1, r->exponent))
                fail_msg("scaler %d, stretch %d: scale 2^%g, expected 2^%d", i, k, log2((double)s.scale), r->exponent);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_rules), cmocka_unit_test(test_traces) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Products in int8 in a plan: gelu and int8 between two of them, where y in int8 is a value like others, have the bits of the ops that they
// stand for, in every tier.
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/run/run.h"
#include "ops/attrs.h"
#include "ops/ops.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

enum { ROWS = 40, IN = 64, BETWEEN = 72, OUT = 24 };

static hs_linear_i8_in inputs(hs_graph *g, const char *name, int64_t in, int64_t out)
{
    char of[3][32];
    snprintf(of[0], sizeof of[0], "%s.codes", name), snprintf(of[1], sizeof of[1], "%s.scales", name);
    snprintf(of[2], sizeof of[2], "%s.scale", name);
    return (hs_linear_i8_in){ .codes = hs_input(g, of[0], HS_I8, HS_EXT_FIXED, 2, (int64_t[]){ out, in }),
                              .scales = hs_input(g, of[1], HS_F32, HS_EXT_FIXED, 1, (int64_t[]){ out }),
                              .x_scale = hs_input(g, of[2], HS_F32, HS_EXT_FIXED, 1, (int64_t[]){ 1 }) };
}

static void model(hs_graph *g, const void *fused)
{
    hs_linear_i8_in one = inputs(g, "one", IN, BETWEEN), two = inputs(g, "two", BETWEEN, OUT);
    one.x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, IN });
    if (*(const bool *)fused) {
        one.y_scale = two.x_scale;
        two.x = hs_linear_i8_fused(g, one, (hs_linear_i8_attr){ HS_I8_GELU_ERF });
    } else
        two.x = hs_gelu(g, hs_linear_i8_fused(g, one, (hs_linear_i8_attr){ HS_I8_PLAIN }), HS_GELU_ERF);
    hs_output(g, hs_linear_i8_fused(g, two, (hs_linear_i8_attr){ HS_I8_PLAIN }));
}

static void fill(hs_run *r, int plan, const char *name, int64_t in, int64_t out, float scale)
{
    char of[32];
    snprintf(of, sizeof of, "%s.codes", name);
    int8_t *codes = hs_run_input(r, plan, of);
    for (int64_t i = 0; i < in * out; i++)
        codes[i] = (int8_t)((int)(hs_mix2((uint64_t)(i / in), (uint64_t)(i % in)) % 255) - 127);
    snprintf(of, sizeof of, "%s.scales", name);
    float *scales = hs_run_input(r, plan, of);
    for (int64_t i = 0; i < out; i++)
        scales[i] = 0.001f * (float)(i + 1);
    snprintf(of, sizeof of, "%s.scale", name);
    *(float *)hs_run_input(r, plan, of) = scale;
}

static void run(hs_isa isa, bool fused, float *y)
{
    hs_device *dev;
    hs_model *m;
    hs_run *r;
    int plan;
    assert_int_equal(hs_open_device(&dev, "cpu", 2, hs_isa_name(isa), 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev }), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, model, &fused, &plan), HS_OK);
    assert_int_equal(hs_model_alloc(m, false), HS_OK);
    assert_int_equal(hs_run_new(&r, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
    hs_random_normal(hs_run_input(r, plan, "x"), ROWS * IN, 3, 0, 0, 1);
    fill(r, plan, "one", IN, BETWEEN, 0.03f);
    fill(r, plan, "two", BETWEEN, OUT, 0.02f);
    hs_step_live(hs_run_in(r), ROWS, 1, 0);
    assert_int_equal(hs_run_forward(r, plan), HS_OK);
    assert_int_equal(hs_run_read(r, plan, 0, 0, ROWS, y), HS_OK);
    hs_run_free(r);
    hs_model_free(m);
    hs_device_close(dev);
}

static void bits_of_what_is_fused(void **state)
{
    (void)state;
    float want[ROWS * OUT], got[ROWS * OUT];
    run(HS_ISA_PORTABLE, false, want);
    for (int isa = 0; isa < HS_N_ISA; isa++)
        if (hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa)) {
            run((hs_isa)isa, true, got);
            assert_memory_equal(got, want, sizeof got);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(bits_of_what_is_fused) };
    return cmocka_run_group_tests_name("ops: linear_i8 in a plan", tests, NULL, NULL);
}

// Encoders against what PyTorch computed (tests/golden/encoders, made by scripts/gen_golden_encoders.py): checkpoints of transformers of
// every family; hidden states, pooled tokens, logits, every gradient, and the losses of twenty LAMB steps, on every tier this machine runs.
//   test_encoder_golden [DEVICE [STEPS]]     STEPS: fewer than the twenty
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "tests/support/support_golden.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

static int64_t steps; // of the optimizer; 0: all that are stored

static hs_optim_config lamb(void)
{
    hs_optim_config c;
    c = hs_optim_preset(HS_PRESET_LAMB);
    c.beta1 = 0.9, c.beta2 = 0.999, c.eps = 1e-6, c.weight_decay = 0.01, c.clip = 1;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 4e-3, .power = 1, .steps = 1000 };
    return c;
}

static int64_t counted(const int32_t *labels, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += labels[i] >= 0;
    return count;
}

static void fill(const golden *s, hs_engine *e, hs_mode mode, int batch)
{
    static const char *const columns[][2] = { { "picks", "picks" }, { "pick_targets", "targets" } };
    int64_t n, P = 0, B;
    golden_put_texts(s, e, mode, batch);
    for (int i = 0; i < HS_COUNT(columns); i++) {
        const int32_t *row = golden_row(s, columns[i][1], batch, &P);
        golden_put(e, mode, columns[i][0], row, P);
    }
    const int32_t *pair = golden_row(s, "pair", batch, &B);
    golden_put(e, mode, "pair_targets", pair, B);
    golden_put(e, mode, "order_targets", pair, B);
    e->in->n[HS_COUNT_PICKS] = P;
    e->in->inv_count[HS_LOSS_TOKENS] = hs_inv_count(counted(golden_row(s, "targets", batch, &n), P));
    e->in->inv_count[HS_LOSS_NEXT] = e->in->inv_count[HS_LOSS_ORDER] = hs_inv_count(counted(pair, B));
}

static double loss_of(const hs_engine *e, hs_mode mode)
{
    const double *l = hs_run_losses(e->run, e->plan[mode]);
    return l[HS_LOSS_TOKENS] + l[HS_LOSS_NEXT] + l[HS_LOSS_ORDER];
}

// ---- the tests

static void check_outputs(golden *s, const char *isa)
{
    hs_engine *e = golden_engine(s, isa, NULL);
    fill(s, e, HS_EVAL, 0);
    OK(hs_engine_run(e, HS_EVAL, 0));
    golden_check_output(s, e, 0, "logits", isa);
    if (golden_has(s, "pair_logits"))
        golden_check_output(s, e, 1, "pair_logits", isa);
    const double want = *(const double *)golden_stored(s, "losses")->data;
    if (!(fabs(loss_of(e, HS_EVAL) - want) <= 1e-5))
        fail_msg("%s, %s: loss is %.7f, should be %.7f", s->family->name, isa, loss_of(e, HS_EVAL), want);
    hs_engine_free(e);

    s->eval.shape.hidden = true;
    e = golden_engine(s, isa, NULL);
    fill(s, e, HS_EVAL, 0);
    OK(hs_engine_run(e, HS_EVAL, 0));
    golden_check_output(s, e, 0, "hidden", isa);
    if (golden_has(s, "pooled"))
        golden_check_output(s, e, 1, "pooled", isa);
    hs_engine_free(e);
    s->eval.shape.hidden = false;
}

// Without logits: the likeliest token and class of each.
static void check_choices(golden *s, const char *isa)
{
    s->eval.shape.logits = false;
    hs_engine *e = golden_engine(s, isa, NULL);
    fill(s, e, HS_EVAL, 0);
    OK(hs_engine_run(e, HS_EVAL, 0));
    for (int output = 0; output <= golden_has(s, "pair_logits"); output++) {
        const hs_st_entry *t = golden_stored(s, output ? "pair_logits" : "logits");
        hs_ref got;
        assert_non_null(hs_run_output(e->run, e->plan[HS_EVAL], output, &got));
        assert_int_equal(got.dtype, HS_I32);
        int32_t choice[64];
        assert_true(t->dim[0] <= HS_COUNT(choice));
        OK(hs_run_read_i32(e->run, e->plan[HS_EVAL], output, 0, t->dim[0], choice));
        for (int64_t n = 0; n < t->dim[0]; n++) {
            const float *row = (const float *)t->data + n * t->dim[1];
            int32_t best = 0;
            for (int32_t v = 1; v < t->dim[1]; v++)
                best = row[v] > row[best] ? v : best;
            if (choice[n] != best)
                fail_msg("%s, %s: output %d, row %d is %d, should be %d", s->family->name, isa, output, (int)n, choice[n], best);
        }
    }
    hs_engine_free(e);
    s->eval.shape.logits = true;
}

static void check_gradients(golden *s, const char *isa)
{
    const hs_optim_config optim = lamb();
    hs_engine *e = golden_engine(s, isa, &optim);
    fill(s, e, HS_TRAIN, 0);
    OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    golden_check_gradients(s, e, "grad.", true, isa);
    hs_engine_free(e);
}

static void check_losses(golden *s, const char *isa)
{
    const hs_optim_config optim = lamb();
    hs_engine *e = golden_engine(s, isa, &optim);
    const hs_st_entry *t = golden_stored(s, "losses");
    for (int step = 0; step < (steps ? steps : t->dim[0]); step++) {
        const double want = ((const double *)t->data)[step];
        fill(s, e, HS_TRAIN, step % (int)golden_stored(s, "ids")->dim[0]);
        OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        OK(hs_run_update(e->run));
        if (!(fabs(loss_of(e, HS_TRAIN) - want) <= 1e-4))
            fail_msg("%s, %s: loss of step %d is %.7f, should be %.7f", s->family->name, isa, step, loss_of(e, HS_TRAIN), want);
    }
    hs_engine_free(e);
}

// fn for every encoder on every tier; once, where test_device is none that has them.
static void on_all(void (*fn)(golden *s, const char *isa))
{
    static const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 6, .max_picks = 24 };
    int n = 0;
    for (int i = 0; hs_families[i]; i++) {
        char folder[64];
        if (hs_families[i]->batch != HS_BATCH_MASKED)
            continue;
        golden s;
        snprintf(folder, sizeof folder, "encoders/%s", hs_families[i]->name);
        golden_open(&s, hs_families[i], folder, &shape);
        for (int k = 0; k < HS_N_ISA; k++)
            if (hs_isa_supported((hs_isa)k) && hs_isa_built((hs_isa)k) && !hs_is_gpu(test_device))
                fn(&s, hs_isa_name((hs_isa)k));
        if (hs_is_gpu(test_device))
            fn(&s, test_device);
        golden_close(&s);
        n++;
    }
    assert_true(n >= 6);
}
static void outputs(void **state) { (void)state, on_all(check_outputs); }
static void choices(void **state) { (void)state, on_all(check_choices); }
static void gradients(void **state) { (void)state, on_all(check_gradients); }
static void twenty_steps(void **state) { (void)state, on_all(check_losses); }

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    steps = argc > 2 ? atoi(argv[2]) : 0;
    const struct CMUnitTest tests[] = { cmocka_unit_test(outputs), cmocka_unit_test(choices), cmocka_unit_test(gradients),
                                        cmocka_unit_test(twenty_steps) };
    return cmocka_run_group_tests_name("encoders: PyTorch", tests, NULL, NULL);
}

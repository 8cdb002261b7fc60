// schedule: learning rates by step, to the digits of the logs they are from.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optim/optim.h"
#include <math.h>

static void near(double a, double b) { assert_true(fabs(a - b) <= 1e-14 + 1e-12 * fabs(b)); }

static void test_house(void **state)
{
    (void)state;
    const hs_schedule cosine = { .kind = HS_SCHEDULE_COSINE, .lr = 1e-3, .min_lr = 1e-4, .warmup = 100, .steps = 2000 };
    near(hs_schedule_lr(&cosine, 0), 1e-3 / 101);
    near(hs_schedule_lr(&cosine, 99), 1e-3 * 100 / 101);
    near(hs_schedule_lr(&cosine, 100), 1e-3);
    near(hs_schedule_lr(&cosine, 1050), 1e-4 + 9e-4 * 0.5 * (1 + cos(M_PI * 950 / 1899)));
    assert_true(hs_schedule_lr(&cosine, 1999) == 1e-4); // the last step, exactly
    near(hs_schedule_lr(&cosine, 2000), 1e-4);
    near(hs_schedule_lr(&cosine, 999999), 1e-4);
    const hs_schedule linear = { .kind = HS_SCHEDULE_LINEAR, .lr = 2, .min_lr = 1, .steps = 10 };
    near(hs_schedule_lr(&linear, 0), 2);
    near(hs_schedule_lr(&linear, 3), 2 - 3.0 / 9);
    assert_true(hs_schedule_lr(&linear, 9) == 1);
    near(hs_schedule_lr(&linear, 10), 1);
    const hs_schedule one = { .kind = HS_SCHEDULE_LINEAR, .lr = 2, .min_lr = 1, .steps = 1 },
                      one_behind = { .kind = HS_SCHEDULE_COSINE, .lr = 2, .warmup = 4, .steps = 5 };
    assert_true(hs_schedule_lr(&one, 0) == 2 && hs_schedule_lr(&one_behind, 4) == 2); // a step alone is not wasted
    const hs_schedule constant = { .kind = HS_SCHEDULE_CONSTANT, .lr = 0.5, .warmup = 3, .steps = 5 };
    near(hs_schedule_lr(&constant, 1), 0.25);
    near(hs_schedule_lr(&constant, 4), 0.5);
    near(hs_schedule_lr(&constant, 50), 0.5);
    const hs_schedule poly = { .kind = HS_SCHEDULE_POLY, .lr = 1, .power = 2, .warmup = 2, .steps = 10 };
    near(hs_schedule_lr(&poly, 1), 2.0 / 3);
    near(hs_schedule_lr(&poly, 6), 0.25);
    near(hs_schedule_lr(&poly, 10), 0);
    const hs_schedule all_warmup = { .kind = HS_SCHEDULE_POLY, .lr = 1, .power = 1, .warmup = 10, .steps = 10 };
    near(hs_schedule_lr(&all_warmup, 9), 10.0 / 11);
    near(hs_schedule_lr(&all_warmup, 10), 0);
}

// A share of the steps is as many steps, rounded down.
static void test_share(void **state)
{
    (void)state;
    for (int kind = 0; kind < HS_N_SCHEDULES; kind++) {
        const hs_schedule share = {
            .kind = (hs_schedule_kind)kind, .lr = 1, .min_lr = .1, .power = 1, .steps = 100, .warmup_share = .1, .warmup = 77
        };
        const hs_schedule steps = { .kind = (hs_schedule_kind)kind, .lr = 1, .min_lr = .1, .power = 1, .steps = 100, .warmup = 10 };
        for (int t = 0; t < 100; t++)
            near(hs_schedule_lr(&share, t), hs_schedule_lr(&steps, t));
    }
}

// NVIDIA's BERT log (issue 543 of DeepLearningExamples): base 4e-3, 7820 steps, warm-up 0.2558. The step it prints is that of the
// scheduler, one more than those the optimizer has behind it.
static void test_nvidia(void **state)
{
    (void)state;
    static const struct {
        int step;
        double lr, within;
    } log[] = { { 1785, 0.003569364653091749, 1e-18 },
                { 1985, 0.0039692934657630935, 1e-18 },
                { 2085, 0.003425494905, 1e-12 },
                { 2185, 0.003395498750508662, 1e-18 } };
    const hs_schedule s = { .kind = HS_SCHEDULE_POLY_WARMUP, .lr = 4e-3, .power = 0.5, .steps = 7820, .warmup_share = 0.2558 };
    for (int i = 0; i < (int)(sizeof log / sizeof *log); i++)
        assert_true(fabs(hs_schedule_lr(&s, log[i].step - 1) - log[i].lr) <= log[i].within);
    near(hs_schedule_lr(&s, 0), 4e-3 / 7820 / 0.2558);
    near(hs_schedule_lr(&s, 7819), 0);
    near(hs_schedule_lr(&s, 9000), 0);
    // the two phases: no correction at the crossing, the rate jumps down by sqrt(1 - w)
    const hs_schedule one = { .kind = HS_SCHEDULE_POLY_WARMUP, .lr = 6e-3, .power = 0.5, .steps = 7038, .warmup_share = 0.2843 },
                      two = { .kind = HS_SCHEDULE_POLY_WARMUP, .lr = 4e-3, .power = 0.5, .steps = 1563, .warmup_share = 0.128 };
    assert_true(fabs(hs_schedule_lr(&one, 1999) - 6e-3) < 1e-5 && fabs(hs_schedule_lr(&one, 2000) - 5.076e-3) < 1e-6);
    assert_true(fabs(hs_schedule_lr(&two, 199) - 4e-3) < 1e-5 && fabs(hs_schedule_lr(&two, 200) - 3.735e-3) < 2e-6);
    // warm-up given as steps: the share they are
    const hs_schedule steps = { .kind = HS_SCHEDULE_POLY_WARMUP, .lr = 1, .power = 0.5, .steps = 100, .warmup = 10 };
    near(hs_schedule_lr(&steps, 4), 0.5);
    near(hs_schedule_lr(&steps, 9), sqrt(0.9));
    near(hs_schedule_lr(&steps, 74), 0.5);
}

// tf.train.polynomial_decay(lr, step, train_steps, 0, 1.0) * min(1, step / warmup_steps)
static void test_electra(void **state)
{
    (void)state;
    const hs_schedule s = { .kind = HS_SCHEDULE_ELECTRA, .lr = 5e-4, .power = 1, .warmup = 10000, .steps = 1000000 };
    near(hs_schedule_lr(&s, 0), 0);
    near(hs_schedule_lr(&s, 5000), 5e-4 * (1 - 0.005) * 0.5);
    near(hs_schedule_lr(&s, 10000), 5e-4 * 0.99);
    near(hs_schedule_lr(&s, 250000), 5e-4 * 0.75);
    near(hs_schedule_lr(&s, 1000000), 0);
}

static void test_inverse_sqrt(void **state)
{
    (void)state;
    const hs_schedule s = { .kind = HS_SCHEDULE_INVERSE_SQRT, .lr = 1e-3, .min_lr = 1e-4, .warmup = 3, .steps = 1000 };
    near(hs_schedule_lr(&s, 0), 2.5e-4);
    near(hs_schedule_lr(&s, 3), 1e-3);
    near(hs_schedule_lr(&s, 15), 5e-4);
    near(hs_schedule_lr(&s, 999), 1e-4);
    // Noam's: factor * width^-0.5 * min(step^-0.5, step * warmup^-1.5)
    const double width = 512, warmup = 4000;
    const hs_schedule noam = { .kind = HS_SCHEDULE_INVERSE_SQRT, .lr = pow(width * warmup, -0.5), .warmup = 3999, .steps = 100000 };
    for (int step = 1; step < 100000; step += 777)
        near(hs_schedule_lr(&noam, step - 1), pow(width, -0.5) * fmin(pow(step, -0.5), step * pow(warmup, -1.5)));
}

// ELECTRA's: a discriminator of 12 layers has its embeddings at 0.8^14 of the head's rate.
static void test_layers(void **state)
{
    (void)state;
    near(hs_layer_rate(0.8, 12, 0), pow(0.8, 14));
    near(hs_layer_rate(0.8, 12, 1), pow(0.8, 13));
    near(hs_layer_rate(0.8, 12, 12), 0.64);
    for (int depth = 0; depth <= 13; depth++)
        assert_true(hs_layer_rate(1, 12, depth) == 1);
    assert_true(hs_layer_rate(0.8, 12, 13) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_house),   cmocka_unit_test(test_share),        cmocka_unit_test(test_nvidia),
        cmocka_unit_test(test_electra), cmocka_unit_test(test_inverse_sqrt), cmocka_unit_test(test_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

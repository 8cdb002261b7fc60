// A tiny GPT whose values are kept in halves, or in bf16 alone: the one has the bits of f32 values, step by step; the other learns like it,
// reads the tables of its embeddings in bf16, and computes what f32 values equal to its own would.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

enum { SEQS = 8, TOKENS = 12 + 7 + 12 + 1 + 9 + 12 + 3 + 10 };
static const int lengths[SEQS + 1] = { 12, 7, 12, 1, 9, 12, 3, 10 }; // ended by 0

typedef struct student {
    tiny_gpt model;
    hs_engine *e;
} student;

static void student_open(student *s, hs_masters masters, const char *optim, uint64_t seed)
{
    s->e = tiny_engine(&s->model, &(tiny_opts){ .policy = "bf16",
                                                .optim = optim,
                                                .masters = masters,
                                                .dropout = 0.1f,
                                                .threads = 2,
                                                .seed = seed,
                                                .mode = HS_SUBMIT_BULK,
                                                .micro_steps = 2,
                                                .max_tokens = 120 });
}

// Two micro-batches of the same `batches` again and again.
static double train(student *s, int step, int batches)
{
    for (int micro = 0; micro < 2; micro++) {
        int own[SEQS + 1] = { 0 };
        memcpy(own, lengths + micro * SEQS / 2, SEQS / 2 * sizeof *own);
        tiny_fill(s->e, HS_TRAIN, own, (uint64_t)(step % batches) + 1, micro * SEQS / 2);
        s->e->in->n_micro = 2, s->e->in->inv_count[0] = 1.0f / TOKENS;
        assert_int_equal(hs_engine_run(s->e, HS_TRAIN, micro ? HS_MICRO_LAST : HS_MICRO_FIRST), HS_OK);
    }
    assert_int_equal(hs_run_update(s->e->run), HS_OK);
    return hs_engine_loss(s->e, HS_TRAIN);
}

static double evaluate(student *s)
{
    tiny_fill(s->e, HS_EVAL, lengths, 1, 0);
    s->e->in->n_micro = 1, s->e->in->inv_count[0] = 1.0f / TOKENS;
    assert_int_equal(hs_engine_run(s->e, HS_EVAL, 0), HS_OK);
    return hs_engine_loss(s->e, HS_EVAL);
}

static void in_halves(void **state)
{
    (void)state;
    static const char *const optims[] = { "adamw", "lamb" };
    for (int i = 0; i < HS_COUNT(optims); i++) {
        student whole, split;
        student_open(&whole, HS_MASTERS_F32, optims[i], 3), student_open(&split, HS_MASTERS_SPLIT, optims[i], 3);
        assert_true(split.e->params->master->bytes < whole.e->params->master->bytes);
        for (int step = 0; step < 30; step++)
            assert_true(train(&whole, step, 1000) == train(&split, step, 1000));
        static const char *const slabs[] = { "master", "low", "adam.m", "adam.v" };
        for (int k = 0; k < HS_COUNT(slabs); k++)
            assert_true(flat_equal(whole.e->params, split.e->params, slabs[k]));
        assert_true(evaluate(&whole) == evaluate(&split));
        hs_engine_free(whole.e), hs_engine_free(split.e);
    }
}

// Bytes of values: of weights and tables none, of biases and norms f32.
static void bytes_of_bf16(void **state)
{
    (void)state;
    student s;
    student_open(&s, HS_MASTERS_NONE, "adamw", 3);
    const hs_params *ps = s.e->params;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const bool wide = p->role == HS_BIAS || p->role == HS_NORM;
        assert_int_equal(hs_param_masters(ps, p), wide ? HS_MASTERS_F32 : HS_MASTERS_NONE);
        assert_int_equal(hs_slab_has(ps->master, p), wide);
    }
    hs_engine_free(s.e);
}

// f32 values that are a bf16 each give what the bf16 alone give: losses, and so all that is computed of them.
static void as_f32(void **state)
{
    (void)state;
    student none, whole;
    student_open(&none, HS_MASTERS_NONE, "adamw", 3), student_open(&whole, HS_MASTERS_F32, "adamw", 3);
    for (int step = 0; step < 5; step++)
        train(&none, step, 1);
    float *v = flat_copy(none.e->params, "master");
    flat_write(whole.e->params, "master", v);
    hs_params_refresh_low(whole.e->params);
    hs_params_changed(whole.e->params);
    assert_true(flat_equal(none.e->params, whole.e->params, "low"));
    assert_true(evaluate(&none) == evaluate(&whole));
    free(v);
    hs_engine_free(none.e), hs_engine_free(whole.e);
}

// Over seeds: the loss of a few batches learnt by heart, as the mean of the last steps.
static void learns(void **state)
{
    (void)state;
    double mean[2] = { 0 }, begin = 0;
    for (uint64_t seed = 1; seed <= 3; seed++)
        for (int none = 0; none < 2; none++) {
            student s;
            student_open(&s, none ? HS_MASTERS_NONE : HS_MASTERS_F32, "adamw", seed);
            for (int step = 0; step < 200; step++) {
                const double loss = train(&s, step, 2);
                begin += step == 0 ? loss / 6 : 0;
                mean[none] += step >= 180 ? loss / (3 * 20) : 0;
            }
            hs_engine_free(s.e);
        }
    if (!(mean[0] < begin / 2) || !(fabs(mean[1] / mean[0] - 1) < 0.1))
        fail_msg("from %g, f32 values come to a loss of %g, bf16 alone to %g", begin, mean[0], mean[1]);
    print_message("from %.3f, f32 values come to a loss of %.4f, bf16 alone to %.4f\n", begin, mean[0], mean[1]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_halves),
        cmocka_unit_test(bytes_of_bf16),
        cmocka_unit_test(as_f32),
        cmocka_unit_test(learns),
    };
    test_takes_device(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

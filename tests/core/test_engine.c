// engine: a small GPT through all rooms - it learns a batch by heart, its gradient is the slope of its loss, and neither the
// way of submitting, nor the number of threads, nor the division into micro-batches changes what comes out.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

static const int lengths[] = { 16, 9, 16, 1, 12, 0 };
enum { TOKENS = 16 + 9 + 16 + 1 + 12 };

static void train_step(hs_engine *e, uint64_t key)
{
    tiny_fill(e, HS_TRAIN, lengths, key, 0);
    e->in->n_micro = 1, e->in->inv_count[0] = 1.0f / TOKENS;
    assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
    assert_int_equal(hs_run_update(e->run), HS_OK);
}

static double eval_loss(hs_engine *e, uint64_t key)
{
    tiny_fill(e, HS_EVAL, lengths, key, 0);
    e->in->inv_count[0] = 1.0f / TOKENS;
    assert_int_equal(hs_engine_run(e, HS_EVAL, 0), HS_OK);
    return hs_engine_loss(e, HS_EVAL);
}

static void test_learns_by_heart(void **state)
{
    (void)state;
    static const char *const policies[] = { "fp32", "bf16", "fp16" };
    for (int i = 0; i < 3; i++) {
        tiny_gpt model;
        hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = policies[i], .optim = "adamw", .threads = 2, .mode = HS_SUBMIT_BULK });
        train_step(e, 1);
        assert_true(fabs(hs_engine_loss(e, HS_TRAIN) - log(TINY_VOCAB)) < 0.2); // knows nothing yet
        for (int t = 1; t < 200; t++)
            train_step(e, 1);
        assert_true(hs_engine_loss(e, HS_TRAIN) < 0.05);
        assert_true(eval_loss(e, 1) < 0.05);
        assert_int_equal(hs_run_state(e->run)->applied + hs_run_state(e->run)->skipped, 200);
        assert_int_equal(e->in->step, 200);
        hs_engine_free(e);
    }
}

static void gradient(hs_engine *e)
{
    tiny_fill(e, HS_TRAIN, lengths, 5, 0);
    e->in->inv_count[0] = 1.0f / TOKENS;
    assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
}

// Moves the values by h along d (of length 1), measures the loss, moves back.
static double loss_at(hs_engine *e, const float *d, double h, float *saved)
{
    hs_params *ps = e->params;
    float *moved = flat_copy(ps, "master");
    flat_read(ps, "master", saved);
    for (size_t k = 0; k < flat_count(ps); k++)
        moved[k] += (float)(h * (double)d[k]);
    flat_write(ps, "master", moved);
    const double loss = eval_loss(e, 5);
    flat_write(ps, "master", saved);
    free(moved);
    return loss;
}

static void test_gradient_is_the_slope(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = "fp32", .optim = "adamw" });
    for (int t = 0; t < 10; t++)
        train_step(e, 1); // away from the beginning, where biases are 0
    hs_params *ps = e->params;
    gradient(e);
    assert_int_equal(hs_engine_run(e, HS_EVAL, 0), HS_INTERNAL); // it could lie where gradients do
    assert_non_null(strstr(hs_error(), "evaluation between a micro-step and its update: gradients of 1 micro-step are pending"));
    hs_run_begin(e->run, e->in->step); // the gradient has been seen: no update follows
    const size_t all = flat_count(ps);
    float *d = calloc(all, sizeof *d), *saved = calloc(all, sizeof *saved), *grad = flat_copy(ps, "grad");
    for (int i = -1; i < ps->n_params; i++) { // all together, then one parameter after the other, along its gradient
        const size_t first = i < 0 ? 0 : flat_at(ps, ps->param[i]), n = i < 0 ? all : ps->param[i]->n;
        double norm = 0;
        for (size_t k = first; k < first + n; k++)
            norm += (double)grad[k] * (double)grad[k];
        norm = sqrt(norm);
        memset(d, 0, all * sizeof *d);
        for (size_t k = first; k < first + n && norm > 0; k++)
            d[k] = (float)((double)grad[k] / norm);
        const double h = 0.02, slope = (loss_at(e, d, h, saved) - loss_at(e, d, -h, saved)) / (2 * h);
        if (fabs(slope - norm) > 0.03 * norm + 1e-4)
            fail_msg("%s: slope %g, gradient %g", i < 0 ? "all" : ps->param[i]->name, slope, norm);
    }
    free(d);
    free(saved);
    free(grad);
    hs_engine_free(e);
}

// Values after a few steps with dropout on.
static float *trained(const char *policy, int threads, hs_submit_mode mode, int bulk_size, size_t *n)
{
    tiny_gpt model;
    hs_engine *e =
        tiny_engine(&model, &(tiny_opts){ .policy = policy, .optim = "adamw", .dropout = 0.2f, .threads = threads, .mode = mode });
    e->device->bulk_size = bulk_size;
    for (int t = 0; t < 5; t++)
        train_step(e, (uint64_t)t);
    *n = flat_count(e->params);
    float *w = flat_copy(e->params, "master");
    hs_engine_free(e);
    return w;
}

static void test_same_bits(void **state)
{
    (void)state;
    static const struct {
        int threads;
        hs_submit_mode mode;
        int bulk_size;
    } ways[] = { { 1, HS_SUBMIT_STEP, 0 }, { 1, HS_SUBMIT_BULK, 0 }, { 2, HS_SUBMIT_STEP, 0 },
                 { 2, HS_SUBMIT_BULK, 0 }, { 2, HS_SUBMIT_BULK, 1 }, { 3, HS_SUBMIT_BULK, 7 } };
    static const char *const policies[] = { "fp32", "bf16" };
    for (int p = 0; p < 2; p++) {
        size_t n;
        float *first = trained(policies[p], ways[0].threads, ways[0].mode, ways[0].bulk_size, &n);
        for (int i = 1; i < HS_COUNT(ways); i++) {
            float *w = trained(policies[p], ways[i].threads, ways[i].mode, ways[i].bulk_size, &n);
            assert_memory_equal(first, w, n * sizeof *w);
            free(w);
        }
        free(first);
    }
}

// The same sequences in one micro-batch or in several, dropout on: the same gradient.
static void test_accumulation(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = "fp32", .optim = "adamw", .dropout = 0.1f });
    hs_params *ps = e->params;
    gradient(e);
    const double loss = hs_engine_loss(e, HS_TRAIN);
    float *whole = flat_copy(ps, "grad");
    for (int b = 0; lengths[b]; b++) {
        tiny_fill(e, HS_TRAIN, (int[]){ lengths[b], 0 }, 5, b);
        e->in->n_micro = HS_COUNT(lengths) - 1;
        const int which = (b ? 0 : HS_MICRO_FIRST) | (lengths[b + 1] ? 0 : HS_MICRO_LAST);
        assert_int_equal(hs_engine_run(e, HS_TRAIN, which), HS_OK);
    }
    assert_true(fabs(hs_engine_loss(e, HS_TRAIN) - loss) < 1e-6);
    double dd = 0, ww = 0;
    float *parts = flat_copy(ps, "grad");
    for (size_t k = 0; k < flat_count(ps); k++)
        dd += pow((double)parts[k] - (double)whole[k], 2), ww += pow((double)whole[k], 2);
    assert_true(sqrt(dd) < 1e-6 * sqrt(ww));
    free(whole), free(parts);
    hs_engine_free(e);
}

// An engine that was promised one micro-batch a step has no place to add gradients up in, and says so.
static void test_promise_is_kept(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *any = tiny_engine(&model, &(tiny_opts){ .policy = "fp32", .optim = "adamw" });
    hs_engine *one = tiny_engine(&model, &(tiny_opts){ .policy = "fp32", .optim = "adamw", .micro_steps = 1 });
    assert_true(hs_engine_bytes(one) < hs_engine_bytes(any));
    gradient(one);
    tiny_fill(one, HS_TRAIN, lengths, 5, 0);
    assert_int_equal(hs_engine_run(one, HS_TRAIN, HS_MICRO_LAST), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "micro_steps"));
    hs_engine_free(any);
    hs_engine_free(one);
}

static void spoil(hs_params *ps, const char *slab, const bool *read)
{
    for (int i = 0; i < ps->n_params; i++)
        for (size_t j = 0; !read[i] && j < ps->param[i]->n; j++)
            flat_set(ps, slab, ps->param[i], j, NAN);
}

static int count(const bool *marks, int n)
{
    int some = 0;
    for (int i = 0; i < n; i++)
        some += marks[i];
    return some;
}

// Inference reads few of the values: f32 ones not where there are low ones, neither where a copy in another layout is read. Without the
// others the same loss, and they come back with new values.
static void check_given_back(const char *policy)
{
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = policy });
    hs_params *ps = e->params;
    bool *master = calloc(2 * (size_t)ps->n_params, sizeof *master), *low = master + ps->n_params;
    hs_plan_reads(hs_engine_plan(e, HS_EVAL), master, low, NULL);
    hs_plan_reads(hs_engine_plan(e, HS_DECODE), master, low, NULL);
    const int wte = hs_params_find(ps, "wte.weight")->id, up = hs_params_find(ps, "h0.mlp.up.weight")->id;
    assert_true(count(master, ps->n_params) < ps->n_params && count(low, ps->n_params) < ps->n_params);
    assert_true(master[wte] || low[wte]);
    assert_false(master[up] || low[up]);
    double loss[3];
    for (int k = 0; k < 3; k++) {
        if (k == 1) { // tiny slabs are of the heap: what would be given back is spoilt instead
            assert_int_equal(hs_model_release_values(e->model), HS_OK);
            spoil(ps, "master", master);
            if (ps->low)
                spoil(ps, "low", low);
            int plan;
            assert_int_equal(hs_model_plan(e->model, HS_EVAL, tiny_gpt_model, &model, &plan), HS_INTERNAL);
        } else if (k == 2) {
            hs_params_init_values(ps);
        }
        const int64_t n = tiny_fill(e, HS_EVAL, lengths, 5, 0);
        e->in->n_micro = 1, e->in->inv_count[0] = 1.0f / (float)n;
        assert_int_equal(hs_engine_run(e, HS_EVAL, 0), HS_OK);
        loss[k] = hs_engine_loss(e, HS_EVAL);
    }
    assert_true(isfinite(loss[0]) && loss[0] == loss[1] && loss[0] == loss[2]);
    free(master);
    hs_engine_free(e);
}

static void test_values_are_given_back(void **state)
{
    (void)state;
    check_given_back("bf16");
    check_given_back("fp32");
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = "bf16", .optim = "adamw" });
    assert_int_equal(hs_model_release_values(e->model), HS_INTERNAL);
    hs_engine_free(e);
}

// What is frozen keeps its bits, takes no memory for training, and the others still learn. A frozen front of the model is not even
// differentiated through.
static void test_frozen_layers(void **state)
{
    (void)state;
    static const char *const patterns[] = { "wte,wpe,h0", "h1,*.bias", "h?.attn,ln_f" };
    static const char *const optims[] = { "adamw", "lamb", "sgd" };
    for (int i = 0; i < HS_COUNT(patterns); i++)
        for (int micro = 0; micro < 2; micro++) { // gradients in a slab of their own, or among activations
            tiny_gpt model;
            const tiny_opts whole = { .policy = "bf16", .optim = optims[i], .threads = 2, .mode = HS_SUBMIT_BULK, .micro_steps = micro };
            tiny_opts part = whole;
            part.freeze = patterns[i];
            hs_engine *all = tiny_engine(&model, &whole), *e = tiny_engine(&model, &part);
            const hs_params *ps = e->params;
            float *before = flat_copy(ps, "master");
            train_step(e, 1);
            const double first = hs_engine_loss(e, HS_TRAIN);
            for (int t = 1; t < 60; t++)
                train_step(e, 1);
            assert_true(hs_engine_loss(e, HS_TRAIN) < first - (i == 2 ? 0.02 : 0.3));
            float *after = flat_copy(ps, "master");
            int frozen = 0;
            for (int k = 0; k < ps->n_params; k++) {
                const hs_param *p = ps->param[k];
                const size_t at = flat_at(ps, p);
                frozen += p->frozen;
                assert_int_equal(memcmp(before + at, after + at, p->n * sizeof *after) == 0, p->frozen);
                assert_int_equal(hs_slab_has(ps->grad, p), !p->frozen);
            }
            assert_true(frozen > 0);
            const hs_params_bytes a = hs_params_bytes_of(all->params), b = hs_params_bytes_of(ps);
            assert_true(b.grad < a.grad && b.saved < a.saved && b.master == a.master);
            assert_true(hs_engine_bytes(e) + (a.saved - b.saved) <= hs_engine_bytes(all));
            const hs_plan_info *x = hs_plan_info_of(hs_engine_plan(all, HS_TRAIN)), *y = hs_plan_info_of(hs_engine_plan(e, HS_TRAIN));
            assert_true(y->flops_backward < x->flops_backward);
            if (i == 0)
                assert_true(y->value_bytes_unshared < x->value_bytes_unshared);
            free(before), free(after);
            hs_engine_free(all);
            hs_engine_free(e);
        }
}

static void test_overflow_is_skipped(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = "fp16", .optim = "adamw" });
    train_step(e, 1);
    hs_step_state large = *hs_run_state(e->run);
    large.scale = 0x1p60f; // no f16 gradient survives this
    hs_run_set_state(e->run, &large);
    const float w = flat_get(e->params, "master", e->params->param[0], 5);
    train_step(e, 1);
    assert_int_equal(hs_run_state(e->run)->found_inf, 1);
    assert_true(hs_run_state(e->run)->scale == 0x1p59f && flat_get(e->params, "master", e->params->param[0], 5) == w);
    assert_true(hs_run_state(e->run)->bad_param >= 0 && hs_run_state(e->run)->bad_count > 0);
    hs_engine_free(e);
}

// A GPT in mixed precision needs no cast: its operations store what the next one reads. What leaves a decode plan is f32.
static void test_no_casts(void **state)
{
    (void)state;
    static const char *const policies[] = { "bf16", "fp16" };
    for (int p = 0; p < 2; p++) {
        tiny_gpt model;
        hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = policies[p], .optim = "adamw", .dropout = 0.1f });
        for (int m = 0; m < 3; m++)
            assert_int_equal(hs_plan_info_of(hs_engine_plan(e, m))->n_casts, 0);
        hs_ref logits;
        assert_non_null(hs_exec_output(hs_engine_exec(e, HS_DECODE), 0, &logits));
        assert_int_equal(logits.dtype, HS_F32);
        hs_engine_free(e);
    }
}

static void test_refused(void **state)
{
    (void)state;
    hs_engine *e;
    tiny_gpt model = tiny_gpt_of(&(tiny_opts){ 0 });
    assert_int_equal(hs_engine_new(&e, &(hs_engine_opts){ .model = tiny_gpt_model, .config = &model }), HS_INTERNAL);
    model.config.heads = 5;
    assert_int_equal(hs_engine_new(&e, &(hs_engine_opts){ .model = tiny_gpt_model, .config = &model, .eval = true }), HS_USAGE);
    assert_non_null(strstr(hs_error(), "model.heads is 5"));
    assert_null(e);
    model.config.heads = 2;
    assert_int_equal(hs_engine_new(&e, &(hs_engine_opts){ .model = tiny_gpt_model, .config = &model, .eval = true, .threads = 1 }), HS_OK);
    assert_int_equal(hs_engine_run(e, HS_TRAIN, 0), HS_INTERNAL);
    assert_int_equal(hs_run_update(e->run), HS_INTERNAL);
    assert_null(hs_engine_input(e, HS_TRAIN, "ids"));
    assert_int_equal(hs_params_count(e->params), hs_gpt_count(&model.config));
    assert_true(hs_engine_bytes(e) > e->model->workspace_bytes + e->params->master->bytes);
    assert_null(e->params->grad);
    hs_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns_by_heart), cmocka_unit_test(test_gradient_is_the_slope), cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_accumulation),    cmocka_unit_test(test_promise_is_kept),       cmocka_unit_test(test_values_are_given_back),
        cmocka_unit_test(test_frozen_layers),   cmocka_unit_test(test_overflow_is_skipped),   cmocka_unit_test(test_no_casts),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

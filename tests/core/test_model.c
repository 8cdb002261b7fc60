// model: several runs of one at once compute what one alone does; plans come later, with copies of their own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/run/run.h"
#include "models/nn/nn.h"
#include "tests/support/support_gpt.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct instance {
    hs_model *model;
    hs_device *dev;
    hs_run *run;
    uint64_t key;
    float logits[8][64 * TINY_VOCAB];
    double loss[8];
    pthread_barrier_t *start;
} instance;

static void score(instance *s, int i)
{
    static const int lengths[] = { 16, 9, 16, 1, 12, 0 };
    tiny_fill_run(s->run, 0, lengths, s->key + (uint64_t)i, 0);
    hs_run_in(s->run)->inv_count[0] = hs_inv_count(54);
    assert_int_equal(hs_run_forward(s->run, 0), HS_OK);
    hs_ref y;
    const char *p = hs_run_output(s->run, 0, 0, &y);
    assert_true(y.cols >= TINY_VOCAB);
    for (int n = 0; n < 54; n++)
        hs_convert(s->logits[i] + n * TINY_VOCAB, HS_F32, p + (size_t)(n * y.cols) * hs_dtype_bytes(y.dtype), y.dtype, TINY_VOCAB);
    s->loss[i] = hs_run_losses(s->run, 0)[0];
}

static void *serve(void *arg)
{
    instance *s = arg;
    pthread_barrier_wait(s->start);
    for (int i = 0; i < 8; i++)
        score(s, i);
    return NULL;
}

// Under the thread sanitizer this is also the proof that runs only read what they share (scripts/test.sh --sanitize thread).
static void test_runs_at_once(void **state)
{
    (void)state;
    enum { RUNS = 3 };
    static instance alone, s[RUNS];
    const tiny_gpt gpt = tiny_gpt_of(&(tiny_opts){ 0 });
    const hs_policy bf16 = { .low = HS_BF16 };
    hs_device *dev;
    hs_model *m;
    int plan;
    pthread_barrier_t start;
    assert_int_equal(hs_open_device(&dev, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev, .policy = &bf16, .micro_steps = HS_VALUES_STAY, .seed = 3 }), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, tiny_gpt_model, &gpt, &plan), HS_OK);
    assert_int_equal(hs_model_alloc(m, true), HS_OK);
    assert_true(hs_model_bytes_of(m).derived > 0); // there is something to make first
    assert_int_equal(pthread_barrier_init(&start, NULL, RUNS), 0);
    for (int k = 0; k < RUNS; k++) {
        s[k] = (instance){ .model = m, .key = 100 + 10 * (uint64_t)k, .start = &start };
        assert_int_equal(hs_open_device(&s[k].dev, "cpu", 1 + k % 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
        assert_int_equal(hs_run_new(&s[k].run, m, &(hs_run_opts){ .device = s[k].dev, .mode = HS_SUBMIT_BULK }), HS_OK);
    }
    for (int round = 0; round < 2; round++) {
        pthread_t thread[RUNS];
        for (int k = 0; k < RUNS; k++)
            assert_int_equal(pthread_create(&thread[k], NULL, serve, &s[k]), 0);
        for (int k = 0; k < RUNS; k++)
            assert_int_equal(pthread_join(thread[k], NULL), 0);
        assert_int_equal(hs_run_new(&alone.run, m, &(hs_run_opts){ .mode = HS_SUBMIT_STEP }), HS_OK);
        for (int k = 0; k < RUNS; k++) {
            alone.key = s[k].key;
            for (int i = 0; i < 8; i++)
                score(&alone, i);
            assert_memory_equal(alone.logits, s[k].logits, sizeof alone.logits);
            assert_memory_equal(alone.loss, s[k].loss, sizeof alone.loss);
        }
        hs_run_free(alone.run);
        m->params->seed++;
        hs_params_init_values(m->params); // other values: all find their copies old
    }
    for (int k = 0; k < RUNS; k++) {
        hs_run_free(s[k].run);
        hs_device_close(s[k].dev);
    }
    pthread_barrier_destroy(&start);
    hs_model_free(m);
    hs_device_close(dev);
}

static void test_later_plan(void **state)
{
    (void)state;
    static instance s;
    tiny_gpt small = tiny_gpt_of(&(tiny_opts){ 0 }), large = tiny_gpt_of(&(tiny_opts){ .max_tokens = 512, .max_seqs = 32 });
    int plan;
    assert_int_equal(hs_open_device(&s.dev, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    const hs_policy bf16 = { .low = HS_BF16 };
    assert_int_equal(hs_model_new(&s.model, &(hs_model_opts){ .device = s.dev, .policy = &bf16, .micro_steps = HS_VALUES_STAY, .seed = 3 }),
                     HS_OK);
    assert_int_equal(hs_model_alloc(s.model, true), HS_INTERNAL); // nothing to do
    assert_int_equal(hs_model_plan(s.model, HS_EVAL, tiny_gpt_model, &small, &plan), HS_OK);
    assert_int_equal(hs_run_new(&s.run, s.model, &(hs_run_opts){ 0 }), HS_INTERNAL);
    assert_int_equal(hs_model_alloc(s.model, true), HS_OK);
    assert_int_equal(hs_run_new(&s.run, s.model, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
    score(&s, 0);
    const size_t bytes = hs_run_bytes(s.run);
    void *ids = hs_run_input(s.run, 0, "ids");
    int later[3];
    for (int k = 0; k < 3; k++) { // any number of a mode, smaller and larger; one with states that none had before
        assert_int_equal(hs_model_plan(s.model, k == 2 ? HS_DECODE : HS_EVAL, tiny_gpt_model, k == 1 ? &large : &small, &later[k]), HS_OK);
        assert_null(hs_run_input(s.run, later[k], "ids"));
        assert_int_equal(hs_run_forward(s.run, later[k]), HS_INTERNAL);
        assert_int_equal(hs_run_bind(s.run, later[k]), HS_OK);
        assert_int_equal(hs_run_bind(s.run, later[k]), HS_OK); // bound already
        assert_ptr_equal(hs_run_input(s.run, 0, "ids"), ids);
    }
    assert_ptr_not_equal(hs_run_input(s.run, later[0], "ids"), ids); // it shares the first's workspace, but not its inputs
    assert_true(hs_run_bytes(s.run) > bytes);
    static const int lengths[] = { 16, 9, 16, 1, 12, 0 };
    for (int k = 0; k < 2; k++) {
        tiny_fill_run(s.run, later[k], lengths, s.key, 0);
        assert_int_equal(hs_run_forward(s.run, later[k]), HS_OK);
        assert_true(hs_run_losses(s.run, later[k])[0] == s.loss[0]);
    }
    assert_null(hs_run_losses(s.run, later[2])); // decoding has none
    hs_step_live(hs_run_in(s.run), 54, 5, 0);
    assert_int_equal(hs_run_forward(s.run, 0), HS_OK); // of what was fed in before the others ran
    assert_true(hs_run_losses(s.run, 0)[0] == s.loss[0]);
    score(&s, 1);
    tiny_fill_run(s.run, 0, lengths, s.key, 0);
    assert_int_equal(hs_run_forward(s.run, 0), HS_OK);
    assert_true(hs_run_losses(s.run, 0)[0] == s.loss[0]);
    const hs_tensor *t = NULL;
    int found = 0;
    for (int i = 0; i < hs_run_n_inputs(s.run, 0); i++)
        if (hs_run_input_at(s.run, 0, i, &t) == ids && !strcmp(t->name, "ids") && t->dtype == HS_I32)
            found++;
    assert_int_equal(found, 1);
    hs_run_free(s.run);
    hs_model_free(s.model);
    hs_device_close(s.dev);
}

// The first of two products, or both.
static void layers(hs_graph *g, const void *config)
{
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ 24, 256 });
    for (int i = 0; i < *(const int *)config; i++)
        x = hs_nn_linear(g, x, i ? "b" : "a", 256, 256, .std = 1);
    hs_output(g, x);
}

static void count_copies(const hs_thunk *t, double seconds, void *user)
{
    (void)seconds;
    *(int *)user += !strcmp(t->name, "derive");
}

// A plan that comes later brings copies of its own; those that are there are not made again before the values change.
static void test_later_copies(void **state)
{
    (void)state;
    enum { WIDE = 256 };
    int plan, copies = 0, first, all;
    hs_device *dev;
    hs_model *m;
    hs_run *run;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, NULL, 0, HS_ONEDNN_NO), HS_OK);
    dev->hook = count_copies, dev->hook_user = &copies;
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev, .micro_steps = HS_VALUES_STAY, .seed = 3 }), HS_OK);
    for (int i = 0; i < 2; i++) { // the first plan reads one of them, the second both
        hs_param *p;
        const hs_param_spec w = {
            .name = i ? "b.weight" : "a.weight", .init = HS_INIT_NORMAL, .std = 1, .n_dims = 2, .dim = { WIDE, WIDE }
        };
        const hs_param_spec bias = { .name = i ? "b.bias" : "a.bias", .role = HS_BIAS, .n_dims = 1, .dim = { WIDE } };
        assert_int_equal(hs_params_get(m->params, &w, &p), HS_OK);
        assert_int_equal(hs_params_get(m->params, &bias, &p), HS_OK);
    }
    assert_int_equal(hs_model_plan(m, HS_EVAL, layers, &(int){ 1 }, &plan), HS_OK);
    assert_int_equal(hs_model_alloc(m, true), HS_OK);
    assert_int_equal(hs_run_new(&run, m, &(hs_run_opts){ .mode = HS_SUBMIT_STEP }), HS_OK);
    hs_step_live(hs_run_in(run), 24, 1, 0);
    assert_int_equal(hs_run_forward(run, 0), HS_OK);
    first = copies;
    assert_true(first > 0 && first == m->params->n_derived);
    assert_int_equal(hs_run_forward(run, 0), HS_OK);
    assert_int_equal(copies, first);
    assert_int_equal(hs_model_plan(m, HS_EVAL, layers, &(int){ 2 }, &plan), HS_OK);
    assert_int_equal(hs_run_bind(run, plan), HS_OK);
    assert_int_equal(hs_run_forward(run, plan), HS_OK);
    all = m->params->n_derived;
    assert_true(all > first);
    assert_int_equal(copies, all);
    hs_params_changed(m->params);
    assert_int_equal(hs_run_forward(run, 0), HS_OK);
    assert_int_equal(copies, 2 * all);
    hs_run_free(run);
    hs_model_free(m);
    hs_device_close(dev);
}

static int waits;
static hs_lane *waited_for;
static hs_status (*cpu_wait)(hs_device *d, hs_lane *lane);
static hs_status count_wait(hs_device *d, hs_lane *lane)
{
    waits++, waited_for = lane;
    return cpu_wait(d, lane);
}

// Of a model that trains they are made once a step, under fp8 too, and whoever comes by the same lane waits for nothing.
static void test_copies_of_a_step(void **state)
{
    (void)state;
    enum { MICRO = 4 };
    static const int lengths[] = { 12, 7, 16, 0 };
    static const char *const policies[] = { "bf16", "fp8" };
    hs_lane *other = (hs_lane *)(uintptr_t)&waits; // which the CPU does not look into
    for (int p = 0; p < HS_COUNT(policies); p++) {
        tiny_gpt model;
        int copies = 0;
        hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = policies[p], .optim = "adamw", .micro_steps = MICRO });
        const int n = e->params->n_derived;
        assert_true(n >= 2 * 8); // of each layer's weights, for forward and for backward
        e->device->hook = count_copies, e->device->hook_user = &copies;
        cpu_wait = e->device->wait, e->device->wait = count_wait;
        for (int step = 0; step < 3; step++) {
            for (int m = 0; m < MICRO; m++) {
                tiny_fill(e, HS_TRAIN, lengths, (uint64_t)step, 4 * m);
                e->in->n_micro = MICRO, e->in->inv_count[0] = 1.0f / 140;
                hs_run_set_mode(e->run, m == 0 ? HS_SUBMIT_STEP : HS_SUBMIT_BULK); // the hook sees the first
                assert_int_equal(hs_engine_run(e, HS_TRAIN, (m == 0 ? HS_MICRO_FIRST : 0) | (m == MICRO - 1 ? HS_MICRO_LAST : 0)), HS_OK);
                assert_int_equal(copies, n * (step + 1));
            }
            assert_int_equal(hs_run_update(e->run), HS_OK);
        }
        waits = 0;
        assert_int_equal(hs_model_refresh(e->model, e->device, NULL, HS_SUBMIT_BULK), HS_OK); // the update made them old
        assert_int_equal(hs_model_refresh(e->model, e->device, NULL, HS_SUBMIT_BULK), HS_OK);
        assert_int_equal(waits, 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(hs_model_refresh(e->model, e->device, other, HS_SUBMIT_BULK), HS_OK);
            assert_int_equal(waits, 1);
            assert_null(waited_for);
        }
        e->device->wait = cpu_wait, e->device->hook = NULL;
        hs_engine_free(e);
    }
}

static size_t there;
static size_t free_bytes(hs_device *d)
{
    (void)d;
    return there;
}

static hs_status fits(hs_device *dev, hs_dtype low, bool releases, int runs, size_t bytes, hs_model_bytes *b)
{
    const tiny_gpt gpt = tiny_gpt_of(&(tiny_opts){ 0 });
    const hs_policy policy = { .low = low };
    const hs_model_opts o = { .device = dev, .policy = &policy, .micro_steps = HS_VALUES_STAY, .releases = releases, .runs = runs };
    hs_model *m;
    int plan;
    assert_int_equal(hs_model_new(&m, &o), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, tiny_gpt_model, &gpt, &plan), HS_OK);
    *b = hs_model_bytes_of(m);
    there = bytes;
    const hs_status st = hs_model_alloc(m, false);
    hs_model_free(m);
    return st;
}

// What is asked for is what is there at once: values that go are not beside all the copies that come.
static void test_memory_asked_for(void **state)
{
    (void)state;
    hs_device *dev;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, NULL, 0, HS_ONEDNN_NO), HS_OK);
    dev->free_bytes = free_bytes;
    static const hs_dtype dtypes[] = { HS_BF16, HS_F32 };
    for (int i = 0; i < 2; i++) {
        hs_model_bytes b;
        assert_int_equal(fits(dev, dtypes[i], false, 1, SIZE_MAX, &b), HS_OK);
        const size_t values = b.slabs.all + b.workspace + b.states + b.inputs, all = values + b.derived;
        assert_true(b.derived > 0);
        assert_int_equal(fits(dev, dtypes[i], false, 1, all, &b), HS_OK);
        assert_int_equal(fits(dev, dtypes[i], false, 1, all - 1, &b), HS_MEMORY);
        const size_t of_a_run = b.workspace + b.states + b.inputs;
        assert_int_equal(fits(dev, dtypes[i], false, 3, all + 2 * of_a_run, &b), HS_OK);
        assert_int_equal(fits(dev, dtypes[i], false, 3, all + 2 * of_a_run - 1, &b), HS_MEMORY);
        assert_non_null(strstr(hs_error(), "3 runs"));
        assert_int_equal(fits(dev, dtypes[i], true, 1, values - 1, &b), HS_MEMORY);
        if (dtypes[i] == HS_BF16 && dev->isa >= HS_ISA_AVX512BF16) // f32 values go first, and make room for all copies
            assert_int_equal(fits(dev, dtypes[i], true, 1, values, &b), HS_OK);
        else if (dtypes[i] == HS_F32) // one copy after the other; the embedding stays beside its own
            assert_int_equal(fits(dev, dtypes[i], true, 1, all - b.derived / 4, &b), HS_OK);
        void (*trim)(hs_device *, void *, size_t) = dev->trim;
        dev->trim = NULL; // nothing goes
        assert_int_equal(fits(dev, dtypes[i], true, 1, all - 1, &b), HS_MEMORY);
        dev->trim = trim;
    }
    hs_device_close(dev);
}

static void new_model(instance *s, const hs_policy *policy, bool passes)
{
    const tiny_gpt gpt = tiny_gpt_of(&(tiny_opts){ 0 });
    int plan;
    assert_int_equal(hs_open_device(&s->dev, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(
        hs_model_new(&s->model,
                     &(hs_model_opts){ .device = s->dev, .policy = policy, .micro_steps = HS_VALUES_STAY, .seed = 3, .passes = passes }),
        HS_OK);
    assert_int_equal(hs_model_plan(s->model, HS_EVAL, tiny_gpt_model, &gpt, &plan), HS_OK);
}

static float *stored(const hs_params *ps, const hs_param *p, bool turned)
{
    float *v = malloc(2 * p->n * sizeof *v), *t = v + p->n;
    const size_t rows = (size_t)p->dim[0], cols = p->n / rows;
    assert_non_null(v);
    hs_params_read(ps, ps->master, p, v);
    for (size_t i = 0; i < p->n; i++)
        t[i % cols * rows + i / cols] = v[i];
    if (turned)
        memcpy(v, t, p->n * sizeof *v);
    return v;
}

// Values that go as soon as they are loaded, some of them served turned, give the bits of values that stay.
static void check_passing(hs_dtype low)
{
    static instance stays, passes;
    const hs_policy policy = { .low = low };
    float *host[64] = { NULL };
    bool turns[64];
    int n_turns = 0;
    new_model(&stays, &policy, false);
    new_model(&passes, &policy, true);
    assert_int_equal(hs_model_alloc(stays.model, true), HS_OK);
    hs_params *from = stays.model->params, *ps = passes.model->params;
    assert_in_range(ps->n_params, 1, HS_COUNT(host));
    assert_int_equal(hs_model_turns(passes.model, turns), HS_OK);
    for (int i = 0; i < ps->n_params; i++) {
        turns[i] = turns[i] && n_turns++ % 2 == 0; // others are loaded
        if (turns[i])
            host[i] = stored(from, from->param[i], true);
    }
    assert_true(n_turns > 0);
    assert_int_equal(hs_params_adopt(ps, ps->master, passes.dev, (const void *const *)host), HS_OK);
    hs_params_turned(ps, turns);
    assert_int_equal(hs_model_alloc(passes.model, false), HS_OK);
    assert_true(ps->master->bytes < from->master->bytes / 2);
    assert_int_equal(hs_params_init_values(ps), HS_INTERNAL);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        float *v = stored(from, from->param[i], false);
        if (!host[i])
            assert_int_equal(hs_params_write(ps, ps->master, p, v), HS_OK);
        hs_params_refresh_low_of(ps, p);
        assert_int_equal(hs_model_value_is_there(passes.model, p), HS_OK);
        free(v);
    }
    hs_params_changed(ps);
    assert_int_equal(hs_model_release_values(passes.model), HS_OK);
    assert_int_equal(hs_model_value_is_there(passes.model, ps->param[0]), HS_INTERNAL);
    instance *const both[] = { &stays, &passes };
    for (int k = 0; k < 2; k++) {
        assert_int_equal(hs_run_new(&both[k]->run, both[k]->model, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
        both[k]->key = 7;
        score(both[k], 0);
    }
    assert_memory_equal(stays.logits[0], passes.logits[0], sizeof stays.logits[0]);
    assert_true(stays.loss[0] == passes.loss[0]);
    for (int k = 0; k < 2; k++) {
        hs_run_free(both[k]->run);
        hs_model_free(both[k]->model);
        hs_device_close(both[k]->dev);
    }
    for (int i = 0; i < HS_COUNT(host); i++)
        free(host[i]);
}

static void test_values_pass(void **state)
{
    (void)state;
    check_passing(HS_F32);
    check_passing(HS_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_at_once),     cmocka_unit_test(test_later_plan),  cmocka_unit_test(test_later_copies), cmocka_unit_test(test_copies_of_a_step),
        cmocka_unit_test(test_memory_asked_for), cmocka_unit_test(test_values_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

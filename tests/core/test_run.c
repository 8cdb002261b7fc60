// run: a step of several plans makes the gradients of one graph with all their losses, whatever they share; what a step did not touch
// stays; steps leave records that are read later.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/run/run.h"
#include "models/nn/nn.h"
#include "optim/optim.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, WIDTH = 16, CLASSES = 8 };
enum { A = 1, B = 2, APART = 4 }; // objectives; APART: B has a network of its own instead of A's trunk

// ---- a model of one or two objectives

static hs_tensor *trunk(hs_graph *g, hs_tensor *x, const char *name)
{
    return hs_gelu(g, hs_nn_linear(g, x, name, WIDTH, WIDTH, .std = 0.5f), HS_GELU_TANH);
}

static void objectives(hs_graph *g, const void *config)
{
    const int which = *(const int *)config;
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, WIDTH });
    hs_tensor *h = which & A || !(which & APART) ? trunk(g, x, "trunk") : NULL;
    if (which & A) {
        hs_tensor *y = hs_input(g, "ya", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ ROWS });
        hs_xent(g, hs_nn_linear(g, h, "a", WIDTH, CLASSES, .std = 0.5f), y, (hs_xent_attr){ .classes = CLASSES, .ignore = -1, .loss = 0 });
    }
    if (which & B) {
        hs_tensor *y = hs_input(g, "yb", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ ROWS });
        hs_tensor *k = which & APART ? trunk(g, x, "own") : h;
        hs_xent(g, hs_nn_linear(g, k, "b", WIDTH, CLASSES, .std = 0.5f), y, (hs_xent_attr){ .classes = CLASSES, .ignore = -1, .loss = 1 });
    }
}

typedef struct rig {
    hs_device *dev;
    hs_model *model;
    hs_run *run;
    hs_optim *optim;
    hs_params *ps;
} rig;

// With a training plan for each of the 0-terminated configs, in that order; all parameters are drawn by name, so their values agree.
static void rig_begin(rig *r, const int *configs, const char *policy, int micro_steps, const hs_grid *grid, hs_submit_mode mode)
{
    const hs_policy p = policy_named(policy);
    hs_optim_config c;
    int plan;
    assert_int_equal(hs_open_device(&r->dev, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(
        hs_model_new(&r->model, &(hs_model_opts){ .device = r->dev, .policy = &p, .micro_steps = micro_steps, .seed = 9, .grid = *grid }),
        HS_OK);
    for (int i = 0; configs[i]; i++) {
        assert_int_equal(hs_model_plan(r->model, HS_TRAIN, objectives, &configs[i], &plan), HS_OK);
        assert_int_equal(plan, i);
    }
    r->ps = r->model->params;
    c = hs_optim_preset(HS_PRESET_ADAMW);
    assert_int_equal(hs_optim_declare(&c, r->ps), HS_OK);
    assert_int_equal(hs_model_alloc(r->model, true), HS_OK);
    assert_int_equal(hs_run_new(&r->run, r->model, &(hs_run_opts){ .mode = mode }), HS_OK);
    c.weight_decay = 0.1, c.schedule.lr = 1e-2;
    assert_int_equal(hs_optim_new(&r->optim, &c, r->ps, &r->model->grid, r->dev), HS_OK);
    assert_int_equal(hs_run_set_update(r->run, hs_optim_segment(r->optim)), HS_OK);
}

static void rig_open(rig *r, const int *configs, const char *policy, int micro_steps)
{
    const hs_grid alone = hs_grid_self();
    rig_begin(r, configs, policy, micro_steps, &alone, HS_SUBMIT_BULK);
}

static void rig_close(rig *r)
{
    hs_run_free(r->run);
    hs_optim_free(r->optim);
    hs_model_free(r->model);
    hs_device_close(r->dev);
}

static void fill(hs_run *run, int plan, uint64_t key)
{
    float *x = hs_run_input(run, plan, "x");
    hs_random_normal(x, ROWS * WIDTH, key, 0, 0, 1);
    for (int b = 0; b < 2; b++) {
        int32_t *y = hs_run_input(run, plan, b ? "yb" : "ya");
        for (int i = 0; y && i < ROWS; i++)
            y[i] = (int32_t)(hs_random(key, (uint32_t)i, (uint32_t)b, 1, 0).v[0] % CLASSES);
    }
    hs_step_live(hs_run_in(run), ROWS, 1, 0);
    hs_run_in(run)->inv_count[0] = hs_run_in(run)->inv_count[1] = hs_inv_count(ROWS);
}

static void micro(rig *r, int plan, uint64_t key)
{
    fill(r->run, plan, key);
    assert_int_equal(hs_run_micro(r->run, plan, false), HS_OK);
}

static const float *grad_of(const rig *r, const char *name, size_t *n)
{
    const hs_param *p = hs_params_find(r->ps, name);
    assert_non_null(p);
    *n = p->n;
    return hs_slab_at(r->ps->grad, p);
}

// Relative distance of all gradients of `a` from those of the same name of `b`.
static double distance(const rig *a, const rig *b)
{
    double dd = 0, bb = 0;
    for (int i = 0; i < a->ps->n_params; i++) {
        size_t n;
        const float *x = hs_slab_at(a->ps->grad, a->ps->param[i]), *y = grad_of(b, a->ps->param[i]->name, &n);
        for (size_t k = 0; k < n; k++)
            dd += pow((double)x[k] - (double)y[k], 2), bb += pow((double)y[k], 2);
    }
    assert_true(bb > 0);
    return sqrt(dd / bb);
}

static double loss_sum(const rig *r, int plan) { return hs_run_losses(r->run, plan)[0] + hs_run_losses(r->run, plan)[1]; }

// Two plans, in either order, with weights they share, with none, and one that makes all beside one that makes some.
static void test_objectives(void **state)
{
    (void)state;
    static const struct {
        int joint, first, second;
        double tolerance;
    } cases[] = {
        { A | B, A, B, 1e-6 },              // a trunk both add to, heads that are one's own
        { A | B, B, A, 1e-6 },              //
        { A | B | APART, A, B | APART, 0 }, // nothing in common: the same bits
        { A | B | APART, B | APART, A, 0 }, //
    };
    for (int c = 0; c < HS_COUNT(cases); c++) {
        rig joint, apart;
        rig_open(&joint, (int[]){ cases[c].joint, 0 }, "fp32", 0);
        rig_open(&apart, (int[]){ cases[c].first, cases[c].second, 0 }, "fp32", 0);
        for (int step = 0; step < 4; step++) { // what the steps before left in the slabs must not come through
            micro(&joint, 0, (uint64_t)step);
            micro(&apart, 0, (uint64_t)step);
            micro(&apart, 1, (uint64_t)step);
            assert_true(distance(&joint, &apart) <= cases[c].tolerance);
            assert_float_equal(loss_sum(&joint, 0), loss_sum(&apart, 0) + loss_sum(&apart, 1), 1e-12);
            assert_int_equal(hs_run_update(joint.run), HS_OK);
            assert_int_equal(hs_run_update(apart.run), HS_OK);
            for (int i = 0; i < joint.ps->n_params; i++) {
                const hs_param *p = joint.ps->param[i], *q = hs_params_find(apart.ps, p->name);
                for (size_t k = 0; k < p->n; k++)
                    assert_true(fabsf(flat_get(joint.ps, "master", p, k) - flat_get(apart.ps, "master", q, k)) <=
                                (cases[c].tolerance ? 2e-4f : 0));
            }
        }
        rig_close(&joint);
        rig_close(&apart);
    }
}

// A plan that finds some of its gradients made and others not; and several micro-steps of each.
static void test_partly_made(void **state)
{
    (void)state;
    rig r, one;
    rig_open(&r, (int[]){ A, A | B | APART, 0 }, "fp32", 0);
    rig_open(&one, (int[]){ A | B | APART, 0 }, "fp32", 0);
    float *sum = calloc(flat_count(one.ps), sizeof *sum);
    micro(&r, 1, 77); // something in every gradient
    assert_int_equal(hs_run_update(r.run), HS_OK);
    hs_params_init_values(r.ps);
    micro(&r, 0, 5);
    micro(&r, 1, 6);
    micro(&r, 0, 7);
    micro(&r, 1, 8);
    for (uint64_t key = 5; key <= 8; key++) { // one after the other, added up outside
        hs_run_begin(one.run, 0);
        micro(&one, 0, key);
        for (int i = 0; i < one.ps->n_params; i++) {
            const hs_param *p = one.ps->param[i];
            const bool of_a = p->name[0] == 't' || p->name[0] == 'a';
            for (size_t k = 0; k < p->n && (of_a || key % 2 == 0); k++)
                sum[flat_at(one.ps, p) + k] += flat_get(one.ps, "grad", p, k);
        }
    }
    flat_write(one.ps, "grad", sum);
    assert_true(distance(&r, &one) < 1e-6);
    assert_int_equal(hs_run_state(r.run)->applied, 1);
    free(sum);
    rig_close(&r);
    rig_close(&one);
}

// A step in which only one objective was drawn moves nothing of the other: not by its old gradient, not by decay, not its moments.
static void test_untouched(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, (int[]){ A, B, 0 }, "bf16", 0);
    micro(&r, 0, 1);
    micro(&r, 1, 2);
    assert_int_equal(hs_run_update(r.run), HS_OK);
    float *w = flat_copy(r.ps, "master"), *m = flat_copy(r.ps, "adam.m"), *v = flat_copy(r.ps, "adam.v");
    micro(&r, 0, 3);
    assert_int_equal(hs_run_update(r.run), HS_OK);
    for (int i = 0; i < r.ps->n_params; i++) {
        const hs_param *p = r.ps->param[i];
        const size_t at = flat_at(r.ps, p), bytes = p->n * sizeof *w;
        const bool of_b = p->name[0] == 'b';
        assert_int_equal(memcmp(w + at, hs_slab_at(r.ps->master, p), bytes) == 0, of_b);
        assert_int_equal(memcmp(m + at, hs_slab_at(hs_params_slab(r.ps, "adam.m"), p), bytes) == 0, of_b);
        assert_int_equal(memcmp(v + at, hs_slab_at(hs_params_slab(r.ps, "adam.v"), p), bytes) == 0, of_b);
    }
    double squares = 0; // the norm is of the gradients of this step
    for (int i = 0; i < r.ps->n_params; i++)
        for (size_t k = 0; r.ps->param[i]->name[0] != 'b' && k < r.ps->param[i]->n; k++)
            squares += pow((double)flat_get(r.ps, "grad", r.ps->param[i], k), 2);
    assert_float_equal(hs_run_state(r.run)->grad_norm, sqrt(squares), 1e-6);
    free(w), free(m), free(v);
    rig_close(&r);
}

// Two ranks with half of the rows each: trunk and b are reduced by the plan that runs last, a by the run. Then steps of one of the plans
// alone. Losses on record are of all ranks, of the plans that ran.
enum { N_STEPS = 3 };
static const int ran[N_STEPS] = { A | B, A, B };
typedef struct reference {
    rig *whole;
    size_t bucket_bytes;
    hs_divide divide;
    double distance[2];
    double loss[2][N_STEPS][2]; // by rank, step and plan
} reference;

static hs_status half_step(rig *r, int plans, int rank)
{
    for (int i = 0; i < 2; i++) {
        if (!(plans >> i & 1))
            continue;
        fill(r->run, i, (uint64_t)rank + 1);
        hs_run_in(r->run)->inv_count[0] = hs_run_in(r->run)->inv_count[1] = hs_inv_count(2 * ROWS);
        HS_TRY(hs_run_micro(r->run, i, i == 1 || plans == A));
    }
    return HS_OK;
}

static hs_status half(const hs_grid *grid, void *arg, int rank)
{
    reference *ref = arg;
    rig r;
    int plan;
    const int configs[] = { A, B };
    HS_TRY(hs_open_device(&r.dev, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    HS_TRY(hs_model_new(
        &r.model, &(hs_model_opts){ .device = r.dev, .seed = 9, .grid = *grid, .bucket_bytes = ref->bucket_bytes, .divide = ref->divide }));
    for (int i = 0; i < 2; i++)
        HS_TRY(hs_model_plan(r.model, HS_TRAIN, objectives, &configs[i], &plan));
    r.ps = r.model->params;
    const hs_optim_config c = hs_optim_preset(HS_PRESET_SGD);
    HS_TRY(hs_optim_declare(&c, r.ps));
    HS_TRY(hs_model_alloc(r.model, true));
    HS_TRY(hs_run_new(&r.run, r.model, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }));
    HS_TRY(hs_optim_new(&r.optim, &c, r.ps, grid, r.dev));
    HS_TRY(hs_run_set_update(r.run, hs_optim_segment(r.optim)));
    for (int step = 0; step < N_STEPS; step++) {
        HS_TRY(half_step(&r, ran[step], rank));
        if (step == 0 && ref->divide == HS_DIVIDE_NONE)
            ref->distance[rank] = distance(&r, ref->whole);
        if (hs_run_micro(r.run, 0, true) != HS_INTERNAL)
            return HS_FAIL(INTERNAL, "a micro-step behind the last one was taken");
        HS_TRY(hs_run_update(r.run));
    }
    for (int step = 0; step < N_STEPS; step++) {
        const hs_step_record *record = hs_run_read_record(r.run);
        if (record->ran != (uint32_t)ran[step])
            return HS_FAIL(INTERNAL, "plans of step %d: %u", step, record->ran);
        ref->loss[rank][step][0] = record->loss[0][0], ref->loss[rank][step][1] = record->loss[1][1];
    }
    rig_close(&r);
    return HS_OK;
}

static void test_ranks(void **state)
{
    (void)state;
    rig whole;
    rig_open(&whole, (int[]){ A, B, 0 }, "fp32", 0);
    for (uint64_t key = 1; key <= 2; key++)
        for (int plan = 0; plan < 2; plan++) {
            fill(whole.run, plan, key);
            hs_run_in(whole.run)->inv_count[0] = hs_run_in(whole.run)->inv_count[1] = hs_inv_count(2 * ROWS);
            assert_int_equal(hs_run_micro(whole.run, plan, false), HS_OK);
        }
    const double loss[2] = { hs_run_losses(whole.run, 0)[0], hs_run_losses(whole.run, 1)[1] };
    reference first = { 0 };
    for (int way = 0; way < 6; way++) {
        reference ref = { .whole = &whole, .bucket_bytes = way & 1 ? 1024 : 0, .divide = (hs_divide)(way / 2) };
        if (ranks_run_grid(2, 1, half, &ref, NULL) != HS_OK)
            fail_msg("%s", hs_error());
        if (way == 0)
            first = ref;
        assert_true(ref.distance[0] < 1e-6 && ref.distance[1] == ref.distance[0]);
        assert_memory_equal(ref.loss[0], ref.loss[1], sizeof ref.loss[0]);
        for (int k = 0; k < 2; k++) {
            assert_float_equal(ref.loss[0][0][k], loss[k], 1e-9);
            assert_true(ref.loss[0][k + 1][k] < ref.loss[0][k][k]);    // it learned
            assert_true(ref.loss[0][k + 1][!k] == ref.loss[0][k][!k]); // of the step before, which is not added up again
        }
        if (ref.divide < HS_DIVIDE_GRADIENTS)
            assert_memory_equal(ref.loss, first.loss, sizeof first.loss);
        for (int step = 0; step < N_STEPS; step++) // sums over ranks before those over plans
            for (int k = 0; k < 2; k++)
                assert_float_equal(ref.loss[0][step][k], first.loss[0][step][k], 1e-6);
    }
    rig_close(&whole);
}

static void test_no_labels(void **state)
{
    (void)state;
    assert_true(hs_inv_count(0) == 0 && hs_inv_count(4) == 0.25f);
    rig r;
    rig_open(&r, (int[]){ A | B, 0 }, "fp32", 0);
    fill(r.run, 0, 1);
    int32_t *y = hs_run_input(r.run, 0, "yb");
    for (int i = 0; i < ROWS; i++)
        y[i] = -1;
    hs_run_in(r.run)->inv_count[1] = hs_inv_count(0);
    assert_int_equal(hs_run_micro(r.run, 0, true), HS_OK);
    assert_true(hs_run_losses(r.run, 0)[1] == 0 && hs_run_losses(r.run, 0)[0] > 0);
    size_t n;
    const float *g = grad_of(&r, "b.weight", &n);
    for (size_t k = 0; k < n; k++)
        assert_true(g[k] == 0);
    assert_int_equal(hs_run_update(r.run), HS_OK);
    assert_int_equal(hs_run_state(r.run)->found_inf, 0);
    rig_close(&r);
}

// ---- records

static void test_records(void **state)
{
    (void)state;
    enum { STEPS = 150, BAD = 141 };
    double loss[STEPS + 1];
    rig r;
    rig_open(&r, (int[]){ A, B, 0 }, "fp32", 0);
    assert_null(hs_run_read_record(r.run));
    for (int step = 1; step <= STEPS; step++) {
        const int plan = step % 2;
        fill(r.run, plan, (uint64_t)step);
        if (step == BAD || step == BAD + 1)
            *(float *)hs_run_input(r.run, plan, "x") = NAN;
        assert_int_equal(hs_run_micro(r.run, plan, true), HS_OK);
        assert_int_equal(hs_run_update(r.run), HS_OK);
        loss[step] = hs_run_losses(r.run, plan)[plan];
        if (step == 10) { // read once, then not for longer than the ring lasts
            for (int k = 1; k <= 10; k++)
                assert_int_equal(hs_run_read_record(r.run)->step, k);
            assert_null(hs_run_read_record(r.run));
        }
    }
    assert_int_equal(hs_run_unread(r.run), STEPS - 10);
    const hs_step_record *rec;
    for (int step = STEPS - HS_STEP_RECORDS + 1; (rec = hs_run_read_record(r.run)); step++) {
        const int plan = step % 2, set = hs_plan_losses(r.model->plan[plan]);
        const bool bad = step == BAD || step == BAD + 1;
        assert_int_equal(rec->step, step);
        assert_int_equal(rec->ran, 1 << set);
        assert_true(bad ? isnan(rec->loss[set][plan]) : rec->loss[set][plan] == loss[step]);
        assert_int_equal(rec->skipped, bad);
        assert_int_equal(rec->skipped_in_row, bad ? step - BAD + 1 : 0);
        assert_int_equal(rec->n_skipped, step < BAD ? 0 : step == BAD ? 1 : 2);
        assert_true(rec->scale == 1 && rec->next_scale == 1 && (bad || (rec->lr == 1e-2f && rec->grad_norm > 0)));
        if (bad)
            assert_true(rec->bad_param >= 0 && rec->bad_count > 0);
    }
    assert_int_equal(hs_run_unread(r.run), 0);
    rig_close(&r);
}

// Gradients lent from a run's workspace go with the run: the model has none until another run trains, which goes on with the same bits.
static void test_lent_gradients_go_with_the_run(void **state)
{
    (void)state;
    rig whole, parted;
    hs_optim_config c = hs_optim_preset(HS_PRESET_ADAMW);
    c.weight_decay = 0.1, c.schedule.lr = 1e-2;
    rig *const both[] = { &whole, &parted };
    for (int k = 0; k < 2; k++) {
        rig *r = both[k];
        rig_open(r, (int[]){ A | B, 0 }, "fp32", 1);
        assert_true(r->ps->grad->lent && r->ps->grad->p == hs_run_workspace(r->run, &(size_t){ 0 }));
        for (int step = 0; step < 4; step++) {
            if (k && step == 2) {
                const hs_step_state at = *hs_run_state(r->run);
                hs_run_free(r->run);
                hs_optim_free(r->optim);
                assert_null(r->ps->grad->p);
                assert_null(r->ps->grad->k);
                assert_int_equal(hs_run_new(&r->run, r->model, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
                assert_ptr_equal(r->ps->grad->p, hs_run_workspace(r->run, &(size_t){ 0 }));
                hs_run_set_state(r->run, &at);
                hs_run_begin(r->run, 2);
                assert_int_equal(hs_optim_new(&r->optim, &c, r->ps, &r->model->grid, r->dev), HS_OK);
                assert_int_equal(hs_run_set_update(r->run, hs_optim_segment(r->optim)), HS_OK);
            }
            fill(r->run, 0, (uint64_t)step);
            assert_int_equal(hs_run_micro(r->run, 0, true), HS_OK);
            assert_int_equal(hs_run_update(r->run), HS_OK);
        }
    }
    assert_true(flat_equal(whole.ps, parted.ps, "master"));
    assert_int_equal(hs_run_state(parted.run)->applied, 4);
    hs_run_free(parted.run); // and a model may be left without a run
    hs_optim_free(parted.optim);
    assert_null(parted.ps->grad->p);
    hs_model_free(parted.model);
    hs_device_close(parted.dev);
    rig_close(&whole);
}

static void test_refused(void **state)
{
    (void)state;
    rig r, once;
    hs_run *second;
    int plan;
    const int joint = A | B;
    rig_open(&r, (int[]){ A, B, 0 }, "fp32", 0);
    assert_int_equal(hs_run_new(&second, r.model, &(hs_run_opts){ 0 }), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "another run of this model trains already"));
    assert_int_equal(hs_run_update(r.run), HS_INTERNAL); // nothing made a gradient
    assert_int_equal(hs_run_forward(r.run, 0), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "plan 0 is for training"));
    assert_int_equal(hs_run_micro(r.run, 7, true), HS_INTERNAL);
    assert_int_equal(hs_run_bind(r.run, 7), HS_INTERNAL);
    assert_int_equal(hs_run_pass(r.run, 0, "z", r.run, 1, 0), HS_USAGE);
    hs_device *wide;
    assert_int_equal(hs_open_device(&wide, "cpu", 3, NULL, 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(hs_run_new(&second, r.model, &(hs_run_opts){ .device = wide }), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "a run of 3 threads of a model planned for 2"));
    hs_device_close(wide);
    assert_int_equal(hs_model_plan(r.model, HS_EVAL, objectives, &(int){ A | B | APART }, &plan),
                     HS_USAGE); // parameters that are not there
    assert_int_equal(plan, -1);
    rig_close(&r);
    rig_open(&once, (int[]){ A | B, 0 }, "fp32", 1);
    assert_int_equal(hs_model_plan(once.model, HS_TRAIN, objectives, &joint, &plan), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "micro_steps 1"));
    micro(&once, 0, 1);
    fill(once.run, 0, 2);
    assert_int_equal(hs_run_micro(once.run, 0, true), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "micro_steps"));
    assert_int_equal(hs_run_update(once.run), HS_OK);
    rig_close(&once);
    hs_device *dev; // sets of losses come to an end, plans do not
    hs_model *m;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, NULL, 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev }), HS_OK);
    for (int i = 0; i < HS_N_LOSS_SETS; i++)
        assert_int_equal(hs_model_plan(m, HS_EVAL, objectives, &joint, &plan), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, objectives, &joint, &plan), HS_USAGE);
    assert_int_equal(hs_model_plan(m, HS_EVAL, objectives, &(int){ 8 }, &plan), HS_OK); // no loss
    assert_int_equal(plan, HS_N_LOSS_SETS);
    hs_model_free(m);
    hs_device_close(dev);
}

// ---- what a device keeps of segments (captured graphs) goes with them

enum { SEGMENTS = 64 };
static struct keeper { // a device that keeps what it was given in graph mode
    hs_device *dev;
    hs_status (*submit)(hs_device *d, hs_lane *lane, const hs_segment *s, hs_submit_mode mode);
    const hs_thunk *kept[SEGMENTS];
    int n;
} keeper;

static hs_status keep_and_submit(hs_device *d, hs_lane *lane, const hs_segment *s, hs_submit_mode mode)
{
    int i = 0;
    while (i < keeper.n && keeper.kept[i] != s->thunk)
        i++;
    if (mode == HS_SUBMIT_GRAPH && i == keeper.n) {
        assert_true(keeper.n < SEGMENTS);
        keeper.kept[keeper.n++] = s->thunk;
    }
    return keeper.submit(d, lane, s, HS_SUBMIT_BULK);
}

static void forget_kept(hs_device *d, const hs_thunk *first)
{
    (void)d;
    for (int i = 0; i < keeper.n; i++)
        if (keeper.kept[i] == first)
            keeper.kept[i] = keeper.kept[--keeper.n];
}

static hs_status steps_of_rank(const hs_grid *grid, void *arg, int rank)
{
    (void)arg;
    rig r;
    rig_begin(&r, (int[]){ A, B, 0 }, "fp32", 4, grid, HS_SUBMIT_GRAPH);
    if (rank == 0) { // its own
        keeper = (struct keeper){ .dev = r.dev, .submit = r.dev->submit };
        r.dev->submit = keep_and_submit, r.dev->forget = forget_kept;
    }
    for (int step = 0; step < 4; step++) { // what the last plan did not make is reduced apart: other parameters each time
        hs_run_begin(r.run, (uint64_t)step);
        for (int k = 0; k < 2; k++) {
            fill(r.run, (step + k) % 2, 77);
            assert_int_equal(hs_run_micro(r.run, (step + k) % 2, k == 1), HS_OK);
        }
        assert_int_equal(hs_run_update(r.run), HS_OK);
        assert_int_equal(hs_run_wait(r.run), HS_OK);
    }
    if (rank == 0)
        assert_true(keeper.n > 3); // steps of two plans, reductions, the update
    hs_run_free(r.run);
    r.run = NULL;
    if (rank == 0)
        assert_int_equal(keeper.n, 0);
    rig_close(&r);
    return HS_OK;
}

static void devices_forget_what_goes(void **state)
{
    (void)state;
    assert_int_equal(ranks_run_grid(2, 1, steps_of_rank, NULL, NULL), HS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objectives),
        cmocka_unit_test(test_partly_made),
        cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_no_labels),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lent_gradients_go_with_the_run),
        cmocka_unit_test(devices_forget_what_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

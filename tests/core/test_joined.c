// Two calls that one kernel does (hs_kernels.join): on a CPU whose gelu has joint kernels with linear, which destroy what they may before
// they do the two apart. Losses and values keep their bits, with one thread or two, so bytes of the pair were nobody else's, and what lies
// between is written wherever somebody reads it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/cpu/device_cpu.h"
#include "core/cpu/lane.h"
#include "core/run/run.h"
#include "models/nn/nn.h"
#include "ops/attrs.h"
#include "optim/optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { ROWS = 40, LIVE = 33, WIDTH = 16, BLOCKS = 3, STEPS = 4 };

// ---- the model: blocks of two products with a gelu between them; in the last one others read what lies between, too; a gelu by erf

static hs_tensor *block(hs_graph *g, hs_tensor *x, const char *name, hs_gelu_kind kind, bool read_twice)
{
    const size_t mark = hs_push(g, "%s", name);
    hs_tensor *h = hs_nn_linear(g, x, "up", WIDTH, 4 * WIDTH), *y = hs_gelu(g, h, kind);
    y = read_twice ? hs_add(g, y, h) : y;
    y = hs_nn_linear(g, y, "down", 4 * WIDTH, WIDTH);
    hs_pop(g, mark);
    return hs_add(g, x, y);
}

static void model(hs_graph *g, const void *config)
{
    (void)config;
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, WIDTH });
    hs_tensor *target = hs_input(g, "target", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, 8 });
    x = hs_nn_linear(g, x, "in", WIDTH, WIDTH);
    for (int i = 0; i < BLOCKS; i++) {
        char name[8];
        snprintf(name, sizeof name, "h%d", i);
        hs_block_begin(g);
        x = block(g, x, name, HS_GELU_TANH, i == BLOCKS - 1);
        hs_block_end(g);
    }
    x = block(g, x, "erf", HS_GELU_ERF, false);
    hs_mse(g, hs_nn_linear(g, x, "out", WIDTH, 8), target, NULL, (hs_label_attr){ .labels = 8 });
}

// ---- kernels

static const hs_kernels *linear, *gelu; // the CPU's
static int forwards, backwards, alone;

// By one for all, between others.
static void destroy(hs_lane *lane, const hs_ref *r)
{
    hs_sync(lane);
    if (lane->id == 0 && r->p && !r->add)
        memset(r->p, 0xFF, (size_t)(r->rows * r->cols) * hs_dtype_bytes(r->dtype));
    hs_sync(lane);
}
static void forward(const hs_args *a, hs_lane *lane)
{
    assert_non_null(a->then);
    assert_ptr_equal(a->out[0].p, a->then->in[0].p);
    if (lane->id == 0)
        forwards++, alone += a->alone;
    destroy(lane, &a->then->out[0]); // before anything is read
    linear->fwd(a, lane);
    hs_sync(lane);
    gelu->fwd(a->then, lane);
    if (a->alone)
        destroy(lane, &a->out[0]);
}
static void backward(const hs_args *a, hs_lane *lane)
{
    assert_non_null(a->then);
    assert_ptr_equal(a->din[0].p, a->then->dout[0].p);
    assert_true(a->alone && !a->din[1].p && !a->din[2].p);
    backwards += lane->id == 0;
    destroy(lane, &a->then->din[0]);
    linear->bwd(a, lane);
    hs_sync(lane);
    gelu->bwd(a->then, lane);
    destroy(lane, &a->din[0]);
}
static const char *declines(const hs_node *n) { return ((const hs_gelu_attr *)n->attr)->kind == HS_GELU_TANH ? NULL : "only by tanh"; }
static const hs_join both = { "linear", "linear, gelu", forward, backward, declines };

typedef struct rig {
    hs_device *own, *dev;
    hs_kernels gelu;
    const hs_kernels *table[HS_N_OPS];
    const hs_kernels *const *tables[8];
    const char *names[8];
    hs_model *model;
    hs_run *run;
    hs_optim *optim;
} rig;

static const hs_kernels *kernels_of(const hs_device *d, const char *op)
{
    const int id = hs_device_op_index(d, op);
    int i = 0;
    while (!d->tables[i][id])
        i++;
    return d->tables[i][id];
}

static void open_device(rig *r, bool joint, int threads)
{
    OK(hs_open_device(&r->own, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    linear = kernels_of(r->own, "linear"), gelu = kernels_of(r->own, "gelu");
    r->gelu = *gelu, r->gelu.join = joint ? &both : NULL;
    r->table[hs_device_op_index(r->own, "gelu")] = &r->gelu;
    r->tables[0] = r->table, r->names[0] = "test";
    for (int i = 0; r->own->tables[i]; i++)
        r->tables[i + 1] = r->own->tables[i], r->names[i + 1] = r->own->table_names[i];
    const hs_device_opts o = {
        .threads = threads, .isa = r->own->isa, .ops = hs_ops, .n_ops = HS_N_OPS, .tables = r->tables, .table_names = r->names
    };
    OK(hs_device_open(&r->dev, hs_backend_cpu, &o));
}

typedef struct result {
    double loss[STEPS + 1]; // the last: of an evaluation
    float *value;
    size_t n;
    int thunks[2]; // of training, of evaluation
} result;

static result train(bool joint, hs_recompute recompute, hs_submit_mode mode, int threads)
{
    rig r = { 0 };
    result got = { .n = 0 };
    int plan[2];
    open_device(&r, joint, threads);
    OK(hs_model_new(&r.model, &(hs_model_opts){ .device = r.dev, .seed = 5, .recompute = recompute }));
    OK(hs_model_plan(r.model, HS_TRAIN, model, NULL, &plan[0]));
    OK(hs_model_plan(r.model, HS_EVAL, model, NULL, &plan[1]));
    hs_optim_config c = hs_optim_preset(HS_PRESET_ADAMW);
    c.weight_decay = 0, c.schedule.lr = 1e-2;
    OK(hs_optim_declare(&c, r.model->params));
    OK(hs_model_alloc(r.model, true));
    OK(hs_run_new(&r.run, r.model, &(hs_run_opts){ .mode = mode }));
    OK(hs_optim_new(&r.optim, &c, r.model->params, &r.model->grid, r.dev));
    OK(hs_run_set_update(r.run, hs_optim_segment(r.optim)));
    for (int s = 0; s <= STEPS; s++) {
        const int p = plan[s == STEPS];
        hs_random_normal(hs_run_input(r.run, p, "x"), LIVE * WIDTH, (uint64_t)s, 0, 0, 1);
        hs_random_normal(hs_run_input(r.run, p, "target"), LIVE * 8, (uint64_t)s, 1, 0, 1);
        hs_step_live(hs_run_in(r.run), LIVE, 1, 0);
        hs_run_in(r.run)->n_micro = 1, hs_run_in(r.run)->inv_count[0] = hs_inv_count(LIVE);
        OK(s < STEPS ? hs_run_micro(r.run, p, true) : hs_run_forward(r.run, p));
        got.loss[s] = hs_run_losses(r.run, p)[0];
        if (s < STEPS)
            OK(hs_run_update(r.run));
    }
    for (int i = 0; i < 2; i++)
        got.thunks[i] = hs_plan_info_of(r.model->plan[plan[i]])->n_thunks;
    got.n = flat_count(r.model->params), got.value = flat_copy(r.model->params, "master");
    hs_run_free(r.run), hs_optim_free(r.optim), hs_model_free(r.model);
    hs_device_close(r.dev), hs_device_close(r.own);
    return got;
}

static void same_bits(void **state)
{
    (void)state;
    static const hs_recompute kinds[] = { HS_RECOMPUTE_NONE, HS_RECOMPUTE_SELECTIVE, HS_RECOMPUTE_FULL };
    for (int k = 0; k < HS_COUNT(kinds); k++) {
        const bool twice = kinds[k] == HS_RECOMPUTE_FULL; // forward of blocks runs once more in backward
        result apart = train(false, kinds[k], HS_SUBMIT_BULK, 1);
        for (int how = 0; how < 3; how++) {
            forwards = backwards = alone = 0;
            result joint = train(true, kinds[k], how == 2 ? HS_SUBMIT_STEP : HS_SUBMIT_BULK, 1 + (how > 0));
            assert_memory_equal(apart.loss, joint.loss, sizeof apart.loss);
            assert_memory_equal(apart.value, joint.value, apart.n * sizeof *apart.value);
            assert_int_equal(forwards, STEPS * BLOCKS * (1 + twice) + BLOCKS);
            assert_int_equal(backwards, STEPS * (BLOCKS - 1)); // where it is read twice its gradient has two parts
            assert_int_equal(alone, BLOCKS - 1);               // of evaluation: in training backward reads it
            assert_int_equal(apart.thunks[0] - joint.thunks[0], BLOCKS * (1 + twice) + BLOCKS - 1);
            assert_int_equal(apart.thunks[1] - joint.thunks[1], BLOCKS);
            free(joint.value);
        }
        free(apart.value);
    }
}

static int watched, bad;
static char first_bad[64];
static hs_device *watched_on;
static void watch(const hs_thunk *t, double seconds, void *user)
{
    const char *operand;
    const int64_t live[HS_N_COUNTERS] = { [HS_COUNT_TOKENS] = LIVE, [HS_COUNT_SEQS] = 1 };
    (void)seconds, (void)user;
    watched += t->then != NULL;
    for (; t; t = t->then) {
        const bool now = hs_thunk_nonfinite(watched_on, live, t, &operand) != 0;
        if (now && !bad)
            snprintf(first_bad, sizeof first_bad, "%s %s %s", t->node->scope, t->name, operand);
        bad += now;
    }
}

// A bias of no number behind the product of a pair, or not.
static void set_bias(hs_params *ps, const char *name, float v)
{
    const hs_param *p = hs_params_find(ps, name);
    float bias[4 * WIDTH] = { [3] = v };
    assert_non_null(p);
    assert_int_equal(p->n, HS_COUNT(bias));
    OK(hs_params_write(ps, ps->master, p, bias));
}

// Step mode looks at what both wrote, each by its name, and not at what lies between where that need not be written.
static void looked_at(void **state)
{
    (void)state;
    rig r = { 0 };
    int plan;
    open_device(&r, true, 1);
    OK(hs_model_new(&r.model, &(hs_model_opts){ .device = r.dev, .seed = 5 }));
    OK(hs_model_plan(r.model, HS_EVAL, model, NULL, &plan));
    OK(hs_model_alloc(r.model, true));
    OK(hs_run_new(&r.run, r.model, &(hs_run_opts){ .mode = HS_SUBMIT_STEP }));
    watched_on = r.dev, r.dev->hook = watch;
    static const struct {
        const char *bias, *first;
    } cases[] = { { NULL, "" }, { "h0.up.bias", "h0 gelu y" }, { "h2.up.bias", "h2.up linear, gelu y" } };
    for (int c = 0; c < HS_COUNT(cases); c++) {
        float *x = hs_run_input(r.run, plan, "x");
        hs_random_normal(x, LIVE * WIDTH, 1, 0, 0, 1);
        memset(hs_run_input(r.run, plan, "target"), 0, LIVE * 8 * sizeof(float));
        if (cases[c].bias)
            set_bias(r.model->params, cases[c].bias, NAN);
        hs_step_live(hs_run_in(r.run), LIVE, 1, 0);
        hs_run_in(r.run)->n_micro = 1, hs_run_in(r.run)->inv_count[0] = hs_inv_count(LIVE);
        watched = bad = 0, first_bad[0] = '\0';
        OK(hs_run_forward(r.run, plan));
        OK(hs_run_wait(r.run));
        assert_int_equal(watched, BLOCKS);
        assert_string_equal(first_bad, cases[c].first);
        if (cases[c].bias)
            set_bias(r.model->params, cases[c].bias, 0);
    }
    hs_run_free(r.run), hs_model_free(r.model);
    hs_device_close(r.dev), hs_device_close(r.own);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits), cmocka_unit_test(looked_at) };
    return cmocka_run_group_tests_name("two calls by one kernel", tests, NULL, NULL);
}

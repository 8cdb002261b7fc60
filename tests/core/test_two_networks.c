// two networks: a step in which a student learns the logits of a teacher that has no gradients. The teacher is a model of its own, with
// an evaluation plan and a run; its output goes into an input of the student's training plan. The loss between the two is an op that
// stands in this file alone. What core/README.md says a new step must supply, it quotes from here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/cpu/device_cpu.h"
#include "core/cpu/rows.h"
#include "core/run/run.h"
#include "models/nn/nn.h"
#include "optim/optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 48, LIVE = 40, WIDTH = 16, CLASSES = 8 };

// ---- an op: cross-entropy with another network's softmax; the gradient takes the logits' bytes, as that of xent
//   loss[n] = -sum_c q[c] log p[c]     p, q = softmax of logits and teacher; dlogits = (p - q) * inv_count[0] * scale

static const char *soft_shape(hs_node *n)
{
    const hs_tensor *x = n->in[0], *t = n->in[1];
    if (x->n_dims != 2 || t->n_dims != 2 || x->dim[0] != t->dim[0] || x->dim[1] != t->dim[1] || x->ext != t->ext)
        return "logits and teacher must be [N, classes] both";
    hs_shape_rows(n->out[0], x, 0);
    hs_shape_like(n->out[1], x);
    return NULL;
}

static void softmax(const float *x, double *p, double *lse)
{
    double max = -INFINITY, sum = 0;
    for (int c = 0; c < CLASSES; c++)
        max = fmax(max, (double)x[c]);
    for (int c = 0; c < CLASSES; c++)
        sum += exp((double)x[c] - max);
    *lse = max + log(sum);
    for (int c = 0; c < CLASSES; c++)
        p[c] = exp((double)x[c] - *lse);
}

static void soft_forward(const hs_args *a, hs_lane *lane)
{
    const float factor = a->step->inv_count[0] * a->state->scale;
    hs_for_rows(n, a, &a->in[0], lane) {
        float x[CLASSES];
        double p[CLASSES], q[CLASSES], lse, unused, loss = 0;
        memcpy(x, hs_f32(a, 0) + n * CLASSES, sizeof x); // overwritten below
        softmax(x, p, &lse);
        softmax(hs_f32(a, 1) + n * CLASSES, q, &unused);
        for (int c = 0; c < CLASSES; c++) {
            loss += q[c] * (lse - (double)x[c]);
            if (a->out[1].p)
                hs_f32_out(a, 1)[n * CLASSES + c] = (float)(p[c] - q[c]) * factor;
        }
        hs_f32_out(a, 0)[n] = (float)loss;
    }
}

static const hs_op soft_xent = {
    .name = "soft_xent",
    .formula = "loss = -softmax(teacher) . log softmax(logits)",
    .flags = HS_OP_LOSS,
    .in = { { "logits", HS_AMP_F32, 0 }, { "teacher", HS_AMP_F32, HS_NO_GRAD } },
    .out = { { "loss", HS_AMP_F32, 0 }, { "dlogits", HS_AMP_KEEP, HS_IS_INPUT_0 } },
    .shape = soft_shape,
    .cpu = { .fwd = soft_forward, .fwd_part = HS_PART_ROWS },
};

// ---- the networks

static hs_tensor *network(hs_graph *g, int64_t hidden, float std)
{
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, WIDTH });
    hs_tensor *h = hs_gelu(g, hs_nn_linear(g, x, "hidden", WIDTH, hidden, .std = std), HS_GELU_TANH);
    return hs_nn_linear(g, h, "out", hidden, CLASSES, .std = std);
}

static void teacher(hs_graph *g, const void *config)
{
    (void)config;
    hs_output(g, network(g, 24, 0.6f));
}

static void student(hs_graph *g, const void *config)
{
    (void)config;
    hs_tensor *y = network(g, 64, 0.2f);
    hs_tensor *t = hs_input(g, "teacher", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, CLASSES });
    hs_emit(g, &soft_xent, NULL, (hs_tensor *[]){ y, t }, 2);
}

// ---- a device whose registry has one op more

typedef struct rig {
    hs_device *own, *dev;
    const hs_op *ops[HS_N_OPS + 1];
    const hs_kernels *table[HS_N_OPS + 1];
    const hs_kernels *const *tables[8];
    const char *names[8];
    hs_model *teacher, *student;
    hs_run *from, *to;
    hs_optim *optim;
} rig;

static void open_device(rig *r)
{
    assert_int_equal(hs_open_device(&r->own, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    memcpy(r->ops, hs_ops, sizeof hs_ops);
    r->ops[HS_N_OPS] = &soft_xent;
    r->table[HS_N_OPS] = &soft_xent.cpu;
    r->tables[0] = r->table, r->names[0] = "test";
    for (int i = 0; r->own->tables[i]; i++)
        r->tables[i + 1] = r->own->tables[i], r->names[i + 1] = r->own->table_names[i];
    const hs_device_opts o = {
        .threads = 2, .isa = r->own->isa, .ops = r->ops, .n_ops = HS_N_OPS + 1, .tables = r->tables, .table_names = r->names
    };
    assert_int_equal(hs_device_open(&r->dev, hs_backend_cpu, &o), HS_OK);
}

static void open_model(rig *r, hs_model **m, hs_run **run, hs_mode mode, hs_model_fn *fn, uint64_t seed)
{
    int plan;
    const hs_model_opts o = { .device = r->dev, .seed = seed, .micro_steps = mode == HS_TRAIN ? 0 : HS_VALUES_STAY };
    assert_int_equal(hs_model_new(m, &o), HS_OK);
    assert_int_equal(hs_model_plan(*m, mode, fn, NULL, &plan), HS_OK);
    if (mode == HS_TRAIN) {
        hs_optim_config c;
        c = hs_optim_preset(HS_PRESET_ADAMW);
        assert_int_equal(hs_optim_declare(&c, (*m)->params), HS_OK);
    }
    assert_int_equal(hs_model_alloc(*m, true), HS_OK);
    assert_int_equal(hs_run_new(run, *m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
}

static void rig_open(rig *r)
{
    hs_optim_config c;
    *r = (rig){ 0 };
    open_device(r);
    open_model(r, &r->teacher, &r->from, HS_EVAL, teacher, 7);
    open_model(r, &r->student, &r->to, HS_TRAIN, student, 8);
    c = hs_optim_preset(HS_PRESET_ADAMW);
    c.weight_decay = 0, c.schedule.lr = 1e-2;
    assert_int_equal(hs_optim_new(&r->optim, &c, r->student->params, &r->student->grid, r->dev), HS_OK);
    assert_int_equal(hs_run_set_update(r->to, hs_optim_segment(r->optim)), HS_OK);
}

static void rig_close(rig *r)
{
    hs_run_free(r->from), hs_run_free(r->to);
    hs_optim_free(r->optim);
    hs_model_free(r->teacher), hs_model_free(r->student);
    hs_device_close(r->dev), hs_device_close(r->own);
}

// A micro-step: both read the same rows; what the teacher says goes into the student's input.
static void micro(rig *r, uint64_t key, int n_micro)
{
    hs_run *const both[] = { r->from, r->to };
    for (int k = 0; k < 2; k++) {
        hs_random_normal(hs_run_input(both[k], 0, "x"), LIVE * WIDTH, key, 0, 0, 1);
        hs_step_live(hs_run_in(both[k]), LIVE, 1, 0);
    }
    hs_run_in(r->to)->n_micro = n_micro, hs_run_in(r->to)->inv_count[0] = hs_inv_count((int64_t)n_micro * LIVE);
    assert_int_equal(hs_run_forward(r->from, 0), HS_OK); // gradients of the student may be pending: another run
    assert_int_equal(hs_run_pass(r->to, 0, "teacher", r->from, 0, 0), HS_OK);
    assert_int_equal(hs_run_micro(r->to, 0, true), HS_OK);
}

static double entropy_of_teacher(const rig *r)
{
    const float *t = hs_run_input(r->to, 0, "teacher");
    double sum = 0;
    for (int n = 0; n < LIVE; n++) {
        double q[CLASSES], lse;
        softmax(t + n * CLASSES, q, &lse);
        for (int c = 0; c < CLASSES; c++)
            sum += q[c] * (lse - (double)t[n * CLASSES + c]);
    }
    return sum / LIVE;
}

// The least a cross-entropy can be is the teacher's own entropy: the student comes close to it, and the teacher does not move.
static void test_student_learns(void **state)
{
    (void)state;
    rig r;
    rig_open(&r);
    float *before = flat_copy(r.teacher->params, "master");
    assert_null(r.teacher->params->grad);
    double first = 0, excess = 0;
    for (int step = 0; step < 600; step++) {
        for (int m = 0; m < 2; m++)
            micro(&r, (uint64_t)(2 * step + m), 2);
        excess = hs_run_losses(r.to, 0)[0] - entropy_of_teacher(&r); // of the second half's rows, near enough
        if (!step)
            first = excess;
        assert_int_equal(hs_run_update(r.to), HS_OK);
    }
    if (!(first > 0.2 && fabs(excess) < 0.15 * first))
        fail_msg("the student is %g above the teacher's entropy, %g at first", excess, first);
    float *after = flat_copy(r.teacher->params, "master");
    assert_memory_equal(before, after, flat_count(r.teacher->params) * sizeof *before);
    free(before), free(after);
    rig_close(&r);
}

// The student's gradient is the slope of its loss against what the teacher said.
static void test_gradient(void **state)
{
    (void)state;
    rig r;
    rig_open(&r);
    micro(&r, 1, 1);
    hs_params *ps = r.student->params;
    const size_t n = flat_count(ps);
    float *grad = flat_copy(ps, "grad"), *saved = flat_copy(ps, "master"), *moved = flat_copy(ps, "master");
    double norm = 0, loss[2];
    for (size_t k = 0; k < n; k++)
        norm += (double)grad[k] * (double)grad[k];
    norm = sqrt(norm);
    assert_true(norm > 1e-3);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < n; i++)
            moved[i] = saved[i] + (float)((k ? -1e-2 : 1e-2) * (double)grad[i] / norm);
        flat_write(ps, "master", moved);
        hs_run_begin(r.to, 0);
        micro(&r, 1, 1);
        loss[k] = hs_run_losses(r.to, 0)[0];
    }
    assert_float_equal((loss[0] - loss[1]) / 2e-2, norm, 0.01 * norm);
    free(grad), free(saved), free(moved);
    rig_close(&r);
}

static void test_refused(void **state)
{
    (void)state;
    rig r;
    rig_open(&r);
    assert_int_equal(hs_run_pass(r.to, 0, "x", r.from, 0, 0), HS_USAGE);
    assert_non_null(strstr(hs_error(), "input x is f32 [48,16], what is passed to it f32 [48,8]"));
    assert_int_equal(hs_run_pass(r.to, 0, "teacher", r.from, 0, 1), HS_USAGE);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_student_learns), cmocka_unit_test(test_gradient),
                                        cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

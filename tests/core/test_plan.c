// The passes of a plan, on graphs built to be awkward: gradients against finite differences, casts, aliases, barriers, reductions.
#include "core/base/rng.h"
#include "core/graph/graph.h"
#include "core/plan/plan.h"
#include "models/nn/nn.h"
#include "ops/ops.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka needs the three above
#include <cmocka.h>

enum { N = 48, C = 16, CLASSES = 8 };

typedef void build_fn(hs_graph *g);

static hs_tensor *table(hs_graph *g)
{
    return hs_param_get(
        g, &(hs_param_spec){ .name = "table", .role = HS_EMBED, .init = HS_INIT_NORMAL, .std = 0.5f, .n_dims = 2, .dim = { 24, C } });
}

static hs_tensor *start(hs_graph *g)
{
    hs_tensor *ids = hs_input(g, "ids", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_tensor *w = table(g);
    return hs_embedding(g, w, ids, NULL, NULL);
}

static void finish(hs_graph *g, hs_tensor *x)
{
    hs_tensor *y = hs_input(g, "targets", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_xent(g, hs_nn_linear(g, x, "out", C, CLASSES, .std = 0.5f), y, (hs_xent_attr){ .classes = CLASSES, .ignore = -1 });
}

static void plain(hs_graph *g)
{
    hs_tensor *h = hs_nn_linear(g, start(g), "up", C, 32, .std = 0.3f);
    finish(g, hs_nn_linear(g, hs_gelu(g, h, HS_GELU_TANH), "down", 32, C, .std = 0.3f));
}

static void residual(hs_graph *g)
{
    hs_tensor *x = start(g);
    for (int i = 0; i < 3; i++) {
        const size_t mark = hs_push(g, "h%d", i);
        hs_tensor *h = hs_nn_linear(g, hs_nn_layernorm(g, x, "ln", 1e-5f), "fc", C, C, .std = 0.3f);
        x = hs_add(g, x, hs_gelu(g, h, HS_GELU_TANH));
        hs_pop(g, mark);
    }
    finish(g, hs_nn_layernorm(g, x, "ln_f", 1e-5f));
}

// One tensor twice into one op; one value into many.
static void twice(hs_graph *g)
{
    hs_tensor *x = start(g), *d = hs_add(g, x, x), *m = hs_mul(g, d, d);
    hs_tensor *s = hs_add(g, hs_mul(g, m, x), hs_add(g, d, hs_scale(g, x, 0.5f)));
    finish(g, hs_add(g, s, x));
}

// The sum's gradient is shared by x and ln(x); ln adds into x's while it still has to be read.
static void shared_sum(hs_graph *g)
{
    hs_tensor *x = start(g);
    hs_tensor *y = hs_add(g, x, hs_nn_layernorm(g, x, "a", 1e-5f));
    hs_tensor *z = hs_add(g, hs_nn_layernorm(g, y, "b", 1e-5f), y);
    finish(g, hs_add(g, z, hs_add(g, y, x)));
}

// A parameter used three times, one of them as the output layer's neighbour; a branch no loss depends on.
static void tied_and_dead(hs_graph *g)
{
    hs_tensor *ids = hs_input(g, "ids", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_tensor *w = table(g);
    hs_tensor *x = hs_embedding(g, w, ids, NULL, NULL);
    hs_tensor *s = hs_linear(g, hs_nn_layernorm(g, x, "ln", 1e-5f), w, NULL);
    hs_tensor *back = hs_nn_linear(g, hs_tanh(g, s), "back", 24, C, .std = 0.3f);
    hs_gelu(g, back, HS_GELU_TANH);
    finish(g, hs_add(g, back, hs_embedding(g, w, ids, NULL, NULL)));
}

// Two ways to the same loss: the logits kept, or one op whose backward kernel makes loss and gradients; its input has another reader.
static void end(hs_graph *g, bool fused)
{
    hs_tensor *y = hs_input(g, "targets", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_tensor *ids = hs_input(g, "ids", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N }), *w = table(g);
    hs_tensor *x = hs_nn_linear(g, hs_nn_layernorm(g, hs_embedding(g, w, ids, NULL, NULL), "ln", 1e-5f), "mid", C, C, .std = 0.5f);
    const hs_xent_attr first = { .classes = 23, .ignore = -1 }, second = { .classes = CLASSES, .ignore = -1, .loss = 1 };
    if (fused)
        hs_linear_xent(g, x, w, NULL, y, first);
    else
        hs_xent(g, hs_linear(g, x, w, NULL), y, first);
    hs_xent(g, hs_nn_linear(g, x, "out", C, CLASSES, .std = 0.5f), y, second);
}
static void kept_logits(hs_graph *g) { end(g, false); }
static void chunked_logits(hs_graph *g) { end(g, true); }

typedef struct rig {
    hs_device *dev;
    hs_params *ps;
    hs_plan *plan;
    hs_exec *exec;
    void *workspace, *inputs;
    hs_step_in in;
    hs_step_state state;
} rig;

static void rig_open_frozen(rig *r, build_fn *build, hs_mode mode, const hs_plan_opts *o, const hs_grid *grid, int threads, int bulk,
                            const char *frozen)
{
    *r = (rig){ 0 };
    assert_int_equal(hs_open_device(&r->dev, "cpu", threads, NULL, bulk, false), HS_OK);
    assert_int_equal(hs_params_new(&r->ps, 5, 0, 1), HS_OK);
    assert_int_equal(hs_params_freeze(r->ps, frozen, "freeze"), HS_OK);
    hs_graph *g;
    assert_int_equal(hs_graph_new(&g, r->ps, NULL, mode, grid), HS_OK);
    build(g);
    if (hs_graph_status(g))
        fail_msg("%s", hs_error());
    if (hs_plan_new(&r->plan, g, r->dev, o))
        fail_msg("%s", hs_error());
    hs_graph_free(g);
    const size_t bytes = hs_plan_bytes(r->plan), gradients = hs_plan_info_of(r->plan)->gradient_bytes;
    assert_int_equal(r->dev->alloc(r->dev, bytes, &r->workspace), HS_OK);
    memset(r->workspace, 0xFF, bytes); // NaN everywhere
    if (gradients)
        assert_int_equal(hs_params_lend(r->ps, r->ps->grad, r->workspace, gradients), HS_OK);
    assert_int_equal(hs_params_declare_low(r->ps, o->policy.low), HS_OK);
    assert_int_equal(hs_params_alloc(r->ps, NULL, true), HS_OK);
    const size_t input_bytes = HS_INPUT_SLOTS * hs_plan_info_of(r->plan)->input_bytes;
    assert_int_equal(r->dev->alloc(r->dev, input_bytes, &r->inputs), HS_OK);
    memset(r->inputs, 0xFF, input_bytes);
    const hs_exec_memory memory = { .workspace = r->workspace, .inputs = r->inputs, .in = &r->in, .state = &r->state };
    assert_int_equal(hs_exec_new(&r->exec, r->plan, &memory), HS_OK);
    r->state.scale = 1;
    r->in.n_micro = 1;
    r->in.seed = 3;
    hs_step_live(&r->in, N - 7, 1, 0);
    r->in.inv_count[0] = 1.0f / (N - 7);
    int32_t *ids = hs_exec_input(r->exec, "ids"), *targets = hs_exec_input(r->exec, "targets");
    for (int i = 0; i < N; i++)
        ids[i] = (i * 7) % 24, targets[i] = (i * 5) % CLASSES;
}

static void rig_open(rig *r, build_fn *build, hs_mode mode, const hs_plan_opts *o, const hs_grid *grid, int threads, int bulk)
{
    rig_open_frozen(r, build, mode, o, grid, threads, bulk, NULL);
}

static void rig_close(rig *r)
{
    hs_exec_free(r->exec);
    r->dev->release(r->dev, r->workspace, hs_plan_bytes(r->plan));
    r->dev->release(r->dev, r->inputs, HS_INPUT_SLOTS * hs_plan_info_of(r->plan)->input_bytes);
    hs_plan_free(r->plan);
    hs_params_free(r->ps);
    hs_device_close(r->dev);
}

static double run(rig *r, int which, hs_submit_mode mode)
{
    assert_int_equal(r->dev->submit(r->dev, NULL, hs_exec_micro(r->exec, which), mode), HS_OK);
    return r->state.loss[0][0];
}

static double loss_at(rig *r, const float *base, const float *direction, double eps)
{
    float *moved = flat_copy(r->ps, "master");
    for (size_t i = 0; i < flat_count(r->ps); i++)
        moved[i] = (float)(base[i] + eps * direction[i]);
    flat_write(r->ps, "master", moved);
    free(moved);
    return run(r, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK);
}

static void check_gradient(build_fn *build)
{
    rig r;
    rig_open(&r, build, HS_TRAIN, &(hs_plan_opts){ .policy = { .low = HS_F32 } }, NULL, 2, 0);
    const size_t n = flat_count(r.ps);
    float *base = flat_copy(r.ps, "master"), *dir = malloc(n * 4);
    run(&r, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK);
    float *grad = flat_copy(r.ps, "grad");
    for (int p = -1; p < r.ps->n_params; p++) { // all parameters together, then each alone
        hs_random_normal(dir, (int64_t)n, 17 + (uint64_t)p, 0, 0, 1);
        double dot = 0, norm = 0;
        for (size_t i = 0; i < n; i++) {
            const bool mine = p < 0 || (i >= flat_at(r.ps, r.ps->param[p]) && i < flat_at(r.ps, r.ps->param[p]) + r.ps->param[p]->n);
            dir[i] = mine ? dir[i] : 0;
            dot += (double)grad[i] * dir[i];
            norm += fabs((double)grad[i] * dir[i]);
        }
        const double eps = 1e-3, want = (loss_at(&r, base, dir, eps) - loss_at(&r, base, dir, -eps)) / (2 * eps);
        if (!(fabs(dot - want) <= 2e-2 * fabs(want) + 4e-3 * norm + 2e-4))
            fail_msg("%s: directional derivative %g, finite difference %g", p < 0 ? "all" : r.ps->param[p]->name, dot, want);
    }
    flat_write(r.ps, "master", base);
    // A second micro-step adds the same gradients.
    run(&r, HS_MICRO_FIRST, HS_SUBMIT_BULK);
    run(&r, HS_MICRO_LAST, HS_SUBMIT_BULK);
    float *twice_grad = flat_copy(r.ps, "grad");
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(twice_grad[i] - 2 * grad[i]) <= 2e-5f * fabsf(grad[i]) + 1e-6f);
    free(base), free(grad), free(dir), free(twice_grad);
    rig_close(&r);
}

static void gradients_agree_with_finite_differences(void **s)
{
    (void)s;
    build_fn *const all[] = { plain, residual, twice, shared_sum, tied_and_dead };
    for (int i = 0; i < HS_COUNT(all); i++)
        check_gradient(all[i]);
}

static void bits_do_not_depend_on_threads_or_submission(void **s)
{
    (void)s;
    build_fn *const all[] = { plain, residual, twice, shared_sum, tied_and_dead, chunked_logits };
    for (int b = 0; b < HS_COUNT(all); b++)
        for (int low = 0; low < 3; low++) {
            const hs_plan_opts o = { .policy = { .low = (hs_dtype[]){ HS_F32, HS_BF16, HS_F16 }[low] } };
            float *first = NULL;
            double loss = 0;
            for (int v = 0; v < 6; v++) {
                rig r;
                rig_open(&r, all[b], HS_TRAIN, &o, NULL, 1 + v % 3, v == 4 ? 3 : 0);
                const double l = run(&r, HS_MICRO_FIRST | HS_MICRO_LAST, v == 2 ? HS_SUBMIT_STEP : HS_SUBMIT_BULK);
                assert_true(isfinite(l));
                float *grad = flat_copy(r.ps, "grad");
                if (!first)
                    first = flat_copy(r.ps, "grad"), loss = l;
                assert_memory_equal(first, grad, flat_count(r.ps) * 4);
                assert_true(l == loss);
                free(grad);
                rig_close(&r);
            }
            free(first);
        }
}

static void unused(hs_graph *g)
{
    hs_tensor *x = start(g);
    hs_nn_linear(g, x, "no_loss_sees_this", C, C, .std = 0.3f);
    finish(g, x);
}

// A slab of their own or the bytes of activations that are no longer read: the same bits. What nothing writes keeps a slab.
static void gradients_where_activations_were(void **s)
{
    (void)s;
    build_fn *const all[] = { plain, residual, twice, shared_sum, tied_and_dead, chunked_logits, unused };
    for (int b = 0; b < HS_COUNT(all); b++)
        for (int v = 0; v < 6; v++) {
            hs_plan_opts o = { .policy = { .low = (hs_dtype[]){ HS_F32, HS_BF16, HS_F16 }[v / 2] } };
            rig apart, among;
            rig_open(&apart, all[b], HS_TRAIN, &o, NULL, 2, 0);
            o.single_run = true;
            rig_open(&among, all[b], HS_TRAIN, &o, NULL, 1 + v % 2, 0);
            const size_t bytes = hs_plan_info_of(among.plan)->gradient_bytes;
            assert_int_equal(hs_plan_info_of(apart.plan)->gradient_bytes, 0);
            assert_true(all[b] == unused ? bytes == 0 : bytes >= flat_count(among.ps) * sizeof(float));
            assert_true(hs_plan_bytes(among.plan) <= hs_plan_bytes(apart.plan) + bytes);
            if (all[b] == residual)
                assert_true(hs_plan_bytes(among.plan) < hs_plan_bytes(apart.plan) + bytes);
            for (int step = 0; step < 2; step++)
                assert_true(run(&apart, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK) ==
                            run(&among, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK));
            assert_true(flat_equal(apart.ps, among.ps, "grad"));
            rig_close(&apart);
            rig_close(&among);
        }
}

// The product of a loss that is its own root has the bits of the two ops it stands for, in training and in evaluation.
static void chunks_change_no_bits(void **s)
{
    (void)s;
    for (int low = 0; low < 3; low++)
        for (int mode = HS_TRAIN; mode <= HS_EVAL; mode++) {
            const hs_plan_opts o = { .policy = { .low = (hs_dtype[]){ HS_F32, HS_BF16, HS_F16 }[low] } };
            rig kept, chunked;
            rig_open(&kept, kept_logits, (hs_mode)mode, &o, NULL, 2, 0);
            rig_open(&chunked, chunked_logits, (hs_mode)mode, &o, NULL, 2, 0);
            for (int micro = 0; micro < 2; micro++) {
                run(&kept, micro ? HS_MICRO_LAST : HS_MICRO_FIRST, HS_SUBMIT_BULK);
                run(&chunked, micro ? HS_MICRO_LAST : HS_MICRO_FIRST, HS_SUBMIT_BULK);
            }
            assert_memory_equal(kept.state.loss, chunked.state.loss, sizeof kept.state.loss);
            assert_true(isfinite(kept.state.loss[0][0]) && kept.state.loss[0][0] > 0);
            assert_true(mode != HS_TRAIN || flat_equal(kept.ps, chunked.ps, "grad"));
            rig_close(&kept);
            rig_close(&chunked);
        }
}

// Any set of parameters may be frozen: the others get the bits they get beside it, wherever gradients lie, and less is kept and computed.
static void frozen_parameters_get_no_gradient(void **s)
{
    (void)s;
    build_fn *const all[] = { plain, residual, twice, shared_sum, tied_and_dead, chunked_logits };
    for (int b = 0; b < HS_COUNT(all); b++)
        for (int v = 0; v < 24; v++) {
            const hs_plan_opts o = { .policy = { .low = v % 2 ? HS_BF16 : HS_F32 }, .single_run = v % 3 == 0, .collectives = v % 3 == 1 };
            rig whole, part;
            rig_open(&whole, all[b], HS_TRAIN, &o, NULL, 2, 0);
            char patterns[1024] = "";
            int n_frozen = 0;
            for (int p = 0; p < whole.ps->n_params; p++)
                if (hs_mix2((uint64_t)(v + 1), (uint64_t)p) % 4 < (v < 12 ? 1u : 3u) && n_frozen + 1 < whole.ps->n_params) {
                    strcat(strcat(patterns, n_frozen ? "," : ""), whole.ps->param[p]->name);
                    n_frozen++;
                }
            rig_open_frozen(&part, all[b], HS_TRAIN, &o, NULL, 2, 0, patterns);
            assert_true(run(&whole, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK) ==
                        run(&part, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK));
            int frozen = 0;
            for (int p = 0; p < part.ps->n_params; p++) {
                const hs_param *q = part.ps->param[p];
                frozen += q->frozen;
                assert_int_equal(hs_slab_at(part.ps->grad, q) == NULL, q->frozen);
                if (!q->frozen)
                    assert_memory_equal(hs_slab_at(part.ps->grad, q), hs_slab_at(whole.ps->grad, q), q->n * sizeof(float));
            }
            assert_int_equal(frozen, n_frozen);
            assert_true(hs_plan_info_of(part.plan)->flops_backward <= hs_plan_info_of(whole.plan)->flops_backward);
            assert_true(n_frozen == 0 || part.ps->grad->bytes < whole.ps->grad->bytes);
            rig_close(&whole);
            rig_close(&part);
        }
}

// Two networks in one graph: the teacher's rows are looked up and run through its own layers, the student learns against them.
static hs_tensor *network(hs_graph *g, const char *name, hs_tensor *ids)
{
    const size_t mark = hs_push(g, "%s", name);
    hs_tensor *x = hs_embedding(g, table(g), ids, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        const size_t layer = hs_push(g, "h%d", i);
        hs_tensor *h = hs_nn_linear(g, hs_nn_layernorm(g, x, "ln", 1e-5f), "up", C, C, .std = 0.3f);
        x = hs_add(g, x, hs_nn_linear(g, hs_gelu(g, h, HS_GELU_TANH), "down", C, C, .std = 0.3f));
        hs_pop(g, layer);
    }
    hs_pop(g, mark);
    return x;
}

static void teacher_and_student(hs_graph *g)
{
    hs_tensor *ids = hs_input(g, "ids", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_tensor *taught = network(g, "teacher", ids);
    hs_tensor *learnt = network(g, "student", ids);
    finish(g, hs_add(g, taught, learnt)); // any function of both
}

static void a_teacher_has_no_gradients(void **s)
{
    (void)s;
    const hs_plan_opts o = { .policy = { .low = HS_BF16 } };
    rig both, student;
    rig_open(&both, teacher_and_student, HS_TRAIN, &o, NULL, 2, 0);
    rig_open_frozen(&student, teacher_and_student, HS_TRAIN, &o, NULL, 2, 0, "teacher");
    run(&both, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK);
    run(&student, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK);
    size_t taught = 0;
    for (int p = 0; p < student.ps->n_params; p++) {
        const hs_param *q = student.ps->param[p];
        assert_int_equal(q->frozen, !strncmp(q->name, "teacher.", 8));
        if (q->frozen)
            taught += q->n * sizeof(float);
        else
            assert_memory_equal(hs_slab_at(student.ps->grad, q), hs_slab_at(both.ps->grad, q), q->n * sizeof(float));
    }
    const hs_plan_info *a = hs_plan_info_of(both.plan), *b = hs_plan_info_of(student.plan);
    assert_true(taught > 0 && student.ps->grad->bytes <= both.ps->grad->bytes - taught);
    assert_true(b->value_bytes < a->value_bytes); // and none of its activations is kept
    assert_true(b->flops_forward == a->flops_forward && b->flops_backward < 0.6 * a->flops_backward);
    rig_close(&both);
    rig_close(&student);
}

static void casts_sink(void **s)
{
    (void)s;
    rig r;
    hs_plan_opts o = { .policy = { .low = HS_BF16 } };
    rig_open(&r, residual, HS_TRAIN, &o, NULL, 1, 0);
    assert_int_equal(hs_plan_info_of(r.plan)->n_casts, 0);
    rig_close(&r);

    assert_int_equal(hs_policy_override(&o.policy, "gelu=fp32, h2*=fp32"), HS_OK);
    assert_int_equal(o.policy.n_overrides, 2);
    rig_open(&r, residual, HS_TRAIN, &o, NULL, 1, 0);
    const hs_graph *g = hs_plan_graph(r.plan);
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_node *n = g->node[i];
        if (!strncmp(n->scope, "h2", 2) || !strcmp(n->op->name, "gelu"))
            assert_int_equal(n->in[0]->dtype, HS_F32);
        if (!strcmp(n->scope, "h0.fc"))
            assert_int_equal(n->in[0]->dtype, HS_BF16);
        if (!strcmp(n->op->name, "add"))
            assert_int_equal(n->out[0]->dtype, HS_F32);
    }
    rig_close(&r);

    o.policy = (hs_policy){ .low = HS_BF16, .residual_low = true };
    rig_open(&r, residual, HS_TRAIN, &o, NULL, 1, 0);
    g = hs_plan_graph(r.plan);
    for (int i = 0; i < g->n_nodes; i++)
        if (!strcmp(g->node[i]->op->name, "add") || !strcmp(g->node[i]->op->name, "embedding"))
            assert_int_equal(g->node[i]->out[0]->dtype, HS_BF16);
    rig_close(&r);

    hs_policy bad = { .low = HS_BF16 };
    assert_int_equal(hs_policy_override(&bad, "gelu"), HS_USAGE);
    assert_int_equal(hs_policy_override(&bad, "gelu=fp16"), HS_USAGE);
    assert_int_equal(hs_policy_override(&bad, "gelu=wide"), HS_USAGE);
}

static int n_reduced;
static void doubling(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)c, (void)l, (void)op;
    assert_int_equal(d, HS_F32);
    for (int64_t i = 0; i < n; i++)
        ((float *)buf)[i] *= 2;
    n_reduced++;
}

// A reduction says what it touches: every gradient lies in the operand of one, behind a barrier that its last writer is before.
static void check_reductions(const rig *r)
{
    const hs_segment *s = hs_exec_micro(r->exec, HS_MICRO_FIRST | HS_MICRO_LAST);
    for (int i = 0; i < r->ps->n_params; i++) {
        const hs_param *q = r->ps->param[i];
        const char *at = hs_slab_at(r->ps->grad, q), *end = at + q->n * sizeof(float);
        int covers = 0, written = -1, sync = -1;
        for (int k = 0; k < s->n; k++) {
            const hs_args *a = &s->thunk[k].args;
            sync = s->thunk[k].sync ? k : sync;
            for (int d = 0; d < HS_MAX_IN; d++)
                written = a->din[d].p == at ? k : written;
            if (strcmp(s->thunk[k].name, "gradient all-reduce") != 0)
                continue;
            assert_true(a->in[0].p && a->in[0].p == a->out[0].p && a->in[0].rows == a->out[0].rows && a->in[0].dtype == HS_F32);
            if (a->out[0].p <= at && end <= a->out[0].p + a->out[0].rows * (int64_t)sizeof(float)) {
                covers++;
                assert_true(written >= 0 && written < sync && sync <= k);
            }
        }
        assert_int_equal(covers, 1);
    }
}

// Every gradient goes through the dp reduction exactly once, in the last micro-step only.
static void gradients_are_reduced_once(void **s)
{
    (void)s;
    hs_comm dp = { .size = 1, .axis = "dp", .all_reduce = doubling };
    hs_grid grid = { &dp, &dp };
    rig r, plain_rig;
    rig_open(&plain_rig, residual, HS_TRAIN, &(hs_plan_opts){ .policy = { .low = HS_F32 } }, NULL, 2, 0);
    run(&plain_rig, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK);
    rig_open(&r, residual, HS_TRAIN, &(hs_plan_opts){ .policy = { .low = HS_F32 }, .collectives = true }, &grid, 2, 0);
    n_reduced = 0;
    run(&r, HS_MICRO_FIRST, HS_SUBMIT_BULK);
    assert_int_equal(n_reduced, 0);
    run(&r, HS_MICRO_FIRST | HS_MICRO_LAST, HS_SUBMIT_BULK);
    assert_true(n_reduced > 0);
    check_reductions(&r);
    float *reduced = flat_copy(r.ps, "grad"), *alone = flat_copy(plain_rig.ps, "grad");
    for (size_t i = 0; i < flat_count(r.ps); i++)
        assert_true(reduced[i] == 2 * alone[i]);
    free(reduced), free(alone);
    rig_close(&plain_rig);
    rig_close(&r);
}

static void reuse_and_elision_are_counted(void **s)
{
    (void)s;
    rig r;
    rig_open(&r, residual, HS_TRAIN, &(hs_plan_opts){ .policy = { .low = HS_BF16 } }, NULL, 2, 0);
    const hs_plan_info *i = hs_plan_info_of(r.plan);
    assert_true(i->value_bytes < i->value_bytes_unshared);
    assert_true(i->n_barriers < i->n_thunks);
    assert_true(i->flops_backward > i->flops_forward && i->flops_forward > 0);
    assert_int_equal(hs_plan_bytes(r.plan), i->value_bytes + i->scratch_bytes);
    rig_close(&r);
}

// Members of a team may still read one call's scratch while others are in the next call; where calls follow each other one area is enough.
static void scratch_alternates_in_a_team(void **s)
{
    (void)s;
    size_t bytes[4];
    for (int threads = 1; threads < 4; threads++) {
        rig r;
        rig_open(&r, residual, HS_TRAIN, &(hs_plan_opts){ .policy = { .low = HS_BF16 } }, NULL, threads, 0);
        bytes[threads] = hs_plan_info_of(r.plan)->scratch_bytes;
        rig_close(&r);
    }
    const size_t member = bytes[3] - bytes[2], shared = bytes[1] - member;
    assert_true(shared > 0);
    assert_int_equal(bytes[2], 2 * shared + 2 * member);
}

static void overwritten_logits(hs_graph *g)
{
    hs_tensor *x = start(g);
    hs_tensor *y = hs_input(g, "targets", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_tensor *logits = hs_nn_linear(g, x, "out", C, CLASSES);
    hs_output(g, logits);
    hs_xent(g, logits, y, (hs_xent_attr){ .classes = CLASSES, .ignore = -1 });
}

static void errors_name_the_scope(void **s)
{
    (void)s;
    hs_params *ps;
    hs_graph *g;
    hs_device *dev;
    hs_plan *plan;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, NULL, 0, false), HS_OK);
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_graph_new(&g, ps, NULL, HS_TRAIN, NULL), HS_OK);
    overwritten_logits(g);
    assert_int_equal(hs_plan_new(&plan, g, dev, &(hs_plan_opts){ .policy = { .low = HS_F32 } }), HS_USAGE);
    assert_non_null(strstr(hs_error(), "logits"));
    hs_graph_free(g);

    hs_params_free(ps);
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_graph_new(&g, ps, NULL, HS_TRAIN, NULL), HS_OK);
    hs_tensor *a = hs_input(g, "a", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ 4, 8 });
    hs_tensor *b = hs_input(g, "b", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ 4, 16 });
    const size_t mark = hs_push(g, "h3");
    hs_tensor *sum = hs_add(g, a, b);
    hs_pop(g, mark);
    hs_add(g, sum, sum); // silent: the first error stays
    assert_int_equal(hs_graph_status(g), HS_USAGE);
    assert_non_null(strstr(hs_error(), "h3: add"));
    assert_non_null(strstr(hs_error(), "[4,8]"));
    assert_non_null(strstr(hs_error(), "[4,16]"));
    hs_graph_free(g);
    hs_params_free(ps);
    hs_device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_agree_with_finite_differences),
        cmocka_unit_test(bits_do_not_depend_on_threads_or_submission),
        cmocka_unit_test(gradients_where_activations_were),
        cmocka_unit_test(chunks_change_no_bits),
        cmocka_unit_test(frozen_parameters_get_no_gradient),
        cmocka_unit_test(a_teacher_has_no_gradients),
        cmocka_unit_test(casts_sink),
        cmocka_unit_test(gradients_are_reduced_once),
        cmocka_unit_test(reuse_and_elision_are_counted),
        cmocka_unit_test(scratch_alternates_in_a_team),
        cmocka_unit_test(errors_name_the_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

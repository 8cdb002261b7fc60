// Passes over a trace: planning leaves it as the model function said it, a clone stands alone, and rewritten graphs keep order, scopes,
// sites and what they compute.
#include "core/graph/rewrite.h"
#include "core/plan/plan.h"
#include "ops/attrs.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs some of the above
#include <cmocka.h>

enum { N = 48, C = 16, CLASSES = 8 };

static hs_tensor *linear(hs_graph *g, hs_tensor *x, const char *name, int64_t out)
{
    hs_tensor *w = hs_param_get(
        g, &(hs_param_spec){
               .name = name, .role = HS_WEIGHT, .init = HS_INIT_NORMAL, .std = 0.4f, .n_dims = 2, .dim = { out, hs_tensor_width(x) } });
    return hs_linear(g, x, w, NULL);
}

// Two blocks with dropout, a softmax that wants f32 in the middle, a cast of the model's own, and a loss.
static void model(hs_graph *g)
{
    hs_tensor *ids = hs_input(g, "ids", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_tensor *where = hs_input(g, "where", HS_I32, HS_EXT_TOKENS, 2, (int64_t[]){ N, 2 });
    hs_tensor *targets = hs_input(g, "targets", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ N });
    hs_tensor *table = hs_param_get(
        g, &(hs_param_spec){ .name = "table", .role = HS_EMBED, .init = HS_INIT_NORMAL, .std = 0.5f, .n_dims = 2, .dim = { 24, C } });
    hs_tensor *x = hs_embedding(g, table, ids, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        const size_t mark = hs_push(g, "h%d", i);
        hs_tensor *h = hs_gelu(g, linear(g, x, "up", 32), HS_GELU_TANH);
        h = hs_dropout(g, linear(g, hs_softmax(g, h), "down", C), where, 0.25f);
        x = hs_add(g, x, hs_dropout(g, h, where, 0.1f));
        hs_pop(g, mark);
    }
    hs_output(g, x);
    hs_xent(g, linear(g, hs_cast(g, hs_mul(g, x, x), HS_F32), "out", CLASSES), targets, (hs_xent_attr){ .classes = CLASSES, .ignore = -1 });
}

typedef struct rig {
    hs_device *dev;
    hs_params *ps;
    hs_graph *trace;
} rig;

static void rig_open(rig *r)
{
    const hs_grid grid = hs_grid_self();
    assert_int_equal(hs_open_device(&r->dev, "cpu", 2, NULL, 0, false), HS_OK);
    assert_int_equal(hs_params_new(&r->ps, 5, 0, 1), HS_OK);
    assert_int_equal(hs_graph_new(&r->trace, r->ps, NULL, HS_TRAIN, &grid), HS_OK);
    model(r->trace);
    if (hs_graph_status(r->trace))
        fail_msg("%s", hs_error());
}

static void rig_close(rig *r)
{
    hs_graph_free(r->trace);
    hs_params_free(r->ps);
    hs_device_close(r->dev);
}

// Everything a graph says, sites too.
static char *dump(const hs_graph *g)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    assert_non_null(f);
    hs_graph_write(g, f);
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_node *n = g->node[i];
        assert_int_equal(n->id, i);
        fprintf(f, "%d %d %016llx low %d\n", n->id, n->trace, (unsigned long long)n->site, n->low);
        for (int k = 0; k < HS_MAX_OUT; k++)
            if (n->out[k])
                assert_true(n->out[k]->from == n && n->out[k]->slot == k);
    }
    for (int i = 0; i < g->n_tensors; i++) {
        assert_int_equal(g->tensor[i]->id, i);
        fprintf(f, "%d kind %d ext %d %s\n", i, g->tensor[i]->kind, g->tensor[i]->ext, g->tensor[i]->scope);
    }
    for (int i = 0; i < g->n_inputs; i++)
        fprintf(f, "input %d %s\n", g->input[i]->id, g->input[i]->name);
    fclose(f);
    return text;
}

// ---- planning

static hs_plan *planned(const rig *r, const char *policy, const char *overrides)
{
    hs_plan_opts o = { 0 };
    hs_plan *p;
    o.policy = policy_named(policy);
    assert_int_equal(hs_policy_override(&o.policy, overrides), HS_OK);
    if (hs_plan_new(&p, r->trace, r->dev, &o))
        fail_msg("%s", hs_error());
    return p;
}

static void one_trace_many_plans(void **s)
{
    (void)s;
    static const char *const policies[][2] = {
        { "fp32", "" }, { "bf16", "" }, { "fp16", "gelu=fp32, h1*=fp32" }, { "fp32", "" }, { "bf16", "" }
    };
    rig r;
    rig_open(&r);
    char *said = dump(r.trace), *first[HS_COUNT(policies)];
    hs_plan *plan[HS_COUNT(policies)];
    for (int i = 0; i < HS_COUNT(policies); i++) {
        plan[i] = planned(&r, policies[i][0], policies[i][1]);
        first[i] = dump(hs_plan_graph(plan[i]));
        char *now = dump(r.trace);
        assert_string_equal(said, now);
        free(now);
    }
    assert_string_equal(first[0], first[3]); // the same policy makes the same plan, whatever was planned between
    assert_string_equal(first[1], first[4]);
    assert_true(strcmp(first[0], first[1]) != 0 && strcmp(first[1], first[2]) != 0);
    assert_int_equal(hs_plan_bytes(plan[1]), hs_plan_bytes(plan[4]));
    assert_true(hs_plan_info_of(plan[1])->n_casts > 0);
    assert_true(hs_plan_bytes(plan[1]) < hs_plan_bytes(plan[0]));
    const hs_graph *g = hs_plan_graph(plan[2]);
    int found = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i]->trace >= 0) { // each node of the trace, its site and scope kept, or sunk
            const hs_node *of = r.trace->node[g->node[i]->trace];
            assert_true(of->op == g->node[i]->op && of->site == g->node[i]->site && of != g->node[i]);
            assert_string_equal(of->scope, g->node[i]->scope);
            found++;
        } else
            assert_string_equal(g->node[i]->op->name, "cast");
    assert_true(found >= r.trace->n_nodes - 1); // the model's own cast may sink
    for (int i = 0; i < HS_COUNT(policies); i++) {
        hs_plan_free(plan[i]);
        free(first[i]);
    }
    free(said);
    rig_close(&r);
}

// A plan lives on when its trace is gone.
static void a_plan_outlives_its_trace(void **s)
{
    (void)s;
    rig r;
    rig_open(&r);
    hs_plan *p = planned(&r, "bf16", "");
    char *before = dump(hs_plan_graph(p));
    hs_graph_free(r.trace);
    r.trace = NULL;
    char *after = dump(hs_plan_graph(p));
    assert_string_equal(before, after);
    free(before), free(after);
    hs_plan_free(p);
    rig_close(&r);
}

// ---- clones

static void a_clone_stands_alone(void **s)
{
    (void)s;
    rig r;
    rig_open(&r);
    hs_graph *c;
    assert_int_equal(hs_graph_clone(&c, r.trace), HS_OK);
    char *a = dump(r.trace), *b = dump(c);
    assert_string_equal(a, b);
    free(b);
    for (int i = 0; i < c->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            assert_true(!c->node[i]->in[k] || c->node[i]->in[k] != r.trace->node[i]->in[k]);
    // tracing goes on in either as it would have: the same sites, ids and parameters
    hs_tensor *const end[2] = { r.trace->output[0], c->output[0] };
    hs_graph *const both[2] = { r.trace, c };
    for (int i = 0; i < 2; i++) {
        const size_t mark = hs_push(both[i], "h1");
        hs_gelu(both[i], linear(both[i], end[i], "up", 32), HS_GELU_ERF);
        hs_pop(both[i], mark);
        assert_int_equal(hs_graph_status(both[i]), HS_OK);
    }
    char *a2 = dump(r.trace), *b2 = dump(c);
    assert_string_equal(a2, b2);
    assert_true(strcmp(a, a2) != 0);
    hs_graph_free(r.trace);
    r.trace = NULL;
    b = dump(c);
    assert_string_equal(b, b2);
    free(a), free(b), free(a2), free(b2);
    hs_graph_free(c);
    rig_close(&r);
}

// ---- rewriting

static hs_node *nth(const hs_rewrite *rw, const char *op, int nth)
{
    for (hs_node *n = hs_rewrite_first(rw); n; n = hs_rewrite_next(rw, n))
        if (!strcmp(n->op->name, op) && nth-- == 0)
            return n;
    fail_msg("no %s", op);
    return NULL;
}

static void order_readers_and_sites(void **s)
{
    (void)s;
    rig r;
    rig_open(&r);
    hs_graph *g;
    hs_rewrite *rw;
    assert_int_equal(hs_graph_clone(&g, r.trace), HS_OK);
    assert_int_equal(hs_rewrite_begin(&rw, g), HS_OK);
    hs_tensor *x = nth(rw, "embedding", 0)->out[0]; // read by h0.up and h0's sum
    assert_int_equal(hs_rewrite_n_readers(rw, x), 2);
    int seen = 0, operand;
    for (hs_node *n; (n = hs_rewrite_reader(rw, x, seen, &operand)); seen++)
        assert_true(n->in[operand] == x);
    assert_int_equal(seen, 2);
    hs_tensor *last = nth(rw, "add", 1)->out[0]; // both sides of the product, and the output
    assert_int_equal(hs_rewrite_n_readers(rw, last), 3);

    // in front of two nodes: a scale each
    hs_node *gelu = nth(rw, "gelu", 1), *softmax = nth(rw, "softmax", 1);
    hs_node *before = hs_rewrite_before(rw, gelu, hs_ops[HS_ID_scale], &(hs_scale_attr){ 2 }, gelu->in, 1);
    hs_node *behind = hs_rewrite_before(rw, softmax, hs_ops[HS_ID_scale], &(hs_scale_attr){ 3 }, gelu->out, 1);
    hs_rewrite_operand(rw, gelu, 0, before->out[0]);
    assert_true(hs_rewrite_next(rw, before) == gelu && hs_rewrite_next(rw, gelu) == behind && hs_rewrite_next(rw, behind) == softmax);
    assert_int_equal(hs_rewrite_n_readers(rw, gelu->out[0]), 2);
    hs_rewrite_operand(rw, softmax, 0, behind->out[0]);
    assert_int_equal(hs_rewrite_n_readers(rw, gelu->out[0]), 1);
    // on an edge: the other reader keeps reading x
    hs_node *up = nth(rw, "linear", 0), *on = hs_rewrite_edge(rw, up, 0, hs_ops[HS_ID_tanh], NULL);
    assert_true(up->in[0] == on->out[0] && on->in[0] == x && hs_rewrite_n_readers(rw, x) == 2);
    // replaced: readers and the graph's output follow
    hs_node *sum = nth(rw, "add", 1), *by = hs_rewrite_replace(rw, sum, hs_ops[HS_ID_mul], NULL, sum->in, 2);
    assert_true(g->output[0] == by->out[0] && hs_rewrite_n_readers(rw, by->out[0]) == 3 && hs_rewrite_n_readers(rw, last) == 0);
    // removed: a dropout's readers read what it read
    hs_node *drop = nth(rw, "dropout", 0);
    const int n_drops = 4;
    hs_rewrite_readers(rw, drop->out[0], drop->in[0]);
    hs_rewrite_remove(rw, drop);
    assert_int_equal(hs_rewrite_end(rw), HS_OK);

    assert_int_equal(g->n_nodes, r.trace->n_nodes + 3 - 1);
    free(dump(g)); // ids, producers and slots agree
    const char *const scopes[] = { "h1", "h1", "h0", "h1" };
    const hs_node *const added[] = { before, behind, on, by };
    for (int i = 0; i < HS_COUNT(added); i++) {
        assert_string_equal(added[i]->scope, scopes[i]);
        for (int k = 0; k < i; k++)
            assert_true(added[i]->site != added[k]->site);
        for (int k = 0; k < g->n_nodes; k++)
            assert_true(g->node[k] == added[i] || g->node[k]->site != added[i]->site);
    }
    assert_true(by->trace == sum->trace && by->site == sum->site && on->trace == -1);
    int drops = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_node *n = g->node[i];
        drops += !strcmp(n->op->name, "dropout");
        if (n->trace >= 0)
            assert_true(n->site == r.trace->node[n->trace]->site);
        for (int k = 0; k < HS_MAX_IN; k++) // everything is made before it is read
            assert_true(!n->in[k] || !n->in[k]->from || n->in[k]->from->id < i);
    }
    assert_int_equal(drops, n_drops - 1);
    hs_graph_free(g);
    rig_close(&r);
}

static uint64_t site_of_inserted(const hs_graph *trace, bool others)
{
    hs_graph *g;
    hs_rewrite *rw;
    assert_int_equal(hs_graph_clone(&g, trace), HS_OK);
    assert_int_equal(hs_rewrite_begin(&rw, g), HS_OK);
    for (int i = 0; others && i < 3; i++)
        assert_non_null(hs_rewrite_edge(rw, nth(rw, "linear", i), 0, hs_ops[HS_ID_tanh], NULL));
    const uint64_t site = hs_rewrite_edge(rw, nth(rw, "gelu", 1), 0, hs_ops[HS_ID_tanh], NULL)->site;
    assert_int_equal(hs_rewrite_end(rw), HS_OK);
    hs_graph_free(g);
    return site;
}

static void sites_depend_on_their_place_alone(void **s)
{
    (void)s;
    rig r;
    rig_open(&r);
    assert_true(site_of_inserted(r.trace, false) == site_of_inserted(r.trace, true));
    rig_close(&r);
}

static void errors_name_the_node(void **s)
{
    (void)s;
    rig r;
    rig_open(&r);
    for (int what = 0; what < 2; what++) {
        hs_graph *g;
        hs_rewrite *rw;
        assert_int_equal(hs_graph_clone(&g, r.trace), HS_OK);
        assert_int_equal(hs_rewrite_begin(&rw, g), HS_OK);
        hs_node *n = nth(rw, "gelu", 1);
        if (what == 0)
            hs_rewrite_remove(rw, n); // the softmax reads it
        else
            assert_null(hs_rewrite_before(rw, n, hs_ops[HS_ID_add], NULL, (hs_tensor *[]){ n->in[0], g->output[0] }, 2)); // shapes
        const hs_status st = hs_rewrite_end(rw);
        assert_int_equal(st, what ? HS_USAGE : HS_INTERNAL);
        if (strncmp(hs_error(), "h1: ", 4) != 0 || !strstr(hs_error(), what ? "add" : "gelu"))
            fail_msg("\"%s\" does not say where", hs_error());
        hs_graph_free(g);
    }
    // a trace that has failed cannot be cloned, and says why
    hs_tensor *narrow = hs_input(r.trace, "narrow", HS_F32, HS_EXT_FIXED, 2, (int64_t[]){ 3, 5 });
    hs_add(r.trace, narrow, r.trace->output[0]);
    hs_graph *c;
    assert_int_equal(hs_graph_clone(&c, r.trace), HS_USAGE);
    assert_non_null(strstr(hs_error(), "[3,5]"));
    rig_close(&r);
}

// ---- what it computes

static void run(const rig *r, const hs_graph *g, double *loss, float **grad)
{
    hs_plan *plan;
    hs_exec *exec;
    void *workspace, *inputs;
    hs_step_in in = { .n_micro = 1, .seed = 3 };
    hs_step_state state = { .scale = 1 };
    if (hs_plan_new(&plan, g, r->dev, &(hs_plan_opts){ .policy = { .low = HS_F32 } }))
        fail_msg("%s", hs_error());
    if (!r->ps->allocated)
        assert_int_equal(hs_params_alloc(r->ps, NULL, true), HS_OK);
    assert_int_equal(r->dev->alloc(r->dev, hs_plan_bytes(plan), &workspace), HS_OK);
    memset(workspace, 0xFF, hs_plan_bytes(plan));
    const size_t input_bytes = HS_INPUT_SLOTS * hs_plan_info_of(plan)->input_bytes;
    assert_int_equal(r->dev->alloc(r->dev, input_bytes, &inputs), HS_OK);
    assert_int_equal(hs_exec_new(&exec, plan, &(hs_exec_memory){ .workspace = workspace, .inputs = inputs, .in = &in, .state = &state }),
                     HS_OK);
    hs_step_live(&in, N - 7, 1, 0);
    in.inv_count[0] = 1.0f / (N - 7);
    int32_t *ids = hs_exec_input(exec, "ids"), *targets = hs_exec_input(exec, "targets"), *where = hs_exec_input(exec, "where");
    for (int i = 0; i < N; i++)
        ids[i] = (i * 7) % 24, targets[i] = (i * 5) % CLASSES, where[2 * i] = i / 12, where[2 * i + 1] = i % 12;
    assert_int_equal(r->dev->submit(r->dev, NULL, hs_exec_micro(exec, HS_MICRO_FIRST | HS_MICRO_LAST), HS_SUBMIT_BULK), HS_OK);
    *loss = state.loss[0][0];
    *grad = flat_copy(r->ps, "grad");
    hs_exec_free(exec);
    r->dev->release(r->dev, workspace, hs_plan_bytes(plan));
    r->dev->release(r->dev, inputs, input_bytes);
    hs_plan_free(plan);
}

// A product by one on every edge of a float changes no bit, dropout's masks included; a rewritten gelu does.
static void rewritten_graphs_compute_what_they_say(void **s)
{
    (void)s;
    rig r;
    rig_open(&r);
    hs_graph *same, *other;
    hs_rewrite *rw;
    assert_int_equal(hs_graph_clone(&same, r.trace), HS_OK);
    assert_int_equal(hs_graph_clone(&other, r.trace), HS_OK);
    assert_int_equal(hs_rewrite_begin(&rw, same), HS_OK);
    for (hs_node *n = hs_rewrite_first(rw); n; n = hs_rewrite_next(rw, n))
        for (int k = 0; k < HS_MAX_IN && n->trace >= 0; k++)
            if (n->in[k] && n->in[k]->kind == HS_VALUE && hs_dtype_is_float(n->in[k]->dtype))
                assert_non_null(hs_rewrite_edge(rw, n, k, hs_ops[HS_ID_scale], &(hs_scale_attr){ 1 }));
    assert_int_equal(hs_rewrite_end(rw), HS_OK);
    assert_true(same->n_nodes > r.trace->n_nodes + 10);
    assert_int_equal(hs_rewrite_begin(&rw, other), HS_OK);
    for (hs_node *n = hs_rewrite_first(rw), *next; n; n = next) {
        next = hs_rewrite_next(rw, n);
        if (n->op == hs_ops[HS_ID_gelu])
            assert_non_null(hs_rewrite_replace(rw, n, hs_ops[HS_ID_tanh], NULL, n->in, 1));
    }
    assert_int_equal(hs_rewrite_end(rw), HS_OK);

    double loss[3];
    float *grad[3];
    run(&r, r.trace, &loss[0], &grad[0]);
    run(&r, same, &loss[1], &grad[1]);
    run(&r, other, &loss[2], &grad[2]);
    assert_true(loss[0] > 0 && loss[0] == loss[1] && loss[0] != loss[2]);
    assert_memory_equal(grad[0], grad[1], flat_count(r.ps) * sizeof(float));
    for (int i = 0; i < 3; i++)
        free(grad[i]);
    hs_graph_free(same);
    hs_graph_free(other);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_trace_many_plans),
        cmocka_unit_test(a_plan_outlives_its_trace),
        cmocka_unit_test(a_clone_stands_alone),
        cmocka_unit_test(order_readers_and_sites),
        cmocka_unit_test(sites_depend_on_their_place_alone),
        cmocka_unit_test(errors_name_the_node),
        cmocka_unit_test(rewritten_graphs_compute_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

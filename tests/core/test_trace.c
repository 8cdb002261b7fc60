// A trace of real steps: every member has a record of every thunk, in order and without gaps, their times fit into what the
// step took, and a device without one writes none and computes the same bits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/graph/params.h"
#include "core/run/trace.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <string.h>

enum { CAPACITY = 4096 };

typedef struct traced {
    tiny_gpt model;
    hs_engine *engine;
    hs_trace *trace;
} traced;

static void open_at(traced *t, int threads, hs_submit_mode mode, int bulk_size)
{
    static const int lengths[] = { 20, 7, 13, 0 };
    t->engine = tiny_engine(&t->model, &(tiny_opts){ .optim = "adamw", .policy = "bf16", .threads = threads, .mode = mode });
    t->engine->device->bulk_size = bulk_size;
    assert_int_equal(hs_trace_new(&t->trace, threads, CAPACITY), HS_OK);
    tiny_fill(t->engine, HS_TRAIN, lengths, 1, 0); // 40 of 64 tokens, 3 of 8 sequences
    t->engine->in->inv_count[0] = 1.0f / 40;
}

static void close_it(traced *t)
{
    hs_trace_free(t->trace);
    hs_engine_free(t->engine);
}

static void step(traced *t)
{
    assert_int_equal(hs_engine_run(t->engine, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
    assert_int_equal(hs_run_update(t->engine->run), HS_OK);
}

// Walks a member's records from *i: the thunks of a segment in order, closings of regions in between.
static int64_t check_segment(const traced *t, int member, const hs_segment *s, int64_t *i, int64_t began, int64_t ended)
{
    int64_t sum = 0;
    int next = 0;
    bool closed = false;
    const hs_trace_record *before = NULL;
    for (; next < s->n || !closed; (*i)++) {
        const hs_trace_record *r = hs_trace_at(t->trace, member, *i);
        if (!r) // a thunk without a region closes none
            break;
        assert_true(r->arrived >= began && r->start >= r->arrived && r->end >= r->start && r->end <= ended);
        assert_true(r->waited >= 0 && r->waited <= r->end - r->start);
        if (before && before->thunk && hs_run_mode(t->engine->run) == HS_SUBMIT_BULK)
            assert_true(r->arrived == before->end); // no gap within a region
        closed = !r->thunk;
        if (r->thunk)
            assert_ptr_equal(r->thunk, &s->thunk[next++]);
        if (r->thunk && r->thunk->node && r->thunk->node->op->name == r->thunk->name && !strcmp(r->thunk->name, "linear"))
            assert_float_equal(r->live, 40.0 / 64, 1e-9);
        sum += r->end - r->arrived;
        before = r;
    }
    assert_int_equal(next, s->n);
    return sum;
}

static void check_step(int threads, hs_submit_mode mode, int bulk_size)
{
    traced t;
    int64_t at[8] = { 0 };
    open_at(&t, threads, mode, bulk_size);
    step(&t);
    for (int m = 0; m < threads; m++)
        assert_int_equal(hs_trace_count(t.trace, m), 0); // nobody asked
    for (int k = 0; k < 3; k++) {
        t.engine->device->trace = t.trace;
        const int64_t began = hs_now_ns();
        step(&t);
        const int64_t ended = hs_now_ns();
        t.engine->device->trace = NULL;
        step(&t);
        for (int m = 0; m < threads; m++) {
            const hs_segment *micro = hs_exec_micro(hs_engine_exec(t.engine, HS_TRAIN), HS_MICRO_FIRST | HS_MICRO_LAST);
            int64_t sum = check_segment(&t, m, micro, &at[m], began, ended);
            sum += check_segment(&t, m, hs_run_update_segment(t.engine->run), &at[m], began, ended);
            assert_true(sum > 0 && sum <= ended - began);
            assert_int_equal(at[m], hs_trace_count(t.trace, m));
            assert_null(hs_trace_at(t.trace, m, at[m]));
        }
    }
    close_it(&t);
}

static void test_bulk(void **state)
{
    (void)state;
    check_step(1, HS_SUBMIT_BULK, 0);
    check_step(2, HS_SUBMIT_BULK, 0);
    check_step(3, HS_SUBMIT_BULK, 0);
}

static void test_pieces(void **state)
{
    (void)state;
    check_step(2, HS_SUBMIT_BULK, 7);
    check_step(2, HS_SUBMIT_STEP, 0);
}

static void test_same_bits(void **state)
{
    (void)state;
    traced a, b;
    open_at(&a, 2, HS_SUBMIT_BULK, 0);
    open_at(&b, 2, HS_SUBMIT_BULK, 0);
    b.engine->device->trace = b.trace;
    for (int k = 0; k < 3; k++)
        step(&a), step(&b);
    assert_true(flat_equal(a.engine->params, b.engine->params, "master"));
    close_it(&a);
    close_it(&b);
}

// What a thunk costs is known: products by their shape, the optimizer by its slabs.
static void test_cost(void **state)
{
    (void)state;
    traced t;
    open_at(&t, 1, HS_SUBMIT_BULK, 0);
    const hs_segment *s = hs_optim_segment(t.engine->optim), *micro = hs_exec_micro(hs_engine_exec(t.engine, HS_TRAIN), HS_MICRO_FIRST);
    const double n = (double)t.engine->params->n_trained;
    double flops = 0;
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->thunk[i].name, "optim.adamw"))
            assert_float_equal(s->thunk[i].cost.bytes, 30 * n, 0.5);
    for (int i = 0; i < micro->n; i++)
        flops += micro->thunk[i].cost.flops;
    const hs_plan_info *info = hs_plan_info_of(hs_engine_plan(t.engine, HS_TRAIN));
    assert_float_equal(flops, info->flops_forward + info->flops_backward, 1);
    close_it(&t);
}

static void test_ring(void **state)
{
    (void)state;
    hs_trace *t;
    assert_int_equal(hs_trace_new(&t, 2, 4), HS_OK);
    assert_int_equal(hs_trace_members(t), 2);
    assert_null(hs_trace_at(t, 0, 0));
    for (int i = 0; i < 10; i++)
        hs_trace_add(t, 1, &(hs_trace_record){ .start = i });
    assert_int_equal(hs_trace_count(t, 0), 0);
    assert_int_equal(hs_trace_count(t, 1), 10);
    for (int i = -1; i < 12; i++) {
        const hs_trace_record *r = hs_trace_at(t, 1, i);
        assert_true(i >= 6 && i < 10 ? r && r->start == i : !r);
    }
    hs_trace_free(t);
    hs_trace_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_bulk), cmocka_unit_test(test_pieces), cmocka_unit_test(test_same_bits),
                                        cmocka_unit_test(test_cost), cmocka_unit_test(test_ring) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// What a device's table must have, what its defaults do, and a device of its own: it orders what its lanes are given, and a whole GPT
// trains on it as on the CPU.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu/device_cpu.h"
#include "core/run/blocks.h"
#include "core/run/feed.h"
#include "ops/ops.h"
#include "tests/core/example_device.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"

static hs_device *naive_device(void)
{
    hs_device *d;
    assert_int_equal(hs_device_open(&d, hs_backend_naive, &(hs_device_opts){ .ops = hs_ops, .n_ops = HS_N_OPS }), HS_OK);
    return d;
}

// ---- the table

static size_t left_out; // offset of a member of the table
static hs_core_kernels some_kernels;

static hs_status incomplete(hs_device *d, const hs_device_opts *o)
{
    HS_TRY(hs_backend_naive(d, o));
    memset((char *)d + left_out, 0, sizeof(void *));
    return HS_OK;
}

static hs_status without_kernel(hs_device *d, const hs_device_opts *o)
{
    HS_TRY(hs_backend_naive(d, o));
    some_kernels = *d->core;
    memset((char *)&some_kernels + left_out, 0, sizeof(void *));
    d->core = &some_kernels;
    return HS_OK;
}

static void refused(hs_backend *backend, const char *member)
{
    char expect[128];
    hs_device *d = (hs_device *)&left_out;
    assert_int_equal(hs_device_open(&d, backend, &(hs_device_opts){ .ops = hs_ops, .n_ops = HS_N_OPS }), HS_INTERNAL);
    assert_null(d);
    snprintf(expect, sizeof expect, "device naive: its table has no %s", member);
    assert_non_null(strstr(hs_error(), expect));
}

static void a_table_without_a_required_member_is_refused_by_its_name(void **state)
{
    (void)state;
#define ROW(member)                                                                                                                        \
    {                                                                                                                                      \
#member, offsetof(hs_device, member)                                                                                               \
    }
    static const struct {
        const char *name;
        size_t at;
    } members[] = { ROW(ops),  ROW(tables),    ROW(core),       ROW(alloc),      ROW(release),     ROW(copy),   ROW(fill),  ROW(submit),
                    ROW(wait), ROW(lane_open), ROW(lane_close), ROW(event_open), ROW(event_close), ROW(record), ROW(await), ROW(arrive) };
#undef ROW
    for (int i = 0; i < HS_COUNT(members); i++) {
        left_out = members[i].at;
        refused(incomplete, members[i].name);
    }
    left_out = offsetof(hs_core_kernels, loss_sum);
    refused(without_kernel, "core.loss_sum");
    left_out = offsetof(hs_core_kernels, loss_total);
    refused(without_kernel, "core.loss_total");
    left_out = offsetof(hs_core_kernels, begin);
    refused(without_kernel, "core.begin");
    left_out = offsetof(hs_core_kernels, finish);
    refused(without_kernel, "core.finish");
    left_out = offsetof(hs_core_kernels, keep);
    refused(without_kernel, "core.keep");
    left_out = offsetof(hs_core_kernels, record);
    refused(without_kernel, "core.record");
}

static void what_is_optional_has_a_default(void **state)
{
    (void)state;
    hs_device *cpu, *naive = naive_device();
    hs_optim_config c;
    hs_optim *o;
    void *p;
    assert_int_equal(hs_open_device(&cpu, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    hs_device *both[] = { cpu, naive };
    for (int k = 0; k < 2; k++) {
        assert_int_equal(both[k]->alloc_host(both[k], 1000, &p), HS_OK);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(((char *)p)[i], 0);
        assert_int_equal((uintptr_t)p % 64, 0);
        both[k]->free_host(both[k], p);
        both[k]->free_host(both[k], NULL);
    }
    hs_params *ps;
    hs_param *param;
    const float values[4] = { 1, 2, 3, 4 };
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_params_get(ps, &(hs_param_spec){ .name = "w", .n_dims = 1, .dim = { 4 } }, &param), HS_OK);
    assert_null(naive->adopt); // then nothing is, and parameters get memory
    assert_int_equal(hs_params_adopt(ps, ps->master, naive, (const void *[]){ values }), HS_OK);
    assert_false(hs_slab_adopted(ps->master, param));
    assert_int_equal(hs_params_bytes_of(ps).adopted, 0);
    hs_params_free(ps);
    assert_int_equal(naive->team, 1);
    assert_true(naive->free_bytes(naive) == SIZE_MAX);
    assert_true(cpu->free_bytes(cpu) < SIZE_MAX && cpu->free_bytes(cpu) > 0);
    assert_int_equal(hs_submit_mode_check(HS_SUBMIT_GRAPH, naive), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "device naive captures none"));
    assert_int_equal(hs_submit_mode_check(HS_SUBMIT_GRAPH, cpu), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "needs CUDA"));
    c = hs_optim_preset(HS_PRESET_ADAMW);
    const hs_grid grid = hs_grid_self();
    assert_int_equal(hs_optim_new(&o, &c, NULL, &grid, naive), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "device naive has no adamw"));
    hs_comm two = { .size = 2, .axis = "dp" };
    c = hs_optim_preset(HS_PRESET_SGD);
    assert_int_equal(hs_optim_new(&o, &c, NULL, &(hs_grid){ .dp = &two, .tp = grid.tp }, naive), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "several ranks"));
    hs_device_close(cpu);
    hs_device_close(naive);
}

// ---- lanes and events

// b = a on one lane, c = b on another behind it: whoever waits for the second has both, though nobody waited for the first.
static void in_order(hs_device *d)
{
    hs_lane *first, *second;
    hs_event *e;
    int32_t a = 41, b = 0, c = 0;
    assert_int_equal(d->lane_open(d, &first), HS_OK);
    assert_int_equal(d->lane_open(d, &second), HS_OK);
    assert_int_equal(d->event_open(d, &e), HS_OK);
    for (int round = 0; round < 100; round++) {
        a++;
        d->copy_async(d, first, &b, &a, sizeof b);
        d->record(d, e, first);
        d->await(d, second, e);
        d->copy_async(d, second, &c, &b, sizeof c);
        assert_int_equal(d->wait(d, second), HS_OK);
        assert_int_equal(c, a);
    }
    d->copy_async(d, first, &b, &(int32_t){ 7 }, sizeof b);
    d->copy(d, &c, &b, sizeof c); // behind all that was submitted
    assert_int_equal(c, 7);
    a = 8;
    d->copy_async(d, first, &b, &a, sizeof b);
    d->record(d, e, first);
    assert_int_equal(d->arrive(d, e), HS_OK); // the host, behind the copy
    assert_int_equal(b, 8);
    d->event_close(d, e);
    assert_int_equal(d->event_open(d, &e), HS_OK);
    assert_int_equal(d->arrive(d, e), HS_OK); // one that nobody recorded
    d->record(d, e, second);
    d->lane_close(d, second);
    assert_int_equal(d->arrive(d, e), HS_OK); // of a lane that is gone
    d->event_close(d, e);
    d->lane_close(d, first);
}

static void events_order_lanes(void **state)
{
    (void)state;
    hs_device *cpu, *naive = naive_device();
    int32_t a = 5, b = 0;
    assert_int_equal(hs_open_device(&cpu, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    in_order(cpu);
    in_order(naive);
    naive->copy_async(naive, NULL, &b, &a, sizeof b); // the test would see it, were there no order
    assert_int_equal(b, 0);
    assert_int_equal(naive->wait(naive, NULL), HS_OK);
    assert_int_equal(b, 5);
    hs_device_close(cpu);
    hs_device_close(naive);
}

// y = x / 2 in one run, passed on as x to another: the second has x / 4, whoever owns the lanes.
static void halve(hs_graph *g, const void *config)
{
    (void)config;
    hs_output(g, hs_scale(g, hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ 4, 8 }), 0.5f));
}

static void pass_on(hs_device *d, int freed_first)
{
    hs_model *m;
    hs_run *run[2];
    int plan;
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = d, .micro_steps = HS_VALUES_STAY }), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, halve, NULL, &plan), HS_OK);
    assert_int_equal(hs_model_alloc(m, true), HS_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hs_run_new(&run[i], m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
        hs_step_live(hs_run_in(run[i]), 4, 1, 0);
    }
    float x[32], y[32];
    for (int i = 0; i < 32; i++)
        x[i] = (float)i;
    d->copy(d, hs_run_input(run[0], plan, "x"), x, sizeof x);
    assert_int_equal(hs_run_forward(run[0], plan), HS_OK);
    assert_int_equal(hs_run_pass(run[1], plan, "x", run[0], plan, 0), HS_OK);
    assert_int_equal(hs_run_forward(run[1], plan), HS_OK);
    d->copy(d, y, hs_run_output(run[1], plan, 0, NULL), sizeof y);
    for (int i = 0; i < 32; i++)
        assert_true(y[i] == (float)i / 4);
    assert_int_equal(hs_run_forward(run[0], plan), HS_OK);
    assert_int_equal(hs_run_pass(run[1], plan, "x", run[0], plan, 0), HS_OK);
    hs_run_free(run[freed_first]); // while the other's lane awaits it
    hs_run_free(run[!freed_first]);
    hs_model_free(m);
}

static void runs_pass_on_in_their_lanes(void **state)
{
    (void)state;
    hs_device *cpu, *naive = naive_device();
    assert_int_equal(hs_open_device(&cpu, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    for (int k = 0; k < 2; k++) {
        pass_on(cpu, k);
        pass_on(naive, k);
    }
    hs_device_close(cpu);
    hs_device_close(naive);
}

// ---- a whole GPT

enum { STEPS = 4 };

static hs_engine *engine_on(hs_device *d, tiny_gpt *model, const hs_policy *policy)
{
    *model = tiny_gpt_of(&(tiny_opts){ .dropout = 0.1f, .max_tokens = 12, .max_seqs = 3 });
    model->config.layers = 1, model->config.width = 16;
    hs_optim_config optim;
    hs_engine *e;
    optim = hs_optim_preset(HS_PRESET_SGD);
    optim.clip = 1;
    optim.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 0.5, .power = 1, .steps = 100 };
    const hs_engine_opts o = {
        .model = tiny_gpt_model, .config = model, .policy = policy, .optim = &optim, .eval = true, .seed = 3, .device = d
    };
    if (hs_engine_new(&e, &o) != HS_OK)
        fail_msg("%s", hs_error());
    return e;
}

static void train(hs_device *d, double loss[STEPS + 1], float norm[STEPS])
{
    static const int lengths[] = { 5, 4, 0 };
    tiny_gpt model;
    hs_engine *e = engine_on(d, &model, NULL);
    for (int s = 0; s < STEPS; s++) {
        const int64_t n = tiny_fill(e, HS_TRAIN, lengths, 11, 0);
        e->in->inv_count[0] = hs_inv_count(n);
        assert_int_equal(hs_run_micro(e->run, e->plan[HS_TRAIN], true), HS_OK);
        assert_int_equal(hs_run_update(e->run), HS_OK);
        const hs_step_record *r = hs_run_read_record(e->run);
        assert_true(r && r->step == s + 1 && !r->skipped);
        loss[s] = r->loss[0][0], norm[s] = r->grad_norm;
    }
    e->in->inv_count[0] = hs_inv_count(tiny_fill(e, HS_EVAL, lengths, 11, 0));
    assert_int_equal(hs_run_forward(e->run, e->plan[HS_EVAL]), HS_OK);
    loss[STEPS] = hs_engine_loss(e, HS_EVAL);
    hs_engine_free(e);
}

static void a_gpt_trains_on_a_device_that_knows_only_definitions(void **state)
{
    (void)state;
    const double bound = 2e-6; // f32 sums against f64, over five passes
    double want[STEPS + 1], got[STEPS + 1];
    float norm[2][STEPS];
    hs_device *cpu, *naive = naive_device();
    assert_int_equal(hs_open_device(&cpu, "cpu", 2, NULL, 0, HS_ONEDNN_NO), HS_OK);
    train(cpu, want, norm[0]);
    train(naive, got, norm[1]);
    assert_true(hs_naive_given(naive) >= STEPS); // it was this device that ran
    assert_true(want[STEPS - 1] < want[0] - 0.1);
    for (int s = 0; s <= STEPS; s++)
        if (!(fabs(got[s] - want[s]) <= bound * fabs(want[s])))
            fail_msg("pass %d: loss %.9f by definition, %.9f on the CPU", s, got[s], want[s]);
    for (int s = 0; s < STEPS; s++)
        if (!(fabs((double)norm[1][s] - (double)norm[0][s]) <= 10 * bound * (double)norm[0][s]))
            fail_msg("step %d: norm %.9g by definition, %.9g on the CPU", s, (double)norm[1][s], (double)norm[0][s]);
    hs_device_close(cpu);
    hs_device_close(naive);
}

// ---- batches fed while steps run

enum { FED = 5, FED_TOKENS = 12 };
static int n_thunks;

static void count_thunks(const hs_thunk *t, double seconds, void *user)
{
    (void)t, (void)seconds, (void)user;
    n_thunks++;
}

static void fill_batch(hs_batch *b, int step)
{
    const int n = 1 + step;
    b->n[HS_COUNT_TOKENS] = n, b->n[HS_COUNT_SEQS] = 1;
    for (int i = 0; i < n; i++) {
        hs_batch_i32(b, 0)[i] = (i * 7 + step) % TINY_VOCAB;
        hs_batch_i32(b, 1)[i] = (i * 5 + 3 * step) % TINY_VOCAB;
        hs_batch_i32(b, 3)[2 * i] = step, hs_batch_i32(b, 3)[2 * i + 1] = i;
    }
    hs_batch_i32(b, 2)[0] = 0, hs_batch_i32(b, 2)[1] = n;
}

// Ordinary memory is one and the same for all batches: whoever reads it behind hs_run_feed trains on another step's. Of the device's there
// are two, each filled again when it was read.
static void feed_steps(hs_device *d, bool wait, bool shared, double loss[FED])
{
    static const hs_column columns[] = {
        { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
        { .name = "targets", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
        { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS },
        { .name = "where", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 } },
    };
    tiny_gpt model;
    hs_engine *e = engine_on(d, &model, NULL);
    hs_batch ring[2];
    const void *slot[FED];
    const hs_batch_memory memory = shared ? hs_device_batches(d) : (hs_batch_memory){ 0 };
    for (int i = 0; i < 2; i++)
        assert_int_equal(hs_batch_new_in(&ring[i], columns, HS_COUNT(columns),
                                         (int64_t[HS_N_COUNTERS]){ [HS_COUNT_TOKENS] = FED_TOKENS, [HS_COUNT_SEQS] = 1 }, &memory),
                         HS_OK);
    hs_run_set_mode(e->run, HS_SUBMIT_BULK);
    d->hook = count_thunks, n_thunks = 0;
    for (int s = 0; s < FED; s++) {
        hs_batch *b = &ring[shared ? s % 2 : 0];
        assert_int_equal(hs_batch_arrive(b), HS_OK);
        fill_batch(b, s);
        assert_int_equal(hs_run_feed(e->run, e->plan[HS_TRAIN], b), HS_OK);
        slot[s] = hs_run_input(e->run, e->plan[HS_TRAIN], "ids");
        if (!wait)
            assert_true(s < (shared ? 4 : 2) ? n_thunks == 0 : n_thunks > 0); // the third comes behind what reads the slot of the first
        e->in->inv_count[0] = hs_inv_count(1 + s);
        assert_int_equal(hs_run_micro(e->run, e->plan[HS_TRAIN], true), HS_OK);
        assert_int_equal(hs_run_update(e->run), HS_OK);
        if (wait)
            assert_int_equal(hs_run_wait(e->run), HS_OK);
    }
    assert_int_equal(hs_run_wait(e->run), HS_OK);
    assert_true(slot[0] != slot[1] && slot[0] == slot[2] && slot[1] == slot[3]);
    for (int s = 0; s < FED; s++)
        loss[s] = hs_run_read_record(e->run)->loss[0][0];
    d->hook = NULL;
    hs_batch_free(&ring[0]);
    hs_engine_free(e);
    hs_batch_free(&ring[1]); // a run need not be there
}

static void a_batch_is_fed_while_another_is_read(void **state)
{
    (void)state;
    hs_device *naive = naive_device();
    double want[FED], got[FED], shared[FED];
    feed_steps(naive, true, false, want);
    feed_steps(naive, false, false, got);
    feed_steps(naive, false, true, shared);
    for (int s = 0; s < FED; s++)
        assert_true(want[s] > 0 && got[s] == want[s] && shared[s] == want[s] && (!s || want[s] != want[s - 1]));
    hs_device_close(naive);
}

// Steps of different counts, all given to the lane before anything runs: each has its own step block, however often the host has written
// the next one by then. More of them than the ring of blocks holds.
enum { QUEUED = HS_BLOCKS_RING / 2 + 2 };

static void queue_steps(hs_device *d, bool wait, hs_step_record *record)
{
    static const int lengths[] = { 2, 1, 0 };
    tiny_gpt model;
    hs_engine *e = engine_on(d, &model, NULL);
    hs_run_set_mode(e->run, HS_SUBMIT_BULK);
    tiny_fill(e, HS_TRAIN, lengths, 11, 0);
    const bool queues = !d->is_cpu && !wait;
    const int64_t before = queues ? hs_naive_done(d) : 0;
    for (int s = 0; s < QUEUED; s++) {
        hs_step_live(e->in, s % 2 ? 3 : 2, s % 2 ? 2 : 1, 0);
        e->in->inv_count[0] = hs_inv_count(3 + s);
        assert_int_equal(hs_run_micro(e->run, e->plan[HS_TRAIN], true), HS_OK);
        assert_int_equal(hs_run_update(e->run), HS_OK);
        if (wait)
            assert_int_equal(hs_run_wait(e->run), HS_OK);
        if (queues && s == 4) // five steps, of two segments each, and none has begun
            assert_int_equal(hs_naive_done(d), before);
    }
    assert_int_equal(hs_run_unread(e->run), QUEUED);
    for (int s = 0; s < QUEUED; s++) {
        const hs_step_record *r = hs_run_read_record(e->run);
        assert_non_null(r);
        record[s] = *r;
    }
    assert_null(hs_run_read_record(e->run));
    assert_int_equal(hs_run_state(e->run)->applied, QUEUED);
    hs_engine_free(e);
}

static void queued_steps_keep_their_counts(void **state)
{
    (void)state;
    hs_device *naive = naive_device();
    hs_step_record want[QUEUED], got[QUEUED];
    queue_steps(naive, true, want);
    queue_steps(naive, false, got);
    for (int s = 0; s < QUEUED; s++) {
        assert_int_equal(got[s].step, s + 1);
        assert_true(got[s].loss[0][0] == want[s].loss[0][0] && got[s].grad_norm == want[s].grad_norm && got[s].lr == want[s].lr);
    }
    assert_true(want[0].loss[0][0] != want[1].loss[0][0]);
    hs_device_close(naive);
}

// Values move, and what the next step multiplies by is their rounded copy.
static void an_update_there_refreshes_the_low_copies(void **state)
{
    (void)state;
    static const int lengths[] = { 5, 4, 0 };
    const hs_policy policy = { .low = HS_BF16 };
    tiny_gpt model;
    hs_device *naive = naive_device();
    hs_engine *e = engine_on(naive, &model, &policy);
    float *before = flat_copy(e->params, "master");
    e->in->inv_count[0] = hs_inv_count(tiny_fill(e, HS_TRAIN, lengths, 11, 0));
    assert_int_equal(hs_run_micro(e->run, e->plan[HS_TRAIN], true), HS_OK);
    assert_int_equal(hs_run_update(e->run), HS_OK);
    assert_int_equal(hs_run_wait(e->run), HS_OK);
    float *values = flat_copy(e->params, "master"), *low = flat_copy(e->params, "low");
    size_t moved = 0;
    for (size_t i = 0; i < flat_count(e->params); i++) {
        moved += hs_f32_bf16(values[i]) != hs_f32_bf16(before[i]);
        assert_true(low[i] == hs_bf16_f32(hs_value_bf16(hs_f32_bits(values[i]))));
    }
    assert_true(moved > flat_count(e->params) / 4);
    free(before), free(values), free(low);
    hs_engine_free(e);
    hs_device_close(naive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_without_a_required_member_is_refused_by_its_name),
        cmocka_unit_test(what_is_optional_has_a_default),
        cmocka_unit_test(events_order_lanes),
        cmocka_unit_test(runs_pass_on_in_their_lanes),
        cmocka_unit_test(queued_steps_keep_their_counts),
        cmocka_unit_test(a_batch_is_fed_while_another_is_read),
        cmocka_unit_test(a_gpt_trains_on_a_device_that_knows_only_definitions),
        cmocka_unit_test(an_update_there_refreshes_the_low_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

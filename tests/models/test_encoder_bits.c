// What every family of encoders promises of its bits, and every family with a task: the same over threads and ways of submission; a
// sequence's do not depend on what stands beside it, nor on whether it is padded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "tests/support/support_encoder.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { STEPS = 4 };
static const encoder_batch whole = { .n = 6, .slot = { 0, 1, 2, 3, 4, 5 }, .length = { 12, 24, 5, 17, 1, 9 }, .key = 1 };

static hs_optim_config lamb(void)
{
    hs_optim_config c;
    c = hs_optim_preset(HS_PRESET_LAMB);
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 5e-3, .power = 1, .steps = 100 };
    return c;
}

typedef struct subject {
    const hs_family *family;
    hs_task task;
    bool crf;
} subject;

// Encoders with what they are pretrained with, and all that have tasks with each of them.
static void each_model(void (*fn)(const subject *s))
{
    int tasks = 0;
    for (int i = 0; hs_families[i]; i++) {
        const hs_family *f = hs_families[i];
        if (f->batch == HS_BATCH_MASKED)
            fn(&(subject){ f, HS_TASK_NONE, false });
        for (int task = HS_TASK_SEQUENCE; task < HS_TASKS && hs_schema_find(f->settings, NULL, "model.task").key; task++, tasks++)
            for (int crf = 0; crf <= (task == HS_TASK_TOKENS); crf++)
                fn(&(subject){ f, (hs_task)task, crf });
    }
    assert_true(tasks >= 40);
}

// ---- training

typedef struct result {
    double loss[STEPS];
    float *value;
    size_t n;
} result;

static hs_status train_steps(hs_engine *e, const encoder_batch *b, result *r)
{
    for (int step = 0; step < STEPS; step++) {
        encoder_batch now = *b;
        now.key += (uint64_t)step;
        HS_TRY(encoder_fill(e, HS_TRAIN, &now));
        HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        HS_TRY(hs_run_update(e->run));
        r->loss[step] = encoder_loss(e, HS_TRAIN);
    }
    return HS_OK;
}

static result train(const subject *s, encoder_opts o, const encoder_batch *b)
{
    const hs_optim_config optim = lamb();
    tiny_encoder t;
    hs_engine *e;
    result r;
    o.optim = &optim, o.task = s->task, o.crf = s->crf;
    OK(encoder_engine(&e, &t, s->family, &o));
    OK(train_steps(e, b, &r));
    r.n = flat_count(e->params), r.value = flat_copy(e->params, "master");
    hs_engine_free(e);
    return r;
}

static void same_over_threads(const subject *s)
{
    static const struct {
        int threads;
        hs_submit_mode mode;
        int64_t max_tokens;
        hs_recompute recompute;
    } ways[] = { { 2, HS_SUBMIT_BULK, 128, HS_RECOMPUTE_NONE },
                 { 3, HS_SUBMIT_STEP, 128, HS_RECOMPUTE_NONE },
                 { 1, HS_SUBMIT_BULK, 68, HS_RECOMPUTE_NONE },
                 { 2, HS_SUBMIT_BULK, 128, HS_RECOMPUTE_SELECTIVE },
                 { 2, HS_SUBMIT_BULK, 128, HS_RECOMPUTE_FULL } };
    static const char *const policies[] = { "fp32", "bf16" };
    for (int p = 0; p < HS_COUNT(policies); p++) {
        result one = train(s, (encoder_opts){ .dropout = "0.1", .policy = policies[p], .threads = 1, .mode = HS_SUBMIT_BULK }, &whole);
        for (int i = 0; i < HS_COUNT(ways); i++) {
            result r = train(s,
                             (encoder_opts){ .dropout = "0.1",
                                             .policy = policies[p],
                                             .threads = ways[i].threads,
                                             .mode = ways[i].mode,
                                             .max_tokens = ways[i].max_tokens,
                                             .recompute = ways[i].recompute },
                             &whole);
            if (memcmp(r.loss, one.loss, sizeof r.loss) || memcmp(r.value, one.value, r.n * sizeof *r.value))
                fail_msg("%s, task %d, %s: other bits on %d threads (way %d)", s->family->name, s->task, policies[p], ways[i].threads, i);
            free(r.value);
        }
        free(one.value);
    }
}
static void threads_and_modes(void **state) { (void)state, each_model(same_over_threads); }

// Dropout on: masks follow slot and position, so that a padded batch is the same step; sums are added up in another order.
static void padded_is_unpadded(const subject *s)
{
    if (s->family->batch != HS_BATCH_MASKED)
        return; // a GPT reads texts without padding
    encoder_batch padded = whole;
    padded.row = ENCODER_CONTEXT;
    const encoder_opts o = { .dropout = "0.1", .threads = 2, .mode = HS_SUBMIT_BULK, .max_tokens = 240 };
    encoder_opts in_rows = o;
    in_rows.padded = true;
    result a = train(s, o, &whole), b = train(s, in_rows, &padded);
    for (int t = 0; t < STEPS; t++)
        if (!(fabs(a.loss[t] - b.loss[t]) <= 2e-5 * a.loss[t]))
            fail_msg("%s, task %d: loss of step %d is %.8f, padded %.8f", s->family->name, s->task, t, a.loss[t], b.loss[t]);
    free(a.value);
    free(b.value);
}
static void padding(void **state) { (void)state, each_model(padded_is_unpadded); }

// ---- what a sequence becomes

// Rows of sequence s of a batch, hidden states.
static void read_sequence(hs_engine *e, const encoder_batch *b, int s, float *rows, float *pooled)
{
    OK(hs_run_read(e->run, e->plan[HS_EVAL], 0, encoder_first(b, s), b->length[s], rows));
    hs_ref ref;
    if (hs_run_output(e->run, e->plan[HS_EVAL], 1, &ref))
        OK(hs_run_read(e->run, e->plan[HS_EVAL], 1, s, 1, pooled));
}

static void compare_sequences(const hs_family *f, const encoder_opts *o, hs_engine *e, const encoder_batch *b,
                              float (*want)[ENCODER_CONTEXT + 1][ENCODER_WIDTH])
{
    static float got[ENCODER_CONTEXT + 1][ENCODER_WIDTH];
    OK(encoder_fill(e, HS_EVAL, b));
    OK(hs_engine_run(e, HS_EVAL, 0));
    for (int s = 0; s < b->n; s++) {
        memset(got, 0, sizeof got);
        read_sequence(e, b, s, got[0], got[ENCODER_CONTEXT]);
        if (memcmp(got, want[b->slot[s]], sizeof got))
            fail_msg("%s, %s, %s, %d threads: sequence %d has other bits among %d sequences%s", f->name, o->isa, o->policy, o->threads,
                     b->slot[s], b->n, b->row ? ", padded" : "");
    }
}

static void sequence_alone(const hs_family *f, encoder_opts o)
{
    static float want[ENCODER_SEQS][ENCODER_CONTEXT + 1][ENCODER_WIDTH];
    static const encoder_batch others = { .n = 6, .slot = { 5, 3, 1, 0, 4, 2 }, .length = { 9, 17, 24, 12, 1, 5 }, .key = 1 };
    static const encoder_batch few = { .n = 2, .slot = { 4, 2 }, .length = { 1, 5 }, .key = 1 };
    tiny_encoder t;
    hs_engine *e;
    o.hidden = true, o.mode = HS_SUBMIT_BULK;
    OK(encoder_engine(&e, &t, f, &o));
    memset(want, 0, sizeof want);
    for (int s = 0; s < whole.n; s++) {
        const encoder_batch alone = { .n = 1, .slot = { s }, .length = { whole.length[s] }, .key = whole.key };
        OK(encoder_fill(e, HS_EVAL, &alone));
        OK(hs_engine_run(e, HS_EVAL, 0));
        read_sequence(e, &alone, 0, want[s][0], want[s][ENCODER_CONTEXT]);
    }
    compare_sequences(f, &o, e, &whole, want);
    compare_sequences(f, &o, e, &others, want);
    compare_sequences(f, &o, e, &few, want);
    hs_engine_free(e);
    o.padded = true, o.max_tokens = 240;
    OK(encoder_engine(&e, &t, f, &o));
    encoder_batch padded = others;
    padded.row = ENCODER_CONTEXT;
    compare_sequences(f, &o, e, &padded, want);
    hs_engine_free(e);
}

static void rows_of(const subject *s)
{
    if (s->task)
        return; // the body is the same

    static const char *const policies[] = { "fp32", "bf16", "fp16" };
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int p = 0; p < HS_COUNT(policies) && hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa); p++)
            for (int threads = 1; threads <= 3; threads += 2)
                sequence_alone(s->family, (encoder_opts){ .policy = policies[p], .threads = threads, .isa = hs_isa_name((hs_isa)isa) });
}
static void a_sequence_alone(void **state) { (void)state, each_model(rows_of); }

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = { cmocka_unit_test(threads_and_modes), cmocka_unit_test(padding),
                                        cmocka_unit_test(a_sequence_alone) };
    return cmocka_run_group_tests_name("encoders: bits", tests, NULL, NULL);
}

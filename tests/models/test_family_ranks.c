// What every family promises on several tensor-parallel ranks, with each of its heads, with pairs of an adapter, beside a generator, under
// a teacher; with tokens divided between the products and not. Ranks are threads. Losses, gradients and values are those of one rank within
// rounding - so masks are alike, too -, what is on every rank is the same there to the bit, and rows that are divided give the first loss
// of those that are not, to the bit. Live rows fill no capacity; some are fewer than there are ranks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/adapter.h"
#include "models/encoder/encoder.h"
#include "models/gpt/gpt.h"
#include "ops/ops.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_encoder.h"
#include "tests/support/support_params.h"
#include "tests/support/support_ranks.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { STEPS = 3 };
static const encoder_batch texts = { .n = 6, .slot = { 0, 1, 2, 3, 4, 5 }, .length = { 12, 24, 5, 17, 1, 8 }, .key = 1 }; // 67 tokens
static const encoder_batch few = { .n = 2, .slot = { 7, 3 }, .length = { 2, 1 }, .key = 9 };                              // 3

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
    bool crf, generator, padded;
    const hs_adapter_spec *adapter;
    const hs_distill *distill; // a student's, of a teacher of the same kind
    const char *policy;
    int threads;
} subject;

static void name_of(const subject *s, char text[128])
{
    snprintf(text, 128, "%s, task %d%s%s%s%s%s, %s", s->family->name, s->task, s->crf ? ", crf" : "", s->generator ? ", generator" : "",
             s->padded ? ", padded" : "", s->adapter ? ", adapter" : "", s->distill ? ", taught" : "", s->policy);
}

typedef struct outcome { // of one rank
    hs_engine *e, *teacher;
    float *init, *grad, *value;
    double loss[STEPS], eval;
} outcome;

typedef struct layout {
    int dp, tp;
    bool sequence;
    hs_divide divide;
} layout;

typedef struct trial {
    subject of;
    layout at;
    tiny_encoder model[MAX_RANKS], teacher[MAX_RANKS];
    outcome out[MAX_RANKS];
} trial;

// Data-parallel ranks get the same texts: together they make the step of one.
static hs_status forward(const outcome *o, const subject *s, hs_mode mode, const encoder_batch *b, int which)
{
    HS_TRY(encoder_fill(o->e, mode, b));
    for (int i = 0; mode == HS_TRAIN && i < HS_N_LOSS; i++)
        o->e->in->inv_count[i] /= (float)o->e->model->grid.dp->size;
    if (s->distill) {
        HS_TRY(encoder_fill(o->teacher, HS_EVAL, b));
        HS_TRY(hs_engine_run(o->teacher, HS_EVAL, 0));
    }
    char input[HS_TAP_NAME];
    for (int i = 0; s->distill && i < hs_tap_outputs(s->distill); i++)
        HS_TRY(hs_run_pass(o->e->run, o->e->plan[mode], hs_tap_input(s->distill, i, input), o->teacher->run, o->teacher->plan[HS_EVAL], i));
    return hs_engine_run(o->e, mode, which);
}

static hs_status step(const outcome *o, const subject *s, int t)
{
    encoder_batch b = t == STEPS - 1 ? few : texts;
    b.row = s->padded ? ENCODER_CONTEXT : 0;
    b.key += (uint64_t)t;
    return forward(o, s, HS_TRAIN, &b, HS_MICRO_FIRST | HS_MICRO_LAST);
}

static hs_status open_teacher(outcome *o, tiny_encoder *t, const subject *s, encoder_opts opts)
{
    hs_distill d = *s->distill;
    d.role = HS_DISTILL_TEACHER;
    opts.optim = NULL, opts.distill = &d, opts.adapter = NULL, opts.seed = 11;
    return encoder_engine(&o->teacher, t, s->family, &opts);
}

static hs_status rank_work(const hs_grid *grid, void *arg, int rank)
{
    trial *r = arg;
    const subject *s = &r->of;
    outcome *o = &r->out[rank];
    const hs_optim_config optim = lamb();
    const encoder_opts opts = { .dropout = "0.1",
                                .policy = s->policy,
                                .optim = &optim,
                                .mode = HS_SUBMIT_BULK,
                                .threads = s->threads,
                                .max_tokens = s->padded ? 240 : 90, // over 4: parts of 22 and 23
                                .padded = s->padded,
                                .grid = grid,
                                .adapter = s->adapter,
                                .task = s->task,
                                .crf = s->crf,
                                .generator = s->generator ? 32 : 0,
                                .distill = s->distill,
                                .divide = r->at.divide,
                                .sequence = r->at.sequence };
    HS_TRY(encoder_engine(&o->e, &r->model[rank], s->family, &opts));
    if (s->distill)
        HS_TRY(open_teacher(o, &r->teacher[rank], s, opts));
    o->init = flat_copy(o->e->params, "master");
    for (int t = 0; t < STEPS; t++) {
        HS_TRY(step(o, s, t));
        if (t == 0 && !r->at.divide)
            o->grad = flat_copy(o->e->params, "grad");
        HS_TRY(hs_run_update(o->e->run));
        o->loss[t] = encoder_loss(o->e, HS_TRAIN);
    }
    o->value = flat_copy(o->e->params, "master");
    encoder_batch b = texts;
    b.row = s->padded ? ENCODER_CONTEXT : 0;
    HS_TRY(forward(o, s, HS_EVAL, &b, 0));
    o->eval = encoder_loss(o->e, HS_EVAL);
    return HS_OK;
}

static void trial_run(trial *r, const subject *s, layout at)
{
    char name[128];
    *r = (trial){ .of = *s, .at = at };
    name_of(s, name);
    if (ranks_run_grid(at.dp, at.tp, rank_work, r, NULL) != HS_OK)
        fail_msg("%s, on %d x %d ranks: %s", name, at.dp, at.tp, hs_error());
}

static void trial_free(trial *r)
{
    for (int i = 0; i < MAX_RANKS; i++) {
        hs_engine_free(r->out[i].e);
        hs_engine_free(r->out[i].teacher);
        free(r->out[i].init);
        free(r->out[i].grad);
        free(r->out[i].value);
    }
}

// ---- one against some

static void assert_replicas_agree(const trial *r, const char *name)
{
    const outcome *first = &r->out[0];
    const int size = r->at.dp * r->at.tp;
    for (int i = 1; i < size; i++) {
        const outcome *o = &r->out[i];
        const char *grad = first->grad ? differs(o->e->params, first->grad, o->grad) : NULL,
                   *value = differs(o->e->params, first->value, o->value);
        if (grad || value || memcmp(o->loss, first->loss, sizeof o->loss) || o->eval != first->eval)
            fail_msg("%s: rank %d of %d differs from the first%s%s", name, i, size, grad || value ? " in " : ", in losses",
                     grad    ? grad
                     : value ? value
                             : "");
    }
}

static double loss_off(const outcome *o, const outcome *one)
{
    double off = fabs(o->eval / one->eval - 1);
    for (int t = 0; t < STEPS; t++)
        off = fmax(off, fabs(o->loss[t] / one->loss[t] - 1));
    return off;
}

typedef struct bound {
    double loss, grad, value;
} bound;

static bound measured[2]; // the largest of all models, in f32 and bf16

static void compare(trial *r, const trial *one, bound most)
{
    static const char *const divided[] = { "", ", states divided", ", gradients divided" };
    const layout at = r->at;
    char model[128], name[256];
    name_of(&r->of, model);
    snprintf(name, sizeof name, "%s, on %d x %d ranks%s%s", model, at.dp, at.tp, at.sequence ? ", sequence" : "", divided[at.divide]);
    for (int d = 0; d < at.dp && !at.divide; d++) {
        float *grad[MAX_RANKS];
        for (int i = 0; i < at.tp; i++)
            grad[i] = r->out[d * at.tp + i].grad;
        sum_shares(r->out[0].e->params, grad, at.tp);
    }
    assert_replicas_agree(r, name);
    distance init = { 0 }, g = { 0, at.divide }, value = { 0 };
    const hs_params *whole = one->out[0].e->params;
    for (int i = 0; i < at.dp * at.tp; i++) {
        const outcome *o = &r->out[i];
        assert_true(compare_shard(&init, o->e->params, o->init, whole, one->out[0].init)); // to the bit
        if (o->grad)
            compare_shard(&g, o->e->params, o->grad, whole, one->out[0].grad);
        compare_shard(&value, o->e->params, o->value, whole, one->out[0].value);
    }
    const double loss = loss_off(&r->out[0], &one->out[0]);
    bound *m = &measured[r->of.policy[0] == 'b'];
    *m = (bound){ fmax(m->loss, loss), fmax(m->grad, relative(&g)), fmax(m->value, relative(&value)) };
    if (!(loss <= most.loss && relative(&g) <= most.grad && relative(&value) <= most.value))
        fail_msg("%s: losses are off by %.1e, gradients by %.1e, values by %.1e", name, loss, relative(&g), relative(&value));
}

static void on_ranks(const subject *s, bound most)
{
    trial one, tensor, rows;
    trial_run(&one, s, (layout){ .dp = 1, .tp = 1 });
    for (int tp = 2; tp <= 4; tp *= 2) {
        trial_run(&tensor, s, (layout){ .dp = 1, .tp = tp });
        compare(&tensor, &one, most);
        trial_run(&rows, s, (layout){ .dp = 1, .tp = tp, .sequence = true });
        compare(&rows, &one, most);
        if (rows.out[0].loss[0] != tensor.out[0].loss[0])
            fail_msg("%s, task %d, on %d ranks: the first loss is %.17g, and %.17g where rows are divided", s->family->name, s->task, tp,
                     tensor.out[0].loss[0], rows.out[0].loss[0]);
        trial_free(&tensor);
        trial_free(&rows);
    }
    trial_free(&one);
}

// Measured: f32 1.8e-7, 4.1e-7, 7.9e-6 (LAMB of layers that are shared); bf16 4.9e-4, 5.3e-3, 1.2e-3.
static const bound f32 = { 1e-6, 5e-6, 2e-5 }, bf16 = { 4e-3, 2e-2, 5e-3 };

// ---- the models

static void each_model(void (*fn)(const subject *s))
{
    int models = 0;
    for (int i = 0; hs_families[i]; i++) {
        const hs_family *f = hs_families[i];
        fn(&(subject){ .family = f, .policy = "fp32", .threads = 1 }), models++;
        for (int task = HS_TASK_SEQUENCE; task < HS_TASKS && hs_schema_find(f->settings, NULL, "model.task").key; task++, models++)
            for (int crf = 0; crf <= (task == HS_TASK_TOKENS); crf++)
                fn(&(subject){ .family = f, .task = (hs_task)task, .crf = crf, .policy = "fp32", .threads = 1 });
    }
    assert_true(models >= 40);
}

static void in_f32(const subject *s) { on_ranks(s, f32); }
static void every_family_and_head(void **state) { (void)state, each_model(in_f32); }

static void low_precision_and_threads(void **state)
{
    (void)state;
    for (int i = 0; hs_families[i]; i++)
        on_ranks(&(subject){ .family = hs_families[i], .policy = "bf16", .threads = 2 }, bf16);
}

static void padded(void **state)
{
    (void)state;
    on_ranks(&(subject){ .family = &hs_bert_family, .padded = true, .policy = "fp32", .threads = 1 }, f32);
}

static void beside_a_generator(void **state)
{
    (void)state;
    on_ranks(&(subject){ .family = &hs_electra_family, .generator = true, .policy = "fp32", .threads = 1 }, f32);
}

static void with_an_adapter(void **state)
{
    (void)state;
    static const hs_adapter_spec spec = {
        .rank = 5, .alpha = 7.5, .name = "adapter.targets", .targets = "q,attn.qkv.v,attn.out,ff.up,ff.down", .dropout = 0.1f
    };
    static const hs_adapter_spec whole = {
        .rank = 5, .alpha = 7.5, .name = "adapter.targets", .targets = "attn.qkv,attn.proj,mlp.up,mlp.down", .whole = true, .dropout = 0.1f
    };
    static const struct {
        const hs_family *family;
        const hs_adapter_spec *adapter;
    } table[] = { { &hs_bert_family, &spec }, { &hs_roberta_prelayer_family, &spec }, { &hs_gpt_family, &whole } };
    for (int i = 0; i < HS_COUNT(table); i++)
        on_ranks(&(subject){ .family = table[i].family, .adapter = table[i].adapter, .policy = "fp32", .threads = 1 }, f32);
    on_ranks(&(subject){ .family = &hs_gpt_family, .adapter = &whole, .policy = "bf16", .threads = 2 }, bf16);
}

static const hs_distill states_and_logits = { .role = HS_DISTILL_STUDENT,
                                              .tap = { [HS_TAP_HIDDEN] = true, [HS_TAP_LOGITS] = true },
                                              .n_states = 2,
                                              .state = { 1, 2 },
                                              .temperature = 2,
                                              .cosine = true,
                                              .other_width = ENCODER_WIDTH };
static const hs_distill squares_and_rows = { .role = HS_DISTILL_STUDENT,
                                             .tap = { [HS_TAP_HIDDEN] = true, [HS_TAP_LOGITS] = true },
                                             .n_states = 2,
                                             .state = { 0, 2 },
                                             .every_row = true,
                                             .temperature = 1.5f,
                                             .square = true,
                                             .other_width = ENCODER_WIDTH };
static const hs_distill soft = {
    .role = HS_DISTILL_STUDENT, .tap = { [HS_TAP_LOGITS] = true }, .temperature = 3, .other_width = ENCODER_WIDTH
};
static const hs_distill relations = { .role = HS_DISTILL_STUDENT,
                                      .tap = { [HS_TAP_QKV] = true },
                                      .layer = 1,
                                      .no_hard = true,
                                      .relation_heads = 8,
                                      .pairs = HS_RELATION_QQ | HS_RELATION_KK | HS_RELATION_VV,
                                      .other_width = ENCODER_WIDTH };
static const hs_distill attention = { .role = HS_DISTILL_STUDENT,
                                      .tap = { [HS_TAP_QKV] = true, [HS_TAP_LOGITS] = true },
                                      .temperature = 1,
                                      .relation_heads = 4,
                                      .pairs = HS_RELATION_QK | HS_RELATION_VV,
                                      .other_width = ENCODER_WIDTH };

static const subject taught[] = {
    { .family = &hs_distilbert_family, .distill = &states_and_logits },
    { .family = &hs_bert_family, .distill = &relations },
    { .family = &hs_bert_family, .distill = &squares_and_rows },
    { .family = &hs_gpt_family, .distill = &states_and_logits },
    { .family = &hs_gpt_family, .distill = &attention },
    { .family = &hs_roberta_family, .distill = &soft, .task = HS_TASK_SEQUENCE },
    { .family = &hs_bert_family, .distill = &soft, .task = HS_TASK_REGRESSION },
    { .family = &hs_distilbert_family, .distill = &soft, .task = HS_TASK_MULTILABEL },
    { .family = &hs_bert_family, .distill = &soft, .task = HS_TASK_TOKENS, .crf = true },
    { .family = &hs_albert_family, .distill = &soft, .task = HS_TASK_SPAN },
};

static void under_a_teacher(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(taught); i++) {
        subject s = taught[i];
        s.policy = "fp32", s.threads = 1;
        on_ranks(&s, f32);
    }
    on_ranks(&(subject){ .family = &hs_bert_family, .distill = &squares_and_rows, .policy = "bf16", .threads = 2 }, bf16);
}

// A student on replicas too, whose states or gradients are divided.
static void under_a_teacher_on_a_grid(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        subject s = taught[i];
        trial one, r;
        s.policy = "fp32", s.threads = 1;
        trial_run(&one, &s, (layout){ .dp = 1, .tp = 1 });
        for (int divide = HS_DIVIDE_NONE; divide <= HS_DIVIDE_GRADIENTS; divide++) {
            trial_run(&r, &s, (layout){ 2, 2, divide == HS_DIVIDE_STATES, (hs_divide)divide });
            compare(&r, &one, f32);
            trial_free(&r);
        }
        trial_free(&one);
    }
}

// Gradients of shares are added up over tp behind the sum over dp, of whichever elements a rank has.
static void on_a_grid(void **state)
{
    (void)state;
    static const hs_family *const families[] = { &hs_gpt_family, &hs_bert_family, &hs_albert_family };
    static const hs_divide divides[] = { HS_DIVIDE_NONE, HS_DIVIDE_STATES, HS_DIVIDE_GRADIENTS };
    for (int f = 0; f < HS_COUNT(families); f++) {
        const subject s = { .family = families[f], .policy = "fp32", .threads = 1 };
        trial one, r;
        trial_run(&one, &s, (layout){ .dp = 1, .tp = 1 });
        for (int i = 0; i < HS_COUNT(divides); i++)
            for (int sequence = 0; sequence < 2; sequence++) {
                trial_run(&r, &s, (layout){ 2, 2, sequence, divides[i] });
                compare(&r, &one, f32);
                trial_free(&r);
            }
        trial_free(&one);
    }
}

static void what_does_not_divide(void **state)
{
    (void)state;
    static const hs_distill six = { .role = HS_DISTILL_STUDENT,
                                    .tap = { [HS_TAP_QKV] = true },
                                    .relation_heads = 6,
                                    .pairs = HS_RELATION_QQ,
                                    .other_width = ENCODER_WIDTH };
    static const struct {
        const hs_family *family;
        int ranks;
        int64_t generator;
        const hs_distill *distill;
        const char *error;
    } table[] = {
        { &hs_gpt_family, 8, 0, NULL, "h0: model.heads is 4, must divide over 8 tensor-parallel ranks" },
        { &hs_bert_family, 8, 0, NULL, "l0: model.heads is 4, must divide over 8 tensor-parallel ranks" },
        { &hs_electra_family, 8, 32, NULL, "gen.l0: model.generator_heads is 4, must divide over 8 tensor-parallel ranks" },
        { &hs_bert_family, 4, 0, &six, "l0.relation: distill.relation_heads is 6, must divide over 4 tensor-parallel ranks" },
    };
    for (int i = 0; i < HS_COUNT(table); i++)
        for (int sequence = 0; sequence < 2; sequence++) {
            const hs_grid grid = ranks_absent(0, table[i].ranks);
            const hs_optim_config optim = lamb();
            tiny_encoder t;
            hs_engine *e = NULL;
            assert_int_equal(encoder_engine(&e, &t, table[i].family,
                                            &(encoder_opts){ .optim = &optim,
                                                             .grid = &grid,
                                                             .generator = table[i].generator,
                                                             .distill = table[i].distill,
                                                             .sequence = sequence }),
                             HS_USAGE);
            if (!strstr(hs_error(), table[i].error))
                fail_msg("\"%s\" is not in: %s", table[i].error, hs_error());
        }
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_and_head),
        cmocka_unit_test(low_precision_and_threads),
        cmocka_unit_test(padded),
        cmocka_unit_test(beside_a_generator),
        cmocka_unit_test(with_an_adapter),
        cmocka_unit_test(under_a_teacher),
        cmocka_unit_test(under_a_teacher_on_a_grid),
        cmocka_unit_test(on_a_grid),
        cmocka_unit_test(what_does_not_divide),
    };
    const int failed = cmocka_run_group_tests_name("every family on ranks", tests, NULL, NULL);
    for (int i = 0; i < 2; i++)
        printf("%s: losses are off by %.1e at most, gradients by %.1e, values by %.1e\n", i ? "bf16" : "f32", measured[i].loss,
               measured[i].grad, measured[i].value);
    return failed;
}

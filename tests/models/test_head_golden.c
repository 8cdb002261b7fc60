// Heads of tasks against what PyTorch computed (tests/golden/heads, made by scripts/gen_golden_heads.py): models of transformers of every
// family, with each class of heads; what config.json says of them, logits, losses, gradients, on every tier this machine runs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "tests/support/support_golden.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

static const struct kind {
    const char *folder, *word, *target; // FAMILY-folder; of model.task and of what is stored; the column
    hs_task task;
    bool head_alone; // gradients of the head are stored, and no others
} kinds[] = {
    { "sequence", "sequence", "class_targets", HS_TASK_SEQUENCE, false },
    { "sequence", "regression", "value_targets", HS_TASK_REGRESSION, true },
    { "sequence", "multilabel", "label_targets", HS_TASK_MULTILABEL, true },
    { "tokens", "tokens", "tag_targets", HS_TASK_TOKENS, false },
    { "span", "span", "span_targets", HS_TASK_SPAN, false },
    { "crf", "tokens", "tag_targets", HS_TASK_TOKENS, false },
};

static const hs_st_entry *of_task(const golden *s, const struct kind *k, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", k->word, what);
    return golden_stored(s, name);
}

// Targets that count: rows, of a span starts and ends.
static int64_t counted(const hs_st_entry *t)
{
    int64_t n = t->dtype == HS_I32 ? 0 : t->dim[0];
    for (int64_t i = 0; t->dtype == HS_I32 && i < (int64_t)(t->bytes / sizeof(int32_t)); i++)
        n += ((const int32_t *)t->data)[i] >= 0;
    return n;
}

static void fill(const golden *s, const struct kind *k, hs_engine *e, hs_mode mode)
{
    const hs_st_entry *t = of_task(s, k, "targets");
    golden_put_texts(s, e, mode, 0);
    assert_non_null(hs_run_input(e->run, e->plan[mode], k->target));
    golden_put(e, mode, k->target, t->data, (int64_t)(t->bytes / sizeof(int32_t)));
    e->in->inv_count[HS_LOSS_TASK] = hs_inv_count(counted(t));
}

static hs_optim_config plain(void)
{
    hs_optim_config c;
    c = hs_optim_preset(HS_PRESET_ADAMW);
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-3, .power = 1, .steps = 100 };
    return c;
}

static void check_loss(const golden *s, const struct kind *k, const hs_engine *e, hs_mode mode, const char *stored, const char *isa)
{
    const double want = *(const double *)of_task(s, k, stored)->data, *l = hs_run_losses(e->run, e->plan[mode]);
    if (!(fabs(l[HS_LOSS_TASK] - want) <= 1e-5 * fabs(want)))
        fail_msg("%s, %s, %s: %s is %.8f, should be %.8f", s->dir, k->word, isa, stored, l[HS_LOSS_TASK], want);
}

static void check_eval(const golden *s, const struct kind *k, const char *isa)
{
    hs_engine *e = golden_engine(s, isa, NULL);
    fill(s, k, e, HS_EVAL);
    OK(hs_engine_run(e, HS_EVAL, 0));
    golden_check_output(s, e, 0, "logits", isa);
    check_loss(s, k, e, HS_EVAL, "loss", isa);
    hs_engine_free(e);
}

static void check_train(const golden *s, const struct kind *k, const char *isa)
{
    const hs_optim_config optim = plain();
    hs_engine *e = golden_engine(s, isa, &optim);
    char prefix[64];
    fill(s, k, e, HS_TRAIN);
    OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    check_loss(s, k, e, HS_TRAIN, "loss", isa);
    snprintf(prefix, sizeof prefix, "%s.grad.", k->word);
    golden_check_gradients(s, e, prefix, !k->head_alone, isa);
    hs_engine_free(e);
}

// Class weights by row, the mean over their sum; label smoothing.
static void check_weights(golden *s, const struct kind *k, const char *isa)
{
    const hs_st_entry *w = golden_stored(s, "sequence.weights"), *t = of_task(s, k, "targets");
    double sum = 0;
    for (int64_t b = 0; b < w->dim[0]; b++)
        sum += ((const int32_t *)t->data)[b] >= 0 ? (double)((const float *)w->data)[b] : 0;
    s->eval.shape.weighted = true;
    hs_engine *e = golden_engine(s, isa, NULL);
    fill(s, k, e, HS_EVAL);
    golden_put(e, HS_EVAL, "target_weights", w->data, w->dim[0]);
    e->in->inv_count[HS_LOSS_TASK] = (float)(1 / sum);
    OK(hs_engine_run(e, HS_EVAL, 0));
    check_loss(s, k, e, HS_EVAL, "weighted_loss", isa);
    hs_engine_free(e);
    s->eval.shape.weighted = false, s->eval.shape.label_smoothing = 0.1f;
    e = golden_engine(s, isa, NULL);
    fill(s, k, e, HS_EVAL);
    OK(hs_engine_run(e, HS_EVAL, 0));
    check_loss(s, k, e, HS_EVAL, "smooth_loss", isa);
    hs_engine_free(e);
    s->eval.shape.label_smoothing = 0;
}

// What config.json and the tensors say.
static void check_info(const golden *s, const struct kind *k)
{
    static const char *const names[] = { "B-LOC", "O", "a \"quoted\" name" };
    const bool span = k->task == HS_TASK_SPAN, crf = strcmp(k->folder, "crf") == 0;
    const hs_task first = strcmp(k->folder, "sequence") == 0 ? HS_TASK_SEQUENCE : k->task;
    assert_int_equal(hs_arch_task(s->train.arch), first);
    assert_int_equal(hs_arch_int(s->train.arch, "model.labels"), span ? 0 : HS_COUNT(names));
    assert_int_equal(s->info.labels.n, span ? 0 : HS_COUNT(names));
    for (int i = 0; i < s->info.labels.n; i++)
        assert_string_equal(s->info.labels.name[i], names[i]);
    const hs_key *key = hs_schema_find(s->family->settings, NULL, "model.crf").key;
    assert_int_equal(*(const bool *)(s->info.settings.bytes + key->offset), crf);
    for (int loss = 0; loss < HS_LOSSES; loss++)
        assert_int_equal(hs_arch_wears(s->train.arch, (hs_loss)loss), loss == HS_LOSS_TASK);
    assert_int_equal(hs_arch_batch(s->train.arch), HS_BATCH_LABELLED);
    OK(hs_arch_check(s->train.arch));
}

static int subjects; // models that were looked at

static void on_family(const hs_family *f, const struct kind *k)
{
    static const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 6 };
    char folder[64];
    golden s;
    snprintf(folder, sizeof folder, "heads/%s-%s", f->name, k->folder);
    golden_open(&s, f, folder, &shape);
    check_info(&s, k);
    OK(hs_schema_set(f->settings, s.info.settings.bytes, NULL, "model.task", k->word, NULL));
    for (int i = 0; i < HS_N_ISA; i++) {
        if (!hs_isa_supported((hs_isa)i) || !hs_isa_built((hs_isa)i))
            continue;
        check_eval(&s, k, hs_isa_name((hs_isa)i));
        check_train(&s, k, hs_isa_name((hs_isa)i));
        if (k->task == HS_TASK_SEQUENCE)
            check_weights(&s, k, hs_isa_name((hs_isa)i));
    }
    golden_close(&s);
    subjects++;
}

static void every_head_of_every_family(void **state)
{
    (void)state;
    for (int i = 0; hs_families[i]; i++)
        for (int k = 0; k < HS_COUNT(kinds); k++)
            if (strcmp(kinds[k].folder, "crf") != 0 || strcmp(hs_families[i]->name, "bert") == 0)
                on_family(hs_families[i], &kinds[k]);
    assert_true(subjects >= 41);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_head_of_every_family) };
    return cmocka_run_group_tests_name("heads: PyTorch", tests, NULL, NULL);
}

// A student beside its teacher against what PyTorch computed (tests/golden/distill, made by scripts/gen_golden_distill.py): each loss alone
// and DistilBERT's three together, and their gradients, on every tier this machine runs. The teacher is a model and a run of its own, whose
// outputs are passed into the student's plans.
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

enum { ALL_PAIRS = HS_RELATION_QQ | HS_RELATION_KK | HS_RELATION_VV, FIRST = HS_RELATION_QK | HS_RELATION_VV };

static const struct piece {
    const char *folder, *stored, *task; // task: as model.task, where it is another than the file's
    hs_distill distill;                 // the student's; no states: its last. The teacher's are those as far up
    int teacher_layer;
    double weight[HS_LOSSES]; // what the loss is made of
} pieces[] = {
    { "mlm", "soft", NULL, { .tap[HS_TAP_LOGITS] = true, .no_hard = true, .temperature = 2 }, 0, { [HS_LOSS_SOFT] = 1 } },
    { "mlm", "all", NULL, { .tap[HS_TAP_LOGITS] = true, .no_hard = true, .every_row = true, .temperature = 3 }, 0, { [HS_LOSS_SOFT] = 1 } },
    { "mlm", "cosine", NULL, { .tap[HS_TAP_HIDDEN] = true, .cosine = true }, 0, { [HS_LOSS_COSINE] = 1 } },
    { "mlm", "square", NULL, { .tap[HS_TAP_HIDDEN] = true, .square = true }, 0, { [HS_LOSS_HIDDEN] = 1 } },
    { "mlm",
      "whole",
      NULL,
      { .tap = { false, true, true }, .temperature = 2, .cosine = true },
      0,
      { [HS_LOSS_TOKENS] = 2, [HS_LOSS_SOFT] = 5, [HS_LOSS_COSINE] = 1 } },
    { "relation",
      "v2",
      NULL,
      { .tap[HS_TAP_QKV] = true, .layer = 1, .relation_heads = 4, .pairs = ALL_PAIRS },
      0,
      { [HS_LOSS_RELATION] = 1 } },
    { "relation", "v1", NULL, { .tap[HS_TAP_QKV] = true, .layer = 1, .relation_heads = 2, .pairs = FIRST }, 1, { [HS_LOSS_RELATION] = 1 } },
    { "sequence", "soft", NULL, { .tap[HS_TAP_LOGITS] = true, .no_hard = true, .temperature = 2 }, 0, { [HS_LOSS_SOFT] = 1 } },
    { "sequence", "numbers", "regression", { .tap[HS_TAP_LOGITS] = true, .no_hard = true }, 0, { [HS_LOSS_SOFT] = 1 } },
    { "sequence", "several", "multilabel", { .tap[HS_TAP_LOGITS] = true, .no_hard = true, .temperature = 3 }, 0, { [HS_LOSS_SOFT] = 1 } },
    { "span", "soft", NULL, { .tap[HS_TAP_LOGITS] = true, .no_hard = true, .temperature = 2 }, 0, { [HS_LOSS_SOFT] = 1 } },
    { "tokens", "soft", NULL, { .tap[HS_TAP_LOGITS] = true, .no_hard = true, .temperature = 2 }, 0, { [HS_LOSS_SOFT] = 1 } },
    { "layers",
      "square",
      NULL,
      { .tap[HS_TAP_HIDDEN] = true, .square = true, .n_states = 3, .state = { 0, 1, 2 } },
      0,
      { [HS_LOSS_HIDDEN] = 1 } },
    { "layers",
      "cosine",
      NULL,
      { .tap[HS_TAP_HIDDEN] = true, .cosine = true, .n_states = 1, .state = { 1 } },
      0,
      { [HS_LOSS_COSINE] = 1 } },
    { "gpt2",
      "square",
      NULL,
      { .tap[HS_TAP_HIDDEN] = true, .no_hard = true, .square = true, .n_states = 2, .state = { 0, 1 } },
      0,
      { [HS_LOSS_HIDDEN] = 1 } },
    { "gpt2", "soft", NULL, { .tap[HS_TAP_LOGITS] = true, .no_hard = true, .temperature = 2 }, 0, { [HS_LOSS_SOFT] = 1 } },
};

typedef struct rig {
    golden student;
    hs_model_info info; // the teacher's
    const hs_family *family;
    char dir[600];
    hs_engine *from, *to;
} rig;

static void read_info(const char *dir, hs_model_info *info, const hs_family **family)
{
    const hs_model_files *known[HS_FAMILIES];
    int n = 0;
    for (; hs_families[n]; n++)
        known[n] = &hs_families[n]->files;
    OK(hs_ckpt_read_info(dir, known, n, info));
    for (int i = 0; i < n; i++)
        if (info->files == known[i])
            *family = hs_families[i];
}

static void open_teacher(rig *r, const struct piece *p, const char *isa)
{
    hs_device *device;
    hs_arch_setup setup = { { r->family, r->info.settings.bytes }, r->student.train.shape };
    setup.shape.distill.role = HS_DISTILL_TEACHER, setup.shape.distill.layer = p->teacher_layer;
    for (int i = 0; i < setup.shape.distill.n_states; i++)
        setup.shape.distill.state[i] = (int16_t)(setup.shape.distill.state[i] * hs_arch_int(setup.arch, "model.layers") /
                                                 hs_arch_int(r->student.train.arch, "model.layers"));
    OK(hs_open_device(&device, "cpu", 2, isa, 0, HS_ONEDNN_NO));
    OK(hs_engine_new(
        &r->from,
        &(hs_engine_opts){ .model = hs_arch_trace, .config = &setup, .eval = true, .seed = 1, .device = device, .mode = HS_SUBMIT_BULK }));
    r->from->owns_device = true;
    OK(hs_ckpt_load_params(r->dir, &(hs_ckpt_opts){ .files = &r->family->files, .heads_open = true }, r->from->params));
    assert_null(r->from->params->grad);
}

static int64_t counted(const rig *r, hs_loss loss, int64_t tokens)
{
    static const char *const columns[] = { "targets", "task.targets" };
    const int64_t seqs = golden_stored(&r->student, "starts")->dim[0] - 1;
    if (loss == HS_LOSS_RELATION || loss == HS_LOSS_COSINE || loss == HS_LOSS_HIDDEN)
        return loss == HS_LOSS_RELATION ? seqs : r->student.train.shape.distill.n_states * tokens;
    const hs_task task = hs_arch_task(r->student.train.arch);
    const bool all = task == HS_TASK_REGRESSION || task == HS_TASK_MULTILABEL || task == HS_TASK_SPAN; // whatever their targets are
    if (loss == HS_LOSS_SOFT && (r->student.train.shape.distill.every_row || all))
        return task == HS_TASK_SPAN ? 2 * seqs : task ? seqs : tokens;
    for (int i = 0; i < HS_COUNT(columns); i++) {
        const hs_st_entry *t = golden_has(&r->student, columns[i]) ? golden_stored(&r->student, columns[i]) : NULL;
        int64_t n = 0;
        for (int64_t k = 0; t && k < (int64_t)(t->bytes / sizeof(int32_t)); k++)
            n += ((const int32_t *)t->data)[k] >= 0;
        if (t)
            return n;
    }
    return tokens;
}

static void fill(const rig *r, hs_engine *e, hs_mode mode)
{
    static const struct {
        const char *input, *stored;
    } columns[] = {
        { "picks", "picks" }, { "pick_targets", "targets" }, { "class_targets", "task.targets" }, { "tag_targets", "task.targets" }
    };
    static const int32_t zero[64];
    int64_t picks = 0;
    golden_put_texts(&r->student, e, mode, 0);
    for (int i = 0; i < HS_COUNT(columns); i++)
        if (golden_has(&r->student, columns[i].stored)) {
            const hs_st_entry *t = golden_stored(&r->student, columns[i].stored);
            golden_put(e, mode, columns[i].input, t->data, (int64_t)(t->bytes / sizeof(int32_t)));
            picks = i == 0 ? t->dim[1] : picks;
        }
    golden_put(e, mode, "targets", zero, e->in->n[HS_COUNT_TOKENS]); // a GPT's: every token has one
    e->in->n[HS_COUNT_PICKS] = picks;
}

static void pass(const rig *r, hs_mode mode)
{
    const hs_distill *d = &r->student.train.shape.distill;
    char input[HS_TAP_NAME];
    fill(r, r->from, HS_EVAL);
    OK(hs_engine_run(r->from, HS_EVAL, 0));
    for (int i = 0; i < hs_tap_outputs(d); i++)
        OK(hs_run_pass(r->to->run, r->to->plan[mode], hs_tap_input(d, i, input), r->from->run, r->from->plan[HS_EVAL], i));
}

static void check_loss(const rig *r, const struct piece *p, hs_mode mode, const char *isa)
{
    char name[64];
    snprintf(name, sizeof name, "%s.loss", p->stored);
    const double want = *(const double *)golden_stored(&r->student, name)->data, *l = hs_run_losses(r->to->run, r->to->plan[mode]);
    double sum = 0;
    for (int i = 0; i < HS_LOSSES; i++)
        sum += p->weight[i] > 0 ? l[i] : 0;
    if (!(fabs(sum - want) <= 1e-5 * fabs(want)))
        fail_msg("%s, %s, %s, mode %d: %.8f, should be %.8f", p->folder, p->stored, isa, mode, sum, want);
}

static void run(const rig *r, const struct piece *p, hs_mode mode, const char *isa)
{
    char prefix[64];
    fill(r, r->to, mode);
    for (int i = 0; i < HS_LOSSES; i++)
        r->to->in->inv_count[i] = (float)(p->weight[i] / (double)counted(r, (hs_loss)i, r->to->in->n[HS_COUNT_TOKENS]));
    pass(r, mode);
    OK(hs_engine_run(r->to, mode, HS_MICRO_FIRST | HS_MICRO_LAST));
    check_loss(r, p, mode, isa);
    if (mode != HS_TRAIN)
        return;
    snprintf(prefix, sizeof prefix, "%s.grad.", p->stored);
    golden_check_gradients(&r->student, r->to, prefix, false, isa);
}

static void on_piece(const struct piece *p, const char *isa)
{
    static const hs_arch_shape shape = { .max_tokens = 40, .max_seqs = 6, .max_picks = 8 };
    rig r = { 0 };
    char folder[64];
    const hs_family *family = NULL;
    hs_model_info info = { 0 };
    hs_optim_config optim;
    optim = hs_optim_preset(HS_PRESET_ADAMW);
    snprintf(folder, sizeof folder, "distill/%s", p->folder);
    snprintf(r.dir, sizeof r.dir, HS_TESTS_DIR "/golden/%s", folder);
    read_info(r.dir, &info, &family);
    hs_model_info_free(&info);
    golden_open(&r.student, family, folder, &shape);
    strcat(r.dir, "/teacher");
    read_info(r.dir, &r.info, &r.family);
    if (p->task) {
        OK(hs_schema_set(r.family->settings, r.info.settings.bytes, NULL, "model.task", p->task, NULL));
        OK(hs_schema_set(family->settings, r.student.info.settings.bytes, NULL, "model.task", p->task, NULL));
    }
    hs_distill *d = &r.student.train.shape.distill;
    *d = p->distill;
    d->role = HS_DISTILL_STUDENT;
    d->other_width = hs_arch_int((hs_arch){ r.family, r.info.settings.bytes }, "model.width");
    if (d->tap[HS_TAP_HIDDEN] && !d->n_states)
        d->n_states = 1, d->state[0] = (int16_t)hs_arch_int((hs_arch){ family, r.student.info.settings.bytes }, "model.layers");
    r.student.eval.shape.distill = *d, r.student.eval.shape.logits = false;
    open_teacher(&r, p, isa);
    r.to = golden_engine(&r.student, isa, &optim);
    run(&r, p, HS_EVAL, isa);
    run(&r, p, HS_TRAIN, isa);
    hs_engine_free(r.from), hs_engine_free(r.to);
    golden_close(&r.student);
    hs_model_info_free(&r.info);
}

static void every_piece(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(pieces); i++)
        for (int isa = 0; isa < HS_N_ISA; isa++)
            if (hs_isa_supported((hs_isa)isa) && hs_isa_built((hs_isa)isa))
                on_piece(&pieces[i], hs_isa_name((hs_isa)isa));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_piece) };
    return cmocka_run_group_tests_name("distillation: PyTorch", tests, NULL, NULL);
}

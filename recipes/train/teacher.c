// teacher: a model of its own beside the student's, with a plan for each of the student's.
#include "recipes/train/teacher.h"
#include "infer/session/session.h"
#include "recipes/train/weights_from.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct told { // by the teacher's files
    hs_model_info info;
    hs_arch arch; // its settings are info's
} told;

static hs_status read_told(told *t, const hs_config *c)
{
    const hs_family *family = NULL;
    *t = (told){ 0 };
    const hs_status st = hs_session_info(c->table->families, c->distill.teacher, &t->info, &family);
    t->arch = (hs_arch){ family, t->info.settings.bytes };
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- does the student fit it?
static const char *task_word(hs_arch m)
{
    static const char *const words[HS_TASKS] = { "none", "sequence", "regression", "multilabel", "tokens", "span" };
    return words[hs_arch_task(m)];
}

// Logits of both must mean the same.
static hs_status check_logits(const hs_config *c, const told *t)
{
    const hs_arch m = hs_config_arch(c);
    const bool task = hs_arch_task(m) != HS_TASK_NONE;
    const char *dir = c->distill.teacher;
    char at[128];
    hs_config_prefix(c, "distill.soft", at, sizeof at);
    if (hs_arch_task(t->arch) != hs_arch_task(m))
        return HS_FAIL(USAGE,
                       "%sdistill.soft is %g, but model.task is %s, and that of distill.teacher %s %s (distill.soft: 0 does without)", at,
                       c->distill.soft, task_word(m), dir, task_word(t->arch));
    const hs_arch both[] = { m, t->arch };
    for (int i = 0; i < 2 && !task; i++)
        if (!hs_arch_wears(both[i], HS_LOSS_TOKENS))
            return HS_FAIL(USAGE, "%sdistill.soft is %g, but %s%s has no head that predicts tokens (distill.soft: 0 does without)", at,
                           c->distill.soft, i ? "distill.teacher " : "the model", i ? dir : "");
    return HS_OK;
}

static hs_status check_hidden(const hs_config *c, int64_t ours, int64_t theirs)
{
    const char *key = c->distill.cosine > 0 ? "distill.cosine" : "distill.hidden";
    char at[128];
    if (ours == theirs || !(c->distill.cosine > 0 || c->distill.hidden > 0))
        return HS_OK;
    return HS_FAIL(
        USAGE, "%s%s compares hidden states, but model.width is %lld and that of distill.teacher %s %lld (distill.relation compares any)",
        hs_config_prefix(c, key, at, sizeof at), key, (long long)ours, c->distill.teacher, (long long)theirs);
}

static hs_status check_relation(const hs_config *c, int64_t ours, int64_t theirs)
{
    char at[128];
    const int64_t heads = c->distill.relation_heads;
    if (!(c->distill.relation > 0))
        return HS_OK;
    if (c->distill.teacher_layer > c->distill.other_layers)
        return HS_FAIL(USAGE, "%sdistill.teacher_layer is %lld, but distill.teacher %s has %lld layers",
                       hs_config_prefix(c, "distill.teacher_layer", at, sizeof at), (long long)c->distill.teacher_layer, c->distill.teacher,
                       (long long)c->distill.other_layers);
    if (ours % heads || theirs % heads)
        return HS_FAIL(USAGE, "%sdistill.relation_heads is %lld, which does not divide %s %lld%s%s",
                       hs_config_prefix(c, "distill.relation_heads", at, sizeof at), (long long)heads,
                       ours % heads ? "model.width" : "the width", (long long)(ours % heads ? ours : theirs),
                       ours % heads ? "" : " of distill.teacher ", ours % heads ? "" : c->distill.teacher);
    return HS_OK;
}

// Layers that are copied are of one shape; what else is not alike is told when they are.
static hs_status check_layers(const hs_config *c, const told *t)
{
    static const char *const alike[] = { "model.width", "model.ff", "model.embed_width" };
    const hs_arch m = hs_config_arch(c);
    char at[128];
    hs_config_prefix(c, "distill.layers", at, sizeof at);
    for (int i = 0; i < c->distill.layers.n; i++)
        if (c->distill.layers.v[i] < 0 || c->distill.layers.v[i] >= c->distill.other_layers)
            return HS_FAIL(USAGE, "%sdistill.layers names %lld, but distill.teacher %s has layers 0 to %lld", at,
                           (long long)c->distill.layers.v[i], c->distill.teacher, (long long)c->distill.other_layers - 1);
    for (int i = 0; i < HS_COUNT(alike) && c->distill.layers.n; i++) {
        const hs_key *ours = hs_schema_find(m.family->settings, NULL, alike[i]).key,
                     *theirs = hs_schema_find(t->arch.family->settings, NULL, alike[i]).key;
        const int64_t a = ours ? hs_arch_meant(m, ours) : 0, b = theirs ? hs_arch_meant(t->arch, theirs) : 0;
        if (ours && theirs && a != b)
            return HS_FAIL(USAGE, "%sdistill.layers copies layers, but %s is %lld and that of distill.teacher %s %lld", at, alike[i],
                           (long long)a, c->distill.teacher, (long long)b);
    }
    if (c->distill.layers.n && (hs_arch_int(m, "model.groups") || hs_arch_int(t->arch, "model.groups")))
        return HS_FAIL(USAGE, "%sdistill.layers copies layers, but those of %s share their parameters", at,
                       hs_arch_int(m, "model.groups") ? "the model" : c->distill.teacher);
    return HS_OK;
}

static hs_status check_family(const hs_config *c, const told *t)
{
    const hs_arch m = hs_config_arch(c);
    const int64_t ours = hs_arch_int(m, "model.vocab"), theirs = hs_arch_int(t->arch, "model.vocab");
    char at[128];
    if (m.family->batch != t->arch.family->batch)
        return HS_FAIL(USAGE, "model.type is %s, but distill.teacher %s has %s, which reads other batches", m.family->name,
                       c->distill.teacher, t->arch.family->name);
    if (ours != theirs)
        return HS_FAIL(USAGE, "%smodel.vocab is %lld, but distill.teacher %s has another vocabulary, of %lld tokens",
                       hs_config_prefix(c, "model.vocab", at, sizeof at), (long long)ours, c->distill.teacher, (long long)theirs);
    return HS_OK;
}

static hs_status take(hs_config *c, const told *t)
{
    c->distill.other_width = hs_arch_int(t->arch, "model.width"), c->distill.other_layers = hs_arch_int(t->arch, "model.layers");
    c->distill.other_labels = hs_arch_int(t->arch, "model.labels");
    if (!hs_config_model_int(c, "model.vocab"))
        HS_TRY(hs_config_set_int(c, "model.vocab", hs_arch_int(t->arch, "model.vocab"), "distill.teacher"));
    const int64_t ours = hs_config_model_int(c, "model.width");
    HS_TRY(check_family(c, t));
    HS_TRY(hs_config_check_student(c));
    if (c->distill.soft > 0)
        HS_TRY(check_logits(c, t));
    HS_TRY(check_hidden(c, ours, c->distill.other_width));
    HS_TRY(check_relation(c, ours, c->distill.other_width));
    return check_layers(c, t);
}

hs_status hs_teacher_take(hs_config *c)
{
    char dir[4096], where[sizeof c->origin[0].text];
    told t;
    if (!hs_config_learns(c))
        return HS_OK;
    snprintf(where, sizeof where, "%s", hs_config_where(c, "distill.teacher"));
    HS_TRY(hs_ckpt_resolve(c->distill.teacher, 0, dir, sizeof dir));
    HS_TRY(hs_config_set(c, "distill.teacher", dir, where)); // a run's newest checkpoint of now, whenever this run goes on
    hs_status st = read_told(&t, c);
    if (st == HS_OK)
        st = take(c, &t);
    hs_model_info_free(&t.info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_teacher_check_tokenizer(const hs_config *c, const hs_tokenizer *t)
{
    hs_tokenizer *theirs;
    if (!hs_config_learns(c) || !hs_tokenizer_found(c->distill.teacher))
        return HS_OK;
    HS_TRY(hs_tokenizer_load(&theirs, c->distill.teacher));
    const bool same = hs_tokenizer_gives(theirs, hs_tokenizer_hash(t));
    const hs_status st = same ? HS_OK
                              : HS_FAIL(USAGE,
                                        "the tokenizer of this run (%s, %lld tokens) is not that of distill.teacher %s (%s, %lld tokens): "
                                        "what a student reads must mean the same to its teacher",
                                        hs_tokenizer_kind(t), (long long)hs_tokenizer_vocab(t), c->distill.teacher,
                                        hs_tokenizer_kind(theirs), (long long)hs_tokenizer_vocab(theirs));
    hs_tokenizer_free(theirs);
    return st;
}

hs_status hs_teacher_check_labels(const hs_config *c)
{
    const int64_t ours = hs_config_model_int(c, "model.labels");
    if (!hs_config_learns(c) || !(c->distill.soft > 0) || ours == c->distill.other_labels)
        return HS_OK;
    return HS_FAIL(USAGE, "model.labels is %lld, but distill.teacher %s tells %lld apart", (long long)ours, c->distill.teacher,
                   (long long)c->distill.other_labels);
}

hs_status hs_teacher_classes(const hs_config *c, hs_labels *out)
{
    told t;
    *out = (hs_labels){ 0 };
    if (!hs_config_learns(c) || !(c->distill.soft > 0))
        return HS_OK;
    hs_status st = read_told(&t, c);
    if (st == HS_OK && hs_arch_task(t.arch) == hs_arch_task(hs_config_arch(c)) && !hs_labels_nameless(&t.info.labels))
        st = hs_labels_copy(out, &t.info.labels);
    hs_model_info_free(&t.info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- a run beside the student's
struct hs_teacher {
    told told;
    hs_distill distill; // role HS_DISTILL_TEACHER
    hs_model *model;
    hs_run *run;
    int plan[2]; // by hs_mode of the student's
    bool settled;
};

static hs_distill teaching(const hs_config *c)
{
    hs_distill d = hs_config_distill(c);
    d.role = HS_DISTILL_TEACHER;
    d.layer = (int)(c->distill.teacher_layer ? c->distill.teacher_layer : c->distill.other_layers) - 1;
    hs_config_states(c, NULL, d.state);
    return d;
}

// Heads and widths that do not divide over the student's ranks are told as whose they are.
static hs_status is_teachers(hs_status st, const hs_config *c)
{
    char message[1024];
    snprintf(message, sizeof message, "%s", hs_error());
    return hs_fail_at(st, __FILE__, __LINE__, "distill.teacher %s: %s", c->distill.teacher, message);
}

static hs_status plan(hs_teacher *t, const hs_config *c, const hs_feed *f, const hs_model *student)
{
    hs_policy own = student->policy;
    own.n_overrides = 0;          // of scopes and operations of the student
    own.quant = (hs_quant_policy){ 0 }; // it is the student that will be kept as codes
    const int64_t context = hs_arch_int(t->told.arch, "model.context");
    if (f->length > context)
        return HS_FAIL(USAGE,
                       "sequences have up to %lld tokens (data.length, else model.context), distill.teacher %s has positions for %lld",
                       (long long)f->length, c->distill.teacher, (long long)context);
    HS_TRY(hs_model_new(&t->model, &(hs_model_opts){ .device = student->device,
                                                     .policy = &own,
                                                     .micro_steps = HS_VALUES_STAY,
                                                     .releases = true,
                                                     .seed = 1,
                                                     .grid = student->grid,
                                                     .sequence = student->sequence }));
    const hs_arch_setup students[] = { [HS_TRAIN] = hs_feed_setup(f, hs_feed_share(f)), [HS_EVAL] = hs_feed_eval_setup(f) };
    hs_status st = HS_OK;
    for (int mode = HS_TRAIN; mode <= HS_EVAL && st == HS_OK; mode++) {
        hs_arch_setup own_setup = { t->told.arch, students[mode].shape };
        own_setup.shape.distill = t->distill;
        st = hs_model_plan(t->model, HS_EVAL, hs_arch_trace, &own_setup, &t->plan[mode]);
    }
    return st == HS_OK ? HS_OK : is_teachers(st, c);
}

static hs_status planned(hs_teacher **out, const hs_config *c, const hs_feed *f, const hs_model *student)
{
    hs_teacher *t = *out = calloc(1, sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for a teacher");
    HS_TRY(read_told(&t->told, c));
    t->distill = teaching(c);
    return plan(t, c, f, student);
}

static hs_status ready(hs_teacher *t, const hs_config *c)
{
    HS_TRY(hs_model_alloc(t->model, false));
    HS_TRY(hs_ckpt_load_params(c->distill.teacher, &(hs_ckpt_opts){ .files = t->told.info.files, .heads_open = true }, t->model->params));
    return hs_run_new(&t->run, t->model, &(hs_run_opts){ .mode = hs_config_mode(c, t->model->device) });
}

hs_status hs_teacher_open(hs_teacher **out, const hs_config *c, const hs_feed *f, const hs_model *student)
{
    hs_status st = planned(out, c, f, student);
    if (st == HS_OK)
        st = ready(*out, c);
    if (st == HS_OK)
        return HS_OK;
    hs_teacher_free(*out);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_teacher_bytes(const hs_config *c, const hs_feed *f, const hs_model *student, size_t *bytes)
{
    hs_teacher *t;
    *bytes = 0;
    if (!hs_config_learns(c))
        return HS_OK;
    const hs_status st = planned(&t, c, f, student);
    if (st == HS_OK) {
        const hs_model_bytes b = hs_model_bytes_of(t->model);
        *bytes = b.slabs.all + b.derived + b.workspace + b.states + b.inputs;
    }
    hs_teacher_free(t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_teacher_free(hs_teacher *t)
{
    if (!t)
        return;
    hs_run_free(t->run);
    hs_model_free(t->model);
    hs_model_info_free(&t->told.info);
    free(t);
}

const hs_model *hs_teacher_model(const hs_teacher *t) { return t->model; }

hs_status hs_teacher_settle(hs_teacher *t)
{
    if (t->settled)
        return HS_OK;
    t->settled = true;
    return hs_model_release_values(t->model);
}

// ---- a student that begins as layers of its teacher
// "l3.attn.qkv.weight" of the student is "l7.attn.qkv.weight" of the teacher: a scope of letters and a number is a layer's.
static hs_param *model_of(const hs_teacher *t, const hs_config *c, const char *name)
{
    char theirs[256];
    size_t letters = 0;
    while (isalpha((unsigned char)name[letters]))
        letters++;
    char *end = NULL;
    const long layer = strtol(name + letters, &end, 10);
    if (!letters || end == name + letters || *end != '.')
        return hs_params_find(t->model->params, name);
    if (layer < 0 || layer >= c->distill.layers.n)
        return NULL;
    snprintf(theirs, sizeof theirs, "%.*s%lld%s", (int)letters, name, (long long)c->distill.layers.v[layer], end);
    return hs_params_find(t->model->params, theirs);
}

// Of tables the rows may differ: positions.
static bool fits(const hs_param *a, const hs_param *b)
{
    if (a->role == HS_EMBED && b->role == HS_EMBED && a->n_dims == 2 && b->n_dims == 2)
        return a->logical[1] == b->logical[1];
    return a->n_dims == b->n_dims && memcmp(a->logical, b->logical, (size_t)a->n_dims * sizeof *a->logical) == 0;
}

static hs_status check_shapes(const hs_teacher *t, const hs_config *c, const hs_params *student, int64_t *most)
{
    *most = 0;
    for (int i = 0; i < student->n_params; i++) {
        const hs_param *p = student->param[i], *from = model_of(t, c, p->name);
        if (from && !fits(p, from))
            return HS_FAIL(USAGE, "distill.layers: %s of the student has another shape than %s of distill.teacher %s", p->name, from->name,
                           c->distill.teacher);
        *most = hs_param_elements(p) > *most ? hs_param_elements(p) : *most;
        *most = from && hs_param_elements(from) > *most ? hs_param_elements(from) : *most;
    }
    return HS_OK;
}

// A table of positions that is shorter has the first of them; one that is longer keeps what was drawn behind them.
static hs_status copy(const hs_teacher *t, hs_params *student, const hs_param *p, const hs_param *from, float *buf, float *own)
{
    hs_params_export(student, student->master, p, own);
    HS_TRY(hs_params_values(t->model->params, from, buf));
    const int64_t n = hs_param_elements(p) < hs_param_elements(from) ? hs_param_elements(p) : hs_param_elements(from);
    memcpy(own, buf, (size_t)n * sizeof *own);
    return hs_params_import(student, student->master, p, own);
}

hs_status hs_teacher_begin(const hs_teacher *t, const hs_config *c, hs_params *student)
{
    int64_t most;
    if (!c->distill.layers.n)
        return HS_OK;
    HS_TRY(check_shapes(t, c, student, &most));
    float *buf = malloc((size_t)(2 * most) * sizeof *buf + 1);
    if (!buf)
        return HS_FAIL(MEMORY, "no memory for %lld values of distill.teacher", (long long)most);
    hs_status st = HS_OK;
    for (int i = 0; i < student->n_params && st == HS_OK; i++) {
        const hs_param *p = student->param[i], *from = model_of(t, c, p->name);
        if (from)
            st = copy(t, student, p, from, buf, buf + most);
    }
    free(buf);
    HS_TRY(st);
    hs_params_refresh_low(student);
    hs_params_changed(student);
    return HS_OK;
}

// ---- a batch
hs_status hs_teacher_show(hs_teacher *t, hs_mode mode, const hs_batch *batch, hs_run *student, int plan)
{
    hs_step_in *in = hs_run_in(t->run);
    char input[HS_TAP_NAME];
    HS_TRY(hs_run_feed(t->run, t->plan[mode], batch));
    in->n_micro = 1;
    HS_TRY(hs_run_forward(t->run, t->plan[mode]));
    for (int i = 0; i < hs_tap_outputs(&t->distill); i++)
        HS_TRY(hs_run_pass(student, plan, hs_tap_input(&t->distill, i, input), t->run, t->plan[mode], i));
    return HS_OK;
}

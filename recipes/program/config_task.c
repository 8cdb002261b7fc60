// config_task: what labelled data ask of a run - which head the model wears for them, and settings of task.* that are another task's.
#include "recipes/program/config.h"
#include <stdlib.h>
#include <string.h>

static const hs_task task_of[HS_ABOUTS] = {
    [HS_ABOUT_SEQUENCE] = HS_TASK_SEQUENCE,
    [HS_ABOUT_PAIR] = HS_TASK_SEQUENCE,
    [HS_ABOUT_REGRESSION] = HS_TASK_REGRESSION,
    [HS_ABOUT_MULTILABEL] = HS_TASK_MULTILABEL,
    [HS_ABOUT_TOKENS] = HS_TASK_TOKENS,
    [HS_ABOUT_SPAN] = HS_TASK_SPAN,
    [HS_ABOUT_LM] = HS_TASK_NONE,
};

hs_task hs_config_task(const hs_config *c) { return hs_config_labelled(c) ? task_of[hs_config_about(c)] : HS_TASK_NONE; }

hs_batch_kind hs_config_batch(const hs_config *c) { return hs_config_labelled(c) ? HS_BATCH_LABELLED : hs_arch_batch(hs_config_arch(c)); }

// Word i of "a|b|c".
static void word_at(const char *words, int i, char *buf, size_t size)
{
    for (; i > 0; i--)
        words = strchr(words, '|') + 1;
    snprintf(buf, size, "%.*s", (int)strcspn(words, "|"), words);
}

// Origins are the configuration's own bytes.
static hs_status set_as(hs_config *c, const char *key, const char *value, const char *of)
{
    char where[sizeof c->origin[0].text];
    snprintf(where, sizeof where, "%s", hs_config_where(c, of));
    return hs_config_set(c, key, value, where);
}

// A model with a task wears no other head.
static hs_status take_off_heads(hs_config *c, const hs_family *family)
{
    for (int i = 0; i < family->settings->n; i++) {
        const hs_key *k = &family->settings->key[i];
        if (k->type == HS_KEY_BOOL && hs_family_wears(family, k->name) && hs_config_is_default(c, k->name) && strcmp(k->value, "true") == 0)
            HS_TRY(set_as(c, k->name, "false", "task.kind"));
    }
    return HS_OK;
}

hs_status hs_config_settle_task(hs_config *c)
{
    char word[32], is[32], kind[32], at[128];
    if (!hs_config_labelled(c))
        return HS_OK;
    const hs_family *family = hs_config_arch(c).family;
    const hs_task task = hs_config_task(c);
    const bool has = hs_schema_find(family->settings, NULL, "model.task").key != NULL;
    hs_config_text(c, "task.kind", kind, sizeof kind);
    if (!has && task == HS_TASK_NONE)
        return HS_OK;
    if (!has)
        return HS_FAIL(USAGE, "%stask.kind is %s, but model.type %s has no head for it", hs_config_prefix(c, "task.kind", at, sizeof at),
                       kind, family->name);
    word_at(HS_TASK_WORDS, (int)task, word, sizeof word);
    hs_config_text(c, "model.task", is, sizeof is);
    if (strcmp(is, word) != 0 && !hs_config_is_default(c, "model.task"))
        return HS_FAIL(USAGE, "%smodel.task is %s, but task.kind %s asks for %s", hs_config_prefix(c, "model.task", at, sizeof at), is,
                       kind, word);
    HS_TRY(set_as(c, "model.task", word, "task.kind"));
    return task == HS_TASK_NONE ? HS_OK : take_off_heads(c, family);
}

// ---- agreement between values
enum {
    SEQUENCE = 1 << HS_ABOUT_SEQUENCE,
    PAIR = 1 << HS_ABOUT_PAIR,
    REGRESSION = 1 << HS_ABOUT_REGRESSION,
    MULTILABEL = 1 << HS_ABOUT_MULTILABEL,
    TOKENS = 1 << HS_ABOUT_TOKENS,
    SPAN = 1 << HS_ABOUT_SPAN,
    LM = 1 << HS_ABOUT_LM,
    CLASSES = SEQUENCE | PAIR | TOKENS,
    EVERY = CLASSES | REGRESSION | MULTILABEL | SPAN | LM,
};
static const struct whose { // tasks that a setting is for
    const char *key;
    unsigned tasks;
} rows[] = {
    { "task.format", EVERY },
    { "task.text", EVERY },
    { "task.text2", SEQUENCE | PAIR | REGRESSION | MULTILABEL | SPAN | LM },
    { "task.label", EVERY },
    { "task.id", EVERY },
    { "task.labels", CLASSES | MULTILABEL },
    { "task.head", EVERY & ~LM },
    { "task.scheme", TOKENS },
    { "task.scheme_to", TOKENS },
    { "task.class_weights", CLASSES },
    { "task.weights", CLASSES },
    { "task.label_smoothing", CLASSES },
    { "task.metric", EVERY },
    { "task.stride", TOKENS | SPAN },
    { "task.max_query", SPAN },
    { "task.context", TOKENS },
    { "task.all_subtokens", TOKENS },
    { "task.drop", SPAN },
    { "task.n_best", SPAN },
    { "task.max_answer", SPAN },
    { "task.null_threshold", SPAN },
    { "task.prefix_space", TOKENS },
    { "train.unfreeze", EVERY },
};

// Another value than nobody's: what a resolved configuration says of every task is no harm.
static bool differs(const hs_config *c, const char *key, char *buf, size_t size)
{
    const hs_key_at at = hs_schema_find(&c->table->schema, c, key);
    hs_config_text(c, key, buf, size);
    if (at.key->type == HS_KEY_INT || at.key->type == HS_KEY_REAL)
        return strtod(buf, NULL) != strtod(at.key->value, NULL);
    return strcmp(buf, at.key->type == HS_KEY_REALS && !at.key->value[0] ? "[]" : at.key->value) != 0 && buf[0];
}

static hs_status check_rows(const hs_config *c)
{
    char is[HS_KEY_STRING_BYTES], kind[32], at[128];
    hs_config_text(c, "task.kind", kind, sizeof kind);
    for (int i = 0; i < HS_COUNT(rows); i++) {
        if (!differs(c, rows[i].key, is, sizeof is) || (hs_config_labelled(c) && rows[i].tasks & 1u << hs_config_about(c)))
            continue;
        if (!hs_config_labelled(c))
            return HS_FAIL(USAGE, "%s%s is %s, but task.kind is none: it is for labelled data",
                           hs_config_prefix(c, rows[i].key, at, sizeof at), rows[i].key, is);
        return HS_FAIL(USAGE, "%s%s is %s, which is not for task.kind %s", hs_config_prefix(c, rows[i].key, at, sizeof at), rows[i].key, is,
                       kind);
    }
    return HS_OK;
}

static hs_status check_weights(const hs_config *c)
{
    char at[128];
    const bool list = c->task.class_weights == HS_WEIGHTS_LIST;
    if (list && !c->task.weights.n)
        return HS_FAIL(USAGE, "%stask.class_weights is list, but task.weights is not set",
                       hs_config_prefix(c, "task.class_weights", at, sizeof at));
    if (!list && c->task.weights.n)
        return HS_FAIL(USAGE, "%stask.weights is set, but task.class_weights is not list",
                       hs_config_prefix(c, "task.weights", at, sizeof at));
    return HS_OK;
}

// What is counted in epochs, of a run that has one stretch.
static hs_status check_epochs(const hs_config *c)
{
    const char *const each[] = { "train.eval_every", "checkpoint.every" };
    const int64_t value[] = { c->train.eval_every, c->checkpoint.every };
    char at[128], *end;
    for (int i = 0; i < HS_COUNT(each); i++)
        if (value[i] < 0 && !(c->train.epochs > 0))
            return HS_FAIL(USAGE, "%s%s is -1, an epoch, but train.epochs is not set: the run is train.steps long",
                           hs_config_prefix(c, each[i], at, sizeof at), each[i]);
    if (c->train.patience && c->data.val[0] && strtod(c->data.val, &end) == 0 && !*end)
        return HS_FAIL(USAGE, "%strain.patience is %lld, but data.val is 0: without validation data nothing can be judged",
                       hs_config_prefix(c, "train.patience", at, sizeof at), (long long)c->train.patience);
    return HS_OK;
}

static hs_status check_one_stretch(const hs_config *c)
{
    const struct {
        const char *key;
        bool set;
    } alone[] = { { "task.kind", hs_config_labelled(c) },
                  { "train.epochs", c->train.epochs > 0 },
                  { "train.patience", c->train.patience > 0 } };
    char at[128], is[32];
    for (int i = 0; i < HS_COUNT(alone) && c->n_phases; i++) {
        if (!alone[i].set)
            continue;
        hs_config_text(c, alone[i].key, is, sizeof is);
        return HS_FAIL(USAGE, "%s%s is %s, and there are phases: a run in phases has steps, and texts without labels",
                       hs_config_prefix(c, alone[i].key, at, sizeof at), alone[i].key, is);
    }
    return HS_OK;
}

static hs_status check_model(const hs_config *c)
{
    if (hs_config_labelled(c) && !c->train.init_from[0] && hs_config_is_default(c, "model.type"))
        return HS_FAIL(USAGE,
                       "train.init_from is not set: name the model to fine-tune, --init_from DIR in halfstep finetune (or a model to "
                       "train from nothing, model.type and its sizes)");
    return HS_OK;
}

hs_status hs_config_check_task(const hs_config *c)
{
    HS_TRY(check_model(c));
    HS_TRY(check_one_stretch(c));
    HS_TRY(check_rows(c));
    HS_TRY(check_weights(c));
    return check_epochs(c);
}

bool hs_config_chain(const hs_config *c)
{
    const hs_arch m = hs_config_arch(c);
    const hs_key *k = hs_schema_find(m.family->settings, NULL, "model.crf").key;
    return k && *(const bool *)((const char *)m.settings + k->offset);
}

// Also of a head that train.init_from has.
static hs_status check_chain(const hs_config *c)
{
    const struct {
        const char *key;
        bool set;
    } keys[] = { { "task.class_weights", c->task.class_weights != HS_WEIGHTS_NONE },
                 { "task.label_smoothing", c->task.label_smoothing > 0 } };
    char at[128], is[64];
    for (int i = 0; i < HS_COUNT(keys) && hs_config_chain(c); i++) {
        if (!keys[i].set)
            continue;
        hs_config_text(c, keys[i].key, is, sizeof is);
        return HS_FAIL(USAGE, "%s%s is %s, but model.crf is true: a chain of tags has neither class weights nor label smoothing",
                       hs_config_prefix(c, keys[i].key, at, sizeof at), keys[i].key, is);
    }
    return HS_OK;
}

// A model with a head for a task reads labelled data, and nothing else.
hs_status hs_config_check_head(const hs_config *c)
{
    char at[128], task[32];
    const hs_arch m = hs_config_arch(c);
    if (hs_config_labelled(c))
        HS_TRY(check_chain(c));
    if (hs_config_labelled(c) ? hs_config_about(c) != HS_ABOUT_LM || m.family->batch == HS_BATCH_TEXT : !hs_arch_task(m))
        return HS_OK;
    if (hs_config_labelled(c))
        return HS_FAIL(USAGE, "%stask.kind is lm, but model.type %s does not read from left to right",
                       hs_config_prefix(c, "task.kind", at, sizeof at), m.family->name);
    hs_config_text(c, "model.task", task, sizeof task);
    return HS_FAIL(USAGE, "%smodel.task is %s%s%s: labelled data need task.kind (halfstep finetune), texts without labels model.task none",
                   hs_config_prefix(c, "model.task", at, sizeof at), task, c->train.init_from[0] ? ", that of train.init_from " : "",
                   c->train.init_from);
}

// ---- classes
static hs_status add_label(const hs_config *c, hs_labels *l, const char *name, size_t bytes)
{
    char copy[HS_KEY_STRING_BYTES], at[128];
    int index;
    const int n = l->n;
    snprintf(copy, sizeof copy, "%.*s", (int)bytes, name);
    if (!copy[0])
        return HS_FAIL(USAGE, "%stask.labels: a name is missing in the list", hs_config_prefix(c, "task.labels", at, sizeof at));
    HS_TRY(hs_labels_add(l, copy, &index));
    if (index < n)
        return HS_FAIL(USAGE, "%stask.labels has %s twice", hs_config_prefix(c, "task.labels", at, sizeof at), copy);
    return HS_OK;
}

hs_status hs_config_labels(const hs_config *c, hs_labels *out)
{
    *out = (hs_labels){ 0 };
    for (const char *p = c->task.labels; *p;) {
        const size_t n = strcspn(p, ",");
        const size_t lead = strspn(p, " ");
        size_t end = n;
        while (end > lead && p[end - 1] == ' ')
            end--;
        const hs_status st = add_label(c, out, p + lead, end > lead ? end - lead : 0);
        if (st != HS_OK) {
            hs_labels_free(out);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
        p += n + (p[n] == ',');
    }
    return HS_OK;
}

// weights_from: family, shape and vocabulary of the weights that a run starts or goes on with.
#include "recipes/train/weights_from.h"
#include "infer/session/session.h"
#include "recipes/train/teacher.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// All keys of a family but those that it calls a run's own are the shape of its weights.
static bool is_shape(hs_arch m, const hs_key *k) { return !hs_family_owns(m.family, k->name); }

// Reals that went through a file of six digits are the same.
static bool same_value(const hs_key *k, hs_arch ours, const void *theirs)
{
    const void *a = (const char *)ours.settings + k->offset, *b = (const char *)theirs + k->offset;
    if (k->type == HS_KEY_REAL)
        return fabs(*(const double *)a - *(const double *)b) <= 1e-5 * fabs(*(const double *)a);
    return k->type == HS_KEY_INT      ? hs_arch_meant(ours, k) == hs_arch_meant((hs_arch){ ours.family, theirs }, k)
           : k->type == HS_KEY_BOOL   ? *(const bool *)a == *(const bool *)b
           : k->type == HS_KEY_CHOICE ? *(const int *)a == *(const int *)b
                                      : strcmp(a, b) == 0;
}

hs_status hs_weights_check(const hs_config *c, const hs_model_info *info, const hs_family *family, const char *from)
{
    const hs_arch m = hs_config_arch(c);
    const hs_schema *s = m.family->settings;
    char ours[128], theirs[128];
    if (family != m.family)
        return HS_FAIL(USAGE, "model.type is %s, but %s has %s; --resume none --overwrite starts anew", m.family->name, from, family->name);
    for (int i = 0; i < s->n; i++) {
        const hs_key *k = &s->key[i];
        if (!is_shape(m, k) || same_value(k, m, info->settings.bytes))
            continue;
        hs_schema_format(s, m.settings, (hs_key_at){ .key = k }, ours, sizeof ours);
        hs_schema_format(s, info->settings.bytes, (hs_key_at){ .key = k }, theirs, sizeof theirs);
        return HS_FAIL(USAGE, "%s is %s, but %s has %s; --resume none --overwrite starts anew", k->name, ours, from, theirs);
    }
    return HS_OK;
}

// Settings that were made while model.type was nobody's go on where the family of the weights has them too.
static hs_status change_family(hs_config *c, const hs_config *before, const hs_family *family, const char *source)
{
    const hs_family *old = hs_config_arch(before).family;
    char word[64], text[HS_KEY_STRING_BYTES];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(family->words, "|"), family->words);
    HS_TRY(hs_config_set(c, "model.type", word, "train.init_from"));
    for (int i = 0; i < old->settings->n; i++) {
        const char *key = old->settings->key[i].name;
        if (hs_config_is_default(before, key))
            continue;
        if (!hs_schema_find(family->settings, NULL, key).key)
            return HS_FAIL(USAGE, "%s: %s is a setting of model.type %s, but train.init_from %s has %s", hs_config_where(before, key), key,
                           old->name, source, family->name);
        hs_config_text(before, key, text, sizeof text);
        HS_TRY(hs_config_set(c, key, text, hs_config_where(before, key)));
    }
    return HS_OK;
}

// The family of the weights, unless the settings name another one or have keys of another.
static hs_status take_family(hs_config *c, const hs_family *family, const char *source)
{
    const hs_arch m = hs_config_arch(c);
    if (family == m.family)
        return HS_OK;
    if (!hs_config_is_default(c, "model.type"))
        return HS_FAIL(USAGE, "%s: model.type is %s, but train.init_from %s has %s", hs_config_where(c, "model.type"), m.family->name,
                       source, family->name);
    hs_config *before = malloc(sizeof *before);
    if (!before)
        return HS_FAIL(MEMORY, "no memory for settings");
    *before = *c;
    const hs_status st = change_family(c, before, family, source);
    free(before);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// Settings that say anything of what the model wears say all of it.
static bool says_heads(const hs_config *c, const hs_family *f)
{
    for (int i = 0; i < f->settings->n; i++)
        if (hs_family_wears(f, f->settings->key[i].name) && !hs_config_is_default(c, f->settings->key[i].name))
            return true;
    return false;
}

// A head for the very task that is asked for is kept as it is.
static bool head_goes_on(const hs_config *c, const hs_family *family, const hs_model_info *info)
{
    const hs_task task = hs_arch_task(hs_config_arch(c));
    return task != HS_TASK_NONE && c->task.head == HS_HEAD_KEEP && hs_arch_task((hs_arch){ family, info->settings.bytes }) == task;
}

// Weights to start from bring their shape; a setting that says otherwise is refused. Heads may be others: they are drawn, or left out.
static hs_status take_settings(hs_config *c, const hs_model_info *info, const hs_family *family, const char *source)
{
    HS_TRY(take_family(c, family, source));
    HS_TRY(hs_config_settle_task(c));
    const hs_arch m = hs_config_arch(c);
    const hs_schema *s = family->settings;
    const bool heads = says_heads(c, family), goes_on = head_goes_on(c, family, info);
    for (int i = 0; i < s->n; i++) {
        const hs_key *k = &s->key[i];
        char ours[HS_KEY_STRING_BYTES], theirs[HS_KEY_STRING_BYTES];
        const bool open = strcmp(k->name, "model.vocab") == 0 && hs_arch_int(m, k->name) == 0;
        if (!is_shape(m, k))
            continue;
        hs_schema_format(s, m.settings, (hs_key_at){ .key = k }, ours, sizeof ours);
        hs_schema_format(s, info->settings.bytes, (hs_key_at){ .key = k }, theirs, sizeof theirs);
        if (heads && hs_family_wears(family, k->name) && !(goes_on && strcmp(k->name, "model.crf") == 0))
            continue;
        if (!open && !hs_config_is_default(c, k->name) && !same_value(k, m, info->settings.bytes))
            return HS_FAIL(USAGE, "%s: %s is %s, but train.init_from %s has %s", hs_config_where(c, k->name), k->name, ours, source,
                           theirs);
        HS_TRY(hs_config_set(c, k->name, theirs, "train.init_from"));
    }
    if (!heads && hs_arch_bare(hs_config_arch(c)) && !hs_config_learns(c))
        return HS_FAIL(
            USAGE,
            "train.init_from %s is an encoder without a head, which has no loss: --model.mlm=true gives it one that predicts tokens, "
            "drawn anew",
            source);
    return HS_OK;
}

static hs_status take_shape(hs_config *c, const char *source)
{
    hs_model_info info = { 0 };
    const hs_family *family;
    hs_status st = hs_session_info(c->table->families, source, &info, &family);
    if (st == HS_OK)
        st = take_settings(c, &info, family, source);
    hs_model_info_free(&info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// Of pruned weights: what is zero stays zero, unless the settings say otherwise.
static hs_status take_sparsity(hs_config *c, const char *source)
{
    hs_model_info info = { 0 };
    const hs_family *family;
    if (!source[0] || c->train.keep_zeros[0])
        return HS_OK;
    hs_status st = hs_session_info(c->table->families, source, &info, &family);
    if (st == HS_OK && info.sparsity.pattern[0])
        st = hs_config_set(c, "train.keep_zeros", info.sparsity.weights, c->train.init_from[0] ? "train.init_from" : "--resume");
    hs_model_info_free(&info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_weights_take(hs_config *c, const hs_run_dir *run, const char **tokenizer_dir)
{
    if (c->train.init_from[0]) // a run that goes on has its own copy of what it took over
        HS_TRY(take_shape(c, run->from[0] ? run->from : run->init));
    else
        HS_TRY(hs_config_settle_task(c));
    HS_TRY(take_sparsity(c, run->from[0] ? run->from : run->init));
    HS_TRY(hs_teacher_take(c));
    return hs_weights_tokenizer(c, run, tokenizer_dir);
}

// "LABEL_0", "LABEL_1", ...: transformers' names for what nobody named.
bool hs_labels_nameless(const hs_labels *l)
{
    char name[32];
    int i = 0;
    while (i < l->n && snprintf(name, sizeof name, "LABEL_%d", i) > 0 && strcmp(l->name[i], name) == 0)
        i++;
    return i == l->n;
}

hs_status hs_weights_classes(const hs_config *c, const hs_run_dir *run, hs_labels *out)
{
    hs_model_info info = { 0 };
    const hs_family *family;
    *out = (hs_labels){ 0 };
    if (!run->from[0] && (!run->init[0] || c->task.head == HS_HEAD_NEW))
        return HS_OK;
    hs_status st = hs_session_info(c->table->families, run->from[0] ? run->from : run->init, &info, &family);
    if (st == HS_OK && hs_arch_task((hs_arch){ family, info.settings.bytes }) == hs_arch_task(hs_config_arch(c)) &&
        (run->from[0] || !hs_labels_nameless(&info.labels)))
        st = hs_labels_copy(out, &info.labels);
    hs_model_info_free(&info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_weights_labels(hs_config *c, int64_t have)
{
    char at[128];
    const int64_t labels = hs_config_model_int(c, "model.labels");
    if (!labels && have)
        return hs_config_set_int(c, "model.labels", have, "data.train");
    if (labels != have)
        return HS_FAIL(USAGE, "%smodel.labels is %lld, but the data have %lld", hs_config_prefix(c, "model.labels", at, sizeof at),
                       (long long)labels, (long long)have);
    return HS_OK;
}

hs_status hs_weights_vocabulary(hs_config *c, int64_t have)
{
    const int64_t vocab = hs_config_model_int(c, "model.vocab");
    if (vocab && vocab < have)
        return HS_FAIL(USAGE, "model.vocab is %lld%s%s, but the tokenizer has %lld tokens", (long long)vocab,
                       c->train.init_from[0] ? ", that of train.init_from " : "", c->train.init_from, (long long)have);
    if (!vocab) // a text of one character still makes a model
        HS_TRY(hs_config_set_int(c, "model.vocab", have < 2 ? 2 : have, "data.tokenizer"));
    return HS_OK;
}

hs_status hs_weights_pad(hs_config *c, const hs_tokenizer *t) { return hs_weights_pad_id(c, hs_tokenizer_role(t, HS_TOKEN_PAD)); }

hs_status hs_weights_pad_id(hs_config *c, int32_t pad)
{
    const hs_family *f = hs_config_arch(c).family;
    if (pad < 0 || !hs_schema_find(f->settings, NULL, "model.pad").key || hs_config_model_int(c, "model.pad") == pad)
        return HS_OK;
    if (!hs_config_is_default(c, "model.pad"))
        return HS_FAIL(USAGE, "%s: model.pad is %lld, but the tokenizer's padding token is %d: positions are counted from behind it",
                       hs_config_where(c, "model.pad"), (long long)hs_config_model_int(c, "model.pad"), pad);
    return hs_config_set_int(c, "model.pad", pad, "data.tokenizer");
}

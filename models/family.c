// family: the table of families, and what follows from a row.
#include "models/family.h"
#include "models/encoder/encoder.h"
#include "models/gpt/gpt.h"
#include <stdio.h>
#include <string.h>

const hs_family *const hs_families[] = { &hs_gpt_family,
                                         &hs_bert_family,
                                         &hs_roberta_family,
                                         &hs_distilbert_family,
                                         &hs_albert_family,
                                         &hs_electra_family,
                                         &hs_ernie_family,
                                         &hs_roberta_prelayer_family,
                                         NULL };

void hs_arch_trace(hs_graph *g, const void *setup)
{
    const hs_arch_setup *s = setup;
    static const char *const words[HS_TASKS] = { "none", "sequence", "regression", "multilabel", "tokens", "span" };
    const hs_task task = hs_arch_task(s->arch);
    if (g->mode == HS_DECODE && s->arch.family->batch == HS_BATCH_MASKED)
        hs_graph_fail(g, HS_USAGE, "model.type is %s, an encoder: it fills masks and embeds texts, and writes none", s->arch.family->name);
    else if (g->mode == HS_DECODE && task)
        hs_graph_fail(g, HS_USAGE, "model.task is %s: the model labels texts, and writes none", words[task]);
    else
        s->arch.family->trace(g, s->arch.settings, &s->shape);
}

int64_t hs_arch_int(hs_arch m, const char *key)
{
    const hs_key *k = hs_schema_find(m.family->settings, NULL, key).key;
    return k && k->type == HS_KEY_INT ? *(const int64_t *)((const char *)m.settings + k->offset) : 0;
}

bool hs_arch_wears(hs_arch m, hs_loss which) { return m.family->wears ? m.family->wears(m.settings, which) : which == HS_LOSS_TOKENS; }

hs_task hs_arch_task(hs_arch m)
{
    const hs_key *k = hs_schema_find(m.family->settings, NULL, "model.task").key;
    return k && k->type == HS_KEY_CHOICE ? (hs_task) * (const int *)((const char *)m.settings + k->offset) : HS_TASK_NONE;
}

hs_batch_kind hs_arch_batch(hs_arch m) { return hs_arch_task(m) ? HS_BATCH_LABELLED : m.family->batch; }

bool hs_arch_bare(hs_arch m)
{
    bool wears = false;
    for (int i = 0; i < HS_LOSSES; i++)
        wears = wears || hs_arch_wears(m, (hs_loss)i);
    return !wears;
}

hs_status hs_arch_check(hs_arch m) { return m.family->check(m.settings); }

// "n_embd" for "model.width"; NULL: config.json has no such key.
static const char *in_their_words(const hs_family *f, const char *name)
{
    const hs_key *k = hs_schema_find(f->settings, NULL, name).key;
    for (int i = 0; k && i < f->files.n_keys; i++)
        if (f->files.key[i].type <= HS_FILE_CHOICE && f->files.key[i].offset == k->offset && !f->files.key[i].write_only)
            return f->files.key[i].key;
    return NULL;
}

hs_status hs_arch_check_file(hs_arch m, const char *path)
{
    const hs_status st = hs_arch_check(m);
    char text[1024];
    size_t used = 0;
    if (st == HS_OK)
        return HS_OK;
    for (const char *p = hs_error(); *p && used + 1 < sizeof text;) {
        const size_t n = strncmp(p, "model.", 6) == 0 ? 6 + strspn(p + 6, "abcdefghijklmnopqrstuvwxyz_0123456789") : 1;
        char name[HS_KEY_NAME];
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        const char *theirs = n > 6 ? in_their_words(m.family, name) : NULL;
        used += (size_t)snprintf(text + used, sizeof text - used, "%.*s", theirs ? (int)strlen(theirs) : (int)n, theirs ? theirs : p);
        p += n;
    }
    return hs_fail_at(st, __FILE__, __LINE__, "%s: %s", path, text);
}

hs_status hs_arch_defaults(const hs_family *f, hs_settings *out)
{
    if (f->settings->struct_bytes > sizeof *out)
        return HS_FAIL(INTERNAL, "settings of %s take %zu bytes, there is room for %zu", f->name, f->settings->struct_bytes, sizeof *out);
    memset(out, 0, sizeof *out);
    return hs_schema_defaults(f->settings, out->bytes, NULL);
}

hs_status hs_arch_set(const hs_family *f, hs_settings *settings, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return hs_schema_set(f->settings, settings->bytes, NULL, key, text, NULL);
}

int64_t hs_arch_meant(hs_arch m, const hs_key *key)
{
    const char *settings = m.settings;
    const int64_t value = *(const int64_t *)(settings + key->offset);
    for (int i = 0; value == 0 && i < m.family->files.n_keys; i++) {
        const hs_file_key *k = &m.family->files.key[i];
        if (k->type == HS_FILE_INT && k->of && k->offset == key->offset)
            return k->times * *(const int64_t *)(settings + k->of);
    }
    return value;
}

void hs_arch_describe(hs_arch m, char *buf, size_t size)
{
    const hs_schema *s = m.family->settings;
    size_t used = 0;
    buf[0] = 0;
    for (int i = 0; i < s->n && used < size; i++) {
        const hs_key *k = &s->key[i];
        const char *name = strrchr(k->name, '.');
        if (k->type == HS_KEY_INT && !k->advanced)
            used += (size_t)snprintf(buf + used, size - used, "%s%s %lld", used ? ", " : "", name ? name + 1 : k->name,
                                     (long long)hs_arch_meant(m, k));
    }
}

static bool listed(const char *list, const char *key)
{
    const size_t n = strlen(key);
    for (const char *p = list; p; p = strchr(p, '|'), p = p ? p + 1 : NULL)
        if (strncmp(p, key, n) == 0 && (p[n] == 0 || p[n] == '|'))
            return true;
    return false;
}

bool hs_family_owns(const hs_family *f, const char *key) { return listed(f->own, key); }
bool hs_family_wears(const hs_family *f, const char *key) { return listed(f->heads, key); }

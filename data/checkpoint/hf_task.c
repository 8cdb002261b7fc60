// hf_task: the task of a model in config.json, as transformers writes and reads it - the class in `architectures`, problem_type, id2label.
#include "data/checkpoint/hf_task.h"
#include "core/base/log.h"
#include "core/settings/task.h"
#include "data/checkpoint/weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES, TOKENS, SPANS }; // of task_classes
enum { MOST_LABELS = 1 << 24, USUAL_LABELS = 2 /* where transformers writes none */ };

static const char *const problems[HS_TASKS] = { [HS_TASK_SEQUENCE] = "single_label_classification",
                                                [HS_TASK_REGRESSION] = "regression",
                                                [HS_TASK_MULTILABEL] = "multi_label_classification" };

static const hs_file_key *row_of(const hs_model_files *f, hs_file_key_type type)
{
    for (int i = 0; i < f->n_keys; i++)
        if (f->key[i].type == type)
            return &f->key[i];
    return NULL;
}

int hs_file_task(const hs_model_files *f, const void *settings)
{
    const hs_file_key *k = row_of(f, HS_FILE_TASK);
    return k != NULL ? *(const int *)((const char *)settings + k->offset) : HS_TASK_NONE;
}

// ---- writing

const char *hs_file_task_class(const hs_model_files *f, const void *settings)
{
    const int task = hs_file_task(f, settings);
    const char *word = f->task_classes;
    const int index = task == HS_TASK_TOKENS ? TOKENS : task == HS_TASK_SPAN ? SPANS : SEQUENCES;
    for (int i = 0; i < index; i++)
        word = strchr(word, '|') + 1;
    return task ? word : NULL;
}

bool hs_file_task_writes(const hs_model_files *f, const void *settings, const hs_file_key *k)
{
    const int task = hs_file_task(f, settings);
    if (k->type == HS_FILE_TASK)
        return problems[task] != NULL;
    if (k->tasks && !k->unset && !(k->tasks >> task & 1))
        return false;
    return (k->type != HS_FILE_LABELS && k->type != HS_FILE_LABEL_IDS) || (task && task != HS_TASK_SPAN);
}

static void add_name(hs_text *t, const hs_labels *l, int64_t i)
{
    if (l->n > 0)
        hs_text_string(t, l->name[i]);
    else
        hs_text_add(t, "\"LABEL_%lld\"", (long long)i);
}

static void add_labels(hs_text *t, const hs_labels *l, int64_t n, bool by_name)
{
    for (int64_t i = 0; i < n; i++) {
        hs_text_add(t, "%s\n    ", i ? "," : "{");
        if (by_name) {
            add_name(t, l, i);
            hs_text_add(t, ": %lld", (long long)i);
        } else {
            hs_text_add(t, "\"%lld\": ", (long long)i);
            add_name(t, l, i);
        }
    }
    hs_text_add(t, "\n  }");
}

hs_status hs_file_task_write(hs_text *t, const hs_file_key *k, const hs_model_info *m)
{
    const int task = hs_file_task(m->files, m->settings.bytes);
    const hs_file_key *labels = row_of(m->files, HS_FILE_LABELS);
    if (k->type == HS_FILE_TASK) {
        hs_text_string(t, problems[task]);
        return HS_OK;
    }
    const int64_t n = labels != NULL ? *(const int64_t *)(m->settings.bytes + labels->offset) : 0;
    if (n < 1 || (m->labels.n > 0 && m->labels.n != n))
        return HS_FAIL(INTERNAL, "a model with %lld labels has names of %d", (long long)n, m->labels.n);
    add_labels(t, &m->labels, n, k->type == HS_FILE_LABEL_IDS);
    return HS_OK;
}

// ---- reading

// Does "a|b" have that word; which one?
static int class_of(const char *words, const json_t *names)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i)), *p = words;
        for (int k = 0; name != NULL && p != NULL && *p; k++, p += strcspn(p, "|"), p += *p == '|')
            if (strlen(name) == strcspn(p, "|") && strncmp(p, name, strlen(name)) == 0)
                return k;
    }
    return -1;
}

// transformers goes by id2label; a table the other way round that says something else is told, but for names that it makes up.
static void compare_ids(const hs_json *j)
{
    const json_t *names = json_object_get(j->root, "id2label");
    json_t *ids = json_object_get(j->root, "label2id"), *id;
    const char *name;
    json_object_foreach(ids, name, id)
    {
        char key[32];
        snprintf(key, sizeof key, "%lld", (long long)json_integer_value(id));
        const char *other = json_string_value(json_object_get(names, key));
        if (strncmp(name, "LABEL_", 6) == 0 || (json_is_integer(id) && other && strcmp(other, name) == 0))
            continue;
        hs_warn("%s: \"label2id\" gives \"%.60s\" the number %s, which \"id2label\" calls \"%.60s\": id2label is taken", j->path, name, key,
                other ? other : "nothing");
        return;
    }
}

// How many there are; names are added where the file has them.
static hs_status read_labels(const hs_json *j, hs_labels *out, int64_t *n)
{
    const json_t *ids = json_object_get(j->root, "id2label");
    *n = USUAL_LABELS;
    if (!json_is_object(ids) || json_object_size(ids) == 0)
        return json_object_get(j->root, "num_labels") != NULL ? hs_json_i64(j, "num_labels", 1, MOST_LABELS, n) : HS_OK;
    *n = (int64_t)json_object_size(ids);
    for (int64_t i = 0; i < *n; i++) {
        char key[32];
        snprintf(key, sizeof key, "%lld", (long long)i);
        const char *name = json_string_value(json_object_get(ids, key));
        int index;
        if (name == NULL)
            return HS_FAIL(CORRUPT, "%s: \"id2label\" has %lld labels, but no name for \"%s\"", j->path, (long long)*n, key);
        HS_TRY(hs_labels_add(out, name, &index));
        if (index != i)
            return HS_FAIL(CORRUPT, "%s: \"id2label\" calls labels %d and %lld \"%.80s\"", j->path, index, (long long)i, name);
    }
    compare_ids(j);
    return HS_OK;
}

static hs_status read_problem(const hs_json *j, int64_t labels, int *task)
{
    const json_t *v = json_object_get(j->root, "problem_type");
    const char *word = json_string_value(v);
    *task = labels == 1 ? HS_TASK_REGRESSION : HS_TASK_SEQUENCE; // what transformers makes of no word
    if (v == NULL || json_is_null(v))
        return HS_OK;
    for (int i = 0; i < HS_TASKS && word != NULL; i++)
        if (problems[i] != NULL && strcmp(problems[i], word) == 0) {
            *task = i;
            return HS_OK;
        }
    return HS_FAIL(UNSUPPORTED, "%s: \"problem_type\" is \"%.60s\", supported: %s, %s, %s", j->path, word != NULL ? word : "",
                   problems[HS_TASK_SEQUENCE], problems[HS_TASK_REGRESSION], problems[HS_TASK_MULTILABEL]);
}

hs_status hs_file_task_read(const hs_json *j, hs_model_info *m)
{
    const hs_file_key *task = row_of(m->files, HS_FILE_TASK), *labels = row_of(m->files, HS_FILE_LABELS);
    const int class = class_of(m->files->task_classes, json_object_get(j->root, "architectures"));
    if (task == NULL || labels == NULL || class < 0)
        return HS_OK;
    int *which = (int *)(m->settings.bytes + task->offset);
    int64_t *n = (int64_t *)(m->settings.bytes + labels->offset);
    *which = class == TOKENS ? HS_TASK_TOKENS : HS_TASK_SPAN;
    if (class == SPANS)
        return HS_OK;
    HS_TRY(read_labels(j, &m->labels, n));
    return class == SEQUENCES ? read_problem(j, *n, which) : HS_OK;
}

// ---- of a folder without config.json

int64_t hs_file_task_outputs(const hs_model_files *f, const hs_weights *w)
{
    static const char *const last[] = { "class.out.weight", "tags.weight", "span.weight" };
    for (int i = 0; i < f->n_names; i++)
        for (int k = 0; k < HS_COUNT(last); k++) {
            const hs_weight *t = strcmp(f->name[i].ours, last[k]) == 0 ? hs_weights_find(w, f->name[i].theirs) : NULL;
            if (t != NULL && t->entry->n_dims == 2)
                return t->entry->dim[0];
        }
    return 0;
}

hs_status hs_file_task_put(json_t *config, const hs_model_files *f, int task, int64_t labels)
{
    const char *word = f->task_classes;
    for (int i = task == HS_TASK_TOKENS ? TOKENS : task == HS_TASK_SPAN ? SPANS : SEQUENCES; i > 0; i--)
        word = strchr(word, '|') + 1;
    json_object_set_new(config, "architectures", json_pack("[s%]", word, strcspn(word, "|")));
    if (labels < 1 || task == HS_TASK_SPAN || (int64_t)json_object_size(json_object_get(config, "id2label")) == labels)
        return HS_OK;
    json_t *names = json_object();
    for (int64_t i = 0; i < labels; i++) {
        char key[32], name[40];
        snprintf(key, sizeof key, "%lld", (long long)i);
        snprintf(name, sizeof name, "LABEL_%lld", (long long)i);
        json_object_set_new(names, key, json_string(name));
    }
    return json_object_set_new(config, "id2label", names) == 0 ? HS_OK : HS_FAIL(MEMORY, "no memory for %lld labels", (long long)labels);
}

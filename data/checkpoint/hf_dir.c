// config.json and generation_config.json, as transformers writes and reads them, by the rows of the model's family.
#include "core/settings/task.h"
#include "data/base/hf_folder.h"
#include "data/checkpoint/hf_pruned.h"
#include "data/checkpoint/hf_task.h"
#include "data/checkpoint/peft.h"
#include "data/checkpoint/weights.h"
#include <stdlib.h>
#include <string.h>

void hs_model_info_free(hs_model_info *m)
{
    if (m != NULL)
        hs_labels_free(&m->labels);
}

// ---- writing

// What began as an f32 setting is written as it was typed: 0.1, not 0.10000000149011612.
static void add_real(hs_text *t, double v)
{
    if ((double)(float)v == v)
        hs_text_f32(t, (float)v);
    else
        hs_text_f64(t, v);
}

// null, not absent: transformers would fill in 50256, which lies outside a small vocabulary.
static void add_id(hs_text *t, int32_t id)
{
    if (id < 0)
        hs_text_add(t, "null");
    else
        hs_text_add(t, "%d", id);
}

static void add_end(hs_text *t, const hs_model_ends *end)
{
    if (end->n < 2) {
        add_id(t, end->n ? end->id[0] : -1);
        return;
    }
    for (int i = 0; i < end->n; i++)
        hs_text_add(t, "%s%d", i ? ", " : "[", end->id[i]);
    hs_text_add(t, "]");
}

static void add_word(hs_text *t, const char *words, int index)
{
    char word[128];
    for (; index > 0 && strchr(words, '|'); index--)
        words = strchr(words, '|') + 1;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(words, ",|"), words);
    hs_text_string(t, word);
}

// What 0 stands for.
static int64_t standard(const hs_file_key *k, const void *settings)
{
    return k->of ? k->times * *(const int64_t *)((const char *)settings + k->of) : 0;
}

static int64_t rows_above(const hs_file_key *k, const void *settings)
{
    return k->above ? *(const int64_t *)((const char *)settings + k->above) + 1 : 0;
}

static int32_t token_of(const hs_tokenizer *tok, const char *role)
{
    static const char *const roles[HS_TOKEN_ROLES] = {
        [HS_TOKEN_UNK] = "unk", [HS_TOKEN_SEP] = "sep", [HS_TOKEN_PAD] = "pad", [HS_TOKEN_CLS] = "cls", [HS_TOKEN_MASK] = "mask"
    };
    for (int i = 0; tok != NULL && i < HS_TOKEN_ROLES; i++)
        if (strcmp(roles[i], role) == 0)
            return hs_tokenizer_role(tok, (hs_token_role)i);
    return -1;
}

// Has that row a meaning in a model of that task?
static bool applies(const hs_file_key *k, int task) { return !k->tasks || k->tasks >> task & 1; }

static hs_status add_value(hs_text *t, const hs_file_key *k, const hs_model_info *m, const hs_model_ends *end)
{
    const void *settings = m->settings.bytes, *field = m->settings.bytes + k->offset;
    int64_t number;
    switch (k->type) {
    case HS_FILE_INT:
        number = hs_file_int(k, settings);
        hs_text_add(t, "%lld", (long long)((number ? number : standard(k, settings)) + rows_above(k, settings)));
        break;
    case HS_FILE_REAL:
        if (k->unset && (*(const double *)field < 0 || !applies(k, hs_file_task(m->files, settings))))
            hs_text_add(t, "%s", k->value);
        else
            add_real(t, *(const double *)field);
        break;
    case HS_FILE_BOOL:
        hs_text_add(t, *(const bool *)field ? "true" : "false");
        break;
    case HS_FILE_CHOICE:
        add_word(t, k->accepts, *(const int *)field);
        break;
    case HS_FILE_FIXED:
        hs_text_add(t, "%s", k->value);
        break;
    case HS_FILE_NONZERO:
        hs_text_add(t, *(const int64_t *)field ? "true" : "false");
        break;
    case HS_FILE_TIMES:
        hs_text_add(t, "null");
        break;
    case HS_FILE_END:
        add_end(t, end);
        break;
    case HS_FILE_BEGIN:
        add_id(t, end->begin);
        break;
    case HS_FILE_TOKEN:
        add_id(t, token_of(end->tokens, k->value));
        break;
    case HS_FILE_HOLDS:
        break;
    case HS_FILE_PRUNED:
        hs_file_pruned_write(t, k, m);
        break;
    case HS_FILE_TASK:
    case HS_FILE_LABELS:
    case HS_FILE_LABEL_IDS:
        return hs_file_task_write(t, k, m);
    }
    return HS_OK;
}

static void add_architecture(hs_text *t, const hs_model_info *m)
{
    hs_text_add(t, "[\n    ");
    const char *class = hs_file_task_class(m->files, m->settings.bytes);
    if (class != NULL)
        add_word(t, class, 0);
    else
        add_word(t, m->files->architecture, m->files->wears ? m->files->wears(m->settings.bytes) : 0);
    hs_text_add(t, "\n  ]");
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const hs_file_key *const *)a)->key, (*(const hs_file_key *const *)b)->key);
}

enum { MOST_KEYS = 64 };

hs_status hs_config_json(hs_text *t, const hs_model_info *m, const hs_model_ends *end, hs_dtype dtype)
{
    const char *const type = dtype == HS_BF16 ? "\"bfloat16\"" : dtype == HS_F16 ? "\"float16\"" : "\"float32\"";
    const hs_file_key common[] = { { .key = "architectures" },
                                   { .key = "dtype", .type = HS_FILE_FIXED, .value = type },
                                   { .key = "model_type" },
                                   { .key = "quantization_config", .type = HS_FILE_FIXED, .value = m->quantization },
                                   { .key = "torch_dtype", .type = HS_FILE_FIXED, .value = type },
                                   { .key = "sparsity" } };
    const hs_file_key *order[MOST_KEYS];
    const hs_model_files *files = m->files;
    int n = 0;
    if (files == NULL)
        return HS_FAIL(INTERNAL, "a model of no family has no config.json");
    if (files->n_keys + HS_COUNT(common) > MOST_KEYS)
        return HS_FAIL(INTERNAL, "config.json of %s has %d keys, at most %d are written", files->model_type, files->n_keys,
                       MOST_KEYS - HS_COUNT(common));
    for (int i = 0; i < files->n_keys; i++)
        if (!files->key[i].read_only && files->key[i].type != HS_FILE_HOLDS && !hs_file_pruned_absent(&files->key[i], m->settings.bytes) &&
            hs_file_task_writes(files, m->settings.bytes, &files->key[i]))
            order[n++] = &files->key[i];
    for (int i = 0; i < HS_COUNT(common); i++)
        if ((&common[i] != &common[3] || m->quantization != NULL) && (&common[i] != &common[5] || m->sparsity.pattern[0]))
            order[n++] = &common[i];
    qsort(order, (size_t)n, sizeof *order, by_key);
    for (int i = 0; i < n; i++) {
        hs_text_add(t, "%s\n  \"%s\": ", i ? "," : "{", order[i]->key);
        if (order[i] == &common[0])
            add_architecture(t, m);
        else if (order[i] == &common[2])
            hs_text_string(t, files->model_type);
        else if (order[i] == &common[5])
            hs_file_sparsity_write(t, &m->sparsity);
        else
            HS_TRY(add_value(t, order[i], m, end));
    }
    hs_text_add(t, "\n}\n");
    return HS_OK;
}

bool hs_generation_json(hs_text *t, const hs_model_files *files, const hs_model_ends *end)
{
    bool ends = false; // a model that writes texts
    for (int i = 0; i < files->n_keys; i++)
        ends = ends || files->key[i].type == HS_FILE_END;
    if (!ends)
        return false;
    hs_text_add(t, "{\n  \"_from_model_config\": true,\n  \"bos_token_id\": ");
    add_id(t, end->begin);
    hs_text_add(t, ",\n  \"eos_token_id\": ");
    add_end(t, end);
    hs_text_add(t, ",\n  \"use_cache\": true\n}\n");
    return true;
}

// ---- reading

// A JSON value as rows spell it: true, null, 3, gelu_new.
static void spell(const json_t *v, char *buf, size_t size)
{
    char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(buf, size, "%s", json_is_string(v) ? json_string_value(v) : text != NULL ? text : "");
    free(text);
}

// Index of a word in "a|b,b2|c", where b2 is another word for b; -1: it is not there.
static int word_index(const char *words, const char *word)
{
    const size_t n = strlen(word);
    int i = 0;
    for (const char *p = words; *p; p += *p != 0) {
        const size_t length = strcspn(p, ",|");
        if (length == n && strncmp(p, word, n) == 0)
            return i;
        p += length;
        i += *p == '|';
    }
    return -1;
}

static hs_status unsupported(const hs_json *j, const hs_file_key *k, const char *key, const json_t *v, const char *supported)
{
    char found[64], list[256];
    size_t n = 0;
    spell(v, found, sizeof found);
    for (const char *p = supported; *p && n + 3 < sizeof list; p++) { // "a|b" as "a, b"
        list[n++] = *p == '|' ? ',' : *p;
        if (*p == '|' || *p == ',')
            list[n++] = ' ';
    }
    list[n] = 0;
    return HS_FAIL(UNSUPPORTED, "%s: \"%s\" is %s%s%s%s%s, supported: %s", j->path, key, json_is_string(v) ? "\"" : "", found,
                   json_is_string(v) ? "\"" : "", k->asks ? ": " : "", k->asks ? k->asks : "", list);
}

static hs_status read_real(const hs_json *j, const hs_file_key *k, const char *key, double *out)
{
    HS_TRY(hs_json_f64(j, key, out));
    return *out >= k->min && *out <= k->max ? HS_OK
                                            : HS_FAIL(CORRUPT, "%s: \"%s\" is %g, allowed %g to %g", j->path, key, *out, k->min, k->max);
}

static hs_status read_bool(const hs_json *j, const char *key, const json_t *v, bool *out)
{
    *out = json_is_true(v);
    return json_is_boolean(v) ? HS_OK : HS_FAIL(CORRUPT, "%s: \"%s\" is neither true nor false", j->path, key);
}

static hs_status read_choice(const hs_json *j, const hs_file_key *k, const char *key, const json_t *v, int *out)
{
    *out = json_is_string(v) ? word_index(k->accepts, json_string_value(v)) : -1;
    return *out >= 0 ? HS_OK : unsupported(j, k, key, v, k->accepts);
}

// What stands for a key that the file has not.
static hs_status read_absent(const hs_json *j, const hs_file_key *k, void *field)
{
    if (k->value == NULL)
        return HS_FAIL(CORRUPT, "%s: \"%s\" is missing", j->path, k->key);
    if (k->type == HS_FILE_INT)
        *(int64_t *)field = strtoll(k->value, NULL, 10);
    else if (k->type == HS_FILE_REAL)
        *(double *)field = strtod(k->value, NULL);
    else if (k->type == HS_FILE_BOOL)
        *(bool *)field = strcmp(k->value, "true") == 0;
    else
        *(int *)field = word_index(k->accepts, k->value);
    return HS_OK;
}

static bool has_field(const hs_file_key *k) { return k->type <= HS_FILE_CHOICE; }

static hs_status read_field(const hs_json *j, const hs_file_key *k, hs_settings *s)
{
    void *field = s->bytes + k->offset;
    const char *key = json_object_get(j->root, k->key) == NULL && k->also != NULL ? k->also : k->key;
    const json_t *v = json_object_get(j->root, key);
    if (k->unset && (v == NULL || json_is_null(v)))
        return HS_OK; // it stands as it is
    if (v == NULL)
        return read_absent(j, k, field);
    if (k->type == HS_FILE_INT) {
        const int64_t above = rows_above(k, s->bytes);
        HS_TRY(hs_json_i64(j, key, (int64_t)k->min + above, (int64_t)k->max, field));
        *(int64_t *)field -= above;
        if (*(int64_t *)field == standard(k, s->bytes))
            *(int64_t *)field = 0;
        return HS_OK;
    }
    if (k->type == HS_FILE_REAL) {
        HS_TRY(read_real(j, k, key, field));
        if (k->unset && *(double *)field == strtod(k->value, NULL) && strcmp(k->value, "null") != 0)
            *(double *)field = -1;
        return HS_OK;
    }
    return k->type == HS_FILE_BOOL ? read_bool(j, key, v, field) : read_choice(j, k, key, v, field);
}

// What has no field is only looked at: does it ask for something that the family does not do?
static hs_status look_at(const hs_json *j, const hs_file_key *k, hs_settings *s)
{
    const json_t *v = json_object_get(j->root, k->key);
    char found[64];
    if (k->type == HS_FILE_NONZERO && (v != NULL ? !json_is_true(v) : strcmp(k->value, "false") == 0))
        *(int64_t *)(s->bytes + k->offset) = 0;
    if (v == NULL || json_is_null(v)) // no wish
        return HS_OK;
    spell(v, found, sizeof found);
    if (k->type == HS_FILE_FIXED)
        return k->accepts == NULL || word_index(k->accepts, found) >= 0 ? HS_OK : unsupported(j, k, k->key, v, k->accepts);
    if (k->type != HS_FILE_TIMES)
        return HS_OK;
    char only[64];
    const int64_t want = k->times * *(const int64_t *)(s->bytes + k->offset);
    snprintf(only, sizeof only, "%lld", (long long)want);
    return json_is_integer(v) && json_integer_value(v) == want ? HS_OK : unsupported(j, k, k->key, v, only);
}

// One id, a list, or none. Ids outside the model's vocabulary (transformers' default in a small one) mean nothing.
static hs_status read_ends(const hs_json *j, int64_t vocab, hs_model_ends *out)
{
    const json_t *v = json_object_get(j->root, "eos_token_id");
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    out->n = 0;
    if (v == NULL || json_is_null(v))
        return HS_OK;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id))
            return HS_FAIL(CORRUPT, "%s: \"eos_token_id\" is neither a token's id nor a list of them", j->path);
        if (json_integer_value(id) < 0 || json_integer_value(id) >= vocab)
            continue;
        if (out->n == HS_MODEL_ENDS)
            return HS_FAIL(UNSUPPORTED, "%s: \"eos_token_id\" has %zu ids, at most %d are read", j->path, n, HS_MODEL_ENDS);
        out->id[out->n++] = (int32_t)json_integer_value(id);
    }
    return HS_OK;
}

// Of a file without model_type, as scripts that write config.json by hand leave it: what its architectures name is certain.
static const char *type_of(const hs_json *j, const hs_model_files *const *known, int n_known)
{
    const char *type = hs_json_text(j, "model_type");
    const json_t *names = json_object_get(j->root, "architectures");
    const char *name = json_string_value(json_array_size(names) == 1 ? json_array_get(names, 0) : NULL);
    for (int i = 0; type == NULL && name != NULL && i < n_known; i++)
        if (word_index(known[i]->architecture, name) >= 0 ||
            (known[i]->task_classes != NULL && word_index(known[i]->task_classes, name) >= 0))
            type = known[i]->model_type;
    return type;
}

static hs_status find_files(const hs_json *j, const hs_model_files *const *known, int n_known, const hs_model_files **out)
{
    const char *type = type_of(j, known, n_known);
    char list[256] = "";
    size_t used = 0;
    if (type == NULL)
        return HS_FAIL(
            CORRUPT,
            "%s: \"model_type\" is missing, and \"architectures\" names no model that is known: add \"model_type\": \"%s\", if it is one",
            j->path, n_known > 0 ? known[0]->model_type : "");
    for (int i = 0; i < n_known; i++) {
        if (strcmp(known[i]->model_type, type) == 0) {
            *out = known[i];
            return HS_OK;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", known[i]->model_type);
    }
    return HS_FAIL(UNSUPPORTED, "%s: \"model_type\" is \"%.60s\", supported: %s", j->path, type, list);
}

// Length of a tensor's name, without what packed codes of 4 bits add to a weight's.
static size_t name_length(const char *name)
{
    static const char packed[] = "_packed";
    const size_t n = strlen(name), end = sizeof packed - 1;
    return n > end && strcmp(name + n - end, packed) == 0 ? n - end : n;
}

// Is one of the tensors in "a|b" there, whatever a class puts in front of the names of its parts?
// own: of an adapter's folder, in the adapter itself.
static bool holds(const hs_weights *w, const char *names, bool own)
{
    for (const char *p = names; p != NULL && *p; p += strcspn(p, "|"), p += *p == '|') {
        const size_t n = strcspn(p, "|");
        for (int i = 0; i < w->n; i++) {
            const size_t all = name_length(w->weight[i].name);
            if (own && !hs_weight_of_adapter(w, &w->weight[i]))
                continue;
            if (all >= n && strncmp(w->weight[i].name + all - n, p, n) == 0 && (all == n || w->weight[i].name[all - n - 1] == '.'))
                return true;
        }
    }
    return false;
}

static bool asks_weights(const hs_file_key *k, const hs_model_info *m)
{
    return k->type == HS_FILE_HOLDS && applies(k, hs_file_task(m->files, m->settings.bytes));
}

void hs_config_heads(const hs_weights *w, hs_model_info *m)
{
    const bool own = w->adapter > 0 && hs_file_task(m->files, m->settings.bytes); // the base's heads are for something else
    for (int i = 0; i < m->files->n_keys; i++) {
        const hs_file_key *k = &m->files->key[i];
        if (asks_weights(k, m))
            *(bool *)(m->settings.bytes + k->offset) = (holds(w, k->key, own) || holds(w, k->also, own)) && !holds(w, k->accepts, own);
    }
}

// What no key says: which heads the weights have.
static hs_status read_heads(const char *model_dir, hs_model_info *m)
{
    hs_weights w;
    bool asked = false;
    for (int i = 0; i < m->files->n_keys; i++)
        asked = asked || asks_weights(&m->files->key[i], m);
    if (!asked)
        return HS_OK;
    HS_TRY(hs_weights_open(&w, model_dir));
    hs_config_heads(&w, m);
    hs_weights_close(&w);
    return HS_OK;
}

// Which weights are codes their tensors say; here, that it is a form that is read.
static hs_status read_quantization(const hs_json *j, hs_model_info *m)
{
    const json_t *q = json_object_get(j->root, "quantization_config"), *method = json_object_get(q, "quant_method");
    if (q == NULL || json_is_null(q) || (json_is_object(q) && json_object_size(q) == 0))
        return HS_OK;
    if (json_is_string(method) && strcmp(json_string_value(method), HS_PRODUCT_METHOD) == 0)
        return HS_OK; // read as values
    if (!json_is_string(method) || strcmp(json_string_value(method), "compressed-tensors") != 0)
        return HS_FAIL(
            UNSUPPORTED,
            "%s: quantization_config.quant_method is %s%s%s; compressed-tensors is read, of others take the folder that was quantized",
            j->path, json_is_string(method) ? "\"" : "", json_is_string(method) ? json_string_value(method) : "not a string",
            json_is_string(method) ? "\"" : "");
    m->coded = true;
    return hs_quantization_check(j->path, q);
}

static hs_status read_info(const hs_json *j, const hs_model_files *const *known, int n_known, hs_model_info *m)
{
    memset(m, 0, sizeof *m);
    HS_TRY(find_files(j, known, n_known, &m->files));
    HS_TRY(read_quantization(j, m));
    HS_TRY(hs_file_task_read(j, m));
    const int task = hs_file_task(m->files, m->settings.bytes);
    for (int i = 0; i < m->files->n_keys; i++)
        if (m->files->key[i].unset)
            *(double *)(m->settings.bytes + m->files->key[i].offset) = -1;
    for (int i = 0; i < m->files->n_keys; i++)
        if (has_field(&m->files->key[i]) && !m->files->key[i].write_only && applies(&m->files->key[i], task))
            HS_TRY(read_field(j, &m->files->key[i], &m->settings));
    for (int i = 0; i < m->files->n_keys; i++)
        if (!has_field(&m->files->key[i]) && !m->files->key[i].write_only)
            HS_TRY(look_at(j, &m->files->key[i], &m->settings));
    HS_TRY(hs_file_pruned_read(j, m));
    HS_TRY(hs_file_sparsity_read(j, &m->sparsity));
    const json_t *vocab = json_object_get(j->root, "vocab_size");
    return read_ends(j, json_is_integer(vocab) ? json_integer_value(vocab) : INT32_MAX, &m->end);
}

// Its list of ends goes before that of config.json.
static hs_status read_generation(const char *model_dir, const json_t *config, hs_model_info *m)
{
    char path[HS_PATH];
    hs_json j;
    hs_model_ends end;
    if (!hs_hf_exists(model_dir, "generation_config.json", path, sizeof path))
        return HS_OK;
    HS_TRY(hs_json_open(&j, path));
    const json_t *vocab = json_object_get(config, "vocab_size");
    hs_status st = hs_hf_check_keys(path, "generation_config.json", j.root);
    if (st == HS_OK)
        st = read_ends(&j, json_is_integer(vocab) ? json_integer_value(vocab) : INT32_MAX, &end);
    if (st == HS_OK && end.n > 0)
        m->end = end;
    hs_json_close(&j);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// PEFT leaves no config.json beside an adapter: the base's says what it says, but for the task, which adapter_config.json has, and for the
// number of labels, which the head's tensors have.
static hs_status read_task(const char *dir, hs_json *j, const hs_model_files *const *known, int n_known)
{
    const hs_model_files *f;
    hs_peft peft;
    hs_weights w;
    HS_TRY(find_files(j, known, n_known, &f));
    HS_TRY(hs_peft_read(&peft, dir));
    const int task = peft.task;
    hs_peft_free(&peft);
    if (task == HS_TASK_NONE || f->task_classes == NULL)
        return HS_OK;
    HS_TRY(hs_weights_open(&w, dir));
    const int64_t labels = hs_file_task_outputs(f, &w);
    hs_weights_close(&w);
    return hs_file_task_put(j->root, f, task, labels);
}

static hs_status read_adapted(const char *dir, const hs_model_files *const *known, int n_known, hs_model_info *m)
{
    char base[HS_PATH], path[HS_PATH];
    hs_json j;
    HS_TRY(hs_peft_base(dir, base));
    HS_TRY(hs_path_join(path, "%s/config.json", base));
    HS_TRY(hs_json_open(&j, path));
    hs_status st = read_task(dir, &j, known, n_known);
    if (st == HS_OK)
        st = read_info(&j, known, n_known, m);
    if (st == HS_OK)
        st = hs_hf_check_keys(path, "config.json", j.root);
    if (st == HS_OK)
        st = read_generation(base, j.root, m);
    if (st == HS_OK)
        st = read_heads(dir, m);
    m->sparsity = (hs_sparsity){ 0 };
    hs_json_close(&j);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_ckpt_read_info(const char *model_dir, const hs_model_files *const *known, int n_known, hs_model_info *m)
{
    char path[HS_PATH];
    HS_TRY(hs_path_join(path, "%s/config.json", model_dir));
    hs_json j;
    bool found;
    HS_TRY(hs_find_file(path, &found));
    if (!found && hs_peft_is(model_dir))
        return read_adapted(model_dir, known, n_known, m);
    HS_TRY(hs_json_open(&j, path));
    hs_status st = read_info(&j, known, n_known, m);
    if (st == HS_OK)
        st = hs_hf_check_keys(path, "config.json", j.root);
    if (st == HS_OK)
        st = read_generation(model_dir, j.root, m);
    if (hs_peft_is(model_dir))
        m->sparsity = (hs_sparsity){ 0 };
    if (st == HS_OK)
        st = hs_peft_is(model_dir) ? hs_peft_base(model_dir, path) : hs_hf_check(model_dir);
    if (st == HS_OK)
        st = read_heads(model_dir, m);
    hs_json_close(&j);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_config_read(const char *path, const hs_weights *w, const hs_model_files *const *known, int n_known, hs_model_info *m)
{
    hs_json j;
    HS_TRY(hs_json_open(&j, path));
    hs_status st = read_info(&j, known, n_known, m);
    if (st == HS_OK)
        st = hs_hf_check_keys(path, "config.json", j.root);
    if (st == HS_OK)
        hs_config_heads(w, m);
    hs_json_close(&j);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

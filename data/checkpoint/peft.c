// peft: adapter_config.json both ways, and the names of pairs.
#include "data/checkpoint/peft.h"
#include "core/base/ending.h"
#include "core/settings/task.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- reading

static bool has(const char *dir, const char *name)
{
    char path[HS_PATH];
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && hs_is_file(path);
}

bool hs_peft_is(const char *dir)
{
    return has(dir, HS_PEFT_CONFIG) && !has(dir, "model.safetensors") && !has(dir, "model.safetensors.index.json");
}

// Keys that ask for something else than w + scale B A where they are not null, false, 0 or empty.
static const struct {
    const char *key, *asks;
} refused[] = {
    { "use_dora", "a magnitude beside each weight (DoRA)" },
    { "lora_bias", "a bias beside lora_B" },
    { "alpha_pattern", "an alpha for each module" },
    { "layer_replication", "layers that stand several times" },
    { "megatron_config", "layers of Megatron" },
    { "target_parameters", "parameters that are no module's weight" },
    { "trainable_token_indices", "rows of the embedding" },
    { "use_qalora", "pooled inputs (QALoRA)" },
    { "use_bdlora", "block-diagonal matrices" },
    { "alora_invocation_tokens", "pairs that begin at a token" },
    { "arrow_config", "a mixture of adapters" },
    { "kasa_config", "a weight that is cut first" },
    { "velora_config", "another backward" },
    { "monteclora_config", "sampled matrices" },
};

static bool is_nothing(const json_t *v)
{
    return v == NULL || json_is_null(v) || json_is_false(v) || (json_is_integer(v) && json_integer_value(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0);
}

static hs_status check(const hs_json *j)
{
    const char *type = hs_json_text(j, "peft_type");
    const json_t *init = json_object_get(j->root, "init_lora_weights");
    const char *word = json_string_value(init);
    if (type == NULL || strcmp(type, "LORA") != 0)
        return HS_FAIL(UNSUPPORTED, "%s: \"peft_type\" is \"%.60s\", supported: LORA", j->path, type != NULL ? type : "");
    for (int i = 0; i < HS_COUNT(refused); i++)
        if (!is_nothing(json_object_get(j->root, refused[i].key)))
            return HS_FAIL(UNSUPPORTED, "%s: \"%s\" asks for %s", j->path, refused[i].key, refused[i].asks);
    if (word != NULL && strcmp(word, "gaussian") != 0 && strcmp(word, "eva") != 0 && strcmp(word, "orthogonal") != 0)
        return HS_FAIL(UNSUPPORTED, "%s: \"init_lora_weights\" is \"%.60s\", which changes the base's weights too", j->path, word);
    return HS_OK;
}

static hs_status read_targets(const hs_json *j, hs_peft *p)
{
    const json_t *v = json_object_get(j->root, "target_modules");
    hs_text t = { 0 };
    if (json_is_string(v) && strcmp(json_string_value(v), "all-linear") == 0)
        hs_text_add(&t, "all-linear");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));
        if (name == NULL) {
            hs_text_free(&t);
            return HS_FAIL(CORRUPT, "%s: \"target_modules\" is no list of names", j->path);
        }
        hs_text_add(&t, "%s%s", i ? "," : "", name);
    }
    p->targets = t.p;
    return t.failed ? HS_FAIL(MEMORY, "%s: no memory for its targets", j->path) : HS_OK;
}

// As it stands, or beside the adapter's own folder; a run that was moved with its base finds it by the way from one to the other.
static hs_status read_base(const hs_json *j, const char *dir, hs_peft *p)
{
    const char *base = hs_json_text(j, "base_model_name_or_path");
    if (base == NULL || *base == 0)
        return HS_FAIL(USAGE, "%s: \"base_model_name_or_path\" is missing: the folder of the model that the adapter belongs to", j->path);
    HS_TRY(hs_path_join(p->base, "%s", base));
    if (!hs_is_dir(p->base) && base[0] != '/')
        HS_TRY(hs_path_join(p->base, "%s/%s", dir, base));
    if (!hs_is_dir(p->base))
        hs_manifest_base_path(dir, p->base);
    if (!hs_is_dir(p->base))
        return HS_FAIL(USAGE,
                       "%s: \"base_model_name_or_path\" is \"%.200s\", which is no folder here: the model that the adapter belongs to",
                       j->path, base);
    if (hs_peft_is(p->base))
        return HS_FAIL(UNSUPPORTED, "%s: the base, %.200s, is an adapter itself; export it merged first", j->path, p->base);
    return HS_OK;
}

static const struct {
    const char *word;
    int task;
} tasks[] = { { "SEQ_CLS", HS_TASK_SEQUENCE }, { "TOKEN_CLS", HS_TASK_TOKENS }, { "QUESTION_ANS", HS_TASK_SPAN } };

// Values of another type than PEFT has would be read as false or 0.
static hs_status check_types(const hs_json *j)
{
    const json_t *rslora = json_object_get(j->root, "use_rslora"), *dropout = json_object_get(j->root, "lora_dropout");
    const json_t *targets = json_object_get(j->root, "target_modules"), *ranks = json_object_get(j->root, "rank_pattern");
    if (rslora != NULL && !json_is_null(rslora) && !json_is_boolean(rslora))
        return HS_FAIL(CORRUPT, "%s: \"use_rslora\" is neither true nor false", j->path);
    if (dropout != NULL && !json_is_null(dropout) &&
        !(json_is_number(dropout) && json_number_value(dropout) >= 0 && json_number_value(dropout) < 1))
        return HS_FAIL(CORRUPT, "%s: \"lora_dropout\" is no number from 0 to below 1", j->path);
    if (targets != NULL && !json_is_null(targets) && !json_is_string(targets) && !json_is_array(targets))
        return HS_FAIL(CORRUPT, "%s: \"target_modules\" is no list of names", j->path);
    if (ranks != NULL && !json_is_null(ranks) && !json_is_object(ranks))
        return HS_FAIL(CORRUPT, "%s: \"rank_pattern\" is no table of ranks", j->path);
    return HS_OK;
}

static hs_status read_config(const hs_json *j, const char *dir, hs_peft *p)
{
    const char *task = hs_json_text(j, "task_type");
    HS_TRY(check(j));
    HS_TRY(check_types(j));
    HS_TRY(hs_json_i64(j, "r", 1, 1 << 20, &p->rank));
    HS_TRY(hs_json_f64(j, "lora_alpha", &p->alpha));
    p->ranks = json_object_size(json_object_get(j->root, "rank_pattern")) > 0;
    p->rslora = json_is_true(json_object_get(j->root, "use_rslora"));
    p->dropout = json_number_value(json_object_get(j->root, "lora_dropout"));
    for (int i = 0; i < HS_COUNT(tasks); i++)
        if (task != NULL && strcmp(task, tasks[i].word) == 0)
            p->task = tasks[i].task;
    HS_TRY(read_targets(j, p));
    return read_base(j, dir, p);
}

hs_status hs_peft_read(hs_peft *p, const char *dir)
{
    char path[HS_PATH];
    hs_json j;
    *p = (hs_peft){ .task = HS_TASK_NONE };
    HS_TRY(hs_path_join(path, "%s/%s", dir, HS_PEFT_CONFIG));
    HS_TRY(hs_json_open(&j, path));
    const hs_status st = read_config(&j, dir, p);
    hs_json_close(&j);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_peft_free(hs_peft *p)
{
    free(p->targets);
    *p = (hs_peft){ 0 };
}

hs_status hs_peft_base(const char *dir, char out[HS_PATH])
{
    hs_peft p;
    if (!hs_peft_is(dir))
        return hs_path_join(out, "%s", dir);
    const hs_status st = hs_peft_read(&p, dir);
    if (st == HS_OK)
        memcpy(out, p.base, HS_PATH);
    hs_peft_free(&p);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_peft_tokenizer(const char *dir, char out[HS_PATH])
{
    return hs_tokenizer_found(dir) ? hs_path_join(out, "%s", dir) : hs_peft_base(dir, out);
}

// ---- names

bool hs_peft_keeps(const hs_param *p) { return p->pair_parts > 0 || !p->frozen; }

// "X.weight" to "X.lora_A.weight".
static hs_status pair_name(hs_name_piece *piece, const char *weight, char which)
{
    const size_t n = strlen(weight), end = strlen(".weight");
    const int module = (int)(n > end && strcmp(weight + n - end, ".weight") == 0 ? n - end : n);
    if (snprintf(piece->name, sizeof piece->name, "%.*s.lora_%c.weight", module, weight, which == 'a' ? 'A' : 'B') >=
        (int)sizeof piece->name)
        return HS_FAIL(USAGE, "parameter name of more than %d bytes: %.80s...", HS_NAME_BYTES, weight);
    piece->transposed = which == 'b';
    return HS_OK;
}

hs_status hs_peft_pieces(const hs_ckpt_opts *o, const hs_param *p, hs_name_piece piece[HS_NAME_PIECES], int *n)
{
    const hs_model_files *f = o->files;
    hs_name_piece all[HS_NAME_PIECES];
    char scope[256], weight[300];
    const char which = hs_adapter_part_of(p->name, scope);
    int n_all;
    snprintf(weight, sizeof weight, "%s.weight", scope);
    HS_TRY(hs_name_pieces(f != NULL ? f->name : NULL, f != NULL ? f->n_names : 0, weight, p->pair_parts, all, &n_all));
    *n = 0;
    if (n_all == 1 && all->part == 0 && p->parts > 1)
        return HS_FAIL(UNSUPPORTED,
                       "%s: files of this family have its parts in one tensor, so that they wear one pair together: name all of it", scope);
    for (int i = 0; i < n_all; i++) {
        if (all[i].part > 0 && !(p->pair_mask >> (all[i].part - 1) & 1))
            continue;
        hs_name_piece *to = &piece[(*n)++];
        *to = (hs_name_piece){ .part = p->parts > 1 ? *n : 0 };
        HS_TRY(pair_name(to, all[i].name, which));
    }
    return *n == p->parts ? HS_OK : HS_FAIL(INTERNAL, "%s has %d parts, its names are %d", p->name, p->parts, *n);
}

// ---- writing

typedef struct names { // of modules, "bert.encoder.layer.0.attention.self.query"
    char (*name)[HS_NAME_BYTES];
    int n, room;
} names;

static hs_status add_name(names *l, const char *name, size_t bytes)
{
    for (int i = 0; i < l->n; i++)
        if (strlen(l->name[i]) == bytes && strncmp(l->name[i], name, bytes) == 0)
            return HS_OK;
    if (l->n == l->room) {
        const int room = l->room ? 2 * l->room : 64;
        char(*more)[HS_NAME_BYTES] = realloc(l->name, (size_t)room * sizeof *more);
        if (more == NULL)
            return HS_FAIL(MEMORY, "no memory for %d names of modules", room);
        l->name = more, l->room = room;
    }
    snprintf(l->name[l->n++], HS_NAME_BYTES, "%.*s", (int)bytes, name);
    return HS_OK;
}

// The module of a tensor: what is left of its last dot, and of ".lora_A.weight".
static size_t module_bytes(const char *name)
{
    const char *lora = strstr(name, ".lora_"), *dot = strrchr(name, '.');
    return (size_t)((lora != NULL ? lora : dot != NULL ? dot : name + strlen(name)) - name);
}

static bool ends_in_modules(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return hs_ends_with(name, end) && (n == m || name[n - m - 1] == '.');
}

// The shortest end of a module's name that none of the others has: what PEFT looks for ("query"; "3.output.dense").
static const char *target_of(const char *module, const names *others)
{
    const char *end = module + strlen(module);
    for (;;) {
        while (end > module && end[-1] != '.')
            end--;
        bool free = true;
        for (int i = 0; i < others->n && free; i++)
            free = !ends_in_modules(others->name[i], end);
        if (free || end == module)
            return end;
        end--;
    }
}

typedef struct modules { // of one model
    names wearing, others, kept;
} modules;

static void modules_free(modules *m)
{
    free(m->wearing.name);
    free(m->others.name);
    free(m->kept.name);
}

static hs_status collect(modules *m, const hs_params *ps, const hs_ckpt_opts *o)
{
    const hs_model_files *f = o->files;
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        HS_TRY(hs_ckpt_pieces(o, p, piece, &n));
        names *to = p->pair_parts > 0 ? &m->wearing : !p->frozen ? &m->kept : NULL;
        for (int k = 0; k < n && to != NULL; k++)
            HS_TRY(add_name(to, piece[k].name, module_bytes(piece[k].name)));
    }
    for (int i = 0; i < ps->n_params; i++) { // weights that wear none, and modules that transformers may have beside ours
        const hs_param *p = ps->param[i];
        HS_TRY(hs_ckpt_pieces(o, p, piece, &n));
        for (int k = 0; k < n && p->role == HS_WEIGHT && p->pair_parts == 0; k++)
            HS_TRY(add_name(&m->others, piece[k].name, module_bytes(piece[k].name)));
    }
    for (int i = 0; f != NULL && i < f->n_names; i++)
        if (strstr(f->name[i].theirs, "%d") == NULL)
            HS_TRY(add_name(&m->others, f->name[i].theirs, module_bytes(f->name[i].theirs)));
    for (int i = 0; i < m->others.n; i++)
        for (int k = 0; k < m->wearing.n; k++)
            if (strcmp(m->others.name[i], m->wearing.name[k]) == 0)
                m->others.name[i][0] = '\0'; // ends with nothing that is looked for
    return HS_OK;
}

static hs_status add_targets(hs_text *t, const modules *m)
{
    names targets = { 0 };
    hs_status st = HS_OK;
    for (int i = 0; i < m->wearing.n && st == HS_OK; i++) {
        const char *target = target_of(m->wearing.name[i], &m->others);
        st = add_name(&targets, target, strlen(target));
    }
    for (int i = 0; i < targets.n; i++) {
        hs_text_add(t, "%s", i ? ", " : "[");
        hs_text_string(t, targets.name[i]);
    }
    hs_text_add(t, "]");
    free(targets.name);
    return st;
}

static void add_kept(hs_text *t, const modules *m)
{
    for (int i = 0; i < m->kept.n; i++) {
        hs_text_add(t, "%s", i ? ", " : "[");
        hs_text_string(t, m->kept.name[i]);
    }
    hs_text_add(t, m->kept.n ? "]" : "null");
}

static const char *task_word(int task, bool texts)
{
    if (task == HS_TASK_REGRESSION || task == HS_TASK_MULTILABEL)
        task = HS_TASK_SEQUENCE;
    for (int i = 0; i < HS_COUNT(tasks); i++)
        if (tasks[i].task == task)
            return tasks[i].word;
    return texts ? "CAUSAL_LM" : "FEATURE_EXTRACTION";
}

// Files that hold weights as [in, out] say so here.
static bool turned(const hs_params *ps, const hs_ckpt_opts *o)
{
    hs_name_piece piece[HS_NAME_PIECES];
    char scope[256], weight[300];
    int n;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        if (!p->pair_parts || !hs_adapter_part_of(p->name, scope))
            continue;
        snprintf(weight, sizeof weight, "%s.weight", scope);
        const hs_param *of = hs_params_find(ps, weight);
        return of != NULL && hs_ckpt_pieces(o, of, piece, &n) == HS_OK && piece[0].transposed;
    }
    return false;
}

hs_status hs_peft_json(hs_text *t, const hs_params *ps, const hs_ckpt_opts *o, int task, bool texts)
{
    const hs_adapter_spec *a = hs_params_adapter(ps);
    modules m = { 0 };
    if (a == NULL)
        return HS_FAIL(INTERNAL, "parameters without an adapter have no %s", HS_PEFT_CONFIG);
    hs_status st = collect(&m, ps, o);
    hs_text_add(t, "{\n  \"base_model_name_or_path\": ");
    hs_text_string(t, o->base != NULL ? o->base : "");
    hs_text_add(t,
                ",\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": %s,\n  \"inference_mode\": true,\n  \"init_lora_weights\": true,\n  "
                "\"lora_alpha\": ",
                turned(ps, o) ? "true" : "false");
    if (a->alpha == rint(a->alpha) && fabs(a->alpha) < 1e15)
        hs_text_add(t, "%.0f", a->alpha);
    else
        hs_text_f64(t, a->alpha);
    hs_text_add(t, ",\n  \"lora_dropout\": ");
    hs_text_f32(t, a->dropout);
    hs_text_add(t, ",\n  \"modules_to_save\": ");
    add_kept(t, &m);
    hs_text_add(t, ",\n  \"peft_type\": \"LORA\",\n  \"r\": %lld,\n  \"target_modules\": ", (long long)a->rank);
    if (st == HS_OK)
        st = add_targets(t, &m);
    hs_text_add(t, ",\n  \"task_type\": \"%s\",\n  \"use_rslora\": %s\n}\n", task_word(task, texts), a->rslora ? "true" : "false");
    modules_free(&m);
    return st;
}

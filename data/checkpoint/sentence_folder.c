// sentence_folder: sentence-transformers' small files, each optional.
#include "data/checkpoint/sentence_folder.h"
#include "core/base/log.h"
#include "data/base/hf_folder.h"
#include "data/base/json_util.h"
#include "data/base/side_file.h"
#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static const char *const pooling_keys[HS_POOLINGS] = { "pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_max_tokens" };
static const char *const pooling_words[HS_POOLINGS] = { "mean", "cls", "max" };

// "sentence_transformers.models.Pooling" -> "Pooling"
static const char *last_word(const char *type)
{
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

static hs_status join(char *path, size_t room, const char *dir, const char *name)
{
    const int n = snprintf(path, room, "%s%s%s", dir, name[0] ? "/" : "", name);
    return n > 0 && (size_t)n < room ? HS_OK : HS_FAIL(USAGE, "the name of %s in %s is too long", name, dir);
}

// ---- 1_Pooling/config.json
static hs_status read_pooling(const char *dir, hs_sentence *out)
{
    char path[4200];
    if (!hs_hf_exists(dir, "config.json", path, sizeof path))
        return HS_OK;
    hs_json j;
    HS_TRY(hs_json_open(&j, path));
    const char *key, *word = hs_json_text(&j, "pooling_mode"); // how newer ones write it
    json_t *value;
    int n = 0;
    json_object_foreach(j.root, key, value)
    {
        const bool chosen = word ? strcmp(key, "pooling_mode") == 0 : strncmp(key, "pooling_mode_", 13) == 0 && json_is_true(value);
        if (!chosen)
            continue;
        const size_t used = strlen(out->pooling_asked);
        snprintf(out->pooling_asked + used, sizeof out->pooling_asked - used, "%s%s", used ? " and " : "", word ? word : key);
        n++;
        out->pooling_known = false;
        for (int i = 0; i < HS_POOLINGS; i++)
            if (strcmp(word ? word : key, word ? pooling_words[i] : pooling_keys[i]) == 0)
                out->pooling = i, out->pooling_known = n == 1;
    }
    out->prompt_pooled = !json_is_false(json_object_get(j.root, "include_prompt"));
    hs_json_close(&j);
    out->found = true;
    return HS_OK;
}

// ---- sentence_bert_config.json; older ones have the model's name in place of bert
static bool find_limits(const char *dir, char *path, size_t room)
{
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = fnmatch("sentence_*_config.json", e->d_name, 0) == 0 && snprintf(path, room, "%s/%s", dir, e->d_name) < (int)room;
    if (d)
        closedir(d);
    return found;
}

// What transformers cuts at: model_max_length, which is 10^30 where nobody knows.
static hs_status read_tokenizer_limit(hs_sentence *out)
{
    char path[4400];
    hs_json j;
    if (!hs_hf_exists(out->dir, "tokenizer_config.json", path, sizeof path))
        return HS_OK;
    HS_TRY(hs_json_open(&j, path));
    const json_t *most = json_object_get(j.root, "model_max_length");
    if (json_is_integer(most) && json_integer_value(most) > 0 && json_integer_value(most) < INT32_MAX)
        out->max_length = json_integer_value(most);
    hs_json_close(&j);
    return HS_OK;
}

static hs_status read_limits(hs_sentence *out)
{
    char path[4400];
    hs_json j;
    if (!find_limits(out->dir, path, sizeof path))
        return HS_OK;
    HS_TRY(hs_json_open(&j, path));
    const json_t *length = json_object_get(j.root, "max_seq_length");
    hs_status st = HS_OK;
    if (length && !json_is_null(length))
        st = hs_json_i64(&j, "max_seq_length", 1, INT32_MAX, &out->max_length);
    out->lower_case = json_is_true(json_object_get(j.root, "do_lower_case"));
    hs_json_close(&j);
    out->found = true;
    return st;
}

// ---- config_sentence_transformers.json
static void read_named(const json_t *prompts, hs_sentence *out)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)prompts, name, value)
    {
        hs_sentence_prompt *p = &out->named[out->n_named];
        const char *text = json_string_value(value);
        if (out->n_named == HS_SENTENCE_PROMPTS || !text || strlen(name) >= sizeof p->name || strlen(text) >= sizeof p->text) {
            hs_warn("the prompt \"%.64s\" is left out: up to %d are kept, of %zu bytes", name, HS_SENTENCE_PROMPTS, sizeof p->text - 1);
            continue;
        }
        snprintf(p->name, sizeof p->name, "%s", name), snprintf(p->text, sizeof p->text, "%s", text);
        out->n_named++;
    }
}

static hs_status read_prompt(const char *dir, hs_sentence *out)
{
    char path[4200];
    hs_json j;
    if (!hs_hf_exists(dir, "config_sentence_transformers.json", path, sizeof path))
        return HS_OK;
    HS_TRY(hs_json_open(&j, path));
    const char *name = hs_json_text(&j, "default_prompt_name");
    const char *prompt = name ? json_string_value(json_object_get(json_object_get(j.root, "prompts"), name)) : NULL;
    hs_status st = HS_OK;
    if (name && !prompt)
        st = HS_FAIL(CORRUPT, "%s: default_prompt_name is \"%.64s\", and prompts has none of that name", path, name);
    else if (prompt && strlen(prompt) >= sizeof out->prompt)
        st = HS_FAIL(UNSUPPORTED, "%s: the prompt \"%.32s...\" is longer than %zu bytes", path, prompt, sizeof out->prompt - 1);
    else if (prompt && prompt[0] && !out->prompt_pooled)
        st = HS_FAIL(UNSUPPORTED, "%s: the prompt \"%.64s\" is before every text, and the pooling leaves its tokens out (include_prompt)",
                     path, prompt);
    else if (prompt)
        snprintf(out->prompt, sizeof out->prompt, "%s", prompt);
    read_named(json_object_get(j.root, "prompts"), out);
    hs_json_close(&j);
    return st;
}

// ---- modules.json
static hs_status read_module(const char *path, const char *dir, const json_t *module, hs_sentence *out)
{
    const char *type = json_string_value(json_object_get(module, "type")), *where = json_string_value(json_object_get(module, "path"));
    char folder[4200];
    if (!type || !where)
        return HS_FAIL(CORRUPT, "%s: a module without type or path", path);
    type = last_word(type);
    HS_TRY(join(folder, sizeof folder, dir, where));
    if (strcmp(type, "Transformer") == 0)
        return join(out->dir, sizeof out->dir, dir, where);
    if (strcmp(type, "Pooling") == 0)
        return read_pooling(folder, out);
    if (strcmp(type, "Normalize") == 0) {
        out->normalize = true;
        return HS_OK;
    }
    return HS_FAIL(UNSUPPORTED, "%s: a module %.64s (%s) is not supported; known are Transformer, Pooling and Normalize", path, type,
                   where);
}

static hs_status read_modules(const char *dir, const char *path, hs_sentence *out)
{
    json_t *root;
    size_t i;
    json_t *module;
    HS_TRY(hs_side_json(path, &root));
    hs_status st = json_is_array(root) ? HS_OK : HS_FAIL(CORRUPT, "%s: not a list of modules", path);
    json_array_foreach(root, i, module) if (st == HS_OK) st = read_module(path, dir, module, out);
    json_decref(root);
    out->found = true;
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_sentence_read(const char *dir, hs_sentence *out)
{
    char path[4200];
    *out = (hs_sentence){ .pooling_known = true, .prompt_pooled = true };
    HS_TRY(join(out->dir, sizeof out->dir, dir, ""));
    if (hs_hf_exists(dir, "modules.json", path, sizeof path)) {
        HS_TRY(read_modules(dir, path, out));
    } else {
        HS_TRY(join(path, sizeof path, dir, "1_Pooling"));
        HS_TRY(read_pooling(path, out));
    }
    HS_TRY(read_limits(out));
    if (!out->max_length)
        HS_TRY(read_tokenizer_limit(out));
    return read_prompt(dir, out);
}

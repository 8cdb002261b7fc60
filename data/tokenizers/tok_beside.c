// tok_beside: one list of added tokens out of up to four files, and back.
#include "data/tokenizers/tok_beside.h"
#include "data/base/file.h"
#include "data/base/hf_folder.h"
#include "data/base/side_file.h"
#include "data/tokenizers/tok_files.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// In the order in which transformers adds tokens that have no id yet.
static const char *const named[HS_TOK_NAMES] = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"
};
static const char *const flags[] = { "single_word", "lstrip", "rstrip", "normalized", "special" };

typedef struct merging {
    const char *dir, *file; // file: whose words are being read, for messages
    json_t *vocab, *list;   // borrowed: model.vocab, added_tokens
    json_t *by_content;     // elements of the list
    int64_t next;           // the id of a token that no file gives one
    bool appended;
} merging;

hs_status hs_tok_beside_config(const char *dir, json_t **config)
{
    char path[4096];
    if (hs_hf_exists(dir, "tokenizer_config.json", path, sizeof path))
        HS_TRY(hs_side_json(path, config));
    else
        *config = json_object();
    if (json_is_object(*config))
        return HS_OK;
    const bool memory = *config == NULL;
    json_decref(*config);
    return memory ? HS_FAIL(MEMORY, "%s: no memory", dir) : HS_FAIL(CORRUPT, "%s: not a JSON object", path);
}

// An optional file that is an object; NULL: there is none.
static hs_status read_object(const char *dir, const char *name, json_t **out)
{
    char path[4096];
    *out = NULL;
    if (!hs_hf_exists(dir, name, path, sizeof path))
        return HS_OK;
    HS_TRY(hs_side_json(path, out));
    if (json_is_object(*out))
        return HS_OK;
    json_decref(*out);
    *out = NULL;
    return HS_FAIL(CORRUPT, "%s: not a JSON object", path);
}

// ---- reading

static hs_status start(merging *m, json_t *root)
{
    m->vocab = json_object_get(json_object_get(root, "model"), "vocab");
    m->list = json_object_get(root, "added_tokens");
    if (!json_is_array(m->list)) {
        json_object_set_new(root, "added_tokens", json_array());
        m->list = json_object_get(root, "added_tokens");
    }
    m->by_content = json_object();
    m->next = (int64_t)json_object_size(m->vocab);
    if (!m->by_content || !m->list)
        return HS_FAIL(MEMORY, "%s: no memory for added tokens", m->dir);
    size_t i;
    json_t *token;
    json_array_foreach(m->list, i, token)
    {
        const char *content = json_string_value(json_object_get(token, "content"));
        const json_int_t id = json_integer_value(json_object_get(token, "id"));
        if (!content || !json_is_integer(json_object_get(token, "id")))
            return HS_FAIL(CORRUPT, "%s/tokenizer.json: added_tokens[%zu] has no content or no id", m->dir, i);
        json_object_set(m->by_content, content, token);
        m->next = id >= m->next && id < INT32_MAX ? id + 1 : m->next;
    }
    return HS_OK;
}

static hs_status check_flags(const merging *m, const json_t *from)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        bool known = strcmp(key, "content") == 0 || strcmp(key, "__type") == 0 || json_is_null(value) || json_is_false(value);
        for (int i = 0; i < HS_COUNT(flags); i++)
            known = known || strcmp(key, flags[i]) == 0;
        if (!known)
            return HS_FAIL(UNSUPPORTED, "%s/%s: \"%.64s\" of an added token: not supported", m->dir, m->file, key);
    }
    return HS_OK;
}

static void set_flags(json_t *token, const json_t *from)
{
    for (int i = 0; i < HS_COUNT(flags); i++)
        if (json_is_boolean(json_object_get(from, flags[i])))
            json_object_set(token, flags[i], json_object_get(from, flags[i]));
}

// id -1: whatever it has, or the next. from: an object with flags, or NULL. special: it is named.
static hs_status put(merging *m, const char *content, int64_t id, const json_t *from, bool special)
{
    json_t *token = json_object_get(m->by_content, content), *model = json_object_get(m->vocab, content);
    const json_t *has = token ? json_object_get(token, "id") : model;
    HS_TRY(check_flags(m, from));
    if (!content[0])
        return HS_FAIL(CORRUPT, "%s/%s: a token without a character", m->dir, m->file);
    if (has && id >= 0 && json_integer_value(has) != id)
        return HS_FAIL(CORRUPT, "%s/%s: \"%.64s\" has id %lld, but %lld in the other files of the tokenizer", m->dir, m->file, content,
                       (long long)id, (long long)json_integer_value(has));
    if (!token) {
        id = has ? (int64_t)json_integer_value(has) : id >= 0 ? id : m->next;
        m->next = !has && id >= m->next ? id + 1 : m->next;
        token = json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", content, "single_word", 0, "lstrip", 0,
                          "rstrip", 0, "normalized", !special, "special", special);
        if (!token || json_array_append_new(m->list, token) != 0 || json_object_set(m->by_content, content, token) != 0)
            return HS_FAIL(MEMORY, "%s: no memory for added tokens", m->dir);
        m->appended = true;
    } else if (special && !json_is_true(json_object_get(token, "special"))) {
        json_object_set_new(token, "special", json_true());
        json_object_set_new(token, "normalized", json_false());
    }
    set_flags(token, from);
    if (special)
        json_object_set_new(token, "special", json_true());
    return HS_OK;
}

typedef struct numbered {
    int64_t id;
    const char *content;
    const json_t *from;
} numbered;

static int by_id(const void *a, const void *b)
{
    const numbered *x = a, *y = b;
    return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : strcmp(x->content, y->content);
}

// {"527": {"content": "<x>", ...}}, or {"<x>": 527}: in the order of ids.
static hs_status put_all(merging *m, const json_t *object, bool decoder)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    numbered *all = calloc(json_object_size(object) + 1, sizeof *all);
    hs_status st = all ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for added tokens", m->dir);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char *end;
        if (st != HS_OK)
            break;
        if (decoder)
            all[n] = (numbered){ strtoll(key, &end, 10), json_string_value(json_object_get(value, "content")), value };
        else
            all[n] = (numbered){ json_is_integer(value) ? json_integer_value(value) : -1, key, NULL };
        if (all[n].id < 0 || all[n].id >= INT32_MAX || !all[n].content || (decoder && (*end || end == key)))
            st = HS_FAIL(CORRUPT, "%s/%s: \"%.64s\" has no %s", m->dir, m->file, key, decoder ? "id, or no content" : "id");
        n++;
    }
    if (st == HS_OK)
        qsort(all, n, sizeof *all, by_id);
    for (size_t i = 0; st == HS_OK && i < n; i++)
        st = put(m, all[i].content, all[i].id, all[i].from, false);
    free(all);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// "<x>" or {"content": "<x>", "lstrip": true, ...}; null and false name nothing.
static hs_status put_name(merging *m, const char *key, const json_t *value, json_t **name)
{
    const char *content = json_is_string(value) ? json_string_value(value) : json_string_value(json_object_get(value, "content"));
    *name = NULL;
    if (!value || json_is_null(value) || json_is_false(value) || (content && !*content))
        return HS_OK;
    if (!content)
        return HS_FAIL(CORRUPT, "%s/%s: \"%s\" names no token", m->dir, m->file, key);
    HS_TRY(put(m, content, -1, json_is_object(value) ? value : NULL, true));
    *name = json_string(content);
    return *name ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for added tokens", m->dir);
}

static hs_status put_more(merging *m, const char *key, const json_t *list, json_t *names)
{
    size_t i;
    json_t *value, *name;
    if (json_is_object(list)) { // extra_special_tokens: {"image_token": "<image>"}
        const char *what;
        json_object_foreach((json_t *)(uintptr_t)list, what, value)
        {
            HS_TRY(put_name(m, what, value, &name));
            if (name)
                json_array_append_new(names, name);
        }
        return HS_OK;
    }
    json_array_foreach((json_t *)(uintptr_t)list, i, value)
    {
        HS_TRY(put_name(m, key, value, &name));
        if (name)
            json_array_append_new(names, name);
    }
    return HS_OK;
}

static hs_status put_names(merging *m, const json_t *map, const json_t *config, const char *const *fallback, json_t *names)
{
    static const char *const more[] = { "additional_special_tokens", "extra_special_tokens" };
    for (int i = 0; i < HS_TOK_NAMES; i++) {
        const bool mapped = json_object_get(map, named[i]) != NULL, given = mapped || json_object_get(config, named[i]);
        json_t *name = NULL;
        m->file = mapped ? "special_tokens_map.json" : "tokenizer_config.json";
        if (given)
            HS_TRY(put_name(m, named[i], json_object_get(mapped ? map : config, named[i]), &name));
        else if (fallback && fallback[i] && json_object_get(m->vocab, fallback[i])) {
            HS_TRY(put(m, fallback[i], -1, NULL, true));
            name = json_string(fallback[i]);
        }
        if (name)
            json_object_set_new(names, named[i], name);
    }
    json_t *list = json_array();
    hs_status st = HS_OK;
    for (int i = 0; st == HS_OK && i < HS_COUNT(more); i++) {
        const bool mapped = json_object_get(map, more[i]) != NULL;
        m->file = mapped ? "special_tokens_map.json" : "tokenizer_config.json";
        st = put_more(m, more[i], json_object_get(mapped ? map : config, more[i]), list);
    }
    if (json_array_size(list) > 0)
        json_object_set(names, more[0], list);
    json_decref(list);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static bool is_named(const json_t *names, const char *content)
{
    const char *key;
    json_t *name;
    json_object_foreach((json_t *)(uintptr_t)names, key,
                        name) if (json_is_string(name) && strcmp(json_string_value(name), content) == 0) return true;
    return false;
}

// The first n tokens are those that a form without a list takes for special: where the files name others, they are ordinary text.
static void drop_unnamed(merging *m, size_t n, const json_t *names, const json_t *decoder, const json_t *added)
{
    for (size_t i = n; i-- > 0;) {
        json_t *token = json_array_get(m->list, i);
        const char *content = json_string_value(json_object_get(token, "content"));
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(token, "id")));
        if (!is_named(names, content) && !json_object_get(decoder, id) && !json_object_get(added, content))
            json_array_remove(m->list, i);
    }
}

static int by_token_id(const void *a, const void *b)
{
    const json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "id"));
    const json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "id"));
    return (x > y) - (x < y);
}

// As it is written again: the hash of a tokenizer is over the list in its order.
static hs_status sort_list(merging *m)
{
    const size_t n = json_array_size(m->list);
    json_t **all = malloc((n + 1) * sizeof *all);
    if (!all)
        return HS_FAIL(MEMORY, "%s: no memory for added tokens", m->dir);
    for (size_t i = 0; i < n; i++)
        all[i] = json_incref(json_array_get(m->list, i));
    qsort(all, n, sizeof *all, by_token_id);
    for (size_t i = 0; i < n; i++)
        json_array_set_new(m->list, i, all[i]);
    free(all);
    return HS_OK;
}

static hs_status merge(merging *m, const json_t *config, const char *const *fallback, json_t *root, json_t *names)
{
    json_t *decoder = json_object_get(config, "added_tokens_decoder"), *added = NULL, *map = NULL;
    HS_TRY(start(m, root));
    const size_t n_form = fallback ? json_array_size(m->list) : 0;
    m->file = "tokenizer_config.json";
    if (decoder && !json_is_null(decoder) && !json_is_object(decoder))
        return HS_FAIL(CORRUPT, "%s/%s: \"added_tokens_decoder\" is no object", m->dir, m->file);
    HS_TRY(put_all(m, decoder, true));
    hs_status st = read_object(m->dir, "added_tokens.json", &added);
    m->file = "added_tokens.json";
    if (st == HS_OK)
        st = put_all(m, added, false);
    if (st == HS_OK && !json_object_size(decoder))
        st = read_object(m->dir, "special_tokens_map.json", &map);
    if (st == HS_OK)
        st = put_names(m, map, config, fallback, names);
    if (st == HS_OK)
        drop_unnamed(m, n_form, names, decoder, added);
    if (st == HS_OK && m->appended)
        st = sort_list(m);
    json_decref(added);
    json_decref(map);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status read_template(const char *dir, json_t *beside)
{
    char path[4096], *text;
    size_t bytes;
    if (!hs_hf_exists(dir, "chat_template.jinja", path, sizeof path))
        return HS_OK;
    HS_TRY(hs_side_read(path, &text, &bytes));
    const int failed = json_object_set_new(beside, "chat_template.jinja", json_stringn(text, bytes));
    free(text);
    return failed ? HS_FAIL(CORRUPT, "%s: no UTF-8", path) : HS_OK;
}

hs_status hs_tok_beside_read(const char *dir, const json_t *config, const char *const *fallback, json_t *root, json_t **beside)
{
    char path[4096];
    merging m = { .dir = dir };
    json_t *names = json_object(), *kept = json_object();
    *beside = json_pack("{s:o, s:o}", "names", names, "config", kept);
    if (!*beside)
        return HS_FAIL(MEMORY, "%s: no memory", dir);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    hs_status st = hs_hf_check_keys(path, "tokenizer_config.json", config);
    // what is no list of tokens by id is told by whoever reads the vocabulary
    if (st == HS_OK && json_is_object(json_object_get(json_object_get(root, "model"), "vocab")))
        st = merge(&m, config, fallback, root, names);
    if (st == HS_OK)
        st = read_template(dir, *beside);
    hs_hf_keep(kept, "tokenizer_config.json", config);
    json_decref(m.by_content);
    if (st == HS_OK)
        return HS_OK;
    json_decref(*beside);
    *beside = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_tok_beside_attach(hs_subword *s, json_t *beside)
{
    const json_t *names = json_object_get(beside, "names");
    s->beside = json_incref(beside);
    for (int i = 0; i < HS_TOK_NAMES; i++) {
        const json_t *name = json_object_get(names, named[i]);
        s->named[i] = name ? hs_tok_vocab_find(&s->vocab, json_string_value(name), json_string_length(name)) : -1;
        for (int k = 0; name && k < s->added.n; k++) // its text is that of an added token, not the vocabulary's bytes
            if (strcmp(s->added.token[k].text, json_string_value(name)) == 0)
                s->named[i] = s->added.token[k].id;
    }
}

// ---- writing

static json_t *flags_of(const json_t *token)
{
    json_t *out = json_object();
    json_object_set(out, "content", json_object_get(token, "content"));
    set_flags(out, token);
    return out;
}

// NULL or empty: the file of a tokenizer that was here before would speak for this one.
static hs_status put_object(const char *dir, const char *name, json_t *object)
{
    char path[4096];
    if (json_object_size(object))
        return hs_tok_files_save_json(dir, name, json_incref(object), JSON_INDENT(1));
    if (hs_hf_exists(dir, name, path, sizeof path) && remove(path) != 0)
        return HS_FAIL(SYSTEM, "%s, of another tokenizer, cannot be removed: %s", path, strerror(errno));
    return HS_OK;
}

hs_status hs_tok_beside_write(const hs_tokenizer *t, const char *dir, const json_t *root, json_t *config)
{
    const json_t *said = t->kind->subword ? hs_subword_of(t)->beside : NULL;
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    json_t *names = json_object_get(said, "names"), *decoder = json_object(), *added = json_object(), *token;
    const json_t *chat = json_object_get(said, "chat_template.jinja");
    size_t i;
    hs_status st = HS_OK;
    json_array_foreach(said ? json_object_get(root, "added_tokens") : NULL, i, token)
    {
        char id[24];
        json_t *content = json_object_get(token, "content");
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(token, "id")));
        json_object_set_new(decoder, id, flags_of(token));
        if (!json_object_get(vocab, json_string_value(content)))
            json_object_set(added, json_string_value(content), json_object_get(token, "id"));
    }
    json_object_update(config, json_object_get(said, "config"));
    json_object_update(config, names);
    if (json_object_size(decoder))
        json_object_set(config, "added_tokens_decoder", decoder);
    st = put_object(dir, "added_tokens.json", added);
    if (st == HS_OK)
        st = put_object(dir, "special_tokens_map.json", names);
    if (st == HS_OK && chat) {
        char path[4096];
        snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
        st = hs_file_save(path, json_string_value(chat), json_string_length(chat));
    }
    json_decref(decoder);
    json_decref(added);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// tok_json: members read by name, vocabulary, added tokens and templates. Silence would change ids: what is not known is an error.
#include "data/tokenizers/tok_json.h"
#include <stdlib.h>
#include <string.h>

// ---- members

hs_status hs_tok_json_bool(const char *path, const json_t *object, const char *key, bool fallback, bool *out)
{
    const json_t *v = json_object_get(object, key);
    if (v && !json_is_null(v) && !json_is_boolean(v))
        return HS_FAIL(CORRUPT, "%s: \"%s\" is neither true nor false", path, key);
    *out = json_is_boolean(v) ? json_is_true(v) : fallback;
    return HS_OK;
}

hs_status hs_tok_json_int(const char *path, const json_t *object, const char *key, int64_t min, int64_t max, int64_t fallback, int64_t *out)
{
    const json_t *v = json_object_get(object, key);
    *out = fallback;
    if (!v || json_is_null(v))
        return HS_OK;
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return HS_FAIL(CORRUPT, "%s: \"%s\" is not an integer from %lld to %lld", path, key, (long long)min, (long long)max);
    *out = json_integer_value(v);
    return HS_OK;
}

const char *hs_tok_json_type(const json_t *object)
{
    if (!object || json_is_null(object))
        return "null";
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "?";
}

hs_status hs_tok_json_refuse(const char *path, const char *part, const json_t *object, const char *known)
{
    return HS_FAIL(UNSUPPORTED, "%s: %s of type %.64s: not supported; this version reads %s", path, part, hs_tok_json_type(object), known);
}

bool hs_tok_json_lists(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0))
            return true;
    return false;
}

// ---- vocabulary

void hs_tok_items_free(hs_tok_items *t)
{
    free(t->token);
    free(t->pool);
    *t = (hs_tok_items){ 0 };
}

// The model's ids come first, those of added tokens right behind them: which id one behind a gap has is read in two ways elsewhere.
static hs_status take_id(hs_tok_items *t, const char *path, const char *name, const json_t *value, hs_tok_text text, bool added)
{
    const int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0)
        return HS_FAIL(CORRUPT, "%s: token \"%.64s\" has no id", path, name);
    if (id < (added ? t->n_model : 0) || id >= (added ? t->n : t->n_model))
        return HS_FAIL(CORRUPT,
                       "%s: added token \"%.64s\" has id %lld, where the tokenizer's vocabulary goes on with %lld to %lld, without a gap",
                       path, name, (long long)id, (long long)t->n_model, (long long)t->n - 1);
    if (t->token[id].text)
        return HS_FAIL(CORRUPT, "%s: token \"%.64s\" has the id of another, %lld", path, name, (long long)id);
    t->token[id] = text;
    return HS_OK;
}

// Ids of the model's tokens: *n is one more than the largest. Some may have none, but not most: whoever writes large ids pays for them.
static hs_status count_ids(const char *path, json_t *vocab, int64_t n_added, int64_t *n)
{
    const int64_t tokens = (int64_t)json_object_size(vocab), most = 2 * tokens + 4096;
    const char *name;
    json_t *value;
    *n = tokens;
    json_object_foreach(vocab, name, value)
    {
        const int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id >= most)
            return HS_FAIL(CORRUPT, "%s: token \"%.64s\" has id %lld in a vocabulary of %lld tokens: most ids up to it have none", path,
                           name, (long long)id, (long long)tokens);
        *n = id >= *n ? id + 1 : *n;
    }
    if (*n > tokens && n_added > 0)
        return HS_FAIL(
            UNSUPPORTED,
            "%s: %lld ids below %lld have no token, and there are added tokens behind them, whose ids are then read in two ways: "
            "give every id a token, or put the added ones into the vocabulary",
            path, (long long)(*n - tokens), (long long)*n);
    return HS_OK;
}

static hs_status added_list(const char *path, const json_t *root, const json_t **list)
{
    *list = json_object_get(root, "added_tokens");
    size_t i;
    json_t *token;
    if (*list && !json_is_null(*list) && !json_is_array(*list))
        return HS_FAIL(CORRUPT, "%s: \"added_tokens\" is no array", path);
    json_array_foreach((json_t *)(uintptr_t)*list, i, token)
    {
        const char *content = json_string_value(json_object_get(token, "content"));
        if (!content || !content[0] || !json_is_integer(json_object_get(token, "id")))
            return HS_FAIL(CORRUPT, "%s: added_tokens[%zu] has no content or no id", path, i);
    }
    return HS_OK;
}

static bool is_listed(const json_t *list, const char *content)
{
    size_t i;
    json_t *token;
    json_array_foreach((json_t *)(uintptr_t)list, i,
                       token) if (strcmp(json_string_value(json_object_get(token, "content")), content) == 0) return true;
    return false;
}

static hs_status fill_items(hs_tok_items *t, const char *path, json_t *vocab, const json_t *list, char *pool,
                            bool (*to_bytes)(const char *, char *, size_t *))
{
    const char *name;
    json_t *value, *token;
    size_t i;
    json_object_foreach(vocab, name, value)
    {
        hs_tok_text text = { name, strlen(name) };
        if (to_bytes && to_bytes(name, pool, &text.bytes)) {
            text.text = pool;
            pool += text.bytes + 1;
        } else if (to_bytes && !is_listed(list, name)) {
            return HS_FAIL(UNSUPPORTED, "%s: token \"%.64s\" has a character that stands for no byte", path, name);
        }
        HS_TRY(take_id(t, path, name, value, text, false));
    }
    json_array_foreach((json_t *)(uintptr_t)list, i, token)
    {
        const char *content = json_string_value(json_object_get(token, "content"));
        json_t *id = json_object_get(token, "id"), *same = json_object_get(vocab, content);
        if (!same)
            HS_TRY(take_id(t, path, content, id, (hs_tok_text){ content, strlen(content) }, true));
        else if (json_integer_value(same) != json_integer_value(id))
            return HS_FAIL(CORRUPT, "%s: added token \"%.64s\" has another id than in the vocabulary", path, content);
    }
    return HS_OK;
}

hs_status hs_tok_json_items(hs_tok_items *out, const char *path, const json_t *root, bool (*to_bytes)(const char *, char *, size_t *))
{
    *out = (hs_tok_items){ 0 };
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab"), *token;
    const json_t *list;
    size_t i, room = 1;
    HS_TRY(added_list(path, root, &list));
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return HS_FAIL(CORRUPT, "%s has no vocabulary", path);
    int64_t n_added = 0;
    json_array_foreach((json_t *)(uintptr_t)list, i, token) n_added +=
        json_object_get(vocab, json_string_value(json_object_get(token, "content"))) == NULL;
    HS_TRY(count_ids(path, vocab, n_added, &out->n_model));
    out->n = out->n_model + n_added;
    if (to_bytes) {
        const char *name;
        json_object_foreach(vocab, name, token) room += strlen(name) + 1;
        out->pool = malloc(room);
    }
    out->token = calloc((size_t)out->n, sizeof *out->token);
    hs_status st = !out->token || (to_bytes && !out->pool) ? HS_FAIL(MEMORY, "%s: no memory for %lld tokens", path, (long long)out->n)
                                                           : fill_items(out, path, vocab, list, out->pool, to_bytes);
    if (st == HS_OK)
        return HS_OK;
    hs_tok_items_free(out);
    return hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status read_added(hs_subword *s, const char *path, const json_t *root)
{
    size_t i;
    json_t *token;
    json_array_foreach(json_object_get(root, "added_tokens"), i, token)
    {
        const json_t *content = json_object_get(token, "content");
        hs_tok_added_token a = { .text = (char *)(uintptr_t)json_string_value(content), .bytes = json_string_length(content) };
        a.id = (int32_t)json_integer_value(json_object_get(token, "id"));
        HS_TRY(hs_tok_json_bool(path, token, "special", false, &a.special));
        HS_TRY(hs_tok_json_bool(path, token, "normalized", !a.special, &a.normalized));
        HS_TRY(hs_tok_json_bool(path, token, "single_word", false, &a.single_word));
        HS_TRY(hs_tok_json_bool(path, token, "lstrip", false, &a.lstrip));
        HS_TRY(hs_tok_json_bool(path, token, "rstrip", false, &a.rstrip));
        HS_TRY(hs_tok_added_add(&s->added, a));
    }
    return HS_OK;
}

// ---- templates

static hs_status push_slot(hs_tok_template *t, const char *path, int64_t id, int64_t type)
{
    if (t->n == HS_TOK_SLOTS)
        return HS_FAIL(UNSUPPORTED, "%s: a template of more than %d pieces", path, HS_TOK_SLOTS);
    t->slot[t->n++] = (hs_tok_slot){ (int32_t)id, (int32_t)type };
    return HS_OK;
}

static hs_status push_special(hs_tok_template *t, const char *path, const hs_subword *s, const json_t *root, const char *name, int64_t type)
{
    const json_t *ids = json_object_get(json_object_get(json_object_get(root, "special_tokens"), name), "ids");
    size_t i;
    json_t *id;
    if (!json_is_array(ids))
        return HS_FAIL(CORRUPT, "%s: the template's special token \"%.64s\" has no ids", path, name);
    json_array_foreach((json_t *)(uintptr_t)ids, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= s->base.vocab)
            return HS_FAIL(CORRUPT, "%s: the template's special token \"%.64s\" has an id outside the vocabulary", path, name);
        HS_TRY(push_slot(t, path, json_integer_value(id), type));
    }
    return HS_OK;
}

static hs_status read_template(hs_tok_template *t, const char *path, const hs_subword *s, const json_t *root, const char *key)
{
    const json_t *pieces = json_object_get(root, key);
    size_t i;
    json_t *piece;
    bool has[2] = { false, false };
    t->n = 0;
    json_array_foreach((json_t *)(uintptr_t)pieces, i, piece)
    {
        const json_t *sequence = json_object_get(piece, "Sequence"), *special = json_object_get(piece, "SpecialToken");
        const json_t *what = sequence ? sequence : special;
        const char *id = json_string_value(json_object_get(what, "id"));
        int64_t type;
        HS_TRY(hs_tok_json_int(path, what, "type_id", 0, 255, 0, &type));
        if (!id || (sequence && strcmp(id, "A") != 0 && strcmp(id, "B") != 0))
            return HS_FAIL(CORRUPT, "%s: piece %zu of template \"%s\" is neither a sequence nor a special token", path, i, key);
        if (sequence) {
            const int b = id[0] == 'B';
            if (has[b])
                return HS_FAIL(UNSUPPORTED, "%s: template \"%s\" has sequence %s twice", path, key, id);
            has[b] = true;
            HS_TRY(push_slot(t, path, b ? HS_TOK_B : HS_TOK_A, type));
        } else {
            HS_TRY(push_special(t, path, s, root, id, type));
        }
    }
    const bool is_pair = strcmp(key, "pair") == 0;
    if (!has[0] || has[1] != is_pair)
        return HS_FAIL(CORRUPT, "%s: template \"%s\" does not have each of its sequences once", path, key);
    return HS_OK;
}

// {"sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}
static hs_status read_pair(const char *path, const hs_subword *s, const json_t *root, const char *key, int64_t *id)
{
    const json_t *v = json_array_get(json_object_get(root, key), 1);
    *id = json_is_integer(v) ? json_integer_value(v) : -1;
    if (*id < 0 || *id >= s->base.vocab)
        return HS_FAIL(CORRUPT, "%s: \"%s\" of the post-processor has no id of the vocabulary", path, key);
    return HS_OK;
}

static hs_status read_cls_sep(hs_subword *s, const char *path, const json_t *root, bool roberta)
{
    int64_t cls, sep;
    HS_TRY(read_pair(path, s, root, "cls", &cls));
    HS_TRY(read_pair(path, s, root, "sep", &sep));
    const int32_t c = (int32_t)cls, e = (int32_t)sep;
    s->single = (hs_tok_template){ { { c, 0 }, { HS_TOK_A, 0 }, { e, 0 } }, 3 };
    if (roberta)
        s->pair = (hs_tok_template){ { { c, 0 }, { HS_TOK_A, 0 }, { e, 0 }, { e, 0 }, { HS_TOK_B, 0 }, { e, 0 } }, 6 };
    else
        s->pair = (hs_tok_template){ { { c, 0 }, { HS_TOK_A, 0 }, { e, 0 }, { HS_TOK_B, 1 }, { e, 1 } }, 5 };
    return HS_OK;
}

static hs_status read_post(hs_subword *s, const char *path, const json_t *p)
{
    const char *type = hs_tok_json_type(p);
    if (strcmp(type, "null") == 0)
        return HS_OK;
    if (strcmp(type, "TemplateProcessing") == 0) {
        HS_TRY(read_template(&s->single, path, s, p, "single"));
        HS_TRY(read_template(&s->pair, path, s, p, "pair"));
        return HS_OK;
    }
    const bool roberta = strcmp(type, "RobertaProcessing") == 0;
    if (roberta || strcmp(type, "ByteLevel") == 0) {
        HS_TRY(hs_tok_json_bool(path, p, "trim_offsets", true, &s->trim_offsets));
        HS_TRY(hs_tok_json_bool(path, p, "add_prefix_space", true, &s->trim_keeps_first));
    }
    if (roberta || strcmp(type, "BertProcessing") == 0)
        return read_cls_sep(s, path, p, roberta);
    if (strcmp(type, "ByteLevel") == 0)
        return HS_OK;
    if (strcmp(type, "Sequence") != 0)
        return hs_tok_json_refuse(path, "post_processor", p, "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence");
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(p, "processors"), i, part)
    {
        if (strcmp(hs_tok_json_type(part), "Sequence") == 0)
            return HS_FAIL(UNSUPPORTED, "%s: post_processor of type Sequence inside another", path);
        HS_TRY(read_post(s, path, part));
    }
    return HS_OK;
}

// ---- truncation and padding

static const char *const strategies[] = { "LongestFirst", "OnlyFirst", "OnlySecond" };

static hs_status read_direction(const char *path, const json_t *object, bool *left)
{
    const char *direction = json_string_value(json_object_get(object, "direction"));
    *left = direction && strcmp(direction, "Left") == 0;
    if (direction && !*left && strcmp(direction, "Right") != 0)
        return HS_FAIL(CORRUPT, "%s: direction \"%.64s\" is neither Left nor Right", path, direction);
    return HS_OK;
}

static hs_status read_shape(hs_subword *s, const char *path, const json_t *root)
{
    const json_t *cut = json_object_get(root, "truncation"), *pad = json_object_get(root, "padding");
    hs_row_opts *o = &s->shape;
    int64_t v;
    if (json_is_object(cut)) {
        const char *strategy = json_string_value(json_object_get(cut, "strategy"));
        int k = 0;
        while (k < HS_COUNT(strategies) && (!strategy || strcmp(strategies[k], strategy) != 0))
            k++;
        if (k == HS_COUNT(strategies))
            return HS_FAIL(UNSUPPORTED, "%s: truncation strategy %.64s", path, strategy ? strategy : "(none)");
        o->truncate = (hs_truncate)k;
        HS_TRY(hs_tok_json_int(path, cut, "max_length", 1, INT32_MAX, 512, &o->max_length));
        HS_TRY(hs_tok_json_int(path, cut, "stride", 0, INT32_MAX, 0, &o->stride));
        HS_TRY(read_direction(path, cut, &o->truncate_left));
    }
    if (json_is_object(pad)) {
        const json_t *strategy = json_object_get(pad, "strategy");
        o->pad = json_is_object(strategy) ? HS_PAD_FIXED : HS_PAD_LONGEST;
        HS_TRY(hs_tok_json_int(path, strategy, "Fixed", 0, INT32_MAX, 0, &o->pad_length));
        HS_TRY(hs_tok_json_int(path, pad, "pad_to_multiple_of", 0, INT32_MAX, 0, &o->pad_multiple));
        HS_TRY(hs_tok_json_int(path, pad, "pad_id", 0, s->base.vocab - 1, 0, &v));
        o->pad_id = (int32_t)v;
        HS_TRY(hs_tok_json_int(path, pad, "pad_type_id", 0, 255, 0, &v));
        o->pad_type = (int32_t)v;
        HS_TRY(read_direction(path, pad, &o->pad_left));
    }
    return HS_OK;
}

static const char *const parts[] = { "truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder" };

hs_status hs_tok_json_common(hs_subword *s, const char *path, const json_t *root)
{
    const char *version = json_string_value(json_object_get(root, "version"));
    if (version && strcmp(version, "1.0") != 0)
        return HS_FAIL(UNSUPPORTED, "%s: version %.32s; this version reads 1.0", path, version);
    s->single = (hs_tok_template){ { { HS_TOK_A, 0 } }, 1 };
    s->pair = (hs_tok_template){ { { HS_TOK_A, 0 }, { HS_TOK_B, 1 } }, 2 };
    HS_TRY(read_added(s, path, root));
    HS_TRY(read_post(s, path, json_object_get(root, "post_processor")));
    HS_TRY(read_shape(s, path, root));
    s->parts = json_object();
    for (int i = 0; s->parts && i < HS_COUNT(parts); i++) {
        json_t *part = json_object_get(root, parts[i]);
        json_object_set_new(s->parts, parts[i], part ? json_deep_copy(part) : json_null());
    }
    return s->parts ? HS_OK : HS_FAIL(MEMORY, "%s: no memory", path);
}

json_t *hs_tok_json_root(const hs_subword *s, json_t *model)
{
    json_t *list = json_array();
    for (int32_t id = 0; id < s->base.vocab; id++) // in the order of ids
        for (int i = 0; i < s->added.n; i++) {
            const hs_tok_added_token *a = &s->added.token[i];
            if (a->id == id)
                json_array_append_new(list, json_pack("{s:i, s:s%, s:b, s:b, s:b, s:b, s:b}", "id", a->id, "content", a->text, a->bytes,
                                                      "single_word", a->single_word, "lstrip", a->lstrip, "rstrip", a->rstrip, "normalized",
                                                      a->normalized, "special", a->special));
        }
    json_t *root =
        json_pack("{s:s, s:O, s:O, s:o, s:O, s:O, s:O, s:O}", "version", "1.0", "truncation", json_object_get(s->parts, "truncation"),
                  "padding", json_object_get(s->parts, "padding"), "added_tokens", list, "normalizer",
                  json_object_get(s->parts, "normalizer"), "pre_tokenizer", json_object_get(s->parts, "pre_tokenizer"), "post_processor",
                  json_object_get(s->parts, "post_processor"), "decoder", json_object_get(s->parts, "decoder"));
    if (!root || !model) {
        json_decref(root);
        json_decref(model);
        return NULL;
    }
    json_object_set_new(root, "model", model);
    return root;
}

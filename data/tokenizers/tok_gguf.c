// tok_gguf: see the header. What GGUF says of a tokenizer is turned into the tokenizer.json it stands for: one reader.
#include "data/tokenizers/tok_gguf.h"
#include "data/tokenizers/tok_beside.h"
#include "data/tokenizers/tok_files.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum token_type { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };
static const char space[] = "\xe2\x96\x81"; // U+2581, which llama.cpp has for the space before a word

// The names of special tokens (hs_tok_beside) and the keys of their ids.
static const struct {
    const char *name, *key;
    int role; // of hs_token_role; -1: end and begin
} specials[] = {
    { "bos_token", "tokenizer.ggml.bos_token_id", -1 },
    { "eos_token", "tokenizer.ggml.eos_token_id", -1 },
    { "unk_token", "tokenizer.ggml.unknown_token_id", HS_TOKEN_UNK },
    { "sep_token", "tokenizer.ggml.seperator_token_id", HS_TOKEN_SEP }, // so it is spelt
    { "pad_token", "tokenizer.ggml.padding_token_id", HS_TOKEN_PAD },
    { "cls_token", "tokenizer.ggml.cls_token_id", HS_TOKEN_CLS },
    { "mask_token", "tokenizer.ggml.mask_token_id", HS_TOKEN_MASK },
};

// ---- writing
typedef struct vocabulary { // by id
    int64_t n;
    hs_gguf_text *text;
    int32_t *type;
    char *own; // texts that are made here
} vocabulary;

static void vocabulary_free(vocabulary *t)
{
    free(t->text);
    free(t->type);
    free(t->own);
}

static hs_status set(vocabulary *t, const json_t *id, const char *text, size_t bytes, int type)
{
    const json_int_t i = json_integer_value(id);
    if (i < 0 || i >= t->n)
        return HS_FAIL(UNSUPPORTED, "token \"%.64s\" has id %lld, and the model %lld rows: GGUF needs a row for every token", text,
                       (long long)i, (long long)t->n);
    t->text[i] = (hs_gguf_text){ text, bytes };
    t->type[i] = type;
    return HS_OK;
}

static hs_status set_all(vocabulary *t, const json_t *root)
{
    const char *text;
    json_t *id, *token;
    size_t i;
    json_object_foreach(json_object_get(json_object_get(root, "model"), "vocab"), text, id) HS_TRY(set(t, id, text, strlen(text), NORMAL));
    json_array_foreach(json_object_get(root, "added_tokens"), i, token)
    {
        const json_t *content = json_object_get(token, "content");
        HS_TRY(set(t, json_object_get(token, "id"), json_string_value(content), json_string_length(content),
                   json_is_true(json_object_get(token, "special")) ? CONTROL : USER_DEFINED));
    }
    return HS_OK;
}

// Words of WordPiece as llama.cpp has them, and names for rows without a token.
static hs_status respell(vocabulary *t, bool words)
{
    enum { PAD_BYTES = 32 };
    size_t bytes = 1;
    for (int64_t i = 0; i < t->n; i++)
        bytes += t->text[i].p ? t->text[i].n + sizeof space : PAD_BYTES;
    char *at = t->own = malloc(bytes);
    if (!at)
        return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)t->n);
    for (int64_t i = 0; i < t->n; i++) {
        hs_gguf_text *x = &t->text[i];
        if (!x->p) {
            *x = (hs_gguf_text){ at, (size_t)sprintf(at, "[PAD%lld]", (long long)i) };
            t->type[i] = UNUSED;
            at += x->n;
        } else if (words && t->type[i] != CONTROL && x->n >= 2 && memcmp(x->p, "##", 2) == 0)
            *x = (hs_gguf_text){ x->p + 2, x->n - 2 };
        else if (words && t->type[i] != CONTROL) {
            memcpy(at, space, sizeof space - 1);
            memcpy(at + sizeof space - 1, x->p, x->n);
            *x = (hs_gguf_text){ at, x->n + sizeof space - 1 };
            at += x->n;
        }
    }
    return HS_OK;
}

static hs_status put_merges(hs_gguf *g, const json_t *merges)
{
    const size_t n = json_array_size(merges);
    hs_gguf_text *text = calloc(n + 1, sizeof *text);
    char *own = NULL, *at;
    size_t bytes = 1, i;
    const json_t *m;
    json_array_foreach(merges, i, m) bytes +=
        json_is_array(m) ? json_string_length(json_array_get(m, 0)) + json_string_length(json_array_get(m, 1)) + 2 : 0;
    own = at = malloc(bytes);
    const hs_status st = text && own ? HS_OK : HS_FAIL(MEMORY, "no memory for %zu merges", n);
    json_array_foreach(merges, i, m)
    {
        if (st != HS_OK)
            break;
        if (json_is_string(m)) {
            text[i] = (hs_gguf_text){ json_string_value(m), json_string_length(m) };
            continue;
        }
        text[i] = (hs_gguf_text){ at, (size_t)sprintf(at, "%s %s", json_string_value(json_array_get(m, 0)),
                                                      json_string_value(json_array_get(m, 1))) };
        at += text[i].n + 1;
    }
    if (st == HS_OK)
        hs_gguf_put_texts(g, "tokenizer.ggml.merges", text, (int64_t)n);
    free(text);
    free(own);
    return st;
}

static void put_specials(hs_gguf *g, const hs_tokenizer *t, bool words)
{
    for (int i = 0; i < HS_COUNT(specials); i++) {
        int32_t id = specials[i].role >= 0 ? hs_tokenizer_role(t, (hs_token_role)specials[i].role)
                     : i == 0              ? hs_tokenizer_begin(t)
                                           : hs_tokenizer_end(t);
        if (words && specials[i].role < 0) // llama.cpp puts these around a text of WordPiece
            id = hs_tokenizer_role(t, i == 0 ? HS_TOKEN_CLS : HS_TOKEN_SEP);
        if (id >= 0)
            hs_gguf_put_int(g, specials[i].key, HS_GGUF_U32, id);
    }
}

// Why llama.cpp would read other tokens; NULL: it would not.
static const char *unknown_kind(const hs_tokenizer *t, const json_t *root)
{
    const char *type = json_string_value(json_object_get(json_object_get(root, "model"), "type"));
    const json_t *normalizer = json_object_get(root, "normalizer"), *level = json_object_get(root, "pre_tokenizer");
    const bool words = type && strcmp(type, "WordPiece") == 0;
    if (!words && (!type || strcmp(type, "BPE") != 0))
        return "a kind that llama.cpp does not have";
    if (words && !json_is_true(json_object_get(normalizer, "lowercase")))
        return "one that keeps the case, which llama.cpp's does not";
    if (!words && json_is_true(json_object_get(level, "add_prefix_space")))
        return "one that puts a space in front, which llama.cpp's does not";
    (void)t;
    return NULL;
}

static hs_status put(hs_gguf *g, const hs_tokenizer *t, const json_t *root, int64_t vocab)
{
    const json_t *model = json_object_get(root, "model");
    const char *why = unknown_kind(t, root);
    if (why)
        return HS_FAIL(UNSUPPORTED, "the tokenizer (%s) is %s", hs_tokenizer_kind(t), why);
    const bool words = strcmp(json_string_value(json_object_get(model, "type")), "WordPiece") == 0;
    vocabulary all = { .n = vocab,
                       .text = calloc((size_t)vocab + 1, sizeof *all.text),
                       .type = calloc((size_t)vocab + 1, sizeof *all.type) };
    hs_status st = all.text && all.type ? set_all(&all, root) : HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)vocab);
    if (st == HS_OK)
        st = respell(&all, words);
    if (st == HS_OK) {
        hs_gguf_put_text(g, "tokenizer.ggml.model", words ? "bert" : "gpt2");
        hs_gguf_put_text(g, "tokenizer.ggml.pre", words ? "default" : "gpt-2");
        hs_gguf_put_texts(g, "tokenizer.ggml.tokens", all.text, vocab);
        hs_gguf_put_i32s(g, "tokenizer.ggml.token_type", all.type, vocab);
        put_specials(g, t, words);
        if (!words)
            st = put_merges(g, json_object_get(model, "merges"));
    }
    vocabulary_free(&all);
    return st;
}

hs_status hs_gguf_put_tokenizer(hs_gguf *g, const hs_tokenizer *t, int64_t vocab)
{
    json_t *root = t->kind->json(t);
    const hs_status st = root ? put(g, t, root, vocab) : HS_FAIL(MEMORY, "no memory for the tokenizer");
    json_decref(root);
    return st;
}

void hs_gguf_put_no_tokenizer(hs_gguf *g) { hs_gguf_put_text(g, "tokenizer.ggml.model", "no_vocab"); }

// ---- reading
static json_t *plain_text(hs_gguf_text t) { return json_stringn(t.p, t.n); }

// "\u2581in" is "in", "ing" is "##ing"; what is a token of its own stays.
static json_t *word(hs_gguf_text t, int64_t type)
{
    const size_t n = sizeof space - 1;
    if (type == CONTROL || type == UNUSED || type == UNKNOWN)
        return plain_text(t);
    if (t.n >= n && memcmp(t.p, space, n) == 0)
        return json_stringn(t.p + n, t.n - n);
    char *buf = malloc(t.n + 3);
    if (!buf)
        return NULL;
    memcpy(buf, "##", 2);
    memcpy(buf + 2, t.p, t.n);
    json_t *s = json_stringn(buf, t.n + 2);
    free(buf);
    return s;
}

static hs_status read_vocab(const char *path, const hs_gguf_pair *tokens, const hs_gguf_pair *types, bool words, json_t *vocab,
                            json_t *added)
{
    hs_status st = HS_OK;
    for (uint64_t i = 0; i < tokens->n && st == HS_OK; i++) {
        const int64_t type = types ? hs_gguf_int_at(types, i) : NORMAL;
        json_t *text = words ? word(tokens->texts[i], type) : plain_text(tokens->texts[i]);
        if (!text || strlen(json_string_value(text)) != json_string_length(text)) {
            json_decref(text);
            return HS_FAIL(CORRUPT, "%s: token %llu is no text of UTF-8", path, (unsigned long long)i);
        }
        if (type == CONTROL || type == USER_DEFINED)
            json_array_append_new(added,
                                  json_pack("{s:I, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content", text, "single_word", 0,
                                            "lstrip", 0, "rstrip", 0, "normalized", 0, "special", type == CONTROL));
        if (json_object_get(vocab, json_string_value(text)))
            st = HS_FAIL(CORRUPT, "%s: token \"%.64s\" is there twice", path, json_string_value(text));
        else if (type != UNUSED)
            json_object_set_new(vocab, json_string_value(text), json_integer((json_int_t)i));
        json_decref(text);
    }
    return st;
}

static hs_status read_merges(const char *path, const hs_gguf_pair *p, json_t *list)
{
    if (!p || p->type != HS_GGUF_ARRAY || (p->n > 0 && p->of != HS_GGUF_TEXT))
        return HS_FAIL(CORRUPT, "%s: \"tokenizer.ggml.merges\" is missing, or no list of texts: a tokenizer of type \"gpt2\" has them",
                       path);
    for (uint64_t i = 0; i < p->n; i++) {
        json_t *text = plain_text(p->texts[i]);
        if (!text)
            return HS_FAIL(CORRUPT, "%s: merge %llu is no text of UTF-8", path, (unsigned long long)i);
        json_array_append_new(list, text);
    }
    return HS_OK;
}

static hs_status check_specials(const hs_gguf *g, const char *path, uint64_t n)
{
    int64_t id;
    for (int i = 0; i < HS_COUNT(specials); i++)
        if (hs_gguf_int(g, specials[i].key, &id) && (id < -1 || (id >= 0 && (uint64_t)id >= n)) && id != UINT32_MAX)
            return HS_FAIL(CORRUPT, "%s: \"%s\" is %lld, and there are %llu tokens", path, specials[i].key, (long long)id,
                           (unsigned long long)n);
    return HS_OK;
}

static json_t *read_names(const hs_gguf *g, const json_t *vocab_by_id, bool words)
{
    json_t *names = json_object();
    for (int i = 0; i < HS_COUNT(specials); i++) {
        int64_t id; // -1, of 32 bits or more: there is none
        const json_t *text = hs_gguf_int(g, specials[i].key, &id) && id >= 0 ? json_array_get(vocab_by_id, (size_t)id) : NULL;
        if (text && !(words && specials[i].role < 0)) // [CLS] and [SEP] once more
            json_object_set(names, specials[i].name, (json_t *)(uintptr_t)text);
    }
    return names;
}

static json_t *by_id(const json_t *vocab, uint64_t n)
{
    json_t *list = json_array(), *id;
    const char *text;
    for (uint64_t i = 0; i < n; i++)
        json_array_append_new(list, json_null());
    json_object_foreach((json_t *)(uintptr_t)vocab, text, id) json_array_set_new(list, (size_t)json_integer_value(id), json_string(text));
    return list;
}

static bool is(hs_gguf_text t, const char *word_) { return t.n == strlen(word_) && memcmp(t.p, word_, t.n) == 0; }

static hs_status build(const hs_gguf *g, const char *path, bool words, hs_tokenizer **out)
{
    const hs_gguf_pair *tokens = hs_gguf_find(g, "tokenizer.ggml.tokens"), *types = hs_gguf_find(g, "tokenizer.ggml.token_type");
    const hs_gguf_pair *merges = hs_gguf_find(g, "tokenizer.ggml.merges");
    if (!tokens || tokens->of != HS_GGUF_TEXT || tokens->type != HS_GGUF_ARRAY)
        return HS_FAIL(CORRUPT, "%s: \"tokenizer.ggml.tokens\" is missing, or no list of texts", path);
    if (types && (types->type != HS_GGUF_ARRAY || types->n != tokens->n))
        return HS_FAIL(CORRUPT, "%s: \"tokenizer.ggml.token_type\" has %llu numbers for %llu tokens", path, (unsigned long long)types->n,
                       (unsigned long long)tokens->n);
    HS_TRY(check_specials(g, path, tokens->n));
    json_t *vocab = json_object(), *added = json_array(), *list = json_array(), *root = NULL;
    hs_status st = words ? HS_OK : read_merges(path, merges, list);
    if (st == HS_OK)
        st = read_vocab(path, tokens, types, words, vocab, added);
    if (st == HS_OK) {
        root = words ? hs_tok_files_bert(vocab, NULL) : hs_tok_files_gpt2(vocab, list, NULL);
        json_t *ids = by_id(vocab, tokens->n), *beside = json_pack("{s:o, s:{}}", "names", read_names(g, ids, words), "config");
        json_object_set(root, "added_tokens", added);
        st = (words ? hs_tok_wordpiece : hs_tok_bpe).load(out, path, root);
        if (st == HS_OK)
            hs_tok_beside_attach(hs_subword_of(*out), beside);
        json_decref(ids);
        json_decref(beside);
    }
    json_decref(root);
    json_decref(vocab);
    json_decref(added);
    json_decref(list);
    return st;
}

hs_status hs_gguf_get_tokenizer(const hs_gguf *g, const char *path, hs_tokenizer **out)
{
    hs_gguf_text model, pre;
    *out = NULL;
    if (!hs_gguf_string(g, "tokenizer.ggml.model", &model) || is(model, "no_vocab") || is(model, "none"))
        return HS_OK;
    const bool words = is(model, "bert");
    if (!words && !is(model, "gpt2"))
        return HS_FAIL(UNSUPPORTED, "%s: a tokenizer of type \"%.*s\": read here are \"gpt2\" and \"bert\"", path,
                       (int)(model.n < 60 ? model.n : 60), model.p);
    if (!words && hs_gguf_string(g, "tokenizer.ggml.pre", &pre) && !is(pre, "gpt-2") && !is(pre, "default"))
        return HS_FAIL(UNSUPPORTED, "%s: texts are cut as \"%.*s\" does before merging: read here is \"gpt-2\"", path,
                       (int)(pre.n < 60 ? pre.n : 60), pre.p);
    return build(g, path, words, out);
}

// tokenizer: the table of kinds, and what is the same for all of them.
#include "data/tokenizers/tokenizer.h"
#include "data/base/utf8.h"
#include "data/tokenizers/tok_beside.h"
#include "data/tokenizers/tok_files.h"
#include "data/tokenizers/tok_keys.h"
#include "data/tokenizers/tok_subword.h"
#include <stdlib.h>
#include <string.h>

static const hs_tok_kind *const kinds[] = { &hs_tok_byte, &hs_tok_char, &hs_tok_wordpiece, &hs_tok_wordpiece_google, &hs_tok_bpe };

const char *hs_tokenizer_kind(const hs_tokenizer *t) { return t->kind->name; }
int64_t hs_tokenizer_vocab(const hs_tokenizer *t) { return t->vocab; }
uint64_t hs_tokenizer_hash(const hs_tokenizer *t) { return t->kind->hash(t); }

bool hs_tokenizer_gives(const hs_tokenizer *t, uint64_t hash)
{
    return hash == hs_tokenizer_hash(t) || (t->kind->subword && hash == hs_subword_of(t)->same_ids);
}

void hs_tokenizer_free(hs_tokenizer *t)
{
    if (t)
        t->kind->free(t);
}

hs_status hs_tokenizer_encode(const hs_tokenizer *t, const char *text, size_t bytes, int32_t **out, int64_t *n)
{
    return hs_tokenizer_encode_most(t, text, bytes, 0, out, n);
}

hs_status hs_tokenizer_encode_most(const hs_tokenizer *t, const char *text, size_t bytes, int64_t most, int32_t **out, int64_t *n)
{
    *out = NULL, *n = 0;
    int32_t *ids = malloc(hs_tok_room(t, bytes) * sizeof *ids); // pages not touched cost nothing
    if (!ids)
        return HS_FAIL(MEMORY, "no memory for the ids of %zu bytes of text", bytes);
    hs_tok_out some = { .id = ids, .most = most };
    const hs_status st =
        most && t->kind->subword ? hs_subword_run(t, text, bytes, &some) : t->kind->encode(t, (const unsigned char *)text, bytes, ids, n);
    if (most && t->kind->subword)
        *n = some.n;
    if (st != HS_OK) {
        free(ids);
        *n = 0;
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    int32_t *fit = realloc(ids, (size_t)(*n ? *n : 1) * sizeof *ids);
    *out = fit ? fit : ids;
    return HS_OK;
}

// 0: there are bytes of a text that no id stands for, or any number of them that one does.
static size_t longest_piece(const hs_tokenizer *t)
{
    size_t most = 0, bytes;
    if (t->kind == &hs_tok_wordpiece || t->kind == &hs_tok_wordpiece_google)
        return 0;
    for (int i = 0; t->kind->subword && i < hs_subword_of(t)->added.n; i++)
        if (hs_subword_of(t)->added.token[i].lstrip || hs_subword_of(t)->added.token[i].rstrip)
            return 0;
    for (int32_t id = 0; id < t->vocab; id++) {
        t->kind->piece(t, id, &bytes);
        most = bytes > most ? bytes : most;
    }
    return most;
}

bool hs_tokenizer_exceeds(const hs_tokenizer *t, size_t bytes, int64_t ids)
{
    if (bytes / 16 <= (size_t)ids) // not worth a look at all of them
        return false;
    const size_t longest = longest_piece(t);
    return longest && (bytes - 1) / longest >= (size_t)ids;
}

const char *hs_tokenizer_piece(const hs_tokenizer *t, int32_t id, size_t *bytes)
{
    *bytes = 0;
    return id < 0 || id >= t->vocab ? NULL : t->kind->piece(t, id, bytes);
}

bool hs_tokenizer_has(const hs_tokenizer *t, int32_t id)
{
    size_t bytes;
    return hs_tokenizer_piece(t, id, &bytes) != NULL;
}

const char *hs_tokenizer_spoken(const hs_tokenizer *t, int32_t id, bool first, size_t *bytes, bool *space)
{
    *space = false, *bytes = 0;
    if (!hs_tokenizer_has(t, id))
        return NULL;
    return t->kind->spoken ? t->kind->spoken(t, id, first, bytes, space) : t->kind->piece(t, id, bytes);
}

hs_status hs_tokenizer_decode(const hs_tokenizer *t, const int32_t *ids, int64_t n, char **out, size_t *bytes)
{
    *out = NULL, *bytes = 0;
    size_t total = 0, length;
    bool space;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->vocab)
            return HS_FAIL(USAGE, "id %d at position %lld is outside the tokenizer's vocabulary, 0 to %lld", ids[i], (long long)i,
                           (long long)t->vocab - 1);
        hs_tokenizer_spoken(t, ids[i], i == 0, &length, &space);
        total += length + space;
    }
    char *text = malloc(total + 1), *p = text;
    if (!text)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", total);
    for (int64_t i = 0; i < n; i++) {
        const char *piece = hs_tokenizer_spoken(t, ids[i], i == 0, &length, &space);
        if (space)
            *p++ = ' ';
        for (size_t k = 0; k < length; k++) // pieces are a few bytes: a call of memcpy costs more
            *p++ = piece[k];
    }
    *p = 0;
    *out = text, *bytes = total;
    return HS_OK;
}

// special: among these alone.
static int32_t added_named(const hs_tokenizer *t, const char *text, bool special)
{
    const hs_tok_added *a = t->kind->subword ? &hs_subword_of(t)->added : NULL;
    for (int i = 0; a && i < a->n; i++)
        if ((a->token[i].special || !special) && strcmp(a->token[i].text, text) == 0)
            return a->token[i].id;
    return -1;
}

static int32_t named(const hs_tokenizer *t, int name)
{
    return t->kind->subword && hs_subword_of(t)->beside ? hs_subword_of(t)->named[name] : -1;
}

int32_t hs_tokenizer_eos(const hs_tokenizer *t) { return named(t, HS_TOK_EOS); }

int32_t hs_tokenizer_begin(const hs_tokenizer *t)
{
    const int32_t id = named(t, HS_TOK_BOS);
    return id >= 0 ? id : hs_tokenizer_end(t);
}

int32_t hs_tokenizer_end(const hs_tokenizer *t)
{
    static const char *const names[] = { "<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "[EOS]", "[SEP]" };
    if (named(t, HS_TOK_EOS) >= 0)
        return named(t, HS_TOK_EOS);
    int32_t id = -1;
    for (int i = 0; id < 0 && i < HS_COUNT(names); i++)
        id = added_named(t, names[i], true);
    return id;
}

int32_t hs_tokenizer_role(const hs_tokenizer *t, hs_token_role role)
{
    static const struct {
        int name;
        const char *usual[2];
    } roles[HS_TOKEN_ROLES] = { [HS_TOKEN_UNK] = { HS_TOK_UNK, { "[UNK]", "<unk>" } },
                                [HS_TOKEN_SEP] = { HS_TOK_SEP, { "[SEP]", "</s>" } },
                                [HS_TOKEN_PAD] = { HS_TOK_PAD, { "[PAD]", "<pad>" } },
                                [HS_TOKEN_CLS] = { HS_TOK_CLS, { "[CLS]", "<s>" } },
                                [HS_TOKEN_MASK] = { HS_TOK_MASK, { "[MASK]", "<mask>" } } };
    int32_t id = named(t, roles[role].name);
    for (int i = 0; id < 0 && i < HS_COUNT(roles->usual); i++)
        id = added_named(t, roles[role].usual[i], false);
    return id;
}

bool hs_tokenizer_special(const hs_tokenizer *t, int32_t id)
{
    if (!t->kind->subword || !hs_tok_added_has(&hs_subword_of(t)->added, id))
        return false;
    const hs_tok_added *a = &hs_subword_of(t)->added;
    for (int i = 0; i < a->n; i++)
        if (a->token[i].id == id)
            return a->token[i].special;
    return false;
}

size_t hs_tokenizer_name(const hs_tokenizer *t, int32_t id, char *buf, size_t room)
{
    size_t bytes, n = 0;
    const char *piece = hs_tokenizer_piece(t, id, &bytes);
    const bool is_text = t->kind != &hs_tok_byte && (t->kind != &hs_tok_bpe || hs_tok_added_has(&hs_subword_of(t)->added, id));
    int length;
    for (size_t i = 0; piece && i < bytes && n + 4 <= room; i += (size_t)length) {
        const unsigned char c = (unsigned char)piece[i];
        uint32_t symbol = hs_utf8_next((const unsigned char *)piece + i, bytes - i, &length);
        if (!is_text || symbol <= ' ' || symbol >= HS_UTF8_RAW || c == 0x7F)
            symbol = hs_tok_byte_level_character(c), length = 1;
        n += (size_t)hs_utf8_put(buf + n, symbol);
    }
    return n;
}

// ---- files

// What transformers asks for by name, as far as the tokens are there.
static json_t *config_json(const hs_tokenizer *t, const json_t *root)
{
    static const char *const special[][2] = { { "unk_token", "[UNK]" },         { "pad_token", "[PAD]" },
                                              { "cls_token", "[CLS]" },         { "sep_token", "[SEP]" },
                                              { "mask_token", "[MASK]" },       { "bos_token", "<|endoftext|>" },
                                              { "eos_token", "<|endoftext|>" }, { "unk_token", "<|endoftext|>" } };
    json_t *config = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0);
    const json_t *normalizer = json_object_get(root, "normalizer"), *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    static const char *const copied[][2] = { { "do_lower_case", "lowercase" },
                                             { "strip_accents", "strip_accents" },
                                             { "tokenize_chinese_chars", "handle_chinese_chars" } };
    for (int i = 0; i < HS_COUNT(copied); i++)
        if (json_is_object(normalizer))
            json_object_set(config, copied[i][0], json_object_get(normalizer, copied[i][1]));
    for (int i = 0; t->kind->subword && i < HS_COUNT(special); i++)
        if (json_object_get(vocab, special[i][1]) && !json_object_get(config, special[i][0]))
            json_object_set_new(config, special[i][0], json_string(special[i][1]));
    return config;
}

// Does it tell the second text of a pair by a type of its own? transformers leaves types out unless the file asks for them.
static bool has_types(const json_t *root)
{
    const json_t *post = json_object_get(root, "post_processor"), *step;
    const char *type = json_string_value(json_object_get(post, "type"));
    size_t i;
    if (type && strcmp(type, "BertProcessing") == 0)
        return true;
    json_array_foreach(json_object_get(post, "pair"), i, step)
    {
        const char *part;
        json_t *of;
        json_object_foreach((json_t *)step, part, of) if (json_integer_value(json_object_get(of, "type_id")) > 0) return true;
    }
    return false;
}

hs_status hs_tokenizer_save(const hs_tokenizer *t, const char *dir)
{
    json_t *root = t->kind->json(t);
    if (!root)
        return HS_FAIL(MEMORY, "no memory for tokenizer.json");
    json_t *config = config_json(t, root);
    hs_status st = hs_tok_files_save_json(dir, "tokenizer.json", json_incref(root), JSON_INDENT(1));
    if (st == HS_OK)
        st = hs_tok_beside_write(t, dir, root, config);
    if (st == HS_OK && has_types(root) && !json_object_get(config, "model_input_names"))
        json_object_set_new(config, "model_input_names", json_pack("[s, s, s]", "input_ids", "token_type_ids", "attention_mask"));
    if (st == HS_OK)
        st = hs_tok_files_save_json(dir, "tokenizer_config.json", json_incref(config), JSON_INDENT(1));
    json_decref(config);
    if (st == HS_OK)
        st = hs_tok_files_write(dir, root);
    json_decref(root);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// "byte, char"
static const char *known_types(char *buf, size_t room)
{
    size_t n = 0;
    buf[0] = 0;
    for (int i = 0; i < HS_COUNT(kinds) && n < room; i++)
        n += (size_t)snprintf(buf + n, room - n, "%s%s", i ? ", " : "", kinds[i]->type);
    return buf;
}

static hs_status from_json(hs_tokenizer **out, const char *path, const json_t *root)
{
    const char *type;
    HS_TRY(hs_tok_keys_type(path, root, &type));
    for (int i = 0; i < HS_COUNT(kinds); i++)
        if (strcmp(kinds[i]->type, type) == 0) {
            if (kinds[i]->subword)
                HS_TRY(hs_tok_keys_check(path, root, kinds[i] == &hs_tok_wordpiece_google ? hs_tok_wordpiece.type : type));
            return kinds[i]->load(out, path, root);
        }
    char known[128];
    return HS_FAIL(UNSUPPORTED, "%s of type %.64s: not supported; this version reads %s", path, type, known_types(known, sizeof known));
}

bool hs_tokenizer_found(const char *dir) { return hs_tok_files_find(dir) != NULL; }

hs_status hs_tokenizer_load(hs_tokenizer **out, const char *dir)
{
    *out = NULL;
    char path[4096];
    json_t *root, *beside;
    HS_TRY(hs_tok_files_read(dir, &root, &beside, path, sizeof path));
    const hs_status st = from_json(out, path, root);
    if (st == HS_OK && (*out)->kind->subword)
        hs_tok_beside_attach(hs_subword_of(*out), beside);
    json_decref(root);
    json_decref(beside);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_tokenizer_load_google(hs_tokenizer **out, const char *dir)
{
    *out = NULL;
    char path[4096];
    json_t *root, *beside;
    HS_TRY(hs_tok_files_read(dir, &root, &beside, path, sizeof path));
    json_t *model = json_object_get(root, "model");
    const char *type;
    hs_status st = hs_tok_keys_type(path, root, &type);
    if (st == HS_OK && strcmp(type, hs_tok_wordpiece.type) != 0 && strcmp(type, hs_tok_wordpiece_google.type) != 0)
        st = HS_FAIL(USAGE, "%s: Google's rules are for WordPiece, this is of type %.64s", path, type);
    if (st == HS_OK) {
        json_object_set_new(model, "halfstep", json_string(hs_tok_wordpiece_google.type));
        json_object_del(model, "max_input_chars_per_word");
        st = from_json(out, path, root);
    }
    if (st == HS_OK)
        hs_tok_beside_attach(hs_subword_of(*out), beside);
    json_decref(root);
    json_decref(beside);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

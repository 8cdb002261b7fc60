// tokenizer: the table of kinds, and what is the same for all of them.
#include "data/tokenizer.h"
#include "data/file.h"
#include "data/tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const hs_tok_kind *const kinds[] = { &hs_tok_byte, &hs_tok_char, &hs_tok_wordpiece, &hs_tok_wordpiece_google, &hs_tok_bpe };

const char *hs_tokenizer_kind(const hs_tokenizer *t) { return t->kind->name; }
int64_t hs_tokenizer_vocab(const hs_tokenizer *t) { return t->vocab; }
uint64_t hs_tokenizer_hash(const hs_tokenizer *t) { return t->kind->hash(t); }

void hs_tokenizer_free(hs_tokenizer *t)
{
    if (t)
        t->kind->free(t);
}

hs_status hs_tokenizer_encode(const hs_tokenizer *t, const char *text, size_t bytes, int32_t **out, int64_t *n)
{
    *out = NULL, *n = 0;
    int32_t *ids = malloc(hs_tok_room(bytes) * sizeof *ids); // pages not touched cost nothing
    if (!ids)
        return HS_FAIL(MEMORY, "no memory for the ids of %zu bytes of text", bytes);
    const hs_status st = t->kind->encode(t, (const unsigned char *)text, bytes, ids, n);
    if (st != HS_OK) {
        free(ids);
        *n = 0;
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    int32_t *fit = realloc(ids, (size_t)(*n ? *n : 1) * sizeof *ids);
    *out = fit ? fit : ids;
    return HS_OK;
}

const char *hs_tokenizer_piece(const hs_tokenizer *t, int32_t id, size_t *bytes)
{
    return id < 0 || id >= t->vocab ? NULL : t->kind->piece(t, id, bytes);
}

hs_status hs_tokenizer_decode(const hs_tokenizer *t, const int32_t *ids, int64_t n, char **out, size_t *bytes)
{
    *out = NULL, *bytes = 0;
    size_t total = 0, length;
    for (int64_t i = 0; i < n; i++) {
        if (!hs_tokenizer_piece(t, ids[i], &length))
            return HS_FAIL(USAGE, "id %d at position %lld is outside the vocabulary, 0 to %lld", ids[i], (long long)i,
                           (long long)t->vocab - 1);
        total += length;
    }
    char *text = malloc(total + 1), *p = text;
    if (!text)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", total);
    for (int64_t i = 0; i < n; i++) {
        const char *piece = hs_tokenizer_piece(t, ids[i], &length);
        for (size_t k = 0; k < length; k++) // pieces are a few bytes: a call of memcpy costs more
            *p++ = piece[k];
    }
    *p = 0;
    *out = text, *bytes = total;
    return HS_OK;
}

// ---- files

static hs_status save_json(const char *dir, const char *name, json_t *j) // takes j over
{
    char path[4096];
    char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
    json_decref(j);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for %s", name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    const hs_status st = hs_file_save(path, text, strlen(text));
    free(text);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_tokenizer_save(const hs_tokenizer *t, const char *dir)
{
    HS_TRY(save_json(dir, "tokenizer.json", t->kind->json(t)));
    HS_TRY(save_json(dir, "tokenizer_config.json",
                     json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0)));
    return HS_OK;
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
    const json_t *model = json_object_get(root, "model"), *ours = json_object_get(model, "halfstep");
    const char *type = json_string_value(ours ? ours : json_object_get(model, "type"));
    if (!type)
        return HS_FAIL(CORRUPT, "%s names no tokenizer type (model.type)", path);
    for (int i = 0; i < HS_COUNT(kinds); i++)
        if (strcmp(kinds[i]->type, type) == 0)
            return kinds[i]->load(out, path, root);
    char known[128];
    return HS_FAIL(UNSUPPORTED, "%s of type %.64s: not supported; this version reads %s", path, type, known_types(known, sizeof known));
}

// GPT-2's own files, without tokenizer.json, deserve the same words.
static hs_status missing(const char *dir, const char *path)
{
    char merges[4096], known[128];
    snprintf(merges, sizeof merges, "%s/merges.txt", dir);
    if (access(merges, F_OK) != 0)
        return HS_FAIL(USAGE, "%s: no such file", path);
    return HS_FAIL(UNSUPPORTED, "%s (tokenizer of type BPE): not supported; this version reads %s", merges,
                   known_types(known, sizeof known));
}

hs_status hs_tokenizer_load(hs_tokenizer **out, const char *dir)
{
    *out = NULL;
    char path[4096], *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    if (access(path, F_OK) != 0)
        return missing(dir, path);
    HS_TRY(hs_file_read(path, &text, &bytes));
    json_error_t e;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    free(text);
    if (!root)
        return HS_FAIL(CORRUPT, "%s:%d: %s", path, e.line, e.text);
    const hs_status st = from_json(out, path, root);
    json_decref(root);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// prep_text: a piece of text to ids, sentences, hash and sketch: what every thread of `prepare` does.
#include "data/base/utf8.h"
#include "data/text/prep_part.h"
#include "data/text/store_format.h"
#include "data/tokenizers/tokenizer_impl.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct work {
    const hs_prepare_opts *o;
    const hs_text_input *input;
    const hs_text_batch *batch;
    const hs_text_piece *piece;
    hs_prep_scratch *scratch;
    hs_prep *p;
    uint32_t id_bytes;
} work;

// "FILE:LINE", of byte `at` of the piece.
static const char *where(const work *w, const char *text, size_t at, char *buf, size_t size)
{
    int64_t line = w->piece->at.line;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    snprintf(buf, size, "%s:%lld", strcmp(w->input->path, "-") == 0 ? "standard input" : w->input->path, (long long)line);
    return buf;
}

// ---- UTF-8

// The first byte from i on that is not valid; bytes if there is none.
static size_t find_bad(const char *text, size_t bytes, size_t i)
{
    while (i < bytes) {
        uint64_t eight;
        while (i + sizeof eight <= bytes && (memcpy(&eight, text + i, sizeof eight), (eight & 0x8080808080808080u) == 0))
            i += sizeof eight;
        if (i == bytes)
            break;
        const int n = hs_utf8_length((const unsigned char *)text + i, bytes - i);
        if (n == 0)
            return i;
        i += (size_t)n;
    }
    return bytes;
}

static hs_status replace_bad(work *w, const char **text, size_t *bytes, size_t bad)
{
    hs_prep_scratch *s = w->scratch;
    if (s->clean_room < 3 * *bytes) {
        char *clean = realloc(s->clean, 3 * *bytes);
        if (!clean)
            return HS_FAIL(MEMORY, "no memory for %zu bytes of text", 3 * *bytes);
        s->clean = clean, s->clean_room = 3 * *bytes;
    }
    size_t n = 0;
    for (size_t from = 0;; bad = find_bad(*text, *bytes, from)) {
        memcpy(s->clean + n, *text + from, bad - from);
        n += bad - from;
        if (bad == *bytes)
            break;
        memcpy(s->clean + n, "\xEF\xBF\xBD", 3);
        n += 3, from = bad + 1;
        w->p->replaced++;
    }
    *text = s->clean, *bytes = n;
    return HS_OK;
}

static hs_status settle_utf8(work *w, const char **text, size_t *bytes)
{
    char at[4200];
    const size_t bad = w->o->bad_utf8 == HS_BAD_UTF8_KEEP ? *bytes : find_bad(*text, *bytes, 0);
    if (bad == *bytes)
        return HS_OK;
    if (w->o->bad_utf8 == HS_BAD_UTF8_REFUSE)
        return HS_FAIL(USAGE, "%s: byte %lld (0x%02x) is not valid UTF-8; --utf8 replace or keep takes such texts",
                       where(w, *text, bad, at, sizeof at), (long long)(w->piece->at.offset + (int64_t)bad), (unsigned char)(*text)[bad]);
    return replace_bad(w, text, bytes, bad);
}

// ---- JSON lines

// "title, body, id": what a line without the field has.
static void list_keys(const json_t *root, char *buf, size_t size)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    buf[0] = 0;
    json_object_foreach((json_t *)root, key, value)
    {
        const size_t m = strlen(key);
        if (n + m + 8 > size)
            break;
        n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "", key);
    }
}

static hs_status json_field(const work *w, json_t **root, const char *line, size_t bytes, const char **text, size_t *text_bytes)
{
    char at[4200], keys[200];
    json_error_t e;
    *root = json_loadb(line, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &e);
    if (!*root)
        return HS_FAIL(USAGE, "%s: no JSON object: %s", where(w, line, 0, at, sizeof at), e.text);
    if (!json_is_object(*root))
        return HS_FAIL(USAGE, "%s: a list, not a JSON object", where(w, line, 0, at, sizeof at));
    const json_t *value = json_object_get(*root, w->o->field);
    if (!value) {
        list_keys(*root, keys, sizeof keys);
        return HS_FAIL(USAGE, "%s: no field \"%s\"; it has: %s", where(w, line, 0, at, sizeof at), w->o->field, keys);
    }
    if (!json_is_string(value))
        return HS_FAIL(USAGE, "%s: the field \"%s\" is no string", where(w, line, 0, at, sizeof at), w->o->field);
    *text = json_string_value(value), *text_bytes = json_string_length(value);
    return HS_OK;
}

// ---- ids

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' && (text[i] < '\t' || text[i] > '\r'))
            return false;
    return true;
}

// Into memory that stays: a call for every sentence of a text must not ask for some each time.
static hs_status encode(const work *w, const char *text, size_t bytes, int64_t *n)
{
    const hs_tokenizer *t = w->o->tokenizer;
    hs_prep_scratch *s = w->scratch;
    const size_t room = hs_tok_room(t, bytes);
    if (s->ids_room < room) {
        free(s->ids);
        s->ids = malloc(room * sizeof *s->ids);
        s->ids_room = s->ids ? room : 0;
    }
    if (!s->ids)
        return HS_FAIL(MEMORY, "no memory for the ids of %zu bytes of text", bytes);
    HS_TRY(t->kind->encode(t, (const unsigned char *)text, bytes, s->ids, n));
    return HS_OK;
}

static hs_status put_ids(work *w, const char *text, size_t from, size_t to)
{
    int64_t n;
    char at[4200];
    if (encode(w, text + from, to - from, &n) != HS_OK) {
        char why[512];
        snprintf(why, sizeof why, "%s", hs_error());
        return HS_FAIL(USAGE, "%s: %s", where(w, text, w->input->json ? 0 : from, at, sizeof at), why);
    }
    hs_prep *p = w->p;
    const int32_t *ids = w->scratch->ids;
    HS_TRY(hs_prep_reserve(p, n + 1, 0, 1, w->id_bytes, false)); // + 1: there is an array to add nothing to
    if (w->id_bytes == 4) {
        memcpy(p->ids + 4 * p->n_ids, ids, (size_t)n * 4);
    } else {
        uint16_t *narrow = (uint16_t *)p->ids + p->n_ids;
        for (int64_t i = 0; i < n; i++)
            narrow[i] = (uint16_t)ids[i];
    }
    p->n_ids += n;
    if (w->o->sentences != HS_SENTENCES_NONE && n > 0)
        p->sentence[p->n_sentences++] = (uint32_t)n;
    return HS_OK;
}

static hs_status put_text(work *w, const char *text, size_t bytes)
{
    hs_prep *p = w->p;
    const int64_t ids = p->n_ids, sentences = p->n_sentences;
    const bool sketch = w->o->dedup >= HS_DEDUP_NEAR, whole = w->piece->begins && w->piece->ends;
    if (!whole || !is_blank(text, bytes))
        for (size_t from = 0, end; from < bytes; from = end) {
            end = hs_sentence_end(text, bytes, from, w->o->sentences);
            HS_TRY(put_ids(w, text, from, end));
        }
    HS_TRY(hs_prep_reserve(p, 0, 1, 0, w->id_bytes, sketch));
    const XXH128_hash_t hash = XXH3_128bits(text, bytes);
    if (sketch) {
        hs_sketch_clear(&p->sketch[p->n_pieces]);
        hs_sketch_add(&p->sketch[p->n_pieces], text, bytes);
    }
    p->piece[p->n_pieces++] = (hs_prep_piece){ .hash = { hash.low64, hash.high64 },
                                               .n_ids = (uint64_t)(p->n_ids - ids),
                                               .n_sentences = (uint32_t)(p->n_sentences - sentences),
                                               .flags = (w->piece->begins ? HS_PREP_BEGINS : 0) | (w->piece->ends ? HS_PREP_ENDS : 0) };
    return HS_OK;
}

static hs_status put_piece(work *w)
{
    const char *text = w->batch->text + w->piece->offset;
    size_t bytes = w->piece->bytes;
    json_t *root = NULL;
    HS_TRY(settle_utf8(w, &text, &bytes));
    hs_status st = HS_OK;
    if (w->input->json && !is_blank(text, bytes))
        st = json_field(w, &root, text, bytes, &text, &bytes);
    if (st == HS_OK) {
        w->p->text_bytes += (int64_t)bytes;
        st = put_text(w, text, bytes);
    }
    json_decref(root);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_prep_encode(const hs_prepare_opts *o, const hs_text_inputs *inputs, const hs_text_batch *b, hs_prep_scratch *s, hs_prep *p)
{
    const uint32_t id_bytes = hs_store_id_bytes(hs_tokenizer_vocab(o->tokenizer));
    hs_prep_clear(p);
    for (int64_t i = 0; i < b->n; i++) {
        work w = { .o = o,
                   .input = &inputs->input[b->piece[i].at.input],
                   .batch = b,
                   .piece = &b->piece[i],
                   .scratch = s,
                   .p = p,
                   .id_bytes = id_bytes };
        HS_TRY(put_piece(&w));
    }
    return HS_OK;
}

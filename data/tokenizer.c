// tokenizer: byte and character level, by tables.
//
// Both work on *symbols*: a Unicode code point, or 0x110000 + byte for a byte that is no part of valid UTF-8. Symbols in ascending order
// are exactly the promised order of ids, and one two-level table maps either sort to its id.
#include "data/tokenizer.h"
#include "data/file.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    RAW_BYTE = 0x110000,
    N_SYMBOLS = RAW_BYTE + 256,
    PAGE = 256, // symbols per page of the table
    N_PAGES = N_SYMBOLS / PAGE,
};

typedef struct piece {
    uint8_t n;
    char bytes[5];
} piece;

struct hs_tokenizer {
    bool is_byte;
    int64_t vocab;
    piece *piece;           // [vocab]
    uint32_t *symbol;       // [vocab]
    int32_t *page[N_PAGES]; // each [PAGE] ids, -1: not in the vocabulary; NULL: none of the page is
};

// ---- UTF-8, strictly: shortest form only, no surrogates, nothing beyond U+10FFFF

static int utf8_length(const unsigned char *s, size_t room)
{
    if (s[0] < 0x80)
        return 1;
    const int n = s[0] >= 0xC2 && s[0] <= 0xDF ? 2 : s[0] >= 0xE0 && s[0] <= 0xEF ? 3 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : 0;
    if (n == 0 || (size_t)n > room)
        return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    const bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    const bool surrogate = s[0] == 0xED && s[1] > 0x9F, beyond = s[0] == 0xF4 && s[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : n;
}

// The symbol at s and the bytes it takes; room > 0.
static uint32_t next_symbol(const unsigned char *s, size_t room, int *n)
{
    *n = utf8_length(s, room);
    switch (*n) {
    case 1:
        return s[0];
    case 2:
        return (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
    case 3:
        return (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    case 4:
        return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 | (s[3] & 0x3F);
    }
    *n = 1;
    return RAW_BYTE + s[0];
}

static piece piece_of(uint32_t symbol)
{
    const uint32_t c = symbol;
    piece p = { 0 };
    if (c >= RAW_BYTE)
        p = (piece){ 1, { (char)(c - RAW_BYTE) } };
    else if (c < 0x80)
        p = (piece){ 1, { (char)c } };
    else if (c < 0x800)
        p = (piece){ 2, { (char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)) } };
    else if (c < 0x10000)
        p = (piece){ 3, { (char)(0xE0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3F)), (char)(0x80 | (c & 0x3F)) } };
    else
        p = (piece){
            4, { (char)(0xF0 | c >> 18), (char)(0x80 | (c >> 12 & 0x3F)), (char)(0x80 | (c >> 6 & 0x3F)), (char)(0x80 | (c & 0x3F)) }
        };
    return p;
}

// ---- making one

// Takes symbol (malloc'd, [vocab], each at most once) over.
static hs_status make(hs_tokenizer **out, bool is_byte, uint32_t *symbol, int64_t vocab)
{
    hs_tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        free(symbol);
        return HS_FAIL(MEMORY, "no memory for a tokenizer");
    }
    *t = (hs_tokenizer){ .is_byte = is_byte, .vocab = vocab, .symbol = symbol, .piece = malloc((size_t)vocab * sizeof(piece)) };
    bool enough = t->piece != NULL;
    for (int64_t id = 0; enough && id < vocab; id++) {
        int32_t **page = &t->page[symbol[id] / PAGE];
        if (!*page && (*page = malloc(PAGE * sizeof(int32_t))))
            memset(*page, -1, PAGE * sizeof(int32_t));
        enough = *page != NULL;
        if (!enough)
            break;
        (*page)[symbol[id] % PAGE] = (int32_t)id;
        t->piece[id] = piece_of(symbol[id]);
    }
    if (!enough) {
        hs_tokenizer_free(t);
        return HS_FAIL(MEMORY, "no memory for a tokenizer of %lld characters", (long long)vocab);
    }
    *out = t;
    return HS_OK;
}

void hs_tokenizer_free(hs_tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < N_PAGES; i++)
        free(t->page[i]);
    free(t->piece);
    free(t->symbol);
    free(t);
}

// Byte b is the symbol of an ASCII character or of a raw byte: its piece is that byte either way.
static uint32_t symbol_of_byte(int b) { return b < 0x80 ? (uint32_t)b : (uint32_t)(RAW_BYTE + b); }

hs_status hs_tokenizer_byte(hs_tokenizer **out)
{
    *out = NULL;
    uint32_t *symbol = malloc(256 * sizeof *symbol);
    if (!symbol)
        return HS_FAIL(MEMORY, "no memory for a tokenizer");
    for (int b = 0; b < 256; b++)
        symbol[b] = symbol_of_byte(b);
    HS_TRY(make(out, true, symbol, 256));
    return HS_OK;
}

hs_status hs_tokenizer_char_from_text(hs_tokenizer **out, const char *text, size_t bytes)
{
    *out = NULL;
    if (bytes == 0)
        return HS_FAIL(USAGE, "the text is empty: no characters to learn a vocabulary from");
    uint8_t *seen = calloc(N_SYMBOLS, 1);
    if (!seen)
        return HS_FAIL(MEMORY, "no memory for a tokenizer");
    int n;
    for (size_t i = 0; i < bytes; i += (size_t)n)
        seen[next_symbol((const unsigned char *)text + i, bytes - i, &n)] = 1;
    int64_t vocab = 0;
    for (int s = 0; s < N_SYMBOLS; s++)
        vocab += seen[s];
    uint32_t *symbol = malloc((size_t)vocab * sizeof *symbol);
    if (symbol)
        for (uint32_t s = 0, id = 0; s < N_SYMBOLS; s++)
            if (seen[s])
                symbol[id++] = s;
    free(seen);
    if (!symbol)
        return HS_FAIL(MEMORY, "no memory for a tokenizer of %lld characters", (long long)vocab);
    HS_TRY(make(out, false, symbol, vocab));
    return HS_OK;
}

// ---- using one

const char *hs_tokenizer_kind(const hs_tokenizer *t) { return t->is_byte ? "byte" : "char"; }
int64_t hs_tokenizer_vocab(const hs_tokenizer *t) { return t->vocab; }

uint64_t hs_tokenizer_hash(const hs_tokenizer *t)
{
    uint64_t h = XXH3_64bits(hs_tokenizer_kind(t), 4);
    for (int64_t id = 0; id < t->vocab; id++) {
        const unsigned char symbol[4] = { (unsigned char)t->symbol[id], (unsigned char)(t->symbol[id] >> 8),
                                          (unsigned char)(t->symbol[id] >> 16), 0 };
        h = XXH3_64bits_withSeed(symbol, 4, h); // bytes, not the word: the same on any machine
    }
    return h;
}

static hs_status unknown_character(const hs_tokenizer *t, uint32_t symbol, size_t at)
{
    const piece p = piece_of(symbol);
    const char *quote = symbol < 0x20 || (symbol >= 0x7F && symbol < 0xA0) ? "" : "'";
    if (symbol >= RAW_BYTE)
        return HS_FAIL(USAGE, "byte 0x%02X at byte offset %zu is not in the vocabulary of %lld characters", symbol - RAW_BYTE, at,
                       (long long)t->vocab);
    return HS_FAIL(USAGE, "character U+%04X%s%s%.*s%s at byte offset %zu is not in the vocabulary of %lld characters", symbol,
                   *quote ? " " : "", quote, *quote ? p.n : 0, p.bytes, quote, at, (long long)t->vocab);
}

static hs_status encode_characters(const hs_tokenizer *t, const unsigned char *s, size_t bytes, int32_t *ids, int64_t *n_ids)
{
    const int32_t *ascii = t->page[0]; // NULL: the vocabulary has none of U+0000 to U+00FF
    int64_t k = 0;
    for (size_t i = 0; i < bytes;) {
        for (; ascii && i < bytes && s[i] < 0x80 && ascii[s[i]] >= 0; i++) // the common case without a decoder: 2x on English text
            ids[k++] = ascii[s[i]];
        if (i == bytes)
            break;
        int n;
        const uint32_t symbol = next_symbol(s + i, bytes - i, &n);
        const int32_t *page = t->page[symbol / PAGE];
        const int32_t id = page ? page[symbol % PAGE] : -1;
        if (id < 0)
            return unknown_character(t, symbol, i);
        ids[k++] = id;
        i += (size_t)n;
    }
    *n_ids = k;
    return HS_OK;
}

hs_status hs_tokenizer_encode(const hs_tokenizer *t, const char *text, size_t bytes, int32_t **out, int64_t *n)
{
    *out = NULL, *n = 0;
    int32_t *ids = malloc((bytes ? bytes : 1) * sizeof *ids); // never more ids than bytes; pages not touched cost nothing
    if (!ids)
        return HS_FAIL(MEMORY, "no memory for the ids of %zu bytes of text", bytes);
    const unsigned char *s = (const unsigned char *)text;
    if (t->is_byte) {
        for (size_t i = 0; i < bytes; i++)
            ids[i] = s[i];
        *n = (int64_t)bytes;
    } else {
        const hs_status st = encode_characters(t, s, bytes, ids, n);
        if (st != HS_OK) {
            free(ids);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
        int32_t *fit = realloc(ids, (size_t)(*n ? *n : 1) * sizeof *ids);
        ids = fit ? fit : ids;
    }
    *out = ids;
    return HS_OK;
}

const char *hs_tokenizer_piece(const hs_tokenizer *t, int32_t id, size_t *bytes)
{
    if (id < 0 || id >= t->vocab)
        return NULL;
    *bytes = t->piece[id].n;
    return t->piece[id].bytes;
}

hs_status hs_tokenizer_decode(const hs_tokenizer *t, const int32_t *ids, int64_t n, char **out, size_t *bytes)
{
    *out = NULL, *bytes = 0;
    size_t total = 0;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->vocab)
            return HS_FAIL(USAGE, "id %d at position %lld is outside the vocabulary, 0 to %lld", ids[i], (long long)i,
                           (long long)t->vocab - 1);
        total += t->piece[ids[i]].n;
    }
    char *text = malloc(total + 1), *p = text;
    if (!text)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", total);
    for (int64_t i = 0; i < n; i++) {
        const piece *q = &t->piece[ids[i]];
        for (int k = 0; k < q->n; k++)
            *p++ = q->bytes[k];
    }
    *p = 0;
    *out = text, *bytes = total;
    return HS_OK;
}

// ---- tokenizer.json
//
// Written so that Hugging Face's tokenizers read it too and give the same ids: byte level is their BPE without merges behind ByteLevel,
// character level their WordLevel behind a split at every character. model.halfstep names our type; their reader passes over it there, and
// only there.

// The visible character that GPT-2's ByteLevel shows for a byte: itself if it is visible in Latin-1, else the next from U+0100 on.
static uint32_t byte_level_character(int byte)
{
    int hidden = 0;
    for (int b = 0; b <= byte; b++) {
        const bool visible = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && visible)
            return (uint32_t)b;
        hidden += !visible;
    }
    return 256 + (uint32_t)hidden - 1;
}

// A raw byte has no JSON string, and U+0000 no jansson key: both are written as SentencePiece writes bytes.
static void token_name(const hs_tokenizer *t, int32_t id, char name[8])
{
    const uint32_t s = t->symbol[id];
    if (!t->is_byte && (s == 0 || s >= RAW_BYTE)) {
        snprintf(name, 8, "<0x%02X>", s & 0xFF);
        return;
    }
    const piece p = t->is_byte ? piece_of(byte_level_character(id)) : t->piece[id];
    memcpy(name, p.bytes, p.n);
    name[p.n] = 0;
}

// Of a character tokenizer; false if the name is no character of ours.
static bool symbol_of_name(const char *name, uint32_t *symbol)
{
    unsigned b;
    char end;
    if (strlen(name) == 6 && sscanf(name, "<0x%2X%c", &b, &end) == 2 && end == '>') {
        *symbol = symbol_of_byte((int)b);
        return b == 0 || b >= 0x80;
    }
    int n;
    *symbol = name[0] ? next_symbol((const unsigned char *)name, strlen(name), &n) : RAW_BYTE;
    return *symbol < RAW_BYTE && !name[n];
}

static json_t *vocabulary_json(const hs_tokenizer *t)
{
    json_t *vocab = json_object();
    for (int64_t id = 0; vocab && id < t->vocab; id++) {
        char name[8];
        token_name(t, (int32_t)id, name);
        json_object_set_new(vocab, name, json_integer(id));
    }
    return vocab;
}

static json_t *tokenizer_json(const hs_tokenizer *t)
{
    json_t *split, *decoder, *model;
    if (t->is_byte) {
        split = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex", 0);
        decoder = json_deep_copy(split);
        model = json_pack("{s:s, s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:o, s:[]}", "type", "BPE", "halfstep", "byte", "dropout", "unk_token",
                          "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "vocab", vocabulary_json(t),
                          "merges");
    } else {
        split = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "String", "", "behavior", "Isolated", "invert", 0);
        decoder = json_pack("{s:s, s:[{s:s}, {s:s}]}", "type", "Sequence", "decoders", "type", "ByteFallback", "type", "Fuse");
        model =
            json_pack("{s:s, s:s, s:o, s:s}", "type", "WordLevel", "halfstep", "char", "vocab", vocabulary_json(t), "unk_token", "<unk>");
    }
    return json_pack("{s:s, s:n, s:n, s:[], s:n, s:o, s:n, s:o, s:o}", "version", "1.0", "truncation", "padding", "added_tokens",
                     "normalizer", "pre_tokenizer", split, "post_processor", "decoder", decoder, "model", model);
}

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
    HS_TRY(save_json(dir, "tokenizer.json", tokenizer_json(t)));
    HS_TRY(save_json(dir, "tokenizer_config.json",
                     json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0)));
    return HS_OK;
}

static hs_status read_vocabulary(hs_tokenizer **out, const char *path, json_t *vocab)
{
    const int64_t n = (int64_t)json_object_size(vocab);
    if (n == 0)
        return HS_FAIL(CORRUPT, "%s has no vocabulary", path);
    uint32_t *symbol = malloc((size_t)n * sizeof *symbol);
    if (!symbol)
        return HS_FAIL(MEMORY, "%s: no memory for %lld characters", path, (long long)n);
    memset(symbol, 0xFF, (size_t)n * sizeof *symbol);
    const char *name;
    json_t *value;
    json_object_foreach(vocab, name, value)
    {
        uint32_t s;
        const int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        const char *wrong = !symbol_of_name(name, &s)  ? "is not one character"
                            : id < 0 || id >= n        ? "has an id outside the vocabulary"
                            : symbol[id] != UINT32_MAX ? "has the id of another character"
                                                       : NULL;
        if (wrong) {
            free(symbol);
            return HS_FAIL(CORRUPT, "%s: token \"%.32s\" %s (%lld tokens)", path, name, wrong, (long long)n);
        }
        symbol[id] = s;
    }
    HS_TRY(make(out, false, symbol, n));
    return HS_OK;
}

static hs_status from_json(hs_tokenizer **out, const char *path, json_t *root)
{
    json_t *model = json_object_get(root, "model"), *ours = json_object_get(model, "halfstep");
    const char *kind = json_string_value(ours);
    if (kind && strcmp(kind, "byte") == 0)
        return hs_tokenizer_byte(out);
    if (kind && strcmp(kind, "char") == 0)
        return read_vocabulary(out, path, json_object_get(model, "vocab"));
    const char *type = kind ? kind : json_string_value(json_object_get(model, "type"));
    if (!type)
        return HS_FAIL(CORRUPT, "%s names no tokenizer type (model.type)", path);
    return HS_FAIL(UNSUPPORTED, "%s of type %.64s: not supported; this version reads byte and char", path, type);
}

// GPT-2's own files, without tokenizer.json, deserve the same words.
static hs_status missing(const char *dir, const char *path)
{
    char merges[4096];
    snprintf(merges, sizeof merges, "%s/merges.txt", dir);
    FILE *f = fopen(merges, "r");
    if (!f)
        return HS_FAIL(USAGE, "%s: no such file", path);
    fclose(f);
    return HS_FAIL(UNSUPPORTED, "%s (tokenizer of type BPE): not supported; this version reads byte and char", merges);
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

// tok_symbols: the kinds "byte" and "char", by tables.
//
// Both work on *symbols*: a Unicode code point, or 0x110000 + byte for a byte that is no part of valid UTF-8. Symbols in ascending order
// are exactly the promised order of ids, and one two-level table maps either sort to its id.
#include "data/base/utf8.h"
#include "data/tokenizers/tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    RAW_BYTE = HS_UTF8_RAW,
    N_SYMBOLS = RAW_BYTE + 256,
    PAGE = 256, // symbols per page of the table
    N_PAGES = N_SYMBOLS / PAGE,
};

typedef struct piece {
    uint8_t n;
    char bytes[5];
} piece;

typedef struct symbol_tokenizer {
    hs_tokenizer base;
    piece *piece;           // [vocab]
    uint32_t *symbol;       // [vocab]
    int32_t *page[N_PAGES]; // each [PAGE] ids, -1: not in the vocabulary; NULL: none of the page is
} symbol_tokenizer;

static const symbol_tokenizer *of(const hs_tokenizer *t) { return (const symbol_tokenizer *)t; }

static piece piece_of(uint32_t symbol)
{
    piece p = { 0 };
    p.n = (uint8_t)hs_utf8_put(p.bytes, symbol);
    return p;
}

// ---- making one

// Takes symbol (malloc'd, [vocab], each at most once) over.
static hs_status make(hs_tokenizer **out, const hs_tok_kind *kind, uint32_t *symbol, int64_t vocab)
{
    symbol_tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        free(symbol);
        return HS_FAIL(MEMORY, "no memory for a tokenizer");
    }
    *t = (symbol_tokenizer){ .base = { .kind = kind, .vocab = vocab }, .symbol = symbol, .piece = malloc((size_t)vocab * sizeof(piece)) };
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
        hs_tokenizer_free(&t->base);
        return HS_FAIL(MEMORY, "no memory for a tokenizer of %lld characters", (long long)vocab);
    }
    *out = &t->base;
    return HS_OK;
}

static void release(hs_tokenizer *base)
{
    symbol_tokenizer *t = (symbol_tokenizer *)base;
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
    HS_TRY(make(out, &hs_tok_byte, symbol, 256));
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
        seen[hs_utf8_next((const unsigned char *)text + i, bytes - i, &n)] = 1;
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
    HS_TRY(make(out, &hs_tok_char, symbol, vocab));
    return HS_OK;
}

// ---- using one

static uint64_t hash(const hs_tokenizer *base)
{
    const symbol_tokenizer *t = of(base);
    uint64_t h = XXH3_64bits(base->kind->name, 4);
    for (int64_t id = 0; id < base->vocab; id++) {
        const unsigned char symbol[4] = { (unsigned char)t->symbol[id], (unsigned char)(t->symbol[id] >> 8),
                                          (unsigned char)(t->symbol[id] >> 16), 0 };
        h = XXH3_64bits_withSeed(symbol, 4, h); // bytes, not the word: the same on any machine
    }
    return h;
}

static hs_status unknown_character(int64_t vocab, uint32_t symbol, size_t at)
{
    const piece p = piece_of(symbol);
    const char *quote = symbol < 0x20 || (symbol >= 0x7F && symbol < 0xA0) ? "" : "'";
    if (symbol >= RAW_BYTE)
        return HS_FAIL(USAGE, "byte 0x%02X at byte offset %zu is not in the tokenizer's vocabulary of %lld characters", symbol - RAW_BYTE,
                       at, (long long)vocab);
    return HS_FAIL(USAGE, "character U+%04X%s%s%.*s%s at byte offset %zu is not in the tokenizer's vocabulary of %lld characters", symbol,
                   *quote ? " " : "", quote, *quote ? p.n : 0, p.bytes, quote, at, (long long)vocab);
}

static hs_status encode_bytes(const hs_tokenizer *t, const unsigned char *s, size_t bytes, int32_t *ids, int64_t *n_ids)
{
    (void)t;
    for (size_t i = 0; i < bytes; i++)
        ids[i] = s[i];
    *n_ids = (int64_t)bytes;
    return HS_OK;
}

static hs_status encode_characters(const hs_tokenizer *base, const unsigned char *s, size_t bytes, int32_t *ids, int64_t *n_ids)
{
    const symbol_tokenizer *t = of(base);
    const int32_t *ascii = t->page[0]; // NULL: the vocabulary has none of U+0000 to U+00FF
    int64_t k = 0;
    for (size_t i = 0; i < bytes;) {
        for (; ascii && i < bytes && s[i] < 0x80 && ascii[s[i]] >= 0; i++) // the common case without a decoder: 2x on English text
            ids[k++] = ascii[s[i]];
        if (i == bytes)
            break;
        int n;
        const uint32_t symbol = hs_utf8_next(s + i, bytes - i, &n);
        const int32_t *page = t->page[symbol / PAGE];
        const int32_t id = page ? page[symbol % PAGE] : -1;
        if (id < 0)
            return unknown_character(base->vocab, symbol, i);
        ids[k++] = id;
        i += (size_t)n;
    }
    *n_ids = k;
    return HS_OK;
}

static const char *piece_bytes(const hs_tokenizer *t, int32_t id, size_t *bytes)
{
    *bytes = of(t)->piece[id].n;
    return of(t)->piece[id].bytes;
}

// ---- tokenizer.json
//
// Written so that Hugging Face's tokenizers read it too and give the same ids: byte level is their BPE without merges behind ByteLevel,
// character level their WordLevel behind a split at every character. model.halfstep names our type; their reader passes over it there, and
// only there.

uint32_t hs_tok_byte_level_character(int byte)
{
    const bool visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int hidden = byte < 33 ? byte : byte < 161 ? 33 + byte - 127 : 67; // its place among those that are not
    return (uint32_t)(visible ? byte : 256 + hidden);
}

// A raw byte has no JSON string, and U+0000 no jansson key: both are written as SentencePiece writes bytes.
static void token_name(const symbol_tokenizer *t, int32_t id, char name[8])
{
    const bool is_byte = t->base.kind == &hs_tok_byte;
    const uint32_t s = t->symbol[id];
    if (!is_byte && (s == 0 || s >= RAW_BYTE)) {
        snprintf(name, 8, "<0x%02X>", s & 0xFF);
        return;
    }
    const piece p = is_byte ? piece_of(hs_tok_byte_level_character(id)) : t->piece[id];
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
    *symbol = name[0] ? hs_utf8_next((const unsigned char *)name, strlen(name), &n) : RAW_BYTE;
    return *symbol < RAW_BYTE && !name[n];
}

static json_t *vocabulary_json(const symbol_tokenizer *t)
{
    json_t *vocab = json_object();
    for (int64_t id = 0; vocab && id < t->base.vocab; id++) {
        char name[8];
        token_name(t, (int32_t)id, name);
        json_object_set_new(vocab, name, json_integer(id));
    }
    return vocab;
}

static json_t *tokenizer_json(const hs_tokenizer *base)
{
    const symbol_tokenizer *t = of(base);
    json_t *split, *decoder, *model;
    if (base->kind == &hs_tok_byte) {
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

static hs_status load_bytes(hs_tokenizer **out, const char *path, const json_t *root)
{
    (void)path, (void)root; // its vocabulary says nothing new
    return hs_tokenizer_byte(out);
}

static hs_status load_characters(hs_tokenizer **out, const char *path, const json_t *root)
{
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
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
    HS_TRY(make(out, &hs_tok_char, symbol, n));
    return HS_OK;
}

const hs_tok_kind hs_tok_byte = {
    .name = "byte",
    .type = "byte",
    .load = load_bytes,
    .json = tokenizer_json,
    .hash = hash,
    .encode = encode_bytes,
    .piece = piece_bytes,
    .free = release,
};
const hs_tok_kind hs_tok_char = {
    .name = "char",
    .type = "char",
    .load = load_characters,
    .json = tokenizer_json,
    .hash = hash,
    .encode = encode_characters,
    .piece = piece_bytes,
    .free = release,
};

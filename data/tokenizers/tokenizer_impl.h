// tokenizer_impl: what a kind of tokenizer has to know. One table per kind, all of them listed in tokenizer.c.
#ifndef HS_DATA_TOKENIZER_IMPL_H
#define HS_DATA_TOKENIZER_IMPL_H
#include "data/tokenizers/tokenizer.h"
#include <jansson.h>

typedef struct hs_tok_kind {
    const char *name; // hs_tokenizer_kind
    const char *type; // how tokenizer.json names it: model.halfstep, or without one model.type
    hs_status (*load)(hs_tokenizer **out, const char *path, const json_t *root); // root: tokenizer.json; path for messages
    json_t *(*json)(const hs_tokenizer *t);                                      // tokenizer.json; NULL: no memory
    uint64_t (*hash)(const hs_tokenizer *t);
    // Writes at most hs_tok_room ids.
    hs_status (*encode)(const hs_tokenizer *t, const unsigned char *s, size_t bytes, int32_t *ids, int64_t *n);
    const char *(*piece)(const hs_tokenizer *t, int32_t id, size_t *bytes); // id is in range
    // As it stands in running text; *space: one goes before it. NULL: the piece, without a space.
    const char *(*spoken)(const hs_tokenizer *t, int32_t id, bool first, size_t *bytes, bool *space);
    void (*free)(hs_tokenizer *t);
    bool subword; // begins with an hs_subword; the ids of others are the text's bytes one after the other
} hs_tok_kind;

struct hs_tokenizer { // the first member of each kind's own struct
    const hs_tok_kind *kind;
    int64_t vocab;
    bool adds_spaces; // more than one, if there are added tokens in the text
};

extern const hs_tok_kind hs_tok_byte, hs_tok_char, hs_tok_wordpiece, hs_tok_wordpiece_google, hs_tok_bpe;

// No kind gives more ids than bytes, but for a space put before each part between added tokens; the rest is slack for stores of several
// ids at once.
static inline size_t hs_tok_room(const hs_tokenizer *t, size_t bytes) { return bytes * (t->adds_spaces ? 2 : 1) + 16; }

// The visible character that GPT-2's ByteLevel shows for a byte: itself if it is visible in Latin-1, else the next from U+0100 on.
uint32_t hs_tok_byte_level_character(int byte);

#endif

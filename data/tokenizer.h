// tokenizer: text to ids and back. Byte and character level; each round-trips any bytes.
//
// byte: id = byte, vocabulary 256. char: one id per distinct UTF-8 code point of a training text, sorted by code point; bytes
// that are not valid UTF-8 are characters of their own, so that any file is accepted and reproduced.
#ifndef HS_DATA_TOKENIZER_H
#define HS_DATA_TOKENIZER_H
#include "core/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_tokenizer hs_tokenizer;

hs_status hs_tokenizer_byte(hs_tokenizer **out);
hs_status hs_tokenizer_char_from_text(hs_tokenizer **out, const char *text, size_t bytes); // USAGE if text is empty
hs_status hs_tokenizer_load(hs_tokenizer **out, const char *dir);  // reads tokenizer.json (ours: "byte", "char"); others are refused by name
hs_status hs_tokenizer_save(const hs_tokenizer *t, const char *dir); // tokenizer.json, tokenizer_config.json
void hs_tokenizer_free(hs_tokenizer *t);

const char *hs_tokenizer_kind(const hs_tokenizer *t); // "byte", "char"
int64_t hs_tokenizer_vocab(const hs_tokenizer *t);
uint64_t hs_tokenizer_hash(const hs_tokenizer *t);    // of the whole mapping; stored in token stores and checkpoints

// Encodes; *out is malloc'd (caller frees). A character outside the vocabulary: USAGE with the character and its byte offset.
hs_status hs_tokenizer_encode(const hs_tokenizer *t, const char *text, size_t bytes, int32_t **out, int64_t *n);
// The bytes of one token: borrowed; NULL for an id out of range.
const char *hs_tokenizer_piece(const hs_tokenizer *t, int32_t id, size_t *bytes);
hs_status hs_tokenizer_decode(const hs_tokenizer *t, const int32_t *ids, int64_t n, char **out, size_t *bytes); // malloc'd, NUL behind

#endif

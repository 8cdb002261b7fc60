// tokenizer: text to ids and back.
//
// byte       id = byte, vocabulary 256.
// char       one id per distinct UTF-8 code point of a training text, sorted by code point; bytes that are not valid UTF-8 are characters
// of
//            their own, so that any file is accepted and reproduced.
// wordpiece, wordpiece-google
//            BERT's, as Hugging Face's tokenizers 0.23 and as Google's tokenization.py have it (data/tokenizers/wordpiece.h lists the
//            differences). What cleaning drops does not come back.
// bpe        GPT-2's byte-level pair encoding (data/tokenizers/bpe.h); any bytes come back.
// The last three find the added tokens of their files in the text ("[MASK]", "<|endoftext|>"), as Hugging Face does; Google's does not.
//
// A tokenizer may be used by any number of threads at once: each call takes an encoder of its own, with its cache, and leaves it for the
// next.
#ifndef HS_DATA_TOKENIZER_H
#define HS_DATA_TOKENIZER_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_tokenizer hs_tokenizer;

hs_status hs_tokenizer_byte(hs_tokenizer **out);
hs_status hs_tokenizer_char_from_text(hs_tokenizer **out, const char *text, size_t bytes); // USAGE if text is empty
// Reads tokenizer.json, vocab.txt, or vocab.json and merges.txt, with added_tokens.json, special_tokens_map.json and tokenizer_config.json
// beside them. UNSUPPORTED names the part that this version does not know; USAGE: there
// is none, or half of one.
hs_status hs_tokenizer_load(hs_tokenizer **out, const char *dir);
// Whether a file of a tokenizer lies there, of a kind that can be read or not. Where it does and hs_tokenizer_load fails, no other
// tokenizer may take its place.
bool hs_tokenizer_found(const char *dir);
hs_status hs_tokenizer_load_google(hs_tokenizer **out, const char *dir); // the same files by Google's rules; USAGE unless WordPiece
// tokenizer.json, tokenizer_config.json, the older forms, and of a tokenizer that was loaded what lay beside it.
hs_status hs_tokenizer_save(const hs_tokenizer *t, const char *dir);
void hs_tokenizer_free(hs_tokenizer *t);

const char *hs_tokenizer_kind(const hs_tokenizer *t); // "byte", "char", "wordpiece", ...
int64_t hs_tokenizer_vocab(const hs_tokenizer *t);    // one more than the largest id; not each below has to have a token (hs_tokenizer_has)
bool hs_tokenizer_has(const hs_tokenizer *t, int32_t id);
uint64_t hs_tokenizer_hash(const hs_tokenizer *t); // of the whole mapping; stored in token stores and checkpoints
// Whether the tokenizer that `hash` is of gives the same ids: the hash is this one's, or that of another file that says the same.
bool hs_tokenizer_gives(const hs_tokenizer *t, uint64_t hash);

// The token that stands between texts: eos_token of its files, else "<|endoftext|>", "</s>", "[SEP]", ...; -1: there is none.
int32_t hs_tokenizer_end(const hs_tokenizer *t);
int32_t hs_tokenizer_eos(const hs_tokenizer *t);   // eos_token of its files alone
int32_t hs_tokenizer_begin(const hs_tokenizer *t); // bos_token of its files, else the same
// The tokens of an encoder: what its files name (mask_token, cls_token, ...), else an added one of a usual name ("[MASK]", "<mask>");
// -1: there is none.
typedef enum hs_token_role { HS_TOKEN_UNK, HS_TOKEN_SEP, HS_TOKEN_PAD, HS_TOKEN_CLS, HS_TOKEN_MASK, HS_TOKEN_ROLES } hs_token_role;
int32_t hs_tokenizer_role(const hs_tokenizer *t, hs_token_role role);
// Special tokens are for the model, not for a reader: "<|endoftext|>", "[MASK]".
bool hs_tokenizer_special(const hs_tokenizer *t, int32_t id);

// Encodes; *out is malloc'd (caller frees). A character outside the vocabulary: USAGE with the character and its byte offset.
hs_status hs_tokenizer_encode(const hs_tokenizer *t, const char *text, size_t bytes, int32_t **out, int64_t *n);
// The same for who wants no more than `most` ids: it may end behind the word with which there are more. 0: all of them.
hs_status hs_tokenizer_encode_most(const hs_tokenizer *t, const char *text, size_t bytes, int64_t most, int32_t **out, int64_t *n);
// A text of so many bytes has more ids than that, whatever it says: known where each id stands for bytes of its own. False: it may not.
bool hs_tokenizer_exceeds(const hs_tokenizer *t, size_t bytes, int64_t ids);
// The bytes of one token: borrowed; NULL for an id out of range or without a token.
const char *hs_tokenizer_piece(const hs_tokenizer *t, int32_t id, size_t *bytes);
// A token as it can be shown: bytes of byte-level kinds, and blanks and control characters of any, as GPT-2 writes them (" a" is
// "\u0120a"). Writes at most `room` bytes, whole characters; returns how many.
size_t hs_tokenizer_name(const hs_tokenizer *t, int32_t id, char *buf, size_t room);
// The same as decoding writes it behind other tokens (first: at the beginning): *space, one stands before it. WordPiece's "##" is left out.
const char *hs_tokenizer_spoken(const hs_tokenizer *t, int32_t id, bool first, size_t *bytes, bool *space);
hs_status hs_tokenizer_decode(const hs_tokenizer *t, const int32_t *ids, int64_t n, char **out, size_t *bytes); // malloc'd, NUL behind

// ---- training

typedef enum hs_tok_train_kind { HS_TOK_TRAIN_BPE, HS_TOK_TRAIN_WORDPIECE } hs_tok_train_kind;
typedef struct hs_tok_train_opts {
    hs_tok_train_kind kind;
    int64_t vocab;     // tokens at most, special ones and the alphabet included
    int64_t min_count; // of a pair; 0: any
    int64_t alphabet;  // WordPiece: different characters at most, the most frequent; 0: 1000
    bool cased;        // WordPiece: neither lower case nor stripped accents
} hs_tok_train_opts;
typedef struct hs_tok_trainer hs_tok_trainer;

// BPE: <|endoftext|>, the 256 bytes, then merges equal to those of Hugging Face's BpeTrainer on the same lines (each with its line feed).
// WordPiece: [PAD] [UNK] [CLS] [SEP] [MASK], the characters, the characters with "##", then merges by the same rule: not the likelihood of
// the papers, but what Hugging Face calls by that name.
hs_status hs_tok_trainer_new(hs_tok_trainer **out, const hs_tok_train_opts *o);   // USAGE: a vocabulary too small for what always is in it
hs_status hs_tok_trainer_feed(hs_tok_trainer *t, const char *text, size_t bytes); // a file: it begins and ends a line
hs_status hs_tok_trainer_finish(hs_tok_trainer *t, hs_tokenizer **out);           // USAGE: the texts had no words
void hs_tok_trainer_free(hs_tok_trainer *t);

// ---- rows: what a model is fed, with where each id comes from

typedef enum hs_truncate { HS_TRUNCATE_LONGEST_FIRST, HS_TRUNCATE_ONLY_FIRST, HS_TRUNCATE_ONLY_SECOND } hs_truncate;
typedef enum hs_pad { HS_PAD_NONE, HS_PAD_LONGEST, HS_PAD_FIXED } hs_pad; // LONGEST: of the rows of one call

typedef enum hs_overflow { // what does not fit into a row: is further rows; is left out; then there is no row at all. Of the last two no
                           // more
    HS_OVERFLOW_ROWS,      // of a text is read than it takes to know
    HS_OVERFLOW_DROP,
    HS_OVERFLOW_REFUSE,
} hs_overflow;

typedef struct hs_row_opts {
    bool no_special;
    hs_overflow overflow;
    int64_t max_length; // ids of a row, special ones included; 0: no limit
    hs_truncate truncate;
    int64_t stride; // ids that a window shares with the one before it
    bool truncate_left;
    hs_pad pad;
    int64_t pad_length;   // FIXED
    int64_t pad_multiple; // rounds the length up; 0: no
    bool pad_left;
    int32_t pad_id, pad_type;
} hs_row_opts;

typedef struct hs_span {
    int64_t start, end;
} hs_span;
typedef struct hs_row { // all [n]
    int64_t n;
    int32_t *id, *type;
    int32_t *word;    // index in its text, -1: special or padding
    int8_t *sequence; // 0, 1, -1: special or padding
    uint8_t *special, *attend;
    hs_span *bytes, *chars; // in its own text, {0, 0}: special or padding. A part of a character spans its bytes, and the character
} hs_row;
typedef struct hs_rows {
    hs_row *row; // [n]: [0] is the first window, then what overflowed, in the order of Hugging Face's `overflowing`
    int64_t n;
    bool more; // DROP, REFUSE: the texts were too long for one
} hs_rows;

hs_row_opts hs_tokenizer_row_opts(const hs_tokenizer *t); // what its files ask for
// second: NULL, or the other text of a pair. USAGE: no pair for ONLY_SECOND, a stride that leaves no room, a text too short to be cut so
// far.
hs_status hs_tokenizer_rows(const hs_tokenizer *t, const char *text, size_t bytes, const char *second, size_t second_bytes,
                            const hs_row_opts *o, hs_rows *out);
void hs_rows_free(hs_rows *rows);

#endif

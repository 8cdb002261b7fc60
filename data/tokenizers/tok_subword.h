// tok_subword: what the subword kinds share - added tokens around the model, encoders kept for the next call, templates, files.
#ifndef HS_DATA_TOK_SUBWORD_H
#define HS_DATA_TOK_SUBWORD_H
#include "data/tokenizers/tok_added.h"
#include "data/tokenizers/tok_cache.h"
#include "data/tokenizers/tokenizer_impl.h"
#include <pthread.h>

// Where each id comes from; [room] each.
typedef struct hs_tok_trace {
    size_t *start, *end; // bytes of the text
    int32_t *word;
    int32_t n_words;
} hs_tok_trace;

typedef struct hs_tok_out {
    int32_t *id; // [hs_tok_room(bytes)]
    int64_t n;
    int64_t most;        // nobody wants more than that: it ends behind the word with which there are more. 0: all are wanted
    hs_tok_trace *trace; // NULL: ids only, the fast way
} hs_tok_out;

static inline bool hs_tok_out_full(const hs_tok_out *out) { return out->most && out->n > out->most; }

typedef struct hs_tok_encoder { // one thread's; the first member of each kind's own
    struct hs_tok_encoder *next;
    hs_tok_cache cache;
} hs_tok_encoder;

typedef struct hs_tok_model { // of a subword kind
    hs_status (*encoder_new)(const hs_tokenizer *t, hs_tok_encoder **out);
    void (*encoder_free)(hs_tok_encoder *e);
    // Appends the ids of s[from, to), in which there is no added token.
    hs_status (*segment)(const hs_tokenizer *t, hs_tok_encoder *e, const char *s, size_t from, size_t to, hs_tok_out *out);
} hs_tok_model;

// A piece of a template: text A, text B, or a special token.
typedef struct hs_tok_slot {
    int32_t id; // HS_TOK_A, HS_TOK_B, or the id
    int32_t type;
} hs_tok_slot;
enum { HS_TOK_A = -1, HS_TOK_B = -2, HS_TOK_SLOTS = 16 };
typedef struct hs_tok_template {
    hs_tok_slot slot[HS_TOK_SLOTS];
    int n;
} hs_tok_template;

// What a folder's files may name a token (eos_token).
enum { HS_TOK_BOS, HS_TOK_EOS, HS_TOK_UNK, HS_TOK_SEP, HS_TOK_PAD, HS_TOK_CLS, HS_TOK_MASK, HS_TOK_NAMES };

typedef struct hs_subword {
    hs_tokenizer base;
    const hs_tok_model *model;
    hs_tok_vocab vocab; // every id, added tokens too
    int64_t n_model;    // ids that the model has
    hs_tok_added added;
    hs_tok_template single, pair;
    bool trim_offsets, trim_keeps_first; // of the post-processing: spaces are left out of offsets, but not the one put before the text
    hs_row_opts shape;                   // truncation and padding, if the file sets them
    json_t *parts;                       // normalizer, pre_tokenizer, post_processor, decoder as they are written
    json_t *beside;                      // (optional) what the other files of its folder say (tok_beside.h)
    int32_t named[HS_TOK_NAMES];         // of beside: ids, -1: none
    uint64_t hash, same_ids;             // same_ids: of the files that say the same in another way; hash where there are none
    pthread_mutex_t lock;                // of idle
    hs_tok_encoder *idle;
} hs_subword;

static inline hs_subword *hs_subword_of(const hs_tokenizer *t) { return (hs_subword *)(uintptr_t)t; }

void hs_subword_free_parts(hs_subword *s);
hs_status hs_subword_encode(const hs_tokenizer *t, const unsigned char *s, size_t bytes, int32_t *ids, int64_t *n);
hs_status hs_subword_run(const hs_tokenizer *t, const char *s, size_t bytes, hs_tok_out *out);
const char *hs_subword_piece(const hs_tokenizer *t, int32_t id, size_t *bytes);
uint64_t hs_subword_hash_tokens(const hs_subword *s); // of kind, vocabulary and added tokens; a kind goes on from it
uint64_t hs_subword_hash(const hs_tokenizer *t);

#endif

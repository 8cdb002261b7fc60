// tok_learn: merges from counted words - the pair that occurs most often becomes a token, again and again. As Hugging Face's BpeTrainer
// does it: equal counts go to the pair of lower ids; a pair's count is that of adjacent places, so that overlapping ones count twice.
#ifndef HS_DATA_TOK_LEARN_H
#define HS_DATA_TOK_LEARN_H
#include "data/tokenizers/tok_count.h"

typedef struct hs_tok_words { // each a run of token ids
    int32_t *id;              // [start[n]]; used up
    size_t *start;            // [n + 1]
    int32_t *length;          // [n], 32-bit: a word of more is refused
    int64_t *count;           // [n]
    int64_t n;
} hs_tok_words;

typedef struct hs_tok_merge {
    int32_t left, right;
} hs_tok_merge;

// Adds tokens to `tokens` (text by id) until there are `vocab` or no pair occurs min_count times; merge: malloc'd, in order. prefix: what
// the text of a continuing token begins with, dropped where it becomes the right side of one; "" for none.
hs_status hs_tok_learn(hs_tok_counts *tokens, hs_tok_words *words, int64_t vocab, int64_t min_count, const char *prefix,
                       hs_tok_merge **merge, int64_t *n_merges);

#endif

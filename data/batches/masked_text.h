// masked_text: where the text of a masked sample lies in its store (the rules are told in data/batches/masked.h): chunks of sentences, laid
// out once, and for each sample which chunk, where it is split, and what stands beside it.
#ifndef HS_DATA_MASKED_TEXT_H
#define HS_DATA_MASKED_TEXT_H
#include "data/batches/masked.h"

typedef struct hs_masked_text_opts {
    hs_token_range range;
    hs_segments segments;
    int64_t room;     // tokens of a sample, special ones not counted
    int64_t sentence; // tokens of one where the store has no table
    double short_share;
    const uint8_t *continues; // borrowed, or NULL
    uint64_t seed;
} hs_masked_text_opts;

typedef struct hs_masked_piece {
    int64_t a, b; // first tokens, in the order they are written; FULL: b is behind a
    int64_t n_a, n_b;
    bool random, swapped;
} hs_masked_piece;

typedef struct hs_masked_text hs_masked_text;
hs_status hs_masked_text_new(hs_masked_text **out, const hs_masked_text_opts *o);
void hs_masked_text_free(hs_masked_text *t);
int64_t hs_masked_text_samples(const hs_masked_text *t); // of an epoch
// CORRUPT: a table of sentences that does not ascend.
hs_status hs_masked_text_at(const hs_masked_text *t, uint64_t epoch, int64_t sample, hs_masked_piece *out);

#endif

// mask_turns: a source of sequences in which one token is masked, every token of a text in its turn: what pseudo-perplexity is measured on
// (Salazar et al. 2020, "Masked Language Model Scoring").
//
// Documents are cut into pieces of as many tokens as a sequence has room for, [CLS] piece [SEP]; sample i masks token i of the range.
#ifndef HS_DATA_MASK_TURNS_H
#define HS_DATA_MASK_TURNS_H
#include "data/batches/masked.h"

typedef struct hs_mask_turns_opts {
    hs_token_range range; // its store is borrowed
    int64_t length;       // tokens of a sequence at most, special ones included
    int64_t vocab;        // ids at or above it are an error
    hs_mask_ids ids;
} hs_mask_turns_opts;

// The columns are hs_masked_columns. Nothing is asked of pairs: their targets are -1.
hs_status hs_mask_turns_new(hs_source **out, const hs_mask_turns_opts *o);

#endif

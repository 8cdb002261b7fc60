// support_masked: texts whose ids tell where they come from, for tests of masked sources: token i of a store has the id i + FIRST_ID.
#ifndef HS_TESTS_SUPPORT_MASKED_H
#define HS_TESTS_SUPPORT_MASKED_H
#include "tests/support/support_files.h"

#include "data/batches/masked.h"

enum { PAD, UNK, CLS, SEP, MASK, FIRST_ID };
extern const hs_mask_ids masked_ids;

// A store of `documents` documents of 0 to most_sentences sentences of least to most tokens, by a key; with a table of sentences or
// without.
hs_token_store *counting_store(const char *name, int documents, int most_sentences, int least, int most, uint64_t key, bool table);
hs_masked_opts masked_opts(const hs_text_part *part, const hs_objective *objective, int n_objectives, int64_t length);
hs_text_part whole(const hs_token_store *s);

// Sequence k of a batch with its masks undone: what stood there.
typedef struct sequence {
    int64_t n, n_picks, first, slot;                                          // first: token of the batch
    int32_t ids[1024], masked[1024], types[1024], picks[1024], targets[1024]; // picks: in the sequence
    int32_t pair, order, task;
} sequence;
void read_sequence(const hs_batch *b, int64_t k, sequence *s);
void assert_same_sequence(const sequence *a, const sequence *b);

#endif

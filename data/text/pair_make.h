// pair_make: rows of BERT pretraining out of a token store, by the rules of Google's create_pretraining_data.py (its random numbers are not
// those of Python: every draw is a function of seed, copy and document, or of seed and row).
//
// Sentences are gathered up to `length` - 3 tokens (in one of ten cases up to a random length); A ends at a random one of them; B is what
// follows, or in half of the cases a random place of another document, and what was not used comes again. The longer of both is cut, token
// by token, at either end. 15 % of the tokens (at least one, at most `predictions`) are predicted: 80 % of them become [MASK], 10 % any id
// of the vocabulary, 10 % stay. Rows come in a random order.
#ifndef HS_DATA_PAIR_MAKE_H
#define HS_DATA_PAIR_MAKE_H
#include "data/batches/pair_rows.h"
#include "data/text/token_store.h"

typedef struct hs_pair_make_opts {
    const hs_token_store *store; // borrowed as long as the plan lives; without sentences, every `cut` tokens are one
    int64_t length, predictions, copies, cut;
    double mask_share, short_share; // 0.15, 0.1
    uint64_t seed;
    int32_t cls, sep, mask; // ids
} hs_pair_make_opts;

// Where each row's A and B lie: 32 bytes a row. Draws no masks yet.
typedef struct hs_pair_plan hs_pair_plan;
hs_status hs_pair_plan_new(hs_pair_plan **out, const hs_pair_make_opts *o); // USAGE; MEMORY
void hs_pair_plan_free(hs_pair_plan *p);
int64_t hs_pair_plan_rows(const hs_pair_plan *p);
// Rows [first, first + rows->n) into rows, which has their length and predictions, and one part.
void hs_pair_plan_fill(const hs_pair_plan *p, int64_t first, hs_pair_rows *rows);

#endif

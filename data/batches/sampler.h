// sampler: which tokens are sample i. Pure functions of the index: nothing is drawn, nothing has to be saved but the index itself.
#ifndef HS_DATA_SAMPLER_H
#define HS_DATA_SAMPLER_H
#include "data/text/token_store.h"

// A keyed permutation of [0, n), x < n: O(1), no table. Under 1 us.
uint64_t hs_permute(uint64_t key, uint64_t n, uint64_t x);

// Windows of one text. Sample i of n tokens and windows of S: epoch e = i / W, place p = i % W, W windows per epoch. The windows of an
// epoch start at offset(seed, e) + S * permutation(seed, e)(p): every token is a target at most once an epoch, and no two epochs cut alike.
typedef struct hs_sampler {
    int64_t n_tokens, window, per_epoch; // per_epoch = windows of `window` + 1 tokens that fit behind any offset
    uint64_t seed;
} hs_sampler;
hs_status hs_sampler_init(hs_sampler *s, int64_t n_tokens, int64_t window,
                          uint64_t seed);                       // USAGE: text shorter than a window + 1, with both numbers
int64_t hs_sampler_start(const hs_sampler *s, uint64_t sample); // first token of the window

#endif

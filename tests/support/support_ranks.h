// support_ranks: what tests compare between tensor-parallel ranks and one rank - a slab's shards with the whole, gradients of shares.
#ifndef HS_TESTS_SUPPORT_RANKS_H
#define HS_TESTS_SUPPORT_RANKS_H
#include "core/graph/params.h"

typedef struct distance {
    double off, size; // squares
} distance;
double relative(const distance *d);

// Adds up how far a rank's slab is from the same elements of the whole one, both as flat_copy has them; padding is 0. Returns whether they
// are the same. What the keys' bias gets is rounding and nothing else, since softmax does not see it, and is left out of the sum.
bool compare_shard(distance *d, const hs_params *ps, const float *slab, const hs_params *one, const float *whole);

// Gradients of shares of the tokens become those of all of them, on every rank, in rank order.
void sum_shares(const hs_params *ps, float *const *grad, int ranks);
// The first whole parameter whose elements differ between two ranks; NULL: none.
const char *differs(const hs_params *ps, const float *a, const float *b);

#endif

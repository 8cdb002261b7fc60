// sample: one token from a row of logits.
#ifndef HS_INFER_SAMPLE_H
#define HS_INFER_SAMPLE_H
#include "core/base/status.h"
#include <stdint.h>

typedef struct hs_sampling {
    double temperature; // 0: greedy - the largest logit, the lowest id among equals
    int64_t top_k;      // 0: all; else only the k largest
    double top_p;       // 1: all; else the fewest tokens that hold this much probability; after top_k
    uint64_t seed;      // a draw is a function of (seed, number, position): the same at any batch and number of threads
} hs_sampling;
hs_status hs_sampling_check(const hs_sampling *s); // USAGE: "top-p is 0, must be above 0 and at most 1 (all)"

// Puts the k best of order[n], ids among logits, first in their order: the larger, among equals the lower id. Returns how many that are:
// at most n.
int64_t hs_best_of(const float *logits, int32_t *order, int64_t n, int64_t k);

// One draw from logits[n], of which -INFINITY is never drawn (one at least is finite), for `position` of the sequence `number`. order: room
// for n ids.
int32_t hs_sample(const float *logits, int64_t n, const hs_sampling *s, int number, int64_t position, int32_t *order);

// The logarithm of the sum of exp(logits[n]): a token's logarithm of probability is its logit less this.
double hs_log_sum(const float *logits, int64_t n);

#endif

// bootstrap: how far scores would move on another sample of as many examples (Efron 1979, percentile intervals).
//
// Resample r draws row i as floor(u n / 2^32) with u word i % 4 of Philox at (hs_mix2(seed, hs_hash_string("bootstrap")); i / 4, r, 0, 0):
// intervals are a function of seed, resamples and scores, in the order of the rows. n < 2^32.
#ifndef HS_DATA_BOOTSTRAP_H
#define HS_DATA_BOOTSTRAP_H
#include "data/score/score.h"

typedef struct hs_interval {
    double low, high; // NaN: less than two resamples gave a number
} hs_interval;
typedef struct hs_bootstrap_opts {
    int64_t n;     // rows, sentences or questions
    int resamples; // at least 2
    double level;  // 0.95
    uint64_t seed;
} hs_bootstrap_opts;

// Scores of the rows that draw [n] names: the score function of a task with draw set. The same names in the same order at every call, but
// for what the whole has and a part lacks.
typedef hs_status hs_rescore(const void *input, const int64_t *draw, hs_scores *out);
hs_status hs_rescore_sequence(const void *input, const int64_t *draw, hs_scores *out);   // of hs_sequence_input
hs_status hs_rescore_regression(const void *input, const int64_t *draw, hs_scores *out); // of hs_regression_input
hs_status hs_rescore_multilabel(const void *input, const int64_t *draw, hs_scores *out); // of hs_multilabel_input
hs_status hs_rescore_tokens(const void *input, const int64_t *draw, hs_scores *out);     // of hs_tokens_input; rows are sentences
hs_status hs_rescore_span(const void *input, const int64_t *draw, hs_scores *out);       // of hs_span_input, with `each` set

// interval[i] of whole->at[i]: the quantiles (1 - level) / 2 and (1 + level) / 2, linear between order statistics as numpy's. Resamples in
// which a score is not defined, or which have nothing to score, are left out of it.
hs_status hs_bootstrap(hs_rescore *score, const void *input, const hs_bootstrap_opts *o, const hs_scores *whole,
                       hs_interval interval[HS_SCORES_MOST]);

#endif

// score_rank: what depends on the order of numbers alone.
#ifndef HS_DATA_SCORE_RANK_H
#define HS_DATA_SCORE_RANK_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct hs_ranked {
    double value;
    int64_t of; // 0 or 1 for an area; the place in the input for ranks
} hs_ranked;

// The area under the ROC curve, equal scores as one corner of it (Mann and Whitney's U over positives x negatives). NaN: a side is empty.
// Sorts v.
double hs_roc_area(hs_ranked *v, int64_t n);
// rank[v[i].of] = 1, 2, ...; equal values have the mean of their ranks. Sorts v.
void hs_mean_ranks(hs_ranked *v, int64_t n, double *rank);
double hs_pearson(const double *x, const double *y, int64_t n); // as scipy: two passes; NaN where one is constant or n < 2

#endif

// mixing: several sources in fixed proportions. Which source sample i comes from, and which of that source's samples it is, are functions
// of i: after n samples each source has been taken within one of n times its share, for every n (Tijdeman 1980, "The chairman assignment
// problem"). With K sources the distance is at most 1 - 1/(2K - 2).
#ifndef HS_DATA_MIXING_H
#define HS_DATA_MIXING_H
#include "core/base/status.h"
#include <stdint.h>

enum { HS_MIX_SOURCES = 64, HS_MIX_PERIOD = 1 << 20 };
typedef struct hs_mixture {
    int n;
    int64_t period, share[HS_MIX_SOURCES]; // the order repeats after `period` samples, share[s] of them from source s
    uint32_t *order;                       // [period] source << 24 | number among that source's samples in the period
} hs_mixture;

// Weights in any unit; shares are exact where all are whole multiples of a 2^20th or larger part of their sum (six decimals), else
// rounded to that. USAGE: a weight that is not positive, or smaller than a 2^20th of the sum.
hs_status hs_mixture_init(hs_mixture *m, const double *weight, int n);
void hs_mixture_free(hs_mixture *m);
// The source of sample i; *own: how many samples before i came from it. O(1).
int hs_mixture_at(const hs_mixture *m, uint64_t i, uint64_t *own);

#endif

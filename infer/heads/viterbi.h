// viterbi: the likeliest tags of a chain (ops/loss/crf.c says what a chain is), and how likely each is.
//
//   score(y) = first[y_1] + sum_t x[row_t, y_t] + sum_t next[y_t-1, y_t] + last[y_n]
#ifndef HS_INFER_VITERBI_H
#define HS_INFER_VITERBI_H
#include "core/base/status.h"
#include <stdint.h>

typedef struct hs_chain { // borrowed
    int labels;
    const float *next, *first, *last; // [labels][labels] from row to column, [labels], [labels]
} hs_chain;

// x [..][cols]; row [n]: rows of x that are the chain, in order. tag [n]: of the path with the largest score, the lower label among equals;
// p [n] (or NULL): of that tag, over all paths. Sums are logs in f64. MEMORY.
hs_status hs_viterbi(const hs_chain *c, const float *x, int64_t cols, const int32_t *row, int64_t n, int32_t *tag, float *p);

#endif

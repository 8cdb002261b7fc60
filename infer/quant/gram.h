// gram: X^T X of what a weight multiplies, summed row by row of the calibration data in one pass: all that an error of outputs needs, since
//
//   sum over rows x of |W x - Q x|^2 = trace(D G D^T)      D = W - Q [out, n], G = X^T X [n, n]
//
// GPTQ's Hessian is 2 G, AWQ's error on layer output trace(D G D^T). Memory: 4 n^2 bytes (n = 768: 2.4 MB, 3,072: 38 MB), whatever the
// data. Sums are of f32, of 128 rows at a time.
#ifndef HS_INFER_GRAM_H
#define HS_INFER_GRAM_H
#include "core/base/status.h"
#include <stdint.h>

typedef struct hs_gram {
    int64_t n;
    uint64_t rows;
    float *sum; // [n][n]: the upper triangle, with the diagonal
} hs_gram;

hs_status hs_gram_new(hs_gram **out, int64_t n); // USAGE: n is below 1. MEMORY
void hs_gram_free(hs_gram *g);                   // NULL: nothing
// x [rows][n], finite: an observer's histogram has looked (hs_histogram_add).
void hs_gram_add(hs_gram *g, const float *x, int64_t rows);
hs_status hs_gram_merge(hs_gram *into, const hs_gram *from); // USAGE: another n

enum { HS_GRAM_ROWS = 96 };
// trace(D G D^T) / rows, the mean over rows of |D x|^2; d [out][n]. work: [HS_GRAM_ROWS][n]. 0 while there are no rows.
double hs_gram_error(const hs_gram *g, const float *d, int64_t out, float *work);

static inline float hs_gram_at(const hs_gram *g, int64_t i, int64_t j) { return i <= j ? g->sum[i * g->n + j] : g->sum[j * g->n + i]; }

#endif

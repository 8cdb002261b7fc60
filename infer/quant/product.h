// product: a matrix as indices of centroids - each run of `block` elements of a row is the nearest of up to 256 that k-means finds over all
// of them (product quantization; iPQ: Stock et al. 2020, arXiv:1907.05686; Fan et al. 2020, arXiv:2004.07320).
//
//   value[r, c] = centroid[index[r, c / block]][c % block]
//
// k-means (Lloyd 1982): centroids begin as blocks of the matrix, drawn as k-means++ does; each of `iterations` assigns blocks and takes
// means. A centroid that no block is nearest to takes half of the one that has most: both stand a small step (1e-6 of a normal draw) beside
// its mean, and its blocks are dealt anew between the two. Equal distances go to the lower index, and sums are in f64 in the order of
// blocks: the result is a function of the matrix and the seed.
#ifndef HS_INFER_PRODUCT_H
#define HS_INFER_PRODUCT_H
#include "core/base/status.h"
#include <stddef.h>
#include <stdint.h>

enum { HS_PRODUCT_MOST = 256, HS_PRODUCT_ITERATIONS = 20, HS_PRODUCT_SEED = 1 }; // centroids; as the papers have them; ours

typedef struct hs_product_opts {
    int block;      // elements; divides the width
    int centroids;  // 2 to 256; fewer where the matrix has fewer blocks
    int iterations; // 20: as the papers have it
    uint64_t seed;
} hs_product_opts;

typedef struct hs_product {
    int64_t rows, cols;
    int block, centroids;
    float *centroid; // [centroids][block]
    uint8_t *index;  // [rows][cols / block]
    int splits;      // empty centroids that took half of another
    double error;    // sqrt(sum (w - value)^2 / sum w^2); of w all 0: 0
} hs_product;

// USAGE: a block that does not divide the width, a number out of range. NONFINITE: a value that is. MEMORY.
hs_status hs_product_new(hs_product **out, const float *w, int64_t rows, int64_t cols, const hs_product_opts *o);
void hs_product_free(hs_product *p);                        // NULL: nothing
void hs_product_values(const hs_product *p, float *values); // [rows][cols]

// Bytes of rows x cols kept so: indices of as many bits as centroids ask for, and centroids in f16 (as fairseq counts them).
double hs_product_bytes(int64_t rows, int64_t cols, int block, int centroids);

// What iPQ quantizes when, in this order, by what a weight is for.
typedef enum hs_product_part { HS_PRODUCT_FFN, HS_PRODUCT_TABLE, HS_PRODUCT_ATTENTION, HS_N_PRODUCT_PARTS } hs_product_part;

#endif

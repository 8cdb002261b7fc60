// products: sums of products of matrices for infer/quant, where a second-order method spends its time: X^T X, factors of it, and errors
// that are carried on. Compiled once per ISA tier, as kernels are; not an op, for nothing here is part of a graph.
//
//   C[i, j] += sign * sum over k of A(i, k) B[k, j]       A(i, k) at a[i * ai + k * ak]; C and B row-major, ldc and ldb elements apart
//
// On one thread, in one order: the bits of C depend on the tier alone. C overlaps neither A nor B. Needs 200 KB of stack.
#ifndef HS_INFER_PRODUCTS_H
#define HS_INFER_PRODUCTS_H
#include <stdint.h>

typedef struct hs_quant_products {
    void (*f32)(float *c, int64_t ldc, const float *a, int64_t ai, int64_t ak, const float *b, int64_t ldb, int64_t m, int64_t n, int64_t k,
                float sign);
    void (*f64)(double *c, int64_t ldc, const double *a, int64_t ai, int64_t ak, const double *b, int64_t ldb, int64_t m, int64_t n,
                int64_t k, double sign);
} hs_quant_products;

const hs_quant_products *hs_quant_products_best(void); // of what this CPU has

#endif

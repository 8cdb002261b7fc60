// factor: the triangle that GPTQ walks. Of H = X^T X + damp I it is the upper U with U^T U = H^-1.
//
// The inverse is never formed: if H = R R^T with R upper, which is Cholesky's from the last column on, then U = R^-1. A quarter of the
// arithmetic of factoring, inverting and factoring again, and none of its loss of digits; U is the same, for there is one.
#ifndef HS_INFER_FACTOR_H
#define HS_INFER_FACTOR_H
#include <stdbool.h>
#include <stdint.h>

// h [n][n], of which the upper triangle is read, becomes U; what is under the diagonal is spoilt. False: H is not positive definite
// (a pivot of no more than 1e-10 of its diagonal), and all of h is spoilt. work: n * HS_FACTOR_WORK doubles.
enum { HS_FACTOR_BLOCK = 64, HS_FACTOR_WORK = HS_FACTOR_BLOCK + 1 };
bool hs_inverse_factor(double *h, int64_t n, double *work);

#endif

// exponents: how large the numbers of a model are, as counts by scope of floor(log2 |x|) - what decides whether fp16 can hold them. As
// JSON, and as a picture with a row for each scope.
#ifndef HS_DATA_EXPONENTS_H
#define HS_DATA_EXPONENTS_H
#include "core/base/status.h"
#include <stdint.h>

enum {
    HS_EXPONENT_LEAST = -149, // of the smallest f32 there is
    HS_EXPONENT_MOST = 127,
    HS_EXPONENTS = HS_EXPONENT_MOST - HS_EXPONENT_LEAST + 1,
    HS_EXPONENT_SCOPE = 128
};

typedef struct hs_exponents { // of a scope
    char scope[HS_EXPONENT_SCOPE];
    int64_t n[HS_EXPONENTS]; // of numbers whose exponent is HS_EXPONENT_LEAST + i
    int64_t zeros, nonfinite;
} hs_exponents;
void hs_exponents_add(hs_exponents *e, const float *x, int64_t n);
void hs_exponents_join(hs_exponents *to, const hs_exponents *from);  // adds the counts up
int64_t hs_exponents_count(const hs_exponents *e, int from, int to); // of exponents from..to

typedef struct hs_exponents_of { // what the counts are of
    const char *what;            // "gradients"
    int64_t step;
    double scale; // the numbers were multiplied by it
} hs_exponents_of;
// {"what", "step", "scale", "fp16": {"least", "normal", "most"}, "scopes": [{"scope", "elements", "zeros", "nonfinite", "below_fp16",
// "above_fp16", "first", "counts"}]}: counts[i] numbers have the exponent first + i. below_fp16: fp16 rounds them to zero or knows them
// as zero only; above_fp16: it has only infinity.
hs_status hs_exponents_json(const char *path, const hs_exponents_of *of, const hs_exponents *row, int n);
// Columns are exponents, between that of zero and that of what is not finite; lines mark what fp16 holds. More rows than fit are joined by
// their scopes' first components. UNSUPPORTED without libpng.
hs_status hs_exponents_png(const char *path, const hs_exponents_of *of, const hs_exponents *row, int n);

#endif

// gelu_math: GELU of many values on the CPU; gelu and bias_gelu share it. Formulas in gelu_form.h.
#ifndef HS_OPS_GELU_MATH_H
#define HS_OPS_GELU_MATH_H
#include "core/cpu/rows.h"
#include "ops/attrs.h"
#include "ops/rows/gelu_form.h"

static const hs_attr gelu_attrs[] = { HS_ATTR_WORDS(hs_gelu_attr, kind, "erf|tanh") }; // hs_gelu_kind

// dst[i] = gelu(x[i]); dst may be x.
static inline void gelu_cells(float *dst, const float *x, int64_t n, int32_t kind)
{
    if (kind == HS_GELU_TANH) {
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            dst[i] = gelu_tanh(x[i]);
    } else {
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            dst[i] = gelu_erf(x[i]);
    }
}
// dst[i] = dy[i] * gelu'(x[i])
static inline void gelu_slope_cells(float *dst, const float *x, const float *dy, int64_t n, int32_t kind)
{
    if (kind == HS_GELU_TANH) {
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            dst[i] = dy[i] * gelu_tanh_slope(x[i]);
    } else {
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            dst[i] = dy[i] * gelu_erf_slope(x[i]);
    }
}

// For references.
static inline double gelu_f64(double x, int32_t kind)
{
    if (kind == HS_GELU_TANH)
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

#endif

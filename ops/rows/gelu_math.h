// gelu_math: the two forms of GELU and their derivatives for one value; gelu and bias_gelu share them.
//
//   erf:   y = x * Phi(x) = x/2 * (1 + erf(x / sqrt 2))                       y' = Phi(x) + x * phi(x)
//          Phi(x) = 1/2 + x P(x^2) / Q(x^2)
//   tanh:  y = x/2 * (1 + tanh u) = x * s,   s = 1 / (1 + e^-2u),  u = sqrt(2/pi) * (x + 0.044715 x^3)
//                                                                            y' = s + x * s * (1 - s) * 2u'
// Hendrycks, Gimpel 2016 (arXiv:1606.08415). The sigmoid form needs one exp and has no cancellation.
#ifndef HS_OPS_GELU_MATH_H
#define HS_OPS_GELU_MATH_H
#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"
#include "ops/attrs.h"

// 2u and 2u' divided by x's powers: 2u = x * (A + B x^2), 2u' = A + 3 B x^2
#define GELU_A 1.5957691216057308f
#define GELU_B 0.0713548162726009f

// Beyond +-10 a gelu is 0 or x to the last bit, and x^3 or x * 0 could overflow or make a NaN.
static inline float gelu_clamp(float x)
{
    const float lo = x < -10.0f ? -10.0f : x;
    return lo > 10.0f ? 10.0f : lo;
}
static inline float gelu_tanh(float x)
{
    const float c = gelu_clamp(x);
    return x / (1.0f + hs_expf_below(-c * (GELU_A + GELU_B * c * c)));
}
static inline float gelu_tanh_slope(float x)
{
    const float c = gelu_clamp(x), e = hs_expf_below(-c * (GELU_A + GELU_B * c * c)), s = 1.0f / (1.0f + e);
    return s + c * (e * s) * s * (GELU_A + 3.0f * GELU_B * c * c); // 1 - s = e * s
}
// Within 1.5 * 2^-23 of the normal distribution, which is 0 or 1 beyond +-5.6 at that: P and Q of degree 5 by weighted least squares,
// iterated towards the smallest worst error (Lawson), 9e-9 before coefficients were rounded. No exp, and one division beside 10
// multiply-adds: a gelu took twice as long by erf.
#define GELU_END 5.6f
static inline float gelu_phi(float x)
{
    const float lo = x < -GELU_END ? -GELU_END : x, c = lo > GELU_END ? GELU_END : lo, u = c * c;
    float p = 2.2145188793842863e-8f, q = 1.1802062545029912e-6f;
    p = p * u + 6.356505309668137e-6f, q = q * u + 7.510166324209422e-5f;
    p = p * u + 1.7385033424943686e-4f, q = q * u + 1.912976149469614e-3f;
    p = p * u + 4.70725679770112e-3f, q = q * u + 2.8940076008439064e-2f;
    p = p * u + 3.437609598040581e-2f, q = q * u + 2.528338134288788e-1f;
    p = p * u + 3.98942232131958e-1f, q = q * u + 1.0f;
    const float phi = 0.5f + c * p / q;
    return x < -GELU_END ? 0.0f : phi;
}
static inline float gelu_erf(float x) { return x * gelu_phi(x); }
static inline float gelu_erf_slope(float x)
{
    const float c = gelu_clamp(x);
    return gelu_phi(x) + c * 0.39894228f * hs_expf_below(-0.5f * c * c);
}

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

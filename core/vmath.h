// vmath: exp, tanh, erf and friends as branch-free inline functions that compilers vectorise in any tier, without
// -ffast-math (which would delete NaN checks). Inf and NaN go through as in libm.
#ifndef HS_CORE_VMATH_H
#define HS_CORE_VMATH_H
#include "core/dtype.h"
#include <math.h>

// e^x, error below 2 ulp in the normal range; 0 below -103.97, Inf above 88.72; results under 2^-126 are flushed to 0.
static inline float hs_expf(float x)
{
    const float clamped = x < -88.0f ? -88.0f : x > 88.8f ? 88.8f : x; // NaN: both comparisons are false, passes through
    const float k = __builtin_rintf(clamped * 1.44269504f);
    float r = clamped - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const float kk = k == k ? k : 0.0f;                 // (int)NaN is undefined
    const int32_t half = (int32_t)(kk * 0.5f), rest = (int32_t)kk - half; // two steps: 2^128 does not fit one
    const float y = p * hs_bits_f32((uint32_t)(half + 127) << 23) * hs_bits_f32((uint32_t)(rest + 127) << 23);
    return x < -87.3365f ? 0.0f : x > 88.7228f ? (float)INFINITY : y;
}

// tanh x = 1 - 2 / (e^2x + 1), by its odd series near 0 where that cancels. Absolute error below 2e-7, relative below 1e-6.
static inline float hs_tanhf(float x)
{
    const float a = __builtin_fabsf(x), x2 = x * x;
    const float big = 1.0f - 2.0f / (hs_expf(2.0f * (a > 20.0f ? 20.0f : a)) + 1.0f);
    float s = -5.70498872745e-3f;
    s = s * x2 + 2.06390887954e-2f;
    s = s * x2 - 5.37397155531e-2f;
    s = s * x2 + 1.33314422036e-1f;
    s = s * x2 - 3.33332819422e-1f;
    s = s * x2 * a + a;
    const float y = a < 0.625f ? s : big;
    const float signed_y = __builtin_copysignf(y, x);
    return x == x ? signed_y : x;
}

// erf x: Cephes' odd polynomial below 1, Abramowitz and Stegun 7.1.26 beyond. Absolute error below 3e-7.
static inline float hs_erff(float x)
{
    const float a = __builtin_fabsf(x), x2 = x * x;
    // |x| < 1: x * P(x^2), Cephes erff
    float s = 7.853861353153693e-5f;
    s = s * x2 - 8.010193625184903e-4f;
    s = s * x2 + 5.188327685732524e-3f;
    s = s * x2 - 2.685381193529856e-2f;
    s = s * x2 + 1.128358514861418e-1f;
    s = s * x2 - 3.761262582423300e-1f;
    s = s * x2 + 1.128379165726710e+0f;
    s = s * a;
    // |x| >= 1: 1 - e^(-x^2) * t * Q(t), t = 1 / (1 + p|x|)
    const float c = a > 4.5f ? 4.5f : a;
    const float t = 1.0f / (1.0f + 0.3275911f * c);
    float q = 1.061405429f;
    q = q * t - 1.453152027f;
    q = q * t + 1.421413741f;
    q = q * t - 0.284496736f;
    q = q * t + 0.254829592f;
    const float big = 1.0f - q * t * hs_expf(-c * c);
    const float y = __builtin_copysignf(a < 1.0f ? s : big, x);
    return x == x ? y : x;
}

#endif

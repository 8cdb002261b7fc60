// vmath: exp, tanh and erf as branch-free inline functions that compilers vectorise in any tier, without -ffast-math
// (which would delete NaN checks). NaN, Inf and -0 go through as in libm. The errors given are those test_vmath measures.
#ifndef HS_CORE_VMATH_H
#define HS_CORE_VMATH_H
#include "core/base/dtype.h"
#include <math.h>

// e^x = 2^k e^r with |r| <= ln 2 / 2: returns e^r by Cephes' polynomial, and k in the low bits of *z.
static inline float hs_exp_parts(float x, float *z)
{
    const float shift = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer
    *z = x * 1.44269504f + shift;
    const float k = *z - shift;
    float r = x - k * 0.693359375f; // 9 bits of ln 2, so that the product is exact
    r = r + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r + 1.0f;
}
// e^x, within 1 ulp; results under 2^-126 are flushed to 0.
static inline float hs_expf(float x)
{
    float z;
    const float p = hs_exp_parts(x, &z), y = hs_bits_f32(hs_f32_bits(p) + (hs_f32_bits(z) << 23)); // a finite result never carries
    const float low = x < -87.33654f ? 0.0f : y;
    return x <= 88.72283f ? low : x + (float)INFINITY; // NaN comes here too
}
// The same for x <= 88, where softmax and sigmoids live: cheaper by the guard against overflow.
static inline float hs_expf_below(float x)
{
    float z;
    const float p = hs_exp_parts(x, &z), y = p * hs_bits_f32((hs_f32_bits(z) << 23) + 0x3F800000u); // NaN stays NaN
    return x < -87.33654f ? 0.0f : y;
}

// log(1 + e) of e in [0, 1], within 3 ulp: to the last digits of a small one: 2 artanh(e / (2 + e)), of which the argument is at most 1/3.
static inline float hs_log1pf_unit(float e)
{
    const float s = e / (2 + e), q = s * s;
    float p = 1.0f / 15;
    p = p * q + 1.0f / 13;
    p = p * q + 1.0f / 11;
    p = p * q + 1.0f / 9;
    p = p * q + 1.0f / 7;
    p = p * q + 1.0f / 5;
    p = p * q + 1.0f / 3;
    return 2 * s + 2 * s * (p * q);
}

// tanh x = 1 - 2 / (e^2x + 1), and its odd series (Cephes) where that cancels. Within 2 ulp.
static inline float hs_tanhf(float x)
{
    const float a = __builtin_fabsf(x), s = x * x;
    const float far = 1.0f - 2.0f / (hs_expf(2.0f * a) + 1.0f);
    float p = -5.70498872745e-3f;
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    const float near = p * s * x + x;
    return __builtin_copysignf(a < 0.625f ? near : far, x); // the sign last: -0 stays -0
}

// erf x = 1 - e^-R(|x|), and its odd series near 0; both polynomials by Norbert Juffa. Within 2 ulp.
static inline float hs_erff(float x)
{
    const float a = __builtin_fabsf(x), s = x * x;
    float r = -1.72853470e-5f * a + 3.83197126e-4f;
    r = r * s + (-3.88396438e-3f * a + 2.42546219e-2f);
    r = r * a - 1.06777877e-1f;
    r = r * a - 6.34846687e-1f;
    r = r * a - 1.28717512e-1f;
    const float far = 1.0f - hs_expf_below(r * a - a);
    float p = -5.96761703e-4f;
    p = p * s + 4.99119423e-3f;
    p = p * s - 2.67681349e-2f;
    p = p * s + 1.12819925e-1f;
    p = p * s - 3.76125336e-1f;
    p = p * s + 1.28379166e-1f;
    const float near = p * x + x;
    return __builtin_copysignf(a < 0.927734375f ? near : far, x);
}

#endif

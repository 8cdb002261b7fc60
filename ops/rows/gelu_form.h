// gelu_form: the two forms of GELU and their derivatives for one value, for the kernels of every backend.
//
//   erf:   y = x * Phi(x) = x/2 * (1 + erf(x / sqrt 2))                       y' = Phi(x) + x * phi(x)
//          Phi(x) and y' each as 1/2 + x P(x^2) / Q(x^2)
//   tanh:  y = x/2 * (1 + tanh u) = x * s,   s = 1 / (1 + e^-2u),  u = sqrt(2/pi) * (x + 0.044715 x^3)
//                                                                            y' = s + x * s * (1 - s) * 2u'
// Hendrycks, Gimpel 2016 (arXiv:1606.08415). The sigmoid form needs one exp and has no cancellation.
#ifndef HS_OPS_GELU_FORM_H
#define HS_OPS_GELU_FORM_H
#ifdef __CUDA_ARCH__
#include "core/base/inline.h"
#define GELU_EXP(x)    expf(x)
#define GELU_DIV(a, b) __fdividef(a, b) // within 2 ulp; 0 where b is above 2^126, as it should be
#else
#include "core/cpu/vmath.h"
#define GELU_EXP(x)    hs_expf_below(x)
#define GELU_DIV(a, b) ((a) / (b))
#endif

// 2u and 2u' divided by x's powers: 2u = x * (A + B x^2), 2u' = A + 3 B x^2
#define GELU_A 1.5957691216057308f
#define GELU_B 0.0713548162726009f

// Beyond +-10 a gelu is 0 or x to the last bit, and x^3 or x * 0 could overflow or make a NaN.
HS_INLINE float gelu_clamp(float x)
{
    const float lo = x < -10.0f ? -10.0f : x;
    return lo > 10.0f ? 10.0f : lo;
}
HS_INLINE float gelu_tanh(float x)
{
    const float c = gelu_clamp(x);
    return GELU_DIV(x, 1.0f + GELU_EXP(-c * (GELU_A + GELU_B * c * c)));
}
HS_INLINE float gelu_tanh_slope(float x)
{
    const float c = gelu_clamp(x), e = GELU_EXP(-c * (GELU_A + GELU_B * c * c)), s = GELU_DIV(1.0f, 1.0f + e);
    return s + c * (e * s) * s * (GELU_A + 3.0f * GELU_B * c * c); // 1 - s = e * s
}

// The erf form: both within about 2 * 2^-23, and exactly 0 or 1 at the ends: P and Q by weighted least squares, iterated towards the
// smallest worst error (Lawson), below 1e-8 before coefficients were rounded. No exp, and one division beside 10 or 13 multiply-adds.
HS_INLINE float gelu_bound(float x, float end)
{
    const float lo = x < -end ? -end : x;
    return lo > end ? end : lo;
}
HS_INLINE float gelu_erf(float x)
{
    const float c = gelu_bound(x, 5.6f), u = c * c;
    float p = 2.2145188793842863e-8f, q = 1.1802062545029912e-6f;
    p = p * u + 6.356505309668137e-6f, q = q * u + 7.510166324209422e-5f;
    p = p * u + 1.7385033424943686e-4f, q = q * u + 1.912976149469614e-3f;
    p = p * u + 4.70725679770112e-3f, q = q * u + 2.8940076008439064e-2f;
    p = p * u + 3.437609598040581e-2f, q = q * u + 2.528338134288788e-1f;
    p = p * u + 3.98942232131958e-1f, q = q * u + 1.0f;
    const float phi = 0.5f + GELU_DIV(c * p, q);
    return x * (x < -5.6f ? 0.0f : phi);
}
HS_INLINE float gelu_erf_slope(float x)
{
    const float c = gelu_bound(x, 6.0f), u = c * c;
    float p = 1.7046426492584033e-8f, q = 1.3147729571727496e-9f;
    q = q * u + 3.3898055562531226e-7f;
    p = p * u + 9.225357757713937e-7f, q = q * u + 1.030775729304878e-5f;
    p = p * u + 3.409190321690403e-5f, q = q * u + 2.4532468523830175e-4f;
    p = p * u + 2.027332957368344e-4f, q = q * u + 3.971513826400042e-3f;
    p = p * u + 1.3857335783541203e-2f, q = q * u + 4.413363337516785e-2f;
    p = p * u - 2.2371144965291023e-2f, q = q * u + 3.052949011325836e-1f;
    p = p * u + 7.978845238685608e-1f, q = q * u + 1.0f;
    const float slope = 0.5f + GELU_DIV(c * p, q);
    return x < -6.0f ? 0.0f : slope;
}

#endif

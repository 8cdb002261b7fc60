// fp8: the two 8-bit floats of training (Micikevicius et al. 2022, arXiv:2209.05433; OCP OFP8), for the host and for CUDA kernels alike.
//
//   E4M3   sign, 4 bits of exponent (bias 7), 3 of mantissa: up to 448, steps of 2^-9 near 0; no Inf, and one NaN (0x7F)
//   E5M2   sign, 5 (bias 15), 2: up to 57344, steps of 2^-16 near 0; Inf and NaN as IEEE has them, the top byte of an f16
//
// Narrowing rounds to nearest, ties to even, and saturates: what is finite stays finite. Inf stays Inf where there is one and becomes NaN
// in E4M3. Both types' values are exact in bf16 and f16 (E5M2) or bf16 and f32 (E4M3's, in f16 too).
#ifndef HS_CORE_FP8_H
#define HS_CORE_FP8_H
#include "core/base/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HS_E4M3_MAX 448.0f
#define HS_E5M2_MAX 57344.0f

// Finite f. Without branches, so that compilers vectorise it. step: a power of two whose unit in the last place is the format's least
// value.
HS_INLINE uint32_t hs_fp8_finite(uint32_t u, int mantissa, int bias, float step, uint32_t most)
{
    const uint32_t drop = 23 - (uint32_t)mantissa, rebias = (uint32_t)(127 - bias) << 23;
    const uint32_t normal = (u - rebias + (1u << (drop - 1)) - 1 + ((u >> drop) & 1)) >> drop;
    const uint32_t subnormal = hs_f32_bits(hs_bits_f32(u) + step) - hs_f32_bits(step); // the adder rounds
    const uint32_t r = u < rebias + (1u << 23) ? subnormal : normal;
    return r < most ? r : most;
}
HS_INLINE uint8_t hs_f32_e4m3(float f)
{
    const uint32_t bits = hs_f32_bits(f), u = bits & 0x7FFFFFFFu;
    const uint32_t r = u >= 0x7F800000u ? 0x7Fu : hs_fp8_finite(u, 3, 7, 0x1p14f, 0x7E);
    return (uint8_t)(((bits >> 24) & 0x80u) | r);
}
HS_INLINE uint8_t hs_f32_e5m2(float f)
{
    const uint32_t bits = hs_f32_bits(f), u = bits & 0x7FFFFFFFu;
    const uint32_t r = u > 0x7F800000u ? 0x7Fu : u == 0x7F800000u ? 0x7Cu : hs_fp8_finite(u, 2, 15, 0x1p7f, 0x7B);
    return (uint8_t)(((bits >> 24) & 0x80u) | r);
}

// Bits of the f32 of a code whose magnitude has these exponent and mantissa bits.
HS_INLINE uint32_t hs_fp8_wide(uint32_t code, int mantissa, int bias)
{
    const uint32_t u = code & 0x7Fu, sign = (code & 0x80u) << 24;
    const uint32_t normal = (u << (23 - mantissa)) + ((uint32_t)(127 - bias) << 23);
    const uint32_t subnormal = hs_f32_bits((float)u * hs_bits_f32((uint32_t)(128 - bias - mantissa) << 23));
    return sign | (u >> mantissa ? normal : subnormal);
}
HS_INLINE float hs_e4m3_f32(uint8_t code) { return hs_bits_f32((code & 0x7F) == 0x7F ? 0x7FC00000u : hs_fp8_wide(code, 3, 7)); }
HS_INLINE float hs_e5m2_f32(uint8_t code)
{
    const uint32_t wide = hs_fp8_wide(code, 2, 15), u = code & 0x7Fu;
    return hs_bits_f32(u < 0x7C ? wide : (wide & 0x80000000u) | (u == 0x7C ? 0x7F800000u : 0x7FC00000u));
}

// The largest power of two that takes values of magnitude amax to no more than `most` (1.75 times a power of two, as both formats have it),
// times 2^-margin, and 2^-60 to 2^60 (so is the inverse of a product of two). Powers of two: scaling then rounds nothing, and a value that
// comes back is exact in bf16. amax 0: 1. amax Inf or NaN: NaN, which makes all that is scaled by it NaN too.
HS_INLINE float hs_fp8_scale(float amax, float most, int margin)
{
    const uint32_t u = hs_f32_bits(amax) & 0x7FFFFFFFu, top = hs_f32_bits(most);
    if (u >= 0x7F800000u)
        return hs_bits_f32(0x7FC00000u);
    if (u < 0x00800000u) // subnormals of f32 count as 0
        return 1;
    const int e = (int)(top >> 23) - (int)(u >> 23) - ((u & 0x7FFFFFu) > (top & 0x7FFFFFu)) - margin;
    const int in_range = e < -60 ? -60 : e > 60 ? 60 : e;
    return hs_bits_f32((uint32_t)(127 + in_range) << 23);
}

#ifdef __cplusplus
}
#endif
#endif

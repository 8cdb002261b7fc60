// i8_round: how a float becomes an int8 and an exact sum of products a float again. One rule for every backend and tier, to the bit: files
// that include it are compiled without contraction, so that a product and what is added to it are rounded apart.
//
//   q = clamp(rint(x * inverse), -127, 127), ties to even        inverse = 1 / scale, rounded once
//   scale of a row = (largest |x| of it) / 127                   y = sum * (scale of x * scale of the codes) + bias
//
// A scale whose magnitude is below 2^-126 counts as 0: then every q is 0. A row with a value that is not finite has the scale NaN, and so
// is all that is made of it: what q is there does not matter.
#ifndef HS_OPS_I8_ROUND_H
#define HS_OPS_I8_ROUND_H
#include "core/base/dtype.h"

#define I8_MOST      127.0f
#define I8_LEAST     0x1p-126f
#define I8_WIDEST    133144 // 2^31 - 1 over 127 * 127: as many products are summed exactly
#define I8_NOT_A_NUM 0x7FC00000u

// As a result in int8 is stored: I8_NONE where it is not finite, which no number is rounded to. A row of x in int8 that has one is NaN.
#define I8_NONE (-128)

// scale: of a tensor, or of a row by the bits of its largest magnitude (which order like what they stand for, NaN above all)
HS_INLINE float i8_row_scale(uint32_t most)
{
    const float scale = hs_bits_f32(most) / I8_MOST;
    return most >= 0x7F800000u ? hs_bits_f32(I8_NOT_A_NUM) : scale < I8_LEAST ? 0.0f : scale;
}
HS_INLINE float i8_static_scale(float scale, uint32_t most) // of a row where the tensor's scale is given
{
    const float size = scale < 0 ? -scale : scale;
    return most >= 0x7F800000u ? hs_bits_f32(I8_NOT_A_NUM) : size < I8_LEAST ? 0.0f : scale;
}
HS_INLINE float i8_inverse(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }
HS_INLINE bool i8_clips(float x, float inverse) // is it out of range: no gradient goes through it
{
    const float v = x * inverse;
    return v > I8_MOST || v < -I8_MOST;
}
HS_INLINE int32_t i8_round(float x, float inverse)
{
    const float v = x * inverse, low = v < -I8_MOST ? -I8_MOST : v, c = low > I8_MOST ? I8_MOST : low;
    return (int32_t)(hs_f32_bits(c + 12582912.0f) - 0x4B400000u); // 1.5 * 2^23: adding it rounds to an integer
}
HS_INLINE int32_t i8_code(float x, float inverse)
{
    const bool is_number = (hs_f32_bits(x) & 0x7FFFFFFFu) < 0x7F800000u && inverse == inverse;
    const int32_t q = i8_round(x, inverse);
    return is_number ? q : I8_NONE;
}
// sum * (scale * scales) + bias, three roundings; without bias two: 0 added would turn -0.
HS_INLINE float i8_scaled(int32_t sum, float scale, float scales)
{
#ifdef __CUDA_ARCH__
    return __fmul_rn((float)sum, __fmul_rn(scale, scales));
#else
    return (float)sum * (scale * scales);
#endif
}
HS_INLINE float i8_plus(float y, float bias)
{
#ifdef __CUDA_ARCH__
    return __fadd_rn(y, bias);
#else
    return y + bias;
#endif
}

#endif

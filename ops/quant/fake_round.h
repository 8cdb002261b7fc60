// fake_round: what a value stands for once it was made a code and a number again. One rule for every backend and tier, to the bit: that of
// the op that will multiply the codes (i8_round.h; block_products.h of products by blocks), and of what makes codes of weights (infer/quant).
//
//   form               group              scale s of it                    v           code             y = code * s
//   rows               a row              most / 127                       x (1 / s)   [-127, 127]      x of linear_i8
//   tensor             all                given                            x (1 / s)   [-127, 127]      x of linear_i8 with a static scale
//   blocks             32 of a row        most / 127                       x (1 / s)   [-127, 127]      x of linear_blocks
//   weights_rows       a row: an output   most / 127                       x / s       [-127, 127]      weights in 8 bits, a scale an
//   output weights_8          32 of a row        f16(most / 127)                  x / s       [-127, 127]      weights in 8 bits, by blocks
//   weights_4          32 of a row        f16(the largest's value / -8)    x / s       [-8, 7]          weights in 4 bits, by blocks
//
// most: largest |x| of the group; code = clamp(rint(v)), ties to even. A group with a value that is not finite is NaN; one whose scale
// counts as 0 is 0. Clipped - no gradient goes through it - is what lies beyond the codes: of a tensor's scale v itself, as linear_i8 has
// it; where the scale is of the group at hand rint(v), since its largest value is at the edge by definition, and rounding decides the side.
#ifndef HS_OPS_FAKE_ROUND_H
#define HS_OPS_FAKE_ROUND_H
#include "core/graph/coding.h"
#include "ops/quant/i8_round.h"

#ifdef HS_CORE_GPU_H // a .cu file, which includes that first
#define FAKE static __device__ __forceinline__
FAKE float fake_f16(float x)
{
    f16 h;
    from_f(h, x);
    return to_f(h);
}
#else
#define FAKE static inline
FAKE float fake_f16(float x) { return hs_f16_f32(hs_f32_f16(x)); }
#endif

typedef struct fake_scale { // of a group
    float s, inverse;       // by which x is multiplied; 0: divided by s
    float low, high;        // codes
} fake_scale;

HS_INLINE bool fake_by_blocks(int form) { return form == HS_FAKE_BLOCKS || form == HS_FAKE_WEIGHTS_8 || form == HS_FAKE_WEIGHTS_4; }
FAKE bool fake_of_weights(int form) { return form >= HS_FAKE_WEIGHTS_ROWS; }

// most: the bits of the largest |x|; largest: that value with its sign, the first of equals; given: of a tensor
FAKE fake_scale fake_scale_of(int form, uint32_t most, float largest, float given)
{
    const bool four = form == HS_FAKE_WEIGHTS_4;
    fake_scale f = { 0, 0, four ? -8.0f : -I8_MOST, four ? 7.0f : I8_MOST };
    if (!fake_of_weights(form)) {
        f.s = form == HS_FAKE_TENSOR ? i8_static_scale(given, most) : i8_row_scale(most);
        f.inverse = i8_inverse(f.s);
        return f;
    }
    f.s = four ? largest / -8.0f : hs_bits_f32(most) / I8_MOST;
    if (form != HS_FAKE_WEIGHTS_ROWS)
        f.s = fake_f16(f.s);
    if (most >= 0x7F800000u)
        f.s = hs_bits_f32(I8_NOT_A_NUM);
    return f;
}

FAKE float fake_steps(const fake_scale *f, float x) { return f->s == 0.0f ? 0.0f : f->inverse != 0.0f ? x * f->inverse : x / f->s; }
FAKE float fake_rint(float v) { return (v + 12582912.0f) - 12582912.0f; } // 1.5 * 2^23; |v| at most 2^22
FAKE float fake_value(const fake_scale *f, float x)
{
    const float v = fake_steps(f, x), up = v < f->low ? f->low : v, c = up > f->high ? f->high : up;
    return fake_rint(c) * f->s;
}
FAKE bool fake_clips(int form, const fake_scale *f, float x)
{
    const float v = fake_steps(f, x), edge = form == HS_FAKE_TENSOR ? 0.0f : 0.5f; // rint(7.5) is 8, of -8.5 it is -8
    return v > f->high + edge || v < f->low - edge || (edge > 0 && v == f->high + edge);
}

#endif

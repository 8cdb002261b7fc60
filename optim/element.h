// element: what every pass does with an element of a chunk, on the host and on a GPU: the same operations in the same order.
#ifndef HS_OPTIM_ELEMENT_H
#define HS_OPTIM_ELEMENT_H
#include "core/base/dtype.h"
#include "optim/update.h"

HS_INLINE float rate_of(const hs_update_step *now, const hs_update_chunk *c) { return now->lr[c->role] * c->rate; }

// As moments take it: unscaled, clipped, with the decay that is part of it.
HS_INLINE float gradient_of(const hs_update_step *now, float l2, float grad, float w)
{
    const float g = grad * now->factor, bounded = g > now->most ? now->most : g < -now->most ? -now->most : g;
    return bounded + l2 * w;
}

// LAMB's, before the trust ratio. Both places for eps, one of them 0, so that loops stay straight.
HS_INLINE float direction_of(const hs_update_step *now, float decay, float w, float m, float v)
{
    return m * now->inv_bc1 / (sqrtf(v * now->inv_bc2 + now->eps_in) + now->eps_out) + decay * w;
}

// A moment or a value as bf16: up with the probability that is cut off, so that it is right on the mean even where each step changes it by
// less than a bf16 can. Never to infinity; NaN stays NaN. bits: of the f32; noise: 16 random ones.
HS_INLINE uint16_t rounded_bf16(uint32_t bits, uint32_t noise)
{
    const uint32_t up = bits + (noise & 0xFFFFu), exponent = 0x7F800000u;
    return (uint16_t)(((up & exponent) == exponent || (bits & exponent) == exponent ? bits : up) >> 16);
}

#endif

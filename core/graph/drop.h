// drop: which values dropout drops. A decision is a function of its address - seed, site, attempted step, global sample
// slot, position in the sample, and channel or (head, key) - so a mask is never stored, and it is the same at every layout,
// packing, accumulation, number of threads and recompute, and on every device.
//
//   key = mix(mix(seed, site), step)      words = Philox(key; slot, position, index / 8, plane)      16 bits per decision
//   dropped if bits < round(p * 65536); what is kept is multiplied by 1 / (1 - round(p * 65536) / 65536)
//
// plane: 0 for dropout on rows (index = channel), 1 + head inside attention (index = key counted from the sequence's first).
// Index 8 b + i: the low half of word i / 2 of block b where i is even, else the high half.
#ifndef HS_CORE_DROP_H
#define HS_CORE_DROP_H
#include "core/base/rng.h"
#include "core/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_drop {
    uint64_t key;
    uint32_t threshold; // of 65536
    float scale;        // what a kept value is multiplied by; 0 where nothing is kept
} hs_drop;

HS_INLINE uint64_t hs_drop_key(uint64_t seed, uint64_t site, uint64_t step) { return hs_mix2(hs_mix2(seed, site), step); }
// 0 <= p < 1; below 2^-17 nothing is dropped.
HS_INLINE hs_drop hs_drop_make(uint64_t seed, uint64_t site, uint64_t step, float p)
{
    const uint32_t threshold = (uint32_t)(p * 65536.0f + 0.5f);
    const float scale = threshold < 65536 ? (float)(1.0 / (1.0 - threshold / 65536.0)) : 0.0f;
    const hs_drop d = { hs_drop_key(seed, site, step), threshold, scale };
    return d;
}
HS_INLINE hs_drop hs_drop_of(const hs_args *a, float p) { return hs_drop_make(a->step->seed, a->site, a->step->step, p); }

#ifdef __cplusplus
}
#endif
#endif

// dropout: which values are dropped. A decision is a function of its address - seed, site, attempted step, global sample
// slot, position in the sample, and channel or (head, key) - so a mask is never stored, and it is the same at every layout,
// packing, accumulation, number of threads and recompute. Header-only, so that every ISA tier compiles its own.
//
//   key = mix(mix(seed, site), step)      words = Philox(key; slot, position, index / 8, plane)      16 bits per decision
//   dropped if bits < round(p * 65536); what is kept is multiplied by 1 / (1 - round(p * 65536) / 65536)
//
// plane: 0 for dropout on rows (index = channel), 1 + head inside attention (index = key counted from the sequence's first).
#ifndef HS_CORE_DROPOUT_H
#define HS_CORE_DROPOUT_H
#include "core/rng.h"
#include "core/rows.h"

typedef struct hs_drop {
    uint64_t key;
    uint32_t threshold; // of 65536
    float scale;        // what a kept value is multiplied by; 0 where nothing is kept
} hs_drop;

// 0 <= p < 1; below 2^-17 nothing is dropped.
static inline hs_drop hs_drop_make(uint64_t seed, uint64_t site, uint64_t step, float p)
{
    const uint32_t threshold = (uint32_t)(p * 65536.0f + 0.5f);
    const float scale = threshold < 65536 ? (float)(1.0 / (1.0 - threshold / 65536.0)) : 0.0f;
    return (hs_drop){ hs_mix2(hs_mix2(seed, site), step), threshold, scale };
}
static inline hs_drop hs_drop_of(const hs_args *a, float p) { return hs_drop_make(a->step->seed, a->site, a->step->step, p); }

// factor[i] = 0 or scale for the n indices first, first + 1, ...; `first` is a multiple of 8.
static inline void hs_drop_factors(const hs_drop *d, int32_t slot, int32_t position, int32_t plane, int64_t first, int64_t n, float *factor)
{
    enum { BLOCK = 16 }; // Philox calls side by side: one vector of counters
    uint32_t word[4][BLOCK];
    const uint64_t key = d->key;
    const float scale = d->scale;
    for (int64_t i0 = 0; i0 < n; i0 += 8 * BLOCK) {
        const uint32_t block = (uint32_t)((first + i0) / 8);
        HS_SIMD
        for (uint32_t b = 0; b < BLOCK; b++) {
            const hs_u32x4 w = hs_random(key, (uint32_t)slot, (uint32_t)position, block + b, (uint32_t)plane);
            word[0][b] = w.v[0], word[1][b] = w.v[1], word[2][b] = w.v[2], word[3][b] = w.v[3];
        }
        uint32_t bits[8 * BLOCK];
        for (int b = 0; b < BLOCK; b++)
            for (int j = 0; j < 4; j++)
                bits[8 * b + 2 * j] = word[j][b] & 0xFFFF, bits[8 * b + 2 * j + 1] = word[j][b] >> 16;
        const int64_t k = n - i0 < 8 * BLOCK ? n - i0 : 8 * BLOCK;
        HS_SIMD
        for (int64_t i = 0; i < k; i++)
            factor[i0 + i] = bits[i] < d->threshold ? 0.0f : scale;
    }
}

// dst[c] = 0 or x[c] * scale, for one row of C channels; dst may be x.
static inline void hs_drop_row(const hs_drop *d, int32_t slot, int32_t position, const float *x, float *dst, int64_t C)
{
    float factor[256];
    for (int64_t c0 = 0; c0 < C; c0 += 256) {
        const int64_t k = C - c0 < 256 ? C - c0 : 256;
        hs_drop_factors(d, slot, position, 0, c0, k, factor);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            dst[c0 + c] = factor[c] == 0.0f ? 0.0f : x[c0 + c] * factor[c]; // what is dropped is 0 even if it was Inf
    }
}

#endif

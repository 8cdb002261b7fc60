// dropout: masks of core/graph/drop.h for many values at once. Header-only, so that every ISA tier compiles its own.
#ifndef HS_CORE_DROPOUT_H
#define HS_CORE_DROPOUT_H
#include "core/cpu/rows.h"
#include "core/graph/drop.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512BW__)
// 32 x 32 -> 64 bit products of 16 lanes; compilers make 64 x 64 products of the plain loop, four times slower.
static inline void hs_drop_mul(__m512i a, uint32_t m, __m512i *hi, __m512i *lo)
{
    const __m512i factor = _mm512_set1_epi32((int)m);
    const __m512i even = _mm512_mul_epu32(a, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
    *lo = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    *hi = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
}
// The words of 16 calls, counters { slot, position, block + 0..15, plane }, call after call.
static inline void hs_drop_words(uint64_t key, uint32_t slot, uint32_t position, uint32_t block, uint32_t plane, uint32_t word[64])
{
    __m512i c[4] = { _mm512_set1_epi32((int)slot), _mm512_set1_epi32((int)position), _mm512_set1_epi32((int)block),
                     _mm512_set1_epi32((int)plane) };
    c[2] = _mm512_add_epi32(c[2], _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int r = 0; r < 10; r++) {
        __m512i hi0, lo0, hi1, lo1;
        hs_drop_mul(c[0], 0xD2511F53u, &hi0, &lo0);
        hs_drop_mul(c[2], 0xCD9E8D57u, &hi1, &lo1);
        c[0] = _mm512_ternarylogic_epi32(hi1, c[1], _mm512_set1_epi32((int)k0), 0x96); // xor of three
        c[2] = _mm512_ternarylogic_epi32(hi0, c[3], _mm512_set1_epi32((int)k1), 0x96);
        c[1] = lo1, c[3] = lo0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    const __m512i a = _mm512_unpacklo_epi32(c[0], c[1]), b = _mm512_unpackhi_epi32(c[0], c[1]);
    const __m512i d = _mm512_unpacklo_epi32(c[2], c[3]), e = _mm512_unpackhi_epi32(c[2], c[3]);
    const __m512i call[4] = { _mm512_unpacklo_epi64(a, d), _mm512_unpackhi_epi64(a, d), _mm512_unpacklo_epi64(b, e),
                              _mm512_unpackhi_epi64(b, e) }; // lane l of call[i]: the words of call 4 l + i
    const __m512i f = _mm512_shuffle_i32x4(call[0], call[1], 0x44), g = _mm512_shuffle_i32x4(call[0], call[1], 0xEE);
    const __m512i h = _mm512_shuffle_i32x4(call[2], call[3], 0x44), i = _mm512_shuffle_i32x4(call[2], call[3], 0xEE);
    _mm512_storeu_si512(word, _mm512_shuffle_i32x4(f, h, 0x88));
    _mm512_storeu_si512(word + 16, _mm512_shuffle_i32x4(f, h, 0xDD));
    _mm512_storeu_si512(word + 32, _mm512_shuffle_i32x4(g, i, 0x88));
    _mm512_storeu_si512(word + 48, _mm512_shuffle_i32x4(g, i, 0xDD));
}
#else
static inline void hs_drop_words(uint64_t key, uint32_t slot, uint32_t position, uint32_t block, uint32_t plane, uint32_t word[64])
{
    HS_SIMD
    for (uint32_t b = 0; b < 16; b++) {
        const hs_u32x4 w = hs_random(key, slot, position, block + b, plane);
        word[4 * b] = w.v[0], word[4 * b + 1] = w.v[1], word[4 * b + 2] = w.v[2], word[4 * b + 3] = w.v[3];
    }
}
#endif

// factor[i] = 0 or scale for the n indices first, first + 1, ...; `first` is a multiple of 8.
static inline void hs_drop_factors(const hs_drop *d, int32_t slot, int32_t position, int32_t plane, int64_t first, int64_t n, float *factor)
{
    enum { STEP = 128 }; // decisions of 16 calls
    const float scale = d->scale;
    const uint32_t threshold = d->threshold;
    for (int64_t i0 = 0; i0 < n; i0 += STEP) {
        uint32_t word[STEP / 2];
        hs_drop_words(d->key, (uint32_t)slot, (uint32_t)position, (uint32_t)((first + i0) / 8), (uint32_t)plane, word);
        const int64_t k = n - i0 < STEP ? n - i0 : STEP;
        float *f = factor + i0;
        HS_SIMD
        for (int64_t i = 0; i < k / 2; i++) {
            f[2 * i] = (word[i] & 0xFFFF) < threshold ? 0.0f : scale;
            f[2 * i + 1] = word[i] >> 16 < threshold ? 0.0f : scale;
        }
        if (k & 1)
            f[k - 1] = (word[k / 2] & 0xFFFF) < threshold ? 0.0f : scale;
    }
}

// dst[c] = 0 or x[c] * scale, for one row of C channels, of which x[0] is channel `first` (a multiple of 8); dst may be x.
static inline void hs_drop_row(const hs_drop *d, int32_t slot, int32_t position, int64_t first, const float *x, float *dst, int64_t C)
{
    float factor[256];
    for (int64_t c0 = 0; c0 < C; c0 += 256) {
        const int64_t k = C - c0 < 256 ? C - c0 : 256;
        hs_drop_factors(d, slot, position, 0, first + c0, k, factor);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            dst[c0 + c] = factor[c] == 0.0f ? 0.0f : x[c0 + c] * factor[c]; // what is dropped is 0 even if it was Inf
    }
}

#endif

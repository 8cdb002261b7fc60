// narrow: bf16 and f16 <-> f32 for the kernels of one ISA tier; compiled once per tier.

#include "core/cpu/rows.h"
#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

void hs_load_f16(float *restrict dst, const uint16_t *restrict src, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(dst + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(src + i))));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
#endif
    for (; i < n; i++)
        dst[i] = hs_f16_f32(src[i]);
}

void hs_store_f16(uint16_t *restrict dst, const float *restrict src, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(dst + i), _mm512_cvtps_ph(_mm512_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i), _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
    for (; i < n; i++)
        dst[i] = hs_f32_f16(src[i]);
}

void hs_load_bf16(float *restrict dst, const uint16_t *restrict src, int64_t n)
{
    HS_SIMD
    for (int64_t i = 0; i < n; i++)
        dst[i] = hs_bf16_f32(src[i]);
}

// By instruction where there is one: it rounds alike, and takes subnormals of f32 for 0.
void hs_store_bf16(uint16_t *restrict dst, const float *restrict src, int64_t n)
{
#if defined(__AVX512BF16__)
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? 0xFFFF : (__mmask16)((1u << (n - i)) - 1);
        _mm256_mask_storeu_epi16(dst + i, mask, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, src + i)));
    }
#else
    HS_SIMD
    for (int64_t i = 0; i < n; i++)
        dst[i] = hs_f32_bf16(src[i]);
#endif
}

void hs_store_low(const hs_ref *r, int64_t first, int64_t n, const float *y)
{
    uint16_t *p = (uint16_t *)r->p + first;
    if (!r->add) {
        r->dtype == HS_BF16 ? hs_store_bf16(p, y, n) : hs_store_f16(p, y, n);
        return;
    }
    float sum[256];
    for (int64_t i0 = 0; i0 < n; i0 += 256) {
        const int64_t k = n - i0 < 256 ? n - i0 : 256;
        r->dtype == HS_BF16 ? hs_load_bf16(sum, p + i0, k) : hs_load_f16(sum, p + i0, k);
        HS_SIMD
        for (int64_t i = 0; i < k; i++)
            sum[i] += y[i0 + i];
        r->dtype == HS_BF16 ? hs_store_bf16(p + i0, sum, k) : hs_store_f16(p + i0, sum, k);
    }
}

// few_scores: a query's scores with keys as they lie, f32 or widened; with codes before their scales. Included by attention.c alone.
#ifndef HS_OPS_FEW_SCORES_H
#define HS_OPS_FEW_SCORES_H
#include "ops/attention/attention.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

// A vector has a lane for each of 8 keys (AVX2) or 4. LOW and HIGH take words of two vectors by turns within each four lanes, the PAIR ones
// pairs of words.
#if defined(__AVX2__)
enum { KEY_LANES = 8 };
typedef float key_vec __attribute__((vector_size(32)));
#define KEY_OP(f, a, b) ((key_vec)f((__m256)(a), (__m256)(b)))
#define LOW(a, b)       KEY_OP(_mm256_unpacklo_ps, a, b)
#define HIGH(a, b)      KEY_OP(_mm256_unpackhi_ps, a, b)
#define LOW_PAIR(a, b)  ((key_vec)_mm256_unpacklo_pd((__m256d)(a), (__m256d)(b)))
#define HIGH_PAIR(a, b) ((key_vec)_mm256_unpackhi_pd((__m256d)(a), (__m256d)(b)))
static inline key_vec four_of(const char *k, int64_t step) // words of key k in the lower half, of the fourth behind it in the upper
{
    return (key_vec)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float *)k)),
                                         _mm_loadu_ps((const float *)(k + 4 * step)), 1);
}
#else
enum { KEY_LANES = 4 };
typedef float key_vec __attribute__((vector_size(16)));
typedef float key_vec_at __attribute__((vector_size(16), aligned(4), may_alias));
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t key_lanes __attribute__((vector_size(16)));
#define PICK(a, b, ...) __builtin_shuffle(a, b, (key_lanes){ __VA_ARGS__ })
#endif
#define LOW(a, b)       PICK(a, b, 0, 4, 1, 5)
#define HIGH(a, b)      PICK(a, b, 2, 6, 3, 7)
#define LOW_PAIR(a, b)  PICK(a, b, 0, 1, 4, 5)
#define HIGH_PAIR(a, b) PICK(a, b, 2, 3, 6, 7)
static inline key_vec four_of(const char *k, int64_t step)
{
    (void)step;
    return *(const key_vec_at *)k;
}
#endif

// sum goes on by words [0, 4) of x times those of KEY_LANES keys, `step` bytes apart, word by word.
static inline key_vec four_words(key_vec sum, const float *x, const char *k, int64_t step)
{
    const key_vec a = four_of(k, step), b = four_of(k + step, step), c = four_of(k + 2 * step, step), d = four_of(k + 3 * step, step);
    const key_vec ab = LOW(a, b), ab2 = HIGH(a, b), cd = LOW(c, d), cd2 = HIGH(c, d);
    sum = sum + LOW_PAIR(ab, cd) * x[0];
    sum = sum + HIGH_PAIR(ab, cd) * x[1];
    sum = sum + LOW_PAIR(ab2, cd2) * x[2];
    return sum + HIGH_PAIR(ab2, cd2) * x[3];
}

// score[j] = scale x . row j of n keys, keys side by side: each is one chain, as in a product.
static void few_scores(float *score, const float *x, const gemm_in *k, int64_t n, int64_t d, float scale)
{
    enum { SIDE = 16, PART = 64 };
    const int64_t element = (int64_t)hs_dtype_bytes(k->dtype), step = k->ld * element;
    for (int64_t j = 0; j < n; j += SIDE) {
        const bool straight = k->dtype == HS_F32 && j + SIDE <= n;
        float wide[SIDE][PART], out[SIDE];
        key_vec sum[SIDE / KEY_LANES] = { { 0 } };
        for (int64_t c = 0; c < d; c += PART) {
            const int64_t cols = att_least(PART, d - c);
            for (int64_t i = 0; i < SIDE; i++) {
                const char *p = (const char *)k->p + att_least(j + i, n - 1) * step + c * element;
                for (int64_t line = 0; line < cols * element; line += 64)
                    __builtin_prefetch(p + SIDE * step + line, 0, 2); // no nearer: rows of a power of two would drive one another out
                if (k->dtype == HS_BF16)
                    hs_load_bf16(wide[i], (const uint16_t *)p, cols);
                else if (k->dtype == HS_F16)
                    hs_load_f16(wide[i], (const uint16_t *)p, cols);
                else if (k->dtype == HS_I8)
                    att_widen(wide[i], (const int8_t *)p, cols, false);
                else if (!straight)
                    memcpy(wide[i], p, (size_t)cols * sizeof(float));
            }
            const char *row = straight ? (const char *)k->p + j * step + c * element : (const char *)wide;
            const int64_t apart = straight ? step : (int64_t)sizeof wide[0];
            for (int64_t e = 0; e < cols; e += 4)
#pragma GCC unroll 4
                for (int q = 0; q < SIDE / KEY_LANES; q++)
                    sum[q] = four_words(sum[q], x + c + e, row + KEY_LANES * q * apart + e * (int64_t)sizeof(float), apart);
        }
        for (int q = 0; q < SIDE / KEY_LANES; q++)
            sum[q] *= scale;
        memcpy(out, sum, sizeof out);
        memcpy(score + j, out, (size_t)att_least(SIDE, n - j) * sizeof *out);
    }
}

#endif

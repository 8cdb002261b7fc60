// few_scores: a query's scores with keys as they lie, f32 or widened. Included by attention.c alone.
#ifndef HS_OPS_FEW_SCORES_H
#define HS_OPS_FEW_SCORES_H
#include "ops/attention/attention.h"

typedef float quad __attribute__((vector_size(16)));
typedef float quad_at __attribute__((vector_size(16), aligned(4), may_alias));
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t quad_lanes __attribute__((vector_size(16)));
#define PICK(a, b, ...) __builtin_shuffle(a, b, (quad_lanes){ __VA_ARGS__ })
#endif

// sum goes on by words [0, 4) of x times those of four keys, `step` bytes apart: a lane a key, and word by word.
static inline quad four_words(quad sum, const float *x, const char *k, int64_t step)
{
    const quad a = *(const quad_at *)k, b = *(const quad_at *)(k + step), c = *(const quad_at *)(k + 2 * step),
               d = *(const quad_at *)(k + 3 * step);
    const quad ab = PICK(a, b, 0, 4, 1, 5), ab2 = PICK(a, b, 2, 6, 3, 7), cd = PICK(c, d, 0, 4, 1, 5), cd2 = PICK(c, d, 2, 6, 3, 7);
    sum = sum + PICK(ab, cd, 0, 1, 4, 5) * x[0];
    sum = sum + PICK(ab, cd, 2, 3, 6, 7) * x[1];
    sum = sum + PICK(ab2, cd2, 0, 1, 4, 5) * x[2];
    return sum + PICK(ab2, cd2, 2, 3, 6, 7) * x[3];
}

// score[j] = scale x . row j of n keys, keys side by side: each is one chain, as in a product.
static void few_scores(float *score, const float *x, const gemm_in *k, int64_t n, int64_t d, float scale)
{
    enum { SIDE = 16, PART = 64 };
    const int64_t element = (int64_t)hs_dtype_bytes(k->dtype), step = k->ld * element;
    for (int64_t j = 0; j < n; j += SIDE) {
        const bool straight = k->dtype == HS_F32 && j + SIDE <= n;
        float wide[SIDE][PART], out[SIDE];
        quad sum[SIDE / 4] = { { 0 } };
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
                else if (!straight)
                    memcpy(wide[i], p, (size_t)cols * sizeof(float));
            }
            const char *row = straight ? (const char *)k->p + j * step + c * element : (const char *)wide;
            const int64_t apart = straight ? step : (int64_t)sizeof wide[0];
            for (int64_t e = 0; e < cols; e += 4)
#pragma GCC unroll 4
                for (int q = 0; q < SIDE / 4; q++)
                    sum[q] = four_words(sum[q], x + c + e, row + 4 * q * apart + e * (int64_t)sizeof(float), apart);
        }
        for (int q = 0; q < SIDE / 4; q++)
            sum[q] *= scale;
        memcpy(out, sum, sizeof out);
        memcpy(score + j, out, (size_t)att_least(SIDE, n - j) * sizeof *out);
    }
}

#endif

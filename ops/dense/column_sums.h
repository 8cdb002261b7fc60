// column_sums: the gradient of a bias - sums of the columns of dy, one partial per grain of rows, added in order.
#ifndef HS_OPS_COLUMN_SUMS_H
#define HS_OPS_COLUMN_SUMS_H
#include "core/cpu/rows.h"

enum { STRIPE = 64 }; // columns of dy summed side by side

// Of columns [c, c + k), onto total[k].
static inline __attribute__((always_inline)) void column_sums_stripe(const hs_ref *dy, int64_t rows, int64_t c, const int64_t k,
                                                                     float *total)
{
    for (int64_t g = 0; g < rows; g += HS_GRAIN) {
        float part[STRIPE] = { 0 }, wide[STRIPE];
        for (int64_t n = g; n < rows && n < g + HS_GRAIN; n++) {
            const float *row = dy->dtype == HS_F32 ? (const float *)dy->p + n * dy->cols + c : wide;
            if (dy->dtype == HS_BF16)
                hs_load_bf16(wide, (const uint16_t *)dy->p + n * dy->cols + c, k);
            else if (dy->dtype == HS_F16)
                hs_load_f16(wide, (const uint16_t *)dy->p + n * dy->cols + c, k);
            HS_SIMD
            for (int64_t i = 0; i < k; i++)
                part[i] += row[i];
        }
        HS_SIMD
        for (int64_t i = 0; i < k; i++)
            total[i] += part[i];
    }
}

// sums[c] = (or, add, +=) the sum of column c of the first `rows` rows of dy; the columns are divided over the team.
static inline void column_sums(const hs_ref *dy, int64_t rows, float *sums, bool add, const hs_lane *lane)
{
    int64_t c0, c1;
    hs_part_unit(lane, dy->cols, STRIPE, &c0, &c1);
    for (int64_t c = c0; c < c1; c += STRIPE) {
        const int64_t k = c1 - c < STRIPE ? c1 - c : STRIPE;
        float total[STRIPE] = { 0 }, *out = sums + c;
        if (k == STRIPE)
            column_sums_stripe(dy, rows, c, STRIPE, total);
        else
            column_sums_stripe(dy, rows, c, k, total);
        for (int64_t i = 0; i < k; i++)
            out[i] = add ? out[i] + total[i] : total[i];
    }
}

#endif

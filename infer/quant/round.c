// round: scales of groups, with or without a search, and codes by them.
#include "infer/quant/round.h"
#include "core/cpu/rows.h"
#include <math.h>

static const float F16_MOST = 65504;

static bool by_row(hs_coding c) { return c == HS_CODING_I8 || c == HS_CODING_I8_STATIC; }

static float kept(hs_coding c, float scale) { return by_row(c) ? scale : hs_f16_f32(hs_f32_f16(scale)); }

// The value of the largest magnitude, the first of equals.
static float extreme(const float *w, int64_t n)
{
    float most = 0;
    HS_SIMD_MAX(most)
    for (int64_t i = 0; i < n; i++)
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    for (int64_t i = 0; i < n; i++)
        if (fabsf(w[i]) == most)
            return w[i];
    return most;
}

hs_status hs_round_check(hs_coding c, const float *w, int64_t rows, int64_t cols, const char *name)
{
    const float most = c == HS_CODING_I4_BLOCKS ? 8 * F16_MOST : by_row(c) ? INFINITY : 127 * F16_MOST;
    for (int64_t i = 0; i < rows * cols; i++) {
        if (!isfinite(w[i]))
            return HS_FAIL(NONFINITE, "%s: %s in row %lld, column %lld", name, isnan(w[i]) ? "NaN" : "Inf", (long long)(i / cols),
                           (long long)(i % cols));
        if (fabsf(w[i]) > most)
            return HS_FAIL(USAGE, "%s: %g in row %lld, column %lld; a block of codes, which has a scale in f16, goes up to %g", name,
                           (double)w[i], (long long)(i / cols), (long long)(i % cols), (double)most);
    }
    return HS_OK;
}

// ---- the best scale of a block of 4 bits

static float squares(const float *w, int n, float scale)
{
    float sum = 0;
    HS_SIMD_SUM(sum)
    for (int i = 0; i < n; i++) {
        const float d = w[i] - scale * hs_round_code(HS_CODING_I4_BLOCKS, w[i], scale);
        sum += d * d;
    }
    return sum;
}

// Least squares for the codes that `scale` gives: sum w q / sum q^2.
static float refitted(const float *w, int n, float scale)
{
    float wq = 0, qq = 0;
    HS_SIMD_SUM(wq, qq)
    for (int i = 0; i < n; i++) {
        const float q = hs_round_code(HS_CODING_I4_BLOCKS, w[i], scale);
        wq += w[i] * q, qq += q * q;
    }
    return qq > 0 ? wq / qq : 0;
}

static float searched(const float *w, int n, float most, float first)
{
    enum { STEPS = 9 };
    float best = first, least = squares(w, n, first);
    for (int sign = -1; sign <= 1; sign += 2)
        for (int k = -STEPS; k <= STEPS; k++) {
            const float s = kept(HS_CODING_I4_BLOCKS, refitted(w, n, most / ((float)sign * (8 + 0.1f * (float)k))));
            const float e = isfinite(s) ? squares(w, n, s) : INFINITY;
            if (e < least)
                least = e, best = s;
        }
    return best;
}

float hs_round_scale(hs_coding c, const float *w, int64_t n, bool search)
{
    const float most = extreme(w, n);
    if (most == 0)
        return 0;
    const float scale = kept(c, c == HS_CODING_I4_BLOCKS ? most / -8 : fabsf(most) / 127);
    return search && c == HS_CODING_I4_BLOCKS ? searched(w, (int)n, most, scale) : scale;
}

// ---- codes

void hs_round_put_scale(hs_coding c, void *scales, int64_t at, float scale)
{
    if (by_row(c))
        ((float *)scales)[at] = scale;
    else
        ((uint16_t *)scales)[at] = hs_f32_f16(scale);
}

void hs_round_put_code(hs_coding c, void *codes, int64_t at, int code)
{
    if (c == HS_CODING_I4_BLOCKS) {
        uint8_t *byte = (uint8_t *)codes + at / 2;
        *byte = (uint8_t)(at % 2 ? (*byte & 15) | (code + 8) << 4 : (*byte & 240) | (code + 8));
    } else
        ((int8_t *)codes)[at] = (int8_t)code;
}

hs_status hs_round_weights(hs_coding c, const float *w, int64_t rows, int64_t cols, bool search, const char *name, void *codes,
                           void *scales)
{
    const int64_t group = hs_round_group(c, cols);
    HS_TRY(hs_round_check(c, w, rows, cols, name));
    for (int64_t at = 0; at < rows * cols; at += group) {
        const float scale = hs_round_scale(c, w + at, group, search);
        hs_round_put_scale(c, scales, at / group, scale);
        for (int64_t i = at; i < at + group; i++)
            hs_round_put_code(c, codes, i, (int)hs_round_code(c, w[i], scale));
    }
    return HS_OK;
}

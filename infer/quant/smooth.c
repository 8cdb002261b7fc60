#include "infer/quant/smooth.h"
#include "core/cpu/rows.h"
#include <math.h>

static const double FLOOR = 1e-5;

void hs_smooth_columns(const float *w, int64_t out, int64_t in, float *most)
{
    for (int64_t o = 0; o < out; o++) {
        HS_SIMD
        for (int64_t j = 0; j < in; j++)
            most[j] = fabsf(w[o * in + j]) > most[j] ? fabsf(w[o * in + j]) : most[j];
    }
}

void hs_smooth_scales(const float *x_most, const float *w_most, int64_t in, double a, float *s)
{
    for (int64_t j = 0; j < in; j++) {
        const double scale = pow((double)x_most[j], a) / pow(fmax((double)w_most[j], FLOOR), 1 - a);
        s[j] = x_most[j] > 0 ? (float)fmax(scale, FLOOR) : 1;
    }
}

void hs_smooth_divide(float *v, int64_t n, const float *s)
{
    for (int64_t j = 0; j < n; j++)
        v[j] /= s[j];
}

void hs_smooth_rows(float *w, int64_t out, int64_t in, const float *s)
{
    for (int64_t o = 0; o < out; o++)
        for (int64_t j = 0; j < in; j++)
            w[o * in + j] /= s[o];
}

void hs_smooth_weight(float *w, int64_t out, int64_t in, const float *s)
{
    for (int64_t o = 0; o < out; o++)
        for (int64_t j = 0; j < in; j++)
            w[o * in + j] *= s[j];
}

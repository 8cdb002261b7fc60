#include "infer/quant/calibrate.h"
#include "core/cpu/rows.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { LEVELS = 128 }; // of one sign; also where searches begin

// ---- percentile

static double by_percentile(const hs_histogram *h, double percentile)
{
    double total = 0, share = 0;
    int i = 0;
    for (int j = 0; j < h->n_bins; j++)
        total += (double)h->bin[j];
    for (; i < h->n_bins; i++) {
        share += (double)h->bin[i] / total;
        if (share >= percentile / 100)
            break;
    }
    return (i ? i : 1) * h->width;
}

// ---- entropy
//
// With sums over bins [0, j) of c, of c log c, and of how many are not empty, a candidate costs 128 logs instead of i. What comes that way
// within NEAR of the smallest is computed again, bin by bin: differences of large sums are no place to tell equals apart.

static const double NEAR = 1e-8, EQUAL = 1e-12;

typedef struct search {
    int n;
    double *c, *sum, *sum_log, *filled, *divergence; // [n + 1] each
} search;

static int level_end(int level, int i) { return (level * i + LEVELS - 1) / LEVELS; } // the first bin j of i with 128 j >= level * i

static double by_sums(const search *s, int i)
{
    const double all = s->sum[s->n], inside = s->sum[i], beyond = all - inside, last = s->c[i - 1];
    if (beyond > 0 && last == 0)
        return INFINITY;
    double p_log_p = s->sum_log[i], p_log_q = 0;
    if (beyond > 0)
        p_log_p += (last + beyond) * log(last + beyond) - last * log(last);
    for (int l = 0, j0 = 0; l < LEVELS; l++) {
        const int j1 = level_end(l + 1, i);
        const double mass = s->sum[j1] - s->sum[j0], bins = s->filled[j1] - s->filled[j0];
        if (bins > 0)
            p_log_q += (mass + (l == LEVELS - 1 ? beyond : 0)) * log(mass / bins);
        j0 = j1;
    }
    return (p_log_p - p_log_q) / all + log(inside / all);
}

static double by_bins(const search *s, int i)
{
    const double all = s->sum[s->n], inside = s->sum[i], beyond = all - inside;
    double d = 0;
    for (int l = 0, j0 = 0; l < LEVELS; l++) {
        const int j1 = level_end(l + 1, i);
        const double q = (s->sum[j1] - s->sum[j0]) / (s->filled[j1] - s->filled[j0]) / inside;
        for (int j = j0; j < j1; j++) {
            const double p = (s->c[j] + (j == i - 1 ? beyond : 0)) / all;
            if (p > 0)
                d += p * log(p / q);
        }
        j0 = j1;
    }
    return d;
}

static int best_of(search *s)
{
    double least = INFINITY, exact = INFINITY;
    for (int i = LEVELS; i <= s->n; i++) {
        s->divergence[i] = by_sums(s, i);
        least = fmin(least, s->divergence[i]);
    }
    for (int i = LEVELS; i <= s->n; i++) {
        s->divergence[i] = s->divergence[i] <= least + NEAR ? by_bins(s, i) : INFINITY;
        exact = fmin(exact, s->divergence[i]);
    }
    int i = s->n;
    while (i > LEVELS && s->divergence[i] > exact + EQUAL)
        i--;
    return i;
}

static hs_status by_entropy(const hs_histogram *h, double *amax)
{
    const int n = h->n_bins;
    double *block = malloc(5 * ((size_t)n + 1) * sizeof *block);
    if (!block)
        return HS_FAIL(MEMORY, "no memory to calibrate %d bins", n);
    search s = { n, block, block + (n + 1), block + 2 * (n + 1), block + 3 * (n + 1), block + 4 * (n + 1) };
    s.sum[0] = s.sum_log[0] = s.filled[0] = 0;
    for (int j = 0; j < n; j++) {
        s.c[j] = (double)h->bin[j ? j : 1];
        s.sum[j + 1] = s.sum[j] + s.c[j];
        s.sum_log[j + 1] = s.sum_log[j] + (s.c[j] > 0 ? s.c[j] * log(s.c[j]) : 0);
        s.filled[j + 1] = s.filled[j] + (s.c[j] > 0);
    }
    *amax = (s.sum[n] > 0 ? best_of(&s) : n) * h->width;
    free(block);
    return HS_OK;
}

// ---- mean squared error

// The integer next to a value under 2^51, ties to even: SSE2 has no instruction for it, and this vectorises.
static double nearest(double x)
{
    const double shift = 0x1.8p52;
    return x + shift - shift;
}

static double error_at(const double *restrict x, const double *restrict count, int n, double amax)
{
    const double by = 127 / amax, scale = amax / 127;
    double sum = 0;
    HS_SIMD_SUM(sum)
    for (int j = 0; j < n; j++) {
        double q = nearest(x[j] * by);
        q = q < 127 ? q : 127;
        sum += count[j] * (x[j] - q * scale) * (x[j] - q * scale);
    }
    return sum;
}

static hs_status by_mse(const hs_histogram *h, double *amax)
{
    const int n = h->n_bins;
    double *block = malloc(3 * (size_t)n * sizeof *block), least = INFINITY;
    if (!block)
        return HS_FAIL(MEMORY, "no memory to calibrate %d bins", n);
    double *x = block, *count = block + n, *error = block + 2 * n;
    int filled = 0, best = LEVELS;
    for (int j = 0; j < n; j++)
        if (h->bin[j])
            x[filled] = ((double)j + 0.5) * h->width, count[filled++] = (double)h->bin[j];
    for (int i = LEVELS; i < n; i++) {
        error[i] = error_at(x, count, filled, ((double)i + 0.5) * h->width);
        least = fmin(least, error[i]);
    }
    while (error[best] > least * (1 + EQUAL))
        best++;
    *amax = ((double)best + 0.5) * h->width;
    free(block);
    return HS_OK;
}

hs_status hs_calibrate(const hs_histogram *h, hs_calib_method method, double percentile, const char *name, float *amax)
{
    double found = 0;
    if (h->count == 0)
        return HS_FAIL(USAGE, "%s: no values to calibrate from", name);
    if (method == HS_CALIB_PERCENTILE && !(percentile > 0 && percentile <= 100))
        return HS_FAIL(USAGE, "percentile is %g, allowed above 0 to 100", percentile);
    if (method == HS_CALIB_MAX || h->width == 0)
        found = (double)hs_histogram_most(h);
    else if (method == HS_CALIB_PERCENTILE)
        found = by_percentile(h, percentile);
    else if (h->n_bins < LEVELS || (method == HS_CALIB_MSE && h->n_bins == LEVELS))
        found = h->n_bins * h->width;
    else
        HS_TRY(method == HS_CALIB_ENTROPY ? by_entropy(h, &found) : by_mse(h, &found));
    *amax = (float)fmin(found, (double)FLT_MAX); // edges may lie beyond
    return HS_OK;
}

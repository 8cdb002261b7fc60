// bootstrap: draws, scores again, and takes quantiles.
#include "data/score/bootstrap.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdlib.h>

#define RESCORE(task)                                                                                                                      \
    hs_status hs_rescore_##task(const void *input, const int64_t *draw, hs_scores *out)                                                    \
    {                                                                                                                                      \
        hs_##task##_input in = *(const hs_##task##_input *)input;                                                                          \
        in.draw = draw;                                                                                                                    \
        return hs_score_##task(&in, out);                                                                                                  \
    }
RESCORE(sequence)
RESCORE(regression)
RESCORE(multilabel)
RESCORE(tokens)
RESCORE(span)

static void draw_rows(int64_t *draw, int64_t n, uint64_t key, int resample)
{
    for (int64_t i = 0; i < n; i += 4) {
        const hs_u32x4 u = hs_random(key, (uint32_t)(i / 4), (uint32_t)resample, 0, 0);
        for (int k = 0; k < 4 && i + k < n; k++)
            draw[i + k] = (int64_t)((uint64_t)u.v[k] * (uint64_t)n >> 32);
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *v, int n, double q)
{
    const double at = q * (n - 1);
    const int i = (int)at;
    return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[n - 1];
}

static hs_interval interval_of(double *v, int n, double level)
{
    if (n < 2)
        return (hs_interval){ NAN, NAN };
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (hs_interval){ quantile(v, n, (1 - level) / 2), quantile(v, n, (1 + level) / 2) };
}

// value[s][resample] and how many there are of each.
static hs_status resample(hs_rescore *score, const void *input, const hs_bootstrap_opts *o, const hs_scores *whole, int64_t *draw,
                          double *value, int count[HS_SCORES_MOST])
{
    const uint64_t key = hs_mix2(o->seed, hs_hash_string("bootstrap"));
    for (int r = 0; r < o->resamples; r++) {
        hs_scores s;
        draw_rows(draw, o->n, key, r);
        const hs_status st = score(input, draw, &s);
        if (st == HS_USAGE) // rows without gold labels alone
            continue;
        HS_TRY(st);
        for (int k = 0; k < whole->n; k++) {
            const double v = hs_scores_get(&s, whole->at[k].name);
            if (!isnan(v))
                value[(size_t)k * (size_t)o->resamples + (size_t)count[k]++] = v;
        }
    }
    return HS_OK;
}

hs_status hs_bootstrap(hs_rescore *score, const void *input, const hs_bootstrap_opts *o, const hs_scores *whole,
                       hs_interval interval[HS_SCORES_MOST])
{
    if (o->resamples < 2 || o->n < 1 || o->n > UINT32_MAX || !(o->level > 0 && o->level < 1))
        return HS_FAIL(USAGE, "a bootstrap of %lld rows in %d resamples at level %g", (long long)o->n, o->resamples, o->level);
    int64_t *draw = malloc((size_t)o->n * sizeof *draw);
    double *value = malloc((size_t)whole->n * (size_t)o->resamples * sizeof *value);
    int count[HS_SCORES_MOST] = { 0 };
    hs_status st = draw && value ? resample(score, input, o, whole, draw, value, count)
                                 : HS_FAIL(MEMORY, "no memory for %d resamples of %lld rows", o->resamples, (long long)o->n);
    for (int k = 0; k < whole->n && st == HS_OK; k++)
        interval[k] = interval_of(value + (size_t)k * (size_t)o->resamples, count[k], o->level);
    free(draw);
    free(value);
    return st;
}

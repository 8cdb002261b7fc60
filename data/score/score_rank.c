// score_rank: areas, ranks and correlations.
#include "data/score/score_rank.h"
#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    const double x = ((const hs_ranked *)a)->value, y = ((const hs_ranked *)b)->value;
    return (x > y) - (x < y);
}

static int64_t end_of_ties(const hs_ranked *v, int64_t n, int64_t i)
{
    int64_t end = i + 1;
    while (end < n && v[end].value == v[i].value)
        end++;
    return end;
}

double hs_roc_area(hs_ranked *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    int64_t positives = 0, below = 0; // negatives
    double twice = 0;                 // whole numbers: exact as long as pairs count less than 2^52
    for (int64_t i = 0, end; i < n; i = end) {
        int64_t pos = 0;
        end = end_of_ties(v, n, i);
        for (int64_t k = i; k < end; k++)
            pos += v[k].of;
        const int64_t neg = end - i - pos;
        twice += (double)pos * (double)(2 * below + neg);
        positives += pos, below += neg;
    }
    return positives && below ? twice / (2.0 * (double)positives * (double)below) : NAN;
}

void hs_mean_ranks(hs_ranked *v, int64_t n, double *rank)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    for (int64_t i = 0, end; i < n; i = end) {
        end = end_of_ties(v, n, i);
        for (int64_t k = i; k < end; k++)
            rank[v[k].of] = 0.5 * (double)(i + 1 + end);
    }
}

static double mean(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

double hs_pearson(const double *x, const double *y, int64_t n)
{
    if (n < 2)
        return NAN;
    const double mx = mean(x, n), my = mean(y, n);
    double xx = 0, yy = 0, xy = 0;
    bool flat_x = true, flat_y = true; // asked of the values: their mean may be rounded, and differences from it then are not 0
    for (int64_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx), yy += (y[i] - my) * (y[i] - my), xy += (x[i] - mx) * (y[i] - my);
        flat_x = flat_x && x[i] == x[0], flat_y = flat_y && y[i] == y[0];
    }
    return flat_x || flat_y ? NAN : fmin(fmax(xy / (sqrt(xx) * sqrt(yy)), -1), 1);
}

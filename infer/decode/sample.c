// sample: one token from a row of logits.

#include "infer/decode/sample.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

hs_status hs_sampling_check(const hs_sampling *s)
{
    if (!(s->temperature >= 0 && s->temperature <= 1e3))
        return HS_FAIL(USAGE, "temperature is %g, allowed 0 (greedy) to 1000", s->temperature);
    if (s->top_k < 0)
        return HS_FAIL(USAGE, "top-k is %lld, must be 0 (all) or more", (long long)s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return HS_FAIL(USAGE, "top-p is %g, must be above 0 and at most 1 (all)", s->top_p);
    return HS_OK;
}

// The order of preference: larger logits first, the lower id among equals. A total order, so that ties never depend on a sort.
static bool better(const float *logits, int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; }

static int32_t best(const float *logits, int64_t n)
{
    int32_t top = 0;
    for (int32_t i = 1; i < n; i++)
        top = logits[i] > logits[top] ? i : top;
    return top;
}

// Puts the k best of order[n] first, in any order (Hoare's selection).
static void select_best(const float *logits, int32_t *order, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        const int32_t pivot = order[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (better(logits, order[i], pivot))
                i++;
            while (better(logits, pivot, order[j]))
                j--;
            if (i <= j) {
                const int32_t swap = order[i];
                order[i++] = order[j];
                order[j--] = swap;
            }
        }
        if (k - 1 <= j)
            hi = j;
        else if (k - 1 >= i)
            lo = i;
        else
            return;
    }
}

static int by_preference(const void *a, const void *b, void *logits)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x == y ? 0 : better(logits, x, y) ? -1 : 1;
}

int64_t hs_best_of(const float *logits, int32_t *order, int64_t n, int64_t k)
{
    if (k < n)
        select_best(logits, order, n, k);
    k = k < n ? k : n;
    qsort_r(order, (size_t)k, sizeof *order, by_preference, (void *)logits);
    return k;
}

static double weight(const float *logits, int32_t id, float top, double temperature)
{
    return exp(((double)logits[id] - (double)top) / temperature);
}

// Sorts order[n] and returns how many of its first hold top_p of the probability. Tokens below (1 - top_p) / n of it are
// dropped before the sort: all of them together weigh less than what may be left out.
static int64_t nucleus(const float *logits, int32_t *order, int64_t n, float top, const hs_sampling *s)
{
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        total += weight(logits, order[i], top, s->temperature);
    const double least = (1 - s->top_p) / (double)n * total;
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (weight(logits, order[i], top, s->temperature) >= least)
            order[kept++] = order[i];
    qsort_r(order, (size_t)kept, sizeof *order, by_preference, (void *)logits);
    int64_t m = 0;
    while (m < kept && sum < s->top_p * total)
        sum += weight(logits, order[m++], top, s->temperature);
    return m ? m : 1;
}

int32_t hs_sample(const float *logits, int64_t n, const hs_sampling *s, int number, int64_t position, int32_t *order)
{
    const int32_t top_id = best(logits, n);
    if (s->temperature == 0 || s->top_k == 1)
        return top_id;
    const float top = logits[top_id];
    for (int64_t i = 0; i < n; i++)
        order[i] = (int32_t)i;
    if (s->top_k > 0 && s->top_k < n)
        n = hs_best_of(logits, order, n, s->top_k);
    if (s->top_p < 1)
        n = nucleus(logits, order, n, top, s);
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        total += weight(logits, order[i], top, s->temperature);
    const double at = hs_u32_unit(hs_random(s->seed, (uint32_t)position, (uint32_t)number, 0, 0).v[0]) * total;
    for (int64_t i = 0; i < n; i++) {
        sum += weight(logits, order[i], top, s->temperature);
        if (at < sum)
            return order[i];
    }
    while (n > 1 && weight(logits, order[n - 1], top, s->temperature) == 0)
        n--;
    return order[n - 1]; // rounding left `at` at the very end
}

double hs_log_sum(const float *logits, int64_t n)
{
    const double top = (double)logits[best(logits, n)];
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - top);
    return top + log(sum);
}

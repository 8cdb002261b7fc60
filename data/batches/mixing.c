// mixing: Tijdeman's order laid out once for a whole period; a sample is then one look-up.
#include "data/batches/mixing.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { SOURCE_SHIFT = 24, RANK_MASK = (1 << SOURCE_SHIFT) - 1 };

static bool is_whole(double x) { return fabs(x - round(x)) < 2e-8; } // x up to 2^20, and what 64 roundings leave of it

// The least period in which every source has a whole share; the longest allowed where there is none.
static int64_t find_period(const double *weight, int n, double sum)
{
    for (int64_t period = n; period < HS_MIX_PERIOD; period++) {
        int k = 0;
        while (k < n && is_whole(weight[k] / sum * (double)period))
            k++;
        if (k == n)
            return period;
    }
    return HS_MIX_PERIOD;
}

// Shares rounded down, then one more for those that lost most: they add up to the period.
static void give_shares(hs_mixture *m, const double *weight, double sum)
{
    double lost[HS_MIX_SOURCES];
    int64_t left = m->period;
    for (int k = 0; k < m->n; k++) {
        const double exact = weight[k] / sum * (double)m->period;
        m->share[k] = (int64_t)(is_whole(exact) ? round(exact) : floor(exact));
        lost[k] = exact - (double)m->share[k];
        left -= m->share[k];
    }
    for (; left > 0; left--) {
        int most = 0;
        for (int k = 1; k < m->n; k++)
            most = lost[k] > lost[most] ? k : most;
        m->share[most]++, lost[most] -= 1;
    }
}

// Tijdeman's rule, all numbers times the period and 2K - 2: of the sources that are due (not more than the bound ahead if taken now) the
// one that must come soonest (that would first fall behind by the bound).
static void lay_order(hs_mixture *m)
{
    const int64_t T = m->period, unit = m->n > 1 ? 2 * m->n - 2 : 1;
    int64_t taken[HS_MIX_SOURCES] = { 0 };
    for (int64_t t = 1; t <= T; t++) {
        int best = -1;
        int64_t best_slack = 0;
        for (int k = 0; k < m->n; k++) {
            const int64_t behind = unit * (m->share[k] * t - taken[k] * T), slack = unit * T - T - behind;
            if (behind < T && m->n > 1)
                continue;
            if (best < 0 || slack * m->share[best] < best_slack * m->share[k])
                best = k, best_slack = slack;
        }
        m->order[t - 1] = (uint32_t)best << SOURCE_SHIFT | (uint32_t)taken[best];
        taken[best]++;
    }
}

hs_status hs_mixture_init(hs_mixture *m, const double *weight, int n)
{
    *m = (hs_mixture){ .n = n };
    if (n < 1 || n > HS_MIX_SOURCES)
        return HS_FAIL(USAGE, "%d sources to mix, allowed 1 to %d", n, HS_MIX_SOURCES);
    double sum = 0;
    for (int k = 0; k < n; k++) {
        if (!(weight[k] > 0) || !isfinite(weight[k]))
            return HS_FAIL(USAGE, "weight %g of source %d is not positive", weight[k], k + 1);
        sum += weight[k];
    }
    m->period = find_period(weight, n, sum);
    give_shares(m, weight, sum);
    for (int k = 0; k < n; k++)
        if (m->share[k] < 1)
            return HS_FAIL(USAGE, "weight %g of source %d is less than one part in %d of all (%g)", weight[k], k + 1, HS_MIX_PERIOD, sum);
    m->order = malloc((size_t)m->period * sizeof *m->order);
    if (!m->order)
        return HS_FAIL(MEMORY, "no memory for an order of %lld samples", (long long)m->period);
    lay_order(m);
    return HS_OK;
}

void hs_mixture_free(hs_mixture *m)
{
    free(m->order);
    *m = (hs_mixture){ 0 };
}

int hs_mixture_at(const hs_mixture *m, uint64_t i, uint64_t *own)
{
    const uint64_t period = (uint64_t)m->period;
    const uint32_t entry = m->order[i % period];
    const int source = (int)(entry >> SOURCE_SHIFT);
    *own = i / period * (uint64_t)m->share[source] + (entry & RANK_MASK);
    return source;
}

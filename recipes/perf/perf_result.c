// perf_result: a level's records as figures.
#include "recipes/perf/perf_result.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const double hs_perf_percentiles[HS_PERF_PERCENTILES] = { 50, 90, 95, 99, 99.9 };

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void hs_perf_sort(double *v, int64_t n) { qsort(v, (size_t)n, sizeof *v, ascending); }

double hs_perf_percentile(const double *sorted, int64_t n, double p)
{
    const int64_t i = (int64_t)ceil(p / 100 * (double)n - 1e-9) - 1;
    return n ? sorted[i < 0 ? 0 : i >= n ? n - 1 : i] : 0;
}

hs_perf_spread hs_perf_spread_of(double *v, int64_t n)
{
    hs_perf_spread s = { .n = n };
    if (n == 0)
        return s;
    hs_perf_sort(v, n);
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i];
    s.mean = sum / (double)n, s.most = v[n - 1];
    for (int i = 0; i < HS_PERF_PERCENTILES; i++)
        s.at[i] = hs_perf_percentile(v, n, hs_perf_percentiles[i]);
    return s;
}

static double seconds(int64_t ns) { return 1e-9 * (double)ns; }

typedef struct sums {
    double *latency, *first, *late;
    int64_t n, n_first, n_late, tokens, in_time, last;
    double send, wait, receive;
} sums;

static void add_answered(sums *s, const hs_perf_record *r, bool stream)
{
    s->latency[s->n++] = seconds(r->end - r->due);
    s->send += seconds(r->written > r->sent ? r->written - r->sent : 0);
    s->wait += seconds(r->first > r->written ? r->first - r->written : 0);
    s->receive += seconds(r->first ? r->end - r->first : 0);
    s->tokens += r->tokens;
    if (stream && r->first)
        s->first[s->n_first++] = seconds(r->first - r->due);
}

static void gather(sums *s, const hs_perf_level *l, hs_perf_result *out, bool stream)
{
    for (int64_t i = 0; i < l->n; i++) {
        const hs_perf_record *r = &l->record[i];
        s->in_time += r->fate == HS_FATE_ANSWERED && r->end >= l->begin && r->end < l->end;
        if (!hs_perf_counts(l, r))
            continue;
        out->requests++, out->failed[r->fate]++;
        out->n_status[r->status < 0 || r->status > 599 ? 0 : r->status] += r->fate == HS_FATE_STATUS;
        out->waited += r->waited;
        if (r->sent && !r->waited)
            s->late[s->n_late++] = seconds(r->sent - r->due);
        if (r->fate == HS_FATE_ANSWERED) {
            add_answered(s, r, stream);
            s->last = r->end > s->last ? r->end : s->last;
        }
    }
}

static void figures(sums *s, const hs_perf_level *l, const hs_perf_shape *shape, int items, hs_perf_result *out)
{
    const double n = s->n ? (double)s->n : 1;
    out->answered = s->n, out->failed[HS_FATE_ANSWERED] = 0;
    // A number of requests ends with the last of them; otherwise what ended meanwhile counts, which an overload does not flatter.
    out->seconds = seconds((shape->requests && s->last > l->begin ? s->last : l->end) - l->begin);
    out->per_second = (double)(shape->requests ? s->n : s->in_time) / out->seconds;
    out->items_per_second = items * out->per_second;
    out->tokens_per_second = (double)s->tokens / n * out->per_second;
    out->latency = hs_perf_spread_of(s->latency, s->n);
    out->judged = shape->percentile > 0 ? hs_perf_percentile(s->latency, s->n, shape->percentile) : out->latency.mean;
    out->first = hs_perf_spread_of(s->first, s->n_first);
    out->gap = hs_perf_spread_of(l->gap, l->n_gaps);
    out->send_mean = s->send / n, out->wait_mean = s->wait / n, out->receive_mean = s->receive / n;
    out->late = hs_perf_spread_of(s->late, s->n_late).at[3];
}

hs_status hs_perf_result_of(const hs_perf_level *l, const hs_perf_shape *shape, const hs_perf_requests *r, hs_perf_result *out)
{
    const size_t room = (size_t)(l->n ? l->n : 1);
    sums s = { .latency = malloc(room * sizeof(double)), .first = malloc(room * sizeof(double)), .late = malloc(room * sizeof(double)) };
    const bool good = s.latency && s.first && s.late;
    *out = (hs_perf_result){ .concurrency = shape->concurrency, .rate = shape->concurrency ? 0 : shape->rate };
    if (good) {
        gather(&s, l, out, r->stream);
        figures(&s, l, shape, r->items, out);
        out->client_cores = l->client_cores, out->stable = l->stable, out->windows = l->windows;
        snprintf(out->failure, sizeof out->failure, "%s", l->failure);
    }
    free(s.latency);
    free(s.first);
    free(s.late);
    return good ? HS_OK : HS_FAIL(MEMORY, "no memory for %lld latencies", (long long)l->n);
}

hs_status hs_perf_knee(double first, double share, hs_perf_holds_fn *holds, void *user, double *knee, int *tried)
{
    enum { MOST = 40 };
    double low = 0, high = 0, rate = first;
    *knee = 0;
    for (*tried = 0; *tried < MOST; ++*tried) {
        bool good;
        HS_TRY(holds(user, rate, &good));
        if (good)
            *knee = low = rate;
        else
            high = rate;
        if (low == 0 && rate <= first / 64)
            break;
        if (low > 0 && high > 0 && high <= low * (1 + share))
            break;
        rate = high == 0 ? 2 * rate : low == 0 ? rate / 2 : sqrt(low * high);
    }
    *tried += *tried < MOST;
    return HS_OK;
}

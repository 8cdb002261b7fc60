// metrics_text: what was added while a histogram is written may be in a bucket and not yet in the count, which is never below the buckets.
#include "infer/server/metrics_text.h"
#include <inttypes.h>

void hs_metrics_begin(hs_text *t, const char *name, const char *type, const char *help)
{
    hs_text_add(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void hs_metrics_labels(hs_text *t, const hs_served *m)
{
    hs_text_add(t, "{model=");
    hs_text_string(t, m->name);
    hs_text_add(t, ",version=\"%d\"", m->version);
}

typedef struct histogram {
    const char *name, *more;
    const hs_served *of;
    const _Atomic uint64_t *bucket, *count;
    int buckets;
    double (*bound)(int i); // upper
    double sum;
} histogram;

static uint64_t read(const _Atomic uint64_t *x) { return atomic_load_explicit(x, memory_order_relaxed); }

static void add_name(hs_text *t, const histogram *h, const char *what)
{
    hs_text_add(t, "%s_%s", h->name, what);
    hs_metrics_labels(t, h->of);
    hs_text_add(t, "%s", h->more);
}

static void add_histogram(hs_text *t, const histogram *h)
{
    uint64_t below = 0;
    for (int i = 0; i < h->buckets; i++) {
        below += read(&h->bucket[i]);
        add_name(t, h, "bucket");
        hs_text_add(t, ",le=\"%g\"} %" PRIu64 "\n", h->bound(i), below);
    }
    const uint64_t all = read(h->count) > below ? read(h->count) : below;
    add_name(t, h, "bucket");
    hs_text_add(t, ",le=\"+Inf\"} %" PRIu64 "\n", all);
    add_name(t, h, "sum");
    hs_text_add(t, "} %.9f\n", h->sum);
    add_name(t, h, "count");
    hs_text_add(t, "} %" PRIu64 "\n", all);
}

static double seconds_below(int i) { return hs_latency_bounds[i]; }
static double amount_below(int i) { return (double)(1 << i); }

void hs_metrics_seconds(hs_text *t, const char *name, const hs_served *m, const char *more, const hs_latency *l)
{
    add_histogram(t, &(histogram){ name, more, m, l->bucket, &l->count, HS_LATENCY_BUCKETS, seconds_below, (double)read(&l->sum_ns) / 1e9 });
}

void hs_metrics_amounts(hs_text *t, const char *name, const hs_served *m, const char *more, const hs_amounts *a)
{
    add_histogram(t, &(histogram){ name, more, m, a->bucket, &a->count, HS_AMOUNT_BUCKETS, amount_below, (double)read(&a->sum) });
}

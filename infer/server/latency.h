// latency: durations, and amounts of things, counted into buckets by any number of threads, as Prometheus wants its histograms.
#ifndef HS_INFER_LATENCY_H
#define HS_INFER_LATENCY_H
#include <stdatomic.h>
#include <stdint.h>

enum { HS_LATENCY_BUCKETS = 20 };
extern const double hs_latency_bounds[HS_LATENCY_BUCKETS];      // seconds, upper, ascending; beyond the last: +Inf
typedef struct hs_latency {                                     // zeros: empty
    _Atomic uint64_t count, sum_ns, bucket[HS_LATENCY_BUCKETS]; // each by itself, not cumulative
} hs_latency;
void hs_latency_add(hs_latency *l, int64_t ns);

enum { HS_AMOUNT_BUCKETS = 17 };                            // up to 1, 2, 4, ... 65536; beyond: +Inf
typedef struct hs_amounts {                                 // zeros: empty
    _Atomic uint64_t count, sum, bucket[HS_AMOUNT_BUCKETS]; // each by itself, not cumulative
} hs_amounts;
void hs_amounts_add(hs_amounts *a, int64_t n);

#endif

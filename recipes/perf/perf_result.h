// perf_result: what a load comes to - requests a second, percentiles, failures by kind - and the search for the highest rate a server
// bears.
#ifndef HS_RECIPES_PERF_RESULT_H
#define HS_RECIPES_PERF_RESULT_H
#include "recipes/perf/perf_load.h"

// Percentiles that are told. Value p of n is the smallest that p percent of them are not above (nearest rank).
enum { HS_PERF_PERCENTILES = 5 };
extern const double hs_perf_percentiles[HS_PERF_PERCENTILES]; // 50 90 95 99 99.9
typedef struct hs_perf_spread {                               // of seconds; all 0 where there are none
    int64_t n;
    double mean, most, at[HS_PERF_PERCENTILES];
} hs_perf_spread;
hs_perf_spread hs_perf_spread_of(double *seconds, int64_t n); // sorts
void hs_perf_sort(double *v, int64_t n);
double hs_perf_percentile(const double *sorted, int64_t n, double p);

typedef struct hs_perf_result {
    int64_t concurrency; // of a closed loop, else 0
    double rate;         // of an open one, else 0
    double seconds;      // that were measured
    int64_t requests, answered, failed[HS_N_FATES];
    int64_t n_status[600];                                        // failures of HS_FATE_STATUS by status
    double per_second, items_per_second;                          // answered
    hs_perf_spread latency, first, gap;                           // of those answered; of streams: to the first token, between tokens
    double tokens_per_second, send_mean, wait_mean, receive_mean; // seconds: until all was sent; to the first byte; to the last
    double judged;  // the percentile of latency that is judged, in seconds (of a shape's percentile 0: the mean)
    int64_t waited; // requests for whose start no connection was free
    double late;    // the 99th percentile of how much later than meant the client itself sent, where one was free
    double client_cores;
    bool stable;
    int windows;
    char failure[320];
} hs_perf_result;
hs_status hs_perf_result_of(const hs_perf_level *l, const hs_perf_shape *shape, const hs_perf_requests *r, hs_perf_result *out);
static inline int64_t hs_perf_failures(const hs_perf_result *r) { return r->requests - r->answered; }

// The highest rate at which `holds`: doubled from `first` until it does not (or halved until it does), then bisected until both ends are
// within `share` of one another. 0: none down to first/64. Runs in *tried.
typedef hs_status hs_perf_holds_fn(void *user, double rate, bool *holds);
hs_status hs_perf_knee(double first, double share, hs_perf_holds_fn *holds, void *user, double *knee, int *tried);

#endif

// perf_report: results for people, as JSON, as perf_analyzer's CSV, as a picture.
#ifndef HS_RECIPES_PERF_REPORT_H
#define HS_RECIPES_PERF_REPORT_H
#include "recipes/perf/perf_make.h"
#include "recipes/perf/perf_result.h"

// What a server of Triton's protocol counts of itself (GET /v2/models/stats), summed over its models; there false: it does not.
typedef struct hs_perf_counts_of {
    bool there;
    double requests, queue, compute_input, compute_infer, compute_output; // nanoseconds of the requests that succeeded
} hs_perf_counts_of;
hs_perf_counts_of hs_perf_server_counts(const hs_perf_server *s);

typedef struct hs_perf_row { // of one level
    hs_perf_result r;
    hs_perf_counts_of before, behind;
    bool probe, holds; // of the search for a knee
} hs_perf_row;
void hs_perf_print_heading(const hs_perf_requests *q, const hs_perf_shape *shape);
void hs_perf_print_row(const hs_perf_requests *q, const hs_perf_row *row);
void hs_perf_print_json(const hs_perf_requests *q, const hs_perf_row *row);
hs_status hs_perf_write_csv(const char *path, const hs_perf_row *row, int n); // columns and order of perf_analyzer -f
// Percentiles of latency over what was offered. UNSUPPORTED without libpng.
hs_status hs_perf_write_plot(const char *path, const char *title, const hs_perf_row *row, int n);

#endif

// perf_report: one table of figures, in four forms.
#include "recipes/perf/perf_report.h"
#include "data/report/metrics.h"
#include "recipes/program/cli.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const percentile_names[HS_PERF_PERCENTILES] = { "p50", "p90", "p95", "p99", "p99.9" };

// ---- what the server counts

static double stat(const json_t *stats, const char *name, const char *what)
{
    return (double)json_integer_value(json_object_get(json_object_get(stats, name), what));
}

hs_perf_counts_of hs_perf_server_counts(const hs_perf_server *s)
{
    hs_perf_counts_of c = { 0 };
    int status;
    char *answer;
    if (hs_perf_ask(s, "GET", "/v2/models/stats", NULL, 5, &status, &answer) != HS_OK)
        return c;
    json_t *j = status == 200 ? json_loads(answer, 0, NULL) : NULL;
    const json_t *models = json_object_get(j, "model_stats");
    c.there = json_is_array(models);
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *v = json_object_get(json_array_get(models, i), "inference_stats");
        c.requests += stat(v, "success", "count");
        c.queue += stat(v, "queue", "ns");
        c.compute_input += stat(v, "compute_input", "ns");
        c.compute_infer += stat(v, "compute_infer", "ns");
        c.compute_output += stat(v, "compute_output", "ns");
    }
    json_decref(j);
    free(answer);
    return c;
}

// ---- for people

void hs_perf_print_heading(const hs_perf_requests *q, const hs_perf_shape *shape)
{
    printf("%11s  %9s", shape->concurrency ? "concurrency" : "rate/s", "answers/s");
    printf(q->stream ? "  %8s" : q->items > 1 ? "  %8s" : "", q->stream ? "tokens/s" : "texts/s");
    for (int i = 0; i < HS_PERF_PERCENTILES; i++)
        printf("  %7s ms", percentile_names[i]);
    if (q->stream)
        printf("  %8s  %8s  %8s  %8s", "first", "its p99", "between", "its p99");
    printf("  %6s  %6s\n", "failed", "client");
}

static double ms(double seconds) { return 1e3 * seconds; }

void hs_perf_print_row(const hs_perf_requests *q, const hs_perf_row *row)
{
    const hs_perf_result *r = &row->r;
    if (r->concurrency)
        printf("%11lld", (long long)r->concurrency);
    else
        printf("%11.2f", r->rate);
    printf("  %9.2f", r->per_second);
    if (q->stream || q->items > 1)
        printf("  %8.1f", q->stream ? r->tokens_per_second : r->items_per_second);
    for (int i = 0; i < HS_PERF_PERCENTILES; i++)
        printf("  %10.2f", ms(r->latency.at[i]));
    if (q->stream)
        printf("  %8.2f  %8.2f  %8.2f  %8.2f", ms(r->first.at[0]), ms(r->first.at[3]), ms(r->gap.at[0]), ms(r->gap.at[3]));
    printf("  %6lld  %5.0f%%%s%s\n", (long long)hs_perf_failures(r), 100 * r->client_cores, r->stable ? "" : "  not stable",
           row->probe ? row->holds ? "  holds" : "  too much" : "");
    fflush(stdout);
}

// ---- JSON

static void add_spread(json_t *o, const char *prefix, const hs_perf_spread *s)
{
    char key[64];
    if (s->n == 0)
        return;
    snprintf(key, sizeof key, "%smean_ms", prefix);
    json_object_set_new(o, key, hs_line_real(ms(s->mean)));
    for (int i = 0; i < HS_PERF_PERCENTILES; i++) {
        snprintf(key, sizeof key, "%s%s_ms", prefix, percentile_names[i]);
        json_object_set_new(o, key, hs_line_real(ms(s->at[i])));
    }
    snprintf(key, sizeof key, "%smax_ms", prefix);
    json_object_set_new(o, key, hs_line_real(ms(s->most)));
}

static json_t *errors(const hs_perf_result *r)
{
    json_t *e = json_object();
    for (int i = HS_FATE_CONNECT; i < HS_N_FATES; i++)
        if (r->failed[i] && i != HS_FATE_STATUS)
            json_object_set_new(e, hs_perf_fates[i], json_integer(r->failed[i]));
    for (int i = 0; i < HS_COUNT(r->n_status); i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", i);
        if (r->n_status[i])
            json_object_set_new(e, key, json_integer(r->n_status[i]));
    }
    return e;
}

void hs_perf_print_json(const hs_perf_requests *q, const hs_perf_row *row)
{
    const hs_perf_result *r = &row->r;
    json_t *o = json_pack("{s:s}", "event", row->probe ? "probe" : "level");
    if (r->concurrency)
        json_object_set_new(o, "concurrency", json_integer(r->concurrency));
    else
        json_object_set_new(o, "rate", hs_line_real(r->rate));
    json_object_set_new(o, "seconds", hs_line_real(r->seconds));
    json_object_set_new(o, "requests", json_integer(r->requests));
    json_object_set_new(o, "answered", json_integer(r->answered));
    json_object_set_new(o, "failed", json_integer(hs_perf_failures(r)));
    json_object_set_new(o, "errors", errors(r));
    json_object_set_new(o, "requests_per_second", hs_line_real(r->per_second));
    json_object_set_new(o, "texts", json_integer(q->items));
    json_object_set_new(o, "texts_per_second", hs_line_real(r->items_per_second));
    add_spread(o, "", &r->latency);
    if (q->stream) {
        json_object_set_new(o, "tokens_per_second", hs_line_real(r->tokens_per_second));
        add_spread(o, "first_token_", &r->first);
        add_spread(o, "between_tokens_", &r->gap);
    }
    json_object_set_new(o, "waited", json_integer(r->waited));
    json_object_set_new(o, "late_p99_ms", hs_line_real(ms(r->late)));
    json_object_set_new(o, "client_cores", hs_line_real(r->client_cores));
    json_object_set_new(o, "windows", json_integer(r->windows));
    json_object_set_new(o, "stable", json_boolean(r->stable));
    if (row->probe)
        json_object_set_new(o, "holds", json_boolean(row->holds));
    hs_line_print(o);
}

// ---- CSV

typedef struct by_rate {
    double per_second;
    int row;
} by_rate;

static int ascending(const void *a, const void *b)
{
    const double x = ((const by_rate *)a)->per_second, y = ((const by_rate *)b)->per_second;
    return (x > y) - (x < y);
}

static void csv_row(FILE *f, const hs_perf_row *row)
{
    const hs_perf_result *r = &row->r;
    const hs_perf_counts_of *a = &row->before, *b = &row->behind;
    const double n = b->there && b->requests > a->requests ? 1e3 * (b->requests - a->requests) : 0; // ns to us, a request
    const double queue = n ? (b->queue - a->queue) / n : 0, input = n ? (b->compute_input - a->compute_input) / n : 0;
    const double infer = n ? (b->compute_infer - a->compute_infer) / n : 0, output = n ? (b->compute_output - a->compute_output) / n : 0;
    const double send = 1e6 * r->send_mean, receive = 1e6 * r->receive_mean;
    const double network = 1e6 * r->latency.mean - send - receive - queue - input - infer - output;
    fprintf(f, r->concurrency ? "%.0f" : "%g", r->concurrency ? (double)r->concurrency : r->rate);
    fprintf(f, ",%g,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f", r->items_per_second, send, network > 0 ? network : 0, queue, input, infer, output,
            receive);
    for (int i = 0; i < 4; i++) // perf_analyzer's, and p99.9 behind them
        fprintf(f, ",%.0f", 1e6 * r->latency.at[i]);
    fprintf(f, ",%.0f\n", 1e6 * r->latency.at[4]);
}

hs_status hs_perf_write_csv(const char *path, const hs_perf_row *row, int n)
{
    by_rate *order = malloc((size_t)(n ? n : 1) * sizeof *order);
    FILE *f = order ? fopen(path, "w") : NULL;
    if (!f) {
        free(order);
        return HS_FAIL(SYSTEM, "%s cannot be written: %s", path, strerror(errno));
    }
    for (int i = 0; i < n; i++)
        order[i] = (by_rate){ row[i].r.per_second, i };
    qsort(order, (size_t)n, sizeof *order, ascending);
    fprintf(
        f,
        "%s,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,Server Compute "
        "Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,p99.9 latency\n",
        n && !row[0].r.concurrency ? "Request Rate" : "Concurrency");
    for (int i = 0; i < n; i++)
        csv_row(f, &row[order[i].row]);
    free(order);
    const bool good = !ferror(f);
    return fclose(f) == 0 && good ? HS_OK : HS_FAIL(SYSTEM, "%s cannot be written: %s", path, strerror(errno));
}

// ---- picture

static int by_offer(const void *a, const void *b)
{
    const hs_perf_result *x = &((const hs_perf_row *)a)->r, *y = &((const hs_perf_row *)b)->r;
    const double p = x->concurrency ? (double)x->concurrency : x->rate, q = y->concurrency ? (double)y->concurrency : y->rate;
    return (p > q) - (p < q);
}

hs_status hs_perf_write_plot(const char *path, const char *title, const hs_perf_row *row, int n)
{
    hs_perf_row *sorted = malloc((size_t)n * sizeof *sorted);
    double *v = malloc((size_t)n * (HS_PERF_PERCENTILES + 1) * sizeof *v);
    hs_curve curve[HS_PERF_PERCENTILES + 1];
    hs_status st = sorted && v ? HS_OK : HS_FAIL(MEMORY, "no memory for a picture");
    if (st == HS_OK) {
        memcpy(sorted, row, (size_t)n * sizeof *sorted);
        qsort(sorted, (size_t)n, sizeof *sorted, by_offer);
        for (int i = 0; i < n; i++)
            v[i] = sorted[i].r.concurrency ? (double)sorted[i].r.concurrency : sorted[i].r.rate;
        for (int k = 0; k < HS_PERF_PERCENTILES; k++) {
            double *y = v + (k + 1) * n;
            for (int i = 0; i < n; i++)
                y[i] = ms(sorted[i].r.latency.at[k]);
            curve[k] = (hs_curve){ percentile_names[k], v, y, n };
        }
        st = hs_plot_png(path, title, sorted[0].r.concurrency ? "requests at once" : "requests a second", "latency, ms", curve,
                         HS_PERF_PERCENTILES);
    }
    free(sorted);
    free(v);
    return st;
}

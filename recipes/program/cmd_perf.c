// perf: a load on a server of HTTP/1.1, and what it bears.
#include "core/base/log.h"
#include "data/report/metrics.h"
#include "recipes/perf/perf_child.h"
#include "recipes/perf/perf_report.h"
#include "recipes/program/commands.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct perf_options {
    hs_common common;
    int route, arrivals;
    hs_ints concurrency;
    hs_reals rate;
    double bound, seconds, warmup, window, stability, percentile, timeout;
    int64_t requests, trials, batch, tokens, seed, connections;
    bool keep_alive, base64;
    hs_string model, lengths, texts, path, body, content_type, header, csv, plot, serve;
} perf_options;

typedef struct perf {
    const perf_options *o;
    const hs_cli *cli;
    hs_perf_server server;
    hs_perf_requests requests;
    hs_perf_shape shape;
    hs_perf_row *row; // [n]
    int n, room;
    bool quiet_heading;
} perf;

// "8-128" or "16".
static hs_status read_lengths(const char *text, int64_t *least, int64_t *most)
{
    char behind;
    long long a, b;
    const int n = sscanf(text, "%lld-%lld%c", &a, &b, &behind);
    if (n == 1 && strspn(text, "0123456789") == strlen(text))
        b = a;
    else if (n != 2)
        a = 0;
    if (a < 1 || b < a || b > 100000)
        return HS_FAIL(USAGE, "--lengths: '%s' is not words of a text, as in 16 or 8-128", text);
    *least = a, *most = b;
    return HS_OK;
}

static hs_status check(const hs_cli *cli)
{
    const perf_options *o = cli->options;
    const bool rate = o->rate.n > 0, path = *o->path;
    if (rate && o->concurrency.n)
        return HS_FAIL(USAGE, "--concurrency is of a closed loop and --rate of an open one: one of them");
    if (o->bound > 0 && (o->concurrency.n || o->rate.n > 1))
        return HS_FAIL(USAGE, "--bound looks for a rate: it takes one --rate to begin with, and no --concurrency");
    if (hs_cli_given(cli, "seconds") && hs_cli_given(cli, "requests"))
        return HS_FAIL(USAGE, "--seconds or --requests, not both");
    if (path && hs_cli_given(cli, "route"))
        return HS_FAIL(USAGE, "--path is a request of its own: without --route");
    if (path && *o->path != '/')
        return HS_FAIL(USAGE, "--path: '%s' does not begin with /", o->path);
    if (!path && (*o->body || hs_cli_given(cli, "content-type")))
        return HS_FAIL(USAGE, "--body and --content-type are of --path");
    if (*o->header && (!strchr(o->header, ':') || strpbrk(o->header, "\r\n")))
        return HS_FAIL(USAGE, "--header: '%s' is not 'Name: value'", o->header);
    if (*o->texts && hs_cli_given(cli, "lengths"))
        return HS_FAIL(USAGE, "--texts has texts of their own lengths: without --lengths");
    if (hs_cli_given(cli, "tokens") && (path || o->route != HS_ROUTE_COMPLETIONS))
        return HS_FAIL(USAGE, "--tokens is of --route completions");
    if (o->route == HS_ROUTE_COMPLETIONS && !path && o->batch > 1)
        return HS_FAIL(USAGE, "--batch: one prompt a request, of completions");
    if (*o->plot && !hs_plot_available())
        return HS_FAIL(UNSUPPORTED, "--plot: this build has no libpng");
    for (int i = 0; i < o->concurrency.n; i++)
        if (o->concurrency.v[i] < 1 || o->concurrency.v[i] > 10000)
            return HS_FAIL(USAGE, "--concurrency: %lld is not 1 to 10000", (long long)o->concurrency.v[i]);
    for (int i = 0; i < o->rate.n; i++)
        if (!(o->rate.v[i] >= 0.001 && o->rate.v[i] <= 1e6))
            return HS_FAIL(USAGE, "--rate: %g is not 0.001 to 1e6", o->rate.v[i]);
    return HS_OK;
}

static hs_perf_shape shape_of(const perf_options *o, bool open)
{
    const double percentile = o->percentile > 0 ? o->percentile : o->bound > 0 ? 99 : 0;
    return (hs_perf_shape){ .concurrency = open ? 0 : 1,
                            .poisson = o->arrivals == 0,
                            .connections = o->connections,
                            .seed = (uint64_t)o->seed,
                            .keep_alive = o->keep_alive,
                            .timeout = o->timeout,
                            .warmup = o->warmup,
                            .seconds = o->seconds,
                            .requests = o->requests,
                            .window = o->window,
                            .stability = o->stability / 100,
                            .trials = (int)o->trials,
                            .percentile = percentile };
}

// One level, measured and told. Where this process had no time left, its figures would be those of the client.
static hs_status measure(perf *p, hs_perf_row *row)
{
    hs_perf_level level;
    row->before = hs_perf_server_counts(&p->server);
    hs_status st = hs_perf_load(&p->server, &p->requests, &p->shape, &level);
    if (st == HS_OK)
        st = hs_perf_result_of(&level, &p->shape, &p->requests, &row->r);
    hs_perf_level_free(&level);
    if (st != HS_OK)
        return st;
    row->behind = hs_perf_server_counts(&p->server);
    const hs_perf_result *r = &row->r;
    if (r->client_cores > 0.95)
        return HS_FAIL(SYSTEM, "at %s %g the client was the limit, not the server: its thread used %.0f %% of a core",
                       r->concurrency ? "concurrency" : "rate", r->concurrency ? (double)r->concurrency : r->rate, 100 * r->client_cores);
    if (r->requests == 0)
        return HS_FAIL(SYSTEM, "no request ended in the time measured: --seconds %g, --timeout %g", p->shape.seconds, p->shape.timeout);
    return HS_OK;
}

static hs_status keep(perf *p, const hs_perf_row *row)
{
    if (p->n == p->room) {
        const int room = 2 * p->room + 16;
        hs_perf_row *more = realloc(p->row, (size_t)room * sizeof *more);
        if (!more)
            return HS_FAIL(MEMORY, "no memory for %d results", room);
        p->row = more, p->room = room;
    }
    if (p->o->common.json)
        hs_perf_print_json(&p->requests, row);
    else {
        if (p->n == 0)
            hs_perf_print_heading(&p->requests, &p->shape);
        hs_perf_print_row(&p->requests, row);
    }
    if (hs_perf_failures(&row->r) > 0)
        hs_warn("%lld of %lld requests failed; the first: %s", (long long)hs_perf_failures(&row->r), (long long)row->r.requests,
                row->r.failure);
    if (row->r.late > 0.001 && row->r.late > 0.1 * row->r.latency.at[0])
        hs_warn("1 in 100 requests began %.1f ms late, since this machine had no core for the client: its latencies hold that",
                1e3 * row->r.late);
    p->row[p->n++] = *row;
    return HS_OK;
}

static hs_status holds(void *user, double rate, bool *good)
{
    perf *p = user;
    hs_perf_row row = { .probe = true };
    p->shape.rate = rate;
    HS_TRY(measure(p, &row));
    *good = row.holds = hs_perf_failures(&row.r) == 0 && row.r.judged <= 1e-3 * p->o->bound;
    return keep(p, &row);
}

static hs_status find_knee(perf *p)
{
    double knee;
    int tried;
    HS_TRY(hs_perf_knee(p->o->rate.n ? p->o->rate.v[0] : 8, 0.05, holds, p, &knee, &tried));
    if (p->o->common.json)
        hs_line_print(json_pack("{s:s,s:f,s:f,s:f,s:i}", "event", "knee", "rate", knee, "bound_ms", p->o->bound, "percentile",
                                p->shape.percentile, "tried", tried));
    else if (knee > 0)
        printf("\n%.2f requests a second, with p%g at most %g ms\n", knee, p->shape.percentile, p->o->bound);
    else
        printf("\nno rate that was tried has a p%g of at most %g ms\n", p->shape.percentile, p->o->bound);
    return HS_OK;
}

static hs_status sweep(perf *p)
{
    const perf_options *o = p->o;
    const int n = o->rate.n ? o->rate.n : o->concurrency.n ? o->concurrency.n : 1;
    if (o->bound > 0)
        return find_knee(p);
    for (int i = 0; i < n; i++) {
        hs_perf_row row = { 0 };
        p->shape.rate = o->rate.n ? o->rate.v[i] : 0;
        p->shape.concurrency = o->rate.n ? 0 : o->concurrency.n ? o->concurrency.v[i] : 1;
        HS_TRY(measure(p, &row));
        HS_TRY(keep(p, &row));
    }
    return HS_OK;
}

static hs_status is_there(const hs_perf_server *s)
{
    int status;
    char *answer;
    HS_TRY(hs_perf_ask(s, "GET", "/v2/health/live", NULL, 10, &status, &answer));
    free(answer);
    return HS_OK; // whatever it says
}

static hs_status run_on(perf *p, const char *url)
{
    const perf_options *o = p->o;
    hs_perf_want w = { .route = *o->path ? HS_ROUTE_PATH : (hs_perf_route)o->route,
                       .model = o->model,
                       .path = o->path,
                       .body = o->body,
                       .content_type = o->content_type,
                       .header = o->header,
                       .texts = o->texts,
                       .items = *o->path ? 1 : o->batch,
                       .tokens = o->tokens,
                       .base64 = o->base64,
                       .seed = (uint64_t)o->seed };
    HS_TRY(read_lengths(o->lengths, &w.least, &w.most));
    HS_TRY(hs_perf_server_find(&p->server, url));
    HS_TRY(is_there(&p->server));
    HS_TRY(hs_perf_requests_make(&p->server, &w, &p->requests));
    HS_TRY(sweep(p));
    if (*o->csv)
        HS_TRY(hs_perf_write_csv(o->csv, p->row, p->n));
    if (*o->plot) {
        char title[160], of[64];
        const size_t n = strlen(p->cli->arg[0]); // the end of a path says which model it is
        snprintf(of, sizeof of, "%s", p->cli->arg[0] + (n < sizeof of ? 0 : n - sizeof of + 1));
        snprintf(title, sizeof title, "%s, %.60s", of, *o->path ? o->path : hs_perf_route_paths[o->route]);
        HS_TRY(hs_perf_write_plot(o->plot, title, p->row, p->n));
    }
    for (int i = 0; i < p->n; i++)
        if (p->row[i].r.answered == 0)
            return HS_FAIL(SYSTEM, "no request was answered as it should: %s", p->row[i].r.failure);
    return HS_OK;
}

static hs_status run_perf(const hs_cli *cli)
{
    const perf_options *o = cli->options;
    struct stat st;
    char url[320];
    perf p = { .o = o, .cli = cli, .shape = shape_of(o, o->rate.n || o->bound > 0) };
    hs_perf_child child = { 0 };
    HS_TRY(check(cli));
    const bool own = stat(cli->arg[0], &st) == 0;
    if (!own && *o->serve)
        return HS_FAIL(USAGE, "--serve is of a server that this command starts: there is no %s", cli->arg[0]);
    hs_status done = own ? hs_perf_child_start(&child, cli->arg[0], o->serve, 600, url, sizeof url) : HS_OK;
    if (done == HS_OK)
        done = run_on(&p, own ? url : cli->arg[0]);
    if (own && done == HS_OK)
        done = hs_perf_child_end(&child);
    else if (own) { // the first error is the one to tell
        char first[512];
        snprintf(first, sizeof first, "%s", hs_error());
        hs_perf_child_end(&child);
        done = hs_fail_at(done, __FILE__, __LINE__, "%s", first);
    }
    hs_perf_requests_free(&p.requests);
    free(p.row);
    return done;
}

#define AT(field) .offset = offsetof(perf_options, field)
static const hs_key keys[] = {
    { .name = "route",
      .type = HS_KEY_CHOICE,
      AT(route),
      .value = "embed",
      .choices = HS_PERF_ROUTES,
      .help = "what is asked: POST /embed or /predict (text-embeddings-inference), /ner, /v1/embeddings or streamed /v1/completions "
              "(OpenAI), infer (Open "
              "Inference Protocol, "
              "tensors as bytes)" },
    { .name = "model", .type = HS_KEY_STRING, AT(model), .value = "", .help = "its name; default: the first of GET /v1/models" },
    { .name = "concurrency",
      .type = HS_KEY_INTS,
      AT(concurrency),
      .value = "",
      .help = "closed loop: so many requests at once, each level by itself: 1,2,4,8; default: 1" },
    { .name = "rate",
      .type = HS_KEY_REALS,
      AT(rate),
      .value = "",
      .unit = "requests/s",
      .help = "open loop: requests come at times of their own, and latency counts from then: 10,20,40" },
    { .name = "arrivals",
      .type = HS_KEY_CHOICE,
      AT(arrivals),
      .value = "poisson",
      .choices = "poisson|constant",
      .help = "of an open loop" },
    { .name = "bound",
      .type = HS_KEY_REAL,
      AT(bound),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .unit = "ms",
      .help = "find the highest rate with this latency at most (--percentile, of itself 99), by doubling and bisection" },
    { .name = "lengths",
      .type = HS_KEY_STRING,
      AT(lengths),
      .value = "8-128",
      .help = "words of a text, drawn evenly from a range: 16 or 8-128" },
    { .name = "texts", .type = HS_KEY_STRING, AT(texts), .value = "", .help = "texts a line each, drawn at random, instead of words" },
    { .name = "batch", .type = HS_KEY_INT, AT(batch), .value = "1", .min = 1, .max = 2048, .unit = "texts", .help = "in each request" },
    { .name = "tokens",
      .type = HS_KEY_INT,
      AT(tokens),
      .value = "64",
      .min = 1,
      .max = 1e6,
      .unit = "tokens",
      .help = "that a completion adds" },
    { .name = "seconds",
      .type = HS_KEY_REAL,
      AT(seconds),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .unit = "s",
      .help = "measured at each level" },
    { .name = "requests",
      .type = HS_KEY_INT,
      AT(requests),
      .value = "0",
      .min = 0,
      .max = 1e9,
      .help = "measured at each level; default, without --seconds too: windows until three agree" },
    { .name = "window", .type = HS_KEY_REAL, AT(window), .value = "5", .min = 0.05, .max = 3600, .unit = "s", .help = "of those windows" },
    { .name = "stability",
      .type = HS_KEY_REAL,
      AT(stability),
      .value = "10",
      .min = 0.1,
      .max = 1000,
      .unit = "%",
      .help = "by which three windows in a row may differ, in requests/s and latency" },
    { .name = "trials", .type = HS_KEY_INT, AT(trials), .value = "10", .min = 3, .max = 10000, .unit = "windows", .help = "at most" },
    { .name = "percentile",
      .type = HS_KEY_REAL,
      AT(percentile),
      .value = "0",
      .min = 0,
      .max = 100,
      .help = "of latency, that windows and --bound are judged by; 0: the mean" },
    { .name = "warmup", .type = HS_KEY_REAL, AT(warmup), .value = "1", .min = 0, .max = 3600, .unit = "s", .help = "before each level" },
    { .name = "timeout",
      .type = HS_KEY_REAL,
      AT(timeout),
      .value = "60",
      .min = 0.01,
      .max = 86400,
      .unit = "s",
      .help = "of a request, from when it was due" },
    { .name = "connections",
      .type = HS_KEY_INT,
      AT(connections),
      .value = "512",
      .min = 1,
      .max = 10000,
      .help = "of an open loop at most",
      .advanced = true },
    { .name = "keep-alive",
      .type = HS_KEY_BOOL,
      AT(keep_alive),
      .value = "true",
      .help = "else a connection for each request",
      .advanced = true },
    { .name = "path",
      .type = HS_KEY_STRING,
      AT(path),
      .value = "",
      .help = "any other request: POST this path with --body, or GET it without" },
    { .name = "body", .type = HS_KEY_STRING, AT(body), .value = "", .help = "a file, for --path" },
    { .name = "content-type", .type = HS_KEY_STRING, AT(content_type), .value = "application/json", .help = "of --body" },
    { .name = "header",
      .type = HS_KEY_STRING,
      AT(header),
      .value = "",
      .help = "one more line of a request's head: 'Authorization: Bearer KEY'" },
    { .name = "base64", .type = HS_KEY_BOOL, AT(base64), .value = "false", .help = "encoding_format of --route embeddings" },
    { .name = "serve",
      .type = HS_KEY_STRING,
      AT(serve),
      .value = "",
      .help = "options for the server that is started for DIR: '--serve=--threads 1'" },
    { .name = "csv", .type = HS_KEY_STRING, AT(csv), .value = "", .help = "a file with the columns of perf_analyzer, microseconds" },
    { .name = "plot", .type = HS_KEY_STRING, AT(plot), .value = "", .help = "a picture (PNG): percentiles of latency by level" },
    { .name = "seed", .type = HS_KEY_INT, AT(seed), .value = "1", .min = 0, .max = 1e9, .help = "of texts and arrivals", .advanced = true },
    HS_COMMON_KEYS(perf_options),
};
static const hs_schema schema = HS_SCHEMA(keys, perf_options);

const hs_command hs_cmd_perf = {
    .name = "perf",
    .arguments = "URL|DIR",
    .summary = "measure a server: requests a second, percentiles of latency, the highest rate within a bound",
    .examples = "halfstep perf http://127.0.0.1:8000 --concurrency 1,2,4,8,16,32\n"
                "halfstep perf http://127.0.0.1:8000 --rate 10,20,40,80 --texts questions.txt --plot latency.png\n"
                "halfstep perf path/to/minilm --bound 50 --lengths 8-128 --seconds 10\n"
                "halfstep perf http://127.0.0.1:8000 --route embeddings --batch 16 --concurrency 32 --csv perf.csv\n"
                "halfstep perf http://127.0.0.1:8000 --route completions --tokens 64 --concurrency 8 --json\n"
                "halfstep perf http://127.0.0.1:8080 --path /v1/rank --body request.json --rate 50",
    .notes =
        "URL is http://HOST:PORT, with a path in front of all others where there is one; https is refused. DIR is a model: a server of it\n"
        "is started on a free port and ended behind the measurement.\n"
        "Of a closed loop requests count that end in the time measured; of an open one, and with --requests, those that were due in it, "
        "with all\n"
        "that they waited: for the server, and for one of --connections. p99 is the smallest latency that 99 of 100 are not above.\n"
        "A request fails that gets no connection, no whole answer in time, another status than 2xx, or a stream without its end; failures "
        "have no\n"
        "latency. client is the share of a core that this process used: above 95 % there is no result, for the server was not its limit.\n"
        "With --json a line a level: requests_per_second, texts_per_second, p50_ms ... p99.9_ms, errors by kind, of streams "
        "first_token_p50_ms,\n"
        "between_tokens_p50_ms, tokens_per_second; of --bound also a line with event knee.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_perf,
};

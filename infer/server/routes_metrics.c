// routes_metrics: what was counted, in Prometheus' text format, under the names that people scrape: Triton's nv_inference_* (of each model,
// durations as counters of microseconds), TEI's te_* (metrics_tei.c), and histograms by stage, which Triton has not.
#include "infer/server/metrics_text.h"
#include "infer/server/routes.h"
#include "infer/server/server.h"
#include <inttypes.h>
#include <stdio.h>

static uint64_t read(const _Atomic uint64_t *x) { return atomic_load_explicit(x, memory_order_relaxed); }
static uint64_t microseconds(const hs_latency *l) { return read(&l->sum_ns) / 1000; }

// ---- a value for each model: rows of a table, so that each name is told once, with all models below it

typedef struct row {
    const char *name, *type, *help;
    uint64_t (*value)(const hs_served *m);
    size_t sum; // where there is none: in hs_served_sums
} row;

static hs_scheduler_stats texts_of(const hs_served *m)
{
    hs_scheduler_stats s = { 0 };
    if (m->schedulers)
        hs_schedulers_look(m->schedulers, &s);
    return s;
}

static uint64_t success(const hs_served *m) { return read(&m->count->success); }
static uint64_t texts(const hs_served *m) { return read(&m->count->texts); }
static uint64_t pending(const hs_served *m)
{
    const hs_scheduler_stats s = texts_of(m);
    return m->batcher ? (uint64_t)atomic_load(&hs_batcher_counted(m->batcher)->waiting) : (uint64_t)(s.running + s.waiting);
}
static uint64_t running(const hs_served *m) { return (uint64_t)texts_of(m).running; }
static uint64_t waiting(const hs_served *m) { return (uint64_t)texts_of(m).waiting; }
static hs_sequence_stats sequences_of(const hs_served *m)
{
    return m->sequences ? hs_sequence_table_look(m->sequences) : (hs_sequence_stats){ 0 };
}
static uint64_t sequences(const hs_served *m) { return (uint64_t)sequences_of(m).live; }
static uint64_t pages(const hs_served *m) { return (uint64_t)texts_of(m).pages; }
static uint64_t pages_held(const hs_served *m) { return (uint64_t)texts_of(m).pages_held; }
static uint64_t pages_kept(const hs_served *m) { return (uint64_t)texts_of(m).pages_kept; }
static uint64_t request_us(const hs_served *m) { return microseconds(&m->count->request); }
static uint64_t queue_us(const hs_served *m) { return microseconds(&m->count->queue); }
static uint64_t input_us(const hs_served *m) { return microseconds(&m->count->input); }
static uint64_t infer_us(const hs_served *m) { return microseconds(&m->count->infer); }
static uint64_t hits(const hs_served *m) { return read(&m->count->cache_hit.count); }
static uint64_t misses(const hs_served *m) { return read(&m->count->cache_miss.count); }
static uint64_t hit_us(const hs_served *m) { return microseconds(&m->count->cache_hit); }
static uint64_t miss_us(const hs_served *m) { return microseconds(&m->count->cache_miss); }
static uint64_t output_us(const hs_served *m) { return microseconds(&m->count->output); }

#define SUM(member) NULL, offsetof(hs_served_sums, member)
static const row rows[] = {
    { "nv_inference_request_success", "counter", "requests that were answered", success, 0 },
    { "nv_inference_count", "counter", "texts or tensors of a batch that were computed", texts, 0 },
    { "nv_inference_exec_count", "counter", "batches that were computed", SUM(batches) },
    { "nv_inference_request_duration_us", "counter", "from the head of a request to its answer, summed", request_us, 0 },
    { "nv_inference_queue_duration_us", "counter", "waiting for the model, summed", queue_us, 0 },
    { "nv_inference_compute_input_duration_us", "counter", "parsing and tokens, summed", input_us, 0 },
    { "nv_inference_compute_infer_duration_us", "counter", "the model, summed", infer_us, 0 },
    { "nv_inference_compute_output_duration_us", "counter", "writing the answer, summed", output_us, 0 },
    { "nv_cache_num_hits_per_model", "counter", "requests all of whose rows the response cache had", hits, 0 },
    { "nv_cache_num_misses_per_model", "counter", "requests of which a row was computed", misses, 0 },
    { "nv_cache_hit_duration_per_model", "counter", "microseconds of looking up and copying out of those, summed", hit_us, 0 },
    { "nv_cache_miss_duration_per_model", "counter", "microseconds of looking up and keeping of these, summed", miss_us, 0 },
    { "nv_inference_pending_request_count", "gauge", "requests that wait or are computed", pending, 0 },
    { "halfstep_tokens_total", "counter", "tokens that were computed", SUM(tokens) },
    { "halfstep_texts_running", "gauge", "texts that are continued", running, 0 },
    { "halfstep_texts_waiting", "gauge", "texts that wait to be", waiting, 0 },
    { "halfstep_texts_set_back_total", "counter", "texts that had to make room, and were computed again", SUM(set_back) },
    { "halfstep_prompt_tokens_total", "counter", "tokens of prompts", SUM(prompt_tokens) },
    { "halfstep_new_tokens_total", "counter", "tokens that were drawn", SUM(new_tokens) },
    { "halfstep_reused_tokens_total", "counter", "tokens of prompts that had been computed for others", SUM(reused_tokens) },
    { "halfstep_sequences", "gauge", "sequences that live from one request to the next", sequences, 0 },
    { "halfstep_sequences_started_total", "counter", "sequences that were started", SUM(sequences_started) },
    { "halfstep_sequences_idle_total", "counter", "sequences that ended because nobody asked on", SUM(sequences_idle) },
    { "halfstep_cache_pages", "gauge", "pages of keys and values", pages, 0 },
    { "halfstep_cache_pages_held", "gauge", "pages that texts hold", pages_held, 0 },
    { "halfstep_cache_pages_kept", "gauge", "pages that are kept for texts that begin alike", pages_kept, 0 },
};

typedef struct page {
    hs_text t;
    const row *row;
    const char *stage;
    size_t latency; // offset in hs_served_count
} page;

static void add_value(const hs_hub_entry *e, void *user)
{
    page *p = user;
    if (!e->served)
        return;
    hs_text_add(&p->t, "%s", p->row->name);
    hs_metrics_labels(&p->t, e->served);
    const bool computes = e->served->ensemble && p->row->sum == offsetof(hs_served_sums, batches); // an ensemble's requests are its runs
    const uint64_t sum = computes ? success(e->served) : *(const uint64_t *)(const void *)((const char *)&e->sums + p->row->sum);
    hs_text_add(&p->t, "} %" PRIu64 "\n", p->row->value ? p->row->value(e->served) : sum);
}

static void add_failures(const hs_hub_entry *e, void *user)
{
    page *p = user;
    for (int i = 0; e->served && i < HS_REASONS; i++) {
        hs_text_add(&p->t, "nv_inference_request_failure");
        hs_metrics_labels(&p->t, e->served);
        hs_text_add(&p->t, ",reason=\"%s\"} %" PRIu64 "\n", hs_served_reasons[i], read(&e->served->count->failure[i]));
    }
}

static void add_load(const hs_hub_entry *e, void *user)
{
    page *p = user;
    if (!e->served)
        return;
    hs_text_add(&p->t, "nv_model_load_duration_secs");
    hs_metrics_labels(&p->t, e->served);
    hs_text_add(&p->t, "} %.6f\n", e->served->load_seconds);
}

static void add_histogram(const hs_hub_entry *e, void *user)
{
    page *p = user;
    if (!e->served)
        return;
    char stage[40];
    snprintf(stage, sizeof stage, ",stage=\"%s\"", p->stage);
    hs_metrics_seconds(&p->t, "halfstep_request_seconds", e->served, stage,
                       (const hs_latency *)((const char *)e->served->count + p->latency));
}

static const struct {
    const char *name;
    size_t offset;
} stages[] = {
    { "all", offsetof(hs_served_count, request) },     { "input", offsetof(hs_served_count, input) },
    { "queue", offsetof(hs_served_count, queue) },     { "model", offsetof(hs_served_count, infer) },
    { "output", offsetof(hs_served_count, output) },   { "first_token", offsetof(hs_served_count, first) },
    { "next_token", offsetof(hs_served_count, next) },
};

static void add_cache(hs_text *t, hs_row_cache *cache)
{
    const hs_row_cache_stats s = hs_row_cache_look(cache);
    hs_metrics_begin(t, "nv_cache_util", "gauge", "of the response cache's bytes, from 0 to 1");
    hs_text_add(t, "nv_cache_util %.6f\n", (double)s.bytes / (double)s.most_bytes);
    hs_metrics_begin(t, "nv_cache_num_entries", "gauge", "rows that the response cache has");
    hs_text_add(t, "nv_cache_num_entries %" PRIu64 "\n", s.entries);
    hs_metrics_begin(t, "nv_cache_num_evictions", "counter", "rows that had to make room in it");
    hs_text_add(t, "nv_cache_num_evictions %" PRIu64 "\n", s.evicted);
}

static void metrics(hs_call *c)
{
    page p = { 0 };
    hs_hub *hub = c->server->hub;
    for (int i = 0; i < HS_COUNT(rows); i++) {
        p.row = &rows[i];
        hs_metrics_begin(&p.t, p.row->name, p.row->type, p.row->help);
        hs_hub_each(hub, add_value, &p);
    }
    hs_metrics_begin(&p.t, "nv_inference_request_failure", "counter", "requests that were not answered as asked");
    hs_hub_each(hub, add_failures, &p);
    hs_metrics_begin(&p.t, "nv_model_load_duration_secs", "gauge", "loading the model");
    hs_hub_each(hub, add_load, &p);
    hs_metrics_begin(&p.t, "halfstep_request_seconds", "histogram", "a request by stage");
    for (int i = 0; i < HS_COUNT(stages); i++) {
        p.stage = stages[i].name, p.latency = stages[i].offset;
        hs_hub_each(hub, add_histogram, &p);
    }
    hs_metrics_tei(&p.t, hub);
    if (c->server->cache)
        add_cache(&p.t, c->server->cache);
    hs_metrics_begin(&p.t, "halfstep_connections", "gauge", "open connections");
    hs_text_add(&p.t, "halfstep_connections %lld\n", (long long)hs_http_connections(c->server->http));
    hs_metrics_begin(&p.t, "halfstep_held_bytes", "gauge", "bodies and answers that are there");
    hs_text_add(&p.t, "halfstep_held_bytes %zu\n", hs_http_held(c->server->http));
    hs_call_send(c, "text/plain; version=0.0.4; charset=utf-8", &p.t);
}

const hs_route hs_routes_metrics[] = {
    { .method = "GET", .pattern = "/metrics", .run = metrics, .metrics = true },
    { 0 },
};

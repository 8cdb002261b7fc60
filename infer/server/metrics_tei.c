// metrics_tei: te_*, of requests to encoders by whatever route they came.
#include "infer/server/metrics_text.h"
#include <inttypes.h>

typedef struct page {
    hs_text *t;
    const char *name;
    size_t offset; // in hs_served_count, or in hs_batcher_count
} page;

static const char *const method[HS_ASKED] = { "single", "batch" };
static const char *const err[HS_REASONS] = {
    [HS_REASON_REJECTED] = "overloaded", [HS_REASON_CANCELED] = "canceled", [HS_REASON_BACKEND] = "inference", [HS_REASON_OTHER] = "validation"
};

static void add(const page *p, const hs_served *m, const char *label, const char *value, const _Atomic uint64_t *count)
{
    hs_text_add(p->t, "%s", p->name);
    hs_metrics_labels(p->t, m);
    hs_text_add(p->t, ",%s=\"%s\"} %" PRIu64 "\n", label, value, atomic_load_explicit(count, memory_order_relaxed));
}

static const hs_served *encoder(const hs_hub_entry *e) { return e->served && e->served->batcher ? e->served : NULL; }
static const void *counted(const hs_served *m, const page *p) { return (const char *)m->count + p->offset; }
static const void *of_batches(const hs_served *m, const page *p) { return (const char *)hs_batcher_counted(m->batcher) + p->offset; }

static void add_methods(const hs_hub_entry *e, void *user)
{
    const page *p = user;
    const hs_served *m = encoder(e);
    for (int i = 0; m && i < HS_ASKED; i++)
        add(p, m, "method", method[i], (const _Atomic uint64_t *)counted(m, p) + i);
}

static void add_failures(const hs_hub_entry *e, void *user)
{
    const page *p = user;
    const hs_served *m = encoder(e);
    for (int i = 0; m && i < HS_REASONS; i++)
        add(p, m, "err", err[i], &m->count->failure[i]);
}

static void add_queue(const hs_hub_entry *e, void *user)
{
    const page *p = user;
    const hs_served *m = encoder(e);
    if (!m)
        return;
    hs_text_add(p->t, "%s", p->name);
    hs_metrics_labels(p->t, m);
    hs_text_add(p->t, "} %" PRId64 "\n", atomic_load(&hs_batcher_counted(m->batcher)->waiting));
}

static void add_seconds(const hs_hub_entry *e, void *user)
{
    const page *p = user;
    const hs_served *m = encoder(e);
    if (m)
        hs_metrics_seconds(p->t, p->name, m, "", counted(m, p));
}

static void add_amounts(const hs_hub_entry *e, void *user)
{
    const page *p = user;
    const hs_served *m = encoder(e);
    if (m)
        hs_metrics_amounts(p->t, p->name, m, "", counted(m, p));
}

static void add_batches(const hs_hub_entry *e, void *user)
{
    const page *p = user;
    const hs_served *m = encoder(e);
    if (m)
        hs_metrics_amounts(p->t, p->name, m, "", of_batches(m, p));
}

static const struct {
    const char *name, *type, *help;
    size_t offset;
    void (*add)(const hs_hub_entry *e, void *page);
} rows[] = {
    { "te_request_count", "counter", "requests, of one text or of several", offsetof(hs_served_count, asked), add_methods },
    { "te_request_success", "counter", "requests that were answered", offsetof(hs_served_count, answered), add_methods },
    { "te_request_failure", "counter", "requests that were not", 0, add_failures },
    { "te_queue_size", "gauge", "requests that wait or are computed", 0, add_queue },
    { "te_request_duration", "histogram", "seconds of a request", offsetof(hs_served_count, request), add_seconds },
    { "te_request_tokenization_duration", "histogram", "seconds of parsing and tokens", offsetof(hs_served_count, input), add_seconds },
    { "te_request_queue_duration", "histogram", "seconds of waiting", offsetof(hs_served_count, queue), add_seconds },
    { "te_request_inference_duration", "histogram", "seconds in the model", offsetof(hs_served_count, infer), add_seconds },
    { "te_request_input_length", "histogram", "tokens of a row, special ones included; a long text of a task has several", offsetof(hs_served_count, length), add_amounts },
    { "te_batch_next_size", "histogram", "texts of a batch", offsetof(hs_batcher_count, batch_rows), add_batches },
    { "te_batch_next_tokens", "histogram", "tokens of a batch", offsetof(hs_batcher_count, batch_tokens), add_batches },
};

void hs_metrics_tei(hs_text *t, hs_hub *hub)
{
    for (int i = 0; i < HS_COUNT(rows); i++) {
        hs_metrics_begin(t, rows[i].name, rows[i].type, rows[i].help);
        hs_hub_each(hub, rows[i].add, &(page){ t, rows[i].name, rows[i].offset });
    }
}

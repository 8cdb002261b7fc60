// tracer: settings that stand behind one another - a model's, the server's, those of its start -, whose turn it is, and what is noted.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "infer/server/tracer_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const hs_trace_about hs_trace_abouts[HS_TRACE_KEYS] = {
#define HS_TRACE_KEY_ROW(key, name, least, most, value) { name, least, most, value },
    HS_TRACE_KEY_LIST(HS_TRACE_KEY_ROW)
#undef HS_TRACE_KEY_ROW
};
const char *const hs_trace_levels[3] = { "OFF", "TIMESTAMPS", "TENSORS" };

bool hs_trace_level_add(int64_t *level, bool any, const char *name)
{
    int i = 0;
    while (i < HS_COUNT(hs_trace_levels) && strcmp(name, hs_trace_levels[i]) != 0)
        i++;
    if (i == HS_COUNT(hs_trace_levels) || (any && (i == 0) != (*level == 0)))
        return false;
    *level |= i; // names stand by their bits
    return true;
}

// ---- settings, with the lock

static bool traces(const hs_trace_owner *e) { return e->now.of[HS_TRACE_LEVEL] && e->now.of[HS_TRACE_COUNT]; }

static void look_whether_on(hs_tracer *t)
{
    bool on = traces(&t->all);
    for (const hs_trace_owner *e = t->model; e; e = e->next)
        on = on || traces(e);
    atomic_store_explicit(&t->on, on && !t->spent, memory_order_relaxed);
}

static hs_trace_owner **find(hs_tracer *t, const char *model)
{
    hs_trace_owner **at = &t->model;
    while (*at && strcmp((*at)->name, model) != 0)
        at = &(*at)->next;
    return at;
}

static void apply(hs_trace_owner *e, const hs_trace_settings *behind, const hs_trace_change *c)
{
    e->set = (e->set | c->set) & ~c->clear;
    for (int k = 0; k < HS_TRACE_KEYS; k++) {
        const unsigned bit = 1U << k;
        if (!(e->set & bit))
            e->now.of[k] = behind->of[k];
        else if (c->set & bit)
            e->now.of[k] = c->to.of[k];
    }
    e->seen = 0;
    hs_trace_sink_let_go(e->sink);
    e->sink = NULL;
}

static void change_all(hs_tracer *t, const hs_trace_change *c)
{
    apply(&t->all, &t->start, c);
    for (hs_trace_owner *e = t->model; e; e = e->next)
        apply(e, &t->all.now, &(hs_trace_change){ .set = 0 });
}

static hs_status change_model(hs_tracer *t, const char *model, const hs_trace_change *c)
{
    hs_trace_owner **at = find(t, model), *e = *at;
    if (!e) {
        if (!(e = *at = calloc(1, sizeof *e)))
            return HS_FAIL(MEMORY, "no memory for settings of a model");
        snprintf(e->name, sizeof e->name, "%s", model);
    }
    apply(e, &t->all.now, c);
    if (!e->set) { // has nothing of its own any more
        *at = e->next;
        free(e);
    }
    return HS_OK;
}

hs_status hs_tracer_change(hs_tracer *t, const char *model, const hs_trace_change *c)
{
    hs_status st = HS_OK;
    if (!t->file && c->set & 1U << HS_TRACE_LEVEL && c->to.of[HS_TRACE_LEVEL])
        return HS_FAIL(USAGE, "trace_level: the server was started without a file for traces (--trace-file), it can be OFF alone");
    pthread_mutex_lock(&t->lock);
    if (model)
        st = change_model(t, model, c);
    else
        change_all(t, c);
    look_whether_on(t);
    pthread_mutex_unlock(&t->lock);
    return st;
}

void hs_tracer_look(hs_tracer *t, const char *model, hs_trace_settings *out)
{
    pthread_mutex_lock(&t->lock);
    const hs_trace_owner *e = model ? *find(t, model) : NULL;
    *out = e ? e->now : t->all.now;
    pthread_mutex_unlock(&t->lock);
}

const char *hs_tracer_file(const hs_tracer *t) { return t->file ? t->file : ""; }

// ---- what is held until it is written

static bool hold(hs_tracer *t, size_t *mine, size_t bytes)
{
    if (atomic_fetch_add(&t->bytes, bytes) + bytes <= HS_TRACER_BYTES) {
        *mine += bytes;
        return true;
    }
    atomic_fetch_sub(&t->bytes, bytes);
    if (!atomic_exchange(&t->said_full, true))
        hs_warn("traces wait for their file with %d MiB, as much as they may: some requests are not traced, or without their tensors",
                HS_TRACER_BYTES >> 20);
    return false;
}

static hs_traced *new_trace(hs_tracer *t, const char *model, int version, int64_t level)
{
    size_t bytes = 0;
    hs_traced *r = hold(t, &bytes, sizeof *r) ? calloc(1, sizeof *r) : NULL;
    if (!r) {
        atomic_fetch_sub(&t->bytes, bytes);
        return NULL;
    }
    r->tracer = t, r->version = version, r->level = level, r->bytes = bytes;
    r->last = &r->tensor;
    snprintf(r->model, sizeof r->model, "%s", model);
    r->ns[HS_TRACE_REQUEST_START] = hs_now_ns();
    return r;
}

// ---- whose turn it is

static hs_trace_sink *sink_of(hs_trace_owner *e)
{
    if (!e->sink && (e->sink = calloc(1, sizeof *e->sink)))
        *e->sink = (hs_trace_sink){ .holders = 1,
                                    .each = e->now.of[HS_TRACE_FREQUENCY],
                                    .numbered = e->now.of[HS_TRACE_FREQUENCY] || e->now.of[HS_TRACE_COUNT] >= 0,
                                    .file = { .fd = -1 } };
    if (e->sink)
        atomic_fetch_add(&e->sink->holders, 1);
    return e->sink;
}

static hs_traced *sample(hs_tracer *t, hs_trace_owner *e, const char *model, int version)
{
    if (!traces(e) || ++e->seen % (uint64_t)e->now.of[HS_TRACE_RATE])
        return NULL;
    hs_traced *r = new_trace(t, model, version, e->now.of[HS_TRACE_LEVEL]);
    if (!r)
        return NULL;
    if (!(r->sink = sink_of(e))) {
        atomic_fetch_sub(&t->bytes, r->bytes);
        free(r);
        return NULL;
    }
    r->id = ++t->ids;
    if (e->now.of[HS_TRACE_COUNT] > 0 && --e->now.of[HS_TRACE_COUNT] == 0)
        look_whether_on(t);
    return r;
}

hs_traced *hs_tracer_sample(hs_tracer *t, const char *model, int version)
{
    if (!atomic_load_explicit(&t->on, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&t->lock);
    hs_trace_owner *e = *find(t, model);
    hs_traced *r = sample(t, e ? e : &t->all, model, version);
    pthread_mutex_unlock(&t->lock);
    return r;
}

hs_traced *hs_traced_child(hs_traced *parent, const char *model, int version)
{
    hs_traced *r = parent ? new_trace(parent->tracer, model, version, parent->level) : NULL;
    if (!r)
        return NULL;
    r->parent = parent->id;
    pthread_mutex_lock(&r->tracer->lock);
    r->id = ++r->tracer->ids;
    hs_traced **at = &parent->child;
    while (*at)
        at = &(*at)->next;
    *at = r;
    pthread_mutex_unlock(&r->tracer->lock);
    return r;
}

// ---- what is noted

void hs_traced_request_id(hs_traced *r, const char *id)
{
    if (r)
        snprintf(r->request_id, sizeof r->request_id, "%s", id ? id : "");
}

void hs_traced_at(hs_traced *r, hs_trace_point p, int64_t ns)
{
    if (r)
        r->ns[p] = ns;
}

// ---- tensors

bool hs_traced_tensors(const hs_traced *r) { return r && r->level & HS_TRACE_TENSORS; }

static size_t size_of(const hs_infer_tensor *t) { return sizeof(hs_traced_tensor) + strlen(t->name) + 1 + t->bytes; }

// Room for its data; NULL: there is none.
static char *add(hs_traced *r, hs_trace_side side, const hs_infer_tensor *t)
{
    const size_t bytes = size_of(t);
    hs_traced_tensor *k = hold(r->tracer, &r->bytes, bytes) ? malloc(bytes) : NULL;
    if (!k)
        return NULL; // what was counted goes with the trace
    char *data = (char *)(k + 1);
    *k = (hs_traced_tensor){ .side = side, .t = *t };
    k->t.data = data;
    k->t.name = memcpy(data + t->bytes, t->name, strlen(t->name) + 1);
    *r->last = k, r->last = &k->next;
    return data;
}

static void copy(hs_traced *r, hs_trace_side side, const hs_infer_tensor *t)
{
    char *data = add(r, side, t);
    if (data)
        memcpy(data, t->data, t->bytes);
}

void hs_traced_inputs(hs_traced *r, const hs_infer_tensor *in, int n)
{
    for (int i = 0; hs_traced_tensors(r) && i < n; i++)
        copy(r, HS_TRACE_INPUT, &in[i]);
}

void hs_traced_outputs(hs_traced *r, const hs_infer_value *out, int n)
{
    for (int i = 0; hs_traced_tensors(r) && i < n; i++) {
        const hs_infer_value *v = &out[i];
        hs_infer_tensor t = { .name = v->name, .type = v->text ? HS_OIP_BYTES : HS_OIP_FP32, .n_dims = v->n_dims, .n = 1, .raw = true };
        for (int k = 0; k < v->n_dims; k++)
            t.n *= t.dim[k] = v->dim[k];
        t.whole = v->text;
        t.data = v->text ? v->text : (const char *)v->value;
        t.bytes = v->text ? v->n_text : (size_t)t.n * sizeof *v->value;
        copy(r, HS_TRACE_OUTPUT, &t);
    }
}

void hs_traced_texts(hs_traced *r, hs_trace_side side, const char *name, int n, const char *(*at)(const void *from, int i, size_t *bytes),
                     const void *from)
{
    hs_infer_tensor t = { .name = name, .type = HS_OIP_BYTES, .n_dims = 1, .dim = { n }, .n = n, .raw = true };
    size_t bytes;
    if (!hs_traced_tensors(r))
        return;
    for (int i = 0; i < n; i++) {
        at(from, i, &bytes);
        t.bytes += sizeof(uint32_t) + bytes;
    }
    char *to = add(r, side, &t);
    for (int i = 0; to && i < n; i++) {
        const char *text = at(from, i, &bytes);
        memcpy(to, &(uint32_t){ (uint32_t)bytes }, sizeof(uint32_t));
        memcpy(to + sizeof(uint32_t), text, bytes);
        to += sizeof(uint32_t) + bytes;
    }
}

void *hs_traced_numbers(hs_traced *r, hs_trace_side side, const char *name, hs_oip_type type, int n_dims, const int64_t *dim)
{
    hs_infer_tensor t = { .name = name, .type = type, .n_dims = n_dims, .n = 1, .raw = true };
    if (!hs_traced_tensors(r))
        return NULL;
    for (int k = 0; k < n_dims; k++)
        t.n *= t.dim[k] = dim[k];
    t.bytes = (size_t)(t.n * hs_oip_type_bytes[type]);
    char *data = add(r, side, &t);
    return data ? memset(data, 0, t.bytes) : NULL;
}

void hs_traced_ids(hs_traced *r, hs_trace_side side, const char *name, int n, const int32_t *(*at)(const void *from, int i, int64_t *n),
                   const void *from)
{
    int64_t length, longest = 0;
    for (int i = 0; hs_traced_tensors(r) && i < n; i++) {
        at(from, i, &length);
        longest = length > longest ? length : longest;
    }
    int32_t *to = hs_traced_numbers(r, side, name, HS_OIP_INT32, 2, (const int64_t[]){ n, longest });
    for (int i = 0; to && i < n; i++, to += longest) {
        const int32_t *ids = at(from, i, &length);
        for (int64_t k = 0; k < longest; k++)
            to[k] = k < length ? ids[k] : -1;
    }
}

static void give_up(hs_traced *r, bool inputs)
{
    hs_traced_tensor **at = &r->tensor;
    for (hs_traced_tensor *k; (k = *at) != NULL;) {
        if (k->side == HS_TRACE_INPUT && !inputs) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        const size_t bytes = size_of(&k->t);
        r->bytes -= bytes;
        atomic_fetch_sub(&r->tracer->bytes, bytes);
        free(k);
    }
    r->last = at;
}

void hs_traced_no_outputs(hs_traced *r)
{
    if (r)
        give_up(r, false);
}

void hs_traced_refused(hs_traced *r)
{
    if (!r)
        return;
    give_up(r, true);
    for (hs_traced *c = r->child; c; c = c->next)
        hs_traced_refused(c);
}

// ---- the end

void hs_traced_end(hs_traced *r)
{
    if (!r)
        return;
    hs_tracer *t = r->tracer;
    if (!r->ns[HS_TRACE_REQUEST_END])
        r->ns[HS_TRACE_REQUEST_END] = r->ns[HS_TRACE_HTTP_SEND_START];
    pthread_mutex_lock(&t->lock);
    *t->last = r, t->last = &r->next;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

// ---- life

// That the file can be is found out now, not with the first trace; nothing is made or lost yet.
static hs_status check_file(const char *file)
{
    struct stat s;
    const char *slash = strrchr(file, '/');
    char *folder = slash ? strndup(file, (size_t)(slash - file + 1)) : strdup(".");
    if (!folder)
        return HS_FAIL(MEMORY, "no memory for a name");
    hs_status st = HS_OK;
    if (stat(file, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISCHR(s.st_mode))
        st = HS_FAIL(USAGE, "--trace-file %s is no file", file);
    else if (access(folder, W_OK | X_OK) != 0)
        st = HS_FAIL(USAGE, "--trace-file %s: %s: %s", file, folder, strerror(errno));
    free(folder);
    return st;
}

static hs_status start(hs_tracer *t, const hs_tracer_opts *o)
{
    if (!o->file)
        return o->settings.of[HS_TRACE_LEVEL] ? HS_FAIL(USAGE, "--trace-level needs a file for traces: --trace-file") : HS_OK;
    HS_TRY(check_file(o->file));
    if (!(t->file = strdup(o->file)))
        return HS_FAIL(MEMORY, "no memory for a name");
    HS_TRY(hs_thread_start(&t->thread, hs_tracer_write, t, "the thread that writes traces"));
    t->runs = true;
    look_whether_on(t);
    return HS_OK;
}

hs_status hs_tracer_new(hs_tracer **out, const hs_tracer_opts *o)
{
    hs_tracer *t = *out = calloc(1, sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for a tracer");
    t->start = t->all.now = o->settings;
    t->whole.fd = -1, t->last = &t->first;
    t->most = o->most ? o->most : HS_TRACER_MOST;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    const hs_status st = start(t, o);
    if (st == HS_OK)
        return HS_OK;
    hs_tracer_free(t);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_tracer_free(hs_tracer *t)
{
    if (!t)
        return;
    if (t->runs) {
        pthread_mutex_lock(&t->lock);
        t->stops = true;
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
    }
    hs_trace_sink_let_go(t->all.sink);
    for (hs_trace_owner *e = t->model, *next; e; e = next) {
        next = e->next;
        hs_trace_sink_let_go(e->sink);
        free(e);
    }
    hs_trace_file_close(&t->whole);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t->file);
    free(t);
}

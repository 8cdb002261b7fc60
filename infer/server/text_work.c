// text_work: the way of a request through a model, step by step, with its errors in one place.
#include "infer/server/text_work.h"
#include "core/base/clock.h"
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_work(hs_text_work *w)
{
    for (int i = 0; i < w->n; i++)
        hs_rows_free(&w->rows[i]);
    if (w->forget)
        w->forget(w);
    for (int i = w->taken; w->found && i < w->n; i++)
        hs_wanted_row_let_go(&w->found[i], w->model->o->cache);
    hs_row_trace_free(w->row_trace);
    if (w->work.row != w->row)
        free((void *)(uintptr_t)w->work.row);
    free(w->rows), free(w->row), free(w->own), free(w->vector), free(w->found), free(w->missing);
    json_decref(w->body);
    hs_served_let_go(w->model);
    free(w);
}

static void count_failure(const hs_text_work *w, hs_served_reason why) { hs_served_count_failure(w->model, why, hs_now_ns() - w->began); }

static int texts_of(const hs_text_work *w) { return w->texts ? w->texts : w->room; }

static hs_served_asked asked(const hs_text_work *w) { return texts_of(w) > 1 ? HS_ASKED_SEVERAL : HS_ASKED_ONE; }

// Once, when it is known how many texts a request has: it goes, or fails before.
static void count_asked(hs_text_work *w)
{
    if (!w->counted)
        atomic_fetch_add(&w->model->count->asked[asked(w)], 1);
    w->counted = true;
}

void hs_text_work_fail(hs_text_work *w, int http, const char *fmt, ...)
{
    char why[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    count_asked(w);
    count_failure(w, http == 429 ? HS_REASON_REJECTED : HS_REASON_OTHER);
    hs_call_fail(&w->call, http, "%s", why);
    free_work(w);
}

void hs_text_work_fail_status(hs_text_work *w, hs_status st)
{
    count_asked(w);
    count_failure(w, HS_REASON_OTHER);
    hs_call_fail_status(&w->call, st);
    free_work(w);
}

void hs_text_work_rank(hs_text_work *w, int64_t priority, int64_t timeout_us)
{
    if (priority > 0)
        w->work.priority = (int)(priority < INT_MAX ? priority : INT_MAX);
    if (timeout_us > 0 && timeout_us < INT64_MAX / 2000)
        w->work.deadline = hs_http_handed(w->call.http) + 1000 * timeout_us;
}

hs_text_work *hs_text_work_new(const hs_call *c, hs_served *model, json_t *body, int texts)
{
    hs_text_work *w = calloc(1, sizeof *w);
    if (w) {
        *w = (hs_text_work){ .call = *c, .model = model, .body = body, .room = texts, .began = hs_call_began(c) };
        w->rows = calloc((size_t)texts, sizeof *w->rows);
        w->work.row = w->row = calloc((size_t)texts, sizeof *w->row);
        if (w->rows && w->row) {
            w->traces = hs_call_trace(&w->call, model, body) && hs_traced_tensors(w->call.trace);
            int64_t priority = HS_WORK_PRIORITY, timeout_us = 0;
            const hs_status st = hs_call_rank(&w->call, &priority, &timeout_us);
            hs_text_work_rank(w, priority, timeout_us);
            if (st == HS_OK)
                return w;
            hs_text_work_fail_status(w, st);
            return NULL;
        }
        hs_text_work_fail(w, 503, "no memory for %d texts", texts);
        return NULL;
    }
    hs_call_fail(c, 503, "no memory for a request");
    json_decref(body);
    hs_served_let_go(model);
    return NULL;
}

bool hs_text_work_add(hs_text_work *w, const char *text, size_t bytes, const char *second, size_t second_bytes, const hs_text_cut *cut)
{
    const hs_session *s = &w->model->session;
    const int64_t most = cut->max_length > 0 && cut->max_length < s->context ? cut->max_length : s->context;
    const size_t before = cut->prompt ? strlen(cut->prompt) : 0;
    char *joined = NULL;
    if (before) {
        if (!(joined = malloc(before + bytes + 1))) {
            hs_text_work_fail(w, 503, "no memory for a text");
            return false;
        }
        memcpy(joined, cut->prompt, before);
        memcpy(joined + before, text, bytes);
    }
    const hs_row_opts how = { .max_length = most,
                              .truncate_left = cut->left,
                              .overflow = cut->refuse ? HS_OVERFLOW_REFUSE : HS_OVERFLOW_DROP };
    hs_rows *rows = &w->rows[w->n];
    const hs_status st = hs_tokenizer_rows(s->tokenizer, before ? joined : text, before + bytes, second, second_bytes, &how, rows);
    free(joined);
    if (st != HS_OK) {
        hs_text_work_fail(w, st == HS_USAGE ? 400 : 500, "text %d: %s", w->n + 1, hs_error());
        return false;
    }
    w->n++;
    if (rows->more && cut->refuse) {
        hs_text_work_fail(w, 413, "text %d is longer than the %lld tokens this model takes", w->n, (long long)most);
        return false;
    }
    if (rows->n == 0 || rows->row[0].n == 0) {
        hs_text_work_fail(w, 400, "text %d has no tokens", w->n);
        return false;
    }
    w->cut |= rows->more;
    w->tokens += rows->row[0].n;
    hs_amounts_add(&w->model->count->length, rows->row[0].n);
    if (hs_check_tokens(w->model, w->tokens) != HS_OK) {
        hs_text_work_fail(w, 413, "%s", hs_error());
        return false;
    }
    w->row[w->n - 1] = (hs_encode_row){ .id = rows->row[0].id, .type = rows->row[0].type, .n = rows->row[0].n };
    return true;
}

void hs_text_work_add_row(hs_text_work *w, const hs_encode_row *row)
{
    w->row[w->n++] = *row;
    w->tokens += row->n;
    hs_amounts_add(&w->model->count->length, row->n);
}

static const char *text_at(const void *texts, int i, size_t *bytes) { return hs_texts_at(texts, i, bytes); }

static const int32_t *ids_at(const void *work, int i, int64_t *n)
{
    const hs_encode_row *row = &((const hs_text_work *)work)->row[i];
    *n = row->n;
    return row->id;
}

void hs_text_work_trace(const hs_text_work *w, const json_t *texts)
{
    if (texts)
        hs_traced_texts(w->call.trace, HS_TRACE_INPUT, "text", w->room, text_at, texts);
    else
        hs_traced_ids(w->call.trace, HS_TRACE_INPUT, "input_ids", w->n, ids_at, w);
}

static bool is_gone(hs_work *work) { return hs_http_gone(((hs_text_work *)work)->call.http); }

// Before its answer. Of one that found all its rows the model computed nothing.
static void count_success(const hs_text_work *w)
{
    hs_served_count *n = w->model->count;
    const hs_work *k = &w->work;
    hs_served_count_success(w->model, k->n ? texts_of(w) : 0);
    atomic_fetch_add(&n->answered[asked(w)], 1);
    if (w->found)
        hs_latency_add(k->n ? &n->cache_miss : &n->cache_hit, w->cache_ns);
    if (!k->n)
        return;
    hs_latency_add(&n->input, k->arrived - w->began);
    hs_latency_add(&n->queue, k->started - k->arrived);
    hs_latency_add(&n->infer, k->in_model);
}

static void trace_times(const hs_text_work *w)
{
    const hs_work *k = &w->work;
    hs_traced *r = w->call.trace;
    if (k->n) { // else all rows were found
        hs_traced_at(r, HS_TRACE_QUEUE_START, k->arrived);
        hs_traced_at(r, HS_TRACE_COMPUTE_START, k->filled > k->arrived ? k->filled : k->arrived); // it came as its batch was filled
        hs_traced_at(r, HS_TRACE_COMPUTE_INPUT_END, k->started);
        hs_traced_at(r, HS_TRACE_COMPUTE_OUTPUT_START, k->modelled);
        hs_traced_at(r, HS_TRACE_COMPUTE_END, k->ended);
    }
    hs_traced_at(r, HS_TRACE_REQUEST_END, hs_now_ns());
}

static void on_done(hs_work *work, hs_work_end end, hs_status st)
{
    hs_text_work *w = (hs_text_work *)work;
    if (w->call.trace)
        trace_times(w);
    if (end != HS_WORK_DONE && w->traces)
        hs_traced_no_outputs(w->call.trace);
    switch (end) {
    case HS_WORK_DONE:
        count_success(w);
        w->answer(w);
        if (work->n)
            hs_latency_add(&w->model->count->output, hs_now_ns() - work->ended);
        hs_latency_add(&w->model->count->request, hs_now_ns() - w->began);
        break;
    case HS_WORK_LATE:
        count_failure(w, HS_REASON_REJECTED);
        hs_call_fail(&w->call, 504, "the request waited longer than it was given");
        break;
    case HS_WORK_STOPPED:
        count_failure(w, HS_REASON_REJECTED);
        hs_call_fail(&w->call, 503, "the server stops");
        break;
    case HS_WORK_GONE:
        count_failure(w, HS_REASON_CANCELED);
        hs_call_fail(&w->call, 499, "the client has left");
        break;
    default:
        count_failure(w, HS_REASON_BACKEND);
        hs_call_fail_status(&w->call, st);
    }
    free_work(w);
}

// ---- rows: those that were found, in front of those that come out of the model, behind them, and in between

static hs_status take_one(hs_text_work *w, const hs_wanted_row *r, int row)
{
    HS_TRY(w->take(w, r, row));
    if (w->traces && !w->row_trace)
        w->traces = (w->row_trace = hs_row_trace_new(w->call.trace, w->model, w->row, w->n, w->want)) != NULL;
    hs_row_trace_add(w->row_trace, r, row);
    return HS_OK;
}

static hs_status take_found(hs_text_work *w, int end)
{
    while (w->taken < end) {
        hs_wanted_row *r = &w->found[w->taken];
        const hs_status st = take_one(w, r, w->taken++);
        hs_wanted_row_let_go(r, w->model->o->cache);
        HS_TRY(st);
    }
    return HS_OK;
}

static hs_status take_read(hs_text_work *w, int row, const hs_row_reader *reader, int index)
{
    hs_row_cache *cache = w->found ? w->model->o->cache : NULL;
    hs_wanted_row r = { .want = w->want, .n_wants = w->n_wants, .row = &w->row[row], .reader = reader, .index = index };
    const int64_t began = hs_now_ns();
    if (cache)
        HS_TRY(hs_wanted_row_keep(&r, cache, w->model));
    w->cache_ns += hs_now_ns() - began;
    const hs_status st = take_one(w, &r, row);
    if (cache)
        hs_wanted_row_let_go(&r, cache);
    return st;
}

static hs_status take_row(hs_work *work, int k, const hs_row_reader *reader, int index)
{
    hs_text_work *w = (hs_text_work *)work;
    const int row = w->missing ? w->missing[k] : k;
    HS_TRY(take_found(w, row));
    w->taken = row + 1;
    HS_TRY(take_read(w, row, reader, index));
    return k + 1 < work->n ? HS_OK : take_found(w, w->n);
}

// work: the rows that the cache does not have.
static hs_status look_up(hs_text_work *w)
{
    const int64_t began = hs_now_ns();
    hs_encode_row *missing = malloc((size_t)w->n * sizeof *missing);
    w->found = calloc((size_t)w->n, sizeof *w->found);
    w->missing = malloc((size_t)w->n * sizeof *w->missing);
    if (!missing || !w->found || !w->missing) {
        free(missing);
        return HS_FAIL(MEMORY, "no memory for %d texts", w->n);
    }
    w->work.row = missing, w->work.n = 0;
    for (int i = 0; i < w->n; i++) {
        w->found[i] = (hs_wanted_row){ .want = w->want, .n_wants = w->n_wants, .row = &w->row[i] };
        if (hs_wanted_row_find(&w->found[i], w->model->o->cache, w->model))
            continue;
        w->missing[w->work.n] = i;
        missing[w->work.n++] = w->row[i];
    }
    w->cache_ns = hs_now_ns() - began;
    return HS_OK;
}

static void answer_found(hs_text_work *w)
{
    const int64_t began = hs_now_ns();
    const hs_status st = take_found(w, w->n);
    w->cache_ns += hs_now_ns() - began;
    on_done(&w->work, st == HS_OK ? HS_WORK_DONE : HS_WORK_FAILED, st);
}

void hs_text_work_go(hs_text_work *w, int reader, hs_status (*take)(hs_text_work *w, const hs_wanted_row *r, int row),
                     void (*answer)(hs_text_work *w))
{
    count_asked(w);
    w->take = take, w->answer = answer;
    w->work.n = w->n, w->work.reader = reader;
    w->work.take = take_row, w->work.gone = is_gone, w->work.done = on_done;
    if (hs_check_tokens(w->model, w->tokens) != HS_OK) {
        hs_text_work_fail(w, 413, "%s", hs_error());
        return;
    }
    if (w->model->o->cache && look_up(w) != HS_OK) {
        hs_text_work_fail(w, 503, "%s", hs_error());
        return;
    }
    if (!w->work.n) {
        answer_found(w);
        return;
    }
    hs_served *model = hs_served_hold(w->model); // w may be gone, and its hold with it, before the batcher is through with taking it
    const bool added = hs_batcher_add(model->batcher, &w->work);
    if (!added && atomic_load(&w->call.server->over))
        hs_text_work_fail(w, 503, "the server stops");
    else if (!added)
        hs_text_work_fail(w, 429, "%s has as many requests waiting as it takes", model->name);
    hs_served_let_go(model);
}

hs_status hs_check_tokens(const hs_served *model, int64_t tokens)
{
    const int64_t most = model->o->queue_tokens;
    return tokens <= most ? HS_OK
                          : HS_FAIL(USAGE,
                                    "the request has more than the %lld tokens that may wait for a model (--queue-tokens): ask for "
                                    "less at once",
                                    (long long)most);
}

hs_status hs_check_answer(const hs_call *c, const hs_text *answer)
{
    const size_t most = hs_server_most_answer(c->server);
    return answer->n <= most ? HS_OK : HS_FAIL(USAGE, "the answer is longer than the %zu bytes that are given: ask for less at once", most);
}

int hs_texts_count_of(const hs_call *c, const json_t *value, const char *name, int64_t most)
{
    const size_t n = json_is_array(value) ? json_array_size(value) : 1;
    if (!json_is_string(value) && !json_is_array(value))
        hs_call_fail(c, 422, "%s must be a text or a list of texts", name);
    else if (n == 0)
        hs_call_fail(c, 422, "%s is empty", name);
    else if (n > (size_t)most)
        hs_call_fail(c, 413, "%s has %zu texts, at most %lld are taken at once", name, n, (long long)most);
    else {
        for (size_t i = 0; json_is_array(value) && i < n; i++)
            if (!json_is_string(json_array_get(value, i))) {
                hs_call_fail(c, 422, "%s: element %zu is not a text", name, i);
                return -1;
            }
        return (int)n;
    }
    return -1;
}

const char *hs_texts_at(const json_t *value, int i, size_t *bytes)
{
    const json_t *text = json_is_array(value) ? json_array_get(value, (size_t)i) : value;
    *bytes = json_string_length(text);
    return json_string_value(text);
}

// perf_load: one thread, one epoll, one timer. Who is due and finds no connection free waits in line, which is the order of the records.
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "recipes/perf/perf_conn.h"
#include "recipes/perf/perf_result.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

const char *const hs_perf_fates[HS_N_FATES] = { "none", "answered", "connect", "closed", "timeout", "malformed", "status", "wrong" };

enum { EVENTS = 64 };
static const int64_t never = INT64_MAX, second = 1000000000, tick = 20000000;

static int64_t ns(double seconds) { return (int64_t)(1e9 * seconds); }

double hs_perf_arrival(const hs_perf_shape *shape, int64_t k)
{
    if (!shape->poisson)
        return 1 / shape->rate;
    return -log(hs_u32_unit(hs_random(shape->seed, (uint32_t)k, (uint32_t)(k >> 32), 0x504f4953, 0).v[0])) / shape->rate;
}

bool hs_perf_steady(const double *per_second, const double *latency, int n, double share)
{
    if (n < 3)
        return false;
    for (int pass = 0; pass < 2; pass++) {
        const double *v = (pass ? latency : per_second) + n - 3;
        const double least = fmin(v[0], fmin(v[1], v[2])), most = fmax(v[0], fmax(v[1], v[2]));
        if (!(least > 0 && most <= least * (1 + share)))
            return false;
    }
    return true;
}

bool hs_perf_counts(const hs_perf_level *l, const hs_perf_record *r)
{
    const int64_t at = l->by_due ? r->due : r->end;
    return r->fate && at >= l->begin && at < l->end;
}

// ---- records

static int64_t new_record(hs_perf_loop *l, int64_t due)
{
    hs_perf_level *v = l->level;
    if (!hs_perf_grow(&v->record, v->n, &v->room, sizeof *v->record)) {
        l->memory = true;
        return -1;
    }
    v->record[v->n] = (hs_perf_record){ .due = due };
    if (l->shape->requests && due >= v->begin && ++l->counted == l->shape->requests) // the last that counts
        v->end = due + 1;
    return v->n++;
}

// ---- who is sent when

static void send_due(hs_perf_loop *l)
{
    const hs_perf_shape *s = l->shape;
    if (s->concurrency) {
        while (l->n_free && !l->stopping && !l->memory) {
            const int64_t i = new_record(l, hs_now_ns());
            if (i < 0)
                return;
            hs_perf_conn_begin(&l->conn[l->free[--l->n_free]], i);
            l->unsent = l->level->n;
        }
        return;
    }
    const int64_t fresh = l->level->n;
    for (; !l->stopping && !l->memory && l->next_due <= l->now; l->next_due += ns(hs_perf_arrival(s, l->arrivals++)))
        new_record(l, l->next_due);
    while (l->n_free && l->unsent < l->level->n && !(l->stopping && l->pending <= 0)) {
        if (l->level->record[l->unsent].fate == HS_FATE_NONE)
            hs_perf_conn_begin(&l->conn[l->free[--l->n_free]], l->unsent);
        l->unsent++;
    }
    for (int64_t i = fresh > l->unsent ? fresh : l->unsent; i < l->level->n; i++)
        l->level->record[i].waited = true;
}

static void end_late(hs_perf_loop *l)
{
    const int64_t limit = ns(l->shape->timeout);
    l->late_at = l->now + tick;
    for (int i = 0; i < l->n_conns; i++) {
        hs_perf_conn *c = &l->conn[i];
        if (c->state == HS_CONN_BUSY && l->now - hs_perf_record_of(c)->due >= limit)
            hs_perf_conn_finish(c, HS_FATE_TIMEOUT, "no whole answer within --timeout");
        else if (c->state == HS_CONN_RESTING && l->now >= c->since)
            c->state = HS_CONN_FREE, l->free[l->n_free++] = i;
    }
    for (int64_t i = l->unsent; i < l->level->n && l->now - l->level->record[i].due >= limit; i++)
        if (l->level->record[i].fate == HS_FATE_NONE) {
            if (!*l->level->failure)
                snprintf(l->level->failure, sizeof l->level->failure, "no connection was free within --timeout");
            hs_perf_record_end(l, i, HS_FATE_TIMEOUT), l->unsent = i + 1;
        }
}

// ---- what counts

// Requests a second and the latency of the running window, which ends now.
static void close_window(hs_perf_loop *l)
{
    const hs_perf_shape *s = l->shape;
    const int k = l->level->windows++;
    double sum = 0;
    int64_t n = 0;
    double *latency = malloc((size_t)(l->n_done - l->window_from + 1) * sizeof *latency);
    for (int64_t i = l->window_from; latency && i < l->n_done; i++) {
        const hs_perf_record *r = &l->level->record[l->done[i]];
        if (r->fate == HS_FATE_ANSWERED)
            sum += latency[n++] = 1e-9 * (double)(r->end - r->due);
    }
    if (latency && s->percentile > 0 && n) {
        hs_perf_sort(latency, n);
        l->window_latency[k] = hs_perf_percentile(latency, n, s->percentile);
    } else
        l->window_latency[k] = n ? sum / (double)n : 0;
    free(latency);
    l->window_rate[k] = (double)n / s->window;
    l->window_begin[k] = l->window_at - ns(s->window);
    l->window_from = l->n_done;
}

static void settle(hs_perf_loop *l, int64_t begin, int64_t end)
{
    hs_perf_level *v = l->level;
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    const double used = (double)(u.ru_utime.tv_sec - l->used.ru_utime.tv_sec + u.ru_stime.tv_sec - l->used.ru_stime.tv_sec) +
                        1e-6 * (double)(u.ru_utime.tv_usec - l->used.ru_utime.tv_usec + u.ru_stime.tv_usec - l->used.ru_stime.tv_usec);
    v->begin = begin, v->end = end;
    v->client_cores = used / (1e-9 * (double)(l->now - (l->start + ns(l->shape->warmup))));
    l->settled = true;
    for (int64_t i = 0; v->by_due && i < v->n; i++)
        l->pending += v->record[i].fate == HS_FATE_NONE && v->record[i].due >= begin && v->record[i].due < end;
}

static void look_at_clock(hs_perf_loop *l)
{
    const hs_perf_shape *s = l->shape;
    hs_perf_level *v = l->level;
    if (!l->counting && l->now >= l->start + ns(s->warmup)) {
        l->counting = true;
        getrusage(RUSAGE_SELF, &l->used);
    }
    if (!l->settled && (s->seconds > 0 || s->requests)) {
        if (l->now >= v->end)
            settle(l, v->begin, v->end);
    } else if (!l->settled && l->now >= l->window_at) {
        close_window(l);
        v->stable = hs_perf_steady(l->window_rate, l->window_latency, v->windows, s->stability);
        const int first = v->windows > 3 ? v->windows - 3 : 0;
        if (v->stable || v->windows == s->trials)
            settle(l, l->window_begin[first], l->window_at);
        l->window_at += ns(s->window);
    }
    // Others go on coming while those that count are answered, as they would; behind an overload not for as long as that takes.
    if (l->settled && (l->pending <= 0 || l->now > v->end + second))
        l->stopping = true;
}

static bool over(const hs_perf_loop *l) { return l->stopping && l->pending <= 0 && l->in_flight == 0; }

static void set_timer(const hs_perf_loop *l)
{
    int64_t at = l->now + tick;
    if (!l->shape->concurrency && !l->stopping && l->next_due < at)
        at = l->next_due;
    const struct itimerspec t = { .it_value = { at / second, at % second } };
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static hs_status go(hs_perf_loop *l)
{
    struct epoll_event ready[EVENTS];
    while (!over(l)) {
        l->now = hs_now_ns();
        look_at_clock(l);
        send_due(l);
        if (l->memory)
            return HS_FAIL(MEMORY, "no memory for %lld requests", (long long)l->level->n);
        if (l->failures > 100 && l->now - l->last_good > 3 * second)
            return HS_FAIL(SYSTEM, "%s:%s takes no connections: %s", l->server->host, l->server->port, l->level->failure);
        set_timer(l);
        const int n = epoll_wait(l->epoll, ready, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            return HS_FAIL(SYSTEM, "epoll: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            if (ready[i].data.ptr) // else the timer
                hs_perf_conn_ready(ready[i].data.ptr, ready[i].events);
        l->now = hs_now_ns();
        if (l->now >= l->late_at)
            end_late(l);
    }
    return HS_OK;
}

static hs_status open_loop(hs_perf_loop *l)
{
    const hs_perf_shape *s = l->shape;
    l->n_conns = (int)(s->concurrency ? s->concurrency : s->connections);
    l->conn = calloc((size_t)l->n_conns, sizeof *l->conn);
    l->free = calloc((size_t)l->n_conns, sizeof *l->free);
    const size_t trials = s->trials > 0 ? (size_t)s->trials : 1;
    l->window_begin = calloc(trials, sizeof *l->window_begin);
    l->window_rate = calloc(trials, sizeof *l->window_rate);
    l->window_latency = calloc(trials, sizeof *l->window_latency);
    if (!l->conn || !l->free || !l->window_begin || !l->window_rate || !l->window_latency)
        return HS_FAIL(MEMORY, "no memory for %d connections", l->n_conns);
    for (int i = 0; i < l->n_conns; i++) {
        l->conn[i].fd = -1, l->conn[i].loop = l;
        l->free[l->n_free++] = l->n_conns - 1 - i; // the first on top
    }
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->epoll < 0 || l->timer < 0)
        return HS_FAIL(SYSTEM, "no timer: %s", strerror(errno));
    struct epoll_event e = { .events = EPOLLIN | EPOLLET };
    epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &e);
    l->now = l->start = l->last_good = hs_now_ns();
    l->next_due = l->start + ns(s->concurrency ? 0 : hs_perf_arrival(s, l->arrivals++));
    l->level->begin = l->start + ns(s->warmup);
    l->level->end = s->seconds > 0 ? l->level->begin + ns(s->seconds) : never;
    l->level->by_due = !s->concurrency || s->requests;
    l->level->stable = s->seconds > 0 || s->requests;
    l->window_at = l->level->begin + ns(s->window);
    return HS_OK;
}

hs_status hs_perf_load(const hs_perf_server *server, const hs_perf_requests *requests, const hs_perf_shape *shape, hs_perf_level *out)
{
    *out = (hs_perf_level){ 0 };
    hs_perf_loop *l = calloc(1, sizeof *l);
    if (!l)
        return HS_FAIL(MEMORY, "no memory for a load");
    l->server = server, l->requests = requests, l->shape = shape, l->level = out, l->epoll = l->timer = -1;
    hs_status st = open_loop(l);
    if (st == HS_OK)
        st = go(l);
    for (int i = 0; l->conn && i < l->n_conns; i++) {
        hs_perf_conn_drop(&l->conn[i]);
        hs_perf_events_free(&l->conn[i].events);
    }
    for (int i = 0; i < 2; i++)
        if ((i ? l->timer : l->epoll) >= 0)
            close(i ? l->timer : l->epoll);
    hs_json_tree_free(&l->tree);
    free(l->conn);
    free(l->free);
    free(l->done);
    free(l->window_begin);
    free(l->window_rate);
    free(l->window_latency);
    free(l);
    return st;
}

void hs_perf_level_free(hs_perf_level *l)
{
    free(l->record);
    free(l->gap);
    *l = (hs_perf_level){ 0 };
}

// perf_load: one thread, one epoll, one timer. A connection carries one request at a time; who is due and finds none waits in line, which
// is the order of the records.
#include "recipes/perf/perf_load.h"
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "data/base/json_tree.h"
#include "recipes/perf/perf_http.h"
#include "recipes/perf/perf_result.h"
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

const char *const hs_perf_fates[HS_N_FATES] = { "none", "answered", "connect", "closed", "timeout", "malformed", "status", "wrong" };

enum { PIECE = 65536, EVENTS = 64 };
static const int64_t never = INT64_MAX, second = 1000000000, tick = 20000000, rest = 50000000;

typedef enum conn_state { FREE, RESTING, BUSY } conn_state;
typedef struct conn {
    int fd; // -1: not connected
    conn_state state;
    bool writing;          // not all is sent
    int64_t record, since; // of RESTING: until when
    size_t sent;
    const char *request;
    size_t n_request;
    struct loop *loop;
    hs_perf_answer answer;
    hs_perf_events events;
    int64_t token_at; // of the last token
    bool done, wrong;
    bool used, heard; // it has carried an answer before; something of this one is there
    char said[200];   // by an answer that is none: its beginning
    size_t n_said;
} conn;

typedef struct loop {
    const hs_perf_server *server;
    const hs_perf_requests *requests;
    const hs_perf_shape *shape;
    hs_perf_level *level;
    conn *conn;
    int n_conns, in_flight;
    int *free; // stack
    int n_free;
    int epoll, timer;
    int64_t now, start, next_due, arrivals, unsent, late_at;
    int64_t counted, pending;         // that count: so far; not done, once it is known which ones
    bool counting, settled, stopping; // the warm-up is over; begin and end are those of what counts; nothing is sent any more
    int64_t *done, n_done, done_room; // records in the order in which they ended
    int64_t window_at, window_from;   // end of the running window; its first in done
    int64_t *window_begin;            // [trials]
    double *window_rate, *window_latency;
    struct rusage used;
    int64_t last_good, failures; // dialled in vain since the last that was not
    hs_json_tree tree;
    bool memory;
    char piece[PIECE];
} loop;

static int64_t ns(double seconds) { return (int64_t)(1e9 * seconds); }

static bool grow64(void *array, int64_t n, int64_t *room, size_t item)
{
    if (n < *room)
        return true;
    const int64_t more = *room ? 2 * *room : 4096;
    void **p = array, *q = realloc(*p, (size_t)more * item);
    if (!q)
        return false;
    *p = q, *room = more;
    return true;
}

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

static hs_perf_record *record_of(const conn *c) { return &c->loop->level->record[c->record]; }

static int64_t new_record(loop *l, int64_t due)
{
    hs_perf_level *v = l->level;
    if (!grow64(&v->record, v->n, &v->room, sizeof *v->record)) {
        l->memory = true;
        return -1;
    }
    v->record[v->n] = (hs_perf_record){ .due = due };
    if (l->shape->requests && due >= v->begin && ++l->counted == l->shape->requests) // the last that counts
        v->end = due + 1;
    return v->n++;
}

static void say_failure(loop *l, const conn *c, hs_perf_fate fate, const char *why)
{
    char *to = l->level->failure;
    if (*to)
        return;
    if (fate == HS_FATE_STATUS || fate == HS_FATE_WRONG)
        snprintf(to, sizeof l->level->failure, "status %d: %.*s", c->answer.status, (int)c->n_said, c->said);
    else
        snprintf(to, sizeof l->level->failure, "%s", why);
    for (char *p = to; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

static void end_record(loop *l, int64_t i, hs_perf_fate fate)
{
    hs_perf_record *r = &l->level->record[i];
    r->end = l->now, r->fate = (uint8_t)fate;
    if (l->settled && l->level->by_due && r->due >= l->level->begin && r->due < l->level->end)
        l->pending--;
    if (!grow64(&l->done, l->n_done, &l->done_room, sizeof *l->done))
        l->memory = true;
    else
        l->done[l->n_done++] = i;
}

// ---- connections

static void drop(conn *c)
{
    if (c->fd >= 0)
        close(c->fd); // epoll forgets it
    c->fd = -1;
}

static void finish(conn *c, hs_perf_fate fate, const char *why)
{
    loop *l = c->loop;
    l->now = hs_now_ns();
    hs_perf_record *r = record_of(c);
    r->status = (int16_t)c->answer.status, r->bytes = c->answer.body_bytes;
    if (fate != HS_FATE_ANSWERED)
        say_failure(l, c, fate, why);
    end_record(l, c->record, fate);
    const bool bad = fate != HS_FATE_ANSWERED && fate != HS_FATE_STATUS && fate != HS_FATE_WRONG;
    if (bad || c->answer.closes || !l->shape->keep_alive)
        drop(c);
    l->failures = fate == HS_FATE_CONNECT ? l->failures + 1 : 0;
    if (fate != HS_FATE_CONNECT)
        l->last_good = l->now;
    l->in_flight--;
    c->state = fate == HS_FATE_CONNECT || fate == HS_FATE_CLOSED ? RESTING : FREE;
    c->since = l->now + rest;
    if (c->state == FREE)
        l->free[l->n_free++] = (int)(c - l->conn);
}

static void on_event(void *user, const char *data, size_t n)
{
    conn *c = user;
    loop *l = c->loop;
    hs_json_tree *t = &l->tree;
    if (n == 6 && memcmp(data, "[DONE]", 6) == 0) {
        c->done = true;
        return;
    }
    if (!hs_json_tree_parse(t, data, n) || t->node[0].kind != HS_JSON_OBJECT || hs_json_tree_get(t, 0, "error", NULL)) {
        c->wrong = true, c->n_said = n < sizeof c->said ? n : sizeof c->said;
        memcpy(c->said, data, c->n_said);
        return;
    }
    const int usage = hs_json_tree_get(t, 0, "usage", NULL), choices = hs_json_tree_get(t, 0, "choices", NULL);
    const int told = usage && t->node[usage].kind == HS_JSON_OBJECT ? hs_json_tree_get(t, usage, "completion_tokens", NULL) : 0;
    int text = 0;
    if (choices && t->node[choices].kind == HS_JSON_LIST && t->node[choices].n) {
        const int delta = hs_json_tree_get(t, hs_json_first(choices), "delta", NULL); // of a chat
        text = delta ? hs_json_tree_get(t, delta, "content", NULL) : hs_json_tree_get(t, hs_json_first(choices), "text", NULL);
    }
    hs_perf_record *r = record_of(c);
    if (told)
        r->tokens = (int32_t)hs_json_tree_number(t, told);
    if (!text || t->node[text].kind != HS_JSON_STRING || t->node[text].begin == t->node[text].end)
        return;
    const int64_t now = hs_now_ns();
    if (!told)
        r->tokens++;
    hs_perf_level *v = l->level;
    if (!r->first)
        r->first = now;
    else if (r->due >= v->begin && r->due < v->end) {
        if (!grow64(&v->gap, v->n_gaps, &v->gap_room, sizeof *v->gap))
            l->memory = true;
        else
            v->gap[v->n_gaps++] = 1e-9 * (double)(now - c->token_at);
    }
    c->token_at = now;
}

static void on_body(void *user, const char *bytes, size_t n)
{
    conn *c = user;
    hs_perf_record *r = record_of(c);
    const bool good = c->answer.status / 100 == 2;
    if (good && c->loop->requests->stream) {
        hs_perf_events_feed(&c->events, bytes, n);
        c->loop->memory |= c->events.failed;
    } else if (!r->first)
        r->first = hs_now_ns();
    if (!good) {
        const size_t take = n < sizeof c->said - c->n_said ? n : sizeof c->said - c->n_said;
        memcpy(c->said + c->n_said, bytes, take);
        c->n_said += take;
    }
}

static void watch(conn *c, bool fresh)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | (c->writing ? EPOLLOUT : 0), .data.ptr = c };
    epoll_ctl(c->loop->epoll, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &e);
}

static bool dial(conn *c)
{
    const hs_perf_server *s = c->loop->server;
    c->fd = socket(s->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    const int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (const struct sockaddr *)&s->address, s->address_bytes) != 0 && errno != EINPROGRESS) {
        drop(c);
        return false;
    }
    c->loop->level->dialled++;
    return true;
}

// A server may end a connection that it has answered on while the next request is on its way: that one is sent once more, on a new one
// (RFC 9112, 9.3.1), and the time that took is its own. False: it is not such a case. errno stays.
static bool again(conn *c)
{
    const int kept = errno;
    const bool may = c->used && !c->heard && c->fd >= 0;
    if (may) {
        drop(c);
        c->used = false, c->sent = 0, c->writing = true;
        if (!dial(c))
            return false;
        watch(c, true);
    }
    errno = kept;
    return may;
}

static void write_some(conn *c)
{
    while (c->sent < c->n_request) {
        const ssize_t k = send(c->fd, c->request + c->sent, c->n_request - c->sent, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            if (errno != EAGAIN && errno != ENOTCONN && !again(c)) { // ENOTCONN: it is being dialled
                const bool refused = errno == ECONNREFUSED || errno == ENETUNREACH || errno == EHOSTUNREACH || errno == ETIMEDOUT;
                finish(c, refused ? HS_FATE_CONNECT : HS_FATE_CLOSED, strerror(errno));
            }
            break;
        }
        c->sent += (size_t)k;
    }
    if (c->state == BUSY && c->sent == c->n_request)
        record_of(c)->written = hs_now_ns();
}

static void begin_request(conn *c, int64_t record)
{
    loop *l = c->loop;
    const int which = (int)(record % l->requests->count);
    c->state = BUSY, c->record = record, c->sent = 0, c->done = c->wrong = false, c->n_said = 0, c->token_at = 0;
    c->request = l->requests->bytes[which], c->n_request = l->requests->n[which];
    l->in_flight++;
    hs_perf_answer_begin(&c->answer, on_body, c);
    hs_perf_events_begin(&c->events, on_event, c);
    record_of(c)->sent = hs_now_ns();
    const bool fresh = c->fd < 0, before = c->writing && !fresh;
    c->used = !fresh, c->heard = false;
    if (fresh && !dial(c)) {
        finish(c, HS_FATE_CONNECT, strerror(errno));
        return;
    }
    write_some(c);
    if (c->state != BUSY)
        return;
    if (!fresh && !c->used) // it is another one by now
        return;
    c->writing = c->sent < c->n_request;
    if (fresh || c->writing != before)
        watch(c, fresh);
}

static void answer_ends(conn *c)
{
    if (c->answer.status / 100 != 2)
        finish(c, HS_FATE_STATUS, "");
    else if (c->loop->requests->stream && (c->wrong || !c->done)) {
        if (!c->wrong)
            c->n_said = (size_t)snprintf(c->said, sizeof c->said, "the stream ends without [DONE]");
        finish(c, HS_FATE_WRONG, "");
    } else
        finish(c, HS_FATE_ANSWERED, "");
}

static void read_some(conn *c)
{
    for (;;) {
        const ssize_t k = recv(c->fd, c->loop->piece, PIECE, 0);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno == EAGAIN)
            return;
        if (c->state != BUSY) { // an idle connection that the server ends, or that talks unasked
            drop(c);
            return;
        }
        if (k <= 0 && again(c))
            return;
        c->heard |= k > 0;
        if (k < 0) {
            finish(c, c->answer.status || c->sent ? HS_FATE_CLOSED : HS_FATE_CONNECT, strerror(errno));
            return;
        }
        if (k > 0 && !record_of(c)->first && !c->loop->requests->stream)
            record_of(c)->first = hs_now_ns();
        size_t used = 0;
        const hs_perf_answer_state st =
            k ? hs_perf_answer_feed(&c->answer, c->loop->piece, (size_t)k, &used) : hs_perf_answer_close(&c->answer);
        if (st == HS_ANSWER_BAD)
            finish(c, k ? HS_FATE_MALFORMED : HS_FATE_CLOSED, c->answer.wrong);
        else if (st == HS_ANSWER_DONE) {
            c->answer.closes |= used < (size_t)k || c->sent < c->n_request;
            answer_ends(c);
        }
        if (st != HS_ANSWER_MORE || k < PIECE)
            return;
    }
}

static void on_ready(conn *c, uint32_t what)
{
    if (c->fd < 0)
        return;
    if (c->state == BUSY && c->writing && (what & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int wrong = 0;
        socklen_t n = sizeof wrong;
        if (c->sent == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &wrong, &n) == 0 && wrong) {
            finish(c, HS_FATE_CONNECT, strerror(wrong));
            return;
        }
        write_some(c);
        if (c->state == BUSY && c->sent == c->n_request) {
            c->writing = false;
            watch(c, false);
        }
    }
    if (c->fd >= 0 && (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        read_some(c);
}

// ---- who is sent when

static void send_due(loop *l)
{
    const hs_perf_shape *s = l->shape;
    if (s->concurrency) {
        while (l->n_free && !l->stopping && !l->memory) {
            const int64_t i = new_record(l, hs_now_ns());
            if (i < 0)
                return;
            begin_request(&l->conn[l->free[--l->n_free]], i);
            l->unsent = l->level->n;
        }
        return;
    }
    const int64_t fresh = l->level->n;
    for (; !l->stopping && !l->memory && l->next_due <= l->now; l->next_due += ns(hs_perf_arrival(s, l->arrivals++)))
        new_record(l, l->next_due);
    while (l->n_free && l->unsent < l->level->n && !(l->stopping && l->pending <= 0)) {
        if (l->level->record[l->unsent].fate == HS_FATE_NONE)
            begin_request(&l->conn[l->free[--l->n_free]], l->unsent);
        l->unsent++;
    }
    for (int64_t i = fresh > l->unsent ? fresh : l->unsent; i < l->level->n; i++)
        l->level->record[i].waited = true;
}

static void end_late(loop *l)
{
    const int64_t limit = ns(l->shape->timeout);
    l->late_at = l->now + tick;
    for (int i = 0; i < l->n_conns; i++) {
        conn *c = &l->conn[i];
        if (c->state == BUSY && l->now - record_of(c)->due >= limit)
            finish(c, HS_FATE_TIMEOUT, "no whole answer within --timeout");
        else if (c->state == RESTING && l->now >= c->since)
            c->state = FREE, l->free[l->n_free++] = i;
    }
    for (int64_t i = l->unsent; i < l->level->n && l->now - l->level->record[i].due >= limit; i++)
        if (l->level->record[i].fate == HS_FATE_NONE) {
            if (!*l->level->failure)
                snprintf(l->level->failure, sizeof l->level->failure, "no connection was free within --timeout");
            end_record(l, i, HS_FATE_TIMEOUT), l->unsent = i + 1;
        }
}

// ---- what counts

// Requests a second and the latency of the running window, which ends now.
static void close_window(loop *l)
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

static void settle(loop *l, int64_t begin, int64_t end)
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

static void look_at_clock(loop *l)
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

static bool over(const loop *l) { return l->stopping && l->pending <= 0 && l->in_flight == 0; }

static void set_timer(const loop *l)
{
    int64_t at = l->now + tick;
    if (!l->shape->concurrency && !l->stopping && l->next_due < at)
        at = l->next_due;
    const struct itimerspec t = { .it_value = { at / second, at % second } };
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static hs_status go(loop *l)
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
                on_ready(ready[i].data.ptr, ready[i].events);
        l->now = hs_now_ns();
        if (l->now >= l->late_at)
            end_late(l);
    }
    return HS_OK;
}

static hs_status open_loop(loop *l)
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
    loop *l = calloc(1, sizeof *l);
    if (!l)
        return HS_FAIL(MEMORY, "no memory for a load");
    l->server = server, l->requests = requests, l->shape = shape, l->level = out, l->epoll = l->timer = -1;
    hs_status st = open_loop(l);
    if (st == HS_OK)
        st = go(l);
    for (int i = 0; l->conn && i < l->n_conns; i++) {
        drop(&l->conn[i]);
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

// perf_conn: see the header. What a server sends is read as it comes, and only what the next byte needs is kept.
#include "recipes/perf/perf_conn.h"
#include "core/base/clock.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const int64_t rest = 50000000; // ns before somebody who was not let in tries again

// ---- records

bool hs_perf_grow(void *array, int64_t n, int64_t *room, size_t item)
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

static void say_failure(hs_perf_loop *l, const hs_perf_conn *c, hs_perf_fate fate, const char *why)
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

void hs_perf_record_end(hs_perf_loop *l, int64_t i, hs_perf_fate fate)
{
    hs_perf_record *r = &l->level->record[i];
    r->end = l->now, r->fate = (uint8_t)fate;
    if (l->settled && l->level->by_due && r->due >= l->level->begin && r->due < l->level->end)
        l->pending--;
    if (!hs_perf_grow(&l->done, l->n_done, &l->done_room, sizeof *l->done))
        l->memory = true;
    else
        l->done[l->n_done++] = i;
}

// ---- connections

void hs_perf_conn_drop(hs_perf_conn *c)
{
    if (c->fd >= 0)
        close(c->fd); // epoll forgets it
    c->fd = -1;
}

void hs_perf_conn_finish(hs_perf_conn *c, hs_perf_fate fate, const char *why)
{
    hs_perf_loop *l = c->loop;
    l->now = hs_now_ns();
    hs_perf_record *r = hs_perf_record_of(c);
    r->status = (int16_t)c->answer.status, r->bytes = c->answer.body_bytes;
    if (fate != HS_FATE_ANSWERED)
        say_failure(l, c, fate, why);
    hs_perf_record_end(l, c->record, fate);
    const bool bad = fate != HS_FATE_ANSWERED && fate != HS_FATE_STATUS && fate != HS_FATE_WRONG;
    if (bad || c->answer.closes || !l->shape->keep_alive)
        hs_perf_conn_drop(c);
    l->failures = fate == HS_FATE_CONNECT ? l->failures + 1 : 0;
    if (fate != HS_FATE_CONNECT)
        l->last_good = l->now;
    l->in_flight--;
    c->state = fate == HS_FATE_CONNECT || fate == HS_FATE_CLOSED ? HS_CONN_RESTING : HS_CONN_FREE;
    c->since = l->now + rest;
    if (c->state == HS_CONN_FREE)
        l->free[l->n_free++] = (int)(c - l->conn);
}

static void on_event(void *user, const char *data, size_t n)
{
    hs_perf_conn *c = user;
    hs_perf_loop *l = c->loop;
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
    hs_perf_record *r = hs_perf_record_of(c);
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
        if (!hs_perf_grow(&v->gap, v->n_gaps, &v->gap_room, sizeof *v->gap))
            l->memory = true;
        else
            v->gap[v->n_gaps++] = 1e-9 * (double)(now - c->token_at);
    }
    c->token_at = now;
}

static void on_body(void *user, const char *bytes, size_t n)
{
    hs_perf_conn *c = user;
    hs_perf_record *r = hs_perf_record_of(c);
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

static void watch(hs_perf_conn *c, bool fresh)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | (c->writing ? EPOLLOUT : 0), .data.ptr = c };
    epoll_ctl(c->loop->epoll, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &e);
}

static bool dial(hs_perf_conn *c)
{
    const hs_perf_server *s = c->loop->server;
    c->fd = socket(s->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    const int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (const struct sockaddr *)&s->address, s->address_bytes) != 0 && errno != EINPROGRESS) {
        hs_perf_conn_drop(c);
        return false;
    }
    c->loop->level->dialled++;
    return true;
}

// A server may end a connection that it has answered on while the next request is on its way: that one is sent once more, on a new one
// (RFC 9112, 9.3.1), and the time that took is its own. False: it is not such a case. errno stays.
static bool again(hs_perf_conn *c)
{
    const int kept = errno;
    const bool may = c->used && !c->heard && c->fd >= 0;
    if (may) {
        hs_perf_conn_drop(c);
        c->used = false, c->sent = 0, c->writing = true;
        if (!dial(c))
            return false;
        watch(c, true);
    }
    errno = kept;
    return may;
}

static void write_some(hs_perf_conn *c)
{
    while (c->sent < c->n_request) {
        const ssize_t k = send(c->fd, c->request + c->sent, c->n_request - c->sent, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            if (errno != EAGAIN && errno != ENOTCONN && !again(c)) { // ENOTCONN: it is being dialled
                const bool refused = errno == ECONNREFUSED || errno == ENETUNREACH || errno == EHOSTUNREACH || errno == ETIMEDOUT;
                hs_perf_conn_finish(c, refused ? HS_FATE_CONNECT : HS_FATE_CLOSED, strerror(errno));
            }
            break;
        }
        c->sent += (size_t)k;
    }
    if (c->state == HS_CONN_BUSY && c->sent == c->n_request)
        hs_perf_record_of(c)->written = hs_now_ns();
}

void hs_perf_conn_begin(hs_perf_conn *c, int64_t record)
{
    hs_perf_loop *l = c->loop;
    const int which = (int)(record % l->requests->count);
    c->state = HS_CONN_BUSY, c->record = record, c->sent = 0, c->done = c->wrong = false, c->n_said = 0, c->token_at = 0;
    c->request = l->requests->bytes[which], c->n_request = l->requests->n[which];
    l->in_flight++;
    hs_perf_answer_begin(&c->answer, on_body, c);
    hs_perf_events_begin(&c->events, on_event, c);
    hs_perf_record_of(c)->sent = hs_now_ns();
    const bool fresh = c->fd < 0, before = c->writing && !fresh;
    c->used = !fresh, c->heard = false;
    if (fresh && !dial(c)) {
        hs_perf_conn_finish(c, HS_FATE_CONNECT, strerror(errno));
        return;
    }
    write_some(c);
    if (c->state != HS_CONN_BUSY)
        return;
    if (!fresh && !c->used) // it is another one by now
        return;
    c->writing = c->sent < c->n_request;
    if (fresh || c->writing != before)
        watch(c, fresh);
}

static void answer_ends(hs_perf_conn *c)
{
    if (c->answer.status / 100 != 2)
        hs_perf_conn_finish(c, HS_FATE_STATUS, "");
    else if (c->loop->requests->stream && (c->wrong || !c->done)) {
        if (!c->wrong)
            c->n_said = (size_t)snprintf(c->said, sizeof c->said, "the stream ends without [DONE]");
        hs_perf_conn_finish(c, HS_FATE_WRONG, "");
    } else
        hs_perf_conn_finish(c, HS_FATE_ANSWERED, "");
}

static void read_some(hs_perf_conn *c)
{
    for (;;) {
        const ssize_t k = recv(c->fd, c->loop->piece, HS_PERF_PIECE, 0);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno == EAGAIN)
            return;
        if (c->state != HS_CONN_BUSY) { // an idle connection that the server ends, or that talks unasked
            hs_perf_conn_drop(c);
            return;
        }
        if (k <= 0 && again(c))
            return;
        c->heard |= k > 0;
        if (k < 0) {
            hs_perf_conn_finish(c, c->answer.status || c->sent ? HS_FATE_CLOSED : HS_FATE_CONNECT, strerror(errno));
            return;
        }
        if (k > 0 && !hs_perf_record_of(c)->first && !c->loop->requests->stream)
            hs_perf_record_of(c)->first = hs_now_ns();
        size_t used = 0;
        const hs_perf_answer_state st =
            k ? hs_perf_answer_feed(&c->answer, c->loop->piece, (size_t)k, &used) : hs_perf_answer_close(&c->answer);
        if (st == HS_ANSWER_BAD)
            hs_perf_conn_finish(c, k ? HS_FATE_MALFORMED : HS_FATE_CLOSED, c->answer.wrong);
        else if (st == HS_ANSWER_DONE) {
            c->answer.closes |= used < (size_t)k || c->sent < c->n_request;
            answer_ends(c);
        }
        if (st != HS_ANSWER_MORE || k < HS_PERF_PIECE)
            return;
    }
}

void hs_perf_conn_ready(hs_perf_conn *c, uint32_t what)
{
    if (c->fd < 0)
        return;
    if (c->state == HS_CONN_BUSY && c->writing && (what & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int wrong = 0;
        socklen_t n = sizeof wrong;
        if (c->sent == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &wrong, &n) == 0 && wrong) {
            hs_perf_conn_finish(c, HS_FATE_CONNECT, strerror(wrong));
            return;
        }
        write_some(c);
        if (c->state == HS_CONN_BUSY && c->sent == c->n_request) {
            c->writing = false;
            watch(c, false);
        }
    }
    if (c->fd >= 0 && (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        read_some(c);
}

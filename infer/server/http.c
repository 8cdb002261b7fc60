// http: requests of libmicrohttpd gathered, handed over, suspended and answered.
//
// Two parties hold a request: the daemon's thread (until the connection lets go of it) and whoever answers. Its lock orders them: an answer
// that comes before the handler has returned is queued there and then, a later one wakes the suspended connection.
#include "core/base/clock.h"
#include "infer/server/http_impl.h"
#include "infer/server/http_unpack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

typedef enum request_state { AT_HEAD, AT_BODY, AT_HANDLER, SUSPENDED, ANSWERED } request_state;

struct hs_http_request {
    hs_http *http;
    struct MHD_Connection *mhd;
    hs_http_connection *at;
    pthread_mutex_t lock;
    int holders; // of two: the daemon, and who answers
    request_state state;
    char *method, *path;
    char *body;
    size_t bytes, room;
    hs_http_times time;
    void *note;      // (optional)
    bool closed;     // the daemon has let go of it: mhd and at are gone
    bool handed;     // to the handler
    bool packed;     // the body is, by gzip or deflate
    size_t received; // bytes of it as they came
    int unread;      // what it will be refused with, where there is no room for its body: the rest is read and thrown away
    size_t length;   // of the body, as it was declared; 0: it was not
    size_t held;     // bytes of body and answer that are counted
    // the answer
    int status;
    struct MHD_Response *response;
    hs_http_more more[HS_HTTP_MORE]; // copies
    int n_more;
    bool instead; // of another answer that there was no room for: of `more` what was said of that is left out
    size_t sent;
    // of a stream: what the client was not sent yet
    bool stream, ended, waiting, dropped;
    char *piece; // [piece_room], from..to is there
    size_t from, to, piece_room;
};

// ---- what is held of all connections together

static const char full[] = "the server holds as much of bodies and answers as it may: ask again";

static void let_go(hs_http_request *r, size_t bytes)
{
    r->held -= bytes;
    atomic_fetch_sub(&r->http->held, bytes);
}

// False: it would be too much. must: it is counted all the same.
static bool hold(hs_http_request *r, size_t bytes, bool must)
{
    const size_t most = r->http->o.most_held;
    r->held += bytes;
    if (atomic_fetch_add(&r->http->held, bytes) + bytes <= most || !most || must)
        return true;
    let_go(r, bytes);
    return false;
}

// Memory of a request grows to `room` bytes, if they may be held.
static bool widen(hs_http_request *r, char **bytes, size_t *have, size_t room, bool must)
{
    const size_t more = room - *have;
    if (!hold(r, more, must))
        return false;
    char *p = realloc(*bytes, room);
    if (!p) {
        let_go(r, more);
        return false;
    }
    *bytes = p, *have = room;
    return true;
}

static void drop_body(hs_http_request *r)
{
    let_go(r, r->room);
    free(r->body);
    r->body = NULL, r->room = 0;
}

// ---- requests

static void put_back(hs_http_request *r)
{
    pthread_mutex_lock(&r->lock);
    const bool free_it = --r->holders == 0;
    pthread_mutex_unlock(&r->lock);
    if (!free_it)
        return;
    r->time.status = r->status;
    if (r->note && r->http->o.noted)
        r->http->o.noted(r->note, &r->time, r->http->o.user);
    for (int i = 0; i < r->n_more; i++) {
        free((char *)(uintptr_t)r->more[i].name);
        free((char *)(uintptr_t)r->more[i].value);
    }
    pthread_mutex_destroy(&r->lock);
    let_go(r, r->held);
    free(r->method), free(r->path), free(r->body), free(r->piece);
    free(r);
}

const char *hs_http_method(const hs_http_request *r) { return r->method; }
const char *hs_http_path(const hs_http_request *r) { return r->path; }
const char *hs_http_header(const hs_http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, name);
}
const char *hs_http_body(const hs_http_request *r, size_t *bytes)
{
    *bytes = r->bytes;
    return r->body ? r->body : "";
}
int64_t hs_http_arrived(const hs_http_request *r) { return r->time.arrived; }
int64_t hs_http_handed(const hs_http_request *r) { return r->time.handed; }

void hs_http_set_note(hs_http_request *r, void *note)
{
    pthread_mutex_lock(&r->lock);
    r->note = note;
    pthread_mutex_unlock(&r->lock);
}

bool hs_http_gone(hs_http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool gone = r->closed || r->dropped;
    if (!gone) { // under the lock the descriptor is still this connection's
        struct pollfd p = { .fd = r->at->fd, .events = POLLRDHUP };
        gone = poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
    }
    pthread_mutex_unlock(&r->lock);
    return gone;
}

// ---- answers

void hs_http_add_header(hs_http_request *r, const char *name, const char *value)
{
    if (r->n_more == HS_HTTP_MORE)
        return;
    hs_http_more *m = &r->more[r->n_more];
    *m = (hs_http_more){ strdup(name), strdup(value) };
    r->n_more += m->name && m->value;
}

static char *error_text(const char *why)
{
    char *text;
    return asprintf(&text, "{\"error\": \"%s\"}\n", why) < 0 ? NULL : text;
}

static bool is_of_any_answer(const char *name)
{
    return strcasecmp(name, "X-Request-Id") == 0 || strcasecmp(name, MHD_HTTP_HEADER_RETRY_AFTER) == 0;
}

static void dress(const hs_http_request *r, struct MHD_Response *response, const char *type)
{
    if (type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    for (int i = 0; i < r->n_more; i++)
        if (!r->instead || is_of_any_answer(r->more[i].name))
            MHD_add_response_header(response, r->more[i].name, r->more[i].value);
    if (atomic_load(&r->http->last))
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

// With the lock: from here on it is the client's turn, and nothing is made any more. One byte now and then is no progress.
static void limit_time(hs_http_request *r, size_t bytes)
{
    const hs_http_opts *o = &r->http->o;
    if (o->least_rate && !r->closed)
        r->at->until = hs_now_ns() + (int64_t)(1e9 * (o->idle_seconds + (double)bytes / (double)o->least_rate));
}

// With the lock: the connection goes on, now that there is something for it.
static void go_on(hs_http_request *r, struct MHD_Response *response)
{
    r->response = response;
    r->time.answered = r->note ? hs_now_ns() : 0;
    const bool sleeps = r->state == SUSPENDED;
    r->state = ANSWERED;
    if (sleeps && !r->closed)
        MHD_resume_connection(r->mhd);
}

enum { SMALL_ANSWER = 65536 }; // goes out whatever is held: errors are

void hs_http_answer(hs_http_request *r, int status, const char *type, char *body, size_t bytes)
{
    drop_body(r);
    if (!hold(r, bytes, bytes <= SMALL_ANSWER)) {
        free(body);
        body = error_text(full);
        bytes = body ? strlen(body) : 0;
        status = 503, type = "application/json", r->instead = true;
        hs_http_add_header(r, MHD_HTTP_HEADER_RETRY_AFTER, "1");
        hold(r, bytes, true);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(bytes, body, body ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (!response)
        free(body);
    pthread_mutex_lock(&r->lock);
    r->status = status, r->sent = bytes;
    if (response)
        dress(r, response, type);
    limit_time(r, bytes);
    go_on(r, response);
    pthread_mutex_unlock(&r->lock);
    put_back(r);
}

enum { STREAM_BLOCK = 16384 };

static ssize_t read_stream(void *user, uint64_t at, char *to, size_t room)
{
    (void)at;
    hs_http_request *r = user;
    ssize_t n = 0;
    pthread_mutex_lock(&r->lock);
    if (r->from < r->to) {
        n = (ssize_t)(r->to - r->from < room ? r->to - r->from : room);
        memcpy(to, r->piece + r->from, (size_t)n);
        r->from += (size_t)n, r->sent += (size_t)n;
        if (r->from == r->to)
            r->from = r->to = 0;
    } else if (r->dropped)
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    else if (r->ended)
        n = MHD_CONTENT_READER_END_OF_STREAM;
    else {
        r->waiting = true;
        MHD_suspend_connection(r->mhd);
    }
    pthread_mutex_unlock(&r->lock);
    return n;
}

void hs_http_stream_begin(hs_http_request *r, int status, const char *type)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, r, NULL);
    pthread_mutex_lock(&r->lock);
    r->status = status, r->stream = true;
    if (response) {
        dress(r, response, type);
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    }
    go_on(r, response);
    pthread_mutex_unlock(&r->lock);
}

static void wake_stream(hs_http_request *r)
{
    if (r->waiting && !r->closed) {
        r->waiting = false;
        MHD_resume_connection(r->mhd);
    }
}

// Room for n bytes behind what the client has not taken yet; false: it takes too little.
static bool make_piece(hs_http_request *r, size_t n)
{
    const size_t left = r->to - r->from;
    if (left + n > r->http->o.most_body)
        return false;
    if (r->to + n <= r->piece_room)
        return true;
    if (r->from > 0 && left <= r->from) { // a byte is moved once for each that was sent, at most
        memmove(r->piece, r->piece + r->from, left);
        r->from = 0, r->to = left;
        if (left + n <= r->piece_room)
            return true;
    }
    const size_t room = 2 * (r->to + n) + 256;
    return widen(r, &r->piece, &r->piece_room, room, room <= SMALL_ANSWER);
}

bool hs_http_stream_add(hs_http_request *r, const void *bytes, size_t n)
{
    pthread_mutex_lock(&r->lock);
    const bool ok = !r->closed && !r->dropped && make_piece(r, n);
    if (ok) {
        memcpy(r->piece + r->to, bytes, n);
        r->to += n;
    } else if (!r->closed)
        r->dropped = true, r->from = r->to = 0;
    wake_stream(r);
    pthread_mutex_unlock(&r->lock);
    return ok;
}

void hs_http_stream_end(hs_http_request *r)
{
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    limit_time(r, r->to - r->from);
    wake_stream(r);
    pthread_mutex_unlock(&r->lock);
    put_back(r);
}

// ---- what the daemon calls

static enum MHD_Result queue(hs_http_request *r)
{
    if (!r->response)
        return MHD_NO; // no memory for an answer: the connection is closed
    const enum MHD_Result ok = MHD_queue_response(r->mhd, (unsigned)r->status, r->response);
    MHD_destroy_response(r->response);
    r->response = NULL;
    return ok;
}

// Of a request that never reached a handler.
static enum MHD_Result refuse(hs_http_request *r, int status, const char *why)
{
    char *text = error_text(why);
    const size_t n = text ? strlen(text) : 0;
    r->response = MHD_create_response_from_buffer(n, text, text ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    r->status = status, r->sent = n, r->state = ANSWERED;
    if (!r->response) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(r->response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    MHD_add_response_header(r->response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == 503)
        MHD_add_response_header(r->response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    return queue(r);
}

static enum MHD_Result refuse_body(hs_http_request *r, int status)
{
    return refuse(r, status, status == 413 ? "the body is longer than this server takes" : full);
}

typedef struct lengths {
    int lengths, codings, hosts;
    const char *length, *coding;
    int packings;
    const char *packing;
} lengths;

static enum MHD_Result count_header(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    lengths *l = user;
    if (strcasecmp(name, "content-length") == 0)
        l->lengths++, l->length = value;
    else if (strcasecmp(name, "transfer-encoding") == 0)
        l->codings++, l->coding = value;
    else if (strcasecmp(name, "host") == 0)
        l->hosts++;
    else if (strcasecmp(name, "content-encoding") == 0 && value && strcasecmp(value, "identity") != 0)
        l->packings++, l->packing = value;
    return MHD_YES;
}

enum { BODY_BEGINS = 65536, TOO_LONG = 4 }; // TOO_LONG: times the limit, and nobody waits for an end any more

static bool make_room(hs_http_request *r, size_t room) { return widen(r, &r->body, &r->room, room, false); }

// What a proxy in front may read in another way than this daemon does is refused, not guessed; so is what is too long to be read at all.
#define UNPACKS "a body with that Content-Encoding is not read here: gzip and deflate are, where this build has zlib"
static enum MHD_Result take_head(hs_http_request *r)
{
    lengths l = { 0 };
    MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, count_header, &l);
    if (l.lengths > 1 || l.codings > 1 || (l.lengths && l.codings))
        return refuse(r, 400, "the length of the body is said more than once");
    if (l.codings && (!l.coding || strcasecmp(l.coding, "chunked") != 0))
        return refuse(r, 501, "a body is read as it is, or chunked: no other Transfer-Encoding");
    if (l.hosts > 1)
        return refuse(r, 400, "the host is said more than once");
    r->packed = l.packings;
    if (l.packings > 1 || (l.packings && !hs_http_unpacks(l.packing)))
        return refuse(r, 415, UNPACKS);
    if (l.length) {
        char *end;
        errno = 0;
        const unsigned long long n = strtoull(l.length, &end, 10);
        if (end == l.length || *end || errno || l.length[0] < '0' || l.length[0] > '9')
            return refuse(r, 400, "Content-Length is not a number");
        if (n > r->http->o.most_body)
            return refuse_body(r, 413);
        const size_t most = r->http->o.most_held;
        if (n > 0 && most && atomic_load(&r->http->held) + n > most)
            return refuse_body(r, 503);
        r->length = (size_t)n;
        // more only as it comes: what is declared may never be sent
        if (n > 0 && !make_room(r, n < BODY_BEGINS ? (size_t)n + 1 : BODY_BEGINS))
            return refuse_body(r, 503);
    }
    r->state = AT_BODY;
    r->at->since = r->time.arrived; // first: the clock looks at any time
    r->at->in_body = true;
    return MHD_YES;
}

static enum MHD_Result take_body(hs_http_request *r, const char *data, size_t *bytes)
{
    const size_t n = *bytes, need = r->bytes + n, most = r->http->o.most_body;
    *bytes = 0;
    if (r->state == ANSWERED) // was refused: what still comes is not looked at
        return MHD_YES;
    if (!r->unread && need > most)
        r->unread = 413;
    else if (!r->unread && need + 1 > r->room) {
        const size_t room = 2 * r->room > need + 1 ? 2 * r->room : need + 1, end = (r->length ? r->length : most) + 1;
        r->unread = make_room(r, room < end ? room : end) ? 0 : 503;
    }
    r->bytes = need;
    if (r->unread) { // there is no answering in the middle of a body
        drop_body(r);
        return need < TOO_LONG * most ? MHD_YES : MHD_NO;
    }
    memcpy(r->body + need - n, data, n);
    r->body[need] = 0;
    return MHD_YES;
}

static bool widen_unpacked(hs_unpacked *u, size_t room) { return widen(u->user, &u->bytes, &u->room, room, false); }

// The body in place of what came. 0, or what it is refused with.
static int unpack(hs_http_request *r)
{
    hs_unpacked u = { .widen = widen_unpacked, .user = r };
    const int http = hs_http_unpack(&u, r->body, r->bytes, r->http->o.most_body);
    if (http) {
        let_go(r, u.room);
        free(u.bytes);
        return http;
    }
    drop_body(r);
    r->body = u.bytes, r->room = u.room, r->bytes = u.n;
    r->body[u.n] = 0;
    return 0;
}

static enum MHD_Result hand_over(hs_http_request *r)
{
    r->received = r->bytes;
    const int wrong = r->packed && r->bytes ? unpack(r) : 0;
    if (wrong == 400)
        return refuse(r, 400, "the body is not what its Content-Encoding says");
    if (wrong)
        return refuse_body(r, wrong);
    r->at->busy = true;
    r->at->in_body = false;
    r->state = AT_HANDLER;
    r->time.handed = hs_now_ns();
    r->holders = 2, r->handed = true;
    atomic_fetch_add(&r->http->under_way, 1);
    atomic_fetch_add(&r->http->taken, 1);
    r->http->o.handler(r, r->http->o.user);
    pthread_mutex_lock(&r->lock);
    const bool answered = r->state == ANSWERED;
    if (!answered) {
        r->state = SUSPENDED;
        MHD_suspend_connection(r->mhd);
    }
    pthread_mutex_unlock(&r->lock);
    return answered ? queue(r) : MHD_YES; // takes the response's lock, under which a stream is read, which takes ours
}

static hs_http_request *new_request(hs_http *h, struct MHD_Connection *mhd, const char *url, const char *method)
{
    hs_http_request *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    *r = (hs_http_request){
        .http = h, .mhd = mhd, .holders = 1, .time = { .arrived = hs_now_ns() }, .method = strdup(method), .path = strdup(url)
    };
    pthread_mutex_init(&r->lock, NULL);
    r->at = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (r->method && r->path && r->at)
        return r;
    put_back(r);
    return NULL;
}

enum MHD_Result hs_http_on_request(void *user, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                   const char *data, size_t *bytes, void **mine)
{
    (void)version;
    hs_http_request *r = *mine;
    if (!r) {
        *mine = r = new_request(user, mhd, url, method);
        return r ? take_head(r) : MHD_NO;
    }
    if (*bytes > 0)
        return take_body(r, data, bytes);
    if (r->state == AT_BODY)
        return r->unread ? refuse_body(r, r->unread) : hand_over(r);
    if (r->state == ANSWERED && r->response)
        return queue(r);
    return r->state == ANSWERED ? MHD_YES : MHD_NO;
}

static void tell(const hs_http_request *r, struct MHD_Connection *mhd, enum MHD_RequestTerminationCode how)
{
    char client[64] = "?";
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info && info->client_addr)
        getnameinfo(info->client_addr, info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
                    client, sizeof client, NULL, 0, NI_NUMERICHOST);
    const char *id = NULL;
    for (int i = 0; i < r->n_more; i++)
        if (strcasecmp(r->more[i].name, "x-request-id") == 0)
            id = r->more[i].value;
    const bool whole = how == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    r->http->o.seen(&(hs_http_seen){ .method = r->method,
                                     .path = r->path,
                                     .client = client,
                                     .id = id,
                                     .status = r->status && (whole || r->state == ANSWERED) ? r->status : 499,
                                     .received = r->handed ? r->received : r->bytes,
                                     .sent = r->sent,
                                     .ns = hs_now_ns() - r->time.arrived },
                    r->http->o.user);
}

void hs_http_on_completed(void *user, struct MHD_Connection *mhd, void **mine, enum MHD_RequestTerminationCode how)
{
    (void)user;
    hs_http_request *r = *mine;
    *mine = NULL;
    if (!r)
        return;
    if (r->http->o.seen)
        tell(r, mhd, how);
    pthread_mutex_lock(&r->lock);
    r->closed = true;
    if (r->response)
        MHD_destroy_response(r->response);
    r->response = NULL;
    r->at->since = r->time.over = hs_now_ns();
    r->at->in_body = false;
    r->at->busy = false;
    r->at->until = 0;
    if (r->handed)
        atomic_fetch_sub(&r->http->under_way, 1);
    pthread_mutex_unlock(&r->lock);
    put_back(r);
}

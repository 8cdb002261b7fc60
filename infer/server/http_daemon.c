// http_daemon: where connections come from, how long they may take, and how the daemon begins and ends.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "infer/server/http_impl.h"
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_connection(void *user, struct MHD_Connection *mhd, void **mine, enum MHD_ConnectionNotificationCode what)
{
    hs_http *h = user;
    hs_http_connection *c = *mine;
    pthread_mutex_lock(&h->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED && (c = *mine = calloc(1, sizeof *c))) {
        c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c->since = hs_now_ns();
        c->next = h->first;
        if (h->first)
            h->first->before = c;
        h->first = c;
        atomic_fetch_add(&h->n_connections, 1);
    } else if (what == MHD_CONNECTION_NOTIFY_CLOSED && c) {
        *(c->before ? &c->before->next : &h->first) = c->next;
        if (c->next)
            c->next->before = c->before;
        free(c);
        *mine = NULL;
        atomic_fetch_sub(&h->n_connections, 1);
    }
    pthread_mutex_unlock(&h->lock);
}

// ---- clients that are too slow: libmicrohttpd's own limit begins anew with every byte

static void close_slow(hs_http *h)
{
    const int64_t now = hs_now_ns();
    for (hs_http_connection *c = h->first; c; c = c->next) {
        const double most = c->in_body ? h->o.body_seconds : h->o.idle_seconds;
        const int64_t until = c->until;
        if ((!c->busy && (double)(now - c->since) > most * 1e9) || (until && now > until))
            shutdown(c->fd, SHUT_RDWR);
    }
}

// libmicrohttpd reads what there is once, and does not look again: where the end of a client came with its last bytes, its connection lies
// there until it is too slow. A client that has hung up in the middle of a request, all of it read, twice in a row, is gone.
static void close_abandoned(hs_http *h)
{
    const size_t n = (size_t)atomic_load(&h->n_connections);
    if (n > h->polled_room) {
        struct pollfd *more = realloc(h->polled, 2 * n * sizeof *more);
        if (!more)
            return;
        h->polled = more, h->polled_room = 2 * n;
    }
    nfds_t k = 0;
    for (hs_http_connection *c = h->first; c; c = c->next)
        h->polled[k++] = (struct pollfd){ .fd = c->fd, .events = POLLRDHUP };
    if (k == 0 || poll(h->polled, k, 0) < 0)
        return;
    k = 0;
    for (hs_http_connection *c = h->first; c; c = c->next, k++) {
        int unread = 0;
        const bool up =
            h->polled[k].revents & (POLLRDHUP | POLLHUP | POLLERR) && !c->busy && ioctl(c->fd, FIONREAD, &unread) == 0 && !unread;
        if (up && c->hung_up == c->since)
            shutdown(c->fd, SHUT_RDWR);
        c->hung_up = up ? c->since : 0;
    }
}

static void *tick(void *arg)
{
    hs_http *h = arg;
    pthread_mutex_lock(&h->lock);
    while (!h->stops) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 500000000;
        t.tv_sec += t.tv_nsec / 1000000000, t.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&h->wake, &h->lock, &t);
        close_slow(h);
        close_abandoned(h);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

// ---- birth

static hs_status listen_at(hs_http *h)
{
    char port[16];
    struct addrinfo hint = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST }, *found;
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    const int one = 1;
    snprintf(port, sizeof port, "%d", h->o.port);
    if (getaddrinfo(h->o.host, port, &hint, &found) != 0)
        return HS_FAIL(USAGE, "'%s' is not an address to listen at, such as 127.0.0.1, ::1 or 0.0.0.0", h->o.host);
    h->socket = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->socket < 0) {
        freeaddrinfo(found);
        return HS_FAIL(SYSTEM, "no socket: %s", strerror(errno));
    }
    setsockopt(h->socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    const bool ok = bind(h->socket, found->ai_addr, found->ai_addrlen) == 0 && listen(h->socket, 1024) == 0;
    const int why = errno;
    freeaddrinfo(found);
    if (!ok)
        return HS_FAIL(SYSTEM, "%s, port %d: %s", h->o.host, h->o.port, strerror(why));
    getsockname(h->socket, (struct sockaddr *)&bound, &n);
    h->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port : ((struct sockaddr_in *)&bound)->sin_port);
    return HS_OK;
}

static hs_status read_pem(const char *path, char **out)
{
    enum { MOST = 1 << 20 };
    FILE *f = fopen(path, "re");
    if (!f)
        return HS_FAIL(USAGE, "%s: %s", path, strerror(errno));
    *out = calloc(1, MOST + 1);
    const size_t n = *out ? fread(*out, 1, MOST, f) : 0;
    fclose(f);
    return n ? HS_OK : HS_FAIL(USAGE, "%s is empty", path);
}

static void log_mhd(void *user, const char *fmt, va_list args)
{
    char line[512];
    (void)user;
    int n = vsnprintf(line, sizeof line, fmt, args);
    n = n < (int)sizeof line ? n : (int)sizeof line - 1;
    while (n > 0 && line[n - 1] == '\n')
        line[--n] = 0;
    hs_debug("http: %s", line);
}

// A connection is a descriptor: as many as are asked for, if the system's hard limit has them.
static void raise_descriptors(int64_t want)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= (rlim_t)want)
        return;
    const rlim_t had = l.rlim_cur;
    l.rlim_cur = l.rlim_max < (rlim_t)want ? l.rlim_max : (rlim_t)want;
    const bool raised = setrlimit(RLIMIT_NOFILE, &l) == 0;
    if (!raised || l.rlim_cur < (rlim_t)want)
        hs_warn("files and connections together can be %lld here, not the %lld that --connections asks for: raise the limit of open files "
                "(ulimit -n, LimitNOFILE)",
                (long long)(raised ? l.rlim_cur : had), (long long)want);
}

static hs_status start(hs_http *h)
{
    HS_TRY(listen_at(h));
    raise_descriptors(h->o.most_connections + 256);
    struct MHD_OptionItem item[16] = { 0 };
    int n = 0;
    item[n++] = (struct MHD_OptionItem){ MHD_OPTION_LISTEN_SOCKET, h->socket, NULL };
    item[n++] = (struct MHD_OptionItem){ MHD_OPTION_CONNECTION_LIMIT, (intptr_t)h->o.most_connections, NULL };
    item[n++] = (struct MHD_OptionItem){ MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)h->o.most_head, NULL };
    if (h->o.most_per_client)
        item[n++] = (struct MHD_OptionItem){ MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)h->o.most_per_client, NULL };
    if (h->o.threads > 1)
        item[n++] = (struct MHD_OptionItem){ MHD_OPTION_THREAD_POOL_SIZE, h->o.threads, NULL };
    // beside the clock: who takes nothing of an answer, which would be kept for as long
    item[n++] = (struct MHD_OptionItem){ MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)ceil(h->o.idle_seconds), NULL };
    item[n++] = (struct MHD_OptionItem){ MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL };
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (h->o.cert) {
        HS_TRY(read_pem(h->o.cert, &h->cert));
        HS_TRY(read_pem(h->o.key, &h->key));
        item[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, h->cert };
        item[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, h->key };
        flags |= MHD_USE_TLS;
    }
    item[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
    // the logger first: it is told what is wrong with the others
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, hs_http_on_request, h, MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL,
                                 MHD_OPTION_NOTIFY_COMPLETED, hs_http_on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                                 MHD_OPTION_ARRAY, item, MHD_OPTION_END);
    if (!h->daemon)
        return h->o.cert ? HS_FAIL(USAGE, "%s and %s are no certificate and its key, or TLS does not start", h->o.cert, h->o.key)
                         : HS_FAIL(SYSTEM, "the HTTP server does not start: %s", strerror(errno));
    h->socket = -1; // the daemon's from here on
    HS_TRY(hs_thread_start(&h->clock, tick, h, "the clock of connections"));
    h->ticks = true;
    return HS_OK;
}

hs_status hs_http_start(hs_http **out, const hs_http_opts *o)
{
    hs_http *h = *out = calloc(1, sizeof *h);
    if (!h)
        return HS_FAIL(MEMORY, "no memory for an HTTP server");
    h->o = *o, h->socket = -1;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    const hs_status st = start(h);
    if (st == HS_OK)
        return HS_OK;
    hs_http_stop(h);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

int hs_http_port(const hs_http *h) { return h->port; }
int64_t hs_http_connections(const hs_http *h) { return atomic_load(&h->n_connections); }
int64_t hs_http_under_way(const hs_http *h) { return atomic_load(&h->under_way); }
uint64_t hs_http_taken(const hs_http *h) { return atomic_load(&h->taken); }
size_t hs_http_held(const hs_http *h) { return atomic_load(&h->held); }

const char *hs_http_library(void) { return MHD_get_version(); }

void hs_http_quiesce(hs_http *h)
{
    atomic_store(&h->last, true);
    const MHD_socket s = MHD_quiesce_daemon(h->daemon);
    if (s != MHD_INVALID_SOCKET)
        close(s);
}

void hs_http_stop(hs_http *h)
{
    if (!h)
        return;
    if (h->ticks) {
        pthread_mutex_lock(&h->lock);
        h->stops = true;
        pthread_cond_signal(&h->wake);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->clock, NULL);
    }
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    if (h->socket >= 0)
        close(h->socket);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h->cert), free(h->key), free(h->polled);
    free(h);
}

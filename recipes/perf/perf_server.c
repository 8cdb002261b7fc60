// perf_server: where a URL leads to, and single questions to who listens there.
#include "core/base/clock.h"
#include "recipes/perf/perf_http.h"
#include "recipes/perf/perf_load.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hs_status divide(hs_perf_server *s, const char *url)
{
    if (strncmp(url, "https://", 8) == 0)
        return HS_FAIL(
            UNSUPPORTED,
            "%s: TLS is not spoken here: a URL begins with http://; measure the server without its --tls-cert, or behind its proxy", url);
    const char *at = strncmp(url, "http://", 7) == 0 ? url + 7 : url;
    const size_t authority = strcspn(at, "/");
    const bool six = *at == '['; // [::1]:8000
    const char *end = six ? memchr(at, ']', authority) : memchr(at, ':', authority);
    const char *host = at + six, *port = end ? end + six : NULL;
    const size_t n_host = end ? (size_t)(end - host) : authority;
    if (n_host == 0 || n_host >= sizeof s->host || (six && !end) || strchr(at, '?') || strchr(at, '#') || strchr(at, '@'))
        return HS_FAIL(USAGE, "%s is no address of a server: http://HOST:PORT", url);
    memcpy(s->host, host, n_host), s->host[n_host] = 0;
    const size_t n_port = port && port < at + authority ? (size_t)(at + authority - port) : 0;
    if (n_port == 1 || n_port > 6 || (n_port && (*port != ':' || strspn(port + 1, "0123456789") < n_port - 1)))
        return HS_FAIL(USAGE, "%s is no address of a server: http://HOST:PORT", url);
    snprintf(s->port, sizeof s->port, "%.*s", n_port ? (int)n_port - 1 : 2, n_port ? port + 1 : "80");
    const char *path = at + authority;
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    if (n >= sizeof s->prefix)
        return HS_FAIL(USAGE, "%.60s...: its path is too long", url);
    memcpy(s->prefix, path, n), s->prefix[n] = 0;
    return HS_OK;
}

hs_status hs_perf_server_find(hs_perf_server *s, const char *url)
{
    *s = (hs_perf_server){ 0 };
    HS_TRY(divide(s, url));
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    const int wrong = getaddrinfo(s->host, s->port, &hints, &found);
    if (wrong)
        return HS_FAIL(SYSTEM, "no address of host %s: %s", s->host, wrong == EAI_SYSTEM ? strerror(errno) : gai_strerror(wrong));
    memcpy(&s->address, found->ai_addr, found->ai_addrlen);
    s->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return HS_OK;
}

typedef struct kept {
    char *p;
    size_t n, room;
    bool failed;
} kept;

static void keep(void *user, const char *bytes, size_t n)
{
    kept *k = user;
    if (k->n + n + 1 > k->room) {
        const size_t room = 2 * (k->n + n) + 1024;
        char *p = k->failed ? NULL : realloc(k->p, room);
        if (!p) {
            k->failed = true;
            return;
        }
        k->p = p, k->room = room;
    }
    memcpy(k->p + k->n, bytes, n);
    k->n += n, k->p[k->n] = 0;
}

static hs_status no_answer(const hs_perf_server *s, const char *why)
{
    return HS_FAIL(SYSTEM, "no answer from %s:%s: %s", s->host, s->port, why);
}

static hs_status wait_for(int fd, short what, double until)
{
    const double left = until - hs_now();
    struct pollfd p = { .fd = fd, .events = what };
    return left > 0 && poll(&p, 1, (int)(1e3 * left) + 1) > 0 ? HS_OK : HS_FAIL(SYSTEM, "the time is over");
}

// Whether it went wrong: errno, or the parser's word, in *why.
static bool talk(int fd, const char *bytes, size_t n, double until, hs_perf_answer *a, const char **why)
{
    char piece[16384];
    for (size_t at = 0; at < n;) {
        if (wait_for(fd, POLLOUT, until) != HS_OK)
            return *why = "it does not read", false;
        const ssize_t k = send(fd, bytes + at, n - at, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN)
            return *why = strerror(errno), false;
        at += k > 0 ? (size_t)k : 0;
    }
    for (;;) {
        size_t used;
        if (wait_for(fd, POLLIN, until) != HS_OK)
            return *why = "the time is over", false;
        const ssize_t k = recv(fd, piece, sizeof piece, 0);
        if (k < 0 && errno == EAGAIN)
            continue;
        if (k < 0)
            return *why = strerror(errno), false;
        const hs_perf_answer_state st = k ? hs_perf_answer_feed(a, piece, (size_t)k, &used) : hs_perf_answer_close(a);
        if (st != HS_ANSWER_MORE)
            return *why = a->wrong, st == HS_ANSWER_DONE;
    }
}

hs_status hs_perf_ask(const hs_perf_server *s, const char *method, const char *path, const char *body, double timeout, int *status,
                      char **answer)
{
    char head[1024];
    kept text = { 0 };
    const double until = hs_now() + timeout;
    const char *why = NULL;
    const size_t n_body = body ? strlen(body) : 0;
    const int n =
        snprintf(head, sizeof head,
                 "%s %s%s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                 method, s->prefix, path, s->host, s->port, n_body);
    *status = 0, *answer = NULL;
    if (n >= (int)sizeof head)
        return HS_FAIL(USAGE, "the path is too long: %.60s...", path);
    hs_perf_answer *a = malloc(sizeof *a);
    char *request = malloc((size_t)n + n_body + 1);
    const int fd = socket(s->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool good = a && request && fd >= 0;
    if (good) {
        memcpy(request, head, (size_t)n);
        if (n_body)
            memcpy(request + n, body, n_body);
        hs_perf_answer_begin(a, keep, &text);
        good = connect(fd, (const struct sockaddr *)&s->address, s->address_bytes) == 0 || errno == EINPROGRESS;
    }
    if (!good)
        why = strerror(errno);
    else
        good = talk(fd, request, (size_t)n + n_body, until, a, &why);
    *status = good ? a->status : 0;
    if (fd >= 0)
        close(fd);
    free(request);
    free(a);
    if (good && !text.p)
        keep(&text, "", 0);
    if (good && !text.failed) {
        *answer = text.p;
        return HS_OK;
    }
    free(text.p);
    return good ? HS_FAIL(MEMORY, "no memory for an answer") : no_answer(s, why);
}

// perf_peer: a server whose delays are known, for cli_perf.sh. One request at a time, each in its turn, as a model with one worker.
//   perf_peer [delay MS] [stall K MS] [fail K] [drop K] [close] [chunked] [token MS]     prints "http://127.0.0.1:PORT" and serves until it
//   is killed
// delay: of every request; stall: request K takes MS more; fail: every Kth is answered by 503; drop: every Kth connection is closed
// unanswered; close: each answer ends its connection; chunked: bodies in chunks of 3 bytes; token: of a completion's each token, first and
// later.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 256, ROOM = 1 << 20 };
static struct {
    int delay, stall, stall_ms, fail, drop, token;
    bool close, chunked;
} how = { .token = 5 };
typedef struct client {
    int fd;
    char *in;
    size_t n;
} client;

static void sleep_ms(int ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL); }

static void put(int fd, const char *p, size_t n)
{
    while (n) {
        const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        p += k, n -= (size_t)k;
    }
}

static void head(int fd, int status, const char *type, long length)
{
    char text[400];
    int n =
        snprintf(text, sizeof text, "HTTP/1.1 %d Said\r\nContent-Type: %s\r\n%s", status, type, how.close ? "Connection: close\r\n" : "");
    n += length < 0 ? snprintf(text + n, sizeof text - (size_t)n, "Transfer-Encoding: chunked\r\n\r\n")
                    : snprintf(text + n, sizeof text - (size_t)n, "Content-Length: %ld\r\n\r\n", length);
    put(fd, text, (size_t)n);
}

static void chunk(int fd, const char *p, size_t n)
{
    char text[1200];
    const int k = snprintf(text, sizeof text, "%zx;x=1\r\n%.*s\r\n", n, (int)n, p);
    put(fd, text, (size_t)k);
}

static void say(int fd, int status, const char *body)
{
    const size_t n = strlen(body);
    if (!how.chunked) {
        head(fd, status, "application/json", (long)n);
        put(fd, body, n);
        return;
    }
    head(fd, status, "application/json", -1);
    for (size_t at = 0; at < n; at += 3)
        chunk(fd, body + at, n - at < 3 ? n - at : 3);
    put(fd, "0\r\nTrailer: x\r\n\r\n", 17);
}

static void stream(int fd, const char *body)
{
    const char *max = strstr(body, "\"max_tokens\":");
    const int tokens = max ? atoi(max + 13) : 4;
    char text[200];
    head(fd, 200, "text/event-stream", -1);
    for (int i = 0; i < tokens; i++) {
        sleep_ms(how.token);
        const int n = snprintf(text, sizeof text,
                               ": a comment\r\ndata: {\"choices\":[{\"index\":0,\"text\":\"w%d\"}],\r\ndata: \"usage\":null}\r\n\r\n", i);
        chunk(fd, text, (size_t)n);
    }
    const int n = snprintf(text, sizeof text, "data: {\"choices\":[],\"usage\":{\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", tokens);
    chunk(fd, text, (size_t)n);
    put(fd, "0\r\n\r\n", 5);
}

// false: the connection ends.
static bool answer(int fd, const char *request, const char *body)
{
    static int count;
    if (strncmp(request, "GET /v1/models ", 15) == 0) {
        say(fd, 200, "{\"data\":[{\"id\":\"fake\"}]}");
        return true;
    }
    if (strncmp(request, "GET /v2/models/fake ", 20) == 0) {
        say(fd, 200,
            "{\"name\":\"fake\",\"inputs\":[{\"name\":\"input_ids\",\"datatype\":\"INT64\",\"shape\":[-1,-1]},"
            "{\"name\":\"attention_mask\",\"datatype\":\"INT32\",\"shape\":[-1,-1]}],\"outputs\":[]}");
        return true;
    }
    if (strncmp(request, "GET /", 5) == 0) {
        say(fd, 404, "{\"error\":\"no such route\"}");
        return true;
    }
    count++;
    sleep_ms(how.delay + (count == how.stall ? how.stall_ms : 0));
    if (how.drop && count % how.drop == 0)
        return false;
    if (how.fail && count % how.fail == 0)
        say(fd, 503, "{\"error\":\"the queue is full\"}");
    else if (strncmp(request, "POST /v1/completions ", 21) == 0)
        stream(fd, body);
    else
        say(fd, 200, "[[0.5,-0.25]]");
    return !how.close;
}

// Answers what is whole of a client's bytes. false: it is gone.
static bool serve(client *c)
{
    const ssize_t k = recv(c->fd, c->in + c->n, ROOM - 1 - c->n, 0);
    if (k <= 0)
        return false;
    c->n += (size_t)k, c->in[c->n] = 0;
    char *end = strstr(c->in, "\r\n\r\n"), *length = strstr(c->in, "Content-Length: ");
    if (!end)
        return true;
    const size_t whole = (size_t)(end + 4 - c->in) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
    if (c->n < whole)
        return true;
    c->n = 0; // who waits for its answer sends nothing more
    return answer(c->fd, c->in, end + 4);
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const int next = i + 1 < argc ? atoi(argv[i + 1]) : 0;
        if (strcmp(word, "delay") == 0)
            how.delay = next, i++;
        else if (strcmp(word, "stall") == 0)
            how.stall = next, how.stall_ms = atoi(argv[i + 2]), i += 2;
        else if (strcmp(word, "fail") == 0)
            how.fail = next, i++;
        else if (strcmp(word, "drop") == 0)
            how.drop = next, i++;
        else if (strcmp(word, "token") == 0)
            how.token = next, i++;
        else if (strcmp(word, "close") == 0)
            how.close = true;
        else
            how.chunked = true;
    }
}

int main(int argc, char **argv)
{
    static client at[CLIENTS];
    struct pollfd p[CLIENTS + 1];
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;
    read_arguments(argc, argv);
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, CLIENTS) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &size) != 0)
        return 1;
    printf("http://127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (int n = 0;;) {
        p[n] = (struct pollfd){ listener, POLLIN, 0 };
        for (int i = 0; i < n; i++)
            p[i] = (struct pollfd){ at[i].fd, POLLIN, 0 };
        poll(p, (nfds_t)n + 1, -1);
        const bool more = p[n].revents;
        int kept = 0;
        for (int i = 0; i < n; i++)
            if (!p[i].revents || serve(&at[i]))
                at[kept++] = at[i];
            else {
                close(at[i].fd);
                free(at[i].in);
            }
        n = kept;
        if (more && n < CLIENTS) {
            at[n] = (struct client){ accept(listener, NULL, NULL), malloc(ROOM), 0 };
            setsockopt(at[n++].fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        }
    }
}

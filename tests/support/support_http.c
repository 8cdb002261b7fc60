// support_http: sockets, and just enough of HTTP to read what comes back.
#include "tests/support/support_http.h"
#include "data/base/file.h"
#include "tests/support/support_files.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

// ---- client

void http_reply_free(http_reply *r)
{
    free(r->head), free(r->body);
    *r = (http_reply){ 0 };
}

const char *http_reply_header(const http_reply *r, const char *name, char buf[256])
{
    const size_t n = strlen(name);
    for (const char *line = r->head ? strstr(r->head, "\r\n") : NULL; line && line[2]; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':') {
            const char *value = line + 3 + n + strspn(line + 3 + n, " ");
            snprintf(buf, 256, "%.*s", (int)strcspn(value, "\r"), value);
            return buf;
        }
    return NULL;
}

int http_connect(int port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    const struct timeval t = { 20, 0 };
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

void http_send(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        p += k, n -= (size_t)k;
    }
}

static bool read_some(int fd, char *to, size_t n)
{
    while (n > 0) {
        const ssize_t k = recv(fd, to, n, 0);
        if (k <= 0)
            return false;
        to += k, n -= (size_t)k;
    }
    return true;
}

static bool read_line(int fd, char *line, size_t room) // with its end
{
    size_t n = 0;
    while (n + 1 < room && read_some(fd, line + n, 1)) {
        line[++n] = 0;
        if (n >= 2 && memcmp(line + n - 2, "\r\n", 2) == 0)
            return true;
    }
    return false;
}

static void add(http_reply *r, const char *bytes, size_t n)
{
    r->body = realloc(r->body, r->bytes + n + 1);
    memcpy(r->body + r->bytes, bytes, n);
    r->bytes += n, r->body[r->bytes] = 0;
}

static bool read_bytes(int fd, http_reply *r, size_t n)
{
    char *p = malloc(n + 1);
    const bool ok = read_some(fd, p, n);
    if (ok)
        add(r, p, n);
    free(p);
    return ok;
}

bool http_read(int fd, http_reply *r)
{
    char line[8192], value[256];
    size_t n = 0;
    *r = (http_reply){ 0 };
    add(r, "", 0);
    do {
        if (!read_line(fd, line, sizeof line)) {
            http_reply_free(r);
            return false;
        }
        const size_t more = strlen(line);
        r->head = realloc(r->head, n + more + 1);
        memcpy(r->head + n, line, more + 1);
        n += more;
    } while (strcmp(line, "\r\n") != 0);
    r->status = atoi(r->head + strcspn(r->head, " "));
    if (r->status == 100) {
        http_reply_free(r);
        return http_read(fd, r);
    }
    if (http_reply_header(r, "transfer-encoding", value)) {
        while (read_line(fd, line, sizeof line)) {
            const size_t chunk = strtoul(line, NULL, 16);
            if (!read_bytes(fd, r, chunk) || !read_line(fd, line, sizeof line) || chunk == 0)
                break;
        }
        return true;
    }
    return !http_reply_header(r, "content-length", value) || read_bytes(fd, r, strtoul(value, NULL, 10));
}

http_reply http_ask(int port, const char *method, const char *path, const char *headers, const void *body, size_t bytes)
{
    char head[4096], length[64] = "";
    http_reply r;
    const int fd = http_connect(port);
    if (body)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", bytes);
    snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s%s\r\n", method, path, length, headers);
    http_send(fd, head, strlen(head));
    if (body)
        http_send(fd, body, bytes);
    if (!http_read(fd, &r))
        r = (http_reply){ 0 };
    close(fd);
    return r;
}

http_reply http_post(int port, const char *path, const char *json) { return http_ask(port, "POST", path, "", json, strlen(json)); }
http_reply http_get(int port, const char *path) { return http_ask(port, "GET", path, "", NULL, 0); }

json_t *http_refused(int port, const char *path, const char *json, int status, const char *part)
{
    http_reply r = http_post(port, path, json);
    json_t *v = json_loadb(r.body, r.bytes, 0, NULL);
    const char *why = json_string_value(json_object_get(v, "error"));
    if (r.status != status || !why || !strstr(why, part))
        fail_msg("%s %s: %d %s", path, json, r.status, r.body);
    http_reply_free(&r);
    return v;
}

// ---- server

static void copy(const char *golden, const char *file, const char *to)
{
    char from[512], name[256];
    size_t n;
    snprintf(from, sizeof from, "%s/%s", golden, file);
    snprintf(name, sizeof name, "%s/%s", to, file);
    char *bytes;
    OK(hs_file_read(golden_path(from), &bytes, &n));
    scratch_write(name, bytes, n);
    free(bytes);
}

// [PAD] [UNK] [CLS] [SEP] [MASK], the letters, and each as the rest of a word: 57; four words fill up to 61.
static void write_vocab(const char *to)
{
    char text[1024], name[256];
    size_t n = (size_t)snprintf(text, sizeof text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (char c = 'a'; c <= 'z'; c++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%c\n##%c\n", c, c);
    n += (size_t)snprintf(text + n, sizeof text - n, "the\nof\nand\n.\n");
    snprintf(name, sizeof name, "%s/vocab.txt", to);
    scratch_write(name, text, n);
    snprintf(name, sizeof name, "%s/tokenizer_config.json", to);
    const char *config = "{\"do_lower_case\": true, \"tokenizer_class\": \"BertTokenizer\"}\n";
    scratch_write(name, config, strlen(config));
}

const char *serve_folder(const char *name, const char *golden)
{
    static const char *const files[] = { "config.json", "model.safetensors" };
    mkdir(scratch_path(name), 0777);
    for (int i = 0; i < HS_COUNT(files); i++)
        copy(golden, files[i], name);
    write_vocab(name);
    return scratch_path(name);
}

static hs_status settle(const hs_session *s, hs_policy *policy, void *user)
{
    (void)s, (void)user;
    *policy = (hs_policy){ .low = HS_F32 };
    return HS_OK;
}

hs_status serve_try(hs_server *s, const char *const *name, int n, void (*change)(hs_server_opts *o))
{
    static char path[HS_SERVER_MODELS][4096];
    static hs_server_model model[HS_SERVER_MODELS];
    for (int i = 0; i < n; i++) {
        snprintf(path[i], sizeof path[i], "%s", scratch_path(name[i]));
        model[i] = (hs_server_model){ name[i], path[i] };
    }
    hs_server_opts o = {
        .http = { .host = "127.0.0.1",
                  .threads = 1,
                  .most_connections = 256,
                  .most_head = 16384,
                  .most_body = 1 << 20,
                  .idle_seconds = 30,
                  .body_seconds = 30 },
        .served = { .families = hs_families,
                    .device = "cpu",
                    .threads = 1,
                    .instances = 1,
                    .warm_up = true,
                    .settle = settle,
                    .batch_tokens = 64,
                    .queue_works = 256,
                    .queue_tokens = 65536,
                    .most_texts = 64 },
        .model = model,
        .n_models = n,
        .drain_seconds = 10,
        .version = "test",
    };
    if (change)
        change(&o);
    return hs_server_start(s, &o);
}

void serve_start(hs_server *s, const char *const *name, int n, void (*change)(hs_server_opts *o)) { OK(serve_try(s, name, n, change)); }

void serve_stop(hs_server *s)
{
    int64_t left;
    hs_server_stop(s, &left);
    assert_int_equal(left, 0);
}

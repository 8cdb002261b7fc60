// server: what comes over HTTP is what the library gives, whatever it was batched with; rude, slow and vanishing clients; models that are
// loaded anew under load; the end.
#include "infer/encode/texts.h"
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 32, TEXTS = 12 };
static const char *const text[TEXTS] = { "a",
                                         "the cat of the bad",
                                         "and",
                                         "cab . dab",
                                         "of of of",
                                         "bed and bad",
                                         "the end .",
                                         "a b c d e f g h i j k",
                                         "ace of the bad",
                                         "the the the the",
                                         "zz top",
                                         "." };
static float want[TEXTS][WIDTH];
static const char *const names[] = { "one" };

// ---- what the library gives

static hs_status keep(const hs_text_out *out, void *user)
{
    (void)user;
    return hs_row_reader_vector(out->reader, out->index, HS_POOLING_MEAN, false, want[out->number]);
}

static int begin(void **state)
{
    scratch_open(state);
    hs_session s;
    hs_texts *t;
    const hs_policy fp32 = { .low = HS_F32 };
    OK(hs_session_open(&s, serve_folder("one", "encoders/bert"), 0, hs_families, "cpu", 1));
    const hs_arch_shape shape = hs_texts_shape(&s, false);
    OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .eval = &shape }));
    OK(hs_texts_new(&t, &(hs_texts_opts){ .session = &s, .done = keep }));
    for (int i = 0; i < TEXTS; i++)
        OK(hs_texts_add(t, text[i], strlen(text[i])));
    OK(hs_texts_finish(t));
    hs_texts_free(t);
    hs_session_close(&s);
    return 0;
}

static bool same_vector(const json_t *v, const float *w)
{
    bool same = json_array_size(v) == WIDTH;
    for (size_t i = 0; same && i < WIDTH; i++)
        same = (float)json_number_value(json_array_get(v, i)) == w[i];
    return same;
}

// /embed of texts [first, first + n) modulo TEXTS. 0: right; else its status, or -1.
static int embed(int port, int first, int n)
{
    char body[1024] = "{\"normalize\": false, \"inputs\": [";
    for (int i = 0; i < n; i++)
        sprintf(body + strlen(body), "%s\"%s\"", i ? ", " : "", text[(first + i) % TEXTS]);
    strcat(body, "]}");
    http_reply r = http_post(port, "/embed", body);
    json_t *v = r.status == 200 ? json_loadb(r.body, r.bytes, 0, NULL) : NULL;
    bool same = json_array_size(v) == (size_t)n;
    for (int i = 0; same && i < n; i++)
        same = same_vector(json_array_get(v, (size_t)i), want[(first + i) % TEXTS]);
    const int result = same ? 0 : r.status == 200 || r.status == 0 ? -1 : r.status;
    json_decref(v);
    http_reply_free(&r);
    return result;
}

static void test_same_as_library(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < TEXTS; i++)
        assert_int_equal(embed(port, i, 1), 0);
    assert_int_equal(embed(port, 0, TEXTS), 0);
    assert_int_equal(embed(port, 3, 40), 0); // more than a batch
    http_reply r = http_post(port, "/v1/embeddings", "{\"model\": \"one\", \"input\": [\"a\", \"and\"]}");
    json_t *v = json_loadb(r.body, r.bytes, 0, NULL);
    assert_int_equal(r.status, 200);
    assert_true(same_vector(json_object_get(json_array_get(json_object_get(v, "data"), 1), "embedding"), want[2]));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(v, "usage"), "prompt_tokens")), 6);
    json_decref(v);
    http_reply_free(&r);
    serve_stop(&s);
}

// ---- many at once

typedef struct crowd {
    int port, first, rounds;
    atomic_int *wrong;
} crowd;

static void *ask_often(void *arg)
{
    const crowd *c = arg;
    for (int i = 0; i < c->rounds; i++)
        if (embed(c->port, c->first + i, 1 + (c->first + 3 * i) % 7) != 0)
            atomic_fetch_add(c->wrong, 1);
    return NULL;
}

enum { CROWD = 8 };
static void ask_together(int port, int rounds, atomic_int *wrong, void (*meanwhile)(hs_server *s), hs_server *s)
{
    pthread_t thread[CROWD];
    crowd c[CROWD];
    for (int i = 0; i < CROWD; i++) {
        c[i] = (crowd){ port, i, rounds, wrong };
        assert_int_equal(pthread_create(&thread[i], NULL, ask_often, &c[i]), 0);
    }
    if (meanwhile)
        meanwhile(s);
    for (int i = 0; i < CROWD; i++)
        pthread_join(thread[i], NULL);
}

static void test_whatever_beside(void **state)
{
    (void)state;
    hs_server s;
    atomic_int wrong = 0;
    serve_start(&s, names, 1, NULL);
    ask_together(hs_http_port(s.http), 25, &wrong, NULL, NULL);
    assert_int_equal(wrong, 0);
    hs_served *m = hs_hub_find(s.hub, "one", 0, 0);
    assert_int_equal(m->count->success, CROWD * 25);
    assert_true(hs_batcher_counted(m->batcher)->batches < m->count->texts); // rows did share batches
    assert_int_equal(hs_batcher_counted(m->batcher)->waiting, 0);
    assert_int_equal(hs_batcher_counted(m->batcher)->waiting_tokens, 0);
    hs_served_let_go(m);
    serve_stop(&s);
}

static void three_instances(hs_server_opts *o) { o->served.instances = o->served.threads = 3, o->served.pin = true; }

// Several runs of one model take from one queue.
static void test_instances(void **state)
{
    (void)state;
    hs_server s;
    atomic_int wrong = 0;
    serve_start(&s, names, 1, three_instances);
    ask_together(hs_http_port(s.http), 40, &wrong, NULL, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(embed(hs_http_port(s.http), i, 40), 0);
    assert_int_equal(wrong, 0);
    serve_stop(&s);
}

static void wait_ms(int ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL); }

static atomic_int loads;
static void on_loaded(hs_status st, const char *why, void *user)
{
    (void)why, (void)user;
    atomic_fetch_add(&loads, st == HS_OK ? 1 : 1000);
}
static void reload_often(hs_server *s)
{
    for (int i = 0; i < 10; i++) {
        hs_hub_load(s->hub, "one", NULL, on_loaded, NULL);
        wait_ms(10);
    }
}

static void test_reload_under_load(void **state)
{
    (void)state;
    hs_server s;
    atomic_int wrong = 0;
    loads = 0;
    serve_start(&s, names, 1, NULL);
    ask_together(hs_http_port(s.http), 25, &wrong, reload_often, &s);
    assert_int_equal(wrong, 0);
    for (int i = 0; i < 500 && loads < 10; i++)
        wait_ms(10);
    assert_int_equal(loads, 10);
    hs_served *m = hs_hub_find(s.hub, "one", 11, 0);
    assert_non_null(m);
    hs_served_let_go(m);
    // one that fails keeps what there is
    loads = 0;
    hs_hub_load(s.hub, "one", scratch_path("nowhere"), on_loaded, NULL);
    for (int i = 0; i < 500 && loads == 0; i++)
        wait_ms(10);
    assert_int_equal(loads, 1000);
    assert_int_equal(embed(hs_http_port(s.http), 0, 2), 0);
    // and where it came from
    hs_hub_load(s.hub, "one", NULL, on_loaded, NULL);
    for (int i = 0; i < 500 && loads == 1000; i++)
        wait_ms(10);
    assert_int_equal(loads, 1001);
    serve_stop(&s);
}

// ---- bad requests

static void expect(int port, const char *method, const char *path, const char *headers, const char *body, int status, const char *part)
{
    http_reply r = http_ask(port, method, path, headers, body, body ? strlen(body) : 0);
    if (r.status != status || !strstr(r.body ? r.body : "", part))
        fail_msg("%s %s %.60s: %d, not %d: %s", method, path, body ? body : "", r.status, status, r.body ? r.body : "(nothing)");
    http_reply_free(&r);
}

static void test_refusals(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *part;
    } bad[] = {
        { "GET", "/nothing", NULL, 404, "/nothing" },
        { "GET", "/embed", NULL, 405, "POST" },
        { "DELETE", "/v2/health/live", NULL, 405, "GET" },
        { "GET", "/../../etc/passwd", NULL, 404, "there is no" },
        { "GET", "/%2e%2e/%2e%2e/etc/passwd", NULL, 404, "there is no" },
        { "POST", "/embed", "", 400, "empty" },
        { "POST", "/embed", "{", 400, "not JSON" },
        { "POST", "/embed", "[]", 422, "object" },
        { "POST", "/embed", "{\"inputs\": 3}", 422, "inputs" },
        { "POST", "/embed", "{\"inputs\": []}", 422, "empty" },
        { "POST", "/embed", "{\"inputs\": [\"a\", null]}", 422, "element 1" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"inputs\": \"b\"}", 400, "duplicate" },
        { "POST", "/embed", "{\"inputs\": \"\xff\"}", 400, "not JSON" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"truncate\": 1}", 422, "truncate" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"normalise\": true}", 422, "'normalise' is none of inputs, truncate" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"dimensions\": 31}", 400, "must be 32" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"dimensions\": null, \"options\": {\"use_cache\": true}, \"user\": \"me\"}", 200, "[[" },
        { "POST", "/tokenize", "{\"inputs\": \"a\", \"prompt_name\": \"query\"}", 422, "'prompt_name' is none of inputs" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"truncation_direction\": \"up\"}", 422, "Left or Right" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"prompt_name\": \"query\"}", 422, "has no prompts" },
        { "POST", "/embed", "{\"inputs\": \"a b c d e f g h i j k l m n o p q r s t u v w\"}", 413, "20 tokens" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"model\": \"two\"}", 404, "two" },
        { "POST", "/embed", "{\"inputs\": \"a\", \"model\": 2}", 422, "model" },
        { "POST", "/v1/embeddings", "{\"input\": \"a\", \"model\": \"two\"}", 404, "\"type\":\"not_found_error\"" },
        { "POST", "/v1/embeddings", "{\"input\": \"a\", \"encoding_format\": \"int3\"}", 400, "encoding_format" },
        { "POST", "/v1/embeddings", "{\"input\": \"a\", \"dimensions\": 31}", 400, "must be 32" },
        { "POST", "/v1/embeddings", "{\"input\": [1, 1000000]}", 400, "token 2 is no id" },
        { "POST", "/v1/embeddings", "{\"input\": [[1], [-1]]}", 400, "input 2: token 1" },
        { "POST", "/v1/embeddings", "{\"input\": [[1], []]}", 400, "input 2 has 0 tokens" },
        { "POST", "/v1/embeddings", "{\"input\": [[1], \"a\"]}", 400, "input 2 has 0 tokens" },
        { "POST", "/v1/embeddings", "{\"input\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", 413, "from 1 to 20" },
    };
    for (int i = 0; i < HS_COUNT(bad); i++)
        expect(port, bad[i].method, bad[i].path, "", bad[i].body, bad[i].status, bad[i].part);
    static const struct {
        const char *head;
        int status;
        const char *part;
    } ranks[] = {
        { "X-Request-Priority: 1\r\nX-Request-Timeout-Ms: 30000\r\n", 200, "[[" },
        { "X-Request-Timeout-Ms: 0.001\r\n", 504, "longer than it was given" },
        { "X-Request-Timeout-Ms: 0\r\n", 400, "X-Request-Timeout-Ms is '0'" },
        { "X-Request-Timeout-Ms: nan\r\n", 400, "must be a number" },
        { "X-Request-Priority: 0\r\n", 400, "X-Request-Priority is '0'" },
        { "X-Request-Priority: 1.5\r\n", 400, "a whole number" },
    };
    for (int i = 0; i < HS_COUNT(ranks); i++)
        expect(port, "POST", "/embed", ranks[i].head, "{\"inputs\": \"a\"}", ranks[i].status, ranks[i].part);
    char *deep = malloc(200002); // deeper than a stack
    memset(deep, '[', 200000), deep[200000] = 0;
    expect(port, "POST", "/embed", "", deep, 400, "not JSON");
    free(deep);
    char many[1024] = "{\"inputs\": [\"a\"";
    for (int i = 0; i < 64; i++)
        strcat(many, ", \"b\"");
    strcat(many, "]}");
    expect(port, "POST", "/embed", "", many, 413, "at most 64");
    expect(port, "POST", "/embed", "Content-Encoding: br\r\n", "{}", 415, "Content-Encoding");
    assert_int_equal(embed(port, 0, 3), 0);
    serve_stop(&s);
}

static void with_token(hs_server_opts *o)
{
    static const char *const token[] = { "first", "second" };
    o->token = token, o->n_tokens = 2;
}

static void with_open_metrics(hs_server_opts *o)
{
    with_token(o);
    o->open_metrics = true;
}

static void test_tokens(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, with_token);
    const int port = hs_http_port(s.http);
    const char *body = "{\"inputs\": \"a\"}";
    expect(port, "GET", "/v2/health/ready", "", NULL, 200, "true");
    expect(port, "POST", "/embed", "", body, 401, "token");
    expect(port, "GET", "/metrics", "", NULL, 401, "token");
    expect(port, "POST", "/embed", "Authorization: Bearer second!\r\n", body, 401, "token");
    expect(port, "POST", "/embed", "Authorization: Bearer \r\n", body, 401, "token");
    expect(port, "POST", "/embed", "Authorization: second\r\n", body, 401, "token");
    expect(port, "POST", "/embed", "Authorization: Bearer second\r\n", body, 200, "[[");
    expect(port, "POST", "/embed", "Authorization: bearer first\r\n", body, 200, "[[");
    serve_stop(&s);
    serve_start(&s, names, 1, with_open_metrics);
    expect(hs_http_port(s.http), "GET", "/metrics", "", NULL, 200, "te_request_count");
    expect(hs_http_port(s.http), "POST", "/embed", "", body, 401, "token");
    serve_stop(&s);
}

// ---- rude clients

// What a server says to these bytes; 0: it hangs up.
static int say(int port, const char *bytes, size_t n)
{
    http_reply r;
    const int fd = http_connect(port);
    http_send(fd, bytes, n);
    shutdown(fd, SHUT_WR);
    const int status = http_read(fd, &r) ? r.status : 0;
    http_reply_free(&r);
    close(fd);
    return status;
}
#define SAY(bytes) say(port, bytes, strlen(bytes))

#define POST "POST /embed HTTP/1.1\r\nHost: a\r\n"
static const char whole[] = POST "Content-Length: 15\r\n\r\n{\"inputs\": \"a\"}";

static void test_rude(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    assert_int_equal(SAY(POST "Content-Length: 15\r\nContent-Length: 15\r\n\r\n{\"inputs\": \"a\"}"), 400);
    assert_int_equal(SAY(POST "Content-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
    assert_int_equal(SAY(POST "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"), 501);
    assert_int_equal(SAY(POST "Content-Length: 1000000000\r\n\r\n{"), 413);
    assert_int_equal(SAY(POST "Content-Length: -1\r\n\r\n"), 400);
    assert_in_set(SAY(POST "Content-Length: 99999999999999999999999\r\n\r\n"), ((const uintmax_t[]){ 400, 413 }), 2);
    assert_int_equal(SAY(POST "Content-Length: 1x\r\n\r\n{"), 400);
    assert_int_equal(SAY("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
    assert_int_equal(SAY("GET / FOO/9\r\n\r\n"), 400);
    assert_int_equal(SAY("GARBAGE\r\n\r\n"), 0);                            // libmicrohttpd sees no request in that, and says nothing
    assert_int_equal(SAY(POST "Content-Length: 30\r\n\r\n{\"inputs\""), 0); // half a request
    char *head = malloc(300000);
    for (size_t most = 20000; most < 300000; most += 230000) { // a flood of headers
        size_t n = (size_t)sprintf(head, POST);
        while (n < most)
            n += (size_t)sprintf(head + n, "X-Header-%zu: nothing\r\n", n);
        n += (size_t)sprintf(head + n, "\r\n");
        const int status = say(port, head, n);
        assert_true(status == 431 || (status == 0 && most > 100000)); // what is still on its way may undo the answer
    }
    free(head);
    const int fd = http_connect(port); // several requests in one breath
    http_reply r;
    for (int i = 0; i < 5; i++)
        http_send(fd, whole, strlen(whole));
    for (int i = 0; i < 5; i++) {
        assert_true(http_read(fd, &r));
        assert_int_equal(r.status, 200);
        http_reply_free(&r);
    }
    close(fd);
    for (int k = 0; k < 2; k++) { // 2 MB that nobody announced: read to their end, and refused; 5 MB: not that either
        const int chunked = http_connect(port);
        char *block = malloc(65536 + 16);
        const char *begun = POST "Transfer-Encoding: chunked\r\n\r\n";
        http_send(chunked, begun, strlen(begun));
        for (int i = 0; i < (k ? 80 : 32); i++) {
            const size_t m = (size_t)sprintf(block, "10000\r\n");
            memset(block + m, 'a', 65536);
            memcpy(block + m + 65536, "\r\n", 2);
            http_send(chunked, block, m + 65538);
        }
        free(block);
        http_send(chunked, "0\r\n\r\n", 5);
        assert_int_equal(http_read(chunked, &r) ? r.status : 0, k ? 0 : 413);
        http_reply_free(&r);
        close(chunked);
    }
    assert_int_equal(embed(port, 0, 3), 0);
    serve_stop(&s);
}

static void impatient(hs_server_opts *o) { o->http.idle_seconds = o->http.body_seconds = 0.7; }

// A byte every now and then keeps no connection open.
static void test_slow(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, impatient);
    const int port = hs_http_port(s.http);
    const char *sent[] = {
        "GET /v2/health/live HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{\"inputs\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    };
    for (int k = 0; k < 2; k++) {
        const int fd = http_connect(port);
        const size_t all = strlen(sent[k]), fast = all - 30;
        http_send(fd, sent[k], fast);
        ssize_t got = -1;
        for (size_t i = fast; i < all && got < 0; i++) {
            wait_ms(100);
            http_send(fd, sent[k] + i, 1);
            char c;
            got = recv(fd, &c, 1, MSG_DONTWAIT);
        }
        assert_int_equal(got, 0); // it was hung up on, without a word
        close(fd);
    }
    for (int i = 0; i < 200 && hs_http_connections(s.http) > 0; i++)
        wait_ms(10);
    assert_int_equal(hs_http_connections(s.http), 0);
    serve_stop(&s);
}

// Who asks and reads nothing is not kept for long, nor are the answers.
static void test_deaf(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, impatient);
    char body[2048] = "{\"inputs\": [\"a\"", request[4096];
    for (int i = 0; i < 63; i++)
        strcat(body, ", \"the cat of the bad\"");
    strcat(body, "]}");
    const int n = snprintf(request, sizeof request, POST "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    const int fd = http_connect(hs_http_port(s.http)), least = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0, idle = 0; i < 4000 && idle < 300; i++) { // until neither side takes more
        const bool sent = send(fd, request, (size_t)n, MSG_NOSIGNAL) == n;
        idle = sent ? 0 : idle + 1;
        wait_ms(sent ? 0 : 1);
    }
    for (int i = 0; i < 6000 && hs_http_connections(s.http) > 0; i++)
        wait_ms(10);
    assert_int_equal(hs_http_connections(s.http), 0);
    close(fd);
    serve_stop(&s);
}

static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_clients_that_vanish(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http), before = descriptors();
    for (int i = 0; i < 100; i++) {
        const int fd = http_connect(port);
        http_send(fd, whole, strlen(whole) - (i % 2 ? 0 : 8));
        const struct linger now = { 1, 0 };
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
    }
    assert_int_equal(embed(port, 0, 3), 0);
    for (int i = 0; i < 500 && (hs_http_connections(s.http) > 0 || hs_http_under_way(s.http) > 0); i++)
        wait_ms(10);
    assert_int_equal(hs_http_connections(s.http), 0);
    assert_int_equal(hs_http_under_way(s.http), 0);
    assert_int_equal(descriptors(), before);
    serve_stop(&s);
}

// ---- too much, and the end

static void short_queue(hs_server_opts *o) { o->served.queue_works = 2; }

static void test_overload(void **state)
{
    (void)state;
    enum { AT_ONCE = 40 };
    hs_server s;
    serve_start(&s, names, 1, short_queue);
    const int port = hs_http_port(s.http);
    int fd[AT_ONCE], done = 0, shed = 0;
    char body[2048] = "{\"inputs\": [\"a\"", request[4096], value[256];
    for (int i = 0; i < 63; i++)
        strcat(body, ", \"the cat of the bad\"");
    strcat(body, "]}");
    const int n = snprintf(request, sizeof request, POST "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    for (int i = 0; i < AT_ONCE; i++)
        fd[i] = http_connect(port);
    for (int i = 0; i < AT_ONCE; i++)
        http_send(fd[i], request, (size_t)n);
    for (int i = 0; i < AT_ONCE; i++) {
        http_reply r;
        assert_true(http_read(fd[i], &r));
        done += r.status == 200, shed += r.status == 429;
        if (r.status == 429)
            assert_non_null(http_reply_header(&r, "Retry-After", value));
        http_reply_free(&r);
        close(fd[i]);
    }
    assert_int_equal(done + shed, AT_ONCE);
    assert_true(done > 0 && shed > 0);
    serve_stop(&s);
}

typedef struct last {
    int port, status;
} last;
static void *ask_last(void *arg)
{
    last *l = arg;
    http_reply r = http_post(l->port, "/embed", "{\"inputs\": \"the cat of the bad\"}");
    l->status = r.status;
    http_reply_free(&r);
    return NULL;
}

static void test_end_finishes_what_began(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        hs_server s;
        pthread_t thread[CROWD];
        last l[CROWD];
        serve_start(&s, names, 1, NULL);
        for (int i = 0; i < CROWD; i++) {
            l[i] = (last){ .port = hs_http_port(s.http) };
            assert_int_equal(pthread_create(&thread[i], NULL, ask_last, &l[i]), 0);
        }
        for (int i = 0; i < 1000 && hs_http_connections(s.http) < CROWD; i++)
            wait_ms(1);
        serve_stop(&s);
        for (int i = 0; i < CROWD; i++) { // answered; or its connection came when nobody listened any more
            pthread_join(thread[i], NULL);
            assert_in_set(l[i].status, ((const uintmax_t[]){ 0, 200 }), 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_library),
        cmocka_unit_test(test_whatever_beside),
        cmocka_unit_test(test_instances),
        cmocka_unit_test(test_reload_under_load),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_rude),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_deaf),
        cmocka_unit_test(test_clients_that_vanish),
        cmocka_unit_test(test_overload),
        cmocka_unit_test(test_end_finishes_what_began),
    };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}

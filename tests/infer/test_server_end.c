// server, told to stop: what is under way has drain_seconds and not more, whoever goes on asking is answered to the last, and nothing is
// touched behind its end.
#include "core/base/clock.h"
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CROWD = 48 };
static const char *const names[] = { "one", "talks" };

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    serve_folder("talks", "gpt2-lm");
    return 0;
}

static void wait_ms(int ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL); }

// Nobody could connect behind it.
static void wait_for_connections(const hs_server *s, int n)
{
    for (int i = 0; i < 5000 && hs_http_connections(s->http) < n; i++)
        wait_ms(1);
}

static void impatient(hs_server_opts *o) { o->drain_seconds = 0.01, o->served.slots = 1, o->served.queue_works = 4096; }

typedef struct client {
    int port, wrong, answers, refused;
    const char *path, *body;
} client;

// One request after the other, until it is hung up on.
static void *ask_on(void *arg)
{
    client *c = arg;
    const int fd = http_connect(c->port);
    char request[4096];
    http_reply r = { .status = 200 };
    const int n = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s", c->path,
                           strlen(c->body), c->body);
    for (;;) {
        http_send(fd, request, (size_t)n);
        if (!http_read(fd, &r))
            break;
        c->wrong = r.status == 200 || r.status == 503 ? c->wrong : r.status;
        c->answers++, c->refused += r.status == 503;
        http_reply_free(&r);
    }
    http_reply_free(&r);
    close(fd);
    return NULL;
}

// Far more than that time is enough for.
static void stop_amid(const char *path, const char *body)
{
    hs_server s;
    pthread_t thread[CROWD];
    client c[CROWD];
    int64_t left;
    int ended = 0;
    serve_start(&s, names, 2, impatient);
    for (int i = 0; i < CROWD; i++) {
        c[i] = (client){ .port = hs_http_port(s.http), .path = path, .body = body };
        assert_int_equal(pthread_create(&thread[i], NULL, ask_on, &c[i]), 0);
    }
    wait_for_connections(&s, CROWD);
    hs_server_stop(&s, &left);
    assert_true(left > 0);
    for (int i = 0; i < CROWD; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(c[i].wrong, 0);
        ended += c[i].refused;
    }
    assert_true(ended > 0);
}

static void encoder_is_cut_short(void **state)
{
    (void)state;
    char body[4096] = "{\"inputs\": [\"a\"";
    for (int i = 0; i < 63; i++)
        strcat(body, ", \"the cat of the bad end of a cab\"");
    stop_amid("/embed", strcat(body, "]}"));
}

static void text_is_cut_short(void **state)
{
    (void)state;
    stop_amid("/v1/completions", "{\"prompt\": \"a\", \"n\": 60, \"max_tokens\": 12, \"ignore_eos\": true}");
}

static void quick(hs_server_opts *o) { o->drain_seconds = 0, o->control = true; }

static void asked_to_the_last(void **state)
{
    static const char *const ask[][2] = { { "/embed", "{\"inputs\": \"the cat\"}" },
                                          { "/v1/completions", "{\"prompt\": \"a\", \"max_tokens\": 3}" },
                                          { "/v2/repository/models/one/load", "" },
                                          { "/v2/repository/index", "" } };
    enum { N = 8 };
    (void)state;
    for (int round = 0; round < 6; round++) {
        hs_server s;
        pthread_t thread[N];
        client c[N];
        int64_t left;
        serve_start(&s, names, 2, quick);
        for (int i = 0; i < N; i++) {
            c[i] = (client){ .port = hs_http_port(s.http), .path = ask[i % 4][0], .body = ask[i % 4][1] };
            assert_int_equal(pthread_create(&thread[i], NULL, ask_on, &c[i]), 0);
        }
        wait_for_connections(&s, N);
        wait_ms(20 + 10 * round);
        hs_server_stop(&s, &left);
        for (int i = 0; i < N; i++) {
            pthread_join(thread[i], NULL);
            assert_int_equal(c[i].wrong, 0);
        }
        assert_true(c[0].answers > 0);
    }
}

// A client that keeps its connection and is between two requests when the end begins.
static void *stop_it(void *arg)
{
    int64_t left;
    hs_server_stop(arg, &left);
    return NULL;
}

static void between_two(void **state)
{
    static const char request[] = "POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\n{\"inputs\": \"the cat\"}";
    hs_server s;
    pthread_t thread;
    http_reply r = { .status = 0 };
    char value[256];
    (void)state;
    serve_start(&s, names, 2, NULL);
    const int fd = http_connect(hs_http_port(s.http));
    for (int i = 0; i < 2; i++) {
        if (i) {
            assert_int_equal(pthread_create(&thread, NULL, stop_it, &s), 0);
            wait_ms(100);
        }
        http_send(fd, request, sizeof request - 1);
        assert_true(http_read(fd, &r));
        assert_int_equal(r.status, 200);
        if (i)
            assert_string_equal(http_reply_header(&r, "Connection", value), "close");
        http_reply_free(&r);
    }
    pthread_join(thread, NULL);
    close(fd);
}

// Somebody reads nothing, and the drain would wait for him.
static atomic_bool hurry;
static void patient(hs_server_opts *o) { o->drain_seconds = o->linger_seconds = 60, o->hurry = &hurry; }

static void in_a_hurry(void **state)
{
    hs_server s;
    pthread_t thread;
    char request[16384], body[8192] = "{\"inputs\": [\"a\"";
    (void)state;
    for (int i = 0; i < 63; i++)
        strcat(body, ", \"the cat of the bad end of a cab\"");
    const int n =
        snprintf(request, sizeof request, "POST /embed_all HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s]}", strlen(body) + 2, body);
    serve_start(&s, names, 2, patient);
    const int fd = http_connect(hs_http_port(s.http)), least = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    for (int i = 0; i < 32; i++) // in all more than the buffers between the two take
        http_send(fd, request, (size_t)n);
    for (int i = 0; i < 5000 && hs_http_taken(s.http) == 0; i++)
        wait_ms(1);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, &s), 0);
    wait_ms(200);
    const double began = hs_now();
    atomic_store(&hurry, true);
    pthread_join(thread, NULL);
    assert_true(hs_now() - began < 30); // a second, on a machine with time
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(encoder_is_cut_short), cmocka_unit_test(text_is_cut_short),
                                        cmocka_unit_test(asked_to_the_last), cmocka_unit_test(between_two), cmocka_unit_test(in_a_hurry) };
    return cmocka_run_group_tests_name("server_end", tests, begin, scratch_close);
}

// server: what clients may hold of it, and for how long.
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = { "one" };
#define POST "POST /embed HTTP/1.1\r\nHost: a\r\n"
static const char whole[] = POST "Content-Length: 15\r\n\r\n{\"inputs\": \"a\"}";

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    return 0;
}

static void wait_ms(int ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL); }

// Their last bytes and their end come together, which the daemon does not see.
static void test_abandoned(void **state)
{
    enum { N = 8 };
    hs_server s;
    http_reply r;
    int fd[N];
    (void)state;
    serve_start(&s, names, 1, NULL); // which waits for 30 s
    for (int i = 0; i < N; i++) {
        fd[i] = http_connect(hs_http_port(s.http));
        http_send(fd[i], whole, i % 2 ? 20 : sizeof whole - 4); // half a head, or half a body
        close(fd[i]);
    }
    const int kept = http_connect(hs_http_port(s.http)); // half a head, too, but there
    http_send(kept, whole, 20);
    r = http_get(hs_http_port(s.http), "/v2/health/live"); // who came before it is connected by then
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    for (int i = 0; i < 1000 && hs_http_connections(s.http) > 1; i++)
        wait_ms(10);
    assert_int_equal(hs_http_connections(s.http), 1);
    wait_ms(1100);
    http_send(kept, whole + 20, sizeof whole - 21);
    assert_true(http_read(kept, &r));
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    close(kept);
    serve_stop(&s);
}

// ---- bytes of all connections together

static void little(hs_server_opts *o) { o->http.most_held = 1 << 20; }

static void wait_for_held(const hs_server *s, size_t least, size_t most)
{
    for (int i = 0; i < 1000 && (hs_http_held(s->http) < least || hs_http_held(s->http) > most); i++)
        wait_ms(10);
    assert_in_range(hs_http_held(s->http), least, most);
}

static void is_full(http_reply *r)
{
    char value[256];
    assert_int_equal(r->status, 503);
    assert_string_equal(http_reply_header(r, "Retry-After", value), "1");
    assert_non_null(strstr(r->body, "as it may"));
    http_reply_free(r);
}

static void is_good(http_reply *r)
{
    assert_int_equal(r->status, 200);
    http_reply_free(r);
}

static void test_held_bodies(void **state)
{
    enum { BYTES = 600000 };
    static const char small[] = "{\"inputs\": \"a\"}";
    hs_server s;
    http_reply r;
    char *body = malloc(BYTES), head[200];
    (void)state;
    serve_start(&s, names, 1, little);
    const int port = hs_http_port(s.http), fd = http_connect(port);
    memset(body, ' ', BYTES);
    memcpy(body, small, sizeof small - 1);
    http_send(fd, head, (size_t)sprintf(head, POST "Content-Length: %d\r\n\r\n", BYTES));
    http_send(fd, body, BYTES - 1);
    wait_for_held(&s, BYTES, BYTES + 1);
    r = http_ask(port, "POST", "/embed", "", body, BYTES);
    is_full(&r);
    r = http_post(port, "/embed", small);
    is_good(&r);
    const int chunked = http_connect(port); // which says nothing of its length
    http_send(chunked, head, (size_t)sprintf(head, POST "Transfer-Encoding: chunked\r\n\r\n%x\r\n", BYTES));
    http_send(chunked, body, BYTES);
    http_send(chunked, "\r\n0\r\n\r\n", 7);
    assert_true(http_read(chunked, &r));
    is_full(&r);
    close(chunked);
    http_send(fd, body + BYTES - 1, 1);
    assert_true(http_read(fd, &r));
    is_good(&r);
    close(fd);
    wait_for_held(&s, 0, 0);
    r = http_ask(port, "POST", "/embed", "", body, BYTES);
    is_good(&r);
    free(body);
    serve_stop(&s);
}

static void less(hs_server_opts *o) { o->http.most_held = 100000; }

static void test_held_answers(void **state)
{
    hs_server s;
    http_reply r;
    char body[4096] = "{\"inputs\": [\"a\"";
    (void)state;
    serve_start(&s, names, 1, less);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < 63; i++)
        strcat(body, ", \"the cat of the bad\"");
    strcat(body, "]}");
    r = http_post(port, "/embed_all", body); // 64 texts of 7 tokens or more, each 32 numbers
    is_full(&r);
    // what was said of that answer is not said of this one
    char value[256];
    strcpy(body,
           "{\"parameters\":{\"binary_data_output\":true},\"inputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[64],\"data\":["
           "\"a b c d e f g h a b c d\"");
    for (int i = 0; i < 63; i++)
        strcat(body, ",\"a b c d e f g h a b c d\"");
    strcat(body, "]}]}");
    r = http_ask(port, "POST", "/v2/models/one/infer", "X-Request-Id: r7\r\n", body, strlen(body));
    assert_null(http_reply_header(&r, "Inference-Header-Content-Length", value));
    assert_string_equal(http_reply_header(&r, "X-Request-Id", value), "r7");
    is_full(&r);
    r = http_post(port, "/embed_all", "{\"inputs\": \"the cat\"}");
    is_good(&r);
    wait_for_held(&s, 0, 0);
    serve_stop(&s);
}

// ---- answers that are taken bit by bit

static void hurried(hs_server_opts *o) { o->http.idle_seconds = 1, o->http.least_rate = 8 << 20; }

static void test_slow_readers(void **state)
{
    enum { BYTES = 1 << 20, PIECE = 65536, ANSWER = 20 << 20 };
    hs_server s;
    http_reply r;
    char *body = malloc(BYTES), *piece = malloc(PIECE), head[200];
    (void)state;
    serve_start(&s, names, 1, hurried);
    const int port = hs_http_port(s.http), fd = http_connect(port);
    const int n = sprintf(body, "{\"inputs\": \"");
    for (int i = n; i < BYTES; i++)
        body[i] = "a "[i % 2];
    memcpy(body + BYTES - 2, "\"}", 2);
    http_send(fd, head, (size_t)sprintf(head, "POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", BYTES));
    http_send(fd, body, BYTES);
    wait_for_held(&s, ANSWER, SIZE_MAX);
    int pieces = 0;
    while (pieces < 50 && recv(fd, piece, PIECE, 0) > 0) { // of 500
        wait_ms(200);
        pieces++;
    }
    wait_for_held(&s, 0, 0); // that was the end of it: what is left in the sockets is no memory of the server
    close(fd);
    r = http_ask(port, "POST", "/tokenize", "", body, BYTES); // who takes it has it
    assert_int_equal(r.status, 200);
    assert_true(r.bytes > ANSWER);
    http_reply_free(&r);
    free(body), free(piece);
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_abandoned), cmocka_unit_test(test_held_bodies),
                                        cmocka_unit_test(test_held_answers), cmocka_unit_test(test_slow_readers) };
    return cmocka_run_group_tests_name("server_bounds", tests, begin, scratch_close);
}

// server: what one request may ask for. What can never fit is refused at once by the name of its setting, and nobody else waits for it.
#include "core/base/log.h"
#include "infer/server/cores.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include "tests/support/support_http.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef HS_HAVE_ZLIB
#include <zlib.h>
#endif

// "X Y Y Y Z", of n Ys.
static char *many(const char *before, const char *part, size_t n, const char *behind)
{
    const size_t each = strlen(part);
    char *s = malloc(strlen(before) + n * each + strlen(behind) + 1), *p = stpcpy(s, before);
    for (size_t i = 0; i < n; i++, p += each)
        memcpy(p, part, each);
    strcpy(p, behind);
    return s;
}

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert"); // context 20
    heads_folder("bert-tokens", NULL, 0); // 12
    heads_folder("bert-span", NULL, 0);   // 12
    return 0;
}

// ---- tokens and rows of a request

static const char *const names[] = { "one", "bert-tokens", "bert-span" };

static void narrow(hs_server_opts *o) { o->served.queue_tokens = 100, o->served.most_rows = 8; }

static void take(int port, const char *path, const char *json, int status)
{
    http_reply r = http_post(port, path, json);
    if (r.status != status)
        fail_msg("%s: %d instead of %d: %s", path, r.status, status, r.body);
    http_reply_free(&r);
}

static void refused_at(int port, const char *path, char *json, int status, const char *part)
{
    json_decref(http_refused(port, path, json, status, part));
    free(json);
}

static void more_than_may_wait(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 3, narrow);
    const int port = hs_http_port(s.http);
    refused_at(port, "/embed", many("{\"inputs\": [\"a b c d e\"", ", \"a b c d e\"", 14, "]}"), 413, "--queue-tokens");
    take(port, "/embed", "{\"inputs\": [\"a b c d e\", \"a b c d e\", \"a b c d e\", \"a b c d e\"]}", 200);
    char *ids =
        many("{\"inputs\": [{\"name\": \"input_ids\", \"datatype\": \"INT64\", \"shape\": [6, 20], \"data\": [7", ",7", 119, "]}]}");
    refused_at(port, "/v2/models/one/infer", ids, 413, "--queue-tokens");
    serve_stop(&s);
}

static void more_rows(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 3, narrow);
    const int port = hs_http_port(s.http);
    for (int truncate = 0; truncate < 2; truncate++) { // a text in several rows is not cut
        const char *end = truncate ? "\", \"truncate\": true}" : "\"}";
        refused_at(port, "/ner", many("{\"inputs\": \"", "a b c d ", 40000, end), 413, "more than 8 rows");
        refused_at(port, "/answer", many("{\"question\": \"a\", \"context\": \"", "a b c d ", 40000, end), 413, "more than 8 rows");
    }
    char *three = many("{\"inputs\": [\"a b c d e f g h i j k l m n\"", ", \"a b c d e f g h i j k l m n\"", 5, "]}");
    refused_at(port, "/ner", three, 413, "--rows");
    take(port, "/ner", "{\"inputs\": \"a b c d e f g h i j k l m n o p q r s t u v w x y z\"}", 200);
    take(port, "/answer", "{\"question\": \"a\", \"context\": \"a b c d e f g h i j k\"}", 200);
    serve_stop(&s);
}

// ---- reading

// One row of a text is a row's work, however long it is; and nobody waits for a long request to be read.
static void long_texts(void **state)
{
    enum { WORDS = 100000 };
    (void)state;
    hs_server s;
    serve_start(&s, names, 2, NULL);
    const int port = hs_http_port(s.http);
    refused_at(port, "/embed", many("{\"inputs\": \"", "a cat ", WORDS, "\"}"), 413, "longer than the 20 tokens");
    char *text = many("{\"truncate\": true, \"inputs\": \"", "a cat ", WORDS, "\"}");
    http_reply cut = http_post(port, "/embed", text), whole = http_post(port, "/embed", "{\"inputs\": \"a cat a cat a cat a cat a c\"}");
    assert_int_equal(cut.status, 200);
    assert_string_equal(cut.body, whole.body); // 18 tokens, c, ##a and ##t are one each
    http_reply_free(&cut), http_reply_free(&whole), free(text);
    serve_stop(&s);
}

// What takes long to read is not read where everybody else's requests are.
static void beside_long_ones(void **state)
{
    enum { N = 20 };
    (void)state;
    hs_server s;
    http_reply r;
    int fd[N];
    char head[200], *body = many("{\"inputs\": 7, \"x\": [1", ",1", 250000, "]}");
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http),
              n = sprintf(head, "POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    for (int i = 0; i < N; i++) {
        fd[i] = http_connect(port);
        http_send(fd[i], head, (size_t)n);
        http_send(fd[i], body, strlen(body));
    }
    while (hs_http_taken(s.http) < N)
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    r = http_get(port, "/v2/health/live");
    const int64_t left = hs_http_under_way(s.http);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    assert_true(left > 0);
    for (int i = 0; i < N; i++) {
        assert_true(http_read(fd[i], &r));
        assert_int_equal(r.status, 422);
        http_reply_free(&r);
        close(fd[i]);
    }
    free(body);
    serve_stop(&s);
}

// Padding is no reason to read what no row can have.
static void wide(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    const char *head = "{\"inputs\": [{\"name\": \"input_ids\", \"datatype\": \"UINT8\", \"shape\": [1, 81], \"data\": [7";
    refused_at(port, "/v2/models/one/infer", many(head, ",7", 80, "]}]}"), 400, "4 times the model's context of 20");
    serve_stop(&s);
}

static void useless(hs_server_opts *o) { o->served.queue_tokens = 19; }

static void less_than_a_row(void **state)
{
    (void)state;
    hs_server s;
    int64_t left;
    FAILS(USAGE, "--queue-tokens is 19", serve_try(&s, names, 1, useless));
    hs_server_stop(&s, &left);
}

// ---- JSON

static void few_values(hs_server_opts *o) { o->most_values = 1000; }

static void values(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, few_values);
    const int port = hs_http_port(s.http);
    refused_at(port, "/embed", many("{\"inputs\": [1", ",1", 1000, "]}"), 413, "--values");
    char *text = many("{\"truncate\": true, \"inputs\": \"", "a,[\\\"{", 1000, "\"}"); // what stands in a text is none
    take(port, "/embed", text, 200);
    free(text);
    serve_stop(&s);
}

// ---- packed bodies

#ifdef HS_HAVE_ZLIB
static size_t pack(const char *s, size_t n, char *to, size_t room, bool gzip)
{
    z_stream z = { .next_in = (z_const Bytef *)s, .avail_in = (uInt)n, .next_out = (Bytef *)to, .avail_out = (uInt)room };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, gzip ? 15 + 16 : 15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static int packed_status(int port, const char *coding, const char *bytes, size_t n, char *answer, size_t room)
{
    char header[100];
    snprintf(header, sizeof header, "Content-Encoding: %s\r\n", coding);
    http_reply r = http_ask(port, "POST", "/embed", header, bytes, n);
    const int status = r.status;
    snprintf(answer, room, "%s", r.body ? r.body : "");
    http_reply_free(&r);
    return status;
}

static void packed(void **state)
{
    enum { ROOM = 1 << 16, BOMB = 40 << 20 };
    (void)state;
    hs_server s;
    static const char plain[] = "{\"inputs\": \"the cat\"}";
    char *to = malloc(ROOM), answer[4096], *bomb = calloc(1, BOMB);
    serve_start(&s, names, 1, NULL); // bodies of 1 MiB
    const int port = hs_http_port(s.http);
    http_reply want = http_post(port, "/embed", plain);
    for (int gzip = 0; gzip < 2; gzip++) {
        const char *coding = gzip ? "gzip" : "deflate";
        size_t n = pack(plain, sizeof plain - 1, to, ROOM, gzip);
        assert_int_equal(packed_status(port, coding, to, n, answer, sizeof answer), 200);
        assert_string_equal(answer, want.body);
        assert_int_equal(packed_status(port, coding, to, n - 3, answer, sizeof answer), 400); // not to its end
        memcpy(to + n, "more", 4);
        assert_int_equal(packed_status(port, coding, to, n + 4, answer, sizeof answer), 400);
        assert_int_equal(packed_status(port, coding, plain, sizeof plain - 1, answer, sizeof answer), 400);
        n = pack(bomb, BOMB, to, ROOM, gzip);
        assert_int_equal(packed_status(port, coding, to, n, answer, sizeof answer), 413);
    }
    assert_int_equal(packed_status(port, "gzip, gzip", plain, 4, answer, sizeof answer), 415);
    for (int i = 0; i < 200 && hs_http_held(s.http); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    assert_int_equal(hs_http_held(s.http), 0);
    http_reply_free(&want);
    free(to), free(bomb);
    serve_stop(&s);
}
#else
static void packed(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    http_reply r = http_ask(hs_http_port(s.http), "POST", "/embed", "Content-Encoding: gzip\r\n", "{}", 2);
    assert_int_equal(r.status, 415);
    http_reply_free(&r);
    serve_stop(&s);
}
#endif

// ---- what the system does not give is said

static char warned[2048];
static void keep_warning(hs_log_level level, const char *line, void *user)
{
    (void)user;
    if (level == HS_LOG_WARN)
        strncat(warned, line, sizeof warned - strlen(warned) - 1);
}

static void pinned(hs_server_opts *o) { o->served.instances = o->served.threads = 2, o->served.pin = true; }

static void too_few_cores(void **state)
{
    (void)state;
    hs_server s;
    cpu_set_t may, one;
    assert_int_equal(sched_getaffinity(0, sizeof may, &may), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &may))
            CPU_SET(i, &one);
    OK(hs_cores_can_narrow(CPU_COUNT(&may)));
    warned[0] = 0;
    sched_setaffinity(0, sizeof one, &one);
    hs_log_set(HS_LOG_WARN, keep_warning, NULL);
    serve_start(&s, names, 1, pinned);
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    sched_setaffinity(0, sizeof may, &may);
    assert_non_null(strstr(warned, "one: --pin: some threads stay on no core of their own: 2 threads are more than the 1 cores"));
    serve_stop(&s);
}

static void too_few_files(void **state) // the last: the limit stays
{
    (void)state;
    hs_server s;
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    l.rlim_cur = l.rlim_max = 300;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
    warned[0] = 0;
    hs_log_set(HS_LOG_WARN, keep_warning, NULL);
    serve_start(&s, names, 1, NULL); // 256 connections
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    assert_non_null(strstr(warned, "can be 300 here, not the 512 that --connections asks for"));
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(more_than_may_wait),
                                        cmocka_unit_test(more_rows),
                                        cmocka_unit_test(long_texts),
                                        cmocka_unit_test(beside_long_ones),
                                        cmocka_unit_test(wide),
                                        cmocka_unit_test(less_than_a_row),
                                        cmocka_unit_test(values),
                                        cmocka_unit_test(packed),
                                        cmocka_unit_test(too_few_cores),
                                        cmocka_unit_test(too_few_files) };
    return cmocka_run_group_tests_name("server_limits", tests, begin, scratch_close);
}

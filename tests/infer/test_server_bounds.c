// server: what clients may hold of it, and for how long.
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_abandoned) };
    return cmocka_run_group_tests_name("server_bounds", tests, begin, scratch_close);
}

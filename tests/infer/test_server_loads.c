// server: models that are loaded while it runs, one after the other, and what is counted of them.
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static const char *const names[] = { "one" };

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    return 0;
}

static void wait_ms(int ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL); }

static void asked(int port)
{
    http_reply r = http_post(port, "/embed", "{\"inputs\": \"the cat\"}");
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
}

// Whoever loads, and from wherever: one after the other.
static atomic_int opening, most_opening;
static hs_status settle_slowly(const hs_session *s, hs_policy *policy, void *user)
{
    (void)s, (void)user;
    const int now = atomic_fetch_add(&opening, 1) + 1;
    if (now > most_opening)
        most_opening = now;
    wait_ms(5);
    atomic_fetch_sub(&opening, 1);
    *policy = (hs_policy){ .low = HS_F32 };
    return HS_OK;
}
static void slowly(hs_server_opts *o) { o->served.settle = settle_slowly; }
static void *load_thrice(void *hub)
{
    for (int i = 0; i < 3; i++)
        OK(hs_hub_load_now(hub, "one", NULL));
    return NULL;
}

static void test_loads_in_turn(void **state)
{
    (void)state;
    hs_server s;
    pthread_t thread[3];
    serve_start(&s, names, 1, slowly);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, load_thrice, s.hub), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(most_opening, 1);
    hs_served *m = hs_hub_find(s.hub, "one", 0, 0);
    assert_int_equal(m->version, 10);
    hs_served_let_go(m);
    FAILS(USAGE, "no model", hs_hub_load_now(s.hub, "none", NULL));
    serve_stop(&s);
}

static void metric_is(int port, const char *line)
{
    http_reply r = http_get(port, "/metrics");
    if (!strstr(r.body, line))
        fail_msg("no %s", line);
    http_reply_free(&r);
}

// A counter that began anew with each version would hide what was counted, and lose what ends on one that is replaced.
static void test_counts_go_on(void **state)
{
    (void)state;
    hs_server s;
    serve_start(&s, names, 1, NULL);
    const int port = hs_http_port(s.http);
    for (int i = 0; i < 3; i++)
        asked(port);
    hs_served *old = hs_hub_find(s.hub, "one", 0, 0);
    const uint64_t batches = hs_batcher_counted(old->batcher)->batches, tokens = hs_batcher_counted(old->batcher)->tokens;
    OK(hs_hub_load_now(s.hub, "one", NULL));
    asked(port);
    hs_served_count_failure(old, HS_REASON_OTHER, 1000); // a request that ends on it now
    metric_is(port, "\nnv_inference_request_success{model=\"one\",version=\"2\"} 4\n");
    metric_is(port, "\nnv_inference_request_failure{model=\"one\",version=\"2\",reason=\"OTHER\"} 1\n");
    for (int closed = 0; closed < 2; closed++) {
        const hs_served_sums sums = hs_hub_sums(s.hub, "one");
        assert_int_equal(sums.batches, batches + 1);
        assert_true(sums.tokens > tokens);
        hs_served_let_go(old), old = NULL;
        OK(hs_hub_load_now(s.hub, "one", NULL)); // in its turn behind that
    }
    http_reply r = http_get(port, "/v2/models/one/stats");
    assert_non_null(strstr(r.body, "\"inference_count\":4"));
    http_reply_free(&r);
    serve_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_loads_in_turn), cmocka_unit_test(test_counts_go_on) };
    return cmocka_run_group_tests_name("server_loads", tests, begin, scratch_close);
}

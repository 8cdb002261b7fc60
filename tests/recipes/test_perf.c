// What the load generator makes of bytes and figures: answers cut anywhere, events, percentiles, windows, arrivals, the search for a rate.
#include "recipes/perf/perf_http.h"
#include "recipes/perf/perf_result.h"
#include "tests/support/support_files.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct heard {
    char text[512];
    size_t n;
    int pieces;
} heard;

static void hear(void *user, const char *bytes, size_t n)
{
    heard *h = user;
    assert_true(h->n + n < sizeof h->text);
    memcpy(h->text + h->n, bytes, n);
    h->n += n, h->text[h->n] = 0, h->pieces++;
}

static void hear_line(void *user, const char *bytes, size_t n)
{
    hear(user, bytes, n);
    hear(user, "|", 1);
}

// The answer in two pieces, cut at `cut`. *used: of all.
static hs_perf_answer_state answer_of(hs_perf_answer *a, heard *h, const char *text, size_t cut, size_t *used)
{
    const size_t n = strlen(text);
    *h = (heard){ 0 };
    hs_perf_answer_begin(a, hear, h);
    hs_perf_answer_state st = hs_perf_answer_feed(a, text, cut, used);
    if (st == HS_ANSWER_MORE) {
        size_t more;
        assert_int_equal(*used, cut);
        st = hs_perf_answer_feed(a, text + cut, n - cut, &more);
        *used += more;
    }
    return st;
}

static void test_answers(void **state)
{
    static const struct {
        const char *text, *body;
        int status;
        bool closes, by_close; // by_close: the connection's end is the body's
        size_t behind;         // bytes that are not of it
    } cases[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloNEXT", "hello", 200, false, false, 4 },
        { "HTTP/1.1 200\r\ncontent-length:5 \r\nConnection: Keep-Alive, Close\r\n\r\nhello", "hello", 200, true, false, 0 },
        { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, true, false, 0 },
        { "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, false, false, 0 },
        { "HTTP/1.1 503 Busy\nContent-Length: 0\n\n", "", 503, false, false, 0 },
        { "HTTP/1.1 204 Nothing\r\n\r\nHTTP", "", 204, false, false, 4 },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx", "x", 201, false, false, 0 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;ext=1\r\n and world\r\n0\r\nTrailer: x\r\n\r\nN",
          "hello and world", 200, false, false, 1 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x", 200, false, false,
          0 },
        { "HTTP/1.1 200 OK\r\n\r\nto the end", "to the end", 200, true, true, 0 },
    };
    hs_perf_answer *a = malloc(sizeof *a);
    heard h;
    (void)state;
    for (int i = 0; i < HS_COUNT(cases); i++)
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++) {
            size_t used;
            hs_perf_answer_state st = answer_of(a, &h, cases[i].text, cut, &used);
            if (cases[i].by_close) {
                assert_int_equal(st, HS_ANSWER_MORE);
                st = hs_perf_answer_close(a);
            }
            assert_int_equal(st, HS_ANSWER_DONE);
            assert_int_equal(a->status, cases[i].status);
            assert_int_equal(a->closes, cases[i].closes);
            assert_string_equal(h.text, cases[i].body);
            assert_int_equal(a->body_bytes, strlen(cases[i].body));
            if (cut <= strlen(cases[i].text) - cases[i].behind)
                assert_int_equal(used, strlen(cases[i].text) - cases[i].behind);
        }
    free(a);
}

static void test_bad_answers(void **state)
{
    static const char *const cases[] = {
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/2 200\r\n",
        "HTTP/1.1 20\r\n",
        "HTTP/1.1 2000 x\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno field\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
    };
    hs_perf_answer *a = malloc(sizeof *a);
    heard h;
    (void)state;
    for (int i = 0; i < HS_COUNT(cases); i++)
        for (size_t cut = 0; cut <= strlen(cases[i]); cut++) {
            size_t used;
            assert_int_equal(answer_of(a, &h, cases[i], cut, &used), HS_ANSWER_BAD);
            assert_non_null(a->wrong);
        }
    size_t used;
    assert_int_equal(answer_of(a, &h, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", 3, &used), HS_ANSWER_MORE);
    assert_int_equal(hs_perf_answer_close(a), HS_ANSWER_BAD); // cut short
    free(a);
}

static void test_events(void **state)
{
    static const char text[] =
        ": comment\n\ndata: one\n\nevent: x\r\ndata: two\r\ndata:three\r\nid: 4\r\n\r\ndata\ndata:\n\ndata: four\r\rdata: never ended\n";
    (void)state;
    for (size_t cut = 0; cut < sizeof text; cut++) {
        heard h = { 0 };
        hs_perf_events e = { 0 };
        hs_perf_events_begin(&e, hear_line, &h);
        hs_perf_events_feed(&e, text, cut);
        hs_perf_events_feed(&e, text + cut, sizeof text - 1 - cut);
        assert_string_equal(h.text, "one|two\nthree||four|");
        hs_perf_events_free(&e);
    }
}

static void test_percentiles(void **state)
{
    double v[100];
    (void)state;
    for (int i = 0; i < 100; i++)
        v[i] = 100 - i;
    const hs_perf_spread s = hs_perf_spread_of(v, 100);
    const double want[HS_PERF_PERCENTILES] = { 50, 90, 95, 99, 100 };
    for (int i = 0; i < HS_PERF_PERCENTILES; i++)
        assert_true(s.at[i] == want[i]);
    assert_true(s.mean == 50.5 && s.most == 100);
    assert_true(hs_perf_percentile(v, 1, 99) == 1 && hs_perf_percentile(v, 100, 100) == 100 && hs_perf_percentile(v, 0, 50) == 0);
    assert_true(hs_perf_spread_of(v, 0).mean == 0);
}

static void test_windows(void **state)
{
    (void)state;
    const double even[] = { 50, 100, 105, 109 }, uneven[] = { 100, 100, 111, 100 }, none[] = { 0, 0, 0, 0 };
    assert_true(hs_perf_steady(even, even, 4, 0.1));
    assert_false(hs_perf_steady(even, even, 3, 0.1)); // 50 is among them
    assert_false(hs_perf_steady(even, even, 2, 10));
    assert_false(hs_perf_steady(even, uneven, 4, 0.1)); // latency alone
    assert_false(hs_perf_steady(uneven, even, 4, 0.1)); // rate alone
    assert_false(hs_perf_steady(none, none, 4, 0.1));
}

static void test_arrivals(void **state)
{
    enum { N = 20000 };
    hs_perf_shape s = { .rate = 250, .seed = 7 };
    double sum = 0, squares = 0;
    (void)state;
    assert_true(hs_perf_arrival(&s, 3) == 1 / 250.0);
    s.poisson = true;
    for (int64_t i = 0; i < N; i++) {
        const double x = 250 * hs_perf_arrival(&s, i);
        assert_true(x > 0);
        sum += x, squares += x * x;
    }
    assert_true(fabs(sum / N - 1) < 0.03 && fabs(squares / N - 2) < 0.15); // exponential: mean 1, second moment 2
    assert_true(hs_perf_arrival(&s, 5) == hs_perf_arrival(&s, 5) && hs_perf_arrival(&s, 5) != hs_perf_arrival(&s, 6));
}

// What counts, of an open loop: those due in the time measured, all that they waited included; of a closed one those that end in it.
static void test_what_counts(void **state)
{
    const int64_t S = 1000000000;
    hs_perf_record r[] = {
        { .due = S / 2, .sent = S / 2, .end = 3 * S, .fate = HS_FATE_ANSWERED },
        { .due = S, .sent = 2 * S, .waited = true, .first = 3 * S, .end = 4 * S, .tokens = 7, .fate = HS_FATE_ANSWERED },
        { .due = 2 * S - 1, .sent = 2 * S, .end = 3 * S, .fate = HS_FATE_STATUS, .status = 503 },
        { .due = 2 * S, .sent = 2 * S, .end = 2 * S + 5, .fate = HS_FATE_ANSWERED },
        { .due = 3 * S / 2, .fate = HS_FATE_NONE },
    };
    hs_perf_level l = { .record = r, .n = HS_COUNT(r), .begin = S, .end = 2 * S, .by_due = true };
    const hs_perf_requests q = { .items = 2 };
    hs_perf_shape shape = { .rate = 3 };
    hs_perf_result out;
    (void)state;
    assert_int_equal(hs_perf_result_of(&l, &shape, &q, &out), HS_OK);
    assert_int_equal(out.requests, 2);
    assert_int_equal(out.answered, 1);
    assert_int_equal(out.failed[HS_FATE_STATUS], 1);
    assert_int_equal(out.n_status[503], 1);
    assert_true(fabs(out.latency.at[0] - 3) < 1e-9 && out.waited == 1);
    assert_true(out.per_second == 0); // none ended in time: an overload does not look like a rate that was borne
    l.by_due = false, l.end = 3 * S + 1, shape.concurrency = 2;
    assert_int_equal(hs_perf_result_of(&l, &shape, &q, &out), HS_OK);
    assert_int_equal(out.requests, 3);
    assert_true(fabs(out.per_second - 1) < 1e-6 && fabs(out.items_per_second - 2) < 1e-6);
}

static hs_status below(void *user, double rate, bool *good)
{
    *good = rate <= *(const double *)user;
    return HS_OK;
}

static void test_knee(void **state)
{
    (void)state;
    for (double limit = 0.3; limit < 1e5; limit *= 1.7) {
        double knee;
        int tried;
        assert_int_equal(hs_perf_knee(8, 0.05, below, &limit, &knee, &tried), HS_OK);
        assert_true(knee <= limit && limit <= 1.05 * knee);
        assert_true(tried <= 25);
    }
    double knee, nothing = 0;
    int tried;
    assert_int_equal(hs_perf_knee(8, 0.05, below, &nothing, &knee, &tried), HS_OK);
    assert_true(knee == 0 && tried == 7);
}

static void test_urls(void **state)
{
    static const struct {
        const char *url, *host, *port, *prefix;
    } good[] = { { "http://127.0.0.1:8000", "127.0.0.1", "8000", "" },
                 { "127.0.0.1:8000/", "127.0.0.1", "8000", "" },
                 { "http://127.0.0.1", "127.0.0.1", "80", "" },
                 { "http://127.0.0.1/a/b/", "127.0.0.1", "80", "/a/b" },
                 { "http://[::1]:81/x", "::1", "81", "/x" } };
    static const char *const bad[] = {
        "", ":80", "http://", "http://a:", "http://a:8x", "http://a:1234567", "http://[::1", "http://u@h:1", "http://h:1/?q"
    };
    hs_perf_server s;
    (void)state;
    for (int i = 0; i < HS_COUNT(good); i++) {
        assert_int_equal(hs_perf_server_find(&s, good[i].url), HS_OK);
        assert_string_equal(s.host, good[i].host);
        assert_string_equal(s.port, good[i].port);
        assert_string_equal(s.prefix, good[i].prefix);
    }
    for (int i = 0; i < HS_COUNT(bad); i++)
        assert_int_equal(hs_perf_server_find(&s, bad[i]), HS_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_answers),     cmocka_unit_test(test_bad_answers),
                                        cmocka_unit_test(test_events),      cmocka_unit_test(test_percentiles),
                                        cmocka_unit_test(test_windows),     cmocka_unit_test(test_arrivals),
                                        cmocka_unit_test(test_what_counts), cmocka_unit_test(test_knee),
                                        cmocka_unit_test(test_urls) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// server: threads that answer one request together, and compute batches of their own where enough waits; what a row gives is the same.
#include "tests/support/support_files.h"
#include "tests/support/support_http.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 32, TOKENS = 12, KINDS = 7, ASKED = 64 };
static hs_server server;
static hs_served *model;

typedef struct asked { // a row of its kind
    hs_work work;
    hs_encode_row row;
    int32_t id[TOKENS];
    float vector[WIDTH];
    pthread_t by;
    bool waits; // for all_there
} asked;
static asked a[ASKED];
static float want[KINDS][WIDTH];
static pthread_t whole;
static atomic_int n_done, failed, inside[2], met; // inside: threads in `take`, by whether it is the whole team's; met: of both kinds at once
static atomic_bool all_there;

static void wait_ms(int ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL); }

static hs_status take(hs_work *w, int row, const hs_row_reader *reader, int index)
{
    (void)row;
    asked *x = (asked *)w;
    x->by = pthread_self();
    const bool team = pthread_equal(x->by, whole) != 0;
    atomic_fetch_add(&inside[team], 1);
    for (int i = 0; i < 10000 && x->waits && !all_there; i++)
        wait_ms(1);
    wait_ms(1);
    met += inside[!team] > 0;
    atomic_fetch_sub(&inside[team], 1);
    return hs_row_reader_vector(reader, index, HS_POOLING_MEAN, false, x->vector);
}

static void done(hs_work *w, hs_work_end end, hs_status st)
{
    (void)w;
    failed += end != HS_WORK_DONE || st != HS_OK;
    n_done++;
}

enum { BAD = -1 }; // a kind with a token that the model does not have

static void ask(int number, int kind, bool waits)
{
    asked *x = &a[number];
    *x = (asked){ .waits = waits };
    for (int i = 0; i < TOKENS; i++)
        x->id[i] = 1 + (3 * (kind + 1) + 5 * i) % 20;
    if (kind == BAD)
        x->id[TOKENS - 1] = 1 << 20;
    x->row = (hs_encode_row){ .id = x->id, .n = kind == BAD ? TOKENS : TOKENS - kind };
    x->work = (hs_work){ .row = &x->row, .n = 1, .reader = model->embed, .take = take, .done = done };
    assert_true(hs_batcher_add(model->batcher, &x->work));
}

static void wait_for(int n)
{
    for (int i = 0; i < 20000 && n_done < n; i++)
        wait_ms(1);
    assert_int_equal(n_done, n);
    assert_int_equal(failed, 0);
    n_done = 0;
}

static void two_threads(hs_server_opts *o) { o->served.instances = 0, o->served.threads = 2; }

static void ask_one_by_one(void)
{
    for (int k = 0; k < KINDS; k++) {
        ask(0, k, false);
        wait_for(1);
        assert_true(k == 0 || pthread_equal(a[0].by, whole)); // too little waits for anybody else
        whole = a[0].by;
        memcpy(want[k], a[0].vector, sizeof want[k]);
    }
}

static void test_parts(void **state)
{
    (void)state;
    static const char *const names[] = { "one" };
    serve_start(&server, names, 1, two_threads);
    model = hs_hub_find(server.hub, "one", 0, 0);
    assert_int_equal(model->instances, 3);
    assert_int_equal(model->parts, 2);
    ask_one_by_one();
    all_there = false;
    met = 0;
    for (int i = 0; i < ASKED; i++)
        ask(i, i % KINDS, i == 0);
    all_there = true;
    wait_for(ASKED);
    pthread_t part[2];
    int n_parts = 0, n_team = 0;
    for (int i = 0; i < ASKED; i++) {
        assert_memory_equal(a[i].vector, want[i % KINDS], sizeof want[0]);
        if (pthread_equal(a[i].by, whole)) {
            n_team++;
            continue;
        }
        int k = 0;
        while (k < n_parts && !pthread_equal(part[k], a[i].by))
            k++;
        assert_true(k < 2);
        part[k] = a[i].by, n_parts = k == n_parts ? k + 1 : n_parts;
    }
    assert_true(n_team < ASKED / 2); // what it took before the others were there, and maybe a little at the end
    assert_int_equal(n_parts, 2);
    assert_int_equal(met, 0);
    bool again = false;
    for (int i = 0; i < 1000 && !again; i++) { // once the last part has rested
        ask(0, 3, false);
        wait_for(1);
        again = pthread_equal(a[0].by, whole) != 0;
    }
    assert_true(again);
    hs_served_let_go(model);
    serve_stop(&server);
}

// One that fails, does so once, whoever else looks at the queue.
static void test_bad(void **state)
{
    (void)state;
    static const char *const names[] = { "one" };
    int bad = 0;
    serve_start(&server, names, 1, two_threads);
    model = hs_hub_find(server.hub, "one", 0, 0);
    for (int round = 0; round < 20; round++) {
        all_there = false;
        n_done = 0;
        failed = 0;
        bad = 0;
        for (int i = 0; i < ASKED; i++) {
            ask(i, i % 5 == 1 ? BAD : i % KINDS, i == 0);
            bad += i % 5 == 1;
        }
        all_there = true;
        for (int i = 0; i < 20000 && n_done < ASKED; i++)
            wait_ms(1);
        assert_int_equal(n_done, ASKED);
        assert_int_equal(failed, bad);
    }
    n_done = 0;
    failed = 0;
    hs_served_let_go(model);
    serve_stop(&server);
}

// What waits when it stops is dropped, whoever's turn it is, and nobody sleeps on.
static void test_stop(void **state)
{
    (void)state;
    static const char *const names[] = { "one" };
    for (int n = 1; n <= ASKED; n *= 4) {
        serve_start(&server, names, 1, two_threads);
        model = hs_hub_find(server.hub, "one", 0, 0);
        all_there = false;
        n_done = 0;
        for (int i = 0; i < n; i++)
            ask(i, i % KINDS, i == 0);
        hs_batcher_stop(model->batcher);
        all_there = true;
        for (int i = 0; i < 20000 && n_done < n; i++)
            wait_ms(1);
        assert_int_equal(n_done, n);
        n_done = 0;
        failed = 0;
        hs_served_let_go(model);
        serve_stop(&server);
    }
}

static int begin(void **state)
{
    scratch_open(state);
    serve_folder("one", "encoders/bert");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_parts), cmocka_unit_test(test_bad), cmocka_unit_test(test_stop) };
    return cmocka_run_group_tests(tests, begin, scratch_close);
}

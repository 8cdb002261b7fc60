// Errors: one line, the lowest one wins, frames in order, one record per thread. And the log, and the collectives of one rank.
#include "core/base/log.h"
#include "core/base/status.h"
#include "core/graph/comm.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static hs_status lowest(int v) { return HS_FAIL(USAGE, "model.layers is %d, allowed %d to %d", v, 1, 9); }
static hs_status middle(int v)
{
    HS_TRY(lowest(v));
    return HS_OK;
}
static hs_status highest(int v, int *freed)
{
    hs_status st = HS_OK;
    HS_TRY_GOTO(st, middle(v), done);
done:
    ++*freed;
    return st;
}

static void test_frames(void **state)
{
    (void)state;
    int freed = 0;
    assert_int_equal(highest(12, &freed), HS_USAGE);
    assert_int_equal(freed, 1);
    assert_string_equal(hs_error(), "model.layers is 12, allowed 1 to 9");
    int lines[3];
    assert_int_equal(sscanf(hs_error_frames(), "tests/core/test_status.c:%d < tests/core/test_status.c:%d < tests/core/test_status.c:%d",
                            &lines[0], &lines[1], &lines[2]),
                     3);
    assert_true(lines[0] < lines[1] && lines[1] < lines[2]);
}

static void test_one_line(void **state)
{
    (void)state;
    assert_int_equal(HS_FAIL(CORRUPT, "magic is '%s'", "a\nb\tc"), HS_CORRUPT);
    assert_string_equal(hs_error(), "magic is 'a b c'");
    assert_int_equal(HS_FAIL(CORRUPT, "outer: %s", hs_error()), HS_CORRUPT); // the message before it as an argument
    assert_string_equal(hs_error(), "outer: magic is 'a b c'");
    char big[4000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(HS_FAIL(SYSTEM, "%s", big), HS_SYSTEM);
    assert_true(strlen(hs_error()) < sizeof big && strlen(hs_error()) > 500);
    for (int i = 0; i < 1000; i++) // no number of frames overruns the record
        hs_frame_at(HS_SYSTEM, "a/long/path/to/some/file.c", i);
    assert_true(strlen(hs_error_frames()) < 4000);
}

static void test_table(void **state)
{
    (void)state;
    assert_string_equal(hs_status_name(HS_USAGE), "USAGE");
    assert_int_equal(hs_status_exit(HS_OK), 0);
    assert_int_equal(hs_status_exit(HS_USAGE), 2);
    assert_int_equal(hs_status_exit(HS_STOPPED), 75);
    assert_string_equal(hs_status_name((hs_status)99), "unknown");
    assert_int_equal(hs_status_exit((hs_status)99), 70);
}

static void *other_thread(void *seen)
{
    *(bool *)seen = hs_error()[0] != 0;
    HS_FAIL(MEMORY, "of the other thread");
    return NULL;
}

static void test_per_thread(void **state)
{
    (void)state;
    HS_FAIL(USAGE, "of this thread");
    bool seen = true;
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, other_thread, &seen), 0);
    pthread_join(t, NULL);
    assert_false(seen);
    assert_string_equal(hs_error(), "of this thread");
}

typedef struct captured {
    int n;
    hs_log_level level;
    char line[256];
} captured;
static void capture(hs_log_level level, const char *line, void *user)
{
    captured *c = user;
    c->n++;
    c->level = level;
    snprintf(c->line, sizeof c->line, "%s", line);
}

static void test_log(void **state)
{
    (void)state;
    captured c = { 0 };
    hs_log_set(HS_LOG_INFO, capture, &c);
    hs_debug("not %s", "seen");
    assert_int_equal(c.n, 0);
    hs_warn("seen %d", 7);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.level, HS_LOG_WARN);
    assert_string_equal(c.line, "seen 7");
    hs_log_set(HS_LOG_QUIET, capture, &c);
    hs_warn("silence");
    assert_int_equal(c.n, 1);
    hs_log_set(HS_LOG_INFO, NULL, NULL);
}

static void test_comm_self(void **state)
{
    (void)state;
    const hs_grid g = hs_grid_self();
    assert_int_equal(g.dp->size, 1);
    assert_string_equal(g.tp->axis, "tp");
    float a[3] = { 1, 2, 3 }, b[3] = { 0 };
    g.dp->all_reduce(g.dp, NULL, a, 3, HS_F32, HS_REDUCE_SUM);
    g.dp->all_gather(g.dp, NULL, a, b, 3, HS_F32);
    assert_memory_equal(a, b, sizeof a);
    g.dp->reduce_scatter(g.dp, NULL, a, a, 3, HS_F32);
    g.dp->broadcast(g.dp, NULL, a, sizeof a, 0);
    assert_true(a[0] == 1 && a[1] == 2 && a[2] == 3);
    assert_int_equal(g.tp->poll(g.tp), HS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),     cmocka_unit_test(test_one_line), cmocka_unit_test(test_table),
        cmocka_unit_test(test_per_thread), cmocka_unit_test(test_log),      cmocka_unit_test(test_comm_self)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Collectives of memory that the host may not touch: every call over a fenced device, by ranks that are threads, against the same over the
// host's memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "parallel/parallel.h"
#include "tests/support/support_comm.h"
#include <stdlib.h>
#include <string.h>

enum { RANKS = 3, N = 3000, EACH = N / RANKS };
static const int64_t parts[RANKS] = { 1999, 0, 1001 };

typedef struct calls { // the results of all calls, one behind the other
    float sum[N], scattered[EACH], gathered[N], reduced[N], assembled[N], told[N];
} calls;

static void fill(float *x, int rank, int salt)
{
    for (int i = 0; i < N; i++)
        x[i] = (float)((i * 7 + rank * 13 + salt) % 101) * (rank ? 0.001f : 1000);
}

// The addresses are the comm's: the host's, or a device's.
static void call_all(hs_comm *c, calls *y, calls *x)
{
    c->about = "test";
    c->all_reduce(c, NULL, y->sum, N, HS_F32, HS_REDUCE_SUM);
    c->reduce_scatter(c, NULL, x->sum, y->scattered, EACH, HS_F32);
    c->all_gather(c, NULL, x->sum, y->gathered, EACH, HS_F32);
    c->reduce_parts(c, NULL, y->reduced, parts, HS_F32);
    c->gather_parts(c, NULL, y->assembled, parts, HS_F32);
    c->broadcast(c, NULL, y->told, sizeof y->told, 1);
}

static void begin(calls *c, int rank)
{
    float *const whole[] = { c->sum, c->gathered, c->reduced, c->assembled, c->told };
    for (int i = 0; i < HS_COUNT(whole); i++)
        fill(whole[i], rank, i);
    memset(c->scattered, 0, sizeof c->scattered);
}

// What is not a call's result may be anything.
static void forget(calls *c, int rank)
{
    int64_t at = 0;
    for (int r = 0; r < RANKS; at += parts[r++])
        if (r != rank)
            memset(c->reduced + at, 0, (size_t)parts[r] * sizeof(float));
}

static hs_status work(const hs_grid *grid, void *arg, int rank)
{
    (void)arg;
    hs_device *d;
    hs_comm *staged;
    calls *host = malloc(3 * sizeof *host), *want = host + 1, *got = host + 2;
    void *memory;
    HS_TRY(hs_open_device(&d, "cpu-fenced", 1, NULL, 0, HS_ONEDNN_NO));
    HS_TRY(d->alloc(d, 2 * sizeof(calls), &memory));
    HS_TRY(hs_parallel_staged(&staged, grid->tp, d));
    if (staged->rank != rank || staged->size != RANKS || strcmp(staged->axis, grid->tp->axis))
        return HS_FAIL(INTERNAL, "rank %d of %d over %s", staged->rank, staged->size, staged->axis);
    begin(host, rank), begin(want, rank);
    calls *there = memory;
    d->copy(d, there, host, sizeof *host);
    d->copy(d, there + 1, host, sizeof *host);
    call_all(grid->tp, want, host);
    call_all(staged, there, there + 1);
    d->copy(d, got, there, sizeof *got);
    forget(got, rank), forget(want, rank);
    hs_status st = staged->poll(staged);
    if (st == HS_OK && memcmp(got, want, sizeof *got))
        st = HS_FAIL(INTERNAL, "a call over device memory gave something else");
    hs_comm_close(staged);
    d->release(d, memory, 2 * sizeof(calls));
    hs_device_close(d);
    free(host);
    return st;
}

static void device_memory(void **state)
{
    (void)state;
    if (ranks_run(RANKS, work, NULL, NULL) != HS_OK)
        fail_msg("%s", hs_error());
}

// A device without memory for the host: the rank says so, and the others do not wait for it.
static hs_status no_memory(hs_device *d, size_t bytes, void **out)
{
    (void)d, (void)bytes, (void)out;
    return HS_FAIL(MEMORY, "no pinned memory");
}

static hs_status without(const hs_grid *grid, void *arg, int rank)
{
    hs_status *got = arg;
    hs_device *d;
    hs_comm *staged;
    float x[8] = { 1 };
    HS_TRY(hs_open_device(&d, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    if (rank == 1)
        d->alloc_host = no_memory;
    HS_TRY(hs_parallel_staged(&staged, grid->tp, d));
    staged->all_reduce(staged, NULL, x, 8, HS_F32, HS_REDUCE_SUM);
    got[rank] = staged->poll(staged);
    if (rank == 1 && !strstr(hs_error(), "no pinned memory"))
        got[rank] = HS_INTERNAL;
    staged->all_reduce(staged, NULL, x, 8, HS_F32, HS_REDUCE_SUM); // nothing is done any more
    hs_comm_close(staged);
    hs_device_close(d);
    return HS_OK;
}

static void no_pinned_memory(void **state)
{
    (void)state;
    hs_status got[RANKS] = { HS_OK };
    assert_int_equal(ranks_run(RANKS, without, got, NULL), HS_REMOTE);
    for (int r = 0; r < RANKS; r++)
        assert_int_equal(got[r], r == 1 ? HS_MEMORY : HS_REMOTE);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(device_memory), cmocka_unit_test(no_pinned_memory) };
    return cmocka_run_group_tests_name("staged collectives", tests, NULL, NULL);
}

// core/cuda/device_cuda.c on emulated GPUs, whose streams and plain calls do nothing before somebody waits: memory that is zero when it is
// there, copies that are done when they return, captures beside other threads and other devices of the same GPU, and who is told of what failed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "tests/emu/emu_device.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { N = 4096 };
static hs_device *d;

static char *room(hs_device *of)
{
    void *p;
    OK(of->alloc(of, N, &p));
    return p;
}

static void all_are(const char *p, int byte, const char *what)
{
    for (int i = 0; i < N; i++)
        if (p[i] != (char)byte)
            fail_msg("%s: byte %d is %d, should be %d", what, i, p[i], byte);
}

// ---- memory

static void zeros(void **state)
{
    (void)state;
    char *p = room(d), *from;
    hs_lane *lane;
    all_are(p, 0, "memory");
    OK(d->alloc_host(d, N, (void **)&from));
    memset(from, 7, N);
    OK(d->lane_open(d, &lane));
    char *q = room(d);
    d->copy_async(d, lane, q, from, N);
    OK(d->wait(d, lane));
    cudaDeviceSynchronize();
    all_are(q, 7, "memory that a lane wrote to");
    d->lane_close(d, lane);
    d->free_host(d, from);
    d->release(d, p, N), d->release(d, q, N);
}

static void copies(void **state)
{
    (void)state;
    static char pageable[N], back[N];
    char *p = room(d), *q = room(d), *pinned;
    hs_lane *lane;
    OK(d->alloc_host(d, N, (void **)&pinned));
    OK(d->lane_open(d, &lane));
    memset(pageable, 1, N);
    d->copy(d, p, pageable, N);
    all_are(p, 1, "from pageable memory");
    d->copy(d, q, p, N);
    all_are(q, 1, "within the device");
    memset(pinned, 2, N);
    d->copy(d, p, pinned, N);
    all_are(p, 2, "from pinned memory");
    d->fill(d, q, 3, N);
    all_are(q, 3, "a fill");
    d->fill(d, pinned, 4, N);
    all_are(pinned, 4, "a fill of pinned memory");
    d->copy_async(d, lane, p, q, N);
    d->copy(d, back, p, N);
    all_are(back, 3, "behind what a lane was given");
    d->copy_async(d, NULL, q, pinned, N);
    d->copy(d, back, q, N);
    all_are(back, 4, "behind what the first lane was given");
    d->lane_close(d, lane);
    d->free_host(d, pinned);
    d->release(d, p, N), d->release(d, q, N);
}

static void whose_memory(void **state)
{
    (void)state;
    hs_device *same, *other;
    void *pinned;
    OK(emu_device_open(&same, 0));
    OK(emu_device_open(&other, 1));
    char *mine = room(d), *theirs = room(same);
    OK(same->alloc_host(same, N, &pinned));
    assert_ptr_equal(hs_device_bind(d, mine + N - 1), mine + N - 1);
    assert_ptr_equal(hs_device_bind(d, theirs + 1), theirs + 1); // of an instance that shares the model
    assert_ptr_equal(hs_device_bind(same, mine), mine);
    assert_ptr_equal(hs_device_bind(d, pinned), pinned);
    assert_null(hs_device_bind(other, mine));
    assert_null(hs_device_bind(d, &same));
    same->free_host(same, pinned);
    same->release(same, theirs, N), d->release(d, mine, N);
    assert_null(hs_device_bind(d, mine));
    hs_device_close(same), hs_device_close(other);
}

// ---- captures

typedef struct meeting { // of a thread that captures and one that copies
    hs_device *copies;
    char *to;
    bool at_last;
    _Atomic bool begun, done, done_inside;
} meeting;

static void fill_lane(const hs_args *a, hs_lane *lane)
{
    meeting *m = (meeting *)(uintptr_t)a->attr;
    cudaMemsetAsync(m->to, 5, N, lane->stream);
    if (!m->at_last)
        return;
    m->begun = true;
    const double start = hs_now();
    while (!m->done && hs_now() - start < 0.2)
        usleep(200);
    m->done_inside = m->done;
}

static void *copy_meanwhile(void *user)
{
    meeting *m = user;
    static char bytes[N];
    while (!m->begun)
        usleep(100);
    void *p;
    hs_status st = m->copies->alloc(m->copies, N, &p);
    if (st == HS_OK) {
        m->copies->copy(m->copies, p, bytes, N);
        m->copies->fill(m->copies, p, 1, N);
        m->copies->release(m->copies, p, N);
        st = m->copies->collect(m->copies);
    }
    m->done = true;
    return st == HS_OK ? NULL : "it fails";
}

static void capture_beside(hs_device *other, bool inside)
{
    meeting m = { .copies = other, .to = room(d) };
    hs_thunk t = { .fn = fill_lane, .args = { .attr = &m }, .name = "filled" };
    const hs_segment s = { &t, 1 };
    pthread_t thread;
    void *why;
    OK(d->submit(d, NULL, &s, HS_SUBMIT_GRAPH));
    OK(d->wait(d, NULL));
    m.at_last = true;
    pthread_create(&thread, NULL, copy_meanwhile, &m);
    OK(d->submit(d, NULL, &s, HS_SUBMIT_GRAPH));
    pthread_join(thread, &why);
    assert_null(why);
    OK(d->wait(d, NULL));
    all_are(m.to, 5, "what was captured");
    assert_int_equal(m.done_inside, inside);
    d->forget(d, &t);
    d->release(d, m.to, N);
}

static void captures(void **state)
{
    (void)state;
    hs_device *same;
    OK(emu_device_open(&same, 0));
    capture_beside(d, false);
    capture_beside(same, true); // of the same GPU, and waits for its own lanes alone
    hs_device_close(same);
}

// What a captured call was given: its address is found there.
static void set_first(void *given) { **(char **)given = 6; }
static void call_lane(const hs_args *a, hs_lane *lane)
{
    char **given = calloc(2, sizeof *given);
    given[0] = ((meeting *)(uintptr_t)a->attr)->to;
    hs_emu_enqueue(lane->stream, set_first, free, given);
}

static void freed_memory(void **state)
{
    (void)state;
    hs_kernel *const fn[] = { fill_lane, call_lane };
    for (int i = 0; i < 2; i++) {
        meeting m = { .to = room(d) };
        char *other = room(d);
        hs_thunk t = { .fn = fn[i], .args = { .attr = &m }, .name = "filled" };
        const hs_segment s = { &t, 1 };
        for (int k = 0; k < 3; k++)
            OK(d->submit(d, NULL, &s, HS_SUBMIT_GRAPH));
        d->release(d, other, N);
        OK(d->submit(d, NULL, &s, HS_SUBMIT_GRAPH));
        OK(d->wait(d, NULL));
        assert_int_equal(m.to[0], i ? 6 : 5);
        d->release(d, m.to, N);
        assert_int_equal(d->submit(d, NULL, &s, HS_SUBMIT_GRAPH), HS_SYSTEM);
        d->forget(d, &t);
        OK(d->wait(d, NULL));
    }
}

// ---- what failed

static void too_many_bytes(void **state)
{
    (void)state;
    char *p = room(d), *q = room(d);
    hs_lane *lane;
    OK(d->lane_open(d, &lane));
    d->copy(d, p, q, N + 1);
    assert_int_equal(d->wait(d, lane), HS_SYSTEM);
    assert_non_null(strstr(hs_error(), "a copy: cudaErrorInvalidValue"));
    OK(d->wait(d, NULL));
    d->lane_close(d, lane);
    d->release(d, p, N), d->release(d, q, N);
}

static int runs;
static void counted(const hs_args *a, hs_lane *lane)
{
    runs++;
    if (a->attr)
        snprintf(lane->failed, sizeof lane->failed, "%s", (const char *)a->attr);
}

static void who_failed(void **state)
{
    (void)state;
    hs_thunk t[] = { { .fn = counted, .name = "first" }, { .fn = counted, .name = "second", .args = { .attr = "a library's words" } },
                     { .fn = counted, .name = "third" } };
    const hs_segment s = { t, 3 };
    const hs_submit_mode modes[] = { HS_SUBMIT_BULK, HS_SUBMIT_STEP, HS_SUBMIT_GRAPH };
    for (int i = 0; i < 3; i++) {
        runs = 0;
        assert_int_equal(d->submit(d, NULL, &s, modes[i]), HS_SYSTEM);
        assert_non_null(strstr(hs_error(), "second: a library's words"));
        assert_int_equal(runs, 2);
        OK(d->wait(d, NULL));
    }
    hs_lane *lane = hs_gpu_lane(d, NULL);
    snprintf(lane->failed, sizeof lane->failed, "a product"); // of one that no segment has
    assert_int_equal(d->wait(d, NULL), HS_SYSTEM);
    assert_non_null(strstr(hs_error(), "a product"));
    OK(d->wait(d, NULL));
    d->forget(d, t);
}

static int begin(void **state)
{
    (void)state;
    hs_log_set(HS_LOG_QUIET, NULL, NULL);
    if (emu_device_open(&d, 0) == HS_OK)
        return 0;
    print_error("%s\n", hs_error());
    return -1;
}
static int end(void **state)
{
    (void)state;
    hs_device_close(d);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(zeros),    cmocka_unit_test(copies),         cmocka_unit_test(whose_memory),
                                        cmocka_unit_test(captures), cmocka_unit_test(freed_memory), cmocka_unit_test(too_many_bytes), cmocka_unit_test(who_failed) };
    return cmocka_run_group_tests_name("an emulated GPU as a device", tests, begin, end);
}

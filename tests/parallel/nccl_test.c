// nccl_comm over NCCL's double: ranks are threads with an emulated GPU each. Every call gives what the same call over the host's memory
// does, at once or started, in streams that do nothing by themselves, captured or not; who is missing or gives up is told.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "parallel/nccl_comm.h"
#include "parallel/parallel.h"
#include "tests/emu/emu_device.h"
#include "tests/support/support_comm.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 70000, GPUS = 4 };

#define CHECK(condition, ...)                                                                                                              \
    do {                                                                                                                                   \
        if (!(condition))                                                                                                                  \
            return HS_FAIL(INTERNAL, __VA_ARGS__);                                                                                         \
    } while (0)

typedef struct rig { // of a rank
    hs_device *d;
    hs_comm *host, *c;
    char *there; // MOST * 8 bytes of the device
} rig;

static hs_status rig_open(rig *r, const hs_grid *grid, double timeout)
{
    void *p;
    *r = (rig){ .host = grid->tp };
    HS_TRY(emu_device_open(&r->d, grid->tp->rank));
    HS_TRY(r->d->alloc(r->d, MOST * 8, &p));
    r->there = p;
    return r->d->comm_open(&r->c, r->d, r->host, timeout);
}

static void rig_close(rig *r)
{
    hs_comm_close(r->c);
    if (r->there)
        r->d->release(r->d, r->there, MOST * 8);
    hs_device_close(r->d);
}

// Element i of what a rank brings: whole numbers that every type has, and sums of them too.
static void fill(void *buf, int64_t n, int rank, int salt, hs_dtype d)
{
    for (int64_t i = 0; i < n; i++) {
        const double x = (double)((i * 7 + rank * 13 + salt) % 23 - 11);
        const int64_t whole = (int64_t)x;
        if (d == HS_I64 || d == HS_I32)
            memcpy((char *)buf + (size_t)i * hs_dtype_bytes(d), &whole, hs_dtype_bytes(d));
        else
            hs_convert((char *)buf + (size_t)i * hs_dtype_bytes(d), d, &x, HS_F64, 1);
    }
}

static bool within(double seconds, bool (*is)(void *user), void *user)
{
    for (int i = 0; i < seconds * 1000 && !is(user); i++)
        usleep(1000);
    return is(user);
}
static bool all_over(void *user)
{
    hs_comm *c = user;
    hs_comm_call told;
    return c->calls(c, &told, 1) == 1 && told.ended;
}

// ---- every call

typedef struct shape {
    int64_t n;
    int64_t parts[GPUS];
    hs_dtype dtype;
    hs_reduce op;
    int root;
} shape;

typedef void call_fn(hs_comm *c, const shape *s, char *buf, char *other);
static void sum(hs_comm *c, const shape *s, char *buf, char *other) { (void)other, c->all_reduce(c, NULL, buf, s->n, s->dtype, s->op); }
static void scatter(hs_comm *c, const shape *s, char *buf, char *other)
{
    c->reduce_scatter(c, NULL, buf, other, s->n / c->size, s->dtype);
}
static void gather(hs_comm *c, const shape *s, char *buf, char *other) { c->all_gather(c, NULL, other, buf, s->n / c->size, s->dtype); }
static void tell(hs_comm *c, const shape *s, char *buf, char *other)
{
    (void)other;
    c->broadcast(c, NULL, buf, (size_t)s->n * hs_dtype_bytes(s->dtype), s->root);
}
static void gather_parts(hs_comm *c, const shape *s, char *buf, char *other)
{
    (void)other;
    c->gather_parts(c, NULL, buf, s->parts, s->dtype);
}
static void reduce_parts(hs_comm *c, const shape *s, char *buf, char *other)
{
    (void)other;
    c->reduce_parts(c, NULL, buf, s->parts, s->dtype);
}
static void start_parts(hs_comm *c, const shape *s, char *buf, char *other)
{
    (void)other;
    hs_comm_start(c, NULL, &(hs_collective){ .kind = HS_REDUCE_PARTS, .buf = buf, .parts = s->parts, .dtype = s->dtype });
    hs_comm_finish(c, NULL);
}
static const struct {
    const char *name;
    call_fn *call;
    bool own_part; // nothing else of the buffer means anything
} calls[] = { { "all-reduce", sum, false },          { "reduce-scatter", scatter, false },       { "all-gather", gather, false },
              { "broadcast", tell, false },          { "gather of parts", gather_parts, false }, { "reduce of parts", reduce_parts, true },
              { "started parts", start_parts, true } };

static void own_part(const hs_comm *c, const shape *s, size_t *at, size_t *bytes)
{
    int64_t before = 0;
    for (int r = 0; r < c->rank; r++)
        before += s->parts[r];
    *at = (size_t)before * hs_dtype_bytes(s->dtype), *bytes = (size_t)s->parts[c->rank] * hs_dtype_bytes(s->dtype);
}

static hs_status same_as_host(rig *r, const shape *s, int k, int salt)
{
    const size_t bytes = (size_t)s->n * hs_dtype_bytes(s->dtype);
    char *want = malloc(4 * bytes + 4), *want_other = want + bytes, *got = want + 2 * bytes, *got_other = want + 3 * bytes;
    size_t at = 0, part = bytes;
    fill(want, s->n, r->c->rank, salt, s->dtype), fill(want_other, s->n, r->c->rank, salt + 1, s->dtype);
    if (bytes)
        r->d->copy(r->d, r->there, want, 2 * bytes);
    calls[k].call(r->host, s, want, want_other);
    calls[k].call(r->c, s, r->there, r->there + bytes);
    if (bytes)
        r->d->copy(r->d, got, r->there, 2 * bytes);
    if (calls[k].own_part)
        own_part(r->c, s, &at, &part);
    const bool same = !memcmp(want + at, got + at, part) && !memcmp(want_other, got_other, bytes);
    free(want);
    HS_TRY(r->c->poll(r->c));
    CHECK(same, "%s of %lld %s: other bytes than over the host's memory", calls[k].name, (long long)s->n, hs_dtype_name(s->dtype));
    return HS_OK;
}

static void set_parts(shape *s, int size, bool equal) // uneven: one of them is 0
{
    int64_t left = s->n;
    for (int r = 0; r < size; r++) {
        s->parts[r] = equal ? s->n / size : r == 1 ? 0 : r + 1 == size ? left : left / 3;
        left -= s->parts[r];
    }
    s->parts[0] += left;
}

static hs_status all_calls(const hs_grid *grid, void *arg, int rank)
{
    static const hs_dtype dtypes[] = { HS_F32, HS_BF16, HS_F64, HS_F16, HS_I32 };
    const int size = grid->tp->size;
    rig r;
    int salt = 0;
    (void)arg, (void)rank;
    HS_TRY(rig_open(&r, grid, 20));
    CHECK(r.c->rank == grid->tp->rank && r.c->size == size && !strcmp(r.c->axis, grid->tp->axis), "another place in the grid");
    for (int m = 0; m < 4; m++)
        for (int d = 0; d < (m < 3 ? HS_COUNT(dtypes) : 1); d++)
            for (int k = 0; k < HS_COUNT(calls); k++)
                for (int way = 0; way < 2; way++) {
                    shape s = { .n = (int64_t[]){ 0, 12, 1000, MOST }[m], .dtype = dtypes[d] };
                    s.n -= s.n % size;
                    s.op = way ? HS_REDUCE_MAX : HS_REDUCE_SUM, s.root = way ? size - 1 : 0;
                    set_parts(&s, size, way);
                    HS_TRY(same_as_host(&r, &s, k, ++salt));
                }
    rig_close(&r);
    return HS_OK;
}

static void test_all_calls(void **state)
{
    (void)state;
    for (int n = 2; n <= GPUS; n++)
        if (ranks_run(n, all_calls, NULL, NULL) != HS_OK)
            fail_msg("%d ranks: %s", n, hs_error());
    assert_int_equal(hs_emu_nccl_broken(), 0);
}

// ---- started calls: nothing is done before somebody waits, and only what events ask for is in order

static hs_status started_calls(const hs_grid *grid, void *arg, int rank)
{
    enum { CALLS = 40, N = 200 }; // more than there is room for at first
    rig r;
    void *pinned;
    hs_lane *lane;
    (void)arg;
    HS_TRY(rig_open(&r, grid, 20));
    HS_TRY(r.d->lane_open(r.d, &lane));
    HS_TRY(r.d->alloc_host(r.d, 2 * CALLS * N * sizeof(float), &pinned));
    float *in = pinned, *out = in + CALLS * N, *there = (float *)(void *)r.there;
    hs_comm_start(r.c, lane,
                  &(hs_collective){ .kind = HS_ALL_REDUCE, .buf = there, .n = N, .dtype = HS_F32 }); // room grows with one behind
    hs_comm_finish(r.c, lane);
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < CALLS; k++) {
            fill(in + k * N, N, rank, k + round, HS_F32);
            r.d->copy_async(r.d, lane, there + k * N, in + k * N, N * sizeof(float)); // the call must come behind it
            r.c->about = "a bucket";
            hs_comm_start(r.c, lane, &(hs_collective){ .kind = HS_ALL_REDUCE, .buf = there + k * N, .n = N, .dtype = HS_F32 });
        }
        for (int k = 0; k < CALLS; k++) {
            hs_comm_finish_but(r.c, lane, CALLS - 1 - k);
            r.d->copy_async(r.d, lane, out + k * N, there + k * N, N * sizeof(float)); // and this behind the call
        }
        hs_comm_finish(r.c, lane); // of nothing
        HS_TRY(r.d->wait(r.d, lane));
        HS_TRY(r.c->poll(r.c));
        for (int k = 0; k < CALLS; k++)
            for (int i = 0; i < N; i++) {
                float want = 0, x[N];
                for (int q = 0; q < r.c->size; q++)
                    fill(x, i + 1, q, k + round, HS_F32), want += x[i];
                CHECK(out[k * N + i] == want, "round %d, call %d: element %d is %g, not %g", round, k, i, (double)out[k * N + i],
                      (double)want);
            }
    }
    r.d->free_host(r.d, pinned);
    r.d->lane_close(r.d, lane);
    rig_close(&r);
    return HS_OK;
}

static void test_started(void **state)
{
    (void)state;
    if (ranks_run(3, started_calls, NULL, NULL) != HS_OK)
        fail_msg("%s", hs_error());
    assert_int_equal(hs_emu_nccl_broken(), 0);
}

// ---- captured segments

static void add_one(void *p) // of a thunk's out[0]
{
    const hs_ref *y = p;
    for (int64_t i = 0; i < y->rows; i++)
        ((float *)(void *)y->p)[i] += 1;
}
static void keep(void *p) { (void)p; }
static void add_one_kernel(const hs_args *a, hs_lane *lane) { hs_emu_enqueue(lane->stream, add_one, keep, (void *)(uintptr_t)&a->out[0]); }
static void sum_kernel(const hs_args *a, hs_lane *lane)
{
    a->comm->all_reduce(a->comm, lane, a->out[0].p, a->out[0].rows, a->out[0].dtype, HS_REDUCE_SUM);
}

enum { STEPS = 5, WIDTH = 64 };

// x += 1; start the largest of x; y += 1; sum y; finish x; x += 1; start the sum of z, which nobody in this segment waits for
static hs_status run_steps(rig *r, hs_submit_mode mode, float out[3 * WIDTH])
{
    static const hs_move sum = { .kind = HS_ALL_REDUCE }, largest = { .kind = HS_ALL_REDUCE, .op = HS_REDUCE_MAX };
    float *p = (float *)(void *)r->there;
    const hs_ref x = { .p = (char *)p, .rows = WIDTH, .cols = 1, .dtype = HS_F32 };
    hs_ref y = x, z = x;
    y.p += WIDTH * sizeof(float), z.p += 2 * WIDTH * sizeof(float);
    hs_thunk t[] = {
        { .fn = add_one_kernel, .name = "x", .args = { .out[0] = x } },
        { .fn = r->d->core->begin, .name = "begin x", .args = { .out[0] = x, .attr = &largest, .comm = r->c } },
        { .fn = add_one_kernel, .name = "y", .args = { .out[0] = y } },
        { .fn = sum_kernel, .name = "sum y", .args = { .out[0] = y, .comm = r->c } },
        { .fn = r->d->core->finish, .name = "finish", .args = { .comm = r->c } },
        { .fn = add_one_kernel, .name = "x again", .args = { .out[0] = x } },
        { .fn = r->d->core->begin, .name = "begin z", .args = { .out[0] = z, .attr = &sum, .comm = r->c } },
    };
    hs_thunk last[] = { { .fn = r->d->core->finish, .name = "finish z", .args = { .comm = r->c } },
                        { .fn = add_one_kernel, .name = "z again", .args = { .out[0] = z } } };
    const hs_segment step = { t, HS_COUNT(t) }, end = { last, HS_COUNT(last) };
    for (int i = 0; i < 2; i++) // it is captured before there is anything to wait for
        HS_TRY(r->d->submit(r->d, NULL, &end, mode));
    memset(out, 0, 3 * WIDTH * sizeof *out);
    out[2 * WIDTH] = 1;
    r->d->copy(r->d, p, out, 3 * WIDTH * sizeof *out);
    for (int i = 0; i < STEPS; i++) {
        HS_TRY(r->d->submit(r->d, NULL, &step, mode));
        HS_TRY(r->d->submit(r->d, NULL, &end, mode));
    }
    HS_TRY(r->d->wait(r->d, NULL));
    r->d->copy(r->d, out, p, 3 * WIDTH * sizeof *out);
    r->d->forget(r->d, t);
    r->d->forget(r->d, last);
    return r->c->poll(r->c);
}

static hs_status captured_calls(const hs_grid *grid, void *arg, int rank)
{
    rig r;
    float directly[3 * WIDTH], captured[3 * WIDTH];
    hs_comm_call told;
    (void)arg, (void)rank;
    HS_TRY(rig_open(&r, grid, 20));
    HS_TRY(run_steps(&r, HS_SUBMIT_BULK, directly));
    HS_TRY(run_steps(&r, HS_SUBMIT_GRAPH, captured));
    CHECK(!memcmp(directly, captured, sizeof directly), "captured: %g %g %g, not %g %g %g", (double)captured[0], (double)captured[WIDTH],
          (double)captured[2 * WIDTH], (double)directly[0], (double)directly[WIDTH], (double)directly[2 * WIDTH]);
    CHECK(captured[2 * WIDTH] == (r.c->size == 2 ? 63 : 364), "z is %g", (double)captured[2 * WIDTH]);
    CHECK(captured[0] == 2 * STEPS, "x is %g", (double)captured[0]);
    CHECK(r.c->captured(r.c) == 3, "%lld calls were captured", (long long)r.c->captured(r.c));
    CHECK(within(5, all_over, r.c) && r.c->calls(r.c, &told, 1) == 1 && told.number == 2 * STEPS * 3, "%lld calls are told",
          (long long)told.number);
    rig_close(&r);
    return HS_OK;
}

static void test_captured(void **state)
{
    (void)state;
    for (int n = 2; n <= 3; n++)
        if (ranks_run(n, captured_calls, NULL, NULL) != HS_OK)
            fail_msg("%s", hs_error());
    assert_int_equal(hs_emu_nccl_broken(), 0);
}

// ---- what is told of calls

typedef struct waiter {
    rig *r;
    hs_status st;
} waiter;
static void *wait_for_device(void *arg)
{
    waiter *w = arg;
    w->st = w->r->d->wait(w->r->d, NULL);
    return NULL;
}

static hs_status told_calls(const hs_grid *grid, void *arg, int rank)
{
    rig r;
    hs_comm_call told[4];
    pthread_t thread;
    (void)arg;
    HS_TRY(rig_open(&r, grid, 20));
    CHECK(r.c->calls(r.c, told, 4) == 0, "calls are told before there were any");
    float *x = (float *)(void *)r.there;
    r.c->about = "h0.mlp";
    r.c->all_reduce(r.c, NULL, x, 100, HS_F32, HS_REDUCE_SUM);
    HS_TRY(r.d->wait(r.d, NULL));
    CHECK(within(5, all_over, r.c), "a call that is over is not told so");
    if (rank == 0) { // the others are late
        r.c->about = "h1.mlp.fc.weight";
        r.c->all_reduce(r.c, NULL, x, 200, HS_F32, HS_REDUCE_MAX);
        r.c->broadcast(r.c, NULL, x, 8, 0);
        waiter w = { .r = &r };
        pthread_create(&thread, NULL, wait_for_device, &w);
        CHECK(!within(0.05, all_over, r.c), "a call is over that another rank has not made");
        const int n = r.c->calls(r.c, told, 4);
        CHECK(n == 2 && told[0].number == 2 && !told[0].ended && told[0].n == 200 && told[0].op == HS_REDUCE_MAX &&
                  told[0].kind == HS_CALL_ALL_REDUCE && !strcmp(told[0].about, "h1.mlp.fc.weight"),
              "%d told; the call on its way: #%lld of %lld (%s)", n, (long long)told[0].number, (long long)told[0].n, told[0].about);
        CHECK(told[1].number == 1 && told[1].ended >= told[1].begun && !strcmp(told[1].about, "h0.mlp"), "the call before: #%lld",
              (long long)told[1].number);
        HS_TRY((r.host->broadcast(r.host, NULL, x, 0, 0), r.host->poll(r.host)));
        pthread_join(thread, NULL);
        HS_TRY(w.st);
    } else {
        HS_TRY((r.host->broadcast(r.host, NULL, x, 0, 0), r.host->poll(r.host)));
        r.c->all_reduce(r.c, NULL, x, 200, HS_F32, HS_REDUCE_MAX);
        r.c->broadcast(r.c, NULL, x, 8, 0);
        HS_TRY(r.d->wait(r.d, NULL));
    }
    CHECK(within(5, all_over, r.c), "the last call is not over");
    CHECK(r.c->calls(r.c, told, 4) == 3 && told[0].number == 3 && told[2].number == 1, "three calls were over");
    rig_close(&r);
    return HS_OK;
}

static void test_told(void **state)
{
    (void)state;
    if (ranks_run(2, told_calls, NULL, NULL) != HS_OK)
        fail_msg("%s", hs_error());
    assert_int_equal(hs_emu_nccl_broken(), 0);
}

// ---- who gives up, who is missing, who cannot

static bool has_error(void *user)
{
    hs_comm *c = user;
    return c->poll(c) != HS_OK;
}

static hs_status one_gives_up(const hs_grid *grid, void *arg, int rank)
{
    rig r;
    char *heard = arg;
    HS_TRY(rig_open(&r, grid, 20));
    float *x = (float *)(void *)r.there;
    r.c->all_reduce(r.c, NULL, x, 100, HS_F32, HS_REDUCE_SUM);
    if (rank == 1) {
        HS_TRY(r.d->wait(r.d, NULL));
        r.c->abort(r.c);
        CHECK(r.c->poll(r.c) == HS_REMOTE, "who gave up has no error");
        r.c->all_reduce(r.c, NULL, x, 100, HS_F32, HS_REDUCE_SUM); // nothing any more
    } else {
        r.c->about = "h2";
        r.c->all_reduce(r.c, NULL, x, 300, HS_F32, HS_REDUCE_SUM); // which rank 1 never makes
        pthread_t thread;
        waiter w = { .r = &r };
        pthread_create(&thread, NULL, wait_for_device, &w);
        CHECK(within(10, has_error, r.c), "nothing is heard of a rank that gave up");
        snprintf(heard, 256, "%s", (r.c->poll(r.c), hs_error()));
        r.c->abort(r.c); // lets the waiting thread go
        pthread_join(thread, NULL);
    }
    rig_close(&r);
    return HS_OK;
}

static void test_abort(void **state)
{
    char heard[256] = "";
    (void)state;
    assert_int_equal(ranks_run(2, one_gives_up, heard, NULL), HS_REMOTE);
    assert_string_equal(hs_error(), "a rank gave up"); // of the host's comm, which each of them gave up too
    assert_string_equal(heard, "NCCL over tp: remote process exited or there was a network error");
    assert_int_equal(hs_emu_nccl_broken(), 0);
}

// A comm whose broadcast is the last thing that this rank has part in.
typedef struct leaver {
    hs_comm c;
    hs_comm *host;
    bool left;
} leaver;
static void gather_on_host(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    hs_comm *host = ((leaver *)c->impl)->host;
    host->all_gather(host, l, in, out, n_each, d);
}
static void tell_and_leave(hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root)
{
    leaver *x = c->impl;
    x->host->broadcast(x->host, l, buf, bytes, root);
    x->left = true;
}
static hs_status has_left(hs_comm *c) { return ((leaver *)c->impl)->left ? HS_FAIL(STOPPED, "gone") : HS_OK; }

static hs_status one_is_missing(const hs_grid *grid, void *arg, int rank)
{
    rig r;
    char *heard = arg;
    leaver gone = { .host = grid->tp };
    gone.c = *grid->tp;
    gone.c.all_gather = gather_on_host, gone.c.broadcast = tell_and_leave, gone.c.poll = has_left, gone.c.impl = &gone;
    const hs_grid its = { .dp = grid->dp, .tp = &gone.c };
    const hs_status st = rig_open(&r, rank == 1 ? &its : grid, 0.3);
    if (rank == 0)
        snprintf(heard, 256, "%s", hs_error());
    r.c = NULL;
    rig_close(&r);
    CHECK(st == (rank == 1 ? HS_STOPPED : HS_REMOTE), "rank %d: %s: %s", rank, hs_status_name(st), hs_error());
    return HS_OK;
}

static void test_missing(void **state)
{
    char heard[256] = "";
    (void)state;
    if (ranks_run(2, one_is_missing, heard, NULL) != HS_OK)
        fail_msg("%s", hs_error());
    assert_string_equal(heard, "NCCL: the 2 ranks of tp have not come together in 0.3 s");
    assert_int_equal(hs_emu_nccl_broken(), 0);
}

// What NCCL says itself, not that another rank was lost; who waits for that one is told otherwise.
static hs_status one_fails(const hs_grid *grid, void *arg, int rank)
{
    rig r;
    char *heard = arg;
    if (rank == 1)
        hs_emu_nccl_fail_init(ncclSystemError, "Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)");
    const hs_status st = rig_open(&r, grid, 0.3);
    if (rank == 1)
        snprintf(heard, 256, "%s", hs_error());
    r.c = NULL;
    rig_close(&r);
    CHECK(st == (rank == 1 ? HS_SYSTEM : HS_REMOTE), "rank %d: %s: %s", rank, hs_status_name(st), hs_error());
    return HS_OK;
}

static void test_fails(void **state)
{
    char heard[256] = "";
    (void)state;
    if (ranks_run(2, one_fails, heard, NULL) != HS_OK)
        fail_msg("%s", hs_error());
    assert_string_equal(heard,
                        "NCCL over tp: unhandled system error: Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)");
    assert_int_equal(hs_emu_nccl_broken(), 0);
}

static hs_status same_gpu(const hs_grid *grid, void *arg, int rank)
{
    hs_device *d;
    hs_comm *c = NULL;
    char *heard = arg;
    HS_TRY(emu_device_open(&d, rank == 2 ? GPUS : rank)); // the first once more
    const hs_status st = d->comm_open(&c, d, grid->tp, 20);
    if (rank == 1)
        snprintf(heard, 256, "%s", hs_error());
    hs_device_close(d);
    CHECK(st == HS_UNSUPPORTED && !c, "rank %d: %s", rank, hs_status_name(st));
    return HS_OK;
}

static void test_same_gpu(void **state)
{
    char heard[256] = "";
    (void)state;
    if (ranks_run(3, same_gpu, heard, NULL) != HS_OK)
        fail_msg("%s", hs_error());
    assert_string_equal(heard, "ranks 0 and 2 of tp have the same GPU (0000:10:00.0), which NCCL does not do");
}

// ---- the double itself: what it is for is that it finds these. Last: a rule that is broken stays broken

static hs_status graph_outlives(const hs_grid *grid, void *arg, int rank)
{
    rig r;
    (void)arg, (void)rank;
    HS_TRY(rig_open(&r, grid, 2));
    hs_thunk t = { .fn = sum_kernel,
                   .name = "sum",
                   .args = { .out[0] = { .p = r.there, .rows = 8, .cols = 1, .dtype = HS_F32 }, .comm = r.c } };
    for (int i = 0; i < 3; i++)
        HS_TRY(r.d->submit(r.d, NULL, &(hs_segment){ &t, 1 }, HS_SUBMIT_GRAPH));
    HS_TRY(r.d->wait(r.d, NULL));
    rig_close(&r); // the device, which forgets its graphs, comes last
    return HS_OK;
}

static void test_graph_outlives(void **state)
{
    (void)state;
    const int before = hs_emu_nccl_broken();
    assert_int_equal(ranks_run(2, graph_outlives, NULL, NULL), HS_OK);
    assert_int_equal(hs_emu_nccl_broken(), before + 2);
}

static hs_status one_differs(const hs_grid *grid, void *arg, int rank)
{
    rig r;
    (void)arg;
    HS_TRY(rig_open(&r, grid, 2));
    r.c->about = "h3";
    r.c->all_reduce(r.c, NULL, r.there, 100 + rank, HS_F32, HS_REDUCE_SUM);
    CHECK(r.d->wait(r.d, NULL) == HS_SYSTEM, "ranks that make different calls are in agreement");
    CHECK(r.c->poll(r.c) == HS_INTERNAL, "a comm has no error: %s", hs_error());
    rig_close(&r);
    return HS_OK;
}

static void test_differs(void **state)
{
    (void)state;
    const int before = hs_emu_nccl_broken();
    if (ranks_run(2, one_differs, NULL, NULL) != HS_OK)
        fail_msg("%s", hs_error());
    assert_int_equal(hs_emu_nccl_broken(), before + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_calls), cmocka_unit_test(test_started),  cmocka_unit_test(test_captured),
        cmocka_unit_test(test_told),      cmocka_unit_test(test_abort),    cmocka_unit_test(test_missing),
        cmocka_unit_test(test_fails),     cmocka_unit_test(test_same_gpu), cmocka_unit_test(test_graph_outlives),
        cmocka_unit_test(test_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

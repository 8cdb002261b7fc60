// ranks_program: what several ranks do to each other, for hs_mpi_test and cli_ranks.sh.
//   collectives     every call, against a sum by one rank, at sizes, types and grids
//   fail, ...       see `modes`
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "parallel/parallel.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int wrong;
static hs_parallel *job;

static void complain(const hs_comm *c, const char *what, hs_dtype d, int64_t n, int64_t i)
{
    if (wrong++ < 10)
        fprintf(stderr, "rank %d of %d over %s: %s of %lld %s: element %lld is wrong\n", c->rank, c->size, c->axis, what, (long long)n,
                hs_dtype_name(d), (long long)i);
}

// Element i of what the rank brings to call number `salt`: magnitudes far apart, so that the order of a sum shows.
static double value(int rank, int64_t i, int salt, hs_dtype d)
{
    uint64_t h = (uint64_t)(i * 8 + rank) * 0x9E3779B97F4A7C15u + (uint64_t)salt * 0xD1B54A32D192ED03u;
    h ^= h >> 29, h *= 0xBF58476D1CE4E5B9u, h ^= h >> 32;
    const double x = (double)(int64_t)(h & 0xFFFFF) - 0x80000;
    return d == HS_I32 || d == HS_I64 ? x : x * (h >> 63 ? 0x1p-18 : 0x1p-10);
}

static void put(void *buf, int64_t i, double x, hs_dtype d)
{
    if (d == HS_I32)
        ((int32_t *)buf)[i] = (int32_t)x;
    else if (d == HS_I64)
        ((int64_t *)buf)[i] = (int64_t)x;
    else
        hs_convert((char *)buf + (size_t)i * hs_dtype_bytes(d), d, &x, HS_F64, 1);
}

static double get(const void *buf, int64_t i, hs_dtype d)
{
    double x;
    if (d == HS_I32)
        return ((const int32_t *)buf)[i];
    if (d == HS_I64)
        return (double)((const int64_t *)buf)[i];
    hs_convert(&x, HS_F64, (const char *)buf + (size_t)i * hs_dtype_bytes(d), d, 1);
    return x;
}

static double rounded(int rank, int64_t i, int salt, hs_dtype d)
{
    char one[8];
    put(one, 0, value(rank, i, salt, d), d);
    return get(one, 0, d);
}

// What a sum in the order of ranks gives.
static double expected(int size, int64_t i, int salt, hs_dtype d, hs_reduce op)
{
    double sum = rounded(0, i, salt, d);
    char one[8];
    for (int r = 1; r < size; r++) {
        const double x = rounded(r, i, salt, d);
        sum = op == HS_REDUCE_MAX                         ? (x > sum ? x : sum)
              : d == HS_F64 || d == HS_I32 || d == HS_I64 ? sum + x
                                                          : (double)((float)sum + (float)x);
    }
    put(one, 0, sum, d);
    return get(one, 0, d);
}

static void fill(void *buf, const hs_comm *c, int64_t n, int salt, hs_dtype d)
{
    for (int64_t i = 0; i < n; i++)
        put(buf, i, value(c->rank, i, salt, d), d);
}

// Of many elements every seventh is looked at: pieces and blocks are longer than that, and what is out of place is all of it.
static int64_t step(int64_t n) { return n > 100000 ? 7 : 1; }

static void check_sum(const hs_comm *c, const char *what, const void *buf, int64_t first, int64_t n, int salt, hs_dtype d, hs_reduce op)
{
    for (int64_t i = 0; i < n; i += step(n))
        if (get(buf, i, d) != expected(c->size, first + i, salt, d, op)) {
            complain(c, what, d, n, i);
            return;
        }
}

static void check_rank(const hs_comm *c, const char *what, const void *buf, int rank, int64_t from, int64_t n, int salt, hs_dtype d)
{
    for (int64_t i = 0; i < n; i += step(n))
        if (get(buf, i, d) != rounded(rank, from + i, salt, d)) {
            complain(c, what, d, n, i);
            return;
        }
}

static void parts(int64_t *part, int size, int64_t n) // of uneven lengths, one of them 0
{
    int64_t left = n;
    for (int r = 0; r < size; r++) {
        part[r] = r == 1 ? 0 : r + 1 == size ? left : left / 3;
        left -= part[r];
    }
    part[0] += left;
}

typedef struct bytes {
    char *a, *b;
} bytes;

static void reductions(hs_comm *c, bytes m, int64_t n, hs_dtype d)
{
    static int salt;
    for (int op = 0; op < 2; op++) {
        fill(m.a, c, n, ++salt, d);
        c->about = "all-reduce test";
        c->all_reduce(c, NULL, m.a, n, d, (hs_reduce)op);
        check_sum(c, op ? "all-reduce max" : "all-reduce", m.a, 0, n, salt, d, (hs_reduce)op);
    }
    const int64_t each = n / c->size;
    fill(m.a, c, each * c->size, ++salt, d);
    c->reduce_scatter(c, NULL, m.a, m.b, each, d);
    check_sum(c, "reduce-scatter", m.b, each * c->rank, each, salt, d, HS_REDUCE_SUM);
    fill(m.a, c, n, ++salt, d);
    int64_t part[16], first = 0;
    parts(part, c->size, n);
    for (int r = 0; r < c->rank; r++)
        first += part[r];
    c->reduce_parts(c, NULL, m.a, part, d);
    check_sum(c, "reduce of parts", m.a + (size_t)first * hs_dtype_bytes(d), first, part[c->rank], salt, d, HS_REDUCE_SUM);
}

static void check_parts(hs_comm *c, const char *what, const char *buf, const int64_t *part, int salt, hs_dtype d)
{
    int64_t at = 0;
    for (int r = 0; r < c->size; at += part[r++])
        check_rank(c, what, buf + (size_t)at * hs_dtype_bytes(d), r, at, part[r], salt, d);
}

static void gathers(hs_comm *c, bytes m, int64_t n, hs_dtype d)
{
    static int salt = 1000;
    const int64_t each = n / c->size;
    fill(m.b, c, each, ++salt, d);
    c->all_gather(c, NULL, m.b, m.a, each, d);
    for (int r = 0; r < c->size; r++)
        check_rank(c, "all-gather", m.a + (size_t)(each * r) * hs_dtype_bytes(d), r, 0, each, salt, d);
    int64_t part[16];
    parts(part, c->size, n);
    fill(m.a, c, n, ++salt, d);
    c->gather_parts(c, NULL, m.a, part, d);
    check_parts(c, "gather of parts", m.a, part, salt, d);
    for (int root = 0; root < c->size; root++) {
        fill(m.a, c, n, ++salt, d);
        c->broadcast(c, NULL, m.a, (size_t)n * hs_dtype_bytes(d), root);
        check_rank(c, "broadcast", m.a, root, 0, n, salt, d);
    }
}

// What is asked for afterwards: as many started calls as there were, in order, each with its name.
static void check_told(const hs_comm *c, int64_t since, int calls)
{
    hs_parallel_call told[64];
    int64_t last = 0;
    int seen = 0;
    for (int i = 0, n = hs_parallel_calls(job, since, told, HS_COUNT(told)); i < n; i++) {
        if (!told[i].started)
            continue;
        seen++;
        if (strcmp(told[i].about, "started test") || strcmp(told[i].axis, c->axis) || told[i].begun < last || told[i].ended < told[i].begun)
            complain(c, told[i].call, HS_F32, (int64_t)told[i].bytes, i);
        last = told[i].ended;
    }
    if (seen != (c->size > 1 ? calls : 0))
        complain(c, "started calls told", HS_F32, calls, seen);
}

// Calls begun together, and others meanwhile over another axis.
static void started(hs_comm *c, hs_comm *other, bytes m, int64_t n)
{
    enum { CALLS = 6 };
    int64_t part[16];
    const size_t room = (size_t)n * 4;
    const int64_t began = hs_now_ns();
    parts(part, c->size, n);
    for (int k = 0; k < CALLS; k++) {
        char *buf = m.a + (size_t)k * room;
        fill(buf, c, n, 2000 + k, HS_F32);
        c->about = "started test";
        const hs_collective_kind kind = k % 3 == 0 ? HS_ALL_REDUCE : k % 3 == 1 ? HS_REDUCE_PARTS : HS_GATHER_PARTS;
        hs_comm_start(c, NULL, &(hs_collective){ .kind = kind, .buf = buf, .n = n, .parts = part, .dtype = HS_F32 });
    }
    float x = (float)other->rank;
    other->all_reduce(other, NULL, &x, 1, HS_F32, HS_REDUCE_SUM);
    if (x != (float)(other->size * (other->size - 1) / 2))
        complain(other, "all-reduce beside started calls", HS_F32, 1, 0);
    int64_t first = 0;
    for (int r = 0; r < c->rank; r++)
        first += part[r];
    for (int k = 0; k < CALLS; k++) {
        const char *buf = m.a + (size_t)k * room;
        hs_comm_finish_but(c, NULL, CALLS - 1 - k);
        if (k % 3 == 0)
            check_sum(c, "started all-reduce", buf, 0, n, 2000 + k, HS_F32, HS_REDUCE_SUM);
        else if (k % 3 == 1)
            check_sum(c, "started reduce of parts", buf + (size_t)first * 4, first, part[c->rank], 2000 + k, HS_F32, HS_REDUCE_SUM);
        else
            check_parts(c, "started gather of parts", buf, part, 2000 + k, HS_F32);
    }
    hs_comm_finish(c, NULL);
    check_told(c, began, CALLS);
}

static void check_comm(hs_comm *c, bytes m)
{
    static const hs_dtype dtypes[] = { HS_F32, HS_BF16, HS_F64, HS_F16, HS_I32, HS_I64 };
    static const int64_t sizes[] = { 0, 1, 7, 1000, 4096, 400003 };
    for (int k = 0; k < HS_COUNT(sizes); k++)
        for (int d = 0; d < (sizes[k] > 100000 ? 1 : HS_COUNT(dtypes)); d++) {
            reductions(c, m, sizes[k], dtypes[d]);
            gathers(c, m, sizes[k], dtypes[d]);
        }
}

static hs_status collectives(int argc, char **argv)
{
    (void)argc, (void)argv;
    hs_comm *world = hs_parallel_world(job), *files = hs_parallel_files(job);
    bytes m = { malloc(6u * 4 * 300007), malloc(8u * 400003) };
    for (int tp = 1; tp <= world->size; tp++) {
        hs_grid grid;
        if (world->size % tp)
            continue;
        HS_TRY(hs_parallel_grid(job, 0, tp, 60, &grid));
        if (grid.dp->size * tp != world->size || grid.tp->size != tp || grid.dp->rank * tp + grid.tp->rank != world->rank)
            complain(world, "the grid", HS_I32, tp, world->rank);
        check_comm(tp > 1 ? grid.tp : grid.dp, m);
        started(grid.dp, grid.tp, m, 300007);
        started(grid.tp, grid.dp, m, 1000);
    }
    check_comm(world->size > 2 ? files : world, m);
    free(m.a), free(m.b);
    return wrong ? HS_FAIL(INTERNAL, "%d calls went wrong", wrong) : HS_OK;
}

// ---- ranks that fail. What each mode takes: the rank that it befalls

static int victim(int argc, char **argv) { return argc > 0 ? atoi(argv[0]) : 0; }

static hs_status work(double seconds) // calls one after the other over all axes, with a deadline of one second
{
    hs_grid grid;
    float x[1000] = { 1 };
    const double until = hs_now() + seconds;
    double on = 1;
    HS_TRY(hs_parallel_grid(job, 0, hs_parallel_world(job)->size % 2 ? 1 : 2, 1, &grid));
    for (int step = 0; on > 0; step++) {
        grid.tp->about = "h0.mlp", grid.dp->about = "h0.mlp.fc.weight";
        grid.tp->all_reduce(grid.tp, NULL, x, 1000, HS_F32, HS_REDUCE_MAX);
        hs_comm_start(grid.dp, NULL, &(hs_collective){ .buf = x, .n = 1000, .dtype = HS_F32, .op = HS_REDUCE_MAX });
        hs_comm_finish(grid.dp, NULL);
        on = hs_now() < until;
        hs_parallel_world(job)->all_reduce(hs_parallel_world(job), NULL, &on, 1, HS_F64, HS_REDUCE_MAX);
    }
    return HS_OK;
}

static hs_status one_fails(int argc, char **argv)
{
    HS_TRY(work(0.1));
    if (hs_parallel_world(job)->rank != victim(argc, argv))
        return work(60);
    return argc > 1 ? HS_FAIL(NONFINITE, "the loss is not finite") : HS_FAIL(USAGE, "no such file: %s", "book.txt");
}

static hs_status all_fail(int argc, char **argv)
{
    (void)argc, (void)argv;
    return HS_FAIL(USAGE, "model.layers is -1");
}

static hs_status all_stop(int argc, char **argv)
{
    (void)argc, (void)argv;
    HS_TRY(work(0.1));
    return HS_FAIL(STOPPED, "stopped by SIGTERM after step 12");
}

static hs_status signalled(int argc, char **argv)
{
    HS_TRY(work(0.1));
    if (hs_parallel_world(job)->rank == victim(argc, argv))
        raise(argc > 1 ? atoi(argv[1]) : SIGKILL);
    return work(60);
}

// Stopped as a whole for longer than the deadline, as schedulers do, and continued: nothing is wrong.
static void stop_for_a_while(void)
{
    const pid_t self = getpid();
    if (fork())
        return;
    usleep(1200000);
    kill(self, SIGSTOP);
    usleep(1500000);
    kill(self, SIGCONT);
    _exit(0);
}

static hs_status all_pause(int argc, char **argv)
{
    (void)argc, (void)argv;
    return work(3.5);
}

static hs_status one_is_late(int argc, char **argv)
{
    HS_TRY(work(0.1));
    if (hs_parallel_world(job)->rank == victim(argc, argv))
        sleep(60);
    return work(60);
}

static hs_status one_differs(int argc, char **argv)
{
    hs_grid grid;
    HS_TRY(hs_parallel_grid(job, 0, 1, 5, &grid));
    const bool other = hs_parallel_world(job)->rank == victim(argc, argv), large = argc > 1;
    float *x = calloc(100000, sizeof *x);
    grid.dp->about = other ? "h1" : "h0";
    grid.dp->all_reduce(grid.dp, NULL, x, (large ? 90000 : 100) + other, HS_F32, HS_REDUCE_SUM);
    free(x);
    return grid.dp->poll(grid.dp);
}

static hs_status another_grid(int argc, char **argv)
{
    hs_grid grid;
    return hs_parallel_grid(job, argc > 0 ? atoi(argv[0]) : 0, argc > 1 ? atoi(argv[1]) : 1, hs_parallel_world(job)->rank + 1, &grid);
}

static const struct mode {
    const char *name;
    hs_status (*run)(int argc, char **argv);
} modes[] = {
    { "collectives", collectives }, { "one-fails", one_fails },     { "all-fail", all_fail },
    { "all-stop", all_stop },       { "all-pause", all_pause },     { "signalled", signalled },
    { "one-is-late", one_is_late }, { "one-differs", one_differs }, { "grid", another_grid },
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "all-pause") == 0)
        stop_for_a_while();
    hs_status st = hs_parallel_open(&job);
    if (st == HS_OK) {
        st = HS_FAIL(USAGE, "ranks_program MODE");
        for (int i = 0; argc > 1 && i < HS_COUNT(modes); i++)
            if (strcmp(modes[i].name, argv[1]) == 0)
                st = modes[i].run(argc - 2, argv + 2);
        if (st == HS_OK) {
            hs_parallel_close(job);
            return 0;
        }
        hs_parallel_fail(job, st);
    }
    fprintf(stderr, "halfstep: %s\n", hs_error());
    return hs_status_exit(st);
}

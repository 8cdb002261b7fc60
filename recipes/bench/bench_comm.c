// Collectives between ranks, beside the MPI library's own on the same buffers, and the gradients of a GPT-2 124M as training sums them: in
// buckets that are begun together. Every rank measures; what counts is the slowest.
#include "parallel/parallel.h"
#include "recipes/bench/bench.h"
#include <string.h>

enum { WAYS = 2, SAMPLE_BYTES = 4 << 20, MOST_CALLS = 256, LEAST_ROUNDS = 5, BUCKET = 25 << 20 };
static const struct {
    const char *name;
    hs_raw_kind raw;
} calls[] = { { "all-reduce", HS_RAW_ALL_REDUCE }, { "reduce-scatter", HS_RAW_REDUCE_SCATTER }, { "all-gather", HS_RAW_ALL_GATHER } };

typedef struct job {
    hs_parallel *ranks;
    hs_comm *comm;
    float *a, *b;
    int64_t n; // elements of the whole buffer
} job;

static hs_status call(const job *j, hs_raw_kind kind, bool raw)
{
    const int64_t n = kind == HS_RAW_ALL_REDUCE ? j->n : j->n / j->comm->size;
    if (raw)
        return hs_parallel_raw(j->ranks, kind, kind == HS_RAW_ALL_GATHER ? j->b : j->a, kind == HS_RAW_REDUCE_SCATTER ? j->b : j->a, n);
    if (kind == HS_RAW_ALL_REDUCE)
        j->comm->all_reduce(j->comm, NULL, j->a, n, HS_F32, HS_REDUCE_SUM);
    else if (kind == HS_RAW_REDUCE_SCATTER)
        j->comm->reduce_scatter(j->comm, NULL, j->a, j->b, n, HS_F32);
    else
        j->comm->all_gather(j->comm, NULL, j->b, j->a, n, HS_F32);
    return HS_OK;
}

// All ranks together from here on.
static void meet(const job *j) { j->comm->all_reduce(j->comm, NULL, &(float){ 0 }, 1, HS_F32, HS_REDUCE_SUM); }

// The slowest rank's time, in seconds.
static double slowest(const job *j, double seconds)
{
    j->comm->all_reduce(j->comm, NULL, &seconds, 1, HS_F64, HS_REDUCE_MAX);
    return seconds;
}

static hs_status measure(hs_bench_run *r, const job *j, hs_raw_kind kind, hs_samples *time)
{
    int64_t n = SAMPLE_BYTES / (j->n * (int64_t)sizeof(float) + 1);
    n = n < 1 ? 1 : n > MOST_CALLS ? MOST_CALLS : n;
    double more = 1;
    const double start = hs_now();
    for (int round = -1; more > 0; round++) { // the first is not counted
        for (int raw = 0; raw < WAYS; raw++) {
            meet(j);
            const double began = hs_now();
            for (int64_t k = 0; k < n; k++)
                HS_TRY(call(j, kind, raw));
            const double seconds = slowest(j, (hs_now() - began) / (double)n);
            if (round >= 0)
                hs_samples_add(&time[raw], seconds);
        }
        more = slowest(j, round < LEAST_ROUNDS || !hs_bench_enough(r, round, start)); // one rank's clock decides for all
    }
    return HS_OK;
}

static void print_call(hs_bench_run *r, const job *j, const char *name, hs_samples *time)
{
    const double bytes = (double)j->n * sizeof(float), ours = hs_median(&time[0]), mpi = hs_median(&time[1]);
    const hs_cell cells[] = { { .key = "call", .text = name, .width = 28 },
                              { .key = "ranks", .value = j->comm->size },
                              { .key = "bytes", .value = bytes, .width = 9 },
                              { .key = "us", .value = 1e6 * ours, .digits = 1, .width = 9 },
                              { .key = "mpi_us", .value = 1e6 * mpi, .digits = 1, .width = 9 },
                              { .key = "over_mpi", .value = ours / mpi, .digits = 2 },
                              { .key = "gbps", .value = 1e-9 * bytes / ours, .digits = 2 } };
    if (j->comm->rank == 0)
        HS_BENCH_ROW(r, cells);
}

// What training does: the gradients of GPT-2 124M, 498 MB, in buckets that are begun one after the other and waited for together.
static hs_status gradients(hs_bench_run *r, const job *j, hs_comm *dp)
{
    const int64_t n = 124439808, bucket = BUCKET / (int64_t)sizeof(float);
    hs_samples time[WAYS] = { 0 };
    float *g = hs_cpu_alloc((size_t)n * sizeof *g);
    if (!g)
        return HS_FAIL(MEMORY, "no memory for %lld bytes", (long long)n * 4);
    for (int round = -1; round < r->o->steps && round < 20; round++) {
        double seconds[WAYS];
        meet(j);
        double began = hs_now();
        for (int64_t at = 0; at < n; at += bucket)
            hs_comm_start(dp, NULL,
                          &(hs_collective){ .buf = g + at, .n = n - at < bucket ? n - at : bucket, .dtype = HS_F32, .op = HS_REDUCE_SUM });
        hs_comm_finish(dp, NULL);
        seconds[0] = slowest(j, hs_now() - began);
        meet(j);
        began = hs_now();
        for (int64_t at = 0; at < n; at += bucket)
            HS_TRY(hs_parallel_raw(j->ranks, HS_RAW_ALL_REDUCE, g + at, g + at, n - at < bucket ? n - at : bucket));
        seconds[1] = slowest(j, hs_now() - began);
        for (int w = 0; w < WAYS && round >= 0; w++)
            hs_samples_add(&time[w], seconds[w]);
    }
    const job whole = { .comm = j->comm, .n = n };
    print_call(r, &whole, "gradients of gpt2-124m", time);
    hs_cpu_release(g, (size_t)n * sizeof *g);
    return HS_OK;
}

static hs_status measure_sizes(hs_bench_run *r, job *j)
{
    for (int s = 0; s < r->sizes.n; s++) {
        j->n = r->sizes.at[s].dim[0] / (int64_t)sizeof(float) / j->comm->size * j->comm->size;
        if (j->n < j->comm->size)
            return HS_FAIL(USAGE, "sizes: %lld bytes are too few for %d ranks", (long long)r->sizes.at[s].dim[0], j->comm->size);
        const size_t bytes = (size_t)j->n * sizeof(float);
        j->a = hs_cpu_alloc(bytes), j->b = hs_cpu_alloc(bytes);
        hs_status st = j->a && j->b ? HS_OK : HS_FAIL(MEMORY, "no memory for twice %zu bytes", bytes);
        if (st == HS_OK)
            memset(j->a, 0, bytes), memset(j->b, 0, bytes); // pages that nobody has written yet are read in another way
        for (int k = 0; k < HS_COUNT(calls) && st == HS_OK; k++) {
            hs_samples time[WAYS] = { 0 };
            st = measure(r, j, calls[k].raw, time);
            if (st == HS_OK)
                print_call(r, j, calls[k].name, time);
        }
        hs_cpu_release(j->a, bytes), hs_cpu_release(j->b, bytes);
        HS_TRY(st);
    }
    return HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    hs_grid grid;
    job j = { .ranks = r->cli->parallel, .comm = hs_parallel_world(r->cli->parallel) };
    if (j.comm->size == 1)
        return HS_FAIL(USAGE, "bench comm measures what ranks do together: mpirun -np 2 halfstep bench comm");
    HS_TRY(hs_parallel_grid(j.ranks, 0, 1, 60, &grid));
    HS_TRY(measure_sizes(r, &j));
    return hs_cli_given(r->cli, "sizes") ? HS_OK : gradients(r, &j, grid.dp);
}

const hs_bench hs_bench_comm = {
    .name = "comm",
    .summary = "collectives between ranks by size, beside MPI's own",
    .takes = "sizes",
    .sizes = "BYTES",
    .default_sizes = "64,1K,4K,16K,64K,256K,1M,4M,16M,64M",
    .run = run,
};

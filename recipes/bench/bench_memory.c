// Bandwidth by how much memory all threads together work on.
#include "core/cpu/lane.h"
#include "recipes/bench/bench.h"
#include <string.h>

enum { TRAFFIC = 64 << 20, SMALLEST = 4096 }; // bytes a measurement moves at least: small sets are passed over many times

typedef struct stream {
    const char *key;
    size_t loop; // offset in hs_peak_loops
    int arrays;  // that it touches: 4 bytes of each are counted per element (what a store reads first is not)
} stream;
static const stream streams[] = {
    { "read_gbps", offsetof(hs_peak_loops, read), 1 },
    { "copy_gbps", offsetof(hs_peak_loops, copy), 2 },
    { "triad_gbps", offsetof(hs_peak_loops, triad), 3 },
};

// One kind of pass over `bytes` of memory in all.
static hs_stream_job job_of(const hs_bench_run *r, const stream *s, float *memory, int64_t bytes)
{
    const int64_t line = 16, n = bytes / (int64_t)sizeof(float) / s->arrays / line * line; // arrays begin with a cache line
    hs_stream_job j = { .n = n,
                        .passes = TRAFFIC / bytes + 1,
                        .a = memory,
                        .to = s->arrays > 1 ? memory + n : NULL,
                        .b = s->arrays > 2 ? memory + 2 * n : NULL };
    memcpy(&j.loop, (const char *)hs_peak_loops_of(r->device->isa) + s->loop, sizeof j.loop);
    return j;
}

static void touch(const hs_args *a, hs_lane *lane)
{
    const hs_stream_job *j = a->attr;
    int64_t i0, i1;
    hs_part_unit(lane, j->n, 16, &i0, &i1);
    memset(j->a + i0, 0, (size_t)(i1 - i0) * sizeof(float));
}

static hs_status measure(hs_bench_run *r, int64_t bytes, void *memory, hs_samples *rate)
{
    double seconds;
    const hs_stream_job all = job_of(r, &streams[0], memory, bytes);
    HS_TRY(hs_team_time(r->device, touch, &all, &seconds));
    const double start = hs_now();
    for (int round = 0; !hs_bench_enough(r, round, start); round++)
        for (int s = 0; s < HS_COUNT(streams); s++) {
            const hs_stream_job j = job_of(r, &streams[s], memory, bytes);
            HS_TRY(hs_stream_time(r->device, &j, &seconds));
            hs_samples_add(&rate[s], (double)(j.n * j.passes * streams[s].arrays) * sizeof(float) / seconds);
        }
    return HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    if (!r->device->is_cpu)
        return HS_FAIL(USAGE, "--device %s: bench memory runs loops of the CPU; what a GPU's memory does stands beside every bench op", r->device->name);
    for (int s = 0; s < r->sizes.n; s++) {
        const int64_t bytes = r->sizes.at[s].dim[0];
        hs_samples rate[HS_COUNT(streams)] = { 0 };
        void *memory;
        if (bytes < SMALLEST)
            return HS_FAIL(USAGE, "sizes: %lld bytes are too few to measure, allowed from %d", (long long)bytes, SMALLEST);
        HS_TRY(r->device->alloc(r->device, (size_t)bytes, &memory));
        const hs_status st = measure(r, bytes, hs_device_bind(r->device, memory), rate);
        r->device->release(r->device, memory, (size_t)bytes);
        HS_TRY(st);
        hs_cell cells[1 + HS_COUNT(streams)] = { { .key = "bytes", .value = (double)bytes } };
        for (int i = 0; i < HS_COUNT(streams); i++)
            cells[i + 1] = (hs_cell){ .key = streams[i].key, .value = hs_median(&rate[i]) / 1e9, .digits = 1 };
        HS_BENCH_ROW(r, cells);
    }
    return HS_OK;
}

const hs_bench hs_bench_memory = {
    .name = "memory",
    .summary = "GB/s of reading, copying and a + 3 b by all threads, in caches and in memory",
    .takes = "sizes",
    .sizes = "BYTES",
    .default_sizes = "32K,256K,1M,4M,16M,64M,512M",
    .run = run,
};

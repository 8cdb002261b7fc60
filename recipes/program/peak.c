// peak: the loops of ops/dense/peak_loops.h on all threads at once, the best of several short runs: other processes only slow them down.
#include "recipes/program/peak.h"
#include "core/cpu/lane.h"
#include "recipes/train/evaluate.h"
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 100000, LEAST_SAMPLES = 5, STILL = 16 };

hs_status hs_team_time(hs_device *d, hs_kernel *fn, const void *attr, double *seconds)
{
    hs_thunk t = { .fn = fn, .args = { .attr = attr }, .name = "measured", .part = HS_PART_FREE };
    const double start = hs_now();
    HS_TRY(d->submit(d, NULL, &(hs_segment){ &t, 1 }, HS_SUBMIT_BULK));
    HS_TRY(d->wait(d, NULL));
    *seconds = hs_now() - start;
    return HS_OK;
}

typedef struct job {
    hs_peak_flops *loop;
    double *flops; // of one member, or additions
    double *rate;  // [team]: the same per second of each by its own CPU time; NULL: not wanted
} job;

static double cpu_seconds(void) // of this thread
{
    struct timespec t;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0 ? (double)t.tv_sec + 1e-9 * (double)t.tv_nsec : 0;
}

static void run(const hs_args *a, hs_lane *lane)
{
    const job *j = a->attr;
    float sink = 0.5f;
    const double start = j->rate ? cpu_seconds() : 0, flops = j->loop(ROUNDS, &sink), took = j->rate ? cpu_seconds() - start : 0;
    volatile float kept = sink; // or the loop would be deleted
    (void)kept;
    if (j->rate)
        j->rate[lane->id] = took > 0 ? flops / took : 0;
    if (lane->id == 0)
        *j->flops = flops;
}

static hs_peak_flops *loop_of(const hs_device *d, hs_dtype low)
{
    const hs_peak_loops *l = hs_peak_loops_of(d->isa);
    return low == HS_I8 ? l->bytes : low == HS_BF16 && l->dot ? l->dot : l->fma;
}

const char *hs_peak_name(const hs_device *d, hs_dtype low)
{
    if (!d->is_cpu)
        return "large products";
    return low == HS_I8 ? "int8" : loop_of(d, low) == hs_peak_loops_of(d->isa)->fma ? "fp32 fma" : "bf16 dot";
}

hs_status hs_peak_once(hs_device *d, hs_dtype low, double *flops_per_second)
{
    if (!d->is_cpu)
        return d->peak(d, low, flops_per_second);
    double flops = 0, seconds;
    HS_TRY(hs_team_time(d, run, &(job){ .loop = loop_of(d, low), .flops = &flops }, &seconds));
    *flops_per_second = flops * d->team / seconds;
    return HS_OK;
}

hs_status hs_adds_once(hs_device *d, double *per_second)
{
    double *rate = calloc((size_t)d->team, sizeof *rate), adds, took;
    if (!rate)
        return HS_FAIL(MEMORY, "no memory for the rates of %d threads", d->team);
    const hs_status st = hs_team_time(d, run, &(job){ hs_peak_loops_of(d->isa)->adds, &adds, rate }, &took);
    *per_second = 0;
    for (int i = 0; i < d->team; i++)
        *per_second += rate[i] / d->team;
    free(rate);
    return st;
}

// By the CPU time of each member: where other processes take the cores, the time on the clock says how many they are, and a model would
// get more than all of a peak that was measured at the wrong moment.
hs_status hs_measure_peak(hs_device *d, const hs_policy *policy, double seconds, double *flops_per_second)
{
    if (!d->is_cpu)
        return d->peak(d, policy->low, flops_per_second);
    const double begun = hs_now(), end = begun + seconds, least = begun + seconds / 4; // a clock rises, a neighbour goes
    double *rate = calloc((size_t)d->team, sizeof *rate), *best = calloc((size_t)d->team, sizeof *best), flops, took;
    hs_status st = rate && best ? HS_OK : HS_FAIL(MEMORY, "no memory for the rates of %d threads", d->team);
    for (int k = 0, still = 0; st == HS_OK && (k < LEAST_SAMPLES || hs_now() < (still < STILL ? end : least)); k++, still++) {
        st = hs_team_time(d, run, &(job){ loop_of(d, policy->low), &flops, rate }, &took);
        for (int i = 0; i < d->team; i++) {
            still = rate[i] > 1.01 * best[i] ? 0 : still;
            best[i] = rate[i] > best[i] ? rate[i] : best[i];
        }
    }
    *flops_per_second = 0;
    for (int i = 0; st == HS_OK && i < d->team; i++)
        *flops_per_second += best[i];
    free(rate);
    free(best);
    return st;
}

static void run_stream(const hs_args *a, hs_lane *lane)
{
    const hs_stream_job *j = a->attr;
    int64_t i0, i1;
    hs_part_unit(lane, j->n, 16, &i0, &i1);
    for (int64_t pass = 0; pass < j->passes && i1 > i0; pass++) {
        const volatile float kept =
            j->loop(j->to ? j->to + i0 : NULL, j->a ? j->a + i0 : NULL, j->b ? j->b + i0 : NULL, i1 - i0); // or a read would be deleted
        (void)kept;
    }
}

hs_status hs_stream_time(hs_device *d, const hs_stream_job *j, double *seconds) { return hs_team_time(d, run_stream, j, seconds); }

// Behind each other: the host hands over the next while one runs, and the wait is a small part of all.
static hs_status copy_by_clock(hs_device *d, char *memory, size_t half, int copies, double *seconds)
{
    HS_TRY(d->wait(d, NULL));
    const double start = hs_now();
    for (int i = 0; i < copies; i++)
        d->copy_async(d, NULL, memory + half, memory, half);
    HS_TRY(d->wait(d, NULL));
    *seconds = (hs_now() - start) / copies;
    return HS_OK;
}

// The same by the device's events.
static hs_status copy_by_events(hs_device *d, char *memory, size_t half, int copies, double *seconds)
{
    hs_trace *t, *before = d->trace;
    int64_t ns = 0, n = 0;
    HS_TRY(hs_trace_new(&t, d->tracks, copies));
    d->trace = t;
    for (int i = 0; i < copies; i++)
        d->copy_async(d, NULL, memory + half, memory, half);
    const hs_status st = d->collect(d);
    d->trace = before;
    for (int m = 0; m < d->tracks; m++)
        for (int64_t i = 0; i < hs_trace_count(t, m); i++, n++) {
            const hs_trace_record *r = hs_trace_at(t, m, i);
            ns += r ? r->end - r->start : 0;
        }
    hs_trace_free(t);
    HS_TRY(st);
    if (n != copies)
        return HS_FAIL(INTERNAL, "device %s: %lld records of %d copies are in its trace", d->name, (long long)n, copies);
    *seconds = 1e-9 * (double)ns / copies;
    return HS_OK;
}

hs_status hs_copy_time(hs_device *d, char *memory, size_t half, double *seconds)
{
    enum { COPIES = 16 };
    return (d->tracks ? copy_by_events : copy_by_clock)(d, memory, half, COPIES, seconds);
}

hs_status hs_measure_read(hs_device *d, double seconds, double *bytes_per_second)
{
    enum { READ_BYTES = 256 << 20 }; // several times what one core's share of a last-level cache is today
    const double end = hs_now() + seconds;
    void *memory;
    HS_TRY(d->alloc(d, READ_BYTES, &memory));
    d->fill(d, memory, 1, READ_BYTES);
    const hs_stream_job j = {
        .loop = hs_peak_loops_of(d->isa)->read, .a = hs_device_bind(d, memory), .n = READ_BYTES / (int64_t)sizeof(float), .passes = 1
    };
    hs_status st;
    double took = 0;
    *bytes_per_second = 0;
    do {
        HS_TRY_GOTO(st, d->is_cpu ? hs_stream_time(d, &j, &took) : hs_copy_time(d, memory, READ_BYTES / 2, &took), done);
        *bytes_per_second = READ_BYTES / took > *bytes_per_second ? READ_BYTES / took : *bytes_per_second;
    } while (hs_now() < end);
done:
    d->release(d, memory, READ_BYTES);
    return st;
}

// peak: the loops of ops/dense/peak_loops.h on all threads at once, the best of several short runs: other processes only slow them down.
#include "recipes/program/peak.h"
#include "core/cpu/lane.h"
#include "recipes/train/evaluate.h"

enum { ROUNDS = 100000 };

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
    double *flops; // of one member
} job;

static void run(const hs_args *a, hs_lane *lane)
{
    const job *j = a->attr;
    float sink = 0.5f;
    const double flops = j->loop(ROUNDS, &sink);
    volatile float kept = sink; // or the loop would be deleted
    (void)kept;
    if (lane->id == 0)
        *j->flops = flops;
}

static hs_peak_flops *loop_of(const hs_device *d, hs_dtype low)
{
    const hs_peak_loops *l = hs_peak_loops_of(d->isa);
    return low == HS_BF16 && l->dot ? l->dot : l->fma;
}

const char *hs_peak_name(const hs_device *d, hs_dtype low)
{
    return loop_of(d, low) == hs_peak_loops_of(d->isa)->fma ? "fp32 fma" : "bf16 dot";
}

hs_status hs_peak_once(hs_device *d, hs_dtype low, double *flops_per_second)
{
    double flops = 0, seconds;
    HS_TRY(hs_team_time(d, run, &(job){ loop_of(d, low), &flops }, &seconds));
    *flops_per_second = flops * d->team / seconds;
    return HS_OK;
}

hs_status hs_measure_peak(hs_device *d, const hs_policy *policy, double seconds, double *flops_per_second)
{
    const double end = hs_now() + seconds;
    *flops_per_second = 0;
    do {
        double now = 0;
        HS_TRY(hs_peak_once(d, policy->low, &now));
        *flops_per_second = now > *flops_per_second ? now : *flops_per_second;
    } while (hs_now() < end);
    return HS_OK;
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
        HS_TRY_GOTO(st, hs_stream_time(d, &j, &took), done);
        *bytes_per_second = READ_BYTES / took > *bytes_per_second ? READ_BYTES / took : *bytes_per_second;
    } while (hs_now() < end);
done:
    d->release(d, memory, READ_BYTES);
    return st;
}

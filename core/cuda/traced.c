// traced: when a stream came to what it was given, by an event in front of each thunk and one behind it, in NVTX ranges. Events say
// milliseconds since another one: the first of what a lane has under way is recorded while its stream is idle, so that the host knows when.
#include "core/base/clock.h"
#include "core/cuda/captured_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef HS_EMULATED
#include <nvtx3/nvToolsExt.h> // headers alone: a profiler that is there brings the rest
#endif

typedef struct hs_traced {
    int track;
    int64_t zero;            // hs_now_ns at event[0]
    hs_trace_record *record; // under way
    cudaEvent_t *event;      // [1 + 2 room]: of record i at 1 + 2 i and 2 + 2 i
    int n, room;
} hs_traced;

static hs_status make_room(hs_traced *t, int n)
{
    if (n <= t->room)
        return HS_OK;
    const int room = n > 2 * t->room ? n : 2 * t->room, made = t->room ? 1 + 2 * t->room : 0;
    hs_trace_record *record = realloc(t->record, (size_t)room * sizeof *record);
    if (record)
        t->record = record;
    cudaEvent_t *event = record ? realloc(t->event, (size_t)(1 + 2 * room) * sizeof *event) : NULL;
    if (!event)
        return HS_FAIL(MEMORY, "no memory for a trace of %d thunks", room);
    t->event = event;
    for (int i = made; i < 1 + 2 * room; i++) {
        const cudaError_t e = cudaEventCreateWithFlags(&event[i], cudaEventDefault);
        if (e == cudaSuccess)
            continue;
        while (i-- > made)
            cudaEventDestroy(event[i]);
        return hs_gpu_told(e, "cudaEventCreateWithFlags", 0);
    }
    t->room = room;
    return HS_OK;
}

// A lane whose first piece of work this is, or whose last ones were collected, tells its events' clock again.
static hs_status begin(hs_device *d, hs_lane *lane, int n)
{
    hs_traced *t = lane->traced;
    if (!t) {
        t = lane->traced = calloc(1, sizeof *t);
        if (!t)
            return HS_FAIL(MEMORY, "no memory for a trace");
        t->track = hs_gpu_track(d);
    }
    HS_TRY(make_room(t, t->n + n));
    if (t->n)
        return HS_OK;
    CUDA_TRY(cudaStreamSynchronize(lane->stream), 0);
    t->zero = hs_now_ns();
    CUDA_TRY(cudaEventRecord(t->event[0], lane->stream), 0);
    CUDA_TRY(cudaStreamSynchronize(lane->stream), 0);
    return HS_OK;
}

static hs_status mark(hs_lane *lane, int event)
{
    CUDA_TRY(cudaEventRecord(lane->traced->event[event], lane->stream), 0);
    return HS_OK;
}

// ---- ranges

// Of the first part of its scope, as the table by scope has it.
static void enter(char *at, size_t size, const hs_thunk *t)
{
    const char *scope = !t->node ? "optimizer" : t->node->scope && t->node->scope[0] ? t->node->scope : t->name;
    const int bytes = (int)strcspn(scope, ".");
    if (at[0] && (size_t)bytes == strlen(at) && !memcmp(at, scope, (size_t)bytes))
        return;
    if (at[0])
        nvtxRangePop();
    snprintf(at, size, "%.*s", bytes, bytes ? scope : "");
    if (at[0])
        nvtxRangePushA(at);
}

// ---- what device_cuda asks

static hs_status submit(hs_device *d, hs_lane *lane, const hs_thunk *thunk, int n, char *scope, size_t size)
{
    hs_traced *t = lane->traced;
    for (int i = 0; i < n; i++) {
        const int k = t->n;
        enter(scope, size, &thunk[i]);
        HS_TRY(mark(lane, 1 + 2 * k));
        HS_TRY(hs_gpu_submit(lane, &thunk[i], 1));
        HS_TRY(mark(lane, 2 + 2 * k));
        t->record[t->n++] = (hs_trace_record){ .thunk = &thunk[i], .live = hs_trace_live(d->trace, &thunk[i]) };
    }
    return HS_OK;
}

hs_status hs_traced_submit(hs_device *d, hs_lane *lane, const hs_thunk *thunk, int n)
{
    char name[64], scope[128] = "";
    HS_TRY(begin(d, lane, n));
    snprintf(name, sizeof name, "segment of %d", n);
    nvtxRangePushA(name);
    const hs_status st = submit(d, lane, thunk, n, scope, sizeof scope);
    if (scope[0])
        nvtxRangePop();
    nvtxRangePop();
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_traced_copy(hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes)
{
    HS_TRY(begin(d, lane, 1));
    hs_traced *t = lane->traced;
    const int k = t->n;
    HS_TRY(mark(lane, 1 + 2 * k));
    CUDA_TRY(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, lane->stream), bytes);
    HS_TRY(mark(lane, 2 + 2 * k));
    t->record[t->n++] = (hs_trace_record){ .live = 1, .copied = (int64_t)bytes };
    return HS_OK;
}

static hs_status time_of(const hs_traced *t, int event, int64_t *ns)
{
    float ms;
    CUDA_TRY(cudaEventElapsedTime(&ms, t->event[0], t->event[event]), 0);
    *ns = t->zero + (int64_t)(1e6 * (double)ms);
    return HS_OK;
}

hs_status hs_traced_collect(hs_device *d, hs_lane *lane)
{
    hs_traced *t = lane->traced;
    if (!t)
        return HS_OK;
    const int n = d->trace ? t->n : 0, tracks = d->trace ? hs_trace_members(d->trace) : 1;
    const int track = t->track < tracks ? t->track : tracks - 1;
    t->n = 0;
    for (int i = 0; i < n; i++) {
        hs_trace_record *r = &t->record[i];
        HS_TRY(time_of(t, 1 + 2 * i, &r->start));
        HS_TRY(time_of(t, 2 + 2 * i, &r->end));
        r->arrived = i ? r[-1].end : r->start;
        hs_trace_add(d->trace, track, r);
    }
    return HS_OK;
}

void hs_traced_free(hs_lane *lane)
{
    hs_traced *t = lane->traced;
    if (!t)
        return;
    for (int i = 0; t->room && i < 1 + 2 * t->room; i++)
        cudaEventDestroy(t->event[i]);
    free(t->event);
    free(t->record);
    free(t);
    lane->traced = NULL;
}

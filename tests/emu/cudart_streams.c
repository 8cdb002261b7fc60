// cudart_streams: streams, events, and captures of streams as graphs.
#include "tests/emu/cudart_impl.h"
#include <stdlib.h>

// ---- streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    emu_enter();
    cudaError_t e = emu_not_captured("cudaStreamCreateWithFlags");
    if (e == cudaSuccess && flags != cudaStreamNonBlocking)
        e = emu_broken(cudaErrorInvalidValue, "cudaStreamCreateWithFlags", "a stream that plain calls wait for, and it for them");
    *s = calloc(1, sizeof **s);
    if (!*s)
        abort();
    (*s)->gpu = emu_gpu;
    (*s)->next = emu_cudart.streams;
    emu_cudart.streams = *s;
    return emu_leave(e);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(s, flags);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status)
{
    emu_enter();
    *status = emu_is_open(s) && s->captures ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return emu_leave(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    emu_enter();
    cudaError_t e = cudaSuccess;
    if (!emu_is_open(s) || s->is_legacy)
        e = emu_broken(cudaErrorInvalidResourceHandle, "cudaStreamDestroy", "this stream is not open");
    else {
        emu_drain(s, s->base + s->queue.n);
        cudaStream_t *at = &emu_cudart.streams;
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
        free(s->queue.at);
        free(s);
    }
    return emu_leave(e);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    emu_enter();
    s = s && s != cudaStreamLegacy ? s : emu_legacy();
    cudaError_t e = emu_waits(s, "cudaStreamSynchronize");
    if (e == cudaSuccess && !emu_is_open(s))
        e = emu_broken(cudaErrorInvalidResourceHandle, "cudaStreamSynchronize", "this stream is not open");
    if (e == cudaSuccess)
        emu_drain(s, s->base + s->queue.n);
    return emu_leave(e);
}

cudaError_t cudaDeviceSynchronize(void)
{
    emu_enter();
    const cudaError_t e = emu_waits(NULL, "cudaDeviceSynchronize");
    if (e == cudaSuccess)
        emu_drain_all();
    return emu_leave(e);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    *e = calloc(1, sizeof **e);
    if (!*e)
        return cudaErrorMemoryAllocation;
    (*e)->timed = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

static bool is_over(cudaEvent_t e)
{
    const cudaStream_t s = e->stream;
    return !emu_is_open(s) || s->base + s->queue.done - s->runs >= e->until;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    emu_enter();
    if (e && e->timed && !e->capture && e->stream && !is_over(e))
        emu_drain(e->stream, e->until); // which writes into it
    emu_leave(cudaSuccess);
    free(e);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    emu_enter();
    const cudaError_t st =
        emu_is_open(s) ? cudaSuccess : emu_broken(cudaErrorInvalidResourceHandle, "cudaEventRecord", "this stream is not open");
    if (st == cudaSuccess && s->captures)
        *e = (struct CUevent_st){ s, s->captures->nodes.n, s->captures->id, e->timed, 0 };
    else if (st == cudaSuccess) {
        if (e->timed)
            emu_put(s, "cudaEventRecord", (work){ .kind = TIME, .dst = e });
        *e = (struct CUevent_st){ s, s->base + s->queue.n, 0, e->timed, 0 };
    }
    return emu_leave(st);
}
cudaError_t cudaEventQuery(cudaEvent_t e)
{
    emu_enter();
    cudaError_t st = emu_not_captured("cudaEventQuery");
    if (st == cudaSuccess && e->capture)
        st = emu_broken(cudaErrorCapturedEvent, "cudaEventQuery", "this event was recorded in a capture");
    else if (st == cudaSuccess && emu_is_open(e->stream))
        st = is_over(e) ? cudaSuccess : cudaErrorNotReady;
    return emu_leave(st);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    emu_enter();
    cudaError_t st = emu_not_captured("cudaEventSynchronize");
    if (st == cudaSuccess && e->capture)
        st = emu_broken(cudaErrorCapturedEvent, "cudaEventSynchronize", "this event was recorded in a capture");
    else if (st == cudaSuccess && e->stream && !is_over(e)) {
        emu_n_waits++;
        emu_drain(e->stream, e->until);
    }
    return emu_leave(st);
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    emu_enter();
    cudaError_t st = from->stream && to->stream && !from->capture && !to->capture ? cudaSuccess : cudaErrorInvalidResourceHandle;
    if (st == cudaSuccess && !(from->timed && to->timed))
        st = emu_broken(cudaErrorInvalidResourceHandle, "cudaEventElapsedTime", "an event that was made with cudaEventDisableTiming");
    if (st == cudaSuccess && !(is_over(from) && is_over(to)))
        st = cudaErrorNotReady;
    *ms = st == cudaSuccess ? 1e-6f * (float)(to->ns - from->ns) : 0;
    return emu_leave(st);
}

// An event of a capture takes the stream that waits for it into that capture, or brings its own stream's part of it back.
static cudaError_t await_captured(cudaStream_t s, cudaEvent_t e)
{
    struct CUgraph_st *g = NULL;
    for (cudaStream_t at = emu_cudart.streams; at; at = at->next)
        g = at->captures && at->captures->id == e->capture ? at->captures : g;
    if (!g || (s->captures && s->captures != g))
        return emu_broken(cudaErrorStreamCaptureIsolation, "cudaStreamWaitEvent", "the event is of a capture that is over, or of another");
    if (!s->captures)
        s->captures = g, s->by = pthread_self(), s->last = g->nodes.n, s->joined = 0;
    if (emu_is_open(e->stream) && e->stream->joined < e->until)
        e->stream->joined = e->until;
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    (void)flags;
    emu_enter();
    cudaError_t st = cudaSuccess;
    if (e->capture)
        st = await_captured(s, e);
    else if (e->stream && s->captures)
        st = emu_broken(cudaErrorStreamCaptureIsolation, "cudaStreamWaitEvent", "a stream that is captured, and an event from outside");
    else if (e->stream && e->stream != s)
        st = emu_put(s, "cudaStreamWaitEvent", (work){ .kind = AWAIT, .other = e->stream, .until = e->until });
    return emu_leave(st);
}

int hs_emu_gpu_of(cudaStream_t s)
{
    emu_enter();
    const int gpu = emu_is_open(s) ? s->gpu : -1;
    emu_leave(cudaSuccess);
    return gpu;
}

int hs_emu_is_captured(const char *what)
{
    emu_enter();
    return emu_leave(emu_not_captured(what)) != cudaSuccess;
}

// ---- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode)
{
    (void)mode;
    emu_enter();
    cudaError_t e = emu_is_open(s) && !s->captures && !emu_capturing ? cudaSuccess
                                                                     : emu_broken(cudaErrorInvalidValue, "cudaStreamBeginCapture",
                                                                                  "not an open stream, or one that is captured already");
    if (e == cudaSuccess) {
        s->captures = calloc(1, sizeof *s->captures);
        if (!s->captures)
            abort();
        s->captures->users = 1;
        s->captures->next = emu_cudart.graphs;
        emu_cudart.graphs = s->captures;
        s->captures->id = ++emu_cudart.n_captures;
        s->by = pthread_self();
        emu_capturing = s;
    }
    return emu_leave(e);
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    emu_enter();
    cudaError_t e = emu_capturing == s && s->captures
                        ? cudaSuccess
                        : emu_broken(cudaErrorInvalidValue, "cudaStreamEndCapture", "this thread does not capture this stream");
    *g = NULL;
    if (e == cudaSuccess) {
        *g = s->captures;
        for (cudaStream_t other = emu_cudart.streams; other; other = other->next) {
            if (other->captures != *g)
                continue;
            if (other != s && other->joined < other->last)
                e = emu_broken(cudaErrorStreamCaptureUnjoined, "cudaStreamEndCapture", "a stream that joined it has not come back");
            other->captures = NULL;
        }
        emu_capturing = NULL;
        if ((*g)->is_void)
            e = cudaErrorStreamCaptureInvalidated;
    }
    return emu_leave(e);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long flags)
{
    (void)flags;
    emu_enter();
    *e = malloc(sizeof **e);
    if (!*e)
        abort();
    **e = (struct CUgraphExec_st){ g };
    g->users++;
    return emu_leave(cudaSuccess);
}
cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    emu_enter();
    emu_free_graph(g);
    return emu_leave(cudaSuccess);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s)
{
    emu_enter();
    const cudaError_t st = e->graph->is_stale ? emu_broken(cudaErrorInvalidValue, "cudaGraphLaunch", "memory that it uses was freed")
                                              : emu_put(s, "cudaGraphLaunch", (work){ .kind = GRAPH, .graph = e->graph });
    if (st == cudaSuccess)
        e->graph->users++;
    return emu_leave(st);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e)
{
    emu_enter();
    emu_free_graph(e->graph);
    free(e);
    return emu_leave(cudaSuccess);
}

// ---- ranges

static _Thread_local int n_ranges;
int nvtxRangePushA(const char *name)
{
    if (!name || !name[0])
        emu_broken(cudaErrorInvalidValue, "nvtxRangePush", "a range without a name");
    return n_ranges++;
}
int nvtxRangePop(void)
{
    if (!n_ranges)
        return emu_broken(cudaErrorInvalidValue, "nvtxRangePop", "no range was entered"), -1;
    return --n_ranges;
}

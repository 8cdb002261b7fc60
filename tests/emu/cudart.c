// cudart: streams as queues that run when somebody waits.
#include "tests/emu/cudart.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum work_kind { CALL, COPY, FILL, AWAIT, GRAPH } work_kind;

// What calls need, shared by the queue it was put in, by the graph that captured it and by its instances.
typedef struct launch {
    hs_emu_call *run, *drop;
    void *p;
    int users;
} launch;

typedef struct work {
    work_kind kind;
    launch *launch;
    void *dst;
    const void *src; // COPY
    void *staged;    // COPY of pageable memory: its bytes as they were; freed behind it
    size_t bytes;
    int byte;
    cudaStream_t other; // AWAIT: that stream, up to its work `until`
    int64_t until;
    struct CUgraph_st *graph;
} work;

typedef struct list {
    work *at;
    int64_t n, room, done;
} list;

struct CUstream_st {
    list queue;   // done: how far it ran
    int64_t base; // of what was dropped from the front of the queue
    struct CUgraph_st *captures;
    pthread_t by;
    cudaStream_t next;
};
struct CUevent_st {
    cudaStream_t stream; // NULL: not recorded
    int64_t until;
};
struct CUgraph_st {
    list nodes;
    int users; // the handle, and instances
};
struct CUgraphExec_st {
    struct CUgraph_st *graph;
};

// Of the process, as a GPU is: one lock over all of it, held while kernels run.
static pthread_mutex_t lock;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static cudaStream_t streams;
static cudaError_t sticky, last;
static _Thread_local cudaStream_t capturing; // of this thread
typedef struct block {
    char *p;
    size_t bytes;
    bool is_host;
    struct block *next;
} block;
static block *blocks;
static size_t taken;

static void make_lock(void)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &a);
}
static void enter(void)
{
    pthread_once(&once, make_lock);
    pthread_mutex_lock(&lock);
}
static cudaError_t leave(cudaError_t e)
{
    if (e != cudaSuccess)
        last = e;
    e = sticky != cudaSuccess ? sticky : e;
    pthread_mutex_unlock(&lock);
    return e;
}

static cudaError_t broken(cudaError_t e, const char *call, const char *rule)
{
    fprintf(stderr, "cudart: %s: %s\n", call, rule);
    last = e;
    return e;
}
void hs_emu_broke(cudaError_t e)
{
    enter();
    sticky = last = e;
    leave(e);
}
// What may not stand in a capture makes it void.
static cudaError_t not_captured(const char *call)
{
    if (!capturing)
        return cudaSuccess;
    return broken(cudaErrorStreamCaptureUnsupported, call, "not while this thread captures a stream");
}

// ---- queues

static work *append(list *l)
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 32;
        l->at = realloc(l->at, (size_t)l->room * sizeof *l->at);
        if (!l->at)
            abort();
    }
    return &l->at[l->n++];
}

static void let_go(launch *l)
{
    if (l && --l->users == 0) {
        l->drop(l->p);
        free(l);
    }
}

static void free_graph(struct CUgraph_st *g)
{
    if (--g->users)
        return;
    for (int64_t i = 0; i < g->nodes.n; i++)
        let_go(g->nodes.at[i].launch);
    free(g->nodes.at);
    free(g);
}

static void drain(cudaStream_t s, int64_t until);

static void perform(const work *w)
{
    switch (w->kind) {
    case CALL:
        w->launch->run(w->launch->p);
        break;
    case COPY:
        memmove(w->dst, w->staged ? w->staged : w->src, w->bytes);
        break;
    case FILL:
        memset(w->dst, w->byte, w->bytes);
        break;
    case AWAIT:
        drain(w->other, w->until);
        break;
    case GRAPH:
        for (int64_t i = 0; i < w->graph->nodes.n; i++)
            perform(&w->graph->nodes.at[i]);
    }
}

static bool is_open(cudaStream_t s)
{
    for (cudaStream_t at = streams; at; at = at->next)
        if (at == s)
            return true;
    return false;
}

static void drain(cudaStream_t s, int64_t until)
{
    if (!is_open(s)) // it was drained when it was destroyed
        return;
    while (s->base + s->queue.done < until) {
        work w = s->queue.at[s->queue.done++];
        if (sticky == cudaSuccess)
            perform(&w);
        free(w.staged);
        let_go(w.launch);
        if (w.kind == GRAPH)
            free_graph(w.graph);
    }
    if (s->queue.done == s->queue.n) {
        s->base += s->queue.n;
        s->queue.n = s->queue.done = 0;
    }
}
static void drain_all(void)
{
    for (cudaStream_t s = streams; s; s = s->next)
        drain(s, s->base + s->queue.n);
}

static list *list_of(cudaStream_t s) { return s->captures ? &s->captures->nodes : &s->queue; }

static cudaError_t put(cudaStream_t s, const char *call, work w)
{
    if (!is_open(s))
        return broken(cudaErrorInvalidResourceHandle, call, "this stream is not open");
    if (s->captures && !pthread_equal(s->by, pthread_self()))
        return broken(cudaErrorStreamCaptureUnsupported, call, "another thread captures this stream");
    *append(list_of(s)) = w;
    return cudaSuccess;
}

void hs_emu_enqueue(cudaStream_t s, hs_emu_call *run, hs_emu_call *drop, void *p)
{
    enter();
    if (!s) {
        run(p);
        drop(p);
        leave(cudaSuccess);
        return;
    }
    launch *l = malloc(sizeof *l);
    if (!l)
        abort();
    *l = (launch){ run, drop, p, 1 };
    if (put(s, "a launch", (work){ .kind = CALL, .launch = l }) != cudaSuccess)
        let_go(l);
    leave(cudaSuccess);
}

// ---- the machine

cudaError_t cudaDriverGetVersion(int *version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
cudaError_t cudaSetDevice(int index) { return index ? cudaErrorInvalidValue : cudaSuccess; }
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int index)
{
    (void)index;
    *p = (struct cudaDeviceProp){
        .name = "emulated GPU", .totalGlobalMem = (size_t)8 << 30, .major = 9, .minor = 0, .multiProcessorCount = 4
    };
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = (size_t)8 << 30;
    *free_bytes = *total - taken;
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t e)
{
    switch (e) {
#define NAME(x)                                                                                                                            \
    case x:                                                                                                                                \
        return #x
        NAME(cudaSuccess);
        NAME(cudaErrorInvalidValue);
        NAME(cudaErrorMemoryAllocation);
        NAME(cudaErrorInsufficientDriver);
        NAME(cudaErrorNoDevice);
        NAME(cudaErrorInvalidResourceHandle);
        NAME(cudaErrorLaunchFailure);
        NAME(cudaErrorStreamCaptureUnsupported);
        NAME(cudaErrorStreamCaptureInvalidated);
        NAME(cudaErrorUnknown);
#undef NAME
    }
    return "cudaErrorUnknown";
}
const char *cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }
cudaError_t cudaPeekAtLastError(void) { return sticky != cudaSuccess ? sticky : last; }
cudaError_t cudaGetLastError(void)
{
    const cudaError_t e = cudaPeekAtLastError();
    last = cudaSuccess;
    return e;
}

// ---- memory

static cudaError_t take(void **p, size_t bytes, bool is_host, const char *call)
{
    enter();
    *p = NULL;
    cudaError_t e = not_captured(call);
    block *b = e == cudaSuccess ? malloc(sizeof *b) : NULL;
    if (b) {
        *b = (block){ aligned_alloc(256, (bytes + 255) / 256 * 256), bytes, is_host, blocks };
        if (b->p) {
            memset(b->p, 0xFF, bytes); // whatever was there before
            blocks = b;
            taken += is_host ? 0 : bytes;
            *p = b->p;
        } else {
            free(b);
            e = cudaErrorMemoryAllocation;
        }
    }
    return leave(e);
}

static cudaError_t give(void *p, bool is_host, const char *call)
{
    if (!p)
        return cudaSuccess;
    enter();
    cudaError_t e = not_captured(call);
    block **at = &blocks;
    drain_all(); // it may still be in use
    while (*at && ((*at)->p != p || (*at)->is_host != is_host))
        at = &(*at)->next;
    block *b = *at;
    if (b) {
        *at = b->next;
        taken -= is_host ? 0 : b->bytes;
        free(b->p);
        free(b);
    } else
        e = broken(cudaErrorInvalidValue, call, "this was not allocated here, or is freed already");
    return leave(e);
}

cudaError_t cudaMalloc(void **p, size_t bytes) { return take(p, bytes, false, "cudaMalloc"); }
cudaError_t cudaFree(void *p) { return give(p, false, "cudaFree"); }
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags) { return (void)flags, take(p, bytes, true, "cudaHostAlloc"); }
cudaError_t cudaFreeHost(void *p) { return give(p, true, "cudaFreeHost"); }

static const block *block_of(const void *p)
{
    for (const block *b = blocks; b; b = b->next)
        if ((const char *)p >= b->p && (const char *)p < b->p + b->bytes)
            return b;
    return NULL;
}
// Bytes of one block, or of the host's own memory.
static bool is_inside(const void *p, size_t bytes)
{
    const block *b = block_of(p);
    return !b || (const char *)p + bytes <= b->p + b->bytes;
}

cudaError_t cudaMemset(void *p, int byte, size_t bytes)
{
    enter();
    cudaError_t e = not_captured("cudaMemset");
    if (e == cudaSuccess && (!block_of(p) || !is_inside(p, bytes)))
        e = broken(cudaErrorInvalidValue, "cudaMemset", "not inside of one allocation");
    if (e == cudaSuccess)
        memset(p, byte, bytes); // other streams are not waited for
    return leave(e);
}

cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind)
{
    (void)kind;
    enter();
    cudaError_t e = not_captured("cudaMemcpy");
    if (e == cudaSuccess && (!is_inside(dst, bytes) || !is_inside(src, bytes)))
        e = broken(cudaErrorInvalidValue, "cudaMemcpy", "more than what was allocated");
    if (e == cudaSuccess && sticky == cudaSuccess)
        memmove(dst, src, bytes);
    return leave(e);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    (void)kind;
    enter();
    cudaError_t e = cudaSuccess;
    if (!is_inside(dst, bytes) || !is_inside(src, bytes))
        e = broken(cudaErrorInvalidValue, "cudaMemcpyAsync", "more than what was allocated");
    else if (!block_of(dst)) { // into pageable memory: done when it returns
        e = not_captured("cudaMemcpyAsync into pageable memory");
        if (e == cudaSuccess && is_open(s)) {
            drain(s, s->base + s->queue.n);
            memmove(dst, src, bytes);
        }
    } else {
        work w = { .kind = COPY, .dst = dst, .src = src, .bytes = bytes };
        if (!block_of(src)) {
            e = not_captured("cudaMemcpyAsync from pageable memory");
            w.staged = e == cudaSuccess ? malloc(bytes ? bytes : 1) : NULL;
            if (w.staged)
                memcpy(w.staged, src, bytes);
        }
        if (e == cudaSuccess)
            e = put(s, "cudaMemcpyAsync", w);
    }
    return leave(e);
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s)
{
    enter();
    cudaError_t e = cudaSuccess;
    if (!block_of(p) || !is_inside(p, bytes))
        e = broken(cudaErrorInvalidValue, "cudaMemsetAsync", "not inside of one allocation");
    else
        e = put(s, "cudaMemsetAsync", (work){ .kind = FILL, .dst = p, .byte = byte, .bytes = bytes });
    return leave(e);
}

// ---- streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    (void)flags;
    enter();
    const cudaError_t e = not_captured("cudaStreamCreateWithFlags");
    *s = calloc(1, sizeof **s);
    if (!*s)
        abort();
    (*s)->next = streams;
    streams = *s;
    return leave(e);
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    enter();
    cudaError_t e = cudaSuccess;
    if (!is_open(s))
        e = broken(cudaErrorInvalidResourceHandle, "cudaStreamDestroy", "this stream is not open");
    else {
        drain(s, s->base + s->queue.n);
        cudaStream_t *at = &streams;
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
        free(s->queue.at);
        free(s);
    }
    return leave(e);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    enter();
    cudaError_t e = not_captured("cudaStreamSynchronize");
    if (e == cudaSuccess && !is_open(s))
        e = broken(cudaErrorInvalidResourceHandle, "cudaStreamSynchronize", "this stream is not open");
    if (e == cudaSuccess)
        drain(s, s->base + s->queue.n);
    return leave(e);
}

cudaError_t cudaDeviceSynchronize(void)
{
    enter();
    const cudaError_t e = not_captured("cudaDeviceSynchronize");
    if (e == cudaSuccess)
        drain_all();
    return leave(e);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    (void)flags;
    *e = calloc(1, sizeof **e);
    return *e ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    free(e);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    enter();
    const cudaError_t st =
        is_open(s) && !s->captures ? cudaSuccess : broken(cudaErrorInvalidResourceHandle, "cudaEventRecord", "not on an open stream");
    if (st == cudaSuccess)
        *e = (struct CUevent_st){ s, s->base + s->queue.n };
    return leave(st);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    (void)flags;
    enter();
    const cudaError_t st = e->stream && e->stream != s
                               ? put(s, "cudaStreamWaitEvent", (work){ .kind = AWAIT, .other = e->stream, .until = e->until })
                               : cudaSuccess;
    return leave(st);
}

// ---- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode)
{
    (void)mode;
    enter();
    cudaError_t e = is_open(s) && !s->captures && !capturing
                        ? cudaSuccess
                        : broken(cudaErrorInvalidValue, "cudaStreamBeginCapture", "not an open stream, or one that is captured already");
    if (e == cudaSuccess) {
        s->captures = calloc(1, sizeof *s->captures);
        if (!s->captures)
            abort();
        s->captures->users = 1;
        s->by = pthread_self();
        capturing = s;
    }
    return leave(e);
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    enter();
    cudaError_t e = capturing == s && s->captures
                        ? cudaSuccess
                        : broken(cudaErrorInvalidValue, "cudaStreamEndCapture", "this thread does not capture this stream");
    *g = NULL;
    if (e == cudaSuccess) {
        *g = s->captures;
        s->captures = NULL;
        capturing = NULL;
        if (last == cudaErrorStreamCaptureUnsupported)
            e = cudaErrorStreamCaptureInvalidated;
    }
    return leave(e);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long flags)
{
    (void)flags;
    enter();
    *e = malloc(sizeof **e);
    if (!*e)
        abort();
    **e = (struct CUgraphExec_st){ g };
    g->users++;
    return leave(cudaSuccess);
}
cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    enter();
    free_graph(g);
    return leave(cudaSuccess);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s)
{
    enter();
    const cudaError_t st = put(s, "cudaGraphLaunch", (work){ .kind = GRAPH, .graph = e->graph });
    if (st == cudaSuccess)
        e->graph->users++;
    return leave(st);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e)
{
    enter();
    free_graph(e->graph);
    free(e);
    return leave(cudaSuccess);
}

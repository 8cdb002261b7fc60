// cudart: streams as queues that run when somebody waits.
#include "tests/emu/cudart_impl.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

cudart emu_cudart;
_Thread_local int emu_gpu;
_Thread_local cudaStream_t emu_capturing;
_Thread_local long emu_n_waits;
long hs_emu_waits(void) { return emu_n_waits; }
static pthread_mutex_t lock;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local int depth; // of this thread in the lock
static cudaError_t sticky;
static _Thread_local cudaError_t last;
typedef struct block {
    char *p;
    size_t bytes;
    bool is_host;
    int gpu;
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
void emu_enter(void)
{
    pthread_once(&once, make_lock);
    pthread_mutex_lock(&lock);
    depth++;
}
cudaError_t emu_leave(cudaError_t e)
{
    if (e != cudaSuccess)
        last = e;
    e = sticky != cudaSuccess ? sticky : e;
    depth--;
    pthread_mutex_unlock(&lock);
    return e;
}
static int open_up(void)
{
    const int d = depth;
    for (; depth; depth--)
        pthread_mutex_unlock(&lock);
    return d;
}
static void close_again(int d)
{
    for (; depth < d; depth++)
        pthread_mutex_lock(&lock);
}

cudaError_t emu_broken(cudaError_t e, const char *call, const char *rule)
{
    fprintf(stderr, "cudart: %s: %s\n", call, rule);
    last = e;
    return e;
}
void hs_emu_broke(cudaError_t e)
{
    emu_enter();
    sticky = last = e;
    emu_leave(e);
}
cudaError_t hs_emu_failed(cudaError_t e)
{
    emu_enter();
    return emu_leave(e);
}
// What may not stand in a capture makes it void.
cudaError_t emu_not_captured(const char *call)
{
    if (!emu_capturing)
        return cudaSuccess;
    emu_capturing->captures->is_void = true;
    return emu_broken(cudaErrorStreamCaptureUnsupported, call, "not while this thread captures a stream");
}

cudaError_t emu_waits(cudaStream_t s, const char *call)
{
    cudaError_t e = emu_not_captured(call);
    emu_n_waits++;
    for (cudaStream_t at = emu_cudart.streams; at; at = at->next)
        if (at->captures && (s ? at == s : at->gpu == emu_gpu)) {
            at->captures->is_void = true;
            if (e == cudaSuccess)
                e = emu_broken(cudaErrorStreamCaptureUnsupported, call, "a stream that it waits for is captured, by another thread");
        }
    return e;
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

void emu_free_graph(struct CUgraph_st *g)
{
    if (--g->users)
        return;
    struct CUgraph_st **at = &emu_cudart.graphs;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    for (int64_t i = 0; i < g->nodes.n; i++)
        let_go(g->nodes.at[i].launch);
    free(g->nodes.at);
    free(g);
}

void emu_drain(cudaStream_t s, int64_t until);

int64_t cudart_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void perform(const work *w)
{
    switch (w->kind) {
    case CALL: {
        const int d = w->launch->waits ? open_up() : 0;
        w->launch->run(w->launch->p);
        close_again(d);
        break;
    }
    case COPY:
        memmove(w->dst, w->staged ? w->staged : w->src, w->bytes);
        break;
    case FILL:
        memset(w->dst, w->byte, w->bytes);
        break;
    case AWAIT:
        emu_drain(w->other, w->until);
        break;
    case TIME:
        ((cudaEvent_t)w->dst)->ns = cudart_now();
        break;
    case GRAPH:
        for (int64_t i = 0; i < w->graph->nodes.n; i++)
            perform(&w->graph->nodes.at[i]);
    }
}

bool emu_is_open(cudaStream_t s)
{
    for (cudaStream_t at = emu_cudart.streams; at; at = at->next)
        if (at == s)
            return true;
    return false;
}

void emu_drain(cudaStream_t s, int64_t until)
{
    while (emu_is_open(s) && s->base + s->queue.done < until) { // one that is not was drained when it was destroyed
        if (s->runs) {                                          // by another thread, which waits
            const int d = open_up();
            usleep(100);
            close_again(d);
            continue;
        }
        work w = s->queue.at[s->queue.done++];
        s->runs = true;
        if (sticky == cudaSuccess)
            perform(&w);
        s->runs = false;
        free(w.staged);
        let_go(w.launch);
        if (w.kind == GRAPH)
            emu_free_graph(w.graph);
    }
    if (emu_is_open(s) && !s->runs && s->queue.done == s->queue.n) {
        s->base += s->queue.n;
        s->queue.n = s->queue.done = 0;
    }
}
cudaStream_t emu_legacy(void)
{
    for (cudaStream_t s = emu_cudart.streams; s; s = s->next)
        if (s->is_legacy && s->gpu == emu_gpu)
            return s;
    cudaStream_t s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->is_legacy = true, s->gpu = emu_gpu;
    s->next = emu_cudart.streams;
    return emu_cudart.streams = s;
}

static void drain_legacy(void)
{
    emu_n_waits++;
    emu_drain(emu_legacy(), emu_legacy()->base + emu_legacy()->queue.n);
}

void emu_drain_all(void)
{
    for (cudaStream_t s = emu_cudart.streams; s; s = s->next)
        if (s->gpu == emu_gpu)
            emu_drain(s, s->base + s->queue.n);
}

static list *list_of(cudaStream_t s) { return s->captures ? &s->captures->nodes : &s->queue; }

cudaError_t emu_put(cudaStream_t s, const char *call, work w)
{
    if (!emu_is_open(s))
        return emu_broken(cudaErrorInvalidResourceHandle, call, "this stream is not open");
    const bool theirs = w.kind == CALL && w.launch->waits; // a library may launch from threads of its own
    if (s->captures && !theirs && !pthread_equal(s->by, pthread_self()))
        return emu_broken(cudaErrorStreamCaptureUnsupported, call, "another thread captures this stream");
    *append(list_of(s)) = w;
    if (s->captures)
        s->last = s->captures->nodes.n;
    return cudaSuccess;
}

static void enqueue(cudaStream_t s, hs_emu_call *run, hs_emu_call *drop, void *p, bool waits)
{
    launch *l = malloc(sizeof *l);
    if (!l)
        abort();
    *l = (launch){ run, drop, p, 1, waits };
    if (emu_put(s, "a launch", (work){ .kind = CALL, .launch = l }) != cudaSuccess)
        let_go(l);
}

void hs_emu_enqueue(cudaStream_t s, hs_emu_call *run, hs_emu_call *drop, void *p)
{
    emu_enter();
    if (s)
        enqueue(s, run, drop, p, false);
    else
        drain_legacy(), run(p), drop(p);
    emu_leave(cudaSuccess);
}

void hs_emu_enqueue_waiting(cudaStream_t s, hs_emu_call *run, hs_emu_call *drop, void *p)
{
    emu_enter();
    enqueue(s, run, drop, p, true);
    emu_leave(cudaSuccess);
}

// ---- the machine

cudaError_t cudaDriverGetVersion(int *version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = 13000, cudaSuccess; }
// As CUDA has it: "1,0" are two, the machine's second first. The machine's: four, at buses from 16 on.
enum { MOST_GPUS = 4 };
static int bus[MOST_GPUS], n_gpus;
static pthread_once_t counted = PTHREAD_ONCE_INIT;
static void count_gpus(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    for (int i = 0; !visible && i < MOST_GPUS; i++)
        bus[n_gpus++] = 16 + i;
    for (char *end; visible && *visible && n_gpus < MOST_GPUS; visible = end + (*end == ',')) {
        const long i = strtol(visible, &end, 10);
        if (end == visible || i < 0 || i >= MOST_GPUS)
            return;
        bus[n_gpus++] = 16 + (int)i;
    }
}
cudaError_t cudaGetDeviceCount(int *n)
{
    pthread_once(&counted, count_gpus);
    return *n = n_gpus, n_gpus ? cudaSuccess : cudaErrorNoDevice;
}
static bool is_there(int index)
{
    int n;
    return cudaGetDeviceCount(&n) == cudaSuccess && index >= 0 && index < n;
}
cudaError_t cudaSetDevice(int index) { return is_there(index) ? (emu_gpu = index, cudaSuccess) : cudaErrorInvalidValue; }
cudaError_t cudaGetDevice(int *index) { return *index = emu_gpu, cudaSuccess; }
cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int index)
{
    if (!is_there(index))
        return cudaErrorInvalidValue;
    return snprintf(id, (size_t)size, "0000:%02x:00.0", (unsigned)bus[index]), cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, cudaSuccess; }
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
        NAME(cudaErrorStreamCaptureUnjoined);
        NAME(cudaErrorStreamCaptureIsolation);
        NAME(cudaErrorCapturedEvent);
        NAME(cudaErrorNotReady);
        NAME(cudaErrorUnknown);
#undef NAME
    }
    return "cudaErrorUnknown";
}
const char *cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }
cudaError_t cudaPeekAtLastError(void)
{
    emu_enter();
    const cudaError_t e = sticky != cudaSuccess ? sticky : last;
    emu_leave(cudaSuccess);
    return e;
}
cudaError_t cudaGetLastError(void)
{
    const cudaError_t e = cudaPeekAtLastError();
    last = cudaSuccess;
    return e;
}

// ---- memory

static cudaError_t take(void **p, size_t bytes, bool is_host, const char *call)
{
    emu_enter();
    *p = NULL;
    cudaError_t e = emu_not_captured(call);
    block *b = e == cudaSuccess ? malloc(sizeof *b) : NULL;
    if (b) {
        *b = (block){ aligned_alloc(256, (bytes + 255) / 256 * 256), bytes, is_host, emu_gpu, blocks };
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
    return emu_leave(e);
}

// Whether bytes hold an address inside of a block: what a call was given lies in them, and nothing else there looks like one.
static bool holds_address(const void *bytes, const block *b)
{
    const uintptr_t from = (uintptr_t)b->p, *word = bytes;
    for (size_t i = 0; i < malloc_usable_size((void *)(uintptr_t)bytes) / sizeof *word; i++)
        if (word[i] >= from && word[i] < from + b->bytes)
            return true;
    return false;
}

static bool is_in(const void *p, const block *b) { return (const char *)p >= b->p && (const char *)p < b->p + b->bytes; }

static bool uses(const work *w, const block *b)
{
    if (w->kind == CALL)
        return !w->launch->waits && holds_address(w->launch->p, b);
    return (w->kind == COPY || w->kind == FILL) && (is_in(w->dst, b) || is_in(w->src, b));
}

static void mark_graphs(const block *b)
{
    for (struct CUgraph_st *g = emu_cudart.graphs; g; g = g->next)
        for (int64_t i = 0; i < g->nodes.n && !g->is_stale; i++)
            g->is_stale = uses(&g->nodes.at[i], b);
}

static cudaError_t give(void *p, bool is_host, const char *call)
{
    if (!p)
        return cudaSuccess;
    emu_enter();
    cudaError_t e = emu_not_captured(call);
    block **at = &blocks;
    emu_drain_all(); // it may still be in use
    emu_n_waits++;
    while (*at && ((*at)->p != p || (*at)->is_host != is_host))
        at = &(*at)->next;
    block *b = *at;
    if (b) {
        *at = b->next;
        mark_graphs(b);
        taken -= is_host ? 0 : b->bytes;
        free(b->p);
        free(b);
    } else
        e = emu_broken(cudaErrorInvalidValue, call, "this was not allocated here, or is freed already");
    return emu_leave(e);
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

size_t hs_emu_extent(const void *p)
{
    emu_enter();
    const block *b = block_of(p);
    const size_t bytes = b ? (size_t)(b->p + b->bytes - (const char *)p) : 0;
    emu_leave(cudaSuccess);
    return bytes;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p)
{
    emu_enter();
    const block *b = block_of(p);
    *a = (struct cudaPointerAttributes){ !b ? cudaMemoryTypeUnregistered : b->is_host ? cudaMemoryTypeHost : cudaMemoryTypeDevice, b ? b->gpu : -2 };
    return emu_leave(cudaSuccess);
}

static bool is_device(const void *p) { return block_of(p) && !block_of(p)->is_host; }

// Of pinned memory it is done at once. Other streams are not waited for.
cudaError_t cudaMemset(void *p, int byte, size_t bytes)
{
    emu_enter();
    cudaError_t e = emu_not_captured("cudaMemset");
    if (e == cudaSuccess && (!block_of(p) || !is_inside(p, bytes)))
        e = emu_broken(cudaErrorInvalidValue, "cudaMemset", "not inside of one allocation");
    if (e == cudaSuccess)
        e = emu_put(emu_legacy(), "cudaMemset", (work){ .kind = FILL, .dst = p, .byte = byte, .bytes = bytes });
    if (e == cudaSuccess && !is_device(p))
        drain_legacy();
    return emu_leave(e);
}

static work copy_of(void *dst, const void *src, size_t bytes)
{
    work w = { .kind = COPY, .dst = dst, .src = src, .bytes = bytes };
    if (!block_of(src)) {
        w.staged = malloc(bytes ? bytes : 1);
        if (!w.staged)
            abort();
        memcpy(w.staged, src, bytes);
    }
    return w;
}

// Within the device's memory nobody waits; from pageable memory only until the bytes were taken from there.
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind)
{
    (void)kind;
    emu_enter();
    cudaError_t e = emu_not_captured("cudaMemcpy");
    if (e == cudaSuccess && (!is_inside(dst, bytes) || !is_inside(src, bytes)))
        e = emu_broken(cudaErrorInvalidValue, "cudaMemcpy", "more than what was allocated");
    if (e == cudaSuccess)
        e = emu_put(emu_legacy(), "cudaMemcpy", copy_of(dst, src, bytes));
    if (e == cudaSuccess && !(is_device(dst) && (is_device(src) || !block_of(src))))
        drain_legacy();
    return emu_leave(e);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    (void)kind;
    emu_enter();
    cudaError_t e = cudaSuccess;
    if (!is_inside(dst, bytes) || !is_inside(src, bytes))
        e = emu_broken(cudaErrorInvalidValue, "cudaMemcpyAsync", "more than what was allocated");
    else if (!block_of(dst)) { // into pageable memory: done when it returns
        e = emu_not_captured("cudaMemcpyAsync into pageable memory");
        emu_n_waits++;
        if (e == cudaSuccess && emu_is_open(s)) {
            emu_drain(s, s->base + s->queue.n);
            memmove(dst, src, bytes);
        }
    } else {
        if (!block_of(src))
            e = emu_not_captured("cudaMemcpyAsync from pageable memory");
        if (e == cudaSuccess)
            e = emu_put(s, "cudaMemcpyAsync", copy_of(dst, src, bytes));
    }
    return emu_leave(e);
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s)
{
    emu_enter();
    cudaError_t e = cudaSuccess;
    if (!block_of(p) || !is_inside(p, bytes))
        e = emu_broken(cudaErrorInvalidValue, "cudaMemsetAsync", "not inside of one allocation");
    else
        e = emu_put(s, "cudaMemsetAsync", (work){ .kind = FILL, .dst = p, .byte = byte, .bytes = bytes });
    return emu_leave(e);
}

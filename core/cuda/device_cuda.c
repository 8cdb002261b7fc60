// device_cuda: memory, streams and submission of one GPU.
#include "core/cuda/device_cuda.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/cuda/captured_impl.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/cusparselt.h"
#include "core/cuda/stopwatch.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gpu {
    hs_gpu shared;
    hs_lane first;  // the device's own
    hs_lane *lanes; // that were opened, under shared.streams
    hs_captured *captured;
    int n_tracks;
    char failed[160]; // what a copy said, which cannot fail by its contract: under shared.streams, and the next wait says it
} gpu;

hs_status hs_gpu_told(cudaError_t e, const char *call, size_t bytes)
{
    const int name = (int)strcspn(call, "(");
    cudaGetLastError(); // those that stick stay, all others are read by this
    if (e == cudaErrorMemoryAllocation)
        return HS_FAIL(MEMORY, "device cuda: %.*s of %zu bytes: %s", name, call, bytes, cudaGetErrorString(e));
    return HS_FAIL(SYSTEM, "device cuda: %.*s: %s (%s)", name, call, cudaGetErrorString(e), cudaGetErrorName(e));
}

cudaStream_t gpu_stream(const hs_lane *lane) { return lane->stream; }
struct hs_lt *gpu_lt(const hs_lane *lane) { return lane->gpu->lt; }
// What a thread calls concerns the GPU that the thread has set.
static gpu *on(const hs_device *d)
{
    gpu *g = d->impl;
    cudaSetDevice(g->shared.index);
    return g;
}

int hs_gpu_track(const hs_device *d) { return ((gpu *)d->impl)->n_tracks++; }
hs_lane *hs_gpu_lane(const hs_device *d, hs_lane *lane) { return lane ? lane : &((gpu *)d->impl)->first; }
static cudaStream_t stream_of(const hs_device *d, hs_lane *lane) { return hs_gpu_lane(d, lane)->stream; }

// ---- memory

// CUDA knows whose memory it is, that of other devices on this GPU too: they may share a model's.
static void *cuda_bind(const hs_device *d, const void *p)
{
    const gpu *g = d->impl;
    struct cudaPointerAttributes a;
    if (cudaPointerGetAttributes(&a, p) != cudaSuccess) {
        cudaGetLastError();
        return NULL;
    }
    const bool is_ours = a.type == cudaMemoryTypeHost || (a.type == cudaMemoryTypeDevice && a.device == g->shared.index);
    return is_ours ? (void *)(uintptr_t)p : NULL;
}

// Plain calls may come back before what they began in the stream of their own is done, and no lane waits for that stream.
static cudaError_t landed(cudaError_t begun) { return begun == cudaSuccess ? cudaStreamSynchronize(cudaStreamLegacy) : begun; }

static hs_status cuda_alloc(hs_device *d, size_t bytes, void **out)
{
    on(d);
    *out = NULL;
    void *p = NULL;
    const size_t whole = bytes ? bytes : 1;
    CUDA_TRY(cudaMalloc(&p, whole), bytes);
    const cudaError_t e = landed(cudaMemset(p, 0, whole));
    if (e != cudaSuccess) {
        cudaFree(p);
        return hs_gpu_told(e, "cudaMemset", bytes);
    }
    *out = p;
    return HS_OK;
}

static void cuda_release(hs_device *d, void *p, size_t bytes)
{
    (void)bytes;
    on(d);
    if (p)
        cudaFree(p); // behind all that runs
}

static hs_status cuda_alloc_host(hs_device *d, size_t bytes, void **out)
{
    on(d);
    *out = NULL;
    void *p = NULL;
    const size_t whole = bytes ? bytes : 1;
    CUDA_TRY(cudaHostAlloc(&p, whole, cudaHostAllocPortable | cudaHostAllocMapped), bytes);
    memset(p, 0, whole);
    *out = p;
    return HS_OK;
}

static void cuda_free_host(hs_device *d, void *p)
{
    on(d);
    if (p)
        cudaFreeHost(p);
}

static size_t cuda_free_bytes(hs_device *d)
{
    on(d);
    size_t free_now = 0, total = 0;
    return cudaMemGetInfo(&free_now, &total) == cudaSuccess ? free_now : 0;
}

// For all that this device's lanes were given, none of which is captured meanwhile: that would make its capture void, as waiting for the
// whole GPU would those of every device on it.
static cudaError_t wait_for_all(gpu *g)
{
    pthread_mutex_lock(&g->shared.streams);
    cudaError_t e = cudaStreamSynchronize(g->first.stream);
    for (const hs_lane *lane = g->lanes; lane && e == cudaSuccess; lane = lane->next)
        e = cudaStreamSynchronize(lane->stream);
    pthread_mutex_unlock(&g->shared.streams);
    return e;
}

static void keep_failure(gpu *g, const char *call, cudaError_t e)
{
    if (e == cudaSuccess)
        return;
    cudaGetLastError(); // of this thread, which need not be the one that waits
    pthread_mutex_lock(&g->shared.streams);
    if (!g->failed[0])
        snprintf(g->failed, sizeof g->failed, "%s: %s (%s)", call, cudaGetErrorString(e), cudaGetErrorName(e));
    pthread_mutex_unlock(&g->shared.streams);
}

static void cuda_copy(hs_device *d, void *dst, const void *src, size_t bytes)
{
    if (!bytes)
        return;
    gpu *g = on(d);
    cudaError_t e = wait_for_all(g);
    if (e == cudaSuccess)
        e = landed(cudaMemcpy(dst, src, bytes, cudaMemcpyDefault));
    keep_failure(g, "a copy", e);
}

static void cuda_copy_async(hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes)
{
    lane = hs_gpu_lane(d, lane);
    if (bytes && !(d->trace && hs_traced_copy(d, lane, dst, src, bytes) == HS_OK)) // one that has no time for it is made all the same
        cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, lane->stream);
}

static void cuda_fill(hs_device *d, void *dst, int byte, size_t bytes)
{
    if (!bytes)
        return;
    gpu *g = on(d);
    cudaError_t e = wait_for_all(g);
    if (!cuda_bind(d, dst))
        memset(dst, byte, bytes);
    else if (e == cudaSuccess)
        e = landed(cudaMemset(dst, byte, bytes));
    keep_failure(g, "a fill", e);
}

// ---- lanes and events

hs_status hs_gpu_lane_open(hs_device *d, bool urgent, hs_lane **out)
{
    gpu *g = on(d);
    int least = 0, greatest = 0;
    *out = NULL;
    if (urgent)
        CUDA_TRY(cudaDeviceGetStreamPriorityRange(&least, &greatest), 0);
    hs_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return HS_FAIL(MEMORY, "no memory for a lane");
    const cudaError_t e = cudaStreamCreateWithPriority(&lane->stream, cudaStreamNonBlocking, urgent ? greatest : 0);
    if (e != cudaSuccess) {
        free(lane);
        return hs_gpu_told(e, "cudaStreamCreateWithPriority", 0);
    }
    lane->gpu = &g->shared;
    pthread_mutex_lock(&g->shared.streams);
    lane->next = g->lanes;
    g->lanes = lane;
    pthread_mutex_unlock(&g->shared.streams);
    *out = lane;
    return HS_OK;
}

static hs_status cuda_lane_open(hs_device *d, hs_lane **out) { return hs_gpu_lane_open(d, false, out); }

static void close_stream(hs_lane *lane)
{
    hs_traced_free(lane);
    if (lane->stream)
        cudaStreamDestroy(lane->stream);
    cudaFree(lane->workspace);
}

static void cuda_lane_close(hs_device *d, hs_lane *lane)
{
    gpu *g = on(d);
    if (!lane)
        return;
    pthread_mutex_lock(&g->shared.streams);
    hs_lane **at = &g->lanes;
    while (*at && *at != lane)
        at = &(*at)->next;
    if (*at)
        *at = lane->next;
    pthread_mutex_unlock(&g->shared.streams);
    close_stream(lane);
    free(lane);
}

static hs_status cuda_event_open(hs_device *d, hs_event **out)
{
    on(d);
    *out = NULL;
    cudaEvent_t e;
    CUDA_TRY(cudaEventCreateWithFlags(&e, cudaEventDisableTiming | cudaEventBlockingSync), 0); // a thread that arrives sleeps
    *out = (hs_event *)e;
    return HS_OK;
}

static void cuda_event_close(hs_device *d, hs_event *e)
{
    (void)d;
    if (e)
        cudaEventDestroy((cudaEvent_t)e);
}

static void cuda_record(hs_device *d, hs_event *e, hs_lane *lane) { cudaEventRecord((cudaEvent_t)e, stream_of(d, lane)); }
static void cuda_await(hs_device *d, hs_lane *lane, hs_event *e) { cudaStreamWaitEvent(stream_of(d, lane), (cudaEvent_t)e, 0); }
static hs_status cuda_arrive(hs_device *d, hs_event *e)
{
    on(d);
    CUDA_TRY(cudaEventSynchronize((cudaEvent_t)e), 0);
    return HS_OK;
}

// ---- submission

static void run(const hs_thunk *t, hs_lane *lane)
{
    hs_comm *c = t->args.comm;
    const hs_tensor *first = t->args.out[0].t;
    if (c && c->size > 1)
        c->about = first && first->kind == HS_PARAM ? first->name : t->node ? t->node->scope : t->name;
    t->fn(&t->args, lane);
}

static const char *place_of(const hs_thunk *t) { return t->node ? t->node->scope : t->name; }

// What a library or CUDA said of what was given to the lane last, or before. A kernel's own mistakes come later, with a wait.
static hs_status failed(hs_lane *lane, const char *where)
{
    if (lane->failed[0]) {
        char line[sizeof lane->failed];
        memcpy(line, lane->failed, sizeof line);
        lane->failed[0] = 0;
        return HS_FAIL(SYSTEM, "device cuda: %s: %s", where, line);
    }
    const cudaError_t e = cudaPeekAtLastError();
    return e == cudaSuccess ? HS_OK : hs_gpu_told(e, where, 0);
}

hs_status hs_gpu_submit(hs_lane *lane, const hs_thunk *t, int n)
{
    for (int i = 0; i < n; i++) {
        run(&t[i], lane);
        HS_TRY(failed(lane, place_of(&t[i])));
    }
    return HS_OK;
}

static hs_status submit_some(hs_device *d, hs_lane *lane, const hs_thunk *t, int n)
{
    return d->trace ? hs_traced_submit(d, lane, t, n) : hs_gpu_submit(lane, t, n);
}

static hs_status submit_steps(hs_device *d, hs_lane *lane, const hs_segment *s)
{
    for (int i = 0; i < s->n; i++) {
        const int64_t start = hs_now_ns();
        HS_TRY(submit_some(d, lane, &s->thunk[i], 1));
        CUDA_TRY(cudaStreamSynchronize(lane->stream), 0);
        HS_TRY(failed(lane, place_of(&s->thunk[i])));
        if (d->hook)
            d->hook(&s->thunk[i], 1e-9 * (double)(hs_now_ns() - start), d->hook_user);
    }
    return HS_OK;
}

static hs_status cuda_submit(hs_device *d, hs_lane *lane, const hs_segment *s, hs_submit_mode mode)
{
    on(d);
    lane = hs_gpu_lane(d, lane);
    if (!s->n)
        return HS_OK;
    if (mode == HS_SUBMIT_STEP)
        return submit_steps(d, lane, s);
    if (mode == HS_SUBMIT_GRAPH && !d->trace)
        return hs_captured_submit(((gpu *)d->impl)->captured, lane, s);
    return submit_some(d, lane, s->thunk, s->n);
}

static void cuda_forget(hs_device *d, const hs_thunk *first)
{
    gpu *g = on(d);
    hs_captured_forget(g->captured, first);
}

typedef struct timed {
    const hs_lt_product *p;
    const hs_lt_operands *o;
} timed;
static bool multiply(const void *given, hs_lane *lane)
{
    const timed *t = given;
    hs_lt_multiply(lane, t->p, t->o);
    return !lane->failed[0];
}

// Seconds of the best of a few, by the library that training uses.
static hs_status time_product(hs_device *d, const hs_lt_product *p, const hs_lt_operands *o, double *best)
{
    gpu *g = d->impl;
    hs_stopwatch watch;
    if (!hs_stopwatch_open(&watch))
        return HS_FAIL(SYSTEM, "device cuda: there are no events to time a product with");
    const float ms = hs_stopwatch_least(&watch, &g->first, multiply, &(timed){ p, o });
    hs_stopwatch_close(&watch);
    *best = ms > 0 ? 1e-3 * (double)ms : 0;
    return d->wait(d, NULL);
}

// Normal values, the same over and over: on zeros a GPU draws less power, and is faster than it is with a model.
static hs_status fill_normal(hs_device *d, char *to, size_t bytes, hs_dtype low)
{
    enum { N = 1 << 18 };
    float *v = malloc(N * sizeof *v);
    if (!v)
        return HS_FAIL(MEMORY, "no memory for %d values", N);
    hs_random_normal(v, N, 1, 0, 0, 1);
    hs_convert(v, low, v, HS_F32, N);
    const size_t each = N * hs_dtype_bytes(low);
    for (size_t at = 0; at < bytes; at += each)
        d->copy(d, to + at, v, bytes - at < each ? bytes - at : each);
    free(v);
    return HS_OK;
}

static hs_status cuda_peak(hs_device *d, hs_dtype low, double *flops_per_second)
{
    enum { N = 8192 };
    gpu *g = d->impl;
    void *m = NULL;
    double best = 0;
    const size_t each = (size_t)N * N * hs_dtype_bytes(low);
    *flops_per_second = 0;
    if (!g->shared.lt || cuda_free_bytes(d) < 4 * each)
        return HS_OK;
    HS_TRY(d->alloc(d, 3 * each, &m));
    const hs_lt_product p = { N, N, N, N, N, N, .a = low, .b = low, .d = low, .bias = HS_F64, .ta = true, .scale = 1 };
    hs_status st = fill_normal(d, m, 2 * each, low);
    if (st == HS_OK)
        st = time_product(d, &p, &(hs_lt_operands){ .a = m, .b = (char *)m + each, .d = (char *)m + 2 * each }, &best);
    d->release(d, m, 3 * each);
    HS_TRY(st);
    *flops_per_second = best > 0 ? 2.0 * N * N * N / best : 0;
    return HS_OK;
}

static hs_status cuda_presses(hs_device *d)
{
    const gpu *g = on(d);
    return hs_sp_open(g->shared.sp);
}

static hs_status failed_plainly(gpu *g)
{
    char line[sizeof g->failed];
    pthread_mutex_lock(&g->shared.streams);
    memcpy(line, g->failed, sizeof line);
    g->failed[0] = 0;
    pthread_mutex_unlock(&g->shared.streams);
    return line[0] ? HS_FAIL(SYSTEM, "device cuda: %s", line) : HS_OK;
}

static hs_status cuda_wait(hs_device *d, hs_lane *lane)
{
    gpu *g = on(d);
    lane = hs_gpu_lane(d, lane);
    CUDA_TRY(cudaStreamSynchronize(lane->stream), 0);
    HS_TRY(failed_plainly(g));
    HS_TRY(failed(lane, "what was waited for"));
    return hs_traced_collect(d, lane);
}

static hs_status cuda_collect(hs_device *d)
{
    gpu *g = d->impl;
    hs_status st = cuda_wait(d, NULL);
    pthread_mutex_lock(&g->shared.streams); // others may open lanes, and capture theirs
    for (hs_lane *lane = g->lanes; lane && st == HS_OK; lane = lane->next)
        st = cuda_wait(d, lane);
    pthread_mutex_unlock(&g->shared.streams);
    return st;
}

// ---- opening

static void cuda_close(hs_device *d)
{
    gpu *g = on(d);
    hs_captured_free(g->captured);
    close_stream(&g->first);
    hs_gpu_close_libraries(&g->shared);
    pthread_mutex_destroy(&g->shared.streams);
    free(g);
}

// What there is to run on, said in one line where there is nothing: without a driver no call but this one means anything.
static hs_status count_gpus(int *n)
{
    int driver = 0;
    *n = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return HS_FAIL(UNSUPPORTED, "device cuda: this machine has no NVIDIA driver (libcuda.so.1)");
    const cudaError_t e = cudaGetDeviceCount(n);
    if (e == cudaErrorInsufficientDriver)
        return HS_FAIL(UNSUPPORTED, "device cuda: the NVIDIA driver is of CUDA %d.%d, older than what this was built with", driver / 1000,
                       driver % 1000 / 10);
    if (e != cudaSuccess || *n == 0) {
        cudaGetLastError();
        return HS_FAIL(UNSUPPORTED, "device cuda: the driver finds no GPU: %s", e == cudaSuccess ? "none is there" : cudaGetErrorString(e));
    }
    return HS_OK;
}

static hs_status open_gpu(gpu *g)
{
    int n;
    struct cudaDeviceProp p;
    HS_TRY(count_gpus(&n));
    hs_gpu *to = &g->shared;
    to->index %= n;
    CUDA_TRY(cudaSetDevice(to->index), 0);
    CUDA_TRY(cudaGetDeviceProperties(&p, to->index), 0);
    if (p.major < 8)
        return HS_FAIL(UNSUPPORTED, "device cuda: %s is of compute capability %d.%d, 8.0 and newer are supported", p.name, p.major,
                       p.minor);
    snprintf(to->name, sizeof to->name, "%s", p.name);
    to->multiprocessors = p.multiProcessorCount, to->major = p.major, to->minor = p.minor;
    g->first.gpu = to;
    CUDA_TRY(cudaStreamCreateWithFlags(&g->first.stream, cudaStreamNonBlocking), 0);
    char bus[32] = "";
    CUDA_TRY(cudaDeviceGetPCIBusId(bus, sizeof bus, to->index), 0);
    hs_info("device cuda: %s (%s), %.1f GiB, compute capability %d.%d", p.name, bus, (double)p.totalGlobalMem / (1u << 30), p.major,
            p.minor);
    hs_gpu_open_libraries(to);
    return hs_captured_new(&g->captured);
}

static void make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE); // a wait inside of a capture is an error, and should be told as one
    pthread_mutex_init(lock, &a);
    pthread_mutexattr_destroy(&a);
}

hs_status hs_backend_cuda(hs_device *d, const hs_device_opts *o)
{
    gpu *g = calloc(1, sizeof *g);
    if (!g)
        return HS_FAIL(MEMORY, "no memory for a device");
    make_lock(&g->shared.streams);
    g->shared.index = o->index;
    d->impl = g;
    const hs_status st = open_gpu(g);
    if (st != HS_OK) {
        cuda_close(d);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    d->name = o->table_names ? o->table_names[0] : "cuda";
    d->core = o->core;
    d->optim = o->optim;
    d->alloc = cuda_alloc, d->release = cuda_release;
    d->alloc_host = cuda_alloc_host, d->free_host = cuda_free_host;
    d->bind = cuda_bind;
    d->free_bytes = cuda_free_bytes;
    d->copy = cuda_copy, d->copy_async = cuda_copy_async, d->fill = cuda_fill;
    d->lane_open = cuda_lane_open, d->lane_close = cuda_lane_close;
    d->event_open = cuda_event_open, d->event_close = cuda_event_close, d->record = cuda_record, d->await = cuda_await,
    d->arrive = cuda_arrive;
    d->submit = cuda_submit, d->wait = cuda_wait, d->forget = cuda_forget;
    d->close = cuda_close;
    d->captures = true;
    d->clears_dead = d->bits_by_capacity = g->shared.lt != NULL; // core/cuda/gemm_lt.cu
    d->tracks = HS_GPU_TRACKS, d->collect = cuda_collect;
    d->peak = cuda_peak;
    d->presses = cuda_presses;
    return HS_OK;
}

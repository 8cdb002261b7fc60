// nccl_comm: core's table over NCCL. Its communicator does not block: every call of the library's comes back at once and is then asked for,
// so that opening has a deadline, and an error on another rank ends a wait.
#include "core/base/clock.h"
#include "parallel/nccl_impl.h"
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct request {
    hs_call_kind kind;
    const void *in;
    void *out;
    int64_t n;            // elements, as hs_comm's functions have them; of parts their sum
    const int64_t *parts; // of the two that have them
    hs_dtype dtype;
    int32_t op; // hs_reduce; of a broadcast the root
} request;

static const ncclDataType_t types[HS_N_DTYPES] = {
    [HS_F64] = ncclFloat64, [HS_F32] = ncclFloat32, [HS_F16] = ncclFloat16, [HS_BF16] = ncclBfloat16, [HS_I64] = ncclInt64,
    [HS_I32] = ncclInt32,   [HS_U8] = ncclUint8,    [HS_I8] = ncclInt8,     [HS_BOOL] = ncclUint8,
};
static const ncclRedOp_t ops[] = { [HS_REDUCE_SUM] = ncclSum, [HS_REDUCE_MAX] = ncclMax };

// ---- what went wrong

bool hs_nccl_failed(hs_nccl *x)
{
    pthread_mutex_lock(&x->lock);
    const bool failed = x->status != HS_OK;
    pthread_mutex_unlock(&x->lock);
    return failed;
}

// The first stays.
void hs_nccl_fail(hs_nccl *x, hs_status st, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&x->lock);
    if (x->status == HS_OK)
        vsnprintf(x->error, sizeof x->error, fmt, ap), x->status = st;
    pthread_mutex_unlock(&x->lock);
    va_end(ap);
}

hs_status hs_nccl_blame(ncclResult_t r)
{
    return r == ncclInvalidArgument || r == ncclInvalidUsage || r == ncclInternalError ? HS_INTERNAL
           : r == ncclUnhandledCudaError || r == ncclSystemError                       ? HS_SYSTEM // of this rank: memory, sockets, files
                                                                                       : HS_REMOTE;
}

void hs_nccl_words(const hs_nccl *x, ncclResult_t r, char *line, size_t size)
{
    const char *more = x->lib.ncclGetLastError(NULL);
    if (r == ncclInProgress)
        snprintf(line, size, "it is not under way after %g s", x->timeout);
    else
        snprintf(line, size, "%s%s%s", x->lib.ncclGetErrorString(r), more && *more ? ": " : "", more ? more : "");
}

static void fail_call(hs_nccl *x, const hs_comm_call *call, ncclResult_t r)
{
    char text[160], why[256];
    const hs_place_in_time at = hs_place_of_call(call);
    hs_call_text(&at.call, x->c.axis, text, sizeof text);
    hs_nccl_words(x, r, why, sizeof why);
    hs_nccl_fail(x, hs_nccl_blame(r), "NCCL: %s: %s", text, why);
}

static bool cuda_works(hs_nccl *x, cudaError_t e, const char *call)
{
    if (e != cudaSuccess)
        hs_nccl_fail(x, HS_SYSTEM, "NCCL over %s: %s: %s", x->c.axis, call, cudaGetErrorString(e));
    return e == cudaSuccess;
}

// ---- one call of the library's at a time; each is over when the communicator is in progress no more

ncclResult_t hs_nccl_settle(hs_nccl *x, ncclResult_t r, double seconds)
{
    const double began = hs_now();
    while (x->comm && (r == ncclSuccess || r == ncclInProgress)) {
        ncclResult_t state = ncclSuccess;
        r = x->lib.ncclCommGetAsyncError(x->comm, &state);
        r = r == ncclSuccess ? state : r;
        if (r != ncclInProgress || (seconds > 0 && hs_now() - began > seconds))
            return r;
        pthread_mutex_unlock(&x->api); // for who gives up
        sched_yield();
        pthread_mutex_lock(&x->api);
    }
    const bool wrong = r != ncclSuccess && r != ncclInProgress; // which it may be without a communicator
    return wrong ? r : ncclRemoteError;                         // given up meanwhile
}

void hs_nccl_look(void *user)
{
    hs_nccl *x = user;
    ncclResult_t state = ncclSuccess;
    char why[256];
    if (hs_nccl_failed(x) || pthread_mutex_trylock(&x->api) != 0) // whoever is in a call hears of it
        return;
    if (x->comm && x->lib.ncclCommGetAsyncError(x->comm, &state) == ncclSuccess && state != ncclSuccess && state != ncclInProgress) {
        hs_nccl_words(x, state, why, sizeof why);
        hs_nccl_fail(x, hs_nccl_blame(state), "NCCL over %s: %s", x->c.axis, why);
    }
    pthread_mutex_unlock(&x->api);
}

static ncclResult_t all_reduce_by(hs_nccl *x, const request *q, cudaStream_t s)
{
    return x->lib.ncclAllReduce(q->in, q->out, (size_t)q->n, types[q->dtype], ops[q->op], x->comm, s);
}

static ncclResult_t reduce_scatter_by(hs_nccl *x, const request *q, cudaStream_t s)
{
    return x->lib.ncclReduceScatter(q->in, q->out, (size_t)q->n, types[q->dtype], ncclSum, x->comm, s);
}

static ncclResult_t all_gather_by(hs_nccl *x, const request *q, cudaStream_t s)
{
    return x->lib.ncclAllGather(q->in, q->out, (size_t)q->n, types[q->dtype], x->comm, s);
}

static ncclResult_t broadcast_by(hs_nccl *x, const request *q, cudaStream_t s)
{
    return x->lib.ncclBroadcast(q->in, q->out, (size_t)q->n, types[q->dtype], q->op, x->comm, s);
}

static bool equal_parts(const hs_nccl *x, const int64_t *n)
{
    for (int r = 1; r < x->c.size; r++)
        if (n[r] != n[0])
            return false;
    return true;
}

typedef ncclResult_t part_fn(hs_nccl *x, char *part, int64_t n, hs_dtype d, int root, cudaStream_t s);

static ncclResult_t reduce_one(hs_nccl *x, char *part, int64_t n, hs_dtype d, int root, cudaStream_t s)
{
    return x->lib.ncclReduce(part, part, (size_t)n, types[d], ncclSum, root, x->comm, s);
}

static ncclResult_t tell_one(hs_nccl *x, char *part, int64_t n, hs_dtype d, int root, cudaStream_t s)
{
    return x->lib.ncclBroadcast(part, part, (size_t)n, types[d], root, x->comm, s);
}

// All parts in one launch.
static ncclResult_t by_parts(hs_nccl *x, const request *q, part_fn *one, cudaStream_t s)
{
    char *part = q->out;
    ncclResult_t r = x->lib.ncclGroupStart();
    for (int k = 0; k < x->c.size && (r == ncclSuccess || r == ncclInProgress); k++) {
        if (q->parts[k])
            r = one(x, part, q->parts[k], q->dtype, k, s);
        part += (size_t)q->parts[k] * hs_dtype_bytes(q->dtype);
    }
    const ncclResult_t end = x->lib.ncclGroupEnd();
    return r == ncclSuccess || r == ncclInProgress ? end : r;
}

static char *own_part(const hs_nccl *x, const request *q) // of equal ones
{
    return (char *)q->out + (size_t)q->parts[0] * (size_t)x->c.rank * hs_dtype_bytes(q->dtype);
}

static ncclResult_t reduce_parts_by(hs_nccl *x, const request *q, cudaStream_t s)
{
    if (!equal_parts(x, q->parts))
        return by_parts(x, q, reduce_one, s);
    return x->lib.ncclReduceScatter(q->out, own_part(x, q), (size_t)q->parts[0], types[q->dtype], ncclSum, x->comm, s);
}

static ncclResult_t gather_parts_by(hs_nccl *x, const request *q, cudaStream_t s)
{
    if (!equal_parts(x, q->parts))
        return by_parts(x, q, tell_one, s);
    return x->lib.ncclAllGather(own_part(x, q), q->out, (size_t)q->parts[0], types[q->dtype], x->comm, s);
}

typedef ncclResult_t request_fn(hs_nccl *x, const request *q, cudaStream_t s);
static request_fn *const by_kind[HS_N_CALL_KINDS] = {
    [HS_CALL_ALL_REDUCE] = all_reduce_by,     [HS_CALL_REDUCE_SCATTER] = reduce_scatter_by, [HS_CALL_ALL_GATHER] = all_gather_by,
    [HS_CALL_REDUCE_PARTS] = reduce_parts_by, [HS_CALL_GATHER_PARTS] = gather_parts_by,     [HS_CALL_BROADCAST] = broadcast_by,
};

// ---- calls

enum { PATIENCE = 10 }; // seconds more than the timeout: the watchdog knows more to say

static bool is_capturing(cudaStream_t s)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(s, &status) == cudaSuccess && status != cudaStreamCaptureStatusNone;
}

static bool keep_captured(hs_nccl *x, const hs_comm_call *call)
{
    if (x->n_captured == x->captured_room) {
        const int64_t room = x->captured_room ? 2 * x->captured_room : 64;
        hs_comm_call *more = realloc(x->captured, (size_t)room * sizeof *more);
        if (!more) {
            hs_nccl_fail(x, HS_MEMORY, "no memory for %lld captured calls over %s", (long long)room, x->c.axis);
            return false;
        }
        x->captured = more, x->captured_room = room;
    }
    x->captured[x->n_captured++] = *call;
    return true;
}

// It is told of before it is made: the library may wait for other ranks.
static void ask(hs_nccl *x, const request *q, cudaStream_t s)
{
    if (!q->n || hs_nccl_failed(x))
        return;
    const bool captured = is_capturing(s);
    hs_comm_call call = { .kind = q->kind, .dtype = q->dtype, .op = q->op, .n = q->n };
    snprintf(call.about, sizeof call.about, "%s", x->c.about ? x->c.about : "");
    if (captured && !keep_captured(x, &call))
        return;
    if (!captured)
        hs_calls_begin(x->calls, &call);
    pthread_mutex_lock(&x->api);
    const ncclResult_t r =
        x->comm ? hs_nccl_settle(x, by_kind[q->kind](x, q, s), x->timeout > 0 ? x->timeout + PATIENCE : 0) : ncclRemoteError;
    pthread_mutex_unlock(&x->api);
    if (r != ncclSuccess)
        fail_call(x, &call, r);
    else if (!captured)
        cuda_works(x, hs_calls_given(x->calls, s), "an event");
}

static void ask_on_lane(hs_comm *c, hs_lane *l, const request *q)
{
    hs_nccl *x = c->impl;
    ask(x, q, hs_gpu_lane(x->device, l)->stream);
}

static void all_reduce(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    ask_on_lane(c, l, &(request){ HS_CALL_ALL_REDUCE, buf, buf, n, NULL, d, (int32_t)op });
}

static void reduce_scatter(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    ask_on_lane(c, l, &(request){ HS_CALL_REDUCE_SCATTER, in, out, n_each, NULL, d, 0 });
}

static void all_gather(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    ask_on_lane(c, l, &(request){ HS_CALL_ALL_GATHER, in, out, n_each, NULL, d, 0 });
}

static request parts_of(const hs_comm *c, hs_call_kind kind, void *buf, const int64_t *n, hs_dtype d)
{
    request q = { kind, buf, buf, 0, n, d, 0 };
    for (int r = 0; r < c->size; r++)
        q.n += n[r];
    return q;
}

static void reduce_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    const request q = parts_of(c, HS_CALL_REDUCE_PARTS, buf, n, d);
    ask_on_lane(c, l, &q);
}

static void gather_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    const request q = parts_of(c, HS_CALL_GATHER_PARTS, buf, n, d);
    ask_on_lane(c, l, &q);
}

static void broadcast(hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root)
{
    ask_on_lane(c, l, &(request){ HS_CALL_BROADCAST, buf, buf, (int64_t)bytes, NULL, HS_U8, root });
}

// ---- started calls

// An event for one more.
static bool make_room(hs_nccl *x)
{
    if (x->n_started - x->n_finished < x->room)
        return true;
    const int64_t room = x->room ? 2 * x->room : 32;
    cudaEvent_t *more = calloc((size_t)room, sizeof *more);
    for (int64_t i = 0; more && i < room; i++) // the old ones keep their calls
        if (i < x->room)
            more[(x->n_finished + i) % room] = x->done[(x->n_finished + i) % x->room];
        else if (!cuda_works(x, cudaEventCreateWithFlags(&more[(x->n_finished + i) % room], cudaEventDisableTiming), "an event"))
            break;
    if (!more)
        hs_nccl_fail(x, HS_MEMORY, "no memory for calls to be started over %s", x->c.axis);
    if (!more || hs_nccl_failed(x)) {
        free(more); // whose events go with the process: it is about to end
        return false;
    }
    free(x->done);
    x->done = more, x->room = room;
    return true;
}

static void start(hs_comm *c, hs_lane *l, const hs_collective *what)
{
    hs_nccl *x = c->impl;
    request q = { HS_CALL_ALL_REDUCE, what->buf, what->buf, what->n, NULL, what->dtype, (int32_t)what->op };
    if (what->kind != HS_ALL_REDUCE)
        q = parts_of(c, what->kind == HS_REDUCE_PARTS ? HS_CALL_REDUCE_PARTS : HS_CALL_GATHER_PARTS, what->buf, what->parts, what->dtype);
    if (hs_nccl_failed(x) || !make_room(x) || !cuda_works(x, cudaEventRecord(x->fork, hs_gpu_lane(x->device, l)->stream), "an event") ||
        !cuda_works(x, cudaStreamWaitEvent(x->side->stream, x->fork, 0), "cudaStreamWaitEvent"))
        return;
    ask(x, &q, x->side->stream);
    cuda_works(x, cudaEventRecord(x->done[x->n_started % x->room], x->side->stream), "an event");
    x->n_started++;
}

// They are done in their order: behind the newest of those that must be done lie all of them.
static void finish_but(hs_comm *c, hs_lane *l, int64_t left)
{
    hs_nccl *x = c->impl;
    const int64_t n = x->n_started - left;
    if (n <= x->n_finished)
        return;
    cuda_works(x, cudaStreamWaitEvent(hs_gpu_lane(x->device, l)->stream, x->done[(n - 1) % x->room], 0), "cudaStreamWaitEvent");
    x->n_finished = n;
}

static void finish(hs_comm *c, hs_lane *l) { finish_but(c, l, 0); }

// ---- captures, and what is told

static int64_t captured(hs_comm *c) { return ((hs_nccl *)c->impl)->n_captured; }

static void replayed(hs_comm *c, hs_lane *l, int64_t from, int64_t to)
{
    hs_nccl *x = c->impl;
    for (int64_t i = from; i < to; i++)
        hs_calls_begin(x->calls, &x->captured[i]);
    cuda_works(x, hs_calls_given(x->calls, hs_gpu_lane(x->device, l)->stream), "an event");
}

static int calls_of(hs_comm *c, hs_comm_call *out, int most) { return hs_calls_tell(((hs_nccl *)c->impl)->calls, out, most); }

static hs_status poll_nccl(hs_comm *c)
{
    hs_nccl *x = c->impl;
    char line[sizeof x->error];
    hs_nccl_look(x);
    pthread_mutex_lock(&x->lock);
    const hs_status st = x->status;
    memcpy(line, x->error, sizeof line);
    pthread_mutex_unlock(&x->lock);
    return st == HS_OK ? HS_OK : hs_fail_at(st, __FILE__, __LINE__, "%s", line);
}

void hs_nccl_give_up(hs_nccl *x)
{
    pthread_mutex_lock(&x->api);
    if (x->comm)
        x->lib.ncclCommAbort(x->comm);
    x->comm = NULL;
    pthread_mutex_unlock(&x->api);
}

static void abort_nccl(hs_comm *c)
{
    hs_nccl *x = c->impl;
    hs_nccl_fail(x, HS_REMOTE, "rank %d of %s gave up", c->rank, c->axis);
    x->host->abort(x->host); // first: others hear who it was before NCCL tells them that somebody is gone
    hs_nccl_give_up(x);
}

void hs_nccl_fill(hs_nccl *x)
{
    const hs_comm *host = x->host;
    x->c = (hs_comm){ .rank = host->rank,
                      .size = host->size,
                      .axis = host->axis,
                      .all_reduce = all_reduce,
                      .reduce_scatter = reduce_scatter,
                      .all_gather = all_gather,
                      .reduce_parts = reduce_parts,
                      .gather_parts = gather_parts,
                      .start = start,
                      .finish = finish,
                      .finish_but = finish_but,
                      .broadcast = broadcast,
                      .poll = poll_nccl,
                      .abort = abort_nccl,
                      .calls = calls_of,
                      .captures = true,
                      .captured = captured,
                      .replayed = replayed,
                      .impl = x };
}

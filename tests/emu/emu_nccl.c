// emu_nccl: ranks meet in memory that they share, a file without a name which its maker's /proc shows to the others. Every call takes
// turns: all say what they ask for, then bytes go through the shared memory piece by piece.
#include "tests/emu/emu_nccl.h"
#include "core/base/dtype.h"
#include "core/base/status.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 8, PIECE = 64 << 10, POLLS = 2, MOST_CALLS = 64 }; // POLLS: how often a communicator is asked before it is ready

typedef enum op_kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, REDUCE, BROADCAST } op_kind;
typedef struct op {
    op_kind kind;
    const void *in;
    void *out;
    size_t n;
    ncclDataType_t type;
    int op, root;
} op;

typedef struct meeting { // what ranks share
    pthread_mutex_t lock;
    pthread_cond_t turned;
    int size, came, waiting, finalized;
    int64_t turn;
    bool broken; // nobody waits any more
    bool gave_up;
    char gpu[RANKS][96]; // process and bus
    op ask[RANKS];
    char piece[RANKS][PIECE];
} meeting;

struct ncclComm {
    meeting *m;
    int rank, size, gpu, polls;
    int kept_open; // a file, of the rank that made it; -1
    bool ready, finalizes, final;
    struct batch *next; // what is put into its stream when it is ready
    atomic_int users;   // the handle, and batches; of them `captured` in graphs
    atomic_int captured;
    atomic_bool aborted;
    _Atomic ncclResult_t failed;
};

typedef struct batch { // of one group
    ncclComm_t comm;
    cudaStream_t stream;
    op call[MOST_CALLS];
    int n;
    bool captured;
} batch;

typedef struct secret { // in a unique id
    int64_t pid;
    int file;
} secret;

static atomic_int broken_rules;
static _Thread_local int depth; // of groups
static _Thread_local batch *group[2];

static _Thread_local ncclResult_t next_init;
static _Thread_local const char *last_error = "";

int hs_emu_nccl_broken(void) { return broken_rules; }

void hs_emu_nccl_fail_init(ncclResult_t r, const char *why) { next_init = r, last_error = why; }

static ncclResult_t wrong(ncclComm_t c, const char *call, const char *rule)
{
    fprintf(stderr, "nccl: rank %d: %s: %s\n", c ? c->rank : -1, call, rule);
    broken_rules++;
    if (c)
        c->failed = ncclInvalidUsage;
    return ncclInvalidUsage;
}

// ---- meeting

static void lock(meeting *m) { pthread_mutex_lock(&m->lock); }
static void unlock(meeting *m) { pthread_mutex_unlock(&m->lock); }

// Until all are here. False: this rank gave up meanwhile, or somebody broke a rule.
static bool meet(ncclComm_t c)
{
    meeting *m = c->m;
    lock(m);
    const int64_t turn = m->turn;
    if (++m->waiting == m->size) {
        m->waiting = 0, m->turn++;
        pthread_cond_broadcast(&m->turned);
    }
    while (m->turn == turn && !m->broken && !c->aborted) { // aborted is told by another thread, which does not signal
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 2000000;
        until.tv_sec += until.tv_nsec / 1000000000, until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&m->turned, &m->lock, &until);
        if (m->gave_up && c->failed == ncclSuccess)
            c->failed = ncclRemoteError;
    }
    const bool whole = m->turn != turn;
    m->waiting -= !whole;
    unlock(m);
    return whole;
}

static bool same(const op *a, const op *b)
{
    return a->kind == b->kind && a->n == b->n && a->type == b->type && a->op == b->op && a->root == b->root;
}

// All ask for the same, or nobody gets anything.
static bool agree(ncclComm_t c, const op *mine)
{
    static const char *const names[] = { "all-reduce", "reduce-scatter", "all-gather", "reduce", "broadcast" };
    char line[160];
    meeting *m = c->m;
    m->ask[c->rank] = *mine;
    if (!meet(c))
        return false;
    for (int r = 0; r < m->size; r++)
        if (!same(&m->ask[r], mine)) {
            snprintf(line, sizeof line, "%zu elements, but rank %d is in %s of %zu", mine->n, r, names[m->ask[r].kind], m->ask[r].n);
            wrong(c, names[mine->kind], line);
            lock(m);
            m->broken = true;
            pthread_cond_broadcast(&m->turned);
            unlock(m);
            hs_emu_broke(cudaErrorLaunchFailure);
            return false;
        }
    return meet(c); // all have looked
}

// ---- bytes

static const hs_dtype dtypes[] = { [ncclInt8] = HS_I8,     [ncclUint8] = HS_U8,    [ncclInt32] = HS_I32,   [ncclInt64] = HS_I64,
                                   [ncclFloat16] = HS_F16, [ncclFloat32] = HS_F32, [ncclFloat64] = HS_F64, [ncclBfloat16] = HS_BF16 };
static size_t width(ncclDataType_t t) { return hs_dtype_bytes(dtypes[t]); }

// Elements of all ranks' pieces, in the order of ranks, in f64, rounded once.
static void combine(const meeting *m, void *out, size_t n, ncclDataType_t type, int how)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0, x;
        int64_t whole = 0;
        for (int r = 0; r < m->size; r++) {
            const char *p = m->piece[r] + i * width(type);
            if (type == ncclInt64) {
                int64_t v;
                memcpy(&v, p, sizeof v);
                whole = !r ? v : how == ncclSum ? whole + v : v > whole ? v : whole;
                continue;
            }
            hs_convert(&x, HS_F64, p, dtypes[type], 1);
            sum = !r ? x : how == ncclSum ? sum + x : x > sum ? x : sum;
        }
        if (type == ncclInt64)
            memcpy((char *)out + i * 8, &whole, sizeof whole);
        else
            hs_convert((char *)out + i * width(type), dtypes[type], &sum, HS_F64, 1);
    }
}

// to: who gets the sum; -1: all.
static bool reduce(ncclComm_t c, const char *in, char *out, const op *o, int to)
{
    const size_t each = PIECE / width(o->type);
    for (size_t i = 0; i < o->n; i += each) {
        const size_t n = o->n - i < each ? o->n - i : each;
        memcpy(c->m->piece[c->rank], in + i * width(o->type), n * width(o->type));
        if (!meet(c))
            return false;
        if (to < 0 || to == c->rank)
            combine(c->m, out + i * width(o->type), n, o->type, o->op);
        if (!meet(c))
            return false;
    }
    return true;
}

static bool tell(ncclComm_t c, const char *in, char *out, const op *o, int from)
{
    const size_t bytes = o->n * width(o->type);
    for (size_t i = 0; i < bytes; i += PIECE) {
        const size_t n = bytes - i < PIECE ? bytes - i : PIECE;
        if (c->rank == from)
            memcpy(c->m->piece[from], in + i, n);
        if (!meet(c))
            return false;
        memcpy(out + i, c->m->piece[from], n);
        if (!meet(c))
            return false;
    }
    return true;
}

static bool perform(ncclComm_t c, const op *o)
{
    const size_t part = o->n * width(o->type);
    bool going = agree(c, o);
    if (o->kind == ALL_REDUCE || o->kind == REDUCE)
        return going && reduce(c, o->in, o->out, o, o->kind == REDUCE ? o->root : -1);
    if (o->kind == BROADCAST)
        return going && tell(c, o->in, o->out, o, o->root);
    for (int r = 0; r < c->size && going; r++)
        going = o->kind == REDUCE_SCATTER ? reduce(c, (const char *)o->in + (size_t)r * part, o->out, o, r)
                                          : tell(c, o->in, (char *)o->out + (size_t)r * part, o, r);
    return going;
}

static void let_go(ncclComm_t c)
{
    if (atomic_fetch_sub(&c->users, 1) > 1)
        return;
    munmap(c->m, sizeof *c->m);
    if (c->kept_open >= 0)
        close(c->kept_open);
    free(c);
}

static void run_batch(void *p)
{
    const batch *b = p;
    for (int i = 0; i < b->n && !b->comm->aborted; i++)
        if (!perform(b->comm, &b->call[i]))
            return;
}

static void drop_batch(void *p)
{
    batch *b = p;
    if (b->captured)
        b->comm->captured--;
    let_go(b->comm);
    free(b);
}

static void put_into_stream(batch *b)
{
    cudaStreamCaptureStatus status;
    b->captured = cudaStreamIsCapturing(b->stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusActive;
    b->comm->captured += b->captured;
    hs_emu_enqueue_waiting(b->stream, run_batch, drop_batch, b);
}

// ---- calls

static bool overlap(const void *a, size_t na, const void *b, size_t nb)
{
    return (const char *)a < (const char *)b + nb && (const char *)b < (const char *)a + na;
}

// In place is where the rank's own part of the longer buffer would lie.
static bool may_lie_so(ncclComm_t c, const op *o)
{
    const size_t part = o->n * width(o->type);
    const char *in = o->in, *out = o->out;
    if (o->kind == REDUCE_SCATTER)
        return out == in + (size_t)c->rank * part || !overlap(in, (size_t)c->size * part, out, part);
    if (o->kind == ALL_GATHER)
        return in == out + (size_t)c->rank * part || !overlap(in, part, out, (size_t)c->size * part);
    return in == out || !overlap(in, part, out, part);
}

static batch *batch_of(ncclComm_t c, cudaStream_t s)
{
    for (int i = 0; i < 2; i++) {
        if (!group[i]) {
            group[i] = calloc(1, sizeof *group[i]);
            if (!group[i])
                abort();
            group[i]->comm = c, group[i]->stream = s;
            c->users++;
        }
        if (group[i]->comm == c)
            return group[i];
    }
    return NULL;
}

static ncclResult_t call(ncclComm_t c, cudaStream_t s, const op *o)
{
    if (!c || c->aborted)
        return wrong(NULL, "a call", "over a communicator that was given up, or is none");
    if (!c->ready || c->next)
        return wrong(c, "a call", "while the communicator is in progress");
    if (c->failed != ncclSuccess)
        return c->failed;
    if (!may_lie_so(c, o))
        return wrong(c, "a call", "buffers overlap, and are not in place");
    if (hs_emu_gpu_of(s) != c->gpu)
        return wrong(c, "a call", "a stream of another GPU");
    ncclGroupStart();
    batch *b = batch_of(c, s);
    if (b && b->stream == s && b->n < MOST_CALLS && o->n)
        b->call[b->n++] = *o;
    else if (!b || b->stream != s || b->n == MOST_CALLS)
        wrong(c, "a group", "calls over more streams or communicators than this double does");
    return ncclGroupEnd();
}

ncclResult_t ncclGroupStart(void)
{
    depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (!depth)
        return wrong(NULL, "ncclGroupEnd", "no group was begun");
    if (--depth)
        return ncclSuccess;
    for (int i = 0; i < 2; i++) {
        if (group[i])
            group[i]->comm->next = group[i], group[i]->comm->polls = 0;
        group[i] = NULL;
    }
    return ncclInProgress;
}

ncclResult_t ncclAllReduce(const void *in, void *out, size_t n, ncclDataType_t type, ncclRedOp_t how, ncclComm_t c, cudaStream_t s)
{
    return call(c, s, &(op){ ALL_REDUCE, in, out, n, type, (int)how, 0 });
}
ncclResult_t ncclReduceScatter(const void *in, void *out, size_t n, ncclDataType_t type, ncclRedOp_t how, ncclComm_t c, cudaStream_t s)
{
    return call(c, s, &(op){ REDUCE_SCATTER, in, out, n, type, (int)how, 0 });
}
ncclResult_t ncclAllGather(const void *in, void *out, size_t n, ncclDataType_t type, ncclComm_t c, cudaStream_t s)
{
    return call(c, s, &(op){ ALL_GATHER, in, out, n, type, 0, 0 });
}
ncclResult_t ncclReduce(const void *in, void *out, size_t n, ncclDataType_t type, ncclRedOp_t how, int root, ncclComm_t c, cudaStream_t s)
{
    return call(c, s, &(op){ REDUCE, in, out, n, type, (int)how, root });
}
ncclResult_t ncclBroadcast(const void *in, void *out, size_t n, ncclDataType_t type, int root, ncclComm_t c, cudaStream_t s)
{
    return call(c, s, &(op){ BROADCAST, in, out, n, type, 0, root });
}

// ---- communicators

ncclResult_t ncclGetVersion(int *version) { return *version = 22809, ncclSuccess; }

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    const secret s = { getpid(), memfd_create("nccl", MFD_CLOEXEC) };
    if (s.file < 0 || ftruncate(s.file, sizeof(meeting)))
        return ncclSystemError;
    meeting *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, s.file, 0);
    if (m == MAP_FAILED)
        return ncclSystemError;
    pthread_mutexattr_t a;
    pthread_condattr_t b;
    pthread_mutexattr_init(&a), pthread_condattr_init(&b);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED), pthread_condattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&m->lock, &a);
    pthread_cond_init(&m->turned, &b);
    munmap(m, sizeof *m);
    memset(id, 0, sizeof *id);
    memcpy(id->internal, &s, sizeof s);
    return ncclSuccess;
}

static meeting *join(const secret *s)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fd/%d", (long long)s->pid, s->file);
    const int file = open(path, O_RDWR | O_CLOEXEC);
    meeting *m = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    return m == MAP_FAILED ? NULL : m;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n_ranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    secret s;
    const ncclResult_t told = next_init;
    memcpy(&s, id.internal, sizeof s);
    *comm = NULL, next_init = ncclSuccess;
    if (told != ncclSuccess)
        return told;
    if (config->blocking != 0 || n_ranks > RANKS)
        return wrong(NULL, "ncclCommInitRankConfig", "this double has 8 ranks at most, and communicators that do not block");
    ncclComm_t c = calloc(1, sizeof *c);
    meeting *m = join(&s);
    if (!c || !m) {
        free(c);
        return ncclSystemError;
    }
    c->m = m, c->rank = rank, c->size = n_ranks, c->users = 1;
    c->kept_open = rank == 0 ? s.file : -1;
    char bus[32];
    cudaGetDevice(&c->gpu);
    cudaDeviceGetPCIBusId(bus, sizeof bus, c->gpu);
    lock(m);
    m->size = n_ranks;
    snprintf(m->gpu[rank], sizeof m->gpu[rank], "%s", bus);
    m->came++;
    unlock(m);
    *comm = c;
    return ncclInProgress;
}

static bool all_apart(const meeting *m)
{
    for (int r = 0; r < m->size; r++)
        for (int k = 0; k < r; k++)
            if (!strcmp(m->gpu[r], m->gpu[k]))
                return false;
    return true;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *state)
{
    lock(c->m);
    const bool all_came = c->m->came == c->size, all_final = c->m->finalized == c->size, apart = !all_came || all_apart(c->m);
    if (c->m->gave_up && c->failed == ncclSuccess)
        c->failed = ncclRemoteError;
    unlock(c->m);
    *state = ncclInProgress;
    if (!apart && !c->ready)
        wrong(c, "ncclCommInitRankConfig", "two ranks have the same GPU");
    if (c->failed != ncclSuccess) {
        *state = c->failed;
        return ncclSuccess;
    }
    if ((!c->ready && !all_came) || (c->finalizes && !all_final) || ++c->polls < POLLS)
        return ncclSuccess;
    c->ready = true, c->final = c->finalizes;
    batch *b = c->next;
    c->next = NULL;
    if (b)
        put_into_stream(b);
    *state = ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    if (!c->ready || c->next)
        return wrong(c, "ncclCommFinalize", "while the communicator is in progress");
    if (c->captured)
        return wrong(c, "ncclCommFinalize", "graphs that hold its calls are still there: it would wait for ever");
    if (c->users > 1)
        return wrong(c, "ncclCommFinalize", "calls of it are still in streams, where nobody waits for them");
    lock(c->m);
    c->m->finalized++;
    unlock(c->m);
    c->finalizes = true, c->polls = 0;
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    if (!c->final)
        return wrong(c, "ncclCommDestroy", "it was not finalized, or is in progress");
    let_go(c);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t c)
{
    c->aborted = true;
    lock(c->m);
    c->m->gave_up = true;
    pthread_cond_broadcast(&c->m->turned);
    unlock(c->m);
    if (c->next)
        drop_batch(c->next);
    c->next = NULL;
    let_go(c);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t r)
{
    static const char *const text[] = { "no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress" };
    return (unsigned)r < HS_COUNT(text) ? text[r] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t c)
{
    (void)c;
    return last_error;
}

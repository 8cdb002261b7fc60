// nccl_calls: a ring of calls in their order, some with an event behind them. A thread of its own asks the events: to ask may take as long
// as whatever else the driver does, and whoever wants to tell of calls reads the ring alone.
#include "core/base/clock.h"
#include "core/base/grow.h"
#include "core/base/threads.h"
#include "parallel/nccl_calls_impl.h"
#include <stdlib.h>
#include <time.h>

enum { FIRST_ROOM = 256, PAUSE_NS = 2000000 };

typedef struct note {
    hs_comm_call call;
    cudaEvent_t behind; // NULL: one of a later call says it too
} note;

struct hs_calls {
    int gpu;
    hs_calls_look *look;
    void *user;
    pthread_t thread;
    pthread_mutex_t lock; // of what follows
    pthread_cond_t given;
    bool idle, quits;
    note *ring; // of call i at i % room
    int64_t room, n, through;
    cudaEvent_t *spare;
    int n_spare, spare_room;
};

static note *at(const hs_calls *q, int64_t i) { return &q->ring[i % q->room]; }

// The first call on its way that has an event behind it; n: none has.
static int64_t next_known(const hs_calls *q)
{
    int64_t i = q->through;
    while (i < q->n && !at(q, i)->behind)
        i++;
    return i;
}

// Calls up to i are over. The next has been waited for from now on.
static void mark(hs_calls *q, int64_t i)
{
    const int64_t now = hs_now_ns();
    cudaEvent_t e = at(q, i)->behind;
    at(q, i)->behind = NULL;
    if (hs_grow(&q->spare, q->n_spare, &q->spare_room, sizeof *q->spare))
        q->spare[q->n_spare++] = e;
    else
        cudaEventDestroy(e);
    for (; q->through <= i; q->through++)
        at(q, q->through)->call.ended = now;
    if (q->through < q->n && at(q, q->through)->call.begun < now)
        at(q, q->through)->call.begun = now;
}

static void *listen(void *arg)
{
    hs_calls *q = arg;
    cudaSetDevice(q->gpu); // else it would wake the first one up
    pthread_mutex_lock(&q->lock);
    while (!q->quits) {
        const int64_t i = next_known(q);
        if (i == q->n) {
            q->idle = true;
            pthread_cond_wait(&q->given, &q->lock);
            q->idle = false;
            continue;
        }
        cudaEvent_t e = at(q, i)->behind;
        pthread_mutex_unlock(&q->lock);
        const cudaError_t st = cudaEventQuery(e);
        if (st != cudaSuccess) {
            cudaGetLastError(); // of this thread; what is wrong is said where somebody waits for the stream
            q->look(q->user);
            nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
        }
        pthread_mutex_lock(&q->lock);
        if (st == cudaSuccess)
            mark(q, i);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static bool make_room(hs_calls *q)
{
    note *more = malloc(2 * (size_t)q->room * sizeof *more);
    for (int64_t i = q->n > q->room ? q->n - q->room : 0; more && i < q->n; i++)
        more[i % (2 * q->room)] = *at(q, i);
    if (!more)
        return false;
    free(q->ring);
    q->ring = more, q->room *= 2;
    return true;
}

void hs_calls_begin(hs_calls *q, const hs_comm_call *call)
{
    pthread_mutex_lock(&q->lock);
    while (q->n - q->through == q->room && !make_room(q)) { // then some must be over first
        pthread_mutex_unlock(&q->lock);
        nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
        pthread_mutex_lock(&q->lock);
    }
    note *to = at(q, q->n);
    *to = (note){ .call = *call };
    to->call.number = ++q->n;
    to->call.begun = hs_now_ns(), to->call.ended = 0;
    pthread_mutex_unlock(&q->lock);
}

static cudaError_t take_event(hs_calls *q, cudaEvent_t *out)
{
    pthread_mutex_lock(&q->lock);
    *out = q->n_spare ? q->spare[--q->n_spare] : NULL;
    pthread_mutex_unlock(&q->lock);
    return *out ? cudaSuccess : cudaEventCreateWithFlags(out, cudaEventDisableTiming);
}

cudaError_t hs_calls_given(hs_calls *q, cudaStream_t s)
{
    cudaEvent_t e;
    cudaError_t st = take_event(q, &e);
    if (st != cudaSuccess)
        return st;
    st = cudaEventRecord(e, s);
    if (st != cudaSuccess) {
        cudaEventDestroy(e);
        return st;
    }
    pthread_mutex_lock(&q->lock);
    at(q, q->n - 1)->behind = e;
    if (q->idle)
        pthread_cond_signal(&q->given);
    pthread_mutex_unlock(&q->lock);
    return cudaSuccess;
}

int hs_calls_tell(hs_calls *q, hs_comm_call *out, int most)
{
    int n = 0;
    pthread_mutex_lock(&q->lock);
    const int64_t oldest = q->n > q->room ? q->n - q->room : 0;
    for (int64_t i = q->through < q->n ? q->through : q->n - 1; i >= oldest && n < most; i--)
        out[n++] = at(q, i)->call;
    pthread_mutex_unlock(&q->lock);
    return n;
}

hs_status hs_calls_open(hs_calls **out, int gpu, hs_calls_look *look, void *user)
{
    hs_calls *q = *out = calloc(1, sizeof *q);
    note *ring = malloc(FIRST_ROOM * sizeof *ring);
    if (!q || !ring) {
        free(q), free(ring);
        *out = NULL;
        return HS_FAIL(MEMORY, "no memory for the calls of a comm");
    }
    q->ring = ring, q->room = FIRST_ROOM;
    q->gpu = gpu, q->look = look, q->user = user;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->given, NULL);
    const hs_status st = hs_thread_start(&q->thread, listen, q, "the thread that hears of calls between GPUs");
    if (st != HS_OK) {
        free(q->ring);
        free(q);
        *out = NULL;
    }
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_calls_close(hs_calls *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->quits = true;
    pthread_cond_signal(&q->given);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    for (int64_t i = q->through; i < q->n; i++)
        if (at(q, i)->behind)
            cudaEventDestroy(at(q, i)->behind);
    for (int i = 0; i < q->n_spare; i++)
        cudaEventDestroy(q->spare[i]);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->given);
    free(q->spare), free(q->ring), free(q);
}

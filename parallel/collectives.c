// collectives: core's table over links, and the thread that carries started calls out.
#include "core/base/threads.h"
#include "parallel/parallel_impl.h"
#include <stdlib.h>
#include <string.h>

static void run(hs_comm *c, const hs_exchange *x)
{
    hs_exchange told = *x;
    told.about = c->about;
    hs_exchange_run(((hs_ranks_comm *)c->impl)->direct, &told);
}

static hs_exchange all_reduce_of(void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    return (hs_exchange){ .kind = HS_CALL_ALL_REDUCE, .dtype = d, .op = op, .root = -1, .n = n, .in = buf, .out = buf };
}

static hs_exchange parts_of(hs_call_kind kind, void *buf, const int64_t *n, int size, hs_dtype d)
{
    hs_exchange x = { .kind = kind, .dtype = d, .op = HS_REDUCE_SUM, .root = -1, .parts = n };
    for (int r = 0; r < size; r++)
        x.n += n[r];
    if (kind == HS_CALL_REDUCE_PARTS)
        x.in = buf;
    else
        x.out = buf;
    return x;
}

static void all_reduce(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)l;
    const hs_exchange x = all_reduce_of(buf, n, d, op);
    run(c, &x);
}

static void reduce_scatter(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    (void)l;
    run(c, &(hs_exchange){ .kind = HS_CALL_REDUCE_SCATTER, .dtype = d, .root = -1, .n = n_each, .in = in, .own = out });
}

static void all_gather(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    (void)l;
    char *own = (char *)(uintptr_t)in; // only read
    run(c, &(hs_exchange){ .kind = HS_CALL_ALL_GATHER, .dtype = d, .root = -1, .n = n_each, .own = own, .out = out });
}

static void reduce_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    (void)l;
    const hs_exchange x = parts_of(HS_CALL_REDUCE_PARTS, buf, n, c->size, d);
    run(c, &x);
}

static void gather_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    (void)l;
    const hs_exchange x = parts_of(HS_CALL_GATHER_PARTS, buf, n, c->size, d);
    run(c, &x);
}

static void broadcast(hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root)
{
    (void)l;
    const void *in = c->rank == root ? buf : NULL;
    run(c, &(hs_exchange){ .kind = HS_CALL_BROADCAST, .dtype = HS_U8, .root = root, .n = (int64_t)bytes, .in = in, .out = buf });
}

// What goes wrong between ranks ends the job, and is not passed on.
static hs_status poll_ranks(hs_comm *c)
{
    (void)c;
    return HS_OK;
}

static void abort_ranks(hs_comm *c)
{
    const hs_ranks_comm *r = c->impl;
    hs_parallel_end(r->direct->p, HS_REMOTE, "rank %d of %s gave up", c->rank, c->axis);
}

// ---- started calls

static void *carry_out(void *arg)
{
    hs_queue *q = &((hs_parallel *)arg)->queue;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        hs_task *t = q->first;
        if (!t && q->quit)
            break;
        if (!t) {
            pthread_cond_wait(&q->come, &q->lock);
            continue;
        }
        pthread_mutex_unlock(&q->lock);
        hs_exchange_run(t->comm->started, &t->call);
        pthread_mutex_lock(&q->lock);
        q->first = t->next;
        t->comm->under_way--;
        pthread_cond_broadcast(&q->done);
        t->next = q->spare, q->spare = t;
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

// One that is over, if there is one: a step's calls take no memory that those of the step before did not.
static hs_task *take_task(hs_queue *q)
{
    pthread_mutex_lock(&q->lock);
    hs_task *t = q->spare;
    q->spare = t ? t->next : NULL;
    pthread_mutex_unlock(&q->lock);
    return t ? t : malloc(sizeof *t);
}

static void start(hs_comm *c, hs_lane *l, const hs_collective *what)
{
    (void)l;
    hs_ranks_comm *r = c->impl;
    hs_parallel *p = r->direct->p;
    hs_queue *q = &p->queue;
    hs_task *t = take_task(q);
    if (!t)
        hs_parallel_end(p, HS_MEMORY, "no memory for a call to be started over %s", c->axis);
    const bool reduce = what->kind == HS_REDUCE_PARTS;
    t->comm = r, t->next = NULL;
    t->call = what->kind == HS_ALL_REDUCE
                  ? all_reduce_of(what->buf, what->n, what->dtype, what->op)
                  : parts_of(reduce ? HS_CALL_REDUCE_PARTS : HS_CALL_GATHER_PARTS, what->buf, what->parts, c->size, what->dtype);
    t->call.about = c->about;
    pthread_mutex_lock(&q->lock);
    if (q->first)
        q->last->next = t;
    else
        q->first = t;
    q->last = t;
    r->under_way++;
    pthread_cond_signal(&q->come);
    pthread_mutex_unlock(&q->lock);
}

static void finish_but(hs_comm *c, hs_lane *l, int64_t left)
{
    (void)l;
    hs_ranks_comm *r = c->impl;
    hs_queue *q = &r->direct->p->queue;
    pthread_mutex_lock(&q->lock);
    atomic_fetch_add(&q->waiting, 1);
    while (r->under_way > left)
        pthread_cond_wait(&q->done, &q->lock);
    atomic_fetch_sub(&q->waiting, 1);
    pthread_mutex_unlock(&q->lock);
}

static void finish(hs_comm *c, hs_lane *l) { finish_but(c, l, 0); }

hs_status hs_queue_open(hs_parallel *p)
{
    hs_queue *q = &p->queue;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->come, NULL);
    pthread_cond_init(&q->done, NULL);
    HS_TRY(hs_thread_start(&q->thread, carry_out, p, "the thread that moves gradients between ranks"));
    q->running = true;
    return HS_OK;
}

void hs_queue_close(hs_parallel *p)
{
    hs_queue *q = &p->queue;
    if (!q->running)
        return;
    pthread_mutex_lock(&q->lock);
    q->quit = true;
    pthread_cond_signal(&q->come);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    pthread_cond_destroy(&q->come);
    pthread_cond_destroy(&q->done);
    pthread_mutex_destroy(&q->lock);
    for (hs_task *t; (t = q->spare);) {
        q->spare = t->next;
        free(t);
    }
    q->running = false;
}

void hs_ranks_comm_init(hs_ranks_comm *c, hs_link *direct, hs_link *started)
{
    c->direct = direct, c->started = started;
    c->c = (hs_comm){ .rank = direct->rank,
                      .size = direct->size,
                      .axis = direct->axis,
                      .all_reduce = all_reduce,
                      .reduce_scatter = reduce_scatter,
                      .all_gather = all_gather,
                      .reduce_parts = reduce_parts,
                      .gather_parts = gather_parts,
                      .start = started ? start : NULL,
                      .finish = started ? finish : NULL,
                      .finish_but = started ? finish_but : NULL,
                      .broadcast = broadcast,
                      .poll = poll_ranks,
                      .abort = abort_ranks,
                      .impl = c };
}

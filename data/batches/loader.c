// loader: one thread fills a ring of micro-batches ahead of the trainer. What it fills is a function of the sample's index alone, so the
// thread can be late but never wrong.
#include "data/batches/loader.h"
#include "core/base/clock.h"
#include "core/base/threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hs_loader {
    hs_loader_opts o;
    hs_source *source;
    hs_batch *slot; // [depth]
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t filled, freed;
    int64_t n_filled, n_taken, n_released; // micro-batches so far; n_released <= n_taken <= n_filled <= n_released + depth
    bool stop;
    hs_status failed; // nothing is filled any more, and why
    char why[1024];
    double waited; // seconds; the consumer's
};

// Samples of a micro-batch that this rank takes.
static int64_t share(const hs_source *s, const hs_loader_opts *o)
{
    return s->interleaved ? (o->batch - o->rank + o->size - 1) / o->size : o->batch / o->size;
}

static hs_status fill(const hs_loader *l, int64_t micro_batch, hs_batch *b)
{
    const hs_loader_opts *o = &l->o;
    hs_source *s = l->source;
    const int64_t n = share(s, o), from = s->interleaved ? o->rank : o->rank * n, step = s->interleaved ? o->size : 1;
    const uint64_t first = o->first_sample + (uint64_t)(micro_batch * o->batch);
    HS_TRY(hs_batch_arrive(b));
    hs_batch_clear(b, first);
    if (s->begin)
        HS_TRY(s->begin(s));
    for (int64_t i = 0; i < n; i++) {
        const uint64_t sample = first + (uint64_t)(from + i * step);
        b->slot = (int64_t)(sample % (uint64_t)(o->batch * o->n_micro));
        HS_TRY(s->fill(s, b, sample));
    }
    hs_batch_pad(b);
    return HS_OK;
}

static void *work(void *arg)
{
    hs_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && (l->failed != HS_OK || l->n_filled == l->n_released + l->o.depth))
            pthread_cond_wait(&l->freed, &l->lock);
        if (l->stop)
            break;
        const int64_t next = l->n_filled;
        pthread_mutex_unlock(&l->lock);
        const hs_status st = fill(l, next, &l->slot[next % l->o.depth]); // nobody else looks at this slot before n_filled says so
        pthread_mutex_lock(&l->lock);
        if (st == HS_OK)
            l->n_filled++;
        else
            l->failed = st, snprintf(l->why, sizeof l->why, "%s", hs_error()); // errors are a thread's own
        pthread_cond_signal(&l->filled);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static hs_status check(const hs_source *s, const hs_loader_opts *o)
{
    const long long batch = o->batch;
    const int64_t slots = s->most[HS_COUNT_SEQS] ? s->most[HS_COUNT_SEQS] : 1; // of a sample: each of its sequences has one
    if (o->batch < 1 || o->n_micro < 1 || o->batch > INT32_MAX / o->n_micro || slots > INT32_MAX / (o->batch * o->n_micro))
        return HS_FAIL(USAGE, "batch of %lld %s times %d micro-batches; each at least 1, together below 2^31%s", batch, s->unit, o->n_micro,
                       slots > 1 ? ", counted in the sequences they may hold" : "");
    if (o->size < 1 || o->rank < 0 || o->rank >= o->size || (s->interleaved && o->batch < o->size))
        return HS_FAIL(USAGE, "batch of %lld %s for rank %d of %d; each rank needs a row", batch, s->unit, o->rank, o->size);
    if (!s->interleaved && o->batch % o->size != 0)
        return HS_FAIL(USAGE, "batch of %lld %s does not divide over rank %d of %d", batch, s->unit, o->rank, o->size);
    for (int c = 1; c < HS_N_COUNTERS; c++)
        if (s->most[c] > INT32_MAX / 4 / share(s, o))
            return HS_FAIL(USAGE, "batch of %lld %s of %lld %s has more %s than an int32 counts", batch, s->unit, (long long)s->most[c],
                           hs_counter_name(c), hs_counter_name(c));
    if (o->depth < o->n_micro + 1)
        return HS_FAIL(USAGE, "a ring of %d micro-batches, at least %d (a step's and one ahead)", o->depth, o->n_micro + 1);
    return HS_OK;
}

static hs_status alloc_slots(hs_loader *l)
{
    l->slot = calloc((size_t)l->o.depth, sizeof *l->slot);
    if (!l->slot)
        return HS_FAIL(MEMORY, "no memory for a ring of %d batches", l->o.depth);
    for (int i = 0; i < l->o.depth; i++)
        HS_TRY(hs_source_batch_in(l->source, share(l->source, &l->o), &l->o.memory, &l->slot[i]));
    return HS_OK;
}

static hs_status start(hs_loader *l)
{
    HS_TRY(hs_thread_start(&l->thread, work, l, "the loader's thread"));
    l->started = true;
    return HS_OK;
}

hs_status hs_loader_new(hs_loader **out, hs_source *source, const hs_loader_opts *o)
{
    *out = NULL;
    hs_loader *l = calloc(1, sizeof *l);
    if (!l) {
        hs_source_free(source);
        return HS_FAIL(MEMORY, "no memory for a loader");
    }
    l->o = *o;
    l->source = source;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->freed, NULL);
    hs_status st;
    HS_TRY_GOTO(st, check(source, o), failed);
    HS_TRY_GOTO(st, alloc_slots(l), failed);
    HS_TRY_GOTO(st, start(l), failed);
    *out = l;
    return HS_OK;
failed:
    hs_loader_free(l);
    return st;
}

void hs_loader_free(hs_loader *l)
{
    if (!l)
        return;
    if (l->started) {
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        pthread_cond_signal(&l->freed);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    for (int i = 0; l->slot && i < l->o.depth; i++)
        hs_batch_free(&l->slot[i]);
    free(l->slot);
    hs_source_free(l->source);
    pthread_cond_destroy(&l->freed);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    free(l);
}


hs_status hs_loader_next(hs_loader *l, const hs_batch **out)
{
    *out = NULL;
    pthread_mutex_lock(&l->lock);
    if (l->n_taken == l->n_released + l->o.depth) { // the thread could never fill another one
        pthread_mutex_unlock(&l->lock);
        return HS_FAIL(INTERNAL, "all %d batches of the loader are held; release one first", l->o.depth);
    }
    if (l->n_taken == l->n_filled) {
        const double from = hs_now();
        while (l->n_taken == l->n_filled && l->failed == HS_OK)
            pthread_cond_wait(&l->filled, &l->lock);
        l->waited += hs_now() - from;
    }
    if (l->n_taken == l->n_filled) {
        pthread_mutex_unlock(&l->lock);
        return hs_fail_at(l->failed, __FILE__, __LINE__, "%s", l->why);
    }
    *out = &l->slot[l->n_taken++ % l->o.depth];
    pthread_mutex_unlock(&l->lock);
    return HS_OK;
}

void hs_loader_release(hs_loader *l)
{
    pthread_mutex_lock(&l->lock);
    if (l->n_released < l->n_taken) {
        l->n_released++;
        pthread_cond_signal(&l->freed);
    }
    pthread_mutex_unlock(&l->lock);
}

double hs_loader_wait_seconds(const hs_loader *l) { return l->waited; }

// loader: one thread fills a ring of micro-batches ahead of the trainer. What it fills is a function of the sample's index alone, so the
// thread can be late but never wrong.
#include "data/loader.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- batches

hs_status hs_batch_alloc(hs_batch *b, int64_t max_seqs, int64_t window)
{
    *b = (hs_batch){ 0 };
    const int64_t n = max_seqs * window;
    int32_t *p = calloc((size_t)(4 * n + max_seqs + 1), sizeof *p); // one block; ids first, so that freeing ids frees all
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a batch of %lld windows of %lld tokens", (long long)max_seqs, (long long)window);
    b->ids = p, b->targets = p + n, b->where = p + 2 * n, b->starts = p + 4 * n;
    return HS_OK;
}

void hs_batch_free(hs_batch *b)
{
    free(b->ids);
    *b = (hs_batch){ 0 };
}

// Window `start` of n predicted tokens (tokens start to start + n of the range) behind what b holds.
static void append_window(hs_batch *b, const hs_token_range *r, int64_t start, int64_t n, int32_t slot)
{
    const int64_t at = b->n_tokens;
    hs_token_store_read(r->store, r->first + start, n, b->ids + at);
    hs_token_store_read(r->store, r->first + start + 1, n, b->targets + at);
    for (int64_t i = 0; i < n; i++) {
        b->where[2 * (at + i)] = slot;
        b->where[2 * (at + i) + 1] = (int32_t)i;
    }
    b->starts[b->n_seqs] = (int32_t)at;
    b->starts[++b->n_seqs] = (int32_t)(at + n);
    b->n_tokens += n;
    b->n_targets += n;
}

// Capacity beyond the live part holds harmless values: back-ends may run over it.
static void fill_tail(hs_batch *b, int64_t max_seqs, int64_t window)
{
    for (int64_t i = b->n_tokens; i < max_seqs * window; i++) {
        b->ids[i] = 0;
        b->targets[i] = HS_TARGET_IGNORE;
        b->where[2 * i] = b->where[2 * i + 1] = 0;
    }
    for (int64_t s = b->n_seqs; s < max_seqs; s++)
        b->starts[s + 1] = (int32_t)b->n_tokens;
}

static void clear(hs_batch *b, uint64_t first_sample)
{
    b->n_seqs = b->n_tokens = b->n_targets = 0;
    b->first_sample = first_sample;
    b->starts[0] = 0;
}

int64_t hs_eval_fill(const hs_token_range *r, int64_t window, int64_t max_windows, int64_t *next_window, hs_batch *b)
{
    const int64_t n_predicted = r->end - r->first - 1;
    clear(b, (uint64_t)*next_window);
    for (; b->n_seqs < max_windows && *next_window * window < n_predicted; ++*next_window) {
        const int64_t start = *next_window * window, left = n_predicted - start;
        append_window(b, r, start, left < window ? left : window, (int32_t)b->n_seqs);
    }
    fill_tail(b, max_windows, window);
    return b->n_seqs;
}

// ---- the ring

struct hs_loader {
    hs_loader_opts o;
    hs_sampler sampler;
    hs_batch *slot; // [depth]
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t filled, freed;
    int64_t n_filled, n_taken, n_released; // micro-batches so far; n_released <= n_taken <= n_filled <= n_released + depth
    bool stop;
    double waited; // seconds; the consumer's
};

static void fill(const hs_loader *l, int64_t micro_batch, hs_batch *b)
{
    const hs_loader_opts *o = &l->o;
    const int64_t share = o->batch / o->size;
    const uint64_t first = o->first_sample + (uint64_t)(micro_batch * o->batch), global = (uint64_t)(o->batch * o->n_micro);
    clear(b, first);
    for (int64_t i = 0; i < share; i++) {
        const uint64_t sample = first + (uint64_t)(o->rank * share + i);
        append_window(b, &o->range, hs_sampler_start(&l->sampler, sample), o->window, (int32_t)(sample % global));
    }
}

static void *work(void *arg)
{
    hs_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && l->n_filled == l->n_released + l->o.depth)
            pthread_cond_wait(&l->freed, &l->lock);
        if (l->stop)
            break;
        const int64_t next = l->n_filled;
        pthread_mutex_unlock(&l->lock);
        fill(l, next, &l->slot[next % l->o.depth]); // nobody else looks at this slot before n_filled says so
        pthread_mutex_lock(&l->lock);
        l->n_filled++;
        pthread_cond_signal(&l->filled);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static hs_status check(const hs_loader_opts *o)
{
    const hs_token_store_info info = hs_token_store_info_of(o->range.store);
    if (o->range.first < 0 || o->range.end > info.n_tokens || o->range.first > o->range.end)
        return HS_FAIL(USAGE, "tokens %lld to %lld of a store of %lld", (long long)o->range.first, (long long)o->range.end,
                       (long long)info.n_tokens);
    if (o->batch < 1 || o->n_micro < 1 || o->batch > INT32_MAX / o->n_micro)
        return HS_FAIL(USAGE, "batch of %lld windows times %d micro-batches; each at least 1, together below 2^31", (long long)o->batch,
                       o->n_micro);
    if (o->size < 1 || o->rank < 0 || o->rank >= o->size || o->batch % o->size != 0)
        return HS_FAIL(USAGE, "batch of %lld windows does not divide over rank %d of %d", (long long)o->batch, o->rank, o->size);
    if (o->window > INT32_MAX / 4 / (o->batch / o->size))
        return HS_FAIL(USAGE, "batch of %lld windows of %lld tokens has more tokens than an int32 counts", (long long)o->batch,
                       (long long)o->window);
    if (o->depth < o->n_micro + 1)
        return HS_FAIL(USAGE, "a ring of %d micro-batches, at least %d (a step's and one ahead)", o->depth, o->n_micro + 1);
    return HS_OK;
}

// Signals are for the main thread: the new one inherits a mask that blocks them all.
static hs_status start(hs_loader *l)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int why = pthread_create(&l->thread, NULL, work, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->started = why == 0;
    return why == 0 ? HS_OK : HS_FAIL(SYSTEM, "cannot start the loader's thread: %s", strerror(why));
}

static hs_status alloc_slots(hs_loader *l)
{
    l->slot = calloc((size_t)l->o.depth, sizeof *l->slot);
    if (!l->slot)
        return HS_FAIL(MEMORY, "no memory for a ring of %d batches", l->o.depth);
    for (int i = 0; i < l->o.depth; i++)
        HS_TRY(hs_batch_alloc(&l->slot[i], l->o.batch / l->o.size, l->o.window));
    return HS_OK;
}

hs_status hs_loader_new(hs_loader **out, const hs_loader_opts *o)
{
    *out = NULL;
    hs_sampler sampler;
    HS_TRY(hs_sampler_init(&sampler, o->range.end - o->range.first, o->window, o->seed));
    HS_TRY(check(o));
    hs_loader *l = calloc(1, sizeof *l);
    if (!l)
        return HS_FAIL(MEMORY, "no memory for a loader");
    l->o = *o, l->sampler = sampler;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->freed, NULL);
    hs_status st;
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
    pthread_cond_destroy(&l->freed);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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
        const double from = now();
        while (l->n_taken == l->n_filled)
            pthread_cond_wait(&l->filled, &l->lock);
        l->waited += now() - from;
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

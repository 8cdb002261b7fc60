// loader: one thread fills a ring of micro-batches ahead of the trainer. What it fills is a function of the sample's index alone, so the
// thread can be late but never wrong.
#include "data/batches/loader.h"
#include "core/base/rng.h"
#include "data/batches/packing.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- batches

hs_status hs_batch_alloc(hs_batch *b, int64_t max_seqs, int64_t window) { return hs_batch_alloc_tokens(b, max_seqs, max_seqs * window); }

hs_status hs_batch_alloc_tokens(hs_batch *b, int64_t max_seqs, int64_t max_tokens)
{
    *b = (hs_batch){ 0 };
    const int64_t n = max_tokens;
    int32_t *p = calloc((size_t)(4 * n + max_seqs + 1), sizeof *p); // one block; ids first, so that freeing ids frees all
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a batch of %lld sequences, %lld tokens", (long long)max_seqs, (long long)max_tokens);
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
static void fill_tail(hs_batch *b, int64_t max_seqs, int64_t max_tokens)
{
    for (int64_t i = b->n_tokens; i < max_tokens; i++) {
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
    fill_tail(b, max_windows, max_windows * window);
    return b->n_seqs;
}

// ---- the ring

typedef struct source {
    hs_token_range range;
    hs_sampler sampler;
    hs_packer *packer;
    int64_t vocab, written; // ids below; when the file was last seen to be written
} source;

struct hs_loader {
    hs_loader_opts o;
    hs_mixture mixture; // of two sources or more
    source *source;     // [o.n_sources]
    hs_batch *slot;     // [depth]
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t filled, freed;
    int64_t n_filled, n_taken, n_released; // micro-batches so far; n_released <= n_taken <= n_filled <= n_released + depth
    bool stop;
    hs_status failed; // nothing is filled any more, and why
    char why[512];
    double waited; // seconds; the consumer's
};

// Any id outside: looked for in what was just written, while it is in the cache.
static hs_status check_ids(const source *s, const int32_t *ids, int64_t n, int64_t first)
{
    const uint32_t vocab = (uint32_t)s->vocab;
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        bad |= (uint32_t)ids[i] >= vocab;
    for (int64_t i = 0; bad && i < n; i++)
        if ((uint32_t)ids[i] >= vocab)
            return HS_FAIL(CORRUPT, "%s: id %d at token %lld is outside the vocabulary of %u", hs_token_store_path(s->range.store), ids[i],
                           (long long)(first + i), vocab);
    return HS_OK;
}

static hs_status add_window(const source *s, int64_t start, int64_t n, int64_t slot, hs_batch *b)
{
    const int64_t at = b->n_tokens;
    append_window(b, &s->range, start, n, (int32_t)slot);
    HS_TRY(check_ids(s, b->ids + at, n, s->range.first + start));
    return check_ids(s, b->targets + at + n - 1, 1, s->range.first + start + n); // the other targets are ids
}

static hs_status add_sample(const hs_loader *l, uint64_t sample, hs_batch *b)
{
    const hs_loader_opts *o = &l->o;
    const uint64_t slot = sample % (uint64_t)(o->batch * o->n_micro);
    const hs_piece *piece;
    uint64_t own = sample;
    int64_t n, at = 0;
    const source *s = &l->source[o->n_sources > 1 ? hs_mixture_at(&l->mixture, sample, &own) : 0];
    if (!s->packer)
        return add_window(s, hs_sampler_start(&s->sampler, own), o->window, (int64_t)slot, b);
    HS_TRY(hs_packer_row(s->packer, own, &piece, &n));
    for (int64_t i = 0; i < n; at += piece[i++].n) // a slot for each document: else two would share their dropout
        HS_TRY(add_window(s, piece[i].first - s->range.first, piece[i].n, (int64_t)slot * o->window + at, b));
    return HS_OK;
}

static hs_status fill(const hs_loader *l, int64_t micro_batch, hs_batch *b)
{
    const hs_loader_opts *o = &l->o;
    const int64_t share = o->batch / o->size;
    const uint64_t first = o->first_sample + (uint64_t)(micro_batch * o->batch);
    clear(b, first);
    for (int i = 0; i < o->n_sources; i++)
        HS_TRY(hs_token_store_unchanged(l->source[i].range.store, &l->source[i].written));
    for (int64_t i = 0; i < share; i++)
        HS_TRY(add_sample(l, first + (uint64_t)(o->rank * share + i), b));
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

static hs_status check_range(const hs_token_range *r)
{
    const hs_token_store_info info = hs_token_store_info_of(r->store);
    if (r->first < 0 || r->end > info.n_tokens || r->first > r->end)
        return HS_FAIL(USAGE, "tokens %lld to %lld of a store of %lld", (long long)r->first, (long long)r->end, (long long)info.n_tokens);
    return HS_OK;
}

static hs_status check(const hs_loader_opts *o)
{
    const int64_t slots = o->packing ? o->window : 1; // of a row: one for each token a document may begin at
    if (o->batch < 1 || o->n_micro < 1 || o->batch > INT32_MAX / o->n_micro || slots > INT32_MAX / (o->batch * o->n_micro))
        return HS_FAIL(USAGE, "batch of %lld windows times %d micro-batches; each at least 1, together below 2^31%s", (long long)o->batch,
                       o->n_micro, o->packing ? ", counted in tokens where they are packed" : "");
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

int64_t hs_loader_max_seqs(hs_packing packing, int64_t windows, int64_t window) { return packing ? windows * window : windows; }

static hs_status alloc_slots(hs_loader *l)
{
    const hs_loader_opts *o = &l->o;
    const int64_t share = o->batch / o->size;
    l->slot = calloc((size_t)o->depth, sizeof *l->slot);
    if (!l->slot)
        return HS_FAIL(MEMORY, "no memory for a ring of %d batches", o->depth);
    for (int i = 0; i < o->depth; i++)
        HS_TRY(hs_batch_alloc_tokens(&l->slot[i], hs_loader_max_seqs(o->packing, share, o->window), share * o->window));
    return HS_OK;
}

static hs_status open_source(source *s, const hs_loader_opts *o, const hs_token_range *range, uint64_t seed)
{
    const int64_t own = hs_token_store_info_of(range->store).vocab;
    HS_TRY(check_range(range));
    s->range = *range;
    s->vocab = o->vocab && o->vocab < own ? o->vocab : own;
    if (o->packing)
        return hs_packer_new(&s->packer, range, o->window, seed);
    return hs_sampler_init(&s->sampler, range->end - range->first, o->window, seed);
}

static hs_status open_sources(hs_loader *l, const hs_loader_source *given)
{
    const hs_loader_opts *o = &l->o;
    double weight[HS_MIX_SOURCES];
    l->source = calloc((size_t)o->n_sources, sizeof *l->source);
    if (!l->source)
        return HS_FAIL(MEMORY, "no memory for %d sources", o->n_sources);
    for (int i = 0; i < o->n_sources && i < HS_MIX_SOURCES; i++)
        weight[i] = given[i].weight;
    if (o->n_sources > 1) // the same text twice is shuffled in two ways
        HS_TRY(hs_mixture_init(&l->mixture, weight, o->n_sources));
    for (int i = 0; i < o->n_sources; i++)
        HS_TRY(open_source(&l->source[i], o, &given[i].range, o->n_sources > 1 ? hs_mix2(o->seed, (uint64_t)i) : o->seed));
    return HS_OK;
}

hs_status hs_loader_new(hs_loader **out, const hs_loader_opts *o)
{
    *out = NULL;
    const hs_loader_source one = { o->range, 1 };
    HS_TRY(check(o));
    hs_loader *l = calloc(1, sizeof *l);
    if (!l)
        return HS_FAIL(MEMORY, "no memory for a loader");
    l->o = *o;
    l->o.n_sources = o->n_sources ? o->n_sources : 1, l->o.sources = NULL;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->freed, NULL);
    hs_status st;
    HS_TRY_GOTO(st, open_sources(l, o->n_sources ? o->sources : &one), failed);
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
    for (int i = 0; l->source && i < l->o.n_sources; i++)
        hs_packer_free(l->source[i].packer);
    free(l->source);
    hs_mixture_free(&l->mixture);
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
        while (l->n_taken == l->n_filled && l->failed == HS_OK)
            pthread_cond_wait(&l->filled, &l->lock);
        l->waited += now() - from;
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

// shard_set: one thread opens shards, reads blocks of rows and fills a ring of batches ahead of its user.
#include "data/batches/shard_set.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_LANES = 4, DEFAULT_DEPTH = 4 };

typedef struct shard {
    char *path;
    hs_h5_info info;
    hs_h5_file *open; // NULL: not now
    uint64_t used;    // when last
} shard;

typedef struct block {
    int file; // -1: empty
    int64_t first;
    hs_bert_rows rows;
    uint64_t used;
} block;

struct hs_shard_set {
    hs_shard_set_opts o;
    shard *shard; // [n]
    hs_shard_order order;
    // Of the thread: a block for every lane and one for a lane that passes from one to the next; as many open files.
    block *block; // [n_blocks]
    int n_blocks, n_open;
    uint64_t clock;
    hs_shard_batch *slot; // [depth]
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t filled, freed;
    int64_t n_filled, n_taken, n_released; // as in loader.c
    bool stop;
    hs_status failed; // of the batch behind n_filled
    char error[1024];
    double waited;
};

// ---- files and blocks

static void close_oldest(hs_shard_set *s)
{
    shard *oldest = NULL;
    for (int i = 0; i < s->o.n; i++)
        if (s->shard[i].open && (!oldest || s->shard[i].used < oldest->used))
            oldest = &s->shard[i];
    hs_h5_close(oldest->open);
    oldest->open = NULL;
    s->n_open--;
}

static hs_status open_shard(hs_shard_set *s, int i)
{
    shard *f = &s->shard[i];
    f->used = ++s->clock;
    if (f->open)
        return HS_OK;
    if (s->n_open == s->n_blocks)
        close_oldest(s);
    HS_TRY(hs_h5_open(&f->open, f->path, s->o.vocab));
    s->n_open++;
    const hs_h5_info now = hs_h5_info_of(f->open);
    if (now.rows != f->info.rows || now.layout != f->info.layout || now.length != f->info.length || now.predictions != f->info.predictions)
        return HS_FAIL(CORRUPT, "%s changed while it was read: %lld rows of %lld tokens, at the start %lld of %lld", f->path,
                       (long long)now.rows, (long long)now.length, (long long)f->info.rows, (long long)f->info.length);
    return HS_OK;
}

static hs_status block_with(hs_shard_set *s, int file, int64_t row, const block **out)
{
    const int64_t size = s->order.block[file], first = row / size * size, rows = s->order.rows[file];
    block *b = &s->block[0];
    for (int i = 0; i < s->n_blocks; i++) {
        block *c = &s->block[i];
        if (c->file == file && c->first == first) {
            c->used = ++s->clock;
            *out = c;
            return HS_OK;
        }
        if (c->used < b->used)
            b = c;
    }
    hs_bert_rows_free(&b->rows);
    b->file = -1;
    HS_TRY(open_shard(s, file));
    HS_TRY(hs_h5_read(s->shard[file].open, first, first + size < rows ? size : rows - first, &b->rows));
    b->file = file, b->first = first, b->used = ++s->clock;
    *out = b;
    return HS_OK;
}

static hs_status fill(hs_shard_set *s, int64_t batch, hs_shard_batch *out)
{
    out->first_sample = s->o.first_sample + (uint64_t)(batch * s->o.batch);
    for (int64_t k = 0; k < out->rows.n; k++) {
        int file;
        int64_t row;
        const block *b = NULL;
        hs_shard_order_at(&s->order, out->first_sample + (uint64_t)(s->o.rank + k * s->o.size), &file, &row);
        HS_TRY(block_with(s, file, row, &b));
        if (hs_bert_rows_copy(&out->rows, k, &b->rows, row - b->first) != HS_OK) {
            char why[256];
            snprintf(why, sizeof why, "%s", hs_error());
            return HS_FAIL(USAGE, "%s: input_ids: row %lld: %s", s->shard[file].path, (long long)row, why);
        }
    }
    return HS_OK;
}

// ---- the ring

static void *work(void *arg)
{
    hs_shard_set *s = arg;
    pthread_mutex_lock(&s->lock);
    while (s->failed == HS_OK) {
        while (!s->stop && s->n_filled == s->n_released + s->o.depth)
            pthread_cond_wait(&s->freed, &s->lock);
        if (s->stop)
            break;
        const int64_t next = s->n_filled;
        pthread_mutex_unlock(&s->lock);
        const hs_status st = fill(s, next, &s->slot[next % s->o.depth]); // nobody else looks at this slot before n_filled says so
        pthread_mutex_lock(&s->lock);
        if (st == HS_OK) {
            s->n_filled++;
        } else {
            snprintf(s->error, sizeof s->error, "%s", hs_error());
            s->failed = st;
        }
        pthread_cond_signal(&s->filled);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

// Signals are for the main thread: the new one inherits a mask that blocks them all.
static hs_status start(hs_shard_set *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int why = pthread_create(&s->thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->started = why == 0;
    return why == 0 ? HS_OK : HS_FAIL(SYSTEM, "cannot start the thread that reads shards: %s", strerror(why));
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

hs_status hs_shard_set_next(hs_shard_set *s, const hs_shard_batch **out)
{
    *out = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->n_taken == s->n_released + s->o.depth) { // the thread could never fill another one
        pthread_mutex_unlock(&s->lock);
        return HS_FAIL(INTERNAL, "all %lld batches of the shards are held; release one first", (long long)s->o.depth);
    }
    if (s->n_taken == s->n_filled && s->failed == HS_OK) {
        const double from = seconds();
        while (s->n_taken == s->n_filled && s->failed == HS_OK)
            pthread_cond_wait(&s->filled, &s->lock);
        s->waited += seconds() - from;
    }
    hs_status st = HS_OK;
    if (s->n_taken < s->n_filled)
        *out = &s->slot[s->n_taken++ % s->o.depth];
    else
        st = hs_fail_at(s->failed, __FILE__, __LINE__, "%s", s->error);
    pthread_mutex_unlock(&s->lock);
    return st;
}

void hs_shard_set_release(hs_shard_set *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->n_released < s->n_taken)
        s->n_released++;
    pthread_cond_signal(&s->freed);
    pthread_mutex_unlock(&s->lock);
}

double hs_shard_set_wait_seconds(const hs_shard_set *s) { return s->waited; }
int64_t hs_shard_set_rows(const hs_shard_set *s) { return s->order.total; }

// ---- life

static hs_status check_opts(const hs_shard_set_opts *o)
{
    if (o->n < 1 || o->batch < 1 || o->size < 1 || o->rank < 0 || o->rank >= o->size || o->batch < o->size || o->depth < 0 || o->lanes < 0)
        return HS_FAIL(USAGE, "%d shards, batches of %lld rows for rank %d of %d; each rank needs a row", o->n, (long long)o->batch,
                       o->rank, o->size);
    return HS_OK;
}

// Every file is looked at before the first row is used: a run should not end at its 200th shard for what was to be seen at the start.
static hs_status look_at(hs_shard_set *s, int i, const char *path)
{
    shard *f = &s->shard[i];
    hs_h5_file *h;
    if (!(f->path = strdup(path)))
        return HS_FAIL(MEMORY, "%s: no memory for its name", path);
    HS_TRY(hs_h5_open(&h, f->path, s->o.vocab));
    f->info = hs_h5_info_of(h);
    hs_h5_close(h);
    const shard *first = &s->shard[0];
    if (f->info.layout != first->info.layout || f->info.length != first->info.length || f->info.predictions != first->info.predictions)
        return HS_FAIL(CORRUPT, "%s: input_ids: %s rows of %lld tokens with %lld predictions, but %s has %s rows of %lld with %lld",
                       f->path, hs_h5_layout_names[f->info.layout], (long long)f->info.length, (long long)f->info.predictions, first->path,
                       hs_h5_layout_names[first->info.layout], (long long)first->info.length, (long long)first->info.predictions);
    return HS_OK;
}

static hs_status make_order(hs_shard_set *s)
{
    int64_t *rows = malloc(2 * (size_t)s->o.n * sizeof *rows);
    if (!rows)
        return HS_FAIL(MEMORY, "no memory for %d shards", s->o.n);
    for (int i = 0; i < s->o.n; i++)
        rows[i] = s->shard[i].info.rows, rows[s->o.n + i] = s->shard[i].info.block;
    const hs_status st = hs_shard_order_init(&s->order, rows, rows + s->o.n, s->o.n, s->o.lanes, s->o.seed);
    free(rows);
    return st;
}

static hs_status make_slots(hs_shard_set *s)
{
    const hs_h5_info *info = &s->shard[0].info;
    hs_shard_set_opts *o = &s->o;
    o->length = o->length ? o->length : info->length;
    o->predictions = o->predictions ? o->predictions : info->predictions;
    o->parts = o->parts ? o->parts : 1;
    if (o->length < 1 || o->predictions < 1 || o->parts < 1)
        return HS_FAIL(USAGE, "%s: rows of any length (%s); the room of a row must be given", s->shard[0].path,
                       hs_h5_layout_names[info->layout]);
    s->n_blocks = (int)o->lanes + 1;
    s->block = calloc((size_t)s->n_blocks, sizeof *s->block);
    s->slot = calloc((size_t)o->depth, sizeof *s->slot);
    if (!s->block || !s->slot)
        return HS_FAIL(MEMORY, "no memory for a ring of %d batches", o->depth);
    for (int i = 0; i < s->n_blocks; i++)
        s->block[i].file = -1;
    for (int i = 0; i < o->depth; i++)
        HS_TRY(hs_bert_rows_alloc(&s->slot[i].rows, (o->batch - o->rank + o->size - 1) / o->size, o->length, o->predictions, o->parts));
    return HS_OK;
}

hs_status hs_shard_set_new(hs_shard_set **out, const hs_shard_set_opts *o)
{
    *out = NULL;
    HS_TRY(check_opts(o));
    hs_shard_set *s = calloc(1, sizeof *s);
    if (!s || !(s->shard = calloc((size_t)o->n, sizeof *s->shard))) {
        free(s);
        return HS_FAIL(MEMORY, "no memory for %d shards", o->n);
    }
    s->o = *o, s->o.path = NULL; // borrowed only while this runs
    s->o.lanes = o->lanes ? o->lanes : DEFAULT_LANES, s->o.depth = o->depth ? o->depth : DEFAULT_DEPTH;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->filled, NULL);
    pthread_cond_init(&s->freed, NULL);
    hs_status st;
    for (int i = 0; i < o->n; i++)
        HS_TRY_GOTO(st, look_at(s, i, o->path[i]), failed);
    HS_TRY_GOTO(st, make_order(s), failed);
    HS_TRY_GOTO(st, make_slots(s), failed);
    HS_TRY_GOTO(st, start(s), failed);
    *out = s;
    return HS_OK;
failed:
    hs_shard_set_free(s);
    return st;
}

void hs_shard_set_free(hs_shard_set *s)
{
    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->freed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (int i = 0; i < s->o.n; i++) {
        hs_h5_close(s->shard[i].open);
        free(s->shard[i].path);
    }
    for (int i = 0; s->block && i < s->n_blocks; i++)
        hs_bert_rows_free(&s->block[i].rows);
    for (int i = 0; s->slot && i < s->o.depth; i++)
        hs_bert_rows_free(&s->slot[i].rows);
    hs_shard_order_free(&s->order);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->filled);
    pthread_cond_destroy(&s->freed);
    free(s->block);
    free(s->slot);
    free(s->shard);
    free(s);
}

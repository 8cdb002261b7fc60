// batcher: a queue by priority, a thread that fills batches from its front, and who is told what.
#include "infer/server/batcher.h"
#include "core/base/clock.h"
#include "core/base/relax.h"
#include "core/base/threads.h"
#include "infer/server/cores.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct placed { // a row of the batch under way
    hs_work *work;
    int row, index;
} placed;

enum { LINGER_NS = 200000 };

typedef struct instance {
    hs_batcher *b;
    const hs_batcher_instance *o;
    pthread_t thread;
    bool runs;
    bool part;   // of those that work in place of the others
    placed *row; // [most rows] of its batch
    int n;
    int64_t filling; // hs_now_ns: since when it fills it
} instance;

struct hs_batcher {
    hs_batcher_opts o;
    instance instance[HS_BATCHER_INSTANCES];
    pthread_mutex_t lock;   // of the queue
    pthread_cond_t wake[2]; // of instances by `part`
    int busy[2];            // of them have a batch; never both kinds, where there are parts
    hs_work *first;         // by priority, then as they came
    bool stops, drops;      // takes no more; and what waits is not computed
    _Atomic uint64_t added; // works, ever
    hs_batcher_count count;
};

// ---- the queue, with its lock

static void insert(hs_batcher *b, hs_work *w)
{
    hs_work **at = &b->first;
    while (*at && (*at)->priority <= w->priority)
        at = &(*at)->next;
    w->next = *at;
    *at = w;
}

static void leave(hs_batcher *b, hs_work *w)
{
    hs_work **at = &b->first;
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
}

static const hs_work *first_free(const hs_batcher *b)
{
    const hs_work *w = b->first;
    while (w && w->taken)
        w = w->next;
    return w;
}

// Tokens of works that no instance has, counted up to about `most`.
static int64_t free_tokens(const hs_batcher *b, int64_t most, int *works)
{
    int64_t n = 0;
    *works = 0;
    for (const hs_work *w = b->first; w && (n < most || *works < 2); w = w->next)
        if (!w->taken)
            n += w->tokens, ++*works;
    return n;
}

// Whose turn it is to take a batch: parts, once they have begun, until none of them has one.
static bool is_turn_of(const hs_batcher *b, bool part)
{
    int works;
    if (!b->o.n_parts)
        return !part;
    if (b->busy[true] || b->busy[false])
        return b->busy[part] > 0;
    const int64_t enough = (int64_t)HS_BATCHER_PART_TOKENS * b->o.n_parts;
    return (free_tokens(b, enough, &works) >= enough && works > 1) == part;
}

// One that may take what waits; all of them where it is over.
static void wake(hs_batcher *b)
{
    for (int i = 0; i < 2 && b->stops; i++)
        pthread_cond_broadcast(&b->wake[i]);
    if (first_free(b))
        pthread_cond_signal(&b->wake[is_turn_of(b, true)]);
}

bool hs_batcher_add(hs_batcher *b, hs_work *w)
{
    w->taken = false, w->begun = w->finished = 0, w->started = w->ended = w->in_model = w->filled = w->modelled = 0;
    w->arrived = hs_now_ns();
    w->tokens = 0;
    for (int i = 0; i < w->n; i++)
        w->tokens += w->row[i].n;
    pthread_mutex_lock(&b->lock);
    const bool ok = !b->stops && atomic_load(&b->count.waiting) < b->o.queue_works &&
                    atomic_load(&b->count.waiting_tokens) + w->tokens <= b->o.queue_tokens;
    if (ok) {
        insert(b, w);
        atomic_fetch_add(&b->count.waiting, 1);
        atomic_fetch_add(&b->count.waiting_tokens, w->tokens);
        wake(b);
    }
    pthread_mutex_unlock(&b->lock);
    atomic_fetch_add(&b->added, ok); // behind the lock: who looks for it takes that next
    return ok;
}

// ---- the thread

static void finish(hs_batcher *b, hs_work *w, hs_work_end end, hs_status st)
{
    pthread_mutex_lock(&b->lock);
    leave(b, w);
    atomic_fetch_sub(&b->count.waiting, 1);
    atomic_fetch_sub(&b->count.waiting_tokens, w->tokens);
    pthread_mutex_unlock(&b->lock);
    w->ended = hs_now_ns();
    w->done(w, end, st);
}

// Rows of w into the batch. False: it is full. A row that cannot be one fails its work.
static bool add_rows(instance *t, hs_work *w, hs_status *st)
{
    hs_row_reader *reader = t->o->reader[w->reader];
    while (w->begun < w->n) {
        int index;
        *st = hs_row_reader_add(reader, &w->row[w->begun], &index);
        if (*st != HS_OK || index < 0)
            return false;
        t->row[t->n++] = (placed){ w, w->begun++, index };
        w->taken = true;
    }
    return true;
}

typedef struct filled {
    int reader;
    hs_work *stale; // list of those that are late, that nobody waits for, or that are dropped
    hs_work *bad;   // one with a row that is none
    hs_status st;   // and why
} filled;

static hs_work_end stale(const hs_batcher *b, hs_work *w, int64_t now)
{
    if (b->drops)
        return HS_WORK_STOPPED;
    if (w->begun == 0 && w->deadline && now > w->deadline)
        return HS_WORK_LATE;
    return w->gone && w->gone(w) ? HS_WORK_GONE : HS_WORK_DONE;
}

// Of what waits, among the parts that could begin now.
static int64_t share_of(const instance *t)
{
    const hs_batcher *b = t->b;
    int works;
    if (!t->part)
        return INT64_MAX;
    const int idle = b->o.n_parts - b->busy[true];
    const int64_t all = free_tokens(b, INT64_MAX, &works), share = (all + idle - 1) / idle;
    return share > HS_BATCHER_PART_TOKENS ? share : HS_BATCHER_PART_TOKENS;
}

// Fills a batch from the front of the queue; only works of the front one's plan. With the lock.
static filled fill(instance *t)
{
    hs_batcher *b = t->b;
    filled f = { .reader = -1 };
    const int64_t now = t->filling = hs_now_ns(), share = share_of(t);
    int64_t tokens = 0;
    hs_work *cut = NULL;
    t->n = 0;
    for (hs_work *w = b->first, *next; w && !cut && !f.bad && tokens < share; w = next) {
        next = w->next;
        if (w->taken || (f.reader >= 0 && w->reader != f.reader))
            continue;
        if ((w->end = stale(b, w, now)) != HS_WORK_DONE) {
            leave(b, w);
            w->next = f.stale, f.stale = w;
            continue;
        }
        f.reader = w->reader;
        tokens += w->tokens;
        if (!add_rows(t, w, &f.st))
            *(f.st == HS_OK ? &cut : &f.bad) = w;
    }
    if (f.bad) // nobody else's any more
        leave(b, f.bad);
    if (cut && cut->begun > 0) { // had its share: behind the others of its priority
        leave(b, cut);
        insert(b, cut);
    }
    return f;
}

// What of a work is in the batch is not given any more: it is over.
static void forget(instance *t, const hs_work *w)
{
    for (int i = 0; i < t->n; i++)
        if (t->row[i].work == w)
            t->row[i].work = NULL;
}

static void fail(instance *t, hs_work *w, hs_status st)
{
    forget(t, w);
    finish(t->b, w, HS_WORK_FAILED, st);
}

// Rows [from, to) of the batch, which went through the model.
static void give(instance *t, hs_row_reader *reader, int from, int to, int64_t began)
{
    const int64_t ended = hs_now_ns();
    const int rows = hs_row_reader_rows(reader);
    hs_batcher *b = t->b;
    hs_batch_times *times = &b->count.of_rows[rows];
    int64_t tokens = 0;
    for (int i = 0; i < rows; i++)
        tokens += hs_row_reader_length(reader, i);
    atomic_fetch_add(&b->count.batches, 1);
    atomic_fetch_add(&times->count, 1);
    atomic_fetch_add(&times->fill_ns, (uint64_t)(began - t->filling));
    atomic_fetch_add(&times->model_ns, (uint64_t)(ended - began));
    atomic_fetch_add(&b->count.rows, (uint64_t)rows);
    atomic_fetch_add(&b->count.tokens, (uint64_t)tokens);
    hs_latency_add(&b->count.batch, ended - began);
    hs_amounts_add(&b->count.batch_rows, rows);
    hs_amounts_add(&b->count.batch_tokens, tokens);
    for (int i = from; i < to; i++) {
        const placed *p = &t->row[i];
        hs_work *w = p->work;
        if (!w)
            continue;
        w->filled = w->started ? w->filled : t->filling;
        w->started = w->started ? w->started : began, w->modelled = ended;
        if (i == from || p[-1].work != w)
            w->in_model += ended - began;
        const hs_status st = w->take(w, p->row, reader, p->index);
        atomic_fetch_sub(&b->count.waiting_tokens, w->row[p->row].n); // a long one makes room for others as it goes on
        w->tokens -= w->row[p->row].n;
        if (st != HS_OK)
            fail(t, w, st);
        else if (++w->finished == w->n) {
            forget(t, w);
            finish(b, w, HS_WORK_DONE, HS_OK);
        }
    }
    atomic_fetch_add(&times->take_ns, (uint64_t)(hs_now_ns() - ended));
}

// Rows [from, to) of the batch, those of one work, by themselves.
static void run_alone(instance *t, hs_row_reader *reader, int from, int to)
{
    hs_work *w = t->row[from].work;
    hs_status st = HS_OK;
    t->filling = hs_now_ns();
    for (int i = from; i < to && st == HS_OK; i++)
        st = hs_row_reader_add(reader, &w->row[t->row[i].row], &t->row[i].index);
    const int64_t began = hs_now_ns();
    if (st == HS_OK)
        st = hs_row_reader_run(reader);
    if (st == HS_OK) {
        give(t, reader, from, to, began);
        return;
    }
    hs_row_reader_clear(reader);
    fail(t, w, st);
}

static void run_batch(instance *t, hs_row_reader *reader)
{
    const int64_t began = hs_now_ns();
    if (hs_row_reader_run(reader) == HS_OK) {
        give(t, reader, 0, t->n, began);
        return;
    }
    hs_row_reader_clear(reader);
    for (int from = 0, to; from < t->n; from = to) {
        for (to = from + 1; to < t->n && t->row[to].work == t->row[from].work; to++)
            ;
        if (t->row[from].work)
            run_alone(t, reader, from, to);
    }
}

// A thread that sleeps is awake 40 us later, on a virtual machine; a client that asks one thing after the other is back before that
// (`halfstep perf`, one text at a time).
static void linger(const hs_batcher *b)
{
    const int64_t end = hs_now_ns() + LINGER_NS;
    const bool idle = atomic_load(&b->count.waiting) == 0;
    const uint64_t seen = atomic_load(&b->added);
    while (idle && atomic_load_explicit(&b->added, memory_order_relaxed) == seen && hs_now_ns() < end)
        hs_cpu_relax();
}

// What went into this batch and is not done may be taken by any instance again.
static void put_back(instance *t)
{
    hs_batcher *b = t->b;
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < t->n; i++)
        if (t->row[i].work)
            t->row[i].work->taken = false;
    b->busy[t->part]--;
    wake(b);
    pthread_mutex_unlock(&b->lock);
}

// A batch, once there is something for one and it is this instance's turn. False: it is over.
static bool take_batch(instance *t, filled *f)
{
    hs_batcher *b = t->b;
    if (!t->part)
        linger(b);
    pthread_mutex_lock(&b->lock);
    while (!(first_free(b) && is_turn_of(b, t->part)) && !(b->stops && !b->first))
        pthread_cond_wait(&b->wake[t->part], &b->lock);
    const bool any = b->first != NULL;
    if (any) {
        *f = fill(t);
        b->busy[t->part]++;
        wake(b); // for what is left
    }
    pthread_mutex_unlock(&b->lock);
    return any;
}

static void *work(void *arg)
{
    instance *t = arg;
    hs_batcher *b = t->b;
    hs_cores_narrow(t->o->first_core, t->o->n_cores);
    filled f;
    while (take_batch(t, &f)) {
        if (f.bad)
            fail(t, f.bad, f.st);
        for (hs_work *w = f.stale, *next; w; w = next) {
            next = w->next;
            finish(b, w, w->end, HS_OK);
        }
        if (t->n > 0)
            run_batch(t, t->o->reader[f.reader]);
        put_back(t);
    }
    return NULL;
}

// ---- birth

hs_status hs_batcher_new(hs_batcher **out, const hs_batcher_opts *o)
{
    hs_batcher *b = *out = calloc(1, sizeof *b);
    if (!b) {
        for (int i = 0; i < o->n_instances; i++)
            for (int k = 0; k < o->n_readers; k++)
                hs_row_reader_free(o->instance[i].reader[k]);
        return HS_FAIL(MEMORY, "no memory for a batcher");
    }
    b->o = *o;
    pthread_mutex_init(&b->lock, NULL);
    for (int i = 0; i < 2; i++)
        pthread_cond_init(&b->wake[i], NULL);
    for (int k = 0; k < o->n_readers; k++) { // all instances have the same plans
        const int64_t rows = hs_row_reader_most_rows(o->instance[0].reader[k]);
        b->count.most_rows = rows > b->count.most_rows ? rows : b->count.most_rows;
    }
    b->count.of_rows = calloc((size_t)b->count.most_rows + 1, sizeof *b->count.of_rows);
    hs_status st = b->count.of_rows ? HS_OK : HS_FAIL(MEMORY, "no memory for a batcher");
    for (int i = 0; i < o->n_instances && st == HS_OK; i++) {
        instance *t = &b->instance[i];
        *t = (instance){ .b = b,
                         .o = &b->o.instance[i],
                         .part = i >= o->n_instances - o->n_parts,
                         .row = malloc((size_t)b->count.most_rows * sizeof *t->row) };
        st = t->row ? hs_thread_start(&t->thread, work, t, "a batcher's thread") : HS_FAIL(MEMORY, "no memory for a batcher");
        t->runs = st == HS_OK;
    }
    if (st == HS_OK)
        return HS_OK;
    hs_batcher_free(b);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

static void stop(hs_batcher *b, bool drop)
{
    pthread_mutex_lock(&b->lock);
    b->stops = true, b->drops |= drop;
    wake(b);
    pthread_mutex_unlock(&b->lock);
}

void hs_batcher_stop(hs_batcher *b) { stop(b, true); }

void hs_batcher_free(hs_batcher *b)
{
    if (!b)
        return;
    stop(b, false);
    for (int i = 0; i < b->o.n_instances; i++) {
        if (b->instance[i].runs)
            pthread_join(b->instance[i].thread, NULL);
        free(b->instance[i].row);
        for (int k = 0; k < b->o.n_readers; k++)
            hs_row_reader_free(b->o.instance[i].reader[k]);
    }
    for (int i = 0; i < 2; i++)
        pthread_cond_destroy(&b->wake[i]);
    pthread_mutex_destroy(&b->lock);
    free(b->count.of_rows);
    free(b);
}

const hs_batcher_count *hs_batcher_counted(const hs_batcher *b) { return &b->count; }

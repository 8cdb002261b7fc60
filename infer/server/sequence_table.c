// sequence_table: chains by a hash of the id. An entry that is busy is its turn's alone but for who waits; idle ones end when somebody
// looks.
#include "infer/server/sequence_table.h"
#include "core/base/clock.h"
#include "core/base/rng.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct hs_sequence_entry {
    struct hs_sequence_entry *chain;
    char id[HS_SEQUENCE_ID];
    int32_t *ids; // [n]
    int64_t n;
    bool busy, live; // live: of a busy one, that it has begun
    double last;     // hs_now: of the end of its last request
    hs_sequence_turn *first;
    int waiting;
    double looked; // hs_now: when it was asked last which of those that wait are gone
} entry;

struct hs_sequence_table {
    pthread_mutex_t lock;
    entry **chain; // [mask + 1]
    uint64_t mask;
    int64_t most, most_waiting, waiting; // sequences; requests that wait, of all of them
    double idle;
    hs_sequence_stats now;
};

// ---- with the lock

static entry **place_of(hs_sequence_table *s, const char *id)
{
    entry **at = &s->chain[hs_hash_string(id) & s->mask];
    while (*at && strcmp((*at)->id, id) != 0)
        at = &(*at)->chain;
    return at;
}

static void drop(hs_sequence_table *s, entry **at)
{
    entry *e = *at;
    *at = e->chain;
    s->now.live--;
    free(e->ids), free(e);
}

static bool drop_idle(hs_sequence_table *s, entry **at, double now)
{
    if ((*at)->busy || now - (*at)->last <= s->idle)
        return false;
    drop(s, at);
    s->now.idle++;
    return true;
}

static void drop_all_idle(hs_sequence_table *s)
{
    const double now = hs_now();
    for (uint64_t i = 0; i <= s->mask; i++)
        for (entry **at = &s->chain[i]; *at;)
            if (!drop_idle(s, at, now))
                at = &(*at)->chain;
}

static hs_status add(hs_sequence_table *s, const char *id, entry **out)
{
    if (s->now.live >= s->most)
        drop_all_idle(s);
    if (s->now.live >= s->most)
        return HS_FAIL(MEMORY, "as many sequences are under way as may: %lld", (long long)s->most);
    entry **at = place_of(s, id), *e = *out = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for a sequence");
    snprintf(e->id, sizeof e->id, "%s", id);
    *at = e;
    s->now.live++;
    return HS_OK;
}

static hs_status wait_behind(hs_sequence_table *s, entry *e, hs_sequence_turn *t)
{
    hs_sequence_turn **end = &e->first;
    if (s->waiting >= s->most_waiting)
        return HS_FAIL(MEMORY, "as many requests of all sequences wait as may: %lld", (long long)s->most_waiting);
    if (e->waiting == HS_SEQUENCE_WAITING)
        return HS_FAIL(MEMORY, "as many requests of the sequence wait as may: %d", HS_SEQUENCE_WAITING);
    while (*end)
        end = &(*end)->next;
    *end = t;
    e->waiting++, s->waiting++;
    return HS_OK;
}

// The entry where it is the turn of t, NULL: it waits.
static hs_status find_turn(hs_sequence_table *s, hs_sequence_turn *t, entry **out)
{
    entry **at = place_of(s, t->id), *e = *at;
    *out = NULL;
    if (e && drop_idle(s, at, hs_now()))
        e = NULL;
    if (!e && !t->start)
        return HS_FAIL(USAGE, "there is no such sequence");
    if (!e)
        HS_TRY(add(s, t->id, &e));
    if (e->busy)
        return wait_behind(s, e, t);
    e->busy = true;
    s->now.started += t->start;
    *out = e;
    return HS_OK;
}

// ---- turns

static void give(entry *e, hs_sequence_turn *t)
{
    t->of = e;
    if (t->start)
        e->live = true, e->n = 0;
    t->go(t, e->ids, e->n);
}

hs_status hs_sequence_come(hs_sequence_table *s, hs_sequence_turn *t)
{
    entry *e;
    t->of = NULL, t->next = NULL;
    pthread_mutex_lock(&s->lock);
    const hs_status st = find_turn(s, t, &e);
    pthread_mutex_unlock(&s->lock);
    if (st == HS_OK && e)
        give(e, t);
    return st;
}

// Whoever waits first; NULL: nobody, and the entry is idle, or gone.
static hs_sequence_turn *take_next(hs_sequence_table *s, entry *e)
{
    pthread_mutex_lock(&s->lock);
    hs_sequence_turn *t = e->first;
    if (t) {
        e->first = t->next, e->waiting--, s->waiting--;
        s->now.started += t->start;
    } else if (e->live)
        e->busy = false, e->last = hs_now();
    else
        drop(s, place_of(s, e->id));
    pthread_mutex_unlock(&s->lock);
    return t;
}

void hs_sequence_done(hs_sequence_table *s, hs_sequence_turn *t, int32_t *ids, int64_t n)
{
    entry *e = t->of;
    t->of = NULL;
    if (ids) {
        free(e->ids);
        e->ids = ids, e->n = n;
    }
    if (ids ? t->end : t->start)
        e->live = false;
    while ((t = take_next(s, e)) != NULL) {
        if (t->start || e->live) {
            give(e, t);
            return;
        }
        t->missed(t);
    }
}

// Those that wait for e and are gone, out of its list.
static hs_sequence_turn *take_gone(hs_sequence_table *s, entry *e)
{
    static const double LOOK_SECONDS = 0.1; // a look at a client is a system call
    hs_sequence_turn *gone = NULL, **end = &gone;
    pthread_mutex_lock(&s->lock);
    const double now = hs_now();
    const bool due = e->first && now - e->looked >= LOOK_SECONDS;
    if (due)
        e->looked = now;
    for (hs_sequence_turn **at = &e->first; due && *at;) {
        hs_sequence_turn *t = *at;
        if (!t->gone || !t->gone(t)) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        e->waiting--, s->waiting--;
        t->next = NULL, *end = t, end = &t->next;
    }
    pthread_mutex_unlock(&s->lock);
    return gone;
}

void hs_sequence_look_behind(hs_sequence_table *s, hs_sequence_turn *t)
{
    for (hs_sequence_turn *gone = take_gone(s, t->of), *next; gone; gone = next) {
        next = gone->next; // missed, it may be no more
        gone->missed(gone);
    }
}

hs_sequence_stats hs_sequence_table_look(hs_sequence_table *s)
{
    pthread_mutex_lock(&s->lock);
    drop_all_idle(s);
    const hs_sequence_stats now = s->now;
    pthread_mutex_unlock(&s->lock);
    return now;
}

// ---- birth

hs_status hs_sequence_table_new(hs_sequence_table **out, int64_t most, int64_t most_waiting, double idle_seconds)
{
    enum { LEAST = 16, MOST = 1 << 16 };
    uint64_t n = LEAST;
    while (n < MOST && n < (uint64_t)most)
        n *= 2;
    hs_sequence_table *s = *out = calloc(1, sizeof *s);
    if (s)
        s->chain = calloc(n, sizeof(entry *));
    if (!s || !s->chain) {
        free(s);
        *out = NULL;
        return HS_FAIL(MEMORY, "no memory for sequences");
    }
    s->mask = n - 1, s->most = most, s->most_waiting = most_waiting, s->idle = idle_seconds;
    pthread_mutex_init(&s->lock, NULL);
    return HS_OK;
}

void hs_sequence_table_free(hs_sequence_table *s)
{
    if (!s)
        return;
    for (uint64_t i = 0; i <= s->mask; i++)
        while (s->chain[i])
            drop(s, &s->chain[i]);
    pthread_mutex_destroy(&s->lock);
    free(s->chain);
    free(s);
}

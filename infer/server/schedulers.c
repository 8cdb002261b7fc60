// schedulers: who has seen which beginning is a table of hashes that forgets, and knows nothing of pages that were given up - a wrong guess
// costs a prompt that is computed again.
#include "infer/server/schedulers.h"
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

enum { SEEN = 4096 }; // beginnings, a power of 2

typedef struct beginning {
    uint64_t hash; // of all its tokens; 0: none
    uint64_t who;  // have seen it: bits 1 << scheduler
} beginning;

struct hs_schedulers {
    hs_scheduler *at[HS_SCHEDULERS];
    int n, slots; // slots: of each
    int64_t page_rows;
    hs_scheduler_share together;
    pthread_mutex_t lock; // of seen
    beginning seen[SEEN];
};

hs_status hs_schedulers_new(hs_schedulers **out, const hs_scheduler_opts *o, int n)
{
    hs_schedulers *s = *out = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for schedulers");
    pthread_mutex_init(&s->lock, NULL);
    s->slots = o->decoder.max_slots, s->page_rows = o->decoder.page_rows;
    s->together.most = n * s->slots + o->queue_most;
    hs_status st = HS_OK;
    for (int i = 0; i < n && st == HS_OK; i++) {
        hs_scheduler_opts mine = o[i];
        mine.together = &s->together;
        st = hs_scheduler_new(&s->at[i], &mine);
        s->n += st == HS_OK;
    }
    if (st == HS_OK)
        return HS_OK;
    hs_schedulers_free(s);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_schedulers_stop(hs_schedulers *s)
{
    for (int i = 0; i < s->n; i++)
        hs_scheduler_stop(s->at[i]);
}

void hs_schedulers_join(hs_schedulers *s)
{
    hs_schedulers_stop(s); // all of them, before one is waited for
    for (int i = 0; i < s->n; i++)
        hs_scheduler_join(s->at[i]);
}

void hs_schedulers_free(hs_schedulers *s)
{
    if (!s)
        return;
    hs_schedulers_join(s);
    for (int i = 0; i < s->n; i++)
        hs_scheduler_free(s->at[i]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

hs_status hs_schedulers_check_length(const hs_schedulers *s, int64_t n, int64_t max_tokens)
{
    return hs_scheduler_check_length(s->at[0], n, max_tokens);
}

static void add_up(hs_scheduler_stats *sum, const hs_scheduler_stats *one)
{
    sum->running += one->running, sum->waiting += one->waiting, sum->slots += one->slots;
    sum->pages += one->pages, sum->pages_held += one->pages_held, sum->pages_kept += one->pages_kept;
    sum->steps += one->steps, sum->step_tokens += one->step_tokens;
    sum->prompt_tokens += one->prompt_tokens, sum->new_tokens += one->new_tokens, sum->reused_tokens += one->reused_tokens;
    sum->set_back += one->set_back, sum->refused += one->refused;
    for (int f = 0; f < HS_FINISHES; f++)
        sum->finished[f] += one->finished[f];
}

void hs_schedulers_look(hs_schedulers *s, hs_scheduler_stats *out)
{
    *out = (hs_scheduler_stats){ 0 };
    for (int i = 0; i < s->n; i++) {
        hs_scheduler_stats one;
        hs_scheduler_look(s->at[i], &one);
        add_up(out, &one);
    }
}

hs_scheduler *hs_schedulers_at(hs_schedulers *s, int i) { return i < s->n ? s->at[i] : NULL; }

// ---- whose a request is

static uint64_t add_page(uint64_t hash, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        hash = (hash ^ (uint32_t)ids[i]) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash | 1; // 0 is none
}

// How many tokens of it each has seen, in whole pages.
static void look_who_saw(const hs_schedulers *s, const int32_t *ids, int64_t n, int64_t saw[HS_SCHEDULERS])
{
    uint64_t hash = 1;
    for (int64_t at = 0; at + s->page_rows <= n; at += s->page_rows) {
        hash = add_page(hash, ids + at, s->page_rows);
        const beginning *b = &s->seen[(hash >> 1) % SEEN];
        for (int i = 0; b->hash == hash && i < s->n; i++)
            if (b->who >> i & 1)
                saw[i] = at + s->page_rows;
    }
}

static void remember(hs_schedulers *s, const int32_t *ids, int64_t n, int who)
{
    uint64_t hash = 1;
    for (int64_t at = 0; at + s->page_rows <= n; at += s->page_rows) {
        hash = add_page(hash, ids + at, s->page_rows);
        beginning *b = &s->seen[(hash >> 1) % SEEN];
        *b = (beginning){ hash, (b->hash == hash ? b->who : 0) | (uint64_t)1 << who };
    }
}

static int load_of(hs_scheduler *s)
{
    hs_scheduler_stats stats;
    hs_scheduler_look(s, &stats);
    return stats.running + stats.waiting;
}

// Of those with at most so many texts the one that has seen most, then the one with the fewest; -1: none has so few.
static int best(const hs_schedulers *s, const int *load, const int64_t *saw, int most)
{
    int who = -1;
    for (int i = 0; i < s->n; i++)
        if (load[i] <= most && (who < 0 || saw[i] > saw[who] || (saw[i] == saw[who] && load[i] < load[who])))
            who = i;
    return who;
}

hs_scheduler *hs_schedulers_pick(hs_schedulers *s, const int32_t *ids, int64_t n, int texts)
{
    int load[HS_SCHEDULERS], least = INT_MAX;
    int64_t saw[HS_SCHEDULERS] = { 0 };
    if (s->n == 1)
        return s->at[0];
    pthread_mutex_lock(&s->lock);
    look_who_saw(s, ids, n, saw);
    for (int i = 0; i < s->n; i++) {
        load[i] = load_of(s->at[i]);
        least = load[i] < least ? load[i] : least;
    }
    const int ahead = least + HS_SCHEDULERS_AHEAD, free_for_all = s->slots - texts;
    int who = best(s, load, saw, ahead < free_for_all ? ahead : free_for_all);
    if (who < 0)
        who = best(s, load, saw, least);
    remember(s, ids, n, who);
    pthread_mutex_unlock(&s->lock);
    return s->at[who];
}

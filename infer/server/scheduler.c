// scheduler: a list of who waits, by rank, and who has which slot; the loop of its thread. What other threads see is behind the lock.
#include "infer/server/scheduler.h"
#include "core/base/clock.h"
#include "core/base/threads.h"
#include "infer/server/cores.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct entry { // one request
    hs_generation *g;
    struct entry *next;
    int priority;
    uint64_t arrival;
    int32_t *ids; // [n] prompt and what was drawn
    int64_t n;
    hs_token_text *text; // NULL: no tokenizer
    double came, last;   // hs_now: of its add, of its newest token (0: none)
    bool begun;          // it had a slot
} entry;

struct hs_scheduler {
    hs_scheduler_opts o;
    hs_decoder *d;
    int64_t n_pages;
    pthread_t thread;
    // the thread's alone
    entry **at;   // [max_slots]; NULL: free
    entry *queue; // by rank
    hs_scheduler_stats sum;
    // of all threads
    pthread_mutex_t lock;
    pthread_cond_t come, gone; // an entry, or the end | an entry that is done
    entry *inbox, **inbox_end;
    int accepted, open; // and not at their ends | whose `done` has not come back
    bool drained, ended, runs;
    uint64_t arrivals, refused;
    hs_scheduler_stats shown;
};

const char *hs_finish_text(hs_finish f)
{
    static const char *const text[] = { "none", "stop", "length", "cancelled", "deadline", "nonfinite", "failed" };
    return text[f];
}

static bool outranks(const entry *a, const entry *b)
{
    return a->priority != b->priority ? a->priority < b->priority : a->arrival < b->arrival;
}

static void timing(hs_scheduler *s, hs_timing what, double seconds)
{
    if (s->o.timing)
        s->o.timing(s->o.user, what, seconds);
}

// ---- entries

static int n_running(const hs_scheduler *s) { return s->o.decoder.max_slots - hs_decoder_free_slots(s->d); }

static void show(hs_scheduler *s) // under the lock
{
    s->sum.running = n_running(s);
    s->sum.pages_held = s->n_pages - hs_decoder_free_pages(s->d);
    s->sum.pages_kept = hs_decoder_kept_pages(s->d);
    s->shown = s->sum;
}

static void free_entry(entry *e)
{
    hs_token_text_free(e->text);
    free(e->ids);
    free(e);
}

static hs_sequence sequence_of(const entry *e)
{
    const hs_generation *g = e->g;
    return (hs_sequence){ .ids = e->ids,
                          .n = e->n,
                          .max_tokens = g->max_tokens - g->n_new,
                          .sampling = g->sampling,
                          .number = g->number,
                          .stop_ids = g->stop_ids,
                          .n_stops = g->n_stop_ids,
                          .bias = g->bias,
                          .n_bias = g->n_bias,
                          .presence = g->presence,
                          .frequency = g->frequency,
                          .drawn = g->n_new,
                          .logprobs = g->logprobs,
                          .n_top = g->n_top };
}

static void queue_up(hs_scheduler *s, entry *e)
{
    entry **at = &s->queue;
    while (*at && outranks(*at, e))
        at = &(*at)->next;
    e->next = *at, *at = e;
}

// The last that is heard of it; it is in no list and has no slot.
static void finish(hs_scheduler *s, entry *e, hs_finish why, const char *error)
{
    hs_generation *g = e->g;
    g->finish = why;
    snprintf(g->error, sizeof g->error, "%s", error ? error : "");
    g->tail = NULL, g->n_tail = 0;
    if (e->text && (why == HS_FINISH_STOP || why == HS_FINISH_LENGTH) && hs_token_text_end(e->text, &g->tail, &g->n_tail) != HS_OK)
        g->finish = HS_FINISH_FAILED, snprintf(g->error, sizeof g->error, "%s", hs_error());
    g->seconds[1] = hs_now() - e->came;
    timing(s, HS_TIMING_ALL, g->seconds[1]);
    s->sum.finished[g->finish]++;
    pthread_mutex_lock(&s->lock);
    s->accepted--; // before anybody hears of it: who then asks again finds room
    if (s->o.together)
        atomic_fetch_sub(&s->o.together->accepted, 1);
    show(s);
    pthread_mutex_unlock(&s->lock);
    g->done(g);
    free_entry(e);
    pthread_mutex_lock(&s->lock);
    s->open--;
    pthread_cond_broadcast(&s->gone);
    pthread_mutex_unlock(&s->lock);
}

static void finish_slot(hs_scheduler *s, int slot, hs_finish why, const char *error)
{
    entry *e = s->at[slot];
    hs_decoder_drop(s->d, slot);
    s->at[slot] = NULL;
    finish(s, e, why, error);
}

// ---- admission

// The slot of the lowest rank, -1: all are free.
static int lowest(const hs_scheduler *s)
{
    int low = -1;
    for (int i = 0; i < s->o.decoder.max_slots; i++)
        if (s->at[i] && (low < 0 || outranks(s->at[low], s->at[i])))
            low = i;
    return low;
}

static void set_back(hs_scheduler *s, int slot)
{
    entry *e = s->at[slot];
    hs_decoder_drop(s->d, slot);
    s->at[slot] = NULL;
    s->sum.set_back++;
    queue_up(s, e);
}

static void begin(hs_scheduler *s, entry *e)
{
    const hs_sequence q = sequence_of(e);
    int slot;
    if (hs_decoder_add(s->d, &q, &slot) != HS_OK) {
        finish(s, e, HS_FINISH_FAILED, hs_error());
        return;
    }
    s->at[slot] = e;
    if (e->begun)
        return;
    e->begun = true;
    s->sum.prompt_tokens += (uint64_t)e->n;
    e->g->waited = hs_now() - e->came;
    timing(s, HS_TIMING_WAIT, e->g->waited);
}

// In the order of rank: nobody overtakes one that needs more room.
static void admit(hs_scheduler *s)
{
    while (s->queue) {
        entry *e = s->queue;
        const bool alone = n_running(s) == 0;
        const bool room =
            hs_decoder_free_slots(s->d) > 0 && hs_decoder_free_pages(s->d) >= hs_decoder_owed(s->d) + hs_decoder_needs(s->d, e->ids, e->n);
        if (alone || room) {
            s->queue = e->next;
            begin(s, e);
            continue;
        }
        const int low = lowest(s);
        if (s->at[low]->priority <= e->priority)
            return;
        set_back(s, low);
    }
}

static bool over(const entry *e, double now, hs_finish *why)
{
    *why = e->g->gone && e->g->gone(e->g)            ? HS_FINISH_CANCELLED
           : e->g->deadline && now >= e->g->deadline ? HS_FINISH_DEADLINE
                                                     : HS_FINISH_NONE;
    return *why != HS_FINISH_NONE;
}

static void let_go(hs_scheduler *s)
{
    const double now = hs_now();
    hs_finish why;
    for (int i = 0; i < s->o.decoder.max_slots; i++)
        if (s->at[i] && over(s->at[i], now, &why))
            finish_slot(s, i, why, NULL);
    for (entry **at = &s->queue; *at;) {
        entry *e = *at;
        if (!over(e, now, &why)) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        finish(s, e, why, NULL);
    }
}

// ---- a step

static hs_finish finish_of(hs_stop stop)
{
    static const hs_finish of[] = {
        [HS_STOP_MAX_TOKENS] = HS_FINISH_LENGTH, [HS_STOP_CONTEXT] = HS_FINISH_LENGTH,      [HS_STOP_TOKEN] = HS_FINISH_STOP,
        [HS_STOP_CALLER] = HS_FINISH_CANCELLED,  [HS_STOP_NONFINITE] = HS_FINISH_NONFINITE,
    };
    return stop == HS_STOP_NONE ? HS_FINISH_NONE : of[stop];
}

static void note_time(hs_scheduler *s, entry *e)
{
    const double now = hs_now();
    if (e->last == 0)
        e->g->seconds[0] = now - e->came;
    timing(s, e->last == 0 ? HS_TIMING_FIRST_TOKEN : HS_TIMING_NEXT_TOKEN, now - (e->last == 0 ? e->came : e->last));
    e->last = now;
}

static void take(hs_scheduler *s, const hs_decoded *out)
{
    entry *e = s->at[out->slot];
    hs_generation *g = e->g;
    hs_piece piece = { .id = out->id, .logprob = out->logprob, .top = out->top, .n_top = out->n_top, .finish = finish_of(out->stop) };
    if (out->stop == HS_STOP_NONFINITE) {
        finish_slot(s, out->slot, HS_FINISH_NONFINITE, "the model's logits are not finite numbers");
        return;
    }
    if (g->n_new == 0) {
        g->n_reused = hs_decoder_slot(s->d, out->slot).reused;
        s->sum.reused_tokens += (uint64_t)g->n_reused;
    }
    e->ids[e->n++] = out->id;
    g->n_new++, s->sum.new_tokens++;
    note_time(s, e);
    if (e->text && out->stop != HS_STOP_TOKEN) {
        if (hs_token_text_put(e->text, out->id, &piece.text, &piece.n_text) != HS_OK) {
            finish_slot(s, out->slot, HS_FINISH_FAILED, hs_error());
            return;
        }
        if (hs_token_text_stop(e->text) >= 0)
            piece.finish = HS_FINISH_STOP;
    }
    if (g->on_token)
        g->on_token(g, &piece);
    if (piece.finish != HS_FINISH_NONE)
        finish_slot(s, out->slot, piece.finish, NULL);
}

// The device failed: those that it computed for have nothing they could go on from.
static void fail_step(hs_scheduler *s)
{
    char error[256];
    bool any = false;
    snprintf(error, sizeof error, "%s", hs_error()); // callbacks may have errors of their own
    for (int i = 0; i < s->o.decoder.max_slots; i++)
        any = any || hs_decoder_slot(s->d, i).fed > 0;
    for (int i = 0; i < s->o.decoder.max_slots; i++)
        if (s->at[i] && (!any || hs_decoder_slot(s->d, i).fed > 0))
            finish_slot(s, i, HS_FINISH_FAILED, error);
}

static void step(hs_scheduler *s)
{
    const hs_decoded *out;
    bool waits = false, ran = false;
    int n;
    const hs_status st = hs_decoder_step(s->d, &out, &n);
    for (int i = 0; i < s->o.decoder.max_slots; i++) {
        const hs_slot_state slot = hs_decoder_slot(s->d, i);
        waits = waits || slot.waits, ran = ran || slot.fed;
        s->sum.step_tokens += st == HS_OK ? (uint64_t)slot.fed : 0;
    }
    s->sum.steps += st == HS_OK && ran;
    if (st != HS_OK && (ran || !waits)) {
        fail_step(s);
        return;
    }
    for (int k = 0; st == HS_OK && k < n; k++)
        take(s, &out[k]);
    if (waits && hs_decoder_free_pages(s->d) == 0) // one a step: the next says whether it was enough
        set_back(s, lowest(s));
}

// ---- its thread

// Entries that came; waits for one where there is nothing else to do. False: it is over.
static bool take_new(hs_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    show(s);
    while (!s->inbox && !s->queue && !s->sum.running && !s->ended)
        pthread_cond_wait(&s->come, &s->lock);
    entry *e = s->inbox;
    const bool goes_on = !s->ended;
    s->inbox = NULL, s->inbox_end = &s->inbox;
    pthread_mutex_unlock(&s->lock);
    while (e) {
        entry *next = e->next;
        queue_up(s, e);
        e = next;
    }
    return goes_on;
}

static void *serve(void *arg)
{
    hs_scheduler *s = arg;
    hs_cores_narrow(s->o.first_core, s->o.n_cores);
    while (take_new(s)) {
        let_go(s);
        admit(s);
        if (n_running(s))
            step(s);
    }
    for (int i = 0; i < s->o.decoder.max_slots; i++)
        if (s->at[i])
            finish_slot(s, i, HS_FINISH_CANCELLED, "the server stops");
    while (s->queue) {
        entry *e = s->queue;
        s->queue = e->next;
        finish(s, e, HS_FINISH_CANCELLED, "the server stops");
    }
    return NULL;
}

// ---- other threads

hs_status hs_scheduler_new(hs_scheduler **out, const hs_scheduler_opts *o)
{
    pthread_condattr_t monotonic;
    *out = NULL;
    hs_scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a scheduler");
    s->o = *o;
    s->inbox_end = &s->inbox;
    s->n_pages = o->decoder.cache_rows / o->decoder.page_rows;
    s->sum.slots = o->decoder.max_slots, s->sum.pages = s->n_pages;
    s->shown = s->sum;
    s->at = calloc((size_t)o->decoder.max_slots, sizeof *s->at);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->come, NULL);
    pthread_cond_init(&s->gone, &monotonic);
    pthread_condattr_destroy(&monotonic);
    hs_status st = s->at ? hs_decoder_new(&s->d, &o->decoder) : HS_FAIL(MEMORY, "no memory for a scheduler");
    if (st == HS_OK)
        st = hs_thread_start(&s->thread, serve, s, "the scheduler's thread");
    s->runs = st == HS_OK;
    if (st != HS_OK) {
        hs_scheduler_free(s);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = s;
    return HS_OK;
}

void hs_scheduler_stop(hs_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->drained = s->ended = true;
    pthread_cond_broadcast(&s->come);
    pthread_mutex_unlock(&s->lock);
}

void hs_scheduler_join(hs_scheduler *s)
{
    hs_scheduler_stop(s);
    if (s->runs)
        pthread_join(s->thread, NULL);
    s->runs = false;
}

void hs_scheduler_free(hs_scheduler *s)
{
    if (!s)
        return;
    hs_scheduler_join(s);
    hs_decoder_free(s->d);
    pthread_cond_destroy(&s->come);
    pthread_cond_destroy(&s->gone);
    pthread_mutex_destroy(&s->lock);
    free(s->at);
    free(s);
}

static int most_accepted(const hs_scheduler *s) { return s->o.decoder.max_slots + s->o.queue_most; }

hs_status hs_scheduler_check_room(hs_scheduler *s, int64_t texts)
{
    const int most = most_accepted(s);
    if (texts > most)
        return HS_FAIL(USAGE, "%lld texts are asked for at once, at most %d may be under way and wait (--slots, --queue)", (long long)texts,
                       most);
    pthread_mutex_lock(&s->lock);
    const int mine = s->accepted, all = s->o.together ? atomic_load(&s->o.together->accepted) : 0;
    const bool full = mine + texts > most || (s->o.together && all + texts > s->o.together->most);
    s->refused += full;
    pthread_mutex_unlock(&s->lock);
    return full ? HS_FAIL(MEMORY, "the server is busy: there is no room for %lld more texts beside those that are under way or wait",
                          (long long)texts)
                : HS_OK;
}

hs_status hs_scheduler_check_length(const hs_scheduler *s, int64_t n, int64_t max_tokens)
{
    const int64_t context = s->o.decoder.context;
    if (max_tokens > context - n)
        return HS_FAIL(USAGE, "the prompt has %lld tokens, with %lld new ones that is more than the model's context of %lld", (long long)n,
                       (long long)max_tokens, (long long)context);
    return HS_OK;
}

static hs_status check(const hs_scheduler *s, const hs_generation *g, const hs_sequence *q)
{
    const hs_decoder_opts *d = &s->o.decoder;
    HS_TRY(hs_decoder_check(s->d, q));
    if (g->priority < 0)
        return HS_FAIL(USAGE, "priority is %d, must be 1 (the highest) or more, or 0 (%d)", g->priority, HS_PRIORITY_DEFAULT);
    if (g->max_tokens < 1)
        return HS_FAIL(USAGE, "max_tokens is %lld, must be at least 1", (long long)g->max_tokens);
    HS_TRY(hs_scheduler_check_length(s, g->n, g->max_tokens));
    const int64_t pages = hs_cache_pages(g->n + g->max_tokens - 1, d->page_rows);
    if (pages > s->n_pages)
        return HS_FAIL(USAGE, "%lld tokens need %lld cache pages, the server has %lld", (long long)(g->n + g->max_tokens), (long long)pages,
                       (long long)s->n_pages);
    if (g->n_stops && !s->o.tokenizer)
        return HS_FAIL(USAGE, "stop strings need a tokenizer, and the model has none");
    return HS_OK;
}

static hs_status new_entry(entry **out, const hs_scheduler *s, hs_generation *g)
{
    entry *e = calloc(1, sizeof *e);
    *out = e;
    if (!e || !(e->ids = malloc((size_t)(g->n + g->max_tokens) * sizeof *e->ids)))
        return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)(g->n + g->max_tokens));
    memcpy(e->ids, g->ids, (size_t)g->n * sizeof *e->ids);
    e->g = g, e->n = g->n, e->came = hs_now();
    e->priority = g->priority ? g->priority : HS_PRIORITY_DEFAULT;
    if (s->o.tokenizer)
        HS_TRY(hs_token_text_new(
            &e->text, &(hs_token_text_opts){ .tokenizer = s->o.tokenizer, .stop = g->stop, .n_stops = g->n_stops, .behind = true }));
    return HS_OK;
}

static bool take_share(hs_scheduler_share *t)
{
    if (!t || atomic_fetch_add(&t->accepted, 1) < t->most)
        return true;
    atomic_fetch_sub(&t->accepted, 1);
    return false;
}

static hs_status accept(hs_scheduler *s, entry *e)
{
    const int mine = most_accepted(s);
    pthread_mutex_lock(&s->lock);
    const bool drained = s->drained, all_mine = s->accepted >= mine, full = !drained && (all_mine || !take_share(s->o.together));
    if (!drained && !full) {
        e->arrival = s->arrivals++;
        *s->inbox_end = e, s->inbox_end = &e->next;
        s->accepted++, s->open++;
        pthread_cond_signal(&s->come);
    } else if (!drained) {
        s->refused++;
    }
    pthread_mutex_unlock(&s->lock);
    if (drained)
        return HS_FAIL(STOPPED, "the server stops");
    if (!full)
        return HS_OK;
    return HS_FAIL(MEMORY, "the server is busy: %d requests are under way or wait, as many as may", all_mine ? mine : s->o.together->most);
}

hs_status hs_scheduler_add(hs_scheduler *s, hs_generation *g)
{
    entry *e = NULL;
    g->n_new = g->n_reused = 0, g->n_tail = 0, g->tail = NULL;
    g->finish = HS_FINISH_NONE, g->error[0] = 0;
    g->seconds[0] = g->seconds[1] = g->waited = 0;
    const hs_sequence q = sequence_of(&(entry){ .g = g, .ids = (int32_t *)g->ids, .n = g->n });
    HS_TRY(check(s, g, &q));
    hs_status st = new_entry(&e, s, g);
    if (st == HS_OK)
        st = accept(s, e);
    if (st == HS_OK)
        return HS_OK;
    if (e)
        free_entry(e);
    return hs_frame_at(st, __FILE__, __LINE__);
}

bool hs_scheduler_drain(hs_scheduler *s, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const double at = (double)until.tv_sec + (double)until.tv_nsec * 1e-9 + (seconds < 1e9 ? seconds : 1e9);
    until.tv_sec = (time_t)at, until.tv_nsec = (long)((at - (double)until.tv_sec) * 1e9);
    pthread_mutex_lock(&s->lock);
    s->drained = true;
    while (s->open && pthread_cond_timedwait(&s->gone, &s->lock, &until) == 0)
        ;
    const bool nothing = s->open == 0;
    pthread_mutex_unlock(&s->lock);
    return nothing;
}

void hs_scheduler_look(hs_scheduler *s, hs_scheduler_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->shown;
    out->waiting = s->accepted - out->running;
    out->refused = s->refused;
    pthread_mutex_unlock(&s->lock);
}

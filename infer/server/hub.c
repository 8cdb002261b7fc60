// hub: a list of names, and a thread with a list of things to do.
#include "infer/server/hub.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "infer/server/ensemble.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hs_hub_states[HS_HUB_STATES] = { "UNAVAILABLE", "LOADING", "READY" };

typedef struct entry {
    struct entry *next;
    char name[HS_SERVED_NAME], path[4096], why[512];
    hs_served *served;     // held by the hub
    int versions;          // that were tried
    hs_served_count count; // of all of them
    hs_served_sums closed; // of those that are closed
    bool loading;
} entry;

typedef enum todo_kind { LOAD, UNLOAD } todo_kind;
typedef struct todo {
    struct todo *next;
    todo_kind kind;
    char name[HS_SERVED_NAME], path[4096];
    hs_hub_done *done;
    void *user;
} todo;

struct hs_hub {
    hs_served_opts o;
    pthread_t thread;
    bool runs;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    entry *first;
    todo *todo;
    hs_served *dead;  // that nobody holds any more, by `next_dead`: closed before anything else
    bool stops, over; // takes no more; its thread has ended
    hs_served *alive; // models that are not closed, by `next`
};

// ---- with the lock

static entry *find(hs_hub *h, const char *name)
{
    for (entry *e = h->first; e; e = e->next)
        if (strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

static hs_served_sums sums_of(const hs_hub *h, const entry *e)
{
    hs_served_sums sum = e->closed;
    for (const hs_served *s = h->alive; s; s = s->next)
        if (s->count == &e->count)
            hs_served_add_sums(s, &sum);
    return sum;
}

static entry *find_or_add(hs_hub *h, const char *name)
{
    entry *e = find(h, name), **end = &h->first;
    if (e || !(e = calloc(1, sizeof *e)))
        return e;
    snprintf(e->name, sizeof e->name, "%s", name);
    while (*end)
        end = &(*end)->next;
    *end = e;
    return e;
}

hs_served *hs_hub_find(hs_hub *h, const char *name, int version, unsigned does)
{
    hs_served *found = NULL;
    pthread_mutex_lock(&h->lock);
    for (entry *e = h->stops ? NULL : h->first; e && !found; e = e->next) {
        const bool named = name && name[0] ? strcmp(e->name, name) == 0 : e->served && e->served->does & does;
        if (named && e->served && (version == 0 || e->served->version == version))
            found = hs_served_hold(e->served);
    }
    pthread_mutex_unlock(&h->lock);
    return found;
}

static hs_served *find_any(const char *name, void *user) { return hs_hub_find(user, name, 0, 0); }

hs_served_sums hs_hub_sums(hs_hub *h, const char *name)
{
    pthread_mutex_lock(&h->lock);
    const entry *e = find(h, name);
    const hs_served_sums sums = e ? sums_of(h, e) : (hs_served_sums){ 0 };
    pthread_mutex_unlock(&h->lock);
    return sums;
}

bool hs_hub_knows(hs_hub *h, const char *name)
{
    pthread_mutex_lock(&h->lock);
    const bool known = find(h, name) != NULL;
    pthread_mutex_unlock(&h->lock);
    return known;
}

void hs_hub_each(hs_hub *h, void (*each)(const hs_hub_entry *e, void *user), void *user)
{
    pthread_mutex_lock(&h->lock);
    for (entry *e = h->first; e; e = e->next)
        each(&(hs_hub_entry){ .name = e->name,
                              .path = e->path,
                              .served = e->served,
                              .sums = sums_of(h, e),
                              .state = e->served    ? HS_HUB_READY
                                       : e->loading ? HS_HUB_LOADING
                                                    : HS_HUB_UNAVAILABLE,
                              .why = e->why },
             user);
    pthread_mutex_unlock(&h->lock);
}

// ---- what the thread does

static void push(hs_hub *h, const todo *what)
{
    todo *t = malloc(sizeof *t), **end = &h->todo;
    if (!t) {
        if (what->done)
            what->done(HS_MEMORY, "no memory", what->user);
        return;
    }
    *t = *what;
    t->next = NULL;
    pthread_mutex_lock(&h->lock);
    const bool over = h->over;
    while (*end)
        end = &(*end)->next;
    if (!over)
        *end = t;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    if (!over)
        return;
    if (t->done)
        t->done(HS_STOPPED, "the server stops", t->user);
    free(t);
}

static hs_status begin_load(hs_hub *h, const char *name, const char *path, char *where, size_t size, int *version, hs_served_count **count)
{
    pthread_mutex_lock(&h->lock);
    const bool stops = h->stops;
    entry *e = stops ? NULL : path && path[0] ? find_or_add(h, name) : find(h, name);
    if (e) {
        e->loading = true;
        snprintf(where, size, "%s", path && path[0] ? path : e->path);
        if (!e->path[0]) // of a name that never loaded: where it was looked for
            snprintf(e->path, sizeof e->path, "%s", where);
        *version = ++e->versions, *count = &e->count;
    }
    pthread_mutex_unlock(&h->lock);
    if (stops)
        return HS_FAIL(STOPPED, "the server stops");
    return e ? HS_OK : HS_FAIL(USAGE, "there is no model '%s'", name);
}

static hs_status load(hs_hub *h, const char *name, const char *path)
{
    char where[4096];
    int version = 0;
    hs_served *fresh = NULL, *old = NULL;
    if (!name[0] || strchr(name, '/'))
        return HS_FAIL(USAGE, "a model's name has 1 to %d characters, and no /", HS_SERVED_NAME - 1);
    hs_served_count *count = NULL;
    HS_TRY(begin_load(h, name, path, where, sizeof where, &version, &count));
    const hs_status st = hs_served_open(&fresh, name, version, where, &h->o, count);
    pthread_mutex_lock(&h->lock);
    entry *e = find(h, name);
    e->loading = false;
    snprintf(e->why, sizeof e->why, "%s", st == HS_OK ? "" : hs_error());
    if (st == HS_OK) {
        memcpy(e->path, where, sizeof e->path);
        fresh->next = h->alive, h->alive = fresh;
        if (h->stops) // what the entry has is let go by who stops it
            old = fresh;
        else
            old = e->served, e->served = fresh;
    }
    pthread_mutex_unlock(&h->lock);
    hs_served_let_go(old);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status unload(hs_hub *h, const char *name)
{
    pthread_mutex_lock(&h->lock);
    entry *e = find(h, name);
    hs_served *old = e ? e->served : NULL;
    if (e) {
        e->served = NULL;
        snprintf(e->why, sizeof e->why, "unloaded");
    }
    pthread_mutex_unlock(&h->lock);
    hs_served_let_go(old);
    return e ? HS_OK : HS_FAIL(USAGE, "there is no model '%s'", name);
}

static void bury(hs_hub *h, hs_served *s)
{
    hs_debug("%s, version %d, is closed", s->name, s->version);
    hs_served_join(s);
    pthread_mutex_lock(&h->lock);
    hs_served_add_sums(s, &find(h, s->name)->closed);
    hs_served **at = &h->alive;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    pthread_mutex_unlock(&h->lock);
    hs_served_close(s);
}

// The first ensemble from entry *at on that has the model for a step, held; *at stands behind it.
static hs_served *next_with(hs_hub *h, int *at, const char *model)
{
    hs_served *found = NULL;
    int i = 0;
    pthread_mutex_lock(&h->lock);
    for (entry *e = h->first; e && !found; e = e->next)
        if (i++ >= *at && e->served && e->served->ensemble && hs_ensemble_has(e->served->ensemble, model))
            found = hs_served_hold(e->served);
    *at = i;
    pthread_mutex_unlock(&h->lock);
    return found;
}

// Ensembles say of their tensors what their models said when they were loaded: of a model that says something else now they are loaded
// anew.
static void follow(hs_hub *h, const char *model)
{
    hs_served *s;
    for (int at = 0; (s = next_with(h, &at, model)); hs_served_let_go(s)) {
        struct hs_ensemble *fresh;
        hs_status st = hs_ensemble_open(&fresh, s->name, &h->o);
        const bool same = st == HS_OK && hs_ensemble_same(s->ensemble, fresh);
        if (st == HS_OK)
            free(fresh);
        if (same)
            continue;
        st = load(h, s->name, NULL); // also where that is known to fail: it says why
        if (st != HS_OK)
            hs_warn("%s stays as it was before %s was loaded: %s", s->name, model, hs_error());
    }
}

static hs_hub_done on_awaited; // whoever waits says it

static void do_it(hs_hub *h, const todo *t)
{
    const hs_status st = t->kind == LOAD ? load(h, t->name, t->path) : unload(h, t->name);
    if (st != HS_OK && t->done != on_awaited)
        hs_warn("%s: %s", t->name, hs_error());
    if (st == HS_OK && t->kind == LOAD)
        follow(h, t->name);
    if (t->done)
        t->done(st, st == HS_OK ? "" : hs_error(), t->user);
}

static void *work(void *arg)
{
    hs_hub *h = arg;
    for (;;) {
        pthread_mutex_lock(&h->lock);
        while (!h->todo && !h->dead && !(h->stops && !h->alive))
            pthread_cond_wait(&h->wake, &h->lock);
        hs_served *s = h->dead;
        todo *t = s ? NULL : h->todo;
        if (s)
            h->dead = s->next_dead;
        else if (t)
            h->todo = t->next;
        h->over = !s && !t;
        pthread_mutex_unlock(&h->lock);
        if (!s && !t)
            return NULL;
        if (s)
            bury(h, s);
        else
            do_it(h, t);
        free(t);
    }
}

// Takes no memory: one that is not closed would be waited for for ever.
static void on_bury(hs_served *s, void *user)
{
    hs_hub *h = user;
    pthread_mutex_lock(&h->lock);
    s->next_dead = h->dead, h->dead = s;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

static void ask(hs_hub *h, todo_kind kind, const char *name, const char *path, hs_hub_done *done, void *user)
{
    todo t = { .kind = kind, .done = done, .user = user };
    snprintf(t.name, sizeof t.name, "%s", name);
    snprintf(t.path, sizeof t.path, "%s", path ? path : "");
    push(h, &t);
}

void hs_hub_load(hs_hub *h, const char *name, const char *path, hs_hub_done *done, void *user) { ask(h, LOAD, name, path, done, user); }
void hs_hub_unload(hs_hub *h, const char *name, hs_hub_done *done, void *user) { ask(h, UNLOAD, name, NULL, done, user); }

typedef struct awaited {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
    hs_status st;
    char why[1024];
} awaited;

static void on_awaited(hs_status st, const char *why, void *user)
{
    awaited *a = user;
    pthread_mutex_lock(&a->lock);
    a->done = true, a->st = st;
    snprintf(a->why, sizeof a->why, "%s", why);
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

hs_status hs_hub_load_now(hs_hub *h, const char *name, const char *path)
{
    if (strlen(name) >= HS_SERVED_NAME)
        return HS_FAIL(USAGE, "a model's name has 1 to %d characters, and no /", HS_SERVED_NAME - 1);
    awaited a = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };
    hs_hub_load(h, name, path, on_awaited, &a);
    pthread_mutex_lock(&a.lock);
    while (!a.done)
        pthread_cond_wait(&a.wake, &a.lock);
    pthread_mutex_unlock(&a.lock);
    return a.st == HS_OK ? HS_OK : hs_fail_at(a.st, __FILE__, __LINE__, "%s", a.why);
}

// ---- birth

hs_status hs_hub_new(hs_hub **out, const hs_served_opts *o)
{
    hs_hub *h = *out = calloc(1, sizeof *h);
    if (!h)
        return HS_FAIL(MEMORY, "no memory for models");
    h->o = *o;
    h->o.bury = on_bury, h->o.bury_user = h;
    h->o.find = find_any, h->o.find_user = h;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    const hs_status st = hs_thread_start(&h->thread, work, h, "the models' thread");
    h->runs = st == HS_OK;
    if (st == HS_OK)
        return HS_OK;
    hs_hub_free(h);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

static hs_served *take_any(hs_hub *h)
{
    hs_served *s = NULL;
    pthread_mutex_lock(&h->lock);
    for (entry *e = h->first; e && !s; e = e->next)
        s = e->served, e->served = NULL;
    pthread_mutex_unlock(&h->lock);
    return s;
}

void hs_hub_close(hs_hub *h)
{
    if (!h->runs)
        return;
    pthread_mutex_lock(&h->lock);
    h->stops = true;
    for (hs_served *s = h->alive; s; s = s->next) // those that were replaced, too
        hs_served_stop(s);
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    for (hs_served *s; (s = take_any(h)) != NULL;)
        hs_served_let_go(s);
    pthread_join(h->thread, NULL);
    h->runs = false;
}

void hs_hub_free(hs_hub *h)
{
    if (!h)
        return;
    hs_hub_close(h);
    for (entry *e = h->first, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

// heavy: a list and some threads.
#include "infer/server/heavy.h"
#include "core/base/threads.h"
#include <pthread.h>
#include <stdlib.h>

typedef struct task {
    struct task *next;
    const hs_route *route;
    hs_call call;
} task;

struct hs_heavy {
    pthread_t *thread; // [threads]
    int threads;
    bool stops;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    task *first, **end;
};

static void *work(void *arg)
{
    hs_heavy *h = arg;
    for (;;) {
        pthread_mutex_lock(&h->lock);
        while (!h->first && !h->stops)
            pthread_cond_wait(&h->wake, &h->lock);
        task *t = h->first;
        if (t && !(h->first = t->next))
            h->end = &h->first;
        pthread_mutex_unlock(&h->lock);
        if (!t)
            return NULL;
        t->route->run(&t->call);
        free(t);
    }
}

hs_status hs_heavy_new(hs_heavy **out, int threads)
{
    const int n = threads > 1 ? threads : 1;
    hs_heavy *h = *out = calloc(1, sizeof *h);
    if (h && !(h->thread = calloc((size_t)n, sizeof *h->thread))) {
        free(h);
        h = *out = NULL;
    }
    if (!h)
        return HS_FAIL(MEMORY, "no memory for a list of requests");
    h->end = &h->first;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    for (; h->threads < n; h->threads++)
        HS_TRY(hs_thread_start(&h->thread[h->threads], work, h, "a thread of large requests")); // those before it: hs_heavy_free
    return HS_OK;
}

bool hs_heavy_add(hs_heavy *h, const hs_route *route, const hs_call *c)
{
    task *t = malloc(sizeof *t);
    if (!t)
        return false;
    *t = (task){ .route = route, .call = *c };
    pthread_mutex_lock(&h->lock);
    const bool ok = !h->stops;
    if (ok) {
        *h->end = t, h->end = &t->next;
        pthread_cond_signal(&h->wake);
    }
    pthread_mutex_unlock(&h->lock);
    if (!ok)
        free(t);
    return ok;
}

void hs_heavy_stop(hs_heavy *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stops = true;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    for (; h->threads > 0; h->threads--)
        pthread_join(h->thread[h->threads - 1], NULL);
}

void hs_heavy_free(hs_heavy *h)
{
    if (!h)
        return;
    hs_heavy_stop(h);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h->thread), free(h);
}

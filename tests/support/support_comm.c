// support_comm: ranks meet, see what all of them ask, and each does a share of the work over the buffers of all, in rank order.
#include "tests/support/support_comm.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct request { // what a rank is asking for, while all are in the same collective
    const void *in;
    void *out;
    int64_t n;
    hs_dtype d;
    int kind; // hs_reduce, or one of the below
} request;
enum { GATHER = 16, SCATTER, BROADCAST };

typedef struct team {
    pthread_mutex_t lock;
    pthread_cond_t turned;
    int size, waiting;
    int64_t turn;
    bool broken;
    request ask[MAX_RANKS];
    comm_calls calls;
} team;

typedef struct rank {
    team *team;
    hs_comm comm;
    hs_status status;
    char error[512];
    hs_status (*work)(const hs_grid *grid, void *arg, int rank);
    void *arg;
} rank;

static bool meet(team *t)
{
    pthread_mutex_lock(&t->lock);
    const int64_t turn = t->turn;
    if (++t->waiting == t->size) {
        t->waiting = 0, t->turn++;
        pthread_cond_broadcast(&t->turned);
    }
    while (t->turn == turn && !t->broken)
        pthread_cond_wait(&t->turned, &t->lock);
    const bool whole = !t->broken;
    pthread_mutex_unlock(&t->lock);
    return whole;
}

static void give_up(hs_comm *c)
{
    team *t = ((rank *)c->impl)->team;
    pthread_mutex_lock(&t->lock);
    t->broken = true;
    pthread_cond_broadcast(&t->turned);
    pthread_mutex_unlock(&t->lock);
}

// All ranks ask the same, or none gets anything.
static bool enter(hs_comm *c, const request *mine)
{
    rank *r = c->impl;
    team *t = r->team;
    t->ask[c->rank] = *mine;
    if (!meet(t))
        return false;
    for (int i = 0; i < t->size && r->status == HS_OK; i++)
        if (t->ask[i].n != mine->n || t->ask[i].d != mine->d || t->ask[i].kind != mine->kind) {
            r->status = HS_INTERNAL;
            snprintf(r->error, sizeof r->error, "rank %d is in collective %d of %lld %s, rank %d in %d of %lld %s", c->rank, mine->kind,
                     (long long)mine->n, hs_dtype_name(mine->d), i, t->ask[i].kind, (long long)t->ask[i].n, hs_dtype_name(t->ask[i].d));
        }
    if (r->status != HS_OK)
        give_up(c);
    return r->status == HS_OK;
}

// Elements [i, i + k) of all ranks, added in rank order in double and rounded once, or the largest.
static void combine(const team *t, int64_t i, int64_t k, hs_dtype d, hs_reduce op)
{
    enum { BLOCK = 256 };
    const size_t each = hs_dtype_bytes(d);
    double sum[BLOCK], x[BLOCK];
    for (int r = 0; r < t->size; r++) {
        const char *p = (const char *)t->ask[r].in + (size_t)i * each;
        if (d == HS_I32)
            for (int64_t j = 0; j < k; j++)
                x[j] = ((const int32_t *)(const void *)p)[j];
        else
            hs_convert(x, HS_F64, p, d, k);
        for (int64_t j = 0; j < k; j++)
            sum[j] = !r ? x[j] : op == HS_REDUCE_SUM ? sum[j] + x[j] : x[j] > sum[j] ? x[j] : sum[j];
    }
    for (int r = 0; r < t->size; r++) {
        char *p = (char *)t->ask[r].out + (size_t)i * each;
        if (d == HS_I32)
            for (int64_t j = 0; j < k; j++)
                ((int32_t *)(void *)p)[j] = (int32_t)sum[j];
        else
            hs_convert(p, d, sum, HS_F64, k);
    }
}

static void all_reduce(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)l;
    team *t = ((rank *)c->impl)->team;
    if (!enter(c, &(request){ buf, buf, n, d, (int)op }))
        return;
    if (c->rank == 0)
        t->calls.all_reduces++, t->calls.elements += n;
    const int64_t end = n * (c->rank + 1) / c->size; // each rank makes a part of everybody's result
    for (int64_t i = n * c->rank / c->size; i < end; i += 256)
        combine(t, i, end - i < 256 ? end - i : 256, d, op);
    meet(t);
}

static void all_gather(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    (void)l;
    team *t = ((rank *)c->impl)->team;
    const size_t bytes = (size_t)n_each * hs_dtype_bytes(d);
    if (!enter(c, &(request){ in, out, n_each, d, GATHER }))
        return;
    if (c->rank == 0)
        t->calls.all_gathers++, t->calls.elements += n_each * c->size;
    for (int r = 0; r < c->size; r++)
        memmove((char *)out + (size_t)r * bytes, t->ask[r].in, bytes);
    meet(t);
}

static void reduce_scatter(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    (void)l;
    team *t = ((rank *)c->impl)->team;
    char *whole = malloc((size_t)(n_each * c->size) * hs_dtype_bytes(d) + 1);
    if (!whole)
        abort();
    if (enter(c, &(request){ in, whole, n_each, d, SCATTER })) {
        for (int64_t end = n_each * (c->rank + 1), i = n_each * c->rank; i < end; i += 256)
            combine(t, i, end - i < 256 ? end - i : 256, d, HS_REDUCE_SUM);
        meet(t);
        memcpy(out, whole + (size_t)(n_each * c->rank) * hs_dtype_bytes(d), (size_t)n_each * hs_dtype_bytes(d));
        meet(t);
    }
    free(whole);
}

static void broadcast(hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root)
{
    (void)l;
    team *t = ((rank *)c->impl)->team;
    if (!enter(c, &(request){ buf, buf, (int64_t)bytes, HS_I32, BROADCAST + root }))
        return;
    if (c->rank != root)
        memcpy(buf, t->ask[root].in, bytes);
    meet(t);
}

static hs_status poll_rank(hs_comm *c)
{
    rank *r = c->impl;
    if (r->status != HS_OK)
        return hs_fail_at(r->status, __FILE__, __LINE__, "%s", r->error);
    if (r->team->broken)
        return HS_FAIL(REMOTE, "another rank gave up");
    return HS_OK;
}

static hs_comm comm_of(int index, int size, void *impl)
{
    return (hs_comm){ .rank = index,
                      .size = size,
                      .axis = "tp",
                      .all_reduce = all_reduce,
                      .reduce_scatter = reduce_scatter,
                      .all_gather = all_gather,
                      .broadcast = broadcast,
                      .poll = poll_rank,
                      .abort = give_up,
                      .impl = impl };
}

static void *rank_main(void *arg)
{
    rank *r = arg;
    const hs_grid grid = { .dp = &hs_comm_self_dp, .tp = &r->comm };
    const hs_status st = r->work(&grid, r->arg, r->comm.rank);
    if (st == HS_OK)
        return NULL;
    if (r->status == HS_OK && !r->team->broken) { // its own, and the first
        r->status = st;
        snprintf(r->error, sizeof r->error, "rank %d: %s", r->comm.rank, hs_error());
    }
    give_up(&r->comm);
    return NULL;
}

hs_status ranks_run(int size, hs_status (*work)(const hs_grid *grid, void *arg, int rank), void *arg, comm_calls *calls)
{
    team t = { .size = size };
    rank r[MAX_RANKS] = { 0 };
    pthread_t thread[MAX_RANKS];
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.turned, NULL);
    for (int i = 0; i < size; i++) {
        r[i] = (rank){ .team = &t, .comm = comm_of(i, size, &r[i]), .work = work, .arg = arg };
        if (pthread_create(&thread[i], NULL, rank_main, &r[i]))
            abort();
    }
    for (int i = 0; i < size; i++)
        pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&t.lock);
    pthread_cond_destroy(&t.turned);
    if (calls)
        *calls = t.calls;
    for (int i = 0; i < size; i++)
        if (r[i].status != HS_OK)
            return hs_fail_at(r[i].status, __FILE__, __LINE__, "%s", r[i].error);
    return t.broken ? HS_FAIL(REMOTE, "a rank gave up") : HS_OK;
}

hs_grid ranks_absent(int index, int size)
{
    static hs_comm absent;
    absent = comm_of(index, size, NULL); // a call finds nobody, and faults
    return (hs_grid){ .dp = &hs_comm_self_dp, .tp = size > 1 ? &absent : &hs_comm_self_tp };
}

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
    int kind;             // hs_reduce, or one of the below
    const int64_t *parts; // of *_PARTS: their elements, n of them all
} request;
enum { REDUCE_EACH = 8, GATHER_EACH, GATHER, SCATTER, BROADCAST };

typedef struct job {
    pthread_mutex_t lock;
    pthread_cond_t turned;
    bool broken;
} job;

typedef struct team { // the ranks of one comm
    job *job;
    int size, waiting;
    int64_t turn;
    request ask[MAX_RANKS];
    comm_calls *calls; // NULL: nobody counts
} team;

enum { STARTED = 64 };
typedef struct member { // a rank's end of a comm
    hs_comm comm;
    team *team;
    struct rank *rank;
    hs_status status;
    char error[512];
    hs_collective started[STARTED];
    int n_started;
    bool finishing;
} member;

typedef struct rank {
    member end[RANKS_COMMS];
    hs_grid grid;
    int index;
    ranks_work *work;
    void *arg;
    hs_status status;
    char error[512];
} rank;

static bool meet(team *t)
{
    job *j = t->job;
    pthread_mutex_lock(&j->lock);
    const int64_t turn = t->turn;
    if (++t->waiting == t->size) {
        t->waiting = 0, t->turn++;
        pthread_cond_broadcast(&j->turned);
    }
    while (t->turn == turn && !j->broken)
        pthread_cond_wait(&j->turned, &j->lock);
    const bool whole = !j->broken;
    pthread_mutex_unlock(&j->lock);
    return whole;
}

static void give_up(hs_comm *c)
{
    job *j = ((member *)c->impl)->team->job;
    pthread_mutex_lock(&j->lock);
    j->broken = true;
    pthread_cond_broadcast(&j->turned);
    pthread_mutex_unlock(&j->lock);
}

static bool is_broken(job *j)
{
    pthread_mutex_lock(&j->lock);
    const bool broken = j->broken;
    pthread_mutex_unlock(&j->lock);
    return broken;
}

static bool same_parts(const request *a, const request *b, int n)
{
    return (!a->parts && !b->parts) || (a->parts && b->parts && !memcmp(a->parts, b->parts, (size_t)n * sizeof *a->parts));
}

static void fail_member(member *m, const char *line)
{
    m->status = HS_INTERNAL;
    snprintf(m->error, sizeof m->error, "%s", line);
    give_up(&m->comm);
}

// All ranks ask the same, or none gets anything.
static bool enter(hs_comm *c, const request *mine)
{
    member *m = c->impl;
    team *t = m->team;
    char line[256];
    if (m->n_started && !m->finishing) {
        fail_member(m, "a collective is asked for while others are started and not finished");
        return false;
    }
    t->ask[c->rank] = *mine;
    if (!meet(t))
        return false;
    for (int i = 0; i < t->size && m->status == HS_OK; i++)
        if (t->ask[i].n != mine->n || t->ask[i].d != mine->d || t->ask[i].kind != mine->kind || !same_parts(&t->ask[i], mine, t->size)) {
            snprintf(line, sizeof line, "rank %d is in collective %d of %lld %s, rank %d in %d of %lld %s", c->rank, mine->kind,
                     (long long)mine->n, hs_dtype_name(mine->d), i, t->ask[i].kind, (long long)t->ask[i].n, hs_dtype_name(t->ask[i].d));
            fail_member(m, line);
        }
    return m->status == HS_OK;
}

static comm_calls *counting(hs_comm *c, int64_t elements)
{
    static _Thread_local comm_calls nobody;
    member *m = c->impl;
    if (m->rank->index != 0 || !m->team->calls)
        return &nobody;
    m->team->calls->elements += elements;
    return m->team->calls;
}

// Elements [i, i + k) of all ranks, added in rank order in double and rounded once, or the largest: to all of them, or to one.
static void combine(const team *t, int64_t i, int64_t k, hs_dtype d, hs_reduce op, int only)
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
        if (only >= 0 && r != only)
            continue;
        if (d == HS_I32)
            for (int64_t j = 0; j < k; j++)
                ((int32_t *)(void *)p)[j] = (int32_t)sum[j];
        else
            hs_convert(p, d, sum, HS_F64, k);
    }
}

static void combine_range(const team *t, int64_t first, int64_t end, hs_dtype d, hs_reduce op, int only)
{
    for (int64_t i = first; i < end; i += 256)
        combine(t, i, end - i < 256 ? end - i : 256, d, op, only);
}

static void all_reduce(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)l;
    team *t = ((member *)c->impl)->team;
    if (!enter(c, &(request){ buf, buf, n, d, (int)op, NULL }))
        return;
    counting(c, n)->all_reduces++;
    combine_range(t, n * c->rank / c->size, n * (c->rank + 1) / c->size, d, op, -1); // each rank makes a part of everybody's result
    meet(t);
}

static void all_gather(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    (void)l;
    team *t = ((member *)c->impl)->team;
    const size_t bytes = (size_t)n_each * hs_dtype_bytes(d);
    if (!enter(c, &(request){ in, out, n_each, d, GATHER, NULL }))
        return;
    counting(c, n_each * c->size)->all_gathers++;
    for (int r = 0; r < c->size; r++)
        memmove((char *)out + (size_t)r * bytes, t->ask[r].in, bytes);
    meet(t);
}

static void reduce_scatter(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    (void)l;
    team *t = ((member *)c->impl)->team;
    char *whole = malloc((size_t)(n_each * c->size) * hs_dtype_bytes(d) + 1);
    if (!whole)
        abort();
    if (enter(c, &(request){ in, whole, n_each, d, SCATTER, NULL })) {
        combine_range(t, n_each * c->rank, n_each * (c->rank + 1), d, HS_REDUCE_SUM, c->rank);
        memcpy(out, whole + (size_t)(n_each * c->rank) * hs_dtype_bytes(d), (size_t)n_each * hs_dtype_bytes(d));
        meet(t);
    }
    free(whole);
}

static int64_t sum_of(const int64_t *n, int parts)
{
    int64_t all = 0;
    for (int i = 0; i < parts; i++)
        all += n[i];
    return all;
}

static void reduce_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    (void)l;
    team *t = ((member *)c->impl)->team;
    const int64_t first = sum_of(n, c->rank), all = sum_of(n, c->size);
    if (!enter(c, &(request){ buf, buf, all, d, REDUCE_EACH, n }))
        return;
    counting(c, all)->reduce_parts++;
    combine_range(t, first, first + n[c->rank], d, HS_REDUCE_SUM, c->rank);
    if (!meet(t))
        return;
    memset(buf, 0xee, (size_t)first * hs_dtype_bytes(d)); // anything
    memset((char *)buf + (size_t)(first + n[c->rank]) * hs_dtype_bytes(d), 0xee, (size_t)(all - first - n[c->rank]) * hs_dtype_bytes(d));
}

static void gather_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    (void)l;
    team *t = ((member *)c->impl)->team;
    const size_t width = hs_dtype_bytes(d);
    if (!enter(c, &(request){ buf, buf, sum_of(n, c->size), d, GATHER_EACH, n }))
        return;
    counting(c, sum_of(n, c->size))->gather_parts++;
    for (int r = 0; r < c->size; r++) {
        const size_t at = (size_t)sum_of(n, r) * width;
        if (r != c->rank)
            memcpy((char *)buf + at, (const char *)t->ask[r].in + at, (size_t)n[r] * width);
    }
    meet(t);
}

static void broadcast(hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root)
{
    (void)l;
    team *t = ((member *)c->impl)->team;
    if (!enter(c, &(request){ buf, buf, (int64_t)bytes, HS_I32, BROADCAST + root, NULL }))
        return;
    if (c->rank != root)
        memcpy(buf, t->ask[root].in, bytes);
    meet(t);
}

// As late as may be: whoever reads before finish reads what was there.
static void start(hs_comm *c, hs_lane *l, const hs_collective *what)
{
    (void)l;
    member *m = c->impl;
    if (m->n_started == STARTED)
        abort();
    m->started[m->n_started++] = *what;
}

static void finish_but(hs_comm *c, hs_lane *l, int64_t left)
{
    member *m = c->impl;
    const int n = m->n_started > left ? m->n_started - (int)left : 0;
    m->finishing = true;
    for (int i = 0; i < n; i++) {
        const hs_collective *w = &m->started[i];
        if (w->kind == HS_ALL_REDUCE)
            all_reduce(c, l, w->buf, w->n, w->dtype, w->op);
        else
            (w->kind == HS_REDUCE_PARTS ? reduce_parts : gather_parts)(c, l, w->buf, w->parts, w->dtype);
    }
    memmove(m->started, m->started + n, (size_t)(m->n_started - n) * sizeof *m->started);
    m->n_started -= n, m->finishing = false;
}

static void finish(hs_comm *c, hs_lane *l) { finish_but(c, l, 0); }

static hs_status poll_rank(hs_comm *c)
{
    member *m = c->impl;
    if (m->status != HS_OK)
        return hs_fail_at(m->status, __FILE__, __LINE__, "%s", m->error);
    if (is_broken(m->team->job))
        return HS_FAIL(REMOTE, "another rank gave up");
    return HS_OK;
}

static hs_comm comm_of(const char *axis, int index, int size, void *impl)
{
    return (hs_comm){ .rank = index,
                      .size = size,
                      .axis = axis,
                      .all_reduce = all_reduce,
                      .reduce_scatter = reduce_scatter,
                      .all_gather = all_gather,
                      .reduce_parts = reduce_parts,
                      .gather_parts = gather_parts,
                      .start = start,
                      .finish = finish,
                      .finish_but = finish_but,
                      .broadcast = broadcast,
                      .poll = poll_rank,
                      .abort = give_up,
                      .impl = impl };
}

static void *rank_main(void *arg)
{
    rank *r = arg;
    const hs_status st = r->work(&r->grid, r->arg, r->index);
    if (st == HS_OK)
        return NULL;
    bool own = !is_broken(r->end[0].team->job); // its own, and the first
    for (int k = 0; k < RANKS_COMMS; k++)
        own = own && r->end[k].status == HS_OK;
    if (own) {
        r->status = st;
        snprintf(r->error, sizeof r->error, "rank %d: %.480s", r->index, hs_error());
    }
    give_up(&r->end[0].comm);
    return NULL;
}

static void join_team(rank *r, int which, const char *axis, team *t, int index)
{
    member *m = &r->end[which];
    m->rank = r, m->team = t;
    m->comm = comm_of(axis, index, t->size, m);
}

static void rank_init(rank *r, team (*teams)[MAX_RANKS], int index, int tp)
{
    const int dp_rank = index / tp, tp_rank = index % tp;
    r->index = index;
    join_team(r, RANKS_TP, "tp", &teams[RANKS_TP][dp_rank], tp_rank);
    join_team(r, RANKS_DP, "dp", &teams[RANKS_DP][tp_rank], dp_rank);
    join_team(r, RANKS_WORLD, "world", &teams[RANKS_WORLD][0], index);
    join_team(r, RANKS_FILES, "files", &teams[RANKS_FILES][0], index);
    const bool single = r->end[RANKS_DP].comm.size == 1;
    r->grid = (hs_grid){ .dp = single ? &hs_comm_self_dp : &r->end[RANKS_DP].comm, .tp = &r->end[RANKS_TP].comm };
}

static hs_status first_error(const rank *r, int n, bool broken)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < RANKS_COMMS; k++)
            if (r[i].end[k].status != HS_OK)
                return hs_fail_at(r[i].end[k].status, __FILE__, __LINE__, "%s", r[i].end[k].error);
    for (int i = 0; i < n; i++)
        if (r[i].status != HS_OK)
            return hs_fail_at(r[i].status, __FILE__, __LINE__, "%s", r[i].error);
    return broken ? HS_FAIL(REMOTE, "a rank gave up") : HS_OK;
}

hs_status ranks_run_grid(int dp, int tp, ranks_work *work, void *arg, comm_calls *calls)
{
    job j = { .broken = false };
    team t[RANKS_COMMS][MAX_RANKS] = { 0 };
    const int size[RANKS_COMMS] = { tp, dp, dp * tp, dp * tp };
    rank *r = calloc(MAX_RANKS, sizeof *r);
    pthread_t thread[MAX_RANKS];
    if (!r || dp * tp > MAX_RANKS)
        abort();
    pthread_mutex_init(&j.lock, NULL);
    pthread_cond_init(&j.turned, NULL);
    for (int k = 0; k < RANKS_COMMS; k++) {
        for (int i = 0; i < MAX_RANKS; i++)
            t[k][i] = (team){ .job = &j, .size = size[k], .calls = calls ? &calls[k] : NULL };
        if (calls)
            calls[k] = (comm_calls){ 0 };
    }
    for (int i = 0; i < dp * tp; i++) {
        rank_init(&r[i], t, i, tp);
        r[i].work = work, r[i].arg = arg;
    }
    for (int i = 0; i < dp * tp; i++)
        if (pthread_create(&thread[i], NULL, rank_main, &r[i]))
            abort();
    for (int i = 0; i < dp * tp; i++)
        pthread_join(thread[i], NULL);
    const hs_status st = first_error(r, dp * tp, j.broken);
    pthread_mutex_destroy(&j.lock);
    pthread_cond_destroy(&j.turned);
    free(r);
    return st;
}

hs_status ranks_run(int tp, ranks_work *work, void *arg, comm_calls *calls)
{
    comm_calls all[RANKS_COMMS];
    const hs_status st = ranks_run_grid(1, tp, work, arg, all);
    if (calls)
        *calls = all[RANKS_TP];
    return st;
}

hs_comm *ranks_world(const hs_grid *grid) { return &((member *)grid->tp->impl)->rank->end[RANKS_WORLD].comm; }
hs_comm *ranks_files(const hs_grid *grid) { return &((member *)grid->tp->impl)->rank->end[RANKS_FILES].comm; }

hs_grid ranks_absent_grid(int index, int dp, int tp)
{
    static hs_comm absent[2]; // a call finds nobody, and faults
    absent[0] = comm_of("dp", index / tp, dp, NULL), absent[1] = comm_of("tp", index % tp, tp, NULL);
    return (hs_grid){ .dp = dp > 1 ? &absent[0] : &hs_comm_self_dp, .tp = tp > 1 ? &absent[1] : &hs_comm_self_tp };
}

hs_grid ranks_absent(int index, int size) { return ranks_absent_grid(index, 1, size); }

// comm: the collectives of one rank, and calls that are done at once where a backend starts none.
#include "core/graph/comm.h"
#include <string.h>

static void all_reduce(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)c, (void)l, (void)buf, (void)n, (void)d, (void)op; // the sum over one rank is its own
}

static void copy_own(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    (void)c, (void)l;
    if (in != out)
        memmove(out, in, (size_t)n_each * hs_dtype_bytes(d));
}

static void own_part(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d) { (void)c, (void)l, (void)buf, (void)n, (void)d; }

static void broadcast(hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root) { (void)c, (void)l, (void)buf, (void)bytes, (void)root; }

static hs_status poll_nothing(hs_comm *c)
{
    (void)c;
    return HS_OK;
}

static void abort_nothing(hs_comm *c) { (void)c; }

#define SELF(name)                                                                                                                         \
    {                                                                                                                                      \
        .rank = 0, .size = 1, .axis = name, .all_reduce = all_reduce, .reduce_scatter = copy_own, .all_gather = copy_own,                  \
        .reduce_parts = own_part, .gather_parts = own_part, .broadcast = broadcast, .poll = poll_nothing, .abort = abort_nothing           \
    }
hs_comm hs_comm_self_dp = SELF("dp");
hs_comm hs_comm_self_tp = SELF("tp");

void hs_comm_start(hs_comm *c, hs_lane *l, const hs_collective *what)
{
    if (c->start)
        c->start(c, l, what);
    else if (what->kind == HS_ALL_REDUCE)
        c->all_reduce(c, l, what->buf, what->n, what->dtype, what->op);
    else
        (what->kind == HS_REDUCE_PARTS ? c->reduce_parts : c->gather_parts)(c, l, what->buf, what->parts, what->dtype);
}

void hs_comm_finish(hs_comm *c, hs_lane *l)
{
    if (c->finish)
        c->finish(c, l);
}

void hs_comm_finish_but(hs_comm *c, hs_lane *l, int64_t left)
{
    if (c->finish_but)
        c->finish_but(c, l, left);
    else
        hs_comm_finish(c, l);
}

void hs_comm_close(hs_comm *c)
{
    if (c && c->close)
        c->close(c);
}

hs_grid hs_grid_self(void) { return (hs_grid){ .dp = &hs_comm_self_dp, .tp = &hs_comm_self_tp }; }

hs_grid hs_grid_absent(hs_comm store[2], int dp, int tp, int rank)
{
    store[0] = (hs_comm){ .rank = rank / tp, .size = dp, .axis = "dp" };
    store[1] = (hs_comm){ .rank = rank % tp, .size = tp, .axis = "tp" };
    return (hs_grid){ .dp = dp > 1 ? &store[0] : &hs_comm_self_dp, .tp = tp > 1 ? &store[1] : &hs_comm_self_tp };
}

// agree: one small collective - who has failed, is anybody still at work - and after a failure the message of the first.
#include "core/graph/agree.h"
#include "core/base/clock.h"
#include <stdio.h>
#include <string.h>

hs_agreement hs_agree_begin(hs_comm *comm, double every)
{
    return (hs_agreement){ .comm = comm && comm->size > 1 ? comm : NULL, .every = every, .last = hs_now() };
}

typedef struct report {
    int32_t status;
    char message[1020];
} report;

static hs_status again(const hs_agreement *a) { return hs_fail_at(a->outcome, __FILE__, __LINE__, "%s", a->message); }

// All hear from the lowest rank that has failed.
static hs_status hear(hs_agreement *a, int rank, hs_status mine)
{
    report r = { .status = (int32_t)mine };
    if (a->comm->rank == rank)
        snprintf(r.message, sizeof r.message, "%s", hs_error());
    a->comm->about = "what failed";
    a->comm->broadcast(a->comm, NULL, &r, sizeof r, rank);
    HS_TRY(a->comm->poll(a->comm));
    a->failed = true;
    a->outcome = r.status > HS_OK && r.status < HS_N_STATUS ? (hs_status)r.status : HS_REMOTE;
    snprintf(a->message, sizeof a->message, "rank %d: %.1000s", rank, r.message);
    return again(a);
}

static hs_status meet(hs_agreement *a, hs_status mine, bool at_work, bool *anybody)
{
    hs_comm *c = a->comm;
    double now[2] = { mine == HS_OK ? 0 : c->size - c->rank, at_work };
    c->about = "whether all is well";
    c->all_reduce(c, NULL, now, 2, HS_F64, HS_REDUCE_MAX);
    HS_TRY(c->poll(c));
    a->last = hs_now();
    *anybody = now[1] != 0;
    return now[0] > 0 ? hear(a, c->size - (int)now[0], mine) : HS_OK;
}

hs_status hs_agree_tick(hs_agreement *a)
{
    bool anybody;
    if (!a || !a->comm || (!a->failed && hs_now() - a->last < a->every))
        return HS_OK;
    return a->failed ? again(a) : meet(a, HS_OK, true, &anybody);
}

hs_status hs_agree_end(hs_agreement *a, hs_status mine)
{
    bool anybody = true;
    if (!a->comm)
        return mine;
    if (a->failed)
        return again(a);
    while (anybody)
        HS_TRY(meet(a, mine, false, &anybody));
    return HS_OK;
}

hs_status hs_agree(hs_comm *comm, hs_status mine)
{
    hs_agreement a = hs_agree_begin(comm, 0);
    return hs_agree_end(&a, mine);
}

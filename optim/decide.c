// decide: what a step comes to, from the partials of its gradients - whether it is skipped, the norm, and every number the passes read.
//
// Made once, by one member; whatever ranks have to agree on comes before it, in thunks of their own, so that no collective and no branch
// of the host lies inside an update.
#include "optim/decide.h"

static bool any_bad(const hs_partial *partial, int64_t n)
{
    bool found = false;
    for (int64_t k = 0; k < n; k++)
        found |= partial[k].b > 0;
    return found;
}

// What tensor-parallel ranks hold in common is counted once.
void hs_optim_total(const hs_args *a, hs_lane *lane)
{
    const hs_update_chunk *chunk = (const hs_update_chunk *)a->in[0].p;
    hs_partial *partial = (hs_partial *)a->out[0].p;
    for (int64_t k = 0; k < a->in[0].rows; k++)
        if (!chunk[k].counted)
            partial[k] = (hs_partial){ 0, 0 };
    a->comm->all_reduce(a->comm, lane, partial, 2 * a->out[0].rows, HS_F64, HS_REDUCE_SUM);
}

// Every rank must take the same branch, so whether anyone saw a non-finite gradient is settled before anyone acts on it.
void hs_optim_vote(const hs_args *a, hs_lane *lane)
{
    int32_t *found = (int32_t *)a->out[0].p;
    *found = any_bad((const hs_partial *)a->in[0].p, a->in[0].rows);
    a->comm->all_reduce(a->comm, lane, found, 1, HS_I32, HS_REDUCE_MAX);
}

// The same partials in the same places as if nothing were divided: so are all sums of them.
void hs_optim_gather(const hs_args *a, hs_lane *lane)
{
    const hs_move *m = a->attr;
    const int32_t *spot = (const int32_t *)a->in[0].p;
    const hs_partial *dealt = (const hs_partial *)a->out[0].p;
    hs_partial *partial = (hs_partial *)a->out[1].p;
    a->comm->gather_parts(a->comm, lane, a->out[0].p, m->parts, HS_F64);
    for (int64_t k = 0; k < a->out[1].rows; k++)
        partial[k] = dealt[spot[k]];
}

static void count_bad(const hs_args *a, int64_t *bad)
{
    const hs_update_chunk *chunk = (const hs_update_chunk *)a->in[0].p;
    const hs_partial *partial = (const hs_partial *)a->in[1].p;
    memset(bad, 0, (size_t)a->out[1].rows * sizeof *bad);
    for (int64_t k = 0; k < a->in[0].rows; k++)
        bad[chunk[k].param] += (int64_t)partial[k].b;
}

void hs_optim_decide(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    const hs_partial *partial = (const hs_partial *)a->in[1].p;
    const bool overflow = a->in[3].p ? *(const int32_t *)a->in[3].p : any_bad(partial, a->in[1].rows);
    double squares = 0;
    if (overflow) {
        count_bad(a, (int64_t *)a->out[1].p);
        hs_decide_bad(a->state, (const int64_t *)a->out[1].p, (const int32_t *)a->in[2].p, (int32_t)a->out[1].rows);
    } else
        for (int64_t k = 0; k < a->in[1].rows; k++)
            squares += partial[k].a;
    hs_decide_step(a->attr, (hs_update_step *)a->out[0].p, a->state, overflow, squares, a->step->seed, hs_hash_string("optim.moments"));
}

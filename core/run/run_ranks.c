// run_ranks: what the ranks of a run have between them. Tokens that tensor-parallel ranks divide between the products: how many of them
// this rank has in a submission. In front of an update: gradients that are parts of a sum over those ranks, added up.
#include "core/graph/divide.h"
#include "core/run/run_impl.h"
#include <stdlib.h>

void hs_run_count_share(hs_run *r)
{
    const hs_comm *tp = r->model->grid.tp;
    int64_t *n = r->blocks.in.n;
    n[HS_COUNT_SHARE] = hs_share_first(n[HS_COUNT_TOKENS], tp->rank + 1, tp->size) - hs_share_first(n[HS_COUNT_TOKENS], tp->rank, tp->size);
}

static bool is_part(const hs_params *ps, int i) { return ps->param[i]->grad_of == HS_GRAD_PART && hs_slab_has(ps->grad, ps->param[i]); }

static bool takes_part(const void *ps, int i) { return is_part(ps, i); }

static int count_parts(const hs_params *ps)
{
    int n = 0;
    for (int i = 0; ps->grad && i < ps->n_params; i++)
        n += is_part(ps, i);
    return n;
}

// All are begun before one is waited for. Neighbours go in one call, with the padding between them.
static void build(hs_run *r)
{
    const hs_params *ps = r->model->params;
    hs_segment *s = &r->front;
    hs_share_run run = { .last = -1 };
    while (hs_slab_run_next(ps, ps->grad, run.last + 1, takes_part, ps, &run))
        s->thunk[s->n++] = hs_run_begin_move(r, r->model->grid.tp, "gradient sum over tp", &run, NULL);
    if (s->n)
        s->thunk[s->n++] = hs_run_on(r, r->model->grid.tp, r->device->core->finish, "gradient sums finish");
}

hs_status hs_run_make_front(hs_run *r)
{
    const int n = count_parts(r->model->params);
    if (n == r->n_parts) // else at first, or where a plan came later
        return HS_OK;
    HS_TRY(hs_run_wait(r));
    hs_run_drop(r, &r->front);
    r->front.thunk = malloc((size_t)(n + 1) * sizeof *r->front.thunk);
    if (!r->front.thunk)
        return HS_FAIL(MEMORY, "no memory for sums of %d gradients", n);
    r->n_parts = n;
    build(r);
    return HS_OK;
}

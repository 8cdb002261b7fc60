// run_tp: tokens that tensor-parallel ranks divide between the products - how many of them this rank has in a submission - and gradients
// that are parts of a sum over the ranks, added up in front of an update.
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

static int count(const hs_params *ps)
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
    hs_segment *s = &r->tp_sums;
    hs_share_run run = { .last = -1 };
    s->n = 0;
    while (hs_slab_run_next(ps, ps->grad, run.last + 1, takes_part, ps, &run))
        s->thunk[s->n++] = hs_run_begin_move(r, r->model->grid.tp, "gradient sum over tp", &run, NULL);
    s->thunk[s->n++] = hs_run_on(r, r->model->grid.tp, r->device->core->finish, "gradient sums finish");
}

hs_status hs_run_tp_sums(hs_run *r, const hs_segment **out)
{
    const int n = count(r->model->params);
    *out = NULL;
    if (!n)
        return HS_OK;
    if (n != r->n_tp_sums) { // at first, and where a plan came later
        HS_TRY(hs_run_wait(r));
        hs_run_drop(r, &r->tp_sums);
        r->tp_sums.thunk = malloc((size_t)(n + 1) * sizeof *r->tp_sums.thunk);
        if (!r->tp_sums.thunk)
            return HS_FAIL(MEMORY, "no memory for sums of %d gradients", n);
        r->n_tp_sums = n;
        build(r);
    }
    *out = &r->tp_sums;
    return HS_OK;
}

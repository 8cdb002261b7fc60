// run_ranks: what the ranks of a run have between them. Tokens that tensor-parallel ranks divide between the products: how many of them
// this rank has in a submission. In front of an update: gradients that are parts of a sum over those ranks, added up; states of which all
// ranks get the largest, over tp and then over dp.
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

static hs_thunk *next(hs_run *r) { return &r->front.thunk[r->front.n++]; }

// Neighbours go in one call, with the padding between them.
static void begin_sums(hs_run *r)
{
    const hs_params *ps = r->model->params;
    hs_share_run run = { .last = -1 };
    while (r->n_parts && hs_slab_run_next(ps, ps->grad, run.last + 1, takes_part, ps, &run))
        *next(r) = hs_run_begin_move(r, r->model->grid.tp, "gradient sum over tp", &run, NULL);
}

static void begin_largest(hs_run *r, hs_comm *comm)
{
    static const hs_move largest = { .kind = HS_ALL_REDUCE, .op = HS_REDUCE_MAX };
    for (int i = 0; i < r->front_largest; i++) {
        hs_thunk *t = next(r);
        *t = hs_run_on(r, comm, r->device->core->begin, "largest of states");
        t->args.attr = &largest;
        t->args.out[0] = (hs_ref){ .p = hs_device_bind(r->device, r->largest[i].p),
                                   .rows = (int64_t)(r->largest[i].bytes / sizeof(float)),
                                   .cols = 1,
                                   .dtype = HS_F32 };
    }
}

// Of each axis all is begun before anything is waited for.
static void build(hs_run *r)
{
    hs_comm *const axis[] = { r->model->grid.tp, r->model->grid.dp };
    for (int i = 0; i < HS_COUNT(axis); i++) {
        const int before = r->front.n;
        if (axis[i] == r->model->grid.tp)
            begin_sums(r);
        if (axis[i]->size > 1)
            begin_largest(r, axis[i]);
        if (r->front.n > before)
            *next(r) = hs_run_on(r, axis[i], r->device->core->finish, "front of an update");
    }
}

hs_status hs_run_make_front(hs_run *r)
{
    const int parts = count_parts(r->model->params), calls = parts + 2 * r->n_largest + 2;
    if (parts == r->n_parts && r->n_largest == r->front_largest) // else at first, or where a plan came later
        return HS_OK;
    HS_TRY(hs_run_wait(r));
    hs_run_drop(r, &r->front);
    r->front.thunk = malloc((size_t)calls * sizeof *r->front.thunk);
    if (!r->front.thunk)
        return HS_FAIL(MEMORY, "no memory for %d calls in front of an update", calls);
    r->n_parts = parts, r->front_largest = r->n_largest;
    build(r);
    return HS_OK;
}

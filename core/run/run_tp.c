// run_tp: tokens that tensor-parallel ranks divide between the products - how many of them this rank has in a submission - and gradients
// that are parts of a sum over the ranks, added up in front of an update.
#include "core/run/run_impl.h"
#include <stdlib.h>

void hs_run_count_share(hs_run *r)
{
    const hs_comm *tp = r->model->grid.tp;
    int64_t *n = r->blocks.in.n;
    n[HS_COUNT_SHARE] = hs_share_first(n[HS_COUNT_TOKENS], tp->rank + 1, tp->size) - hs_share_first(n[HS_COUNT_TOKENS], tp->rank, tp->size);
}

static bool is_part(const hs_params *ps, int i) { return ps->param[i]->grad_of == HS_GRAD_PART && hs_slab_has(ps->grad, ps->param[i]); }

static int count(const hs_params *ps)
{
    int n = 0;
    for (int i = 0; ps->grad && i < ps->n_params; i++)
        n += is_part(ps, i);
    return n;
}

static hs_thunk on_tp(const hs_run *r, hs_kernel *fn, const char *name)
{
    return (hs_thunk){ .fn = fn,
                       .args = { .comm = r->model->grid.tp, .step = r->blocks.bound_in, .state = r->blocks.bound_state },
                       .name = name,
                       .backward = true,
                       .sync = true,
                       .part = HS_PART_SOLO };
}

// All are begun before one is waited for. Neighbours go in one call, with the padding between them.
static void build(hs_run *r)
{
    static const hs_move sum = { .kind = HS_ALL_REDUCE };
    const hs_params *ps = r->model->params;
    hs_segment *s = &r->tp_sums;
    float *first = NULL, *end = NULL;
    int last = -2;
    s->n = 0;
    for (int i = 0; i < ps->n_params; i++) {
        size_t begins, n;
        if (!is_part(ps, i))
            continue;
        hs_slab_range(ps->grad, ps->param[i], &begins, &n);
        float *at = (float *)hs_slab_bound(ps->grad, ps->param[i]);
        if (i != last + 1 || at < end || at - end >= HS_SLAB_ALIGN) {
            first = at;
            s->thunk[s->n] = on_tp(r, r->device->core->begin, "gradient sum over tp");
            s->thunk[s->n++].args.attr = &sum;
        }
        end = at + n, last = i;
        s->thunk[s->n - 1].args.out[0] = (hs_ref){ .p = (char *)first, .rows = end - first, .cols = 1, .dtype = HS_F32 };
    }
    s->thunk[s->n++] = on_tp(r, r->device->core->finish, "gradient sums finish");
}

hs_status hs_run_tp_sums(hs_run *r, const hs_segment **out)
{
    const int n = count(r->model->params);
    *out = NULL;
    if (!n)
        return HS_OK;
    if (n != r->n_tp_sums) { // at first, and where a plan came later
        HS_TRY(hs_run_wait(r));
        hs_thunk *t = realloc(r->tp_sums.thunk, (size_t)(n + 1) * sizeof *t);
        if (!t)
            return HS_FAIL(MEMORY, "no memory for sums of %d gradients", n);
        r->tp_sums.thunk = t, r->n_tp_sums = n;
        build(r);
    }
    *out = &r->tp_sums;
    return HS_OK;
}

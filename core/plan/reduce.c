// reduce: gradients over dp, one call per bucket of neighbouring parameters, as soon as the last of them is complete. The bucket is the
// call's operand, read and written, so that barriers and devices see which bytes it takes.
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <stdlib.h>

enum { BUCKET_BYTES = 25 << 20, GAP = 64 * sizeof(float) }; // gap: what two neighbours of a slab have between them, at most

typedef struct done {
    int call;
    hs_param *p;
    size_t lo, hi; // bytes of the gradient slab
} done;

static int by_call(const void *a, const void *b)
{
    const done *x = a, *y = b;
    return x->call != y->call ? (x->call > y->call) - (x->call < y->call) : (x->lo > y->lo) - (x->lo < y->lo);
}

static const hs_op all_reduce = { .name = "gradient all-reduce",
                                  .formula = "gradient = sum of gradient over dp",
                                  .in = { { "gradient", HS_AMP_NONE, HS_NO_GRAD } },
                                  .out = { { "gradient", HS_AMP_NONE, HS_IS_INPUT_0 } } };

// n elements of the gradient slab, from those of `first` on.
static void reduce_call(hs_plan *p, const hs_node *near, hs_param *first, size_t n)
{
    hs_graph *g = p->graph;
    hs_node *node = hs_node_beside(g, near, &all_reduce, NULL);
    hs_tensor *t = hs_graph_alloc(g, sizeof *t);
    if (!node || !t)
        return;
    *t = (hs_tensor){ .kind = HS_PARAM, .dtype = HS_F32, .n_dims = 1, .dim = { (int64_t)n }, .scope = near->scope, .id = -1 };
    t->name = first->name, t->param = first;
    node->in[0] = node->out[0] = t;
    hs_call *r = hs_plan_call(p, node, all_reduce.name);
    r->fn = p->dev->core->all_reduce, r->part = HS_PART_SOLO, r->comm = g->grid.dp, r->backward = true, r->last_only = true;
    r->in[0] = r->out[0] = (hs_slot){ .where = HS_AT_GRAD, .t = t, .dtype = HS_F32 };
    r->out[0].writes = true;
}

// Runs are appended behind the last writer of each bucket by rebuilding the list in order.
hs_status hs_plan_reduce(hs_plan *p)
{
    if (!hs_plan_trains(p) || (p->graph->grid.dp->size == 1 && !p->opts.collectives))
        return HS_OK;
    const hs_params *ps = p->graph->params;
    done *d = calloc((size_t)ps->n_params + 1, sizeof *d);
    if (!d)
        return HS_FAIL(MEMORY, "no memory for the reductions of %d parameters", ps->n_params);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_place *at = &ps->grad->place[i];
        d[i] = (done){ -1, ps->param[i], at->offset, at->offset + at->bytes };
    }
    for (int i = 0; i < p->n_calls; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            if (p->call[i].din[k].where == HS_AT_GRAD)
                d[p->call[i].din[k].t->param->id].call = i;
    qsort(d, (size_t)ps->n_params, sizeof *d, by_call);
    hs_call *old = p->call;
    const int n_old = p->n_calls;
    p->call = NULL, p->n_calls = p->cap_calls = 0;
    int next = 0;
    while (next < ps->n_params && d[next].call < 0)
        next++; // never written: no gradient
    int first = next;
    size_t bytes = 0;
    for (int i = 0; i < n_old; i++) {
        hs_call *r = hs_plan_call(p, old[i].node, old[i].name);
        *r = old[i];
        for (; next < ps->n_params && d[next].call == i; next++)
            bytes += d[next].hi - d[next].lo;
        if (next > first && (bytes >= BUCKET_BYTES || i == n_old - 1 || next == ps->n_params)) {
            // Completed parameters lie in one or a few contiguous ranges of the slab.
            for (int a = first; a < next;) {
                hs_param *lowest = d[a].p;
                size_t lo = d[a].lo, hi = d[a].hi;
                int b = a + 1;
                for (; b < next; b++) {
                    if (d[b].lo >= hi && d[b].lo - hi < GAP)
                        hi = d[b].hi;
                    else if (d[b].hi <= lo && lo - d[b].hi < GAP)
                        lo = d[b].lo, lowest = d[b].p;
                    else
                        break;
                }
                reduce_call(p, old[i].node, lowest, (hi - lo) / sizeof(float));
                a = b;
            }
            first = next, bytes = 0;
        }
    }
    free(old);
    free(d);
    return HS_OK;
}

// await: behind an update values come from the ranks that made them, group by group (core/graph/divide.h), while the next step has begun:
// before the first kernel that reads values of a group stands a call that waits for them. In every other micro-step they are there.
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <stdlib.h>

static const hs_op await = { .name = "values await", .formula = "waits for values of other ranks" };

// Groups that must be there before the call, from the first on.
static int groups_read(const hs_plan *p, const hs_call *r)
{
    int n = 0;
    for (int k = 0; k < HS_MAX_IN; k++) {
        const hs_slot *s = &r->in[k];
        if ((s->where != HS_AT_MASTER && s->where != HS_AT_LOW) || (r->derived && r->derived_in == k))
            continue;
        const int group = hs_param_group(p->graph->params, s->t->param);
        n = group + 1 > n ? group + 1 : n;
    }
    return n;
}

hs_status hs_plan_await(hs_plan *p)
{
    if (!hs_plan_trains(p) || !p->graph->params->shares)
        return HS_OK;
    hs_call *old = p->call;
    const int n_old = p->n_calls;
    int there = 0;
    p->call = NULL, p->n_calls = p->cap_calls = 0;
    for (int i = 0; i < n_old; i++) {
        const int groups = groups_read(p, &old[i]);
        hs_node *node = groups > there ? hs_node_beside(p->graph, old[i].node, &await, NULL) : NULL;
        if (node) {
            hs_call *r = hs_plan_call(p, node, await.name);
            r->fn = p->dev->core->finish, r->part = HS_PART_SOLO, r->comm = p->graph->grid.dp, r->await = groups, r->sync = true;
            there = groups;
        }
        hs_call *r = hs_plan_call(p, old[i].node, old[i].name);
        *r = old[i];
        r->sync |= node != NULL;
    }
    free(old);
    return HS_OK;
}

// joined: where the kernels of an op can do the call in front of theirs too (hs_kernels.join), two calls become one: the one in front does
// both. Each keeps its operands, so that the joint kernel may still do one after the other; bytes of either live as long as the pair runs.
//
//   forward    y = front(...), z = op(y)                         front: the op that made y
//   backward   dy = what front's backward makes of its input alone, dx = op's backward of dy      front: the op that read y
#include "core/base/log.h"
#include "core/plan/plan_impl.h"
#include <string.h>

typedef struct joiner {
    hs_plan *p;
    int *users;       // by buffer: how many operands it is
    const char *said; // why two are not joined
} joiner;

static void use(const joiner *j, const hs_slot *s)
{
    if (s->where == HS_AT_BUF)
        j->users[s->buf]++;
}

static void count_users(const joiner *j)
{
    for (int i = 0; i < j->p->n_calls; i++) {
        const hs_call *r = &j->p->call[i];
        for (int k = 0; k < HS_MAX_IN; k++)
            use(j, &r->in[k]), use(j, &r->din[k]);
        for (int k = 0; k < HS_MAX_OUT; k++)
            use(j, &r->out[k]), use(j, &r->dout[k]);
    }
    for (int i = 0; i < j->p->graph->n_outputs; i++)
        if (j->p->value_buf[j->p->graph->output[i]->id] >= 0)
            j->users[j->p->value_buf[j->p->graph->output[i]->id]]++;
}

static bool is_one(const hs_slot *a, const hs_slot *b)
{
    return a->where == HS_AT_BUF && b->where == HS_AT_BUF && a->buf == b->buf && a->t == b->t;
}

// What b makes does not lie where it reads.
static bool forward_pair(const hs_call *a, const hs_call *b)
{
    const bool apart = b->out[0].where != HS_AT_BUF || b->out[0].buf != b->in[0].buf;
    return a->backward == b->backward && a->again == b->again && (!b->backward || b->again) && is_one(&a->out[0], &b->in[0]) && apart;
}

static bool backward_pair(const hs_call *a, const hs_call *b)
{
    if (!a->backward || a->again || !b->backward || b->again || a->din[0].add || a->din[0].where != HS_AT_BUF ||
        b->dout[0].where != HS_AT_BUF || a->din[0].buf != b->dout[0].buf)
        return false;
    for (int k = 1; k < HS_MAX_IN; k++)
        if (a->din[k].where != HS_AT_NONE)
            return false;
    return true;
}

static bool can(joiner *j, const hs_join *f, const hs_node *n)
{
    const char *why = f->decline ? f->decline(n) : NULL;
    if (why && why != j->said)
        hs_debug("%s: %s apart from %s: %s", n->scope, n->op->name, f->front, why);
    j->said = why ? why : j->said;
    return !why;
}

static void join(joiner *j, hs_call *a, hs_call *b)
{
    const hs_join *f = a->of && b->of ? b->of->join : NULL;
    if (!f || strcmp(f->front, a->node->op->name) != 0)
        return;
    const bool forward = forward_pair(a, b), backward = !forward && backward_pair(a, b);
    hs_kernel *const both = forward ? f->fwd : backward ? f->bwd : NULL;
    if (!both)
        return;
    const bool alone = j->users[forward ? a->out[0].buf : a->din[0].buf] == 2;
    if (!(forward || alone) || !can(j, f, b->node))
        return;
    a->fn = both, a->name = f->name, a->syncs_first = false;
    a->alone = alone && !(forward && hs_plan_trains(j->p)); // backward may make it again, by the same kernel with the same bits
    b->joined = true, b->part = a->part;
    j->p->n_joined++;
}

hs_status hs_plan_join(hs_plan *p)
{
    joiner j = { .p = p, .users = hs_graph_alloc(p->graph, ((size_t)p->n_bufs + 1) * sizeof(int)) };
    HS_TRY(hs_graph_status(p->graph));
    count_users(&j);
    for (int i = 0; i + 1 < p->n_calls; i++)
        if (!p->call[i].joined)
            join(&j, &p->call[i], &p->call[i + 1]);
    return HS_OK;
}

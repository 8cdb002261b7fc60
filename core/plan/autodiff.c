// autodiff: backward in reverse, one partner per node behind the forward calls. A gradient is written by its first contributor and added
// to by the others; identity gradients are aliased, and copied only if someone still has to read the shared bytes.
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"

typedef struct diff {
    hs_plan *p;
    hs_graph *g;
    int *grad_buf;       // by tensor id; -1: none yet
    int *sharer;         // by tensor id: the next one with the same gradient, in a ring
    hs_dtype *grad_type; // an aliased gradient has the type of the one it shares
    bool *param_written; // by hs_param.id
    const hs_op *cast_op;
    void *cast_attr;
} diff;

static hs_slot grad_slot(const diff *d, const hs_tensor *t, bool writes, bool rows)
{
    if (d->grad_buf[t->id] < 0)
        return (hs_slot){ 0 };
    return (hs_slot){ .where = HS_AT_BUF, .buf = d->grad_buf[t->id], .t = t, .dtype = d->grad_type[t->id], .writes = writes, .rows = rows };
}

// dst = src, or dst += src: the forward of cast.
static hs_status copy_call(diff *d, const hs_node *near, hs_slot dst, hs_slot src, bool add)
{
    hs_attr_set_int(hs_attr_find(d->cast_op, "dtype"), d->cast_attr, dst.dtype);
    hs_node *n = hs_node_beside(d->g, near, d->cast_op, d->cast_attr);
    hs_tensor *x = hs_graph_alloc(d->g, sizeof *x), *y = hs_graph_alloc(d->g, sizeof *y);
    if (!n || !x || !y || !src.t || !dst.t)
        return hs_graph_status(d->g);
    *x = *src.t, *y = *dst.t;
    x->dtype = src.dtype, y->dtype = dst.dtype;
    n->in[0] = x, n->out[0] = y;
    const hs_kernels *k;
    HS_TRY(hs_plan_kernels_of(d->p, n, &k));
    hs_call *r = hs_plan_call(d->p, n, add ? "gradient add" : "gradient copy");
    r->fn = k->fwd, r->part = k->fwd_part, r->attr = n->attr, r->backward = true;
    src.writes = false, src.rows = true;
    dst.writes = true, dst.rows = true, dst.add = add;
    r->in[0] = src;
    r->out[0] = dst;
    if (d->cast_op->cost)
        r->cost = d->cast_op->cost(n, false);
    if (src.dtype != dst.dtype)
        hs_plan_note_cast(d->p, n, near->op->name, src.dtype, dst.dtype, hs_tensor_bytes(y), true);
    return HS_OK;
}

// Is the gradient of t shared with a tensor whose producer has not run backward yet (or is running it now)? Sharers form a
// ring; those whose producer has run leave it here, for good, so that no walk is long twice.
static bool shared(diff *d, const hs_tensor *t, int now)
{
    for (int at = t->id, id; (id = d->sharer[at]) != t->id;) {
        const hs_tensor *u = d->g->tensor[id];
        if (u->from && u->from->id <= now && d->p->marks.needs[id])
            return true;
        d->sharer[at] = d->sharer[id];
        d->sharer[id] = id;
    }
    return false;
}

static void share(diff *d, const hs_tensor *t, const hs_tensor *with)
{
    d->sharer[t->id] = d->sharer[with->id];
    d->sharer[with->id] = t->id;
}

static void unshare(diff *d, const hs_tensor *t)
{
    int at = t->id;
    while (d->sharer[at] != t->id)
        at = d->sharer[at];
    d->sharer[at] = d->sharer[t->id];
    d->sharer[t->id] = t->id;
}

static hs_status own(diff *d, const hs_tensor *t, const hs_node *n)
{
    if (!shared(d, t, n->id))
        return HS_OK;
    const hs_slot from = grad_slot(d, t, false, true);
    unshare(d, t);
    d->grad_buf[t->id] = hs_plan_buf(d->p, (size_t)hs_tensor_count(t) * hs_dtype_bytes(d->grad_type[t->id]));
    return copy_call(d, n, grad_slot(d, t, true, true), from, false);
}

static hs_status identity(diff *d, const hs_tensor *t, const hs_tensor *y, const hs_node *n)
{
    if (t->kind == HS_PARAM)
        return HS_FAIL(INTERNAL, "%s: %s passes its gradient through to parameter %s", n->scope, n->op->name, t->name);
    if (d->grad_buf[t->id] < 0) {
        d->grad_buf[t->id] = d->grad_buf[y->id];
        d->grad_type[t->id] = d->grad_type[y->id];
        share(d, t, y);
        return HS_OK;
    }
    const hs_slot dy = grad_slot(d, y, false, true);
    HS_TRY(own(d, t, n));
    return copy_call(d, n, grad_slot(d, t, true, true), dy, true);
}

// Says of a parameter whether its gradient is a part of a sum over tensor-parallel ranks.
static void note_part(diff *d, const hs_node *n, hs_param *w)
{
    const bool part = hs_ext_counter(n->out[0]->ext) == HS_COUNT_SHARE || n->op->flags & HS_OP_TP_PART;
    const hs_grad_of of = part ? HS_GRAD_PART : HS_GRAD_ALL;
    if (part && w->shard != HS_SHARD_NONE)
        hs_graph_fail(d->g, HS_INTERNAL, "%s: %s, which ranks divide, meets rows that they divide, too", n->scope, w->name);
    else if (w->grad_of && w->grad_of != of)
        hs_graph_fail(d->g, HS_UNSUPPORTED, "%s: the gradient of %s is whole in one place, and a part of a sum over ranks in another",
                      n->scope, w->name);
    w->grad_of = of;
}

static hs_slot wanted(diff *d, hs_node *n, int i)
{
    const hs_tensor *t = n->in[i];
    const bool rows = !(n->op->in[i].flags & HS_WHOLE);
    if (t->kind == HS_PARAM) {
        const int id = t->param->id;
        note_part(d, n, t->param);
        hs_slot s = { .where = HS_AT_GRAD, .t = t, .dtype = HS_F32, .writes = true, .rows = false };
        s.add = d->param_written[id];
        s.add_later = !s.add;
        d->p->grad_order[id] = d->p->n_calls; // of the last writer: a tied table is complete when the embedding has added to it
        d->param_written[id] = true;
        return s;
    }
    const bool first = d->grad_buf[t->id] < 0;
    if (first) {
        d->grad_buf[t->id] = hs_plan_buf(d->p, hs_tensor_bytes(t));
        d->grad_type[t->id] = t->dtype;
    }
    hs_slot s = grad_slot(d, t, true, rows);
    s.add = !first;
    return s;
}

enum { ALL, PARAMS_ONLY, INPUT_ONLY };

static hs_status backward_call(diff *d, hs_node *n, const hs_kernels *k, const hs_slot *dout, const bool *want, int which)
{
    hs_slot din[HS_MAX_IN] = { { 0 } };
    bool any = false;
    for (int i = 0; i < HS_MAX_IN; i++)
        if (want[i] && (which == ALL || (which == INPUT_ONLY) == (i == 0)))
            din[i] = wanted(d, n, i), any = true;
    if (!any)
        return HS_OK;
    hs_call *r = hs_plan_call(d->p, n, n->op->name);
    for (int i = 0; i < HS_MAX_IN; i++)
        if (n->in[i] && (n->op->in[i].flags & HS_BWD_READS))
            r->in[i] = hs_plan_value_slot(d->p, n, i);
    const bool loss = n->op->flags & HS_OP_LOSS; // whose values are made here
    for (int i = 0; i < HS_MAX_OUT; i++)
        if (n->out[i] && (loss || n->op->out[i].flags & (HS_BWD_READS | HS_SAVED)))
            r->out[i] = hs_plan_out_slot(d->p, n, i, loss);
    memcpy(r->din, din, sizeof din);
    memcpy(r->dout, dout, sizeof r->dout);
    r->fn = k->bwd, r->of = k, r->part = k->bwd_part, r->attr = n->attr, r->backward = true;
    if (k->scratch)
        r->scratch = k->scratch(n, d->p->dev->team, true);
    if (n->op->cost) {
        r->cost = n->op->cost(n, true);
        if (which != ALL) // a split backward is counted half and half
            r->cost.flops /= 2, r->cost.bytes /= 2;
    }
    return din[0].where != HS_AT_NONE ? hs_plan_derive(d->p, r, n, &k->derive, true) : HS_OK;
}

static hs_status make_again(diff *d, const hs_tensor *t);

static hs_status run_again(diff *d, hs_node *n)
{
    const hs_kernels *k;
    HS_TRY(hs_plan_kernels_of(d->p, n, &k));
    for (int i = 0; i < HS_MAX_IN; i++)
        HS_TRY(make_again(d, n->in[i])); // what it is made of
    for (int i = 0; i < HS_MAX_OUT; i++) {
        const hs_tensor *y = n->out[i];
        if (!y || !d->p->marks.again[y->id])
            continue;
        const int b = hs_plan_buf(d->p, hs_tensor_bytes(y));
        if (b < 0)
            return hs_graph_status(d->g);
        d->p->value_buf[y->id] = b;
        d->p->marks.again[y->id] = false;
    }
    hs_call *r = hs_plan_forward_call(d->p, n, k);
    r->backward = r->again = true;
    return hs_plan_derive(d->p, r, n, &k->derive, false);
}

// A value that forward did not keep. Statistics saved beside it get the same bits once more.
static hs_status make_again(diff *d, const hs_tensor *t) { return t && d->p->marks.again[t->id] ? run_again(d, t->from) : HS_OK; }

static hs_status backward(diff *d, hs_node *n)
{
    if (!hs_plan_differentiable(d->p, n))
        return HS_OK;
    const hs_kernels *k = hs_device_kernels(d->p->dev, n);
    const bool loss = n->op->flags & HS_OP_LOSS;
    if (loss && !k->bwd) { // forward made the gradient, in the bytes of the logits
        d->grad_buf[n->in[0]->id] = d->p->value_buf[n->in[0]->id];
        d->grad_type[n->in[0]->id] = n->in[0]->dtype;
        return HS_OK;
    }
    hs_slot dout[HS_MAX_OUT] = { { 0 } };
    bool reached = loss;
    for (int i = 0; i < HS_MAX_OUT; i++)
        if (n->out[i] && d->p->marks.needs[n->out[i]->id]) {
            dout[i] = grad_slot(d, n->out[i], false, true);
            reached |= dout[i].where != HS_AT_NONE;
        }
    if (!reached)
        return HS_OK; // no loss depends on it
    bool want[HS_MAX_IN] = { 0 }, kernel = false;
    for (int i = 0; i < HS_MAX_IN; i++) {
        if (!hs_takes_gradient(n, i) || !d->p->marks.needs[n->in[i]->id])
            continue;
        const bool same = n->op->in[i].flags & HS_GRAD_IS_DY;
        want[i] = !same;
        kernel |= !same;
    }
    // Identities first: they alias before a kernel of this node could add to the shared bytes.
    for (int i = 0; i < HS_MAX_IN; i++)
        if (hs_takes_gradient(n, i) && d->p->marks.needs[n->in[i]->id] && !want[i] && d->grad_buf[n->out[0]->id] >= 0)
            HS_TRY(identity(d, n->in[i], n->out[0], n));
    if (!kernel)
        return HS_OK;
    if (!k->bwd)
        return HS_FAIL(UNSUPPORTED, "%s: device %s has no backward kernel for %s", n->scope, d->p->dev->name, n->op->name);
    for (int i = 0; i < HS_MAX_IN; i++)
        if (want[i] && n->in[i]->kind != HS_PARAM && d->grad_buf[n->in[i]->id] >= 0)
            HS_TRY(own(d, n->in[i], n));
    for (int i = 0; i < HS_MAX_IN; i++)
        if (n->op->in[i].flags & HS_BWD_READS)
            HS_TRY(make_again(d, n->in[i]));
    for (int i = 0; i < HS_MAX_OUT; i++)
        if (n->op->out[i].flags & HS_BWD_READS)
            HS_TRY(make_again(d, n->out[i]));
    if (n->op->flags & HS_OP_SPLIT_BWD) {
        HS_TRY(backward_call(d, n, k, dout, want, PARAMS_ONLY));
        HS_TRY(backward_call(d, n, k, dout, want, INPUT_ONLY));
    } else
        HS_TRY(backward_call(d, n, k, dout, want, ALL));
    if (loss)
        hs_plan_sum_loss(d->p, n);
    return HS_OK;
}

hs_status hs_plan_autodiff(hs_plan *p)
{
    hs_graph *g = p->graph;
    if (!hs_plan_trains(p))
        return HS_OK;
    const size_t n = (size_t)g->n_tensors + 1;
    diff d = { .p = p, .g = g, .cast_op = hs_device_op(p->dev, "cast") };
    d.grad_buf = hs_graph_alloc(g, n * sizeof(int)), d.grad_type = hs_graph_alloc(g, n * sizeof(hs_dtype));
    d.sharer = hs_graph_alloc(g, n * sizeof(int)), d.param_written = hs_graph_alloc(g, (size_t)g->params->n_params + 1);
    d.cast_attr = hs_graph_alloc(g, d.cast_op->attr_bytes);
    p->grad_order = hs_graph_alloc(g, ((size_t)g->params->n_params + 1) * sizeof *p->grad_order);
    HS_TRY(hs_graph_status(g));
    HS_TRY(hs_params_declare_grad(g->params));
    for (int i = 0; i < g->n_tensors; i++)
        d.grad_buf[i] = -1, d.sharer[i] = i;
    for (int i = g->n_nodes - 1; i >= 0; i--)
        HS_TRY(backward(&d, g->node[i]));
    return HS_OK;
}

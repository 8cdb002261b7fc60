// autodiff: from nodes to the list of kernel calls. Forward in order, then the losses' sums, then backward in reverse: one
// partner per node. A gradient is written by its first contributor and added to by the others; identity gradients are
// aliased, and copied only if someone still has to read the shared bytes.
#include "core/plan/plan_impl.h"
#include <stdlib.h>

typedef struct diff {
    hs_plan *p;
    hs_graph *g;
    bool train;
    bool *needs;         // by tensor id: a gradient must reach it
    bool *kept;          // by tensor id: its value is read by backward
    bool *again;         // by tensor id: and made again for it instead of kept
    int *uses;           // by tensor id: readers in forward, and outputs
    int *grad_buf;       // by tensor id; -1: none yet
    int *sharer;         // by tensor id: the next one with the same gradient, in a ring
    hs_dtype *grad_type; // an aliased gradient has the type of the one it shares
    bool *param_written; // by hs_param.id
    int n_params_seen;
    const hs_op *cast_op;
} diff;

static bool is_grad_slot(const hs_node *n, int i)
{
    const hs_tensor *t = n->in[i];
    return t && hs_dtype_is_float(t->dtype) && !(n->op->in[i].flags & HS_NO_GRAD);
}

// Does backward of n run at all?
static bool differentiable(const diff *d, const hs_node *n)
{
    for (int i = 0; i < HS_MAX_IN; i++)
        if (is_grad_slot(n, i) && d->needs[n->in[i]->id])
            return true;
    return false;
}

static void mark(diff *d)
{
    hs_graph *g = d->g;
    for (int i = 0; i < g->n_tensors; i++)
        d->needs[g->tensor[i]->id] = d->train && g->tensor[i]->kind == HS_PARAM;
    for (int i = 0; i < g->n_nodes; i++) {
        hs_node *n = g->node[i];
        const bool flows = differentiable(d, n);
        for (int k = 0; k < HS_MAX_OUT; k++)
            if (n->out[k])
                d->needs[n->out[k]->id] = flows && hs_dtype_is_float(n->out[k]->dtype) && !(n->op->out[k].flags & HS_SAVED);
        for (int k = 0; k < HS_MAX_IN; k++) {
            if (!n->in[k])
                continue;
            d->uses[n->in[k]->id]++;
            if (flows && (n->op->in[k].flags & HS_BWD_READS))
                d->kept[n->in[k]->id] = true;
        }
        for (int k = 0; k < HS_MAX_OUT; k++)
            if (n->out[k] && flows && (n->op->out[k].flags & (HS_BWD_READS | HS_SAVED)))
                d->kept[n->out[k]->id] = true;
    }
    for (int i = 0; i < g->n_outputs; i++)
        d->uses[g->output[i]->id]++;
}

static bool is_output(const hs_graph *g, const hs_tensor *t)
{
    for (int i = 0; i < g->n_outputs; i++)
        if (g->output[i] == t)
            return true;
    return false;
}

// A pass over bytes that are kept anyway is cheaper than the memory of its result.
static bool may_make_again(const diff *d, const hs_node *n)
{
    const hs_tensor *y = n->out[0];
    if (!(n->op->flags & HS_OP_CHEAP) || !d->kept[y->id] || n->op->out[0].flags & HS_BWD_READS || is_output(d->g, y))
        return false;
    for (int i = 0; i < HS_MAX_IN; i++) {
        const hs_tensor *t = n->in[i];
        if (t && t->kind != HS_PARAM && t->kind != HS_INPUT && (t->kind != HS_VALUE || !d->kept[t->id]))
            return false;
    }
    return true;
}

static void mark_again(diff *d)
{
    for (int i = 0; i < d->g->n_nodes; i++)
        if (may_make_again(d, d->g->node[i])) {
            const hs_tensor *y = d->g->node[i]->out[0];
            d->again[y->id] = true, d->kept[y->id] = false; // so what is made of y is kept
        }
}

// ---- forward

static hs_slot value_slot(const diff *d, const hs_node *n, int i)
{
    const hs_tensor *t = n->in[i];
    if (!t)
        return (hs_slot){ 0 };
    hs_slot s = { .where = HS_AT_BUF, .t = t, .dtype = t->dtype, .rows = !(n->op->in[i].flags & HS_WHOLE) };
    if (t->kind == HS_PARAM) {
        const bool low = n->op->in[i].amp == HS_AMP_LOW && n->low != HS_F32;
        s.where = low ? HS_AT_LOW : HS_AT_MASTER;
        s.dtype = low ? n->low : HS_F32;
    } else if (t->kind == HS_STATE)
        s.where = HS_AT_STATE;
    else
        s.buf = d->p->value_buf[t->id];
    return s;
}

static hs_slot out_slot(const diff *d, const hs_node *n, int k, bool writes)
{
    const hs_tensor *t = n->out[k];
    if (!t)
        return (hs_slot){ 0 };
    if (d->p->value_buf[t->id] < 0) // the cache itself, or a gradient that this mode does not make
        return (n->op->out[k].flags & HS_IS_INPUT_0) && n->in[0]->kind == HS_STATE
                   ? (hs_slot){ .where = HS_AT_STATE, .t = n->in[0], .dtype = t->dtype, .writes = writes, .rows = true }
                   : (hs_slot){ 0 };
    return (hs_slot){ .where = HS_AT_BUF, .buf = d->p->value_buf[t->id], .t = t, .dtype = t->dtype, .writes = writes, .rows = true };
}

static bool may_overwrite(const diff *d, const hs_node *n, int k)
{
    const hs_tensor *x = n->in[0], *y = n->out[k];
    if (!(n->op->out[k].flags & HS_MAY_OVERWRITE_0) || !x || x->kind != HS_VALUE || d->uses[x->id] != 1 || d->kept[x->id])
        return false;
    return x->dtype == y->dtype && x->ext == y->ext && hs_tensor_bytes(x) == hs_tensor_bytes(y) && !is_output(d->g, x) &&
           d->p->value_buf[x->id] >= 0;
}

static hs_status place_outputs(diff *d, hs_node *n)
{
    for (int k = 0; k < HS_MAX_OUT; k++) {
        hs_tensor *y = n->out[k];
        if (!y)
            continue;
        int *b = &d->p->value_buf[y->id];
        const uint16_t flags = n->op->out[k].flags;
        if (flags & HS_IS_INPUT_0) {
            const hs_tensor *x = n->in[0];
            if (!(n->op->flags & HS_OP_LOSS)) {
                if (x->kind == HS_STATE) { // whoever reads the output reads the state, after this node
                    y->kind = HS_STATE, y->state = x->state, y->name = x->name;
                    continue;
                }
                *b = d->p->value_buf[x->id];
            } else if (d->train && d->needs[x->id]) {
                if (d->uses[x->id] != 1 || x->kind != HS_VALUE || d->kept[x->id])
                    return HS_FAIL(USAGE, "%s: the logits become their own gradient: nothing else may read them", n->scope);
                *b = d->p->value_buf[x->id];
            }
        } else
            *b = may_overwrite(d, n, k) ? d->p->value_buf[n->in[0]->id] : hs_plan_buf(d->p, hs_tensor_bytes(y));
    }
    return HS_OK;
}

static hs_status kernels_of(const diff *d, const hs_node *n, const hs_kernels **out)
{
    *out = hs_device_kernels(d->p->dev, n);
    if (!*out || !(*out)->fwd)
        return HS_FAIL(UNSUPPORTED, "%s: device %s has no kernel for %s", n->scope, d->p->dev->name, n->op->name);
    return HS_OK;
}

static void sum_loss(diff *d, hs_node *n)
{
    hs_loss_sum *attr = hs_graph_alloc(d->g, sizeof *attr);
    if (!attr)
        return;
    attr->set = d->p->opts.losses;
    if (n->op->attr_bytes)
        memcpy(&attr->loss, (const char *)n->attr + n->op->loss_offset, sizeof attr->loss);
    const hs_slot rows = out_slot(d, n, 0, false);
    hs_call *r = hs_plan_call(d->p, n, "loss sum");
    r->fn = hs_kernel_loss_sum, r->part = HS_PART_SOLO, r->attr = attr;
    r->in[0] = rows;
}

// A loss whose backward kernel makes the gradients of its inputs makes its values there too: backward begins with it.
static bool waits_for_backward(const diff *d, const hs_node *n, const hs_kernels *k)
{
    return n->op->flags & HS_OP_LOSS && k->bwd && d->train && differentiable(d, n);
}

// A copy of a parameter that the kernels of call r would rather read.
static hs_status derive(diff *d, hs_call *r, const hs_node *n, const hs_derive *f, bool backward)
{
    hs_kernel *make = backward ? f->backward : f->forward;
    const hs_tensor *w = n->in[f->operand];
    const size_t bytes = make && w && w->kind == HS_PARAM && d->p->opts.runs_per_values > 1 ? f->bytes(n, backward) : 0;
    if (!bytes)
        return HS_OK;
    const hs_derived want = { .param = w->param, .dtype = value_slot(d, n, f->operand).dtype, .make = make, .bytes = bytes };
    hs_derived *copy;
    HS_TRY(hs_derived_get(d->g->params, &want, &copy));
    r->derived = copy;
    if (f->replaces_shared)
        r->scratch.shared = 0;
    hs_derived_list *list = &d->p->derived;
    for (int i = 0; i < list->n; i++)
        if (list->item[i] == copy)
            return HS_OK;
    if (!hs_grow(&list->item, list->n, &list->capacity, sizeof *list->item))
        return HS_FAIL(MEMORY, "no memory for a list of copies of parameters");
    list->item[list->n++] = copy;
    return HS_OK;
}

static hs_call *forward_call(diff *d, hs_node *n, const hs_kernels *k)
{
    hs_call *r = hs_plan_call(d->p, n, n->op->name);
    for (int i = 0; i < HS_MAX_IN; i++)
        r->in[i] = value_slot(d, n, i);
    for (int i = 0; i < HS_MAX_OUT; i++)
        r->out[i] = out_slot(d, n, i, true);
    r->fn = k->fwd, r->part = k->fwd_part, r->syncs_first = k->syncs_first, r->attr = n->attr;
    if (k->scratch)
        r->scratch = k->scratch(n, d->p->dev->team, false);
    if (n->op->cost)
        r->cost = n->op->cost(n, false);
    return r;
}

static hs_status forward(diff *d, hs_node *n)
{
    const hs_kernels *k;
    HS_TRY(kernels_of(d, n, &k));
    if (waits_for_backward(d, n, k))
        return place_outputs(d, n);
    HS_TRY(place_outputs(d, n));
    HS_TRY(derive(d, forward_call(d, n, k), n, &k->derive, false));
    if (n->op->flags & HS_OP_LOSS)
        sum_loss(d, n);
    return HS_OK;
}

// ---- backward

static hs_slot grad_slot(const diff *d, const hs_tensor *t, bool writes, bool rows)
{
    if (d->grad_buf[t->id] < 0)
        return (hs_slot){ 0 };
    return (hs_slot){ .where = HS_AT_BUF, .buf = d->grad_buf[t->id], .t = t, .dtype = d->grad_type[t->id], .writes = writes, .rows = rows };
}

// dst = src, or dst += src: the forward of cast.
static hs_status copy_call(diff *d, const hs_node *near, hs_slot dst, hs_slot src, bool add)
{
    hs_node *n = hs_graph_alloc(d->g, sizeof *n);
    hs_tensor *x = hs_graph_alloc(d->g, sizeof *x), *y = hs_graph_alloc(d->g, sizeof *y);
    void *attr = hs_graph_alloc(d->g, d->cast_op->attr_bytes);
    if (!n || !x || !y || !attr || !src.t || !dst.t)
        return hs_graph_status(d->g);
    *x = *src.t, *y = *dst.t;
    x->dtype = src.dtype, y->dtype = dst.dtype;
    *n = (hs_node){ .op = d->cast_op, .attr = attr, .in = { x }, .out = { y }, .scope = near->scope, .low = near->low };
    const hs_kernels *k;
    HS_TRY(kernels_of(d, n, &k));
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
        if (u->from && u->from->id <= now && d->needs[id])
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

static hs_slot wanted(diff *d, hs_node *n, int i)
{
    const hs_tensor *t = n->in[i];
    const bool rows = !(n->op->in[i].flags & HS_WHOLE);
    if (t->kind == HS_PARAM) {
        const int id = t->param->id;
        hs_slot s = { .where = HS_AT_GRAD, .t = t, .dtype = HS_F32, .writes = true, .rows = false };
        s.add = d->param_written[id];
        s.add_later = !s.add;
        t->param->order = d->p->n_calls; // of the last writer: a tied table is complete when the embedding has added to it
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
            r->in[i] = value_slot(d, n, i);
    const bool loss = n->op->flags & HS_OP_LOSS; // whose values are made here
    for (int i = 0; i < HS_MAX_OUT; i++)
        if (n->out[i] && (loss || n->op->out[i].flags & (HS_BWD_READS | HS_SAVED)))
            r->out[i] = out_slot(d, n, i, loss);
    memcpy(r->din, din, sizeof din);
    memcpy(r->dout, dout, sizeof r->dout);
    r->fn = k->bwd, r->part = k->bwd_part, r->attr = n->attr, r->backward = true;
    if (k->scratch)
        r->scratch = k->scratch(n, d->p->dev->team, true);
    if (n->op->cost) {
        r->cost = n->op->cost(n, true);
        if (which != ALL && want[0] && (want[1] || want[2])) // a split backward is counted half and half
            r->cost.flops /= 2, r->cost.bytes /= 2;
    }
    return din[0].where != HS_AT_NONE ? derive(d, r, n, &k->derive, true) : HS_OK;
}

// What backward of n reads and forward did not keep. Statistics it saved get the same bits once more.
static hs_status make_again(diff *d, const hs_node *n)
{
    for (int i = 0; i < HS_MAX_IN; i++) {
        const hs_tensor *t = n->in[i];
        if (!t || !(n->op->in[i].flags & HS_BWD_READS) || !d->again[t->id])
            continue;
        const hs_kernels *k;
        HS_TRY(kernels_of(d, t->from, &k));
        const int b = hs_plan_buf(d->p, hs_tensor_bytes(t));
        if (b < 0)
            return hs_graph_status(d->g);
        d->p->value_buf[t->id] = b;
        d->again[t->id] = false;
        forward_call(d, t->from, k)->backward = true;
    }
    return HS_OK;
}

static hs_status backward(diff *d, hs_node *n)
{
    if (!differentiable(d, n))
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
        if (n->out[i] && d->needs[n->out[i]->id]) {
            dout[i] = grad_slot(d, n->out[i], false, true);
            reached |= dout[i].where != HS_AT_NONE;
        }
    if (!reached)
        return HS_OK; // no loss depends on it
    bool want[HS_MAX_IN] = { 0 }, kernel = false;
    for (int i = 0; i < HS_MAX_IN; i++) {
        if (!is_grad_slot(n, i) || !d->needs[n->in[i]->id])
            continue;
        const bool same = n->op->in[i].flags & HS_GRAD_IS_DY;
        want[i] = !same;
        kernel |= !same;
    }
    // Identities first: they alias before a kernel of this node could add to the shared bytes.
    for (int i = 0; i < HS_MAX_IN; i++)
        if (is_grad_slot(n, i) && d->needs[n->in[i]->id] && !want[i] && d->grad_buf[n->out[0]->id] >= 0)
            HS_TRY(identity(d, n->in[i], n->out[0], n));
    if (!kernel)
        return HS_OK;
    if (!k->bwd)
        return HS_FAIL(UNSUPPORTED, "%s: device %s has no backward kernel for %s", n->scope, d->p->dev->name, n->op->name);
    for (int i = 0; i < HS_MAX_IN; i++)
        if (want[i] && n->in[i]->kind != HS_PARAM && d->grad_buf[n->in[i]->id] >= 0)
            HS_TRY(own(d, n->in[i], n));
    HS_TRY(make_again(d, n));
    if (n->op->flags & HS_OP_SPLIT_BWD) {
        HS_TRY(backward_call(d, n, k, dout, want, PARAMS_ONLY));
        HS_TRY(backward_call(d, n, k, dout, want, INPUT_ONLY));
    } else
        HS_TRY(backward_call(d, n, k, dout, want, ALL));
    if (loss)
        sum_loss(d, n);
    return HS_OK;
}

// ---- reductions over dp: one per bucket of neighbouring parameters, as soon as the last of them is complete

enum { BUCKET_BYTES = 25 << 20 };

typedef struct done {
    int call;
    const hs_param *p;
} done;

static int by_call(const void *a, const void *b)
{
    const done *x = a, *y = b;
    return x->call != y->call ? (x->call > y->call) - (x->call < y->call) : (x->p->offset > y->p->offset) - (x->p->offset < y->p->offset);
}

static void reduce_call(hs_plan *p, const hs_node *near, size_t offset, size_t n)
{
    hs_bucket *b = hs_graph_alloc(p->graph, sizeof *b);
    if (!b)
        return;
    *b = (hs_bucket){ p->graph->grid.dp, p->graph->params, offset, (int64_t)n };
    hs_call *r = hs_plan_call(p, near, "gradient all-reduce");
    r->fn = hs_kernel_grad_reduce, r->part = HS_PART_SOLO, r->attr = b, r->backward = true, r->last_only = true;
    r->sync = true;
}

// Runs are appended behind the last writer of each bucket by rebuilding the list in order.
static hs_status add_reductions(hs_plan *p)
{
    const hs_params *ps = p->graph->params;
    done *d = calloc((size_t)ps->n_params + 1, sizeof *d);
    if (!d)
        return HS_FAIL(MEMORY, "no memory for the reductions of %d parameters", ps->n_params);
    for (int i = 0; i < ps->n_params; i++)
        d[i] = (done){ -1, ps->param[i] };
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
            bytes += d[next].p->n * sizeof(float);
        if (next > first && (bytes >= BUCKET_BYTES || i == n_old - 1 || next == ps->n_params)) {
            // Completed parameters lie in one or a few contiguous ranges of the slab.
            for (int a = first; a < next;) {
                size_t lo = d[a].p->offset, hi = lo + d[a].p->n;
                int b = a + 1;
                for (; b < next; b++) {
                    const size_t o = d[b].p->offset, e = o + d[b].p->n;
                    if (o >= hi && o - hi < 64)
                        hi = e;
                    else if (e <= lo && lo - e < 64)
                        lo = o;
                    else
                        break;
                }
                reduce_call(p, old[i].node, lo, hi - lo);
                a = b;
            }
            first = next, bytes = 0;
        }
    }
    free(old);
    free(d);
    return HS_OK;
}

hs_status hs_plan_autodiff(hs_plan *p)
{
    hs_graph *g = p->graph;
    const size_t n = (size_t)g->n_tensors + 1;
    diff d = { .p = p, .g = g, .train = g->mode == HS_TRAIN, .cast_op = hs_device_op(p->dev, "cast") };
    d.needs = hs_graph_alloc(g, n), d.kept = hs_graph_alloc(g, n), d.uses = hs_graph_alloc(g, n * sizeof(int));
    d.grad_buf = hs_graph_alloc(g, n * sizeof(int)), d.grad_type = hs_graph_alloc(g, n * sizeof(hs_dtype));
    d.param_written = hs_graph_alloc(g, (size_t)g->params->n_params + 1);
    d.sharer = hs_graph_alloc(g, n * sizeof(int)), d.again = hs_graph_alloc(g, n);
    p->value_buf = hs_graph_alloc(g, n * sizeof(int));
    HS_TRY(hs_graph_status(g));
    for (int i = 0; i < g->n_tensors; i++)
        d.grad_buf[i] = p->value_buf[i] = -1, d.sharer[i] = g->tensor[i]->id = i; // AMP added some
    mark(&d);
    mark_again(&d);
    for (int i = 0; i < g->n_inputs; i++) {
        const int b = hs_plan_buf(p, hs_tensor_bytes(g->input[i]));
        if (b < 0)
            return hs_graph_status(g);
        p->buf[b].input = true;
        p->value_buf[g->input[i]->id] = b;
    }
    for (int i = 0; i < g->n_nodes; i++)
        HS_TRY(forward(&d, g->node[i]));
    p->n_forward = p->n_calls;
    for (int i = g->n_nodes - 1; d.train && i >= 0; i--)
        HS_TRY(backward(&d, g->node[i]));
    if (d.train && (g->grid.dp->size > 1 || p->opts.collectives))
        HS_TRY(add_reductions(p));
    return HS_OK;
}

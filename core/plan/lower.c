// lower: from nodes to forward calls. What backward will want is marked first, because it decides which values are kept, made again or
// overwritten; then every value gets its bytes and every node its call, in order.
#include "core/plan/plan_impl.h"

// ---- marks

bool hs_takes_gradient(const hs_node *n, int i)
{
    const hs_tensor *t = n->in[i];
    return t && hs_dtype_is_float(t->dtype) && !(n->op->in[i].flags & HS_NO_GRAD);
}

bool hs_plan_differentiable(const hs_plan *p, const hs_node *n)
{
    for (int i = 0; i < HS_MAX_IN; i++)
        if (hs_takes_gradient(n, i) && p->marks.needs[n->in[i]->id])
            return true;
    return false;
}

static void mark(hs_plan *p)
{
    hs_graph *g = p->graph;
    for (int i = 0; i < g->n_tensors; i++)
        p->marks.needs[g->tensor[i]->id] = hs_plan_trains(p) && g->tensor[i]->kind == HS_PARAM && !g->tensor[i]->param->frozen;
    for (int i = 0; i < g->n_nodes; i++) {
        hs_node *n = g->node[i];
        const bool flows = hs_plan_differentiable(p, n);
        for (int k = 0; k < HS_MAX_OUT; k++)
            if (n->out[k])
                p->marks.needs[n->out[k]->id] = flows && hs_dtype_is_float(n->out[k]->dtype) && !(n->op->out[k].flags & HS_SAVED);
        for (int k = 0; k < HS_MAX_IN; k++) {
            if (!n->in[k])
                continue;
            p->marks.uses[n->in[k]->id]++;
            if (flows && (n->op->in[k].flags & HS_BWD_READS))
                p->marks.kept[n->in[k]->id] = true;
        }
        for (int k = 0; k < HS_MAX_OUT; k++)
            if (n->out[k] && flows && (n->op->out[k].flags & (HS_BWD_READS | HS_SAVED)))
                p->marks.kept[n->out[k]->id] = true;
    }
    for (int i = 0; i < g->n_outputs; i++)
        p->marks.uses[g->output[i]->id]++;
}

static bool is_output(const hs_graph *g, const hs_tensor *t)
{
    for (int i = 0; i < g->n_outputs; i++)
        if (g->output[i] == t)
            return true;
    return false;
}

// Will backward have t when it makes n again? What is gathered from ranks is small before it: that may be made again itself.
static bool there(const hs_plan *p, const hs_node *n, const hs_tensor *t)
{
    return p->marks.kept[t->id] || (p->marks.again[t->id] && n->op->flags & HS_OP_COLLECTIVE);
}

// A pass over bytes that are kept anyway is cheaper than the memory of its result.
static bool may_make_again(const hs_plan *p, const hs_node *n)
{
    const hs_tensor *y = n->out[0];
    if (!(n->op->flags & HS_OP_CHEAP) || !p->marks.kept[y->id] || n->op->out[0].flags & HS_BWD_READS || is_output(p->graph, y))
        return false;
    for (int i = 0; i < HS_MAX_IN; i++) {
        const hs_tensor *t = n->in[i];
        if (t && t->kind != HS_PARAM && t->kind != HS_INPUT && (t->kind != HS_VALUE || !there(p, n, t)))
            return false;
    }
    return true;
}

// ---- blocks

static bool remakes_block(const hs_plan *p, const hs_node *n)
{
    return hs_plan_trains(p) && p->opts.recompute != HS_RECOMPUTE_NONE && n->block &&
           !(n->op->flags & (HS_OP_LOSS | HS_OP_NONDETERMINISTIC));
}

static bool is_product(const hs_op *op)
{
    for (int i = 0; i < hs_op_n_in(op); i++)
        if (op->in[i].amp == HS_AMP_LOW)
            return true;
    return false;
}

// Marks, by tensor id, values that other nodes than those of their block read, or the model's owner.
static void mark_leaving(const hs_plan *p, bool *leaves)
{
    for (int i = 0; i < p->graph->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++) {
            const hs_tensor *t = p->graph->node[i]->in[k];
            if (t && t->from && t->from->block != p->graph->node[i]->block)
                leaves[t->id] = true;
        }
    for (int i = 0; i < p->graph->n_outputs; i++)
        leaves[p->graph->output[i]->id] = true;
}

static bool may_go(const hs_plan *p, const hs_node *n, int k, const bool *leaves)
{
    const hs_tensor *y = n->out[k];
    if (!y || leaves[y->id] || n->op->out[k].flags & (HS_SAVED | HS_IS_INPUT_0 | HS_SCRATCH) || !hs_dtype_is_float(y->dtype))
        return false;
    return p->opts.recompute == HS_RECOMPUTE_FULL || !is_product(n->op);
}

// From the last node to the first: what backward reads, and what the nodes read that run again for it. Of that the values that may go are
// made again, the others kept.
static void mark_blocks(hs_plan *p)
{
    const hs_graph *g = p->graph;
    bool *leaves = hs_graph_alloc(p->graph, (size_t)g->n_tensors + 1);
    if (!leaves)
        return;
    mark_leaving(p, leaves);
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const hs_node *n = g->node[i];
        bool runs = false;
        for (int k = 0; k < HS_MAX_OUT && remakes_block(p, n); k++)
            if (may_go(p, n, k, leaves) && p->marks.kept[n->out[k]->id]) {
                p->marks.again[n->out[k]->id] = runs = true;
                p->marks.kept[n->out[k]->id] = false;
            }
        for (int k = 0; k < HS_MAX_IN && runs; k++)
            if (n->in[k])
                p->marks.kept[n->in[k]->id] = true;
    }
}

static void mark_again(hs_plan *p)
{
    if (p->opts.recompute != HS_RECOMPUTE_NONE)
        mark_blocks(p);
    for (int i = 0; i < p->graph->n_nodes; i++)
        if (!remakes_block(p, p->graph->node[i]) && may_make_again(p, p->graph->node[i])) {
            const hs_tensor *y = p->graph->node[i]->out[0];
            p->marks.again[y->id] = true, p->marks.kept[y->id] = false; // so what is made of y is kept
        }
}

// ---- operands

hs_slot hs_plan_value_slot(const hs_plan *p, const hs_node *n, int i)
{
    const hs_tensor *t = n->in[i];
    if (!t)
        return (hs_slot){ 0 };
    hs_slot s = { .where = HS_AT_BUF, .t = t, .dtype = t->dtype, .rows = !(n->op->in[i].flags & HS_WHOLE) };
    if (t->kind == HS_PARAM && t->view)
        s.where = HS_AT_CODED;
    else if (t->kind == HS_PARAM) {
        const bool low = hs_node_reads_low(p->graph->params, n, i);
        s.where = low ? HS_AT_LOW : HS_AT_MASTER;
        s.dtype = low ? n->low : HS_F32;
    } else if (t->kind == HS_STATE)
        s.where = HS_AT_STATE, s.writes = n->op->in[i].flags & HS_UPDATED;
    else
        s.buf = p->value_buf[t->id];
    return s;
}

hs_slot hs_plan_out_slot(const hs_plan *p, const hs_node *n, int k, bool writes)
{
    const hs_tensor *t = n->out[k];
    if (!t)
        return (hs_slot){ 0 };
    if (p->value_buf[t->id] < 0) // the cache itself, or a gradient that this mode does not make
        return (n->op->out[k].flags & HS_IS_INPUT_0) && n->in[0]->kind == HS_STATE
                   ? (hs_slot){ .where = HS_AT_STATE, .t = n->in[0], .dtype = t->dtype, .writes = writes, .rows = true }
                   : (hs_slot){ 0 };
    return (hs_slot){ .where = HS_AT_BUF, .buf = p->value_buf[t->id], .t = t, .dtype = t->dtype, .writes = writes, .rows = true };
}

static bool may_overwrite(const hs_plan *p, const hs_node *n, int k)
{
    const hs_tensor *x = n->in[0], *y = n->out[k];
    if (!(n->op->out[k].flags & HS_MAY_OVERWRITE_0) || !x || x->kind != HS_VALUE || p->marks.uses[x->id] != 1 || p->marks.kept[x->id])
        return false;
    return x->dtype == y->dtype && x->ext == y->ext && hs_tensor_bytes(x) == hs_tensor_bytes(y) && !is_output(p->graph, x) &&
           p->value_buf[x->id] >= 0;
}

static hs_status place_outputs(hs_plan *p, hs_node *n)
{
    for (int k = 0; k < HS_MAX_OUT; k++) {
        hs_tensor *y = n->out[k];
        if (!y)
            continue;
        int *b = &p->value_buf[y->id];
        const uint16_t flags = n->op->out[k].flags;
        if (flags & HS_IS_INPUT_0) {
            const hs_tensor *x = n->in[0];
            if (!(n->op->flags & HS_OP_LOSS)) {
                if (x->kind == HS_STATE) { // whoever reads the output reads the state, after this node
                    y->kind = HS_STATE, y->state = x->state, y->name = x->name;
                    continue;
                }
                *b = p->value_buf[x->id];
            } else if (hs_plan_trains(p) && p->marks.needs[x->id]) {
                if (p->marks.uses[x->id] != 1 || x->kind != HS_VALUE || p->marks.kept[x->id])
                    return HS_FAIL(USAGE, "%s: the logits become their own gradient: nothing else may read them", n->scope);
                *b = p->value_buf[x->id];
            }
        } else
            *b = may_overwrite(p, n, k) ? p->value_buf[n->in[0]->id] : hs_plan_buf(p, hs_tensor_bytes(y));
    }
    return HS_OK;
}

// ---- calls

hs_status hs_plan_kernels_of(const hs_plan *p, const hs_node *n, const hs_kernels **out)
{
    *out = hs_device_kernels(p->dev, n);
    if (!*out || !(*out)->fwd)
        return HS_FAIL(UNSUPPORTED, "%s: device %s has no kernel for %s", n->scope, p->dev->name, n->op->name);
    return HS_OK;
}

void hs_plan_sum_loss(hs_plan *p, hs_node *n)
{
    hs_loss_sum *attr = hs_graph_alloc(p->graph, sizeof *attr);
    if (!attr)
        return;
    attr->set = p->opts.losses;
    if (n->op->attr_bytes)
        memcpy(&attr->loss, (const char *)n->attr + n->op->loss_offset, sizeof attr->loss);
    for (int i = 0; i < p->n_calls; i++)
        if (p->call[i].fn == p->dev->core->loss_sum && ((const hs_loss_sum *)p->call[i].attr)->loss == attr->loss)
            attr->goes_on = true;
    const hs_slot rows = hs_plan_out_slot(p, n, 0, false);
    hs_call *r = hs_plan_call(p, n, "loss sum");
    r->fn = p->dev->core->loss_sum, r->part = HS_PART_SOLO, r->attr = attr;
    r->in[0] = rows;
}

// A loss whose backward kernel makes the gradients of its inputs makes its values there too: backward begins with it.
static bool waits_for_backward(const hs_plan *p, const hs_node *n, const hs_kernels *k)
{
    return n->op->flags & HS_OP_LOSS && k->bwd && hs_plan_trains(p) && hs_plan_differentiable(p, n);
}

// A copy of a parameter that the kernels of call r would rather read.
hs_status hs_plan_derive(hs_plan *p, hs_call *r, const hs_node *n, const hs_derive *f, bool backward)
{
    hs_kernel *make = backward ? f->backward : f->forward;
    const hs_tensor *w = n->in[f->operand];
    const int runs = p->opts.runs_per_values;
    const size_t bytes = make && w && w->kind == HS_PARAM && runs > 1 ? f->bytes(n, backward, runs) : 0;
    if (!bytes)
        return HS_OK;
    const hs_derived want = { .param = w->param,
                              .dtype = hs_plan_value_slot(p, n, f->operand).dtype,
                              .make = make,
                              .turn = !f->turns  ? NULL
                                      : backward ? f->forward
                                                 : f->backward,
                              .attr = f->by_attr ? n->attr : NULL,
                              .attr_bytes = f->by_attr ? n->op->attr_bytes : 0,
                              .bytes = bytes };
    hs_derived *copy;
    HS_TRY(hs_derived_get(p->graph->params, &want, &copy));
    r->derived = copy, r->derived_in = f->beside ? -1 : f->operand;
    if (f->replaces_shared)
        r->scratch.shared = 0;
    return HS_OK;
}

hs_call *hs_plan_forward_call(hs_plan *p, hs_node *n, const hs_kernels *k)
{
    hs_call *r = hs_plan_call(p, n, n->op->name);
    for (int i = 0; i < HS_MAX_IN; i++)
        r->in[i] = hs_plan_value_slot(p, n, i);
    for (int i = 0; i < HS_MAX_OUT; i++)
        r->out[i] = hs_plan_out_slot(p, n, i, true);
    r->fn = k->fwd, r->of = k, r->part = k->fwd_part, r->syncs_first = k->syncs_first, r->attr = n->attr;
    if (k->scratch)
        r->scratch = k->scratch(n, p->dev->team, false);
    if (n->op->cost)
        r->cost = n->op->cost(n, false);
    return r;
}

static hs_status forward(hs_plan *p, hs_node *n)
{
    const hs_kernels *k;
    HS_TRY(hs_plan_kernels_of(p, n, &k));
    if (k->room)
        k->room(n);
    if (waits_for_backward(p, n, k))
        return place_outputs(p, n);
    HS_TRY(place_outputs(p, n));
    HS_TRY(hs_plan_derive(p, hs_plan_forward_call(p, n, k), n, &k->derive, false));
    if (n->op->flags & HS_OP_LOSS)
        hs_plan_sum_loss(p, n);
    return HS_OK;
}

static hs_status marks_new(hs_plan *p)
{
    hs_graph *g = p->graph;
    const size_t n = (size_t)g->n_tensors + 1;
    p->marks = (hs_marks){ hs_graph_alloc(g, n), hs_graph_alloc(g, n), hs_graph_alloc(g, n), hs_graph_alloc(g, n * sizeof(int)) };
    p->value_buf = hs_graph_alloc(g, n * sizeof(int));
    HS_TRY(hs_graph_status(g));
    for (int i = 0; i < g->n_tensors; i++)
        p->value_buf[i] = -1;
    mark(p);
    mark_again(p);
    return HS_OK;
}

hs_status hs_plan_lower(hs_plan *p)
{
    hs_graph *g = p->graph;
    HS_TRY(marks_new(p));
    const int calls = (hs_plan_trains(p) ? 2 : 1) * g->n_nodes, bufs = (hs_plan_trains(p) ? 2 : 1) * g->n_tensors; // about
    if (!hs_reserve(&p->call, calls, &p->cap_calls, sizeof *p->call) || !hs_reserve(&p->buf, bufs, &p->cap_bufs, sizeof *p->buf))
        return HS_FAIL(MEMORY, "no memory for a plan of %d nodes", g->n_nodes);
    for (int i = 0; i < g->n_inputs; i++) {
        const int b = hs_plan_buf(p, hs_tensor_bytes(g->input[i]));
        if (b < 0)
            return hs_graph_status(g);
        p->buf[b].input = true;
        p->value_buf[g->input[i]->id] = b;
    }
    for (int i = 0; i < g->n_nodes; i++)
        HS_TRY(forward(p, g->node[i]));
    p->n_forward = p->n_calls;
    return HS_OK;
}

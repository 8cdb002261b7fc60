// plan: the passes in their order over a trace or a copy of it, and what they add up to.
#include "core/base/clock.h"
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void no_memory(hs_plan *p) { hs_graph_fail(p->graph, HS_MEMORY, "no memory for a plan of %d calls", p->n_calls); }

int hs_plan_buf(hs_plan *p, size_t bytes)
{
    if (!hs_grow(&p->buf, p->n_bufs, &p->cap_bufs, sizeof *p->buf)) {
        no_memory(p);
        return -1;
    }
    p->buf[p->n_bufs] = (hs_buf){ .bytes = bytes };
    return p->n_bufs++;
}

hs_call *hs_plan_call(hs_plan *p, const hs_node *node, const char *name)
{
    if (!hs_grow(&p->call, p->n_calls, &p->cap_calls, sizeof *p->call)) {
        no_memory(p);
        return &p->spare;
    }
    hs_comm *comm = node->op->flags & HS_OP_COLLECTIVE ? p->graph->grid.tp : NULL;
    p->call[p->n_calls] = (hs_call){ .node = node, .name = name, .comm = comm };
    return &p->call[p->n_calls++];
}

void hs_plan_note_cast(hs_plan *p, const hs_node *n, const char *from_op, hs_dtype from, hs_dtype to, size_t bytes, bool backward)
{
    if (!hs_grow(&p->cast, p->n_casts, &p->cap_casts, sizeof *p->cast))
        no_memory(p);
    else
        p->cast[p->n_casts++] = (hs_cast_info){ n->scope, from_op, from, to, bytes, backward };
}

// Before the first run is laid out, what kernels read in f32 is known: there it is whole on every rank, and f32.
static hs_status settle_shares(hs_plan *p)
{
    hs_params *ps = p->graph->params;
    for (int i = 0; ps->low && i < p->n_calls; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            if (p->call[i].in[k].where == HS_AT_MASTER)
                HS_TRY(hs_params_read_f32(ps, p->call[i].in[k].t->param));
    return hs_params_settle(ps);
}

static hs_status list_derived(hs_plan *p)
{
    const size_t n = (size_t)p->graph->params->n_derived;
    bool *listed = hs_graph_alloc(p->graph, n);
    p->derived = hs_graph_alloc(p->graph, n * sizeof *p->derived);
    HS_TRY(hs_graph_status(p->graph));
    for (int i = 0; i < p->n_calls; i++) {
        const hs_derived *d = p->call[i].derived;
        if (d && !listed[d->id])
            p->derived[p->n_derived++] = d, listed[d->id] = true;
    }
    return HS_OK;
}

static hs_status list_moves(hs_plan *p)
{
    for (int i = 0; i < p->n_calls; i++) {
        const hs_call *c = &p->call[i];
        const hs_op *op = c->node->op;
        const bool own = c->comm && op->moves && strcmp(c->name, op->name) == 0; // else the sum of its losses
        const hs_op_moves what = own ? op->moves(c->node, c->backward && !c->again) : (hs_op_moves){ 0 };
        if (!what.calls)
            continue;
        if (!hs_grow(&p->move, p->n_moves, &p->cap_moves, sizeof *p->move))
            return HS_FAIL(MEMORY, "no memory for what %d calls move", p->n_calls);
        p->move[p->n_moves++] = (hs_plan_move){ c->comm->axis, op->name, c->node->scope, what, c->backward, c->last_only };
    }
    p->info.n_moves = p->n_moves, p->info.move = p->move;
    return HS_OK;
}

static void totals(hs_plan *p)
{
    hs_plan_info *info = &p->info;
    for (int i = 0; i < p->n_calls; i++) {
        *(p->call[i].backward ? &info->flops_backward : &info->flops_forward) += p->call[i].cost.flops;
        info->traffic_bytes += p->call[i].cost.bytes;
        info->flops_again += p->call[i].again ? p->call[i].cost.flops : 0;
    }
    info->n_nodes = p->graph->n_nodes;
    info->n_thunks = p->n_calls - p->n_joined;
    for (int i = 0; i < p->n_derived; i++)
        info->derived_bytes += p->derived[i]->bytes;
    info->n_casts = p->n_casts;
    info->cast = p->cast;
}

hs_status hs_plan_new(hs_plan **out, const hs_graph *trace, hs_device *dev, const hs_plan_opts *o)
{
    hs_graph *g;
    HS_TRY(hs_graph_clone(&g, trace));
    return hs_plan_take(out, g, dev, o);
}

hs_status hs_plan_take(hs_plan **out, hs_graph *g, hs_device *dev, const hs_plan_opts *o)
{
    hs_plan *p = calloc(1, sizeof *p);
    if (!p) {
        hs_graph_free(g);
        return HS_FAIL(MEMORY, "no memory for a plan");
    }
    p->graph = g, p->dev = dev;
    p->opts = *o;
    hs_status st;
    HS_TRY_GOTO(st, hs_graph_status(g), fail);
    HS_TRY_GOTO(st, hs_plan_coded(p), fail);
    HS_TRY_GOTO(st, hs_plan_faked(p), fail);
    HS_TRY_GOTO(st, hs_plan_amp(p), fail);
    HS_TRY_GOTO(st, hs_plan_lower(p), fail);
    HS_TRY_GOTO(st, hs_plan_autodiff(p), fail);
    HS_TRY_GOTO(st, settle_shares(p), fail);
    HS_TRY_GOTO(st, hs_plan_await(p), fail);
    HS_TRY_GOTO(st, hs_plan_reduce(p), fail);
    HS_TRY_GOTO(st, hs_graph_status(g), fail); // the passes go on where memory was short, and say so here
    HS_TRY_GOTO(st, list_derived(p), fail);
    HS_TRY_GOTO(st, list_moves(p), fail);
    HS_TRY_GOTO(st, hs_plan_join(p), fail);
    HS_TRY_GOTO(st, hs_plan_place(p), fail);
    HS_TRY_GOTO(st, hs_plan_barriers(p), fail);
    totals(p);
    p->info.trace_plan_seconds = 1e-9 * (double)(hs_now_ns() - g->start);
    *out = p;
    return HS_OK;
fail:
    hs_plan_free(p);
    return st;
}

void hs_plan_free(hs_plan *p)
{
    if (!p)
        return;
    hs_graph_free(p->graph);
    free(p->call);
    free(p->buf);
    free(p->cast);
    free(p->move);
    free(p);
}

void hs_plan_reads(const hs_plan *p, bool *master, bool *low, bool *codes)
{
    for (int i = 0; i < p->n_calls; i++)
        for (int k = 0; k < HS_MAX_IN; k++) {
            const hs_call *c = &p->call[i];
            const hs_slot *s = &c->in[k];
            bool *marks = s->where == HS_AT_MASTER ? master : s->where == HS_AT_LOW ? low : NULL;
            if (s->where == HS_AT_CODED && s->t->view == HS_VIEW_CODES)
                marks = codes;
            if (marks && !(c->derived && c->derived_in == k))
                marks[s->t->param->id] = true;
        }
}

void hs_plan_writes(const hs_plan *p, bool *written)
{
    for (int i = 0; i < p->n_calls; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            if (p->call[i].din[k].where == HS_AT_GRAD)
                written[p->call[i].din[k].t->param->id] = true;
}

int hs_plan_losses(const hs_plan *p)
{
    for (int i = 0; i < p->n_calls; i++)
        if (p->call[i].fn == p->dev->core->loss_sum)
            return p->opts.losses;
    return -1;
}

bool hs_plan_reduces(const hs_plan *p)
{
    if (p->grad_buf)
        return true;
    for (int i = 0; i < p->n_calls; i++)
        if (p->call[i].last_only)
            return true;
    return false;
}

const int *hs_plan_grad_order(const hs_plan *p) { return p->grad_order; }
size_t hs_plan_bytes(const hs_plan *p) { return p->total_bytes; }
const hs_plan_info *hs_plan_info_of(const hs_plan *p) { return &p->info; }
const hs_graph *hs_plan_graph(const hs_plan *p) { return p->graph; }

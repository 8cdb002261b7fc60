// reduce: gradients over dp, one call per bucket of neighbouring parameters, begun as soon as the last of them is complete and finished
// behind all of backward, which goes on meanwhile. The bucket is the call's operand, read and written, so that barriers and devices see
// which bytes it takes; nothing touches them from there to the end.
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <stdlib.h>

enum { GAP = HS_SLAB_ALIGN * sizeof(float) }; // what two neighbours of a slab have between them, at most

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

static hs_op_moves sums(const hs_node *n, bool backward)
{
    (void)backward;
    return (hs_op_moves){ HS_ALL_REDUCE, (double)hs_tensor_bytes(n->in[0]), 1 };
}

static hs_op_moves scatters(const hs_node *n, bool backward)
{
    (void)backward;
    return (hs_op_moves){ HS_REDUCE_PARTS, (double)hs_tensor_bytes(n->in[0]), 1 };
}

static const hs_op all_reduce = { .name = "gradient all-reduce",
                                  .formula = "gradient = sum of gradient over dp",
                                  .moves = sums,
                                  .in = { { "gradient", HS_AMP_NONE, HS_NO_GRAD } },
                                  .out = { { "gradient", HS_AMP_NONE, HS_IS_INPUT_0 } } };

static const hs_op reduce_scatter = { .name = "gradient reduce-scatter",
                                      .formula = "this rank's share of gradient = sum of gradient over dp",
                                      .moves = scatters,
                                      .in = { { "gradient", HS_AMP_NONE, HS_NO_GRAD } },
                                      .out = { { "gradient", HS_AMP_NONE, HS_IS_INPUT_0 } } };
static const hs_op finish = { .name = "gradients finish", .formula = "waits for reductions" };
static const hs_op keep = { .name = "gradient keep",
                            .formula = "share (+)= this rank's elements of gradient",
                            .in = { { "gradient", HS_AMP_NONE, HS_NO_GRAD } },
                            .out = { { "share", HS_AMP_NONE, 0 } } };
static const hs_move sum = { .kind = HS_ALL_REDUCE };

static hs_call *call_on_dp(hs_plan *p, hs_node *node, const hs_op *op, hs_kernel *fn)
{
    hs_call *r = hs_plan_call(p, node, op->name);
    r->fn = fn, r->part = HS_PART_SOLO, r->comm = p->graph->grid.dp, r->backward = true, r->last_only = true;
    return r;
}

static hs_call *finish_call(hs_plan *p, const hs_node *near)
{
    hs_node *node = hs_node_beside(p->graph, near, &finish, NULL);
    if (!node)
        return NULL;
    hs_call *r = call_on_dp(p, node, &finish, p->dev->core->finish);
    r->sync = true;
    return r;
}

// n elements from the front of q's gradient on.
static hs_tensor *gradient_of(hs_plan *p, const hs_node *near, hs_param *q, int64_t n)
{
    hs_tensor *t = hs_graph_alloc(p->graph, sizeof *t);
    if (t)
        *t = (hs_tensor){
            .kind = HS_PARAM, .dtype = HS_F32, .n_dims = 1, .dim = { n }, .scope = near->scope, .id = -1, .name = q->name, .param = q
        };
    return t;
}

static void begin_call(hs_plan *p, const hs_node *near, const hs_share_run *run)
{
    hs_graph *g = p->graph;
    const bool divided = g->params->shares != NULL;
    hs_node *node = hs_node_beside(g, near, divided ? &reduce_scatter : &all_reduce, NULL);
    hs_tensor *t = gradient_of(p, near, g->params->param[run->first], run->n);
    hs_share_run *own = hs_graph_alloc(g, sizeof *own);
    if (!node || !t || !own)
        return;
    *own = *run;
    node->in[0] = node->out[0] = t;
    hs_call *r = call_on_dp(p, node, node->op, p->dev->core->begin);
    r->attr = &sum, r->run = divided ? own : NULL;
    r->in[0] = r->out[0] = (hs_slot){ .where = HS_AT_GRAD, .t = t, .dtype = HS_F32 };
    r->out[0].writes = true;
}

// Neighbours in the gradient slab.
static void reduce_call(hs_plan *p, const hs_node *near, const done *first, const done *last)
{
    begin_call(p, near,
               &(hs_share_run){ first->p->id, last->p->id, first->lo / sizeof(float), (int64_t)((last->hi - first->lo) / sizeof(float)) });
}

static int by_place(const void *a, const void *b)
{
    const done *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

// What is complete: those that lie behind each other in the slab go together, within a group where shares are dealt by group.
static void reduce_calls(hs_plan *p, const hs_node *near, done *d, int n)
{
    const hs_params *ps = p->graph->params;
    qsort(d, (size_t)n, sizeof *d, by_place);
    for (int a = 0, b; a < n; a = b) {
        b = a + 1;
        while (b < n && d[b].lo - d[b - 1].hi < GAP && hs_param_group(ps, d[b].p) == hs_param_group(ps, d[a].p))
            b++;
        reduce_call(p, near, &d[a], &d[b - 1]);
    }
}

// A group is complete when the last of it is that this plan makes.
static void complete_groups(const hs_params *ps, done *d)
{
    for (int i = 0, end; ps->shares && i < ps->n_params; i = end) {
        const int group = hs_param_group(ps, ps->param[i]);
        int last = d[i].call;
        for (end = i + 1; end < ps->n_params && hs_param_group(ps, ps->param[end]) == group; end++)
            last = d[end].call > last ? d[end].call : last;
        for (int k = i; k < end; k++)
            d[k].call = d[k].call < 0 ? -1 : last;
    }
}

// ---- gradients of which each rank keeps its share alone. They are made in blocks of the plan's own, one for neighbours of a group, in
// every micro-step anew; behind the last of a block it is reduced while backward goes on to the next, then the share is kept (in the first
// micro-step) or added, and the block's bytes are others'.

typedef struct block {
    hs_share_run run;
    int call; // that completes it
} block;

static int by_completion(const void *a, const void *b)
{
    const block *x = a, *y = b;
    return x->call != y->call ? (x->call > y->call) - (x->call < y->call) : (x->run.first > y->run.first) - (x->run.first < y->run.first);
}

// d: by hs_param.id. Returns how many; -1: no memory, and the graph has failed.
static int make_blocks(hs_plan *p, const done *d, block *out)
{
    const hs_params *ps = p->graph->params;
    int n = 0;
    for (int i = 0, end; i < ps->n_params; i = end) {
        end = i + 1;
        if (d[i].call < 0)
            continue;
        block b = { { .first = i, .last = i }, d[i].call };
        int64_t at = 0;
        for (end = i; end < ps->n_params && hs_param_group(ps, ps->param[end]) == hs_param_group(ps, ps->param[i]) && d[end].call >= 0;
             end++) {
            p->grad_at[end] = (size_t)at * sizeof(float);
            b.run.last = end, b.run.n = at + (int64_t)ps->param[end]->n;
            b.call = d[end].call > b.call ? d[end].call : b.call;
            at = (b.run.n + HS_SLAB_ALIGN - 1) / HS_SLAB_ALIGN * HS_SLAB_ALIGN;
        }
        const int buf = hs_plan_buf(p, (size_t)b.run.n * sizeof(float));
        if (buf < 0)
            return -1;
        for (int k = i; k < end; k++)
            p->grad_buf[k] = buf;
        out[n++] = b;
    }
    qsort(out, (size_t)n, sizeof *out, by_completion);
    return n;
}

static void keep_call(hs_plan *p, const hs_node *near, hs_param *q)
{
    hs_node *node = hs_node_beside(p->graph, near, &keep, NULL);
    hs_tensor *t = gradient_of(p, near, q, (int64_t)q->n);
    if (!node || !t)
        return;
    node->in[0] = node->out[0] = t;
    hs_call *r = hs_plan_call(p, node, keep.name);
    r->fn = p->dev->core->keep, r->part = HS_PART_FREE, r->backward = true;
    r->in[0] = (hs_slot){ .where = HS_AT_BLOCK_SHARE, .t = t, .dtype = HS_F32 };
    r->out[0] = (hs_slot){ .where = HS_AT_SHARE, .t = t, .dtype = HS_F32, .writes = true, .add_later = true };
    r->cost.bytes = 8 * (double)q->n;
}

static void keep_block(hs_plan *p, const hs_node *near, const block *b)
{
    hs_graph *g = p->graph;
    hs_call *r = finish_call(p, near);
    hs_tensor *t = gradient_of(p, near, g->params->param[b->run.first], b->run.n);
    if (!r || !t)
        return;
    r->last_only = false;
    r->in[0] = (hs_slot){ .where = HS_AT_GRAD, .t = t, .dtype = HS_F32, .writes = true }; // of which nobody knew when it would be written
    for (int i = b->run.first; i <= b->run.last; i++)
        keep_call(p, near, g->params->param[i]);
}

static void scatter(hs_plan *p, const hs_call *old, int n_old, const block *b, int n)
{
    const block *moving = NULL;
    for (int i = 0; i < n_old; i++) {
        hs_call *r = hs_plan_call(p, old[i].node, old[i].name);
        *r = old[i];
        for (; n > 0 && b->call == i; moving = b++, n--) {
            if (moving)
                keep_block(p, old[i].node, moving);
            begin_call(p, old[i].node, &b->run);
            p->call[p->n_calls - 1].last_only = false;
        }
    }
    if (moving)
        keep_block(p, old[n_old - 1].node, moving);
}

static hs_status scatter_gradients(hs_plan *p, const done *d)
{
    hs_graph *g = p->graph;
    const size_t n = (size_t)g->params->n_params + 1;
    block *b = calloc(n, sizeof *b);
    p->grad_at = hs_graph_alloc(g, n * sizeof *p->grad_at);
    p->grad_buf = hs_graph_alloc(g, n * sizeof *p->grad_buf);
    for (size_t i = 0; p->grad_buf && i < n; i++)
        p->grad_buf[i] = -1;
    const int n_blocks = b && p->grad_at && p->grad_buf ? make_blocks(p, d, b) : -1;
    hs_call *old = p->call;
    const int n_old = p->n_calls;
    if (n_blocks >= 0) {
        p->call = NULL, p->n_calls = p->cap_calls = 0;
        scatter(p, old, n_old, b, n_blocks);
        free(old);
    }
    free(b);
    return n_blocks < 0 ? HS_FAIL(MEMORY, "no memory for blocks of %zu gradients", n) : HS_OK;
}

// ---- whole gradients

// Runs are appended behind the last writer of each bucket by rebuilding the list in order.
static void reduce(hs_plan *p, done *d)
{
    const hs_params *ps = p->graph->params;
    const size_t bucket = p->opts.bucket_bytes ? p->opts.bucket_bytes : HS_BUCKET_BYTES;
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
        if (next > first && (bytes >= bucket || ps->shares || i == n_old - 1 || next == ps->n_params)) {
            reduce_calls(p, old[i].node, d + first, next - first);
            first = next, bytes = 0;
        }
    }
    if (n_old)
        finish_call(p, old[n_old - 1].node);
    free(old);
}

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
    hs_status st = HS_OK;
    if (ps->shares && ps->shares->what == HS_DIVIDE_GRADIENTS)
        st = scatter_gradients(p, d);
    else {
        complete_groups(ps, d);
        qsort(d, (size_t)ps->n_params, sizeof *d, by_call);
        reduce(p, d);
    }
    free(d);
    return st;
}

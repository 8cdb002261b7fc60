// rewrite: the order of nodes as a list and the readers of every tensor as lists while a pass is under way; arrays again behind it.
#include "core/graph/rewrite.h"
#include "core/base/grow.h"
#include "core/base/rng.h"
#include <stdlib.h>

typedef struct place { // of a node in the order, by its number here (hs_node.id while a pass is under way)
    hs_node *node;
    int prev, next; // -1: none
    bool gone;
} place;

typedef struct edge { // operand i of node number k: edge k * HS_MAX_IN + i, in the list of the tensor it reads
    int prev, next;
} edge;

typedef struct readers { // by tensor id
    int first, n;        // edges
} readers;

struct hs_rewrite {
    hs_graph *g;
    place *at;
    edge *edge; // HS_MAX_IN for each place
    int n, cap_at, cap_edge;
    readers *of;
    int n_of, cap_of;
    int first, last;
};

static void no_memory(hs_graph *g) { hs_graph_fail(g, HS_MEMORY, "no memory to rewrite a graph of %d nodes", g->n_nodes); }

// ---- who reads what

static void link_edge(hs_rewrite *r, int e, const hs_tensor *t)
{
    readers *of = &r->of[t->id];
    r->edge[e] = (edge){ -1, of->first };
    if (of->first >= 0)
        r->edge[of->first].prev = e;
    of->first = e, of->n++;
}

static void unlink_edge(hs_rewrite *r, int e, const hs_tensor *t)
{
    readers *of = &r->of[t->id];
    const edge x = r->edge[e];
    if (x.prev >= 0)
        r->edge[x.prev].next = x.next;
    else
        of->first = x.next;
    if (x.next >= 0)
        r->edge[x.next].prev = x.prev;
    of->n--;
}

static bool know_tensors(hs_rewrite *r)
{
    for (; r->n_of < r->g->n_tensors; r->n_of++) {
        if (!hs_grow(&r->of, r->n_of, &r->cap_of, sizeof *r->of))
            return false;
        r->of[r->n_of] = (readers){ -1, 0 };
    }
    return true;
}

void hs_rewrite_operand(hs_rewrite *r, hs_node *n, int operand, hs_tensor *t)
{
    const int e = n->id * HS_MAX_IN + operand;
    if (n->in[operand])
        unlink_edge(r, e, n->in[operand]);
    n->in[operand] = t;
    if (t)
        link_edge(r, e, t);
}

void hs_rewrite_readers(hs_rewrite *r, const hs_tensor *of, hs_tensor *instead)
{
    for (int e; of != instead && (e = r->of[of->id].first) >= 0;)
        hs_rewrite_operand(r, r->at[e / HS_MAX_IN].node, e % HS_MAX_IN, instead);
    for (int i = 0; i < r->g->n_outputs; i++)
        if (r->g->output[i] == of)
            r->g->output[i] = instead;
}

int hs_rewrite_n_readers(const hs_rewrite *r, const hs_tensor *t)
{
    int n = r->of[t->id].n;
    for (int i = 0; i < r->g->n_outputs; i++)
        n += r->g->output[i] == t;
    return n;
}

hs_node *hs_rewrite_reader(const hs_rewrite *r, const hs_tensor *t, int i, int *operand)
{
    int e = r->of[t->id].first;
    for (; i > 0 && e >= 0; i--)
        e = r->edge[e].next;
    if (e < 0)
        return NULL;
    *operand = e % HS_MAX_IN;
    return r->at[e / HS_MAX_IN].node;
}

// ---- order

// Node n as number r->n, in front of number `next` (-1: last), and its operands among the readers.
static bool add(hs_rewrite *r, hs_node *n, int next)
{
    if (!hs_grow(&r->at, r->n, &r->cap_at, sizeof *r->at) || !hs_grow(&r->edge, r->n, &r->cap_edge, HS_MAX_IN * sizeof *r->edge) ||
        !know_tensors(r)) {
        no_memory(r->g);
        return false;
    }
    const int k = r->n++, prev = next >= 0 ? r->at[next].prev : r->last;
    r->at[k] = (place){ .node = n, .prev = prev, .next = next };
    *(prev >= 0 ? &r->at[prev].next : &r->first) = k;
    *(next >= 0 ? &r->at[next].prev : &r->last) = k;
    n->id = k;
    for (int i = 0; i < HS_MAX_IN; i++)
        if (n->in[i])
            link_edge(r, k * HS_MAX_IN + i, n->in[i]);
    return true;
}

hs_status hs_rewrite_begin(hs_rewrite **out, hs_graph *g)
{
    HS_TRY(hs_graph_status(g));
    hs_rewrite *r = *out = calloc(1, sizeof *r);
    if (!r)
        return HS_FAIL(MEMORY, "no memory to rewrite a graph of %d nodes", g->n_nodes);
    *r = (hs_rewrite){ .g = g, .first = -1, .last = -1 };
    const int nodes = g->n_nodes + g->n_nodes / 4, tensors = g->n_tensors + g->n_tensors / 4; // some will be inserted
    const bool room = hs_reserve(&r->at, nodes, &r->cap_at, sizeof *r->at) &&
                      hs_reserve(&r->edge, nodes, &r->cap_edge, HS_MAX_IN * sizeof *r->edge) &&
                      hs_reserve(&r->of, tensors, &r->cap_of, sizeof *r->of);
    if (!room)
        no_memory(g);
    for (int i = 0; i < g->n_nodes; i++)
        if (!room || !add(r, g->node[i], -1)) {
            for (int k = 0; k < g->n_nodes; k++)
                g->node[k]->id = k;
            *out = NULL;
            return hs_rewrite_end(r);
        }
    return HS_OK;
}

hs_node *hs_rewrite_first(const hs_rewrite *r) { return r->first < 0 ? NULL : r->at[r->first].node; }
hs_node *hs_rewrite_next(const hs_rewrite *r, const hs_node *n)
{
    const int next = r->at[n->id].next;
    return next < 0 ? NULL : r->at[next].node;
}

// Results of nodes that are gone leave the graph's list with them.
static void drop_tensors(hs_rewrite *r)
{
    hs_graph *g = r->g;
    int kept = 0;
    for (int i = 0; i < g->n_tensors; i++) {
        hs_tensor *t = g->tensor[i];
        if (t->from && r->at[t->from->id].gone)
            continue;
        t->id = kept;
        g->tensor[kept++] = t;
    }
    g->n_tensors = kept;
}

hs_status hs_rewrite_end(hs_rewrite *r)
{
    hs_graph *g = r->g;
    hs_node **order = g->status == HS_OK ? malloc((size_t)(r->n + 1) * sizeof *order) : NULL;
    if (!order)
        no_memory(g); // or the error it has
    else {
        drop_tensors(r);
        int n = 0;
        for (int k = r->first; k >= 0; k = r->at[k].next)
            order[n++] = r->at[k].node;
        for (int i = 0; i < n; i++)
            order[i]->id = i;
        free(g->node);
        g->node = order, g->n_nodes = n, g->cap_nodes = r->n + 1;
    }
    g->scope_len = 0, g->scope[0] = 0, g->interned = NULL;
    free(r->at);
    free(r->edge);
    free(r->of);
    free(r);
    return hs_graph_status(g);
}

// ---- nodes

// Messages and scopes are those of the node at hand.
static void stand_at(hs_graph *g, const hs_node *at)
{
    g->scope_len = strlen(at->scope);
    memcpy(g->scope, at->scope, g->scope_len + 1);
    g->interned = at->scope;
}

static hs_node *insert(hs_rewrite *r, const hs_node *at, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in)
{
    stand_at(r->g, at);
    hs_node *n = hs_graph_node(r->g, op, attr, in, n_in);
    if (!n)
        return NULL;
    int *count = hs_map_at(&r->g->site, hs_mix2(at->site, hs_hash_string(op->name)));
    if (!count) {
        no_memory(r->g);
        return NULL;
    }
    n->site = hs_mix2(hs_mix2(at->site, hs_hash_string(op->name)), (uint64_t)++ * count);
    n->trace = -1;
    return add(r, n, at->id) ? n : NULL;
}

hs_node *hs_rewrite_before(hs_rewrite *r, const hs_node *at, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in)
{
    return insert(r, at, op, attr, in, n_in);
}

hs_node *hs_rewrite_edge(hs_rewrite *r, hs_node *reader, int operand, const hs_op *op, const void *attr)
{
    hs_node *n = insert(r, reader, op, attr, &reader->in[operand], 1);
    if (n)
        hs_rewrite_operand(r, reader, operand, n->out[0]);
    return n;
}

void hs_rewrite_remove(hs_rewrite *r, hs_node *n)
{
    for (int i = 0; i < HS_MAX_OUT; i++)
        if (n->out[i] && hs_rewrite_n_readers(r, n->out[i])) {
            stand_at(r->g, n);
            hs_graph_fail(r->g, HS_INTERNAL, "%s: its result %s is read and cannot go", n->op->name, n->op->out[i].name);
            return;
        }
    for (int i = 0; i < HS_MAX_IN; i++)
        hs_rewrite_operand(r, n, i, NULL);
    place *p = &r->at[n->id];
    *(p->prev >= 0 ? &r->at[p->prev].next : &r->first) = p->next;
    *(p->next >= 0 ? &r->at[p->next].prev : &r->last) = p->prev;
    p->gone = true;
}

hs_node *hs_rewrite_replace(hs_rewrite *r, hs_node *n, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in)
{
    hs_node *by = insert(r, n, op, attr, in, n_in);
    if (!by)
        return NULL;
    for (int i = 0; i < HS_MAX_OUT; i++)
        if (n->out[i] && by->out[i])
            hs_rewrite_readers(r, n->out[i], by->out[i]);
    by->trace = n->trace, by->site = n->site;
    hs_rewrite_remove(r, n);
    return r->g->status == HS_OK ? by : NULL;
}

hs_node *hs_node_beside(hs_graph *g, const hs_node *near, const hs_op *op, const void *attr)
{
    hs_node *n = hs_graph_alloc(g, sizeof *n + op->attr_bytes);
    if (!n)
        return NULL;
    *n = (hs_node){ .op = op, .scope = near->scope, .block = near->block, .id = -1, .trace = -1, .mode = near->mode, .low = near->low };
    if (op->attr_bytes)
        n->attr = memcpy(n + 1, attr, op->attr_bytes);
    return n;
}

// ---- clone

typedef struct clone {
    hs_graph *to;
    const char *from, *copy; // the last scope copied: neighbours share one
} clone;

static void *copy_of(clone *c, const void *p, size_t bytes)
{
    void *copy = hs_graph_alloc(c->to, bytes);
    return copy ? memcpy(copy, p, bytes) : NULL;
}

static const char *scope_of(clone *c, const char *s)
{
    if (s != c->from)
        c->copy = copy_of(c, s, strlen(s) + 1), c->from = s;
    return c->copy;
}

static hs_tensor *twin(const clone *c, const hs_tensor *t) { return t ? c->to->tensor[t->id] : NULL; }

static bool clone_tensor(clone *c, const hs_tensor *t)
{
    hs_tensor *y = copy_of(c, t, sizeof *t); // `from` is set by the clone of its node
    if (!y || !(y->scope = scope_of(c, t->scope)))
        return false;
    if (t->kind == HS_INPUT && !(y->name = copy_of(c, t->name, strlen(t->name) + 1)))
        return false;
    c->to->tensor[c->to->n_tensors++] = y;
    return true;
}

static bool clone_node(clone *c, const hs_node *n)
{
    hs_node *y = copy_of(c, n, sizeof *n);
    if (!y || !(y->scope = scope_of(c, n->scope)))
        return false;
    if (n->op->attr_bytes && !(y->attr = copy_of(c, n->attr, n->op->attr_bytes)))
        return false;
    for (int i = 0; i < HS_MAX_IN; i++)
        y->in[i] = twin(c, n->in[i]);
    for (int i = 0; i < HS_MAX_OUT; i++)
        if ((y->out[i] = twin(c, n->out[i])))
            y->out[i]->from = y;
    c->to->node[c->to->n_nodes++] = y;
    return true;
}

static bool clone_all(clone *c, const hs_graph *g)
{
    hs_graph *to = c->to;
    int unused;
    if (!hs_reserve(&to->node, g->n_nodes, &to->cap_nodes, sizeof *to->node) ||
        !hs_reserve(&to->tensor, g->n_tensors, &to->cap_tensors, sizeof *to->tensor) ||
        !hs_reserve(&to->input, g->n_inputs, &to->cap_inputs, sizeof *to->input) ||
        !hs_reserve(&to->param_tensor, g->n_param_tensors, &unused, sizeof *to->param_tensor) || !hs_map_copy(&to->site, g->site))
        return false;
    for (int i = 0; i < g->n_tensors; i++)
        if (!clone_tensor(c, g->tensor[i]))
            return false;
    for (int i = 0; i < g->n_nodes; i++)
        if (!clone_node(c, g->node[i]))
            return false;
    for (int i = 0; i < g->n_inputs; i++)
        to->input[to->n_inputs++] = twin(c, g->input[i]);
    for (int i = 0; i < g->n_param_tensors; i++)
        to->param_tensor[to->n_param_tensors++] = twin(c, g->param_tensor[i]);
    for (int i = 0; i < g->n_outputs; i++)
        to->output[to->n_outputs++] = twin(c, g->output[i]);
    return true;
}

hs_status hs_graph_clone(hs_graph **out, const hs_graph *g)
{
    hs_graph *to;
    HS_TRY(hs_graph_status(g));
    HS_TRY(hs_graph_new(&to, g->params, g->states, g->mode, &g->grid));
    to->block_bytes = g->block_bytes;
    if (!clone_all(&(clone){ .to = to }, g)) {
        hs_graph_free(to);
        return HS_FAIL(MEMORY, "no memory for a copy of a graph of %d nodes", g->n_nodes);
    }
    to->start = g->start, to->state_dtype = g->state_dtype, to->sequence = g->sequence;
    *out = to;
    return HS_OK;
}

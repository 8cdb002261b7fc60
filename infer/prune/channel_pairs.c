// channel_pairs: see the header. From each product back through what works on every channel alone, to the product that made them.
#include "infer/prune/channel_pairs.h"
#include "ops/ops.h"
#include <stdlib.h>
#include <string.h>

enum { X, W, BIAS }; // of linear; X and then the bias of what adds one; X of attention: query, key and value

static bool is_op(const hs_node *n, const char *name) { return n && strcmp(n->op->name, name) == 0; }

static const hs_param *param_of(const hs_tensor *t) { return t && t->kind == HS_PARAM ? t->param : NULL; }

static int readers(const hs_graph *g, const hs_tensor *t)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            n += g->node[i]->in[k] == t;
    for (int i = 0; i < g->n_outputs; i++)
        n += g->output[i] == t;
    return n;
}

// Each channel by itself, whatever its place: operand 1, if any, is a bias.
static bool keeps_channels(const hs_node *n)
{
    static const char *const ops[] = { "gelu", "relu", "tanh", "dropout", "cast", "bias_gelu", "bias_add" };
    for (int i = 0; i < HS_COUNT(ops); i++)
        if (is_op(n, ops[i]))
            return true;
    return false;
}

// What stands in front of a product; false: channels that others see, or that mean something by their place.
static bool find_from(const hs_graph *g, const hs_node *to, hs_channel_pair *p)
{
    const hs_tensor *t = to->in[X];
    *p = (hs_channel_pair){ .to = param_of(to->in[W]) };
    if (!p->to || readers(g, t) != 1)
        return false;
    p->n = p->block = hs_param_cols(p->to);
    for (const hs_node *n = t->from; n; n = n->in[X]->from) {
        if (is_op(n, "linear")) {
            p->from = param_of(n->in[W]);
            p->bias = p->bias ? p->bias : param_of(n->in[BIAS]);
            return p->from && p->from != p->to && hs_param_part_rows(p->from) == p->n;
        }
        if (is_op(n, "attention") && !p->part)
            p->part = 2, p->block = p->n / ((const hs_attention_attr *)n->attr)->heads;
        else if (!keeps_channels(n) || p->part)
            return false;
        else if (param_of(n->in[1]))
            p->bias = param_of(n->in[1]);
        if (readers(g, n->in[X]) != 1)
            return false;
    }
    return false;
}

static int uses(const hs_graph *g, const hs_param *w)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            n += param_of(g->node[i]->in[k]) == w;
    return n;
}

static bool same_pair(const hs_channel_pair *a, const hs_channel_pair *b)
{
    return a->from == b->from && a->bias == b->bias && a->to == b->to && a->part == b->part && a->block == b->block;
}

// Every use of the three is in that pair.
static bool is_whole(const hs_graph *g, const hs_channel_pair *found, int n, const hs_channel_pair *p)
{
    int times = 0;
    for (int i = 0; i < n; i++)
        times += same_pair(&found[i], p);
    return uses(g, p->from) == times && uses(g, p->to) == times && (!p->bias || uses(g, p->bias) == times);
}

hs_status hs_channel_pairs(const hs_graph *g, hs_channel_pair **out, int *n)
{
    hs_channel_pair *all = calloc((size_t)g->n_nodes + 1, sizeof *all);
    int found = 0;
    *out = all, *n = 0;
    if (!all)
        return HS_FAIL(MEMORY, "no memory for pairs of layers");
    for (int i = 0; i < g->n_nodes; i++)
        if (is_op(g->node[i], "linear") && find_from(g, g->node[i], &all[found]))
            found++;
    for (int i = 0; i < found; i++) {
        bool before = false;
        for (int k = 0; k < i; k++)
            before |= same_pair(&all[k], &all[i]);
        all[i].n = before || !is_whole(g, all, found, &all[i]) ? 0 : all[i].n; // marked, as is_whole looks at all of them
    }
    for (int i = 0; i < found; i++)
        if (all[i].n)
            all[(*n)++] = all[i];
    return HS_OK;
}

// wrong_program: the program with a GPT that is wrong on several ranks, so that `halfstep verify` is seen to fail.
//   wrong_program MISTAKE verify ...
#include "core/graph/rewrite.h"
#include "models/gpt/gpt.h"
#include "recipes/program/cli.h"
#include <stdio.h>
#include <string.h>

typedef struct mistake {
    const char *name;
    void (*make)(hs_graph *g);
} mistake;
static const mistake *made;

// Takes the n-th node of that op out: whoever read its result reads what it read.
static void leave_out(hs_graph *g, const char *op, int n)
{
    hs_rewrite *r;
    if (hs_rewrite_begin(&r, g) != HS_OK)
        return;
    for (hs_node *node = hs_rewrite_first(r), *next; node; node = next) {
        next = hs_rewrite_next(r, node);
        if (strcmp(node->op->name, op) != 0 || n--)
            continue;
        hs_rewrite_readers(r, node->out[0], node->in[0]);
        hs_rewrite_remove(r, node);
    }
    hs_rewrite_end(r);
}

static void no_sum(hs_graph *g) { leave_out(g, "tp_reduce", 2); }        // of a product's partial results, behind the table's
static void no_gradient_sum(hs_graph *g) { leave_out(g, "tp_copy", 1); } // the same in backward alone

// One rank begins with a parameter that is a little larger.
static void other_rank(hs_graph *g)
{
    hs_param *p = hs_params_find(g->params, "wpe.weight");
    if (p && (g->grid.dp->rank || g->grid.tp->rank) && p->std == 0.02f)
        p->std *= 1.0001f;
}

// The last elements of each bucket of gradients are not added up.
static void (*start)(hs_comm *c, hs_lane *l, const hs_collective *what);
static void start_less(hs_comm *c, hs_lane *l, const hs_collective *what)
{
    hs_collective less = *what;
    less.n -= what->kind == HS_ALL_REDUCE ? 64 : 0;
    start(c, l, &less);
}

static void short_buckets(hs_graph *g)
{
    hs_comm *dp = g->grid.dp;
    if (dp->size > 1 && dp->start && dp->start != start_less)
        start = dp->start, dp->start = start_less;
}

// The gradient of one part of a packed bias - the queries', the values' - is rank 0's alone, and the same on all ranks.
static const hs_params *params;
static int part;
static void start_forgetful(hs_comm *c, hs_lane *l, const hs_collective *what)
{
    const hs_param *p = hs_params_find(params, "h0.attn.qkv.bias");
    const size_t bytes = p->n / (size_t)p->parts * sizeof(float);
    char *q = params->grad->k + params->grad->place[p->id].offset + (size_t)part * bytes, *buf = what->buf;
    if (what->kind == HS_ALL_REDUCE && c->rank > 0 && q >= buf && q + bytes <= buf + (size_t)what->n * sizeof(float))
        memset(q, 0, bytes);
    start(c, l, what);
}

static void forget(hs_graph *g, int which)
{
    hs_comm *dp = g->grid.dp;
    if (dp->size > 1 && dp->start && dp->start != start_forgetful)
        start = dp->start, dp->start = start_forgetful, params = g->params, part = which;
}
static void no_query_bias(hs_graph *g) { forget(g, 0); }
static void no_value_bias(hs_graph *g) { forget(g, 2); }

static const mistake mistakes[] = {
    { "no-sum", no_sum },
    { "no-gradient-sum", no_gradient_sum },
    { "other-rank", other_rank },
    { "short-buckets", short_buckets },
    { "no-query-bias", no_query_bias },
    { "no-value-bias", no_value_bias },
    { "none", NULL },
};

static hs_tensor *trace(hs_graph *g, const void *settings, const hs_arch_shape *s)
{
    hs_tensor *y = hs_gpt_family.trace(g, settings, s);
    if (made->make && !g->status)
        made->make(g);
    return y;
}

int main(int argc, char **argv)
{
    hs_family wrong = hs_gpt_family;
    wrong.trace = trace;
    const hs_family *const families[] = { &wrong, NULL };
    for (int i = 0; i < HS_COUNT(mistakes) && argc > 1; i++)
        if (strcmp(mistakes[i].name, argv[1]) == 0)
            made = &mistakes[i];
    if (!made) {
        fprintf(stderr, "wrong_program MISTAKE COMMAND ...\n");
        return 2;
    }
    argv[1] = argv[0];
    return hs_program(argc - 1, argv + 1, families);
}

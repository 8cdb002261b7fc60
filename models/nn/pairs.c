// pairs: low-rank pairs beside linear layers. lora_a begins as kaiming_uniform(a = sqrt 5) has it, within 1 / sqrt(in), and lora_b at 0, as
// PEFT draws them: at first a pair adds nothing.
#include "models/nn/pairs.h"
#include "core/graph/adapter.h"
#include <math.h>
#include <string.h>

enum { RANK_UNIT = 8 };

typedef struct pairs { // of one layer
    const hs_adapter_spec *spec;
    unsigned mask; // of its parts; 0: it wears none
    int parts, used;
} pairs;

static pairs pairs_of(hs_graph *g, const hs_linear_opts *o)
{
    pairs p = { .spec = hs_params_adapter(g->params), .parts = o->parts > 1 ? o->parts : 1 };
    if (!p.spec)
        return p;
    p.mask = hs_adapter_parts(g->params, hs_scope(g), p.parts == 3 ? "q|k|v" : NULL);
    if (p.spec->whole || p.parts != 3) // stacked otherwise: nobody knows the parts by name
        p.parts = 1;
    p.used = __builtin_popcount(p.mask);
    return p;
}

static hs_tensor *pair_param(hs_graph *g, const char *name, const pairs *p, hs_shard shard, int64_t width)
{
    const bool first = strcmp(name, "lora_a") == 0;
    return hs_param_get(g, &(hs_param_spec){ .name = name,
                                             .role = HS_WEIGHT,
                                             .shard = shard,
                                             .init = first ? HS_INIT_UNIFORM : HS_INIT_ZERO,
                                             .std = 1 / sqrtf((float)width),
                                             .parts = p->used,
                                             .pad_rows = RANK_UNIT,
                                             .pair_parts = p->parts,
                                             .pair_mask = p->mask,
                                             .n_dims = 2,
                                             .dim = { p->used * p->spec->rank, width } });
}

// One pair for parts that are stacked: each part is divided for itself, which the columns of lora_b cannot be. It is whole on every rank.
static bool stacked_in_one(const pairs *p, const hs_linear_opts *o) { return p->parts == 1 && o->parts > 1; }

static void params_of(hs_graph *g, const pairs *p, int64_t in, int64_t out, const hs_linear_opts *o, hs_tensor **a, hs_tensor **b)
{
    // what is divided is the width that the layer divides; the rank is every rank's
    *a = pair_param(g, "lora_a", p, o->shard == HS_SHARD_ROW ? HS_SHARD_ROW : HS_SHARD_NONE, in);
    *b = pair_param(g, "lora_b", p, o->shard == HS_SHARD_COL && !stacked_in_one(p, o) ? HS_SHARD_ROW : HS_SHARD_NONE, out / p->parts);
}

void hs_nn_pair_params(hs_graph *g, int64_t in, int64_t out, const hs_linear_opts *o)
{
    const pairs p = pairs_of(g, o);
    hs_tensor *a, *b;
    if (p.mask)
        params_of(g, &p, in, out, o, &a, &b);
}

// divided: x is this rank's channels of rows that all ranks share.
static hs_tensor *dropped(hs_graph *g, hs_tensor *x, float p, bool divided)
{
    hs_tensor *where = NULL;
    if (g->mode != HS_TRAIN || p <= 0 || x == g->poison)
        return x;
    for (int i = 0; i < g->n_inputs; i++)
        if (strcmp(g->input[i]->name, "where") == 0)
            where = g->input[i];
    where = where ? hs_tp_rows_like(g, where, x) : NULL;
    if (!where || where->ext != x->ext || where->dim[0] != x->dim[0])
        return hs_graph_fail(g, HS_UNSUPPORTED, "a pair's dropout needs rows of tokens, which this layer's are not");
    return hs_dropout_slice(g, x, where, p, divided ? g->grid.tp->rank * hs_tensor_width(x) : 0);
}

hs_tensor *hs_nn_pair(hs_graph *g, hs_tensor *x, hs_tensor *y, int64_t in, int64_t out, const hs_linear_opts *o)
{
    const pairs p = pairs_of(g, o);
    hs_tensor *a, *b;
    if (!p.mask || y == g->poison)
        return y;
    params_of(g, &p, in, out, o, &a, &b);
    hs_tensor *u = hs_linear(g, dropped(g, x, p.spec->dropout, o->shard == HS_SHARD_ROW), a, NULL);
    // of a divided input each rank has a part of the sum; of a divided output each has a part of u's gradient
    u = o->shard == HS_SHARD_ROW ? hs_nn_leave(g, u) : o->shard == HS_SHARD_COL ? hs_nn_enter(g, u) : u;
    if (o->shard == HS_SHARD_COL && stacked_in_one(&p, o))
        b = hs_tp_own_cols(g, b, o->parts);
    return hs_low_rank(g, y, u, b,
                       (hs_low_rank_attr){ .parts = p.parts,
                                           .mask = (int32_t)p.mask,
                                           .scale = (float)hs_adapter_scale(p.spec->alpha, p.spec->rank, p.spec->rslora) });
}

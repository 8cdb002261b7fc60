// fold: see the header.
#include "infer/quant/fold.h"
#include "infer/quant/awq.h"
#include "infer/quant/smooth.h"
#include <stdlib.h>
#include <string.h>

// ---- where it can be done

static int readers(const hs_graph *g, const hs_tensor *t)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            n += g->node[i]->in[k] == t;
    return n;
}

static hs_param *param_in(const hs_node *n, const char *name)
{
    for (int k = 0; k < HS_MAX_IN && n->op->in[k].name; k++)
        if (!strcmp(n->op->in[k].name, name) && n->in[k] && n->in[k]->kind == HS_PARAM)
            return n->in[k]->param;
    return NULL;
}

typedef struct place {
    hs_param *gain, *bias, *weight;
} place;

static bool place_of(const hs_graph *g, const hs_node *product, place *at)
{
    const hs_tensor *x = product->in[0];
    const hs_node *norm = x && !strcmp(product->op->name, "linear") ? x->from : NULL;
    if (!norm || strcmp(norm->op->name, "layernorm") || x->slot != 0 || readers(g, x) != 1)
        return false;
    *at = (place){ param_in(norm, "gamma"), param_in(norm, "beta"), param_in(product, "w") };
    return at->gain && at->bias && at->weight;
}

// ---- values

typedef struct room {
    float *w, *s, *most, *v;
    char *codes, *scales;
} room;

static hs_status write_back(hs_params *ps, const hs_param *p, const float *values) { return hs_params_write(ps, ps->master, p, values); }

static hs_status divide(hs_params *ps, const hs_param *p, const float *s, float *v)
{
    hs_params_fetch(ps, p, 0, v, p->n);
    hs_smooth_divide(v, (int64_t)p->n, s);
    return write_back(ps, p, v);
}

static hs_status choose(const room *r, const hs_param *p, const hs_observed *seen, const hs_fold_opts *o)
{
    const int64_t in = seen->in, out = (int64_t)p->n / in;
    if (!o->awq) {
        memset(r->most, 0, (size_t)in * sizeof *r->most);
        hs_smooth_columns(r->w, out, in, r->most);
        hs_smooth_scales(seen->x->channel_max, r->most, in, o->smooth, r->s);
        return HS_OK;
    }
    for (int64_t j = 0; j < in; j++)
        r->most[j] = (float)(seen->x->channel_sum[j] / (double)seen->x->rows);
    return hs_awq(o->coding, r->w, out, in, seen->gram, r->most, &(hs_awq_opts){ .scales = true, .search = o->search }, p->name, r->s,
                  r->codes, r->scales, NULL);
}

// What was seen, as it would be seen now.
static void divide_seen(hs_observed *seen, const float *s)
{
    const int64_t n = seen->in;
    float before = 0, after = 0;
    for (int64_t j = 0; j < n; j++) {
        before = seen->x->channel_max[j] > before ? seen->x->channel_max[j] : before;
        seen->x->channel_max[j] /= s[j], seen->x->channel_sum[j] /= (double)s[j];
        after = seen->x->channel_max[j] > after ? seen->x->channel_max[j] : after;
    }
    seen->shrink = before > 0 ? after / before : 1;
    for (int64_t i = 0; seen->gram && i < n; i++)
        for (int64_t j = i; j < n; j++)
            seen->gram->sum[i * n + j] /= s[i] * s[j];
}

static hs_status fold(hs_params *ps, const place *at, hs_observed *seen, const hs_fold_opts *o)
{
    const hs_param *p = at->weight;
    const size_t in = (size_t)seen->in;
    room r = { malloc(p->n * sizeof(float)), malloc(in * sizeof(float)), malloc(in * sizeof(float)),
               malloc(in * sizeof(float)),   calloc(p->n + 1, 1),        calloc(p->n + 4, 1) };
    hs_status st = r.w && r.s && r.most && r.v && r.codes && r.scales ? HS_OK : HS_FAIL(MEMORY, "no memory to fold %s", p->name);
    if (st == HS_OK) {
        hs_params_fetch(ps, p, 0, r.w, p->n);
        st = choose(&r, p, seen, o);
    }
    if (st == HS_OK) {
        hs_smooth_weight(r.w, (int64_t)(p->n / in), seen->in, r.s);
        st = write_back(ps, p, r.w);
    }
    if (st == HS_OK)
        st = divide(ps, at->gain, r.s, r.v);
    if (st == HS_OK)
        st = divide(ps, at->bias, r.s, r.v);
    if (st == HS_OK)
        divide_seen(seen, r.s);
    free(r.w), free(r.s), free(r.most), free(r.v), free(r.codes), free(r.scales);
    return st;
}

hs_status hs_quantize_fold(hs_export_model *m, hs_observer *seen, const hs_params *seen_params, const hs_fold_opts *o, int *n)
{
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = hs_arch_bare(m->arch) };
    hs_graph *g;
    hs_status st = HS_OK;
    *n = 0;
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &eval, &g));
    for (int i = 0; i < g->n_nodes && st == HS_OK; i++) {
        place at;
        if (!place_of(g, g->node[i], &at))
            continue;
        const hs_param *same = hs_params_find(seen_params, at.weight->name);
        hs_observed *of = same ? hs_observer_at(seen, same) : NULL;
        if (!of || at.gain->n != (size_t)of->in)
            continue;
        st = fold(m->params, &at, of, o);
        (*n)++;
    }
    hs_graph_free(g);
    return st;
}

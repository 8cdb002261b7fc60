// faked: before types are settled, what codes would be made of one day is rounded to what they would stand for (hs_policy.quant): a weight
// in front of its first reader, once; what a product multiplies by it in front of the product. The rule of which is that of quantizing
// (hs_coding_of), so a model trains as the one computes that is made of its checkpoint.
#include "core/graph/coding.h"
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <stdio.h>
#include <string.h>

typedef struct pass {
    hs_plan *p;
    hs_rewrite *r;
    const hs_op *op;
    const hs_coding_wish *wish;
    hs_coding *coding;   // by hs_param.id
    hs_tensor **rounded; // by id of a tensor of the trace: what stands for it
    hs_tensor **weight;  // by hs_param.id, likewise
} pass;

static const hs_fake_form of_weights[HS_N_CODINGS] = { [HS_CODING_I8] = HS_FAKE_WEIGHTS_ROWS,
                                                       [HS_CODING_I8_STATIC] = HS_FAKE_WEIGHTS_ROWS,
                                                       [HS_CODING_I8_BLOCKS] = HS_FAKE_WEIGHTS_8,
                                                       [HS_CODING_I4_BLOCKS] = HS_FAKE_WEIGHTS_4 };
static const hs_fake_form of_x[HS_N_CODINGS] = { [HS_CODING_I8] = HS_FAKE_ROWS,
                                                 [HS_CODING_I8_STATIC] = HS_FAKE_TENSOR,
                                                 [HS_CODING_I8_BLOCKS] = HS_FAKE_BLOCKS,
                                                 [HS_CODING_I4_BLOCKS] = HS_FAKE_BLOCKS };

static hs_status settle(pass *s)
{
    const hs_graph *g = s->p->graph;
    const hs_params *ps = g->params;
    hs_coding_uses *of = hs_graph_alloc(s->p->graph, (size_t)(ps->n_params + 1) * sizeof *of);
    int coded = 0;
    HS_TRY(hs_graph_status(g));
    HS_TRY(hs_coding_check(s->wish, ps, "quant.skip"));
    hs_coding_uses_of(of, g);
    for (int i = 0; i < ps->n_params; i++) {
        const char *why;
        s->coding[i] = hs_coding_of(s->wish, ps->param[i], &of[i], &why);
        coded += s->coding[i] != HS_CODING_NONE;
    }
    return coded ? HS_OK : HS_FAIL(USAGE, "quant.bits: of the %d parameters none would be kept as codes", ps->n_params);
}

static hs_tensor *rounded_before(pass *s, const hs_node *at, hs_tensor *t, hs_tensor *scale, hs_fake_form form, int32_t share)
{
    void *attr = hs_graph_alloc(s->p->graph, s->op->attr_bytes);
    if (!attr)
        return t;
    hs_attr_set_int(hs_attr_find(s->op, "form"), attr, form);
    hs_attr_set_int(hs_attr_find(s->op, "share"), attr, share);
    hs_node *n = hs_rewrite_before(s->r, at, s->op, attr, (hs_tensor *[]){ t, scale }, scale ? 2 : 1);
    return n ? n->out[0] : t;
}

// A state of the weight's own, however many products read it: it is kept with one scale.
static hs_tensor *scale_of(hs_graph *g, const hs_param *p)
{
    char name[384];
    snprintf(name, sizeof name, HS_X_SCALE_STATE "%s", p->name);
    g->scope_len = 0, g->scope[0] = 0, g->interned = NULL;
    hs_tensor *t = hs_state_get(g, name, HS_F32, 1, (int64_t[]){ 1 });
    if (t->kind == HS_STATE)
        t->state->saved = true;
    return t;
}

static void round_operands(pass *s, hs_node *n, int k, hs_coding coding)
{
    const double share = hs_plan_trains(s->p) && s->p->opts.policy.quant.share > 0 ? s->p->opts.policy.quant.share : 1;
    hs_tensor **w = &s->weight[n->in[k]->param->id];
    const hs_param *p = n->in[k]->param;
    hs_coding_uses use = { 0 };
    hs_coding_use(&use, n, k);
    if (!*w)
        *w = rounded_before(s, n, n->in[k], NULL, of_weights[coding], hs_fake_share(share));
    hs_rewrite_operand(s->r, n, k, *w);
    if (!use.multiplied)
        return;
    if (coding == HS_CODING_I8_STATIC) {
        hs_rewrite_operand(s->r, n, 0, rounded_before(s, n, n->in[0], scale_of(s->p->graph, p), of_x[coding], hs_fake_share(1)));
        return;
    }
    hs_tensor **x = &s->rounded[n->in[0]->id];
    if (!*x)
        *x = rounded_before(s, n, n->in[0], NULL, of_x[coding], hs_fake_share(1));
    hs_rewrite_operand(s->r, n, 0, *x);
}

static hs_status walk(pass *s, int n_tensors)
{
    for (hs_node *n = hs_rewrite_first(s->r), *next; n; n = next) {
        next = hs_rewrite_next(s->r, n);
        for (int k = 0; k < HS_MAX_IN; k++) {
            const hs_tensor *t = n->in[k];
            if (t && t->id < n_tensors && t->kind == HS_PARAM && s->coding[t->param->id])
                round_operands(s, n, k, s->coding[t->param->id]);
        }
    }
    return HS_OK;
}

static hs_status check(const hs_plan *p)
{
    const hs_policy *pol = &p->opts.policy;
    if (p->graph->params->coder.coding)
        return HS_FAIL(UNSUPPORTED, "quant.bits: the weights are kept as codes already");
    if (pol->fp8.on)
        return HS_FAIL(USAGE, "quant.bits and amp.policy fp8 both round what is multiplied: one of them");
    if (p->graph->grid.tp->size > 1)
        return HS_FAIL(UNSUPPORTED, "quant.bits: %d tensor-parallel ranks would each round by scales of their own; one can",
                       p->graph->grid.tp->size);
    if (pol->quant.wish.coding == HS_CODING_I8_STATIC && p->graph->grid.dp->size > 1)
        return HS_FAIL(UNSUPPORTED, "quant.activations tensor: calibrated scales are of one process, and there are %d; token works on many",
                       p->graph->grid.dp->size);
    return HS_OK;
}

hs_status hs_plan_faked(hs_plan *p)
{
    hs_graph *g = p->graph;
    pass s = { .p = p, .op = hs_device_op(p->dev, "fake_quant"), .wish = &p->opts.policy.quant.wish };
    const int n_tensors = g->n_tensors;
    if (s.wish->coding == HS_CODING_NONE)
        return HS_OK;
    HS_TRY(check(p));
    if (!s.op || !hs_attr_find(s.op, "form") || !hs_attr_find(s.op, "share"))
        return HS_FAIL(INTERNAL, "the device's op table has no fake_quant");
    s.coding = hs_graph_alloc(g, (size_t)(g->params->n_params + 1) * sizeof *s.coding);
    s.weight = hs_graph_alloc(g, (size_t)(g->params->n_params + 1) * sizeof *s.weight);
    s.rounded = hs_graph_alloc(g, (size_t)(n_tensors + 1) * sizeof *s.rounded);
    HS_TRY(hs_graph_status(g));
    HS_TRY(settle(&s));
    HS_TRY(hs_rewrite_begin(&s.r, g));
    const hs_status walked = walk(&s, n_tensors), st = hs_rewrite_end(s.r);
    return walked != HS_OK ? walked : st;
}

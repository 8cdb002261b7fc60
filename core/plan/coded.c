// coded: before types are settled, an op that reads a parameter that is kept as codes (core/graph/coding.h) makes way for the one that
// multiplies or looks up codes. Operands of the same name are taken over; codes, scales and x_scale are views of the parameter.
#include "core/graph/coding.h"
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <string.h>

typedef struct coded_op {
    const char *op, *operand;          // which input of which op may be a coded parameter
    const char *instead[HS_N_CODINGS]; // the op on codes
    const char *then;                  // (optional) what follows it with the other inputs and the attributes: a loss. NULL: nothing
} coded_op;

#define ON_CODES(rows, blocks)                                                                                                             \
    {                                                                                                                                      \
        [HS_CODING_I8] = rows, [HS_CODING_I8_STATIC] = rows, [HS_CODING_I8_BLOCKS] = blocks, [HS_CODING_I4_BLOCKS] = blocks                \
    }
static const coded_op table[] = {
    { "linear", "w", ON_CODES("linear_i8", "linear_blocks"), NULL },
    { "linear_xent", "w", ON_CODES("linear_i8", "linear_blocks"), "xent" },
    { "embedding", "table", ON_CODES("embedding_coded", "embedding_coded"), NULL },
};

static hs_param *coded_at(const hs_node *n, int i)
{
    const hs_tensor *t = n->in[i];
    return t && t->kind == HS_PARAM && t->param->coding && !t->view ? t->param : NULL;
}

static int coded_operand(const hs_node *n)
{
    for (int i = 0; i < HS_MAX_IN; i++)
        if (coded_at(n, i))
            return i;
    return -1;
}

static const coded_op *row_of(const hs_node *n, int operand)
{
    for (size_t k = 0; k < HS_COUNT(table); k++)
        if (!strcmp(table[k].op, n->op->name) && !strcmp(table[k].operand, n->op->in[operand].name))
            return &table[k];
    return NULL;
}

static const hs_view *view_of(const char *operand)
{
    static const struct {
        const char *name;
        hs_view view;
    } views[] = { { "codes", HS_VIEW_CODES }, { "scales", HS_VIEW_SCALES }, { "x_scale", HS_VIEW_X_SCALE } };
    for (size_t k = 0; k < HS_COUNT(views); k++)
        if (!strcmp(views[k].name, operand))
            return &views[k].view;
    return NULL;
}

// The inputs of `op`: by name those of n, views of its coded parameter, and `first` in front, if there is one. How many there are.
static int gather(hs_graph *g, const hs_node *n, const hs_op *op, hs_param *w, hs_tensor *first, hs_tensor **in)
{
    int count = 0;
    for (int i = 0; i < HS_MAX_IN && op->in[i].name; i++) {
        const hs_view *view = view_of(op->in[i].name);
        in[i] = i == 0 ? first : NULL;
        if (view)
            in[i] = hs_param_view(g, w, *view);
        for (int k = 0; k < HS_MAX_IN && n->op->in[k].name && !view && !in[i]; k++)
            if (!strcmp(n->op->in[k].name, op->in[i].name))
                in[i] = n->in[k];
        count = in[i] ? i + 1 : count;
    }
    return count;
}

static hs_status replace(hs_plan *p, hs_rewrite *r, hs_node *n, const coded_op *row, hs_param *w)
{
    const hs_op *op = hs_device_op(p->dev, row->instead[w->coding]), *then = row->then ? hs_device_op(p->dev, row->then) : NULL;
    hs_tensor *in[HS_MAX_IN];
    if (!op || (row->then && !then))
        return HS_FAIL(INTERNAL, "device %s has no %s", p->dev->name, op ? row->then : row->instead[w->coding]);
    const int n_in = gather(p->graph, n, op, w, NULL, in);
    const void *attr = op->attr_bytes == n->op->attr_bytes ? n->attr : hs_graph_alloc(p->graph, op->attr_bytes); // its own: all 0
    if (op->attr_bytes && !attr)
        return hs_graph_status(p->graph);
    if (!then) {
        hs_rewrite_replace(r, n, op, attr, in, n_in);
        return HS_OK;
    }
    const hs_node *product = hs_rewrite_before(r, n, op, attr, in, n_in);
    if (product)
        hs_rewrite_replace(r, n, then, n->attr, in, gather(p->graph, n, then, w, product->out[0], in));
    return HS_OK;
}

static hs_status walk(hs_plan *p, hs_rewrite *r)
{
    for (hs_node *n = hs_rewrite_first(r), *next; n; n = next) {
        next = hs_rewrite_next(r, n);
        const int i = coded_operand(n);
        const coded_op *row = i < 0 ? NULL : row_of(n, i);
        if (i >= 0 && !row)
            return HS_FAIL(UNSUPPORTED, "%s: %s reads the values of %s, which are kept as codes", n->scope, n->op->name, n->in[i]->name);
        if (row)
            HS_TRY(replace(p, r, n, row, coded_at(n, i)));
    }
    return HS_OK;
}

hs_status hs_plan_coded(hs_plan *p)
{
    hs_rewrite *r;
    if (!p->graph->params->coder.coding)
        return HS_OK;
    HS_TRY(hs_rewrite_begin(&r, p->graph));
    const hs_status walked = walk(p, r);
    if (walked == HS_OK)
        hs_plan_fuse_codes(p, r);
    const hs_status st = hs_rewrite_end(r);
    return walked != HS_OK ? walked : st;
}

// graph_text: a graph as a table of its nodes, for `halfstep plan --nodes` and for tests that compare two graphs.
#include "core/graph/graph.h"

size_t hs_operands_text(const hs_params *ps, const hs_node *n, bool results, char *buf, size_t size)
{
    hs_tensor *const *t = results ? n->out : n->in;
    size_t at = 0;
    if (size)
        buf[0] = 0;
    for (int i = 0, shown = 0; i < (results ? HS_MAX_OUT : HS_MAX_IN); i++) {
        char name[24], shape[64];
        if (!t[i])
            continue;
        snprintf(name, sizeof name, "%%%d", t[i]->id);
        const bool low = t[i]->kind == HS_PARAM && hs_dtype_is_low(n->low) && hs_node_reads_low(ps, n, i); // the slab it reads
        at += (size_t)snprintf(at < size ? buf + at : NULL, at < size ? size - at : 0, "%s%s:%s%s", shown++ ? ", " : "",
                               t[i]->name ? t[i]->name : name, hs_dtype_name(low ? n->low : t[i]->dtype),
                               hs_tensor_shape(t[i], shape, sizeof shape));
    }
    return at;
}

static int longer(int a, size_t b) { return b > (size_t)a ? (int)b : a; }

void hs_graph_write(const hs_graph *g, FILE *f)
{
    enum { ATTRS = 256, OPERANDS = 2048 };
    int scope = 5, op = 2, attrs = 10;
    char text[ATTRS], in[OPERANDS], out[OPERANDS];
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_node *n = g->node[i];
        scope = longer(scope, strlen(n->scope)), op = longer(op, strlen(n->op->name));
        attrs = longer(attrs, hs_attrs_text(n->op, n->attr, text, sizeof text));
    }
    fprintf(f, "%-*s  %-*s  %-*s  inputs -> outputs\n", scope, "scope", op, "op", attrs, "attributes");
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_node *n = g->node[i];
        hs_attrs_text(n->op, n->attr, text, sizeof text);
        hs_operands_text(g->params, n, false, in, sizeof in);
        hs_operands_text(g->params, n, true, out, sizeof out);
        fprintf(f, "%-*s  %-*s  %-*s  %s -> %s\n", scope, n->scope, op, n->op->name, attrs, text, in, out);
    }
    for (int i = 0; i < g->n_outputs; i++)
        fprintf(f, "output %d: %%%d\n", i, g->output[i]->id);
}

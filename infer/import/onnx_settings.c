// onnx_settings: sizes are extents of tensors (hs_model_files.size), heads stand in the shapes that attention takes apart, eps with the
// norms, the activation is told by its operators.
#include "infer/import/onnx_settings.h"
#include <stdio.h>
#include <string.h>

// Is it one of the tensors, whatever stands in front of its name up to a dot?
static const hs_st_entry *find(const hs_import_model *m, const char *theirs)
{
    const size_t n = strlen(theirs);
    for (int i = 0; i < m->n; i++) {
        const size_t all = strlen(m->entry[i].name);
        if (all >= n && strcmp(m->entry[i].name + all - n, theirs) == 0 && (all == n || m->entry[i].name[all - n - 1] == '.'))
            return &m->entry[i];
    }
    return NULL;
}

// A parameter of ours, of layer `layer` where its name has %d, among the tensors.
static const hs_st_entry *tensor_of(const hs_import_model *m, const hs_model_files *f, const char *pattern, int layer)
{
    char ours[HS_NAME_BYTES], theirs[HS_NAME_BYTES];
    const char *at = strstr(pattern, "%d");
    const size_t prefix = f->prefix ? strlen(f->prefix) : 0;
    if (at)
        snprintf(ours, sizeof ours, "%.*s%d%s", (int)(at - pattern), pattern, layer, at + 2);
    else
        snprintf(ours, sizeof ours, "%s", pattern);
    if (!hs_name_to_theirs(f->name, f->n_names, ours, theirs, sizeof theirs, NULL))
        return NULL;
    return find(m, prefix && strncmp(theirs, f->prefix, prefix) == 0 ? theirs + prefix : theirs);
}

static bool read_sizes(hs_import_model *m, const hs_model_files *f)
{
    for (int i = 0; i < f->n_sizes; i++) {
        const hs_size_row *row = &f->size[i];
        const hs_st_entry *e = tensor_of(m, f, row->tensor, 0);
        int64_t *field = (int64_t *)(m->info.settings.bytes + row->offset), layers = 1;
        if (!e)
            return false;
        while (row->dim < 0 && tensor_of(m, f, row->tensor, (int)layers))
            layers++;
        if (row->dim >= e->n_dims)
            return false;
        *field = row->dim < 0 ? layers : e->dim[row->dim];
    }
    return f->n_sizes > 0;
}

// Heads: the last but one of a shape of four, whose last two make the width.
static int64_t heads_of(const hs_onnx *g, const hs_onnx_values *v, int64_t width)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_onnx_node *n = &g->node[i];
        int64_t dim[8] = { 0 };
        if (strcmp(n->op, "Reshape") != 0 || n->n_in < 2)
            continue;
        int known = hs_onnx_ints(v, n->in[1], dim, 8);
        const hs_onnx_node *concat = hs_onnx_maker(v, n->in[1]);
        if (known < 0 && concat && strcmp(concat->op, "Concat") == 0 && concat->n_in == 4 &&
            hs_onnx_ints(v, concat->in[2], &dim[2], 1) == 1 && hs_onnx_ints(v, concat->in[3], &dim[3], 1) == 1)
            known = 4;
        if (known == 4 && dim[3] > 0 && width % dim[3] == 0 && (dim[2] == -1 || dim[2] == width / dim[3]))
            return width / dim[3];
    }
    return 0;
}

static bool has(const hs_onnx *g, const char *op)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (strcmp(g->node[i].op, op) == 0)
            return true;
    return false;
}

static hs_status read_graph(hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v)
{
    const hs_arch arch = { m->family, m->info.settings.bytes };
    const int64_t heads = heads_of(g, v, hs_arch_int(arch, "model.width"));
    const char *const act = has(g, "Erf") ? "gelu" : has(g, "Pow") || has(g, "Tanh") ? "gelu_tanh" : "relu";
    if (heads < 1)
        return HS_FAIL(USAGE, "%s: no shape in its graph tells how many heads attention has: --config FILE says it", m->path);
    HS_TRY(hs_arch_set(m->family, &m->info.settings, "model.heads", heads));
    HS_TRY(hs_schema_set(m->family->settings, m->info.settings.bytes, NULL, "model.activation", act, NULL));
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_onnx_attr *eps = strcmp(g->node[i].op, "LayerNormalization") == 0 ? hs_onnx_attr_of(&g->node[i], "epsilon") : NULL;
        char text[32];
        if (!eps)
            continue;
        snprintf(text, sizeof text, "%.9g", (double)eps->f);
        return hs_schema_set(m->family->settings, m->info.settings.bytes, NULL, "model.eps", text, NULL);
    }
    return HS_OK;
}

hs_status hs_onnx_settings(hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v)
{
    if (has(g, "CumSum"))
        return HS_FAIL(USAGE, "%s: its positions are counted from behind padding: --config FILE says which model it is", m->path);
    for (int i = 0; i < m->n_known; i++) {
        HS_TRY(hs_import_family(m, i));
        if (!read_sizes(m, m->known[i]))
            continue;
        HS_TRY(read_graph(m, g, v));
        hs_weights w;
        HS_TRY(hs_weights_of(&w, m->path, m->entry, m->n));
        hs_config_heads(&w, &m->info);
        hs_weights_close(&w);
        return HS_OK;
    }
    return HS_FAIL(USAGE, "%s: its tensors are those of no model that is known by them alone: --config FILE says which it is", m->path);
}

// onnx_settings: sizes are extents of tensors (hs_model_files.size), heads stand in the shapes that attention takes apart, eps with the
// norms, the activation is told by its operators.
#include "infer/import/onnx_settings.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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

// ---- what the graph computes between products

// Of activations that no family here has; what an exporter makes of them stands in the graph under these names.
static const char *const strange[] = { "Sigmoid",     "Elu",       "Selu", "Celu",     "LeakyRelu", "PRelu", "ThresholdedRelu",
                                       "HardSigmoid", "HardSwish", "Mish", "Softplus", "Softsign",  "Swish" };

static bool is_output(const hs_onnx *g, const hs_onnx_node *n)
{
    for (int i = 0; i < g->n_outs; i++)
        if (n->n_out > 0 && strcmp(g->out[i].name, n->out[0]) == 0)
            return true;
    return false;
}

static const char *activation_at(const hs_onnx_values *v, const hs_onnx_node *n)
{
    const hs_onnx_attr *form = hs_onnx_attr_of(n, "approximate");
    const hs_onnx_node *maker = n->n_in > 0 ? hs_onnx_maker(v, n->in[0]) : NULL;
    if (strcmp(n->op, "Gelu") == 0)
        return form && form->s && strcmp(form->s, "tanh") == 0 ? "gelu_tanh" : "gelu";
    if (strcmp(n->op, "Erf") == 0)
        return "gelu";
    if (strcmp(n->op, "Tanh") == 0 && maker && strcmp(maker->op, "Mul") == 0) // a pooler's is of a product
        return "gelu_tanh";
    return strcmp(n->op, "Relu") == 0 ? "relu" : NULL;
}

// The first one is a layer's: heads come behind them. NULL: there is none.
static hs_status activation_of(const hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v, const char **act)
{
    *act = NULL;
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_onnx_node *n = &g->node[i];
        for (int k = 0; k < HS_COUNT(strange); k++)
            if (strcmp(strange[k], n->op) == 0 && !is_output(g, n))
                return HS_FAIL(UNSUPPORTED, "%s: node %s is of type %s: known activations are gelu, gelu_tanh and relu", m->path,
                               hs_onnx_called(n), n->op);
        if (!*act)
            *act = activation_at(v, n);
    }
    return HS_OK;
}

// The attribute of the first norm, or what is added before the root of one that stands in parts; false: there is no norm.
static bool eps_of(const hs_onnx *g, const hs_onnx_values *v, double *eps)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_onnx_node *n = &g->node[i], *sum = n->n_in > 0 ? hs_onnx_maker(v, n->in[0]) : NULL;
        if (strcmp(n->op, "LayerNormalization") == 0) {
            const hs_onnx_attr *a = hs_onnx_attr_of(n, "epsilon");
            *eps = a ? (double)a->f : 1e-5; // ONNX's default
            return true;
        }
        if (strcmp(n->op, "Sqrt") != 0 || !sum || strcmp(sum->op, "Add") != 0)
            continue;
        for (int k = 0; k < sum->n_in; k++) {
            hs_onnx_constant c;
            if (!hs_onnx_is_constant(v, sum->in[k]) || hs_onnx_constant_of(v, sum->in[k], &c) != HS_OK)
                continue;
            const bool single = c.n_dims == 0 || (c.n_dims == 1 && c.dim[0] == 1);
            *eps = (double)c.v[0];
            free(c.v);
            if (single)
                return true;
        }
    }
    return false;
}

static bool close_to(double a, double b) { return fabs(a - b) <= 1e-3 * fabs(b); }

static hs_status set_eps(hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v)
{
    const hs_schema *s = m->family->settings;
    const hs_key_at at = hs_schema_find(s, NULL, "model.eps");
    char text[64];
    double eps;
    if (!at.key || !eps_of(g, v, &eps))
        return HS_OK;
    hs_schema_format(s, m->info.settings.bytes, at, text, sizeof text);
    if (close_to(eps, strtod(text, NULL)))
        return HS_OK;
    snprintf(text, sizeof text, "%.6g", eps);
    return hs_schema_set(s, m->info.settings.bytes, NULL, "model.eps", text, m->path);
}

// What config.json says beside what the graph computes. Norms below 1e-6 differ in nothing that is seen.
hs_status hs_onnx_settings_check(const hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v)
{
    const hs_schema *s = m->family->settings;
    const hs_arch arch = { m->family, m->info.settings.bytes };
    const hs_key_at act_at = hs_schema_find(s, NULL, "model.activation"), eps_at = hs_schema_find(s, NULL, "model.eps");
    const int64_t heads = heads_of(g, v, hs_arch_int(arch, "model.width")), said = hs_arch_int(arch, "model.heads");
    const char *act;
    char text[64] = "gelu_tanh"; // of a family without that key: GPT-2
    double eps;
    HS_TRY(activation_of(m, g, v, &act));
    if (act_at.key)
        hs_schema_format(s, m->info.settings.bytes, act_at, text, sizeof text);
    if (act && strcmp(act, text) != 0)
        return HS_FAIL(USAGE, "%s: config.json says model.activation %s, the graph computes %s", m->path, text, act);
    if (heads > 0 && heads != said)
        return HS_FAIL(USAGE, "%s: config.json says %lld heads, the graph takes %lld apart", m->path, (long long)said, (long long)heads);
    if (eps_at.key)
        hs_schema_format(s, m->info.settings.bytes, eps_at, text, sizeof text);
    if (eps_at.key && eps_of(g, v, &eps) && !close_to(eps, strtod(text, NULL)) && fabs(eps - strtod(text, NULL)) > 5e-7)
        return HS_FAIL(USAGE, "%s: config.json says model.eps %s, the graph has %.6g", m->path, text, eps);
    return HS_OK;
}

static hs_status read_graph(hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v)
{
    const hs_arch arch = { m->family, m->info.settings.bytes };
    const int64_t heads = heads_of(g, v, hs_arch_int(arch, "model.width"));
    const char *act;
    HS_TRY(activation_of(m, g, v, &act));
    if (!act)
        return HS_FAIL(USAGE, "%s: no operator in its graph tells the activation: --config FILE says it", m->path);
    if (heads < 1)
        return HS_FAIL(USAGE, "%s: no shape in its graph tells how many heads attention has: --config FILE says it", m->path);
    HS_TRY(hs_arch_set(m->family, &m->info.settings, "model.heads", heads));
    HS_TRY(hs_schema_set(m->family->settings, m->info.settings.bytes, NULL, "model.activation", act, NULL));
    return set_eps(m, g, v);
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

// onnx_rows: emitters of products and of what is done row by row, and the table of all emitters.
#include "infer/export/onnx_emit.h"
#include "ops/ops.h"
#include <math.h>
#include <string.h>

static int64_t width_of(const hs_ox *x, const hs_node *n) { return x->of[n->in[0]->id].width; }

// ---- products
static hs_status no_param(const hs_node *n, const char *operand)
{
    return HS_FAIL(UNSUPPORTED, "%s: %s reads a \"%s\" that is no parameter, which has no form in ONNX", n->scope, n->op->name, operand);
}

static hs_status param_of(const hs_node *n, const char *operand, const hs_param **p)
{
    const hs_tensor *t = hs_ox_operand(n, operand);
    *p = t && t->kind == HS_PARAM ? t->param : NULL;
    return !t || *p ? HS_OK : no_param(n, operand);
}

static hs_status weight(hs_ox *x, const hs_param *w, int piece, const char **name)
{
    if (!x->looked_up[w->id])
        return hs_ox_param(x, w, piece, true, name);
    HS_TRY(hs_ox_param(x, w, piece, false, name)); // an output that is the table of words: it is there once
    *name = HS_OX(x, "Transpose", *name);
    hs_onnx_set_ints(x->m, hs_ox_last(x), "perm", (const int64_t[]){ 1, 0 }, 2);
    return HS_OK;
}

static hs_status product(hs_ox *x, const hs_param *w, int piece, const char *in, const char **out)
{
    const char *name;
    if (w->coding)
        return hs_ox_coded_product(x, w, piece, in, out);
    HS_TRY(weight(x, w, piece, &name));
    *out = HS_OX(x, "MatMul", in, name);
    return HS_OK;
}

// "encoder.layer.0.attention.self.query.weight" is of the module "/encoder/layer.0/attention/self/query".
static void path_of_weight(hs_ox *x, const char *name)
{
    const char *end = strrchr(name, '.'), *prefix = x->model->info.files->prefix;
    const size_t cut = x->bare && prefix ? strlen(prefix) : 0;
    size_t n = 0;
    x->path[n++] = '/';
    name += cut && strncmp(name, prefix, cut) == 0 ? cut : 0;
    for (const char *p = name; end && p < end && n + 1 < sizeof x->path; p++)
        x->path[n++] = *p == '.' && (p[1] < '0' || p[1] > '9') ? '/' : *p;
    x->path[n] = 0;
}

// Products that our own trace stacks stand apart here if the family's files have them apart.
static hs_status emit_linear(hs_ox *x, const hs_node *n)
{
    const hs_param *w, *bias;
    hs_name_piece piece[HS_NAME_PIECES];
    const char *in, *name;
    int pieces;
    HS_TRY(hs_ox_in(x, n, "x", &in));
    HS_TRY(param_of(n, "w", &w));
    HS_TRY(param_of(n, "bias", &bias));
    HS_TRY(hs_export_pieces(x->model, w, piece, &pieces));
    hs_ox_value out = { .n = pieces, .width = w->logical[0] };
    HS_TRY(hs_ox_coded_input(x, w, &in));
    for (int i = 0; i < pieces; i++) {
        path_of_weight(x, piece[i].name);
        HS_TRY(product(x, w, i, in, &out.name[i]));
        if (bias) {
            HS_TRY(hs_ox_param(x, bias, i, false, &name));
            out.name[i] = HS_OX(x, "Add", out.name[i], name);
        }
    }
    x->of[n->out[0]->id] = out;
    return HS_OK;
}

// ---- sums and functions of one element
static hs_status emit_alias(hs_ox *x, const hs_node *n)
{
    x->of[n->out[0]->id] = x->of[n->in[0]->id];
    return HS_OK;
}

// y = x + bias where there is one.
static hs_status with_bias(hs_ox *x, const hs_node *n, const char **y)
{
    const hs_param *bias;
    const char *name;
    HS_TRY(hs_ox_in(x, n, "x", y));
    HS_TRY(param_of(n, "bias", &bias));
    if (!bias)
        return HS_OK;
    HS_TRY(hs_ox_param(x, bias, 0, false, &name));
    *y = HS_OX(x, "Add", *y, name);
    return HS_OK;
}

static hs_status emit_bias_add(hs_ox *x, const hs_node *n)
{
    const char *y;
    HS_TRY(with_bias(x, n, &y));
    hs_ox_out(x, n, y, width_of(x, n));
    return HS_OK;
}

static const char *gelu(hs_ox *x, const char *in, bool by_tanh)
{
    const char *one = hs_ox_real(x, 1), *half = hs_ox_real(x, 0.5), *y;
    if (!by_tanh) {
        y = HS_OX(x, "Div", in, hs_ox_real(x, sqrt(2)));
        y = HS_OX(x, "Add", HS_OX(x, "Erf", y), one);
        return HS_OX(x, "Mul", HS_OX(x, "Mul", in, y), half);
    }
    y = HS_OX(x, "Mul", HS_OX(x, "Pow", in, hs_ox_real(x, 3)), hs_ox_real(x, 0.044715));
    y = HS_OX(x, "Mul", HS_OX(x, "Add", in, y), hs_ox_real(x, sqrt(2 / M_PI)));
    y = HS_OX(x, "Add", HS_OX(x, "Tanh", y), one);
    return HS_OX(x, "Mul", HS_OX(x, "Mul", in, half), y);
}

static hs_status emit_gelu(hs_ox *x, const hs_node *n) // with a bias or without
{
    const char *y;
    HS_TRY(with_bias(x, n, &y));
    hs_ox_out(x, n, gelu(x, y, hs_ox_attr(n, "kind") == HS_GELU_TANH), width_of(x, n));
    return HS_OK;
}

static hs_status emit_unary(hs_ox *x, const hs_node *n, const char *op)
{
    const char *in;
    HS_TRY(hs_ox_in(x, n, "x", &in));
    hs_ox_out(x, n, HS_OX(x, op, in), width_of(x, n));
    return HS_OK;
}
static hs_status emit_tanh(hs_ox *x, const hs_node *n) { return emit_unary(x, n, "Tanh"); }
static hs_status emit_relu(hs_ox *x, const hs_node *n) { return emit_unary(x, n, "Relu"); }
static hs_status emit_softmax(hs_ox *x, const hs_node *n)
{
    HS_TRY(emit_unary(x, n, "Softmax"));
    hs_onnx_set_int(x->m, hs_ox_last(x), "axis", -1);
    return HS_OK;
}
static hs_status emit_mean(hs_ox *x, const hs_node *n)
{
    HS_TRY(emit_unary(x, n, "ReduceMean"));
    hs_onnx_set_ints(x->m, hs_ox_last(x), "axes", (const int64_t[]){ -1 }, 1);
    x->of[n->out[0]->id].width = 1;
    return HS_OK;
}
static hs_status emit_scale(hs_ox *x, const hs_node *n)
{
    const char *in;
    HS_TRY(hs_ox_in(x, n, "x", &in));
    hs_ox_out(x, n, HS_OX(x, "Mul", in, hs_ox_real(x, hs_ox_attr_real(n, "s"))), width_of(x, n));
    return HS_OK;
}

// The second operand first: of three tables that are added up in the trace's order ONNX Runtime's optimizer (1.32) would leave one out.
static hs_status emit_binary(hs_ox *x, const hs_node *n, const char *op)
{
    const char *a, *b;
    HS_TRY(hs_ox_in(x, n, "a", &a));
    HS_TRY(hs_ox_in(x, n, "b", &b));
    hs_ox_out(x, n, HS_OX(x, op, b, a), width_of(x, n));
    return HS_OK;
}
static hs_status emit_add(hs_ox *x, const hs_node *n) { return emit_binary(x, n, "Add"); }
static hs_status emit_mul(hs_ox *x, const hs_node *n) { return emit_binary(x, n, "Mul"); }

// ---- norms
static hs_status norm(hs_ox *x, const hs_node *n, const char *in)
{
    const hs_param *gamma, *beta;
    const char *scale, *shift;
    HS_TRY(param_of(n, "gamma", &gamma));
    HS_TRY(param_of(n, "beta", &beta));
    HS_TRY(hs_ox_param(x, gamma, 0, false, &scale));
    HS_TRY(hs_ox_param(x, beta, 0, false, &shift));
    path_of_weight(x, scale);
    hs_ox_out(x, n, HS_OX(x, "LayerNormalization", in, scale, shift), gamma->logical[0]);
    hs_onnx_set_int(x->m, hs_ox_last(x), "axis", -1);
    hs_onnx_set_f32(x->m, hs_ox_last(x), "epsilon", (float)hs_ox_attr_real(n, "eps"));
    return HS_OK;
}

static hs_status emit_layernorm(hs_ox *x, const hs_node *n)
{
    const char *in;
    HS_TRY(hs_ox_in(x, n, "x", &in));
    return norm(x, n, in);
}

static hs_status emit_residual_norm(hs_ox *x, const hs_node *n)
{
    const char *y, *residual;
    HS_TRY(with_bias(x, n, &y));
    HS_TRY(hs_ox_in(x, n, "residual", &residual));
    const char *sum = HS_OX(x, "Add", y, residual);
    HS_TRY(norm(x, n, sum));
    x->of[n->out[1]->id] = (hs_ox_value){ .name = { sum }, .n = 1, .width = x->of[n->out[0]->id].width };
    return HS_OK;
}

// ---- rows
static hs_status path_of_table(hs_ox *x, const hs_param *table)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    HS_TRY(hs_export_pieces(x->model, table, piece, &n));
    path_of_weight(x, n > 0 ? hs_ox_weight_name(x, &piece[0]) : table->name);
    return HS_OK;
}

static hs_status rows_of(hs_ox *x, const hs_param *table, const char *ids, const char **y)
{
    const char *rows;
    if (table->coding)
        return hs_ox_coded_rows(x, table, ids, y);
    HS_TRY(hs_ox_param(x, table, 0, false, &rows));
    *y = HS_OX(x, "Gather", rows, ids);
    return HS_OK;
}

static hs_status emit_embedding(hs_ox *x, const hs_node *n)
{
    const hs_param *table, *places;
    const char *ids, *of_places, *y;
    if (hs_ox_attr(n, "rows") || hs_ox_attr(n, "first"))
        return HS_FAIL(UNSUPPORTED, "%s: a slice of a table has no form in ONNX", n->scope);
    HS_TRY(param_of(n, "table", &table));
    HS_TRY(param_of(n, "pos_table", &places));
    HS_TRY(hs_ox_in(x, n, "ids", &ids));
    HS_TRY(path_of_table(x, table));
    HS_TRY(rows_of(x, table, ids, &y));
    if (places) {
        HS_TRY(path_of_table(x, places));
        const char *at = hs_ox_positions(x, hs_ox_attr(n, "first_position"), places->logical[0]);
        HS_TRY(rows_of(x, places, at, &of_places));
        y = HS_OX(x, "Add", y, of_places);
    }
    hs_ox_out(x, n, y, table->logical[1]);
    return HS_OK;
}

// Rows that a batch picks are all of them here.
static hs_status emit_gather_rows(hs_ox *x, const hs_node *n)
{
    const hs_tensor *rows = hs_ox_operand(n, "rows");
    if (!rows || rows->kind != HS_INPUT || hs_ext_counter(rows->ext) != HS_COUNT_PICKS)
        return HS_FAIL(UNSUPPORTED, "%s: rows that are chosen by the model itself have no form in ONNX", n->scope);
    return emit_alias(x, n);
}

// Of the last token that attention_mask has, where padding may stand on either side.
static const char *last_token(hs_ox *x, const char *in)
{
    const char *length = HS_OX(x, "Gather", HS_OX(x, "Shape", HS_OX_IDS), hs_ox_int(x, 1));
    const char *at = HS_OX(x, "Mul", HS_OX(x, "Range", hs_ox_int(x, 0), length, hs_ox_int(x, 1)), HS_OX_MASK);
    at = HS_OX(x, "ReduceMax", at);
    hs_onnx_set_ints(x->m, hs_ox_last(x), "axes", (const int64_t[]){ 1 }, 1);
    const char *y = HS_OX(x, "GatherND", in, at);
    hs_onnx_set_int(x->m, hs_ox_last(x), "batch_dims", 1);
    return y;
}

static hs_status emit_pool(hs_ox *x, const hs_node *n)
{
    const int64_t kind = hs_ox_attr(n, "kind");
    const char *in;
    if (kind != HS_POOL_FIRST && kind != HS_POOL_LAST)
        return HS_FAIL(UNSUPPORTED, "%s: this pooling has no form in ONNX, only those of the first and of the last token", n->scope);
    HS_TRY(hs_ox_in(x, n, "x", &in));
    if (kind == HS_POOL_LAST) {
        hs_ox_out(x, n, last_token(x, in), width_of(x, n));
        return HS_OK;
    }
    hs_ox_out(x, n, HS_OX(x, "Gather", in, hs_ox_int(x, 0)), width_of(x, n));
    hs_onnx_set_int(x->m, hs_ox_last(x), "axis", 1);
    return HS_OK;
}

// ---- the table
static const struct {
    const char *op;
    hs_ox_emitter *emit;
} emitters[] = {
    { "linear", emit_linear },
    { "attention", hs_ox_attention },
    { "cache_append", hs_ox_cache_append },
    { "layernorm", emit_layernorm },
    { "bias_dropout_residual_layernorm", emit_residual_norm },
    { "gelu", emit_gelu },
    { "bias_gelu", emit_gelu },
    { "bias_add", emit_bias_add },
    { "tanh", emit_tanh },
    { "relu", emit_relu },
    { "softmax", emit_softmax },
    { "mean", emit_mean },
    { "scale", emit_scale },
    { "add", emit_add },
    { "mul", emit_mul },
    { "cast", emit_alias },    // one type of floats throughout
    { "dropout", emit_alias }, // nothing is trained
    { "embedding", emit_embedding },
    { "gather_rows", emit_gather_rows },
    { "pool", emit_pool },
};

hs_ox_emitter *hs_ox_emitter_of(const hs_op *op)
{
    for (int i = 0; i < HS_COUNT(emitters); i++)
        if (strcmp(emitters[i].op, op->name) == 0)
            return emitters[i].emit;
    return NULL;
}

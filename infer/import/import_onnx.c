// import_onnx: weights of an exported graph, by what is done with them.
//
//   MatMul, Gemm       the right side, [in, out] turned to [out, in]; named as its own value is, or after the bias that is added behind it:
//                      exporters leave products with names like onnx::MatMul_470, and biases with those of the model
//   MatMulNBits        blocks of 4 or 8 bits with a scale each, [out, in / block, bytes]
//   Gather             a table, also one of bytes whose rows are dequantized behind it; GatherBlockQuantized: in blocks, as MatMulNBits
//   LayerNormalization scale and shift;  Add, Mul: biases, and norms of before opset 17
//
// A graph that ONNX Runtime has fused has other operators, and is refused by their names.
#include "core/base/ending.h"
#include "infer/import/import_model.h"
#include "infer/import/onnx_settings.h"
#include "infer/import/onnx_values.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct import {
    hs_import_model *m;
    const hs_onnx *g;
    hs_onnx_values *v;
    char words[512]; // the name under which the table of words was added; "": there is none yet
} import;

// ---- names
// What stands in a model has modules in front; what an exporter made up has not.
static bool is_named(const char *name)
{
    return strchr(name, '.') && !strstr(name, "::") && *name != '/' &&
           (hs_ends_with(name, ".weight") || hs_ends_with(name, ".bias") || hs_ends_with(name, ".gamma") || hs_ends_with(name, ".beta"));
}

static void without(char *name, const char *end)
{
    if (hs_ends_with(name, end))
        name[strlen(name) - strlen(end)] = 0;
}

// The bias that is added to a value, or to what a Reshape or Cast makes of it; NULL: none that has a name.
static const char *bias_of(const import *x, const char *value, int depth)
{
    for (const hs_onnx_reading *r = NULL; depth > 0 && (r = hs_onnx_reader(x->v, value, r));) {
        const hs_onnx_node *n = r->node;
        if (strcmp(n->op, "Add") == 0 && n->n_in == 2 && is_named(n->in[1 - r->input]) && hs_onnx_is_constant(x->v, n->in[1 - r->input]))
            return n->in[1 - r->input];
        if (strcmp(n->op, "Cast") == 0 || strcmp(n->op, "Reshape") == 0) {
            const char *name = bias_of(x, n->out[0], depth - 1);
            if (name)
                return name;
        }
    }
    return NULL;
}

// "encoder.layer.0.output.dense.bias": "encoder.layer.0.output.dense.weight"
static bool weight_beside(const char *bias, char *name, size_t room)
{
    if (!bias || !hs_ends_with(bias, ".bias"))
        return false;
    return (size_t)snprintf(name, room, "%.*s.weight", (int)(strlen(bias) - strlen(".bias")), bias) < room;
}

// PyTorch's exporter calls a node after its module: "/model/score/MatMul" is of "model.score".
static bool weight_of_node(const hs_onnx_node *n, char *name, size_t room)
{
    const char *end = strrchr(n->name, '/');
    if (*n->name != '/' || !end || end == n->name || (size_t)(end - n->name) + sizeof ".weight" > room)
        return false;
    snprintf(name, room, "%.*s.weight", (int)(end - n->name) - 1, n->name + 1);
    for (char *p = name; *p; p++)
        *p = *p == '/' ? '.' : *p;
    return true;
}

// ---- tensors
static hs_status add(import *x, const char *name, hs_onnx_constant *c)
{
    size_t bytes = sizeof(float);
    for (int i = 0; i < c->n_dims; i++)
        bytes *= (size_t)c->dim[i];
    float *kept = hs_import_keep(x->m, bytes);
    if (kept)
        memcpy(kept, c->v, bytes);
    free(c->v);
    c->v = NULL;
    return kept ? hs_import_add(x->m, name, HS_F32, c->n_dims, c->dim, kept)
                : HS_FAIL(MEMORY, "%s: no memory for tensor \"%.200s\"", x->m->path, name);
}

static hs_status add_value(import *x, const char *name)
{
    hs_onnx_constant c;
    HS_TRY(hs_onnx_constant_of(x->v, name, &c));
    return add(x, name, &c);
}

// [in, out] to [out, in]
static hs_status turn(const import *x, hs_onnx_constant *c)
{
    float *v = malloc((size_t)(c->dim[0] * c->dim[1]) * sizeof *v + 1);
    if (!v)
        return HS_FAIL(MEMORY, "%s: no memory for %lld numbers", x->m->path, (long long)(c->dim[0] * c->dim[1]));
    hs_turn_f32(v, c->dim[0], c->v, c->dim[1], c->dim[0], c->dim[1]);
    free(c->v);
    c->v = v;
    const int64_t in = c->dim[0];
    c->dim[0] = c->dim[1], c->dim[1] = in;
    return HS_OK;
}

// The initializer that a value is, whatever turns or casts it; the value itself where it is none.
static const char *origin(const import *x, const char *name)
{
    static const char *const turns[] = { "Transpose", "Identity", "Cast" };
    for (int depth = 0; depth < 8 && !hs_onnx_initializer(x->v, name); depth++) {
        const hs_onnx_node *n = hs_onnx_maker(x->v, name);
        bool turned = false;
        for (int i = 0; n && i < HS_COUNT(turns); i++)
            turned = turned || strcmp(n->op, turns[i]) == 0;
        if (!turned || n->n_in < 1)
            break;
        name = n->in[0];
    }
    return name;
}

// A product with the table of words, as heads that predict tokens have it: the table is there already. It is that very initializer, or one
// without a name that an exporter turned: then its values are the table's. Any other weight is its own, whatever it equals.
static bool is_tied(const import *x, const char *own, const hs_onnx_constant *c)
{
    const hs_st_entry *e = hs_import_find(x->m, x->words);
    if (!e || e->n_dims != 2 || e->dim[0] != c->dim[0] || e->dim[1] != c->dim[1])
        return false;
    if (strcmp(origin(x, own), origin(x, x->words)) == 0)
        return true;
    return !is_named(own) && memcmp(e->data, c->v, e->bytes) == 0;
}

static hs_status add_product(import *x, const hs_onnx_node *n, const char *bias, hs_onnx_constant *c)
{
    char name[512] = "";
    const char *own = n->n_in > 1 ? n->in[1] : "";
    if (is_named(own))
        snprintf(name, sizeof name, "%s", own);
    const bool tied = is_tied(x, own, c);
    if (tied || (!*name && !weight_beside(bias, name, sizeof name) && !weight_of_node(n, name, sizeof name))) {
        free(c->v);
        return tied ? HS_OK
                    : HS_FAIL(UNSUPPORTED, "%s: node %s multiplies with \"%s\", which has no name, and no bias behind it tells one",
                              x->m->path, hs_onnx_called(n), own);
    }
    return add(x, name, c);
}

// alpha A B + beta C, A as it stands or turned.
static bool is_plain(const hs_onnx_node *n)
{
    const hs_onnx_attr *alpha = hs_onnx_attr_of(n, "alpha"), *beta = hs_onnx_attr_of(n, "beta");
    return (!alpha || alpha->f == 1.0f) && (!beta || beta->f == 1.0f) && !hs_onnx_int(n, "transA", 0);
}

static hs_status matmul(import *x, const hs_onnx_node *n)
{
    hs_onnx_constant c;
    const bool gemm = strcmp(n->op, "Gemm") == 0;
    if (n->n_in < 2 || !hs_onnx_is_constant(x->v, n->in[1]))
        return HS_OK;
    if (gemm && !is_plain(n))
        return HS_FAIL(UNSUPPORTED, "%s: node %s (Gemm): alpha and beta other than 1, or a left side that is turned", x->m->path,
                       hs_onnx_called(n));
    HS_TRY(hs_onnx_constant_of(x->v, n->in[1], &c));
    hs_status st = HS_OK;
    if (c.n_dims != 2)
        st = HS_FAIL(UNSUPPORTED, "%s: node %s multiplies with a constant of %d dimensions", x->m->path, hs_onnx_called(n), c.n_dims);
    else if (!gemm || !hs_onnx_int(n, "transB", 0))
        st = turn(x, &c);
    if (st != HS_OK) {
        free(c.v);
        return st;
    }
    const char *bias = gemm ? (n->n_in > 2 && is_named(n->in[2]) ? n->in[2] : NULL) : bias_of(x, n->out[0], 3);
    if (gemm && bias)
        HS_TRY(add_value(x, bias));
    return add_product(x, n, bias, &c);
}

// Blocks of few bits, of com.microsoft: q [N, K / block * block * bits / 8], scales [N * K / block], zero points packed as q is;
// w = (q - zero) scale.
typedef struct few {
    int64_t N, K, bits, block;
    const hs_onnx_tensor *q, *zero; // zero NULL: half of what bits hold
    const char *scales;
} few;

static bool is_readable(const few *f)
{
    return f->q && f->K > 0 && f->N > 0 && f->K <= 1 << 24 && f->N <= 1 << 24 && (f->bits == 4 || f->bits == 8) && f->block >= 16 &&
           f->block <= 1 << 16 && !(f->block & (f->block - 1));
}

static int code_at(const uint8_t *p, int64_t bits, int64_t i) { return bits == 8 ? p[i] : i % 2 ? p[i / 2] >> 4 : p[i / 2] & 15; }

static hs_status values_of_few(const import *x, const hs_onnx_node *n, const few *f, hs_onnx_constant *c)
{
    if (!is_readable(f))
        return HS_FAIL(UNSUPPORTED, "%s: node %s (%s) of %lld bits in blocks of %lld: read here are 4 and 8, in powers of two", x->m->path,
                       hs_onnx_called(n), n->op, (long long)f->bits, (long long)f->block);
    const int64_t blocks = (f->K + f->block - 1) / f->block, bytes = f->block * f->bits / 8, packed = (blocks * f->bits + 7) / 8;
    hs_onnx_constant scale;
    HS_TRY(hs_onnx_constant_of(x->v, f->scales, &scale));
    int64_t scales = 1;
    for (int i = 0; i < scale.n_dims; i++)
        scales *= scale.dim[i];
    hs_status st = HS_OK;
    *c = (hs_onnx_constant){ .n_dims = 2, .dim = { f->N, f->K } };
    if (f->q->type != HS_ONNX_U8 || (int64_t)f->q->bytes != f->N * blocks * bytes || scales != f->N * blocks ||
        (f->zero && (f->zero->type != HS_ONNX_U8 || (int64_t)f->zero->bytes != f->N * packed)))
        st = HS_FAIL(CORRUPT, "%s: node %s (%s): %zu bytes and %lld scales for [%lld, %lld] in blocks of %lld", x->m->path,
                     hs_onnx_called(n), n->op, f->q->bytes, (long long)scales, (long long)f->N, (long long)f->K, (long long)f->block);
    if (st == HS_OK && !(c->v = malloc((size_t)(f->N * f->K) * sizeof *c->v)))
        st = HS_FAIL(MEMORY, "%s: no memory for %lld numbers", x->m->path, (long long)(f->N * f->K));
    const uint8_t *from = f->q->data, *zeros = f->zero ? f->zero->data : NULL;
    for (int64_t o = 0; st == HS_OK && o < f->N; o++)
        for (int64_t k = 0; k < f->K; k++) {
            const int64_t b = k / f->block;
            const int z = zeros ? code_at(zeros + o * packed, f->bits, b) : 1 << (f->bits - 1);
            c->v[o * f->K + k] = (float)(code_at(from + (o * blocks + b) * bytes, f->bits, k % f->block) - z) * scale.v[o * blocks + b];
        }
    free(scale.v);
    return st;
}

// An initializer, or what a Reshape makes of one.
static const hs_onnx_tensor *bytes_of(const import *x, const char *name)
{
    const hs_onnx_node *n = hs_onnx_initializer(x->v, name) ? NULL : hs_onnx_maker(x->v, name);
    return hs_onnx_initializer(x->v, n && n->n_in > 0 && strcmp(n->op, "Reshape") == 0 ? n->in[0] : name);
}

static hs_status few_bits(import *x, const hs_onnx_node *n)
{
    const few f = { .N = hs_onnx_int(n, "N", 0),
                    .K = hs_onnx_int(n, "K", 0),
                    .bits = hs_onnx_int(n, "bits", 4),
                    .block = hs_onnx_int(n, "block_size", 0),
                    .q = n->n_in > 2 && !(n->n_in > 4 && *n->in[4]) ? bytes_of(x, n->in[1]) : NULL,
                    .zero = n->n_in > 3 && *n->in[3] ? hs_onnx_initializer(x->v, n->in[3]) : NULL,
                    .scales = n->n_in > 2 ? n->in[2] : "" };
    hs_onnx_constant c;
    HS_TRY(values_of_few(x, n, &f, &c));
    return add_product(x, n, bias_of(x, n->out[0], 3), &c);
}

// The first input of a graph is its tokens.
static void note_words(import *x, const hs_onnx_node *n, const char *name)
{
    if (!*x->words && (strcmp(n->in[1], "input_ids") == 0 || (x->g->n_ins > 0 && strcmp(n->in[1], x->g->in[0].name) == 0)))
        snprintf(x->words, sizeof x->words, "%s", name);
}

// A table of codes with a scale for each row, "X_quantized" beside "X_scale": both are looked up, and multiplied.
static hs_status table_of_rows(import *x, const hs_onnx_node *n, const hs_onnx_tensor *t)
{
    char name[512], beside[520];
    hs_onnx_constant c, scale;
    snprintf(name, sizeof name, "%s", t->name);
    without(name, "_quantized");
    snprintf(beside, sizeof beside, "%s_scale", name);
    const hs_onnx_tensor *s = hs_onnx_initializer(x->v, beside);
    if (!s || s->n_dims != 1 || s->dim[0] != t->dim[0])
        return HS_FAIL(UNSUPPORTED, "%s: node %s looks up rows of \"%s\", beside which there is no scale for each", x->m->path,
                       hs_onnx_called(n), t->name);
    HS_TRY(hs_onnx_constant_of(x->v, t->name, &c));
    const hs_status st = hs_onnx_constant_of(x->v, beside, &scale);
    if (st != HS_OK) {
        free(c.v);
        return st;
    }
    for (int64_t i = 0; i < c.dim[0] * c.dim[1]; i++)
        c.v[i] *= scale.v[i / c.dim[1]];
    free(scale.v);
    note_words(x, n, name);
    return add(x, name, &c);
}

// A table of bytes: rows are dequantized behind it.
static hs_status table_of_bytes(import *x, const hs_onnx_node *n, const hs_onnx_tensor *t)
{
    const hs_onnx_reading *r = hs_onnx_reader(x->v, n->out[0], NULL);
    const hs_onnx_node *next = r ? r->node : NULL;
    hs_onnx_constant c, scale, zero = { 0 };
    char name[512];
    if (next && strcmp(next->op, "Cast") == 0)
        return table_of_rows(x, n, t);
    if (!next || strcmp(next->op, "DequantizeLinear") != 0 || r->input != 0 || next->n_in < 2)
        return HS_FAIL(UNSUPPORTED, "%s: node %s looks up rows of \"%s\", which are %s", x->m->path, hs_onnx_called(n), t->name,
                       hs_onnx_type_name(t->type));
    HS_TRY(hs_onnx_constant_of(x->v, t->name, &c));
    hs_status st = hs_onnx_constant_of(x->v, next->in[1], &scale);
    if (st == HS_OK && next->n_in > 2 && *next->in[2] && (st = hs_onnx_constant_of(x->v, next->in[2], &zero)) != HS_OK)
        free(scale.v);
    if (st != HS_OK) {
        free(c.v);
        return st;
    }
    const bool single = scale.n_dims == 0 || (scale.n_dims == 1 && scale.dim[0] == 1);
    for (int64_t i = 0; single && i < c.dim[0] * c.dim[1]; i++)
        c.v[i] = (c.v[i] - (zero.v ? zero.v[0] : 0)) * scale.v[0];
    free(scale.v);
    free(zero.v);
    if (!single) {
        free(c.v);
        return HS_FAIL(UNSUPPORTED, "%s: node %s: a table of bytes with more than one scale", x->m->path, hs_onnx_called(n));
    }
    snprintf(name, sizeof name, "%s", t->name);
    without(name, "_quantized");
    note_words(x, n, name);
    return add(x, name, &c);
}

static hs_status table_of_blocks(import *x, const hs_onnx_node *n) // com.microsoft.GatherBlockQuantized
{
    const hs_onnx_tensor *t = n->n_in > 2 ? hs_onnx_initializer(x->v, n->in[0]) : NULL;
    const int64_t bits = hs_onnx_int(n, "bits", 4);
    const bool plain =
        t && t->n_dims == 2 && !(n->n_in > 3 && *n->in[3]) && !hs_onnx_int(n, "gather_axis", 0) && hs_onnx_int(n, "quantize_axis", 1) == 1;
    const few f = { .N = plain ? t->dim[0] : 0,
                    .K = plain && bits > 0 ? t->dim[1] * 8 / bits : 0,
                    .bits = bits,
                    .block = hs_onnx_int(n, "block_size", 128),
                    .q = plain ? t : NULL,
                    .scales = n->n_in > 2 ? n->in[2] : "" };
    hs_onnx_constant c;
    char name[512];
    HS_TRY(values_of_few(x, n, &f, &c));
    snprintf(name, sizeof name, "%s", t->name);
    without(name, "_quantized");
    note_words(x, n, name);
    return add(x, name, &c);
}

static hs_status gather(import *x, const hs_onnx_node *n)
{
    const hs_onnx_tensor *t = n->n_in > 1 ? hs_onnx_initializer(x->v, n->in[0]) : NULL;
    if (t && t->n_dims == 2 && (t->type == HS_ONNX_U8 || t->type == HS_ONNX_I8))
        return table_of_bytes(x, n, t);
    if (n->n_in < 2 || !is_named(n->in[0]) || !hs_onnx_is_constant(x->v, n->in[0]))
        return HS_OK;
    note_words(x, n, n->in[0]);
    return add_value(x, n->in[0]);
}

// Whatever else has a name: biases, norms.
static hs_status operands(import *x, const hs_onnx_node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (is_named(n->in[i]) && hs_onnx_is_constant(x->v, n->in[i]))
            HS_TRY(add_value(x, n->in[i]));
    return HS_OK;
}

static hs_status fused(import *x, const hs_onnx_node *n)
{
    return HS_FAIL(UNSUPPORTED,
                   "%s: node %s is of type %s%s%s: the graph was fused or quantized by a tool; import the model it was made from",
                   x->m->path, hs_onnx_called(n), *n->domain ? n->domain : "", *n->domain ? "." : "", n->op);
}

static const struct {
    const char *op;
    hs_status (*read)(import *x, const hs_onnx_node *n);
} readers[] = {
    { "Gather", gather },        { "GatherBlockQuantized", table_of_blocks },
    { "MatMul", matmul },        { "Gemm", matmul },
    { "MatMulNBits", few_bits }, { "Add", operands },
    { "Mul", operands },         { "LayerNormalization", operands },
    { "MatMulInteger", fused },  { "QLinearMatMul", fused },
};

static hs_status read_node(import *x, const hs_onnx_node *n)
{
    for (int i = 0; i < HS_COUNT(readers); i++)
        if (strcmp(readers[i].op, n->op) == 0)
            return readers[i].read(x, n);
    return *n->domain ? fused(x, n) : HS_OK;
}

static bool is_table(const hs_onnx_node *n) { return !strcmp(n->op, "Gather") || !strcmp(n->op, "GatherBlockQuantized"); }

// Tables first: a head is told from them.
static hs_status read_nodes(import *x)
{
    for (int tables = 1; tables >= 0; tables--)
        for (int i = 0; i < x->g->n_nodes; i++) {
            const hs_onnx_node *n = &x->g->node[i];
            const bool folded = n->n_out > 0 && hs_onnx_is_constant(x->v, n->out[0]); // of a constant that is read elsewhere
            if (is_table(n) == tables && (tables || !folded))                         // a table of one type is looked up once and for all
                HS_TRY(read_node(x, n));
        }
    return HS_OK;
}

// ---- the whole
static void folder_of(const char *path, char out[HS_PATH])
{
    const char *slash = strrchr(path, '/');
    snprintf(out, HS_PATH, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
}

// Beside the file, or beside the folder "onnx" that it lies in.
static bool find_config(const char *path, char out[HS_PATH], char dirs[2][HS_PATH])
{
    folder_of(path, dirs[0]);
    snprintf(dirs[1], HS_PATH, "%.*s/..", HS_PATH - 4, dirs[0]);
    for (int i = 0; i < 2; i++) {
        const int n = snprintf(out, HS_PATH, "%.*s/config.json", HS_PATH - 20, dirs[i]);
        if (n < HS_PATH && hs_is_file(out) && (i == 0 || hs_ends_with(dirs[0], "onnx")))
            return true;
    }
    return false;
}

static hs_status settle(import *x)
{
    char config[HS_PATH], dirs[2][HS_PATH];
    hs_import_model *m = x->m;
    const char *given = m->opts->config && m->opts->config[0] ? m->opts->config : NULL;
    const bool found = find_config(m->path, config, dirs);
    if (given || found) {
        hs_weights w;
        HS_TRY(hs_weights_of(&w, m->path, m->entry, m->n));
        const hs_status st = hs_config_read(given ? given : config, &w, m->known, m->n_known, &m->info);
        hs_weights_close(&w);
        HS_TRY(st);
        for (int i = 0; i < m->n_known; i++)
            if (m->known[i] == m->info.files)
                m->family = m->families[i];
        HS_TRY(hs_onnx_settings_check(m, x->g, x->v));
    } else {
        HS_TRY(hs_onnx_settings(m, x->g, x->v));
        m->deduced = true;
    }
    return hs_import_tokenizer(m, (const char *const[]){ dirs[0], hs_ends_with(dirs[0], "onnx") ? dirs[1] : NULL, NULL });
}

static void close_onnx(void *file) { hs_onnx_close(file); }

hs_status hs_import_onnx(hs_import_model *m, hs_import_file *keep)
{
    hs_onnx *g;
import x = {.m = m };
    HS_TRY(hs_onnx_open(&g, m->path));
    *keep = (hs_import_file){ g, close_onnx };
    x.g = g;
    hs_status st = hs_onnx_values_new(&x.v, g, m->path);
    if (st == HS_OK)
        st = read_nodes(&x);
    if (st == HS_OK && m->n == 0)
        st = HS_FAIL(UNSUPPORTED, "%s: no weights of an encoder or a writer are in it", m->path);
    if (st == HS_OK)
        st = settle(&x);
    hs_onnx_values_free(x.v);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

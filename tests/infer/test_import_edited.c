// Graphs that say one thing and compute another: an exported encoder with a node changed, imported with its config.json and without.
#include "tests/support/support_files.h"

#include "data/formats/onnx.h"
#include "infer/export/export.h"
#include "infer/import/import.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 1024 };
static const char bert_dir[] = HS_TESTS_DIR "/golden/encoders/bert";

static hs_status import_edited(const char *config)
{
    char file[PATH], out[PATH];
    hs_import_said said;
    snprintf(file, sizeof file, "%s", scratch_path("edited.onnx"));
    snprintf(out, sizeof out, "%s", scratch_path("out"));
    return hs_import(file, out, hs_families, &(hs_import_opts){ .config = config, .overwrite = true }, &said);
}

// The encoder as a graph, in the folder "plain" with its config.json.
static hs_onnx *plain(void)
{
    char dir[PATH];
    hs_export_model m;
    hs_export_said said;
    hs_onnx *g;
    snprintf(dir, sizeof dir, "%s", scratch_path("plain"));
    OK(hs_export_model_open(&m, bert_dir, 0, hs_families));
    OK(hs_export_onnx(&m, dir, &(hs_export_onnx_opts){ .version = "test", .overwrite = true }, &said));
    hs_export_model_close(&m);
    OK(hs_onnx_open(&g, scratch_path("plain/model.onnx")));
    return g;
}

static void put(hs_onnx *g)
{
    unlink(scratch_path("edited.onnx"));
    OK(hs_onnx_write(&hs_io_system, scratch_path("edited.onnx"), g, NULL));
    hs_onnx_close(g);
}

static const char *config(void)
{
    static char path[PATH];
    snprintf(path, sizeof path, "%s", scratch_path("plain/config.json"));
    return path;
}

static hs_onnx_node *node_of(hs_onnx *g, const char *op, int i)
{
    for (int k = 0; k < g->n_nodes; k++)
        if (strcmp(g->node[k].op, op) == 0 && i-- == 0)
            return &g->node[k];
    fail_msg("no %s", op);
    return NULL;
}

static void expect_word(const char *word)
{
    size_t bytes;
    char *text = scratch_read("out/config.json", &bytes);
    char *copy = calloc(bytes + 1, 1);
    memcpy(copy, text, bytes);
    if (!strstr(copy, word))
        fail_msg("%s is not in %s", word, copy);
    free(copy);
    free(text);
}

// An activation of the graph is the model's, whatever a pooler has; with another config.json it is refused.
static void activations(void **state)
{
    (void)state;
    static const struct {
        const char *op, *becomes, *part;
    } rows[] = { { "Erf", "\"hidden_act\": \"gelu\"", NULL },
                 { "Relu", "\"hidden_act\": \"relu\"", "config.json says model.activation gelu, the graph computes relu" },
                 { "Sigmoid", NULL, "is of type Sigmoid: known activations are gelu, gelu_tanh and relu" },
                 { "Mish", NULL, "is of type Mish" },
                 { "Floor", NULL, NULL } };
    for (int i = 0; i < HS_COUNT(rows); i++)
        for (int approximate = 0; approximate < (i == 0 ? 3 : 1); approximate++) {
            hs_onnx *g = plain();
            for (int k = 0; k < g->n_nodes; k++)
                if (strcmp(g->node[k].op, "Erf") == 0)
                    g->node[k].op = approximate ? "Gelu" : rows[i].op;
            if (approximate == 2)
                for (int k = 0; k < g->n_nodes; k++)
                    if (strcmp(g->node[k].op, "Gelu") == 0) {
                        hs_onnx_attr *a = hs_onnx_alloc(g, sizeof *a);
                        *a = (hs_onnx_attr){ .name = "approximate", .kind = HS_ONNX_TEXT, .s = "none" };
                        g->node[k].attr = a, g->node[k].n_attrs = 1;
                    }
            put(g);
            if (rows[i].becomes) {
                OK(import_edited(NULL));
                expect_word(rows[i].becomes);
            } else
                expect_error(import_edited(NULL), rows[i].part ? HS_UNSUPPORTED : HS_USAGE,
                             rows[i].part ? rows[i].part : "no operator in its graph tells the activation", __FILE__, __LINE__);
            if (rows[i].part)
                assert_true(import_edited(config()) != HS_OK && strstr(hs_error(), rows[i].part));
            else
                OK(import_edited(config()));
        }
}

static void norms(void **state)
{
    (void)state;
    hs_onnx *g = plain();
    for (int k = 0; k < g->n_nodes; k++)
        if (strcmp(g->node[k].op, "LayerNormalization") == 0)
            g->node[k].n_attrs = 0; // of 1e-5 then, by ONNX
    put(g);
    OK(import_edited(NULL));
    expect_word("\"layer_norm_eps\": 1e-05");
    FAILS(USAGE, "config.json says model.eps 1e-12, the graph has 1e-05", import_edited(config()));
}

typedef struct norm {             // LayerNormalization as exporters wrote it before opset 17
    const char *op, *in[2], *out; // "x", "gamma", "beta", "y": of the node; others: of this norm
} norm;
static const norm parts[] = { { "ReduceMean", { "x", NULL }, "mean" },
                              { "Sub", { "x", "mean" }, "from" },
                              { "Pow", { "from", "norm_two" }, "square" },
                              { "ReduceMean", { "square", NULL }, "variance" },
                              { "Add", { "variance", "norm_eps" }, "sum" },
                              { "Sqrt", { "sum", NULL }, "root" },
                              { "Div", { "from", "root" }, "even" },
                              { "Mul", { "even", "gamma" }, "wide" },
                              { "Add", { "wide", "beta" }, "y" } };

static const char *operand(hs_onnx *g, const hs_onnx_node *of, const char *name, int number)
{
    static const char *const own[] = { "x", "gamma", "beta" };
    for (int i = 0; i < HS_COUNT(own); i++)
        if (strcmp(name, own[i]) == 0)
            return of->in[i];
    if (strcmp(name, "y") == 0)
        return of->out[0];
    return strncmp(name, "norm_", 5) == 0 ? name : hs_onnx_text(g, "/norm%d/%s", number, name);
}

static void take_apart(hs_onnx *g, const float *eps)
{
    static const float two = 2;
    const int n = g->n_nodes;
    hs_onnx_node *all = malloc((size_t)(HS_COUNT(parts) * n) * sizeof *all);
    int to = 0;
    for (int k = 0; k < n; k++) {
        const hs_onnx_node of = g->node[k];
        if (strcmp(of.op, "LayerNormalization") != 0) {
            all[to++] = of;
            continue;
        }
        for (int i = 0; i < HS_COUNT(parts); i++) {
            const char *in[2], *out = operand(g, &of, parts[i].out, k);
            const int n_in = parts[i].in[1] ? 2 : 1;
            for (int o = 0; o < n_in; o++)
                in[o] = operand(g, &of, parts[i].in[o], k);
            hs_onnx_node *made = hs_onnx_add_node(g, parts[i].op, out, in, n_in, &out, 1);
            if (n_in == 1 && strcmp(parts[i].op, "ReduceMean") == 0)
                hs_onnx_set_ints(g, made, "axes", (const int64_t[]){ -1 }, 1);
            all[to++] = *made;
        }
    }
    free(g->node);
    g->node = all, g->n_nodes = g->cap_nodes = to;
    hs_onnx_add_init(g, &(hs_onnx_tensor){ .name = "norm_two", .type = HS_ONNX_F32, .data = &two });
    hs_onnx_add_init(g, &(hs_onnx_tensor){ .name = "norm_eps", .type = HS_ONNX_F32, .data = eps });
}

static void norms_in_parts(void **state)
{
    (void)state;
    static const float eps[] = { 1e-12f, 1e-5f };
    size_t bytes[2];
    char *whole, *found;
    put(plain());
    OK(import_edited(NULL));
    whole = scratch_read("out/model.safetensors", &bytes[0]);
    for (int i = 0; i < HS_COUNT(eps); i++) {
        hs_onnx *g = plain();
        take_apart(g, &eps[i]);
        put(g);
        OK(import_edited(NULL));
        expect_word(i ? "\"layer_norm_eps\": 1e-05" : "\"layer_norm_eps\": 1e-12");
        found = scratch_read("out/model.safetensors", &bytes[1]);
        assert_true(bytes[0] == bytes[1] && memcmp(whole, found, bytes[0]) == 0);
        free(found);
        if (i)
            FAILS(USAGE, "config.json says model.eps 1e-12, the graph has 1e-05", import_edited(config()));
        else
            OK(import_edited(config()));
    }
    free(whole);
}

static void products(void **state)
{
    (void)state;
    static const char *const attr[] = { "alpha", "beta", "transA" };
    for (int i = 0; i < HS_COUNT(attr) + 1; i++) {
        hs_onnx *g = plain();
        hs_onnx_node *n = node_of(g, "MatMul", 0);
        n->op = "Gemm";
        if (i == HS_COUNT(attr))
            hs_onnx_set_f32(g, n, "alpha", 1);
        else if (i == 2)
            hs_onnx_set_int(g, n, attr[i], 1);
        else
            hs_onnx_set_f32(g, n, attr[i], 0.5f);
        put(g);
        if (i < HS_COUNT(attr))
            FAILS(UNSUPPORTED, "(Gemm): alpha and beta other than 1, or a left side that is turned", import_edited(config()));
        else
            OK(import_edited(config()));
    }
}

// What lies outside of what is there is not looked at: run with -fsanitize=address this is what finds it.
static void blocks(void **state)
{
    (void)state;
    static const int64_t sizes[] = { 17, 8, 48, 1 << 17, 0, -16 };
    for (int i = 0; i < HS_COUNT(sizes); i++) {
        hs_onnx *g = plain();
        hs_onnx_node *n = node_of(g, "MatMul", 0);
        const char *operands[] = { n->in[0], n->in[1], n->in[1] };
        hs_onnx_node *made = hs_onnx_add_node(g, "MatMulNBits", "/few/MatMul", operands, 3, (const char *const[]){ "few" }, 1);
        made->domain = "com.microsoft";
        hs_onnx_set_int(g, made, "K", 17);
        hs_onnx_set_int(g, made, "N", 2);
        hs_onnx_set_int(g, made, "block_size", sizes[i]);
        put(g);
        FAILS(UNSUPPORTED, "/few/MatMul (MatMulNBits) of 4 bits in blocks of", import_edited(config()));
    }
}

static void axes(void **state)
{
    (void)state;
    static const int64_t all[] = { INT32_MIN, (int64_t)INT32_MIN - 2, INT64_MIN, INT64_MAX, 2, -3 };
    for (int i = 0; i < HS_COUNT(all); i++) {
        hs_onnx *g = plain();
        const float scale[48] = { 1 };
        hs_onnx_node *n = node_of(g, "MatMul", 0);
        const char *own = n->in[1], *operands[] = { own, "scales" };
        n->in[1] = "dequantized.weight";
        hs_onnx_add_init(g, &(hs_onnx_tensor){ .name = "scales", .type = HS_ONNX_F32, .n_dims = 1, .dim = { 48 }, .data = scale });
        hs_onnx_set_int(g, hs_onnx_add_node(g, "DequantizeLinear", "/d", operands, 2, (const char *const[]){ "dequantized.weight" }, 1),
                        "axis", all[i]);
        put(g);
        FAILS(UNSUPPORTED, "(DequantizeLinear): scales that are not by tensor or by axis", import_edited(config()));
    }
}

// A thousand operands of a thousand, twelve times over: known to be no constant at once.
static void many(void **state)
{
    (void)state;
    hs_onnx *g = plain();
    const char *operands[1000], *last = "x";
    hs_onnx_add_init(g, &(hs_onnx_tensor){ .name = "x", .type = HS_ONNX_F32, .n_dims = 1, .dim = { 1 }, .data = (const float[]){ 1 } });
    for (int i = 0; i < 12; i++) {
        char name[16];
        for (int k = 0; k < HS_COUNT(operands); k++)
            operands[k] = last;
        snprintf(name, sizeof name, "c%d", i);
        last = hs_onnx_add_node(g, "Concat", "/c", operands, HS_COUNT(operands), (const char *const[]){ name }, 1)->out[0];
    }
    node_of(g, "MatMul", 0)->in[1] = last;
    put(g);
    FAILS(UNSUPPORTED, "more than 200 operators make \"c11\"", import_edited(config()));
}

// Two weights of one layer with the same values are two weights.
static void equals(void **state)
{
    (void)state;
    hs_onnx *g = plain();
    hs_onnx_tensor *first = NULL, *second = NULL;
    for (int i = 0; i < g->n_inits; i++) {
        first = strstr(g->init[i].name, "layer.0.attention.self.query.weight") ? &g->init[i] : first;
        second = strstr(g->init[i].name, "layer.0.attention.self.key.weight") ? &g->init[i] : second;
    }
    assert_true(first && second && first->bytes == second->bytes);
    second->data = first->data;
    put(g);
    OK(import_edited(config()));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(activations), cmocka_unit_test(norms),         cmocka_unit_test(products),
                                        cmocka_unit_test(blocks),      cmocka_unit_test(axes),          cmocka_unit_test(many),
                                        cmocka_unit_test(equals),      cmocka_unit_test(norms_in_parts) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

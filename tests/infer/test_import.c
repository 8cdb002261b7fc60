// Imports: what is exported comes back to the bit - GGUF in every type, ONNX of every family - and what other tools do to the same files is
// undone: weights without names in 4 bits, tables of bytes behind a lookup, 8 bits with a scale, no config.json; llm.c's checkpoints.
#include "tests/support/support_files.h"

#include "data/formats/onnx.h"
#include "infer/export/export.h"
#include "infer/import/import.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct path {
    char p[1024];
} path;
static path in(const char *folder, const char *name)
{
    path x;
    assert_true(snprintf(x.p, sizeof x.p, "%s%s%s", folder, name ? "/" : "", name ? name : "") < (int)sizeof x.p);
    return x;
}
static path scratch(const char *name) { return in(scratch_path(name), NULL); }

static hs_status import_file(const char *file, const char *config, const char *out)
{
    hs_import_said said;
    return hs_import(file, out, hs_families, &(hs_import_opts){ .config = config, .overwrite = true }, &said);
}

static void export_onnx(const char *checkpoint, const char *dir, bool hidden)
{
    hs_export_model m;
    hs_export_said said;
    OK(hs_export_model_open(&m, checkpoint, 0, hs_families));
    OK(hs_export_onnx(&m, dir, &(hs_export_onnx_opts){ .version = "test", .hidden = hidden, .past = true, .overwrite = true }, &said));
    hs_export_model_close(&m);
}

static hs_status export_gguf(const char *checkpoint, const char *dir, hs_export_type type)
{
    hs_export_model m;
    hs_export_said said;
    hs_status st = hs_export_model_open(&m, checkpoint, 0, hs_families);
    if (st == HS_OK)
        st = hs_export_gguf(&m, dir, &(hs_export_gguf_opts){ .type = type, .overwrite = true }, &said);
    hs_export_model_close(&m);
    return st;
}

// ---- tensors of two model directories, whatever prefix one has
static const hs_st_entry *find(const hs_safetensors *s, const char *name)
{
    const size_t n = strlen(name);
    for (int i = 0; i < hs_safetensors_count(s); i++) {
        const hs_st_entry *e = hs_safetensors_at(s, i);
        const size_t k = strlen(e->name);
        if (k >= n ? strcmp(e->name + k - n, name) == 0 && (k == n || e->name[k - n - 1] == '.')
                   : strcmp(name + n - k, e->name) == 0 && name[n - k - 1] == '.')
            return e;
    }
    return NULL;
}

static double apart(const char *got, const char *want, int *n)
{
    hs_safetensors *a, *b;
    double worst = 0;
    OK(hs_safetensors_open(&a, in(got, "model.safetensors").p));
    OK(hs_safetensors_open(&b, in(want, "model.safetensors").p));
    *n = hs_safetensors_count(a);
    for (int i = 0; i < *n; i++) {
        const hs_st_entry *x = hs_safetensors_at(a, i), *y = find(b, x->name);
        if (!y)
            fail_msg("%s has no %s", want, x->name);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->dim, y->dim, (size_t)x->n_dims * sizeof *x->dim);
        for (size_t k = 0; k < x->bytes / 4; k++) {
            float u, v;
            memcpy(&u, (const char *)x->data + 4 * k, 4);
            memcpy(&v, (const char *)y->data + 4 * k, 4);
            worst = fmax(worst, fabs((double)u - (double)v));
        }
    }
    hs_safetensors_close(a);
    hs_safetensors_close(b);
    return worst;
}

static const char gpt_dir[] = HS_TESTS_DIR "/golden/gpt2-lm", bert_dir[] = HS_TESTS_DIR "/golden/encoders/bert";

static void export_weights(const char *checkpoint, const char *dir, hs_dtype dtype, uint64_t shard)
{
    const hs_export_opts e = { .dtype = dtype, .shard_bytes = shard, .overwrite = true };
    hs_export_model m;
    hs_graph *g;
    OK(hs_export_model_open(&m, checkpoint, 0, hs_families));
    OK(hs_export_model_trace(&m, HS_EVAL, &(hs_arch_shape){ .max_tokens = 8, .max_seqs = 1, .hidden = true }, &g));
    hs_graph_free(g);
    OK(hs_export_model_load(&m));
    OK(hs_ckpt_export_as(dir, &e, &(hs_ckpt_opts){ .files = m.info.files }, m.params, &m.info, m.tokenizer));
    hs_export_model_close(&m);
}

static bool is_there(path p) { return access(p.p, F_OK) == 0; }

// In shards, and back in one file; in 16 bits, which hold half of what they were.
static void safetensors(void **state)
{
    (void)state;
    const path whole = scratch("whole"), shards = scratch("shards"), again = scratch("again"), low = scratch("low");
    size_t a, b;
    int n;
    export_weights(gpt_dir, whole.p, HS_F32, 0);
    assert_true(apart(whole.p, gpt_dir, &n) == 0);
    export_weights(whole.p, shards.p, HS_F32, 20000);
    assert_false(is_there(in(shards.p, "model.safetensors")));
    assert_true(is_there(in(shards.p, "model.safetensors.index.json")) && is_there(in(shards.p, "model-00001-of-00007.safetensors")));
    export_weights(shards.p, again.p, HS_F32, 0);
    char *x = scratch_read("whole/model.safetensors", &a), *y = scratch_read("again/model.safetensors", &b);
    assert_int_equal(a, b);
    assert_memory_equal(x, y, a);
    free(x);
    free(y);
    for (int i = 0; i < 2; i++) {
        export_weights(gpt_dir, low.p, i ? HS_F16 : HS_BF16, 0);
        hs_safetensors *s;
        OK(hs_safetensors_open(&s, in(low.p, "model.safetensors").p));
        for (int k = 0; k < hs_safetensors_count(s); k++)
            assert_int_equal(hs_safetensors_at(s, k)->dtype, i ? HS_F16 : HS_BF16);
        hs_safetensors_close(s);
        export_weights(low.p, again.p, HS_F32, 0);
        const double worst = apart(again.p, gpt_dir, &n);
        assert_true(worst > 0 && worst < (i ? 1e-3 : 1e-2));
    }
}

static void gguf(void **state)
{
    (void)state;
    static const struct {
        hs_export_type type;
        double most;
    } types[] = { { HS_EXPORT_F32, 0 }, { HS_EXPORT_F16, 1e-3 }, { HS_EXPORT_BF16, 1e-2 }, { HS_EXPORT_Q8_0, 2e-2 } };
    const path file = scratch("gguf"), out = scratch("from-gguf");
    int n;
    for (int i = 0; i < HS_COUNT(types); i++) {
        OK(export_gguf(gpt_dir, file.p, types[i].type));
        OK(import_file(file.p, NULL, out.p));
        const double worst = apart(out.p, gpt_dir, &n);
        assert_int_equal(n, 28);
        assert_true(worst <= types[i].most && (i == 0 || worst > 0));
    }
    OK(export_gguf(bert_dir, file.p, HS_EXPORT_F32));
    OK(import_file(in(file.p, "model.gguf").p, NULL, out.p));
    assert_true(apart(out.p, bert_dir, &n) == 0);
    assert_int_equal(n, 37); // without pooler and heads
    FAILS(USAGE, "rows of 48, no multiple of the 32", export_gguf(bert_dir, file.p, HS_EXPORT_Q8_0));
    FAILS(UNSUPPORTED, "has no form in GGUF here", export_gguf(HS_TESTS_DIR "/golden/encoders/roberta", file.p, HS_EXPORT_F32));
}

static void onnx_of_every_family(void **state)
{
    (void)state;
    const path file = scratch("onnx"), out = scratch("from-onnx");
    for (int i = 0; hs_families[i]; i++)
        for (int hidden = 0; hidden < 2; hidden++) {
            char dir[512];
            int n;
            if (hs_families[i]->batch != HS_BATCH_MASKED)
                continue;
            snprintf(dir, sizeof dir, HS_TESTS_DIR "/golden/encoders/%s", hs_families[i]->name);
            export_onnx(dir, file.p, hidden);
            OK(import_file(file.p, NULL, out.p));
            assert_true(apart(out.p, dir, &n) == 0);
            assert_true(n > 20);
        }
    int n;
    export_onnx(gpt_dir, file.p, false);
    OK(import_file(file.p, NULL, out.p));
    assert_true(apart(out.p, gpt_dir, &n) == 0 && n == 28);
}

// ---- what tools do to such a file
static hs_onnx_tensor *init_of(hs_onnx *m, const char *name)
{
    for (int i = 0; i < m->n_inits; i++)
        if (strcmp(m->init[i].name, name) == 0)
            return &m->init[i];
    return NULL;
}

enum { BLOCK = 16 };
static float at(const hs_onnx_tensor *t, int64_t i)
{
    float v;
    memcpy(&v, (const char *)t->data + 4 * i, 4);
    return v;
}

// A product with [in, out] as MatMulNBits: [out, in / 16, 8 bytes], a scale for each block, zero at 8 or given.
static void to_4_bits(hs_onnx *m, hs_onnx_node *n, bool zeros)
{
    const hs_onnx_tensor *w = init_of(m, n->in[1]);
    const int64_t K = w->dim[0], N = w->dim[1], blocks = K / BLOCK, packed = (blocks + 1) / 2;
    uint8_t *q = hs_onnx_alloc(m, (size_t)(N * blocks * BLOCK / 2)), *zero = hs_onnx_alloc(m, (size_t)(N * packed));
    float *scale = hs_onnx_alloc(m, (size_t)(N * blocks) * sizeof *scale);
    for (int64_t o = 0; o < N; o++)
        for (int64_t b = 0; b < blocks; b++) {
            float most = 1e-9f;
            for (int64_t i = 0; i < BLOCK; i++)
                most = fmaxf(most, fabsf(at(w, (b * BLOCK + i) * N + o)));
            const int z = zeros ? 7 : 8;
            scale[o * blocks + b] = most / 7;
            zero[o * packed + b / 2] |= (uint8_t)(z << (b % 2 ? 4 : 0));
            for (int64_t i = 0; i < BLOCK; i++) {
                const int v = (int)roundf(at(w, (b * BLOCK + i) * N + o) / scale[o * blocks + b]) + z;
                q[(o * blocks + b) * BLOCK / 2 + i / 2] |= (uint8_t)(v << (i % 2 ? 4 : 0));
            }
        }
    const char *names[3] = { hs_onnx_text(m, "onnx::MatMul_%d_Q4", m->n_inits), hs_onnx_text(m, "onnx::MatMul_%d_scales", m->n_inits),
                             hs_onnx_text(m, "onnx::MatMul_%d_zero_points", m->n_inits) };
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = names[0], .type = HS_ONNX_U8, .n_dims = 3, .dim = { N, blocks, BLOCK / 2 }, .data = q });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = names[1], .type = HS_ONNX_F32, .n_dims = 1, .dim = { N * blocks }, .data = scale });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = names[2], .type = HS_ONNX_U8, .n_dims = 1, .dim = { N * packed }, .data = zero });
    const char **operands = hs_onnx_alloc(m, 4 * sizeof *operands);
    operands[0] = n->in[0], operands[1] = names[0], operands[2] = names[1], operands[3] = names[2];
    n->op = "MatMulNBits", n->domain = "com.microsoft", n->in = operands, n->n_in = zeros ? 4 : 3;
    n->name = "made_up";
    hs_onnx_set_int(m, n, "K", K);
    hs_onnx_set_int(m, n, "N", N);
    hs_onnx_set_int(m, n, "bits", 4);
    hs_onnx_set_int(m, n, "block_size", BLOCK);
}

// A table as bytes with one scale and one zero, dequantized behind the lookup.
static void to_bytes(hs_onnx *m, int node)
{
    const hs_onnx_tensor *w = init_of(m, m->node[node].in[0]);
    const int64_t n = hs_onnx_count(w);
    uint8_t *q = hs_onnx_alloc(m, (size_t)n), *zero = hs_onnx_alloc(m, 1);
    float most = 0, *scale = hs_onnx_alloc(m, sizeof *scale);
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(at(w, i)));
    *zero = 128, *scale = most / 127;
    for (int64_t i = 0; i < n; i++)
        q[i] = (uint8_t)((int)roundf(at(w, i) / *scale) + 128);
    const char *base = m->node[node].in[0], *after = m->node[node].out[0];
    const char *name = hs_onnx_text(m, "%s_quantized", base), *of_scale = hs_onnx_text(m, "%s_scale", base),
               *of_zero = hs_onnx_text(m, "%s_zero_point", base);
    const char *between = hs_onnx_text(m, "%s_quantized", after), *operands[] = { between, of_scale, of_zero };
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = name, .type = HS_ONNX_U8, .n_dims = 2, .dim = { w->dim[0], w->dim[1] }, .data = q });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = of_scale, .type = HS_ONNX_F32, .data = scale });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = of_zero, .type = HS_ONNX_U8, .data = zero });
    m->node[node].in[0] = name;
    m->node[node].out[0] = between;
    hs_onnx_add_node(m, "DequantizeLinear", "dequantize", operands, 3, &after, 1);
}

// A product with [in, out] as bytes with a scale for each column, by Cast and Mul; nothing has a name.
static void to_8_bits(hs_onnx *m, int node)
{
    const hs_onnx_tensor *w = init_of(m, m->node[node].in[1]);
    const int64_t K = w->dim[0], N = w->dim[1];
    int8_t *q = hs_onnx_alloc(m, (size_t)(K * N));
    float *scale = hs_onnx_alloc(m, (size_t)N * sizeof *scale);
    for (int64_t o = 0; o < N; o++) {
        for (int64_t k = 0; k < K; k++)
            scale[o] = fmaxf(scale[o], fabsf(at(w, k * N + o)) / 127);
        for (int64_t k = 0; k < K; k++)
            q[k * N + o] = (int8_t)roundf(at(w, k * N + o) / scale[o]);
    }
    const char *base = hs_onnx_text(m, "val_%d", m->n_inits), *bytes = hs_onnx_text(m, "%s_q", base), *cast = hs_onnx_text(m, "%s_f", base);
    const char *scales = hs_onnx_text(m, "%s_scale", base), *operands[] = { cast, scales };
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = bytes, .type = HS_ONNX_I8, .n_dims = 2, .dim = { K, N }, .data = q });
    hs_onnx_add_init(m, &(hs_onnx_tensor){ .name = scales, .type = HS_ONNX_F32, .n_dims = 2, .dim = { 1, N }, .data = scale });
    m->node[node].in[1] = base;
    m->node[node].name = "made_up";
    hs_onnx_set_int(m, hs_onnx_add_node(m, "Cast", "cast", &bytes, 1, &cast, 1), "to", HS_ONNX_F32);
    hs_onnx_add_node(m, "Mul", "scale", operands, 2, &base, 1);
}

static bool weighs(hs_onnx *m, int i)
{
    return strcmp(m->node[i].op, "MatMul") == 0 && init_of(m, m->node[i].in[1]) && init_of(m, m->node[i].in[1])->n_dims == 2;
}

static void few_bits(void **state)
{
    (void)state;
    const path from = scratch("plain"), to = scratch("quantized"), out = scratch("from-quantized");
    hs_onnx *m;
    int n, four = 0, eight = 0, tables = 0;
    export_onnx(bert_dir, from.p, true);
    OK(hs_onnx_open(&m, in(from.p, "model.onnx").p));
    for (int i = 0, all = m->n_nodes; i < all; i++)
        if (weighs(m, i) && (four + eight) % 3 == 2 && ++eight)
            to_8_bits(m, i);
        else if (weighs(m, i) && ++four)
            to_4_bits(m, &m->node[i], four % 2);
        else if (strcmp(m->node[i].op, "Gather") == 0 && init_of(m, m->node[i].in[0]) && init_of(m, m->node[i].in[0])->n_dims == 2 &&
                 ++tables)
            to_bytes(m, i);
    assert_true(four > 5 && eight > 3 && tables == 3);
    assert_int_equal(mkdir(to.p, 0777), 0);
    OK(hs_onnx_write(&hs_io_system, in(to.p, "model.onnx").p, m, NULL));
    hs_onnx_close(m);
    OK(import_file(to.p, in(from.p, "config.json").p, out.p));
    const double worst = apart(out.p, bert_dir, &n);
    assert_int_equal(n, 39);
    assert_true(worst > 1e-4 && worst < 0.06); // half a step of 4 bits of the largest weight
    // and what the graph says of itself is what config.json said
    OK(import_file(to.p, NULL, scratch("deduced").p));
    assert_true(apart(scratch("deduced").p, out.p, &n) == 0);
}

// ---- llm.c
static void put_llmc(const char *name, int version, int64_t more)
{
    static const char *const order[] = { "wte.weight",         "wpe.weight",       "ln_1.weight",        "ln_1.bias",
                                         "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias",
                                         "ln_2.weight",        "ln_2.bias",        "mlp.c_fc.weight",    "mlp.c_fc.bias",
                                         "mlp.c_proj.weight",  "mlp.c_proj.bias",  "ln_f.weight",        "ln_f.bias" };
    const int32_t head[256] = { 20240326, version, 24, 61, 2, 2, 32, 64 };
    const bool low = version == 5;
    hs_safetensors *s;
    FILE *f = fopen(scratch_path(name), "wb");
    OK(hs_safetensors_open(&s, in(gpt_dir, "model.safetensors").p));
    fwrite(head, 4, 256, f);
    for (int k = 0; k < HS_COUNT(order); k++)
        for (int layer = 0; layer < (k >= 2 && k < 14 ? 2 : 1); layer++) {
            char full[96];
            if (k >= 2 && k < 14)
                snprintf(full, sizeof full, "transformer.h.%d.%s", layer, order[k]);
            else
                snprintf(full, sizeof full, "transformer.%s", order[k]);
            const hs_st_entry *e = hs_safetensors_find(s, full);
            assert_non_null(e);
            const int64_t rows = e->dim[0], cols = e->n_dims == 2 ? e->dim[1] : 1, turned = e->n_dims == 2 && k > 1;
            for (int64_t i = 0; i < rows * cols; i++) {
                float v;
                const int64_t from = turned ? i % rows * cols + i / rows : i;
                memcpy(&v, (const char *)e->data + 4 * from, 4);
                const uint16_t h = hs_f32_bf16(v);
                fwrite(low ? (const void *)&h : &v, low ? 2 : 4, 1, f);
            }
            for (int64_t i = 0; k == 0 && version != 1 && i < (64 - 61) * cols; i++)
                fwrite("\0\0\0\0", low ? 2 : 4, 1, f);
        }
    for (int64_t i = 0; i < more; i++)
        fputc(0, f);
    fclose(f);
    hs_safetensors_close(s);
}

static void llmc(void **state)
{
    (void)state;
    const path out = scratch("from-llmc");
    size_t bytes;
    int n;
    for (int version = 1; version <= 5; version += 2) {
        put_llmc("gpt.bin", version, 0);
        OK(import_file(scratch_path("gpt.bin"), NULL, out.p));
        const double worst = apart(out.p, gpt_dir, &n);
        assert_true(n == 28 && (version == 5 ? worst > 0 && worst < 1e-2 : worst == 0));
    }
    put_llmc("gpt.bin", 3, 4);
    FAILS(CORRUPT, "4 bytes stand behind the last parameter", import_file(scratch_path("gpt.bin"), NULL, out.p));
    put_llmc("gpt.bin", 3, 0);
    char *data = scratch_read("gpt.bin", &bytes);
    scratch_write("gpt.bin", data, bytes - 1);
    FAILS(CORRUPT, "ends behind the file's", import_file(scratch_path("gpt.bin"), NULL, out.p));
    data[4] = 9;
    scratch_write("gpt.bin", data, bytes);
    FAILS(UNSUPPORTED, "version 9, known are 1, 3 and 5", import_file(scratch_path("gpt.bin"), NULL, out.p));
    data[4] = 3, data[4 * 6 + 2] = 1; // 65,568 channels
    scratch_write("gpt.bin", data, bytes);
    FAILS(CORRUPT, "its settings describe", import_file(scratch_path("gpt.bin"), NULL, out.p));
    free(data);
}

// ---- what is refused
static void refused(void **state)
{
    (void)state;
    const path file = scratch("fused"), out = scratch("never");
    hs_onnx *m;
    export_onnx(bert_dir, file.p, true);
    unlink(in(file.p, "config.json").p);
    OK(hs_onnx_open(&m, in(file.p, "model.onnx").p));
    m->node[m->n_nodes - 1].op = "SkipLayerNormalization", m->node[m->n_nodes - 1].domain = "com.microsoft";
    unlink(in(file.p, "model.onnx").p);
    OK(hs_onnx_write(&hs_io_system, scratch("fused.onnx").p, m, NULL));
    hs_onnx_close(m);
    FAILS(UNSUPPORTED, "of type com.microsoft.SkipLayerNormalization: the graph was fused",
          import_file(scratch("fused.onnx").p, NULL, out.p));
    export_onnx(HS_TESTS_DIR "/golden/encoders/roberta", file.p, true);
    unlink(in(file.p, "config.json").p);
    FAILS(USAGE, "counted from behind padding: --config FILE", import_file(file.p, NULL, out.p));
    export_onnx(HS_TESTS_DIR "/golden/encoders/distilbert", file.p, true);
    FAILS(USAGE, "tensors do not fit the model",
          import_file(file.p, in(HS_TESTS_DIR "/golden/heads/distilbert-tokens", "config.json").p, out.p));
    scratch_write("a.onnx", "nothing of the kind", 19);
    FAILS(CORRUPT, "a.onnx", import_file(scratch("a.onnx").p, NULL, out.p));
    scratch_write("pytorch_model.bin", "PK\3\4and so on", 12);
    FAILS(UNSUPPORTED, "save_pretrained", import_file(scratch("pytorch_model.bin").p, NULL, out.p));
    FAILS(USAGE, "is a directory of transformers already", import_file(bert_dir, NULL, out.p));
    FAILS(USAGE, "no such file", import_file(scratch("nowhere.gguf").p, NULL, out.p));
    assert_int_equal(access(out.p, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(safetensors), cmocka_unit_test(gguf), cmocka_unit_test(onnx_of_every_family),
                                        cmocka_unit_test(few_bits),    cmocka_unit_test(llmc), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

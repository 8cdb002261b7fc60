// Exports to ONNX, read back and computed in f64 (support_onnx), against what PyTorch computed: every family's golden checkpoint, its heads
// and its hidden states, padded batches of mixed lengths; GPT-2 with and without keys and values of earlier steps.
#include "tests/support/support_files.h"

#include "core/graph/coding.h"
#include "infer/export/export.h"
#include "infer/export/onnx_emit.h"
#include "ops/ops.h"
#include "tests/support/support_onnx.h"
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hs_onnx *exported(const char *checkpoint, const char *name, const hs_export_onnx_opts *o)
{
    char path[1024], file[1100];
    hs_export_model m;
    hs_onnx *graph;
    hs_export_said said;
    snprintf(path, sizeof path, "%s", scratch_path(name));
    snprintf(file, sizeof file, "%s/model.onnx", path);
    OK(hs_export_model_open(&m, checkpoint, 0, hs_families));
    OK(hs_export_onnx(&m, path, o, &said));
    assert_int_equal(said.left_out > 0, strstr(checkpoint, "-crf") != NULL || (o->hidden && m.info.files->heads));
    hs_export_model_close(&m);
    OK(hs_onnx_open(&graph, file));
    assert_int_equal(graph->ir_version, 8);
    int microsoft = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        microsoft += strcmp(graph->node[i].domain, "com.microsoft") == 0;
    assert_true(graph->n_opsets == 1 + (microsoft > 0) && graph->opset[0].version == 17 && !*graph->opset[0].domain);
    return graph;
}

static void close_to(const char *what, double got, double want, double largest, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * largest))
        fail_msg("%s is %.9g, should be %.9g", what, got, want);
}

static double largest_of(const float *v, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)v[i]));
    return most;
}

// ---- encoders
typedef struct subject {
    char dir[512];
    hs_safetensors *golden;
    const int32_t *starts;
    int64_t seqs, longest;
} subject;

static const hs_st_entry *stored(const subject *s, const char *name) { return hs_safetensors_find(s->golden, name); }

static void subject_open(subject *s, const char *kind, const char *name)
{
    char path[600];
    *s = (subject){ 0 };
    snprintf(s->dir, sizeof s->dir, HS_TESTS_DIR "/golden/%s/%s", kind, name);
    snprintf(path, sizeof path, "%s/golden.safetensors", s->dir);
    OK(hs_safetensors_open(&s->golden, path));
    s->starts = stored(s, "starts")->data;
    s->seqs = stored(s, "starts")->dim[0] - 1;
    for (int64_t b = 0; b < s->seqs; b++)
        s->longest = s->starts[b + 1] - s->starts[b] > s->longest ? s->starts[b + 1] - s->starts[b] : s->longest;
}

// Batch 0, padded behind: what PyTorch computed of each sequence by itself.
static void feed(const subject *s, onnx_run *r)
{
    static const struct {
        const char *input, *stored;
    } columns[] = { { "input_ids", "ids" }, { "token_type_ids", "types" }, { "task_type_ids", "tasks" }, { "attention_mask", NULL } };
    for (int i = 0; i < r->m->n_ins; i++) {
        int c = 0;
        while (strcmp(columns[c].input, r->m->in[i].name) != 0)
            c++;
        onnx_array *a = onnx_run_put(r, r->m->in[i].name, 2, (int64_t[]){ s->seqs, s->longest });
        // padding that is no token of the table's first positions: RoBERTa's, and of others any
        for (int64_t k = 0; k < s->seqs * s->longest; k++)
            a->v[k] = c == 0 ? 1 : 0;
        for (int64_t b = 0; b < s->seqs; b++)
            for (int32_t k = s->starts[b]; k < s->starts[b + 1]; k++)
                a->v[b * s->longest + k - s->starts[b]] = columns[c].stored ? ((const int32_t *)stored(s, columns[c].stored)->data)[k] : 1;
    }
}

// Rows of an output against a golden: of all tokens, of picked ones, or of sequences.
static void check(const subject *s, const onnx_run *r, const char *output, const char *name, bool picked, double tolerance)
{
    const hs_st_entry *t = stored(s, name);
    const onnx_array *y = onnx_run_get(r, output);
    const int32_t *picks = picked ? stored(s, "picks")->data : NULL;
    assert_non_null(y);
    const int64_t width = t->dim[1];
    const double largest = largest_of(t->data, t->dim[0] * width);
    assert_int_equal(y->dim[y->n_dims - 1], width);
    for (int64_t n = 0, b = 0; n < t->dim[0]; n++) {
        const int64_t row = picked ? picks[n] : n;
        if (y->n_dims == 3)
            for (b = 0; s->starts[b + 1] <= row;)
                b++;
        const int64_t at = y->n_dims == 3 ? b * s->longest + row - s->starts[b] : n;
        for (int64_t i = 0; i < width; i++)
            close_to(name, y->v[at * width + i], (double)((const float *)t->data)[n * width + i], largest, tolerance);
    }
}

static void names_are(const hs_onnx *m, const hs_onnx_value *v, int n, const char *words)
{
    char all[400] = "";
    (void)m;
    for (int i = 0; i < n; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? " " : "", v[i].name);
    assert_string_equal(all, words);
    for (int i = 0; i < n; i++)
        assert_string_equal(v[i].dim[0].symbol, "batch_size");
}

static const struct {
    const char *family, *inputs, *heads, *hidden, *weight;
} encoders[] = {
    { "bert", "input_ids attention_mask token_type_ids", "prediction_logits seq_relationship_logits", "last_hidden_state pooler_output",
      "encoder.layer.1.attention.self.query.weight" },
    { "roberta", "input_ids attention_mask", "logits", "last_hidden_state", "encoder.layer.0.output.dense.weight" },
    { "roberta-prelayernorm", "input_ids attention_mask", "logits", "last_hidden_state", "embeddings.LayerNorm.weight" },
    { "distilbert", "input_ids attention_mask", "logits", "last_hidden_state", "transformer.layer.1.attention.q_lin.weight" },
    { "albert", "input_ids attention_mask token_type_ids", "prediction_logits sop_logits", "last_hidden_state pooler_output",
      "encoder.embedding_hidden_mapping_in.weight" },
    { "electra", "input_ids attention_mask token_type_ids", "logits", "last_hidden_state", "embeddings_project.weight" },
    { "ernie", "input_ids attention_mask token_type_ids task_type_ids", "prediction_logits seq_relationship_logits",
      "last_hidden_state pooler_output", "embeddings.task_type_embeddings.weight" },
};

static bool has_weight(const hs_onnx *m, const char *name)
{
    for (int i = 0; i < m->n_inits; i++)
        if (strcmp(m->init[i].name, name) == 0)
            return true;
    return false;
}

static void run(const subject *s, hs_onnx *m, bool hidden, double tolerance)
{
    onnx_run r;
    onnx_run_begin(&r, m);
    feed(s, &r);
    onnx_run_all(&r);
    check(s, &r, m->out[0].name, hidden ? "hidden" : "logits", !hidden, tolerance);
    if (m->n_outs > 1)
        check(s, &r, m->out[1].name, hidden ? "pooled" : "pair_logits", false, tolerance);
    onnx_run_end(&r);
}

static void every_encoder(void **state)
{
    (void)state;
    int tested = 0;
    for (int i = 0; hs_families[i]; i++) {
        int row = 0;
        subject s;
        if (hs_families[i]->batch != HS_BATCH_MASKED)
            continue;
        while (row < HS_COUNT(encoders) && strcmp(encoders[row].family, hs_families[i]->name) != 0)
            row++;
        if (row == HS_COUNT(encoders))
            fail_msg("%s has no row here", hs_families[i]->name);
        subject_open(&s, "encoders", hs_families[i]->name);
        for (int hidden = 0; hidden < 2; hidden++) {
            char name[64];
            snprintf(name, sizeof name, "%s-%d", encoders[row].family, hidden);
            hs_onnx *m = exported(s.dir, name, &(hs_export_onnx_opts){ .version = "test", .hidden = hidden });
            names_are(m, m->in, m->n_ins, encoders[row].inputs);
            names_are(m, m->out, m->n_outs, hidden ? encoders[row].hidden : encoders[row].heads);
            assert_true(!hidden || has_weight(m, encoders[row].weight));
            run(&s, m, hidden, 2e-6);
            hs_onnx_close(m);
        }
        hs_safetensors_close(s.golden);
        tested++;
    }
    assert_int_equal(tested, HS_COUNT(encoders));
}

// The other forms of a file: weights beside it, and in f16; the second in place of the first.
static void forms(void **state)
{
    (void)state;
    subject s;
    struct hs_export_onnx_opts beside = { .version = "test", .beside = true },
                               half = { .version = "test", .dtype = HS_F16, .overwrite = true };
    subject_open(&s, "encoders", "bert");
    hs_onnx *m = exported(s.dir, "forms", &beside);
    assert_int_equal(m->n_beside, 1);
    run(&s, m, false, 2e-6);
    hs_onnx_close(m);
    char other[1024];
    snprintf(other, sizeof other, "%s", scratch_path("forms"));
    hs_export_model again;
    hs_export_said said;
    OK(hs_export_model_open(&again, s.dir, 0, hs_families));
    FAILS(USAGE, "is not empty", hs_export_onnx(&again, other, &beside, &said));
    hs_export_model_close(&again);
    m = exported(s.dir, "forms", &half);
    assert_int_equal(m->n_beside, 0);
    assert_int_equal(m->init[0].type, HS_ONNX_F16);
    run(&s, m, false, 2e-3);
    hs_onnx_close(m);
    hs_safetensors_close(s.golden);
}

// ---- models with a task: every head of every family that has a golden
static void check_span(const subject *s, const onnx_run *r)
{
    static const char *const names[] = { "start_logits", "end_logits" };
    const hs_st_entry *t = stored(s, "logits");
    const double largest = largest_of(t->data, t->dim[0] * 2);
    for (int k = 0; k < 2; k++) {
        const onnx_array *y = onnx_run_get(r, names[k]);
        assert_true(y && y->n_dims == 2 && y->dim[1] == s->longest);
        for (int64_t n = 0, b = 0; n < t->dim[0]; n++) {
            while (s->starts[b + 1] <= n)
                b++;
            close_to(names[k], y->v[b * s->longest + n - s->starts[b]], (double)((const float *)t->data)[2 * n + k], largest, 2e-6);
        }
    }
}

static void one_head(const char *name)
{
    subject s;
    onnx_run r;
    subject_open(&s, "heads", name);
    hs_onnx *m = exported(s.dir, name, &(hs_export_onnx_opts){ .version = "test", .past = true });
    onnx_run_begin(&r, m);
    feed(&s, &r);
    onnx_run_all(&r);
    if (strstr(name, "-span")) {
        names_are(m, m->out, m->n_outs, "start_logits end_logits");
        check_span(&s, &r);
    } else {
        names_are(m, m->out, m->n_outs, "logits");
        check(&s, &r, "logits", "logits", false, 2e-6);
    }
    onnx_run_end(&r);
    hs_onnx_close(m);
    hs_safetensors_close(s.golden);
}

static void every_head(void **state)
{
    (void)state;
    DIR *d = opendir(HS_TESTS_DIR "/golden/heads");
    int n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            one_head(e->d_name);
            n++;
        }
    closedir(d);
    assert_true(n >= 25);
}

// ---- GPT-2
enum { VOCAB = 61 };
typedef struct texts { // of the golden file's batch 0
    hs_safetensors *golden;
    const int32_t *ids, *starts;
    const float *logits;
    int64_t seqs;
} texts;

static texts gpt_texts(void)
{
    texts t;
    OK(hs_safetensors_open(&t.golden, HS_TESTS_DIR "/golden/golden.safetensors"));
    t.ids = hs_safetensors_find(t.golden, "ids")->data;
    t.starts = hs_safetensors_find(t.golden, "starts")->data;
    t.logits = hs_safetensors_find(t.golden, "logits")->data;
    t.seqs = hs_safetensors_find(t.golden, "starts")->dim[0] - 1;
    return t;
}

// The texts padded in front or behind, at once.
static void gpt_batch(const hs_onnx *m, const texts *t, bool left)
{
    onnx_run r;
    int64_t longest = 0;
    const double largest = largest_of(t->logits, t->starts[t->seqs] * VOCAB);
    for (int64_t b = 0; b < t->seqs; b++)
        longest = t->starts[b + 1] - t->starts[b] > longest ? t->starts[b + 1] - t->starts[b] : longest;
    onnx_run_begin(&r, m);
    onnx_array *ids = onnx_run_put(&r, "input_ids", 2, (int64_t[]){ t->seqs, longest });
    onnx_array *mask = onnx_run_put(&r, "attention_mask", 2, (int64_t[]){ t->seqs, longest });
    for (int i = 0; i < m->n_ins; i++)
        if (strncmp(m->in[i].name, "past", 4) == 0)
            onnx_run_put(&r, m->in[i].name, 4, (int64_t[]){ t->seqs, m->in[i].dim[1].n, 0, m->in[i].dim[3].n });
    for (int64_t b = 0; b < t->seqs; b++) {
        const int64_t n = t->starts[b + 1] - t->starts[b], first = left ? longest - n : 0;
        for (int64_t k = 0; k < n; k++)
            ids->v[b * longest + first + k] = t->ids[t->starts[b] + k], mask->v[b * longest + first + k] = 1;
    }
    onnx_run_all(&r);
    const onnx_array *y = onnx_run_get(&r, "logits");
    assert_int_equal(y->dim[2], VOCAB);
    for (int64_t b = 0; b < t->seqs; b++) {
        const int64_t n = t->starts[b + 1] - t->starts[b], first = left ? longest - n : 0;
        for (int64_t k = 0; k < n * VOCAB; k++)
            close_to("a logit", y->v[(b * longest + first) * VOCAB + k], (double)t->logits[t->starts[b] * VOCAB + k], largest, 2e-6);
    }
    onnx_run_end(&r);
}

// A text in three steps, each of which gets the keys and values that came out of the one before.
static void gpt_steps(const hs_onnx *m, const texts *t, int64_t b)
{
    const int64_t n = t->starts[b + 1] - t->starts[b], cut[] = { 0, n / 2, n - 1, n };
    const double largest = largest_of(t->logits, t->starts[t->seqs] * VOCAB);
    onnx_run r[3];
    for (int step = 0; step < 3; step++) {
        const int64_t at = cut[step], many = cut[step + 1] - at;
        onnx_run_begin(&r[step], m);
        onnx_array *ids = onnx_run_put(&r[step], "input_ids", 2, (int64_t[]){ 1, many });
        onnx_array *mask = onnx_run_put(&r[step], "attention_mask", 2, (int64_t[]){ 1, at + many });
        for (int64_t k = 0; k < many; k++)
            ids->v[k] = t->ids[t->starts[b] + at + k];
        for (int64_t k = 0; k < at + many; k++)
            mask->v[k] = 1;
        for (int i = 0; i < m->n_ins; i++) {
            char name[64];
            if (strncmp(m->in[i].name, "past_key_values", 15) != 0)
                continue;
            snprintf(name, sizeof name, "present%s", m->in[i].name + 15);
            const onnx_array *before = step ? onnx_run_get(&r[step - 1], name) : NULL;
            onnx_array *past = onnx_run_put(&r[step], m->in[i].name, 4, (int64_t[]){ 1, m->in[i].dim[1].n, at, m->in[i].dim[3].n });
            if (before)
                memcpy(past->v, before->v, (size_t)(m->in[i].dim[1].n * at * m->in[i].dim[3].n) * sizeof *past->v);
        }
        onnx_run_all(&r[step]);
        const onnx_array *y = onnx_run_get(&r[step], "logits");
        for (int64_t k = 0; k < many * VOCAB; k++)
            close_to("a logit", y->v[k], (double)t->logits[(t->starts[b] + at) * VOCAB + k], largest, 2e-6);
    }
    for (int step = 0; step < 3; step++)
        onnx_run_end(&r[step]);
}

static void gpt(void **state)
{
    (void)state;
    texts t = gpt_texts();
    for (int past = 0; past < 2; past++) {
        hs_onnx *m =
            exported(HS_TESTS_DIR "/golden/gpt2-lm", past ? "past" : "plain", &(hs_export_onnx_opts){ .version = "test", .past = past });
        names_are(
            m, m->in, m->n_ins,
            past ? "input_ids past_key_values.0.key past_key_values.0.value past_key_values.1.key past_key_values.1.value attention_mask"
                 : "input_ids attention_mask");
        names_are(m, m->out, m->n_outs, past ? "logits present.0.key present.0.value present.1.key present.1.value" : "logits");
        gpt_batch(m, &t, false);
        gpt_batch(m, &t, true);
        for (int64_t b = 0; past && b < t.seqs; b++)
            if (t.starts[b + 1] - t.starts[b] > 3)
                gpt_steps(m, &t, b);
        hs_onnx_close(m);
    }
    hs_safetensors_close(t.golden);
}

// ---- parameters that are kept as codes
typedef struct coded {
    hs_coding coding;
    double most; // what the logits are off by, of the largest
    const char *op;
    int n_ops, n_rounded; // of op; of x
} coded;

static hs_coding one_coding(const void *user, const hs_param_spec *spec)
{
    const hs_coding c = *(const hs_coding *)user;
    const int64_t pad = spec->pad_rows ? spec->pad_rows : 1, rows = (spec->dim[0] + pad - 1) / pad * pad;
    const bool places = strstr(spec->name, "wpe") || strstr(spec->name, "pos") || strstr(spec->name, "type");
    return spec->n_dims == 2 && !places && !hs_coding_declines(c, 2, rows, spec->dim[1]) ? c : HS_CODING_NONE;
}

static void round_param(const hs_params *from, hs_params *to, const hs_param *p)
{
    const int64_t rows = p->dim[0], cols = hs_param_cols(p), n = rows * cols;
    const bool four = p->coding == HS_CODING_I4_BLOCKS, blocks = four || p->coding == HS_CODING_I8_BLOCKS;
    const int64_t group = blocks ? HS_CODE_BLOCK : cols;
    float *v = calloc((size_t)n, sizeof *v), x_scale = 10.0f / 127;
    char *codes = calloc((size_t)n, 1), *scales = calloc((size_t)n, sizeof(float));
    hs_params_fetch(from, hs_params_find(from, p->name), 0, v, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        float most = 0;
        for (int64_t k = i / group * group; k < (i / group + 1) * group; k++)
            most = fmaxf(most, fabsf(v[k]));
        float scale = most / (four ? 7 : 127);
        const uint16_t half = hs_f32_f16(scale);
        scale = blocks ? hs_f16_f32(half) : scale;
        if (blocks)
            ((uint16_t *)(void *)scales)[i / group] = half;
        else
            ((float *)(void *)scales)[i / group] = scale;
        const int q = scale > 0 ? (int)lrintf(v[i] / scale) : 0;
        if (four)
            codes[i / 2] = (char)(codes[i / 2] | (q + 8) << i % 2 * 4);
        else
            codes[i] = (char)(q > 127 ? 127 : q < -127 ? -127 : q);
    }
    OK(hs_params_write(to, hs_params_coded(to, HS_VIEW_CODES), p, codes));
    OK(hs_params_write(to, hs_params_coded(to, HS_VIEW_SCALES), p, scales));
    if (p->coding == HS_CODING_I8_STATIC)
        OK(hs_params_write(to, hs_params_coded(to, HS_VIEW_X_SCALE), p, &x_scale));
    free(v);
    free(codes);
    free(scales);
}

static void load_model(hs_export_model *m, const char *dir, const hs_coding *code)
{
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_graph *g;
    OK(hs_export_model_open(m, dir, 0, hs_families));
    if (code)
        OK(hs_params_code(m->params, (hs_coder){ one_coding, code }));
    OK(hs_export_model_trace(m, HS_EVAL, &eval, &g));
    hs_graph_free(g);
    if (code)
        OK(hs_params_alloc(m->params, NULL, false));
    else
        OK(hs_export_model_load(m));
}

static void write_model(const hs_export_model *m, const char *dir)
{
    OK(hs_sentence_export(dir, &(hs_export_opts){ .dtype = HS_F32, .overwrite = true }, &(hs_ckpt_opts){ .files = m->info.files },
                          m->params, &m->info, NULL, &m->sentence, m->path, hs_arch_int(m->arch, "model.width")));
}

// A directory of codes, and one of the values that they stand for.
static void make_coded(const char *golden, hs_coding coding, const char *codes, const char *values)
{
    hs_export_model from, to;
    load_model(&from, golden, NULL);
    load_model(&to, golden, &coding);
    for (int i = 0; i < to.params->n_params; i++) {
        const hs_param *p = to.params->param[i], *same = hs_params_find(from.params, p->name);
        float *v = malloc(p->n * sizeof *v);
        if (p->coding)
            round_param(from.params, to.params, p);
        else {
            hs_params_fetch(from.params, same, 0, v, p->n);
            OK(hs_params_write(to.params, to.params->master, p, v));
        }
        hs_params_fetch(to.params, p, 0, v, p->n);
        OK(hs_params_write(from.params, from.params->master, same, v));
        free(v);
    }
    write_model(&to, codes);
    write_model(&from, values);
    hs_export_model_close(&from);
    hs_export_model_close(&to);
}

static const onnx_array *logits_of(onnx_run *r, const hs_onnx *m)
{
    onnx_run_begin(r, m);
    for (int i = 0; i < m->n_ins; i++) {
        onnx_array *a = onnx_run_put(r, m->in[i].name, 2, (int64_t[]){ 2, 9 });
        for (int k = 0; k < 18; k++)
            a->v[k] = strcmp(m->in[i].name, "input_ids") == 0 ? (k * 17 + 3) % 61 : strcmp(m->in[i].name, HS_OX_MASK) == 0;
    }
    onnx_run_all(r);
    return onnx_run_get(r, m->out[0].name);
}

static void one_coded(const char *golden, const coded *c)
{
    char codes[1024], values[1024];
    onnx_run a, b;
    snprintf(codes, sizeof codes, "%s", scratch_path("codes"));
    snprintf(values, sizeof values, "%s", scratch_path("values"));
    make_coded(golden, c->coding, codes, values);
    const hs_export_onnx_opts o = { .version = "test", .overwrite = true };
    hs_onnx *m = exported(codes, "codes-onnx", &o), *plain = exported(values, "values-onnx", &o);
    const onnx_array *got = logits_of(&a, m), *want = logits_of(&b, plain);
    double largest = 0, off = 0;
    const int64_t n = want->dim[0] * want->dim[1] * want->dim[2];
    assert_memory_equal(got->dim, want->dim, sizeof got->dim);
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want->v[i])), off = fmax(off, fabs(got->v[i] - want->v[i]));
    if (!(off <= c->most * largest))
        fail_msg("%s, coding %d: logits are %g off, of %g", golden, c->coding, off, largest);
    if (onnx_count_ops(m, c->op) < c->n_ops)
        fail_msg("%s, coding %d: %d of %s", golden, c->coding, onnx_count_ops(m, c->op), c->op);
    assert_true(c->n_rounded ? onnx_count_ops(m, "QuantizeLinear") >= c->n_rounded : !onnx_count_ops(m, "QuantizeLinear"));
    onnx_run_end(&a);
    onnx_run_end(&b);
    hs_onnx_close(m);
    hs_onnx_close(plain);
}

// The graph of codes beside that of their values: the same logits where x is not rounded.
static void codes(void **state)
{
    (void)state;
    static const coded each[] = { { HS_CODING_I8, 2e-6, "DequantizeLinear", 9, 0 },
                                  { HS_CODING_I8_STATIC, 0.3, "DequantizeLinear", 18, 8 },
                                  { HS_CODING_I8_BLOCKS, 2e-6, "MatMulNBits", 7, 0 },
                                  { HS_CODING_I4_BLOCKS, 2e-6, "MatMulNBits", 7, 0 } };
    static const char *const goldens[] = { HS_TESTS_DIR "/golden/encoders/bert", HS_TESTS_DIR "/golden/encoders/albert",
                                           HS_TESTS_DIR "/golden/gpt2-lm" };
    for (int k = 0; k < HS_COUNT(goldens); k++)
        for (int i = 0; i < HS_COUNT(each); i++)
            one_coded(goldens[k], &each[i]);
    hs_export_model m;
    hs_export_said said;
    OK(hs_export_model_open(&m, scratch_path("codes"), 0, hs_families));
    FAILS(USAGE, "has weights as codes, beside which everything is f32 in ONNX; f16 is asked for",
          hs_export_onnx(&m, scratch_path("half"), &(hs_export_onnx_opts){ .version = "test", .dtype = HS_F16 }, &said));
    hs_export_model_close(&m);
}

// Every op has a form in ONNX, but for losses, what only trains or shards, and those that no model here asks for in evaluation.
static void table(void **state)
{
    (void)state;
    static const char *const none[] = { "matmul",
                                        "low_rank",
                                        "transpose",
                                        "argmax",
                                        "xent",
                                        "linear_xent",
                                        "mse",
                                        "bce",
                                        "span_xent",
                                        "crf",
                                        "soft_targets",
                                        "soft_labels",
                                        "soft_span",
                                        "draw",
                                        "replace",
                                        "mask_tokens",
                                        "row_cosine",
                                        "row_square",
                                        "relations",
                                        "tp_copy",
                                        "tp_reduce",
                                        "tp_gather",
                                        "tp_linear_xent",
                                        "linear_fp8",
                                        "linear_i8",
                                        "linear_blocks",
                                        "embedding_coded",
                                        "fake_quant",
                                        "attention_i8",
                                        "cache_append_i8" };
    for (int i = 0; i < HS_N_OPS; i++) {
        bool without = strncmp(hs_ops[i]->name, "tp_", 3) == 0;
        for (int k = 0; k < HS_COUNT(none); k++)
            without = without || strcmp(none[k], hs_ops[i]->name) == 0;
        if (without == (hs_ox_emitter_of(hs_ops[i]) != NULL))
            fail_msg("%s: %s", hs_ops[i]->name, without ? "has an emitter, and is listed as one without" : "has no emitter");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_encoder), cmocka_unit_test(forms), cmocka_unit_test(every_head),
                                        cmocka_unit_test(gpt),           cmocka_unit_test(codes), cmocka_unit_test(table) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

// quantize: a checkpoint whose weights are kept in 8 or 4 bits.
#include "core/base/log.h"
#include "data/checkpoint/new_folder.h"
#include "infer/quant/fold.h"
#include "infer/quant/quantize.h"
#include "infer/quant/trained_scales.h"
#include "recipes/program/calib_texts.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include "recipes/program/quant_trials.h"
#include "recipes/program/quantize_pq.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef enum activations { ACTIVATIONS_AUTO, ACTIVATIONS_TENSOR, ACTIVATIONS_TOKEN } activations;

typedef struct quantize_options {
    hs_common common;
    hs_string output, calib, skip, gate, gate_data, sensitivity;
    int width; // 1 + it: hs_quant_bits; or PQ
    int method, activations, embeddings, round;
    double percentile, gelu_most, smooth;
    int64_t examples, block, centroids;
    bool overwrite, layers, best;
} quantize_options;

enum { PQ = HS_N_QUANT_BITS - 1 };

static hs_quant_bits bits_of(const quantize_options *o) { return (hs_quant_bits)(1 + o->width); }

static bool calibrates(const quantize_options *o)
{
    if (bits_of(o) != HS_QUANT_W8A8 || o->activations == ACTIVATIONS_TOKEN)
        return false;
    return o->calib[0];
}

// Scales that training left are taken where none are calibrated; without them a token has its own.
static bool may_take_trained(const quantize_options *o)
{
    return bits_of(o) == HS_QUANT_W8A8 && o->activations != ACTIVATIONS_TOKEN && !o->calib[0];
}

// Do texts run through the checkpoint at all: for scales of activations, or for how weights are rounded?
static bool looks(const quantize_options *o) { return calibrates(o) || o->smooth > 0 || o->round >= HS_ROUND_GPTQ; }

static hs_status check(const hs_cli *cli)
{
    const quantize_options *o = cli->options;
    static const char *const of_scales[] = { "method", "percentile", "gelu-most" }, *const of_texts[] = { "calib", "examples" };
    if (!o->output[0])
        return HS_FAIL(USAGE, "quantize needs --output DIR");
    if (hs_cli_given(cli, "block") || hs_cli_given(cli, "centroids"))
        return HS_FAIL(USAGE, "--%s is of --bits pq", hs_cli_given(cli, "block") ? "block" : "centroids");
    for (int i = 0; i < HS_COUNT(of_scales); i++)
        if (hs_cli_given(cli, of_scales[i]) && !calibrates(o))
            return HS_FAIL(USAGE, "--%s is for scales of activations%s", of_scales[i],
                           bits_of(o) == HS_QUANT_W8A8 && o->activations != ACTIVATIONS_TOKEN ? ", which --calib FILE gives"
                                                                                              : ", which there are none of");
    for (int i = 0; i < HS_COUNT(of_texts); i++)
        if (hs_cli_given(cli, of_texts[i]) && !looks(o))
            return HS_FAIL(USAGE, "--%s is for scales of activations, of which there are none, and for --smooth and --round gptq or awq",
                           of_texts[i]);
    if ((o->smooth > 0 || o->round >= HS_ROUND_GPTQ) && !o->calib[0])
        return HS_FAIL(USAGE, "%s needs --calib FILE: texts that go through the model", o->smooth > 0 ? "--smooth" : "--round gptq or awq");
    if (o->round == HS_ROUND_SEARCH && bits_of(o) != HS_QUANT_W4)
        return HS_FAIL(USAGE, "--round search is of --bits w4");
    if (!o->gate_data[0] && (o->gate[0] || o->sensitivity[0]))
        return HS_FAIL(USAGE, "--%s needs --gate.data FILE: what the quantized model is measured on", o->gate[0] ? "gate" : "sensitivity");
    if (o->gate_data[0] && !o->gate[0] && !o->sensitivity[0])
        return HS_FAIL(USAGE, "--gate.data is of --gate and --sensitivity");
    if (o->best && !o->gate[0])
        return HS_FAIL(USAGE, "--auto looks for a mix that passes --gate");
    if (hs_cli_given(cli, "percentile") && o->method != HS_CALIB_PERCENTILE)
        return HS_FAIL(USAGE, "--percentile is of --method percentile");
    return HS_OK;
}

static hs_quantize_opts opts_of(const quantize_options *o)
{
    return (hs_quantize_opts){ .bits = bits_of(o),
                               .round = (hs_quant_round)o->round,
                               .rows = !calibrates(o),
                               .method = (hs_calib_method)o->method,
                               .percentile = o->percentile,
                               .gelu_most = o->gelu_most,
                               .embeddings = hs_quant_tables(o->embeddings, bits_of(o)),
                               .skip = o->skip[0] ? o->skip : NULL };
}

// ---- what is told

static const char *const coding_words[HS_N_CODINGS] = { "f32", "i8, rows", "i8, calibrated", "i8, blocks of 32", "i4, blocks of 32" };

static void tell_layers(const hs_quantizing *q)
{
    int n;
    printf("%-44s %-16s %10s %10s\n", "parameter", "kept as", "error", "|x| up to");
    for (int i = 0; hs_quantizing_at(q, i, &n); i++) {
        const hs_quantized *w = hs_quantizing_at(q, i, &n);
        if (w->param->n_dims < 2)
            continue;
        printf("%-44s %-16s ", w->param->name, coding_words[w->coding]);
        if (w->why)
            printf("%s\n", w->why);
        else if (w->coding == HS_CODING_I8_STATIC)
            printf("%9.2f%% %10.4g\n", 100 * w->error, (double)w->x_most);
        else
            printf("%9.2f%%\n", 100 * w->error);
    }
}

static void report(const hs_quantizing *q, const quantize_options *o, const hs_calibration *c, const hs_export_model *from)
{
    static const char *const bits[] = { "w8a8", "w8", "w4" };
    int n, coded = 0, by_outputs = 0;
    bool trained = false;
    double worst = 0;
    const char *worst_of = "";
    for (int i = 0; hs_quantizing_at(q, i, &n); i++) {
        const hs_quantized *w = hs_quantizing_at(q, i, &n);
        coded += w->coding != HS_CODING_NONE;
        by_outputs += w->by_outputs;
        trained |= w->coding == HS_CODING_I8_STATIC && !calibrates(o);
        if (w->error > worst)
            worst = w->error, worst_of = w->param->name;
    }
    const double before = 4e-6 * (double)hs_params_count(from->params), after = 1e-6 * (double)hs_quantizing_bytes(q);
    if (o->common.json) {
        hs_line_print(json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:s, s:I, s:I}", "output", o->output, "bits", bits[o->width],
                                "parameters", n, "coded", coded, "megabytes", hs_line_real(after), "megabytes_f32", hs_line_real(before),
                                "worst_error", hs_line_real(worst), "worst_of", worst_of, "examples", (json_int_t)c->examples, "tokens",
                                (json_int_t)c->tokens));
        return;
    }
    if (o->layers)
        tell_layers(q);
    printf("%s: %s, %d of %d parameters as codes; %.1f MB, in f32 %.1f MB; largest error of a weight %.2f %% (%s)\n", o->output,
           bits[o->width], coded, n, after, before, 100 * worst, worst_of);
    if (trained)
        printf("scales of inputs are those that it was trained by\n");
    if (c->examples && calibrates(o))
        printf("scales of inputs by %lld examples of %lld tokens\n", (long long)c->examples, (long long)c->tokens);
    if (o->round >= HS_ROUND_GPTQ)
        printf("codes of %d by what they do to outputs on %lld examples of %lld tokens, of the others to the nearest\n", by_outputs,
               (long long)c->examples, (long long)c->tokens);
}

// ---- what it may lose

// The gate has not passed: which weights it is.
static hs_status blame(hs_quant_trials *t, const char *why)
{
    enum { NAMED = 3 };
    hs_text worst = { 0 };
    HS_TRY(hs_quant_trials_sensitivity(t));
    for (int i = 0; i < t->n && i < NAMED; i++)
        hs_text_add(&worst, "%s%s (loss %+.4f)", i ? ", " : "", t->weight[i].name, t->weight[i].rise);
    const hs_status st = HS_FAIL(USAGE, "nothing is written: %s. Alone, those that cost most: %s; --skip keeps them, --auto finds how many",
                                 why, worst.p ? worst.p : "");
    hs_text_free(&worst);
    return st;
}

static hs_status pass_gate(hs_quant_trials *t, const quantize_options *o, const hs_gate *g)
{
    json_t *measured;
    char why[256];
    double miss;
    if (o->best)
        return hs_quant_trials_search(t, g);
    HS_TRY(hs_quant_trial(t, &measured));
    const hs_status st = hs_gate_judge(g, t->original, measured, &miss, why, sizeof why);
    json_decref(measured);
    HS_TRY(st);
    return miss > 0 ? blame(t, why) : HS_OK;
}

// Trials, if any are asked for; afterwards opts->keep says what stays as it is.
static hs_status try_out(hs_quant_trials *t, const hs_quant_trials *of, const quantize_options *o, const hs_gate *g, hs_quantize_opts *opts)
{
    if (!o->gate_data[0])
        return HS_OK;
    HS_TRY(hs_quant_trials_open(t, of, o->output));
    if (o->gate[0])
        HS_TRY(pass_gate(t, o, g));
    if (o->sensitivity[0]) {
        if (!o->best)
            HS_TRY(hs_quant_trials_sensitivity(t));
        HS_TRY(hs_quant_trials_report(t, o->sensitivity));
    }
    opts->keep = t->keep;
    return HS_OK;
}

// Texts through the checkpoint; then what folds into its norms.
static hs_status look_at(const hs_cli *cli, hs_export_model *m, hs_calibration *c)
{
    const quantize_options *o = cli->options;
    const bool awq = o->round == HS_ROUND_AWQ;
    const hs_fold_opts fold = { .smooth = o->smooth, .awq = awq, .coding = hs_quant_coding(bits_of(o)), .search = true };
    int n;
    if (!looks(o))
        return HS_OK;
    HS_TRY(hs_calibrate_on(c, cli, cli->arg[0], o->calib, o->examples,
                           &(hs_observer_opts){ .gram = o->round >= HS_ROUND_GPTQ, .channels = awq || o->smooth > 0 }));
    if (!awq && !(o->smooth > 0))
        return HS_OK;
    HS_TRY(hs_quantize_fold(m, c->observer, c->session.model->params, &fold, &n));
    if (!n && o->smooth > 0)
        return HS_FAIL(USAGE, "%s: --smooth has no norm to fold into: the residual stream reads what its norms make", m->dir);
    return HS_OK;
}

// ---- the whole

static hs_status write_quantized(const hs_cli *cli, hs_export_model *m, const hs_calibration *c, const hs_quantize_opts *opts)
{
    const quantize_options *o = cli->options;
    hs_quantizing *q;
    HS_TRY(hs_quantizing_new(&q, m, cli->table->families, opts, c->observer, c->observer ? c->session.model->params : NULL));
    const hs_status st = hs_quantizing_write(q, o->output, o->overwrite);
    if (st == HS_OK)
        report(q, o, c, m);
    hs_quantizing_free(q);
    return st;
}

// scales: the caller's to free.
static hs_status take_trained(const hs_cli *cli, const hs_export_model *m, hs_quantize_opts *opts, float **scales)
{
    const quantize_options *o = cli->options;
    int n;
    if (!may_take_trained(o))
        return HS_OK;
    HS_TRY(hs_trained_scales(m->dir, m->params, scales, &n));
    if (!n && o->activations == ACTIVATIONS_TENSOR)
        return HS_FAIL(USAGE,
                       "--activations tensor needs --calib FILE, texts to calibrate with: %s was not trained by quant.activations tensor",
                       m->dir);
    if (n)
        opts->rows = false, opts->x_scale = *scales;
    return HS_OK;
}

static hs_status quantize(const hs_cli *cli, hs_export_model *m, hs_calibration *c, float **scales)
{
    const quantize_options *o = cli->options;
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_quantize_opts opts = opts_of(o);
    hs_quant_trials trials = { 0 };
    hs_gate gate = { 0 };
    hs_graph *g;
    if (o->gate[0]) // before anything runs
        HS_TRY(hs_gate_parse(&gate, o->gate));
    HS_TRY(hs_export_model_open(m, cli->arg[0], o->common.accept_edited ? HS_CKPT_EDITED : 0, cli->table->families));
    if (m->info.coded)
        return HS_FAIL(USAGE, "%s is quantized already: take the checkpoint that it was made from", m->dir);
    HS_TRY(hs_new_folder_apart(o->output, m->dir));
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &eval, &g));
    hs_graph_free(g);
    HS_TRY(hs_export_model_load(m));
    HS_TRY(look_at(cli, m, c));
    HS_TRY(take_trained(cli, m, &opts, scales));
    const hs_quant_trials of = { .cli = cli,
                                 .from = m,
                                 .opts = opts,
                                 .seen = c->observer,
                                 .seen_params = c->observer ? c->session.model->params : NULL,
                                 .data = o->gate_data };
    hs_status st = try_out(&trials, &of, o, &gate, &opts);
    if (st == HS_OK)
        st = write_quantized(cli, m, c, &opts);
    hs_quant_trials_close(&trials);
    return st;
}

static hs_status run_pq(const hs_cli *cli)
{
    const quantize_options *o = cli->options;
    if (!o->output[0])
        return HS_FAIL(USAGE, "quantize needs --output DIR");
    return hs_quantize_pq_run(cli, &(hs_quantize_pq){ .checkpoint = cli->arg[0],
                                                      .output = o->output,
                                                      .products = { .product = { .block = (int)o->block,
                                                                                 .centroids = (int)o->centroids,
                                                                                 .iterations = HS_PRODUCT_ITERATIONS,
                                                                                 .seed = HS_PRODUCT_SEED },
                                                                    .tables = o->embeddings != HS_TABLES_NO,
                                                                    .skip = o->skip[0] ? o->skip : NULL },
                                                      .want = o->common.accept_edited ? HS_CKPT_EDITED : 0,
                                                      .overwrite = o->overwrite,
                                                      .layers = o->layers,
                                                      .json = o->common.json });
}

static hs_status run_quantize(const hs_cli *cli)
{
    hs_export_model m = { 0 };
    hs_calibration c = { 0 };
    float *scales = NULL;
    hs_process_outlive_output();
    if (((const quantize_options *)cli->options)->width == PQ)
        return run_pq(cli);
    HS_TRY(check(cli));
    const hs_status st = quantize(cli, &m, &c, &scales);
    free(scales);
    hs_calibration_close(&c);
    hs_export_model_close(&m);
    return st;
}

#define AT(field) .offset = offsetof(quantize_options, field)
static const hs_key keys[] = {
    { .name = "bits",
      .type = HS_KEY_CHOICE,
      AT(width),
      .value = "w8a8",
      .choices = "w8a8|w8|w4|pq",
      .help = "w8a8: products of 8-bit integers, a scale for each output; w8, w4: weights in blocks of 32 with a scale each; pq: blocks of "
              "--block as one byte each, an index of 256 centroids (k-means), which are values again when it is opened" },
    { .name = "block", .type = HS_KEY_INT, AT(block), .value = "8", .min = 1, .max = 64, .help = "pq: values that an index stands for" },
    { .name = "centroids", .type = HS_KEY_INT, AT(centroids), .value = "256", .min = 2, .max = 256, .help = "pq: of a matrix" },
    { .name = "output", .type = HS_KEY_STRING, AT(output), .value = "", .help = "folder to write, new or empty; also -o" },
    { .name = "calib",
      .type = HS_KEY_STRING,
      AT(calib),
      .value = "",
      .help =
          "w8a8: texts whose activations set one scale for each product; of a model with a task any file that predict takes, else lines" },
    { .name = "examples", .type = HS_KEY_INT, AT(examples), .value = "0", .min = 0, .max = 1e9, .help = "of --calib; 0: all of them" },
    { .name = "method",
      .type = HS_KEY_CHOICE,
      AT(method),
      .value = "percentile",
      .choices = HS_CALIB_WORDS,
      .help = "how a scale follows from the activations that were seen" },
    { .name = "percentile",
      .type = HS_KEY_REAL,
      AT(percentile),
      .value = "99.99",
      .min = 50,
      .max = 100,
      .unit = "%",
      .help = "of the magnitudes seen are not clipped" },
    { .name = "round",
      .type = HS_KEY_CHOICE,
      AT(round),
      .value = "nearest",
      .choices = HS_QUANT_ROUND_WORDS,
      .help = "how a weight's codes are chosen: each to the nearest; w4 by the best scale of each block (search); by what changes outputs "
              "on --calib least (gptq, awq)" },
    { .name = "smooth",
      .type = HS_KEY_REAL,
      AT(smooth),
      .value = "0",
      .min = 0,
      .max = 1,
      .help =
          "SmoothQuant: how much of the range of large channels goes into the weights, by the norm before them; 0: none, 0.5 is usual" },
    { .name = "activations",
      .type = HS_KEY_CHOICE,
      AT(activations),
      .value = "auto",
      .choices = "auto|tensor|token",
      .help = "w8a8: one scale for a tensor, calibrated, or one for each token, found as it comes; auto: tensor with --calib, and of "
              "a checkpoint that was trained by quant.activations tensor, which has its scales" },
    { .name = "gelu-most",
      .type = HS_KEY_REAL,
      AT(gelu_most),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .help = "what a GELU puts out is clipped there; 0: as the method says (10: as NVIDIA's demoBERT)" },
    { .name = "embeddings",
      .type = HS_KEY_CHOICE,
      AT(embeddings),
      .value = "auto",
      .choices = "auto|yes|no",
      .help = "tables of tokens, too; auto: with w8, w4 and pq" },
    { .name = "skip",
      .type = HS_KEY_STRING,
      AT(skip),
      .value = "",
      .help = "parameters that stay f32: names, scopes, with * and ?, separated by commas (l0,*.out*)" },
    { .name = "gate",
      .type = HS_KEY_STRING,
      AT(gate),
      .value = "",
      .help = "what the quantized model must keep, else nothing is written: NAME>=X, NAME<=X or NAME drop<=X, separated by commas; names "
              "as eval has them with --json (accuracy drop<=0.005,loss<=0.4)" },
    { .name = "gate.data", .type = HS_KEY_STRING, AT(gate_data), .value = "", .help = "what it is measured on, as eval --data" },
    { .name = "auto",
      .type = HS_KEY_BOOL,
      AT(best),
      .value = "false",
      .help = "keep as many weights in f32 as --gate asks for, those first that cost most for their size" },
    { .name = "sensitivity",
      .type = HS_KEY_STRING,
      AT(sensitivity),
      .value = "",
      .help = "folder for sensitivity.json and .png: the loss with each weight alone as codes" },
    { .name = "layers", .type = HS_KEY_BOOL, AT(layers), .value = "false", .help = "a line for each matrix" },
    { .name = "overwrite",
      .type = HS_KEY_BOOL,
      AT(overwrite),
      .value = "false",
      .help = "replace a folder that holds files of an export and nothing else" },
    HS_CHECKPOINT_KEYS(quantize_options),
    HS_COMPUTE_KEYS_OF(quantize_options, HS_DTYPE_HELP_F32),
    HS_COMMON_KEYS(quantize_options),
};
static const hs_schema schema = HS_SCHEMA(keys, quantize_options);

const hs_command hs_cmd_quantize = {
    .name = "quantize",
    .arguments = "CHECKPOINT",
    .summary = "keep the weights of a checkpoint in 8 or 4 bits",
    .examples = "halfstep quantize runs/sst2 --bits w8a8 --calib train.tsv --examples 512 -o sst2-int8\n"
                "halfstep quantize runs/quickstart --bits w4 -o quickstart-w4",
    .notes =
        "CHECKPOINT is anything that opens here, and so is what is written: a directory of Hugging Face whose config.json has a\n"
        "quantization_config as compressed-tensors writes it. predict, eval, generate and embed take it like any other.\n"
        "Products of codes are exact: their bits are the same on every CPU.\n"
        "--gate measures the checkpoint and what it becomes by eval; where it does not pass nothing is written, and the weights are named\n"
        "that cost most, each as codes alone.\n"
        "With --json: output, bits, parameters, coded, megabytes, megabytes_f32, worst_error, worst_of, examples, tokens.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_quantize,
};

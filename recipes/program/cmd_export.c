// export: a checkpoint in a form that other tools open.
#include "core/base/log.h"
#include "data/checkpoint/new_folder.h"
#include "data/checkpoint/peft.h"
#include "infer/export/export.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include "recipes/train/run_dir.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef enum form { FORM_SAFETENSORS, FORM_ONNX, FORM_GGUF, FORMS } form;
#define FORM_WORDS "safetensors|onnx|gguf"
static const char *const form_words[FORMS] = { "safetensors", "onnx", "gguf" };

typedef struct export_options {
    hs_common common;
    hs_string output;
    int to, dtype;
    bool hidden, past, beside, overwrite;
    int64_t shard_size;
} export_options;

static const hs_dtype dtypes[] = { [HS_EXPORT_F32] = HS_F32, [HS_EXPORT_BF16] = HS_BF16, [HS_EXPORT_F16] = HS_F16 };
#define DTYPE_WORDS "f32|bf16|f16|q8_0|q4_0|q4_k"
static const char *const dtype_words[] = { "f32", "bf16", "f16", "q8_0", "q4_0", "q4_k" };

// Options that are of one form alone.
static const struct {
    const char *option;
    form of;
} of_form[] = { { "hidden", FORM_ONNX }, { "past", FORM_ONNX }, { "external-data", FORM_ONNX }, { "shard-size", FORM_SAFETENSORS } };

static hs_status check(const hs_cli *cli)
{
    const export_options *o = cli->options;
    if (!o->output[0])
        return HS_FAIL(USAGE, "export needs --output DIR");
    for (int i = 0; i < HS_COUNT(of_form); i++)
        if (hs_cli_given(cli, of_form[i].option) && of_form[i].of != (form)o->to)
            return HS_FAIL(USAGE, "--%s is of --to %s", of_form[i].option, form_words[of_form[i].of]);
    if (o->to != FORM_GGUF && o->dtype >= HS_EXPORT_Q8_0)
        return HS_FAIL(USAGE, "--dtype %s is of --to gguf", dtype_words[o->dtype]);
    if (o->to == FORM_ONNX && dtypes[o->dtype] == HS_BF16)
        return HS_FAIL(USAGE, "--dtype bf16 is not of --to onnx, where few machines compute in it: f32 or f16");
    return HS_OK;
}

static hs_status export_safetensors(hs_export_model *m, const hs_cli *cli)
{
    const export_options *o = cli->options;
    const hs_export_opts e = { .dtype = dtypes[o->dtype], .shard_bytes = (uint64_t)o->shard_size * 1000000, .overwrite = o->overwrite };
    const hs_arch_shape shape = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_graph *g;
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &shape, &g));
    hs_graph_free(g);
    HS_TRY(hs_export_model_load(m));
    return hs_sentence_export(o->output, &e, &(hs_ckpt_opts){ .files = m->info.files }, m->params, &m->info, m->tokenizer, &m->sentence,
                              m->path, hs_arch_int(m->arch, "model.width"));
}

static hs_status export_onnx(hs_export_model *m, const hs_cli *cli)
{
    const export_options *o = cli->options;
    hs_export_said said;
    HS_TRY(hs_export_onnx(m, o->output,
                          &(hs_export_onnx_opts){ .version = HS_VERSION,
                                                  .dtype = dtypes[o->dtype],
                                                  .hidden = o->hidden,
                                                  .past = o->past,
                                                  .beside = o->beside,
                                                  .overwrite = o->overwrite },
                          &said));
    if (said.left_out && !o->hidden)
        hs_warn("%s: %d parameter%s left out, by which nothing in the graph is computed (the chain of model.crf: what comes out are its "
                "scores)",
                m->dir, said.left_out, said.left_out == 1 ? " is" : "s are");
    if (said.rows_rounded)
        hs_warn("%s: %d products of 8-bit integers have a scale for each token, which ONNX has no form for: there weights alone are in 8 "
                "bits; quantize with --calib makes scales that it has",
                m->dir, said.rows_rounded);
    return HS_OK;
}

// GGUF has the pooling, and nothing else of what a folder of sentence-transformers says.
static void tell_sentences(const hs_export_model *m, const export_options *o, bool pooled)
{
    static const char *const words[HS_POOLINGS] = { "mean", "cls", "max" };
    const hs_sentence *how = &m->sentence;
    if (!hs_sentence_whole(how) || (pooled && !how->normalize && !how->prompt[0]))
        return;
    hs_warn("%s makes vectors of texts (pooling %s%s%s), of which %s says %s: whoever reads it must be told", m->path, words[how->pooling],
            how->normalize ? ", normalized" : "", how->prompt[0] ? ", behind a prompt" : "", o->output,
            pooled ? "the pooling alone" : "nothing");
}

static hs_status export_gguf(hs_export_model *m, const hs_cli *cli)
{
    const export_options *o = cli->options;
    hs_export_said said;
    HS_TRY(hs_export_gguf(
        m, o->output,
        &(hs_export_gguf_opts){ .type = (hs_export_type)o->dtype, .codes = !hs_cli_given(cli, "dtype"), .overwrite = o->overwrite },
        &said));
    if (said.narrow)
        hs_warn("%s: %d matrices have rows that are no multiple of 256, a block of q4_k: they are q4_0", m->dir, said.narrow);
    if (said.left_out)
        hs_warn("%s: %d parameters of its heads are left out: GGUF has encoders and writers alone", m->dir, said.left_out);
    if (said.tokenizer[0])
        hs_warn("%s/model.gguf has no tokenizer: %s", o->output, said.tokenizer);
    tell_sentences(m, o, said.pooling);
    return HS_OK;
}

static void report(const hs_export_model *m, const hs_cli *cli)
{
    const export_options *o = cli->options;
    const bool codes = m->codes && (o->to != FORM_GGUF || !hs_cli_given(cli, "dtype"));
    const char *const dtype = codes ? "codes" : dtype_words[o->dtype];
    char what[256];
    const int64_t n = (int64_t)hs_params_count(m->params);
    hs_arch_describe(m->arch, what, sizeof what);
    if (o->common.json)
        hs_line_print(json_pack("{s:s, s:s, s:s, s:s, s:I}", "output", o->output, "to", form_words[o->to], "model", m->arch.family->name,
                                "dtype", dtype, "parameters", (json_int_t)n));
    else
        printf("%s: %s of %lld parameters (%s), %s as %s\n", o->output, m->arch.family->title, (long long)n, what, dtype,
               form_words[o->to]);
}

// Before anything is written: neither the checkpoint nor the base of an adapter is where the export goes.
static hs_status check_apart(const hs_export_model *m, const char *output)
{
    char base[HS_PATH];
    HS_TRY(hs_peft_base(m->dir, base));
    HS_TRY(hs_new_folder_apart(output, m->dir));
    return hs_new_folder_apart(output, base);
}

// What of a folder of sentence-transformers does not come along.
static void tell_left_out(const hs_export_model *m, const export_options *o)
{
    if (m->sentence_error[0])
        hs_warn("%s: how it makes vectors of texts is left out: %s", m->path, m->sentence_error);
    else if (m->sentence.found && !m->sentence.pooling_known)
        hs_warn("%s makes vectors of texts by the pooling %s, which is not here and which %s does not say", m->path,
                m->sentence.pooling_asked, o->output);
}

static hs_status run_export(const hs_cli *cli)
{
    static hs_status (*const exports[FORMS])(hs_export_model *, const hs_cli *) = { export_safetensors, export_onnx, export_gguf };
    const export_options *o = cli->options;
    hs_export_model m = { 0 };
    hs_process_outlive_output();
    HS_TRY(check(cli));
    hs_status st = hs_export_model_open(&m, cli->arg[0], o->common.accept_edited ? HS_CKPT_EDITED : 0, cli->table->families);
    if (st == HS_OK)
        st = check_apart(&m, o->output);
    if (st == HS_OK && !m.tokenizer && hs_tokenizer_found(m.dir))
        hs_warn("its tokenizer is left out: %s", m.tokenizer_error);
    if (st == HS_OK)
        st = exports[o->to](&m, cli);
    if (st == HS_OK)
        tell_left_out(&m, o);
    if (st == HS_OK)
        report(&m, cli);
    hs_export_model_close(&m);
    return st;
}

#define AT(field) .offset = offsetof(export_options, field)
static const hs_key keys[] = {
    { .name = "to", .type = HS_KEY_CHOICE, AT(to), .value = "safetensors", .choices = FORM_WORDS, .help = "the form" },
    { .name = "output", .type = HS_KEY_STRING, AT(output), .value = "", .help = "folder to write, new or empty; also -o" },
    { .name = "dtype",
      .type = HS_KEY_CHOICE,
      AT(dtype),
      .value = "f32",
      .choices = DTYPE_WORDS,
      .help = "of the weights; q8_0, q4_0, q4_k: gguf" },
    { .name = "hidden",
      .type = HS_KEY_BOOL,
      AT(hidden),
      .value = "false",
      .help = "onnx: last hidden states instead of what heads make of them; of a model without a head always" },
    { .name = "past",
      .type = HS_KEY_BOOL,
      AT(past),
      .value = "true",
      .help = "onnx, of a model that writes texts: keys and values of the tokens before go in and come out" },
    { .name = "external-data",
      .type = HS_KEY_BOOL,
      AT(beside),
      .value = "false",
      .help = "onnx: weights in a second file, model.onnx_data; of more than 2 GB always" },
    { .name = "shard-size",
      .type = HS_KEY_INT,
      AT(shard_size),
      .value = "0",
      .min = 0,
      .max = 1e9,
      .unit = "MB",
      .help = "safetensors: of a file at most; 0: one file" },
    { .name = "overwrite",
      .type = HS_KEY_BOOL,
      AT(overwrite),
      .value = "false",
      .help = "replace a folder that holds files of an export and nothing else" },
    HS_CHECKPOINT_KEYS(export_options),
    HS_COMMON_KEYS(export_options),
};
static const hs_schema schema = HS_SCHEMA(keys, export_options);

const hs_command hs_cmd_export = {
    .name = "export",
    .arguments = "CHECKPOINT",
    .summary = "write a checkpoint in a form that other tools open",
    .examples = "halfstep export runs/bert-mini --to onnx -o bert-mini-onnx\n"
                "halfstep export runs/quickstart --to gguf --dtype q8_0 -o quickstart-gguf\n"
                "halfstep export runs/quickstart --to safetensors --dtype bf16 -o quickstart-bf16",
    .notes =
        "CHECKPOINT is anything that opens here, a published encoder too.\n"
        "safetensors: a directory of transformers, of sentence-transformers where CHECKPOINT is one (pooling, normalization, lengths,\n"
        "prompts). onnx: model.onnx beside config.json, the tokenizer and what such a folder says, opset 17; batch_size and\n"
        "sequence_length are free, inputs and outputs are named as transformers' exporter names them.\n"
        "gguf: model.gguf for llama.cpp, of GPT-2 and BERT, with its tokenizer; heads are left out.\n"
        "What `halfstep quantize` made stays in 8 and 4 bits: in onnx by QuantizeLinear and DequantizeLinear, blocks by com.microsoft's\n"
        "MatMulNBits; in gguf blocks as q8_0 and q4_0, to the bit, unless --dtype says otherwise.\n"
        "With --json: output, to, model, dtype, parameters.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_export,
};

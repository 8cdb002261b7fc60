// import: another tool's file as a directory of transformers that opens here.
#include "core/base/log.h"
#include "infer/import/import.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include <jansson.h>
#include <stdio.h>

typedef struct import_options {
    hs_common common;
    hs_string output, config, tokenizer;
    bool overwrite;
} import_options;

static hs_status run_import(const hs_cli *cli)
{
    const import_options *o = cli->options;
    hs_import_said said;
    hs_process_outlive_output();
    if (!o->output[0])
        return HS_FAIL(USAGE, "import needs --output DIR");
    HS_TRY(hs_import(cli->arg[0], o->output, cli->table->families,
                     &(hs_import_opts){ .config = o->config, .tokenizer = o->tokenizer, .overwrite = o->overwrite }, &said));
    if (!said.tokenizer)
        hs_warn("%s has no tokenizer: %s has none, and none was given; --tokenizer DIR takes one along", o->output, cli->arg[0]);
    if (o->common.json)
        hs_line_print(json_pack("{s:s, s:s, s:s, s:I, s:b}", "output", o->output, "from", said.from, "model", said.title, "parameters",
                                (json_int_t)said.parameters, "tokenizer", said.tokenizer));
    else
        printf("%s: %s of %lld parameters (%s) from %s\n", o->output, said.title, (long long)said.parameters, said.what, said.from);
    return HS_OK;
}

#define AT(field) .offset = offsetof(import_options, field)
static const hs_key keys[] = {
    { .name = "output", .type = HS_KEY_STRING, AT(output), .value = "", .help = "folder to write, new or empty; also -o" },
    { .name = "config",
      .type = HS_KEY_STRING,
      AT(config),
      .value = "",
      .help = "config.json of an ONNX model; without it the one beside it is read, or what the graph tells" },
    { .name = "tokenizer", .type = HS_KEY_STRING, AT(tokenizer), .value = "", .help = "folder of the tokenizer, where the file has none" },
    { .name = "overwrite",
      .type = HS_KEY_BOOL,
      AT(overwrite),
      .value = "false",
      .help = "replace a folder that holds files of an export and nothing else" },
    HS_COMMON_KEYS(import_options),
};
static const hs_schema schema = HS_SCHEMA(keys, import_options);

const hs_command hs_cmd_import = {
    .name = "import",
    .arguments = "FILE|DIR",
    .summary = "make a checkpoint of another tool's file",
    .examples = "halfstep import gpt2-q8_0.gguf -o gpt2\n"
                "halfstep import model.onnx --tokenizer bert-base -o encoder\n"
                "halfstep import gpt2_124M.bin --tokenizer gpt2 -o gpt2",
    .notes =
        "GGUF of GPT-2 and BERT (F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K); ONNX of encoders and GPT-2 as PyTorch's exporters leave them, also where\n"
        "weights have no names or lie in 8 or 4 bits, not where a tool has fused the graph; checkpoints of llm.c. What comes out is a\n"
        "directory of transformers in f32: its tensors are held against the model first, and one line tells all that does not fit.\n"
        "With --json: output, from, model, parameters, tokenizer.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_import,
};

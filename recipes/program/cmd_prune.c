// prune: a checkpoint with values left out, as a directory of transformers that opens and trains here as any other.
#include "core/base/log.h"
#include "data/checkpoint/new_folder.h"
#include "data/checkpoint/peft.h"
#include "infer/prune/prune.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct prune_options {
    hs_common common;
    hs_string output, pattern, only, skip;
    bool overwrite;
} prune_options;

static hs_status check(const prune_options *o)
{
    if (!o->pattern[0])
        return HS_FAIL(USAGE, "prune needs --pattern 2:4");
    if (strcmp(o->pattern, "2:4") != 0)
        return HS_FAIL(USAGE, "--pattern is %s, allowed 2:4", o->pattern);
    if (!o->output[0])
        return HS_FAIL(USAGE, "prune needs --output DIR");
    return HS_OK;
}

// Before any work is done: neither the checkpoint nor the base of an adapter is where the result goes.
static hs_status check_apart(const hs_export_model *m, const prune_options *o)
{
    char base[HS_PATH];
    hs_new_folder f;
    HS_TRY(hs_peft_base(m->dir, base));
    HS_TRY(hs_new_folder_apart(o->output, m->dir));
    HS_TRY(hs_new_folder_apart(o->output, base));
    HS_TRY(hs_new_folder_begin(&f, o->output, o->overwrite)); // may it be written?
    hs_new_folder_discard(&f);
    return HS_OK;
}

static hs_status load(hs_export_model *m)
{
    const hs_arch_shape shape = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_graph *g;
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &shape, &g));
    hs_graph_free(g);
    return hs_export_model_load(m);
}

static hs_status write(const hs_export_model *m, const prune_options *o)
{
    const hs_export_opts e = { .dtype = HS_F32, .overwrite = o->overwrite };
    return hs_sentence_export(o->output, &e, &(hs_ckpt_opts){ .files = m->info.files }, m->params, &m->info, m->tokenizer, &m->sentence,
                              m->path, hs_arch_int(m->arch, "model.width"));
}

static void report(const hs_export_model *m, const prune_options *o, const hs_pruned *p)
{
    const int64_t all = (int64_t)hs_params_count(m->params);
    const double kept = p->magnitude > 0 ? p->kept / p->magnitude : 0;
    if (o->common.json)
        hs_line_print(json_pack("{s:s, s:s, s:s, s:s, s:I, s:i, s:I, s:I, s:o}", "output", o->output, "model", m->arch.family->name,
                                "pattern", m->info.sparsity.pattern, "weights", m->info.sparsity.weights, "parameters", (json_int_t)all,
                                "pruned", p->weights, "values", (json_int_t)p->values, "zeros", (json_int_t)p->zeros, "kept",
                                hs_line_real(kept)));
    else
        printf("%s: %s of %lld parameters, %s in %d weight%s: %lld of their %lld values are zero, %.2f %% of their magnitude stays\n",
               o->output, m->arch.family->title, (long long)all, m->info.sparsity.pattern, p->weights, hs_plural(p->weights),
               (long long)p->zeros, (long long)p->values, 100 * kept);
}

static hs_status prune(hs_export_model *m, const prune_options *o)
{
    hs_pruned said;
    HS_TRY(check_apart(m, o));
    if (!m->tokenizer && hs_tokenizer_found(m->dir))
        hs_warn("its tokenizer is left out: %s", m->tokenizer_error);
    HS_TRY(load(m));
    HS_TRY(hs_prune_weights(m, &(hs_prune_opts){ .only = o->only, .skip = o->skip }, &said));
    HS_TRY(write(m, o));
    report(m, o, &said);
    return HS_OK;
}

static hs_status run_prune(const hs_cli *cli)
{
    const prune_options *o = cli->options;
    hs_export_model m = { 0 };
    hs_process_outlive_output();
    HS_TRY(check(o));
    hs_status st = hs_export_model_open(&m, cli->arg[0], o->common.accept_edited ? HS_CKPT_EDITED : 0, cli->table->families);
    if (st == HS_OK)
        st = prune(&m, o);
    hs_export_model_close(&m);
    return st;
}

#define AT(field) .offset = offsetof(prune_options, field)
static const hs_key keys[] = {
    { .name = "pattern",
      .type = HS_KEY_STRING,
      AT(pattern),
      .value = "",
      .help = "2:4: two in every four values along the input of a weight become zero, the smaller ones" },
    { .name = "output", .type = HS_KEY_STRING, AT(output), .value = "", .help = "folder to write, new or empty; also -o" },
    { .name = "only",
      .type = HS_KEY_STRING,
      AT(only),
      .value = "",
      .help = "these weights alone: names or scopes, separated by commas, with * and ?, as in train.freeze (halfstep plan lists them)" },
    { .name = "skip", .type = HS_KEY_STRING, AT(skip), .value = "", .help = "not these" },
    { .name = "overwrite",
      .type = HS_KEY_BOOL,
      AT(overwrite),
      .value = "false",
      .help = "replace a folder that holds files of an export and nothing else" },
    HS_CHECKPOINT_KEYS(prune_options),
    HS_COMMON_KEYS(prune_options),
};
static const hs_schema schema = HS_SCHEMA(keys, prune_options);

const hs_command hs_cmd_prune = {
    .name = "prune",
    .arguments = "CHECKPOINT",
    .summary = "leave values out of a checkpoint's weights",
    .examples = "halfstep prune runs/sst2 --pattern 2:4 -o sst2-sparse\n"
                "halfstep prune path/to/bert --pattern 2:4 --skip l0,l11 -o bert-sparse\n"
                "halfstep finetune sequence --init_from bert-sparse --data.train train.tsv --data.val dev.tsv   # the zeros stay",
    .notes =
        "CHECKPOINT is anything that opens here. The result is a directory of transformers, with the zeros in place, that opens here and\n"
        "there as any other. Its config.json says which weights were pruned (\"sparsity\"): finetune and pretrain from it, and from what\n"
        "they write, keep the zeros without being asked.\n"
        "Pruned are weights of layers with a multiple of 8 outputs and of 16 inputs; embeddings and heads only where --only names them.\n"
        "With --json: output, model, pattern, weights (patterns of names), parameters, pruned, values, zeros, kept (of the magnitude).",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_prune,
};

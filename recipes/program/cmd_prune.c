// prune: a checkpoint with values, heads or columns left out, as a directory of transformers that opens and trains here as any other; and
// the training that comes behind it.
#include "core/base/log.h"
#include "data/checkpoint/new_folder.h"
#include "data/checkpoint/peft.h"
#include "infer/prune/narrowed.h"
#include "infer/prune/prune.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include "recipes/train/importance.h"
#include "recipes/train/trainer.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum method { METHOD_MAGNITUDE, METHOD_MOVEMENT } method;

typedef struct prune_options {
    hs_common common;
    hs_string output, pattern, only, skip, recipe, out;
    double heads, ffn;
    int method;
    int64_t examples;
    bool permute, overwrite;
} prune_options;

static bool narrows(const prune_options *o) { return o->heads > 0 || o->ffn > 0; }

// ---- what goes together
static hs_status check_pattern(const hs_cli *cli)
{
    static const char *const of_narrow[] = { "method", "examples" }, *const of_pattern[] = { "permute", "only", "skip" };
    const prune_options *o = cli->options;
    if (!o->pattern[0] && !narrows(o))
        return HS_FAIL(USAGE, "prune needs --pattern 2:4, or the share of --heads or --ffn that is left out");
    if (o->pattern[0] && narrows(o))
        return HS_FAIL(USAGE, "--pattern and --%s are two steps: heads and columns first, then the pattern",
                       o->heads > 0 ? "heads" : "ffn");
    if (o->pattern[0] && strcmp(o->pattern, "2:4") != 0)
        return HS_FAIL(USAGE, "--pattern is %s, allowed 2:4", o->pattern);
    for (int i = 0; i < HS_COUNT(of_narrow); i++)
        if (o->pattern[0] && hs_cli_given(cli, of_narrow[i]))
            return HS_FAIL(USAGE, "--%s is of --heads and --ffn", of_narrow[i]);
    for (int i = 0; i < HS_COUNT(of_pattern); i++)
        if (!o->pattern[0] && hs_cli_given(cli, of_pattern[i]))
            return HS_FAIL(USAGE, "--%s is of --pattern", of_pattern[i]);
    return HS_OK;
}

static hs_status check(const hs_cli *cli)
{
    const prune_options *o = cli->options;
    HS_TRY(check_pattern(cli));
    if (!o->output[0])
        return HS_FAIL(USAGE, "prune needs --output DIR");
    if (o->method == METHOD_MOVEMENT && !o->recipe[0])
        return HS_FAIL(USAGE, "--method movement needs --recipe, on whose data.train it is measured");
    if (o->out[0] && !o->recipe[0])
        return HS_FAIL(USAGE, "--out needs --recipe, by which the result is trained");
    if (o->recipe[0] && !o->out[0] && o->method != METHOD_MOVEMENT)
        return HS_FAIL(USAGE, "--recipe is for --out RUN, which is trained by it, or for --method movement");
    if (cli->n_overrides && !o->recipe[0])
        return HS_FAIL(USAGE, "%s is a setting of training: --recipe says which", cli->override[0].where);
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

// Traced, so that all parameters are known, then loaded.
static hs_status load(hs_export_model *m, hs_graph **g)
{
    const hs_arch_shape shape = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &shape, g));
    return hs_export_model_load(m);
}

static hs_status write(const hs_export_model *m, const prune_options *o)
{
    const hs_export_opts e = { .dtype = HS_F32, .overwrite = o->overwrite };
    return hs_sentence_export(o->output, &e, &(hs_ckpt_opts){ .files = m->info.files }, m->params, &m->info, m->tokenizer, &m->sentence,
                              m->path, hs_arch_int(m->arch, "model.width"));
}

static void report_pattern(const hs_export_model *m, const prune_options *o, const hs_pruned *p)
{
    const int64_t all = (int64_t)hs_params_count(m->params);
    const double whole = p->magnitude > 0 ? p->magnitude : 1;
    char unmoved[64] = "";
    if (o->common.json) {
        hs_line_print(json_pack("{s:s, s:s, s:s, s:s, s:I, s:i, s:I, s:I, s:i, s:o}", "output", o->output, "model", m->arch.family->name,
                                "pattern", m->info.sparsity.pattern, "weights", m->info.sparsity.weights, "parameters", (json_int_t)all,
                                "pruned", p->weights, "values", (json_int_t)p->values, "zeros", (json_int_t)p->zeros, "permuted",
                                p->permuted, "kept", hs_line_real(p->kept / whole)));
        return;
    }
    if (p->permuted)
        snprintf(unmoved, sizeof unmoved, " (%.2f %% where none changed places)", 100 * p->kept_unmoved / whole);
    printf("%s: %s of %lld parameters, %s in %d weight%s: %lld of their %lld values are zero, %.2f %% of their magnitude stays%s\n",
           o->output, m->arch.family->title, (long long)all, m->info.sparsity.pattern, p->weights, hs_plural(p->weights),
           (long long)p->zeros, (long long)p->values, 100 * p->kept / whole, unmoved);
}

static void report_narrow(const hs_export_model *m, const prune_options *o, const hs_narrowed *n)
{
    if (o->common.json)
        hs_line_print(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "output", o->output, "model", m->arch.family->name,
                                "heads", (json_int_t)n->heads, "heads_before", (json_int_t)n->heads_before, "ff", (json_int_t)n->ff,
                                "ff_before", (json_int_t)n->ff_before, "parameters", (json_int_t)n->parameters, "parameters_before",
                                (json_int_t)n->parameters_before, "kept", hs_line_real(n->kept)));
    else
        printf(
            "%s: %s of %lld parameters, %lld before: in each layer %lld of %lld heads and %lld of %lld columns, with %.2f %% of their %s\n",
            o->output, m->arch.family->title, (long long)n->parameters, (long long)n->parameters_before, (long long)n->heads,
            (long long)n->heads_before, (long long)n->ff, (long long)n->ff_before, 100 * n->kept,
            o->method == METHOD_MOVEMENT ? "importance" : "magnitude");
}

// ---- the training beside it

// The settings of --recipe, from what was pruned. "same": those that the checkpoint was trained with.
static hs_status read_recipe(const hs_cli *cli, const hs_export_model *m, hs_config *c)
{
    const prune_options *o = cli->options;
    char file[4200];
    bool found;
    if (strcmp(o->recipe, "same") == 0) {
        HS_TRY(hs_path_join(file, "%s/train/config.yaml", m->dir));
        HS_TRY(hs_find_file(file, &found));
        if (!found)
            return HS_FAIL(USAGE, "--recipe same: %s has no train/config.yaml that says how it was trained", m->dir);
    } else {
        HS_TRY(hs_finetune_file(o->recipe, file, sizeof file));
    }
    return hs_cli_config(cli, file, c);
}

// A configuration that says what was the shape before says what it is now.
static hs_status take_shape(hs_config *c, const hs_export_model *m)
{
    static const char *const shape[] = { "model.heads", "model.head_width", "model.ff" };
    for (int i = 0; i < HS_COUNT(shape); i++)
        if (hs_config_arch(c).family == m->arch.family && hs_schema_find(m->arch.family->settings, NULL, shape[i]).key)
            HS_TRY(hs_config_set_int(c, shape[i], hs_arch_int(m->arch, shape[i]), "prune"));
    return HS_OK;
}

static hs_status measure(const hs_cli *cli, const hs_export_model *m, const hs_config *recipe, hs_importance **out)
{
    const prune_options *o = cli->options;
    hs_config *c = malloc(sizeof *c); // the trainer completes it
    if (!c)
        return HS_FAIL(MEMORY, "no memory for the configuration");
    *c = *recipe;
    hs_status st = hs_config_set(c, "train.init_from", m->dir, "CHECKPOINT");
    if (st == HS_OK)
        st = hs_importance_new(out, c, o->examples);
    if (st == HS_OK && !o->common.quiet && !o->common.json)
        printf("importance   |w dL/dw| of %lld examples\n", (long long)hs_importance_examples(*out));
    free(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status train(const hs_cli *cli, hs_config *c)
{
    const prune_options *o = cli->options;
    HS_TRY(hs_config_set(c, "train.init_from", o->output, "--output"));
    return hs_train(&(hs_train_opts){
        .config = c, .dir = o->out, .resume = "none", .overwrite = o->overwrite, .json = o->common.json, .quiet = o->common.quiet });
}

// Before any work is done: a run that is there is not trained over.
static hs_status check_run(const prune_options *o)
{
    char path[HS_PATH];
    if (!o->out[0] || o->overwrite)
        return HS_OK;
    HS_TRY(hs_path_join(path, "%s/checkpoints", o->out));
    return hs_is_dir(path) ? HS_FAIL(USAGE, "%s is a run already: another --out, or --overwrite", o->out) : HS_OK;
}

// ---- the whole
static hs_status change(const hs_cli *cli, hs_export_model *m, const hs_graph *g, hs_importance *worth)
{
    const prune_options *o = cli->options;
    hs_pruned pruned;
    hs_narrowed narrowed;
    if (narrows(o))
        HS_TRY(hs_narrow(m, g,
                         &(hs_narrow_opts){ .heads = o->heads, .ff = o->ffn, .worth = worth ? hs_importance_worth : NULL, .user = worth },
                         &narrowed));
    else
        HS_TRY(hs_prune_weights(m, g, &(hs_prune_opts){ .only = o->only, .skip = o->skip, .permute = o->permute }, &pruned));
    HS_TRY(write(m, o));
    if (narrows(o))
        report_narrow(m, o, &narrowed);
    else
        report_pattern(m, o, &pruned);
    return HS_OK;
}

// config: filled where there is a recipe.
static hs_status prune(const hs_cli *cli, hs_export_model *m, hs_config *config)
{
    const prune_options *o = cli->options;
    hs_graph *g = NULL;
    hs_importance *worth = NULL;
    HS_TRY(hs_export_model_open(m, cli->arg[0], o->common.accept_edited ? HS_CKPT_EDITED : 0, cli->table->families));
    HS_TRY(check_apart(m, o));
    HS_TRY(check_run(o));
    if (o->recipe[0])
        HS_TRY(read_recipe(cli, m, config));
    if (!m->tokenizer && hs_tokenizer_found(m->dir))
        hs_warn("its tokenizer is left out: %s", m->tokenizer_error);
    hs_status st = o->method == METHOD_MOVEMENT ? measure(cli, m, config, &worth) : HS_OK;
    if (st == HS_OK)
        st = load(m, &g);
    if (st == HS_OK)
        st = change(cli, m, g, worth);
    hs_graph_free(g);
    hs_importance_free(worth);
    if (st == HS_OK && o->out[0])
        st = take_shape(config, m);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status run_prune(const hs_cli *cli)
{
    const prune_options *o = cli->options;
    hs_export_model m = { 0 };
    hs_process_outlive_output();
    HS_TRY(check(cli));
    hs_config *config = calloc(1, sizeof *config);
    hs_status st = config ? prune(cli, &m, config) : HS_FAIL(MEMORY, "no memory for the configuration");
    hs_export_model_close(&m);
    if (st == HS_OK && o->out[0])
        st = train(cli, config);
    free(config);
    return st;
}

#define AT(field) .offset = offsetof(prune_options, field)
static const hs_key keys[] = {
    { .name = "pattern",
      .type = HS_KEY_STRING,
      AT(pattern),
      .value = "",
      .help = "2:4: two in every four values along the input of a weight become zero, the smaller ones" },
    { .name = "permute",
      .type = HS_KEY_BOOL,
      AT(permute),
      .value = "false",
      .help =
          "first change the order of channels inside feed-forwards and heads, which what the model computes does not depend on, so that "
          "more magnitude stays" },
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
    { .name = "heads",
      .type = HS_KEY_REAL,
      AT(heads),
      .value = "0",
      .min = 0,
      .max = 0.999,
      .help = "share of attention heads that is left out of every layer: matrices become smaller" },
    { .name = "ffn",
      .type = HS_KEY_REAL,
      AT(ffn),
      .value = "0",
      .min = 0,
      .max = 0.999,
      .help = "share of the columns inside feed-forwards that is left out" },
    { .name = "method",
      .type = HS_KEY_CHOICE,
      AT(method),
      .value = "magnitude",
      .choices = "magnitude|movement",
      .help = "which heads and columns go: those of the least sum |w|, or of the least sum |w dL/dw| over data of --recipe" },
    { .name = "examples",
      .type = HS_KEY_INT,
      AT(examples),
      .value = "2048",
      .min = 1,
      .max = 1e9,
      .help = "of data.train that movement is measured on, at most" },
    { .name = "recipe",
      .type = HS_KEY_STRING,
      AT(recipe),
      .value = "",
      .help = "settings of training: a task or a file, as finetune takes them; same: those that CHECKPOINT was trained with" },
    { .name = "out",
      .type = HS_KEY_STRING,
      AT(out),
      .value = "",
      .help = "then train the result by --recipe, from its first step on, into this folder of a run" },
    HS_COMPUTE_KEYS(prune_options),
    HS_CHECKPOINT_KEYS(prune_options),
    HS_COMMON_KEYS(prune_options),
};
static const hs_schema schema = HS_SCHEMA(keys, prune_options);

const hs_command hs_cmd_prune = {
    .name = "prune",
    .arguments = "CHECKPOINT",
    .summary = "leave values, heads or columns out of a checkpoint's weights",
    .examples =
        "halfstep prune runs/sst2 --pattern 2:4 -o sst2-sparse\n"
        "halfstep prune runs/sst2 --pattern 2:4 -o sst2-sparse --recipe same --out runs/sst2-sparse   # and its training once more\n"
        "halfstep prune path/to/bert --pattern 2:4 --permute --skip l0,l11 -o bert-sparse\n"
        "halfstep finetune sequence --init_from bert-sparse --data.train train.tsv --data.val dev.tsv   # the zeros stay\n"
        "halfstep prune runs/sst2 --heads 0.5 --ffn 0.5 -o sst2-half\n"
        "halfstep prune runs/sst2 --heads 0.5 --ffn 0.5 --method movement --recipe same -o sst2-half --out runs/sst2-half \\\n"
        "    --distill.teacher runs/sst2 --distill.hidden 1 --distill.hidden_map 1,2,3,4,5,6   # taught by what it was",
    .notes =
        "CHECKPOINT is anything that opens here. The result is a directory of transformers that opens here as any other.\n"
        "--pattern 2:4 leaves the zeros in place, so that it opens elsewhere too. config.json says which weights were pruned "
        "(\"sparsity\"):\n"
        "finetune and pretrain from it, and from what they write, keep the zeros without being asked. Pruned are weights of layers with a\n"
        "multiple of 8 outputs and of 16 inputs; embeddings and heads only where --only names them.\n"
        "--heads and --ffn make matrices smaller, alike in every layer (encoders): whole heads, columns by eights. Fewer columns open in\n"
        "transformers; fewer heads, which config.json calls \"pruned_heads\", in its versions 4, and in 5 nowhere.\n"
        "With --out the result is trained by --recipe as if it were new: the optimizer begins anew, the schedule is run through once "
        "more.\n"
        "Settings of it may follow as --section.key=value.\n"
        "With --json: output, model; of a pattern: pattern, weights (patterns of names), parameters, pruned, values, zeros, permuted "
        "(pairs\n"
        "of layers), kept (of the magnitude); else heads, ff, parameters, each with _before, and kept.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .takes_config = true,
    .run = run_prune,
};

// pretrain: from the command line to hs_train; what a run is stands in recipes/train.
#include "recipes/program/commands.h"
#include "recipes/train/trainer.h"
#include <stdlib.h>

typedef struct pretrain_options {
    hs_common common;
    hs_string out, resume, profile, profile_steps;
    bool overwrite;
} pretrain_options;

static hs_status run_pretrain(const hs_cli *cli)
{
    const pretrain_options *o = cli->options;
    hs_config *config = calloc(1, sizeof *config);
    char dir[HS_KEY_STRING_BYTES + 8];
    hs_status st = config ? hs_cli_config(cli, cli->arg[0], config) : HS_FAIL(MEMORY, "no memory for the configuration");
    if (st == HS_OK && hs_cli_given(cli, "out") && !o->out[0])
        st = HS_FAIL(USAGE, "--out is empty: name a folder, or leave the option out");
    if (st == HS_OK) {
        snprintf(dir, sizeof dir, "%s%s", o->out[0] ? "" : "runs/", o->out[0] ? o->out : config->train.name);
        st = hs_train(&(hs_train_opts){ .config = config,
                                        .dir = dir,
                                        .resume = o->resume,
                                        .profile = o->profile,
                                        .profile_steps = o->profile_steps,
                                        .parallel = cli->parallel,
                                        .overwrite = o->overwrite,
                                        .accept_edited = o->common.accept_edited,
                                        .json = o->common.json,
                                        .quiet = o->common.quiet });
    }
    free(config);
    return st;
}

static const hs_key keys[] = {
    { .name = "out",
      .type = HS_KEY_STRING,
      .offset = offsetof(pretrain_options, out),
      .value = "",
      .help =
          "folder of the run: checkpoints, metrics.jsonl, event files, loss.png, config.yaml (default runs/NAME of the configuration)" },
    { .name = "resume",
      .type = HS_KEY_STRING,
      .offset = offsetof(pretrain_options, resume),
      .value = "auto",
      .help = "auto: go on where the run in the folder stopped, or begin; none: begin anew; or the path of a checkpoint to go on from" },
    { .name = "overwrite",
      .type = HS_KEY_BOOL,
      .offset = offsetof(pretrain_options, overwrite),
      .value = "false",
      .help = "with --resume none or a path: remove the checkpoints that are in the way" },
    HS_PROFILE_KEYS(pretrain_options),
    HS_CHECKPOINT_KEYS(pretrain_options),
    HS_COMPUTE_KEYS(pretrain_options),
    HS_COMMON_KEYS(pretrain_options),
};
static const hs_schema schema = HS_SCHEMA(keys, pretrain_options);

const hs_command hs_cmd_pretrain = {
    .name = "pretrain",
    .arguments = "CONFIG.yaml",
    .summary = "train a model from text; a run that was stopped goes on",
    .examples =
        "halfstep pretrain shakespeare-char                                # a recipe that ships with Halfstep\n"
        "halfstep pretrain shakespeare-char --data.train=book.txt --out runs/book\n"
        "halfstep pretrain my.yaml --dtype bf16 --train.batch=8 --train.accumulate=4\n"
        "halfstep pretrain gpt2-124m --data.train=corpus.txt --train.init_from=path/to/gpt2   # its tokenizer too\n"
        "halfstep pretrain bert-mini --data.train=book.txt                 # an encoder, and its tokenizer, from a text\n"
        "halfstep pretrain bert-base --data.train=domain.txt --train.init_from=path/to/bert --phases.0.lr=5e-5 --phases.0.steps=2000\n"
        "halfstep pretrain my.yaml --resume none --overwrite               # begin anew in the same folder",
    .notes =
        "CONFIG.yaml is a file or the name of a shipped recipe: shakespeare-char, quickstart, gpt2-124m, -355m, -774m, -1558m, bert-tiny,\n"
        "-mini, -small, -medium, -base, -large, roberta-base, distilbert, albert-base, electra-small, ernie-base.\n"
        "A run may have phases (phases: in the file): lengths, batches, rates and data of their own; weights and moments go on, samples "
        "and\n"
        "schedule begin anew. It goes on anywhere in any of them.\n"
        "SIGTERM, SIGINT (Ctrl-C), SIGHUP and every other signal that would end it finish the step, save and exit with code 75; the same\n"
        "command then goes on, bit for bit. A reader of the output that goes away (| head) ends nothing.\n"
        "A second SIGINT, SIGTERM or SIGQUIT ends the program at once.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .takes_config = true,
    .many = hs_cli_many,
    .trains = true,
    .run = run_pretrain,
};

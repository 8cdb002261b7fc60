// distill: the trainer with a teacher beside it; what a teacher is stands in recipes/train/teacher.h.
#include "recipes/program/commands.h"
#include "recipes/train/trainer.h"
#include <stdlib.h>

typedef struct distill_options {
    hs_common common;
    hs_string teacher, init_from, out, resume, profile, profile_steps;
    bool overwrite;
} distill_options;

static hs_status run(const hs_cli *cli, hs_config *config)
{
    const distill_options *o = cli->options;
    char dir[HS_KEY_STRING_BYTES + 8];
    HS_TRY(hs_cli_config(cli, cli->arg[0], config));
    if (hs_cli_given(cli, "out") && !o->out[0])
        return HS_FAIL(USAGE, "--out is empty: name a folder, or leave the option out");
    if (!hs_config_learns(config))
        return HS_FAIL(USAGE, "there is no teacher: --teacher FOLDER names it (or distill.teacher in the configuration)");
    snprintf(dir, sizeof dir, "%s%s", o->out[0] ? "" : "runs/", o->out[0] ? o->out : config->train.name);
    return hs_train(&(hs_train_opts){ .config = config,
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

static hs_status run_distill(const hs_cli *cli)
{
    hs_config *config = calloc(1, sizeof *config);
    const hs_status st = config ? run(cli, config) : HS_FAIL(MEMORY, "no memory for the configuration");
    free(config);
    return st;
}

static const hs_key keys[] = {
    { .name = "teacher",
      .type = HS_KEY_STRING,
      .offset = offsetof(distill_options, teacher),
      .value = "",
      .help = "the model to learn from: a folder of transformers or a checkpoint (short for --distill.teacher)" },
    { .name = "init_from",
      .type = HS_KEY_STRING,
      .offset = offsetof(distill_options, init_from),
      .value = "",
      .help = "weights that the student begins with (short for --train.init_from); default: drawn, or distill.layers of the teacher" },
    { .name = "out",
      .type = HS_KEY_STRING,
      .offset = offsetof(distill_options, out),
      .value = "",
      .help =
          "folder of the run: checkpoints, metrics.jsonl, event files, loss.png, config.yaml (default runs/NAME of the configuration)" },
    { .name = "resume",
      .type = HS_KEY_STRING,
      .offset = offsetof(distill_options, resume),
      .value = "auto",
      .help = "auto: go on where the run in the folder stopped, or begin; none: begin anew; or the path of a checkpoint to go on from" },
    { .name = "overwrite",
      .type = HS_KEY_BOOL,
      .offset = offsetof(distill_options, overwrite),
      .value = "false",
      .help = "with --resume none or a path: remove the checkpoints that are in the way" },
    HS_PROFILE_KEYS(distill_options),
    HS_CHECKPOINT_KEYS(distill_options),
    HS_COMPUTE_KEYS(distill_options),
    HS_COMMON_KEYS(distill_options),
};
static const hs_schema schema = HS_SCHEMA(keys, distill_options);

const hs_command hs_cmd_distill = {
    .name = "distill",
    .arguments = "CONFIG.yaml",
    .summary = "train a student beside its teacher",
    .examples = "halfstep distill distilbert-distill --teacher path/to/bert-base --data.train=corpus.bin    # Sanh et al. 2019\n"
                "halfstep distill minilm-distill --teacher path/to/bert-base --data.train=corpus.bin        # relations alone, any width\n"
                "halfstep distill finetune-sequence --teacher runs/sst2 --init_from path/to/small --data.train train.tsv\n"
                "halfstep distill my.yaml --teacher path/to/bert --distill.layers=0,5,11 --distill.soft=1 --distill.temperature=4",
    .notes =
        "The student is what CONFIG.yaml says: a model that is pretrained, or one with a task.kind, whose teacher has a head for the same\n"
        "task. Its loss is a sum of distill.soft (logits), .hard (its own), .cosine and .hidden (hidden states: the last, or as\n"
        "distill.hidden_map pairs them) and .relation (query, key and value), each a mean of its own, each in metrics.jsonl. Tokenizer "
        "and\n"
        "vocabulary are the teacher's; layers may be copied from it (distill.layers). The teacher is only read: no gradients, no moments,\n"
        "and no dropout.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .takes_config = true,
    .many = hs_cli_many,
    .trains = true,
    .run = run_distill,
};

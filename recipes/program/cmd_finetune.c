// finetune: a task's settings, or a file's, to the same trainer that pretrains; a list of seeds is so many runs.
#include "core/base/log.h"
#include "data/base/file.h"
#include "parallel/parallel.h"
#include "recipes/program/commands.h"
#include "recipes/train/trainer.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SEEDS = 64 };

typedef struct finetune_options {
    hs_common common;
    hs_string init_from, out, resume, profile, profile_steps, seeds;
    bool overwrite;
} finetune_options;

static const char *const tasks[] = { "sequence", "pair", "regression", "multilabel", "tokens", "span", "lm" };

// ---- what is to be done
hs_status hs_finetune_file(const char *arg, char *file, size_t size)
{
    char path[4096];
    for (int i = 0; i < HS_COUNT(tasks); i++)
        if (strcmp(arg, tasks[i]) == 0) {
            snprintf(file, size, "finetune-%s", arg);
            return HS_OK;
        }
    if ((size_t)snprintf(file, size, "%s", arg) >= size)
        return HS_FAIL(USAGE, "the path %.60s... is too long", arg);
    if (hs_config_find(arg, path, sizeof path) == HS_OK)
        return HS_OK;
    char list[128] = "";
    for (int i = 0; i < HS_COUNT(tasks); i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", tasks[i]);
    const char *near = hs_nearest_word(arg, tasks, HS_COUNT(tasks));
    return HS_FAIL(USAGE, "%s is no task (%s), no file and no shipped recipe%s%s", arg, list, near ? "; nearest is " : "",
                   near ? near : "");
}

// ---- seeds: "1..5", "1,2,7", or both
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static hs_status parse_seeds(const char *text, int64_t seed[MOST_SEEDS], int *n)
{
    *n = 0;
    for (const char *p = text; *p;) {
        char *end;
        const long long first = strtoll(p, &end, 10);
        const bool range = strncmp(end, "..", 2) == 0, whole = is_digit(*p) && (!range || is_digit(end[2]));
        const long long last = range ? strtoll(end + 2, &end, 10) : first;
        if (!whole || (*end && *end != ',') || last < first)
            return HS_FAIL(USAGE, "--seeds is '%s': a list like 1..5 or 1,2,7 of numbers from 0 on", text);
        for (long long s = first; s <= last; s++) {
            if (*n == MOST_SEEDS)
                return HS_FAIL(USAGE, "--seeds %s are more than %d", text, MOST_SEEDS);
            for (int i = 0; i < *n; i++)
                if (seed[i] == s)
                    return HS_FAIL(USAGE, "--seeds is '%s': seed %lld is there twice, and is one run", text, s);
            seed[(*n)++] = s;
        }
        p = end + (*end == ',');
    }
    return *n ? HS_OK : HS_FAIL(USAGE, "--seeds is empty: a list like 1..5 or 1,2,7");
}

typedef struct spread {
    double mean, deviation; // of a sample: n - 1
} spread;

static spread spread_of(const hs_train_result *r, int n, size_t member)
{
    spread s = { 0 };
    for (int i = 0; i < n; i++)
        s.mean += *(const double *)((const char *)&r[i] + member) / n;
    for (int i = 0; i < n; i++)
        s.deviation += pow(*(const double *)((const char *)&r[i] + member) - s.mean, 2) / (n > 1 ? n - 1 : 1);
    s.deviation = sqrt(s.deviation);
    return s;
}

static json_t *seeds_json(const int64_t *seed, const hs_train_result *r, int n)
{
    const spread score = spread_of(r, n, offsetof(hs_train_result, score)), loss = spread_of(r, n, offsetof(hs_train_result, val_loss));
    json_t *runs = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(runs, json_pack("{s:I, s:o, s:o, s:I, s:o}", "seed", (json_int_t)seed[i], "score", hs_line_real(r[i].score),
                                              "val_loss", hs_line_real(r[i].val_loss), "step", (json_int_t)r[i].best_step, "seconds",
                                              hs_line_real(r[i].seconds)));
    return json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o}", "event", "seeds", "metric", r->metric, "n", n, "mean",
                     hs_line_real(score.mean), "deviation", hs_line_real(score.deviation), "val_loss_mean", hs_line_real(loss.mean),
                     "val_loss_deviation", hs_line_real(loss.deviation), "runs", runs);
}

static hs_status tell_seeds(const finetune_options *o, const char *dir, const int64_t *seed, const hs_train_result *r, int n)
{
    char path[4200];
    const spread s = spread_of(r, n, offsetof(hs_train_result, score));
    json_t *json = seeds_json(seed, r, n);
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    snprintf(path, sizeof path, "%s/seeds.json", dir);
    const hs_status st = text ? hs_file_save(path, text, strlen(text)) : HS_FAIL(MEMORY, "no memory for %s", path);
    free(text);
    if (o->common.json)
        hs_line_print(json);
    else
        json_decref(json);
    HS_TRY(st);
    if (o->common.json)
        return HS_OK;
    for (int i = 0; i < n; i++)
        printf("seed %-9lld %s %.4f, of step %lld of %lld\n", (long long)seed[i], r[i].metric, r[i].score, (long long)r[i].best_step,
               (long long)r[i].steps);
    printf("%d seed%s      %s mean %.4f, standard deviation %.4f: %s\n", n, hs_plural(n), r->metric, s.mean, s.deviation, path);
    return HS_OK;
}

// ---- runs
static hs_status one_run(const hs_cli *cli, hs_config *config, const char *dir, hs_train_result *result)
{
    const finetune_options *o = cli->options;
    return hs_train(&(hs_train_opts){ .config = config,
                                      .dir = dir,
                                      .resume = o->resume,
                                      .profile = o->profile,
                                      .profile_steps = o->profile_steps,
                                      .parallel = cli->parallel,
                                      .overwrite = o->overwrite,
                                      .accept_edited = o->common.accept_edited,
                                      .json = o->common.json,
                                      .quiet = o->common.quiet,
                                      .result = result });
}

static hs_status all_seeds(const hs_cli *cli, const hs_config *config, const char *dir)
{
    const finetune_options *o = cli->options;
    const bool tells = hs_parallel_world(cli->parallel)->rank == 0;
    hs_train_result result[MOST_SEEDS];
    int64_t seed[MOST_SEEDS];
    char own[4096];
    int n;
    HS_TRY(parse_seeds(o->seeds, seed, &n));
    if (strcmp(o->resume, "auto") != 0 && strcmp(o->resume, "none") != 0)
        return HS_FAIL(USAGE, "--resume %s is one checkpoint, --seeds are several runs: auto or none", o->resume);
    if (o->profile[0])
        return HS_FAIL(USAGE, "--profile is of one run, --seeds are several");
    if (strncmp(hs_config_where(config, "train.seed"), "--", 2) == 0)
        return HS_FAIL(USAGE, "--train.seed and --seeds are both given");
    hs_config *c = malloc(sizeof *c);
    if (!c)
        return HS_FAIL(MEMORY, "no memory for the configuration");
    hs_status st = HS_OK;
    for (int i = 0; i < n && st == HS_OK; i++) {
        *c = *config;
        snprintf(own, sizeof own, "%s/seed-%lld", dir, (long long)seed[i]);
        st = hs_config_set_int(c, "train.seed", seed[i], "--seeds");
        if (st == HS_OK && !o->common.quiet && !o->common.json && tells)
            printf("%sseed %lld\n", i ? "\n" : "", (long long)seed[i]);
        if (st == HS_OK)
            st = one_run(cli, c, own, &result[i]);
    }
    free(c);
    HS_TRY(st);
    if (!result[0].metric[0] || !tells)
        return HS_OK; // nothing was validated, so there is nothing to compare
    return tell_seeds(o, dir, seed, result, n);
}

static hs_status run(const hs_cli *cli, hs_config *config)
{
    const finetune_options *o = cli->options;
    char file[4096], dir[HS_KEY_STRING_BYTES + 8];
    HS_TRY(hs_finetune_file(cli->arg[0], file, sizeof file));
    HS_TRY(hs_cli_config(cli, file, config));
    if (hs_cli_given(cli, "out") && !o->out[0])
        return HS_FAIL(USAGE, "--out is empty: name a folder, or leave the option out");
    snprintf(dir, sizeof dir, "%s%s", o->out[0] ? "" : "runs/", o->out[0] ? o->out : config->train.name);
    if (!hs_config_labelled(config))
        return HS_FAIL(USAGE, "task.kind is none: finetune needs a task, halfstep pretrain trains on a text");
    return hs_cli_given(cli, "seeds") ? all_seeds(cli, config, dir) : one_run(cli, config, dir, NULL);
}

static hs_status run_finetune(const hs_cli *cli)
{
    hs_config *config = calloc(1, sizeof *config);
    const hs_status st = config ? run(cli, config) : HS_FAIL(MEMORY, "no memory for the configuration");
    free(config);
    return st;
}

static const hs_key keys[] = {
    { .name = "init_from",
      .type = HS_KEY_STRING,
      .offset = offsetof(finetune_options, init_from),
      .value = "",
      .help = "the model to fine-tune: a folder of transformers or a checkpoint (short for --train.init_from)" },
    { .name = "out",
      .type = HS_KEY_STRING,
      .offset = offsetof(finetune_options, out),
      .value = "",
      .help = "folder of the run: checkpoints, report, metrics.jsonl, loss.png, config.yaml (default runs/NAME of the configuration)" },
    { .name = "seeds",
      .type = HS_KEY_STRING,
      .offset = offsetof(finetune_options, seeds),
      .value = "",
      .help = "1..5 or 1,2,7: so many runs, one behind the other, in OUT/seed-N, and their mean and spread in OUT/seeds.json" },
    { .name = "resume",
      .type = HS_KEY_STRING,
      .offset = offsetof(finetune_options, resume),
      .value = "auto",
      .help = "auto: go on where the run in the folder stopped, or begin; none: begin anew; or the path of a checkpoint to go on from" },
    { .name = "overwrite",
      .type = HS_KEY_BOOL,
      .offset = offsetof(finetune_options, overwrite),
      .value = "false",
      .help = "with --resume none or a path: remove the checkpoints that are in the way" },
    HS_PROFILE_KEYS(finetune_options),
    HS_CHECKPOINT_KEYS(finetune_options),
    HS_COMPUTE_KEYS(finetune_options),
    HS_COMMON_KEYS(finetune_options),
};
static const hs_schema schema = HS_SCHEMA(keys, finetune_options);

const hs_command hs_cmd_finetune = {
    .name = "finetune",
    .arguments = "TASK|CONFIG.yaml",
    .summary = "teach a pretrained model a task from labelled examples",
    .examples = "halfstep finetune sequence --init_from path/to/bert --data.train train.tsv --data.val dev.tsv\n"
                "halfstep finetune tokens --init_from path/to/bert --data.train train.conll --data.val dev.conll --out runs/ner\n"
                "halfstep finetune span --init_from path/to/bert --data.train train-v2.0.json --data.val dev-v2.0.json --dtype bf16\n"
                "halfstep finetune pair --init_from path/to/bert --data.train rte.tsv --task.text premise --task.text2 hypothesis\n"
                "halfstep finetune sequence --init_from path/to/bert --data.train t.csv --data.val d.csv --seeds 1..5   # mean and spread\n"
                "halfstep finetune lm --init_from path/to/gpt2 --data.train chats.jsonl        # the loss is of responses\n"
                "halfstep finetune my.yaml --optim.layer_decay=0.8 --train.epochs=10 --train.patience=2",
    .notes =
        "TASK is sequence, pair (of two texts), regression, multilabel, tokens, span or lm: its usual settings, the recipe finetune-TASK,\n"
        "which CONFIG.yaml or --section.key=value change: 3 epochs, batches of 32, AdamW at 5e-5 with 10 % warm-up, linear to 0, decay "
        "0.01.\n"
        "Files are TSV, CSV, JSON lines, lines of \"label text\", CoNLL columns, NeMo's text_ and labels_, SQuAD's JSON: format, columns "
        "and\n"
        "labels are found and told, or given (task.*). data.val is a file, or a share of data.train that is drawn (0.1 where nobody "
        "says).\n"
        "Behind each epoch the model is judged by task.metric; BEST is the best checkpoint so far, OUT/report what it gets right and "
        "wrong.\n"
        "A run that was stopped, or killed, goes on bit for bit with the same command, in the middle of an epoch too.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .takes_config = true,
    .many = hs_cli_many,
    .trains = true,
    .run = run_finetune,
};

// eval: the loss of a checkpoint on a text.
#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include "data/text/text_store.h"
#include "recipes/program/cli_session.h"
#include "recipes/program/commands.h"
#include "recipes/program/eval_task.h"
#include "recipes/program/measure.h"
#include "recipes/train/corpus.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/progress.h"
#include "recipes/train/train_feed.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct eval_options {
    hs_common common;
    hs_string data, task, report, format, text, text2, label;
    int64_t max_windows;
    bool pseudo_perplexity;
} eval_options;

// A tokenizer may have more tokens than the model has rows; a text that needs one of them has no loss.
static hs_status check_ids(const hs_session *s, const hs_corpus *corpus, const char *path)
{
    enum { AT_ONCE = 4096 };
    const int64_t vocab = s->vocab;
    int32_t ids[AT_ONCE];
    if (hs_tokenizer_vocab(s->tokenizer) <= vocab)
        return HS_OK;
    for (int64_t i = corpus->val.first; i < corpus->val.end; i += AT_ONCE) {
        const int64_t left = corpus->val.end - i, n = left < AT_ONCE ? left : AT_ONCE;
        hs_token_store_read(corpus->val.store, i, n, ids);
        for (int64_t k = 0; k < n; k++)
            if (ids[k] >= vocab)
                return HS_FAIL(USAGE, "%s: token %lld has id %d of the tokenizer's %lld, and the model's vocabulary ends at %lld", path,
                               (long long)(i + k), ids[k], (long long)hs_tokenizer_vocab(s->tokenizer), (long long)vocab - 1);
    }
    return HS_OK;
}

// A network that was trained beside the model (hs_model_files.second), where it lies there, makes the losses of both: what the run called
// its own says how they go together.
static hs_status take_second(const hs_cli *cli, hs_session *s)
{
    const hs_family *f = s->arch.family;
    const hs_schema *keys = f->settings;
    char path[4200], text[HS_KEY_STRING_BYTES];
    hs_config *c;
    snprintf(path, sizeof path, "%s/%s/config.json", s->dir, f->files.second.folder ? f->files.second.folder : "");
    if (!f->files.second.scope || !hs_arch_bare(s->arch) || access(path, F_OK) != 0)
        return HS_OK;
    HS_TRY(hs_config_of_checkpoint(&c, cli->table, s->dir));
    hs_status st = HS_OK;
    for (int i = 0; i < keys->n && c && hs_config_arch(c).family == f && st == HS_OK; i++) {
        const char *key = keys->key[i].name;
        if (!hs_family_owns(f, key))
            continue;
        hs_config_text(c, key, text, sizeof text);
        st = hs_schema_set(keys, s->info.settings.bytes, NULL, key, text, NULL);
    }
    free(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status refuse_bare(const hs_session *s)
{
    const hs_second_files *second = &s->arch.family->files.second;
    char beside[128] = "";
    if (second->scope)
        snprintf(beside, sizeof beside, ", and without the %s/ and train/ of its pretraining", second->folder);
    return HS_FAIL(USAGE,
                   "%s is an encoder without a head%s: it has no loss to measure. halfstep embed gives its vectors; halfstep pretrain with "
                   "--train.init_from=%s --model.mlm=true trains a head for it",
                   s->dir, beside, s->dir);
}

// What evaluation goes by: what the checkpoint was trained with, where it says so.
static hs_status settle_feed(const hs_cli *cli, const hs_session *s, hs_feed *feed, int *documents)
{
    hs_config *c;
    HS_TRY(hs_config_of_checkpoint(&c, cli->table, s->dir));
    hs_config *last = c ? malloc(sizeof *last) : NULL;
    *feed = hs_feed_of_arch(s->arch);
    *documents = HS_TEXT_DOCUMENTS_AUTO;
    hs_train_state at = { 0 };
    char path[4200];
    snprintf(path, sizeof path, "%s/train/state.json", s->dir);
    if (last && hs_state_read(path, &at) == HS_OK && at.phase < hs_config_n_phases(c) && hs_config_phase(last, c, (int)at.phase) == HS_OK) {
        hs_feed_take(feed, last);
        feed->loss_weight[HS_LOSS_REPLACED] = last->loss.replaced;
        *documents = last->data.documents;
    }
    free(last);
    free(c);
    return HS_OK;
}

// Losses, hits and names of the parts, where a model masks tokens.
static void add_parts(json_t *o, const hs_eval_result *r)
{
    char name[32];
    for (int i = 0; i < HS_LOSSES; i++) {
        const hs_eval_part *p = &r->part[i];
        if (!p->labels)
            continue;
        if (i != HS_LOSS_REPLACED) // its labels are all tokens
            json_object_set_new(o, i == HS_LOSS_TOKENS ? "predictions" : "pairs", json_integer((json_int_t)p->labels));
        snprintf(name, sizeof name, "%s_loss", hs_loss_words[i]);
        json_object_set_new(o, name, hs_line_real(p->loss));
        snprintf(name, sizeof name, "%s_accuracy", hs_loss_words[i]);
        if (r->has_hits)
            json_object_set_new(o, name, hs_line_real(hs_eval_accuracy(p)));
        if (r->has_hits && i == HS_LOSS_REPLACED)
            json_object_set_new(o, "replaced_recall", hs_line_real(hs_eval_recall(p)));
    }
}

static json_t *json_of(const eval_options *o, const hs_session *s, const hs_feed *feed, const hs_eval_result *r, double rate)
{
    json_t *line = json_pack("{s:o}", "loss", hs_line_real(r->loss));
    if (o->pseudo_perplexity)
        json_object_set_new(line, "pseudo_perplexity", hs_line_real(exp(r->loss)));
    else if (!feed->predictions)
        json_object_set_new(line, "perplexity", hs_line_real(exp(r->loss)));
    if (feed->predictions)
        add_parts(line, r);
    json_t *rest = json_pack("{s:I, s:o, s:s, s:s}", "tokens", (json_int_t)r->tokens, "tokens_per_second", hs_line_real(rate), "checkpoint",
                             s->dir, "dtype", hs_dtype_name(s->policy.low));
    json_object_update(line, rest);
    json_decref(rest);
    return line;
}

// "4096 tokens"; of models that fill masks "614 predictions", "614 predictions, 40 pairs", "614 predictions, 4096 tokens"
static void print_counts(const hs_feed *feed, const hs_eval_result *r)
{
    if (!feed->predictions)
        printf("%lld token%s", (long long)r->tokens, hs_plural(r->tokens));
    for (int i = 0, n = 0; i < HS_LOSSES && feed->predictions; i++)
        if (r->part[i].labels)
            printf("%s%lld %s%s", n++ ? ", " : "", (long long)r->part[i].labels,
                   i == HS_LOSS_TOKENS     ? "prediction"
                   : i == HS_LOSS_REPLACED ? "token"
                                           : "pair",
                   hs_plural(r->part[i].labels));
}

static void print_text(const eval_options *o, const hs_session *s, const hs_feed *feed, const hs_eval_result *r, double rate)
{
    char text[32];
    if (o->pseudo_perplexity)
        printf("pseudo-perplexity %.3f", exp(r->loss));
    else
        printf("loss %.4f", r->loss);
    if (!feed->predictions)
        printf("  perplexity %.3f", exp(r->loss));
    for (int i = 0; i < HS_LOSSES && feed->predictions; i++)
        if (r->part[i].labels)
            printf("  %s %.4f, %.2f%% right", hs_loss_words[i], r->part[i].loss, 100 * hs_eval_accuracy(&r->part[i]));
    if (r->part[HS_LOSS_REPLACED].labels)
        printf(", %.2f%% of %lld found", 100 * hs_eval_recall(&r->part[HS_LOSS_REPLACED]), (long long)r->part[HS_LOSS_REPLACED].asked);
    printf("  over %s of %s, ", o->max_windows ? feed->predictions ? "a part" : "the first windows" : "all", o->data);
    print_counts(feed, r);
    printf("  (%s tok/s, %s, %s)\n", hs_human_count(rate, text, sizeof text), hs_dtype_name(s->policy.low), s->dir);
}

static hs_status evaluate(const eval_options *o, hs_session *s, const hs_feed *feed, hs_corpus *corpus, hs_eval_result *r)
{
    hs_source *source;
    HS_TRY(o->pseudo_perplexity ? hs_feed_turns(&source, feed, corpus) : hs_feed_eval(&source, feed, corpus));
    const hs_status st =
        hs_evaluate(&(hs_eval_opts){ .run = s->run, .plan = s->eval, .feed = feed, .source = source, .most = o->max_windows }, r);
    hs_source_free(source);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status run_task(const hs_cli *cli, const eval_options *o, hs_session *s, const hs_policy *policy, json_t **measured)
{
    if (o->pseudo_perplexity)
        return HS_FAIL(USAGE, "--pseudo-perplexity is of models that fill masks; %s was fine-tuned on labelled examples", s->dir);
    return hs_eval_task(cli, s, policy,
                        &(hs_eval_task_opts){ .data = o->data,
                                              .report = o->report,
                                              .format = o->format,
                                              .text = o->text,
                                              .text2 = o->text2,
                                              .label = o->label,
                                              .kind = o->task,
                                              .most = o->max_windows,
                                              .measured = measured });
}

static hs_status check_no_task(const hs_cli *cli, const hs_session *s)
{
    static const char *const options[] = { "report", "format", "text", "text2", "label" };
    for (int i = 0; i < HS_COUNT(options); i++)
        if (hs_cli_given(cli, options[i]))
            return HS_FAIL(USAGE, "--%s is of labelled examples; %s is for texts (--task says otherwise)", options[i], s->dir);
    return HS_OK;
}

// measured: gets what is told with --json, and nothing is printed; NULL: it is printed.
static hs_status run_session(const hs_cli *cli, const eval_options *o, hs_session *s, const hs_policy *policy, hs_corpus *corpus,
                             json_t **measured)
{
    hs_eval_result r;
    hs_feed feed;
    int documents = HS_TEXT_DOCUMENTS_AUTO;
    bool task;
    if (!s->tokenizer)
        return HS_FAIL(USAGE, "a text cannot be tokenized: %s", s->tokenizer_error);
    HS_TRY(hs_eval_is_task(cli, s, &task));
    if (task || o->task[0])
        return run_task(cli, o, s, policy, measured);
    HS_TRY(check_no_task(cli, s));
    HS_TRY(take_second(cli, s));
    if (hs_arch_bare(s->arch))
        return refuse_bare(s);
    HS_TRY(settle_feed(cli, s, &feed, &documents));
    if (o->pseudo_perplexity && !feed.predictions)
        return HS_FAIL(USAGE, "--pseudo-perplexity is of models that fill masks; this %s has a perplexity", s->arch.family->name);
    HS_TRY(hs_corpus_open_file(corpus, o->data, s->tokenizer, s->arch.family->batch, documents));
    HS_TRY(check_ids(s, corpus, o->data));
    const hs_arch_setup setup = hs_feed_eval_setup(&feed);
    HS_TRY(hs_session_load(s, policy, &(hs_session_plans){ .eval = &setup.shape }));
    HS_TRY(evaluate(o, s, &feed, corpus, &r));
    if (!isfinite(r.loss))
        return HS_FAIL(NONFINITE, "%s: its loss on %s is not a finite number", s->dir, o->data);
    const double rate = r.seconds > 0 ? (double)r.tokens / r.seconds : 0;
    if (measured)
        *measured = json_of(o, s, &feed, &r, rate);
    else if (o->common.json)
        hs_line_print(json_of(o, s, &feed, &r, rate));
    else
        print_text(o, s, &feed, &r, rate);
    return HS_OK;
}

static hs_status eval_on(const hs_cli *cli, const char *checkpoint, const eval_options *o, json_t **measured)
{
    hs_session s = { 0 };
    hs_corpus corpus = { 0 };
    hs_policy policy;
    hs_status st = hs_cli_session(cli, checkpoint, &s, &policy);
    if (st == HS_OK)
        st = run_session(cli, o, &s, &policy, &corpus, measured);
    hs_corpus_close(&corpus); // its tokenizer is the session's
    hs_session_close(&s);
    return st;
}

hs_status hs_eval_measure(const hs_cli *cli, const char *checkpoint, const char *data, json_t **out)
{
    eval_options o = { 0 };
    snprintf(o.data, sizeof o.data, "%s", data);
    *out = NULL;
    return eval_on(cli, checkpoint, &o, out);
}

static hs_status run_eval(const hs_cli *cli)
{
    const eval_options *o = cli->options;
    if (!o->data[0])
        return HS_FAIL(USAGE, "eval needs --data FILE");
    return eval_on(cli, cli->arg[0], o, NULL);
}

static const hs_key keys[] = {
    { .name = "data",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, data),
      .value = "",
      .help = "text file, token store or, of encoders, HDF5 shards to evaluate on; - is standard input" },
    { .name = "max-windows",
      .type = HS_KEY_INT,
      .offset = offsetof(eval_options, max_windows),
      .value = "0",
      .min = 0,
      .max = 1e12,
      .unit = "windows",
      .help = "stop after so many windows of the model's context; 0: the whole text" },
    { .name = "task",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, task),
      .value = "",
      .help = "of labelled examples, what is asked (" HS_ABOUT_WORDS "); default: what the checkpoint was fine-tuned for" },
    { .name = "report",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, report),
      .value = "",
      .help = "of labelled examples: folder for a report - scores, classes, confusion, calibration as text, JSON and pictures" },
    { .name = "format",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, format),
      .value = "",
      .help = "of labelled examples (" HS_LABEL_FORMAT_WORDS "); default: as in training" },
    { .name = "text",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, text),
      .value = "",
      .help = "of labelled examples: column of the text" },
    { .name = "text2",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, text2),
      .value = "",
      .help = "of labelled examples: column of the second text" },
    { .name = "label",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, label),
      .value = "",
      .help = "of labelled examples: column of the label" },
    { .name = "pseudo-perplexity",
      .type = HS_KEY_BOOL,
      .offset = offsetof(eval_options, pseudo_perplexity),
      .value = "false",
      .help = "of models that fill masks: every token of the text masked alone in turn, a sequence a token; --max-windows takes a part" },
    HS_CHECKPOINT_KEYS(eval_options),
    HS_COMPUTE_KEYS(eval_options),
    HS_COMMON_KEYS(eval_options),
};
static const hs_schema schema = HS_SCHEMA(keys, eval_options);

const hs_command hs_cmd_eval = {
    .name = "eval",
    .arguments = "CHECKPOINT",
    .summary = "measure a checkpoint: its loss on a text, or its scores on labelled examples",
    .examples = "halfstep eval runs/shakespeare-char --data recipes/text/shakespeare.txt\n"
                "halfstep eval runs/shakespeare-char/checkpoints/BEST --data book.txt --dtype fp32 --json\n"
                "halfstep eval runs/bert-mini --data book.txt\n"
                "halfstep eval runs/ner/checkpoints/BEST --data test.conll --report test-report   # of a fine-tuned model: scores\n"
                "halfstep eval path/to/bert --data book.txt --pseudo-perplexity --max-windows 2000",
    .notes =
        "The loss is the mean over all predicted tokens: consecutive windows of the model's context, each token but the first "
        "predicted once.\n"
        "Of models that fill masks: losses (loss: their sum) and shares of right answers over sequences made and masked as in training,\n"
        "the same ones each time. The settings are those the checkpoint was trained with; where it does not say, the model's context\n"
        "and 15 % of the tokens.\n"
        "Of a run of ELECTRA, whose generator lies beside it: loss and accuracy of both, and how many replaced tokens were found.\n"
        "Of a checkpoint that was fine-tuned: loss and scores on labelled examples, read as those it was trained with.\n"
        "With --json: loss, perplexity (or pseudo_perplexity; or predictions, mlm_loss, mlm_accuracy, and pairs, next_loss,\n"
        "next_accuracy, order_loss, order_accuracy, replaced_loss, replaced_accuracy, replaced_recall, as the model has heads), tokens,\n"
        "tokens_per_second, checkpoint, dtype.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_eval,
};

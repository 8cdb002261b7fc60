// predict: texts through a model with a task, the file written back with what it says of each.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "recipes/program/cli_session.h"
#include "recipes/program/commands.h"
#include "recipes/program/predict_out.h"
#include "recipes/program/task_rows.h"
#include "recipes/train/progress.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { NONE_AUTO, NONE_NO, NONE_YES }; // of --no-answer
typedef struct predict_options {
    hs_common common;
    hs_string text, text2, id, output, nbest, odds;
    int format, utf8, prefix_space, no_answer;
    int64_t max_length, stride, max_query, context, n_best, max_answer, top;
    double threshold, null_threshold;
} predict_options;

typedef struct predict {
    const hs_cli *cli;
    const predict_options *o;
    hs_session s;
    hs_examples_opts examples;
    hs_predictor *predictor;
    hs_predict_out *out;
} predict;

static const char *const words[HS_TASKS] = { [HS_TASK_SEQUENCE] = "sequence",
                                             [HS_TASK_REGRESSION] = "regression",
                                             [HS_TASK_MULTILABEL] = "multilabel",
                                             [HS_TASK_TOKENS] = "tokens",
                                             [HS_TASK_SPAN] = "span" };

static hs_about about_of(const predict *p) { return hs_about_of_task(hs_arch_task(p->s.arch)); }

// ---- options

static hs_status open_model(predict *p, hs_policy *policy)
{
    const hs_dtype_option dtype = (hs_dtype_option)p->o->common.dtype;
    HS_TRY(hs_cli_session(p->cli, p->cli->arg[0], &p->s, policy));
    policy->low = dtype == HS_DTYPE_AUTO ? HS_F32 : hs_dtype_of_option(dtype, "auto", p->o->common.device);
    if (hs_arch_task(p->s.arch) == HS_TASK_NONE)
        return HS_FAIL(USAGE, "%s has no head for a task, so that there is nothing to predict: halfstep finetune gives it one", p->s.dir);
    if (!p->s.tokenizer)
        return HS_FAIL(USAGE, "texts need a tokenizer: %s", p->s.tokenizer_error);
    return HS_OK;
}

// An option that says something about another task than the model's.
static hs_status check_options(const predict *p)
{
    enum { TEXTS = 1 << HS_ABOUT_SEQUENCE | 1 << HS_ABOUT_REGRESSION | 1 << HS_ABOUT_MULTILABEL };
    static const struct {
        const char *option;
        unsigned tasks;
    } rows[] = {
        { "stride", 1 << HS_ABOUT_TOKENS | 1 << HS_ABOUT_SPAN },
        { "context", 1 << HS_ABOUT_TOKENS },
        { "max-query", 1 << HS_ABOUT_SPAN },
        { "n-best", 1 << HS_ABOUT_SPAN },
        { "max-answer", 1 << HS_ABOUT_SPAN },
        { "no-answer", 1 << HS_ABOUT_SPAN },
        { "null-threshold", 1 << HS_ABOUT_SPAN },
        { "nbest", 1 << HS_ABOUT_SPAN },
        { "odds", 1 << HS_ABOUT_SPAN },
        { "threshold", 1 << HS_ABOUT_MULTILABEL },
        { "top", 1 << HS_ABOUT_SEQUENCE | 1 << HS_ABOUT_MULTILABEL },
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        if (hs_cli_given(p->cli, rows[i].option) && !(rows[i].tasks & 1u << about_of(p)))
            return HS_FAIL(USAGE, "--%s is not for the task of %s, which is %s", rows[i].option, p->s.dir, words[hs_arch_task(p->s.arch)]);
    if (p->o->output[0] && strcmp(p->o->output, "-") == 0)
        return HS_FAIL(USAGE, "--output is a file; without it predictions go to standard output");
    const struct {
        const char *option, *path;
    } files[] = { { "output", p->o->output }, { "nbest", p->o->nbest }, { "odds", p->o->odds } };
    for (int i = 0; i < HS_COUNT(files); i++)
        for (int k = 0; k < i; k++)
            if (files[i].path[0] && strcmp(files[i].path, files[k].path) == 0)
                return HS_FAIL(USAGE, "--%s and --%s are both %s: each is a file of its own", files[k].option, files[i].option,
                               files[i].path);
    return HS_OK;
}

// Files that SQuAD's script writes beside its predictions.
static hs_status check_beside(const predict *p)
{
    const char *option = p->o->nbest[0] ? "nbest" : p->o->odds[0] ? "odds" : NULL;
    const hs_label_reader *r = hs_predictor_reader(p->predictor);
    if (option && p->o->common.json)
        return HS_FAIL(USAGE, "--%s is of SQuAD's predictions.json, --json writes lines: they have nbest themselves", option);
    if (option && hs_label_reader_found(r)->format != HS_LABEL_SQUAD)
        return HS_FAIL(USAGE, "--%s is for SQuAD, and %s is %s, whose records get nbest themselves", option, hs_label_reader_name(r),
                       hs_label_reader_found(r)->said);
    return HS_OK;
}

static const char *or_null(const char *s) { return s[0] ? s : NULL; }

// As the checkpoint was trained, where no option says otherwise.
static hs_status rows_of(const predict *p, hs_rows_opts *rows)
{
    const predict_options *o = p->o;
    HS_TRY(hs_task_rows(p->cli->table, &p->s, rows));
    const struct {
        const char *option;
        int64_t given, *value;
    } options[] = { { "stride", o->stride, &rows->stride },
                    { "max-query", o->max_query, &rows->max_query },
                    { "context", o->context, &rows->context } };
    for (int i = 0; i < HS_COUNT(options); i++)
        if (hs_cli_given(p->cli, options[i].option))
            *options[i].value = options[i].given;
    if (hs_cli_given(p->cli, "prefix-space"))
        rows->prefix_space = (hs_prefix_space)o->prefix_space;
    rows->max_length = o->max_length ? o->max_length : rows->max_length;
    if (rows->max_length > p->s.context && hs_cli_given(p->cli, "max-length"))
        return HS_FAIL(USAGE, "--max-length is %lld, and the model's context is %lld", (long long)o->max_length, (long long)p->s.context);
    return HS_OK;
}

static hs_status on_prediction(const hs_prediction *x, void *user) { return hs_predict_out_put(user, x); }

static hs_status open_predictor(predict *p)
{
    const predict_options *o = p->o;
    hs_predictor_opts opts = { .session = &p->s,
                               .examples = &p->examples,
                               .span = { .n_best = (int)o->n_best,
                                         .max_answer = o->max_answer,
                                         .ask = o->no_answer == NONE_AUTO,
                                         .none = o->no_answer == NONE_YES,
                                         .threshold = o->null_threshold },
                               .path = p->cli->arg[1] };
    p->examples = (hs_examples_opts){ .about = about_of(p),
                                      .format = (hs_label_format)o->format,
                                      .text = or_null(o->text),
                                      .text2 = or_null(o->text2),
                                      .id = or_null(o->id),
                                      .labels = &p->s.info.labels,
                                      .labels_optional = true,
                                      .bad_utf8 = (hs_bad_utf8)o->utf8 };
    HS_TRY(rows_of(p, &opts.rows));
    opts.done = on_prediction, opts.user = p->out;
    HS_TRY(hs_predictor_open(&p->predictor, &opts));
    hs_predict_out_of(p->out, hs_predictor_reader(p->predictor));
    return check_beside(p);
}

// ---- the whole

static void report(const predict *p, double seconds)
{
    const hs_predictor_count n = hs_predictor_counted(p->predictor);
    const double rate = seconds > 0 ? (double)n.examples / seconds : 0;
    char examples[32], tokens[32];
    if (n.cut)
        hs_warn("%lld of %lld example%s %s longer than %lld tokens: what is beyond them does not count", (long long)n.cut,
                (long long)n.examples, hs_plural(n.examples), n.cut == 1 ? "is" : "are", (long long)n.max_length);
    if (p->o->output[0] && p->o->common.json)
        hs_line_print(json_pack("{s:s, s:I, s:I, s:I, s:o}", "output", p->o->output, "examples", (json_int_t)n.examples, "tokens",
                                (json_int_t)n.tokens, "cut", (json_int_t)n.cut, "examples_per_second", hs_line_real(rate)));
    const hs_label_reader *r = hs_predictor_reader(p->predictor);
    hs_info("%s: %s", hs_label_reader_name(r), hs_label_reader_found(r)->said);
    hs_info("%s example%s of %s tokens: %.1f examples/s", hs_human_count((double)n.examples, examples, sizeof examples),
            hs_plural(n.examples), hs_human_count((double)n.tokens, tokens, sizeof tokens), rate);
}

static hs_status predict_all(predict *p)
{
    hs_policy policy;
    HS_TRY(open_model(p, &policy));
    HS_TRY(check_options(p));
    hs_arch_shape shape = hs_head_shape(&p->s);
    shape.lean = true;
    HS_TRY(hs_session_load(&p->s, &policy, &(hs_session_plans){ .eval = &shape }));
    HS_TRY(hs_predict_out_open(&p->out, &(hs_predict_out_opts){ .output = or_null(p->o->output),
                                                                .nbest = or_null(p->o->nbest),
                                                                .odds = or_null(p->o->odds),
                                                                .json = p->o->common.json,
                                                                .about = about_of(p),
                                                                .labels = &p->s.info.labels,
                                                                .top = (int)p->o->top,
                                                                .threshold = p->o->threshold }));
    HS_TRY(open_predictor(p));
    const double start = hs_now();
    HS_TRY(hs_predictor_run(p->predictor));
    HS_TRY(hs_predict_out_commit(p->out));
    report(p, hs_now() - start);
    return HS_OK;
}

static hs_status run_predict(const hs_cli *cli)
{
    predict p = { .cli = cli, .o = cli->options };
    const hs_status st = predict_all(&p);
    hs_predictor_close(p.predictor);
    hs_predict_out_close(p.out);
    hs_session_close(&p.s);
    return st;
}

#define AT(field) .offset = offsetof(predict_options, field)
static const hs_key keys[] = {
    { .name = "output",
      .type = HS_KEY_STRING,
      AT(output),
      .value = "",
      .help = "file for what is written, which appears once it is whole" },
    { .name = "format",
      .type = HS_KEY_CHOICE,
      AT(format),
      .value = "auto",
      .choices = HS_LABEL_FORMAT_WORDS,
      .help = "what FILE is; auto: by what it begins with" },
    { .name = "text",
      .type = HS_KEY_STRING,
      AT(text),
      .value = "",
      .help = "column of the text (of CoNLL: of the word), a name or a number from 1; of span the question's key" },
    { .name = "text2",
      .type = HS_KEY_STRING,
      AT(text2),
      .value = "",
      .help = "column of the second text of a pair; of span the context's key" },
    { .name = "id", .type = HS_KEY_STRING, AT(id), .value = "", .help = "column that names an example", .advanced = true },
    { .name = "utf8",
      .type = HS_KEY_CHOICE,
      AT(utf8),
      .value = "refuse",
      .choices = "refuse|replace",
      .help = "bytes that are not UTF-8: an error with line and byte, or U+FFFD in their place" },
    { .name = "max-length",
      .type = HS_KEY_INT,
      AT(max_length),
      .value = "0",
      .min = 0,
      .max = 1e9,
      .unit = "tokens",
      .help = "of a text, or of a window of it, special tokens included; 0: what the model was fine-tuned with, else its context (of span "
              "384)" },
    { .name = "stride",
      .type = HS_KEY_INT,
      AT(stride),
      .value = "0",
      .min = 0,
      .max = 65536,
      .unit = "tokens",
      .help = "of tokens: how much windows of a long sentence share; of span: from one window of the context to the next, 0: 128" },
    { .name = "context",
      .type = HS_KEY_INT,
      AT(context),
      .value = "0",
      .min = 0,
      .max = 65536,
      .unit = "tokens",
      .help = "of tokens: so many of the sentences around each one, of the same document, are read with it" },
    { .name = "max-query",
      .type = HS_KEY_INT,
      AT(max_query),
      .value = "0",
      .min = 0,
      .max = 65536,
      .unit = "tokens",
      .help = "of span: of a question; 0: 64, at most a third of --max-length",
      .advanced = true },
    { .name = "prefix-space",
      .type = HS_KEY_CHOICE,
      AT(prefix_space),
      .value = "auto",
      .choices = HS_PREFIX_SPACE_WORDS,
      .help = "a space in front of a text, as RoBERTa's and GPT-2's words want it; auto: for tokens",
      .advanced = true },
    { .name = "top",
      .type = HS_KEY_INT,
      AT(top),
      .value = "0",
      .min = 0,
      .max = 1 << 24,
      .help = "scores of so many labels in JSON, the largest first; 0: of all" },
    { .name = "threshold",
      .type = HS_KEY_REAL,
      AT(threshold),
      .value = "0.5",
      .min = 0,
      .max = 1,
      .help = "of multilabel: labels at or above it" },
    { .name = "no-answer",
      .type = HS_KEY_CHOICE,
      AT(no_answer),
      .value = "auto",
      .choices = "auto|no|yes",
      .help = "of span: a question may have no answer; auto: where the file has is_impossible (SQuAD 2.0)" },
    { .name = "null-threshold",
      .type = HS_KEY_REAL,
      AT(null_threshold),
      .value = "0",
      .min = -1e9,
      .max = 1e9,
      .help = "of span: there is no answer where its logits are above the best answer's by more" },
    { .name = "n-best", .type = HS_KEY_INT, AT(n_best), .value = "20", .min = 1, .max = 1000, .help = "of span: answers that are kept" },
    { .name = "max-answer",
      .type = HS_KEY_INT,
      AT(max_answer),
      .value = "30",
      .min = 1,
      .max = 65536,
      .unit = "tokens",
      .help = "of span: of an answer" },
    { .name = "nbest", .type = HS_KEY_STRING, AT(nbest), .value = "", .help = "of SQuAD: file for all answers with their probabilities" },
    { .name = "odds", .type = HS_KEY_STRING, AT(odds), .value = "", .help = "of SQuAD: file for the odds that there is no answer" },
    HS_CHECKPOINT_KEYS(predict_options),
    HS_COMPUTE_KEYS_OF(predict_options, HS_DTYPE_HELP_F32),
    HS_COMMON_KEYS(predict_options),
};
static const hs_schema schema = HS_SCHEMA(keys, predict_options);

const hs_command hs_cmd_predict = {
    .name = "predict",
    .arguments = "CHECKPOINT FILE|-",
    .summary = "label texts: classes, numbers, tags, answers",
    .examples = "halfstep predict runs/sst2 reviews.tsv --output labelled.tsv\n"
                "halfstep predict runs/ner news.conll >news.tagged.conll\n"
                "halfstep predict runs/squad dev-v2.0.json --output predictions.json --odds odds.json\n"
                "echo 'Ada Lovelace was born in London.' | halfstep predict runs/ner - --json",
    .notes = "The file is written back in its own format: CoNLL columns with a last one, the tag; TSV and CSV with columns label and "
             "score; JSON\n"
             "records with label and scores (tags, entities; answer, start, end, score, nbest); lines of a label and a text with the "
             "model's label;\n"
             "SQuAD as predictions.json. Of texts alone: label, score, text, by tabs; of tags a word a line. A name that the file has is "
             "called\n"
             "predicted_label; what would end a column of lines becomes _ in a label. What labels a file has is not looked at; empty lines "
             "between\n"
             "the records of a table are left out. With --json a JSON object a line, whatever the format; start and end are characters of "
             "text or\n"
             "context. Files of any size, packed or not; list of JSON records and SQuAD are held in memory.\n"
             "--dtype auto is fp32 here: predictions are kept, and compared with those of other machines.\n"
             "With --output and --json one more line on stdout at the end: output, examples, tokens, cut, examples_per_second.",
    .options = &schema,
    .min_args = 2,
    .max_args = 2,
    .run = run_predict,
};

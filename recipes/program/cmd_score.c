// score: predictions against gold labels, by the field's scorers alone.
#include "core/base/log.h"
#include "data/checkpoint/ckpt_io.h"
#include "data/score/score_report.h"
#include "recipes/program/commands.h"
#include "recipes/program/score_files.h"
#include "recipes/program/score_squad.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SQUAD_AUTO, SQUAD_1, SQUAD_2 };
typedef struct score_options {
    hs_common common;
    hs_string metric, gold_label, pred_label, positive, odds, report;
    int mode, scheme, format, pred_format, squad;
    int64_t bootstrap, seed;
    double level, threshold;
} score_options;

typedef struct scored { // what a task gave, and what is told of it
    hs_score_rows rows;
    hs_score_questions questions;
    hs_answer_score *each;
    hs_scores scores;
    hs_interval interval[HS_SCORES_MOST];
    hs_class_counts *by_class;
    hs_entity_counts entities;
    hs_confusion confusion;
    hs_calibration calibration;
    hs_length_errors length;
    hs_score_report report;
    char title[600];
} scored;

static void scored_free(scored *s)
{
    hs_score_rows_free(&s->rows);
    hs_score_questions_free(&s->questions);
    hs_entity_counts_free(&s->entities);
    hs_confusion_free(&s->confusion);
    free(s->by_class);
    free(s->each);
}

// Intervals, where they are asked for, of what this input gave.
static hs_status bootstrap(const score_options *o, scored *s, hs_rescore *score, const void *input, int64_t n)
{
    if (!o->bootstrap)
        return HS_OK;
    s->report.bootstrap = (hs_bootstrap_opts){ .n = n, .resamples = (int)o->bootstrap, .level = o->level, .seed = (uint64_t)o->seed };
    s->report.interval = s->interval;
    return hs_bootstrap(score, input, &s->report.bootstrap, &s->scores, s->interval);
}

static hs_status new_counts(scored *s, int n)
{
    s->by_class = calloc((size_t)n + 1, sizeof *s->by_class);
    s->report.classes = &s->rows.labels, s->report.by_class = s->by_class;
    return s->by_class ? HS_OK : HS_FAIL(MEMORY, "no memory for the counts of %d classes", n);
}

static void add_length(scored *s, int64_t row, int64_t n, double error)
{
    if (s->rows.length)
        hs_length_add(&s->length, s->rows.length[row], n, error);
}

// ---- tasks

static hs_status positive_of(const score_options *o, const scored *s, int *out)
{
    *out = s->rows.labels.n == 2;
    if (!o->positive[0])
        return HS_OK;
    if (s->rows.labels.n != 2)
        return HS_FAIL(USAGE, "--positive is of two labels, and there are %d", s->rows.labels.n);
    *out = hs_labels_find(&s->rows.labels, o->positive);
    return *out >= 0
               ? HS_OK
               : HS_FAIL(USAGE, "--positive %s: the labels are %s and %s", o->positive, s->rows.labels.name[0], s->rows.labels.name[1]);
}

static hs_status score_sequence(const score_options *o, scored *s)
{
    const hs_score_rows *r = &s->rows;
    hs_sequence_input in = { .n = r->n, .classes = r->labels.n, .gold = r->gold, .pred = r->pred, .scores = r->scores };
    HS_TRY(positive_of(o, s, &in.positive));
    HS_TRY(hs_score_sequence(&in, &s->scores));
    HS_TRY(new_counts(s, r->labels.n));
    HS_TRY(hs_count_classes(&in, s->by_class));
    HS_TRY(hs_confusion_make(&s->confusion, &r->labels, r->gold, r->pred, r->n, HS_CONFUSION_MOST));
    s->report.confusion = &s->confusion;
    for (int64_t i = 0; i < r->n; i++) {
        if (r->gold[i] < 0)
            continue;
        if (r->scores || r->sure)
            hs_calibration_add(&s->calibration, (double)(r->scores ? r->scores[i * r->labels.n + r->pred[i]] : r->sure[i]),
                               r->gold[i] == r->pred[i]);
        add_length(s, i, 1, r->gold[i] != r->pred[i]);
    }
    s->report.calibration = r->scores || r->sure ? &s->calibration : NULL;
    s->report.error_name = "wrong";
    return bootstrap(o, s, hs_rescore_sequence, &in, r->n);
}

static hs_status score_regression(const score_options *o, scored *s)
{
    const hs_score_rows *r = &s->rows;
    const hs_regression_input in = { .n = r->n, .width = r->width, .gold = r->gold_value, .pred = r->pred_value };
    HS_TRY(hs_score_regression(&in, &s->scores));
    for (int64_t i = 0; i < r->n; i++) {
        double error = 0;
        for (int k = 0; k < r->width; k++)
            error += fabs((double)r->gold_value[i * r->width + k] - r->pred_value[i * r->width + k]) / r->width;
        add_length(s, i, 1, error);
    }
    s->report.error_name = "distance";
    return bootstrap(o, s, hs_rescore_regression, &in, r->n);
}

static hs_status score_multilabel(const score_options *o, scored *s)
{
    const hs_score_rows *r = &s->rows;
    const bool ranked = r->scores != NULL;
    const hs_multilabel_input in = { .n = r->n,
                                     .labels = r->width,
                                     .gold = r->gold_value,
                                     .scores = ranked ? r->scores : r->pred_value,
                                     .threshold = ranked ? (float)o->threshold : 0.5f,
                                     .ranked = ranked };
    HS_TRY(hs_score_multilabel(&in, &s->scores));
    HS_TRY(new_counts(s, r->labels.n));
    HS_TRY(hs_count_labels(&in, s->by_class));
    s->report.absent = true, s->report.class_word = "label";
    for (int64_t i = 0; i < r->n; i++) {
        int wrong = 0;
        for (int k = 0; k < r->width; k++)
            wrong += (r->gold_value[i * r->width + k] > 0.5f) != (in.scores[i * r->width + k] > in.threshold);
        add_length(s, i, 1, wrong > 0);
    }
    s->report.error_name = "wrong";
    return bootstrap(o, s, hs_rescore_multilabel, &in, r->n);
}

// Parts of speech and the like: classes of words.
static hs_status score_words(const score_options *o, scored *s)
{
    const hs_score_rows *r = &s->rows;
    const hs_sequence_input in = {
        .n = r->starts[r->n], .classes = r->labels.n, .gold = r->gold, .pred = r->pred, .positive = r->labels.n == 2
    };
    HS_TRY(hs_score_sequence(&in, &s->scores));
    HS_TRY(new_counts(s, r->labels.n));
    HS_TRY(hs_count_classes(&in, s->by_class));
    return bootstrap(o, s, hs_rescore_sequence, &in, in.n);
}

static hs_status score_entities(const score_options *o, scored *s)
{
    const hs_score_rows *r = &s->rows;
    const hs_tokens_input in = { .tags = &r->labels,
                                 .sentences = r->n,
                                 .starts = r->starts,
                                 .gold = r->gold,
                                 .pred = r->pred,
                                 .mode = (hs_entity_mode)o->mode,
                                 .scheme = (hs_entity_scheme)o->scheme };
    HS_TRY(hs_score_tokens(&in, &s->scores));
    HS_TRY(hs_count_entities(&in, &s->entities));
    s->report.classes = &s->entities.types, s->report.by_class = s->entities.of_type;
    s->report.class_word = "type";
    return bootstrap(o, s, hs_rescore_tokens, &in, r->n);
}

static hs_status score_tokens(const hs_cli *cli, const score_options *o, scored *s)
{
    const hs_score_rows *r = &s->rows;
    const bool chunks = hs_tags_are_chunks(&r->labels);
    if (!chunks && (hs_cli_given(cli, "mode") || hs_cli_given(cli, "scheme")))
        return HS_FAIL(USAGE, "--%s is of entities, and these tags are none: \"%s\"", hs_cli_given(cli, "mode") ? "mode" : "scheme",
                       r->labels.name[r->labels.n - 1]);
    if (hs_cli_given(cli, "scheme") && o->mode != HS_ENTITY_STRICT)
        return HS_FAIL(USAGE, "--scheme is of --mode strict");
    HS_TRY(chunks ? score_entities(o, s) : score_words(o, s));
    HS_TRY(hs_confusion_make(&s->confusion, &r->labels, r->gold, r->pred, r->starts[r->n], HS_CONFUSION_MOST));
    s->report.confusion = &s->confusion;
    for (int64_t i = 0; i < r->n; i++) {
        int64_t n = 0, wrong = 0;
        for (int64_t k = r->starts[i]; k < r->starts[i + 1]; k++)
            n += r->gold[k] >= 0, wrong += r->gold[k] >= 0 && r->gold[k] != r->pred[k];
        add_length(s, i, n, (double)wrong);
    }
    s->report.unit = "sentences", s->report.error_name = "wrong tags";
    return HS_OK;
}

static hs_status score_span(const hs_cli *cli, const score_options *o, scored *s)
{
    hs_score_questions *q = &s->questions;
    HS_TRY(hs_score_questions_read(q, cli->arg[1], cli->arg[2], o->odds[0] ? o->odds : NULL));
    hs_span_input in = { .n = q->n, .answers = q->answer, .version_2 = q->version_2, .odds = q->odds, .threshold = o->threshold };
    if (o->squad != SQUAD_AUTO)
        in.version_2 = o->squad == SQUAD_2;
    if (!hs_cli_given(cli, "threshold"))
        in.threshold = 1; // the script's, which no probability passes
    s->each = calloc((size_t)q->n + 1, sizeof *s->each);
    if (!s->each)
        return HS_FAIL(MEMORY, "no memory for the scores of %lld answers", (long long)q->n);
    const hs_status st = hs_score_answers(&in, s->each);
    if (st == HS_USAGE) {
        char what[512];
        snprintf(what, sizeof what, "%s", hs_error());
        return HS_FAIL(USAGE, "%s: %s", s->title, what);
    }
    HS_TRY(st);
    in.each = s->each;
    HS_TRY(hs_score_span(&in, &s->scores));
    bool lengths = false;
    for (int64_t i = 0; i < q->n; i++) {
        hs_length_add(&s->length, q->length[i], 1, 1 - s->each[i].f1);
        lengths |= q->length[i] > 0;
    }
    s->report.length = lengths ? &s->length : NULL;
    s->report.examples = q->n, s->report.unit = "questions", s->report.error_name = "1 - F1";
    return bootstrap(o, s, hs_rescore_span, &in, q->n);
}

static hs_status score_task(const hs_cli *cli, const score_options *o, hs_about about, scored *s)
{
    const bool one = cli->n_args == 2;
    if (about == HS_ABOUT_SPAN)
        return one ? HS_FAIL(USAGE, "score span GOLD PRED: questions and predictions are two files") : score_span(cli, o, s);
    const hs_score_files_opts files = { .about = about,
                                        .gold = cli->arg[1],
                                        .pred = one ? NULL : cli->arg[2],
                                        .gold_format = (hs_label_format)o->format,
                                        .pred_format = (hs_label_format)o->pred_format,
                                        .gold_label = o->gold_label,
                                        .pred_label = o->pred_label };
    s->report.unit = "rows", s->report.class_word = "class";
    HS_TRY(hs_score_rows_read(&s->rows, &files));
    s->report.examples = s->rows.n;
    s->report.length = s->rows.length ? &s->length : NULL;
    switch (about) {
    case HS_ABOUT_REGRESSION:
        return score_regression(o, s);
    case HS_ABOUT_MULTILABEL:
        return score_multilabel(o, s);
    case HS_ABOUT_TOKENS:
        return score_tokens(cli, o, s);
    default:
        return score_sequence(o, s);
    }
}

// ---- what is told

static int word_index(const char *word, const char *words)
{
    const size_t n = strlen(word);
    for (int at = 0; words; at++, words = strchr(words, '|') ? strchr(words, '|') + 1 : NULL)
        if (strncmp(words, word, n) == 0 && (words[n] == '|' || !words[n]))
            return at;
    return -1;
}

static hs_status task_of(const char *word, hs_about *out)
{
    static const char *const names[] = { "sequence", "pair", "regression", "multilabel", "tokens", "span" };
    const int i = word_index(word, HS_ABOUT_WORDS);
    if (i >= 0 && i != HS_ABOUT_LM) {
        *out = (hs_about)i;
        return HS_OK;
    }
    const char *near = hs_nearest_word(word, names, HS_COUNT(names));
    return HS_FAIL(USAGE, "no task \"%s\"%s%s: sequence, pair, regression, multilabel, tokens or span", word, near ? ", nearest is " : "",
                   near ? near : "");
}

// Of --metric, in the order that was asked for: the scores and intervals that stay.
static hs_status choose_metrics(const char *list, scored *s)
{
    hs_scores kept = { .scorer = s->scores.scorer };
    hs_interval interval[HS_SCORES_MOST];
    const char *names[HS_SCORES_MOST];
    char word[64];
    for (int i = 0; i < s->scores.n; i++)
        names[i] = s->scores.at[i].name;
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',') {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(p, ","), p);
        const int at = hs_scores_find(&s->scores, word);
        if (at < 0) {
            const char *near = hs_nearest_word(word, names, s->scores.n);
            char all[600] = "";
            for (int i = 0; i < s->scores.n; i++)
                snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", names[i]);
            return HS_FAIL(USAGE, "--metric %s: there is none of that name%s%s; there are %s", word, near ? ", nearest is " : "",
                           near ? near : "", all);
        }
        interval[kept.n] = s->interval[at];
        hs_scores_add(&kept, s->scores.at[at].name, s->scores.at[at].value);
    }
    s->scores = kept;
    memcpy(s->interval, interval, (size_t)kept.n * sizeof *interval);
    return HS_OK;
}

static hs_status write_report(const score_options *o, const scored *s)
{
    HS_TRY(hs_make_dirs(&hs_io_system, o->report));
    HS_TRY(hs_score_write(&s->report, o->report));
    if (!hs_plot_available())
        hs_warn("%s: no pictures, as this build has no libpng", o->report);
    hs_info("report       %s", o->report);
    return HS_OK;
}

static hs_status tell(const score_options *o, const scored *s)
{
    json_t *json;
    hs_text t = { 0 };
    if (o->common.json) {
        HS_TRY(hs_score_json(&s->report, &json));
        hs_line_print(json);
        return HS_OK;
    }
    hs_score_report brief = s->report;
    if (o->metric[0])
        brief.classes = NULL;
    brief.confusion = NULL, brief.calibration = NULL, brief.length = NULL; // with --report
    hs_score_text(&brief, &t);
    if (!t.failed)
        fputs(t.p, stdout);
    const bool failed = t.failed;
    hs_text_free(&t);
    return failed ? HS_FAIL(MEMORY, "no memory for a text of %d scores", s->scores.n) : HS_OK;
}

static hs_status run(const hs_cli *cli, const score_options *o, hs_about about, scored *s)
{
    s->report = (hs_score_report){ .task = cli->arg[0], .title = s->title, .scores = &s->scores, .length_unit = "words" };
    if (cli->n_args == 2)
        snprintf(s->title, sizeof s->title, "%.500s", cli->arg[1]);
    else
        snprintf(s->title, sizeof s->title, "%.250s against %.250s", cli->arg[2], cli->arg[1]);
    HS_TRY(score_task(cli, o, about, s));
    if (o->metric[0])
        HS_TRY(choose_metrics(o->metric, s));
    if (o->report[0])
        HS_TRY(write_report(o, s));
    return tell(o, s);
}

static hs_status run_score(const hs_cli *cli)
{
    const score_options *o = cli->options;
    hs_about about = HS_ABOUT_SEQUENCE;
    HS_TRY(task_of(cli->arg[0], &about));
    if (cli->n_args < 2)
        return HS_FAIL(USAGE, "score %s needs GOLD and PRED, or one file that has both", cli->arg[0]);
    if (o->bootstrap == 1)
        return HS_FAIL(USAGE, "--bootstrap 1: an interval needs at least 2 resamples");
    scored *s = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for scores");
    const hs_status st = run(cli, o, about, s);
    scored_free(s);
    free(s);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

#define AT(field) .offset = offsetof(score_options, field)
static const hs_key keys[] = {
    { .name = "metric",
      .type = HS_KEY_STRING,
      AT(metric),
      .value = "",
      .help = "only these scores, separated by commas, in that order: f1,mcc; without it all that the task has" },
    { .name = "mode",
      .type = HS_KEY_CHOICE,
      AT(mode),
      .value = "default",
      .choices = HS_ENTITY_MODE_WORDS,
      .help = "of tokens: seqeval's default mode, its strict mode, or conlleval.pl; they differ where tags break their scheme" },
    { .name = "scheme",
      .type = HS_KEY_CHOICE,
      AT(scheme),
      .value = "auto",
      .choices = HS_ENTITY_SCHEME_WORDS,
      .help = "of --mode strict: what tags must follow; auto: what the prefixes of the gold tags say" },
    { .name = "bootstrap",
      .type = HS_KEY_INT,
      AT(bootstrap),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .unit = "resamples",
      .help = "intervals of every score from so many samples of the rows (sentences, questions) with replacement; 1000 is usual" },
    { .name = "level", .type = HS_KEY_REAL, AT(level), .value = "0.95", .min = 0.01, .max = 0.9999, .help = "of these intervals" },
    { .name = "seed", .type = HS_KEY_INT, AT(seed), .value = "1", .min = 0, .max = 9e15, .help = "of their samples" },
    { .name = "report",
      .type = HS_KEY_STRING,
      AT(report),
      .value = "",
      .help = "folder for report.txt, scores.json, and as PNG and JSON confusion, calibration (where predictions have scores: JSON, or the "
              "last column of a table) and errors by "
              "length" },
    { .name = "gold-label",
      .type = HS_KEY_STRING,
      AT(gold_label),
      .value = "",
      .help = "column of the gold label: a name of the header, a key, or a number from 1" },
    { .name = "pred-label",
      .type = HS_KEY_STRING,
      AT(pred_label),
      .value = "",
      .help = "column of the predicted label; without it: of CoNLL the last, a column called prediction or predicted_label, the first that "
              "GOLD has not, else the label's" },
    { .name = "format", .type = HS_KEY_CHOICE, AT(format), .value = "auto", .choices = HS_LABEL_FORMAT_WORDS, .help = "of GOLD" },
    { .name = "pred-format", .type = HS_KEY_CHOICE, AT(pred_format), .value = "auto", .choices = HS_LABEL_FORMAT_WORDS, .help = "of PRED" },
    { .name = "positive",
      .type = HS_KEY_STRING,
      AT(positive),
      .value = "",
      .help = "of two classes the one that f1, precision and recall are of; without it the second, by number or alphabet" },
    { .name = "threshold",
      .type = HS_KEY_REAL,
      AT(threshold),
      .value = "0.5",
      .min = -1e9,
      .max = 1e9,
      .help = "multilabel: predicted is what has a higher score. span, with odds: no answer where they are higher (there 1 without it)" },
    { .name = "null-odds",
      .type = HS_KEY_STRING,
      AT(odds),
      .value = "",
      .help = "of span: null_odds.json, which gives best_exact and best_f1 with their thresholds" },
    { .name = "squad",
      .type = HS_KEY_CHOICE,
      AT(squad),
      .value = "auto",
      .choices = "auto|1.1|2.0",
      .help = "of span: whose script; auto: 2.0 where a question has no answer" },
    HS_COMMON_KEYS(score_options),
};
static const hs_schema schema = HS_SCHEMA(keys, score_options);

const hs_command hs_cmd_score = {
    .name = "score",
    .arguments = "TASK GOLD [PRED]",
    .summary = "score predictions by the field's scorers: seqeval, conlleval, SQuAD's, scikit-learn's",
    .examples = "halfstep score tokens dev.conll predicted.conll\n"
                "halfstep score tokens both.conll --mode conlleval\n"
                "halfstep score sequence dev.tsv predicted.tsv --bootstrap 1000 --report runs/report\n"
                "halfstep score span dev-v2.0.json predictions.json --null-odds null_odds.json --json",
    .notes =
        "TASK: sequence, pair, regression, multilabel, tokens or span. GOLD and PRED are TSV, CSV, JSON, lines of label and text, CoNLL\n"
        "columns, of span SQuAD's files; formats and columns are found. One file with gold and predicted tags in its last two columns\n"
        "does as well. Results equal the named scorer's to the last digit.\n"
        "With --json one line: task, scorer, examples, scores, intervals, classes.",
    .options = &schema,
    .min_args = 1,
    .max_args = 3,
    .run = run_score,
};

// score: what the field's scorers make of gold and predicted labels, to their last digit: scikit-learn, scipy, seqeval, conlleval, the two
// scripts of SQuAD. Functions of arrays alone: no model, no tokenizer, no files, nothing that is kept between calls.
//
// Every one fills an hs_scores, whose first entry is what the task is judged by. What is not defined (a correlation of constants, an area
// without positives) is NaN, which hs_metrics_write and --json make null. All results lie between 0 and 1 but those of SQuAD, in percent as
// its scripts give them, and the errors of a regression.
//
// `draw`, of every input: (optional) [rows] which rows are scored, in which order and how often, as bootstrap.h draws them; NULL: each
// once. Errors: MEMORY, and USAGE where nothing is left to be scored or an index is out of range.
#ifndef HS_DATA_SCORE_H
#define HS_DATA_SCORE_H
#include "core/settings/task.h"
#include "data/labelled/labels.h"
#include "data/report/metrics.h"

enum { HS_SCORES_MOST = 32 };
typedef struct hs_scores {
    const char *scorer; // who is followed, and in which mode: "seqeval, default mode"; static
    hs_metric at[HS_SCORES_MOST];
    int n;
} hs_scores;
void hs_scores_add(hs_scores *s, const char *name, double value); // name: static
int hs_scores_find(const hs_scores *s, const char *name);         // -1: none of that name
double hs_scores_get(const hs_scores *s, const char *name);       // NaN: none of that name
// What a task is judged by where nobody says otherwise, as its function names it: "accuracy", "pearson", "f1_micro", "f1", "f1"; NULL: no
// head.
const char *hs_scores_judge(hs_task task);

// ---- counts of one class, and what follows from them; 0 / 0 is 0, as scikit-learn and seqeval have it unless told otherwise

typedef struct hs_class_counts {
    int64_t hits, predicted, gold; // predicted and gold; predicted; gold ("support")
} hs_class_counts;
typedef struct hs_prf {
    double precision, recall, f1;
} hs_prf;
typedef struct hs_class_averages {
    hs_prf micro, macro, weighted;
    int64_t support;
} hs_class_averages;
hs_prf hs_class_prf(hs_class_counts c);
// over: how many of the classes count for macro; classes that are neither gold nor predicted anywhere are left out (absent: they count
// too).
hs_class_averages hs_class_average(const hs_class_counts *c, int n, bool absent);

// ---- sequence: one class of many. accuracy; of two classes f1, precision, recall of the positive one; f1_macro, f1_micro, f1_weighted,
// precision_macro, recall_macro; mcc (Gorodkin 2004 for many); with scores roc_auc (two classes) or roc_auc_ovr (macro, one versus rest)

typedef struct hs_sequence_input {
    int64_t n;
    int classes;
    const int32_t *gold, *pred; // [n]; gold < 0: the row does not count
    const float *scores;        // (optional) [n][stride] probabilities: roc_auc; calibration wants them too
    int64_t stride;             // of scores; 0: classes
    int positive;               // of two classes; scikit-learn's and GLUE's: 1
    const int64_t *draw;
} hs_sequence_input;
hs_status hs_score_sequence(const hs_sequence_input *in, hs_scores *out);
hs_status hs_count_classes(const hs_sequence_input *in, hs_class_counts *by_class); // [classes]

// ---- regression: numbers. pearson, spearman (mean ranks for ties), mse, rmse, mae, r2; more than one number a row: the mean over columns

typedef struct hs_regression_input {
    int64_t n;
    int width;
    const float *gold, *pred;         // [n][stride]
    int64_t gold_stride, pred_stride; // 0: width
    const int64_t *draw;
} hs_regression_input;
hs_status hs_score_regression(const hs_regression_input *in, hs_scores *out);

// ---- multilabel: any of the labels. f1_micro, f1_macro, f1_weighted, f1_samples, precision_micro, recall_micro, accuracy (whole rows),
// hamming_loss; with scores roc_auc_macro

typedef struct hs_multilabel_input {
    int64_t n;
    int labels;
    const float *gold;                 // [n][gold_stride], 0 or 1
    const float *scores;               // [n][score_stride] probabilities, or 0 and 1
    int64_t gold_stride, score_stride; // 0: labels
    float threshold;                   // predicted where the score is above it; 0.5 of probabilities
    bool ranked;                       // the scores are more than 0 and 1: areas are asked for
    const int64_t *draw;
} hs_multilabel_input;
hs_status hs_score_multilabel(const hs_multilabel_input *in, hs_scores *out);
hs_status hs_count_labels(const hs_multilabel_input *in, hs_class_counts *by_label); // [labels]

// ---- tokens: tags by sentence, scored as entities. f1 (micro), precision, recall, f1_macro, f1_weighted, accuracy (of tokens).
// Three scorers, which differ (README): seqeval's default mode, which takes a chunk wherever one could be meant; its strict mode, which
// knows only what its scheme knows; the CoNLL shared tasks' conlleval.pl of 2004, in fractions of 1 where it prints percent.

typedef enum hs_entity_mode { HS_ENTITY_DEFAULT, HS_ENTITY_STRICT, HS_ENTITY_CONLLEVAL, HS_ENTITY_MODES } hs_entity_mode;
#define HS_ENTITY_MODE_WORDS "default|strict|conlleval"
typedef enum hs_entity_scheme {
    HS_SCHEME_AUTO, // as seqeval tells it by the prefixes of the gold tags: IOB2, IOE2, IOBES or BILOU
    HS_SCHEME_IOB1,
    HS_SCHEME_IOB2,
    HS_SCHEME_IOE1,
    HS_SCHEME_IOE2,
    HS_SCHEME_IOBES,
    HS_SCHEME_BILOU,
    HS_SCHEMES
} hs_entity_scheme;
#define HS_ENTITY_SCHEME_WORDS "auto|iob1|iob2|ioe1|ioe2|iobes|bilou"

typedef struct hs_tokens_input {
    const hs_labels *tags; // "O", "B-PER", ...
    int64_t sentences;
    const int64_t *starts;      // [sentences + 1]
    const int32_t *gold, *pred; // [starts[sentences]] places in tags; gold < 0: the token is passed over (special tokens, later subtokens)
    hs_entity_mode mode;
    hs_entity_scheme scheme; // of strict mode
    const int64_t *draw;     // [sentences]
} hs_tokens_input;
typedef struct hs_entity_counts { // by type
    hs_labels types;              // sorted by bytes; those that some entity has
    hs_class_counts *of_type;     // [types.n]
} hs_entity_counts;
// USAGE: a tag that its scheme lacks (strict), by name; prefixes that are no scheme (auto).
hs_status hs_score_tokens(const hs_tokens_input *in, hs_scores *out);
hs_status hs_count_entities(const hs_tokens_input *in, hs_entity_counts *out);
void hs_entity_counts_free(hs_entity_counts *c); // takes NULL; cleared behind it
bool hs_tags_are_chunks(const hs_labels *tags);  // O, or a prefix and a type, every one; parts of speech are not

// ---- span: answers as texts. exact, f1, total; version 2 also HasAns_exact, HasAns_f1, HasAns_total, NoAns_..., and with odds best_exact,
// best_exact_thresh, best_f1, best_f1_thresh

typedef struct hs_span_answer {
    const char *id;          // for messages
    const char *const *gold; // [n_gold] UTF-8; none: the question has no answer (version 2)
    int n_gold;
    const char *pred; // "": no answer; NULL: none was made, which version 1 counts as wrong and version 2 refuses
    double odds;      // that it has none (null_odds.json, na_prob); only if asked for
    int64_t order;    // in the file of odds: best thresholds go through equal odds in that order; all 0: in the order of the answers
} hs_span_answer;
typedef struct hs_answer_score {
    double exact, f1; // 0 or 1, and of bags of words: the best over the gold answers
} hs_answer_score;
typedef struct hs_span_input {
    int64_t n;
    const hs_span_answer *answers;
    bool version_2, odds;
    double threshold; // of odds: above it the answer is "" (the script's --na-prob-thresh, default 1)
    const int64_t *draw;
    const hs_answer_score *each; // (optional) [n] what hs_score_answers made, so that a bootstrap does not compare texts again
} hs_span_input;
hs_status hs_score_span(const hs_span_input *in, hs_scores *out);
hs_status hs_score_answers(const hs_span_input *in, hs_answer_score *each); // [n]
// lower case, no ASCII punctuation, no articles, one blank between words: the text that is compared. Caller frees.
hs_status hs_answer_normalize(const char *text, char **out);

#endif

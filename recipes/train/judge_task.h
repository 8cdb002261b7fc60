// judge_task: what the files of judge share.
#ifndef HS_RECIPES_JUDGE_TASK_H
#define HS_RECIPES_JUDGE_TASK_H
#include "data/base/arena.h"
#include "data/score/score_report.h"
#include "infer/heads/span_decode.h"
#include "recipes/train/judge.h"

enum { HS_JUDGE_AREAS = 64 }; // classes, at most, of which areas under curves are made

typedef struct hs_judge_task hs_judge_task;
struct hs_judge {
    const hs_judge_task *task;
    const hs_examples *examples;
    const hs_source *rows; // sample i is one of its rows
    int64_t n;             // examples; of tokens words
    int width;             // classes, numbers
    bool *seen;            // by example
    float *logits;         // of a batch
    size_t room;           // of logits
    hs_scores scores;      // of the last time somebody asked
    const char *names[HS_SCORES_MOST + 1];
    // of classes, numbers, labels
    int32_t *gold, *pred; // [n]; gold of what was not seen is -1
    float *gold_value;    // [n][width]
    float *value;         // [n][width]: probabilities, numbers; NULL: of more than HS_JUDGE_AREAS classes
    float *sure;          // [n]: probability of pred
    // of words
    int64_t *starts;                // [sentences + 1]
    bool chunks;                    // tags are those of entities
    float *chain[3];                // crf.next, crf.first, crf.last; NULL: each word by itself
    bool has_chain;                 // they are this evaluation's
    int32_t *chain_row, *chain_tag; // [most tokens of a row]
    // of answers
    hs_span_opts span;
    hs_span_decoder *decoder;
    int64_t at;              // question that is decoded; -1: none
    hs_arena golds, guesses; // texts
    hs_span_answer *answer;  // [n]
    hs_answer_score *each;   // [n]
};

typedef struct hs_judge_facts { // beside the scores, for a report
    hs_class_counts *by_class;
    hs_entity_counts entities;
    hs_labels classes; // borrowed, or those of entities
    hs_confusion confusion;
    hs_calibration calibration;
    hs_length_errors length;
    hs_score_report report;
} hs_judge_facts;

struct hs_judge_task {
    const char *name, *unit; // "sentences"
    const char *usual;
    bool tokens; // logits of each token, else of each row
    hs_status (*take)(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols);
    hs_status (*score)(hs_judge *j, hs_scores *out);
    hs_status (*facts)(hs_judge *j, hs_judge_facts *f);
};

// The largest, the first of equals.
static inline int32_t hs_judge_best(const float *x, int n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}
hs_status hs_judge_score_class(hs_judge *j, hs_scores *out); // of texts, and of words whose tags are no entities
hs_status hs_judge_count(hs_judge *j, hs_judge_facts *f);    // their classes and confusion

// Words (judge_tags.c).
hs_status hs_judge_tags_chain(hs_judge *j, const hs_params *ps);
hs_status hs_judge_tags_take(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols);
hs_status hs_judge_tags_score(hs_judge *j, hs_scores *out);
hs_status hs_judge_tags_facts(hs_judge *j, hs_judge_facts *f);

// Answers (judge_span.c).
hs_status hs_judge_span_open(hs_judge *j);
void hs_judge_span_free(hs_judge *j);
void hs_judge_span_begin(hs_judge *j);
void hs_judge_span_gold(hs_judge *j); // as if every question was answered right
hs_status hs_judge_span_take(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols);
hs_status hs_judge_span_score(hs_judge *j, hs_scores *out);
hs_status hs_judge_span_facts(hs_judge *j, hs_judge_facts *f);

#endif

// prediction_json: what a prediction says, as JSON: the values of predict's records and lines, and of a server's answers.
#ifndef HS_INFER_PREDICTION_JSON_H
#define HS_INFER_PREDICTION_JSON_H
#include "data/base/json_util.h"
#include "infer/heads/head.h"
#include "infer/heads/tag_spans.h"

typedef struct hs_prediction_json { // of one thread
    const hs_labels *labels;        // borrowed
    hs_tag_spans *spans;            // TOKENS; else NULL
    int32_t *order;                 // [labels]
} hs_prediction_json;
hs_status hs_prediction_json_open(hs_prediction_json *j, hs_about about, const hs_labels *labels);
void hs_prediction_json_close(hs_prediction_json *j); // also of zeros

// The labels with the largest scores, the lower among equals, into j->order; returns how many. top 0: all.
int hs_prediction_best(hs_prediction_json *j, const hs_prediction *x, int top);
void hs_prediction_scores(hs_prediction_json *j, hs_text *t, const hs_prediction *x, int top); // {"A": 0.75, "B": 0.25}, the largest first
void hs_prediction_numbers(hs_text *t, const hs_prediction *x);                                // 0.5, or of several [0.5, 1.5]

// Places in a text are in characters, [start, end), as SQuAD counts.
typedef struct hs_places {
    const char *type; // the key that has the type of a span
    bool bytes;       // start_byte and end_byte too
} hs_places;
// TOKENS: [{"type": "PER", "text": "Ada", "start": 0, "end": 3, "score": 0.9}, ...] in the order of the text
void hs_prediction_spans(hs_prediction_json *j, hs_text *t, const hs_prediction *x, const hs_places *how);
// SPAN: [{"text": "Ada", "start": 0, "end": 3, "score": 0.9}, ...], the likeliest first, at most `top` (0: all); "", null, null: no answer
void hs_prediction_answers(hs_text *t, const hs_prediction *x, int top, const hs_places *how);
// SPAN: the parts of one of them. NULL: no answer.
void hs_prediction_answer_text(hs_text *t, const hs_prediction *x, const hs_span_guess *g);
void hs_prediction_place(hs_text *t, const hs_prediction *x, const hs_span_guess *g, int64_t at); // byte `at` of the context
double hs_prediction_answer_score(const hs_prediction *x); // of x->span.answer, or that there is none

#endif

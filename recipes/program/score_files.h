// score_files: gold labels and predicted ones out of two files, row by row, as arrays that data/score takes.
//
// The files are what data/labelled reads. Which column of the second is the prediction: the one that is given; of CoNLL the last; a column
// or key "prediction", "predicted", "predicted_label", "pred"; of a table with more columns than the first file the first of those; else
// where a label stands. Without a second file both are in the first: of CoNLL the last two columns. Rows go by their order; ids and words
// that differ are an error with both places.
#ifndef HS_RECIPES_SCORE_FILES_H
#define HS_RECIPES_SCORE_FILES_H
#include "data/labelled/examples.h"
#include "data/score/score.h"

typedef struct hs_score_files_opts {
    hs_about about;          // not SPAN, not LM; PAIR is SEQUENCE here
    const char *gold, *pred; // pred NULL: both are in gold
    hs_label_format gold_format, pred_format;
    const char *gold_label, *pred_label; // columns or keys; NULL or "": found
} hs_score_files_opts;

typedef struct hs_score_rows {
    int64_t n;                      // rows; of TOKENS sentences
    hs_labels labels;               // of both files: integers ascending, else by bytes. Not of REGRESSION
    int width;                      // REGRESSION: numbers of a row. MULTILABEL: labels.n
    int32_t *gold, *pred;           // classes [n]; tags [starts[n]], gold -1: does not count
    int64_t *starts;                // TOKENS: [n + 1]
    float *gold_value, *pred_value; // REGRESSION, MULTILABEL (0 and 1): [n][width]
    float *scores;   // [n][labels.n] probabilities of each label, where each prediction has all of them (JSON, "scores"); or NULL
    float *sure;     // [n] the probability of the predicted class, where a table has it in its last column, "score"; or NULL
    int64_t *length; // words of each row's text; NULL: the files have none
} hs_score_rows;

// USAGE with file:line: one file ends before the other, ids or words that differ, no label that both have; MEMORY. hs_score_rows_free in
// any case.
hs_status hs_score_rows_read(hs_score_rows *out, const hs_score_files_opts *o);
void hs_score_rows_free(hs_score_rows *r);

#endif

// predict_out: predictions written back in the format that their file has, one example at a time.
#ifndef HS_RECIPES_PREDICT_OUT_H
#define HS_RECIPES_PREDICT_OUT_H
#include "infer/heads/predictor.h"

typedef struct hs_predict_out hs_predict_out;
typedef struct hs_predict_out_opts {
    const char *output;       // a file, which appears whole or not at all; NULL: standard output
    const char *nbest, *odds; // SPAN: (optional) files of all answers, and of the odds of no answer, as SQuAD's script writes them
    bool json;                // a JSON object a line, whatever the format
    hs_about about;
    const hs_labels *labels; // of the model; borrowed
    int top;                 // scores of so many labels are written; 0: of all
    double threshold;        // MULTILABEL: labels at or above it
} hs_predict_out_opts;

hs_status hs_predict_out_open(hs_predict_out **out, const hs_predict_out_opts *o);
// Once, before the first put: what the file is.
void hs_predict_out_of(hs_predict_out *p, const hs_label_reader *reader);
hs_status hs_predict_out_put(hs_predict_out *p, const hs_prediction *x); // USAGE: SQuAD without an id
hs_status hs_predict_out_commit(hs_predict_out *p);
void hs_predict_out_close(hs_predict_out *p); // without commit: no file. NULL: nothing

#endif

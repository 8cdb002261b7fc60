// head: the logits of a model with a task to what they say of an example: classes, numbers, tags by word, answers.
//
//   hs_head          what stands in the model, read once; nothing in it changes: for any number of threads
//   hs_head_decoder  one example at a time: begin, take the logits of each of its rows, end. Of one thread
//
// What an example gives depends on its rows' logits alone, to the last bit.
#ifndef HS_INFER_HEAD_H
#define HS_INFER_HEAD_H
#include "data/labelled/example_rows.h"
#include "infer/heads/span_decode.h"
#include "infer/session/session.h"

typedef struct hs_prediction { // until its decoder's next use
    const hs_example *example;
    bool empty; // no row of tokens: nothing was asked; scores are 0
    // SEQUENCE, PAIR, MULTILABEL: probabilities (softmax; each by itself) of n_labels. REGRESSION: numbers
    const float *score;
    const float *logit; // likewise, what the model put out
    int n_labels;
    int32_t label; // SEQUENCE, PAIR: the likeliest, the lower among equals
    // TOKENS: [example->n] class of each word and its probability; of one that has no token, or that is cut off, O, else class 0, and 0
    const int32_t *tag;
    const float *tag_score;
    hs_span_found span; // SPAN
    // of a predictor; else 0 and NULL
    int64_t number; // of the example, from 0
    const struct hs_block_item *item;
} hs_prediction;

hs_about hs_about_of_task(hs_task task); // what data of a model with that task are about; of several the first

typedef struct hs_head hs_head;
// Of a session that is loaded with an evaluation plan of hs_head_shape, and any run that has it bound. about: what its task's data are.
// INTERNAL: no task, no such plan.
hs_status hs_head_new(hs_head **out, const hs_session *s, hs_run *run, hs_about about);
void hs_head_free(hs_head *h);
hs_arch_shape hs_head_shape(const hs_session *s);
hs_about hs_head_about(const hs_head *h);
int64_t hs_head_columns(const hs_head *h); // of a row of logits

typedef struct hs_head_decoder hs_head_decoder;
// span: of SPAN, else not looked at. USAGE: no answers, or of no tokens.
hs_status hs_head_decoder_new(hs_head_decoder **out, const hs_head *h, const hs_span_opts *span);
void hs_head_decoder_free(hs_head_decoder *d);
hs_status hs_head_decoder_begin(hs_head_decoder *d, const hs_example *x); // borrowed until its end
// logits [rows][columns]: a row for each token, or one of a task about whole sequences (hs_row_reader_task). NONFINITE.
hs_status hs_head_decoder_take(hs_head_decoder *d, const hs_example_row *row, const float *logits, int64_t rows);
hs_status hs_head_decoder_end(hs_head_decoder *d, hs_prediction *out);

#endif

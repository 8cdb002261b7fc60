// span_decode: start and end logits of a question's rows to answers, as Google's run_squad.py has it.
//
// Of each row the n_best likeliest starts with the n_best likeliest ends: start in the row that shows the most around it, end not before
// it, at most max_answer tokens. All rows' answers by the sum of their two logits; of the same text the likeliest. That there is no answer
// is start + end of [CLS], of the row where that is least. Probabilities are a softmax over what is left of n_best.
#ifndef HS_INFER_SPAN_DECODE_H
#define HS_INFER_SPAN_DECODE_H
#include "data/labelled/example_rows.h"

typedef struct hs_span_opts {
    int n_best;         // 20
    int64_t max_answer; // tokens: 30
    bool ask;           // predictor: none is what the file says of itself
    bool none;          // "no answer" is one of the answers (SQuAD 2.0)
    double threshold;   // no answer where its logits are above the best answer's by more
} hs_span_opts;

typedef struct hs_span_guess {
    int64_t start, end;            // bytes of text[1]; both 0 and `none`: no answer
    double start_logit, end_logit; // their sum is what it is ranked by
    double probability;
    bool none;
} hs_span_guess;

typedef struct hs_span_found {  // until the decoder's next use
    const hs_span_guess *guess; // [n], the likeliest first
    int n;
    const hs_span_guess *answer; // NULL: there is none, or nothing was found
    double odds; // none: logits of no answer less those of the best answer; SQuAD's null_odds. 0 where nothing else was found
} hs_span_found;

typedef struct hs_span_decoder hs_span_decoder;
hs_status hs_span_decoder_new(hs_span_decoder **out, const hs_span_opts *o); // USAGE: no answers, or of no tokens
void hs_span_decoder_free(hs_span_decoder *d);
void hs_span_decoder_begin(hs_span_decoder *d, const char *context); // of a question; context: text[1] of the example, until its end
// A row of it. logits [row->n][cols]: columns 0 and 1.
hs_status hs_span_decoder_add(hs_span_decoder *d, const hs_example_row *row, const float *logits, int64_t cols);
hs_status hs_span_decoder_end(hs_span_decoder *d, hs_span_found *out);

#endif

// predictor: a file of texts through a model with a task: reader and tokenizer on one thread, the model on all others, what comes out in
// the order of the file, one example at a time. Memory: a few blocks of examples, whatever the file.
//
// What an example gives depends on that example alone (TOKENS with `context`: and on its neighbours), to the last bit.
#ifndef HS_INFER_PREDICTOR_H
#define HS_INFER_PREDICTOR_H
#include "infer/heads/example_blocks.h"
#include "infer/heads/head.h"

typedef hs_status hs_predicted(const hs_prediction *p, void *user); // until it returns

typedef struct hs_predictor_opts {
    const hs_session *session;        // loaded with an evaluation plan of hs_head_shape; of a model with a task
    hs_run *run;                      // NULL: the session's
    const hs_examples_opts *examples; // about: of the model's task; labels_optional. Borrowed
    hs_rows_opts rows;                // tokenizer and vocab are the session's; max_length 0, or above the context: the context
    hs_span_opts span;
    const char *path; // "-": standard input
    hs_predicted *done;
    void *user;
} hs_predictor_opts;

typedef struct hs_predictor hs_predictor;
hs_status hs_predictor_open(hs_predictor **out, const hs_predictor_opts *o); // what the file is is known then
hs_status hs_predictor_run(hs_predictor *p);                                 // to the end. What `done` fails with ends it
void hs_predictor_close(hs_predictor *p);
// What was found; the header of a table from the first `done` on, and behind hs_predictor_run.
const hs_label_reader *hs_predictor_reader(const hs_predictor *p);

typedef struct hs_predictor_count {
    int64_t examples, tokens, rows;
    int64_t cut, max_length; // examples of which something is in no row
} hs_predictor_count;
hs_predictor_count hs_predictor_counted(const hs_predictor *p);

#endif

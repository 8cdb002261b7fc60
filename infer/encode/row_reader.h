// row_reader: rows of tokens through an encoder's evaluation plan, as many at once as the plan has room for, one behind the other without
// padding - and what comes out of it: hidden states, the vector of a whole row, the likeliest tokens of picked places.
//
// What a row gives depends on that row alone, to the last bit: not on its neighbours, nor on threads.
#ifndef HS_INFER_ROW_READER_H
#define HS_INFER_ROW_READER_H
#include "core/run/run.h"
#include "data/checkpoint/sentence_folder.h"

typedef struct hs_encode_row { // borrowed for the call
    const int32_t *id, *type;  // [n]; type NULL: all 0
    int64_t n;
    const int64_t *pick; // [n_picks] positions whose predictions are wanted
    int64_t n_picks;
} hs_encode_row;

typedef struct hs_guess {
    int32_t id;
    double score; // softmax over the model's vocabulary
} hs_guess;

typedef struct hs_row_reader hs_row_reader;
typedef struct hs_row_reader_opts {
    hs_run *run; // has `plan` bound; borrowed
    int plan;    // an evaluation plan of a masked family (models/family.h): of shape.hidden, or of shape.logits
    int64_t context, vocab, types;
    const uint8_t *drawable; // [vocab] 0: never guessed; NULL: any. Borrowed
} hs_row_reader_opts;
hs_status hs_row_reader_new(hs_row_reader **out, const hs_row_reader_opts *o); // INTERNAL: not such a plan
void hs_row_reader_free(hs_row_reader *e);

// A row behind those added since the last run. *index: its number among them, from 0; -1: there is no room left, run first. USAGE: an empty
// row, one that never fits, an id or type outside the model's.
hs_status hs_row_reader_add(hs_row_reader *e, const hs_encode_row *row, int *index);
int64_t hs_row_reader_most_rows(const hs_row_reader *e);
int hs_row_reader_rows(const hs_row_reader *e); // added, or of the last run
// Submits what was added and waits; the next row added begins anew. Nothing added: nothing happens.
hs_status hs_row_reader_run(hs_row_reader *e);
void hs_row_reader_clear(hs_row_reader *e); // what was added is forgotten: of a run that failed

// ---- what the last run left of its row `index`
int64_t hs_row_reader_width(const hs_row_reader *e); // of hidden states; 0: the plan has logits
int64_t hs_row_reader_length(const hs_row_reader *e, int index);
// Output 0 of a plan of a model with a task: [*rows][width], a row for each token, or, of a task about whole sequences, one.
hs_status hs_row_reader_task(const hs_row_reader *e, int index, float *dst, int64_t *rows);
int64_t hs_row_reader_task_rows(const hs_row_reader *e, int index);            // that it will be
hs_status hs_row_reader_hidden(const hs_row_reader *e, int index, float *dst); // [n][width]
// One vector: mean or largest of all tokens of the row, or its first token. normalize: of length 1 (a vector of zeros stays). NONFINITE.
hs_status hs_row_reader_vector(const hs_row_reader *e, int index, hs_pooling pooling, bool normalize, float *dst);
// The k likeliest tokens of its pick number `pick`, best first, the lower id among equals; *n: at most k. NONFINITE.
hs_status hs_row_reader_guess(const hs_row_reader *e, int index, int64_t pick, int64_t k, hs_guess *dst, int64_t *n);

#endif

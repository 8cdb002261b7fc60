// bert_rows: rows of BERT pretraining with their masks already drawn, as NVIDIA's HDF5 shards hold them.
//
// A row is one sequence "[CLS] A [SEP] B [SEP]", or several behind each other (`parts` > 1, "packed"). Arrays are dense whatever the file's
// layout was; what lies behind the live part of a row is 0.
#ifndef HS_DATA_BERT_ROWS_H
#define HS_DATA_BERT_ROWS_H
#include "core/base/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct hs_bert_rows {
    int64_t n, length, predictions, parts; // rows; room of each
    int32_t *ids;                          // [n][length]
    int8_t *mask, *segments;               // [n][length]: 1 where a token is; 0 in A, 1 in B
    int32_t *positions, *labels;           // [n][predictions]: ascending, counted from the row's start, 0 ends the list; original ids
    int32_t *part_tokens, *part_labels;    // [n][parts]: tokens and predictions of each sequence; 0 tokens: no sequence
    int8_t *next;                          // [n][parts]: 1 where B is a random text
} hs_bert_rows;

hs_status hs_bert_rows_alloc(hs_bert_rows *r, int64_t n, int64_t length, int64_t predictions, int64_t parts); // zeroed; MEMORY
void hs_bert_rows_free(hs_bert_rows *r);
// Row i of `from` into row k of `to`. USAGE: it is longer than `to` has room for; tells by how much.
hs_status hs_bert_rows_copy(hs_bert_rows *to, int64_t k, const hs_bert_rows *from, int64_t i);
int64_t hs_bert_row_tokens(const hs_bert_rows *r, int64_t row);
int64_t hs_bert_row_labels(const hs_bert_rows *r, int64_t row);
int64_t hs_bert_row_parts(const hs_bert_rows *r, int64_t row);
// CORRUPT names file, dataset and row (counted from first_row). vocab 0: ids must be at least 0, no more is known.
hs_status hs_bert_rows_check(const hs_bert_rows *r, const char *path, int64_t first_row, int64_t vocab);

#endif

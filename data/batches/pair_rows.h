// pair_rows: rows of BERT pretraining with their masks already drawn, as NVIDIA's HDF5 shards hold them.
//
// A row is one sequence "[CLS] A [SEP] B [SEP]", or several behind each other (`parts` > 1, "packed"). Arrays are dense whatever the file's
// layout was; what lies behind the live part of a row is 0.
#ifndef HS_DATA_PAIR_ROWS_H
#define HS_DATA_PAIR_ROWS_H
#include "core/graph/batch.h"
#include <stddef.h>
#include <stdint.h>

typedef struct hs_pair_rows {
    int64_t n, length, predictions, parts; // rows; room of each
    int32_t *ids;                          // [n][length]
    int8_t *mask, *segments;               // [n][length]: 1 where a token is; 0 in A, 1 in B
    int32_t *positions, *labels;           // [n][predictions]: ascending, counted from the row's start, 0 ends the list; original ids
    int32_t *part_tokens, *part_labels;    // [n][parts]: tokens and predictions of each sequence; 0 tokens: no sequence
    int8_t *next;                          // [n][parts]: 1 where B is a random text
} hs_pair_rows;

hs_status hs_pair_rows_alloc(hs_pair_rows *r, int64_t n, int64_t length, int64_t predictions, int64_t parts); // zeroed; MEMORY
void hs_pair_rows_free(hs_pair_rows *r);
int64_t hs_pair_row_tokens(const hs_pair_rows *r, int64_t row);
int64_t hs_pair_row_labels(const hs_pair_rows *r, int64_t row);
int64_t hs_pair_row_parts(const hs_pair_rows *r, int64_t row);
// CORRUPT names file, dataset and row (counted from first_row). vocab 0: ids must be at least 0, no more is known.
hs_status hs_pair_rows_check(const hs_pair_rows *r, const char *path, int64_t first_row, int64_t vocab);

// The columns of such rows in a batch, without padding: ids, token_types i32 [tokens] (0 in A, 1 in B); starts i32 [sequences + 1]; where
// i32 [tokens][2] {slot of the sequence in the optimizer step's global batch, position}; picks i32 [predictions]: token of the batch that
// is predicted; pick_targets i32 [predictions]: its id; pair_targets i32 [sequences]: 1 where B is a random text. Labels: of loss 0
// predictions, of loss 1 sequences.
enum { HS_PAIR_IDS, HS_PAIR_TYPES, HS_PAIR_STARTS, HS_PAIR_WHERE, HS_PAIR_PICKS, HS_PAIR_PICK_TARGETS, HS_PAIR_TARGETS, HS_PAIR_COLUMNS };
extern const hs_column hs_pair_columns[HS_PAIR_COLUMNS];
// As rows of a table that may go on behind them.
#define HS_PAIR_COLUMN_ROWS                                                                                                                \
    [HS_PAIR_IDS] = { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS },                                                              \
    [HS_PAIR_TYPES] = { .name = "token_types", .dtype = HS_I32, .ext = HS_EXT_TOKENS },                                                    \
    [HS_PAIR_STARTS] = { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS, .tail = HS_TAIL_LAST },                                  \
    [HS_PAIR_WHERE] = { .name = "where", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 } },                                            \
    [HS_PAIR_PICKS] = { .name = "picks", .dtype = HS_I32, .ext = HS_EXT_PICKS },                                                           \
    [HS_PAIR_PICK_TARGETS] = { .name = "pick_targets", .dtype = HS_I32, .ext = HS_EXT_PICKS, .tail = HS_TAIL_IGNORE },                     \
    [HS_PAIR_TARGETS] = { .name = "pair_targets", .dtype = HS_I32, .ext = HS_EXT_SEQS, .tail = HS_TAIL_IGNORE }
// Row i behind what b holds. USAGE: it is longer than `most` units of one sample; tells by how much.
hs_status hs_pair_row_append(const hs_pair_rows *r, int64_t row, const int64_t most[HS_N_COUNTERS], hs_batch *b);

#endif

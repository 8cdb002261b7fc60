// hdf5_shard: files of BERT pretraining rows as NVIDIA's recipes write them (HDF5), read and written.
//
//   dataset               fixed        varlen            packed            (N rows)
//   input_ids             i4 [N][S]    vlen i2 [N]       vlen i2 [N]
//   input_mask            i1 [N][S]    -                 -
//   segment_ids           i1 [N][S]    vlen i1 [N]       vlen i1 [N]
//   masked_lm_positions   i4 [N][P]    vlen i2 [N]       vlen i2 [N]       from the row's start, also in later sequences of a packed row
//   masked_lm_ids         i4 [N][P]    vlen i2 [N]       vlen i2 [N]
//   next_sentence_labels  i1 [N]       i1 [N]            vlen i1 [N]
//   packed_input_len, packed_masked_lm_len               vlen i2 [N]       tokens and predictions of each sequence
//
// Written so, gzip 4 where fixed; vlen i4 where the vocabulary needs it. Read: integers of any width and order, any chunks, gzip, shuffle
// and Fletcher32, lists in chunks too. Without libhdf5 every function here is UNSUPPORTED with a message that says so.
//
// Any thread may call: one lock holds libhdf5, which the rest of the process must then not call. A file is used by one thread at a time.
#ifndef HS_DATA_HDF5_SHARD_H
#define HS_DATA_HDF5_SHARD_H
#include "data/batches/pair_rows.h"
#include <stdbool.h>

typedef enum hs_h5_layout { HS_H5_FIXED, HS_H5_VARLEN, HS_H5_PACKED } hs_h5_layout;
extern const char *const hs_h5_layout_names[]; // "fixed", "varlen", "packed"

typedef struct hs_h5_info {
    hs_h5_layout layout;
    int64_t rows;
    int64_t length, predictions; // S, P of the fixed layout; 0: known row by row
    int64_t block;               // rows best read together: whole chunks
} hs_h5_info;

typedef struct hs_h5_file hs_h5_file;
// Every error names the file, and the dataset where one is to blame. CORRUPT: no HDF5, truncated, a dataset that is missing, of the wrong
// type or shape, a header that cannot be. UNSUPPORTED: other filters, newer superblocks. The file is mapped until it is closed: one that is
// cut short by someone else meanwhile kills the process (SIGBUS). vocab: 0 or the number of ids; a read refuses ids beyond it.
hs_status hs_h5_open(hs_h5_file **out, const char *path, int64_t vocab);
void hs_h5_close(hs_h5_file *f);
hs_h5_info hs_h5_info_of(const hs_h5_file *f);
// Rows [first, first + n), allocated here (hs_pair_rows_free), every one checked. In the varlen layouts the room of a row is the longest
// of them. Decoding (inflate, shuffle, checksums, widening) runs outside the library's lock.
hs_status hs_h5_read(hs_h5_file *f, int64_t first, int64_t n, hs_pair_rows *out);
bool hs_h5_is(const char *path); // begins as HDF5 does; false also if it cannot be read

// Of exactly `rows` rows, appended in any number of calls, best in multiples of hs_h5_block_rows. The file appears under its name at
// commit, or not at all.
typedef struct hs_h5_out hs_h5_out;
typedef struct hs_h5_out_opts {
    hs_h5_layout layout;
    int64_t rows, length, predictions; // length and predictions of the fixed layout
    int64_t vocab;                     // 0: unknown
    int gzip;                          // 0 to 9; fixed layout
} hs_h5_out_opts;
int64_t hs_h5_block_rows(int64_t length);
hs_status hs_h5_create(hs_h5_out **out, const char *path, const hs_h5_out_opts *o);
hs_status hs_h5_append(hs_h5_out *w, const hs_pair_rows *rows); // USAGE: more than announced, or rows that do not fit
hs_status hs_h5_commit(hs_h5_out *w);                           // in any case the end of w
void hs_h5_discard(hs_h5_out *w);                               // gives up; NULL is harmless

#endif

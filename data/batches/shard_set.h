// shard_set: a source of pairs: many shards as one shuffled stream of rows.
//
// Sample i of T rows: epoch e = i / T, place p = i % T. An epoch lays the files behind each other in an order of its own (a permutation
// keyed by seed and e), the blocks of rows inside each file likewise, and the rows inside each block. This line of T rows is cut into
// `lanes` equal parts, which are read side by side: place p is row p / lanes of part p % lanes. So every row comes once an epoch, a batch
// has rows from `lanes` places of the data, and a rank that takes every size-th sample reads lanes / size parts only, where that divides.
// The stream is a function of (files, seed, i): the number of ranks changes who reads a row, never which or when.
#ifndef HS_DATA_SHARD_SET_H
#define HS_DATA_SHARD_SET_H
#include "data/batches/source.h"
#include "data/formats/hdf5_shard.h"

// The order alone, without files.
typedef struct hs_shard_order {
    int n;
    int64_t *rows, *block; // [n]: of each file; rows of a block at most
    int64_t total, lanes;
    uint64_t seed;
    uint64_t epoch;  // that file and before stand for; UINT64_MAX: none yet
    int *file;       // [n] in the order of the epoch
    int64_t *before; // [n + 1] rows in front of it
} hs_shard_order;
hs_status hs_shard_order_init(hs_shard_order *o, const int64_t *rows, const int64_t *block, int n, int64_t lanes, uint64_t seed);
void hs_shard_order_free(hs_shard_order *o);
void hs_shard_order_at(hs_shard_order *o, uint64_t sample, int *file, int64_t *row); // one thread at a time

typedef struct hs_shard_set_opts {
    const char *const *path; // [n], in any order: the stream depends on it
    int n;
    int64_t vocab;
    uint64_t seed;
    int64_t length, predictions, parts; // room of a row; 0: as the files have it (fixed layout)
    int64_t lanes;                      // 0: 4
} hs_shard_set_opts;

// Opens every file once: all must be whole, of one layout and shape. The columns are hs_pair_columns; a rank takes the samples of a batch
// that are its own modulo the number of ranks, so that any number will do.
hs_status hs_shard_set_new(hs_source **out, const hs_shard_set_opts *o);

#endif

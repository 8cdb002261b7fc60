// support_shards: rows of BERT pretraining as tests need them, and files of them.
#ifndef HS_TESTS_SUPPORT_SHARDS_H
#define HS_TESTS_SUPPORT_SHARDS_H
#include "data/formats/hdf5_shard.h"

// n rows over a vocabulary, from `first` on of a fixed sequence: ids[0] of row i is 5 + i % (vocab - 5), so that rows can be told apart.
void some_rows(hs_pair_rows *r, int64_t first, int64_t n, int64_t length, int64_t predictions, int64_t parts, int64_t vocab);
void same_row(const hs_pair_rows *a, int64_t i, const hs_pair_rows *b, int64_t k);
void write_shard(const char *path, hs_h5_layout layout, int64_t first, int64_t n, int64_t length, int64_t predictions, int64_t vocab);

#endif

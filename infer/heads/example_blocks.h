// example_blocks: a file's examples and their rows of tokens, made on a thread of their own while the model computes.
#ifndef HS_INFER_EXAMPLE_BLOCKS_H
#define HS_INFER_EXAMPLE_BLOCKS_H
#include "data/base/arena.h"
#include "data/labelled/example_rows.h"
#include "data/labelled/label_reader.h"

typedef struct hs_block_item { // an example
    const hs_example *example; // without its labels: what a file says is nothing that is predicted from
    hs_slice raw;              // hs_label_entry's, and its line
    int64_t raw_line;
    const hs_example_row *row; // [n_rows]
    int64_t n_rows;
    const hs_slice *gold; // labels as written; NULL: none
    int n_gold;
} hs_block_item;
typedef struct hs_block {
    hs_block_item *item; // [n]
    int64_t n;
    hs_arena arena; // of all that is in it
    int in_use;     // free for whoever holds it
} hs_block;

typedef struct hs_example_blocks_opts {
    const hs_examples_opts *examples; // labels_optional; path and n_paths are not read. Borrowed
    hs_rows_opts rows;
    const char *path;
} hs_example_blocks_opts;

typedef struct hs_example_blocks hs_example_blocks;
// Opens the file, so that what it is is known, and starts the thread.
hs_status hs_example_blocks_open(hs_example_blocks **out, const hs_example_blocks_opts *o);
void hs_example_blocks_close(hs_example_blocks *b);                          // stops it
const hs_label_reader *hs_example_blocks_reader(const hs_example_blocks *b); // what was found; its entries are the thread's
// *block NULL: the end. An error comes behind the blocks before it. The block is the caller's: hs_block_free.
hs_status hs_example_blocks_next(hs_example_blocks *b, hs_block **block);
void hs_block_free(hs_block *block);

#endif

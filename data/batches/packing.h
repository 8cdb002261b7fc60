// packing: whole documents side by side in rows of fixed length, so that attention sees one document at a time and nothing is padded.
//
// hs_pack_ffd is the plain algorithm. hs_packer is a stream of rows of a text, each a function of its index:
// an epoch's tokens are cut into chunks; chunks are shuffled; a *window* is some hundred rows' worth of chunks. Inside it documents (or
// what the chunk's ends leave of them, in parts of at most a row) go into rows by first-fit decreasing; what then fits nowhere is cut to
// fill the gaps. Tokens and room being equal, every row is full. So row i is found by packing window i / rows alone.
#ifndef HS_DATA_PACKING_H
#define HS_DATA_PACKING_H
#include "data/text/token_store.h"

// First-fit decreasing (Johnson 1973): pieces by falling length, equal ones in their order, each into the first of at most max_rows rows of
// `capacity` tokens that has room. row[i]: where piece i went, -1 where no row had room. *n_rows: rows used. O(n log n).
hs_status hs_pack_ffd(const int32_t *length, int64_t n, int32_t capacity, int64_t max_rows, int32_t *row, int64_t *n_rows);

typedef struct hs_piece {
    int64_t first; // token of the store
    int32_t n;     // inputs [first, first + n), targets one further: all of one document
} hs_piece;

typedef struct hs_packer hs_packer;
typedef struct hs_packer_info {
    int64_t inputs;           // tokens with a successor in their document
    int64_t documents, empty; // with inputs; without (less than two tokens): never seen
    int64_t rows, chunks;     // of a window; rows shrink for small texts
    int64_t per_epoch;        // rows
    int64_t pieces, cuts;     // of the window packed last; how often packing, not a chunk's end or a row's length, cut a document
} hs_packer_info;
// Rows of `row` tokens of the range. Documents end where the store says; what of one lies in the range counts. USAGE: less than a row.
hs_status hs_packer_new(hs_packer **out, const hs_token_range *r, int64_t row, uint64_t seed);
void hs_packer_free(hs_packer *p);
// Pieces of row `sample`, together `row` tokens. Borrowed until the next call, which is O(1) in the same window and O(window) in another.
hs_status hs_packer_row(hs_packer *p, uint64_t sample, const hs_piece **pieces, int64_t *n);
hs_packer_info hs_packer_info_of(const hs_packer *p);

#endif

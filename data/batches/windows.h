// windows: sources of running text. A sample is a window of the text (data/batches/sampler.h), a row of packed documents
// (data/batches/packing.h), or, for evaluation, the next of consecutive windows.
#ifndef HS_DATA_WINDOWS_H
#define HS_DATA_WINDOWS_H
#include "data/batches/source.h"
#include "data/text/token_store.h"

enum { HS_TARGET_IGNORE = -1 }; // target of tokens beyond the live ones

// The columns of all of them, in this order: ids, targets i32 [tokens]; starts i32 [sequences + 1]; where i32 [tokens][2] {slot of the
// sequence in the optimizer step's global batch, position in the sequence}. Beyond the live part ids are 0 and targets HS_TARGET_IGNORE.
enum { HS_TEXT_IDS, HS_TEXT_TARGETS, HS_TEXT_STARTS, HS_TEXT_WHERE, HS_TEXT_COLUMNS };
extern const hs_column hs_text_columns[HS_TEXT_COLUMNS];
hs_status hs_windows_batch(hs_batch *out, int64_t max_seqs, int64_t max_tokens); // one of them without a source

typedef enum hs_packing { HS_PACKING_NONE, HS_PACKING_FFD } hs_packing;
int64_t hs_windows_max_seqs(hs_packing packing, int64_t windows, int64_t window); // that so many windows or rows can hold

typedef struct hs_text_part {
    hs_token_range range;
    double weight;
} hs_text_part;
typedef struct hs_windows_opts {
    hs_token_range range;
    const hs_text_part *parts; // (optional) mixed in place of range
    int n_parts;
    hs_packing packing; // FFD: rows of `window` tokens full of documents, each a sequence of its own with positions from 0
    int64_t window;     // tokens
    int64_t vocab;      // ids at or above it are an error; 0: each store's own vocabulary
    uint64_t seed;
} hs_windows_opts;
// Fill gives CORRUPT for an id outside the vocabulary (file and token) and for a file that has become another one since it was opened.
hs_status hs_windows_new(hs_source **out, const hs_windows_opts *o);

// Consecutive windows; each token but the first is predicted once. Sample w predicts tokens [1 + w*S, 1 + (w+1)*S) of the range; the last
// of the n_samples may be short, and there is none behind it.
hs_status hs_eval_windows_new(hs_source **out, const hs_token_range *r, int64_t window);

#endif

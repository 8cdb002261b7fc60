// source: where batches come from. A source knows what sample i is, for every i; how samples make batches, which rank takes which, and what
// is read ahead is the loader's business, once for all sources (data/batches/loader.h).
//
// What a new one must supply: the columns it makes, how many units a sample has at most, and `fill`, which appends sample i behind what a
// batch holds. From that follow the ring, ranks, accumulation, mixing and resuming. Sources there are: windows and packed rows of text and
// consecutive windows for evaluation (windows.h), masked sequences (masked.h), rows of pairs with their masks from shards (shard_set.h),
// mixtures (here), and layouts of sequences around others (seq_layout.h). Labelled examples and images are columns more: a label is
// [sequences], an image's pixels are HS_EXT(HS_COUNT_SEQS, H * W, 0) with a row {3}.
#ifndef HS_DATA_SOURCE_H
#define HS_DATA_SOURCE_H
#include "core/graph/batch.h"

typedef struct hs_source hs_source;
struct hs_source {           // first member of the struct of each kind
    const char *unit;        // what messages call samples: "windows"
    const hs_column *column; // a table without bytes; hs_source_batch makes them
    int n_columns;
    int64_t most[HS_N_COUNTERS]; // units of one sample
    int64_t n_samples;           // of an epoch
    bool interleaved; // rank r of R takes samples r, r + R, ... of a batch, not its r-th part: fewer places are read side by side
    hs_status (*begin)(hs_source *s); // (optional) before each batch: have files changed?
    // Appends: raises b->n and b->labels, reads b->slot. A function of (source, sample) alone; one thread at a time. CORRUPT, USAGE.
    hs_status (*fill)(hs_source *s, hs_batch *b, uint64_t sample);
    void (*free)(hs_source *s);
};

void hs_source_free(hs_source *s);                                               // takes NULL
hs_status hs_source_batch(const hs_source *s, int64_t n_samples, hs_batch *out); // a batch with room for so many samples
hs_status hs_source_batch_in(const hs_source *s, int64_t n_samples, const hs_batch_memory *memory, hs_batch *out); // as hs_batch_new_in
// Samples [first, first + n) into b, in slots from 0 on, with tails. Without a loader: evaluation.
hs_status hs_source_fill(hs_source *s, hs_batch *b, uint64_t first, int64_t n);

// Several sources of the same columns in fixed proportions (data/batches/mixing.h). Takes them over, also where it fails.
hs_status hs_mixed_new(hs_source **out, hs_source *const *source, const double *weight, int n);

#endif

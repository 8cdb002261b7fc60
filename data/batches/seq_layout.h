// seq_layout: how the sequences of a batch lie in its tokens: around any source that makes one sequence a sample (hs_masked_new, shards).
//
//   UNPADDED  behind one another. There is no pad token anywhere; this needs no wrapper.
//   PADDED    each in `length` rows: starts are multiples of it.
//   BUCKETED  batches of like lengths: the samples of up to 64 batches (as many as hold 2^22 tokens, at least 4) are sorted by length, cut
//   into
//             batches, which are shuffled; each sequence stands in as many rows as the longest of its batch has.
//   PACKED    the sequences of a rank's part of a batch in rows of `length` tokens, several in each, by first-fit decreasing; pads stand
//   behind
//             the last of a row.
// The samples are the same in all of them: a batch has the same ones in all but BUCKETED, where the same window of batches has them, and
// only order and pads differ. A sequence keeps its slot, so that dropout is the same too (but in BUCKETED). Windows run over the ends of
// epochs.
//
// Pads have the pad id, token type 0, no predictions, the slot of the sequence before them and the positions behind it. starts count them
// with that sequence; the column `keys` i32 [sequences][3] is {first row, real tokens, 0}: attention's operand of that name.
#ifndef HS_DATA_SEQ_LAYOUT_H
#define HS_DATA_SEQ_LAYOUT_H
#include "data/batches/source.h"

typedef enum hs_seq_layout { HS_SEQ_UNPADDED, HS_SEQ_PADDED, HS_SEQ_BUCKETED, HS_SEQ_PACKED } hs_seq_layout;
typedef struct hs_seq_layout_opts {
    hs_seq_layout layout;
    int64_t length; // of a row; at least the source's longest sample
    int64_t batch;  // samples of a micro-batch, all ranks together, from a multiple of it on
    int ranks;      // that share it
    int32_t pad;    // id
    uint64_t seed;  // of the order of buckets
    bool frozen;    // evaluation: the samples end with the source's n_samples
} hs_seq_layout_opts;

// Takes the source over, also where it fails. Its columns begin as hs_pair_columns. UNPADDED: the source as it is.
hs_status hs_seq_layout_new(hs_source **out, hs_source *source, const hs_seq_layout_opts *o);

#endif

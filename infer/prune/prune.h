// prune: a checkpoint with half of its values zero, two in every four, as a directory of transformers that opens and trains on as any
// other.
//
//   hs_export_model_open -> hs_export_model_trace -> hs_export_model_load -> hs_prune_weights -> hs_sentence_export
//
// The masks are the zeros themselves. config.json says which weights have them ("sparsity", data/checkpoint/checkpoint.h); whoever trains
// the directory keeps them (hs_params_keep_zeros).
#ifndef HS_INFER_PRUNE_H
#define HS_INFER_PRUNE_H
#include "infer/export/export_model.h"

typedef struct hs_prune_opts {
    const char *only, *skip; // patterns as hs_params_freeze has them; NULL or "": all that can be pruned and is no head and no embedding
    bool permute;            // first channels that may, the inside of feed-forwards and of heads, change places (permute.h)
} hs_prune_opts;

typedef struct hs_pruned { // what came out
    int weights;
    int64_t values, zeros;  // of them
    double magnitude, kept; // sums of |w|: of all of their values, and of those that stay
    int permuted;           // pairs of layers whose channels changed places ...
    double kept_unmoved;    // ... and what would have stayed otherwise
} hs_pruned;

// g: a trace of m. Of each weight that is chosen - [out, in], out a multiple of 8 in each of its parts and in of 16 - two in every four
// values along the input become zero: those that leave the larger sum |w| of the six ways to choose, the first of equal ones (m4n2_1d of
// apex). m is loaded; its info says afterwards what was done. USAGE, and nothing is changed: m is pruned already, a pattern fits no
// parameter, nothing is eligible.
hs_status hs_prune_weights(hs_export_model *m, const hs_graph *g, const hs_prune_opts *o, hs_pruned *out);

// ---- of this folder
// Two in every four of each row become zero. cols is a multiple of 4. Adds |w| to *magnitude and what stays of it to *kept.
void hs_prune_2of4(float *w, int64_t rows, int64_t cols, double *magnitude, double *kept);
// Which weights: chosen[id] is set. Says how many in *n.
hs_status hs_prune_choose(const hs_export_model *m, const hs_prune_opts *o, bool *chosen, int *n);

#endif

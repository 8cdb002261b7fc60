// permute: which places channels are best given before two in every four are pruned.
#ifndef HS_INFER_PERMUTE_H
#define HS_INFER_PERMUTE_H
#include "infer/export/export_model.h"

// An order of the columns of w [rows, cols], to[j] the old number of column j, that keeps more of sum |w| when every four neighbours keep
// two: columns change places within blocks. Greedy, by groups of four: of two groups the best of the 35 ways to deal their eight columns.
// All pairs of groups in turns until none gains, or of many groups so many pairs as are drawn, the same ones each time.
hs_status hs_permute_columns(const float *w, int64_t rows, int64_t cols, int64_t block, int64_t *to);

// Of all pairs of channels in the trace whose reader is chosen[hs_param.id]: the channels change places, so that what the model computes
// stays the same but for the order of sums. *n: how many pairs did.
hs_status hs_prune_permute(hs_export_model *m, const hs_graph *g, const bool *chosen, int *n);

#endif

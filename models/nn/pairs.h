// pairs: what an adapter (core/graph/adapter.h) puts beside a linear layer. Of the room.
#ifndef HS_MODELS_PAIRS_H
#define HS_MODELS_PAIRS_H
#include "models/nn/nn.h"

// In the scope of the layer. The parameters of its pairs, where it wears any: lora_a [pairs * rank, in], lora_b [pairs * rank, out of a
// part], turned against what files have, so that what pads a rank to 8 rows are rows of both; pairs: one for each part that wears one.
void hs_nn_pair_params(hs_graph *g, int64_t in, int64_t out, const hs_linear_opts *o);
// y and what the pairs add to it; y itself where the layer wears none. x: before the layer's own tp_copy.
hs_tensor *hs_nn_pair(hs_graph *g, hs_tensor *x, hs_tensor *y, int64_t in, int64_t out, const hs_linear_opts *o);

#endif

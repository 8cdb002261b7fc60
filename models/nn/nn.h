// nn: layers - a scope, its parameters, and the op that uses them.
#ifndef HS_MODELS_NN_H
#define HS_MODELS_NN_H
#include "core/graph/graph.h"
#include "ops/ops.h"

typedef struct hs_linear_opts {
    hs_shard shard;
    int parts; // logical tensors stacked in the output (QKV: 3); 0 means 1
    float std; // of the initial weights; 0 means 0.02
    bool no_bias;
} hs_linear_opts;
// Parameters NAME.weight [out, in] and NAME.bias [out].
hs_tensor *hs_nn_linear_with(hs_graph *g, hs_tensor *x, const char *name, int64_t out, hs_linear_opts o);
#define hs_nn_linear(g, x, name, out, ...) hs_nn_linear_with(g, x, name, out, (hs_linear_opts){ __VA_ARGS__ })
// Parameters NAME.weight, NAME.bias [C].
hs_tensor *hs_nn_layernorm(hs_graph *g, hs_tensor *x, const char *name, float eps);

// What a batch brings to a token model; static inputs of the plan, made once per graph by hs_nn_batch.
typedef struct hs_batch_in {
    hs_tensor *ids;     // i32 [N]
    hs_tensor *targets; // i32 [N], -1: ignored; NULL in decode mode
    hs_tensor *starts;  // i32 [B+1]
    hs_tensor *where;   // i32 [N, 2] {global sample slot, position}
    hs_tensor *keys;    // decode mode: i32 [B, 3]; else NULL
    hs_tensor *rows;    // decode mode: i32 [N], cache row each token is written to; else NULL
    hs_tensor *picks;   // decode mode: i32 [B], ext PICKS: rows whose logits are wanted (each sequence's last token); else NULL
} hs_batch_in;
hs_batch_in hs_nn_batch(hs_graph *g, int64_t max_tokens, int64_t max_seqs);

#endif

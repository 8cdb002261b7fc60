// nn: layers - a scope, its parameters, and the op that uses them.
#ifndef HS_MODELS_NN_H
#define HS_MODELS_NN_H
#include "core/graph/graph.h"
#include "models/family.h"
#include "ops/ops.h"

// This tensor-parallel rank's share of n (heads, channels). What does not divide is refused: "model.heads is 6, must divide over 4 ...".
int64_t hs_nn_share(hs_graph *g, int64_t n, const char *what);

// Where a part of the model begins that each tensor-parallel rank has a slice of, and where it ends: tp_copy and tp_reduce, or, with
// hs_graph.sequence, tp_gather_rows and tp_reduce_rows, between which a rank has its share of the tokens only. At one rank neither.
hs_tensor *hs_nn_enter(hs_graph *g, hs_tensor *x);
hs_tensor *hs_nn_leave(hs_graph *g, hs_tensor *y);
hs_tensor *hs_nn_whole(hs_graph *g, hs_tensor *x); // all tokens again, behind the last layer: for what every rank does alike

typedef struct hs_linear_opts {
    hs_shard shard; // COL: x is every rank's, y this rank's columns; ROW: the other way round; NONE: all ranks do the same
    int parts;      // logical tensors stacked in the output (QKV: 3); 0 means 1
    float std;      // of the initial weights; 0 means 0.02
    int pad_rows;   // y is a multiple of that many wide, its last columns 0: classes of a loss that stops before them. 0: as wide as out
    bool no_bias;
    hs_tensor **bias; // (optional) the bias is put here, and not added: for an op that adds it beside something else
} hs_linear_opts;
// Parameters NAME.weight [out, in] and NAME.bias [out]. in, out: of the whole model; x and y have this rank's share of them where it says.
// Emits hs_nn_enter in front of COL, and hs_nn_leave behind ROW, before the bias.
hs_tensor *hs_nn_linear_with(hs_graph *g, hs_tensor *x, const char *name, int64_t in, int64_t out, hs_linear_opts o);
#define hs_nn_linear(g, x, name, in, out, ...) hs_nn_linear_with(g, x, name, in, out, (hs_linear_opts){ __VA_ARGS__ })
// Its parameters alone: of a part of the model that this mode has no use for, so that all modes are one model. *b: NULL with no_bias.
void hs_nn_linear_params(hs_graph *g, const char *name, int64_t in, int64_t out, hs_linear_opts o, hs_tensor **w, hs_tensor **b);
// Parameters NAME.weight, NAME.bias [width], for an op that has a norm in it.
void hs_nn_norm_params(hs_graph *g, const char *name, int64_t width, hs_tensor **gamma, hs_tensor **beta);
hs_tensor *hs_nn_layernorm(hs_graph *g, hs_tensor *x, const char *name, float eps);

// Parameter NAME [rows, width], N(0, 0.02); what each rank stores is a multiple of pad_rows rows (0: as many as there are).
hs_tensor *hs_nn_table(hs_graph *g, const char *name, hs_shard shard, int64_t rows, int pad_rows, int64_t width);
// The three uses of a table whose rows (HS_SHARD_COL) are divided over ranks: what each looks up is added up; each
// makes the logits of its rows, which are put side by side or meet in the loss alone.
hs_tensor *hs_nn_embedding(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where);
hs_tensor *hs_nn_embedding_from(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where,
                                int64_t first_position); // the row of pos_table that position 0 has
// Logits are [N, rows of the whole table, padded]; f32: not rounded. bias (may be NULL) is divided and padded as the table is.
hs_tensor *hs_nn_logits(hs_graph *g, hs_tensor *x, hs_tensor *table, hs_tensor *bias, bool f32);
hs_tensor *hs_nn_logits_xent(hs_graph *g, hs_tensor *x, hs_tensor *table, hs_tensor *bias, hs_tensor *target, hs_xent_attr attr);

// What a batch brings to a token model; static inputs of the plan, made once per graph by hs_nn_batch.
typedef struct hs_batch_in {
    hs_tensor *ids;     // i32 [N]
    hs_tensor *targets; // i32 [N], -1: ignored; NULL in decode mode and where hidden states are wanted
    hs_tensor *starts;  // i32 [B+1]
    hs_tensor *where;   // i32 [N, 2] {global sample slot, position}
    hs_tensor *keys;    // decode mode: i32 [B, 3]; else NULL
    hs_tensor *pages;   // decode mode with page_rows: i32 [B, seq_pages], which page of the cache has a sequence's keys; else NULL
    hs_tensor *rows;    // decode mode: i32 [N], cache row each token is written to; else NULL
    hs_tensor *picks;   // decode mode: i32 [B], ext PICKS: rows whose logits are wanted (each sequence's last token); else NULL
    int64_t cache_rows, page_rows, longest; // of the shape
    bool full, library_masks, any_order, cache_i8;
} hs_batch_in;
hs_batch_in hs_nn_batch(hs_graph *g, const hs_arch_shape *s);
// Causal attention of this rank's share of `heads` (of the whole model) within each sequence: q|k|v rows in, as wide as a third of them
// out. When decoding, keys and values of earlier tokens come from the state "cache", into which this step's are written first: values of
// the graph's state_dtype, or with cache_i8 codes.
hs_tensor *hs_nn_causal(hs_graph *g, hs_tensor *qkv, const hs_batch_in *in, int64_t heads, float dropout);

#endif

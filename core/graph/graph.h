// graph: one trace of a model function in one mode.
//
// Builders never fail loudly and never return NULL: the graph keeps the first error with its scope and hands back a
// poison tensor, on which every later builder is silent. Check once, with hs_graph_status. Running out of memory is such an error.
#ifndef HS_CORE_GRAPH_H
#define HS_CORE_GRAPH_H
#include "core/graph/coding.h"
#include "core/graph/comm.h"
#include "core/graph/op.h"
#include "core/graph/params.h"
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hs_mode { HS_TRAIN, HS_EVAL, HS_DECODE } hs_mode;

struct hs_state { // a buffer that lives across steps (KV cache), as plans declare it; each run has bytes of its own for it
    char *name;
    hs_dtype dtype;
    int n_dims;
    int64_t dim[HS_MAX_DIMS];
    size_t bytes;
    int id;       // index in hs_states
    bool saved;   // part of a checkpoint: training goes on with it
    bool largest; // f32: in front of an update each element becomes the largest over all ranks, so that behind it they have the same
};
typedef struct hs_states {
    hs_state **state;
    int n, capacity;
} hs_states;
hs_states *hs_states_new(void);
void hs_states_free(hs_states *s);
static inline size_t hs_state_room(const hs_state *s) { return (s->bytes + 63) / 64 * 64; } // that a run has for it
size_t hs_states_largest_bytes(const hs_states *s); // of those that are `largest`, which lie in one piece: what an update moves over each axis

enum { HS_GRAPH_OUTPUTS = 72 }; // at most: of a teacher every hidden state
typedef struct hs_graph {
    hs_mode mode;
    hs_params *params;
    hs_states *states; // may be NULL in train and eval mode
    hs_grid grid;
    bool sequence; // tensor-parallel ranks divide the tokens between the products; false at one rank and when decoding
    hs_node **node;
    int n_nodes, cap_nodes;
    hs_tensor **tensor;
    int n_tensors, cap_tensors;
    hs_tensor **input; // static inputs, in order of creation
    int n_inputs, cap_inputs;
    hs_tensor *output[HS_GRAPH_OUTPUTS]; // kept alive to the end: hs_output
    int n_outputs;
    hs_tensor **param_tensor; // by hs_param.id: one tensor per parameter and graph
    int n_param_tensors;
    hs_status status;
    char error[512]; // the first one, with its scope
    hs_tensor *poison;
    char scope[256];
    size_t scope_len;
    const char *interned;     // copy of scope, valid until the next push or pop
    struct hs_block *block;   // everything the graph owns besides its arrays
    char *at;                 // what is left of the block at hand
    size_t left, block_bytes; // of a block; 0: every thing has one of its own (a test makes each of them fail)
    struct hs_map *site;      // how many nodes there are of an op under a scope
    int64_t start;            // when the trace began: hs_now_ns
    int in_block, n_blocks;   // hs_block_begin; 0: in none
    hs_dtype state_dtype;     // what float states are stored as: the policy's low type; F32 unless set before tracing
} hs_graph;

// Does node n read the low copy of its input i, a parameter?
bool hs_node_reads_low(const hs_params *ps, const hs_node *n, int i);

hs_status hs_graph_new(hs_graph **out, hs_params *ps, hs_states *states, hs_mode mode, const hs_grid *grid);
void hs_graph_free(hs_graph *g);
hs_status hs_graph_status(const hs_graph *g); // the first error, raised again: hs_error() has its line

// A static input: filled by the host, finite also beyond the live rows.
hs_tensor *hs_input(hs_graph *g, const char *name, hs_dtype d, hs_ext ext, int n_dims, const int64_t *dim);
// One parameter per statement: C does not order arguments, and the slab follows the order of calls. spec->name is relative to the scope.
hs_tensor *hs_param_get(hs_graph *g, const hs_param_spec *spec);
hs_tensor *hs_param_view(hs_graph *g, hs_param *p, hs_view view); // of a parameter that is kept as codes; NULL: its coding has none
hs_tensor *hs_state_get(hs_graph *g, const char *name, hs_dtype d, int n_dims, const int64_t *dim);
// What every cell of a static input is where a batch has no column of its name (token types: 0). Without it such a batch is refused.
void hs_input_default(hs_graph *g, hs_tensor *input, double value);
// Its rows come behind the feed, by hs_run_pass or hs_run_write: what another network said of the same batch.
void hs_input_passed(hs_graph *g, hs_tensor *input);
// The only way to make a node. Returns out[0]; the others are in from->out[]. attr is copied (op->attr_bytes).
hs_tensor *hs_emit(hs_graph *g, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in);
// The same for passes (core/graph/rewrite.h): a node that is not in the graph's list yet and has no site. NULL: the graph has failed.
hs_node *hs_graph_node(hs_graph *g, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in);
// Keeps t readable after the run (logits, hidden states).
void hs_output(hs_graph *g, hs_tensor *t);

size_t hs_push(hs_graph *g, const char *fmt, ...) __attribute__((format(printf, 2, 3))); // enters "name"; returns the mark for hs_pop
void hs_pop(hs_graph *g, size_t mark);
// What is emitted in between is a block: one of the layers that a model repeats. Backward may make a block's values again instead of
// keeping them (hs_plan_opts.recompute); what other nodes read of it is kept. Blocks do not nest.
void hs_block_begin(hs_graph *g);
void hs_block_end(hs_graph *g);
void *hs_graph_alloc(hs_graph *g, size_t bytes); // zeroed, freed with the graph. NULL: no memory, and the graph has failed
const char *hs_scope(hs_graph *g);               // interned, lives as long as the graph

// As text, a line a node: scope, op, attributes, operands as "name:dtype[dims]" (%id where a tensor has no name), then what is kept.
void hs_graph_write(const hs_graph *g, FILE *f);
// The inputs or the results of one node, as there. Returns the length it has or would have, as snprintf does.
size_t hs_operands_text(const hs_params *ps, const hs_node *n, bool results, char *buf, size_t size);

// First error wins; the scope is prefixed; returns the poison tensor.
hs_tensor *hs_graph_fail(hs_graph *g, hs_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif
#endif

// onnx_emit: ops of a trace as nodes of ONNX: a table, an emitter for each op, which reads its operands and attributes by their rows.
//
// A trace is token-major, [N, C] of all sequences one behind the other; ONNX's graph is [batch_size, sequence_length, C], padded, with
// attention_mask. What is one row per token there is one place of a sequence here, and what is one row per sequence is one of the batch;
// picked rows are all of them. Nodes stand as PyTorch's exporter puts those of transformers' classes, which is what ONNX Runtime's
// optimizer looks for.
#ifndef HS_INFER_ONNX_EMIT_H
#define HS_INFER_ONNX_EMIT_H
#include "data/formats/onnx.h"
#include "infer/export/export_model.h"

typedef struct hs_ox_value {          // a tensor of the trace in the graph
    const char *name[HS_NAME_PIECES]; // of products that stand stacked in the trace (query, key, value), one each
    int n;                            // of those; 0: it is not there
    int64_t width;                    // its last dim, of all of them, without padding
    const hs_node *cache;             // of keys and values that follow those of earlier steps: who puts them there
} hs_ox_value;

typedef struct hs_ox { // one graph under way
    hs_onnx *m;
    const hs_graph *g;
    const hs_export_model *model;
    hs_onnx_type real; // F32 or F16
    bool bare;         // names of weights without the family's prefix
    hs_ox_value *of;   // by hs_tensor.id
    bool *reached;     // by hs_node.id: an output needs it
    bool *used;        // by hs_param.id: it is in the graph
    bool *looked_up;   // by hs_param.id: rows of it are looked up, so it lies as a table
    struct hs_map *names;
    char path[HS_NAME_BYTES];     // of the node at hand, for names: "/encoder/layer.0/attention/self/query"
    const char *mask, *positions; // made by who asks first; positions: of those that begin at first_position
    const char *past, *total;     // of what looks back only: numbers of tokens, before those at hand and with them
    struct {
        int64_t heads, each;
    } * cache_shape; // by hs_state.id
    bool cached;     // keys and values of earlier steps are inputs
    int64_t first_position;
    bool causal;      // some attention looks back only
    int rows_rounded; // products whose x has a scale for each row here, and none there
} hs_ox;

typedef hs_status hs_ox_emitter(hs_ox *x, const hs_node *n);
hs_ox_emitter *hs_ox_emitter_of(const hs_op *op); // NULL: it has no form in ONNX

// ---- for emitters (onnx_graph.c)
// A node of one output, and that output's name. in NULL is absent.
const char *hs_ox_node(hs_ox *x, const char *op, const char *const *in, int n_in);
#define HS_OX(x, op, ...)                                                                                                                  \
    hs_ox_node(x, op, (const char *const[]){ __VA_ARGS__ }, (int)(sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *)))
hs_onnx_node *hs_ox_last(hs_ox *x); // for its attributes; NULL: failed
// Constants, each there once: a list of integers, one integer, one real.
const char *hs_ox_list(hs_ox *x, const int64_t *v, int n);
#define HS_OX_LIST(x, ...) hs_ox_list(x, (const int64_t[]){ __VA_ARGS__ }, HS_COUNT(((const int64_t[]){ __VA_ARGS__ })))
const char *hs_ox_int(hs_ox *x, int64_t v);
const char *hs_ox_real(hs_ox *x, double v);
const char *hs_ox_range(hs_ox *x, int64_t n); // [1, n]: 0, 1, ...
// The weights of a parameter: piece i of hs_export_pieces; turned: as the right side of a product, [in, out].
const char *hs_ox_weight_name(hs_ox *x, const hs_name_piece *piece);
bool hs_ox_first_use(hs_ox *x, const char *name); // of a name, of whatever
hs_status hs_ox_param(hs_ox *x, const hs_param *p, int piece, bool turned, const char **name);
const char *hs_ox_reshape(hs_ox *x, const char *in, const int64_t *shape, int n);
const char *hs_ox_transpose(hs_ox *x, const char *in, int d0, int d1, int d2, int d3);

// Operands and attributes of a node by their rows.
const hs_tensor *hs_ox_operand(const hs_node *n, const char *name); // NULL: absent
int64_t hs_ox_attr(const hs_node *n, const char *name);
double hs_ox_attr_real(const hs_node *n, const char *name);
hs_status hs_ox_in(hs_ox *x, const hs_node *n, const char *operand, const char **name); // UNSUPPORTED: it is nothing in the graph
void hs_ox_out(hs_ox *x, const hs_node *n, const char *name, int64_t width);

// ---- parameters that are kept as codes (onnx_coded.c): what a product reads, before its pieces; a product with piece i; rows of a table
hs_status hs_ox_coded_input(hs_ox *x, const hs_param *w, const char **in);
hs_status hs_ox_coded_product(hs_ox *x, const hs_param *w, int i, const char *in, const char **out);
hs_status hs_ox_coded_rows(hs_ox *x, const hs_param *table, const char *ids, const char **out);

// ---- attention and what it looks at (onnx_attention.c)
hs_ox_emitter hs_ox_attention, hs_ox_cache_append;
const char *hs_ox_positions(hs_ox *x, int64_t first_position, int64_t rows); // [1 or batch_size, sequence_length]
#define HS_OX_IDS  "input_ids"
#define HS_OX_MASK "attention_mask"

#endif

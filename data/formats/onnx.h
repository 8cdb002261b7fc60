// onnx: ONNX models - nodes, initializers, inputs and outputs - as files have them, read and written. Operators mean nothing here.
//
// A file is one protobuf message (ModelProto) of at most 2 GB; beyond that tensors lie in a file beside it (external data). Reading maps
// the file and trusts nothing in it: every offset, length, count and shape is held against the bytes that are there. Subgraphs (If, Loop)
// are told as attributes, and not read. What is built or read belongs to the model and goes with it.
#ifndef HS_DATA_ONNX_H
#define HS_DATA_ONNX_H
#include "data/checkpoint/ckpt_io.h"
#include "data/text/token_store.h" // hs_file

//   name    number  bits  dtype of ours, or -1
#define HS_ONNX_TYPE_LIST(X)                                                                                                               \
    X(F32, 1, 32, HS_F32)                                                                                                                  \
    X(U8, 2, 8, HS_U8)                                                                                                                     \
    X(I8, 3, 8, HS_I8)                                                                                                                     \
    X(U16, 4, 16, -1)                                                                                                                      \
    X(I16, 5, 16, -1)                                                                                                                      \
    X(I32, 6, 32, HS_I32)                                                                                                                  \
    X(I64, 7, 64, HS_I64)                                                                                                                  \
    X(BOOL, 9, 8, HS_BOOL)                                                                                                                 \
    X(F16, 10, 16, HS_F16)                                                                                                                 \
    X(F64, 11, 64, HS_F64)                                                                                                                 \
    X(U32, 12, 32, -1)                                                                                                                     \
    X(U64, 13, 64, -1)                                                                                                                     \
    X(BF16, 16, 16, HS_BF16)                                                                                                               \
    X(U4, 21, 4, -1)                                                                                                                       \
    X(I4, 22, 4, -1)
typedef enum hs_onnx_type {
#define HS_ONNX_ENUM(name, number, bits, dtype) HS_ONNX_##name = number,
    HS_ONNX_TYPE_LIST(HS_ONNX_ENUM)
#undef HS_ONNX_ENUM
} hs_onnx_type;

enum { HS_ONNX_DIMS = 8 };
typedef struct hs_onnx_tensor {
    const char *name;
    hs_onnx_type type;
    int n_dims; // 0: one number
    int64_t dim[HS_ONNX_DIMS];
    const void *data; // little end first, of 4 bits two in a byte, the first one low; may lie at an odd address
    size_t bytes;
    const hs_st_source *source; // writing: (optional) instead of data, written as it stands
} hs_onnx_tensor;

typedef struct hs_onnx_dim {
    int64_t n;          // where it has no symbol
    const char *symbol; // "batch_size"; NULL: n
} hs_onnx_dim;
typedef struct hs_onnx_value { // an input or output of the graph
    const char *name;
    hs_onnx_type type;
    int n_dims;
    hs_onnx_dim dim[HS_ONNX_DIMS];
} hs_onnx_value;

typedef enum hs_onnx_attr_kind { // as files number them
    HS_ONNX_FLOAT = 1,
    HS_ONNX_INT = 2,
    HS_ONNX_TEXT = 3,
    HS_ONNX_TENSOR = 4,
    HS_ONNX_GRAPH = 5,
    HS_ONNX_FLOATS = 6,
    HS_ONNX_INTS = 7,
} hs_onnx_attr_kind; // others are kept by number, without a value
typedef struct hs_onnx_attr {
    const char *name;
    hs_onnx_attr_kind kind;
    int64_t i;
    float f;
    const char *s;
    const int64_t *ints; // [n]; of floats, their values are not kept
    int n;
    const hs_onnx_tensor *t;
} hs_onnx_attr;

typedef struct hs_onnx_node {
    const char *op, *domain, *name; // domain "": ONNX's own
    const char **in, **out;         // "": an optional one that is absent
    int n_in, n_out;
    hs_onnx_attr *attr;
    int n_attrs;
} hs_onnx_node;

typedef struct hs_onnx_opset {
    const char *domain;
    int64_t version;
} hs_onnx_opset;

typedef struct hs_onnx {
    int64_t ir_version;
    const char *producer, *producer_version, *graph_name;
    hs_onnx_opset *opset;
    int n_opsets, cap_opsets;
    hs_onnx_node *node;
    int n_nodes, cap_nodes;
    hs_onnx_tensor *init;
    int n_inits, cap_inits;
    hs_onnx_value *in, *out; // in: without those that are initializers
    int n_ins, cap_ins, n_outs, cap_outs;
    bool failed; // building: no memory, and additions are dropped; hs_onnx_write says so
    // its own
    struct hs_onnx_block *memory;
    char *path;
    hs_file file, *beside;
    const char **beside_name;
    int n_beside, cap_beside, cap_beside_name;
} hs_onnx;

// ---- reading. CORRUPT: what is damaged, with file and byte; UNSUPPORTED: what is no ONNX file, or needs what is not read here.
hs_status hs_onnx_open(hs_onnx **out, const char *path);
void hs_onnx_close(hs_onnx *m);                                               // NULL: nothing
const hs_onnx_attr *hs_onnx_attr_of(const hs_onnx_node *n, const char *name); // NULL: it has none of that name
int64_t hs_onnx_int(const hs_onnx_node *n, const char *name, int64_t otherwise);
int hs_onnx_bits(hs_onnx_type t);          // of an element; 0: no such type
const char *hs_onnx_type_name(int number); // "f32"; "type 99" is "?"
hs_dtype hs_onnx_dtype(hs_onnx_type t);    // HS_N_DTYPES: there is none
int64_t hs_onnx_count(const hs_onnx_tensor *t);

// ---- building and writing
hs_status hs_onnx_new(hs_onnx **out);
void *hs_onnx_alloc(hs_onnx *m, size_t bytes);                                                    // zeroed; NULL: failed
const char *hs_onnx_text(hs_onnx *m, const char *fmt, ...) __attribute__((format(printf, 2, 3))); // "" where it failed
// in, out: copied, as all texts are; NULL among in is absent. NULL: failed.
hs_onnx_node *hs_onnx_add_node(hs_onnx *m, const char *op, const char *name, const char *const *in, int n_in, const char *const *out,
                               int n_out);
void hs_onnx_set_int(hs_onnx *m, hs_onnx_node *n, const char *name, int64_t v); // n NULL: nothing
void hs_onnx_set_f32(hs_onnx *m, hs_onnx_node *n, const char *name, float v);
void hs_onnx_set_ints(hs_onnx *m, hs_onnx_node *n, const char *name, const int64_t *v, int count);
void hs_onnx_add_init(hs_onnx *m, const hs_onnx_tensor *t); // its name is copied, data and source are borrowed until it is written
void hs_onnx_add_input(hs_onnx *m, const hs_onnx_value *v); // names are copied
void hs_onnx_add_output(hs_onnx *m, const hs_onnx_value *v);
void hs_onnx_add_opset(hs_onnx *m, const char *domain, int64_t version);

uint64_t hs_onnx_bytes(const hs_onnx *m); // of all initializers
// New files, fsynced. beside: NULL, or the name of a second file in the same folder, where tensors of 1 KB and more go. USAGE: more than
// 2 GB without it.
hs_status hs_onnx_write(const hs_io *io, const char *path, const hs_onnx *m, const char *beside);

#endif

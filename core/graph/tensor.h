// tensor: a typed, row-major, contiguous array of up to four dimensions, planned before it has bytes.
//
// dim[0] is a capacity, fixed when planned; how many of its rows are live in a step is data (hs_step_in.n[ext]).
// Kernels loop to hs_rows(), never to dim[0]. Tensors belong to their graph and die with it.
#ifndef HS_CORE_TENSOR_H
#define HS_CORE_TENSOR_H
#include "core/base/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_node hs_node;
typedef struct hs_param hs_param;
typedef struct hs_state hs_state;

typedef enum hs_kind {
    HS_VALUE, // planned bytes, written by its producer
    HS_INPUT, // static input of the plan, filled by the host before a micro-step
    HS_PARAM, // view of the parameter slabs
    HS_STATE, // lives across steps, shared by plans (KV cache)
} hs_kind;

// Which run-time count bounds dim[0].
typedef enum hs_ext {
    HS_EXT_FIXED,  // all rows, always
    HS_EXT_TOKENS, // live tokens N
    HS_EXT_SEQS,   // live sequences B
    HS_EXT_STARTS, // B + 1 (the starts of B sequences and the end of the last)
    HS_EXT_PICKS,  // rows picked out of the tokens (predictions)
    HS_N_EXT
} hs_ext;

enum { HS_MAX_DIMS = 4, HS_MAX_IN = 6, HS_MAX_OUT = 4 };

typedef struct hs_tensor {
    hs_kind kind;
    hs_dtype dtype; // float values are traced as F32 meaning "float"; the AMP pass of the plan settles the type
    uint8_t n_dims, ext;
    int64_t dim[HS_MAX_DIMS];
    hs_node *from;     // producer; NULL for inputs, parameters, state
    int slot;          // which output of the producer
    const char *scope; // "h3.ln_1": messages, forensics, profile
    const char *name;  // of an input, parameter or state; else NULL
    hs_param *param;   // kind HS_PARAM
    hs_state *state;   // kind HS_STATE
    int id;            // index in the graph
} hs_tensor;

static inline int64_t hs_tensor_count(const hs_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->dim[i];
    return n;
}
static inline int64_t hs_tensor_cols(const hs_tensor *t) // elements of one row (all dims but the first)
{
    int64_t n = 1;
    for (int i = 1; i < t->n_dims; i++)
        n *= t->dim[i];
    return n;
}
static inline int64_t hs_tensor_width(const hs_tensor *t) { return t->dim[t->n_dims - 1]; } // the last dim
static inline size_t hs_tensor_bytes(const hs_tensor *t) { return (size_t)hs_tensor_count(t) * hs_dtype_bytes(t->dtype); }
// "[12,64]" into buf; returns buf
const char *hs_tensor_shape(const hs_tensor *t, char *buf, size_t size);

#ifdef __cplusplus
}
#endif
#endif

// cudnn, internally: its calls, and an attention as a graph of its operations.
#ifndef HS_CORE_CUDNN_IMPL_H
#define HS_CORE_CUDNN_IMPL_H
#include "core/cuda/cudnn_sdpa.h"
#include <cudnn.h>

#define HS_DNN_CALLS(X)                                                                                                                    \
    X(cudnnGetVersion)                                                                                                                     \
    X(cudnnGetErrorString)                                                                                                                 \
    X(cudnnGetLastErrorString)                                                                                                             \
    X(cudnnCreate)                                                                                                                         \
    X(cudnnDestroy)                                                                                                                        \
    X(cudnnSetStream)                                                                                                                      \
    X(cudnnBackendCreateDescriptor)                                                                                                        \
    X(cudnnBackendDestroyDescriptor)                                                                                                       \
    X(cudnnBackendSetAttribute)                                                                                                            \
    X(cudnnBackendGetAttribute)                                                                                                            \
    X(cudnnBackendFinalize)                                                                                                                \
    X(cudnnBackendExecute)

typedef struct hs_dnn_calls {
#define MEMBER(f) __typeof__(&f) f;
    HS_DNN_CALLS(MEMBER)
#undef MEMBER
} hs_dnn_calls;

// Tensors that have bytes. These numbers are cuDNN's unique ids; what exists only inside of a kernel has those from HS_SDPA_TENSORS on.
typedef enum hs_sdpa_tensor {
    HS_SDPA_Q = 1,
    HS_SDPA_K,
    HS_SDPA_V,
    HS_SDPA_Y,
    HS_SDPA_LSE,
    HS_SDPA_DY,
    HS_SDPA_DQ,
    HS_SDPA_DK,
    HS_SDPA_DV,
    HS_SDPA_DELTA,  // f32, in the workspace: dy[i].y[i]
    HS_SDPA_DQ_SUM, // f32, in the workspace: what atomics add dq up in
    HS_SDPA_LEN_Q,
    HS_SDPA_LEN_KV,
    HS_SDPA_AT_Q, // one for each, as others who use cuDNN have it; all are at_in
    HS_SDPA_AT_K,
    HS_SDPA_AT_V,
    HS_SDPA_AT_OUT,
    HS_SDPA_AT_LSE,
    HS_SDPA_SEED, // i64, of dropout
    HS_SDPA_OFFSET,
    HS_SDPA_SCALE,  // f32 by value, read by the host when it runs: this one and those behind
    HS_SDPA_KEPT,   // the share of weights that dropout keeps; 1 without
    HS_SDPA_UNKEPT, // 1 / that, of dropout
    HS_SDPA_NOT_COUNTED, // scores of padding, and of keys behind a query: each mask has its own
    HS_SDPA_NOT_SEEN,
    HS_SDPA_TENSORS,
} hs_sdpa_tensor;

enum { HS_SDPA_OPS = 40, HS_SDPA_MADE = 192, HS_SDPA_PROPOSALS = 8 };

typedef struct hs_sdpa_graph {
    cudnnBackendDescriptor_t made[HS_SDPA_MADE]; // all of it, to be freed
    int n_made;
    cudnnBackendDescriptor_t tensor[HS_SDPA_TENSORS]; // those that the problem has; NULL: it has not
    cudnnBackendDescriptor_t op[HS_SDPA_OPS];
    int n_ops;
    cudnnBackendDescriptor_t ops; // the graph of them
    cudnnBackendDescriptor_t proposal[HS_SDPA_PROPOSALS];
    int64_t n_proposals;
    cudnnBackendDescriptor_t plan; // NULL: not compiled
    int64_t next_id;
    cudnnStatus_t status; // of the first call that failed; none is made behind it
    char why[100];
} hs_sdpa_graph;

// The operations of a problem and the graph of them, into an empty g. A failure stays in g.
void hs_sdpa_describe(const hs_dnn_calls *c, const hs_sdpa_problem *p, hs_sdpa_graph *g);
void hs_sdpa_forget(const hs_dnn_calls *c, hs_sdpa_graph *g);

// The variant pack of a run, to be destroyed: ids and addresses of all tensors that the problem has. values: of those from HS_SDPA_SCALE
// on; they are read when it runs. A tensor without an address is a failure, which g->why names.
cudnnStatus_t hs_sdpa_pack(const hs_dnn_calls *c, const hs_sdpa_problem *p, hs_sdpa_graph *g, const hs_sdpa_operands *o,
                           const float values[HS_SDPA_TENSORS], cudnnBackendDescriptor_t *out);
// Where in the workspace what lies.
typedef struct hs_sdpa_room {
    size_t delta, dq_sum, kernel;
} hs_sdpa_room;
hs_sdpa_room hs_sdpa_room_of(const hs_sdpa_problem *p);
const hs_dnn_calls *hs_dnn_calls_of(const hs_dnn *dnn);

// A descriptor of g's; its attributes; finished. Nothing is done once g has a failure.
cudnnBackendDescriptor_t hs_dnn_make(const hs_dnn_calls *c, hs_sdpa_graph *g, cudnnBackendDescriptorType_t type);
void hs_dnn_set(const hs_dnn_calls *c, hs_sdpa_graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *values);
void hs_dnn_finish(const hs_dnn_calls *c, hs_sdpa_graph *g, cudnnBackendDescriptor_t d);

#endif

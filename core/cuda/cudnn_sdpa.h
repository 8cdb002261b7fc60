// cudnn_sdpa: attention by cuDNN's fused kernels, through its backend API; the library is loaded where it is there (libcudnn.so.9).
//
//   y = drop(softmax(scale q k^T + mask)) v        lse[i] = log sum over j of exp(scale q[i].k[j])        and the gradients of q, k and v
//
// drop: cells of a mask that cuDNN draws (its own Philox) out of a seed and an offset in device memory; what is kept is divided by its share.
// It is not the mask of core/graph/drop.h: cells of it go by sequence, head, row and column of the call, not by what a sample is.
//
// A problem is planned once: cuDNN is shown the operations one by one, proposes the kernel that is all of them (milliseconds), and compiles
// it (0.3 to 0.8 s of one core). Neither needs a GPU: tests/core/cudnn_plans.c asks the real library about GPUs that it is told of.
//
// NOT SEEN ON A GPU: all behind the compiled plan. No kernel of cuDNN's was ever launched by this code, so that values, bits that repeat,
// sequences of no rows, rows behind a sequence's last that hold no numbers, capture in a CUDA graph and speed are as cuDNN's documentation
// and its other users say, not as measured here.
//
// Not for cuDNN: f32, pages, queries that begin at a position of their own.
#ifndef HS_CORE_CUDNN_SDPA_H
#define HS_CORE_CUDNN_SDPA_H
#include "core/cuda/device_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

// Where the rows of sequence b are, and how many of them count.
typedef enum hs_sdpa_rows {
    HS_SDPA_FULL,   // from row b * s on, all s of them; s is a multiple of 128
    HS_SDPA_PADDED, // from row b * s on; the first len_q[b] are queries, the first len_kv[b] keys
    HS_SDPA_RAGGED, // the same from any row on
} hs_sdpa_rows;

typedef enum hs_sdpa_pass {
    HS_SDPA_INFERENCE, // y
    HS_SDPA_FORWARD,   // y and lse
    HS_SDPA_BACKWARD,  // dq, dk, dv
} hs_sdpa_pass;

// q, k, v and their gradients have one type and one distance between rows, as parts of one [N, 3C] have; y and dy are [N, C], lse is [N,
// h].
typedef struct hs_sdpa_problem {
    int64_t b, h, s, d;      // sequences, heads, rows of the longest sequence, width of a head
    int64_t row_in, row_out; // elements from a row to the next: of q, k, v; of y, dy
    hs_dtype dtype;
    hs_sdpa_rows rows;
    hs_sdpa_pass pass;
    bool causal;
    bool repeats;  // backward: the same bits each time, for b h s s elements of workspace; else atomics add up dq
    float dropout; // the share of weights that become 0; 0 <= dropout < 1
} hs_sdpa_problem;

// Device addresses; what a problem has no use for is not looked at. What cuDNN does not write: rows that do not count.
typedef struct hs_sdpa_operands {
    const void *q, *k, *v;
    void *y;    // backward: read
    float *lse; // backward: read
    const void *dy;
    void *dq, *dk, *dv;
    const int32_t *len_q, *len_kv;          // [b]; not of HS_SDPA_FULL
    const int32_t *at_in, *at_out, *at_lse; // [b + 1], of HS_SDPA_RAGGED: elements before sequence b in q, in y, in lse
    const int64_t *seed, *offset;           // [1], of dropout; read when it runs: backward wants those of its forward
    void *workspace;                        // hs_sdpa_workspace bytes, aligned to HS_SDPA_ALIGN
    float scale;
} hs_sdpa_operands;
enum { HS_SDPA_ALIGN = 256 };

typedef struct hs_dnn hs_dnn; // of a device: handle and plans

// UNSUPPORTED and the reason where there is no library, or one that is too old.
hs_status hs_dnn_open(hs_dnn **out, int device);
// For a device that is told of, in cuDNN's own JSON: it plans, and runs nothing.
hs_status hs_dnn_open_described(hs_dnn **out, const char *device);
void hs_dnn_close(hs_dnn *dnn);
int hs_dnn_version(const hs_dnn *dnn); // 91900

// What cuDNN says to a problem.
typedef struct hs_sdpa_plan {
    hs_sdpa_problem problem;
    char why[200];          // not; empty: it takes it
    int engine;             // cuDNN's number of the kernel
    size_t workspace_bytes; // of the kernel, beside what this code keeps there
    bool compiled;
    struct hs_sdpa_graph *graph;
} hs_sdpa_plan;
// Made where it is first asked for, and compiled where that is first wanted. Borrowed until hs_dnn_close; NULL: no memory for one.
const hs_sdpa_plan *hs_sdpa_plan_of(hs_dnn *dnn, const hs_sdpa_problem *p, bool compiled);

// Workspace of a problem, known before there is a device: a plan that asks for more is not used.
size_t hs_sdpa_workspace(const hs_sdpa_problem *p);

// Whether the lane's GPU has a compiled plan for it; where not, the log says so once for each problem and reason. Plans: never while the
// lane is captured. why: a reason that the caller has against it, or NULL.
bool hs_sdpa_ready(hs_lane *lane, const hs_sdpa_problem *p, const char *why);
// In the lane's order, where hs_sdpa_ready said yes to the problem. A failure stays in the lane, whose wait says it.
void hs_sdpa_run(hs_lane *lane, const hs_sdpa_problem *p, const hs_sdpa_operands *o);

#ifdef __cplusplus
}
#endif
#endif

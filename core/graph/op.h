// op: one entry per operation - facts per operand, shape rule, cost, definition in f64, CPU kernels, test cases.
//
// An op is one file, ops/NAME.c, one prototype in ops/ops.h and one line in ops/ops.list. The file is compiled once per
// ISA tier; HS_OP(name) gives each tier's entry its own symbol. Builders stand under #ifdef HS_TIER_PORTABLE.
#ifndef HS_CORE_OP_H
#define HS_CORE_OP_H
#include "core/base/status.h"
#include "core/graph/attr.h"
#include "core/graph/comm.h"
#include "core/graph/step.h"
#include "core/graph/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// What the AMP policy does with a float operand. Unset is an error in the table check.
typedef enum hs_amp {
    HS_AMP_UNSET,
    HS_AMP_LOW,    // cast to the policy's low type: products, attention, convolution
    HS_AMP_F32,    // cast up: softmax outside attention, log, exp, norms' reductions; as an output: always f32
    HS_AMP_KEEP,   // takes what comes, computes in f32; as an output: the type of input 0
    HS_AMP_WIDEST, // reads mixed types, no cast; as an output: the widest of the float inputs
    HS_AMP_NONE,   // not a float: ids, starts, rows
} hs_amp;

enum hs_operand_flag {
    // inputs
    HS_OPTIONAL = 1,     // may be absent (NULL)
    HS_NO_GRAD = 2,      // no gradient flows into it
    HS_BWD_READS = 4,    // read by backward: kept alive (inputs and outputs)
    HS_WHOLE = 8,        // every member of the team reads all of it (weights); default: only its own rows
    HS_GRAD_IS_DY = 16,  // identity gradient (add, reshape): aliased, no kernel, no copy
    HS_LOW_VALUE = 1024, // of HS_AMP_F32: the kernel takes a parameter's bf16 too, where that is all there is of it (hs_masters NONE)
    HS_UPDATED = 2048,   // a state that forward and backward of this node both write: no other node does
    HS_BYTES = 4096,     // of HS_AMP_NONE: i8, codes of a quantized value; else i32, or what a case says (hs_case_traces). Of a float: it
                         // may be i8 as well
    // outputs
    HS_SAVED = 32,            // for backward only, has no gradient: statistics, lse. Implies HS_BWD_READS
    HS_ANY_DTYPE = 64,        // the kernel stores f32 or low: a cast behind it sinks into it
    HS_MAY_OVERWRITE_0 = 128, // may take the bytes of input 0 if that dies here (same shape and type)
    HS_IS_INPUT_0 = 256,      // always the bytes of input 0 (KV cache append; dlogits over logits: then a train-only output of a loss)
    HS_SCRATCH = 512, // with HS_SAVED: bytes for this op's kernels alone (a chunk of logits), alive while one runs; no value. Its dims are
                      // for the CPU; another device's kernels may want others (hs_kernels.room)
};
typedef struct hs_operand {
    const char *name;
    hs_amp amp;
    uint16_t flags;
} hs_operand;

enum hs_op_flag {
    HS_OP_LOSS = 1,      // a root. out[0] is [N] f32, one unnormalised loss per row; the plan adds them up into
                         // hs_step_state.loss. Either an output flagged HS_IS_INPUT_0 is the gradient of input 0, made by forward;
                         // or there is a backward kernel: in training only that is run, and writes out[0] beside the gradients.
    HS_OP_SPLIT_BWD = 2, // backward runs twice: din[1..] first, then din[0]
    HS_OP_NONDETERMINISTIC = 4,
    HS_OP_COLLECTIVE = 8, // its kernels find the comm of the tensor-parallel ranks in hs_args.comm
    HS_OP_ROWS_MEET = 64, // row-wise in shape, but a row's result depends on the others: one scale of all
    HS_OP_TP_PART = 32,   // a parameter's gradient by it is this tensor-parallel rank's part of a sum
    HS_OP_CHEAP = 16,     // one pass over its inputs: if backward keeps those, out[0] is not kept for it but made again
};

typedef struct hs_cost {
    double flops, bytes; // bytes: minimum traffic
} hs_cost;
// What kernels of one call of an op ask of its comm, at capacity.
typedef struct hs_op_moves {
    hs_collective_kind kind;
    double bytes; // of the whole buffer: all parts
    int calls;    // that they are divided over; 0: nothing moves
} hs_op_moves;
typedef struct hs_scratch {
    size_t shared, per_thread; // bytes
} hs_scratch;

// An operand as a kernel sees it.
typedef struct hs_ref {
    char *p;            // NULL: absent optional operand, or a gradient nobody wants
    int64_t rows, cols; // dim[0] (capacity) and the product of the other dims
    hs_dtype dtype;
    hs_ext ext;
    bool add;           // gradients (and forward of cast): += instead of =
    const hs_tensor *t; // dims, scope
} hs_ref;

// All that one run of one kernel needs; made by the plan, constant while running.
// Forward: in, out. Backward: in and out only where HS_BWD_READS or HS_SAVED; dout[i] = gradient of out[i]; din[i] to be filled, in index
// order.
typedef struct hs_args {
    hs_ref in[HS_MAX_IN], out[HS_MAX_OUT];
    hs_ref din[HS_MAX_IN], dout[HS_MAX_OUT];
    const void *attr;
    char *scratch;        // shared by the team: a kernel that uses it calls hs_sync at least once
    char *thread_scratch; // of member 0; use hs_thread_scratch(a, lane)
    size_t thread_bytes;
    const void *derived; // the copy that hs_derive of the kernels asked for; NULL: none, read the operand itself
    size_t derived_bytes;
    const hs_step_in *step;
    hs_step_state *state;
    hs_comm *comm; // HS_OP_COLLECTIVE: the tp comm of the graph's grid; of gradient reductions: dp; else NULL
    uint64_t site; // hash of the scope path: dropout key; the same at every layout, packing and recompute
    const struct hs_args *then; // of a kernel that does two calls (hs_join): the one behind; else NULL
    bool alone;                 // and nobody else reads what lies between the two: it need not be written
} hs_args;

// Live rows of an operand in this step.
static inline int64_t hs_ref_rows(const hs_args *a, const hs_ref *r) { return hs_ext_rows(r->ext, a->step->n, r->rows); }

typedef void hs_kernel(const hs_args *a, hs_lane *lane); // cannot fail: whatever can be wrong was refused while tracing

typedef enum hs_part_kind {
    HS_PART_FREE, // divides as it likes
    HS_PART_ROWS, // member t touches exactly hs_part(t, live rows) of every operand that is not HS_WHOLE
    HS_PART_SOLO, // one member runs it, inside the region
    HS_PART_HOST, // run with the region closed (a library with threads of its own)
} hs_part_kind;

// A copy of a parameter in a layout that the kernels walk faster, made once per change of the values instead of once per run.
typedef struct hs_derive {
    int operand;                                                // which input, where it is a parameter
    size_t (*bytes)(const hs_node *n, bool backward, int runs); // runs: per change of the values, as hs_plan_opts has it. 0: not worth it
    hs_kernel *forward, *backward; // in[0] -> out[0], a row of bytes, for the kernels of that direction; divides as it likes, and asks for
                                   // nothing else of its args but what by_attr gives. NULL: none
    bool turns;                    // a weight given as [in, out]: each of the two makes of it what the other makes of [out, in]
    bool replaces_shared;          // a run that reads the copy needs no shared scratch
    bool beside;                   // the kernel may read the operand too, which stays
    bool by_attr;                  // the copy depends on the op's attributes, which are the args' then
} hs_derive;

// Kernels that do two calls, this op's and the one in front of it: forward where that made input 0, backward where that makes the gradient
// of this op's output and nothing else. They get the operands of the call in front, and in `then` those of this op's. All of them have their
// bytes until both are done, so that they may do one after the other. They run as the call in front divides, and sync between the two.
typedef struct hs_join {
    const char *front, *name;                 // the op in front | of the two calls as one
    hs_kernel *fwd, *bwd;                     // either may be NULL
    const char *(*decline)(const hs_node *n); // (optional) this op's node: why not, one line; defaults to "always can"
} hs_join;

// One backend's partner of one op.
typedef struct hs_kernels {
    hs_kernel *fwd, *bwd; // bwd NULL: no gradient of any operand, or all of them identities
    uint8_t fwd_part, bwd_part;
    bool syncs_first; // forward: its own first hs_sync comes before it touches anything but HS_WHOLE operands
    hs_scratch (*scratch)(const hs_node *n, int team, bool backward); // (optional) defaults to none
    const char *(*decline)(const hs_node *n);                         // (optional) why not, one line; defaults to "always can"
    hs_derive derive;                                                 // (optional) its readers sync before they look at it
    void (*room)(hs_node *n); // (optional) sets the dims of outputs flagged HS_SCRATCH; defaults to those of the shape rule
    const hs_join *join;      // (optional) defaults to none
} hs_kernels;

// A case of the generic op test: dims of every input (0-terminated lists), and what to fill them with.
typedef enum hs_fill {
    HS_FILL_NORMAL,   // N(0, 1)
    HS_FILL_CONSTANT, // one value in a row
    HS_FILL_LARGE,    // N(0, 1) * 30
    HS_FILL_2OF4,     // N(0, 1), of every four neighbours two are 0
    HS_FILL_INDEX,    // integers: row i holds valid ids below attr-dependent limit given by .limit
    HS_FILL_CUSTOM,   // the case's setup() writes integer inputs (starts, keys, where)
} hs_fill;

// Of value i of a HS_FILL_2OF4: all six ways to choose, one after the other.
static inline bool hs_2of4_is_zero(int64_t i) { return (0xC5A369u >> i % 24 & 1) != 0; }

struct hs_case_run;
typedef struct hs_case {
    const char *note;                                                            // what is special, or NULL
    int64_t in[HS_MAX_IN][HS_MAX_DIMS];                                          // dims of each input, 0-terminated; all 0: input absent
    hs_ext ext[HS_MAX_IN];                                                       // of each input
    const void *attr;                                                            // the op's attributes, or NULL
    hs_fill fill;                                                                // of the float inputs
    hs_dtype stored[HS_MAX_IN];                                                  // of an input: the one type it has (codes, their scales)
    int64_t limit;                                                               // integer inputs are filled with values in [0, limit) ...
    void (*setup)(int input, int32_t *data, int64_t n, const struct hs_case *c); // ... or by this (may be NULL)
    int64_t live[HS_N_COUNTERS]; // live units below capacity for the live-rows check; 0: derived as about 3/4 of capacity
    float tolerance;             // scales the generic tolerances; 0 means 1
} hs_case;

// A kind of size that `halfstep bench op` takes: what its numbers are, and the case they stand for.
typedef struct hs_op_sizes {
    const char *form;                                         // "ROWSxINxOUT"; the forms of an op differ in how many numbers they have
    const char *usual;                                        // those that matter in training and decoding: "1Kx768x3072,1x768x3072"
    void (*make)(const int64_t *dim, hs_case *c, void *attr); // dims, extents, limit, setup and attributes; what comes in is all 0
    bool forward_only;                                        // measured as in decoding, where nothing is trained
} hs_op_sizes;
typedef struct hs_op_bench {
    const hs_op_sizes *sizes; // (optional) defaults to ROWSxCOLS, put into the largest case that has rows and columns
    int n_sizes;
    uint16_t f32_in; // bit i: where models use the op, input i stays f32 under a low policy though its class is KEEP or WIDEST
    bool f32_out;    // and so does out[0], though it may be low (the residual stream)
    const struct hs_op
        *instead_of; // (optional) the op, of the same inputs, in whose place it stands where it is faster: measured beside it
} hs_op_bench;

typedef struct hs_op {
    const char *name, *formula, *paper;
    uint16_t attr_bytes, flags;
    const hs_attr *attrs; // rows that cover attr_bytes, in the order of the struct
    int n_attrs;
    uint16_t loss_offset; // HS_OP_LOSS: offsetof the int32_t in attr that says which inv_count and which hs_step_state.loss
    hs_operand in[HS_MAX_IN], out[HS_MAX_OUT]; // ends at the first name NULL
    const char *(*shape)(hs_node *n); // sets the outputs; NULL, or one line ("inner widths differ"): the builder adds scope and shapes
    hs_cost (*cost)(const hs_node *n, bool backward);
    hs_op_moves (*moves)(const hs_node *n, bool backward); // HS_OP_COLLECTIVE: what its kernels move between ranks
    void (*ref)(const hs_args *a);     // naive forward, all float operands f64; finite differences of it judge every backward
    void (*ref_bwd)(const hs_args *a); // (optional) naive backward, all f64, onto zeros: where it is not forward's derivative, but taken to
                                       // be (straight through a rounding). Finite differences judge the others
    const struct hs_op *const *unfused; // (optional) names what it fuses, NULL-terminated: documentation and the fused-equals-unfused test
    const hs_case *cases;
    int n_cases;
    hs_op_bench bench; // (optional)
    hs_kernels cpu;
} hs_op;

struct hs_node {
    const hs_op *op;
    const void *attr;
    hs_tensor *in[HS_MAX_IN], *out[HS_MAX_OUT];
    const char *scope;
    uint64_t site;
    int id;       // position in the graph
    int block;    // of the layers that a model repeats, counted from 1; 0: in none
    int trace;    // id of the node of the trace that it is, or stands for; -1: a pass put it in
    uint8_t mode; // hs_mode of the graph
    hs_dtype low; // what LOW operands are cast to here: the policy's low type or an override; set by the AMP pass
};

// Tier naming: HS_TIER is set by the build (portable, avx512bf16, ...).
#ifndef HS_TIER
#define HS_TIER          portable
#define HS_TIER_PORTABLE 1
#endif
#define HS_PASTE2(a, b)   a##_##b
#define HS_PASTE(a, b)    HS_PASTE2(a, b)
#define HS_TIERED(name)   HS_PASTE(name, HS_TIER)
#define HS_OP(name)       const hs_op HS_TIERED(hs_op_##name) // HS_OP(layernorm) = { ... };
#define HS_OP_ENTRY(name) (&hs_op_##name##_portable)          // what builders pass to hs_emit

// The type that an input of a case is traced with.
static inline hs_dtype hs_case_traces(const hs_op *op, const hs_case *c, int i)
{
    if (c->stored[i])
        return c->stored[i];
    return op->in[i].amp != HS_AMP_NONE ? HS_F32 : op->in[i].flags & HS_BYTES ? HS_I8 : HS_I32;
}

// For shape rules.
void hs_shape_set(hs_tensor *out, hs_dtype d, hs_ext ext, int n_dims, const int64_t *dim);
void hs_shape_like(hs_tensor *out, const hs_tensor *in);                    // same dims and ext, float
void hs_shape_rows(hs_tensor *out, const hs_tensor *rows_of, int64_t cols); // [rows_of.dim[0], cols], f32; cols 0: one-dimensional

int hs_op_n_in(const hs_op *op);
int hs_op_n_out(const hs_op *op);

#ifdef __cplusplus
}
#endif
#endif

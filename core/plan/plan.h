// plan: a graph made ready - casts inserted by policy, gradients derived, every byte placed, every barrier decided.
//
// A plan holds offsets only. Bytes, FLOPs and casts are known before anything runs (`halfstep plan`). An exec binds a plan
// to bytes; several execs may live at once.
#ifndef HS_CORE_PLAN_H
#define HS_CORE_PLAN_H
#include "core/graph/coding.h"
#include "core/graph/graph.h"
#include "core/run/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_override { // "gelu=fp32" (op) or "h0.*=fp32" (scope, one trailing *)
    char pattern[96];
    hs_dtype dtype; // F32, the policy's low type, or E4M3: linear layers in fp8
} hs_override;
bool hs_override_matches(const hs_override *o, const hs_node *n);
enum { HS_MAX_OVERRIDES = 32 };

// Linear layers that train as linear_fp8 (ops/ops.h), all other operands as `low` has them, which is BF16. A layer whose widths are no
// multiples of 16 stays linear; so does every layer of a plan that does not train.
typedef struct hs_fp8_policy {
    bool on;     // all of them but for overrides; else those that overrides name ("h1.*=fp8")
    int margin;  // powers of two that scales leave free
    int history; // steps whose largest values scale x and dy, this one not counted: a state of the run, in which all ranks have the
                 // largest of all; 0: the tensors at hand
} hs_fp8_policy;

// Training that foresees codes: weights that would be kept as `wish` says, and what they multiply, are rounded to what codes would stand for
// (hs_fake_quant). Plans that do not train round likewise, all of a weight. One tensor-parallel rank.
typedef struct hs_quant_policy {
    hs_coding_wish wish; // coding HS_CODING_NONE: nothing is rounded
    double share;        // of a weight's blocks that a step rounds, drawn (Quant-Noise); 1, or 0 where nobody said: all
} hs_quant_policy;

typedef struct hs_policy {
    hs_dtype low; // F32 (no mixed precision), BF16, F16
    hs_fp8_policy fp8;
    hs_quant_policy quant;
    bool residual_low; // amp.residual: the residual stream in low precision
    hs_override override[HS_MAX_OVERRIDES];
    int n_overrides;
} hs_policy;
hs_status hs_policy_override(hs_policy *p, const char *overrides); // adds them: "gelu=fp32,h0.*=bf16"; NULL or "": none

// What backward makes again in a block (hs_block_begin) instead of keeping it. The bits are those of keeping.
typedef enum hs_recompute {
    HS_RECOMPUTE_NONE,      // results of one pass over bytes that are kept anyway (HS_OP_CHEAP)
    HS_RECOMPUTE_SELECTIVE, // all but what products and attention make
    HS_RECOMPUTE_FULL,      // everything: a block keeps what goes into it (Chen et al. 2016, arXiv:1604.06174)
} hs_recompute;

typedef struct hs_plan_opts {
    hs_policy policy;
    hs_recompute recompute;
    int runs_per_values; // between two changes of the parameters, about; from 2 on copies of weights may pay (hs_derive)
    bool single_run;     // training: one run makes the gradients of a step. They lie in the plan's slab then, where activations lay before
    bool collectives;    // emit gradient reductions even where the comm's size is 1 (tests)
    size_t bucket_bytes; // of gradients in one reduction, about; 0: 25 MiB
    int losses;          // which set of hs_step_state.loss is its own
} hs_plan_opts;

typedef struct hs_cast_info { // one inserted cast, for `plan`
    const char *scope, *from_op;
    hs_dtype from, to;
    size_t bytes;
    bool backward;
} hs_cast_info;

typedef struct hs_plan_move { // one call that ranks communicate in
    const char *axis, *op, *scope;
    hs_op_moves what;         // at capacity
    bool backward, last_only; // last_only: in the last micro-step of a step alone
} hs_plan_move;

typedef struct hs_plan hs_plan;

// Plans a copy: the trace is left as it was and stays the caller's, who may free it behind this. Fails with the trace's own first error
// if it has one. A training plan declares the gradients' slab.
hs_status hs_plan_new(hs_plan **out, const hs_graph *trace, hs_device *dev, const hs_plan_opts *o);
hs_status hs_plan_take(hs_plan **out, hs_graph *trace, hs_device *dev, const hs_plan_opts *o); // plans the trace itself; its owner always
void hs_plan_free(hs_plan *p);
int hs_plan_losses(const hs_plan *p); // its set of hs_step_state.loss; -1: it has no loss

size_t hs_plan_bytes(const hs_plan *p); // values + gradients, if they lie here, + scratch: one slab, the workspace
enum { HS_INPUT_SLOTS = 2 };
typedef struct hs_plan_info {
    size_t input_bytes;                // of one of the slots that a plan's inputs have outside the workspace
    size_t value_bytes, scratch_bytes; // as placed
    size_t gradient_bytes;             // in the same slab (single_run); 0: they need one of their own
    size_t derived_bytes;              // of parameters in other layouts; not in hs_plan_bytes: plans over one hs_params share them
    size_t value_bytes_unshared;       // what values would take without reuse
    double flops_forward, flops_backward, traffic_bytes; // at capacity
    double flops_again;                                  // of flops_backward what forward had done once
    int n_nodes, n_thunks, n_barriers, n_casts;
    const hs_cast_info *cast;
    int n_moves;
    const hs_plan_move *move;  // in order of calls. An update adds hs_params_tp_sum_bytes over tp,
                               // and over both axes hs_states_largest_bytes
    double trace_plan_seconds; // from hs_graph_new of the trace to the end of planning
} hs_plan_info;
const hs_plan_info *hs_plan_info_of(const hs_plan *p);
const hs_graph *hs_plan_graph(const hs_plan *p); // the copy: types settled, casts in place; hs_node.trace leads back to the trace

// By hs_param.id: when backward completes its gradient, small is early; lives as long as the plan. NULL: it does not train.
const int *hs_plan_grad_order(const hs_plan *p);

// Marks the parameters (by id) whose f32 values, low copies and codes kernels of this plan read; where they read a copy in another layout
// (core/graph/derived.h), that is not counted.
void hs_plan_reads(const hs_plan *p, bool *master, bool *low, bool *codes);

// Marks the parameters (by id) whose gradients this plan makes.
void hs_plan_writes(const hs_plan *p, bool *written);
bool hs_plan_reduces(const hs_plan *p); // its last micro-step of a step reduces gradients over dp, or every one

typedef struct hs_exec_memory { // all of it borrowed
    hs_device *device;          // whose memory it is; NULL: the plan's
    void *workspace;            // hs_plan_bytes, 64-byte aligned
    void *inputs;               // HS_INPUT_SLOTS times hs_plan_info.input_bytes, likewise
    void *const *states;        // by hs_state.id: the bytes of each; NULL where the plan has none
    const hs_step_in *in;       // these two as kernels get them
    hs_step_state *state;
} hs_exec_memory;

typedef struct hs_exec hs_exec;
// A plan with gradient_bytes has the gradient slab at the front of its workspace: hs_params_lend before this. The slab is whole
// from the end of a run to the next run of any plan over this workspace. Copies of parameters (core/graph/derived.h) must have been made
// before a segment is submitted: hs_model_refresh does it. INTERNAL, by its name: an operand outside the device's memory.
hs_status hs_exec_new(hs_exec **out, const hs_plan *p, const hs_exec_memory *m);
void hs_exec_free(hs_exec *e);

enum { HS_MICRO_FIRST = 1, HS_MICRO_LAST = 2 }; // first: gradients are written, else added; last: buckets are reduced over dp
const hs_segment *hs_exec_micro(hs_exec *e,     // that reads the slot of hs_exec_input
                                int which);     // eval and decode plans ignore `which`. NULL: not FIRST, but there are gradient_bytes

const hs_plan *hs_exec_plan(const hs_exec *e);
hs_device *hs_exec_device(const hs_exec *e);
// Inputs have two slots, so that one is filled while a submission reads the other: hs_exec_turn goes on in the other one, which holds what
// it held before.
void hs_exec_turn(hs_exec *e);
int hs_exec_slot(const hs_exec *e); // 0 first
// Bytes of a static input in this slot, or of a tensor kept by hs_output (valid after a run, until the next one). NULL if there is none of
// that name.
void *hs_exec_input(hs_exec *e, const char *name);
const hs_tensor *hs_exec_input_tensor(const hs_exec *e, const char *name);
void *hs_exec_output(hs_exec *e, int index, hs_ref *ref);

// Non-finite values among the live rows (at the counts `live`, hs_step_in.n) of what a thunk just wrote: count, and which operand; 0 if
// none. For a hook of step mode, which asks of t->then too: reads through the device's copy.
int64_t hs_thunk_nonfinite(hs_device *d, const int64_t *live, const hs_thunk *t, const char **operand);

#ifdef __cplusplus
}
#endif
#endif

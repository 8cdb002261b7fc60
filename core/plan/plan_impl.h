// plan_impl: the insides of a plan, shared by the files that make one - coded.c (ops on codes), faked.c (values rounded as codes would be),
// amp.c (casts), lower.c (forward calls), autodiff.c (backward calls), await.c (values over dp), reduce.c (gradients over dp), joined.c (two
// calls by one kernel), place.c (bytes and barriers), plan.c (order of these) - and by exec.c, which binds it. Not installed.
#ifndef HS_CORE_PLAN_IMPL_H
#define HS_CORE_PLAN_IMPL_H
#include "core/base/grow.h"
#include "core/graph/derived.h"
#include "core/graph/divide.h"
#include "core/plan/plan.h"

// Where an operand's bytes are.
typedef enum hs_where {
    HS_AT_NONE,
    HS_AT_BUF,
    HS_AT_MASTER,
    HS_AT_LOW,
    HS_AT_CODED, // a view of a parameter that is kept as codes
    HS_AT_GRAD,  // of a parameter: in its slab, or in a block where ranks keep shares
    HS_AT_STATE,
    HS_AT_SHARE,      // of a parameter: what this rank has of its gradient in the slab ...
    HS_AT_BLOCK_SHARE // ... and the same elements in the block
} hs_where;

typedef struct hs_slot { // small: a call has twenty
    const hs_tensor *t;  // dims, param, state
    int buf;             // HS_AT_BUF
    hs_where where : 8;
    hs_dtype dtype : 8;
    bool add : 1;              // +=
    bool add_later : 1;        // += in every micro-step but the first (parameter gradients)
    bool writes : 1, rows : 1; // rows: divided by hs_part in a ROWS kernel; false: WHOLE
} hs_slot;

typedef struct hs_buf { // bytes in the plan's slab, alive from call `first` to call `last`; of an input: in each of its slots
    size_t bytes, offset;
    int first, last;
    bool input;
} hs_buf;

typedef struct hs_call { // one kernel call: a thunk before it is bound
    const hs_node *node; // never NULL; synthetic for copies
    const char *name;
    hs_kernel *fn;
    const hs_kernels *of; // the node's kernels that it is of; NULL: none of those
    const void *attr;
    hs_slot in[HS_MAX_IN], out[HS_MAX_OUT], din[HS_MAX_IN], dout[HS_MAX_OUT];
    hs_scratch scratch;
    const hs_derived *derived; // NULL: none
    int derived_in;            // the operand that it is read instead of; -1: beside it
    hs_comm *comm;             // NULL: none
    int await;                 // of a wait for values: for how many groups; 0: it is none
    const hs_share_run *run;   // of a reduction over shares: whose; NULL: none
    hs_cost cost;
    bool backward, syncs_first, sync, last_only; // last_only: in the last micro-step only (gradient reductions)
    bool again;                                  // forward once more, for backward
    bool joined, alone;                          // done by the call in front | hs_args.alone
    uint8_t part, half;                          // half: which of the two shared scratch areas
} hs_call;

typedef struct hs_marks { // by tensor id: what of a value is settled before its call is made
    bool *needs;          // a gradient must reach it
    bool *kept;           // backward reads it
    bool *again;          // and it is made again for that, instead of kept
    int *uses;            // readers in forward, and outputs
} hs_marks;

struct hs_plan {
    hs_graph *graph;
    hs_device *dev;
    hs_plan_opts opts;
    hs_call *call, spare; // spare: written to where there was no memory for one more; the graph has failed
    int n_calls, cap_calls, n_forward, n_joined;
    hs_buf *buf;
    int n_bufs, cap_bufs;
    int *value_buf;  // by tensor id; -1: none
    int *grad_order; // hs_plan_grad_order; NULL: it does not train
    int *grad_buf;   // by hs_param.id, where ranks keep shares of gradients: the block that it is made in (-1: it is not), and where
    size_t *grad_at; // in it, bytes; NULL: gradients lie in their slab
    hs_marks marks;
    size_t values_end, scratch_bytes, thread_bytes, total_bytes; // layout: buffers | shared A | shared B, of a team | members' scratch
    int halves;                                                  // of shared scratch: 2; 1 where calls never overlap
    const hs_derived **derived;                                  // that its calls read, each once
    int n_derived;
    hs_cast_info *cast;
    int n_casts, cap_casts;
    hs_plan_move *move;
    int n_moves, cap_moves;
    hs_plan_info info;
};

static inline size_t hs_plan_grad_offset(const hs_plan *p, const hs_param *q)
{
    return p->grad_buf ? p->buf[p->grad_buf[q->id]].offset + p->grad_at[q->id] : p->graph->params->grad->place[q->id].offset;
}

hs_status hs_plan_coded(hs_plan *p); // ops that read codes in the place of those that read values
struct hs_rewrite;
void hs_plan_fuse_codes(hs_plan *p, struct hs_rewrite *r); // what products of codes take over of what follows them
hs_status hs_plan_faked(hs_plan *p);                       // values rounded to what codes would stand for
hs_status hs_plan_amp(hs_plan *p);                         // settles every dtype; inserts casts
hs_status hs_plan_lower(hs_plan *p);                       // marks, forward calls and the buffers of values
hs_status hs_plan_autodiff(hs_plan *p);                    // backward calls and the buffers of gradients
hs_status hs_plan_await(hs_plan *p);                       // waits for values among them
hs_status hs_plan_reduce(hs_plan *p);                      // reductions, too
hs_status hs_plan_join(hs_plan *p);                        // two calls that one kernel does
hs_status hs_plan_place(hs_plan *p);                       // offsets
hs_status hs_plan_barriers(hs_plan *p);                    // call.sync

// Where memory runs out, these make the graph fail: a pass goes on, and hs_plan_new refuses behind it.
int hs_plan_buf(hs_plan *p, size_t bytes); // -1 then
hs_call *hs_plan_call(hs_plan *p, const hs_node *node, const char *name);
void hs_plan_note_cast(hs_plan *p, const hs_node *n, const char *from_op, hs_dtype from, hs_dtype to, size_t bytes, bool backward);

// What autodiff takes of lowering.
static inline bool hs_plan_trains(const hs_plan *p) { return p->graph->mode == HS_TRAIN; }
bool hs_takes_gradient(const hs_node *n, int i);                       // may a gradient flow into input i
bool hs_plan_differentiable(const hs_plan *p, const hs_node *n);       // does backward of n run at all
hs_slot hs_plan_value_slot(const hs_plan *p, const hs_node *n, int i); // input i, read
hs_slot hs_plan_out_slot(const hs_plan *p, const hs_node *n, int k, bool writes);
hs_status hs_plan_kernels_of(const hs_plan *p, const hs_node *n, const hs_kernels **out);
hs_call *hs_plan_forward_call(hs_plan *p, hs_node *n, const hs_kernels *k);
hs_status hs_plan_derive(hs_plan *p, hs_call *r, const hs_node *n, const hs_derive *f, bool backward);
void hs_plan_sum_loss(hs_plan *p, hs_node *n);

// ---- exec.c, for feed.c
typedef struct hs_fed { // input i of a bound plan, in the slot of hs_exec_input
    char *p;
    const void *cell; // the default's bytes, if it has one
    bool has_default; // there is nothing else in it
} hs_fed;
hs_fed hs_exec_fed(hs_exec *e, int i);
void hs_exec_set_default(hs_exec *e, int i, bool has_default);

#endif

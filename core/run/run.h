// run: a model under way on one device - workspace, states, step block, step state - and its steps. Several runs share one model:
// a server's instances, or a teacher beside its student. Each has its own device (or waits for its turn), and belongs to one thread.
//
// A training step is any number of micro-steps of any of the model's training plans, then one update. Whether a gradient is written
// or added to is settled over the whole step: the first plan that makes it writes, whoever comes later adds. A parameter whose gradient
// no plan of the step made is left alone by the update (hs_params.has_grad).
#ifndef HS_CORE_RUN_H
#define HS_CORE_RUN_H
#include "core/graph/batch.h"
#include "core/run/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_run hs_run;
typedef struct hs_run_opts {
    hs_device *device; // NULL: the model's. Another one must not have a larger team than that
    hs_submit_mode mode;
    const int *plans; // to bind, n_plans of them; NULL: all that the model has
    int n_plans;
} hs_run_opts;

// The model is laid out (hs_model_alloc). At most one run of a model binds training plans: gradients exist once.
hs_status hs_run_new(hs_run **out, hs_model *m, const hs_run_opts *o);
void hs_run_free(hs_run *r);
// Of a plan added to the model later. Where it does not fit into the workspace it gets one of its own: nothing that is bound moves.
hs_status hs_run_bind(hs_run *r, int plan);

hs_model *hs_run_model(const hs_run *r);
hs_device *hs_run_device(const hs_run *r);
hs_lane *hs_run_lane(const hs_run *r); // that it submits to: what the device is given there comes in front of the next step
hs_submit_mode hs_run_mode(const hs_run *r);
void hs_run_set_mode(hs_run *r, hs_submit_mode mode);
size_t hs_run_bytes(const hs_run *r); // workspace and states
// The device's addresses of the workspace that the plans it was born with share, and of step block and state: for tests that spoil them.
void *hs_run_workspace(hs_run *r, size_t *bytes);
void *hs_run_blocks(hs_run *r, size_t *bytes);

// ---- what goes in and comes out. A plan's inputs lie outside the workspace that plans share, and stay until they are written again. They
// have two slots: a batch is fed into the one that no submission reads, while one may read the other.
// The batch into all inputs of a plan, in the slot that is free, and into the live counts: hs_exec_feed says what is refused. One in the
// run's device's memory (hs_device_batches) is read while the host goes on, until hs_batch_arrive; any other may change when this returns.
hs_status hs_run_feed(hs_run *r, int plan, const hs_batch *batch);
int hs_run_n_inputs(const hs_run *r, int plan);
// Input i of a plan, in the order of its trace: bytes of the slot that the next submission reads, until the next hs_run_feed, and (tensor
// may be NULL) name, dtype, capacity and extent.
void *hs_run_input_at(hs_run *r, int plan, int i, const hs_tensor **tensor);
void *hs_run_input(hs_run *r, int plan, const char *name); // NULL: no such input, or the plan is not bound
// These addresses are the device's: on the CPU they may be followed, in general they are for its copy alone. The way that goes everywhere:
// bytes into an input from its front on, behind what still reads this slot; rows [row, row + n) of an output (f32 or low) as f32. INTERNAL:
// no such, or no room.
hs_status hs_run_write(hs_run *r, int plan, const char *input, const void *src, size_t bytes);
hs_status hs_run_read(hs_run *r, int plan, int output, int64_t row, int64_t n, float *dst);
hs_status hs_run_read_i32(hs_run *r, int plan, int output, int64_t row, int64_t n, int32_t *dst); // the same of an output of i32
// What hs_output kept, once somebody waited; valid until the run's next submission. NULL: no such output.
void *hs_run_output(hs_run *r, int plan, int index, hs_ref *ref);
// Copies the live rows of an output into an input of another run (or of this one, of another plan): a teacher's logits, for its student.
// USAGE, by name, where dtype or shape differ.
hs_status hs_run_pass(hs_run *to, int plan, const char *input, hs_run *from, int from_plan, int output);
hs_exec *hs_run_exec(hs_run *r, int plan); // NULL: not bound

// The step block, the host's copy: the caller fills live counts and inv_count before a submission, which takes what is there then; step,
// micro and ran are the run's.
hs_step_in *hs_run_in(hs_run *r);
// As it is behind all that was submitted, until the next call. NULL: waiting failed; behind a hs_run_wait it does not.
const hs_step_state *hs_run_state(hs_run *r);
void hs_run_set_state(hs_run *r, const hs_step_state *state); // before the first step: what an optimizer begins with, or a checkpoint's
// A state by its id in hs_model.states (hs_state): its bytes behind all that was submitted, and before what will be.
hs_status hs_run_states_read(hs_run *r, int id, void *to);
hs_status hs_run_states_write(hs_run *r, int id, const void *from);
const double *hs_run_losses(hs_run *r, int plan); // [HS_N_LOSS] of hs_run_state, likewise; NULL: the plan has none

// ---- steps. Each call submits, in the run's lane; nobody waits before somebody reads (state, losses, records, hs_run_read). In step mode
// each call waits. Errors of the device and of the other ranks come with the wait.
hs_status hs_run_wait(hs_run *r); // for all that was submitted
// Begins attempted step `step`: gradients made since the last update are forgotten. An update does it by itself, for the next one.
void hs_run_begin(hs_run *r, uint64_t step);
// A micro-step of a training plan. last: gradients are reduced over dp behind it, also those that other plans made; every rank runs the
// same plans in a step. INTERNAL: not a training plan; one more behind the last; a second one where micro_steps is 1.
hs_status hs_run_micro(hs_run *r, int plan, bool last);
// An evaluation or decoding plan, its losses from 0. INTERNAL while gradients are pending: it may lie where they do.
hs_status hs_run_forward(hs_run *r, int plan);
// The optimizer: its thunks are copied and get this run's step block and state; what they point to besides is borrowed. They set applied,
// lr, grad_norm, found_inf, the skip and scale members of the state, and read hs_params.has_grad. Where values are divided over dp and the
// last thunk is core->finish, values are still on their way behind an update: the next micro-step waits for them where it reads them, and
// whatever reads a slab does.
hs_status hs_run_set_update(hs_run *r, const hs_segment *update);
const hs_segment *hs_run_update_segment(const hs_run *r); // with the record behind it; NULL: none was set
hs_status hs_run_update(hs_run *r);                       // INTERNAL: no segment, no micro-step before it, none that was the last

// By hs_param.id: a micro-step since the last update has made this gradient. It lies in the slab "grad", behind a hs_run_wait.
const bool *hs_run_made(const hs_run *r);

// ---- records of the last HS_STEP_RECORDS updates. Reading them looks at the device: do it every now and then, not every step.
int hs_run_unread(const hs_run *r);                  // updates since the last record that was read; known without looking
const hs_step_record *hs_run_read_record(hs_run *r); // the oldest one not read yet, valid until the next update; NULL: none is left, or
                                                     // waiting failed (ask hs_run_wait before)

#ifdef __cplusplus
}
#endif
#endif

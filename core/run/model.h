// model: what any number of runs share - the parameters with their derived copies, and the plans traced over them.
//
//   hs_model_new -> hs_model_plan, one call a plan -> hs_model_alloc -> hs_run_new (core/run/run.h), any number of runs
//
// Before hs_model_alloc there are only tables: a model that is never laid out is how a program learns what a run would take (`halfstep
// plan`). Plans may be added behind it, while no run submits; they may bring no new parameters, and move nothing that is bound.
// One thread at a time plans, allocates and changes values; runs of different threads may then read the values at once.
#ifndef HS_CORE_MODEL_H
#define HS_CORE_MODEL_H
#include "core/graph/divide.h"
#include "core/plan/plan.h"
#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

// Emits inputs, network and loss (or what hs_output keeps) for g->mode. Errors go to the graph.
typedef void hs_model_fn(hs_graph *g, const void *config);

enum { HS_VALUES_STAY = INT32_MAX };
typedef struct hs_model_opts {
    hs_device *device;       // plans are made of its kernels, for its team; borrowed
    const hs_policy *policy; // NULL: fp32
    // Micro-steps of an optimizer step, as far as is known. 1: a single run of the only training plan makes its gradients, so that
    // activations may lie where these will; from 2 on copies of weights in the layout of products pay; HS_VALUES_STAY: nothing trains.
    // 0: any number.
    int micro_steps;
    bool releases; // hs_model_release_values will follow the load: memory is asked for accordingly
    bool passes;   // and whoever loads says of each value when it is there (hs_model_value_is_there): what then goes shares its memory
    int runs;      // that there will be at once, for what memory is asked for: each has states and a workspace of its own; 0: one
    uint64_t seed;
    hs_grid grid;        // zero: 1 x 1
    size_t bucket_bytes; // of gradients that are reduced over dp together, about; 0: 25 MiB. No bit depends on it
    hs_divide divide;    // over dp
    hs_masters masters;  // how values are kept
    hs_coder coder;      // which parameters are kept as codes; zero: none
    bool sequence;       // tensor-parallel ranks divide the tokens between the products (sequence parallelism)
    hs_recompute recompute;
} hs_model_opts;

typedef struct hs_model { // to be read, not written
    hs_device *device;
    hs_policy policy;
    hs_grid grid;
    bool sequence;
    hs_params *params;
    hs_states *states; // that plans declare; their bytes are a run's
    uint64_t seed;
    int micro_steps, runs;
    bool releases, passes;
    size_t bucket_bytes;
    hs_recompute recompute;
    hs_plan **plan; // by the numbers that hs_model_plan gives
    int n_plans, cap_plans;
    int n_losses;           // plans with losses: sets of hs_step_state.loss
    size_t workspace_bytes; // of the largest plan
    // its own
    pthread_mutex_t lock;  // of the copies: the first run that finds them old makes them, the others wait
    hs_segment derive, old; // makes them, a thunk for each | those of them that were submitted last
    uint64_t made_version;  // of which values the copies are, and how many there were
    int n_made;
    hs_device *making_on; // of a model that trains: where they are being made, and nobody has waited for it; NULL: nowhere
    hs_lane *making;
    hs_lane *loading; // of hs_model_value_is_there, until values are released
    bool trains;      // a run holds its gradients
    bool released;    // hs_model_release_values: no plan may follow that would read what is gone
} hs_model;

hs_status hs_model_new(hs_model **out, const hs_model_opts *o);
void hs_model_free(hs_model *m); // behind its runs

// Traces and plans. The training plan comes first: the slabs follow the order in which parameters are asked for. *plan: its number.
// USAGE: more than HS_N_LOSS_SETS plans with losses. INTERNAL: a second training plan where micro_steps is 1.
hs_status hs_model_plan(hs_model *m, hs_mode mode, hs_model_fn *trace, const void *config, int *plan);

// Takes the memory of the parameters' slabs - an optimizer's are declared by then (hs_params_declare) - and, if wanted, draws the initial
// values. Gradients get none where a training plan has them among its activations.
// MEMORY, with the figures, where the machine has less than the slabs, the copies and one run's workspace and states take; of a model that
// releases, copies and values are counted as they come and go.
hs_status hs_model_alloc(hs_model *m, bool draw);

// What the model takes, laid out or not: its slabs and copies, once; workspace, states and inputs, per run.
typedef struct hs_model_bytes {
    hs_params_bytes slabs;                     // grad: 0 where gradients lie in the workspace
    size_t derived, workspace, states, inputs; // inputs: the slots of all plans
} hs_model_bytes;
hs_model_bytes hs_model_bytes_of(const hs_model *m);

// Of a model without a training plan, once values are loaded: makes the copies and gives back what no plan reads any more - f32 values
// where products read low ones, and values of which only a copy in another layout is read. One parameter after the other, so that no more
// is there at once than must be. Loading or drawing all of them again brings them back; plans cannot be added any more.
hs_status hs_model_release_values(hs_model *m);

// Of such a model, once its plans are there, by id: which values do as well turned, [in, out], where they are served from a file that has
// them so (hs_params_turned).
hs_status hs_model_turns(const hs_model *m, bool *turns);

// Of a model that was made to pass its values, before hs_model_release_values, once for each parameter (of one kept as codes: of those):
// makes p's copies, behind which the value is gone if nothing else reads it. So a load touches no more memory than is kept, and pages
// that are cleared first cost more than what is written to them: GPT-2 124M is ready in half the time.
hs_status hs_model_value_is_there(hs_model *m, const hs_param *p);

// Makes the copies of parameters that are older than the values, on that device, in that lane, and waits for it; of a model that trains it
// goes on, and whoever comes with another lane waits. Every run does it before it submits; called from several threads at once, one of them
// makes the copies.
hs_status hs_model_refresh(hs_model *m, hs_device *dev, hs_lane *lane, hs_submit_mode mode);
void hs_model_leave(hs_model *m, const hs_device *dev, const hs_lane *lane); // the lane, which was waited for, is about to be closed

#ifdef __cplusplus
}
#endif
#endif

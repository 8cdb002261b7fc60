// engine: one model function made ready to run - parameters, plans, workspace, optimizer - and its steps. What the trainer,
// the commands and a program that embeds the library share.
#ifndef HS_RECIPES_ENGINE_H
#define HS_RECIPES_ENGINE_H
#include "core/plan/plan.h"
#include "optim/optim.h"

// Emits inputs, model and loss (or logits, in decode mode) for g->mode. Errors go to the graph.
typedef void hs_model_fn(hs_graph *g, const void *config);

typedef struct hs_engine_opts {
    hs_model_fn *model;
    const void *config;                      // passed to model; borrowed
    const hs_policy *policy;                 // NULL: fp32
    const hs_optim_config *optim;            // NULL: no training plan, no moments
    bool eval, decode;                       // also make these plans
    const void *eval_config, *decode_config; // NULL: config
    // Training: micro-batches of an optimizer step, as far as is known: 1 lets activations lie where gradients will (runs without
    // HS_MICRO_FIRST are refused then), from 2 on copies of weights pay. 0: any number.
    int micro_steps;
    bool loads_values; // a checkpoint is loaded next: parameters are not drawn first
    uint64_t seed;
    int threads;       // 0: all cores of this process
    hs_device *device; // NULL: the CPU, opened and owned by the engine
    hs_submit_mode mode;
    hs_grid grid; // zero: 1 x 1
} hs_engine_opts;

typedef struct hs_engine {
    hs_device *device;
    bool owns_device;
    hs_params *params;
    hs_states *states;
    hs_plan *plan[3]; // by hs_mode; NULL: not made
    hs_exec *exec[3];
    void *workspace;
    size_t workspace_bytes;
    hs_optim *optim;
    hs_step_in in;
    hs_step_state state;
    hs_submit_mode mode;
    hs_grid grid;
} hs_engine;

hs_status hs_engine_new(hs_engine **out, const hs_engine_opts *o);
void hs_engine_free(hs_engine *e);
void *hs_engine_input(hs_engine *e, hs_mode mode, const char *name);
// One micro-step of a mode: the caller has filled inputs and e->in. which: HS_MICRO_* in train mode.
hs_status hs_engine_run(hs_engine *e, hs_mode mode, int which);
hs_status hs_engine_update(hs_engine *e); // the optimizer's segment; then e->state has loss, lr, grad_norm; raises e->in.step
// Of an engine that only infers: gives back the f32 values that no plan reads, once values are loaded. Loading again brings them back.
hs_status hs_engine_release_masters(hs_engine *e);
size_t hs_engine_bytes(const hs_engine *e); // everything allocated

#endif

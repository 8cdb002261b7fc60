// engine: a model with at most one plan per mode, one run of it and an optimizer - what the trainer, the commands and the benchmarks
// each need, in one call. A program with more plans, more runs or an update of its own uses core/run/run.h itself.
#ifndef HS_RECIPES_ENGINE_H
#define HS_RECIPES_ENGINE_H
#include "core/graph/adapter.h"
#include "core/run/run.h"
#include "optim/optim.h"

typedef struct hs_engine_opts {
    hs_model_fn *model;
    const void *config;                      // passed to model; borrowed
    const hs_policy *policy;                 // NULL: fp32
    const hs_optim_config *optim;            // NULL: no training plan, no moments
    const char *freeze;                      // hs_params_freeze; NULL: everything is trained
    const char *keep_zeros;                  // hs_params_keep_zeros; NULL: none
    const hs_adapter_spec *adapter;          // hs_params_adapt; NULL: none
    hs_coder coder;                          // as in hs_model_opts
    hs_hold hold;                            // hs_params_hold; zero: everything is trained
    bool eval, decode;                       // also make these plans
    const void *eval_config, *decode_config; // NULL: config
    int micro_steps;                         // as in hs_model_opts; with optim only
    bool loads_values;                       // a checkpoint is loaded next: parameters are not drawn first
    uint64_t seed;
    int threads;       // 0: all cores of this process
    hs_device *device; // NULL: the CPU, opened and owned by the engine
    hs_submit_mode mode;
    hs_grid grid;        // zero: 1 x 1
    size_t bucket_bytes; // these four are as in hs_model_opts
    hs_divide divide;
    bool sequence;
    hs_recompute recompute;
} hs_engine_opts;

typedef struct hs_engine {
    hs_device *device;
    bool owns_device;
    hs_model *model;
    hs_run *run;
    hs_optim *optim;   // NULL: inference
    int plan[3];       // by hs_mode: its number in the model; -1: not made
    hs_params *params; // the model's
    hs_step_in *in;    // the run's
    bool trains, loads_values;
    hs_optim_config optim_config; // where it trains
    hs_submit_mode mode;
} hs_engine;

// In two steps, between which all bytes are known and none are taken: model and plans, then memory, run and optimizer.
hs_status hs_engine_open(hs_engine **out, const hs_engine_opts *o); // run and optim stay NULL
hs_status hs_engine_start(hs_engine *e);
hs_status hs_engine_new(hs_engine **out, const hs_engine_opts *o); // both
void hs_engine_free(hs_engine *e);
const hs_plan *hs_engine_plan(const hs_engine *e, hs_mode mode); // NULL: not made
hs_exec *hs_engine_exec(const hs_engine *e, hs_mode mode);
void *hs_engine_input(hs_engine *e, hs_mode mode, const char *name);
// One micro-step of a mode: the caller has filled inputs and e->in. which: HS_MICRO_* in train mode; HS_MICRO_FIRST forgets what
// gradients there are.
hs_status hs_engine_run(hs_engine *e, hs_mode mode, int which);
static inline double hs_engine_loss(const hs_engine *e, hs_mode mode) { return hs_run_losses(e->run, e->plan[mode])[0]; }
size_t hs_engine_bytes(const hs_engine *e); // everything allocated

#endif

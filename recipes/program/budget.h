// budget: what a configuration trains with, planned, and what that will take before any memory is.
#ifndef HS_RECIPES_BUDGET_H
#define HS_RECIPES_BUDGET_H
#include "data/checkpoint/checkpoint.h"
#include "optim/optim.h"
#include "recipes/program/config.h"
#include "recipes/train/engine.h"

typedef struct hs_budget {
    int64_t parameters;
    // bytes by class
    size_t masters, weights, gradients, moments; // values, f32 or less (hs_masters); low copies that products read; f32; f32, bf16
    size_t packed;                               // copies of weights laid out for products; only with accumulation
    size_t codes;                                // what a GPU has in their place: weights as codes, under fp8
    size_t activations, workspace;               // of the training plan: values, scratch
    size_t teacher;                              // all of it; 0: there is none
    size_t inputs;                               // of both plans, in their slots
    size_t evaluation;                           // by which the evaluation plan exceeds the training plan
    size_t snapshot, loader;
    size_t total;
    bool of_gpu;                          // planned of a GPU's kernels: packed and workspace are its own
    double flops_forward, flops_backward; // of an optimizer step: all micro-batches
    double flops_longer;                  // packed documents are planned as short as may be: what more there is where each fills its window
    double traffic_bytes;                 // that they move at least, likewise
    hs_plan_info info;                    // of the training plan; casts live as long as the engine
    const hs_graph *graph;                // as the training plan has it, likewise
} hs_budget;

// The engine of a rank of a run of c, whose model.vocab is settled, with micro_batch windows of its own in place of train.batch: planned,
// without memory (hs_engine_start). grid: NULL: alone. loads_values, coder: as in hs_engine_opts.
hs_status hs_budget_engine(hs_engine **out, const hs_config *c, const hs_policy *policy, int64_t micro_batch, hs_device *dev,
                           const hs_grid *grid, bool loads_values, hs_coder coder);
// The error at hand of an engine that could not be planned, with what parallel.tp has to do with it: USAGE where the model does not divide
// over it, with the sizes, and the numbers of ranks over which it would; else as it is.
hs_status hs_budget_explain(hs_status st, const hs_config *c, const hs_policy *policy, hs_device *dev);
void hs_budget_of(hs_budget *b, const hs_engine *e, const hs_config *c, int64_t micro_batch);
hs_status hs_budget_add_teacher(hs_budget *b, const hs_engine *e, const hs_config *c, int64_t micro_batch); // distill.teacher's part
typedef size_t hs_budget_counts(const hs_budget *b); // what of it must fit; NULL: the total
size_t hs_budget_on_gpu(const hs_budget *b);         // without loader and snapshot, the host's; planned of CPU kernels without their
                                                     // scratch, and with a GPU's copies of weights in the place of theirs
// Largest micro-batch of a rank of the grid (NULL: alone) of which what counts stays within `bytes`; 0: not even one window.
hs_status hs_budget_largest(const hs_config *c, const hs_policy *policy, size_t bytes, hs_budget_counts *counts, hs_device *dev,
                            const hs_grid *grid, int64_t *windows);
// Of the engine of a rank's part of train.batch windows: MEMORY, with both figures and the micro-batch that would fit, if the run needs
// more than this process may take: its part of what is free where `here` ranks share a host.
hs_status hs_budget_check(const hs_engine *e, const hs_config *c, const hs_policy *policy, int here);

#endif

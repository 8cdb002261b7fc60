// optim: AdamW, LAMB and SGD over the parameters' slabs, global-norm clipping, schedules and the dynamic loss scaler, as thunks.
//
// One pass over memory: unscale, clip, moments, master update, refreshed low copy. Norms are fixed-order sums of per-chunk
// partials, per logical tensor, reduced once over tp (and over optimizer shards). Nothing needs the host: on a non-finite
// gradient every kernel returns at once, the scale backs off, and lr, bias correction and `applied` stay where they were.
#ifndef HS_OPTIM_OPTIM_H
#define HS_OPTIM_OPTIM_H
#include "core/graph/comm.h"
#include "core/graph/params.h"
#include "core/run/device.h"

typedef enum hs_optim_kind { HS_ADAMW, HS_LAMB, HS_SGD, HS_N_OPTIMS } hs_optim_kind;
typedef enum hs_schedule_kind { HS_SCHEDULE_CONSTANT, HS_SCHEDULE_LINEAR, HS_SCHEDULE_COSINE, HS_SCHEDULE_POLY } hs_schedule_kind;

// lr at 0-based applied step t: warm-up lr * (t+1)/(warmup+1) for t < warmup; then by kind from lr to min_lr over the rest,
// p = (t - warmup) / (steps - 1 - warmup): cosine min + (lr-min)(1+cos(pi p))/2, linear; the last step has min_lr exactly
// (one step alone has lr). poly, as NVIDIA's
// recipe has it: min + (lr-min)(1-p)^power with p = (t - warmup) / (steps - warmup), so that min_lr is that of the step behind the last.
typedef struct hs_schedule {
    hs_schedule_kind kind;
    double lr, min_lr, power;
    int64_t warmup, steps;
} hs_schedule;
double hs_schedule_lr(const hs_schedule *s, int64_t t);

typedef struct hs_scaler_config {
    bool dynamic; // false: the scale stays at init
    float init, growth, backoff, min, max;
    int32_t interval, hysteresis;
} hs_scaler_config;
// none (scale 1), dynamic (2^16, x2 every 2000, x0.5, 1 to 2^24), megatron (2^32, 1000, hysteresis 2), auto: dynamic iff low is f16.
typedef enum hs_scaler_kind { HS_SCALER_AUTO, HS_SCALER_NONE, HS_SCALER_DYNAMIC, HS_SCALER_MEGATRON } hs_scaler_kind;
hs_scaler_config hs_scaler_preset(hs_scaler_kind kind, hs_dtype low);

typedef struct hs_optim_config {
    hs_optim_kind kind;
    double beta1, beta2, eps, weight_decay; // weight_decay: decoupled; SGD adds it to the gradient
    double momentum;                        // SGD
    double clip;                            // global norm; 0: off
    hs_schedule schedule;
    hs_scaler_config scaler;
    double decay_factor[HS_N_ROLES]; // of weight_decay, by role; default 1 for weights and embeddings, 0 for biases and norms
    double lr_factor[HS_N_ROLES];    // default 1
    // LAMB only (facts: every implementation differs here; the presets name a choice)
    bool ratio_all;  // trust ratio for all logical tensors; false: only where decay_factor > 0
    bool eps_inside; // sqrt(v + eps) instead of sqrt(v) + eps
    bool bias_correction, grad_averaging;
    double ratio_min, ratio_max; // 0, 0: unbounded
} hs_optim_config;
// lamb: ratio where decay, eps outside; nvlamb: the published figure (all tensors, eps inside, clip at norm 1).
typedef enum hs_preset { HS_PRESET_ADAMW, HS_PRESET_LAMB, HS_PRESET_NVLAMB, HS_PRESET_SGD, HS_N_PRESETS } hs_preset;
hs_optim_config hs_optim_preset(hs_preset preset);

// The slabs an optimizer keeps, besides values and gradients; static. hs_optim_declare adds them to ps: before hs_params_alloc.
const hs_slab_spec *hs_optim_slabs(const hs_optim_config *c, int *n);
hs_status hs_optim_declare(const hs_optim_config *c, hs_params *ps);

typedef struct hs_optim hs_optim;
// params: allocated with gradients and the optimizer's slabs; borrowed, as are grid and device. Made behind the run whose workspace may
// hold the gradients, freed behind it. What is frozen it neither reads nor writes.
hs_status hs_optim_new(hs_optim **out, const hs_optim_config *c, hs_params *ps, const hs_grid *grid, hs_device *dev);
void hs_optim_free(hs_optim *o);
// (optional) hs_plan_grad_order of what makes the gradients. Says which of several non-finite ones is named; defaults to hs_param.id.
hs_status hs_optim_set_order(hs_optim *o, const int *order);
// For hs_run_set_update: where step block and state lie is not in it.
const hs_segment *hs_optim_segment(const hs_optim *o);
// What a run begins with: the scale, and nothing applied yet. For hs_run_set_state before the first step.
void hs_optim_init_state(const hs_optim_config *c, hs_step_state *state);
size_t hs_optim_bytes(const hs_optim *o); // beyond the slabs: chunk partials and tables

#endif

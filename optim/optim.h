// optim: AdamW, LAMB, SGD, LARS and NovoGrad over the parameters' slabs, clipping, schedules and the dynamic loss scaler, as thunks.
//
// One pass over memory: unscale, clip, moments, master update, refreshed low copy. Norms are fixed-order sums of per-chunk
// partials, per logical tensor, reduced once over tp (and over optimizer shards). Nothing needs the host: on a non-finite
// gradient every kernel returns at once, the scale backs off, and lr, bias correction and `applied` stay where they were.
#ifndef HS_OPTIM_OPTIM_H
#define HS_OPTIM_OPTIM_H
#include "core/graph/comm.h"
#include "core/graph/params.h"
#include "core/run/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hs_optim_kind { HS_ADAMW, HS_LAMB, HS_SGD, HS_LARS, HS_NOVOGRAD, HS_N_OPTIMS } hs_optim_kind;

// lr at 0-based applied step t: warm-up lr * (t+1)/(warmup+1) for t < warmup; then by kind from lr to min_lr over the rest,
// p = (t - warmup) / (steps - 1 - warmup): cosine min + (lr-min)(1+cos(pi p))/2, linear; the last step has min_lr exactly
// (one step alone has lr). poly: min + (lr-min)(1-p)^power with p = (t - warmup) / (steps - warmup), so that min_lr is that of the step
// behind the last. inverse-sqrt: lr sqrt((warmup+1)/(t+1)), at least min_lr; Noam's with lr = factor (width * (warmup+1))^-0.5.
//
// Two follow their recipes to the digit. poly-warmup, NVIDIA's PolyWarmUp: p = (t+1) / steps, w the share of warm-up; lr p/w where p < w,
// else min + (lr-min)(1-p)^power: no correction at the crossing. electra: (min + (lr-min)(1 - t/steps)^power) * min(1, t / warmup): warm-up
// multiplies the decayed rate, and the first step has rate 0, as there.
typedef enum hs_schedule_kind {
    HS_SCHEDULE_CONSTANT,
    HS_SCHEDULE_LINEAR,
    HS_SCHEDULE_COSINE,
    HS_SCHEDULE_POLY,
    HS_SCHEDULE_POLY_WARMUP,
    HS_SCHEDULE_ELECTRA,
    HS_SCHEDULE_INVERSE_SQRT,
    HS_N_SCHEDULES
} hs_schedule_kind;
typedef struct hs_schedule {
    hs_schedule_kind kind;
    double lr, min_lr, power;
    int64_t warmup, steps;
    double warmup_share; // of steps, in place of warmup (whose steps it is rounded down to, but for poly-warmup); 0: warmup counts
} hs_schedule;
double hs_schedule_lr(const hs_schedule *s, int64_t t);
// Layer-wise decay, ELECTRA's rule: what the rate of something of this depth is multiplied by, in a model of so many layers. Embeddings
// have depth 0, layers 1 to `layers`, what stands behind them `layers` + 1: decay^(layers + 2 - depth), and 1 behind the layers. decay 1:
// all the same.
double hs_layer_rate(double decay, int layers, int depth);

typedef struct hs_scaler_config {
    bool dynamic; // false: the scale stays at init
    float init, growth, backoff, min, max;
    int32_t interval, hysteresis;
} hs_scaler_config;
// none (scale 1); dynamic (2^16, x2 every 2000, x0.5, 1 to 2^24); megatron (2^32, 1000, hysteresis 2); torch (GradScaler: 2^16, 2000, no
// bounds but f32's); apex (LossScaler: the same, at most 2^24); auto: dynamic iff low is f16.
typedef enum hs_scaler_kind {
    HS_SCALER_AUTO,
    HS_SCALER_NONE,
    HS_SCALER_DYNAMIC,
    HS_SCALER_MEGATRON,
    HS_SCALER_TORCH,
    HS_SCALER_APEX,
    HS_N_SCALERS
} hs_scaler_kind;
hs_scaler_config hs_scaler_preset(hs_scaler_kind kind, hs_dtype low);

// ---- switches: each a difference between implementations in the field
typedef enum hs_trust { HS_TRUST_DECAYED, HS_TRUST_ALL, HS_TRUST_NONE } hs_trust; // which logical tensors have a trust ratio other than 1
typedef enum hs_bounded { HS_BOUND_RATIO, HS_BOUND_WEIGHT } hs_bounded;           // what ratio_min and ratio_max hold in: r, or |w| in it
typedef enum hs_decay { HS_DECAY_DECOUPLED, HS_DECAY_GRADIENT } hs_decay; // decay w beside the direction, or added to the clipped gradient
typedef enum hs_qkv { HS_QKV_THREE, HS_QKV_ONE } hs_qkv;                  // packed tensors have norms of their own, or one together
typedef enum hs_correction { HS_CORRECT_MOMENTS, HS_CORRECT_STEP, HS_CORRECT_NONE } hs_correction;
// of Adam's bias: in both moments; in the step alone, lr sqrt(bc2)/bc1, so that decay is scaled with it and the trust ratio sees the
// uncorrected direction; not at all

typedef struct hs_optim_config {
    hs_optim_kind kind;
    double beta1, beta2, eps, weight_decay;
    double momentum;       // SGD, LARS
    double clip, clip_eps; // global norm: the gradient times clip / (norm + clip_eps) where that is below 1; clip 0: off
    double clip_value;     // largest magnitude of an element, behind that; 0: off
    hs_decay decay;        // SGD, LARS: of the gradient by default
    bool eps_inside;       // sqrt(v + eps) instead of sqrt(v) + eps
    hs_correction correction;
    bool grad_averaging;         // m = beta1 m + (1 - beta1) g; false: + g
    hs_trust trust;              // LAMB, LARS
    hs_bounded bounded;          // LAMB
    double ratio_min, ratio_max; // LAMB; ratio_max 0: unbounded. Bounds hold for what was computed, not for the 1 in place of a zero norm
    double trust_coefficient;    // LARS
    hs_qkv qkv;                  // what works per tensor
    hs_dtype moments;            // F32, or BF16 with stochastic rounding
    hs_masters masters;          // how values are kept: F32, or beside bf16 copies SPLIT (the same bits) or NONE (stochastic rounding)
    hs_schedule schedule;
    hs_scaler_config scaler;
    double decay_factor[HS_N_ROLES]; // of weight_decay, by role; default 1 for weights and embeddings, 0 for biases and norms
    double lr_factor[HS_N_ROLES];    // default 1
} hs_optim_config;

// Rows of presets.c, which say every switch and whose they are.
typedef enum hs_preset {
    HS_PRESET_ADAMW,
    HS_PRESET_ELECTRA,
    HS_PRESET_LAMB,
    HS_PRESET_NVLAMB,
    HS_PRESET_APEX_NVLAMB,
    HS_PRESET_ALBERT,
    HS_PRESET_MXNET,
    HS_PRESET_DEEPSPEED,
    HS_PRESET_SGD,
    HS_PRESET_LARS,
    HS_PRESET_NOVOGRAD,
    HS_N_PRESETS
} hs_preset;
#define HS_PRESET_WORDS "adamw|electra|lamb|nvlamb|apex-nvlamb|albert|mxnet|deepspeed|sgd|lars|novograd" // by hs_preset
hs_optim_config hs_optim_preset(hs_preset preset);

// The slabs an optimizer keeps, besides values and gradients; static. hs_optim_declare adds them to ps, and settles how that keeps values:
// before hs_params_alloc.
const hs_slab_spec *hs_optim_slabs(const hs_optim_config *c, int *n);
hs_status hs_optim_declare(const hs_optim_config *c, hs_params *ps);

typedef struct hs_optim hs_optim;
// params: allocated with gradients and the optimizer's slabs; borrowed, as are grid and device. Made behind the run whose workspace may
// hold the gradients, freed behind it. What is frozen it neither reads nor writes.
hs_status hs_optim_new(hs_optim **out, const hs_optim_config *c, hs_params *ps, const hs_grid *grid, hs_device *dev);
void hs_optim_free(hs_optim *o);
// (optional) hs_plan_grad_order of what makes the gradients. Says which of several non-finite ones is named; defaults to hs_param.id.
hs_status hs_optim_set_order(hs_optim *o, const int *order);
// (optional) What the learning rate of each parameter is multiplied by, by hs_param.id, beside the factor of its role; copied. At least 0:
// with 0 a value stays what it is while its moments go on. Defaults to 1. Between two updates, behind what was submitted. INTERNAL: not a
// number of that kind.
hs_status hs_optim_set_rates(hs_optim *o, const float *rate);
// For hs_run_set_update: where step block and state lie is not in it.
const hs_segment *hs_optim_segment(const hs_optim *o);
// What a run begins with: the scale, and nothing applied yet. For hs_run_set_state before the first step.
void hs_optim_init_state(const hs_optim_config *c, hs_step_state *state);
size_t hs_optim_bytes(const hs_optim *o); // beyond the slabs: chunk partials and tables

#ifdef __cplusplus
}
#endif
#endif

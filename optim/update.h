// update: what the files of this room share with the devices that bring optimizers of their own - the operands of an update's kernels, the
// numbers a step settles, the optimizers' entries.
//
// A kernel gets its settings by value (args.attr: hs_optim_config) and everything else as operands in device memory: the slabs, the table
// of chunks, what the update itself leaves between its thunks. Which ones, and in which order, stands in a list beside the kernel. It reads
// nothing of the host's and asks it nothing, so that a device can capture an update.
//
// One file per optimizer: what it keeps and its passes are an hs_optim_rule, the same wherever it runs; the passes' kernels are compiled
// once per ISA tier, and NAME.cu beside NAME.c has those of CUDA. Whoever runs a pass divides the table of chunks; what a pass adds up is
// one partial per chunk, so no bit depends on the number of those who divide it.
#ifndef HS_OPTIM_UPDATE_H
#define HS_OPTIM_UPDATE_H
#include "core/graph/op.h"
#include "optim/optim.h"
#include <math.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HS_OPTIM_SLABS = 2, HS_OPTIM_PASSES = 3 };

// A row of the table of chunks: at most HS_CHUNK elements of one logical tensor, and where they begin in each slab that has them.
typedef struct hs_update_chunk {
    int64_t value, low, grad, kept[HS_OPTIM_SLABS]; // elements from the front of the slab; value: as wide as masters has them
    int64_t first;                                  // of the logical parameter: its first element here
    int32_t run, column, skip;                      // where ranks divide columns: those here, the first one's among them, and all others; else 0
    int32_t n, param, logical;                      // logical: whose norms it counts to (optim.qkv)
    float rate;                                     // of its parameter: factor of the learning rate (hs_optim_set_rates)
    uint8_t role;                                   // hs_role
    uint8_t masters;                                // hs_masters: where the value is
    bool counted;                                   // hs_chunk.counted
    bool keeps;                                     // hs_param.keeps_zeros
} hs_update_chunk;

// Of the logical parameter: element i of a chunk.
HS_INLINE int64_t hs_update_logical(const hs_update_chunk *c, int32_t i)
{
    return c->first + i + (c->run ? (int64_t)((c->column + i) / c->run) * c->skip : 0);
}

// What the decision settles once per step and the passes only read.
typedef struct hs_update_step {
    bool skip;                                  // a gradient was not finite: touch nothing
    float factor;                               // clip factor / loss scale: what a stored gradient is multiplied by
    float beta1, beta2, beta3, one_minus_beta2; // m = beta1 m + beta3 g, v = beta2 v + (1 - beta2) g^2
    float inv_bc1, inv_bc2, inv_sqrt_bc2;       // 1 / (1 - beta^t); 1 without bias correction
    float eps_in, eps_out, momentum;            // sqrt(v + eps_in) + eps_out: one of them is 0
    float most;                                 // largest magnitude of an element of the gradient
    float lr[HS_N_ROLES];                       // learning rate times the role's factor, and what else scales a step
    float decay[HS_N_ROLES];                    // weight decay times the role's factor, where it is decoupled ...
    float l2[HS_N_ROLES];                       // ... and where it is part of the gradient
    uint64_t key, value_key, count; // of stochastic rounding, of moments and of values: the run's seed; and this update's number
} hs_update_step;

typedef struct hs_partial { // of one chunk
    double a, b;            // gradients: sum of squares, how many are not finite | LAMB, LARS: sums of squares of w and of u or g
} hs_partial;

// The operands there are. Rows of each: hs_ref.rows.
typedef enum hs_update_operand {
    HS_UPDATE_NONE,
    HS_UPDATE_CHUNKS,   // hs_update_chunk[]: those that this rank updates
    HS_UPDATE_ALL,      // of all ranks; the same where nothing is divided. Places in slabs are 0 in those of others
    HS_UPDATE_MADE,     // uint8_t[n_params]: hs_params.has_grad
    HS_UPDATE_ORDER,    // int32_t[n_params]: when backward completes a gradient
    HS_UPDATE_NOW,      // hs_update_step
    HS_UPDATE_OWN,      // hs_partial[]: of CHUNKS
    HS_UPDATE_PARTIALS, // of ALL; the same where nothing is divided
    HS_UPDATE_DEALT,    // of all ranks' own, one rank behind the other. This one and the next where something is divided
    HS_UPDATE_SPOT,     // int32_t[]: of ALL, where in DEALT
    HS_UPDATE_FOUND,    // int32_t: a gradient was not finite, on any rank. Absent where this rank sees the partials of all
    HS_UPDATE_BAD,      // int64_t[n_params]: elements of a gradient that were not finite
    HS_UPDATE_NORMS,    // double[n_logical][2]: sums of squares of w and of u. Of rules that are per_tensor, like the next one
    HS_UPDATE_RATIO,    // float[n_logical]
    HS_UPDATE_GRAD,     // slabs
    HS_UPDATE_VALUE,
    HS_UPDATE_LOW, // absent where there is none; its dtype says which
    HS_UPDATE_KEPT,
    HS_UPDATE_KEPT_1,
    HS_N_UPDATE_OPERANDS
} hs_update_operand;

typedef struct hs_optim_pass { // a thunk
    const char *name;
    hs_part_kind part;
    uint8_t in[HS_MAX_IN], out[HS_MAX_OUT]; // hs_update_operand, in the kernel's order
    hs_cost each;                           // of an element, values in f32; on top come the low copy where `stores` says so ...
    int moments;                            // ... and reads and writes of moments, by their type
    bool stores;
    bool totals; // it leaves OWN: gathered over data-parallel ranks and added up over tensor-parallel ones behind it
} hs_optim_pass;

typedef struct hs_optim_rule { // one optimizer
    const char *name;          // "adamw"
    const hs_slab_spec *slab;  // that it keeps: HS_UPDATE_KEPT and on, in this order
    const hs_slab_spec *small; // the same, moments in bf16
    int n_slabs;
    hs_optim_pass pass[HS_OPTIM_PASSES]; // behind the decision, in order; ends at the first without a name
    bool per_tensor;                     // needs norms and a ratio for each logical tensor
} hs_optim_rule;
extern const hs_optim_rule hs_adamw_rule, hs_lamb_rule, hs_sgd_rule, hs_lars_rule, hs_novograd_rule;

typedef struct hs_optim_kernels { // of one rule
    hs_kernel *pass[HS_OPTIM_PASSES];
    bool small;   // they take moments in bf16 too
    bool masters; // and values in halves, or in bf16 alone
} hs_optim_kernels;

// The kernels of one ISA tier (update.c), or those a device brings (hs_device.optim). Operands in this order:
typedef struct hs_optim_tier {
    // (optional) chunks, made, value, low -> grad: 0 where the value is, of chunks that keep zeros. A device without it is refused where
    // there are any
    hs_kernel *keep;
    hs_kernel *sums;   // chunks, made, grad -> own: {sum of g^2, non-finite count} of the gradients as stored; 0 of those not made
    hs_kernel *decide; // SOLO. all, partials, order, found -> now, bad; and what hs_step_state says of an update
    // (optional) a device without them is refused on several ranks. comm: those of tp | of dp
    hs_kernel *total;  // SOLO. all -> partials: their sum over comm; what is not counted here is 0
    hs_kernel *vote;   // SOLO. partials -> found: the largest over comm
    hs_kernel *gather; // SOLO. attr: hs_move of dealt. spot -> dealt, partials: own ones of every rank, in their places
    const hs_optim_kernels *rule[HS_N_OPTIMS]; // by hs_optim_kind; NULL: not there
} hs_optim_tier;

extern const hs_optim_tier hs_optim_portable;
#ifdef HS_HAVE_TIER_AVX2
extern const hs_optim_tier hs_optim_avx2;
#endif
#ifdef HS_HAVE_TIER_AVX512
extern const hs_optim_tier hs_optim_avx512;
#endif
#ifdef HS_HAVE_TIER_AVX512BF16
extern const hs_optim_tier hs_optim_avx512bf16;
#endif
extern const hs_optim_tier hs_optim_cuda; // of the plug-in (cuda_tier.c)

// Kernels that few numbers go through, for all tiers and any device that shares the host's memory (decide.c, ratios.c).
void hs_optim_decide(const hs_args *a, hs_lane *lane);
void hs_optim_total(const hs_args *a, hs_lane *lane);
void hs_optim_vote(const hs_args *a, hs_lane *lane);
void hs_optim_gather(const hs_args *a, hs_lane *lane);
// What is settled per logical tensor, by one member (ratios.c). LAMB's and LARS's trust ratios: all, made, now, partials -> norms,
// ratio. LAMB's are times lr. NovoGrad's 1 / (sqrt(v) + eps), from the partials of `sums`: -> norms, ratio, v.
void hs_lamb_ratios(const hs_args *a, hs_lane *lane);
void hs_lars_ratios(const hs_args *a, hs_lane *lane);
void hs_novograd_scales(const hs_args *a, hs_lane *lane);

hs_status hs_scaler_check(const hs_scaler_config *c);
// What a step does to the scale: growth, back-off and hysteresis as in Megatron's DynamicGradScaler.
HS_INLINE void hs_scaler_update(const hs_scaler_config *c, hs_step_state *s, bool overflow)
{
    if (!c->dynamic)
        return;
    if (overflow) {
        s->growth = 0;
        s->hysteresis -= s->hysteresis > 0;
        if (s->hysteresis == 0)
            s->scale = fmaxf(s->scale * c->backoff, c->min);
    } else if (++s->growth >= c->interval) {
        s->growth = 0;
        s->hysteresis = c->hysteresis;
        s->scale = fminf(s->scale * c->growth, c->max);
    }
}

#ifdef __cplusplus
}
#endif
#endif

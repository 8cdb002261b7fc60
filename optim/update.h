// update: what the files of this room share - the numbers a step settles, the optimizers' entries, the walk over slabs. Internal to optim/.
//
// One file per optimizer, compiled once per ISA tier: its slabs, presets and passes are an hs_optim_rule. A pass takes a hs_optim through
// args.attr. Members of the team divide the chunk table contiguously; what a pass adds up is one partial per chunk, so no bit depends on
// the number of members.
#ifndef HS_OPTIM_UPDATE_H
#define HS_OPTIM_UPDATE_H
#include "core/graph/op.h"
#include "optim/optim.h"

// What the decision (optim.c) settles once per step and the loops only read.
typedef struct hs_update_step {
    bool skip;                                  // a gradient was not finite: touch nothing
    float factor;                               // clip factor / loss scale: what a stored gradient is multiplied by
    float beta1, beta2, beta3, one_minus_beta2; // m = beta1 m + beta3 g, v = beta2 v + (1 - beta2) g^2
    float inv_bc1, inv_bc2, inv_sqrt_bc2;       // 1 / (1 - beta^t); 1 without bias correction
    float eps, momentum;
    float lr[HS_N_ROLES];    // learning rate times the role's factor
    float decay[HS_N_ROLES]; // weight decay times the role's factor
} hs_update_step;

typedef struct hs_partial { // of one chunk
    double a, b;            // gradients: sum of squares, how many are not finite | LAMB: sums of squares of w and of u
} hs_partial;

typedef struct hs_optim_pass { // a thunk behind the decision
    const char *name;
    hs_kernel *fn;
    hs_part_kind part;
    hs_cost each; // of an element; storing the low copy comes on top where `stores` says so
    bool stores;
} hs_optim_pass;

typedef struct hs_optim_choice {
    hs_preset preset;
    hs_optim_config config; // what it leaves 0 hs_optim_preset fills with the defaults all have
} hs_optim_choice;

enum { HS_OPTIM_SLABS = 2, HS_OPTIM_PASSES = 3 };
typedef struct hs_optim_rule { // one optimizer
    const char *name;          // "adamw"
    const hs_slab_spec *slab;  // that it keeps, in the order of hs_optim.slab
    int n_slabs;
    const hs_optim_choice *preset;
    int n_presets;
    hs_optim_pass pass[HS_OPTIM_PASSES]; // in order; ends at the first without a name
    bool per_tensor;                     // needs norms and a ratio for each logical tensor
} hs_optim_rule;

struct hs_optim {
    hs_optim_config c;
    const hs_optim_rule *rule;
    hs_params *ps;
    hs_slab *slab[HS_OPTIM_SLABS];
    hs_grid grid;
    hs_update_step now;
    hs_partial *partial; // [n_chunks]
    double (*norms)[2];  // per_tensor: [n_logical], sums of squares of w and of u
    float *ratio;        // per_tensor: [n_logical], times the role's lr
    int64_t *bad;        // [n_params]
    const int *order;    // hs_plan_grad_order; NULL: that of the parameters
    hs_thunk thunk[2 + HS_OPTIM_PASSES];
    hs_segment segment;
};

// The kernels of one ISA tier (update.c), or those a device brings (hs_device.optim): sums leaves partial = {sum of g^2, non-finite count}
// of the gradients as stored; decide settles `now` from them; rules by hs_optim_kind, NULL: not there.
typedef struct hs_optim_tier {
    hs_kernel *sums, *decide;
    const hs_optim_rule *rule[HS_N_OPTIMS];
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

void hs_optim_decide(const hs_args *a, hs_lane *lane); // SOLO; not per tier, like hs_lamb_ratios
// One number per chunk and rank becomes one per chunk: the sum over tp. What tp ranks hold in common is counted once.
void hs_optim_reduce_partials(hs_optim *o, hs_lane *lane);
// LAMB's trust ratios, from partials of w and u. Not per tier: its few numbers decide over all others.
void hs_lamb_ratios(const hs_args *a, hs_lane *lane);

hs_status hs_scaler_check(const hs_scaler_config *c);
// What a step does to the scale: growth, back-off and hysteresis as in Megatron's DynamicGradScaler.
void hs_scaler_update(const hs_scaler_config *c, hs_step_state *s, bool overflow);

#endif

// update: the loops over the slabs, compiled once per ISA tier, and the numbers they read. Internal to optim/.
//
// Each kernel takes a hs_optim through args.attr. Members of the team divide the chunk table contiguously; what a kernel adds
// up is one partial per chunk, so no bit depends on the number of members.
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
    float eps;
    float lr[HS_N_ROLES];    // learning rate times the role's factor
    float decay[HS_N_ROLES]; // weight decay times the role's factor
} hs_update_step;

typedef struct hs_partial { // of one chunk
    double a, b;            // gradients: sum of squares, how many are not finite | LAMB: sums of squares of w and of u
} hs_partial;

struct hs_optim {
    hs_optim_config c;
    hs_params *ps;
    hs_grid grid;
    hs_step_state *state;
    hs_update_step now;
    hs_partial *partial; // [n_chunks]
    double (*norms)[2];  // LAMB: [n_logical], sums of squares of w and of u
    float *ratio;        // LAMB: [n_logical], times the role's lr
    int64_t *bad;        // [n_params]
    hs_thunk thunk[5];
    hs_segment segment;
};

typedef struct hs_update_kernels {
    hs_kernel *sums;         // partial = {sum of g^2, non-finite count} of the gradients as stored
    hs_kernel *adamw;        // moments, values and low copy, in one pass
    hs_kernel *lamb_moments; // moments; partial = {sum of w^2, sum of u^2}
    hs_kernel *lamb_apply;   // w -= ratio * u, low copy; u is made again from the moments: cheaper than keeping it
} hs_update_kernels;

extern const hs_update_kernels hs_update_portable;
#ifdef HS_HAVE_TIER_AVX2
extern const hs_update_kernels hs_update_avx2;
#endif
#ifdef HS_HAVE_TIER_AVX512
extern const hs_update_kernels hs_update_avx512;
#endif
#ifdef HS_HAVE_TIER_AVX512BF16
extern const hs_update_kernels hs_update_avx512bf16;
#endif

hs_status hs_scaler_check(const hs_scaler_config *c);
// What a step does to the scale: growth, back-off and hysteresis as in Megatron's DynamicGradScaler.
void hs_scaler_update(const hs_scaler_config *c, hs_step_state *s, bool overflow);

#endif

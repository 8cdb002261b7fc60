// step: the two small blocks through which host and device speak about a step.
#ifndef HS_CORE_STEP_H
#define HS_CORE_STEP_H
#include "core/graph/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HS_N_LOSS = 12,      // losses of one plan with counts of their own (MLM, NSP, ...)
    HS_N_LOSS_SETS = 16, // plans of a model that have losses
    HS_STEP_RECORDS = 64,
};

// The host writes it before each micro-step; the device only reads it.
typedef struct hs_step_in {
    int64_t n[HS_N_COUNTERS]; // live units by hs_counter; n[HS_COUNT_FIXED] unused
    uint64_t seed, step;      // step: *attempted* steps; with the seed and the site it keys dropout
    int32_t micro, n_micro;   // micro: of this plan in this step, 0 first; a run counts it
    uint32_t ran;             // bit s: a training plan whose losses are set s ran in this step; a run notes it
    // hs_inv_count of the labels that count in the global batch: all ranks, all micro-batches (loss.normalize: global)
    float inv_count[HS_N_LOSS];
} hs_step_in;

// A loss without labels counts 0.
static inline float hs_inv_count(int64_t labels) { return labels > 0 ? 1.0f / (float)labels : 0.0f; }

// The device owns it; it is part of a checkpoint. The host reads it after a step and never writes it during one.
typedef struct hs_step_state {
    int64_t applied;            // optimizer steps that were not skipped: lr, bias correction and scale follow this
    float scale;                // loss scale S: losses' gradients are multiplied by it, the optimizer divides by it
    int32_t growth, hysteresis; // good steps since the last change of scale | overflows still forgiven
    int32_t found_inf;          // this step was skipped
    int32_t skipped_in_row;
    int64_t skipped;                        // in all
    float lr, grad_norm;                    // of the last step; grad_norm unscaled, before clipping
    // by plan: sums over its micro-batches of this step, normalised by inv_count; behind an update those of all data-parallel ranks
    double loss[HS_N_LOSS_SETS][HS_N_LOSS];
    int32_t bad_param;                      // first parameter whose gradient was not finite, in the order backward wrote them; -1: none
    int64_t bad_count;                      // how many of its elements
    int32_t bad_micro;                      // -1: not known (found in the accumulated gradient)
    float step_scale;                       // S that the gradients of the last step carried
} hs_step_state;

// What a step leaves behind. The last thunk of an update writes it into a ring, so that the host need not look at every step.
typedef struct hs_step_record {
    int64_t step; // attempted steps with this one: 1 for the first
    uint32_t ran; // bit s: loss[s] is of this step
    bool skipped; // a gradient was not finite
    int32_t skipped_in_row;
    int64_t n_skipped;                      // in all
    float lr, grad_norm, scale, next_scale; // scale: that the gradients carried
    int32_t bad_param, bad_micro;           // as in hs_step_state, of a step that was skipped
    int64_t bad_count;
    double loss[HS_N_LOSS_SETS][HS_N_LOSS];
} hs_step_record;

// For kernels that write one, on whatever device: all of it, and all but the losses.
HS_INLINE void hs_step_record_head(hs_step_record *to, const hs_step_in *in, const hs_step_state *s)
{
    to->step = (int64_t)in->step + 1;
    to->ran = in->ran;
    to->skipped = s->found_inf != 0;
    to->skipped_in_row = s->skipped_in_row;
    to->n_skipped = s->skipped;
    to->lr = s->lr, to->grad_norm = s->grad_norm, to->scale = s->step_scale, to->next_scale = s->scale;
    to->bad_param = s->bad_param, to->bad_micro = s->bad_micro;
    to->bad_count = s->bad_count;
}
static inline void hs_step_record_of(hs_step_record *to, const hs_step_in *in, const hs_step_state *s)
{
    hs_step_record_head(to, in, s);
    memcpy(to->loss, s->loss, sizeof to->loss);
}

typedef struct hs_step_log {
    int64_t n; // ever written; record i is at[i % HS_STEP_RECORDS]
    hs_step_record at[HS_STEP_RECORDS];
} hs_step_log;

static inline void hs_step_live(hs_step_in *in, int64_t tokens, int64_t seqs, int64_t picks)
{
    in->n[HS_COUNT_TOKENS] = tokens;
    in->n[HS_COUNT_SEQS] = seqs;
    in->n[HS_COUNT_PICKS] = picks;
}

#ifdef __cplusplus
}
#endif
#endif

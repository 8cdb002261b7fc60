// decide: what a step comes to, for whoever has added up the partials of its gradients: the host's kernel (decide.c) and CUDA's
// (decide.cu).
#ifndef HS_OPTIM_DECIDE_H
#define HS_OPTIM_DECIDE_H
#include "core/base/rng.h"
#include "optim/schedule.h"
#include "optim/update.h"

// What a stored gradient is multiplied by.
HS_INLINE double hs_decide_factor(const hs_optim_config *c, double norm, double scale)
{
    const double clip = c->clip > 0 ? c->clip / (norm + c->clip_eps) : 1;
    return fmin(clip, 1.0) / scale;
}

HS_INLINE void hs_decide_begin(const hs_optim_config *c, hs_update_step *now, hs_step_state *s, double norm)
{
    const double lr = hs_schedule_at(&c->schedule, s->applied), t = (double)++s->applied;
    const double bc1 = 1 - pow(c->beta1, t), bc2 = 1 - pow(c->beta2, t), step = c->correction == HS_CORRECT_STEP ? sqrt(bc2) / bc1 : 1;
    const bool moments = c->correction == HS_CORRECT_MOMENTS;
    now->factor = (float)hs_decide_factor(c, norm, (double)s->scale);
    now->most = c->clip_value > 0 ? (float)c->clip_value : INFINITY;
    now->beta1 = (float)c->beta1, now->beta2 = (float)c->beta2;
    now->beta3 = c->grad_averaging ? (float)(1 - c->beta1) : 1;
    now->one_minus_beta2 = (float)(1 - c->beta2);
    now->inv_bc1 = moments ? (float)(1 / bc1) : 1;
    now->inv_bc2 = moments ? (float)(1 / bc2) : 1;
    now->inv_sqrt_bc2 = moments ? (float)(1 / sqrt(bc2)) : 1;
    now->eps_in = c->eps_inside ? (float)c->eps : 0, now->eps_out = c->eps_inside ? 0 : (float)c->eps;
    now->momentum = (float)c->momentum;
    for (int r = 0; r < HS_N_ROLES; r++) {
        const float decay = (float)(c->weight_decay * c->decay_factor[r]);
        now->lr[r] = (float)(lr * step * c->lr_factor[r]);
        now->decay[r] = c->decay == HS_DECAY_DECOUPLED ? decay : 0;
        now->l2[r] = c->decay == HS_DECAY_GRADIENT ? decay : 0;
    }
    now->count = (uint64_t)s->applied;
    s->lr = (float)lr;
}

// squares: of the gradients as stored, where none overflows. moments: hs_hash_string("optim.moments").
HS_INLINE void hs_decide_step(const hs_optim_config *c, hs_update_step *now, hs_step_state *s, bool overflow, double squares, uint64_t seed,
                              uint64_t moments)
{
    now->skip = overflow;
    s->found_inf = overflow;
    if (overflow) {
        s->grad_norm = INFINITY;
        s->skipped++, s->skipped_in_row++;
    } else {
        const double norm = sqrt(squares) / (double)s->scale;
        s->grad_norm = (float)norm;
        s->skipped_in_row = 0;
        hs_decide_begin(c, now, s, norm);
        now->key = hs_mix2(seed, moments), now->value_key = hs_mix(now->key);
    }
    s->step_scale = s->scale;
    hs_scaler_update(&c->scaler, s, overflow); // last: the gradients of this step carry the scale it began with
}

// Names the non-finite gradient that backward completed first: the ones behind it are mostly its victims. bad: by parameter, counted.
HS_INLINE void hs_decide_bad(hs_step_state *s, const int64_t *bad, const int32_t *order, int32_t n)
{
    s->bad_param = s->bad_micro = -1, s->bad_count = 0;
    for (int32_t i = 0; i < n; i++)
        if (bad[i] && (s->bad_param < 0 || order[i] < order[s->bad_param]))
            s->bad_param = i, s->bad_count = bad[i];
}

#endif

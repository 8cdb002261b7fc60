// decide: what a step comes to, from the partials of its gradients - whether it is skipped, the norm, and every number the passes read.
//
// Made once, by one member; whatever ranks have to agree on comes before it, in thunks of their own, so that no collective and no branch
// of the host lies inside an update.
#include "core/base/rng.h"
#include "optim/update.h"
#include <math.h>

static bool any_bad(const hs_partial *partial, int64_t n)
{
    bool found = false;
    for (int64_t k = 0; k < n; k++)
        found |= partial[k].b > 0;
    return found;
}

// What tensor-parallel ranks hold in common is counted once.
void hs_optim_total(const hs_args *a, hs_lane *lane)
{
    const hs_update_chunk *chunk = (const hs_update_chunk *)a->in[0].p;
    hs_partial *partial = (hs_partial *)a->out[0].p;
    for (int64_t k = 0; k < a->in[0].rows; k++)
        if (!chunk[k].counted)
            partial[k] = (hs_partial){ 0, 0 };
    a->comm->all_reduce(a->comm, lane, partial, 2 * a->out[0].rows, HS_F64, HS_REDUCE_SUM);
}

// Every rank must take the same branch, so whether anyone saw a non-finite gradient is settled before anyone acts on it.
void hs_optim_vote(const hs_args *a, hs_lane *lane)
{
    int32_t *found = (int32_t *)a->out[0].p;
    *found = any_bad((const hs_partial *)a->in[0].p, a->in[0].rows);
    a->comm->all_reduce(a->comm, lane, found, 1, HS_I32, HS_REDUCE_MAX);
}

// The same partials in the same places as if nothing were divided: so are all sums of them.
void hs_optim_gather(const hs_args *a, hs_lane *lane)
{
    const hs_move *m = a->attr;
    const int32_t *spot = (const int32_t *)a->in[0].p;
    const hs_partial *dealt = (const hs_partial *)a->out[0].p;
    hs_partial *partial = (hs_partial *)a->out[1].p;
    a->comm->gather_parts(a->comm, lane, a->out[0].p, m->parts, HS_F64);
    for (int64_t k = 0; k < a->out[1].rows; k++)
        partial[k] = dealt[spot[k]];
}

// Names the non-finite gradient that backward completed first: the ones behind it are mostly its victims.
static void find_bad_param(const hs_args *a, hs_step_state *s)
{
    const hs_update_chunk *chunk = (const hs_update_chunk *)a->in[0].p;
    const hs_partial *partial = (const hs_partial *)a->in[1].p;
    const int32_t *order = (const int32_t *)a->in[2].p;
    int64_t *bad = (int64_t *)a->out[1].p;
    memset(bad, 0, (size_t)a->out[1].rows * sizeof *bad);
    for (int64_t k = 0; k < a->in[0].rows; k++)
        bad[chunk[k].param] += (int64_t)partial[k].b;
    s->bad_param = s->bad_micro = -1, s->bad_count = 0;
    for (int32_t i = 0; i < (int32_t)a->out[1].rows; i++)
        if (bad[i] && (s->bad_param < 0 || order[i] < order[s->bad_param]))
            s->bad_param = i, s->bad_count = bad[i];
}

// What a stored gradient is multiplied by.
static double factor_of(const hs_optim_config *c, double norm, double scale)
{
    const double clip = c->clip > 0 ? c->clip / (norm + c->clip_eps) : 1;
    return fmin(clip, 1) / scale;
}

static void begin_update(const hs_optim_config *c, hs_update_step *now, hs_step_state *s, double norm)
{
    const double lr = hs_schedule_lr(&c->schedule, s->applied), t = (double)++s->applied;
    const double bc1 = 1 - pow(c->beta1, t), bc2 = 1 - pow(c->beta2, t), step = c->correction == HS_CORRECT_STEP ? sqrt(bc2) / bc1 : 1;
    const bool moments = c->correction == HS_CORRECT_MOMENTS;
    now->factor = (float)factor_of(c, norm, (double)s->scale);
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

void hs_optim_decide(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    const hs_optim_config *c = a->attr;
    const hs_partial *partial = (const hs_partial *)a->in[1].p;
    hs_update_step *now = (hs_update_step *)a->out[0].p;
    hs_step_state *s = a->state;
    const bool overflow = a->in[3].p ? *(const int32_t *)a->in[3].p : any_bad(partial, a->in[1].rows);
    now->skip = overflow;
    s->found_inf = overflow;
    if (overflow) {
        find_bad_param(a, s);
        s->grad_norm = INFINITY;
        s->skipped++, s->skipped_in_row++;
    } else {
        double squares = 0;
        for (int64_t k = 0; k < a->in[1].rows; k++)
            squares += partial[k].a;
        const double norm = sqrt(squares) / (double)s->scale;
        s->grad_norm = (float)norm;
        s->skipped_in_row = 0;
        begin_update(c, now, s, norm);
        now->key = hs_mix2(a->step->seed, hs_hash_string("optim.moments"));
    }
    s->step_scale = s->scale;
    hs_scaler_update(&c->scaler, s, overflow); // last: the gradients of this step carry the scale it began with
}

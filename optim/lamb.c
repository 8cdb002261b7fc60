// lamb: Adam's direction, scaled per logical tensor by |w| / |u| (You et al., arXiv 1904.00962). NVLAMB is a preset of it.
//
//   u = m / bc1 / (sqrt(v / bc2) + eps) + decay w, w -= lr ratio(|w|, |u|) u
//
// The direction is made again in the second pass rather than kept: 18 bytes an element instead of 8 more in between.
#include "optim/walk.h"

static const hs_optim_choice presets[] = {
    // NVIDIA's BERT recipe: apex FusedLAMB with use_nvlamb=False
    { HS_PRESET_LAMB, { .kind = HS_LAMB, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6, .weight_decay = 0.01, .clip = 1 } },
    // the published figure
    { HS_PRESET_NVLAMB,
      { .kind = HS_LAMB,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-6,
        .weight_decay = 0.01,
        .clip = 1,
        .ratio_all = true,
        .eps_inside = true } },
};

// LAMB's direction before the trust ratio. Both places for eps are computed by select, so that the loop stays straight.
static inline float direction(const hs_update_step *now, bool inside, float decay, float w, float m, float v)
{
    const float vhat = v * now->inv_bc2;
    const float root = sqrtf(inside ? vhat + now->eps : vhat) + (inside ? 0.0f : now->eps);
    return m * now->inv_bc1 / root + decay * w;
}

static void lamb_moments(const hs_args *a, hs_lane *lane)
{
    hs_optim *o = (hs_optim *)a->attr;
    const hs_params *ps = o->ps;
    const hs_update_step now = o->now;
    const bool inside = o->c.eps_inside;
    if (now.skip)
        return;
    hs_for_chunks(k, o, lane)
    {
        const hs_chunk *c = &ps->chunk[k];
        if (!ps->has_grad[c->param])
            continue;
        const float decay = now.decay[ps->param[c->param]->role];
        const float *restrict grad = hs_slab_chunk(float, ps->grad, c), *restrict w = hs_slab_chunk(float, ps->master, c);
        float *restrict m = hs_slab_chunk(float, o->slab[M], c), *restrict v = hs_slab_chunk(float, o->slab[V], c);
        float u[HS_CHUNK];
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            const float g = grad[i] * now.factor;
            m[i] = now.beta1 * m[i] + now.beta3 * g;
            v[i] = now.beta2 * v[i] + now.one_minus_beta2 * (g * g);
            u[i] = direction(&now, inside, decay, w[i], m[i], v[i]);
        }
        o->partial[k] = (hs_partial){ sum_squares(w, c->n), sum_squares(u, c->n) };
    }
}

static void lamb_apply(const hs_args *a, hs_lane *lane)
{
    const hs_optim *o = a->attr;
    const hs_params *ps = o->ps;
    const hs_update_step now = o->now;
    const bool inside = o->c.eps_inside;
    if (now.skip)
        return;
    hs_for_chunks(k, o, lane)
    {
        const hs_chunk *c = &ps->chunk[k];
        if (!ps->has_grad[c->param])
            continue;
        const float decay = now.decay[ps->param[c->param]->role], ratio = o->ratio[c->logical];
        const float *restrict m = hs_slab_chunk(float, o->slab[M], c), *restrict v = hs_slab_chunk(float, o->slab[V], c);
        float *restrict w = hs_slab_chunk(float, ps->master, c);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++)
            w[i] -= ratio * direction(&now, inside, decay, w[i], m[i], v[i]);
        refresh_low(ps, c);
    }
}

#ifdef HS_TIER_PORTABLE
// Trust ratio |w| / |u| of one logical tensor. 1 where a norm is 0 (biases start at 0): bounds apply to real ratios only.
static double trust_ratio(const hs_optim_config *c, hs_role role, const double norms[2])
{
    const bool wanted = c->ratio_all || c->decay_factor[role] > 0;
    if (!wanted || norms[0] <= 0 || norms[1] <= 0)
        return 1;
    const double r = sqrt(norms[0]) / sqrt(norms[1]);
    return c->ratio_max > 0 ? fmin(fmax(r, c->ratio_min), c->ratio_max) : r;
}

void hs_lamb_ratios(const hs_args *a, hs_lane *lane)
{
    hs_optim *o = (hs_optim *)a->attr;
    const hs_params *ps = o->ps;
    if (o->now.skip)
        return;
    hs_optim_reduce_partials(o, lane);
    memset(o->norms, 0, (size_t)ps->n_logical * sizeof *o->norms);
    for (int k = 0; k < ps->n_chunks; k++) {
        double *norms = o->norms[ps->chunk[k].logical];
        norms[0] += o->partial[k].a, norms[1] += o->partial[k].b;
    }
    for (int k = 0; k < ps->n_chunks; k++) { // several chunks of one logical tensor write the same value
        const hs_chunk *c = &ps->chunk[k];
        if (!ps->has_grad[c->param])
            continue;
        const hs_role role = ps->param[c->param]->role;
        o->ratio[c->logical] = (float)(trust_ratio(&o->c, role, o->norms[c->logical]) * (double)o->now.lr[role]);
    }
}
#endif

extern const hs_optim_rule HS_TIERED(hs_lamb);
const hs_optim_rule HS_TIERED(hs_lamb) = {
    .slab = adam_slabs,
    .n_slabs = HS_COUNT(adam_slabs),
    .name = "lamb",
    .preset = presets,
    .n_presets = HS_COUNT(presets),
    .pass = { { .name = "optim.lamb_moments", .fn = lamb_moments, .part = HS_PART_FREE, .each = { 20, 16 + 8 } },
              { .name = "optim.lamb_ratios", .fn = hs_lamb_ratios, .part = HS_PART_SOLO },
              { .name = "optim.lamb_apply", .fn = lamb_apply, .part = HS_PART_FREE, .each = { 10, 12 + 4 }, .stores = true } },
    .per_tensor = true,
};

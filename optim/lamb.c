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
    const hs_optim_config *settings = a->attr;
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    const bool inside = settings->eps_inside;
    hs_partial *partial = (hs_partial *)a->out[2].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        const float decay = now.decay[c->role];
        const float *restrict grad = (const float *)a->in[3].p + c->grad, *restrict w = (const float *)a->in[4].p + c->value;
        float *restrict m = (float *)a->out[0].p + c->kept[0], *restrict v = (float *)a->out[1].p + c->kept[1];
        float u[HS_CHUNK];
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            const float g = grad[i] * now.factor;
            m[i] = now.beta1 * m[i] + now.beta3 * g;
            v[i] = now.beta2 * v[i] + now.one_minus_beta2 * (g * g);
            u[i] = direction(&now, inside, decay, w[i], m[i], v[i]);
        }
        partial[c - mine.all] = (hs_partial){ sum_squares(w, c->n), sum_squares(u, c->n) };
    }
}

static void lamb_apply(const hs_args *a, hs_lane *lane)
{
    const hs_optim_config *settings = a->attr;
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    const bool inside = settings->eps_inside;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        const float decay = now.decay[c->role], ratio = ((const float *)a->in[3].p)[c->logical];
        const float *restrict m = (const float *)a->in[4].p + c->kept[0], *restrict v = (const float *)a->in[5].p + c->kept[1];
        float *restrict w = (float *)a->out[0].p + c->value;
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++)
            w[i] -= ratio * direction(&now, inside, decay, w[i], m[i], v[i]);
        refresh_low(&a->out[1], c, w);
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
    (void)lane;
    const hs_update_chunk *chunk = (const hs_update_chunk *)a->in[0].p;
    const uint8_t *made = (const uint8_t *)a->in[1].p;
    const hs_update_step *now = (const hs_update_step *)a->in[2].p;
    const hs_partial *partial = (const hs_partial *)a->in[3].p;
    double(*norms)[2] = (double(*)[2])a->out[0].p;
    float *ratio = (float *)a->out[1].p;
    if (now->skip)
        return;
    memset(norms, 0, (size_t)a->out[0].rows * sizeof *norms);
    for (int64_t k = 0; k < a->in[0].rows; k++)
        norms[chunk[k].logical][0] += partial[k].a, norms[chunk[k].logical][1] += partial[k].b;
    for (int64_t k = 0; k < a->in[0].rows; k++) { // several chunks of one logical tensor write the same value
        const hs_update_chunk *c = &chunk[k];
        if (made[c->param])
            ratio[c->logical] = (float)(trust_ratio(a->attr, c->role, norms[c->logical]) * (double)now->lr[c->role]);
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
    .pass = { { .name = "optim.lamb_moments",
                .fn = lamb_moments,
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD, HS_UPDATE_VALUE },
                .out = { HS_UPDATE_KEPT, HS_UPDATE_KEPT_1, HS_UPDATE_PARTIALS },
                .each = { 20, 16 + 8 },
                .totals = true },
              { .name = "optim.lamb_ratios",
                .fn = hs_lamb_ratios,
                .part = HS_PART_SOLO,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_PARTIALS },
                .out = { HS_UPDATE_NORMS, HS_UPDATE_RATIO } },
              { .name = "optim.lamb_apply",
                .fn = lamb_apply,
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_RATIO, HS_UPDATE_KEPT, HS_UPDATE_KEPT_1 },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW },
                .each = { 10, 12 + 4 },
                .stores = true } },
    .per_tensor = true,
};

// adamw: Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), as in PyTorch.
//
//   m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, w -= lr (m / bc1 / (sqrt(v / bc2) + eps) + decay w)
//
// Memory bound: each slab is read once and written once.
#include "optim/walk.h"

static const hs_optim_choice presets[] = {
    { HS_PRESET_ADAMW, { .kind = HS_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 0 } },
};

static void adamw(const hs_args *a, hs_lane *lane)
{
    const hs_optim *o = a->attr;
    const hs_params *ps = o->ps;
    const hs_update_step now = o->now;
    if (now.skip)
        return;
    hs_for_chunks(k, o, lane)
    {
        const hs_chunk *c = &ps->chunk[k];
        if (!ps->has_grad[c->param])
            continue;
        const hs_role role = ps->param[c->param]->role;
        const float step = now.lr[role] * now.inv_bc1, shrink = now.lr[role] * now.decay[role];
        const float *restrict grad = hs_slab_chunk(float, ps->grad, c);
        float *restrict w = hs_slab_chunk(float, ps->master, c), *restrict m = hs_slab_chunk(float, o->slab[M], c),
                        *restrict v = hs_slab_chunk(float, o->slab[V], c);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            const float g = grad[i] * now.factor;
            m[i] = now.beta1 * m[i] + now.beta3 * g;
            v[i] = now.beta2 * v[i] + now.one_minus_beta2 * (g * g);
            w[i] -= shrink * w[i] + step * m[i] / (sqrtf(v[i]) * now.inv_sqrt_bc2 + now.eps);
        }
        refresh_low(ps, c);
    }
}

extern const hs_optim_rule HS_TIERED(hs_adamw);
const hs_optim_rule HS_TIERED(hs_adamw) = {
    .slab = adam_slabs,
    .n_slabs = HS_COUNT(adam_slabs),
    .name = "adamw",
    .preset = presets,
    .n_presets = HS_COUNT(presets),
    .pass = { { .name = "optim.adamw", .fn = adamw, .part = HS_PART_FREE, .each = { 16, 16 + 12 }, .stores = true } },
};

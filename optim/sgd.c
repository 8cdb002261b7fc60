// sgd: stochastic gradient descent with momentum, as in PyTorch (no dampening, no Nesterov): weight decay is part of the gradient.
//
//   m = momentum m + g + decay w, w -= lr m
#include "optim/walk.h"

static const hs_slab_spec slabs[] = { { .name = "sgd.m", .dtype = HS_F32, .trainable_only = true, .saved = true } };
static const hs_optim_choice presets[] = {
    { HS_PRESET_SGD, { .kind = HS_SGD, .momentum = 0.9, .eps = 1, .weight_decay = 1e-4, .clip = 0 } },
};

static void sgd(const hs_args *a, hs_lane *lane)
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
        const float step = now.lr[role], decay = now.decay[role];
        const float *restrict grad = hs_slab_chunk(float, ps->grad, c);
        float *restrict w = hs_slab_chunk(float, ps->master, c), *restrict m = hs_slab_chunk(float, o->slab[0], c);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            m[i] = now.momentum * m[i] + (grad[i] * now.factor + decay * w[i]);
            w[i] -= step * m[i];
        }
        refresh_low(ps, c);
    }
}

extern const hs_optim_rule HS_TIERED(hs_sgd);
const hs_optim_rule HS_TIERED(hs_sgd) = {
    .slab = slabs,
    .n_slabs = HS_COUNT(slabs),
    .name = "sgd",
    .preset = presets,
    .n_presets = HS_COUNT(presets),
    .pass = { { .name = "optim.sgd", .fn = sgd, .part = HS_PART_FREE, .each = { 6, 12 + 8 }, .stores = true } },
};

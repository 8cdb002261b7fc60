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
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        const float step = now.lr[c->role], decay = now.decay[c->role];
        const float *restrict grad = (const float *)a->in[3].p + c->grad;
        float *restrict w = (float *)a->out[0].p + c->value, *restrict m = (float *)a->out[2].p + c->kept[0];
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            m[i] = now.momentum * m[i] + (grad[i] * now.factor + decay * w[i]);
            w[i] -= step * m[i];
        }
        refresh_low(&a->out[1], c, w);
    }
}

extern const hs_optim_rule HS_TIERED(hs_sgd);
const hs_optim_rule HS_TIERED(hs_sgd) = {
    .slab = slabs,
    .n_slabs = HS_COUNT(slabs),
    .name = "sgd",
    .preset = presets,
    .n_presets = HS_COUNT(presets),
    .pass = { { .name = "optim.sgd",
                .fn = sgd,
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW, HS_UPDATE_KEPT },
                .each = { 6, 12 + 8 },
                .stores = true } },
};

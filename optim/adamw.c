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
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        const float step = now.lr[c->role] * now.inv_bc1, shrink = now.lr[c->role] * now.decay[c->role];
        const float *restrict grad = (const float *)a->in[3].p + c->grad;
        float *restrict w = (float *)a->out[0].p + c->value, *restrict m = (float *)a->out[2].p + c->kept[0],
                        *restrict v = (float *)a->out[3].p + c->kept[1];
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            const float g = grad[i] * now.factor;
            m[i] = now.beta1 * m[i] + now.beta3 * g;
            v[i] = now.beta2 * v[i] + now.one_minus_beta2 * (g * g);
            w[i] -= shrink * w[i] + step * m[i] / (sqrtf(v[i]) * now.inv_sqrt_bc2 + now.eps);
        }
        refresh_low(&a->out[1], c, w);
    }
}

extern const hs_optim_rule HS_TIERED(hs_adamw);
const hs_optim_rule HS_TIERED(hs_adamw) = {
    .slab = adam_slabs,
    .n_slabs = HS_COUNT(adam_slabs),
    .name = "adamw",
    .preset = presets,
    .n_presets = HS_COUNT(presets),
    .pass = { { .name = "optim.adamw",
                .fn = adamw,
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW, HS_UPDATE_KEPT, HS_UPDATE_KEPT_1 },
                .each = { 16, 16 + 12 },
                .stores = true } },
};

// adamw: Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), as in PyTorch.
//
//   m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, w -= lr (m / bc1 / (sqrt(v / bc2) + eps) + decay w)
//
// Memory bound: each slab is read once and written once.
#include "optim/walk.h"

static void adamw(const hs_args *a, hs_lane *lane)
{
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    const bool small = a->out[2].dtype == HS_BF16;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        // eps inside the root of v / bc2, by the v that is there
        const float lr = rate_of(&now, c), step = lr * now.inv_bc1, shrink = lr * now.decay[c->role], l2 = now.l2[c->role],
                    eps_in = now.eps_in / now.inv_bc2;
        const float *restrict grad = (const float *)a->in[3].p + c->grad;
        float buf_w[HS_CHUNK], buf_m[HS_CHUNK], buf_v[HS_CHUNK];
        float *restrict w = value_open(&a->out[0], &a->out[1], c, buf_w), *restrict m = moment_open(&a->out[2], c, 0, buf_m),
                        *restrict v = moment_open(&a->out[3], c, 1, buf_v);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            const float g = gradient_of(&now, l2, grad[i], w[i]);
            m[i] = now.beta1 * m[i] + now.beta3 * g;
            v[i] = now.beta2 * v[i] + now.one_minus_beta2 * (g * g);
            w[i] -= shrink * w[i] + step * m[i] / (sqrtf(v[i] + eps_in) * now.inv_sqrt_bc2 + now.eps_out);
        }
        value_close(&now, &a->out[0], &a->out[1], c, w);
        if (small) {
            uint32_t noise[HS_CHUNK];
            moment_noise(&now, c, noise);
            moment_round(&a->out[2], c, 0, m, noise), moment_round(&a->out[3], c, 1, v, noise);
        }
    }
}

extern const hs_optim_kernels HS_TIERED(hs_adamw);
const hs_optim_kernels HS_TIERED(hs_adamw) = { .pass = { adamw }, .small = true, .masters = true };

#ifdef HS_TIER_PORTABLE
const hs_optim_rule hs_adamw_rule = {
    .name = "adamw",
    .slab = adam_slabs,
    .small = adam_small,
    .n_slabs = HS_COUNT(adam_slabs),
    .pass = { { .name = "optim.adamw",
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW, HS_UPDATE_KEPT, HS_UPDATE_KEPT_1 },
                .each = { 16, 12 },
                .moments = 4,
                .stores = true } },
};
#endif

// novograd: momentum over gradients that are divided by a norm of their own (Ginsburg et al., arXiv 1905.11286), one number per logical
// tensor in place of Adam's second moment.
//
//   v = beta2 v + (1 - beta2) |g|^2 (|g|^2 as long as it is 0), m = beta1 m + g / (sqrt(v) + eps) + decay w, w -= lr m
#include "optim/walk.h"

static void novograd(const hs_args *a, hs_lane *lane)
{
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    const bool small = a->out[2].dtype == HS_BF16;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        const float step = rate_of(&now, c), decay = now.decay[c->role], l2 = now.l2[c->role], beta3 = now.beta3,
                    factor = now.factor * ((const float *)a->in[4].p)[c->logical];
        const float *restrict grad = (const float *)a->in[3].p + c->grad;
        float buf_w[HS_CHUNK], buf[HS_CHUNK];
        float *restrict w = value_open(&a->out[0], &a->out[1], c, buf_w), *restrict m = moment_open(&a->out[2], c, 0, buf);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            m[i] = now.beta1 * m[i] + beta3 * (grad[i] * factor + l2 * w[i]);
            w[i] -= step * (m[i] + decay * w[i]);
        }
        value_close(&now, &a->out[0], &a->out[1], c, w);
        if (small) {
            uint32_t noise[HS_CHUNK];
            moment_noise(&now, c, noise);
            moment_round(&a->out[2], c, 0, m, noise);
        }
    }
}

extern const hs_optim_kernels HS_TIERED(hs_novograd);
const hs_optim_kernels HS_TIERED(hs_novograd) = { .pass = { hs_novograd_scales, novograd }, .small = true, .masters = true };

#ifdef HS_TIER_PORTABLE
static const hs_slab_spec slabs[] = {
    { .name = "novograd.m", .dtype = HS_F32, .trainable_only = true, .saved = true, .divides = true },
    { .name = "novograd.v", .dtype = HS_F32, .trainable_only = true, .saved = true, .per_tensor = true },
};
static const hs_slab_spec small_slabs[] = {
    { .name = "novograd.m", .dtype = HS_BF16, .trainable_only = true, .saved = true, .divides = true },
    { .name = "novograd.v", .dtype = HS_F32, .trainable_only = true, .saved = true, .per_tensor = true },
};

const hs_optim_rule hs_novograd_rule = {
    .name = "novograd",
    .slab = slabs,
    .small = small_slabs,
    .n_slabs = HS_COUNT(slabs),
    .pass = { { .name = "optim.novograd_scales",
                .part = HS_PART_SOLO,
                .in = { HS_UPDATE_ALL, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_PARTIALS },
                .out = { HS_UPDATE_NORMS, HS_UPDATE_RATIO, HS_UPDATE_KEPT_1 } },
              { .name = "optim.novograd",
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD, HS_UPDATE_RATIO },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW, HS_UPDATE_KEPT },
                .each = { 8, 12 },
                .moments = 2,
                .stores = true } },
    .per_tensor = true,
};
#endif

// lamb: Adam's direction, scaled per logical tensor by |w| / |u| (You et al., arXiv 1904.00962). What the field means by it: presets.c.
//
//   u = m / bc1 / (sqrt(v / bc2) + eps) + decay w, w -= lr ratio(|w|, |u|) u
//
// The direction is made again in the second pass rather than kept: 18 bytes an element instead of 8 more in between. It is made of the
// moments as they are stored, so that norms are those of the direction that is taken.
#include "optim/walk.h"

static void lamb_moments(const hs_args *a, hs_lane *lane)
{
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    const bool small = a->out[0].dtype == HS_BF16;
    hs_partial *partial = (hs_partial *)a->out[2].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        const float decay = now.decay[c->role], l2 = now.l2[c->role];
        float buf_w[HS_CHUNK], buf_m[HS_CHUNK], buf_v[HS_CHUNK], u[HS_CHUNK];
        const float *restrict grad = (const float *)a->in[3].p + c->grad, *restrict w = value_open(&a->in[4], &a->in[5], c, buf_w);
        float *restrict m = moment_open(&a->out[0], c, 0, buf_m), *restrict v = moment_open(&a->out[1], c, 1, buf_v);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            const float g = gradient_of(&now, l2, grad[i], w[i]);
            m[i] = now.beta1 * m[i] + now.beta3 * g;
            v[i] = now.beta2 * v[i] + now.one_minus_beta2 * (g * g);
            u[i] = direction_of(&now, decay, w[i], m[i], v[i]);
        }
        if (small) {
            uint32_t noise[HS_CHUNK];
            moment_noise(&now, c, noise);
            moment_round(&a->out[0], c, 0, m, noise), moment_round(&a->out[1], c, 1, v, noise);
            moment_open(&a->out[0], c, 0, m), moment_open(&a->out[1], c, 1, v); // as they are stored
            HS_SIMD
            for (int32_t i = 0; i < c->n; i++)
                u[i] = direction_of(&now, decay, w[i], m[i], v[i]);
        }
        partial[c - mine.all] = (hs_partial){ sum_squares(w, c->n), sum_squares(u, c->n) };
    }
}

static void lamb_apply(const hs_args *a, hs_lane *lane)
{
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        const float decay = now.decay[c->role], ratio = ((const float *)a->in[3].p)[c->logical];
        float buf_w[HS_CHUNK], buf_m[HS_CHUNK], buf_v[HS_CHUNK];
        const float *restrict m = moment_open(&a->in[4], c, 0, buf_m), *restrict v = moment_open(&a->in[5], c, 1, buf_v);
        float *restrict w = value_open(&a->out[0], &a->out[1], c, buf_w);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++)
            w[i] -= ratio * direction_of(&now, decay, w[i], m[i], v[i]);
        value_close(&now, &a->out[0], &a->out[1], c, w);
    }
}

extern const hs_optim_kernels HS_TIERED(hs_lamb);
const hs_optim_kernels HS_TIERED(hs_lamb) = { .pass = { lamb_moments, hs_lamb_ratios, lamb_apply }, .small = true, .masters = true };

#ifdef HS_TIER_PORTABLE
const hs_optim_rule hs_lamb_rule = {
    .name = "lamb",
    .slab = adam_slabs,
    .small = adam_small,
    .n_slabs = HS_COUNT(adam_slabs),
    .pass = { { .name = "optim.lamb_moments",
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD, HS_UPDATE_VALUE, HS_UPDATE_LOW },
                .out = { HS_UPDATE_KEPT, HS_UPDATE_KEPT_1, HS_UPDATE_OWN },
                .each = { 20, 8 },
                .moments = 4,
                .totals = true },
              { .name = "optim.lamb_ratios",
                .part = HS_PART_SOLO,
                .in = { HS_UPDATE_ALL, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_PARTIALS },
                .out = { HS_UPDATE_NORMS, HS_UPDATE_RATIO } },
              { .name = "optim.lamb_apply",
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_RATIO, HS_UPDATE_KEPT, HS_UPDATE_KEPT_1 },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW },
                .each = { 10, 8 },
                .moments = 2,
                .stores = true } },
    .per_tensor = true,
};
#endif

// sgd: stochastic gradient descent with momentum, as in PyTorch (no dampening, no Nesterov): weight decay is part of the gradient.
//
//   m = momentum m + g + decay w, w -= lr m
//
// lars: the same with a rate per logical tensor inside the momentum (You et al., arXiv 1708.03888).
//
//   m = momentum m + r (g + decay w), r = coefficient |w| / (|g| + decay |w| + eps), w -= lr m
#include "optim/walk.h"

static inline void descend(const hs_args *a, const hs_update_step *now, const hs_update_chunk *c, const float *restrict grad, float ratio)
{
    const float step = rate_of(now, c), decay = now->decay[c->role], l2 = now->l2[c->role];
    float buf_w[HS_CHUNK], buf[HS_CHUNK];
    float *restrict w = value_open(&a->out[0], &a->out[1], c, buf_w), *restrict m = moment_open(&a->out[2], c, 0, buf);
    HS_SIMD
    for (int32_t i = 0; i < c->n; i++) {
        m[i] = now->momentum * m[i] + ratio * gradient_of(now, l2, grad[i], w[i]);
        w[i] -= step * (m[i] + decay * w[i]);
    }
    value_close(now, &a->out[0], &a->out[1], c, w);
    if (a->out[2].dtype == HS_BF16) {
        uint32_t noise[HS_CHUNK];
        moment_noise(now, c, noise);
        moment_round(&a->out[2], c, 0, m, noise);
    }
}

static void sgd(const hs_args *a, hs_lane *lane)
{
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine) descend(a, &now, c, (const float *)a->in[3].p + c->grad, 1);
}

static void lars_norms(const hs_args *a, hs_lane *lane)
{
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    hs_partial *partial = (hs_partial *)a->out[0].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine)
    {
        float buf_w[HS_CHUNK];
        const float *grad = (const float *)a->in[3].p + c->grad, *w = value_open(&a->in[4], &a->in[5], c, buf_w);
        double sum = 0;
        HS_SIMD_SUM(sum)
        for (int32_t i = 0; i < c->n; i++) {
            const double g = (double)gradient_of(&now, 0, grad[i], 0);
            sum += g * g;
        }
        partial[c - mine.all] = (hs_partial){ sum_squares(w, c->n), sum };
    }
}

static void lars(const hs_args *a, hs_lane *lane)
{
    const hs_update_step now = *(const hs_update_step *)a->in[2].p;
    walk mine = walk_of(a, lane);
    hs_for_chunks(c, &mine) descend(a, &now, c, (const float *)a->in[3].p + c->grad, ((const float *)a->in[4].p)[c->logical]);
}

extern const hs_optim_kernels HS_TIERED(hs_sgd), HS_TIERED(hs_lars);
const hs_optim_kernels HS_TIERED(hs_sgd) = { .pass = { sgd }, .small = true, .masters = true };
const hs_optim_kernels HS_TIERED(hs_lars) = { .pass = { lars_norms, hs_lars_ratios, lars }, .small = true, .masters = true };

#ifdef HS_TIER_PORTABLE
static const hs_slab_spec slabs[] = { { .name = "sgd.m", .dtype = HS_F32, .trainable_only = true, .saved = true, .divides = true } };
static const hs_slab_spec small_slabs[] = { { .name = "sgd.m", .dtype = HS_BF16, .trainable_only = true, .saved = true, .divides = true } };

const hs_optim_rule hs_sgd_rule = {
    .name = "sgd",
    .slab = slabs,
    .small = small_slabs,
    .n_slabs = HS_COUNT(slabs),
    .pass = { { .name = "optim.sgd",
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW, HS_UPDATE_KEPT },
                .each = { 6, 12 },
                .moments = 2,
                .stores = true } },
};
const hs_optim_rule hs_lars_rule = {
    .name = "lars",
    .slab = slabs,
    .small = small_slabs,
    .n_slabs = HS_COUNT(slabs),
    .pass = { { .name = "optim.lars_norms",
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD, HS_UPDATE_VALUE, HS_UPDATE_LOW },
                .out = { HS_UPDATE_OWN },
                .each = { 5, 8 },
                .totals = true },
              { .name = "optim.lars_ratios",
                .part = HS_PART_SOLO,
                .in = { HS_UPDATE_ALL, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_PARTIALS },
                .out = { HS_UPDATE_NORMS, HS_UPDATE_RATIO } },
              { .name = "optim.lars",
                .part = HS_PART_FREE,
                .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_NOW, HS_UPDATE_GRAD, HS_UPDATE_RATIO },
                .out = { HS_UPDATE_VALUE, HS_UPDATE_LOW, HS_UPDATE_KEPT },
                .each = { 7, 12 },
                .moments = 2,
                .stores = true } },
    .per_tensor = true,
};
#endif

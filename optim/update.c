// update: the pass all optimizers begin with, and the table of one ISA tier. Compiled once per tier, like the optimizers.
#include "optim/walk.h"

static int32_t count_nonfinite(const float *x, int32_t n)
{
    int32_t count = 0;
    HS_SIMD_SUM(count)
    for (int32_t i = 0; i < n; i++)
        count += (hs_f32_bits(x[i]) & 0x7F800000u) == 0x7F800000u;
    return count;
}

static void sums(const hs_args *a, hs_lane *lane)
{
    hs_optim *o = (hs_optim *)a->attr;
    hs_for_chunks(k, o, lane)
    {
        const hs_chunk *c = &o->ps->chunk[k];
        const float *g = hs_slab_chunk(float, o->ps->grad, c);
        o->partial[k] = o->ps->has_grad[c->param] ? (hs_partial){ sum_squares(g, c->n), count_nonfinite(g, c->n) } : (hs_partial){ 0, 0 };
    }
}

extern const hs_optim_rule HS_TIERED(hs_adamw), HS_TIERED(hs_lamb), HS_TIERED(hs_sgd);

extern const hs_optim_tier HS_TIERED(hs_optim);
const hs_optim_tier HS_TIERED(hs_optim) = {
    .sums = sums,
    .decide = hs_optim_decide,
    .rule = { [HS_ADAMW] = &HS_TIERED(hs_adamw), [HS_LAMB] = &HS_TIERED(hs_lamb), [HS_SGD] = &HS_TIERED(hs_sgd) },
};

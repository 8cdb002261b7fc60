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
    const walk w = walk_all(a, lane);
    hs_partial *partial = (hs_partial *)a->out[0].p;
    for (const hs_update_chunk *c = w.next; c < w.end; c++) {
        const float *g = (const float *)a->in[2].p + c->grad;
        partial[c - w.all] = w.made[c->param] ? (hs_partial){ sum_squares(g, c->n), count_nonfinite(g, c->n) } : (hs_partial){ 0, 0 };
    }
}

static void keep(const hs_args *a, hs_lane *lane)
{
    walk mine = walk_all(a, lane);
    hs_for_chunks(c, &mine)
    {
        float buf[HS_CHUNK], *restrict grad = (float *)a->out[0].p + c->grad;
        if (!c->keeps)
            continue;
        const float *restrict w = value_open(&a->in[2], &a->in[3], c, buf);
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++)
            grad[i] = w[i] == 0 ? 0 : grad[i];
    }
}

extern const hs_optim_kernels HS_TIERED(hs_adamw), HS_TIERED(hs_lamb), HS_TIERED(hs_sgd), HS_TIERED(hs_lars), HS_TIERED(hs_novograd);

extern const hs_optim_tier HS_TIERED(hs_optim);
const hs_optim_tier HS_TIERED(hs_optim) = {
    .keep = keep,
    .sums = sums,
    .decide = hs_optim_decide,
    .total = hs_optim_total,
    .vote = hs_optim_vote,
    .gather = hs_optim_gather,
    .rule = { [HS_ADAMW] = &HS_TIERED(hs_adamw),
              [HS_LAMB] = &HS_TIERED(hs_lamb),
              [HS_SGD] = &HS_TIERED(hs_sgd),
              [HS_LARS] = &HS_TIERED(hs_lars),
              [HS_NOVOGRAD] = &HS_TIERED(hs_novograd) },
};

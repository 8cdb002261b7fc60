// update: the passes over gradients, moments, values and low copies. Memory bound: each slab is read once and written once,
// and the low copy is made while its chunk is still in the first cache.

#include "optim/update.h"
#include "core/cpu/rows.h"
#include <math.h>

#define hs_for_chunks(k, o, lane) for (int64_t k##_end_, k = chunks_begin(o, lane, &k##_end_); k < k##_end_; k++)

static int64_t chunks_begin(const hs_optim *o, const hs_lane *lane, int64_t *end)
{
    int64_t first;
    hs_part_unit(lane, o->ps->n_chunks, 1, &first, end);
    return first;
}

// In double: the square of a large finite f32 overflows f32.
static double sum_squares(const float *x, int32_t n)
{
    double sum = 0;
    HS_SIMD_SUM(sum)
    for (int32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

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
        const float *g = o->ps->grad + c->offset;
        o->partial[k] = o->ps->has_grad[c->param] ? (hs_partial){ sum_squares(g, c->n), count_nonfinite(g, c->n) } : (hs_partial){ 0, 0 };
    }
}

static void refresh_low(const hs_params *ps, const hs_chunk *c)
{
    if (ps->low && ps->low_dtype == HS_BF16)
        hs_store_bf16(ps->low + c->offset, ps->master + c->offset, c->n);
    else if (ps->low)
        hs_store_f16(ps->low + c->offset, ps->master + c->offset, c->n);
}

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
        const float *restrict grad = ps->grad + c->offset;
        float *restrict w = ps->master + c->offset, *restrict m = ps->m + c->offset, *restrict v = ps->v + c->offset;
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

// LAMB's direction before the trust ratio. Both places for eps are computed by select, so that the loop stays straight.
static inline float direction(const hs_update_step *now, bool inside, float decay, float w, float m, float v)
{
    const float vhat = v * now->inv_bc2;
    const float root = sqrtf(inside ? vhat + now->eps : vhat) + (inside ? 0.0f : now->eps);
    return m * now->inv_bc1 / root + decay * w;
}

static void lamb_moments(const hs_args *a, hs_lane *lane)
{
    hs_optim *o = (hs_optim *)a->attr;
    const hs_params *ps = o->ps;
    const hs_update_step now = o->now;
    const bool inside = o->c.eps_inside;
    if (now.skip)
        return;
    hs_for_chunks(k, o, lane)
    {
        const hs_chunk *c = &ps->chunk[k];
        if (!ps->has_grad[c->param])
            continue;
        const float decay = now.decay[ps->param[c->param]->role];
        const float *restrict grad = ps->grad + c->offset, *restrict w = ps->master + c->offset;
        float *restrict m = ps->m + c->offset, *restrict v = ps->v + c->offset;
        float u[HS_CHUNK];
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++) {
            const float g = grad[i] * now.factor;
            m[i] = now.beta1 * m[i] + now.beta3 * g;
            v[i] = now.beta2 * v[i] + now.one_minus_beta2 * (g * g);
            u[i] = direction(&now, inside, decay, w[i], m[i], v[i]);
        }
        o->partial[k] = (hs_partial){ sum_squares(w, c->n), sum_squares(u, c->n) };
    }
}

static void lamb_apply(const hs_args *a, hs_lane *lane)
{
    const hs_optim *o = a->attr;
    const hs_params *ps = o->ps;
    const hs_update_step now = o->now;
    const bool inside = o->c.eps_inside;
    if (now.skip)
        return;
    hs_for_chunks(k, o, lane)
    {
        const hs_chunk *c = &ps->chunk[k];
        if (!ps->has_grad[c->param])
            continue;
        const float decay = now.decay[ps->param[c->param]->role], ratio = o->ratio[c->logical];
        const float *restrict m = ps->m + c->offset, *restrict v = ps->v + c->offset;
        float *restrict w = ps->master + c->offset;
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++)
            w[i] -= ratio * direction(&now, inside, decay, w[i], m[i], v[i]);
        refresh_low(ps, c);
    }
}

const hs_update_kernels HS_TIERED(hs_update) = { sums, adamw, lamb_moments, lamb_apply };

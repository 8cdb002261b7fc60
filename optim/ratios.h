// ratios: what LAMB, LARS and NovoGrad settle once per logical tensor, for whoever has added up the partials of its chunks: the host's
// kernels (ratios.c) and CUDA's (ratios.cu). squares: those sums, of w and of u or g.
#ifndef HS_OPTIM_RATIOS_H
#define HS_OPTIM_RATIOS_H
#include "optim/update.h"
#include <math.h>

HS_INLINE bool hs_ratio_adapts(const hs_optim_config *c, int role)
{
    return c->trust == HS_TRUST_ALL || (c->trust == HS_TRUST_DECAYED && c->decay_factor[role] > 0);
}

HS_INLINE double hs_ratio_within(const hs_optim_config *c, double x)
{
    return c->ratio_max > 0 ? fmin(fmax(x, c->ratio_min), c->ratio_max) : x;
}

// |w| / |u|; 1 where a norm is 0 (biases start at 0): bounds of the ratio apply to what was computed, those of |w| to |w| itself.
HS_INLINE double hs_lamb_ratio(const hs_optim_config *c, int role, const double *squares)
{
    const bool bounds_w = c->bounded == HS_BOUND_WEIGHT;
    const double w = bounds_w ? hs_ratio_within(c, sqrt(squares[0])) : sqrt(squares[0]), u = sqrt(squares[1]);
    if (!hs_ratio_adapts(c, role) || w <= 0 || u <= 0)
        return 1;
    return bounds_w ? w / u : hs_ratio_within(c, w / u);
}

// coefficient |w| / (|g| + decay |w| + eps); 1 where a norm is 0.
HS_INLINE double hs_lars_ratio(const hs_optim_config *c, int role, const double *squares)
{
    const double w = sqrt(squares[0]), g = sqrt(squares[1]);
    if (!hs_ratio_adapts(c, role) || w <= 0 || g <= 0)
        return 1;
    return c->trust_coefficient * w / (g + c->weight_decay * c->decay_factor[role] * w + c->eps);
}

// 1 / (sqrt(v) + eps). v is |g|^2 as long as it is 0, from there on its running mean; squares: of the gradients as stored.
HS_INLINE float hs_novograd_scale(const hs_optim_config *c, const hs_update_step *now, double squares, float *v)
{
    const double unscale = (double)now->factor, g = squares * unscale * unscale, before = (double)*v;
    *v = (float)(before == 0 ? g : c->beta2 * before + (1 - c->beta2) * g);
    return 1 / (sqrtf(*v + now->eps_in) + now->eps_out);
}

#endif

// ratios: what LAMB, LARS and NovoGrad settle once per logical tensor, from the partials of its chunks added up in order. One member does
// it: there are few of them, and what decides over all elements is not per tier.
#include "optim/update.h"
#include <math.h>

typedef struct tensors { // operands that the three have in common
    const hs_update_chunk *chunk;
    int64_t n;
    const uint8_t *made;
    const hs_update_step *now;
    double (*norms)[2]; // of a logical tensor: what its partials sum up to
    float *ratio;
} tensors;

// False: the step is skipped, nothing is to be touched.
static bool add_up(tensors *t, const hs_args *a)
{
    const hs_partial *partial = (const hs_partial *)a->in[3].p;
    *t = (tensors){ .chunk = (const hs_update_chunk *)a->in[0].p,
                    .n = a->in[0].rows,
                    .made = (const uint8_t *)a->in[1].p,
                    .now = (const hs_update_step *)a->in[2].p,
                    .norms = (double(*)[2])a->out[0].p,
                    .ratio = (float *)a->out[1].p };
    if (t->now->skip)
        return false;
    memset(t->norms, 0, (size_t)a->out[0].rows * sizeof *t->norms);
    for (int64_t k = 0; k < t->n; k++) {
        double *sum = t->norms[t->chunk[k].logical];
        sum[0] += partial[k].a, sum[1] += partial[k].b;
    }
    return true;
}

// Chunks whose gradient there is. Several chunks of one logical tensor come to the same value.
#define for_made(c, t)                                                                                                                     \
    for (const hs_update_chunk *c = (t)->chunk; c < (t)->chunk + (t)->n; c++)                                                              \
        if ((t)->made[c->param])

static bool adapted(const hs_optim_config *c, int role)
{
    return c->trust == HS_TRUST_ALL || (c->trust == HS_TRUST_DECAYED && c->decay_factor[role] > 0);
}

static double within(const hs_optim_config *c, double x) { return c->ratio_max > 0 ? fmin(fmax(x, c->ratio_min), c->ratio_max) : x; }

// |w| / |u|; 1 where a norm is 0 (biases start at 0): bounds of the ratio apply to what was computed, those of |w| to |w| itself.
static double lamb_ratio(const hs_optim_config *c, int role, const double squares[2])
{
    const bool bounds_w = c->bounded == HS_BOUND_WEIGHT;
    const double w = bounds_w ? within(c, sqrt(squares[0])) : sqrt(squares[0]), u = sqrt(squares[1]);
    if (!adapted(c, role) || w <= 0 || u <= 0)
        return 1;
    return bounds_w ? w / u : within(c, w / u);
}

void hs_lamb_ratios(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    tensors t;
    if (!add_up(&t, a))
        return;
    for_made(c, &t) t.ratio[c->logical] =
        (float)(lamb_ratio(a->attr, c->role, t.norms[c->logical]) * (double)(t.now->lr[c->role] * c->rate));
}

// coefficient |w| / (|g| + decay |w| + eps); 1 where a norm is 0.
static double lars_ratio(const hs_optim_config *c, int role, const double squares[2])
{
    const double w = sqrt(squares[0]), g = sqrt(squares[1]);
    if (!adapted(c, role) || w <= 0 || g <= 0)
        return 1;
    return c->trust_coefficient * w / (g + c->weight_decay * c->decay_factor[role] * w + c->eps);
}

void hs_lars_ratios(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    tensors t;
    if (!add_up(&t, a))
        return;
    for_made(c, &t) t.ratio[c->logical] = (float)lars_ratio(a->attr, c->role, t.norms[c->logical]);
}

// v is |g|^2 as long as it is 0, from there on its running mean.
void hs_novograd_scales(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    const hs_optim_config *settings = a->attr;
    float *v = (float *)a->out[2].p;
    tensors t;
    if (!add_up(&t, a))
        return;
    const double unscale = (double)t.now->factor;
    for_made(c, &t) t.ratio[c->logical] = -1; // not seen yet: v moves once, however many chunks there are
    for_made(c, &t)
    {
        if (t.ratio[c->logical] >= 0)
            continue;
        float *mean = &v[c->kept[1]];
        const double g = t.norms[c->logical][0] * unscale * unscale, before = (double)*mean;
        *mean = (float)(before == 0 ? g : settings->beta2 * before + (1 - settings->beta2) * g);
        t.ratio[c->logical] = 1 / (sqrtf(*mean + t.now->eps_in) + t.now->eps_out);
    }
}

// ratios: what LAMB, LARS and NovoGrad settle once per logical tensor, from the partials of its chunks added up in order. One member does
// it: there are few of them, and what decides over all elements is not per tier.
#include "optim/ratios.h"

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

void hs_lamb_ratios(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    tensors t;
    if (!add_up(&t, a))
        return;
    for_made(c, &t) t.ratio[c->logical] =
        (float)(hs_lamb_ratio(a->attr, c->role, t.norms[c->logical]) * (double)(t.now->lr[c->role] * c->rate));
}

void hs_lars_ratios(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    tensors t;
    if (!add_up(&t, a))
        return;
    for_made(c, &t) t.ratio[c->logical] = (float)hs_lars_ratio(a->attr, c->role, t.norms[c->logical]);
}

void hs_novograd_scales(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    float *v = (float *)a->out[2].p;
    tensors t;
    if (!add_up(&t, a))
        return;
    for_made(c, &t) t.ratio[c->logical] = -1; // not seen yet: v moves once, however many chunks there are
    for_made(c, &t) if (t.ratio[c->logical] < 0) t.ratio[c->logical] =
        hs_novograd_scale(a->attr, t.now, t.norms[c->logical][0], &v[c->kept[1]]);
}

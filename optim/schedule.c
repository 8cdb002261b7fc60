// schedule: the learning rate as a function of the count of applied steps.

#include "optim/optim.h"
#include <math.h>

typedef double law(const hs_schedule *s, double p);

static double constant(const hs_schedule *s, double p) { return (void)p, s->lr; }
static double linear(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * (1 - p); }
static double cosine(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * 0.5 * (1 + cos(M_PI * p)); }
static double poly(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * pow(1 - p, s->power); }

static double warmup_steps(const hs_schedule *s)
{
    return s->warmup_share > 0 ? floor(s->warmup_share * (double)s->steps) : (double)s->warmup;
}

// Warm-up by even steps, then a law of how much of the rest is behind. `last`: the step at which that is all.
static double law_after_warmup(const hs_schedule *s, int64_t t, law *of, double last)
{
    const double warmup = warmup_steps(s), at = (double)t;
    if (at < warmup)
        return s->lr * (at + 1) / (warmup + 1);
    return of(s, t >= s->steps ? 1 : last <= warmup ? 0 : (at - warmup) / (last - warmup));
}

static double before_last(const hs_schedule *s) { return (double)s->steps - 1; }
static double lr_constant(const hs_schedule *s, int64_t t) { return law_after_warmup(s, t, constant, before_last(s)); }
static double lr_linear(const hs_schedule *s, int64_t t) { return law_after_warmup(s, t, linear, before_last(s)); }
static double lr_cosine(const hs_schedule *s, int64_t t) { return law_after_warmup(s, t, cosine, before_last(s)); }
static double lr_poly(const hs_schedule *s, int64_t t) { return law_after_warmup(s, t, poly, (double)s->steps); }

static double part_of(const hs_schedule *s, double step) { return s->steps > 0 && step < (double)s->steps ? step / (double)s->steps : 1; }

static double lr_poly_warmup(const hs_schedule *s, int64_t t)
{
    const double p = part_of(s, (double)t + 1), w = s->warmup_share > 0 ? s->warmup_share : part_of(s, (double)s->warmup);
    return p < w ? s->lr * p / w : poly(s, p);
}

static double lr_electra(const hs_schedule *s, int64_t t)
{
    const double warmup = warmup_steps(s), at = (double)t;
    return poly(s, part_of(s, at)) * (at < warmup ? at / warmup : 1);
}

static double lr_inverse_sqrt(const hs_schedule *s, int64_t t)
{
    const double warmup = warmup_steps(s), at = (double)t;
    return at < warmup ? s->lr * (at + 1) / (warmup + 1) : fmax(s->lr * sqrt((warmup + 1) / (at + 1)), s->min_lr);
}

static double (*const rate[HS_N_SCHEDULES])(const hs_schedule *s, int64_t t) = {
    [HS_SCHEDULE_CONSTANT] = lr_constant,
    [HS_SCHEDULE_LINEAR] = lr_linear,
    [HS_SCHEDULE_COSINE] = lr_cosine,
    [HS_SCHEDULE_POLY] = lr_poly,
    [HS_SCHEDULE_POLY_WARMUP] = lr_poly_warmup,
    [HS_SCHEDULE_ELECTRA] = lr_electra,
    [HS_SCHEDULE_INVERSE_SQRT] = lr_inverse_sqrt,
};

double hs_schedule_lr(const hs_schedule *s, int64_t t) { return rate[s->kind](s, t); }

double hs_layer_rate(double decay, int layers, int depth) { return depth > layers ? 1 : pow(decay, layers + 2 - depth); }

// schedule: the learning rate as a function of the count of applied steps.

#include "optim/optim.h"
#include <math.h>

static double constant(const hs_schedule *s, double p) { return (void)p, s->lr; }
static double linear(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * (1 - p); }
static double cosine(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * 0.5 * (1 + cos(M_PI * p)); }
static double poly(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * pow(1 - p, s->power); }

static double (*const decay[])(const hs_schedule *s, double p) = {
    [HS_SCHEDULE_CONSTANT] = constant,
    [HS_SCHEDULE_LINEAR] = linear,
    [HS_SCHEDULE_COSINE] = cosine,
    [HS_SCHEDULE_POLY] = poly,
};

double hs_schedule_lr(const hs_schedule *s, int64_t t)
{
    if (t < s->warmup)
        return s->lr * (double)(t + 1) / (double)(s->warmup + 1);
    const int64_t last = s->steps - (s->kind != HS_SCHEDULE_POLY); // step at which p is 1
    const double p = t >= s->steps ? 1 : last <= s->warmup ? 0 : (double)(t - s->warmup) / (double)(last - s->warmup);
    return decay[s->kind](s, p);
}

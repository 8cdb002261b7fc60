// schedule: the laws of learning rates (optim.h), for the host and for devices that decide a step.
#ifndef HS_OPTIM_SCHEDULE_H
#define HS_OPTIM_SCHEDULE_H
#include "core/base/inline.h"
#include "optim/optim.h"
#include <math.h>

HS_INLINE double hs_schedule_warmup(const hs_schedule *s)
{
    return s->warmup_share > 0 ? floor(s->warmup_share * (double)s->steps) : (double)s->warmup;
}

// What a law comes to where the share p of what follows warm-up is behind.
HS_INLINE double hs_schedule_linear(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * (1 - p); }
HS_INLINE double hs_schedule_cosine(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * 0.5 * (1 + cos(M_PI * p)); }
HS_INLINE double hs_schedule_poly(const hs_schedule *s, double p) { return s->min_lr + (s->lr - s->min_lr) * pow(1 - p, s->power); }

// Warm-up by even steps, then the law. `last`: the step at which all of the rest is behind.
HS_INLINE double hs_schedule_after_warmup(const hs_schedule *s, int64_t t, double last)
{
    const double warmup = hs_schedule_warmup(s), at = (double)t;
    if (at < warmup)
        return s->lr * (at + 1) / (warmup + 1);
    const double p = t >= s->steps ? 1 : last <= warmup ? 0 : (at - warmup) / (last - warmup);
    return s->kind == HS_SCHEDULE_LINEAR   ? hs_schedule_linear(s, p)
           : s->kind == HS_SCHEDULE_COSINE ? hs_schedule_cosine(s, p)
           : s->kind == HS_SCHEDULE_POLY   ? hs_schedule_poly(s, p)
                                           : s->lr;
}

HS_INLINE double hs_schedule_part(const hs_schedule *s, double step)
{
    return s->steps > 0 && step < (double)s->steps ? step / (double)s->steps : 1;
}

HS_INLINE double hs_schedule_poly_warmup(const hs_schedule *s, int64_t t)
{
    const double p = hs_schedule_part(s, (double)t + 1), w = s->warmup_share > 0 ? s->warmup_share : hs_schedule_part(s, (double)s->warmup);
    return p < w ? s->lr * p / w : hs_schedule_poly(s, p);
}

HS_INLINE double hs_schedule_electra(const hs_schedule *s, int64_t t)
{
    const double warmup = hs_schedule_warmup(s), at = (double)t;
    return hs_schedule_poly(s, hs_schedule_part(s, at)) * (at < warmup ? at / warmup : 1);
}

HS_INLINE double hs_schedule_inverse_sqrt(const hs_schedule *s, int64_t t)
{
    const double warmup = hs_schedule_warmup(s), at = (double)t;
    return at < warmup ? s->lr * (at + 1) / (warmup + 1) : fmax(s->lr * sqrt((warmup + 1) / (at + 1)), s->min_lr);
}

// hs_schedule_lr. A switch: a GPU cannot follow a table of the host's functions.
HS_INLINE double hs_schedule_at(const hs_schedule *s, int64_t t)
{
    switch (s->kind) {
    case HS_SCHEDULE_POLY_WARMUP:
        return hs_schedule_poly_warmup(s, t);
    case HS_SCHEDULE_ELECTRA:
        return hs_schedule_electra(s, t);
    case HS_SCHEDULE_INVERSE_SQRT:
        return hs_schedule_inverse_sqrt(s, t);
    case HS_SCHEDULE_POLY:
        return hs_schedule_after_warmup(s, t, (double)s->steps);
    default:
        return hs_schedule_after_warmup(s, t, (double)s->steps - 1);
    }
}

#endif

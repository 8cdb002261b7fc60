// attention_units: pieces that attention's forward is given out in. A unit is up to `step` queries of one sequence and head; they are
// numbered sequence by sequence, head by head.
#ifndef HS_OPS_ATTENTION_UNITS_H
#define HS_OPS_ATTENTION_UNITS_H
#include "ops/attention/attention.h"

typedef struct att_units {
    const hs_args *a;
    const att_shape *s;
    int64_t step;
    att_seq q; // of the unit that was asked for last: its sequence, head, queries [c0, c0 + n) of that
    int64_t b, h, c0, n, number;
} att_units;

static inline void att_units_from(att_units *u, int64_t b) // the first of sequence b, or of the next one that has any
{
    u->b = b, u->h = 0, u->c0 = 0;
    while (u->b < u->s->n_seqs && (u->q = att_seq_of(u->a, u->s, u->b)).nq <= 0)
        u->b++;
    u->n = u->b < u->s->n_seqs ? att_least(u->step, u->q.nq) : 0;
}
static inline void att_units_begin(att_units *u)
{
    u->number = 0;
    att_units_from(u, 0);
}
static inline void att_units_next(att_units *u)
{
    u->number++, u->c0 += u->step;
    u->n = att_least(u->step, u->q.nq - u->c0);
    if (u->n > 0)
        return;
    u->c0 = 0, u->n = att_least(u->step, u->q.nq);
    if (++u->h == u->s->heads)
        att_units_from(u, u->b + 1);
}
static inline void att_unit_at(att_units *u, int64_t number)
{
    if (u->number > number || !u->n)
        att_units_begin(u);
    while (u->number < number)
        att_units_next(u);
}

// Which units are this member's by what they cost: [*i0, *i1).
static inline void att_units_share(att_units *u, const hs_lane *lane, int64_t *i0, int64_t *i1)
{
    att_deal deal = { 0 };
    *i0 = *i1 = 0;
    for (int pass = 0; pass < 2; pass++) // what it costs, then who does it
        for (att_units_begin(u); u->b < u->s->n_seqs; att_units_next(u)) {
            const double cost = (double)u->n * (double)att_seen(u->s, &u->q, u->c0 + u->n / 2) + 64;
            if (!pass)
                deal.total += cost;
            else if (att_take(&deal, cost, lane)) {
                *i0 = *i0 == *i1 ? u->number : *i0;
                *i1 = u->number + 1;
            }
        }
}

#endif

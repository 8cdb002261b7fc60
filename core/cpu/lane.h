// lane: what a kernel runs on, as the CPU has it: one member of the team of threads that walks a segment. For kernels of the CPU; the rest
// of core passes lanes on and never looks into one (core/graph/op.h).
#ifndef HS_CORE_LANE_H
#define HS_CORE_LANE_H
#include "core/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_barrier hs_barrier;

struct hs_lane {
    int id, n; // member id of n
    hs_barrier *bar;
    int64_t *waited; // NULL, or ns at barriers are added to it: a trace is taken
};

// All members of the team meet here; what one wrote before, the others see after. Spins briefly, then sleeps.
void hs_sync(hs_lane *lane);

// Items that any member may do, where one of them may be held up: hs_deal says which are this member's, before an hs_sync; behind it, and until
// the next one, hs_take gives them out: up to `most` of this member's from the front, then what others have not begun from the back, half of
// what is left to one at a time but no fewer than `least`. False: there are none any more. Every member deals, in the same phase.
void hs_deal(hs_lane *lane, int64_t i0, int64_t i1);
bool hs_take(hs_lane *lane, int64_t most, int64_t least, int64_t *i0, int64_t *i1);

// Rows per partial sum. A constant of the system, never of team or size: it is what makes the bits independent of threads.
enum { HS_GRAIN = 32 };

// This member's rows [*r0, *r1) of `rows`: whole grains, contiguous, the same for every kernel of the same row count.
static inline void hs_part(const hs_lane *lane, int64_t rows, int64_t *r0, int64_t *r1)
{
    const int64_t grains = (rows + HS_GRAIN - 1) / HS_GRAIN;
    const int64_t a = grains * lane->id / lane->n * HS_GRAIN, b = grains * (lane->id + 1) / lane->n * HS_GRAIN;
    *r0 = a < rows ? a : rows;
    *r1 = b < rows ? b : rows;
}
// The same for `n` items in units of `unit` (columns by cache line, heads, tiles).
static inline void hs_part_unit(const hs_lane *lane, int64_t n, int64_t unit, int64_t *i0, int64_t *i1)
{
    const int64_t units = (n + unit - 1) / unit;
    const int64_t a = units * lane->id / lane->n * unit, b = units * (lane->id + 1) / lane->n * unit;
    *i0 = a < n ? a : n;
    *i1 = b < n ? b : n;
}

#ifdef __cplusplus
}
#endif
#endif

// walk: the chunks of one member of the team, and what every pass does with one. For the files compiled once per ISA tier.
#ifndef HS_OPTIM_WALK_H
#define HS_OPTIM_WALK_H
#include "core/cpu/rows.h"
#include "optim/update.h"
#include <math.h>

#define hs_for_chunks(k, o, lane) for (int64_t k##_end_, k = chunks_begin(o, lane, &k##_end_); k < k##_end_; k++)

static inline int64_t chunks_begin(const hs_optim *o, const hs_lane *lane, int64_t *end)
{
    int64_t first;
    hs_part_unit(lane, o->ps->n_chunks, 1, &first, end);
    return first;
}

// In double: the square of a large finite f32 overflows f32.
static inline double sum_squares(const float *x, int32_t n)
{
    double sum = 0;
    HS_SIMD_SUM(sum)
    for (int32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

// What AdamW and LAMB keep: a run may go from one to the other.
enum { M, V };
static const hs_slab_spec adam_slabs[] = {
    [M] = { .name = "adam.m", .dtype = HS_F32, .trainable_only = true, .saved = true },
    [V] = { .name = "adam.v", .dtype = HS_F32, .trainable_only = true, .saved = true },
};

// The low copy of a chunk, while it is still in the first cache.
static inline void refresh_low(const hs_params *ps, const hs_chunk *c)
{
    const hs_slab *low = ps->low;
    if (low && low->spec.dtype == HS_BF16)
        hs_store_bf16(hs_slab_chunk(uint16_t, low, c), hs_slab_chunk(float, ps->master, c), c->n);
    else if (low)
        hs_store_f16(hs_slab_chunk(uint16_t, low, c), hs_slab_chunk(float, ps->master, c), c->n);
}

#endif

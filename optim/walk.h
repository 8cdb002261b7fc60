// walk: the chunks of one member of the team, and what every pass does with one. For the files compiled once per ISA tier.
#ifndef HS_OPTIM_WALK_H
#define HS_OPTIM_WALK_H
#include "core/cpu/dropout.h"
#include "optim/element.h"
#include <math.h>
#include <string.h>

typedef struct walk {
    const hs_update_chunk *all, *next, *end; // the table, and what is left of this member's part of it
    const uint8_t *made;                     // by parameter
} walk;

static inline walk walk_all(const hs_args *a, const hs_lane *lane)
{
    int64_t first, end;
    hs_part_unit(lane, a->in[0].rows, 1, &first, &end);
    const hs_update_chunk *all = (const hs_update_chunk *)a->in[0].p;
    return (walk){ all, all + first, all + end, (const uint8_t *)a->in[1].p };
}

// Of a pass whose first operands are chunks, made and now: nothing in a step that is skipped.
static inline walk walk_of(const hs_args *a, const hs_lane *lane)
{
    walk w = walk_all(a, lane);
    w.next = ((const hs_update_step *)a->in[2].p)->skip ? w.end : w.next;
    return w;
}

// The next chunk whose gradient a plan of this step has made; NULL: that was the last.
static inline const hs_update_chunk *walk_next(walk *w)
{
    while (w->next < w->end && !w->made[w->next->param])
        w->next++;
    return w->next < w->end ? w->next++ : NULL;
}

// Chunks of this member in order; `w` is a walk of the caller's.
#define hs_for_chunks(c, w) for (const hs_update_chunk *c; (c = walk_next(w));)

// In double: the square of a large finite f32 overflows f32.
static inline double sum_squares(const float *x, int32_t n)
{
    double sum = 0;
    HS_SIMD_SUM(sum)
    for (int32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

// ---- moments: f32, or bf16 with stochastic rounding. A kernel works on f32 either way.

#ifdef HS_TIER_PORTABLE
// What AdamW and LAMB keep: a run may go from one to the other.
static const hs_slab_spec adam_slabs[] = {
    { .name = "adam.m", .dtype = HS_F32, .trainable_only = true, .saved = true, .divides = true },
    { .name = "adam.v", .dtype = HS_F32, .trainable_only = true, .saved = true, .divides = true },
};
static const hs_slab_spec adam_small[] = {
    { .name = "adam.m", .dtype = HS_BF16, .trainable_only = true, .saved = true, .divides = true },
    { .name = "adam.v", .dtype = HS_BF16, .trainable_only = true, .saved = true, .divides = true },
};
#endif

// Moment `which` of a chunk: its own bytes where they are f32, else in buf.
static inline float *moment_open(const hs_ref *r, const hs_update_chunk *c, int which, float buf[HS_CHUNK])
{
    if (r->dtype == HS_F32)
        return (float *)r->p + c->kept[which];
    hs_load_bf16(buf, (const uint16_t *)r->p + c->kept[which], c->n);
    return buf;
}

// 16 random bits for each of two moments of every element of a chunk: a function of seed, step and the logical parameter's element alone,
// however ranks divide it. Element 64 b + 4 l + w has word w of the call at 64 b + l.
static inline void chunk_noise(uint64_t key, const hs_update_step *now, const hs_update_chunk *c, uint32_t noise[HS_CHUNK])
{
    for (int32_t i = 0, n; i < c->n; i += n) {
        const uint64_t at = (uint64_t)hs_update_logical(c, i), block = at / 64 * 64;
        const int32_t in_block = 64 - (int32_t)(at - block), in_run = c->run ? c->run - (c->column + i) % c->run : c->n;
        uint32_t word[64];
        n = in_block < in_run ? in_block : in_run, n = n < c->n - i ? n : c->n - i;
        hs_drop_words(key, (uint32_t)c->param, (uint32_t)now->count, (uint32_t)block, (uint32_t)(block >> 32), n == 64 ? noise + i : word);
        if (n < 64)
            memcpy(noise + i, word + (at - block), (size_t)n * sizeof *word);
    }
}

static inline void moment_noise(const hs_update_step *now, const hs_update_chunk *c, uint32_t noise[HS_CHUNK])
{
    chunk_noise(now->key, now, c, noise);
}

// Stochastically (element.h).
static inline void moment_round(const hs_ref *r, const hs_update_chunk *c, int which, const float *x, const uint32_t noise[HS_CHUNK])
{
    uint16_t *restrict to = (uint16_t *)r->p + c->kept[which];
    const int shift = 16 * which;
    HS_SIMD
    for (int32_t i = 0; i < c->n; i++)
        to[i] = rounded_bf16(hs_f32_bits(x[i]), noise[i] >> shift);
}

// ---- values: f32 with a low copy, in two halves, or bf16 alone (hs_masters). A kernel works on f32 either way.

static inline uint16_t *low_of(const hs_ref *low, const hs_update_chunk *c) { return (uint16_t *)low->p + c->low; }

// The values of a chunk: their own bytes where they are f32, else in buf.
static inline float *value_open(const hs_ref *value, const hs_ref *low, const hs_update_chunk *c, float buf[HS_CHUNK])
{
    if (c->masters == HS_MASTERS_F32)
        return (float *)value->p + c->value;
    const uint16_t *restrict high = low_of(low, c);
    if (c->masters == HS_MASTERS_NONE) {
        hs_load_bf16(buf, high, c->n);
        return buf;
    }
    const uint16_t *restrict half = (const uint16_t *)value->p + c->value;
    HS_SIMD
    for (int32_t i = 0; i < c->n; i++)
        buf[i] = hs_bits_f32(hs_halves_join(high[i], half[i]));
    return buf;
}

static inline void round_values(uint16_t *restrict low, const hs_update_step *now, const hs_update_chunk *c, const float *w)
{
    uint32_t noise[HS_CHUNK];
    chunk_noise(now->value_key, now, c, noise);
    HS_SIMD
    for (int32_t i = 0; i < c->n; i++)
        low[i] = rounded_bf16(hs_f32_bits(w[i]), noise[i]);
}

// The values of a chunk as value_open gave them: what is stored of them, while they are still in the first cache.
static inline void value_close(const hs_update_step *now, const hs_ref *value, const hs_ref *low, const hs_update_chunk *c, const float *w)
{
    if (!low->p)
        return;
    uint16_t *restrict high = low_of(low, c);
    if (low->dtype == HS_F16) {
        hs_store_f16(high, w, c->n);
    } else if (c->masters == HS_MASTERS_NONE) {
        round_values(high, now, c, w);
    } else {
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++)
            high[i] = hs_value_bf16(hs_f32_bits(w[i]));
        if (c->masters == HS_MASTERS_F32)
            return;
        uint16_t *restrict half = (uint16_t *)value->p + c->value;
        HS_SIMD
        for (int32_t i = 0; i < c->n; i++)
            half[i] = (uint16_t)hs_f32_bits(w[i]);
    }
}

#endif

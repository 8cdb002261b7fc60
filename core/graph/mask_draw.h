// mask_draw: what decides which tokens of a sequence are to be guessed, and what stands in their place, for whoever does it: the loader
// (data/batches/masking.h) and the op mask_tokens on any device. Integers alone, so that all of them draw the same.
//
// Philox at the address (key; sample, draw, plane): draw k of plane 0 chooses the k-th candidate, by the beginning of a random order
// (Fisher and Yates); that of plane 1 at token i says what becomes of it.
#ifndef HS_CORE_MASK_DRAW_H
#define HS_CORE_MASK_DRAW_H
#include "core/base/rng.h"

#ifdef __cplusplus
extern "C" {
#endif

// A sequence's row of the column "mask_draws", cells of i32; 64 bits have the low half first. tokens: without pads; picks: how many of them
// are chosen; masked, random: of 2^32 values of a draw so many ask for the mask, and that many more for another token.
enum {
    HS_DRAW_TOKENS,
    HS_DRAW_PICKS,
    HS_DRAW_KEY,
    HS_DRAW_SAMPLE = HS_DRAW_KEY + 2,
    HS_DRAW_MASKED = HS_DRAW_SAMPLE + 2,
    HS_DRAW_CHANGED = HS_DRAW_MASKED + 2, // masked or random
    HS_DRAW_MASK_ID = HS_DRAW_CHANGED + 2,
    HS_DRAW_VOCAB,
    HS_DRAW_CELLS = 12,
    HS_DRAW_SPECIAL = 256, // ids of "mask_special" at most, each once and ascending; behind the last INT32_MAX
};

HS_INLINE void hs_draw_put(int32_t *cell, uint64_t v)
{
    cell[0] = (int32_t)(uint32_t)v;
    cell[1] = (int32_t)(uint32_t)(v >> 32);
}
HS_INLINE uint64_t hs_draw_get(const int32_t *cell) { return (uint32_t)cell[0] | (uint64_t)(uint32_t)cell[1] << 32; }

// Values w of 32 bits with (w + 1/2) / 2^32 below a share: w is one of them where it is below this.
HS_INLINE uint64_t hs_draw_values(double share)
{
    const double all = share * 4294967296.0 - 0.5;
    return all <= 0 ? 0 : all >= 4294967296.0 ? 4294967296ull : (uint64_t)all + ((double)(uint64_t)all < all);
}

// Uniform in [0, n), n below 2^31: the high half of a product; off by less than n / 2^32.
HS_INLINE int64_t hs_draw_below(uint32_t word, int64_t n) { return (int64_t)((uint64_t)word * (uint64_t)n >> 32); }

HS_INLINE hs_u32x4 hs_draw_at(uint64_t key, uint64_t sample, int64_t k, uint32_t plane)
{
    return hs_random(key, (uint32_t)sample, (uint32_t)(sample >> 32), (uint32_t)k, plane);
}
// Which of n candidates in order changes places with the k-th, and is chosen.
HS_INLINE int64_t hs_draw_choice(uint64_t key, uint64_t sample, int64_t k, int64_t n)
{
    return k + hs_draw_below(hs_draw_at(key, sample, k, 0).v[0], n - k);
}

// The k-th id that is not among these, which ascend.
HS_INLINE int32_t hs_draw_plain(const int32_t *special, int n_special, int64_t k)
{
    for (int i = 0; i < n_special && special[i] <= k; i++)
        k++;
    return (int32_t)k;
}
HS_INLINE int hs_draw_n_special(const int32_t *special, int most)
{
    int n = 0;
    while (n < most && special[n] != INT32_MAX)
        n++;
    return n;
}

// May a token be chosen?
HS_INLINE int hs_draw_may(int32_t id, int32_t vocab, const int32_t *special, int n_special)
{
    if (id < 0 || id >= vocab)
        return 0;
    for (int i = 0; i < n_special && special[i] <= id; i++)
        if (special[i] == id)
            return 0;
    return 1;
}

// What stands in the place of an id: what says whether it stays, which what comes instead.
HS_INLINE int32_t hs_draw_instead(const int32_t *row, const int32_t *special, int n_special, uint32_t what, uint32_t which, int32_t id)
{
    if (what < hs_draw_get(row + HS_DRAW_MASKED))
        return row[HS_DRAW_MASK_ID];
    return what < hs_draw_get(row + HS_DRAW_CHANGED)
               ? hs_draw_plain(special, n_special, hs_draw_below(which, row[HS_DRAW_VOCAB] - n_special))
               : id;
}

// Tokens [first, end) of a batch of n belong to sequence s of n_seqs, the front of them without pads; picks: that there is room for behind
// `before` of the sequences in front of it. Whatever the row says, all lies within.
typedef struct hs_draw_span {
    int64_t first, end, tokens, picks;
} hs_draw_span;
HS_INLINE int64_t hs_draw_clip(int64_t v, int64_t least, int64_t most) { return v < least ? least : v > most ? most : v; }
HS_INLINE hs_draw_span hs_draw_span_of(const int32_t *starts, const int32_t *row, int64_t s, int64_t n_seqs, int64_t n, int64_t before,
                                       int64_t n_picks)
{
    hs_draw_span at;
    at.first = s ? hs_draw_clip(starts[s], 0, n) : 0;
    at.end = s == n_seqs - 1 ? n : hs_draw_clip(starts[s + 1], at.first, n);
    at.tokens = hs_draw_clip(row[HS_DRAW_TOKENS], 0, at.end - at.first);
    at.picks = hs_draw_clip(row[HS_DRAW_PICKS], 0, before < n_picks ? n_picks - before : 0);
    return at;
}

#ifdef __cplusplus
}
#endif
#endif

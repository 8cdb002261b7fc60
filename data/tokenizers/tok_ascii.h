// tok_ascii: 64 bytes at once to one bit each, by class. Bit k is byte k.
#ifndef HS_DATA_TOK_ASCII_H
#define HS_DATA_TOK_ASCII_H
#include "data/tokenizers/tok_cache.h"
#ifdef __SSE2__
#include <immintrin.h>
#endif

// What begins in the first STEP bytes of a block, and is short, ends inside it; ROOM: bytes that reading a block's keys may touch.
enum { HS_TOK_BLOCK = 64, HS_TOK_STEP = 48, HS_TOK_ROOM = HS_TOK_BLOCK + 16 };

typedef struct hs_tok_masks {
    uint64_t letter, digit, space, quote, tab_lf_cr, vt_ff, high;
    uint64_t visible; // 0x21 to 0x7E
} hs_tok_masks;

#ifdef __SSE2__
static inline uint64_t hs_tok_in_range(__m128i v, unsigned char first, unsigned n)
{
    // moved so that the range ends where signed comparison can tell
    const __m128i moved = _mm_add_epi8(v, _mm_set1_epi8((char)(128 - first)));
    return (uint16_t)_mm_movemask_epi8(_mm_cmplt_epi8(moved, _mm_set1_epi8((char)(n - 128))));
}

static inline void hs_tok_classify(const unsigned char *s, hs_tok_masks *m)
{
    *m = (hs_tok_masks){ 0 };
    for (int k = 0; k < HS_TOK_BLOCK; k += 16) {
        const __m128i v = _mm_loadu_si128((const __m128i *)(s + k));
        m->letter |= hs_tok_in_range(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 26) << k;
        m->digit |= hs_tok_in_range(v, '0', 10) << k;
        m->space |= (uint64_t)(uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(' '))) << k;
        m->quote |= (uint64_t)(uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\''))) << k;
        m->tab_lf_cr |= hs_tok_in_range(v, '\t', 5) << k;
        m->vt_ff |= hs_tok_in_range(v, '\v', 2) << k;
        m->visible |= hs_tok_in_range(v, '!', 94) << k;
        m->high |= (uint64_t)(uint16_t)_mm_movemask_epi8(v) << k;
    }
    m->tab_lf_cr &= ~m->vt_ff;
}
#else
static inline void hs_tok_classify(const unsigned char *s, hs_tok_masks *m)
{
    *m = (hs_tok_masks){ 0 };
    for (int k = 0; k < HS_TOK_BLOCK; k++) {
        const uint64_t bit = 1ull << k;
        const unsigned char c = s[k];
        m->letter |= (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? bit : 0;
        m->digit |= c >= '0' && c <= '9' ? bit : 0;
        m->space |= c == ' ' ? bit : 0;
        m->quote |= c == '\'' ? bit : 0;
        m->tab_lf_cr |= c == '\t' || c == '\n' || c == '\r' ? bit : 0;
        m->vt_ff |= c == '\v' || c == '\f' ? bit : 0;
        m->visible |= c > ' ' && c < 0x7F ? bit : 0;
        m->high |= c >= 0x80 ? bit : 0;
    }
}
#endif

// The key of n bytes, up to 15; lower: they are letters and digits, to be made small.
#ifdef __SSE2__
static inline hs_tok_key hs_tok_block_key(const char *s, unsigned n, bool lower)
{
    static const char keep[32] = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 };
    const __m128i v = _mm_or_si128(_mm_loadu_si128((const __m128i *)s), _mm_set1_epi8(lower ? 0x20 : 0)); // digits have that bit already
    const __m128i kept = _mm_and_si128(v, _mm_loadu_si128((const __m128i *)(keep + 16 - n)));
    hs_tok_key k;
    k.lo = (uint64_t)_mm_cvtsi128_si64(kept);
    k.hi = (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(kept, kept)) | (uint64_t)n << 56;
    return k;
}
#else
static inline hs_tok_key hs_tok_block_key(const char *s, unsigned n, bool lower)
{
    hs_tok_key k = hs_tok_short_key(s, n);
    const uint64_t bits = lower ? 0x2020202020202020u : 0; // digits have that bit already
    k.lo |= n < 8 ? bits & ((1ull << 8 * n) - 1) : bits;
    k.hi |= n > 8 ? bits & ((1ull << 8 * (n - 8)) - 1) : 0;
    return k;
}
#endif

// Words of some blocks are looked up together, so that the cache's lines are on their way while more words are found: with one block at a
// time, waiting for them takes 40 % of the time on text with many different words.
enum { HS_TOK_BATCH = 192 };
typedef struct hs_tok_batch {
    hs_tok_key key[HS_TOK_BATCH + HS_TOK_STEP];
    const hs_tok_entry *pair[HS_TOK_BATCH + HS_TOK_STEP];
    uint8_t bytes[HS_TOK_BATCH + HS_TOK_STEP];
    unsigned n;
    bool stopped; // at what is not for this way
} hs_tok_batch;

static inline void hs_tok_batch_add(hs_tok_batch *b, const hs_tok_cache *c, const char *s, unsigned bytes, bool lower)
{
    b->key[b->n] = hs_tok_block_key(s, bytes, lower);
    b->bytes[b->n] = (uint8_t)bytes;
    b->pair[b->n] = hs_tok_cache_pair(c, b->key[b->n]);
    __builtin_prefetch(b->pair[b->n++]);
}

// The bytes of a short key, and zeros: the word as it was looked up.
static inline void hs_tok_key_text(hs_tok_key k, char word16[16])
{
    k.hi &= ~0ull >> 8;
    memcpy(word16, &k, sizeof k);
}

static inline unsigned hs_tok_run(uint64_t mask) { return mask == ~0ull ? 64 : (unsigned)__builtin_ctzll(~mask); } // of ones, from bit 0

#endif

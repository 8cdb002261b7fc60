// tok_cache: from the bytes of a word to its ids, for one thread. What repeats in text is words, so that an encoder is as fast as this is:
// 32-byte entries, two to a line, found by one multiplication.
//
// Words of up to HS_TOK_SHORT bytes are their own key; longer ones are found by a 128-bit hash and compared with the copy in the arena,
// where the ids of words with many pieces stand too. A full arena empties the whole cache.
#ifndef HS_DATA_TOK_CACHE_H
#define HS_DATA_TOK_CACHE_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { HS_TOK_SHORT = 15, HS_TOK_LONG = 256, HS_TOK_INLINE = 3 };

typedef struct hs_tok_key {
    uint64_t lo, hi; // the word, zero-padded, its length in the top byte
} hs_tok_key;
typedef struct hs_tok_entry {
    hs_tok_key key;
    int32_t id[HS_TOK_INLINE]; // more than fit: id[0] is where they stand in the arena
    uint32_t n;                // of ids; 0: empty
} hs_tok_entry;
typedef struct hs_tok_cache {
    hs_tok_entry *entry; // [1 << HS_TOK_CACHE_BITS][2], aligned to the pair; in memory
    void *memory;
    int32_t *arena; // [HS_TOK_ARENA]
    size_t used;
} hs_tok_cache;
#ifndef HS_TOK_CACHE_LOG2
#define HS_TOK_CACHE_LOG2 16 // fuzzers build with less: encoders are made faster, and caches are full sooner
#endif
enum { HS_TOK_CACHE_BITS = HS_TOK_CACHE_LOG2, HS_TOK_ARENA = 4 << HS_TOK_CACHE_BITS };

hs_status hs_tok_cache_init(hs_tok_cache *c);
void hs_tok_cache_free(hs_tok_cache *c);
// Keeps n ids (at least 1) of a word.
void hs_tok_cache_put(hs_tok_cache *c, const char *word, size_t bytes, const int32_t *id, size_t n);
const int32_t *hs_tok_cache_get_long(const hs_tok_cache *c, const char *word, size_t bytes, size_t *n); // NULL: not there

static inline hs_tok_entry *hs_tok_cache_pair(const hs_tok_cache *c, hs_tok_key k)
{
    const unsigned __int128 m = (unsigned __int128)(k.lo ^ 0x9E3779B97F4A7C15u) * (k.hi ^ 0xD6E8FEB86659FD93u);
    return c->entry + 2 * (((uint64_t)(m >> 64) ^ (uint64_t)m) >> (64 - HS_TOK_CACHE_BITS));
}

// The key of a short word from its first 16 bytes, whatever follows it there.
static inline hs_tok_key hs_tok_short_key(const char *word16, size_t bytes)
{
    hs_tok_key k;
    memcpy(&k, word16, 16);
    const uint64_t keep = ~0ull >> (64 - 8 * (bytes & 7 ? bytes & 7 : 8)); // of the word that the last byte is in
    k.hi = bytes <= 8 ? 0 : k.hi & keep;
    k.lo = bytes < 8 ? k.lo & keep : k.lo;
    k.hi |= (uint64_t)bytes << 56;
    return k;
}

// Which of a pair is a matter of chance: arithmetic, not a branch.
static inline const hs_tok_entry *hs_tok_cache_among(const hs_tok_entry *pair, hs_tok_key k)
{
    const hs_tok_entry *e = pair + (((pair[1].key.lo ^ k.lo) | (pair[1].key.hi ^ k.hi)) == 0);
    return e->key.lo == k.lo && e->key.hi == k.hi ? e : NULL;
}

static inline const hs_tok_entry *hs_tok_cache_find(const hs_tok_cache *c, hs_tok_key k)
{
    return hs_tok_cache_among(hs_tok_cache_pair(c, k), k);
}

// Of a word of 1 to HS_TOK_SHORT bytes with room for 16 behind its start.
static inline const hs_tok_entry *hs_tok_cache_get(const hs_tok_cache *c, const char *word16, size_t bytes)
{
    return hs_tok_cache_find(c, hs_tok_short_key(word16, bytes));
}

static inline int64_t hs_tok_entry_copy(const hs_tok_cache *c, const hs_tok_entry *e, int32_t *out)
{
    if (__builtin_expect(e->n <= HS_TOK_INLINE, 1))
        memcpy(out, e->id, 16); // one store; the fourth is overwritten by what follows
    else
        memcpy(out, c->arena + e->id[0], e->n * sizeof(int32_t));
    return (int64_t)e->n;
}

#endif

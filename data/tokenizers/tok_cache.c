// tok_cache: the arena and the slow half of a look-up; the fast half is inline in the header.
#include "data/tokenizers/tok_cache.h"
#include <stdlib.h>
#include <xxhash.h>

enum { N_ENTRIES = 2 << HS_TOK_CACHE_BITS };

// By pages as they are used, so that a short text does not pay for all of it. Huge pages gain nothing that can be measured, and asking for
// them can wait 50 ms and more until the system has made room.
hs_status hs_tok_cache_init(hs_tok_cache *c)
{
    const size_t pair = 2 * sizeof *c->entry;
    *c = (hs_tok_cache){ .arena = malloc(HS_TOK_ARENA * sizeof *c->arena), .memory = calloc(N_ENTRIES + 2, sizeof *c->entry) };
    if (!c->memory || !c->arena) {
        hs_tok_cache_free(c);
        return HS_FAIL(MEMORY, "no memory for an encoder");
    }
    c->entry = (hs_tok_entry *)(((uintptr_t)c->memory + pair - 1) / pair * pair);
    return HS_OK;
}

void hs_tok_cache_free(hs_tok_cache *c)
{
    free(c->memory);
    free(c->arena);
    *c = (hs_tok_cache){ 0 };
}

static hs_tok_key long_key(const char *word, size_t bytes)
{
    const XXH128_hash_t h = XXH3_128bits(word, bytes);
    return (hs_tok_key){ h.low64, h.high64 | 1ull << 63 }; // no short key has that bit
}

// In the arena: the ids, and of a long word {bytes, the word} behind them.
static int32_t *take(hs_tok_cache *c, size_t ints)
{
    if (ints > HS_TOK_ARENA)
        return NULL;
    if (c->used + ints > HS_TOK_ARENA) {
        memset(c->entry, 0, N_ENTRIES * sizeof *c->entry);
        c->used = 0;
    }
    int32_t *p = c->arena + c->used;
    c->used += ints;
    return p;
}

void hs_tok_cache_put(hs_tok_cache *c, const char *word, size_t bytes, const int32_t *id, size_t n)
{
    const bool is_long = bytes > HS_TOK_SHORT;
    char padded[16] = { 0 };
    if (bytes > HS_TOK_LONG)
        return;
    if (!is_long)
        memcpy(padded, word, bytes);
    hs_tok_entry e = { .key = is_long ? long_key(word, bytes) : hs_tok_short_key(padded, bytes), .n = (uint32_t)n };
    if (is_long || n > HS_TOK_INLINE) {
        const size_t ints = n + (is_long ? 1 + (bytes + 3) / 4 : 0);
        int32_t *p = take(c, ints);
        if (!p)
            return;
        memcpy(p, id, n * sizeof *id);
        if (is_long) {
            p[n] = (int32_t)bytes;
            memcpy(p + n + 1, word, bytes);
        }
        e.id[0] = (int32_t)(p - c->arena);
    } else {
        memcpy(e.id, id, n * sizeof *id);
    }
    hs_tok_entry *pair = hs_tok_cache_pair(c, e.key);
    pair[pair[0].n != 0] = e; // who came first, most likely a frequent word, stays
}

const int32_t *hs_tok_cache_get_long(const hs_tok_cache *c, const char *word, size_t bytes, size_t *n)
{
    const hs_tok_entry *e = hs_tok_cache_find(c, long_key(word, bytes));
    if (!e)
        return NULL;
    const int32_t *p = c->arena + e->id[0];
    *n = e->n;
    return p[e->n] == (int32_t)bytes && memcmp(p + e->n + 1, word, bytes) == 0 ? p : NULL;
}

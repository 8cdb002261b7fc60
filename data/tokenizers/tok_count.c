// tok_count: open addressing over one arena of bytes: a count costs no allocation of its own.
#include "data/tokenizers/tok_count.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint64_t slot_of(const hs_tok_counts *c, const char *text, size_t bytes)
{
    uint64_t i = XXH3_64bits(text, bytes) & c->mask;
    for (; c->slot[i]; i = (i + 1) & c->mask) {
        const hs_tok_text other = hs_tok_counts_text(c, c->slot[i] - 1);
        if (other.bytes == bytes && memcmp(other.text, text, bytes) == 0)
            break;
    }
    return i;
}

static hs_status grow_table(hs_tok_counts *c)
{
    const uint64_t slots = c->slot ? 2 * (c->mask + 1) : 1 << 12;
    uint32_t *slot = calloc(slots, sizeof *slot), *old = c->slot;
    if (!slot)
        return HS_FAIL(MEMORY, "no memory for %llu different words", (unsigned long long)slots / 2);
    c->slot = slot, c->mask = slots - 1;
    for (int64_t i = 0; i < c->n; i++) {
        const hs_tok_text t = hs_tok_counts_text(c, i);
        uint64_t k = XXH3_64bits(t.text, t.bytes) & c->mask;
        while (slot[k])
            k = (k + 1) & c->mask;
        slot[k] = (uint32_t)i + 1;
    }
    free(old);
    return HS_OK;
}

static hs_status reserve(hs_tok_counts *c, size_t bytes)
{
    if (c->n >= UINT32_MAX - 1)
        return HS_FAIL(UNSUPPORTED, "more than %u different words", UINT32_MAX - 1);
    if (c->pool_bytes + bytes > c->pool_room || !c->pool) {
        const size_t room = 2 * (c->pool_bytes + bytes) + 4096;
        char *pool = realloc(c->pool, room);
        if (!pool)
            return HS_FAIL(MEMORY, "no memory for %zu bytes of words", room);
        c->pool = pool, c->pool_room = room;
    }
    if (c->n == c->room) {
        const int64_t room = 2 * c->room + 1024;
        size_t *start = realloc(c->start, ((size_t)room + 1) * sizeof *start);
        if (start)
            c->start = start;
        int64_t *count = start ? realloc(c->count, (size_t)room * sizeof *count) : NULL;
        if (!count)
            return HS_FAIL(MEMORY, "no memory for %lld different words", (long long)room);
        c->count = count, c->room = room;
        c->start[0] = 0;
    }
    if (!c->slot || 2 * (uint64_t)c->n > c->mask)
        return grow_table(c);
    return HS_OK;
}

hs_status hs_tok_counts_add(hs_tok_counts *c, const char *text, size_t bytes, int64_t add, int64_t *number)
{
    HS_TRY(reserve(c, bytes));
    const uint64_t k = slot_of(c, text, bytes);
    if (!c->slot[k]) {
        memcpy(c->pool + c->pool_bytes, text, bytes);
        c->pool_bytes += bytes;
        c->count[c->n] = 0;
        c->start[++c->n] = c->pool_bytes;
        c->slot[k] = (uint32_t)c->n;
    }
    *number = c->slot[k] - 1;
    c->count[*number] += add;
    return HS_OK;
}

int64_t hs_tok_counts_find(const hs_tok_counts *c, const char *text, size_t bytes)
{
    return c->slot ? (int64_t)c->slot[slot_of(c, text, bytes)] - 1 : -1;
}

void hs_tok_counts_free(hs_tok_counts *c)
{
    free(c->pool);
    free(c->start);
    free(c->count);
    free(c->slot);
    *c = (hs_tok_counts){ 0 };
}

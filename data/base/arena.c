// arena: blocks that double in size up to a limit, taken from the front; what is larger than a block has one of its own.
#include "data/base/arena.h"
#include <stdlib.h>
#include <string.h>

enum { FIRST = 1 << 12, LARGEST = 1 << 22, ALIGN = 8 };
struct hs_arena_block {
    hs_arena_block *before;
    size_t bytes, used;
    char data[];
};

void *hs_arena_take(hs_arena *a, size_t bytes)
{
    bytes = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    if (bytes > a->left) {
        const size_t next = a->block ? 2 * a->block->bytes : FIRST, usual = next < LARGEST ? next : LARGEST;
        const size_t size = bytes > usual ? bytes : usual;
        hs_arena_block *b = malloc(sizeof *b + size);
        if (!b)
            return NULL;
        if (bytes > usual && a->block) { // behind the one that still has room
            *b = (hs_arena_block){ .before = a->block->before, .bytes = FIRST, .used = size };
            a->block->before = b;
            return b->data;
        }
        *b = (hs_arena_block){ .before = a->block, .bytes = size };
        a->block = b, a->left = size;
    }
    char *p = a->block->data + a->block->used;
    a->block->used += bytes, a->left -= bytes;
    return p;
}

char *hs_arena_text(hs_arena *a, const char *p, size_t bytes)
{
    char *to = hs_arena_take(a, bytes + 1);
    if (!to)
        return NULL;
    if (bytes)
        memcpy(to, p, bytes);
    to[bytes] = 0;
    return to;
}

void *hs_arena_copy(hs_arena *a, const void *p, size_t n, size_t item)
{
    void *to = hs_arena_take(a, n * item);
    if (to && n)
        memcpy(to, p, n * item);
    return to;
}

void hs_arena_clear(hs_arena *a)
{
    hs_arena_block *keep = a->block;
    if (!keep)
        return;
    hs_arena before = { .block = keep->before };
    hs_arena_free(&before);
    keep->before = NULL, keep->used = 0, a->left = keep->bytes;
}

void hs_arena_free(hs_arena *a)
{
    for (hs_arena_block *b = a->block, *before; b; b = before) {
        before = b->before;
        free(b);
    }
    *a = (hs_arena){ 0 };
}

// arena: many small things that live and die together.
#ifndef HS_DATA_ARENA_H
#define HS_DATA_ARENA_H
#include <stddef.h>

typedef struct hs_arena_block hs_arena_block;
typedef struct hs_arena { // {0} is an empty one
    hs_arena_block *block;
    size_t left;
} hs_arena;

void *hs_arena_take(hs_arena *a, size_t bytes);                         // aligned to 8; NULL: no memory. Not cleared
char *hs_arena_text(hs_arena *a, const char *p, size_t bytes);          // a copy with a NUL behind it
void *hs_arena_copy(hs_arena *a, const void *p, size_t n, size_t item); // of an array
void hs_arena_clear(hs_arena *a);                                       // all of it is gone; the room stays
void hs_arena_free(hs_arena *a);

#endif

// grow: arrays that grow, and a map from 64-bit keys (hashes) to small numbers. Internal to core; neither aborts.
#ifndef HS_CORE_GROW_H
#define HS_CORE_GROW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Room for one more item behind n: `array` is the address of a pointer to items. False: no memory, and all is as it was.
bool hs_grow(void *array, int n, int *capacity, size_t item);

// The first room of an array, for n items where their number is about known; hs_grow goes on from there.
bool hs_reserve(void *array, int n, int *capacity, size_t item);

typedef struct hs_map hs_map;
// The number under this key, 0 when it is new; *m is made on first use. NULL: no memory. Valid until the next call.
int *hs_map_at(hs_map **m, uint64_t key);
int hs_map_get(const hs_map *m, uint64_t key);   // 0: none
bool hs_map_copy(hs_map **out, const hs_map *m); // of NULL: NULL. False: no memory
void hs_map_free(hs_map *m);

#endif

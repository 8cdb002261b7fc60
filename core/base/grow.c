// grow: doubling arrays, and an open-addressing map whose keys are hashes already: they are taken as their own hash.
#include "core/base/grow.h"
#include <stdlib.h>
#include <string.h>

bool hs_grow(void *array, int n, int *capacity, size_t item)
{
    if (n < *capacity)
        return true;
    const int more = *capacity ? 2 * *capacity : 64;
    void *old;
    memcpy(&old, array, sizeof old); // whatever it points to
    void *p = realloc(old, (size_t)more * item);
    if (!p)
        return false;
    memcpy(array, &p, sizeof p);
    *capacity = more;
    return true;
}

bool hs_reserve(void *array, int n, int *capacity, size_t item)
{
    void *p = malloc((size_t)(n + 1) * item);
    memcpy(array, &p, sizeof p);
    *capacity = p ? n + 1 : 0;
    return p;
}

typedef struct entry {
    uint64_t key;
    int value;
    bool used;
} entry;

struct hs_map {
    entry *at;          // open addressing, at most half full
    size_t n, capacity; // a power of two
};

static entry *find(entry *at, size_t capacity, uint64_t key)
{
    size_t i = key & (capacity - 1);
    while (at[i].used && at[i].key != key)
        i = (i + 1) & (capacity - 1);
    return &at[i];
}

static bool enlarge(hs_map *m)
{
    const size_t capacity = m->capacity ? 2 * m->capacity : 256;
    entry *at = calloc(capacity, sizeof *at);
    if (!at)
        return false;
    for (size_t i = 0; i < m->capacity; i++)
        if (m->at[i].used)
            *find(at, capacity, m->at[i].key) = m->at[i];
    free(m->at);
    m->at = at, m->capacity = capacity;
    return true;
}

int *hs_map_at(hs_map **map, uint64_t key)
{
    if (!*map && !(*map = calloc(1, sizeof **map)))
        return NULL;
    hs_map *m = *map;
    if (2 * m->n >= m->capacity && !enlarge(m))
        return NULL;
    entry *e = find(m->at, m->capacity, key);
    if (!e->used)
        *e = (entry){ .key = key, .used = true }, m->n++;
    return &e->value;
}

int hs_map_get(const hs_map *m, uint64_t key) { return m && m->capacity ? find(m->at, m->capacity, key)->value : 0; }

bool hs_map_copy(hs_map **out, const hs_map *m)
{
    *out = NULL;
    if (!m)
        return true;
    hs_map *c = malloc(sizeof *c);
    entry *at = malloc((m->capacity + 1) * sizeof *at);
    if (!c || !at) {
        free(c);
        free(at);
        return false;
    }
    memcpy(at, m->at, m->capacity * sizeof *at);
    *c = (hs_map){ at, m->n, m->capacity };
    *out = c;
    return true;
}

void hs_map_free(hs_map *m)
{
    if (m)
        free(m->at);
    free(m);
}

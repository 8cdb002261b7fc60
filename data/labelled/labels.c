// labels: a list of names, each found by its hash.
#include "data/labelled/labels.h"
#include "core/base/grow.h"
#include "core/base/rng.h"
#include <stdlib.h>
#include <string.h>

// The key of a name: its hash, or the next one that no other name has. *index: where it stands, from 1; 0: nowhere.
static uint64_t key_of(const hs_labels *l, const char *name, int *index)
{
    uint64_t key = hs_hash_string(name);
    while ((*index = hs_map_get(l->map, key)) != 0 && strcmp(l->name[*index - 1], name) != 0)
        key++;
    return key;
}

int hs_labels_find(const hs_labels *l, const char *name)
{
    int index;
    key_of(l, name, &index);
    return index - 1;
}

hs_status hs_labels_add(hs_labels *l, const char *name, int *index)
{
    int found;
    const uint64_t key = key_of(l, name, &found);
    if (index)
        *index = found ? found - 1 : l->n;
    if (found)
        return HS_OK;
    const bool full = (l->n & (l->n - 1)) == 0; // room is a power of two
    char **more = full ? realloc(l->name, (size_t)(l->n ? 2 * l->n : 1) * sizeof *more) : l->name;
    if (!more)
        return HS_FAIL(MEMORY, "no memory for %d labels", l->n + 1);
    l->name = more;
    int *place = hs_map_at(&l->map, key);
    if (!place)
        return HS_FAIL(MEMORY, "no memory for %d labels", l->n + 1);
    if (!(l->name[l->n] = strdup(name)))
        return HS_FAIL(MEMORY, "no memory for the name of a label");
    *place = ++l->n;
    return HS_OK;
}

const char *hs_labels_name(const hs_labels *l, int index) { return index >= 0 && index < l->n ? l->name[index] : ""; }

hs_status hs_labels_copy(hs_labels *to, const hs_labels *from)
{
    *to = (hs_labels){ 0 };
    for (int i = 0; i < from->n; i++)
        HS_TRY(hs_labels_add(to, from->name[i], NULL));
    return HS_OK;
}

void hs_labels_free(hs_labels *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->n; i++)
        free(l->name[i]);
    free(l->name);
    hs_map_free(l->map);
    *l = (hs_labels){ 0 };
}

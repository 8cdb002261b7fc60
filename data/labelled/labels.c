// labels: a list of names. A task has tens of them, now and then some thousands: found by a walk.
#include "data/labelled/labels.h"
#include <stdlib.h>
#include <string.h>

int hs_labels_find(const hs_labels *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->name[i], name) == 0)
            return i;
    return -1;
}

hs_status hs_labels_add(hs_labels *l, const char *name, int *index)
{
    const int found = hs_labels_find(l, name);
    if (index)
        *index = found < 0 ? l->n : found;
    if (found >= 0)
        return HS_OK;
    const bool full = (l->n & (l->n - 1)) == 0; // room is a power of two
    char **more = full ? realloc(l->name, (size_t)(l->n ? 2 * l->n : 1) * sizeof *more) : l->name;
    if (!more)
        return HS_FAIL(MEMORY, "no memory for %d labels", l->n + 1);
    l->name = more;
    if (!(l->name[l->n] = strdup(name)))
        return HS_FAIL(MEMORY, "no memory for the name of a label");
    l->n++;
    return HS_OK;
}

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
    *l = (hs_labels){ 0 };
}

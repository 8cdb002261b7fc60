// labels: the classes of a task by name, in the order of a head's outputs: id2label of config.json.
#ifndef HS_DATA_LABELS_H
#define HS_DATA_LABELS_H
#include "core/base/status.h"
#include <stdbool.h>

struct hs_map;
typedef struct hs_labels {
    int n;
    char **name;        // owned
    struct hs_map *map; // where each stands
} hs_labels;

hs_status hs_labels_add(hs_labels *l, const char *name, int *index); // index (may be NULL) of the one there is, or of the new one. MEMORY
int hs_labels_find(const hs_labels *l, const char *name);            // -1: none of that name
const char *hs_labels_name(const hs_labels *l, int index);           // "": none of that number
hs_status hs_labels_copy(hs_labels *to, const hs_labels *from);      // `to` is overwritten
void hs_labels_free(hs_labels *l);                                   // takes NULL; cleared behind it

#endif

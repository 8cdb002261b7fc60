// confusion: which class is taken for which. The classes seen most have rows of their own, all others share one, so that it stays a
// picture.
#ifndef HS_DATA_CONFUSION_H
#define HS_DATA_CONFUSION_H
#include "data/score/score.h"

enum { HS_CONFUSION_MOST = 40 };
typedef struct hs_confusion {
    hs_labels names; // in the order of the classes; "(N others)" at the end, where there are
    int64_t *count;  // [names.n][names.n], row: gold, column: predicted
} hs_confusion;
// gold < 0: the row does not count. most: rows at most, up to HS_CONFUSION_MOST. MEMORY.
hs_status hs_confusion_make(hs_confusion *out, const hs_labels *classes, const int32_t *gold, const int32_t *pred, int64_t n, int most);
void hs_confusion_free(hs_confusion *c); // takes NULL; cleared behind it
static inline int64_t hs_confusion_at(const hs_confusion *c, int gold, int pred) { return c->count[gold * c->names.n + pred]; }

#endif

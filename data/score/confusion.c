// confusion: counts of pairs, for the classes that are seen most.
#include "data/score/confusion.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct seen {
    int64_t n;
    int class;
} seen;

static int most_first(const void *a, const void *b)
{
    const seen *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : (x->class > y->class) - (x->class < y->class);
}

// row[class]: where it stands, in the order of the classes; -1: among the others. Returns how many stand.
static int choose(seen *s, int classes, int most, int *row)
{
    int kept = 0;
    if (classes > most) {
        qsort(s, (size_t)classes, sizeof *s, most_first);
        for (int i = 0; i < classes; i++)
            row[s[i].class] = i < most - 1 ? 0 : -1;
    }
    for (int i = 0; i < classes; i++)
        if (row[i] == 0)
            row[i] = kept++;
    return kept;
}

static hs_status fill(hs_confusion *out, const hs_labels *classes, const int *row, int kept)
{
    char others[40];
    for (int i = 0; i < classes->n; i++)
        if (row[i] >= 0)
            HS_TRY(hs_labels_add(&out->names, classes->name[i], NULL));
    snprintf(others, sizeof others, "(%d others)", classes->n - kept);
    if (kept < classes->n)
        HS_TRY(hs_labels_add(&out->names, others, NULL));
    out->count = calloc((size_t)out->names.n * (size_t)out->names.n, sizeof *out->count);
    return out->count ? HS_OK : HS_FAIL(MEMORY, "no memory for a table of %d classes", out->names.n);
}

hs_status hs_confusion_make(hs_confusion *out, const hs_labels *classes, const int32_t *gold, const int32_t *pred, int64_t n, int most)
{
    *out = (hs_confusion){ 0 };
    seen *s = calloc((size_t)classes->n + 1, sizeof *s);
    int *row = calloc((size_t)classes->n + 1, sizeof *row);
    hs_status st = s && row ? HS_OK : HS_FAIL(MEMORY, "no memory for the counts of %d classes", classes->n);
    if (st == HS_OK) {
        for (int i = 0; i < classes->n; i++)
            s[i].class = i;
        for (int64_t i = 0; i < n; i++)
            if (gold[i] >= 0)
                s[gold[i]].n++, s[pred[i]].n++;
        st = fill(out, classes, row, choose(s, classes->n, most, row));
    }
    for (int64_t i = 0; i < n && st == HS_OK; i++)
        if (gold[i] >= 0) {
            const int last = out->names.n - 1, g = row[gold[i]], p = row[pred[i]];
            out->count[(g < 0 ? last : g) * out->names.n + (p < 0 ? last : p)]++;
        }
    free(s);
    free(row);
    if (st != HS_OK)
        hs_confusion_free(out);
    return st;
}

void hs_confusion_free(hs_confusion *c)
{
    if (!c)
        return;
    hs_labels_free(&c->names);
    free(c->count);
    *c = (hs_confusion){ 0 };
}

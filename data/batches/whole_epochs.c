// whole_epochs: samples of another source under other numbers.
#include "data/batches/whole_epochs.h"
#include <stdlib.h>

typedef struct whole_epochs {
    hs_source base;
    hs_source *of;
} whole_epochs;

static hs_status begin(hs_source *s)
{
    hs_source *of = ((whole_epochs *)s)->of;
    return of->begin ? of->begin(of) : HS_OK;
}

static hs_status fill(hs_source *s, hs_batch *b, uint64_t sample)
{
    hs_source *of = ((whole_epochs *)s)->of;
    const uint64_t epoch = sample / (uint64_t)s->n_samples, i = sample % (uint64_t)s->n_samples;
    return i < (uint64_t)of->n_samples ? of->fill(of, b, epoch * (uint64_t)of->n_samples + i) : HS_OK;
}

static void release(hs_source *s) { free(s); }

hs_status hs_whole_epochs_new(hs_source **out, hs_source *of, int64_t batch)
{
    *out = NULL;
    if (batch < 1)
        return HS_FAIL(USAGE, "epochs of micro-batches of %lld %s", (long long)batch, of->unit);
    whole_epochs *w = malloc(sizeof *w);
    if (!w)
        return HS_FAIL(MEMORY, "no memory for a source");
    *w = (whole_epochs){ .base = *of, .of = of };
    w->base.n_samples = (of->n_samples + batch - 1) / batch * batch;
    w->base.begin = begin, w->base.fill = fill, w->base.free = release;
    *out = &w->base;
    return HS_OK;
}

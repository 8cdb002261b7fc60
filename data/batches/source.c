#include "data/batches/source.h"
#include "data/batches/mixing.h"
#include <stdlib.h>
#include <string.h>

void hs_source_free(hs_source *s)
{
    if (s)
        s->free(s);
}

hs_status hs_source_batch(const hs_source *s, int64_t n_samples, hs_batch *out) { return hs_source_batch_in(s, n_samples, NULL, out); }

hs_status hs_source_batch_in(const hs_source *s, int64_t n_samples, const hs_batch_memory *memory, hs_batch *out)
{
    int64_t most[HS_N_COUNTERS];
    for (int c = 0; c < HS_N_COUNTERS; c++)
        most[c] = n_samples * s->most[c];
    return hs_batch_new_in(out, s->column, s->n_columns, most, memory);
}

hs_status hs_source_fill(hs_source *s, hs_batch *b, uint64_t first, int64_t n)
{
    hs_batch_clear(b, first);
    if (s->begin)
        HS_TRY(s->begin(s));
    for (; b->slot < n; b->slot++)
        HS_TRY(s->fill(s, b, first + (uint64_t)b->slot));
    hs_batch_pad(b);
    return HS_OK;
}

// ---- mixtures

typedef struct mixed {
    hs_source base;
    hs_mixture mixture;
    hs_source *source[HS_MIX_SOURCES];
    int n;
} mixed;

static hs_status mixed_begin(hs_source *s)
{
    mixed *m = (mixed *)s;
    for (int i = 0; i < m->n; i++)
        if (m->source[i]->begin)
            HS_TRY(m->source[i]->begin(m->source[i]));
    return HS_OK;
}

static hs_status mixed_fill(hs_source *s, hs_batch *b, uint64_t sample)
{
    mixed *m = (mixed *)s;
    uint64_t own;
    hs_source *one = m->source[hs_mixture_at(&m->mixture, sample, &own)];
    return one->fill(one, b, own);
}

static void mixed_free(hs_source *s)
{
    mixed *m = (mixed *)s;
    for (int i = 0; i < m->n; i++)
        hs_source_free(m->source[i]);
    hs_mixture_free(&m->mixture);
    free(m);
}

static hs_status check_same(const hs_source *a, const hs_source *b)
{
    if (a->column != b->column)
        return HS_FAIL(INTERNAL, "%s and %s make different columns and cannot be mixed", a->unit, b->unit);
    if (a->interleaved != b->interleaved)
        return HS_FAIL(INTERNAL, "%s and %s go to ranks in another order and cannot be mixed", a->unit, b->unit);
    return HS_OK;
}

hs_status hs_mixed_new(hs_source **out, hs_source *const *source, const double *weight, int n)
{
    *out = NULL;
    mixed *m = calloc(1, sizeof *m);
    for (int i = 0; i < n && (!m || i >= HS_MIX_SOURCES); i++)
        hs_source_free(source[i]);
    if (!m)
        return HS_FAIL(MEMORY, "no memory for a mixture of %d sources", n);
    m->n = n < HS_MIX_SOURCES ? n : HS_MIX_SOURCES;
    m->base = *source[0];
    m->base.begin = mixed_begin, m->base.fill = mixed_fill, m->base.free = mixed_free;
    memcpy(m->source, source, (size_t)m->n * sizeof *source);
    hs_status st = HS_OK;
    for (int i = 1; i < m->n; i++) {
        HS_TRY_GOTO(st, check_same(source[0], source[i]), failed);
        m->base.n_samples += source[i]->n_samples;
        for (int c = 0; c < HS_N_COUNTERS; c++)
            if (source[i]->most[c] > m->base.most[c])
                m->base.most[c] = source[i]->most[c];
    }
    HS_TRY_GOTO(st, hs_mixture_init(&m->mixture, weight, n), failed);
    *out = &m->base;
    return HS_OK;
failed:
    hs_source_free(&m->base);
    return st;
}

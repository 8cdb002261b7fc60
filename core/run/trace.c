// trace: a ring of records per member. Each has one writer and counts on its own, so that taking a trace adds no wait.
#include "core/run/trace.h"
#include "core/run/device.h"
#include <stdbool.h>
#include <stdlib.h>

typedef struct ring {
    hs_trace_record *record;
    _Alignas(64) int64_t n; // a line of its own: members write side by side
} ring;

struct hs_trace {
    int members;
    int64_t capacity;
    ring *ring;
    const hs_step_in *counts;
};

hs_status hs_trace_new(hs_trace **out, int members, int64_t capacity)
{
    *out = NULL;
    hs_trace *t = calloc(1, sizeof *t);
    ring *r = aligned_alloc(64, (size_t)members * sizeof *r);
    bool whole = t && r;
    for (int i = 0; r && i < members; i++) {
        r[i] = (ring){ .record = malloc((size_t)capacity * sizeof *r[i].record) };
        whole &= r[i].record != NULL;
    }
    if (t)
        *t = (hs_trace){ .members = members, .capacity = capacity, .ring = r };
    if (!whole) {
        t ? hs_trace_free(t) : free(r);
        return HS_FAIL(MEMORY, "no memory for a trace of %d members, %lld records each", members, (long long)capacity);
    }
    *out = t;
    return HS_OK;
}

void hs_trace_free(hs_trace *t)
{
    if (!t)
        return;
    for (int i = 0; t->ring && i < t->members; i++)
        free(t->ring[i].record);
    free(t->ring);
    free(t);
}

int hs_trace_members(const hs_trace *t) { return t->members; }
int64_t hs_trace_count(const hs_trace *t, int member) { return t->ring[member].n; }

const hs_trace_record *hs_trace_at(const hs_trace *t, int member, int64_t i)
{
    const ring *r = &t->ring[member];
    return i < r->n && i >= r->n - t->capacity && i >= 0 ? &r->record[i % t->capacity] : NULL;
}

void hs_trace_set_counts(hs_trace *t, const hs_step_in *counts) { t->counts = counts; }

double hs_trace_live(const hs_trace *t, const hs_thunk *thunk)
{
    const hs_args *a = &thunk->args;
    const hs_step_in *counts = t->counts ? t->counts : a->step;
    const hs_ref *const groups[] = { a->out, a->dout, a->in, a->din };
    const int n[] = { HS_MAX_OUT, HS_MAX_OUT, HS_MAX_IN, HS_MAX_IN };
    for (int g = 0; g < HS_COUNT(groups); g++)
        for (int i = 0; i < n[g]; i++) {
            const hs_ref *r = &groups[g][i];
            if (r->p && r->ext != HS_EXT_FIXED && r->rows > 0)
                return (double)hs_ext_rows(r->ext, counts->n, r->rows) / (double)r->rows;
        }
    return 1;
}

void hs_trace_add(hs_trace *t, int member, const hs_trace_record *r)
{
    ring *to = &t->ring[member];
    to->record[to->n++ % t->capacity] = *r;
}

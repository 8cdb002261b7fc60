// trace: a ring of records per member. Each has one writer and counts on its own, so that taking a trace adds no wait.
#include "core/run/trace.h"
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
        *t = (hs_trace){ members, capacity, r };
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

void hs_trace_add(hs_trace *t, int member, const hs_trace_record *r)
{
    ring *to = &t->ring[member];
    to->record[to->n++ % t->capacity] = *r;
}

// derived: the list of copies a set of parameters has, and their bytes.
#include "core/graph/derived.h"
#include "core/base/grow.h"
#include "core/graph/params_impl.h"
#include <stdlib.h>
#include <string.h>

static bool is_same(const hs_derived *a, const hs_derived *b)
{
    return a->dtype == b->dtype && a->make == b->make && a->bytes == b->bytes && a->attr_bytes == b->attr_bytes &&
           (!a->attr_bytes || !memcmp(a->attr, b->attr, a->attr_bytes));
}

// With its attributes behind it.
static hs_derived *copy_of(const hs_derived *want)
{
    hs_derived *d = calloc(1, sizeof *d + want->attr_bytes);
    if (!d)
        return NULL;
    *d = *want;
    d->attr = want->attr_bytes ? memcpy(d + 1, want->attr, want->attr_bytes) : NULL;
    return d;
}

hs_status hs_derived_get(hs_params *ps, const hs_derived *want, hs_derived **out)
{
    hs_derived *d = want->param->derived;
    while (d && !is_same(d, want))
        d = d->next;
    if (!d) {
        if (hs_grow(&ps->derived, ps->n_derived, &ps->cap_derived, sizeof *ps->derived))
            d = copy_of(want);
        if (!d)
            return HS_FAIL(MEMORY, "no memory for a copy of %s", want->param->name);
        d->p = d->k = NULL;
        d->next = want->param->derived, want->param->derived = d;
        d->id = ps->n_derived;
        ps->derived[ps->n_derived++] = d;
    }
    *out = d;
    return HS_OK;
}

static size_t in_block(const hs_derived *d) { return (d->bytes + 63) / 64 * 64; }

// In one piece: a large one has huge pages nearly everywhere, and products read all of it one after the other.
hs_status hs_derived_alloc(hs_params *ps)
{
    size_t bytes = 0;
    int n = 0;
    for (int i = 0; i < ps->n_derived; i++)
        if (!ps->derived[i]->p)
            bytes += in_block(ps->derived[i]), n++;
    void *p, *k;
    if (!n)
        return HS_OK;
    if (hs_params_take(ps, bytes, &p, &k) != HS_OK)
        return HS_FAIL(MEMORY, "no memory for copies of %d parameters: %zu bytes", n, bytes);
    for (size_t i = 0, at = 0; i < (size_t)ps->n_derived; i++) {
        hs_derived *d = ps->derived[i];
        if (d->p)
            continue;
        d->p = (char *)p + at, d->k = (char *)k + at;
        d->block = at ? 0 : bytes;
        at += in_block(d);
    }
    return HS_OK;
}

size_t hs_derived_bytes(const hs_params *ps)
{
    size_t bytes = 0;
    for (int i = 0; i < ps->n_derived; i++)
        bytes += ps->derived[i]->bytes;
    return bytes;
}

void hs_derived_free(const hs_params *ps, hs_derived *d)
{
    if (d->block)
        hs_params_give_back(ps, d->p, d->block);
    free(d);
}

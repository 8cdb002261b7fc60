// derived: the list of copies a set of parameters has, and their bytes.
#include "core/graph/derived.h"
#include "core/base/grow.h"
#include "core/graph/params_impl.h"
#include <stdlib.h>

hs_status hs_derived_get(hs_params *ps, const hs_derived *want, hs_derived **out)
{
    hs_derived *d = want->param->derived;
    while (d && (d->dtype != want->dtype || d->make != want->make || d->bytes != want->bytes))
        d = d->next;
    if (!d) {
        if (hs_grow(&ps->derived, ps->n_derived, &ps->cap_derived, sizeof *ps->derived))
            d = calloc(1, sizeof *d);
        if (!d)
            return HS_FAIL(MEMORY, "no memory for a copy of %s", want->param->name);
        *d = *want;
        d->p = d->k = NULL;
        d->next = want->param->derived, want->param->derived = d;
        d->id = ps->n_derived;
        ps->derived[ps->n_derived++] = d;
    }
    *out = d;
    return HS_OK;
}

hs_status hs_derived_alloc(hs_params *ps)
{
    for (int i = 0; i < ps->n_derived; i++) {
        hs_derived *d = ps->derived[i];
        void *p, *k;
        if (d->p)
            continue;
        if (hs_params_take(ps, d->bytes, &p, &k) != HS_OK)
            return HS_FAIL(MEMORY, "no memory for a copy of %s: %zu bytes", d->param->name, d->bytes);
        d->p = p, d->k = k;
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
    hs_params_give_back(ps, d->p, d->bytes);
    free(d);
}

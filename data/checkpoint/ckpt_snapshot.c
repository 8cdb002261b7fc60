// ckpt_snapshot: what a save copies of each slab, and which of many ranks writes what. A tensor that is divided over tp is written by all
// its ranks, a whole one by the first; of dp ranks that have the same the first writes, and of those that have a part each, each its own.
// No rank copies what it does not write.
#include "core/graph/divide.h"
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/peft.h"
#include <stdlib.h>
#include <string.h>

static size_t round_up(size_t n) { return (n + 63) / 64 * 64; }

// Of an adapter's run the values that belong to its base are not written.
static bool keeps(const hs_params *ps, const hs_slab *s, const hs_param *p, bool adapter)
{
    return s == ps->master ? !adapter || hs_peft_keeps(p) : hs_slab_keeps(s, p);
}

// divided: of dp ranks each has its part of p alone.
static bool is_ours(const hs_params *ps, const hs_slab *s, const hs_param *p, const hs_grid *grid, bool divided)
{
    const bool whole = p->shard == HS_SHARD_NONE || s->spec.per_tensor; // on every tp rank
    return (!whole || ps->tp_rank == 0) && (divided || grid == NULL || grid->dp->rank == 0);
}

// Which elements are here. Of values that are not f32 as they lie a snapshot has f32 all the same.
static void range_of(const hs_params *ps, const hs_slab *s, const hs_param *p, size_t *first, size_t *n)
{
    if (s == ps->master)
        hs_params_value_range(ps, p, first, n);
    else
        hs_slab_range(s, p, first, n);
}

static bool lies_as_saved(const hs_params *ps, const hs_slab *s, const hs_param *p)
{
    return s != ps->master || hs_param_masters(ps, p) == HS_MASTERS_F32;
}

// Of dp ranks each has its part alone.
static bool divides(const hs_params *ps, const hs_slab *s, const hs_param *p)
{
    return hs_slab_divides(ps, s, p) && (s != ps->master || hs_param_masters(ps, p) != HS_MASTERS_NONE);
}

static size_t bytes_of(const hs_params *ps, const hs_slab *s, bool adapter, const hs_grid *grid)
{
    size_t some = 0, first, n;
    bool all = true;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const bool kept = keeps(ps, s, p, adapter) && is_ours(ps, s, p, grid, divides(ps, s, p));
        range_of(ps, s, p, &first, &n);
        some += kept ? round_up(n * hs_dtype_bytes(s->spec.dtype)) : 0;
        all = all && lies_as_saved(ps, s, p) && (kept || !hs_slab_has(s, p));
    }
    return all ? s->bytes : some;
}

size_t hs_ckpt_bytes_on(const hs_params *ps, const hs_grid *grid)
{
    const bool adapter = hs_params_adapter(ps) != NULL;
    size_t n = bytes_of(ps, ps->master, adapter, grid);
    for (int i = 0; i < ps->n_slabs; i++)
        n += ps->slab[i]->spec.saved ? bytes_of(ps, ps->slab[i], adapter, grid) : 0;
    return n;
}

size_t hs_ckpt_bytes(const hs_params *ps) { return hs_ckpt_bytes_on(ps, NULL); }

// ---- who has what
static size_t full(const hs_slab *s, const hs_param *p) { return s->spec.per_tensor ? (size_t)p->parts : p->n; }

static hs_status count_all(hs_snapshots *all, const hs_params *ps, const hs_ckpt_opts *o)
{
    const size_t each = (size_t)(all->n * ps->n_params);
    double *mine = all->have + (size_t)ps->tp_rank * each;
    for (int s = 0; s < all->n; s++)
        for (int i = 0; i < ps->n_params; i++) {
            size_t first, n;
            range_of(ps, all->s[s].slab, ps->param[i], &first, &n);
            mine[s * ps->n_params + i] = (double)n;
        }
    if (o->world == NULL || o->world->size == 1)
        return HS_OK;
    o->world->about = "the elements that each rank saves";
    o->world->all_reduce(o->world, NULL, all->have, (int64_t)each * ps->tp_size, HS_F64, HS_REDUCE_SUM);
    return o->world->poll(o->world);
}

static hs_status settle_one(hs_snapshot *s, const hs_params *ps, const hs_param *p, const hs_ckpt_opts *o, double together, bool adapter)
{
    const int dp = o->grid != NULL ? o->grid->dp->size : 1;
    const size_t all = full(s->slab, p);
    size_t first, n;
    range_of(ps, s->slab, p, &first, &n);
    s->stored[p->id] = (hs_st_stored){ 0 };
    if (!keeps(ps, s->slab, p, adapter))
        return HS_OK;
    const bool whole = n == all && together == (double)all * dp, divided = together == (double)all;
    if (!whole && !divided)
        return HS_FAIL(INTERNAL, "%s of %s: %.0f of %zu elements are on the %d data-parallel ranks", s->slab->spec.name, p->name, together,
                       all, dp);
    if (is_ours(ps, s->slab, p, o->grid, !whole))
        s->stored[p->id] = (hs_st_stored){ .first = first, .n = n };
    return HS_OK;
}

static hs_status settle(hs_snapshots *all, const hs_params *ps, const hs_ckpt_opts *o)
{
    const bool adapter = hs_params_adapter(ps) != NULL && o->files != NULL;
    const double *mine = all->have + (size_t)(ps->tp_rank * all->n * ps->n_params);
    for (int s = 0; s < all->n; s++)
        for (int i = 0; i < ps->n_params; i++)
            HS_TRY(settle_one(&all->s[s], ps, ps->param[i], o, mine[s * ps->n_params + i], adapter));
    return HS_OK;
}

// ---- room
// Pages are taken now: a save never runs out of memory.
static hs_status take_room(hs_snapshot *s, const hs_params *ps)
{
    void *copy;
    s->whole = true;
    for (int i = 0; i < ps->n_params; i++) {
        s->bytes += round_up(s->stored[i].n * hs_dtype_bytes(s->slab->spec.dtype));
        s->whole = s->whole && lies_as_saved(ps, s->slab, ps->param[i]) && (s->stored[i].n > 0 || !hs_slab_has(s->slab, ps->param[i]));
    }
    s->bytes = s->whole ? s->slab->bytes : s->bytes;
    if (hs_params_alloc_host(ps, s->bytes, &copy) != HS_OK)
        return HS_FAIL(MEMORY, "no memory for a snapshot of slab %s: %zu bytes", s->slab->spec.name, s->bytes);
    s->copy = memset(copy, 0, s->bytes);
    size_t at = 0;
    for (int i = 0; i < ps->n_params; i++)
        if (s->stored[i].n > 0) {
            s->stored[i].at = s->copy + (s->whole ? s->slab->place[i].offset : at);
            at += round_up(s->stored[i].n * hs_dtype_bytes(s->slab->spec.dtype));
        }
    return HS_OK;
}

static hs_status add(hs_snapshots *all, const hs_slab *slab, const hs_params *ps)
{
    hs_snapshot *s = &all->s[all->n++];
    if (!hs_dtype_is_float(slab->spec.dtype) || slab->spec.bytes != NULL)
        return HS_FAIL(UNSUPPORTED, "slab %s: checkpoints hold tensors of floats only", slab->spec.name);
    *s = (hs_snapshot){ .slab = slab, .stored = calloc((size_t)ps->n_params + 1, sizeof *s->stored) };
    return s->stored != NULL ? HS_OK : HS_FAIL(MEMORY, "no memory for a list of %d parameters", ps->n_params);
}

hs_status hs_snapshots_list(hs_snapshots *all, const hs_params *ps)
{
    *all = (hs_snapshots){ 0 };
    if (ps->master->adopted)
        return HS_FAIL(INTERNAL, "values that are adopted are not snapshots' to copy: hs_ckpt_export writes them");
    all->s = calloc((size_t)ps->n_slabs, sizeof *all->s);
    if (all->s == NULL)
        return HS_FAIL(MEMORY, "no memory for a list of %d slabs", ps->n_slabs);
    HS_TRY(add(all, ps->master, ps));
    for (int i = 0; i < ps->n_slabs; i++)
        if (ps->slab[i]->spec.saved)
            HS_TRY(add(all, ps->slab[i], ps));
    if (all->n == 1)
        return HS_FAIL(INTERNAL, "parameters without an optimizer's slabs cannot be resumed from: hs_ckpt_export writes them");
    all->have = calloc((size_t)(all->n * ps->n_params * ps->tp_size) + 1, sizeof *all->have);
    return all->have != NULL ? HS_OK : HS_FAIL(MEMORY, "no memory to count the elements of %d parameters", ps->n_params);
}

hs_status hs_snapshots_make(hs_snapshots *all, const hs_params *ps, const hs_ckpt_opts *o)
{
    HS_TRY(count_all(all, ps, o));
    HS_TRY(settle(all, ps, o));
    for (int i = 0; i < all->n; i++)
        HS_TRY(take_room(&all->s[i], ps));
    return HS_OK;
}

static void take_one(const hs_params *ps, const hs_slab *slab, const hs_param *p, const hs_st_stored *to)
{
    void *at = (void *)(uintptr_t)to->at;
    if (lies_as_saved(ps, slab, p))
        hs_params_read(ps, slab, p, at);
    else
        hs_params_fetch(ps, p, to->first, at, to->n);
}

void hs_snapshots_take(const hs_snapshots *all, const hs_params *ps)
{
    for (int k = 0; k < all->n; k++) {
        const hs_snapshot *s = &all->s[k];
        const hs_slab *slab = hs_params_slab(ps, s->slab->spec.name);
        if (s->whole && s->bytes > 0)
            hs_params_read_slab(ps, slab, s->copy);
        for (int i = 0; i < ps->n_params && !s->whole; i++)
            if (s->stored[i].n > 0)
                take_one(ps, slab, ps->param[i], &s->stored[i]);
    }
}

void hs_snapshots_free(hs_snapshots *all, const hs_params *ps)
{
    for (int i = 0; i < all->n; i++) {
        hs_params_free_host(ps, all->s[i].copy);
        free(all->s[i].stored);
    }
    free(all->s);
    free(all->have);
    *all = (hs_snapshots){ 0 };
}

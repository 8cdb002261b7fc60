// divide: groups of parameters, shares of their elements, and runs of a slab that lie in the order of shares.
#include "core/graph/divide.h"
#include "core/base/grow.h"
#include "core/graph/params_impl.h"
#include "core/run/device.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_params_divide(hs_params *ps, hs_divide what, int rank, int size, size_t bucket_bytes)
{
    if (what == HS_DIVIDE_NONE || size < 2)
        return HS_OK;
    if (ps->n_params || ps->shares || rank < 0 || rank >= size)
        return HS_FAIL(INTERNAL, "rank %d of %d divides %d parameters", rank, size, ps->n_params);
    ps->shares = calloc(1, sizeof *ps->shares);
    if (!ps->shares)
        return HS_FAIL(MEMORY, "no memory for the shares of %d ranks", size);
    *ps->shares = (hs_shares){ .what = what, .rank = rank, .size = size, .bucket_bytes = bucket_bytes ? bucket_bytes : HS_BUCKET_BYTES };
    return HS_OK;
}

void hs_shares_free(hs_shares *s)
{
    if (!s)
        return;
    free(s->group);
    free(s->cut);
    free(s);
}

hs_status hs_params_read_f32(hs_params *ps, const hs_param *p)
{
    if (!ps->low)
        return HS_OK;
    if (ps->allocated && hs_slab_divides(ps, ps->master, p))
        return HS_FAIL(INTERNAL, "%s is read in f32 by a plan that came behind the layout, where each rank has a share of it", p->name);
    if (ps->allocated && hs_param_masters(ps, p) != HS_MASTERS_F32)
        return HS_FAIL(INTERNAL, "%s is read in f32 by a plan that came behind the layout, which has no f32 of it", p->name);
    while (ps->cap_f32 <= p->id) {
        const int known = ps->cap_f32;
        if (!hs_grow(&ps->f32, known, &ps->cap_f32, sizeof *ps->f32))
            return HS_FAIL(MEMORY, "no memory for %d marks", p->id + 1);
        memset(ps->f32 + known, 0, (size_t)(ps->cap_f32 - known) * sizeof *ps->f32);
    }
    ps->f32[p->id] = true;
    return HS_OK;
}

// ---- shares

static void set_groups(hs_params *ps)
{
    hs_shares *s = ps->shares;
    size_t bytes = s->bucket_bytes;
    s->n_groups = 0;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        if (!p->frozen && bytes >= s->bucket_bytes)
            bytes = 0, s->n_groups++;
        s->group[i] = p->frozen ? -1 : s->n_groups - 1;
        bytes += p->frozen ? 0 : p->n * sizeof(float);
    }
}

// A chunk is of the rank in whose part of the group it begins.
static size_t cut_param(const hs_shares *s, const hs_param *p, size_t before, size_t all)
{
    int64_t *cut = s->cut + (size_t)p->id * (size_t)(s->size + 1);
    const size_t part = p->n / (size_t)p->parts;
    int r = 1;
    cut[0] = 0;
    for (size_t first = 0; first < p->n; first += part)
        for (size_t at = 0; at < part; at += HS_CHUNK)
            for (const size_t owner = (before + first + at) * (size_t)s->size / all; r <= (int)owner; r++)
                cut[r] = (int64_t)(first + at);
    while (r <= s->size)
        cut[r++] = (int64_t)p->n;
    return before + p->n;
}

static void cut_group(const hs_params *ps, int first, int end)
{
    const hs_shares *s = ps->shares;
    const int group = s->group[first];
    size_t all = 0, before = 0;
    for (int i = first; i < end; i++)
        all += s->group[i] == group ? ps->param[i]->n : 0;
    for (int i = first; i < end; i++)
        if (s->group[i] == group)
            before = cut_param(s, ps->param[i], before, all);
}

static void set_cuts(hs_params *ps)
{
    const hs_shares *s = ps->shares;
    memset(s->cut, 0, (size_t)ps->n_params * (size_t)(s->size + 1) * sizeof *s->cut);
    for (int i = 0, end; i < ps->n_params; i = end) {
        end = i + 1;
        while (s->group[i] >= 0 && end < ps->n_params && (s->group[end] < 0 || s->group[end] == s->group[i]))
            end++;
        if (s->group[i] >= 0)
            cut_group(ps, i, end);
    }
}

static hs_status settle_shares(hs_params *ps, hs_shares *s)
{
    int *group = realloc(s->group, (size_t)ps->n_params * sizeof *group);
    s->group = group ? group : s->group;
    int64_t *cut = realloc(s->cut, (size_t)ps->n_params * (size_t)(s->size + 1) * sizeof *cut);
    s->cut = cut ? cut : s->cut;
    if (!group || !cut)
        return HS_FAIL(MEMORY, "no memory for the shares of %d ranks in %d parameters", s->size, ps->n_params);
    set_groups(ps);
    set_cuts(ps);
    s->n_params = ps->n_params;
    return HS_OK;
}

hs_status hs_params_settle(hs_params *ps)
{
    if (ps->allocated || !ps->n_params || (!ps->shares && ps->masters == HS_MASTERS_F32))
        return HS_OK;
    if (ps->shares)
        HS_TRY(settle_shares(ps, ps->shares));
    ps->n_settled = ps->n_params;
    hs_slabs_lay_out(ps);
    return HS_OK;
}

bool hs_slab_divides(const hs_params *ps, const hs_slab *slab, const hs_param *p)
{
    const hs_shares *s = ps->shares;
    if (!s || p->frozen || p->id >= s->n_params)
        return false;
    return slab == ps->master ? ps->low && !hs_params_reads_f32(ps, p) : slab->spec.divides;
}

void hs_param_share(const hs_params *ps, const hs_param *p, int r, size_t *first, size_t *n)
{
    const hs_shares *s = ps->shares;
    *first = 0, *n = p->n;
    if (!s || p->frozen || p->id >= s->n_params)
        return;
    const int64_t *cut = s->cut + (size_t)p->id * (size_t)(s->size + 1);
    *first = (size_t)cut[r], *n = (size_t)(cut[r + 1] - cut[r]);
}

int hs_chunk_rank(const hs_params *ps, const hs_chunk *c)
{
    const hs_shares *s = ps->shares;
    int r = 0;
    while (s && (int64_t)c->first >= s->cut[(size_t)c->param * (size_t)(s->size + 1) + (size_t)r + 1])
        r++;
    return r;
}

// ---- runs

static bool whole_in(const hs_params *ps, const hs_slab *s, int i)
{
    return !ps->param[i]->frozen && hs_slab_has(s, ps->param[i]) && !hs_slab_divides(ps, s, ps->param[i]);
}

static size_t element(const hs_slab *s, int i) { return s->place[i].offset / hs_dtype_bytes(s->spec.dtype); }

static size_t end_of(const hs_slab *s, const hs_param *p)
{
    size_t first, n;
    hs_slab_range(s, p, &first, &n);
    return element(s, p->id) + n;
}

bool hs_slab_run_next(const hs_params *ps, const hs_slab *s, int from, hs_run_takes *takes, const void *user, hs_share_run *out)
{
    while (from < ps->n_params && !takes(user, from))
        from++;
    if (from == ps->n_params)
        return false;
    const int group = hs_param_group(ps, ps->param[from]);
    size_t end = end_of(s, ps->param[from]);
    *out = (hs_share_run){ .first = from, .last = from, .at = element(s, from) };
    for (int i = from + 1; i < ps->n_params; i++) {
        if (!takes(user, i))
            continue;
        if (hs_param_group(ps, ps->param[i]) != group || element(s, i) < end || element(s, i) - end >= HS_SLAB_ALIGN)
            break;
        out->last = i, end = end_of(s, ps->param[i]);
    }
    out->n = (int64_t)(end - out->at);
    return true;
}

typedef struct whole {
    const hs_params *ps;
    const hs_slab *s;
} whole;
static bool takes_whole(const void *user, int i) { return whole_in(((const whole *)user)->ps, ((const whole *)user)->s, i); }

bool hs_share_run_next(const hs_params *ps, const hs_slab *s, int from, hs_share_run *out)
{
    return hs_slab_run_next(ps, s, from, takes_whole, &(whole){ ps, s }, out);
}

void hs_share_parts(const hs_params *ps, const hs_slab *s, const hs_share_run *run, int64_t *parts)
{
    const hs_shares *shares = ps->shares;
    const int group = hs_param_group(ps, ps->param[run->first]);
    int64_t before = 0;
    for (int r = 0; r < shares->size; r++) {
        int64_t next = run->n, at = 0; // where the shares of those behind r begin; from the front of the run
        for (int i = run->first; i <= run->last && r + 1 < shares->size; i++) {
            const int64_t cut = shares->cut[(size_t)i * (size_t)(shares->size + 1) + (size_t)r + 1], n = (int64_t)ps->param[i]->n;
            if (hs_param_group(ps, ps->param[i]) != group || (s && !whole_in(ps, s, i)))
                continue;
            if (cut < n) {
                next = at + cut;
                break;
            }
            at += (n + HS_SLAB_ALIGN - 1) / HS_SLAB_ALIGN * HS_SLAB_ALIGN;
        }
        parts[r] = next - before, before = next;
    }
}

static int moves(const hs_params *ps, int group, size_t *bytes)
{
    const hs_slab *const slab[] = { ps->low, ps->master };
    int n = 0;
    for (int k = 0; k < HS_COUNT(slab); k++) {
        hs_share_run run = { .last = -1 };
        while (slab[k] && hs_share_run_next(ps, slab[k], run.last + 1, &run))
            if (hs_param_group(ps, ps->param[run.first]) < group)
                n++, *bytes += (size_t)run.n * hs_dtype_bytes(slab[k]->spec.dtype);
    }
    return n;
}

int hs_share_moves(const hs_params *ps, int group)
{
    size_t bytes = 0;
    return moves(ps, group, &bytes);
}

size_t hs_share_move_bytes(const hs_params *ps)
{
    size_t bytes = 0;
    if (ps->shares)
        moves(ps, ps->shares->n_groups, &bytes);
    return bytes;
}

void hs_params_land(const hs_params *ps)
{
    hs_shares *s = ps->shares;
    if (!s || !s->moving)
        return;
    hs_comm *comm = s->moving;
    s->moving = NULL;
    if (!ps->device) {
        hs_comm_finish(comm, NULL);
        return;
    }
    hs_thunk t = { .fn = ps->device->core->finish, .args = { .comm = comm }, .name = "values finish", .sync = true, .part = HS_PART_SOLO };
    ps->device->submit(ps->device, NULL, &(hs_segment){ &t, 1 }, HS_SUBMIT_BULK);
    ps->device->wait(ps->device, NULL); // an error stays, and comes with the run's next wait
}

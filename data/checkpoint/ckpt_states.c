// train/states.safetensors: what lives across steps beside parameters and their slabs (hs_state), by name, as the run has it. Of several
// ranks those that all have alike (hs_state.largest), as the first has them; of one that is a rank's own nothing says whose would be the one.
#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/weights.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_state_copies_new(hs_state_copies *c, const hs_ckpt_states *from)
{
    *c = (hs_state_copies){ .from = *from };
    const hs_states *all = from->all;
    size_t bytes = 0;
    if (all == NULL)
        return HS_OK;
    HS_TRY(hs_st_sources_alloc(&c->sources, all->n));
    for (int i = 0; i < all->n; i++)
        bytes += all->state[i]->saved ? (all->state[i]->bytes + 63) / 64 * 64 : 0;
    c->copy = calloc(bytes + 1, 1);
    c->id = calloc((size_t)all->n + 1, sizeof *c->id);
    if (c->copy == NULL || c->id == NULL)
        return HS_FAIL(MEMORY, "no memory for a snapshot of states: %zu bytes", bytes);
    char *at = c->copy;
    for (int i = 0; i < all->n; i++) {
        const hs_state *s = all->state[i];
        if (!s->saved)
            continue;
        c->own = s->largest || c->own != NULL ? c->own : s->name;
        c->id[c->sources.n] = s->id;
        hs_st_tensor *t = &c->sources.s[c->sources.n++].t;
        *t = (hs_st_tensor){ .name = s->name, .dtype = s->dtype, .n_dims = s->n_dims, .data = at };
        memcpy(t->dim, s->dim, sizeof t->dim);
        at += (s->bytes + 63) / 64 * 64;
    }
    return HS_OK;
}

hs_status hs_state_copies_take(const hs_state_copies *c)
{
    for (int i = 0; i < c->sources.n; i++)
        HS_TRY(c->from.read(c->from.run, c->id[i], (char *)(uintptr_t)c->sources.s[i].t.data));
    return HS_OK;
}

void hs_state_copies_free(hs_state_copies *c)
{
    hs_st_sources_free(&c->sources);
    free(c->copy);
    free(c->id);
    *c = (hs_state_copies){ 0 };
}

static bool same_shape(const hs_state *s, const hs_st_entry *e)
{
    return e->dtype == s->dtype && e->n_dims == s->n_dims && memcmp(e->dim, s->dim, (size_t)s->n_dims * sizeof *s->dim) == 0;
}

hs_status hs_ckpt_load_states(const char *model_dir, const hs_ckpt_states *to)
{
    char path[HS_PATH];
    bool found;
    hs_safetensors *f = NULL;
    int missing = 0;
    hs_status st = HS_OK;
    HS_TRY(hs_path_join(path, "%s/train/states.safetensors", model_dir));
    HS_TRY(hs_find_file(path, &found));
    if (found)
        HS_TRY(hs_safetensors_open(&f, path));
    for (int i = 0; to->all != NULL && i < to->all->n && st == HS_OK; i++) {
        const hs_state *s = to->all->state[i];
        const hs_st_entry *e = s->saved && f != NULL ? hs_safetensors_find(f, s->name) : NULL;
        missing += s->saved && (e == NULL || !same_shape(s, e));
        if (e != NULL && same_shape(s, e))
            st = to->write(to->run, s->id, e->data);
    }
    hs_safetensors_close(f);
    if (missing > 0 && st == HS_OK)
        hs_info("%s: has nothing for %d of this run's states, which begin anew", model_dir, missing);
    return st;
}

// params: the list of parameters, what of each is stored where, and the chunks that optimizers walk.
#include "core/graph/params.h"
#include "core/base/grow.h"
#include "core/base/rng.h"
#include "core/graph/derived.h"
#include "core/graph/divide.h"
#include "core/graph/params_impl.h"
#include "core/run/device.h"
#include <stdlib.h>
#include <string.h>

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// ---- shapes

static hs_status check_spec(const hs_params *ps, const hs_param_spec *s)
{
    const int parts = s->parts ? s->parts : 1;
    if (s->n_dims < 1 || s->n_dims > HS_MAX_DIMS)
        return HS_FAIL(INTERNAL, "parameter %s has %d dimensions, allowed 1 to %d", s->name, s->n_dims, HS_MAX_DIMS);
    for (int i = 0; i < s->n_dims; i++)
        if (s->dim[i] < 1)
            return HS_FAIL(USAGE, "parameter %s: dimension %d is %lld, must be at least 1", s->name, i, (long long)s->dim[i]);
    if (parts < 1 || s->dim[0] % parts)
        return HS_FAIL(USAGE, "parameter %s: %lld rows do not divide into %d parts", s->name, (long long)s->dim[0], parts);
    if (s->shard == HS_SHARD_COL && !s->pad_rows && s->dim[0] / parts % ps->tp_size)
        return HS_FAIL(USAGE, "parameter %s: %lld rows do not divide over %d tensor-parallel ranks", s->name,
                       (long long)(s->dim[0] / parts), ps->tp_size);
    if (s->shard == HS_SHARD_ROW && s->n_dims != 2)
        return HS_FAIL(INTERNAL, "parameter %s: a row shard needs [out, in], this has %d dimensions", s->name, s->n_dims);
    if (s->shard == HS_SHARD_ROW && s->dim[1] % ps->tp_size)
        return HS_FAIL(USAGE, "parameter %s: %lld columns do not divide over %d tensor-parallel ranks", s->name, (long long)s->dim[1],
                       ps->tp_size);
    return HS_OK;
}

static void stored_shape(const hs_params *ps, const hs_param_spec *s, int64_t *dim)
{
    const int parts = s->parts ? s->parts : 1, over = s->shard == HS_SHARD_COL ? ps->tp_size : 1;
    memcpy(dim, s->dim, sizeof s->dim);
    const int64_t rows = s->dim[0] / parts, padded = s->pad_rows ? round_up(rows, (int64_t)s->pad_rows * over) : rows;
    dim[0] = parts * (padded / over);
    if (s->shard == HS_SHARD_ROW)
        dim[1] /= ps->tp_size;
}

// ---- the list

hs_status hs_params_new(hs_params **out, uint64_t seed, int tp_rank, int tp_size)
{
    *out = NULL;
    if (tp_size < 1 || tp_rank < 0 || tp_rank >= tp_size)
        return HS_FAIL(INTERNAL, "tensor-parallel rank %d of %d", tp_rank, tp_size);
    hs_params *ps = calloc(1, sizeof *ps);
    if (!ps)
        return HS_FAIL(MEMORY, "no memory for a list of parameters");
    ps->seed = seed;
    ps->tp_rank = tp_rank;
    ps->tp_size = tp_size;
    const hs_status st = hs_params_declare(ps, &(hs_slab_spec){ .name = "master", .dtype = HS_F32 });
    if (st != HS_OK) {
        hs_params_free(ps);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = ps;
    return HS_OK;
}

hs_param *hs_params_find(const hs_params *ps, const char *name)
{
    const int known = hs_map_get(ps->by_name, hs_hash_string(name)); // id + 1; 0: no name has this hash
    if (!known || !strcmp(ps->param[known - 1]->name, name))
        return known ? ps->param[known - 1] : NULL;
    for (int i = 0; i < ps->n_params; i++)
        if (!strcmp(ps->param[i]->name, name))
            return ps->param[i];
    return NULL;
}

static hs_status check_agrees(const hs_params *ps, const hs_param *p, const hs_param_spec *s)
{
    int64_t dim[HS_MAX_DIMS];
    stored_shape(ps, s, dim);
    const bool same = p->n_dims == s->n_dims && p->shard == s->shard && p->parts == (s->parts ? s->parts : 1) &&
                      !memcmp(p->logical, s->dim, (size_t)p->n_dims * sizeof *dim) && !memcmp(p->dim, dim, (size_t)p->n_dims * sizeof *dim);
    if (same && p->frozen != hs_params_freezes(ps, s))
        return HS_FAIL(USAGE, "parameter %s was made %s and is now asked for the other way", s->name,
                       p->frozen ? "frozen" : "to be trained");
    if (same)
        return HS_OK;
    char had[64], has[64];
    hs_tensor t = { .n_dims = (uint8_t)p->n_dims };
    memcpy(t.dim, p->logical, sizeof t.dim);
    hs_tensor_shape(&t, had, sizeof had);
    t.n_dims = (uint8_t)s->n_dims;
    memcpy(t.dim, s->dim, sizeof t.dim);
    return HS_FAIL(USAGE, "parameter %s was made as %s and is now asked for as %s (or with another shard, part count or padding)", s->name,
                   had, hs_tensor_shape(&t, has, sizeof has));
}

static hs_status append(hs_params *ps, hs_param *p)
{
    int *known = hs_map_at(&ps->by_name, hs_hash_string(p->name));
    if (!known || !hs_grow(&ps->param, ps->n_params, &ps->capacity, sizeof *ps->param))
        return HS_FAIL(MEMORY, "no memory for %d parameters", ps->n_params + 1);
    p->id = ps->n_params;
    HS_TRY(hs_slabs_add_param(ps, p));
    ps->param[ps->n_params++] = p;
    *known = *known ? *known : ps->n_params; // two names of one hash: the first is found here, the other by looking
    return HS_OK;
}

hs_status hs_params_get(hs_params *ps, const hs_param_spec *spec, hs_param **out)
{
    *out = NULL;
    HS_TRY(check_spec(ps, spec));
    hs_param *p = hs_params_find(ps, spec->name);
    if (p) {
        HS_TRY(check_agrees(ps, p, spec));
        *out = p;
        return HS_OK;
    }
    if (ps->allocated)
        return HS_FAIL(USAGE, "parameter %s is new, but the model's %d parameters are already laid out", spec->name, ps->n_params);
    p = calloc(1, sizeof *p);
    char *name = strdup(spec->name);
    if (!p || !name) {
        free(p);
        free(name);
        return HS_FAIL(MEMORY, "no memory for parameter %s", spec->name);
    }
    *p = (hs_param){ .name = name,
                     .role = spec->role,
                     .shard = spec->shard,
                     .init = spec->init,
                     .std = spec->std,
                     .parts = spec->parts ? spec->parts : 1,
                     .n_dims = spec->n_dims,
                     .pair_parts = spec->pair_parts,
                     .pair_mask = spec->pair_mask,
                     .coding = hs_params_coding(ps, spec),
                     .frozen = hs_params_freezes(ps, spec),
                     .keeps_zeros = hs_params_keeps(ps, spec) };
    memcpy(p->logical, spec->dim, (size_t)spec->n_dims * sizeof *spec->dim);
    stored_shape(ps, spec, p->dim);
    p->n = (size_t)(p->dim[0] * hs_columns(p->dim, p->n_dims));
    const hs_status st = append(ps, p);
    if (st != HS_OK) {
        free(name);
        free(p);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = p;
    return HS_OK;
}

size_t hs_params_count(const hs_params *ps)
{
    size_t n = 0;
    for (int i = 0; i < ps->n_params; i++)
        n += (size_t)hs_param_elements(ps->param[i]);
    return n;
}

void hs_params_free(hs_params *ps)
{
    if (!ps)
        return;
    hs_slabs_free(ps);
    for (int i = 0; i < ps->n_params; i++) {
        free(ps->param[i]->name);
        free(ps->param[i]);
    }
    for (int i = 0; i < ps->n_derived; i++)
        hs_derived_free(ps, ps->derived[i]);
    free(ps->derived);
    free(ps->param);
    free(ps->freeze);
    free(ps->keep);
    free(ps->f32);
    hs_adapter_free(ps->adapter);
    hs_shares_free(ps->shares);
    hs_map_free(ps->by_name);
    free(ps->chunk);
    hs_params_give_back(ps, ps->marks, (size_t)ps->n_params + 1);
    free(ps->has_grad);
    free(ps);
}

// ---- chunks

static int64_t part_elements(const hs_param *p) { return (int64_t)p->n / p->parts; }

static hs_status build_chunks(hs_params *ps)
{
    int64_t n_chunks = 0;
    for (int i = 0; i < ps->n_params; i++)
        if (!ps->param[i]->frozen)
            n_chunks += ps->param[i]->parts * ((part_elements(ps->param[i]) + HS_CHUNK - 1) / HS_CHUNK);
    if (n_chunks > INT32_MAX)
        return HS_FAIL(UNSUPPORTED, "%lld chunks of parameters, at most %d can be counted", (long long)n_chunks, INT32_MAX);
    ps->chunk = calloc((size_t)(n_chunks ? n_chunks : 1), sizeof *ps->chunk);
    if (!ps->chunk)
        return HS_FAIL(MEMORY, "no memory for %lld chunks", (long long)n_chunks);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const int64_t part = part_elements(p);
        ps->n_trained += p->frozen ? 0 : p->n;
        for (int k = 0; k < p->parts && !p->frozen; k++, ps->n_logical++) // padding rows are at the end of their part, and always zero
            for (int64_t at = 0; at < part; at += HS_CHUNK)
                ps->chunk[ps->n_chunks++] = (hs_chunk){ .param = i,
                                                        .logical = ps->n_logical,
                                                        .first = (size_t)(k * part + at),
                                                        .n = (int32_t)(part - at < HS_CHUNK ? part - at : HS_CHUNK),
                                                        .counted = p->shard != HS_SHARD_NONE || ps->tp_rank == 0 };
    }
    return HS_OK;
}

static hs_status make_marks(hs_params *ps)
{
    const size_t n = (size_t)ps->n_params + 1;
    void *p, *k;
    ps->has_grad = malloc(n);
    if (!ps->has_grad || hs_params_take(ps, n, &p, &k) != HS_OK)
        return HS_FAIL(MEMORY, "no memory for %d marks", ps->n_params);
    ps->marks = p, ps->marks_k = k;
    memset(ps->has_grad, 1, n);
    hs_params_copy(ps, ps->marks, ps->has_grad, n);
    return HS_OK;
}

void hs_params_set_grads(hs_params *ps, const bool *made)
{
    bool changed = false;
    for (int i = 0; i < ps->n_params; i++) {
        changed |= ps->has_grad[i] != made[i];
        ps->has_grad[i] = made[i];
    }
    if (changed)
        hs_params_copy(ps, ps->marks, ps->has_grad, (size_t)ps->n_params);
}

static hs_status lay_out(hs_params *ps)
{
    HS_TRY(hs_params_settle(ps));
    HS_TRY(hs_slabs_alloc(ps));
    HS_TRY(build_chunks(ps));
    return make_marks(ps);
}

// As if nobody had asked: more parameters may come, and the next call lays out all of them.
static void undo_layout(hs_params *ps)
{
    hs_slabs_give_back(ps);
    free(ps->chunk);
    free(ps->has_grad);
    ps->chunk = NULL, ps->has_grad = NULL;
    ps->n_chunks = ps->n_logical = 0, ps->n_trained = 0;
}

hs_status hs_params_alloc(hs_params *ps, hs_device *device, bool draw)
{
    if (ps->allocated)
        return HS_FAIL(INTERNAL, "the parameters are already laid out");
    if (hs_params_bytes_of(ps).adopted && ps->device != device)
        return HS_FAIL(INTERNAL, "values were adopted by another device than parameters are laid out on");
    ps->device = device;
    const hs_status st = lay_out(ps);
    if (st != HS_OK) {
        undo_layout(ps);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    ps->allocated = true;
    return draw ? hs_params_init_values(ps) : HS_OK;
}

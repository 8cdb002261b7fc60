// params: what is stored where. Element (part p, row r, column c) of a stored parameter is at ((p * rows + r) * cols + c),
// rows and cols being this rank's; the same element of the logical tensor follows from rank and shard. Every function
// below goes through `extent`, so that slicing exists once.
#include "core/graph/params.h"
#include "core/base/grow.h"
#include "core/base/rng.h"
#include "core/graph/derived.h"
#include "core/graph/divide.h"
#include "core/graph/params_impl.h"
#include "core/run/device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// ---- shapes

typedef struct extent {
    int64_t logical_rows, logical_cols; // of one part of the whole model's tensor
    int64_t rows, cols;                 // of one part as stored here, padding included
    int64_t row0, col0;                 // where the stored part begins in the logical one
    int64_t live_rows;                  // stored rows that are not padding
} extent;

static int64_t columns(const int64_t *dim, int n_dims)
{
    int64_t n = 1;
    for (int i = 1; i < n_dims; i++)
        n *= dim[i];
    return n;
}

static extent extent_of(const hs_param *p, int tp_rank)
{
    extent e = { .logical_rows = p->logical[0] / p->parts, .logical_cols = columns(p->logical, p->n_dims) };
    e.rows = p->dim[0] / p->parts;
    e.cols = columns(p->dim, p->n_dims);
    e.row0 = p->shard == HS_SHARD_COL ? tp_rank * e.rows : 0;
    e.col0 = p->shard == HS_SHARD_ROW ? tp_rank * e.cols : 0;
    const int64_t left = e.logical_rows - e.row0;
    e.live_rows = left < 0 ? 0 : left < e.rows ? left : e.rows;
    return e;
}

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
                     .frozen = hs_params_freezes(ps, spec) };
    memcpy(p->logical, spec->dim, (size_t)spec->n_dims * sizeof *spec->dim);
    stored_shape(ps, spec, p->dim);
    p->n = (size_t)(p->dim[0] * columns(p->dim, p->n_dims));
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
        n += (size_t)(ps->param[i]->logical[0] * columns(ps->param[i]->logical, ps->param[i]->n_dims));
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
    if (ps->master->adopted && ps->device != device)
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

// ---- values

// Runs of the logical tensor that are contiguous here too: whole parts, or single rows where columns are split.
typedef struct run {
    int64_t logical, stored, n; // first element in each, count
} run;

static int64_t n_runs(const hs_param *p, const extent *e) { return p->shard == HS_SHARD_ROW ? p->parts * e->live_rows : p->parts; }

static run run_at(const hs_param *p, const extent *e, int64_t i)
{
    const bool by_row = p->shard == HS_SHARD_ROW;
    const int64_t part = by_row ? i / e->live_rows : i, row = by_row ? i % e->live_rows : 0;
    return (run){ .logical = (part * e->logical_rows + e->row0 + row) * e->logical_cols + e->col0,
                  .stored = (part * e->rows + row) * e->cols,
                  .n = (by_row ? 1 : e->live_rows) * e->cols };
}

// Elements at a time between the host and a slab: they stay in the first caches.
enum { BLOCK = 4096 };

static void draw_run(hs_params *ps, const hs_param *p, const run *r, uint64_t key)
{
    float block[BLOCK];
    char *to = (char *)hs_slab_at(ps->master, p);
    for (int64_t at = 0; at < r->n; at += BLOCK) {
        const int64_t n = r->n - at < BLOCK ? r->n - at : BLOCK;
        if (p->init == HS_INIT_NORMAL)
            hs_random_normal(block, n, key, r->logical + at, 0, p->std);
        else if (p->init == HS_INIT_UNIFORM)
            hs_random_uniform(block, n, key, r->logical + at, p->std);
        else
            for (int64_t j = 0; j < n; j++)
                block[j] = 1;
        hs_params_copy(ps, to + (size_t)(r->stored + at) * sizeof *block, block, (size_t)n * sizeof *block);
    }
}

hs_status hs_params_init_values(hs_params *ps)
{
    if (ps->master->adopted)
        return HS_FAIL(INTERNAL, "values that are adopted are not drawn");
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const extent e = extent_of(p, ps->tp_rank);
        const uint64_t key = hs_mix2(ps->seed, hs_hash_string(p->name)); // by name: another parameter before it changes nothing
        HS_TRY(hs_params_clear(ps, ps->master, p));                      // padding too
        for (int64_t k = 0; p->init != HS_INIT_ZERO && k < n_runs(p, &e); k++) {
            const run r = run_at(p, &e, k);
            draw_run(ps, p, &r, key);
        }
    }
    hs_params_changed(ps);
    hs_params_refresh_low(ps);
    return HS_OK;
}

void hs_params_refresh_low(hs_params *ps)
{
    float block[BLOCK];
    uint16_t low[BLOCK];
    for (int i = 0; ps->low && i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const char *from = hs_slab_at(ps->master, p);
        char *to = hs_slab_at(ps->low, p);
        for (size_t at = 0; at < p->n; at += BLOCK) {
            const size_t n = p->n - at < BLOCK ? p->n - at : BLOCK;
            hs_params_copy(ps, block, from + at * sizeof *block, n * sizeof *block);
            hs_convert(low, ps->low->spec.dtype, block, HS_F32, (int64_t)n);
            hs_params_copy(ps, to + at * sizeof *low, low, n * sizeof *low);
        }
    }
}

void hs_param_export_as(const hs_param *p, hs_dtype dtype, const void *stored, void *logical)
{
    const extent e = extent_of(p, 0);
    const size_t width = hs_dtype_bytes(dtype);
    for (int64_t k = 0; k < n_runs(p, &e); k++) {
        const run r = run_at(p, &e, k);
        memcpy((char *)logical + (size_t)r.logical * width, (const char *)stored + (size_t)r.stored * width, (size_t)r.n * width);
    }
}

void hs_param_export(const hs_param *p, const float *stored, float *logical) { hs_param_export_as(p, HS_F32, stored, logical); }

// f32 of the host's, to the type of a slab.
static void copy_narrow(const hs_params *ps, const hs_slab *s, char *to, const float *from, int64_t n)
{
    const size_t width = hs_dtype_bytes(s->spec.dtype);
    double block[BLOCK]; // of any type
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t part = n - at < BLOCK ? n - at : BLOCK;
        hs_convert(block, s->spec.dtype, from + at, HS_F32, part);
        hs_params_copy(ps, to + (size_t)at * width, block, (size_t)part * width);
    }
}

void hs_params_export(const hs_params *ps, const hs_slab *s, const hs_param *p, float *logical)
{
    const extent e = extent_of(p, 0);
    const char *from = hs_slab_at(s, p);
    for (int64_t k = 0; k < n_runs(p, &e); k++) {
        const run r = run_at(p, &e, k);
        hs_params_copy(ps, logical + r.logical, from + (size_t)r.stored * sizeof(float), (size_t)r.n * sizeof(float));
    }
}

hs_status hs_params_values(const hs_params *ps, const hs_param *p, float *logical)
{
    const hs_slab *s = hs_slab_at(ps->master, p) ? ps->master : ps->low && hs_slab_at(ps->low, p) ? ps->low : NULL;
    const size_t n = p->n + 1;
    if (!s)
        return HS_FAIL(INTERNAL, "%s has no values", p->name);
    char *stored = malloc(2 * n * hs_dtype_bytes(s->spec.dtype)), *packed = stored ? stored + n * hs_dtype_bytes(s->spec.dtype) : NULL;
    if (!stored)
        return HS_FAIL(MEMORY, "no memory for the values of %s", p->name);
    int64_t all = 1;
    for (int i = 0; i < p->n_dims; i++)
        all *= p->logical[i];
    hs_params_read(ps, s, p, stored);
    hs_param_export_as(p, s->spec.dtype, stored, packed);
    hs_convert(logical, HS_F32, packed, s->spec.dtype, all);
    free(stored);
    return HS_OK;
}

hs_status hs_params_import(hs_params *ps, hs_slab *s, const hs_param *p, const float *logical)
{
    const extent e = extent_of(p, 0);
    char *to = hs_slab_at(s, p);
    HS_TRY(hs_params_clear(ps, s, p));
    for (int64_t k = 0; k < n_runs(p, &e); k++) {
        const run r = run_at(p, &e, k);
        char *at = to + (size_t)r.stored * hs_dtype_bytes(s->spec.dtype);
        if (s->spec.dtype == HS_F32)
            hs_params_copy(ps, at, logical + r.logical, (size_t)r.n * sizeof(float));
        else
            copy_narrow(ps, s, at, logical + r.logical, r.n);
    }
    return HS_OK;
}

// param_values: values between logical tensors and slabs, drawn, written, read and made low. Element (part p, row r, column c) of a stored
// parameter is at ((p * rows + r) * cols + c), rows and cols being this rank's; the same element of the logical tensor follows from rank
// and shard. Every function below goes through hs_param_slices, so that slicing exists once.
#include "core/base/rng.h"
#include "core/graph/coding.h"
#include "core/graph/params_impl.h"
#include <stdlib.h>
#include <string.h>

typedef struct extent {
    int64_t logical_rows, logical_cols; // of one part of the whole model's tensor
    int64_t rows, cols;                 // of one part as stored here, padding included
    int64_t row0, col0;                 // where the stored part begins in the logical one
    int64_t live_rows;                  // stored rows that are not padding
} extent;

static extent extent_of(const hs_param *p, int tp_rank)
{
    extent e = { .logical_rows = p->logical[0] / p->parts, .logical_cols = hs_columns(p->logical, p->n_dims) };
    e.rows = p->dim[0] / p->parts;
    e.cols = hs_columns(p->dim, p->n_dims);
    e.row0 = p->shard == HS_SHARD_COL ? tp_rank * e.rows : 0;
    e.col0 = p->shard == HS_SHARD_ROW ? tp_rank * e.cols : 0;
    const int64_t left = e.logical_rows - e.row0;
    e.live_rows = left < 0 ? 0 : left < e.rows ? left : e.rows;
    return e;
}

// Elements at a time between the host and a slab: they stay in the first caches.
enum { BLOCK = 4096 };

int hs_param_slices(const hs_param *p, int tp_rank, int part, size_t first, size_t n, hs_param_slice out[3])
{
    const extent e = extent_of(p, tp_rank);
    const int64_t start = part * e.rows * e.cols, live = e.live_rows * e.cols;
    int64_t from = (int64_t)first - start, to = (int64_t)(first + n) - start;
    int count = 0;
    from = from < 0 ? 0 : from, to = to > live ? live : to;
    while (from < to) { // the end of a row, whole rows, the beginning of one
        const int64_t row = from / e.cols, col = from % e.cols, left = to - from;
        const bool whole = col == 0 && left >= e.cols;
        const int64_t rows = whole ? left / e.cols : 1, cols = whole ? e.cols : left < e.cols - col ? left : e.cols - col;
        out[count++] = (hs_param_slice){ part, e.row0 + row, e.col0 + col, rows, cols, (size_t)(start + from) };
        from += rows * cols;
    }
    return count;
}

int64_t hs_param_part_rows(const hs_param *p) { return p->logical[0] / p->parts; }
int64_t hs_param_cols(const hs_param *p) { return hs_columns(p->logical, p->n_dims); }

// A slice in runs that are contiguous in the logical tensor too: all of it, or row by row.
typedef struct run {
    int64_t logical, n; // first element, count
    size_t stored;
} run;

static int64_t n_runs(const hs_param *p, const hs_param_slice *s) { return s->cols == hs_param_cols(p) ? 1 : s->rows; }

static run run_at(const hs_param *p, const hs_param_slice *s, int64_t i)
{
    const int64_t cols = hs_param_cols(p), row = s->part * hs_param_part_rows(p) + s->row + i;
    return (run){ .logical = row * cols + s->col,
                  .n = s->cols == cols ? s->rows * cols : s->cols,
                  .stored = s->stored + (size_t)(i * s->cols) };
}

// f(u, run) for every run of the logical tensor among stored elements [first, first + n).
typedef void run_fn(void *u, const run *r);
static void each_run(const hs_param *p, int tp_rank, size_t first, size_t n, run_fn *f, void *u)
{
    hs_param_slice s[3];
    for (int part = 0; part < p->parts; part++) {
        const int count = hs_param_slices(p, tp_rank, part, first, n, s);
        for (int k = 0; k < count; k++)
            for (int64_t i = 0; i < n_runs(p, &s[k]); i++) {
                const run r = run_at(p, &s[k], i);
                f(u, &r);
            }
    }
}

// Values that are a shard, or that a low copy has a half or all of: the copy is whole, and gets what the master has not, too.
static bool fills_low(const hs_params *ps, const hs_slab *s, const hs_param *p)
{
    return s == ps->master && ps->low && s->place[p->id].bytes < p->n * sizeof(float) && hs_slab_has(ps->low, p);
}

void hs_params_value_range(const hs_params *ps, const hs_param *p, size_t *first, size_t *n)
{
    if (p->coding)
        *first = 0, *n = p->n;
    else
        hs_slab_range(hs_param_masters(ps, p) == HS_MASTERS_NONE ? ps->low : ps->master, p, first, n);
}

void hs_params_range(const hs_params *ps, const hs_slab *s, const hs_param *p, size_t *first, size_t *n)
{
    hs_slab_range(s, p, first, n);
    if (fills_low(ps, s, p))
        *first = 0, *n = p->n;
}

hs_status hs_params_blank(hs_params *ps, hs_slab *s, const hs_param *p)
{
    HS_TRY(hs_params_clear(ps, s, p));
    return fills_low(ps, s, p) ? hs_params_clear(ps, ps->low, p) : HS_OK;
}

void hs_values_low(uint16_t *dst, hs_dtype low, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n && low == HS_BF16; i++)
        dst[i] = hs_value_bf16(hs_f32_bits(src[i]));
    if (low != HS_BF16)
        hs_convert(dst, low, src, HS_F32, n);
}

static void low_halves(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (uint16_t)hs_f32_bits(src[i]);
}

// What the slab has of values.
static void narrow(const hs_params *ps, const hs_slab *s, const hs_param *p, void *dst, const float *src, size_t n)
{
    if (s == ps->master && hs_param_masters(ps, p) == HS_MASTERS_SPLIT)
        low_halves(dst, src, n);
    else if (s == ps->low)
        hs_values_low(dst, s->spec.dtype, src, (int64_t)n);
    else
        hs_convert(dst, s->spec.dtype, src, HS_F32, (int64_t)n);
}

static void put(const hs_params *ps, const hs_slab *s, const hs_param *p, size_t at, const float *from, size_t n)
{
    const size_t width = s->place[p->id].width;
    double block[BLOCK]; // of any type
    size_t first, has;
    hs_slab_range(s, p, &first, &has);
    const size_t begin = at > first ? at : first, end = at + n < first + has ? at + n : first + has;
    char *to = hs_slab_at(s, p);
    const bool as_is = s->spec.dtype == HS_F32 && width == sizeof(float);
    if (begin < end && as_is)
        hs_params_copy(ps, to + (begin - first) * width, from + (begin - at), (end - begin) * width);
    for (size_t i = begin; i < end && !as_is; i += BLOCK) {
        const size_t some = end - i < BLOCK ? end - i : BLOCK;
        narrow(ps, s, p, block, from + (i - at), some);
        hs_params_copy(ps, to + (i - first) * width, block, some * width);
    }
}

void hs_params_put(hs_params *ps, hs_slab *s, const hs_param *p, size_t at, const float *values, size_t n)
{
    put(ps, s, p, at, values, n);
    if (fills_low(ps, s, p))
        put(ps, ps->low, p, at, values, n);
}

// Of values that are not f32 as they lie, n at most BLOCK.
static void widen(const hs_params *ps, const hs_param *p, size_t at, float *values, size_t n)
{
    uint16_t high[BLOCK], low[BLOCK] = { 0 };
    const bool split = hs_param_masters(ps, p) == HS_MASTERS_SPLIT;
    size_t first, all;
    hs_slab_range(ps->master, p, &first, &all);
    hs_params_copy(ps, high, (const uint16_t *)hs_slab_at(ps->low, p) + at, n * sizeof *high);
    if (split)
        hs_params_copy(ps, low, (const uint16_t *)hs_slab_at(ps->master, p) + (at - first), n * sizeof *low);
    for (size_t i = 0; i < n; i++)
        values[i] = split ? hs_bits_f32(hs_halves_join(high[i], low[i])) : hs_bf16_f32(high[i]);
}

void hs_params_fetch(const hs_params *ps, const hs_param *p, size_t at, float *values, size_t n)
{
    if (p->coding) {
        hs_coded_fetch(ps, p, at, values, n);
        return;
    }
    if (hs_param_masters(ps, p) == HS_MASTERS_F32) {
        size_t first, all;
        hs_slab_range(ps->master, p, &first, &all);
        hs_params_copy(ps, values, (const float *)hs_slab_at(ps->master, p) + (at - first), n * sizeof *values);
        return;
    }
    for (size_t i = 0; i < n; i += BLOCK)
        widen(ps, p, at + i, values + i, n - i < BLOCK ? n - i : BLOCK);
}

typedef struct draw {
    hs_params *ps;
    const hs_param *p;
    uint64_t key;
} draw;

static void draw_run(void *u, const run *r)
{
    const draw *d = u;
    float block[BLOCK];
    for (int64_t at = 0; at < r->n; at += BLOCK) {
        const int64_t n = r->n - at < BLOCK ? r->n - at : BLOCK;
        if (d->p->init == HS_INIT_NORMAL)
            hs_random_normal(block, n, d->key, r->logical + at, 0, d->p->std);
        else if (d->p->init == HS_INIT_UNIFORM)
            hs_random_uniform(block, n, d->key, r->logical + at, d->p->std);
        else
            for (int64_t j = 0; j < n; j++)
                block[j] = 1;
        hs_params_put(d->ps, d->ps->master, d->p, r->stored + (size_t)at, block, (size_t)n);
    }
}

hs_status hs_params_init_values(hs_params *ps)
{
    if (ps->master->adopted)
        return HS_FAIL(INTERNAL, "values that are adopted are not drawn");
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        size_t first, n;
        if (p->coding)
            continue;
        if (ps->master->place[i].passes || (ps->low && ps->low->place[i].passes))
            return HS_FAIL(INTERNAL, "%s passes: it is loaded, not drawn", p->name);
        draw d = { ps, p, hs_mix2(ps->seed, hs_hash_string(p->name)) }; // by name: another parameter before it changes nothing
        hs_params_range(ps, ps->master, p, &first, &n);
        HS_TRY(hs_params_blank(ps, ps->master, p)); // padding too
        if (p->init != HS_INIT_ZERO)
            each_run(p, ps->tp_rank, first, n, draw_run, &d);
    }
    hs_params_changed(ps);
    hs_params_refresh_low(ps);
    return HS_OK;
}

void hs_params_refresh_low_of(hs_params *ps, const hs_param *p)
{
    float block[BLOCK];
    uint16_t low[BLOCK];
    size_t first, all;
    if (!ps->low || p->coding || hs_param_masters(ps, p) != HS_MASTERS_F32)
        return; // whoever wrote the value wrote its copy
    hs_slab_range(ps->master, p, &first, &all);
    const char *from = hs_slab_at(ps->master, p);
    char *to = (char *)hs_slab_at(ps->low, p) + first * sizeof *low;
    for (size_t at = 0; at < all; at += BLOCK) {
        const size_t n = all - at < BLOCK ? all - at : BLOCK;
        hs_params_copy(ps, block, from + at * sizeof *block, n * sizeof *block);
        hs_values_low(low, ps->low->spec.dtype, block, (int64_t)n);
        hs_params_copy(ps, to + at * sizeof *low, low, n * sizeof *low);
    }
}

void hs_params_refresh_low(hs_params *ps)
{
    for (int i = 0; ps->low && i < ps->n_params; i++)
        if (!ps->low->place[i].passes && !ps->master->place[i].passes)
            hs_params_refresh_low_of(ps, ps->param[i]);
}

typedef struct copy { // of elements, between where they are stored and the logical tensor
    const hs_params *ps;
    hs_params *into; // of import
    hs_slab *slab;
    const hs_param *p;
    size_t first, width; // element that `stored` begins with
    char *stored, *logical;
} copy;

static void copy_out(void *u, const run *r)
{
    const copy *c = u;
    memcpy(c->logical + (size_t)r->logical * c->width, c->stored + (r->stored - c->first) * c->width, (size_t)r->n * c->width);
}

static void read_out(void *u, const run *r)
{
    const copy *c = u;
    hs_params_copy(c->ps, c->logical + (size_t)r->logical * c->width, c->stored + (r->stored - c->first) * c->width,
                   (size_t)r->n * c->width);
}

static void fetch_out(void *u, const run *r)
{
    const copy *c = u;
    hs_params_fetch(c->ps, c->p, r->stored, (float *)(void *)c->logical + r->logical, (size_t)r->n);
}

static void put_in(void *u, const run *r)
{
    const copy *c = u;
    hs_params_put(c->into, c->slab, c->p, r->stored, (const float *)(const void *)c->logical + r->logical, (size_t)r->n);
}

void hs_param_export_as(const hs_param *p, hs_dtype dtype, const void *stored, void *logical)
{
    copy c = { .width = hs_dtype_bytes(dtype), .stored = (char *)(uintptr_t)stored, .logical = logical };
    each_run(p, 0, 0, p->n, copy_out, &c);
}

void hs_param_export(const hs_param *p, const float *stored, float *logical) { hs_param_export_as(p, HS_F32, stored, logical); }

void hs_params_export(const hs_params *ps, const hs_slab *s, const hs_param *p, float *logical)
{
    copy c = { .ps = ps, .p = p, .width = sizeof(float), .stored = hs_slab_at(s, p), .logical = (char *)logical };
    size_t n;
    if (s == ps->master)
        hs_params_value_range(ps, p, &c.first, &n);
    else
        hs_slab_range(s, p, &c.first, &n);
    each_run(p, ps->tp_rank, c.first, n, s == ps->master ? fetch_out : read_out, &c);
}

static bool has_all(const hs_params *ps, const hs_param *p)
{
    size_t first, n;
    hs_params_value_range(ps, p, &first, &n);
    return n == p->n && (p->coding || hs_param_masters(ps, p) == HS_MASTERS_NONE || hs_slab_at(ps->master, p));
}

hs_status hs_params_values(const hs_params *ps, const hs_param *p, float *logical)
{
    if (has_all(ps, p)) {
        hs_params_export(ps, ps->master, p, logical);
        return HS_OK;
    }
    const hs_slab *s = ps->low;
    const size_t n = p->n + 1;
    if (!s || !hs_slab_at(s, p))
        return HS_FAIL(INTERNAL, "%s has no values", p->name);
    const size_t width = hs_dtype_bytes(s->spec.dtype);
    char *stored = malloc(n * (width + sizeof(float)));
    float *values = (float *)(void *)stored;
    if (!stored)
        return HS_FAIL(MEMORY, "no memory for the values of %s", p->name);
    hs_params_read(ps, s, p, stored + n * sizeof(float));
    hs_convert(values, HS_F32, stored + n * sizeof(float), s->spec.dtype, (int64_t)p->n);
    copy c = { .width = sizeof(float), .stored = stored, .logical = (char *)logical };
    each_run(p, ps->tp_rank, 0, p->n, copy_out, &c);
    free(stored);
    return HS_OK;
}

hs_status hs_params_import(hs_params *ps, hs_slab *s, const hs_param *p, const float *logical)
{
    copy c = { .into = ps, .slab = s, .p = p, .logical = (char *)(uintptr_t)logical };
    size_t first, n;
    HS_TRY(hs_params_blank(ps, s, p));
    hs_params_range(ps, s, p, &first, &n);
    each_run(p, ps->tp_rank, first, n, put_in, &c);
    return HS_OK;
}

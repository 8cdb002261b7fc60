// shard_set: opens shards and keeps the blocks of rows that are being read side by side.
#include "data/batches/shard_set.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_LANES = 4 };

typedef struct shard {
    char *path;
    hs_h5_info info;
    hs_h5_file *open; // NULL: not now
    uint64_t used;    // when last
} shard;

typedef struct block {
    int file; // -1: empty
    int64_t first;
    hs_pair_rows rows;
    uint64_t used;
} block;

typedef struct shard_set {
    hs_source base;
    hs_shard_set_opts o;
    shard *shard; // [n]
    hs_shard_order order;
    block *block; // [n_blocks]: one for every lane and one for a lane that passes from one to the next; as many open files
    int n_blocks, n_open;
    uint64_t clock;
} shard_set;

// ---- files and blocks

static void close_oldest(shard_set *s)
{
    shard *oldest = NULL;
    for (int i = 0; i < s->o.n; i++)
        if (s->shard[i].open && (!oldest || s->shard[i].used < oldest->used))
            oldest = &s->shard[i];
    hs_h5_close(oldest->open);
    oldest->open = NULL;
    s->n_open--;
}

static hs_status open_shard(shard_set *s, int i)
{
    shard *f = &s->shard[i];
    f->used = ++s->clock;
    if (f->open)
        return HS_OK;
    if (s->n_open == s->n_blocks)
        close_oldest(s);
    HS_TRY(hs_h5_open(&f->open, f->path, s->o.vocab));
    s->n_open++;
    const hs_h5_info now = hs_h5_info_of(f->open);
    if (now.rows != f->info.rows || now.layout != f->info.layout || now.length != f->info.length || now.predictions != f->info.predictions)
        return HS_FAIL(CORRUPT, "%s changed while it was read: %lld rows of %lld tokens, at the start %lld of %lld", f->path,
                       (long long)now.rows, (long long)now.length, (long long)f->info.rows, (long long)f->info.length);
    return HS_OK;
}

static hs_status block_with(shard_set *s, int file, int64_t row, const block **out)
{
    const int64_t size = s->order.block[file], first = row / size * size, rows = s->order.rows[file];
    block *b = &s->block[0];
    for (int i = 0; i < s->n_blocks; i++) {
        block *c = &s->block[i];
        if (c->file == file && c->first == first) {
            c->used = ++s->clock;
            *out = c;
            return HS_OK;
        }
        if (c->used < b->used)
            b = c;
    }
    hs_pair_rows_free(&b->rows);
    b->file = -1;
    HS_TRY(open_shard(s, file));
    HS_TRY(hs_h5_read(s->shard[file].open, first, first + size < rows ? size : rows - first, &b->rows));
    b->file = file, b->first = first, b->used = ++s->clock;
    *out = b;
    return HS_OK;
}

static hs_status fill(hs_source *base, hs_batch *b, uint64_t sample)
{
    shard_set *s = (shard_set *)base;
    int file;
    int64_t row;
    const block *in = NULL;
    hs_shard_order_at(&s->order, sample, &file, &row);
    HS_TRY(block_with(s, file, row, &in));
    if (hs_pair_row_append(&in->rows, row - in->first, base->most, b) == HS_OK)
        return HS_OK;
    char why[256];
    snprintf(why, sizeof why, "%s", hs_error());
    return HS_FAIL(USAGE, "%s: input_ids: row %lld: %s", s->shard[file].path, (long long)row, why);
}

// ---- life

// Every file is looked at before the first row is used: a run should not end at its 200th shard for what was to be seen at the start.
static hs_status look_at(shard_set *s, int i, const char *path)
{
    shard *f = &s->shard[i];
    hs_h5_file *h;
    if (!(f->path = strdup(path)))
        return HS_FAIL(MEMORY, "%s: no memory for its name", path);
    HS_TRY(hs_h5_open(&h, f->path, s->o.vocab));
    f->info = hs_h5_info_of(h);
    hs_h5_close(h);
    const shard *first = &s->shard[0];
    if (f->info.layout != first->info.layout || f->info.length != first->info.length || f->info.predictions != first->info.predictions)
        return HS_FAIL(CORRUPT, "%s: input_ids: %s rows of %lld tokens with %lld predictions, but %s has %s rows of %lld with %lld",
                       f->path, hs_h5_layout_names[f->info.layout], (long long)f->info.length, (long long)f->info.predictions, first->path,
                       hs_h5_layout_names[first->info.layout], (long long)first->info.length, (long long)first->info.predictions);
    return HS_OK;
}

static hs_status make_order(shard_set *s)
{
    int64_t *rows = malloc(2 * (size_t)s->o.n * sizeof *rows);
    if (!rows)
        return HS_FAIL(MEMORY, "no memory for %d shards", s->o.n);
    for (int i = 0; i < s->o.n; i++)
        rows[i] = s->shard[i].info.rows, rows[s->o.n + i] = s->shard[i].info.block;
    const hs_status st = hs_shard_order_init(&s->order, rows, rows + s->o.n, s->o.n, s->o.lanes, s->o.seed);
    free(rows);
    return st;
}

static hs_status make_blocks(shard_set *s)
{
    const hs_h5_info *info = &s->shard[0].info;
    const int64_t length = s->o.length ? s->o.length : info->length, parts = s->o.parts ? s->o.parts : 1,
                  predictions = s->o.predictions ? s->o.predictions : info->predictions;
    if (length < 1 || predictions < 1 || parts < 1)
        return HS_FAIL(USAGE, "%s: rows of any length (%s); the room of a row must be given", s->shard[0].path,
                       hs_h5_layout_names[info->layout]);
    s->base.most[HS_COUNT_TOKENS] = length, s->base.most[HS_COUNT_PICKS] = predictions, s->base.most[HS_COUNT_SEQS] = parts;
    s->base.n_samples = s->order.total;
    s->n_blocks = (int)s->o.lanes + 1;
    s->block = calloc((size_t)s->n_blocks, sizeof *s->block);
    if (!s->block)
        return HS_FAIL(MEMORY, "no memory for %d blocks of rows", s->n_blocks);
    for (int i = 0; i < s->n_blocks; i++)
        s->block[i].file = -1;
    return HS_OK;
}

static void shard_set_free(hs_source *base)
{
    shard_set *s = (shard_set *)base;
    for (int i = 0; i < s->o.n; i++) {
        hs_h5_close(s->shard[i].open);
        free(s->shard[i].path);
    }
    for (int i = 0; s->block && i < s->n_blocks; i++)
        hs_pair_rows_free(&s->block[i].rows);
    hs_shard_order_free(&s->order);
    free(s->block);
    free(s->shard);
    free(s);
}

hs_status hs_shard_set_new(hs_source **out, const hs_shard_set_opts *o)
{
    *out = NULL;
    if (o->n < 1 || o->lanes < 0)
        return HS_FAIL(USAGE, "%d shards read at %lld places; allowed are 1 or more, and 0 or more", o->n, (long long)o->lanes);
    shard_set *s = calloc(1, sizeof *s);
    if (!s || !(s->shard = calloc((size_t)o->n, sizeof *s->shard))) {
        free(s);
        return HS_FAIL(MEMORY, "no memory for %d shards", o->n);
    }
    s->base = (hs_source){
        .unit = "rows", .column = hs_pair_columns, .n_columns = HS_PAIR_COLUMNS, .interleaved = true, .fill = fill, .free = shard_set_free
    };
    s->o = *o, s->o.path = NULL; // borrowed only while this runs
    s->o.lanes = o->lanes ? o->lanes : DEFAULT_LANES;
    hs_status st;
    for (int i = 0; i < o->n; i++)
        HS_TRY_GOTO(st, look_at(s, i, o->path[i]), failed);
    HS_TRY_GOTO(st, make_order(s), failed);
    HS_TRY_GOTO(st, make_blocks(s), failed);
    *out = &s->base;
    return HS_OK;
failed:
    shard_set_free(&s->base);
    return st;
}

// batch: columns in one block, each at a cache line.
#include "core/graph/batch.h"
#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };

int64_t hs_column_cols(const hs_column *c)
{
    int64_t n = 1;
    for (int i = 0; i < HS_MAX_DIMS - 1 && c->row[i]; i++)
        n *= c->row[i];
    return n;
}

static size_t row_bytes(const hs_column *c) { return (size_t)hs_column_cols(c) * hs_dtype_bytes(c->dtype); }
static size_t column_bytes(const hs_column *c) { return ((size_t)c->rows * row_bytes(c) + LINE - 1) / LINE * LINE; }

static hs_status take(hs_batch *b, size_t bytes)
{
    if (b->memory.take) {
        HS_TRY(b->memory.open(b->memory.of, &b->read));
        return b->memory.take(b->memory.of, bytes, &b->block);
    }
    b->block = aligned_alloc(LINE, bytes);
    if (!b->block)
        return HS_FAIL(MEMORY, "no memory for a batch of %zu bytes", bytes);
    memset(b->block, 0, bytes);
    return HS_OK;
}

hs_status hs_batch_new(hs_batch *b, const hs_column *column, int n_columns, const int64_t most[HS_N_COUNTERS])
{
    return hs_batch_new_in(b, column, n_columns, most, NULL);
}

hs_status hs_batch_new_in(hs_batch *b, const hs_column *column, int n_columns, const int64_t most[HS_N_COUNTERS],
                          const hs_batch_memory *memory)
{
    *b = (hs_batch){ .memory = memory ? *memory : (hs_batch_memory){ 0 } };
    if (n_columns > HS_MAX_COLUMNS)
        return HS_FAIL(INTERNAL, "a batch of %d columns, allowed %d", n_columns, HS_MAX_COLUMNS);
    size_t bytes = 0, at = 0;
    for (int i = 0; i < n_columns; i++) {
        hs_column *c = &b->column[i];
        *c = column[i];
        if (c->ext != HS_EXT_FIXED)
            c->rows = most[hs_ext_counter(c->ext)] * hs_ext_unit(c->ext) + hs_ext_plus(c->ext);
        c->clean = c->tail == HS_TAIL_ZERO ? 0 : c->rows;
        bytes += column_bytes(c);
    }
    const hs_status st = take(b, bytes ? bytes : LINE);
    if (st != HS_OK) {
        hs_batch_free(b);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    b->n_columns = n_columns;
    for (int i = 0; i < n_columns; at += column_bytes(&b->column[i++]))
        b->column[i].p = (char *)b->block + at;
    return HS_OK;
}

void hs_batch_free(hs_batch *b)
{
    if (b->memory.take) {
        hs_batch_arrive(b); // a device that fails says so elsewhere
        if (b->block)
            b->memory.give(b->memory.of, b->block);
        b->memory.close(b->memory.of, b->read);
    } else {
        free(b->block);
    }
    *b = (hs_batch){ 0 };
}

hs_status hs_batch_arrive(const hs_batch *b) { return b->read ? b->memory.arrive(b->memory.of, b->read) : HS_OK; }

void hs_batch_clear(hs_batch *b, uint64_t first_sample)
{
    for (int i = 0; i < b->n_columns; i++) { // rows that were live and never padded behind
        hs_column *c = &b->column[i];
        const int64_t live = hs_column_live(c, b);
        c->clean = live > c->clean ? live : c->clean;
    }
    memset(b->n, 0, sizeof b->n);
    memset(b->labels, 0, sizeof b->labels);
    memset(b->weights, 0, sizeof b->weights);
    b->first_sample = first_sample;
    b->slot = 0;
}

// The row in front of p, n times more.
static void repeat(char *p, size_t row, int64_t n)
{
    if (row == sizeof(int32_t)) {
        int32_t *cell = (int32_t *)p;
        const int32_t last = cell[-1];
        for (int64_t i = 0; i < n; i++)
            cell[i] = last;
        return;
    }
    for (int64_t i = 0; i < n; i++, p += row)
        memcpy(p, p - row, row);
}

// Up to where the tail must be written: what was padded before and not written since is. That of HS_TAIL_LAST only if it says the same.
static int64_t pad_end(const hs_column *c, int64_t live, size_t row)
{
    const int64_t old = live > c->clean ? live : c->clean;
    if (c->tail != HS_TAIL_LAST || old >= c->rows)
        return old;
    const char *p = c->p;
    return memcmp(p + (size_t)old * row, p + (size_t)(live - 1) * row, row) ? c->rows : old;
}

void hs_batch_pad(hs_batch *b)
{
    for (int i = 0; i < b->n_columns; i++) {
        hs_column *c = &b->column[i];
        const int64_t live = hs_column_live(c, b);
        if (live == c->rows || (c->tail == HS_TAIL_LAST && !live)) {
            c->clean = c->rows;
            continue;
        }
        const size_t row = row_bytes(c);
        const int64_t n = pad_end(c, live, row) - live;
        char *p = (char *)c->p + (size_t)live * row;
        if (c->tail != HS_TAIL_LAST)
            memset(p, c->tail == HS_TAIL_IGNORE ? 0xFF : 0, (size_t)n * row);
        else
            repeat(p, row, n);
        c->clean = live;
    }
}

const hs_column *hs_batch_find(const hs_batch *b, const char *name)
{
    for (int i = 0; i < b->n_columns; i++)
        if (!strcmp(b->column[i].name, name))
            return &b->column[i];
    return NULL;
}

hs_status hs_batch_copy(hs_batch *dst, const hs_batch *src)
{
    if (dst->n_columns != src->n_columns)
        return HS_FAIL(INTERNAL, "a batch of %d columns into one of %d", src->n_columns, dst->n_columns);
    for (int i = 0; i < src->n_columns; i++) {
        const hs_column *from = &src->column[i];
        hs_column *to = &dst->column[i];
        const int64_t live = hs_column_live(from, src);
        if (strcmp(from->name, to->name) != 0 || from->dtype != to->dtype || from->ext != to->ext || row_bytes(from) != row_bytes(to) ||
            live > to->rows)
            return HS_FAIL(INTERNAL, "column %s, %lld rows, into column %s with room for %lld", from->name, (long long)live, to->name,
                           (long long)to->rows);
        memcpy(to->p, from->p, (size_t)live * row_bytes(from));
        to->clean = live > to->clean ? live : to->clean;
    }
    memcpy(dst->n, src->n, sizeof dst->n);
    memcpy(dst->labels, src->labels, sizeof dst->labels);
    memcpy(dst->weights, src->weights, sizeof dst->weights);
    dst->first_sample = src->first_sample;
    return HS_OK;
}

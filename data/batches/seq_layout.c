// seq_layout: a sample is put where its layout wants it, and pads behind it. Layouts that reorder samples fill a window of them ahead, in
// the order of the source, and hand them out from there.
#include "data/batches/seq_layout.h"
#include "core/base/rng.h"
#include "data/batches/bucket.h"
#include "data/batches/packing.h"
#include "data/batches/pair_rows.h"
#include <stdlib.h>
#include <string.h>

enum { WINDOW_BATCHES = 64, WINDOW_LEAST = 4, WINDOW_TOKENS = 1 << 22 };
static const hs_column keys_column = { .name = "keys", .dtype = HS_I32, .ext = HS_EXT_SEQS, .row = { 3 } };

// Samples of a window, filled and not yet handed out.
typedef struct window {
    hs_batch held;
    bool whole;      // it holds what is said here
    uint64_t number; // of the window
    int64_t n;
    int64_t *sample;          // [room] each one's index in the source, in the order they are filled
    int32_t *length, *before; // [room] tokens; [room + 1] picks in front of it
    int64_t (*labels)[HS_N_LOSS];
    int64_t *order; // [room] which of them is handed out at each place
    int64_t *rows;  // [room] that it and its pads take; 0: no pads, PACKED -1: up to the end of its row
} window;

typedef struct laid {
    hs_source base;
    hs_source *source;
    hs_seq_layout_opts o;
    hs_column column[HS_MAX_COLUMNS];
    int64_t room; // samples of a window
    window w;
} laid;

// ---- pads

// The last sequence of b and its pads, up to token `end`; it has `real` tokens.
static void close_sequence(const laid *s, hs_batch *b, int64_t real, int64_t end)
{
    const int64_t seq = b->n[HS_COUNT_SEQS] - 1;
    int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS) + seq, *key = hs_batch_i32(b, s->base.n_columns - 1) + 3 * seq;
    const int64_t first = starts[0], at = first + real;
    key[0] = (int32_t)first, key[1] = (int32_t)real, key[2] = 0;
    starts[1] = (int32_t)end;
    for (int c = 0; c < s->source->n_columns; c++) {
        const hs_column *column = &b->column[c];
        const size_t row = (size_t)hs_column_cols(column) * hs_dtype_bytes(column->dtype);
        if (column->ext == HS_EXT_TOKENS)
            memset((char *)column->p + (size_t)at * row, 0, (size_t)(end - at) * row);
    }
    int32_t *ids = hs_batch_i32(b, HS_PAIR_IDS), *where = hs_batch_i32(b, HS_PAIR_WHERE);
    for (int64_t i = at; i < end; i++) {
        ids[i] = s->o.pad;
        where[2 * i] = where[2 * first], where[2 * i + 1] = (int32_t)(i - first);
    }
    b->n[HS_COUNT_TOKENS] = end;
}

static hs_status fill_padded(hs_source *base, hs_batch *b, uint64_t sample)
{
    const laid *s = (laid *)base;
    const int64_t first = b->n[HS_COUNT_TOKENS];
    HS_TRY(s->source->fill(s->source, b, sample));
    close_sequence(s, b, b->n[HS_COUNT_TOKENS] - first, first + s->o.length);
    return HS_OK;
}

// ---- windows

static hs_status fill_window(laid *s)
{
    window *w = &s->w;
    hs_batch *b = &w->held;
    hs_batch_clear(b, 0);
    memset(w->labels[0], 0, sizeof w->labels[0]);
    w->before[0] = 0;
    for (int64_t i = 0; i < w->n; i++) {
        const int64_t first = b->n[HS_COUNT_TOKENS];
        HS_TRY(s->source->fill(s->source, b, (uint64_t)w->sample[i]));
        w->length[i] = (int32_t)(b->n[HS_COUNT_TOKENS] - first);
        w->before[i + 1] = (int32_t)b->n[HS_COUNT_PICKS];
        memcpy(w->labels[i + 1], b->labels, sizeof b->labels);
    }
    return HS_OK;
}

// The samples of a rank's part of a batch, by the rule of the loader.
static void list_part(laid *s, uint64_t number)
{
    window *w = &s->w;
    const int64_t ranks = s->o.ranks, batch = s->o.batch, rank = (int64_t)(number % (uint64_t)ranks),
                  first = (int64_t)(number / (uint64_t)ranks) * batch,
                  n = s->base.interleaved ? (batch - rank + ranks - 1) / ranks : batch / ranks;
    w->n = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t sample = first + (s->base.interleaved ? rank + i * ranks : rank * n + i);
        if (!s->o.frozen || sample < s->base.n_samples)
            w->sample[w->n++] = sample;
    }
}

static hs_status pack(laid *s)
{
    window *w = &s->w;
    int32_t *row = malloc((size_t)w->n * sizeof *row);
    int64_t n_rows = 0, at = 0;
    if (!row)
        return HS_FAIL(MEMORY, "no memory to pack %lld sequences", (long long)w->n);
    const hs_status st = hs_pack_ffd(w->length, w->n, (int32_t)s->o.length, w->n, row, &n_rows);
    for (int64_t r = 0; r < n_rows && st == HS_OK; r++) {
        int64_t last = 0;
        for (int64_t i = 0; i < w->n; i++)
            if (row[i] == r)
                w->order[at++] = last = i, w->rows[i] = 0;
        w->rows[last] = -1;
    }
    free(row);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status sort_into_buckets(laid *s, uint64_t number)
{
    window *w = &s->w;
    const bool whole = w->n == s->room; // a short batch must be the last one
    hs_batches batches;
    HS_TRY(hs_bucket_batches(&batches, w->length, w->n,
                             &(hs_bucket_opts){ .method = HS_BUCKET_SORTED,
                                                .batch = s->o.batch,
                                                .mult = (double)(s->room / s->o.batch),
                                                .shuffle = whole,
                                                .key = hs_mix2(s->o.seed, number) }));
    for (int64_t k = 0; k < batches.n; k++)
        for (int64_t i = batches.starts[k]; i < batches.starts[k + 1]; i++) {
            w->order[i] = batches.sample[i];
            w->rows[w->order[i]] = w->length[batches.sample[batches.starts[k]]]; // the longest is the first
        }
    hs_batches_free(&batches);
    return HS_OK;
}

static hs_status open_window(laid *s, uint64_t number)
{
    window *w = &s->w;
    if (w->whole && w->number == number)
        return HS_OK;
    w->whole = false;
    if (s->o.layout == HS_SEQ_PACKED) {
        list_part(s, number);
    } else {
        w->n = 0;
        for (int64_t i = 0, sample = (int64_t)number * s->room; i < s->room && (!s->o.frozen || sample < s->base.n_samples); i++)
            w->sample[w->n++] = sample++;
    }
    HS_TRY(fill_window(s));
    HS_TRY(s->o.layout == HS_SEQ_PACKED ? pack(s) : sort_into_buckets(s, number));
    w->whole = true, w->number = number;
    return HS_OK;
}

// Sample i of the window behind what b has: rows of every column, but for what counts from the batch's beginning.
static void hand_out(const laid *s, int64_t i, int64_t slot, hs_batch *b)
{
    const window *w = &s->w;
    const hs_batch *from = &w->held;
    const int64_t n[HS_N_COUNTERS] = {
        [HS_COUNT_TOKENS] = w->length[i], [HS_COUNT_SEQS] = 1, [HS_COUNT_PICKS] = w->before[i + 1] - w->before[i]
    };
    const int64_t first = hs_batch_i32(from, HS_PAIR_STARTS)[i], at = b->n[HS_COUNT_TOKENS];
    const int64_t source[HS_N_COUNTERS] = { [HS_COUNT_TOKENS] = first, [HS_COUNT_SEQS] = i, [HS_COUNT_PICKS] = w->before[i] };
    for (int c = 0; c < s->source->n_columns; c++) {
        const hs_column *to = &b->column[c];
        const int counter = hs_ext_counter(to->ext);
        const size_t row = (size_t)hs_column_cols(to) * hs_dtype_bytes(to->dtype);
        const int64_t rows = to->ext == HS_EXT_FIXED ? to->rows : n[counter]; // what is of no sample is the same for all
        memcpy((char *)to->p + (size_t)b->n[counter] * row, (const char *)from->column[c].p + (size_t)source[counter] * row,
               (size_t)rows * row);
    }
    int32_t *picks = hs_batch_i32(b, HS_PAIR_PICKS) + b->n[HS_COUNT_PICKS], *where = hs_batch_i32(b, HS_PAIR_WHERE) + 2 * at;
    for (int64_t k = 0; k < n[HS_COUNT_PICKS]; k++)
        picks[k] += (int32_t)(at - first);
    for (int64_t k = 0; k < n[HS_COUNT_TOKENS]; k++)
        where[2 * k] = (int32_t)slot;
    int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS) + b->n[HS_COUNT_SEQS];
    starts[0] = (int32_t)at;
    for (int c = 1; c < HS_N_COUNTERS; c++)
        b->n[c] += n[c];
    for (int k = 0; k < HS_N_LOSS; k++)
        b->labels[k] += w->labels[i + 1][k] - w->labels[i][k];
}

static hs_status fill_from_window(hs_source *base, hs_batch *b, uint64_t sample)
{
    laid *s = (laid *)base;
    const uint64_t batch = (uint64_t)s->o.batch, ranks = (uint64_t)s->o.ranks;
    const bool packed = s->o.layout == HS_SEQ_PACKED;
    uint64_t number = sample / (uint64_t)s->room, place = sample % (uint64_t)s->room;
    if (packed) {
        const uint64_t in_batch = sample % batch, part = batch / ranks;
        const uint64_t rank = base->interleaved ? in_batch % ranks : in_batch / part;
        number = sample / batch * ranks + rank;
        place = base->interleaved ? in_batch / ranks : in_batch % part;
    }
    HS_TRY(open_window(s, number));
    const int64_t i = s->w.order[place], rows = s->w.rows[i], first = b->n[HS_COUNT_TOKENS], real = s->w.length[i];
    hand_out(s, i, packed ? b->slot + s->w.sample[i] - (int64_t)sample : b->slot, b);
    const int64_t end = rows > 0 ? first + rows : rows == 0 ? first + real : (first + real + s->o.length - 1) / s->o.length * s->o.length;
    close_sequence(s, b, real, end);
    return HS_OK;
}

// ---- life

static hs_status laid_begin(hs_source *base)
{
    laid *s = (laid *)base;
    return s->source->begin ? s->source->begin(s->source) : HS_OK;
}

static void laid_free(hs_source *base)
{
    laid *s = (laid *)base;
    hs_source_free(s->source);
    hs_batch_free(&s->w.held);
    free(s->w.sample);
    free(s->w.length);
    free(s->w.labels);
    free(s);
}

static hs_status check(const hs_source *source, const hs_seq_layout_opts *o)
{
    const bool windows = o->layout == HS_SEQ_BUCKETED || o->layout == HS_SEQ_PACKED;
    if (o->layout > HS_SEQ_PACKED)
        return HS_FAIL(USAGE, "layout %d of sequences, allowed 0 to %d", (int)o->layout, HS_SEQ_PACKED);
    if (source->most[HS_COUNT_SEQS] != 1)
        return HS_FAIL(UNSUPPORTED, "%s of up to %lld sequences each are packed as they are: only the unpadded layout takes them",
                       source->unit, (long long)source->most[HS_COUNT_SEQS]);
    if (o->length < source->most[HS_COUNT_TOKENS])
        return HS_FAIL(USAGE, "rows of %lld tokens for sequences of up to %lld", (long long)o->length,
                       (long long)source->most[HS_COUNT_TOKENS]);
    if (windows && (o->batch < 1 || o->ranks < 0 || (o->ranks > 1 && o->batch % o->ranks != 0 && !source->interleaved)))
        return HS_FAIL(USAGE, "batches of %lld sequences over %d ranks; at least 1, and a multiple", (long long)o->batch, o->ranks);
    if (source->n_columns >= HS_MAX_COLUMNS || source->n_columns < HS_PAIR_COLUMNS ||
        strcmp(source->column[HS_PAIR_STARTS].name, hs_pair_columns[HS_PAIR_STARTS].name) != 0)
        return HS_FAIL(INTERNAL, "%s have no columns of pairs to lay out", source->unit);
    return HS_OK;
}

static int64_t window_room(const hs_seq_layout_opts *o)
{
    const int64_t fit = WINDOW_TOKENS / (o->batch * o->length), batches = fit < WINDOW_LEAST ? WINDOW_LEAST : fit;
    return o->batch * (batches < WINDOW_BATCHES ? batches : WINDOW_BATCHES);
}

static hs_status make_window(laid *s)
{
    window *w = &s->w;
    const size_t n = (size_t)(s->room = s->o.layout == HS_SEQ_PACKED ? s->o.batch : window_room(&s->o));
    w->sample = malloc(3 * n * sizeof *w->sample);
    w->length = malloc((2 * n + 1) * sizeof *w->length);
    w->labels = malloc((n + 1) * sizeof *w->labels);
    if (!w->sample || !w->length || !w->labels)
        return HS_FAIL(MEMORY, "no memory for a window of %zu sequences", n);
    w->order = w->sample + n, w->rows = w->order + n, w->before = w->length + n;
    return hs_source_batch(s->source, (int64_t)n, &w->held);
}

hs_status hs_seq_layout_new(hs_source **out, hs_source *source, const hs_seq_layout_opts *o)
{
    *out = o->layout == HS_SEQ_UNPADDED ? source : NULL;
    if (*out)
        return HS_OK;
    laid *s = calloc(1, sizeof *s);
    hs_status st = HS_OK;
    if (!s) {
        hs_source_free(source);
        return HS_FAIL(MEMORY, "no memory for a layout of sequences");
    }
    s->base = *source, s->source = source, s->o = *o;
    s->o.ranks = o->ranks ? o->ranks : 1;
    HS_TRY_GOTO(st, check(source, o), failed);
    memcpy(s->column, source->column, (size_t)source->n_columns * sizeof *s->column);
    s->column[s->base.n_columns++] = keys_column;
    s->base.column = s->column;
    s->base.most[HS_COUNT_TOKENS] = o->length;
    s->base.begin = laid_begin, s->base.free = laid_free;
    s->base.fill = o->layout == HS_SEQ_PADDED ? fill_padded : fill_from_window;
    if (o->layout != HS_SEQ_PADDED)
        HS_TRY_GOTO(st, make_window(s), failed);
    *out = &s->base;
    return HS_OK;
failed:
    laid_free(&s->base);
    return st;
}

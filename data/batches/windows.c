// windows: what of a text is sample i, and its tokens, targets and places in a batch.
#include "data/batches/windows.h"
#include "core/base/rng.h"
#include "data/batches/mixing.h"
#include "data/batches/packing.h"
#include "data/batches/sampler.h"
#include <stdlib.h>

const hs_column hs_text_columns[HS_TEXT_COLUMNS] = {
    [HS_TEXT_IDS] = { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [HS_TEXT_TARGETS] = { .name = "targets", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .tail = HS_TAIL_IGNORE },
    [HS_TEXT_STARTS] = { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS, .tail = HS_TAIL_LAST },
    [HS_TEXT_WHERE] = { .name = "where", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 } },
};

hs_status hs_windows_batch(hs_batch *out, int64_t max_seqs, int64_t max_tokens)
{
    return hs_batch_new(out, hs_text_columns, HS_TEXT_COLUMNS,
                        (int64_t[HS_N_COUNTERS]){ [HS_COUNT_TOKENS] = max_tokens, [HS_COUNT_SEQS] = max_seqs });
}

int64_t hs_windows_max_seqs(hs_packing packing, int64_t windows, int64_t window) { return packing ? windows * window : windows; }

typedef struct windows {
    hs_source base;
    hs_token_range range;
    hs_sampler sampler;
    hs_packer *packer;
    int64_t window, vocab, written; // ids below; when the file was last seen to be written
} windows;

// Window `start` of n predicted tokens (tokens start to start + n of the range) behind what b holds.
static void append(hs_batch *b, const hs_token_range *r, int64_t start, int64_t n, int32_t slot)
{
    const int64_t at = b->n[HS_COUNT_TOKENS];
    int32_t *where = hs_batch_i32(b, HS_TEXT_WHERE), *starts = hs_batch_i32(b, HS_TEXT_STARTS);
    hs_token_store_read(r->store, r->first + start, n, hs_batch_i32(b, HS_TEXT_IDS) + at);
    hs_token_store_read(r->store, r->first + start + 1, n, hs_batch_i32(b, HS_TEXT_TARGETS) + at);
    for (int64_t i = 0; i < n; i++) {
        where[2 * (at + i)] = slot;
        where[2 * (at + i) + 1] = (int32_t)i;
    }
    starts[b->n[HS_COUNT_SEQS]] = (int32_t)at;
    starts[++b->n[HS_COUNT_SEQS]] = (int32_t)(at + n);
    b->n[HS_COUNT_TOKENS] += n;
    b->labels[0] += n;
}

static hs_status check_ids(const windows *s, const int32_t *ids, int64_t n, int64_t first)
{
    return hs_token_store_check(s->range.store, ids, first, n, s->vocab);
}

static hs_status add_window(const windows *s, int64_t start, int64_t n, int64_t slot, hs_batch *b)
{
    const int64_t at = b->n[HS_COUNT_TOKENS];
    append(b, &s->range, start, n, (int32_t)slot);
    HS_TRY(check_ids(s, hs_batch_i32(b, HS_TEXT_IDS) + at, n, s->range.first + start));
    // the other targets are ids
    return check_ids(s, hs_batch_i32(b, HS_TEXT_TARGETS) + at + n - 1, 1, s->range.first + start + n);
}

static hs_status fill_window(hs_source *base, hs_batch *b, uint64_t sample)
{
    const windows *s = (windows *)base;
    return add_window(s, hs_sampler_start(&s->sampler, sample), s->window, b->slot, b);
}

static hs_status fill_packed(hs_source *base, hs_batch *b, uint64_t sample)
{
    const windows *s = (windows *)base;
    const hs_piece *piece;
    int64_t n, at = 0;
    HS_TRY(hs_packer_row(s->packer, sample, &piece, &n));
    for (int64_t i = 0; i < n; at += piece[i++].n) // a slot for each document: else two would share their dropout
        HS_TRY(add_window(s, piece[i].first - s->range.first, piece[i].n, b->slot * s->window + at, b));
    return HS_OK;
}

static hs_status fill_next(hs_source *base, hs_batch *b, uint64_t sample)
{
    const windows *s = (windows *)base;
    const int64_t start = (int64_t)sample * s->window, left = s->range.end - s->range.first - 1 - start;
    if (left < 1)
        return HS_FAIL(INTERNAL, "window %llu of %lld", (unsigned long long)sample, (long long)base->n_samples);
    return add_window(s, start, left < s->window ? left : s->window, b->slot, b);
}

static hs_status begin(hs_source *base)
{
    windows *s = (windows *)base;
    return hs_token_store_unchanged(s->range.store, &s->written);
}

static void windows_free(hs_source *base)
{
    windows *s = (windows *)base;
    hs_packer_free(s->packer);
    free(s);
}

static hs_status check_range(const hs_token_range *r)
{
    const hs_token_store_info info = hs_token_store_info_of(r->store);
    if (r->first < 0 || r->end > info.n_tokens || r->first > r->end)
        return HS_FAIL(USAGE, "tokens %lld to %lld of a store of %lld", (long long)r->first, (long long)r->end, (long long)info.n_tokens);
    return HS_OK;
}

static hs_status make(windows **out, const hs_token_range *r, int64_t window, int64_t vocab)
{
    *out = NULL;
    HS_TRY(check_range(r));
    windows *s = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a source of text");
    const int64_t own = hs_token_store_info_of(r->store).vocab;
    *s = (windows){ .base = { .unit = "windows",
                              .column = hs_text_columns,
                              .n_columns = HS_TEXT_COLUMNS,
                              .most = { [HS_COUNT_TOKENS] = window, [HS_COUNT_SEQS] = 1 },
                              .free = windows_free },
                    .range = *r,
                    .window = window,
                    .vocab = vocab && vocab < own ? vocab : own };
    *out = s;
    return HS_OK;
}

static hs_status make_one(hs_source **out, const hs_windows_opts *o, const hs_token_range *r, uint64_t seed)
{
    windows *s;
    hs_status st;
    HS_TRY(make(&s, r, o->window, o->vocab));
    s->base.begin = begin;
    if (o->packing) {
        HS_TRY_GOTO(st, hs_packer_new(&s->packer, r, o->window, seed), failed);
        s->base.n_samples = hs_packer_info_of(s->packer).per_epoch;
        s->base.fill = fill_packed;
    } else {
        HS_TRY_GOTO(st, hs_sampler_init(&s->sampler, r->end - r->first, o->window, seed), failed);
        s->base.n_samples = s->sampler.per_epoch;
        s->base.fill = fill_window;
    }
    s->base.most[HS_COUNT_SEQS] = hs_windows_max_seqs(o->packing, 1, o->window);
    *out = &s->base;
    return HS_OK;
failed:
    windows_free(&s->base);
    return st;
}

hs_status hs_windows_new(hs_source **out, const hs_windows_opts *o)
{
    hs_source *part[HS_MIX_SOURCES];
    double weight[HS_MIX_SOURCES];
    *out = NULL;
    if (o->n_parts < 2)
        return make_one(out, o, o->n_parts ? &o->parts[0].range : &o->range, o->seed);
    if (o->n_parts > HS_MIX_SOURCES)
        return HS_FAIL(USAGE, "%d sources to mix, allowed %d", o->n_parts, HS_MIX_SOURCES);
    for (int i = 0; i < o->n_parts; i++) { // the same text twice is shuffled in two ways
        const hs_status st = make_one(&part[i], o, &o->parts[i].range, hs_mix2(o->seed, (uint64_t)i));
        for (int k = 0; st != HS_OK && k < i; k++)
            hs_source_free(part[k]);
        HS_TRY(st);
        weight[i] = o->parts[i].weight;
    }
    return hs_mixed_new(out, part, weight, o->n_parts);
}

hs_status hs_eval_windows_new(hs_source **out, const hs_token_range *r, int64_t window)
{
    windows *s;
    *out = NULL;
    HS_TRY(make(&s, r, window, 0));
    const int64_t predicted = r->end - r->first - 1;
    s->base.n_samples = predicted > 0 ? (predicted + window - 1) / window : 0;
    s->base.fill = fill_next;
    *out = &s->base;
    return HS_OK;
}

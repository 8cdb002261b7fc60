// mask_turns: a table of pieces, in which the one that a token lies in is looked up.
#include "data/batches/mask_turns.h"
#include <stdlib.h>

typedef struct turns {
    hs_source base;
    hs_mask_turns_opts o;
    int64_t *piece; // [n + 1] first tokens; the last: the range's end
    int64_t n, room;
} turns;

static hs_status add_piece(turns *t, int64_t first)
{
    if (t->n + 1 >= t->room) {
        const int64_t room = 2 * t->room + 1024;
        int64_t *grown = realloc(t->piece, (size_t)room * sizeof *grown);
        if (!grown)
            return HS_FAIL(MEMORY, "no memory for %lld pieces of %s", (long long)room, hs_token_store_path(t->o.range.store));
        t->piece = grown, t->room = room;
    }
    t->piece[t->n++] = first;
    return HS_OK;
}

static hs_status cut(turns *t)
{
    const hs_token_range *r = &t->o.range;
    const int64_t documents = hs_token_store_info_of(r->store).n_documents, most = t->o.length - 2;
    for (int64_t d = 0; d < documents; d++) {
        int64_t first, end;
        hs_token_store_document(r->store, d, &first, &end);
        first = first > r->first ? first : r->first, end = end < r->end ? end : r->end;
        for (; first < end; first += most)
            HS_TRY(add_piece(t, first));
    }
    if (!t->n)
        return HS_FAIL(USAGE, "%s: no tokens to mask", hs_token_store_path(r->store));
    t->piece[t->n] = r->end;
    return HS_OK;
}

static int64_t piece_of(const turns *t, int64_t token)
{
    int64_t lo = 0, hi = t->n;
    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;
        *(t->piece[mid] <= token ? &lo : &hi) = mid;
    }
    return lo;
}

static hs_status fill(hs_source *s, hs_batch *b, uint64_t sample)
{
    const turns *t = (const turns *)s;
    const int64_t token = t->o.range.first + (int64_t)sample, i = piece_of(t, token), first = t->piece[i], n = t->piece[i + 1] - first,
                  at = b->n[HS_COUNT_TOKENS], seq = b->n[HS_COUNT_SEQS], pick = b->n[HS_COUNT_PICKS];
    int32_t *ids = hs_batch_i32(b, HS_PAIR_IDS) + at, *where = hs_batch_i32(b, HS_PAIR_WHERE) + 2 * at;
    ids[0] = t->o.ids.cls;
    hs_token_store_read(t->o.range.store, first, n, ids + 1);
    ids[n + 1] = t->o.ids.sep;
    for (int64_t k = 1; k <= n; k++)
        if (ids[k] < 0 || ids[k] >= t->o.vocab)
            return HS_FAIL(CORRUPT, "%s: id %d at token %lld is outside the vocabulary of %lld", hs_token_store_path(t->o.range.store),
                           ids[k], (long long)(first + k - 1), (long long)t->o.vocab);
    for (int64_t k = 0; k < n + 2; k++) {
        where[2 * k] = (int32_t)b->slot, where[2 * k + 1] = (int32_t)k;
        hs_batch_i32(b, HS_PAIR_TYPES)[at + k] = hs_batch_i32(b, HS_MASKED_TASK_TYPES)[at + k] = 0;
    }
    const int64_t row = 1 + token - first;
    hs_batch_i32(b, HS_PAIR_PICKS)[pick] = (int32_t)(at + row);
    hs_batch_i32(b, HS_PAIR_PICK_TARGETS)[pick] = ids[row];
    ids[row] = t->o.ids.mask;
    hs_batch_i32(b, HS_PAIR_TARGETS)[seq] = hs_batch_i32(b, HS_MASKED_ORDER_TARGETS)[seq] = HS_TARGET_IGNORE;
    hs_batch_i32(b, HS_PAIR_STARTS)[seq] = (int32_t)at;
    hs_batch_i32(b, HS_PAIR_STARTS)[seq + 1] = (int32_t)(at + n + 2);
    b->n[HS_COUNT_TOKENS] += n + 2, b->n[HS_COUNT_SEQS]++, b->n[HS_COUNT_PICKS]++, b->labels[0]++;
    return HS_OK;
}

static void turns_free(hs_source *s)
{
    free(((turns *)s)->piece);
    free(s);
}

hs_status hs_mask_turns_new(hs_source **out, const hs_mask_turns_opts *o)
{
    *out = NULL;
    if (o->length < 3)
        return HS_FAIL(USAGE, "sequences of %lld tokens; one with a masked token needs 3", (long long)o->length);
    turns *t = calloc(1, sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for a source of masked tokens");
    *t = (turns){ .base = { .unit = "tokens",
                            .column = hs_masked_columns,
                            .n_columns = HS_MASKED_COLUMNS,
                            .most = { [HS_COUNT_TOKENS] = o->length, [HS_COUNT_SEQS] = 1, [HS_COUNT_PICKS] = 1 },
                            .n_samples = o->range.end - o->range.first,
                            .fill = fill,
                            .free = turns_free },
                  .o = *o };
    const hs_status st = cut(t);
    if (st != HS_OK) {
        turns_free(&t->base);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = &t->base;
    return HS_OK;
}

// bert_rows: one block of memory for all arrays of a batch of rows, and what must hold in every row.
#include "data/batches/bert_rows.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_bert_rows_alloc(hs_bert_rows *r, int64_t n, int64_t length, int64_t predictions, int64_t parts)
{
    *r = (hs_bert_rows){ .n = n, .length = length, .predictions = predictions, .parts = parts };
    const size_t tokens = (size_t)(n * length), labels = (size_t)(n * predictions), sequences = (size_t)(n * parts);
    char *p = calloc(1, 6 * tokens + 8 * labels + 9 * sequences + 1); // 4-byte arrays first; ids begin the block, so freeing them frees all
    if (!p)
        return HS_FAIL(MEMORY, "no memory for %lld rows of %lld tokens", (long long)n, (long long)length);
    r->ids = (int32_t *)p;
    r->positions = r->ids + tokens;
    r->labels = r->positions + labels;
    r->part_tokens = r->labels + labels;
    r->part_labels = r->part_tokens + sequences;
    r->mask = (int8_t *)(r->part_labels + sequences);
    r->segments = r->mask + tokens;
    r->next = r->segments + tokens;
    return HS_OK;
}

void hs_bert_rows_free(hs_bert_rows *r)
{
    free(r->ids);
    *r = (hs_bert_rows){ 0 };
}

static int64_t sum(const int32_t *v, int64_t n)
{
    int64_t s = 0;
    for (int64_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

int64_t hs_bert_row_tokens(const hs_bert_rows *r, int64_t row) { return sum(r->part_tokens + row * r->parts, r->parts); }
int64_t hs_bert_row_labels(const hs_bert_rows *r, int64_t row) { return sum(r->part_labels + row * r->parts, r->parts); }
int64_t hs_bert_row_parts(const hs_bert_rows *r, int64_t row)
{
    int64_t n = 0;
    while (n < r->parts && r->part_tokens[row * r->parts + n] > 0)
        n++;
    return n;
}

// n live values of an array with `room` a row, zeros behind.
static void put(void *to, int64_t k, int64_t to_room, const void *from, int64_t i, int64_t from_room, int64_t n, size_t item)
{
    char *out = (char *)to + (size_t)(k * to_room) * item;
    memcpy(out, (const char *)from + (size_t)(i * from_room) * item, (size_t)n * item);
    memset(out + (size_t)n * item, 0, (size_t)(to_room - n) * item);
}

hs_status hs_bert_rows_copy(hs_bert_rows *to, int64_t k, const hs_bert_rows *from, int64_t i)
{
    const int64_t tokens = hs_bert_row_tokens(from, i), labels = hs_bert_row_labels(from, i), parts = hs_bert_row_parts(from, i);
    if (tokens > to->length || labels > to->predictions || parts > to->parts)
        return HS_FAIL(USAGE, "a row of %lld tokens, %lld predictions, %lld sequences; there is room for %lld, %lld, %lld",
                       (long long)tokens, (long long)labels, (long long)parts, (long long)to->length, (long long)to->predictions,
                       (long long)to->parts);
    put(to->ids, k, to->length, from->ids, i, from->length, tokens, 4);
    put(to->mask, k, to->length, from->mask, i, from->length, tokens, 1);
    put(to->segments, k, to->length, from->segments, i, from->length, tokens, 1);
    put(to->positions, k, to->predictions, from->positions, i, from->predictions, labels, 4);
    put(to->labels, k, to->predictions, from->labels, i, from->predictions, labels, 4);
    put(to->part_tokens, k, to->parts, from->part_tokens, i, from->parts, parts, 4);
    put(to->part_labels, k, to->parts, from->part_labels, i, from->parts, parts, 4);
    put(to->next, k, to->parts, from->next, i, from->parts, parts, 1);
    return HS_OK;
}

// ---- checks

typedef struct where {
    const char *path;
    long long row, vocab;
} where;

static hs_status check_ids(where w, const char *dataset, const int32_t *id, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (id[i] < 0 || (w.vocab > 0 && id[i] >= w.vocab))
            return HS_FAIL(CORRUPT, "%s: %s: row %lld, column %lld: id %d is outside the vocabulary%s%.0lld", w.path, dataset, w.row,
                           (long long)i, id[i], w.vocab > 0 ? " of " : "", w.vocab);
    return HS_OK;
}

static hs_status check_bits(where w, const char *dataset, const int8_t *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] != 0 && v[i] != 1)
            return HS_FAIL(CORRUPT, "%s: %s: row %lld, column %lld: %d, allowed 0 and 1", w.path, dataset, w.row, (long long)i, v[i]);
    return HS_OK;
}

// The tokens of a row stand together at its start.
static hs_status check_mask(where w, const int8_t *mask, int64_t tokens, int64_t length)
{
    HS_TRY(check_bits(w, "input_mask", mask, length));
    for (int64_t i = 0; i < length; i++)
        if (mask[i] != (i < tokens))
            return HS_FAIL(CORRUPT, "%s: input_mask: row %lld, column %lld: a token behind padding", w.path, w.row, (long long)i);
    return tokens > 0 ? HS_OK : HS_FAIL(CORRUPT, "%s: input_mask: row %lld has no token", w.path, w.row);
}

// Each sequence's predictions lie inside it, never at its first token.
static hs_status check_positions(where w, const hs_bert_rows *r, int64_t row)
{
    const int32_t *position = r->positions + row * r->predictions, *tokens = r->part_tokens + row * r->parts;
    const int32_t *labels = r->part_labels + row * r->parts;
    int64_t begin = 0, k = 0;
    for (int64_t p = 0; p < hs_bert_row_parts(r, row); begin += tokens[p++]) {
        int64_t before = begin;
        for (int64_t i = 0; i < labels[p]; i++, k++) {
            if (position[k] <= before || position[k] >= begin + tokens[p])
                return HS_FAIL(CORRUPT, "%s: masked_lm_positions: row %lld, column %lld: position %d, allowed %lld to %lld", w.path, w.row,
                               (long long)k, position[k], (long long)before + 1, (long long)(begin + tokens[p]) - 1);
            before = position[k];
        }
    }
    for (; k < r->predictions; k++)
        if (position[k] != 0)
            return HS_FAIL(CORRUPT, "%s: masked_lm_positions: row %lld, column %lld: position %d behind the list's end", w.path, w.row,
                           (long long)k, position[k]);
    return HS_OK;
}

hs_status hs_bert_rows_check(const hs_bert_rows *r, const char *path, int64_t first_row, int64_t vocab)
{
    for (int64_t i = 0; i < r->n; i++) {
        const where w = { path, first_row + i, vocab };
        const int64_t tokens = hs_bert_row_tokens(r, i);
        HS_TRY(check_mask(w, r->mask + i * r->length, tokens, r->length));
        HS_TRY(check_ids(w, "input_ids", r->ids + i * r->length, r->length));
        HS_TRY(check_bits(w, "segment_ids", r->segments + i * r->length, tokens));
        HS_TRY(check_positions(w, r, i));
        HS_TRY(check_ids(w, "masked_lm_ids", r->labels + i * r->predictions, r->predictions));
        HS_TRY(check_bits(w, "next_sentence_labels", r->next + i * r->parts, r->parts));
    }
    return HS_OK;
}

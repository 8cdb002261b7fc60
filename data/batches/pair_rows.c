// pair_rows: one block of memory for all arrays of a batch of rows, and what must hold in every row.
#include "data/batches/pair_rows.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_pair_rows_alloc(hs_pair_rows *r, int64_t n, int64_t length, int64_t predictions, int64_t parts)
{
    *r = (hs_pair_rows){ .n = n, .length = length, .predictions = predictions, .parts = parts };
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

void hs_pair_rows_free(hs_pair_rows *r)
{
    free(r->ids);
    *r = (hs_pair_rows){ 0 };
}

static int64_t sum(const int32_t *v, int64_t n)
{
    int64_t s = 0;
    for (int64_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

int64_t hs_pair_row_tokens(const hs_pair_rows *r, int64_t row) { return sum(r->part_tokens + row * r->parts, r->parts); }
int64_t hs_pair_row_labels(const hs_pair_rows *r, int64_t row) { return sum(r->part_labels + row * r->parts, r->parts); }
int64_t hs_pair_row_parts(const hs_pair_rows *r, int64_t row)
{
    int64_t n = 0;
    while (n < r->parts && r->part_tokens[row * r->parts + n] > 0)
        n++;
    return n;
}

// ---- columns

const hs_column hs_pair_columns[HS_PAIR_COLUMNS] = {
    HS_PAIR_COLUMN_ROWS,
};

static hs_status check_room(int64_t tokens, int64_t labels, int64_t parts, int64_t room_tokens, int64_t room_labels, int64_t room_parts)
{
    if (tokens <= room_tokens && labels <= room_labels && parts <= room_parts)
        return HS_OK;
    return HS_FAIL(USAGE, "a row of %lld tokens, %lld predictions, %lld sequences; there is room for %lld, %lld, %lld", (long long)tokens,
                   (long long)labels, (long long)parts, (long long)room_tokens, (long long)room_labels, (long long)room_parts);
}

static void append_tokens(const hs_pair_rows *r, int64_t row, int64_t tokens, hs_batch *b)
{
    const int64_t at = b->n[HS_COUNT_TOKENS];
    int32_t *types = hs_batch_i32(b, HS_PAIR_TYPES) + at;
    memcpy(hs_batch_i32(b, HS_PAIR_IDS) + at, r->ids + row * r->length, (size_t)tokens * sizeof(int32_t));
    for (int64_t i = 0; i < tokens; i++)
        types[i] = r->segments[row * r->length + i];
    b->n[HS_COUNT_TOKENS] += tokens;
}

static void append_sequences(const hs_pair_rows *r, int64_t row, int64_t parts, int64_t first_token, int64_t first_slot, hs_batch *b)
{
    int32_t *starts = hs_batch_i32(b, HS_PAIR_STARTS), *where = hs_batch_i32(b, HS_PAIR_WHERE), *next = hs_batch_i32(b, HS_PAIR_TARGETS);
    int64_t at = first_token;
    for (int64_t p = 0; p < parts; p++) {
        const int64_t n = r->part_tokens[row * r->parts + p], seq = b->n[HS_COUNT_SEQS]++;
        for (int64_t i = 0; i < n; i++)
            where[2 * (at + i)] = (int32_t)(first_slot + p), where[2 * (at + i) + 1] = (int32_t)i;
        starts[seq] = (int32_t)at;
        starts[seq + 1] = (int32_t)(at += n);
        next[seq] = r->next[row * r->parts + p];
    }
    b->labels[1] += parts;
}

static void append_picks(const hs_pair_rows *r, int64_t row, int64_t labels, int64_t first_token, hs_batch *b)
{
    const int64_t at = b->n[HS_COUNT_PICKS];
    int32_t *picks = hs_batch_i32(b, HS_PAIR_PICKS) + at;
    for (int64_t i = 0; i < labels; i++)
        picks[i] = (int32_t)(first_token + r->positions[row * r->predictions + i]);
    memcpy(hs_batch_i32(b, HS_PAIR_PICK_TARGETS) + at, r->labels + row * r->predictions, (size_t)labels * sizeof(int32_t));
    b->n[HS_COUNT_PICKS] += labels;
    b->labels[0] += labels;
}

hs_status hs_pair_row_append(const hs_pair_rows *r, int64_t row, const int64_t most[HS_N_COUNTERS], hs_batch *b)
{
    const int64_t tokens = hs_pair_row_tokens(r, row), labels = hs_pair_row_labels(r, row), parts = hs_pair_row_parts(r, row),
                  first = b->n[HS_COUNT_TOKENS];
    HS_TRY(check_room(tokens, labels, parts, most[HS_COUNT_TOKENS], most[HS_COUNT_PICKS], most[HS_COUNT_SEQS]));
    append_tokens(r, row, tokens, b);
    append_sequences(r, row, parts, first, b->slot * most[HS_COUNT_SEQS], b);
    append_picks(r, row, labels, first, b);
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
static hs_status check_positions(where w, const hs_pair_rows *r, int64_t row)
{
    const int32_t *position = r->positions + row * r->predictions, *tokens = r->part_tokens + row * r->parts;
    const int32_t *labels = r->part_labels + row * r->parts;
    int64_t begin = 0, k = 0;
    for (int64_t p = 0; p < hs_pair_row_parts(r, row); begin += tokens[p++]) {
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

hs_status hs_pair_rows_check(const hs_pair_rows *r, const char *path, int64_t first_row, int64_t vocab)
{
    for (int64_t i = 0; i < r->n; i++) {
        const where w = { path, first_row + i, vocab };
        const int64_t tokens = hs_pair_row_tokens(r, i);
        HS_TRY(check_mask(w, r->mask + i * r->length, tokens, r->length));
        HS_TRY(check_ids(w, "input_ids", r->ids + i * r->length, r->length));
        HS_TRY(check_bits(w, "segment_ids", r->segments + i * r->length, tokens));
        HS_TRY(check_positions(w, r, i));
        HS_TRY(check_ids(w, "masked_lm_ids", r->labels + i * r->predictions, r->predictions));
        HS_TRY(check_bits(w, "next_sentence_labels", r->next + i * r->parts, r->parts));
    }
    return HS_OK;
}

// packing: rows full of whole documents. Positions are counted in *inputs*, tokens with a successor in their document: each document has
// one less than tokens, so that input x is found by one search over the documents' starts and no table is needed.
#include "data/batches/packing.h"
#include "core/base/rng.h"
#include "data/batches/sampler.h"
#include <stdlib.h>
#include <string.h>

// ---- first-fit decreasing

// Room of every row, and of the roomiest row below each node of a tree: the first row with enough room is one walk down.
typedef struct rooms {
    int32_t *node; // [2 * n], leaves from n on
    int64_t n;     // a power of two
} rooms;

static void set_room(rooms *r, int64_t row, int32_t room)
{
    r->node[row += r->n] = room;
    for (row /= 2; row >= 1; row /= 2) {
        const int32_t a = r->node[2 * row], b = r->node[2 * row + 1];
        r->node[row] = a > b ? a : b;
    }
}

static int64_t first_with_room(const rooms *r, int32_t length)
{
    int64_t at = 1;
    if (r->node[1] < length)
        return -1;
    while (at < r->n)
        at = 2 * at + (r->node[2 * at] < length);
    return at - r->n;
}

// Numbers of the pieces by falling length: order[n], from counts per length.
static void sort_falling(const int32_t *length, int64_t n, int32_t capacity, int64_t *count, int64_t *order)
{
    memset(count, 0, ((size_t)capacity + 2) * sizeof *count);
    for (int64_t i = 0; i < n; i++)
        count[capacity - length[i] + 1]++;
    for (int32_t k = 0; k <= capacity; k++)
        count[k + 1] += count[k];
    for (int64_t i = 0; i < n; i++)
        order[count[capacity - length[i]]++] = i;
}

hs_status hs_pack_ffd(const int32_t *length, int64_t n, int32_t capacity, int64_t max_rows, int32_t *row, int64_t *n_rows)
{
    *n_rows = 0;
    for (int64_t i = 0; i < n; i++)
        if (length[i] < 0 || length[i] > capacity)
            return HS_FAIL(USAGE, "piece %lld has %d tokens, allowed 0 to a row's %d", (long long)i, length[i], capacity);
    rooms r = { .n = 1 };
    while (r.n < (n < max_rows ? n : max_rows))
        r.n *= 2;
    int64_t *count = malloc(((size_t)capacity + 2 + (size_t)n) * sizeof *count), *order = count + capacity + 2;
    r.node = malloc(2 * (size_t)r.n * sizeof *r.node);
    if (!count || !r.node) {
        free(count);
        free(r.node);
        return HS_FAIL(MEMORY, "no memory to pack %lld pieces", (long long)n);
    }
    for (int64_t i = 0; i < r.n; i++) // rows beyond the last have no room, not even for nothing
        r.node[r.n + i] = i < max_rows ? capacity : -1;
    for (int64_t i = r.n - 1; i >= 1; i--)
        r.node[i] = r.node[2 * i] > r.node[2 * i + 1] ? r.node[2 * i] : r.node[2 * i + 1];
    sort_falling(length, n, capacity, count, order);
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = order[k], to = first_with_room(&r, length[i]);
        row[i] = (int32_t)to;
        if (to >= 0)
            set_room(&r, to, r.node[r.n + to] - length[i]);
        *n_rows = to >= *n_rows ? to + 1 : *n_rows;
    }
    free(count);
    free(r.node);
    return HS_OK;
}

// ---- the stream

enum { WINDOW_ROWS = 256, WINDOW_CHUNKS = 16 }; // chunks of 16 rows: a row's neighbours in a batch come from 16 places of the text

struct hs_packer {
    hs_token_range range;
    int64_t row;
    uint64_t seed;
    hs_packer_info info;
    int64_t chunk, n_chunks; // inputs of one; behind any offset of an epoch
    int64_t *kept;           // numbers of documents with inputs, where the store has others; NULL: first_document + k
    int64_t first_document;

    uint64_t window;        // packed last, counted over all epochs; UINT64_MAX: none
    hs_piece *piece;        // [n_pieces] as they lie in the text
    int32_t *length, *to;   // [n_pieces] theirs; the row they go to
    hs_piece *packed;       // [n_pieces + rows at most] row by row
    int64_t n_pieces, room; // of these four
    int64_t *row_at;        // [rows + 1] first piece of each row
    int32_t *head;          // [rows + 1] lists of lay_rows
};

// Document k of those with inputs: its tokens inside the range.
static void document(const hs_packer *p, int64_t k, int64_t *first, int64_t *end)
{
    hs_token_store_document(p->range.store, p->kept ? p->kept[k] : p->first_document + k, first, end);
    *first = *first > p->range.first ? *first : p->range.first;
    *end = *end < p->range.end ? *end : p->range.end;
}

// The first document of the store that ends behind a token.
static int64_t document_of(const hs_token_store *s, int64_t token)
{
    int64_t low = 0, high = hs_token_store_info_of(s).n_documents - 1;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        int64_t first, end;
        hs_token_store_document(s, middle, &first, &end);
        *(end > token ? &high : &low) = end > token ? middle : middle + 1;
    }
    return low;
}

// Counts documents and, where some have no input, lists those that do: only so is "inputs before document k" = start - k.
static hs_status survey(hs_packer *p)
{
    const hs_token_range r = p->range;
    const int64_t from = document_of(r.store, r.first), to = document_of(r.store, r.end - 1) + 1;
    hs_packer_info *info = &p->info;
    p->first_document = from;
    for (int pass = 0; pass < 2; pass++) {
        int64_t at = 0;
        for (int64_t d = from; d < to; d++) {
            int64_t first, end;
            hs_token_store_document(r.store, d, &first, &end);
            first = first > r.first ? first : r.first, end = end < r.end ? end : r.end;
            if (end - first < 1)
                continue;
            if (pass)
                p->kept[at] = d;
            else
                info->inputs += end - first - 1;
            at++;
        }
        info->documents = at, info->empty = to - from - at;
        if (pass || !info->empty)
            return HS_OK;
        p->kept = malloc((size_t)(at ? at : 1) * sizeof *p->kept);
        if (!p->kept)
            return HS_FAIL(MEMORY, "no memory for a list of %lld documents", (long long)at);
    }
    return HS_OK;
}

// Windows as large as the text allows. Chunks that make no whole window are left out of an epoch, others each time: of few chunks a window
// has as many as leave the fewest, at most 6 %.
static void settle_window(hs_packer *p)
{
    int64_t rows = WINDOW_ROWS / WINDOW_CHUNKS; // of a chunk
    while (rows > 1 && p->info.inputs / (rows * p->row) < 9)
        rows /= 2;
    p->chunk = rows * p->row;
    const int64_t fit = (p->info.inputs + 1) / p->chunk - 1; // chunks behind the largest offset, chunk - 1
    p->n_chunks = fit > 1 ? fit : 1;                         // a text of less than two still gives one, at fewer offsets
    const int64_t windows = (p->n_chunks + WINDOW_CHUNKS - 1) / WINDOW_CHUNKS;
    p->info.chunks = windows > WINDOW_CHUNKS ? WINDOW_CHUNKS : p->n_chunks / windows;
    p->info.rows = rows * p->info.chunks;
    p->info.per_epoch = p->n_chunks / p->info.chunks * p->info.rows;
}

static hs_status grow(hs_packer *p)
{
    const int64_t room = p->room ? 2 * p->room : 1024, rows = p->info.rows;
    hs_piece *piece = realloc(p->piece, (size_t)room * sizeof *piece), *packed = NULL;
    p->piece = piece ? piece : p->piece;
    packed = piece ? realloc(p->packed, (size_t)(room + rows) * sizeof *packed) : NULL;
    p->packed = packed ? packed : p->packed;
    int32_t *length = packed ? realloc(p->length, (size_t)room * sizeof *length) : NULL;
    p->length = length ? length : p->length;
    int32_t *to = length ? realloc(p->to, (size_t)room * sizeof *to) : NULL;
    p->to = to ? to : p->to;
    if (!to)
        return HS_FAIL(MEMORY, "no memory for %lld pieces of documents", (long long)room);
    p->room = room;
    return HS_OK;
}

hs_status hs_packer_new(hs_packer **out, const hs_token_range *r, int64_t row, uint64_t seed)
{
    *out = NULL;
    if (row < 1 || row > INT32_MAX / WINDOW_ROWS)
        return HS_FAIL(USAGE, "rows of %lld tokens, allowed 1 to %d", (long long)row, INT32_MAX / WINDOW_ROWS);
    hs_packer *p = calloc(1, sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory to pack documents");
    p->range = *r, p->row = row, p->seed = seed, p->window = UINT64_MAX;
    hs_status st = HS_OK;
    if (r->end > r->first)
        HS_TRY_GOTO(st, survey(p), failed);
    if (p->info.inputs < row) {
        st = HS_FAIL(USAGE, "documents with %lld tokens to predict are less than a row of %lld", (long long)p->info.inputs, (long long)row);
        goto failed;
    }
    settle_window(p);
    p->row_at = malloc((size_t)(p->info.rows + 1) * sizeof *p->row_at);
    p->head = malloc((size_t)(p->info.rows + 1) * sizeof *p->head);
    if (!p->row_at || !p->head) {
        st = HS_FAIL(MEMORY, "no memory for %lld rows", (long long)p->info.rows);
        goto failed;
    }
    HS_TRY_GOTO(st, grow(p), failed);
    *out = p;
    return HS_OK;
failed:
    hs_packer_free(p);
    return st;
}

void hs_packer_free(hs_packer *p)
{
    if (!p)
        return;
    free(p->kept), free(p->row_at), free(p->head);
    free(p->piece), free(p->packed), free(p->length), free(p->to);
    free(p);
}

hs_packer_info hs_packer_info_of(const hs_packer *p) { return p->info; }

// Inputs before document k.
static int64_t inputs_before(const hs_packer *p, int64_t k)
{
    int64_t first, end;
    document(p, k, &first, &end);
    return first - p->range.first - k;
}

static hs_status add_piece(hs_packer *p, int64_t first, int64_t n)
{
    if (p->n_pieces == p->room)
        HS_TRY(grow(p));
    p->length[p->n_pieces] = (int32_t)n;
    p->piece[p->n_pieces++] = (hs_piece){ first, (int32_t)n };
    return HS_OK;
}

// Inputs [x, x + n) in parts of a document and of at most a row.
static hs_status cut_chunk(hs_packer *p, int64_t x, int64_t n)
{
    int64_t low = 0, high = p->info.documents - 1; // the last document that begins at or before x
    while (low < high) {
        const int64_t middle = high - (high - low) / 2;
        if (inputs_before(p, middle) <= x)
            low = middle;
        else
            high = middle - 1;
    }
    for (int64_t k = low; n > 0; k++) {
        int64_t first, end;
        document(p, k, &first, &end);
        const int64_t skip = x - (first - p->range.first - k), left = end - first - 1 - skip, here = left < n ? left : n;
        for (int64_t i = 0; i < here; i += p->row)
            HS_TRY(add_piece(p, first + skip + i, here - i < p->row ? here - i : p->row));
        x += here, n -= here;
    }
    return HS_OK;
}

// From p->to to p->packed: pieces row by row; those without a row, one after another, fill what is left of each.
static void lay_rows(hs_packer *p)
{
    const int64_t rows = p->info.rows;
    int32_t *next = p->to;              // the piece behind one in its row's list, read before it is written
    for (int64_t r = 0; r <= rows; r++) // list `rows`: those without a row
        p->head[r] = -1;
    for (int64_t i = p->n_pieces - 1; i >= 0; i--) {
        int32_t *head = &p->head[p->to[i] < 0 ? rows : p->to[i]];
        next[i] = *head, *head = (int32_t)i;
    }
    int32_t over = p->head[rows], used = 0; // of piece `over`, so many inputs have a place
    int64_t at = 0;
    p->info.pieces = p->n_pieces, p->info.cuts = 0;
    for (int64_t r = 0; r < rows; r++) {
        int32_t room = (int32_t)p->row;
        p->row_at[r] = at;
        for (int32_t i = p->head[r]; i >= 0; i = next[i])
            room -= p->length[i], p->packed[at++] = p->piece[i];
        while (room > 0) { // inputs and room are equal in sum: there is a piece as long as there is room
            const int32_t left = p->length[over] - used, n = left < room ? left : room;
            p->packed[at++] = (hs_piece){ p->piece[over].first + used, n };
            room -= n, used += n;
            p->info.cuts += n < left;
            if (n == left)
                over = next[over], used = 0;
        }
    }
    p->row_at[rows] = at;
}

static hs_status pack_window(hs_packer *p, uint64_t window)
{
    const hs_packer_info *info = &p->info;
    const uint64_t windows = (uint64_t)(info->per_epoch / info->rows), key = hs_mix2(p->seed, window / windows);
    const int64_t slack = info->inputs - p->n_chunks * p->chunk + 1, offsets = slack < p->chunk ? slack : p->chunk;
    const int64_t offset = (int64_t)(hs_mix2(key, 0x6F6666736574ull) % (uint64_t)offsets);
    p->n_pieces = 0, p->window = UINT64_MAX;
    for (int64_t c = 0; c < info->chunks; c++) {
        const uint64_t place = window % windows * (uint64_t)info->chunks + (uint64_t)c;
        HS_TRY(cut_chunk(p, offset + p->chunk * (int64_t)hs_permute(key, (uint64_t)p->n_chunks, place), p->chunk));
    }
    int64_t used;
    HS_TRY(hs_pack_ffd(p->length, p->n_pieces, (int32_t)p->row, info->rows, p->to, &used));
    lay_rows(p);
    p->window = window;
    return HS_OK;
}

hs_status hs_packer_row(hs_packer *p, uint64_t sample, const hs_piece **pieces, int64_t *n)
{
    const uint64_t rows = (uint64_t)p->info.rows, window = sample / rows;
    if (window != p->window)
        HS_TRY(pack_window(p, window));
    // The longest documents have the first rows: shuffled, so that batches are alike.
    const int64_t r = (int64_t)hs_permute(hs_mix2(hs_mix(p->seed), window), rows, sample % rows);
    *pieces = p->packed + p->row_at[r];
    *n = p->row_at[r + 1] - p->row_at[r];
    return HS_OK;
}

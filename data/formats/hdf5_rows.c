// hdf5_rows: rows of a shard out of its columns, and what must agree between them.
#ifdef HS_HAVE_HDF5
#include "data/formats/hdf5_impl.h"
#include <stdlib.h>
#include <string.h>

// ---- rows of the fixed layout

static void narrow(int8_t *out, const int32_t *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (int8_t)(in[i] < INT8_MIN ? INT8_MIN : in[i] > INT8_MAX ? INT8_MAX : in[i]);
}

static hs_status read_narrow(const h5_column *c, int64_t first, int64_t n, int32_t *scratch, int8_t *out)
{
    HS_TRY(hs_h5_ints(c, first, n, scratch));
    narrow(out, scratch, n * (int64_t)c->dim[1]);
    return HS_OK;
}

static hs_status read_fixed(const hs_h5_file *f, int64_t first, hs_pair_rows *r)
{
    const h5_column *c = f->column;
    int32_t *scratch = malloc((size_t)(r->n * r->length) * sizeof *scratch);
    hs_status st = HS_OK;
    if (!scratch)
        return HS_FAIL(MEMORY, "%s: no memory for %lld rows", f->path, (long long)r->n);
    HS_TRY_GOTO(st, hs_h5_ints(&c[H5_INPUT_IDS], first, r->n, r->ids), done);
    HS_TRY_GOTO(st, read_narrow(&c[H5_INPUT_MASK], first, r->n, scratch, r->mask), done);
    HS_TRY_GOTO(st, read_narrow(&c[H5_SEGMENT_IDS], first, r->n, scratch, r->segments), done);
    HS_TRY_GOTO(st, hs_h5_ints(&c[H5_POSITIONS], first, r->n, r->positions), done);
    HS_TRY_GOTO(st, hs_h5_ints(&c[H5_LABELS], first, r->n, r->labels), done);
    HS_TRY_GOTO(st, read_narrow(&c[H5_NEXT], first, r->n, scratch, r->next), done);
    for (int64_t i = 0; i < r->n; i++) {
        int32_t tokens = 0, labels = 0;
        for (int64_t k = 0; k < r->length; k++)
            tokens += r->mask[i * r->length + k] != 0;
        while (labels < r->predictions && r->positions[i * r->predictions + labels] != 0)
            labels++;
        r->part_tokens[i] = tokens, r->part_labels[i] = labels;
    }
done:
    free(scratch);
    return st;
}

// ---- rows of lists

static int64_t longest(const h5_list *v, int64_t n)
{
    size_t most = 0;
    for (int64_t i = 0; v && i < n; i++)
        most = v[i].n > most ? v[i].n : most;
    return (int64_t)(most > INT32_MAX ? INT32_MAX : most);
}

static hs_status same_length(const hs_h5_file *f, int64_t row, h5_column_id a, size_t n, h5_column_id b, size_t want)
{
    return n == want ? HS_OK
                     : HS_FAIL(CORRUPT, "%s: %s: row %lld: %zu values, %s has %zu", f->path, hs_h5_names[a], (long long)row, n,
                               hs_h5_names[b], want);
}

static void put_list(int32_t *out, int64_t row, int64_t room, h5_list v)
{
    if (v.n)
        hs_h5_widen(v.of, out + row * room, v.p, (int64_t)v.n);
}

static void put_narrow(int8_t *out, int64_t row, int64_t room, h5_list v)
{
    int32_t block[256];
    for (size_t i = 0; i < v.n; i += HS_COUNT(block)) {
        const size_t n = v.n - i < HS_COUNT(block) ? v.n - i : HS_COUNT(block);
        hs_h5_widen(v.of, block, v.p + i * v.of->item, (int64_t)n);
        narrow(out + row * room + i, block, (int64_t)n);
    }
}

// Lengths of the sequences of a row: as many as there are, at least `least` each, all of the row.
static hs_status put_lengths(const hs_h5_file *f, h5_column_id id, int32_t *out, int64_t row, int64_t parts, h5_list v, int32_t least,
                             h5_column_id of, size_t total)
{
    int64_t sum = 0;
    put_list(out, 0, parts, v);
    for (size_t p = 0; p < v.n; p++) {
        if (out[p] < least || out[p] > H5_MAX_LENGTH)
            return HS_FAIL(CORRUPT, "%s: %s: row %lld: %d, allowed %d to %d", f->path, hs_h5_names[id], (long long)row, out[p], least,
                           H5_MAX_LENGTH);
        sum += out[p];
    }
    if (sum != (int64_t)total)
        return HS_FAIL(CORRUPT, "%s: %s: row %lld: %lld together, %s has %zu", f->path, hs_h5_names[id], (long long)row, (long long)sum,
                       hs_h5_names[of], total);
    return HS_OK;
}

static hs_status put_row(const hs_h5_file *f, int64_t first, int64_t i, h5_list *const list[H5_N_COLUMNS], hs_pair_rows *r)
{
    const int64_t row = first + i;
    const size_t tokens = list[H5_INPUT_IDS][i].n, labels = list[H5_POSITIONS][i].n;
    HS_TRY(same_length(f, row, H5_SEGMENT_IDS, list[H5_SEGMENT_IDS][i].n, H5_INPUT_IDS, tokens));
    HS_TRY(same_length(f, row, H5_LABELS, list[H5_LABELS][i].n, H5_POSITIONS, labels));
    put_list(r->ids, i, r->length, list[H5_INPUT_IDS][i]);
    put_narrow(r->segments, i, r->length, list[H5_SEGMENT_IDS][i]);
    put_list(r->positions, i, r->predictions, list[H5_POSITIONS][i]);
    put_list(r->labels, i, r->predictions, list[H5_LABELS][i]);
    memset(r->mask + i * r->length, 1, tokens);
    int32_t *part_tokens = r->part_tokens + i * r->parts, *part_labels = r->part_labels + i * r->parts;
    part_tokens[0] = (int32_t)tokens, part_labels[0] = (int32_t)labels;
    if (f->info.layout != HS_H5_PACKED)
        return HS_OK;
    const size_t parts = list[H5_PACKED_INPUT_LEN][i].n;
    HS_TRY(same_length(f, row, H5_PACKED_LABEL_LEN, list[H5_PACKED_LABEL_LEN][i].n, H5_PACKED_INPUT_LEN, parts));
    HS_TRY(same_length(f, row, H5_NEXT, list[H5_NEXT][i].n, H5_PACKED_INPUT_LEN, parts));
    part_tokens[0] = part_labels[0] = 0;
    HS_TRY(put_lengths(f, H5_PACKED_INPUT_LEN, part_tokens, row, r->parts, list[H5_PACKED_INPUT_LEN][i], 1, H5_INPUT_IDS, tokens));
    HS_TRY(put_lengths(f, H5_PACKED_LABEL_LEN, part_labels, row, r->parts, list[H5_PACKED_LABEL_LEN][i], 0, H5_POSITIONS, labels));
    put_narrow(r->next, i, r->parts, list[H5_NEXT][i]);
    return HS_OK;
}

static hs_status rows_of_lists(const hs_h5_file *f, int64_t first, int64_t n, h5_list *const list[H5_N_COLUMNS], hs_pair_rows *r)
{
    const int64_t length = longest(list[H5_INPUT_IDS], n), predictions = longest(list[H5_POSITIONS], n);
    const int64_t packed = longest(list[H5_PACKED_INPUT_LEN], n), parts = packed > 1 ? packed : 1;
    if (length < 1 || length > H5_MAX_LENGTH || predictions > length || parts > length)
        return HS_FAIL(CORRUPT, "%s: rows %lld to %lld: up to %lld tokens, %lld predictions, %lld sequences; allowed 1 to %d tokens",
                       f->path, (long long)first, (long long)(first + n) - 1, (long long)length, (long long)predictions, (long long)parts,
                       H5_MAX_LENGTH);
    HS_TRY(hs_pair_rows_alloc(r, n, length, predictions, parts));
    for (int64_t i = 0; i < n; i++)
        HS_TRY(put_row(f, first, i, list, r));
    return HS_OK;
}

static hs_status read_varlen(const hs_h5_file *f, int64_t first, int64_t n, hs_pair_rows *r)
{
    const h5_column *c = f->column;
    h5_list *memory = calloc((size_t)(n * H5_N_COLUMNS), sizeof *memory), *list[H5_N_COLUMNS] = { NULL };
    hs_status st = memory ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for %lld rows", f->path, (long long)n);
    for (int i = 0; i < H5_N_COLUMNS && st == HS_OK; i++)
        if (c[i].set > 0 && c[i].vlen)
            st = hs_h5_lists(&c[i], first, n, list[i] = memory + i * n);
    if (st == HS_OK)
        st = rows_of_lists(f, first, n, list, r);
    free(memory);
    if (st == HS_OK && f->info.layout == HS_H5_VARLEN) {
        int32_t next[H5_VARLEN_BLOCK];
        for (int64_t i = 0; i < n && st == HS_OK; i += H5_VARLEN_BLOCK) {
            const int64_t m = n - i < H5_VARLEN_BLOCK ? n - i : H5_VARLEN_BLOCK;
            st = read_narrow(&c[H5_NEXT], first + i, m, next, r->next + i);
        }
    }
    return st;
}

hs_status hs_h5_read(hs_h5_file *f, int64_t first, int64_t n, hs_pair_rows *out)
{
    *out = (hs_pair_rows){ 0 };
    if (first < 0 || n < 1 || first + n > f->info.rows)
        return HS_FAIL(USAGE, "%s: rows %lld to %lld of %lld", f->path, (long long)first, (long long)(first + n) - 1,
                       (long long)f->info.rows);
    hs_status st;
    if (f->info.layout == HS_H5_FIXED) {
        HS_TRY(hs_pair_rows_alloc(out, n, f->info.length, f->info.predictions, 1));
        st = read_fixed(f, first, out);
    } else {
        st = read_varlen(f, first, n, out);
    }
    if (st == HS_OK)
        st = hs_pair_rows_check(out, f->path, first, f->vocab);
    if (st == HS_OK)
        return HS_OK;
    hs_pair_rows_free(out);
    return hs_frame_at(st, __FILE__, __LINE__);
}

#else
typedef int no_hdf5_rows_here; // a translation unit may not be empty
#endif

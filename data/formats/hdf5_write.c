// hdf5_write: shards as NVIDIA's recipes write them. All datasets have the same rows per chunk, so that a reader's block is whole chunks of
// each.
#include "data/formats/hdf5_shard.h"

// About half a megabyte of ids: fits the library's chunk cache, inflates in about a millisecond.
int64_t hs_h5_block_rows(int64_t length)
{
    const int64_t rows = length > 0 ? 131072 / length : 256;
    return rows < 1 ? 1 : rows;
}

#ifdef HS_HAVE_HDF5
#include "data/base/file.h"
#include "data/formats/hdf5_impl.h"
#include <stdlib.h>
#include <string.h>

struct hs_h5_out {
    hs_h5_out_opts o;
    hs_file_out file; // reserves the temporary name, syncs and renames; libhdf5 writes into the same inode
    hid_t h5, set[H5_N_COLUMNS], list_memory;
    int64_t written;
    char *path;
};

// The stored type of each dataset by layout: 4 and 1 are integers, w a list of ids, p a list of 16-bit integers, b a list of bytes.
static const char types[][H5_N_COLUMNS] = { [HS_H5_FIXED] = { '4', '1', '1', '4', '4', '1', 0, 0 },
                                            [HS_H5_VARLEN] = { 'w', 0, 'b', 'p', 'w', '1', 0, 0 },
                                            [HS_H5_PACKED] = { 'w', 0, 'b', 'p', 'w', 'b', 'p', 'p' } };

static hid_t list_of(hid_t base) { return H5Tvlen_create(base); }
static hid_t type_of(const hs_h5_out_opts *o, char c)
{
    const bool wide = o->vocab == 0 || o->vocab > INT16_MAX + 1; // NVIDIA's int16 ends at 32767
    switch (c) {
    case '4':
        return H5Tcopy(H5T_STD_I32LE);
    case '1':
        return H5Tcopy(H5T_STD_I8LE);
    case 'w':
        return list_of(wide ? H5T_STD_I32LE : H5T_STD_I16LE);
    case 'p':
        return list_of(H5T_STD_I16LE);
    default:
        return list_of(H5T_STD_I8LE);
    }
}

static hsize_t width_of(const hs_h5_out_opts *o, h5_column_id id)
{
    if (o->layout != HS_H5_FIXED || id == H5_NEXT)
        return 0; // one dimension
    return (hsize_t)(id == H5_POSITIONS || id == H5_LABELS ? o->predictions : o->length);
}

static hs_status refused(const hs_h5_out *w, const char *name)
{
    char why[256];
    return HS_FAIL(SYSTEM, "cannot write %s: %s: %s", w->path, name, hs_h5_why(why));
}

static hs_status create_column(hs_h5_out *w, h5_column_id id)
{
    const hs_h5_out_opts *o = &w->o;
    const hsize_t width = width_of(o, id), block = (hsize_t)hs_h5_block_rows(o->length), rows = (hsize_t)o->rows;
    const hsize_t dim[2] = { rows, width }, chunk[2] = { rows < block ? rows : block, width };
    const int n_dims = width ? 2 : 1;
    const hid_t plist = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(n_dims, dim, NULL);
    const hid_t type = type_of(o, types[o->layout][id]);
    bool ok = plist >= 0 && space >= 0 && type >= 0;
    if (o->layout == HS_H5_FIXED) // lists lie in a heap of their own, which no filter reaches
        ok = ok && H5Pset_chunk(plist, n_dims, chunk) >= 0 && (o->gzip == 0 || H5Pset_deflate(plist, (unsigned)o->gzip) >= 0);
    const hid_t set = ok ? H5Dcreate2(w->h5, hs_h5_names[id], type, space, H5P_DEFAULT, plist, H5P_DEFAULT) : -1;
    const hs_status st = set >= 0 ? HS_OK : refused(w, hs_h5_names[id]);
    w->set[id] = set >= 0 ? set : 0;
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(plist);
    return st;
}

static hs_status create_locked(hs_h5_out *w)
{
    const hid_t access = hs_h5_access(w->file.temporary);
    w->h5 = H5Fcreate(w->file.temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    if (w->h5 < 0)
        return refused(w, "the file");
    w->list_memory = H5Tvlen_create(H5T_NATIVE_INT32);
    for (int i = 0; i < H5_N_COLUMNS; i++)
        if (types[w->o.layout][i])
            HS_TRY(create_column(w, (h5_column_id)i));
    return HS_OK;
}

static hs_status check_opts(const char *path, const hs_h5_out_opts *o)
{
    const bool fixed = o->layout == HS_H5_FIXED;
    if (o->rows < 1 || (fixed && (o->length < 1 || o->predictions < 1 || o->predictions > o->length)) || o->gzip < 0 || o->gzip > 9)
        return HS_FAIL(USAGE, "%s: %lld rows of %lld tokens with %lld predictions, gzip %d; each at least 1, gzip 0 to 9", path,
                       (long long)o->rows, (long long)o->length, (long long)o->predictions, o->gzip);
    return HS_OK;
}

hs_status hs_h5_create(hs_h5_out **out, const char *path, const hs_h5_out_opts *o)
{
    *out = NULL;
    HS_TRY(check_opts(path, o));
    hs_h5_out *w = calloc(1, sizeof *w);
    if (!w || !(w->path = strdup(path))) {
        free(w);
        return HS_FAIL(MEMORY, "%s: no memory to write it", path);
    }
    w->o = *o, w->h5 = -1;
    hs_status st;
    HS_TRY_GOTO(st, hs_file_create(&w->file, path), failed);
    hs_h5_lock();
    st = create_locked(w);
    hs_h5_unlock();
    HS_TRY_GOTO(st, st, failed);
    *out = w;
    return HS_OK;
failed:
    hs_h5_discard(w);
    return st;
}

// ---- rows

// `values`: [n][width] of the memory type, or hvl_t[n] for lists.
static hs_status put(hs_h5_out *w, h5_column_id id, int64_t n, hid_t memory_type, const void *values)
{
    const hsize_t start[2] = { (hsize_t)w->written, 0 }, count[2] = { (hsize_t)n, width_of(&w->o, id) };
    const int n_dims = count[1] ? 2 : 1;
    hs_h5_lock();
    const hid_t file = H5Dget_space(w->set[id]), memory = H5Screate_simple(n_dims, count, NULL);
    hs_status st = HS_OK;
    if (file < 0 || memory < 0 || H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dwrite(w->set[id], memory_type, memory, file, H5P_DEFAULT, values) < 0)
        st = refused(w, hs_h5_names[id]);
    H5Sclose(memory);
    H5Sclose(file);
    hs_h5_unlock();
    return st;
}

static hs_status put_fixed(hs_h5_out *w, const hs_pair_rows *r)
{
    if (r->length != w->o.length || r->predictions != w->o.predictions || r->parts != 1)
        return HS_FAIL(USAGE, "%s: rows of %lld tokens with %lld predictions in %lld sequences, announced %lld, %lld and 1", w->path,
                       (long long)r->length, (long long)r->predictions, (long long)r->parts, (long long)w->o.length,
                       (long long)w->o.predictions);
    HS_TRY(put(w, H5_INPUT_IDS, r->n, H5T_NATIVE_INT32, r->ids));
    HS_TRY(put(w, H5_INPUT_MASK, r->n, H5T_NATIVE_INT8, r->mask));
    HS_TRY(put(w, H5_SEGMENT_IDS, r->n, H5T_NATIVE_INT8, r->segments));
    HS_TRY(put(w, H5_POSITIONS, r->n, H5T_NATIVE_INT32, r->positions));
    HS_TRY(put(w, H5_LABELS, r->n, H5T_NATIVE_INT32, r->labels));
    HS_TRY(put(w, H5_NEXT, r->n, H5T_NATIVE_INT8, r->next));
    return HS_OK;
}

typedef struct lists { // one column as lists of int32_t, the one memory type of all
    hvl_t *v;          // [n]
    int32_t *wide;     // copies of bytes, [n][room]
} lists;

static void add_list(lists *l, int64_t i, const int32_t *from, int64_t n) { l->v[i] = (hvl_t){ (size_t)n, (void *)from }; }
static void add_bytes(lists *l, int64_t i, int64_t room, const int8_t *from, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        l->wide[i * room + k] = from[k];
    add_list(l, i, l->wide + i * room, n);
}

static void fill_lists(lists *l, h5_column_id id, const hs_pair_rows *r)
{
    for (int64_t i = 0; i < r->n; i++) {
        const int64_t tokens = hs_pair_row_tokens(r, i), labels = hs_pair_row_labels(r, i), parts = hs_pair_row_parts(r, i);
        switch (id) {
        case H5_INPUT_IDS:
            add_list(l, i, r->ids + i * r->length, tokens);
            break;
        case H5_SEGMENT_IDS:
            add_bytes(l, i, r->length, r->segments + i * r->length, tokens);
            break;
        case H5_POSITIONS:
            add_list(l, i, r->positions + i * r->predictions, labels);
            break;
        case H5_LABELS:
            add_list(l, i, r->labels + i * r->predictions, labels);
            break;
        case H5_NEXT:
            add_bytes(l, i, r->parts, r->next + i * r->parts, parts);
            break;
        case H5_PACKED_INPUT_LEN:
            add_list(l, i, r->part_tokens + i * r->parts, parts);
            break;
        default:
            add_list(l, i, r->part_labels + i * r->parts, parts);
        }
    }
}

static hs_status put_lists(hs_h5_out *w, const hs_pair_rows *r)
{
    if (w->o.layout == HS_H5_VARLEN && r->parts != 1)
        return HS_FAIL(USAGE, "%s: rows of up to %lld sequences in a file of one each", w->path, (long long)r->parts);
    const int64_t room = r->length > r->parts ? r->length : r->parts;
    lists l = { .v = malloc((size_t)r->n * sizeof *l.v), .wide = malloc((size_t)(r->n * room) * sizeof *l.wide) };
    hs_status st = l.v && l.wide ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for %lld rows", w->path, (long long)r->n);
    for (int i = 0; i < H5_N_COLUMNS && st == HS_OK; i++) {
        const char type = types[w->o.layout][i];
        if (type == '1') {
            st = put(w, (h5_column_id)i, r->n, H5T_NATIVE_INT8, r->next);
        } else if (type) {
            fill_lists(&l, (h5_column_id)i, r);
            st = put(w, (h5_column_id)i, r->n, w->list_memory, l.v);
        }
    }
    free(l.v);
    free(l.wide);
    return st;
}

hs_status hs_h5_append(hs_h5_out *w, const hs_pair_rows *rows)
{
    if (w->written + rows->n > w->o.rows)
        return HS_FAIL(USAGE, "%s: more than the %lld rows announced", w->path, (long long)w->o.rows);
    HS_TRY(hs_pair_rows_check(rows, w->path, w->written, w->o.vocab));
    HS_TRY(w->o.layout == HS_H5_FIXED ? put_fixed(w, rows) : put_lists(w, rows));
    w->written += rows->n;
    return HS_OK;
}

// ---- the end

// Notes the first reason: each call of the library forgets the one before.
static bool closed(bool ok, char why[256])
{
    if (!ok && !why[0])
        hs_h5_why(why);
    return ok;
}

// False: the library could not write what it still held, and why.
static bool close_library(hs_h5_out *w, char why[256])
{
    bool ok = true;
    why[0] = 0;
    hs_h5_lock();
    for (int i = 0; i < H5_N_COLUMNS; i++)
        if (w->set[i] > 0)
            ok = closed(H5Dclose(w->set[i]) >= 0, why) && ok;
    if (w->list_memory > 0)
        H5Tclose(w->list_memory);
    if (w->h5 >= 0)
        ok = closed(H5Fclose(w->h5) >= 0, why) && ok;
    H5Eclear2(H5E_DEFAULT);
    hs_h5_unlock();
    w->h5 = -1;
    memset(w->set, 0, sizeof w->set);
    w->list_memory = 0;
    return ok;
}

void hs_h5_discard(hs_h5_out *w)
{
    if (!w)
        return;
    char why[256];
    close_library(w, why);
    hs_file_discard(&w->file);
    free(w->path);
    free(w);
}

hs_status hs_h5_commit(hs_h5_out *w)
{
    hs_status st = HS_OK;
    char why[256];
    if (w->written != w->o.rows)
        st = HS_FAIL(USAGE, "%s: %lld rows written, %lld announced", w->path, (long long)w->written, (long long)w->o.rows);
    else if (!close_library(w, why))
        st = HS_FAIL(SYSTEM, "cannot write %s: %s", w->path, why);
    else
        st = hs_file_commit(&w->file);
    hs_h5_discard(w);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}
#endif

// hdf5_chunk: what a dataset stores, whatever its layout. The library says where: contiguous data are read where they lie, and of chunks
// it gives the stored bytes. Inflating, unshuffling, checksums and widening are done here, outside its lock, because they are nearly all of
// the time (20 times that of the reading where the file is in memory), and because libhdf5 1.10 copies what a dataset promises out of
// buffers as long as what it has. Only what lies in an object's header is left to it.
#ifdef HS_HAVE_HDF5
#include "data/formats/hdf5_impl.h"
#include <stdlib.h>
#include <string.h>
#ifdef HS_HAVE_ZLIB
#include <zlib.h>
#endif

// ---- stored integers to int32_t

#define WIDEN(name, type, low, high)                                                                                                       \
    static void name(int32_t *out, const unsigned char *in, int64_t n)                                                                     \
    {                                                                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                                                  \
            type v;                                                                                                                        \
            memcpy(&v, in + (size_t)i * sizeof v, sizeof v);                                                                               \
            out[i] = (int32_t)((low) ? INT32_MIN : (high) ? INT32_MAX : v);                                                                \
        }                                                                                                                                  \
    }
WIDEN(widen_i1, int8_t, false, false)
WIDEN(widen_i2, int16_t, false, false)
WIDEN(widen_i4, int32_t, false, false)
WIDEN(widen_i8, int64_t, v<INT32_MIN, v> INT32_MAX)
WIDEN(widen_u1, uint8_t, false, false)
WIDEN(widen_u2, uint16_t, false, false)
WIDEN(widen_u4, uint32_t, false, v > INT32_MAX)
WIDEN(widen_u8, uint64_t, false, v > INT32_MAX)

typedef void widen_fn(int32_t *out, const unsigned char *in, int64_t n);
static widen_fn *widen_of(const h5_column *c)
{
    switch (c->item) {
    case 1:
        return c->is_signed ? widen_i1 : widen_u1;
    case 2:
        return c->is_signed ? widen_i2 : widen_u2;
    case 4:
        return c->is_signed ? widen_i4 : widen_u4;
    default:
        return c->is_signed ? widen_i8 : widen_u8;
    }
}

void hs_h5_widen(const h5_column *c, int32_t *out, const unsigned char *in, int64_t n)
{
    enum { BLOCK = 64 };
    unsigned char turned[BLOCK * 8];
    widen_fn *widen = widen_of(c);
    if (!c->big_endian) {
        widen(out, in, n);
        return;
    }
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t m = n - i < BLOCK ? n - i : BLOCK;
        for (size_t k = 0; k < (size_t)m * c->item; k++)
            turned[k] = in[(size_t)i * c->item + (k / c->item + 1) * c->item - 1 - k % c->item];
        widen(out + i, turned, m);
    }
}

typedef struct window { // rows of the column that are wanted
    int64_t first, n;
    void *out; // int32_t or references, [n][dim[1]]
} window;

// n items from column `left` of a row on; NULL: never written.
static void put(const h5_column *c, window w, int64_t row, int64_t left, const unsigned char *from, int64_t n)
{
    const int64_t at = (row - w.first) * (int64_t)c->dim[1] + left;
    if (c->vlen) {
        unsigned char *to = (unsigned char *)w.out + (size_t)at * H5_REFERENCE;
        if (from)
            memcpy(to, from, (size_t)n * H5_REFERENCE);
        else
            memset(to, 0, (size_t)n * H5_REFERENCE);
        return;
    }
    int32_t *to = (int32_t *)w.out + at;
    if (from)
        hs_h5_widen(c, to, from, n);
    else
        for (int64_t i = 0; i < n; i++)
            hs_h5_widen(c, to + i, c->fill, 1);
}

// ---- filters

typedef struct bytes {
    unsigned char *p;
    size_t n, room;
} bytes;

static hs_status reserve(bytes *b, size_t n, const h5_column *c)
{
    if (n <= b->room)
        return HS_OK;
    unsigned char *p = realloc(b->p, n);
    if (!p)
        return HS_FAIL(MEMORY, "%s: %s: no memory for a chunk of %zu bytes", c->path, c->name, n);
    b->p = p, b->room = n;
    return HS_OK;
}

// All first bytes, then all second ones, ... back to items; bytes that make no whole item stay where they are.
static void unshuffle(unsigned char *to, const unsigned char *from, size_t n_bytes, size_t item)
{
    const size_t n = n_bytes / item;
    for (size_t b = 0; b < item; b++)
        for (size_t i = 0; i < n; i++)
            to[i * item + b] = from[b * n + i];
    memcpy(to + n * item, from + n * item, n_bytes - n * item);
}

static bool inflate_all(bytes *to, const bytes *from, size_t want)
{
#ifdef HS_HAVE_ZLIB
    uLongf n = want;
    to->n = want;
    return uncompress(to->p, &n, from->p, from->n) == Z_OK && n == want;
#else
    (void)to, (void)from, (void)want;
    return false;
#endif
}

// Fletcher's sum as HDF5 defines it: 16-bit words, the first byte the higher one, both sums modulo 65535; compared so, as 0 has two forms.
static bool fletcher32_agrees(const unsigned char *p, size_t n)
{
    uint64_t a = 0, b = 0;
    const uint32_t stored = h5_u32(p + n);
    for (size_t i = 0; i < n; i += 2) {
        a = (a + ((uint32_t)p[i] << 8) + (i + 1 < n ? p[i + 1] : 0)) % 65535;
        b = (b + a) % 65535;
    }
    return (stored & 0xFFFF) % 65535 == a && (stored >> 16) % 65535 == b;
}

// Bytes once a compression, filter f, is undone: checksums that were put on before it are still there.
static size_t bytes_before(const h5_column *c, int f, uint32_t skipped, size_t want)
{
    for (int i = 0; i < f; i++)
        want += c->filter[i] == H5Z_FILTER_FLETCHER32 && !(skipped >> i & 1) ? 4 : 0;
    return want;
}

// Undoes the filters of in[0], last one first, with in[1] as the other buffer; a bit of `skipped` stands for a filter that was left out.
static hs_status undo_filters(const h5_column *c, bytes in[2], uint32_t skipped, size_t want, int *which)
{
    int now = 0;
    if (want / H5_GZIP_AT_MOST > in[0].n)
        return HS_FAIL(CORRUPT, "%s: %s: a chunk of %zu bytes cannot hold %zu", c->path, c->name, in[0].n, want);
    for (int f = c->n_filters - 1; f >= 0; f--) {
        if (skipped >> f & 1)
            continue;
        bytes *from = &in[now], *to = &in[!now];
        if (c->filter[f] == H5Z_FILTER_FLETCHER32) {
            if (from->n < 4 || !fletcher32_agrees(from->p, from->n - 4))
                return HS_FAIL(CORRUPT, "%s: %s: a chunk whose checksum does not agree", c->path, c->name);
            from->n -= 4;
            continue;
        }
        const size_t n = c->filter[f] == H5Z_FILTER_SHUFFLE ? from->n : bytes_before(c, f, skipped, want);
        HS_TRY(reserve(to, n, c));
        if (c->filter[f] == H5Z_FILTER_SHUFFLE) {
            unshuffle(to->p, from->p, n, h5_stored_bytes(c));
            to->n = n;
        } else if (!inflate_all(to, from, n)) {
            return HS_FAIL(CORRUPT, "%s: %s: a chunk does not inflate to its %zu bytes", c->path, c->name, n);
        }
        now = !now;
    }
    *which = now;
    return in[now].n == want ? HS_OK : HS_FAIL(CORRUPT, "%s: %s: a chunk of %zu bytes, %zu wanted", c->path, c->name, in[now].n, want);
}

// ---- chunks

// Whether a chunk that cannot be read is one that nobody wrote. Walks the whole index.
static bool never_written(const h5_column *c, const hsize_t at[2])
{
    haddr_t where = 0;
    hsize_t n;
    return H5Dget_chunk_info_by_coord(c->set, at, NULL, &where, &n) >= 0 && where == HADDR_UNDEF;
}

// The stored bytes of the chunk at `at`; *stored false: it was never written.
// H5Dread_chunk asks for no room. With filters it reads as many bytes as H5Dget_chunk_storage_size tells; without, as many as the index
// says, which no call tells in less than a walk over the index. It never reads beyond the file: so much room is then made, and not touched.
static hs_status fetch(const h5_column *c, const hsize_t at[2], bytes *raw, uint32_t *skipped, bool *stored)
{
    char why[256];
    hsize_t n = c->chunk[0] * c->chunk[1] * h5_stored_bytes(c);
    hs_status st = HS_OK;
    *stored = true;
    hs_h5_lock();
    if (c->n_filters && H5Dget_chunk_storage_size(c->set, at, &n) < 0)
        st = HS_FAIL(CORRUPT, "%s: %s: row %llu: %s", c->path, c->name, (unsigned long long)at[0], hs_h5_why(why));
    else if (n > c->map.bytes)
        st = HS_FAIL(CORRUPT, "%s: %s: row %llu: a chunk of %llu bytes in a file of %zu", c->path, c->name, (unsigned long long)at[0],
                     (unsigned long long)n, c->map.bytes);
    else if (n == 0)
        *stored = false;
    else if ((st = reserve(raw, c->n_filters ? n : c->map.bytes, c)) == HS_OK) {
        memset(raw->p, 0, n); // an index may still say less
        if (H5Dread_chunk(c->set, H5P_DEFAULT, at, skipped, raw->p) < 0)
            st = HS_FAIL(CORRUPT, "%s: %s: row %llu: %s", c->path, c->name, (unsigned long long)at[0], hs_h5_why(why));
    }
    if (st == HS_CORRUPT && !c->n_filters && never_written(c, at))
        st = HS_OK, *stored = false;
    hs_h5_unlock();
    raw->n = n;
    return st;
}

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

// chunk NULL: never written.
static void copy_part(const h5_column *c, const hsize_t at[2], const unsigned char *chunk, window w)
{
    const int64_t top = (int64_t)at[0], left = (int64_t)at[1];
    const int64_t r0 = top > w.first ? top : w.first, r1 = lesser(top + (int64_t)c->chunk[0], w.first + w.n);
    const int64_t columns = lesser((int64_t)c->chunk[1], (int64_t)c->dim[1] - left);
    for (int64_t r = r0; r < r1; r++)
        put(c, w, r, left, chunk ? chunk + (size_t)(r - top) * c->chunk[1] * h5_stored_bytes(c) : NULL, columns);
}

static hs_status from_chunks(const h5_column *c, window w)
{
    const size_t want = c->chunk[0] * c->chunk[1] * h5_stored_bytes(c);
    bytes buffer[2] = { { 0 } };
    hs_status st = HS_OK;
    for (hsize_t top = (hsize_t)w.first / c->chunk[0] * c->chunk[0]; top < (hsize_t)(w.first + w.n); top += c->chunk[0])
        for (hsize_t left = 0; left < c->dim[1]; left += c->chunk[1]) {
            const hsize_t at[2] = { top, left };
            uint32_t skipped = 0;
            int which = 0;
            bool stored = false;
            HS_TRY_GOTO(st, fetch(c, at, &buffer[0], &skipped, &stored), done);
            if (stored)
                HS_TRY_GOTO(st, undo_filters(c, buffer, skipped, want, &which), done);
            copy_part(c, at, stored ? buffer[which].p : NULL, w);
        }
done:
    free(buffer[0].p);
    free(buffer[1].p);
    return st;
}

// ---- the other layouts

static hs_status from_file(const h5_column *c, window w)
{
    const size_t row = c->dim[1] * h5_stored_bytes(c);
    if (c->offset == HADDR_UNDEF) {
        put(c, w, w.first, 0, NULL, w.n * (int64_t)c->dim[1]);
        return HS_OK;
    }
    const uint64_t end = c->map.bytes;
    if (c->offset > end || (uint64_t)(w.first + w.n) > (end - c->offset) / row)
        return HS_FAIL(CORRUPT, "%s: %s: rows %lld to %lld lie behind the file's end", c->path, c->name, (long long)w.first,
                       (long long)(w.first + w.n) - 1);
    put(c, w, w.first, 0, (const unsigned char *)c->map.data + c->offset + (size_t)w.first * row, w.n * (int64_t)c->dim[1]);
    return HS_OK;
}

static hs_status from_header(const h5_column *c, window w)
{
    const hsize_t start[2] = { (hsize_t)w.first, 0 }, count[2] = { (hsize_t)w.n, c->dim[1] };
    char why[256];
    hs_status st = HS_OK;
    hs_h5_lock();
    const hid_t file = H5Dget_space(c->set), memory = H5Screate_simple(c->n_dims, count, NULL);
    if (file < 0 || memory < 0 || H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(c->set, H5T_NATIVE_INT32, memory, file, H5P_DEFAULT, w.out) < 0)
        st = HS_FAIL(CORRUPT, "%s: %s: rows %lld to %lld: %s", c->path, c->name, (long long)w.first, (long long)(w.first + w.n) - 1,
                     hs_h5_why(why));
    if (memory >= 0)
        H5Sclose(memory);
    if (file >= 0)
        H5Sclose(file);
    hs_h5_unlock();
    return st;
}

static hs_status rows(const h5_column *c, window w)
{
    return c->layout == H5D_CHUNKED ? from_chunks(c, w) : c->layout == H5D_CONTIGUOUS ? from_file(c, w) : from_header(c, w);
}

hs_status hs_h5_ints(const h5_column *c, int64_t first, int64_t n, int32_t *out) { return rows(c, (window){ first, n, out }); }
hs_status hs_h5_references(const h5_column *c, int64_t first, int64_t n, unsigned char *out) { return rows(c, (window){ first, n, out }); }

#else
typedef int no_hdf5_here; // a translation unit may not be empty
#endif

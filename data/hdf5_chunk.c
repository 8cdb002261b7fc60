// hdf5_chunk: integers out of the chunks of a dataset. The library gives their stored bytes; inflating, unshuffling and widening are done
// here, outside its lock, because they are nearly all of the time (20 times that of the reading where the file is in memory).
#ifdef HS_HAVE_HDF5
#include "data/hdf5_impl.h"
#include <stdlib.h>
#include <string.h>
#ifdef HS_HAVE_ZLIB
#include <zlib.h>
#endif

// ---- stored integers to int32_t; what does not fit becomes the nearest that does, and is refused later as no id

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

// Undoes the filters of in[0], last one first, with in[1] as the other buffer; a bit of `skipped` stands for a filter that was left out.
static hs_status undo_filters(const h5_column *c, bytes in[2], uint32_t skipped, size_t want, int *which)
{
    int now = 0;
    for (int f = c->n_filters - 1; f >= 0; f--) {
        if (skipped >> f & 1)
            continue;
        HS_TRY(reserve(&in[!now], want, c));
        if (c->filter[f] == H5Z_FILTER_SHUFFLE) {
            if (in[now].n != want)
                break;
            unshuffle(in[!now].p, in[now].p, want, c->item);
            in[!now].n = want;
        } else if (!inflate_all(&in[!now], &in[now], want)) {
            return HS_FAIL(CORRUPT, "%s: %s: a chunk does not inflate to its %zu bytes", c->path, c->name, want);
        }
        now = !now;
    }
    *which = now;
    return in[now].n == want ? HS_OK : HS_FAIL(CORRUPT, "%s: %s: a chunk of %zu bytes, %zu wanted", c->path, c->name, in[now].n, want);
}

// ---- chunks

// The stored bytes of the chunk at `at`; *stored false: it was never written.
static hs_status fetch(const h5_column *c, const hsize_t at[2], bytes *raw, uint32_t *skipped, bool *stored)
{
    char why[256];
    hsize_t n = 0;
    hs_status st = HS_OK;
    hs_h5_lock();
    if (H5Dget_chunk_storage_size(c->set, at, &n) < 0)
        st = HS_FAIL(CORRUPT, "%s: %s: row %llu: %s", c->path, c->name, (unsigned long long)at[0], hs_h5_why(why));
    else if (n > c->file_bytes)
        st = HS_FAIL(CORRUPT, "%s: %s: row %llu: a chunk of %llu bytes in a file of %zu", c->path, c->name, (unsigned long long)at[0],
                     (unsigned long long)n, c->file_bytes);
    else if (n > 0 && (st = reserve(raw, n, c)) == HS_OK && H5Dread_chunk(c->set, H5P_DEFAULT, at, skipped, raw->p) < 0)
        st = HS_FAIL(CORRUPT, "%s: %s: row %llu: %s", c->path, c->name, (unsigned long long)at[0], hs_h5_why(why));
    hs_h5_unlock();
    raw->n = n;
    *stored = n > 0;
    return st;
}

typedef struct window { // rows of the column that are wanted
    int64_t first, n;
    int32_t *out; // [n][dim[1]]
} window;

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

static void copy_part(const h5_column *c, const hsize_t at[2], const unsigned char *chunk, window w)
{
    widen_fn *widen = widen_of(c);
    const int64_t top = (int64_t)at[0], left = (int64_t)at[1], width = (int64_t)c->dim[1];
    const int64_t r0 = top > w.first ? top : w.first, r1 = lesser(top + (int64_t)c->chunk[0], w.first + w.n);
    const int64_t columns = lesser((int64_t)c->chunk[1], width - left);
    for (int64_t r = r0; r < r1; r++)
        widen(w.out + (r - w.first) * width + left, chunk + (size_t)(r - top) * c->chunk[1] * c->item, columns);
}

hs_status hs_h5_chunks(const h5_column *c, int64_t first, int64_t n, int32_t *out)
{
    if (!c->direct)
        return hs_h5_slab(c, first, n, out);
    const size_t want = c->chunk[0] * c->chunk[1] * c->item;
    const window w = { first, n, out };
    bytes buffer[2] = { { 0 } };
    hs_status st = HS_OK;
    bool stored = true;
    for (hsize_t top = (hsize_t)first / c->chunk[0] * c->chunk[0]; top < (hsize_t)(first + n) && stored; top += c->chunk[0])
        for (hsize_t left = 0; left < c->dim[1] && stored; left += c->chunk[1]) {
            const hsize_t at[2] = { top, left };
            uint32_t skipped = 0;
            int which = 0;
            HS_TRY_GOTO(st, fetch(c, at, &buffer[0], &skipped, &stored), done);
            if (!stored)
                break;
            HS_TRY_GOTO(st, undo_filters(c, buffer, skipped, want, &which), done);
            copy_part(c, at, buffer[which].p, w);
        }
    if (!stored) // what was never written reads as the fill value, which the library knows
        HS_TRY_GOTO(st, hs_h5_slab(c, first, n, out), done);
done:
    free(buffer[0].p);
    free(buffer[1].p);
    return st;
}

#else
typedef int no_hdf5_here; // a translation unit may not be empty
#endif

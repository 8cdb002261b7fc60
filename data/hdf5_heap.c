// hdf5_heap: the heaps of a file, of the old format without checksums. That of the root group's names, which libhdf5 1.10 believes and
// writes memory by, is looked at first. The one in which lists of any length lie is read here, so that the library never has to.
#ifdef HS_HAVE_HDF5
#include "data/hdf5_impl.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_OBJECTS = 4096, MOST_LIST = 1 << 20 }; // the library's collections of many objects have at most 64 KiB

static uint64_t u64_at(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// Bytes [at, at + n) of the file, or NULL.
static const char *span(hs_file f, uint64_t at, uint64_t n) { return at <= f.bytes && n <= f.bytes - at ? f.data + at : NULL; }

hs_status hs_h5_check_names(const char *path, hs_file f, uint64_t base, uint64_t at)
{
    const char *heap = at <= UINT64_MAX - base ? span(f, base + at, 32) : NULL;
    if (!heap || memcmp(heap, "HEAP", 4) != 0)
        return HS_FAIL(CORRUPT, "%s: byte %llu: no heap of names, to which its superblock leads", path, (unsigned long long)(base + at));
    const uint64_t bytes = u64_at(heap + 8), data = u64_at(heap + 24);
    if (data > f.bytes || base > f.bytes || !span(f, base + data, bytes))
        return HS_FAIL(CORRUPT, "%s: byte %llu: a heap of %llu bytes at %llu, the file has %zu", path, (unsigned long long)(base + at),
                       (unsigned long long)bytes, (unsigned long long)(base + data), f.bytes);
    return HS_OK;
}

typedef struct blocks { // of an old object header, in order of discovery
    struct {
        uint64_t at, bytes;
    } block[64];
    int n;
} blocks;

static uint16_t u16_at(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// Names of filters, which the library takes for strings before it looks at their length. Version 2 is of newer files.
static bool filters_are_named(const char *p, uint16_t bytes)
{
    enum { FRONT = 8, HEAD = 8 };
    uint64_t at = FRONT;
    const int n = bytes >= FRONT && p[0] == 1 ? (unsigned char)p[1] : 0;
    for (int i = 0; i < n; i++) {
        const uint64_t name = at + HEAD <= bytes ? u16_at(p + at + 2) : 0, values = at + HEAD <= bytes ? u16_at(p + at + 6) : 0;
        if (at + HEAD + name > bytes || (name && !memchr(p + at + HEAD, 0, name)))
            return false;
        at += HEAD + name + 4 * (values + values % 2);
    }
    return true;
}

// The messages of a block: the heap of names that one of them tells, filters, and what further blocks there are.
static hs_status check_messages(const char *path, hs_file f, uint64_t base, const char *block, uint64_t bytes, blocks *all)
{
    enum { HEAD = 8, FILTERS = 0x0B, CONTINUED = 0x10, SYMBOL_TABLE = 0x11 };
    for (uint64_t p = 0; p + HEAD <= bytes;) {
        const uint16_t type = u16_at(block + p), size = u16_at(block + p + 2);
        p += HEAD;
        if (size > bytes - p)
            break; // the library finds this itself
        if (type == SYMBOL_TABLE && size >= 16)
            HS_TRY(hs_h5_check_names(path, f, base, u64_at(block + p + 8)));
        if (type == FILTERS && !filters_are_named(block + p, size))
            return HS_FAIL(CORRUPT, "%s: byte %llu: filters whose names do not end", path, (unsigned long long)(block + p - f.data));
        if (type == CONTINUED && size >= 16 && all->n < HS_COUNT(all->block)) {
            all->block[all->n].at = u64_at(block + p);
            all->block[all->n++].bytes = u64_at(block + p + 8);
        }
        p += size;
    }
    return HS_OK;
}

hs_status hs_h5_check_header(const char *path, hs_file f, uint64_t base, uint64_t at)
{
    enum { FRONT = 16 };
    const char *head = at <= UINT64_MAX - base ? span(f, base + at, FRONT) : NULL;
    if (!head || head[0] != 1) // headers of version 2 have a checksum
        return HS_OK;
    uint32_t first;
    memcpy(&first, head + 8, sizeof first);
    blocks all = { .block = { { at + FRONT, first } }, .n = 1 };
    for (int k = 0; k < all.n; k++) {
        const uint64_t bytes = all.block[k].bytes;
        const char *block = all.block[k].at <= UINT64_MAX - base ? span(f, base + all.block[k].at, bytes) : NULL;
        if (block) // else the library finds it itself
            HS_TRY(check_messages(path, f, base, block, bytes, &all));
    }
    return HS_OK;
}

// The bytes of object `index` of the collection at `at`, of exactly `bytes`; NULL: there is none.
static const unsigned char *object(hs_file f, uint64_t at, uint32_t index, uint64_t bytes)
{
    const char *head = span(f, at, 16);
    if (!head || memcmp(head, "GCOL\1", 5) != 0)
        return NULL;
    const uint64_t end = u64_at(head + 8);
    if (!span(f, at, end))
        return NULL;
    uint64_t p = 16;
    for (int k = 0; p + 16 <= end && k < MOST_OBJECTS; k++) {
        uint16_t id;
        memcpy(&id, head + p, sizeof id);
        const uint64_t size = u64_at(head + p + 8);
        if (id == 0 || size > end - p - 16) // 0: free space, all of the rest
            return NULL;
        if (id == index)
            return size == bytes ? (const unsigned char *)head + p + 16 : NULL;
        p += 16 + (size + 7) / 8 * 8;
    }
    return NULL;
}

static hs_status list_at(const h5_column *c, const unsigned char *reference, int64_t row, h5_list *out)
{
    uint32_t length, index;
    memcpy(&length, reference, sizeof length);
    memcpy(&index, reference + 12, sizeof index);
    const uint64_t at = u64_at((const char *)reference + 4);
    *out = (h5_list){ .of = c, .n = length };
    if (length == 0)
        return HS_OK;
    if (length <= MOST_LIST && at <= c->map.bytes && c->base <= c->map.bytes)
        out->p = object(c->map, c->base + at, index, (uint64_t)length * c->item);
    return out->p ? HS_OK
                  : HS_FAIL(CORRUPT, "%s: %s: row %lld: a list of %u, object %u of the heap at byte %llu, which has no such thing", c->path,
                            c->name, (long long)row, length, index, (unsigned long long)(c->base + at));
}

hs_status hs_h5_lists(const h5_column *c, int64_t first, int64_t n, h5_list *out)
{
    unsigned char *reference = malloc((size_t)n * H5_REFERENCE);
    if (!reference)
        return HS_FAIL(MEMORY, "%s: %s: no memory for %lld rows", c->path, c->name, (long long)n);
    hs_status st = hs_h5_references(c, first, n, reference);
    for (int64_t i = 0; st == HS_OK && i < n; i++)
        st = list_at(c, reference + (size_t)i * H5_REFERENCE, first + i, &out[i]);
    free(reference);
    return st;
}

#else
typedef int no_hdf5_heap_here; // a translation unit may not be empty
#endif

// hdf5_heap: what libhdf5 1.10 believes of a file and writes memory by, looked at first: the heap of the root group's names, and the heap
// in which lists of any length lie. Both are of the old format, without checksums.
#ifdef HS_HAVE_HDF5
#include "data/hdf5_impl.h"
#include <string.h>

enum { MOST_OBJECTS = 4096, REFERENCE = 16, MOST_LIST = 1 << 20 }; // the library's collections of many objects have at most 64 KiB

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

// Whether object `index` of the collection at `at` is there, with exactly `bytes`: the library copies as many as it has.
static bool has_object(hs_file f, uint64_t at, uint32_t index, uint64_t bytes)
{
    const char *head = span(f, at, 16);
    if (!head || memcmp(head, "GCOL\1", 5) != 0)
        return false;
    const uint64_t end = u64_at(head + 8);
    if (!span(f, at, end))
        return false;
    uint64_t p = 16;
    bool found = false;
    for (int k = 0; p + 16 <= end; k++) {
        uint16_t id;
        memcpy(&id, head + p, sizeof id);
        const uint64_t size = u64_at(head + p + 8);
        if (id == 0) // free space, all of the rest: with less the library would look for more for ever
            return found && size == end - p;
        if (size > end - p - 16 || k == MOST_OBJECTS)
            return false;
        if (id == index && !found) {
            found = true;
            if (size != bytes)
                return false;
        }
        p += 16 + (size + 7) / 8 * 8;
    }
    return found;
}

hs_status hs_h5_check_lists(const h5_column *c, hs_file f, uint64_t base, int64_t first, int64_t n)
{
    const haddr_t offset = H5Dget_offset(c->set);
    H5Eclear2(H5E_DEFAULT);
    if (offset == HADDR_UNDEF) // in chunks, or never written
        return HS_OK;
    const char *p = (uint64_t)offset <= f.bytes ? span(f, (uint64_t)offset + REFERENCE * (uint64_t)first, REFERENCE * (uint64_t)n) : NULL;
    if (!p)
        return HS_FAIL(CORRUPT, "%s: %s: rows %lld to %lld lie behind the file's end", c->path, c->name, (long long)first,
                       (long long)(first + n) - 1);
    for (int64_t i = 0; i < n; i++, p += REFERENCE) {
        uint32_t length, index;
        memcpy(&length, p, sizeof length);
        memcpy(&index, p + 12, sizeof index);
        const uint64_t at = u64_at(p + 4);
        if (length == 0 && at == 0)
            continue;
        if (length > MOST_LIST || at > f.bytes || !has_object(f, base + at, index, (uint64_t)length * c->item))
            return HS_FAIL(CORRUPT, "%s: %s: row %lld: a list of %u, object %u of the heap at byte %llu, which has no such thing", c->path,
                           c->name, (long long)(first + i), length, index, (unsigned long long)(base + at));
    }
    return HS_OK;
}

#else
typedef int no_hdf5_heap_here; // a translation unit may not be empty
#endif

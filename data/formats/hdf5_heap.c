// hdf5_heap: lists of any length out of the heap in which a file keeps them, so that libhdf5 never has to: it copies as many bytes as a
// list says, whatever room it has. The heap has no checksum; what a list leads to is held against the file here.
#ifdef HS_HAVE_HDF5
#include "data/formats/hdf5_impl.h"
#include <stdlib.h>

enum { MOST_OBJECTS = 4096, MOST_LIST = 1 << 20 }; // the library's collections of many objects have at most 64 KiB

// The bytes of object `index` of the collection at `at`, of exactly `bytes`; NULL: there is none.
static const unsigned char *object(hs_file f, uint64_t base, uint64_t at, uint32_t index, uint64_t bytes)
{
    const char *head = h5_span(f, base, at, 16);
    if (!head || memcmp(head, "GCOL\1", 5) != 0)
        return NULL;
    const uint64_t end = h5_u64(head + 8);
    if (!h5_span(f, base, at, end))
        return NULL;
    uint64_t p = 16;
    for (int k = 0; p + 16 <= end && k < MOST_OBJECTS; k++) {
        const uint16_t id = h5_u16(head + p);
        const uint64_t size = h5_u64(head + p + 8);
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
    const uint32_t length = h5_u32(reference), index = h5_u32(reference + 12);
    const uint64_t at = h5_u64(reference + 4);
    *out = (h5_list){ .of = c, .n = length };
    if (length == 0)
        return HS_OK;
    if (length <= MOST_LIST)
        out->p = object(c->map, c->base, at, index, (uint64_t)length * c->item);
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

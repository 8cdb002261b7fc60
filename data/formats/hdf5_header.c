// hdf5_header: what libhdf5 1.10 believes of an object's header, looked at before it does. Headers of version 1 (what h5py and NVIDIA's
// scripts write unless told otherwise) have no checksum, and the library reads what a message promises beyond the message's end, divides by
// what may be zero, and copies by lengths that nothing bounds. Later headers have a checksum, which keeps accidents out. Layout of
// messages: HDF5 File Format Specification 3.0, IV.A.
#ifdef HS_HAVE_HDF5
#include "data/formats/hdf5_impl.h"

static hs_status check_names(const char *path, hs_file f, uint64_t base, uint64_t at)
{
    enum { NONE = 1, PLACE = 16 };
    const char *heap = h5_span(f, base, at, 32);
    if (!heap || memcmp(heap, "HEAP", 4) != 0)
        return HS_FAIL(CORRUPT, "%s: byte %llu: no heap of names, to which its superblock leads", path, (unsigned long long)(base + at));
    const uint64_t bytes = h5_u64(heap + 8), at_data = h5_u64(heap + 24);
    const char *data = h5_span(f, base, at_data, bytes);
    if (!data)
        return HS_FAIL(CORRUPT, "%s: byte %llu: a heap of %llu bytes at %llu, the file has %zu", path, (unsigned long long)(base + at),
                       (unsigned long long)bytes, (unsigned long long)(base + at_data), f.bytes);
    uint64_t room = h5_u64(heap + 16), k = 0; // a list of free places, which the library follows for ever if it is a ring
    while (room != NONE && room <= bytes && bytes - room >= PLACE && k++ <= bytes / PLACE)
        room = h5_u64(data + room);
    if (k > bytes / PLACE)
        return HS_FAIL(CORRUPT, "%s: byte %llu: a heap of names whose free places have no end", path, (unsigned long long)(base + at));
    return HS_OK;
}

// ---- trees of the old format, of names (keys of 8 bytes, leaves are tables of names) and of chunks

typedef struct tree {
    const char *path;
    hs_file f;
    uint64_t base;
    uint8_t type;   // NAMES or CHUNKS
    uint64_t key;   // bytes of one
    uint64_t nodes; // that may still come: a file has no room for more
} tree;
enum { NAMES = 0, CHUNKS = 1, TREE_FRONT = 24, TABLE_FRONT = 8, TABLE_ENTRY = 40 };

static hs_status bad_tree(const tree *t, uint64_t at)
{
    return HS_FAIL(CORRUPT, "%s: byte %llu: no part of an index, to which another one leads", t->path, (unsigned long long)(t->base + at));
}

// The objects that a table names lie in the file.
static hs_status check_table(const tree *t, uint64_t at)
{
    const char *p = h5_span(t->f, t->base, at, TABLE_FRONT);
    if (!p || memcmp(p, "SNOD", 4) != 0)
        return bad_tree(t, at);
    const uint64_t n = h5_u16(p + 6);
    p = h5_span(t->f, t->base, at + TABLE_FRONT, n * TABLE_ENTRY);
    for (uint64_t i = 0; p && i < n; i++)
        if (!h5_span(t->f, t->base, h5_u64(p + i * TABLE_ENTRY + 8), 1))
            return bad_tree(t, h5_u64(p + i * TABLE_ENTRY + 8));
    return p ? HS_OK : bad_tree(t, at);
}

// Every address in it lies in the file: the library adds sizes to them before it compares. level: of the node; -1: any.
static hs_status check_tree(tree *t, uint64_t at, int level)
{
    const char *p = h5_span(t->f, t->base, at, TREE_FRONT);
    if (!p || memcmp(p, "TREE", 4) != 0 || (uint8_t)p[4] != t->type || (level >= 0 && (uint8_t)p[5] != level) || t->nodes-- == 0)
        return bad_tree(t, at);
    const uint64_t n = h5_u16(p + 6), left = h5_u64(p + 8), right = h5_u64(p + 16), each = t->key + 8;
    if ((left != UINT64_MAX && !h5_span(t->f, t->base, left, 1)) || (right != UINT64_MAX && !h5_span(t->f, t->base, right, 1)))
        return bad_tree(t, at);
    level = (uint8_t)p[5];
    p = h5_span(t->f, t->base, at + TREE_FRONT, n * each + t->key);
    for (uint64_t i = 0; p && i < n; i++) {
        const uint64_t child = h5_u64(p + i * each + t->key);
        if (level > 0)
            HS_TRY(check_tree(t, child, level - 1));
        else if (t->type == NAMES)
            HS_TRY(check_table(t, child));
        else if (!h5_span(t->f, t->base, child, 1))
            return bad_tree(t, child);
    }
    return p ? HS_OK : bad_tree(t, at);
}

hs_status hs_h5_check_group(const char *path, hs_file f, uint64_t base, uint64_t index, uint64_t names)
{
    tree t = { path, f, base, NAMES, 8, f.bytes / TREE_FRONT };
    HS_TRY(check_tree(&t, index, -1));
    return check_names(path, f, base, names);
}

// p: a layout message that is whole.
static hs_status check_index(const char *path, hs_file f, uint64_t base, const char *p)
{
    const bool chunked = p[0] <= 3 && p[p[0] == 3 ? 1 : 2] == 2;
    if (!chunked)
        return HS_OK;
    const uint64_t rank = (unsigned char)p[p[0] == 3 ? 2 : 1], index = h5_u64(p + (p[0] == 3 ? 3 : 8));
    tree t = { path, f, base, CHUNKS, 8 + 8 * rank, f.bytes / TREE_FRONT };
    return index == UINT64_MAX ? HS_OK : check_tree(&t, index, -1); // else nothing was written
}

// ---- messages: true if everything they promise lies inside them, or if their version is not of old headers

static bool space_is_whole(const char *p, uint64_t n)
{
    if (n < 4)
        return false;
    const uint64_t rank = (unsigned char)p[1], lists = 1 + (p[2] & 1) + (p[0] == 1 && p[2] & 2);
    return (p[0] == 1 ? 8 : 4) + 8 * rank * lists <= n;
}

// Bytes that a class of types has; 0: of classes that hold further types, no column of a shard is one.
static bool type_is_whole(const char *p, uint64_t n)
{
    static const uint8_t least[16] = { [0] = 12, [1] = 20, [2] = 10, [3] = 8, [4] = 12, [7] = 8 };
    enum { LIST = 9, HEAD = 8 };
    if (n >= HEAD && (p[0] & 15) == LIST)
        p += HEAD, n -= HEAD;
    return n >= HEAD && least[p[0] & 15] && n >= least[p[0] & 15];
}

static bool old_fill_is_whole(const char *p, uint64_t n) { return n >= 4 && h5_u32(p) <= n - 4; }

static bool fill_is_whole(const char *p, uint64_t n)
{
    if (n < 2)
        return false;
    if (p[0] == 3)
        return !(p[1] & 0x20) || (n >= 6 && h5_u32(p + 2) <= n - 6);
    return n >= 4 && (p[3] == 0 || (n >= 8 && ((int32_t)h5_u32(p + 4) < 0 || h5_u32(p + 4) <= n - 8)));
}

// Sizes of chunks: none is zero.
static bool sizes_are_whole(const char *p, uint64_t n, uint64_t rank)
{
    if (rank == 0 || 4 * rank > n)
        return false;
    for (uint64_t i = 0; i < rank; i++)
        if (h5_u32(p + 4 * i) == 0)
            return false;
    return true;
}

static bool layout_is_whole(const char *p, uint64_t n)
{
    enum { COMPACT, CONTIGUOUS, CHUNKED };
    if (n < 8)
        return false;
    if (p[0] == 3)
        return p[1] == COMPACT      ? h5_u16(p + 2) <= n - 4
               : p[1] == CONTIGUOUS ? n >= 18
                                    : n >= 11 && sizes_are_whole(p + 11, n - 11, (unsigned char)p[2]);
    if (p[0] > 3)
        return true;
    const uint64_t rank = (unsigned char)p[1], address = p[2] == COMPACT ? 0 : 8;
    if (8 + address + 4 * rank + 4 > n)
        return p[2] != COMPACT && p[2] == CHUNKED && 8 + address + 4 * rank <= n && sizes_are_whole(p + 16, n - 16, rank);
    return p[2] == COMPACT ? h5_u32(p + 8 + 4 * rank) <= n - 12 - 4 * rank : sizes_are_whole(p + 16, n - 16, rank);
}

// Names are taken for strings before their length is looked at.
static bool filters_are_whole(const char *p, uint64_t n)
{
    enum { FRONT = 8, HEAD = 8 };
    uint64_t at = FRONT;
    if (n < 2 || p[0] != 1)
        return n >= 2;
    for (int i = 0; i < (unsigned char)p[1]; i++) {
        if (at + HEAD > n)
            return false;
        const uint64_t name = h5_u16(p + at + 2), values = h5_u16(p + at + 6);
        if (at + HEAD + name > n || (name && !memchr(p + at + HEAD, 0, name)))
            return false;
        at += HEAD + name + 4 * (values + values % 2);
    }
    return at <= n;
}

static bool table_is_whole(const char *p, uint64_t n) { return (void)p, n >= 16; }

enum { LAYOUT = 8, CONTINUED = 0x10, SYMBOL_TABLE = 0x11, SHARED = 2 }; // SHARED: a flag; what follows is an address
static const struct {
    uint16_t type;
    const char *what;
    bool (*is_whole)(const char *p, uint64_t bytes);
} messages[] = {
    { 0x01, "shape", space_is_whole },
    { 0x03, "type", type_is_whole },
    { 0x04, "fill value", old_fill_is_whole },
    { 0x05, "fill value", fill_is_whole },
    { LAYOUT, "layout", layout_is_whole },
    { 0x0B, "filters", filters_are_whole },
    { CONTINUED, "continuation", table_is_whole },
    { SYMBOL_TABLE, "names", table_is_whole },
};

static hs_status check_message(const char *path, hs_file f, const char *p, uint16_t type, uint16_t bytes, int flags)
{
    for (int i = 0; i < HS_COUNT(messages); i++)
        if (messages[i].type == type && !(flags & SHARED) && !messages[i].is_whole(p, bytes))
            return HS_FAIL(CORRUPT, "%s: byte %lld: the %s of a dataset, in %d bytes, cannot be", path, (long long)(p - f.data),
                           messages[i].what, bytes);
    return HS_OK;
}

typedef struct blocks { // of a header, in order of discovery
    struct {
        uint64_t at, bytes;
    } block[64];
    int n;
} blocks;

static hs_status check_block(const char *path, hs_file f, uint64_t base, const char *block, uint64_t bytes, blocks *all)
{
    enum { HEAD = 8 };
    for (uint64_t at = 0; at + HEAD <= bytes;) {
        const uint16_t type = h5_u16(block + at), n = h5_u16(block + at + 2);
        const int flags = block[at + 4];
        const char *p = block + (at += HEAD);
        if (n > bytes - at)
            break; // the library finds this itself
        HS_TRY(check_message(path, f, p, type, n, flags));
        if (type == SYMBOL_TABLE && !(flags & SHARED))
            HS_TRY(hs_h5_check_group(path, f, base, h5_u64(p), h5_u64(p + 8)));
        if (type == LAYOUT && !(flags & SHARED))
            HS_TRY(check_index(path, f, base, p));
        if (type == CONTINUED && !(flags & SHARED)) {
            if (all->n == HS_COUNT(all->block))
                return HS_FAIL(UNSUPPORTED, "%s: byte %lld: a header in more than %d parts", path, (long long)(p - f.data), all->n);
            all->block[all->n].at = h5_u64(p);
            all->block[all->n++].bytes = h5_u64(p + 8);
        }
        at += n;
    }
    return HS_OK;
}

hs_status hs_h5_check_header(const char *path, hs_file f, uint64_t base, uint64_t at)
{
    enum { FRONT = 16 };
    const char *head = h5_span(f, base, at, FRONT);
    if (!head || head[0] != 1)
        return HS_OK;
    blocks all = { .block = { { at + FRONT, h5_u32(head + 8) } }, .n = 1 };
    for (int k = 0; k < all.n; k++) {
        const char *block = h5_span(f, base, all.block[k].at, all.block[k].bytes);
        if (!block) // the library would ask for memory first
            return HS_FAIL(CORRUPT, "%s: byte %llu: a header of %llu bytes, the file has %zu", path,
                           (unsigned long long)(base + all.block[k].at), (unsigned long long)all.block[k].bytes, f.bytes);
        HS_TRY(check_block(path, f, base, block, all.block[k].bytes, &all));
    }
    return HS_OK;
}

#else
typedef int no_hdf5_header_here; // a translation unit may not be empty
#endif

// hdf5_impl: what hdf5_read, hdf5_rows, hdf5_chunk, hdf5_heap, hdf5_header and hdf5_write share. Only with libhdf5.
#ifndef HS_DATA_HDF5_IMPL_H
#define HS_DATA_HDF5_IMPL_H
#include "data/formats/hdf5_shard.h"
#include "data/text/token_store.h" // hs_file
#include <hdf5.h>
#include <string.h>

typedef enum h5_column_id { // in the order of the table in hdf5_shard.h
    H5_INPUT_IDS,
    H5_INPUT_MASK,
    H5_SEGMENT_IDS,
    H5_POSITIONS,
    H5_LABELS,
    H5_NEXT,
    H5_PACKED_INPUT_LEN,
    H5_PACKED_LABEL_LEN,
    H5_N_COLUMNS
} h5_column_id;
extern const char *const hs_h5_names[H5_N_COLUMNS];

enum { H5_REFERENCE = 16 };      // bytes of a list where its dataset lies: u32 length, u64 heap, u32 object
enum { H5_GZIP_AT_MOST = 1100 }; // bytes out of one: what a file of this size can promise
enum { H5_MAX_LENGTH = 16384 };  // tokens of a row
enum { H5_VARLEN_BLOCK = 256 };  // rows of lists that are read together

typedef struct h5_column {
    hid_t set; // of the dataset, 0: not there
    const char *path, *name;
    hs_file map;   // of the whole file
    uint64_t base; // bytes of the user's in front, from which the file's own addresses count
    int n_dims;
    hsize_t dim[2]; // of a dataset with one dimension the second is 1
    size_t item;    // bytes of a stored integer
    bool is_signed, big_endian, vlen;
    H5D_layout_t layout;
    haddr_t offset;           // in the file, of a contiguous dataset; HADDR_UNDEF: it was never written
    hsize_t chunk[2];         // of a chunked one; else all of it
    int n_filters, filter[4]; // in the order they were applied
    unsigned char fill[8];    // a stored integer: what was never written reads as
} h5_column;

struct hs_h5_file {
    hid_t file;
    hs_file map;
    uint64_t base;
    char *path;
    int64_t vocab;
    hs_h5_info info;
    h5_column column[H5_N_COLUMNS];
};

// Bytes of an item as the dataset keeps it.
static inline size_t h5_stored_bytes(const h5_column *c) { return c->vlen ? H5_REFERENCE : c->item; }

// What stands in a file, in its own order of bytes and at any place.
static inline uint16_t h5_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t h5_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t h5_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
// Bytes [at, at + n) of the file, counted from base, or NULL.
static inline const char *h5_span(hs_file f, uint64_t base, uint64_t at, uint64_t n)
{
    return base <= f.bytes && at <= f.bytes - base && n <= f.bytes - base - at ? f.data + base + at : NULL;
}

// libhdf5 keeps its state for the whole process, and Debian's build may be used by one thread at a time only.
void hs_h5_lock(void); // also turns off its printing of errors
void hs_h5_unlock(void);
// A property list to open or create path with, to be closed; under hs_h5_lock. The library locks what it opens; where the file system has no
// locks it is told not to, as every other reader here does without.
hid_t hs_h5_access(const char *path);
// The most specific words of its last error, which are then forgotten. Locked.
const char *hs_h5_why(char buf[256]);

// Rows [first, first + n) of a one- or two-dimensional column into out[n][dim[1]]. Not locked by the caller.
hs_status hs_h5_ints(const h5_column *c, int64_t first, int64_t n, int32_t *out);
// Stored integers to int32_t; what does not fit becomes the nearest that does, and is refused later as no id.
void hs_h5_widen(const h5_column *c, int32_t *out, const unsigned char *in, int64_t n);

typedef struct h5_list { // of stored integers, in the mapped file
    const h5_column *of;
    const unsigned char *p;
    size_t n;
} h5_list;
hs_status hs_h5_lists(const h5_column *c, int64_t first, int64_t n, h5_list *out);            // not locked by the caller
hs_status hs_h5_references(const h5_column *c, int64_t first, int64_t n, unsigned char *out); // [n][H5_REFERENCE]; likewise

// Before the library may read what it would believe; base: where its addresses begin to count. CORRUPT with the byte or the row.
hs_status hs_h5_check_group(const char *path, hs_file f, uint64_t base, uint64_t index, uint64_t names); // addresses of its two parts
hs_status hs_h5_check_header(const char *path, hs_file f, uint64_t base, uint64_t at); // of a group or a dataset: its messages

#endif

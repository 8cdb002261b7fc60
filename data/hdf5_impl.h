// hdf5_impl: what hdf5_read, hdf5_chunk and hdf5_write share. Only with libhdf5.
#ifndef HS_DATA_HDF5_IMPL_H
#define HS_DATA_HDF5_IMPL_H
#include "data/hdf5_shard.h"
#include "data/token_store.h" // hs_file
#include <hdf5.h>

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

typedef struct h5_column {
    hid_t set; // of the dataset, 0: not there
    const char *path, *name;
    int n_dims;
    hsize_t dim[2], chunk[2]; // of a dataset with one dimension the second is 1
    size_t file_bytes;
    size_t item;                  // bytes of a stored integer
    bool is_signed, vlen, direct; // direct: chunks this code can decode itself
    int n_filters, filter[4];     // in the order they were applied
} h5_column;

// libhdf5 keeps its state for the whole process, and Debian's build may be used by one thread at a time only.
void hs_h5_lock(void); // also turns off its printing of errors
void hs_h5_unlock(void);
// The most specific words of its last error, which are then forgotten. Locked.
const char *hs_h5_why(char buf[256]);

// Rows [first, first + n) of a one- or two-dimensional column into out[n][dim[1]]. Not locked by the caller.
hs_status hs_h5_chunks(const h5_column *c, int64_t first, int64_t n, int32_t *out);
hs_status hs_h5_slab(const h5_column *c, int64_t first, int64_t n, int32_t *out); // through the library's own decoding

// Before the library may read what it would believe; base: where its addresses begin to count. CORRUPT with the byte or the row.
hs_status hs_h5_check_names(const char *path, hs_file f, uint64_t base, uint64_t at);
hs_status hs_h5_check_lists(const h5_column *c, hs_file f, uint64_t base, int64_t first, int64_t n); // locked; of lists not in chunks

#endif

// hdf5_read: opening a shard, checking that it is one, its rows. All calls of libhdf5 stand between hs_h5_lock and hs_h5_unlock.
#include "data/base/file.h"
#include "data/formats/hdf5_shard.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const hs_h5_layout_names[] = { "fixed", "varlen", "packed" };

static bool begins_as_hdf5(const char *p, size_t n) { return n >= 8 && memcmp(p, "\x89HDF\r\n\x1a\n", 8) == 0; }

static int64_t next_start(int64_t at) { return at ? 2 * at : 512; } // a block of the user's may stand in front

bool hs_h5_is(const char *path)
{
    char head[8];
    for (int64_t at = 0; hs_file_part(path, at, head, sizeof head) == sizeof head; at = next_start(at))
        if (begins_as_hdf5(head, sizeof head))
            return true;
    return false;
}

#ifdef HS_HAVE_HDF5
#include "core/base/log.h"
#include "data/formats/hdf5_impl.h"
#include <errno.h>
#include <pthread.h>
#include <sys/file.h>

enum { CONTIGUOUS_BLOCK = 1024, BLOCK_TOKENS = 8 << 20, MAX_CHUNK = 64 << 20 };

const char *const hs_h5_names[H5_N_COLUMNS] = { "input_ids",     "input_mask",           "segment_ids",      "masked_lm_positions",
                                                "masked_lm_ids", "next_sentence_labels", "packed_input_len", "packed_masked_lm_len" };
// S, P: a matrix of that width; R: one integer a row; v: a list a row; 0: no such dataset in this layout
static const char shapes[][H5_N_COLUMNS] = { [HS_H5_FIXED] = { 'S', 'S', 'S', 'P', 'P', 'R', 0, 0 },
                                             [HS_H5_VARLEN] = { 'v', 0, 'v', 'v', 'v', 'R', 0, 0 },
                                             [HS_H5_PACKED] = { 'v', 0, 'v', 'v', 'v', 'v', 'v', 'v' } };

// ---- the library

static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER; // global because what it guards is

void hs_h5_lock(void)
{
    pthread_mutex_lock(&library);
    // A file whose closing failed (a full disk) makes the library's own clearing up at exit crash; what is ours was closed by then.
    H5dont_atexit();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); // of the calling thread where the library is thread-safe
}
void hs_h5_unlock(void) { pthread_mutex_unlock(&library); }

static bool told; // once a process; guarded as the library is

// A lock that another holds is no reason: the library says so.
static bool has_no_locks(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool none = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno != EWOULDBLOCK && errno != EINTR;
    if (none && !told)
        hs_info("%s: the file system has no locks (%s): HDF5 files there are opened without", path, strerror(errno));
    told |= none;
    close(fd); // gives the lock back
    return none;
}

hid_t hs_h5_access(const char *path)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG); // closing the file closes whatever an error left open in it
    if (has_no_locks(path)) {
#if H5_VERSION_GE(1, 10, 7)
        H5Pset_file_locking(access, false, true);
#else
        hs_warn("libhdf5 before 1.10.7 locks all the same; HDF5_USE_FILE_LOCKING=FALSE in the environment tells it not to");
#endif
    }
    return access;
}

// The system's own words stand in quotes, amid times and addresses.
static herr_t keep_first(unsigned n, const H5E_error2_t *e, void *to)
{
    static const char says[] = "error message = '";
    const char *system = n == 0 && e->desc ? strstr(e->desc, says) : NULL;
    if (system)
        snprintf(to, 256, "%.*s", (int)strcspn(system + sizeof says - 1, "'"), system + sizeof says - 1);
    else if (n == 0 && e->desc)
        snprintf(to, 256, "%s", e->desc);
    return 0;
}

const char *hs_h5_why(char buf[256])
{
    snprintf(buf, 256, "libhdf5 gives no reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, buf);
    H5Eclear2(H5E_DEFAULT);
    for (char *p = buf; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return buf;
}

// ---- a dataset

static hs_status describe_type(h5_column *c)
{
    const hid_t type = H5Dget_type(c->set);
    hid_t base = type;
    if (type >= 0 && (c->vlen = H5Tget_class(type) == H5T_VLEN))
        base = H5Tget_super(type);
    const bool integer = base >= 0 && H5Tget_class(base) == H5T_INTEGER;
    c->item = base >= 0 ? H5Tget_size(base) : 0;
    c->is_signed = integer && H5Tget_sign(base) == H5T_SGN_2;
    c->big_endian = integer && H5Tget_order(base) == H5T_ORDER_BE;
    const bool whole = integer && H5Tget_precision(base) == 8 * c->item && H5Tget_offset(base) == 0;
    if (base >= 0 && base != type)
        H5Tclose(base);
    if (type >= 0)
        H5Tclose(type);
    if (!whole || (c->item != 1 && c->item != 2 && c->item != 4 && c->item != 8))
        return HS_FAIL(CORRUPT, "%s: %s: its type is no integer of 1, 2, 4 or 8 bytes", c->path, c->name);
    return HS_OK;
}

static hs_status describe_space(h5_column *c)
{
    const hid_t space = H5Dget_space(c->set);
    c->dim[1] = 1;
    c->n_dims = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    if (c->n_dims == 1 || c->n_dims == 2)
        H5Sget_simple_extent_dims(space, c->dim, NULL);
    if (space >= 0)
        H5Sclose(space);
    if (c->n_dims != 1 && c->n_dims != 2)
        return HS_FAIL(CORRUPT, "%s: %s: %d dimensions, allowed 1 and 2", c->path, c->name, c->n_dims);
    if (c->dim[0] > INT32_MAX || c->dim[1] > INT32_MAX || c->dim[0] * c->dim[1] / H5_GZIP_AT_MOST > c->map.bytes / h5_stored_bytes(c))
        return HS_FAIL(CORRUPT, "%s: %s: %llu x %llu integers, more than a file of %zu bytes can hold", c->path, c->name,
                       (unsigned long long)c->dim[0], (unsigned long long)c->dim[1], c->map.bytes);
    return HS_OK;
}

static hs_status describe_filters(h5_column *c, hid_t plist)
{
    c->n_filters = H5Pget_nfilters(plist);
    if (c->n_filters < 0 || c->n_filters > HS_COUNT(c->filter))
        return HS_FAIL(UNSUPPORTED, "%s: %s: %d filters, allowed 0 to %d", c->path, c->name, c->n_filters, HS_COUNT(c->filter));
    for (int i = 0; i < c->n_filters; i++) {
        unsigned flags, config;
        size_t n = 0;
        char name[64] = "";
        c->filter[i] = H5Pget_filter2(plist, (unsigned)i, &flags, &n, NULL, sizeof name, name, &config);
        bool known = c->filter[i] == H5Z_FILTER_SHUFFLE || c->filter[i] == H5Z_FILTER_FLETCHER32;
#ifdef HS_HAVE_ZLIB
        known |= c->filter[i] == H5Z_FILTER_DEFLATE;
#endif
        if (!known)
            return HS_FAIL(UNSUPPORTED, "%s: %s: stored with filter %d (%.63s), read are gzip, shuffle and Fletcher32", c->path, c->name,
                           c->filter[i], name);
    }
    return HS_OK;
}

static hs_status describe_chunks(h5_column *c, hid_t plist)
{
    if (H5Pget_chunk(plist, 2, c->chunk) != c->n_dims)
        return HS_FAIL(CORRUPT, "%s: %s: its chunks have another number of dimensions", c->path, c->name);
    if (c->n_dims == 1)
        c->chunk[1] = 1;
    if (c->chunk[0] < 1 || c->chunk[1] < 1 || c->chunk[0] > MAX_CHUNK || c->chunk[1] > MAX_CHUNK ||
        c->chunk[0] * c->chunk[1] * h5_stored_bytes(c) > MAX_CHUNK)
        return HS_FAIL(CORRUPT, "%s: %s: chunks of %llu x %llu integers of %zu bytes; at most %d bytes", c->path, c->name,
                       (unsigned long long)c->chunk[0], (unsigned long long)c->chunk[1], c->item, MAX_CHUNK);
    HS_TRY(describe_filters(c, plist));
    const hsize_t each = c->chunk[0] * c->chunk[1] * h5_stored_bytes(c);
    if (c->n_filters == 0 && H5Dget_storage_size(c->set) % each != 0)
        return HS_FAIL(CORRUPT, "%s: %s: its chunks are not of %llu bytes each", c->path, c->name, (unsigned long long)each);
    return HS_OK;
}

// In an object's header, which the library copies as far as the dataset's shape says.
static hs_status describe_compact(const h5_column *c)
{
    if (c->vlen)
        return HS_FAIL(UNSUPPORTED, "%s: %s: lists of any length inside its header", c->path, c->name);
    if (H5Dget_storage_size(c->set) != c->dim[0] * c->dim[1] * c->item)
        return HS_FAIL(CORRUPT, "%s: %s: %llu bytes in its header for %llu x %llu integers of %zu bytes", c->path, c->name,
                       (unsigned long long)H5Dget_storage_size(c->set), (unsigned long long)c->dim[0], (unsigned long long)c->dim[1],
                       c->item);
    return HS_OK;
}

static void describe_fill(h5_column *c, hid_t plist)
{
    H5D_fill_value_t defined = H5D_FILL_VALUE_ERROR;
    const hid_t type = H5Dget_type(c->set);
    if (H5Pfill_value_defined(plist, &defined) < 0 || defined == H5D_FILL_VALUE_UNDEFINED || type < 0 ||
        H5Pget_fill_value(plist, type, c->fill) < 0)
        memset(c->fill, 0, sizeof c->fill);
    if (type >= 0)
        H5Tclose(type);
    H5Eclear2(H5E_DEFAULT);
}

// Data that lie in other files are refused: a shard is one file, and opening it opens no other.
static hs_status describe_storage(h5_column *c)
{
    const hid_t plist = H5Dget_create_plist(c->set);
    hs_status st = HS_OK;
    c->layout = plist >= 0 ? H5Pget_layout(plist) : H5D_LAYOUT_ERROR;
    c->chunk[0] = c->dim[0], c->chunk[1] = c->dim[1];
    if (c->layout == H5D_LAYOUT_ERROR || c->layout == H5D_VIRTUAL || H5Pget_external_count(plist) != 0)
        st = HS_FAIL(CORRUPT, "%s: %s: its data lie in another file", c->path, c->name);
    else if (c->layout == H5D_COMPACT)
        st = describe_compact(c);
    else if (c->layout == H5D_CHUNKED)
        st = describe_chunks(c, plist);
    else
        c->offset = H5Dget_storage_size(c->set) ? H5Dget_offset(c->set) : HADDR_UNDEF; // else the library adds the user's block to "none"
    if (st == HS_OK && !c->vlen)
        describe_fill(c, plist);
    if (plist >= 0)
        H5Pclose(plist);
    H5Eclear2(H5E_DEFAULT);
    return st;
}

// *header, if wanted: where the object's header lies.
static bool has_column(const hs_h5_file *f, h5_column_id id, haddr_t *header)
{
    H5L_info_t link;
    const bool has = H5Lexists(f->file, hs_h5_names[id], H5P_DEFAULT) > 0 &&
                     H5Lget_info(f->file, hs_h5_names[id], &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_HARD;
    H5Eclear2(H5E_DEFAULT);
    if (has && header)
        *header = link.u.address;
    return has;
}

static hs_status open_column(hs_h5_file *f, h5_column_id id)
{
    h5_column *c = &f->column[id];
    haddr_t header;
    char why[256];
    *c = (h5_column){ .path = f->path, .name = hs_h5_names[id], .map = f->map, .base = f->base };
    if (!has_column(f, id, &header))
        return HS_FAIL(CORRUPT, "%s: %s: no such dataset", f->path, c->name);
    HS_TRY(hs_h5_check_header(f->path, f->map, f->base, header));
    const hid_t set = H5Dopen2(f->file, c->name, H5P_DEFAULT);
    if (set < 0)
        return HS_FAIL(CORRUPT, "%s: %s: %s", f->path, c->name, hs_h5_why(why));
    c->set = set;
    HS_TRY(describe_type(c));
    HS_TRY(describe_space(c));
    HS_TRY(describe_storage(c));
    return HS_OK;
}

// ---- a file

static hs_status check_shape(const hs_h5_file *f, h5_column_id id, char shape)
{
    const h5_column *c = &f->column[id];
    const long long rows = (long long)f->column[H5_INPUT_IDS].dim[0], width = (long long)c->dim[1];
    const long long want = shape == 'S' ? f->info.length : shape == 'P' ? f->info.predictions : 1;
    if (c->vlen != (shape == 'v'))
        return HS_FAIL(CORRUPT, "%s: %s: %s, but the layout of input_ids is %s", f->path, c->name,
                       c->vlen ? "lists of any length" : "one integer each", hs_h5_layout_names[f->info.layout]);
    if (c->n_dims != (shape == 'S' || shape == 'P' ? 2 : 1))
        return HS_FAIL(CORRUPT, "%s: %s: %d dimensions, %d wanted", f->path, c->name, c->n_dims, shape == 'S' || shape == 'P' ? 2 : 1);
    if ((long long)c->dim[0] != rows)
        return HS_FAIL(CORRUPT, "%s: %s: %lld rows, input_ids has %lld", f->path, c->name, (long long)c->dim[0], rows);
    if (width != want)
        return HS_FAIL(CORRUPT, "%s: %s: rows of %lld, %s has rows of %lld", f->path, c->name, width,
                       hs_h5_names[shape == 'S' ? H5_INPUT_IDS : H5_POSITIONS], want);
    return HS_OK;
}

// Rows that are read together: the largest chunk of any dataset, so that none is inflated twice, within bounds of memory.
static int64_t block_of(const hs_h5_file *f)
{
    if (f->info.layout != HS_H5_FIXED)
        return H5_VARLEN_BLOCK;
    const hsize_t step = f->column[H5_INPUT_IDS].chunk[0], most = BLOCK_TOKENS / (hsize_t)f->info.length;
    hsize_t rows = 0;
    for (int i = H5_INPUT_IDS; i <= H5_LABELS; i++) // next_sentence_labels is small: inflating it again costs nothing
        if (f->column[i].layout == H5D_CHUNKED && f->column[i].chunk[0] > rows)
            rows = f->column[i].chunk[0];
    if (rows == 0)
        rows = CONTIGUOUS_BLOCK;
    if (rows > most)
        rows = step < most ? most / step * step : most;
    return (int64_t)rows;
}

static hs_status open_columns(hs_h5_file *f)
{
    h5_column *c = f->column;
    HS_TRY(open_column(f, H5_INPUT_IDS));
    f->info.layout = !c->vlen ? HS_H5_FIXED : has_column(f, H5_PACKED_INPUT_LEN, NULL) ? HS_H5_PACKED : HS_H5_VARLEN;
    const char *shape = shapes[f->info.layout];
    for (int i = 1; i < H5_N_COLUMNS; i++)
        if (shape[i])
            HS_TRY(open_column(f, (h5_column_id)i));
    f->info.rows = (int64_t)c[H5_INPUT_IDS].dim[0];
    if (f->info.layout == HS_H5_FIXED)
        f->info.length = (int64_t)c[H5_INPUT_IDS].dim[1], f->info.predictions = (int64_t)c[H5_POSITIONS].dim[1];
    for (int i = 0; i < H5_N_COLUMNS; i++)
        if (shape[i])
            HS_TRY(check_shape(f, (h5_column_id)i, shape[i]));
    if (f->info.rows < 1)
        return HS_FAIL(CORRUPT, "%s: input_ids: no rows", f->path);
    if (f->info.layout == HS_H5_FIXED &&
        (f->info.length < 1 || f->info.length > H5_MAX_LENGTH || f->info.predictions < 1 || f->info.predictions > f->info.length))
        return HS_FAIL(CORRUPT, "%s: rows of %lld tokens with %lld predictions; allowed 1 to %d, and no more predictions than tokens",
                       f->path, (long long)f->info.length, (long long)f->info.predictions, H5_MAX_LENGTH);
    f->info.block = block_of(f);
    return HS_OK;
}

static hs_status open_locked(hs_h5_file *f)
{
    char why[256];
    const hid_t access = hs_h5_access(f->path);
    f->file = H5Fopen(f->path, H5F_ACC_RDONLY, access);
    const hs_status st = f->file >= 0 ? HS_OK : HS_FAIL(CORRUPT, "%s: %s", f->path, hs_h5_why(why)); // before the next call clears it
    H5Pclose(access);
    HS_TRY(st);
    HS_TRY(open_columns(f));
    return HS_OK;
}

// What the library would believe before it checks anything: a driver's block, which no shard has, of a size that it allocates at once.
static hs_status check_superblock(const char *path, hs_file file, size_t at)
{
    const char *p = file.data + at;
    const size_t n = file.bytes - at;
    static const struct {
        uint8_t bytes, sizes, end, driver, cached, names; // of all of it; where stand the bytes of an address, the file's end (16 behind
                                                          // its base), the driver's address (0: none), whether the root group's parts are
                                                          // told, its names
    } forms[] = { { 96, 13, 40, 48, 72, 88 }, { 100, 13, 44, 52, 76, 92 }, { 48, 9, 28, 0, 0, 0 }, { 48, 9, 28, 0, 0, 0 } };
    const int version = n > 8 ? (unsigned char)p[8] : 0;
    if (version >= HS_COUNT(forms))
        return HS_FAIL(UNSUPPORTED, "%s: HDF5 with a superblock of version %d, known are 0 to 3", path, version);
    if (n < forms[version].bytes)
        return HS_FAIL(CORRUPT, "%s: %zu bytes: truncated inside its superblock", path, n);
    const int sizes = forms[version].sizes;
    if (p[sizes] != 8 || p[sizes + 1] != 8)
        return HS_FAIL(CORRUPT, "%s: HDF5 with addresses of %d and sizes of %d bytes, allowed 8", path, (unsigned char)p[sizes],
                       (unsigned char)p[sizes + 1]);
    const uint64_t base = h5_u64(p + forms[version].end - 16), end = h5_u64(p + forms[version].end);
    if (base <= end && end - base > n)
        return HS_FAIL(CORRUPT, "%s: truncated file: %zu of %llu bytes", path, n, (unsigned long long)(end - base));
    if (forms[version].driver && h5_u64(p + forms[version].driver) != UINT64_MAX)
        return HS_FAIL(CORRUPT, "%s: HDF5 that names a driver of its own, allowed none", path);
    if (!forms[version].cached)
        return HS_OK;
    const char *cached = p + forms[version].cached, *names = p + forms[version].names;
    if (*cached == 1)
        HS_TRY(hs_h5_check_group(path, file, at, h5_u64(names - 8), h5_u64(names)));
    return hs_h5_check_header(path, file, at, h5_u64(cached - 8));
}

static hs_status check_signature(hs_h5_file *f)
{
    HS_TRY(hs_file_map(&f->map, f->path));
    size_t at = 0;
    while (at < f->map.bytes && !begins_as_hdf5(f->map.data + at, f->map.bytes - at))
        at = (size_t)next_start((int64_t)at);
    if (at >= f->map.bytes)
        return HS_FAIL(CORRUPT, "%s is no HDF5 file", f->path);
    f->base = at;
    HS_TRY(check_superblock(f->path, f->map, at));
    return HS_OK;
}

hs_status hs_h5_open(hs_h5_file **out, const char *path, int64_t vocab)
{
    *out = NULL;
    hs_h5_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    }
    f->file = -1, f->vocab = vocab;
    hs_status st = check_signature(f);
    if (st == HS_OK) {
        hs_h5_lock();
        st = open_locked(f);
        hs_h5_unlock();
    }
    if (st != HS_OK) {
        hs_h5_close(f);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = f;
    return HS_OK;
}

void hs_h5_close(hs_h5_file *f)
{
    if (!f)
        return;
    hs_h5_lock();
    for (int i = 0; i < H5_N_COLUMNS; i++)
        if (f->column[i].set > 0)
            H5Dclose(f->column[i].set);
    if (f->file >= 0)
        H5Fclose(f->file);
    H5Eclear2(H5E_DEFAULT);
    hs_h5_unlock();
    hs_file_unmap(&f->map);
    free(f->path);
    free(f);
}

hs_h5_info hs_h5_info_of(const hs_h5_file *f) { return f->info; }

#else // ---- a build without the library

static hs_status missing(const char *path) { return HS_FAIL(UNSUPPORTED, "%s: this build has no libhdf5", path); }

hs_status hs_h5_open(hs_h5_file **out, const char *path, int64_t vocab)
{
    (void)vocab;
    *out = NULL;
    return missing(path);
}
void hs_h5_close(hs_h5_file *f) { (void)f; }
hs_h5_info hs_h5_info_of(const hs_h5_file *f)
{
    (void)f;
    return (hs_h5_info){ 0 };
}
hs_status hs_h5_read(hs_h5_file *f, int64_t first, int64_t n, hs_pair_rows *out)
{
    (void)f, (void)first, (void)n, (void)out;
    return missing("HDF5");
}
hs_status hs_h5_create(hs_h5_out **out, const char *path, const hs_h5_out_opts *o)
{
    (void)o;
    *out = NULL;
    return missing(path);
}
hs_status hs_h5_append(hs_h5_out *w, const hs_pair_rows *rows)
{
    (void)w, (void)rows;
    return missing("HDF5");
}
hs_status hs_h5_commit(hs_h5_out *w)
{
    (void)w;
    return missing("HDF5");
}
void hs_h5_discard(hs_h5_out *w) { (void)w; }
#endif

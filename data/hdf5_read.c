// hdf5_read: opening a shard, checking that it is one, its rows. All calls of libhdf5 stand between hs_h5_lock and hs_h5_unlock.
#include "data/file.h"
#include "data/hdf5_shard.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const hs_h5_layout_names[] = { "fixed", "varlen", "packed" };

static bool begins_as_hdf5(const char *p, size_t n) { return n >= 8 && memcmp(p, "\x89HDF\r\n\x1a\n", 8) == 0; }

bool hs_h5_is(const char *path)
{
    char head[8];
    return begins_as_hdf5(head, hs_file_head(path, head, sizeof head));
}

#ifdef HS_HAVE_HDF5
#include "data/hdf5_impl.h"
#include <pthread.h>

enum { MAX_LENGTH = 16384, VARLEN_BLOCK = 256, CONTIGUOUS_BLOCK = 1024, BLOCK_TOKENS = 8 << 20, MAX_CHUNK = 64 << 20 };
enum { GZIP_AT_MOST = 1100 }; // bytes out of one of gzip: what a file of this size can promise

const char *const hs_h5_names[H5_N_COLUMNS] = { "input_ids",     "input_mask",           "segment_ids",      "masked_lm_positions",
                                                "masked_lm_ids", "next_sentence_labels", "packed_input_len", "packed_masked_lm_len" };
// S, P: a matrix of that width; R: one integer a row; v: a list a row; 0: no such dataset in this layout
static const char shapes[][H5_N_COLUMNS] = { [HS_H5_FIXED] = { 'S', 'S', 'S', 'P', 'P', 'R', 0, 0 },
                                             [HS_H5_VARLEN] = { 'v', 0, 'v', 'v', 'v', 'R', 0, 0 },
                                             [HS_H5_PACKED] = { 'v', 0, 'v', 'v', 'v', 'v', 'v', 'v' } };

struct hs_h5_file {
    hid_t file;
    hs_file map;   // for what is checked before the library reads it
    uint64_t base; // bytes of the user's in front
    char *path;
    int64_t vocab;
    hs_h5_info info;
    h5_column column[H5_N_COLUMNS];
};

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

hs_status hs_h5_slab(const h5_column *c, int64_t first, int64_t n, int32_t *out)
{
    const hsize_t start[2] = { (hsize_t)first, 0 }, count[2] = { (hsize_t)n, c->dim[1] };
    char why[256];
    hs_status st = HS_OK;
    hs_h5_lock();
    const hid_t file = H5Dget_space(c->set), memory = H5Screate_simple(c->n_dims, count, NULL);
    if (file < 0 || memory < 0 || H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(c->set, H5T_NATIVE_INT32, memory, file, H5P_DEFAULT, out) < 0)
        st = HS_FAIL(CORRUPT, "%s: %s: rows %lld to %lld: %s", c->path, c->name, (long long)first, (long long)(first + n) - 1,
                     hs_h5_why(why));
    if (memory >= 0)
        H5Sclose(memory);
    if (file >= 0)
        H5Sclose(file);
    hs_h5_unlock();
    return st;
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
    c->direct = integer && !c->vlen && H5Tget_order(base) == H5T_ORDER_LE && H5Tget_precision(base) == 8 * c->item;
    if (base >= 0 && base != type)
        H5Tclose(base);
    if (type >= 0)
        H5Tclose(type);
    if (!integer || (c->item != 1 && c->item != 2 && c->item != 4 && c->item != 8))
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
    const size_t item = c->vlen ? 16 : c->item;
    if (c->dim[0] > INT32_MAX || c->dim[1] > INT32_MAX || c->dim[0] * c->dim[1] / GZIP_AT_MOST > c->file_bytes / item)
        return HS_FAIL(CORRUPT, "%s: %s: %llu x %llu integers, more than a file of %zu bytes can hold", c->path, c->name,
                       (unsigned long long)c->dim[0], (unsigned long long)c->dim[1], c->file_bytes);
    return HS_OK;
}

static hs_status describe_filters(h5_column *c, hid_t plist)
{
    c->n_filters = H5Pget_nfilters(plist);
    c->direct &= c->n_filters >= 0 && c->n_filters <= 4;
    for (int i = 0; c->direct && i < c->n_filters; i++) {
        unsigned flags, config;
        size_t n = 0;
        char name[64] = "";
        c->filter[i] = H5Pget_filter2(plist, (unsigned)i, &flags, &n, NULL, sizeof name, name, &config);
        if (H5Zfilter_avail(c->filter[i]) <= 0)
            return HS_FAIL(UNSUPPORTED, "%s: %s: stored with filter %d (%.63s), which libhdf5 does not have here", c->path, c->name,
                           c->filter[i], name);
#ifdef HS_HAVE_ZLIB
        c->direct = c->filter[i] == H5Z_FILTER_DEFLATE || c->filter[i] == H5Z_FILTER_SHUFFLE;
#else
        c->direct = c->filter[i] == H5Z_FILTER_SHUFFLE;
#endif
    }
    return HS_OK;
}

// Data that lie in other files are refused: a shard is one file, and opening it opens no other.
static hs_status describe_storage(h5_column *c)
{
    const hid_t plist = H5Dget_create_plist(c->set);
    hs_status st = HS_OK;
    const H5D_layout_t layout = plist >= 0 ? H5Pget_layout(plist) : H5D_LAYOUT_ERROR;
    c->chunk[0] = c->dim[0], c->chunk[1] = c->dim[1];
    if (layout != H5D_CHUNKED)
        c->direct = false;
    if (layout == H5D_LAYOUT_ERROR || layout == H5D_VIRTUAL || H5Pget_external_count(plist) != 0)
        st = HS_FAIL(CORRUPT, "%s: %s: its data lie in another file", c->path, c->name);
    else if (layout == H5D_CHUNKED && H5Pget_chunk(plist, 2, c->chunk) != c->n_dims)
        st = HS_FAIL(CORRUPT, "%s: %s: its chunks have another number of dimensions", c->path, c->name);
    if (c->n_dims == 1)
        c->chunk[1] = 1;
    if (st == HS_OK && layout == H5D_CHUNKED) {
        if (c->chunk[0] < 1 || c->chunk[1] < 1 || c->chunk[0] > MAX_CHUNK || c->chunk[1] > MAX_CHUNK ||
            c->chunk[0] * c->chunk[1] * c->item > MAX_CHUNK)
            st = HS_FAIL(CORRUPT, "%s: %s: chunks of %llu x %llu integers of %zu bytes; at most %d bytes", c->path, c->name,
                         (unsigned long long)c->chunk[0], (unsigned long long)c->chunk[1], c->item, MAX_CHUNK);
        else
            st = describe_filters(c, plist);
    }
    if (plist >= 0)
        H5Pclose(plist);
    return st;
}

static bool has_column(const hs_h5_file *f, h5_column_id id)
{
    H5L_info_t link;
    const bool has = H5Lexists(f->file, hs_h5_names[id], H5P_DEFAULT) > 0 &&
                     H5Lget_info(f->file, hs_h5_names[id], &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_HARD;
    H5Eclear2(H5E_DEFAULT);
    return has;
}

static hs_status open_column(hs_h5_file *f, h5_column_id id, size_t file_bytes)
{
    h5_column *c = &f->column[id];
    char why[256];
    *c = (h5_column){ .path = f->path, .name = hs_h5_names[id], .file_bytes = file_bytes };
    if (!has_column(f, id))
        return HS_FAIL(CORRUPT, "%s: %s: no such dataset", f->path, c->name);
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
        return VARLEN_BLOCK;
    const hsize_t step = f->column[H5_INPUT_IDS].chunk[0], most = BLOCK_TOKENS / (hsize_t)f->info.length;
    hsize_t rows = 0;
    for (int i = H5_INPUT_IDS; i <= H5_LABELS; i++) // next_sentence_labels is small: inflating it again costs nothing
        if (f->column[i].direct && f->column[i].chunk[0] > rows)
            rows = f->column[i].chunk[0];
    if (rows == 0)
        rows = CONTIGUOUS_BLOCK;
    if (rows > most)
        rows = step < most ? most / step * step : most;
    return (int64_t)rows;
}

static hs_status open_columns(hs_h5_file *f, size_t file_bytes)
{
    h5_column *c = f->column;
    HS_TRY(open_column(f, H5_INPUT_IDS, file_bytes));
    f->info.layout = !c->vlen ? HS_H5_FIXED : has_column(f, H5_PACKED_INPUT_LEN) ? HS_H5_PACKED : HS_H5_VARLEN;
    const char *shape = shapes[f->info.layout];
    for (int i = 1; i < H5_N_COLUMNS; i++)
        if (shape[i])
            HS_TRY(open_column(f, (h5_column_id)i, file_bytes));
    f->info.rows = (int64_t)c[H5_INPUT_IDS].dim[0];
    if (f->info.layout == HS_H5_FIXED)
        f->info.length = (int64_t)c[H5_INPUT_IDS].dim[1], f->info.predictions = (int64_t)c[H5_POSITIONS].dim[1];
    for (int i = 0; i < H5_N_COLUMNS; i++)
        if (shape[i])
            HS_TRY(check_shape(f, (h5_column_id)i, shape[i]));
    if (f->info.rows < 1)
        return HS_FAIL(CORRUPT, "%s: input_ids: no rows", f->path);
    if (f->info.layout == HS_H5_FIXED &&
        (f->info.length < 1 || f->info.length > MAX_LENGTH || f->info.predictions < 1 || f->info.predictions > f->info.length))
        return HS_FAIL(CORRUPT, "%s: rows of %lld tokens with %lld predictions; allowed 1 to %d, and no more predictions than tokens",
                       f->path, (long long)f->info.length, (long long)f->info.predictions, MAX_LENGTH);
    f->info.block = block_of(f);
    return HS_OK;
}

static hs_status open_locked(hs_h5_file *f, size_t file_bytes)
{
    char why[256];
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG); // closing the file closes whatever an error left open in it
    f->file = H5Fopen(f->path, H5F_ACC_RDONLY, access);
    const hs_status st = f->file >= 0 ? HS_OK : HS_FAIL(CORRUPT, "%s: %s", f->path, hs_h5_why(why)); // before the next call clears it
    H5Pclose(access);
    HS_TRY(st);
    HS_TRY(open_columns(f, file_bytes));
    return HS_OK;
}

// What the library would believe before it checks anything: a driver's block, which no shard has, of a size that it allocates at once.
static hs_status check_superblock(const char *path, hs_file file, size_t at)
{
    const char *p = file.data + at;
    const size_t n = file.bytes - at;
    static const struct {
        uint8_t bytes, sizes, driver, cached, names; // of all of it; where stand the bytes of an address, the driver's address (0: none),
                                                     // whether the root group's parts are told, its names
    } forms[] = { { 96, 13, 48, 72, 88 }, { 100, 13, 52, 76, 92 }, { 48, 9, 0, 0, 0 }, { 48, 9, 0, 0, 0 } };
    const int version = n > 8 ? (unsigned char)p[8] : 0;
    if (version >= HS_COUNT(forms))
        return HS_FAIL(UNSUPPORTED, "%s: HDF5 with a superblock of version %d, known are 0 to 3", path, version);
    if (n < forms[version].bytes)
        return HS_FAIL(CORRUPT, "%s: %zu bytes: truncated inside its superblock", path, n);
    const int sizes = forms[version].sizes;
    if (p[sizes] != 8 || p[sizes + 1] != 8)
        return HS_FAIL(CORRUPT, "%s: HDF5 with addresses of %d and sizes of %d bytes, allowed 8", path, (unsigned char)p[sizes],
                       (unsigned char)p[sizes + 1]);
    uint64_t driver = UINT64_MAX;
    if (forms[version].driver)
        memcpy(&driver, p + forms[version].driver, sizeof driver);
    if (driver != UINT64_MAX)
        return HS_FAIL(CORRUPT, "%s: HDF5 that names a driver of its own, allowed none", path);
    uint64_t names;
    if (forms[version].cached && p[forms[version].cached] == 1) {
        memcpy(&names, p + forms[version].names, sizeof names);
        HS_TRY(hs_h5_check_names(path, file, at, names));
    }
    return HS_OK;
}

static hs_status check_signature(hs_h5_file *f)
{
    HS_TRY(hs_file_map(&f->map, f->path));
    size_t at = 0; // a block of the user's may stand in front
    while (at < f->map.bytes && !begins_as_hdf5(f->map.data + at, f->map.bytes - at))
        at = at ? 2 * at : 512;
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
        st = open_locked(f, f->map.bytes);
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

// ---- rows of the fixed layout

static void narrow(int8_t *out, const int32_t *in, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (int8_t)(in[i] < INT8_MIN ? INT8_MIN : in[i] > INT8_MAX ? INT8_MAX : in[i]);
}

static hs_status read_narrow(const h5_column *c, int64_t first, int64_t n, int32_t *scratch, int8_t *out)
{
    HS_TRY(hs_h5_chunks(c, first, n, scratch));
    narrow(out, scratch, n * (int64_t)c->dim[1]);
    return HS_OK;
}

static hs_status read_fixed(const hs_h5_file *f, int64_t first, hs_bert_rows *r)
{
    const h5_column *c = f->column;
    int32_t *scratch = malloc((size_t)(r->n * r->length) * sizeof *scratch);
    hs_status st = HS_OK;
    if (!scratch)
        return HS_FAIL(MEMORY, "%s: no memory for %lld rows", f->path, (long long)r->n);
    HS_TRY_GOTO(st, hs_h5_chunks(&c[H5_INPUT_IDS], first, r->n, r->ids), done);
    HS_TRY_GOTO(st, read_narrow(&c[H5_INPUT_MASK], first, r->n, scratch, r->mask), done);
    HS_TRY_GOTO(st, read_narrow(&c[H5_SEGMENT_IDS], first, r->n, scratch, r->segments), done);
    HS_TRY_GOTO(st, hs_h5_chunks(&c[H5_POSITIONS], first, r->n, r->positions), done);
    HS_TRY_GOTO(st, hs_h5_chunks(&c[H5_LABELS], first, r->n, r->labels), done);
    HS_TRY_GOTO(st, read_narrow(&c[H5_NEXT], first, r->n, scratch, r->next), done);
    for (int64_t i = 0; i < r->n; i++) {
        int32_t tokens = 0, labels = 0;
        for (int64_t k = 0; k < r->length; k++)
            tokens += r->mask[i * r->length + k] != 0;
        while (labels < r->predictions && r->positions[i * r->predictions + labels] != 0)
            labels++;
        r->part_tokens[i] = tokens, r->part_labels[i] = labels;
    }
done:
    free(scratch);
    return st;
}

// ---- rows of the varlen layouts: lists that the library allocates and frees

static hs_status read_lists(const h5_column *c, int64_t first, int64_t n, hvl_t *out)
{
    const hsize_t start[1] = { (hsize_t)first }, count[1] = { (hsize_t)n };
    char why[256];
    hs_status st = HS_OK;
    const hid_t type = H5Tvlen_create(H5T_NATIVE_INT32), file = H5Dget_space(c->set), memory = H5Screate_simple(1, count, NULL);
    if (type < 0 || file < 0 || memory < 0 || H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(c->set, type, memory, file, H5P_DEFAULT, out) < 0)
        st = HS_FAIL(CORRUPT, "%s: %s: rows %lld to %lld: %s", c->path, c->name, (long long)first, (long long)(first + n) - 1,
                     hs_h5_why(why));
    H5Tclose(type);
    H5Sclose(memory);
    H5Sclose(file);
    return st;
}

static int64_t longest(const hvl_t *v, int64_t n)
{
    size_t most = 0;
    for (int64_t i = 0; v && i < n; i++)
        most = v[i].len > most ? v[i].len : most;
    return (int64_t)(most > INT32_MAX ? INT32_MAX : most);
}

static hs_status same_length(const hs_h5_file *f, int64_t row, h5_column_id a, size_t n, h5_column_id b, size_t want)
{
    return n == want ? HS_OK
                     : HS_FAIL(CORRUPT, "%s: %s: row %lld: %zu values, %s has %zu", f->path, hs_h5_names[a], (long long)row, n,
                               hs_h5_names[b], want);
}

static void put_list(int32_t *out, int64_t row, int64_t room, hvl_t v)
{
    if (v.len)
        memcpy(out + row * room, v.p, v.len * sizeof *out);
}
static void put_narrow(int8_t *out, int64_t row, int64_t room, hvl_t v) { narrow(out + row * room, v.p, (int64_t)v.len); }

// Lengths of the sequences of a row: as many as there are, at least `least` each, all of the row.
static hs_status put_lengths(const hs_h5_file *f, h5_column_id id, int32_t *out, int64_t row, int64_t parts, hvl_t v, int32_t least,
                             h5_column_id of, size_t total)
{
    int64_t sum = 0;
    put_list(out, 0, parts, v);
    for (size_t p = 0; p < v.len; p++) {
        if (out[p] < least || out[p] > MAX_LENGTH)
            return HS_FAIL(CORRUPT, "%s: %s: row %lld: %d, allowed %d to %d", f->path, hs_h5_names[id], (long long)row, out[p], least,
                           MAX_LENGTH);
        sum += out[p];
    }
    if (sum != (int64_t)total)
        return HS_FAIL(CORRUPT, "%s: %s: row %lld: %lld together, %s has %zu", f->path, hs_h5_names[id], (long long)row, (long long)sum,
                       hs_h5_names[of], total);
    return HS_OK;
}

static hs_status put_row(const hs_h5_file *f, int64_t first, int64_t i, hvl_t *const list[H5_N_COLUMNS], hs_bert_rows *r)
{
    const int64_t row = first + i;
    const size_t tokens = list[H5_INPUT_IDS][i].len, labels = list[H5_POSITIONS][i].len;
    HS_TRY(same_length(f, row, H5_SEGMENT_IDS, list[H5_SEGMENT_IDS][i].len, H5_INPUT_IDS, tokens));
    HS_TRY(same_length(f, row, H5_LABELS, list[H5_LABELS][i].len, H5_POSITIONS, labels));
    put_list(r->ids, i, r->length, list[H5_INPUT_IDS][i]);
    put_narrow(r->segments, i, r->length, list[H5_SEGMENT_IDS][i]);
    put_list(r->positions, i, r->predictions, list[H5_POSITIONS][i]);
    put_list(r->labels, i, r->predictions, list[H5_LABELS][i]);
    memset(r->mask + i * r->length, 1, tokens);
    int32_t *part_tokens = r->part_tokens + i * r->parts, *part_labels = r->part_labels + i * r->parts;
    part_tokens[0] = (int32_t)tokens, part_labels[0] = (int32_t)labels;
    if (f->info.layout != HS_H5_PACKED)
        return HS_OK;
    const size_t parts = list[H5_PACKED_INPUT_LEN][i].len;
    HS_TRY(same_length(f, row, H5_PACKED_LABEL_LEN, list[H5_PACKED_LABEL_LEN][i].len, H5_PACKED_INPUT_LEN, parts));
    HS_TRY(same_length(f, row, H5_NEXT, list[H5_NEXT][i].len, H5_PACKED_INPUT_LEN, parts));
    part_tokens[0] = part_labels[0] = 0;
    HS_TRY(put_lengths(f, H5_PACKED_INPUT_LEN, part_tokens, row, r->parts, list[H5_PACKED_INPUT_LEN][i], 1, H5_INPUT_IDS, tokens));
    HS_TRY(put_lengths(f, H5_PACKED_LABEL_LEN, part_labels, row, r->parts, list[H5_PACKED_LABEL_LEN][i], 0, H5_POSITIONS, labels));
    put_narrow(r->next, i, r->parts, list[H5_NEXT][i]);
    return HS_OK;
}

static hs_status rows_of_lists(const hs_h5_file *f, int64_t first, int64_t n, hvl_t *const list[H5_N_COLUMNS], hs_bert_rows *r)
{
    const int64_t length = longest(list[H5_INPUT_IDS], n), predictions = longest(list[H5_POSITIONS], n);
    const int64_t packed = longest(list[H5_PACKED_INPUT_LEN], n), parts = packed > 1 ? packed : 1;
    if (length < 1 || length > MAX_LENGTH || predictions > length || parts > length)
        return HS_FAIL(CORRUPT, "%s: rows %lld to %lld: up to %lld tokens, %lld predictions, %lld sequences; allowed 1 to %d tokens",
                       f->path, (long long)first, (long long)(first + n) - 1, (long long)length, (long long)predictions, (long long)parts,
                       MAX_LENGTH);
    HS_TRY(hs_bert_rows_alloc(r, n, length, predictions, parts));
    for (int64_t i = 0; i < n; i++)
        HS_TRY(put_row(f, first, i, list, r));
    return HS_OK;
}

static hs_status read_varlen(const hs_h5_file *f, int64_t first, int64_t n, hs_bert_rows *r)
{
    const h5_column *c = f->column;
    hvl_t *memory = calloc((size_t)(n * H5_N_COLUMNS), sizeof *memory), *list[H5_N_COLUMNS] = { NULL };
    hs_status st = memory ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for %lld rows", f->path, (long long)n);
    hs_h5_lock();
    for (int i = 0; i < H5_N_COLUMNS && st == HS_OK; i++)
        if (c[i].set > 0 && c[i].vlen) {
            list[i] = memory + i * n;
            st = hs_h5_check_lists(&c[i], f->map, f->base, first, n);
            if (st == HS_OK)
                st = read_lists(&c[i], first, n, list[i]);
        }
    hs_h5_unlock();
    if (st == HS_OK)
        st = rows_of_lists(f, first, n, list, r);
    for (int64_t i = 0; memory && i < n * H5_N_COLUMNS; i++)
        free(memory[i].p); // no allocator was given, so the library's lists are malloc's
    free(memory);
    if (st == HS_OK && f->info.layout == HS_H5_VARLEN) {
        int32_t next[VARLEN_BLOCK];
        for (int64_t i = 0; i < n && st == HS_OK; i += VARLEN_BLOCK) {
            const int64_t m = n - i < VARLEN_BLOCK ? n - i : VARLEN_BLOCK;
            st = read_narrow(&c[H5_NEXT], first + i, m, next, r->next + i);
        }
    }
    return st;
}

hs_status hs_h5_read(hs_h5_file *f, int64_t first, int64_t n, hs_bert_rows *out)
{
    *out = (hs_bert_rows){ 0 };
    if (first < 0 || n < 1 || first + n > f->info.rows)
        return HS_FAIL(USAGE, "%s: rows %lld to %lld of %lld", f->path, (long long)first, (long long)(first + n) - 1,
                       (long long)f->info.rows);
    hs_status st;
    if (f->info.layout == HS_H5_FIXED) {
        HS_TRY(hs_bert_rows_alloc(out, n, f->info.length, f->info.predictions, 1));
        st = read_fixed(f, first, out);
    } else {
        st = read_varlen(f, first, n, out);
    }
    if (st == HS_OK)
        st = hs_bert_rows_check(out, f->path, first, f->vocab);
    if (st == HS_OK)
        return HS_OK;
    hs_bert_rows_free(out);
    return hs_frame_at(st, __FILE__, __LINE__);
}

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
hs_status hs_h5_read(hs_h5_file *f, int64_t first, int64_t n, hs_bert_rows *out)
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
hs_status hs_h5_append(hs_h5_out *w, const hs_bert_rows *rows)
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

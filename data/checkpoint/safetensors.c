// Reading safetensors. The file is not trusted: the header is scanned by a grammar as narrow as the format, nothing is allocated
// that the file's own size does not pay for, and no offset is used before all of them are known to tile the data exactly.
#include "data/base/side_file.h"
#include "data/checkpoint/checkpoint.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_HEADER = 100000000, ENTRY_DIMS = 8 };

struct hs_safetensors {
    char *path;
    const char *map;
    size_t map_bytes;
    char *names;        // one block: a decoded name is never longer than its text in the header
    hs_st_entry *entry; // in file order
    const hs_st_entry **by_name;
    int n, capacity;
};

typedef struct scan { // the header's text
    const char *start, *at, *end;
    const char *path;
    char *names;        // where the next decoded string goes
    const char *tensor; // for messages: whose entry is being read
    uint64_t data_bytes;
} scan;

#define BAD(s, ...) bad(s, __FILE__, __LINE__, __VA_ARGS__)
static hs_status bad(const scan *s, const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static hs_status bad(const scan *s, const char *file, int line, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    const long long at = (long long)(s->at - s->start) + 8;
    if (s->tensor != NULL)
        return hs_fail_at(HS_CORRUPT, file, line, "%s: tensor \"%.120s\": %s (header, byte %lld)", s->path, s->tensor, what, at);
    return hs_fail_at(HS_CORRUPT, file, line, "%s: %s (header, byte %lld)", s->path, what, at);
}

// ---- the grammar
static void skip_space(scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
}

static bool accept(scan *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static hs_status expect(scan *s, char c) { return accept(s, c) ? HS_OK : BAD(s, "'%c' is missing", c); }

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        const int c = tolower((unsigned char)p[i]);
        if (!isxdigit(c))
            return -1;
        v = v * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return v;
}

static char *put_utf8(char *to, uint32_t c)
{
    static const uint8_t lead[] = { 0, 0xC0, 0xE0, 0xF0 };
    if (c < 0x80)
        *to++ = (char)c;
    else {
        const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        *to++ = (char)(lead[more] | (c >> (6 * more)));
        for (int i = more - 1; i >= 0; i--)
            *to++ = (char)(0x80 | ((c >> (6 * i)) & 0x3F));
    }
    return to;
}

// Length of the well-formed UTF-8 character at p (no overlong forms, no surrogates), 0 if it is none.
static int utf8_length(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    const int n = u[0] < 0x80 ? 1 : u[0] >= 0xC2 && u[0] < 0xE0 ? 2 : (u[0] & 0xF0) == 0xE0 ? 3 : u[0] >= 0xF0 && u[0] < 0xF5 ? 4 : 0;
    if (n == 0 || end - p < n)
        return 0;
    for (int i = 1; i < n; i++)
        if ((u[i] & 0xC0) != 0x80)
            return 0;
    const bool overlong = (u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xF0 && u[1] < 0x90);
    const bool outside = (u[0] == 0xED && u[1] >= 0xA0) || (u[0] == 0xF4 && u[1] >= 0x90);
    return overlong || outside ? 0 : n;
}

static hs_status scan_escape(scan *s, char **to)
{
    static const char from[] = "\"\\/bfnrt", as[] = "\"\\/\b\f\n\r\t";
    const char *known = s->at < s->end && *s->at ? strchr(from, *s->at) : NULL;
    if (known != NULL) {
        *(*to)++ = as[known - from];
        s->at++;
        return HS_OK;
    }
    if (s->end - s->at < 5 || *s->at != 'u' || hex4(s->at + 1) < 0)
        return BAD(s, "bad escape in a string");
    uint32_t c = (uint32_t)hex4(s->at + 1);
    s->at += 5;
    if (c >= 0xD800 && c < 0xDC00 && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u') {
        const int low = hex4(s->at + 2);
        if (low >= 0xDC00 && low < 0xE000) {
            c = 0x10000 + ((c - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
            s->at += 6;
        }
    }
    if (c == 0 || (c >= 0xD800 && c < 0xE000))
        return BAD(s, "\\u%04x in a string is no character", c);
    *to = put_utf8(*to, c);
    return HS_OK;
}

static hs_status scan_string(scan *s, const char **out)
{
    HS_TRY(expect(s, '"'));
    char *to = s->names;
    *out = to;
    for (;;) {
        if (s->at == s->end)
            return BAD(s, "a string does not end");
        if (*s->at == '"')
            break;
        if (*s->at == '\\') {
            s->at++;
            HS_TRY(scan_escape(s, &to));
            continue;
        }
        const int n = (unsigned char)*s->at < 0x20 ? 0 : utf8_length(s->at, s->end);
        if (n == 0)
            return BAD(s, "byte 0x%02x in a string", (unsigned char)*s->at);
        memcpy(to, s->at, (size_t)n);
        to += n, s->at += n;
    }
    s->at++;
    *to++ = 0;
    s->names = to;
    return HS_OK;
}

static hs_status scan_size(scan *s, uint64_t *out)
{
    skip_space(s);
    const char *first = s->at;
    uint64_t v = 0;
    for (; s->at < s->end && isdigit((unsigned char)*s->at); s->at++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s->at - '0'), &v))
            return BAD(s, "a number is larger than 2^64");
    if (s->at == first || (*first == '0' && s->at - first > 1) || (s->at < s->end && strchr(".eE", *s->at) != NULL))
        return BAD(s, "a whole number is missing");
    *out = v;
    return HS_OK;
}

static hs_status scan_sizes(scan *s, uint64_t *out, int max, int *n)
{
    *n = 0;
    HS_TRY(expect(s, '['));
    if (accept(s, ']'))
        return HS_OK;
    do {
        if (*n == max)
            return BAD(s, "more than %d numbers in a list", max);
        HS_TRY(scan_size(s, &out[(*n)++]));
    } while (accept(s, ','));
    return expect(s, ']');
}

// ---- entries
static hs_status scan_metadata(scan *s)
{
    HS_TRY(expect(s, '{'));
    if (accept(s, '}'))
        return HS_OK;
    do {
        char *mark = s->names;
        const char *text;
        HS_TRY(scan_string(s, &text));
        HS_TRY(expect(s, ':'));
        HS_TRY(scan_string(s, &text));
        s->names = mark;
    } while (accept(s, ','));
    return expect(s, '}');
}

enum { HAS_DTYPE = 1, HAS_SHAPE = 2, HAS_OFFSETS = 4 };

static hs_status scan_field(scan *s, hs_st_entry *e, char dtype[16], uint64_t offsets[2], int *seen)
{
    char *mark = s->names;
    const char *key, *text;
    uint64_t dim[ENTRY_DIMS];
    int n, field;
    HS_TRY(scan_string(s, &key));
    HS_TRY(expect(s, ':'));
    if (strcmp(key, "dtype") == 0) {
        field = HAS_DTYPE;
        HS_TRY(scan_string(s, &text));
        snprintf(dtype, 16, "%s", text);
    } else if (strcmp(key, "shape") == 0) {
        field = HAS_SHAPE;
        HS_TRY(scan_sizes(s, dim, ENTRY_DIMS, &e->n_dims));
        for (int i = 0; i < e->n_dims; i++) {
            if (dim[i] > INT64_MAX)
                return BAD(s, "dimension %d is %llu", i, (unsigned long long)dim[i]);
            e->dim[i] = (int64_t)dim[i];
        }
    } else if (strcmp(key, "data_offsets") == 0) {
        field = HAS_OFFSETS;
        HS_TRY(scan_sizes(s, offsets, 2, &n));
        if (n != 2)
            return BAD(s, "data_offsets has %d numbers, not 2", n);
    } else
        return BAD(s, "unknown key \"%.60s\"", key);
    if (*seen & field)
        return BAD(s, "\"%s\" is given twice", key);
    *seen |= field;
    s->names = mark;
    return HS_OK;
}

static hs_status find_dtype(const scan *s, const char *name, hs_dtype *out)
{
    for (int d = 0; d < HS_N_DTYPES; d++)
        if (strcmp(hs_dtype_safetensors((hs_dtype)d), name) == 0) {
            *out = (hs_dtype)d;
            return HS_OK;
        }
    return BAD(s, "type \"%s\" is not one of F64 F32 F16 BF16 I64 I32 U8 I8 BOOL F8_E4M3 F8_E5M2", name);
}

static hs_status scan_entry(scan *s, hs_st_entry *e, const char *data)
{
    char dtype[16] = "";
    uint64_t offsets[2] = { 0 };
    int seen = 0;
    HS_TRY(expect(s, '{'));
    do
        HS_TRY(scan_field(s, e, dtype, offsets, &seen));
    while (accept(s, ','));
    HS_TRY(expect(s, '}'));
    if (seen != (HAS_DTYPE | HAS_SHAPE | HAS_OFFSETS))
        return BAD(s, "dtype, shape or data_offsets is missing");
    HS_TRY(find_dtype(s, dtype, &e->dtype));
    uint64_t bytes = hs_dtype_bytes(e->dtype);
    bool empty = false, over = false;
    for (int i = 0; i < e->n_dims; i++)
        empty = empty || e->dim[i] == 0;
    for (int i = 0; i < e->n_dims && !empty; i++)
        over = over || __builtin_mul_overflow(bytes, (uint64_t)e->dim[i], &bytes);
    bytes = empty ? 0 : bytes;
    if (offsets[0] > offsets[1] || offsets[1] > s->data_bytes)
        return BAD(s, "bytes %llu to %llu lie outside the file's %llu bytes of data", (unsigned long long)offsets[0],
                   (unsigned long long)offsets[1], (unsigned long long)s->data_bytes);
    if (over || bytes != offsets[1] - offsets[0])
        return BAD(s, "its %llu bytes do not hold its shape in %s", (unsigned long long)(offsets[1] - offsets[0]), dtype);
    e->data = data + offsets[0];
    e->bytes = bytes;
    return HS_OK;
}

static hs_status add_entry(hs_safetensors *f, scan *s, const char *name)
{
    if (f->n == f->capacity) { // an entry takes at least 52 bytes of header
        const int capacity = f->capacity ? 2 * f->capacity : 64;
        hs_st_entry *e = realloc(f->entry, (size_t)capacity * sizeof *e);
        if (e == NULL)
            return HS_FAIL(MEMORY, "%s: no memory for %d tensors", f->path, capacity);
        f->entry = e, f->capacity = capacity;
    }
    hs_st_entry *e = &f->entry[f->n];
    *e = (hs_st_entry){ .name = name };
    s->tensor = name;
    HS_TRY(scan_entry(s, e, s->end));
    s->tensor = NULL;
    f->n++;
    return HS_OK;
}

static hs_status scan_header(hs_safetensors *f, scan *s)
{
    if (s->at == s->end || *s->at != '{')
        return BAD(s, "does not begin with '{'");
    HS_TRY(expect(s, '{'));
    bool metadata = false;
    if (!accept(s, '}')) {
        do {
            const char *name;
            HS_TRY(scan_string(s, &name));
            HS_TRY(expect(s, ':'));
            if (strcmp(name, "__metadata__") != 0)
                HS_TRY(add_entry(f, s, name));
            else if (metadata)
                return BAD(s, "__metadata__ is given twice");
            else {
                HS_TRY(scan_metadata(s));
                metadata = true;
            }
        } while (accept(s, ','));
        HS_TRY(expect(s, '}'));
    }
    skip_space(s);
    return s->at == s->end ? HS_OK : BAD(s, "more text behind the end");
}

// ---- the whole file
static int by_offset(const void *a, const void *b)
{
    const hs_st_entry *x = a, *y = b;
    const char *p = x->data, *q = y->data;
    return p != q ? (p > q) - (p < q) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b) { return strcmp((*(hs_st_entry *const *)a)->name, (*(hs_st_entry *const *)b)->name); }

static hs_status check_cover(hs_safetensors *f, const char *data, uint64_t data_bytes)
{
    if (f->n > 0)
        qsort(f->entry, (size_t)f->n, sizeof *f->entry, by_offset);
    const char *at = data;
    for (int i = 0; i < f->n; i++) {
        const hs_st_entry *e = &f->entry[i];
        const long long gap = (long long)((const char *)e->data - at);
        if (gap != 0)
            return HS_FAIL(CORRUPT, "%s: tensor \"%.120s\": %lld bytes %s the tensor before it", f->path, e->name, gap < 0 ? -gap : gap,
                           gap < 0 ? "overlap" : "of nothing lie between it and");
        at += e->bytes;
    }
    if ((uint64_t)(at - data) != data_bytes)
        return HS_FAIL(CORRUPT, "%s: %llu bytes behind the last tensor", f->path, (unsigned long long)(data_bytes - (uint64_t)(at - data)));
    return HS_OK;
}

static hs_status index_names(hs_safetensors *f)
{
    f->by_name = malloc((size_t)(f->n > 0 ? f->n : 1) * sizeof *f->by_name);
    if (f->by_name == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for %d names", f->path, f->n);
    for (int i = 0; i < f->n; i++)
        f->by_name[i] = &f->entry[i];
    qsort(f->by_name, (size_t)f->n, sizeof *f->by_name, by_name);
    for (int i = 1; i < f->n; i++)
        if (strcmp(f->by_name[i]->name, f->by_name[i - 1]->name) == 0)
            return HS_FAIL(CORRUPT, "%s: tensor \"%.120s\" is given twice", f->path, f->by_name[i]->name);
    return HS_OK;
}

static hs_status map_file(hs_safetensors *f)
{
    const int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return HS_FAIL(SYSTEM, "%s: %s", f->path, strerror(errno));
    struct stat s;
    hs_status st = HS_OK;
    if (fstat(fd, &s) != 0)
        st = HS_FAIL(SYSTEM, "%s: %s", f->path, strerror(errno));
    else if (!S_ISREG(s.st_mode))
        st = HS_FAIL(USAGE, "%s: not a regular file", f->path);
    else if (s.st_size < 10)
        st = HS_FAIL(CORRUPT, "%s: %lld bytes are too few for a safetensors file", f->path, (long long)s.st_size);
    else {
        void *p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            st = HS_FAIL(SYSTEM, "%s: mmap: %s", f->path, strerror(errno));
        else
            f->map = p, f->map_bytes = (size_t)s.st_size;
    }
    close(fd);
    return st;
}

static hs_status open_mapped(hs_safetensors *f)
{
    uint64_t header = 0;
    for (int i = 0; i < 8; i++)
        header |= (uint64_t)(unsigned char)f->map[i] << (8 * i);
    const uint64_t rest = f->map_bytes - 8;
    HS_TRY(hs_side_foreign(f->path, f->map, f->map_bytes, "safetensors file"));
    if (header > MAX_HEADER || header > rest)
        return HS_FAIL(CORRUPT,
                       "%s is no safetensors file, or was cut off: header of %llu bytes, allowed up to %d and the %llu bytes of the file",
                       f->path, (unsigned long long)header, MAX_HEADER, (unsigned long long)rest);
    f->names = malloc(header + 1);
    if (f->names == NULL)
        return HS_FAIL(MEMORY, "%s: no memory for a header of %llu bytes", f->path, (unsigned long long)header);
    const char *text = f->map + 8;
    scan s = { text, text, text + header, f->path, f->names, NULL, rest - header };
    HS_TRY(scan_header(f, &s));
    HS_TRY(check_cover(f, s.end, s.data_bytes));
    return index_names(f);
}

hs_status hs_safetensors_open(hs_safetensors **out, const char *path)
{
    hs_safetensors *f = calloc(1, sizeof *f);
    if (f == NULL || (f->path = strdup(path)) == NULL) {
        free(f);
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    }
    hs_status st = map_file(f);
    if (st == HS_OK)
        st = open_mapped(f);
    if (st != HS_OK) {
        hs_safetensors_close(f);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = f;
    return HS_OK;
}

void hs_safetensors_close(hs_safetensors *f)
{
    if (f == NULL)
        return;
    if (f->map != NULL)
        munmap((void *)f->map, f->map_bytes);
    free(f->by_name);
    free(f->entry);
    free(f->names);
    free(f->path);
    free(f);
}

void hs_safetensors_forget(hs_safetensors *f) { madvise((void *)f->map, f->map_bytes, MADV_DONTNEED); } // a wish: nothing depends on it

int hs_safetensors_count(const hs_safetensors *f) { return f->n; }
const hs_st_entry *hs_safetensors_at(const hs_safetensors *f, int i) { return i >= 0 && i < f->n ? &f->entry[i] : NULL; }

const hs_st_entry *hs_safetensors_find(const hs_safetensors *f, const char *name)
{
    int low = 0, high = f->n;
    while (low < high) {
        const int mid = low + (high - low) / 2, c = strcmp(name, f->by_name[mid]->name);
        if (c == 0)
            return f->by_name[mid];
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

// safetensors_slices: what one rank has of the tensors of a file, at its final place. A slice is a rectangle of a logical tensor
// (hs_param_slices): one piece of the file where its rows are whole, else a piece per row. A file that has the tensor turned takes it
// through a bounded buffer, a piece per column.
#include "data/checkpoint/ckpt_io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 20 };  // floats that are turned at a time
enum { PIECE = 8 << 20 };  // bytes between two ticks
enum { SYNC = 256 << 20 }; // what is written and not on the disk yet: a long fsync at the end would keep all ranks waiting
#define FAIL_AT(path) HS_FAIL(SYSTEM, "%s: %s", path, strerror(errno))

typedef struct slots { // a file that others write too
    const hs_io *io;
    const char *path;
    int fd;
    uint64_t unsynced;
    hs_agreement *beat;
    float *block;
    int tp_rank;
} slots;

// ---- made by one
static hs_status set_length(const hs_io *io, int fd, const char *path, const hs_st_layout *l)
{
    for (size_t done = 0; done < l->header.n;) {
        const ssize_t n = io->write(fd, l->header.p + done, l->header.n - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return FAIL_AT(path);
        }
        done += (size_t)n;
    }
    return io->ftruncate(fd, (off_t)l->bytes) == 0 ? HS_OK : FAIL_AT(path);
}

hs_status hs_safetensors_make(const hs_io *io, const char *path, const hs_st_source *s, int n)
{
    hs_st_layout l;
    HS_TRY(hs_st_layout_make(&l, path, s, n));
    int fd;
    do
        fd = io->open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    hs_status st = fd >= 0 ? set_length(io, fd, path, &l) : FAIL_AT(path);
    hs_st_layout_free(&l);
    if (fd >= 0 && st == HS_OK && io->fsync(fd) != 0)
        st = FAIL_AT(path);
    if (fd >= 0 && io->close(fd) != 0 && errno != EINTR && st == HS_OK)
        st = FAIL_AT(path);
    return st;
}

// ---- written by all
static hs_status put(slots *f, const void *from, size_t bytes, uint64_t at)
{
    const char *p = from;
    while (bytes > 0) {
        HS_TRY(hs_agree_tick(f->beat));
        const ssize_t n = f->io->pwrite(f->fd, p, bytes < PIECE ? bytes : PIECE, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return FAIL_AT(f->path);
        }
        p += n, bytes -= (size_t)n, at += (uint64_t)n, f->unsynced += (uint64_t)n;
    }
    if (f->unsynced < SYNC)
        return HS_OK;
    f->unsynced = 0;
    return f->io->fsync(f->fd) == 0 ? HS_OK : FAIL_AT(f->path);
}

typedef struct target { // one tensor of the file
    uint64_t at;
    hs_dtype dtype, lies; // of the file, and as elements lie here
    size_t width;         // bytes of an element of the file
    int64_t rows, cols;   // of a part
    int parts;            // that are stacked in it
    bool transposed;
} target;

// Elements that lie behind each other in the file too, from its element `first` on.
static hs_status put_elements(slots *f, const target *t, const void *from, int64_t n, int64_t first)
{
    enum { AT_ONCE = 8192 };
    double block[AT_ONCE];
    const size_t width = hs_dtype_bytes(t->lies);
    const uint64_t at = t->at + (uint64_t)first * t->width;
    if (t->lies == t->dtype)
        return put(f, from, (size_t)n * width, at);
    for (int64_t i = 0; i < n; i += AT_ONCE) {
        const int64_t some = n - i < AT_ONCE ? n - i : AT_ONCE;
        hs_convert(block, t->dtype, (const char *)from + (size_t)i * width, t->lies, some);
        HS_TRY(put(f, block, (size_t)some * t->width, at + (uint64_t)i * t->width));
    }
    return HS_OK;
}

static hs_status put_rows(slots *f, const target *t, const char *from, const hs_param_slice *s, int part)
{
    const size_t row_bytes = (size_t)s->cols * hs_dtype_bytes(t->lies);
    const bool whole = s->cols == t->cols;
    for (int64_t r = 0; r < s->rows; r += whole ? s->rows : 1) {
        const int64_t element = (part * t->rows + s->row + r) * t->cols + s->col;
        HS_TRY(put_elements(f, t, from + (size_t)r * row_bytes, s->cols * (whole ? s->rows : 1), element));
    }
    return HS_OK;
}

// The file's row is a column here.
static hs_status put_turned(slots *f, const target *t, const float *from, const hs_param_slice *s, int part)
{
    const int64_t pitch = t->rows * t->parts, wide = s->rows < BLOCK ? s->rows : BLOCK, high = BLOCK / wide;
    for (int64_t c0 = 0; c0 < s->cols; c0 += high)
        for (int64_t r0 = 0; r0 < s->rows; r0 += wide) {
            const int64_t n_cols = s->cols - c0 < high ? s->cols - c0 : high, n_rows = s->rows - r0 < wide ? s->rows - r0 : wide;
            const bool whole = n_rows == pitch;
            hs_turn_f32(f->block, n_rows, from + r0 * s->cols + c0, s->cols, n_rows, n_cols);
            for (int64_t c = 0; c < n_cols; c += whole ? n_cols : 1) {
                const int64_t element = (s->col + c0 + c) * pitch + part * t->rows + s->row + r0;
                HS_TRY(put_elements(f, t, f->block + c * n_rows, n_rows * (whole ? n_cols : 1), element));
            }
        }
    return HS_OK;
}

static hs_status put_source(slots *f, const hs_st_source *s, const hs_st_held *held, uint64_t at)
{
    const hs_param *p = s->param;
    const hs_dtype lies = hs_st_source_dtype(s);
    const size_t width = hs_dtype_bytes(s->t.dtype);
    hs_param_slice slice[3];
    if (held->n == 0)
        return HS_OK;
    if (p == NULL)
        return put(f, s->t.data, held->n * width, at + held->first * width);
    const target t = { at, s->t.dtype, lies, width, hs_param_part_rows(p), hs_param_cols(p), s->part > 0 ? 1 : p->parts, s->transposed };
    for (int part = s->part > 0 ? s->part - 1 : 0, k = 0; k < t.parts; part++, k++) {
        const int n = hs_param_slices(p, f->tp_rank, part, held->first, held->n, slice);
        for (int i = 0; i < n; i++) {
            const char *from = (const char *)s->t.data + (slice[i].stored - held->first) * hs_dtype_bytes(lies);
            HS_TRY(t.transposed ? put_turned(f, &t, (const float *)(const void *)from, &slice[i], k) : put_rows(f, &t, from, &slice[i], k));
        }
    }
    return HS_OK;
}

static hs_status put_all(slots *f, const hs_st_layout *l, const hs_st_source *s, const hs_st_held *held, int n)
{
    for (int i = 0; i < n; i++)
        HS_TRY(put_source(f, l->order[i], &held[l->order[i] - s], l->at[i]));
    return f->io->fsync(f->fd) == 0 ? HS_OK : FAIL_AT(f->path);
}

hs_status hs_safetensors_put_slices(const hs_io *io, const char *path, const hs_st_source *s, const hs_st_held *held, int n, int tp_rank,
                                    hs_agreement *beat)
{
    slots f = { .io = io, .path = path, .beat = beat, .tp_rank = tp_rank, .fd = -1 };
    hs_st_layout l;
    size_t any = 0;
    for (int i = 0; i < n; i++)
        any += held[i].n;
    if (any == 0)
        return HS_OK;
    HS_TRY(hs_st_layout_make(&l, path, s, n));
    f.block = malloc(BLOCK * sizeof *f.block);
    hs_status st = f.block ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for %zu bytes", path, BLOCK * sizeof *f.block);
    if (st == HS_OK && (f.fd = io->open(path, O_WRONLY | O_CLOEXEC, 0)) < 0)
        st = FAIL_AT(path);
    if (st == HS_OK)
        st = put_all(&f, &l, s, held, n);
    if (f.fd >= 0 && io->close(f.fd) != 0 && errno != EINTR && st == HS_OK)
        st = FAIL_AT(path);
    free(f.block);
    hs_st_layout_free(&l);
    return st;
}

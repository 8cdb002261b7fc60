// weights_read: tensors into slabs, slice by slice (hs_param_slices): a rank reads what it stores and no more, whatever other layout has
// written the file. Blocks of rows go through one bounded buffer.
#include "data/checkpoint/weights.h"
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 18, ROWS = 1 << 19 }; // floats: of the file at a time; of a slice at a time, where a row is not longer: cached

typedef struct buffers {
    float *rows, *turned; // some rows of a slice; some of the file's, that are turned
    char *aligned;
    int64_t room; // of rows
} buffers;

static void read_f32(const hs_st_entry *e, int64_t first, int64_t n, float *dst, char *aligned)
{
    const size_t width = hs_dtype_bytes(e->dtype);
    const char *from = (const char *)e->data + (size_t)first * width;
    if (e->dtype == HS_F32) {
        memcpy(dst, from, (size_t)n * width);
        return;
    }
    for (int64_t i = 0; i < n; i += BLOCK) { // the file may hold them at odd addresses
        const int64_t piece = n - i < BLOCK ? n - i : BLOCK;
        memcpy(aligned, from + (size_t)i * width, (size_t)piece * width);
        hs_convert(dst + i, HS_F32, aligned, e->dtype, piece);
    }
}

// A rectangle of the file's [rows, cols].
static void read_rows(const hs_st_entry *e, int64_t cols, const hs_rect *r, buffers *b)
{
    const bool whole = r->cols == cols;
    for (int64_t i = 0; i < r->rows; i += whole ? r->rows : 1)
        read_f32(e, (r->row + i) * cols + r->col, r->cols * (whole ? r->rows : 1), b->rows + i * r->cols, b->aligned);
}

// A rectangle of our [out, in] out of the file's [in, out].
static void read_turned(const hs_st_entry *e, const hs_rect *r, buffers *b)
{
    const int64_t out = e->dim[1], wide = r->rows < BLOCK ? r->rows : BLOCK, high = BLOCK / wide;
    for (int64_t c0 = 0; c0 < r->cols; c0 += high)
        for (int64_t r0 = 0; r0 < r->rows; r0 += wide) {
            const int64_t n_in = r->cols - c0 < high ? r->cols - c0 : high, n_out = r->rows - r0 < wide ? r->rows - r0 : wide;
            const bool whole = n_out == out;
            if (e->dtype == HS_F32 && (uintptr_t)e->data % sizeof(float) == 0) {
                const float *from = (const float *)e->data + (r->col + c0) * out + r->row + r0;
                hs_turn_f32(b->rows + r0 * r->cols + c0, r->cols, from, out, n_in, n_out);
                continue;
            }
            for (int64_t i = 0; i < n_in; i += whole ? n_in : 1)
                read_f32(e, (r->col + c0 + i) * out + r->row + r0, n_out * (whole ? n_in : 1), b->turned + i * n_out, b->aligned);
            hs_turn_f32(b->rows + r0 * r->cols + c0, r->cols, b->turned, n_out, n_in, n_out);
        }
}

// In blocks of whole rows.
static hs_status read_slice(const hs_weights *w, hs_params *ps, const hs_param *p, const hs_name_piece *piece, const hs_param_slice *s,
                            int part, buffers *b, hs_slab *slab)
{
    const hs_st_entry *e = hs_weights_lookup(w, piece->name)->entry;
    const bool merges = slab == ps->master && hs_weights_merges(w, ps, p, piece);
    const int64_t high = s->cols < b->room ? b->room / s->cols : 1;
    for (int64_t row = 0; row < s->rows; row += high) {
        const hs_rect r = { part * hs_param_part_rows(p) + s->row + row, s->col, s->rows - row < high ? s->rows - row : high, s->cols };
        if (piece->transposed)
            read_turned(e, &r, b);
        else
            read_rows(e, hs_param_cols(p), &r, b);
        if (merges)
            HS_TRY(hs_weights_merge(w, piece, &r, b->rows));
        hs_params_put(ps, slab, p, s->stored + (size_t)(row * s->cols), b->rows, (size_t)(r.rows * r.cols));
    }
    return HS_OK;
}

// Padding is zero.
static void blank(hs_params *ps, const hs_param *p, hs_slab *slab, size_t from, size_t to)
{
    static const float zeros[4096];
    for (const size_t most = HS_COUNT(zeros); from < to; from += to - from < most ? to - from : most)
        hs_params_put(ps, slab, p, from, zeros, to - from < most ? to - from : most);
}

static void blank_between(hs_params *ps, const hs_param *p, hs_slab *slab)
{
    hs_param_slice slice[3];
    size_t first, n;
    hs_params_range(ps, slab, p, &first, &n);
    size_t at = first;
    for (int part = 0; part < p->parts; part++) {
        const int count = hs_param_slices(p, ps->tp_rank, part, first, n, slice);
        for (int i = 0; i < count; i++) {
            blank(ps, p, slab, at, slice[i].stored);
            at = slice[i].stored + (size_t)(slice[i].rows * slice[i].cols);
        }
    }
    blank(ps, p, slab, at, first + n);
}

static hs_status read_piece(const hs_weights *w, hs_params *ps, const hs_param *p, const hs_name_piece *piece, buffers *b, hs_slab *slab)
{
    hs_param_slice slice[3];
    size_t first, n;
    const int from = piece->part > 0 ? piece->part - 1 : 0, parts = piece->part > 0 ? 1 : p->parts;
    hs_params_range(ps, slab, p, &first, &n);
    for (int k = 0; k < parts; k++) {
        const int count = hs_param_slices(p, ps->tp_rank, from + k, first, n, slice);
        for (int i = 0; i < count; i++)
            HS_TRY(read_slice(w, ps, p, piece, &slice[i], k, b, slab));
    }
    return HS_OK;
}

static hs_status read_param(const hs_weights *w, hs_params *ps, const hs_param *p, hs_weight_pieces *pieces, const void *user, buffers *b,
                            hs_slab *slab)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    HS_TRY(pieces(p, user, piece, &n));
    for (int k = 0; k < n; k++) { // all of it, or nothing
        const hs_weight *tensor = hs_weights_lookup(w, piece[k].name);
        if (tensor == NULL || hs_weights_begin_anew(w, p, &piece[k], tensor->entry))
            return HS_OK;
    }
    if (n > 0)
        blank_between(ps, p, slab);
    for (int k = 0; k < n; k++) {
        const hs_weight *tensor = hs_weights_lookup(w, piece[k].name);
        HS_TRY(hs_weights_make(w, tensor));
        const hs_status st = read_piece(w, ps, p, &piece[k], b, slab);
        hs_weights_unmake(w, tensor);
        HS_TRY(st);
    }
    return HS_OK;
}

static bool wants(const hs_params *ps, const hs_slab *slab, const hs_param *p)
{
    size_t first, n;
    hs_params_range(ps, slab, p, &first, &n);
    return n > 0 && !hs_slab_adopted(slab, p);
}

static hs_status buffers_alloc(buffers *b, const hs_params *ps, const hs_slab *slab, const char *dir)
{
    int64_t most = 1, row = 1;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        if (!wants(ps, slab, p))
            continue;
        most = (int64_t)p->n > most ? (int64_t)p->n : most;
        row = hs_param_cols(p) > row ? hs_param_cols(p) : row;
    }
    const int64_t room = most < ROWS ? most : row > ROWS ? row : ROWS;
    *b = (buffers){ malloc((size_t)room * sizeof(float)), malloc(BLOCK * sizeof(float)), malloc(BLOCK * sizeof(double)), room };
    return b->rows && b->turned && b->aligned ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for %lld elements", dir, (long long)room);
}

hs_status hs_weights_copy(const hs_weights *w, hs_params *ps, hs_weight_pieces *pieces, const void *user, hs_slab *slab)
{
    buffers b;
    hs_status st = buffers_alloc(&b, ps, slab, w->dir);
    for (int i = 0; i < ps->n_params && st == HS_OK; i++) {
        const hs_param *p = ps->param[i];
        if (wants(ps, slab, p))
            st = read_param(w, ps, p, pieces, user, &b, slab);
        if (st == HS_OK && w->loaded && !p->coding)
            st = w->loaded(p, w->loaded_user);
    }
    free(b.rows);
    free(b.turned);
    free(b.aligned);
    return st;
}

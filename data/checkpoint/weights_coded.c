// weights_coded: parameters that are kept as codes (core/graph/coding.h) in a model directory, as compressed-tensors lays them out. Of a
// layer L whose weight is [out, in]:
//
//   L.weight         i8 [out, in] with L.weight_scale [out, 1], [out] or [1]: I8, and with L.input_scale [1]: I8_STATIC
//   L.weight         i8 [out, in] with L.weight_scale [out, in / group], group a multiple of 32: I8_BLOCKS
//   L.weight_packed  i32 [out, in / 8], eight codes a word from its low bits on, each plus 8, with L.weight_scale [out, in / group], or one
//                    for a row: I4_BLOCKS; [out, in / 4] four codes of 8 bits, each plus 128, as L.weight
//   L.weight_shape   i64 [2], beside packed ones: tells 8 bits from 4
//   L.weight_zero_point, L.input_zero_point, L.weight_g_idx: as if they were not there where they say nothing (zeros, columns in order)
//
// A scale of a group or row is repeated for each of its blocks of 32, which is the same in values. The file decides, tensor by tensor.
// Codes lie as the model has its weights, also where the family's values lie turned ([in, out]).
#include "core/graph/coding.h"
#include "data/checkpoint/weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char weight_end[] = ".weight";

enum part { CODES, SCALES, X_SCALE, SHAPE, ZEROS, X_ZEROS, ORDER, PARTS };
static const char *const part_end[PARTS] = {
    [SCALES] = ".weight_scale",     [X_SCALE] = ".input_scale",      [SHAPE] = ".weight_shape",
    [ZEROS] = ".weight_zero_point", [X_ZEROS] = ".input_zero_point", [ORDER] = ".weight_g_idx",
};

typedef struct coded { // the tensors of one piece
    hs_coding coding;
    hs_weight *part[PARTS];
    int64_t cols, groups; // of the weight; scales of a row
    bool wide;            // packed codes of 8 bits
    bool single;          // one scale for all of it
} coded;

static hs_weight *beside(const hs_weights *w, const char *name, const char *end)
{
    const size_t n = strlen(name), cut = sizeof weight_end - 1;
    char other[HS_NAME_BYTES + 24];
    if (n < cut || strcmp(name + n - cut, weight_end) != 0)
        return NULL;
    snprintf(other, sizeof other, "%.*s%s", (int)(n - cut), name, end);
    return hs_weights_lookup(w, other);
}

static int64_t count(const hs_st_entry *e)
{
    int64_t n = 1;
    for (int i = 0; i < e->n_dims; i++)
        n *= e->dim[i];
    return n;
}

// Integers of any width, as i64; false: they are none.
static bool integer_at(const hs_st_entry *e, int64_t i, int64_t *v)
{
    const size_t wide = hs_dtype_bytes(e->dtype);
    const char *at = (const char *)e->data + (size_t)i * wide;
    int8_t i8;
    int32_t i32;
    if (e->dtype == HS_I8)
        memcpy(&i8, at, wide), *v = i8;
    else if (e->dtype == HS_U8)
        *v = *(const uint8_t *)at;
    else if (e->dtype == HS_I32)
        memcpy(&i32, at, wide), *v = i32;
    else if (e->dtype == HS_I64)
        memcpy(v, at, wide);
    return e->dtype == HS_I8 || e->dtype == HS_U8 || e->dtype == HS_I32 || e->dtype == HS_I64;
}

static void find_cols(coded *c)
{
    const hs_st_entry *codes = c->part[CODES]->entry, *shape = c->part[SHAPE] != NULL ? c->part[SHAPE]->entry : NULL;
    int64_t cols;
    c->cols = codes->dim[1];
    if (codes->dtype != HS_I32)
        return;
    c->cols = codes->dim[1] < INT64_MAX / 8 ? codes->dim[1] * 8 : 0;
    if (shape != NULL && count(shape) == 2 && integer_at(shape, 1, &cols) && cols == c->cols / 2)
        c->cols = cols, c->wide = true;
}

static hs_coding coding_of(coded *c)
{
    const hs_st_entry *codes = c->part[CODES]->entry, *scales = c->part[SCALES]->entry;
    if (codes->n_dims != 2 || !hs_dtype_is_float(scales->dtype))
        return HS_CODING_NONE;
    find_cols(c);
    c->single = count(scales) == 1;
    c->groups = !c->single && scales->n_dims == 2 ? scales->dim[1] : 1;
    if (codes->dtype == HS_I32 && !c->wide)
        return HS_CODING_I4_BLOCKS;
    const bool one_block = c->cols == HS_CODE_BLOCK && scales->dtype == HS_F16; // a row of one block, as it is written here
    if (c->groups == 1 && !one_block)
        return c->part[X_SCALE] != NULL ? HS_CODING_I8_STATIC : HS_CODING_I8;
    return HS_CODING_I8_BLOCKS;
}

// Are there codes under that name of a weight?
static bool find(const hs_weights *w, const char *name, coded *c)
{
    *c = (coded){ .part = { [CODES] = beside(w, name, ".weight_packed") } };
    if (c->part[CODES] == NULL)
        c->part[CODES] = hs_weights_lookup(w, name);
    for (int i = SCALES; i < PARTS; i++)
        c->part[i] = beside(w, name, part_end[i]);
    const hs_st_entry *codes = c->part[CODES] != NULL ? c->part[CODES]->entry : NULL;
    if (codes == NULL || c->part[SCALES] == NULL || (codes->dtype != HS_I8 && codes->dtype != HS_I32))
        return false;
    c->coding = coding_of(c);
    return true;
}

hs_coding hs_weights_coding(const void *user, const hs_param_spec *spec)
{
    const hs_weights_coder *by = user;
    hs_param p = { .name = (char *)(uintptr_t)spec->name, .parts = spec->parts ? spec->parts : 1, .pair_parts = spec->pair_parts };
    hs_name_piece piece[HS_NAME_PIECES];
    coded c;
    int n;
    if (by->pieces(&p, by->user, piece, &n) != HS_OK || n == 0 || !find(by->w, piece->name, &c))
        return HS_CODING_NONE;
    return c.coding;
}

// ---- do they fit

static bool in_blocks(hs_coding c) { return c == HS_CODING_I8_BLOCKS || c == HS_CODING_I4_BLOCKS; }

static bool all_zero(const hs_weight *t)
{
    int64_t v;
    for (int64_t i = 0; t != NULL && i < count(t->entry); i++)
        if (!integer_at(t->entry, i, &v) || v != 0)
            return false;
    return true;
}

// Groups behind each other; -1: nothing was ordered.
static bool in_order(const coded *c)
{
    const hs_st_entry *e = c->part[ORDER] != NULL ? c->part[ORDER]->entry : NULL;
    int64_t v;
    if (e == NULL)
        return true;
    for (int64_t i = 0; i < count(e); i++)
        if (!integer_at(e, i, &v) || (v != -1 && v != i * c->groups / c->cols))
            return false;
    return count(e) == c->cols;
}

static bool shape_is(const coded *c, int64_t rows)
{
    const hs_st_entry *e = c->part[SHAPE] != NULL ? c->part[SHAPE]->entry : NULL;
    int64_t n, k;
    return e == NULL || (count(e) == 2 && integer_at(e, 0, &n) && integer_at(e, 1, &k) && n == rows && k == c->cols);
}

static bool holds_lowest(const coded *c) // the code that has no opposite
{
    const int8_t *q = c->part[CODES]->entry->data;
    const int8_t lowest = c->wide ? 0 : INT8_MIN;
    int found = 0; // no way out of the loop: it is as wide as vectors are
    for (size_t i = 0; i < c->part[CODES]->entry->bytes; i++)
        found |= q[i] == lowest;
    return found != 0;
}

// Of a piece that fits the model: what it says that codes here cannot. NULL: nothing.
static const char *cannot(const coded *c)
{
    if (in_blocks(c->coding) && (c->groups < 1 || c->cols % c->groups || c->cols / c->groups % HS_CODE_BLOCK))
        return "has groups that are no multiples of 32, which are read";
    if (in_blocks(c->coding) && c->part[X_SCALE] != NULL)
        return "has a scale of inputs beside groups; read is one beside whole rows";
    if (!all_zero(c->part[ZEROS]) || !all_zero(c->part[X_ZEROS]))
        return "has zero points: it is asymmetric, and symmetric is read";
    if (!in_order(c))
        return "has its columns in another order (weight_g_idx of actorder)";
    if (c->part[X_SCALE] != NULL && count(c->part[X_SCALE]->entry) != 1)
        return "has several scales of inputs";
    if (c->part[X_SCALE] != NULL && !hs_dtype_is_float(c->part[X_SCALE]->entry->dtype))
        return "has a scale of inputs that is no float";
    if (c->coding == HS_CODING_I8_BLOCKS && holds_lowest(c))
        return "holds codes of -128; those of groups of 8 bits go from -127";
    return NULL;
}

static bool dims_are(const coded *c, int64_t rows, int64_t cols)
{
    const hs_st_entry *codes = c->part[CODES]->entry, *scales = c->part[SCALES]->entry;
    return codes->dim[0] == rows && c->cols == cols && shape_is(c, rows) &&
           (c->single || (scales->dim[0] == rows && scales->n_dims <= 2 && count(scales) == rows * c->groups));
}

void hs_weights_expect_coded(hs_weights *w, const hs_param *p, const hs_name_piece *piece)
{
    const int64_t rows = hs_param_part_rows(p) * (piece->part > 0 ? 1 : p->parts), cols = hs_param_cols(p);
    char line[HS_NAME_BYTES + 160];
    coded c;
    line[0] = 0;
    if (!find(w, piece->name, &c))
        snprintf(line, sizeof line, "\"%.120s\" has no codes with scales, as its neighbours have", piece->name);
    else if (c.coding != p->coding)
        snprintf(line, sizeof line, "\"%.120s\" is kept in another form than what is stacked with it", piece->name);
    else if (!dims_are(&c, rows, cols))
        snprintf(line, sizeof line, "\"%.120s\" is [%lld,%lld] with %lld scales, the model needs [%lld,%lld]", c.part[CODES]->name,
                 (long long)c.part[CODES]->entry->dim[0], (long long)c.cols, (long long)count(c.part[SCALES]->entry), (long long)rows,
                 (long long)cols);
    else if (cannot(&c))
        snprintf(line, sizeof line, "\"%.120s\" %s", c.part[CODES]->name, cannot(&c));
    else if (hs_coding_declines(p->coding, p->n_dims, p->dim[0], cols))
        snprintf(line, sizeof line, "\"%.120s\": %s", piece->name, hs_coding_declines(p->coding, p->n_dims, p->dim[0], cols));
    if (line[0]) {
        hs_weights_note(w, line);
        return;
    }
    for (int i = 0; i < PARTS; i++)
        if (c.part[i] != NULL)
            c.part[i]->used = true;
}

// ---- into the slabs

static hs_status scale_at(const hs_weights *w, const hs_weight *from, int64_t i, float *value)
{
    const hs_st_entry *e = from->entry;
    const size_t wide = hs_dtype_bytes(e->dtype);
    double aligned;
    memcpy(&aligned, (const char *)e->data + (size_t)i * wide, wide);
    hs_convert(value, HS_F32, &aligned, e->dtype, 1);
    if (*value - *value == 0) // a block of 4 bits may have a scale below 0
        return HS_OK;
    return HS_FAIL(CORRUPT, "%s: element %lld of \"%.120s\" is %g, a scale must be finite", w->dir, (long long)i, from->name,
                   (double)*value);
}

// Scales of f16 for blocks of f16: copied, where all are finite. false: one by one, which says what is wrong.
static bool copied_halves(const coded *c, char *to, int64_t n)
{
    int odd = 0; // no way out of the loop: it is as wide as vectors are
    memcpy(to, c->part[SCALES]->entry->data, (size_t)n * sizeof(uint16_t));
    const uint16_t *half = (const uint16_t *)(const void *)to;
    for (int64_t i = 0; i < n; i++)
        odd |= (half[i] & 0x7C00) == 0x7C00;
    return odd == 0;
}

// [rows, wide] scales of any float type as the slab has them, out of groups for each row; one that is no number would poison whatever is
// read by it.
static hs_status read_scales(const hs_weights *w, const coded *c, hs_dtype dtype, char *to, int64_t rows, int64_t wide)
{
    const hs_weight *from = c->part[SCALES];
    if (dtype == HS_F16 && from->entry->dtype == HS_F16 && !c->single && c->groups == wide && copied_halves(c, to, rows * wide))
        return HS_OK;
    for (int64_t i = 0; i < rows * wide; i++) {
        const int64_t at = c->single ? 0 : i / wide * c->groups + i % wide * c->groups / wide;
        float value, kept;
        HS_TRY(scale_at(w, from, at, &value));
        char *element = to + (size_t)i * hs_dtype_bytes(dtype);
        hs_convert(element, dtype, &value, HS_F32, 1);
        hs_convert(&kept, HS_F32, element, dtype, 1);
        if (!(kept - kept == 0) || (kept == 0 && value != 0))
            return HS_FAIL(UNSUPPORTED, "%s: element %lld of \"%.120s\" is %g: scales of groups are kept in f16, which does not hold it",
                           w->dir, (long long)at, from->name, (double)value);
    }
    return HS_OK;
}

static void read_codes(const coded *c, char *to, size_t bytes)
{
    const char *from = c->part[CODES]->entry->data;
    memcpy(to, from, bytes);
    for (size_t i = 0; i < bytes && c->wide; i++) // 128 too much
        to[i] = (char)(to[i] ^ 0x80);
}

hs_status hs_weights_codes_as_stored(const hs_weights *w, const hs_param *p, hs_weight_pieces *pieces, const void *user, const void **out)
{
    hs_name_piece piece[HS_NAME_PIECES];
    coded c;
    int n;
    *out = NULL;
    if (!p->coding)
        return HS_OK;
    HS_TRY(pieces(p, user, piece, &n));
    if (n != 1 || piece->part > 0 || !find(w, piece->name, &c) || c.wide)
        return HS_OK;
    const hs_st_entry *e = c.part[CODES]->entry;
    if (e->bytes == hs_coding_bytes(p, HS_VIEW_CODES))
        *out = e->data;
    return HS_OK;
}

typedef struct room { // of one parameter, as it is stored
    char *bytes[HS_N_VIEWS];
} room;

static hs_status read_piece(const hs_weights *w, const hs_param *p, const hs_name_piece *piece, const room *to)
{
    const int64_t all = p->dim[0], rows = hs_param_part_rows(p) * (piece->part > 0 ? 1 : p->parts), part = all / p->parts;
    const size_t row = hs_coding_bytes(p, HS_VIEW_CODES) / (size_t)all, scale = hs_coding_bytes(p, HS_VIEW_SCALES) / (size_t)all;
    const size_t first = (size_t)((piece->part > 0 ? piece->part - 1 : 0) * part);
    const hs_dtype dtype = p->coding == HS_CODING_I8 || p->coding == HS_CODING_I8_STATIC ? HS_F32 : HS_F16;
    coded c;
    if (!find(w, piece->name, &c))
        return HS_FAIL(INTERNAL, "%s: codes of \"%.120s\" are gone", w->dir, piece->name);
    if (to->bytes[HS_VIEW_CODES] != NULL)
        read_codes(&c, to->bytes[HS_VIEW_CODES] + first * row, (size_t)rows * row);
    HS_TRY(read_scales(w, &c, dtype, to->bytes[HS_VIEW_SCALES] + first * scale, rows, (int64_t)(scale / hs_dtype_bytes(dtype))));
    float x_scale = 0;
    if (p->coding != HS_CODING_I8_STATIC)
        return HS_OK;
    HS_TRY(scale_at(w, c.part[X_SCALE], 0, &x_scale));
    if (!(x_scale > 0))
        return HS_FAIL(CORRUPT, "%s: \"%.120s\" is %g, a scale of inputs must be above 0", w->dir, c.part[X_SCALE]->name, (double)x_scale);
    float *have = (float *)(void *)to->bytes[HS_VIEW_X_SCALE]; // what is stacked reads the same x
    *have = x_scale > *have ? x_scale : *have;
    return HS_OK;
}

// Whole parts only: what is stacked in several pieces has no rows of padding between them.
static hs_status check_parts(const hs_param *p)
{
    return p->parts == 1 || p->dim[0] == p->logical[0] ? HS_OK : HS_FAIL(UNSUPPORTED, "%s: stacked, padded and kept as codes", p->name);
}

// Codes that lie in the file as they are kept here go straight into the slab, unless they are served from there.
static hs_status whole_codes(const hs_weights *w, hs_params *ps, const hs_param *p, const hs_name_piece *piece, int n, bool *done)
{
    hs_slab *s = hs_params_coded(ps, HS_VIEW_CODES);
    coded c;
    *done = hs_slab_adopted(s, p);
    if (*done || n != 1 || piece->part > 0 || !find(w, piece->name, &c) || c.wide)
        return HS_OK;
    *done = true;
    return hs_params_write_front(ps, s, p, c.part[CODES]->entry->data, c.part[CODES]->entry->bytes);
}

static hs_status read_param(const hs_weights *w, hs_params *ps, const hs_param *p, hs_weight_pieces *pieces, const void *user)
{
    hs_name_piece piece[HS_NAME_PIECES];
    room to = { 0 };
    bool done;
    int n;
    HS_TRY(check_parts(p));
    HS_TRY(pieces(p, user, piece, &n));
    hs_status st = whole_codes(w, ps, p, piece, n, &done);
    for (int v = HS_VIEW_CODES; v < HS_N_VIEWS; v++)
        if (!(v == HS_VIEW_CODES && done) && !(to.bytes[v] = calloc(hs_coding_bytes(p, v) + 1, 1)))
            st = HS_FAIL(MEMORY, "%s: no memory for the codes of %s", w->dir, p->name);
    for (int k = 0; k < n && st == HS_OK; k++)
        st = read_piece(w, p, &piece[k], &to);
    for (int v = HS_VIEW_CODES; v < HS_N_VIEWS; v++) {
        if (st == HS_OK && to.bytes[v] != NULL && hs_coding_bytes(p, v))
            st = hs_params_write(ps, hs_params_coded(ps, v), p, to.bytes[v]);
        free(to.bytes[v]);
    }
    return st;
}

hs_status hs_weights_copy_coded(const hs_weights *w, hs_params *ps, hs_weight_pieces *pieces, const void *user)
{
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        if (!p->coding)
            continue;
        HS_TRY(read_param(w, ps, p, pieces, user));
        if (w->loaded)
            HS_TRY(w->loaded(p, w->loaded_user));
    }
    return HS_OK;
}

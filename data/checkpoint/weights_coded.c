// weights_coded: parameters that are kept as codes (core/graph/coding.h) in a model directory, as compressed-tensors lays them out. Of a
// layer L whose weight is [out, in]:
//
//   L.weight         i8 [out, in] with L.weight_scale [out, 1] or [out]: I8, and with L.input_scale [1]: I8_STATIC
//   L.weight         i8 [out, in] with L.weight_scale [out, in / 32]: I8_BLOCKS
//   L.weight_packed  i32 [out, in / 8], eight codes a word from its low bits on, each plus 8, with L.weight_scale [out, in / 32]: I4_BLOCKS
//   L.weight_shape   i64 [2], beside packed ones: not needed
//
// The file decides, tensor by tensor. Codes lie as the model has its weights, also where the family's values lie turned ([in, out]).
#include "core/graph/coding.h"
#include "data/checkpoint/weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char weight_end[] = ".weight";

typedef struct coded { // the tensors of one piece
    hs_coding coding;
    hs_weight *codes, *scales, *x_scale, *shape;
} coded;

static hs_weight *beside(const hs_weights *w, const char *name, const char *end)
{
    const size_t n = strlen(name), cut = sizeof weight_end - 1;
    char other[HS_NAME_BYTES + 16];
    if (n < cut || strcmp(name + n - cut, weight_end) != 0)
        return NULL;
    snprintf(other, sizeof other, "%.*s%s", (int)(n - cut), name, end);
    return hs_weights_lookup(w, other);
}

static hs_coding coding_of(const coded *c)
{
    const hs_st_entry *codes = c->codes->entry, *scales = c->scales->entry;
    const int64_t cols = codes->dim[1], groups = scales->n_dims == 2 ? scales->dim[1] : 1;
    if (codes->n_dims != 2 || !hs_dtype_is_float(scales->dtype))
        return HS_CODING_NONE;
    if (codes->dtype == HS_I32)
        return groups * HS_CODE_BLOCK == cols * 8 ? HS_CODING_I4_BLOCKS : HS_CODING_NONE;
    const bool one_block = cols == HS_CODE_BLOCK && scales->dtype == HS_F16; // a row of one block, as it is written here
    if (groups == 1 && !one_block)
        return c->x_scale != NULL ? HS_CODING_I8_STATIC : HS_CODING_I8;
    return groups * HS_CODE_BLOCK == cols ? HS_CODING_I8_BLOCKS : HS_CODING_NONE;
}

// Are there codes under that name of a weight?
static bool find(const hs_weights *w, const char *name, coded *c)
{
    *c = (coded){ .codes = beside(w, name, ".weight_packed") };
    if (c->codes == NULL)
        c->codes = hs_weights_lookup(w, name);
    c->scales = beside(w, name, ".weight_scale");
    c->x_scale = beside(w, name, ".input_scale"), c->shape = beside(w, name, ".weight_shape");
    if (c->codes == NULL || c->scales == NULL || (c->codes->entry->dtype != HS_I8 && c->codes->entry->dtype != HS_I32))
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

static bool dims_are(const hs_st_entry *e, int64_t rows, int64_t cols)
{
    return e->dim[0] == rows && (e->n_dims == 2 ? e->dim[1] : 1) == cols && e->n_dims <= 2;
}

void hs_weights_expect_coded(hs_weights *w, const hs_param *p, const hs_name_piece *piece)
{
    const int64_t rows = hs_param_part_rows(p) * (piece->part > 0 ? 1 : p->parts), cols = hs_param_cols(p);
    const int64_t words = p->coding == HS_CODING_I4_BLOCKS ? cols / 8 : cols;
    const bool blocks = p->coding == HS_CODING_I8_BLOCKS || p->coding == HS_CODING_I4_BLOCKS;
    char line[HS_NAME_BYTES + 160];
    coded c;
    line[0] = 0;
    if (!find(w, piece->name, &c))
        snprintf(line, sizeof line, "\"%.120s\" has no codes with scales, as its neighbours have", piece->name);
    else if (c.coding != p->coding)
        snprintf(line, sizeof line, "\"%.120s\" is kept in another form than what is stacked with it", piece->name);
    else if (!dims_are(c.codes->entry, rows, words) || !dims_are(c.scales->entry, rows, blocks ? cols / HS_CODE_BLOCK : 1))
        snprintf(line, sizeof line, "\"%.120s\" is [%lld,%lld] with scales [%lld,..], the model needs [%lld,%lld]", c.codes->name,
                 (long long)c.codes->entry->dim[0], (long long)c.codes->entry->dim[1], (long long)c.scales->entry->dim[0], (long long)rows,
                 (long long)words);
    else if (hs_coding_declines(p->coding, p->n_dims, p->dim[0], cols))
        snprintf(line, sizeof line, "\"%.120s\": %s", piece->name, hs_coding_declines(p->coding, p->n_dims, p->dim[0], cols));
    if (line[0]) {
        hs_weights_note(w, line);
        return;
    }
    hs_weight *const used[] = { c.codes, c.scales, c.x_scale, c.shape };
    for (int i = 0; i < HS_COUNT(used); i++)
        if (used[i] != NULL)
            used[i]->used = true;
}

// ---- into the slabs

// Scales of any float type as the slab has them; one that is no number, or below 0, would poison whatever is read by it.
static hs_status read_scales(const hs_weights *w, const hs_weight *from, hs_dtype dtype, void *to, int64_t n)
{
    const hs_st_entry *e = from->entry;
    const size_t wide = hs_dtype_bytes(e->dtype);
    for (int64_t i = 0; i < n; i++) {
        double aligned;
        float value;
        memcpy(&aligned, (const char *)e->data + (size_t)i * wide, wide);
        hs_convert(&value, HS_F32, &aligned, e->dtype, 1);
        if (!(value - value == 0)) // a block of 4 bits may have a scale below 0
            return HS_FAIL(CORRUPT, "%s: element %lld of \"%.120s\" is %g, a scale must be finite", w->dir, (long long)i, from->name,
                           (double)value);
        hs_convert((char *)to + (size_t)i * hs_dtype_bytes(dtype), dtype, &value, HS_F32, 1);
    }
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
    memcpy(to->bytes[HS_VIEW_CODES] + first * row, c.codes->entry->data, (size_t)rows * row);
    HS_TRY(read_scales(w, c.scales, dtype, to->bytes[HS_VIEW_SCALES] + first * scale, rows * (int64_t)(scale / hs_dtype_bytes(dtype))));
    float x_scale = 0;
    if (p->coding != HS_CODING_I8_STATIC)
        return HS_OK;
    HS_TRY(read_scales(w, c.x_scale, HS_F32, &x_scale, 1));
    if (!(x_scale > 0))
        return HS_FAIL(CORRUPT, "%s: \"%.120s\" is %g, a scale of inputs must be above 0", w->dir, c.x_scale->name, (double)x_scale);
    float *have = (float *)(void *)to->bytes[HS_VIEW_X_SCALE]; // what is stacked reads the same x
    *have = x_scale > *have ? x_scale : *have;
    return HS_OK;
}

// Whole parts only: what is stacked in several pieces has no rows of padding between them.
static hs_status check_parts(const hs_param *p)
{
    return p->parts == 1 || p->dim[0] == p->logical[0] ? HS_OK : HS_FAIL(UNSUPPORTED, "%s: stacked, padded and kept as codes", p->name);
}

static hs_status read_param(const hs_weights *w, hs_params *ps, const hs_param *p, hs_weight_pieces *pieces, const void *user)
{
    hs_name_piece piece[HS_NAME_PIECES];
    room to = { 0 };
    int n;
    HS_TRY(check_parts(p));
    HS_TRY(pieces(p, user, piece, &n));
    hs_status st = HS_OK;
    for (int v = HS_VIEW_CODES; v < HS_N_VIEWS; v++)
        if (!(to.bytes[v] = calloc(hs_coding_bytes(p, v) + 1, 1)))
            st = HS_FAIL(MEMORY, "%s: no memory for the codes of %s", w->dir, p->name);
    for (int k = 0; k < n && st == HS_OK; k++)
        st = read_piece(w, p, &piece[k], &to);
    for (int v = HS_VIEW_CODES; v < HS_N_VIEWS; v++) {
        if (st == HS_OK && hs_coding_bytes(p, v))
            st = hs_params_write(ps, hs_params_coded(ps, v), p, to.bytes[v]);
        free(to.bytes[v]);
    }
    return st;
}

hs_status hs_weights_copy_coded(const hs_weights *w, hs_params *ps, hs_weight_pieces *pieces, const void *user)
{
    for (int i = 0; i < ps->n_params; i++)
        if (ps->param[i]->coding)
            HS_TRY(read_param(w, ps, ps->param[i], pieces, user));
    return HS_OK;
}

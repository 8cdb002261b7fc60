// coding: shapes, slabs and values of parameters that are kept as codes.
#include "core/graph/coding.h"
#include "core/graph/graph.h"
#include "core/graph/op.h"
#include "core/graph/params_impl.h"
#include <stdlib.h>
#include <string.h>

static const struct { // by hs_view; of values there is the master
    const char *slab;
    hs_dtype dtype; // of the slab's elements: bytes where a parameter says which
} views[HS_N_VIEWS] = {
    [HS_VIEW_CODES] = { "codes", HS_U8 },
    [HS_VIEW_SCALES] = { "scales", HS_U8 },
    [HS_VIEW_X_SCALE] = { "x_scale", HS_F32 },
};

hs_coding hs_quant_coding(hs_quant_bits bits)
{
    static const hs_coding codings[HS_N_QUANT_BITS] = {
        [HS_QUANT_W8A8] = HS_CODING_I8, [HS_QUANT_W8] = HS_CODING_I8_BLOCKS, [HS_QUANT_W4] = HS_CODING_I4_BLOCKS
    };
    return codings[bits];
}

bool hs_coding_shape(hs_coding c, hs_view v, int64_t rows, int64_t cols, hs_dtype *dtype, int *n_dims, int64_t *dim)
{
    const bool blocks = c == HS_CODING_I8_BLOCKS || c == HS_CODING_I4_BLOCKS, half = c == HS_CODING_I4_BLOCKS;
    if (c == HS_CODING_NONE || v == HS_VIEW_VALUE || (v == HS_VIEW_X_SCALE && c != HS_CODING_I8_STATIC))
        return false;
    dim[0] = v == HS_VIEW_X_SCALE ? 1 : rows;
    *n_dims = v == HS_VIEW_CODES || (v == HS_VIEW_SCALES && blocks) ? 2 : 1;
    if (v == HS_VIEW_CODES)
        *dtype = half ? HS_U8 : HS_I8, dim[1] = half ? cols / 2 : cols;
    else if (*n_dims == 2)
        *dtype = HS_F16, dim[1] = cols / HS_CODE_BLOCK;
    else
        *dtype = HS_F32;
    return true;
}

size_t hs_coding_bytes(const hs_param *p, hs_view v)
{
    hs_dtype dtype;
    int n_dims;
    int64_t dim[HS_MAX_DIMS];
    const int64_t rows = p->dim[0], cols = (int64_t)p->n / rows;
    if (!hs_coding_shape(p->coding, v, rows, cols, &dtype, &n_dims, dim))
        return 0;
    return (size_t)(dim[0] * (n_dims == 2 ? dim[1] : 1)) * hs_dtype_bytes(dtype);
}

const char *hs_coding_declines(hs_coding c, int n_dims, int64_t rows, int64_t cols)
{
    if (c == HS_CODING_NONE)
        return NULL;
    if (n_dims != 2)
        return "it is no matrix";
    if (rows % 8 || cols % 8)
        return "its widths are no multiples of 8";
    if ((c == HS_CODING_I8_BLOCKS || c == HS_CODING_I4_BLOCKS) && cols % HS_CODE_BLOCK)
        return "its width is no multiple of 32, a block of codes";
    return NULL;
}

// ---- which

// The ops that may read codes (core/plan/coded.c has what stands in their place).
static const struct reader {
    const char *op, *operand;
    bool table;
} readers[] = { { "linear", "w", false }, { "linear_xent", "w", false }, { "embedding", "table", true } };

void hs_coding_use(hs_coding_uses *u, const hs_node *n, int operand)
{
    for (size_t i = 0; i < HS_COUNT(readers); i++)
        if (!strcmp(readers[i].op, n->op->name) && !strcmp(readers[i].operand, n->op->in[operand].name)) {
            *(readers[i].table ? &u->looked_up : &u->multiplied) = true;
            return;
        }
    u->otherwise = true;
}

void hs_coding_uses_of(hs_coding_uses *of, const hs_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            if (g->node[i]->in[k] && g->node[i]->in[k]->kind == HS_PARAM)
                hs_coding_use(&of[g->node[i]->in[k]->param->id], g->node[i], k);
}

static const char *why_not(const hs_coding_wish *w, const hs_param *p, const hs_coding_uses *u, hs_coding c)
{
    if (p->n_dims != 2 || (!u->multiplied && !u->looked_up))
        return "no product reads it";
    if (u->otherwise)
        return "an op reads it that knows no codes";
    if (u->looked_up && !w->tables)
        return "a table of embeddings";
    if (hs_patterns_fit(w->skip, p->name))
        return "to be skipped";
    return hs_coding_declines(c, p->n_dims, p->dim[0], (int64_t)p->n / p->dim[0]);
}

hs_coding hs_coding_of(const hs_coding_wish *w, const hs_param *p, const hs_coding_uses *u, const char **why)
{
    // A table that nothing multiplies has no x: of I8 the form without one.
    const hs_coding c = w->coding == HS_CODING_I8_STATIC && !u->multiplied ? HS_CODING_I8 : w->coding;
    *why = why_not(w, p, u, c);
    return *why ? HS_CODING_NONE : c;
}

hs_status hs_coding_check(const hs_coding_wish *w, const hs_params *ps, const char *name)
{
    const char **names = malloc(((size_t)ps->n_params + 1) * sizeof *names);
    if (!names)
        return HS_FAIL(MEMORY, "no memory for the names of %d parameters", ps->n_params);
    for (int i = 0; i < ps->n_params; i++)
        names[i] = ps->param[i]->name;
    const hs_status st = hs_patterns_check(w->skip, names, ps->n_params, name);
    free(names);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- slabs

static size_t codes_bytes(const hs_param *p, const void *user) { return (void)user, hs_coding_bytes(p, HS_VIEW_CODES); }
static size_t scales_bytes(const hs_param *p, const void *user) { return (void)user, hs_coding_bytes(p, HS_VIEW_SCALES); }
static size_t x_scale_bytes(const hs_param *p, const void *user) { return (void)user, hs_coding_bytes(p, HS_VIEW_X_SCALE); }

hs_status hs_params_code(hs_params *ps, hs_coder coder)
{
    static size_t (*const bytes[HS_N_VIEWS])(const hs_param *, const void *) = {
        [HS_VIEW_CODES] = codes_bytes, [HS_VIEW_SCALES] = scales_bytes, [HS_VIEW_X_SCALE] = x_scale_bytes
    };
    if (ps->n_params)
        return HS_FAIL(INTERNAL, "which parameters are coded is said before there are any; there are %d", ps->n_params);
    ps->coder = coder;
    for (int v = HS_VIEW_CODES; v < HS_N_VIEWS; v++)
        HS_TRY(hs_params_declare(ps, &(hs_slab_spec){ .name = views[v].slab, .dtype = views[v].dtype, .coded = true, .bytes = bytes[v] }));
    return HS_OK;
}

hs_slab *hs_params_coded(const hs_params *ps, hs_view v) { return views[v].slab ? hs_params_slab(ps, views[v].slab) : NULL; }

// ---- values

void hs_coded_fetch(const hs_params *ps, const hs_param *p, size_t at, float *values, size_t n)
{
    enum { PIECE = 4096 }; // of a row, whole blocks
    const char *codes = hs_slab_at(hs_params_coded(ps, HS_VIEW_CODES), p), *scales = hs_slab_at(hs_params_coded(ps, HS_VIEW_SCALES), p);
    const size_t rows = (size_t)p->dim[0], cols = p->n / rows, code = hs_coding_bytes(p, HS_VIEW_CODES) / rows,
                 scale = hs_coding_bytes(p, HS_VIEW_SCALES) / rows;
    const bool blocks = p->coding == HS_CODING_I8_BLOCKS || p->coding == HS_CODING_I4_BLOCKS;
    float piece[PIECE], of[PIECE / HS_CODE_BLOCK];
    char bytes[PIECE];
    for (size_t i = 0; i < n;) {
        const size_t r = (at + i) / cols, c = (at + i) % cols, from = c / HS_CODE_BLOCK * HS_CODE_BLOCK;
        const size_t wide = cols - from < PIECE ? cols - from : PIECE, some = n - i < from + wide - c ? n - i : from + wide - c;
        const size_t first = blocks ? from / HS_CODE_BLOCK * sizeof(uint16_t) : 0;
        hs_params_copy(ps, bytes, codes + r * code + from * code / cols, wide * code / cols);
        hs_params_copy(ps, of, scales + r * scale + first, blocks ? wide / HS_CODE_BLOCK * sizeof(uint16_t) : scale);
        hs_coded_values(p->coding, bytes, of, 1, (int64_t)wide, piece);
        memcpy(values + i, piece + (c - from), some * sizeof *piece);
        i += some;
    }
}

void hs_coded_values(hs_coding c, const void *codes, const void *scales, int64_t rows, int64_t cols, float *values)
{
    const int8_t *i8 = codes;
    const uint8_t *u8 = codes;
    const uint16_t *half = scales;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < cols; k++) {
            const int64_t at = r * cols + k;
            const int code = c == HS_CODING_I4_BLOCKS ? (u8[at / 2] >> at % 2 * 4 & 15) - 8 : i8[at];
            const bool row = c == HS_CODING_I8 || c == HS_CODING_I8_STATIC;
            values[at] = (float)code * (row ? ((const float *)scales)[r] : hs_f16_f32(half[at / HS_CODE_BLOCK]));
        }
}

// onnx_coded: products and look-ups on parameters that are kept as codes (core/graph/coding.h), codes as they are.
//
//   I8_STATIC             x and weights through QuantizeLinear and DequantizeLinear, which ONNX Runtime makes a product of integers of;
//                         codes of x plus 128, as it turns them itself on x86, but where three products (query, key, value) share them
//   I8                    weights through DequantizeLinear, x as it is: operators have no scale for each row of x
//   I8_BLOCKS, I4_BLOCKS  com.microsoft.MatMulNBits and GatherBlockQuantized, codes of 8 bits plus 128, of 4 plus 8; accuracy_level 4:
//                         x may be rounded to 8 bits by blocks, as it is here
//
// What DequantizeLinear puts out has the weight's name, by which an import knows it.
#include "core/graph/coding.h"
#include "infer/export/onnx_emit.h"
#include <stdlib.h>
#include <string.h>

#define MICROSOFT "com.microsoft"

static bool in_blocks(const hs_param *w) { return w->coding == HS_CODING_I8_BLOCKS || w->coding == HS_CODING_I4_BLOCKS; }

typedef struct piece { // of a parameter, in the graph
    const hs_param *w;
    const char *name; // the weight's
    int part;
    int64_t rows, cols;
} piece;

static hs_status find_piece(hs_ox *x, const hs_param *w, int i, piece *of)
{
    hs_name_piece all[HS_NAME_PIECES];
    int n;
    HS_TRY(hs_export_pieces(x->model, w, all, &n));
    if (i >= n)
        return HS_FAIL(INTERNAL, "parameter %s has %d tensors in its family's files, number %d is asked for", w->name, n, i);
    if (w->parts > 1 && w->dim[0] != w->logical[0])
        return HS_FAIL(UNSUPPORTED, "%s: stacked, padded and kept as codes", w->name);
    *of = (piece){ .w = w, .part = all[i].part, .cols = hs_param_cols(w) };
    of->rows = hs_param_part_rows(w) * (of->part > 0 ? 1 : w->parts);
    of->name = hs_ox_weight_name(x, &all[i]);
    x->used[w->id] = true;
    return HS_OK;
}

// Its rows of a view, as they are stored; the caller frees them.
static hs_status read_rows(const hs_ox *x, const piece *of, hs_view v, void **out)
{
    const hs_params *ps = x->model->params;
    const size_t bytes = hs_coding_bytes(of->w, v), row = bytes / (size_t)of->w->dim[0];
    const size_t first = (size_t)((of->part > 0 ? of->part - 1 : 0) * (of->w->dim[0] / of->w->parts));
    char *all = *out = malloc(bytes + 1);
    if (!all)
        return HS_FAIL(MEMORY, "no memory for the codes of %s", of->w->name);
    hs_params_read(ps, hs_params_coded(ps, v), of->w, all);
    memmove(all, all + first * row, (size_t)of->rows * row);
    return HS_OK;
}

// An initializer that is filled in by the caller; NULL: it is there already, or there is no memory.
static void *add_init(hs_ox *x, const char *name, hs_onnx_type type, int n_dims, const int64_t *dim)
{
    hs_onnx_tensor t = { .name = name, .type = type, .n_dims = n_dims };
    if (!hs_ox_first_use(x, name))
        return NULL;
    for (int i = 0; i < n_dims; i++)
        t.dim[i] = dim[i];
    void *data = hs_onnx_alloc(x->m, (size_t)hs_onnx_count(&t) * (size_t)hs_onnx_bits(type) / 8);
    t.data = data;
    if (data)
        hs_onnx_add_init(x->m, &t);
    return data;
}

// ---- what lies in the file

enum code_form { AS_STORED, TURNED }; // [out, in] or [in, out], of whole bytes

static hs_status put_codes(hs_ox *x, const piece *of, enum code_form form, int n_dims, const int64_t *dim, const char **name)
{
    const bool blocks = in_blocks(of->w);
    *name = hs_onnx_text(x->m, "%s_quantized", of->name);
    uint8_t *to = add_init(x, *name, blocks ? HS_ONNX_U8 : HS_ONNX_I8, n_dims, dim);
    if (!to)
        return HS_OK;
    void *rows;
    HS_TRY(read_rows(x, of, HS_VIEW_CODES, &rows));
    const uint8_t *from = rows;
    const int64_t wide = of->w->coding == HS_CODING_I4_BLOCKS ? of->cols / 2 : of->cols;
    const uint8_t plus = of->w->coding == HS_CODING_I8_BLOCKS ? 128 : 0;
    for (int64_t r = 0; r < of->rows; r++)
        for (int64_t c = 0; c < wide; c++)
            to[form == TURNED ? c * of->rows + r : r * wide + c] = (uint8_t)(from[r * wide + c] + plus);
    free(rows);
    return HS_OK;
}

static hs_status put_scales(hs_ox *x, const piece *of, const char **name)
{
    const int64_t dim[] = { of->rows, of->cols / HS_CODE_BLOCK }, n = of->rows * (in_blocks(of->w) ? dim[1] : 1);
    *name = hs_onnx_text(x->m, "%s_scale", of->name);
    float *to = add_init(x, *name, HS_ONNX_F32, in_blocks(of->w) ? 2 : 1, dim);
    if (!to)
        return HS_OK;
    void *rows;
    HS_TRY(read_rows(x, of, HS_VIEW_SCALES, &rows));
    hs_convert(to, HS_F32, rows, in_blocks(of->w) ? HS_F16 : HS_F32, n);
    free(rows);
    return HS_OK;
}

static const char *zeros(hs_ox *x, int64_t n) // of i8
{
    const char *name = hs_onnx_text(x->m, "zeros_%lld", (long long)n);
    add_init(x, name, HS_ONNX_I8, 1, &n);
    return name;
}

static const char *middle(hs_ox *x) // of u8
{
    uint8_t *zero = add_init(x, "zero_128", HS_ONNX_U8, 0, NULL);
    if (zero)
        *zero = 128;
    return "zero_128";
}

static void of_microsoft(hs_ox *x, int bits)
{
    hs_onnx_node *n = hs_ox_last(x);
    if (n)
        n->domain = MICROSOFT;
    hs_onnx_set_int(x->m, n, "bits", bits);
    hs_onnx_set_int(x->m, n, "block_size", HS_CODE_BLOCK);
    if (hs_ox_first_use(x, MICROSOFT))
        hs_onnx_add_opset(x->m, MICROSOFT, 1);
}

static int bits_of(const hs_param *w) { return w->coding == HS_CODING_I4_BLOCKS ? 4 : 8; }

// ---- products

hs_status hs_ox_coded_input(hs_ox *x, const hs_param *w, const char **in)
{
    float scale;
    if (w->coding != HS_CODING_I8_STATIC)
        return HS_OK;
    hs_params_read(x->model->params, hs_params_coded(x->model->params, HS_VIEW_X_SCALE), w, &scale);
    const char *by = hs_ox_real(x, (double)scale), *zero = middle(x);
    *in = HS_OX(x, "Max", *in, hs_ox_real(x, -127 * (double)scale)); // codes end at -127 here; -128 made 10 of 872 labels of SST-2 others
    *in = HS_OX(x, "DequantizeLinear", HS_OX(x, "QuantizeLinear", *in, by, zero), by, zero);
    return HS_OK;
}

static hs_status product_of_rows(hs_ox *x, const piece *of, const char *in, const char **out)
{
    const bool table = x->looked_up[of->w->id];
    const int64_t stored[] = { of->rows, of->cols }, turned[] = { of->cols, of->rows };
    const char *codes, *scales;
    HS_TRY(put_codes(x, of, table ? AS_STORED : TURNED, 2, table ? stored : turned, &codes));
    HS_TRY(put_scales(x, of, &scales));
    if (hs_ox_first_use(x, of->name)) { // else layers share it
        if (table) {
            codes = HS_OX(x, "Transpose", codes);
            hs_onnx_set_ints(x->m, hs_ox_last(x), "perm", (const int64_t[]){ 1, 0 }, 2);
        }
        HS_OX(x, "DequantizeLinear", codes, scales, zeros(x, of->rows));
        hs_onnx_set_int(x->m, hs_ox_last(x), "axis", 1);
        if (hs_ox_last(x))
            hs_ox_last(x)->out[0] = of->name;
    }
    x->rows_rounded += of->w->coding == HS_CODING_I8;
    *out = HS_OX(x, "MatMul", in, of->name);
    return HS_OK;
}

static hs_status product_of_blocks(hs_ox *x, const piece *of, const char *in, const char **out)
{
    const int64_t bytes = HS_CODE_BLOCK * bits_of(of->w) / 8, blocks = of->cols / HS_CODE_BLOCK;
    const int64_t table[] = { of->rows, blocks * bytes }, dim[] = { of->rows, blocks, bytes };
    const bool looked_up = x->looked_up[of->w->id];
    const char *codes, *scales;
    HS_TRY(put_codes(x, of, AS_STORED, looked_up ? 2 : 3, looked_up ? table : dim, &codes));
    HS_TRY(put_scales(x, of, &scales));
    if (looked_up)
        codes = hs_ox_reshape(x, codes, dim, 3);
    *out = HS_OX(x, "MatMulNBits", in, codes, scales);
    of_microsoft(x, bits_of(of->w));
    hs_onnx_set_int(x->m, hs_ox_last(x), "K", of->cols);
    hs_onnx_set_int(x->m, hs_ox_last(x), "N", of->rows);
    hs_onnx_set_int(x->m, hs_ox_last(x), "accuracy_level", 4);
    return HS_OK;
}

hs_status hs_ox_coded_product(hs_ox *x, const hs_param *w, int i, const char *in, const char **out)
{
    piece of;
    HS_TRY(find_piece(x, w, i, &of));
    return (in_blocks(w) ? product_of_blocks : product_of_rows)(x, &of, in, out);
}

// ---- look-ups

hs_status hs_ox_coded_rows(hs_ox *x, const hs_param *table, const char *ids, const char **out)
{
    const char *codes, *scales;
    piece of;
    HS_TRY(find_piece(x, table, 0, &of));
    const int64_t dim[] = { of.rows, of.cols * bits_of(table) / 8 };
    HS_TRY(put_codes(x, &of, AS_STORED, 2, dim, &codes));
    HS_TRY(put_scales(x, &of, &scales));
    if (in_blocks(table)) {
        *out = HS_OX(x, "GatherBlockQuantized", codes, ids, scales);
        of_microsoft(x, bits_of(table));
        hs_onnx_set_int(x->m, hs_ox_last(x), "gather_axis", 0);
        hs_onnx_set_int(x->m, hs_ox_last(x), "quantize_axis", 1);
        return HS_OK;
    }
    codes = HS_OX(x, "Cast", HS_OX(x, "Gather", codes, ids));
    hs_onnx_set_int(x->m, hs_ox_last(x), "to", HS_ONNX_F32);
    *out = HS_OX(x, "Mul", codes, HS_OX(x, "Unsqueeze", HS_OX(x, "Gather", scales, ids), HS_OX_LIST(x, -1)));
    return HS_OK;
}

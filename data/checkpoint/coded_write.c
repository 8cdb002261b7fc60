// coded_write: parameters that are kept as codes on their way into a file, and quantization_config, which says so to the ecosystem. How
// they lie there says weights_coded.c.
#include "core/graph/coding.h"
#include "data/checkpoint/ckpt_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char weight_end[] = ".weight";

size_t hs_coded_bytes(const hs_params *ps)
{
    size_t n = 0;
    for (int i = 0; i < ps->n_params; i++)
        for (int v = HS_VIEW_CODES; v < HS_N_VIEWS; v++)
            n += (hs_coding_bytes(ps->param[i], v) + 7) / 8 * 8;
    return n;
}

// The module whose weight a piece is: its name without ".weight".
static int module_of(const hs_name_piece *piece)
{
    const size_t n = strlen(piece->name), cut = sizeof weight_end - 1;
    return n > cut && strcmp(piece->name + n - cut, weight_end) == 0 ? (int)(n - cut) : -1;
}

static hs_status add(hs_st_sources *out, const hs_name_piece *piece, const char *end, hs_dtype dtype, int64_t rows, int64_t cols,
                     const void *data)
{
    hs_st_source *s = &out->s[out->n];
    char *name = out->names + (size_t)out->n * HS_NAME_BYTES;
    if (snprintf(name, HS_NAME_BYTES, "%.*s%s", module_of(piece), piece->name, end) >= HS_NAME_BYTES)
        return HS_FAIL(USAGE, "parameter name of more than %d bytes: %.80s...", HS_NAME_BYTES, piece->name);
    *s = (hs_st_source){ .t = { .name = name, .dtype = dtype, .n_dims = cols ? 2 : 1, .dim = { rows, cols }, .data = data } };
    out->n++;
    return HS_OK;
}

static hs_status add_piece(hs_st_sources *out, const hs_param *p, const hs_name_piece *piece, char *const *bytes)
{
    const int64_t rows = hs_param_part_rows(p) * (piece->part > 0 ? 1 : p->parts), part = p->dim[0] / p->parts, cols = hs_param_cols(p);
    const size_t first = (size_t)((piece->part > 0 ? piece->part - 1 : 0) * part);
    const bool packed = p->coding == HS_CODING_I4_BLOCKS, blocks = packed || p->coding == HS_CODING_I8_BLOCKS;
    const char *codes = bytes[HS_VIEW_CODES] + first * (hs_coding_bytes(p, HS_VIEW_CODES) / (size_t)p->dim[0]);
    const char *scales = bytes[HS_VIEW_SCALES] + first * (hs_coding_bytes(p, HS_VIEW_SCALES) / (size_t)p->dim[0]);
    if (module_of(piece) < 0)
        return HS_FAIL(INTERNAL, "\"%s\" is kept as codes, and no weight of a module", piece->name);
    HS_TRY(packed ? add(out, piece, ".weight_packed", HS_I32, rows, cols / 8, codes)
                  : add(out, piece, ".weight", HS_I8, rows, cols, codes));
    HS_TRY(add(out, piece, ".weight_scale", blocks ? HS_F16 : HS_F32, rows, blocks ? cols / HS_CODE_BLOCK : 1, scales));
    if (p->coding == HS_CODING_I8_STATIC)
        HS_TRY(add(out, piece, ".input_scale", HS_F32, 1, 0, bytes[HS_VIEW_X_SCALE]));
    if (!packed)
        return HS_OK;
    int64_t *shape = (int64_t *)(void *)(out->coded + out->coded_used);
    shape[0] = rows, shape[1] = cols;
    out->coded_used += 2 * sizeof *shape;
    return add(out, piece, ".weight_shape", HS_I64, 2, 0, shape);
}

hs_status hs_st_sources_coded(hs_st_sources *out, const hs_params *ps, const hs_param *p, const hs_name_piece *piece, int n)
{
    char *bytes[HS_N_VIEWS] = { NULL };
    if (p->parts > 1 && p->dim[0] != p->logical[0])
        return HS_FAIL(UNSUPPORTED, "%s: stacked, padded and kept as codes", p->name);
    for (int v = HS_VIEW_CODES; v < HS_N_VIEWS; v++) {
        const size_t size = hs_coding_bytes(p, v);
        if (!size)
            continue;
        bytes[v] = out->coded + out->coded_used;
        out->coded_used += (size + 7) / 8 * 8;
        hs_params_read(ps, hs_params_coded(ps, v), p, bytes[v]);
    }
    for (int i = 0; i < n; i++)
        HS_TRY(add_piece(out, p, &piece[i], bytes));
    return HS_OK;
}

// ---- config.json

static const struct {
    hs_coding coding;
    const char *format, *weights, *inputs;
} groups[] = {
#define ROWS   "\"strategy\": \"channel\", \"group_size\": null"
#define BLOCKS "\"strategy\": \"group\", \"group_size\": 32"
#define INT(n) "{\"num_bits\": " n ", \"type\": \"int\", \"symmetric\": true, \"dynamic\": "
    { HS_CODING_I8, "int-quantized", INT("8") "false, " ROWS "}", INT("8") "true, \"strategy\": \"token\"}" },
    { HS_CODING_I8_STATIC, "int-quantized", INT("8") "false, " ROWS "}", INT("8") "false, \"strategy\": \"tensor\"}" },
    { HS_CODING_I8_BLOCKS, "naive-quantized", INT("8") "false, " BLOCKS "}", "null" },
    { HS_CODING_I4_BLOCKS, "pack-quantized", INT("4") "false, " BLOCKS "}", "null" },
};

static hs_status add_targets(hs_text *t, const hs_params *ps, const hs_ckpt_opts *o, hs_coding coding, int *count)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    for (int i = 0; i < ps->n_params; i++) {
        if (ps->param[i]->coding != coding)
            continue;
        HS_TRY(hs_ckpt_pieces(o, ps->param[i], piece, &n));
        for (int k = 0; k < n; k++) {
            char module[HS_NAME_BYTES];
            snprintf(module, sizeof module, "%.*s", module_of(&piece[k]), piece[k].name);
            hs_text_add(t, "%s", (*count)++ ? ", " : "");
            hs_text_string(t, module);
        }
    }
    return HS_OK;
}

hs_status hs_quantization_json(hs_text *t, const hs_params *ps, const hs_ckpt_opts *o)
{
    int n_groups = 0;
    const char *format = NULL;
    hs_text_add(t, "{\n    \"config_groups\": {");
    for (int g = 0; g < HS_COUNT(groups); g++) {
        hs_text targets = { 0 };
        int count = 0;
        const hs_status st = add_targets(&targets, ps, o, groups[g].coding, &count);
        if (st == HS_OK && count > 0) {
            hs_text_add(t, "%s\n      \"group_%d\": {\n        \"format\": \"%s\",\n        \"input_activations\": %s,\n",
                        n_groups ? "," : "", n_groups, groups[g].format, groups[g].inputs);
            hs_text_add(t, "        \"output_activations\": null,\n        \"targets\": [%s],\n        \"weights\": %s\n      }",
                        targets.p != NULL ? targets.p : "", groups[g].weights);
            format = n_groups++ && strcmp(format, groups[g].format) ? "mixed-precision" : groups[g].format;
        }
        const bool failed = targets.failed;
        hs_text_free(&targets);
        HS_TRY(st);
        if (failed)
            return HS_FAIL(MEMORY, "no memory for the names of weights that are kept as codes");
    }
    hs_text_add(t, "\n    },\n    \"format\": \"%s\",\n    \"ignore\": [],\n    \"kv_cache_scheme\": null,\n",
                format != NULL ? format : "dense");
    hs_text_add(t, "    \"quant_method\": \"compressed-tensors\",\n    \"quantization_status\": \"compressed\"\n  }");
    return HS_OK;
}

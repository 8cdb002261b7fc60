// weights_product: weights that a file has as indices of centroids (product quantization, infer/quant/product.h), read as values. Of a
// weight L.weight that the family's files have as [rows, cols]:
//
//   L.weight_centroids  f16 [centroids, block], at most 256
//   L.weight_indices    u8 [rows, cols / block]: value[r, c] = centroids[indices[r, c / block]][c % block]; or, where files have [in, out],
//                       [rows / block, cols]: value[r, c] = centroids[indices[r / block, c]][r % block]. Blocks go along `in` either way
//   L.weight_shape      i64 [2]: rows, cols
//
// config.json's quantization_config says {"quant_method": "halfstep-product", "format": "product", "block": 8, "centroids": 256}: a name
// that other tools refuse. Such a tensor stands in hs_weights as one of f32 that is nowhere yet; it is made while it is read, one at a
// time.
#include "core/graph/coding.h"
#include "data/checkpoint/weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char indices_end[] = ".weight_indices";
enum { CENTROIDS, SHAPE, PARTS };
static const char *const part_end[PARTS] = { ".weight_centroids", ".weight_shape" };

struct hs_made {
    hs_st_entry entry;
    const hs_st_entry *index, *centroid;
    bool turned; // blocks go down the columns
    float *values;
    char name[HS_NAME_BYTES];
};

static hs_weight *part_of(const hs_weights *w, const char *name, int n, const char *end)
{
    char other[HS_NAME_BYTES + 24];
    snprintf(other, sizeof other, "%.*s%s", n, name, end);
    return hs_weights_find(w, other);
}

static const char *shape_of(hs_made *m, const hs_st_entry *shape)
{
    const hs_st_entry *i = m->index, *c = m->centroid;
    int64_t dim[2];
    if (i->dtype != HS_U8 || i->n_dims != 2 || c->dtype != HS_F16 || c->n_dims != 2 || shape->dtype != HS_I64 || shape->n_dims != 1 ||
        shape->dim[0] != 2)
        return "are no u8 [_, _] with centroids f16 [_, _] and a shape i64 [2]";
    memcpy(dim, shape->data, sizeof dim);
    const int64_t block = c->dim[1];
    if (c->dim[0] < 1 || c->dim[0] > 256 || block < 1 || block > INT32_MAX)
        return "have no 1 to 256 centroids";
    if (dim[0] < 1 || dim[1] < 1 || dim[0] > INT32_MAX || dim[1] > INT32_MAX)
        return "have a shape that is none";
    m->turned = i->dim[1] == dim[1];
    if (m->turned ? i->dim[0] * block != dim[0] : i->dim[0] != dim[0] || i->dim[1] * block != dim[1])
        return "are no blocks of their shape";
    m->entry = (hs_st_entry){ .dtype = HS_F32, .n_dims = 2, .dim = { dim[0], dim[1] }, .bytes = (size_t)(dim[0] * dim[1]) * sizeof(float) };
    return NULL;
}

static hs_status check_values(const hs_weights *w, const hs_made *m)
{
    const uint8_t *index = m->index->data;
    for (size_t i = 0; i < m->index->bytes; i++)
        if (index[i] >= m->centroid->dim[0])
            return HS_FAIL(CORRUPT, "%s: element %zu of \"%.120s\" is %d, and there are %lld centroids", w->dir, i, m->index->name,
                           index[i], (long long)m->centroid->dim[0]);
    for (int64_t i = 0; i < m->centroid->dim[0] * m->centroid->dim[1]; i++) {
        uint16_t half;
        memcpy(&half, (const char *)m->centroid->data + 2 * i, sizeof half);
        if ((half & 0x7C00) == 0x7C00)
            return HS_FAIL(CORRUPT, "%s: element %lld of \"%.120s\" is not finite", w->dir, (long long)i, m->centroid->name);
    }
    return HS_OK;
}

static hs_status add(hs_weights *w, hs_weight *indices, hs_made *m)
{
    const int n = (int)(strlen(indices->name) - strlen(indices_end));
    hs_weight *part[PARTS];
    for (int k = 0; k < PARTS; k++)
        if (!(part[k] = part_of(w, indices->name, n, part_end[k])))
            return HS_FAIL(CORRUPT, "%s: \"%.120s\" has no \"%.*s%s\" beside it", w->dir, indices->name, n, indices->name, part_end[k]);
    if (n + (int)sizeof ".weight" > HS_NAME_BYTES || part_of(w, indices->name, n, ".weight"))
        return HS_FAIL(CORRUPT, "%s: \"%.120s\" stands beside the weight itself", w->dir, indices->name);
    *m = (hs_made){ .index = indices->entry, .centroid = part[CENTROIDS]->entry };
    const char *why = shape_of(m, part[SHAPE]->entry);
    if (why)
        return HS_FAIL(CORRUPT, "%s: \"%.120s\" %s", w->dir, indices->name, why);
    HS_TRY(check_values(w, m));
    snprintf(m->name, sizeof m->name, "%.*s.weight", n, indices->name);
    m->entry.name = m->name;
    for (int k = 0; k < PARTS; k++)
        part[k]->used = true;
    *indices = (hs_weight){ .entry = &m->entry, .name = m->name, .file = indices->file }; // in its place
    return HS_OK;
}

static bool is_indices(const hs_weight *t)
{
    const size_t n = strlen(t->name), end = strlen(indices_end);
    return n > end && strcmp(t->name + n - end, indices_end) == 0;
}

hs_status hs_weights_find_products(hs_weights *w)
{
    int n = 0;
    for (int i = 0; i < w->n; i++)
        n += is_indices(&w->weight[i]);
    if (!n)
        return HS_OK;
    w->made = calloc((size_t)n, sizeof *w->made);
    if (!w->made)
        return HS_FAIL(MEMORY, "%s: no memory for %d weights", w->dir, n);
    for (int i = 0; i < w->n;
         i++) // what stands in its place sorts in front of its centroids: until all are found no other is missed by that
        if (is_indices(&w->weight[i]))
            HS_TRY(add(w, &w->weight[i], &w->made[w->n_made++]));
    return hs_weights_sort(w);
}

static hs_made *made_of(const hs_weights *w, const hs_weight *t)
{
    for (int i = 0; i < w->n_made; i++)
        if (t->entry == &w->made[i].entry)
            return &w->made[i];
    return NULL;
}

static void fill(const hs_made *m, float *centroid)
{
    const int64_t rows = m->entry.dim[0], cols = m->entry.dim[1], block = m->centroid->dim[1], wide = m->index->dim[1];
    const uint8_t *index = m->index->data;
    for (int64_t i = 0; i < m->centroid->dim[0] * block; i++) {
        uint16_t half;
        memcpy(&half, (const char *)m->centroid->data + 2 * i, sizeof half);
        centroid[i] = hs_f16_f32(half);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            m->values[r * cols + c] = m->turned ? centroid[index[r / block * wide + c] * block + r % block]
                                                : centroid[index[r * wide + c / block] * block + c % block];
}

hs_status hs_weights_make(const hs_weights *w, const hs_weight *t)
{
    hs_made *m = t ? made_of(w, t) : NULL;
    if (!m)
        return HS_OK;
    float *centroid = malloc((size_t)(m->centroid->dim[0] * m->centroid->dim[1]) * sizeof *centroid);
    m->entry.data = m->values = malloc(m->entry.bytes);
    if (centroid && m->values)
        fill(m, centroid);
    free(centroid);
    return centroid && m->values ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for the values of \"%.120s\"", w->dir, m->name);
}

void hs_weights_unmake(const hs_weights *w, const hs_weight *t)
{
    hs_made *m = t ? made_of(w, t) : NULL;
    if (!m)
        return;
    free(m->values);
    m->entry.data = m->values = NULL;
}

// ---- written

size_t hs_product_source_bytes(const hs_ckpt_opts *o)
{
    size_t n = 0;
    for (int i = 0; i < o->n_products; i++) {
        const hs_ckpt_product *q = &o->product[i];
        n += (size_t)(hs_param_part_rows(q->param) * (q->part ? 1 : q->param->parts) * hs_param_cols(q->param) / q->block) + 7;
        n += (size_t)(q->centroids * q->block) * sizeof(uint16_t) + 7 + 16;
    }
    return n;
}

const hs_ckpt_product *hs_product_of_piece(const hs_ckpt_opts *o, const hs_param *p, int part)
{
    for (int i = 0; i < o->n_products; i++)
        if (o->product[i].param == p && o->product[i].part == part)
            return &o->product[i];
    return NULL;
}

static void *take(hs_st_sources *out, size_t bytes)
{
    void *at = out->coded + out->coded_used;
    out->coded_used += (bytes + 7) / 8 * 8;
    return at;
}

static hs_status put(hs_st_sources *out, const hs_name_piece *piece, const char *end, hs_dtype dtype, int n_dims, int64_t rows,
                     int64_t cols, const void *data)
{
    char *name = out->names + (size_t)out->n * HS_NAME_BYTES;
    const int n = (int)(strlen(piece->name) - strlen(".weight"));
    if (n < 1 || strcmp(piece->name + n, ".weight") != 0 || snprintf(name, HS_NAME_BYTES, "%.*s%s", n, piece->name, end) >= HS_NAME_BYTES)
        return HS_FAIL(INTERNAL, "\"%s\" is kept as centroids, and no weight of a module", piece->name);
    out->s[out->n++] = (hs_st_source){ .t = { .name = name, .dtype = dtype, .n_dims = n_dims, .dim = { rows, cols }, .data = data } };
    return HS_OK;
}

hs_status hs_st_sources_product(hs_st_sources *out, const hs_ckpt_product *q, const hs_name_piece *piece)
{
    const int64_t rows = hs_param_part_rows(q->param) * (q->part ? 1 : q->param->parts), cols = hs_param_cols(q->param),
                  wide = cols / q->block;
    uint16_t *centroid = take(out, (size_t)(q->centroids * q->block) * sizeof *centroid);
    uint8_t *index = take(out, (size_t)(rows * wide));
    int64_t *shape = take(out, 2 * sizeof *shape);
    for (int i = 0; i < q->centroids * q->block; i++)
        centroid[i] = hs_f32_f16(q->centroid[i]);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t b = 0; b < wide; b++)
            index[piece->transposed ? b * rows + r : r * wide + b] = q->index[r * wide + b];
    shape[piece->transposed] = rows, shape[!piece->transposed] = cols;
    HS_TRY(put(out, piece, part_end[CENTROIDS], HS_F16, 2, q->centroids, q->block, centroid));
    HS_TRY(put(out, piece, part_end[SHAPE], HS_I64, 1, 2, 0, shape));
    return piece->transposed ? put(out, piece, indices_end, HS_U8, 2, wide, rows, index)
                             : put(out, piece, indices_end, HS_U8, 2, rows, wide, index);
}

// fake_cudnn_ops: tensors and operations of a run of cuDNN's double.
#include "core/base/dtype.h"
#include "core/base/rng.h"
#include "tests/emu/fake_cudnn.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS = 256 };

// ---- tensors of a run

typedef struct tensor {
    const object *d;
    int type;
    int64_t dim[4], stride[4];
    char *p;   // bytes of one that has some
    double *v; // else its cells, by strides
    bool by_value;
    const int32_t *offsets;     // of a ragged one
    int rows;                   // its dim that is rows
    const struct tensor *alias; // the tensor whose bytes it has in another shape
} tensor;

typedef struct run {
    tensor t[TENSORS];
    int n;
    launch *l;
    cudnnStatus_t status;
} run;

static void refuse(run *r, cudnnStatus_t st)
{
    if (r->status == CUDNN_STATUS_SUCCESS)
        r->status = st;
}

static void *address_of(run *r, const object *d)
{
    const int64_t id = *(const int64_t *)find(d, CUDNN_ATTR_TENSOR_UNIQUE_ID)->values;
    int i = 0;
    while (r->l->given[i].id != id) // it is there: take
        i++;
    return is_set(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE) ? (void *)&r->l->given[i].value : r->l->given[i].p;
}

static tensor *tensor_of(run *r, const object *d)
{
    for (int i = 0; i < r->n; i++)
        if (r->t[i].d == d)
            return &r->t[i];
    if (r->n == TENSORS)
        abort();
    tensor *t = &r->t[r->n++];
    *t = (tensor){ .d = d, .type = word_of(d, CUDNN_ATTR_TENSOR_DATA_TYPE), .by_value = is_set(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE) };
    memcpy(t->dim, find(d, CUDNN_ATTR_TENSOR_DIMENSIONS)->values, sizeof t->dim);
    memcpy(t->stride, find(d, CUDNN_ATTR_TENSOR_STRIDES)->values, sizeof t->stride);
    t->rows = t->stride[3] == 1 ? 2 : 3;
    const object *offsets = link_of(d, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC);
    if (offsets)
        t->offsets = address_of(r, offsets);
    if (!is_set(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL)) {
        t->p = address_of(r, d);
        return t;
    }
    int64_t cells = 1;
    for (int i = 0; i < 4; i++)
        cells += (t->dim[i] - 1) * t->stride[i];
    t->v = malloc((size_t)cells * sizeof *t->v);
    if (!t->v)
        abort();
    for (int64_t i = 0; i < cells; i++)
        t->v[i] = NAN;
    return t;
}

// Where element i is, in elements; -1: in a row behind the sequence's last.
static int64_t place(const tensor *t, const int64_t i[4])
{
    int64_t at = i[1] * t->stride[1] + i[2] * t->stride[2] + i[3] * t->stride[3];
    if (!t->offsets)
        return at + i[0] * t->stride[0];
    if (i[t->rows] * t->stride[t->rows] >= t->offsets[i[0] + 1] - t->offsets[i[0]])
        return -1;
    return at + t->offsets[i[0]];
}

static hs_dtype dtype_of(int type)
{
    return type == CUDNN_DATA_BFLOAT16 ? HS_BF16 : type == CUDNN_DATA_HALF ? HS_F16 : type == CUDNN_DATA_INT32 ? HS_I32 : HS_F32;
}

static double get(const tensor *t, const int64_t index[4])
{
    int64_t i[4];
    for (int k = 0; k < 4; k++)
        i[k] = t->dim[k] == 1 ? 0 : index[k]; // one for all
    const tensor *from = t->alias ? t->alias : t;
    const int64_t at = place(t, i);
    if (at < 0)
        return NAN;
    return from->v                             ? from->v[at]
           : from->type == CUDNN_DATA_INT32    ? ((const int32_t *)from->p)[at]
           : from->type == CUDNN_DATA_BFLOAT16 ? hs_bf16_f32(((const uint16_t *)from->p)[at])
           : from->type == CUDNN_DATA_HALF     ? hs_f16_f32(((const uint16_t *)from->p)[at])
                                               : ((const float *)from->p)[at];
}

static void set(tensor *t, const int64_t i[4], double x)
{
    const int64_t at = place(t, i);
    const hs_dtype d = dtype_of(t->type);
    if (at < 0)
        return;
    if (t->p)
        hs_convert(t->p + (size_t)at * hs_dtype_bytes(d), d, &x, HS_F64, 1);
    else if (t->type == CUDNN_DATA_FLOAT || hs_dtype_is_low(d)) { // rounded as it is told to be kept
        char low[4];
        hs_convert(low, d, &x, HS_F64, 1);
        hs_convert(&t->v[at], HS_F64, low, d, 1);
    } else
        t->v[at] = x;
}

#define for_each(i, dims)                                                                                                                  \
    for (int64_t i[4] = { 0 }; i[0] < (dims)[0]; i[0]++)                                                                                   \
        for (i[1] = 0; i[1] < (dims)[1]; i[1]++)                                                                                           \
            for (i[2] = 0; i[2] < (dims)[2]; i[2]++)                                                                                       \
                for (i[3] = 0; i[3] < (dims)[3]; i[3]++)

// ---- operations

static int64_t counted(run *r, const object *op, cudnnBackendAttributeName_t name, int64_t b, int64_t all)
{
    const object *d = link_of(op, name);
    const int64_t n = d ? ((const int32_t *)tensor_of(r, d)->p)[b] : all;
    if (n < 0 || n > all)
        refuse(r, CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND);
    return n;
}

// A row of a product: each sum for itself in the order of its terms, many beside each other.
static void add_products(double *restrict sums, const double *restrict x, const double *restrict y, int64_t n, int64_t k)
{
    for (int64_t c = 0; c < n; c++)
        sums[c] = 0;
    for (int64_t j = 0; j < k; j++)
        for (int64_t c = 0; c < n; c++)
            sums[c] += x[j] * y[j * n + c];
}

static void matmul(run *r, const object *op)
{
    const tensor *x = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC)),
                 *y = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC));
    tensor *c = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC));
    if (x->dim[3] != y->dim[2] || x->dim[2] != c->dim[2] || y->dim[3] != c->dim[3]) {
        refuse(r, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
        return;
    }
    double *const sums = malloc((size_t)(c->dim[3] + x->dim[3] * (1 + c->dim[3])) * sizeof *sums), *const row = sums + c->dim[3], *const of_y = row + x->dim[3];
    if (!sums)
        abort();
    for (int64_t s = 0; s < c->dim[0] && r->status == CUDNN_STATUS_SUCCESS; s++) {
        const int64_t m = counted(r, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, s, c->dim[2]),
                      n = counted(r, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, s, c->dim[3]),
                      k = counted(r, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, s, x->dim[3]);
        for (int64_t h = 0; h < c->dim[1] && r->status == CUDNN_STATUS_SUCCESS; h++) {
            for (int64_t j = 0; j < k; j++)
                for (int64_t col = 0; col < n; col++)
                    of_y[j * n + col] = get(y, (int64_t[]){ s, h, j, col });
            for (int64_t i = 0; i < c->dim[2]; i++) {
                for (int64_t j = 0; j < k && i < m; j++)
                    row[j] = get(x, (int64_t[]){ s, h, i, j });
                if (i < m)
                    add_products(sums, row, of_y, n, k);
                for (int64_t col = 0; col < c->dim[3]; col++) {
                    const bool counts = i < m && col < n;
                    if (counts || !c->offsets) // a ragged sequence's other rows are its own, but nobody has promised to write them
                        set(c, (int64_t[]){ s, h, i, col }, counts ? sums[col] : NAN);
                }
            }
        }
    }
    free(sums);
}

static void pointwise(run *r, const object *op)
{
    const object *how = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR), *d;
    const int mode = word_of(how, CUDNN_ATTR_POINTWISE_MODE);
    const tensor *x = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC));
    const tensor *b = (d = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC)) ? tensor_of(r, d) : NULL;
    const tensor *chooser = (d = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC)) ? tensor_of(r, d) : NULL;
    const attribute *axis = find(how, CUDNN_ATTR_POINTWISE_AXIS);
    tensor *y = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    if (r->status != CUDNN_STATUS_SUCCESS)
        return;
    for_each(i, y->dim)
    {
        const double u = get(x, i), w = b ? get(b, i) : NAN;
        double v = NAN;
        switch (mode) {
        case CUDNN_POINTWISE_ADD:
            v = u + w;
            break;
        case CUDNN_POINTWISE_SUB:
            v = u - w;
            break;
        case CUDNN_POINTWISE_MUL:
            v = u * w;
            break;
        case CUDNN_POINTWISE_DIV:
            v = u / w;
            break;
        case CUDNN_POINTWISE_EXP:
            v = exp(u);
            break;
        case CUDNN_POINTWISE_LOG:
            v = log(u);
            break;
        case CUDNN_POINTWISE_IDENTITY:
            v = u;
            break;
        case CUDNN_POINTWISE_CMP_LT:
            v = u < w;
            break;
        case CUDNN_POINTWISE_CMP_GE:
            v = u >= w;
            break;
        case CUDNN_POINTWISE_LOGICAL_AND:
            v = u != 0 && w != 0;
            break;
        case CUDNN_POINTWISE_GEN_INDEX:
            v = (double)i[*(const int64_t *)axis->values];
            break;
        case CUDNN_POINTWISE_BINARY_SELECT:
            v = get(chooser, i) != 0 ? u : w;
            break;
        default:
            refuse(r, CUDNN_STATUS_NOT_SUPPORTED);
        }
        set(y, i, v);
    }
}

static void reduction(run *r, const object *op)
{
    const int with = word_of(link_of(op, CUDNN_ATTR_OPERATION_REDUCTION_DESC), CUDNN_ATTR_REDUCTION_OPERATOR);
    const tensor *x = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC));
    tensor *y = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC));
    if (y->dim[3] != 1 || (with != CUDNN_REDUCE_TENSOR_ADD && with != CUDNN_REDUCE_TENSOR_MAX))
        refuse(r, CUDNN_STATUS_NOT_SUPPORTED);
    for_each(i, y->dim)
    {
        double all = with == CUDNN_REDUCE_TENSOR_ADD ? 0 : -INFINITY;
        for (int64_t j = 0; j < x->dim[3]; j++) {
            const double v = get(x, (int64_t[]){ i[0], i[1], i[2], j });
            all = with == CUDNN_REDUCE_TENSOR_ADD ? all + v : v > all || isnan(v) ? v : all;
        }
        set(y, i, all);
    }
}

// Zeros and ones, of one seed and offset the same each time.
static void draw(run *r, const object *op)
{
    const object *how = link_of(op, CUDNN_ATTR_OPERATION_RNG_DESC), *seed = link_of(op, CUDNN_ATTR_OPERATION_RNG_SEED),
                 *offset = link_of(op, CUDNN_ATTR_OPERATION_RNG_OFFSET_DESC);
    const double share = *(const double *)find(how, CUDNN_ATTR_RNG_BERNOULLI_DIST_PROBABILITY)->values;
    tensor *y = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_RNG_YDESC));
    if (word_of(how, CUDNN_ATTR_RNG_DISTRIBUTION) != CUDNN_RNG_DISTRIBUTION_BERNOULLI || !(share > 0 && share < 1) || y->p ||
        word_of(seed, CUDNN_ATTR_TENSOR_DATA_TYPE) != CUDNN_DATA_INT64 ||
        word_of(offset, CUDNN_ATTR_TENSOR_DATA_TYPE) != CUDNN_DATA_INT64) {
        refuse(r, CUDNN_STATUS_NOT_SUPPORTED);
        return;
    }
    const uint64_t key = hs_mix2(*(const uint64_t *)address_of(r, seed), *(const uint64_t *)address_of(r, offset));
    for_each(i, y->dim)
    {
        const hs_u32x4 w = hs_random(key, (uint32_t)i[0], (uint32_t)i[1], (uint32_t)i[2], (uint32_t)i[3]);
        set(y, i, w.v[0] < share * 0x1p32);
    }
}

// The same bytes by other strides.
static void reshape(run *r, const object *op)
{
    const tensor *x = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC));
    tensor *y = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC));
    if (x->v && y->type != x->type) { // and in another type
        int64_t cells = 1;
        for (int k = 0; k < 4; k++)
            cells += (x->dim[k] - 1) * x->stride[k];
        for (int64_t i = 0; i < cells; i++) {
            char low[4];
            hs_convert(low, dtype_of(y->type), &x->v[i], HS_F64, 1);
            hs_convert(&y->v[i], HS_F64, low, dtype_of(y->type), 1);
        }
    } else
        y->alias = x;
}

// ---- running

cudnnStatus_t fake_cudnn_perform(launch *l)
{
    const attribute *ops = find(l->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    run *r = calloc(1, sizeof *r);
    if (!r)
        return CUDNN_STATUS_ALLOC_FAILED;
    r->l = l;
    for (int64_t i = 0; i < ops->n && r->status == CUDNN_STATUS_SUCCESS; i++) {
        const object *op = ((object **)ops->values)[i];
        memset(l->workspace, 0xFF, WORKSPACE);
        switch ((int)op->type) {
        case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
            matmul(r, op);
            break;
        case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
            pointwise(r, op);
            break;
        case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
            reduction(r, op);
            break;
        case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
            reshape(r, op);
            break;
        case CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR:
            draw(r, op);
            break;
        default:
            refuse(r, CUDNN_STATUS_NOT_SUPPORTED);
        }
    }
    const cudnnStatus_t st = r->status;
    for (int i = 0; i < r->n; i++)
        free(r->t[i].v);
    free(r);
    return st;
}

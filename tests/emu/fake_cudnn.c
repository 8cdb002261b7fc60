// fake_cudnn: the calls of libcudnn that core/cuda uses, as a double that does what the operations of a graph mean, one after the other, in f64
// between tensors of the types they are told to have. It proposes one engine for any graph, and is strict where cuDNN may do as it likes:
// rows and columns that an operation was told not to count are NaN, rows of ragged tensors behind a sequence's last are neither
// read nor written, and addresses that are not aligned as promised are refused. Runs at once, in memory of the host's.
#include "core/base/dtype.h"
#include <cudnn.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct attribute {
    cudnnBackendAttributeName_t name;
    int64_t n;
    void *values;
} attribute;

enum { ATTRIBUTES = 16, TENSORS = 256 };
typedef struct object {
    cudnnBackendDescriptorType_t type;
    bool finished;
    attribute attr[ATTRIBUTES];
    int n_attrs;
} object;

static size_t element_bytes(cudnnBackendAttributeType_t t)
{
    switch ((int)t) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
    case CUDNN_TYPE_HANDLE:
        return 8;
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
        return 1;
    default:
        return 4; // enumerators
    }
}

static const attribute *find(const object *o, cudnnBackendAttributeName_t name)
{
    for (int i = 0; o && i < o->n_attrs; i++)
        if (o->attr[i].name == name)
            return &o->attr[i];
    return NULL;
}
static object *link_of(const object *o, cudnnBackendAttributeName_t name)
{
    const attribute *a = find(o, name);
    return a ? *(object **)a->values : NULL;
}
static int word_of(const object *o, cudnnBackendAttributeName_t name)
{
    const attribute *a = find(o, name);
    return a ? *(const int *)a->values : 0;
}
static bool is_set(const object *o, cudnnBackendAttributeName_t name)
{
    const attribute *a = find(o, name);
    return a && *(const bool *)a->values;
}

// ---- descriptors

size_t cudnnGetVersion(void) { return 91900; }
const char *cudnnGetErrorString(cudnnStatus_t st) { return st == CUDNN_STATUS_SUCCESS ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_BAD_PARAM"; }
void cudnnGetLastErrorString(char *message, size_t size)
{
    if (size)
        message[0] = 0;
}
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    *handle = calloc(1, sizeof(cudaStream_t));
    return *handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    return handle && !stream ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    object *o = calloc(1, sizeof *o);
    if (o)
        o->type = type;
    *out = o;
    return o ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    object *o = d;
    for (int i = 0; i < o->n_attrs; i++)
        free(o->attr[i].values);
    free(o);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t put(object *o, cudnnBackendAttributeName_t name, size_t bytes, int64_t n, const void *values)
{
    void *copy = malloc(bytes ? bytes : 1);
    if (!copy || o->n_attrs == ATTRIBUTES)
        abort();
    memcpy(copy, values, bytes);
    o->attr[o->n_attrs++] = (attribute){ name, n, copy };
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t n, const void *values)
{
    object *o = d;
    if (!o || o->finished || n < 1 || find(o, name))
        return CUDNN_STATUS_BAD_PARAM;
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t i = 0; i < n; i++) {
            const object *other = ((object *const *)values)[i];
            if (!other || !other->finished)
                return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
        }
    return put(o, name, (size_t)n * element_bytes(type), n, values);
}

static const cudnnBackendAttributeName_t needed[][6] = {
    { (int)CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_ATTR_TENSOR_STRIDES,
      CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT },
    { (int)CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC,
      CUDNN_ATTR_OPERATION_MATMUL_CDESC, CUDNN_ATTR_OPERATION_MATMUL_DESC },
    { (int)CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
      CUDNN_ATTR_OPERATION_POINTWISE_YDESC },
    { (int)CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_DESC, CUDNN_ATTR_OPERATION_REDUCTION_XDESC,
      CUDNN_ATTR_OPERATION_REDUCTION_YDESC },
    { (int)CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, CUDNN_ATTR_OPERATION_RESHAPE_YDESC },
    { (int)CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS },
    { (int)CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
      CUDNN_ATTR_VARIANT_PACK_WORKSPACE },
};

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d)
{
    object *o = d;
    if (!o || o->finished)
        return CUDNN_STATUS_BAD_PARAM;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        for (int k = 1; (int)needed[i][0] == (int)o->type && k < 6 && needed[i][k]; k++)
            if (!find(o, needed[i][k]))
                return CUDNN_STATUS_BAD_PARAM;
    o->finished = true;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t most, int64_t *n, void *values)
{
    object *const o = d;
    (void)type;
    if (!o || most < 1)
        return CUDNN_STATUS_BAD_PARAM;
    *n = 1;
    switch ((int)name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: {
        object *config = *(object **)values, *graph = link_of(o, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        config->finished = true;
        return put(config, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, sizeof graph, 1, &graph);
    }
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        *(int64_t *)values = 0;
        return CUDNN_STATUS_SUCCESS;
    }
    return CUDNN_STATUS_NOT_SUPPORTED;
}

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
    const object *pack;
    cudnnStatus_t status;
} run;

static void refuse(run *r, cudnnStatus_t st)
{
    if (r->status == CUDNN_STATUS_SUCCESS)
        r->status = st;
}

static void *address_of(run *r, const object *d)
{
    const attribute *ids = find(r->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS), *at = find(r->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    const int64_t id = *(const int64_t *)find(d, CUDNN_ATTR_TENSOR_UNIQUE_ID)->values;
    const uintptr_t align = (uintptr_t) * (const int64_t *)find(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)->values;
    for (int64_t i = 0; i < ids->n; i++)
        if (((const int64_t *)ids->values)[i] == id) {
            void *p = ((void **)at->values)[i];
            if (!is_set(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE) && (uintptr_t)p % align)
                refuse(r, CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
            return p;
        }
    refuse(r, CUDNN_STATUS_BAD_PARAM);
    return NULL;
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
    double x;
    if (at < 0)
        return NAN;
    if (from->v)
        return from->v[at];
    if (from->type == CUDNN_DATA_INT32)
        return ((const int32_t *)from->p)[at];
    hs_convert(&x, HS_F64, from->p + (size_t)at * hs_dtype_bytes(dtype_of(from->type)), dtype_of(from->type), 1);
    return x;
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

static void matmul(run *r, const object *op)
{
    const tensor *x = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC)),
                 *y = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC));
    tensor *c = tensor_of(r, link_of(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC));
    if (x->dim[3] != y->dim[2] || x->dim[2] != c->dim[2] || y->dim[3] != c->dim[3])
        refuse(r, CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    for_each(i, c->dim)
    {
        if (r->status != CUDNN_STATUS_SUCCESS)
            return;
        const int64_t m = counted(r, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, i[0], c->dim[2]),
                      n = counted(r, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, i[0], c->dim[3]),
                      k = counted(r, op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, i[0], x->dim[3]);
        double sum = 0;
        for (int64_t j = 0; j < k; j++)
            sum += get(x, (int64_t[]){ i[0], i[1], i[2], j }) * get(y, (int64_t[]){ i[0], i[1], j, i[3] });
        const bool counts = i[2] < m && i[3] < n;
        if (counts || !c->offsets) // a ragged sequence's other rows are its own, but nobody has promised to write them
            set(c, i, counts ? sum : NAN);
    }
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

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack)
{
    const object *config = link_of(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const attribute *ops = find(link_of(config, CUDNN_ATTR_ENGINE_OPERATION_GRAPH), CUDNN_ATTR_OPERATIONGRAPH_OPS);
    if (!handle || !ops || !((object *)pack)->finished)
        return CUDNN_STATUS_BAD_PARAM;
    run *r = calloc(1, sizeof *r);
    if (!r)
        return CUDNN_STATUS_ALLOC_FAILED;
    r->pack = pack;
    for (int64_t i = 0; i < ops->n && r->status == CUDNN_STATUS_SUCCESS; i++) {
        const object *op = ((object **)ops->values)[i];
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

// fake_cudnn: the calls of libcudnn that core/cuda uses, as a double that does what the operations of a graph mean, one after the other, in
// f64 between tensors of the types they are told to have. It proposes one engine for any graph, and is strict where cuDNN may do as it
// likes: rows and columns that an operation was told not to count are NaN, rows of ragged tensors behind a sequence's last are neither read
// nor written, addresses that are not aligned as promised are refused, descriptors that were destroyed are gone with all that was made of
// them, and the workspace is written all over. What is refused it says in a line on stderr. Runs in memory of the host's, in the order of a
// stream of the emulator's where it was told of those; at once in none.
#include "tests/emu/fake_cudnn.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FAKE_VERSION
#define FAKE_VERSION 91900
#endif

static size_t element_bytes(cudnnBackendAttributeType_t t)
{
    switch ((int)t) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
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

// ---- descriptors

static cudnnStatus_t refused(cudnnStatus_t st, const char *why)
{
    fprintf(stderr, "cuDNN's double: %s\n", why);
    return st;
}
#define WANT(what, status)                                                                                                                 \
    if (!(what))                                                                                                                           \
    return refused(CUDNN_STATUS_##status, "not " #what)

size_t cudnnGetVersion(void) { return FAKE_VERSION; }
const char *cudnnGetErrorString(cudnnStatus_t st) { return st == CUDNN_STATUS_SUCCESS ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_BAD_PARAM"; }
void cudnnGetLastErrorString(char *message, size_t size)
{
    if (size)
        message[0] = 0;
}

// ---- streams: of a program or plug-in that has the emulator's

typedef void call(void *);
typedef void enqueue_fn(cudaStream_t, call *, call *, void *);
typedef int capturing_fn(const char *what); // not 0, and the capture is void: this thread captures
static enqueue_fn *enqueue;
static capturing_fn *is_captured;
static long runs, runs_with_masks;
void fake_cudnn_streams(enqueue_fn *f, capturing_fn *g);
long fake_cudnn_runs(bool masks);
void fake_cudnn_streams(enqueue_fn *f, capturing_fn *g) { enqueue = f, is_captured = g; }
long fake_cudnn_runs(bool masks) { return masks ? runs_with_masks : runs; } // that were called for

struct cudnnContext {
    cudaStream_t stream;
};
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    WANT(handle && (!stream || enqueue), BAD_PARAM);
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    object *o = calloc(1, sizeof *o);
    if (o)
        o->type = type;
    *out = o;
    return o ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

static object *gone; // so that it is known of each

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    object *o = d;
    WANT(o && !o->gone, BAD_PARAM);
    for (int i = 0; i < o->n_attrs; i++)
        free(o->attr[i].values);
    *o = (object){ .type = o->type, .gone = true, .next = gone };
    gone = o;
    return CUDNN_STATUS_SUCCESS;
}
__attribute__((destructor)) static void forget(void)
{
    for (object *o = gone, *next; o; o = next) {
        next = o->next;
        free(o);
    }
}

static cudnnStatus_t put(object *o, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *values)
{
    const size_t bytes = (size_t)n * element_bytes(type);
    void *copy = malloc(bytes ? bytes : 1);
    if (!copy || o->n_attrs == ATTRIBUTES)
        abort();
    memcpy(copy, values, bytes);
    o->attr[o->n_attrs++] = (attribute){ name, type, n, copy };
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t n, const void *values)
{
    object *o = d;
    WANT(o && !o->gone && !o->finished && n >= 1 && !find(o, name), BAD_PARAM);
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t i = 0; i < n; i++) {
            const object *other = ((object *const *)values)[i];
            WANT(other && other->finished && !other->gone, BAD_PARAM_NOT_FINALIZED);
        }
    return put(o, name, type, n, values);
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
    { (int)CUDNN_BACKEND_RNG_DESCRIPTOR, CUDNN_ATTR_RNG_DISTRIBUTION, CUDNN_ATTR_RNG_BERNOULLI_DIST_PROBABILITY },
    { (int)CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR, CUDNN_ATTR_OPERATION_RNG_DESC, CUDNN_ATTR_OPERATION_RNG_SEED,
      CUDNN_ATTR_OPERATION_RNG_OFFSET_DESC, CUDNN_ATTR_OPERATION_RNG_YDESC },
    { (int)CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS },
    { (int)CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
      CUDNN_ATTR_VARIANT_PACK_WORKSPACE },
};

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d)
{
    object *o = d;
    WANT(o && !o->finished && !o->gone, BAD_PARAM);
    // a plan's kernel is compiled and loaded
    if (o->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && is_captured && is_captured("cudnnBackendFinalize of a plan"))
        return CUDNN_STATUS_EXECUTION_FAILED;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        for (int k = 1; (int)needed[i][0] == (int)o->type && k < 6 && needed[i][k]; k++)
            WANT(find(o, needed[i][k]), BAD_PARAM);
    o->finished = true;
    return CUDNN_STATUS_SUCCESS;
}

// Are there sums that blocks add to as they come: products in f32 bytes, of which another operation makes the result?
static bool any_order(const object *graph)
{
    const attribute *ops = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    for (int64_t i = 0; i < ops->n; i++) {
        const object *op = ((object **)ops->values)[i], *c = link_of(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
        if (c && !is_set(c, CUDNN_ATTR_TENSOR_IS_VIRTUAL) && word_of(c, CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_FLOAT)
            return true;
    }
    return false;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t most, int64_t *n, void *values)
{
    object *const o = d;
    (void)type;
    WANT(o && !o->gone && most >= 1, BAD_PARAM);
    *n = 1;
    switch ((int)name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: {
        object *config = *(object **)values, *graph = link_of(o, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        config->finished = true;
        return put(config, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    }
    case CUDNN_ATTR_ENGINECFG_ENGINE: {
        object *graph = link_of(o, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
        return put(*(object **)values, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    }
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        *(cudnnBackendNumericalNote_t *)values = any_order(link_of(o, CUDNN_ATTR_ENGINE_OPERATION_GRAPH))
                                                     ? CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC
                                                     : CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        *(int64_t *)values = 0;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        *(int64_t *)values = WORKSPACE;
        return CUDNN_STATUS_SUCCESS;
    }
    return CUDNN_STATUS_NOT_SUPPORTED;
}

// ---- what a run is given

// Calls `body` for each tensor that the graph's operations name, and what makes it ragged.
static cudnnStatus_t for_tensors(launch *l, cudnnStatus_t (*body)(launch *l, const object *tensor))
{
    const attribute *ops = find(l->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    for (int64_t i = 0; i < ops->n; i++) {
        const object *op = ((object **)ops->values)[i];
        WANT(!op->gone, BAD_PARAM);
        for (int k = 0; k < op->n_attrs; k++) {
            const object *t = op->attr[k].type == CUDNN_TYPE_BACKEND_DESCRIPTOR ? *(object **)op->attr[k].values : NULL;
            WANT(!t || !t->gone, BAD_PARAM);
            cudnnStatus_t st = t && t->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR ? body(l, t) : CUDNN_STATUS_SUCCESS;
            const object *offsets = t ? link_of(t, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC) : NULL;
            st = st == CUDNN_STATUS_SUCCESS && offsets ? body(l, offsets) : st;
            if (st != CUDNN_STATUS_SUCCESS)
                return st;
        }
    }
    return CUDNN_STATUS_SUCCESS;
}

// One with bytes has an address, as aligned as it says.
static cudnnStatus_t look_at(launch *l, const object *t)
{
    const int64_t id = *(const int64_t *)find(t, CUDNN_ATTR_TENSOR_UNIQUE_ID)->values;
    const uintptr_t align = (uintptr_t) * (const int64_t *)find(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)->values;
    int i = 0;
    while (i < l->n && l->given[i].id != id)
        i++;
    const bool is_virtual = is_set(t, CUDNN_ATTR_TENSOR_IS_VIRTUAL), is_given = i < l->n;
    WANT(is_virtual != is_given, BAD_PARAM);
    if (is_given && is_set(t, CUDNN_ATTR_TENSOR_IS_BY_VALUE))
        memcpy(&l->given[i].value, l->given[i].p, sizeof l->given[i].value);
    else if (is_given)
        WANT((uintptr_t)l->given[i].p % align == 0, BAD_PARAM_MISALIGNED_POINTER);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t take(launch *l, const object *plan, const object *pack)
{
    WANT(plan && !plan->gone && plan->finished && pack && !pack->gone && pack->finished, BAD_PARAM);
    const object *config = link_of(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    WANT(config && !config->gone, BAD_PARAM);
    l->graph = link_of(config, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
    WANT(l->graph && !l->graph->gone && l->graph->finished, BAD_PARAM);
    const attribute *ids = find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS), *at = find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    WANT(ids->n == at->n && ids->n <= GIVEN, BAD_PARAM);
    for (l->n = 0; l->n < (int)ids->n; l->n++)
        l->given[l->n].id = ((const int64_t *)ids->values)[l->n], l->given[l->n].p = ((void **)at->values)[l->n];
    l->workspace = *(char **)find(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE)->values;
    WANT(l->workspace && (uintptr_t)l->workspace % 16 == 0, BAD_PARAM_MISALIGNED_POINTER);
    return for_tensors(l, look_at);
}

// ---- running

// As often as its graph is replayed; there is nobody to tell any more.
static void perform_later(void *l)
{
    if (((launch *)l)->graph->gone || fake_cudnn_perform(l) != CUDNN_STATUS_SUCCESS) {
        refused(CUDNN_STATUS_EXECUTION_FAILED, "a run in a stream failed, or its graph was destroyed before it");
        abort();
    }
}

static bool draws(const object *graph)
{
    const attribute *ops = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    for (int64_t i = 0; i < ops->n; i++)
        if (((object **)ops->values)[i]->type == CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR)
            return true;
    return false;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack)
{
    WANT(handle, BAD_PARAM);
    launch *l = calloc(1, sizeof *l);
    if (!l)
        return CUDNN_STATUS_ALLOC_FAILED;
    cudnnStatus_t st = take(l, plan, pack);
    if (st == CUDNN_STATUS_SUCCESS) {
        runs++, runs_with_masks += draws(l->graph);
        if (handle->stream) {
            enqueue(handle->stream, perform_later, free, l);
            return st;
        }
        st = fake_cudnn_perform(l);
    }
    free(l);
    return st;
}

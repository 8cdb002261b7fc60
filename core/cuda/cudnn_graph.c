// cudnn_graph: attention as the operations in which cuDNN recognizes it. The order matters: it is matched as a pattern, step by step.
//
//   forward    q k^T, scale, [keys and queries that count], [causal], max, sub, exp, sum, log, add = lse, div, [drop], times v = y
//   backward   dy y, sum, times kept = delta | q k^T, scale, sub lse, masks, exp = p, [drop], transposed, times dy = dv
//              | dy v^T, [times mask], sub delta, times p, [times 1 / kept], scale = ds, transposed, times q = dk | ds k = dq
//   drop       a mask of zeros and ones out of seed and offset, times it, times 1 / kept
//
// All between is virtual: it never has bytes. Masks come behind the subtraction of lse, which is anything in a row that does not count.
#include "core/cuda/cudnn_impl.h"
#include <stdio.h>
#include <string.h>

typedef cudnnBackendDescriptor_t desc;

// ---- descriptors

static void failed(const hs_dnn_calls *c, hs_sdpa_graph *g, cudnnStatus_t st)
{
    char said[sizeof g->why];
    if (st == CUDNN_STATUS_SUCCESS || g->status != CUDNN_STATUS_SUCCESS)
        return;
    g->status = st;
    c->cudnnGetLastErrorString(said, sizeof said);
    said[strcspn(said, "\n")] = 0;
    snprintf(g->why, sizeof g->why, "%s", said[0] ? said : c->cudnnGetErrorString(st));
}

desc hs_dnn_make(const hs_dnn_calls *c, hs_sdpa_graph *g, cudnnBackendDescriptorType_t type)
{
    desc d = NULL;
    if (g->status != CUDNN_STATUS_SUCCESS)
        return NULL;
    failed(c, g, g->n_made < HS_SDPA_MADE ? c->cudnnBackendCreateDescriptor(type, &d) : CUDNN_STATUS_INTERNAL_ERROR);
    if (d)
        g->made[g->n_made++] = d;
    return d;
}

void hs_dnn_set(const hs_dnn_calls *c, hs_sdpa_graph *g, desc d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                int64_t n, const void *values)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        failed(c, g, c->cudnnBackendSetAttribute(d, name, type, n, values));
}

void hs_dnn_finish(const hs_dnn_calls *c, hs_sdpa_graph *g, desc d)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        failed(c, g, c->cudnnBackendFinalize(d));
}

void hs_sdpa_forget(const hs_dnn_calls *c, hs_sdpa_graph *g)
{
    while (g->n_made)
        c->cudnnBackendDestroyDescriptor(g->made[--g->n_made]);
    memset(g, 0, sizeof *g);
}

typedef struct build {
    const hs_dnn_calls *c;
    const hs_sdpa_problem *p;
    hs_sdpa_graph *g;
    cudnnDataType_t low;
} build;

#define SET(b, d, name, type, n, ...) hs_dnn_set((b)->c, (b)->g, d, CUDNN_ATTR_##name, CUDNN_TYPE_##type, n, __VA_ARGS__)
#define DESC(b, d, name, x)           SET(b, d, name, BACKEND_DESCRIPTOR, 1, &(desc){ x })
#define DTYPE(b, d, name, x)          SET(b, d, name, DATA_TYPE, 1, &(cudnnDataType_t){ x })

static desc finished(build *b, desc d)
{
    hs_dnn_finish(b->c, b->g, d);
    return d;
}

// ---- tensors

typedef struct form {
    int64_t dim[4], stride[4];
} form;

// Of the problem: rows of all heads, the same turned around (keys for q k^T), cells of queries by keys and of keys by queries, one number
// of each query, as it lies in lse or as nobody sees it.
static form rows_of(const hs_sdpa_problem *p, int64_t row) { return (form){ { p->b, p->h, p->s, p->d }, { p->s * row, p->d, row, 1 } }; }
static form turned(form f)
{
    const form t = { { f.dim[0], f.dim[1], f.dim[3], f.dim[2] }, { f.stride[0], f.stride[1], f.stride[3], f.stride[2] } };
    return t;
}
static form cells(const hs_sdpa_problem *p) { return (form){ { p->b, p->h, p->s, p->s }, { p->h * p->s * p->s, p->s * p->s, p->s, 1 } }; }
static form cells_turned(const hs_sdpa_problem *p) { return turned(cells(p)); }
static form lse_form(const hs_sdpa_problem *p) { return (form){ { p->b, p->h, p->s, 1 }, { p->s * p->h, 1, p->h, 1 } }; }
static form one_each(const hs_sdpa_problem *p) { return (form){ { p->b, p->h, p->s, 1 }, { p->h * p->s, p->s, 1, 1 } }; }
static form packed(const hs_sdpa_problem *p) { return (form){ { p->b, p->h, p->s, p->d }, { p->h * p->s * p->d, p->s * p->d, p->d, 1 } }; }
static form list(int64_t n) { return (form){ { n, 1, 1, 1 }, { 1, 1, 1, 1 } }; }

enum { VIRTUAL = 1, BY_VALUE = 2 };

static desc tensor(build *b, int64_t id, cudnnDataType_t type, form f, int kind, desc offsets)
{
    desc d = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const int64_t align = 16;
    const bool yes = true;
    DTYPE(b, d, TENSOR_DATA_TYPE, type);
    SET(b, d, TENSOR_DIMENSIONS, INT64, 4, f.dim);
    SET(b, d, TENSOR_STRIDES, INT64, 4, f.stride);
    SET(b, d, TENSOR_UNIQUE_ID, INT64, 1, &id);
    SET(b, d, TENSOR_BYTE_ALIGNMENT, INT64, 1, &align);
    if (kind & VIRTUAL)
        SET(b, d, TENSOR_IS_VIRTUAL, BOOLEAN, 1, &yes);
    if (kind & BY_VALUE)
        SET(b, d, TENSOR_IS_BY_VALUE, BOOLEAN, 1, &yes);
    if (offsets)
        DESC(b, d, TENSOR_RAGGED_OFFSET_DESC, offsets);
    return finished(b, d);
}

static desc inner(build *b, cudnnDataType_t type, form f) { return tensor(b, b->g->next_id++, type, f, VIRTUAL, NULL); }
static desc inner_cells(build *b) { return inner(b, CUDNN_DATA_FLOAT, cells(b->p)); }

// One with bytes, made where it is first asked for.
static desc bound(build *b, hs_sdpa_tensor which, cudnnDataType_t type, form f, int kind, desc offsets)
{
    desc *at = &b->g->tensor[which];
    if (!*at)
        *at = tensor(b, which, type, f, kind, offsets);
    return *at;
}
static desc value(build *b, hs_sdpa_tensor which) { return bound(b, which, CUDNN_DATA_FLOAT, list(1), BY_VALUE, NULL); }
static desc lens(build *b, hs_sdpa_tensor which)
{
    return b->p->rows == HS_SDPA_FULL ? NULL : bound(b, which, CUDNN_DATA_INT32, list(b->p->b), 0, NULL);
}
static desc offsets(build *b, hs_sdpa_tensor which)
{
    return b->p->rows != HS_SDPA_RAGGED ? NULL : bound(b, which, CUDNN_DATA_INT32, list(b->p->b + 1), 0, NULL);
}
static desc number(build *b, hs_sdpa_tensor which) { return bound(b, which, CUDNN_DATA_INT64, list(1), 0, NULL); }
// q, k, v or the gradient of one, whose offsets it has.
static desc rows_in_as(build *b, hs_sdpa_tensor which, form f)
{
    const bool is_q = which == HS_SDPA_Q || which == HS_SDPA_DQ, is_k = which == HS_SDPA_K || which == HS_SDPA_DK;
    return bound(b, which, b->low, f, 0, offsets(b, is_q ? HS_SDPA_AT_Q : is_k ? HS_SDPA_AT_K : HS_SDPA_AT_V));
}
static desc rows_in(build *b, hs_sdpa_tensor which) { return rows_in_as(b, which, rows_of(b->p, b->p->row_in)); }
static desc rows_in_turned(build *b, hs_sdpa_tensor which) { return rows_in_as(b, which, turned(rows_of(b->p, b->p->row_in))); }
static desc rows_out(build *b, hs_sdpa_tensor which)
{
    return bound(b, which, b->low, rows_of(b->p, b->p->row_out), 0, offsets(b, HS_SDPA_AT_OUT));
}
static desc lse(build *b) { return bound(b, HS_SDPA_LSE, CUDNN_DATA_FLOAT, lse_form(b->p), 0, offsets(b, HS_SDPA_AT_LSE)); }

// ---- operations

static desc put(build *b, desc op, desc y)
{
    hs_sdpa_graph *g = b->g;
    finished(b, op);
    if (g->n_ops == HS_SDPA_OPS)
        failed(b->c, g, CUDNN_STATUS_INTERNAL_ERROR);
    else
        g->op[g->n_ops++] = op;
    return y;
}

// c[m, n] = x[m, k] y[k, n]; of m, n and k no more counts than each sequence has (NULL: all).
static desc matmul(build *b, desc x, desc y, desc c, desc m, desc n, desc k)
{
    desc how = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    DTYPE(b, how, MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
    finished(b, how);
    desc op = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    DESC(b, op, OPERATION_MATMUL_ADESC, x);
    DESC(b, op, OPERATION_MATMUL_BDESC, y);
    DESC(b, op, OPERATION_MATMUL_CDESC, c);
    DESC(b, op, OPERATION_MATMUL_DESC, how);
    if (m)
        DESC(b, op, OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, m);
    if (n)
        DESC(b, op, OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, n);
    if (k)
        DESC(b, op, OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, k);
    return put(b, op, c);
}

typedef struct pointwise_opts {
    cudnnDataType_t math; // 0: f32
    int64_t axis;
    desc other, chooser; // second operand; what selects between the two
} pointwise_opts;

static desc pointwise_with(build *b, cudnnPointwiseMode_t mode, desc x, desc y, pointwise_opts o)
{
    desc how = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    SET(b, how, POINTWISE_MODE, POINTWISE_MODE, 1, &mode);
    DTYPE(b, how, POINTWISE_MATH_PREC, o.math);
    if (mode == CUDNN_POINTWISE_GEN_INDEX)
        SET(b, how, POINTWISE_AXIS, INT64, 1, &o.axis);
    finished(b, how);
    desc op = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    DESC(b, op, OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    DESC(b, op, OPERATION_POINTWISE_XDESC, x);
    if (o.other)
        DESC(b, op, OPERATION_POINTWISE_BDESC, o.other);
    if (o.chooser)
        DESC(b, op, OPERATION_POINTWISE_TDESC, o.chooser);
    DESC(b, op, OPERATION_POINTWISE_YDESC, y);
    return put(b, op, y);
}
#define pointwise(b, mode, x, y, ...) pointwise_with(b, CUDNN_POINTWISE_##mode, x, y, (pointwise_opts){ __VA_ARGS__ })

static desc reduce(build *b, cudnnReduceTensorOp_t with, desc x, desc y)
{
    desc how = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    SET(b, how, REDUCTION_OPERATOR, REDUCTION_OPERATOR_TYPE, 1, &with);
    DTYPE(b, how, REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    finished(b, how);
    desc op = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    DESC(b, op, OPERATION_REDUCTION_DESC, how);
    DESC(b, op, OPERATION_REDUCTION_XDESC, x);
    DESC(b, op, OPERATION_REDUCTION_YDESC, y);
    return put(b, op, y);
}

// 1 with probability `share`, else 0: the same cells each time for a seed and an offset.
static desc draw(build *b, double share, desc y)
{
    const cudnnRngDistribution_t kind = CUDNN_RNG_DISTRIBUTION_BERNOULLI;
    desc how = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_RNG_DESCRIPTOR);
    SET(b, how, RNG_DISTRIBUTION, RNG_DISTRIBUTION, 1, &kind);
    SET(b, how, RNG_BERNOULLI_DIST_PROBABILITY, DOUBLE, 1, &share);
    finished(b, how);
    desc op = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR);
    DESC(b, op, OPERATION_RNG_DESC, how);
    DESC(b, op, OPERATION_RNG_SEED, number(b, HS_SDPA_SEED));
    DESC(b, op, OPERATION_RNG_OFFSET_DESC, number(b, HS_SDPA_OFFSET));
    DESC(b, op, OPERATION_RNG_YDESC, y);
    return put(b, op, y);
}

static desc reshape(build *b, desc x, desc y)
{
    desc op = hs_dnn_make(b->c, b->g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    DESC(b, op, OPERATION_RESHAPE_XDESC, x);
    DESC(b, op, OPERATION_RESHAPE_YDESC, y);
    return put(b, op, y);
}

// ---- parts of both passes

static desc index_of(build *b, desc like, int64_t axis)
{
    return pointwise(b, GEN_INDEX, like, inner(b, CUDNN_DATA_INT32, cells(b->p)), .math = CUDNN_DATA_INT32, .axis = axis);
}
static desc is(build *b, cudnnPointwiseMode_t mode, desc x, desc y)
{
    return pointwise_with(b, mode, x, inner(b, CUDNN_DATA_BOOLEAN, cells(b->p)),
                          (pointwise_opts){ .math = CUDNN_DATA_BOOLEAN, .other = y });
}
static desc where(build *b, desc scores, desc kept, hs_sdpa_tensor other)
{
    return pointwise(b, BINARY_SELECT, scores, inner_cells(b), .other = value(b, other), .chooser = kept);
}

// Scores of what nobody looks at become -inf.
static desc masked(build *b, desc scores)
{
    if (b->p->rows != HS_SDPA_FULL) {
        desc row = index_of(b, scores, 2), col = index_of(b, scores, 3);
        desc query = is(b, CUDNN_POINTWISE_CMP_LT, row, lens(b, HS_SDPA_LEN_Q)),
             key = is(b, CUDNN_POINTWISE_CMP_LT, col, lens(b, HS_SDPA_LEN_KV));
        scores = where(b, scores, is(b, CUDNN_POINTWISE_LOGICAL_AND, query, key), HS_SDPA_NOT_COUNTED);
    }
    if (b->p->causal) {
        desc row = index_of(b, scores, 2), col = index_of(b, scores, 3);
        scores = where(b, scores, is(b, CUDNN_POINTWISE_CMP_GE, row, col), HS_SDPA_NOT_SEEN);
    }
    return scores;
}

static desc scaled_scores(build *b)
{
    desc scores = matmul(b, rows_in(b, HS_SDPA_Q), rows_in_turned(b, HS_SDPA_K), inner_cells(b), lens(b, HS_SDPA_LEN_Q),
                         lens(b, HS_SDPA_LEN_KV), NULL);
    return pointwise(b, MUL, scores, inner_cells(b), .other = value(b, HS_SDPA_SCALE));
}

// Weights with some of them dropped, kept in `type`; *mask: of which. Without dropout the weights, and NULL.
static desc dropped(build *b, desc weights, cudnnDataType_t type, desc *mask)
{
    *mask = NULL;
    if (b->p->dropout <= 0)
        return weights;
    *mask = draw(b, 1 - (double)b->p->dropout, inner_cells(b));
    desc left = pointwise(b, MUL, weights, inner_cells(b), .other = *mask);
    return pointwise(b, MUL, left, inner(b, type, cells(b->p)), .other = value(b, HS_SDPA_UNKEPT));
}

// ---- the passes

static void forward(build *b)
{
    const form each = one_each(b->p);
    desc scores = masked(b, scaled_scores(b));
    desc max = reduce(b, CUDNN_REDUCE_TENSOR_MAX, scores, inner(b, CUDNN_DATA_FLOAT, each));
    desc less = pointwise(b, SUB, scores, inner_cells(b), .other = max);
    desc p = pointwise(b, EXP, less, inner_cells(b));
    desc sum = reduce(b, CUDNN_REDUCE_TENSOR_ADD, p, inner(b, CUDNN_DATA_FLOAT, each));
    desc log_sum = pointwise(b, LOG, sum, inner(b, CUDNN_DATA_FLOAT, each));
    // in inference too: without it there are shapes for which no kernel is found
    pointwise(b, ADD, max, b->p->pass == HS_SDPA_INFERENCE ? inner(b, CUDNN_DATA_FLOAT, each) : lse(b), .other = log_sum);
    const bool drops = b->p->dropout > 0;
    desc mask, weights = pointwise(b, DIV, p, inner(b, drops ? CUDNN_DATA_FLOAT : b->low, cells(b->p)), .other = sum);
    matmul(b, dropped(b, weights, b->low, &mask), rows_in(b, HS_SDPA_V), rows_out(b, HS_SDPA_Y), lens(b, HS_SDPA_LEN_Q), NULL,
           lens(b, HS_SDPA_LEN_KV));
}

static void backward(build *b)
{
    const hs_sdpa_problem *p = b->p;
    const form each = one_each(p);
    desc len_q = lens(b, HS_SDPA_LEN_Q), len_kv = lens(b, HS_SDPA_LEN_KV), dy = rows_out(b, HS_SDPA_DY);
    // delta
    desc dy_y = pointwise(b, MUL, dy, inner(b, CUDNN_DATA_FLOAT, packed(p)), .other = rows_out(b, HS_SDPA_Y));
    desc sum = reduce(b, CUDNN_REDUCE_TENSOR_ADD, dy_y, inner(b, CUDNN_DATA_FLOAT, each));
    desc delta = bound(b, HS_SDPA_DELTA, CUDNN_DATA_FLOAT, each, 0, NULL);
    pointwise(b, MUL, sum, delta, .other = value(b, HS_SDPA_KEPT));
    // p and dv
    desc less = pointwise(b, SUB, scaled_scores(b), inner_cells(b), .other = lse(b));
    desc weights = pointwise(b, EXP, masked(b, less), inner_cells(b));
    desc mask, left = dropped(b, weights, CUDNN_DATA_FLOAT, &mask);
    desc weights_t = reshape(b, left, inner(b, b->low, cells_turned(p)));
    matmul(b, weights_t, dy, rows_in(b, HS_SDPA_DV), len_kv, NULL, len_q);
    // ds and dk
    desc dp = matmul(b, dy, rows_in_turned(b, HS_SDPA_V), inner_cells(b), len_q, len_kv, NULL);
    if (mask)
        dp = pointwise(b, MUL, dp, inner_cells(b), .other = mask);
    desc dp_less = pointwise(b, SUB, dp, inner_cells(b), .other = delta);
    desc ds = pointwise(b, MUL, dp_less, inner_cells(b), .other = weights);
    if (mask)
        ds = pointwise(b, MUL, ds, inner_cells(b), .other = value(b, HS_SDPA_UNKEPT));
    ds = pointwise(b, MUL, ds, inner_cells(b), .other = value(b, HS_SDPA_SCALE));
    desc ds_t = reshape(b, ds, inner(b, b->low, cells_turned(p)));
    matmul(b, ds_t, rows_in(b, HS_SDPA_Q), rows_in(b, HS_SDPA_DK), len_kv, NULL, len_q);
    // dq
    const int64_t id = b->g->next_id++;
    desc k = reshape(b, rows_in_turned(b, HS_SDPA_K), tensor(b, id, b->low, rows_of(p, p->row_in), VIRTUAL, offsets(b, HS_SDPA_AT_K)));
    desc dq = rows_in(b, HS_SDPA_DQ);
    if (p->repeats) {
        matmul(b, ds, k, dq, len_q, NULL, len_kv);
        return;
    }
    desc dq_sum = bound(b, HS_SDPA_DQ_SUM, CUDNN_DATA_FLOAT, packed(p), 0, NULL);
    pointwise(b, IDENTITY, matmul(b, ds, k, dq_sum, len_q, NULL, len_kv), dq);
}

void hs_sdpa_describe(const hs_dnn_calls *c, const hs_sdpa_problem *p, hs_sdpa_graph *g)
{
    build b = { c, p, g, p->dtype == HS_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF };
    g->next_id = HS_SDPA_TENSORS;
    p->pass == HS_SDPA_BACKWARD ? backward(&b) : forward(&b);
    g->ops = hs_dnn_make(c, g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    hs_dnn_set(c, g, g->ops, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_ops, g->op);
    hs_dnn_finish(c, g, g->ops);
}

// support_onnx: see the header. Operators as onnx/docs/Operators.md has them at opset 17.
#include "tests/support/support_files.h"

#include "tests/support/support_onnx.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t count(const onnx_array *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->n_dims; i++)
        n *= a->dim[i];
    return n;
}

onnx_array *onnx_run_put(onnx_run *r, const char *name, int n_dims, const int64_t *dim)
{
    assert_true(n_dims <= HS_ONNX_DIMS && strlen(name) < sizeof r->at->name && r->n < r->capacity);
    onnx_array *a = &r->at[r->n++];
    *a = (onnx_array){ .n_dims = n_dims };
    strcpy(a->name, name);
    for (int i = 0; i < n_dims; i++)
        a->dim[i] = dim[i];
    a->v = calloc((size_t)count(a) + 1, sizeof *a->v);
    assert_non_null(a->v);
    return a;
}

const onnx_array *onnx_run_get(const onnx_run *r, const char *name)
{
    for (int i = r->n - 1; i >= 0; i--)
        if (strcmp(r->at[i].name, name) == 0)
            return &r->at[i];
    return NULL;
}

void onnx_run_begin(onnx_run *r, const hs_onnx *m)
{
    int outs = 0;
    for (int i = 0; i < m->n_nodes; i++)
        outs += m->node[i].n_out;
    *r = (onnx_run){ .m = m, .capacity = m->n_inits + m->n_ins + outs };
    r->at = calloc((size_t)r->capacity + 1, sizeof *r->at);
    for (int i = 0; i < m->n_inits; i++) {
        const hs_onnx_tensor *t = &m->init[i];
        onnx_array *a = onnx_run_put(r, t->name, t->n_dims, t->dim);
        void *aligned = malloc(t->bytes + 1);
        memcpy(aligned, t->data, t->bytes);
        assert_int_not_equal(hs_onnx_dtype(t->type), HS_N_DTYPES);
        hs_convert(a->v, HS_F64, aligned, hs_onnx_dtype(t->type), count(a));
        free(aligned);
    }
}

void onnx_run_end(onnx_run *r)
{
    for (int i = 0; i < r->n; i++)
        free(r->at[i].v);
    free(r->at);
}

int onnx_count_ops(const hs_onnx *m, const char *op)
{
    int n = 0;
    for (int i = 0; i < m->n_nodes; i++)
        n += strcmp(m->node[i].op, op) == 0;
    return n;
}

// ---- one node
typedef struct node {
    onnx_run *r;
    const hs_onnx_node *n;
    const onnx_array *in[8];
} node;

static onnx_array *result(const node *x, int n_dims, const int64_t *dim) { return onnx_run_put(x->r, x->n->out[0], n_dims, dim); }

static int64_t axis_of(const node *x, int64_t otherwise, int n_dims)
{
    const int64_t a = hs_onnx_int(x->n, "axis", otherwise);
    return a < 0 ? a + n_dims : a;
}

static void outer_inner(const onnx_array *a, int64_t axis, int64_t *outer, int64_t *inner)
{
    *outer = *inner = 1;
    for (int i = 0; i < a->n_dims; i++)
        *(i < axis ? outer : inner) *= i == axis ? 1 : a->dim[i];
}

// Element of a at place `at` of a result of n_dims dimensions, of which a's are the last ones, of 1 or as wide.
static double broadcast(const onnx_array *a, const int64_t *at, int n_dims)
{
    int64_t i = 0;
    for (int d = 0; d < a->n_dims; d++) {
        const int64_t place = at[n_dims - a->n_dims + d];
        i = i * a->dim[d] + (a->dim[d] == 1 ? 0 : place);
    }
    return a->v[i];
}

typedef double elementwise(double a, double b, double c);

static void each(const node *x, elementwise *f)
{
    int64_t dim[HS_ONNX_DIMS], at[HS_ONNX_DIMS] = { 0 };
    int n_dims = 0;
    for (int i = 0; i < x->n->n_in; i++)
        n_dims = x->in[i]->n_dims > n_dims ? x->in[i]->n_dims : n_dims;
    for (int d = 0; d < n_dims; d++) {
        dim[d] = 1;
        for (int i = 0; i < x->n->n_in; i++) {
            const int own = d - (n_dims - x->in[i]->n_dims);
            const int64_t wide = own < 0 ? 1 : x->in[i]->dim[own];
            assert_true(wide == 1 || dim[d] == 1 || wide == dim[d]);
            dim[d] = wide == 1 ? dim[d] : wide;
        }
    }
    onnx_array *y = result(x, n_dims, dim);
    for (int64_t i = 0, n = count(y); i < n; i++) {
        double v[3] = { 0 };
        for (int k = 0; k < x->n->n_in; k++)
            v[k] = broadcast(x->in[k], at, n_dims);
        y->v[i] = f(v[0], v[1], v[2]);
        for (int d = n_dims - 1; d >= 0 && ++at[d] == dim[d]; d--)
            at[d] = 0;
    }
}

static double add(double a, double b, double c) { return (void)c, a + b; }
static double sub(double a, double b, double c) { return (void)c, a - b; }
static double mul(double a, double b, double c) { return (void)c, a * b; }
static double divided(double a, double b, double c) { return (void)c, a / b; }
static double power(double a, double b, double c) { return (void)c, pow(a, b); }
static double larger(double a, double b, double c) { return (void)c, fmax(a, b); }
static double equal(double a, double b, double c) { return (void)c, a == b; }
static double at_most(double a, double b, double c) { return (void)c, a <= b; }
static double both(double a, double b, double c) { return (void)c, a != 0 && b != 0; }
static double inverse(double a, double b, double c) { return (void)b, (void)c, a == 0; }
static double where(double a, double b, double c) { return a != 0 ? b : c; }
static double erf_of(double a, double b, double c) { return (void)b, (void)c, erf(a); }
static double tanh_of(double a, double b, double c) { return (void)b, (void)c, tanh(a); }
static double relu_of(double a, double b, double c) { return (void)b, (void)c, fmax(a, 0); }

static double cast_bool(double a, double b, double c) { return (void)b, (void)c, a != 0; }
static double same(double a, double b, double c) { return (void)b, (void)c, a; }
static void cast(const node *x) { each(x, hs_onnx_int(x->n, "to", 0) == HS_ONNX_BOOL ? cast_bool : same); }

static void matmul(const node *x)
{
    const onnx_array *a = x->in[0], *b = x->in[1];
    const int64_t M = a->dim[a->n_dims - 2], K = a->dim[a->n_dims - 1], N = b->dim[b->n_dims - 1];
    const int64_t batch = count(a) / (M * K > 0 ? M * K : 1), step = b->n_dims == 2 ? 0 : K * N;
    int64_t dim[HS_ONNX_DIMS];
    assert_int_equal(K, b->dim[b->n_dims - 2]);
    assert_true(b->n_dims == 2 || b->n_dims == a->n_dims);
    memcpy(dim, a->dim, sizeof dim);
    dim[a->n_dims - 1] = N;
    onnx_array *y = result(x, a->n_dims, dim);
    for (int64_t i = 0; i < batch; i++)
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) {
                double sum = 0;
                for (int64_t k = 0; k < K; k++)
                    sum += a->v[(i * M + m) * K + k] * b->v[i * step + k * N + n];
                y->v[(i * M + m) * N + n] = sum;
            }
}

static void gather(const node *x)
{
    const onnx_array *a = x->in[0], *ids = x->in[1];
    const int64_t axis = axis_of(x, 0, a->n_dims), n = count(ids);
    int64_t outer, inner, dim[HS_ONNX_DIMS];
    int n_dims = 0;
    outer_inner(a, axis, &outer, &inner);
    for (int i = 0; i < axis; i++)
        dim[n_dims++] = a->dim[i];
    for (int i = 0; i < ids->n_dims; i++)
        dim[n_dims++] = ids->dim[i];
    for (int i = (int)axis + 1; i < a->n_dims; i++)
        dim[n_dims++] = a->dim[i];
    onnx_array *y = result(x, n_dims, dim);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < n; k++) {
            const int64_t at = (int64_t)ids->v[k];
            assert_true(at >= 0 && at < a->dim[axis]);
            memcpy(y->v + (o * n + k) * inner, a->v + (o * a->dim[axis] + at) * inner, (size_t)inner * sizeof *y->v);
        }
}

static void shape(const node *x)
{
    onnx_array *y = result(x, 1, (int64_t[]){ x->in[0]->n_dims });
    for (int i = 0; i < x->in[0]->n_dims; i++)
        y->v[i] = (double)x->in[0]->dim[i];
}

static void slice(const node *x) // one axis, by steps of 1
{
    const onnx_array *a = x->in[0];
    const int64_t axis = (int64_t)x->in[3]->v[0];
    int64_t outer, inner, dim[HS_ONNX_DIMS], from = (int64_t)x->in[1]->v[0], to = (int64_t)x->in[2]->v[0];
    assert_true(count(x->in[1]) == 1 && x->in[4]->v[0] == 1);
    outer_inner(a, axis, &outer, &inner);
    to = to > a->dim[axis] ? a->dim[axis] : to;
    memcpy(dim, a->dim, sizeof dim);
    dim[axis] = to - from;
    onnx_array *y = result(x, a->n_dims, dim);
    for (int64_t o = 0; o < outer; o++)
        memcpy(y->v + o * (to - from) * inner, a->v + (o * a->dim[axis] + from) * inner, (size_t)((to - from) * inner) * sizeof *y->v);
}

static void unsqueeze(const node *x)
{
    const onnx_array *a = x->in[0];
    const int64_t given = (int64_t)x->in[1]->v[0], axis = given < 0 ? given + a->n_dims + 1 : given;
    int64_t dim[HS_ONNX_DIMS];
    for (int i = 0; i <= a->n_dims; i++)
        dim[i] = i < axis ? a->dim[i] : i == axis ? 1 : a->dim[i - 1];
    onnx_array *y = result(x, a->n_dims + 1, dim);
    memcpy(y->v, a->v, (size_t)count(a) * sizeof *y->v);
}

static void reshape(const node *x)
{
    const onnx_array *a = x->in[0], *to = x->in[1];
    const int n_dims = (int)count(to);
    int64_t dim[HS_ONNX_DIMS], known = 1;
    for (int i = 0; i < n_dims; i++) {
        dim[i] = to->v[i] == 0 ? a->dim[i] : (int64_t)to->v[i];
        known *= dim[i] > 0 ? dim[i] : 1;
    }
    for (int i = 0; i < n_dims; i++)
        dim[i] = dim[i] < 0 ? count(a) / known : dim[i];
    onnx_array *y = result(x, n_dims, dim);
    assert_int_equal(count(y), count(a));
    memcpy(y->v, a->v, (size_t)count(a) * sizeof *y->v);
}

static void transpose(const node *x)
{
    const onnx_array *a = x->in[0];
    const hs_onnx_attr *perm = hs_onnx_attr_of(x->n, "perm");
    int64_t dim[HS_ONNX_DIMS], stride[HS_ONNX_DIMS], at[HS_ONNX_DIMS] = { 0 }, step = 1;
    assert_int_equal(perm->n, a->n_dims);
    for (int d = a->n_dims - 1; d >= 0; step *= a->dim[d--])
        stride[d] = step;
    for (int d = 0; d < a->n_dims; d++)
        dim[d] = a->dim[perm->ints[d]];
    onnx_array *y = result(x, a->n_dims, dim);
    for (int64_t i = 0, n = count(a); i < n; i++) {
        int64_t from = 0;
        for (int d = 0; d < a->n_dims; d++)
            from += at[d] * stride[perm->ints[d]];
        y->v[i] = a->v[from];
        for (int d = a->n_dims - 1; d >= 0 && ++at[d] == dim[d]; d--)
            at[d] = 0;
    }
}

static void softmax(const node *x)
{
    const onnx_array *a = x->in[0];
    onnx_array *y = result(x, a->n_dims, a->dim);
    const int64_t width = a->dim[a->n_dims - 1];
    assert_int_equal(axis_of(x, -1, a->n_dims), a->n_dims - 1);
    for (int64_t r = 0; r < count(a); r += width) {
        double most = -INFINITY, sum = 0;
        for (int64_t i = 0; i < width; i++)
            most = fmax(most, a->v[r + i]);
        for (int64_t i = 0; i < width; i++)
            sum += y->v[r + i] = exp(a->v[r + i] - most);
        for (int64_t i = 0; i < width; i++)
            y->v[r + i] /= sum;
    }
}

static void layernorm(const node *x)
{
    const onnx_array *a = x->in[0];
    onnx_array *y = result(x, a->n_dims, a->dim);
    const int64_t width = a->dim[a->n_dims - 1];
    assert_int_equal(axis_of(x, -1, a->n_dims), a->n_dims - 1);
    for (int64_t r = 0; r < count(a); r += width) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < width; i++)
            mean += a->v[r + i] / (double)width;
        for (int64_t i = 0; i < width; i++)
            square += (a->v[r + i] - mean) * (a->v[r + i] - mean) / (double)width;
        for (int64_t i = 0; i < width; i++)
            y->v[r + i] =
                (a->v[r + i] - mean) / sqrt(square + (double)hs_onnx_attr_of(x->n, "epsilon")->f) * x->in[1]->v[i] + x->in[2]->v[i];
    }
}

static void cumsum(const node *x)
{
    const onnx_array *a = x->in[0];
    int64_t outer, inner;
    const int64_t axis = (int64_t)x->in[1]->v[0];
    onnx_array *y = result(x, a->n_dims, a->dim);
    outer_inner(a, axis, &outer, &inner);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < a->dim[axis]; k++)
            for (int64_t i = 0; i < inner; i++) {
                const int64_t at = (o * a->dim[axis] + k) * inner + i;
                y->v[at] = a->v[at] + (k ? y->v[at - inner] : 0);
            }
}

static void range(const node *x)
{
    const double from = x->in[0]->v[0], to = x->in[1]->v[0], by = x->in[2]->v[0];
    onnx_array *y = result(x, 1, (int64_t[]){ (int64_t)((to - from) / by) });
    for (int64_t i = 0; i < y->dim[0]; i++)
        y->v[i] = from + (double)i * by;
}

static void concat(const node *x)
{
    const int64_t axis = axis_of(x, 0, x->in[0]->n_dims);
    int64_t outer, inner, dim[HS_ONNX_DIMS], at = 0;
    memcpy(dim, x->in[0]->dim, sizeof dim);
    for (int i = 1; i < x->n->n_in; i++)
        dim[axis] += x->in[i]->dim[axis];
    onnx_array *y = result(x, x->in[0]->n_dims, dim);
    outer_inner(y, axis, &outer, &inner);
    for (int i = 0; i < x->n->n_in; at += x->in[i++]->dim[axis])
        for (int64_t o = 0; o < outer; o++) {
            const int64_t n = x->in[i]->dim[axis] * inner;
            memcpy(y->v + (o * dim[axis] + at) * inner, x->in[i]->v + o * n, (size_t)n * sizeof *y->v);
        }
}

static void split(const node *x) // into equal parts of the last axis
{
    const onnx_array *a = x->in[0];
    const int64_t width = a->dim[a->n_dims - 1], part = width / x->n->n_out;
    int64_t dim[HS_ONNX_DIMS];
    assert_int_equal(axis_of(x, 0, a->n_dims), a->n_dims - 1);
    memcpy(dim, a->dim, sizeof dim);
    dim[a->n_dims - 1] = part;
    for (int k = 0; k < x->n->n_out; k++) {
        onnx_array *y = onnx_run_put(x->r, x->n->out[k], a->n_dims, dim);
        for (int64_t r = 0; r < count(a) / width; r++)
            memcpy(y->v + r * part, a->v + r * width + k * part, (size_t)part * sizeof *y->v);
    }
}

static void reduce_max(const node *x) // of one axis, which stays with 1
{
    const onnx_array *a = x->in[0];
    const int64_t axis = hs_onnx_attr_of(x->n, "axes")->ints[0];
    int64_t outer, inner, dim[HS_ONNX_DIMS];
    outer_inner(a, axis, &outer, &inner);
    memcpy(dim, a->dim, sizeof dim);
    dim[axis] = 1;
    onnx_array *y = result(x, a->n_dims, dim);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            y->v[o * inner + i] = -INFINITY;
            for (int64_t k = 0; k < a->dim[axis]; k++)
                y->v[o * inner + i] = fmax(y->v[o * inner + i], a->v[(o * a->dim[axis] + k) * inner + i]);
        }
}

static void gather_nd(const node *x) // a row of each of the batch
{
    const onnx_array *a = x->in[0], *at = x->in[1];
    assert_true(a->n_dims == 3 && at->n_dims == 2 && at->dim[1] == 1 && hs_onnx_int(x->n, "batch_dims", 0) == 1);
    onnx_array *y = result(x, 2, (int64_t[]){ a->dim[0], a->dim[2] });
    for (int64_t b = 0; b < a->dim[0]; b++)
        memcpy(y->v + b * a->dim[2], a->v + (b * a->dim[1] + (int64_t)at->v[b]) * a->dim[2], (size_t)a->dim[2] * sizeof *y->v);
}

static void squeeze(const node *x) // the last axis
{
    const onnx_array *a = x->in[0];
    assert_true(x->in[1]->v[0] == -1 && a->dim[a->n_dims - 1] == 1);
    onnx_array *y = result(x, a->n_dims - 1, a->dim);
    memcpy(y->v, a->v, (size_t)count(a) * sizeof *y->v);
}

static double quantized(double a, double scale, double zero) { return fmin(fmax(rint(a / scale) + zero, 0), 255); } // to u8

static void quantize(const node *x) // by one scale
{
    assert_true(x->in[1]->n_dims == 0);
    each(x, quantized);
}

static void dequantize(const node *x) // by one scale, or one for each place of an axis
{
    const onnx_array *a = x->in[0], *scale = x->in[1], *zero = x->in[2];
    int64_t outer, inner;
    const int64_t axis = scale->n_dims ? axis_of(x, 1, a->n_dims) : 0;
    outer_inner(a, axis, &outer, &inner);
    assert_true(scale->n_dims == 0 || (scale->n_dims == 1 && scale->dim[0] == a->dim[axis] && zero->dim[0] == a->dim[axis]));
    onnx_array *y = result(x, a->n_dims, a->dim);
    for (int64_t i = 0; i < count(a); i++) {
        const int64_t k = scale->n_dims ? i / inner % a->dim[axis] : 0;
        y->v[i] = (a->v[i] - zero->v[k]) * scale->v[k];
    }
}

static double code_of(const onnx_array *bytes, int64_t bits, int64_t i) // of the i-th value, without its zero point
{
    const int byte = (int)bytes->v[bits == 8 ? i : i / 2];
    return bits == 8 ? byte - 128 : (i % 2 ? byte >> 4 : byte & 15) - 8;
}

static void matmul_nbits(const node *x) // of com.microsoft, x not rounded
{
    const onnx_array *a = x->in[0], *b = x->in[1], *scale = x->in[2];
    const int64_t N = hs_onnx_int(x->n, "N", 0), K = hs_onnx_int(x->n, "K", 0), bits = hs_onnx_int(x->n, "bits", 0);
    const int64_t blocks = K / 32, M = count(a) / K;
    int64_t dim[HS_ONNX_DIMS];
    assert_string_equal(x->n->domain, "com.microsoft");
    assert_true(K == a->dim[a->n_dims - 1] && hs_onnx_int(x->n, "block_size", 0) == 32 && (bits == 4 || bits == 8));
    assert_true(b->n_dims == 3 && b->dim[0] == N && b->dim[1] == blocks && b->dim[2] == 4 * bits);
    assert_true(scale->n_dims == 2 && scale->dim[0] == N && scale->dim[1] == blocks);
    memcpy(dim, a->dim, sizeof dim);
    dim[a->n_dims - 1] = N;
    onnx_array *y = result(x, a->n_dims, dim);
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++)
            for (int64_t k = 0; k < K; k++)
                y->v[m * N + n] += a->v[m * K + k] * code_of(b, bits, n * K + k) * scale->v[n * blocks + k / 32];
}

static void gather_blocks(const node *x) // of com.microsoft
{
    const onnx_array *b = x->in[0], *ids = x->in[1], *scale = x->in[2];
    const int64_t bits = hs_onnx_int(x->n, "bits", 0), K = b->dim[1] * 8 / bits;
    int64_t dim[HS_ONNX_DIMS];
    assert_true(hs_onnx_int(x->n, "gather_axis", -1) == 0 && hs_onnx_int(x->n, "quantize_axis", -1) == 1);
    assert_true(hs_onnx_int(x->n, "block_size", 0) == 32 && scale->dim[0] == b->dim[0] && scale->dim[1] * 32 == K);
    memcpy(dim, ids->dim, sizeof dim);
    dim[ids->n_dims] = K;
    onnx_array *y = result(x, ids->n_dims + 1, dim);
    for (int64_t i = 0; i < count(ids); i++)
        for (int64_t k = 0, row = (int64_t)ids->v[i]; k < K; k++)
            y->v[i * K + k] = code_of(b, bits, row * K + k) * scale->v[row * (K / 32) + k / 32];
}

static const struct {
    const char *op;
    elementwise *f;
    void (*run)(const node *x);
} operators[] = { { "Add", add, NULL },
                  { "Sub", sub, NULL },
                  { "Mul", mul, NULL },
                  { "Div", divided, NULL },
                  { "Pow", power, NULL },
                  { "Max", larger, NULL },
                  { "Equal", equal, NULL },
                  { "LessOrEqual", at_most, NULL },
                  { "And", both, NULL },
                  { "Not", inverse, NULL },
                  { "Where", where, NULL },
                  { "Erf", erf_of, NULL },
                  { "Tanh", tanh_of, NULL },
                  { "Relu", relu_of, NULL },
                  { "Cast", NULL, cast },
                  { "MatMul", NULL, matmul },
                  { "Gather", NULL, gather },
                  { "Shape", NULL, shape },
                  { "Slice", NULL, slice },
                  { "Unsqueeze", NULL, unsqueeze },
                  { "Reshape", NULL, reshape },
                  { "Transpose", NULL, transpose },
                  { "Softmax", NULL, softmax },
                  { "LayerNormalization", NULL, layernorm },
                  { "CumSum", NULL, cumsum },
                  { "Range", NULL, range },
                  { "Concat", NULL, concat },
                  { "ReduceMax", NULL, reduce_max },
                  { "GatherND", NULL, gather_nd },
                  { "Squeeze", NULL, squeeze },
                  { "Split", NULL, split },
                  { "QuantizeLinear", NULL, quantize },
                  { "DequantizeLinear", NULL, dequantize },
                  { "MatMulNBits", NULL, matmul_nbits },
                  { "GatherBlockQuantized", NULL, gather_blocks } };

static void run_node(onnx_run *r, const hs_onnx_node *n)
{
    node x = { .r = r, .n = n };
    assert_true(n->n_in <= HS_COUNT(x.in) && n->n_out > 0);
    for (int i = 0; i < n->n_in; i++) {
        x.in[i] = onnx_run_get(r, n->in[i]);
        if (!x.in[i])
            fail_msg("%s (%s) reads \"%s\", which nothing has made", n->op, n->name, n->in[i]);
    }
    for (int i = 0; i < HS_COUNT(operators); i++)
        if (strcmp(operators[i].op, n->op) == 0) {
            if (operators[i].f)
                each(&x, operators[i].f);
            else
                operators[i].run(&x);
            return;
        }
    fail_msg("operator %s is not known here", n->op);
}

void onnx_run_all(onnx_run *r)
{
    for (int i = 0; i < r->m->n_nodes; i++)
        run_node(r, &r->m->node[i]);
}

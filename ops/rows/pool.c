// pool: one vector for each sequence of x's rows - its first row, its last, their mean, or the largest of each column.
//
//   first   y[b] = x[starts[b]]                      dx of that row = dy[b]
//   last    y[b] = x[starts[b] + rows - 1]           the same
//   mean    y[b,c] = sum of x[n,c] / rows            dx[n] = dy[b] / rows
//   max     y[b,c] = max of x[n,c]                   dx of the first row that has it = dy[b,c]
//
// Sequence b has rows [starts[b], starts[b+1]), of which the first keys[b][1] are real where rows are padded (keys as attention has them).
// One without rows gives zeros; one that lies outside x gives NaN and no gradient. The columns are divided over the team and rows are
// walked in order: a sequence's bits depend on it alone. max leaves the row it took for backward, so that x need not be kept.

#include "ops/attrs.h"
#include "ops/rows/seq_rows.h"

enum { X, STARTS, KEYS };
enum { Y, ROW }; // ROW: of max, i32 [B, C] counted from the sequence's first; else one unused column

static int32_t kind_of(const void *attr) { return ((const hs_pool_attr *)attr)->kind; }

static bool is_one(int32_t kind) { return kind == HS_POOL_FIRST || kind == HS_POOL_LAST; }

// Which of n rows (of at least one) that is.
static int64_t the_one(int32_t kind, int64_t n) { return kind == HS_POOL_LAST ? n - 1 : 0; }

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *starts = n->in[STARTS], *keys = n->in[KEYS];
    if (x->n_dims != 2)
        return "x must have rows and one width";
    const char *why = seq_refuse(starts, keys);
    if (why)
        return why;
    const int64_t seqs = starts->dim[0] - 1;
    const hs_ext ext = seq_ext(starts);
    hs_shape_set(n->out[Y], HS_F32, ext, 2, (const int64_t[]){ seqs, x->dim[1] });
    hs_shape_set(n->out[ROW], HS_I32, ext, 2, (const int64_t[]){ seqs, kind_of(n->attr) == HS_POOL_MAX ? x->dim[1] : 1 });
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double x = (double)hs_tensor_count(n->in[X]), y = (double)hs_tensor_count(n->out[Y]);
    const double read = is_one(kind_of(n->attr)) ? y : x, size = (double)hs_tensor_bytes(n->in[X]) / x;
    return (hs_cost){ .flops = read, .bytes = size * (backward ? x + 2 * y : read + y) };
}

static bool rows_of(const hs_args *a, const hs_ref *x, int64_t b, int64_t *first, int64_t *n)
{
    return seq_rows(a, x, hs_i32(a, STARTS), a->in[KEYS].p ? hs_i32(a, KEYS) : NULL, b, first, n);
}

static void reference(const hs_args *a)
{
    const int64_t B = hs_ref_rows(a, &a->out[Y]), C = a->in[X].cols;
    const int32_t kind = kind_of(a->attr);
    for (int64_t b = 0; b < B; b++)
        for (int64_t c = 0; c < C; c++) {
            int64_t first, n, best = 0;
            rows_of(a, &a->in[X], b, &first, &n);
            const double *x = hs_f64(a, X) + first * C + c;
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                best = x[i * C] > x[best * C] ? i : best, sum += x[i * C];
            const double y = is_one(kind) && n > 0 ? x[the_one(kind, n) * C] : kind == HS_POOL_MEAN ? sum / (double)n : x[best * C];
            hs_f64_out(a, Y)[b * C + c] = n == 0 ? 0 : y;
            if (kind == HS_POOL_MAX)
                hs_f64_out(a, ROW)[b * C + c] = (double)best;
        }
}

// Columns [c, c + k) of the sum or the largest of n rows from `first` on; row: which one that was, from 0.
static void sum_rows(const hs_ref *x, int64_t first, int64_t n, int64_t c, int64_t k, float *restrict y)
{
    float wide[HS_BLOCK];
    memset(y, 0, (size_t)k * sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        const float *v = hs_load(x, (first + i) * x->cols + c, k, wide);
        HS_SIMD
        for (int64_t j = 0; j < k; j++)
            y[j] += v[j];
    }
    const float share = n > 0 ? 1 / (float)n : 0;
    HS_SIMD
    for (int64_t j = 0; j < k; j++)
        y[j] *= share;
}
static void largest_rows(const hs_ref *x, int64_t first, int64_t n, int64_t c, int64_t k, float *restrict y, int32_t *restrict row)
{
    float wide[HS_BLOCK];
    memset(y, 0, (size_t)k * sizeof *y);
    memset(row, 0, (size_t)k * sizeof *row);
    if (n > 0)
        memcpy(y, hs_load(x, first * x->cols + c, k, wide), (size_t)k * sizeof *y);
    for (int64_t i = 1; i < n; i++) {
        const float *v = hs_load(x, (first + i) * x->cols + c, k, wide);
        HS_SIMD
        for (int64_t j = 0; j < k; j++) {
            const bool above = v[j] > y[j] || v[j] != v[j]; // a NaN stays: nothing is above it
            row[j] = above ? (int32_t)i : row[j];
            y[j] = above ? v[j] : y[j];
        }
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t B = hs_ref_rows(a, &a->out[Y]), C = a->in[X].cols;
    const int32_t kind = kind_of(a->attr);
    float y[HS_BLOCK];
    int64_t c0, c1, first, n;
    hs_part_unit(lane, C, 32, &c0, &c1);
    for (int64_t b = 0; b < B; b++) {
        const bool inside = rows_of(a, &a->in[X], b, &first, &n);
        if (kind != HS_POOL_MAX && lane->id == 0)
            ((int32_t *)a->out[ROW].p)[b] = 0;
        for (int64_t c = c0, k; c < c1; c += k) {
            k = c1 - c < HS_BLOCK ? c1 - c : HS_BLOCK;
            const int64_t rows = inside ? n : 0;
            if (kind == HS_POOL_MAX)
                largest_rows(&a->in[X], first, rows, c, k, y, (int32_t *)a->out[ROW].p + b * C + c);
            else if (is_one(kind) && rows > 0)
                sum_rows(&a->in[X], first + the_one(kind, rows), 1, c, k, y);
            else
                sum_rows(&a->in[X], first, rows, c, k, y);
            for (int64_t j = 0; j < k && !inside; j++)
                y[j] = NAN;
            hs_store(&a->out[Y], b * C + c, k, y);
        }
    }
}

// dx of a sequence of n rows += columns [c, c + k) of its dy.
static void spread(const hs_args *a, const hs_ref *dx, int64_t first, int64_t n, int64_t c, int64_t k, float *dy, const int32_t *row)
{
    const int32_t kind = kind_of(a->attr);
    const int64_t from = is_one(kind) && n > 0 ? the_one(kind, n) : 0, end = is_one(kind) && n > 0 ? from + 1 : n;
    float here[HS_BLOCK];
    for (int64_t j = 0; j < k && kind == HS_POOL_MEAN; j++)
        dy[j] /= (float)n;
    for (int64_t i = from; i < end; i++) {
        HS_SIMD
        for (int64_t j = 0; j < k; j++)
            here[j] = kind != HS_POOL_MAX || row[j] == i ? dy[j] : 0;
        hs_store(dx, (first + i) * dx->cols + c, k, here);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    if (!hs_wanted(a, X))
        return;
    const hs_ref *dx = &a->din[X], sum = { .p = dx->p, .rows = dx->rows, .cols = dx->cols, .dtype = dx->dtype, .add = true };
    const int64_t N = hs_ref_rows(a, dx), B = hs_ref_rows(a, &a->dout[Y]), C = dx->cols;
    const size_t size = hs_dtype_bytes(dx->dtype);
    static const int32_t none[HS_BLOCK];
    float wide[HS_BLOCK], dy[HS_BLOCK];
    int64_t c0, c1, first, n;
    hs_part_unit(lane, C, 64 / (int64_t)size, &c0, &c1);
    for (int64_t r = 0; r < N && !dx->add; r++)
        memset(dx->p + (size_t)(r * C + c0) * size, 0, (size_t)(c1 - c0) * size);
    for (int64_t b = 0; b < B; b++) {
        if (!rows_of(a, dx, b, &first, &n))
            continue;
        for (int64_t c = c0, k; c < c1; c += k) {
            k = c1 - c < HS_BLOCK ? c1 - c : HS_BLOCK;
            memcpy(dy, hs_load(&a->dout[Y], b * C + c, k, wide), (size_t)k * sizeof *dy);
            spread(a, &sum, first, n, c, k, dy, kind_of(a->attr) == HS_POOL_MAX ? (const int32_t *)a->out[ROW].p + b * C + c : none);
        }
    }
}

// ---- cases

static void packed(int input, int32_t *data, int64_t n, const hs_case *c)
{
    if (input == STARTS)
        seq_starts_packed(data, n, c->in[X][0]);
}
static void padded(int input, int32_t *data, int64_t n, const hs_case *c)
{
    if (input == STARTS)
        seq_starts_padded(data, n, c->in[X][0]);
    if (input == KEYS)
        seq_keys_padded(data, c->in[KEYS][0], c->in[X][0]);
}

#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        HS_EXT_TOKENS, HS_EXT_STARTS, HS_EXT_SEQS                                                                                          \
    }
static const hs_pool_attr of_first = { HS_POOL_FIRST }, of_last = { HS_POOL_LAST }, of_mean = { HS_POOL_MEAN }, of_max = { HS_POOL_MAX };
static const hs_case cases[] = {
    // those of max are small: where two rows round to the same largest, differences say nothing
    { .in = { { 1, 8 }, { 2 } }, .ext = OWN_EXT, .attr = &of_mean, .setup = packed, .note = "one row" },
    { .in = { { 40, 37 }, { 6 } }, .ext = OWN_EXT, .attr = &of_first, .setup = packed, .note = "first, odd width" },
    { .in = { { 40, 37 }, { 6 } }, .ext = OWN_EXT, .attr = &of_last, .setup = packed, .note = "last, odd width" },
    { .in = { { 48, 24 }, { 5 }, { 4, 3 } }, .ext = OWN_EXT, .attr = &of_last, .setup = padded, .note = "last, padded" },
    { .in = { { 40, 37 }, { 6 } }, .ext = OWN_EXT, .attr = &of_mean, .setup = packed, .note = "mean, odd width" },
    { .in = { { 12, 13 }, { 4 } }, .ext = OWN_EXT, .attr = &of_max, .setup = packed, .note = "max, odd width" },
    { .in = { { 48, 24 }, { 5 }, { 4, 3 } }, .ext = OWN_EXT, .attr = &of_mean, .setup = padded, .note = "mean, padded" },
    { .in = { { 12, 8 }, { 4 }, { 3, 3 } }, .ext = OWN_EXT, .attr = &of_max, .setup = padded, .note = "max, padded" },
    { .in = { { 100, 8 }, { 3 } }, .ext = OWN_EXT, .attr = &of_mean, .setup = packed, .note = "mean, long" },
    { .in = { { 60, 3 }, { 3 } }, .ext = OWN_EXT, .attr = &of_max, .setup = packed, .note = "max, long" },
    { .in = { { 12, 1100 }, { 3 } }, .ext = OWN_EXT, .attr = &of_first, .setup = packed, .note = "first, more than a block wide" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { { dim[0], dim[1] }, { dim[2] + 1 } }, .ext = OWN_EXT, .setup = packed };
    *(hs_pool_attr *)attr = of_mean;
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxCOLSxSEQS", .usual = "4Kx768x32,512x384x16", .make = make } };
static const hs_attr attrs[] = { HS_ATTR_WORDS(hs_pool_attr, kind, "first|mean|max|last") }; // hs_pool_kind

HS_OP(pool) = {
    .name = "pool",
    .formula = "y[b] = first, last, mean or max of x[n], starts[b] <= n < starts[b+1]",
    .attr_bytes = sizeof(hs_pool_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_WHOLE },
            [STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_WHOLE },
            [KEYS] = { "keys", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_WHOLE | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE }, [ROW] = { "row", HS_AMP_NONE, HS_SAVED } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_pool(hs_graph *g, hs_tensor *x, hs_tensor *starts, hs_tensor *keys, hs_pool_kind kind)
{
    return hs_emit(g, HS_OP_ENTRY(pool), &(hs_pool_attr){ kind }, (hs_tensor *[]){ x, starts, keys }, 3);
}
#endif

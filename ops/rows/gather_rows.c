// gather_rows: y[p] = x[rows[p]]: the rows that predictions or poolers need, out of all tokens.
//
// Backward zeroes the live rows of dx and adds row after row in order, with the columns divided over the team: deterministic,
// whatever its size, and a row picked twice gets both. A pick outside x gives a row of NaN and no gradient.

#include "core/cpu/rows.h"
#include "ops/ops.h"

enum { X, ROWS };
enum { Y };

static const char *shape(hs_node *n)
{
    if (n->in[X]->n_dims != 2)
        return "x must have rows and one width";
    if (n->in[ROWS]->dtype != HS_I32 || n->in[ROWS]->n_dims != 1)
        return "rows must be i32 [P]";
    hs_shape_rows(n->out[Y], n->in[ROWS], n->in[X]->dim[1]);
    return NULL;
}

// Of x only the picked rows move; backward clears all of dx.
static hs_cost cost(const hs_node *n, bool backward)
{
    const double picked = (double)hs_tensor_bytes(n->out[Y]);
    return (hs_cost){ .flops = backward ? (double)hs_tensor_count(n->out[Y]) : 0,
                      .bytes = backward ? (double)hs_tensor_bytes(n->in[X]) + 3 * picked : 2 * picked };
}

static void reference(const hs_args *a)
{
    const int64_t P = hs_ref_rows(a, &a->in[ROWS]), C = a->in[X].cols;
    for (int64_t p = 0; p < P; p++)
        memcpy(hs_f64_out(a, Y) + p * C, hs_f64(a, X) + hs_i32(a, ROWS)[p] * C, (size_t)C * sizeof(double));
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols, N = hs_ref_rows(a, &a->in[X]);
    float *wide = hs_row_buffer(a, lane, 0, C);
    hs_for_rows(p, a, &a->in[ROWS], lane) {
        const int32_t row = hs_i32(a, ROWS)[p];
        const float *x = wide;
        if (row >= 0 && row < N)
            x = hs_row_load(&a->in[X], row, wide);
        else
            for (int64_t c = 0; c < C; c++)
                wide[c] = NAN;
        hs_row_store(&a->out[Y], p, x);
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    if (!hs_wanted(a, X))
        return;
    const hs_ref *dx = &a->din[X], sum = { .p = dx->p, .rows = dx->rows, .cols = dx->cols, .dtype = dx->dtype, .add = true };
    const int64_t N = hs_ref_rows(a, dx), P = hs_ref_rows(a, &a->dout[Y]), C = dx->cols;
    const size_t size = hs_dtype_bytes(dx->dtype);
    int64_t c0, c1;
    hs_part_unit(lane, C, 64 / (int64_t)size, &c0, &c1);
    for (int64_t n = 0; n < N && !dx->add; n++)
        memset(dx->p + (size_t)(n * C + c0) * size, 0, (size_t)(c1 - c0) * size);
    float wide[HS_BLOCK];
    for (int64_t p = 0; p < P; p++) {
        const int32_t row = hs_i32(a, ROWS)[p];
        for (int64_t c = c0; c < c1 && row >= 0 && row < N; c += HS_BLOCK) {
            const int64_t k = c1 - c < HS_BLOCK ? c1 - c : HS_BLOCK;
            hs_store(&sum, row * C + c, k, hs_load(&a->dout[Y], p * C + c, k, wide));
        }
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    return (hs_scratch){ .per_thread = is_backward ? 0 : hs_row_bytes(n->in[X]->dim[1]) };
}

static void some_twice(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; i < n && input == ROWS; i++)
        data[i] = (int32_t)((i * 5 + i / 4) % c->limit);
}

static const hs_case cases[] = {
    { .in = { { 5, 8 }, { 1 } }, .limit = 5, .note = "one row" },
    { .in = { { 40, 65 }, { 33 } },
      .ext = { HS_EXT_TOKENS, HS_EXT_PICKS },
      .limit = 20,
      .setup = some_twice,
      .note = "odd width; rows picked twice" },
    { .in = { { 60, 24 }, { 5 } },
      .ext = { HS_EXT(HS_COUNT_SEQS, 12, 0), HS_EXT_SEQS },
      .limit = 36,
      .note = "images of 12 rows, one each" },
    { .in = { { 96, 768 }, { 8 } }, .ext = { HS_EXT_TOKENS, HS_EXT_PICKS }, .limit = 60, .note = "few of many" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){ .in = { [X] = { dim[2], dim[1] }, [ROWS] = { dim[0] } }, .ext = { HS_EXT_TOKENS, HS_EXT_PICKS }, .limit = dim[2] };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxCOLSxOF", .usual = "128x768x1K,1Kx768x4K", .make = make } };

HS_OP(gather_rows) = {
    .name = "gather_rows",
    .formula = "y[p] = x[rows[p]]",
    .in = { [X] = { "x", HS_AMP_KEEP, HS_WHOLE }, [ROWS] = { "rows", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_gather_rows(hs_graph *g, hs_tensor *x, hs_tensor *rows)
{
    return hs_emit(g, HS_OP_ENTRY(gather_rows), NULL, (hs_tensor *[]){ x, rows }, 2);
}
#endif

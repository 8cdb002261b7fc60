// match_rows: losses of rows that should be another network's - what row_cosine and row_square share. The including file says what a row
// costs (match_cost, in f64) and what it is made of in f32: sums over the row, and from them the loss and the gradient a * x + b * t.
#ifndef HS_OPS_MATCH_ROWS_H
#define HS_OPS_MATCH_ROWS_H
#include "core/cpu/rows.h"
#include "ops/ops.h"

enum { X, TEACHER };
enum { LOSS };

static double match_cost(const double *x, const double *t, int64_t n);
typedef struct match_sums {
    double xt, xx, tt, apart; // of x t, x^2, t^2, (x - t)^2
} match_sums;
typedef struct match_line { // the loss of a row; its gradient is a * x + b * t
    float loss, a, b;
} match_line;
static match_line match_made_of(const match_sums *s, int64_t n);

static const hs_attr match_attrs[] = { HS_ATTR(hs_match_attr, loss) };

static const char *match_shape(hs_node *n)
{
    const hs_match_attr *at = n->attr;
    if (n->in[X]->n_dims != 2)
        return "x must be [N, C]";
    if (!hs_same_shape(n->in[X], n->in[TEACHER]))
        return "the teacher's rows must have the shape of the student's";
    if (at->loss < 0 || at->loss >= HS_N_LOSS)
        return "there is no loss of that number";
    hs_shape_rows(n->out[LOSS], n->in[X], 0);
    return NULL;
}

static hs_cost match_costs(const hs_node *n, bool backward)
{
    const double cells = (double)hs_tensor_count(n->in[X]);
    return (hs_cost){ .flops = (backward ? 12 : 8) * cells,
                      .bytes = (backward ? 2 : 1) * (double)hs_tensor_bytes(n->in[X]) + (double)hs_tensor_bytes(n->in[TEACHER]) };
}

static void match_reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols;
    for (int64_t n = 0; n < N; n++)
        hs_f64_out(a, LOSS)[n] = match_cost(hs_f64(a, X) + n * C, hs_f64(a, TEACHER) + n * C, C);
}

static inline match_line match_row(const hs_args *a, int64_t n)
{
    const int64_t C = a->in[X].cols;
    const float *t = hs_f32(a, TEACHER) + n * C;
    float wide[HS_BLOCK];
    match_sums s = { 0 };
    for (int64_t c0 = 0; c0 < C; c0 += HS_BLOCK) {
        const int64_t m = C - c0 < HS_BLOCK ? C - c0 : HS_BLOCK;
        const float *x = hs_load(&a->in[X], n * C + c0, m, wide);
        float xt = 0, xx = 0, tt = 0, apart = 0;
        HS_SIMD_SUM(xt, xx, tt, apart)
        for (int64_t c = 0; c < m; c++) {
            const float d = x[c] - t[c0 + c];
            xt += x[c] * t[c0 + c], xx += x[c] * x[c], tt += t[c0 + c] * t[c0 + c], apart += d * d;
        }
        s.xt += (double)xt, s.xx += (double)xx, s.tt += (double)tt, s.apart += (double)apart;
    }
    return match_made_of(&s, C);
}

static void match_forward(const hs_args *a, hs_lane *lane)
{
    hs_for_rows(n, a, &a->in[X], lane)
        hs_f32_out(a, LOSS)[n] = match_row(a, n).loss;
}

static void match_backward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols;
    const float k = a->step->inv_count[((const hs_match_attr *)a->attr)->loss] * a->state->scale;
    float wide[HS_BLOCK], buf[HS_BLOCK];
    hs_for_rows(n, a, &a->in[X], lane) {
        const match_line line = match_row(a, n);
        const float *t = hs_f32(a, TEACHER) + n * C, ka = k * line.a, kb = k * line.b;
        hs_f32_out(a, LOSS)[n] = line.loss;
        for (int64_t c0 = 0; c0 < C && hs_wanted(a, X); c0 += HS_BLOCK) {
            const int64_t m = C - c0 < HS_BLOCK ? C - c0 : HS_BLOCK;
            const float *x = hs_load(&a->in[X], n * C + c0, m, wide);
            float *d = hs_dest(&a->din[X], n * C + c0, buf);
            HS_SIMD
            for (int64_t c = 0; c < m; c++)
                d[c] = ka * x[c] + kb * t[c0 + c];
            hs_store(&a->din[X], n * C + c0, m, d);
        }
    }
}

static const hs_match_attr match_first = { .loss = 0 }, match_other = { .loss = 6 };
static const hs_case match_cases[] = {
    { .in = { { 1, 8 }, { 1, 8 } }, .attr = &match_first, .note = "one row" },
    { .in = { { 33, 65 }, { 33, 65 } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS }, .attr = &match_other, .note = "odd width" },
    { .in = { { 3, 2504 }, { 3, 2504 } }, .attr = &match_first, .note = "several blocks" },
    { .in = { { 9, 24 }, { 9, 24 } }, .attr = &match_first, .fill = HS_FILL_LARGE, .note = "large values" },
};
static void match_make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){ .in = { { dim[0], dim[1] }, { dim[0], dim[1] } }, .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS } };
}
static const hs_op_sizes match_sizes[] = { { .form = "ROWSxCOLS", .usual = "4Kx384,4Kx768", .make = match_make } };

#define MATCH_ENTRY                                                                                                                        \
    .attr_bytes = sizeof(hs_match_attr), .attrs = match_attrs, .n_attrs = HS_COUNT(match_attrs), .flags = HS_OP_LOSS,                      \
    .loss_offset = offsetof(hs_match_attr, loss),                                                                                          \
    .in = { [X] = { "x", HS_AMP_KEEP, HS_BWD_READS }, [TEACHER] = { "teacher", HS_AMP_F32, HS_NO_GRAD | HS_BWD_READS } },                  \
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 } }, .shape = match_shape, .cost = match_costs, .ref = match_reference,                      \
    .cases = match_cases, .n_cases = HS_COUNT(match_cases), .bench = { .sizes = match_sizes, .n_sizes = HS_COUNT(match_sizes) },           \
    .cpu = { match_forward, match_backward, HS_PART_ROWS, HS_PART_ROWS }

#endif

// label_rows: losses of rows of numbers, each of which has a target of its own - what mse and bce share. The including file says what one
// number costs: label_cost and label_slope in f64, label_cell in f32.
#ifndef HS_OPS_LABEL_ROWS_H
#define HS_OPS_LABEL_ROWS_H
#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"
#include "ops/ops.h"

enum { LOGITS, TARGET, WEIGHT };
enum { LOSS, DLOGITS };
enum { LABEL_BLOCK = 32 }; // numbers whose costs are added up first: of 1,000 of them one sum is off by 10 roundings

static double label_cost(double x, double t);
static double label_slope(double x, double t);
typedef struct label_cell_of {
    float cost, slope;
} label_cell_of;
static inline label_cell_of label_cell(float x, float t);

static const hs_attr label_attrs[] = { HS_ATTR(hs_label_attr, labels), HS_ATTR(hs_label_attr, loss) };

static const char *label_shape(hs_node *n)
{
    const hs_label_attr *at = n->attr;
    const hs_tensor *x = n->in[LOGITS], *target = n->in[TARGET], *weight = n->in[WEIGHT];
    if (x->n_dims != 2)
        return "x must be [N, labels or more]";
    if (at->labels < 1 || at->labels > x->dim[1])
        return "labels must be between 1 and the width of x";
    if (target->n_dims != 2 || target->dim[0] != x->dim[0] || target->dim[1] < at->labels || target->ext != x->ext)
        return "target must be [N, labels or more], a row for each of x";
    if (weight && (weight->n_dims != 1 || weight->dim[0] != x->dim[0] || weight->ext != x->ext))
        return "weight must be one for each row of x";
    if (at->loss < 0 || at->loss >= HS_N_LOSS)
        return "there is no loss of that number";
    hs_shape_rows(n->out[LOSS], x, 0);
    hs_shape_like(n->out[DLOGITS], x);
    return NULL;
}

static hs_cost label_costs(const hs_node *n, bool backward)
{
    const double cells = (double)hs_tensor_count(n->in[LOGITS]), train = n->mode == HS_TRAIN ? 2 : 1;
    const double bytes = train * (double)hs_tensor_bytes(n->in[LOGITS]) + (double)hs_tensor_bytes(n->in[TARGET]);
    return backward ? (hs_cost){ 0 } : (hs_cost){ .flops = 8 * train * cells, .bytes = bytes };
}

// inv_count * S / labels: what each number's slope is multiplied by, beside its row's weight.
static inline float label_factor(const hs_args *a)
{
    const hs_label_attr *at = a->attr;
    return a->step->inv_count[at->loss] * a->state->scale / (float)at->labels;
}

static void label_reference(const hs_args *a)
{
    const hs_label_attr *at = a->attr;
    const int64_t N = hs_ref_rows(a, &a->in[LOGITS]), V = a->in[LOGITS].cols, L = at->labels;
    const double k = (double)(a->step->inv_count[at->loss] * a->state->scale) / (double)L;
    for (int64_t n = 0; n < N; n++) {
        const double *x = hs_f64(a, LOGITS) + n * V, *t = hs_f64(a, TARGET) + n * a->in[TARGET].cols,
                     w = a->in[WEIGHT].p ? hs_f64(a, WEIGHT)[n] : 1;
        double sum = 0;
        for (int64_t c = 0; c < L; c++)
            sum += label_cost(x[c], t[c]);
        hs_f64_out(a, LOSS)[n] = w * sum / (double)L;
        if (a->out[DLOGITS].p) // may be x itself: each is read before it is overwritten
            for (int64_t c = 0; c < V; c++)
                hs_f64_out(a, DLOGITS)[n * V + c] = c < L ? w * k * label_slope(x[c], t[c]) : 0;
    }
}

// The loss of row n; the slopes of its numbers, times k, over them where they are wanted.
static inline float label_row(const hs_args *a, int64_t n, float k, bool gradient)
{
    const hs_ref *x = &a->in[LOGITS];
    const int64_t V = x->cols, L = ((const hs_label_attr *)a->attr)->labels;
    const float *t = hs_f32(a, TARGET) + n * a->in[TARGET].cols;
    float sum = 0, wide[LABEL_BLOCK];
    for (int64_t c0 = 0; c0 < V; c0 += LABEL_BLOCK) {
        const int64_t m = V - c0 < LABEL_BLOCK ? V - c0 : LABEL_BLOCK, live = L < c0 ? 0 : L - c0 < m ? L - c0 : m;
        const float *v = hs_load(x, n * V + c0, m, wide), *want = t + c0;
        float slope[LABEL_BLOCK] = { 0 }, part = 0;
        HS_SIMD_SUM(part)
        for (int64_t c = 0; c < live; c++) {
            const label_cell_of cell = label_cell(v[c], want[c]);
            part += cell.cost;
            slope[c] = k * cell.slope;
        }
        sum += part;
        if (gradient)
            hs_store(x, n * V + c0, m, slope);
    }
    return sum / (float)L;
}

static void label_forward(const hs_args *a, hs_lane *lane)
{
    const bool gradient = a->out[DLOGITS].p != NULL; // x's own bytes
    const float factor = gradient ? label_factor(a) : 0;
    hs_for_rows(n, a, &a->in[LOGITS], lane) {
        const float w = a->in[WEIGHT].p ? hs_f32(a, WEIGHT)[n] : 1;
        hs_f32_out(a, LOSS)[n] = w * label_row(a, n, w * factor, gradient);
    }
}

static const hs_label_attr label_one = { .labels = 1 }, label_few = { .labels = 5, .loss = 1 }, label_many = { .labels = 1031 };
static const hs_case label_cases[] = {
    { .in = { { 1, 8 }, { 1, 1 } }, .attr = &label_one, .note = "one number" },
    { .in = { { 33, 8 }, { 33, 5 } }, .ext = { HS_EXT_SEQS, HS_EXT_SEQS }, .attr = &label_few, .note = "padded" },
    { .in = { { 33, 8 }, { 33, 5 }, { 33 } }, .ext = { HS_EXT_SEQS, HS_EXT_SEQS, HS_EXT_SEQS }, .attr = &label_few, .note = "weights" },
    { .in = { { 9, 8 }, { 9, 8 } }, .attr = &label_few, .note = "wider targets" },
    { .in = { { 3, 1032 }, { 3, 1031 } }, .attr = &label_many, .note = "several blocks" },
    { .in = { { 9, 8 }, { 9, 5 } }, .attr = &label_few, .fill = HS_FILL_LARGE, .note = "large values" },
};

static void label_make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { [LOGITS] = { dim[0], (dim[1] + 7) / 8 * 8 }, [TARGET] = { dim[0], dim[1] } },
                    .ext = { HS_EXT_SEQS, HS_EXT_SEQS } };
    *(hs_label_attr *)attr = (hs_label_attr){ .labels = (int32_t)dim[1] };
}
static const hs_op_sizes label_sizes[] = { { .form = "ROWSxLABELS", .usual = "64x1,64x28,1Kx1K", .make = label_make } };

#define LABEL_ENTRY                                                                                                                        \
    .attr_bytes = sizeof(hs_label_attr), .attrs = label_attrs, .n_attrs = HS_COUNT(label_attrs), .flags = HS_OP_LOSS,                      \
    .loss_offset = offsetof(hs_label_attr, loss),                                                                                          \
    .in = { [LOGITS] = { "x", HS_AMP_KEEP, 0 },                                                                                            \
            [TARGET] = { "target", HS_AMP_F32, HS_NO_GRAD },                                                                               \
            [WEIGHT] = { "weight", HS_AMP_F32, HS_NO_GRAD | HS_OPTIONAL } },                                                               \
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 }, [DLOGITS] = { "dx", HS_AMP_KEEP, HS_IS_INPUT_0 } }, .shape = label_shape,                 \
    .cost = label_costs, .ref = label_reference, .cases = label_cases, .n_cases = HS_COUNT(label_cases),                                   \
    .bench = { .sizes = label_sizes, .n_sizes = HS_COUNT(label_sizes) }, .cpu = { label_forward, NULL, HS_PART_ROWS, HS_PART_ROWS }

#endif

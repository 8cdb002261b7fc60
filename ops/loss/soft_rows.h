// soft_rows: losses of rows of logits against a teacher's - what soft_targets and soft_labels share. The including file has the reference
// and the kernels.
#ifndef HS_OPS_SOFT_ROWS_H
#define HS_OPS_SOFT_ROWS_H
#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"
#include "ops/ops.h"

enum { LOGITS, TEACHER, TARGET };
enum { LOSS, DLOGITS };

static const char *soft_shape(hs_node *n)
{
    const hs_soft_attr *at = n->attr;
    const hs_tensor *x = n->in[LOGITS], *teacher = n->in[TEACHER], *target = n->in[TARGET];
    if (x->n_dims != 2)
        return "logits must be [N, classes or more]";
    if (!hs_same_shape(x, teacher))
        return "the teacher's logits must have the shape of the student's";
    if (target && (target->dtype != HS_I32 || target->n_dims != 1 || target->dim[0] != x->dim[0] || target->ext != x->ext))
        return "target must be i32, one for each row of logits";
    if (at->classes < 1 || at->classes > x->dim[1])
        return "classes must be between 1 and the width of logits";
    if (!(at->temperature > 0))
        return "temperature must be above 0";
    if (at->loss < 0 || at->loss >= HS_N_LOSS)
        return "there is no loss of that number";
    hs_shape_rows(n->out[LOSS], x, 0);
    hs_shape_like(n->out[DLOGITS], x);
    return NULL;
}

static hs_cost soft_cost(const hs_node *n, bool backward)
{
    const double cells = (double)hs_tensor_count(n->in[LOGITS]), train = n->mode == HS_TRAIN ? 1 : 0;
    const double bytes = (1 + train) * (double)hs_tensor_bytes(n->in[LOGITS]) + (double)hs_tensor_bytes(n->in[TEACHER]);
    return backward ? (hs_cost){ 0 } : (hs_cost){ .flops = (24 + 4 * train) * cells, .bytes = bytes };
}

static double soft_factor(const hs_args *a)
{
    const hs_soft_attr *at = a->attr;
    return (double)at->temperature * (double)(a->step->inv_count[at->loss] * a->state->scale);
}

static bool soft_counts(const hs_args *a, int64_t n) { return !a->in[TARGET].p || hs_i32(a, TARGET)[n] >= 0; }

// ---- cases
static void soft_some(int input, int32_t *data, int64_t n, const hs_case *c) // every third row does not count
{
    (void)c;
    for (int64_t i = 0; i < n && input == TARGET; i++)
        data[i] = i % 3 == 1 ? -1 : (int32_t)i;
}

static const hs_soft_attr soft_plain = { .classes = 8, .temperature = 1 }, soft_warm = { .classes = 61, .loss = 5, .temperature = 2 };
static const hs_soft_attr soft_wide = { .classes = 2500, .loss = 1, .temperature = 4 }, soft_cold = { .classes = 5, .temperature = 0.5f };
static const hs_case soft_cases[] = {
    // tolerances: roundings of f32 count T^2
    { .in = { { 1, 8 }, { 1, 8 } }, .attr = &soft_plain, .note = "one row" },
    { .in = { { 33, 72 }, { 33, 72 } },
      .ext = { HS_EXT_PICKS, HS_EXT_PICKS },
      .attr = &soft_warm,
      .note = "temperature, padded classes",
      .tolerance = 2 },
    { .in = { { 40, 64 }, { 40, 64 }, { 40 } },
      .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS, HS_EXT_TOKENS },
      .attr = &soft_warm,
      .setup = soft_some,
      .note = "rows that do not count",
      .tolerance = 2 },
    { .in = { { 3, 2504 }, { 3, 2504 } }, .attr = &soft_wide, .note = "several blocks", .tolerance = 4 },
    { .in = { { 9, 8 }, { 9, 8 } }, .attr = &soft_cold, .fill = HS_FILL_LARGE, .note = "large values" },
    { .in = { { 4, 64 }, { 4, 64 } },
      .attr = &soft_warm,
      .fill = HS_FILL_CONSTANT,
      .note = "constant rows: the same rounding in each column",
      .tolerance = 4 },
};

static void soft_make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { { dim[0], dim[1] }, { dim[0], dim[1] } }, .ext = { HS_EXT_PICKS, HS_EXT_PICKS } };
    *(hs_soft_attr *)attr = (hs_soft_attr){ .classes = (int32_t)dim[1], .temperature = 2 };
}
static const hs_op_sizes soft_sizes[] = { { .form = "ROWSxCLASSES", .usual = "32x8,640x30528", .make = soft_make } };
static const hs_attr soft_attrs[] = { HS_ATTR(hs_soft_attr, classes), HS_ATTR(hs_soft_attr, loss), HS_ATTR(hs_soft_attr, temperature) };

#define SOFT_ENTRY                                                                                                                         \
    .attr_bytes = sizeof(hs_soft_attr), .attrs = soft_attrs, .n_attrs = HS_COUNT(soft_attrs), .flags = HS_OP_LOSS,                         \
    .loss_offset = offsetof(hs_soft_attr, loss),                                                                                           \
    .in = { [LOGITS] = { "logits", HS_AMP_KEEP, 0 },                                                                                       \
            [TEACHER] = { "teacher", HS_AMP_F32, HS_NO_GRAD },                                                                             \
            [TARGET] = { "target", HS_AMP_NONE, HS_NO_GRAD | HS_OPTIONAL } },                                                              \
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 }, [DLOGITS] = { "dlogits", HS_AMP_KEEP, HS_IS_INPUT_0 } }, .shape = soft_shape,             \
    .cost = soft_cost, .ref = reference, .cases = soft_cases, .n_cases = HS_COUNT(soft_cases),                                             \
    .bench = { .sizes = soft_sizes, .n_sizes = HS_COUNT(soft_sizes) }

#endif

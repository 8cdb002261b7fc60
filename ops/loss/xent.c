// xent: softmax and cross-entropy fused over the vocabulary, with the gradient written over the logits.
//
//   loss[n]    = w[n] * (lse(x[n]) - (1 - e) * x[n,t] - e * mean(x[n]))      t = target[n], e = smoothing, over the first `classes` columns
//   dlogits    = w[n] * (softmax(x[n]) - (1 - e) * [c == t] - e / classes) * inv_count[loss] * scale
//
// w: 1, or a weight of each row (class weights: that of its target's class). 0 where the target is `ignore`; columns beyond `classes` (the
// padded vocabulary) count as absent and get gradient 0. A target outside the classes gives a NaN loss. Label smoothing: Szegedy et al.
// 2015 (arXiv:1512.00567). A loss is a root, so that its gradient needs no dy, and 50,304 columns of logits need no second buffer: GPT-2's
// would be 824 MB at 4,096 tokens.

#include "ops/loss/xent_rows.h"

enum { LOGITS, TARGET, WEIGHT };
enum { LOSS, DLOGITS };

static const char *shape(hs_node *n)
{
    const hs_xent_attr *at = n->attr;
    const hs_tensor *logits = n->in[LOGITS], *target = n->in[TARGET], *weight = n->in[WEIGHT];
    if (logits->n_dims != 2)
        return "logits must be [N, classes or more]";
    if (target->dtype != HS_I32 || target->n_dims != 1 || target->dim[0] != logits->dim[0] || target->ext != logits->ext)
        return "target must be i32, one for each row of logits";
    if (weight && (weight->n_dims != 1 || weight->dim[0] != logits->dim[0] || weight->ext != logits->ext))
        return "weight must be one for each row of logits";
    if (at->classes < 1 || at->classes > logits->dim[1])
        return "classes must be between 1 and the width of logits";
    if (!(at->smoothing >= 0 && at->smoothing < 1))
        return "smoothing must be in [0, 1)";
    if (at->loss < 0 || at->loss >= HS_N_LOSS)
        return "there is no loss of that number";
    hs_shape_rows(n->out[LOSS], logits, 0);
    hs_shape_like(n->out[DLOGITS], logits);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double cells = (double)hs_tensor_count(n->in[LOGITS]), train = n->mode == HS_TRAIN ? 2 : 1;
    return backward ? (hs_cost){ 0 } : (hs_cost){ .flops = 12 * train * cells, .bytes = train * (double)hs_tensor_bytes(n->in[LOGITS]) };
}

static void reference(const hs_args *a)
{
    const hs_xent_attr *at = a->attr;
    const int64_t N = hs_ref_rows(a, &a->in[LOGITS]), V = a->in[LOGITS].cols, K = at->classes;
    for (int64_t n = 0; n < N; n++) {
        const double *x = hs_f64(a, LOGITS) + n * V, e = (double)at->smoothing;
        const int32_t t = hs_i32(a, TARGET)[n];
        double max = -INFINITY, sum = 0, mean = 0;
        for (int64_t c = 0; c < K; c++)
            max = fmax(max, x[c]), mean += x[c] / (double)K;
        for (int64_t c = 0; c < K; c++)
            sum += exp(x[c] - max);
        const double lse = max + log(sum), w = t == at->ignore ? 0 : a->in[WEIGHT].p ? hs_f64(a, WEIGHT)[n] : 1;
        hs_f64_out(a, LOSS)[n] = t == at->ignore ? 0 : w * (lse - (1 - e) * x[t] - e * mean);
        const double k = w * (double)xent_factor(a, at);
        if (a->out[DLOGITS].p) // may be the logits themselves: each is read before it is overwritten
            for (int64_t c = 0; c < V; c++)
                hs_f64_out(a, DLOGITS)[n * V + c] = c >= K ? 0 : k * (exp(x[c] - lse) - (c == t ? 1 - e : 0) - e / (double)K);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_xent_attr *at = a->attr;
    const hs_ref *logits = &a->in[LOGITS];
    const bool gradient = a->out[DLOGITS].p != NULL; // the logits' own bytes
    const float factor = gradient ? xent_factor(a, at) : 0;
    const xent_work work = gradient ? xent_work_at(hs_thread_scratch(a, lane), logits->cols) : (xent_work){ 0 };
    hs_for_rows(n, a, logits, lane) {
        const float w = a->in[WEIGHT].p ? hs_f32(a, WEIGHT)[n] : 1;
        hs_f32_out(a, LOSS)[n] = w * xent_row(logits, n * logits->cols, hs_i32(a, TARGET)[n], at, w * factor, &work);
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool backward)
{
    (void)team, (void)backward;
    return (hs_scratch){ .per_thread = n->mode == HS_TRAIN ? xent_work_bytes(n->in[LOGITS]->dim[1]) : 0 };
}

static void markers(int input, int32_t *data, int64_t n, const hs_case *c) // every third label is ignored
{
    for (int64_t i = 0; i < n && input == TARGET; i++)
        data[i] = i % 3 == 1 ? -1 : (int32_t)((i * 7 + 3) % c->limit);
}

static const hs_xent_attr plain = { .classes = 8, .ignore = -1 }, padded = { .classes = 65, .ignore = -1, .loss = 1 };
static const hs_xent_attr smooth = { .classes = 61, .ignore = -100, .smoothing = 0.1f }, wide = { .classes = 5027, .ignore = -1 };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1 } }, .attr = &plain, .limit = 8, .note = "one row" },
    { .in = { { 33, 72 }, { 33 } },
      .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS },
      .attr = &padded,
      .limit = 65,
      .setup = markers,
      .note = "padded vocabulary, ignored labels" },
    { .in = { { 40, 64 }, { 40 } }, .ext = { HS_EXT_PICKS, HS_EXT_PICKS }, .attr = &smooth, .limit = 61, .note = "label smoothing" },
    { .in = { { 33, 72 }, { 33 }, { 33 } },
      .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS, HS_EXT_TOKENS },
      .attr = &padded,
      .limit = 65,
      .setup = markers,
      .note = "weights, ignored labels" },
    { .in = { { 3, 5056 }, { 3 } }, .attr = &wide, .limit = 5027, .note = "several blocks" },
    { .in = { { 9, 72 }, { 9 } }, .attr = &padded, .limit = 65, .fill = HS_FILL_LARGE, .note = "large values" },
    { .in = { { 4, 64 }, { 4 } }, .attr = &smooth, .limit = 61, .fill = HS_FILL_CONSTANT, .note = "constant rows" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { [LOGITS] = { dim[0], dim[1] }, [TARGET] = { dim[0] } },
                    .ext = { HS_EXT_TOKENS, HS_EXT_TOKENS },
                    .limit = dim[1] };
    *(hs_xent_attr *)attr = (hs_xent_attr){ .classes = (int32_t)dim[1], .ignore = -1 };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxCLASSES", .usual = "768x128,1Kx768,4Kx768,4Kx3072,1Kx50304", .make = make } };

HS_OP(xent) = {
    .name = "xent",
    .formula = "loss = -w log softmax(logits)[target]",
    .paper = "arXiv:1512.00567 (smoothing)",
    .attr_bytes = sizeof(hs_xent_attr),
    .attrs = xent_attrs,
    .n_attrs = HS_COUNT(xent_attrs),
    .flags = HS_OP_LOSS,
    .loss_offset = offsetof(hs_xent_attr, loss),
    .in = { [LOGITS] = { "logits", HS_AMP_KEEP, 0 },
            [TARGET] = { "target", HS_AMP_NONE, HS_NO_GRAD },
            [WEIGHT] = { "weight", HS_AMP_F32, HS_NO_GRAD | HS_OPTIONAL } },
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 }, [DLOGITS] = { "dlogits", HS_AMP_KEEP, HS_IS_INPUT_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, NULL, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_xent(hs_graph *g, hs_tensor *logits, hs_tensor *target, hs_xent_attr attr)
{
    return hs_xent_weighted(g, logits, target, NULL, attr);
}
hs_tensor *hs_xent_weighted(hs_graph *g, hs_tensor *logits, hs_tensor *target, hs_tensor *weight, hs_xent_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(xent), &attr, (hs_tensor *[]){ logits, target, weight }, 3);
}
#endif

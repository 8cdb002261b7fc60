// tp_linear_xent: linear_xent where every tensor-parallel rank has a slice of the classes.
//
//   logits  = x w^T + bias columns [first, first + rows of w) of the whole model's; loss, dx and dw as linear_xent has them
//
// What travels is two numbers a row and three more, never logits: the largest logit of all ranks; then the sums of e^(x - largest), of the
// target's logit (from the rank that has it) and of all logits. dx is this rank's part of a sum that the tp_copy in front of x makes. The
// exponentials are made twice, before and behind the exchange: keeping a chunk of them would cost the memory of another chunk of logits.
//
// Shoeybi et al. 2019 (arXiv:1909.08053), whose parallel cross entropy has the logits whole and three exchanges.

#include "core/graph/comm.h"
#include "ops/attrs.h"
#include "ops/loss/xent_chunks.h"

enum { ROWS = 2 };                                                 // output: [N_STATS, rows of a chunk]
enum { MAX_HERE, MAX, SUM_EXP, TARGET_LOGIT, SUM_PLAIN, N_STATS }; // behind each other, as they travel

static const char *shape(hs_node *n)
{
    const hs_tp_linear_xent_attr *at = n->attr;
    const char *why = xent_chunk_refuse(n);
    if (why)
        return why;
    if (at->classes < 1 || at->first < 0)
        return "classes must be at least 1 and the first one at least 0";
    hs_shape_rows(n->out[LOSS], n->in[X], 0);
    hs_shape_set(n->out[LOGITS], HS_F32, HS_EXT_FIXED, 2, (const int64_t[]){ xent_chunk_rows(n), n->in[W]->dim[0] });
    hs_shape_set(n->out[ROWS], HS_F32, HS_EXT_FIXED, 2, (const int64_t[]){ N_STATS, xent_chunk_rows(n) });
    return NULL;
}

static hs_op_moves moves(const hs_node *n, bool backward)
{
    const int64_t rows = n->in[X]->dim[0], chunk = n->out[LOGITS]->dim[0];
    const int numbers = ((const hs_tp_linear_xent_attr *)n->attr)->smoothing > 0 ? 4 : 3;
    (void)backward; // either makes the loss
    return (hs_op_moves){ HS_ALL_REDUCE, (double)numbers * (double)rows * sizeof(float), (int)(2 * ((rows + chunk - 1) / chunk)) };
}

// Of the classes, how many have a row of w here; rows behind them are padding.
static int64_t classes_here(const hs_args *a)
{
    const hs_tp_linear_xent_attr *at = a->attr;
    const int64_t left = at->classes - at->first, rows = a->in[W].rows;
    return left < 0 ? 0 : left < rows ? left : rows;
}

static void reference(const hs_args *a) // of one rank
{
    xent_chunk_ref(a, ((const hs_tp_linear_xent_attr *)a->attr)->first, classes_here(a));
}

typedef struct chunk {
    gemm g;
    int64_t r, m;     // rows [r, r + m) of x
    int64_t K;        // classes_here
    float *stat;      // [N_STATS][m]
    bool train, mean; // the plain sum is wanted
} chunk;

static bool here(const hs_args *a, const chunk *k, int32_t t)
{
    const int64_t at = t - ((const hs_tp_linear_xent_attr *)a->attr)->first;
    return at >= 0 && at < k->K;
}

// Of this member's rows, what this rank's columns say.
static void read_rows(const hs_args *a, const hs_lane *lane, const chunk *k)
{
    const hs_tp_linear_xent_attr *at = a->attr;
    const hs_ref *logits = &a->out[LOGITS];
    const xent_work none = { 0 };
    int64_t r0, r1;
    hs_part(lane, k->m, &r0, &r1);
    for (int64_t i = r0; i < r1; i++) {
        const int32_t t = hs_i32(a, TARGET)[k->r + i];
        const bool counts = t != at->ignore;
        const xent_sums s = counts ? xent_read(logits, i * logits->cols, k->K, k->mean, &none) : (xent_sums){ -INFINITY, 0, 0 };
        float one;
        k->stat[MAX_HERE * k->m + i] = k->stat[MAX * k->m + i] = s.max;
        k->stat[SUM_EXP * k->m + i] = s.exp;
        k->stat[TARGET_LOGIT * k->m + i] = counts && here(a, k, t) ? *hs_load(logits, i * logits->cols + t - at->first, 1, &one) : 0;
        k->stat[SUM_PLAIN * k->m + i] = s.plain;
    }
}

// One member: what all ranks' columns say.
static void exchange(const hs_args *a, hs_lane *lane, const chunk *k)
{
    const int64_t m = k->m;
    float *here = k->stat + MAX_HERE * m, *max = k->stat + MAX * m, *sum = k->stat + SUM_EXP * m;
    a->comm->all_reduce(a->comm, lane, max, m, HS_F32, HS_REDUCE_MAX);
    for (int64_t i = 0; i < m; i++)
        sum[i] *= hs_expf_below(here[i] - (max[i] > -INFINITY ? max[i] : 0)); // a rank of padding alone has -Inf and 0
    a->comm->all_reduce(a->comm, lane, sum, (k->mean ? 3 : 2) * m, HS_F32, HS_REDUCE_SUM);
}

static void write_row(const hs_args *a, const chunk *k, int64_t i, int32_t t, bool inside, const xent_work *work)
{
    const hs_tp_linear_xent_attr *at = a->attr;
    const hs_ref *logits = &a->out[LOGITS];
    const int64_t m = k->m, first = i * logits->cols;
    const float e = at->smoothing, max = k->stat[MAX * m + i], sum = k->stat[SUM_EXP * m + i];
    const float factor = xent_factor(a, (const hs_xent_attr *)a->attr);
    const float x_t = k->stat[TARGET_LOGIT * m + i];
    if (t == at->ignore) {
        xent_write(logits, first, k->K, 0, 0, 0, work);
        return;
    }
    xent_read(logits, first, k->K, false, work); // keeps the exponentials
    xent_write(logits, first, k->K, inside ? max : NAN, factor / sum, factor * e / (float)at->classes, work);
    if (inside && here(a, k, t)) // the target's own cell anew, in f32: see xent_row
        hs_store(logits, first + t - at->first, 1,
                 &(float){ factor * (hs_expf_below(x_t - max) / sum - (1 - e) - e / (float)at->classes) });
}

static void write_rows(const hs_args *a, const hs_lane *lane, const chunk *k)
{
    const hs_tp_linear_xent_attr *at = a->attr;
    const xent_work work = k->train ? xent_work_at(k->g.own, a->out[LOGITS].cols) : (xent_work){ 0 };
    int64_t r0, r1;
    hs_part(lane, k->m, &r0, &r1);
    for (int64_t i = r0; i < r1; i++) {
        const float *stat = k->stat + i, e = at->smoothing;
        const int64_t m = k->m;
        const int32_t t = hs_i32(a, TARGET)[k->r + i];
        const bool inside = t >= 0 && t < at->classes;
        const float x_t = inside ? stat[TARGET_LOGIT * m] : NAN, mean = k->mean ? stat[SUM_PLAIN * m] / (float)at->classes : 0;
        // the difference first: where the target has the largest logit the loss is small, and a sum with it would round
        hs_f32_out(a, LOSS)[k->r + i] = t == at->ignore ? 0 : logf(stat[SUM_EXP * m]) + (stat[MAX * m] - (1 - e) * x_t) - e * mean;
        if (k->train)
            write_row(a, k, i, t, inside, &work);
    }
}

static void walk(const hs_args *a, hs_lane *lane, bool train)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), step = a->out[LOGITS].rows;
    chunk k = { .g = { .shared = a->scratch, .own = hs_thread_scratch(a, lane), .dot = gemm_dot(a->in[X].dtype) },
                .K = classes_here(a),
                .stat = hs_f32_out(a, ROWS),
                .train = train,
                .mean = ((const hs_tp_linear_xent_attr *)a->attr)->smoothing > 0 };
    for (k.r = 0; k.r < N || k.r == 0; k.r += step) { // once without live rows too: dw is 0 then
        k.m = N - k.r < step ? N - k.r : step;
        xent_chunk_logits(a, lane, k.g, k.r, k.m);
        read_rows(a, lane, &k);
        hs_sync(lane);
        if (lane->id == 0)
            exchange(a, lane, &k);
        hs_sync(lane);
        write_rows(a, lane, &k);
        hs_sync(lane); // the packed w is free again, and the chunk is complete
        if (train)
            xent_chunk_gradients(a, lane, k.g, k.r, k.m);
    }
}

static void forward(const hs_args *a, hs_lane *lane) { walk(a, lane, false); }
static void backward(const hs_args *a, hs_lane *lane) { walk(a, lane, true); }

static const hs_tp_linear_xent_attr whole = { .classes = 65, .ignore = -1, .loss = 1 };
static const hs_tp_linear_xent_attr middle = { .classes = 100, .ignore = -1, .smoothing = 0.1f, .first = 24 };
static const hs_tp_linear_xent_attr last = { .classes = 61, .ignore = -1, .first = 40 };
static const hs_case cases[] = {
    { .in = { { 33, 24 }, { 72, 24 }, { 33 } },
      .ext = { HS_EXT_TOKENS, 0, HS_EXT_TOKENS },
      .attr = &whole,
      .limit = 65,
      .setup = xent_chunk_markers,
      .note = "all classes" },
    { .in = { { 40, 16 }, { 48, 16 }, { 40 }, { 48 } },
      .ext = { HS_EXT_PICKS, 0, HS_EXT_PICKS },
      .attr = &middle,
      .limit = 100,
      .note = "a slice in the middle, label smoothing, a bias" },
    { .in = { { XENT_CHUNK + 41, 8 }, { 40, 8 }, { XENT_CHUNK + 41 }, { 40 } },
      .ext = { HS_EXT_TOKENS, 0, HS_EXT_TOKENS },
      .attr = &last,
      .limit = 61,
      .live = { [HS_COUNT_TOKENS] = XENT_CHUNK + 7 },
      .note = "the last slice, padded; two chunks" },
};

static const hs_attr attrs[] = { HS_ATTR(hs_tp_linear_xent_attr, classes), HS_ATTR(hs_tp_linear_xent_attr, ignore),
                                 HS_ATTR(hs_tp_linear_xent_attr, loss), HS_ATTR(hs_tp_linear_xent_attr, smoothing),
                                 HS_ATTR(hs_tp_linear_xent_attr, first) };

HS_OP(tp_linear_xent) = {
    .name = "tp_linear_xent",
    .formula = "loss = -log softmax(x w^T + bias of all ranks)[target]",
    .paper = "arXiv:1909.08053",
    .attr_bytes = sizeof(hs_tp_linear_xent_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .flags = HS_OP_LOSS | HS_OP_COLLECTIVE,
    .loss_offset = offsetof(hs_tp_linear_xent_attr, loss),
    .in = { [X] = { "x", HS_AMP_LOW, HS_BWD_READS },
            [W] = { "w", HS_AMP_LOW, HS_WHOLE | HS_BWD_READS },
            [TARGET] = { "target", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS },
            [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_BWD_READS } },
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 },
             [LOGITS] = { "logits", HS_AMP_KEEP, HS_SAVED | HS_SCRATCH },
             [ROWS] = { "rows", HS_AMP_F32, HS_SAVED | HS_SCRATCH } },
    .shape = shape,
    .cost = xent_chunk_cost,
    .moves = moves,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = xent_chunk_sizes, .n_sizes = HS_COUNT(xent_chunk_sizes) },
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = xent_chunk_scratch },
};

#ifdef HS_TIER_PORTABLE
_Static_assert(offsetof(hs_tp_linear_xent_attr, smoothing) == offsetof(hs_xent_attr, smoothing), "begins as hs_xent_attr does");

hs_tensor *hs_tp_linear_xent(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias, hs_tensor *target, hs_xent_attr attr, int64_t first)
{
    const hs_tp_linear_xent_attr at = { attr.classes, attr.ignore, attr.loss, attr.smoothing, first };
    return hs_emit(g, HS_OP_ENTRY(tp_linear_xent), &at, (hs_tensor *[]){ x, w, target, bias }, 4);
}
#endif

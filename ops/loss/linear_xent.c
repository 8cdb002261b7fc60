// linear_xent: the last product of a language model and its loss, without the logits.
//
//   logits  = x w^T + bias                a chunk of XENT_CHUNK rows at a time
//   loss[n] = -log softmax(logits[n])[target[n]]                        as xent has it: padding, ignored labels, smoothing
//   dx      = dlogits w,     dw = dlogits^T x,     dbias = the columns of dlogits, summed         dlogits: see xent
//
// All 50,304 columns of GPT-2's logits are 824 MB of f32 at 4,096 tokens, more than all weights of the model. Here a chunk of
// them lives from its product to its last use. A loss is a root, so that training makes loss and gradients in one walk: in
// forward it would have to keep the logits or make them twice. A chunk is whole k blocks of dw's product, in order: dw has the
// bits that linear and xent would give it.
//
// Chunks: Wijmans et al. 2024 (arXiv:2411.09009) recompute instead; one product more is 8 % of GPT-2's step.

#include "ops/loss/xent_chunks.h"

static const char *shape(hs_node *n)
{
    const hs_xent_attr *at = n->attr;
    const hs_tensor *x = n->in[X], *w = n->in[W];
    const char *why = xent_chunk_refuse(n);
    if (why)
        return why;
    if (at->classes < 1 || at->classes > w->dim[0])
        return "classes must be between 1 and the rows of w";
    hs_shape_rows(n->out[LOSS], x, 0);
    hs_shape_set(n->out[LOGITS], HS_F32, HS_EXT_FIXED, 2, (const int64_t[]){ xent_chunk_rows(n), w->dim[0] });
    return NULL;
}

static void reference(const hs_args *a) { xent_chunk_ref(a, 0, ((const hs_xent_attr *)a->attr)->classes); }

// Logits of rows [r, r + m), their losses and, in training, over them their gradient.
static void chunk_losses(const hs_args *a, hs_lane *lane, gemm g, int64_t r, int64_t m, bool train)
{
    const hs_xent_attr *at = a->attr;
    const hs_ref *logits = &a->out[LOGITS];
    xent_chunk_logits(a, lane, g, r, m);
    const xent_work work = train ? xent_work_at(g.own, logits->cols) : (xent_work){ 0 };
    const float factor = train ? xent_factor(a, at) : 0;
    int64_t r0, r1;
    hs_part(lane, m, &r0, &r1);
    for (int64_t i = r0; i < r1; i++)
        hs_f32_out(a, LOSS)[r + i] = xent_row(logits, i * logits->cols, hs_i32(a, TARGET)[r + i], at, factor, &work);
}

static void walk(const hs_args *a, hs_lane *lane, bool train)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), step = a->out[LOGITS].rows;
    const gemm g = { .shared = a->scratch, .own = hs_thread_scratch(a, lane), .dot = gemm_dot(a->in[X].dtype) };
    for (int64_t r = 0; r < N || r == 0; r += step) { // once without live rows too: dw is 0 then
        const int64_t m = N - r < step ? N - r : step;
        chunk_losses(a, lane, g, r, m, train);
        hs_sync(lane); // the packed w is free again, and the chunk is complete
        if (train)
            xent_chunk_gradients(a, lane, g, r, m);
    }
}

static void forward(const hs_args *a, hs_lane *lane) { walk(a, lane, false); }
static void backward(const hs_args *a, hs_lane *lane) { walk(a, lane, true); }

static const hs_xent_attr plain = { .classes = 8, .ignore = -1 }, padded = { .classes = 65, .ignore = -1, .loss = 1 };
static const hs_xent_attr few = { .classes = 8, .ignore = -1, .smoothing = 0.1f }; // no loss of so many is nearly 0
static const hs_xent_attr smooth = { .classes = 61, .ignore = -100, .smoothing = 0.1f };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 8, 8 }, { 1 } }, .attr = &plain, .limit = 8, .note = "one row" },
    { .in = { { 33, 24 }, { 72, 24 }, { 33 } },
      .ext = { HS_EXT_TOKENS, 0, HS_EXT_TOKENS },
      .attr = &padded,
      .limit = 65,
      .setup = xent_chunk_markers,
      .note = "padded vocabulary, ignored labels" },
    { .in = { { 40, 16 }, { 64, 16 }, { 40 } },
      .ext = { HS_EXT_PICKS, 0, HS_EXT_PICKS },
      .attr = &smooth,
      .limit = 61,
      .note = "label smoothing" },
    { .in = { { 41, 24 }, { 72, 24 }, { 41 }, { 72 } },
      .ext = { HS_EXT_PICKS, 0, HS_EXT_PICKS },
      .attr = &padded,
      .limit = 65,
      .setup = xent_chunk_markers,
      .note = "with a bias" },
    { .in = { { XENT_CHUNK + 41, 8 }, { 72, 8 }, { XENT_CHUNK + 41 }, { 72 } },
      .ext = { HS_EXT_TOKENS, 0, HS_EXT_TOKENS },
      .attr = &padded,
      .limit = 65,
      .live = { [HS_COUNT_TOKENS] = XENT_CHUNK + 7 },
      .note = "two chunks" },
    { .in = { { 8201, 8 }, { 8, 8 }, { 8201 }, { 8 } },
      .ext = { HS_EXT_TOKENS, 0, HS_EXT_TOKENS },
      .attr = &few,
      .limit = 8,
      .live = { [HS_COUNT_TOKENS] = 8195 },
      .tolerance = 3, // the worst of so many rows
      .note = "two chunks of a GPU's" },
};

extern HS_OP(linear);
extern HS_OP(xent);
HS_OP(linear_xent) = {
    .name = "linear_xent",
    .formula = "loss = -log softmax(x w^T + bias)[target]",
    .paper = "arXiv:2411.09009",
    .attr_bytes = sizeof(hs_xent_attr),
    .attrs = xent_attrs,
    .n_attrs = HS_COUNT(xent_attrs),
    .flags = HS_OP_LOSS,
    .loss_offset = offsetof(hs_xent_attr, loss),
    .in = { [X] = { "x", HS_AMP_LOW, HS_BWD_READS },
            [W] = { "w", HS_AMP_LOW, HS_WHOLE | HS_BWD_READS },
            [TARGET] = { "target", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS },
            [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_BWD_READS } },
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 }, [LOGITS] = { "logits", HS_AMP_KEEP, HS_SAVED | HS_SCRATCH } },
    .shape = shape,
    .cost = xent_chunk_cost,
    .ref = reference,
    .unfused = (const hs_op *const[]){ &HS_TIERED(hs_op_linear), &HS_TIERED(hs_op_xent), NULL },
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = xent_chunk_sizes, .n_sizes = HS_COUNT(xent_chunk_sizes) },
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = xent_chunk_scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_linear_xent(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias, hs_tensor *target, hs_xent_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(linear_xent), &attr, (hs_tensor *[]){ x, w, target, bias }, 4);
}
#endif

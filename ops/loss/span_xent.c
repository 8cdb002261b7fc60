// span_xent: where a span begins and where it ends among the tokens of its sequence, with the gradient written over the logits.
//
//   loss[b]     = sum over k = 0, 1 of lse over the sequence's rows n of x[n,k] - x[t,k]                t = starts[b] + target[b,k]
//   dlogits[n,k] = (softmax over the rows of x[n,k] - [n == t]) * inv_count[loss] * scale
//
// A start or an end outside of its sequence is ignored, as transformers' question answering does beyond a window (it clamps them to its
// length, which is ignored). The softmax is over a sequence's own rows, none of padding; those, and columns beyond 1, get gradient 0.

#include "ops/loss/span_rows.h"

enum { TARGET = OTHER };

static const char *shape(hs_node *n)
{
    const hs_tensor *target = n->in[TARGET], *starts = n->in[STARTS];
    const char *why = span_shape(n, ((const hs_span_attr *)n->attr)->loss);
    if (why)
        return why;
    if (target->dtype != HS_I32 || target->n_dims != 2 || target->dim[0] != starts->dim[0] - 1 || target->dim[1] != 2)
        return "target must be i32 [sequences, 2]";
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double rows = (double)n->in[LOGITS]->dim[0], train = n->mode == HS_TRAIN ? 2 : 1;
    return backward ? (hs_cost){ 0 } : (hs_cost){ .flops = 2 * 12 * train * rows, .bytes = train * (double)hs_tensor_bytes(n->in[LOGITS]) };
}

static float factor_of(const hs_args *a) { return a->step->inv_count[((const hs_span_attr *)a->attr)->loss] * a->state->scale; }

static void reference(const hs_args *a)
{
    const int64_t B = hs_ref_rows(a, &a->out[LOSS]), V = a->in[LOGITS].cols;
    double *d = a->out[DLOGITS].p ? hs_f64_out(a, DLOGITS) : NULL, factor = (double)factor_of(a);
    for (int64_t b = 0; b < B; b++) {
        int64_t first, n;
        span_rows(a, b, &first, &n);
        hs_f64_out(a, LOSS)[b] = 0;
        for (int k = 0; k < 2; k++) {
            const double *x = hs_f64(a, LOGITS) + first * V + k;
            const int32_t t = hs_i32(a, TARGET)[2 * b + k];
            const bool counts = t >= 0 && t < n;
            double max = -INFINITY, sum = 0;
            for (int64_t i = 0; i < n; i++)
                max = fmax(max, x[i * V]);
            for (int64_t i = 0; i < n; i++)
                sum += exp(x[i * V] - max);
            hs_f64_out(a, LOSS)[b] += counts ? max - x[t * V] + log(sum) : 0;
            for (int64_t i = 0; i < n && d; i++) // may be the logits themselves
                d[(first + i) * V + k] = counts ? factor * (exp(x[i * V] - max) / sum - (i == t)) : 0;
        }
    }
    span_reference_clear(a);
}

typedef struct column { // of a sequence: what its softmax is made of
    float max, sum, at; // sum of e^(x - max); x of the target
    int32_t target;
    bool counts;
} column;

static column read_column(const hs_ref *x, int64_t first, int64_t n, int k, int32_t target)
{
    column c = { .max = -INFINITY, .target = target, .counts = target >= 0 && target < n };
    for (int64_t i = 0; i < n && c.counts; i++)
        c.max = fmaxf(c.max, span_value(x, first + i, k));
    for (int64_t i = 0; i < n && c.counts; i++)
        c.sum += hs_expf_below(span_value(x, first + i, k) - c.max);
    c.at = c.counts ? span_value(x, first + target, k) : 0;
    return c;
}

static void write_rows(const hs_ref *x, int64_t first, int64_t n, const column c[2], float factor)
{
    for (int64_t i = 0; i < n; i++) {
        float d[2] = { 0 };
        for (int k = 0; k < 2; k++)
            if (c[k].counts)
                d[k] = factor * (hs_expf_below(span_value(x, first + i, k) - c[k].max) / c[k].sum - (float)(i == c[k].target));
        span_write(x, first + i, d);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *x = &a->in[LOGITS];
    const bool gradient = a->out[DLOGITS].p != NULL; // the logits' own bytes
    hs_for_rows(b, a, &a->out[LOSS], lane) {
        int64_t first, n;
        float loss = NAN;
        if (span_rows(a, b, &first, &n)) {
            const int32_t *target = hs_i32(a, TARGET) + 2 * b;
            const column c[2] = { read_column(x, first, n, 0, target[0]), read_column(x, first, n, 1, target[1]) };
            loss = 0;
            for (int k = 0; k < 2; k++)
                loss += c[k].counts ? c[k].max + logf(c[k].sum) - c[k].at : 0;
            if (gradient)
                write_rows(x, first, n, c, factor_of(a)), span_clear(x, first + n, hs_i32(a, STARTS)[b + 1]);
        }
        hs_f32_out(a, LOSS)[b] = loss;
    }
    if (lane->id == 0 && gradient)
        span_clear_nobodys(a);
}

static void packed(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; i < n && input == TARGET; i++) // some outside of their sequence
        data[i] = (int32_t)((i * 5) % 9) - 1;
    if (input == STARTS)
        seq_starts_packed(data, n, c->in[LOGITS][0]);
}
static void padded(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; i < n && input == TARGET; i++)
        data[i] = (int32_t)(i % 3);
    if (input == STARTS)
        seq_starts_padded(data, n, c->in[LOGITS][0]);
    if (input == KEYS)
        seq_keys_padded(data, c->in[KEYS][0], c->in[LOGITS][0]);
}

#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        HS_EXT_TOKENS, HS_EXT_SEQS, HS_EXT_STARTS, HS_EXT_SEQS                                                                             \
    }
static const hs_span_attr plain = { 0 }, other = { .loss = 2 };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1, 2 }, { 2 } }, .ext = OWN_EXT, .attr = &plain, .setup = packed, .note = "one row" },
    { .in = { { 40, 2 }, { 5, 2 }, { 6 } }, .ext = OWN_EXT, .attr = &other, .setup = packed, .note = "spans outside, not padded" },
    { .in = { { 48, 8 }, { 4, 2 }, { 5 }, { 4, 3 } }, .ext = OWN_EXT, .attr = &plain, .setup = padded, .note = "padded sequences" },
    { .in = { { 40, 8 }, { 5, 2 }, { 6 } },
      .ext = OWN_EXT,
      .attr = &plain,
      .setup = packed,
      .fill = HS_FILL_LARGE,
      .note = "large values" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){ .in = { { dim[0], 8 }, { dim[1], 2 }, { dim[1] + 1 } }, .ext = OWN_EXT, .setup = packed };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxSEQS", .usual = "4Kx12", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_span_attr, loss) };

HS_OP(span_xent) = {
    .name = "span_xent",
    .formula = "loss = -log softmax over a sequence's rows (logits)[start], the same of its end",
    .attr_bytes = sizeof(hs_span_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .flags = HS_OP_LOSS,
    .loss_offset = offsetof(hs_span_attr, loss),
    .in = { [LOGITS] = { "logits", HS_AMP_KEEP, HS_WHOLE },
            [TARGET] = { "target", HS_AMP_NONE, HS_NO_GRAD },
            [STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [KEYS] = { "keys", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE | HS_OPTIONAL } },
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 }, [DLOGITS] = { "dlogits", HS_AMP_KEEP, HS_IS_INPUT_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, NULL, HS_PART_FREE, HS_PART_FREE },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_span_xent(hs_graph *g, hs_tensor *logits, hs_tensor *target, hs_tensor *starts, hs_tensor *keys, hs_span_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(span_xent), &attr, (hs_tensor *[]){ logits, target, starts, keys }, 4);
}
#endif

// soft_span: a student learns where a teacher sees a span begin and end, with the gradient written over its logits.
//
//   loss[b]      = T^2 * sum over k = 0, 1 of KL(q_k || p_k)      p_k = softmax over the sequence's rows n of x[n,k] / T, q_k of the
//   teacher's dlogits[n,k] = T * (p_k[n] - q_k[n]) * inv_count[loss] * scale
//
// What soft_targets is to classes, with the softmax of span_xent: over a sequence's own rows, none of padding; those, and columns beyond 1,
// get gradient 0. Every sequence counts twice: a teacher says of each where it sees a start and an end, also of one that has no answer.
// Sums are f64: there is one for each column of a sequence, and T^2 of their rounding is the loss's.

#include "ops/loss/span_rows.h"

enum { TEACHER = OTHER };

static const char *shape(hs_node *n)
{
    const hs_soft_span_attr *at = n->attr;
    const char *why = span_shape(n, at->loss);
    if (why)
        return why;
    if (!hs_same_shape(n->in[LOGITS], n->in[TEACHER]))
        return "the teacher's logits must have the shape of the student's";
    if (!(at->temperature > 0))
        return "temperature must be above 0";
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double rows = (double)n->in[LOGITS]->dim[0], train = n->mode == HS_TRAIN ? 2 : 1;
    const double bytes = train * (double)hs_tensor_bytes(n->in[LOGITS]) + (double)hs_tensor_bytes(n->in[TEACHER]);
    return backward ? (hs_cost){ 0 } : (hs_cost){ .flops = 2 * 28 * train * rows, .bytes = bytes };
}

static double factor_of(const hs_args *a)
{
    const hs_soft_span_attr *at = a->attr;
    return (double)at->temperature * (double)(a->step->inv_count[at->loss] * a->state->scale);
}

static double log_sum(const double *x, int64_t n, int64_t stride, double T)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, x[i * stride]);
    for (int64_t i = 0; i < n; i++)
        sum += exp((x[i * stride] - max) / T);
    return max / T + log(sum);
}

static void reference(const hs_args *a)
{
    const int64_t B = hs_ref_rows(a, &a->out[LOSS]), V = a->in[LOGITS].cols;
    const double T = (double)((const hs_soft_span_attr *)a->attr)->temperature, k = factor_of(a);
    double *d = a->out[DLOGITS].p ? hs_f64_out(a, DLOGITS) : NULL;
    for (int64_t b = 0; b < B; b++) {
        int64_t first, n;
        span_rows(a, b, &first, &n);
        hs_f64_out(a, LOSS)[b] = 0;
        for (int64_t column = 0; column < 2; column++) {
            const int64_t at = first * V + column;
            const double *x = hs_f64(a, LOGITS) + at, *t = hs_f64(a, TEACHER) + at, lp = log_sum(x, n, V, T), lq = log_sum(t, n, V, T);
            double sum = 0;
            for (int64_t i = 0; i < n * V; i += V)
                sum += exp(t[i] / T - lq) * (t[i] / T - lq - x[i] / T + lp);
            hs_f64_out(a, LOSS)[b] += T * T * sum;
            for (int64_t i = 0; i < n * V && d; i += V) // may be the logits themselves
                d[at + i] = k * (exp(x[i] / T - lp) - exp(t[i] / T - lq));
        }
    }
    span_reference_clear(a);
}

typedef struct column { // of a sequence: largest values, and sums of e^((x - max) / T) and e^((teacher - max) / T)
    float max_x, max_t;
    double sum_x, sum_t, cross; // of the latter times (teacher - x)
} column;

static column read_column(const hs_args *a, int64_t first, int64_t n, int k, float inv)
{
    const hs_ref *x = &a->in[LOGITS], *t = &a->in[TEACHER];
    column c = { .max_x = -INFINITY, .max_t = -INFINITY };
    for (int64_t i = first; i < first + n; i++) {
        const float vx = span_value(x, i, k), vt = span_value(t, i, k);
        c.max_x = vx > c.max_x ? vx : c.max_x, c.max_t = vt > c.max_t ? vt : c.max_t;
    }
    for (int64_t i = first; i < first + n; i++) {
        const float vx = span_value(x, i, k) - c.max_x, vt = span_value(t, i, k) - c.max_t, e = hs_expf_below(vt * inv);
        c.sum_x += (double)hs_expf_below(vx * inv), c.sum_t += (double)e, c.cross += (double)e * (double)(vt - vx);
    }
    return c;
}

static float loss_of(const column *c, int64_t n, double T)
{
    return n > 0 ? (float)(T * T * (c->cross / (T * c->sum_t) + log(c->sum_x) - log(c->sum_t))) : 0;
}

static void write_rows(const hs_args *a, int64_t first, int64_t n, const column c[2], float inv)
{
    const hs_ref *x = &a->in[LOGITS], *t = &a->in[TEACHER];
    const float factor = (float)factor_of(a);
    for (int64_t i = first; i < first + n; i++) {
        float d[2];
        for (int k = 0; k < 2; k++)
            d[k] = factor * (hs_expf_below((span_value(x, i, k) - c[k].max_x) * inv) / (float)c[k].sum_x -
                             hs_expf_below((span_value(t, i, k) - c[k].max_t) * inv) / (float)c[k].sum_t);
        span_write(x, i, d);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const bool gradient = a->out[DLOGITS].p != NULL; // the logits' own bytes
    const float T = ((const hs_soft_span_attr *)a->attr)->temperature;
    hs_for_rows(b, a, &a->out[LOSS], lane) {
        int64_t first, n;
        float loss = NAN;
        if (span_rows(a, b, &first, &n)) {
            const column c[2] = { read_column(a, first, n, 0, 1 / T), read_column(a, first, n, 1, 1 / T) };
            loss = loss_of(&c[0], n, (double)T) + loss_of(&c[1], n, (double)T);
            if (gradient)
                write_rows(a, first, n, c, 1 / T), span_clear(&a->in[LOGITS], first + n, hs_i32(a, STARTS)[b + 1]);
        }
        hs_f32_out(a, LOSS)[b] = loss;
    }
    if (lane->id == 0 && gradient)
        span_clear_nobodys(a);
}

static void packed(int input, int32_t *data, int64_t n, const hs_case *c)
{
    if (input == STARTS)
        seq_starts_packed(data, n, c->in[LOGITS][0]);
}
static void padded(int input, int32_t *data, int64_t n, const hs_case *c)
{
    if (input == STARTS)
        seq_starts_padded(data, n, c->in[LOGITS][0]);
    if (input == KEYS)
        seq_keys_padded(data, c->in[KEYS][0], c->in[LOGITS][0]);
}

#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        HS_EXT_TOKENS, HS_EXT_TOKENS, HS_EXT_STARTS, HS_EXT_SEQS                                                                           \
    }
static const hs_soft_span_attr plain = { .temperature = 1 }, warm = { .loss = 5, .temperature = 2 }, cold = { .temperature = 0.5f };
static const hs_case cases[] = {
    // tolerances: roundings of f32 count T^2
    { .in = { { 1, 8 }, { 1, 8 }, { 2 } }, .ext = OWN_EXT, .attr = &plain, .setup = packed, .note = "one row: nothing to learn" },
    { .in = { { 40, 2 }, { 40, 2 }, { 6 } },
      .ext = OWN_EXT,
      .attr = &warm,
      .setup = packed,
      .note = "temperature, not padded",
      .tolerance = 2 },
    { .in = { { 48, 8 }, { 48, 8 }, { 5 }, { 4, 3 } }, .ext = OWN_EXT, .attr = &plain, .setup = padded, .note = "padded sequences" },
    { .in = { { 40, 8 }, { 40, 8 }, { 6 } },
      .ext = OWN_EXT,
      .attr = &cold,
      .setup = packed,
      .fill = HS_FILL_LARGE,
      .note = "large values" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { { dim[0], 8 }, { dim[0], 8 }, { dim[1] + 1 } }, .ext = OWN_EXT, .setup = packed };
    *(hs_soft_span_attr *)attr = (hs_soft_span_attr){ .temperature = 2 };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxSEQS", .usual = "4Kx12", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_soft_span_attr, loss), HS_ATTR(hs_soft_span_attr, temperature) };

HS_OP(soft_span) = {
    .name = "soft_span",
    .formula = "loss = T^2 KL(softmax over a sequence's rows (teacher / T) || softmax (logits / T)) of its start, the same of its end",
    .paper = "arXiv:1503.02531",
    .attr_bytes = sizeof(hs_soft_span_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .flags = HS_OP_LOSS,
    .loss_offset = offsetof(hs_soft_span_attr, loss),
    .in = { [LOGITS] = { "logits", HS_AMP_KEEP, HS_WHOLE },
            [TEACHER] = { "teacher", HS_AMP_F32, HS_NO_GRAD | HS_WHOLE },
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
hs_tensor *hs_soft_span(hs_graph *g, hs_tensor *logits, hs_tensor *teacher, hs_tensor *starts, hs_tensor *keys, hs_soft_span_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(soft_span), &attr, (hs_tensor *[]){ logits, teacher, starts, keys }, 4);
}
#endif

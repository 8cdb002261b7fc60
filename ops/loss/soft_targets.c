// soft_targets: a student learns what a teacher thinks of every class, with the gradient written over its logits.
//
//   loss[n]   = T^2 * sum_c q_c (log q_c - log p_c)          p = softmax(x[n] / T), q = softmax(teacher[n] / T), over the first `classes`
//   dlogits   = T * (p - q) * inv_count[loss] * scale         columns
//
// T^2 keeps the size of the gradient whatever the temperature is (Hinton et al. 2015, arXiv:1503.02531). 0 where the row's target is below
// 0 (none given: every row counts); columns beyond `classes` get gradient 0. Two passes over a row: what is largest; then every e^x once,
// kept for the gradient, while the divergence is summed: sum of q (log q - log p) = sum of e_q (t - x) / (T S_q) + log S_p - log S_q.

#include "ops/loss/soft_rows.h"

enum { SUM_BLOCK = 128 }; // of f32 sums: T^2 of their rounding is the loss's

static double log_sum(const double *x, int64_t n, double T)
{
    double max = -INFINITY, sum = 0;
    for (int64_t c = 0; c < n; c++)
        max = fmax(max, x[c]);
    for (int64_t c = 0; c < n; c++)
        sum += exp((x[c] - max) / T);
    return max / T + log(sum);
}

static void reference(const hs_args *a)
{
    const hs_soft_attr *at = a->attr;
    const int64_t N = hs_ref_rows(a, &a->in[LOGITS]), V = a->in[LOGITS].cols, K = at->classes;
    const double T = (double)at->temperature, k = soft_factor(a);
    for (int64_t n = 0; n < N; n++) {
        const double *x = hs_f64(a, LOGITS) + n * V, *t = hs_f64(a, TEACHER) + n * V;
        const double lp = log_sum(x, K, T), lq = log_sum(t, K, T);
        const bool real = soft_counts(a, n);
        double sum = 0;
        for (int64_t c = 0; c < K; c++)
            sum += exp(t[c] / T - lq) * (t[c] / T - lq - x[c] / T + lp);
        hs_f64_out(a, LOSS)[n] = real ? T * T * sum : 0;
        for (int64_t c = 0; c < V && a->out[DLOGITS].p; c++) // may be the logits themselves: each is read before it is overwritten
            hs_f64_out(a, DLOGITS)[n * V + c] = c < K && real ? k * (exp(x[c] / T - lp) - exp(t[c] / T - lq)) : 0;
    }
}

static float largest(const hs_ref *r, int64_t first, int64_t n)
{
    float wide[HS_BLOCK], max = -INFINITY;
    for (int64_t c = 0; c < n; c += HS_BLOCK) {
        const int64_t k = n - c < HS_BLOCK ? n - c : HS_BLOCK;
        max = hs_max(hs_load(r, first + c, k, wide), k, max);
    }
    return max;
}

typedef struct row { // of a member: e^((x - max) / T) of both rows, where the gradient is wanted
    float *p, *q;
    double sum_p, sum_q, cross; // of e_p, of e_q, of e_q (t - x)
} row;

static void read_row(const hs_args *a, int64_t first, row *r)
{
    const hs_soft_attr *at = a->attr;
    const float inv = 1 / at->temperature, mx = largest(&a->in[LOGITS], first, at->classes),
                mt = largest(&a->in[TEACHER], first, at->classes);
    float wide[SUM_BLOCK], here[2][SUM_BLOCK];
    r->sum_p = r->sum_q = r->cross = 0;
    for (int64_t c0 = 0; c0 < at->classes; c0 += SUM_BLOCK) {
        const int64_t n = at->classes - c0 < SUM_BLOCK ? at->classes - c0 : SUM_BLOCK;
        const float *x = hs_load(&a->in[LOGITS], first + c0, n, wide), *t = (const float *)a->in[TEACHER].p + first + c0;
        float *restrict p = r->p ? r->p + c0 : here[0], *restrict q = r->q ? r->q + c0 : here[1], sum_p = 0, sum_q = 0, cross = 0;
        HS_SIMD_SUM(sum_p, sum_q, cross)
        for (int64_t c = 0; c < n; c++) {
            p[c] = hs_expf_below((x[c] - mx) * inv), q[c] = hs_expf_below((t[c] - mt) * inv);
            sum_p += p[c], sum_q += q[c];
            cross += q[c] * ((t[c] - mt) - (x[c] - mx));
        }
        r->sum_p += (double)sum_p, r->sum_q += (double)sum_q, r->cross += (double)cross;
    }
}

static void write_row(const hs_ref *x, int64_t first, int64_t K, const row *r, float k, bool real)
{
    const float kp = real ? k / (float)r->sum_p : 0, kq = real ? k / (float)r->sum_q : 0;
    float buf[HS_BLOCK];
    for (int64_t c0 = 0; c0 < x->cols; c0 += HS_BLOCK) {
        const int64_t n = x->cols - c0 < HS_BLOCK ? x->cols - c0 : HS_BLOCK, live = !real || K < c0 ? 0 : K - c0 < n ? K - c0 : n;
        float *restrict d = hs_dest(x, first + c0, buf);
        const float *p = r->p + c0, *q = r->q + c0;
        HS_SIMD
        for (int64_t c = 0; c < live; c++)
            d[c] = p[c] * kp - q[c] * kq;
        memset(d + live, 0, (size_t)(n - live) * sizeof *d);
        hs_store(x, first + c0, n, d);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_soft_attr *at = a->attr;
    const hs_ref *x = &a->in[LOGITS];
    const bool gradient = a->out[DLOGITS].p != NULL; // the logits' own bytes
    const double T = (double)at->temperature;
    row r = { .p = gradient ? hs_row_buffer(a, lane, 0, x->cols) : NULL, .q = gradient ? hs_row_buffer(a, lane, 1, x->cols) : NULL };
    hs_for_rows(n, a, x, lane) {
        const bool real = soft_counts(a, n);
        if (real)
            read_row(a, n * x->cols, &r);
        hs_f32_out(a, LOSS)[n] = real ? (float)(T * T * (r.cross / (T * r.sum_q) + log(r.sum_p) - log(r.sum_q))) : 0;
        if (gradient)
            write_row(x, n * x->cols, at->classes, &r, (float)soft_factor(a), real);
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool backward)
{
    (void)team, (void)backward;
    return (hs_scratch){ .per_thread = n->mode == HS_TRAIN ? 2 * hs_row_bytes(n->in[LOGITS]->dim[1]) : 0 };
}

HS_OP(soft_targets) = { .name = "soft_targets",
                        .formula = "loss = T^2 KL(softmax(teacher / T) || softmax(logits / T))",
                        .paper = "arXiv:1503.02531",
                        SOFT_ENTRY,
                        .cpu = { forward, NULL, HS_PART_ROWS, HS_PART_ROWS, .scratch = scratch } };

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_soft_targets(hs_graph *g, hs_tensor *logits, hs_tensor *teacher, hs_tensor *target, hs_soft_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(soft_targets), &attr, (hs_tensor *[]){ logits, teacher, target }, 3);
}
#endif

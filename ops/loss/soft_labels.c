// soft_labels: a student learns how sure a teacher is of every label by itself, with the gradient written over its logits.
//
//   loss[n]   = T^2 * mean over c < classes of q log(q / p) + (1 - q) log((1 - q) / (1 - p))       p = 1 / (1 + e^(-x[n,c] / T)), q of the
//   dlogits   = T * (p - q) / classes * inv_count[loss] * scale                                     teacher's
//
// What soft_targets is to classes of which one is true, with the mean over labels that bce has. Of X = x / T, Y = teacher / T and
// l(v) = log(1 + e^-|v|) a label costs (Y < 0 ? q Y : -(1 - q) Y) + (X < 0 ? -q X : (1 - q) X) + l(X) - l(Y): no e^x overflows, and of two
// that are sure of the same nothing large is left to cancel.

#include "ops/loss/soft_rows.h"

enum { LABEL_BLOCK = 32 }; // labels whose costs are added up first, as in label_rows.h

static double above(double x) { return log1p(exp(-fabs(x))); }
static double likely(double x) { return 1 / (1 + exp(-x)); }
static double label_cost(double x, double t)
{
    const double q = likely(t), not_q = likely(-t);
    return (t < 0 ? q : -not_q) * t + (x < 0 ? -q : not_q) * x + above(x) - above(t);
}

static void reference(const hs_args *a)
{
    const hs_soft_attr *at = a->attr;
    const int64_t N = hs_ref_rows(a, &a->in[LOGITS]), V = a->in[LOGITS].cols, K = at->classes;
    const double T = (double)at->temperature, k = soft_factor(a) / (double)K;
    for (int64_t n = 0; n < N; n++) {
        const double *x = hs_f64(a, LOGITS) + n * V, *t = hs_f64(a, TEACHER) + n * V;
        const bool real = soft_counts(a, n);
        double sum = 0;
        for (int64_t c = 0; c < K; c++)
            sum += label_cost(x[c] / T, t[c] / T);
        hs_f64_out(a, LOSS)[n] = real ? T * T * sum / (double)K : 0;
        for (int64_t c = 0; c < V && a->out[DLOGITS].p; c++) // may be the logits themselves: each is read before it is overwritten
            hs_f64_out(a, DLOGITS)[n * V + c] = c < K && real ? k * (likely(x[c] / T) - likely(t[c] / T)) : 0;
    }
}

// The loss of row n; k times the slopes of its labels over them where they are wanted.
static float row_of(const hs_args *a, int64_t n, float k, bool gradient)
{
    const hs_soft_attr *at = a->attr;
    const hs_ref *x = &a->in[LOGITS];
    const int64_t V = x->cols, K = soft_counts(a, n) ? at->classes : 0;
    const float *t = (const float *)a->in[TEACHER].p + n * V, inv = 1 / at->temperature;
    float sum = 0, wide[LABEL_BLOCK];
    for (int64_t c0 = 0; c0 < V; c0 += LABEL_BLOCK) {
        const int64_t m = V - c0 < LABEL_BLOCK ? V - c0 : LABEL_BLOCK, live = K < c0 ? 0 : K - c0 < m ? K - c0 : m;
        const float *v = hs_load(x, n * V + c0, m, wide), *said = t + c0;
        float slope[LABEL_BLOCK] = { 0 }, part = 0;
        HS_SIMD_SUM(part)
        for (int64_t c = 0; c < live; c++) {
            const float X = v[c] * inv, Y = said[c] * inv;
            const float ex = hs_expf_below(-__builtin_fabsf(X)), ey = hs_expf_below(-__builtin_fabsf(Y)), ix = 1 / (1 + ex),
                        iy = 1 / (1 + ey);
            const float p = (X < 0 ? ex : 1) * ix, q = (Y < 0 ? ey : 1) * iy, not_q = (Y < 0 ? 1 : ey) * iy;
            part += (Y < 0 ? q : -not_q) * Y + (X < 0 ? -q : not_q) * X + (hs_log1pf_unit(ex) - hs_log1pf_unit(ey));
            slope[c] = k * (p - q);
        }
        sum += part;
        if (gradient)
            hs_store(x, n * V + c0, m, slope);
    }
    return at->temperature * at->temperature * sum / (float)at->classes;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_soft_attr *at = a->attr;
    const bool gradient = a->out[DLOGITS].p != NULL; // the logits' own bytes
    const float k = gradient ? (float)(soft_factor(a) / (double)at->classes) : 0;
    hs_for_rows(n, a, &a->in[LOGITS], lane)
        hs_f32_out(a, LOSS)[n] = row_of(a, n, k, gradient);
}

HS_OP(soft_labels) = { .name = "soft_labels",
                       .formula = "loss = T^2 mean KL(sigmoid(teacher / T) || sigmoid(logits / T))",
                       .paper = "arXiv:1503.02531",
                       SOFT_ENTRY,
                       .cpu = { forward, NULL, HS_PART_ROWS, HS_PART_ROWS } };

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_soft_labels(hs_graph *g, hs_tensor *logits, hs_tensor *teacher, hs_tensor *target, hs_soft_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(soft_labels), &attr, (hs_tensor *[]){ logits, teacher, target }, 3);
}
#endif

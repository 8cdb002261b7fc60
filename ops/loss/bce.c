// bce: labels that are judged each by itself - binary cross-entropy of logits, with the gradient written over them.
//
//   loss[n] = w[n] * mean over c < labels of -t log p - (1 - t) log(1 - p)        p = 1 / (1 + e^-x[n,c]), t = target[n,c] in [0, 1]
//           = w[n] * mean of max(x, 0) - x t + log(1 + e^-|x|)                    which no x overflows
//   dx[n,c] = w[n] * (p - t) / labels * inv_count[loss] * scale
//
// w: 1, or a weight of each row. Columns beyond `labels` are padding.

#include "ops/loss/label_rows.h"

static double label_cost(double x, double t) { return fmax(x, 0) - x * t + log1p(exp(-fabs(x))); }
static double label_slope(double x, double t) { return 1 / (1 + exp(-x)) - t; }

static inline label_cell_of label_cell(float x, float t)
{
    const float e = hs_expf_below(-__builtin_fabsf(x)), above = x < 0 ? 0 : x; // a NaN stays
    return (label_cell_of){ above - x * t + hs_log1pf_unit(e), (x < 0 ? e : 1) / (1 + e) - t };
}

HS_OP(bce) = { .name = "bce", .formula = "loss = w mean (max(x, 0) - x target + log(1 + e^-|x|))", LABEL_ENTRY };

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_bce(hs_graph *g, hs_tensor *x, hs_tensor *target, hs_tensor *weight, hs_label_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(bce), &attr, (hs_tensor *[]){ x, target, weight }, 3);
}
#endif

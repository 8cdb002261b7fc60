// mse: the squared error of rows of numbers, with the gradient written over them.
//
//   loss[n] = w[n] * mean over c < labels of (x[n,c] - t[n,c])^2          dx[n,c] = w[n] * 2 (x - t) / labels * inv_count[loss] * scale
//
// w: 1, or a weight of each row. Columns beyond `labels` are padding.

#include "ops/loss/label_rows.h"

static double label_cost(double x, double t) { return (x - t) * (x - t); }
static double label_slope(double x, double t) { return 2 * (x - t); }
static inline label_cell_of label_cell(float x, float t) { return (label_cell_of){ (x - t) * (x - t), 2 * (x - t) }; }

HS_OP(mse) = { .name = "mse", .formula = "loss = w mean (x - target)^2", LABEL_ENTRY };

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_mse(hs_graph *g, hs_tensor *x, hs_tensor *target, hs_tensor *weight, hs_label_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(mse), &attr, (hs_tensor *[]){ x, target, weight }, 3);
}
#endif

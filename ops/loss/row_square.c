// row_square: the squared distance of a row from another network's, as a mean over its columns.
//
//   loss[n] = mean over c of (x[n,c] - t[n,c])^2          dx[n,c] = 2 (x - t) / C * inv_count[loss] * scale
//
// mse says the same of a row that nothing else reads, whose bytes its gradient takes; hidden states go on to the next layer.

#include "ops/loss/match_rows.h"

static double match_cost(const double *x, const double *t, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++)
        sum += (x[c] - t[c]) * (x[c] - t[c]);
    return sum / (double)n;
}

static match_line match_made_of(const match_sums *s, int64_t n)
{
    return (match_line){ .loss = (float)(s->apart / (double)n), .a = 2 / (float)n, .b = -2 / (float)n };
}

HS_OP(row_square) = { .name = "row_square", .formula = "loss = mean (x - teacher)^2", MATCH_ENTRY };

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_row_square(hs_graph *g, hs_tensor *x, hs_tensor *teacher, hs_match_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(row_square), &attr, (hs_tensor *[]){ x, teacher }, 2);
}
#endif

// row_cosine: the angle between a row and another network's.
//
//   loss[n] = 1 - x.t / sqrt((x.x + e) (t.t + e))        e = 1e-12: a row of zeros has loss 1, as torch's cosine_embedding_loss
//   dx[n]   = (x * x.t / (x.x + e) - t) / sqrt((x.x + e) (t.t + e)) * inv_count[loss] * scale
//
// What DistilBERT's hidden states are held by (Sanh et al. 2019, arXiv:1910.01108).

#include "ops/loss/match_rows.h"

#define LEAST 1e-12

static double match_cost(const double *x, const double *t, int64_t n)
{
    double xt = 0, xx = LEAST, tt = LEAST;
    for (int64_t c = 0; c < n; c++)
        xt += x[c] * t[c], xx += x[c] * x[c], tt += t[c] * t[c];
    return 1 - xt / sqrt(xx * tt);
}

static match_line match_made_of(const match_sums *s, int64_t n)
{
    (void)n;
    const double xx = s->xx + LEAST, inv = 1 / sqrt(xx * (s->tt + LEAST));
    return (match_line){ .loss = (float)(1 - s->xt * inv), .a = (float)(s->xt / xx * inv), .b = (float)-inv };
}

HS_OP(row_cosine) = { .name = "row_cosine", .formula = "loss = 1 - cos(x, teacher)", .paper = "arXiv:1910.01108", MATCH_ENTRY };

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_row_cosine(hs_graph *g, hs_tensor *x, hs_tensor *teacher, hs_match_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(row_cosine), &attr, (hs_tensor *[]){ x, teacher }, 2);
}
#endif

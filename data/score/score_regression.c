// score_regression: numbers against numbers, as scipy and scikit-learn score them.
#include "data/score/score.h"
#include "data/score/score_rank.h"
#include <math.h>
#include <stdlib.h>

enum { PEARSON, SPEARMAN, MSE, RMSE, MAE, R2, RESULTS };
static const char *const names[RESULTS] = { "pearson", "spearman", "mse", "rmse", "mae", "r2" };

typedef struct column {
    double *gold, *pred, *gold_rank, *pred_rank; // [n]
    hs_ranked *order;                            // [n]
} column;

static void read_column(const hs_regression_input *in, int k, const column *c)
{
    const int64_t gold_stride = in->gold_stride ? in->gold_stride : in->width, pred_stride = in->pred_stride ? in->pred_stride : in->width;
    for (int64_t i = 0; i < in->n; i++) {
        const int64_t at = in->draw ? in->draw[i] : i;
        c->gold[i] = in->gold[at * gold_stride + k];
        c->pred[i] = in->pred[at * pred_stride + k];
    }
}

static void rank_all(const double *v, int64_t n, hs_ranked *order, double *rank)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = (hs_ranked){ v[i], i };
    hs_mean_ranks(order, n, rank);
}

static void score_column(const column *c, int64_t n, double result[RESULTS])
{
    double sum = 0, spread = 0, squares = 0, distances = 0;
    bool flat = true;
    for (int64_t i = 0; i < n; i++)
        sum += c->gold[i], flat = flat && c->gold[i] == c->gold[0];
    for (int64_t i = 0; i < n; i++) {
        const double d = c->gold[i] - c->pred[i], off = c->gold[i] - sum / (double)n;
        squares += d * d, distances += fabs(d), spread += off * off;
    }
    rank_all(c->gold, n, c->order, c->gold_rank);
    rank_all(c->pred, n, c->order, c->pred_rank);
    result[PEARSON] = hs_pearson(c->gold, c->pred, n);
    result[SPEARMAN] = hs_pearson(c->gold_rank, c->pred_rank, n);
    result[MSE] = squares / (double)n;
    result[RMSE] = sqrt(result[MSE]);
    result[MAE] = distances / (double)n;
    // scikit-learn: constant targets are explained wholly or not at all
    result[R2] = n < 2 ? NAN : !flat ? 1 - squares / spread : squares == 0 ? 1 : 0;
}

hs_status hs_score_regression(const hs_regression_input *in, hs_scores *out)
{
    *out = (hs_scores){ .scorer = "scipy and scikit-learn" };
    if (in->n < 1 || in->width < 1)
        return HS_FAIL(USAGE, "nothing to score: %lld rows of %d numbers", (long long)in->n, in->width);
    const size_t n = (size_t)in->n;
    double *room = malloc(n * (4 * sizeof *room + sizeof(hs_ranked)));
    if (!room)
        return HS_FAIL(MEMORY, "no memory for %lld rows in order", (long long)in->n);
    const column c = { room, room + n, room + 2 * n, room + 3 * n, (hs_ranked *)(void *)(room + 4 * n) };
    double sum[RESULTS] = { 0 };
    for (int k = 0; k < in->width; k++) {
        double result[RESULTS];
        read_column(in, k, &c);
        score_column(&c, in->n, result);
        for (int r = 0; r < RESULTS; r++)
            sum[r] += result[r];
    }
    free(room);
    for (int r = 0; r < RESULTS; r++)
        hs_scores_add(out, names[r], sum[r] / in->width);
    return HS_OK;
}

// viterbi: one walk forward for the best path (Viterbi 1967), and one there and back for probabilities (Baum et al. 1970).
#include "infer/heads/viterbi.h"
#include <math.h>
#include <stdlib.h>

typedef struct walk {
    const hs_chain *c;
    const float *x;
    int64_t cols, n;
    const int32_t *row;
    double *ahead, *back; // [n][labels] sums of paths up to a tag, without what is behind it; from behind a tag to the end
    int32_t *from;        // [n][labels] the tag before, on the best path to this one
} walk;

static double emission(const walk *w, int64_t t, int j) { return (double)w->x[w->row[t] * w->cols + j]; }
static double step(const walk *w, int i, int j) { return (double)w->c->next[i * w->c->labels + j]; }

static double log_sum(const double *v, int n)
{
    double most = v[0], sum = 0;
    for (int i = 1; i < n; i++)
        most = fmax(most, v[i]);
    if (isinf(most))
        return most;
    for (int i = 0; i < n; i++)
        sum += exp(v[i] - most);
    return most + log(sum);
}

static void best_path(walk *w, int32_t *tag)
{
    const int L = w->c->labels;
    double *score = w->ahead;
    for (int j = 0; j < L; j++)
        score[j] = (double)w->c->first[j] + emission(w, 0, j);
    for (int64_t t = 1; t < w->n; t++)
        for (int j = 0; j < L; j++) {
            const double *before = score + (t - 1) * L;
            int best = 0;
            for (int i = 1; i < L; i++)
                if (before[i] + step(w, i, j) > before[best] + step(w, best, j))
                    best = i;
            w->from[t * L + j] = best;
            score[t * L + j] = before[best] + step(w, best, j) + emission(w, t, j);
        }
    const double *end = score + (w->n - 1) * L;
    int best = 0;
    for (int j = 1; j < L; j++)
        if (end[j] + (double)w->c->last[j] > end[best] + (double)w->c->last[best])
            best = j;
    for (int64_t t = w->n - 1; t >= 0; best = w->from[t * L + best], t--)
        tag[t] = best;
}

static void probabilities(walk *w, const int32_t *tag, float *p, double *v)
{
    const int L = w->c->labels;
    for (int j = 0; j < L; j++) {
        w->ahead[j] = (double)w->c->first[j] + emission(w, 0, j);
        w->back[(w->n - 1) * L + j] = (double)w->c->last[j];
    }
    for (int64_t t = 1; t < w->n; t++)
        for (int j = 0; j < L; j++) {
            for (int i = 0; i < L; i++)
                v[i] = w->ahead[(t - 1) * L + i] + step(w, i, j);
            w->ahead[t * L + j] = log_sum(v, L) + emission(w, t, j);
        }
    for (int64_t t = w->n - 2; t >= 0; t--)
        for (int i = 0; i < L; i++) {
            for (int j = 0; j < L; j++)
                v[j] = step(w, i, j) + emission(w, t + 1, j) + w->back[(t + 1) * L + j];
            w->back[t * L + i] = log_sum(v, L);
        }
    for (int64_t t = 0; t < w->n; t++) {
        for (int j = 0; j < L; j++)
            v[j] = w->ahead[t * L + j] + w->back[t * L + j];
        p[t] = (float)exp(v[tag[t]] - log_sum(v, L));
    }
}

hs_status hs_viterbi(const hs_chain *c, const float *x, int64_t cols, const int32_t *row, int64_t n, int32_t *tag, float *p)
{
    const size_t cells = (size_t)n * (size_t)c->labels;
    if (n == 0)
        return HS_OK;
    walk w = { .c = c, .x = x, .cols = cols, .n = n, .row = row };
    double *block = malloc((2 * cells + (size_t)c->labels) * sizeof *block);
    w.from = calloc(cells, sizeof *w.from);
    const hs_status st = block && w.from ? HS_OK : HS_FAIL(MEMORY, "no memory for a chain of %lld tags", (long long)n);
    if (st == HS_OK) {
        w.ahead = block, w.back = block + cells;
        best_path(&w, tag);
        if (p)
            probabilities(&w, tag, p, block + 2 * cells);
    }
    free(block);
    free(w.from);
    return st;
}

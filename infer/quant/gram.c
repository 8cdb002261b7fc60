#include "infer/quant/gram.h"
#include "core/cpu/rows.h"
#include "infer/quant/products.h"
#include <stdlib.h>

enum { WIDE = 96 };

hs_status hs_gram_new(hs_gram **out, int64_t n)
{
    *out = NULL;
    if (n < 1)
        return HS_FAIL(USAGE, "X^T X of %lld columns", (long long)n);
    hs_gram *g = calloc(1, sizeof *g);
    float *sum = calloc((size_t)n * (size_t)n, sizeof *sum);
    if (!g || !sum) {
        free(g);
        free(sum);
        return HS_FAIL(MEMORY, "no memory for X^T X of %lld columns", (long long)n);
    }
    *g = (hs_gram){ n, 0, sum };
    *out = g;
    return HS_OK;
}

void hs_gram_free(hs_gram *g)
{
    if (!g)
        return;
    free(g->sum);
    free(g);
}

// By strips of WIDE rows of G: the part of a strip's square that is under the diagonal is computed for nothing, and not read.
void hs_gram_add(hs_gram *g, const float *x, int64_t rows)
{
    const hs_quant_products *p = hs_quant_products_best();
    const int64_t n = g->n;
    for (int64_t i = 0; i < n; i += WIDE)
        p->f32(g->sum + i * n + i, n, x + i, 1, n, x + i, n, n - i < WIDE ? n - i : WIDE, n - i, rows, 1);
    g->rows += (uint64_t)rows;
}

hs_status hs_gram_merge(hs_gram *g, const hs_gram *from)
{
    if (g->n != from->n)
        return HS_FAIL(USAGE, "X^T X of %lld and %lld columns", (long long)g->n, (long long)from->n);
    HS_SIMD
    for (int64_t i = 0; i < g->n * g->n; i++)
        g->sum[i] += from->sum[i];
    g->rows += from->rows;
    return HS_OK;
}

// d G d^T of the symmetric G from its upper triangle: twice what is above the diagonal, once what is on it.
static double quadratic(const hs_gram *g, const float *d, const float *upper)
{
    double sum = 0;
    HS_SIMD_SUM(sum)
    for (int64_t i = 0; i < g->n; i++)
        sum += (double)d[i] * (2 * (double)upper[i] - (double)d[i] * (double)g->sum[i * g->n + i]);
    return sum;
}

double hs_gram_error(const hs_gram *g, const float *d, int64_t out, float *work)
{
    const hs_quant_products *p = hs_quant_products_best();
    const int64_t n = g->n;
    double sum = 0;
    for (int64_t r = 0; r < out; r += HS_GRAM_ROWS) {
        const int64_t m = out - r < HS_GRAM_ROWS ? out - r : HS_GRAM_ROWS;
        memset(work, 0, (size_t)(m * n) * sizeof *work);
        for (int64_t k = 0; k < n;
             k += WIDE) { // d times rows [k, k + WIDE) of the triangle: its square by hand, what is behind as a product
            const int64_t w = n - k < WIDE ? n - k : WIDE;
            for (int64_t i = 0; i < m; i++)
                for (int64_t kk = k; kk < k + w; kk++)
                    for (int64_t j = kk; j < k + w; j++)
                        work[i * n + j] += d[(r + i) * n + kk] * g->sum[kk * n + j];
            p->f32(work + k + w, n, d + r * n + k, n, 1, g->sum + k * n + k + w, n, m, n - k - w, w, 1);
        }
        for (int64_t i = 0; i < m; i++)
            sum += quadratic(g, d + (r + i) * n, work + i * n);
    }
    return g->rows ? sum / (double)g->rows : 0;
}

// factor: by blocks of columns from the last to the first, so that nearly all of it is products.
#include "infer/quant/factor.h"
#include "core/cpu/rows.h"
#include "infer/quant/products.h"
#include <math.h>
#include <string.h>

enum { BLOCK = HS_FACTOR_BLOCK };
static const double LEAST_PIVOT = 1e-10;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    HS_SIMD_SUM(sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

// Rows of block columns [j0, j1): R from H, of which columns behind j1 are subtracted already. was: the diagonal of H itself.
static bool factor_columns(double *h, int64_t n, int64_t j0, int64_t j1, const double *was)
{
    for (int64_t j = j1 - 1; j >= j0; j--) {
        double *row = h + j * n;
        const double pivot = row[j] - dot(row + j + 1, row + j + 1, j1 - j - 1);
        if (!(pivot > LEAST_PIVOT * was[j]))
            return false;
        row[j] = sqrt(pivot);
        for (int64_t i = 0; i < j; i++)
            h[i * n + j] = (h[i * n + j] - dot(h + i * n + j + 1, row + j + 1, j1 - j - 1)) / row[j];
    }
    return true;
}

// H -= R R^T of those columns, in the triangle before them.
static void subtract(double *h, int64_t n, int64_t j0, int64_t j1, double *across)
{
    const hs_quant_products *p = hs_quant_products_best();
    for (int64_t i = 0; i < j0; i++)
        for (int64_t j = j0; j < j1; j++)
            across[(j - j0) * j0 + i] = h[i * n + j];
    for (int64_t i = 0; i < j0; i += BLOCK)
        p->f64(h + i * n + i, n, h + i * n + j0, n, 1, across + i, j0, j0 - i < BLOCK ? j0 - i : BLOCK, j0 - i, j1 - j0, -1);
}

static bool factor(double *h, int64_t n, double *work, const double *was)
{
    for (int64_t j1 = n; j1 > 0;) {
        const int64_t j0 = (j1 - 1) / BLOCK * BLOCK;
        if (!factor_columns(h, n, j0, j1, was))
            return false;
        subtract(h, n, j0, j1, work);
        j1 = j0;
    }
    return true;
}

// U_II = R_II^-1, in place: column by column, each from what is known of those before.
static void invert_block(double *h, int64_t n, int64_t i0, int64_t i1)
{
    for (int64_t j = i0; j < i1; j++) {
        h[j * n + j] = 1 / h[j * n + j];
        for (int64_t i = i0; i < j; i++) { // rows of U are final from the left on: U_ij = -(sum over i <= k < j of U_ik R_kj) U_jj
            double sum = 0;
            for (int64_t k = i; k < j; k++)
                sum += h[i * n + k] * h[k * n + j];
            h[i * n + j] = sum; // R_ij is still needed by no row under it
        }
        for (int64_t i = i0; i < j; i++)
            h[i * n + j] *= -h[j * n + j];
    }
}

// Row of blocks I, from the last to the first: U_IK = -U_II sum over I < J <= K of R_IJ U_JK.
static void invert(double *h, int64_t n, double *work)
{
    const hs_quant_products *p = hs_quant_products_best();
    for (int64_t i0 = (n - 1) / BLOCK * BLOCK; i0 >= 0; i0 -= BLOCK) {
        const int64_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n, m = i1 - i0, behind = n - i1;
        double square[BLOCK * BLOCK] = { 0 };
        memset(work, 0, (size_t)(m * behind) * sizeof *work);
        invert_block(h, n, i0, i1);
        for (int64_t i = 0; i < m; i++)
            memcpy(square + i * BLOCK + i, h + (i0 + i) * n + i0 + i, (size_t)(m - i) * sizeof *square);
        for (int64_t j = i1; j < n; j += BLOCK) { // R_IJ times row J of U, of which the square on the diagonal has more than a triangle
            const int64_t w = n - j < BLOCK ? n - j : BLOCK;
            double triangle[BLOCK * BLOCK] = { 0 };
            for (int64_t k = 0; k < w; k++)
                memcpy(triangle + k * BLOCK + k, h + (j + k) * n + j + k, (size_t)(w - k) * sizeof *triangle);
            p->f64(work + (j - i1), behind, h + i0 * n + j, n, 1, triangle, BLOCK, m, w, w, 1);
            p->f64(work + (j + w - i1), behind, h + i0 * n + j, n, 1, h + j * n + j + w, n, m, n - j - w, w, 1);
        }
        for (int64_t i = i0; i < i1; i++)
            memset(h + i * n + i1, 0, (size_t)behind * sizeof *h);
        p->f64(h + i0 * n + i1, n, square, BLOCK, 1, work, behind, m, behind, m, -1);
    }
}

bool hs_inverse_factor(double *h, int64_t n, double *work)
{
    double *was = work + n * BLOCK;
    for (int64_t j = 0; j < n; j++)
        was[j] = h[j * n + j];
    if (!factor(h, n, work, was))
        return false;
    invert(h, n, work);
    return true;
}

#include "infer/quant/awq.h"
#include "core/cpu/rows.h"
#include "infer/quant/round.h"
#include <math.h>
#include <stdlib.h>

enum { GRID = 20, CLIPS = 10 };

typedef struct work {
    hs_coding c;
    int64_t rows, cols, group;
    const float *given, *x_mean;
    const hs_gram *g;
    hs_awq_opts opts;
    const char *name;
    void *codes, *scales;
    float *s, *best;   // [cols]: at hand, and the best so far
    float *v;          // [cols]: mean of |w| over its group's largest
    float *w, *values; // [rows][cols]: W s, maybe cut off; what its codes stand for, over s, and off by
    float *product;    // [HS_GRAM_ROWS][cols]
} work;

// ---- scales

static float largest(const float *w, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(w[i]));
    return most;
}

static hs_status weigh(const work *k)
{
    double *sum = calloc((size_t)k->cols, sizeof *sum);
    if (!sum)
        return HS_FAIL(MEMORY, "no memory for %lld columns", (long long)k->cols);
    for (int64_t at = 0; at < k->rows * k->cols; at += k->group) {
        const float most = largest(k->given + at, k->group) + 1e-6f;
        for (int64_t i = at; i < at + k->group; i++)
            sum[i % k->cols] += (double)(fabsf(k->given[i]) / most);
    }
    for (int64_t j = 0; j < k->cols; j++)
        k->v[j] = (float)(sum[j] / (double)k->rows);
    free(sum);
    return HS_OK;
}

static void scales_of(const work *k, double r)
{
    double least = INFINITY, most = 0;
    for (int64_t j = 0; j < k->cols; j++)
        if (k->x_mean[j] > 0) {
            const double s = fmax(pow((double)k->x_mean[j], r) / (pow((double)k->v[j], 1 - r) + 1e-4), 1e-4);
            k->s[j] = (float)s;
            least = fmin(least, s), most = fmax(most, s);
        }
    for (int64_t j = 0; j < k->cols; j++)
        k->s[j] = k->x_mean[j] > 0 ? (float)((double)k->s[j] / sqrt(least * most)) : 1;
}

static void scaled(const work *k, const float *s)
{
    for (int64_t r = 0; r < k->rows; r++)
        for (int64_t j = 0; j < k->cols; j++)
            k->w[r * k->cols + j] = k->given[r * k->cols + j] * s[j];
}

// The error of outputs with the codes of k->w.
static hs_status rounded(const work *k, const float *s, double *error)
{
    HS_TRY(hs_round_weights(k->c, k->w, k->rows, k->cols, k->opts.search, k->name, k->codes, k->scales));
    hs_coded_values(k->c, k->codes, k->scales, k->rows, k->cols, k->values);
    for (int64_t r = 0; r < k->rows; r++)
        for (int64_t j = 0; j < k->cols; j++)
            k->values[r * k->cols + j] = k->given[r * k->cols + j] - k->values[r * k->cols + j] / s[j];
    *error = hs_gram_error(k->g, k->values, k->rows, k->product);
    return HS_OK;
}

static hs_status find_scales(work *k, hs_awq_report *r)
{
    for (int64_t j = 0; j < k->cols; j++)
        k->best[j] = 1;
    scaled(k, k->best);
    HS_TRY(rounded(k, k->best, &r->plain));
    r->error = r->plain, r->ratio = -1;
    if (!k->opts.scales)
        return HS_OK;
    HS_TRY(weigh(k));
    for (int i = 0; i < GRID; i++) {
        double error;
        scales_of(k, (double)i / GRID);
        scaled(k, k->s);
        HS_TRY(rounded(k, k->s, &error));
        if (error < r->error) {
            r->error = error, r->ratio = (double)i / GRID;
            memcpy(k->best, k->s, (size_t)k->cols * sizeof *k->s);
        }
    }
    return HS_OK;
}

// ---- cutting off

// G of one block's own inputs, which are x / s.
static void square_of(const work *k, int64_t first, float square[HS_CODE_BLOCK][HS_CODE_BLOCK])
{
    for (int i = 0; i < HS_CODE_BLOCK; i++)
        for (int j = 0; j < HS_CODE_BLOCK; j++)
            square[i][j] = hs_gram_at(k->g, first + i, first + j) / (k->best[first + i] * k->best[first + j]);
}

static float block_error(hs_coding c, const float *w, const float *cut, float scale, float square[HS_CODE_BLOCK][HS_CODE_BLOCK])
{
    float d[HS_CODE_BLOCK], sum = 0;
    HS_SIMD
    for (int i = 0; i < HS_CODE_BLOCK; i++)
        d[i] = w[i] - hs_round_code(c, cut[i], scale) * scale;
    for (int i = 0; i < HS_CODE_BLOCK; i++) {
        float over = 0;
        HS_SIMD_SUM(over)
        for (int j = 0; j < HS_CODE_BLOCK; j++)
            over += square[i][j] * d[j];
        sum += d[i] * over;
    }
    return sum;
}

// The block of W s at w is cut off where that is better.
static bool cut_block(const work *k, float *w, int64_t first)
{
    float square[HS_CODE_BLOCK][HS_CODE_BLOCK], cut[HS_CODE_BLOCK], least = INFINITY, kept = 0;
    const float most = largest(w, HS_CODE_BLOCK);
    square_of(k, first, square);
    for (int i = 0; i < CLIPS; i++) {
        const float limit = most * (1 - (float)i / GRID);
        for (int j = 0; j < HS_CODE_BLOCK; j++)
            cut[j] = fminf(fmaxf(w[j], -limit), limit);
        const float error = block_error(k->c, w, cut, hs_round_scale(k->c, cut, HS_CODE_BLOCK, k->opts.search), square);
        if (error < least)
            least = error, kept = limit;
    }
    for (int j = 0; j < HS_CODE_BLOCK; j++)
        w[j] = fminf(fmaxf(w[j], -kept), kept);
    return kept < most;
}

static hs_status find_clips(work *k, hs_awq_report *r)
{
    double error;
    int64_t clipped = 0;
    scaled(k, k->best);
    if (!k->opts.clip || k->group == k->cols)
        return rounded(k, k->best, &error);
    for (int64_t at = 0; at < k->rows * k->cols; at += HS_CODE_BLOCK)
        clipped += cut_block(k, k->w + at, at % k->cols);
    HS_TRY(rounded(k, k->best, &error));
    if (error < r->error) {
        r->error = error, r->clipped = clipped;
        return HS_OK;
    }
    scaled(k, k->best);
    return rounded(k, k->best, &error);
}

static hs_status check(const work *k)
{
    if (k->g->n != k->cols)
        return HS_FAIL(USAGE, "%s has %lld columns, X^T X %lld", k->name, (long long)k->cols, (long long)k->g->n);
    if (k->g->rows == 0)
        return HS_FAIL(USAGE, "%s: nothing that it multiplies was seen in the calibration data", k->name);
    return hs_round_check(k->c, k->given, k->rows, k->cols, k->name);
}

hs_status hs_awq(hs_coding c, const float *w, int64_t rows, int64_t cols, const hs_gram *g, const float *x_mean, const hs_awq_opts *o,
                 const char *name, float *s, void *codes, void *scales, hs_awq_report *report)
{
    const size_t n = (size_t)cols, cells = n * (size_t)rows;
    work k = { .c = c,
               .rows = rows,
               .cols = cols,
               .group = hs_round_group(c, cols),
               .given = w,
               .x_mean = x_mean,
               .g = g,
               .opts = *o,
               .name = name,
               .codes = codes,
               .scales = scales,
               .best = s };
    hs_awq_report r = { 0 };
    HS_TRY(check(&k));
    float *block = malloc((2 * cells + 2 * n + HS_GRAM_ROWS * n) * sizeof *block);
    if (!block)
        return HS_FAIL(MEMORY, "no memory to round %s of %lld x %lld", name, (long long)rows, (long long)cols);
    k.w = block, k.values = block + cells, k.s = block + 2 * cells, k.v = k.s + n, k.product = k.v + n;
    hs_status st = find_scales(&k, &r);
    if (st == HS_OK)
        st = find_clips(&k, &r);
    free(block);
    if (report)
        *report = r;
    return st;
}

#include "infer/quant/gptq.h"
#include "core/cpu/rows.h"
#include "infer/quant/factor.h"
#include "infer/quant/products.h"
#include "infer/quant/round.h"
#include <math.h>
#include <stdlib.h>

enum { BLOCK = 128 };

typedef struct work {
    hs_coding c;
    int64_t rows, cols, group;
    const float *given; // W
    const hs_gram *g;
    hs_gptq_opts opts;
    void *codes, *scales;
    int64_t *order; // [cols]: the column that is the j-th
    double *h;      // [cols][cols]
    float *u;       // the same, of what h became
    float *w, *off; // [rows][cols]: columns in their order, as they are by now; [rows][BLOCK] errors of a block
    float *scale;   // [rows][groups], where scales do not wait for their columns
    double *factor;
} work;

static bool dead(const work *k, int64_t j) { return hs_gram_at(k->g, j, j) <= 0; }

// ---- H and its factor

typedef struct ranked {
    float size;
    int64_t at;
} ranked;
static int falling(const void *a, const void *b) // of equals the first first
{
    const ranked *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size ? 1 : -1) : (x->at > y->at) - (x->at < y->at);
}

static hs_status settle_order(work *k)
{
    ranked *r = malloc((size_t)k->cols * sizeof *r);
    if (!r)
        return HS_FAIL(MEMORY, "no memory to order %lld columns", (long long)k->cols);
    for (int64_t j = 0; j < k->cols; j++)
        r[j] = (ranked){ hs_gram_at(k->g, j, j), j };
    if (k->opts.order)
        qsort(r, (size_t)k->cols, sizeof *r, falling);
    for (int64_t j = 0; j < k->cols; j++)
        k->order[j] = r[j].at;
    free(r);
    return HS_OK;
}

static void lay_h(work *k, double damp)
{
    const int64_t n = k->cols;
    double mean = 0;
    for (int64_t j = 0; j < n; j++)
        mean += (double)hs_gram_at(k->g, j, j) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i; j < n; j++)
            k->h[i * n + j] = (double)hs_gram_at(k->g, k->order[i], k->order[j]);
        k->h[i * n + i] = dead(k, k->order[i]) ? 1 : k->h[i * n + i] + damp * mean;
    }
}

static hs_status find_u(work *k, double *damp, const char *name)
{
    const int64_t n = k->cols;
    for (*damp = k->opts.damp;; *damp = fmin(*damp * 10, 1)) {
        lay_h(k, *damp);
        if (hs_inverse_factor(k->h, n, k->factor))
            break;
        if (*damp >= 1)
            return HS_FAIL(NONFINITE, "%s: X^T X of the calibration data is no number, or not positive definite with any damping", name);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++)
            k->u[i * n + j] = (float)k->h[i * n + j];
    return HS_OK;
}

// ---- columns

// Scales that do not wait for their columns: of rows, and of blocks whose columns are met in another order.
static void scales_of_given(const work *k)
{
    const int64_t groups = k->cols / k->group;
    for (int64_t r = 0; r < k->rows; r++)
        for (int64_t b = 0; b < groups; b++) {
            const float s = hs_round_scale(k->c, k->given + r * k->cols + b * k->group, k->group, k->opts.search);
            k->scale[r * groups + b] = s;
            hs_round_put_scale(k->c, k->scales, r * groups + b, s);
        }
}

// Row r in columns [j0, j1) of a block, one after the other.
static void round_row(const work *k, int64_t r, int64_t j0, int64_t j1, bool waiting)
{
    const int64_t n = k->cols, groups = n / k->group;
    float *w = k->w + r * n, *off = k->off + r * BLOCK, scale = 0;
    for (int64_t j = j0; j < j1; j++) {
        const int64_t at = k->order[j];
        const float *u = k->u + j * n;
        if (!waiting)
            scale = k->scale[r * groups + at / k->group];
        else if (j % k->group == 0) {
            scale = hs_round_scale(k->c, w + j, k->group, k->opts.search);
            hs_round_put_scale(k->c, k->scales, r * groups + j / k->group, scale);
        }
        const float code = hs_round_code(k->c, w[j], scale), e = dead(k, at) ? 0 : (w[j] - code * scale) / u[j];
        hs_round_put_code(k->c, k->codes, r * n + at, (int)code);
        off[j - j0] = e;
        HS_SIMD
        for (int64_t i = j + 1; i < j1; i++)
            w[i] -= e * u[i];
    }
}

static void round_columns(const work *k)
{
    const hs_quant_products *p = hs_quant_products_best();
    const int64_t n = k->cols;
    const bool waiting = k->group < n && !k->opts.order;
    if (!waiting)
        scales_of_given(k);
    for (int64_t r = 0; r < k->rows; r++)
        for (int64_t j = 0; j < n; j++)
            k->w[r * n + j] = k->given[r * n + k->order[j]];
    for (int64_t j0 = 0; j0 < n; j0 += BLOCK) {
        const int64_t j1 = n - j0 < BLOCK ? n : j0 + BLOCK;
        for (int64_t r = 0; r < k->rows; r++)
            round_row(k, r, j0, j1, waiting);
        p->f32(k->w + j1, n, k->off, BLOCK, 1, k->u + j0 * n + j1, n, k->rows, n - j1, j1 - j0, -1);
    }
}

// ---- what came of it

static double error_of(const work *k, const void *codes, const void *scales)
{
    const int64_t cells = k->rows * k->cols;
    hs_coded_values(k->c, codes, scales, k->rows, k->cols, k->w);
    HS_SIMD
    for (int64_t i = 0; i < cells; i++)
        k->w[i] = k->given[i] - k->w[i];
    return hs_gram_error(k->g, k->w, k->rows, (float *)k->h);
}

static hs_status compare(const work *k, const char *name, hs_gptq_report *r)
{
    const int64_t groups = k->cols / k->group;
    const size_t code_bytes = (size_t)(k->rows * k->cols) / (k->c == HS_CODING_I4_BLOCKS ? 2 : 1);
    const size_t scale_bytes = (size_t)(k->rows * groups) * (k->group < k->cols ? sizeof(uint16_t) : sizeof(float));
    void *codes = calloc(code_bytes, 1), *scales = malloc(scale_bytes);
    hs_status st = codes && scales ? HS_OK : HS_FAIL(MEMORY, "no memory for the codes of %s", name);
    if (st == HS_OK)
        st = hs_round_weights(k->c, k->given, k->rows, k->cols, k->opts.search, name, codes, scales);
    if (st == HS_OK) {
        r->error = error_of(k, k->codes, k->scales), r->plain = error_of(k, codes, scales);
        r->kept = r->error <= r->plain;
        if (!r->kept) {
            memcpy(k->codes, codes, code_bytes), memcpy(k->scales, scales, scale_bytes);
            r->error = r->plain;
        }
    }
    free(codes);
    free(scales);
    return st;
}

static hs_status take_memory(work *k, const char *name)
{
    const size_t n = (size_t)k->cols, rows = (size_t)k->rows, work_rows = HS_GRAM_ROWS;
    k->order = malloc(n * sizeof *k->order);
    k->h = malloc((n > work_rows ? n : work_rows) * n * sizeof *k->h); // error_of takes rows of it, too
    k->u = malloc(n * n * sizeof *k->u);
    k->w = malloc(rows * n * sizeof *k->w);
    k->off = malloc(rows * BLOCK * sizeof *k->off);
    k->scale = malloc(rows * (n / (size_t)k->group) * sizeof *k->scale);
    k->factor = malloc(n * HS_FACTOR_WORK * sizeof *k->factor);
    if (!k->order || !k->h || !k->u || !k->w || !k->off || !k->scale || !k->factor)
        return HS_FAIL(MEMORY, "no memory to round %s of %lld x %lld", name, (long long)k->rows, (long long)k->cols);
    return HS_OK;
}

static hs_status check(const work *k, const char *name)
{
    if (k->g->n != k->cols)
        return HS_FAIL(USAGE, "%s has %lld columns, X^T X %lld", name, (long long)k->cols, (long long)k->g->n);
    if (k->g->rows == 0)
        return HS_FAIL(USAGE, "%s: nothing that it multiplies was seen in the calibration data", name);
    if (!(k->opts.damp > 0 && k->opts.damp <= 1))
        return HS_FAIL(USAGE, "damp is %g, allowed above 0 to 1", k->opts.damp);
    return hs_round_check(k->c, k->given, k->rows, k->cols, name);
}

hs_status hs_gptq(hs_coding c, const float *w, int64_t rows, int64_t cols, const hs_gram *g, const hs_gptq_opts *o, const char *name,
                  void *codes, void *scales, hs_gptq_report *report)
{
    work k = { .c = c,
               .rows = rows,
               .cols = cols,
               .group = hs_round_group(c, cols),
               .given = w,
               .g = g,
               .opts = *o,
               .codes = codes,
               .scales = scales };
    hs_gptq_report r = { 0 };
    HS_TRY(check(&k, name));
    hs_status st = take_memory(&k, name);
    if (st == HS_OK)
        st = settle_order(&k);
    if (st == HS_OK)
        st = find_u(&k, &r.damp, name);
    if (st == HS_OK) {
        for (int64_t j = 0; j < cols; j++)
            r.dead += dead(&k, j);
        round_columns(&k);
        st = compare(&k, name, &r);
    }
    void *all[] = { k.order, k.h, k.u, k.w, k.off, k.scale, k.factor };
    for (int i = 0; i < HS_COUNT(all); i++)
        free(all[i]);
    if (report)
        *report = r;
    return st;
}

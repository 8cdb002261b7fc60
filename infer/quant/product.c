// product: k-means over the blocks of a matrix.
#include "infer/quant/product.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct clusters { // of one matrix while they are looked for
    const float *w;
    int64_t n; // blocks
    hs_product *p;
    int64_t count[HS_PRODUCT_MOST];
    double *sum; // [centroids][block]
    double square[HS_PRODUCT_MOST];
    double *turned; // [block][HS_PRODUCT_MOST]: centroids, element by element
    uint64_t seed;
} clusters;

static hs_status check(const float *w, int64_t rows, int64_t cols, const hs_product_opts *o)
{
    if (o->block < 1 || cols % o->block)
        return HS_FAIL(USAGE, "blocks of %d do not divide a width of %lld", o->block, (long long)cols);
    if (o->centroids < 2 || o->centroids > HS_PRODUCT_MOST)
        return HS_FAIL(USAGE, "%d centroids; 2 to %d are possible", o->centroids, HS_PRODUCT_MOST);
    if (o->iterations < 1 || rows < 1 || cols < 1)
        return HS_FAIL(USAGE, "%d iterations over %lld x %lld values", o->iterations, (long long)rows, (long long)cols);
    for (int64_t i = 0; i < rows * cols; i++)
        if (!isfinite(w[i]))
            return HS_FAIL(NONFINITE, "row %lld, column %lld is %g", (long long)(i / cols), (long long)(i % cols), (double)w[i]);
    return HS_OK;
}

// ---- one step

static void know_squares(clusters *c)
{
    const int d = c->p->block;
    for (int k = 0; k < c->p->centroids; k++) {
        c->square[k] = 0;
        for (int j = 0; j < d; j++)
            c->square[k] += 0.5 * (double)c->p->centroid[k * d + j] * (double)c->p->centroid[k * d + j];
    }
}

// |x - c|^2 / 2 without what all have alike: |c|^2 / 2 - x c
static double far(const clusters *c, int64_t b, int k)
{
    const int d = c->p->block;
    const float *x = c->w + b * d, *to = c->p->centroid + (size_t)k * (size_t)d;
    double dot = 0;
    for (int j = 0; j < d; j++)
        dot += (double)x[j] * (double)to[j];
    return c->square[k] - dot;
}

// far() of all centroids at once: each one's products are added in the order of elements.
static void all_far(const clusters *c, int64_t b, double to[HS_PRODUCT_MOST])
{
    memset(to, 0, HS_PRODUCT_MOST * sizeof *to);
    for (int j = 0; j < c->p->block; j++) {
        const double x = (double)c->w[b * c->p->block + j], *of = c->turned + j * HS_PRODUCT_MOST;
        for (int k = 0; k < HS_PRODUCT_MOST; k++)
            to[k] += x * of[k];
    }
    for (int k = 0; k < HS_PRODUCT_MOST; k++)
        to[k] = c->square[k] - to[k];
}

static void assign(clusters *c)
{
    double to[HS_PRODUCT_MOST];
    memset(c->count, 0, sizeof c->count);
    know_squares(c);
    for (int k = 0; k < c->p->centroids; k++)
        for (int j = 0; j < c->p->block; j++)
            c->turned[j * HS_PRODUCT_MOST + k] = (double)c->p->centroid[k * c->p->block + j];
    for (int64_t b = 0; b < c->n; b++) {
        int nearest = 0;
        all_far(c, b, to);
        for (int k = 1; k < c->p->centroids; k++)
            nearest = to[k] < to[nearest] ? k : nearest;
        c->p->index[b] = (uint8_t)nearest, c->count[nearest]++;
    }
}

static void means(clusters *c)
{
    const int d = c->p->block;
    memset(c->sum, 0, sizeof *c->sum * (size_t)(c->p->centroids * d));
    for (int64_t b = 0; b < c->n; b++)
        for (int j = 0; j < d; j++)
            c->sum[c->p->index[b] * d + j] += (double)c->w[b * d + j];
    for (int k = 0; k < c->p->centroids; k++)
        for (int j = 0; j < d && c->count[k]; j++)
            c->p->centroid[k * d + j] = (float)(c->sum[k * d + j] / (double)c->count[k]);
}

// ---- empty ones

static int fullest(const clusters *c)
{
    int most = 0;
    for (int k = 1; k < c->p->centroids; k++)
        most = c->count[k] > c->count[most] ? k : most;
    return most;
}

// Blocks of `from` that are nearer to `to` go there. Where all blocks are one and the same none moves, and none need.
static void deal(clusters *c, int from, int to)
{
    know_squares(c);
    for (int64_t b = 0; b < c->n; b++)
        if (c->p->index[b] == from && far(c, b, to) < far(c, b, from))
            c->p->index[b] = (uint8_t)to, c->count[from]--, c->count[to]++;
}

static void split(clusters *c, int empty)
{
    const int from = fullest(c), d = c->p->block;
    float step[64];
    if (c->count[from] < 2)
        return;
    for (int j = 0; j < d; j++) {
        if (j % 64 == 0)
            hs_random_normal(step, d - j < 64 ? d - j : 64, hs_mix2(c->seed, (uint64_t)++c->p->splits), j, 0, 1e-6f);
        const float mean = c->p->centroid[from * d + j], by = step[j % 64] * (1 + fabsf(mean));
        c->p->centroid[empty * d + j] = mean + by, c->p->centroid[from * d + j] = mean - by;
    }
    deal(c, from, empty);
}

static void fill_empty(clusters *c)
{
    for (int k = 0; k < c->p->centroids; k++)
        if (!c->count[k])
            split(c, k);
}

// ---- the whole

static double square_to(const float *x, const float *c, int d)
{
    double sum = 0;
    for (int j = 0; j < d; j++)
        sum += pow((double)x[j] - (double)c[j], 2);
    return sum;
}

// k-means++ (Arthur and Vassilvitskii 2007): each is a block drawn by the square of its distance to those before. Where that is 0 of all
// there are no more different ones.
static void begin(clusters *c, double *least)
{
    const int d = c->p->block;
    for (int64_t b = 0; b < c->n; b++)
        least[b] = 1;
    for (int k = 0; k < c->p->centroids; k++) {
        const hs_u32x4 r = hs_random(c->seed, (uint32_t)k, 0, 0, 0);
        double all = 0, upto = 0;
        for (int64_t b = 0; b < c->n; b++)
            all += least[b];
        int64_t at = 0;
        for (const double want = hs_u32_unit(r.v[0]) * all; at < c->n - 1 && (upto += least[at]) < want;)
            at++;
        float *own = memcpy(c->p->centroid + k * d, c->w + at * d, sizeof(float) * (size_t)d);
        for (int64_t b = 0; b < c->n; b++) {
            const double to = square_to(c->w + b * d, own, d);
            least[b] = k == 0 || to < least[b] ? to : least[b];
        }
    }
}

static double error_of(const clusters *c)
{
    const int d = c->p->block;
    double off = 0, all = 0;
    for (int64_t i = 0; i < c->n * d; i++) {
        const double x = (double)c->w[i], e = x - (double)c->p->centroid[c->p->index[i / d] * d + i % d];
        off += e * e, all += x * x;
    }
    return all > 0 ? sqrt(off / all) : 0;
}

hs_status hs_product_new(hs_product **out, const float *w, int64_t rows, int64_t cols, const hs_product_opts *o)
{
    *out = NULL;
    HS_TRY(check(w, rows, cols, o));
    clusters c = { .w = w, .n = rows * cols / o->block, .p = calloc(1, sizeof *c.p), .seed = o->seed };
    double *least = NULL; // of each block the square of its distance to what has begun
    const int k = c.n < o->centroids ? (int)c.n : o->centroids;
    if (c.p) {
        *c.p = (hs_product){ .rows = rows, .cols = cols, .block = o->block, .centroids = k };
        c.p->centroid = calloc((size_t)k * (size_t)o->block, sizeof(float)), c.p->index = calloc((size_t)c.n, 1);
        c.turned = calloc((size_t)o->block * HS_PRODUCT_MOST, sizeof *c.turned);
        c.sum = calloc((size_t)k * (size_t)o->block, sizeof *c.sum), least = calloc((size_t)c.n, sizeof *least);
    }
    if (!c.p || !c.p->centroid || !c.p->index || !c.sum || !c.turned || !least) {
        free(c.sum);
        free(c.turned);
        free(least);
        hs_product_free(c.p);
        return HS_FAIL(MEMORY, "no memory for %d centroids of %lld x %lld values", k, (long long)rows, (long long)cols);
    }
    begin(&c, least);
    free(least);
    for (int i = 0; i < o->iterations; i++) {
        assign(&c);
        fill_empty(&c);
        means(&c);
    }
    assign(&c);
    c.p->error = error_of(&c);
    free(c.sum);
    free(c.turned);
    *out = c.p;
    return HS_OK;
}

void hs_product_free(hs_product *p)
{
    if (!p)
        return;
    free(p->centroid);
    free(p->index);
    free(p);
}

void hs_product_values(const hs_product *p, float *values)
{
    for (int64_t b = 0; b < p->rows * p->cols / p->block; b++)
        memcpy(values + b * p->block, p->centroid + p->index[b] * p->block, sizeof(float) * (size_t)p->block);
}

double hs_product_bytes(int64_t rows, int64_t cols, int block, int centroids)
{
    return ceil(log2(centroids)) / 8 * (double)(rows * cols / block) + 2.0 * block * centroids;
}

// permute: see the header. Pruning 2:4 keeps most where large values do not meet in one group of four (Pool and Yu, NeurIPS 2021).
#include "infer/prune/permute.h"
#include "core/base/rng.h"
#include "infer/prune/channel_pairs.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANES = 16,  // sums side by side, added in order: the same on every machine
    SWEEPS = 10, // over all pairs, at most
    DRAWN = 32,  // pairs for each group, where there are too many for sweeps
};

typedef struct search {
    float *size; // |w|, column after column, each `stride` long
    int64_t stride;
    int64_t *to; // order of the columns so far
} search;

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

// What four columns keep: of each row the two largest.
static double keeps(const search *s, const int64_t c[4])
{
    const float *a = s->size + c[0] * s->stride, *b = s->size + c[1] * s->stride, *d = s->size + c[2] * s->stride,
                *e = s->size + c[3] * s->stride;
    float sum[LANES] = { 0 };
    double all = 0;
    for (int64_t i = 0; i < s->stride; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const float high = larger(a[i + l], b[i + l]), low = smaller(a[i + l], b[i + l]), high2 = larger(d[i + l], e[i + l]),
                        low2 = smaller(d[i + l], e[i + l]);
            sum[l] += larger(high, high2) + larger(smaller(high, high2), larger(low, low2));
        }
    for (int l = 0; l < LANES; l++)
        all += (double)sum[l];
    return all;
}

// Deals the columns of two groups anew; false: as they are is best.
static bool deal(search *s, int64_t g, int64_t h)
{
    int64_t column[8], best[8];
    double most = 0;
    memcpy(column, s->to + 4 * g, 4 * sizeof *column), memcpy(column + 4, s->to + 4 * h, 4 * sizeof *column);
    const double before = keeps(s, column) + keeps(s, column + 4);
    for (int bits = 1; bits < 256; bits += 2) { // the first column always in the first group
        int64_t two[2][4];
        int n[2] = { 0 };
        for (int j = 0; j < 8; j++) {
            const int side = !(bits >> j & 1);
            if (n[side] < 4)
                two[side][n[side]] = column[j];
            n[side]++;
        }
        if (n[0] != 4)
            continue;
        const double kept = keeps(s, two[0]) + keeps(s, two[1]);
        if (kept > most)
            most = kept, memcpy(best, two, sizeof best);
    }
    if (!(most > before * (1 + 1e-9)))
        return false;
    memcpy(s->to + 4 * g, best, 4 * sizeof *best), memcpy(s->to + 4 * h, best + 4, 4 * sizeof *best);
    return true;
}

static void sweep(search *s, int64_t first, int64_t groups)
{
    for (int turn = 0; turn < SWEEPS; turn++) {
        bool any = false;
        for (int64_t g = 0; g < groups; g++)
            for (int64_t h = g + 1; h < groups; h++)
                any |= deal(s, first + g, first + h);
        if (!any)
            break;
    }
}

static void draw(search *s, int64_t first, int64_t groups)
{
    for (int64_t i = 0; i < DRAWN * groups; i++) {
        const hs_u32x4 r = hs_random(0x2004, (uint32_t)i, (uint32_t)first, 0, 0);
        const int64_t g = r.v[0] % groups, h = (g + 1 + r.v[1] % (groups - 1)) % groups;
        deal(s, first + g, first + h);
    }
}

hs_status hs_permute_columns(const float *w, int64_t rows, int64_t cols, int64_t block, int64_t *to)
{
    search s = { .stride = (rows + LANES - 1) / LANES * LANES, .to = to };
    s.size = calloc((size_t)(s.stride * cols), sizeof *s.size);
    if (!s.size)
        return HS_FAIL(MEMORY, "no memory to permute %lld columns", (long long)cols);
    for (int64_t c = 0; c < cols; c++) {
        to[c] = c;
        for (int64_t r = 0; r < rows; r++)
            s.size[c * s.stride + r] = fabsf(w[r * cols + c]);
    }
    const int64_t groups = block / 4;
    for (int64_t b = 0; block % 4 == 0 && b < cols / block; b++)
        if (groups <= 2 * DRAWN + 1)
            sweep(&s, b * groups, groups);
        else
            draw(&s, b * groups, groups);
    free(s.size);
    return HS_OK;
}

// ---- of a model

static float *values(const hs_params *ps, const hs_param *p, int64_t *n)
{
    *n = hs_param_elements(p);
    float *w = malloc((size_t)*n * sizeof *w);
    if (w)
        hs_params_export(ps, ps->master, p, w);
    return w;
}

// Lines of `bytes` each: line j becomes what line to[j] was.
static void move_lines(float *w, int64_t n, int64_t width, const int64_t *to, float *room)
{
    memcpy(room, w, (size_t)(n * width) * sizeof *w);
    for (int64_t j = 0; j < n; j++)
        memcpy(w + j * width, room + to[j] * width, (size_t)width * sizeof *w);
}

// Rows of one part, in that order; a bias is rows of one.
static hs_status move_rows(hs_params *ps, const hs_param *p, int part, const int64_t *to, int64_t n)
{
    int64_t all;
    const int64_t width = p->n_dims > 1 ? hs_param_cols(p) : 1;
    float *w = values(ps, p, &all), *room = w ? malloc((size_t)(n * width) * sizeof *room) : NULL;
    if (room)
        move_lines(w + part * n * width, n, width, to, room);
    const hs_status st = room ? hs_params_import(ps, ps->master, p, w) : HS_FAIL(MEMORY, "no memory to permute %s", p->name);
    free(w), free(room);
    return st;
}

static hs_status move_columns(hs_params *ps, const hs_param *p, float *w, int64_t rows, const int64_t *to, int64_t n)
{
    float *room = malloc((size_t)n * sizeof *room);
    if (!room)
        return HS_FAIL(MEMORY, "no memory to permute %s", p->name);
    for (int64_t r = 0; r < rows; r++)
        move_lines(w + r * n, n, 1, to, room);
    free(room);
    return hs_params_import(ps, ps->master, p, w);
}

static hs_status permute(hs_params *ps, const hs_channel_pair *p)
{
    int64_t all, *to = malloc((size_t)p->n * sizeof *to);
    float *w = values(ps, p->to, &all);
    hs_status st =
        to && w ? hs_permute_columns(w, all / p->n, p->n, p->block, to) : HS_FAIL(MEMORY, "no memory to permute %s", p->to->name);
    if (st == HS_OK)
        st = move_columns(ps, p->to, w, all / p->n, to, p->n);
    if (st == HS_OK)
        st = move_rows(ps, p->from, p->part, to, p->n);
    if (st == HS_OK && p->bias)
        st = move_rows(ps, p->bias, p->part, to, p->n);
    free(to), free(w);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_prune_permute(hs_export_model *m, const hs_graph *g, const bool *chosen, int *n)
{
    hs_channel_pair *pair;
    int all;
    *n = 0;
    hs_status st = hs_channel_pairs(g, &pair, &all);
    for (int i = 0; i < all && st == HS_OK; i++)
        if (chosen[pair[i].to->id])
            st = permute(m->params, &pair[i]), ++*n;
    free(pair);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

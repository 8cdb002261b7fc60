// histogram: a pass for range and finiteness, then one that counts. Bins are computed for a block at a time, which vectorises, and counted
// in four copies by turns: values crowd near zero, and a counter that was just written costs the store's latency.
#include "infer/quant/histogram.h"
#include "core/base/dtype.h"
#include "core/cpu/rows.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 2048, COPIES = 4 };
static const int64_t PIECE = (int64_t)1 << 31; // values before a copy of a counter might overflow

hs_status hs_histogram_new(hs_histogram **out, int64_t channels)
{
    hs_histogram *h = calloc(1, sizeof *h);
    *out = h;
    if (h) {
        h->n_bins = h->room = HS_HISTOGRAM_BINS, h->channels = channels;
        h->bin = calloc(HS_HISTOGRAM_BINS, sizeof *h->bin);
        h->scratch = calloc(COPIES * HS_HISTOGRAM_BINS, sizeof *h->scratch);
        h->channel_sum = calloc((size_t)channels + 1, sizeof *h->channel_sum);
        h->channel_max = calloc((size_t)channels + 1, sizeof *h->channel_max);
        if (h->bin && h->scratch && h->channel_sum && h->channel_max)
            return HS_OK;
    }
    hs_histogram_free(h);
    *out = NULL;
    return HS_FAIL(MEMORY, "no memory for a histogram of %lld channels", (long long)channels);
}

void hs_histogram_free(hs_histogram *h)
{
    if (!h)
        return;
    free(h->bin);
    free(h->scratch);
    free(h->channel_sum);
    free(h->channel_max);
    free(h);
}

float hs_histogram_most(const hs_histogram *h) { return fmaxf(-h->lowest, h->highest); }

// ---- room: widths and bins

static hs_status make_room(hs_histogram *h, int n)
{
    if (n <= h->room)
        return HS_OK;
    uint64_t *bin = realloc(h->bin, (size_t)n * sizeof *bin);
    if (bin)
        h->bin = bin;
    uint32_t *scratch = realloc(h->scratch, (size_t)n * COPIES * sizeof *scratch);
    if (scratch)
        h->scratch = scratch;
    if (!bin || !scratch)
        return HS_FAIL(MEMORY, "no memory for a histogram of %d bins", n);
    memset(bin + h->room, 0, (size_t)(n - h->room) * sizeof *bin);
    memset(scratch, 0, (size_t)n * COPIES * sizeof *scratch);
    h->room = n;
    return HS_OK;
}

static void join_neighbours(hs_histogram *h)
{
    const int n = (h->n_bins + 1) / 2;
    for (int i = 0; i < n; i++)
        h->bin[i] = h->bin[2 * i] + (2 * i + 1 < h->n_bins ? h->bin[2 * i + 1] : 0);
    memset(h->bin + n, 0, (size_t)(h->n_bins - n) * sizeof *h->bin);
    h->n_bins = n, h->width *= 2;
}

// Bins up to `most`, which is not 0. |x| / w of two f32, one of them times a power of two, is exact where it is an integer.
static hs_status reach(hs_histogram *h, float most)
{
    if (h->width == 0)
        h->width = (double)most / HS_HISTOGRAM_BINS;
    while (ceil((double)most / h->width) > HS_HISTOGRAM_MOST)
        join_neighbours(h);
    const int n = (int)ceil((double)most / h->width);
    HS_TRY(make_room(h, n));
    h->n_bins = n > h->n_bins ? n : h->n_bins;
    return HS_OK;
}

// ---- a batch

typedef struct range {
    int32_t most; // of the bits of |x|, which are in the order of the values; from Inf on: not finite
    float lowest, highest;
} range;

static range range_of(const float *x, int64_t n)
{
    int32_t most = 0;
    float lowest = x[0], highest = x[0];
    HS_SIMD_PRAGMA(omp simd reduction(max : most, highest) reduction(min : lowest))
    for (int64_t i = 0; i < n; i++) {
        const int32_t bits = (int32_t)(hs_f32_bits(x[i]) & 0x7FFFFFFFu);
        most = bits > most ? bits : most;
        lowest = x[i] < lowest ? x[i] : lowest;
        highest = x[i] > highest ? x[i] : highest;
    }
    return (range){ most, lowest, highest };
}

static hs_status not_finite(const float *x, int64_t cols, const char *name)
{
    int64_t i = 0;
    while (isfinite(x[i]))
        i++;
    return HS_FAIL(NONFINITE, "%s: %s in row %lld, column %lld of a calibration batch", name, isnan(x[i]) ? "NaN" : "Inf",
                   (long long)(i / cols), (long long)(i % cols));
}

// Multiplying by slightly more than 1 / w is exact, too: |x| / w = a / b 2^k of 24-bit integers a and b lies at least 2^-24 / b from the
// next integer if it is none, which is far more than 2^-50 of it below 2^15; and what is one is not missed.
static void bins_of(const float *restrict x, int n, double by, int last, int32_t *restrict to)
{
    HS_SIMD
    for (int i = 0; i < n; i++) {
        const int32_t b = (int32_t)((double)fabsf(x[i]) * by);
        to[i] = b < last ? b : last;
    }
}

static void count(hs_histogram *h, const float *x, int64_t n)
{
    const int bins = h->n_bins;
    const double by = h->width > 0 ? 1 / h->width * (1 + 0x1p-50) : 0;
    uint32_t *at[COPIES] = { h->scratch, h->scratch + bins, h->scratch + 2 * bins, h->scratch + 3 * bins };
    int32_t b[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int m = (int)(n - i < BLOCK ? n - i : BLOCK);
        bins_of(x + i, m, by, bins - 1, b);
        int j = 0;
        for (; j + COPIES <= m; j += COPIES)
            for (int c = 0; c < COPIES; c++)
                at[c][b[j + c]]++;
        for (; j < m; j++)
            at[0][b[j]]++;
    }
    for (int i = 0; i < bins; i++)
        h->bin[i] += (uint64_t)at[0][i] + at[1][i] + at[2][i] + at[3][i];
    memset(h->scratch, 0, (size_t)bins * COPIES * sizeof *h->scratch);
}

static void by_channel(hs_histogram *h, const float *x, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++, x += h->channels) {
        HS_SIMD
        for (int64_t c = 0; c < h->channels; c++) {
            const float a = fabsf(x[c]);
            h->channel_sum[c] += (double)a;
            h->channel_max[c] = a > h->channel_max[c] ? a : h->channel_max[c];
        }
    }
    h->rows += (uint64_t)rows;
}

hs_status hs_histogram_add(hs_histogram *h, const float *x, int64_t rows, int64_t cols, const char *name)
{
    const int64_t n = rows * cols;
    if (h->channels && cols != h->channels)
        return HS_FAIL(USAGE, "%s: rows of %lld values, expected %lld channels", name, (long long)cols, (long long)h->channels);
    if (n == 0)
        return HS_OK;
    const range r = range_of(x, n);
    if (r.most >= 0x7F800000)
        return not_finite(x, cols, name);
    if (r.most)
        HS_TRY(reach(h, hs_bits_f32((uint32_t)r.most)));
    for (int64_t i = 0; i < n; i += PIECE)
        count(h, x + i, n - i < PIECE ? n - i : PIECE);
    if (h->channels)
        by_channel(h, x, rows);
    h->lowest = h->count ? fminf(h->lowest, r.lowest) : r.lowest;
    h->highest = h->count ? fmaxf(h->highest, r.highest) : r.highest;
    h->count += (uint64_t)n;
    return HS_OK;
}

// ---- two into one

// Another's bins, of no larger a width than ours.
static void take_bins(hs_histogram *h, const hs_histogram *from)
{
    const double ratio = h->width > 0 ? from->width / h->width : 1;
    for (int i = 0; i < from->n_bins; i++) {
        const int at = (int)(((double)i + 0.5) * ratio);
        h->bin[at < h->n_bins ? at : h->n_bins - 1] += from->bin[i];
    }
}

static hs_status widen(hs_histogram *h, double width)
{
    hs_histogram *wide;
    HS_TRY(hs_histogram_new(&wide, 0));
    wide->width = width;
    const hs_status st = reach(wide, hs_histogram_most(h));
    if (st == HS_OK) {
        take_bins(wide, h);
        uint64_t *bin = h->bin;
        uint32_t *scratch = h->scratch;
        h->bin = wide->bin, h->scratch = wide->scratch, h->room = wide->room, h->n_bins = wide->n_bins, h->width = wide->width;
        wide->bin = bin, wide->scratch = scratch;
    }
    hs_histogram_free(wide);
    return st;
}

hs_status hs_histogram_merge(hs_histogram *h, const hs_histogram *from)
{
    if (h->channels != from->channels)
        return HS_FAIL(USAGE, "histograms of %lld and %lld channels", (long long)h->channels, (long long)from->channels);
    if (from->count == 0)
        return HS_OK;
    if (h->width > 0 && from->width > h->width)
        HS_TRY(widen(h, from->width));
    h->width = h->width > 0 ? h->width : from->width;
    if (from->width > 0)
        HS_TRY(reach(h, hs_histogram_most(from)));
    take_bins(h, from);
    for (int64_t c = 0; c < h->channels; c++) {
        h->channel_sum[c] += from->channel_sum[c];
        h->channel_max[c] = fmaxf(h->channel_max[c], from->channel_max[c]);
    }
    h->lowest = h->count ? fminf(h->lowest, from->lowest) : from->lowest;
    h->highest = h->count ? fmaxf(h->highest, from->highest) : from->highest;
    h->rows += from->rows;
    h->count += from->count;
    return HS_OK;
}

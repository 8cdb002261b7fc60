// Calibration: every method against TensorRT's and ONNX Runtime's algorithms on fixed histograms (tests/golden/calibrate.json, by
// scripts/gen_golden_calibrate.py), to the bin; histograms counted in one pass, merged, bounded, and what is not a number.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "infer/quant/calibrate.h"
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static json_t *golden(void)
{
    json_error_t e;
    json_t *all = json_load_file(HS_TESTS_DIR "/golden/calibrate.json", 0, &e);
    assert_non_null(all);
    return all;
}

// "12 0*30 5" into bins of width 1.
static hs_histogram *histogram_of(const char *text)
{
    hs_histogram *h;
    assert_int_equal(hs_histogram_new(&h, 0), HS_OK);
    free(h->bin);
    h->bin = calloc(8192, sizeof *h->bin);
    h->n_bins = 0;
    for (char *end = (char *)(uintptr_t)text; *end;) {
        const uint64_t count = strtoull(end, &end, 10);
        const long times = *end == '*' ? strtol(end + 1, &end, 10) : 1;
        for (long i = 0; i < times; i++) {
            h->bin[h->n_bins++] = count;
            h->count += count;
        }
    }
    h->width = 1;
    h->highest = (float)h->n_bins;
    return h;
}

static float amax_by(const hs_histogram *h, hs_calib_method m, double percentile)
{
    float amax = -1;
    assert_int_equal(hs_calibrate(h, m, percentile, "x", &amax), HS_OK);
    return amax;
}

static void against_golden(void **state)
{
    (void)state;
    json_t *all = golden(), *one;
    size_t i;
    json_array_foreach(json_object_get(all, "histograms"), i, one)
    {
        hs_histogram *h = histogram_of(json_string_value(json_object_get(one, "bins")));
        const json_t *entropy = json_object_get(one, "entropy"), *mse = json_object_get(one, "mse");
        const char *percentile;
        json_t *found;
        json_object_foreach(json_object_get(one, "percentile"), percentile, found)
            assert_float_equal(amax_by(h, HS_CALIB_PERCENTILE, atof(percentile)), (double)json_integer_value(found), 0);
        if (json_is_integer(entropy))
            assert_float_equal(amax_by(h, HS_CALIB_ENTROPY, 0), (double)json_integer_value(entropy), 0);
        if (json_is_integer(mse))
            assert_float_equal(amax_by(h, HS_CALIB_MSE, 0), (double)json_integer_value(mse) + 0.5, 0);
        assert_float_equal(amax_by(h, HS_CALIB_MAX, 0), h->n_bins, 0);
        hs_histogram_free(h);
    }
    assert_true(i >= 15);
    json_decref(all);
}

// What bins cannot say.
static void few_bins(void **state)
{
    (void)state;
    float amax;
    hs_histogram *h = histogram_of("3 1 0 2"), *zeros, *none;
    for (int m = 0; m < HS_N_CALIB; m++)
        assert_float_equal(amax_by(h, (hs_calib_method)m, 100), m == HS_CALIB_PERCENTILE ? 3 : 4, 0);
    assert_float_equal(amax_by(h, HS_CALIB_PERCENTILE, 10), 1, 0); // in the first bin: not 0
    hs_histogram_free(h);
    h = histogram_of("5 0*200"); // bin 0 counts as many as bin 1: none at all
    assert_float_equal(amax_by(h, HS_CALIB_ENTROPY, 0), 201, 0);
    for (int i = 0; i < 3; i++) {
        const double wrong[] = { 0, 100.1, (double)NAN };
        assert_int_equal(hs_calibrate(h, HS_CALIB_PERCENTILE, wrong[i], "x", &amax), HS_USAGE);
    }
    hs_histogram_free(h);
    assert_int_equal(hs_histogram_new(&zeros, 0), HS_OK);
    assert_int_equal(hs_histogram_add(zeros, (float[3]){ 0, -0.0f, 0 }, 1, 3, "x"), HS_OK);
    assert_int_equal(hs_histogram_new(&none, 0), HS_OK);
    for (int m = 0; m < HS_N_CALIB; m++) {
        assert_float_equal(amax_by(zeros, (hs_calib_method)m, 99), 0, 0);
        assert_int_equal(hs_calibrate(none, (hs_calib_method)m, 99, "layers.0.out", &amax), HS_USAGE);
        assert_string_equal(hs_error(), "layers.0.out: no values to calibrate from");
    }
    assert_float_equal(hs_int8_scale(0), 1, 0);
    assert_float_equal(hs_int8_scale(127), 1, 0);
    hs_histogram_free(zeros);
    hs_histogram_free(none);
}

// ---- counting

static bool same(const hs_histogram *a, const hs_histogram *b)
{
    return a->width == b->width && a->n_bins == b->n_bins && a->count == b->count && a->lowest == b->lowest && a->highest == b->highest &&
           memcmp(a->bin, b->bin, (size_t)a->n_bins * sizeof *a->bin) == 0;
}

static uint64_t total(const hs_histogram *h)
{
    uint64_t n = 0;
    for (int i = 0; i < h->n_bins; i++)
        n += h->bin[i];
    return n;
}

static void streamed_golden(void **state)
{
    (void)state;
    json_t *all = golden(), *streamed = json_object_get(all, "streamed"), *batch;
    hs_histogram *h, *want = histogram_of(json_string_value(json_object_get(streamed, "bins")));
    assert_int_equal(hs_histogram_new(&h, 0), HS_OK);
    uint32_t bits = 1;
    size_t b;
    json_array_foreach(json_object_get(streamed, "batches"), b, batch)
    {
        const int64_t n = json_integer_value(json_array_get(batch, 0));
        const float most = (float)json_number_value(json_array_get(batch, 1));
        float *x = malloc((size_t)n * sizeof *x);
        for (int64_t k = 0; k < n; k++) {
            bits = bits * 1664525u + 1013904223u;
            const float u = (float)(bits >> 8) * 0x1p-24f;
            x[k] = u * u * u * most * (bits & 128 ? 1.0f : -1.0f);
        }
        assert_int_equal(hs_histogram_add(h, x, n / 100, 100, "x"), HS_OK);
        free(x);
    }
    assert_true(h->width == json_real_value(json_object_get(streamed, "width")));
    assert_int_equal(h->n_bins, want->n_bins);
    assert_true(h->n_bins > HS_HISTOGRAM_BINS);
    assert_int_equal(h->count, want->count);
    assert_memory_equal(h->bin, want->bin, (size_t)h->n_bins * sizeof *h->bin);
    hs_histogram_free(h);
    hs_histogram_free(want);
    json_decref(all);
}

// Values on edges, where a product by 1 / w may round to either side: w = 49 / 2,048, and 49 (1 / 49) < 1 in f64.
static void edges(void **state)
{
    (void)state;
    enum { N = 12 * HS_HISTOGRAM_BINS };
    float *x = malloc((N + 1) * sizeof *x);
    hs_histogram *h;
    assert_int_equal(hs_histogram_new(&h, 0), HS_OK);
    assert_int_equal(hs_histogram_add(h, (float[1]){ -49 }, 1, 1, "x"), HS_OK);
    for (int i = 0; i <= N; i++)
        x[i] = (float)i * (49.0f / 2048);
    assert_int_equal(hs_histogram_add(h, x, 1, N + 1, "x"), HS_OK);
    assert_int_equal(h->n_bins, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(h->bin[i], 1u + (i == HS_HISTOGRAM_BINS - 1) + (i == N - 1));
    for (int i = 0; i <= N; i++)
        x[i] = nextafterf(x[i], 0);
    assert_int_equal(hs_histogram_add(h, x + 1, 1, N, "x"), HS_OK);
    for (int i = 0; i < N; i++)
        assert_int_equal(h->bin[i], 2u + (i == HS_HISTOGRAM_BINS - 1) + (i == N - 1));
    hs_histogram_free(h);
    free(x);
}

static void begins_with_zeros(void **state)
{
    (void)state;
    float zeros[64] = { 0 }, x[64];
    hs_histogram *h, *one;
    hs_random_normal(x, 64, 3, 0, 0, 1);
    assert_int_equal(hs_histogram_new(&h, 0), HS_OK);
    assert_int_equal(hs_histogram_new(&one, 0), HS_OK);
    assert_int_equal(hs_histogram_add(h, zeros, 0, 64, "x"), HS_OK); // no rows
    assert_int_equal(h->count, 0);
    assert_int_equal(hs_histogram_add(h, zeros, 1, 64, "x"), HS_OK);
    assert_int_equal(hs_histogram_add(h, x, 1, 64, "x"), HS_OK);
    assert_int_equal(hs_histogram_add(one, x, 1, 64, "x"), HS_OK);
    assert_int_equal(hs_histogram_add(one, zeros, 1, 64, "x"), HS_OK);
    assert_true(same(h, one));
    assert_int_equal(total(h), 128);
    hs_histogram_free(h);
    assert_int_equal(hs_histogram_new(&h, 0), HS_OK);
    assert_int_equal(hs_histogram_add(h, (float[1]){ -2.5f }, 1, 1, "x"), HS_OK); // one value
    assert_int_equal(h->bin[HS_HISTOGRAM_BINS - 1], 1);
    for (int m = 0; m < HS_N_CALIB; m++) { // the lower edge, or the centre, of the one bin there is
        const float amax = amax_by(h, (hs_calib_method)m, 50);
        assert_true(amax <= 2.5f && amax >= 2.5f * 0.99f);
    }
    hs_histogram_free(h);
    hs_histogram_free(one);
}

// An outlier of 10^9 times the first batch, then of f32's largest: no value is lost, and memory stays.
static void bounded(void **state)
{
    (void)state;
    float x[512];
    hs_histogram *h;
    hs_random_normal(x, 512, 3, 0, 0, 1);
    assert_int_equal(hs_histogram_new(&h, 0), HS_OK);
    assert_int_equal(hs_histogram_add(h, x, 8, 64, "x"), HS_OK);
    const float most = hs_histogram_most(h);
    assert_int_equal(hs_histogram_add(h, (float[1]){ most * 15.5f }, 1, 1, "x"), HS_OK);
    assert_true(h->width == (double)most / HS_HISTOGRAM_BINS && h->n_bins > 15 * HS_HISTOGRAM_BINS);
    for (int i = 0; i < 2; i++) {
        const float far = i ? -3.4028235e38f : 1e9f;
        assert_int_equal(hs_histogram_add(h, &far, 1, 1, "x"), HS_OK);
        assert_true(h->n_bins > HS_HISTOGRAM_MOST / 2 && h->n_bins <= HS_HISTOGRAM_MOST && h->room <= HS_HISTOGRAM_MOST);
        assert_int_equal(total(h), 514 + i);
        assert_int_equal(h->bin[h->n_bins - 1], 1);
        assert_true((double)h->n_bins * h->width >= (double)fabsf(far) && (double)(h->n_bins - 1) * h->width <= (double)fabsf(far));
        for (int m = 0; m < HS_N_CALIB; m++)
            assert_true(isfinite(amax_by(h, (hs_calib_method)m, 99.99)));
    }
    hs_histogram_free(h);
}

static void not_finite(void **state)
{
    (void)state;
    float x[40];
    hs_histogram *h;
    for (int i = 0; i < 40; i++)
        x[i] = (float)i;
    assert_int_equal(hs_histogram_new(&h, 0), HS_OK);
    x[23] = (float)NAN;
    x[31] = -(float)INFINITY;
    assert_int_equal(hs_histogram_add(h, x, 4, 10, "layers.3.ffn.gelu"), HS_NONFINITE);
    assert_string_equal(hs_error(), "layers.3.ffn.gelu: NaN in row 2, column 3 of a calibration batch");
    x[23] = 0;
    assert_int_equal(hs_histogram_add(h, x, 4, 10, "y"), HS_NONFINITE);
    assert_string_equal(hs_error(), "y: Inf in row 3, column 1 of a calibration batch");
    assert_int_equal(h->count, 0);
    assert_int_equal(total(h), 0);
    hs_histogram_free(h);
}

static void channels(void **state)
{
    (void)state;
    enum { ROWS = 50, COLS = 21 };
    float x[ROWS * COLS];
    hs_histogram *h;
    hs_random_normal(x, ROWS * COLS, 4, 0, 0, 1);
    assert_int_equal(hs_histogram_new(&h, COLS), HS_OK);
    assert_int_equal(hs_histogram_add(h, x, 20, COLS, "x"), HS_OK);
    assert_int_equal(hs_histogram_add(h, x + 20 * COLS, ROWS - 20, COLS, "x"), HS_OK);
    assert_int_equal(hs_histogram_add(h, x, 3, COLS + 1, "x"), HS_USAGE);
    assert_string_equal(hs_error(), "x: rows of 22 values, expected 21 channels");
    assert_int_equal(h->rows, ROWS);
    for (int c = 0; c < COLS; c++) {
        double sum = 0, most = 0;
        for (int r = 0; r < ROWS; r++) {
            sum += fabs((double)x[r * COLS + c]);
            most = fmax(most, fabs((double)x[r * COLS + c]));
        }
        assert_true(fabs(h->channel_sum[c] - sum) < 1e-12 && (double)h->channel_max[c] == most);
    }
    hs_histogram_free(h);
}

static hs_histogram *of(const float *x, int64_t rows, int64_t cols, bool by_channel)
{
    hs_histogram *h;
    assert_int_equal(hs_histogram_new(&h, by_channel ? cols : 0), HS_OK);
    assert_int_equal(hs_histogram_add(h, x, rows, cols, "x"), HS_OK);
    return h;
}

static void merged(void **state)
{
    (void)state;
    enum { ROWS = 64, COLS = 32, N = ROWS * COLS };
    float x[2 * N], zeros[N] = { 0 };
    hs_random_normal(x, 2 * N, 8, 0, 0, 1);
    x[5] = 20; // in the first half, so that it gives the width
    // Both began with the same row: as if one had seen all.
    hs_histogram *all = of(x, 2 * ROWS, COLS, true), *a = of(x, ROWS, COLS, true), *b = of(x, 1, COLS, true), *first = of(x, 1, COLS, true);
    assert_int_equal(hs_histogram_add(b, x + N, ROWS, COLS, "x"), HS_OK);
    assert_int_equal(hs_histogram_add(all, x, 1, COLS, "x"), HS_OK);
    assert_int_equal(hs_histogram_merge(a, b), HS_OK);
    assert_true(same(a, all));
    for (int c = 0; c < COLS; c++)
        assert_true(a->channel_max[c] == all->channel_max[c] && fabs(a->channel_sum[c] - all->channel_sum[c]) < 1e-10);
    assert_int_equal(a->rows, all->rows);
    hs_histogram_free(b);
    // Of other widths, either way round: every value within a bin of where it belongs.
    hs_histogram *half = of(x + N, ROWS, COLS, true);
    assert_true(half->width < first->width);
    const double wide = first->width;
    for (int way = 0; way < 2; way++) {
        hs_histogram *to = of(way ? x : x + N, ROWS, COLS, true), *from = of(way ? x + N : x, ROWS, COLS, true),
                     *both = of(x, 2 * ROWS, COLS, true);
        assert_int_equal(hs_histogram_merge(to, from), HS_OK);
        assert_true(to->width == wide && to->n_bins == both->n_bins);
        assert_int_equal(total(to), 2 * N);
        uint64_t below = 0, truly = 0;
        for (int i = 0; i + 1 < to->n_bins; i++) {
            below += to->bin[i];
            truly += both->bin[i];
            assert_true(below + to->bin[i + 1] >= truly && truly + both->bin[i + 1] >= below);
        }
        hs_histogram_free(to);
        hs_histogram_free(from);
        hs_histogram_free(both);
    }
    // To the centre: 1 lies in bin 1 of both, of which the narrower's begins at 0.75.
    hs_histogram *larger = of((float[1]){ 2048 }, 1, 1, false), *narrow = of((float[2]){ 1536, 1 }, 1, 2, false);
    assert_int_equal(hs_histogram_merge(larger, narrow), HS_OK);
    assert_int_equal(larger->bin[1], 1);
    // With zeros alone, with nothing, with other channels.
    hs_histogram *none, *blank = of(zeros, ROWS, COLS, true), *plain = of(x, 1, 1, false);
    assert_int_equal(hs_histogram_new(&none, COLS), HS_OK);
    assert_int_equal(hs_histogram_merge(blank, half), HS_OK);
    assert_int_equal(hs_histogram_merge(blank, none), HS_OK);
    assert_int_equal(hs_histogram_merge(none, half), HS_OK);
    assert_true(same(none, half));
    assert_int_equal(blank->bin[0], half->bin[0] + N);
    assert_true(blank->width == half->width);
    assert_int_equal(hs_histogram_merge(plain, half), HS_USAGE);
    hs_histogram *list[] = { all, a, first, half, none, blank, plain, larger, narrow };
    for (int i = 0; i < HS_COUNT(list); i++)
        hs_histogram_free(list[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_golden), cmocka_unit_test(few_bins),          cmocka_unit_test(streamed_golden),
        cmocka_unit_test(edges),          cmocka_unit_test(begins_with_zeros), cmocka_unit_test(bounded),
        cmocka_unit_test(not_finite),     cmocka_unit_test(channels),          cmocka_unit_test(merged),
    };
    return cmocka_run_group_tests_name("calibrate", tests, NULL, NULL);
}

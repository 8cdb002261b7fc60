// Weights to codes: by rounding, with a searched scale, by GPTQ and AWQ, and SmoothQuant - against a second version in numpy
// (tests/golden/gptq.json, by scripts/gen_golden_gptq.py), and what each promises: errors of outputs, outputs kept, bad input told.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "infer/quant/awq.h"
#include "infer/quant/factor.h"
#include "infer/quant/gptq.h"
#include "infer/quant/products.h"
#include "infer/quant/round.h"
#include "infer/quant/smooth.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *room(size_t bytes)
{
    void *p = calloc(bytes ? bytes : 1, 1);
    assert_non_null(p);
    return p;
}

// ---- the golden weight

enum { ROWS = 6, COLS = 96, SEEN = 200, DEAD = 37, LOUD = 5, BLOCKS = COLS / HS_CODE_BLOCK };

typedef struct golden {
    float x[SEEN * COLS], w[ROWS * COLS], mean[COLS], most[COLS];
    hs_gram *g;
    json_t *all;
} golden;

static uint32_t state_of_draw;
static int draw(int n)
{
    state_of_draw = state_of_draw * 1664525u + 1013904223u;
    return (int)((state_of_draw >> 8) % (uint32_t)n);
}

static int golden_begin(void **state)
{
    golden *o = *state = room(sizeof *o);
    json_error_t e;
    o->all = json_load_file(HS_TESTS_DIR "/golden/gptq.json", 0, &e);
    assert_non_null(o->all);
    state_of_draw = 1;
    for (int r = 0; r < SEEN; r++) {
        const int common = draw(5) - 2;
        for (int j = 0; j < COLS; j++) {
            const int v = draw(9) - 4 + 3 * common * (j % 5 - 2);
            o->x[r * COLS + j] = (float)(j == DEAD ? 0 : j == LOUD ? 8 * v : v);
            o->mean[j] += fabsf(o->x[r * COLS + j]) / SEEN;
            o->most[j] = fmaxf(o->most[j], fabsf(o->x[r * COLS + j]));
        }
    }
    for (int i = 0; i < ROWS * COLS; i++)
        o->w[i] = (float)(draw(2001) - 1000) / 1024;
    assert_int_equal(hs_gram_new(&o->g, COLS), HS_OK);
    hs_gram_add(o->g, o->x, SEEN);
    return 0;
}

static int golden_end(void **state)
{
    golden *o = *state;
    json_decref(o->all);
    hs_gram_free(o->g);
    free(o);
    return 0;
}

static int code_at(hs_coding c, const void *codes, int64_t at)
{
    if (c == HS_CODING_I4_BLOCKS)
        return (((const uint8_t *)codes)[at / 2] >> at % 2 * 4 & 15) - 8;
    return ((const int8_t *)codes)[at];
}

static double scale_at(hs_coding c, const void *scales, int64_t at)
{
    return c == HS_CODING_I8 ? (double)((const float *)scales)[at] : (double)hs_f16_f32(((const uint16_t *)scales)[at]);
}

static void expect(const golden *o, const char *name, hs_coding c, const void *codes, const void *scales)
{
    const json_t *want = json_object_get(o->all, name), *code = json_object_get(want, "codes"), *scale = json_object_get(want, "scales");
    assert_int_equal(json_array_size(code), ROWS * COLS);
    for (int64_t i = 0; i < ROWS * COLS; i++)
        assert_int_equal(code_at(c, codes, i), json_integer_value(json_array_get(code, (size_t)i)));
    for (size_t i = 0; i < json_array_size(scale); i++)
        assert_float_equal(scale_at(c, scales, (int64_t)i), json_number_value(json_array_get(scale, i)), 1e-7);
}

static void rounding(void **state)
{
    const golden *o = *state;
    int8_t codes[ROWS * COLS];
    float scales[ROWS * BLOCKS];
    memset(codes, 0x55, sizeof codes); // halves of a byte are all written
    assert_int_equal(hs_round_weights(HS_CODING_I8, o->w, ROWS, COLS, false, "w", codes, scales), HS_OK);
    expect(o, "round8", HS_CODING_I8, codes, scales);
    memset(codes, 0x55, sizeof codes);
    assert_int_equal(hs_round_weights(HS_CODING_I4_BLOCKS, o->w, ROWS, COLS, false, "w", codes, scales), HS_OK);
    expect(o, "round4", HS_CODING_I4_BLOCKS, codes, scales);
    assert_int_equal(hs_round_weights(HS_CODING_I4_BLOCKS, o->w, ROWS, COLS, true, "w", codes, scales), HS_OK);
    expect(o, "search4", HS_CODING_I4_BLOCKS, codes, scales);
}

static void gptq_golden(void **state)
{
    const golden *o = *state;
    static const struct {
        const char *name;
        hs_coding c;
        bool order;
    } cases[] = { { "gptq8", HS_CODING_I8, false },
                  { "gptq8order", HS_CODING_I8, true },
                  { "gptq4", HS_CODING_I4_BLOCKS, false },
                  { "gptq4order", HS_CODING_I4_BLOCKS, true } };
    for (int i = 0; i < HS_COUNT(cases); i++) {
        int8_t codes[ROWS * COLS];
        float scales[ROWS * BLOCKS];
        hs_gptq_report r;
        const json_t *want = json_object_get(o->all, cases[i].name);
        const hs_gptq_opts opts = { .damp = 0.01, .order = cases[i].order };
        assert_int_equal(hs_gptq(cases[i].c, o->w, ROWS, COLS, o->g, &opts, "w", codes, scales, &r), HS_OK);
        expect(o, cases[i].name, cases[i].c, codes, scales);
        assert_true(r.kept && r.damp == 0.01 && r.dead == 1);
        assert_float_equal(r.error / json_real_value(json_object_get(want, "error")), 1, 1e-4);
        assert_float_equal(r.plain / json_real_value(json_object_get(want, "plain")), 1, 1e-4);
        assert_true(r.error < 0.5 * r.plain);
    }
}

static void awq_golden(void **state)
{
    const golden *o = *state;
    const json_t *want = json_object_get(o->all, "awq4");
    int8_t codes[ROWS * COLS];
    float s[COLS];
    uint16_t scales[ROWS * BLOCKS];
    hs_awq_report r;
    const hs_awq_opts opts = { .scales = true };
    assert_int_equal(hs_awq(HS_CODING_I4_BLOCKS, o->w, ROWS, COLS, o->g, o->mean, &opts, "w", s, codes, scales, &r), HS_OK);
    assert_float_equal(r.ratio, json_number_value(json_object_get(want, "ratio")), 1e-9);
    assert_float_equal(r.error / json_real_value(json_object_get(want, "error")), 1, 1e-4);
    for (size_t j = 0; j < COLS; j++)
        assert_float_equal((double)s[j] / json_real_value(json_array_get(json_object_get(want, "s"), j)), 1, 1e-5);
    assert_true(s[DEAD] == 1);
}

static void smooth_golden(void **state)
{
    const golden *o = *state;
    float w_most[COLS] = { 0 }, s[COLS];
    hs_smooth_columns(o->w, 2, COLS, w_most); // of weights that share their input
    hs_smooth_columns(o->w + 2 * COLS, ROWS - 2, COLS, w_most);
    hs_smooth_scales(o->most, w_most, COLS, 0.5, s);
    for (size_t j = 0; j < COLS; j++)
        assert_float_equal((double)s[j] / json_real_value(json_array_get(json_object_get(o->all, "smooth"), j)), 1, 1e-6);
}

// s_j = max|x_j|^a / max|W_j|^(1 - a) at other a, and its floors.
static void smooth_by_alpha(void **state)
{
    (void)state;
    const float x_most[4] = { 16, 0.25f, 1e-20f, 4 }, w_most[4] = { 0.5f, 2, 1, 0 };
    float s[4];
    hs_smooth_scales(x_most, w_most, 4, 0.75, s);
    assert_float_equal(s[0], 8 / pow(0.5, 0.25), 1e-5);
    assert_float_equal(s[1], pow(0.25, 0.75) / pow(2, 0.25), 1e-6);
    assert_float_equal(s[2] / 1e-5, 1, 1e-6);
    assert_float_equal(s[3], pow(4, 0.75) / pow(1e-5, 0.25), 1e-3);
    hs_smooth_scales(x_most, w_most, 4, 1, s);
    assert_float_equal(s[0], 16, 1e-6);
    hs_smooth_scales(x_most, w_most, 4, 0, s);
    assert_float_equal(s[0], 2, 1e-6);
}

// ---- rounding

// Each code is the best that its scale has; values survive being rounded again; 8 bits err by half a step at most.
static void nearest(void **state)
{
    (void)state;
    enum { N = 5, IN = 64 };
    float w[N * IN], again[N * IN];
    hs_random_normal(w, N * IN, 3, 0, 0, 1);
    for (int i = 0; i < IN; i++)
        w[2 * IN + i] = 0;
    for (int c = HS_CODING_I8; c < HS_N_CODINGS; c++) {
        int8_t codes[N * IN], second[N * IN];
        float scales[N * IN], third[N * IN];
        const int64_t group = hs_round_group((hs_coding)c, IN);
        assert_int_equal(hs_round_weights((hs_coding)c, w, N, IN, false, "w", codes, scales), HS_OK);
        hs_coded_values((hs_coding)c, codes, scales, N, IN, again);
        for (int i = 0; i < N * IN; i++) {
            const float scale = group == IN ? scales[i / group] : hs_f16_f32(((uint16_t *)scales)[i / group]);
            for (int q = hs_round_least((hs_coding)c); q <= hs_round_most((hs_coding)c); q++)
                assert_true(fabsf(again[i] - w[i]) <= fabsf((float)q * scale - w[i]) + 1e-6f);
            if (c != HS_CODING_I4_BLOCKS)
                assert_true(fabsf(again[i] - w[i]) <= fabsf(scale) * 0.52f);
        }
        for (int i = 0; i < IN; i++)
            assert_true(again[2 * IN + i] == 0);
        assert_int_equal(hs_round_weights((hs_coding)c, again, N, IN, false, "w", second, third), HS_OK);
        if (c == HS_CODING_I8_BLOCKS || c == HS_CODING_I4_BLOCKS)
            assert_memory_equal(codes, second, (size_t)(N * IN) / (c == HS_CODING_I4_BLOCKS ? 2 : 1));
    }
}

static double squares(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static void search_is_never_worse(void **state)
{
    (void)state;
    enum { N = 200, IN = 32 };
    float *w = room(N * IN * sizeof *w), *plain = room(N * IN * sizeof *w), *best = room(N * IN * sizeof *w);
    uint8_t codes[N * IN / 2];
    uint16_t scales[N];
    double all = 0, better = 0;
    hs_random_normal(w, N * IN, 9, 0, 0, 1);
    assert_int_equal(hs_round_weights(HS_CODING_I4_BLOCKS, w, N, IN, false, "w", codes, scales), HS_OK);
    hs_coded_values(HS_CODING_I4_BLOCKS, codes, scales, N, IN, plain);
    assert_int_equal(hs_round_weights(HS_CODING_I4_BLOCKS, w, N, IN, true, "w", codes, scales), HS_OK);
    hs_coded_values(HS_CODING_I4_BLOCKS, codes, scales, N, IN, best);
    for (int r = 0; r < N; r++) {
        assert_true(squares(w + r * IN, best + r * IN, IN) <= squares(w + r * IN, plain + r * IN, IN) * (1 + 1e-5));
        all += squares(w + r * IN, plain + r * IN, IN), better += squares(w + r * IN, best + r * IN, IN);
    }
    assert_true(better < 0.9 * all);
    free(w), free(plain), free(best);
}

static void refused(void **state)
{
    (void)state;
    float w[64] = { 0 };
    int8_t codes[64];
    float scales[64];
    w[40] = (float)NAN;
    assert_int_equal(hs_round_weights(HS_CODING_I8, w, 2, 32, false, "h0.qkv", codes, scales), HS_NONFINITE);
    assert_string_equal(hs_error(), "h0.qkv: NaN in row 1, column 8");
    w[40] = 1e6f;
    assert_int_equal(hs_round_weights(HS_CODING_I8, w, 2, 32, false, "w", codes, scales), HS_OK);
    assert_int_equal(hs_round_weights(HS_CODING_I8_BLOCKS, w, 2, 32, false, "w", codes, scales), HS_OK);
    assert_int_equal(hs_round_weights(HS_CODING_I4_BLOCKS, w, 2, 32, false, "w", codes, scales), HS_USAGE);
    assert_string_equal(hs_error(), "w: 1e+06 in row 1, column 8; a block of codes, which has a scale in f16, goes up to 524032");
    w[40] = 1e-9f; // under what f16 can hold
    assert_int_equal(hs_round_weights(HS_CODING_I4_BLOCKS, w, 2, 32, true, "w", codes, scales), HS_OK);
    hs_coded_values(HS_CODING_I4_BLOCKS, codes, scales, 2, 32, w);
    for (int i = 0; i < 64; i++)
        assert_true(w[i] == 0);
}

// ---- products, X^T X, factors

extern const hs_quant_products hs_quant_products_portable;

static void products(void **state)
{
    (void)state;
    enum { M = 103, N = 149, K = 261 };
    float *a = room(M * K * sizeof *a), *b = room(K * N * sizeof *b), *c = room(M * N * sizeof *c);
    double *wide = room(M * N * sizeof *wide), *da = room(M * K * sizeof *da), *db = room(K * N * sizeof *db);
    hs_random_normal(a, M * K, 1, 0, 0, 1);
    hs_random_normal(b, K * N, 2, 0, 0, 1);
    for (int i = 0; i < M * K; i++)
        da[i] = (double)a[i];
    for (int i = 0; i < K * N; i++)
        db[i] = (double)b[i];
    const hs_quant_products *all[] = { &hs_quant_products_portable, hs_quant_products_best() };
    for (int way = 0; way < 4; way++) {
        const bool across = way % 2; // A lies k by k
        const hs_quant_products *p = all[way / 2];
        for (int i = 0; i < M * N; i++)
            c[i] = 1, wide[i] = 1;
        p->f32(c, N, a, across ? 1 : K, across ? M : 1, b, N, M, N, K, -1);
        p->f64(wide, N, da, across ? 1 : K, across ? M : 1, db, N, M, N, K, -1);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double want = 1;
                for (int k = 0; k < K; k++)
                    want -= da[across ? k * M + i : i * K + k] * db[k * N + j];
                assert_true(fabs(wide[i * N + j] - want) < 1e-11);
                assert_true(fabs((double)c[i * N + j] - want) < 1e-3);
            }
    }
    free(a), free(b), free(c), free(wide), free(da), free(db);
}

static void gram(void **state)
{
    (void)state;
    enum { N = 101, R = 300, OUT = 7 };
    float *x = room(R * N * sizeof *x), d[OUT * N], *work = room(HS_GRAM_ROWS * N * sizeof *work);
    hs_gram *a, *b, *none;
    hs_random_normal(x, R * N, 1, 0, 0, 1);
    hs_random_normal(d, OUT * N, 2, 0, 0, 1);
    assert_int_equal(hs_gram_new(&a, N), HS_OK);
    assert_int_equal(hs_gram_new(&b, N), HS_OK);
    assert_int_equal(hs_gram_new(&none, N + 1), HS_OK);
    hs_gram_add(a, x, 100);
    hs_gram_add(b, x + 100 * N, R - 100);
    assert_int_equal(hs_gram_merge(a, b), HS_OK);
    assert_int_equal(a->rows, R);
    assert_int_equal(hs_gram_merge(a, none), HS_USAGE);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double want = 0;
            for (int r = 0; r < R; r++)
                want += (double)x[r * N + i] * (double)x[r * N + j];
            assert_true(fabs((double)hs_gram_at(a, i, j) - want) < 1e-3);
        }
    double error = 0;
    for (int r = 0; r < R; r++)
        for (int o = 0; o < OUT; o++) {
            double y = 0;
            for (int j = 0; j < N; j++)
                y += (double)x[r * N + j] * (double)d[o * N + j];
            error += y * y / R;
        }
    assert_float_equal(hs_gram_error(a, d, OUT, work) / error, 1, 1e-5);
    assert_true(hs_gram_error(none, d, 1, work) == 0);
    hs_gram_free(a), hs_gram_free(b), hs_gram_free(none);
    free(x), free(work);
}

static void factors(void **state)
{
    (void)state;
    static const int sizes[] = { 1, 2, 63, 64, 65, 200 };
    for (int s = 0; s < HS_COUNT(sizes); s++) {
        const int n = sizes[s];
        const size_t cells = (size_t)n * (size_t)n;
        float *x = room(2 * cells * sizeof *x);
        double *h = room(cells * sizeof *h), *u = room(cells * sizeof *u), *work = room((size_t)n * HS_FACTOR_WORK * sizeof *work);
        hs_random_normal(x, 2 * (int64_t)cells, 4, 0, 0, 1);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++)
                for (int r = 0; r < 2 * n; r++)
                    h[i * n + j] += (double)x[r * n + i] * (double)x[r * n + j];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++)
                u[i * n + j] = j >= i ? h[i * n + j] : (double)NAN; // not read
        assert_true(hs_inverse_factor(u, n, work));
        for (int i = 0; i < n; i++) // U^T U H = I
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int k = 0; k < n; k++) {
                    double v = 0;
                    for (int l = 0; l <= (i < k ? i : k); l++)
                        v += u[l * n + i] * u[l * n + k];
                    sum += v * h[k * n + j];
                }
                assert_true(fabs(sum - (i == j)) < 1e-9);
                if (n > 65 && j > i + 3)
                    break; // n^4
            }
        h[(n - 1) * n + n - 1] = 0;
        assert_false(hs_inverse_factor(h, n, work));
        free(x), free(h), free(u), free(work);
    }
}

// ---- second order: rows whose columns go together

typedef struct layer {
    int64_t rows, cols, seen;
    float *x, *w;
    hs_gram *g;
    void *codes, *scales;
} layer;

// x = a few common causes, and noise of its own.
static layer correlated(int64_t rows, int64_t cols, int64_t seen, uint64_t key)
{
    enum { CAUSES = 8 };
    layer l = { rows,
                cols,
                seen,
                room((size_t)(seen * cols) * 4),
                room((size_t)(rows * cols) * 4),
                NULL,
                room((size_t)(rows * cols)),
                room((size_t)(rows * cols) * 4) };
    float *cause = room((size_t)(seen * CAUSES) * 4), *mix = room((size_t)(CAUSES * cols) * 4);
    hs_random_normal(l.x, seen * cols, hs_mix2(key, 1), 0, 0, 0.3f);
    hs_random_normal(l.w, rows * cols, hs_mix2(key, 2), 0, 0, 0.05f);
    hs_random_normal(cause, seen * CAUSES, hs_mix2(key, 3), 0, 0, 1);
    hs_random_normal(mix, CAUSES * cols, hs_mix2(key, 4), 0, 0, 1);
    hs_quant_products_best()->f32(l.x, cols, cause, CAUSES, 1, mix, cols, seen, cols, CAUSES, 1);
    assert_int_equal(hs_gram_new(&l.g, cols), HS_OK);
    hs_gram_add(l.g, l.x, seen);
    free(cause);
    free(mix);
    return l;
}

static void layer_free(layer *l)
{
    free(l->x), free(l->w), free(l->codes), free(l->scales);
    hs_gram_free(l->g);
}

// Mean over rows x of |W x - Q(x / s)|^2, from the rows themselves. s: NULL or [cols].
static double output_error(const layer *l, hs_coding c, const float *s)
{
    float *q = room((size_t)(l->rows * l->cols) * 4), *y = room((size_t)(l->seen * l->rows) * 4);
    double sum = 0;
    hs_coded_values(c, l->codes, l->scales, l->rows, l->cols, q);
    for (int64_t r = 0; r < l->seen; r++)
        for (int64_t o = 0; o < l->rows; o++) {
            double d = 0;
            for (int64_t j = 0; j < l->cols; j++)
                d += (double)l->x[r * l->cols + j] * ((double)l->w[o * l->cols + j] - (double)q[o * l->cols + j] / (s ? (double)s[j] : 1));
            sum += d * d;
        }
    free(q), free(y);
    return sum / (double)l->seen;
}

static void gptq_keeps_outputs(void **state)
{
    (void)state;
    layer l = correlated(24, 160, 400, 7);
    for (int c = HS_CODING_I8; c < HS_N_CODINGS; c++)
        for (int way = 0; way < 4; way++) {
            hs_gptq_report r;
            const hs_gptq_opts opts = { .damp = 0.01, .order = way & 1, .search = way & 2 };
            assert_int_equal(hs_round_weights((hs_coding)c, l.w, l.rows, l.cols, opts.search, "w", l.codes, l.scales), HS_OK);
            const double plain = output_error(&l, (hs_coding)c, NULL);
            assert_int_equal(hs_gptq((hs_coding)c, l.w, l.rows, l.cols, l.g, &opts, "w", l.codes, l.scales, &r), HS_OK);
            assert_float_equal(r.error / output_error(&l, (hs_coding)c, NULL), 1, 1e-3);
            assert_float_equal(r.plain / plain, 1, 1e-3);
            assert_true(r.kept && r.error < 0.5 * plain);
        }
    layer_free(&l);
}

static void gptq_of_hard_hessians(void **state)
{
    (void)state;
    layer l = correlated(4, 64, 3, 8); // three rows: 61 directions were not seen
    hs_gptq_report r;
    hs_gptq_opts opts = { .damp = 1e-13 };
    assert_int_equal(hs_gptq(HS_CODING_I4_BLOCKS, l.w, l.rows, l.cols, l.g, &opts, "w", l.codes, l.scales, &r), HS_OK);
    assert_true(r.damp > 1e-11 && r.damp <= 0.01 && r.error <= r.plain);
    memset(l.g->sum, 0, 64 * 64 * sizeof(float)); // nothing but zeros came: as rounded
    opts.damp = 0.01;
    assert_int_equal(hs_gptq(HS_CODING_I8, l.w, l.rows, l.cols, l.g, &opts, "w", l.codes, l.scales, &r), HS_OK);
    assert_int_equal(r.dead, 64);
    int8_t codes[4 * 64];
    float scales[4];
    assert_int_equal(hs_round_weights(HS_CODING_I8, l.w, 4, 64, false, "w", codes, scales), HS_OK);
    assert_memory_equal(codes, l.codes, sizeof codes);
    l.g->sum[70] = (float)NAN;
    l.g->sum[65] = 1, l.g->sum[6 * 64 + 6] = 1;
    assert_int_equal(hs_gptq(HS_CODING_I8, l.w, l.rows, l.cols, l.g, &opts, "h0.qkv", l.codes, l.scales, NULL), HS_NONFINITE);
    assert_non_null(strstr(hs_error(), "h0.qkv: X^T X of the calibration data"));
    const double damps[] = { 0, -1, 1.5, (double)NAN };
    for (int i = 0; i < HS_COUNT(damps); i++)
        assert_int_equal(hs_gptq(HS_CODING_I8, l.w, l.rows, l.cols, l.g, &(hs_gptq_opts){ .damp = damps[i] }, "w", l.codes, l.scales, NULL),
                         HS_USAGE);
    l.g->rows = 0;
    assert_int_equal(hs_gptq(HS_CODING_I8, l.w, l.rows, l.cols, l.g, &opts, "w", l.codes, l.scales, NULL), HS_USAGE);
    assert_int_equal(hs_gptq(HS_CODING_I8, l.w, l.rows, 32, l.g, &opts, "w", l.codes, l.scales, NULL), HS_USAGE);
    assert_string_equal(hs_error(), "w has 32 columns, X^T X 64");
    layer_free(&l);
}

static void awq_is_never_worse(void **state)
{
    (void)state;
    for (uint64_t key = 0; key < 6; key++)
        for (int way = 0; way < 8; way++) {
            const hs_coding c = key % 3 == 0 ? HS_CODING_I8 : key % 3 == 1 ? HS_CODING_I8_BLOCKS : HS_CODING_I4_BLOCKS;
            layer l = correlated(12, 64, 100, key);
            float mean[64] = { 0 }, s[64];
            hs_awq_report r;
            if (key > 2) { // channels that stand out
                for (int64_t i = 0; i < l.seen; i++)
                    l.x[i * 64 + 3] *= 30, l.x[i * 64 + 50] *= 50, l.x[i * 64 + 7] = 0;
                memset(l.g->sum, 0, 64 * 64 * sizeof(float));
                l.g->rows = 0;
                hs_gram_add(l.g, l.x, l.seen);
            }
            for (int64_t i = 0; i < l.seen * 64; i++)
                mean[i % 64] += fabsf(l.x[i]) / (float)l.seen;
            const hs_awq_opts opts = { .scales = way & 1, .clip = way & 2, .search = way & 4 };
            assert_int_equal(hs_round_weights(c, l.w, l.rows, l.cols, opts.search, "w", l.codes, l.scales), HS_OK);
            const double plain = output_error(&l, c, NULL);
            assert_int_equal(hs_awq(c, l.w, l.rows, l.cols, l.g, mean, &opts, "w", s, l.codes, l.scales, &r), HS_OK);
            assert_float_equal(r.plain / plain, 1, 1e-3);
            assert_float_equal(r.error / output_error(&l, c, s), 1, 1e-3);
            assert_true(r.error <= r.plain);
            if (!opts.scales)
                for (int j = 0; j < 64; j++)
                    assert_true(s[j] == 1);
            if (key == 5 && opts.scales)
                assert_true(r.ratio > 0 && r.error < 0.5 * r.plain && s[7] == 1);
            assert_true(r.clipped == 0 || opts.clip);
            layer_free(&l);
        }
}

// ---- SmoothQuant

// Norm (gain, bias), then a product: the same outputs after x / s went into the norm, and s into the weight.
static void smooth_keeps_outputs(void **state)
{
    (void)state;
    enum { C = 48, OUT = 20, R = 30 };
    float z[R * C], gain[C], bias[C], w[OUT * C], s[C], x_most[C] = { 0 }, w_most[C] = { 0 };
    double before[R * OUT];
    hs_random_normal(z, R * C, 1, 0, 0, 1);
    hs_random_normal(gain, C, 2, 0, 0, 1);
    hs_random_normal(bias, C, 3, 0, 0, 1);
    hs_random_normal(w, OUT * C, 4, 0, 0, 1);
    gain[5] *= 100, gain[9] = bias[9] = 0;
    for (int o = 0; o < OUT; o++)
        w[o * C + 11] = 0;
    for (int way = 0; way < 2; way++) {
        for (int i = 0; i < R; i++)
            for (int o = 0; o < OUT; o++) {
                double y = 0;
                for (int j = 0; j < C; j++)
                    y += ((double)z[i * C + j] * (double)gain[j] + (double)bias[j]) * (double)w[o * C + j];
                if (way == 0)
                    before[i * OUT + o] = y;
                else
                    assert_true(fabs(y - before[i * OUT + o]) <= 1e-5 * fmax(1, fabs(before[i * OUT + o])));
            }
        if (way == 1)
            break;
        for (int i = 0; i < R * C; i++)
            x_most[i % C] = fmaxf(x_most[i % C], fabsf(z[i] * gain[i % C] + bias[i % C]));
        hs_smooth_columns(w, OUT, C, w_most);
        hs_smooth_scales(x_most, w_most, C, 0.5, s);
        assert_true(s[9] == 1);
        assert_float_equal(s[11], sqrt((double)x_most[11] / 1e-5), 1e-2);
        hs_smooth_divide(gain, C, s);
        hs_smooth_divide(bias, C, s);
        hs_smooth_weight(w, OUT, C, s);
    }
    for (int j = 0; j < C; j++) // at a half, both have the same range then
        if (j != 9 && j != 11)
            assert_float_equal(x_most[j] / s[j], w_most[j] * s[j], 1e-4f * w_most[j] * s[j]);
    float rows[2] = { 8, 9 };
    hs_smooth_rows(rows, 2, 1, (float[2]){ 2, 3 });
    assert_true(rows[0] == 4 && rows[1] == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rounding, golden_begin, golden_end),
        cmocka_unit_test_setup_teardown(gptq_golden, golden_begin, golden_end),
        cmocka_unit_test_setup_teardown(awq_golden, golden_begin, golden_end),
        cmocka_unit_test_setup_teardown(smooth_golden, golden_begin, golden_end),
        cmocka_unit_test(smooth_by_alpha),
        cmocka_unit_test(nearest),
        cmocka_unit_test(search_is_never_worse),
        cmocka_unit_test(refused),
        cmocka_unit_test(products),
        cmocka_unit_test(gram),
        cmocka_unit_test(factors),
        cmocka_unit_test(gptq_keeps_outputs),
        cmocka_unit_test(gptq_of_hard_hessians),
        cmocka_unit_test(awq_is_never_worse),
        cmocka_unit_test(smooth_keeps_outputs),
    };
    return cmocka_run_group_tests_name("round", tests, NULL, NULL);
}

// product: k-means that finds what is there, that is no worse with more centroids or iterations, that leaves no centroid empty and repeats
// itself; bytes of RoBERTa-base's shape; what is refused.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "infer/quant/product.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static hs_product *made(const float *w, int64_t rows, int64_t cols, int block, int centroids, int iterations)
{
    hs_product *p;
    OK(hs_product_new(&p, w, rows, cols, &(hs_product_opts){ block, centroids, iterations, 3 }));
    return p;
}

// 16 points far apart, each with a cloud around it: each gets one centroid, its cloud's mean.
static void finds_clouds(void **state)
{
    enum { ROWS = 64, COLS = 64, D = 4, K = 16 };
    static float w[ROWS * COLS], values[ROWS * COLS];
    (void)state;
    hs_random_normal(w, ROWS * COLS, 1, 0, 0, 0.01f);
    for (int b = 0; b < ROWS * COLS / D; b++)
        for (int j = 0; j < D; j++)
            w[b * D + j] += b % K >> j & 1 ? 5.0f : -5.0f;
    hs_product *p = made(w, ROWS, COLS, D, K, 20);
    hs_product_values(p, values);
    bool seen[K] = { false };
    for (int b = 0; b < ROWS * COLS / D; b++) {
        assert_int_equal(p->index[b], p->index[b % K]);
        for (int j = 0; j < D; j++)
            assert_true(fabsf(values[b * D + j] - (b % K >> j & 1 ? 5.0f : -5.0f)) < 0.01f);
    }
    for (int k = 0; k < K; k++)
        assert_false(seen[p->index[k]]), seen[p->index[k]] = true;
    assert_true(p->error > 0.0015 && p->error < 0.0021); // 0.01 over 5
    hs_product_free(p);
}

// On normal values the error falls with centroids and with iterations, and none is empty.
static void falls(void **state)
{
    enum { ROWS = 96, COLS = 256, N = ROWS * COLS };
    static float w[N];
    static const int centroids[] = { 2, 16, 64, 256 };
    (void)state;
    hs_random_normal(w, N, 2, 0, 0, 0.02f);
    double before = 1;
    for (int i = 0; i < HS_COUNT(centroids); i++) {
        hs_product *one = made(w, ROWS, COLS, 8, centroids[i], 1), *many = made(w, ROWS, COLS, 8, centroids[i], 20);
        int count[HS_PRODUCT_MOST] = { 0 };
        if (!(many->error < before && many->error <= one->error))
            fail_msg("%d centroids: %g, by one iteration %g, of fewer %g", centroids[i], many->error, one->error, before);
        before = many->error;
        for (int b = 0; b < N / 8; b++)
            count[many->index[b]]++;
        for (int k = 0; k < centroids[i]; k++)
            assert_true(count[k] > 0);
        hs_product_free(one);
        hs_product_free(many);
    }
    hs_product *a = made(w, ROWS, COLS, 8, 64, 5), *b = made(w, ROWS, COLS, 8, 64, 5);
    assert_memory_equal(a->centroid, b->centroid, 64 * 8 * sizeof(float));
    assert_memory_equal(a->index, b->index, N / 8);
    hs_product_free(a);
    hs_product_free(b);
}

// Fewer different blocks than centroids: some are left empty, split off others again and again, and none of that costs anything.
static void few_different(void **state)
{
    enum { ROWS = 80, COLS = 128, N = ROWS * COLS };
    static float w[N];
    (void)state;
    for (int b = 0; b < N / 8; b++)
        for (int j = 0; j < 8; j++)
            w[b * 8 + j] = b % 10 ? (b % 3 ? 1.0f : 1.0f + 1e-6f * (float)(b % 7)) : (float)((b / 10 + j) % 23) - 11;
    hs_product *p = made(w, ROWS, COLS, 8, 128, 20);
    assert_true(p->splits > 0);
    assert_true(p->error < 1e-5);
    hs_product_free(p);
    static float same[N];
    hs_product *flat = made(same, ROWS, COLS, 8, 16, 5); // nothing to split
    assert_true(flat->error == 0);
    hs_product_free(flat);
}

// RoBERTa-base as the paper's smallest has it: every second layer left out (LayerDrop). Matrices as indices and centroids, all else in f32.
// The paper says 14 MB and does not list what it counts.
static void size_of_roberta(void **state)
{
    enum { WIDTH = 768, FF = 3072, WORDS = 50265, PLACES = 514, LAYERS = 12, LABELS = 3 };
    (void)state;
    const int attention = 4, ffn = 8; // as fairseq's transformer_quantization_config has them
    const double layer = 4 * hs_product_bytes(WIDTH, WIDTH, attention, 256) + hs_product_bytes(FF, WIDTH, ffn, 256) +
                         hs_product_bytes(WIDTH, FF, ffn, 256) + 4.0 * (9 * WIDTH + FF);
    const double table = hs_product_bytes(WORDS, WIDTH, ffn, 256) + 4.0 * (PLACES + 1 + 2) * WIDTH;
    const double head = hs_product_bytes(WIDTH, WIDTH, attention, 256) + 4.0 * (WIDTH + LABELS * (WIDTH + 1));
    const double half = LAYERS / 2 * layer + table + head, whole = half + LAYERS / 2 * layer;
    assert_int_equal((int)round(1e-6 * half), 14);
    assert_int_equal((int)round(1e-5 * whole), 214);
    // as `quantize --bits pq` writes it, blocks of 8 everywhere and no layer left out: indices alone are 15.5 MB, which is 14.8 MiB
    const double eight = LAYERS * (4 * hs_product_bytes(WIDTH, WIDTH, 8, 256) + 2 * hs_product_bytes(FF, WIDTH, 8, 256)) +
                         hs_product_bytes(WORDS, WIDTH, 8, 256) + hs_product_bytes(WIDTH, WIDTH, 8, 256);
    const double values = 4.0 * (LAYERS * (9 * WIDTH + FF) + (PLACES + 1 + 2) * WIDTH + WIDTH + LABELS * (WIDTH + 1));
    assert_int_equal((int)round(1e-4 * eight), 1582);
    assert_int_equal((int)round(1e-4 * (eight + values)), 1790);
    assert_true(hs_product_bytes(WIDTH, WIDTH, 8, 256) == WIDTH * WIDTH / 8 + 256 * 8 * 2);
    assert_true(hs_product_bytes(8, 8, 8, 16) == 8 * 4 / 8.0 + 16 * 8 * 2);
}

static void refused(void **state)
{
    static float w[64];
    hs_product *p;
    (void)state;
    assert_int_equal(hs_product_new(&p, w, 8, 8, &(hs_product_opts){ 3, 4, 5, 0 }), HS_USAGE);
    assert_int_equal(hs_product_new(&p, w, 8, 8, &(hs_product_opts){ 4, 257, 5, 0 }), HS_USAGE);
    assert_int_equal(hs_product_new(&p, w, 8, 8, &(hs_product_opts){ 4, 4, 0, 0 }), HS_USAGE);
    w[9] = NAN;
    assert_int_equal(hs_product_new(&p, w, 8, 8, &(hs_product_opts){ 4, 4, 5, 0 }), HS_NONFINITE);
    assert_non_null(strstr(hs_error(), "row 1, column 1"));
    w[9] = 1;
    p = made(w, 1, 8, 4, 256, 5); // fewer blocks than centroids
    assert_int_equal(p->centroids, 2);
    hs_product_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(finds_clouds), cmocka_unit_test(falls), cmocka_unit_test(few_different),
                                        cmocka_unit_test(size_of_roberta), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// exponents: counts, joined rows, and what the two files say.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/report/exponents.h"
#include "data/report/metrics.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

static void test_counts(void **state)
{
    (void)state;
    static const float x[] = {
        1, -1.99f, 2, 0.5f, 0, -0.0f, INFINITY, NAN, 0x1p-149f, 0x1.8p-140f, 0x1p-126f, -0x1.fp127f, 65504, 0x1p-24f
    };
    hs_exponents *e = calloc(1, sizeof *e), *sum = calloc(1, sizeof *sum);
    hs_exponents_add(e, x, (int64_t)(sizeof x / sizeof *x));
    assert_int_equal(e->zeros, 2);
    assert_int_equal(e->nonfinite, 2);
    static const struct {
        int exponent, n;
    } want[] = { { 0, 2 }, { 1, 1 }, { -1, 1 }, { -149, 1 }, { -140, 1 }, { -126, 1 }, { 127, 1 }, { 15, 1 }, { -24, 1 }, { 3, 0 } };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_int_equal(hs_exponents_count(e, want[i].exponent, want[i].exponent), want[i].n);
    assert_int_equal(hs_exponents_count(e, HS_EXPONENT_LEAST, HS_EXPONENT_MOST), 10);
    hs_exponents_join(sum, e), hs_exponents_join(sum, e);
    assert_int_equal(sum->zeros, 4);
    assert_int_equal(hs_exponents_count(sum, 0, 0), 4);
    free(e), free(sum);
}

static void test_files(void **state)
{
    (void)state;
    enum { ROWS = 240 };
    hs_exponents *row = calloc(ROWS, sizeof *row);
    for (int i = 0; i < ROWS; i++) {
        float x[400];
        for (int k = 0; k < 400; k++)
            x[k] = k % 50 == 0 ? 0 : ldexpf(1 + (float)k / 400, -30 + i % 20 + k % 13);
        snprintf(row[i].scope, sizeof row[i].scope, "encoder.layer%d.%s", i / 6, i % 2 ? "attention.qkv" : "mlp.fc");
        hs_exponents_add(&row[i], x, 400);
    }
    row[0].nonfinite = 3;
    char dir[] = "/tmp/halfstep-XXXXXX", json[64], png[64];
    assert_non_null(mkdtemp(dir));
    snprintf(json, sizeof json, "%s/a.json", dir), snprintf(png, sizeof png, "%s/a.png", dir);
    const hs_exponents_of of = { "gradients", 120, 65536 };
    OK(hs_exponents_json(json, &of, row, ROWS));
    json_error_t error;
    json_t *all = json_load_file(json, 0, &error);
    assert_non_null(all);
    assert_int_equal(json_integer_value(json_object_get(all, "step")), 120);
    assert_true(json_real_value(json_object_get(all, "scale")) == 65536);
    assert_int_equal(json_array_size(json_object_get(all, "scopes")), ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        const json_t *s = json_array_get(json_object_get(all, "scopes"), i), *counts = json_object_get(s, "counts");
        int64_t n = json_integer_value(json_object_get(s, "zeros")) + json_integer_value(json_object_get(s, "nonfinite"));
        for (size_t k = 0; k < json_array_size(counts); k++)
            n += json_integer_value(json_array_get(counts, k));
        assert_int_equal(n, json_integer_value(json_object_get(s, "elements")));
        assert_int_equal(n, i ? 400 : 403);
        assert_int_equal(json_integer_value(json_object_get(s, "first")), -30 + (int)i % 20);
    }
    json_decref(all);
    if (hs_plot_available()) {
        OK(hs_exponents_png(png, &of, row, ROWS));
        FILE *f = fopen(png, "rb");
        unsigned char head[24] = { 0 };
        assert_int_equal(fread(head, 1, sizeof head, f), sizeof head);
        fclose(f);
        assert_memory_equal(head + 1, "PNG", 3);
        const int height = head[22] << 8 | head[23];
        assert_true(height > 400 && height < 1600); // 40 layers: rows were joined
        unlink(png);
    }
    assert_int_equal(hs_exponents_json("/nonexistent/a.json", &of, row, 1), HS_SYSTEM);
    unlink(json);
    rmdir(dir);
    free(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts), cmocka_unit_test(test_files) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// json_util: numbers in the fewest digits that read back, as printf would write them; strings with what JSON escapes.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/base/json_util.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The definition: more digits until it reads back.
static const char *shortest(float v)
{
    static char buf[64];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, (double)v);
        if ((float)strtod(buf, NULL) == v)
            break;
    }
    return strpbrk(buf, ".e") ? buf : strcat(buf, ".0");
}

static void check(hs_text *t, float v)
{
    if (!isfinite(v))
        return;
    t->n = 0;
    hs_text_f32(t, v);
    if (strcmp(t->p, shortest(v)) != 0)
        fail_msg("%.9g is written %s, not %s", (double)v, t->p, shortest(v));
}

static void floats(void **state)
{
    (void)state;
    static const float some[] = { 0.0f,  -0.0f, 1.0f,   -1.0f,    0.1f,      0.5f,          9.5f,  99.5f,      100.0f,      1e-5f,
                                  1e-4f, 1e9f,  9.9e8f, 123456.f, 1e-45f,    3.4028235e38f, 1e15f, 9.9999e-5f, 0.000123f,   16777216.f,
                                  -2.5f, 8.5f,  1e8f,   1e7f,     1000000.f, 33554434.f,    0.3f,  0.7f,       0.99999994f, 9.9999998e-5f };
    hs_text t = { 0 };
    for (int i = 0; i < HS_COUNT(some); i++) {
        check(&t, some[i]);
        check(&t, nextafterf(some[i], INFINITY));
        check(&t, nextafterf(some[i], -INFINITY));
    }
    for (int e = -149; e < 128; e++) // where the next one below is half as far as the next one above
        check(&t, ldexpf(1, e));
    for (int i = -60; i < 90; i++)
        for (int k = 1; k < 100; k++)
            check(&t, (float)(k * pow(10, i / 2.0)));
    float x[1000];
    for (uint64_t i = 0; i < 60; i++) { // vectors, probabilities, and any bits
        hs_random_normal(x, 1000, 7, i, 0, i % 3 == 0 ? 1 : 0.05);
        for (int k = 0; k < 1000; k++) {
            uint32_t bits = (uint32_t)hs_mix2(i, (uint64_t)k);
            float any;
            memcpy(&any, &bits, sizeof any);
            check(&t, x[k]);
            check(&t, (float)exp(-20 * (double)fabsf(x[k])));
            check(&t, any);
        }
    }
    hs_text_free(&t);
}

static void strings(void **state)
{
    (void)state;
    hs_text t = { 0 };
    hs_text_quote(&t, "a\"b\\c\n\0é", 9);
    assert_string_equal(t.p, "\"a\\\"b\\\\c\\u000a\\u0000é\"");
    t.n = 0;
    hs_text_quote(&t, "", 0);
    hs_text_string(&t, "x");
    hs_text_bytes(&t, "\0y", 2);
    assert_int_equal(t.n, 7);
    assert_memory_equal(t.p, "\"\"\"x\"\0y", 8);
    hs_text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(floats), cmocka_unit_test(strings) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

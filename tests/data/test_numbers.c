// numbers: the digits of an f32 by the short way are those that printf finds by trying.
#include "../support/support_files.h"
#include "data/base/json_util.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tried(float v, char buf[64])
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, 48, "%.*g", digits, (double)v);
        if ((float)strtod(buf, NULL) == v)
            break;
    }
    if (!strpbrk(buf, ".e"))
        strcat(buf, ".0");
}

static void check(float v)
{
    char want[64];
    hs_text t = { 0 };
    tried(v, want);
    hs_text_f32(&t, v);
    if (strcmp(t.p, want) != 0)
        fail_msg("%a: %s, not %s", (double)v, t.p, want);
    hs_text_free(&t);
}

static void test_same_digits(void **state)
{
    (void)state;
    static const float some[] = { 0.0f,
                                  -0.0f,
                                  1,
                                  -1,
                                  10,
                                  100,
                                  9.9999998e8f,
                                  1e9f,
                                  123456.0f,
                                  0.1f,
                                  0.3f,
                                  1e-4f,
                                  1e-5f,
                                  9.9999997e-5f,
                                  16777216,
                                  33554432,
                                  3.4028235e38f,
                                  1e-45f,
                                  1.1754944e-38f,
                                  0.5f,
                                  2.5f,
                                  0.125f,
                                  4.5f,
                                  65504,
                                  999999.94f,
                                  9.5f,
                                  0.99999994f };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        check(some[i]), check(-some[i]);
    uint32_t x = 12345;
    for (int i = 0; i < 200000; i++) {
        x = x * 1664525u + 1013904223u;
        float any, near;
        memcpy(&any, &x, sizeof any);
        if (isfinite(any) && i % 8 == 0)
            check(any);
        near = (float)(int32_t)x * 0x1p-31f; // as vectors are
        check(near), check((float)(x >> 20) / 1000), check((float)(x >> 8) / 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_digits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

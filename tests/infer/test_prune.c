// prune: masks against every choice there is.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "infer/prune/prune.h"
#include <math.h>
#include <string.h>

// ---- two in every four, by going through all ways to choose: those of larger sum |w|, the first of equal ones

static void by_force(float *w)
{
    double best = -1;
    int which = 0;
    for (int way = 15; way >= 0; way--) { // 8 is the first column, 1 the last
        double sum = 0;
        int n = 0;
        for (int j = 0; j < 4; j++)
            if (way >> (3 - j) & 1)
                sum += fabs((double)w[j]), n++;
        if (n == 2 && sum > best)
            best = sum, which = way;
    }
    for (int j = 0; j < 4; j++)
        w[j] = which >> (3 - j) & 1 ? w[j] : 0;
}

static void holds(const float *w, int64_t rows, int64_t cols)
{
    float have[4096], want[4096];
    double magnitude = 0, kept = 0, all = 0, stay = 0;
    memcpy(have, w, (size_t)(rows * cols) * sizeof *w);
    memcpy(want, w, (size_t)(rows * cols) * sizeof *w);
    hs_prune_2of4(have, rows, cols, &magnitude, &kept);
    for (int64_t i = 0; i < rows * cols; i += 4)
        by_force(want + i);
    assert_memory_equal(have, want, (size_t)(rows * cols) * sizeof *w);
    for (int64_t i = 0; i < rows * cols; i++)
        all += fabs((double)w[i]), stay += fabs((double)want[i]);
    assert_true(magnitude == all && fabs(kept - stay) <= 1e-12 * all);
}

static void test_masks(void **state)
{
    (void)state;
    static const float known[][4] = { { 1, 2, 3, 4 }, { 4, 3, 2, 1 }, { 1, 1, 1, 1 }, { 0, 0, 0, 0 }, { -5, 1, 4, -4 }, { 0, 0, 0, 1 },
                                      { 2, 1, 2, 1 }, { 1, 2, 1, 2 }, { 3e38f, -3e38f, 3e38f, 0 }, { 1e-45f, 0, 0, 1e-45f } };
    static const float stay[][4] = { { 0, 0, 3, 4 }, { 4, 3, 0, 0 }, { 1, 1, 0, 0 }, { 0, 0, 0, 0 }, { -5, 0, 4, 0 }, { 0, 0, 0, 1 },
                                     { 2, 0, 2, 0 }, { 0, 2, 0, 2 }, { 3e38f, -3e38f, 0, 0 }, { 1e-45f, 0, 0, 1e-45f } };
    double all = 0, kept = 0;
    for (int i = 0; i < HS_COUNT(known); i++) {
        float w[4];
        holds(known[i], 1, 4);
        memcpy(w, known[i], sizeof w);
        hs_prune_2of4(w, 1, 4, &all, &kept);
        for (int j = 0; j < 4; j++)
            assert_true(w[j] == stay[i][j]);
    }
    float w[4096];
    for (int round = 0; round < 50; round++) { // ties too: few values, every other round
        for (int i = 0; i < 4096; i++) {
            const hs_u32x4 r = hs_random((uint64_t)round, (uint32_t)i, 0, 0, 0);
            w[i] = round % 2 ? (float)(int)(r.v[0] % 5) - 2 : (float)(int32_t)r.v[0] * 0x1p-31f;
        }
        holds(w, 64, 64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

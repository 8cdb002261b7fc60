// Philox against the known answers of Random123's distribution; normal values: any slice is the slice of the whole.
#include "core/base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } kat[] = {
        // philox4x32 10 in kat_vectors
        { { 0 }, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < 3; i++) {
        const uint32_t *c = kat[i].counter;
        const hs_u32x4 got = hs_random((uint64_t)kat[i].key[1] << 32 | kat[i].key[0], c[0], c[1], c[2], c[3]);
        assert_memory_equal(got.v, kat[i].want, sizeof got.v);
    }
}

// The values are part of every run's identity: a change of formula must be noticed.
static void test_definition(void **state)
{
    (void)state;
    enum { N = 4096 };
    static float x[N];
    const uint64_t key = hs_mix2(1, hs_hash_string("h0.attn.qkv.weight"));
    hs_random_normal(x, N, key, 0, 0.5f, 2);
    for (int i = 0; i < N; i++) { // Box-Muller by libm; the angle is a turn * (v + 1/2) / 2^32 less an eighth
        const hs_u32x4 w = hs_random(key, (uint32_t)(i / 4), 0, 0, 0);
        const double u = hs_u32_unit(w.v[i % 4 / 2 * 2]), turn = hs_u32_unit(w.v[i % 4 / 2 * 2 + 1]) - 0.125;
        const double r = sqrt(-2 * log(u)), angle = 6.283185307179586 * turn;
        const double want = 0.5 + 2 * r * (i % 2 ? sin(angle) : cos(angle));
        assert_true(fabs(x[i] - want) <= 1e-6 * (1 + fabs(want)));
    }
}

static void test_slices(void **state)
{
    (void)state;
    enum { N = 3000 };
    static float whole[N], slice[N];
    hs_random_normal(whole, N, 7, 0, 0, 1);
    for (int i = 0; i < 200; i++) {
        const hs_u32x4 w = hs_random(99, (uint32_t)i, 0, 0, 0);
        const int64_t first = w.v[0] % N, n = w.v[1] % (uint32_t)(N - first + 1);
        slice[n < N ? n : 0] = 12345;
        hs_random_normal(slice, n, 7, first, 0, 1);
        assert_memory_equal(slice, whole + first, (size_t)n * sizeof(float));
        if (n > 0 && n < N)
            assert_true(slice[n] == 12345);
    }
    const int64_t far = (int64_t)5 << 33; // beyond 32 bits of address
    hs_random_normal(whole, 8, 7, far, 0, 1);
    hs_random_normal(slice, 5, 7, far + 3, 0, 1);
    assert_memory_equal(slice, whole + 3, 5 * sizeof(float));
    hs_random_normal(slice, 8, 7, 0, 0, 1);
    assert_memory_not_equal(slice, whole, 8 * sizeof(float));
}

static void test_moments(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    hs_random_normal(x, N, 3, 0, 0, 1);
    double sum[5] = { 0 }, neighbours = 0, beyond = 0;
    for (int i = 0; i < N; i++) {
        double power = 1;
        for (int k = 1; k < 5; k++)
            sum[k] += (power *= x[i]) / N;
        neighbours += i ? (double)x[i] * x[i - 1] / N : 0;
        beyond += fabsf(x[i]) > 3;
    }
    free(x);
    const double error = 5 / sqrt((double)N); // five standard errors of a mean of unit variance
    assert_true(fabs(sum[1]) < error);
    assert_true(fabs(sum[2] - 1) < error * sqrt(2));
    assert_true(fabs(sum[3]) < error * sqrt(15));
    assert_true(fabs(sum[4] - 3) < error * sqrt(96));
    assert_true(fabs(neighbours) < error);
    assert_true(fabs(beyond / N - 0.0026998) < error * sqrt(0.0027));
}

static void test_hash(void **state)
{
    (void)state;
    assert_true(hs_hash_string("h0.ln_1") != hs_hash_string("h1.ln_1"));
    assert_true(hs_hash_string("") == hs_mix(0xCBF29CE484222325ull)); // FNV-1a's offset basis
    assert_true(hs_mix2(1, 2) != hs_mix2(2, 1));
    assert_true(hs_u32_unit(0) > 0 && hs_u32_unit(UINT32_MAX) < 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_known_answers), cmocka_unit_test(test_definition),
                                        cmocka_unit_test(test_slices), cmocka_unit_test(test_moments), cmocka_unit_test(test_hash) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

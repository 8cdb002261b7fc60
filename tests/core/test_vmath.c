// vmath against libm in double: errors in ulp over the whole range, and what happens at its edges. Also the f16 and bf16 row
// conversions and reductions of rows.h against the exact ones of dtype.
#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static double ulp(double y) // of an f32 near y
{
    int e;
    frexp(y, &e);
    return ldexp(1, e < -125 ? -149 : e - 24);
}

// The largest error over every 1,009th float in [lo, hi].
static double worst(float (*f)(float), double (*exact)(double), float lo, float hi)
{
    double most = 0;
    for (uint64_t u = 0; u <= UINT32_MAX; u += 1009) {
        const float x = hs_bits_f32((uint32_t)u);
        if (!(x >= lo && x <= hi))
            continue;
        const double want = exact((double)x), error = fabs((double)f(x) - want) / ulp(want);
        most = error <= most ? most : error; // a NaN stays
    }
    return most;
}

static void errors(void **state)
{
    (void)state;
    const double e = worst(hs_expf, exp, -87.33654f, 88.72283f), t = worst(hs_tanhf, tanh, -INFINITY, INFINITY),
                 f = worst(hs_erff, erf, -INFINITY, INFINITY), b = worst(hs_expf_below, exp, -87.33654f, 88),
                 l = worst(hs_log1pf_unit, log1p, 0, 1);
    print_message("exp %.2f ulp, tanh %.2f ulp, erf %.2f ulp, log(1 + e) %.2f ulp\n", e, t, f, l);
    assert_true(e < 1.5 && b < 1.5);
    assert_true(t < 2);
    assert_true(f < 2);
    assert_true(l < 3);
}

static void edges(void **state)
{
    (void)state;
    assert_true(isnan(hs_expf(NAN)) && isnan(hs_tanhf(NAN)) && isnan(hs_erff(NAN)));
    assert_true(isnan(hs_expf(-NAN)) && isnan(hs_expf(hs_bits_f32(0x7F800001u))) && isnan(hs_expf(hs_bits_f32(0xFFFFFFFFu))));
    assert_true(hs_expf(INFINITY) == INFINITY && hs_expf(-INFINITY) == 0);
    assert_true(hs_expf(88.73f) == INFINITY && isfinite(hs_expf(88.72283f)) && hs_expf(1e30f) == INFINITY);
    assert_true(hs_expf(-87.4f) == 0 && hs_expf(-1e30f) == 0);
    assert_true(hs_expf_below(-INFINITY) == 0 && hs_expf_below(-1e30f) == 0 && hs_expf_below(-0.0f) == 1);
    assert_true(isnan(hs_expf_below(NAN)) && isnan(hs_expf_below(hs_bits_f32(0x7F800001u))) &&
                isnan(hs_expf_below(hs_bits_f32(0xFFFFFFFFu))));
    assert_true(hs_expf(0) == 1 && hs_expf(-0.0f) == 1 && hs_expf(1e-45f) == 1);
    assert_true(hs_tanhf(INFINITY) == 1 && hs_tanhf(-INFINITY) == -1 && hs_tanhf(1e-45f) == 1e-45f);
    assert_true(hs_erff(INFINITY) == 1 && hs_erff(-INFINITY) == -1 && hs_erff(-1e-45f) == -1e-45f);
    assert_true(hs_tanhf(0) == 0 && hs_erff(0) == 0 && signbit(hs_tanhf(-0.0f)) && signbit(hs_erff(-0.0f)));
    for (float x = -20; x <= 20; x += 1e-3f)
        assert_true(fabsf(hs_tanhf(x)) <= 1 && fabsf(hs_erff(x)) <= 1);
}

// Every 16-bit pattern widens exactly, and every 4,099th f32 narrows as dtype's scalar functions do.
static void conversions(void **state)
{
    (void)state;
    enum { N = 37 };
    for (uint32_t u = 0; u < 65536; u += N) {
        uint16_t low[N];
        float f[N], b[N];
        for (int i = 0; i < N; i++)
            low[i] = (uint16_t)(u + (uint32_t)i);
        hs_load_f16(f, low, N);
        hs_load_bf16(b, low, N);
        for (int i = 0; i < N; i++) {
            const float want = hs_f16_f32(low[i]);
            assert_true(isnan(want) ? isnan(f[i]) : hs_f32_bits(f[i]) == hs_f32_bits(want));
            assert_true(hs_f32_bits(b[i]) == (uint32_t)low[i] << 16);
        }
    }
    for (uint64_t u = 0; u <= UINT32_MAX; u += 4099 * N) {
        float x[N];
        uint16_t f[N], b[N];
        for (int i = 0; i < N; i++)
            x[i] = hs_bits_f32((uint32_t)(u + 4099 * (uint64_t)i));
        hs_store_f16(f, x, N);
        hs_store_bf16(b, x, N);
        for (int i = 0; i < N; i++) {
            const uint16_t want = hs_f32_f16(x[i]);
            assert_true(isnan(x[i]) ? isnan(hs_f16_f32(f[i])) : f[i] == want);
            assert_int_equal(b[i], hs_f32_bf16(x[i]));
        }
    }
}

static void reductions(void **state)
{
    (void)state;
    float x[133];
    for (int n = 1; n <= 133; n++) {
        float sum = 0, max = -INFINITY;
        for (int i = 0; i < n; i++) {
            x[i] = (float)((i * 37) % 101 - 50);
            sum += x[i], max = fmaxf(max, x[i]);
        }
        assert_true(hs_sum(x, n) == sum); // small integers: exact in any order
        assert_true(hs_max(x, n, -INFINITY) == max && hs_max(x, n, 1000) == 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(errors), cmocka_unit_test(edges), cmocka_unit_test(conversions),
                                        cmocka_unit_test(reductions) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

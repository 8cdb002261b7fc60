// mixing: proportions hold at every length of the stream, and a sample's own index counts those before it.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/batches/mixing.h"
#include "data/batches/source.h"
#include <math.h>
#include <stdlib.h>

// All of a period and a bit: every source within the bound of its share after every sample, own indices without a gap.
static void check_mixture(const double *weight, int n)
{
    hs_mixture m;
    OK(hs_mixture_init(&m, weight, n));
    int64_t taken[HS_MIX_SOURCES] = { 0 }, sum = 0;
    const double bound = n > 1 ? 1 - 1.0 / (2 * n - 2) : 0;
    for (int k = 0; k < n; k++)
        sum += m.share[k];
    assert_int_equal(sum, m.period);
    double worst = 0;
    for (int64_t i = 0; i < m.period + 50; i++) {
        uint64_t own;
        const int s = hs_mixture_at(&m, (uint64_t)i, &own);
        assert_true(s >= 0 && s < n && own == (uint64_t)taken[s]);
        taken[s]++;
        for (int k = 0; k < n; k++)
            worst = fmax(worst, fabs((double)taken[k] - (double)m.share[k] * (double)(i + 1) / (double)m.period));
    }
    assert_true(worst <= bound + 1e-9);
    uint64_t own, later;
    const int s = hs_mixture_at(&m, 7, &own), t = hs_mixture_at(&m, 7 + 1000003ull * (uint64_t)m.period, &later);
    assert_true(s == t && later == own + 1000003ull * (uint64_t)m.share[s]);
    hs_mixture_free(&m);
}

static void proportions_hold_everywhere(void **state)
{
    (void)state;
    static const struct {
        int n;
        double weight[8];
    } cases[] = {
        { 1, { 3 } },
        { 2, { 0.7, 0.3 } },
        { 2, { 1, 999 } },
        { 3, { 1, 1, 1 } },
        { 4, { 0.5, 0.25, 0.15, 0.1 } },
        { 5, { 1e-4, 0.123456, 0.3, 7, 2 } },
        { 8, { 50, 1, 1, 1, 1, 1, 1, 44 } },
        { 3, { M_PI, M_E, 1 } },
    };
    for (int c = 0; c < HS_COUNT(cases); c++)
        check_mixture(cases[c].weight, cases[c].n);
    for (uint32_t c = 0; c < 20; c++) { // shares of a few hundred parts, up to 64 sources
        double weight[HS_MIX_SOURCES];
        const int n = 2 + (int)(hs_random(1, c, 0, 0, 0).v[0] % (HS_MIX_SOURCES - 1));
        for (int k = 0; k < n; k++)
            weight[k] = 1 + hs_random(2, c, (uint32_t)k, 0, 0).v[0] % 30;
        check_mixture(weight, n);
    }
}

static void shares_are_exact(void **state)
{
    (void)state;
    hs_mixture m;
    OK(hs_mixture_init(&m, (double[]){ 0.7, 0.3 }, 2));
    assert_true(m.period == 10 && m.share[0] == 7 && m.share[1] == 3);
    hs_mixture_free(&m);
    OK(hs_mixture_init(&m, (double[]){ 0.123456, 0.876544 }, 2));
    assert_true(m.share[0] * 1000000 == 123456 * m.period);
    hs_mixture_free(&m);
    OK(hs_mixture_init(&m, (double[]){ sqrt(2), 1 }, 2)); // no period has it: the nearest of the longest
    assert_true(m.period == HS_MIX_PERIOD && fabs((double)m.share[0] - sqrt(2) / (1 + sqrt(2)) * HS_MIX_PERIOD) <= 1);
    hs_mixture_free(&m);
}

static void bad_weights(void **state)
{
    (void)state;
    hs_mixture m;
    FAILS(USAGE, "weight 0 of source 2 is not positive", hs_mixture_init(&m, (double[]){ 1, 0 }, 2));
    FAILS(USAGE, "weight nan of source 1", hs_mixture_init(&m, (double[]){ NAN, 1 }, 2));
    FAILS(USAGE, "weight inf of source 1", hs_mixture_init(&m, (double[]){ INFINITY, 1 }, 2));
    FAILS(USAGE, "less than one part in 1048576", hs_mixture_init(&m, (double[]){ 1, 1e-9 }, 2));
    FAILS(USAGE, "0 sources", hs_mixture_init(&m, NULL, 0));
    hs_mixture_free(&m);
}

static int n_freed;
static void count_free(hs_source *s) { (void)s, n_freed++; }

// Samples of a mixture go to ranks in one order, and make batches of the same columns. What is refused is freed all the same.
static void only_what_is_alike(void **state)
{
    (void)state;
    static const hs_column columns[2] = { { .name = "ids" }, { .name = "ids" } };
    hs_source a = { .unit = "windows", .column = &columns[0], .n_columns = 1, .free = count_free }, b = a, *mixed;
    b.unit = "rows";
    b.interleaved = true;
    FAILS(INTERNAL, "windows and rows go to ranks in another order",
          hs_mixed_new(&mixed, (hs_source *[]){ &a, &b }, (double[]){ 1, 1 }, 2));
    assert_int_equal(n_freed, 2);
    b.interleaved = false, b.column = &columns[1];
    FAILS(INTERNAL, "windows and rows make different columns", hs_mixed_new(&mixed, (hs_source *[]){ &a, &b }, (double[]){ 1, 1 }, 2));
    b.column = a.column;
    OK(hs_mixed_new(&mixed, (hs_source *[]){ &a, &b }, (double[]){ 1, 1 }, 2));
    hs_source_free(mixed);
    assert_int_equal(n_freed, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proportions_hold_everywhere),
        cmocka_unit_test(shares_are_exact),
        cmocka_unit_test(bad_weights),
        cmocka_unit_test(only_what_is_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

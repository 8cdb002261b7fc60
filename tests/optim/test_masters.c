// masters: values in two halves train to the bits of f32 ones, whatever the optimizer, the tier and the type of moments; values in bf16
// alone are right on the mean, a function of seed and step alone, and never leave what a bf16 can hold.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/graph/divide.h"
#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// Where kernels run by an emulator: fewer; where it looks at every access, two.
static int rounds(int of_cpu, int emulated) { return rig_on.accesses_only ? 2 : rig_on.tier ? emulated : of_cpu; }
static int each(void) { return rig_on.tier ? 3 : 1; }

static const char *const every[] = { "adamw", "electra",   "lamb", "nvlamb", "apex-nvlamb", "albert",
                                     "mxnet", "deepspeed", "sgd",  "lars",   "novograd" };

static hs_optim_config kept(const char *name, hs_masters masters)
{
    hs_optim_config c = preset(name);
    c.masters = masters;
    return c;
}

static void same(const rig *a, const rig *b, const char *name, const char *how)
{
    static const char *const slabs[] = { "master", "low", "adam.m", "adam.v", "sgd.m", "novograd.m" };
    for (int i = 0; i < HS_COUNT(slabs); i++)
        if (hs_params_slab(a->ps, slabs[i]) && !flat_equal(a->ps, b->ps, slabs[i]))
            fail_msg("%s, %s: %s differs", name, how, slabs[i]);
    assert_memory_equal(&a->state, &b->state, sizeof a->state);
}

// ---- in two halves

static void split_is_f32(const char *name, const char *isa, hs_dtype moments, int steps)
{
    hs_optim_config split = kept(name, HS_MASTERS_SPLIT), whole = preset(name);
    split.moments = whole.moments = moments;
    rig s, w;
    rig_open(&s, &split, HS_BF16, 2, isa), rig_open(&w, &whole, HS_BF16, 3, isa);
    assert_true(s.ps->master->bytes <= w.ps->master->bytes / 2 + RIG_PARAMS * 256); // each parameter is rounded up to 64 f32
    same(&s, &w, name, "drawn");
    for (int t = 0; t < steps; t++) {
        rig_step(&s, t, t % 7 == 3 ? 10 : 1e-2), rig_step(&w, t, t % 7 == 3 ? 10 : 1e-2);
        if (t % 10 == 0 || t == steps - 1)
            same(&s, &w, name, isa);
    }
    rig_close(&s), rig_close(&w);
}

static void test_split(void **state)
{
    (void)state;
    for (int tier = 0; tier < RIG_TIERS; tier++)
        for (int i = 0; rig_tier_runs(tier) && i < HS_COUNT(every); i++)
            split_is_f32(every[i], rig_tiers[tier], i % 2 ? HS_BF16 : HS_F32, rounds(40, 5));
}

// Every bit pattern that a value may have on its way: ties, the largest, infinity, NaN, subnormals. An update with rate 0 keeps it.
static void test_patterns(void **state)
{
    (void)state;
    static const uint32_t patterns[] = { 0x3F808000, 0x3F818000, 0xBF808000, 0xBF818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF,
                                         0xFF7F8000, 0x00000001, 0x80008000, 0x00018000, 0x007FFFFF, 0x00000000 };
    hs_optim_config split = kept("sgd", HS_MASTERS_SPLIT), whole = preset("sgd");
    split.schedule = whole.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 0 };
    split.weight_decay = whole.weight_decay = 0;
    rig s, w;
    rig_open(&s, &split, HS_BF16, 1, NULL), rig_open(&w, &whole, HS_BF16, 1, NULL);
    float *v = flat_copy(s.ps, "master");
    for (size_t k = 0; k < flat_count(s.ps); k++)
        v[k] = hs_bits_f32(patterns[k % HS_COUNT(patterns)]);
    flat_write(s.ps, "master", v), flat_write(w.ps, "master", v);
    hs_params_refresh_low(s.ps), hs_params_refresh_low(w.ps);
    same(&s, &w, "sgd", "patterns");
    rig_step(&s, 0, 1e-2), rig_step(&w, 0, 1e-2);
    same(&s, &w, "sgd", "patterns, a step later");
    float *after = flat_copy(s.ps, "master");
    assert_memory_equal(v, after, flat_count(s.ps) * sizeof *v);
    free(v), free(after);
    rig_close(&s), rig_close(&w);
}

// What is written, and read as the logical tensor, is whatever was written, however it is kept.
static void test_import(void **state)
{
    (void)state;
    for (int masters = 0; masters < HS_N_MASTERS; masters++) {
        const hs_optim_config c = kept("adamw", (hs_masters)masters);
        rig r;
        rig_open(&r, &c, HS_BF16, 1, NULL);
        for (int i = 0; i < r.ps->n_params; i++) {
            const hs_param *p = r.ps->param[i];
            const int64_t n = hs_param_elements(p);
            float *logical = malloc((size_t)n * sizeof *logical), *back = malloc((size_t)n * sizeof *back),
                  *values = malloc((size_t)n * sizeof *values);
            for (int64_t k = 0; k < n; k++)
                logical[k] = sinf((float)k) / 7;
            assert_int_equal(hs_params_import(r.ps, r.ps->master, p, logical), HS_OK);
            hs_params_export(r.ps, r.ps->master, p, back);
            assert_int_equal(hs_params_values(r.ps, p, values), HS_OK);
            for (int64_t k = 0; k < n; k++) {
                const float as_kept = masters == HS_MASTERS_NONE ? hs_bf16_f32(hs_value_bf16(hs_f32_bits(logical[k]))) : logical[k];
                assert_true(back[k] == as_kept && values[k] == as_kept);
            }
            free(logical), free(back), free(values);
        }
        rig_close(&r);
    }
}

// ---- which are kept in less

static void test_read_in_f32(void **state)
{
    (void)state;
    hs_params *ps;
    hs_param *p[3];
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_params_set_masters(ps, HS_MASTERS_SPLIT), HS_USAGE);
    assert_int_equal(hs_params_declare_low(ps, HS_BF16), HS_OK);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        assert_int_equal(
            hs_params_get(ps, &(hs_param_spec){ .name = name, .init = HS_INIT_NORMAL, .std = 1, .n_dims = 2, .dim = { 128, 30 } }, &p[i]),
            HS_OK);
    }
    assert_int_equal(hs_params_read_f32(ps, p[1]), HS_OK);
    const size_t all = ps->master->bytes;
    assert_int_equal(hs_params_set_masters(ps, HS_MASTERS_SPLIT), HS_OK);
    assert_int_equal(hs_param_masters(ps, p[0]), HS_MASTERS_SPLIT);
    assert_int_equal(hs_param_masters(ps, p[1]), HS_MASTERS_F32);
    assert_int_equal(ps->master->bytes, all / 3 * 2);
    assert_int_equal(hs_params_set_masters(ps, HS_MASTERS_NONE), HS_OK);
    assert_int_equal(ps->master->bytes, all / 3);
    assert_int_equal(hs_params_set_masters(ps, HS_MASTERS_F32), HS_OK);
    assert_int_equal(ps->master->bytes, all);
    assert_int_equal(hs_params_set_masters(ps, HS_MASTERS_NONE), HS_OK);
    assert_int_equal(hs_params_alloc(ps, NULL, true), HS_OK);
    assert_int_equal(hs_params_read_f32(ps, p[1]), HS_OK);
    assert_int_equal(hs_params_read_f32(ps, p[2]), HS_INTERNAL);
    assert_int_equal(hs_params_set_masters(ps, HS_MASTERS_F32), HS_INTERNAL);
    hs_params_free(ps);
}

static void test_f16(void **state) // refused: f16 and 16 bits are not an f32
{
    (void)state;
    const hs_optim_config c = kept("adamw", HS_MASTERS_SPLIT);
    static const hs_dtype lows[] = { HS_F32, HS_F16 };
    for (int i = 0; i < 2; i++) {
        hs_params *ps;
        assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
        assert_int_equal(hs_params_declare_low(ps, lows[i]), HS_OK);
        assert_int_equal(hs_optim_declare(&c, ps), HS_USAGE);
        hs_params_free(ps);
    }
}

// ---- bf16 alone

// A step of a hundredth of what a bf16 can tell apart, again and again, in the same direction: to nearest, nothing would move.
static void test_unbiased(void **state)
{
    (void)state;
    if (rig_on.accesses_only)
        skip();
    hs_optim_config c = kept("sgd", HS_MASTERS_NONE);
    const int steps = rounds(300, 30);
    const float step = 0x1p-7f / 100, start = 1.25f;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1 }, c.momentum = 0, c.weight_decay = 0;
    rig r;
    rig_open(&r, &c, HS_BF16, 2, NULL);
    const size_t n = flat_count(r.ps);
    float *v = calloc(n, sizeof *v);
    for (size_t k = 0; k < n; k++)
        v[k] = start;
    flat_write(r.ps, "master", v);
    for (size_t k = 0; k < n; k++)
        v[k] = -step;
    for (int t = 0; t < steps; t++) {
        flat_write(r.ps, "grad", v);
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
    }
    float *after = flat_copy(r.ps, "master");
    double mean = 0, squares = 0;
    for (size_t k = 0; k < n; k++)
        mean += (double)after[k] / (double)n;
    for (size_t k = 0; k < n; k++)
        squares += pow((double)after[k] - mean, 2) / (double)n;
    // of one step: variance p (1 - p) ulp^2, and steps are independent
    const double moved = mean - (double)start, expected = steps * (double)step, deviation = 0x1p-7 * sqrt(steps * 0.01 * 0.99);
    if (!(fabs(moved - expected) < 4 * deviation / sqrt((double)n)) || !(fabs(sqrt(squares) / deviation - 1) < 0.05))
        fail_msg("values moved by %g +- %g, not by %g +- %g", moved, sqrt(squares), expected, deviation);
    free(v), free(after);
    rig_close(&r);
}

static float *bits_after(const hs_optim_config *c, int threads, uint64_t seed, const char *isa)
{
    rig r;
    rig_open(&r, c, HS_BF16, threads, isa);
    r.in.seed = seed;
    for (int t = 0; t < rounds(6, 6); t++)
        rig_step(&r, t, 1e-2);
    float *all = rig_slabs(r.ps);
    rig_close(&r);
    return all;
}

static void test_bits(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(every); i += each()) {
        hs_optim_config c = kept(every[i], HS_MASTERS_NONE);
        c.moments = i % 2 ? HS_BF16 : HS_F32;
        rig r;
        rig_open(&r, &c, HS_BF16, 1, NULL);
        assert_int_equal(r.ps->master->bytes, 0);
        const size_t bytes = rig_slab_bytes(r.ps);
        rig_close(&r);
        float *one = bits_after(&c, 1, 5, NULL), *again = bits_after(&c, 3, 5, NULL), *other = bits_after(&c, 1, 6, NULL);
        assert_memory_equal(one, again, bytes);
        assert_true(memcmp(one, other, bytes) != 0); // another seed rounds otherwise
        free(one), free(again), free(other);
    }
}

// Of a parameter that tensor-parallel ranks divide, by rows within parts or by columns, each rank rounds its elements as one rank alone does.
static void values_after(const hs_optim_config *c, int rank, int size, float *all[RIG_PARAMS])
{
    rig r;
    rig_open_tp(&r, c, HS_BF16, rank, size);
    for (int t = 0; t <= 4; t++)
        for (int i = 0; i < RIG_PARAMS; i++) {
            const hs_param *p = r.ps->param[i];
            const int64_t n = hs_param_elements(p);
            float *g = malloc((size_t)n * sizeof *g);
            for (int64_t k = 0; k < n; k++)
                g[k] = 1e-2f * (2 * hs_u32_unit(hs_random(5, (uint32_t)t, (uint32_t)i, (uint32_t)k, 0).v[0]) - 1);
            assert_int_equal(hs_params_import(r.ps, r.ps->grad, p, g), HS_OK);
            if (i == RIG_PARAMS - 1)
                assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
            for (int64_t k = 0; k < n && t == 4; k++)
                g[k] = NAN; // of other ranks
            if (t == 4) {
                hs_params_export(r.ps, r.ps->master, p, g);
                all[i] = g;
            } else
                free(g);
        }
    rig_close(&r);
}

static void test_ranks(void **state)
{
    (void)state;
    enum { SIZE = 2 };
    static const char *const names[] = { "adamw", "sgd" };
    for (int i = 0; i < HS_COUNT(names); i++) {
        hs_optim_config c = kept(names[i], HS_MASTERS_NONE);
        float *whole[RIG_PARAMS], *part[RIG_PARAMS];
        c.clip = 0, c.moments = HS_BF16;
        values_after(&c, 0, 1, whole);
        for (int rank = 0; rank < SIZE; rank++) {
            static const int64_t mine[RIG_PARAMS] = { 90 * 48 / SIZE, 3 * 96 * 48 / SIZE, 3 * 96 / SIZE, 48 };
            static const int64_t all[RIG_PARAMS] = { 90 * 48, 3 * 96 * 48, 3 * 96, 48 };
            values_after(&c, rank, SIZE, part);
            for (int k = 0; k < RIG_PARAMS; k++) {
                int64_t seen = 0;
                for (int64_t e = 0; e < all[k]; e++)
                    if (part[k][e] == part[k][e]) {
                        if (part[k][e] != whole[k][e])
                            fail_msg("%s, parameter %d, element %lld on rank %d: %.9g, alone %.9g", names[i], k, (long long)e, rank,
                                     (double)part[k][e], (double)whole[k][e]);
                        seen++;
                    }
                assert_int_equal(seen, mine[k]);
                free(part[k]);
            }
        }
        for (int k = 0; k < RIG_PARAMS; k++)
            free(whole[k]);
    }
}

// As near to f32's values as bf16 lets them be: what is off is rounding, a part of each step's bf16.
static void test_values(void **state)
{
    (void)state;
    const int steps = rounds(20, 6);
    for (int i = 0; i < HS_COUNT(every); i += each()) {
        const hs_optim_config c = kept(every[i], HS_MASTERS_NONE), whole = preset(every[i]);
        rig r, f;
        rig_open(&r, &c, HS_BF16, 2, NULL), rig_open(&f, &whole, HS_BF16, 2, NULL);
        for (int t = 0; t < steps; t++)
            rig_step(&r, t, 1e-2), rig_step(&f, t, 1e-2);
        float *a = flat_copy(r.ps, "master"), *b = flat_copy(f.ps, "master"), *low = flat_copy(r.ps, "low");
        double dd = 0, bb = 0;
        for (size_t k = 0; k < flat_count(r.ps); k++) {
            dd += pow((double)a[k] - (double)b[k], 2), bb += pow((double)b[k], 2);
            assert_true(a[k] == low[k]);
        }
        if (!(sqrt(dd / bb) < 0x1p-8 * sqrt(steps)))
            fail_msg("%s: values differ by %g", every[i], sqrt(dd / bb));
        free(a), free(b), free(low);
        rig_close(&r), rig_close(&f);
    }
}

// A value that a bf16 holds stays where a step does not move it, padding stays zero, nothing becomes infinite, NaN stays NaN.
static void test_still(void **state)
{
    (void)state;
    static const float values[] = { 1, -0.0f, 0x1.fep127f, -0x1.fep127f, 0x1p-130f, NAN, 0.15625f };
    hs_optim_config c = kept("sgd", HS_MASTERS_NONE);
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1 }, c.momentum = 0, c.weight_decay = 0;
    rig r;
    rig_open(&r, &c, HS_BF16, 1, NULL);
    const size_t n = flat_count(r.ps);
    float *v = calloc(n, sizeof *v), *zero = calloc(n, sizeof *zero);
    for (size_t k = 0; k < n; k++)
        v[k] = values[k % HS_COUNT(values)];
    flat_write(r.ps, "master", v);
    for (int t = 0; t < 3; t++) {
        flat_write(r.ps, "grad", zero);
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
    }
    float *after = flat_copy(r.ps, "master");
    for (size_t k = 0; k < n; k++)
        assert_true(isnan(v[k]) ? isnan(after[k]) : after[k] == v[k]);
    for (size_t k = 0; k < n; k++)
        v[k] = k % 2 ? 0x1.fep127f : -0x1.fep127f, zero[k] = k % 2 ? -0x1p119f : 0x1p119f; // half a bf16 beyond the largest
    flat_write(r.ps, "master", v), flat_write(r.ps, "grad", zero);
    assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
    free(after), after = flat_copy(r.ps, "master");
    for (size_t k = 0; k < n; k++)
        assert_true(isnan(values[k % HS_COUNT(values)]) || after[k] == v[k]); // whose momentum is NaN too by now
    free(v), free(zero), free(after);
    rig_close(&r);
}

// On a device of other optimizers: what no norm goes into has the CPU's bits, where neither fuses what it multiplies and adds.
static void test_bits_of_the_cpu(void **state)
{
    (void)state;
#ifdef __FP_FAST_FMAF
    skip();
#endif
    if (!rig_on.tier)
        skip();
    static const char *const names[] = { "adamw", "sgd" };
    for (int i = 0; i < HS_COUNT(names); i++)
        for (int masters = HS_MASTERS_SPLIT; masters < HS_N_MASTERS; masters++) {
            hs_optim_config c = kept(names[i], (hs_masters)masters);
            c.clip = 0;
            rig theirs, ours;
            rig_open(&theirs, &c, HS_BF16, 1, NULL), rig_open_cpu(&ours, &c, HS_BF16);
            theirs.in.seed = ours.in.seed = 11;
            for (int t = 0; t < 6; t++)
                rig_step(&theirs, t, 1e-2), rig_step(&ours, t, 1e-2);
            float *a = rig_slabs(theirs.ps), *b = rig_slabs(ours.ps);
            assert_memory_equal(a, b, rig_slab_bytes(ours.ps));
            free(a), free(b);
            rig_close(&theirs), rig_close(&ours);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),  cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_import), cmocka_unit_test(test_read_in_f32),
        cmocka_unit_test(test_f16),    cmocka_unit_test(test_unbiased),
        cmocka_unit_test(test_bits),   cmocka_unit_test(test_ranks),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_still),  cmocka_unit_test(test_bits_of_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Weights of which every four neighbours keep two: a product on pressed panels gives the bits of one on whole panels, in every table, type
// and team, for one row and for many; panels that have other values stay whole; rows that are not finite give what whole panels give.
#include "core/base/rng.h"
#include "ops/ops.h"
#include "tests/support/support_kernel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

enum { X, W, BIAS };

typedef struct problem {
    int64_t n, c, o; // y[n, o] = x[n, c] w[o, c]^T
    hs_dtype low, to;
    float *x, *w, *bias;
    hs_tensor tensor[4];
    hs_node node;
    hs_step_in step;
    hs_args args;
    char *turned; // w as [c, o]
} problem;

typedef struct copy { // of w, as a plan has it
    char *p;
    size_t bytes;
} copy;

static float *normals(int64_t n, uint64_t key)
{
    float *v = malloc((size_t)n * sizeof *v);
    hs_random_normal(v, n, key, 0, 0, 1);
    return v;
}

// Of each four two at most stay: any two, sometimes one, sometimes none. What goes is 0, sometimes -0.
static void prune(float *w, int64_t n)
{
    static const uint8_t stays[11] = { 3, 5, 9, 6, 10, 12, 3, 12, 1, 8, 0 };
    for (int64_t i = 0; i < n; i += 4) {
        const hs_u32x4 u = hs_random(5, (uint64_t)i, 0, 0, 0);
        for (int j = 0; j < 4; j++)
            if (!(stays[u.v[0] % 11] >> j & 1))
                w[i + j] = u.v[1] % 5 ? 0.f : -0.f;
    }
}

static void problem_begin(problem *p, int64_t n, int64_t c, int64_t o, hs_dtype low, hs_dtype to)
{
    *p = (problem){ .n = n, .c = c, .o = o, .low = low, .to = to };
    p->x = normals(n * c, 1), p->w = normals(o * c, 2), p->bias = normals(o, 3);
    prune(p->w, o * c);
}

static char *stored(const float *v, int64_t n, hs_dtype d)
{
    char *p = malloc((size_t)n * 4 + 64);
    hs_convert(p, d, v, HS_F32, n);
    return p;
}

// What kernels are given, when x and w are as the test wants them.
static void problem_ready(problem *p)
{
    p->tensor[X] = (hs_tensor){ .dtype = p->low, .n_dims = 2, .ext = HS_EXT_TOKENS, .dim = { p->n, p->c } };
    p->tensor[W] = (hs_tensor){ .dtype = p->low, .n_dims = 2, .dim = { p->o, p->c } };
    p->tensor[BIAS] = (hs_tensor){ .dtype = HS_F32, .n_dims = 1, .dim = { p->o } };
    p->tensor[3] = (hs_tensor){ .dtype = p->to, .n_dims = 2, .ext = HS_EXT_TOKENS, .dim = { p->n, p->o } };
    p->node = (hs_node){ .op = hs_ops[HS_ID_linear], .low = p->low, .scope = "test", .out = { &p->tensor[3] } };
    for (int i = 0; i < 3; i++)
        p->node.in[i] = &p->tensor[i];
    p->args.in[X] = (hs_ref){ stored(p->x, p->n * p->c, p->low), p->n, p->c, p->low, HS_EXT_TOKENS, false, &p->tensor[X] };
    p->args.in[W] = (hs_ref){ stored(p->w, p->o * p->c, p->low), p->o, p->c, p->low, 0, false, &p->tensor[W] };
    float *t = malloc((size_t)(p->o * p->c) * sizeof *t);
    for (int64_t i = 0; i < p->o; i++)
        for (int64_t j = 0; j < p->c; j++)
            t[j * p->o + i] = p->w[i * p->c + j];
    p->turned = stored(t, p->o * p->c, p->low);
    free(t);
    p->args.in[BIAS] = (hs_ref){ stored(p->bias, p->o, HS_F32), p->o, 1, HS_F32, 0, false, &p->tensor[BIAS] };
    hs_step_live(&p->step, p->n, 1, 1);
    p->args.step = &p->step;
}

static void problem_end(problem *p)
{
    for (int i = 0; i < 3; i++)
        free(p->args.in[i].p);
    free(p->x), free(p->w), free(p->bias), free(p->turned);
}

static char *bytes_new(size_t n) { return memset(aligned_alloc(64, (n + 127) / 64 * 64), 0xFF, n); }

// The copy that a plan of that mode has, made by three. turned: of w as [in, out].
static copy copy_new(problem *p, const hs_kernels *k, hs_mode mode, bool turned)
{
    p->node.mode = (uint8_t)mode;
    copy c = { .bytes = k->derive.bytes(&p->node, false, INT32_MAX) };
    c.p = bytes_new(c.bytes);
    hs_args a = { .in[0] = p->args.in[W], .out[0] = { .p = c.p, .rows = 1, .cols = (int64_t)c.bytes, .dtype = HS_U8 } };
    if (turned) {
        a.in[0].p = p->turned;
        a.in[0].rows = p->c, a.in[0].cols = p->o;
    }
    kernel_on_lanes(3, turned ? k->derive.backward : k->derive.forward, &a);
    return c;
}

// y from that copy alone: of w itself nothing is there.
static char *product(problem *p, const hs_kernels *k, hs_mode mode, const copy *c, int lanes)
{
    p->node.mode = (uint8_t)mode;
    const hs_scratch s = k->scratch(&p->node, lanes, false);
    hs_args a = p->args;
    a.in[W].p = NULL;
    a.derived = c->p, a.derived_bytes = c->bytes;
    a.thread_bytes = (s.per_thread + 63) / 64 * 64;
    a.thread_scratch = bytes_new(a.thread_bytes * (size_t)lanes);
    const size_t bytes = (size_t)(p->n * p->o) * hs_dtype_bytes(p->to);
    a.out[0] = (hs_ref){ bytes_new(bytes), p->n, p->o, p->to, HS_EXT_TOKENS, false, &p->tensor[3] };
    kernel_on_lanes(lanes, k->fwd, &a);
    free(a.thread_scratch);
    return a.out[0].p;
}

// Panels that are pressed, of *all; -1: the table presses none.
static int64_t pressed_of(const copy *whole, const copy *pressed, int64_t *all)
{
    int64_t n = 0;
    *all = (int64_t)(pressed->bytes - whole->bytes);
    for (int64_t i = 0; i < *all; i++)
        n += pressed->p[(int64_t)whole->bytes + i];
    return *all ? n : -1;
}

// spoilt: panels whose weights have three in some four. Says whether the table presses any.
static bool same_bits(problem *p, const hs_kernels *k, const char *table, int64_t spoilt)
{
    static const int lanes_of[] = { 1, 2, 7 };
    int64_t all;
    copy whole = copy_new(p, k, HS_EVAL, false), pressed = copy_new(p, k, HS_DECODE, false), turned = copy_new(p, k, HS_DECODE, true);
    assert_int_equal(turned.bytes, pressed.bytes);
    assert_int_equal(pressed_of(&whole, &turned, &all), pressed_of(&whole, &pressed, &all));
    const int64_t n = pressed_of(&whole, &pressed, &all);
    if (n >= 0)
        assert_int_equal(n, all - spoilt);
    for (int l = 0; l < HS_COUNT(lanes_of); l++) {
        char *want = product(p, k, HS_EVAL, &whole, lanes_of[l]), *have = product(p, k, HS_DECODE, &pressed, lanes_of[l]);
        if (memcmp(want, have, (size_t)(p->n * p->o) * hs_dtype_bytes(p->to)))
            fail_msg("%s, %s to %s, %d x %d x %d, %d members: pressed panels give other bits than whole ones", table, hs_dtype_name(p->low),
                     hs_dtype_name(p->to), (int)p->n, (int)p->c, (int)p->o, lanes_of[l]);
        free(want), free(have);
    }
    char *want = product(p, k, HS_EVAL, &whole, 1), *have = product(p, k, HS_DECODE, &turned, 3);
    assert_memory_equal(want, have, (size_t)(p->n * p->o) * hs_dtype_bytes(p->to));
    free(want), free(have);
    free(whole.p), free(pressed.p), free(turned.p);
    return n >= 0;
}

static void in_every_table(problem *p, int64_t spoilt_columns)
{
    problem_ready(p);
    for (int isa = 0; isa < HS_N_ISA; isa++) {
        if (!hs_isa_built((hs_isa)isa) || !hs_isa_supported((hs_isa)isa))
            continue;
        hs_device *d;
        assert_int_equal(hs_open_device(&d, "cpu", 1, hs_isa_name((hs_isa)isa), 0, HS_ONEDNN_NO), HS_OK);
        const bool presses = same_bits(p, d->tables[0][HS_ID_linear], d->table_names[0], spoilt_columns);
        assert_int_equal(presses, isa != HS_ISA_PORTABLE);
        hs_device_close(d);
    }
}

static const hs_dtype types[] = { HS_F32, HS_BF16, HS_F16 };

static void check(int64_t n, int64_t c, int64_t o)
{
    for (int t = 0; t < HS_COUNT(types); t++)
        for (int to = 0; to < (types[t] == HS_F32 ? 1 : 2); to++) {
            problem p;
            problem_begin(&p, n, c, o, types[t], to ? types[t] : HS_F32);
            in_every_table(&p, 0);
            problem_end(&p);
        }
}

static void rows_from_one_to_many(void **state)
{
    (void)state;
    static const int64_t rows[] = { 1, 2, 3, 4, 5, 7, 40, 97, 300 };
    for (int i = 0; i < HS_COUNT(rows); i++)
        check(rows[i], 136, 200);
}
static void widths_that_no_panel_divides(void **state)
{
    (void)state;
    static const int64_t widths[][2] = { { 8, 8 }, { 24, 72 }, { 40, 16 }, { 64, 136 } };
    for (int i = 0; i < HS_COUNT(widths); i++)
        for (int64_t n = 1; n <= 4; n += 3)
            check(n, widths[i][0], widths[i][1]);
}
static void inner_width_of_several_blocks(void **state)
{
    (void)state;
    static const int64_t rows[] = { 1, 3, 40 };
    for (int i = 0; i < HS_COUNT(rows); i++)
        check(rows[i], 2312, 136);
}
static void many_columns(void **state)
{
    (void)state;
    check(1, 72, 2200), check(2, 2056, 2200);
}

// Three in one four of one column: its panel stays whole, in whichever block of k that is.
static void a_panel_that_does_not_fit(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 33; n += 16)
        for (int t = 0; t < HS_COUNT(types); t++) {
            problem p;
            problem_begin(&p, n, 1160, 200, types[t], HS_F32);
            float *four = p.w + 70 * p.c + 1152;
            four[0] = four[1] = four[3] = 1;
            in_every_table(&p, 1);
            problem_end(&p);
        }
}

// A 0 that is left out would have made NaN of an infinity.
static void rows_that_are_not_finite(void **state)
{
    (void)state;
    static const float bad[] = { INFINITY, -INFINITY, NAN };
    for (int t = 0; t < HS_COUNT(types); t++)
        for (int b = 0; b < HS_COUNT(bad); b++)
            for (int64_t at = 0; at < 2; at++) { // in either half of a word
                problem p;
                problem_begin(&p, 3, 136, 72, types[t], HS_F32);
                p.x[p.c + 42 + at] = bad[b];
                in_every_table(&p, 0);
                problem_end(&p);
            }
}

// Magnitudes far apart: what is added first decides.
static void sums_that_cancel(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) {
        problem p;
        problem_begin(&p, 4, 520, 200, types[t], types[t]);
        for (int64_t i = 0; i < p.n * p.c; i++)
            p.x[i] = ldexpf(p.x[i], (int)(hs_random(9, (uint64_t)i, 0, 0, 0).v[0] % 40) - 20);
        in_every_table(&p, 0);
        problem_end(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_from_one_to_many),
        cmocka_unit_test(widths_that_no_panel_divides),
        cmocka_unit_test(inner_width_of_several_blocks),
        cmocka_unit_test(many_columns),
        cmocka_unit_test(a_panel_that_does_not_fit),
        cmocka_unit_test(rows_that_are_not_finite),
        cmocka_unit_test(sums_that_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

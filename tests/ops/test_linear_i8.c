// Products in int8: the definition in plain integers and floats against the portable kernel, and every other tier, every loop that a tier
// has, packed codes and any team against that, bit for bit; what is not finite, zeros, ties, and sums as large as they may be; and what is
// fused against the ops that it stands for.
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/cpu/rows.h"
#include "core/run/run.h"
#include "ops/attrs.h"
#include "ops/ops.h"
#include "ops/quant/gemm_i8.h"
#include "tests/support/support_kernel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { X, CODES, SCALES, BIAS, X_SCALE, Y_SCALE, N_IN };

typedef struct problem {
    int64_t n, c, o;
    bool bias, fixed; // has them; a static scale of x
    hs_dtype x_type, y_type;
    hs_linear_i8_attr attr;
    hs_tensor tensor[N_IN + 1];
    hs_node node;
    hs_step_in step;
    hs_args args;
    float *x, *want;
} problem;

static void *bytes_new(size_t n) { return memset(aligned_alloc(64, (n + 127) / 64 * 64), 0xFF, (n + 127) / 64 * 64); }

static void operand(problem *p, int i, hs_dtype d, hs_ext ext, int64_t rows, int64_t cols)
{
    hs_tensor *t = &p->tensor[i];
    *t = (hs_tensor){ .dtype = d, .ext = ext, .n_dims = cols ? 2 : 1, .dim = { rows, cols } };
    const hs_ref r = { .p = bytes_new(hs_tensor_bytes(t)), .rows = rows, .cols = cols ? cols : 1, .dtype = d, .ext = ext, .t = t };
    *(i < N_IN ? &p->args.in[i] : &p->args.out[0]) = r;
    *(i < N_IN ? &p->node.in[i] : &p->node.out[0]) = t;
}

static int8_t code_at(int64_t o, int64_t c)
{
    if (o % 7 == 3)
        return 0;
    if (o % 7 == 5)
        return c % 2 ? 127 : -127;
    return (int8_t)((int)(hs_mix2((uint64_t)o, (uint64_t)c) % 255) - 127);
}

// Rows of all kinds: normal ones, halves between two codes, the largest value throughout, zeros, subnormal and huge ones, NaN, Inf.
static void fill_row(float *x, int64_t r, int64_t c, float scale)
{
    hs_random_normal(x, c, 91, r * c, 0, 1);
    for (int64_t i = 0; i < c; i++)
        switch (r % 11) {
        case 3:
            x[i] = ((float)(i % 253) - 126.5f) * scale;
            break;
        case 4:
            x[i] = i % 3 ? 5.0f : -5.0f;
            break;
        case 5:
            x[i] = 0;
            break;
        case 6:
            x[i] *= 1e-41f;
            break;
        case 7:
            x[i] *= 1e38f;
            break;
        case 8:
            x[i] = i == c / 2 ? NAN : x[i];
            break;
        case 9:
            x[i] = i == c - 1 ? -INFINITY : x[i];
            break;
        case 10:
            x[i] = i ? 126.5f : 127.0f;
            break; // scale 1
        default:
            break;
        }
}

// The definition, step by step as volatile floats: nothing is fused.
static void define(problem *p)
{
    const float *scales = (const float *)p->args.in[SCALES].p, *bias = (const float *)p->args.in[BIAS].p;
    int32_t *q = malloc((size_t)p->c * sizeof *q);
    for (int64_t r = 0; r < p->n; r++) {
        float most = 0;
        bool finite = true;
        for (int64_t i = 0; i < p->c; i++)
            finite &= isfinite(p->x[r * p->c + i]), most = fmaxf(most, fabsf(p->x[r * p->c + i]));
        volatile float scale = p->fixed ? *(const float *)p->args.in[X_SCALE].p : most / 127.0f;
        if (fabsf(scale) < 0x1p-126f)
            scale = 0;
        if (!finite)
            scale = NAN;
        volatile float inverse = scale == 0 ? 0 : 1.0f / scale;
        for (int64_t i = 0; i < p->c; i++) {
            volatile float v = p->x[r * p->c + i] * inverse;
            q[i] = finite ? (int32_t)rintf(fminf(fmaxf(v, -127), 127)) : 0;
        }
        for (int64_t o = 0; o < p->o; o++) {
            int64_t sum = 0;
            for (int64_t i = 0; i < p->c; i++)
                sum += (int64_t)q[i] * ((const int8_t *)p->args.in[CODES].p)[o * p->c + i];
            assert_true(sum == (int32_t)sum);
            volatile float factor = scale * scales[o], y = (float)sum * factor;
            if (bias)
                y = y + bias[o];
            p->want[r * p->o + o] = y;
        }
    }
    free(q);
}

static problem *problem_new(int64_t n, int64_t c, int64_t o, bool bias, bool fixed, hs_dtype x_type, hs_dtype y_type)
{
    problem *p = calloc(1, sizeof *p);
    *p = (problem){ .n = n, .c = c, .o = o, .bias = bias, .fixed = fixed, .x_type = x_type, .y_type = y_type };
    p->node = (hs_node){ .op = &hs_op_linear_i8_portable, .attr = &p->attr, .scope = "test", .low = HS_F32 };
    p->step = (hs_step_in){ .n[HS_COUNT_TOKENS] = n };
    p->args = (hs_args){ .step = &p->step, .attr = &p->attr };
    operand(p, X, x_type, HS_EXT_TOKENS, n, c);
    operand(p, CODES, HS_I8, HS_EXT_FIXED, o, c);
    operand(p, SCALES, HS_F32, HS_EXT_FIXED, o, 0);
    if (bias)
        operand(p, BIAS, HS_F32, HS_EXT_FIXED, o, 0);
    if (fixed)
        operand(p, X_SCALE, HS_F32, HS_EXT_FIXED, 1, 0);
    operand(p, N_IN, y_type, HS_EXT_TOKENS, n, o);
    const float scale = 0.0173f;
    p->x = bytes_new((size_t)(n * c) * sizeof(float)), p->want = bytes_new((size_t)(n * o) * sizeof(float));
    for (int64_t r = 0; r < n; r++)
        fill_row(p->x + r * c, r, c, scale);
    hs_convert(p->args.in[X].p, x_type, p->x, HS_F32, n * c);
    hs_convert(p->x, HS_F32, p->args.in[X].p, x_type, n * c); // as it is stored
    for (int64_t i = 0; i < o * c; i++)
        ((int8_t *)p->args.in[CODES].p)[i] = code_at(i / c, i % c);
    hs_random_normal((float *)p->args.in[SCALES].p, o, 5, 0, 0, 0.01f);
    if (bias)
        hs_random_normal((float *)p->args.in[BIAS].p, o, 6, 0, 0, 1);
    if (fixed)
        *(float *)p->args.in[X_SCALE].p = scale;
    return p;
}

static void problem_free(problem *p)
{
    for (int i = 0; i < N_IN; i++)
        free(p->args.in[i].p);
    free(p->args.out[0].p);
    free(p->x);
    free(p->want);
    free(p);
}

// y of these kernels, stored as y_type; to be freed.
static char *run_of(const problem *p, const hs_kernels *k, int lanes, bool packed)
{
    hs_team *team;
    assert_int_equal(hs_team_new(&team, lanes), HS_OK);
    const hs_scratch s = k->scratch(&p->node, lanes, false);
    hs_args a = p->args;
    a.thread_bytes = (s.per_thread + 63) / 64 * 64;
    a.scratch = bytes_new(s.shared), a.thread_scratch = bytes_new(a.thread_bytes * (size_t)lanes);
    a.out[0].p = bytes_new(hs_tensor_bytes(p->node.out[0]));
    void *copy = NULL;
    if (packed) {
        copy = bytes_new(k->derive.bytes(&p->node, false, INT32_MAX));
        const hs_args make = { .in[0] = a.in[k->derive.operand], .out[0] = { .p = copy } };
        kernel_on(team, k->derive.forward, &make);
        a.derived = copy;
    }
    kernel_on(team, k->fwd, &a);
    hs_team_free(team);
    free(a.scratch);
    free(a.thread_scratch);
    free(copy);
    return a.out[0].p;
}

static const hs_kernels *kernels_of(hs_isa isa)
{
    hs_device *dev;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, hs_isa_name(isa), 0, HS_ONEDNN_NO), HS_OK);
    const hs_kernels *k = NULL;
    for (int t = 0; dev->tables[t] && !k; t++)
        k = dev->tables[t][HS_ID_linear_i8];
    hs_device_close(dev);
    return k;
}

static void check_problem(problem *p, const char *what)
{
    const size_t bytes = hs_tensor_bytes(p->node.out[0]);
    char *want = bytes_new(bytes);
    define(p);
    hs_convert(want, p->y_type, p->want, HS_F32, p->n * p->o);
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int lanes = 1; lanes <= 3 && hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa); lanes++)
            for (int packed = 0; packed < 2; packed++) {
                char *got = run_of(p, kernels_of((hs_isa)isa), lanes, packed);
                if (memcmp(got, want, bytes))
                    for (int64_t i = 0; i < p->n * p->o; i++) {
                        float a, b;
                        const size_t at = (size_t)i * hs_dtype_bytes(p->y_type);
                        hs_convert(&a, HS_F32, got + at, p->y_type, 1), hs_convert(&b, HS_F32, want + at, p->y_type, 1);
                        if (memcmp(got + at, want + at, hs_dtype_bytes(p->y_type)))
                            fail_msg("%s, %s, %d lanes, packed %d: y[%lld][%lld] is %.9g (%08x), should be %.9g (%08x)", what,
                                     hs_isa_name((hs_isa)isa), lanes, packed, (long long)(i / p->o), (long long)(i % p->o), (double)a,
                                     hs_f32_bits(a), (double)b, hs_f32_bits(b));
                    }
                free(got);
            }
    free(want);
}

static void bits_of_every_tier(void **state)
{
    (void)state;
    static const struct {
        int64_t n, c, o;
    } shapes[] = { { 1, 8, 8 },    { 2, 24, 16 },   { 3, 8, 136 },   { 6, 64, 64 },    { 7, 136, 72 },  { 17, 200, 136 },
                   { 31, 72, 24 }, { 33, 64, 200 }, { 64, 128, 56 }, { 65, 264, 104 }, { 130, 1096, 8 } };
    static const hs_dtype types[][2] = {
        { HS_F32, HS_F32 }, { HS_BF16, HS_BF16 }, { HS_F16, HS_F16 }, { HS_F32, HS_BF16 }, { HS_BF16, HS_F32 }
    };
    for (int s = 0; s < HS_COUNT(shapes); s++)
        for (int t = 0; t < HS_COUNT(types); t++)
            for (int kind = 0; kind < 4; kind++) {
                problem *p = problem_new(shapes[s].n, shapes[s].c, shapes[s].o, kind & 1, kind >> 1, types[t][0], types[t][1]);
                char what[128];
                snprintf(what, sizeof what, "%lld x %lld x %lld, %s to %s%s%s", (long long)p->n, (long long)p->c, (long long)p->o,
                         hs_dtype_name(p->x_type), hs_dtype_name(p->y_type), p->bias ? ", bias" : "", p->fixed ? ", static" : "");
                check_problem(p, what);
                problem_free(p);
            }
}

static void sums_as_large_as_they_may_be(void **state)
{
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2) {
        problem *p = problem_new(2, 133144, 8, false, false, HS_F32, HS_F32);
        for (int64_t i = 0; i < 2 * p->c; i++)
            p->x[i] = ((float *)p->args.in[X].p)[i] = -3;
        memset(p->args.in[CODES].p, sign * 127, (size_t)(8 * p->c));
        check_problem(p, "the widest");
        assert_true(fabsf(p->want[0]) > 0);
        problem_free(p);
    }
}

static bool is_refused(int64_t c, hs_dtype codes, int64_t scales, const char *because)
{
    const hs_grid grid = hs_grid_self();
    hs_params *ps;
    hs_graph *g;
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_graph_new(&g, ps, NULL, HS_EVAL, &grid), HS_OK);
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ 4, c });
    hs_tensor *w = hs_input(g, "codes", codes, HS_EXT_FIXED, 2, (int64_t[]){ 8, c });
    hs_tensor *s = hs_input(g, "scales", HS_F32, HS_EXT_FIXED, 1, (int64_t[]){ scales });
    const bool poison = hs_linear_i8(g, x, w, s, NULL, NULL) == g->poison;
    const bool said = hs_graph_status(g) != HS_OK && strstr(hs_error(), because);
    hs_graph_free(g);
    hs_params_free(ps);
    return poison && said;
}
static void what_is_refused(void **state)
{
    (void)state;
    assert_true(is_refused(133152, HS_I8, 8, "not exact in int32"));
    assert_true(is_refused(64, HS_I32, 8, "codes must be i8"));
    assert_true(is_refused(64, HS_I8, 1, "scales must be as long"));
    assert_false(is_refused(133144, HS_I8, 8, ""));
    const hs_grid grid = hs_grid_self();
    for (int mode = 0; mode < 3; mode++) {
        hs_params *ps;
        hs_graph *g;
        assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
        assert_int_equal(hs_graph_new(&g, ps, NULL, mode ? HS_TRAIN : HS_EVAL, &grid), HS_OK);
        hs_linear_i8_in in = { .x = hs_input(g, "x", mode == 1 ? HS_F32 : HS_I8, HS_EXT_TOKENS, 2, (int64_t[]){ 4, 64 }) };
        in.codes = hs_input(g, "codes", HS_I8, HS_EXT_FIXED, 2, (int64_t[]){ 8, 64 });
        in.scales = hs_input(g, "scales", HS_F32, HS_EXT_FIXED, 1, (int64_t[]){ 8 });
        in.x_scale = mode == 2 ? hs_input(g, "x_scale", HS_F32, HS_EXT_FIXED, 1, (int64_t[]){ 1 }) : NULL;
        assert_ptr_equal(hs_linear_i8_fused(g, in, (hs_linear_i8_attr){ HS_I8_GELU_ERF }), g->poison);
        assert_int_not_equal(hs_graph_status(g), HS_OK);
        assert_non_null(strstr(hs_error(), mode ? "for evaluation" : "needs x_scale"));
        hs_graph_free(g);
        hs_params_free(ps);
    }
}

static void rows_that_are_not_numbers(void **state)
{
    (void)state;
    for (int fixed = 0; fixed < 2; fixed++) {
        problem *p = problem_new(11, 64, 40, true, fixed, HS_F32, HS_F32);
        check_problem(p, "rows of all kinds");
        for (int64_t r = 0; r < p->n; r++)
            for (int64_t o = 0; o < p->o; o++)
                assert_true(isnan(p->want[r * p->o + o]) == (r == 8 || r == 9));
        for (int64_t o = 0; o < p->o; o++) // zeros, and codes that are 0
            assert_true(p->want[5 * p->o + o] == ((const float *)p->args.in[BIAS].p)[o]);
        problem_free(p);
    }
    problem *p = problem_new(8, 64, 40, false, true, HS_F32, HS_F32); // no scale to divide by
    *(float *)p->args.in[X_SCALE].p = 0;
    check_problem(p, "static scale 0");
    for (int64_t i = 0; i < p->n * p->o; i++)
        assert_true(p->want[i] == 0);
    *(float *)p->args.in[X_SCALE].p = NAN;
    check_problem(p, "static scale NaN");
    for (int64_t i = 0; i < p->n * p->o; i++)
        assert_true(isnan(p->want[i]));
    problem_free(p);
}

// ---- what is fused: gelu of the product, and int8 between two products. In the portable tier the ops that it stands for have the same
// bits as this, so that every tier is held against those.

static void *gelu_of(const char *y, int64_t n, int32_t kind)
{
    hs_tensor x = { .dtype = HS_F32, .n_dims = 1, .dim = { n } };
    const hs_gelu_attr attr = { kind };
    const hs_step_in step = { 0 };
    char *to = bytes_new((size_t)n * sizeof(float));
    const hs_args a = { .attr = &attr,
                        .step = &step,
                        .in[0] = { (char *)y, n, 1, HS_F32, HS_EXT_FIXED, false, &x },
                        .out[0] = { to, n, 1, HS_F32, HS_EXT_FIXED, false, &x } };
    hs_op_gelu_portable.cpu.fwd(&a, &(hs_lane){ .id = 0, .n = 1 });
    return to;
}

static void set_float(problem *p, int i, float v)
{
    operand(p, i, HS_F32, HS_EXT_FIXED, 1, 0);
    *(float *)p->args.in[i].p = v;
}

static void check_fused(int32_t act, hs_dtype x_type, float y_scale)
{
    enum { ROWS = 44, IN = 72, BETWEEN = 200, OUT = 40 };
    const hs_kernels *portable = kernels_of(HS_ISA_PORTABLE);
    problem *first = problem_new(ROWS, IN, BETWEEN, true, act == HS_I8_GELU_TANH, x_type, HS_F32);
    problem *then = problem_new(ROWS, BETWEEN, OUT, true, true, HS_F32, HS_F32);
    *(float *)then->args.in[X_SCALE].p = y_scale;
    char *y = run_of(first, portable, 1, false), *z = y;
    if (act)
        z = gelu_of(y, ROWS * BETWEEN, act == HS_I8_GELU_TANH ? HS_GELU_TANH : HS_GELU_ERF);
    free(then->args.in[X].p);
    then->args.in[X].p = z;
    char *want = run_of(then, portable, 1, false);
    first->attr.act = act;
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int lanes = 1; lanes <= 3 && hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa); lanes++) {
            const hs_kernels *k = kernels_of((hs_isa)isa);
            char *fused = run_of(first, k, lanes, lanes > 1); // gelu alone
            assert_memory_equal(fused, z, ROWS * BETWEEN * sizeof(float));
            free(fused);
            problem *one = problem_new(ROWS, IN, BETWEEN, true, first->fixed, x_type, HS_I8);
            problem *two = problem_new(ROWS, BETWEEN, OUT, true, true, HS_I8, HS_F32);
            one->attr.act = act;
            set_float(one, Y_SCALE, y_scale);
            *(float *)two->args.in[X_SCALE].p = y_scale;
            free(two->args.in[X].p);
            two->args.in[X].p = run_of(one, k, lanes, lanes > 1);
            char *got = run_of(two, k, lanes, lanes > 1);
            assert_memory_equal(got, want, ROWS * OUT * sizeof(float));
            free(got);
            problem_free(one);
            problem_free(two);
        }
    if (act)
        free(y);
    free(want);
    problem_free(first);
    problem_free(then);
}

static void fused_is_what_it_fuses(void **state)
{
    (void)state;
    for (int32_t act = HS_I8_PLAIN; act <= HS_I8_GELU_TANH; act++)
        for (int t = 0; t < 2; t++) {
            check_fused(act, t ? HS_BF16 : HS_F32, 0.03f);
            check_fused(act, t ? HS_BF16 : HS_F32, 0);
            check_fused(act, t ? HS_BF16 : HS_F32, 1e-30f);
        }
}

// A number that is missing goes on as such: in int8 it is -128, which nothing is rounded to.
static void missing_numbers_in_int8(void **state)
{
    (void)state;
    problem *p = problem_new(11, 64, 40, true, false, HS_F32, HS_I8), *f = problem_new(11, 64, 40, true, false, HS_F32, HS_F32);
    float *wide = (float *)run_of(f, kernels_of(HS_ISA_PORTABLE), 1, false);
    int missing = 0;
    for (int64_t i = 0; i < f->n * f->o; i++)
        missing += !isfinite(wide[i]);
    assert_true(missing >= 2 * f->o && missing < f->n * f->o / 2); // rows of NaN and Inf, and what overflows
    set_float(p, Y_SCALE, 0.01f);
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int bad = 0; bad < 2 && hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa); bad++) {
            *(float *)p->args.in[Y_SCALE].p = bad ? NAN : 0.01f;
            char *y = run_of(p, kernels_of((hs_isa)isa), 1, false);
            for (int64_t i = 0; i < p->n * p->o; i++)
                assert_true(((int8_t)y[i] == -128) == (bad || !isfinite(wide[i])));
            free(y);
        }
    free(wide);
    problem_free(p);
    problem_free(f);
}

// ---- every loop a tier has, whether it is the one that is taken or not

#define TIER(tier)                                                                                                                         \
    extern const i8_loops hs_i8_loops_list_##tier[] __attribute__((weak));                                                                 \
    void hs_i8_pack_##tier(const i8_loops *l, char *panels, const int8_t *codes, int64_t n, int64_t k, int64_t p0, int64_t p1)             \
        __attribute__((weak));
TIER(avx2)
TIER(avx512)
TIER(avx512bf16)
TIER(amx)
#undef TIER
void hs_gemm_begin_amx(bool dot) __attribute__((weak));
void hs_gemm_end_amx(bool dot) __attribute__((weak));
typedef void pack_fn(const i8_loops *l, char *panels, const int8_t *codes, int64_t n, int64_t k, int64_t p0, int64_t p1);

static void check_loops(const i8_loops *l, pack_fn *pack, int64_t m, int64_t k)
{
    enum { MOST = 64 };
    const int64_t n = l->cols - 3, ld = i8_ld(l, k), words = i8_whole(k) / 4;
    int8_t *codes = bytes_new((size_t)(n * k)), *q = bytes_new((size_t)(m * k));
    char *panel = bytes_new(i8_panel_bytes(l, k)), *rows = memset(bytes_new((size_t)(I8_ROWS * ld)), 0, (size_t)(I8_ROWS * ld));
    int32_t *sums = bytes_new((size_t)(I8_ROWS * l->cols) * sizeof *sums), row_sum[MOST];
    for (int64_t i = 0; i < n * k; i++)
        codes[i] = code_at(i / k, i % k);
    for (int64_t r = 0; r < m; r++) {
        row_sum[r] = 0;
        for (int64_t c = 0; c < k; c++) {
            const int8_t v = q[r * k + c] = code_at(r + 100, c);
            row_sum[r] += v;
            if (l->wide)
                ((int16_t *)(rows + r * ld))[c] = v;
            else
                ((int8_t *)(rows + r * ld))[c] = v;
        }
    }
    pack(l, panel, codes, n, k, 0, 1);
    if (l->tiles)
        hs_gemm_begin_amx(true);
    l->sums(sums, &(i8_sums_in){ .q = rows, .panel = panel, .ld = ld, .words = words, .m = m, .row_sum = row_sum });
    if (l->tiles)
        hs_gemm_end_amx(true);
    for (int64_t r = 0; r < m; r++)
        for (int64_t j = 0; j < n; j++) {
            int32_t want = 0;
            for (int64_t c = 0; c < k; c++)
                want += q[r * k + c] * codes[j * k + c];
            if (sums[r * l->cols + j] != want)
                fail_msg("%s, %lld rows, %lld deep: sum %lld, %lld is %d, should be %d", l->name, (long long)m, (long long)k, (long long)r,
                         (long long)j, sums[r * l->cols + j], want);
        }
    free(codes);
    free(q);
    free(panel);
    free(rows);
    free(sums);
}

static void every_loop(void **state)
{
    (void)state;
    static const struct {
        hs_isa isa;
        const i8_loops *list;
        pack_fn *pack;
    } tiers[] = { { HS_ISA_PORTABLE, i8_loops_list, i8_pack },
                  { HS_ISA_AVX2, hs_i8_loops_list_avx2, hs_i8_pack_avx2 },
                  { HS_ISA_AVX512, hs_i8_loops_list_avx512, hs_i8_pack_avx512 },
                  { HS_ISA_AVX512BF16, hs_i8_loops_list_avx512bf16, hs_i8_pack_avx512bf16 },
                  { HS_ISA_AMX, hs_i8_loops_list_amx, hs_i8_pack_amx } };
    static const int64_t depths[] = { 8, 64, 72, 328 };
    for (int t = 0; t < HS_COUNT(tiers); t++)
        for (const i8_loops *l = tiers[t].list; l && l->name && hs_isa_supported(tiers[t].isa); l++) {
            if (l->runs && !l->runs())
                continue;
            print_message("%s: %s\n", hs_isa_name(tiers[t].isa), l->name);
            for (int d = 0; d < HS_COUNT(depths); d++)
                for (int64_t m = 1; m <= l->rows; m++)
                    check_loops(l, tiers[t].pack, m, depths[d]);
        }
}

// Beyond a scale that was calibrated no gradient goes through, within it all of it does. (What the table's walk fills clips nothing.)
static void gradients_end_where_codes_do(void **state)
{
    enum { N = 3, C = 264, O = 2 * HS_BLOCK + 40 }; // outputs beyond a block of what is loaded at once
    static float dy[N * O];
    int clipped = 0;
    (void)state;
    problem *p = problem_new(N, C, O, false, true, HS_F32, HS_F32);
    const float scale = *(const float *)p->args.in[X_SCALE].p, *scales = (const float *)p->args.in[SCALES].p;
    hs_random_normal(dy, N * O, 8, 0, 0, 1);
    for (int isa = 0; isa < HS_N_ISA; isa++) {
        if (!hs_isa_built((hs_isa)isa) || !hs_isa_supported((hs_isa)isa))
            continue;
        const hs_kernels *k = kernels_of((hs_isa)isa);
        const hs_scratch s = k->scratch(&p->node, 1, true);
        hs_lane lane = { .id = 0, .n = 1 };
        hs_args a = p->args;
        a.scratch = bytes_new(s.shared + 64), a.thread_bytes = (s.per_thread + 63) / 64 * 64,
        a.thread_scratch = bytes_new(a.thread_bytes + 64);
        a.dout[0] = p->args.out[0], a.dout[0].p = (char *)dy;
        a.din[X] = p->args.in[X], a.din[X].p = bytes_new(N * C * sizeof(float));
        k->bwd(&a, &lane);
        const float *dx = (const float *)a.din[X].p;
        for (int i = 0; i < N * C; i++) {
            const double steps = fabs((double)p->x[i]) / (double)scale;
            double want = 0, size = 0;
            for (int o = 0; o < O; o++) {
                const double part = (double)dy[i / C * O + o] * (double)scales[o] * ((const int8_t *)p->args.in[CODES].p)[o * C + i % C];
                want += part, size += fabs(part);
            }
            if (fabs(steps - 127) < 1e-3) // rounding decides
                continue;
            if (steps > 127)
                want = 0, size = 0, clipped++;
            if (fabs((double)dx[i] - want) > 1e-5 * size)
                fail_msg("%s: dx[%d] is %g, should be %g; x is %g steps", hs_isa_name((hs_isa)isa), i, (double)dx[i], want, steps);
        }
        free(a.scratch), free(a.thread_scratch), free(a.din[X].p);
    }
    assert_true(clipped > 20);
    problem_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_every_tier),
        cmocka_unit_test(sums_as_large_as_they_may_be),
        cmocka_unit_test(rows_that_are_not_numbers),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(every_loop),
        cmocka_unit_test(fused_is_what_it_fuses),
        cmocka_unit_test(missing_numbers_in_int8),
        cmocka_unit_test(gradients_end_where_codes_do),
    };
    return cmocka_run_group_tests_name("ops: linear_i8", tests, NULL, NULL);
}

// Products in blocks of 8 and 4 bits: the definition step by step, and every tier, every loop that a tier has, packed panels and any team
// against it, bit for bit, at 1 to 40 rows; what is not finite, zeros, ties, and sums as large as they may be.
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "ops/ops.h"
#include "ops/quant/block_products.h"
#include "tests/support/support_kernel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

enum { X, CODES, SCALES, BIAS, N_IN };

typedef struct problem {
    int64_t n, c, o;
    bool four;
    hs_dtype x_type, y_type;
    hs_tensor tensor[N_IN + 1];
    hs_node node;
    hs_step_in step;
    hs_args args;
    float *x, *want; // x as it is stored; the sums, with the bias
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

static int code_at(const problem *p, int64_t o, int64_t c)
{
    const int most = p->four ? 7 : 127, least = p->four ? -8 : -127;
    if (o % 7 == 3)
        return 0;
    if (o % 7 == 5)
        return c % 2 ? most : least;
    return (int)(hs_mix2((uint64_t)o, (uint64_t)c) % (uint64_t)(most - least + 1)) + least;
}

static void fill_codes(problem *p)
{
    for (int64_t i = 0; i < p->o * p->c; i++) {
        const int code = code_at(p, i / p->c, i % p->c);
        if (!p->four)
            ((int8_t *)p->args.in[CODES].p)[i] = (int8_t)code;
        else if (i % 2)
            ((uint8_t *)p->args.in[CODES].p)[i / 2] |= (uint8_t)((code + 8) << 4);
        else
            ((uint8_t *)p->args.in[CODES].p)[i / 2] = (uint8_t)(code + 8);
    }
}

// Rows of all kinds: normal ones, halves between two codes, the largest value throughout, zeros, subnormal and huge ones, NaN, Inf.
static void fill_row(float *x, int64_t r, int64_t c)
{
    hs_random_normal(x, c, 91, r * c, 0, 1);
    for (int64_t i = 0; i < c; i++)
        switch (r % 11) {
        case 3:
            x[i] = i % BLOCK ? (float)(i % 253) - 126.5f : 127.0f;
            break; // scale 1
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
            x[i] *= 1e37f;
            break;
        case 8:
            x[i] = i == c / 2 ? NAN : x[i];
            break;
        case 9:
            x[i] = i == c - 1 ? -INFINITY : x[i];
            break;
        case 10:
            x[i] *= i / BLOCK % 2 ? 1e-37f : 1e4f;
            break; // scales about the least there is
        default:
            break;
        }
}

static float rounded(volatile float v) { return v; } // nothing is fused

// The block of a row at x: codes; returns the scale.
static float quantize(const float *x, int *q)
{
    float most = 0;
    bool finite = true;
    for (int i = 0; i < BLOCK; i++) {
        finite &= isfinite(x[i]) != 0;
        most = fmaxf(most, fabsf(x[i]));
    }
    const float scale = rounded(most / 127.0f), inverse = scale >= 0x1p-126f ? rounded(1.0f / scale) : 0;
    for (int i = 0; i < BLOCK; i++)
        q[i] = finite ? (int)rintf(rounded(x[i] * inverse)) : 0;
    return !finite ? NAN : scale >= 0x1p-126f ? scale : 0;
}

static void define(problem *p)
{
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t o = 0; o < p->o; o++) {
            float sum = 0;
            for (int64_t b = 0; b < p->c / BLOCK; b++) {
                int q[BLOCK], dot = 0;
                const float sx = quantize(p->x + n * p->c + b * BLOCK, q);
                for (int i = 0; i < BLOCK; i++)
                    dot += q[i] * code_at(p, o, b * BLOCK + i);
                const float sw = hs_f16_f32(((const uint16_t *)p->args.in[SCALES].p)[o * (p->c / BLOCK) + b]);
                sum = rounded(sum + rounded((float)dot * rounded(sx * sw)));
            }
            if (p->args.in[BIAS].p)
                sum = rounded(sum + ((const float *)p->args.in[BIAS].p)[o]);
            p->want[n * p->o + o] = sum;
        }
}

static problem *problem_new(int64_t n, int64_t c, int64_t o, bool four, bool bias, hs_dtype x_type, hs_dtype y_type)
{
    problem *p = calloc(1, sizeof *p);
    *p = (problem){ .n = n, .c = c, .o = o, .four = four, .x_type = x_type, .y_type = y_type };
    p->step.n[HS_COUNT_TOKENS] = n;
    p->args.step = &p->step;
    operand(p, X, x_type, HS_EXT_TOKENS, n, c);
    operand(p, CODES, four ? HS_U8 : HS_I8, HS_EXT_FIXED, o, four ? c / 2 : c);
    operand(p, SCALES, HS_F16, HS_EXT_FIXED, o, c / BLOCK);
    if (bias)
        operand(p, BIAS, HS_F32, HS_EXT_FIXED, o, 0);
    operand(p, N_IN, y_type, HS_EXT_TOKENS, n, o);
    p->x = bytes_new((size_t)(n * c) * sizeof(float)), p->want = bytes_new((size_t)(n * o) * sizeof(float));
    for (int64_t r = 0; r < n; r++)
        fill_row(p->x + r * c, r, c);
    hs_convert(p->args.in[X].p, x_type, p->x, HS_F32, n * c);
    hs_convert(p->x, HS_F32, p->args.in[X].p, x_type, n * c);
    fill_codes(p);
    float *scale = bytes_new((size_t)(o * c / BLOCK) * sizeof *scale);
    hs_random_normal(scale, o * c / BLOCK, 5, 0, 0, 0.01f);
    for (int64_t i = 0; i < o * c / BLOCK; i++)
        scale[i] *= i % 13 == 7 ? 0 : i % 13 == 9 ? 1e-4f : 1; // none, and subnormal halves
    hs_convert(p->args.in[SCALES].p, HS_F16, scale, HS_F32, o * c / BLOCK);
    free(scale);
    if (bias)
        hs_random_normal((float *)p->args.in[BIAS].p, o, 6, 0, 0, 1);
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

// ---- the op in every tier

enum { MOST_LANES = 3 };
static hs_team *teams[MOST_LANES + 1];
static const hs_kernels *kernels[HS_N_ISA]; // NULL: not here

static int setup(void **state)
{
    (void)state;
    for (int lanes = 1; lanes <= MOST_LANES; lanes++)
        assert_int_equal(hs_team_new(&teams[lanes], lanes), HS_OK);
    for (int isa = 0; isa < HS_N_ISA; isa++) {
        hs_device *dev;
        if (!hs_isa_built((hs_isa)isa) || !hs_isa_supported((hs_isa)isa))
            continue;
        assert_int_equal(hs_open_device(&dev, "cpu", 1, hs_isa_name((hs_isa)isa), 0, HS_ONEDNN_NO), HS_OK);
        for (int t = 0; dev->tables[t] && !kernels[isa]; t++)
            kernels[isa] = dev->tables[t][HS_ID_linear_blocks];
        hs_device_close(dev);
    }
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    for (int lanes = 1; lanes <= MOST_LANES; lanes++)
        hs_team_free(teams[lanes]);
    return 0;
}

// y of these kernels, stored as y_type; to be freed.
static char *run_of(const problem *p, const hs_kernels *k, int lanes, bool packed)
{
    const hs_scratch s = k->scratch(&p->node, lanes, false);
    hs_args a = p->args;
    a.thread_bytes = (s.per_thread + 63) / 64 * 64;
    a.scratch = bytes_new(s.shared), a.thread_scratch = bytes_new(a.thread_bytes * (size_t)lanes);
    a.out[0].p = bytes_new(hs_tensor_bytes(p->node.out[0]));
    void *copy = NULL;
    if (packed) {
        const size_t bytes = k->derive.bytes(&p->node, false, INT32_MAX);
        copy = bytes_new(bytes);
        const hs_args make = { .in = { a.in[CODES], a.in[SCALES] }, .out[0] = { .p = copy } };
        kernel_on(teams[lanes], k->derive.forward, &make);
        a.derived = copy;
    }
    kernel_on(teams[lanes], k->fwd, &a);
    free(a.scratch);
    free(a.thread_scratch);
    free(copy);
    return a.out[0].p;
}

static void compare(const problem *p, const char *got, const char *want, const char *what)
{
    const size_t size = hs_dtype_bytes(p->y_type);
    for (int64_t i = 0; i < p->n * p->o; i++)
        if (memcmp(got + (size_t)i * size, want + (size_t)i * size, size)) {
            float a, b;
            hs_convert(&a, HS_F32, got + (size_t)i * size, p->y_type, 1), hs_convert(&b, HS_F32, want + (size_t)i * size, p->y_type, 1);
            fail_msg("%lld x %lld x %lld, %d bits, %s to %s%s, %s: y[%lld][%lld] is %.9g (%08x), should be %.9g (%08x)", (long long)p->n,
                     (long long)p->c, (long long)p->o, p->four ? 4 : 8, hs_dtype_name(p->x_type), hs_dtype_name(p->y_type),
                     p->args.in[BIAS].p ? ", bias" : "", what, (long long)(i / p->o), (long long)(i % p->o), (double)a, hs_f32_bits(a),
                     (double)b, hs_f32_bits(b));
        }
}

static void check_problem(problem *p)
{
    char *want = bytes_new(hs_tensor_bytes(p->node.out[0]));
    define(p);
    hs_convert(want, p->y_type, p->want, HS_F32, p->n * p->o);
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int lanes = 1; lanes <= MOST_LANES && kernels[isa]; lanes++)
            for (int packed = 0; packed < 2; packed++) {
                char what[64], *got = run_of(p, kernels[isa], lanes, packed);
                snprintf(what, sizeof what, "%s, %d lanes%s", hs_isa_name((hs_isa)isa), lanes, packed ? ", packed" : "");
                compare(p, got, want, what);
                free(got);
            }
    free(want);
}

static void bits_of_every_tier(void **state)
{
    (void)state;
    static const struct {
        int64_t n, c, o;
    } shapes[] = { { 1, 32, 1 }, { 2, 64, 31 }, { 6, 96, 33 }, { 7, 160, 72 }, { 13, 224, 136 }, { 31, 32, 24 }, { 130, 1056, 8 } };
    static const hs_dtype types[][2] = {
        { HS_F32, HS_F32 }, { HS_BF16, HS_BF16 }, { HS_F16, HS_F16 }, { HS_F32, HS_BF16 }, { HS_BF16, HS_F32 }
    };
    for (int s = 0; s < HS_COUNT(shapes); s++)
        for (int t = 0; t < HS_COUNT(types); t++)
            for (int kind = 0; kind < 4; kind++) {
                problem *p = problem_new(shapes[s].n, shapes[s].c, shapes[s].o, kind & 1, kind >> 1, types[t][0], types[t][1]);
                check_problem(p);
                problem_free(p);
            }
}

static void any_number_of_rows(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 40; n++)
        for (int four = 0; four < 2; four++) {
            problem *p = problem_new(n, 96, 77, four, true, HS_F32, HS_F32);
            check_problem(p);
            problem_free(p);
        }
}

static void rows_that_are_not_numbers(void **state)
{
    (void)state;
    for (int four = 0; four < 2; four++) {
        problem *p = problem_new(11, 128, 40, four, true, HS_F32, HS_F32);
        check_problem(p);
        for (int64_t i = 0; i < p->n * p->o; i++) {
            assert_true(isnan(p->want[i]) == (i / p->o == 8 || i / p->o == 9));
            if (i / p->o == 5 || i / p->o == 6 || i % p->o % 7 == 3) // zeros, what counts as such, and codes of 0
                assert_true(isnan(p->want[i]) || p->want[i] == ((const float *)p->args.in[BIAS].p)[i % p->o]);
        }
        problem_free(p);
    }
}

// ---- every loop a tier has, whether it is the one that is taken or not

#define TIER(tier)                                                                                                                         \
    extern const blocks_loops hs_blocks_all_##tier[] __attribute__((weak));                                                                \
    void hs_blocks_quantize_##tier(const blocks_loops *l, char *to, const float *x, int64_t row, int64_t rows, int64_t in, bool four)      \
        __attribute__((weak));                                                                                                             \
    void hs_blocks_pack_##tier(const blocks_loops *l, char *panel, const hs_ref *codes, const hs_ref *scales, int64_t first)               \
        __attribute__((weak));
TIER(avx2)
TIER(avx512)
TIER(avx512bf16)
#undef TIER

typedef struct tier {
    hs_isa isa;
    const blocks_loops *all;
    void (*quantize)(const blocks_loops *l, char *to, const float *x, int64_t row, int64_t rows, int64_t in, bool four);
    void (*pack)(const blocks_loops *l, char *panel, const hs_ref *codes, const hs_ref *scales, int64_t first);
} tier;

static void check_loops(const tier *t, const blocks_loops *l, problem *p)
{
    char *rows = bytes_new(blocks_rows_bytes(p->n, p->c)), *panel = bytes_new(blocks_panel_bytes(p->c, p->four));
    float *y = bytes_new((size_t)(p->n * p->o) * sizeof *y), sum[TILE_ROWS][PANEL];
    for (int64_t r = 0; r < p->n; r++)
        t->quantize(l, rows, p->x + r * p->c, r, p->n, p->c, p->four);
    for (int64_t first = 0; first < p->o; first += PANEL) {
        t->pack(l, panel, &p->args.in[CODES], &p->args.in[SCALES], first);
        for (int64_t r = 0; r < p->n; r += TILE_ROWS) {
            const int height = p->n - r < TILE_ROWS ? (int)(p->n - r) : TILE_ROWS;
            const blocks_tile tile = { blocks_tile_at(rows, r / TILE_ROWS, p->c), panel, p->c / BLOCK, sum };
            (p->four ? l->four : l->eight)(&tile, height);
            for (int i = 0; i < height; i++)
                for (int64_t c = 0; c < PANEL && first + c < p->o; c++)
                    y[(r + i) * p->o + first + c] = sum[i][c];
        }
    }
    compare(p, (const char *)y, (const char *)p->want, l->name);
    free(rows);
    free(panel);
    free(y);
}

static void every_loop(void **state)
{
    (void)state;
    static const tier tiers[] = { { HS_ISA_PORTABLE, blocks_all, blocks_quantize, blocks_pack },
                                  { HS_ISA_AVX2, hs_blocks_all_avx2, hs_blocks_quantize_avx2, hs_blocks_pack_avx2 },
                                  { HS_ISA_AVX512, hs_blocks_all_avx512, hs_blocks_quantize_avx512, hs_blocks_pack_avx512 },
                                  { HS_ISA_AVX512BF16, hs_blocks_all_avx512bf16, hs_blocks_quantize_avx512bf16,
                                    hs_blocks_pack_avx512bf16 } };
    for (int t = 0; t < HS_COUNT(tiers); t++)
        for (const blocks_loops *l = tiers[t].all; l && hs_isa_supported(tiers[t].isa); l = l->runs ? l + 1 : NULL) {
            if (l->runs && !l->runs())
                continue;
            print_message("%s: %s\n", hs_isa_name(tiers[t].isa), l->name);
            for (int64_t n = 1; n <= 13; n++)
                for (int four = 0; four < 2; four++) {
                    problem *p = problem_new(n, 160, 40, four, false, HS_F32, HS_F32);
                    define(p);
                    check_loops(&tiers[t], l, p);
                    problem_free(p);
                }
        }
}

static bool is_refused(int64_t c, hs_dtype codes, int64_t width, int64_t scales, const char *because)
{
    const hs_grid grid = hs_grid_self();
    hs_params *ps;
    hs_graph *g;
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_graph_new(&g, ps, NULL, HS_EVAL, &grid), HS_OK);
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ 4, c });
    hs_tensor *w = hs_input(g, "codes", codes, HS_EXT_FIXED, 2, (int64_t[]){ 8, width });
    hs_tensor *s = hs_input(g, "scales", HS_F16, HS_EXT_FIXED, 2, (int64_t[]){ 8, scales });
    const bool poison = hs_linear_blocks(g, x, w, s, NULL) == g->poison;
    const bool said = hs_graph_status(g) != HS_OK && strstr(hs_error(), because);
    hs_graph_free(g);
    hs_params_free(ps);
    return poison && said;
}
static void what_is_refused(void **state)
{
    (void)state;
    assert_true(is_refused(48, HS_I8, 48, 2, "multiple of 32"));
    assert_true(is_refused(64, HS_I32, 64, 2, "codes must be i8"));
    assert_true(is_refused(64, HS_U8, 64, 2, "inner widths differ"));
    assert_true(is_refused(64, HS_I8, 64, 1, "scales must be f16"));
    assert_false(is_refused(64, HS_I8, 64, 2, ""));
    assert_false(is_refused(64, HS_U8, 32, 2, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_every_tier), cmocka_unit_test(any_number_of_rows), cmocka_unit_test(rows_that_are_not_numbers),
        cmocka_unit_test(every_loop),         cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests_name("ops: linear_blocks", tests, setup, teardown);
}

// Products on CUDA beyond the sizes of the op table's cases: every kernel, orientation and way of reading, several blocks of C and chunks
// of k, ranges of k, batches and live counts, against f64; and the same bits by every kernel, at any number of rows.
#include "core/base/rng.h"
#include "core/cuda/gemm_impl.cuh"
#include "tests/emu/emu_runtime.h"
extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
}
#include <stdlib.h>
#include <string.h>

cudaStream_t gpu_stream(const hs_lane *) { return nullptr; }
extern "C" struct hs_lt *gpu_lt(const hs_lane *);
struct hs_lt *gpu_lt(const hs_lane *) { return nullptr; } // by our own kernels

typedef struct problem {
    int64_t m, n, k, batches;
    bool a_major, b_major;
    hs_dtype a, b, c;
    bool add, bias;
    int live;
    int64_t n_live;
    int ranges;
    int odd; // elements by which rows and the first of them are off multiples of 16 bytes
} problem;

enum { PAD = 8 };
typedef struct matrix { // batches of rows, `ld` apart, between what nobody may look at
    char *base, *p;
    float *v; // the values, rows behind each other
    int64_t rows, cols, ld, batches;
    hs_dtype dtype;
    size_t bytes;
} matrix;

static matrix matrix_new(int64_t batches, int64_t rows, int64_t cols, hs_dtype d, int odd, uint64_t key)
{
    matrix x = {};
    const size_t each = hs_dtype_bytes(d);
    x.rows = rows, x.cols = cols, x.batches = batches, x.dtype = d, x.ld = cols + (odd ? odd : PAD);
    x.bytes = (size_t)(batches * rows * x.ld + odd) * each;
    if (posix_memalign(reinterpret_cast<void **>(&x.base), 64, x.bytes + 64))
        abort();
    memset(x.base, 0xFF, x.bytes + 64);
    x.p = x.base + (size_t)odd * each;
    const int64_t count = batches * rows * cols;
    x.v = static_cast<float *>(malloc((size_t)count * sizeof *x.v));
    hs_random_normal(x.v, count, key, 0, 0, 1);
    for (int64_t r = 0; r < batches * rows; r++) {
        hs_convert(x.p + (size_t)(r * x.ld) * each, d, x.v + r * cols, HS_F32, cols);
        hs_convert(x.v + r * cols, HS_F32, x.p + (size_t)(r * x.ld) * each, d, cols);
    }
    return x;
}
static void matrix_free(matrix *x) { free(x->base), free(x->v); }
static float at(const matrix *x, int64_t z, int64_t row, int64_t col)
{
    float v;
    hs_convert(&v, HS_F32, x->p + (size_t)((z * x->rows + row) * x->ld + col) * hs_dtype_bytes(x->dtype), x->dtype, 1);
    return v;
}
static void kill(matrix *x, int64_t first_row)
{
    for (int64_t r = first_row; r < x->batches * x->rows; r++)
        memset(x->p + (size_t)(r * x->ld) * hs_dtype_bytes(x->dtype), 0xFF, (size_t)x->cols * hs_dtype_bytes(x->dtype));
}

typedef struct sides {
    matrix a, b, c, was;
    float *bias, *partial;
    size_t partial_bytes;
    hs_step_in step;
    gemm g;
} sides;

static float narrowed(float x, hs_dtype low)
{
    const uint16_t bits = low == HS_BF16 ? hs_f32_bf16(x) : hs_f32_f16(x);
    return low == HS_F32 ? x : low == HS_BF16 ? hs_bf16_f32(bits) : hs_f16_f32(bits);
}

static void make(sides *s, const problem *p)
{
    memset(s, 0, sizeof *s);
    s->a = matrix_new(p->batches, p->a_major ? p->k : p->m, p->a_major ? p->m : p->k, p->a, p->odd, 1);
    s->b = matrix_new(p->batches, p->b_major ? p->k : p->n, p->b_major ? p->n : p->k, p->b, p->odd, 2);
    s->c = matrix_new(p->batches, p->m, p->n, p->c, p->odd, 3);
    s->was = matrix_new(p->batches, p->m, p->n, p->c, p->odd, 3);
    s->bias = static_cast<float *>(malloc((size_t)p->n * sizeof(float)));
    hs_random_normal(s->bias, p->n, 4, 0, 0, 1);
    gemm *g = &s->g;
    *g = gemm_make(p->m, p->n, p->k);
    g->batches = p->batches;
    g->a.p = s->a.p, g->a.ld = s->a.ld, g->a.stride = s->a.rows * s->a.ld, g->a.dtype = p->a, g->a.k_major = p->a_major;
    g->b.p = s->b.p, g->b.ld = s->b.ld, g->b.stride = s->b.rows * s->b.ld, g->b.dtype = p->b, g->b.k_major = p->b_major;
    g->c.p = s->c.p, g->c.ld = s->c.ld, g->c.stride = s->c.rows * s->c.ld, g->c.dtype = p->c, g->c.add = p->add,
    g->c.scale = p->bias ? 1 : 0.5f;
    g->c.bias = p->bias ? s->bias : nullptr;
    g->live = p->live, g->ext = HS_EXT_TOKENS, g->rows = p->live == GEMM_LIVE_M ? p->m : p->live == GEMM_LIVE_K ? p->k : p->batches;
    g->step = &s->step;
    s->step.n[HS_COUNT_TOKENS] = p->n_live;
    if (p->live == GEMM_LIVE_M && !p->a_major)
        kill(&s->a, p->n_live);
    if (p->live == GEMM_LIVE_K)
        kill(&s->a, p->n_live), kill(&s->b, p->n_live);
    if (p->live == GEMM_LIVE_BATCHES)
        kill(&s->a, p->n_live * s->a.rows), kill(&s->b, p->n_live * s->b.rows);
    s->partial_bytes = (size_t)(p->batches * p->ranges * p->m * p->n) * sizeof(float);
    s->partial = static_cast<float *>(malloc(s->partial_bytes));
    memset(s->partial, 0xFF, s->partial_bytes);
    g->partial = s->partial;
    emu_forget();
    emu_watch("a", s->a.base, s->a.bytes, false);
    emu_watch("b", s->b.base, s->b.bytes, false);
    emu_watch("c", s->c.base, s->c.bytes, true);
    emu_watch("bias", s->bias, (size_t)p->n * sizeof(float), false);
    emu_watch("partial", s->partial, s->partial_bytes, true);
    emu_watch("step", &s->step, sizeof s->step, false);
}
static void unmake(sides *s)
{
    emu_forget();
    matrix_free(&s->a), matrix_free(&s->b), matrix_free(&s->c), matrix_free(&s->was);
    free(s->bias), free(s->partial);
}

static void check(const sides *s, const problem *p, const char *how)
{
    const hs_dtype low = p->a != HS_F32 ? p->a : p->b;
    const int64_t m = p->live == GEMM_LIVE_M ? p->n_live : p->m, k = p->live == GEMM_LIVE_K ? p->n_live : p->k;
    const double eps = p->c == HS_BF16 ? 0x1p-8 : p->c == HS_F16 ? 0x1p-11 : 0x1p-20;
    for (int64_t z = 0; z < p->batches; z++)
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j += i % 7 == z % 7 ? 1 : 13) {
                const float was = at(&s->was, z, i, j), got = at(&s->c, z, i, j);
                double sum = 0, size = 0;
                for (int64_t q = 0; q < k; q++) {
                    const double x =
                        (double)narrowed(p->a_major ? s->a.v[(z * p->k + q) * p->m + i] : s->a.v[(z * p->m + i) * p->k + q], low) *
                        (double)narrowed(p->b_major ? s->b.v[(z * p->k + q) * p->n + j] : s->b.v[(z * p->n + j) * p->k + q], low);
                    sum += x, size += x * x;
                }
                double want = sum * (double)s->g.c.scale + (p->bias ? (double)s->bias[j] : 0) + (p->add ? (double)was : 0);
                if (i >= m || (p->live == GEMM_LIVE_BATCHES && z >= p->n_live))
                    want = (double)was;
                if (!(fabs((double)got - want) <= eps * (fabs(want) + sqrt(size) + 1)))
                    fail_msg("%s: [%lld][%lld, %lld] of %lld x %lld x %lld, %s %s -> %s%s%s is %.9g, should be %.9g", how, (long long)z,
                             (long long)i, (long long)j, (long long)p->m, (long long)p->n, (long long)p->k, hs_dtype_name(p->a),
                             hs_dtype_name(p->b), hs_dtype_name(p->c), p->a_major ? ", a k-major" : "", p->b_major ? ", b k-major" : "",
                             (double)got, want);
            }
}

static const char *const kinds[] = { "large", "small", "few" };

// By every kernel that there is for it: the values, and of all the same bits.
static int by_all_kinds(const problem *p)
{
    int n = 0;
    sides first;
    for (int kind = GEMM_LARGE; kind <= GEMM_FEW; kind++) {
        sides s;
        make(&s, p);
        const gemm g = gemm_ready(&s.g);
        if (!gemm_has(&g, (gemm_kind)kind) || (kind == GEMM_FEW && p->ranges > 1)) {
            unmake(&s);
            continue;
        }
        emu_schedule((emu_order)(n % 3), (uint64_t)n);
        gemm_by(&g, (gemm_kind)kind, p->ranges, nullptr);
        const char *wrong = emu_verdict();
        if (wrong)
            fail_msg("%s: %s", kinds[kind], wrong);
        check(&s, p, kinds[kind]);
        if (n++) {
            if (memcmp(s.c.base, first.c.base, s.c.bytes))
                fail_msg("%s has other bits than %s: %lld x %lld x %lld, %s", kinds[kind], kinds[GEMM_LARGE], (long long)p->m,
                         (long long)p->n, (long long)p->k, hs_dtype_name(p->a));
            unmake(&s);
        } else
            first = s;
    }
    emu_forget();
    unmake(&first);
    return n;
}

static void every_kernel(void **state)
{
    (void)state;
    int few = 0;
    static const hs_dtype types[][3] = { { HS_F32, HS_F32, HS_F32 },
                                         { HS_BF16, HS_BF16, HS_BF16 },
                                         { HS_F16, HS_F16, HS_F32 },
                                         { HS_F32, HS_BF16, HS_F32 },
                                         { HS_F16, HS_F32, HS_F16 } };
    for (int t = 0; t < (int)(sizeof types / sizeof *types); t++)
        for (int major = 0; major < 4; major++)
            for (int odd = 0; odd < 2; odd++) {
                problem p = { 21,         48,          1096,        1,           (major & 1) != 0,
                              major > 1,  types[t][0], types[t][1], types[t][2], major == 2,
                              major == 0, GEMM_ALL,    0,           1,           odd };
                if (p.a_major)
                    p.m = odd ? 21 : 24;
                few += by_all_kinds(&p) == 3;
            }
    assert_int_equal(few, 3); // of types that are alike, where both have k contiguous
}

static void several_blocks(void **state)
{
    (void)state;
    static const problem p[] = {
        { 1170, 264, 72, 1, false, false, HS_BF16, HS_BF16, HS_F32, false, true, GEMM_LIVE_M, 1130, 1, 0 },
        { 150, 392, 520, 1, false, true, HS_F16, HS_F16, HS_F16, true, false, GEMM_LIVE_M, 133, 1, 0 },
        { 136, 264, 600, 1, true, true, HS_BF16, HS_BF16, HS_F32, true, false, GEMM_LIVE_K, 579, 1, 0 },
        { 150, 264, 90, 1, false, true, HS_F32, HS_F32, HS_F32, false, true, GEMM_LIVE_M, 149, 1, 0 },
        { 33, 40, 72, 3, false, false, HS_F32, HS_F32, HS_BF16, true, false, GEMM_LIVE_BATCHES, 2, 1, 0 },
        { 40, 72, 33, 3, true, true, HS_BF16, HS_BF16, HS_F32, false, false, GEMM_LIVE_BATCHES, 2, 1, 0 },
        { 40, 7, 33, 3, true, false, HS_F16, HS_F16, HS_F32, false, false, GEMM_LIVE_BATCHES, 3, 1, 3 },
    };
    for (int i = 0; i < (int)(sizeof p / sizeof *p); i++)
        assert_true(by_all_kinds(&p[i]) > 1);
}

// A live k in ranges: all of them, some of which nothing lives, and none.
static void ranges_add_up(void **state)
{
    (void)state;
    static const int64_t live[] = { 2600, 1024, 700, 1, 0 };
    static const hs_dtype types[] = { HS_F32, HS_BF16, HS_F16 };
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < (int)(sizeof live / sizeof *live); i++) {
            const problem p = { 24, 40, 2600, 1, true, true, types[t], types[t], HS_F32, i % 2 == 0, false, GEMM_LIVE_K, live[i], 3, 0 };
            by_all_kinds(&p);
        }
    const problem odd = { 21, 13, 2100, 1, true, true, HS_BF16, HS_BF16, HS_F32, true, false, GEMM_LIVE_K, 2000, 2, 1 };
    by_all_kinds(&odd);
}

// The first rows of a product are those of fewer rows.
static void rows_alone(void **state)
{
    (void)state;
    static const hs_dtype types[] = { HS_F32, HS_BF16, HS_F16 };
    for (int t = 0; t < 3; t++) {
        problem p = { 140, 72, 1200, 1, false, false, types[t], types[t], types[t], false, true, GEMM_ALL, 0, 1, 0 };
        sides all;
        make(&all, &p);
        gemm_run(&all.g, nullptr);
        assert_null(emu_verdict());
        for (int64_t m = 1; m < p.m; m = m * 3 + 1) {
            problem one = p;
            one.m = m;
            sides s;
            make(&s, &one);
            memcpy(s.a.p, all.a.p, (size_t)(m * s.a.ld) * hs_dtype_bytes(one.a)); // the keys' values depend on how many there are
            gemm_run(&s.g, nullptr);
            assert_null(emu_verdict());
            for (int64_t i = 0; i < m; i++)
                assert_memory_equal(s.c.p + (size_t)(i * s.c.ld) * hs_dtype_bytes(p.c),
                                    all.c.p + (size_t)(i * all.c.ld) * hs_dtype_bytes(p.c), (size_t)p.n * hs_dtype_bytes(p.c));
            unmake(&s);
        }
        unmake(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel),
        cmocka_unit_test(several_blocks),
        cmocka_unit_test(ranges_add_up),
        cmocka_unit_test(rows_alone),
    };
    return cmocka_run_group_tests_name("products on CUDA", tests, NULL, NULL);
}

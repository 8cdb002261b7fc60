// linear_i8 by cuBLASLt's double against its own kernel on the same GPU and against the definition in plain integers and floats, bit for
// bit: the layers of a BERT, types, scales, biases, gelu behind it and int8 before and behind it; rows that are dead or not finite; more rows
// than are summed at once; widths that the library is not asked for.
#include "core/base/rng.h"
#include "ops/ops.h"
#include "ops/quant/i8_round.h"
#include "ops/rows/gelu_form.h"
#include "tests/emu/two_gpus.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" const hs_kernels hs_cuda_linear_i8;

enum { X, CODES, SCALES, BIAS, X_SCALE, Y_SCALE };
enum { Y };
enum { GUARD = 4096 };
static long (*products)(void); // of int8, that the double was called for

typedef struct problem {
    int64_t rows, live, k, n;
    hs_dtype x, y;
    bool bias, fixed;
    int calls; // of the library, that are expected
    bool own;  // is compared with the own kernel too
    int32_t act;
} problem;

static char *room(size_t bytes)
{
    char *p = static_cast<char *>(aligned_alloc(256, (bytes + GUARD + 255) / 256 * 256));
    memset(p, 0xFF, (bytes + GUARD + 255) / 256 * 256);
    return p;
}
static hs_ref operand(hs_dtype d, int64_t rows, int64_t cols, hs_ext ext = HS_EXT_FIXED)
{
    hs_ref r = {};
    r.p = room((size_t)(rows * cols) * hs_dtype_bytes(d));
    r.rows = rows, r.cols = cols, r.dtype = d, r.ext = ext;
    return r;
}
static void draw(const hs_ref &r, uint64_t key, float mean, float size)
{
    const int64_t n = r.rows * r.cols;
    float *v = static_cast<float *>(malloc((size_t)n * sizeof *v));
    hs_random_normal(v, n, key, 0, mean, size);
    hs_convert(r.p, r.dtype, v, HS_F32, n);
    free(v);
}
// Codes of all values; of x some rows have one that stands for no number, and so has all that is dead.
static void draw_codes(const hs_ref &r, uint64_t key, int64_t live)
{
    for (int64_t i = 0; i < r.rows * r.cols; i++) {
        const int64_t row = i / r.cols;
        const bool none = row >= live || (live < r.rows && row % 13 == 7 && i % r.cols == row % r.cols);
        r.p[i] = (char)(none ? I8_NONE : (int)(hs_mix2((uint64_t)i, key) % 255) - 127);
    }
}
// Rows of zeros, of NaN and of infinities among others, and NaN in what is dead.
static void draw_x(const hs_ref &x, int64_t live)
{
    if (x.dtype == HS_I8) {
        draw_codes(x, 6, live);
        return;
    }
    draw(x, 1, 0, 2);
    for (int64_t r = 0; r < x.rows; r++) {
        const float v = r >= live || r % 13 == 7 ? NAN : r % 13 == 9 ? -INFINITY : 0;
        char *row = x.p + (size_t)(r * x.cols) * hs_dtype_bytes(x.dtype);
        for (int64_t c = 0; c < x.cols; c++)
            if (r >= live || r % 13 == 4 || ((r % 13 == 7 || r % 13 == 9) && c == r % x.cols))
                hs_convert(row + (size_t)c * hs_dtype_bytes(x.dtype), x.dtype, &v, HS_F32, 1);
    }
}
static float value(const hs_ref &r, int64_t i)
{
    float v;
    if (r.dtype == HS_I8)
        return (float)reinterpret_cast<const int8_t *>(r.p)[i];
    hs_convert(&v, HS_F32, r.p + (size_t)i * hs_dtype_bytes(r.dtype), r.dtype, 1);
    return v;
}

// y by the definition, row by row; dead rows stay.
static void definition(const hs_args *a, int64_t live, const hs_ref &y)
{
    const hs_ref &x = a->in[X], &codes = a->in[CODES];
    const int32_t act = static_cast<const hs_linear_i8_attr *>(a->attr)->act;
    int8_t *q = static_cast<int8_t *>(malloc((size_t)x.cols));
    for (int64_t r = 0; r < live; r++) {
        uint32_t most = 0;
        for (int64_t c = 0; c < x.cols; c++) {
            const float v = value(x, r * x.cols + c);
            const uint32_t u = x.dtype == HS_I8 ? (v == I8_NONE ? I8_NOT_A_NUM : 0) : hs_f32_bits(v) & 0x7FFFFFFFu;
            most = u > most ? u : most;
        }
        const float scale = a->in[X_SCALE].p ? i8_static_scale(value(a->in[X_SCALE], 0), most) : i8_row_scale(most),
                    inverse = i8_inverse(scale);
        for (int64_t c = 0; c < x.cols; c++)
            q[c] = x.dtype == HS_I8 ? (int8_t)x.p[r * x.cols + c] : (int8_t)i8_round(value(x, r * x.cols + c), inverse);
        for (int64_t o = 0; o < codes.rows; o++) {
            const int8_t *code = reinterpret_cast<const int8_t *>(codes.p) + o * codes.cols;
            int32_t sum = 0;
            for (int64_t c = 0; c < x.cols; c++)
                sum += q[c] * code[c];
            float v = i8_scaled(sum, scale, value(a->in[SCALES], o));
            v = a->in[BIAS].p ? i8_plus(v, value(a->in[BIAS], o)) : v;
            v = act == HS_I8_GELU_ERF ? gelu_erf(v) : act == HS_I8_GELU_TANH ? gelu_tanh(v) : v;
            if (y.dtype == HS_I8)
                y.p[r * y.cols + o] = (char)i8_code(v, i8_inverse(i8_static_scale(value(a->in[Y_SCALE], 0), 0)));
            else
                hs_convert(y.p + (size_t)(r * y.cols + o) * hs_dtype_bytes(y.dtype), y.dtype, &v, HS_F32, 1);
        }
    }
    free(q);
}

// The same numbers, and the same bits in what is dead. A NaN is a NaN.
static void same(const hs_ref &got, const hs_ref &want, int64_t live, const char *what)
{
    const size_t each = hs_dtype_bytes(got.dtype);
    for (int64_t i = 0; i < got.rows * got.cols; i++) {
        const bool nan = i < live * got.cols && value(got, i) != value(got, i) && value(want, i) != value(want, i);
        if (!nan && memcmp(got.p + (size_t)i * each, want.p + (size_t)i * each, each))
            fail_msg("[%lld, %lld] of %lld x %lld %s is %.9g, by %s %.9g", (long long)(i / got.cols), (long long)(i % got.cols),
                     (long long)got.rows, (long long)got.cols, hs_dtype_name(got.dtype), (double)value(got, i), what,
                     (double)value(want, i));
    }
}

static char *scratch_for(const problem *p, size_t *bytes)
{
    hs_tensor x = {}, codes = {};
    hs_node n = {};
    x.n_dims = codes.n_dims = 2, x.dim[0] = p->rows, x.dim[1] = codes.dim[1] = p->k, codes.dim[0] = p->n;
    x.dtype = p->x, codes.dtype = HS_I8;
    n.in[X] = &x, n.in[CODES] = &codes;
    *bytes = hs_cuda_linear_i8.scratch(&n, 1, false).shared;
    return room(*bytes);
}

static void one(const problem *p)
{
    hs_step_in step;
    hs_args a;
    size_t scratch;
    const hs_linear_i8_attr attr = { p->act };
    memset(&step, 0, sizeof step), memset(&a, 0, sizeof a);
    a.attr = &attr;
    step.n[HS_COUNT_TOKENS] = (int32_t)p->live;
    a.step = &step;
    a.in[X] = operand(p->x, p->rows, p->k, HS_EXT_TOKENS), a.in[CODES] = operand(HS_I8, p->n, p->k),
    a.in[SCALES] = operand(HS_F32, p->n, 1);
    draw_x(a.in[X], p->live), draw(a.in[SCALES], 2, 0.01f, 0.003f);
    draw_codes(a.in[CODES], 3, p->n);
    if (p->bias)
        a.in[BIAS] = operand(HS_F32, p->n, 1), draw(a.in[BIAS], 4, 0, 1);
    if (p->fixed)
        a.in[X_SCALE] = operand(HS_F32, 1, 1), draw(a.in[X_SCALE], 5, 0.03f, 0);
    if (p->y == HS_I8)
        a.in[Y_SCALE] = operand(HS_F32, 1, 1), draw(a.in[Y_SCALE], 7, 0.4f, 0);
    hs_ref y[3]; // by kernels alone, with the library, by the definition
    for (int i = 0; i < 3; i++)
        y[i] = operand(p->y, p->rows, p->n, HS_EXT_TOKENS), memset(y[i].p, 0x5A, (size_t)(p->rows * p->n) * hs_dtype_bytes(p->y));
    for (int i = !p->own; i < 2; i++) {
        const long before = products();
        a.out[Y] = y[i], a.scratch = scratch_for(p, &scratch);
        hs_cuda_linear_i8.fwd(&a, &lane[i]);
        assert_string_equal(lane[i].failed, "");
        assert_int_equal(products() - before, i ? p->calls : 0);
        for (int g = 0; g < GUARD; g++)
            assert_int_equal((uint8_t)a.scratch[scratch + (size_t)g], 0xFF);
        free(a.scratch);
    }
    definition(&a, p->live, y[2]);
    if (p->own)
        same(y[1], y[0], p->live, "the own kernel");
    same(y[1], y[2], p->live, "the definition");
    for (int i = 0; i < 3; i++)
        free(y[i].p);
    for (int i = 0; i <= Y_SCALE; i++)
        free(a.in[i].p);
}

static void layers_of_bert(void **)
{
    static const problem layers[] = {
        { 70, 66, 768, 2304, HS_BF16, HS_BF16, true, false, 1, false }, // q, k, v
        { 70, 66, 768, 768, HS_BF16, HS_BF16, true, false, 1, false },
        { 70, 66, 768, 3072, HS_BF16, HS_I8, true, true, 1, false, HS_I8_GELU_ERF },
        { 70, 66, 3072, 768, HS_I8, HS_BF16, true, true, 1, false },
        { 70, 66, 768, 8, HS_F32, HS_F32, true, false, 1, true }, // a head
    };
    for (const problem &p : layers)
        one(&p);
}

static void beside_the_own_kernel(void **)
{
    static const hs_dtype types[][2] = {
        { HS_F32, HS_F32 }, { HS_BF16, HS_BF16 }, { HS_F16, HS_F16 }, { HS_F32, HS_BF16 }, { HS_BF16, HS_F32 },
        { HS_BF16, HS_I8 }, { HS_I8, HS_F32 },    { HS_I8, HS_I8 }
    };
    for (const auto &t : types)
        for (int how = 0; how < 4; how++) {
            const bool fixed = (how & 2) != 0 || t[0] == HS_I8;
            const problem p = { 150, 131, 144, 88, t[0], t[1], (how & 1) != 0, fixed, 1, true, how % 3 };
            one(&p);
        }
}

// 32 MiB of sums are 1,022 rows of 8,208, and 896 are taken at a time. Of the second run the last rows begin in what is dead.
static void rows_at_once(void **)
{
    static const problem p[] = { { 1040, 1031, 16, 8208, HS_BF16, HS_BF16, true, false, 2, false },
                                 { 1040, 890, 16, 8208, HS_BF16, HS_BF16, true, false, 2, false } };
    for (const problem &q : p)
        one(&q);
}

static void kernels_of_our_own(void **)
{
    static const problem p[] = { { 64, 64, 64, 48, HS_BF16, HS_BF16, true, false, 0, true },   // a tile's height
                                 { 65, 65, 64, 48, HS_BF16, HS_BF16, true, false, 1, true },   // a row more
                                 { 80, 77, 72, 48, HS_BF16, HS_BF16, true, false, 0, true } }; // 72 bytes
    for (const problem &q : p)
        one(&q);
}

static int begin(void **)
{
    const int failed = open_gpus(8);
    products = failed ? nullptr : of_double<long()>("fake_cublaslt_int8");
    return failed;
}

int main()
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(layers_of_bert), cmocka_unit_test(beside_the_own_kernel),
                                        cmocka_unit_test(rows_at_once), cmocka_unit_test(kernels_of_our_own) };
    return cmocka_run_group_tests_name("linear_i8 by cuBLASLt", tests, begin, close_gpus);
}

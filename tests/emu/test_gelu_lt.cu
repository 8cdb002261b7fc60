// What stands behind a product as calls of two ops (ops/dense/linear_gelu.cu), by cuBLASLt's double and apart: linear with the gelu or
// bias_gelu behind it, and dx of linear with backward of the gelu in front, in every type; what lies between is written where somebody
// reads it, and nowhere else; what the library has no kernel for has the bits of the two calls.
#include "core/base/rng.h"
#include "ops/attrs.h"
#include "ops/ops.h"
#include "tests/emu/two_gpus.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern "C" const hs_kernels hs_cuda_linear, hs_cuda_gelu, hs_cuda_bias_gelu;

enum { X, W, BIAS };
enum { ADDED = 1 }; // of bias_gelu
enum { Y };
enum { ROWS = 72, LIVE = 66, IN = 40, OUT = 48 };
enum { GELU_AUX = 160, GELU = 32, HAS_BIAS = 4, DGELU = 192 }; // of cublasLtEpilogue_t

static long (*products)(int epilogue);

// ---- operands

static size_t bytes_of(const hs_ref &r) { return (size_t)(r.rows * r.cols) * hs_dtype_bytes(r.dtype); }
static hs_ref operand(hs_dtype d, int64_t rows, int64_t cols, hs_ext ext = HS_EXT_FIXED)
{
    hs_ref r = {};
    r.rows = rows, r.cols = cols, r.dtype = d, r.ext = ext;
    r.p = static_cast<char *>(aligned_alloc(256, (bytes_of(r) + 255) / 256 * 256));
    memset(r.p, 0x5A, bytes_of(r));
    return r;
}
static hs_ref drawn(hs_dtype d, int64_t rows, int64_t cols, uint64_t key, float size, hs_ext ext = HS_EXT_FIXED)
{
    const hs_ref r = operand(d, rows, cols, ext);
    float v[ROWS * OUT];
    hs_random_normal(v, rows * cols, key, 0, 0, size);
    for (int64_t i = LIVE * cols; i < rows * cols && ext != HS_EXT_FIXED; i++)
        v[i] = NAN;
    hs_convert(r.p, d, v, HS_F32, rows * cols);
    return r;
}
static double value(const hs_ref &r, int64_t i)
{
    double v;
    hs_convert(&v, HS_F64, r.p + (size_t)i * hs_dtype_bytes(r.dtype), r.dtype, 1);
    return v;
}

// The two calls, with outputs of their own.
typedef struct pair {
    hs_args front, behind;
    hs_step_in step;
    hs_gelu_attr attr;
    bool backward;
} pair;

static hs_ref &between(pair *p) { return p->backward ? p->front.din[X] : p->front.out[Y]; }
static hs_ref &result(pair *p) { return p->backward ? p->behind.din[X] : p->behind.out[Y]; }

static void tie(pair *p, const hs_kernels *k)
{
    p->attr.kind = HS_GELU_TANH;
    p->step.n[HS_COUNT_TOKENS] = LIVE;
    p->front.step = p->behind.step = &p->step;
    p->front.then = &p->behind, p->behind.attr = &p->attr;
    (p->backward ? p->behind.dout[Y] : p->behind.in[X]) = between(p);
    assert_string_equal(k->join->front, "linear");
}
static pair *forward_pair(const hs_kernels *k, hs_dtype low, hs_dtype out, bool alone)
{
    pair *p = static_cast<pair *>(calloc(1, sizeof *p));
    p->front.in[X] = drawn(low, ROWS, IN, 1, 1, HS_EXT_TOKENS), p->front.in[W] = drawn(low, OUT, IN, 2, 0.2f);
    (k == &hs_cuda_gelu ? p->front.in[BIAS] : p->behind.in[ADDED]) = drawn(HS_F32, OUT, 1, 3, 1);
    p->front.out[Y] = operand(low, ROWS, OUT, HS_EXT_TOKENS), p->behind.out[Y] = operand(out, ROWS, OUT, HS_EXT_TOKENS);
    p->front.alone = alone;
    tie(p, k);
    return p;
}
static pair *backward_pair(hs_dtype low, bool add)
{
    pair *p = static_cast<pair *>(calloc(1, sizeof *p));
    p->backward = true, p->front.alone = true;
    p->front.in[W] = drawn(low, IN, OUT, 2, 0.2f), p->front.dout[Y] = drawn(low, ROWS, IN, 1, 1, HS_EXT_TOKENS);
    p->front.din[X] = operand(low, ROWS, OUT, HS_EXT_TOKENS);
    p->behind.in[X] = drawn(low, ROWS, OUT, 4, 1, HS_EXT_TOKENS), p->behind.din[X] = drawn(low, ROWS, OUT, 5, 1, HS_EXT_TOKENS);
    p->behind.din[X].add = add;
    tie(p, &hs_cuda_gelu);
    return p;
}
static void pair_free(pair *p)
{
    const hs_ref all[] = {
        p->front.in[X], p->front.in[W], p->front.in[BIAS], p->behind.in[ADDED], p->front.dout[Y], between(p), result(p)
    };
    for (const hs_ref &r : all)
        free(r.p);
    if (p->backward)
        free(p->behind.in[X].p);
    free(p);
}

static void run_apart(pair *p, const hs_kernels *k)
{
    (p->backward ? hs_cuda_linear.bwd : hs_cuda_linear.fwd)(&p->front, &lane[0]);
    (p->backward ? k->bwd : k->fwd)(&p->behind, &lane[0]);
}
static void run_joint(pair *p, const hs_kernels *k, int with)
{
    (p->backward ? k->join->bwd : k->join->fwd)(&p->front, &lane[with]);
    assert_string_equal(lane[with].failed, "");
}

static void near(const hs_ref &got, const hs_ref &want, hs_dtype low, const char *what)
{
    const double eps = low == HS_BF16 ? 0x1p-6 : low == HS_F16 ? 0x1p-9 : 2e-5;
    for (int64_t i = 0; i < LIVE * got.cols; i++)
        if (!(fabs(value(got, i) - value(want, i)) <= eps * (fabs(value(want, i)) + 1)))
            fail_msg("%s of %s [%lld, %lld] is %.9g together, %.9g apart", what, hs_dtype_name(low), (long long)(i / got.cols),
                     (long long)(i % got.cols), value(got, i), value(want, i));
}
static bool untouched(const hs_ref &r)
{
    for (size_t i = 0; i < bytes_of(r); i++)
        if (r.p[i] != 0x5A)
            return false;
    return true;
}
static void live_bits(const hs_ref &got, const hs_ref &want)
{
    assert_memory_equal(got.p, want.p, (size_t)(LIVE * got.cols) * hs_dtype_bytes(got.dtype));
}

// ---- tests

static const hs_dtype types[] = { HS_F32, HS_BF16, HS_F16 };

typedef pair *make_pair(hs_dtype low, int how);
static pair *kept(hs_dtype low, int) { return forward_pair(&hs_cuda_gelu, low, low, false); }
static pair *not_kept(hs_dtype low, int wide) { return forward_pair(&hs_cuda_gelu, low, wide ? HS_F32 : low, true); }
static pair *biased(hs_dtype low, int) { return forward_pair(&hs_cuda_bias_gelu, low, low, true); }
static pair *slope(hs_dtype low, int) { return backward_pair(low, false); }

// By the library's kernel, of which there is one with that epilogue more.
static void together(void **)
{
    static const struct {
        make_pair *make;
        const hs_kernels *k;
        int epilogue;
    } kinds[] = { { kept, &hs_cuda_gelu, GELU_AUX | HAS_BIAS },
                  { not_kept, &hs_cuda_gelu, GELU | HAS_BIAS },
                  { biased, &hs_cuda_bias_gelu, GELU | HAS_BIAS },
                  { slope, &hs_cuda_gelu, DGELU } };
    for (const auto &kind : kinds)
        for (hs_dtype low : types)
            for (int wide = 0; wide <= (kind.make == not_kept); wide++) {
                pair *one = kind.make(low, wide), *two = kind.make(low, wide);
                const long before = products(kind.epilogue);
                run_apart(two, kind.k);
                run_joint(one, kind.k, 1);
                assert_int_equal(products(kind.epilogue) - before, 1);
                near(result(one), result(two), low, one->backward ? "dx" : "y");
                if (one->front.alone)
                    assert_true(untouched(between(one)));
                else
                    near(between(one), between(two), low, "what lies between");
                pair_free(one), pair_free(two);
            }
}

// Another type beside what is kept, a bias that what is kept has not, a gradient that is added; and no library: the bits of two calls.
static pair *kept_wide(hs_dtype low, int) { return forward_pair(&hs_cuda_gelu, low, low == HS_F32 ? HS_BF16 : HS_F32, false); }
static pair *kept_unbiased(hs_dtype low, int) { return forward_pair(&hs_cuda_bias_gelu, low, low, false); }
static pair *added(hs_dtype low, int) { return backward_pair(low, true); }
static void apart(void **)
{
    static const struct {
        make_pair *make;
        const hs_kernels *k;
        bool with;
    } kinds[] = { { kept, &hs_cuda_gelu, false },     { biased, &hs_cuda_bias_gelu, false },       { slope, &hs_cuda_gelu, false },
                  { kept_wide, &hs_cuda_gelu, true }, { kept_unbiased, &hs_cuda_bias_gelu, true }, { added, &hs_cuda_gelu, true } };
    for (const auto &kind : kinds)
        for (hs_dtype low : types) {
            pair *one = kind.make(low, 0), *two = kind.make(low, 0);
            const long before = products(GELU_AUX | HAS_BIAS) + products(GELU | HAS_BIAS) + products(DGELU);
            (one->backward ? hs_cuda_linear.bwd : hs_cuda_linear.fwd)(&two->front, &lane[kind.with]);
            (one->backward ? kind.k->bwd : kind.k->fwd)(&two->behind, &lane[kind.with]);
            run_joint(one, kind.k, kind.with);
            assert_int_equal(products(GELU_AUX | HAS_BIAS) + products(GELU | HAS_BIAS) + products(DGELU) - before, 0);
            live_bits(result(one), result(two));
            live_bits(between(one), between(two));
            pair_free(one), pair_free(two);
        }
}

// The library's GELU is by tanh, and what it keeps has its bias.
static void declined(void **)
{
    hs_gelu_attr attr = { HS_GELU_TANH };
    hs_node n = {};
    n.attr = &attr, n.mode = HS_TRAIN;
    assert_null(hs_cuda_gelu.join->decline(&n));
    assert_non_null(strstr(hs_cuda_bias_gelu.join->decline(&n), "without its bias"));
    n.mode = HS_EVAL;
    assert_null(hs_cuda_bias_gelu.join->decline(&n));
    attr.kind = HS_GELU_ERF;
    assert_non_null(strstr(hs_cuda_gelu.join->decline(&n), "erf"));
    assert_non_null(strstr(hs_cuda_bias_gelu.join->decline(&n), "erf"));
    assert_null(hs_cuda_bias_gelu.join->bwd);
}

static int begin(void **)
{
    const int failed = open_gpus(8);
    products = failed ? nullptr : of_double<long(int)>("fake_cublaslt_with");
    return failed;
}

int main()
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(together), cmocka_unit_test(apart), cmocka_unit_test(declined) };
    return cmocka_run_group_tests_name("a product and GELU as one", tests, begin, close_gpus);
}

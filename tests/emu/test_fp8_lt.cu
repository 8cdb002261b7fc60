// linear_fp8 by codes and cuBLASLt's double against its reference on the same GPU, over steps whose values grow and shrink: kept codes, scales
// and what is noted of largest values are the same bits, products the same but for the order of their sums. With codes of w that are kept from
// one micro-step to the next, each of the two gives the bits that it gives without.
#include "core/base/fp8.h"
#include "core/base/rng.h"
#include "ops/attrs.h"
#include "tests/emu/two_gpus.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" const hs_kernels hs_cuda_linear_fp8;

enum { X, W, BIAS, AMAX };
enum { Y, X8, SCALE };
enum { N = 83, LIVE = 70, C = 144, O = 80, HISTORY = 3, GPUS = 2, WAYS = 2 * GPUS }; // ways: of each GPU without what is kept, then with it

static void *room(size_t bytes)
{
    char *p = static_cast<char *>(aligned_alloc(256, (bytes + 255) / 256 * 256));
    memset(p, 0xFF, bytes);
    return p;
}
static hs_ref operand(hs_dtype d, int64_t rows, int64_t cols, hs_ext ext = HS_EXT_FIXED)
{
    hs_ref r = {};
    r.p = static_cast<char *>(room((size_t)(rows * cols) * hs_dtype_bytes(d)));
    r.rows = rows, r.cols = cols, r.dtype = d, r.ext = ext;
    return r;
}
static void draw(const hs_ref &r, uint64_t key, int64_t live, float times)
{
    const int64_t n = r.rows * r.cols;
    float *v = static_cast<float *>(malloc((size_t)n * sizeof *v));
    hs_random_normal(v, n, key, 0, 0, times);
    for (int64_t i = live * r.cols; i < n; i++)
        v[i] = NAN;
    hs_convert(r.p, r.dtype, v, HS_F32, n);
    free(v);
}

static void near(const hs_ref &got, const hs_ref &want, int64_t rows, double bound, const char *what, int step)
{
    double most = 0, worst = 0;
    for (int64_t i = 0; i < rows * got.cols; i++) {
        double a, b;
        hs_convert(&a, HS_F64, got.p + (size_t)i * hs_dtype_bytes(got.dtype), got.dtype, 1);
        hs_convert(&b, HS_F64, want.p + (size_t)i * hs_dtype_bytes(want.dtype), want.dtype, 1);
        most = fmax(most, fabs(b));
        worst = a == a ? fmax(worst, fabs(a - b)) : INFINITY;
    }
    if (!(worst <= bound * most) || !(most > 0))
        fail_msg("%s of step %d: %g apart, of %g", what, step, worst, most);
}
static void same(const hs_ref &a, const hs_ref &b, int64_t rows, const char *what, int step)
{
    if (memcmp(a.p, b.p, (size_t)(rows * a.cols) * hs_dtype_bytes(a.dtype)))
        fail_msg("%s of step %d: other bits", what, step);
}

// Of the values as they are.
static void keep_w(hs_args *a, const hs_node *n, bool backward, hs_lane *l)
{
    const hs_derive *d = &hs_cuda_linear_fp8.derive;
    hs_args make = {};
    a->derived_bytes = d->bytes(n, backward, 2);
    make.attr = a->attr, make.in[0] = a->in[d->operand];
    make.out[0].p = static_cast<char *>(room(a->derived_bytes));
    make.out[0].rows = 1, make.out[0].cols = (int64_t)a->derived_bytes, make.out[0].dtype = HS_U8;
    (backward ? d->backward : d->forward)(&make, l);
    free(const_cast<void *>(a->derived));
    a->derived = make.out[0].p;
}

static void prepare(hs_args *a, bool backward, hs_dtype type, int way)
{
    hs_tensor x = {}, w = {}, bias = {};
    hs_node n = {};
    x.n_dims = w.n_dims = 2, x.dim[0] = N, x.dim[1] = w.dim[1] = C, w.dim[0] = O;
    x.dtype = w.dtype = type, bias.n_dims = 1, bias.dim[0] = O;
    n.in[X] = &x, n.in[W] = &w, n.in[BIAS] = &bias;
    free(a->scratch);
    a->scratch = static_cast<char *>(room(hs_cuda_linear_fp8.scratch(&n, 1, backward).shared));
    if (way >= GPUS)
        keep_w(a, &n, backward, &lane[way % GPUS]);
}

static void same_as_without(const hs_args *a, const hs_args *b, int step)
{
    const struct {
        const char *what;
        const hs_ref *a, *b;
        int64_t rows;
    } all[] = { { "y with w kept", &a->out[Y], &b->out[Y], LIVE },
                { "codes of x with w kept", &a->out[X8], &b->out[X8], LIVE },
                { "scales with w kept", &a->out[SCALE], &b->out[SCALE], 1 },
                { "what is noted with w kept", &a->in[AMAX], &b->in[AMAX], 2 },
                { "dx with w kept", &a->din[X], &b->din[X], LIVE },
                { "dw with w kept", &a->din[W], &b->din[W], O } };
    for (int i = 0; i < HS_COUNT(all); i++)
        if (all[i].a->p)
            same(*all[i].a, *all[i].b, all[i].rows, all[i].what, step);
}

static void steps(hs_dtype type, hs_dtype out, int history, bool dx, bool dw)
{
    static const hs_linear_fp8_attr attr = { 0 };
    static const float size[] = { 1, 4, 4, 0.25f, 0.25f, 0.25f, 100 };
    hs_step_in step;
    hs_args a[WAYS];
    memset(&step, 0, sizeof step);
    memset(a, 0, sizeof a);
    step.n[HS_COUNT_TOKENS] = LIVE;
    const hs_ref x = operand(type, N, C, HS_EXT_TOKENS), w = operand(type, O, C), bias = operand(HS_F32, 1, O),
                 dy = operand(out, N, O, HS_EXT_TOKENS);
    draw(bias, 9, 1, 1);
    for (int i = 0; i < WAYS; i++) {
        a[i].in[X] = x, a[i].in[W] = w, a[i].in[BIAS] = bias;
        if (history) {
            a[i].in[AMAX] = operand(HS_F32, 2, history);
            memset(a[i].in[AMAX].p, 0, (size_t)history * 8);
        }
        a[i].out[Y] = operand(out, N, O, HS_EXT_TOKENS);
        a[i].out[X8] = operand(HS_E4M3, N, C, HS_EXT_TOKENS);
        a[i].out[SCALE] = operand(HS_F32, 1, 2);
        a[i].dout[Y] = dy;
        if (dx)
            a[i].din[X] = operand(type, N, C, HS_EXT_TOKENS);
        if (dw)
            a[i].din[W] = operand(HS_F32, O, C), a[i].din[BIAS] = operand(HS_F32, 1, O);
        a[i].attr = &attr, a[i].step = &step;
    }
    for (int s = 0; s < HS_COUNT(size); s++)
        for (int micro = 0; micro < 2; micro++) {
            const int at = 2 * s + micro;
            step.step = (uint64_t)s, step.micro = micro;
            draw(x, (uint64_t)(3 * at + 10), LIVE, size[s] * (float)(1 + micro));
            draw(w, (uint64_t)(3 * at + 11), O, 0.1f);
            draw(dy, (uint64_t)(3 * at + 12), LIVE, 1e-3f / size[s]);
            for (int i = 0; i < WAYS; i++) {
                prepare(&a[i], false, type, i);
                hs_cuda_linear_fp8.fwd(&a[i], &lane[i % GPUS]);
                prepare(&a[i], true, type, i);
                a[i].din[W].add = a[i].din[BIAS].add = micro > 0;
                hs_cuda_linear_fp8.bwd(&a[i], &lane[i % GPUS]);
                assert_string_equal(lane[i % GPUS].failed, "");
            }
            for (int i = GPUS; i < WAYS; i++)
                same_as_without(&a[i], &a[i % GPUS], at);
            const double bound = out == HS_F32 ? 1e-5 : 8e-3;
            same(a[1].out[X8], a[0].out[X8], LIVE, "the codes of x", at);
            same(a[1].out[SCALE], a[0].out[SCALE], 1, "the scales", at);
            near(a[1].out[Y], a[0].out[Y], LIVE, bound, "y", at);
            if (history)
                same(a[1].in[AMAX], a[0].in[AMAX], 2, "what is noted", at);
            if (dx)
                near(a[1].din[X], a[0].din[X], LIVE, type == HS_F32 ? 1e-5 : 8e-3, "dx", at);
            if (dw)
                near(a[1].din[W], a[0].din[W], O, 1e-5, "dw", at), same(a[1].din[BIAS], a[0].din[BIAS], 1, "dbias", at);
        }
    for (int i = 0; i < WAYS; i++) {
        const hs_ref *own[] = { &a[i].in[AMAX], &a[i].out[Y], &a[i].out[X8], &a[i].out[SCALE], &a[i].din[X], &a[i].din[W], &a[i].din[BIAS] };
        for (const hs_ref *r : own)
            free(r->p);
        free(a[i].scratch);
        free(const_cast<void *>(a[i].derived));
    }
    free(x.p), free(w.p), free(bias.p), free(dy.p);
}

static void current_scales(void **state)
{
    (void)state;
    steps(HS_BF16, HS_BF16, 0, true, true);
    steps(HS_BF16, HS_F32, 0, true, true);
    steps(HS_F32, HS_F32, 0, true, true);
    steps(HS_F16, HS_F16, 0, true, true);
    steps(HS_BF16, HS_BF16, 0, true, false);
    steps(HS_BF16, HS_BF16, 0, false, true);
}
static void delayed_scales(void **state)
{
    (void)state;
    steps(HS_BF16, HS_BF16, HISTORY, true, true);
    steps(HS_BF16, HS_BF16, 300, false, true); // more than a block has threads
}

static int begin(void **) { return open_gpus(9); }

int main()
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(current_scales), cmocka_unit_test(delayed_scales) };
    return cmocka_run_group_tests_name("linear_fp8 by cuBLASLt", tests, begin, close_gpus);
}

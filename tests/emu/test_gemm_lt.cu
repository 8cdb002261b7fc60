// Products that go to cuBLASLt (core/cuda/gemm_lt.cu, core/cuda/cublaslt.c), against its double: every orientation, type, bias, batches, adding,
// and live counts on rows and on k, with NaN in what is dead; that operands may lie at any multiple of 16 bytes; what stands behind products,
// which is in one kernel with them where that is faster; and what is done, and said, where the library does not do a product, or has no
// memory to do it in.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/gemm.cuh"
#include "tests/emu/lt_double.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern "C" cudaStream_t gpu_stream(const hs_lane *lane) { return lane->stream; }
extern "C" struct hs_lt *gpu_lt(const hs_lane *lane) { return lane->gpu->lt; }

enum { M = 40, N = 24, K = 72, BATCHES = 2 };
static hs_gpu gpu;
static hs_lane lane;

static char *room(void) // of the device's memory
{
    void *p;
    assert_int_equal(cudaMalloc(&p, 1 << 16), cudaSuccess);
    return static_cast<char *>(p);
}

static long taken(int algorithm) { return of_double<long(int)>("fake_cublaslt_taken")(algorithm); }

static void fill(char *p, hs_dtype d, int64_t n, uint64_t key, int64_t dead_from)
{
    float *v = static_cast<float *>(malloc((size_t)n * sizeof *v));
    hs_random_normal(v, n, key, 0, 0, 1);
    for (int64_t i = dead_from; i < n; i++)
        v[i] = NAN;
    hs_convert(p, d, v, HS_F32, n);
    free(v);
}
static double get(const void *p, hs_dtype d, int64_t i)
{
    double v;
    hs_convert(&v, HS_F64, static_cast<const char *>(p) + (size_t)i * hs_dtype_bytes(d), d, 1);
    return v;
}

static int64_t shift; // bytes before each operand

static void one(hs_dtype low, hs_dtype out, bool a_major, bool b_major, bool bias, bool add, int live, int64_t batches, int64_t first = 0)
{
    const int64_t alive = 29, m = live == GEMM_LIVE_M ? alive : M, k = live == GEMM_LIVE_K ? alive : K;
    char *at[] = { room(), room(), room(), room() }, *a = at[0] + shift, *b = at[1] + shift, *c = at[2] + shift;
    float *bias_values = reinterpret_cast<float *>(at[3] + shift);
    static char was[1 << 15];
    hs_random_normal(bias_values, N, 4, 0, 0, 1);
    fill(a, low, batches * M * K, 1, live == GEMM_LIVE_K ? alive * M : live == GEMM_LIVE_M ? alive * K : batches * M * K);
    fill(b, low, batches * N * K, 2, live == GEMM_LIVE_K ? alive * N : batches * N * K);
    fill(c, out, batches * M * N, 3, batches * M * N);
    memcpy(was, c, sizeof was);
    hs_step_in step;
    memset(&step, 0, sizeof step);
    step.n[HS_COUNT_TOKENS] = first + alive;
    gemm g = gemm_make(M, N, K);
    g.batches = batches;
    g.a.p = a, g.a.ld = a_major ? M : K, g.a.stride = M * K, g.a.dtype = low, g.a.k_major = a_major;
    g.b.p = b, g.b.ld = b_major ? N : K, g.b.stride = N * K, g.b.dtype = low, g.b.k_major = b_major;
    g.c.p = c, g.c.ld = N, g.c.stride = M * N, g.c.dtype = out, g.c.add = add, g.c.scale = 0.5f, g.c.bias = bias ? bias_values : nullptr;
    g.live = live, g.ext = HS_EXT_TOKENS, g.rows = first + (live == GEMM_LIVE_M ? M : K), g.first = first, g.step = &step;
    gemm_run(&g, &lane);
    assert_string_equal(lane.failed, "");
    const double eps = out == HS_BF16 ? 0x1p-7 : out == HS_F16 ? 0x1p-10 : 1e-5;
    for (int64_t z = 0; z < batches; z++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < N; j++) {
                double sum = 0, size = 0;
                for (int64_t q = 0; q < k; q++) {
                    const double x = get(a, low, z * M * K + (a_major ? q * M + i : i * K + q)) * get(b, low, z * N * K + (b_major ? q * N + j : j * K + q));
                    sum += x, size += x * x;
                }
                const double want = 0.5 * sum + (bias ? (double)bias_values[j] : 0) + (add ? get(was, out, z * M * N + i * N + j) : 0);
                const double got = get(c, out, z * M * N + i * N + j);
                if (!(fabs(got - want) <= eps * (fabs(want) + sqrt(size) + 1)))
                    fail_msg("[%lld][%lld, %lld] %s -> %s%s%s%s%s, live %d: %.9g, should be %.9g", (long long)z, (long long)i, (long long)j,
                             hs_dtype_name(low), hs_dtype_name(out), a_major ? ", a k-major" : "", b_major ? ", b k-major" : "",
                             bias ? ", bias" : "", add ? ", added" : "", live, got, want);
            }
    for (char *p : at)
        cudaFree(p);
}

static void all(void **state)
{
    (void)state;
    static const hs_dtype types[][2] = { { HS_F32, HS_F32 }, { HS_BF16, HS_BF16 }, { HS_BF16, HS_F32 }, { HS_F16, HS_F16 }, { HS_F16, HS_F32 } };
    for (int t = 0; t < 5; t++)
        for (int major = 0; major < 4; major++)
            for (int how = 0; how < 3; how++) // plain, bias, added
                for (int64_t batches = 1; batches <= BATCHES; batches++)
                    one(types[t][0], types[t][1], major & 1, major >> 1 & 1, how == 1, how == 2, GEMM_ALL, batches);
}

static void live_rows_and_k(void **state)
{
    (void)state;
    for (int b_major = 0; b_major < 2; b_major++)
        one(HS_BF16, HS_BF16, false, b_major, true, false, GEMM_LIVE_M, 1);
    one(HS_BF16, HS_F32, true, true, false, true, GEMM_LIVE_K, 1);
    one(HS_F32, HS_F32, true, true, false, false, GEMM_LIVE_K, 1);
    one(HS_BF16, HS_BF16, false, true, true, false, GEMM_LIVE_M, 1, 50); // the second chunk of rows
    one(HS_BF16, HS_F32, true, true, false, true, GEMM_LIVE_K, 1, 50);
}

// ---- what stands behind a product

static double gelu(double x) { return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
static double gelu_slope(double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }

typedef struct shape { // C[M, N] = A B^T, or of sums C[M, N] = A^T B with a live k
    hs_dtype low, out;
    hs_lt_behind what;
    bool bias, aux, add;
    int64_t alive;
} shape;
typedef struct run {
    shape of;
    char *a, *b, *c, *aux, *was;
    float *bias, *sums;
    hs_step_in step;
    gemm g;
    gemm_behind with;
} run;

static char *some(hs_dtype d, int64_t n, uint64_t key, int64_t dead_from)
{
    char *p = room();
    fill(p, d, n, key, dead_from);
    return p;
}
static int times_apart, slow; // milliseconds
static void sleep_some(void *)
{
    const struct timespec t = { 0, slow * 1000000L };
    nanosleep(&t, nullptr);
}
static void drop(void *) {}
static void go_apart(const void *, hs_lane *l)
{
    times_apart++;
    if (slow)
        hs_emu_enqueue(l->stream, sleep_some, drop, nullptr);
}
static run *run_new(const shape &s)
{
    run *r = static_cast<run *>(calloc(1, sizeof *r));
    const bool by_k = s.what == HS_LT_SUMS;
    r->of = s;
    r->a = some(s.low, M * K, 1, by_k ? s.alive * M : s.alive * K), r->b = some(s.low, N * K, 2, by_k ? s.alive * N : N * K);
    r->c = some(s.out, M * N, 3, M * N), r->was = some(s.out, M * N, 3, M * N), r->aux = some(s.out, M * N, 5, M * N);
    r->bias = reinterpret_cast<float *>(some(HS_F32, N, 4, N)), r->sums = reinterpret_cast<float *>(room());
    r->step.n[HS_COUNT_TOKENS] = s.alive;
    gemm &g = r->g = gemm_make(M, N, K);
    g.a.p = r->a, g.a.ld = by_k ? M : K, g.a.dtype = s.low, g.a.k_major = by_k;
    g.b.p = r->b, g.b.ld = by_k ? N : K, g.b.dtype = s.low, g.b.k_major = by_k;
    g.c.p = r->c, g.c.ld = N, g.c.dtype = s.out, g.c.add = s.add, g.c.scale = 1, g.c.bias = s.bias ? r->bias : nullptr;
    g.live = by_k ? GEMM_LIVE_K : GEMM_LIVE_M, g.ext = HS_EXT_TOKENS, g.rows = by_k ? K : M, g.step = &r->step;
    r->with.what = s.what, r->with.aux = s.aux ? r->aux : nullptr, r->with.ld_aux = N, r->with.sums = r->sums;
    r->with.apart = go_apart;
    return r;
}
static void run_free(run *r)
{
    void *const all[] = { r->a, r->b, r->c, r->aux, r->was, r->bias, r->sums };
    for (void *p : all)
        cudaFree(p);
    free(r);
}
static bool goes_together(run *r)
{
    const bool is = gemm_with(&r->g, &r->with, &lane);
    if (lane.stream)
        assert_int_equal(cudaStreamSynchronize(lane.stream), cudaSuccess);
    assert_string_equal(lane.failed, "");
    return is;
}

static void near(double got, double want, double size, hs_dtype d, const char *what, int64_t i, int64_t j)
{
    const double eps = d == HS_BF16 ? 0x1p-7 : d == HS_F16 ? 0x1p-10 : 1e-5;
    if (!(fabs(got - want) <= eps * (fabs(want) + sqrt(size) + 1)))
        fail_msg("%s [%lld, %lld] in %s: %.9g, should be %.9g", what, (long long)i, (long long)j, hs_dtype_name(d), got, want);
}
static void judge(const run *r)
{
    const shape &s = r->of;
    const bool by_k = s.what == HS_LT_SUMS;
    for (int64_t i = 0; i < (by_k ? M : s.alive); i++)
        for (int64_t j = 0; j < N; j++) {
            double x = s.bias ? (double)r->bias[j] : 0, size = 0;
            for (int64_t k = 0; k < (by_k ? s.alive : K); k++) {
                const double v = get(r->a, s.low, by_k ? k * M + i : i * K + k) * get(r->b, s.low, by_k ? k * N + j : j * K + k);
                x += v, size += v * v;
            }
            const int64_t at = i * N + j;
            double want = x + (s.add ? get(r->was, s.out, at) : 0);
            if (s.what == HS_LT_GELU && s.aux)
                near(get(r->aux, s.out, at), x, size, s.out, "what GELU is made of", i, j);
            if (s.what == HS_LT_GELU)
                want = gelu(x);
            if (s.what == HS_LT_DGELU)
                want = x * gelu_slope(get(r->aux, s.out, at)), size *= 2;
            near(get(r->c, s.out, at), want, size, s.out, "the product", i, j);
        }
    for (int64_t i = 0; i < (by_k ? M : 0); i++) {
        double want = 0;
        for (int64_t k = 0; k < s.alive; k++)
            want += get(r->a, s.low, k * M + i);
        near(r->sums[i], want, (double)s.alive, HS_F32, "the sum", i, 0);
    }
}

static void behind(void **state)
{
    (void)state;
    static const shape shapes[] = {
        { HS_BF16, HS_BF16, HS_LT_GELU, true, true, false, M }, { HS_BF16, HS_BF16, HS_LT_GELU, true, false, false, 33 },
        { HS_F16, HS_F16, HS_LT_GELU, false, true, false, 33 }, { HS_F32, HS_F32, HS_LT_GELU, false, false, false, M },
        { HS_F32, HS_F32, HS_LT_GELU, true, true, false, 33 },  { HS_BF16, HS_BF16, HS_LT_DGELU, false, true, false, 33 },
        { HS_F32, HS_F32, HS_LT_DGELU, false, true, false, M }, { HS_BF16, HS_F32, HS_LT_SUMS, false, false, false, 29 },
        { HS_F16, HS_F32, HS_LT_SUMS, false, false, true, K },  { HS_F32, HS_F32, HS_LT_SUMS, false, false, true, 29 },
    };
    times_apart = 0;
    for (int i = 0; i < HS_COUNT(shapes); i++) {
        run *r = run_new(shapes[i]);
        for (int again = 0; again < 2; again++) {
            memcpy(r->c, r->was, 1 << 16);
            assert_true(goes_together(r));
            judge(r);
        }
        run_free(r);
    }
    assert_int_equal(times_apart, 0);
}

static hs_lt_product product_behind(hs_lt_behind what)
{
    hs_lt_product p = {};
    p.m = 24, p.n = 40, p.k = 72, p.lda = p.ldb = 72, p.ldd = 24;
    p.a = p.b = p.d = HS_BF16, p.bias = HS_F64, p.ta = true, p.scale = 1, p.behind = what;
    p.ld_aux = what == HS_LT_SUMS ? 0 : 24;
    if (what == HS_LT_SUMS)
        p.d = HS_F32;
    return p;
}

static void not_behind(void **state)
{
    (void)state;
    static const char several[] = "nothing stands behind products of 8 bits or of several matrices",
                      sums[] = "sums are of a product that is f32 and has no bias",
                      written[] = "GELU is written, and its gradient has what it was made of, and no bias",
                      rows[] = "rows of what GELU is made of are no multiple of 8";
    for (int what = HS_LT_GELU; what <= HS_LT_SUMS; what++) {
        hs_lt_product p = product_behind(static_cast<hs_lt_behind>(what));
        assert_null(hs_lt_declines(&p));
        p.batch = 2;
        assert_string_equal(hs_lt_declines(&p), several);
        p = product_behind(static_cast<hs_lt_behind>(what)), p.add = true;
        if (what == HS_LT_SUMS)
            assert_null(hs_lt_declines(&p));
        else
            assert_string_equal(hs_lt_declines(&p), written);
        p = product_behind(static_cast<hs_lt_behind>(what)), p.bias = p.d;
        if (what == HS_LT_GELU)
            assert_null(hs_lt_declines(&p));
        else
            assert_string_equal(hs_lt_declines(&p), what == HS_LT_SUMS ? sums : written);
        p = product_behind(static_cast<hs_lt_behind>(what)), p.ld_aux = 0;
        if (what == HS_LT_DGELU)
            assert_string_equal(hs_lt_declines(&p), written);
        else
            assert_null(hs_lt_declines(&p));
        p = product_behind(static_cast<hs_lt_behind>(what)), p.ld_aux = what == HS_LT_SUMS ? 24 : 28;
        assert_string_equal(hs_lt_declines(&p), what == HS_LT_SUMS ? sums : rows);
    }
    hs_lt_product low = product_behind(HS_LT_SUMS);
    low.d = HS_BF16;
    assert_string_equal(hs_lt_declines(&low), sums);
    run *few = run_new({ HS_BF16, HS_BF16, HS_LT_GELU, true, true, false, M });
    few->g.m = few->g.rows = 32; // rows that are few have a kernel of their own
    assert_false(goes_together(few));
    few->g.m = few->g.rows = M, few->with.aux = few->aux + 8;
    assert_false(goes_together(few));
    run_free(few);
}

// Which way is faster is asked once, on the device, and kept.
static void timed(void **state)
{
    (void)state;
    char where[] = "/tmp/test_gemm_lt_XXXXXX", kept[64];
    const int fd = mkstemp(where);
    assert_true(fd >= 0);
    close(fd);
    snprintf(kept, sizeof kept, "%s-behind", where);
    assert_int_equal(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking), cudaSuccess);
    struct hs_lt *untimed = gpu.lt;
    const shape gelu_of = { HS_BF16, HS_BF16, HS_LT_GELU, true, true, false, M }, written = { HS_BF16, HS_F32, HS_LT_SUMS, false, false, false, K },
                added = { HS_BF16, HS_F32, HS_LT_SUMS, false, false, true, K }, alone = { HS_F16, HS_F32, HS_LT_SUMS, false, false, true, K };
    for (int opened = 0; opened < 3; opened++) {
        assert_true(hs_lt_open(&gpu.lt, opened < 2 ? "a double" : "another", where) == HS_OK);
        const bool first = opened != 1; // what was timed for another GPU is nothing
        for (int twice = 0; twice < 2; twice++) {
            run *r = run_new(gelu_of);
            times_apart = 0, slow = opened == 0 ? 40 : 0;
            assert_int_equal(goes_together(r), opened < 2); // where apart takes no time, that is faster
            assert_int_equal(times_apart, first && !twice ? 6 : 0);
            if (opened < 2)
                judge(r);
            run_free(r);
        }
        times_apart = 0, slow = opened == 0 ? 40 : 0;
        const struct {
            shape of;
            bool together;
        } adding[] = { { alone, false }, { written, opened < 2 }, { added, opened < 2 } };
        for (int i = 0; i < HS_COUNT(adding); i++) {
            run *r = run_new(adding[i].of);
            assert_int_equal(goes_together(r), adding[i].together);
            if (adding[i].together)
                judge(r);
            run_free(r);
        }
        assert_int_equal(times_apart, first ? 6 : 0); // of the one that writes
        hs_lt_close(gpu.lt);
    }
    gpu.lt = untimed;
    cudaStreamDestroy(lane.stream), lane.stream = nullptr;
    unlink(where), unlink(kept);
}

// ---- in 8 bits: what hs_lt_product says of it, and which GPUs have it

static int lines;
static char last_line[256];
static void hear(hs_log_level, const char *line, void *)
{
    lines++;
    snprintf(last_line, sizeof last_line, "%s", line);
}

// How many of a call's products were the library's, and how many lines said why not.
static void count(const char *what, int by_library, int said, void (*call)())
{
    const long before = taken(1) + taken(2);
    lines = 0;
    hs_log_set(HS_LOG_INFO, hear, nullptr);
    call();
    hs_log_set(HS_LOG_WARN, nullptr, nullptr);
    if (taken(1) + taken(2) - before != by_library || lines != said)
        fail_msg("%s: %d products by the library, %d lines: should be %d and %d", what, (int)(taken(1) + taken(2) - before), lines, by_library, said);
    assert_int_equal(cudaPeekAtLastError(), cudaSuccess);
}

static void some_product() { one(HS_BF16, HS_F32, false, false, true, false, GEMM_ALL, BATCHES); }

static void where_operands_lie(void **state)
{
    (void)state;
    shift = 16; // of a plan that another case has made, and of one more
    count("at multiples of 16 bytes", 1, 0, some_product);
    count("at multiples of 16 bytes, another product", 1, 0, [] { one(HS_BF16, HS_F32, true, true, false, false, GEMM_LIVE_K, 1, 1); });
    shift = 8;
    count("at multiples of 8 bytes", 0, 1, some_product);
    assert_string_equal(last_line, "device cuda: some products by kernels of Halfstep's own: operands do not lie at multiples of 16 bytes (the first "
                                   "is of 24 x 40 x 72)");
    count("at multiples of 8 bytes, again", 0, 0, some_product);
    shift = 0;
    count("at multiples of 256 bytes", 1, 0, some_product);
}

static hs_lt_product product_of_floats(int64_t lda, int64_t step_d)
{
    hs_lt_product p = {};
    p.m = 24, p.n = 40, p.k = 72, p.lda = lda, p.ldb = 72, p.ldd = 24;
    p.batch = 2, p.step_a = lda * 24, p.step_b = 72 * 40, p.step_d = step_d;
    p.a = p.b = p.d = HS_BF16, p.bias = HS_F64, p.ta = true, p.scale = 1;
    return p;
}

static void what_it_has_not(void **state)
{
    (void)state;
    const hs_lt_product has = product_of_floats(72, 960), rows = product_of_floats(73, 960), batches = product_of_floats(72, 964);
    lines = 0;
    hs_log_set(HS_LOG_INFO, hear, nullptr);
    for (int i = 0; i < 2; i++) {
        assert_true(hs_lt_has(&lane, &has, nullptr));
        assert_false(hs_lt_has(&lane, &rows, nullptr));
        assert_int_equal(lines, i ? 2 : 1);
        assert_false(hs_lt_has(&lane, &batches, nullptr));
        assert_int_equal(lines, 2);
    }
    assert_string_equal(last_line, "device cuda: some products by kernels of Halfstep's own: the products of a batch do not lie at multiples of 16 bytes "
                                   "(the first is of 24 x 40 x 72)");
    hs_log_set(HS_LOG_WARN, nullptr, nullptr);
    char *p = room();
    hs_lt_operands o = {};
    o.a = o.b = p, o.d = p + 8;
    hs_lt_multiply(&lane, &has, &o); // without having asked
    assert_non_null(strstr(lane.failed, "24 x 40 x 72"));
    lane.failed[0] = 0;
    cudaFree(p);
}

static bool no_memory;
static int refused;

static void without_memory(void **state)
{
    (void)state;
    const hs_lane rich = lane;
    lane = hs_lane();
    lane.gpu = &gpu;
    count("another lane", 1, 0, some_product); // whose plan is there, and whose workspace is not
    assert_non_null(lane.workspace);
    cudaFree(lane.workspace);
    lane = hs_lane();
    lane.gpu = &gpu;
    no_memory = true, refused = 0;
    count("a lane without memory", 0, 1, some_product);
    assert_non_null(strstr(last_line, "there is no memory for a workspace of the library"));
    no_memory = false;
    count("a lane that had none", 0, 0, some_product);
    assert_int_equal(refused, 1);
    lane = rich;
}

extern "C" cudaError_t __real_cudaMalloc(void **p, size_t bytes);
extern "C" cudaError_t __wrap_cudaMalloc(void **p, size_t bytes);
extern "C" cudaError_t __wrap_cudaMalloc(void **p, size_t bytes)
{
    if (!no_memory || bytes < 1 << 20)
        return __real_cudaMalloc(p, bytes);
    refused++;
    *p = nullptr;
    return hs_emu_failed(cudaErrorMemoryAllocation);
}

static hs_lt_product product_8bit(hs_dtype a, hs_dtype b, hs_dtype d)
{
    hs_lt_product p = {};
    p.m = 32, p.n = 5, p.k = 48, p.lda = p.ldb = 48, p.ldd = 32;
    p.a = a, p.b = b, p.d = d, p.bias = HS_F64, p.ta = true, p.scale = 1;
    return p;
}

static void in_8_bits(void **state)
{
    (void)state;
    static const hs_dtype types[][3] = { { HS_E4M3, HS_E4M3, HS_BF16 }, { HS_E4M3, HS_E5M2, HS_F32 }, { HS_E5M2, HS_E4M3, HS_F16 } };
    float *factor = reinterpret_cast<float *>(room());
    factor[0] = 0.25f, factor[1] = 8;
    for (int t = 0; t < 3; t++) {
        hs_lt_product p = product_8bit(types[t][0], types[t][1], types[t][2]);
        char *a = room(), *b = room(), *d = room(), *bias = room();
        fill(a, p.a, p.m * p.k, 1, p.m * p.k);
        fill(b, p.b, p.n * p.k, 2, p.n * p.k);
        fill(bias, p.d, p.m, 3, p.m);
        fill(d, p.d, p.m * p.n, 4, p.m * p.n);
        p.add = p.d == HS_F32, p.bias = p.d == HS_F32 ? HS_F64 : p.d, p.fast = t == 0;
        static char was[4096];
        memcpy(was, d, sizeof was);
        assert_null(hs_lt_declines(&p));
        assert_true(hs_lt_has_8bit(&lane, &p));
        const hs_lt_operands o = { a, b, d, bias, &factor[0], &factor[1] };
        hs_lt_multiply(&lane, &p, &o);
        assert_string_equal(lane.failed, "");
        for (int64_t j = 0; j < p.n; j++)
            for (int64_t i = 0; i < p.m; i++) {
                double want = 0;
                for (int64_t k = 0; k < p.k; k++)
                    want += get(a, p.a, i * p.k + k) * get(b, p.b, j * p.k + k) * 2;
                want += p.add ? get(was, p.d, j * p.m + i) : get(bias, p.d, i);
                if (!(fabs(get(d, p.d, j * p.m + i) - want) <= (p.d == HS_F32 ? 1e-4 : 0.02) * (fabs(want) + 1)))
                    fail_msg("[%d, %d]: %g, should be %g", (int)i, (int)j, get(d, p.d, j * p.m + i), want);
            }
        cudaFree(a), cudaFree(b), cudaFree(d), cudaFree(bias);
    }
    cudaFree(factor);
}

static void not_in_8_bits(void **state)
{
    (void)state;
    hs_lt_product p = product_8bit(HS_E5M2, HS_E5M2, HS_F32);
    assert_non_null(hs_lt_declines(&p));
    p = product_8bit(HS_E4M3, HS_BF16, HS_F32);
    assert_non_null(hs_lt_declines(&p));
    p = product_8bit(HS_E4M3, HS_E5M2, HS_F32);
    p.tb = true;
    assert_non_null(hs_lt_declines(&p));
    p = product_8bit(HS_E4M3, HS_E5M2, HS_F32);
    p.bias = HS_F32;
    assert_non_null(hs_lt_declines(&p));
    p = product_8bit(HS_E4M3, HS_E5M2, HS_F32);
    p.m = 24, p.ldd = 24;
    assert_non_null(hs_lt_declines(&p));
    p = product_8bit(HS_E4M3, HS_E5M2, HS_F32);
    assert_null(hs_lt_declines(&p));
    p.n = 7; // a shape that has no plan yet
    gpu.major = 8, gpu.minor = 6, lines = 0;
    snprintf(gpu.name, sizeof gpu.name, "a GPU");
    hs_log_set(HS_LOG_WARN, hear, nullptr);
    for (int i = 0; i < 2; i++)
        assert_false(hs_lt_has_8bit(&lane, &p));
    hs_log_set(HS_LOG_WARN, nullptr, nullptr);
    gpu.major = 9, gpu.minor = 0;
    assert_int_equal(lines, 1);
    assert_string_equal(last_line,
                        "device cuda: fp8 layers by bf16 products, at their speed: a GPU is of compute capability 8.6, 8 bits need 8.9");
    assert_true(hs_lt_has_8bit(&lane, &p));
}

// ---- in int8: sums, and every rule by its name

static hs_lt_product product_int8()
{
    hs_lt_product p = {};
    p.m = 36, p.n = 5, p.k = 44, p.lda = p.ldb = 48, p.ldd = 36;
    p.a = p.b = HS_I8, p.d = HS_I32, p.bias = HS_F64, p.ta = true, p.scale = 1;
    return p;
}

static void in_int8(void **state)
{
    (void)state;
    const hs_lt_product p = product_int8();
    int8_t *a = reinterpret_cast<int8_t *>(room()), *b = reinterpret_cast<int8_t *>(room());
    int32_t *d = reinterpret_cast<int32_t *>(room());
    for (int i = 0; i < 4096; i++)
        a[i] = (int8_t)((int)(hs_mix2((uint64_t)i, 1) % 255) - 127), b[i] = (int8_t)((int)(hs_mix2((uint64_t)i, 2) % 255) - 127);
    memset(d, 0x7F, 4096);
    assert_null(hs_lt_declines(&p));
    assert_true(hs_lt_has_8bit(&lane, &p));
    hs_lt_operands o = {};
    o.a = a, o.b = b, o.d = d;
    hs_lt_multiply(&lane, &p, &o);
    assert_string_equal(lane.failed, "");
    for (int64_t j = 0; j < p.n; j++)
        for (int64_t i = 0; i < p.m; i++) {
            int32_t want = 0;
            for (int64_t k = 0; k < p.k; k++)
                want += a[i * p.lda + k] * b[j * p.ldb + k];
            assert_int_equal(d[j * p.ldd + i], want);
        }
    assert_int_equal(d[p.n * p.ldd], 0x7F7F7F7F);
    cudaFree(a), cudaFree(b), cudaFree(d);
}

static void not_in_int8(void **state)
{
    (void)state;
    enum { CASES = 9 };
    hs_lt_product p[CASES];
    for (int i = 0; i < CASES; i++)
        p[i] = product_int8();
    p[0].b = HS_BF16;
    p[1].d = HS_F32;
    p[2].ta = false, p[2].lda = 48;
    p[3].tb = true;
    p[4].m = 34;
    p[5].k = 42;
    p[6].bias = HS_I32;
    p[7].add = true;
    p[8].scale = 0.5f;
    static const char *const why[CASES] = {
        "operands of a product in int8 are both int8, and sums int32", "operands of a product in int8 are both int8, and sums int32",
        "in int8 A is transposed, and B is not", "in int8 A is transposed, and B is not", "in int8 widths are multiples of 4",
        "in int8 widths are multiples of 4", "sums of int8 are written as they are", "sums of int8 are written as they are",
        "sums of int8 are written as they are"
    };
    for (int i = 0; i < CASES; i++)
        assert_string_equal(hs_lt_declines(&p[i]), why[i]);
    lines = 0;
    hs_log_set(HS_LOG_WARN, hear, nullptr);
    for (int i = 0; i < 2; i++) {
        hs_lt_product narrow = product_int8();
        narrow.k = narrow.lda = narrow.ldb = 40;
        assert_false(hs_lt_has_8bit(&lane, &narrow));
    }
    hs_log_set(HS_LOG_WARN, nullptr, nullptr);
    assert_int_equal(lines, 1); // that of floats of 8 bits was another
    assert_string_equal(last_line,
                        "device cuda: int8 layers by kernels of Halfstep's own: rows are no multiple of 16 bytes (the first is of 36 x 5 x 40)");
}

static int begin(void **)
{
    gpu.index = 0;
    lane.gpu = &gpu, gpu.major = 9;
    if (hs_lt_open(&gpu.lt, "a double", nullptr) == HS_OK)
        return 0;
    print_error("%s\n", hs_error());
    return -1;
}
static int end(void **)
{
    long (*const alive)() = of_double<long()>("fake_cublaslt_alive");
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW); // stays until it was asked
    hs_lt_close(gpu.lt);
    cudaFree(lane.workspace);
    const long left = alive();
    dlclose(library);
    return left != 0;
}

int main()
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all), cmocka_unit_test(live_rows_and_k), cmocka_unit_test(behind), cmocka_unit_test(not_behind),
                                        cmocka_unit_test(timed), cmocka_unit_test(where_operands_lie), cmocka_unit_test(what_it_has_not),
                                        cmocka_unit_test(without_memory), cmocka_unit_test(in_8_bits),
                                        cmocka_unit_test(not_in_8_bits), cmocka_unit_test(in_int8), cmocka_unit_test(not_in_int8) };
    return cmocka_run_group_tests_name("products by cuBLASLt", tests, begin, end);
}

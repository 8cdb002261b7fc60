// Products that go to cuBLASLt (core/cuda/gemm_lt.cu, core/cuda/cublaslt.c), against its double: every orientation, type, bias, batches, adding,
// and live counts on rows and on k, with NaN in what is dead; and that a plan is made once per shape.
#include "core/base/rng.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/gemm.cuh"
extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
}
#include <stdlib.h>
#include <string.h>

extern "C" cudaStream_t gpu_stream(const hs_lane *) { return nullptr; }
extern "C" struct hs_lt *gpu_lt(const hs_lane *lane) { return lane->gpu->lt; }

enum { M = 40, N = 24, K = 72, BATCHES = 2 };
static hs_gpu gpu;
static hs_lane lane;

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

static void one(hs_dtype low, hs_dtype out, bool a_major, bool b_major, bool bias, bool add, int live, int64_t batches, int64_t first = 0)
{
    const int64_t alive = 29, m = live == GEMM_LIVE_M ? alive : M, k = live == GEMM_LIVE_K ? alive : K;
    char *a = static_cast<char *>(aligned_alloc(256, 1 << 16)), *b = static_cast<char *>(aligned_alloc(256, 1 << 16)),
         *c = static_cast<char *>(aligned_alloc(256, 1 << 16)), *was = static_cast<char *>(aligned_alloc(256, 1 << 16));
    float bias_values[N];
    hs_random_normal(bias_values, N, 4, 0, 0, 1);
    fill(a, low, batches * M * K, 1, live == GEMM_LIVE_K ? alive * M : live == GEMM_LIVE_M ? alive * K : batches * M * K);
    fill(b, low, batches * N * K, 2, live == GEMM_LIVE_K ? alive * N : batches * N * K);
    fill(c, out, batches * M * N, 3, batches * M * N);
    memcpy(was, c, 1 << 16);
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
    free(a), free(b), free(c), free(was);
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

static int begin(void **)
{
    gpu.index = 0;
    lane.gpu = &gpu;
    if (hs_lt_open(&gpu.lt, "a double", nullptr) == HS_OK)
        return 0;
    print_error("%s\n", hs_error());
    return -1;
}
static int end(void **)
{
    hs_lt_close(gpu.lt);
    cudaFree(lane.workspace);
    return 0;
}

int main()
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all), cmocka_unit_test(live_rows_and_k) };
    return cmocka_run_group_tests_name("products by cuBLASLt", tests, begin, end);
}

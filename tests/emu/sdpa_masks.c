// Attention that drops by a library's masks: which weights those are is read out of y, of values that are an identity, and all else has to
// follow from it - y, the gradients, what masks change with, and that they are those of the step in which a captured run is replayed.
// cuDNN is its double (fake_cudnn.c), whose masks nothing here knows.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/cuda/cudnn_sdpa.h"
#include "ops/attention/attention_cudnn.h"
#include "ops/ops.h"
#include "tests/emu/emu_runtime.h"

enum { B = 3, H = 2, S = 24, D = S, C = H * D, N = B * S, QKV = 0, STARTS, KEYS, KV, WHERE, Y = 0, LSE };
static const float P = 0.2f;

static hs_gpu gpu;
static hs_lane lane = { .gpu = &gpu };
cudaStream_t gpu_stream(const hs_lane *l) { return l->stream; }
struct hs_lt *gpu_lt(const hs_lane *l) { return l->gpu->lt; }

typedef struct problem {
    hs_attention_attr attr;
    int32_t starts[B + 1], keys[B][3], where[N][2];
    _Alignas(16) uint16_t qkv[N][3 * C], y[N][C], dy[N][C], dqkv[N][3 * C];
    _Alignas(16) float lse[N][H];
    hs_step_in step;
    uint64_t site;
    bool has_keys;
    bool add; // to gradients
} problem;

static const int lengths[B] = { S, 17, 9 };

static void begin(problem *p, bool full, bool has_keys, bool causal)
{
    memset(p, 0, sizeof *p);
    p->attr = (hs_attention_attr){ .heads = H, .causal = causal, .dropout = P, .longest = S, .full = full, .library_masks = true };
    p->has_keys = has_keys;
    for (int b = 0; b <= B; b++)
        p->starts[b] = b == 0 ? 0 : p->starts[b - 1] + (full ? S : lengths[b - 1]);
    for (int b = 0; b < B; b++)
        p->keys[b][0] = p->starts[b], p->keys[b][1] = lengths[b];
    for (int i = 0; i < N; i++)
        p->where[i][0] = 40 + i / S;
    p->step.n[HS_COUNT_TOKENS] = p->starts[B], p->step.n[HS_COUNT_SEQS] = B;
    p->step.seed = 5, p->step.step = 9, p->site = 77;
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 3 * C; c++)
            p->qkv[i][c] = hs_f32_bf16((float)(hs_mix2(1, (uint64_t)(i * 3 * C + c)) % 2048) / 1024 - 1);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < p->starts[b + 1] - p->starts[b]; i++)
            for (int c = 0; c < C; c++) {
                p->qkv[p->starts[b] + i][2 * C + c] = hs_f32_bf16(c % D == i);
                p->dy[p->starts[b] + i][c] = hs_f32_bf16((float)(hs_mix2(2, (uint64_t)(i * C + c)) % 2048) / 1024 - 1);
            }
}

static hs_ref ref(void *at, int64_t rows, int64_t cols, hs_dtype dtype, hs_ext ext)
{
    return (hs_ref){ .p = at, .rows = rows, .cols = cols, .dtype = dtype, .ext = ext };
}

static hs_args args_of(problem *p, bool backward)
{
    hs_args a = { .attr = &p->attr, .step = &p->step, .site = p->site };
    a.in[QKV] = ref(p->qkv, N, 3 * C, HS_BF16, HS_EXT_TOKENS);
    a.in[STARTS] = ref(p->starts, B + 1, 1, HS_I32, HS_EXT_STARTS);
    a.in[KEYS] = ref(p->has_keys ? p->keys : NULL, B, 3, HS_I32, HS_EXT_SEQS);
    a.in[WHERE] = ref(p->where, N, 2, HS_I32, HS_EXT_TOKENS);
    a.out[Y] = ref(p->y, N, C, HS_BF16, HS_EXT_TOKENS);
    a.out[LSE] = ref(p->lse, N, H, HS_F32, HS_EXT_TOKENS);
    if (backward) {
        a.dout[Y] = ref(p->dy, N, C, HS_BF16, HS_EXT_TOKENS);
        a.din[QKV] = ref(p->dqkv, N, 3 * C, HS_BF16, HS_EXT_TOKENS);
        a.din[QKV].add = p->add;
    }
    return a;
}

static size_t scratch_of(problem *p, bool backward)
{
    hs_tensor qkv = { .dtype = HS_BF16, .n_dims = 2, .dim = { N, 3 * C } }, starts = { .dtype = HS_I32, .n_dims = 1, .dim = { B + 1 } },
              some = { 0 };
    const hs_node n = { .attr = &p->attr,
                        .in = { [QKV] = &qkv, [STARTS] = &starts, [KEYS] = p->has_keys ? &some : NULL, [WHERE] = &some } };
    return hs_sdpa_scratch(&n, backward);
}

// In the scratch that a plan would give it, to the byte. Whether cuDNN took it.
static bool run(problem *p, bool backward)
{
    enum { FENCE = 64 };
    hs_args a = args_of(p, backward);
    const size_t bytes = scratch_of(p, backward);
    a.scratch = malloc(bytes + FENCE);
    assert_non_null(a.scratch);
    memset(a.scratch, 0xA5, bytes + FENCE);
    const bool taken = backward ? hs_sdpa_backward(&a, &lane) : hs_sdpa_forward(&a, &lane);
    for (int i = 0; i < FENCE; i++)
        assert_int_equal((unsigned char)a.scratch[bytes + (size_t)i], 0xA5);
    free(a.scratch);
    assert_null(emu_verdict());
    return taken;
}
static void must_run(problem *p, bool backward)
{
    assert_true(run(p, backward));
    assert_string_equal(lane.failed, "");
}

// ---- what follows from a mask

static double at(const uint16_t *x, int i) { return hs_bf16_f32(x[i]); }
static double dot(const uint16_t *x, const uint16_t *y)
{
    double sum = 0;
    for (int c = 0; c < D; c++)
        sum += at(x, c) * at(y, c);
    return sum;
}

typedef struct tally {
    int cells, dropped;
} tally;

static void near(double got, double want, double bound, const char *what)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%s is %.6f, should be %.6f", what, got, want);
}

// Of one head of one sequence.
static void check_head(const problem *p, int b, int h, bool backward, tally *t)
{
    static double w[S][S], m[S][S], ds[S][S];
    const int r0 = p->starts[b], n = p->has_keys || !p->attr.full ? lengths[b] : S, rows = p->starts[b + 1] - r0;
    const double scale = 1 / sqrt((double)D), kept = 1 - (double)P;
    double dq[S][D] = { 0 }, dk[S][D] = { 0 }, dv[S][D] = { 0 };
    for (int i = 0; i < rows; i++) {
        const uint16_t *q = &p->qkv[r0 + i][h * D], *y = &p->y[r0 + i][h * D], *dy = &p->dy[r0 + i][h * D];
        const int seen = p->attr.causal && i + 1 < n ? i + 1 : n;
        double sum = 0, delta = 0;
        for (int j = 0; j < seen; j++)
            sum += w[i][j] = exp(scale * dot(q, &p->qkv[r0 + j][C + h * D]));
        for (int j = 0; j < D; j++) {
            m[i][j] = j < seen && y[j] ? 1 / kept : 0;
            w[i][j] = j < seen ? w[i][j] / sum : 0;
            near(at(y, j), m[i][j] * w[i][j], 0x1p-7 * w[i][j], "a weight");
            t->cells += j < seen, t->dropped += j < seen && !y[j];
            delta += at(dy, j) * m[i][j] * w[i][j]; // the identity is v
        }
        for (int j = 0; j < seen; j++) {
            ds[i][j] = w[i][j] * (m[i][j] * at(dy, j) - delta) * scale;
            for (int c = 0; c < D; c++) {
                dq[i][c] += ds[i][j] * at(&p->qkv[r0 + j][C + h * D], c);
                dk[j][c] += ds[i][j] * at(q, c);
                dv[j][c] += m[i][j] * w[i][j] * at(dy, c);
            }
        }
    }
    for (int i = 0; i < rows && backward; i++)
        for (int c = 0; c < D; c++) {
            const uint16_t *d = &p->dqkv[r0 + i][h * D + c];
            near(at(d, 0), dq[i][c], 0.004 + 0.02 * fabs(dq[i][c]), "dq");
            near(at(d, C), dk[i][c], 0.004 + 0.02 * fabs(dk[i][c]), "dk");
            near(at(d, 2 * C), dv[i][c], 0.02 + 0.02 * fabs(dv[i][c]), "dv");
        }
}

static void check(const problem *p, bool backward)
{
    tally t = { 0 };
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++)
            check_head(p, b, h, backward, &t);
    near((double)t.dropped / t.cells, (double)P, 4 * sqrt((double)(P * (1 - P)) / t.cells), "the share of what is dropped");
}

static void test_gradients(void **state)
{
    (void)state;
    static problem p;
    for (int kind = 0; kind < 3; kind++) // ragged, padded, and of rows that are all tokens
        for (int causal = 0; causal <= (kind != 1); causal++)
            for (int any_order = 0; any_order < 2; any_order++) {
                begin(&p, kind > 0, kind == 1, causal);
                p.attr.any_order = any_order;
                must_run(&p, false);
                check(&p, false);
                must_run(&p, true);
                check(&p, true);
            }
}

// ---- what masks change with

static void test_seeds(void **state)
{
    (void)state;
    enum { CHANGES = 6 };
    static problem p, other;
    begin(&p, false, false, true);
    must_run(&p, false);
    for (int change = 0; change < CHANGES; change++) {
        begin(&other, false, false, true);
        if (change == 1)
            other.step.step++;
        else if (change == 2)
            other.step.seed++;
        else if (change == 3)
            other.site++;
        else if (change == 4)
            other.where[0][0]++;
        else if (change == 5)
            other.attr.first_head = H;
        must_run(&other, false);
        if ((memcmp(p.y, other.y, sizeof p.y) == 0) != (change == 0))
            fail_msg("change %d: masks should be %s", change, change ? "others" : "the same");
        check(&other, false);
    }
}

// ---- in a stream, and captured

static void test_captured(void **state)
{
    (void)state;
    void (*streams)(void (*)(cudaStream_t, hs_emu_call *, hs_emu_call *, void *), int (*)(const char *)) = NULL;
    void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(library);
    *(void **)&streams = dlsym(library, "fake_cudnn_streams");
    assert_non_null(streams);
    streams(hs_emu_enqueue, hs_emu_is_captured);
    static problem p, direct;
    static char scratch[2][1 << 20];
    cudaGraph_t graph;
    cudaGraphExec_t replayed;
    begin(&p, false, false, true);
    hs_args forward = args_of(&p, false), backward = args_of(&p, true);
    forward.scratch = scratch[0], backward.scratch = scratch[1];
    assert_true(scratch_of(&p, false) <= sizeof scratch[0] && scratch_of(&p, true) <= sizeof scratch[1]);
    assert_int_equal(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaStreamBeginCapture(lane.stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    assert_true(hs_sdpa_forward(&forward, &lane) && hs_sdpa_backward(&backward, &lane));
    assert_int_equal(cudaStreamEndCapture(lane.stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphInstantiate(&replayed, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    for (int step = 0; step < 3; step++) {
        p.step.step = 20 + (uint64_t)step;
        assert_int_equal(cudaGraphLaunch(replayed, lane.stream), cudaSuccess);
        assert_int_equal(cudaStreamSynchronize(lane.stream), cudaSuccess);
        check(&p, true);
        begin(&direct, false, false, true);
        direct.step.step = p.step.step;
        const cudaStream_t stream = lane.stream;
        lane.stream = NULL;
        must_run(&direct, false);
        must_run(&direct, true);
        lane.stream = stream;
        if (memcmp(direct.y, p.y, sizeof p.y) || memcmp(direct.dqkv, p.dqkv, sizeof p.dqkv))
            fail_msg("a captured run of step %d: other bits", step);
    }
    assert_int_equal(cudaGraphExecDestroy(replayed), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(lane.stream), cudaSuccess);
    lane.stream = NULL;
    dlclose(library);
}

// ---- what is refused

static char said[512];
static void keep(hs_log_level level, const char *line, void *user)
{
    (void)level, (void)user;
    snprintf(said, sizeof said, "%s", line);
}

static void test_refusals(void **state)
{
    (void)state;
    static problem p;
    hs_log_set(HS_LOG_INFO, keep, NULL);
    begin(&p, false, false, true);
    p.attr.library_masks = false;
    assert_int_equal(scratch_of(&p, false), 0);
    hs_args a = args_of(&p, false);
    assert_false(hs_sdpa_forward(&a, &lane));
    assert_non_null(strstr(said, "forward, is not cuDNN's: its masks have other bits (exec.attention_masks)"));
    // no gradient, no value: rows that take more scratch than there is
    p.attr = (hs_attention_attr){ .heads = 64, .dropout = P, .longest = 8192, .full = true, .library_masks = true };
    a = args_of(&p, false);
    a.in[QKV].rows = 64 * 8192, a.in[QKV].cols = 3 * 64 * 8, a.in[STARTS].rows = 65;
    assert_false(hs_sdpa_forward(&a, &lane));
    assert_non_null(strstr(said, "its gradients are not, whose masks are the same"));
    // a gradient that cannot be by the mask of its value is a failure
    begin(&p, false, false, true);
    must_run(&p, false);
    p.add = true;
    assert_true(run(&p, true));
    assert_string_equal(lane.failed,
                        "cuDNN dropped by masks of its own, and has no gradient by them: it writes gradients, and does not add to them");
    lane.failed[0] = 0;
    hs_log_set(HS_LOG_WARN, NULL, NULL);
}

int main(void)
{
    if (hs_dnn_open(&gpu.dnn, 0) != HS_OK) {
        fprintf(stderr, "%s\n", hs_error());
        return 1;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gradients), cmocka_unit_test(test_seeds), cmocka_unit_test(test_captured),
                                        cmocka_unit_test(test_refusals) };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hs_dnn_close(gpu.dnn);
    return failed;
}

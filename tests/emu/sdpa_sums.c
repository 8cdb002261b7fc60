// Gradients that atomics add up are those whose bits repeat, which the op tests judge: the other graph, through cuDNN's double (fake_cudnn.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/cuda/cudnn_sdpa.h"

enum { B = 2, H = 2, S = 128, D = 8, C = H * D, N = B * S };

static void draw(uint16_t *x, int n, uint64_t key)
{
    for (int i = 0; i < n; i++)
        x[i] = hs_f32_f16((float)(hs_mix2(key, (uint64_t)i) % 2048) / 1024 - 1);
}

static void run(hs_sdpa_problem p, hs_sdpa_operands o, uint16_t *dqkv, hs_lane *lane)
{
    const size_t bytes = hs_sdpa_workspace(&p);
    o.workspace = aligned_alloc(HS_SDPA_ALIGN, (bytes + HS_SDPA_ALIGN - 1) / HS_SDPA_ALIGN * HS_SDPA_ALIGN);
    assert_non_null(o.workspace);
    memset(o.workspace, 0xFF, bytes); // whatever was there before
    memset(dqkv, 0, 3 * N * C * sizeof *dqkv);
    o.dq = dqkv, o.dk = dqkv + C, o.dv = dqkv + 2 * C;
    assert_true(hs_sdpa_ready(lane, &p, NULL));
    hs_sdpa_run(lane, &p, &o);
    assert_string_equal(lane->failed, "");
    free(o.workspace);
}

static _Alignas(16) uint16_t qkv[3 * N * C], y[N * C], dy[N * C], dqkv[2][3 * N * C];
static _Alignas(16) float lse[N * H];

static void compare(hs_sdpa_rows rows, bool causal, hs_lane *lane)
{
    _Alignas(16) static const int32_t len[B] = { S, 77 }, at_in[B + 1] = { 0, 3 * C * S, 3 * C * (S + 77) },
                                      at_out[B + 1] = { 0, C * S, C * (S + 77) }, at_lse[B + 1] = { 0, H * S, H * (S + 77) };
    hs_sdpa_problem p = { .b = B,
                          .h = H,
                          .s = S,
                          .d = D,
                          .row_in = 3 * C,
                          .row_out = C,
                          .dtype = HS_F16,
                          .rows = rows,
                          .pass = HS_SDPA_BACKWARD,
                          .causal = causal };
    hs_sdpa_operands o = { .q = qkv, .k = qkv + C, .v = qkv + 2 * C, .y = y, .lse = lse, .dy = dy };
    o.len_q = o.len_kv = len, o.at_in = at_in, o.at_out = at_out, o.at_lse = at_lse, o.scale = 0.3f;
    run(p, o, dqkv[0], lane);
    p.repeats = true;
    run(p, o, dqkv[1], lane);
    double most = 0;
    const int live = rows == HS_SDPA_FULL ? N : S + 77;
    for (int i = 0; i < 3 * live * C; i++) {
        const float a = hs_f16_f32(dqkv[0][i]), b = hs_f16_f32(dqkv[1][i]);
        assert_true(fabsf(a - b) <= 0x1p-10f * (fabsf(b) + 0x1p-10f)); // dq is rounded twice in one of them
        most = fmax(most, fabs((double)b));
    }
    assert_true(most > 0.01);
}

static void test_sums(void **state)
{
    (void)state;
    hs_gpu gpu = { 0 };
    hs_lane lane = { .gpu = &gpu };
    assert_int_equal(hs_dnn_open(&gpu.dnn, 0), HS_OK);
    draw(qkv, 3 * N * C, 1);
    draw(y, N * C, 2);
    draw(dy, N * C, 3);
    for (int i = 0; i < N * H; i++)
        lse[i] = 4 + (float)(i % 7) / 8;
    for (int rows = HS_SDPA_FULL; rows <= HS_SDPA_RAGGED; rows++)
        for (int causal = 0; causal < 2; causal++)
            compare((hs_sdpa_rows)rows, causal, &lane);
    hs_dnn_close(gpu.dnn);
}

// A library that does not plan for a GPU that it is told of is said to be too old, and not to fail at it.
static void test_old(void **state)
{
    (void)state;
    hs_dnn *dnn;
    assert_int_equal(hs_dnn_open(&dnn, 0), HS_UNSUPPORTED);
    assert_null(dnn);
    assert_string_equal(hs_error(), "cuDNN: version 9.7, needs 9.8 or newer, which plans for a GPU's description");
}

int main(int argc, char **argv)
{
    (void)argv;
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_sums) }, old[] = { cmocka_unit_test(test_old) };
    return argc > 1 ? cmocka_run_group_tests(old, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}

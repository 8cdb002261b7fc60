// What core and several ranks' optimizers ask of CUDA, run by the emulator beside the CPU's.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/cpu/lane.h"
#include "ops/ops.h"
#include "optim/update.h"
#include "tests/emu/emu_runtime.h"
#include <math.h>
#include <stdlib.h>

extern const hs_core_kernels hs_core_kernels_cuda;

static hs_device *cpu;
static hs_lane one = { .id = 0, .n = 1 };

static int open_cpu(void **state)
{
    (void)state;
    return hs_open_device(&cpu, "cpu", 1, NULL, 0, HS_ONEDNN_NO) != HS_OK;
}
static int close_cpu(void **state)
{
    (void)state;
    hs_device_close(cpu);
    return 0;
}

static void in_every_order(void (*check)(void))
{
    for (int order = 0; order < (EMU_ONE_ORDER ? 1 : 3); order++) {
        emu_schedule((emu_order)order, 5);
        emu_forget();
        check();
        const char *wrong = emu_verdict();
        if (wrong)
            fail_msg("%s", wrong);
    }
}

static void watch(const char *name, const void *p, size_t bytes, bool writable) { emu_watch(name, p, bytes, writable); }

// ---- losses

static hs_step_in step_of(int micro)
{
    hs_step_in in = { .n = { [HS_COUNT_TOKENS] = 700 }, .seed = 3, .step = 41, .micro = micro, .n_micro = 2, .ran = 1u << 2 | 1u << 15 };
    for (int i = 0; i < HS_N_LOSS; i++)
        in.inv_count[i] = 1.0f / (float)(3 + i);
    return in;
}

static void fill_losses(hs_step_state *s)
{
    for (int i = 0; i < HS_N_LOSS_SETS; i++)
        for (int k = 0; k < HS_N_LOSS; k++)
            s->loss[i][k] = 0.5 + i * 16 + k;
}

static void check_loss_sum(void)
{
    enum { ROWS = 3000 };
    float *loss = malloc(ROWS * sizeof *loss);
    hs_random_normal(loss, ROWS, 7, 0, 2, 1);
    for (int c = 0; c < 8; c++) { // first or later micro-step, begun by another node or not, all rows or those that live
        const hs_step_in in = step_of(c & 1);
        const hs_loss_sum attr = { .set = 3, .loss = 4, .goes_on = c >> 1 & 1 };
        hs_step_state theirs = { 0 }, ours;
        fill_losses(&theirs);
        ours = theirs;
        hs_args a = { .in[0] = { (char *)loss, ROWS, 1, HS_F32, c & 4 ? HS_EXT_TOKENS : HS_EXT_FIXED, false, NULL },
                      .attr = &attr,
                      .step = &in,
                      .state = &theirs };
        watch("loss", loss, ROWS * sizeof *loss, false), watch("step", &in, sizeof in, false), watch("state", &theirs, sizeof theirs, true);
        hs_core_kernels_cuda.loss_sum(&a, NULL);
        emu_forget();
        a.state = &ours;
        cpu->core->loss_sum(&a, &one);
        assert_true(fabs(theirs.loss[3][4] / ours.loss[3][4] - 1) < 1e-14);
        theirs.loss[3][4] = ours.loss[3][4];
        assert_memory_equal(&theirs, &ours, sizeof ours);
    }
    free(loss);
}
static void test_loss_sum(void **state)
{
    (void)state;
    in_every_order(check_loss_sum);
}

static void twice(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op) // as if another rank had the same
{
    (void)c, (void)l;
    assert_int_equal(op, HS_REDUCE_SUM);
    assert_int_equal(d, HS_F64);
    for (int64_t i = 0; i < n; i++)
        ((double *)buf)[i] *= 2;
}

static void check_loss_total(void)
{
    const hs_step_in in = step_of(0);
    hs_step_state theirs = { 0 }, ours;
    double room[HS_N_LOSS_SETS * HS_N_LOSS];
    hs_comm two = { .size = 2, .all_reduce = twice };
    fill_losses(&theirs);
    ours = theirs;
    hs_args a = {
        .out[0] = { (char *)room, HS_N_LOSS_SETS, HS_N_LOSS, HS_F64, 0, false, NULL }, .step = &in, .state = &theirs, .comm = &two
    };
    watch("room", room, sizeof room, true), watch("step", &in, sizeof in, false), watch("state", &theirs, sizeof theirs, true);
    hs_core_kernels_cuda.loss_total(&a, NULL);
    a.state = &ours;
    cpu->core->loss_total(&a, &one);
    assert_memory_equal(&theirs, &ours, sizeof ours);
    assert_true(theirs.loss[2][1] == 2 * 33.5 && theirs.loss[1][1] == 17.5);
}
static void test_loss_total(void **state)
{
    (void)state;
    in_every_order(check_loss_total);
}

// ---- cells and records

static void check_keep(void)
{
    static const int counts[] = { 0, 1, 3, 4, 2049, 9001 };
    float *x = calloc(9100, sizeof *x), *y = calloc(9100, sizeof *y), *z = calloc(9100, sizeof *z);
    for (int i = 0; i < 4 * HS_COUNT(counts); i++) {
        const int n = counts[i / 4], from = i & 1 ? 1 : 0; // one that does not begin at 16 bytes
        hs_random_normal(x, 9100, 1, 0, 0, 1), hs_random_normal(y, 9100, 2, 0, 0, 1);
        memcpy(z, y, 9100 * sizeof *z);
        hs_args a = { .in[0] = { (char *)(x + from), n, 1, HS_F32, 0, false, NULL },
                      .out[0] = { (char *)(y + from), n, 1, HS_F32, 0, i & 2, NULL } };
        watch("x", x + from, (size_t)n * sizeof *x, false), watch("y", y + from, (size_t)n * sizeof *y, true);
        hs_core_kernels_cuda.keep(&a, NULL);
        emu_forget();
        a.out[0].p = (char *)(z + from);
        cpu->core->keep(&a, &one);
        assert_memory_equal(y, z, 9100 * sizeof *y);
    }
    free(x), free(y), free(z);
}
static void test_keep(void **state)
{
    (void)state;
    in_every_order(check_keep);
}

static void check_record(void)
{
    hs_step_log *theirs = calloc(1, sizeof *theirs), *ours = calloc(1, sizeof *ours);
    const hs_step_in in = step_of(0);
    hs_step_state s = { .applied = 9,
                        .scale = 8,
                        .step_scale = 16,
                        .found_inf = 1,
                        .skipped = 3,
                        .skipped_in_row = 2,
                        .lr = 0.5f,
                        .grad_norm = 2,
                        .bad_param = 7,
                        .bad_count = 5,
                        .bad_micro = -1 };
    fill_losses(&s);
    theirs->n = ours->n = HS_STEP_RECORDS - 1;
    for (int i = 0; i < 3; i++, s.applied++, s.found_inf = 0) { // over the end of the ring
        hs_args a = { .out[0] = { (char *)theirs, 1, 1, HS_U8, 0, false, NULL }, .step = &in, .state = &s };
        watch("log", theirs, sizeof *theirs, true), watch("step", &in, sizeof in, false), watch("state", &s, sizeof s, false);
        hs_core_kernels_cuda.record(&a, NULL);
        emu_forget();
        a.out[0].p = (char *)ours;
        cpu->core->record(&a, &one);
        assert_memory_equal(theirs, ours, sizeof *ours);
    }
    assert_int_equal(ours->n, HS_STEP_RECORDS + 2);
    free(theirs), free(ours);
}
static void test_record(void **state)
{
    (void)state;
    in_every_order(check_record);
}

// ---- what ranks agree on before a step is decided

enum { CHUNKS = 1300 };

static void summed(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)l;
    assert_int_equal(op, HS_REDUCE_SUM);
    assert_int_equal(n, 2 * CHUNKS);
    twice(c, l, buf, n, d, op);
}
static void voted(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    (void)c, (void)l, (void)buf;
    assert_true(n == 1 && d == HS_I32 && op == HS_REDUCE_MAX);
}
static void reversed(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d) // what other ranks had
{
    (void)c, (void)l, (void)n;
    assert_int_equal(d, HS_F64);
    for (int i = 0; i < 2 * CHUNKS; i++)
        ((double *)buf)[i] = i;
}

static void check_ranks(void)
{
    hs_update_chunk *chunk = calloc(CHUNKS, sizeof *chunk);
    hs_partial *theirs = calloc(CHUNKS, sizeof *theirs), *ours = calloc(CHUNKS, sizeof *ours), *dealt = calloc(CHUNKS, sizeof *dealt);
    int32_t *spot = calloc(CHUNKS, sizeof *spot), found[2];
    for (int k = 0; k < CHUNKS; k++)
        chunk[k].counted = k % 3 > 0, theirs[k].a = ours[k].a = 0.25 * k, spot[k] = CHUNKS - 1 - k;
    hs_comm two = { .size = 2, .all_reduce = summed, .gather_parts = reversed };
    const hs_ref all = { (char *)chunk, CHUNKS, sizeof *chunk, HS_U8, 0, false, NULL };
    const hs_ref partials[2] = { { (char *)theirs, CHUNKS, 2, HS_F64, 0, false, NULL },
                                 { (char *)ours, CHUNKS, 2, HS_F64, 0, false, NULL } };
    hs_optim_cuda.total(&(hs_args){ .in[0] = all, .out[0] = partials[0], .comm = &two }, NULL);
    hs_optim_portable.total(&(hs_args){ .in[0] = all, .out[0] = partials[1], .comm = &two }, &one);
    assert_memory_equal(theirs, ours, CHUNKS * sizeof *ours);
    two.all_reduce = voted;
    for (int bad = 0; bad < 2; bad++) {
        theirs[CHUNKS - 2].b = ours[CHUNKS - 2].b = bad;
        for (int i = 0; i < 2; i++)
            (i ? hs_optim_portable : hs_optim_cuda)
                .vote(&(hs_args){ .in[0] = partials[i], .out[0] = { (char *)&found[i], 1, 1, HS_I32, 0, false, NULL }, .comm = &two },
                      i ? &one : NULL);
        assert_true(found[0] == bad && found[1] == bad);
    }
    const hs_move move = { .kind = HS_GATHER_PARTS, .parts = (const int64_t[]){ CHUNKS, CHUNKS } };
    for (int i = 0; i < 2; i++)
        (i ? hs_optim_portable : hs_optim_cuda)
            .gather(&(hs_args){ .in[0] = { (char *)spot, CHUNKS, 1, HS_I32, 0, false, NULL },
                                .out = { { (char *)dealt, CHUNKS, 2, HS_F64, 0, false, NULL }, partials[i] },
                                .attr = &move,
                                .comm = &two },
                    i ? &one : NULL);
    assert_memory_equal(theirs, ours, CHUNKS * sizeof *ours);
    assert_true(ours[0].a == 2 * (CHUNKS - 1));
    free(chunk), free(theirs), free(ours), free(dealt), free(spot);
}
static void test_ranks(void **state)
{
    (void)state;
    in_every_order(check_ranks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_sum), cmocka_unit_test(test_loss_total), cmocka_unit_test(test_keep),
        cmocka_unit_test(test_record),   cmocka_unit_test(test_ranks),
    };
    return cmocka_run_group_tests(tests, open_cpu, close_cpu);
}

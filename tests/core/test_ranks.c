// Ranks as threads (support_comm): a grid's axes, parts of any length, calls that are started here and finished there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_comm.h"
#include <string.h>

#define EXPECT(what)                                                                                                                       \
    if (!(what))                                                                                                                           \
    return HS_FAIL(CORRUPT, "%s", #what)

static hs_status check_axes(const hs_grid *grid, void *arg, int rank)
{
    const int *size = arg; // dp, tp
    hs_comm *world = ranks_world(grid), *files = ranks_files(grid);
    EXPECT(grid->dp->size == size[0] && grid->tp->size == size[1] && world->size == size[0] * size[1] && files->size == world->size);
    EXPECT(rank == grid->dp->rank * grid->tp->size + grid->tp->rank && world->rank == rank && files->rank == rank);
    double tp = rank, dp = rank, all = rank, want_tp = 0, want_dp = 0;
    grid->tp->all_reduce(grid->tp, NULL, &tp, 1, HS_F64, HS_REDUCE_SUM);
    grid->dp->all_reduce(grid->dp, NULL, &dp, 1, HS_F64, HS_REDUCE_SUM);
    world->all_reduce(world, NULL, &all, 1, HS_F64, HS_REDUCE_MAX);
    for (int r = 0; r < world->size; r++) {
        want_tp += r / size[1] == grid->dp->rank ? r : 0;
        want_dp += r % size[1] == grid->tp->rank ? r : 0;
    }
    EXPECT(tp == want_tp && dp == want_dp && all == world->size - 1);
    return world->poll(world);
}

static void a_rank_has_two_axes(void **state)
{
    (void)state;
    static int grids[][2] = { { 1, 1 }, { 2, 2 }, { 4, 1 }, { 1, 4 }, { 2, 3 } };
    for (int i = 0; i < HS_COUNT(grids); i++) {
        comm_calls calls[RANKS_COMMS];
        if (ranks_run_grid(grids[i][0], grids[i][1], check_axes, grids[i], calls) != HS_OK)
            fail_msg("%d x %d: %s", grids[i][0], grids[i][1], hs_error());
        assert_int_equal(calls[RANKS_TP].all_reduces, 1);
        assert_int_equal(calls[RANKS_DP].all_reduces, grids[i][0] > 1); // of one rank, the comm is the library's own
        assert_int_equal(calls[RANKS_WORLD].elements, 1);
    }
}

static hs_status check_parts(const hs_grid *grid, void *arg, int rank)
{
    static const int64_t n[4] = { 3, 0, 500, 1 };
    hs_comm *c = ranks_world(grid);
    float x[504];
    (void)arg;
    for (int i = 0; i < 504; i++)
        x[i] = (float)(rank + 1) * (float)i;
    const hs_collective reduce = { .kind = HS_REDUCE_PARTS, .buf = x, .parts = n, .dtype = HS_F32 };
    const hs_collective gather = { .kind = HS_GATHER_PARTS, .buf = x, .parts = n, .dtype = HS_F32 };
    hs_comm_start(c, NULL, &reduce);
    hs_comm_start(c, NULL, &gather); // in that order
    EXPECT(x[7] == (float)(rank + 1) * 7);
    hs_comm_finish(c, NULL);
    for (int i = 0; i < 504; i++)
        EXPECT(x[i] == 10 * (float)i);
    hs_comm_start(c, NULL, &gather);
    if (rank != 1) // rank 1 asks for another one while that is under way
        hs_comm_finish(c, NULL);
    c->all_reduce(c, NULL, x, 1, HS_F32, HS_REDUCE_SUM);
    EXPECT(c->poll(c) != HS_OK);
    return HS_OK;
}

static void parts_are_reduced_and_gathered(void **state)
{
    (void)state;
    comm_calls calls[RANKS_COMMS];
    assert_int_equal(ranks_run_grid(2, 2, check_parts, NULL, calls), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "started and not finished"));
    assert_int_equal(calls[RANKS_WORLD].reduce_parts, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_rank_has_two_axes), cmocka_unit_test(parts_are_reduced_and_gathered) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Memory that runs out while a model is traced, planned and bound: whichever allocation it is that fails, the answer is one
// error, MEMORY, and nothing is left behind or touched that is not there.
#include "tests/support/support_gpt.h"

#include "ops/ops.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// The program's own malloc, calloc and realloc stand in front of the C library's.
static long left = -1; // allocations until one fails; negative: none does
static bool refused(void) { return left >= 0 && left-- == 0; }

static void *next(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);
    if (!p)
        abort();
    return p;
}

void *malloc(size_t n)
{
    static void *(*real)(size_t);
    if (!real)
        *(void **)&real = next("malloc");
    return refused() ? NULL : real(n);
}

void *calloc(size_t n, size_t size)
{
    static void *(*real)(size_t, size_t);
    if (!real)
        *(void **)&real = next("calloc");
    return refused() ? NULL : real(n, size);
}

void *realloc(void *p, size_t n)
{
    static void *(*real)(void *, size_t);
    if (!real)
        *(void **)&real = next("realloc");
    return refused() ? NULL : real(p, n);
}

// Two blocks with dropout in bf16, or a decoding step with its caches; with reductions where it trains.
static hs_status build(hs_mode mode, hs_device *dev)
{
    const tiny_gpt model = tiny_gpt_of(&(tiny_opts){ .dropout = 0.1f });
    const hs_grid grid = hs_grid_self();
    hs_params *ps = NULL;
    hs_states *states = hs_states_new();
    hs_graph *g = NULL;
    hs_plan *plan = NULL;
    hs_exec *e = NULL;
    hs_status st = states ? hs_params_new(&ps, 1, 0, 1) : HS_MEMORY;
    if (st == HS_OK)
        st = hs_params_declare_low(ps, HS_BF16);
    if (st == HS_OK)
        st = hs_graph_new(&g, ps, states, mode, &grid);
    if (st == HS_OK) {
        g->block_bytes = 0;
        tiny_gpt_model(g, &model);
        st = hs_plan_new(&plan, g, dev, &(hs_plan_opts){ .policy = { .low = HS_BF16 }, .collectives = true });
    }
    if (st == HS_OK) {
        hs_step_in in = { 0 };
        hs_step_state state = { 0 };
        static char workspace[64];
        static void *caches[16];
        for (int i = 0; i < HS_COUNT(caches); i++)
            caches[i] = workspace; // nothing is run
        for (int i = 0; i < ps->n_slabs && st == HS_OK; i++)
            st = hs_params_lend(ps, ps->slab[i], workspace, ps->slab[i]->bytes);
        if (st == HS_OK)
            st = hs_exec_new(&e, plan, &(hs_exec_memory){ dev, workspace, workspace, caches, &in, &state });
    }
    hs_exec_free(e);
    hs_plan_free(plan);
    hs_graph_free(g);
    hs_states_free(states);
    hs_params_free(ps);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    hs_device *dev;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, NULL, 0, false), HS_OK);
    for (int mode = HS_TRAIN; mode <= HS_DECODE; mode++) {
        assert_int_equal(build((hs_mode)mode, dev), HS_OK);
        int k = 0;
        for (;; k++) {
            left = k;
            const hs_status st = build((hs_mode)mode, dev);
            const bool all_served = left >= 0;
            left = -1;
            if (all_served) {
                assert_int_equal(st, HS_OK);
                break;
            }
            if (st != HS_MEMORY)
                fail_msg("mode %d, allocation %d: %s: %s", mode, k, hs_status_name(st), hs_error());
        }
        assert_true(k > 100);
    }
    hs_device_close(dev);
}

// A parameter that found no memory may be asked for again: the slabs are as large as if it had been there at once.
static void parameters_are_asked_for_again(void **state)
{
    (void)state;
    enum { PARAMS = 40 };
    int failed = 0;
    for (int k = 0; k < 8; k++) {
        hs_params *ps;
        assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
        assert_int_equal(hs_params_declare_low(ps, HS_BF16), HS_OK);
        assert_int_equal(hs_params_declare_grad(ps), HS_OK);
        for (int i = 0; i < PARAMS; i++) {
            char name[16];
            hs_param *p;
            snprintf(name, sizeof name, "w%d", i);
            const hs_param_spec spec = { .name = name, .n_dims = 1, .dim = { 64 } };
            left = k;
            const hs_status st = hs_params_get(ps, &spec, &p);
            left = -1;
            failed += st != HS_OK;
            if (st != HS_OK)
                assert_int_equal(hs_params_get(ps, &spec, &p), HS_OK);
        }
        assert_int_equal(ps->n_params, PARAMS);
        assert_int_equal(ps->master->bytes, PARAMS * 64 * sizeof(float));
        assert_int_equal(ps->low->bytes, PARAMS * 64 * sizeof(uint16_t));
        assert_int_equal(ps->grad->bytes, PARAMS * 64 * sizeof(float));
        hs_params_free(ps);
    }
    assert_true(failed > PARAMS); // a sanitizer's strdup is none of these allocations
}

// Parameters that found no memory may be laid out again, with one more among them: nothing is left of the first try.
static void parameters_are_laid_out_again(void **state)
{
    (void)state;
    int failed = 0;
    for (int k = 0; k < 12; k++) {
        hs_params *ps;
        hs_param *p;
        assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
        assert_int_equal(hs_params_declare_grad(ps), HS_OK);
        const hs_param_spec spec = { .name = "w", .n_dims = 2, .dim = { 300, 1000 }, .parts = 3 };
        assert_int_equal(hs_params_get(ps, &spec, &p), HS_OK);
        for (int tries = 0; !ps->allocated; tries++) {
            left = tries ? -1 : k;
            const hs_status st = hs_params_alloc(ps, NULL, false);
            left = -1;
            assert_int_equal(st == HS_OK, ps->allocated);
            assert_true(tries < 2);
            failed += st != HS_OK;
            assert_true(ps->allocated || (!ps->master->p && !ps->chunk && !ps->has_grad));
            if (st != HS_OK)
                assert_int_equal(hs_params_get(ps, &(hs_param_spec){ .name = "late", .n_dims = 1, .dim = { 64 } }, &p), HS_OK);
        }
        const int late = ps->n_params - 1; // of one logical tensor and one chunk
        assert_int_equal(ps->n_chunks, 3 * ((100000 + HS_CHUNK - 1) / HS_CHUNK) + late);
        assert_int_equal(ps->n_logical, 3 + late);
        assert_int_equal(ps->n_trained, 300000 + 64 * late);
        hs_params_free(ps);
    }
    assert_true(failed >= 2); // at the table and at the marks
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail), cmocka_unit_test(parameters_are_asked_for_again),
                                        cmocka_unit_test(parameters_are_laid_out_again) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

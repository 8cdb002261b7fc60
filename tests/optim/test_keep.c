// keep: what is zero in a weight that keeps its zeros stays zero under every optimizer, its moments with it, and what is not zero is
// trained as if those elements were not there.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const every[] = { "adamw", "electra",   "lamb", "nvlamb", "apex-nvlamb", "albert",
                                     "mxnet", "deepspeed", "sgd",  "lars",   "novograd" };

static bool pruned(size_t i) { return i % 4 == 1 || i % 4 == 2; } // of the elements of qkv.weight

static void prune(hs_params *ps)
{
    const hs_param *p = hs_params_find(ps, "qkv.weight");
    float *w = calloc(p->n, sizeof *w);
    hs_params_fetch(ps, p, 0, w, p->n);
    for (size_t i = 0; i < p->n; i++)
        w[i] = pruned(i) ? 0 : w[i];
    hs_params_put(ps, ps->master, p, 0, w, p->n);
    free(w);
}

// What a pass of its own takes away, taken away by hand.
static void step(rig *r, int t, bool by_hand)
{
    const hs_param *p = hs_params_find(r->ps, "qkv.weight");
    r->in.step = (uint64_t)t;
    fill_gradients(r->ps, t, 1e-2, r->state.scale);
    if (by_hand) {
        float *g = flat_copy(r->ps, "grad"), *mine = g + flat_at(r->ps, p);
        for (size_t i = 0; i < p->n; i++)
            mine[i] = pruned(i) ? 0 : mine[i];
        flat_write(r->ps, "grad", g);
        free(g);
    }
    assert_int_equal(r->dev->submit(r->dev, NULL, &r->update, HS_SUBMIT_BULK), HS_OK);
}

static void stays_zero(const rig *r, const char *name)
{
    const hs_param *p = hs_params_find(r->ps, "qkv.weight");
    float *w = calloc(p->n, sizeof *w);
    size_t zeros = 0;
    hs_params_fetch(r->ps, p, 0, w, p->n);
    for (size_t i = 0; i < p->n; i++) {
        if (pruned(i) != (w[i] == 0))
            fail_msg("%s: element %zu is %g", name, i, (double)w[i]);
        zeros += w[i] == 0;
    }
    assert_int_equal(zeros, p->n / 2);
    free(w);
}

static void moments_are_zero(const rig *r, const char *name)
{
    const hs_param *p = hs_params_find(r->ps, "qkv.weight");
    for (int s = 0; s < r->ps->n_slabs; s++) {
        const hs_slab *slab = r->ps->slab[s];
        if (!slab->spec.saved || slab->spec.per_tensor || slab->spec.dtype != HS_F32)
            continue;
        float *kept = flat_copy(r->ps, slab->spec.name), *mine = kept + flat_at(r->ps, p);
        for (size_t i = 0; i < p->n; i++)
            if (pruned(i) && mine[i] != 0)
                fail_msg("%s: %s of element %zu is not zero", name, slab->spec.name, i);
        free(kept);
    }
}

static bool same(const rig *a, const rig *b)
{
    float *x = rig_slabs(a->ps), *y = rig_slabs(b->ps);
    const bool equal = memcmp(x, y, rig_slab_bytes(a->ps)) == 0;
    free(x), free(y);
    return equal;
}

static void keeps(const char *name, int tier, hs_dtype low, hs_masters masters, hs_dtype moments)
{
    hs_optim_config c = preset(name);
    c.masters = masters, c.moments = moments;
    rig kept, by_hand;
    rig_open_keep(&kept, &c, low, 2, rig_on.tier ? NULL : rig_tiers[tier], "qkv");
    rig_open(&by_hand, &c, low, 2, rig_on.tier ? NULL : rig_tiers[tier]);
    assert_int_equal(kept.update.n, by_hand.update.n + 1);
    prune(kept.ps), prune(by_hand.ps);
    const int steps = rig_on.accesses_only ? 2 : 4;
    for (int t = 0; t < steps; t++) {
        step(&kept, t, false), step(&by_hand, t, true);
        stays_zero(&kept, name);
        assert_true(kept.state.grad_norm == by_hand.state.grad_norm);
    }
    moments_are_zero(&kept, name);
    if (!same(&kept, &by_hand))
        fail_msg("%s: other bits than with gradients that were zero from the beginning", name);
    rig_close(&kept), rig_close(&by_hand);
}

static void test_every_optimizer(void **state)
{
    (void)state;
    for (int tier = 0; tier < RIG_TIERS; tier++)
        for (int i = 0; rig_tier_runs(tier) && i < HS_COUNT(every); i++) {
            keeps(every[i], tier, HS_F32, HS_MASTERS_F32, HS_F32);
            keeps(every[i], tier, HS_BF16, HS_MASTERS_F32, HS_BF16);
            keeps(every[i], tier, HS_BF16, HS_MASTERS_SPLIT, HS_F32);
            keeps(every[i], tier, HS_BF16, HS_MASTERS_NONE, HS_BF16);
        }
}

// Of what a pattern fits matrices alone: biases and norms move. Without the pass the zeros are gone in a step.
static void test_others_move(void **state)
{
    (void)state;
    const hs_optim_config c = preset("adamw");
    rig kept, dense;
    rig_open_keep(&kept, &c, HS_F32, 1, NULL, "qkv,ln"), rig_open(&dense, &c, HS_F32, 1, NULL);
    prune(kept.ps), prune(dense.ps);
    step(&kept, 0, false), step(&dense, 0, false);
    stays_zero(&kept, "adamw");
    const hs_param *bias = hs_params_find(kept.ps, "qkv.bias"), *weight = hs_params_find(dense.ps, "qkv.weight");
    int still = 0, zeros = 0;
    for (size_t i = 0; i < bias->n; i++)
        still += flat_get(kept.ps, "master", bias, i) == 0;
    for (size_t i = 0; i < weight->n; i++)
        zeros += flat_get(dense.ps, "master", weight, i) == 0;
    assert_int_equal(still, 0);
    assert_int_equal(zeros, 0);
    rig_close(&kept), rig_close(&dense);
}

static void test_refused(void **state)
{
    (void)state;
    hs_params *ps;
    hs_param *p;
    const hs_param_spec w = { .name = "h0.up.weight", .role = HS_WEIGHT, .n_dims = 2, .dim = { 8, 16 } },
                        b = { .name = "h0.up.bias", .role = HS_BIAS, .n_dims = 1, .dim = { 8 } };
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_params_keep_zeros(ps, "h0,,h1", "train.keep_zeros"), HS_USAGE);
    assert_int_equal(hs_params_keep_zeros(ps, "h0.up,h0.dwn.weight", "train.keep_zeros"), HS_OK);
    assert_int_equal(hs_params_get(ps, &w, &p), HS_OK);
    assert_true(p->keeps_zeros);
    assert_int_equal(hs_params_get(ps, &b, &p), HS_OK);
    assert_false(p->keeps_zeros);
    assert_int_equal(hs_params_check_keep(ps), HS_USAGE);
    assert_non_null(strstr(hs_error(), "train.keep_zeros: \"h0.dwn.weight\" fits none"));
    assert_int_equal(hs_params_keep_zeros(ps, "h0", "train.keep_zeros"), HS_INTERNAL); // too late
    hs_params_free(ps);
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_params_keep_zeros(ps, "*.bias", "train.keep_zeros"), HS_OK); // fits no weight
    assert_int_equal(hs_params_get(ps, &w, &p), HS_OK);
    assert_int_equal(hs_params_get(ps, &b, &p), HS_OK);
    assert_int_equal(hs_params_check_keep(ps), HS_USAGE);
    hs_params_free(ps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_optimizer),
        cmocka_unit_test(test_others_move),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

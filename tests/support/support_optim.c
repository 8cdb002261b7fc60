// support_optim: parameters of every role, one of them in parts, and gradients for them.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "ops/ops.h"
#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <stdlib.h>

const char *const rig_tiers[RIG_TIERS] = { "portable", "avx2", "avx512", "avx512bf16" };
bool rig_tier_runs(int tier)
{
    hs_isa isa;
    if (rig_on.tier)
        return tier == 0;
    return hs_isa_parse(rig_tiers[tier], &isa) && hs_isa_built(isa) && hs_isa_supported(isa);
}

hs_schedule rig_schedule(void) { return (hs_schedule){ HS_SCHEDULE_COSINE, 5e-3, 5e-4, 1, 4, 20, 0 }; }

hs_optim_config preset(const char *name)
{
    hs_optim_config c = optim_named(name);
    c.schedule = rig_schedule();
    return c;
}

static const hs_param_spec specs[RIG_PARAMS] = {
    { .name = "wte.weight", .role = HS_EMBED, .shard = HS_SHARD_ROW, .init = HS_INIT_NORMAL, .std = 0.02f, .pad_rows = 64, .n_dims = 2, .dim = { 90, 48 } },
    { .name = "qkv.weight", .role = HS_WEIGHT, .shard = HS_SHARD_COL, .init = HS_INIT_NORMAL, .std = 0.02f, .parts = 3, .n_dims = 2, .dim = { 3 * 96, 48 } },
    { .name = "qkv.bias", .role = HS_BIAS, .shard = HS_SHARD_COL, .init = HS_INIT_ZERO, .parts = 3, .n_dims = 1, .dim = { 3 * 96 } },
    { .name = "ln.weight", .role = HS_NORM, .init = HS_INIT_ONE, .n_dims = 1, .dim = { 48 } },
};

static void open_rig(rig *r, const hs_optim_config *c, hs_dtype low, int threads, const char *isa, const char *frozen, const char *keep,
                     const hs_grid *grid, const rig_device *on, int tp_rank, int tp_size)
{
    *r = (rig){ 0 };
    assert_int_equal(hs_params_new(&r->ps, 7, tp_rank, tp_size), HS_OK);
    assert_int_equal(hs_params_freeze(r->ps, frozen, "freeze"), HS_OK);
    assert_int_equal(hs_params_keep_zeros(r->ps, keep, "keep"), HS_OK);
    for (int i = 0; i < HS_COUNT(specs); i++) {
        hs_param *p;
        assert_int_equal(hs_params_get(r->ps, &specs[i], &p), HS_OK);
        r->order[i] = HS_COUNT(specs) - i;
    }
    assert_int_equal(hs_params_declare_low(r->ps, low), HS_OK);
    assert_int_equal(hs_params_declare_grad(r->ps), HS_OK);
    assert_int_equal(hs_optim_declare(c, r->ps), HS_OK);
    assert_int_equal(hs_params_alloc(r->ps, NULL, true), HS_OK);
    assert_int_equal(hs_open_device(&r->dev, "cpu", on->tier ? 1 : threads, isa, 0, false), HS_OK);
    r->dev->optim = on->tier;
    r->on = on;
    assert_int_equal(hs_optim_new(&r->o, c, r->ps, grid, r->dev), HS_OK);
    assert_int_equal(hs_optim_set_order(r->o, r->order), HS_OK);
    hs_optim_init_state(c, &r->state);
    r->update = (hs_segment){ r->thunk, hs_optim_segment(r->o)->n };
    for (int i = 0; i < r->update.n; i++) {
        r->thunk[i] = hs_optim_segment(r->o)->thunk[i];
        r->thunk[i].args.step = &r->in, r->thunk[i].args.state = &r->state;
    }
    if (on->begin)
        on->begin(r);
}

void rig_open_frozen(rig *r, const hs_optim_config *c, hs_dtype low, int threads, const char *isa, const char *frozen)
{
    const hs_grid grid = hs_grid_self();
    open_rig(r, c, low, threads, isa, frozen, NULL, &grid, &rig_on, 0, 1);
}

void rig_open_keep(rig *r, const hs_optim_config *c, hs_dtype low, int threads, const char *isa, const char *keep)
{
    const hs_grid grid = hs_grid_self();
    open_rig(r, c, low, threads, isa, NULL, keep, &grid, &rig_on, 0, 1);
}

void rig_open(rig *r, const hs_optim_config *c, hs_dtype low, int threads, const char *isa)
{
    rig_open_frozen(r, c, low, threads, isa, NULL);
}

void rig_open_on(rig *r, const hs_optim_config *c, hs_dtype low, const hs_grid *grid)
{
    open_rig(r, c, low, 2, NULL, NULL, NULL, grid, &rig_on, 0, 1);
}

void rig_open_tp(rig *r, const hs_optim_config *c, hs_dtype low, int tp_rank, int tp_size)
{
    const hs_grid grid = hs_grid_self();
    open_rig(r, c, low, 1, NULL, NULL, NULL, &grid, &rig_on, tp_rank, tp_size);
}

void rig_open_cpu(rig *r, const hs_optim_config *c, hs_dtype low)
{
    static const rig_device cpu = { 0 };
    const hs_grid grid = hs_grid_self();
    open_rig(r, c, low, 1, "portable", NULL, NULL, &grid, &cpu, 0, 1);
}

void rig_close(rig *r)
{
    const char *wrong = r->on->end ? r->on->end() : NULL;
    if (wrong)
        fail_msg("%s", wrong);
    hs_optim_free(r->o);
    hs_device_close(r->dev);
    hs_params_free(r->ps);
}

void fill_gradients(hs_params *ps, int t, double size, float scale)
{
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        float *grad = hs_slab_at(ps->grad, p);
        size_t live = 1;
        for (int d = 0; d < p->n_dims; d++)
            live *= (size_t)p->logical[d];
        for (size_t k = 0; grad && k < p->n; k++) {
            const hs_u32x4 u = hs_random(99, (uint32_t)t, (uint32_t)i, (uint32_t)k, 0);
            const float g = (float)(size * (2 * hs_u32_unit(u.v[0]) - 1 +
                                            0.3 * (2 * hs_u32_unit(hs_random(98, 0, (uint32_t)i, (uint32_t)k, 0).v[0]) - 1)));
            grad[k] = k < live ? g * scale : 0;
        }
    }
}

void rig_step(rig *r, int t, double size)
{
    fill_gradients(r->ps, t, size, r->state.scale);
    assert_int_equal(r->dev->submit(r->dev, NULL, &r->update, HS_SUBMIT_BULK), HS_OK);
}

float *rig_slabs(const hs_params *ps)
{
    static const char *const names[] = { "master", "adam.m", "adam.v", "sgd.m", "novograd.m", "low" };
    const size_t n = flat_count(ps);
    float *all = calloc(HS_COUNT(names) * n, sizeof *all);
    for (int i = 0; i < HS_COUNT(names); i++)
        if (hs_params_slab(ps, names[i]))
            flat_read(ps, names[i], all + (size_t)i * n);
    return all;
}

size_t rig_slab_bytes(const hs_params *ps) { return 6 * flat_count(ps) * sizeof(float); }

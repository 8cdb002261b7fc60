// engine: traces the model once per mode, lays all plans over one set of parameters and one workspace, and submits.
// Plans share the workspace: whoever runs one mode after another fills that mode's inputs again.

#include "recipes/train/engine.h"
#include "core/graph/derived.h"
#include "ops/ops.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const hs_policy fp32 = { .low = HS_F32 };

static hs_status make_plan(hs_engine *e, const hs_engine_opts *o, hs_mode mode, const void *config)
{
    // without an optimizer the values stay: every run after the first finds its copies made
    const hs_plan_opts opts = { .policy = o->policy ? *o->policy : fp32,
                                .runs_per_values = o->optim ? o->micro_steps : INT_MAX,
                                .single_run = o->micro_steps == 1 };
    hs_graph *g;
    HS_TRY(hs_graph_new(&g, e->params, e->states, mode, &e->grid));
    g->state_dtype = opts.policy.low;
    o->model(g, config ? config : o->config);
    HS_TRY(hs_plan_new(&e->plan[mode], g, e->device, &opts)); // owns the graph, also when it fails
    const size_t bytes = hs_plan_bytes(e->plan[mode]);
    e->workspace_bytes = bytes > e->workspace_bytes ? bytes : e->workspace_bytes;
    return HS_OK;
}

static bool lends_gradients(const hs_engine *e) { return e->plan[HS_TRAIN] && hs_plan_info_of(e->plan[HS_TRAIN])->gradient_bytes; }

static unsigned slabs_of(const hs_engine *e) { return e->plan[HS_TRAIN] ? HS_WITH_MOMENTS | (lends_gradients(e) ? 0 : HS_WITH_GRAD) : 0; }

// The training trace comes first: it sets the order of parameters, and all others must agree with it.
static hs_status make_plans(hs_engine *e, const hs_engine_opts *o)
{
    if (!o->optim && !o->eval && !o->decode)
        return HS_FAIL(INTERNAL, "an engine without optimizer, evaluation and decoding has nothing to do");
    if (o->optim)
        HS_TRY(make_plan(e, o, HS_TRAIN, o->config));
    if (o->eval)
        HS_TRY(make_plan(e, o, HS_EVAL, o->eval_config));
    if (o->decode)
        HS_TRY(make_plan(e, o, HS_DECODE, o->decode_config));
    return HS_OK;
}

static hs_status bind_plans(hs_engine *e)
{
    HS_TRY(e->device->alloc(e->workspace_bytes, &e->workspace));
    e->device->fill(e->device, e->workspace, 0, e->workspace_bytes); // inputs beyond what the first batch fills are finite
    if (lends_gradients(e))
        hs_params_lend_grad(e->params, e->workspace);
    for (int m = 0; m < HS_COUNT(e->plan); m++)
        if (e->plan[m])
            HS_TRY(hs_exec_new(&e->exec[m], e->plan[m], e->workspace, &e->in, &e->state));
    return HS_OK;
}

// A machine that hands out pages it does not have would kill the process later, without a word.
static hs_status check_memory(const hs_engine *e, const hs_engine_opts *o)
{
    const hs_params_bytes b = hs_params_bytes_of(e->params, slabs_of(e), o->policy ? o->policy->low : HS_F32);
    const size_t need = b.master + b.low + b.grad + b.moments + hs_derived_bytes(e->params) + e->workspace_bytes,
                 have = hs_cpu_free_bytes();
    if (strcmp(e->device->name, "cpu") != 0 || need <= have)
        return HS_OK;
    return HS_FAIL(MEMORY, "this needs %.1f GB of memory (%.1f GB of it parameters and optimizer), %.1f GB are free", 1e-9 * (double)need,
                   1e-9 * (double)(need - e->workspace_bytes), 1e-9 * (double)have);
}

static hs_status build(hs_engine *e, const hs_engine_opts *o)
{
    if (!e->device)
        HS_TRY(hs_open_device(&e->device, "cpu", o->threads, NULL, 0, false));
    HS_TRY(hs_params_new(&e->params, o->seed, e->grid.tp->rank, e->grid.tp->size));
    e->states = hs_states_new();
    if (!e->states)
        return HS_FAIL(MEMORY, "no memory for the model's states");
    HS_TRY(make_plans(e, o));
    HS_TRY(check_memory(e, o));
    HS_TRY(hs_params_freeze(e->params, slabs_of(e) | (o->loads_values ? HS_WITHOUT_INIT : 0), o->policy ? o->policy->low : HS_F32));
    HS_TRY(hs_states_alloc(e->states));
    HS_TRY(bind_plans(e));
    if (o->optim)
        HS_TRY(hs_optim_new(&e->optim, o->optim, e->params, &e->grid, e->device, &e->in, &e->state));
    return HS_OK;
}

hs_status hs_engine_new(hs_engine **out, const hs_engine_opts *o)
{
    *out = NULL;
    hs_engine *e = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for an engine");
    e->device = o->device;
    e->owns_device = !o->device;
    e->mode = o->mode;
    e->grid = o->grid.dp ? o->grid : hs_grid_self();
    e->in.seed = o->seed;
    e->in.n_micro = 1;
    e->state.scale = 1;
    e->state.bad_param = e->state.bad_micro = -1;
    hs_status st;
    HS_TRY_GOTO(st, build(e, o), failed);
    *out = e;
    return HS_OK;
failed:
    hs_engine_free(e);
    return st;
}

void hs_engine_free(hs_engine *e)
{
    if (!e)
        return;
    hs_optim_free(e->optim);
    for (int m = 0; m < HS_COUNT(e->plan); m++) {
        hs_exec_free(e->exec[m]);
        hs_plan_free(e->plan[m]);
    }
    if (e->workspace)
        e->device->release(e->workspace);
    hs_states_free(e->states);
    hs_params_free(e->params);
    if (e->owns_device)
        hs_device_close(e->device);
    free(e);
}

void *hs_engine_input(hs_engine *e, hs_mode mode, const char *name) { return e->exec[mode] ? hs_exec_input(e->exec[mode], name) : NULL; }

static hs_status submit(hs_engine *e, const hs_segment *s)
{
    HS_TRY(e->device->submit(e->device, s, e->mode));
    HS_TRY(e->device->wait(e->device));
    HS_TRY(e->grid.dp->poll(e->grid.dp));
    return e->grid.tp->poll(e->grid.tp);
}

hs_status hs_engine_run(hs_engine *e, hs_mode mode, int which)
{
    static const char *const names[] = { "training", "evaluation", "decoding" };
    if (!e->exec[mode])
        return HS_FAIL(INTERNAL, "this engine was made without a plan for %s", names[mode]);
    if (mode == HS_TRAIN && !(which & HS_MICRO_FIRST) && lends_gradients(e))
        return HS_FAIL(INTERNAL, "this engine was made for steps of one micro-batch (micro_steps): gradients cannot be added to");
    return submit(e, hs_exec_micro(e->exec[mode], which));
}

hs_status hs_engine_update(hs_engine *e)
{
    if (!e->optim)
        return HS_FAIL(INTERNAL, "this engine was made without an optimizer");
    HS_TRY(submit(e, hs_optim_segment(e->optim)));
    e->in.step++;
    return HS_OK;
}

hs_status hs_engine_release_masters(hs_engine *e)
{
    if (e->optim)
        return HS_FAIL(INTERNAL, "an engine that trains needs its f32 values");
    if (!e->params->low)
        return HS_OK;
    bool *keep = calloc((size_t)e->params->n_params + 1, sizeof *keep);
    if (!keep)
        return HS_FAIL(MEMORY, "no memory for %d marks", e->params->n_params);
    for (int m = 0; m < HS_COUNT(e->plan); m++)
        if (e->plan[m])
            hs_plan_masters(e->plan[m], keep);
    hs_params_release_masters(e->params, keep);
    free(keep);
    return HS_OK;
}

size_t hs_engine_bytes(const hs_engine *e)
{
    const hs_params_bytes b = hs_params_bytes_of(e->params, slabs_of(e), e->params->low_dtype);
    size_t bytes = sizeof *e + e->workspace_bytes + b.master + b.low + b.grad + b.moments + hs_derived_bytes(e->params);
    for (int i = 0; i < e->states->n; i++)
        bytes += e->states->state[i]->bytes;
    return bytes + (e->optim ? hs_optim_bytes(e->optim) : 0);
}

// engine: model, run and optimizer of the usual case put together.

#include "recipes/train/engine.h"
#include "ops/ops.h"
#include <stdlib.h>

static hs_status make_plans(hs_engine *e, const hs_engine_opts *o)
{
    if (!o->optim && !o->eval && !o->decode)
        return HS_FAIL(INTERNAL, "an engine without optimizer, evaluation and decoding has nothing to do");
    if (o->optim)
        HS_TRY(hs_model_plan(e->model, HS_TRAIN, o->model, o->config, &e->plan[HS_TRAIN]));
    if (o->eval)
        HS_TRY(hs_model_plan(e->model, HS_EVAL, o->model, o->eval_config ? o->eval_config : o->config, &e->plan[HS_EVAL]));
    if (o->decode)
        HS_TRY(hs_model_plan(e->model, HS_DECODE, o->model, o->decode_config ? o->decode_config : o->config, &e->plan[HS_DECODE]));
    return HS_OK;
}

static hs_status plan(hs_engine *e, const hs_engine_opts *o)
{
    if (!e->device)
        HS_TRY(hs_open_device(&e->device, "cpu", o->threads, NULL, 0, false));
    HS_TRY(hs_model_new(&e->model, &(hs_model_opts){ .device = e->device,
                                                     .policy = o->policy,
                                                     .micro_steps = o->optim ? o->micro_steps : HS_VALUES_STAY,
                                                     .seed = o->seed,
                                                     .grid = o->grid,
                                                     .bucket_bytes = o->bucket_bytes,
                                                     .divide = o->divide,
                                                     .masters = o->optim ? o->optim->masters : HS_MASTERS_F32,
                                                     .sequence = o->sequence,
                                                     .coder = o->coder,
                                                     .recompute = o->recompute }));
    e->params = e->model->params;
    HS_TRY(hs_params_freeze(e->params, o->freeze, "train.freeze"));
    HS_TRY(hs_params_keep_zeros(e->params, o->keep_zeros, "train.keep_zeros"));
    if (o->adapter)
        HS_TRY(hs_params_adapt(e->params, o->adapter));
    hs_params_hold(e->params, o->hold);
    HS_TRY(make_plans(e, o));
    HS_TRY(hs_params_check_adapter(e->params));
    if (!o->optim)
        return HS_OK;
    HS_TRY(hs_params_check_freeze(e->params));
    HS_TRY(hs_params_check_keep(e->params));
    return hs_optim_declare(o->optim, e->params);
}

hs_status hs_engine_open(hs_engine **out, const hs_engine_opts *o)
{
    *out = NULL;
    hs_engine *e = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for an engine");
    *e =
        (hs_engine){ .device = o->device, .owns_device = !o->device, .trains = o->optim, .loads_values = o->loads_values, .mode = o->mode };
    if (o->optim)
        e->optim_config = *o->optim;
    for (int m = 0; m < HS_COUNT(e->plan); m++)
        e->plan[m] = -1;
    const hs_status st = plan(e, o);
    if (st == HS_OK) {
        *out = e;
        return HS_OK;
    }
    hs_engine_free(e);
    return hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_engine_start(hs_engine *e)
{
    HS_TRY(hs_model_alloc(e->model, !e->loads_values));
    HS_TRY(hs_run_new(&e->run, e->model, &(hs_run_opts){ .mode = e->mode }));
    e->in = hs_run_in(e->run);
    if (!e->trains)
        return HS_OK;
    hs_step_state first;
    hs_optim_init_state(&e->optim_config, &first);
    hs_run_set_state(e->run, &first);
    HS_TRY(hs_optim_new(&e->optim, &e->optim_config, e->params, &e->model->grid, e->device));
    HS_TRY(hs_optim_set_order(e->optim, hs_plan_grad_order(hs_engine_plan(e, HS_TRAIN))));
    return hs_run_set_update(e->run, hs_optim_segment(e->optim));
}

hs_status hs_engine_new(hs_engine **out, const hs_engine_opts *o)
{
    HS_TRY(hs_engine_open(out, o));
    const hs_status st = hs_engine_start(*out);
    if (st == HS_OK)
        return HS_OK;
    hs_engine_free(*out);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_engine_free(hs_engine *e)
{
    if (!e)
        return;
    hs_run_free(e->run);
    hs_optim_free(e->optim);
    hs_model_free(e->model);
    if (e->owns_device)
        hs_device_close(e->device);
    free(e);
}

const hs_plan *hs_engine_plan(const hs_engine *e, hs_mode mode) { return e->plan[mode] < 0 ? NULL : e->model->plan[e->plan[mode]]; }
hs_exec *hs_engine_exec(const hs_engine *e, hs_mode mode) { return hs_run_exec(e->run, e->plan[mode]); }
void *hs_engine_input(hs_engine *e, hs_mode mode, const char *name) { return hs_run_input(e->run, e->plan[mode], name); }

hs_status hs_engine_run(hs_engine *e, hs_mode mode, int which)
{
    static const char *const names[] = { "training", "evaluation", "decoding" };
    if (e->plan[mode] < 0)
        return HS_FAIL(INTERNAL, "this engine was made without a plan for %s", names[mode]);
    if (mode != HS_TRAIN)
        return hs_run_forward(e->run, e->plan[mode]);
    if (which & HS_MICRO_FIRST)
        hs_run_begin(e->run, e->in->step);
    return hs_run_micro(e->run, e->plan[mode], which & HS_MICRO_LAST);
}

size_t hs_engine_bytes(const hs_engine *e)
{
    const hs_model_bytes b = hs_model_bytes_of(e->model);
    return sizeof *e + hs_run_bytes(e->run) + b.slabs.all + b.derived + (e->optim ? hs_optim_bytes(e->optim) : 0);
}

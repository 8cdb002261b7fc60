// x_scales: a model that only evaluates, with the trainer's values, under an observer.
#include "recipes/train/x_scales.h"
#include "core/base/log.h"
#include "core/graph/coding.h"
#include "infer/quant/calibrate.h"
#include "infer/quant/observe.h"
#include "infer/quant/trained_scales.h"
#include <stdlib.h>
#include <string.h>

typedef struct looking {
    hs_trainer *t;
    hs_feed feed; // without what a student is held by
    hs_engine *engine;
    hs_observer *seen;
    hs_batch batch;
} looking;

static bool is_scale(const hs_state *s) { return strncmp(s->name, HS_X_SCALE_STATE, strlen(HS_X_SCALE_STATE)) == 0; }

static hs_status missing(const hs_trainer *t, int *n)
{
    const hs_states *all = t->engine->model->states;
    *n = 0;
    for (int i = 0; i < all->n; i++) {
        float scale = 1;
        if (is_scale(all->state[i]))
            HS_TRY(hs_run_states_read(t->engine->run, i, &scale));
        *n += scale == 0;
    }
    return HS_OK;
}

// of: the scale of a parameter; 0: there is none.
static hs_status put(const hs_trainer *t, hs_status (*of)(void *user, const hs_param *p, float *scale), void *user)
{
    const hs_states *all = t->engine->model->states;
    for (int i = 0; i < all->n; i++) {
        if (!is_scale(all->state[i]))
            continue;
        const hs_param *p = hs_params_find(t->engine->params, all->state[i]->name + strlen(HS_X_SCALE_STATE));
        float scale = 0;
        if (!p)
            return HS_FAIL(INTERNAL, "%s is of no parameter", all->state[i]->name);
        HS_TRY(of(user, p, &scale));
        HS_TRY(hs_run_states_write(t->engine->run, i, &scale));
    }
    return HS_OK;
}

// ---- from where the weights are from

static hs_status trained(void *user, const hs_param *p, float *scale)
{
    *scale = ((const float *)user)[p->id];
    return HS_OK;
}

static hs_status take_trained(const hs_trainer *t, int *left)
{
    float *scale;
    int n;
    hs_status st = hs_trained_scales(t->run.init, t->engine->params, &scale, &n);
    if (st == HS_OK && n)
        st = put(t, trained, scale);
    free(scale);
    HS_TRY(st);
    HS_TRY(missing(t, left));
    if (!*left)
        hs_info("scales of activations are those that %s was trained by", t->run.init);
    return HS_OK;
}

// ---- from data

static hs_status copy_values(const hs_params *from, hs_params *to)
{
    for (int i = 0; i < to->n_params; i++) {
        const hs_param *p = to->param[i], *same = hs_params_find(from, p->name);
        float *values = same ? malloc(p->n * sizeof *values) : NULL;
        if (!values)
            return same ? HS_FAIL(MEMORY, "no memory for the values of %s", p->name)
                        : HS_FAIL(INTERNAL, "parameter %s is of evaluation alone", p->name);
        hs_status st = hs_params_values(from, same, values);
        if (st == HS_OK)
            st = hs_params_import(to, to->master, p, values);
        free(values);
        HS_TRY(st);
    }
    return HS_OK;
}

static hs_status open_model(looking *l)
{
    const hs_policy fp32 = { .low = HS_F32 };
    l->feed = l->t->feed;
    l->feed.distill = (hs_distill){ 0 };
    const hs_arch_setup eval = hs_feed_eval_setup(&l->feed);
    HS_TRY(hs_engine_new(&l->engine, &(hs_engine_opts){ .model = hs_arch_trace,
                                                        .config = &eval,
                                                        .policy = &fp32,
                                                        .eval = true,
                                                        .loads_values = true,
                                                        .device = l->t->device,
                                                        .mode = HS_SUBMIT_STEP }));
    HS_TRY(copy_values(l->t->engine->params, l->engine->params));
    return hs_observer_new(&l->seen, l->engine->params, &(hs_observer_opts){ 0 });
}

static hs_status look(looking *l, hs_source *source)
{
    const int64_t most = l->t->c->quant.examples < source->n_samples ? l->t->c->quant.examples : source->n_samples,
                  at_once = hs_feed_eval_samples(&l->feed);
    const int plan = l->engine->plan[HS_EVAL];
    HS_TRY(hs_source_batch(source, at_once, &l->batch));
    for (int64_t i = 0; i < most; i += at_once) {
        hs_step_in *in = hs_run_in(l->engine->run);
        HS_TRY(hs_source_fill(source, &l->batch, (uint64_t)i, most - i < at_once ? most - i : at_once));
        HS_TRY(hs_run_feed(l->engine->run, plan, &l->batch));
        in->n_micro = 1;
        for (int k = 0; k < HS_N_LOSS; k++)
            in->inv_count[k] = 1;
        HS_TRY(hs_run_forward(l->engine->run, plan));
        HS_TRY(hs_run_wait(l->engine->run));
    }
    hs_info("scales of activations by %lld samples", (long long)most);
    return hs_observer_end(l->seen);
}

static hs_status calibrated(void *user, const hs_param *p, float *scale)
{
    const looking *l = user;
    const hs_param *same = hs_params_find(l->engine->params, p->name);
    const hs_observed *seen = same ? hs_observer_of(l->seen, same) : NULL;
    float most;
    if (!seen)
        return HS_FAIL(USAGE,
                       "quant.activations tensor: nothing that %s multiplies is in the first %lld samples; quant.skip leaves it as it is",
                       p->name, (long long)l->t->c->quant.examples);
    HS_TRY(hs_calibrate(seen->x, (hs_calib_method)l->t->c->quant.method, HS_CALIB_PERCENTILE_DEFAULT, p->name, &most));
    *scale = hs_int8_scale(most);
    return HS_OK;
}

static hs_status calibrate(hs_trainer *t, hs_source *source)
{
    looking l = { .t = t };
    hs_step_hook *hook = t->device->hook;
    void *user = t->device->hook_user;
    hs_status st = open_model(&l);
    if (st == HS_OK) {
        hs_observer_watch(l.seen, t->device);
        st = look(&l, source);
        hs_observer_watch(l.seen, NULL);
    }
    if (st == HS_OK)
        st = put(t, calibrated, &l);
    t->device->hook = hook, t->device->hook_user = user;
    hs_observer_free(l.seen);
    hs_batch_free(&l.batch);
    hs_engine_free(l.engine);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_trainer_x_scales(hs_trainer *t, hs_source *source)
{
    int left;
    HS_TRY(missing(t, &left));
    if (left && t->run.init[0] && !t->run.from[0])
        HS_TRY(take_trained(t, &left));
    return left ? calibrate(t, source) : HS_OK;
}

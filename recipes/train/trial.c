// trial: runs of the same steps beside each other. One that has to save between two steps has a folder; the others write nothing.
#include "recipes/train/trial.h"
#include "core/base/rng.h"
#include "data/checkpoint/ckpt_parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool hs_trial_saves(const hs_verify_opts *o)
{
    const int steps = o->what == HS_VERIFY_RESUME ? 2 * o->steps : o->steps;
    return o->config->train.unfreeze > 0 || (o->config->n_phases && steps > hs_config_phase_steps(o->config, 0));
}

// ---- a run
hs_status hs_trial_new(hs_trial *t, const hs_verify_opts *o, hs_parallel *parallel, const char *name, int steps)
{
    *t = (hs_trial){ .o = o, .config = malloc(sizeof *t->config), .loss = calloc((size_t)steps, sizeof *t->loss), .steps = steps };
    if (!t->config || !t->loss)
        return HS_FAIL(MEMORY, "no memory for a run to compare with");
    memcpy(t->config, o->config, sizeof *t->config);
    const int rank = o->parallel ? hs_parallel_world(o->parallel)->rank : 0;
    if (parallel)
        snprintf(t->dir, sizeof t->dir, "%s/%s", o->out, name);
    else
        snprintf(t->dir, sizeof t->dir, "%s/%s-%d", o->out, name, rank);
    t->opts = (hs_train_opts){ .config = t->config,
                               .dir = t->dir,
                               .parallel = parallel,
                               .local = hs_parallel_local(o->parallel),
                               .quiet = true,
                               .dry = !hs_trial_saves(o) };
    return HS_OK;
}

static void close_trainer(hs_trial *t)
{
    if (t->trainer)
        hs_trainer_close(t->trainer);
    free(t->trainer);
    t->trainer = NULL;
}

void hs_trial_free(hs_trial *t)
{
    close_trainer(t);
    free(t->config);
    free(t->loss);
    *t = (hs_trial){ 0 };
}

hs_status hs_trial_alone(hs_trial *t, int threads)
{
    static const char *const keys[][2] = {
        { "parallel.dp", "1" }, { "parallel.tp", "1" }, { "parallel.sequence", "false" }, { "parallel.shard_optimizer", "none" }
    };
    for (int i = 0; i < HS_COUNT(keys); i++)
        HS_TRY(hs_config_set(t->config, keys[i][0], keys[i][1], "verify"));
    return hs_config_set_int(t->config, "exec.threads", threads, "verify");
}

hs_status hs_trial_open(hs_trial *t, const char *from)
{
    t->opts.resume = from[0] ? from : "none";
    t->trainer = malloc(sizeof *t->trainer);
    if (!t->trainer)
        return HS_FAIL(MEMORY, "no memory for a trainer");
    const hs_status st = hs_trainer_open(t->trainer, &t->opts);
    if (st != HS_OK) {
        hs_trainer_fail(t->trainer, st);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    const int64_t there = hs_trainer_steps(t->trainer) - t->trainer->at.step;
    if (t->steps - t->done > there)
        return HS_FAIL(USAGE, "%d steps are asked for (--steps), more than the %lld there are", t->steps - t->done, (long long)there);
    return HS_OK;
}

static hs_status train(hs_trial *t, int steps)
{
    const hs_step_record *r;
    for (int i = 0; i < steps; i++, t->done++) {
        HS_TRY(hs_trainer_cross(t->trainer));
        HS_TRY(hs_step_run(t->trainer));
        hs_run *run = t->trainer->engine->run;
        const int set = hs_plan_losses(hs_engine_plan(t->trainer->engine, HS_TRAIN));
        HS_TRY(hs_run_wait(run));
        while ((r = hs_run_read_record(run)))
            for (int k = 0; k < HS_LOSSES; k++)
                t->loss[t->done] += r->loss[set][k];
    }
    return HS_OK;
}

hs_status hs_trial_train(hs_trial *t, int steps)
{
    const hs_status st = train(t, steps);
    if (st != HS_OK)
        hs_trainer_fail(t->trainer, st);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_trial_leave(hs_trial *t, char *from, size_t size)
{
    char name[HS_STEP_NAME];
    HS_TRY(hs_trainer_save(t->trainer, false));
    HS_TRY(hs_ckpt_wait(t->trainer->ckpt));
    hs_step_name(name, t->trainer->at.step);
    snprintf(from, size, "%s/checkpoints/%s", t->dir, name);
    close_trainer(t);
    return HS_OK;
}

hs_status hs_trial_shake(hs_trial *t, double share, int key)
{
    hs_params *ps = t->trainer->engine->params;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        size_t first, n;
        hs_params_value_range(ps, p, &first, &n);
        float *v = malloc(n * sizeof *v + 1);
        if (!v)
            return HS_FAIL(MEMORY, "no memory for %s", p->name);
        hs_params_fetch(ps, p, first, v, n);
        for (size_t k = 0; k < n; k++)
            v[k] *= hs_random(0x5ade, (uint32_t)k, (uint32_t)i, (uint32_t)key, 0).v[0] & 1 ? (float)(1 + share) : (float)(1 - share);
        hs_params_put(ps, ps->master, p, first, v, n);
        free(v);
    }
    hs_params_refresh_low(ps);
    hs_params_changed(ps);
    return HS_OK;
}

// ---- differences
static int64_t place_of(float v) // among all floats, in order
{
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & INT32_MAX) : bits;
}

int hs_trial_tensors(const hs_trial *t)
{
    const hs_params *ps = t->trainer->engine->params;
    int n = 0;
    for (int i = 0; i < ps->n_params; i++)
        n += ps->param[i]->parts;
    return n;
}

void hs_trial_name(const hs_trial *t, int tensor, char *buf, size_t size)
{
    const hs_params *ps = t->trainer->engine->params;
    int i = 0;
    while (tensor >= ps->param[i]->parts)
        tensor -= ps->param[i++]->parts;
    if (ps->param[i]->parts == 1)
        snprintf(buf, size, "%s", ps->param[i]->name);
    else
        snprintf(buf, size, "%s[%d/%d]", ps->param[i]->name, tensor + 1, ps->param[i]->parts);
}

static hs_difference difference(const float *own, const float *all, int64_t n)
{
    hs_difference d = { 0 };
    double largest = 0, most = 0, squares = 0, of = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)all[i]));
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &own[i], sizeof bits);
        if (bits == UINT32_MAX)
            continue;
        const double by = fabs((double)own[i] - (double)all[i]);
        most = by <= most ? most : by; // NaN too
        squares += by * by, of += (double)all[i] * (double)all[i];
        d.ulp = fmax(d.ulp, fabs((double)(place_of(own[i]) - place_of(all[i]))));
    }
    d.relative = largest > 0 ? most / largest : most;
    d.rms = sqrt(of > 0 ? squares / of : squares);
    if (isnan(d.rms))
        d.relative = d.rms = INFINITY;
    return d;
}

// Of what this rank has of each of its parts against all of it.
static hs_status compare(const hs_params *ps, const hs_param *p, const hs_params *whole_ps, const hs_param *whole, hs_difference *d)
{
    const int64_t n = hs_param_elements(whole);
    float *own = malloc((size_t)n * sizeof *own), *all = malloc((size_t)n * sizeof *all);
    if (!own || !all) {
        free(own), free(all);
        return HS_FAIL(MEMORY, "no memory for %s", p->name);
    }
    memset(own, 0xff, (size_t)n * sizeof *own); // what is another rank's stays NaN
    hs_params_export(ps, ps->master, p, own);
    hs_params_export(whole_ps, whole_ps->master, whole, all);
    const int64_t each = n / whole->parts;
    for (int k = 0; k < whole->parts; k++)
        d[k] = difference(own + k * each, all + k * each, each);
    free(own), free(all);
    return HS_OK;
}

hs_status hs_trial_compare(const hs_trial *a, const hs_trial *b, hs_difference *d)
{
    const hs_params *ps = a->trainer->engine->params, *whole = b->trainer->engine->params;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = hs_params_find(whole, ps->param[i]->name);
        if (!p || p->parts != ps->param[i]->parts)
            return HS_FAIL(INTERNAL, "one process has no parameter %s of %d parts", ps->param[i]->name, ps->param[i]->parts);
        HS_TRY(compare(ps, ps->param[i], whole, p, d));
        d += p->parts;
    }
    return HS_OK;
}

double hs_trial_compare_losses(const hs_trial *a, const hs_trial *b)
{
    double most = 0;
    for (int i = 0; i < a->done && i < b->done; i++) {
        const double by = fabs(a->loss[i] - b->loss[i]) / fmax(fabs(b->loss[i]), 1e-30);
        most = isfinite(by) ? fmax(most, by) : INFINITY; // of one that is not finite nothing can be said
    }
    return a->done == b->done ? most : INFINITY;
}

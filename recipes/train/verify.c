// verify: runs of the same steps, kept beside each other, and what they differ by.
#include "recipes/train/verify.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct trial { // one of the runs
    hs_config *config;
    hs_train_opts opts;
    hs_trainer *trainer;
    double *loss; // [steps]
} trial;

// ---- runs
static void trial_free(trial *t)
{
    if (t->trainer)
        hs_trainer_close(t->trainer);
    free(t->trainer);
    free(t->config);
    free(t->loss);
    *t = (trial){ 0 };
}

static hs_status trial_new(trial *t, const hs_verify_opts *o, hs_parallel *parallel)
{
    *t = (trial){ malloc(sizeof *t->config), { 0 }, NULL, calloc((size_t)o->steps, sizeof *t->loss) };
    if (!t->config || !t->loss)
        return HS_FAIL(MEMORY, "no memory for a run to compare with");
    HS_TRY(hs_config_phase(t->config, o->config, 0));
    t->opts = (hs_train_opts){ .config = t->config, .dir = "", .resume = "none", .parallel = parallel, .quiet = true, .dry = true };
    return HS_OK;
}

static hs_status trial_open(trial *t)
{
    t->trainer = malloc(sizeof *t->trainer);
    if (!t->trainer)
        return HS_FAIL(MEMORY, "no memory for a trainer");
    return hs_trainer_open(t->trainer, &t->opts);
}

static hs_status trial_train(trial *t, int steps)
{
    const hs_step_record *r;
    hs_run *run = t->trainer->engine->run;
    const int set = hs_plan_losses(hs_engine_plan(t->trainer->engine, HS_TRAIN));
    for (int i = 0; i < steps; i++) {
        HS_TRY(hs_step_run(t->trainer));
        HS_TRY(hs_run_wait(run));
        while ((r = hs_run_read_record(run)))
            for (int k = 0; k < HS_LOSSES; k++)
                t->loss[i] += r->loss[set][k];
    }
    return HS_OK;
}

// In one process; its bits do not depend on how many threads it has.
static hs_status settle_alone(trial *t, int threads)
{
    static const char *const keys[][2] = { { "parallel.dp", "1" }, { "parallel.tp", "1" }, { "parallel.sequence", "false" } };
    for (int i = 0; i < HS_COUNT(keys); i++)
        HS_TRY(hs_config_set(t->config, keys[i][0], keys[i][1], "verify"));
    HS_TRY(hs_config_set(t->config, "parallel.shard_optimizer", "none", "verify"));
    return hs_config_set_int(t->config, "exec.threads", threads, "verify");
}

// Each element up or down by the share, as a hash of its place says.
static hs_status shake(hs_params *ps, double share)
{
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        float *v = malloc(p->n * sizeof *v + 1);
        if (!v)
            return HS_FAIL(MEMORY, "no memory for %s", p->name);
        hs_params_read(ps, ps->master, p, v);
        for (size_t k = 0; k < p->n; k++)
            v[k] *= hs_random(0x5ade, (uint32_t)k, (uint32_t)i, 0, 0).v[0] & 1 ? (float)(1 + share) : (float)(1 - share);
        const hs_status st = hs_params_write(ps, ps->master, p, v);
        free(v);
        HS_TRY(st);
    }
    hs_params_refresh_low(ps);
    hs_params_changed(ps);
    return HS_OK;
}

// ---- differences
typedef struct difference {
    double ulp, relative, rms;
} difference;

static int64_t place_of(float v) // among all floats, in order
{
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & INT32_MAX) : bits;
}

// Of what this rank has of it against all of it.
static hs_status compare(const hs_params *ps, const hs_param *p, const hs_params *whole_ps, const hs_param *whole, difference *d)
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
        d->ulp = fmax(d->ulp, fabs((double)(place_of(own[i]) - place_of(all[i]))));
    }
    d->relative = largest > 0 ? most / largest : most;
    d->rms = sqrt(of > 0 ? squares / of : squares);
    if (isnan(d->rms))
        d->relative = d->rms = INFINITY;
    free(own), free(all);
    return HS_OK;
}

static hs_status compare_all(const trial *a, const trial *b, difference *d)
{
    const hs_params *ps = a->trainer->engine->params, *whole = b->trainer->engine->params;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = hs_params_find(whole, ps->param[i]->name);
        if (!p)
            return HS_FAIL(INTERNAL, "one process has no parameter %s", ps->param[i]->name);
        d[i] = (difference){ 0 };
        HS_TRY(compare(ps, ps->param[i], whole, p, &d[i]));
    }
    return HS_OK;
}

static double compare_losses(const trial *a, const trial *b, int steps)
{
    double most = 0;
    for (int i = 0; i < steps; i++) {
        const double by = fabs(a->loss[i] - b->loss[i]) / fmax(fabs(b->loss[i]), 1e-30);
        most = isfinite(by) ? fmax(most, by) : INFINITY; // of one that is not finite nothing can be said
    }
    return most;
}

// ---- what ranks have in common
// Two halves of a hash and their negatives: the largest over ranks are those of each where all are the same.
static hs_status hash_values(const hs_params *ps, const hs_param *p, double v[4])
{
    const hs_slab *s = ps->low ? ps->low : ps->master;
    const size_t bytes = s->place[p->id].bytes;
    void *buf = malloc(bytes + 1);
    if (!buf)
        return HS_FAIL(MEMORY, "no memory for %s", p->name);
    hs_params_read(ps, s, p, buf);
    const uint64_t hash = XXH3_64bits(buf, bytes);
    v[0] = (double)(hash >> 32), v[1] = (double)(hash & UINT32_MAX), v[2] = -v[0], v[3] = -v[1];
    free(buf);
    return HS_OK;
}

static hs_status check_replicas(const hs_trainer *t, hs_verify_result *out)
{
    const hs_params *ps = t->engine->params;
    const hs_ranks *r = &t->ranks;
    double *v = calloc((size_t)ps->n_params + 1, 8 * sizeof *v), *over_world = v ? v + 4 * ps->n_params : NULL;
    if (!v)
        return HS_FAIL(MEMORY, "no memory for the hashes of %d parameters", ps->n_params);
    hs_status st = HS_OK;
    for (int i = 0; i < ps->n_params && st == HS_OK; i++)
        st = hash_values(ps, ps->param[i], v + 4 * i);
    for (int i = 0; i < ps->n_params; i++)
        if (ps->param[i]->shard == HS_SHARD_NONE)
            memcpy(over_world + 4 * i, v + 4 * i, 4 * sizeof *v);
    HS_TRY_GOTO(st, st, out);
    HS_TRY_GOTO(st, hs_ranks_max_dp(r, "hashes of parameters", v, 4 * ps->n_params), out);
    HS_TRY_GOTO(st, hs_ranks_max(r, "hashes of parameters", over_world, 4 * ps->n_params), out);
    double differ = 0;
    for (int i = 0; i < ps->n_params; i++) {
        const double *a = v + 4 * i, *w = over_world + 4 * i;
        out->n_replicated += ps->param[i]->shard == HS_SHARD_NONE ? r->size > 1 : r->dp > 1;
        differ += a[0] != -a[2] || a[1] != -a[3] || w[0] != -w[2] || w[1] != -w[3];
    }
    HS_TRY_GOTO(st, hs_ranks_max(r, "how many differ", &differ, 1), out);
    out->n_differ = (int)differ;
out:
    free(v);
    return st;
}

// ---- the result
static int worst_first(const void *a, const void *b)
{
    const hs_verify_row *x = a, *y = b;
    const double left = x->rms / (x->bound + 1e-30), right = y->rms / (y->bound + 1e-30);
    return (left < right) - (left > right);
}

static hs_status tell_rows(const trial *layout, const difference *d, const difference *noise, double least, hs_verify_result *out)
{
    const hs_params *ps = layout->trainer->engine->params;
    const int n = ps->n_params;
    enum { EACH = 4 };
    double *v = calloc((size_t)n + 1, EACH * sizeof *v);
    out->row = calloc((size_t)n + 1, sizeof *out->row);
    if (!v || !out->row) {
        free(v);
        return HS_FAIL(MEMORY, "no memory for the differences of %d parameters", n);
    }
    for (int i = 0; i < n; i++)
        memcpy(v + EACH * i, (double[]){ d[i].ulp, d[i].relative, d[i].rms, noise ? HS_VERIFY_NOISE * noise[i].rms + least : 0 },
               EACH * sizeof *v);
    const hs_status st = hs_ranks_max(&layout->trainer->ranks, "differences", v, EACH * n);
    out->n = n;
    for (int i = 0; i < n; i++) {
        const double *x = v + EACH * i;
        out->row[i] = (hs_verify_row){ "", x[0], x[1], x[2], x[3] };
        snprintf(out->row[i].name, sizeof out->row[i].name, "%s", ps->param[i]->name);
    }
    free(v);
    qsort(out->row, (size_t)n, sizeof *out->row, worst_first);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status tell_scaler(const trial *layout, const trial *other, hs_verify_result *out)
{
    const hs_step_state *a = hs_run_state(layout->trainer->engine->run), *b = hs_run_state(other->trainer->engine->run);
    double differs = a->scale != b->scale || a->applied != b->applied || a->skipped != b->skipped;
    out->applied = a->applied, out->skipped = a->skipped;
    HS_TRY(hs_ranks_max(&layout->trainer->ranks, "the scaler", &differs, 1));
    out->same_scaler = differs == 0;
    return HS_OK;
}

static void judge(hs_verify_result *out)
{
    out->passed = out->applied > 0 && isfinite(out->loss_bound) && out->loss <= out->loss_bound && out->same_scaler && out->n_differ == 0;
    for (int i = 0; i < out->n; i++)
        out->passed = out->passed && isfinite(out->row[i].bound) && out->row[i].rms <= out->row[i].bound;
}

// ---- against one process
// Half a unit in the last place, as a share.
static double rounding(const hs_verify_opts *o, const hs_policy *policy)
{
    return o->what == HS_VERIFY_TP && policy->low == HS_BF16  ? 0x1p-9
           : o->what == HS_VERIFY_TP && policy->low == HS_F16 ? 0x1p-12
                                                              : 0x1p-23;
}

typedef struct trials {
    trial layout, other, noise;
    difference *d, *n;
} trials;

static hs_status run_layout(trials *t, const hs_verify_opts *o)
{
    HS_TRY(trial_new(&t->layout, o, o->parallel));
    HS_TRY(trial_open(&t->layout));
    const size_t n = (size_t)t->layout.trainer->engine->params->n_params + 1;
    t->d = calloc(n, sizeof *t->d), t->n = calloc(n, sizeof *t->n);
    return t->d && t->n ? trial_train(&t->layout, o->steps) : HS_FAIL(MEMORY, "no memory for the differences of %zu parameters", n);
}

static hs_status run_alone(trial *t, const hs_verify_opts *o, int threads, double shaken)
{
    HS_TRY(trial_new(t, o, NULL));
    HS_TRY(settle_alone(t, threads));
    HS_TRY(trial_open(t));
    if (shaken > 0)
        HS_TRY(shake(t->trainer->engine->params, shaken));
    return trial_train(t, o->steps);
}

static hs_status against_one(trials *t, const hs_verify_opts *o, hs_verify_result *out)
{
    const int threads = t->layout.trainer->device->team;
    const double share = rounding(o, &t->layout.trainer->policy);
    HS_TRY(run_alone(&t->other, o, threads, 0));
    HS_TRY(compare_all(&t->layout, &t->other, t->d));
    HS_TRY(run_alone(&t->noise, o, threads, share));
    HS_TRY(compare_all(&t->noise, &t->other, t->n));
    out->loss = compare_losses(&t->layout, &t->other, o->steps);
    out->loss_bound = HS_VERIFY_NOISE * compare_losses(&t->noise, &t->other, o->steps) + 0x1p-23;
    return tell_rows(&t->layout, t->d, t->n, 0x1p-23, out);
}

// The same ranks, each with all of it: the same sums in the same order, so that nothing may differ.
static hs_status against_whole(trials *t, const hs_verify_opts *o, hs_verify_result *out)
{
    HS_TRY(trial_new(&t->other, o, o->parallel));
    HS_TRY(hs_config_set(t->other.config, "parallel.shard_optimizer", "none", "verify"));
    HS_TRY(trial_open(&t->other));
    HS_TRY(trial_train(&t->other, o->steps));
    HS_TRY(compare_all(&t->layout, &t->other, t->d));
    out->loss = compare_losses(&t->layout, &t->other, o->steps);
    return tell_rows(&t->layout, t->d, NULL, 0, out);
}

static hs_status check_what(const hs_verify_opts *o)
{
    const hs_config *c = o->config;
    const int ranks = o->parallel ? hs_parallel_world(o->parallel)->size : 1;
    int dp;
    HS_TRY(hs_config_check_ranks(c, ranks, &dp));
    const struct {
        bool there;
        const char *needs;
    } row[] = { [HS_VERIFY_TP] = { c->parallel.tp > 1, "--parallel.tp of 2 or more" },
                [HS_VERIFY_DP] = { dp > 1, "parallel.dp of 2 or more" },
                [HS_VERIFY_SHARD] = { dp > 1 && hs_config_divide(c) != HS_DIVIDE_NONE,
                                      "parallel.dp of 2 or more, and --parallel.shard_optimizer" } };
    if (!row[o->what].there)
        return HS_FAIL(USAGE,
                       "there is nothing to verify: it takes %s, and this is dp %d x tp %lld on %d rank%s (mpirun -np N starts more)",
                       row[o->what].needs, dp, (long long)c->parallel.tp, ranks, hs_plural(ranks));
    if (o->steps > hs_config_phase_steps(c, 0))
        return HS_FAIL(USAGE, "--steps %d are more than the %lld there are", o->steps, (long long)hs_config_phase_steps(c, 0));
    return HS_OK;
}

bool hs_verify_exact(const hs_verify_opts *o)
{
    const hs_config *c = o->config;
    return o->what == HS_VERIFY_SHARD && (hs_config_divide(c) != HS_DIVIDE_GRADIENTS || c->train.accumulate == 1);
}

hs_status hs_verify(const hs_verify_opts *o, hs_verify_result *out)
{
    trials t = { 0 };
    *out = (hs_verify_result){ 0 };
    if (o->what == HS_VERIFY_RESUME)
        return hs_verify_resume(o, out);
    hs_status st = check_what(o);
    if (st == HS_OK)
        st = run_layout(&t, o);
    if (st == HS_OK)
        st = (hs_verify_exact(o) ? against_whole : against_one)(&t, o, out);
    if (st == HS_OK)
        st = tell_scaler(&t.layout, &t.other, out);
    if (st == HS_OK)
        st = check_replicas(t.layout.trainer, out);
    judge(out);
    trial_free(&t.layout), trial_free(&t.other), trial_free(&t.noise);
    free(t.d), free(t.n);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_verify_free(hs_verify_result *r)
{
    free(r->row);
    *r = (hs_verify_result){ 0 };
}

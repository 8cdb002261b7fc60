// verify: runs of the same steps, kept beside each other, and what they differ by.
#include "recipes/train/verify.h"
#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include "recipes/train/trial.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static hs_comm *world_of(const hs_verify_opts *o) { return o->parallel ? hs_parallel_world(o->parallel) : &hs_comm_self_dp; }

// Of all ranks that were started, also where the layout is one of them.
static hs_status most(const hs_verify_opts *o, const char *about, double *v, int64_t n)
{
    hs_comm *world = world_of(o);
    world->about = about;
    world->all_reduce(world, NULL, v, n, HS_F64, HS_REDUCE_MAX);
    const hs_status st = world->poll(world);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
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
    for (int i = 0; i < ps->n_params; i++) {
        const double *a = v + 4 * i, *w = over_world + 4 * i;
        out->n_replicated += ps->param[i]->shard == HS_SHARD_NONE ? r->size > 1 : r->dp > 1;
        v[i] = a[0] != -a[2] || a[1] != -a[3] || w[0] != -w[2] || w[1] != -w[3]; // behind what is read
    }
    HS_TRY_GOTO(st, hs_ranks_max(r, "which differ", v, ps->n_params), out);
    for (int i = ps->n_params - 1; i >= 0; i--)
        if (v[i] > 0) {
            out->n_differ++;
            snprintf(out->differs, sizeof out->differs, "%s", ps->param[i]->name);
        }
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

static hs_status tell_rows(const hs_verify_opts *o, const hs_trial *layout, const hs_difference *d, const hs_difference *noise,
                           double least, hs_verify_result *out)
{
    const int n = hs_trial_tensors(layout);
    enum { EACH = 4 };
    double *v = calloc((size_t)n + 1, EACH * sizeof *v);
    out->row = calloc((size_t)n + 1, sizeof *out->row);
    if (!v || !out->row) {
        free(v);
        return HS_FAIL(MEMORY, "no memory for the differences of %d tensors", n);
    }
    for (int i = 0; i < n; i++)
        memcpy(v + EACH * i, (double[]){ d[i].ulp, d[i].relative, d[i].rms, noise ? HS_VERIFY_NOISE * noise[i].rms + least : 0 },
               EACH * sizeof *v);
    const hs_status st = most(o, "differences", v, EACH * n);
    out->n = n;
    for (int i = 0; i < n; i++) {
        const double *x = v + EACH * i;
        out->row[i] = (hs_verify_row){ "", x[0], x[1], x[2], x[3] };
        hs_trial_name(layout, i, out->row[i].name, sizeof out->row[i].name);
    }
    free(v);
    qsort(out->row, (size_t)n, sizeof *out->row, worst_first);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status tell_state(const hs_verify_opts *o, const hs_trial *layout, const hs_trial *other, hs_verify_result *out)
{
    const hs_trainer *t = layout->trainer, *u = other->trainer;
    const hs_step_state *a = hs_run_state(t->engine->run), *b = hs_run_state(u->engine->run);
    double differs[] = { a->scale != b->scale || a->applied != b->applied || a->skipped != b->skipped,
                         t->at.next_sample != u->at.next_sample || t->at.tokens_seen != u->at.tokens_seen };
    out->applied = a->applied, out->skipped = a->skipped;
    HS_TRY(most(o, "the scaler and the samples", differs, HS_COUNT(differs)));
    out->same_scaler = differs[0] == 0, out->same_samples = differs[1] == 0;
    return HS_OK;
}

hs_verify_verdict hs_verify_judge(const hs_verify_row *r)
{
    if (!isfinite(r->bound) || !(r->rms <= r->bound))
        return HS_VERIFY_FAILS;
    return r->bound >= 1 ? HS_VERIFY_ALL_NOISE : HS_VERIFY_FINE;
}
static bool row_fails(const hs_verify_row *r) { return hs_verify_judge(r) == HS_VERIFY_FAILS; }

static void judge(hs_verify_result *out)
{
    out->passed = out->applied > 0 && isfinite(out->loss_bound) && out->loss <= out->loss_bound && out->same_scaler && out->same_samples &&
                  out->n_differ == 0;
    for (int i = 0; i < out->n; i++)
        out->passed = out->passed && !row_fails(&out->row[i]);
}

void hs_verify_why(const hs_verify_result *r, char *buf, size_t size)
{
    int fail = 0, first = 0;
    for (int i = r->n - 1; i >= 0; i--)
        if (row_fails(&r->row[i]))
            fail++, first = i;
    if (!r->applied)
        snprintf(buf, size, "nothing was trained: not one step was applied");
    else if (r->n_differ)
        snprintf(buf, size, "%s is not the same on the ranks that all have it; %d of %d tensors are not", r->differs, r->n_differ,
                 r->n_replicated);
    else if (fail)
        snprintf(buf, size, "%s differs by more than the bound; %d of %d do", r->row[first].name, fail, r->n);
    else
        snprintf(buf, size, "%s",
                 !r->same_samples  ? "other samples were seen"
                 : !r->same_scaler ? "the loss scale or the skipped steps are others"
                                   : "losses differ by more than the bound");
}

// ---- against one process
// Half a unit in the last place, as a share.
static double rounding(const hs_verify_opts *o, const hs_policy *policy)
{
    const bool tp = o->what == HS_VERIFY_TP || (o->then_dp && (o->config->parallel.tp > 1 || o->then_tp > 1));
    return tp && policy->low == HS_BF16 ? 0x1p-9 : tp && policy->low == HS_F16 ? 0x1p-12 : 0x1p-23;
}

typedef struct trials {
    hs_trial layout, other, noise;
    hs_difference *d, *n;
} trials;

static hs_status run_layout(trials *t, const hs_verify_opts *o)
{
    HS_TRY(hs_trial_new(&t->layout, o, o->parallel, "ranks", o->steps));
    HS_TRY(hs_trial_open(&t->layout, ""));
    return hs_trial_train(&t->layout, o->steps);
}

static hs_status run_alone(hs_trial *t, const hs_verify_opts *o, const char *name, int steps, int threads, double shaken)
{
    HS_TRY(hs_trial_new(t, o, NULL, name, steps));
    HS_TRY(hs_trial_alone(t, threads));
    HS_TRY(hs_trial_open(t, ""));
    if (shaken > 0)
        HS_TRY(hs_trial_shake(t, shaken, world_of(o)->rank));
    return hs_trial_train(t, steps);
}

static hs_status room(trials *t)
{
    const size_t n = (size_t)hs_trial_tensors(&t->layout) + 1;
    t->d = calloc(n, sizeof *t->d), t->n = calloc(n, sizeof *t->n);
    return t->d && t->n ? HS_OK : HS_FAIL(MEMORY, "no memory for the differences of %zu tensors", n);
}

static hs_status against_one(trials *t, const hs_verify_opts *o, hs_verify_result *out)
{
    const int threads = t->layout.trainer->device->team;
    const double share = rounding(o, &t->layout.trainer->policy);
    HS_TRY(room(t));
    HS_TRY(run_alone(&t->other, o, "one", t->layout.steps, threads, 0));
    HS_TRY(hs_trial_compare(&t->layout, &t->other, t->d));
    HS_TRY(run_alone(&t->noise, o, "noise", t->layout.steps, threads, share));
    HS_TRY(hs_trial_compare(&t->noise, &t->other, t->n));
    double loss[] = { hs_trial_compare_losses(&t->layout, &t->other), hs_trial_compare_losses(&t->noise, &t->other) };
    HS_TRY(most(o, "losses", loss, HS_COUNT(loss)));
    out->loss = loss[0], out->loss_bound = HS_VERIFY_NOISE * loss[1] + 0x1p-23;
    return tell_rows(o, &t->layout, t->d, t->n, 0x1p-23, out);
}

// The same ranks, each with all of it: the same sums in the same order, so that nothing may differ.
static hs_status against_whole(trials *t, const hs_verify_opts *o, hs_verify_result *out)
{
    HS_TRY(room(t));
    HS_TRY(hs_trial_new(&t->other, o, o->parallel, "whole", o->steps));
    HS_TRY(hs_config_set(t->other.config, "parallel.shard_optimizer", "none", "verify"));
    HS_TRY(hs_trial_open(&t->other, ""));
    HS_TRY(hs_trial_train(&t->other, o->steps));
    HS_TRY(hs_trial_compare(&t->layout, &t->other, t->d));
    out->loss = hs_trial_compare_losses(&t->layout, &t->other);
    return tell_rows(o, &t->layout, t->d, NULL, 0, out);
}

// ---- another layout goes on
// Half of the steps by the ranks as they are, the others by those of o->then.
static hs_status change_layout(trials *t, const hs_verify_opts *o)
{
    hs_trial first = { 0 };
    char from[HS_KEY_STRING_BYTES + 160];
    HS_TRY(hs_trial_new(&first, o, o->parallel, "before", o->steps));
    first.opts.dry = false;
    hs_status st = hs_trial_open(&first, "");
    if (st == HS_OK)
        st = hs_trial_train(&first, o->steps);
    if (st == HS_OK)
        st = hs_trial_leave(&first, from, sizeof from);
    const bool alone = o->then_dp * o->then_tp == 1;
    if (st == HS_OK)
        st = hs_trial_new(&t->layout, o, alone ? NULL : o->parallel, "behind", 2 * o->steps);
    hs_config *c = t->layout.config;
    if (st == HS_OK)
        st = alone ? hs_trial_alone(&t->layout, (int)c->exec.threads) : hs_config_set_int(c, "parallel.dp", o->then_dp, "verify");
    if (st == HS_OK && !alone)
        st = hs_config_set_int(c, "parallel.tp", o->then_tp, "verify");
    if (st == HS_OK) {
        memcpy(t->layout.loss, first.loss, (size_t)o->steps * sizeof *first.loss);
        t->layout.done = o->steps;
    }
    hs_trial_free(&first);
    HS_TRY(st);
    HS_TRY(hs_trial_open(&t->layout, from));
    return hs_trial_train(&t->layout, o->steps);
}

// ---- all of it
static hs_status check_then(const hs_verify_opts *o, int ranks)
{
    const int n = o->then_dp * o->then_tp;
    if (n == 1 || n == ranks)
        return HS_OK;
    return HS_FAIL(USAGE, "--then %dx%d are %d ranks, and %d were started: as many, or 1x1", o->then_dp, o->then_tp, n, ranks);
}

static hs_status check_what(const hs_verify_opts *o)
{
    const hs_config *c = o->config;
    const int ranks = o->parallel ? hs_parallel_world(o->parallel)->size : 1;
    int dp;
    HS_TRY(hs_config_check_ranks(c, ranks, &dp));
    if (o->what == HS_VERIFY_RESUME)
        return check_then(o, ranks);
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
    return HS_OK;
}

bool hs_verify_exact(const hs_verify_opts *o)
{
    const hs_config *c = o->config;
    return o->what == HS_VERIFY_SHARD && (hs_config_divide(c) != HS_DIVIDE_GRADIENTS || c->train.accumulate == 1);
}

hs_status hs_verify_folder(const hs_verify_opts *o)
{
    if (world_of(o)->rank == 0 && access(o->out, F_OK) == 0)
        return HS_FAIL(USAGE, "--out %s is there already: name a folder that is not", o->out);
    return HS_OK;
}

// The runs of all ranks are closed before their folders go.
static hs_status clean(const hs_verify_opts *o, const hs_verify_result *out)
{
    double failed = !out->passed;
    HS_TRY(most(o, "the end of all runs", &failed, 1));
    if (failed == 0 && world_of(o)->rank == 0 && access(o->out, F_OK) == 0 && !hs_remove_tree(&hs_io_system, o->out))
        return HS_FAIL(SYSTEM, "cannot remove %s", o->out);
    return HS_OK;
}

static hs_status run_all(trials *t, const hs_verify_opts *o, hs_verify_result *out)
{
    const bool changes = o->what == HS_VERIFY_RESUME;
    HS_TRY(check_what(o));
    if (changes || hs_trial_saves(o))
        HS_TRY(hs_verify_folder(o));
    HS_TRY((changes ? change_layout : run_layout)(t, o));
    HS_TRY((hs_verify_exact(o) ? against_whole : against_one)(t, o, out));
    HS_TRY(tell_state(o, &t->layout, &t->other, out));
    HS_TRY(check_replicas(t->layout.trainer, out));
    judge(out);
    return HS_OK;
}

hs_status hs_verify(const hs_verify_opts *o, hs_verify_result *out)
{
    trials t = { 0 };
    *out = (hs_verify_result){ 0 };
    if (o->what == HS_VERIFY_RESUME && !o->then_dp)
        return hs_verify_resume(o, out);
    hs_status st = run_all(&t, o, out);
    hs_trial_free(&t.layout), hs_trial_free(&t.other), hs_trial_free(&t.noise);
    free(t.d), free(t.n);
    if (st == HS_OK)
        st = clean(o, out);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_verify_free(hs_verify_result *r)
{
    free(r->row);
    *r = (hs_verify_result){ 0 };
}

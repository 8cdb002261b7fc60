// presets: each follows the implementation it is named after - formulas written here as those have them, in f64, apart from the switches
// that the presets are made of - over 50 steps with tensors of zeros, gradients of zero, skipped steps and accumulated gradients.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "tests/support/support_optim.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <math.h>
#include <stdlib.h>

enum { STEPS = 50 };

typedef struct tensor { // one logical tensor
    double *w, *m, *v, *u, *g;
    size_t n;
    bool decays;
    double lr;
    int t; // this update, from 1 on
} tensor;

#define EACH(x) for (size_t i = 0; i < (x)->n; i++)

static double norm(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

static void adam_moments(tensor *x)
{
    EACH(x)
    {
        x->m[i] = 0.9 * x->m[i] + 0.1 * x->g[i];
        x->v[i] = 0.999 * x->v[i] + 0.001 * x->g[i] * x->g[i];
    }
}

static void pytorch_adamw(tensor *x)
{
    const double bc1 = 1 - pow(0.9, x->t), bc2 = 1 - pow(0.999, x->t);
    adam_moments(x);
    EACH(x)
    {
        x->w[i] *= 1 - x->lr * (x->decays ? 0.01 : 0);
        x->w[i] -= x->lr / bc1 * x->m[i] / (sqrt(x->v[i]) / sqrt(bc2) + 1e-8);
    }
}

static void google_adam(tensor *x)
{
    adam_moments(x);
    EACH(x) x->w[i] -= x->lr * (x->m[i] / (sqrt(x->v[i]) + 1e-6) + (x->decays ? 0.01 : 0) * x->w[i]);
}

// The end that LAMBs have in common.
static void lamb_step(tensor *x, bool adapts, double lr)
{
    const double w = norm(x->w, x->n), u = norm(x->u, x->n), r = adapts && w > 0 && u > 0 ? w / u : 1;
    EACH(x) x->w[i] -= lr * r * x->u[i];
}

static void corrected_direction(tensor *x, bool inside)
{
    const double bc1 = 1 - pow(0.9, x->t), bc2 = 1 - pow(0.999, x->t);
    adam_moments(x);
    EACH(x)
    {
        const double v = x->v[i] / bc2;
        x->u[i] = x->m[i] / bc1 / (inside ? sqrt(v + 1e-6) : sqrt(v) + 1e-6) + (x->decays ? 0.01 : 0) * x->w[i];
    }
}

static void apex_lamb(tensor *x)
{
    corrected_direction(x, false);
    lamb_step(x, x->decays, x->lr);
}

static void apex_nvlamb(tensor *x) // and MXNet's without bounds
{
    corrected_direction(x, false);
    lamb_step(x, true, x->lr);
}

static void figure_nvlamb(tensor *x)
{
    corrected_direction(x, true);
    lamb_step(x, true, x->lr);
}

static void albert(tensor *x)
{
    adam_moments(x);
    EACH(x) x->u[i] = x->m[i] / (sqrt(x->v[i]) + 1e-6) + (x->decays ? 0.01 : 0) * x->w[i];
    lamb_step(x, x->decays, x->lr);
}

static void deepspeed(tensor *x)
{
    const double step = x->lr * sqrt(1 - pow(0.999, x->t)) / (1 - pow(0.9, x->t));
    adam_moments(x);
    EACH(x) x->u[i] = x->m[i] / (sqrt(x->v[i]) + 1e-8) + (x->decays ? 0.01 : 0) * x->w[i];
    const double w = norm(x->w, x->n), u = norm(x->u, x->n), r = w > 0 && u > 0 ? fmin(fmax(w / u, 0.01), 10) : 1;
    EACH(x) x->w[i] -= step * r * x->u[i];
}

static void pytorch_sgd(tensor *x)
{
    EACH(x)
    {
        x->m[i] = 0.9 * x->m[i] + x->g[i] + (x->decays ? 1e-4 : 0) * x->w[i];
        x->w[i] -= x->lr * x->m[i];
    }
}

static void lars(tensor *x)
{
    const double decay = x->decays ? 1e-4 : 0, w = norm(x->w, x->n), g = norm(x->g, x->n);
    const double r = x->decays && w > 0 && g > 0 ? 0.001 * w / (g + decay * w + 1e-9) : 1;
    EACH(x)
    {
        x->m[i] = 0.9 * x->m[i] + r * (x->g[i] + decay * x->w[i]);
        x->w[i] -= x->lr * x->m[i];
    }
}

static void novograd(tensor *x)
{
    const double g = pow(norm(x->g, x->n), 2);
    x->v[0] = x->v[0] == 0 ? g : 0.98 * x->v[0] + 0.02 * g;
    EACH(x)
    {
        x->m[i] = 0.95 * x->m[i] + x->g[i] / (sqrt(x->v[0]) + 1e-8) + (x->decays ? 1e-3 : 0) * x->w[i];
        x->w[i] -= x->lr * x->m[i];
    }
}

static const struct implementation {
    const char *preset;
    void (*step)(tensor *x);
    double clip; // global norm; 0: none
} implementations[] = {
    { "adamw", pytorch_adamw, 0 },     { "electra", google_adam, 1 }, { "lamb", apex_lamb, 1 },    { "nvlamb", figure_nvlamb, 1 },
    { "apex-nvlamb", apex_nvlamb, 1 }, { "albert", albert, 0 },       { "mxnet", apex_nvlamb, 0 }, { "deepspeed", deepspeed, 0 },
    { "sgd", pytorch_sgd, 0 },         { "lars", lars, 0 },           { "novograd", novograd, 0 },
};
_Static_assert(HS_COUNT(implementations) == HS_N_PRESETS, "each has its formulas here");

// ---- 50 steps

typedef struct history {
    double *w, *m, *v, *u, *g; // of all parameters
    int applied;
} history;

static double *zeros(size_t n) { return calloc(n + 1, sizeof(double)); }

static void history_open(history *h, const hs_params *ps)
{
    const size_t n = flat_count(ps);
    float *w = flat_copy(ps, "master");
    *h = (history){ zeros(n), zeros(n), zeros(n), zeros(n), zeros(n), 0 };
    for (size_t k = 0; k < n; k++)
        h->w[k] = (double)w[k];
    free(w);
}

static void history_close(history *h) { free(h->w), free(h->m), free(h->v), free(h->u), free(h->g); }

static void history_step(history *h, const struct implementation *how, const hs_optim_config *c, const hs_params *ps, double scale)
{
    const size_t n = flat_count(ps);
    float *grad = flat_copy(ps, "grad");
    for (size_t k = 0; k < n; k++)
        h->g[k] = (double)grad[k] / scale;
    free(grad);
    const double whole = norm(h->g, n), divisor = how->clip > 0 && whole > how->clip ? whole / how->clip : 1;
    for (size_t k = 0; k < n; k++)
        h->g[k] /= divisor;
    const double lr = hs_schedule_lr(&c->schedule, h->applied++);
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        for (size_t part = 0, each = p->n / (size_t)p->parts; part < (size_t)p->parts; part++) {
            const size_t at = flat_at(ps, p) + part * each;
            how->step(&(tensor){ .w = h->w + at,
                                 .m = h->m + at,
                                 .v = h->v + at,
                                 .u = h->u + at,
                                 .g = h->g + at,
                                 .n = each,
                                 .decays = p->role == HS_WEIGHT || p->role == HS_EMBED,
                                 .lr = lr,
                                 .t = h->applied });
        }
    }
}

static void scale_part(hs_params *ps, const char *slab, const hs_param *p, int part, float by)
{
    float *x = flat_copy(ps, slab);
    const size_t each = p->n / (size_t)p->parts, at = flat_at(ps, p) + (size_t)part * each;
    for (size_t k = at; k < at + each; k++)
        x[k] *= by;
    flat_write(ps, slab, x);
    free(x);
}

// Two micro-batches; no gradient at all for some steps, none for V of QKV and for a norm for others.
static void accumulate(rig *r, int t)
{
    const double size = t % 4 == 0 ? 1.0 : 1e-4; // above and below the clip
    float *first;
    fill_gradients(r->ps, 2 * t, size, r->state.scale);
    first = flat_copy(r->ps, "grad");
    fill_gradients(r->ps, 2 * t + 1, size, r->state.scale);
    float *sum = flat_copy(r->ps, "grad");
    for (size_t k = 0; k < flat_count(r->ps); k++)
        sum[k] = t == 20 || t == 21 ? 0 : sum[k] + first[k];
    flat_write(r->ps, "grad", sum);
    free(first), free(sum);
    if (t < 5 || t == 30)
        scale_part(r->ps, "grad", hs_params_find(r->ps, "qkv.weight"), 2, 0);
    if (t % 5 == 0)
        scale_part(r->ps, "grad", hs_params_find(r->ps, "ln.weight"), 0, 0);
}

static void check_values(const hs_params *ps, const double *w, const char *name)
{
    float *a = flat_copy(ps, "master");
    for (int i = 0; i < ps->n_params; i++) {
        double dd = 0, bb = 0;
        const size_t at = flat_at(ps, ps->param[i]);
        for (size_t k = at; k < at + ps->param[i]->n; k++)
            dd += pow((double)a[k] - w[k], 2), bb += w[k] * w[k];
        if (!(sqrt(dd) <= 1e-6 * sqrt(bb)))
            fail_msg("%s: %s differs by %g", name, ps->param[i]->name, sqrt(dd / bb));
    }
    free(a);
}

static void follows(const struct implementation *how, hs_dtype low, const char *isa)
{
    hs_optim_config c = optim_named(how->preset);
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_COSINE, .lr = 5e-3, .min_lr = 5e-4, .warmup = 4, .steps = STEPS };
    c.scaler = hs_scaler_preset(HS_SCALER_DYNAMIC, HS_F16);
    c.scaler.interval = 9;
    rig r;
    history h;
    rig_open(&r, &c, low, 2, isa);
    scale_part(r.ps, "master", hs_params_find(r.ps, "qkv.weight"), 1, 0); // K of zeros
    history_open(&h, r.ps);
    int skipped = 0;
    for (int t = 0; t < STEPS; t++) {
        const double scale = (double)r.state.scale;
        accumulate(&r, t);
        const bool overflow = t % 7 == 3;
        if (overflow)
            flat_set(r.ps, "grad", r.ps->param[t % r.ps->n_params], 11, t % 2 ? INFINITY : NAN);
        else
            history_step(&h, how, &c, r.ps, scale);
        skipped += overflow;
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_BULK), HS_OK);
        assert_int_equal(r.state.found_inf, overflow);
    }
    assert_int_equal(r.state.applied, STEPS - skipped);
    assert_true(r.state.scale != c.scaler.init);
    check_values(r.ps, h.w, how->preset);
    history_close(&h);
    rig_close(&r);
}

static void test_follow(void **state)
{
    (void)state;
    static const hs_dtype lows[] = { HS_F32, HS_BF16, HS_F16 };
    for (int i = 0; i < HS_COUNT(implementations); i++)
        for (int k = 0; k < RIG_TIERS; k++)
            for (int l = 0; l < HS_COUNT(lows) && rig_tier_runs(k); l++)
                follows(&implementations[i], lows[l], rig_tiers[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_follow) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

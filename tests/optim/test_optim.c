// optim: every optimizer and switch against a plain f64 oracle and PyTorch's values, and the promise that no bit depends on the number of
// threads.

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

// ---- the oracle: the formulas, tensor by tensor, in f64

typedef struct oracle {
    const hs_optim_config *c;
    const float *rate; // by parameter; NULL: 1 for all
    double *w, *m, *v, *u, norm;
    int64_t t;
} oracle;

static void oracle_open(oracle *x, const hs_optim_config *c, const hs_params *ps)
{
    *x = (oracle){ .c = c };
    const size_t n = flat_count(ps);
    float *w = flat_copy(ps, "master");
    x->w = calloc(n, sizeof(double)), x->m = calloc(n, sizeof(double)), x->v = calloc(n, sizeof(double)), x->u = calloc(n, sizeof(double));
    for (size_t k = 0; k < n; k++)
        x->w[k] = w[k];
    free(w);
}

static void oracle_close(oracle *x) { free(x->w), free(x->m), free(x->v), free(x->u); }

static double bounded(const hs_optim_config *c, double x) { return c->ratio_max > 0 ? fmin(fmax(x, c->ratio_min), c->ratio_max) : x; }

static double norm_of(const double *x, size_t first, size_t n)
{
    double sum = 0;
    for (size_t k = first; k < first + n; k++)
        sum += x[k] * x[k];
    return sqrt(sum);
}

// Of logical tensor [first, first + n). u: LAMB's direction, else the gradient.
static double trust_ratio(const oracle *x, const hs_param *p, const double *u, size_t first, size_t n)
{
    const hs_optim_config *c = x->c;
    const bool weight = c->bounded == HS_BOUND_WEIGHT;
    if (c->trust == HS_TRUST_NONE || (c->trust == HS_TRUST_DECAYED && c->decay_factor[p->role] == 0))
        return 1;
    double ww = norm_of(x->w, first, n), uu = norm_of(u, first, n);
    if (c->kind == HS_LARS)
        return ww == 0 || uu == 0 ? 1 : c->trust_coefficient * ww / (uu + c->weight_decay * c->decay_factor[p->role] * ww + c->eps);
    if (weight)
        ww = bounded(c, ww);
    return ww == 0 || uu == 0 ? 1 : weight ? ww / uu : bounded(c, ww / uu);
}

static double denominator(const hs_optim_config *c, double v) { return c->eps_inside ? sqrt(v + c->eps) : sqrt(v) + c->eps; }

// One logical tensor; g: its gradient, unscaled and clipped.
static void oracle_tensor(oracle *x, const hs_param *p, const double *g, size_t first, size_t n, double lr)
{
    const hs_optim_config *c = x->c;
    const double wd = c->weight_decay * c->decay_factor[p->role], decay = c->decay == HS_DECAY_DECOUPLED ? wd : 0, l2 = wd - decay;
    const double t = (double)x->t, bc1 = 1 - pow(c->beta1, t), bc2 = 1 - pow(c->beta2, t);
    const bool moments = c->correction == HS_CORRECT_MOMENTS;
    const double beta3 = c->grad_averaging ? 1 - c->beta1 : 1, rate = lr * c->lr_factor[p->role] * (x->rate ? (double)x->rate[p->id] : 1) *
                                                                      (c->correction == HS_CORRECT_STEP ? sqrt(bc2) / bc1 : 1);
    const double squares = pow(norm_of(g, first, n), 2), inside = c->kind == HS_LARS ? trust_ratio(x, p, g, first, n) : 1;
    double *one = &x->v[first]; // NovoGrad's
    if (c->kind == HS_NOVOGRAD)
        *one = *one == 0 ? squares : c->beta2 * *one + (1 - c->beta2) * squares;
    for (size_t k = first; k < first + n; k++) {
        const double gk = g[k] + l2 * x->w[k];
        if (c->kind == HS_SGD || c->kind == HS_LARS) {
            x->u[k] = x->m[k] = c->momentum * x->m[k] + inside * gk;
        } else if (c->kind == HS_NOVOGRAD) {
            x->u[k] = x->m[k] = c->beta1 * x->m[k] + beta3 * (g[k] / denominator(c, *one) + l2 * x->w[k]);
        } else {
            x->m[k] = c->beta1 * x->m[k] + beta3 * gk;
            x->v[k] = c->beta2 * x->v[k] + (1 - c->beta2) * gk * gk;
            x->u[k] = x->m[k] / (moments ? bc1 : 1) / denominator(c, x->v[k] / (moments ? bc2 : 1));
        }
        x->u[k] += decay * x->w[k];
    }
    const double r = c->kind == HS_LAMB ? trust_ratio(x, p, x->u, first, n) : 1;
    for (size_t k = first; k < first + n; k++)
        x->w[k] -= rate * r * x->u[k];
}

static void oracle_step(oracle *x, const hs_params *ps, double scale)
{
    const hs_optim_config *c = x->c;
    const size_t n = flat_count(ps);
    float *grad = flat_copy(ps, "grad");
    double *g = calloc(n, sizeof *g);
    for (size_t k = 0; k < n; k++)
        g[k] = (double)grad[k] / scale;
    x->norm = norm_of(g, 0, n);
    const double clip = c->clip > 0 && x->norm > c->clip ? c->clip / (x->norm + c->clip_eps) : 1, lr = hs_schedule_lr(&c->schedule, x->t++);
    for (size_t k = 0; k < n; k++) {
        g[k] *= clip;
        g[k] = c->clip_value > 0 ? fmax(fmin(g[k], c->clip_value), -c->clip_value) : g[k];
    }
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const int parts = c->qkv == HS_QKV_ONE ? 1 : p->parts;
        for (int part = 0; part < parts && !p->frozen; part++)
            oracle_tensor(x, p, g, flat_at(ps, p) + (size_t)part * (p->n / (size_t)parts), p->n / (size_t)parts, lr);
    }
    free(grad), free(g);
}

// |a - b| <= tolerance |b| in the 2-norm, for each parameter
static void check_slab(const hs_params *ps, const char *slab, const double *b, double tolerance)
{
    float *a = flat_copy(ps, slab);
    for (int i = 0; i < ps->n_params; i++) {
        double dd = 0, bb = 0;
        const size_t at = flat_at(ps, ps->param[i]);
        for (size_t k = at; k < at + ps->param[i]->n; k++)
            dd += pow((double)a[k] - b[k], 2), bb += b[k] * b[k];
        if (!(sqrt(dd) <= tolerance * sqrt(bb)))
            fail_msg("%s of %s: relative difference %g, allowed %g", slab, ps->param[i]->name, sqrt(dd / bb), tolerance);
    }
    free(a);
}

static void check_low(const hs_params *ps)
{
    float *master = flat_copy(ps, "master"), *low = flat_copy(ps, "low");
    for (size_t k = 0; k < flat_count(ps); k++)
        assert_true(low[k] == (ps->low->spec.dtype == HS_BF16 ? hs_bf16_f32(hs_value_bf16(hs_f32_bits(master[k])))
                                                              : hs_f16_f32(hs_f32_f16(master[k]))));
    free(master), free(low);
}

static void against_oracle_at(const hs_optim_config *c, hs_dtype low, const char *isa, const char *frozen, const float *rate)
{
    rig r;
    oracle x;
    rig_open_frozen(&r, c, low, 2, isa, frozen);
    float *before = flat_copy(r.ps, "master"), *after;
    oracle_open(&x, c, r.ps);
    x.rate = rate;
    if (rate)
        assert_int_equal(hs_optim_set_rates(r.o, rate), HS_OK);
    for (int t = 0; t < 15; t++) {
        const double scale = (double)r.state.scale;
        rig_step(&r, t, t % 4 == 0 ? 1.0 : 1e-4); // above and below the clip
        oracle_step(&x, r.ps, scale);
        assert_int_equal(r.state.applied, t + 1);
        assert_int_equal(r.state.found_inf, 0);
        assert_true(fabs((double)r.state.grad_norm / x.norm - 1) < 1e-6);
        assert_true(fabs((double)r.state.lr - hs_schedule_lr(&c->schedule, t)) <= 1e-7 * c->schedule.lr);
    }
    check_slab(r.ps, "master", x.w, 1e-6);
    check_slab(r.ps, c->kind == HS_NOVOGRAD ? "novograd.m" : hs_params_slab(r.ps, "sgd.m") ? "sgd.m" : "adam.m", x.m, 1e-6);
    if (hs_params_slab(r.ps, "adam.v"))
        check_slab(r.ps, "adam.v", x.v, 1e-6);
    after = flat_copy(r.ps, "master");
    for (int i = 0; i < r.ps->n_params; i++) { // what is frozen, or has the rate 0, keeps its bits, the rest moved
        const hs_param *p = r.ps->param[i];
        const size_t at = flat_at(r.ps, p);
        assert_int_equal(memcmp(before + at, after + at, p->n * sizeof *after) == 0, p->frozen || (rate && rate[i] == 0));
    }
    free(before), free(after);
    if (low != HS_F32)
        check_low(r.ps);
    oracle_close(&x);
    rig_close(&r);
}

static void against_oracle(const hs_optim_config *c, hs_dtype low, const char *isa, const char *frozen)
{
    against_oracle_at(c, low, isa, frozen, NULL);
}

static void test_presets(void **state)
{
    (void)state;
    static const hs_dtype lows[] = { HS_F32, HS_BF16, HS_F16 };
    for (int i = 0; i < HS_N_PRESETS; i++)
        for (int t = 0; t < RIG_TIERS; t++)
            for (int l = 0; l < HS_COUNT(lows) && rig_tier_runs(t); l++) {
                hs_optim_config c = hs_optim_preset((hs_preset)i);
                c.schedule = rig_schedule();
                against_oracle(&c, lows[l], rig_tiers[t], NULL);
            }
}

// Each switch, away from where its preset has it.
static void test_switches(void **state)
{
    (void)state;
#define ROW(name, ...)                                                                                                                     \
    c = preset(name), __VA_ARGS__;                                                                                                         \
    against_oracle(&c, HS_BF16, NULL, NULL);
    hs_optim_config c;
    ROW("adamw", c.clip = 0.5, c.weight_decay = 0.1, c.lr_factor[HS_EMBED] = 0.25, c.decay_factor[HS_NORM] = 0.5)
    ROW("adamw", c.beta1 = 0, c.beta2 = 0.95, c.schedule.warmup = 0)
    ROW("adamw", c.eps_inside = true, c.eps = 1e-6)
    ROW("adamw", c.decay = HS_DECAY_GRADIENT, c.weight_decay = 0.1)
    ROW("adamw", c.grad_averaging = false, c.schedule.lr = 1e-3)
    ROW("adamw", c.correction = HS_CORRECT_STEP)
    ROW("adamw", c.clip_value = 1e-2)
    ROW("adamw", c.clip = 0.5, c.clip_eps = 1e-2)
    ROW("lamb", c.trust = HS_TRUST_ALL)
    ROW("lamb", c.trust = HS_TRUST_NONE)
    ROW("lamb", c.eps_inside = true)
    ROW("lamb", c.correction = HS_CORRECT_NONE, c.schedule.lr = 1e-3)
    ROW("lamb", c.grad_averaging = false)
    ROW("lamb", c.ratio_min = 0.01, c.ratio_max = 0.3)
    ROW("mxnet", c.ratio_min = 0.5, c.ratio_max = 1.2, c.clip_value = 1e-2)
    ROW("lamb", c.clip = 0, c.lr_factor[HS_BIAS] = 2)
    ROW("lamb", c.decay = HS_DECAY_GRADIENT, c.weight_decay = 0.1)
    ROW("lamb", c.qkv = HS_QKV_ONE)
    ROW("lamb", c.scaler.dynamic = true, c.scaler.init = 0x1p10f, c.scaler.max = 0x1p24f, c.scaler.interval = 4)
    ROW("sgd", c.momentum = 0, c.clip = 0.5, c.lr_factor[HS_BIAS] = 2)
    ROW("sgd", c.momentum = 0.99, c.weight_decay = 0.1, c.decay_factor[HS_NORM] = 0.5)
    ROW("sgd", c.decay = HS_DECAY_DECOUPLED, c.weight_decay = 0.1)
    ROW("lars", c.qkv = HS_QKV_ONE, c.trust = HS_TRUST_ALL, c.trust_coefficient = 0.02)
    ROW("novograd", c.qkv = HS_QKV_ONE, c.grad_averaging = true, c.clip = 0.5)
    ROW("novograd", c.decay = HS_DECAY_DECOUPLED, c.eps_inside = true, c.lr_factor[HS_NORM] = 3)
#undef ROW
}

// Parts of the model stand still: the others get what they would without them - norm, clip and ratios see no frozen element - and slabs
// hold nothing of the frozen.
static void test_frozen(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "nvlamb", "sgd", "lars", "novograd" };
    static const char *const patterns[] = { "wte", "qkv.weight", "*.bias,ln", "qkv,ln" };
    for (int i = 0; i < HS_COUNT(names); i++)
        for (int k = 0; k < HS_COUNT(patterns); k++) {
            hs_optim_config c = preset(names[i]);
            c.clip = 0.5;
            against_oracle(&c, k % 2 ? HS_BF16 : HS_F32, NULL, patterns[k]);
            rig all, part;
            rig_open(&all, &c, HS_BF16, 1, NULL);
            rig_open_frozen(&part, &c, HS_BF16, 1, NULL, patterns[k]);
            const hs_params_bytes a = hs_params_bytes_of(all.ps), b = hs_params_bytes_of(part.ps);
            assert_true(b.grad < a.grad && b.saved < a.saved && b.master == a.master && b.low == a.low);
            assert_true(part.ps->n_chunks < all.ps->n_chunks && hs_optim_bytes(part.o) < hs_optim_bytes(all.o));
            for (int p = 0; p < part.ps->n_params; p++)
                for (int s = 0; s < part.ps->n_slabs; s++)
                    assert_int_equal(hs_slab_has(part.ps->slab[s], part.ps->param[p]),
                                     !part.ps->param[p]->frozen || part.ps->slab[s] == part.ps->master || part.ps->slab[s] == part.ps->low);
            rig_close(&all);
            rig_close(&part);
        }
}

// Rates of their own for each parameter, as layer-wise decay gives them: none, all of it, parts; with what is frozen among them.
static void test_rates(void **state)
{
    (void)state;
    static const float rates[][RIG_PARAMS] = { { 0.8f * 0.8f * 0.8f, 0.64f, 0.64f, 1 }, { 0, 1, 0.5f, 3 }, { 1, 1, 1, 1 } };
    for (int i = 0; i < HS_N_PRESETS; i++)
        for (int t = 0; t < RIG_TIERS; t++)
            for (int k = 0; k < HS_COUNT(rates) && rig_tier_runs(t); k++) {
                hs_optim_config c = hs_optim_preset((hs_preset)i);
                c.schedule = rig_schedule();
                against_oracle_at(&c, k == 1 ? HS_BF16 : HS_F32, rig_tiers[t], k == 0 ? "qkv.bias" : NULL, rates[k]);
            }
}

// Factors of 1 are the bits of no factors; what is no factor is refused and changes nothing.
static void test_rates_of_one(void **state)
{
    (void)state;
    static const float ones[RIG_PARAMS] = { 1, 1, 1, 1 },
                       bad[][RIG_PARAMS] = { { 1, -1e-3f, 1, 1 }, { 1, 1, NAN, 1 }, { INFINITY, 1, 1, 1 } };
    for (int i = 0; i < HS_N_PRESETS; i++) {
        hs_optim_config c = hs_optim_preset((hs_preset)i);
        c.schedule = rig_schedule();
        rig a, b;
        rig_open(&a, &c, HS_BF16, 1, NULL), rig_open(&b, &c, HS_BF16, 2, NULL);
        assert_int_equal(hs_optim_set_rates(b.o, ones), HS_OK);
        for (int k = 0; k < HS_COUNT(bad); k++)
            assert_int_equal(hs_optim_set_rates(b.o, bad[k]), HS_INTERNAL);
        assert_non_null(strstr(hs_error(), "wte.weight"));
        for (int t = 0; t < 5; t++)
            rig_step(&a, t, 1e-2), rig_step(&b, t, 1e-2);
        float *one = rig_slabs(a.ps), *two = rig_slabs(b.ps);
        assert_memory_equal(one, two, rig_slab_bytes(a.ps));
        free(one), free(two);
        rig_close(&a), rig_close(&b);
    }
}

// Each optimizer keeps what it says, and refuses parameters that lack it.
static void test_slabs_kept(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        int n;
        const char *slab[2];
    } kept[] = { { "adamw", 2, { "adam.m", "adam.v" } },
                 { "lamb", 2, { "adam.m", "adam.v" } },
                 { "sgd", 1, { "sgd.m" } },
                 { "lars", 1, { "sgd.m" } },
                 { "novograd", 2, { "novograd.m", "novograd.v" } } };
    for (int i = 0; i < HS_COUNT(kept); i++) {
        const bool adam = i < 2;
        const hs_optim_config c = preset(kept[i].preset), other = preset(adam ? "sgd" : "adamw");
        int n;
        const hs_slab_spec *s = hs_optim_slabs(&c, &n);
        assert_int_equal(n, kept[i].n);
        for (int k = 0; k < n; k++) {
            assert_string_equal(s[k].name, kept[i].slab[k]);
            assert_true(s[k].saved && s[k].trainable_only);
        }
        rig r;
        rig_open(&r, &c, HS_F32, 1, NULL);
        assert_int_equal(r.ps->n_slabs, 2 + n);
        hs_optim *o;
        const hs_grid grid = hs_grid_self();
        assert_int_equal(hs_optim_new(&o, &other, r.ps, &grid, r.dev), HS_INTERNAL);
        assert_non_null(strstr(hs_error(), adam ? "sgd.m" : "adam.m"));
        rig_close(&r);
    }
}

// torch 2: SGD(lr=0.1, momentum=0.9, weight_decay=0.01), by its documentation: g += wd p; buf = g at first, then momentum buf + g; p -= lr
// buf
static void test_sgd_pytorch(void **state)
{
    (void)state;
    hs_optim_config c = preset("sgd");
    c.weight_decay = 0.01;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 0.1 };
    rig r;
    rig_open(&r, &c, HS_F32, 1, NULL);
    const hs_param *wte = r.ps->param[0];
    double p = 1.5, buf = 0;
    flat_set(r.ps, "master", wte, 0, 1.5f);
    for (int t = 1; t <= 12; t++) {
        const double g = 0.25 * t - 1 + 0.01 * p;
        buf = t == 1 ? g : 0.9 * buf + g;
        p -= 0.1 * buf;
        memset(r.ps->grad->p, 0, r.ps->grad->bytes);
        flat_set(r.ps, "grad", wte, 0, 0.25f * (float)t - 1);
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_STEP), HS_OK);
        assert_true(fabs((double)flat_get(r.ps, "master", wte, 0) - p) <= 1e-6 * (1 + fabs(p)));
    }
    rig_close(&r);
}

// torch 2: AdamW(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1) after clip_grad_norm_(1.0)
static void test_adamw_pytorch(void **state)
{
    (void)state;
    static const float start[4] = { 0.5f, -1.25f, 2.0f, -0.03125f };
    static const float torch[][4] = {
        [1] = { 0x1.f53f7ep-2f, -0x1.3d1eb8p+0f, 0x1.010626p+1f, -0x1.51a9c6p-5f },
        [5] = { 0x1.cc370ap-2f, -0x1.31acb0p+0f, 0x1.008fa6p+1f, -0x1.34c4c6p-4f },
        [12] = { 0x1.8224b6p-2f, -0x1.1f2a06p+0f, 0x1.fe3f82p+0f, -0x1.dc045ep-4f },
    };
    hs_optim_config c = preset("adamw");
    c.beta2 = 0.95, c.weight_decay = 0.1, c.clip = 1;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-2 };
    rig r;
    rig_open(&r, &c, HS_F32, 1, NULL);
    const hs_param *wte = r.ps->param[0];
    memcpy(hs_slab_at(r.ps->master, wte), start, sizeof start);
    for (int t = 1; t <= 12; t++) {
        memset(r.ps->grad->p, 0, r.ps->grad->bytes);
        const float g[4] = { 0.25f * (float)t, -0.5f, t % 2 ? -0.125f : 0.125f, 1e-3f / (float)t };
        memcpy(hs_slab_at(r.ps->grad, wte), g, sizeof g);
        assert_int_equal(r.dev->submit(r.dev, NULL, &r.update, HS_SUBMIT_STEP), HS_OK);
        for (int k = 0; k < 4 && torch[t][0] != 0; k++)
            assert_true(fabsf(flat_get(r.ps, "master", wte, (size_t)k) - torch[t][k]) <= 2e-6f * fabsf(torch[t][k]));
    }
    rig_close(&r);
}

static void test_threads_same_bits(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "nvlamb", "sgd", "lars", "novograd" };
    for (int i = 0; i < 2 * HS_COUNT(names); i++) {
        hs_optim_config c = preset(names[i / 2]);
        c.moments = i % 2 ? HS_BF16 : HS_F32;
        float *one = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            rig r;
            rig_open(&r, &c, HS_BF16, threads, NULL);
            for (int t = 0; t < 5; t++)
                rig_step(&r, t, 1e-2);
            float *s = rig_slabs(r.ps);
            if (threads == 1) {
                one = s;
            } else {
                assert_memory_equal(one, s, rig_slab_bytes(r.ps));
                free(s);
            }
            rig_close(&r);
        }
        free(one);
    }
}

// Optimizers of another device: where no norm goes into an update they have the CPU's bits, as long as neither fuses what it multiplies and
// adds. Sums are in another order.
static void test_bits_of_the_cpu(void **state)
{
    (void)state;
#ifdef __FP_FAST_FMAF
    const bool fused = true;
#else
    const bool fused = false;
#endif
    if (!rig_on.tier)
        skip();
    for (int i = 0; i < 2 * HS_N_PRESETS; i++)
        for (int clip = 0; clip < 2; clip++) {
            hs_optim_config c = hs_optim_preset((hs_preset)(i / 2));
            c.schedule = rig_schedule();
            c.moments = i % 2 ? HS_BF16 : HS_F32;
            c.clip = clip;
            const bool norms = clip || (c.kind != HS_ADAMW && c.kind != HS_SGD);
            rig theirs, ours;
            rig_open(&theirs, &c, HS_BF16, 1, NULL), rig_open_cpu(&ours, &c, HS_BF16);
            for (int t = 0; t < 6; t++) {
                rig_step(&theirs, t, 1e-2), rig_step(&ours, t, 1e-2);
                assert_true(fabsf(theirs.state.grad_norm / ours.state.grad_norm - 1) < 1e-6f);
                assert_true(theirs.state.lr == ours.state.lr && theirs.state.applied == ours.state.applied);
            }
            float *a = rig_slabs(theirs.ps), *b = rig_slabs(ours.ps);
            double off = 0, all = 0;
            for (size_t k = 0; k < rig_slab_bytes(ours.ps) / sizeof *a; k++)
                off += pow((double)a[k] - (double)b[k], 2), all += pow((double)b[k], 2);
            if (!norms && !fused)
                assert_memory_equal(a, b, rig_slab_bytes(ours.ps));
            else if (c.moments == HS_F32) // stochastic rounding turns one bit of a sum into one of a moment here and there
                assert_true(sqrt(off / all) < 1e-6);
            else
                assert_true(sqrt(off / all) < 1e-4);
            free(a), free(b);
            rig_close(&theirs), rig_close(&ours);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets),         cmocka_unit_test(test_switches),     cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_rates),           cmocka_unit_test(test_rates_of_one), cmocka_unit_test(test_slabs_kept),
        cmocka_unit_test(test_adamw_pytorch),   cmocka_unit_test(test_sgd_pytorch),  cmocka_unit_test(test_threads_same_bits),
        cmocka_unit_test(test_bits_of_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// optim: AdamW, LAMB and SGD against a plain f64 oracle and PyTorch's values, and the promise that no bit depends on the number of threads.

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

static double trust_ratio(const oracle *x, const hs_param *p, size_t first, size_t n)
{
    if (x->c->kind != HS_LAMB || !(x->c->ratio_all || x->c->decay_factor[p->role] > 0))
        return 1;
    double ww = 0, uu = 0;
    for (size_t k = first; k < first + n; k++)
        ww += x->w[k] * x->w[k], uu += x->u[k] * x->u[k];
    if (ww == 0 || uu == 0)
        return 1;
    return x->c->ratio_max > 0 ? fmin(fmax(sqrt(ww / uu), x->c->ratio_min), x->c->ratio_max) : sqrt(ww / uu);
}

static void oracle_step(oracle *x, const hs_params *ps, double scale)
{
    const hs_optim_config *c = x->c;
    const bool adam = c->kind == HS_ADAMW, sgd = c->kind == HS_SGD;
    float *grad = flat_copy(ps, "grad");
    double squares = 0;
    for (size_t k = 0; k < flat_count(ps); k++)
        squares += pow((double)grad[k] / scale, 2);
    x->norm = sqrt(squares);
    const double clip = c->clip > 0 && x->norm > c->clip ? c->clip / x->norm : 1, lr = hs_schedule_lr(&c->schedule, x->t++);
    const double bc1 = adam || c->bias_correction ? 1 - pow(c->beta1, (double)x->t) : 1;
    const double bc2 = adam || c->bias_correction ? 1 - pow(c->beta2, (double)x->t) : 1;
    const double beta3 = adam || c->grad_averaging ? 1 - c->beta1 : 1;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const double decay = c->weight_decay * c->decay_factor[p->role], rate = lr * c->lr_factor[p->role];
        const size_t at = flat_at(ps, p);
        for (size_t k = at; k < at + p->n && !p->frozen; k++) {
            const double g = (double)grad[k] / scale * clip;
            if (sgd) {
                x->u[k] = x->m[k] = c->momentum * x->m[k] + g + decay * x->w[k];
                continue;
            }
            x->m[k] = c->beta1 * x->m[k] + beta3 * g;
            x->v[k] = c->beta2 * x->v[k] + (1 - c->beta2) * g * g;
            const double mh = x->m[k] / bc1, vh = x->v[k] / bc2;
            x->u[k] = mh / (c->eps_inside ? sqrt(vh + c->eps) : sqrt(vh) + c->eps) + decay * x->w[k];
        }
        for (int part = 0; part < p->parts && !p->frozen; part++) {
            const size_t n = p->n / (size_t)p->parts, first = at + (size_t)part * n;
            const double r = trust_ratio(x, p, first, n);
            for (size_t k = first; k < first + n; k++)
                x->w[k] -= rate * r * x->u[k];
        }
    }
    free(grad);
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
        assert_true(low[k] == (ps->low->spec.dtype == HS_BF16 ? hs_bf16_f32(hs_f32_bf16(master[k])) : hs_f16_f32(hs_f32_f16(master[k]))));
    free(master), free(low);
}

static void against_oracle(const hs_optim_config *c, hs_dtype low, const char *isa, const char *frozen)
{
    rig r;
    oracle x;
    rig_open_frozen(&r, c, low, 2, isa, frozen);
    float *before = flat_copy(r.ps, "master"), *after;
    oracle_open(&x, c, r.ps);
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
    check_slab(r.ps, c->kind == HS_SGD ? "sgd.m" : "adam.m", x.m, 1e-6);
    if (c->kind != HS_SGD)
        check_slab(r.ps, "adam.v", x.v, 1e-6);
    after = flat_copy(r.ps, "master");
    for (int i = 0; i < r.ps->n_params; i++) { // what is frozen keeps its bits, the rest moved
        const hs_param *p = r.ps->param[i];
        const size_t at = flat_at(r.ps, p);
        assert_int_equal(memcmp(before + at, after + at, p->n * sizeof *after) == 0, p->frozen);
    }
    free(before), free(after);
    if (low != HS_F32)
        check_low(r.ps);
    oracle_close(&x);
    rig_close(&r);
}

static const char *const tiers[] = { "portable", "avx2", "avx512", "avx512bf16" };
static bool tier_runs(int i)
{
    hs_isa isa;
    return hs_isa_parse(tiers[i], &isa) && hs_isa_built(isa) && hs_isa_supported(isa);
}

static void test_presets(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "lamb", "nvlamb", "sgd" };
    static const hs_dtype lows[] = { HS_F32, HS_BF16, HS_F16 };
    for (int i = 0; i < HS_COUNT(names); i++)
        for (int t = 0; t < HS_COUNT(tiers); t++)
            for (int l = 0; l < HS_COUNT(lows) && tier_runs(t); l++) {
                const hs_optim_config c = preset(names[i]);
                against_oracle(&c, lows[l], tiers[t], NULL);
            }
    for (int i = 0; i < HS_N_PRESETS; i++)
        assert_true(hs_optim_preset((hs_preset)i).eps > 0); // each is in an optimizer's table
}

static void test_switches(void **state)
{
    (void)state;
    for (int i = 0; i < 11; i++) {
        hs_optim_config c = preset(i < 2 ? "adamw" : i < 9 ? "lamb" : "sgd");
        switch (i) {
        case 0:
            c.clip = 0.5, c.weight_decay = 0.1, c.lr_factor[HS_EMBED] = 0.25, c.decay_factor[HS_NORM] = 0.5;
            break;
        case 1:
            c.beta1 = 0, c.beta2 = 0.95, c.schedule.warmup = 0;
            break;
        case 2:
            c.ratio_all = true;
            break;
        case 3:
            c.eps_inside = true;
            break;
        case 4:
            c.bias_correction = false, c.schedule.lr = 1e-3;
            break;
        case 5:
            c.grad_averaging = false;
            break;
        case 6:
            c.ratio_min = 0.01, c.ratio_max = 0.3;
            break;
        case 7:
            c.clip = 0, c.lr_factor[HS_BIAS] = 2;
            break;
        case 8:
            c.scaler.dynamic = true, c.scaler.init = 0x1p10f, c.scaler.max = 0x1p24f, c.scaler.interval = 4;
            break;
        case 9:
            c.momentum = 0, c.clip = 0.5, c.lr_factor[HS_BIAS] = 2;
            break;
        case 10:
            c.momentum = 0.99, c.weight_decay = 0.1, c.decay_factor[HS_NORM] = 0.5;
            break;
        }
        against_oracle(&c, HS_BF16, NULL, NULL);
    }
}

// Parts of the model stand still: the others get what they would without them - norm, clip and ratios see no frozen element - and slabs
// hold nothing of the frozen.
static void test_frozen(void **state)
{
    (void)state;
    static const char *const names[] = { "adamw", "nvlamb", "sgd" };
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
            assert_true(b.grad < a.grad && b.saved == b.grad * (a.saved / a.grad) && b.master == a.master && b.low == a.low);
            assert_true(part.ps->n_chunks < all.ps->n_chunks && hs_optim_bytes(part.o) < hs_optim_bytes(all.o));
            for (int p = 0; p < part.ps->n_params; p++)
                for (int s = 0; s < part.ps->n_slabs; s++)
                    assert_int_equal(hs_slab_has(part.ps->slab[s], part.ps->param[p]),
                                     !part.ps->param[p]->frozen || part.ps->slab[s] == part.ps->master || part.ps->slab[s] == part.ps->low);
            rig_close(&all);
            rig_close(&part);
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
    } kept[] = { { "adamw", 2, { "adam.m", "adam.v" } }, { "lamb", 2, { "adam.m", "adam.v" } }, { "sgd", 1, { "sgd.m" } } };
    for (int i = 0; i < HS_COUNT(kept); i++) {
        const hs_optim_config c = preset(kept[i].preset), other = preset(i == 2 ? "adamw" : "sgd");
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
        assert_non_null(strstr(hs_error(), i == 2 ? "adam.m" : "sgd.m"));
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
    static const char *const names[] = { "adamw", "nvlamb", "sgd" };
    for (int i = 0; i < HS_COUNT(names); i++) {
        const hs_optim_config c = preset(names[i]);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets),           cmocka_unit_test(test_switches),      cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_slabs_kept),        cmocka_unit_test(test_adamw_pytorch), cmocka_unit_test(test_sgd_pytorch),
        cmocka_unit_test(test_threads_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

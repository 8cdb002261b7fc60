// checkpoint: slabs by name - those of the version before, of parameters that were frozen then and are not now, of another optimizer.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/checkpoint/checkpoint.h"
#include "ops/ops.h"
#include "optim/optim.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_params.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

// Written by 0.1 before slabs had names: train/optimizer.safetensors has m.* and v.*. It resumes with every bit.
static void reads_moments_called_m_and_v(void **state)
{
    (void)state;
    const char *const old = HS_TESTS_DIR "/golden/checkpoint-m-v";
    char dir[CKPT_PATH], found[CKPT_PATH], path[2 * CKPT_PATH];
    hs_params *ps = ckpt_params_of(8, 4, 5, 1), *again = ckpt_params_of(8, 4, 5, 1);
    hs_train_state want = ckpt_state(11), t;
    want.best_score = 0, want.worse = 0; // it knew neither
    OK(hs_ckpt_resolve(old, true, found, sizeof found)); // verified
    const hs_ckpt_opts names = ckpt_opts(NULL, 0);
    OK(hs_ckpt_load_params(found, &names, ps));
    OK(hs_ckpt_load_train(found, ps, &t));
    assert_true(ckpt_filled(ps, 11, true) && ckpt_state_equal(&t, &want));
    assert_string_equal(ckpt_logged, "");
    // and is written under the slabs' names
    ckpt_temp_dir(dir);
    const hs_ckpt_opts o = ckpt_opts(dir, 1);
    hs_ckpt *c;
    hs_model_info info;
    hs_safetensors *file;
    OK(ckpt_read_info(old, &info));
    OK(hs_ckpt_new(&c, &o, ps));
    OK(hs_ckpt_save(c, ps, &t, &info, NULL, "", false));
    OK(hs_ckpt_wait(c));
    hs_ckpt_free(c);
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    OK(hs_ckpt_load_train(found, again, &t));
    OK(hs_ckpt_load_params(found, &o, again));
    assert_true(ckpt_filled(again, 11, true));
    snprintf(path, sizeof path, "%s/train/optimizer.safetensors", found);
    OK(hs_safetensors_open(&file, path));
    assert_int_equal(hs_safetensors_count(file), 2 * ps->n_params);
    assert_non_null(hs_safetensors_find(file, "adam.m.h0.attn.qkv.weight"));
    assert_non_null(hs_safetensors_find(file, "adam.v.ln_f.bias"));
    hs_safetensors_close(file);
    hs_params_free(ps), hs_params_free(again);
    ckpt_remove(dir);
}

static void save_step(const hs_params *ps, const char *dir, int64_t step)
{
    const hs_ckpt_opts o = ckpt_opts(dir, 0);
    const hs_train_state t = ckpt_state(step);
    const hs_model_info info = ckpt_info();
    hs_ckpt *c;
    OK(hs_ckpt_new(&c, &o, ps));
    assert_int_equal(hs_ckpt_bytes(ps), ps->master->bytes + 2 * hs_params_slab(ps, "adam.m")->bytes);
    OK(hs_ckpt_save(c, ps, &t, &info, NULL, "", false));
    OK(hs_ckpt_wait(c));
    hs_ckpt_free(c);
}

// The moments of p are those of the other list; NULL: zero.
static bool moments_are(const hs_params *ps, const hs_param *p, const hs_params *like)
{
    static const char *const slabs[] = { "adam.m", "adam.v" };
    bool same = true;
    for (int i = 0; i < 2; i++) {
        float *have = calloc(p->n, sizeof *have), *want = calloc(p->n, sizeof *want);
        hs_params_read(ps, hs_params_slab(ps, slabs[i]), p, have);
        if (like)
            hs_params_read(like, hs_params_slab(like, slabs[i]), p, want);
        same = same && memcmp(have, want, p->n * sizeof *have) == 0;
        free(have), free(want);
    }
    return same;
}

// A run goes on with other parameters frozen than before: what was trained in both goes on, what was not starts at zero, and one line says
// so.
static void resumes_with_others_frozen(void **state)
{
    (void)state;
    char dir[CKPT_PATH], found[CKPT_PATH];
    ckpt_temp_dir(dir);
    hs_params *before = ckpt_params_frozen("wte,h0"), *all = ckpt_params(true), *after = ckpt_params_frozen("h1,wpe"),
              *full = ckpt_params(true);
    ckpt_fill(before, 5), ckpt_fill(full, 5);
    save_step(before, dir, 100);
    assert_true(hs_ckpt_bytes(before) < hs_ckpt_bytes(all));
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    hs_params *now[] = { all, after, before };
    for (int i = 0; i < HS_COUNT(now); i++) {
        const hs_ckpt_opts o = ckpt_opts(dir, 0);
        hs_train_state t;
        hs_params *ps = now[i];
        ckpt_logged[0] = 0;
        ckpt_fill(ps, 77); // what does not come from the file shows
        for (int s = 0; s < ps->n_slabs; s++)
            if (ps->slab[s]->spec.saved)
                for (int k = 0; k < ps->n_params; k++)
                    if (hs_slab_has(ps->slab[s], ps->param[k]))
                        OK(hs_params_clear(ps, ps->slab[s], ps->param[k]));
        OK(hs_ckpt_load_params(found, &o, ps));
        OK(hs_ckpt_load_train(found, ps, &t));
        assert_true(flat_equal(ps, full, "master"));
        for (int k = 0; k < ps->n_params; k++)
            if (!ps->param[k]->frozen)
                assert_true(moments_are(ps, ps->param[k], before->param[k]->frozen ? NULL : full));
        if (now[i] == before)
            assert_string_equal(ckpt_logged, "");
        else
            assert_non_null(strstr(ckpt_logged, i ? "moments of 13 start at zero (wte.weight, ...), those of 13 are dropped\n"
                                                  : "moments of 13 start at zero (wte.weight, ...), those of 0 are dropped\n"));
    }
    for (int i = 0; i < HS_COUNT(now); i++)
        hs_params_free(now[i]);
    hs_params_free(full);
    ckpt_remove(dir);
}

static void optimizers_are_not_mixed_up(void **state)
{
    (void)state;
    char dir[CKPT_PATH], found[CKPT_PATH];
    ckpt_temp_dir(dir);
    hs_params *adam = ckpt_params(true), *sgd = ckpt_params_with("sgd", NULL);
    ckpt_fill(adam, 5);
    save_step(adam, dir, 100);
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    hs_train_state t;
    assert_int_equal(hs_ckpt_load_train(found, sgd, &t), HS_USAGE);
    assert_non_null(strstr(hs_error(), "holds nothing of sgd.m"));
    hs_params_free(adam), hs_params_free(sgd);
    ckpt_remove(dir);
}

// Parameters with what an optimizer keeps, moments in a type of their own; filled with values, NULL: zero.
static hs_params *kept_as(hs_preset preset, hs_dtype moments, float *(*values)(const hs_param *p, int slab))
{
    hs_params *ps = ckpt_params(false);
    hs_optim_config c = hs_optim_preset(preset);
    int n;
    c.moments = moments;
    OK(hs_optim_declare(&c, ps));
    const hs_slab_spec *spec = hs_optim_slabs(&c, &n);
    for (int s = 0; s < n; s++)
        for (int i = 0; values && i < ps->n_params; i++) {
            float *x = values(ps->param[i], s);
            hs_slab *slab = hs_params_slab(ps, spec[s].name);
            if (spec[s].per_tensor)
                OK(hs_params_write(ps, slab, ps->param[i], x));
            else
                OK(hs_params_import(ps, slab, ps->param[i], x));
            free(x);
        }
    return ps;
}

static float *some_values(const hs_param *p, int slab)
{
    float *x = calloc(p->n, sizeof *x);
    for (size_t k = 0; k < p->n; k++)
        x[k] = (float)(p->id + 1) * 0.37f + (float)slab + 1e-3f * (float)k;
    return x;
}

static void save_kept(const hs_params *ps, const char *dir)
{
    const hs_ckpt_opts o = ckpt_opts(dir, 0);
    const hs_train_state t = ckpt_state(100);
    const hs_model_info info = ckpt_info();
    hs_ckpt *c;
    OK(hs_ckpt_new(&c, &o, ps));
    OK(hs_ckpt_save(c, ps, &t, &info, NULL, "", false));
    OK(hs_ckpt_wait(c));
    hs_ckpt_free(c);
}

static bool as_in_bf16(const hs_params *have, const hs_params *want, const char *slab)
{
    float *x = flat_copy(have, slab), *y = flat_copy(want, slab);
    bool same = true;
    for (size_t k = 0; k < flat_count(have); k++)
        same = same && x[k] == hs_bf16_f32(hs_f32_bf16(y[k]));
    free(x), free(y);
    return same;
}

// Moments in bf16 are saved as such, bit for bit; a run may go on with another type than the file's.
static void moments_in_bf16(void **state)
{
    (void)state;
    char dir[CKPT_PATH], found[CKPT_PATH], path[2 * CKPT_PATH];
    hs_train_state t;
    hs_safetensors *file;
    for (int from = 0; from < 2; from++) { // f32, bf16
        const hs_dtype types[] = { HS_F32, HS_BF16 };
        hs_params *saved = kept_as(HS_PRESET_ADAMW, types[from], some_values), *whole = kept_as(HS_PRESET_ADAMW, HS_F32, NULL),
                  *small = kept_as(HS_PRESET_ADAMW, HS_BF16, NULL);
        ckpt_temp_dir(dir);
        save_kept(saved, dir);
        OK(hs_ckpt_resolve(dir, true, found, sizeof found));
        snprintf(path, sizeof path, "%s/train/optimizer.safetensors", found);
        OK(hs_safetensors_open(&file, path));
        assert_int_equal(hs_safetensors_find(file, "adam.v.wte.weight")->dtype, types[from]);
        assert_int_equal(hs_safetensors_find(file, "adam.v.wte.weight")->dim[0], 50); // without the padding
        hs_safetensors_close(file);
        OK(hs_ckpt_load_train(found, whole, &t));
        OK(hs_ckpt_load_train(found, small, &t));
        assert_true(flat_equal(whole, saved, "adam.m") && flat_equal(whole, saved, "adam.v"));
        assert_true(as_in_bf16(small, saved, "adam.m") && as_in_bf16(small, saved, "adam.v"));
        hs_params_free(saved), hs_params_free(whole), hs_params_free(small);
        ckpt_remove(dir);
    }
}

// NovoGrad keeps a number for each logical tensor: three for a packed QKV.
static void a_number_per_tensor(void **state)
{
    (void)state;
    char dir[CKPT_PATH], found[CKPT_PATH];
    hs_train_state t;
    hs_params *saved = kept_as(HS_PRESET_NOVOGRAD, HS_BF16, some_values), *again = kept_as(HS_PRESET_NOVOGRAD, HS_BF16, NULL);
    ckpt_temp_dir(dir);
    save_kept(saved, dir);
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    OK(hs_ckpt_load_train(found, again, &t));
    assert_true(flat_equal(again, saved, "novograd.m"));
    const hs_slab *v[] = { hs_params_slab(saved, "novograd.v"), hs_params_slab(again, "novograd.v") };
    for (int i = 0; i < saved->n_params; i++) {
        const hs_param *p = saved->param[i];
        float want[8] = { 0 }, have[8] = { 0 };
        assert_int_equal(v[0]->place[i].bytes, (size_t)p->parts * sizeof(float));
        hs_params_read(saved, v[0], p, want), hs_params_read(again, v[1], p, have);
        assert_memory_equal(want, have, sizeof want);
        assert_true(have[p->parts - 1] != 0 && have[p->parts] == 0);
    }
    hs_params_free(saved), hs_params_free(again);
    ckpt_remove(dir);
}

static hs_status (*real_alloc)(hs_device *d, size_t bytes, void **out);
static void (*real_free)(hs_device *d, void *p);
static void *given[4];
static int n_given, n_left;

static hs_status note_alloc(hs_device *d, size_t bytes, void **out)
{
    const hs_status st = real_alloc(d, bytes, out);
    n_left++;
    given[n_given++ % HS_COUNT(given)] = *out;
    return st;
}

static void note_free(hs_device *d, void *p)
{
    n_left -= p != NULL;
    real_free(d, p);
}

// A snapshot of each slab, in the memory that the device copies to fastest.
static void snapshots_are_the_devices(void **state)
{
    (void)state;
    hs_device *d;
    hs_params *ps;
    hs_param *p;
    hs_ckpt *c;
    char dir[CKPT_PATH];
    const hs_param_spec spec = { .name = "w.weight", .init = HS_INIT_NORMAL, .std = 1, .n_dims = 2, .dim = { 30, 20 } };
    const hs_slab_spec moment = { .name = "sgd.m", .dtype = HS_F32, .trainable_only = true, .saved = true };
    OK(hs_open_device(&d, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    real_alloc = d->alloc_host, real_free = d->free_host;
    d->alloc_host = note_alloc, d->free_host = note_free;
    OK(hs_params_new(&ps, 1, 0, 1));
    OK(hs_params_get(ps, &spec, &p));
    OK(hs_params_declare(ps, &moment));
    OK(hs_params_alloc(ps, d, true));
    ckpt_temp_dir(dir);
    OK(hs_ckpt_new(&c, &(hs_ckpt_opts){ .dir = dir }, ps));
    assert_int_equal(n_given, 2);
    const hs_model_info info = ckpt_info();
    const hs_train_state t = ckpt_state(1);
    OK(hs_ckpt_save(c, ps, &t, &info, NULL, "", false));
    OK(hs_ckpt_wait(c));
    assert_memory_equal(given[0], hs_slab_at(ps->master, p), p->n * sizeof(float));
    hs_ckpt_free(c);
    assert_int_equal(n_given, 2);
    assert_int_equal(n_left, 0);
    hs_params_free(ps);
    hs_device_close(d);
    ckpt_remove(dir);
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads_moments_called_m_and_v, ckpt_listen),
        cmocka_unit_test_setup(resumes_with_others_frozen, ckpt_listen),
        cmocka_unit_test(optimizers_are_not_mixed_up),
        cmocka_unit_test(moments_in_bf16),
        cmocka_unit_test(a_number_per_tensor),
        cmocka_unit_test(snapshots_are_the_devices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

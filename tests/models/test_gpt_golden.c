// GPT-2 against what PyTorch computed (tests/golden, made by scripts/gen_golden.py): a checkpoint of transformers in both
// spellings of names, logits, every gradient, and the losses of twenty AdamW steps, on every tier this machine runs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/checkpoint/checkpoint.h"
#include "ops/ops.h"
#include "tests/support/support_files.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const checkpoints[] = { "gpt2-lm", "gpt2-base" };
static hs_safetensors *golden;

static const hs_st_entry *stored(const char *name)
{
    const hs_st_entry *t = hs_safetensors_find(golden, name);
    if (!t)
        fail_msg("golden.safetensors has no %s", name);
    return t;
}

static int open_golden(void **state)
{
    (void)state;
    if (hs_safetensors_open(&golden, golden_path("golden.safetensors")) != HS_OK)
        fail_msg("%s", hs_error());
    return 0;
}
static int close_golden(void **state)
{
    (void)state;
    hs_safetensors_close(golden);
    return 0;
}

// ---- the engine around the checkpoint

static hs_optim_config adamw(void)
{
    hs_optim_config c;
    c = hs_optim_preset(HS_PRESET_ADAMW);
    c.beta1 = 0.9, c.beta2 = 0.999, c.eps = 1e-8, c.weight_decay = 0.1, c.clip = 1;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-3, .power = 1, .steps = 1000 };
    return c;
}

static hs_engine *engine_of(const char *checkpoint, tiny_gpt *model, const char *isa, bool onednn)
{
    hs_model_info info;
    const hs_model_files *const known[] = { &hs_gpt_family.files };
    assert_int_equal(hs_ckpt_read_info(golden_path(checkpoint), known, 1, &info), HS_OK);
    assert_string_equal(info.files->model_type, "gpt2");
    hs_gpt_config config;
    memcpy(&config, info.settings.bytes, sizeof config);
    config.dropout = 0;
    *model = (tiny_gpt){ .config = config, .shape = { .max_tokens = 64, .max_seqs = 6, .logits = true } };
    const hs_optim_config optim = adamw();
    hs_device *device;
    assert_int_equal(hs_open_device(&device, test_device, 2, isa, 0, onednn ? HS_ONEDNN_ALWAYS : HS_ONEDNN_NO), HS_OK);
    hs_engine *e;
    const hs_engine_opts o = {
        .model = tiny_gpt_model, .config = model, .optim = &optim, .eval = true, .seed = 1, .device = device, .mode = HS_SUBMIT_BULK
    };
    if (hs_engine_new(&e, &o) != HS_OK)
        fail_msg("%s", hs_error());
    e->owns_device = true;
    const hs_ckpt_opts c = { .files = &hs_gpt_family.files };
    if (hs_ckpt_load_params(golden_path(checkpoint), &c, e->params) != HS_OK)
        fail_msg("%s", hs_error());
    return e;
}

static void put(hs_engine *e, hs_mode mode, const char *name, const int32_t *p, int64_t n)
{
    assert_int_equal(hs_run_write(e->run, e->plan[mode], name, p, (size_t)n * sizeof *p), HS_OK);
}

static void fill_batch(hs_engine *e, hs_mode mode, int batch)
{
    int32_t targets[64], where[128];
    const int32_t *starts = stored("starts")->data;
    const int64_t n_seqs = stored("starts")->dim[0] - 1, n = stored("ids")->dim[1];
    const int32_t *ids = (const int32_t *)stored("ids")->data + batch * n;
    assert_true(n <= 64);
    for (int64_t b = 0; b < n_seqs; b++)
        for (int32_t i = starts[b]; i < starts[b + 1]; i++) {
            targets[i] = i + 1 < starts[b + 1] ? ids[i + 1] : -1;
            where[2 * i] = (int32_t)b, where[2 * i + 1] = i - starts[b];
        }
    put(e, mode, "ids", ids, n);
    put(e, mode, "starts", starts, n_seqs + 1);
    put(e, mode, "targets", targets, n);
    put(e, mode, "where", where, 2 * n);
    hs_step_live(e->in, n, n_seqs, 0);
    e->in->n_micro = 1;
    e->in->inv_count[0] = 1.0f / (float)(n - n_seqs);
}

// fn on every tier, and with oneDNN where it is built in; once, where test_device is none that has tiers.
static void on_every_tier(void (*fn)(const char *isa, bool onednn))
{
    if (hs_is_gpu(test_device)) {
        fn(test_device, false);
        return;
    }
    for (int i = 0; i < HS_N_ISA; i++)
        for (int onednn = 0; onednn <= (hs_onednn_version() != NULL); onednn++)
            if (hs_isa_supported((hs_isa)i) && hs_isa_built((hs_isa)i))
                fn(hs_isa_name((hs_isa)i), onednn);
}

// ---- the tests

static void both_spellings_load(void **state)
{
    (void)state;
    tiny_gpt model[2];
    hs_engine *a = engine_of(checkpoints[0], &model[0], NULL, false), *b = engine_of(checkpoints[1], &model[1], NULL, false);
    assert_true(flat_equal(a->params, b->params, "master"));
    hs_engine_free(a);
    hs_engine_free(b);
}

static void check_logits(const char *isa, bool onednn)
{
    tiny_gpt model;
    hs_engine *e = engine_of(checkpoints[0], &model, isa, onednn);
    fill_batch(e, HS_EVAL, 0);
    assert_int_equal(hs_engine_run(e, HS_EVAL, 0), HS_OK);
    hs_ref got;
    assert_non_null(hs_run_output(e->run, e->plan[HS_EVAL], 0, &got));
    const hs_st_entry *t = stored("logits");
    const float *want = t->data;
    float *rows = malloc((size_t)(t->dim[0] * got.cols) * sizeof *rows);
    assert_int_equal(hs_run_read(e->run, e->plan[HS_EVAL], 0, 0, t->dim[0], rows), HS_OK);
    double worst = 0, largest = 0;
    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t v = 0; v < t->dim[1]; v++) {
            const double w = (double)want[n * t->dim[1] + v];
            worst = fmax(worst, fabs((double)rows[n * got.cols + v] - w));
            largest = fmax(largest, fabs(w));
        }
    free(rows);
    if (!(worst <= 1e-5 * largest))
        fail_msg("%s%s: logits are off by %g, allowed %g", isa, onednn ? " with oneDNN" : "", worst, 1e-5 * largest);
    hs_engine_free(e);
}
static void logits(void **state)
{
    (void)state;
    on_every_tier(check_logits);
}

typedef struct distance { // squared 2-norms
    double off, want;
} distance;

static distance gradient_distance(const hs_engine *e, const hs_param *p)
{
    char name[256] = "grad.";
    const hs_name_rule *rule;
    assert_non_null(hs_name_to_theirs(hs_gpt_family.files.name, hs_gpt_family.files.n_names, p->name, name + 5, sizeof name - 5, &rule));
    const hs_st_entry *t = stored(name);
    const int64_t rows = p->logical[0], cols = p->n_dims > 1 ? p->logical[1] : 1;
    assert_int_equal((int64_t)t->bytes, rows * cols * 4);
    float *got = malloc(t->bytes);
    hs_params_export(e->params, e->params->grad, p, got);
    distance d = { 0 };
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            const double want = (double)((const float *)t->data)[rule->transposed ? c * rows + r : r * cols + c];
            d.off += pow((double)got[r * cols + c] - want, 2), d.want += want * want;
        }
    free(got);
    return d;
}

static void check_gradients(const char *isa, bool onednn)
{
    tiny_gpt model;
    hs_engine *e = engine_of(checkpoints[0], &model, isa, onednn);
    const hs_params *ps = e->params;
    fill_batch(e, HS_TRAIN, 0);
    assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
    double all = 0;
    for (int i = 0; i < ps->n_params; i++)
        all += gradient_distance(e, ps->param[i]).want;
    assert_int_equal(ps->n_params, hs_safetensors_count(golden) - 4); // all but ids, starts, logits, losses
    for (int i = 0; i < ps->n_params; i++) {
        const distance d = gradient_distance(e, ps->param[i]);
        const double bound = 1e-4 * sqrt(d.want) + 1e-7 * sqrt(all);
        if (!(sqrt(d.off) <= bound))
            fail_msg("%s%s: gradient of %s is off by %g, allowed %g", isa, onednn ? " with oneDNN" : "", ps->param[i]->name, sqrt(d.off),
                     bound);
    }
    hs_engine_free(e);
}
static void gradients(void **state)
{
    (void)state;
    on_every_tier(check_gradients);
}

static void check_losses(const char *isa, bool onednn)
{
    tiny_gpt model;
    hs_engine *e = engine_of(checkpoints[1], &model, isa, onednn);
    const hs_st_entry *t = stored("losses");
    for (int step = 0; step < t->dim[0]; step++) {
        const double want = ((const double *)t->data)[step];
        fill_batch(e, HS_TRAIN, step % (int)stored("ids")->dim[0]);
        assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
        assert_int_equal(hs_run_update(e->run), HS_OK);
        if (!(fabs(hs_engine_loss(e, HS_TRAIN) - want) <= 1e-4))
            fail_msg("%s%s: loss of step %d is %.7f, should be %.7f", isa, onednn ? " with oneDNN" : "", step, hs_engine_loss(e, HS_TRAIN),
                     want);
    }
    hs_engine_free(e);
}
static void twenty_steps(void **state)
{
    (void)state;
    on_every_tier(check_losses);
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_spellings_load),
        cmocka_unit_test(logits),
        cmocka_unit_test(gradients),
        cmocka_unit_test(twenty_steps),
    };
    return cmocka_run_group_tests_name("gpt: PyTorch", tests, open_golden, close_golden);
}

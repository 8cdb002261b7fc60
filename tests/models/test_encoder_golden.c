// Encoders against what PyTorch computed (tests/golden/encoders, made by scripts/gen_golden_encoders.py): checkpoints of transformers of
// every family; hidden states, pooled tokens, logits, every gradient, and the losses of twenty LAMB steps, on every tier this machine runs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/checkpoint/checkpoint.h"
#include "models/encoder/encoder.h"
#include "ops/ops.h"
#include "recipes/train/engine.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

typedef struct subject { // one family's checkpoint and what PyTorch made of it
    char dir[512];
    const hs_family *family;
    hs_model_info info;
    hs_safetensors *golden;
    hs_arch_setup train, eval;
} subject;

static const hs_st_entry *stored(const subject *s, const char *name)
{
    const hs_st_entry *t = hs_safetensors_find(s->golden, name);
    if (!t)
        fail_msg("%s: golden.safetensors has no %s", s->dir, name);
    return t;
}
static bool has(const subject *s, const char *name) { return hs_safetensors_find(s->golden, name) != NULL; }

static void subject_open(subject *s, const hs_family *f)
{
    char path[1024];
    const hs_model_files *const known[] = { &f->files };
    *s = (subject){ .family = f };
    snprintf(s->dir, sizeof s->dir, HS_TESTS_DIR "/golden/encoders/%s", f->name);
    snprintf(path, sizeof path, "%s/golden.safetensors", s->dir);
    OK(hs_safetensors_open(&s->golden, path));
    OK(hs_ckpt_read_info(s->dir, known, 1, &s->info));
    const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 6, .max_picks = 24 };
    s->train = s->eval = (hs_arch_setup){ { f, s->info.settings.bytes }, shape };
    s->eval.shape.logits = true;
}

static hs_optim_config lamb(void)
{
    hs_optim_config c;
    c = hs_optim_preset(HS_PRESET_LAMB);
    c.beta1 = 0.9, c.beta2 = 0.999, c.eps = 1e-6, c.weight_decay = 0.01, c.clip = 1;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 4e-3, .power = 1, .steps = 1000 };
    return c;
}

static hs_engine *engine_of(const subject *s, const char *isa, bool trains)
{
    const hs_optim_config optim = lamb();
    hs_device *device;
    hs_engine *e;
    OK(hs_open_device(&device, "cpu", 2, isa, 0, HS_ONEDNN_NO));
    OK(hs_engine_new(&e, &(hs_engine_opts){ .model = hs_arch_trace,
                                            .config = &s->train,
                                            .eval_config = &s->eval,
                                            .optim = trains ? &optim : NULL,
                                            .eval = true,
                                            .seed = 1,
                                            .device = device,
                                            .mode = HS_SUBMIT_BULK }));
    e->owns_device = true;
    OK(hs_ckpt_load_params(s->dir, &(hs_ckpt_opts){ .files = &s->family->files }, e->params));
    return e;
}

// Inputs a plan has not are passed over.
static void put(hs_engine *e, hs_mode mode, const char *name, const void *p, int64_t n)
{
    if (hs_run_input(e->run, e->plan[mode], name))
        OK(hs_run_write(e->run, e->plan[mode], name, p, (size_t)n * sizeof(int32_t)));
}

static int64_t counted(const int32_t *labels, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += labels[i] >= 0;
    return count;
}

static const int32_t *row_of(const subject *s, const char *name, int batch, int64_t *n)
{
    const hs_st_entry *t = stored(s, name);
    *n = t->dim[1];
    return (const int32_t *)t->data + batch * *n;
}

static void fill(const subject *s, hs_engine *e, hs_mode mode, int batch)
{
    static const struct {
        const char *input, *stored;
    } columns[] = {
        { "ids", "ids" }, { "token_types", "types" }, { "task_types", "tasks" }, { "picks", "picks" }, { "pick_targets", "targets" }
    };
    const hs_st_entry *starts = stored(s, "starts");
    const int64_t B = starts->dim[0] - 1;
    const int32_t *at = starts->data;
    int32_t where[128], zero[64] = { 0 };
    int64_t n, N, P;
    row_of(s, "ids", batch, &N);
    row_of(s, "picks", batch, &P);
    for (int i = 0; i < HS_COUNT(columns); i++) {
        const int32_t *row = row_of(s, columns[i].stored, batch, &n);
        put(e, mode, columns[i].input, row, n);
    }
    for (int64_t b = 0; b < B; b++)
        for (int32_t i = at[b]; i < at[b + 1]; i++)
            where[2 * i] = (int32_t)b, where[2 * i + 1] = i - at[b];
    put(e, mode, "where", where, 2 * N);
    put(e, mode, "starts", at, B + 1);
    put(e, mode, "only_type", zero, N);
    const int32_t *pair = row_of(s, "pair", batch, &n);
    put(e, mode, "pair_targets", pair, B);
    put(e, mode, "order_targets", pair, B);
    hs_step_live(e->in, N, B, P);
    e->in->n_micro = 1;
    e->in->inv_count[HS_LOSS_TOKENS] = hs_inv_count(counted(row_of(s, "targets", batch, &n), P));
    e->in->inv_count[HS_LOSS_NEXT] = e->in->inv_count[HS_LOSS_ORDER] = hs_inv_count(counted(pair, B));
}

static double loss_of(const hs_engine *e, hs_mode mode)
{
    const double *l = hs_run_losses(e->run, e->plan[mode]);
    return l[HS_LOSS_TOKENS] + l[HS_LOSS_NEXT] + l[HS_LOSS_ORDER];
}

// ---- the tests

static void check_output(const subject *s, hs_engine *e, int output, const char *name, const char *isa)
{
    const hs_st_entry *t = stored(s, name);
    hs_ref got;
    assert_non_null(hs_run_output(e->run, e->plan[HS_EVAL], output, &got));
    assert_int_equal(got.dtype, HS_F32);
    double worst = 0, largest = 0;
    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t v = 0; v < t->dim[1]; v++) {
            const double want = (double)((const float *)t->data)[n * t->dim[1] + v];
            worst = fmax(worst, fabs((double)((const float *)got.p)[n * got.cols + v] - want));
            largest = fmax(largest, fabs(want));
        }
    if (!(worst <= 1e-5 * largest))
        fail_msg("%s, %s: %s is off by %g, allowed %g", s->family->name, isa, name, worst, 1e-5 * largest);
}

static void check_outputs(subject *s, const char *isa)
{
    hs_engine *e = engine_of(s, isa, false);
    fill(s, e, HS_EVAL, 0);
    OK(hs_engine_run(e, HS_EVAL, 0));
    check_output(s, e, 0, "logits", isa);
    if (has(s, "pair_logits"))
        check_output(s, e, 1, "pair_logits", isa);
    const double want = *(const double *)stored(s, "losses")->data;
    if (!(fabs(loss_of(e, HS_EVAL) - want) <= 1e-5))
        fail_msg("%s, %s: loss is %.7f, should be %.7f", s->family->name, isa, loss_of(e, HS_EVAL), want);
    hs_engine_free(e);

    s->eval.shape.hidden = true;
    e = engine_of(s, isa, false);
    fill(s, e, HS_EVAL, 0);
    OK(hs_engine_run(e, HS_EVAL, 0));
    check_output(s, e, 0, "hidden", isa);
    if (has(s, "pooled"))
        check_output(s, e, 1, "pooled", isa);
    hs_engine_free(e);
    s->eval.shape.hidden = false;
}

// Without logits: the likeliest token and class of each.
static void check_choices(subject *s, const char *isa)
{
    s->eval.shape.logits = false;
    hs_engine *e = engine_of(s, isa, false);
    fill(s, e, HS_EVAL, 0);
    OK(hs_engine_run(e, HS_EVAL, 0));
    for (int output = 0; output <= has(s, "pair_logits"); output++) {
        const hs_st_entry *t = stored(s, output ? "pair_logits" : "logits");
        hs_ref got;
        assert_non_null(hs_run_output(e->run, e->plan[HS_EVAL], output, &got));
        assert_int_equal(got.dtype, HS_I32);
        for (int64_t n = 0; n < t->dim[0]; n++) {
            const float *row = (const float *)t->data + n * t->dim[1];
            int32_t best = 0;
            for (int32_t v = 1; v < t->dim[1]; v++)
                best = row[v] > row[best] ? v : best;
            if (((const int32_t *)got.p)[n] != best)
                fail_msg("%s, %s: output %d, row %d is %d, should be %d", s->family->name, isa, output, (int)n, ((const int32_t *)got.p)[n],
                         best);
        }
    }
    hs_engine_free(e);
    s->eval.shape.logits = true;
}

typedef struct distance { // squared 2-norms
    double off, want;
} distance;

static distance gradient_distance(const subject *s, const hs_engine *e, const hs_param *p)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    OK(hs_name_pieces(s->family->files.name, s->family->files.n_names, p->name, p->parts, piece, &n));
    int64_t all = 1;
    for (int i = 0; i < p->n_dims; i++)
        all *= p->logical[i];
    float *got = malloc((size_t)all * sizeof *got);
    hs_params_export(e->params, e->params->grad, p, got);
    distance d = { 0 };
    for (int k = 0; k < n; k++) {
        char name[HS_NAME_BYTES + 8] = "grad.";
        strcpy(name + 5, piece[k].name);
        const hs_st_entry *t = stored(s, name);
        const int64_t size = all / n;
        assert_int_equal((int64_t)t->bytes, size * 4);
        for (int64_t i = 0; i < size; i++) {
            const double want = (double)((const float *)t->data)[i];
            d.off += pow((double)got[k * size + i] - want, 2), d.want += want * want;
        }
    }
    free(got);
    return d;
}

static void check_gradients(subject *s, const char *isa)
{
    hs_engine *e = engine_of(s, isa, true);
    const hs_params *ps = e->params;
    fill(s, e, HS_TRAIN, 0);
    OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    double all = 0;
    int pieces = 0, known = 0;
    for (int i = 0; i < ps->n_params; i++) {
        all += gradient_distance(s, e, ps->param[i]).want;
        pieces += ps->param[i]->parts;
    }
    for (int i = 0; i < hs_safetensors_count(s->golden); i++)
        known += strncmp(hs_safetensors_at(s->golden, i)->name, "grad.", 5) == 0;
    assert_int_equal(pieces, known); // no parameter of theirs is left out
    for (int i = 0; i < ps->n_params; i++) {
        const distance d = gradient_distance(s, e, ps->param[i]);
        const double bound = 1e-4 * sqrt(d.want) + 1e-7 * sqrt(all);
        if (!(sqrt(d.off) <= bound))
            fail_msg("%s, %s: gradient of %s is off by %g, allowed %g", s->family->name, isa, ps->param[i]->name, sqrt(d.off), bound);
    }
    hs_engine_free(e);
}

static void check_losses(subject *s, const char *isa)
{
    hs_engine *e = engine_of(s, isa, true);
    const hs_st_entry *t = stored(s, "losses");
    for (int step = 0; step < t->dim[0]; step++) {
        const double want = ((const double *)t->data)[step];
        fill(s, e, HS_TRAIN, step % (int)stored(s, "ids")->dim[0]);
        OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        OK(hs_run_update(e->run));
        if (!(fabs(loss_of(e, HS_TRAIN) - want) <= 1e-4))
            fail_msg("%s, %s: loss of step %d is %.7f, should be %.7f", s->family->name, isa, step, loss_of(e, HS_TRAIN), want);
    }
    hs_engine_free(e);
}

// fn for every encoder on every tier.
static void on_all(void (*fn)(subject *s, const char *isa))
{
    int n = 0;
    for (int i = 0; hs_families[i]; i++) {
        if (hs_families[i]->batch != HS_BATCH_MASKED)
            continue;
        subject s;
        subject_open(&s, hs_families[i]);
        for (int k = 0; k < HS_N_ISA; k++)
            if (hs_isa_supported((hs_isa)k) && hs_isa_built((hs_isa)k))
                fn(&s, hs_isa_name((hs_isa)k));
        hs_safetensors_close(s.golden);
        n++;
    }
    assert_true(n >= 6);
}
static void outputs(void **state) { (void)state, on_all(check_outputs); }
static void choices(void **state) { (void)state, on_all(check_choices); }
static void gradients(void **state) { (void)state, on_all(check_gradients); }
static void twenty_steps(void **state) { (void)state, on_all(check_losses); }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(outputs), cmocka_unit_test(choices), cmocka_unit_test(gradients),
                                        cmocka_unit_test(twenty_steps) };
    return cmocka_run_group_tests_name("encoders: PyTorch", tests, NULL, NULL);
}

// ELECTRA's pretraining against PyTorch (tests/golden/electra-pretraining, made by scripts/gen_golden_electra.py): both losses and the
// gradients of their sum, with a scripted draw in the place of the generator's; and what a draw of its own promises.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/cpu/device_cpu.h"
#include "core/cpu/rows.h"
#include "models/encoder/encoder.h"
#include "ops/ops.h"
#include "tests/support/support_golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { WEIGHT = 50 };

// ---- a device that draws what a file says
static int32_t script[16];

static void scripted(const hs_args *a, hs_lane *lane)
{
    hs_for_rows(p, a, &a->in[0], lane)
        ((int32_t *)a->out[0].p)[p] = script[p];
}

typedef struct rig {
    golden s;
    hs_device *own, *dev;
    const hs_kernels *table[HS_N_OPS];
    const hs_kernels *const *tables[8];
    const char *names[8];
    hs_engine *e;
} rig;

static void open_device(rig *r, const char *isa)
{
    static const hs_kernels draw = { .fwd = scripted, .fwd_part = HS_PART_ROWS };
    OK(hs_open_device(&r->own, "cpu", 2, isa, 0, HS_ONEDNN_NO));
    r->table[HS_ID_draw] = &draw;
    r->tables[0] = r->table, r->names[0] = "scripted";
    for (int i = 0; r->own->tables[i]; i++)
        r->tables[i + 1] = r->own->tables[i], r->names[i + 1] = r->own->table_names[i];
    OK(hs_device_open(
        &r->dev, hs_backend_cpu,
        &(hs_device_opts){
            .threads = 2, .isa = r->own->isa, .ops = hs_ops, .n_ops = HS_N_OPS, .tables = r->tables, .table_names = r->names }));
}

static void set(rig *r, const char *key, const char *value)
{
    OK(hs_schema_set(r->s.family->settings, r->s.info.settings.bytes, NULL, key, value, NULL));
}

static void open_model(rig *r, const char *folder)
{
    static const hs_arch_shape shape = { .max_tokens = 40, .max_seqs = 6, .max_picks = 8 };
    char path[64];
    snprintf(path, sizeof path, "electra-pretraining/%s", folder);
    golden_open(&r->s, &hs_electra_family, path, &shape);
    set(r, "model.generator", "24");
    set(r, "model.untied", strcmp(folder, "untied") == 0 ? "true" : "false");
    OK(hs_arch_check(r->s.train.arch));
    r->s.eval.shape.logits = false;
}

static void start(rig *r, hs_device *device)
{
    hs_optim_config optim;
    optim = hs_optim_preset(HS_PRESET_ELECTRA);
    OK(hs_engine_new(&r->e, &(hs_engine_opts){ .model = hs_arch_trace,
                                               .config = &r->s.train,
                                               .eval_config = &r->s.eval,
                                               .optim = &optim,
                                               .eval = true,
                                               .seed = 1,
                                               .device = device,
                                               .mode = HS_SUBMIT_BULK }));
    OK(hs_ckpt_load_params(r->s.dir, &(hs_ckpt_opts){ .files = &r->s.family->files }, r->e->params));
}

static void fill(rig *r, hs_mode mode)
{
    int64_t n, real = 0;
    const int32_t *picks = golden_row(&r->s, "picks", 0, &n), *targets = golden_row(&r->s, "targets", 0, &n);
    golden_put_texts(&r->s, r->e, mode, 0);
    golden_put(r->e, mode, "picks", picks, n);
    golden_put(r->e, mode, "pick_targets", targets, n);
    memcpy(script, golden_row(&r->s, "drawn", 0, &n), (size_t)n * sizeof *script);
    r->e->in->n[HS_COUNT_PICKS] = n;
    for (int64_t i = 0; i < n; i++)
        real += targets[i] >= 0;
    r->e->in->inv_count[HS_LOSS_TOKENS] = hs_inv_count(real);
    r->e->in->inv_count[HS_LOSS_REPLACED] = WEIGHT * hs_inv_count(r->e->in->n[HS_COUNT_TOKENS]);
}

static void check_loss(rig *r, hs_mode mode, hs_loss loss, const char *stored, double weight)
{
    const double want = weight * *(const double *)golden_stored(&r->s, stored)->data,
                 got = hs_run_losses(r->e->run, r->e->plan[mode])[loss];
    if (!(fabs(got - want) <= 1e-5 * want))
        fail_msg("%s, mode %d: %s is %.8f, should be %.8f", r->s.dir, mode, stored, got, want);
}

static void step(rig *r, hs_mode mode, const char *isa)
{
    fill(r, mode);
    OK(hs_engine_run(r->e, mode, HS_MICRO_FIRST | HS_MICRO_LAST));
    check_loss(r, mode, HS_LOSS_TOKENS, "mlm", 1);
    check_loss(r, mode, HS_LOSS_REPLACED, "replaced", WEIGHT);
    if (mode == HS_TRAIN)
        golden_check_gradients(&r->s, r->e, "grad.", true, isa);
}

static void on_tier(const char *folder, const char *isa)
{
    rig r = { 0 };
    open_model(&r, folder);
    open_device(&r, isa);
    start(&r, r.dev);
    assert_int_equal(r.s.family->count(r.s.train.arch.settings), hs_params_count(r.e->params));
    step(&r, HS_EVAL, isa);
    step(&r, HS_TRAIN, isa);
    hs_engine_free(r.e);
    hs_device_close(r.dev), hs_device_close(r.own);
    golden_close(&r.s);
}

static void both_losses(void **state)
{
    (void)state;
    for (int i = 0; i < HS_N_ISA; i++)
        if (hs_isa_supported((hs_isa)i) && hs_isa_built((hs_isa)i)) {
            on_tier("tied", hs_isa_name((hs_isa)i));
            on_tier("untied", hs_isa_name((hs_isa)i));
        }
}

// ---- a draw of its own: another each step, the same in every evaluation
static double judged(rig *r, hs_mode mode, uint64_t at)
{
    fill(r, mode);
    hs_run_begin(r->e->run, at);
    if (mode == HS_TRAIN)
        OK(hs_run_micro(r->e->run, r->e->plan[mode], true));
    else
        OK(hs_run_forward(r->e->run, r->e->plan[mode]));
    return hs_run_losses(r->e->run, r->e->plan[mode])[HS_LOSS_REPLACED];
}

static void draws(void **state)
{
    (void)state;
    rig r = { 0 };
    open_model(&r, "tied");
    OK(hs_open_device(&r.own, "cpu", 2, NULL, 0, HS_ONEDNN_NO));
    start(&r, r.own);
    const double eval = judged(&r, HS_EVAL, 1);
    assert_true(judged(&r, HS_EVAL, 2) == eval);
    const double one = judged(&r, HS_TRAIN, 1);
    assert_true(judged(&r, HS_TRAIN, 1) == one);
    bool other = false;
    for (uint64_t i = 2; i < 6; i++)
        other = other || judged(&r, HS_TRAIN, i) != one;
    assert_true(other);
    hs_engine_free(r.e);
    hs_device_close(r.own);
    golden_close(&r.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(both_losses), cmocka_unit_test(draws) };
    return cmocka_run_group_tests_name("ELECTRA: PyTorch", tests, NULL, NULL);
}

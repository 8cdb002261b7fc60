// Rates by layer, and parts that stand still, against PyTorch (tests/golden/encoders/*/layered.safetensors, made by
// scripts/gen_golden_layered.py): the losses of twenty steps of AdamW and LAMB, and how far each parameter went, on every tier this machine
// runs. BERT has a parameter for each layer, ALBERT shares one between two.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/checkpoint/checkpoint.h"
#include "models/family.h"
#include "ops/ops.h"
#include "recipes/train/engine.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

typedef struct subject {
    const char *name, *freeze;
    char dir[512];
    const hs_family *family;
    hs_model_info info;
    hs_safetensors *batches, *layered;
    hs_arch_setup setup;
    int layers, group; // group: layers that one parameter is for
} subject;
static const double decay = 0.6;

static const hs_st_entry *stored(const hs_safetensors *f, const char *name)
{
    const hs_st_entry *t = hs_safetensors_find(f, name);
    if (!t)
        fail_msg("%s is not there", name);
    return t;
}

static const int32_t *row_of(const subject *s, const char *name, int batch, int64_t *n)
{
    const hs_st_entry *t = stored(s->batches, name);
    *n = t->dim[1];
    return (const int32_t *)t->data + batch * *n;
}

static void subject_open(subject *s)
{
    char path[1024];
    for (int i = 0; hs_families[i]; i++)
        s->family = strcmp(hs_families[i]->name, s->name) == 0 ? hs_families[i] : s->family;
    const hs_model_files *const known[] = { &s->family->files };
    snprintf(s->dir, sizeof s->dir, HS_TESTS_DIR "/golden/encoders/%s", s->name);
    snprintf(path, sizeof path, "%s/golden.safetensors", s->dir);
    OK(hs_safetensors_open(&s->batches, path));
    snprintf(path, sizeof path, "%s/layered.safetensors", s->dir);
    OK(hs_safetensors_open(&s->layered, path));
    OK(hs_ckpt_read_info(s->dir, known, 1, &s->info));
    s->setup = (hs_arch_setup){ { s->family, s->info.settings.bytes }, { .max_tokens = 64, .max_seqs = 6, .max_picks = 24 } };
    s->layers = (int)hs_arch_int(s->setup.arch, "model.layers");
    const int64_t groups = hs_arch_int(s->setup.arch, "model.groups");
    s->group = groups ? s->layers / (int)groups : 1;
}

static void subject_close(subject *s)
{
    hs_safetensors_close(s->batches);
    hs_safetensors_close(s->layered);
}

static hs_optim_config optimizer(bool lamb)
{
    hs_optim_config c = hs_optim_preset(lamb ? HS_PRESET_LAMB : HS_PRESET_ADAMW);
    c.beta1 = 0.9, c.beta2 = 0.999, c.eps = 1e-6, c.weight_decay = 0.01, c.clip = 1, c.clip_eps = lamb ? 0 : 1e-6;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = lamb ? 4e-3 : 1e-3, .power = 1, .steps = 1000 };
    return c;
}

static int depth_of(const subject *s, const char *name)
{
    return strncmp(name, "embed.", 6) == 0 ? 0 : name[0] == 'l' && name[2] == '.' ? (name[1] - '0' + 1) * s->group : s->layers + 1;
}

static hs_engine *engine_of(const subject *s, bool lamb, const char *isa)
{
    const hs_optim_config optim = optimizer(lamb);
    hs_device *device;
    hs_engine *e;
    float rate[256];
    OK(hs_open_device(&device, "cpu", 2, isa, 0, HS_ONEDNN_NO));
    OK(hs_engine_new(&e, &(hs_engine_opts){ .model = hs_arch_trace,
                                            .config = &s->setup,
                                            .optim = &optim,
                                            .freeze = s->freeze,
                                            .seed = 1,
                                            .device = device,
                                            .mode = HS_SUBMIT_BULK }));
    e->owns_device = true;
    OK(hs_ckpt_load_params(s->dir, &(hs_ckpt_opts){ .files = &s->family->files }, e->params));
    for (int i = 0; i < e->params->n_params; i++)
        rate[i] = (float)hs_layer_rate(decay, s->layers, depth_of(s, e->params->param[i]->name));
    OK(hs_optim_set_rates(e->optim, rate));
    return e;
}

static void put(hs_engine *e, const char *name, const void *p, int64_t n)
{
    if (hs_run_input(e->run, e->plan[HS_TRAIN], name))
        OK(hs_run_write(e->run, e->plan[HS_TRAIN], name, p, (size_t)n * sizeof(int32_t)));
}

static int64_t counted(const int32_t *labels, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += labels[i] >= 0;
    return count;
}

static void fill(const subject *s, hs_engine *e, int batch)
{
    static const char *const inputs[][2] = {
        { "ids", "ids" }, { "token_types", "types" }, { "picks", "picks" }, { "pick_targets", "targets" }
    };
    const hs_st_entry *starts = stored(s->batches, "starts");
    const int64_t B = starts->dim[0] - 1;
    const int32_t *at = starts->data;
    int32_t where[128];
    int64_t n, N, P;
    row_of(s, "ids", batch, &N);
    row_of(s, "picks", batch, &P);
    for (int i = 0; i < HS_COUNT(inputs); i++) {
        const int32_t *row = row_of(s, inputs[i][1], batch, &n);
        put(e, inputs[i][0], row, n);
    }
    for (int64_t b = 0; b < B; b++)
        for (int32_t i = at[b]; i < at[b + 1]; i++)
            where[2 * i] = (int32_t)b, where[2 * i + 1] = i - at[b];
    put(e, "where", where, 2 * N);
    put(e, "starts", at, B + 1);
    const int32_t *pair = row_of(s, "pair", batch, &n);
    put(e, "pair_targets", pair, B);
    put(e, "order_targets", pair, B);
    hs_step_live(e->in, N, B, P);
    e->in->n_micro = 1;
    e->in->inv_count[HS_LOSS_TOKENS] = hs_inv_count(counted(row_of(s, "targets", batch, &n), P));
    e->in->inv_count[HS_LOSS_NEXT] = e->in->inv_count[HS_LOSS_ORDER] = hs_inv_count(counted(pair, B));
}

static double distance(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += pow((double)a[i] - (double)b[i], 2);
    return sqrt(sum);
}

// What was frozen has not moved by a bit; the rest as far as PyTorch's, tensor by tensor.
static void check_moved(const subject *s, const hs_engine *e, const hs_params *begun, const char *which, const char *isa)
{
    for (int i = 0; i < e->params->n_params; i++) {
        const hs_param *p = e->params->param[i];
        hs_name_piece piece[HS_NAME_PIECES];
        int pieces;
        int64_t all = 1;
        OK(hs_name_pieces(s->family->files.name, s->family->files.n_names, p->name, p->parts, piece, &pieces));
        for (int d = 0; d < p->n_dims; d++)
            all *= p->logical[d];
        float *now = malloc((size_t)all * sizeof *now), *then = malloc((size_t)all * sizeof *then);
        hs_params_export(e->params, e->params->master, p, now);
        hs_params_export(begun, begun->master, begun->param[i], then);
        for (int k = 0; k < pieces; k++) {
            char name[HS_NAME_BYTES + 8];
            snprintf(name, sizeof name, "%s.%.*s", which, HS_NAME_BYTES - 1, piece[k].name);
            const int64_t n = all / pieces;
            const double got = distance(now + k * n, then + k * n, n), want = *(const double *)stored(s->layered, name)->data;
            assert_int_equal(p->frozen, want == 0);
            if (strstr(name, "key.bias")) // softmax sees none of it: its gradient is what rounding leaves, and Adam makes steps of that
                continue;
            if (!(fabs(got - want) <= 1e-3 * want))
                fail_msg("%s, %s, %s: %s moved by %g, should have by %g", s->name, which, isa, piece[k].name, got, want);
        }
        free(now), free(then);
    }
}

static void check(const subject *s, bool lamb, const char *isa)
{
    const char *which = lamb ? "lamb" : "adamw";
    char name[32];
    snprintf(name, sizeof name, "%s.losses", which);
    const hs_st_entry *t = stored(s->layered, name);
    hs_engine *e = engine_of(s, lamb, isa), *begun = engine_of(s, lamb, isa);
    for (int step = 0; step < t->dim[0]; step++) {
        const double want = ((const double *)t->data)[step];
        fill(s, e, step % (int)stored(s->batches, "ids")->dim[0]);
        OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        OK(hs_run_update(e->run));
        const double *l = hs_run_losses(e->run, e->plan[HS_TRAIN]), got = l[HS_LOSS_TOKENS] + l[HS_LOSS_NEXT] + l[HS_LOSS_ORDER];
        if (!(fabs(got - want) <= 1e-4))
            fail_msg("%s, %s, %s: loss of step %d is %.7f, should be %.7f", s->name, which, isa, step, got, want);
    }
    check_moved(s, e, begun->params, which, isa);
    hs_engine_free(e);
    hs_engine_free(begun);
}

static void on_tiers(subject *s)
{
    subject_open(s);
    for (int k = 0; k < HS_N_ISA; k++)
        if (hs_isa_supported((hs_isa)k) && hs_isa_built((hs_isa)k))
            check(s, false, hs_isa_name((hs_isa)k)), check(s, true, hs_isa_name((hs_isa)k));
    subject_close(s);
}

static void bert(void **state)
{
    (void)state;
    on_tiers(&(subject){ .name = "bert", .freeze = "embed.position,l1.attn.norm" });
}
static void albert(void **state)
{
    (void)state;
    on_tiers(&(subject){ .name = "albert", .freeze = "embed.position,l?.ff.norm" });
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(bert), cmocka_unit_test(albert) };
    return cmocka_run_group_tests_name("rates by layer: PyTorch", tests, NULL, NULL);
}

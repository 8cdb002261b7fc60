// Checkpoints by many ranks, of every family of encoders - stacked parts under names of their own, padded vocabularies, two networks - and
// of adapters: the tensors' files are those of one process, and every layout reads them back.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "core/graph/adapter.h"
#include "data/checkpoint/ckpt_parts.h"
#include "data/checkpoint/peft.h"
#include "models/encoder/encoder.h"
#include "models/gpt/gpt.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_encoder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(what)                                                                                                                       \
    do {                                                                                                                                   \
        if (!(what))                                                                                                                       \
            return HS_FAIL(CORRUPT, "%s", #what);                                                                                          \
    } while (0)

static const hs_adapter_spec pairs = {
    .rank = 5, .alpha = 7.5, .name = "adapter.targets", .targets = "q,attn.qkv.v,attn.out,ff.up|mlp.up,ff.d*n"
};
static const hs_adapter_spec gpt_pairs = {
    .rank = 5, .alpha = 7.5, .name = "adapter.targets", .targets = "attn.proj,mlp.up,h?.mlp.down", .whole = true
};

typedef struct job {
    const hs_family *family;
    hs_task task;
    const hs_adapter_spec *adapter;
    int64_t generator;
    const char *policy; // NULL: fp32
    hs_divide divide;
    char dir[600], base[600]; // base: of an adapter
    bool save;
} job;

// Every element of a slab by its place in the logical tensor; finite.
static void fill(hs_params *ps, hs_slab *s, uint64_t key)
{
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const int64_t n = hs_param_part_rows(p) * p->parts * hs_param_cols(p);
        float *x = malloc((size_t)n * sizeof *x);
        size_t first, here;
        hs_params_range(ps, s, p, &first, &here);
        if (!x || here == 0) {
            free(x);
            continue;
        }
        hs_random_normal(x, n, key + hs_hash_string(p->name), 0, 0, 1);
        if ((s->spec.per_tensor ? hs_params_write(ps, s, p, x) : hs_params_import(ps, s, p, x)) != HS_OK)
            abort();
        free(x);
    }
}

static void fill_all(hs_params *ps, uint64_t key)
{
    for (int s = 0; s < ps->n_slabs; s++)
        if (ps->slab[s]->spec.saved || ps->slab[s] == ps->master)
            fill(ps, ps->slab[s], key + (uint64_t)s);
    for (int i = 0; i < ps->n_params && ps->adapter; i++) // its base is that of the folder, and is not saved
        if (!hs_peft_keeps(ps->param[i]) && hs_params_blank(ps, ps->master, ps->param[i]) != HS_OK)
            abort();
    hs_params_refresh_low(ps);
}

static bool same_slabs(const hs_params *a, const hs_params *b)
{
    bool same = true;
    for (int s = 0; s < a->n_slabs; s++)
        for (int i = 0; i < a->n_params; i++) {
            const size_t n = a->slab[s]->place[i].bytes;
            const bool values = a->slab[s] == a->master || a->slab[s] == a->low;
            if ((!a->slab[s]->spec.saved && !values) || n == 0 || (values && a->adapter && !hs_peft_keeps(a->param[i])))
                continue;
            char *x = malloc(n), *y = malloc(n);
            hs_params_read(a, a->slab[s], a->param[i], x);
            hs_params_read(b, b->slab[s], b->param[i], y);
            same = same && memcmp(x, y, n) == 0;
            free(x), free(y);
        }
    return same;
}

static hs_status engine_of(hs_engine **e, tiny_encoder *t, const job *j, const hs_grid *grid)
{
    hs_optim_config c = hs_optim_preset(HS_PRESET_ADAMW);
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-2, .power = 1, .steps = 1000 };
    const encoder_opts o = { .optim = &c,
                             .grid = grid,
                             .task = j->task,
                             .adapter = j->adapter,
                             .generator = j->generator,
                             .policy = j->policy,
                             .divide = j->divide };
    return encoder_engine(e, t, j->family, &o);
}

// What is known before: bytes that this rank copies.
static hs_status count(const hs_params *ps, const hs_ckpt_opts *o)
{
    hs_snapshots all;
    size_t bytes = 0;
    hs_status st = hs_snapshots_list(&all, ps);
    if (st == HS_OK)
        st = hs_snapshots_make(&all, ps, o);
    for (int i = 0; i < all.n; i++)
        bytes += all.s[i].bytes;
    hs_snapshots_free(&all, ps);
    HS_TRY(st);
    EXPECT(bytes == hs_ckpt_bytes_on(ps, o->grid));
    return HS_OK;
}

static hs_status save(const job *j, const hs_grid *grid, hs_engine *e, const hs_model_info *info)
{
    const hs_ckpt_opts o = {
        .dir = j->dir, .files = &j->family->files, .base = j->base, .grid = grid, .world = ranks_world(grid), .comm = ranks_files(grid)
    };
    const hs_train_state t = ckpt_state(7);
    hs_ckpt *c;
    HS_TRY(count(e->params, &o));
    HS_TRY(hs_ckpt_new(&c, &o, e->params));
    hs_status st = hs_ckpt_save(c, e->params, &t, info, NULL, "", false);
    if (st == HS_OK)
        st = hs_ckpt_wait(c);
    hs_ckpt_free(c);
    return st;
}

static hs_status load(const job *j, const hs_grid *grid, hs_engine *e, const hs_params *like)
{
    const hs_ckpt_opts o = { .files = &j->family->files };
    const hs_train_state want = ckpt_state(7);
    char found[1024];
    hs_train_state t;
    fill_all(e->params, 99);
    HS_TRY(hs_ckpt_resolve_on(ranks_world(grid), j->dir, HS_CKPT_TRAIN, found, sizeof found));
    HS_TRY(hs_ckpt_load_params(found, &o, e->params));
    HS_TRY(hs_ckpt_load_train(found, e->params, &t));
    EXPECT(ckpt_state_equal(&t, &want));
    EXPECT(same_slabs(e->params, like));
    return HS_OK;
}

static hs_status work(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    tiny_encoder t, again;
    hs_engine *e, *other;
    (void)rank;
    HS_TRY(engine_of(&e, &t, j, grid));
    const hs_model_info info = { .files = &j->family->files, .settings = t.settings };
    fill_all(e->params, 3);
    hs_status st = j->save ? save(j, grid, e, &info) : HS_OK;
    if (st == HS_OK)
        st = engine_of(&other, &again, j, grid);
    if (st == HS_OK) {
        st = load(j, grid, other, e->params);
        hs_engine_free(other);
    }
    hs_engine_free(e);
    return st;
}

static void run(job *j, int dp, int tp, bool save, const char *dir)
{
    j->save = save;
    snprintf(j->dir, sizeof j->dir, "%s", dir);
    if (ranks_run_grid(dp, tp, work, j, NULL) != HS_OK)
        fail_msg("%s, task %d, %s by %d x %d: %s", j->family->name, j->task, save ? "saved" : "read", dp, tp, hs_error());
}

static void same_file(const job *j, const char *a, const char *b, const char *name)
{
    char path[64];
    size_t n[2];
    snprintf(path, sizeof path, "%s/step-00000007/%s", a, name);
    char *x = scratch_read(path, &n[0]);
    snprintf(path, sizeof path, "%s/step-00000007/%s", b, name);
    char *y = scratch_read(path, &n[1]);
    if (n[0] != n[1] || memcmp(x, y, n[0]) != 0)
        fail_msg("%s, task %d: %s is not that of one process", j->family->name, j->task, name);
    free(x), free(y);
}

static void check(job j)
{
    static const struct {
        int dp, tp;
        hs_divide divide;
    } by[] = { { 1, 2, HS_DIVIDE_NONE }, { 2, 2, HS_DIVIDE_STATES },    { 2, 2, HS_DIVIDE_NONE },
               { 1, 4, HS_DIVIDE_NONE }, { 4, 1, HS_DIVIDE_GRADIENTS }, { 2, 4, HS_DIVIDE_GRADIENTS } };
    static int n;
    char one[32], many[32], second[96];
    snprintf(one, sizeof one, "one-%d", n);
    run(&j, 1, 1, true, scratch_path(one));
    for (int i = 0; i < HS_COUNT(by); i++) {
        snprintf(many, sizeof many, "many-%d-%d", n, i);
        j.divide = by[i].divide;
        run(&j, by[i].dp, by[i].tp, false, scratch_path(one));
        run(&j, by[i].dp, by[i].tp, true, scratch_path(many));
        same_file(&j, one, many, j.adapter ? HS_PEFT_WEIGHTS : "model.safetensors");
        same_file(&j, one, many, "train/optimizer.safetensors");
        same_file(&j, one, many, "config.json");
        if (j.adapter)
            same_file(&j, one, many, HS_PEFT_CONFIG);
        if (j.generator > 0) {
            snprintf(second, sizeof second, "%s/model.safetensors", j.family->files.second.folder);
            same_file(&j, one, many, second);
        }
    }
    n++;
}

static void every_family(void **state)
{
    (void)state;
    int checked = 0;
    for (int f = 0; hs_families[f]; f++)
        if (hs_families[f]->batch == HS_BATCH_MASKED) {
            check((job){ .family = hs_families[f] });
            checked++;
        }
    assert_true(checked >= 7);
    check((job){ .family = &hs_electra_family, .generator = 32 });
    check((job){ .family = &hs_electra_family, .generator = 32, .policy = "bf16" });
    check((job){ .family = &hs_bert_family, .policy = "bf16" });
    check((job){ .family = &hs_albert_family, .policy = "fp16" });
    check((job){ .family = &hs_gpt_family, .task = HS_TASK_SEQUENCE });
    check((job){ .family = &hs_bert_family, .task = HS_TASK_TOKENS });
}

static hs_status export_base(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    job whole = *j;
    tiny_encoder t;
    hs_engine *e;
    (void)rank;
    whole.adapter = NULL;
    HS_TRY(engine_of(&e, &t, &whole, grid));
    const hs_model_info info = { .files = &j->family->files, .settings = t.settings };
    const hs_status st = hs_ckpt_export(j->base, &(hs_ckpt_opts){ .files = &j->family->files }, e->params, &info, NULL);
    hs_engine_free(e);
    return st;
}

static void adapters(void **state)
{
    (void)state;
    job j[] = { { .family = &hs_bert_family, .adapter = &pairs },
                { .family = &hs_bert_family, .adapter = &pairs, .policy = "bf16" },
                { .family = &hs_gpt_family, .task = HS_TASK_SEQUENCE, .adapter = &gpt_pairs } };
    for (int i = 0; i < HS_COUNT(j); i++) {
        char name[32];
        snprintf(name, sizeof name, "base-%d", i);
        snprintf(j[i].base, sizeof j[i].base, "%s", scratch_path(name));
        OK(ranks_run(1, export_base, &j[i], NULL));
        check(j[i]);
    }
}

static void an_export_is_one_process(void **state)
{
    (void)state;
    job j = { .family = &hs_bert_family };
    snprintf(j.base, sizeof j.base, "%s", scratch_path("exported"));
    FAILS(UNSUPPORTED, "one of 2 tensor-parallel ranks has not all of the model", ranks_run(2, export_base, &j, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_family), cmocka_unit_test(adapters),
                                        cmocka_unit_test(an_export_is_one_process) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

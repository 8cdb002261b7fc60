// prune: masks against every choice there is; models whose channels change places compute the same; heads and columns left out are the same
// as if they were multiplied by zeros.

#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "infer/prune/narrowed.h"
#include "infer/prune/permute.h"
#include "infer/prune/prune.h"
#include "models/encoder/encoder.h"
#include "tests/support/support_golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- two in every four, by going through all ways to choose: those of larger sum |w|, the first of equal ones

static void by_force(float *w)
{
    double best = -1;
    int which = 0;
    for (int way = 15; way >= 0; way--) { // 8 is the first column, 1 the last
        double sum = 0;
        int n = 0;
        for (int j = 0; j < 4; j++)
            if (way >> (3 - j) & 1)
                sum += fabs((double)w[j]), n++;
        if (n == 2 && sum > best)
            best = sum, which = way;
    }
    for (int j = 0; j < 4; j++)
        w[j] = which >> (3 - j) & 1 ? w[j] : 0;
}

static void holds(const float *w, int64_t rows, int64_t cols)
{
    float have[4096], want[4096];
    double magnitude = 0, kept = 0, all = 0, stay = 0;
    memcpy(have, w, (size_t)(rows * cols) * sizeof *w);
    memcpy(want, w, (size_t)(rows * cols) * sizeof *w);
    hs_prune_2of4(have, rows, cols, &magnitude, &kept);
    for (int64_t i = 0; i < rows * cols; i += 4)
        by_force(want + i);
    assert_memory_equal(have, want, (size_t)(rows * cols) * sizeof *w);
    for (int64_t i = 0; i < rows * cols; i++)
        all += fabs((double)w[i]), stay += fabs((double)want[i]);
    assert_true(magnitude == all && fabs(kept - stay) <= 1e-12 * all);
}

static void test_masks(void **state)
{
    (void)state;
    static const float known[][4] = { { 1, 2, 3, 4 },          { 4, 3, 2, 1 },   { 1, 1, 1, 1 },
                                      { 0, 0, 0, 0 },          { -5, 1, 4, -4 }, { 0, 0, 0, 1 },
                                      { 2, 1, 2, 1 },          { 1, 2, 1, 2 },   { 3e38f, -3e38f, 3e38f, 0 },
                                      { 1e-45f, 0, 0, 1e-45f } };
    static const float stay[][4] = { { 0, 0, 3, 4 }, { 4, 3, 0, 0 }, { 1, 1, 0, 0 }, { 0, 0, 0, 0 },          { -5, 0, 4, 0 },
                                     { 0, 0, 0, 1 }, { 2, 0, 2, 0 }, { 0, 2, 0, 2 }, { 3e38f, -3e38f, 0, 0 }, { 1e-45f, 0, 0, 1e-45f } };
    double all = 0, kept = 0;
    for (int i = 0; i < HS_COUNT(known); i++) {
        float w[4];
        holds(known[i], 1, 4);
        memcpy(w, known[i], sizeof w);
        hs_prune_2of4(w, 1, 4, &all, &kept);
        for (int j = 0; j < 4; j++)
            assert_true(w[j] == stay[i][j]);
    }
    float w[4096];
    for (int round = 0; round < 50; round++) { // ties too: few values, every other round
        for (int i = 0; i < 4096; i++) {
            const hs_u32x4 r = hs_random((uint64_t)round, (uint32_t)i, 0, 0, 0);
            w[i] = round % 2 ? (float)(int)(r.v[0] % 5) - 2 : (float)(int32_t)r.v[0] * 0x1p-31f;
        }
        holds(w, 64, 64);
    }
}

// ---- models

static const struct {
    const hs_family *family;
    const char *folder;
    int pairs; // of layers between which channels may change places
} models[] = {
    { &hs_bert_family, "encoders/bert", 4 },
    { &hs_roberta_family, "encoders/roberta", 4 },
    { &hs_distilbert_family, "encoders/distilbert", 4 },
    { &hs_albert_family, "encoders/albert", 4 },
    { &hs_electra_family, "encoders/electra", 4 },
    { &hs_ernie_family, "encoders/ernie", 4 },
    { &hs_roberta_prelayer_family, "encoders/roberta-prelayernorm", 4 },
};
static const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 6, .max_picks = 24 };

typedef struct opened {
    hs_export_model m;
    hs_graph *g;
} opened;

static void open_model(opened *o, const char *dir)
{
    const hs_arch_shape small = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    OK(hs_export_model_open(&o->m, dir, 0, hs_families));
    OK(hs_export_model_trace(&o->m, HS_EVAL, &small, &o->g));
    OK(hs_export_model_load(&o->m));
}

static void close_model(opened *o)
{
    hs_graph_free(o->g);
    hs_export_model_close(&o->m);
}

static void save(const opened *o, const char *dir)
{
    const hs_export_opts e = { .dtype = HS_F32, .overwrite = true };
    OK(hs_ckpt_export_as(dir, &e, &(hs_ckpt_opts){ .files = o->m.info.files }, o->m.params, &o->m.info, NULL));
}

static float *values_of(const hs_params *ps, const char *name, int64_t *rows, int64_t *cols)
{
    const hs_param *p = hs_params_find(ps, name);
    assert_non_null(p);
    *cols = p->n_dims > 1 ? hs_param_cols(p) : 1, *rows = hs_param_elements(p) / *cols;
    float *w = malloc((size_t)(*rows * *cols) * sizeof *w);
    hs_params_export(ps, ps->master, p, w);
    return w;
}

// Hidden states of the golden's first batch by the model in dir.
static float *hidden(golden *s, const char *dir, int64_t *n)
{
    const hs_model_files *const known[] = { &s->family->files };
    golden at = *s;
    hs_ref got;
    snprintf(at.dir, sizeof at.dir, "%s", dir);
    OK(hs_ckpt_read_info(dir, known, 1, &at.info));
    at.train.arch.settings = at.eval.arch.settings = at.info.settings.bytes;
    at.eval.shape.hidden = true;
    hs_engine *e = golden_engine(&at, NULL, NULL);
    golden_put_texts(&at, e, HS_EVAL, 0);
    OK(hs_engine_run(e, HS_EVAL, 0));
    assert_non_null(hs_run_output(e->run, e->plan[HS_EVAL], 0, &got));
    const hs_st_entry *t = golden_stored(s, "hidden");
    *n = t->dim[0] * t->dim[1];
    float *h = malloc((size_t)*n * sizeof *h);
    for (int64_t i = 0; i < t->dim[0]; i++)
        memcpy(h + i * t->dim[1], (const float *)got.p + i * got.cols, (size_t)t->dim[1] * sizeof *h);
    hs_engine_free(e);
    hs_model_info_free(&at.info);
    return h;
}

static void near_enough(const char *what, const float *a, const float *b, int64_t n)
{
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)b[i])), worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    if (!(worst <= 1e-5 * largest))
        fail_msg("%s: off by %g, allowed %g", what, worst, 1e-5 * largest);
}

// ---- channels in another order: what PyTorch made of the model before, and more stays

static double kept_of(const hs_params *ps)
{
    double magnitude = 0, kept = 0;
    int64_t rows, cols;
    for (int i = 0; i < ps->n_params; i++) {
        if (!strstr(ps->param[i]->name, "attn.out.weight") && !strstr(ps->param[i]->name, "ff.down.weight"))
            continue;
        float *w = values_of(ps, ps->param[i]->name, &rows, &cols);
        hs_prune_2of4(w, rows, cols, &magnitude, &kept);
        free(w);
    }
    return kept / magnitude;
}

static void test_permuted(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(models); i++) {
        opened o;
        golden s;
        int n;
        int64_t count;
        golden_open(&s, models[i].family, models[i].folder, &shape);
        open_model(&o, s.dir);
        bool *all = malloc((size_t)o.m.params->n_params);
        memset(all, 1, (size_t)o.m.params->n_params);
        const double before = kept_of(o.m.params);
        OK(hs_prune_permute(&o.m, o.g, all, &n));
        assert_int_equal(n, models[i].pairs);
        if (!(kept_of(o.m.params) > before + 0.005))
            fail_msg("%s: %g of the magnitude stay, %g before", models[i].folder, kept_of(o.m.params), before);
        const char *dir = scratch_path(models[i].family->name);
        save(&o, dir);
        float *h = hidden(&s, dir, &count);
        near_enough(models[i].folder, h, (const float *)golden_stored(&s, "hidden")->data, count);
        free(h), free(all);
        close_model(&o);
        golden_close(&s);
    }
}

// What is found is an order, within blocks, and no worse than the one there was.
static void test_order(void **state)
{
    (void)state;
    enum { ROWS = 24, COLS = 64 };
    float w[ROWS * COLS], moved[ROWS * COLS];
    int64_t to[COLS];
    for (int block = 16; block <= COLS; block *= 4) {
        double magnitude = 0, before = 0, after = 0;
        bool seen[COLS] = { false };
        for (int i = 0; i < ROWS * COLS; i++)
            w[i] = i % COLS % 4 < 3 ? 1 + (float)(i % 7) : 0.01f; // large ones meet
        OK(hs_permute_columns(w, ROWS, COLS, block, to));
        for (int j = 0; j < COLS; j++) {
            assert_true(to[j] / block == j / block && !seen[to[j]]);
            seen[to[j]] = true;
            for (int r = 0; r < ROWS; r++)
                moved[r * COLS + j] = w[r * COLS + to[j]];
        }
        hs_prune_2of4(w, ROWS, COLS, &magnitude, &before);
        hs_prune_2of4(moved, ROWS, COLS, &magnitude, &after);
        assert_true(after >= before);
    }
}

// ---- heads and columns left out: the same as if their outputs were multiplied by zeros

typedef struct layer_cut {
    const char *from, *bias, *to;
    int64_t units, wide, stay;
    int parts;
} layer_cut;

static void zero_least(hs_params *ps, const char *scope, const layer_cut *c)
{
    char name[64];
    int64_t rows, cols, n = c->units * c->wide;
    double worth[64] = { 0 };
    snprintf(name, sizeof name, "%s.%s", scope, c->from);
    float *w = values_of(ps, name, &rows, &cols);
    assert_int_equal(rows, c->parts * n);
    for (int64_t i = 0; i < rows * cols; i++)
        worth[i / cols % n / c->wide] += fabs((double)w[i]);
    free(w);
    snprintf(name, sizeof name, "%s.%s", scope, c->bias);
    w = values_of(ps, name, &rows, &cols);
    for (int64_t i = 0; i < rows; i++)
        worth[i % n / c->wide] += fabs((double)w[i]);
    free(w);
    snprintf(name, sizeof name, "%s.%s", scope, c->to);
    w = values_of(ps, name, &rows, &cols);
    for (int64_t i = 0; i < rows * cols; i++)
        worth[i % n / c->wide] += fabs((double)w[i]);
    for (int64_t out = c->stay; out < c->units; out++) {
        int64_t least = -1;
        for (int64_t u = 0; u < c->units; u++)
            least = worth[u] >= 0 && (least < 0 || worth[u] < worth[least]) ? u : least;
        worth[least] = -1;
        for (int64_t i = 0; i < rows * cols; i++)
            w[i] = i % n / c->wide == least ? 0 : w[i];
    }
    OK(hs_params_import(ps, ps->master, hs_params_find(ps, name), w));
    free(w);
}

static void test_narrow(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(models); i++) {
        const layer_cut cuts[] = { { "attn.qkv.weight", "attn.qkv.bias", "attn.out.weight", 2, 16, 1, 3 },
                                   { "ff.up.weight", "ff.up.bias", "ff.down.weight", 48, 1, 24, 1 } };
        opened zeros, narrow;
        golden s;
        hs_narrowed said;
        int64_t n;
        char whole[512], half[512];
        golden_open(&s, models[i].family, models[i].folder, &shape);
        snprintf(whole, sizeof whole, "%s", scratch_path("zeros")), snprintf(half, sizeof half, "%s", scratch_path("half"));
        open_model(&zeros, s.dir);
        for (int l = 0; l < models[i].pairs / 2; l++)
            for (int c = 0; c < 2; c++) {
                char scope[16];
                snprintf(scope, sizeof scope, "l%d", l);
                zero_least(zeros.m.params, scope, &cuts[c]);
            }
        save(&zeros, whole);
        close_model(&zeros);
        open_model(&narrow, s.dir);
        OK(hs_narrow(&narrow.m, narrow.g, &(hs_narrow_opts){ .heads = 0.5, .ff = 0.5 }, &said));
        assert_int_equal(said.heads, 1);
        assert_int_equal(said.heads_before, 2);
        assert_int_equal(said.ff, 24);
        assert_int_equal(said.ff_before, 48);
        assert_true(said.parameters < said.parameters_before);
        assert_int_equal(said.parameters, narrow.m.arch.family->count(narrow.m.arch.settings));
        save(&narrow, half);
        close_model(&narrow);
        float *want = hidden(&s, whole, &n), *have = hidden(&s, half, &n);
        near_enough(models[i].folder, have, want, n);
        free(want), free(have);
        open_model(&narrow, half); // once more, of what was made
        assert_int_equal(hs_arch_int(narrow.m.arch, "model.heads"), 1);
        assert_int_equal(hs_arch_int(narrow.m.arch, "model.head_width"), 16);
        FAILS(USAGE, "nothing is left out by these shares", hs_narrow(&narrow.m, narrow.g, &(hs_narrow_opts){ .heads = 0.5 }, &said));
        close_model(&narrow);
        golden_close(&s);
    }
}

static void test_narrow_refused(void **state)
{
    (void)state;
    opened o;
    hs_narrowed said;
    open_model(&o, HS_TESTS_DIR "/golden/gpt2-lm");
    FAILS(UNSUPPORTED, "a GPT of fewer heads", hs_narrow(&o.m, o.g, &(hs_narrow_opts){ .heads = 0.5 }, &said));
    close_model(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks),  cmocka_unit_test(test_permuted),       cmocka_unit_test(test_order),
        cmocka_unit_test(test_narrow), cmocka_unit_test(test_narrow_refused),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

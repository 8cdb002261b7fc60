// family: what every row of the table promises - settings that check, parameters that are counted, named once and by rules, config.json
// that reads back.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/comm.h"
#include "models/family.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_encoder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { VOCAB = 61 };

static hs_arch arch_with(const hs_family *f, hs_settings *settings, hs_task task, bool crf)
{
    OK(hs_arch_defaults(f, settings));
    OK(hs_arch_set(f, settings, "model.vocab", VOCAB));
    if (task)
        OK(wear_task(f, settings, task, crf));
    const hs_arch a = { f, settings->bytes };
    OK(hs_arch_check(a));
    return a;
}

static hs_arch arch_of(const hs_family *f, hs_settings *settings) { return arch_with(f, settings, HS_TASK_NONE, false); }

// Every family as it is by default, and with each task.
static void each_arch(void (*fn)(hs_arch a, hs_settings *settings))
{
    for (int i = 0; hs_families[i]; i++)
        for (int task = HS_TASK_NONE; task < HS_TASKS; task++)
            for (int crf = 0; crf <= (task == HS_TASK_TOKENS); crf++) {
                hs_settings settings;
                fn(arch_with(hs_families[i], &settings, (hs_task)task, crf), &settings);
            }
}

static hs_status trace(hs_arch a, hs_params *ps, hs_states *states, hs_mode mode, bool hidden)
{
    const hs_grid grid = hs_grid_self();
    const hs_arch_setup setup = { a, { .max_tokens = 16, .max_seqs = 2, .max_picks = 8, .cache_rows = 32, .hidden = hidden } };
    hs_graph *g;
    OK(hs_graph_new(&g, ps, states, mode, &grid));
    hs_arch_trace(g, &setup);
    const hs_status st = hs_graph_status(g);
    hs_graph_free(g);
    return st;
}

static hs_params *params_of(hs_arch a)
{
    hs_params *ps;
    hs_states *states = hs_states_new();
    OK(hs_params_new(&ps, 1, 0, 1));
    assert_non_null(states);
    const bool masked = a.family->batch == HS_BATCH_MASKED;
    for (int mode = HS_TRAIN; mode <= HS_DECODE; mode++) {
        const int before = ps->n_params;
        if (mode == HS_DECODE && masked) {
            assert_int_equal(trace(a, ps, states, HS_DECODE, false), HS_USAGE);
            assert_non_null(strstr(hs_error(), "an encoder"));
            OK(trace(a, ps, states, HS_EVAL, true));
        } else if (mode == HS_DECODE && hs_arch_task(a)) {
            assert_int_equal(trace(a, ps, states, HS_DECODE, false), HS_USAGE);
            assert_non_null(strstr(hs_error(), "labels texts, and writes none"));
            OK(trace(a, ps, states, HS_EVAL, true));
        } else {
            OK(trace(a, ps, states, (hs_mode)mode, false));
        }
        assert_true(mode == HS_TRAIN || ps->n_params == before); // all modes are one model
    }
    hs_states_free(states);
    OK(hs_params_alloc(ps, NULL, true));
    return ps;
}

static void count_of(hs_arch a, hs_settings *settings)
{
    (void)settings;
    hs_params *ps = params_of(a);
    assert_int_equal(a.family->count(a.settings), (int64_t)hs_params_count(ps));
    assert_true(a.family->flops_per_token(a.settings, 64) > a.family->flops_per_token(a.settings, 0));
    assert_true(a.family->head_flops(a.settings) > 0 && 3 * a.family->head_flops(a.settings) < a.family->flops_per_token(a.settings, 0));
    hs_params_free(ps);
}
static void counts_its_parameters(void **state) { (void)state, each_arch(count_of); }

// Rates by layer: embeddings, each layer, what stands behind; a layer that others share is as deep as the last of them.
static void knows_how_deep(void **state)
{
    (void)state;
    for (int i = 0; hs_families[i]; i++) {
        hs_settings settings;
        const hs_arch a = arch_of(hs_families[i], &settings);
        hs_params *ps = params_of(a);
        const int layers = (int)hs_arch_int(a, "model.layers"), groups = (int)hs_arch_int(a, "model.groups");
        int *at = calloc((size_t)layers + 2, sizeof *at);
        for (int k = 0; k < ps->n_params; k++) {
            const hs_param *p = ps->param[k];
            const int depth = a.family->depth(a.settings, p->name);
            assert_in_range(depth, 0, layers + 1);
            assert_int_equal(depth == 0, p->role == HS_EMBED || strncmp(p->name, "embed.", 6) == 0);
            at[depth]++;
        }
        for (int d = 0; d <= layers + 1; d++)
            assert_int_equal(at[d] > 0, d == 0 || d > layers || !groups || d % (layers / groups) == 0);
        free(at);
        hs_params_free(ps);
    }
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void names_of(hs_arch a, hs_settings *settings)
{
    (void)settings;
    const hs_model_files *f = &a.family->files;
    hs_params *ps = params_of(a);
    char *name[1024];
    int n = 0;
    for (int k = 0; k < ps->n_params; k++) {
        hs_name_piece piece[HS_NAME_PIECES];
        char theirs[HS_NAME_BYTES];
        int pieces;
        assert_non_null(hs_name_to_theirs(f->name, f->n_names, ps->param[k]->name, theirs, sizeof theirs, NULL));
        OK(hs_name_pieces(f->name, f->n_names, ps->param[k]->name, ps->param[k]->parts, piece, &pieces));
        for (int p = 0; p < pieces; p++)
            name[n++] = strdup(piece[p].name);
    }
    qsort(name, (size_t)n, sizeof *name, by_name);
    for (int k = 1; k < n; k++)
        assert_string_not_equal(name[k], name[k - 1]);
    for (int k = 0; k < n; k++)
        free(name[k]);
    hs_params_free(ps);
}
static void names_every_parameter_once(void **state) { (void)state, each_arch(names_of); }

static bool same_values(const hs_params *a, const hs_params *b, int k)
{
    size_t n = 1;
    for (int i = 0; i < a->param[k]->n_dims; i++)
        n *= (size_t)a->param[k]->logical[i];
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    hs_param_export(a->param[k], hs_slab_at(a->master, a->param[k]), x);
    hs_param_export(b->param[k], hs_slab_at(b->master, b->param[k]), y);
    const bool same = memcmp(x, y, n * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}

static int folders; // that were written
static char work[CKPT_PATH];

static void read_back(hs_arch a, hs_settings *settings)
{
    char path[2 * CKPT_PATH];
    const hs_model_files *const known[] = { &a.family->files };
    const hs_ckpt_opts o = { .files = known[0] };
    hs_model_info info = { .files = known[0], .settings = *settings }, back;
    hs_params *ps = params_of(a), *again = params_of(a);
    snprintf(path, sizeof path, "%s/m%d", work, folders++);
    const int named = (int)hs_arch_int(a, "model.labels");
    for (int i = 0; i < named && folders % 2; i++) { // of the others nobody says how they are called
        char name[32];
        snprintf(name, sizeof name, "class \"%d\"", i);
        OK(hs_labels_add(&info.labels, name, NULL));
    }
    OK(hs_ckpt_export(path, &o, ps, &info, NULL));
    OK(hs_ckpt_read_info(path, known, 1, &back));
    assert_ptr_equal(back.files, known[0]);
    assert_memory_equal(back.settings.bytes, info.settings.bytes, a.family->settings->struct_bytes);
    assert_int_equal(back.labels.n, named);
    for (int i = 0; i < named; i++) {
        char name[32];
        snprintf(name, sizeof name, "LABEL_%d", i);
        assert_string_equal(back.labels.name[i], info.labels.n ? info.labels.name[i] : name);
    }
    OK(hs_ckpt_load_params(path, &o, again));
    for (int k = 0; k < ps->n_params; k++)
        assert_true(same_values(ps, again, k));
    hs_model_info_free(&info);
    hs_model_info_free(&back);
    hs_params_free(ps);
    hs_params_free(again);
}

static void config_json_reads_back(void **state)
{
    (void)state;
    ckpt_temp_dir(work);
    each_arch(read_back);
    assert_true(folders >= 8 * 7);
    ckpt_remove(work);
}

// Messages of a check begin with the key: commands put file and line in front.
static void checks_begin_with_the_key(void **state)
{
    (void)state;
    int tried = 0;
    for (int i = 0; hs_families[i]; i++) {
        hs_settings settings;
        const hs_arch a = arch_of(hs_families[i], &settings);
        char key[64];
        assert_int_equal(hs_arch_set(a.family, &settings, "model.vocab", -1), HS_USAGE);
        assert_int_equal(hs_arch_set(a.family, &settings, "model.nothing", 1), HS_USAGE);
        if (hs_arch_set(a.family, &settings, "model.width", 60) != HS_OK || hs_arch_check(a) == HS_OK)
            continue; // a family that can be 60 wide, or has no width
        tried++;
        snprintf(key, sizeof key, "%.*s", (int)strcspn(hs_error(), " "), hs_error());
        assert_non_null(hs_schema_find(a.family->settings, NULL, key).key);
    }
    assert_true(tried > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(counts_its_parameters), cmocka_unit_test(names_every_parameter_once),
                                        cmocka_unit_test(knows_how_deep), cmocka_unit_test(config_json_reads_back),
                                        cmocka_unit_test(checks_begin_with_the_key) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// checkpoint: what is saved comes back bit for bit, the right one is found, damage is named and passed over.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/checkpoint/ckpt_parts.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_params.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

typedef struct rig {
    char dir[CKPT_PATH], run[CKPT_PATH + 32];
    hs_params *ps;
    hs_ckpt *ckpt;
    hs_model_info info;
} rig;

static void rig_open(rig *r, int keep)
{
    ckpt_temp_dir(r->dir);
    snprintf(r->run, sizeof r->run, "%s/run/checkpoints", r->dir);
    r->ps = ckpt_params(true);
    r->info = ckpt_info();
    const hs_ckpt_opts o = ckpt_opts(r->run, keep);
    OK(hs_ckpt_new(&r->ckpt, &o, r->ps));
}

static void rig_close(rig *r)
{
    hs_ckpt_free(r->ckpt);
    hs_params_free(r->ps);
    ckpt_remove(r->dir);
}

static void save(rig *r, int64_t step, bool best)
{
    ckpt_fill(r->ps, (uint64_t)step);
    const hs_train_state t = ckpt_state(step);
    OK(hs_ckpt_save(r->ckpt, r->ps, &t, &r->info, NULL, "model:\n  layers: 2\n", best));
    ckpt_fill(r->ps, 999); // the snapshot must not follow
}

static void expect_step(const rig *r, const char *model_dir, int64_t step)
{
    const hs_ckpt_opts o = ckpt_opts(r->run, 0);
    hs_params *ps = ckpt_params(true);
    hs_train_state t, want = ckpt_state(step);
    hs_model_info info;
    OK(ckpt_read_info(model_dir, &info));
    assert_memory_equal(&info, &r->info, sizeof info);
    OK(hs_ckpt_load_params(model_dir, &o, ps));
    OK(hs_ckpt_load_train(model_dir, ps, &t));
    assert_true(ckpt_filled(ps, (uint64_t)step, true));
    assert_true(ckpt_state_equal(&t, &want));
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        float *master = malloc(p->n * sizeof *master);
        uint16_t *low = malloc(p->n * sizeof *low);
        hs_params_read(ps, ps->master, p, master);
        hs_params_read(ps, ps->low, p, low);
        for (size_t k = 0; k < p->n; k++)
            assert_int_equal(low[k], hs_value_bf16(hs_f32_bits(master[k])));
        free(master), free(low);
    }
    hs_params_free(ps);
}

static void expect_resolved(const rig *r, const char *path, int64_t step)
{
    char found[CKPT_PATH], name[32];
    OK(hs_ckpt_resolve(path, true, found, sizeof found));
    snprintf(name, sizeof name, "/step-%08lld", (long long)step);
    assert_non_null(strstr(found, name));
    expect_step(r, found, step);
}

// ---- saving and restoring
static void saves_and_restores_every_bit(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, 3);
    assert_int_equal(hs_ckpt_bytes(r.ps), 3 * r.ps->master->bytes);
    save(&r, 100, false);
    save(&r, 200, false); // waits for the first
    OK(hs_ckpt_wait(r.ckpt));
    char path[2 * CKPT_PATH];
    expect_resolved(&r, r.run, 200);
    snprintf(path, sizeof path, "%s/run", r.dir);
    expect_resolved(&r, path, 200);
    snprintf(path, sizeof path, "%s/step-00000100", r.run);
    expect_resolved(&r, path, 100);
    assert_true(hs_ckpt_has_train(path));
    OK(hs_ckpt_verify(path));
    assert_true(ckpt_exists(path, "train/config.yaml"));
    assert_int_equal(ckpt_count_leftovers(r.run), 0);
    save(&r, 200, false); // the same step again takes its place
    OK(hs_ckpt_wait(r.ckpt));
    expect_resolved(&r, r.run, 200);
    assert_int_equal(ckpt_count_leftovers(r.run), 0);
    assert_string_equal(ckpt_logged, "");
    rig_close(&r);
}

static void state_keeps_every_value(void **state)
{
    (void)state;
    static const float floats[] = { 1.0f / 3, 3.4028235e38f, 1.17549435e-38f, 1e-45f, -0.0f, 65536.0f, 16777217.0f, 0.1f, -1e10f };
    static const double doubles[] = { 1.0 / 3, 1.7976931348623157e308, 5e-324, -0.0, 0.1, 1e22, 123456789012345678.0 };
    char dir[CKPT_PATH], path[2 * CKPT_PATH];
    ckpt_temp_dir(dir);
    snprintf(path, sizeof path, "%s/state.json", dir);
    for (int i = 0; i < HS_COUNT(floats) * HS_COUNT(doubles); i++) {
        hs_train_state s = ckpt_state(i), back;
        s.step_state.lr = floats[i % HS_COUNT(floats)];
        s.step_state.loss[0][0] = doubles[i / HS_COUNT(floats)];
        hs_text t = { 0 };
        hs_state_json(&t, &s);
        FILE *f = fopen(path, "w");
        fwrite(t.p, 1, t.n, f);
        fclose(f);
        hs_text_free(&t);
        OK(hs_state_read(path, &back));
        assert_true(ckpt_state_equal(&s, &back));
    }
    ckpt_remove(dir);
}

static void rotates_but_keeps_best_and_latest(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, 2);
    static const struct {
        int step;
        bool best;
    } saves[] = { { 100, false }, { 200, true }, { 300, false }, { 400, false }, { 500, false } };
    for (int i = 0; i < HS_COUNT(saves); i++)
        save(&r, saves[i].step, saves[i].best);
    OK(hs_ckpt_wait(r.ckpt));
    static const bool kept[] = { false, true, false, true, true };
    char name[32], path[2 * CKPT_PATH];
    for (int i = 0; i < HS_COUNT(saves); i++) {
        snprintf(name, sizeof name, "step-%08d", saves[i].step);
        assert_int_equal(ckpt_exists(r.run, name), kept[i]);
    }
    snprintf(path, sizeof path, "%s/BEST", r.run);
    expect_resolved(&r, path, 200);
    snprintf(path, sizeof path, "%s/LATEST", r.run);
    expect_resolved(&r, path, 500);
    save(&r, 600, true); // the old best may go now
    OK(hs_ckpt_wait(r.ckpt));
    assert_false(ckpt_exists(r.run, "step-00000200"));
    save(&r, 450, false); // a run that went back: what lies beyond is left alone, and LATEST counts
    OK(hs_ckpt_wait(r.ckpt));
    expect_resolved(&r, r.run, 450);
    assert_true(ckpt_exists(r.run, "step-00000600"));
    assert_int_equal(ckpt_count_leftovers(r.run), 0);
    rig_close(&r);
}

static void leftovers_are_cleaned(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, 2);
    save(&r, 100, false);
    hs_ckpt_free(r.ckpt); // waits
    char path[2 * CKPT_PATH];
    static const char *const made[] = { "step-00000300.tmp-77", "step-00000050.old-77", "LATEST.tmp-77", "mine.tmp-1", "step-7.tmp-1" };
    for (int i = 0; i < HS_COUNT(made); i++) {
        snprintf(path, sizeof path, "%s/%s", r.run, made[i]);
        assert_int_equal(mkdir(path, 0777), 0);
        snprintf(path, sizeof path, "%s/%s/train", r.run, made[i]);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    const hs_ckpt_opts o = ckpt_opts(r.run, 2);
    OK(hs_ckpt_new(&r.ckpt, &o, r.ps));
    for (int i = 0; i < HS_COUNT(made); i++)
        assert_int_equal(ckpt_exists(r.run, made[i]), i >= 3); // not ours to delete
    expect_resolved(&r, r.run, 100);
    rig_close(&r);
}

// ---- damage
static void falls_back_whatever_is_damaged(void **state)
{
    (void)state;
    static const char *const files[] = { "config.json",      "generation_config.json", "model.safetensors",  "train/optimizer.safetensors",
                                         "train/state.json", "train/config.yaml",      "train/manifest.json" };
    for (int how = 0; how < 5; how++)
        for (int i = 0; i < HS_COUNT(files); i++) {
            rig r;
            rig_open(&r, 3);
            save(&r, 100, false);
            save(&r, 200, false);
            OK(hs_ckpt_wait(r.ckpt));
            char path[2 * CKPT_PATH], found[CKPT_PATH];
            snprintf(path, sizeof path, "%s/step-00000200/%s", r.run, files[i]);
            struct stat s;
            assert_int_equal(stat(path, &s), 0);
            if (how == 0)
                ckpt_damage(path, s.st_size / 2);
            else if (how == 1)
                assert_int_equal(truncate(path, s.st_size - 5), 0);
            else if (how == 2)
                assert_int_equal(truncate(path, 0), 0);
            else
                assert_int_equal(unlink(path), 0);
            if (how == 4)
                assert_int_equal(mkdir(path, 0777), 0);
            ckpt_logged[0] = 0;
            expect_resolved(&r, r.run, 100);
            assert_non_null(strstr(ckpt_logged, files[i])); // the log names what is wrong
            assert_true(how < 3 || strstr(ckpt_logged, how == 3 ? "is missing" : "is a folder, a file is wanted"));
            assert_non_null(strstr(ckpt_logged, "step-00000100: used instead"));
            path[strlen(path) - strlen(files[i]) - 1] = 0;
            assert_int_equal(hs_ckpt_resolve(path, true, found, sizeof found), HS_CORRUPT); // asked for outright: no other will do
            const bool moments = strcmp(files[i], "train/optimizer.safetensors") == 0;      // not read, so not missed
            assert_int_equal(hs_ckpt_resolve(path, false, found, sizeof found), moments ? HS_OK : HS_CORRUPT);
            save(&r, 200, false); // takes the damaged one's place
            OK(hs_ckpt_wait(r.ckpt));
            expect_resolved(&r, r.run, 200);
            rig_close(&r);
        }
}

static void finds_its_way_without_latest(void **state)
{
    (void)state;
    static const char *const contents[] = { NULL, "", "step-00000700\n", "step-00000300 or so\n", "../../etc\n" };
    for (int i = 0; i < HS_COUNT(contents); i++) {
        rig r;
        rig_open(&r, 3);
        save(&r, 100, false);
        save(&r, 300, false);
        OK(hs_ckpt_wait(r.ckpt));
        char path[2 * CKPT_PATH];
        snprintf(path, sizeof path, "%s/LATEST", r.run);
        unlink(path);
        if (contents[i] != NULL)
            ckpt_put(r.run, "LATEST", contents[i]);
        expect_resolved(&r, r.run, 300);
        assert_non_null(strstr(ckpt_logged, "LATEST"));
        rig_close(&r);
    }
}

static void refuses_what_is_no_checkpoint(void **state)
{
    (void)state;
    char dir[CKPT_PATH], path[2 * CKPT_PATH], found[CKPT_PATH];
    ckpt_temp_dir(dir);
    assert_int_equal(hs_ckpt_resolve(dir, true, found, sizeof found), HS_USAGE);
    assert_non_null(strstr(hs_error(), dir));
    snprintf(path, sizeof path, "%s/none", dir);
    assert_int_equal(hs_ckpt_resolve(path, true, found, sizeof found), HS_USAGE);
    ckpt_put(dir, "file", "text");
    snprintf(path, sizeof path, "%s/file", dir);
    assert_int_equal(hs_ckpt_resolve(path, true, found, sizeof found), HS_USAGE);
    snprintf(path, sizeof path, "%s/pipe", dir);
    assert_int_equal(mkfifo(path, 0666), 0);
    assert_int_equal(hs_ckpt_resolve(path, true, found, sizeof found), HS_USAGE);
    assert_non_null(strstr(hs_error(), "/pipe: is a pipe; a checkpoint is a folder"));
    assert_int_equal(hs_ckpt_resolve("/dev/null", true, found, sizeof found), HS_USAGE);
    assert_string_equal(hs_error(), "/dev/null: is a device; a checkpoint is a folder");
    ckpt_put(dir, "config.json", "{}");
    OK(hs_ckpt_resolve(dir, false, found, sizeof found)); // someone else's: looked at on loading
    assert_int_equal(hs_ckpt_resolve(dir, true, found, sizeof found), HS_USAGE);
    assert_non_null(strstr(hs_error(), "train/"));
    ckpt_remove(dir);
}

static void unwritable_folders_are_refused(void **state)
{
    (void)state;
    char dir[CKPT_PATH], path[2 * CKPT_PATH];
    ckpt_temp_dir(dir);
    ckpt_put(dir, "file", "text");
    snprintf(path, sizeof path, "%s/file/run", dir);
    hs_params *ps = ckpt_params(true), *bare = ckpt_params(false);
    hs_ckpt *c = NULL;
    hs_ckpt_opts o = ckpt_opts(path, 1);
    assert_int_equal(hs_ckpt_new(&c, &o, ps), HS_SYSTEM);
    assert_non_null(strstr(hs_error(), "Not a directory"));
    o.dir = "/proc/hs-checkpoints";
    assert_int_equal(hs_ckpt_new(&c, &o, ps), HS_SYSTEM);
    o.dir = dir;
    assert_int_equal(hs_ckpt_new(&c, &o, bare), HS_INTERNAL);
    assert_null(c);
    hs_params_free(ps);
    hs_params_free(bare);
    ckpt_remove(dir);
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(saves_and_restores_every_bit, ckpt_listen),
        cmocka_unit_test(state_keeps_every_value),
        cmocka_unit_test_setup(rotates_but_keeps_best_and_latest, ckpt_listen),
        cmocka_unit_test_setup(leftovers_are_cleaned, ckpt_listen),
        cmocka_unit_test_setup(falls_back_whatever_is_damaged, ckpt_listen),
        cmocka_unit_test_setup(finds_its_way_without_latest, ckpt_listen),
        cmocka_unit_test_setup(refuses_what_is_no_checkpoint, ckpt_listen),
        cmocka_unit_test(unwritable_folders_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Checkpoints by many ranks: the files one process would write, byte for byte, whatever the layout; any layout reads them back, bit for
// bit; and a rank that fails at any call of a save leaves the checkpoint before as the newest, and is named.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include "ops/ops.h"
#include "optim/optim.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_params.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")
#define EXPECT(what)                                                                                                                       \
    do {                                                                                                                                   \
        if (!(what))                                                                                                                       \
            return HS_FAIL(CORRUPT, "%s", #what);                                                                                          \
    } while (0)

typedef struct layout {
    int dp, tp;
    bool divided;
    hs_masters masters;
} layout;
static const layout layouts[] = { { 1, 1, false, 0 }, { 2, 2, true, 0 },  { 2, 2, false, 0 }, { 4, 1, true, 0 },
                                  { 4, 1, false, 0 }, { 1, 4, false, 0 }, { 1, 2, false, 0 }, { 2, 4, true, 0 } };

typedef struct job {
    layout at;
    const char *dir, *optim;
    const hs_io *io[MAX_RANKS]; // NULL: the system's
    double beat;                // seconds between two meetings; < 0: as it is
    int64_t step;
    hs_status want;     // of the save
    const char *reason; // a part of what every rank says then
} job;

static hs_device *own_device(void)
{
    hs_device *d = NULL;
    if (strcmp(test_device, "cpu") != 0 && hs_open_device(&d, test_device, 1, NULL, 0, HS_ONEDNN_NO) != HS_OK)
        abort();
    return d;
}

static ckpt_layout place_of(const job *j, const hs_grid *g)
{
    return (ckpt_layout){
        .dp_rank = g->dp->rank, .dp = j->at.dp, .tp_rank = g->tp->rank, .tp = j->at.tp, .divided = j->at.divided, .masters = j->at.masters
    };
}

static hs_status open_writer(hs_ckpt **c, const job *j, const hs_grid *grid, int rank, const hs_params *ps)
{
    hs_ckpt_opts o = ckpt_opts(j->dir, 2);
    o.grid = grid, o.world = ranks_world(grid), o.comm = ranks_files(grid);
    HS_TRY(hs_ckpt_new_with(c, &o, ps, j->io[rank] ? j->io[rank] : &hs_io_system));
    if (j->beat >= 0)
        hs_ckpt_set_beat(*c, j->beat);
    return HS_OK;
}

// ---- values
// Moments of any type and numbers per tensor: by parameter and element of the logical tensor.
static void fill_kept(hs_params *ps)
{
    for (int s = 0; s < ps->n_slabs; s++)
        for (int i = 0; i < ps->n_params && ps->slab[s]->spec.saved; i++) {
            const hs_param *p = ps->param[i];
            hs_slab *slab = ps->slab[s];
            const int64_t n = hs_param_part_rows(p) * p->parts * hs_param_cols(p);
            float *x = malloc((size_t)n * sizeof *x);
            for (int64_t k = 0; k < n; k++)
                x[k] = 0.37f * (float)(i + 1) + (float)s + 1e-3f * (float)k;
            if ((slab->spec.per_tensor ? hs_params_write(ps, slab, p, x) : hs_params_import(ps, slab, p, x)) != HS_OK)
                abort();
            free(x);
        }
}

static hs_params *params_of(const job *j, const hs_grid *grid, hs_device *d)
{
    const ckpt_layout l = place_of(j, grid);
    return ckpt_params_rank(&l, j->optim ? j->optim : "adamw", d);
}

static hs_status save_as(hs_ckpt *c, hs_params *ps, const job *j, int64_t step)
{
    const hs_train_state t = ckpt_state(step);
    const hs_model_info info = ckpt_info();
    ckpt_fill(ps, (uint64_t)step);
    if (j->optim)
        fill_kept(ps);
    HS_TRY(hs_ckpt_save(c, ps, &t, &info, NULL, "model: {}\n", step == 300));
    ckpt_fill(ps, 999); // the snapshot must not follow
    return hs_ckpt_wait(c);
}

static hs_status save_rank(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    hs_device *d = own_device();
    hs_params *ps = params_of(j, grid, d);
    hs_ckpt *c;
    hs_status st = open_writer(&c, j, grid, rank, ps);
    if (st == HS_OK) {
        st = save_as(c, ps, j, j->step);
        hs_ckpt_free(c);
    }
    hs_params_free(ps);
    hs_device_close(d);
    return st;
}

static void save_by(layout at, const char *dir, const char *optim, int64_t step, double beat)
{
    job j = { .at = at, .dir = dir, .optim = optim, .step = step, .beat = beat };
    if (ranks_run_grid(at.dp, at.tp, save_rank, &j, NULL) != HS_OK)
        fail_msg("%d x %d: %s", at.dp, at.tp, hs_error());
}

static hs_status load(const job *j, const hs_grid *grid, hs_params *ps)
{
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    const hs_train_state want = ckpt_state(j->step);
    hs_train_state t;
    char found[2 * CKPT_PATH];
    HS_TRY(hs_ckpt_resolve_on(ranks_world(grid), j->dir, HS_CKPT_TRAIN, found, sizeof found));
    HS_TRY(hs_ckpt_load_params(found, &o, ps));
    HS_TRY(hs_ckpt_load_train(found, ps, &t));
    EXPECT(ckpt_state_equal(&t, &want));
    if (!j->optim)
        EXPECT(ckpt_filled(ps, (uint64_t)j->step, true));
    EXPECT(ckpt_low_filled(ps, (uint64_t)j->step));
    if (!j->optim)
        return HS_OK;
    hs_params *like = params_of(j, grid, NULL);
    fill_kept(like);
    bool same = true;
    for (int s = 0; s < ps->n_slabs; s++)
        for (int i = 0; i < ps->n_params && ps->slab[s]->spec.saved; i++) {
            const size_t n = ps->slab[s]->place[i].bytes;
            char *a = calloc(n + 1, 1), *b = calloc(n + 1, 1);
            if (n > 0) {
                hs_params_read(ps, ps->slab[s], ps->param[i], a);
                hs_params_read(like, like->slab[s], like->param[i], b);
            }
            same = same && memcmp(a, b, n) == 0;
            free(a), free(b);
        }
    hs_params_free(like);
    EXPECT(same);
    return HS_OK;
}

static hs_status load_rank(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    hs_device *d = own_device();
    hs_params *ps = params_of(j, grid, d);
    (void)rank;
    ckpt_fill(ps, 77); // what does not come from the file shows
    const hs_status st = load(j, grid, ps);
    hs_params_free(ps);
    hs_device_close(d);
    return st;
}

static void expect_at(layout at, const char *dir, const char *optim, int64_t step)
{
    job j = { .at = at, .dir = dir, .optim = optim, .step = step };
    if (ranks_run_grid(at.dp, at.tp, load_rank, &j, NULL) != HS_OK)
        fail_msg("read by %d x %d%s: %s", at.dp, at.tp, at.divided ? ", divided" : "", hs_error());
}

// ---- bytes
static char *read_all(const char *dir, const char *name, size_t *n)
{
    char path[2 * CKPT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*n + 1);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static void expect_same_files(const char *a, const char *b)
{
    static const char *const files[] = { "config.json",      "generation_config.json", "model.safetensors",  "train/optimizer.safetensors",
                                         "train/state.json", "train/config.yaml",      "train/manifest.json" };
    for (int i = 0; i < HS_COUNT(files); i++) {
        size_t n[2];
        char *p[] = { read_all(a, files[i], &n[0]), read_all(b, files[i], &n[1]) };
        if (n[0] != n[1] || memcmp(p[0], p[1], n[0]) != 0)
            fail_msg("%s is not that of one process", files[i]);
        free(p[0]), free(p[1]);
    }
}

static void any_layout_writes_and_reads(const char *optim, hs_masters masters)
{
    char alone[CKPT_PATH], dir[CKPT_PATH], one[2 * CKPT_PATH], many[2 * CKPT_PATH];
    ckpt_temp_dir(alone);
    save_by((layout){ 1, 1, false, masters }, alone, optim, 100, -1);
    snprintf(one, sizeof one, "%s/step-00000100", alone);
    for (int i = 0; i < HS_COUNT(layouts); i++) {
        layout at = layouts[i];
        at.masters = masters;
        ckpt_temp_dir(dir);
        save_by(at, dir, optim, 100, i % 2 ? 0 : -1); // a meeting at every write, or as it is
        snprintf(many, sizeof many, "%s/step-00000100", dir);
        expect_same_files(one, many);
        assert_int_equal(ckpt_count_leftovers(dir), 0);
        expect_at(at, dir, optim, 100);
        ckpt_remove(dir);
        expect_at(at, alone, optim, 100);
    }
    ckpt_remove(alone);
}

static void the_files_are_those_of_one_process(void **state)
{
    (void)state;
    any_layout_writes_and_reads(NULL, HS_MASTERS_F32);
}

static void numbers_per_tensor_and_bf16(void **state)
{
    (void)state;
    any_layout_writes_and_reads("novograd", HS_MASTERS_F32);
}

static void values_in_halves_and_in_bf16(void **state)
{
    (void)state;
    any_layout_writes_and_reads(NULL, HS_MASTERS_SPLIT);
    any_layout_writes_and_reads(NULL, HS_MASTERS_NONE);
}

// ---- memory
static hs_status count_rank(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    hs_params *ps = params_of(j, grid, NULL);
    hs_ckpt_opts o = ckpt_opts(NULL, 0);
    hs_snapshots all;
    size_t bytes = 0, most = 0;
    o.grid = grid, o.world = ranks_world(grid);
    hs_status st = hs_snapshots_list(&all, ps);
    if (st == HS_OK)
        st = hs_snapshots_make(&all, ps, &o);
    for (int i = 0; i < all.n; i++)
        bytes += all.s[i].bytes, most += all.s[i].slab->bytes;
    hs_snapshots_free(&all, ps);
    hs_params_free(ps);
    HS_TRY(st);
    EXPECT(bytes <= most);
    EXPECT(j->at.divided || grid->dp->rank == 0 || bytes == 0);
    EXPECT(rank > 0 || bytes > 0);
    EXPECT(!(j->at.dp == 1 && grid->tp->rank > 0) || bytes < most); // without what is whole everywhere
    return HS_OK;
}

static void a_rank_copies_only_what_it_writes(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(layouts); i++) {
        job j = { .at = layouts[i] };
        OK(ranks_run_grid(j.at.dp, j.at.tp, count_rank, &j, NULL));
    }
}

static hs_status hole_rank(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    hs_params *ps = params_of(j, grid, NULL);
    hs_ckpt *c;
    hs_slab *m = hs_params_slab(ps, "adam.m");
    if (rank == 3)
        m->place[4].bytes -= 4;
    const hs_status st = open_writer(&c, j, grid, rank, ps);
    hs_params_free(ps);
    EXPECT(st == HS_INTERNAL);
    EXPECT(strstr(hs_error(), "rank 1: adam.m of h0.attn.qkv.weight: 383 of 384 elements are on the 2 data-parallel ranks"));
    return HS_OK;
}

static void holes_are_refused(void **state)
{
    (void)state;
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    job j = { .at = { 2, 2, true, 0 }, .dir = dir, .beat = -1 };
    OK(ranks_run_grid(2, 2, hole_rank, &j, NULL));
    ckpt_remove(dir);
}

// ---- a rank whose disk misbehaves: one rank's writer uses this table
typedef enum fault { NONE, FAIL_ONCE, FAIL_ON, KILL } fault;
static struct plan {
    fault fault;
    int at, n;
    bool struck, counting;
    char kind[8192];
} plan;

static bool strikes(char kind)
{
    const int k = plan.n++;
    if (plan.counting && k < (int)sizeof plan.kind)
        plan.kind[k] = kind;
    if (plan.fault == KILL && k == plan.at)
        raise(SIGKILL);
    const bool now = plan.fault == FAIL_ONCE ? k == plan.at : plan.fault == FAIL_ON && k >= plan.at;
    plan.struck = plan.struck || now;
    errno = now ? EIO : errno;
    return now;
}

static int bad_open(const char *path, int flags, mode_t mode) { return strikes('o') ? -1 : open(path, flags, mode); }
static ssize_t bad_write(int fd, const void *p, size_t n) { return strikes('w') ? -1 : write(fd, p, n); }
static ssize_t bad_pwrite(int fd, const void *p, size_t n, off_t at) { return strikes('p') ? -1 : pwrite(fd, p, n > 96 ? n / 2 : n, at); }
static int bad_fsync(int fd)
{
    (void)fd;
    return strikes('s') ? -1 : 0;
}
static int bad_close(int fd)
{
    close(fd);
    return strikes('c') ? -1 : 0;
}
static int bad_rename(const char *from, const char *to, unsigned flags) { return strikes('r') ? -1 : hs_io_system.rename(from, to, flags); }
static int bad_mkdir(const char *path, mode_t mode) { return strikes('m') ? -1 : hs_io_system.mkdir(path, mode); }
static int bad_unlink(const char *path) { return strikes('u') ? -1 : unlink(path); }
static int bad_rmdir(const char *path) { return strikes('d') ? -1 : rmdir(path); }
static int bad_truncate(int fd, off_t n) { return strikes('t') ? -1 : ftruncate(fd, n); }
static const hs_io bad_io = { bad_open,  bad_write,  bad_fsync, bad_close,  bad_rename,
                              bad_mkdir, bad_unlink, bad_rmdir, bad_pwrite, bad_truncate };

typedef struct trial {
    job j;
    int bad_rank, at, calls; // calls: of save 200
    fault fault;
    hs_status st[MAX_RANKS];
} trial;

// 100 goes well, 200 meets the fault, 300 goes well again.
static hs_status try_rank(const hs_grid *grid, void *arg, int rank)
{
    trial *t = arg;
    hs_params *ps = params_of(&t->j, grid, NULL);
    hs_comm *world = ranks_world(grid);
    hs_ckpt *c;
    char want[64];
    HS_TRY(open_writer(&c, &t->j, grid, rank, ps));
    HS_TRY(save_as(c, ps, &t->j, 100));
    HS_TRY(hs_agree(world, HS_OK));
    if (rank == 0)
        plan.fault = t->fault, plan.at = t->at, plan.n = 0, plan.struck = false;
    HS_TRY(hs_agree(world, HS_OK));
    t->st[rank] = save_as(c, ps, &t->j, 200);
    snprintf(want, sizeof want, "checkpoint of step 200 is not saved: rank %d: ", t->bad_rank);
    EXPECT(t->st[rank] == HS_OK || (t->st[rank] == HS_SYSTEM && strstr(hs_error(), want) && strstr(hs_error(), strerror(EIO))));
    HS_TRY(hs_agree(world, HS_OK));
    if (rank == 0)
        plan.fault = NONE, t->calls = plan.n;
    HS_TRY(hs_agree(world, HS_OK));
    if (rank == 0) {
        char found[2 * CKPT_PATH];
        HS_TRY(hs_ckpt_resolve(t->j.dir, HS_CKPT_TRAIN, found, sizeof found));
        EXPECT(strstr(found, "step-00000200") || (t->st[0] != HS_OK && strstr(found, "step-00000100")));
        EXPECT(t->st[0] == HS_OK || t->bad_rank == 0 || !strstr(found, "step-00000200"));
    }
    HS_TRY(hs_agree(world, HS_OK));
    HS_TRY(hs_ckpt_wait(c)); // said once
    HS_TRY(save_as(c, ps, &t->j, 300));
    hs_ckpt_free(c);
    hs_params_free(ps);
    return HS_OK;
}

static bool try_at(int bad_rank, fault f, int at, int *calls)
{
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    trial t = { .j = { .at = { 2, 2, true }, .dir = dir, .beat = at % 2 ? 0 : -1 }, .bad_rank = bad_rank, .at = at, .fault = f };
    t.j.io[bad_rank] = &bad_io;
    plan = (struct plan){ .counting = f == NONE };
    if (ranks_run_grid(2, 2, try_rank, &t, NULL) != HS_OK)
        fail_msg("rank %d, call %d: %s", bad_rank, at, hs_error());
    for (int r = 1; r < 4; r++)
        assert_int_equal(t.st[r], t.st[0]); // all say the same
    expect_at((layout){ 1, 1, false, 0 }, dir, NULL, 300);
    expect_at((layout){ 1, 4, false, 0 }, dir, NULL, 300);
    if (f != FAIL_ON)
        assert_int_equal(ckpt_count_leftovers(dir), 0);
    ckpt_remove(dir);
    *calls = t.calls;
    return t.st[0] != HS_OK;
}

// Calls that are worth failing: all of a kind that are few, some of the writes.
static bool worth(int k, int n)
{
    return plan.kind[k] != 'p' || k % 41 == 0 || (k + 1 < n && plan.kind[k + 1] != 'p') || (k > 0 && plan.kind[k - 1] != 'p');
}

static void a_failing_rank_is_named(void **state)
{
    (void)state;
    for (int rank = 0; rank < 4; rank++) {
        static char kinds[sizeof plan.kind];
        int n, failed = 0, calls;
        try_at(rank, NONE, 0, &n);
        assert_in_range(n, 20, sizeof kinds);
        memcpy(kinds, plan.kind, sizeof kinds);
        assert_int_equal(kinds[n - 1] != 0, 1);
        for (int k = 0; k < n; k++) {
            memcpy(plan.kind, kinds, sizeof kinds);
            if (worth(k, n))
                failed += try_at(rank, k % 3 ? FAIL_ONCE : FAIL_ON, k, &calls);
        }
        assert_true(failed >= (rank == 0 ? 25 : 8));
    }
}

// ---- killed in the middle
static void run_child(const char *dir, int rank, int at, int out)
{
    trial t = { .j = { .at = { 2, 2, true }, .dir = dir, .beat = -1 }, .bad_rank = rank, .at = at, .fault = KILL };
    t.j.io[rank] = &bad_io;
    plan = (struct plan){ 0 };
    const hs_status st = ranks_run_grid(2, 2, try_rank, &t, NULL);
    if (write(out, st == HS_OK ? "." : "!", 1) != 1)
        _exit(3);
    _exit(st == HS_OK ? 0 : 1);
}

static bool killed_at(int rank, int at)
{
    char dir[CKPT_PATH], found[2 * CKPT_PATH];
    int ends[2], status;
    ckpt_temp_dir(dir);
    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run_child(dir, rank, at, ends[1]);
    close(ends[1]), close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    const bool killed = WIFSIGNALED(status);
    assert_true(killed ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    if (killed) {
        OK(hs_ckpt_resolve(dir, HS_CKPT_TRAIN, found, sizeof found));
        const bool old = strstr(found, "step-00000100") != NULL;
        assert_true(old || strstr(found, "step-00000200") != NULL);
        expect_at((layout){ 2, 2, true, 0 }, dir, NULL, old ? 100 : 200);
        save_by((layout){ 4, 1, true, 0 }, dir, NULL, 250, -1); // others go on, and clean up
        assert_int_equal(ckpt_count_leftovers(dir), 0);
        expect_at((layout){ 1, 1, false, 0 }, dir, NULL, 250);
    }
    ckpt_remove(dir);
    return killed;
}

static void a_killed_rank_leaves_the_one_before(void **state)
{
    (void)state;
    for (int rank = 0; rank < 4; rank += 3) {
        int k = 0;
        while (killed_at(rank, k) || k < 20)
            k += rank == 0 ? 11 : 37;
        assert_true(k > 40);
    }
}

static hs_status steps_rank(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    hs_params *ps = params_of(j, grid, NULL);
    hs_ckpt *c;
    HS_TRY(open_writer(&c, j, grid, rank, ps));
    const hs_status st = save_as(c, ps, j, rank == 2 ? 101 : 100);
    EXPECT(st == HS_INTERNAL && strstr(hs_error(), "ranks save steps from 100 to 101"));
    hs_ckpt_free(c);
    hs_params_free(ps);
    return HS_OK;
}

static void all_save_the_same_step(void **state)
{
    (void)state;
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    job j = { .at = { 2, 2, false }, .dir = dir, .beat = -1 };
    OK(ranks_run_grid(2, 2, steps_rank, &j, NULL));
    ckpt_remove(dir);
}

static hs_status find_rank(const hs_grid *grid, void *arg, int rank)
{
    const job *j = arg;
    char found[2 * CKPT_PATH];
    (void)rank;
    EXPECT(hs_ckpt_resolve_on(ranks_world(grid), j->dir, HS_CKPT_TRAIN, found, sizeof found) == HS_USAGE);
    EXPECT(strncmp(hs_error(), j->dir, strlen(j->dir)) == 0 && strstr(hs_error(), "no checkpoint here")); // as one process says it
    return HS_OK;
}

static void all_find_the_same(void **state)
{
    (void)state;
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    job j = { .at = { 2, 2, false }, .dir = dir };
    OK(ranks_run_grid(2, 2, find_rank, &j, NULL));
    save_by(layouts[1], dir, NULL, 100, -1);
    save_by(layouts[2], dir, NULL, 200, -1);
    char path[2 * CKPT_PATH];
    snprintf(path, sizeof path, "%s/step-00000200/train/optimizer.safetensors", dir);
    ckpt_damage(path, -9);
    expect_at(layouts[5], dir, NULL, 100); // rank 0 has seen it, all go to the one before
    ckpt_remove(dir);
}

static void quiet(hs_log_level level, const char *line, void *user) { (void)level, (void)line, (void)user; }
static int silence(void **state)
{
    (void)state;
    hs_log_set(HS_LOG_WARN, quiet, NULL);
    return 0;
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_files_are_those_of_one_process),
        cmocka_unit_test(numbers_per_tensor_and_bf16),
        cmocka_unit_test(values_in_halves_and_in_bf16),
        cmocka_unit_test(a_rank_copies_only_what_it_writes),
        cmocka_unit_test(holes_are_refused),
        cmocka_unit_test(all_save_the_same_step),
        cmocka_unit_test(all_find_the_same),
        cmocka_unit_test(a_failing_rank_is_named),
        cmocka_unit_test(a_killed_rank_leaves_the_one_before),
    };
    return cmocka_run_group_tests(tests, silence, NULL);
}

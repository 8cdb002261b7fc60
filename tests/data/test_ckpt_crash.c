// A checkpoint survives everything: SIGKILL before, within and after every call that changes the disk, full and failing disks,
// short writes. And, since a test cannot pull the plug, the order of syncs and renames that survives that too.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/checkpoint/ckpt_parts.h"
#include "tests/support/support_ckpt.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

// ---- a table of calls that misbehaves on order. One writer thread at a time uses it.
typedef enum call { OPEN, WRITE, FSYNC, CLOSE, RENAME, MKDIR, UNLINK, RMDIR, N_CALLS } call;
typedef enum fault { NONE, KILL_BEFORE, KILL_WITHIN, FAIL_ONCE, FAIL_ON, SHORT_WRITES, DEV_FULL } fault;
static struct plan {
    fault fault;
    int at;        // the call it happens at, counted from 0
    int error;     // errno of FAIL_*
    bool no_space; // FAIL_ON: only what needs space fails from then on
    int n;         // calls so far
    int n_of[N_CALLS];
    bool struck;
    call *kinds;
} plan;

enum { MAX_TRACE = 4096 };
static struct trace { // what was done, for the test of order
    call call;
    char path[96], to[96];
} trace[MAX_TRACE];
static int n_trace;
static char fd_path[1024][96];
static const char *root = "";

static void note(call c, const char *path, const char *to)
{
    const size_t skip = strlen(root);
    if (n_trace == MAX_TRACE)
        abort();
    struct trace *t = &trace[n_trace++];
    t->call = c;
    snprintf(t->path, sizeof t->path, "%s", strncmp(path, root, skip) == 0 ? path + skip : path);
    snprintf(t->to, sizeof t->to, "%s", strncmp(to, root, skip) == 0 ? to + skip : to);
}

// True if this call must fail.
static bool strikes(call c)
{
    const int k = plan.n++;
    if (plan.kinds != NULL)
        plan.kinds[k] = c;
    plan.n_of[c]++;
    if (plan.fault == KILL_BEFORE && k == plan.at)
        raise(SIGKILL);
    const bool now = plan.fault == FAIL_ONCE ? k == plan.at : plan.fault == FAIL_ON && k >= plan.at;
    if (!now || (plan.no_space && c != OPEN && c != WRITE && c != MKDIR && c != FSYNC))
        return false;
    plan.struck = true;
    errno = plan.error;
    return true;
}

static bool killed_within(void) { return plan.fault == KILL_WITHIN && plan.n - 1 == plan.at; }

static int bad_open(const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) != 0 && strikes(OPEN))
        return -1;
    if ((flags & O_CREAT) != 0 && plan.fault == DEV_FULL && plan.n_of[OPEN] - 1 == plan.at) {
        plan.struck = true;
        return open("/dev/full", O_WRONLY);
    }
    const int fd = open(path, flags, mode);
    if (fd >= 0 && fd < 1024)
        snprintf(fd_path[fd], sizeof fd_path[fd], "%s", strncmp(path, root, strlen(root)) == 0 ? path + strlen(root) : path);
    if (fd >= 0 && (flags & O_CREAT) != 0)
        note(OPEN, path, "");
    return fd;
}

static ssize_t bad_write(int fd, const void *p, size_t n)
{
    if (strikes(WRITE))
        return -1;
    if (killed_within()) {
        if (write(fd, p, n / 2) >= 0)
            raise(SIGKILL);
    }
    note(WRITE, fd_path[fd], "");
    if (plan.fault == SHORT_WRITES) {
        const uint32_t how = hs_random(3, (uint32_t)plan.n, 0, 0, 0).v[0];
        if (how % 5 == 0) {
            errno = EINTR;
            return -1;
        }
        const size_t some = 1 + how % 977;
        return write(fd, p, n < some ? n : some);
    }
    return write(fd, p, n);
}

static int bad_fsync(int fd)
{
    if (strikes(FSYNC))
        return -1;
    note(FSYNC, fd_path[fd], "");
    return 0; // SIGKILL does not empty the page cache: the order is what is tested
}

static int bad_close(int fd)
{
    const bool fails = strikes(CLOSE);
    const int e = errno;
    close(fd);
    errno = e;
    return fails ? -1 : 0;
}

static int bad_rename(const char *from, const char *to, unsigned flags)
{
    if (strikes(RENAME))
        return -1;
    if (hs_io_system.rename(from, to, flags) != 0)
        return -1;
    note(RENAME, from, to);
    return 0;
}

#define SIMPLE(name, CALL, call_it, ...)                                                                                                   \
    static int bad_##name(const char *path __VA_OPT__(, ) __VA_ARGS__)                                                                     \
    {                                                                                                                                      \
        if (strikes(CALL))                                                                                                                 \
            return -1;                                                                                                                     \
        note(CALL, path, "");                                                                                                              \
        return call_it;                                                                                                                    \
    }
SIMPLE(mkdir, MKDIR, mkdir(path, mode), mode_t mode)
SIMPLE(unlink, UNLINK, unlink(path))
SIMPLE(rmdir, RMDIR, rmdir(path))

static const hs_io bad_io = { bad_open, bad_write, bad_fsync, bad_close, bad_rename, bad_mkdir, bad_unlink, bad_rmdir, pwrite, ftruncate };

// ---- a run that saves
static const struct {
    int step;
    bool best;
} saves[] = { { 100, true }, { 200, false }, { 300, true }, { 300, false }, { 400, false } };

static hs_status save(hs_ckpt *c, hs_params *ps, int64_t step, bool best)
{
    const hs_model_info info = ckpt_info();
    const hs_train_state t = ckpt_state(step);
    ckpt_fill(ps, (uint64_t)step);
    HS_TRY(hs_ckpt_save(c, ps, &t, &info, NULL, "model: {}\n", best));
    return hs_ckpt_wait(c);
}

// Tells the pipe 's' before and 'd' after each save. Never returns.
static void run_child(const char *dir, int out)
{
    hs_params *ps = ckpt_params(true);
    const hs_ckpt_opts o = ckpt_opts(dir, 2);
    hs_ckpt *c;
    if (hs_ckpt_new_with(&c, &o, ps, &bad_io) != HS_OK)
        _exit(1);
    for (int i = 0; i < HS_COUNT(saves); i++) {
        if (write(out, "s", 1) != 1 || save(c, ps, saves[i].step, saves[i].best) != HS_OK || write(out, "d", 1) != 1)
            _exit(2);
    }
    _exit(0);
}

static char said[64];

// Runs it with the plan; returns false if it was killed. In said: what came through the pipe.
static bool run(const char *dir, useconds_t kill_after)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        run_child(dir, ends[1]);
    }
    close(ends[1]);
    if (kill_after > 0) {
        usleep(kill_after);
        kill(pid, SIGKILL);
    }
    ssize_t n = 0, got;
    while ((got = read(ends[0], said + n, sizeof said - 1 - (size_t)n)) > 0)
        n += got;
    said[n] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
}

static int64_t load_step(const char *model_dir)
{
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    hs_params *ps = ckpt_params(true);
    hs_train_state t;
    OK(hs_ckpt_load_params(model_dir, &o, ps));
    OK(hs_ckpt_load_train(model_dir, ps, &t));
    const hs_train_state want = ckpt_state(t.step);
    assert_true(ckpt_state_equal(&t, &want));
    assert_true(ckpt_filled(ps, (uint64_t)t.step, true));
    hs_params_free(ps);
    return t.step;
}

// Whatever happened: the last one completed, or the one in the making, and not a bit of it is missing.
static void expect_survivor(const char *dir)
{
    char found[2 * CKPT_PATH];
    int begun = 0, done = 0;
    for (const char *p = said; *p; p++)
        begun += *p == 's', done += *p == 'd';
    const hs_status st = hs_ckpt_resolve(dir, true, found, sizeof found);
    if (done == 0 && st != HS_OK) {
        assert_int_equal(st, HS_USAGE); // nothing was ever finished, and nothing looks as if
        return;
    }
    OK(st);
    const int64_t step = load_step(found);
    assert_true((done > 0 && step == saves[done - 1].step) || (begun > done && step == saves[begun - 1].step));
}

static void expect_recovery(const char *dir) // a new process goes on
{
    hs_params *ps = ckpt_params(true);
    const hs_ckpt_opts o = ckpt_opts(dir, 2);
    hs_ckpt *c;
    char found[2 * CKPT_PATH];
    plan = (struct plan){ 0 };
    n_trace = 0;
    OK(hs_ckpt_new_with(&c, &o, ps, &bad_io));
    assert_int_equal(ckpt_count_leftovers(dir), 0);
    OK(save(c, ps, 500, false));
    hs_ckpt_free(c);
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    assert_int_equal(load_step(found), 500);
    hs_params_free(ps);
}

static void quiet(hs_log_level level, const char *line, void *user) { (void)level, (void)line, (void)user; }
static int silence(void **state)
{
    (void)state;
    hs_log_set(HS_LOG_WARN, quiet, NULL);
    return 0;
}

// What kind each call of an undisturbed run is.
static int list_calls(call kinds[MAX_TRACE])
{
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    hs_params *ps = ckpt_params(true);
    const hs_ckpt_opts o = ckpt_opts(dir, 2);
    hs_ckpt *c;
    plan = (struct plan){ .kinds = kinds };
    n_trace = 0;
    OK(hs_ckpt_new_with(&c, &o, ps, &bad_io));
    for (int i = 0; i < HS_COUNT(saves); i++)
        OK(save(c, ps, saves[i].step, saves[i].best));
    hs_ckpt_free(c);
    hs_params_free(ps);
    ckpt_remove(dir);
    n_trace = 0;
    return plan.n;
}

static void survives_a_kill_at(fault f)
{
    static call kinds[MAX_TRACE];
    char dir[CKPT_PATH];
    const int n = list_calls(kinds);
    assert_true(n > 200);
    for (int k = 0; k < n; k++) {
        if (f == KILL_WITHIN && kinds[k] != WRITE)
            continue;
        ckpt_temp_dir(dir);
        plan = (struct plan){ .fault = f, .at = k };
        assert_false(run(dir, 0));
        expect_survivor(dir);
        if (k % 7 == 0)
            expect_recovery(dir);
        ckpt_remove(dir);
    }
}

static void survives_a_kill_before_every_call(void **state)
{
    (void)state;
    survives_a_kill_at(KILL_BEFORE);
}
static void survives_a_kill_within_every_write(void **state)
{
    (void)state;
    survives_a_kill_at(KILL_WITHIN);
}

static void survives_a_kill_at_any_time(void **state)
{
    (void)state;
    char dir[CKPT_PATH];
    plan = (struct plan){ 0 };
    for (uint32_t i = 0; i < 60; i++) {
        ckpt_temp_dir(dir);
        run(dir, 300 + hs_random(9, i, 0, 0, 0).v[0] % 12000);
        expect_survivor(dir);
        ckpt_remove(dir);
    }
}

// ---- failing disks
typedef struct disk {
    const char *name;
    struct plan plan;
} disk;

static void expect_old_or_new(const char *dir, hs_status st)
{
    char found[2 * CKPT_PATH];
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    const int64_t step = load_step(found);
    assert_true(step == 200 || (st != HS_OK && step == 100));
}

// One save goes well, the next meets the fault at its k-th call, the third goes well again.
static bool meets(const disk *d, int k)
{
    char dir[CKPT_PATH], found[2 * CKPT_PATH];
    ckpt_temp_dir(dir);
    hs_params *ps = ckpt_params(true);
    const hs_ckpt_opts o = ckpt_opts(dir, 1);
    hs_ckpt *c;
    plan = (struct plan){ 0 };
    n_trace = 0;
    OK(hs_ckpt_new_with(&c, &o, ps, &bad_io));
    OK(save(c, ps, 100, true));
    plan = d->plan;
    plan.at = k;
    const hs_status st = save(c, ps, 200, false);
    const bool struck = plan.struck;
    plan = (struct plan){ 0 };
    if (st != HS_OK) {
        assert_true(struck);
        assert_int_equal(st, HS_SYSTEM);
        assert_non_null(strstr(hs_error(), "checkpoint of step 200 is not saved"));
        assert_non_null(strstr(hs_error(), strerror(d->plan.error ? d->plan.error : ENOSPC)));
        assert_non_null(strstr(hs_error(), dir));
    }
    expect_old_or_new(dir, st);
    if (st != HS_OK && (d->plan.no_space || d->plan.fault == DEV_FULL))
        assert_int_equal(ckpt_count_leftovers(dir), 0); // deleting works on a full disk
    n_trace = 0;
    OK(hs_ckpt_wait(c)); // said once
    OK(save(c, ps, 300, false));
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    assert_int_equal(load_step(found), 300);
    hs_ckpt_free(c);
    hs_params_free(ps);
    ckpt_remove(dir);
    return struck;
}

static void reports_failures_and_keeps_the_old(void **state)
{
    (void)state;
    static const disk disks[] = {
        { "full from then on", { .fault = FAIL_ON, .error = ENOSPC, .no_space = true } },
        { "broken once", { .fault = FAIL_ONCE, .error = EIO } },
        { "read-only from then on", { .fault = FAIL_ON, .error = EROFS } },
        { "full", { .fault = DEV_FULL } },
    };
    for (int i = 0; i < HS_COUNT(disks); i++) {
        int k = 0;
        while (meets(&disks[i], k))
            k++;
        assert_true(k >= (disks[i].plan.fault == DEV_FULL ? 7 : 40));
    }
}

static void short_writes_are_completed(void **state)
{
    (void)state;
    char dir[CKPT_PATH], found[2 * CKPT_PATH];
    ckpt_temp_dir(dir);
    hs_params *ps = ckpt_params(true);
    const hs_ckpt_opts o = ckpt_opts(dir, 1);
    hs_ckpt *c;
    plan = (struct plan){ .fault = SHORT_WRITES };
    n_trace = 0;
    OK(hs_ckpt_new_with(&c, &o, ps, &bad_io));
    OK(save(c, ps, 100, false));
    assert_true(plan.n_of[WRITE] > 100);
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    assert_int_equal(load_step(found), 100);
    hs_ckpt_free(c);
    hs_params_free(ps);
    ckpt_remove(dir);
}

// For real: the kernel refuses beyond a limit, and would kill a process that does not expect it.
static void file_size_limits_are_errors(void **state)
{
    (void)state;
    char dir[CKPT_PATH], found[2 * CKPT_PATH];
    ckpt_temp_dir(dir);
    const pid_t pid = fork();
    if (pid == 0) {
        hs_params *ps = ckpt_params(true);
        const hs_ckpt_opts o = ckpt_opts(dir, 3);
        hs_ckpt *c;
        if (hs_ckpt_new(&c, &o, ps) != HS_OK || save(c, ps, 100, false) != HS_OK)
            _exit(1);
        const struct rlimit small = { 20000, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
        setrlimit(RLIMIT_FSIZE, &small);
        if (save(c, ps, 200, false) != HS_SYSTEM || strstr(hs_error(), "model.safetensors: File too large") == NULL)
            _exit(2);
        if (ckpt_exists(dir, "step-00000200") || ckpt_count_leftovers(dir) != 0)
            _exit(3);
        setrlimit(RLIMIT_FSIZE, &none);
        _exit(save(c, ps, 300, false) == HS_OK ? 0 : 4);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    assert_int_equal(load_step(found), 300);
    ckpt_remove(dir);
}

static void an_error_is_told_once_and_saving_goes_on(void **state)
{
    (void)state;
    char dir[CKPT_PATH], found[2 * CKPT_PATH];
    ckpt_temp_dir(dir);
    hs_params *ps = ckpt_params(true);
    const hs_model_info info = ckpt_info();
    const hs_train_state t1 = ckpt_state(100), t2 = ckpt_state(200);
    const hs_ckpt_opts o = ckpt_opts(dir, 1);
    hs_ckpt *c;
    plan = (struct plan){ .fault = FAIL_ONCE, .at = 12, .error = ENOSPC };
    n_trace = 0;
    OK(hs_ckpt_new_with(&c, &o, ps, &bad_io));
    ckpt_fill(ps, 100);
    OK(hs_ckpt_save(c, ps, &t1, &info, NULL, NULL, false));
    ckpt_fill(ps, 200);
    assert_int_equal(hs_ckpt_save(c, ps, &t2, &info, NULL, NULL, false), HS_SYSTEM); // of the first; the second is written
    assert_non_null(strstr(hs_error(), "step 100 is not saved"));
    OK(hs_ckpt_wait(c));
    OK(hs_ckpt_resolve(dir, true, found, sizeof found));
    assert_int_equal(load_step(found), 200);
    hs_ckpt_free(c);
    hs_params_free(ps);
    ckpt_remove(dir);
}

// ---- power loss: what a rename makes visible was synced before, and what is deleted is no longer needed
static int last(call c, const char *path, int before)
{
    for (int i = before - 1; i >= 0; i--)
        if (trace[i].call == c && strcmp(trace[i].path, path) == 0)
            return i;
    return -1;
}

static void check_synced_before(int at, const char *folder)
{
    const size_t n = strlen(folder);
    for (int i = 0; i < at; i++) {
        const struct trace *t = &trace[i];
        const bool inside = strncmp(t->path, folder, n) == 0 && (t->path[n] == 0 || t->path[n] == '/');
        if (!inside || (t->call != WRITE && t->call != OPEN && t->call != MKDIR))
            continue;
        if (last(FSYNC, t->path, at) < i) // the file itself, and the folder that got a new entry
            fail_msg("%s is not synced before the rename of %s", t->path, folder);
        char parent[96];
        snprintf(parent, sizeof parent, "%s", t->path);
        *strrchr(parent, '/') = 0;
        if (t->call != WRITE && strlen(parent) >= n && last(FSYNC, parent, at) < i)
            fail_msg("%s is not synced before the rename of %s", parent, folder);
    }
}

static void syncs_come_before_renames(void **state)
{
    (void)state;
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    root = dir;
    hs_params *ps = ckpt_params(true);
    const hs_ckpt_opts o = ckpt_opts(dir, 1);
    hs_ckpt *c;
    plan = (struct plan){ 0 };
    n_trace = 0;
    OK(hs_ckpt_new_with(&c, &o, ps, &bad_io));
    for (int i = 0; i < HS_COUNT(saves); i++)
        OK(save(c, ps, saves[i].step, saves[i].best));
    int published = 0, pointed = 0, deleted = 0, last_pointer = -1;
    for (int i = 0; i < n_trace; i++) {
        const struct trace *t = &trace[i];
        if (t->call == RENAME && strstr(t->path, ".tmp-") != NULL) {
            check_synced_before(i, t->path);
            const bool pointer = strcmp(t->to, "/LATEST") == 0 || strcmp(t->to, "/BEST") == 0;
            for (int k = i - 1; k >= 0 && pointer; k--) // the folder it names is on disk
                if (trace[k].call == RENAME && strncmp(trace[k].to, "/step-", 6) == 0) {
                    assert_true(last(FSYNC, "", i) > k);
                    break;
                }
            published += !pointer, pointed += pointer;
            last_pointer = pointer ? i : last_pointer;
        } else if (t->call == RENAME && strstr(t->to, ".old-") != NULL) {
            deleted++;
            assert_true(last_pointer >= 0 && last(FSYNC, "", i) > last_pointer);
        } else if (t->call == UNLINK)
            assert_true(strstr(t->path, ".old-") != NULL || strstr(t->path, ".tmp-") != NULL); // never under its own name
    }
    assert_int_equal(published, HS_COUNT(saves));
    assert_int_equal(pointed, HS_COUNT(saves) + 2);
    assert_int_equal(deleted, 2); // 100, 200; 300 is BEST
    hs_ckpt_free(c);
    hs_params_free(ps);
    root = "";
    ckpt_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syncs_come_before_renames),          cmocka_unit_test(short_writes_are_completed),
        cmocka_unit_test(reports_failures_and_keeps_the_old), cmocka_unit_test(an_error_is_told_once_and_saving_goes_on),
        cmocka_unit_test(file_size_limits_are_errors),        cmocka_unit_test(survives_a_kill_before_every_call),
        cmocka_unit_test(survives_a_kill_within_every_write), cmocka_unit_test(survives_a_kill_at_any_time),
    };
    return cmocka_run_group_tests(tests, silence, NULL);
}

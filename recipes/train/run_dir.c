// run_dir: the folder is taken with a lock before anything in it is trusted or removed.
#include "recipes/train/run_dir.h"
#include "core/base/log.h"
#include "data/base/file.h"
#include "data/checkpoint/ckpt_parts.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// Step of the newest checkpoint folder; -1: none.
static int64_t newest_step(const char *checkpoints)
{
    DIR *d = opendir(checkpoints);
    int64_t newest = -1;
    for (struct dirent *e; d && (e = readdir(d));) {
        int64_t step;
        if (hs_step_name_parse(e->d_name, &step) && step > newest)
            newest = step;
    }
    if (d)
        closedir(d);
    return newest;
}

static hs_status resolve_path(hs_run_dir *r, const char *resume, int64_t newest, bool overwrite, int want)
{
    HS_TRY(hs_ckpt_resolve(resume, HS_CKPT_TRAIN | want, r->from, sizeof r->from));
    for (size_t n = strlen(r->from); n > 1 && r->from[n - 1] == '/'; n--) // "step-00000020/", as a shell completes it
        r->from[n - 1] = 0;
    int64_t step;
    const char *name = strrchr(r->from, '/');
    if (!hs_step_name_parse(name ? name + 1 : r->from, &step) || newest <= step)
        return HS_OK;
    if (!overwrite)
        return HS_FAIL(
            USAGE,
            "%s has a checkpoint of step %lld, later than the one to go on from (%lld): give another --out, or --overwrite to remove it",
            r->checkpoints, (long long)newest, (long long)step);
    r->replace = true, r->replace_after = step;
    return HS_OK;
}

// Two runs in one folder would overwrite each other's checkpoints. The lock dies with the process, however it ends.
static hs_status lock(hs_run_dir *r)
{
    char path[PATH_MAX];
    if (r->lock >= 0)
        return HS_OK;
    snprintf(path, sizeof path, "%s/.lock", r->dir);
    r->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (r->lock < 0)
        return HS_FAIL(SYSTEM, "cannot write %s: %s", path, strerror(errno));
    if (flock(r->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return HS_FAIL(USAGE, "another process is training in %s", r->dir);
    return HS_OK; // a file system without locks trains all the same
}

hs_status hs_run_dir_open(hs_run_dir *r, const char *dir, const char *resume, bool overwrite, int want, const hs_config *c)
{
    *r = (hs_run_dir){ .replace_after = -1, .lock = -1 };
    if ((size_t)snprintf(r->dir, sizeof r->dir, "%s", dir) >= sizeof r->dir)
        return HS_FAIL(USAGE, "--out: the path is too long: %.60s...", dir);
    snprintf(r->checkpoints, sizeof r->checkpoints, "%s/checkpoints", r->dir);
    if (access(r->checkpoints, F_OK) == 0) // of a run: another process may be about to save there
        HS_TRY(lock(r));
    const int64_t newest = newest_step(r->checkpoints);
    if (strcmp(resume, "auto") == 0) {
        if (newest >= 0) {
            if (c->train.init_from[0] && access(c->train.init_from, F_OK) != 0)
                hs_warn("train.init_from %s is not there; it is not needed, as the run goes on", c->train.init_from);
            return hs_ckpt_resolve(r->checkpoints, HS_CKPT_TRAIN | want, r->from, sizeof r->from);
        }
    } else if (strcmp(resume, "none") == 0) {
        if (newest >= 0 && !overwrite)
            return HS_FAIL(
                USAGE, "%s already has a run up to step %lld: --resume auto goes on, --resume none --overwrite starts anew and removes it",
                r->dir, (long long)newest);
        r->replace = newest >= 0;
    } else {
        return resolve_path(r, resume, newest, overwrite, want);
    }
    if (c->train.init_from[0])
        HS_TRY(hs_ckpt_resolve(c->train.init_from, want, r->init, sizeof r->init));
    return HS_OK;
}

bool hs_run_dir_holds(const hs_run_dir *r, const char *checkpoint)
{
    char path[PATH_MAX], own[PATH_MAX], other[PATH_MAX];
    if (!checkpoint[0] || (size_t)snprintf(path, sizeof path, "%s/..", checkpoint) >= sizeof path)
        return false;
    return realpath(path, other) && realpath(r->checkpoints, own) && strcmp(own, other) == 0;
}

// ---- creating
hs_status hs_make_folders(const char *path)
{
    char part[PATH_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1;; p++) {
        const char c = *p;
        if (c && c != '/')
            continue;
        *p = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return HS_FAIL(SYSTEM, "cannot create the folder %s: %s", part, strerror(errno));
        if (!c)
            break;
        *p = c;
    }
    struct stat s;
    if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode))
        return HS_FAIL(SYSTEM, "%s is not a folder", path);
    if (access(path, W_OK | X_OK) != 0)
        return HS_FAIL(SYSTEM, "cannot write into %s: %s", path, strerror(errno));
    return HS_OK;
}

// Only what Halfstep made: LATEST and BEST first, so that a kill in between leaves nothing that points to a removed folder.
static hs_status remove_checkpoints(const hs_run_dir *r)
{
    static const char *const names[] = { "LATEST", "BEST" };
    char path[PATH_MAX];
    for (int i = 0; i < HS_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", r->checkpoints, names[i]);
        unlink(path);
    }
    DIR *d = opendir(r->checkpoints);
    hs_status st = HS_OK;
    for (struct dirent *e; d && st == HS_OK && (e = readdir(d));) {
        int64_t step; // "step-00000020-mine" is the user's
        if (!hs_step_name_parse(e->d_name, &step) || step <= r->replace_after)
            continue;
        snprintf(path, sizeof path, "%s/%s", r->checkpoints, e->d_name);
        if (!hs_remove_tree(&hs_io_system, path))
            st = HS_FAIL(SYSTEM, "cannot remove %s: %s", path, strerror(errno));
    }
    if (d)
        closedir(d);
    return st;
}

void hs_run_dir_close(hs_run_dir *r)
{
    if (r->lock >= 0)
        close(r->lock);
    r->lock = -1;
}

static hs_status write_mark(const hs_run_dir *r)
{
    if (r->mark && (pwrite(r->lock, &r->mark, sizeof r->mark, 0) != sizeof r->mark || fsync(r->lock) != 0))
        return HS_FAIL(SYSTEM, "cannot write %s/.lock: %s", r->dir, strerror(errno));
    return HS_OK;
}

hs_status hs_run_dir_look(const hs_run_dir *r)
{
    char path[PATH_MAX];
    uint64_t mark = 0;
    snprintf(path, sizeof path, "%s/.lock", r->dir);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool same = fd >= 0 && read(fd, &mark, sizeof mark) == sizeof mark && mark == r->mark;
    if (fd >= 0)
        close(fd);
    if (same)
        return HS_OK;
    return HS_FAIL(SYSTEM, "this host does not see the run's folder %s as rank 0 does: --out must name one that all hosts share", r->dir);
}

hs_status hs_run_dir_take(hs_run_dir *r)
{
    HS_TRY(hs_make_folders(r->dir));
    HS_TRY(lock(r));
    return write_mark(r);
}

hs_status hs_run_dir_create(const hs_run_dir *r, const char *yaml, const hs_tokenizer *tok)
{
    char path[PATH_MAX];
    if (r->replace) {
        hs_info("replacing the run in %s", r->dir);
        HS_TRY(remove_checkpoints(r));
    }
    HS_TRY(hs_make_folders(r->checkpoints));
    snprintf(path, sizeof path, "%s/config.yaml", r->dir);
    HS_TRY(hs_file_save(path, yaml, strlen(yaml)));
    return hs_tokenizer_save(tok, r->dir);
}

// ckpt_program: checkpoints by the processes of a job, for cli_ckpt_ranks.sh.
//   save DIR DP TP DIVIDED STEP       a save by all of them
//   load DIR DP TP DIVIDED STEP       the newest is of that step (0: of step 100 or 200), and whole
//   kill DIR DP TP DIVIDED RANK CALL  saves step 100, then 200, in which that rank is killed at a call: "pwrite0", the first of its kind
#include "data/checkpoint/ckpt_parts.h"
#include "parallel/parallel.h"
#include "tests/support/support_ckpt.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hs_parallel *job;
static char kind[16]; // of call; "": none
static int calls_left;

static void count(const char *call)
{
    if (strcmp(call, kind) == 0 && calls_left-- == 0)
        raise(SIGKILL);
}
static ssize_t counted_write(int fd, const void *p, size_t n) { return count("write"), hs_io_system.write(fd, p, n); }
static ssize_t counted_pwrite(int fd, const void *p, size_t n, off_t at) { return count("pwrite"), hs_io_system.pwrite(fd, p, n, at); }
static int counted_fsync(int fd) { return count("fsync"), hs_io_system.fsync(fd); }
static int counted_rename(const char *from, const char *to, unsigned flags)
{
    return count("rename"), hs_io_system.rename(from, to, flags);
}
static int counted_mkdir(const char *path, mode_t mode) { return count("mkdir"), hs_io_system.mkdir(path, mode); }

typedef struct run {
    const char *dir;
    hs_grid grid;
    ckpt_layout at;
    hs_params *ps;
} run;

static hs_status begin(run *r, char **arg)
{
    r->dir = arg[0];
    HS_TRY(hs_parallel_grid(job, atoi(arg[1]), atoi(arg[2]), 30, &r->grid));
    r->at = (ckpt_layout){
        .dp_rank = r->grid.dp->rank, .dp = r->grid.dp->size, .tp_rank = r->grid.tp->rank, .tp = r->grid.tp->size, .divided = atoi(arg[3])
    };
    r->ps = ckpt_params_rank(&r->at, "adamw", NULL);
    return HS_OK;
}

static hs_status save_step(hs_ckpt *c, run *r, int64_t step)
{
    const hs_train_state t = ckpt_state(step);
    const hs_model_info info = ckpt_info();
    ckpt_fill(r->ps, (uint64_t)step);
    HS_TRY(hs_ckpt_save(c, r->ps, &t, &info, NULL, "model: {}\n", false));
    return hs_ckpt_wait(c);
}

static hs_status open_writer(hs_ckpt **c, const run *r, const hs_io *io)
{
    hs_ckpt_opts o = ckpt_opts(r->dir, 3);
    o.grid = &r->grid, o.world = hs_parallel_world(job), o.comm = hs_parallel_files(job);
    return hs_ckpt_new_with(c, &o, r->ps, io);
}

static hs_status save(char **arg)
{
    run r;
    hs_ckpt *c;
    HS_TRY(begin(&r, arg));
    HS_TRY(open_writer(&c, &r, &hs_io_system));
    HS_TRY(save_step(c, &r, atoll(arg[4])));
    hs_ckpt_free(c);
    hs_params_free(r.ps);
    return HS_OK;
}

static hs_status load(char **arg)
{
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    const int64_t want = atoll(arg[4]);
    hs_train_state t;
    char found[HS_PATH];
    run r;
    HS_TRY(begin(&r, arg));
    HS_TRY(hs_ckpt_resolve_on(hs_parallel_world(job), r.dir, HS_CKPT_TRAIN, found, sizeof found));
    HS_TRY(hs_ckpt_load_params(found, &o, r.ps));
    HS_TRY(hs_ckpt_load_train(found, r.ps, &t));
    if (want ? t.step != want : t.step != 100 && t.step != 200)
        return HS_FAIL(CORRUPT, "%s: is of step %lld", found, (long long)t.step);
    if (!ckpt_filled(r.ps, (uint64_t)t.step, true) || !ckpt_low_filled(r.ps, (uint64_t)t.step))
        return HS_FAIL(CORRUPT, "%s: values are others than were saved", found);
    hs_params_free(r.ps);
    return HS_OK;
}

static hs_status kill_one(char **arg)
{
    hs_io io = hs_io_system;
    run r;
    hs_ckpt *c;
    HS_TRY(begin(&r, arg));
    io.write = counted_write, io.pwrite = counted_pwrite, io.fsync = counted_fsync, io.rename = counted_rename, io.mkdir = counted_mkdir;
    HS_TRY(open_writer(&c, &r, &io));
    HS_TRY(save_step(c, &r, 100));
    if (hs_parallel_world(job)->rank == atoi(arg[4])) {
        const size_t n = strcspn(arg[5], "0123456789");
        snprintf(kind, sizeof kind, "%.*s", (int)n, arg[5]);
        calls_left = atoi(arg[5] + n);
    }
    HS_TRY(save_step(c, &r, 200));
    hs_ckpt_free(c);
    hs_params_free(r.ps);
    return HS_OK;
}

static const struct {
    const char *name;
    int n;
    hs_status (*run)(char **arg);
} modes[] = { { "save", 5, save }, { "load", 5, load }, { "kill", 6, kill_one } };

int main(int argc, char **argv)
{
    hs_status st = hs_parallel_open(&job);
    if (st == HS_OK) {
        st = HS_FAIL(USAGE, "ckpt_program save|load|kill DIR DP TP DIVIDED ...");
        for (int i = 0; argc > 1 && i < HS_COUNT(modes); i++)
            if (strcmp(modes[i].name, argv[1]) == 0 && argc == 2 + modes[i].n)
                st = modes[i].run(argv + 2);
        if (st == HS_OK) {
            hs_parallel_close(job);
            return 0;
        }
        hs_parallel_fail(job, st);
    }
    fprintf(stderr, "halfstep: %s\n", hs_error());
    return hs_status_exit(st);
}

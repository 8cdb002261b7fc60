// alloc_program: steps of a run, after the first few, take no memory - on any layout, from any of its threads.
//   mpirun -np N alloc_program CONFIG.yaml --parallel.tp=2 ...
// What MPI's own libraries take is none of ours.
#include "parallel/parallel.h"
#include "recipes/program/cli.h"
#include "recipes/program/commands.h"
#include "recipes/train/trainer.h"
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 6, STEPS = 20, CALLERS = 64 };

// The program's own functions stand in front of the C library's.
static atomic_bool counts;
static atomic_int n_taken;
static void *caller[CALLERS];

static void *next(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);
    if (!p)
        abort();
    return p;
}

static void note(void *from)
{
    if (!atomic_load(&counts))
        return;
    const int i = atomic_fetch_add(&n_taken, 1);
    if (i < CALLERS)
        caller[i] = from;
}

void *malloc(size_t n)
{
    static void *(*real)(size_t);
    if (!real)
        *(void **)&real = next("malloc");
    note(__builtin_return_address(0));
    return real(n);
}

void *calloc(size_t n, size_t size)
{
    static void *(*real)(size_t, size_t);
    if (!real)
        *(void **)&real = next("calloc");
    note(__builtin_return_address(0));
    return real(n, size);
}

void *realloc(void *p, size_t n)
{
    static void *(*real)(void *, size_t);
    if (!real)
        *(void **)&real = next("realloc");
    note(__builtin_return_address(0));
    return real(p, n);
}

void *aligned_alloc(size_t unit, size_t n)
{
    static void *(*real)(size_t, size_t);
    if (!real)
        *(void **)&real = next("aligned_alloc");
    note(__builtin_return_address(0));
    return real(unit, n);
}

int posix_memalign(void **p, size_t unit, size_t n)
{
    static int (*real)(void **, size_t, size_t);
    if (!real)
        *(void **)&real = next("posix_memalign");
    note(__builtin_return_address(0));
    return real(p, unit, n);
}

static bool is_mpi(const char *path)
{
    static const char *const libraries[] = { "libmpi", "libopen-", "libpmix", "libevent", "libhwloc", "libucs", "libucp", "libuct", "/mca_" };
    for (int i = 0; i < HS_COUNT(libraries); i++)
        if (strstr(path, libraries[i]))
            return true;
    return false;
}

// How many of them were ours; each is told.
static int ours(int rank)
{
    const int n = atomic_load(&n_taken);
    int own = n > CALLERS ? n - CALLERS : 0;
    for (int i = 0; i < n && i < CALLERS; i++) {
        Dl_info at = { 0 };
        if (dladdr(caller[i], &at) && at.dli_fname && is_mpi(at.dli_fname))
            continue;
        fprintf(stderr, "rank %d: memory was taken from %s+%#tx (%s)\n", rank, at.dli_fname ? at.dli_fname : "?",
                (char *)caller[i] - (char *)at.dli_fbase, at.dli_sname ? at.dli_sname : "?");
        own++;
    }
    return own;
}

// Is what libraries take seen at all?
static bool sees(void)
{
    atomic_store(&counts, true);
    char *volatile text = strdup("x");
    atomic_store(&counts, false);
    const int n = atomic_exchange(&n_taken, 0);
    free(text);
    return n == 1;
}

static hs_status steps(hs_trainer *t, int n)
{
    for (int i = 0; i < n; i++) {
        HS_TRY(hs_step_run(t));
        HS_TRY(hs_run_wait(t->engine->run));
        while (hs_run_read_record(t->engine->run))
            ;
    }
    return hs_ranks_meet(&t->ranks, "all steps are over"); // and each rank's threads have done what was begun
}

static hs_status train(const hs_cli *cli, hs_parallel *job, hs_config *config)
{
    hs_trainer *t = malloc(sizeof *t);
    HS_TRY(hs_cli_config(cli, cli->arg[0], config));
    const hs_train_opts o = { .config = config, .dir = "", .resume = "none", .parallel = job, .quiet = true, .dry = true };
    hs_status st = t ? hs_trainer_open(t, &o) : HS_FAIL(MEMORY, "no memory for a trainer");
    if (st == HS_OK)
        st = steps(t, WARM_UP);
    if (st == HS_OK && !sees())
        st = HS_FAIL(INTERNAL, "what is taken is not seen");
    if (st == HS_OK) {
        atomic_store(&counts, true);
        st = steps(t, STEPS);
        atomic_store(&counts, false);
    }
    if (t)
        hs_trainer_close(t);
    free(t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

int main(int argc, char **argv)
{
    static hs_config_table table;
    hs_parallel *job = NULL;
    hs_cli cli;
    hs_config *config = calloc(1, sizeof *config);
    hs_status st = hs_parallel_open(&job);
    if (st == HS_OK)
        st = hs_config_table_init(&table, hs_families);
    if (st == HS_OK && config)
        st = hs_cli_parse(&cli, &table, &hs_cmd_pretrain, argc - 1, argv + 1);
    if (st == HS_OK)
        st = train(&cli, job, config);
    if (st != HS_OK) {
        fprintf(stderr, "%s\n", hs_error());
        hs_parallel_fail(job, st);
        return 1;
    }
    const int own = ours(hs_parallel_world(job)->rank);
    hs_cli_free(&cli);
    free(config);
    hs_parallel_close(job);
    return own > 0;
}

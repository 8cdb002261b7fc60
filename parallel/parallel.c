// parallel: joining and leaving the job, who its ranks are and where, and the grid they make.
#include "parallel/parallel.h"
#include "core/cpu/cpu.h"
#include "parallel/parallel_impl.h"
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// What each launcher tells its children. SLURM_NTASKS would not do: a batch script sees it too, outside any srun.
static const struct launcher {
    const char *name, *size, *rank;
} launchers[] = {
    { "mpirun (Open MPI)", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK" },
    { "mpirun (MVAPICH2)", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK" },
    { "mpirun (PMI: MPICH, Intel MPI)", "PMI_SIZE", "PMI_RANK" },
    { "srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID" },
};

static const struct launcher *launched(int *size, int *rank)
{
    for (int i = 0; i < HS_COUNT(launchers); i++) {
        const char *s = getenv(launchers[i].size), *r = getenv(launchers[i].rank);
        if (s && strtol(s, NULL, 10) > 1) {
            *size = (int)strtol(s, NULL, 10);
            *rank = r ? (int)strtol(r, NULL, 10) : 0;
            return &launchers[i];
        }
    }
    *size = 1, *rank = 0;
    return NULL;
}

int hs_parallel_launched(int *rank)
{
    int size, r;
    launched(&size, &r);
    if (rank)
        *rank = r;
    return size;
}

// ---- the library that talks to other processes

static const char backend[] = "libhalfstep_mpi.so";

static hs_status load(void **library, const hs_transport **t, char *path, size_t size)
{
    Dl_info here; // it lies beside this library
    const char *slash = dladdr((void *)(uintptr_t)hs_parallel_open, &here) && here.dli_fname ? strrchr(here.dli_fname, '/') : NULL;
    snprintf(path, size, "%.*s%s", slash ? (int)(slash + 1 - here.dli_fname) : 0, slash ? here.dli_fname : "", backend);
    *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL); // MPI's own plug-ins look for its symbols
    if (!*library)
        return HS_FAIL(UNSUPPORTED, "%s", dlerror());
    *t = dlsym(*library, HS_TRANSPORT_SYMBOL);
    if (*t && (*t)->version == HS_TRANSPORT_VERSION)
        return HS_OK;
    dlclose(*library);
    *library = NULL;
    return HS_FAIL(UNSUPPORTED, "%s is of another version of Halfstep", path);
}

hs_status hs_parallel_library(char *name, size_t size)
{
    void *library;
    const hs_transport *t;
    char path[4096];
    HS_TRY(load(&library, &t, path, sizeof path));
    t->library(name, size); // it stays loaded: MPI does not like to go
    return HS_OK;
}

static hs_status join(hs_parallel *p, const struct launcher *by, int n)
{
    char path[4096], why[512], name[128];
    if (load(&p->library, &p->t, path, sizeof path) != HS_OK) {
        snprintf(why, sizeof why, "%s", hs_error());
        return HS_FAIL(UNSUPPORTED, "started by %s as rank %d of %d, but this build runs in one process: %s", by->name, p->rank, n, why);
    }
    const int error = p->t->open(HS_N_CHANNELS, &p->rank, &p->size);
    if (error) {
        p->t->explain(error, why, sizeof why);
        return HS_FAIL(SYSTEM, "%s: %s", path, why);
    }
    p->t->library(name, sizeof name);
    if (p->size != n) {
        p->t->close();
        return HS_FAIL(UNSUPPORTED, "started by %s as one of %d ranks, but %s, which this build has, finds %d: it needs its own mpirun%s",
                       by->name, n, name, p->size, strcmp(by->name, "srun") ? "" : ", or srun --mpi=pmix");
    }
    return HS_OK;
}

// ---- who is where

enum { MOST_CORES = 8192 }; // as many as Linux can be built for

typedef struct introduction {
    char host[HS_HOST_BYTES];
    char boot[40];    // hosts and containers may have the same name: pids mean the same in one boot and one namespace
    int64_t pids_are; // inode of the pid namespace
    int64_t pid;
    uint64_t cores[MOST_CORES / 64];
} introduction;

static void introduce(introduction *i)
{
    struct stat ns;
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    gethostname(i->host, sizeof i->host - 1);
    if (f) {
        if (!fgets(i->boot, sizeof i->boot, f))
            i->boot[0] = 0;
        fclose(f);
    }
    i->pids_are = stat("/proc/self/ns/pid", &ns) == 0 ? (int64_t)ns.st_ino : 0;
    i->pid = getpid();
    if (sched_getaffinity(0, sizeof i->cores, (cpu_set_t *)(void *)i->cores) != 0)
        for (int c = 0; c < hs_cpu_cores() && c < MOST_CORES; c++) // any of them
            i->cores[c / 64] |= (uint64_t)1 << c % 64;
}

static bool same_host(const introduction *a, const introduction *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->boot, b->boot) == 0;
}

static int cores_of_both(const introduction *a, const introduction *b)
{
    int n = 0;
    for (int i = 0; i < HS_COUNT(a->cores); i++)
        n += __builtin_popcountll(a->cores[i] & b->cores[i]);
    return n;
}

static void add_cores(introduction *to, const introduction *i)
{
    for (int k = 0; k < HS_COUNT(to->cores); k++)
        to->cores[k] |= i->cores[k];
}

static hs_status meet(hs_parallel *p)
{
    introduction mine = { .pid = 0 }, *all = calloc((size_t)p->size, sizeof *all);
    p->hosts = calloc((size_t)p->size, sizeof *p->hosts);
    p->pids = calloc((size_t)p->size, sizeof *p->pids);
    if (!all || !p->hosts || !p->pids) {
        free(all);
        return HS_FAIL(MEMORY, "no memory for the names of %d ranks", p->size);
    }
    introduce(&mine);
    memcpy(p->host, mine.host, sizeof p->host);
    for (int r = 0; r < p->size; r++) // for a message about who is missing here already
        snprintf(p->hosts[r], HS_HOST_BYTES, "?");
    p->world.c.about = "who is where";
    p->world.c.all_gather(&p->world.c, NULL, &mine, all, sizeof mine, HS_U8);
    introduction together = { .pid = 0 };
    p->sharing = p->here = p->local = 0;
    for (int r = 0; r < p->size; r++) {
        memcpy(p->hosts[r], all[r].host, HS_HOST_BYTES);
        if (!same_host(&all[r], &mine))
            continue;
        p->pids[r] = mine.pids_are && all[r].pids_are == mine.pids_are ? all[r].pid : 0;
        p->here++;
        p->local += r < p->rank;
        p->sharing += r == p->rank || cores_of_both(&all[r], &mine) > 0;
        add_cores(&together, &all[r]);
    }
    p->together = cores_of_both(&together, &together);
    p->crowded = p->sharing > p->cores;
    free(all);
    return HS_OK;
}

static int cores_of(pid_t process)
{
    cpu_set_t cores;
    return sched_getaffinity(process, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 0;
}

static hs_status open_ranks(hs_parallel *p, const struct launcher *by, int n)
{
    HS_TRY(join(p, by, n));
    p->ring = calloc(HS_RING, sizeof *p->ring);
    if (!p->ring)
        return HS_FAIL(MEMORY, "no memory for what ranks did last");
    HS_TRY(hs_link_new(&p->link[HS_CHANNEL_WORLD], p, HS_CHANNEL_WORLD, "world", 0, 1, p->size));
    HS_TRY(hs_link_new(&p->link[HS_CHANNEL_FILES], p, HS_CHANNEL_FILES, "files", 0, 1, p->size));
    p->link[HS_CHANNEL_FILES]->patient = true;
    hs_ranks_comm_init(&p->world, p->link[HS_CHANNEL_WORLD], NULL);
    hs_ranks_comm_init(&p->files, p->link[HS_CHANNEL_FILES], NULL);
    HS_TRY(meet(p));
    if (strncmp(by->name, "mpirun", 6) == 0) // its daemon is not bound to what it binds ranks to
        p->usable = cores_of(getppid());
    HS_TRY(hs_queue_open(p));
    return hs_watch_open(p);
}

static void free_parallel(hs_parallel *p)
{
    free(p->ring);
    for (int i = 0; i < HS_N_CHANNELS; i++)
        hs_link_free(p->link[i]);
    pthread_mutex_destroy(&p->lock);
    free(p->hosts);
    free(p->pids);
    free(p);
}

hs_status hs_parallel_open(hs_parallel **out)
{
    hs_parallel *p = *out = calloc(1, sizeof *p);
    int n;
    if (!p)
        return HS_FAIL(MEMORY, "no memory for the ranks of a job");
    pthread_mutex_init(&p->lock, NULL);
    p->size = p->sharing = p->here = 1, p->cores = hs_cpu_cores();
    const struct launcher *by = launched(&n, &p->rank);
    const hs_status st = by ? open_ranks(p, by, n) : HS_OK;
    if (st == HS_OK) {
        p->world_self = p->files_self = hs_comm_self_dp;
        p->world_self.axis = "world", p->files_self.axis = "files";
        return HS_OK;
    }
    hs_queue_close(p);
    free_parallel(p);
    *out = NULL;
    return st;
}

void hs_parallel_close(hs_parallel *p)
{
    if (!p)
        return;
    if (p->size > 1) {
        p->world.c.about = "the end";
        p->world.c.all_reduce(&p->world.c, NULL, NULL, 0, HS_F32, HS_REDUCE_SUM); // nobody needs anybody any more
        hs_queue_close(p);
        hs_watch_close(p);
        p->t->close();
    }
    free_parallel(p);
}

// ---- the grid

static hs_status check_grid(const hs_parallel *p, int *dp, int tp)
{
    if (tp < 1 || *dp < 0)
        return HS_FAIL(USAGE, "parallel.dp is %d, parallel.tp %d: there are no such ranks", *dp, tp);
    if (!*dp && p->size % tp)
        return HS_FAIL(USAGE, "parallel.tp is %d, which does not divide the %d rank%s of this job", tp, p->size, p->size > 1 ? "s" : "");
    if (!*dp)
        *dp = p->size / tp;
    if ((int64_t)*dp * tp != p->size)
        return HS_FAIL(USAGE, "parallel.dp %d x parallel.tp %d %s %lld rank%s, but this job has %d: mpirun -np %lld", *dp, tp,
                       (int64_t)*dp * tp == 1 ? "is" : "are", (long long)*dp * tp, (int64_t)*dp * tp == 1 ? "" : "s", p->size,
                       (long long)*dp * tp);
    return HS_OK;
}

static hs_status agree_on_grid(hs_parallel *p, int dp, int tp, double timeout)
{
    static const char *const keys[] = { "parallel.dp", "parallel.tp", "parallel.timeout" };
    const double mine[3] = { dp, tp, timeout };
    double all[p->size][3];
    p->world.c.about = "the grid";
    p->world.c.all_gather(&p->world.c, NULL, mine, all, 3, HS_F64);
    for (int r = 0; r < p->size; r++)
        for (int k = 0; k < HS_COUNT(keys); k++)
            if (all[r][k] != all[0][k])
                return HS_FAIL(USAGE, "%s is %g on rank %d (%s), %g on rank 0 (%s)", keys[k], all[r][k], r, p->hosts[r], all[0][k],
                               p->hosts[0]);
    return HS_OK;
}

static hs_status open_axis(hs_parallel *p, hs_ranks_comm *c, hs_channel channel, const char *axis, int first, int stride, int size)
{
    const hs_channel channels[] = { channel, channel == HS_CHANNEL_DP ? HS_CHANNEL_DP_STARTED : HS_CHANNEL_TP_STARTED };
    hs_link *links[2] = { NULL, NULL };
    hs_status st = HS_OK;
    for (int i = 0; i < 2 && size > 1 && st == HS_OK; i++)
        st = hs_link_new(&links[i], p, channels[i], axis, first, stride, size);
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < 2; i++) {
        hs_link *old = p->link[channels[i]];
        p->link[channels[i]] = links[i];
        links[i] = old;
    }
    pthread_mutex_unlock(&p->lock);
    hs_link_free(links[0]), hs_link_free(links[1]);
    if (size > 1 && st == HS_OK) {
        p->link[channels[1]]->patient = true;
        hs_ranks_comm_init(c, p->link[channels[0]], p->link[channels[1]]);
    }
    return st;
}

hs_status hs_parallel_grid(hs_parallel *p, int dp, int tp, double timeout, hs_grid *out)
{
    HS_TRY(check_grid(p, &dp, tp));
    if (p->size > 1)
        HS_TRY(agree_on_grid(p, dp, tp, timeout));
    HS_TRY(open_axis(p, &p->dp, HS_CHANNEL_DP, "dp", p->rank % tp, tp, dp));
    HS_TRY(open_axis(p, &p->tp, HS_CHANNEL_TP, "tp", p->rank / tp * tp, 1, tp));
    pthread_mutex_lock(&p->lock);
    p->timeout = timeout;
    pthread_mutex_unlock(&p->lock);
    *out = hs_grid_self();
    if (dp > 1)
        out->dp = &p->dp.c;
    if (tp > 1)
        out->tp = &p->tp.c;
    return HS_OK;
}

hs_comm *hs_parallel_world(hs_parallel *p) { return p->size > 1 ? &p->world.c : &p->world_self; }

hs_comm *hs_parallel_files(hs_parallel *p) { return p->size > 1 ? &p->files.c : &p->files_self; }

int hs_parallel_calls(hs_parallel *p, int64_t since, hs_parallel_call *out, int most)
{
    int n = 0;
    pthread_mutex_lock(&p->lock);
    for (int64_t i = p->n_past > HS_RING ? p->n_past - HS_RING : 0; i < p->n_past && n < most; i++) {
        const hs_past *past = &p->ring[i % HS_RING];
        const hs_hello *h = &past->at.call;
        if (past->at.ended <= since)
            continue;
        const hs_link *l = p->link[past->place];
        const bool each = h->kind == HS_CALL_REDUCE_SCATTER || h->kind == HS_CALL_ALL_GATHER; // n is of each rank
        hs_parallel_call *c = &out[n++];
        *c = (hs_parallel_call){ .call = hs_call_name(h->kind),
                                 .axis = l ? l->axis : "",
                                 .bytes = (double)h->n * (double)hs_dtype_bytes((hs_dtype)h->dtype) * (each && l ? l->size : 1),
                                 .begun = past->at.begun,
                                 .ended = past->at.ended,
                                 .started = past->place == HS_CHANNEL_DP_STARTED || past->place == HS_CHANNEL_TP_STARTED };
        memcpy(c->about, h->about, sizeof c->about);
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

hs_status hs_parallel_raw(hs_parallel *p, hs_raw_kind kind, const void *in, void *out, int64_t n)
{
    if (p->size == 1)
        return HS_FAIL(UNSUPPORTED, "one process has no backend to measure");
    const int error = p->t->raw(kind, in, out, n);
    if (!error)
        return HS_OK;
    char why[512];
    p->t->explain(error, why, sizeof why);
    return HS_FAIL(REMOTE, "%s", why);
}

void hs_parallel_share(hs_parallel *p, int *cores, int *ranks) { *cores = p->cores, *ranks = p->sharing; }

void hs_parallel_bound(hs_parallel *p, int *cores, int *usable) { *cores = p->together, *usable = p->usable; }

int hs_parallel_here(hs_parallel *p) { return p ? p->here : 1; }

int hs_parallel_local(hs_parallel *p) { return p ? p->local : 0; }

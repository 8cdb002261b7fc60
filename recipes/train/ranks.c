// ranks: settings, builds, plans and data travel as text, so that a difference can be shown.
#include "recipes/train/ranks.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "core/cpu/cpu.h"
#include "core/graph/agree.h"
#include "data/base/file.h"
#include "recipes/hs_git.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

hs_ranks hs_ranks_alone(void)
{
    return (hs_ranks){ .host = hs_grid_self(), .grid = hs_grid_self(), .world = &hs_comm_self_dp, .size = 1, .dp = 1, .tp = 1 };
}

// ---- collectives of host code
static hs_status ended(hs_comm *c)
{
    const hs_status st = c->poll(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status reduce(hs_comm *c, const char *about, double *v, int64_t n, hs_reduce op)
{
    c->about = about;
    c->all_reduce(c, NULL, v, n, HS_F64, op);
    return ended(c);
}

hs_status hs_ranks_sum(const hs_ranks *r, const char *about, double *v, int64_t n) { return reduce(r->world, about, v, n, HS_REDUCE_SUM); }
hs_status hs_ranks_max(const hs_ranks *r, const char *about, double *v, int64_t n) { return reduce(r->world, about, v, n, HS_REDUCE_MAX); }
hs_status hs_ranks_sum_dp(const hs_ranks *r, const char *about, double *v, int64_t n)
{
    return reduce(r->host.dp, about, v, n, HS_REDUCE_SUM);
}

hs_status hs_ranks_max_dp(const hs_ranks *r, const char *about, double *v, int64_t n)
{
    return reduce(r->host.dp, about, v, n, HS_REDUCE_MAX);
}

hs_status hs_ranks_meet(const hs_ranks *r, const char *about)
{
    double nothing = 0;
    return hs_ranks_sum(r, about, &nothing, 1);
}

static hs_status tell(hs_comm *c, const char *about, void *buf, size_t bytes)
{
    c->about = about;
    c->broadcast(c, NULL, buf, bytes, 0);
    return ended(c);
}

hs_status hs_ranks_tell(const hs_ranks *r, const char *about, void *buf, size_t bytes) { return tell(r->world, about, buf, bytes); }

// ---- what takes long on one rank
typedef struct job {
    hs_ranks_work *work;
    void *arg;
    hs_status st;
    char message[1024];
} job;

static void *do_job(void *arg)
{
    job *j = arg;
    j->st = j->work(j->arg);
    if (j->st != HS_OK)
        snprintf(j->message, sizeof j->message, "%s", hs_error());
    return NULL;
}

static hs_status beside(job *j, hs_agreement *a)
{
    pthread_t thread;
    struct timespec until;
    HS_TRY(hs_thread_start(&thread, do_job, j, "the thread that works while other ranks are met"));
    do {
        hs_agree_tick(a); // of others' failures hs_agree_end says
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 250 * 1000 * 1000;
        until.tv_sec += until.tv_nsec / 1000000000, until.tv_nsec %= 1000000000;
    } while (pthread_timedjoin_np(thread, NULL, &until) != 0);
    return j->st == HS_OK ? HS_OK : hs_fail_at(j->st, __FILE__, __LINE__, "%s", j->message);
}

hs_status hs_ranks_first_does(const hs_ranks *r, const char *about, hs_ranks_work *work, void *arg)
{
    if (r->size == 1)
        return work(arg);
    job j = { .work = work, .arg = arg };
    r->world->about = about;
    hs_agreement a = hs_agree_begin(r->world, 1);
    return hs_agree_end(&a, hs_ranks_first(r) ? beside(&j, &a) : HS_OK);
}

// ---- the same everywhere
// The text of the first rank of c, malloc'd.
static hs_status first_text(hs_comm *c, const char *what, const char *own, char **out)
{
    uint64_t bytes = strlen(own) + 1;
    *out = NULL;
    HS_TRY(tell(c, what, &bytes, sizeof bytes));
    char *text = calloc(1, bytes);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for %llu bytes of text", (unsigned long long)bytes);
    if (c->rank == 0)
        memcpy(text, own, bytes);
    const hs_status st = tell(c, what, text, bytes);
    if (st != HS_OK) {
        free(text);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = text;
    return HS_OK;
}

hs_status hs_ranks_same(const hs_ranks *r, hs_comm *c, const char *what, const char *value)
{
    char *first;
    if (r->size == 1)
        return HS_OK;
    HS_TRY(first_text(c, what, value, &first));
    hs_status st = HS_OK;
    if (strcmp(first, value) != 0)
        st = HS_FAIL(USAGE, "%s is %s here, and %s on rank %d: all must have the same", what, value, first,
                     c == r->host.dp ? r->host.tp->rank : 0);
    free(first);
    HS_TRY(st);
    return hs_ranks_meet(r, what);
}

// ---- settings, a line each
static char *settings_text(const hs_config *c)
{
    const hs_schema *s = &c->table->schema;
    char *text = NULL, name[HS_KEY_NAME], value[HS_KEY_STRING_BYTES + 8];
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    hs_key_at at;
    for (int i = 0; f && (at = hs_schema_row(s, c, i)).key; i++) {
        hs_schema_format(s, c, at, value, sizeof value);
        fprintf(f, "%s is %s\n", hs_schema_name(at, name), value[0] ? value : "(empty)");
    }
    if (f)
        fclose(f);
    return text;
}

// The first line that is another one; both end where the shorter does, at most.
static hs_status differ(const hs_config *c, const char *own, const char *first)
{
    size_t line = 0, key = 0;
    char name[HS_KEY_NAME], at[128];
    for (size_t i = 0; own[i] == first[i]; i++)
        if (own[i] == '\n')
            line = i + 1;
    own += line, first += line;
    const int n_own = (int)strcspn(own, "\n"), n_first = (int)strcspn(first, "\n");
    key = strcspn(own, " ");
    key = key < sizeof name ? key : sizeof name - 1;
    memcpy(name, own, key);
    name[key] = 0;
    const bool same_key = strncmp(own, first, key + 1) == 0;
    const int skip = same_key ? (int)key + 4 : 0;
    return HS_FAIL(USAGE, "%s%.*s here, and %.*s on rank 0: all ranks must have the same settings",
                   same_key ? hs_config_prefix(c, name, at, sizeof at) : "", n_own, own, n_first - skip, first + skip);
}

hs_status hs_ranks_same_settings(const hs_ranks *r, const hs_config *c)
{
    char *own = r->size > 1 ? settings_text(c) : NULL, *first;
    if (r->size == 1)
        return HS_OK;
    if (!own)
        return HS_FAIL(MEMORY, "no memory for the settings as text");
    hs_status st = first_text(r->world, "settings", own, &first);
    if (st == HS_OK && strcmp(own, first) != 0)
        st = differ(c, own, first);
    free(own);
    free(first);
    HS_TRY(st);
    return hs_ranks_meet(r, "settings");
}

// ---- build
static uint64_t hash_of(const char *path)
{
    hs_file f;
    if (hs_file_map(&f, path) != HS_OK)
        return 0;
    const uint64_t hash = XXH3_64bits(f.data, f.bytes);
    hs_file_unmap(&f);
    return hash;
}

// The commit alone would not tell a build with changes, or another compiler's, whose sums may round otherwise.
static void build_text(char *buf, size_t size)
{
    Dl_info library = { 0 };
    const bool known = dladdr((void *)(uintptr_t)hs_error, &library) && library.dli_fname;
    const uint64_t files = hash_of("/proc/self/exe") ^ 3 * (known ? hash_of(library.dli_fname) : 0);
    snprintf(buf, size, "%s %s (%016llx)", HS_VERSION, HS_GIT, (unsigned long long)files);
}

static hs_status same_build(const hs_ranks *r)
{
    char build[128];
    if (r->size == 1)
        return HS_OK;
    build_text(build, sizeof build);
    return hs_ranks_same(r, r->world, "the build", build);
}

// ---- opening
hs_status hs_ranks_open(hs_ranks *r, hs_parallel *p, const hs_config *c)
{
    *r = hs_ranks_alone();
    hs_comm *world = p ? hs_parallel_world(p) : NULL;
    if (world && world->size > 1)
        r->parallel = p, r->world = world, r->rank = world->rank, r->size = world->size, r->files = hs_parallel_files(p);
    HS_TRY(same_build(r));
    HS_TRY(hs_ranks_same_settings(r, c));
    HS_TRY(hs_config_check_ranks(c, r->size, &r->dp));
    r->tp = (int)c->parallel.tp;
    hs_config_tell_idle(c, r->dp);
    if (r->parallel)
        HS_TRY(hs_parallel_grid(p, r->dp, r->tp, c->parallel.timeout, &r->host));
    r->grid = r->host;
    return HS_OK;
}

hs_status hs_ranks_on_device(hs_ranks *r, hs_device *d)
{
    HS_TRY(hs_parallel_on_device(&r->grid.dp, r->parallel, r->host.dp, d));
    return hs_parallel_on_device(&r->grid.tp, r->parallel, r->host.tp, d);
}

void hs_ranks_off_device(hs_ranks *r)
{
    hs_parallel_off_device(r->parallel, r->host.dp, r->grid.dp);
    hs_parallel_off_device(r->parallel, r->host.tp, r->grid.tp);
    r->grid = r->host;
}

void hs_ranks_fail(const hs_ranks *r, hs_status st)
{
    if (st != HS_OK && (r->grid.dp->calls || r->grid.tp->calls))
        hs_parallel_fail(r->parallel, st);
}

int hs_ranks_threads(const hs_ranks *r, int64_t asked)
{
    int cores = 1, ranks = 1;
    if (!r->parallel || asked)
        return (int)asked;
    hs_parallel_share(r->parallel, &cores, &ranks);
    return cores / ranks ? cores / ranks : 1;
}

double hs_ranks_cores(const hs_ranks *r, int threads)
{
    int cores = hs_cpu_cores(), ranks = 1;
    if (r->parallel)
        hs_parallel_share(r->parallel, &cores, &ranks);
    return threads * ranks > cores ? (double)cores / ranks : threads;
}

void hs_ranks_tell_crowded(const hs_ranks *r, int threads)
{
    int cores = 1, ranks = 1;
    if (!r->parallel || !hs_ranks_first(r))
        return;
    hs_parallel_share(r->parallel, &cores, &ranks);
    if ((int64_t)threads * ranks > cores)
        hs_warn("%d ranks of %d thread%s share %d core%s of this host: they wait for one another", ranks, threads, hs_plural(threads),
                cores, hs_plural(cores));
    int together, usable;
    hs_parallel_bound(r->parallel, &together, &usable);
    if (2 * together < usable)
        hs_warn("the %d rank%s of this host are bound to %d of its %d cores: mpirun --bind-to none (or --map-by slot:PE=N) gives them more",
                hs_parallel_here(r->parallel), hs_plural(hs_parallel_here(r->parallel)), together, usable);
}

// nccl_open: NCCL's library, the ranks that come together over it, and their parting.
#include "parallel/nccl_impl.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static hs_status load(hs_nccl_library *lib)
{
#ifdef HS_EMULATED
#define FIND(f) lib->f = f;
#else
    void *from = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL); // it stays: threads of its own may outlive a comm
    if (!from)
        return HS_FAIL(UNSUPPORTED, "NCCL: %s", dlerror());
#define FIND(f)                                                                                                                            \
    if (!(*(void **)&lib->f = dlsym(from, #f)))                                                                                            \
        return HS_FAIL(UNSUPPORTED, "NCCL: its library has no %s", #f);
#endif
    HS_NCCL_LIBRARY(FIND)
#undef FIND
    return HS_OK;
}

hs_status hs_nccl_version(int *version)
{
    hs_nccl_library lib;
    HS_TRY(load(&lib));
    return lib.ncclGetVersion(version) == ncclSuccess ? HS_OK : HS_FAIL(UNSUPPORTED, "NCCL: it does not say its version");
}

// ---- opening and closing

static void close_nccl(hs_comm *c)
{
    hs_nccl *x = c->impl;
    hs_calls_close(x->calls);
    pthread_mutex_lock(&x->api);
    if (x->comm && !hs_nccl_failed(x) && hs_nccl_settle(x, x->lib.ncclCommFinalize(x->comm), x->timeout) == ncclSuccess) {
        x->lib.ncclCommDestroy(x->comm);
        x->comm = NULL;
    }
    pthread_mutex_unlock(&x->api);
    hs_nccl_give_up(x); // where that did not work
    for (int64_t i = 0; i < x->room; i++)
        cudaEventDestroy(x->done[i]);
    if (x->fork)
        cudaEventDestroy(x->fork);
    x->device->lane_close(x->device, x->side);
    pthread_mutex_destroy(&x->api);
    pthread_mutex_destroy(&x->lock);
    free(x->done), free(x->captured), free(x);
}

typedef struct introduction {
    char machine[40], gpu[24]; // PCI bus ids are of a machine: of one boot
    char why[160];             // it cannot; "": it can
} introduction;

static void introduce(hs_nccl *x, introduction *mine)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (f && !fgets(mine->machine, sizeof mine->machine, f))
        mine->machine[0] = 0;
    if (f)
        fclose(f);
    const cudaError_t e = cudaDeviceGetPCIBusId(mine->gpu, sizeof mine->gpu, x->gpu);
    if (load(&x->lib) != HS_OK)
        snprintf(mine->why, sizeof mine->why, "%s", hs_error());
    else if (e != cudaSuccess)
        snprintf(mine->why, sizeof mine->why, "cudaDeviceGetPCIBusId: %s", cudaGetErrorString(e));
}

static hs_status compare(const hs_nccl *x, const introduction *all)
{
    for (int r = 0; r < x->c.size; r++) {
        if (all[r].why[0])
            return HS_FAIL(UNSUPPORTED, "rank %d of %s: %s", r, x->c.axis, all[r].why);
        for (int k = 0; k < r; k++)
            if (!strcmp(all[k].machine, all[r].machine) && !strcmp(all[k].gpu, all[r].gpu))
                return HS_FAIL(UNSUPPORTED, "ranks %d and %d of %s have the same GPU (%s), which NCCL does not do", k, r, x->c.axis,
                               all[r].gpu);
    }
    return HS_OK;
}

static hs_status meet(hs_nccl *x)
{
    introduction mine = { .why = "" }, *all = calloc((size_t)x->c.size, sizeof *all);
    if (!all)
        return HS_FAIL(MEMORY, "no memory for the GPUs of %d ranks", x->c.size);
    introduce(x, &mine);
    x->host->all_gather(x->host, NULL, &mine, all, sizeof mine, HS_U8);
    hs_status st = x->host->poll(x->host);
    if (st == HS_OK)
        st = compare(x, all);
    free(all);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status share_id(hs_nccl *x, ncclUniqueId *id)
{
    struct {
        ncclUniqueId id;
        char why[256];
    } told = { .why = "" };
    ncclResult_t r = x->c.rank == 0 ? x->lib.ncclGetUniqueId(&told.id) : ncclSuccess;
    if (r != ncclSuccess)
        hs_nccl_words(x, r, told.why, sizeof told.why);
    x->host->broadcast(x->host, NULL, &told, sizeof told, 0);
    HS_TRY(x->host->poll(x->host));
    if (told.why[0])
        return HS_FAIL(UNSUPPORTED, "NCCL: %s", told.why);
    *id = told.id;
    return HS_OK;
}

static hs_status come_together(hs_nccl *x, ncclUniqueId id)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    char why[256];
    config.blocking = 0;
    pthread_mutex_lock(&x->api);
    const ncclResult_t r = hs_nccl_settle(x, x->lib.ncclCommInitRankConfig(&x->comm, x->c.size, id, x->c.rank, &config), x->timeout);
    pthread_mutex_unlock(&x->api);
    if (r == ncclSuccess)
        return HS_OK;
    hs_nccl_words(x, r, why, sizeof why);
    if (r == ncclInProgress)
        return HS_FAIL(REMOTE, "NCCL: the %d ranks of %s have not come together in %g s", x->c.size, x->c.axis, x->timeout);
    return hs_fail_at(hs_nccl_blame(r), __FILE__, __LINE__, "NCCL over %s: %s", x->c.axis, why);
}

static hs_status open_streams(hs_nccl *x)
{
    HS_TRY(hs_gpu_lane_open(x->device, true, &x->side)); // what others wait for goes first
    if (cudaEventCreateWithFlags(&x->fork, cudaEventDisableTiming) != cudaSuccess)
        return HS_FAIL(SYSTEM, "no event for calls over %s: %s", x->c.axis, cudaGetErrorString(cudaGetLastError()));
    return hs_calls_open(&x->calls, x->gpu, hs_nccl_look, x);
}

static hs_status open_all(hs_nccl *x)
{
    ncclUniqueId id;
    HS_TRY(meet(x));
    HS_TRY(share_id(x, &id));
    HS_TRY(open_streams(x));
    return come_together(x, id);
}

hs_status hs_nccl_open(hs_comm **out, hs_device *d, hs_comm *host, double timeout)
{
    hs_nccl *x = calloc(1, sizeof *x);
    if (!x)
        return HS_FAIL(MEMORY, "no memory for a comm");
    pthread_mutex_init(&x->api, NULL);
    pthread_mutex_init(&x->lock, NULL);
    x->device = d, x->host = host, x->timeout = timeout, x->gpu = hs_gpu_lane(d, NULL)->gpu->index;
    hs_nccl_fill(x);
    x->c.close = close_nccl;
    const hs_status st = open_all(x);
    if (st != HS_OK) {
        hs_nccl_give_up(x);
        close_nccl(&x->c);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = &x->c;
    return HS_OK;
}

// plugin_lt: the emulated GPU of device cuda-emu-lt has cuBLASLt and cuSPARSELt: their doubles, whose products run in the streams of this
// plug-in.
#include "core/base/log.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/cusparselt.h"
#include <dlfcn.h>

static void *find(const char *file, const char *name)
{
    void *library = dlopen(file, RTLD_NOW); // stays: a device loads that of 2:4 weights when the first one comes
    return library ? dlsym(library, name) : NULL;
}

typedef void streams_fn(void (*enqueue)(cudaStream_t, hs_emu_call *, hs_emu_call *, void *));
static void join_streams(const char *file, const char *name)
{
    streams_fn *f;
    *(void **)&f = find(file, name);
    if (f)
        f(hs_emu_enqueue);
}

static void join_memory(const char *file, const char *name)
{
    void (*f)(size_t (*extent)(const void *));
    *(void **)&f = find(file, name);
    if (f)
        f(hs_emu_extent);
}

void hs_gpu_open_libraries(hs_gpu *g)
{
    if (hs_lt_open(&g->lt, g->name, NULL) != HS_OK || hs_sp_new(&g->sp, g->name, NULL) != HS_OK) {
        hs_warn("device cuda-emu-lt: %s", hs_error());
        return;
    }
    join_streams("libcublasLt.so.13", "fake_cublaslt_streams");
    join_memory("libcublasLt.so.13", "fake_cublaslt_memory");
    join_streams("libcusparseLt.so.0", "fake_cusparselt_streams");
}
void hs_gpu_close_libraries(hs_gpu *g)
{
    hs_lt_close(g->lt);
    g->lt = NULL;
    hs_sp_free(g->sp);
    g->sp = NULL;
}

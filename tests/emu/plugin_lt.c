// plugin_lt: the emulated GPU of device cuda-emu-lt has cuBLASLt: its double, whose products run in the streams of this plug-in.
#include "core/base/log.h"
#include "core/cuda/cublaslt.h"
#include <dlfcn.h>

typedef void streams_fn(void (*enqueue)(cudaStream_t, hs_emu_call *, hs_emu_call *, void *));

void hs_gpu_open_libraries(hs_gpu *g)
{
    if (hs_lt_open(&g->lt, g->name, NULL) != HS_OK) {
        hs_warn("device cuda-emu-lt: %s", hs_error());
        return;
    }
    streams_fn *streams = NULL;
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_NOLOAD); // hs_lt_open's
    if (library)
        *(void **)&streams = dlsym(library, "fake_cublaslt_streams");
    if (streams)
        streams(hs_emu_enqueue);
    if (library)
        dlclose(library);
}
void hs_gpu_close_libraries(hs_gpu *g)
{
    hs_lt_close(g->lt);
    g->lt = NULL;
}

// plugin_dnn: the emulated GPU of device cuda-emu-dnn has cuDNN: its double, whose attention runs in the streams of this plug-in. Products
// are by the plug-in's own kernels, so that what differs from device cuda-emu is attention alone.
#include "core/base/log.h"
#include "core/cuda/cudnn_sdpa.h"
#include <dlfcn.h>

typedef void streams_fn(void (*enqueue)(cudaStream_t, hs_emu_call *, hs_emu_call *, void *), int (*is_captured)(const char *what));

void hs_gpu_open_libraries(hs_gpu *g)
{
    streams_fn *streams = NULL;
    void *library = dlopen("libcudnn.so.9", RTLD_NOW); // stays
    if (library)
        *(void **)&streams = dlsym(library, "fake_cudnn_streams");
    if (streams)
        streams(hs_emu_enqueue, hs_emu_is_captured);
    if (hs_dnn_open(&g->dnn, g->index) != HS_OK)
        hs_warn("device cuda-emu-dnn: %s", hs_error());
}
void hs_gpu_close_libraries(hs_gpu *g)
{
    hs_dnn_close(g->dnn);
    g->dnn = NULL;
}

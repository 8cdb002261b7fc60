// no_libraries: the emulated GPU has none, so that everything is done by the plug-in's own kernels.
#include "core/cuda/device_cuda.h"

void hs_gpu_open_libraries(hs_gpu *g) { (void)g; }
void hs_gpu_close_libraries(hs_gpu *g) { (void)g; }

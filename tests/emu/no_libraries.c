// no_libraries: the emulated GPU has none, so that everything is done by the plug-in's own kernels.
#include "core/cuda/cublaslt.h"

void hs_gpu_open_libraries(hs_gpu *g) { (void)g; }
void hs_gpu_close_libraries(hs_gpu *g) { (void)g; }
void hs_lt_multiply(hs_lane *lane, const hs_lt_product *p, const void *a, const void *b, void *d, const void *bias)
{
    (void)lane, (void)p, (void)a, (void)b, (void)d, (void)bias; // nobody has an hs_lt
}

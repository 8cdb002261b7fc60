// captured: the graphs of a GPU's segments. Of device_cuda, like what it needs of that.
#ifndef HS_CORE_CAPTURED_IMPL_H
#define HS_CORE_CAPTURED_IMPL_H
#include "core/cuda/device_cuda.h"

typedef struct hs_captured hs_captured;
hs_status hs_captured_new(hs_captured **out);
void hs_captured_free(hs_captured *g); // NULL: nothing
// As it stands the first time; captured, and from then on replayed, the second.
hs_status hs_captured_submit(hs_captured *g, hs_lane *lane, const hs_segment *s);
void hs_captured_forget(hs_captured *g, const hs_thunk *first); // hs_device.forget

hs_status hs_gpu_submit(hs_lane *lane, const hs_thunk *t, int n); // one after the other

// A CUDA error as a status: the call, what it was for, and CUDA's own words.
hs_status hs_gpu_told(cudaError_t e, const char *call, size_t bytes);
#define CUDA_TRY(call, bytes)                                                                                                              \
    do {                                                                                                                                   \
        const cudaError_t error_ = call;                                                                                                   \
        if (error_ != cudaSuccess)                                                                                                         \
            return hs_gpu_told(error_, #call, bytes);                                                                                      \
    } while (0)

#endif

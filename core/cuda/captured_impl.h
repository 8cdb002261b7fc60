// captured_impl: what device_cuda shares with its parts: the graphs of segments, and times of what lanes do.
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

// traced.c: the same with a time of each. A lane that has none has nothing to collect, or to free.
hs_status hs_traced_submit(hs_device *d, hs_lane *lane, const hs_thunk *t, int n);
hs_status hs_traced_copy(hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes);
hs_status hs_traced_collect(hs_device *d, hs_lane *lane); // behind a wait for the lane: what it did is in d's trace, if there still is one
void hs_traced_free(hs_lane *lane);
int hs_gpu_track(const hs_device *d); // for a lane that is traced for the first time
enum { HS_GPU_TRACKS = 8 };           // streams that a trace tells apart; those that come later are one with the last

// A CUDA error as a status: the call, what it was for, and CUDA's own words.
hs_status hs_gpu_told(cudaError_t e, const char *call, size_t bytes);
#define CUDA_TRY(call, bytes)                                                                                                              \
    do {                                                                                                                                   \
        const cudaError_t error_ = call;                                                                                                   \
        if (error_ != cudaSuccess)                                                                                                         \
            return hs_gpu_told(error_, #call, bytes);                                                                                      \
    } while (0)

#endif

// device_cuda: one NVIDIA GPU as a device, for hs_device_open. Of the plug-in libhalfstep_cuda.so; the library itself links no CUDA.
//
// A lane is a stream. Kernels of ops, of core and of optimizers come with the options. Memory of alloc is the GPU's, of alloc_host
// pinned and seen by both; an address means the same to host, copy and kernels. HS_SUBMIT_GRAPH captures a segment when it comes the second
// time (the first one lets libraries set themselves up), and replays it until hs_device.forget; what may not be captured (a thunk of
// HS_PART_HOST, a call over a comm that does not capture) stands between two graphs. A graph ends with all that it started, so that what
// moves between ranks beside compute does so within one. While a trace is taken nothing is captured or replayed, as there are no times
// inside of a graph: HS_SUBMIT_GRAPH is HS_SUBMIT_BULK then, with the same bits, and what is submitted stands in NVTX ranges (segments, and
// scopes inside of them).
//
// Lanes, memory and captures are any thread's, a lane one thread's at a time. Several devices may be of one GPU: each has lanes and
// libraries of its own, copies behind its own lanes' work alone, and takes the others' memory for its own.
#ifndef HS_CORE_DEVICE_CUDA_H
#define HS_CORE_DEVICE_CUDA_H
#include "core/run/device.h"
#include <pthread.h>
#ifndef HS_EMULATED // else tests/emu/cudart.h, which that build includes before this
#include <cuda_runtime_api.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_gpu { // what the lanes of a device share
    int index;          // of the machine's
    char name[256];
    int multiprocessors, major, minor; // compute capability
    struct hs_lt *lt;                  // NULL: products are by the plug-in's own kernels
    struct hs_dnn *dnn;                // NULL: so is attention
    struct hs_sp *sp;                  // NULL: all weights are read in full
    pthread_mutex_t streams; // held while a lane is captured, and while lanes are waited for by others than who gave them something
} hs_gpu;

struct hs_lane {
    cudaStream_t stream;
    hs_gpu *gpu;
    void *workspace;          // of libraries, the lane's own; NULL before one needs it
    bool no_workspace;        // there was no memory for it
    char failed[160];         // what a library's call said when it failed: kernels cannot, so that the next wait does
    hs_lane *next;            // of the device's
    struct hs_traced *traced; // NULL: it was never traced
};

// Opens what libraries there are for this GPU, with one line of the log for each that is or is not used.
void hs_gpu_open_libraries(hs_gpu *g);
void hs_gpu_close_libraries(hs_gpu *g);

// A lane as hs_device.lane_open gives. urgent: where both have something to do, it goes before others that are not.
hs_status hs_gpu_lane_open(hs_device *d, bool urgent, hs_lane **out);
hs_lane *hs_gpu_lane(const hs_device *d, hs_lane *lane); // NULL: the device's first
cudaStream_t gpu_stream(const hs_lane *lane);            // what a .cu file knows of a lane (core/cuda/gpu.cuh)
struct hs_lt *gpu_lt(const hs_lane *lane);               // NULL: there is no cuBLASLt

hs_backend hs_backend_cuda;

#ifdef __cplusplus
}
#endif
#endif

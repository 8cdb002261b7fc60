// cudart: the calls of the CUDA runtime that core/cuda uses, as a double for machines without one. It keeps CUDA's rules instead of being
// kind: streams do nothing before somebody waits for them, so that an order that no event asks for is not there, and plain calls that may
// come back before they are done leave what they do in a stream of their own, which no other waits for; pinned memory is read when a copy
// runs, pageable memory when it is asked for; nothing synchronous and no allocation while this thread captures, and no wait by any thread for
// a stream that is captured, or for all of its GPU; what was destroyed is gone. There are four GPUs, or those of CUDA_VISIBLE_DEVICES. A
// broken rule is an error that stays, with a line on stderr.
//
// Declarations are those of the CUDA runtime API 12 and 13, of which names and values are facts; no header of the toolkit is needed.
#ifndef HS_TESTS_CUDART_H
#define HS_TESTS_CUDART_H
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureUnjoined = 904,
    cudaErrorStreamCaptureIsolation = 905,
    cudaErrorCapturedEvent = 907,
    cudaErrorUnknown = 999,
} cudaError_t;

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
typedef enum cudaMemcpyKind { cudaMemcpyDefault = 4 } cudaMemcpyKind;
typedef enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 } cudaStreamCaptureStatus;
typedef enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 } cudaStreamCaptureMode;
typedef enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice } cudaMemoryType;
#define cudaStreamLegacy ((cudaStream_t)0x1)
enum {
    cudaEventDefault = 0,
    cudaEventBlockingSync = 1,
    cudaEventDisableTiming = 2,
    cudaStreamNonBlocking = 1,
    cudaHostAllocPortable = 1,
    cudaHostAllocMapped = 2
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};

struct cudaPointerAttributes {
    cudaMemoryType type;
    int device;
};

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int index);
cudaError_t cudaGetDevice(int *index);
cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int index);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int index);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
const char *cudaGetErrorString(cudaError_t e);
const char *cudaGetErrorName(cudaError_t e);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
cudaError_t cudaDeviceSynchronize(void);

cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p);
cudaError_t cudaMemset(void *p, int byte, size_t bytes);
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority);
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to); // of this machine's clock, when work is performed

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e);

// Of NVTX, which is headers alone: how deep this thread is in ranges. Leaving none, or more than were entered, breaks a rule.
int nvtxRangePushA(const char *name);
int nvtxRangePop(void);

// Of HS_LAUNCH: a launch as a call that may be made any number of times, later; `drop` frees what it needs. Stream NULL runs it at once,
// for tests that call kernels by themselves.
typedef void hs_emu_call(void *launch);
void hs_emu_enqueue(cudaStream_t s, hs_emu_call *run, hs_emu_call *drop, void *launch);
// The same of a call that waits for other GPUs, of this process or of others: it runs while other threads may call. Never NULL.
void hs_emu_enqueue_waiting(cudaStream_t s, hs_emu_call *run, hs_emu_call *drop, void *launch);
int hs_emu_gpu_of(cudaStream_t s);   // -1: it is not open
size_t hs_emu_extent(const void *p); // bytes from there to the end of what was allocated; 0: nothing was
// Of a library's call that may not stand in a capture: does this thread capture? Then the capture is void, with a line on stderr.
int hs_emu_is_captured(const char *what);
// How often this thread waited for a GPU so far: for a stream, a device, an event that had not happened, a copy or fill that is not async
// (or is of memory that is not pinned, into it), memory that was freed.
long hs_emu_waits(void);
// Of the emulator: what a kernel broke. Errors of kernels stay until the process ends, as CUDA's do.
void hs_emu_broke(cudaError_t e);
cudaError_t hs_emu_failed(cudaError_t e); // what a call returns that a test lets fail

#ifdef __cplusplus
}
#endif
#endif

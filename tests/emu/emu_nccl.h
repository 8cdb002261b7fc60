// emu_nccl: the calls of NCCL that parallel/nccl_comm.c uses, as a double for machines without GPUs: between emulated GPUs (cudart.h) of
// one process or of several of this machine. Declarations are those of NCCL 2.28, of which names and values are facts.
//
// It keeps NCCL's rules. A communicator that does not block is in progress for a while behind every call, and what was called is in its
// stream only when it is asked for and no longer in progress; another call before that is wrong. Ranks that make different calls, buffers
// that overlap other than in place, a stream of another GPU, two ranks on one GPU, graphs that outlive a communicator are wrong. What is
// wrong is said on stderr, counted, and is an error of the communicator. A rank that gave up leaves the others with ncclRemoteError, and in
// their calls until they give up too.
#ifndef HS_TESTS_EMU_NCCL_H
#define HS_TESTS_EMU_NCCL_H
#include "tests/emu/cudart.h"
#include <limits.h>

typedef struct ncclComm *ncclComm_t;
enum { NCCL_UNIQUE_ID_BYTES = 128 };
typedef struct ncclUniqueId {
    char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;

typedef enum ncclResult_t {
    ncclSuccess = 0,
    ncclUnhandledCudaError = 1,
    ncclSystemError = 2,
    ncclInternalError = 3,
    ncclInvalidArgument = 4,
    ncclInvalidUsage = 5,
    ncclRemoteError = 6,
    ncclInProgress = 7,
} ncclResult_t;
typedef enum ncclRedOp_t { ncclSum = 0, ncclMax = 2 } ncclRedOp_t;
typedef enum ncclDataType_t {
    ncclInt8 = 0,
    ncclUint8 = 1,
    ncclInt32 = 2,
    ncclInt64 = 4,
    ncclFloat16 = 6,
    ncclFloat32 = 7,
    ncclFloat64 = 8,
    ncclBfloat16 = 9,
} ncclDataType_t;
typedef struct ncclConfig_t {
    size_t size;
    unsigned magic, version;
    int blocking;
} ncclConfig_t;
#define NCCL_CONFIG_INITIALIZER                                                                                                            \
    {                                                                                                                                      \
        sizeof(ncclConfig_t), 0xcafebeef, 22809, INT_MIN                                                                                   \
    }

ncclResult_t ncclGetVersion(int *version);
ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n_ranks, ncclUniqueId id, int rank, ncclConfig_t *config);
ncclResult_t ncclCommFinalize(ncclComm_t comm);
ncclResult_t ncclCommDestroy(ncclComm_t comm);
ncclResult_t ncclCommAbort(ncclComm_t comm);
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state);
const char *ncclGetErrorString(ncclResult_t r);
const char *ncclGetLastError(ncclComm_t comm);
ncclResult_t ncclAllReduce(const void *in, void *out, size_t n, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, cudaStream_t s);
ncclResult_t ncclReduceScatter(const void *in, void *out, size_t n_each, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                               cudaStream_t s);
ncclResult_t ncclAllGather(const void *in, void *out, size_t n_each, ncclDataType_t type, ncclComm_t comm, cudaStream_t s);
ncclResult_t ncclReduce(const void *in, void *out, size_t n, ncclDataType_t type, ncclRedOp_t op, int root, ncclComm_t comm,
                        cudaStream_t s);
ncclResult_t ncclBroadcast(const void *in, void *out, size_t n, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t s);
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

// The next ncclCommInitRankConfig of the calling thread makes no communicator but gives r, and ncclGetLastError says why.
void hs_emu_nccl_fail_init(ncclResult_t r, const char *why);
int hs_emu_nccl_broken(void); // rules of this process that were broken so far

#endif

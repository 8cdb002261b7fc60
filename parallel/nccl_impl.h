// nccl: what the files of the NCCL comm share.
#ifndef HS_PARALLEL_NCCL_IMPL_H
#define HS_PARALLEL_NCCL_IMPL_H
#include "parallel/nccl_calls_impl.h"
#include "parallel/nccl_comm.h"
#include "parallel/parallel_impl.h"
#ifndef HS_EMULATED // else tests/emu/emu_nccl.h, which that build includes before this
#include <nccl.h>
#endif

#define HS_NCCL_LIBRARY(X)                                                                                                                 \
    X(ncclAllGather)                                                                                                                       \
    X(ncclAllReduce)                                                                                                                       \
    X(ncclBroadcast)                                                                                                                       \
    X(ncclCommAbort)                                                                                                                       \
    X(ncclCommDestroy)                                                                                                                     \
    X(ncclCommFinalize)                                                                                                                    \
    X(ncclCommGetAsyncError)                                                                                                               \
    X(ncclCommInitRankConfig)                                                                                                              \
    X(ncclGetErrorString)                                                                                                                  \
    X(ncclGetLastError)                                                                                                                    \
    X(ncclGetUniqueId)                                                                                                                     \
    X(ncclGetVersion)                                                                                                                      \
    X(ncclGroupEnd)                                                                                                                        \
    X(ncclGroupStart)                                                                                                                      \
    X(ncclReduce)                                                                                                                          \
    X(ncclReduceScatter)

typedef struct hs_nccl_library {
#define MEMBER(f) __typeof__(&f) f;
    HS_NCCL_LIBRARY(MEMBER)
#undef MEMBER
} hs_nccl_library;

typedef struct hs_nccl {
    hs_comm c;
    hs_nccl_library lib;
    hs_device *device;
    hs_comm *host;
    int gpu;
    double timeout;
    pthread_mutex_t api; // the library does not take two calls at a time
    ncclComm_t comm;     // NULL: given up
    hs_calls *calls;
    // started calls
    hs_lane *side;
    cudaEvent_t fork;
    cudaEvent_t *done; // behind call i at i % room
    int64_t room, n_started, n_finished;
    // that were captured
    hs_comm_call *captured;
    int64_t n_captured, captured_room;
    pthread_mutex_t lock; // of what follows
    hs_status status;     // sticky
    char error[512];
} hs_nccl;

// nccl_comm: the table over an open communicator.
void hs_nccl_fill(hs_nccl *x);

// The first failure stays. Of a result: who is to blame, and the library's words.
void hs_nccl_fail(hs_nccl *x, hs_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool hs_nccl_failed(hs_nccl *x);
hs_status hs_nccl_blame(ncclResult_t r);
void hs_nccl_words(const hs_nccl *x, ncclResult_t r, char *line, size_t size);

// With `api` held, which it lets go of meanwhile: waits until the communicator is in progress no more (at most so many seconds; 0: for
// ever) after a call that gave r.
ncclResult_t hs_nccl_settle(hs_nccl *x, ncclResult_t r, double seconds);
void hs_nccl_look(void *x); // for errors that came meanwhile; by any thread
void hs_nccl_give_up(hs_nccl *x);

#endif

// nccl_comm: collectives between GPUs by NCCL, of the plug-in. NCCL is loaded where somebody asks for it (libnccl.so.2, 2.14 or newer).
//
// Calls go into the lane's stream and return; started ones into a stream of their own beside it. Sums are NCCL's: the same bits on every
// rank, but in its own order, and bf16 and f16 are rounded at every step of it. Calls may be captured. A thread of the comm hears when
// calls are through, which hs_comm.calls tells, and what went wrong, which poll tells.
#ifndef HS_PARALLEL_NCCL_COMM_H
#define HS_PARALLEL_NCCL_COMM_H
#include "core/cuda/device_cuda.h"

// As hs_device has it: d is hs_backend_cuda's. UNSUPPORTED: no NCCL on one of the ranks, or two of them have the same GPU. REMOTE: not all
// came in time. Graphs that hold calls must be gone before the comm is closed: NCCL waits for them.
hs_comm_open hs_nccl_open;
hs_status hs_nccl_version(int *version); // 22809; UNSUPPORTED where there is none

#endif

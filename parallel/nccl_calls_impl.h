// nccl_calls: the calls of a device's comm that are on their way, and a thread that hears when they are through.
#ifndef HS_PARALLEL_NCCL_CALLS_IMPL_H
#define HS_PARALLEL_NCCL_CALLS_IMPL_H
#include "core/cuda/device_cuda.h"

typedef struct hs_calls hs_calls;
typedef void hs_calls_look(void *user); // from that thread, now and then while any are on their way

hs_status hs_calls_open(hs_calls **out, int gpu, hs_calls_look *look, void *user);
void hs_calls_close(hs_calls *q); // NULL: nothing
// By the thread that makes calls: one begins (number and begun are set here), and `s` has been given all that were begun.
void hs_calls_begin(hs_calls *q, const hs_comm_call *call);
cudaError_t hs_calls_given(hs_calls *q, cudaStream_t s);
int hs_calls_tell(hs_calls *q, hs_comm_call *out, int most); // hs_comm.calls

#endif
